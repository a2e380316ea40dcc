//! Bad files of `_vault`, in which daemons begin and end as they cannot, and resets of the clock on nobody's word.

use nockvault::audit::chain::Head;
use nockvault::audit::entry::{self, Body, By};
use nockvault::audit::verify::report::Fault;
use nockvault::crypto::hash::Digest;
use nockvault::id::ChainName;
use nockvault::time::{Seconds, Timestamp};

use crate::cases::{Bad, Case, then, with_operators};
use crate::world::{Chain, EPOCH, START, World};

/// What stands in `_vault`, in short.
#[derive(Clone, Copy)]
pub(crate) enum Told {
    /// A daemon began, with a new audit key.
    Start,
    /// It claims a new audit key, and has none.
    StartWithout,
    Stop,
    Epoch,
    EpochWithout,
    Config,
    /// What it found; the newest entry was so many seconds before.
    Recover(u64),
    Refused,
    /// The vault goes on from a backup, under a new audit key; it is the one of the start that follows.
    Restore(u64),
}

/// `_vault` with a genesis and these entries behind it.
pub(crate) fn vault(told: &[Told]) -> (Chain, World) {
    let mut world = World::new(3);
    let mut chain = Chain { head: Head::empty(&"prod".parse().unwrap(), &ChainName::vault()), lines: Vec::new() };
    let genesis = entry::VaultGenesis {
        aud: world.aud.clone(),
        identity: world.identity_bytes(),
        name: "prod".parse().unwrap(),
        salt: world.salt(),
    };
    chain.put(&world.audit, &genesis.into(), world.now);
    for told in told {
        world.now = world.now.plus(Seconds(1));
        if matches!(told, Told::Start | Told::Epoch | Told::Restore(_)) {
            world.new_epoch();
        }
        let limits = [("skew_s".to_owned(), 300)].into();
        let body: Body = match told {
            Told::Start | Told::StartWithout => {
                entry::Start { node: "n1".into(), opened: None, version: "0.1.0".into() }.into()
            }
            Told::Stop => entry::Stop {}.into(),
            Told::Epoch | Told::EpochWithout => entry::Epoch {}.into(),
            Told::Config => entry::Config { limits }.into(),
            Told::Recover(before) => entry::Recover {
                interrupted: 1,
                quarantined: vec!["kit".parse().unwrap()],
                since: Timestamp(world.now.0 - before * 1000),
            }
            .into(),
            Told::Restore(number) => {
                let by = By { chain: ChainName::operators(), leaf: Digest::of(b"backup"), seq: 9 };
                entry::Restore { by, number: *number, salt: world.salt() }.into()
            }
            Told::Refused => entry::Refused { counts: [("unknown".to_owned(), 4)].into(), minute: 29_675_000 }.into(),
        };
        chain.put(&world.audit, &body, world.now);
    }
    (chain, world)
}

pub(crate) fn bad(told: &[Told]) -> Bad {
    let (chain, world) = vault(told);
    Bad { entry: told.len(), pins: world.pins(), lines: chain.lines, operators: None }
}

fn reset(by: By) -> entry::ClockReset {
    entry::ClockReset { by }
}

/// An operator's word that the clock had been ahead.
pub(crate) fn said(world: &mut World) -> By {
    world.command_of("nockvault/clock_reset")
}

pub(crate) const DAEMONS: &[Case] = &[
    ("a stop before any start", Fault::Order, || bad(&[Told::Stop])),
    ("an epoch before any start", Fault::Order, || bad(&[Told::Epoch])),
    ("limits before any start", Fault::Order, || bad(&[Told::Config])),
    ("a recovery before any start", Fault::Order, || bad(&[Told::Recover(1)])),
    ("two stops", Fault::Order, || bad(&[Told::Start, Told::Stop, Told::Stop])),
    ("an epoch behind a stop", Fault::Order, || bad(&[Told::Start, Told::Stop, Told::Epoch])),
    ("a start under the old audit key", Fault::Order, || bad(&[Told::Start, Told::Stop, Told::StartWithout])),
    ("an epoch under the old audit key", Fault::Order, || bad(&[Told::Start, Told::EpochWithout])),
    ("a recovery where nothing was broken off", Fault::Order, || {
        bad(&[Told::Start, Told::Stop, Told::Start, Told::Recover(2)])
    }),
    ("a recovery twice", Fault::Order, || bad(&[Told::Start, Told::Start, Told::Recover(2), Told::Recover(3)])),
    ("a recovery long after the start", Fault::Order, || {
        bad(&[Told::Start, Told::Start, Told::Epoch, Told::Recover(3)])
    }),
    ("a recovery that forgets the newest entry", Fault::Order, || bad(&[Told::Start, Told::Start, Told::Recover(3)])),
    ("a daemon that was broken off and nobody says so", Fault::Order, || {
        bad(&[Told::Start, Told::Config, Told::Start, Told::Refused])
    }),
    ("a daemon that was broken off and is stopped", Fault::Order, || {
        bad(&[Told::Start, Told::Config, Told::Start, Told::Stop])
    }),
    ("a clock reset by an entry of another chain", Fault::By, || {
        then(|world| {
            let by = By { chain: ChainName::vault(), leaf: Digest::of(b"v"), seq: 1 };
            world.put(reset(by));
        })
    }),
    ("a clock reset by a command for something else", Fault::By, || {
        with_operators(|world| {
            let by = world.command_of("nockvault/agent_freeze");
            world.put(reset(by));
        })
    }),
    ("a clock reset twice by one command", Fault::By, || {
        with_operators(|world| {
            let by = said(world);
            world.put(reset(by.clone()));
            world.put(reset(by));
        })
    }),
    ("time falls behind a clock reset", Fault::Time, || {
        with_operators(|world| {
            let by = said(world);
            world.put(reset(by));
            world.obtain();
            let (key, early) = (crate::world::copy(&world.stolen), world.now.0 - 2000);
            world.rewrite(&key, |entry| entry["ts"] = early.into());
        })
    }),
    ("a key that was ended comes back with the clock", Fault::RequestKey, || {
        then(|world| {
            let (old, at) = (crate::world::copy(&world.agent), world.now);
            world.replace_lost_key();
            let by = By { chain: ChainName::operators(), leaf: Digest::of(b"reset"), seq: 9 };
            world.now = Timestamp(at.0 - 2000);
            world.put(reset(by));
            (world.agent, world.kver) = (old, 1);
            world.obtain();
        })
    }),
    ("a key whose successor left it no grace comes back with the clock", Fault::RequestKey, || {
        then(|world| {
            let (old, at) = (crate::world::copy(&world.agent), world.now);
            world.rotate(None);
            let by = By { chain: ChainName::operators(), leaf: Digest::of(b"reset"), seq: 9 };
            world.now = Timestamp(at.0 - 2000);
            world.put(reset(by));
            (world.agent, world.kver) = (old, 1);
            world.obtain();
        })
    }),
    ("a key is used behind its overlap, which began anew with the clock", Fault::RequestKey, || {
        then(|world| {
            let (old, at) = (crate::world::copy(&world.agent), world.now);
            // Three seconds behind its entry.
            world.rotate(Some(at.plus(Seconds(4))));
            let by = By { chain: ChainName::operators(), leaf: Digest::of(b"reset"), seq: 9 };
            world.now = Timestamp(at.0 - 2000);
            world.put(reset(by));
            (world.agent, world.kver) = (old, 1);
            for _ in 0..3 {
                world.obtain();
            }
        })
    }),
    ("an audit key that was over comes back with the clock", Fault::KeyLife, || {
        then(|world| {
            let (old, at) = (crate::world::copy(&world.stolen), world.now);
            world.new_epoch();
            world.obtain();
            let by = By { chain: ChainName::operators(), leaf: Digest::of(b"reset"), seq: 9 };
            world.audit = world.audit_key(old, START, START.plus(EPOCH));
            world.now = Timestamp(at.0 - 2000);
            world.put(reset(by));
        })
    }),
    ("a clock reset in _operators by its genesis", Fault::By, || {
        let mut world = World::new(7);
        world.operators.lines.truncate(1);
        let mut chain =
            Chain { head: Head::empty(&"prod".parse().unwrap(), &ChainName::operators()), lines: Vec::new() };
        let genesis = entry::Entry::read(&world.operators.lines[0]).unwrap().body;
        chain.put(&world.audit, &genesis, world.now);
        let by = By { chain: ChainName::operators(), leaf: chain.head.leaf, seq: 0 };
        chain.put(&world.audit, &reset(by).into(), world.now);
        Bad { entry: 1, pins: world.pins(), lines: chain.lines, operators: None }
    }),
    ("a clock reset in _operators by what follows it", Fault::By, || {
        let mut world = World::new(7);
        let (leaf, seq) = (Digest::of(b"later"), world.operators.head.size);
        let by = By { chain: ChainName::operators(), leaf, seq };
        world.operators.put(&world.audit, &reset(by).into(), world.now);
        Bad { entry: 2, pins: world.pins(), lines: world.operators.lines, operators: None }
    }),
];
