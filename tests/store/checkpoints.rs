//! Checkpoints and proofs: when a chain is due for one, what stands in it, and what others can hold against it.

use std::sync::Arc;

use nockvault::audit::chain::CheckpointKey;
use nockvault::audit::checkpoint;
use nockvault::audit::entry::{Body, Entry};
use nockvault::audit::tree::{Tree, verify_consistency, verify_inclusion};
use nockvault::crypto::envelope::Embedded;
use nockvault::crypto::hash::{Digest, leaf};
use nockvault::crypto::signature::SigningKey;
use nockvault::denial::Reason;
use nockvault::id::ChainName;
use nockvault::statement::cert::KeyRole;
use nockvault::store::{Event, Failure, Pace, Rules, Store};
use nockvault::time::{Clock, Seconds, Timestamp};

use super::world::{RULES, START, World, denied, unavailable};

fn name(chain: &str) -> ChainName {
    chain.parse().unwrap()
}

fn key(world: &World) -> Arc<CheckpointKey> {
    let kept = world.keys.kept.iter().find(|key| key.role == KeyRole::Checkpoint).expect("it is kept");
    let signing = SigningKey::from_seed(&kept.secret);
    Arc::new(CheckpointKey::new(signing, kept.cert.clone(), &world.keys.identity.public()).expect("it is certified"))
}

async fn due(world: &World, now: Timestamp) -> Vec<String> {
    let due = world.store().checkpoints_due(now, 100).await.unwrap();
    due.iter().map(ToString::to_string).collect()
}

fn root(lines: &[Vec<u8>]) -> Digest {
    let mut tree = Tree::default();
    lines.iter().for_each(|line| tree.push(leaf(line)));
    tree.root()
}

#[tokio::test]
async fn a_checkpoint_says_what_the_chain_was() {
    let world = World::new().await;
    let kit = world.granted("kit").await;
    world.issue(&kit, "s1").await.unwrap();
    let (kit_chain, key) = (name("kit"), key(&world));
    assert_eq!(world.store().newest_checkpoint(&kit_chain).await.unwrap(), None);
    let entry = world.store().checkpoint(&kit_chain, Arc::clone(&key)).await.unwrap().expect("there is something new");
    let lines = world.chain("kit").await;
    assert_eq!((entry.seq, entry.leaf), (lines.len() as u64 - 1, leaf(lines.last().unwrap())));
    let written = Entry::read(lines.last().unwrap()).unwrap();
    let Body::Checkpoint(body) = written.body else { panic!("not a checkpoint: {:?}", written.body) };
    assert!(written.cert.is_some(), "a reader cannot begin behind it");
    let opened = checkpoint::open(&body.note, &body.cert, &world.keys.identity.public()).unwrap();
    let covered = &lines[..entry.seq as usize];
    assert_eq!((opened.origin.as_str(), opened.size, opened.root), ("prod/kit", entry.seq, root(covered)));
    assert_eq!(Tree::of(opened.size, body.tree).unwrap().root(), opened.root);
    let noted = world.store().newest_checkpoint(&kit_chain).await.unwrap().unwrap();
    assert_eq!((noted.seq, noted.note, noted.cosigned.len()), (entry.seq, body.note, 0));
    // Never one right after another, nor in a chain that is not there.
    assert_eq!(world.store().checkpoint(&kit_chain, Arc::clone(&key)).await.unwrap(), None);
    assert_eq!(world.store().checkpoint(&name("max"), Arc::clone(&key)).await.unwrap(), None);
    for chain in ["_vault", "_operators"] {
        world.store().checkpoint(&name(chain), Arc::clone(&key)).await.unwrap().expect("a checkpoint");
    }
    world.issue(&kit, "s1").await.unwrap();
    world.store().checkpoint(&kit_chain, key).await.unwrap().expect("there is something new");
    world.verify(&[&kit]).await;
}

#[tokio::test]
async fn a_chain_is_due_after_some_time_or_many_entries() {
    let mut world = World::with(Rules { checkpoints: Pace { entries: 4, after: Seconds(60) }, ..RULES }).await;
    let key = key(&world);
    // What was written at the founding was not covered since.
    let later = START.plus(Seconds(301));
    assert_eq!(due(&world, later).await, ["_vault", "_operators"]);
    for chain in ["_vault", "_operators"] {
        world.store().checkpoint(&name(chain), Arc::clone(&key)).await.unwrap().unwrap();
    }
    assert!(due(&world, Timestamp(u64::MAX)).await.is_empty(), "nothing follows the checkpoints");
    world.store().event(Event::Epoch, None).await.unwrap();
    world.clock.advance(Seconds(30));
    world.store().event(Event::Epoch, None).await.unwrap();
    assert!(due(&world, START.plus(Seconds(59))).await.is_empty());
    assert_eq!(due(&world, START.plus(Seconds(60))).await, ["_vault"], "the first entry counts, not the newest");
    assert_eq!(due(&world, Timestamp(u64::MAX)).await, ["_vault"]);
    world.store().event(Event::Epoch, None).await.unwrap();
    assert!(due(&world, world.clock.now()).await.is_empty());
    world.store().event(Event::Epoch, None).await.unwrap();
    assert_eq!(due(&world, world.clock.now()).await, ["_vault"], "there are four");
    // What is due is durable.
    world.restart().await;
    assert_eq!(due(&world, world.clock.now()).await, ["_vault"]);
    world.store().checkpoint(&name("_vault"), key).await.unwrap().unwrap();
    assert!(due(&world, Timestamp(u64::MAX)).await.is_empty());
}

#[tokio::test]
async fn a_chain_that_is_set_aside_is_not_due_and_gets_none() {
    let world = World::new().await;
    let kit = world.granted("kit").await;
    let kit_chain = name("kit");
    assert!(due(&world, Timestamp(u64::MAX)).await.contains(&"kit".to_owned()));
    world.store().quarantine(&kit_chain, "a test says so");
    assert!(!due(&world, Timestamp(u64::MAX)).await.contains(&"kit".to_owned()));
    assert_eq!(denied(world.store().checkpoint(&kit_chain, key(&world)).await), Reason::Quarantined);
    assert_eq!(denied(world.issue(&kit, "s1").await), Reason::Quarantined);
    assert_eq!(world.store().census().await.unwrap().quarantined, [kit_chain]);
}

#[tokio::test]
async fn a_key_past_its_certificate_signs_nothing() {
    let world = World::new().await;
    world.clock.advance(Seconds(400 * 86_400));
    let audit_key = world.audit_key(3);
    world.store().event(Event::Epoch, Some(audit_key)).await.unwrap();
    let late = unavailable(world.store().checkpoint(&name("_vault"), key(&world)).await);
    assert!(late.contains("the checkpoint key is good from"), "{late}");
    let other = SigningKey::generate(&*world.entropy);
    let cert: Embedded = world.keys.kept[0].cert.clone();
    CheckpointKey::new(other, cert, &world.keys.identity.public()).expect_err("another key");
}

#[tokio::test]
async fn lines_of_witnesses_stay_with_their_checkpoint() {
    let world = World::new().await;
    let (vault, key) = (name("_vault"), key(&world));
    let first = world.store().checkpoint(&vault, Arc::clone(&key)).await.unwrap().unwrap().seq;
    let lines = |lines: &[&str]| lines.iter().map(ToString::to_string).collect::<Vec<_>>();
    world.store().cosign(&vault, first, &lines(&["one", "two"])).await.unwrap();
    world.store().cosign(&vault, first, &lines(&["two", "three"])).await.unwrap();
    let noted = world.store().newest_checkpoint(&vault).await.unwrap().unwrap();
    assert_eq!(noted.cosigned, ["one", "two", "three"]);
    assert_eq!(denied(world.store().cosign(&vault, first - 1, &lines(&["x"])).await), Reason::NotFound);
    assert_eq!(denied(world.store().cosign(&name("max"), first, &lines(&["x"])).await), Reason::NotFound);
    for bad in [lines(&["a\nb"]), lines(&["x".repeat(5000).as_str()]), vec!["y".into(); 1]] {
        let kept = world.store().cosign(&vault, first, &bad).await;
        assert_eq!(kept.is_ok(), bad == ["y"], "{kept:?}");
    }
    let many: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    assert!(matches!(world.store().cosign(&vault, first, &many).await, Err(Failure::Unavailable(_))));
    world.store().event(Event::Epoch, None).await.unwrap();
    world.store().checkpoint(&vault, key).await.unwrap().unwrap();
    assert!(world.store().newest_checkpoint(&vault).await.unwrap().unwrap().cosigned.is_empty());
}

#[tokio::test]
async fn every_entry_is_proved_in_every_size_and_every_size_in_a_later_one() {
    let world = World::new().await;
    for _ in 0..20 {
        world.store().event(Event::Epoch, None).await.unwrap();
    }
    let (vault, lines) = (name("_vault"), world.chain("_vault").await);
    let total = lines.len() as u64;
    for size in 1..=total {
        let whole = root(&lines[..size as usize]);
        for seq in 0..size {
            let path = world.store().inclusion(&vault, seq, size).await.unwrap().unwrap();
            verify_inclusion(&leaf(&lines[seq as usize]), seq, size, &path, &whole).unwrap();
        }
        for old in 1..=size {
            let path = world.store().consistency(&vault, old, size).await.unwrap().unwrap();
            verify_consistency(old, &root(&lines[..old as usize]), size, &whole, &path).unwrap();
        }
    }
    assert_eq!(world.store().inclusion(&vault, 0, total + 1).await.unwrap(), None);
    assert_eq!(world.store().inclusion(&name("max"), 0, 1).await.unwrap(), None);
    assert_eq!(world.store().consistency(&vault, 2, 1).await.unwrap(), None);
}

#[tokio::test]
async fn a_listener_hears_of_each_chain_that_changed() {
    let world = World::new().await;
    let kit = world.granted("kit").await;
    let mut changes = world.store().changes();
    let all: Vec<String> = changes.next().await.iter().map(ToString::to_string).collect();
    assert_eq!(all, ["_operators", "_vault", "kit"]);
    world.issue(&kit, "s1").await.unwrap();
    assert_eq!(changes.next().await.into_iter().collect::<Vec<_>>(), [name("kit")]);
    // A refused order changes its own chain and no other.
    world.try_agent("kit").await.1.result.unwrap_err();
    assert_eq!(changes.next().await.into_iter().collect::<Vec<_>>(), [name("_operators")]);
}

#[tokio::test]
async fn who_writes_the_file_puts_off_no_checkpoint() {
    let mut world = World::new().await;
    let kit = world.granted("kit").await;
    for column in ["due = NULL", "noted = 0", "tree = x''", "tree = zeroblob(64)"] {
        world.shut_and(|intruder| {
            assert_eq!(intruder.execute(&format!("UPDATE chains SET {column} WHERE name = 'kit'"), []).unwrap(), 1);
        });
        let quarantined = world.store().census().await.unwrap().quarantined;
        assert_eq!(quarantined, [name("kit")], "{column}");
        assert!(!world.chain("kit").await.is_empty(), "whoever verifies sees the lines all the same");
        drop(world);
        world = World::new().await;
        world.granted(kit.name.as_str()).await;
    }
}
