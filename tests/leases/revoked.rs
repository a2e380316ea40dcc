//! One command takes back a lease, a session's, an agent's, a role's, or all; what is many is ended in parts, also after
//! a restart; and what is issued after the command stays.

use nockvault::denial::Reason::*;
use nockvault::lease::State;
use nockvault::statement::lease::{LeaseRevoke, Scope};
use nockvault::statement::status::StatusRead;
use serde_json::json;

use super::support::agent::{Agent, Rpc};
use super::support::far::Temper;
use super::support::{Harness, terms};
use super::{kinds, world};

/// Ada and kit, two roles, two sessions each.
async fn crowd() -> (Harness, Agent, Agent) {
    let (vault, mut kit) = world().await;
    vault.kv_role("birds", b"a value").await;
    let mut ada = vault.agent("ada").await;
    vault.grant(&ada.name, "far", terms()).await;
    vault.grant(&ada.name, "birds", terms()).await;
    vault.grant(&kit.name, "birds", terms()).await;
    for agent in [&mut kit, &mut ada] {
        for sid in ["one", "two"] {
            agent.new_session(sid);
            agent.get(&vault, "far").await;
            agent.get(&vault, "birds").await;
        }
    }
    (vault, ada, kit)
}

async fn live(vault: &Harness) -> Vec<String> {
    let leases = vault.all_leases().await;
    let mut live: Vec<String> = leases
        .iter()
        .filter(|lease| lease.state == State::Live)
        .map(|lease| format!("{}/{}/{}", lease.agent, lease.sid, lease.role))
        .collect();
    live.sort();
    live
}

#[tokio::test]
async fn a_scope_takes_back_what_it_names_and_nothing_else() {
    let name = |text: &str| text.parse().unwrap();
    let all: Vec<String> = ["ada", "kit"]
        .iter()
        .flat_map(|agent| ["one", "two"].map(|sid| [format!("{agent}/{sid}/birds"), format!("{agent}/{sid}/far")]))
        .flatten()
        .collect();
    type Case = (Scope, fn(&str) -> bool, u64);
    let cases: [Case; 4] = [
        (Scope::Session(name("kit"), "one".parse().unwrap()), |lease| lease.starts_with("kit/one"), 2),
        (Scope::Agent(name("ada")), |lease| lease.starts_with("ada"), 4),
        (Scope::Role("far".parse().unwrap()), |lease| lease.ends_with("far"), 4),
        (Scope::All, |_| true, 8),
    ];
    for (scope, meant, count) in cases {
        let (vault, _ada, kit) = crowd().await;
        let session = matches!(scope, Scope::Session(..));
        let done = vault.order(LeaseRevoke { reason: None, scope: scope.clone() }).await;
        assert_eq!(done["leases"], json!(count), "{scope:?}");
        let left: Vec<String> = all.iter().filter(|lease| !meant(lease)).cloned().collect();
        assert_eq!(live(&vault).await, left, "{scope:?}");
        vault.vault().undo_once().await;
        assert_eq!(vault.far.handles().len(), left.iter().filter(|lease| lease.ends_with("far")).count(), "{scope:?}");
        if session {
            let mut back = Agent::new("kit", super::support::agent::copy(&kit.key), kit.form, &kit.aud, &kit.clock);
            (back.sid, back.seen) = ("one".parse().unwrap(), kit.seen);
            assert_eq!(vault.refuses(&back.issue("far")).await, SessionEnded);
            let chain = vault.chain_of(&kit.name).await;
            let ended = chain.iter().find(|entry| entry["kind"] == "session_end").unwrap();
            assert_eq!(
                (ended["body"]["reason"].as_str(), ended["body"]["by"]["chain"].as_str()),
                (Some("revoked"), Some("_operators"))
            );
        }
        vault.verify_all().await;
    }
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let (vault, _ada, _kit) = crowd().await;
    for scope in [
        Scope::Agent("nobody".parse().unwrap()),
        Scope::Session("kit".parse().unwrap(), "never".parse().unwrap()),
        Scope::Role("nothing".parse().unwrap()),
    ] {
        assert_eq!(
            vault.order_refused(LeaseRevoke { reason: None, scope: scope.clone() }).await.reason,
            NotFound,
            "{scope:?}"
        );
    }
    assert_eq!(live(&vault).await.len(), 8);
}

#[tokio::test]
async fn many_are_ended_in_parts_and_a_crash_leaves_the_rest_to_the_next_start() {
    let (mut vault, mut kit) = world().await;
    for _ in 0..250 {
        kit.get(&vault, "far").await;
    }
    vault.far.temper(Temper::Away);
    let done = vault.order(LeaseRevoke { reason: None, scope: Scope::All }).await;
    assert_eq!(done["leases"], 250);
    let status = vault.order(StatusRead {}).await;
    assert_eq!((&status["revoking"], &status["undoing"]), (&json!(1), &json!(100)));
    assert_eq!(live(&vault).await.len(), 150);
    // What is issued after the command is not meant by it.
    vault.far.temper(Temper::Well);
    vault.clock.advance(nockvault::time::Seconds(1));
    let after = kit.get(&vault, "far").await;
    vault.reopen().await;
    vault.vault().tend_once().await;
    assert_eq!(live(&vault).await.len(), 1);
    let status = vault.order(StatusRead {}).await;
    assert_eq!(status["revoking"], 0);
    vault.vault().undo_once().await;
    assert_eq!(vault.far.handles(), [nockvault::id::handle(&kit.name, &after.hdr.lease)]);
    let chain = vault.chain_of(&kit.name).await;
    let by: std::collections::BTreeSet<Option<u64>> = chain
        .iter()
        .filter(|entry| entry["kind"] == "revoke")
        .map(|entry| entry["body"]["by"]["seq"].as_u64())
        .collect();
    assert_eq!(by.len(), 1, "one command, one cause");
    assert_eq!(kinds(&chain).iter().filter(|kind| **kind == "revoke").count(), 250);
    vault.verify_all().await;
}

/// What an operator took back is over for the agent at once, whatever its backend does.
#[tokio::test]
async fn what_was_taken_back_is_not_renewed() {
    let (vault, mut kit) = world().await;
    let issued = kit.get(&vault, "far").await;
    vault.far.temper(Temper::Away);
    vault.order(LeaseRevoke { reason: None, scope: Scope::Lease(issued.hdr.lease.clone()) }).await;
    vault.far.temper(Temper::Well);
    let renew = nockvault::statement::lease::Renew { lease: issued.hdr.lease, ttl: nockvault::time::Seconds(0) };
    assert_eq!(vault.refusal(Rpc::RenewLease, kit.signed(renew)).await.reason, LeaseEnded);
}
