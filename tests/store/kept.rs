//! What the vault keeps in versions: stored values, and its keys for tokens.

use std::sync::Arc;

use nockvault::audit::certificate::{Life, cert_of, certify_key};
use nockvault::crypto::hash::Digest;
use nockvault::crypto::signature::SigningKey;
use nockvault::denial::{Denial, Reason};
use nockvault::secret::SecretBytes;
use nockvault::statement::cert::KeyRole;
use nockvault::statement::key::{KeyRotate, Rotated};
use nockvault::statement::secret::{SecretPut, SecretRollback, SecretUse};
use nockvault::store::{Failure, KeptKey, Order, Store};
use nockvault::time::{Clock, Seconds, Timestamp};
use serde_json::{Map, Value};

use super::world::{RULES, START, World, denied};

async fn put(world: &World, value: &[u8], expires: Option<Timestamp>, used: SecretUse) -> Result<u64, Denial> {
    let body = SecretPut { name: "orders-db".parse().unwrap(), sealed: Digest::of(value), expires, used };
    let (command, value) = (world.command(body).await, SecretBytes::from(value.to_vec()));
    let result = world.order(&Order::PutSecret(&command, &value)).await.result?;
    Ok(result["version"].as_u64().unwrap())
}

async fn roll_back(world: &World, version: u64) -> Result<Map<String, Value>, Denial> {
    let body = SecretRollback { name: "orders-db".parse().unwrap(), version };
    world.order(&Order::RollbackSecret(&world.command(body).await)).await.result
}

async fn newest(world: &World) -> Result<Option<(u64, Vec<u8>, Option<Timestamp>)>, Failure> {
    let stored = world.store().secret_value(SecretUse::Kv, &"orders-db".parse().unwrap(), None).await?;
    Ok(stored.map(|stored| (stored.version, stored.value.expose().clone(), stored.expires)))
}

#[tokio::test]
async fn a_rollback_is_a_new_version_with_an_earlier_value() {
    let mut world = World::new().await;
    let end = world.clock.now().plus(Seconds(60));
    assert_eq!(put(&world, b"one", None, SecretUse::Kv).await.unwrap(), 1);
    assert_eq!(put(&world, b"two", Some(end), SecretUse::Kv).await.unwrap(), 2);
    let done = roll_back(&world, 1).await.unwrap();
    assert_eq!((&done["version"], &done["to"]), (&3.into(), &1.into()));
    assert_eq!(newest(&world).await.unwrap(), Some((3, b"one".to_vec(), None)));
    roll_back(&world, 2).await.unwrap();
    world.restart().await;
    assert_eq!(newest(&world).await.unwrap(), Some((4, b"two".to_vec(), Some(end))), "its end comes with it");
    for version in [0, 5, u64::MAX >> 11] {
        assert_eq!(roll_back(&world, version).await.unwrap_err().reason, Reason::NotFound, "{version}");
    }
    world.clock.advance(Seconds(60));
    let over = roll_back(&world, 2).await.unwrap_err();
    assert_eq!((over.reason, over.limit), (Reason::SecretExpired, Some(0)));
    assert_eq!(newest(&world).await.unwrap().unwrap().0, 4, "a refused rollback changed something");
    world.verify(&[]).await;
}

#[tokio::test]
async fn a_value_for_a_backend_is_not_rolled_back() {
    let world = World::new().await;
    put(&world, b"admin", None, SecretUse::Backend).await.unwrap();
    assert_eq!(roll_back(&world, 1).await.unwrap_err().reason, Reason::NotFound);
    assert_eq!(newest(&world).await.unwrap(), None);
}

#[tokio::test]
async fn an_older_version_is_not_put_in_front() {
    for (sql, noticed) in [
        ("DELETE FROM secrets WHERE version = 2", false),
        ("UPDATE secrets SET version = 3 WHERE version = 2", false),
        ("DELETE FROM newest", true),
        ("UPDATE newest SET version = 1", true),
        ("UPDATE newest SET name = 'other'", true),
        ("DELETE FROM newest; DELETE FROM secrets WHERE version = 2", true),
    ] {
        let mut world = World::new().await;
        put(&world, b"leaked", None, SecretUse::Kv).await.unwrap();
        world.intruder().execute_batch("CREATE TABLE old AS SELECT * FROM newest").unwrap();
        put(&world, b"good", None, SecretUse::Kv).await.unwrap();
        world.intruder().execute_batch(sql).unwrap();
        for _ in 0..2 {
            match newest(&world).await {
                Ok(Some((_, value, _))) => assert_eq!(value, b"good", "{sql}"),
                Ok(None) => {}
                Err(failure) => assert_eq!(failure.denial().reason, Reason::Quarantined, "{sql}"),
            }
            world.restart().await;
        }
        let read = newest(&world).await;
        assert_eq!(read.is_err(), noticed, "{sql}: {read:?}");
        if !noticed {
            assert_eq!(put(&world, b"next", None, SecretUse::Kv).await.unwrap(), 3, "{sql}");
            assert_eq!(newest(&world).await.unwrap(), Some((3, b"next".to_vec(), None)), "{sql}");
        }
    }
    // With the MAC of its own, but of before.
    let mut world = World::new().await;
    put(&world, b"leaked", None, SecretUse::Kv).await.unwrap();
    world.intruder().execute_batch("CREATE TABLE old AS SELECT * FROM newest").unwrap();
    put(&world, b"good", None, SecretUse::Kv).await.unwrap();
    world.intruder().execute_batch("INSERT OR REPLACE INTO newest SELECT * FROM old").unwrap();
    world.restart().await;
    assert_eq!(denied(newest(&world).await), Reason::Quarantined);
}

fn token_key(world: &World, epoch: u64) -> Arc<KeptKey> {
    let key = SigningKey::generate(&*world.entropy);
    let life = Life { nbf: START, exp: START.plus(Seconds(1000)) };
    let public = key.public();
    let cert = cert_of(KeyRole::Jwt, public.to_bytes(), public.kid(), &world.keys.aud, "n1", epoch, life);
    Arc::new(KeptKey { role: KeyRole::Jwt, secret: key.seed(), cert: certify_key(&world.keys.identity, &cert) })
}

async fn rotate(world: &World, epoch: u64, ahead: u64, withdraw: bool) -> Result<Map<String, Value>, Denial> {
    let body = KeyRotate { role: Rotated::Jwt, ahead: Seconds(ahead), withdraw };
    let (command, key) = (world.command(body).await, token_key(world, epoch));
    world.order(&Order::RotateKey(&command, &key)).await.result
}

#[tokio::test]
async fn a_key_for_tokens_is_kept_with_when_it_signs_and_what_becomes_of_the_one_before() {
    let mut world = World::new().await;
    let now = world.clock.now();
    assert!(world.store().token_keys().await.unwrap().is_empty());
    let done = rotate(&world, 2, 600, false).await.unwrap();
    let signs = now.plus(Seconds(600));
    let longest = signs.plus(RULES.session_max);
    assert_eq!((&done["epoch"], &done["signs"]), (&2.into(), &signs.0.into()));
    assert_eq!(done["former_until"], longest.0, "as long as a session can last that opens right before");
    for taken in [1, 2, 4] {
        assert_eq!(rotate(&world, taken, 0, false).await.unwrap_err().reason, Reason::Busy, "{taken}");
    }
    let withdrawn = rotate(&world, 3, 0, true).await.unwrap();
    assert_eq!((&withdrawn["signs"], &withdrawn["former_until"]), (&now.0.into(), &now.0.into()));
    world.restart().await;
    let keys = world.store().token_keys().await.unwrap();
    let terms: Vec<_> = keys.iter().map(|key| (key.signs, key.former_until)).collect();
    assert_eq!(terms, [(signs, longest), (now, now)]);
    assert_eq!(SigningKey::from_seed(&keys[0].key.secret).kid().as_str(), done["kid"].as_str().unwrap());

    let mut cert = keys[1].key.cert.clone();
    cert.payload["node"] = "n2".into();
    world.store().replace_cert(KeyRole::Jwt, &cert).await.unwrap();
    let again = world.store().token_keys().await.unwrap();
    assert_eq!((&again[0].key.cert, &again[1].key.cert), (&keys[0].key.cert, &cert));
    world.verify(&[]).await;
}

#[tokio::test]
async fn a_key_stays_published_for_sessions_that_were_opened_under_longer_ones() {
    let rules = nockvault::store::Rules { session_max: Seconds(10_000), ..RULES };
    let mut world = World::with(rules).await;
    let kit = world.granted("kit").await;
    world.issue(&kit, "s1").await.unwrap();
    let ends = world.clock.now().plus(Seconds(10_000));
    world.rules.session_max = Seconds(100);
    world.restart().await;
    let done = rotate(&world, 2, 0, false).await.unwrap();
    assert_eq!(done["former_until"], ends.0);
}

#[tokio::test]
async fn no_key_for_tokens_is_taken_away_or_brought_back() {
    for sql in [
        "DELETE FROM token_keys",
        "UPDATE token_keys SET former_until = former_until + 1",
        "UPDATE token_keys SET signs = signs + 1",
        "UPDATE token_keys SET epoch = 9",
        "INSERT INTO token_keys SELECT 3, chain, kid, signs, former_until, sealed, cert, mac FROM token_keys",
    ] {
        let mut world = World::new().await;
        rotate(&world, 2, 0, true).await.unwrap();
        world.intruder().execute_batch(sql).unwrap();
        world.restart().await;
        assert_eq!(denied(world.store().token_keys().await.map(drop)), Reason::Quarantined, "{sql}");
    }
    let mut world = World::new().await;
    rotate(&world, 2, 0, false).await.unwrap();
    rotate(&world, 3, 0, false).await.unwrap();
    let sql = "UPDATE token_keys SET sealed = (SELECT sealed FROM token_keys WHERE epoch = 2) WHERE epoch = 3";
    world.intruder().execute_batch(sql).unwrap();
    world.restart().await;
    let read = world.store().token_keys().await.map(drop);
    assert!(matches!(read, Err(Failure::Unavailable(_))), "{read:?}");
}
