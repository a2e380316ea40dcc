//! A vault that lives in git: what a file says is made, by commands of one set, and made once; what the file does not say is
//! taken away only where that was asked for; and where it cannot be done, nothing is sent.

#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nockvault::statement::approval::{Approve, PolicySet};
use serde_json::Value;

mod programs;
#[path = "apply/refused.rs"]
mod refused;
#[path = "apply/stage.rs"]
mod stage;

use programs::{Said, program, said};
use stage::Stage;

const KIT: &str =
    "[agents.kit]\nregister = \"kit.register\"\n[roles.orders]\nengine = \"kv\"\nconfig.secret = \"orders-db\"\n";

fn grant(agent: &str, role: &str, terms: &str) -> String {
    format!("[[grants]]\nagent = \"{agent}\"\nrole = \"{role}\"\n{terms}\n")
}

#[test]
fn a_vault_becomes_what_the_file_says_and_a_second_run_sends_nothing() {
    let stage = Stage::with_agents(&["kit"]);
    stage.write(&(KIT.to_owned() + &grant("kit", "orders", "ttl = \"15m\"\nmax_ttl = \"1h\"")));
    let dry = stage.apply(&["--dry-run"]);
    let lines: Vec<&str> = dry.out.lines().collect();
    assert_eq!(dry.code, 3, "{dry:?}");
    assert!(lines[0].starts_with("+ agent kit  key "), "{dry:?}");
    assert_eq!(
        lines[1..],
        ["+ role orders  engine kv {\"secret\":\"orders-db\"}", "+ grant kit orders  ttl 15m max_ttl 1h"]
    );
    assert_eq!(stage.commands(), Vec::<Value>::new(), "a dry run sends nothing");

    let told = stage.apply(&[]);
    assert!(told.err.contains("3 commands carried out, as the set "), "{told:?}");
    assert_eq!(told.ok(), dry.out);
    let commands = stage.commands();
    let sets: Vec<(&str, u64, u64)> = commands
        .iter()
        .map(|one| &one["body"]["command"]["payload"]["set"])
        .map(|set| (set["id"].as_str().unwrap(), set["of"].as_u64().unwrap(), set["part"].as_u64().unwrap()))
        .collect();
    let id = sets[0].0;
    assert_eq!(sets, [(id, 3, 1), (id, 3, 2), (id, 3, 3)]);
    let table = stage.vaultctl(&["audit", "show", "_operators"]).ok();
    assert!(table.contains(&format!("grant_create kit orders by ada part 3 of 3 of set {id}")), "{table}");

    let again = stage.apply(&[]);
    assert!(again.err.contains("nothing to do") && again.out.is_empty(), "{again:?}");
    assert_eq!((again.code, stage.apply(&["--dry-run"]).code, stage.commands().len()), (0, 0, 3));
    // Both verifiers take commands of a set, and an agent gets what it was granted.
    stage.verified();
    assert_eq!(stage.get("kit", "orders"), "hunter2");
}

#[test]
fn other_terms_are_a_new_grant_and_the_difference_says_which() {
    let stage = Stage::with_agents(&["kit"]);
    stage.write(&(KIT.to_owned() + &grant("kit", "orders", "ttl = \"15m\"\nmax_uses = 3")));
    stage.apply(&[]).ok();
    assert_eq!(stage.get("kit", "orders"), "hunter2");
    stage.write(&(KIT.to_owned() + &grant("kit", "orders", "ttl = \"10m\"\nmax_ttl = \"15m\"\nrate = \"10/m\"")));
    let out = "~ grant kit orders  ttl 10m, was 15m; max_uses none, was 3; rate 10/1m, was none\n";
    let json = stage.json(&["--dry-run", "-o", "json"], 3);
    let change = &json["changes"][0];
    assert_eq!(
        (&change["change"], &change["kind"], &change["state"]),
        (&"replace".into(), &"grant".into(), &"planned".into())
    );
    assert_eq!(
        (&change["terms"]["ttl"], &change["was"]["ttl"], &json["set"]),
        (&600.into(), &900.into(), &Value::Null)
    );
    assert_eq!(stage.apply(&[]).ok(), out);
    let live = stage.vaultctl(&["lease", "list", "--all", "--field", "state"]).ok();
    assert_eq!(live, "revoked\n", "what lived under the old grant ended with it");
    assert_eq!(stage.vaultctl(&["grants", "--field", "terms.ttl"]).ok(), "600\n");
    assert_eq!(stage.apply(&["--dry-run"]).code, 0);
}

#[test]
fn only_pruning_takes_away_and_only_as_far_as_it_reaches() {
    let stage = Stage::with_agents(&["kit", "mara", "zoe"]);
    let both = KIT.to_owned() + "[agents.mara]\nregister = \"mara.register\"\n";
    stage.write(&(both.clone() + &grant("kit", "orders", "ttl = \"15m\"") + &grant("mara", "orders", "ttl = \"15m\"")));
    stage.apply(&[]).ok();
    // By hand: an agent and a role that the file does not name.
    stage.vaultctl(&["agent", "register", "zoe.register"]).ok();
    stage.vaultctl(&["role", "create", "other", "--engine", "kv", "--set", "secret=orders-db"]).ok();
    stage.vaultctl(&["grant", "zoe", "orders", "--ttl", "1m"]).ok();
    stage.vaultctl(&["grant", "kit", "other", "--ttl", "1m"]).ok();

    stage.write(&(both.clone() + &grant("kit", "orders", "ttl = \"15m\"")));
    let left = stage.apply(&[]);
    assert!(left.out.contains("? grant mara orders  ttl 15m; not in the file, --prune revokes it"), "{left:?}");
    assert!(left.code == 0 && !left.out.contains("zoe") && !left.out.contains("other"), "{left:?}");
    assert_eq!(stage.json(&["-o", "json"], 0)["left"][0]["agent"], "mara");
    let dry = stage.apply(&["--prune", "--dry-run"]);
    assert_eq!((dry.code, dry.out.as_str()), (3, "- grant mara orders  ttl 15m\n"));
    stage.apply(&["--prune"]).ok();
    assert_eq!(stage.grants(), ["kit orders", "kit other", "zoe orders"]);

    // A file that lost its grants is stopped, and one that means it says so.
    stage.write(&both);
    let stopped = stage.apply(&["--prune"]).fails(1);
    assert!(stopped.contains("names no grant, and --prune would revoke 1") && stopped.contains("--yes"), "{stopped}");
    let all = stage.apply(&["--prune=all", "--dry-run"]);
    assert_eq!(all.out.lines().count(), 3, "{all:?}");
    assert!(all.err.contains("agent zoe is not in the file, and agents are not deleted"), "{all:?}");
    assert!(all.err.contains("role other is not in the file"), "{all:?}");
    stage.apply(&["--prune=all", "--yes"]).ok();
    assert_eq!(stage.grants(), Vec::<String>::new());
    assert_eq!(stage.vaultctl(&["agent", "list", "--field", "agent"]).ok(), "kit\nmara\nzoe\n");
    stage.verified();
}

/// Parts and sizes of the sets that stand in the trail, with whether each was carried out.
fn parts(stage: &Stage) -> Vec<(u64, u64, bool)> {
    let part = |entry: &Value| {
        let set = &entry["body"]["command"]["payload"]["set"];
        let denied = entry["body"]["result"].get("denied").is_some();
        (set["part"].as_u64().unwrap(), set["of"].as_u64().unwrap(), !denied)
    };
    stage.commands().iter().map(part).collect()
}

#[test]
fn what_is_refused_in_the_middle_stops_the_run_and_the_next_goes_on() {
    let stage = Stage::with_agents(&["kit"]);
    let file = |engine: &str| {
        let role = format!("[roles.second]\nengine = \"{engine}\"\nconfig.secret = \"orders-db\"\n");
        KIT.to_owned() + &role + &grant("kit", "orders", "ttl = \"15m\"")
    };
    stage.write(&file("none"));
    let found = stage.apply(&[]).fails(1);
    assert!(found.contains("vault.toml:6:8: role second: it would not work"), "{found}");
    let told = stage.apply(&["--no-check", "-o", "json"]);
    assert_eq!(told.code, 2, "{told:?}");
    let wanted = "part 3 of 4, role second. 2 before it were carried out and stay, 1 were not sent";
    assert!(told.err.contains(wanted) && told.err.contains("bad_role"), "{told:?}");
    let json: Value = serde_json::from_str(&told.out).unwrap();
    let states: Vec<&str> = (0..4).map(|at| json["changes"][at]["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["done", "done", "failed", "not_sent"]);
    assert_eq!(json["set"], stage.commands()[0]["body"]["command"]["payload"]["set"]["id"]);

    stage.write(&file("kv"));
    stage.apply(&[]).ok();
    assert_eq!(stage.apply(&["--dry-run"]).code, 0);
    let wanted = [(1, 4, true), (2, 4, true), (3, 4, false), (1, 2, true), (2, 2, true)];
    assert_eq!(parts(&stage), wanted, "the trail shows which set was broken off");
    stage.verified();
}

#[test]
fn a_run_that_is_broken_off_goes_on_with_what_is_left() {
    let mut stage = Stage::with_agents(&["kit"]);
    let mut file = KIT.to_owned();
    for at in 0..60 {
        file += &format!("[roles.r{at}]\nengine = \"kv\"\nconfig.secret = \"orders-db\"\n");
        file += &grant("kit", &format!("r{at}"), "ttl = \"15m\"");
    }
    stage.write(&file);
    // The daemon goes when it has carried the first command out and not answered yet.
    stage.vault.kill();
    stage.vault.go_on_until("operate: carried");
    let mut run = stage.started();
    let carried = || fs::read_to_string(stage.vault.log()).unwrap().contains("failpoint operate: carried");
    let began = Instant::now();
    while !carried() {
        assert!(began.elapsed() < Duration::from_secs(60), "the command never came");
        std::thread::sleep(Duration::from_millis(20));
    }
    stage.vault.kill();
    assert_eq!(run.wait().unwrap().code(), Some(1));
    stage.vault.go_on();
    assert_eq!(stage.commands().len(), 1);
    assert_eq!(stage.apply(&["--dry-run"]).out.lines().count(), 121, "one of 122 was carried out");

    // vaultctl itself goes.
    let mut run = stage.started();
    while stage.commands().len() < 20 {
        assert!(run.try_wait().unwrap().is_none(), "it was too quick to be broken off");
    }
    run.kill().unwrap();
    run.wait().unwrap();
    let done = stage.commands().len();
    assert!(done < 122, "nothing was left to do");
    stage.apply(&[]).ok();
    assert_eq!(stage.apply(&["--dry-run"]).code, 0);
    assert_eq!((stage.commands().len(), stage.grants().len()), (122, 60), "nothing was done twice");
    stage.verified();
}

#[test]
fn what_somebody_did_in_between_is_not_done_twice() {
    let stage = Stage::with_agents(&["kit"]);
    stage.write(&(KIT.to_owned() + &grant("kit", "orders", "ttl = \"15m\"")));
    stage.apply(&[]).ok();
    stage.vaultctl(&["revoke", "kit", "orders"]).ok();
    assert_eq!(stage.apply(&["--dry-run"]).out, "+ grant kit orders  ttl 15m\n");
    stage.apply(&[]).ok();
    // Two runs of the same at once: each thing is done once, and the vault is as the file says.
    stage.write(&(KIT.to_owned() + &grant("kit", "orders", "ttl = \"10m\"")));
    let two: Vec<Said> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..2).map(|_| scope.spawn(|| stage.apply(&[]))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    for one in &two {
        assert!(one.code == 0 || one.err.contains("somebody else made it in between"), "{two:?}");
    }
    stage.apply(&[]).ok();
    assert_eq!(stage.vaultctl(&["grants", "--field", "terms.ttl"]).ok(), "600\n");
    stage.verified();
}

#[test]
fn a_thousand_grants_are_applied_in_bounded_time() {
    let stage = Stage::with_agents(&["kit"]);
    let mut text = KIT.to_owned();
    // One agent, and so many roles: more than one page of grants, and of roles.
    for at in 0..1_010 {
        text += &format!("[roles.r{at}]\nengine = \"kv\"\nconfig.secret = \"orders-db\"\n");
    }
    stage.write(&text);
    let began = Instant::now();
    stage.apply(&["--no-check"]).ok();
    let roles = began.elapsed();
    for at in 0..1_010 {
        text += &grant("kit", &format!("r{at}"), "ttl = \"15m\"");
    }
    stage.write(&text);
    let began = Instant::now();
    let told = stage.apply(&[]);
    let grants = began.elapsed();
    assert!(told.err.contains("1010 commands carried out"), "{:?}", told.err);
    let began = Instant::now();
    let again = stage.apply(&["--prune"]);
    let nothing = began.elapsed();
    assert!(again.code == 0 && again.err.contains("nothing to do"), "{:?}", again.err);
    println!("1,010 roles in {roles:?}, 1,010 grants in {grants:?}, nothing to do in {nothing:?}");
    assert!(
        roles + grants < Duration::from_secs(240) && nothing < Duration::from_secs(30),
        "{roles:?} {grants:?} {nothing:?}"
    );
    // Many at once are not pruned without a word.
    stage.write(&(KIT.to_owned() + "[roles.r0]\n[roles.r1]\n" + &grant("kit", "r0", "ttl = \"15m\"")));
    let dry = stage.apply(&["--prune", "--dry-run"]);
    assert_eq!(dry.out, "- grant kit r1  ttl 15m\n");
    let many = stage.apply(&["--prune=all"]).fails(1);
    assert!(many.contains("--prune would revoke 1009 grants"), "{many}");
}

#[test]
fn the_example_is_applied_and_what_is_exported_changes_nothing() {
    let stage = Stage::with_agents(&["kit", "mara"]);
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    fs::create_dir(stage.vault.path().join("roles")).unwrap();
    for file in ["vault.toml", "roles/kv.toml", "roles/jwt-api.toml"] {
        fs::copy(deploy.join(file), stage.vault.path().join(file)).unwrap();
    }
    let missing = stage.apply(&[]).fails(1);
    assert!(
        missing.contains("vault.toml:11:12: no secret partner-key is stored; vaultctl secret put partner-key"),
        "{missing}"
    );
    stage.vault.vaultctl_fed(&["secret", "put", "partner-key", "-"], b"hunter3").ok();
    assert_eq!(stage.apply(&[]).ok().lines().count(), 8);
    assert_eq!(stage.apply(&["--prune", "--dry-run"]).code, 0);
    assert_eq!(
        stage.vaultctl(&["role", "show", "api-token", "--field", "config.audience.0"]).ok(),
        "https://orders.example.com\n"
    );

    let text = stage.vaultctl(&["export"]).ok();
    stage.write(&text);
    let same = stage.apply(&["--prune=all", "--dry-run"]);
    assert_eq!((same.code, same.out.as_str()), (0, ""), "{same:?}\n{text}");
    let file = stage.vaultctl(&["export", "-o", "json"]).ok();
    let file: Value = serde_json::from_str(&file).unwrap();
    assert_eq!(file["secrets"], serde_json::json!(["partner-key"]));
    assert_eq!(
        (&file["grants"][1]["until"], &file["agents"]["mara"]),
        (&"2127-01-01T00:00:00.000Z".into(), &serde_json::json!({}))
    );
    // As another would have it, from its standard input.
    let fed = stage.vault.vaultctl_fed(&["apply", "-f", "-", "--dry-run"], text.as_bytes());
    assert_eq!(fed.code, 0, "{fed:?}");
}

#[test]
fn a_grantor_applies_its_roles_and_an_auditor_looks() {
    let stage = Stage::with_agents(&["kit", "mara"]);
    stage.write(&(KIT.to_owned() + "[roles.billing]\nengine = \"kv\"\nconfig.secret = \"orders-db\"\n"));
    stage.apply(&[]).ok();
    stage.operator("gus", &["--duty", "grantor", "--role", "orders"]);
    stage.operator("ann", &["--duty", "auditor"]);
    let file = "[agents.kit]\n[agents.mara]\nregister = \"mara.register\"\n[roles.orders]\n[roles.billing]\n"
        .to_owned()
        + &grant("mara", "orders", "ttl = \"15m\"");
    let as_ = |who: &str, more: &[&str]| stage.apply(&[&["--operator", who][..], more].concat());

    stage.write(&file);
    let looked = as_("ann", &["--dry-run"]);
    assert!(looked.code == 3 && looked.out.contains("+ grant mara orders"), "{looked:?}");
    assert!(
        looked.err.contains("ann may not carry this out: grant_create takes the duty admin or grantor"),
        "{looked:?}"
    );
    let before = stage.commands().len();
    let refused = as_("ann", &[]).fails(1);
    assert!(refused.contains("nothing was sent") && refused.contains("yours is auditor"), "{refused}");
    assert_eq!(stage.commands().len(), before);

    as_("gus", &[]).ok();
    assert_eq!((as_("gus", &["--dry-run"]).code, as_("ann", &["--dry-run"]).code), (0, 0));
    stage.write(&(file.clone() + &grant("kit", "billing", "ttl = \"15m\"")));
    let refused = as_("gus", &[]).fails(1);
    assert!(refused.contains("yours is grantor of orders"), "{refused}");
    // A role that is new is for an admin; that it could not be checked is said.
    stage.write(&(file + "[roles.new]\nengine = \"kv\"\nconfig.secret = \"orders-db\"\n"));
    let looked = as_("gus", &["--dry-run"]);
    assert!(looked.err.contains("new roles were not checked: role_check takes the duty admin"), "{looked:?}");
    assert_eq!(stage.grants(), ["mara orders"]);
    stage.verified();
}

#[test]
fn what_takes_several_operators_waits_and_the_rest_goes_on() {
    let stage = Stage::with_agents(&["kit"]);
    stage.operator("bob", &["--duty", "admin"]);
    let rules = |rules: Value| {
        stage.command(
            "ada",
            serde_json::from_value::<PolicySet>(serde_json::json!({"rules": rules, "wait": 3600})).unwrap(),
        )
    };
    let approve = |told: &str| {
        let command = told.split("`vaultctl approve ").nth(1).unwrap().split('`').next().unwrap();
        stage.command("bob", Approve { command: command.parse().unwrap() }).unwrap();
    };
    rules(serde_json::json!({"role_create": 2})).unwrap();
    stage.write(&(KIT.to_owned() + &grant("kit", "orders", "ttl = \"15m\"")));
    let told = stage.apply(&[]);
    assert_eq!(told.code, 3, "{told:?}");
    assert!(told.err.contains("part 2 of 3, role orders: refused: needs_approval"), "{told:?}");
    assert!(told.err.contains("part 3 of 3 was not sent: it needs role orders, which waits"), "{told:?}");
    assert!(told.err.contains("1 command carried out") && told.err.contains("2 of 3 changes wait"), "{told:?}");
    approve(&told.err);
    stage.apply(&[]).ok();
    assert_eq!(stage.grants(), ["kit orders"]);

    // Other terms: the old grant would go at once, and the new one wait.
    let changed =
        stage.command("ada", PolicySet { rules: [("grant_create".to_owned(), 2)].into(), ..PolicySet::default() });
    approve(&changed.unwrap_err().to_string());
    stage.command("ada", PolicySet { rules: [("grant_create".to_owned(), 2)].into(), ..PolicySet::default() }).unwrap();
    stage.write(&(KIT.to_owned() + &grant("kit", "orders", "ttl = \"10m\"")));
    let stopped = stage.apply(&[]).fails(1);
    assert!(
        stopped.contains("kit would be without orders until other operators have approved")
            && stopped.contains("--yes")
    );
    assert_eq!(stage.grants(), ["kit orders"]);
    let told = stage.apply(&["--yes"]);
    assert_eq!(told.code, 3, "{told:?}");
    assert!(
        told.err.contains("until then the grant of orders to kit is revoked, and not given on other terms"),
        "{told:?}"
    );
    assert_eq!(stage.json(&["-o", "json"], 3)["changes"][0]["state"], "waits");
    approve(&told.err);
    stage.apply(&[]).ok();
    assert_eq!(stage.apply(&["--dry-run"]).code, 0);
    stage.verified();
}

#[test]
fn apply_takes_a_file_and_the_help_says_how() {
    let folder = tempfile::tempdir().unwrap();
    let run = |words: &[&str]| said(program(env!("CARGO_BIN_EXE_vaultctl"), folder.path()).args(words));
    assert!(run(&["apply"]).fails(1).contains("--file <FILE>"));
    let help = run(&["apply", "--help"]).ok();
    assert!(help.contains("Ends with 0") && help.contains("--prune"), "{help}");
}
