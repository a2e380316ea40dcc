//! The sweep takes away what this vault made and no lease answers for, and leaves everything else alone.

use nockvault::id::{ChainName, LeaseId, handle};
use nockvault::statement::lease::{LeaseForget, LeaseRevoke, Scope};
use nockvault::time::Clock as _;

use super::support::far::Temper;
use super::support::{Harness, terms};
use super::{kinds, world};

#[tokio::test]
async fn what_no_lease_answers_for_is_taken_away_and_stands_in_the_trail() {
    let (vault, mut kit) = world().await;
    let live = kit.get(&vault, "far").await;
    let (live, orphan) = (handle(&kit.name, &live.hdr.lease), handle(&kit.name, &LeaseId::new(1, [3; 10])));
    vault.far.put(&orphan);
    vault.far.put("postgres");
    vault.far.put("nv_kit_not-a-lease");
    vault.vault().sweep().await;
    let mut left = vec!["nv_kit_not-a-lease".to_owned(), live, "postgres".to_owned()];
    left.sort();
    assert_eq!(vault.far.handles(), left);
    let entries = vault.entries(&ChainName::vault()).await;
    let swept: Vec<_> = entries.iter().filter(|entry| entry["kind"] == "swept").map(|entry| &entry["body"]).collect();
    assert_eq!(swept, [&serde_json::json!({"handle": orphan, "outcome": "revoked", "role": "far"})]);
    vault.verify_all().await;
}

#[tokio::test]
async fn what_was_given_up_is_taken_away_when_its_backend_lets_go() {
    let (vault, mut kit) = world().await;
    let issued = kit.get(&vault, "far").await;
    vault.far.temper(Temper::Away);
    kit.release(&vault, &issued.hdr.lease).await;
    vault.vault().undo_once().await;
    vault.order(LeaseForget { lease: issued.hdr.lease }).await;
    vault.vault().sweep().await;
    assert_eq!(vault.far.handles().len(), 1);
    vault.far.temper(Temper::Well);
    vault.vault().sweep().await;
    assert!(vault.far.handles().is_empty());
    assert_eq!(kinds(&vault.entries(&ChainName::vault()).await).last(), Some(&"swept"));
}

/// What somebody put back into the store as it was before: the credential it does not know of any more is found.
#[tokio::test]
async fn what_an_older_store_does_not_know_is_taken_away() {
    let (vault, mut kit) = world().await;
    kit.get(&vault, "far").await;
    vault.database().execute("DELETE FROM leases", []).unwrap();
    vault.vault().sweep().await;
    assert!(vault.far.handles().is_empty());
}

#[tokio::test]
async fn what_waits_for_its_backend_is_left_to_its_lease() {
    let (vault, mut kit) = world().await;
    let issued = kit.get(&vault, "far").await;
    kit.release(&vault, &issued.hdr.lease).await;
    vault.vault().sweep().await;
    assert_eq!(vault.far.handles().len(), 1);
    vault.vault().undo_once().await;
    assert!(vault.far.handles().is_empty());
    assert!(!kinds(&vault.entries(&ChainName::vault()).await).contains(&"swept"));
}

/// Damages the chain of kit, which is found when the vault starts.
async fn quarantine_kit(vault: &mut Harness) {
    vault.shut();
    let last = "UPDATE lines SET leaf = zeroblob(32) WHERE at = (SELECT MAX(l.at) FROM lines l JOIN chains c
                ON l.at >> 32 = c.id WHERE c.name = 'kit')";
    assert_eq!(vault.database().execute(last, []).unwrap(), 1);
    vault.reopen().await;
}

/// Nothing of a chain that is set aside can be ended in the store; its credentials end at their backend all the same.
#[tokio::test]
async fn what_a_quarantined_chain_had_is_taken_away_when_its_time_is_over() {
    let (mut vault, mut kit) = world().await;
    let (ended, live) = (kit.get(&vault, "far").await, kit.get(&vault, "far").await);
    vault.far.temper(Temper::Away);
    kit.release(&vault, &ended.hdr.lease).await;
    quarantine_kit(&mut vault).await;
    vault.far.temper(Temper::Well);
    vault.vault().tend_once().await;
    vault.vault().undo_once().await;
    assert_eq!(vault.far.handles().len(), 2, "it was undone and could not be recorded");
    vault.vault().sweep().await;
    assert_eq!(vault.far.handles(), [handle(&kit.name, &live.hdr.lease)], "what lives is left alone");
    vault.clock.advance(nockvault::time::Seconds(700));
    vault.vault().sweep().await;
    assert!(vault.far.handles().is_empty());
    assert_eq!(kinds(&vault.entries(&ChainName::vault()).await).iter().filter(|kind| **kind == "swept").count(), 2);
}

/// While a backend is away, one lease is tried from time to time. The oldest may be one that nobody can record.
#[tokio::test]
async fn what_a_quarantined_chain_had_keeps_nothing_waiting() {
    let (mut vault, mut kit) = world().await;
    let mut ada = vault.agent("ada").await;
    vault.grant(&ada.name, "far", terms()).await;
    let (first, second) = (kit.get(&vault, "far").await, ada.get(&vault, "far").await);
    vault.far.temper(Temper::Away);
    kit.release(&vault, &first.hdr.lease).await;
    quarantine_kit(&mut vault).await;
    ada.release(&vault, &second.hdr.lease).await;
    vault.vault().undo_once().await;
    vault.far.temper(Temper::Well);
    vault.after(60).await;
    assert!(vault.lease(&second.hdr.lease).await.undo.is_none(), "it waits behind what is not tried");
}

/// A clock that is far ahead puts the next try off to a time that will not come.
#[tokio::test]
async fn a_try_that_a_wrong_clock_put_off_is_made_when_the_clock_is_right() {
    let (vault, mut kit) = world().await;
    let issued = kit.get(&vault, "far").await;
    vault.far.temper(Temper::Away);
    kit.release(&vault, &issued.hdr.lease).await;
    let right = vault.clock.now();
    vault.clock.advance(nockvault::time::Seconds(365 * 86_400));
    vault.vault().undo_once().await;
    assert!(vault.lease(&issued.hdr.lease).await.undo.unwrap().retry > right.plus(nockvault::time::Seconds(86_400)));
    vault.far.temper(Temper::Well);
    vault.clock.set(right.plus(nockvault::time::Seconds(60)));
    vault.after(60).await;
    assert!(vault.lease(&issued.hdr.lease).await.undo.is_none(), "it waits for a year");
}

/// Who writes the database can delete a chain's row. What a command takes back from others is taken back.
#[tokio::test]
async fn a_command_about_a_chain_that_was_deleted_keeps_no_other_lease_alive() {
    let (vault, mut kit) = world().await;
    let mut ada = vault.agent("ada").await;
    vault.grant(&ada.name, "far", terms()).await;
    for _ in 0..60 {
        kit.get(&vault, "far").await;
    }
    vault.order(LeaseRevoke { reason: None, scope: Scope::Agent(kit.name.clone()) }).await;
    let issued = ada.get(&vault, "far").await;
    let gone = "UPDATE chains SET name = 'gone' WHERE name = 'kit'";
    assert_eq!(vault.database().execute(gone, []).unwrap(), 1);
    vault.order(LeaseRevoke { reason: None, scope: Scope::Lease(issued.hdr.lease.clone()) }).await;
    vault.after(1000).await;
    vault.vault().tend_once().await;
    assert!(vault.lease(&issued.hdr.lease).await.state.ended());
    let second = ada.get(&vault, "far").await;
    vault.after(100_000).await;
    assert!(vault.lease(&second.hdr.lease).await.state.ended(), "it expires as ever");
}
