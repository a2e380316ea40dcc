//! The bad files: for each thing that a verifier checks, a chain in which just that is wrong, and everything that can be
//! made right is, since whoever forged it holds the vault's audit key.

use std::sync::Arc;

use nockvault::audit::certificate::{Life, cert_of, certify_key};
use nockvault::audit::entry::{self, By};
use nockvault::audit::receipt::Receipt;
use nockvault::audit::verify::report::Fault;
use nockvault::audit::verify::{Pins, verify_operators};
use nockvault::base64url::Bytes;
use nockvault::crypto::envelope::{Envelope, PayloadType};
use nockvault::crypto::hash::Digest;
use nockvault::crypto::signature::{Form, SigningKey};
use nockvault::id::ChainName;
use nockvault::statement::agent::AgentRegister;
use nockvault::statement::card::Genesis;
use nockvault::statement::cert::KeyRole;
use nockvault::statement::grant::{GrantRevoke, Terms};
use nockvault::statement::issue::Issue;
use nockvault::statement::lease::{Release, Renew};
use nockvault::statement::reply::Issued;
use nockvault::statement::request::Seen;
use nockvault::statement::rotate_key::RotateKey;
use nockvault::statement::session::{Close, Hello};
use nockvault::time::Seconds;

use crate::world::{Chain, START, TTL, World, copy, kit, terms};

/// A bad file: what is wrong with it, and what pins show it. The wrong entry is the last, where it names no other.
pub(crate) struct Bad {
    pub(crate) lines: Vec<Vec<u8>>,
    pub(crate) pins: Pins,
    pub(crate) entry: usize,
}

impl From<World> for Bad {
    fn from(world: World) -> Bad {
        let lines = world.kit.lines.clone();
        Bad { entry: lines.len() - 1, pins: world.pins(), lines }
    }
}

/// A name, the fault that must be found, and how to make the file.
pub(crate) type Case = (&'static str, Fault, fn() -> Bad);

/// `kit` at work, and then something that may not be.
fn then(wrong: impl FnOnce(&mut World)) -> Bad {
    let mut world = World::at_work(7);
    wrong(&mut world);
    world.into()
}

/// An issuance that was changed before the vault recorded it.
fn issued(change: impl FnOnce(&World, &mut entry::Issue)) -> Bad {
    then(|world| {
        let mut issue = world.next_issue();
        change(world, &mut issue);
        world.put(issue);
    })
}

/// An issuance under these terms.
fn under(terms: Terms, change: impl FnOnce(&World, &mut entry::Issue)) -> Bad {
    then(|world| {
        world.ungrant();
        world.give(terms);
        let mut issue = world.next_issue();
        change(world, &mut issue);
        world.put(issue);
    })
}

/// The newest entry, rewritten by the thief of the audit key.
fn rewritten(change: impl FnOnce(&mut serde_json::Value)) -> Bad {
    then(|world| {
        let key = copy(&world.stolen);
        world.rewrite(&key, change);
    })
}

/// A chain with what stands in `_operators` beside it.
fn with_operators(wrong: impl FnOnce(&mut World)) -> Bad {
    then_with(wrong, |world| {
        let (report, commands) = verify_operators(world.operators.file().as_slice(), &world.pins()).unwrap();
        Pins { operators: Some(Arc::new(commands.unwrap_or_else(|| panic!("{report}")))), ..world.pins() }
    })
}

fn then_with(wrong: impl FnOnce(&mut World), pins: impl FnOnce(&World) -> Pins) -> Bad {
    let mut world = World::at_work(7);
    wrong(&mut world);
    let pins = pins(&world);
    Bad { pins, ..Bad::from(world) }
}

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
    ("a second genesis", Fault::Genesis, || {
        then(|world| {
            let genesis = entry::Entry::read(&world.kit.lines[0]).unwrap().body;
            world.put(genesis);
        })
    }),
    ("a genesis of another agent", Fault::Genesis, || {
        let mut world = World::new(7);
        let key = copy(&world.stolen);
        world.rewrite(&key, |entry| entry["body"]["agent"] = "mira".into());
        world.into()
    }),
    ("another genesis than the card's", Fault::Genesis, || {
        let world = World::new(7);
        let genesis = Genesis { vault: Digest::ZERO, operators: Digest::of(b"another") };
        let pins = Pins { genesis: Some(genesis), ..world.pins() };
        Bad { entry: 0, pins, lines: world.operators.lines }
    }),
    ("a head that was never the chain's", Fault::Head, || {
        then_with(|_| {}, |world| Pins { heads: vec![Seen { head: Digest::of(b"fork"), size: 4 }], ..world.pins() })
    }),
    ("an end that was cut off, by a head", Fault::Head, || {
        let world = World::at_work(7);
        let pins = Pins { heads: vec![world.kit.head.seen()], ..world.pins() };
        let lines = world.kit.lines[..2].to_vec();
        Bad { lines, pins, entry: 2 }
    }),
    ("an end that was cut off, by a receipt", Fault::Receipt, || {
        let world = World::at_work(7);
        let pins = Pins { receipts: vec![receipt(&world, |_| {})], ..world.pins() };
        Bad { lines: world.kit.lines[..2].to_vec(), pins, entry: 2 }
    }),
    ("an entry that is not the receipt's", Fault::Receipt, || {
        let forged = |world: &World| receipt(world, |issued| issued.entry.leaf = Digest::of(b"fork"));
        then_with(|_| {}, |world| Pins { receipts: vec![forged(world)], ..world.pins() })
    }),
    ("a receipt of something else than was recorded", Fault::Receipt, || {
        let other = |world: &World| receipt(world, |issued| issued.hdr.exp = issued.hdr.exp.plus(TTL));
        then_with(|_| {}, |world| Pins { receipts: vec![other(world)], ..world.pins() })
    }),
    ("a receipt of another ciphertext", Fault::Receipt, || {
        let other = |world: &World| receipt(world, |issued| issued.ct = Bytes(vec![9; 80]));
        then_with(|_| {}, |world| Pins { receipts: vec![other(world)], ..world.pins() })
    }),
];

fn certificate(world: &World, role: KeyRole, key: &SigningKey, by: &SigningKey) -> serde_json::Value {
    let life = Life { nbf: START, exp: START.plus(Seconds(86_400)) };
    let cert = cert_of(role, key.public().to_bytes(), key.kid(), &world.aud, "n1", 1, life);
    serde_json::to_value(certify_key(by, &cert)).unwrap()
}

/// The sealed credential of every receipt here, and its digest.
pub(crate) fn sealed() -> (Bytes, Bytes, Digest) {
    let (enc, ct) = (vec![1; 32], vec![2; 80]);
    let digest = Digest::of_parts(&[&enc, &ct]);
    (Bytes(enc), Bytes(ct), digest)
}

/// The receipt of what was issued last, signed by a certified response key. Its ciphertext fits the entry only where
/// that was made with [`sealed`].
pub(crate) fn receipt(world: &World, change: impl FnOnce(&mut Issued)) -> Receipt {
    let response = SigningKey::generate(&world.entropy);
    let cert = certificate(world, KeyRole::Response, &response, &world.identity);
    let (enc, ct, _) = sealed();
    let mut issued = Issued::new(ct, enc, world.kit.head.entry().unwrap(), world.last_issue().hdr);
    change(&mut issued);
    let answer = Envelope::sign(PayloadType::Response, &issued, &response, Form::Pae);
    Receipt::keep(&answer, Some(&serde_json::from_value(cert).unwrap())).unwrap()
}

pub(crate) const REQUESTS: &[Case] = &[
    ("a request that another key signed", Fault::RequestSignature, || {
        issued(|world, issue| {
            let thief = SigningKey::generate(&world.entropy);
            let payload: serde_json::Value = issue.request.payload.clone();
            issue.request = Envelope::sign(PayloadType::Request, &payload, &thief, Form::Pae).embed().unwrap();
        })
    }),
    ("a request of a key that the agent never had", Fault::RequestSignature, || {
        then(|world| {
            world.agent = SigningKey::generate(&world.entropy);
            world.obtain();
        })
    }),
    ("a request changed after it was signed", Fault::RequestSignature, || {
        issued(|_, issue| issue.request.payload["role"] = "orders-write".into())
    }),
    ("a request after the end of its key", Fault::RequestKey, || {
        then(|world| {
            world.end_key();
            world.obtain();
        })
    }),
    ("a refused request after the end of its key", Fault::RequestKey, || {
        then(|world| {
            world.end_key();
            let request = world.ask(world.wish());
            world.put(entry::Deny { reason: "no_grant".into(), request });
        })
    }),
    ("a request of the old key after its grace", Fault::RequestKey, || {
        then(|world| {
            let old = (copy(&world.agent), world.kver);
            world.rotate(Some(world.now.plus(Seconds(3))));
            (world.agent, world.kver) = old;
            world.now = world.now.plus(Seconds(3));
            world.obtain();
        })
    }),
    ("a request for another vault", Fault::RequestMembers, || {
        then(|world| {
            let request = world.ask_as(world.wish(), |common| common.aud = World::new(99).aud);
            let issue = world.issue(request);
            world.put(issue);
        })
    }),
    ("a request in another agent's name", Fault::RequestMembers, || {
        then(|world| {
            let request = world.ask_as(world.wish(), |common| common.agent = "mira".parse().unwrap());
            let issue = world.issue(request);
            world.put(issue);
        })
    }),
    ("a request with the number of another key", Fault::RequestMembers, || {
        then(|world| {
            let request = world.ask_as(world.wish(), |common| common.kver = 2);
            let issue = world.issue(request);
            world.put(issue);
        })
    }),
    ("a hello taken for an issue", Fault::RequestMembers, || {
        then(|world| {
            let request = world.ask(Hello { seal: world.seal.clone() });
            let issue = world.issue(request);
            world.put(issue);
        })
    }),
    ("a renewal of another lease", Fault::RequestMembers, || {
        then(|world| {
            let first = world.lease();
            world.obtain();
            let request = world.ask(Renew { lease: first, ttl: TTL });
            world.put(entry::Renew { exp: world.now.plus(TTL), lease: world.lease(), request });
        })
    }),
    ("a release of another lease", Fault::RequestMembers, || {
        then(|world| {
            let first = world.lease();
            world.obtain();
            let request = world.ask(Release::Lease(first));
            world.put(entry::Release { lease: world.lease(), request });
        })
    }),
    ("a release by another request", Fault::RequestMembers, || {
        then(|world| {
            let request = world.ask(Release::Req(Digest::of(b"another")));
            world.put(entry::Release { lease: world.lease(), request });
        })
    }),
    ("another successor than the agent named", Fault::RequestMembers, || {
        then(|world| {
            let (one, two) = (SigningKey::generate(&world.entropy), SigningKey::generate(&world.entropy));
            let old = copy(&world.agent);
            let named = world.register(kit(), &one, Some((&old, 1)));
            let register = world.register(kit(), &two, Some((&old, 1)));
            let request = Some(world.ask(RotateKey { new: named }));
            world.put(entry::AgentKey { by: None, grace: None, register, request });
        })
    }),
    ("one request in two issues", Fault::RequestTwice, || {
        then(|world| {
            let mut again = world.next_issue();
            let first = world.last_issue();
            again.request = first.request;
            again.hdr.req = first.hdr.req;
            world.put(again);
        })
    }),
    ("a denied request obeyed later", Fault::RequestTwice, || {
        then(|world| {
            let issue = world.next_issue();
            world.put(entry::Deny { reason: "no_grant".into(), request: issue.request.clone() });
            world.put(issue);
        })
    }),
    ("a history from a fork", Fault::History, || {
        then(|world| {
            let fork = Seen { head: Digest::of(b"fork"), size: 2 };
            let request = world.ask_as(world.wish(), |common| common.seen = fork);
            let issue = world.issue(request);
            world.put(issue);
        })
    }),
    ("a history of entries yet to come", Fault::History, || {
        then(|world| {
            let mut seen = world.kit.head.seen();
            seen.size += 1;
            let request = world.ask_as(world.wish(), |common| common.seen = seen);
            let issue = world.issue(request);
            world.put(issue);
        })
    }),
    ("no history with a head", Fault::History, || {
        then(|world| {
            let request = world.ask_as(world.wish(), |common| common.seen.size = 0);
            let issue = world.issue(request);
            world.put(issue);
        })
    }),
    ("a register statement that another key signed", Fault::Register, || {
        then(|world| {
            let next = SigningKey::generate(&world.entropy);
            let mut register = world.register(kit(), &next, Some((&copy(&world.agent), 1)));
            register.payload["nonce"] = world.nonce().as_str().into();
            let by = Some(world.command(AgentRegister { register: register.clone() }));
            world.put(entry::AgentKey { by, grace: None, register, request: None });
        })
    }),
    ("another agent's register statement", Fault::Register, || {
        then(|world| {
            let next = SigningKey::generate(&world.entropy);
            let mira = nockvault::statement::register::Holder::Agent("mira".parse().unwrap());
            let register = world.register(mira, &next, Some((&copy(&world.agent), 1)));
            let by = Some(world.command(AgentRegister { register: register.clone() }));
            world.put(entry::AgentKey { by, grace: None, register, request: None });
        })
    }),
    ("a key number left out", Fault::KeyOrder, || successor(2)),
    ("a key that follows another", Fault::KeyOrder, || {
        then(|world| {
            let (next, other) = (SigningKey::generate(&world.entropy), SigningKey::generate(&world.entropy));
            let register = world.register(kit(), &next, Some((&other, 1)));
            let request = Some(world.ask(RotateKey { new: register.clone() }));
            world.put(entry::AgentKey { by: None, grace: None, register, request });
        })
    }),
    ("an old key names a successor", Fault::KeyOrder, || {
        then(|world| {
            let old = (copy(&world.agent), world.kver);
            world.rotate(Some(world.now.plus(Seconds(600))));
            let newest = (copy(&world.agent), world.kver);
            let next = SigningKey::generate(&world.entropy);
            let register = world.register(kit(), &next, Some((&newest.0, newest.1)));
            (world.agent, world.kver) = old;
            let request = Some(world.ask(RotateKey { new: register.clone() }));
            world.put(entry::AgentKey { by: None, grace: None, register, request });
        })
    }),
    ("a key that follows itself", Fault::KeyOrder, || {
        then(|world| {
            let same = copy(&world.agent);
            let register = world.register(kit(), &same, Some((&same, 1)));
            let request = Some(world.ask(RotateKey { new: register.clone() }));
            world.put(entry::AgentKey { by: None, grace: None, register, request });
        })
    }),
    ("a key ended that never was", Fault::KeyOrder, || {
        then(|world| {
            world.agent = SigningKey::generate(&world.entropy);
            world.end_key();
        })
    }),
    ("a key ended twice", Fault::KeyOrder, || {
        then(|world| {
            world.end_key();
            world.end_key();
        })
    }),
    ("a key that is not among the pinned ones", Fault::KeyPin, || {
        then_with(
            |world| world.rotate(None),
            |world| {
                let first = World::at_work(7).agent.kid();
                Pins { agent_keys: vec![first], ..world.pins() }
            },
        )
    }),
];

fn successor(follows: u64) -> Bad {
    then(|world| {
        let next = SigningKey::generate(&world.entropy);
        let register = world.register(kit(), &next, Some((&copy(&world.agent), follows)));
        let request = Some(world.ask(RotateKey { new: register.clone() }));
        world.put(entry::AgentKey { by: None, grace: None, register, request });
    })
}

pub(crate) const GIVEN: &[Case] = &[
    ("issued for another agent", Fault::Header, || issued(|_, issue| issue.hdr.agent = "mira".parse().unwrap())),
    ("issued to another key", Fault::Header, || issued(|world, issue| issue.hdr.kid = world.operator.kid())),
    ("issued of another role", Fault::Header, || issued(|_, issue| issue.hdr.role = "orders-write".parse().unwrap())),
    ("issued for another session", Fault::Header, || issued(|_, issue| issue.hdr.sid = "nightly-9".parse().unwrap())),
    ("issued by another vault", Fault::Header, || issued(|_, issue| issue.hdr.vault = World::new(99).aud)),
    ("issued for another request", Fault::Header, || issued(|_, issue| issue.hdr.req = Digest::of(b"another"))),
    ("issued to live backwards", Fault::Header, || issued(|_, issue| issue.hdr.exp = issue.hdr.iat)),
    ("issued in the future", Fault::Header, || {
        then(|world| {
            world.obtain();
            let (key, later) = (copy(&world.stolen), world.now.0 + 5000);
            world.rewrite(&key, |entry| {
                entry["body"]["hdr"]["iat"] = later.into();
                entry["body"]["hdr"]["exp"] = (later + 1000).into();
            });
        })
    }),
    ("issued for longer than asked", Fault::Life, || {
        issued(|_, issue| issue.hdr.exp = nockvault::time::Timestamp(issue.hdr.exp.0 + 1))
    }),
    ("renewed for longer than asked", Fault::Life, || {
        then(|world| {
            let request = world.ask(Renew { lease: world.lease(), ttl: TTL });
            let exp = world.now.plus(TTL).plus(Seconds(2));
            world.put(entry::Renew { exp, lease: world.lease(), request });
        })
    }),
    ("renewed by default for longer than the default", Fault::Life, || {
        then(|world| {
            let request = world.ask(Renew { lease: world.lease(), ttl: Seconds(0) });
            let exp = world.now.plus(TTL).plus(Seconds(2));
            world.put(entry::Renew { exp, lease: world.lease(), request });
        })
    }),
    ("issued by default for longer than the default", Fault::Grant, || {
        then(|world| {
            let request = world.ask(Issue { ttl: Seconds(0), ..world.wish() });
            let mut issue = world.issue(request);
            issue.hdr.exp = issue.hdr.iat.plus(Seconds(601));
            world.put(issue);
        })
    }),
    ("issued beyond the longest life", Fault::Grant, || {
        under(Terms { max_ttl: Seconds(599), ttl: Seconds(60), ..terms() }, |_, _| {})
    }),
    ("issued beyond the grant's end", Fault::Grant, || {
        under(Terms { until: Some(START.plus(Seconds(60))), ..terms() }, |_, _| {})
    }),
    ("issued in a session that is not covered", Fault::Grant, || {
        under(Terms { session: Some("daily-*".parse().unwrap()), ..terms() }, |_, _| {})
    }),
    ("issued more often than granted", Fault::Grant, || {
        then(|world| {
            world.ungrant();
            world.give(Terms { max_uses: Some(1), ..terms() });
            world.obtain();
            world.obtain();
        })
    }),
    ("issued without a grant", Fault::Grant, || {
        then(|world| {
            world.ungrant();
            world.obtain();
        })
    }),
    ("issued under an entry that is no grant", Fault::Grant, || issued(|_, issue| issue.grant = 0)),
    ("a grant taken back that is not in force", Fault::Grant, || {
        then(|world| {
            world.ungrant();
            world.ungrant();
        })
    }),
    ("renewed after its grant was taken back", Fault::Grant, || {
        then(|world| {
            let lease = world.lease();
            world.ungrant();
            world.renew(&lease, TTL);
        })
    }),
    ("renewed beyond the grant's end", Fault::Grant, || {
        then(|world| {
            world.ungrant();
            world.give(Terms { until: Some(START.plus(Seconds(900))), ..terms() });
            world.obtain();
            world.now = START.plus(Seconds(500));
            let lease = world.lease();
            world.renew(&lease, TTL);
        })
    }),
    ("renewed beyond the longest life", Fault::Grant, || {
        then(|world| {
            let lease = world.lease();
            world.renew(&lease, Seconds(3600));
        })
    }),
    ("renewed after its end", Fault::Lease, || {
        then(|world| {
            let lease = world.lease();
            world.release(&lease);
            world.renew(&lease, TTL);
        })
    }),
    ("renewed after it ran out", Fault::Lease, || {
        then(|world| {
            let lease = world.lease();
            world.now = world.now.plus(TTL);
            world.renew(&lease, TTL);
        })
    }),
    ("renewed though not renewable", Fault::Lease, || {
        then(|world| {
            let mut issue = world.next_issue();
            issue.hdr.renewable = false;
            let lease = issue.hdr.lease.clone();
            world.put(issue);
            world.renew(&lease, TTL);
        })
    }),
    ("released twice", Fault::Lease, || {
        then(|world| {
            let lease = world.lease();
            world.release(&lease);
            world.release(&lease);
        })
    }),
    ("revoked though never issued", Fault::Lease, || {
        then(|world| {
            let lease = nockvault::id::LeaseId::new(1, [1; 10]);
            let by = world.command(nockvault::statement::lease::LeaseRevoke { lease: lease.clone() });
            world.put(entry::Revoke { by, lease, outcome: "none".into() });
        })
    }),
    ("expired before its time", Fault::Lease, || {
        then(|world| {
            let lease = world.lease();
            world.put(entry::Expire { lease, outcome: "none".into() });
        })
    }),
    ("undelivered after its release", Fault::Lease, || {
        then(|world| {
            let lease = world.lease();
            world.release(&lease);
            world.put(entry::Undelivered { lease, outcome: "none".into() });
        })
    }),
    ("revoked after its session was closed", Fault::Lease, || {
        then(|world| {
            let lease = world.lease();
            let request = world.ask(Close {});
            world.put(entry::Close { request });
            let by = world.command(nockvault::statement::lease::LeaseRevoke { lease: lease.clone() });
            world.put(entry::Revoke { by, lease, outcome: "none".into() });
        })
    }),
    ("one lease issued twice", Fault::Lease, || {
        then(|world| {
            let mut again = world.next_issue();
            again.hdr.lease = world.lease();
            world.put(again);
        })
    }),
    ("issued under another seal key", Fault::Session, || {
        then(|world| {
            world.seal.pk = nockvault::crypto::hpke::SealKeyBytes::from_bytes([9; 32]);
            world.obtain();
        })
    }),
    ("a session closed twice", Fault::Session, || {
        then(|world| {
            for _ in 0..2 {
                let request = world.ask(Close {});
                world.put(entry::Close { request });
            }
        })
    }),
    ("issued to a frozen agent", Fault::Frozen, || {
        then(|world| {
            let by = By { chain: ChainName::operators(), leaf: Digest::of(b"freeze"), seq: 9 };
            world.put(entry::Freeze { by });
            world.obtain();
        })
    }),
];

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
            let by = world.command(nockvault::statement::lease::LeaseRevoke { lease: world.lease() });
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
            let command = world.signed_command(&nockvault::statement::lease::LeaseRevoke { lease: world.lease() });
            for _ in 0..2 {
                world.order(entry::Command::carried(command.clone(), serde_json::Map::new()));
            }
        })
    }),
    ("a command for another vault", Fault::RequestMembers, || {
        commanded(|world| {
            let aud = std::mem::replace(&mut world.aud, World::new(99).aud);
            let command = world.signed_command(&nockvault::statement::lease::LeaseRevoke { lease: world.lease() });
            world.aud = aud;
            world.order(entry::Command::carried(command, serde_json::Map::new()));
        })
    }),
];

/// A bad `_operators`.
fn commanded(wrong: impl FnOnce(&mut World)) -> Bad {
    let mut world = World::at_work(7);
    wrong(&mut world);
    let (pins, lines) = (world.pins(), world.operators.lines);
    Bad { entry: lines.len() - 1, pins, lines }
}
