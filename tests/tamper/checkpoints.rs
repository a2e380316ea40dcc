//! Bad files in which a checkpoint is wrong: one that stands in the chain, or one that was kept elsewhere.

use nockvault::audit::certificate::{Life, cert_of, certify_key};
use nockvault::audit::checkpoint::Checkpoint;
use nockvault::audit::entry;
use nockvault::audit::tree::Tree;
use nockvault::audit::verify::report::Fault;
use nockvault::audit::verify::{Kept, Pins};
use nockvault::crypto::envelope::Embedded;
use nockvault::crypto::hash::Digest;
use nockvault::crypto::signature::SigningKey;
use nockvault::entropy::SeededEntropy;
use nockvault::statement::cert::KeyRole;
use nockvault::time::Seconds;

use crate::cases::{Bad, Case, certificate, then, then_with};
use crate::world::{START, World, copy};

/// The vault's checkpoint key.
pub(crate) fn key() -> SigningKey {
    SigningKey::generate(&SeededEntropy::new(500))
}

fn cert(world: &World, role: KeyRole, key: &SigningKey, by: &SigningKey) -> Embedded {
    serde_json::from_value(certificate(world, role, key, by)).unwrap()
}

/// The checkpoint of all that stands in kit's chain.
pub(crate) fn next(world: &World) -> entry::Checkpoint {
    let head = &world.kit.head;
    of(world, &Checkpoint::of(&head.origin, &head.tree), head.tree.peaks().to_vec())
}

pub(crate) fn of(world: &World, checkpoint: &Checkpoint, tree: Vec<Digest>) -> entry::Checkpoint {
    let cert = cert(world, KeyRole::Checkpoint, &key(), &world.identity);
    entry::Checkpoint { cert, note: checkpoint.sign(&key()), tree }
}

/// The vault signs a checkpoint of all that stands in `_operators`, and a part of that begins there.
pub(crate) fn vouch_for_operators(world: &mut World) -> usize {
    let head = &world.operators.head;
    let checkpoint = of(world, &Checkpoint::of(&head.origin, &head.tree), head.tree.peaks().to_vec());
    world.operators.put(&world.audit, &checkpoint.into(), world.now).seq as usize
}

/// A checkpoint that says something else than it should.
fn saying(change: impl FnOnce(&World, &mut Checkpoint, &mut Vec<Digest>)) -> Bad {
    then(|world| {
        let head = &world.kit.head;
        let (mut said, mut tree) = (Checkpoint::of(&head.origin, &head.tree), head.tree.peaks().to_vec());
        change(world, &mut said, &mut tree);
        let wrong = of(world, &said, tree);
        world.put(wrong);
    })
}

/// A checkpoint under another certificate.
fn under(certified: impl FnOnce(&World) -> Embedded) -> Bad {
    then(|world| {
        let wrong = entry::Checkpoint { cert: certified(world), ..next(world) };
        world.put(wrong);
    })
}

/// What was kept of kit's chain when it had so many entries, with another root where it is a false one.
pub(crate) fn kept(world: &World, size: usize, root: Option<Digest>) -> Kept {
    let mut tree = Tree::default();
    for line in &world.kit.lines[..size] {
        tree.push(nockvault::crypto::hash::leaf(line));
    }
    let mut said = Checkpoint::of(&world.kit.head.origin, &tree);
    said.root = root.unwrap_or(said.root);
    Kept::read(&said.sign(&key())).unwrap()
}

pub(crate) fn pinned(world: &World, kept: Kept) -> Pins {
    let cert = cert(world, KeyRole::Checkpoint, &key(), &world.identity);
    Pins { checkpoints: vec![kept], certs: vec![cert], ..world.pins() }
}

pub(crate) const CHECKPOINTS: &[Case] = &[
    ("a checkpoint of another root", Fault::Checkpoint, || saying(|_, said, _| said.root = Digest::of(b"fork"))),
    ("a checkpoint of fewer entries", Fault::Checkpoint, || saying(|_, said, _| said.size -= 1)),
    ("a checkpoint of more entries", Fault::Checkpoint, || saying(|_, said, _| said.size += 1)),
    ("a checkpoint of another chain", Fault::Checkpoint, || saying(|_, said, _| said.origin = "prod/mira".into())),
    ("a checkpoint with another tree", Fault::Checkpoint, || saying(|_, _, tree| tree[0] = Digest::of(b"fork"))),
    ("a checkpoint with a tree of another size", Fault::Checkpoint, || saying(|_, _, tree| tree.push(Digest::ZERO))),
    ("a checkpoint without its tree", Fault::Checkpoint, || saying(|_, _, tree| tree.clear())),
    ("a checkpoint of a chain that was rewritten since", Fault::Checkpoint, || {
        then(|world| {
            let mine = next(world);
            let stolen = copy(&world.stolen);
            world.rewrite(&stolen, |entry| entry["body"]["hdr"]["renewable"] = false.into());
            // The thief goes on from the rewritten entry, and takes the old checkpoint along.
            let rewritten = world.kit.lines.len() - 1;
            let line = world.kit.lines[rewritten].clone();
            let mut tree = Tree::default();
            for line in &world.kit.lines {
                tree.push(nockvault::crypto::hash::leaf(line));
            }
            world.kit.head.leaf = nockvault::crypto::hash::leaf(&line);
            world.kit.head.tree = tree;
            world.put(mine);
        })
    }),
    ("two checkpoints in a row", Fault::Checkpoint, || {
        then(|world| {
            world.vouch();
            world.vouch();
        })
    }),
    ("a checkpoint whose line carries no certificate", Fault::Checkpoint, || {
        then(|world| {
            world.vouch();
            let stolen = copy(&world.stolen);
            world.rewrite(&stolen, |entry| drop(entry.as_object_mut().unwrap().remove("cert")));
        })
    }),
    ("a checkpoint that nobody signed", Fault::Checkpoint, || {
        then(|world| {
            let mut wrong = next(world);
            wrong.note = Checkpoint::of("prod/kit", &world.kit.head.tree).text();
            world.put(wrong);
        })
    }),
    ("a checkpoint signed by another key", Fault::Checkpoint, || {
        then(|world| {
            let mut wrong = next(world);
            wrong.note = Checkpoint::of("prod/kit", &world.kit.head.tree).sign(&SigningKey::generate(&world.entropy));
            world.put(wrong);
        })
    }),
    ("a checkpoint key certified by the audit key", Fault::Checkpoint, || {
        under(|world| cert(world, KeyRole::Checkpoint, &key(), &world.stolen))
    }),
    ("a checkpoint signed by a response key", Fault::Checkpoint, || {
        under(|world| cert(world, KeyRole::Response, &key(), &world.identity))
    }),
    ("a checkpoint key past its end", Fault::Checkpoint, || {
        under(|world| {
            let life = Life { nbf: START, exp: START.plus(Seconds(1)) };
            let public = key().public();
            let cert = cert_of(KeyRole::Checkpoint, public.to_bytes(), public.kid(), &world.aud, "n1", 1, life);
            certify_key(&world.identity, &cert)
        })
    }),
    ("a history that is not a kept checkpoint's", Fault::KeptCheckpoint, || {
        let pins = |world: &World| pinned(world, kept(world, 3, Some(Digest::of(b"fork"))));
        Bad { entry: 2, ..then_with(|_| {}, pins) }
    }),
    ("a history rewritten with a new checkpoint, but not the kept one", Fault::KeptCheckpoint, || {
        let mut world = World::at_work(7);
        let mine = kept(&world, 4, None);
        let stolen = copy(&world.stolen);
        world.rewrite(&stolen, |entry| entry["body"]["hdr"]["renewable"] = false.into());
        let mut tree = Tree::default();
        for line in &world.kit.lines {
            tree.push(nockvault::crypto::hash::leaf(line));
        }
        world.kit.head.tree = tree;
        world.vouch();
        // Its key's certificate comes with the chain's own checkpoint, behind the place where they differ.
        let pins = Pins { checkpoints: vec![mine], ..world.pins() };
        Bad { lines: world.kit.lines, pins, entry: 3, operators: None }
    }),
    ("a kept checkpoint of a restore that there never was", Fault::KeptCheckpoint, || {
        let pins = |world: &World| {
            let mut tree = Tree::default();
            world.kit.lines[..3].iter().for_each(|line| tree.push(nockvault::crypto::hash::leaf(line)));
            pinned(world, Kept::read(&Checkpoint::of("prod/kit~1", &tree).sign(&key())).unwrap())
        };
        Bad { entry: 2, ..then_with(|_| {}, pins) }
    }),
    ("an end that was cut off, by a checkpoint", Fault::KeptCheckpoint, || {
        let world = World::at_work(7);
        let pins = pinned(&world, kept(&world, 4, None));
        Bad { lines: world.kit.lines[..2].to_vec(), pins, entry: 2, operators: None }
    }),
];
