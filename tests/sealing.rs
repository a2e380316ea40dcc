//! A vault that is sealed and unsealed, with the real programs: what it answers meanwhile, who opens it, what is left in
//! its memory, and what a kill in the middle leaves.
#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "sealing/load.rs"]
mod load;
#[path = "sealing/memory.rs"]
mod memory;
#[path = "programs/mod.rs"]
mod programs;
#[path = "sealing/stage.rs"]
mod stage;

use std::time::{Duration, Instant};

use programs::{Vault, program, said};
use serde_json::{Value, json};
use stage::{agent, http, operators_entries, reached, seal, unseal, vault, wait_until};

/// The vault's own chains verify.
fn verified(vault: &Vault) {
    for chain in ["_vault", "_operators"] {
        vault.vaultctl(&["audit", "verify", chain]).ok();
    }
}

#[test]
fn a_sealed_vault_says_so_everywhere_until_somebody_unseals() {
    let mut vault = vault(|config| config);
    assert_eq!(agent(&vault).ok(), stage::SECRET);
    seal(&vault).ok();
    for round in ["sealed", "started sealed"] {
        let status = vault.vaultctl(&["status", "-o", "json"]);
        assert_eq!(status.code, 2, "{round}: {status:?}");
        let told: Value = serde_json::from_str(&status.out).unwrap();
        assert_eq!((&told["sealed"], &told["state"]), (&json!(true), &json!("sealed")), "{round}");
        assert!(status.err.contains("vaultctl unseal"), "{round}: {status:?}");
        let refused = vault.vaultctl(&["agent", "list"]).fails(2);
        assert!(refused.contains("sealed") && refused.contains("vaultctl unseal"), "{round}: {refused}");
        let refused = agent(&vault);
        assert!(refused.code == 125 && refused.err.contains("sealed"), "{round}: {refused:?}");
        assert!(http(&vault, "/healthz").ends_with("\r\n\r\nsealed"), "{round}");
        let ready = http(&vault, "/readyz");
        assert!(ready.starts_with("HTTP/1.1 503") && ready.ends_with("sealed"), "{round}: {ready}");
        assert!(http(&vault, "/metrics").contains("\nnockvault_sealed 1\n"), "{round}");
        assert!(http(&vault, "/.well-known/jwks.json").starts_with("HTTP/1.1 503"), "{round}");
        if round == "sealed" {
            assert!(!vault.ready.contains("sealed"), "{}", vault.ready);
            vault.restart();
            assert!(vault.ready.trim_end().ends_with(" sealed"), "{}", vault.ready);
        }
    }
    unseal(&vault).ok();
    assert_eq!(agent(&vault).ok(), stage::SECRET);
    assert!(http(&vault, "/readyz").ends_with("serving"));
    assert!(http(&vault, "/metrics").contains("\nnockvault_sealed 0\n"));
    vault.vaultctl(&["status"]).ok();
    let again = unseal(&vault);
    assert!(again.code == 2 && again.err.contains("not_sealed"), "{again:?}");
    // Unsealed is unsealed, over a restart too.
    vault.restart();
    assert_eq!(agent(&vault).ok(), stage::SECRET);
    verified(&vault);
}

#[test]
fn what_is_not_the_custodians_costs_a_second_and_nothing_else() {
    let vault = vault(|config| config);
    seal(&vault).ok();
    std::fs::write(vault.path().join("wrong.key"), [7; 32]).unwrap();
    let start = Instant::now();
    let wrong = stage::unseal_with(&vault, "wrong.key");
    assert!(wrong.code == 2 && wrong.err.contains("custody_refused"), "{wrong:?}");
    let hurried = unseal(&vault);
    if start.elapsed() < Duration::from_millis(900) {
        assert!(hurried.code == 2 && hurried.err.contains("rate_limited"), "{hurried:?}");
    }
    wait_until("it is taken", || {
        let done = unseal(&vault);
        done.code == 0 || done.err.contains("not_sealed")
    });
    assert_eq!(agent(&vault).ok(), stage::SECRET);
}

#[test]
fn two_who_unseal_at_once_get_one_vault() {
    let vault = vault(|config| config);
    seal(&vault).ok();
    let both: Vec<_> = std::thread::scope(|scope| {
        let both: Vec<_> = (0..2).map(|_| scope.spawn(|| unseal(&vault))).collect();
        both.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(both.iter().any(|said| said.code == 0), "{both:?}");
    assert!(both.iter().all(|said| said.code == 0 || said.err.contains("not_sealed")), "{both:?}");
    assert_eq!(agent(&vault).ok(), stage::SECRET);
    let starts = vault.vaultctl(&["audit", "export", "_vault"]).ok().matches("\"kind\":\"start\"").count();
    assert_eq!(starts, 2, "the first and the one after the seal");
}

#[test]
fn a_kill_at_any_step_leaves_a_vault_that_is_sealed_or_is_not() {
    // The step, and whether the vault is sealed when the daemon is started again.
    for (step, sealed) in [("operate: carried", false), ("seal: marked", true), ("seal: ended", true)] {
        let mut vault = vault(|config| config);
        vault.kill();
        vault.go_on_until(step);
        std::thread::scope(|scope| {
            scope.spawn(|| seal(&vault).fails(1));
            reached(&vault, step);
            // What asks meanwhile is answered or refused, and none hangs.
            let start = Instant::now();
            agent(&vault);
            assert!(start.elapsed() < Duration::from_secs(60), "{step}");
            stage::kill(&vault);
        });
        vault.kill();
        vault.go_on();
        assert_eq!(vault.ready.trim_end().ends_with(" sealed"), sealed, "{step}: {}", vault.ready);
        if sealed {
            unseal(&vault).ok();
        }
        assert_eq!(agent(&vault).ok(), stage::SECRET, "{step}");
        assert_eq!(operators_entries(&vault, "nockvault/vault_seal"), 1, "{step}: it stands in _operators");
        verified(&vault);
    }
}

#[test]
fn a_kill_while_it_unseals_leaves_it_sealed_and_whole() {
    let mut vault = vault(|config| config);
    seal(&vault).ok();
    vault.kill();
    vault.go_on_until("unseal: opened");
    std::thread::scope(|scope| {
        scope.spawn(|| unseal(&vault).fails(1));
        reached(&vault, "unseal: opened");
        stage::kill(&vault);
    });
    vault.kill();
    vault.go_on();
    assert!(vault.ready.trim_end().ends_with(" sealed"), "{}", vault.ready);
    unseal(&vault).ok();
    assert_eq!(agent(&vault).ok(), stage::SECRET);
    verified(&vault);
}

#[test]
fn a_sealed_daemon_ends_when_it_is_told_to() {
    let mut vault = vault(|config| config);
    seal(&vault).ok();
    // Twice: it ends with 0, or `restart` says so.
    vault.restart();
    vault.restart();
    assert!(vault.ready.trim_end().ends_with(" sealed"), "{}", vault.ready);
}

#[test]
fn a_launcher_waits_through_a_seal() {
    let vault = stage::short_lived();
    let mut launched = stage::Launched::start(&vault, &["--file", "F=orders-read"], "exec sleep 120");
    launched.wait_for_child();
    seal(&vault).ok();
    wait_until("it was said", || launched.words().contains("cannot be prolonged"));
    assert!(launched.words().contains("sealed"), "{}", launched.words());
    unseal(&vault).ok();
    wait_until("all is well", || launched.words().contains("is well again"));
    launched.end_by_signal();
    // And one that begins while it is sealed.
    seal(&vault).ok();
    let mut command = stage::exec(&vault);
    command.args(["--role", "orders-read", "--wait", "60s", "--", "sh", "-c", "printf %s \"$ORDERS_READ\""]);
    let given = std::thread::scope(|scope| {
        let running = scope.spawn(|| said(&mut command));
        std::thread::sleep(Duration::from_secs(2));
        unseal(&vault).ok();
        running.join().unwrap()
    });
    assert_eq!((given.code, given.out.as_str()), (0, stage::SECRET), "{given:?}");
}

#[test]
fn custody_is_spoken_of_on_unix_sockets_alone() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let vault =
        vault(|config| config.replace("# listen = \"127.0.0.1:8442\"", &format!("listen = \"127.0.0.1:{port}\"")));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let code = runtime.block_on(async {
        use nockvault::wire::v1::custody_service_client::CustodyServiceClient;
        let card = nockvault::client::place::card(Some(&vault.card())).unwrap();
        let address = format!("https://127.0.0.1:{port}");
        let channel = nockvault::client::channel::open(&address, card.ca.as_deref()).await.unwrap();
        let mut client = CustodyServiceClient::new(channel);
        [
            client.read_custody(nockvault::wire::v1::ReadCustodyRequest::default()).await.unwrap_err().code(),
            client.recover(nockvault::wire::v1::RecoverRequest::default()).await.unwrap_err().code(),
        ]
    });
    assert_eq!(code, [tonic::Code::Unimplemented; 2]);
    // Over TCP the command is refused before anything is sent.
    let card = std::fs::read_to_string(vault.card()).unwrap();
    let line = card.lines().find(|line| line.starts_with("operators")).unwrap();
    std::fs::write(vault.card(), card.replace(line, &format!("operators = \"https://127.0.0.1:{port}\""))).unwrap();
    let mut command = program(env!("CARGO_BIN_EXE_vaultctl"), vault.path());
    let refused = said(command.args(["--vault", "vault/prod.card", "unseal", "--root-key", "vault/root.key"])).fails(1);
    assert!(refused.contains("unix socket alone"), "{refused}");
}

fn started(vault: &Vault) -> Vec<Value> {
    let chain = vault.vaultctl(&["audit", "export", "_vault"]).ok();
    let entries = chain.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    entries.filter(|entry| entry["kind"] == "start").collect()
}

#[test]
fn each_start_says_how_it_came_to_the_root_key() {
    let vault = vault(|config| config);
    seal(&vault).ok();
    unseal(&vault).ok();
    let opened: Vec<Value> = started(&vault).iter().map(|entry| entry["body"]["opened"].clone()).collect();
    assert_eq!(opened, [json!({ "custodian": null, "shares": [] }), json!({ "custodian": "file", "shares": [] })]);
    verified(&vault);
}

#[test]
fn a_lock_down_leaves_nothing_alive_and_takes_seconds() {
    let vault = vault(|config| config);
    load::leases(&vault, 100);
    let start = Instant::now();
    let done = vault.vaultctl(&["lock-down", "--reason", "a drill", "-o", "json"]);
    let took = start.elapsed();
    let told: Value = serde_json::from_str(&done.out).unwrap_or_else(|_| panic!("{done:?}"));
    assert_eq!((done.code, &told["left"], &told["sealed"]), (0, &json!(0), &json!(true)), "{done:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!(vault.vaultctl(&["status"]).code, 2);
    unseal(&vault).ok();
    let live = vault.vaultctl(&["lease", "list", "--agent", "kit", "-o", "jsonl"]).ok();
    assert_eq!(live.lines().filter(|line| line.contains("\"live\"")).count(), 0);
    assert!(agent(&vault).err.contains("vault_frozen"), "it is frozen still");
    vault.vaultctl(&["thaw", "--everything"]).ok();
    assert_eq!(agent(&vault).ok(), stage::SECRET);
    verified(&vault);
}
