//! What is given at a backend ends there: whichever way a lease ends, and whatever the backend does meanwhile. The order
//! is intent, mint, commit, answer; what is broken off in between is found and undone.

#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

#[path = "leases/frozen.rs"]
mod frozen;
#[path = "leases/hostile.rs"]
mod hostile;
#[path = "leases/keys.rs"]
mod keys;
#[path = "leases/own.rs"]
mod own;
#[path = "leases/revoked.rs"]
mod revoked;
#[path = "leases/swept.rs"]
mod swept;

use std::time::Duration;

use nockvault::denial::Reason::{self, *};
use nockvault::id::LeaseId;
use nockvault::lease::{Lease, State};
use nockvault::statement::lease::{LeaseForget, LeaseShow, Release, Renew, Which};
use nockvault::statement::reply::{Issued, Revocation};
use nockvault::time::{Seconds, Timestamp};
use serde_json::Value;

use support::agent::{Agent, Rpc};
use support::far::Temper;
use support::{Harness, rules, terms};

/// A vault with an agent that may have the role `far`.
async fn world() -> (Harness, Agent) {
    let vault = Harness::new().await;
    vault.role("far", "far", serde_json::json!({})).await;
    let kit = vault.agent("kit").await;
    vault.grant(&kit.name, "far", terms()).await;
    (vault, kit)
}

impl Harness {
    async fn lease(&self, id: &LeaseId) -> Lease {
        self.vault().store().lease(id).await.unwrap().unwrap()
    }

    async fn stuck(&self) -> Vec<Lease> {
        let page = nockvault::statement::command::Page::first();
        self.vault().store().leases(None, Which::Stuck, &page).await.unwrap().items
    }

    async fn all_leases(&self) -> Vec<Lease> {
        let page = nockvault::statement::command::Page::first();
        self.vault().store().leases(None, Which::All, &page).await.unwrap().items
    }

    /// Lets time pass, and does what the vault does then.
    async fn after(&self, seconds: u64) {
        self.clock.advance(Seconds(seconds));
        self.vault().tend_once().await;
        self.vault().undo_once().await;
    }
}

fn kinds(chain: &[Value]) -> Vec<&str> {
    chain.iter().map(|entry| entry["kind"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn each_end_takes_the_credential_away_and_says_so() {
    let (vault, mut kit) = world().await;
    let ends: [(&str, &str, State); 4] = [
        ("release", "release", State::Released),
        ("close", "close", State::Released),
        ("expire", "expire", State::Expired),
        ("ungrant", "revoke", State::Revoked),
    ];
    for (end, kind, state) in ends {
        kit.new_session(end);
        let issued = kit.get(&vault, "far").await;
        assert_eq!(issued.hdr.revocation, Revocation::Backend);
        let handle = nockvault::id::handle(&kit.name, &issued.hdr.lease);
        assert_eq!(vault.far.handles(), std::slice::from_ref(&handle), "{end}");
        assert_eq!(vault.far.bears(&handle), Some(issued.hdr.exp));
        let lease = &issued.hdr.lease;
        match end {
            "release" => drop(kit.release(&vault, lease).await),
            "close" => drop(kit.close(&vault).await),
            "expire" => vault.clock.advance(Seconds(301)),
            _ => vault.ungrant(&kit.name, "far").await,
        }
        vault.vault().tend_once().await;
        let ended = vault.lease(lease).await;
        assert_eq!((ended.state, ended.undo.is_some()), (state, true), "{end}");
        assert_eq!(vault.stuck().await.len(), 1, "{end}: it does not wait for its backend");
        vault.vault().undo_once().await;
        assert!(vault.far.handles().is_empty() && vault.stuck().await.is_empty(), "{end}");
        let chain = vault.chain_of(&kit.name).await;
        let [.., ended, undone] = chain.as_slice() else { panic!("no two entries") };
        assert_eq!((ended["kind"].as_str(), undone["kind"].as_str()), (Some(kind), Some("undone")), "{end}");
        assert_eq!(undone["body"], serde_json::json!({"lease": lease, "outcome": "revoked", "tries": 0}));
        if kind != "release" && kind != "close" {
            assert_eq!(ended["body"]["outcome"], "pending");
        }
    }
    vault.verify_all().await;
}

#[tokio::test]
async fn a_renewal_moves_the_backend_first_and_never_beyond_the_grant() {
    let (vault, mut kit) = world().await;
    let issued = kit.get(&vault, "far").await;
    let (lease, handle) = (issued.hdr.lease, nockvault::id::handle(&kit.name, &vault.all_leases().await[0].id));
    vault.clock.advance(Seconds(200));
    let renewed = kit.renew(&vault, &lease, 1000).await;
    assert_eq!(vault.far.bears(&handle), Some(renewed.exp), "the backend and the lease differ");
    assert_eq!(vault.lease(&lease).await.expires, renewed.exp);

    let beyond = kit.signed(Renew { lease: lease.clone(), ttl: Seconds(3500) });
    assert_eq!(vault.refusal(Rpc::RenewLease, beyond).await.reason, TtlExceedsGrant);
    assert_eq!(vault.far.bears(&handle), Some(renewed.exp), "a refused renewal reached the backend");

    for (temper, reason) in [(Temper::Away, EngineUnavailable), (Temper::Refusing, EngineRefused)] {
        vault.far.temper(temper);
        let envelope = kit.signed(Renew { lease: lease.clone(), ttl: Seconds(2000) });
        assert_eq!(vault.refusal(Rpc::RenewLease, envelope).await.reason, reason);
        assert_eq!(vault.lease(&lease).await.expires, renewed.exp, "it was renewed without its backend");
    }
    vault.far.temper(Temper::Well);
    let mut ada = vault.agent("ada").await;
    vault.grant(&ada.name, "far", terms()).await;
    ada.get(&vault, "far").await;
    let foreign = ada.signed(Renew { lease, ttl: Seconds(2000) });
    assert_eq!(vault.refusal(Rpc::RenewLease, foreign).await.reason, LeaseUnknown);
    assert_eq!(vault.far.bears(&handle), Some(renewed.exp), "another agent's renewal reached the backend");
    vault.verify_all().await;
}

#[tokio::test]
async fn what_is_not_minted_is_denied_with_its_handle_given_back_and_looked_for() {
    let (vault, kit) = world().await;
    vault.ungrant(&kit.name, "far").await;
    vault.grant(&kit.name, "far", nockvault::statement::grant::Terms { max_uses: Some(1), ..terms() }).await;
    for (temper, reason) in [(Temper::Away, EngineUnavailable), (Temper::Refusing, EngineRefused)] {
        vault.clock.advance(Seconds(1));
        vault.far.temper(temper);
        let envelope = kit.issue("far");
        assert_eq!(vault.refuses(&envelope).await, reason);
        assert_eq!(vault.refuses(&envelope).await, Replay, "a denied request came alive");
        let abandoned = vault.all_leases().await.remove(0);
        assert_eq!((abandoned.state, abandoned.undo.is_some()), (State::Abandoned, true));
        let chain = vault.chain_of(&kit.name).await;
        let denied = &chain.last().unwrap()["body"];
        assert_eq!(denied["reason"], reason.code());
        assert_eq!(
            (denied["lease"].as_str(), denied["handle"].as_str()),
            (Some(abandoned.id.as_str()), Some(abandoned.handle.as_str()))
        );
    }
    vault.far.temper(Temper::Well);
    let issued = vault.issued(&kit.issue("far")).await;
    assert_eq!(vault.refuses(&kit.issue("far")).await, GrantExhausted, "a use was given back twice");
    assert_eq!(vault.far.handles(), [nockvault::id::handle(&kit.name, &issued.hdr.lease)]);

    // That nothing is there proves nothing while the statement may still be under way.
    vault.vault().undo_once().await;
    assert_eq!(vault.stuck().await.len(), 2);
    vault.after(61).await;
    assert!(vault.stuck().await.is_empty());
    let chain = vault.chain_of(&kit.name).await;
    assert_eq!(kinds(&chain)[chain.len() - 2..], ["undone", "undone"]);
    vault.verify_all().await;
}

#[tokio::test]
async fn what_lands_after_its_caller_gave_up_is_undone() {
    let mut vault = Harness::new().await;
    vault.engine_deadline = Duration::from_millis(200);
    vault.reopen_under(rules()).await;
    vault.role("far", "far", serde_json::json!({})).await;
    let kit = vault.agent("kit").await;
    vault.grant(&kit.name, "far", terms()).await;
    vault.far.temper(Temper::Mute);
    assert_eq!(vault.refuses(&kit.issue("far")).await, EngineUnavailable);
    assert_eq!(vault.far.handles().len(), 1, "the backend did not do what it was told");
    vault.far.temper(Temper::Well);
    vault.vault().undo_once().await;
    assert!(vault.far.handles().is_empty() && vault.stuck().await.is_empty());
    let chain = vault.chain_of(&kit.name).await;
    assert_eq!(chain.last().unwrap()["body"]["outcome"], "revoked");
    vault.verify_all().await;
}

#[tokio::test]
async fn an_intent_that_a_crash_leaves_is_ended_before_anything_is_served() {
    let (mut vault, kit) = world().await;
    let envelope = kit.issue("far");
    vault.far.temper(Temper::Mute);
    {
        // The request is dropped in the middle, as a crash would; nobody ends its intent.
        let waiting = vault.send(Rpc::RequestCredential, envelope.clone());
        assert!(tokio::time::timeout(Duration::from_millis(300), waiting).await.is_err());
    }
    assert_eq!(vault.all_leases().await[0].state, State::Intended);
    assert_eq!(vault.far.handles().len(), 1);
    vault.far.temper(Temper::Well);
    vault.reopen().await;
    let lease = vault.all_leases().await.remove(0);
    assert_eq!((lease.state, vault.stuck().await.len()), (State::Abandoned, 1));
    let denied = vault.chain_of(&kit.name).await.pop().unwrap();
    assert_eq!((denied["kind"].as_str(), denied["body"]["reason"].as_str()), (Some("deny"), Some("interrupted")));
    assert_eq!(vault.refuses(&envelope).await, Replay);
    vault.vault().undo_once().await;
    assert!(vault.far.handles().is_empty());
    vault.verify_all().await;
}

#[tokio::test]
async fn an_intent_past_its_time_is_broken_off_by_whoever_finds_it() {
    let (vault, kit) = world().await;
    vault.far.temper(Temper::Mute);
    {
        let waiting = vault.send(Rpc::RequestCredential, kit.issue("far"));
        assert!(tokio::time::timeout(Duration::from_millis(300), waiting).await.is_err());
    }
    vault.far.temper(Temper::Well);
    vault.after(5).await;
    assert_eq!(vault.all_leases().await[0].state, State::Intended, "it was broken off while it may be under way");
    vault.after(1000).await;
    assert_eq!(vault.all_leases().await[0].state, State::Abandoned);
    assert!(vault.far.handles().is_empty() && vault.stuck().await.is_empty());
    vault.verify_all().await;
}

#[tokio::test]
async fn what_changed_between_intent_and_commit_decides() {
    let (vault, kit) = world().await;
    vault.far.takes(Duration::from_millis(400));
    let sent = async { vault.refuses(&kit.issue("far")).await };
    let taken_back = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        vault.ungrant(&kit.name, "far").await;
    };
    let (reason, ()) = tokio::join!(sent, taken_back);
    assert_eq!(reason, NoGrant);
    vault.far.takes(Duration::ZERO);
    assert_eq!(vault.far.handles().len(), 1);
    vault.vault().undo_once().await;
    assert!(vault.far.handles().is_empty());
    let chain = vault.chain_of(&kit.name).await;
    assert_eq!(kinds(&chain)[2..], ["ungrant", "deny", "undone"]);
    vault.verify_all().await;
}

#[tokio::test]
async fn a_backend_that_is_down_is_tried_until_it_is_back_and_holds_up_no_other() {
    let (vault, mut kit) = world().await;
    vault.kv_role("birds", b"a value").await;
    vault.grant(&kit.name, "birds", terms()).await;
    let issued: Vec<Issued> = [kit.get(&vault, "far").await, kit.get(&vault, "far").await].into();
    vault.far.temper(Temper::Away);
    vault.after(301).await;
    let stuck = vault.stuck().await;
    assert_eq!(stuck.len(), 2);
    assert!(
        stuck.iter().any(|lease| lease.undo.as_ref().unwrap().fault.as_ref().unwrap().contains("connection refused"))
    );
    // While it is down one is tried from time to time, and what it means is seen.
    let before = vault.far.calls().1;
    for _ in 0..20 {
        vault.after(40).await;
    }
    assert_eq!(vault.far.calls().1, before, "a backend that is away counted calls");
    let tries: u64 = vault.stuck().await.iter().map(|lease| lease.undo.as_ref().unwrap().tries).sum();
    assert!((20..=30).contains(&tries), "{tries} tries in 20 rounds");
    kit.get(&vault, "birds").await;
    let shown = vault.order(LeaseShow { lease: issued[0].hdr.lease.clone() }).await;
    assert_eq!(shown["state"], "expired");
    assert!(shown["undo"]["tries"].as_u64().is_some());

    vault.far.temper(Temper::Well);
    vault.after(31).await;
    assert!(vault.far.handles().is_empty() && vault.stuck().await.is_empty(), "they outlived the outage");
    vault.verify_all().await;
}

#[tokio::test]
async fn a_lease_that_its_backend_clings_to_stops_no_other_and_can_be_given_up() {
    let (vault, mut kit) = world().await;
    let (first, second) = (kit.get(&vault, "far").await, kit.get(&vault, "far").await);
    let clung = nockvault::id::handle(&kit.name, &first.hdr.lease);
    vault.far.cling_to(&clung);
    vault.after(301).await;
    assert_eq!(vault.far.handles(), std::slice::from_ref(&clung));
    let stuck = vault.stuck().await;
    assert_eq!(stuck.iter().map(|lease| &lease.id).collect::<Vec<_>>(), [&first.hdr.lease]);
    let undo = stuck[0].undo.clone().unwrap();
    assert!(undo.retry > vault.clock_now() && undo.fault.unwrap().contains("objects depend on it"));

    let wrong = vault.order_refused(LeaseForget { lease: second.hdr.lease }).await;
    assert_eq!(wrong.reason, NothingToUndo);
    let done = vault.order(LeaseForget { lease: first.hdr.lease.clone() }).await;
    assert_eq!(done["handle"], clung.as_str());
    assert!(vault.stuck().await.is_empty());
    let chain = vault.chain_of(&kit.name).await;
    assert_eq!(kinds(&chain).last(), Some(&"forget"));
    let again = vault.order_refused(LeaseForget { lease: first.hdr.lease }).await;
    assert_eq!(again.reason, NothingToUndo);
    vault.verify_all().await;
}

#[tokio::test]
async fn a_silent_backend_costs_its_own_requests_their_deadline_and_others_nothing() {
    let mut vault = Harness::new().await;
    vault.engine_deadline = Duration::from_secs(3);
    vault.reopen_under(rules()).await;
    vault.role("far", "far", serde_json::json!({})).await;
    vault.kv_role("birds", b"a value").await;
    let kit = vault.agent("kit").await;
    for role in ["far", "birds"] {
        vault.grant(&kit.name, role, terms()).await;
    }
    vault.far.temper(Temper::Silent);
    let began = std::time::Instant::now();
    let mut hanging = tokio::task::JoinSet::new();
    let flow = std::sync::Arc::clone(vault.vault());
    for _ in 0..100 {
        let (flow, envelope) = (std::sync::Arc::clone(&flow), kit.issue("far"));
        hanging.spawn(async move { flow.issue(envelope, support::HERE).await });
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    for _ in 0..10 {
        vault.issued(&kit.issue("birds")).await;
    }
    assert!(began.elapsed() < Duration::from_secs(3), "the other engine waited: {:?}", began.elapsed());
    let outcomes = hanging.join_all().await;
    assert!(began.elapsed() < Duration::from_secs(9), "the deadline passed long ago: {:?}", began.elapsed());
    let refused = outcomes.into_iter().filter(|outcome| match outcome {
        nockvault::vault::answer::Outcome::Refused(refused) => refused.denial.reason == EngineUnavailable,
        nockvault::vault::answer::Outcome::Released(_) => false,
    });
    assert_eq!(refused.count(), 100);
    assert!(vault.far.most_at_once() <= 16, "{} calls at once", vault.far.most_at_once());
    vault.verify_all().await;
}

#[tokio::test]
async fn the_quota_counts_intents_and_the_ended_make_room() {
    let mut vault = Harness::new().await;
    vault.reopen_under(nockvault::store::Rules { leases_per_agent: 2, ..rules() }).await;
    vault.role("far", "far", serde_json::json!({})).await;
    let mut kit = vault.agent("kit").await;
    vault.grant(&kit.name, "far", terms()).await;
    let first = kit.get(&vault, "far").await;
    kit.get(&vault, "far").await;
    assert_eq!(vault.refuses(&kit.issue("far")).await, LeaseLimit);
    assert_eq!(vault.far.calls().0, 2, "the backend was asked for more than the agent may have");
    kit.release(&vault, &first.hdr.lease).await;
    kit.get(&vault, "far").await;
    vault.verify_all().await;
}

#[tokio::test]
async fn an_agent_finds_what_it_has_not_got_by_its_request() {
    let (vault, mut kit) = world().await;
    let envelope = kit.issue("far");
    let issued = vault.issued(&envelope).await;
    let release = kit.signed(Release::Req(envelope.digest()));
    let released: nockvault::statement::reply::Released =
        vault.released(vault.send(Rpc::ReleaseLease, release.clone()).await, release.digest());
    assert_eq!(released.lease, issued.hdr.lease);
    kit.keep(released.entry);
    vault.vault().undo_once().await;
    assert!(vault.far.handles().is_empty());
}

/// What one of the store's rows says cannot be changed without the root key: the agent's chain is set aside instead.
#[tokio::test]
async fn a_lease_that_somebody_changed_in_the_database_is_noticed() {
    for change in [
        "UPDATE leases SET expires = expires + 1000000",
        "UPDATE leases SET state = 'released', retry = NULL",
        "UPDATE leases SET revocation = 'none'",
        "UPDATE leases SET handle = 'nv_kit_other'",
        "UPDATE leases SET latest = latest + 1000000",
    ] {
        let (vault, mut kit) = world().await;
        let issued = kit.get(&vault, "far").await;
        assert!(vault.database().execute(change, []).unwrap() > 0, "{change}");
        let renew = kit.signed(Renew { lease: issued.hdr.lease.clone(), ttl: Seconds(0) });
        let reason = vault.refusal(Rpc::RenewLease, renew).await.reason;
        assert!([Quarantined, AuditUnavailable, Internal].contains(&reason), "{change}: {reason}");
    }
    let (vault, mut kit) = world().await;
    kit.get(&vault, "far").await;
    vault.far.temper(Temper::Away);
    vault.after(301).await;
    let later = format!("UPDATE leases SET retry = {}", Timestamp(u64::MAX >> 12).0);
    vault.database().execute(&later, []).unwrap();
    vault.far.temper(Temper::Well);
    vault.after(3600).await;
    // It is not tried, but it is not silent either: whoever looks is told.
    let reason: Reason = vault.order_refused(LeaseShow { lease: vault_lease(&vault) }).await.reason;
    assert!([Quarantined, AuditUnavailable, Internal].contains(&reason), "{reason}");
}

fn vault_lease(vault: &Harness) -> LeaseId {
    let id: [u8; 16] = vault.database().query_row("SELECT id FROM leases", [], |row| row.get(0)).unwrap();
    LeaseId::from_bytes(id).unwrap()
}
