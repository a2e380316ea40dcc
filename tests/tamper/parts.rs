//! Parts of chains, which begin at a checkpoint: what is verified from there, what cannot be, and the bad files.

use nockvault::audit::checkpoint::Checkpoint;
use std::sync::Arc;

use nockvault::audit::directory::open_at_any_time;
use nockvault::audit::entry::{self, Body, Entry};
use nockvault::audit::verify::report::{Fault, Verdict};
use nockvault::audit::verify::{Pins, verify, verify_operators};
use nockvault::crypto::hash::Digest;
use nockvault::crypto::signature::{PublicKey, SigningKey};
use nockvault::statement::agent::AgentRegister;
use nockvault::statement::operator::Duty;
use nockvault::statement::register::Register;
use nockvault::statement::request::Seen;

use crate::cases::{Bad, Case};
use crate::checkpoints::{kept, pinned, vouch_for_operators};
use crate::files::listed;
use crate::world::{World, copy, file, kit, terms};

/// The agent's keys, as its whole chain registers them.
pub(crate) fn keys(lines: &[Vec<u8>]) -> Vec<PublicKey> {
    let register = |line: &Vec<u8>| match Entry::read(line).unwrap().body {
        Body::Genesis(genesis) => Some(genesis.register),
        Body::AgentKey(key) => Some(key.register),
        _ => None,
    };
    lines.iter().filter_map(register).map(|register| Register::open(&register).unwrap().pk).collect()
}

/// What the reader of a part knows who has the agent's public keys.
pub(crate) fn pins(world: &World) -> Pins {
    Pins { since_checkpoint: true, holder_keys: keys(&world.kit.lines), ..world.pins() }
}

fn checkpoints(world: &World) -> Vec<usize> {
    let is_one = |line: &[u8]| matches!(Entry::read(line).unwrap().body, Body::Checkpoint(_));
    (0..world.kit.lines.len()).filter(|at| is_one(&world.kit.lines[*at])).collect()
}

/// `kit` at work and a checkpoint, and then something that may not be. The file begins at the checkpoint.
fn behind(wrong: impl FnOnce(&mut World)) -> Bad {
    behind_with(wrong, pins)
}

fn behind_with(wrong: impl FnOnce(&mut World), pins: impl FnOnce(&World) -> Pins) -> Bad {
    let mut world = World::at_work(7);
    world.vouch();
    wrong(&mut world);
    let pins = pins(&world);
    let lines = world.kit.lines[4..].to_vec();
    Bad { entry: lines.len() - 1, pins, lines, operators: None }
}

/// A part whose first entry is not what it should be.
fn beginning(wrong: impl FnOnce(&mut World)) -> Bad {
    Bad { entry: 0, ..behind(wrong) }
}

fn of_before(change: impl FnOnce(&World) -> Pins) -> Bad {
    let pins = |world: &World| Pins { since_checkpoint: true, ..change(world) };
    let goes_on = |world: &mut World| {
        world.obtain();
    };
    Bad { entry: 0, ..behind_with(goes_on, pins) }
}

pub(crate) const PARTS: &[Case] = &[
    ("a part whose tree is of another size", Fault::Checkpoint, || {
        beginning(|world| {
            let key = copy(&world.stolen);
            let more = serde_json::to_value(Digest::ZERO).unwrap();
            world.rewrite(&key, |entry| entry["body"]["tree"].as_array_mut().unwrap().push(more));
        })
    }),
    ("a part whose tree is not its note's", Fault::Checkpoint, || {
        beginning(|world| {
            let key = copy(&world.stolen);
            let fork = serde_json::to_value(Digest::of(b"fork")).unwrap();
            world.rewrite(&key, |entry| entry["body"]["tree"][0] = fork);
        })
    }),
    ("a part whose note is another vault's", Fault::Checkpoint, || {
        beginning(|world| {
            let key = copy(&world.stolen);
            let note = Checkpoint::of("prod/kit", &world.kit.head.tree).sign(&World::new(99).identity);
            world.rewrite(&key, |entry| entry["body"]["note"] = note.into());
        })
    }),
    ("a part whose audit key is not certified", Fault::Certificate, || {
        beginning(|world| {
            let key = copy(&world.stolen);
            world.rewrite(&key, |entry| drop(entry.as_object_mut().unwrap().remove("cert")));
        })
    }),
    ("a part that follows another entry than its tree ends with", Fault::Checkpoint, || {
        let mut world = World::at_work(7);
        world.obtain();
        world.vouch();
        let key = copy(&world.stolen);
        let fork = serde_json::to_value(Digest::of(b"fork")).unwrap();
        world.rewrite(&key, |entry| entry["prev"] = fork);
        Bad { entry: 0, pins: pins(&world), lines: world.kit.lines[5..].to_vec(), operators: None }
    }),
    ("a part behind another history than the kept checkpoint's", Fault::KeptCheckpoint, || {
        of_before(|world| pinned(world, kept(world, 4, Some(Digest::of(b"fork")))))
    }),
    ("a part behind another history than the checkpoint's that its own key signed", Fault::KeptCheckpoint, || {
        // The key's certificate comes with the checkpoint at which the part begins.
        of_before(|world| Pins { certs: Vec::new(), ..pinned(world, kept(world, 4, Some(Digest::of(b"fork")))) })
    }),
    ("a part behind another state than the one held", Fault::Head, || {
        of_before(|world| Pins { heads: vec![Seen { head: Digest::of(b"fork"), size: 4 }], ..world.pins() })
    }),
    ("a line is missing in a part", Fault::Seq, || {
        let bad = behind(|world| {
            world.obtain();
            world.obtain();
        });
        let lines = vec![bad.lines[0].clone(), bad.lines[2].clone()];
        Bad { entry: 1, lines, ..bad }
    }),
    ("a request in a part that its key did not sign", Fault::RequestSignature, || {
        behind(|world| {
            world.obtain();
            let key = copy(&world.stolen);
            world.rewrite(&key, |entry| entry["body"]["request"]["payload"]["purpose"] = "another".into());
        })
    }),
    ("a request twice in a part", Fault::RequestTwice, || {
        behind(|world| {
            world.obtain();
            let again = world.issue(world.last_issue().request);
            world.put(again);
        })
    }),
    ("a history in a part that is not this one", Fault::History, || {
        behind(|world| {
            world.obtain();
            let fork = Seen { head: Digest::of(b"fork"), size: 5 };
            let request = world.ask_as(world.wish(), |common| common.seen = fork);
            let issue = world.issue(request);
            world.put(issue);
        })
    }),
    ("a lease of before released twice in a part", Fault::Lease, || {
        behind(|world| {
            let lease = world.lease();
            world.release(&lease);
            world.release(&lease);
        })
    }),
    ("a lease of before renewed behind its release", Fault::Lease, || {
        behind(|world| {
            let lease = world.lease();
            world.release(&lease);
            world.renew(&lease, crate::world::TTL);
        })
    }),
    ("a session of before used behind its end", Fault::Session, || {
        behind(|world| {
            world.close();
            world.obtain();
        })
    }),
    ("a grant of before used behind its end", Fault::Grant, || {
        behind(|world| {
            world.ungrant();
            world.obtain();
        })
    }),
    ("a grant of before used beside a newer one", Fault::Grant, || {
        behind(|world| {
            let old = world.grant;
            world.give(terms());
            world.grant = old;
            world.obtain();
        })
    }),
    ("issued in a part for longer than asked", Fault::Life, || {
        behind(|world| {
            let mut issue = world.next_issue();
            issue.hdr.exp = nockvault::time::Timestamp(issue.hdr.exp.0 + 1);
            world.put(issue);
        })
    }),
    ("a request in a part signed in another form than its listed key's", Fault::RequestSignature, || {
        let listed = |world: &World| {
            let directory = open_at_any_time(&listed(world, |_| {}), &world.identity.public()).unwrap();
            Pins { since_checkpoint: true, directory: Some(Arc::new(directory)), ..world.pins() }
        };
        let wrong = |world: &mut World| {
            let mut issue = world.next_issue();
            issue.request = crate::requests::in_another_form(world, &issue);
            world.put(issue);
        };
        behind_with(wrong, listed)
    }),
    ("a key of before whose successor left it no grace", Fault::RequestKey, || {
        behind(|world| {
            let old = (copy(&world.agent), world.kver);
            world.rotate(None);
            (world.agent, world.kver) = old;
            world.obtain();
        })
    }),
    ("a key in a part that does not follow the newest", Fault::KeyOrder, || {
        behind(|world| {
            world.rotate(None);
            let next = SigningKey::generate(&world.entropy);
            let register = world.register(kit(), &next, Some((&copy(&world.agent), world.kver + 1)));
            let by = Some(world.command(AgentRegister { register: register.clone() }));
            world.put(entry::AgentKey { by, grace: None, register, request: None });
        })
    }),
    ("an operator's key ended twice in a part of _operators", Fault::KeyOrder, || {
        let mut world = World::at_work(7);
        let joe = crate::operators::hire(&mut world, "joe", Duty::Auditor);
        let begin = vouch_for_operators(&mut world);
        crate::operators::put_out(&mut world, "joe", &joe);
        crate::operators::put_out(&mut world, "joe", &joe);
        let holder_keys = vec![world.operator.public(), joe.public()];
        let pins = Pins { since_checkpoint: true, holder_keys, ..world.pins() };
        let lines = world.operators.lines[begin..].to_vec();
        Bad { entry: lines.len() - 1, pins, lines, operators: None }
    }),
    ("an operator registered twice in a part of _operators", Fault::KeyOrder, || {
        let mut world = World::at_work(7);
        let begin = vouch_for_operators(&mut world);
        crate::operators::hire(&mut world, "joe", Duty::Auditor);
        crate::operators::hire(&mut world, "joe", Duty::Auditor);
        let holder_keys = vec![world.operator.public()];
        let pins = Pins { since_checkpoint: true, holder_keys, ..world.pins() };
        let lines = world.operators.lines[begin..].to_vec();
        Bad { entry: lines.len() - 1, pins, lines, operators: None }
    }),
    ("a key that was ended in a part", Fault::RequestKey, || {
        behind(|world| {
            world.end_key();
            world.obtain();
        })
    }),
];

#[test]
fn a_chain_is_verified_from_each_of_its_checkpoints() {
    let world = World::whole(30);
    let (_, commands) = verify_operators(world.operators.file().as_slice(), &world.pins()).unwrap();
    let operators = commands.map(std::sync::Arc::new);
    let begins = checkpoints(&world);
    assert_eq!(begins.len(), 3);
    for begin in begins {
        let pins = Pins {
            operators: operators.clone(),
            heads: vec![world.kit.head.seen()],
            checkpoints: vec![kept(&world, begin, None), kept(&world, begin + 2, None)],
            ..pins(&world)
        };
        let found = verify(file(&world.kit.lines[begin..]).as_slice(), &pins).unwrap();
        assert_eq!(found.verdict, Verdict::Intact, "{found}");
        assert_eq!((found.first, found.size, found.head), (begin as u64, world.kit.head.size, world.kit.head.leaf));
        let text = found.to_string();
        assert!(text.contains("which grants, sessions and leases stood there is not known"), "{text}");
        assert!(!text.contains("WHO SIGNED"), "{text}");
    }
}

#[test]
fn a_part_without_the_agents_keys_says_that_nobody_is_known_to_have_asked() {
    let mut world = World::at_work(31);
    world.vouch();
    world.obtain();
    world.rotate(None);
    world.obtain();
    let bytes = file(&world.kit.lines[4..]);
    let bare = Pins { holder_keys: Vec::new(), ..pins(&world) };
    let found = verify(bytes.as_slice(), &bare).unwrap();
    assert_eq!(found.verdict, Verdict::Intact, "{found}");
    // The request for the next key is the last of an unknown one.
    assert!(found.to_string().contains("WHO SIGNED 2 REQUESTS"), "{found}");
    assert_eq!(found.keys.iter().map(|key| key.signed).collect::<Vec<_>>(), [1]);
    let whole = verify(bytes.as_slice(), &pins(&world)).unwrap();
    assert_eq!(whole.verdict, Verdict::Intact, "{whole}");
    assert_eq!(whole.keys.iter().map(|key| key.signed).collect::<Vec<_>>(), [2, 1]);
}

#[test]
fn a_part_is_taken_only_where_one_was_asked_for_and_the_vault_is_known() {
    let world = World::whole(32);
    let begin = checkpoints(&world)[0];
    let bytes = file(&world.kit.lines[begin..]);
    let found = verify(bytes.as_slice(), &world.pins()).unwrap();
    assert!(matches!(found.verdict, Verdict::Tampered { entry: 0, fault: Fault::Seq, .. }), "{found}");
    let unusable = |bytes: &[u8], pins: &Pins, said: &str| match verify(bytes, pins).unwrap().verdict {
        Verdict::Unusable { how } => assert!(how.contains(said), "{how}"),
        other => panic!("{other}"),
    };
    unusable(&bytes, &Pins { identity: None, ..pins(&world) }, "does not name the vault's identity key");
    unusable(&file(&world.kit.lines[begin + 1..]), &pins(&world), "neither with a genesis nor with a checkpoint");
    let early = Pins { checkpoints: vec![kept(&world, begin - 1, None)], ..pins(&world) };
    unusable(&bytes, &early, "cannot be compared");
    // A whole chain is as good.
    assert_eq!(verify(world.kit.file().as_slice(), &pins(&world)).unwrap().verdict, Verdict::Intact);
}
