//! Bad files in which a request or a key of the agent is wrong.

use nockvault::audit::entry;
use nockvault::audit::verify::Pins;
use nockvault::audit::verify::report::Fault;
use nockvault::crypto::envelope::{Embedded, Envelope, PayloadType};
use nockvault::crypto::hash::Digest;
use nockvault::crypto::signature::{Form, SigningKey};
use nockvault::statement::Body as _;
use nockvault::statement::agent::AgentRegister;
use nockvault::statement::lease::{Release, Renew};
use nockvault::statement::request::Seen;
use nockvault::statement::rotate_key::RotateKey;
use nockvault::statement::session::Hello;
use nockvault::time::Seconds;

use crate::cases::{Bad, Case, issued, then, then_with};
use crate::world::{TTL, World, copy, kit};

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
    ("a request signed in another form than its key's", Fault::RequestSignature, || {
        issued(|world, issue| issue.request = in_another_form(world, issue))
    }),
    ("a request longer than any may be", Fault::RequestMembers, || with_params(serde_json::json!("y".repeat(9000)))),
    ("a request deeper than any may be", Fault::RequestMembers, || {
        with_params((0..8).fold(serde_json::json!(1), |inside, _| serde_json::json!([inside])))
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
            world.put(entry::Deny { handle: None, lease: None, reason: "no_grant".into(), request });
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
    ("a request that names another typ than its members", Fault::RequestMembers, || {
        then(|world| {
            let request = world.ask_as(world.wish(), |common| common.typ = Hello::TYP.into());
            let issue = world.issue(request);
            world.put(issue);
        })
    }),
    ("a request of another version", Fault::RequestMembers, || {
        then(|world| {
            let request = world.ask_as(world.wish(), |common| common.v = 2);
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
            world.put(entry::Deny {
                handle: None,
                lease: None,
                reason: "no_grant".into(),
                request: issue.request.clone(),
            });
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

/// The request of an issuance as its agent would sign it with an SSH key's form, which it did not register.
pub(crate) fn in_another_form(world: &World, issue: &entry::Issue) -> Embedded {
    let payload: serde_json::Value = issue.request.payload.clone();
    Envelope::sign(PayloadType::Request, &payload, &world.agent, Form::Sshsig).embed().unwrap()
}

/// Issued on a request with this parameter.
fn with_params(value: serde_json::Value) -> Bad {
    then(|world| {
        let mut wish = world.wish();
        wish.params.insert("x".to_owned(), value);
        let issue = world.issue(world.ask(wish));
        world.put(issue);
    })
}
