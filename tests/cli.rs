//! vaultctl and vaultd as people use them: real programs, real files, exit codes.

#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test stops where what it stands on is not there")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nockvault::statement::card::Card;
use serde_json::Value;

mod programs;

use programs::{Vault, program, said};

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(&path).unwrap_or_else(|why| panic!("{}: {why}", path.as_ref().display())).permissions().mode() & 0o777
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn init_makes_everything_with_the_right_modes_and_replaces_nothing() {
    let vault = Vault::start();
    let at = |name: &str| vault.path().join(name);
    for (name, wanted) in [
        ("vault", 0o700),
        ("vault/data", 0o700),
        ("vault/root.key", 0o600),
        ("vault/vaultd.toml", 0o600),
        ("vault/tls/server.key", 0o600),
        ("vault/prod.card", 0o644),
        (".config/nockvault/prod.card", 0o644),
        (".config/nockvault/prod/ada.ed25519", 0o600),
        (".config/nockvault/prod/ada.pub", 0o644),
        ("vault/run/operators.sock", 0o600),
    ] {
        assert_eq!(format!("{:o}", mode(at(name))), format!("{wanted:o}"), "{name}");
    }
    for entry in fs::read_dir(at("vault/data")).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path) & 0o077, 0, "{} is open to others", path.display());
    }
    let card = Card::read(&fs::read_to_string(vault.card()).unwrap()).unwrap();
    assert!(card.agents.starts_with("https://127.0.0.1:") && card.operators.starts_with("unix:/"), "{card:?}");
    let shown = json(&vault.vaultctl(&["card", "-o", "json"]).ok());
    assert_eq!(shown["aud"], card.aud.as_str());

    let seed = fs::read(at(".config/nockvault/prod/ada.ed25519")).unwrap();
    let again = vault.vaultctl(&["init", "--name", "prod", "--dir", "other"]).fails(1);
    assert!(again.contains("is there already"), "{again}");
    assert!(!at("other").exists());
    assert_eq!(fs::read(at(".config/nockvault/prod/ada.ed25519")).unwrap(), seed);
}

#[test]
fn an_operator_does_the_whole_of_it_and_each_act_stands_in_a_chain() {
    let mut vault = Vault::start();
    vault.with_kit("hunter2\n");
    let status = json(&vault.vaultctl(&["status", "-o", "json"]).ok());
    assert_eq!((&status["agents"], &status["sealed"], &status["state"]), (&1.into(), &false.into(), &"serving".into()));
    assert_eq!(vault.vaultctl(&["agent", "list", "--field", "agent"]).ok(), "kit\n");
    assert_eq!(vault.vaultctl(&["role", "list", "--field", "role"]).ok(), "orders-read\n");
    assert_eq!(vault.vaultctl(&["role", "show", "orders-read", "--field", "config.secret"]).ok(), "orders-db\n");
    assert_eq!(vault.vaultctl(&["secret", "list", "--field", "bytes"]).ok(), "7\n");
    vault.vaultctl_fed(&["secret", "put", "orders-db", "--file", "-", "--exact"], b"x\n").ok();
    assert_eq!(vault.vaultctl(&["secret", "versions", "orders-db", "--field", "bytes"]).ok(), "7\n2\n");

    let grant = ["grant", "kit", "orders-read", "--ttl", "5m", "--max-ttl", "1h", "--max-uses", "100"];
    let terms = ["--until", "2126-12-31", "--session", "nightly-*", "--from", "10.0.0.0/8", "--rate", "10/m"];
    let refused = vault.vaultctl(&[&grant[..], &terms[..]].concat()).fails(2);
    assert!(refused.contains("already_exists") && !refused.contains("not signed"), "{refused}");
    vault.vaultctl(&["revoke", "kit", "orders-read"]).ok();
    vault.vaultctl(&[&grant[..], &terms[..]].concat()).ok();
    let table = vault.vaultctl(&["grants", "--agent", "kit"]).ok();
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(
        row,
        [
            "kit",
            "orders-read",
            "5m",
            "1h",
            "0",
            "of",
            "100",
            "2127-01-01T00:00:00.000Z",
            "nightly-*",
            "10.0.0.0/8",
            "10/1m"
        ]
    );
    let yaml = vault.vaultctl(&["grants", "-o", "yaml"]).ok();
    assert!(yaml.contains("agent: kit") && yaml.contains("max_uses: 100"), "{yaml}");

    vault.restart();
    let kid = vault.vaultctl(&["agent", "show", "kit", "--field", "keys.0.kid"]).ok();
    vault.vaultctl(&["agent", "end-key", "kit"]).ok();
    let ended = vault.vaultctl(&["agent", "show", "kit", "--field", "keys.0.ended"]).ok();
    assert_ne!(ended, "null\n", "{kid}");

    for chain in ["kit", "_operators", "_vault"] {
        let report = vault.vaultctl(&["audit", "verify", chain]).ok();
        assert!(report.contains("intact"), "{report}");
    }
    let kinds = vault.vaultctl(&["audit", "show", "kit", "--field", "kind"]).ok();
    assert_eq!(kinds, "genesis\ngrant\nungrant\ngrant\ncheckpoint\nagent_key_end\n");
    let show = ["audit", "show", "_operators", "--kind", "command", "--field", "body.command.payload.typ"];
    let commands = vault.vaultctl(&show).ok();
    let typ = |name: &str| format!("nockvault/{name}\n");
    // The refused grant stands in it too: an operator cannot try without leaving a trace.
    let wanted = [
        "agent_register",
        "secret_put",
        "role_create",
        "grant_create",
        "secret_put",
        "grant_create",
        "grant_revoke",
        "grant_create",
        "agent_key_end",
    ];
    assert_eq!(commands, wanted.map(typ).concat());
}

#[test]
fn exported_chains_are_verified_without_the_vault_and_a_changed_one_is_found() {
    let vault = Vault::start();
    vault.with_kit("hunter2");
    vault.vaultctl(&["audit", "export", "kit", "--file", "kit.audit.jsonl"]).ok();
    let again = vault.vaultctl(&["audit", "export", "kit", "--file", "kit.audit.jsonl"]).fails(1);
    assert!(again.contains("kit.audit.jsonl"), "{again}");
    let text = vault.vaultctl(&["audit", "export", "kit"]).ok();
    assert_eq!(text, fs::read_to_string(vault.path().join("kit.audit.jsonl")).unwrap());
    let card = vault.card();
    let path = vault.path().to_owned();
    let (folder, daemon_gone) = (tempfile::tempdir().unwrap(), vault);
    let offline = folder.path().join("kit.audit.jsonl");
    fs::copy(path.join("kit.audit.jsonl"), &offline).unwrap();
    fs::copy(card, folder.path().join("prod.card")).unwrap();
    drop(daemon_gone);

    let verify = |file: &str| {
        let arguments = ["audit", "verify", "--vault", "prod.card", "--file", file];
        said(program(env!("CARGO_BIN_EXE_vaultctl"), folder.path()).args(arguments))
    };
    assert!(verify("kit.audit.jsonl").ok().contains("intact"));
    let forged = text.replacen("\"max_ttl\":3600", "\"max_ttl\":7200", 1);
    assert_ne!(forged, text);
    fs::write(folder.path().join("forged.jsonl"), forged).unwrap();
    let found = verify("forged.jsonl");
    assert!(found.code == 2 && found.out.contains("TAMPERED at entry 1"), "{found:?}");
    fs::write(folder.path().join("none.jsonl"), "hello\n").unwrap();
    assert_eq!(verify("none.jsonl").code, 1);
    assert_eq!(verify("missing.jsonl").code, 1);
}

#[test]
fn exit_codes_tell_this_side_from_the_vaults() {
    let vault = Vault::start();
    // 2: the vault refused, with its reason.
    let refused = vault.vaultctl(&["agent", "show", "nobody"]).fails(2);
    assert!(refused.contains("not_found") && !refused.contains("not signed"), "{refused}");
    let refused = vault.vaultctl(&["role", "create", "x", "--engine", "none"]).fails(2);
    assert!(refused.contains("bad_role"), "{refused}");
    // 1: something on this side.
    for arguments in [
        &["agent", "show", "NOBODY"][..],
        &["agent", "register", "missing.register"],
        &["grant", "kit", "orders-read", "--ttl", "2h", "--max-ttl", "1h"],
        &["grant", "kit", "orders-read", "--ttl", "5m", "--until", "tomorrow"],
        &["grant", "kit", "orders-read", "--ttl", "5m", "--from", "10.1.0.0/8"],
        &["status", "--vault", "missing.card"],
        &["status", "--operator", "bob"],
        &["status", "--field", "none"],
        &["audit", "verify"],
    ] {
        let text = vault.vaultctl(arguments).fails(1);
        assert!(!text.is_empty(), "{arguments:?}");
    }
    // An operator whose key is not registered: a stranger to the vault.
    let stranger = vault.path().join("bob.ed25519");
    fs::write(&stranger, "42".repeat(32)).unwrap();
    fs::set_permissions(&stranger, fs::Permissions::from_mode(0o644)).unwrap();
    let open = vault.vaultctl(&["status", "--key", "bob.ed25519"]).fails(1);
    assert!(open.contains("chmod 600") && !open.contains("4242"), "{open}");
    fs::set_permissions(&stranger, fs::Permissions::from_mode(0o600)).unwrap();
    let refused = vault.vaultctl(&["status", "--key", "bob.ed25519"]).fails(2);
    assert!(refused.contains("unauthenticated") && refused.contains("not signed by the vault"), "{refused}");
    // Nobody there.
    let path = vault.path().to_owned();
    let card = fs::read_to_string(vault.card()).unwrap();
    let away = card.replace("operators.sock", "nobody.sock");
    fs::write(path.join("away.card"), away).unwrap();
    let text = vault.vaultctl(&["status", "--vault", "./away.card"]).fails(1);
    assert!(text.contains("cannot be reached"), "{text}");
}

#[test]
fn another_vault_at_the_address_is_told_apart() {
    let (one, two) = (Vault::start(), Vault::start());
    let card = |vault: &Vault| Card::read(&fs::read_to_string(vault.card()).unwrap()).unwrap();
    let crossed = Card { operators: card(&two).operators, ..card(&one) };
    fs::write(one.path().join("crossed.card"), crossed.write()).unwrap();
    let text = one.vaultctl(&["status", "--vault", "./crossed.card"]).fails(1);
    for identity in [card(&one).identity.kid(), card(&two).identity.kid()] {
        assert!(text.contains(identity.as_str()), "{text}");
    }
}

#[test]
fn a_secret_is_never_taken_from_the_command_line() {
    let vault = Vault::start();
    let refused = vault.vaultctl(&["secret", "put", "orders-db", "hunter2"]).fails(1);
    assert!(refused.contains("never given on the command line") && !refused.contains("hunter2"), "{refused}");
    vault.vaultctl(&["secret", "put", "orders-db"]).fails(1);
    vault.vaultctl_fed(&["secret", "put", "orders-db", "-"], b"\n").fails(1);
    vault.vaultctl(&["secret", "put", "orders-db", "--file", "missing"]).fails(1);
    assert_eq!(vault.vaultctl(&["secret", "list", "--field", "name"]).ok(), "");
    fs::write(vault.path().join("value"), b"hunter2").unwrap();
    let stored = vault.vaultctl(&["secret", "put", "orders-db", "--file", "value"]);
    assert!(!format!("{stored:?}").contains("hunter2"));
    stored.ok();
    // What is in no command line and no chain is in no file of the vault either.
    for chain in ["_operators", "_vault"] {
        assert!(!vault.vaultctl(&["audit", "export", chain]).ok().contains("hunter2"));
    }
}

#[test]
fn keygen_writes_keys_that_nockguard_reads_and_never_overwrites_by_itself() {
    let vault = Vault::start();
    let path = |name: &str| vault.path().join(name);
    let told = vault.vaultctl(&["keygen", "--agent", "kit", "-o", "json"]);
    let seed = fs::read_to_string(path("kit.ed25519")).unwrap();
    assert!(!format!("{told:?}").contains(&seed), "a private key was printed");
    let told = json(&told.ok());
    assert_eq!(seed.len(), 64);
    assert!(seed.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)));
    assert_eq!((mode(path("kit.ed25519")), mode(path("kit.pub"))), (0o600, 0o644));
    assert_eq!(told["public_key"], fs::read_to_string(path("kit.pub")).unwrap());
    vault.vaultctl(&["keygen", "--agent", "kit"]).fails(1);
    assert_eq!(fs::read_to_string(path("kit.ed25519")).unwrap(), seed);
    vault.vaultctl(&["agent", "register", "kit.register"]).ok();

    // A successor, in another folder, follows by statement, by public key or by key id.
    fs::create_dir(path("next")).unwrap();
    let next = ["keygen", "--agent", "kit", "--dir", "next", "--follows", "kit.register"];
    assert_eq!(json(&vault.vaultctl(&[&next[..], &["-o", "json"]].concat()).ok())["kver"], 2);
    vault.vaultctl(&["agent", "register", "next/kit.register"]).ok();
    assert_eq!(vault.vaultctl(&["agent", "list", "--field", "kver"]).ok(), "2\n");
    let no_number = vault.vaultctl(&["keygen", "--agent", "kit", "--force", "--follows", "kit.pub"]).fails(1);
    assert!(no_number.contains("--kver"), "{no_number}");

    // For an environment: nothing is written, and the statement registers as well.
    let lines = vault.vaultctl(&["keygen", "--agent", "mira.x", "--print-env"]).ok();
    let values: Vec<(&str, &str)> = lines.lines().map(|line| line.split_once('=').unwrap()).collect();
    let names: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
    let wanted = ["ED25519_KEY", "ED25519_PUB", "REGISTER"].map(|end| format!("NOCKVAULT_AGENT_MIRA_X_{end}"));
    assert_eq!(names, wanted);
    assert!(!path("mira.x.ed25519").exists());
    vault.vaultctl_fed(&["agent", "register", "-"], values[2].1.as_bytes()).ok();
    // One agent's name must not be another's variable.
    vault.vaultctl(&["keygen", "--agent", "mira-x"]).ok();
    let refused = vault.vaultctl(&["agent", "register", "mira-x.register"]).fails(2);
    assert!(refused.contains("name_collision"), "{refused}");
}

/// The key stays in NockGuard's folder; with the statement an agent gets its secrets, and without a safe key nothing is
/// made up.
#[test]
fn a_key_that_nockguard_uses_is_registered_where_it_lies() {
    let vault = Vault::start();
    let path = |name: &str| vault.path().join(name);
    let seed = "42".repeat(32);
    let none = vault.vaultctl(&["keygen", "--from-nockguard", "kit"]).fails(1);
    assert!(none.contains("nockguard keygen --agent kit") && none.contains(".nockguard/keys/kit.ed25519"), "{none}");
    fs::create_dir_all(path(".nockguard/keys")).unwrap();
    fs::set_permissions(path(".nockguard/keys"), fs::Permissions::from_mode(0o700)).unwrap();
    let key = path(".nockguard/keys/kit.ed25519");
    fs::write(&key, &seed).unwrap();
    for mode in [0o644, 0o640] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        let unsafe_file = vault.vaultctl(&["keygen", "--from-nockguard", "kit"]).fails(1);
        assert!(unsafe_file.contains("chmod 600") && !path("kit.register").exists(), "{unsafe_file}");
    }
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let told = vault.vaultctl(&["keygen", "--from-nockguard", "kit", "-o", "json"]);
    assert!(!format!("{told:?}").contains(&seed), "a private key was printed");
    let told = json(&told.ok());
    assert_eq!(told["key"], key.display().to_string());
    assert!(!path("kit.ed25519").exists() && !path("kit.pub").exists(), "the key was copied");
    vault.vaultctl(&["keygen", "--from-nockguard", "kit"]).fails(1);
    vault.vaultctl(&["agent", "register", "kit.register"]).ok();
    assert_eq!(vault.vaultctl(&["agent", "show", "kit", "--field", "agent"]).ok(), "kit\n");

    // The agent has a key that is nowhere but with NockGuard, and asks with it.
    vault.vaultctl_fed(&["secret", "put", "orders-db", "-"], b"hunter2").ok();
    vault.vaultctl(&["role", "create", "orders-read", "--engine", "kv", "--set", "secret=orders-db"]).ok();
    vault.vaultctl(&["grant", "kit", "orders-read", "--ttl", "15m", "--max-ttl", "1h"]).ok();
    let example = programs::example("request_credential");
    said(program(example, vault.path()).args(["--agent", "kit", "--role", "orders-read"])).ok();

    // A variable wins over the file, and a broken one is no reason to take the file.
    let with = |value: &str, arguments: &[&str]| {
        let mut command = program(env!("CARGO_BIN_EXE_vaultctl"), vault.path());
        command.env("NOCKGUARD_AGENT_KIT_ED25519_KEY", value);
        said(command.args(["keygen", "--force", "--from-nockguard", "kit"]).args(arguments))
    };
    let other = with(&"07".repeat(32), &["--field", "public_key"]).ok();
    assert_ne!(other.trim(), told["public_key"].as_str().unwrap());
    let broken = with("4242", &[]).fails(1);
    assert!(broken.contains("NOCKGUARD_AGENT_KIT_ED25519_KEY") && !broken.contains("4242"), "{broken}");
    // A statement is not put beside another key of the agent, which it would then number.
    vault.vaultctl(&["keygen", "--agent", "kit", "--dir", "vault"]).ok();
    let beside = vault.vaultctl(&["keygen", "--from-nockguard", "kit", "--force", "--dir", "vault"]).fails(1);
    assert!(beside.contains("vault/kit.ed25519"), "{beside}");
    // What is a name there may be none here.
    fs::write(path(".nockguard/keys/Mira.ed25519"), "07".repeat(32)).unwrap();
    fs::set_permissions(path(".nockguard/keys/Mira.ed25519"), fs::Permissions::from_mode(0o600)).unwrap();
    let name = vault.vaultctl(&["keygen", "--from-nockguard", "Mira"]).fails(1);
    assert!(name.contains("--agent"), "{name}");
    vault.vaultctl(&["keygen", "--from-nockguard", "Mira", "--agent", "mira"]).ok();
    vault.vaultctl(&["agent", "register", "mira.register"]).ok();
}

#[test]
fn an_agents_compromise_ends_with_one_command() {
    let vault = Vault::start();
    vault.with_kit("hunter2");
    let ask = || {
        let example = programs::example("request_credential");
        said(program(example, vault.path()).args(["--agent", "kit", "--role", "orders-read"]))
    };
    ask().ok();
    let lease = vault.vaultctl(&["lease", "list", "--field", "lease"]).ok();
    vault.vaultctl(&["revoke", "--lease", lease.trim()]).ok();
    assert_eq!(vault.vaultctl(&["lease", "list"]).ok().lines().count(), 1, "only the head of the table");
    assert_eq!(vault.vaultctl(&["lease", "list", "--all", "--field", "state"]).ok(), "revoked\n");
    ask().ok();
    let ended = vault.vaultctl(&["agent", "end-key", "kit"]);
    assert!(ended.err.contains("ending every key of agent kit, and every lease"), "{ended:?}");
    assert!(ended.ok().contains("leases  1"));
    assert_eq!(vault.vaultctl(&["lease", "list", "--all", "--field", "state"]).ok(), "revoked\nrevoked\n");
    let refused = ask().fails(2);
    assert!(refused.contains("key_retired"), "{refused}");
}

#[test]
fn everything_a_role_or_a_session_stops_with_one_command() {
    let vault = Vault::start();
    vault.with_kit("hunter2");
    let ask = || {
        let example = programs::example("request_credential");
        said(program(example, vault.path()).args(["--agent", "kit", "--role", "orders-read"]))
    };
    for (freeze, thaw, refusal) in [
        (vec!["--everything", "--reason", "keys on a forum"], vec!["--everything"], "vault_frozen"),
        (vec!["--role", "orders-read"], vec!["--role", "orders-read"], "role_frozen"),
        (vec!["--agent", "kit"], vec!["kit"], "agent_frozen"),
    ] {
        ask().ok();
        let frozen = vault.vaultctl(&[&["freeze"], freeze.as_slice()].concat());
        assert!(
            frozen.err.contains(&format!(" is frozen; back again: vaultctl thaw {}", thaw.join(" "))),
            "{frozen:?}"
        );
        assert!(frozen.ok().contains("leases"));
        assert_eq!(vault.vaultctl(&["lease", "list"]).ok().lines().count(), 1, "only the head of the table");
        let refused = ask().fails(2);
        assert!(refused.contains(refusal), "{refused}");
        let thawed = vault.vaultctl(&[&["thaw"], thaw.as_slice()].concat());
        assert!(thawed.code == 0 && thawed.err.contains(" is thawed"), "{thawed:?}");
    }
    // What would be refused ends as the refusal does, and tells of no request under it.
    let told = vault.vaultctl(&["grant", "kit", "orders-read", "--ttl", "15m", "--dry-run"]).fails(2);
    assert!(told.contains("already_exists") && !told.contains("would get"), "{told}");
    let made = vault.vaultctl(&["role", "create", "later", "--engine", "kv", "--set", "secret=later"]);
    assert!(
        made.code == 0 && made.err.contains("no secret later is stored yet: vaultctl secret put later"),
        "{made:?}"
    );
    ask().ok();
    let sid = vault.vaultctl(&["lease", "list", "--field", "sid"]).ok();
    vault.vaultctl(&["freeze", "--session", &format!("kit/{}", sid.trim())]).ok();
    assert_eq!(vault.vaultctl(&["lease", "list"]).ok().lines().count(), 1);
    ask().ok();
    for wrong in [vec!["freeze"], vec!["freeze", "kit", "--everything"], vec!["freeze", "--session", "kit"]] {
        vault.vaultctl(&wrong).fails(1);
    }
}
