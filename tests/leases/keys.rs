//! An intent outlives the key that asked for it: the key is ended, or goes with its overlap, while the backend is at work
//! or nobody is. The `deny` that the intent ends with stands behind the end of the key, and the chain is as good as any.

use std::time::Duration;

use nockvault::denial::Reason::KeyRetired;
use nockvault::lease::State;
use nockvault::time::Seconds;

use super::support::HERE;
use super::support::agent::Rpc;
use super::support::far::Temper;
use super::world;

#[tokio::test]
async fn a_key_that_is_ended_while_the_backend_is_at_work_leaves_a_chain_that_verifies() {
    let (vault, kit) = world().await;
    vault.far.takes(Duration::from_millis(600));
    let (asked, envelope) = (vault.vault().clone(), kit.issue("far"));
    let waiting = tokio::spawn(async move { asked.issue(envelope, HERE).await });
    while vault.all_leases().await.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    vault.end_key(&kit.name, kit.key.kid()).await;
    let refused = vault.refused(waiting.await.unwrap(), vault.all_leases().await[0].req);
    assert_eq!(refused.reason, KeyRetired);
    let kinds: Vec<String> =
        vault.chain_of(&kit.name).await.iter().map(|entry| entry["kind"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kinds[kinds.len() - 2..], ["agent_key_end", "deny"]);
    vault.verify_all().await;
}

#[tokio::test]
async fn an_intent_that_is_broken_off_after_the_overlap_of_its_key_leaves_a_chain_that_verifies() {
    let (mut vault, mut kit) = world().await;
    vault.far.temper(Temper::Mute);
    {
        let waiting = vault.send(Rpc::RequestCredential, kit.issue("far"));
        assert!(tokio::time::timeout(Duration::from_millis(300), waiting).await.is_err());
    }
    vault.far.temper(Temper::Well);
    kit.rotate(&vault).await;
    // Nobody looks for longer than the overlap; then the next daemon finds the intent.
    vault.clock.advance(Seconds(700));
    vault.reopen().await;
    assert_eq!(vault.all_leases().await[0].state, State::Abandoned);
    assert_eq!(vault.chain_of(&kit.name).await.pop().unwrap()["kind"], "deny");
    vault.verify_all().await;
}
