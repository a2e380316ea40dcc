//! Limits of number, and things that are not there or over: sessions, leases, nonces. And each statement at each of the
//! other calls.

use nockvault::denial::Reason::*;
use nockvault::id::LeaseId;
use nockvault::statement::Body as _;
use nockvault::statement::lease::{Release, Renew};
use nockvault::statement::session::{Close, Hello};
use nockvault::store::Rules;
use nockvault::time::Seconds;
use serde_json::json;

use crate::stage::Leaves::*;
use crate::stage::Stage;
use crate::support::agent::Rpc;
use crate::support::{Harness, new_key, rules, terms};

#[tokio::test]
async fn each_statement_is_taken_by_one_call() {
    let stage = Stage::set().await;
    let kit = &stage.kit;
    let statements = [
        (Hello::TYP, kit.signed(Hello { seal: kit.seal_statement() })),
        ("nockvault/issue", kit.issue("orders")),
        (Renew::TYP, kit.signed(Renew { lease: stage.live.clone(), ttl: Seconds(0) })),
        (Release::TYP, kit.signed(Release::Lease(stage.live.clone()))),
        (Close::TYP, kit.signed(Close {})),
        ("nockvault/rotate_key", kit.signed(kit.rotation(&new_key()))),
    ];
    for (typ, envelope) in &statements {
        for rpc in Rpc::ALL.into_iter().filter(|rpc| *rpc != Rpc::of(typ)) {
            stage.judge_at(rpc, &format!("{typ} at {rpc:?}"), envelope.clone(), WrongTyp, Nothing).await;
        }
    }
    // Nothing was spent: each of them is still good where it belongs. The close comes last, the others stand before it.
    for index in [0, 1, 2, 3, 5, 4] {
        let (typ, envelope) = &statements[index];
        let outcome = stage.vault.send(Rpc::of(typ), envelope.clone()).await;
        assert!(matches!(outcome, nockvault::vault::answer::Outcome::Released(_)), "{typ}: {outcome:?}");
    }
}

#[tokio::test]
async fn leases_that_are_not_there_or_over_are_refused() {
    let stage = Stage::set().await;
    let kit = &stage.kit;
    let unknown = LeaseId::new(stage.vault.clock_now().0, [7; 10]);
    let renew = |lease: &LeaseId, ttl| kit.signed(Renew { lease: lease.clone(), ttl: Seconds(ttl) });
    let release = |lease: &LeaseId| kit.signed(Release::Lease(lease.clone()));
    let no_request = Release::Req(nockvault::crypto::hash::Digest::of(b"no request"));
    for (rpc, name, envelope, wanted) in [
        (Rpc::RenewLease, "renew no lease", renew(&unknown, 0), LeaseUnknown),
        (Rpc::ReleaseLease, "release no lease", release(&unknown), LeaseUnknown),
        (Rpc::ReleaseLease, "release by no request", kit.signed(no_request), LeaseUnknown),
        (Rpc::RenewLease, "renew what was given back", renew(&stage.given_back, 0), LeaseEnded),
        (Rpc::ReleaseLease, "release what was given back", release(&stage.given_back), LeaseEnded),
        (Rpc::RenewLease, "renew a token", renew(&stage.token, 0), NotRenewable),
        (Rpc::RenewLease, "renew past the grant", renew(&stage.live, 3600), TtlExceedsGrant),
    ] {
        stage.judge_at(rpc, name, envelope, wanted, Denial).await;
    }
    let mut both = serde_json::to_value(kit.request(Release::Lease(stage.live.clone()))).unwrap();
    both["req"] = json!(nockvault::crypto::hash::Digest::of(b"r"));
    stage.judge_at(Rpc::ReleaseLease, "a lease and a request", kit.sign(&both), Schema, Nothing).await;
    let mut neither = both.clone();
    neither.as_object_mut().unwrap().retain(|name, _| name != "req" && name != "lease");
    stage.judge_at(Rpc::ReleaseLease, "neither", kit.sign(&neither), Schema, Nothing).await;
    let mut upper = both.clone();
    upper.as_object_mut().unwrap().remove("req");
    upper["lease"] = json!(stage.live.to_string().to_uppercase());
    stage.judge_at(Rpc::ReleaseLease, "a lease in capitals", kit.sign(&upper), Schema, Nothing).await;
}

#[tokio::test]
async fn sessions_that_are_not_there_or_over_are_refused() {
    let stage = Stage::set().await;
    for (sid, wanted) in [("never", SessionUnknown), ("closed", SessionEnded)] {
        let mut renew = stage.kit.request(Renew { lease: stage.live.clone(), ttl: Seconds(0) });
        let mut release = stage.kit.request(Release::Lease(stage.live.clone()));
        let mut close = stage.kit.request(Close {});
        for common in [&mut renew.common, &mut release.common, &mut close.common] {
            common.sid = sid.parse().unwrap();
        }
        stage.judge_at(Rpc::RenewLease, sid, stage.kit.sign(&renew), wanted, Denial).await;
        stage.judge_at(Rpc::ReleaseLease, sid, stage.kit.sign(&release), wanted, Denial).await;
        stage.judge_at(Rpc::CloseSession, sid, stage.kit.sign(&close), wanted, Denial).await;
    }
}

#[tokio::test]
async fn a_session_ends_when_nothing_comes_and_at_its_latest() {
    let vault = Harness::new().await;
    vault.kv_role("orders", b"a value").await;
    let mut kit = vault.agent("kit").await;
    vault.grant(&kit.name, "orders", terms()).await;
    kit.hello(&vault).await;
    vault.clock.advance(Seconds(3599));
    kit.get(&vault, "orders").await;
    vault.clock.advance(Seconds(3600));
    assert_eq!(vault.refuses(&kit.issue("orders")).await, SessionEnded, "an hour without a request");
    kit.new_session("busy");
    for _ in 0..3 {
        kit.get(&vault, "orders").await;
        vault.clock.advance(Seconds(2400));
    }
    assert_eq!(vault.refuses(&kit.issue("orders")).await, SessionEnded, "two hours in all");
    kit.new_session("new");
    kit.get(&vault, "orders").await;
}

#[tokio::test]
async fn sessions_and_leases_have_a_number() {
    let vault = Harness::with(Rules { sessions_per_agent: 2, leases_per_agent: 3, ..rules() }).await;
    vault.kv_role("orders", b"a value").await;
    let mut kit = vault.agent("kit").await;
    let mut ada = vault.agent("ada").await;
    for agent in [&kit, &ada] {
        vault.grant(&agent.name, "orders", terms()).await;
    }
    let mut leases = Vec::new();
    for _ in 0..3 {
        leases.push(kit.get(&vault, "orders").await.hdr.lease);
    }
    let refusal = vault.refusal(Rpc::RequestCredential, kit.issue("orders")).await;
    assert_eq!((refusal.reason, refusal.said.unwrap().limit), (LeaseLimit, Some(3)));
    ada.get(&vault, "orders").await;
    kit.release(&vault, &leases[0]).await;
    kit.get(&vault, "orders").await;

    kit.new_session("two");
    kit.hello(&vault).await;
    kit.new_session("three");
    let refusal = vault.refusal(Rpc::OpenSession, kit.signed(Hello { seal: kit.seal_statement() })).await;
    assert_eq!((refusal.reason, refusal.said.unwrap().limit), (SessionLimit, Some(2)));
    kit.sid = "two".parse().unwrap();
    kit.close(&vault).await;
    kit.new_session("three");
    kit.hello(&vault).await;
}

#[tokio::test]
async fn a_key_has_so_many_nonces_and_none_is_forgotten_early() {
    let vault = Harness::with(Rules { nonces_per_key: 6, ..rules() }).await;
    vault.kv_role("orders", b"a value").await;
    let mut kit = vault.agent("kit").await;
    vault.grant(&kit.name, "orders", terms()).await;
    let first = kit.issue("orders");
    let issued = vault.issued(&first).await;
    kit.keep(issued.entry);
    for _ in 1..6 {
        kit.get(&vault, "orders").await;
    }
    let before = vault.picture();
    assert_eq!(vault.refuses(&kit.issue("orders")).await, NoncesFull);
    assert_eq!(vault.refuses(&first).await, Replay, "the oldest was not given up for it");
    assert_eq!(before, vault.picture());
    vault.clock.advance(Seconds(301));
    vault.vault().tend_once().await;
    kit.get(&vault, "orders").await;
}
