//! A captured request is useless: not twice at once, not after a crash, not when the clock goes back, not under a later
//! grant, not at another vault, and not to fill its agent's chain.

#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

#[cfg(feature = "client")]
mod programs;
mod support;

#[cfg(feature = "client")]
#[path = "replay/killed.rs"]
mod killed;

use std::collections::BTreeMap;
use std::sync::Arc;

use nockvault::crypto::envelope::Envelope;
use nockvault::denial::Reason;
use nockvault::statement::session::{Close, Hello};
use nockvault::store::Rules;
use nockvault::time::{Seconds, Timestamp};
use nockvault::vault::answer::Outcome;
use serde_json::Value;

use support::agent::{Agent, Rpc, copy};
use support::{HERE, Harness, rules, terms};

/// How many copies of one request arrive at once.
const COPIES: usize = 1000;

/// A vault in which kit may have `orders`.
async fn vault() -> (Harness, Agent) {
    vault_under(rules()).await
}

async fn vault_under(rules: Rules) -> (Harness, Agent) {
    let vault = Harness::with(rules).await;
    vault.kv_role("orders", b"a value").await;
    let kit = vault.agent("kit").await;
    vault.grant(&kit.name, "orders", terms()).await;
    (vault, kit)
}

/// Sends so many copies at once. Gives how many were released, and the refusals by reason.
async fn storm(vault: &Harness, rpc: Rpc, envelope: &Envelope, copies: usize) -> (usize, BTreeMap<Reason, usize>) {
    let begin = Arc::new(tokio::sync::Barrier::new(copies));
    let sent: Vec<_> = (0..copies)
        .map(|_| {
            let (vault, envelope, begin) = (vault.vault().clone(), envelope.clone(), begin.clone());
            tokio::spawn(async move {
                begin.wait().await;
                match rpc {
                    Rpc::OpenSession => vault.open_session(envelope).await,
                    Rpc::RequestCredential => vault.issue(envelope, HERE).await,
                    Rpc::RenewLease => vault.renew(envelope, HERE).await,
                    Rpc::ReleaseLease => vault.release(envelope).await,
                    Rpc::CloseSession => vault.close(envelope).await,
                    Rpc::RotateKey => vault.rotate_key(envelope).await,
                }
            })
        })
        .collect();
    let (mut released, mut refused) = (0, BTreeMap::new());
    for one in sent {
        match one.await.unwrap() {
            Outcome::Released(_) => released += 1,
            Outcome::Refused(refusal) => *refused.entry(refusal.denial.reason).or_default() += 1,
        }
    }
    (released, refused)
}

fn all(reason: Reason, count: usize) -> BTreeMap<Reason, usize> {
    BTreeMap::from([(reason, count)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_thousand_copies_at_once_exactly_one_succeeds() {
    let (mut vault, mut kit) = vault().await;
    kit.hello(&vault).await;
    let request = kit.issue("orders");
    let before = vault.chain_of(&kit.name).await.len();
    assert_eq!(storm(&vault, Rpc::RequestCredential, &request, COPIES).await, (1, all(Reason::Replay, COPIES - 1)));
    let chain = vault.chain_of(&kit.name).await;
    assert_eq!(chain.len(), before + 1, "one entry, and none for its copies");
    assert_eq!(chain[before]["kind"], "issue");
    assert_eq!(vault.vault().store().census().await.unwrap().leases, 1);

    // The same again, after the process is gone without a word, and with the clock a little back and forward.
    for step in [0i64, -60_000, 60_000, 1] {
        vault.shut();
        vault.clock.set(Timestamp(vault.clock_now().0.checked_add_signed(step).unwrap()));
        vault.reopen().await;
        let held = vault.picture();
        assert_eq!(
            storm(&vault, Rpc::RequestCredential, &request, COPIES / 4).await,
            (0, all(Reason::Replay, COPIES / 4))
        );
        assert_eq!(held, vault.picture(), "the copies wrote something");
    }
    vault.verify_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_kind_of_request_is_done_once() {
    let (vault, mut kit) = vault().await;
    kit.hello(&vault).await;
    let lease = kit.get(&vault, "orders").await.hdr.lease;
    let next = support::new_key();
    let seal = kit.seal_statement();
    let renew = nockvault::statement::lease::Renew { lease: lease.clone(), ttl: Seconds(60) };
    for (rpc, request) in [
        (Rpc::OpenSession, kit.signed(Hello { seal })),
        (Rpc::RenewLease, kit.signed(renew)),
        (Rpc::ReleaseLease, kit.signed(nockvault::statement::lease::Release::Lease(lease))),
        (Rpc::RotateKey, kit.signed(kit.rotation(&next))),
        (Rpc::CloseSession, kit.signed(Close {})),
    ] {
        let before = vault.chain_of(&kit.name).await.len();
        assert_eq!(storm(&vault, rpc, &request, 100).await, (1, all(Reason::Replay, 99)), "{rpc:?}");
        assert_eq!(vault.chain_of(&kit.name).await.len(), before + 1, "{rpc:?}");
    }
    vault.verify_all().await;
}

/// A grant for one use is used once, however many good requests race for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_grant_for_five_uses_is_used_five_times_by_a_hundred_at_once() {
    let (vault, mut kit) = vault().await;
    vault.role("five", "kv", serde_json::json!({"secret": "orders"})).await;
    vault.grant(&kit.name, "five", nockvault::statement::grant::Terms { max_uses: Some(5), ..terms() }).await;
    kit.hello(&vault).await;
    let sent: Vec<_> = (0..100)
        .map(|_| {
            let (vault, envelope) = (vault.vault().clone(), kit.issue("five"));
            tokio::spawn(async move { vault.issue(envelope, HERE).await })
        })
        .collect();
    let mut released = 0;
    for one in sent {
        match one.await.unwrap() {
            Outcome::Released(_) => released += 1,
            Outcome::Refused(refusal) => assert_eq!(refusal.denial.reason, Reason::GrantExhausted),
        }
    }
    assert_eq!(released, 5);
    assert_eq!(vault.vault().store().census().await.unwrap().leases, 5);
    vault.verify_all().await;
}

#[tokio::test]
async fn a_request_is_refused_however_the_clock_is_moved() {
    let (mut vault, kit) = vault().await;
    let request = kit.issue("orders");
    let issued_at = vault.clock_now();
    vault.issued(&request).await;
    let mut seen = Vec::new();
    // Out of the window, the purge, back into it, and far before it: by the second, with a restart at each step.
    for offset in [0i64, 299, 300, 301, 302, 700, 302, 301, 300, 150, 0, -150, -300, -301, 0, 100_000, 0, 300] {
        vault.clock.set(Timestamp(issued_at.0.checked_add_signed(offset * 1000).unwrap()));
        vault.vault().tend_once().await;
        let reason = vault.refuses(&request).await;
        assert!([Reason::Replay, Reason::ClockSkew, Reason::Stale].contains(&reason), "{offset}: {reason}");
        seen.push(reason);
        if offset % 3 == 0 {
            vault.reopen().await;
            assert_eq!(vault.refuses(&request).await, reason, "{offset}: after a restart");
        }
    }
    assert!(seen.contains(&Reason::Replay) && seen.contains(&Reason::ClockSkew) && seen.contains(&Reason::Stale));
}

#[tokio::test]
async fn a_nonce_that_was_purged_stays_dead_under_a_wider_window() {
    let (mut vault, mut kit) = vault_under(Rules { skew: Seconds(10), ..rules() }).await;
    let old = kit.issue("orders");
    let issued = vault.issued(&old).await;
    kit.keep(issued.entry);
    let nonces = vault.picture().count("nonces");
    vault.clock.advance(Seconds(11));
    vault.vault().tend_once().await;
    assert!(vault.picture().count("nonces") < nonces, "nothing was purged");
    // A window that would hold it again: the floor stands in the way, also of a request that was never seen.
    let mut never_seen = kit.request(kit.issue_body("orders"));
    never_seen.common.iat = issued.hdr.iat;
    let never_seen = kit.sign(&never_seen);
    for skew in [3600, 86_400, 10, 3600] {
        vault.reopen_under(Rules { skew: Seconds(skew), ..rules() }).await;
        let wanted = if skew == 10 { Reason::ClockSkew } else { Reason::Stale };
        assert_eq!(vault.refuses(&old).await, wanted, "under {skew} s");
        assert_eq!(vault.refuses(&never_seen).await, wanted, "under {skew} s");
        vault.vault().tend_once().await;
    }
    // Above the floor all is well.
    vault.reopen_under(Rules { skew: Seconds(3600), ..rules() }).await;
    kit.get(&vault, "orders").await;
    let mut just_above = kit.request(kit.issue_body("orders"));
    just_above.common.iat = Timestamp(issued.hdr.iat.0 + 1);
    vault.issued(&kit.sign(&just_above)).await;
}

#[tokio::test]
async fn a_clock_behind_its_own_history_issues_nothing() {
    let (mut vault, mut kit) = vault().await;
    kit.get(&vault, "orders").await;
    let before = vault.picture();
    vault.clock.set(Timestamp(vault.clock_now().0 - 300_001));
    let refusal = vault.refusal(Rpc::RequestCredential, kit.issue("orders")).await;
    assert_eq!(refusal.reason, Reason::ClockBehind);
    assert_eq!(before, vault.picture());
    vault.clock.advance(Seconds(1));
    kit.get(&vault, "orders").await;
    vault.reopen().await;
    vault.verify_all().await;
}

#[tokio::test]
async fn a_denied_request_does_not_come_alive_under_a_later_grant() {
    let (mut vault, mut kit) = vault().await;
    vault.role("later", "kv", serde_json::json!({"secret": "orders"})).await;
    let early = kit.issue("later");
    assert_eq!(vault.refuses(&early).await, Reason::NoGrant);
    vault.grant(&kit.name, "later", terms()).await;
    assert_eq!(vault.refuses(&early).await, Reason::Replay);
    vault.reopen().await;
    assert_eq!(vault.refuses(&early).await, Reason::Replay);
    kit.get(&vault, "later").await;
}

/// Also where so many are denied that they get no entry of their own.
#[tokio::test]
async fn a_request_denied_in_a_summary_does_not_come_alive_either() {
    let (mut vault, mut kit) = vault_under(Rules { denials_per_minute: 2, ..rules() }).await;
    vault.role("later", "kv", serde_json::json!({"secret": "orders"})).await;
    let early: Vec<Envelope> = (0..5).map(|_| kit.issue("later")).collect();
    for request in &early {
        assert_eq!(vault.refuses(request).await, Reason::NoGrant);
    }
    let denies = |chain: &[Value]| chain.iter().filter(|entry| entry["kind"] == "deny").count();
    assert_eq!(denies(&vault.chain_of(&kit.name).await), 2);
    vault.grant(&kit.name, "later", terms()).await;
    vault.clock.advance(Seconds(61));
    vault.vault().tend_once().await;
    let chain = vault.chain_of(&kit.name).await;
    let summary = chain.iter().find(|entry| entry["kind"] == "deny_summary").expect("a summary of the rest");
    assert_eq!(summary["body"]["counts"], serde_json::json!({"no_grant": 3}));
    vault.reopen().await;
    for request in &early {
        assert_eq!(vault.refuses(request).await, Reason::Replay);
    }
    kit.get(&vault, "later").await;
    vault.verify_all().await;
}

#[tokio::test]
async fn copies_of_published_requests_do_not_fill_their_agents_chain() {
    let (mut vault, mut kit) = vault().await;
    let mut published =
        vec![kit.issue("orders"), kit.issue("nothing"), kit.signed(Hello { seal: kit.seal_statement() })];
    for request in &published {
        let payload: Value = serde_json::from_slice(&request.payload).unwrap();
        let _ = vault.send(Rpc::of(payload["typ"].as_str().unwrap()), request.clone()).await;
    }
    let first = kit.get(&vault, "orders").await;
    published.push(kit.signed(nockvault::statement::lease::Release::Lease(first.hdr.lease.clone())));
    vault.send(Rpc::ReleaseLease, published[3].clone()).await;
    // What a reader of the trail finds there, sent by somebody else to every call.
    for entry in vault.chain_of(&kit.name).await {
        let Some(embedded) = entry["body"].get("request") else { continue };
        let embedded: nockvault::crypto::envelope::Embedded = serde_json::from_value(embedded.clone()).unwrap();
        let mut envelope = embedded.open(nockvault::crypto::envelope::PayloadType::Request);
        envelope.kid = kit.key.kid().to_string();
        published.push(envelope);
    }
    assert_eq!(published.len(), 4 + 5);
    let before = vault.picture();
    for later in [0, 200, 301] {
        vault.clock.advance(Seconds(later));
        for request in &published {
            for rpc in Rpc::ALL {
                for _ in 0..5 {
                    vault.refusal(rpc, request.clone()).await;
                }
            }
        }
        assert_eq!(before, vault.picture(), "{later} s later");
    }
    // They are counted, and the counts stand in the vault's own chain.
    vault.clock.advance(Seconds(60));
    vault.vault().tend_once().await;
    let own = vault.entries(&nockvault::id::ChainName::vault()).await;
    let refused = own.iter().find(|entry| entry["kind"] == "refused").unwrap();
    assert!(refused["body"]["counts"]["replay"].as_u64().unwrap() >= 45, "{refused}");
    vault.reopen().await;
    vault.verify_all().await;
}

#[tokio::test]
async fn a_request_for_one_vault_is_nothing_at_another() {
    let (vault, kit) = vault().await;
    let (other, _) = self::vault().await;
    // The same key, the same role and the same grant at both.
    let mut twin = Agent::new("twin", copy(&kit.key), kit.form, &other.aud, &other.clock);
    other.register(&twin).await;
    other.grant(&twin.name, "orders", terms()).await;
    let request = kit.issue("orders");
    let before = other.picture();
    assert_eq!(other.refuses(&request).await, Reason::WrongVault);
    vault.issued(&request).await;
    assert_eq!(other.refuses(&request).await, Reason::WrongVault);
    assert_eq!(before, other.picture());
    twin.get(&other, "orders").await;
}
