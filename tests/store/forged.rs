//! Somebody who can write the database file, and lacks the root key.

use nockvault::crypto::signature::SigningKey;
use nockvault::denial::Reason;
use nockvault::lease::State;
use nockvault::statement::grant::{GrantRevoke, Terms};
use nockvault::statement::role::RoleCreate;
use nockvault::store::{Failure, Order, Store};
use nockvault::time::{Clock, Seconds};
use rusqlite::params;

use super::world::{Kit, World, denied, role, terms};

async fn set_aside(world: &World) -> Vec<String> {
    world.store().census().await.unwrap().quarantined.iter().map(ToString::to_string).collect()
}

/// Kit's chain is set aside when it is read anew, and Ida's goes on.
async fn only_kit_is_set_aside(world: &mut World, kit: &Kit, ida: &Kit) {
    world.restart().await;
    assert_eq!(denied(world.issue(kit, "s1").await), Reason::Quarantined);
    assert_eq!(set_aside(world).await, ["kit"]);
    world.issue(ida, "s1").await.unwrap();
    world.verify(&[ida]).await;
}

async fn two() -> (World, Kit, Kit) {
    let world = World::new().await;
    let (kit, ida) = (world.granted("kit").await, world.granted("ida").await);
    (world, kit, ida)
}

#[tokio::test]
async fn an_agent_written_into_the_database_is_a_stranger() {
    let mut world = World::new().await;
    world.granted("kit").await;
    let eve = SigningKey::generate(&*world.entropy);
    let intruder = world.intruder();
    // All rows of an agent, with the MACs of another.
    for sql in [
        "INSERT INTO chains (name, size, leaf, ts, kid, deciding, deciders, uses, sessions, leases, mac)
         SELECT 'eve', size, leaf, ts, kid, deciding, deciders, uses, sessions, leases, mac FROM chains WHERE name = 'kit'",
        "INSERT INTO lines (at, leaf, line) SELECT at - (SELECT id FROM chains WHERE name = 'kit') * 4294967296
         + (SELECT id FROM chains WHERE name = 'eve') * 4294967296, leaf, line FROM lines
         WHERE at / 4294967296 = (SELECT id FROM chains WHERE name = 'kit')",
        "INSERT INTO agents (chain, name, collision, since, frozen, mac)
         SELECT (SELECT id FROM chains WHERE name = 'eve'), 'eve', 'eve', since, frozen, mac FROM agents",
    ] {
        assert!(intruder.execute(sql, []).unwrap() > 0);
    }
    let sql = "INSERT INTO keys (chain, holder, kid, kver, pk, form, since, mac)
               SELECT (SELECT id FROM chains WHERE name = 'eve'), 'eve', ?1, 1, ?2, form, since, mac FROM keys
               WHERE holder = 'kit'";
    intruder.execute(sql, params![eve.kid().as_str(), eve.public().to_bytes()]).unwrap();
    for _ in 0..2 {
        assert!(world.store().candidate(&eve.kid()).await.unwrap().key.is_none());
        world.restart().await;
    }
    assert_eq!(set_aside(&world).await, ["eve"]);
}

#[tokio::test]
async fn a_key_written_into_an_agent_is_a_strangers() {
    let (mut world, kit, ida) = two().await;
    let eve = SigningKey::generate(&*world.entropy);
    let sql = "INSERT INTO keys (chain, holder, kid, kver, pk, form, since, mac)
               SELECT chain, holder, ?1, 2, ?2, form, since, mac FROM keys WHERE holder = 'kit'";
    let intruder = world.intruder();
    assert_eq!(intruder.execute(sql, params![eve.kid().as_str(), eve.public().to_bytes()]).unwrap(), 1);
    assert!(world.store().candidate(&eve.kid()).await.unwrap().key.is_none());
    world.issue(&kit, "s1").await.unwrap();
    only_kit_is_set_aside(&mut world, &kit, &ida).await;
    assert!(world.store().candidate(&eve.kid()).await.unwrap().key.is_none());
}

#[tokio::test]
async fn a_key_exchanged_in_its_row_does_not_speak_for_the_agent() {
    let (mut world, kit, ida) = two().await;
    let eve = SigningKey::generate(&*world.entropy);
    let sql = "UPDATE keys SET kid = ?1, pk = ?2 WHERE holder = 'kit'";
    let intruder = world.intruder();
    assert_eq!(intruder.execute(sql, params![eve.kid().as_str(), eve.public().to_bytes()]).unwrap(), 1);
    for _ in 0..2 {
        assert!(world.store().candidate(&eve.kid()).await.unwrap().key.is_none());
        world.restart().await;
    }
    world.issue(&ida, "s1").await.unwrap();
    assert!(world.store().candidate(&kit.key.kid()).await.unwrap().key.is_none(), "its row is gone");
}

#[tokio::test]
async fn grants_and_their_terms_cannot_be_written() {
    let world = World::new().await;
    let (kit, eve) = (world.granted("kit").await, world.agent("eve").await);
    let sql = "INSERT INTO grants SELECT (SELECT chain FROM agents WHERE name = 'eve'), role, terms, seq, since, mac FROM grants";
    assert_eq!(world.intruder().execute(sql, []).unwrap(), 1);
    let sql =
        "UPDATE grants SET terms = replace(terms, '\"max_ttl\":3600', '\"max_ttl\":9999999') WHERE role = 'orders'";
    assert_eq!(world.intruder().execute(sql, []).unwrap(), 2);
    assert_eq!(denied(world.issue(&eve, "s1").await), Reason::NoGrant);
    let long = world.request(&kit, "s1", world.issue_body(&kit, "orders", 7200)).await;
    assert_eq!(denied(world.record(&long).await), Reason::TtlExceedsGrant);
    let mut world = world;
    world.restart().await;
    for agent in [&kit, &eve] {
        assert_eq!(denied(world.issue(agent, "s1").await), Reason::Quarantined);
    }
    assert_eq!(set_aside(&world).await, ["eve", "kit"]);
}

#[tokio::test]
async fn a_grant_that_was_taken_back_is_not_put_back() {
    let (mut world, kit, ida) = two().await;
    let intruder = world.intruder();
    intruder
        .execute_batch("CREATE TABLE old AS SELECT * FROM grants; CREATE TABLE used AS SELECT * FROM uses;")
        .unwrap();
    let body = GrantRevoke { agent: kit.name.clone(), role: role("orders") };
    world.order(&Order::RevokeGrant(&world.command(body).await)).await.result.unwrap();
    intruder
        .execute_batch("INSERT OR IGNORE INTO grants SELECT * FROM old; INSERT OR IGNORE INTO uses SELECT * FROM used;")
        .unwrap();
    assert_eq!(denied(world.issue(&kit, "s1").await), Reason::NoGrant);
    only_kit_is_set_aside(&mut world, &kit, &ida).await;
}

#[tokio::test]
async fn uses_are_not_put_back() {
    let mut world = World::new().await;
    let (kit, ida) = (world.agent("kit").await, world.granted("ida").await);
    world.grant(&kit, "orders", Terms { max_uses: Some(1), ..terms() }).await;
    let intruder = world.intruder();
    intruder.execute_batch("CREATE TABLE used AS SELECT * FROM uses").unwrap();
    world.issue(&kit, "s1").await.unwrap();
    intruder.execute_batch("INSERT OR REPLACE INTO uses SELECT * FROM used").unwrap();
    assert_eq!(denied(world.issue(&kit, "s1").await), Reason::GrantExhausted);
    only_kit_is_set_aside(&mut world, &kit, &ida).await;
}

#[tokio::test]
async fn a_role_written_into_the_database_stops_operators_and_gives_nothing() {
    let mut world = World::new().await;
    let kit = world.granted("kit").await;
    let sql = "INSERT INTO roles SELECT chain, 'root', engine, config, since, mac FROM roles";
    assert_eq!(world.intruder().execute(sql, []).unwrap(), 1);
    assert!(world.store().role(&role("root")).await.unwrap().is_none());
    world.restart().await;
    assert_eq!(denied(world.store().role(&role("root")).await), Reason::Quarantined);
    assert_eq!(denied(world.issue(&kit, "s1").await), Reason::Quarantined);
    let body = RoleCreate { role: role("more"), engine: "kv".to_owned(), config: Default::default() };
    let command = world.command(body).await;
    assert_eq!(denied(world.store().carry_out(&Order::CreateRole(&command)).await), Reason::Quarantined);
}

#[tokio::test]
async fn the_floor_is_not_lowered() {
    let mut world = World::new().await;
    let kit = world.granted("kit").await;
    let request = world.wants(&kit, "s1").await;
    world.record(&request).await.unwrap();
    let (intruder, then) = (world.intruder(), world.clock.now());
    intruder.execute_batch("CREATE TABLE old AS SELECT * FROM vault").unwrap();
    world.clock.advance(Seconds(301));
    world.store().end_due(100).await.unwrap();
    world.clock.set(then);
    intruder.execute_batch("INSERT OR REPLACE INTO vault SELECT * FROM old").unwrap();
    assert_eq!(denied(world.record(&request).await), Reason::Stale);
    world.reopen();
    assert_eq!(denied(world.record(&request).await), Reason::Quarantined);
    world.intruder().execute("UPDATE vault SET iat_floor = 5", []).unwrap();
    world.shut();
    let again = super::world::open(world.folder.path(), world.rules, &world.clock, &world.entropy);
    assert!(matches!(again, Err(nockvault::store::sqlite::OpenFault::Broken(_))), "a changed floor was taken");
}

#[tokio::test]
async fn a_chain_cut_short_is_set_aside() {
    let (mut world, kit, ida) = two().await;
    world.issue(&kit, "s1").await.unwrap();
    let sql = "DELETE FROM lines WHERE at = (SELECT MAX(at) FROM lines WHERE at / 4294967296 = (SELECT id FROM chains WHERE name = 'kit'))";
    assert_eq!(world.intruder().execute(sql, []).unwrap(), 1);
    world.reopen();
    assert_eq!(set_aside(&world).await, ["kit"], "it is seen before anybody asks");
    only_kit_is_set_aside(&mut world, &kit, &ida).await;
}

#[tokio::test]
async fn a_chain_put_back_under_a_running_vault_is_set_aside() {
    let (world, kit, ida) = two().await;
    let intruder = world.intruder();
    intruder
        .execute_batch("CREATE TABLE c AS SELECT * FROM chains; CREATE TABLE g AS SELECT * FROM grants; CREATE TABLE u AS SELECT * FROM uses")
        .unwrap();
    let (lease, _) = world.issue(&kit, "s1").await.unwrap();
    let body = GrantRevoke { agent: kit.name.clone(), role: role("orders") };
    world.order(&Order::RevokeGrant(&world.command(body).await)).await.result.unwrap();
    intruder
        .execute_batch(
            "UPDATE chains SET (size, leaf, ts, kid, deciding, deciders, uses, sessions, leases, mac) =
             (SELECT size, leaf, ts, kid, deciding, deciders, uses, sessions, leases, mac FROM c WHERE c.id = chains.id)
             WHERE name = 'kit';
             INSERT OR IGNORE INTO grants SELECT * FROM g; INSERT OR IGNORE INTO uses SELECT * FROM u;
             DELETE FROM lines WHERE at >= (SELECT id * 4294967296 + size FROM chains WHERE name = 'kit')
             AND at < (SELECT (id + 1) * 4294967296 FROM chains WHERE name = 'kit');",
        )
        .unwrap();
    // Everything fits, and all of it is ours: only that it was longer before gives it away.
    assert_eq!(denied(world.issue(&kit, "s2").await), Reason::Quarantined);
    assert_eq!(set_aside(&world).await, ["kit"]);
    world.issue(&ida, "s1").await.unwrap();
    assert_eq!(world.store().lease(&lease).await.unwrap().unwrap().state, State::Revoked);
}

#[tokio::test]
async fn a_chain_set_aside_holds_up_nobodys_expiry() {
    let (mut world, kit, ida) = two().await;
    world.issue(&kit, "s1").await.unwrap();
    world.issue(&ida, "s1").await.unwrap();
    world.intruder().execute("UPDATE chains SET leases = 0 WHERE name = 'kit'", []).unwrap();
    world.restart().await;
    world.clock.advance(Seconds(4000));
    let due = world.store().end_due(1).await.unwrap();
    assert_eq!((due.leases, due.sessions), (1, 1));
    assert_eq!(world.kinds("ida").await, ["genesis", "grant", "issue", "expire", "session_end"]);
    world.verify(&[&ida]).await;
}

/// What says when a checkpoint is due, and what it is of, is of the row that its MAC covers; and a value that ours never
/// have costs the chain that has it and no other, also at the start.
#[tokio::test]
async fn one_chain_is_lost_by_a_value_of_another_kind_and_none_goes_without_checkpoints_unseen() {
    let newest =
        "WHERE at = (SELECT MAX(at) FROM lines WHERE at / 4294967296 = (SELECT id FROM chains WHERE name = 'kit'))";
    for change in [
        "UPDATE chains SET due = NULL WHERE name = 'kit'".to_owned(),
        "UPDATE chains SET due = 9000000000000000 WHERE name = 'kit'".to_owned(),
        "UPDATE chains SET noted = size - 1 WHERE name = 'kit'".to_owned(),
        "UPDATE chains SET tree = zeroblob(length(tree)) WHERE name = 'kit'".to_owned(),
        format!("UPDATE lines SET leaf = x'00' {newest}"),
        format!("UPDATE lines SET leaf = zeroblob(33) {newest}"),
    ] {
        let (mut world, kit, ida) = two().await;
        assert_eq!(world.intruder().execute(&change, []).unwrap(), 1, "{change}");
        only_kit_is_set_aside(&mut world, &kit, &ida).await;
    }
    let mut world = World::new().await;
    let of_the_vault = newest.replace("kit", "_vault");
    world.intruder().execute(&format!("UPDATE lines SET line = x'' {of_the_vault}"), []).unwrap();
    // The leaf beside the line still fits: it is for the inspection to say.
    world.restart().await;
}

#[tokio::test]
async fn a_trigger_in_the_schema_does_not_run() {
    let mut world = World::new().await;
    let kit = world.granted("kit").await;
    let sql = "CREATE TRIGGER forget AFTER INSERT ON nonces BEGIN DELETE FROM nonces; DELETE FROM nonces_live; END";
    world.intruder().execute_batch(sql).unwrap();
    world.restart().await;
    let request = world.request(&kit, "s1", nockvault::statement::session::Hello { seal: kit.seal.clone() }).await;
    world.store().open_session(&request).await.unwrap();
    assert_eq!(denied(world.store().open_session(&request).await), Reason::Replay);
}

#[tokio::test]
async fn a_chain_that_is_not_there_is_a_fault_and_no_denial() {
    let mut world = World::new().await;
    let kit = world.granted("kit").await;
    world.intruder().execute_batch("PRAGMA foreign_keys = OFF; DELETE FROM chains WHERE name = '_operators'").unwrap();
    world.restart().await;
    let issued = world.issue(&kit, "s1").await;
    assert!(matches!(issued, Err(Failure::Unavailable(_))), "{issued:?}");
}

/// What makes a database of the newest version look like one of the first, which had no MACs on leases.
const PUT_BACK: &str = "
DROP TABLE takebacks; DROP TABLE token_keys; DROP TABLE newest;
ALTER TABLE secrets DROP COLUMN used; ALTER TABLE secrets DROP COLUMN expires;
DROP INDEX leases_live_by_role; DROP INDEX leases_intended; DROP INDEX leases_undo; DROP INDEX leases_listed;
ALTER TABLE leases DROP COLUMN revocation; ALTER TABLE leases DROP COLUMN ended; ALTER TABLE leases DROP COLUMN retry;
ALTER TABLE leases DROP COLUMN tries; ALTER TABLE leases DROP COLUMN fault; ALTER TABLE leases DROP COLUMN request;
ALTER TABLE leases DROP COLUMN mac;
PRAGMA user_version = 1;";

#[tokio::test]
async fn a_version_that_is_put_back_has_no_forged_lease_covered() {
    let mut world = World::new().await;
    let kit = world.granted("kit").await;
    world.issue(&kit, "s1").await.unwrap();
    let intruder = world.intruder();
    world.shut();
    intruder.execute("UPDATE leases SET expires = expires * 2, latest = latest * 2", []).unwrap();
    intruder.execute_batch(PUT_BACK).unwrap();
    drop(intruder);
    let opened = super::world::open(world.folder.path(), world.rules, &world.clock, &world.entropy);
    match opened {
        Err(nockvault::store::sqlite::OpenFault::Broken(why)) => assert!(why.contains("version 1"), "{why}"),
        opened => panic!("forged leases were taken for old ones: {:?}", opened.map(|_| ())),
    }
}
