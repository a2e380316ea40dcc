//! Whoever steps the clock, leaves rows in the database file that none of ours could be, or floods: the vault begins,
//! ends what is over, and forgets what it may forget.
#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use nockvault::denial::Reason;
use nockvault::lease::State;
use nockvault::statement::command::Page;
use nockvault::statement::grant::GrantRevoke;
use nockvault::time::Seconds;

use support::agent::Rpc;
use support::{Harness, terms};

const DAY: u64 = 86_400;

async fn states(vault: &Harness) -> Vec<State> {
    let leases =
        vault.vault().store().leases(None, nockvault::statement::lease::Which::All, &Page::first()).await.unwrap();
    leases.items.iter().map(|lease| lease.state).collect()
}

#[tokio::test]
async fn a_clock_that_was_days_ahead_keeps_no_vault_from_beginning_and_no_lease_alive() {
    let mut vault = Harness::new().await;
    vault.kv_role("orders", b"a value").await;
    let mut kit = vault.agent("kit").await;
    vault.grant(&kit.name, "orders", terms()).await;
    let began = vault.clock_now();
    vault.clock.set(began.plus(Seconds(5 * DAY)));
    vault.vault().tend_once().await;
    kit.get(&vault, "orders").await;
    vault.clock.set(began.plus(Seconds(1)));

    // It begins, gives nothing while its clock is behind its history, and takes back what it gave.
    for _ in 0..2 {
        vault.reopen().await;
        assert_eq!(vault.refuses(&kit.issue("orders")).await, Reason::ClockBehind);
    }
    let wish = GrantRevoke { agent: kit.name.clone(), role: "orders".parse().unwrap() };
    assert_eq!(vault.order(wish).await["leases"], 1);
    assert_eq!(states(&vault).await, [State::Revoked]);
    vault.verify_all().await;

    // Also by the key of the day after, and once time has come that far.
    for days in [1, 2, 4, 6, 8] {
        vault.clock.set(began.plus(Seconds(days * DAY)));
        vault.vault().tend_once().await;
        vault.put_secret("orders", b"another value").await;
    }
    vault.verify_all().await;
}

#[tokio::test]
async fn a_row_that_none_of_ours_could_be_keeps_nothing_else_alive() {
    let forgeries = [
        "UPDATE sessions SET seal = 'x', due = 0 WHERE chain = ?1",
        "UPDATE sessions SET used = -1, due = 0 WHERE chain = ?1",
        "UPDATE leases SET id = x'00', expires = 0 WHERE chain = ?1",
        "UPDATE leases SET id = zeroblob(16), expires = 0 WHERE chain = ?1",
        "UPDATE leases SET sid = '', expires = 0 WHERE chain = ?1",
        "UPDATE leases SET issued = -1 WHERE chain = ?1",
        "INSERT INTO denials VALUES (1, ?1, 'replay', 0, -1, 0, 0), (1, ?1, 'stale', 0, 1, -1, 0)",
        "INSERT INTO denials VALUES (-1, ?1, 'replay', 0, 1, 0, 0)",
        "INSERT INTO denials VALUES (1, ?1, 'replay', 0, 9007199254740992, 0, 0)",
        "INSERT INTO denials VALUES (1, ?1, 'no reason', 0, 1, 0, 0)",
        "INSERT INTO nonces SELECT id, x'00', -1, 0 FROM keys WHERE chain = ?1",
    ];
    for sql in forgeries {
        let vault = Harness::new().await;
        vault.kv_role("orders", b"a value").await;
        let (mut kit, mut ida) = (vault.agent("kit").await, vault.agent("ida").await);
        for agent in [&mut kit, &mut ida] {
            vault.grant(&agent.name, "orders", terms()).await;
            agent.get(&vault, "orders").await;
        }
        let database = vault.database();
        database.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        let chain: i64 =
            database.query_row("SELECT chain FROM agents WHERE name = 'kit'", [], |row| row.get(0)).unwrap();
        assert!(database.execute(sql, [chain]).unwrap() > 0, "{sql}");

        vault.clock.advance(Seconds(3601));
        vault.vault().tend_once().await;
        let kinds: Vec<_> = vault.chain_of(&ida.name).await.iter().map(|entry| entry["kind"].clone()).collect();
        for kind in ["expire", "session_end"] {
            assert!(kinds.iter().any(|had| had == kind), "{sql}: no {kind} in {kinds:?}");
        }
        // Nothing forged went into a chain under the vault's signature.
        vault.verify_all().await;
    }
}

#[tokio::test]
async fn nonces_past_their_window_are_forgotten_as_fast_as_they_come() {
    let vault = Harness::with(nockvault::store::Rules { nonces_per_key: 600, ..support::rules() }).await;
    let mut kit = vault.agent("kit").await;
    for _ in 0..600 {
        kit.hello(&vault).await;
    }
    vault.clock.advance(Seconds(301));
    // One round, and there is room for as many again.
    vault.vault().tend_once().await;
    for _ in 0..600 {
        kit.hello(&vault).await;
    }
}

#[tokio::test]
async fn an_agent_changes_its_key_often_and_not_without_end() {
    let vault = Harness::new().await;
    let mut kit = vault.agent("kit").await;
    for _ in 1..32 {
        kit.rotate(&vault).await;
    }
    let wish = || kit.signed(kit.rotation(&support::new_key()));
    let refused = vault.refusal(Rpc::RotateKey, wish()).await;
    assert_eq!((refused.reason, refused.denial.limit), (Reason::RateLimited, Some(DAY + 1)));
    vault.clock.advance(Seconds(DAY + 1));
    kit.rotate(&vault).await;
    vault.verify_all().await;
}
