//! Bad files in which the word of an operator is wrong.

use nockvault::audit::entry::{self, By};
use nockvault::audit::verify::report::Fault;
use nockvault::crypto::envelope::{Envelope, PayloadType};
use nockvault::crypto::hash::Digest;
use nockvault::crypto::signature::{Form, SigningKey};
use nockvault::id::ChainName;
use nockvault::statement::grant::GrantRevoke;

use crate::cases::{Bad, Case, then, with_operators};
use crate::world::{World, copy, terms};

pub(crate) const OPERATORS: &[Case] = &[
    ("caused by an entry of another chain", Fault::By, || {
        then(|world| {
            let by = By { chain: ChainName::vault(), leaf: Digest::of(b"v"), seq: 1 };
            world.put(entry::Ungrant { by, grant: world.grant, role: "orders-read".parse().unwrap() });
        })
    }),
    ("caused by a command that had its effect", Fault::By, || {
        then(|world| {
            let role: nockvault::id::RoleName = "orders-read".parse().unwrap();
            let by = world.command(GrantRevoke { agent: "kit".parse().unwrap(), role: role.clone() });
            world.put(entry::Ungrant { by: by.clone(), grant: world.grant, role: role.clone() });
            world.give(terms());
            world.put(entry::Ungrant { by, grant: world.grant, role });
        })
    }),
    ("caused by a command with another leaf", Fault::By, || {
        with_operators(|world| {
            let role: nockvault::id::RoleName = "orders-read".parse().unwrap();
            let mut by = world.command(GrantRevoke { agent: "kit".parse().unwrap(), role: role.clone() });
            by.leaf = Digest::of(b"another");
            world.put(entry::Ungrant { by, grant: world.grant, role });
        })
    }),
    ("caused by the genesis of _operators", Fault::By, || {
        with_operators(|world| {
            let leaf = nockvault::crypto::hash::leaf(&world.operators.lines[0]);
            let by = By { chain: ChainName::operators(), leaf, seq: 0 };
            world.put(entry::Ungrant { by, grant: world.grant, role: "orders-read".parse().unwrap() });
        })
    }),
    ("caused by a command for another agent", Fault::By, || {
        with_operators(|world| {
            let role: nockvault::id::RoleName = "orders-read".parse().unwrap();
            let by = world.command(GrantRevoke { agent: "mira".parse().unwrap(), role: role.clone() });
            world.put(entry::Ungrant { by, grant: world.grant, role });
        })
    }),
    ("caused by a command of another kind", Fault::By, || {
        with_operators(|world| {
            let by = world.command(nockvault::statement::lease::LeaseRevoke {
                reason: None,
                scope: nockvault::statement::lease::Scope::Lease(world.lease()),
            });
            world.put(entry::Ungrant { by, grant: world.grant, role: "orders-read".parse().unwrap() });
        })
    }),
    ("caused by a command that was refused", Fault::By, || {
        with_operators(|world| {
            let role: nockvault::id::RoleName = "orders-read".parse().unwrap();
            let command = world.signed_command(&GrantRevoke { agent: "kit".parse().unwrap(), role: role.clone() });
            let by = world.order(entry::Command::refused(command, "not_found"));
            world.put(entry::Ungrant { by, grant: world.grant, role });
        })
    }),
    ("granted on other terms than commanded", Fault::By, || {
        with_operators(|world| {
            world.ungrant();
            world.give(terms());
            let wider = serde_json::json!(7200);
            let key = copy(&world.stolen);
            world.rewrite(&key, |entry| entry["body"]["terms"]["max_ttl"] = wider);
        })
    }),
    ("a command that no operator signed", Fault::RequestSignature, || {
        commanded(|world| {
            world.operator = SigningKey::generate(&world.entropy);
            world.ungrant();
        })
    }),
    ("a command twice", Fault::RequestTwice, || {
        commanded(|world| {
            let command = world.signed_command(&nockvault::statement::lease::LeaseRevoke {
                reason: None,
                scope: nockvault::statement::lease::Scope::Lease(world.lease()),
            });
            for _ in 0..2 {
                world.order(entry::Command::carried(command.clone(), serde_json::Map::new()));
            }
        })
    }),
    ("a command of another operator", Fault::RequestMembers, || {
        commanded(|world| misnamed(world, |command| command["operator"] = "eve".into()))
    }),
    ("a command with the number of another key", Fault::RequestMembers, || {
        commanded(|world| misnamed(world, |command| command["kver"] = 2.into()))
    }),
    ("a command of another version", Fault::RequestMembers, || {
        commanded(|world| misnamed(world, |command| command["v"] = 2.into()))
    }),
    ("a command for another vault", Fault::RequestMembers, || {
        commanded(|world| misnamed(world, |command| command["aud"] = World::new(99).aud.as_str().into()))
    }),
];

/// A command of the operator's key that says otherwise of itself.
fn misnamed(world: &mut World, change: impl FnOnce(&mut serde_json::Value)) {
    let lease = world.lease();
    let mut command = world
        .signed_command(&nockvault::statement::lease::LeaseRevoke {
            reason: None,
            scope: nockvault::statement::lease::Scope::Lease(lease),
        })
        .payload;
    change(&mut command);
    let signed = Envelope::sign(PayloadType::Command, &command, &world.operator, Form::Pae).embed().unwrap();
    world.order(entry::Command::carried(signed, serde_json::Map::new()));
}

/// A bad `_operators`.
fn commanded(wrong: impl FnOnce(&mut World)) -> Bad {
    let mut world = World::at_work(7);
    wrong(&mut world);
    let (pins, lines) = (world.pins(), world.operators.lines);
    Bad { entry: lines.len() - 1, pins, lines, operators: None }
}
