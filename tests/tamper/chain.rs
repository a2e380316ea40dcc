//! Bad files in which the chain itself is wrong: lines, links, time, keys of the vault, and what was pinned.

use nockvault::audit::entry::{self, By};
use nockvault::audit::verify::Pins;
use nockvault::audit::verify::report::Fault;
use nockvault::base64url::Bytes;
use nockvault::crypto::hash::Digest;
use nockvault::crypto::signature::SigningKey;
use nockvault::id::ChainName;
use nockvault::statement::card::Genesis;
use nockvault::statement::cert::KeyRole;
use nockvault::statement::reply::Issued;
use nockvault::statement::request::Seen;
use nockvault::statement::rotate_key::RotateKey;
use nockvault::time::Seconds;

use crate::cases::{Bad, Case, certificate, receipt, rewritten, sealed, then, then_with};
use crate::world::{Chain, START, TTL, World, copy, kit, terms};

pub(crate) const CHAIN: &[Case] = &[
    ("not JSON", Fault::Malformed, || then(|world| *world.kit.lines.last_mut().unwrap() = b"{\"body\":".to_vec())),
    ("an empty line", Fault::Malformed, || then(|world| world.kit.lines.push(Vec::new()))),
    ("a space", Fault::Malformed, || then(|world| world.kit.lines.last_mut().unwrap().push(b' '))),
    ("a member too many, signed", Fault::Malformed, || rewritten(|entry| entry["body"]["hdr"]["more"] = 1.into())),
    ("a member too few, signed", Fault::Malformed, || {
        rewritten(|entry| drop(entry["body"].as_object_mut().unwrap().remove("handle")))
    }),
    ("a member null, signed", Fault::Malformed, || rewritten(|entry| entry["cert"] = serde_json::Value::Null)),
    ("a line over the limit", Fault::Malformed, || {
        rewritten(|entry| entry["body"]["handle"] = "x".repeat(40_000).into())
    }),
    ("a new key on nobody's word", Fault::Malformed, || on_whose_word(None, None)),
    ("a new key on two words", Fault::Malformed, || {
        let by = By { chain: ChainName::operators(), leaf: Digest::ZERO, seq: 1 };
        on_whose_word(Some(by), Some(()))
    }),
    ("a gap in the numbers", Fault::Seq, || rewritten(|entry| entry["seq"] = 9.into())),
    ("a number twice", Fault::Seq, || rewritten(|entry| entry["seq"] = 2.into())),
    ("another entry before it", Fault::Prev, || {
        rewritten(|entry| entry["prev"] = Digest::of(b"fork").to_string().into())
    }),
    ("another agent's chain", Fault::Origin, || rewritten(|entry| entry["origin"] = "prod/mira".into())),
    ("another vault's chain", Fault::Origin, || rewritten(|entry| entry["origin"] = "test/kit".into())),
    ("a restore that is not one", Fault::Origin, || rewritten(|entry| entry["origin"] = "prod/kit~1".into())),
    ("another vault's name than the card's", Fault::Origin, || {
        let pinned = |world: &World| Pins { vault: Some("test".parse().unwrap()), ..world.pins() };
        Bad { entry: 0, ..then_with(|_| {}, pinned) }
    }),
    ("time falls", Fault::Time, || rewritten(|entry| entry["ts"] = (START.0 + 1).into())),
    ("an audit key without certificate", Fault::Certificate, || {
        then(|world| {
            let other = SigningKey::generate(&world.entropy);
            world.rewrite(&other, |entry| entry["kid"] = other.kid().as_str().into());
        })
    }),
    ("an audit key certified by itself", Fault::Certificate, || {
        then(|world| {
            let other = SigningKey::generate(&world.entropy);
            let cert = certificate(world, KeyRole::Audit, &other, &other);
            world.rewrite(&other, |entry| {
                entry["kid"] = other.kid().as_str().into();
                entry["cert"] = cert;
            });
        })
    }),
    ("a response key that signs entries", Fault::Certificate, || {
        then(|world| {
            let other = SigningKey::generate(&world.entropy);
            let cert = certificate(world, KeyRole::Response, &other, &copy(&world.identity));
            world.rewrite(&other, |entry| {
                entry["kid"] = other.kid().as_str().into();
                entry["cert"] = cert;
            });
        })
    }),
    ("the certificate of another audit key", Fault::Certificate, || {
        then(|world| {
            let (other, stolen) = (SigningKey::generate(&world.entropy), copy(&world.stolen));
            let cert = certificate(world, KeyRole::Audit, &other, &copy(&world.identity));
            world.rewrite(&stolen, |entry| entry["cert"] = cert);
        })
    }),
    ("an audit key past its end", Fault::KeyLife, || rewritten(|entry| entry["ts"] = (START.0 + 86_400_000).into())),
    ("an audit key before its beginning", Fault::KeyLife, || {
        then(|world| {
            world.new_epoch();
            world.obtain();
            let (key, early) = (copy(&world.stolen), world.now.0 - 1000);
            world.audit = world.audit_key(copy(&key), world.now.plus(Seconds(5)), world.now.plus(Seconds(50)));
            let cert = serde_json::to_value(world.audit.cert()).unwrap();
            world.rewrite(&key, |entry| {
                entry["cert"] = cert;
                entry["ts"] = early.into();
            });
            // Later than the entry before it, so that only the certificate forbids it.
            world.rewrite(&key, |entry| entry["ts"] = (early + 1000).into());
        })
    }),
    ("an entry changed after it was signed", Fault::Signature, || {
        then(|world| {
            let line = String::from_utf8(world.kit.lines.pop().unwrap()).unwrap();
            world.kit.lines.push(line.replace("\"renewable\":true", "\"renewable\":false").into_bytes());
        })
    }),
    ("an entry signed by another key than it names", Fault::Signature, || {
        then(|world| {
            let other = SigningKey::generate(&world.entropy);
            world.rewrite(&other, |_| {});
        })
    }),
    ("another vault than the pinned one", Fault::Identity, || Bad {
        entry: 0,
        ..then_with(|_| {}, |_| World::new(99).pins())
    }),
    ("another vault than the pinned id", Fault::Identity, || Bad {
        entry: 0,
        ..then_with(|_| {}, |_| Pins { aud: Some(World::new(99).aud), ..Pins::default() })
    }),
    ("no genesis", Fault::Genesis, || {
        let mut world = World::new(7);
        world.kit = Chain {
            head: nockvault::audit::chain::Head::empty(&"prod".parse().unwrap(), &"kit".parse().unwrap()),
            lines: Vec::new(),
        };
        world.give(terms());
        world.into()
    }),
    ("no genesis, and no vault that is known", Fault::Genesis, || {
        let mut world = World::new(7);
        let head = nockvault::audit::chain::Head::empty(&"prod".parse().unwrap(), &"kit".parse().unwrap());
        world.kit = Chain { head, lines: Vec::new() };
        world.give(terms());
        Bad { pins: Pins::default(), ..world.into() }
    }),
    ("a second genesis", Fault::Genesis, || {
        then(|world| {
            let genesis = entry::Entry::read(&world.kit.lines[0]).unwrap().body;
            world.put(genesis);
        })
    }),
    ("a genesis of another agent", Fault::Genesis, || genesis(|body| body["agent"] = "mira".into())),
    ("a genesis with another identity", Fault::Genesis, || {
        genesis(|body| body["identity"] = nockvault::base64url::encode(&[0; 32]).into())
    }),
    ("a genesis with a short salt", Fault::Genesis, || {
        genesis(|body| body["salt"] = nockvault::base64url::encode(&[7; 15]).into())
    }),
    ("another genesis than the card's", Fault::Genesis, || {
        let world = World::new(7);
        let genesis = Genesis { vault: Digest::ZERO, operators: Digest::of(b"another") };
        let pins = Pins { genesis: Some(genesis), ..world.pins() };
        Bad { entry: 0, pins, lines: world.operators.lines, operators: None }
    }),
    ("a head that was never the chain's", Fault::Head, || {
        then_with(|_| {}, |world| Pins { heads: vec![Seen { head: Digest::of(b"fork"), size: 4 }], ..world.pins() })
    }),
    ("an end that was cut off, by a head", Fault::Head, || {
        let world = World::at_work(7);
        let pins = Pins { heads: vec![world.kit.head.seen()], ..world.pins() };
        let lines = world.kit.lines[..2].to_vec();
        Bad { lines, pins, entry: 2, operators: None }
    }),
    ("an end that was cut off, by a receipt", Fault::Receipt, || {
        let world = World::at_work(7);
        let pins = Pins { receipts: vec![receipt(&world, |_| {})], ..world.pins() };
        Bad { lines: world.kit.lines[..2].to_vec(), pins, entry: 2, operators: None }
    }),
    ("an entry that is not the receipt's", Fault::Receipt, || {
        let forged = |world: &World| receipt(world, |issued| issued.entry.leaf = Digest::of(b"fork"));
        then_with(|_| {}, |world| Pins { receipts: vec![forged(world)], ..world.pins() })
    }),
    ("a receipt of something else than was recorded", Fault::Receipt, || {
        received(|issued| issued.hdr.exp = issued.hdr.exp.plus(TTL))
    }),
    ("a receipt of another ciphertext", Fault::Receipt, || received(|issued| issued.ct = Bytes(vec![9; 80]))),
];

/// A successor that names a command, a request, both or neither.
fn on_whose_word(by: Option<By>, request: Option<()>) -> Bad {
    then(|world| {
        let next = SigningKey::generate(&world.entropy);
        let register = world.register(kit(), &next, Some((&copy(&world.agent), 1)));
        let request = request.map(|()| world.ask(RotateKey { new: register.clone() }));
        world.put(entry::AgentKey { by, grace: None, register, request });
    })
}

/// A genesis with a changed body.
fn genesis(change: impl FnOnce(&mut serde_json::Value)) -> Bad {
    let mut world = World::new(7);
    let key = copy(&world.stolen);
    world.rewrite(&key, |entry| change(&mut entry["body"]));
    world.into()
}

/// An issuance whose receipt says something else.
fn received(change: impl FnOnce(&mut Issued)) -> Bad {
    let record = |world: &mut World| {
        let mut issue = world.next_issue();
        issue.sealed = sealed().2;
        world.put(issue);
    };
    then_with(record, |world| Pins { receipts: vec![receipt(world, change)], ..world.pins() })
}
