//! The same with the real daemon: killed around the commit of a checkpoint, and with a byte flipped in its database.

use std::time::{Duration, Instant};

use nockvault::client::agent::{Agent, Ask};
use nockvault::client::fault::Fault;
use nockvault::client::keyfile;
use nockvault::client::signer::Identity;
use nockvault::statement::card::Card;
use serde_json::Value;

use crate::programs::Vault;

const PATIENCE: Duration = Duration::from_secs(30);

fn until(otherwise: &str, vault: &Vault, come: impl Fn() -> bool) {
    let begin = Instant::now();
    while !come() {
        let log = || std::fs::read_to_string(vault.log()).unwrap();
        assert!(begin.elapsed() < PATIENCE, "{otherwise}:\n{}", log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn kinds(vault: &Vault, chain: &str) -> Vec<String> {
    let text = vault.vaultctl(&["audit", "export", chain]).ok();
    let kind = |line: &str| serde_json::from_str::<Value>(line).unwrap()["kind"].as_str().unwrap().to_owned();
    text.lines().map(kind).collect()
}

#[test]
fn a_kill_before_or_after_the_commit_of_a_checkpoint_leaves_chains_that_verify() {
    let mut vault = Vault::start_with(|config| config.replace("every_s = 300", "every_s = 1"));
    vault.with_kit("a value");
    for step in ["checkpoint: appended", "checkpoint: committed"] {
        for _ in 0..2 {
            // Something new, so that a checkpoint comes due.
            vault.vaultctl(&["revoke", "kit", "orders-read"]).ok();
            vault.vaultctl(&["grant", "kit", "orders-read", "--ttl", "15m"]).ok();
            vault.kill();
            let before = std::fs::metadata(vault.log()).unwrap().len() as usize;
            vault.go_on_until(step);
            until("the step was not reached", &vault, || {
                let log = std::fs::read(vault.log()).unwrap();
                String::from_utf8_lossy(&log[before..]).contains(&format!("failpoint {step}\n"))
            });
            vault.kill();
            vault.go_on();
            for chain in ["_vault", "_operators", "kit"] {
                until("no checkpoint came", &vault, || kinds(&vault, chain).last().unwrap() == "checkpoint");
                let kinds = kinds(&vault, chain);
                let after_another = kinds.windows(2).any(|two| two == ["checkpoint", "checkpoint"]);
                assert!(!after_another, "{step}: {chain}: {kinds:?}");
                let report = vault.vaultctl(&["audit", "verify", chain]).ok();
                assert!(report.contains("intact"), "{step}: {report}");
            }
        }
    }
    let told = kinds(&vault, "_vault");
    assert_eq!(told.iter().filter(|kind| *kind == "recover").count(), 8, "each kill is told of: {told:?}");
    let refused = vault.vaultctl(&["clock", "reset"]).fails(2);
    assert!(refused.contains("clock_good"), "{refused}");
}

/// Registers an agent that may have what kit may.
fn enrol(vault: &Vault, name: &str) {
    vault.vaultctl(&["keygen", "--agent", name]).ok();
    vault.vaultctl(&["agent", "register", &format!("{name}.register")]).ok();
    vault.vaultctl(&["grant", name, "orders-read", "--ttl", "15m"]).ok();
}

async fn obtain(vault: &Vault, name: &str) -> Result<(), Fault> {
    let card = Card::read(&std::fs::read_to_string(vault.card()).unwrap()).unwrap();
    let key = keyfile::read_secret(&vault.path().join(format!("{name}.ed25519"))).unwrap();
    let agent = Agent::connect(&card, Identity::held(name.parse().unwrap(), key, 1)).await?;
    agent.session("work").unwrap().request(&Ask::role("orders-read".parse().unwrap())).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_byte_in_the_database_sets_that_chain_aside_and_the_others_serve() {
    let mut vault = Vault::start();
    vault.with_kit("a value");
    enrol(&vault, "ida");
    for name in ["kit", "ida"] {
        obtain(&vault, name).await.unwrap();
    }
    vault.kill();
    let database = rusqlite::Connection::open(vault.path().join("vault/data/vault.db")).unwrap();
    let (at, mut line): (i64, Vec<u8>) = database
        .query_row(
            "SELECT at, line FROM lines WHERE at = ((SELECT id FROM chains WHERE name = 'kit') << 32) + 1",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    let middle = line.len() / 2;
    line[middle] ^= 1;
    assert_eq!(database.execute("UPDATE lines SET line = ?2 WHERE at = ?1", rusqlite::params![at, line]).unwrap(), 1);
    drop(database);
    vault.go_on();

    let quarantined = || -> Value {
        let status = vault.vaultctl(&["status", "-o", "json"]).ok();
        serde_json::from_str::<Value>(&status).unwrap()["quarantined"].clone()
    };
    until("it is not noticed", &vault, || quarantined() == serde_json::json!(["kit"]));
    let log = std::fs::read_to_string(vault.log()).unwrap();
    assert!(
        log.lines().any(|line| line.contains("ERROR") && line.contains("kit") && line.contains("entry 1")),
        "{log}"
    );
    match obtain(&vault, "kit").await {
        Err(Fault::Refused(refusal)) => assert_eq!(refusal.code, "quarantined"),
        other => panic!("not refused: {other:?}"),
    }
    obtain(&vault, "ida").await.unwrap();
    // An auditor sees what lies there all the same.
    assert_eq!(vault.vaultctl(&["audit", "verify", "kit"]).code, 2);
}
