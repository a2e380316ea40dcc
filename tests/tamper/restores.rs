//! Bad files in which a vault was restored from a backup as none can be: the number, the audit key, the command and the
//! origin of a `restore` are not those of one, or what was lost comes back behind it.

use nockvault::audit::entry::{self, By};
use nockvault::audit::verify::Pins;
use nockvault::audit::verify::report::Fault;
use nockvault::crypto::hash::Digest;
use nockvault::id::ChainName;
use nockvault::statement::request::Seen;
use nockvault::time::{Seconds, Timestamp};

use crate::cases::{Bad, Case, receipt, then, then_with, with_operators};
use crate::daemons::{Told, bad};
use crate::world::{EPOCH, START, World, copy};

/// A command that made a backup, whose entry nobody has seen.
fn somewhere() -> By {
    By { chain: ChainName::operators(), leaf: Digest::of(b"backup"), seq: 9 }
}

/// The vault goes on from a backup under a new audit key.
pub(crate) fn restored(world: &mut World, number: u64, by: By) {
    world.now = world.now.plus(Seconds(1));
    world.new_epoch();
    let salt = world.salt();
    world.put(entry::Restore { by, number, salt });
}

fn backup(world: &mut World) -> By {
    world.command_of("nockvault/backup")
}

/// A restore that the thief of its audit key has changed.
fn changed(change: impl FnOnce(&mut serde_json::Value)) -> Bad {
    then(|world| {
        restored(world, 1, somewhere());
        let key = copy(&world.stolen);
        world.rewrite(&key, change);
    })
}

pub(crate) const RESTORES: &[Case] = &[
    ("a restore without its number in the origin", Fault::Restore, || {
        changed(|entry| entry["origin"] = "prod/kit".into())
    }),
    ("a restore of another number than its origin's", Fault::Restore, || {
        changed(|entry| entry["origin"] = "prod/kit~2".into())
    }),
    ("a restore of another chain", Fault::Origin, || changed(|entry| entry["origin"] = "prod/mira~1".into())),
    ("a restore with a short salt", Fault::Restore, || changed(|entry| entry["body"]["salt"] = "AAAA".into())),
    ("a restore by an entry of another chain", Fault::By, || {
        changed(|entry| entry["body"]["by"]["chain"] = "_vault".into())
    }),
    ("a restore that does not count on", Fault::Restore, || {
        then(|world| {
            restored(world, 3, somewhere());
            restored(world, 3, somewhere());
        })
    }),
    ("a restore that counts back", Fault::Origin, || {
        then(|world| {
            restored(world, 3, somewhere());
            restored(world, 2, somewhere());
        })
    }),
    ("a restore under the audit key of before", Fault::KeyLife, || {
        then(|world| {
            let salt = world.salt();
            world.put(entry::Restore { by: somewhere(), number: 1, salt });
        })
    }),
    ("an audit key of before the restore comes back", Fault::KeyLife, || {
        then(|world| {
            let old = copy(&world.stolen);
            restored(world, 1, somewhere());
            world.audit = world.audit_key(old, START, START.plus(EPOCH));
            world.obtain();
        })
    }),
    ("the origin of before comes back", Fault::Origin, || {
        then(|world| {
            restored(world, 1, somewhere());
            world.obtain();
            let key = copy(&world.stolen);
            world.rewrite(&key, |entry| entry["origin"] = "prod/kit".into());
        })
    }),
    ("the origin counts on without a restore", Fault::Origin, || {
        then(|world| {
            restored(world, 1, somewhere());
            world.obtain();
            let key = copy(&world.stolen);
            world.rewrite(&key, |entry| entry["origin"] = "prod/kit~2".into());
        })
    }),
    ("time falls at a restore that no reset of the clock follows", Fault::Time, || {
        then(|world| {
            restored(world, 1, somewhere());
            let (key, early) = (copy(&world.stolen), world.now.0 - 4000);
            world.audit = world.audit_key(copy(&key), Timestamp(early), START.plus(EPOCH));
            let cert = serde_json::to_value(world.audit.cert()).unwrap();
            world.rewrite(&key, |entry| (entry["ts"], entry["cert"]) = (early.into(), cert));
            world.obtain();
        })
    }),
    ("a restore by a command for something else", Fault::By, || {
        with_operators(|world| {
            let by = world.command_of("nockvault/clock_reset");
            restored(world, 1, by);
        })
    }),
    ("a lease taken back by a backup that nobody restored", Fault::By, || {
        with_operators(|world| {
            let (by, lease) = (backup(world), world.lease());
            world.put(entry::Revoke { by, lease, outcome: "none".into() });
        })
    }),
    ("a lease taken back by another backup than the restored one", Fault::By, || {
        with_operators(|world| {
            let by = [backup(world), backup(world)];
            let lease = world.lease();
            restored(world, 1, by[0].clone());
            world.put(entry::Revoke { by: by[1].clone(), lease, outcome: "none".into() });
        })
    }),
    ("a restore in _operators by what follows it", Fault::By, || {
        let mut world = World::new(7);
        let by = By { chain: ChainName::operators(), leaf: Digest::of(b"later"), seq: world.operators.head.size };
        world.new_epoch();
        let restore = entry::Restore { by, number: 1, salt: world.salt() };
        world.operators.put(&world.audit, &restore.into(), world.now);
        Bad { entry: 2, pins: world.pins(), lines: world.operators.lines, operators: None }
    }),
    ("a restored vault on which no daemon begins", Fault::Order, || {
        bad(&[Told::Start, Told::Config, Told::Restore(1), Told::Refused])
    }),
    ("a restored vault whose daemon does not say what it found", Fault::Order, || {
        bad(&[Told::Start, Told::Config, Told::Restore(1), Told::StartWithout, Told::Refused])
    }),
    ("a state of before the backup that the restored chain does not have", Fault::Head, || {
        then_with(
            |world| restored(world, 1, somewhere()),
            |world| Pins { heads: vec![Seen { head: Digest::of(b"other"), size: 1 }], ..world.pins() },
        )
        .at(0)
    }),
    ("a receipt of after the restore that the chain does not hold", Fault::Receipt, || {
        let mut world = World::at_work(7);
        restored(&mut world, 1, somewhere());
        world.now = world.now.plus(Seconds(2));
        let mut issue = world.next_issue();
        issue.sealed = crate::cases::sealed().2;
        world.put(issue);
        let receipt = receipt(&world, |issued| issued.entry.leaf = Digest::of(b"other"));
        let pins = Pins { receipts: vec![receipt], ..world.pins() };
        Bad { pins, ..Bad::from(world) }
    }),
];
