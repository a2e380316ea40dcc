//! Bad files in which custody made an operator as it never does.

use nockvault::audit::entry::CustodyOperator;
use nockvault::audit::verify::report::Fault;
use nockvault::base64url::Bytes;
use nockvault::crypto::signature::SigningKey;
use nockvault::id::OperatorName;
use nockvault::statement::custody::{CustodyAdd, CustodyRemove, Kind};
use nockvault::statement::operator::Duty;
use nockvault::statement::register::Holder;

use crate::cases::{Bad, Case};
use crate::operators::hire;
use crate::world::{World, kit};

pub(crate) const CUSTODY: &[Case] = &[
    ("custody brings a further key", Fault::KeyOrder, || {
        by_custody(|world, said| {
            let (joe, next) = (hire(world, "joe", Duty::Admin), SigningKey::generate(&world.entropy));
            said.register = world.register(operator("joe"), &next, Some((&joe, 1)));
        })
    }),
    ("custody brings a first key of an operator who is there", Fault::KeyOrder, || {
        by_custody(|world, said| {
            hire(world, "joe", Duty::Auditor);
            said.register = world.register(operator("joe"), &SigningKey::generate(&world.entropy), None);
        })
    }),
    ("custody brings a key that another operator had", Fault::KeyOrder, || {
        by_custody(|world, said| {
            let joe = hire(world, "joe", Duty::Auditor);
            said.register = world.register(operator("zoe"), &joe, None);
        })
    }),
    ("custody makes an operator of an agent", Fault::Register, || {
        by_custody(|world, said| {
            said.register = world.register(kit(), &SigningKey::generate(&world.entropy), None);
        })
    }),
    ("custody brings a key that did not sign for itself", Fault::Register, || {
        by_custody(|_, said| said.register.payload["nonce"] = "AAAAAAAAAAAAAAAAAAAAAA".into())
    }),
    ("custody brings a key for another vault", Fault::Register, || {
        by_custody(|world, said| {
            let elsewhere = World::new(77);
            said.register = elsewhere.register(operator("zoe"), &SigningKey::generate(&world.entropy), None);
        })
    }),
    ("custody makes an operator who may read alone", Fault::Custody, || {
        by_custody(|_, said| said.duty = Duty::Auditor)
    }),
    ("one share fewer than it takes", Fault::Custody, || by_custody(|_, said| said.shares = vec![1])),
    ("one share more than it takes", Fault::Custody, || by_custody(|_, said| said.shares = vec![1, 2, 3])),
    ("a share that stands there twice", Fault::Custody, || by_custody(|_, said| said.shares = vec![2, 2])),
    ("a share that there never was", Fault::Custody, || by_custody(|_, said| said.shares = vec![1, 4])),
    ("shares of a custodian who has none", Fault::Custody, || by_custody(|_, said| said.kind = Kind::File)),
    ("a custodian who had been taken out", Fault::Custody, || {
        by_custody(|world, said| {
            appoint(world, said);
            world.command(CustodyRemove { name: said.custodian.clone() });
        })
    }),
    ("a custodian who is none of those that were told", Fault::Custody, || {
        by_custody(|world, said| appointed(world, said, "others", &["file", "others"]))
    }),
    ("a custodian who was appointed as another", Fault::Custody, || {
        by_custody(|world, said| {
            appoint(world, said);
            said.kind = Kind::Shares { count: 3, set: Bytes(vec![8; 8]), threshold: 2 };
        })
    }),
    ("a command of an operator whom custody made, before it did", Fault::RequestSignature, || {
        by_custody(|world, _| {
            let key = SigningKey::generate(&world.entropy);
            let list = nockvault::statement::operator::OperatorList {};
            let signed = crate::operators::signed_by(world, "zoe", &key, &list);
            world.order(nockvault::audit::entry::Command::carried(signed, serde_json::Map::new()));
        })
        .cut()
    }),
];

fn operator(name: &str) -> Holder {
    Holder::Operator(name.parse::<OperatorName>().unwrap())
}

fn appoint(world: &mut World, said: &CustodyOperator) {
    let secret = nockvault::seal::custody::CustodySecret::generate(&world.entropy);
    let (kind, name) = (said.kind.clone(), said.custodian.clone());
    world.command(CustodyAdd { kind, name, public: secret.public().into() });
}

/// A custodian like this one is appointed under a name, and the vault tells all that there are.
pub(crate) fn appointed(world: &mut World, said: &CustodyOperator, name: &str, all: &[&str]) {
    let secret = nockvault::seal::custody::CustodySecret::generate(&world.entropy);
    let add = CustodyAdd { kind: said.kind.clone(), name: name.parse().unwrap(), public: secret.public().into() };
    let (add, result) = (world.signed_command(&add), serde_json::json!({ "custodians": all }));
    world.order(nockvault::audit::entry::Command::carried(add, result.as_object().cloned().unwrap()));
}

/// What custody says when zoe becomes an operator by two of three shares.
pub(crate) fn zoe(world: &World, key: &SigningKey) -> CustodyOperator {
    CustodyOperator {
        custodian: "ops".parse().unwrap(),
        duty: Duty::Admin,
        kind: Kind::Shares { count: 3, set: Bytes(vec![7; 8]), threshold: 2 },
        register: world.register(operator("zoe"), key, None),
        shares: vec![1, 3],
    }
}

/// An `_operators` whose last entry is what custody says, with something wrong.
fn by_custody(wrong: impl FnOnce(&mut World, &mut CustodyOperator)) -> Bad {
    let mut world = World::at_work(9);
    let mut said = zoe(&world, &SigningKey::generate(&world.entropy));
    wrong(&mut world, &mut said);
    world.operators.put(&world.audit, &said.into(), world.now);
    let (pins, lines) = (world.pins(), world.operators.lines);
    Bad { entry: lines.len() - 1, pins, lines, operators: None }
}

impl Bad {
    /// Without the last entry.
    fn cut(mut self) -> Bad {
        self.lines.pop();
        self.entry -= 1;
        self
    }
}
