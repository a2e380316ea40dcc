//! Bad files in which the word of an operator is wrong.

use nockvault::audit::entry::{self, By};
use nockvault::audit::verify::report::Fault;
use nockvault::crypto::envelope::{Embedded, Envelope, PayloadType};
use nockvault::crypto::hash::Digest;
use nockvault::crypto::signature::{Form, SigningKey};
use nockvault::id::ChainName;
use nockvault::statement::Body;
use nockvault::statement::grant::GrantRevoke;
use nockvault::statement::operator::{
    Duty, OperatorDuty, OperatorKeyEnd, OperatorList, OperatorRegister, OperatorRotate,
};
use nockvault::statement::register::Holder;
use nockvault::time::{Seconds, Timestamp};

use crate::cases::{Bad, Case, then, with_operators};
use crate::freezes::revoked_later;
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
    ("caused by a checkpoint at the end of _operators", Fault::By, || {
        with_operators(|world| {
            let seq = crate::checkpoints::vouch_for_operators(world) as u64;
            let by = By { chain: ChainName::operators(), leaf: world.operators.head.leaf, seq };
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
    ("revoked by a command of before it was issued", Fault::By, || {
        with_operators(|world| {
            let (reason, scope) = (None, nockvault::statement::lease::Scope::All);
            let by = world.command(nockvault::statement::lease::LeaseRevoke { reason, scope });
            revoked_later(world, by);
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
    ("a command that is a part beyond its set", Fault::RequestMembers, || {
        let set = serde_json::json!({ "id": "AAAAAAAAAAAAAAAAAAAAAA", "of": 2, "part": 3 });
        commanded(|world| misnamed(world, |command| command["set"] = set))
    }),
    ("a command for another vault", Fault::RequestMembers, || {
        commanded(|world| misnamed(world, |command| command["aud"] = World::new(99).aud.as_str().into()))
    }),
    ("a command that the operator's duty does not allow", Fault::Duty, || {
        commanded(|world| {
            let joe = hire(world, "joe", Duty::Auditor);
            let role: nockvault::id::RoleName = "orders-read".parse().unwrap();
            let revoke = GrantRevoke { agent: "kit".parse().unwrap(), role };
            carried_by(world, "joe", &joe, &revoke);
        })
    }),
    ("a grant of a role that is not the grantor's", Fault::Duty, || {
        commanded(|world| {
            let roles = ["billing".parse().unwrap()].into();
            let joe = hire(world, "joe", Duty::Grantor { roles });
            let role: nockvault::id::RoleName = "orders-read".parse().unwrap();
            carried_by(world, "joe", &joe, &GrantRevoke { agent: "kit".parse().unwrap(), role });
        })
    }),
    ("a command of an operator who was put out", Fault::RequestKey, || {
        commanded(|world| {
            let joe = hire(world, "joe", Duty::Admin);
            put_out(world, "joe", &joe);
            carried_by(world, "joe", &joe, &OperatorList {});
        })
    }),
    ("an operator is registered twice", Fault::KeyOrder, || {
        commanded(|world| {
            hire(world, "joe", Duty::Auditor);
            hire(world, "joe", Duty::Admin);
        })
    }),
    ("an operator without a duty", Fault::KeyOrder, || {
        commanded(|world| {
            let key = SigningKey::generate(&world.entropy);
            let register = world.register(Holder::Operator("joe".parse().unwrap()), &key, None);
            world.command(OperatorRegister { duty: None, register });
        })
    }),
    ("a further key that brings a duty", Fault::KeyOrder, || {
        commanded(|world| {
            let (joe, next) = (hire(world, "joe", Duty::Auditor), SigningKey::generate(&world.entropy));
            let register = world.register(Holder::Operator("joe".parse().unwrap()), &next, Some((&joe, 1)));
            world.command(OperatorRegister { duty: Some(Duty::Admin), register });
        })
    }),
    ("a key of another operator in place of one's own", Fault::Register, || {
        commanded(|world| {
            let (joe, next) = (hire(world, "joe", Duty::Auditor), SigningKey::generate(&world.entropy));
            let (operator, ada) = (copy(&world.operator), Holder::Operator("ada".parse().unwrap()));
            let register = world.register(ada, &next, Some((&operator, 1)));
            carried_by(world, "joe", &joe, &OperatorRotate { register });
        })
    }),
    ("a key of an operator is used behind its overlap, which began anew with the clock", Fault::RequestKey, || {
        commanded(|world| {
            let (joe, next) = (hire(world, "joe", Duty::Auditor), SigningKey::generate(&world.entropy));
            let register = world.register(Holder::Operator("joe".parse().unwrap()), &next, Some((&joe, 1)));
            let signed = signed_by(world, "joe", &joe, &OperatorRotate { register });
            let result = serde_json::json!({ "grace": world.now.plus(Seconds(3)) });
            world.order(entry::Command::carried(signed, result.as_object().cloned().unwrap()));
            let by = world.command_of("nockvault/clock_reset");
            world.now = Timestamp(world.now.0 - 2000);
            world.operators.put(&world.audit, &entry::ClockReset { by }.into(), world.now);
            for _ in 0..2 {
                world.now = world.now.plus(Seconds(2));
                carried_by(world, "joe", &joe, &OperatorList {});
            }
        })
    }),
    ("the last admin is put out", Fault::Duty, || {
        commanded(|world| {
            hire(world, "joe", Duty::Auditor);
            let key = copy(&world.operator);
            put_out(world, "ada", &key);
        })
    }),
    ("the last admin is one no more", Fault::Duty, || {
        commanded(|world| {
            hire(world, "joe", Duty::Auditor);
            world.command(OperatorDuty { duty: Duty::Responder, operator: "ada".parse().unwrap() });
        })
    }),
    ("a duty of nobody", Fault::KeyOrder, || {
        commanded(|world| {
            world.command(OperatorDuty { duty: Duty::Responder, operator: "joe".parse().unwrap() });
        })
    }),
    ("a key that was left where every key was to be ended", Fault::KeyOrder, || {
        commanded(|world| {
            hire(world, "joe", Duty::Auditor);
            let operator = "joe".parse().unwrap();
            let end = world.signed_command(&OperatorKeyEnd { operator, kid: None, suspect_from: None });
            let result = serde_json::json!({ "kids": [] });
            world.order(entry::Command::carried(end, result.as_object().cloned().unwrap()));
        })
    }),
    ("another key ended than was commanded", Fault::KeyOrder, || {
        commanded(|world| {
            let joe = hire(world, "joe", Duty::Auditor);
            let operator = "joe".parse().unwrap();
            let end =
                world.signed_command(&OperatorKeyEnd { operator, kid: Some(world.operator.kid()), suspect_from: None });
            let result = serde_json::json!({ "kids": [joe.kid()] });
            world.order(entry::Command::carried(end, result.as_object().cloned().unwrap()));
        })
    }),
];

/// Another operator, registered by the first.
pub(crate) fn hire(world: &mut World, name: &str, duty: Duty) -> SigningKey {
    let key = SigningKey::generate(&world.entropy);
    let register = world.register(Holder::Operator(name.parse().unwrap()), &key, None);
    world.command(OperatorRegister { duty: Some(duty), register });
    key
}

pub(crate) fn put_out(world: &mut World, name: &str, key: &SigningKey) {
    let end = world.signed_command(&OperatorKeyEnd { operator: name.parse().unwrap(), kid: None, suspect_from: None });
    let result = serde_json::json!({ "kids": [key.kid()] });
    world.order(entry::Command::carried(end, result.as_object().cloned().unwrap()));
}

/// A command of another operator than the first.
pub(crate) fn signed_by<B: Body>(world: &World, name: &str, key: &SigningKey, body: &B) -> Embedded {
    let mut command = world.signed_command(body).payload;
    command["operator"] = name.into();
    command["kid"] = key.kid().as_str().into();
    Envelope::sign(PayloadType::Command, &command, key, Form::Pae).embed().unwrap()
}

pub(crate) fn carried_by<B: Body>(world: &mut World, name: &str, key: &SigningKey, body: &B) -> By {
    let signed = signed_by(world, name, key, body);
    world.order(entry::Command::carried(signed, serde_json::Map::new()))
}

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
