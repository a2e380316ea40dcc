//! The forger's suite: somebody has the whole database, or the vault's audit key of the day, or both, or every key of the
//! vault, and rewrites the past. Each test is one thing that he tries; in it stands what catches him, and where a bare
//! file cannot, and what has to be kept for it. The table in `src/manual/threats.rs` is this file for people.
//!
//! He holds no key of an agent or an operator, and nothing that somebody keeps elsewhere.

#![allow(clippy::unwrap_used, reason = "what makes the chains panics where it cannot")]
#![allow(dead_code, reason = "the world of the chains is shared with tests/tamper.rs, which uses all of it")]

#[path = "tamper/backends.rs"]
mod backends;
#[path = "tamper/cases.rs"]
mod cases;
#[path = "tamper/checkpoints.rs"]
mod checkpoints;
#[cfg(feature = "daemon")]
#[path = "forger/rollback.rs"]
mod rollback;
#[cfg(feature = "daemon")]
mod support;
#[path = "tamper/world.rs"]
mod world;

use std::sync::Arc;

use cases::{receipt, sealed};
use nockvault::audit::checkpoint::Checkpoint;
use nockvault::audit::entry::{self, By};
use nockvault::audit::note::Note;
use nockvault::audit::policy::Policy;
use nockvault::audit::receipt::Receipt;
use nockvault::audit::tree::{Tree, consistency, verify_consistency};
use nockvault::audit::verify::report::{Fault, Verdict};
use nockvault::audit::verify::{Kept, Pins, verify, verify_operators};
use nockvault::audit::witness::{WitnessKey, cosign};
use nockvault::crypto::hash::{Digest, leaf, node};
use nockvault::crypto::signature::{PublicKey, SigningKey};
use nockvault::statement::request::Seen;
use nockvault::time::Seconds;
use serde_json::{Value, json};
use world::{START, World, copy, file, signed};

/// What was thought of a file.
#[derive(Debug, PartialEq)]
enum Found {
    /// Nothing is wrong with it, as far as the reader can know.
    Nothing,
    /// Tampered with, at this entry.
    At(u64, Fault),
    /// It is no answer: too old, or not vouched for.
    NoAnswer,
}

use Found::{At, NoAnswer, Nothing};

fn found(lines: &[Vec<u8>], pins: &Pins) -> Found {
    match verify(file(lines).as_slice(), pins).unwrap().verdict {
        Verdict::Intact => Nothing,
        Verdict::Tampered { entry, fault, .. } => At(entry, fault),
        _ => NoAnswer,
    }
}

/// With what key the forger signs.
enum Forger<'a> {
    /// None: he has the database, and signs with a key of his own what he cannot copy.
    Database,
    /// The audit key of the day, and its certificate, which stands in the chain.
    Day(&'a SigningKey),
    /// All keys of the vault: he certifies an audit key for any day.
    Root(&'a SigningKey),
}

/// A day at the vault, and what is kept of it elsewhere. Entries 0 to 3 are of the day before; on the day kit gets a
/// credential (4), is refused one (5), and gets two more (6, 7).
struct Scene {
    world: World,
    /// Kit's receipts of the entries 4 and 7.
    receipts: [Receipt; 2],
    /// What kit has seen.
    head: Seen,
    /// A checkpoint of all 8 entries that somebody keeps.
    kept: Kept,
}

impl Scene {
    fn new() -> Scene {
        let mut world = World::at_work(40);
        world.now = world.now.plus(Seconds(3600));
        world.new_epoch();
        let give = |world: &mut World| {
            let mut issue = world.next_issue();
            issue.sealed = sealed().2;
            world.put(issue);
            receipt(world, |_| {})
        };
        let first = give(&mut world);
        let request = world.ask(world.wish());
        world.put(entry::Deny { handle: None, lease: None, reason: "no_grant".into(), request });
        world.obtain();
        let last = give(&mut world);
        assert_eq!(world.kit.lines.len(), 8);
        let (head, kept) = (world.kit.head.seen(), checkpoints::kept(&world, 8, None));
        Scene { world, receipts: [first, last], head, kept }
    }

    fn lines(&self) -> Vec<Vec<u8>> {
        self.world.kit.lines.clone()
    }

    fn entries(&self) -> Vec<Value> {
        self.lines().iter().map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    /// The reader who pinned the vault's identity, and nothing else.
    fn bare(&self) -> Pins {
        self.world.pins()
    }

    fn with_receipt(&self, which: usize) -> Pins {
        Pins { receipts: vec![self.receipts[which].clone()], ..self.bare() }
    }

    fn with_head(&self) -> Pins {
        Pins { heads: vec![self.head], ..self.bare() }
    }

    fn with_checkpoint(&self) -> Pins {
        checkpoints::pinned(&self.world, self.kept.clone())
    }

    fn day(&self) -> Forger<'_> {
        Forger::Day(&self.world.stolen)
    }

    fn root(&self) -> Forger<'_> {
        Forger::Root(&self.world.identity)
    }

    /// The chain with these entries, as good as the forger can make it: all from the first that he changed on get their
    /// numbers, the leaf before them and his signature.
    fn forge(&self, entries: Vec<Value>, by: &Forger<'_>) -> Vec<Vec<u8>> {
        let mut old = self.entries();
        let from = entries.iter().zip(&old).take_while(|(new, old)| new == old).count();
        let (key, cert) = match by {
            Forger::Database => return self.forge_without_a_key(entries),
            Forger::Day(key) => (copy(key), old[4]["cert"].take()),
            Forger::Root(_) => {
                let key = SigningKey::generate(&self.world.entropy);
                let life = (START, START.plus(Seconds(7 * 86_400)));
                let audit = self.world.audit_key(copy(&key), life.0, life.1);
                (key, serde_json::to_value(audit.cert()).unwrap())
            }
        };
        let mut lines = self.lines()[..from.min(old.len())].to_vec();
        for (at, mut entry) in entries.into_iter().enumerate().skip(from) {
            entry["seq"] = at.into();
            entry["prev"] = serde_json::to_value(lines.last().map_or(Digest::ZERO, |line| leaf(line))).unwrap();
            entry["kid"] = key.kid().as_str().into();
            entry.as_object_mut().unwrap().remove("cert");
            if at == from {
                entry["cert"] = cert.clone();
            }
            lines.push(signed(entry, &key));
        }
        lines
    }

    /// What the vault wrote stays as it is, wherever it is put.
    fn forge_without_a_key(&self, entries: Vec<Value>) -> Vec<Vec<u8>> {
        let (old, key) = (self.entries(), SigningKey::generate(&self.world.entropy));
        let mut lines: Vec<Vec<u8>> = Vec::new();
        for (at, mut entry) in entries.into_iter().enumerate() {
            let line = if let Some(was) = old.iter().position(|old| *old == entry) {
                self.world.kit.lines[was].clone()
            } else {
                entry["seq"] = at.into();
                entry["prev"] = serde_json::to_value(lines.last().map_or(Digest::ZERO, |line| leaf(line))).unwrap();
                signed(entry, &key)
            };
            lines.push(line);
        }
        lines
    }

    /// An entry of the time of this one that needs nobody's signature but the vault's.
    fn summary(&self, at: usize) -> Value {
        let mut entry = self.entries()[at].clone();
        entry["kind"] = "deny_summary".into();
        entry["body"] = json!({ "counts": { "no_grant": 9 }, "from": START, "to": START });
        entry
    }
}

#[test]
fn an_edit() {
    let scene = Scene::new();
    let edited = |at: usize| {
        let mut entries = scene.entries();
        entries[at]["body"]["hdr"]["renewable"] = false.into();
        entries
    };
    let bare = |lines: &[Vec<u8>]| found(lines, &scene.bare());
    assert_eq!(bare(&scene.forge(edited(4), &Forger::Database)), At(4, Fault::Signature));
    // The next request that was obeyed was signed in view of what stood there before. A refused one only claims.
    for forger in [scene.day(), scene.root()] {
        assert_eq!(bare(&scene.forge(edited(4), &forger)), At(6, Fault::History));
    }
    // The newest entry, which nobody signed in view of yet.
    for forger in [scene.day(), scene.root()] {
        let lines = scene.forge(edited(7), &forger);
        assert_eq!(bare(&lines), Nothing);
        assert_eq!(found(&lines, &scene.with_receipt(0)), Nothing);
        assert_eq!(found(&lines, &scene.with_receipt(1)), At(7, Fault::Receipt));
        assert_eq!(found(&lines, &scene.with_head()), At(7, Fault::Head));
        assert_eq!(found(&lines, &scene.with_checkpoint()), At(7, Fault::KeptCheckpoint));
    }
}

#[test]
fn an_edit_of_the_day_before() {
    let scene = Scene::new();
    let mut entries = scene.entries();
    entries[3]["body"]["hdr"]["renewable"] = false.into();
    // The key of that day is erased, and the one of this day was not good then.
    assert_eq!(found(&scene.forge(entries.clone(), &scene.day()), &scene.bare()), At(3, Fault::KeyLife));
    assert_eq!(found(&scene.forge(entries.clone(), &scene.root()), &scene.bare()), At(4, Fault::History));
    // Moved into this day.
    entries[3]["ts"] = entries[4]["ts"].clone();
    assert_eq!(found(&scene.forge(entries, &scene.day()), &scene.bare()), At(4, Fault::History));
}

#[test]
fn an_insertion() {
    let scene = Scene::new();
    let mut twice = scene.entries();
    twice.insert(5, twice[4].clone());
    assert_eq!(found(&scene.forge(twice, &Forger::Database), &scene.bare()), At(5, Fault::Seq));
    for forger in [scene.day(), scene.root()] {
        let mut entries = scene.entries();
        entries.insert(5, scene.summary(4));
        assert_eq!(found(&scene.forge(entries, &forger), &scene.bare()), At(7, Fault::History));
    }
    // At the end it contradicts nothing, whatever is kept: who has the audit key writes what needs no other signature,
    // until the true vault writes on, and kit has its receipt for the same place.
    for forger in [scene.day(), scene.root()] {
        let mut entries = scene.entries();
        entries.push(scene.summary(7));
        let lines = scene.forge(entries, &forger);
        for pins in [scene.bare(), scene.with_receipt(1), scene.with_head(), scene.with_checkpoint()] {
            assert_eq!(found(&lines, &pins), Nothing);
        }
        let mut goes_on = Scene::new();
        goes_on.world.obtain();
        let next = Pins { receipts: vec![receipt(&goes_on.world, |_| {})], ..scene.bare() };
        assert_eq!(found(&lines, &next), At(8, Fault::Receipt));
    }
}

#[test]
fn a_deletion() {
    let scene = Scene::new();
    let mut entries = scene.entries();
    entries.remove(6);
    assert_eq!(found(&scene.forge(entries.clone(), &Forger::Database), &scene.bare()), At(6, Fault::Seq));
    for forger in [scene.day(), scene.root()] {
        assert_eq!(found(&scene.forge(entries.clone(), &forger), &scene.bare()), At(6, Fault::History));
    }
}

#[test]
fn a_change_of_order() {
    let scene = Scene::new();
    let mut entries = scene.entries();
    entries.swap(6, 7);
    assert_eq!(found(&scene.forge(entries.clone(), &Forger::Database), &scene.bare()), At(6, Fault::Seq));
    for forger in [scene.day(), scene.root()] {
        assert_eq!(found(&scene.forge(entries.clone(), &forger), &scene.bare()), At(6, Fault::History));
    }
}

/// It takes no key, and a bare file cannot show it.
#[test]
fn an_end_cut_off() {
    let scene = Scene::new();
    let lines = &scene.lines()[..6];
    assert_eq!(found(lines, &scene.bare()), Nothing);
    assert_eq!(found(lines, &scene.with_receipt(0)), Nothing);
    assert_eq!(found(lines, &scene.with_receipt(1)), At(6, Fault::Receipt));
    assert_eq!(found(lines, &scene.with_head()), At(6, Fault::Head));
    assert_eq!(found(lines, &scene.with_checkpoint()), At(6, Fault::KeptCheckpoint));
    let age = Pins { max_age: Some((scene.world.now.plus(Seconds(60)), Seconds(60))), ..scene.bare() };
    assert_eq!((found(&scene.lines(), &age), found(lines, &age)), (Nothing, NoAnswer));
}

#[test]
fn a_denial_hidden() {
    let scene = Scene::new();
    let mut entries = scene.entries();
    entries.remove(5);
    assert_eq!(found(&scene.forge(entries.clone(), &Forger::Database), &scene.bare()), At(5, Fault::Seq));
    for forger in [scene.day(), scene.root()] {
        assert_eq!(found(&scene.forge(entries.clone(), &forger), &scene.bare()), At(5, Fault::History));
    }
    // The newest entry of all: a refusal names no entry, so that kit holds nothing that does.
    let mut scene = Scene::new();
    let request = scene.world.ask(scene.world.wish());
    let before = scene.lines();
    scene.world.put(entry::Deny { handle: None, lease: None, reason: "no_grant".into(), request });
    scene.kept = checkpoints::kept(&scene.world, 9, None);
    for pins in [scene.bare(), scene.with_receipt(1), scene.with_head()] {
        assert_eq!(found(&before, &pins), Nothing);
    }
    assert_eq!(found(&before, &scene.with_checkpoint()), At(8, Fault::KeptCheckpoint));
}

#[test]
fn an_issuance_replaced() {
    let scene = Scene::new();
    let replaced = |member: &str, value: Value| {
        let mut entries = scene.entries();
        *entries[7].pointer_mut(member).unwrap() = value;
        entries
    };
    let role = replaced("/body/hdr/role", "orders-write".into());
    let sealed = replaced("/body/sealed", serde_json::to_value(Digest::of(b"another credential")).unwrap());
    assert_eq!(found(&scene.forge(role.clone(), &Forger::Database), &scene.bare()), At(7, Fault::Signature));
    for forger in [scene.day(), scene.root()] {
        // What is not what kit asked for.
        assert_eq!(found(&scene.forge(role.clone(), &forger), &scene.bare()), At(7, Fault::Header));
        // What kit could have got, and did not: only who kept something knows.
        let lines = scene.forge(sealed.clone(), &forger);
        assert_eq!(found(&lines, &scene.bare()), Nothing);
        assert_eq!(found(&lines, &scene.with_receipt(1)), At(7, Fault::Receipt));
        assert_eq!(found(&lines, &scene.with_checkpoint()), At(7, Fault::KeptCheckpoint));
    }
}

#[test]
fn an_issuance_invented() {
    let scene = Scene::new();
    let forgers = [scene.day(), scene.root()];
    let thief = SigningKey::generate(&scene.world.entropy);
    let append = |change: &dyn Fn(&mut World)| {
        let mut other = Scene::new();
        change(&mut other.world);
        let mut entries = scene.entries();
        entries.extend(other.entries().into_iter().skip(8));
        entries
    };
    // By a key that is not kit's; and with a request of kit's that was answered before.
    let forged = append(&|world| {
        let kit = std::mem::replace(&mut world.agent, copy(&thief));
        let mut issue = world.next_issue();
        world.agent = kit;
        let kid = world.agent.kid();
        issue.request.payload["kid"] = kid.as_str().into();
        issue.hdr.kid = kid;
        world.put(issue);
    });
    let again = append(&|world| {
        let mut issue = world.issue(world.last_issue().request);
        issue.hdr.lease = nockvault::id::LeaseId::new(world.now.0, [9; 10]);
        issue.handle = nockvault::id::handle(&issue.hdr.agent, &issue.hdr.lease);
        world.put(issue);
    });
    for invented in [&forged, &again] {
        let lines = scene.forge(invented.clone(), &Forger::Database);
        assert_eq!(found(&lines, &scene.bare()), At(8, Fault::Signature));
    }
    for forger in &forgers {
        assert_eq!(found(&scene.forge(forged.clone(), forger), &scene.bare()), At(8, Fault::RequestSignature));
        assert_eq!(found(&scene.forge(again.clone(), forger), &scene.bare()), At(8, Fault::RequestTwice));
    }
}

/// He registers a key of his own as kit's, which takes an operator's command, and asks with that.
#[test]
fn an_issuance_invented_under_an_invented_key() {
    let mut scene = Scene::new();
    let operators = scene.world.operators.lines.clone();
    let genuine = By {
        chain: nockvault::id::ChainName::operators(),
        leaf: leaf(operators.last().unwrap()),
        seq: operators.len() as u64 - 1,
    };
    let kit = copy(&scene.world.agent);
    let thief = SigningKey::generate(&scene.world.entropy);
    let register = scene.world.register(world::kit(), &thief, Some((&kit, 1)));
    scene.world.put(entry::AgentKey { by: Some(genuine), grace: None, register, request: None });
    (scene.world.agent, scene.world.kver) = (thief, 2);
    scene.world.obtain();
    let lines = scene.lines();
    let without_a_key = Scene::new().forge(scene.entries(), &Forger::Database);
    assert_eq!(found(&without_a_key, &scene.bare()), At(8, Fault::Signature));
    // To the reader of this file alone an operator replaced kit's key.
    assert_eq!(found(&lines, &scene.bare()), Nothing);
    // To one who knows kit's key, or has the commands of operators, nobody did.
    let pinned = Pins { agent_keys: vec![kit.kid()], ..scene.bare() };
    assert_eq!(found(&lines, &pinned), At(8, Fault::KeyPin));
    let commands = |lines: &[Vec<u8>]| verify_operators(file(lines).as_slice(), &scene.bare()).unwrap();
    let known = Pins { operators: commands(&operators).1.map(Arc::new), ..scene.bare() };
    assert_eq!(found(&lines, &known), At(8, Fault::By));
    // A command of his own making is signed by no operator.
    let mut forged = Scene::new().world;
    forged.operator = SigningKey::generate(&scene.world.entropy);
    let command = nockvault::statement::grant::GrantRevoke {
        agent: "kit".parse().unwrap(),
        role: "orders-read".parse().unwrap(),
    };
    forged.command(command);
    let report = commands(&forged.operators.lines).0;
    let last = forged.operators.lines.len() as u64 - 1;
    assert!(
        matches!(report.verdict, Verdict::Tampered { entry, fault: Fault::RequestSignature, .. } if entry == last),
        "{report}"
    );
}

/// He lets the chain go another way from some entry on, with nothing in it that kit would have to sign.
#[test]
fn a_tail_signed_anew() {
    let scene = Scene::new();
    let mut entries = scene.entries()[..5].to_vec();
    entries.extend(std::iter::repeat_n(scene.summary(4), 4));
    let without_a_key = scene.forge(entries.clone(), &Forger::Database);
    assert_eq!(found(&without_a_key, &scene.bare()), At(5, Fault::Signature));
    for forger in [scene.day(), scene.root()] {
        let lines = scene.forge(entries.clone(), &forger);
        assert_eq!(found(&lines, &scene.bare()), Nothing);
        assert_eq!(found(&lines, &scene.with_receipt(0)), Nothing);
        assert_eq!(found(&lines, &scene.with_receipt(1)), At(7, Fault::Receipt));
        assert_eq!(found(&lines, &scene.with_head()), At(7, Fault::Head));
        assert_eq!(found(&lines, &scene.with_checkpoint()), At(7, Fault::KeptCheckpoint));
    }
}

/// The tree over these lines.
fn tree(lines: &[Vec<u8>]) -> Tree {
    let mut tree = Tree::default();
    lines.iter().for_each(|line| tree.push(leaf(line)));
    tree
}

/// The root of a complete subtree over these lines.
fn subtree(lines: &[Vec<u8>], level: u32, index: u64) -> Digest {
    if level == 0 {
        return leaf(&lines[usize::try_from(index).unwrap()]);
    }
    node(&subtree(lines, level - 1, 2 * index), &subtree(lines, level - 1, 2 * index + 1))
}

/// Two auditors are shown two histories, each with a checkpoint that the vault's own key signed.
#[test]
fn two_histories_for_two_auditors() {
    let scene = Scene::new();
    let one = scene.lines();
    let mut entries = scene.entries()[..5].to_vec();
    entries.extend(std::iter::repeat_n(scene.summary(4), 5));
    let other = scene.forge(entries, &scene.root());
    assert_eq!((found(&one, &scene.bare()), found(&other, &scene.bare())), (Nothing, Nothing));

    let origin = &scene.world.kit.head.origin;
    let note = |lines: &[Vec<u8>]| Checkpoint::of(origin, &tree(lines)).sign(&checkpoints::key());
    let pins = |note: &str| checkpoints::pinned(&scene.world, Kept::read(note).unwrap());
    // Each auditor alone is content. Together they see it: neither's checkpoint is of the other's file.
    assert_eq!((found(&one, &pins(&note(&one))), found(&other, &pins(&note(&other)))), (Nothing, Nothing));
    assert_eq!(found(&other, &pins(&note(&one))), At(7, Fault::KeptCheckpoint));
    assert_eq!(found(&one, &pins(&note(&other))), At(8, Fault::KeptCheckpoint));

    // A witness that saw the one cosigns the other only with a proof that it follows, and there is none.
    let (seen, shown) = (tree(&one), tree(&other));
    let proof =
        consistency(seen.size(), shown.size(), |level, index| Ok::<_, ()>(subtree(&other, level, index))).unwrap();
    let follows = |tree: &Tree| verify_consistency(seen.size(), &seen.root(), tree.size(), &tree.root(), &proof);
    assert!(follows(&shown).is_err());

    // So an auditor who asks for the witness gets an answer of one of the two alone.
    let witness = SigningKey::generate(&scene.world.entropy);
    let name = "witness.example";
    let cosigned = |note: &str| {
        let mut note = Note::read(note).unwrap();
        let line = cosign(&note.text, name, &witness, 1_780_500_100);
        note.signatures.push(line);
        note.write()
    };
    let asked = |note: &str| Pins { policy: Some(policy(name, witness.public())), ..pins(note) };
    assert_eq!(found(&one, &asked(&cosigned(&note(&one)))), Nothing);
    assert_eq!(found(&other, &asked(&note(&other))), NoAnswer);
    assert_eq!(found(&other, &asked(&cosigned(&note(&one)))), At(7, Fault::KeptCheckpoint));
}

fn policy(name: &str, key: PublicKey) -> Policy {
    let vkey = WitnessKey::new(name, key).unwrap();
    Policy::read(format!("witness A {vkey}\nquorum A\n").as_bytes()).unwrap()
}

/// The table of the manual names these tests, and every one of them.
#[test]
fn the_manuals_table_is_of_these_tests() {
    let house = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(house.join(path)).unwrap();
    let manual = read("src/manual/threats.rs");
    let named: std::collections::BTreeSet<&str> =
        manual.split('`').filter_map(|part| part.strip_prefix("forger::")).collect();
    let all = [read("tests/forger.rs"), read("tests/forger/rollback.rs")].concat();
    let tests: std::collections::BTreeSet<&str> = all
        .split("#[test]\n")
        .skip(1)
        .chain(all.split("#[tokio::test]\n").skip(1))
        .filter_map(|text| text.lines().next()?.split_once("fn ")?.1.strip_suffix("() {"))
        .filter(|name| *name != "the_manuals_table_is_of_these_tests")
        .collect();
    assert!(tests.len() > 10, "{tests:?}");
    assert_eq!(named, tests);
}
