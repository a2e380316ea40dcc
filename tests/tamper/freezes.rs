//! Bad files of emergencies: what was given while everything was frozen, or a role, and freezes of `_vault` on nobody's
//! word.

use std::sync::Arc;

use nockvault::audit::entry::{self, Body, By};
use nockvault::audit::verify::report::Fault;
use nockvault::audit::verify::{Pins, verify_operators};
use nockvault::crypto::hash::Digest;
use nockvault::id::{ChainName, RoleName};
use nockvault::statement::freeze::{RoleFreeze, RoleThaw};
use nockvault::statement::issue::Purpose;
use nockvault::statement::session::Hello;
use nockvault::time::Seconds;

use crate::cases::{Bad, Case, with_operators};
use crate::daemons::{Told, vault};
use crate::world::{TTL, World};

const ALL: &str = "nockvault/vault_freeze";
const THAW: &str = "nockvault/vault_thaw";

fn role() -> RoleName {
    "orders-read".parse().unwrap()
}

fn freeze_of(role: RoleName) -> RoleFreeze {
    RoleFreeze { reason: Purpose::default(), role }
}

/// What was given between a command and another long after it.
fn between(before: fn(&mut World), given: fn(&mut World), after: fn(&mut World)) -> Bad {
    with_operators(|world| {
        before(world);
        world.now = world.now.plus(Seconds(10));
        given(world);
        world.now = world.now.plus(Seconds(7200));
        after(world);
    })
}

fn frozen(world: &mut World) {
    world.command_of(ALL);
}

fn thawed(world: &mut World) {
    world.command_of(THAW);
}

fn obtained(world: &mut World) {
    world.obtain();
}

/// `_vault` in which a daemon runs, and then this.
fn in_vault(wrong: impl FnOnce(&mut World) -> Vec<Body>) -> Bad {
    let (mut chain, mut world) = vault(&[Told::Start]);
    for body in wrong(&mut world) {
        world.now = world.now.plus(Seconds(1));
        chain.put(&world.audit, &body, world.now);
    }
    let (report, commands) = verify_operators(world.operators.file().as_slice(), &world.pins()).unwrap();
    let commands = commands.unwrap_or_else(|| panic!("{report}"));
    let pins = Pins { operators: Some(Arc::new(commands)), ..world.pins() };
    Bad { entry: chain.lines.len() - 1, pins, lines: chain.lines, operators: Some(world.operators.lines) }
}

/// A lease of long after this command, which revokes it nonetheless.
pub(crate) fn revoked_later(world: &mut World, by: By) {
    world.now = world.now.plus(Seconds(3700));
    world.obtain();
    world.put(entry::Revoke { by, lease: world.lease(), outcome: "none".into() });
}

pub(crate) const FREEZES: &[Case] = &[
    ("issued while everything was frozen", Fault::Frozen, || between(frozen, obtained, thawed)),
    ("issued while everything was frozen and is still", Fault::Frozen, || {
        between(frozen, obtained, |world| drop(world.command_of("nockvault/grant_revoke")))
    }),
    ("a session opened while everything was frozen", Fault::Frozen, || {
        let hello = |world: &mut World| {
            world.sid = "nightly-8";
            let request = world.ask(Hello { seal: world.seal.clone() });
            world.put(entry::Session { request });
        };
        between(frozen, hello, thawed)
    }),
    ("issued while its role was frozen", Fault::Frozen, || {
        between(
            |world| drop(world.command(freeze_of(role()))),
            obtained,
            |world| {
                world.command(RoleThaw { role: role() });
            },
        )
    }),
    ("renewed while its role was frozen", Fault::Frozen, || {
        let renewed = |world: &mut World| {
            let lease = world.lease();
            world.renew(&lease, TTL);
        };
        between(
            |world| drop(world.command(freeze_of(role()))),
            renewed,
            |world| {
                world.command(RoleThaw { role: role() });
            },
        )
    }),
    ("issued while everything was frozen before a reset of the clock", Fault::Frozen, || {
        between(frozen, obtained, |world| {
            world.command_of("nockvault/clock_reset");
            world.command_of(THAW);
        })
    }),
    ("revoked by the freeze of another role", Fault::By, || {
        with_operators(|world| {
            let by = world.command(freeze_of("orders-write".parse().unwrap()));
            world.put(entry::Revoke { by, lease: world.lease(), outcome: "none".into() });
        })
    }),
    ("revoked by a freeze of before it was issued", Fault::By, || {
        with_operators(|world| {
            let by = world.command_of(ALL);
            world.command_of(THAW);
            revoked_later(world, by);
        })
    }),
    ("a freeze of everything by a command for something else", Fault::By, || {
        in_vault(|world| vec![entry::VaultFreeze { by: world.command_of("nockvault/agent_freeze") }.into()])
    }),
    ("a freeze of everything by an entry of another chain", Fault::By, || {
        in_vault(|_| {
            let by = By { chain: ChainName::vault(), leaf: Digest::of(b"v"), seq: 1 };
            vec![entry::VaultFreeze { by }.into()]
        })
    }),
    ("a thaw by a freeze", Fault::By, || {
        in_vault(|world| {
            let freeze = entry::VaultFreeze { by: world.command_of(ALL) };
            vec![freeze.into(), entry::VaultThaw { by: world.command_of(ALL) }.into()]
        })
    }),
    ("a freeze of everything twice by one command", Fault::By, || {
        in_vault(|world| {
            let freeze = Body::from(entry::VaultFreeze { by: world.command_of(ALL) });
            vec![freeze.clone(), freeze]
        })
    }),
    ("a thaw of everything that is not frozen", Fault::Order, || {
        in_vault(|world| {
            let (freeze, thaw) = (world.command_of(ALL), world.command_of(THAW));
            let again = world.command_of(THAW);
            let (freeze, thaw) = (entry::VaultFreeze { by: freeze }, entry::VaultThaw { by: thaw });
            vec![freeze.into(), thaw.into(), entry::VaultThaw { by: again }.into()]
        })
    }),
];
