//! One command freezes an agent: nothing it asks for is carried out, what it had is taken back, also by way of a restart;
//! thawed it begins anew.

use nockvault::denial::Reason::*;
use nockvault::statement::agent::{AgentFreeze, AgentKeyEnd, AgentThaw};
use nockvault::statement::lease::Release;
use serde_json::json;

use super::support::agent::Rpc;
use super::support::far::Temper;
use super::support::terms;
use super::{kinds, world};

#[tokio::test]
async fn a_frozen_agent_has_nothing_and_gets_nothing_until_it_is_thawed() {
    let (mut vault, mut kit) = world().await;
    let mut ada = vault.agent("ada").await;
    vault.grant(&ada.name, "far", terms()).await;
    let issued = kit.get(&vault, "far").await;
    ada.get(&vault, "far").await;
    let done = vault.order(AgentFreeze { agent: kit.name.clone() }).await;
    assert_eq!(done["leases"], json!(1));
    vault.vault().undo_once().await;
    assert_eq!(vault.far.handles().len(), 1, "the other agent's credential stays");
    assert_eq!(vault.refuses(&kit.issue("far")).await, AgentFrozen);
    assert_eq!(vault.refuses(&kit.issue("far")).await, AgentFrozen);
    let release = kit.signed(Release::Lease(issued.hdr.lease.clone()));
    assert_eq!(vault.refusal(Rpc::ReleaseLease, release).await.reason, AgentFrozen);
    vault.reopen().await;
    assert_eq!(vault.refuses(&kit.issue("far")).await, AgentFrozen, "it is frozen after a restart");
    assert!(ada.get(&vault, "far").await.hdr.agent == ada.name);

    vault.order(AgentThaw { agent: kit.name.clone() }).await;
    let again = vault.order_refused(AgentThaw { agent: kit.name.clone() }).await;
    assert_eq!(again.reason, NotFound);
    kit.get(&vault, "far").await;
    let chain = vault.chain_of(&kit.name).await;
    let told = kinds(&chain);
    let from = told.iter().position(|kind| *kind == "freeze").unwrap();
    assert_eq!(told[from..], ["freeze", "revoke", "undone", "deny", "deny", "deny", "deny", "thaw", "issue"]);
    vault.verify_all().await;
}

#[tokio::test]
async fn what_was_under_way_when_its_agent_was_frozen_does_not_come_alive() {
    let (vault, mut kit) = world().await;
    kit.get(&vault, "far").await;
    vault.far.takes(std::time::Duration::from_millis(300));
    let asked = kit.issue("far");
    let (answer, ()) = tokio::join!(vault.refuses(&asked), async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        vault.order(AgentFreeze { agent: kit.name.clone() }).await;
    });
    assert_eq!(answer, AgentFrozen);
    vault.far.takes(std::time::Duration::ZERO);
    vault.after(3600).await;
    assert!(vault.far.handles().is_empty());
    vault.verify_all().await;
}

#[tokio::test]
async fn freezing_goes_on_where_a_backend_is_away_and_where_there_are_many_leases() {
    let (mut vault, mut kit) = world().await;
    for _ in 0..120 {
        kit.get(&vault, "far").await;
    }
    vault.far.temper(Temper::Away);
    assert_eq!(vault.order(AgentFreeze { agent: kit.name.clone() }).await["leases"], json!(120));
    vault.reopen().await;
    vault.far.temper(Temper::Well);
    vault.after(60).await;
    assert!(vault.far.handles().is_empty());
    // An agent that is frozen can be frozen again, and its keys can be ended.
    vault.order(AgentFreeze { agent: kit.name.clone() }).await;
    vault.order(AgentKeyEnd { agent: kit.name.clone(), kid: None, suspect_from: None }).await;
    assert_eq!(vault.refusal(Rpc::RequestCredential, kit.issue("far")).await.reason, KeyRetired);
    vault.verify_all().await;
}
