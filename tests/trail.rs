//! What the vault writes unasked into its chains, and how it watches over them: checkpoints on time, its limits, what a
//! start found after a daemon that did not end in order, and the inspection of all chains.
#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

#[path = "trail/daemon.rs"]
mod daemon;
mod programs;
mod support;

use std::collections::BTreeMap;

use nockvault::denial::Reason;
use nockvault::id::ChainName;
use nockvault::store::{Pace, Rules, Store as _};
use nockvault::time::Seconds;
use serde_json::Value;

use support::{Harness, rules, terms};

async fn entries(vault: &Harness, chain: &str) -> Vec<Value> {
    vault.entries(&chain.parse().unwrap()).await
}

/// The kinds of a chain's entries, in order.
async fn kinds(vault: &Harness, chain: &str) -> Vec<String> {
    let entries = entries(vault, chain).await;
    entries.iter().map(|entry| entry["kind"].as_str().unwrap().to_owned()).collect()
}

async fn newest(vault: &Harness, chain: &str) -> Value {
    entries(vault, chain).await.pop().unwrap()
}

async fn at_work(rules: Rules) -> (Harness, support::agent::Agent) {
    let vault = Harness::with(rules).await;
    vault.kv_role("orders", b"a value").await;
    let mut kit = vault.agent("kit").await;
    vault.grant(&kit.name, "orders", terms()).await;
    kit.get(&vault, "orders").await;
    (vault, kit)
}

#[tokio::test]
async fn chains_get_their_checkpoints_in_time_and_none_after_another() {
    let (vault, mut kit) = at_work(Rules { checkpoints: Pace { entries: 50, after: Seconds(60) }, ..rules() }).await;
    vault.vault().tend_once().await;
    assert_ne!(newest(&vault, "kit").await["kind"], "checkpoint");
    vault.clock.advance(Seconds(60));
    for _ in 0..2 {
        vault.vault().tend_once().await;
        assert_eq!(newest(&vault, "kit").await["kind"], "checkpoint");
        vault.clock.advance(Seconds(100));
    }
    for _ in 0..50 {
        kit.hello(&vault).await;
    }
    vault.vault().tend_once().await;
    let kinds = kinds(&vault, "kit").await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "checkpoint").count(), 2, "{kinds:?}");
    assert_eq!(kinds.last().unwrap(), "checkpoint");
    vault.verify_all().await;
}

#[tokio::test]
async fn a_vault_that_stops_leaves_nothing_without_a_checkpoint() {
    let (mut vault, _) = at_work(rules()).await;
    vault.vault().stop().await;
    for chain in ["kit", "_operators", "_vault"] {
        assert_eq!(newest(&vault, chain).await["kind"], "checkpoint", "{chain}");
    }
    let written = kinds(&vault, "_vault").await;
    assert_eq!(written[written.len() - 2], "stop");
    vault.reopen().await;
    assert!(!kinds(&vault, "_vault").await.contains(&"recover".to_owned()), "it had ended in order");
    vault.verify_all().await;
}

#[tokio::test]
async fn the_key_of_checkpoints_outlives_its_certificates() {
    let vault = Harness::with(Rules { checkpoints: Pace { entries: 1, after: Seconds(60) }, ..rules() }).await;
    for days in [100, 200, 300, 400, 900] {
        vault.clock.advance(Seconds(days * 86_400));
        // A day is over, which `_vault` says, and the newest state of it is signed at once.
        vault.vault().tend_once().await;
        assert_eq!(newest(&vault, "_vault").await["kind"], "checkpoint", "after {days} more days");
    }
    vault.verify_all().await;
}

#[tokio::test]
async fn a_start_writes_limits_only_where_they_changed() {
    let mut vault = Harness::new().await;
    let configs = async |vault: &Harness| -> Vec<BTreeMap<String, u64>> {
        let entries = entries(vault, "_vault").await;
        let configs = entries.iter().filter(|entry| entry["kind"] == "config");
        configs.map(|entry| serde_json::from_value(entry["body"]["limits"].clone()).unwrap()).collect()
    };
    assert_eq!(configs(&vault).await.len(), 1);
    vault.reopen().await;
    assert_eq!(configs(&vault).await.len(), 1, "nothing changed");
    let other = BTreeMap::from([("skew_s".to_owned(), 60)]);
    assert!(vault.sqlite().config(&other).await.unwrap().is_some());
    assert_eq!(vault.sqlite().config(&other).await.unwrap(), None);
    vault.reopen().await;
    let all = configs(&vault).await;
    assert_eq!((all.len(), &all[1], &all[2]), (3, &other, &all[0]));
    vault.verify_all().await;
}

#[tokio::test]
async fn after_a_crash_the_next_start_says_what_it_found() {
    let (mut vault, kit) = at_work(rules()).await;
    let row = vault.database();
    vault.shut();
    assert_eq!(row.execute("UPDATE chains SET leases = 9 WHERE name = 'kit'", []).unwrap(), 1);
    drop(row);
    vault.clock.advance(Seconds(5));
    vault.reopen().await;
    let entries = entries(&vault, "_vault").await;
    let [.., start, recover] = &entries[..] else { panic!("too short") };
    assert_eq!((&start["kind"], &recover["kind"]), (&"start".into(), &"recover".into()));
    assert_eq!(recover["body"]["quarantined"], serde_json::json!(["kit"]));
    assert_eq!(recover["body"]["interrupted"], 0);
    assert_eq!(recover["body"]["since"], start["ts"].as_u64().unwrap() - 5000);
    assert_eq!(vault.refuses(&kit.issue("orders")).await, Reason::Quarantined);
}

#[tokio::test]
async fn an_inspection_sets_a_changed_chain_aside_and_no_other() {
    let (vault, mut kit) = at_work(rules()).await;
    let mut ida = vault.agent("ida").await;
    vault.grant(&ida.name, "orders", terms()).await;
    for _ in 0..200 {
        kit.hello(&vault).await;
    }
    let inspected = vault.vault().inspect().await;
    assert_eq!((inspected.chains, inspected.quarantined.len()), (4, 0));
    let sql = "UPDATE lines SET line = CAST(replace(CAST(line AS TEXT), '\"seq\":150', '\"seq\":151') AS BLOB)
               WHERE at = ((SELECT id FROM chains WHERE name = 'kit') << 32) + 150";
    assert_eq!(vault.database().execute(sql, []).unwrap(), 1);
    let name: ChainName = "kit".parse().unwrap();
    assert!(vault.sqlite().census().await.unwrap().quarantined.is_empty());
    let inspected = vault.vault().inspect().await;
    assert_eq!((inspected.chains, &inspected.quarantined[..]), (3, &[name.clone()][..]));
    assert_eq!(vault.sqlite().census().await.unwrap().quarantined, [name]);
    assert_eq!(vault.refuses(&kit.issue("orders")).await, Reason::Quarantined);
    ida.get(&vault, "orders").await;
    // Once is enough, and what is set aside is not looked at again.
    let inspected = vault.vault().inspect().await;
    assert_eq!((inspected.chains, inspected.quarantined.len()), (3, 0));
}

#[tokio::test]
async fn a_leaf_or_a_line_taken_out_is_found_too() {
    for sql in [
        "UPDATE lines SET leaf = zeroblob(32) WHERE at = ?1",
        "UPDATE lines SET leaf = x'00' WHERE at = ?1",
        "DELETE FROM lines WHERE at = ?1",
    ] {
        let (vault, mut kit) = at_work(rules()).await;
        for _ in 0..5 {
            kit.hello(&vault).await;
        }
        let database = vault.database();
        let at: i64 =
            database.query_row("SELECT (id << 32) + 3 FROM chains WHERE name = 'kit'", [], |row| row.get(0)).unwrap();
        assert_eq!(database.execute(sql, [at]).unwrap(), 1);
        let inspected = vault.vault().inspect().await;
        assert_eq!(inspected.quarantined.len(), 1, "{sql}: {inspected:?}");
    }
}
