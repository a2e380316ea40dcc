//! Rotation of the data keys: everything is covered anew, nothing that is not ours is, and it survives whatever comes
//! between.

use nockvault::crypto::hash::Digest;
use nockvault::denial::Reason;
use nockvault::secret::SecretBytes;
use nockvault::statement::freeze::{RoleFreeze, RoleThaw};
use nockvault::statement::key::RingRotate;
use nockvault::statement::reply::Revocation;
use nockvault::statement::secret::{SecretPut, SecretUse};
use nockvault::store::sqlite::OpenFault;
use nockvault::store::{Order, Pass, RingRows, Rings as _, Rules, Store};
use rusqlite::Connection;

use super::world::{Kit, RULES, World, denied, open};

async fn rotate(world: &World) -> u64 {
    let result = world.order(&Order::RotateRing(&world.command(RingRotate {}).await)).await.result.unwrap();
    result["epoch"].as_u64().unwrap()
}

/// Parts of a pass, at most so many.
async fn parts(world: &World, limit: usize) -> u64 {
    let (mut at, mut rows) = (Some(Pass::begin()), 0);
    for _ in 0..limit {
        let Some(from) = at else { return rows };
        let covered = world.store().cover_anew(&from).await.unwrap();
        (at, rows) = (covered.next, rows + covered.rows);
    }
    rows
}

/// A whole pass, and the end of the keys that nothing names any more. Gives what is left.
async fn pass(world: &World) -> RingRows {
    parts(world, usize::MAX).await;
    let rows = world.store().ring_rows().await.unwrap();
    for epoch in rows.spent() {
        world.store().delete_epoch(epoch).await.unwrap();
    }
    rows
}

async fn put(world: &World, name: &str, value: &[u8]) {
    let body = SecretPut { name: name.parse().unwrap(), sealed: Digest::of(value), expires: None, used: SecretUse::Kv };
    let (command, value) = (world.command(body).await, SecretBytes::from(value.to_vec()));
    world.order(&Order::PutSecret(&command, &value)).await.result.unwrap();
}

async fn value(world: &World, name: &str) -> Vec<u8> {
    let stored = world.store().secret_value(SecretUse::Kv, &name.parse().unwrap(), None).await.unwrap();
    stored.unwrap().value.expose().clone()
}

/// A store with a row of every kind.
async fn full() -> (World, Kit, Kit) {
    with_rows(3).await
}

/// The same, with so many of those of which there are many: more than a hundred make several parts.
async fn with_rows(many: u8) -> (World, Kit, Kit) {
    let world = World::with(Rules { leases_per_agent: 10_000, ..RULES }).await;
    let (kit, ida) = (world.granted("kit").await, world.granted("ida").await);
    for version in 0..many {
        put(&world, "orders-db", &[version; 40]).await;
    }
    for number in 0..many {
        put(&world, &format!("many/{number}"), b"value").await;
    }
    world
        .order(&Order::FreezeRole(
            &world.command(RoleFreeze { reason: Default::default(), role: "orders".parse().unwrap() }).await,
        ))
        .await;
    world.order(&Order::ThawRole(&world.command(RoleThaw { role: "orders".parse().unwrap() }).await)).await;
    world.role("frozen").await;
    world
        .order(&Order::FreezeRole(
            &world.command(RoleFreeze { reason: Default::default(), role: "frozen".parse().unwrap() }).await,
        ))
        .await;
    for _ in 0..many {
        world.issue(&kit, "s1").await.unwrap();
        world.issue(&ida, "s1").await.unwrap();
    }
    let request = world.wants(&kit, "s1").await;
    world.record_as(&request, Revocation::Backend).await.unwrap();
    (world, kit, ida)
}

fn macs(conn: &Connection, table: &str) -> Vec<Vec<u8>> {
    let mut statement = conn.prepare(&format!("SELECT DISTINCT substr(mac, 1, 8) FROM {table}")).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

const TABLES: [&str; 9] = ["chains", "vault", "agents", "operators", "keys", "roles", "grants", "uses", "leases"];

#[tokio::test]
async fn everything_is_covered_anew_while_it_is_used_and_the_old_key_goes() {
    let (mut world, kit, ida) = with_rows(120).await;
    assert_eq!(rotate(&world).await, 2);
    assert_eq!(world.store().epochs(), [1, 2]);
    let before = world.store().ring_rows().await.unwrap();
    assert!(before.left() > 500 && before.spent().is_empty(), "{before:?}");
    // A part at a time, and the vault serves in between.
    let mut at = Some(Pass::begin());
    while let Some(from) = at {
        at = world.store().cover_anew(&from).await.unwrap().next;
        world.issue(&kit, "s1").await.unwrap();
        assert_eq!(value(&world, "orders-db").await, [119; 40]);
    }
    let after = world.store().ring_rows().await.unwrap();
    assert_eq!((after.left(), after.spent()), (0, vec![1]), "{after:?}");
    world.store().delete_epoch(1).await.unwrap();
    assert_eq!(world.store().epochs(), [2]);
    let intruder = world.intruder();
    for table in TABLES.iter().chain(&["newest", "freezes", "custodians"]) {
        assert_eq!(macs(&intruder, table), [2_u64.to_be_bytes().to_vec()], "{table}");
    }
    let kept: Vec<u64> = intruder
        .prepare("SELECT epoch FROM ring")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(kept, [2]);
    drop(intruder);
    for _ in 0..2 {
        world.issue(&kit, "s1").await.unwrap();
        world.issue(&ida, "s1").await.unwrap();
        assert_eq!(value(&world, "many/119").await, b"value");
        assert!(world.store().census().await.unwrap().quarantined.is_empty());
        world.restart().await;
        assert_eq!(world.store().epochs(), [2]);
    }
    world.verify(&[&kit, &ida]).await;
}

#[tokio::test]
async fn it_goes_on_after_a_restart_at_any_part_and_after_another_rotation() {
    let (mut world, kit, ida) = full().await;
    rotate(&world).await;
    for limit in 1..9 {
        parts(&world, limit).await;
        world.restart().await;
        if limit == 5 {
            assert_eq!(rotate(&world).await, 3);
            assert_eq!(world.store().epochs(), [1, 2, 3]);
        }
        world.issue(&kit, "s1").await.unwrap();
    }
    assert_eq!(pass(&world).await.left(), 0);
    assert_eq!(world.store().epochs(), [3]);
    world.restart().await;
    assert_eq!(world.store().epochs(), [3]);
    assert_eq!(value(&world, "orders-db").await, [2; 40]);
    world.issue(&ida, "s1").await.unwrap();
    world.verify(&[&kit, &ida]).await;
}

#[tokio::test]
async fn what_is_forged_is_not_covered_and_keeps_its_key() {
    for (sql, aside) in [
        ("UPDATE leases SET expires = expires * 2 WHERE chain = (SELECT id FROM chains WHERE name = 'kit')", true),
        (
            "UPDATE leases SET state = 'live', chain = (SELECT id FROM chains WHERE name = 'kit')
          WHERE id = (SELECT id FROM leases WHERE chain = (SELECT id FROM chains WHERE name = 'ida') LIMIT 1)",
            true,
        ),
        ("UPDATE grants SET since = since + 1 WHERE chain = (SELECT id FROM chains WHERE name = 'kit')", true),
        ("UPDATE uses SET count = 0 WHERE chain = (SELECT id FROM chains WHERE name = 'kit')", true),
        ("UPDATE chains SET leases = 0 WHERE name = 'kit'", true),
        (
            "DELETE FROM lines WHERE at = (SELECT MAX(at) FROM lines WHERE at / 4294967296 =
          (SELECT id FROM chains WHERE name = 'kit'))",
            true,
        ),
        ("UPDATE secrets SET version = 500 WHERE name = 'many/2'", false),
        ("INSERT INTO takebacks (scope, before, by, mac) SELECT '\"all\"', 0, '{}', mac FROM leases LIMIT 1", false),
    ] {
        let (mut world, _, ida) = full().await;
        rotate(&world).await;
        world.shut_and(|intruder| assert!(intruder.execute(sql, []).unwrap() > 0));
        world.begin().await;
        let rows = pass(&world).await;
        assert!(rows.left() > 0, "{sql}: what is forged was covered");
        assert_eq!(world.store().epochs(), [1, 2], "{sql}");
        let quarantined = world.store().census().await.unwrap().quarantined;
        assert_eq!(
            quarantined.iter().map(ToString::to_string).collect::<Vec<_>>(),
            if aside { vec!["kit"] } else { vec![] },
            "{sql}"
        );
        world.restart().await;
        world.issue(&ida, "s1").await.unwrap();
        assert_eq!(pass(&world).await.left(), rows.left(), "{sql}");
        world.verify(&[&ida]).await;
    }
}

#[tokio::test]
async fn a_key_that_is_put_back_opens_nothing() {
    let (mut world, kit, ida) = full().await;
    let intruder = world.intruder();
    intruder
        .execute_batch(
            "CREATE TABLE old_ring AS SELECT * FROM ring; CREATE TABLE old_leases AS SELECT * FROM leases;
             CREATE TABLE old_vault AS SELECT * FROM vault;",
        )
        .unwrap();
    drop(intruder);
    rotate(&world).await;
    assert_eq!(pass(&world).await.left(), 0);
    world.shut_and(|intruder| {
        intruder.execute_batch("INSERT INTO ring SELECT * FROM old_ring").unwrap();
        intruder
            .execute(
                "UPDATE leases SET mac = (SELECT o.mac FROM old_leases o WHERE o.id = leases.id)
                      WHERE chain = (SELECT id FROM chains WHERE name = 'kit')
                      AND id IN (SELECT id FROM old_leases)",
                [],
            )
            .unwrap();
    });
    world.begin().await;
    assert_eq!(world.store().epochs(), [2], "a key that was deleted is taken back");
    rotate(&world).await;
    pass(&world).await;
    assert_eq!(denied(world.issue(&kit, "s1").await), Reason::Quarantined);
    world.issue(&ida, "s1").await.unwrap();
    // Nor does the vault's own row of before.
    world.shut();
    let intruder = world.intruder();
    intruder.execute_batch("DELETE FROM vault; INSERT INTO vault SELECT * FROM old_vault").unwrap();
    drop(intruder);
    let opened = open(world.folder.path(), world.rules, &world.clock, &world.entropy);
    assert!(matches!(&opened, Err(OpenFault::Broken(why)) if why.contains("forged")), "{:?}", opened.map(|_| ()));
}

#[tokio::test]
async fn a_key_that_is_gone_is_missed() {
    let (mut world, ..) = full().await;
    rotate(&world).await;
    world.shut();
    world.intruder().execute("DELETE FROM ring WHERE epoch = 1", []).unwrap();
    let opened = open(world.folder.path(), world.rules, &world.clock, &world.entropy);
    assert!(matches!(&opened, Err(OpenFault::Broken(why)) if why.contains("epoch 1")), "{:?}", opened.map(|_| ()));
}

#[tokio::test]
async fn a_rotation_that_is_refused_turns_nothing() {
    let (mut world, kit, _) = full().await;
    let command = world.command(RingRotate {}).await;
    world.order(&Order::RotateRing(&command)).await.result.unwrap();
    let again = world.store().carry_out(&Order::RotateRing(&command)).await;
    assert_eq!(denied(again.map(|_| ())), Reason::Replay);
    assert_eq!(world.store().epochs(), [1, 2]);
    // Where it cannot be written, the key that was drawn for it seals nothing.
    world.store().limit_size(1).await.unwrap();
    let refused = loop {
        let command = world.command(RingRotate {}).await;
        match world.store().carry_out(&Order::RotateRing(&command)).await {
            Ok(_) => continue,
            refused => break refused.map(|_| ()),
        }
    };
    assert!(refused.is_err());
    let epochs = world.store().epochs();
    world.store().limit_size(u64::MAX).await.unwrap();
    world.issue(&kit, "s1").await.unwrap();
    world.restart().await;
    assert_eq!(world.store().epochs(), epochs);
    world.issue(&kit, "s1").await.unwrap();
}
