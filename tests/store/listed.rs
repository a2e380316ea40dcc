//! What stands in the lists of revoked credentials.

use nockvault::engine::ca::Ended;
use nockvault::id::LeaseId;
use nockvault::lease::State;
use nockvault::statement::lease::{LeaseRevoke, Release, Scope};
use nockvault::statement::reply::Revocation;
use nockvault::store::{Order, Rules, Store};
use nockvault::time::{Clock, Seconds, Timestamp};

use super::world::{Kit, RULES, World, role};

/// A lease whose credential can be revoked in this way.
async fn issued(world: &World, kit: &Kit, sid: &str, revocation: Revocation) -> LeaseId {
    let request = world.wants(kit, sid).await;
    world.record_as(&request, revocation).await.unwrap().0
}

async fn release(world: &World, kit: &Kit, sid: &str, lease: &LeaseId) {
    let release = world.request(kit, sid, Release::Lease(lease.clone())).await;
    world.store().release(&release).await.unwrap();
}

async fn listed(world: &World, at: Timestamp) -> Vec<LeaseId> {
    let listed = world.store().listed(&[role("other"), role("orders")], at).await.unwrap();
    listed.into_iter().map(|ended| ended.lease).collect()
}

#[tokio::test]
async fn what_ended_before_its_time_is_listed_until_it_would_have_expired() {
    let world = World::new().await;
    let kit = world.granted("kit").await;
    let began = world.clock.now();
    let mut wanted = Vec::new();

    let released = issued(&world, &kit, "s1", Revocation::Listed).await;
    world.clock.advance(Seconds(10));
    release(&world, &kit, "s1", &released).await;
    wanted.push(released.clone());

    let revoked = issued(&world, &kit, "s1", Revocation::Listed).await;
    let command = world.command(LeaseRevoke { reason: None, scope: Scope::Lease(revoked.clone()) }).await;
    world.order(&Order::RevokeLeases(&command)).await.result.unwrap();
    wanted.push(revoked);

    // What cannot be revoked, or is where it lives, is in no list; nor is what lives.
    for revocation in [Revocation::None, Revocation::Backend] {
        let lease = issued(&world, &kit, "s1", revocation).await;
        release(&world, &kit, "s1", &lease).await;
    }
    issued(&world, &kit, "s1", Revocation::Listed).await;
    assert_eq!(listed(&world, world.clock.now()).await, wanted);

    let row = world.store().lease(&released).await.unwrap().unwrap();
    let all = world.store().listed(&[role("orders")], world.clock.now()).await.unwrap();
    let Ended { handle, ended, expires, .. } = &all[0];
    assert_eq!((handle, *ended, *expires), (&row.handle, began.plus(Seconds(10)), row.expires));
    assert_eq!(world.store().listed(&[role("other")], began).await.unwrap(), []);
    assert_eq!(world.store().listed(&[], began).await.unwrap(), []);

    let gone = world.store().lease(&released).await.unwrap().unwrap().expires;
    assert_eq!(listed(&world, Timestamp(gone.0 - 1)).await.len(), 2);
    assert_eq!(listed(&world, gone).await, wanted[1..]);
}

/// A lease that ended with its session is `expired`, and its credential would still be taken.
#[tokio::test]
async fn what_ended_with_its_session_is_listed_too() {
    let world = World::with(Rules { session_idle: Seconds(300), ..RULES }).await;
    let kit = world.granted("kit").await;
    let lease = issued(&world, &kit, "s1", Revocation::Listed).await;
    world.clock.advance(world.rules.session_idle);
    world.store().end_due(100).await.unwrap();
    let row = world.store().lease(&lease).await.unwrap().unwrap();
    assert_eq!(row.state, State::Expired);
    assert!(row.expires > world.clock.now(), "the session outlives its leases here, and the test shows nothing");
    assert_eq!(listed(&world, world.clock.now()).await, [lease]);
}

/// A clock that was ahead said that its time was over when it was taken back; what expired by itself needs no list.
#[tokio::test]
async fn what_was_taken_back_under_a_clock_that_was_ahead_is_listed() {
    let world = World::new().await;
    let kit = world.granted("kit").await;
    let began = world.clock.now();
    let [revoked, expired] = [(); 2].map(|()| issued(&world, &kit, "s1", Revocation::Listed));
    let (revoked, expired) = (revoked.await, expired.await);
    let expires = world.store().lease(&revoked).await.unwrap().unwrap().expires;
    world.clock.set(expires.plus(Seconds(1)));
    let command = world.command(LeaseRevoke { reason: None, scope: Scope::Lease(revoked.clone()) }).await;
    world.order(&Order::RevokeLeases(&command)).await.result.unwrap();
    world.store().end_due(100).await.unwrap();
    world.clock.set(began.plus(Seconds(1)));
    let row = world.store().lease(&expired).await.unwrap().unwrap();
    assert_eq!(row.state, State::Expired);
    assert_eq!(listed(&world, world.clock.now()).await, [revoked]);
    assert_eq!(listed(&world, expires).await, []);
}

#[tokio::test]
async fn a_row_that_none_of_ours_could_be_holds_up_no_others() {
    let world = World::new().await;
    let (kit, ada) = (world.granted("kit").await, world.granted("ada").await);
    let mut leases = Vec::new();
    for kit in [&kit, &ada] {
        let lease = issued(&world, kit, "s1", Revocation::Listed).await;
        release(&world, kit, "s1", &lease).await;
        leases.push(lease);
    }
    for change in ["ended = -5", "ended = ended + 1000", "handle = 'nv_other'"] {
        let sql = format!("UPDATE leases SET {change} WHERE id = ?1");
        world.intruder().execute(&sql, [leases[0].bytes()]).unwrap();
        assert_eq!(listed(&world, world.clock.now()).await, leases[1..], "{change}");
    }
}
