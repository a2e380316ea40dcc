//! What stands in the lists of revoked credentials.

use nockvault::engine::ca::Ended;
use nockvault::id::LeaseId;
use nockvault::statement::lease::Release;
use nockvault::store::Store;
use nockvault::time::{Clock, Seconds, Timestamp};
use rusqlite::params;

use super::world::{Kit, World, role};

async fn ended(world: &World, kit: &Kit) -> LeaseId {
    let (lease, _) = world.issue(kit, "s1").await.unwrap();
    let release = world.request(kit, "s1", Release::Lease(lease.clone())).await;
    world.store().release(&release).await.unwrap();
    lease
}

/// Says how a lease would be revoked, when it ended and how.
fn say(world: &World, lease: &LeaseId, revocation: &str, ended: Option<Timestamp>, state: &str) {
    let sql = "UPDATE leases SET revocation = ?2, ended = ?3, state = ?4 WHERE id = ?1";
    let row = params![lease.bytes(), revocation, ended.map(|at| at.0 as i64), state];
    assert_eq!(world.intruder().execute(sql, row).unwrap(), 1);
}

#[tokio::test]
async fn what_ended_before_its_time_is_listed_until_it_would_have_expired() {
    let world = World::new().await;
    let kit = world.granted("kit").await;
    let began = world.clock.now();
    let at = |seconds| began.plus(Seconds(seconds));
    let mut wanted = Vec::new();
    for (index, (revocation, state, is_listed)) in [
        ("listed", "released", true),
        ("listed", "revoked", true),
        ("listed", "undelivered", true),
        ("listed", "expired", false),
        ("listed", "live", false),
        ("none", "released", false),
        ("backend", "revoked", false),
    ]
    .into_iter()
    .enumerate()
    {
        world.clock.advance(Seconds(1));
        let lease = ended(&world, &kit).await;
        let row = world.store().lease(&lease).await.unwrap().unwrap();
        // The first says nothing of when it ended.
        let ended = (index > 0).then(|| at(100));
        say(&world, &lease, revocation, ended, state);
        if is_listed {
            let ended = ended.unwrap_or(row.issued);
            wanted.push(Ended { lease, handle: row.handle, ended, expires: row.expires });
        }
    }
    let (orders, other) = (role("orders"), role("other"));
    let ask = async |roles: &[_], now| world.store().listed(roles, now).await.unwrap();
    let both = [other.clone(), orders.clone()];
    assert_eq!(ask(&both, world.clock.now()).await, wanted);
    assert_eq!(ask(&[other], world.clock.now()).await, []);
    assert_eq!(ask(&[], world.clock.now()).await, []);
    // A lease of 900 s that began after a second; the next ones a second later each.
    assert_eq!(ask(&both, at(900)).await, wanted);
    assert_eq!(ask(&both, at(901)).await, wanted[1..]);
    assert_eq!(ask(&both, at(903)).await, []);

    // A row that none of ours could be holds up no others.
    let sql = "UPDATE leases SET ended = -5 WHERE id = ?1";
    world.intruder().execute(sql, params![wanted[1].lease.bytes()]).unwrap();
    assert_eq!(ask(&both, at(20)).await, [wanted[0].clone(), wanted[2].clone()]);
}
