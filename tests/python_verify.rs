//! Two verifiers that share no line of code, `vault-verify` and `examples/python/verify.py`, over the same files: good
//! ones, one bad file for each thing that a verifier checks, and files that were changed at random. They have to say the
//! same, and name the same entry.

#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "what makes the chains panics where it cannot")]
#![allow(clippy::print_stdout, reason = "figures of what was tried")]
#![allow(dead_code, reason = "the worlds of the bad files are shared with tests/tamper.rs, which uses all of them")]

#[path = "tamper/approvals.rs"]
mod approvals;
#[path = "tamper/backends.rs"]
mod backends;
#[path = "tamper/cases.rs"]
mod cases;
#[path = "tamper/chain.rs"]
mod chain;
#[path = "tamper/checkpoints.rs"]
mod checkpoints;
#[path = "tamper/custody.rs"]
mod custody;
#[path = "tamper/daemons.rs"]
mod daemons;
#[path = "tamper/freezes.rs"]
mod freezes;
#[path = "tamper/given.rs"]
mod given;
#[path = "tamper/operators.rs"]
mod operators;
mod programs;
#[path = "tamper/requests.rs"]
mod requests;
#[path = "tamper/restores.rs"]
mod restores;
mod support;
#[path = "tamper/world.rs"]
mod world;

use std::fs;
use std::path::Path;

use cases::{Bad, Case, receipt, sealed};
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use daemons::Told;
use nockvault::audit::entry;
use nockvault::audit::verify::{Pins, verify};
use nockvault::base64url;
use nockvault::crypto::envelope::{PayloadType, pae};
use nockvault::crypto::hash::{Digest, leaf};
use nockvault::crypto::json::canonical;
use nockvault::id::ChainName;
use nockvault::statement::agent::{AgentFreeze, AgentThaw};
use nockvault::statement::card::{Card, Genesis};
use nockvault::statement::clock::ClockReset;
use nockvault::statement::freeze::{RoleFreeze, RoleThaw, VaultFreeze, VaultThaw};
use nockvault::statement::grant::Terms;
use nockvault::statement::lease::{LeaseRevoke, Scope};
use nockvault::statement::request::Seen;
use nockvault::time::Seconds;
use programs::{foreign, program, said};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};
use world::{World, copy, file, signed};

/// Bad files of which Python says less than `vault-verify`, by name. There are none among those asked about. Not asked
/// about are files and pins for which `verify.py` has no option: parts of chains (`tamper/parts.rs`), key directories,
/// policies of witnesses and proofs of single entries.
const CHECKED_BY_RUST_ALONE: [&str; 0] = [];

/// A file and what its reader knows, as command lines take it.
struct Question {
    name: String,
    arguments: Vec<String>,
    bytes: Vec<u8>,
    pins: Pins,
}

/// A folder of files to ask both about.
struct Desk {
    folder: tempfile::TempDir,
    questions: Vec<Question>,
}

impl Desk {
    fn new() -> Desk {
        Desk { folder: tempfile::tempdir().unwrap(), questions: Vec::new() }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.folder.path().join(name), bytes).unwrap();
        name.to_owned()
    }

    fn add(&mut self, name: impl Into<String>, bytes: &[u8], pins: &Pins, operators: Option<&[Vec<u8>]>) {
        let n = self.questions.len();
        let mut arguments = vec!["--output=json".to_owned()];
        let mut option = |name: &str, value: String| arguments.push(format!("--{name}={value}"));
        if let Some(card) = card(pins) {
            option("vault", self.write(&format!("{n}.card"), card.write().as_bytes()));
        } else if let Some(identity) = &pins.identity {
            option("identity", base64url::encode(&identity.to_bytes()));
        } else if let Some(aud) = &pins.aud {
            option("identity", aud.to_string());
        }
        pins.chain.iter().for_each(|chain| option("chain", chain.to_string()));
        pins.agent_keys.iter().for_each(|kid| option("agent-key", kid.to_string()));
        pins.heads.iter().for_each(|seen| option("head", format!("{}:{}", seen.head, seen.size)));
        for (i, kept) in pins.receipts.iter().enumerate() {
            option("receipt", self.write(&format!("{n}.{i}.receipt"), kept.write().as_bytes()));
        }
        for (i, kept) in pins.checkpoints.iter().enumerate() {
            option("checkpoint", self.write(&format!("{n}.{i}.checkpoint"), kept.note().write().as_bytes()));
        }
        for (i, cert) in pins.certs.iter().enumerate() {
            option("cert", self.write(&format!("{n}.{i}.cert"), &serde_json::to_vec(cert).unwrap()));
        }
        if let Some(operators) = operators {
            option("operators", self.write(&format!("{n}.operators"), &file(operators)));
        }
        arguments.push(self.write(&format!("{n}.jsonl"), bytes));
        self.questions.push(Question { name: name.into(), arguments, bytes: bytes.to_vec(), pins: pins.clone() });
    }

    /// What Python says of each: its exit code and what it printed, all in one process.
    fn python(&self) -> Vec<(i64, String)> {
        let script = r"
import contextlib, io, json, sys, verify
answers = []
for arguments in json.load(open('questions')):
    sys.argv, out = ['verify.py', *arguments], io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            verify.main()
    except SystemExit as why:
        answers.append([why.code, out.getvalue()])
json.dump(answers, sys.stdout)
";
        let all: Vec<_> = self.questions.iter().map(|question| &question.arguments).collect();
        self.write("questions", &serde_json::to_vec(&all).unwrap());
        let answers = said(foreign::python(self.folder.path()).args(["-c", script])).ok();
        let answers: Vec<(i64, String)> = serde_json::from_str(&answers).unwrap();
        assert_eq!(answers.len(), self.questions.len(), "{answers:?}");
        answers
    }

    fn rust(&self, question: &Question) -> (i64, String) {
        if !question.pins.checkpoints.is_empty() {
            // The certificate of a checkpoint key is not given to the program in a file of its own.
            let report = verify(question.bytes.as_slice(), &question.pins).unwrap();
            return (report.verdict.exit_code().into(), serde_json::to_string(&report).unwrap());
        }
        let mut command = program(env!("CARGO_BIN_EXE_vault-verify"), self.folder.path());
        let output = command.args(&question.arguments).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code().unwrap().into(), text)
    }

    /// Both say the same of all files, and gives how many of them were found tampered with.
    fn agree(self) -> usize {
        let (mut tampered, mut differ) = (0, Vec::new());
        for (question, python) in self.questions.iter().zip(self.python()) {
            let name = &question.name;
            let (rust, more) = (self.rust(question), CHECKED_BY_RUST_ALONE.contains(&name.as_str()));
            tampered += usize::from(rust.0 == 2);
            let same = rust.0 == python.0 && told(&rust.1) == told(&python.1);
            if same == more {
                differ.push(format!("{name}: {:?}\nvault-verify: {rust:?}\nverify.py: {python:?}", question.arguments));
            }
        }
        assert!(differ.is_empty(), "of {} files, {}:\n{}", self.questions.len(), differ.len(), differ.join("\n\n"));
        tampered
    }
}

/// Each verdict of an output: which, where, of which fault, and how many good entries stand before it.
fn told(output: &str) -> Vec<Value> {
    let report = |line| {
        let report: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("not a report: {output}"));
        let verdict = &report["verdict"];
        json!([verdict["is"], verdict["entry"], verdict["line"], report["size"], report["head"]])
    };
    output.lines().map(report).collect()
}

/// The card with these pins, where they are those of a card.
fn card(pins: &Pins) -> Option<Card> {
    let identity = pins.identity.clone()?;
    if pins.vault.is_none() && pins.genesis.is_none() {
        return None;
    }
    Some(Card {
        name: pins.vault.clone().unwrap_or_else(|| "prod".parse().unwrap()),
        aud: nockvault::id::Aud::of_identity(&identity.kid()),
        identity,
        agents: "https://127.0.0.1:1".into(),
        operators: "unix:/run/vaultd/operators.sock".into(),
        ca: None,
        genesis: pins.genesis.clone().unwrap_or(Genesis { vault: Digest::ZERO, operators: Digest::ZERO }),
    })
}

#[test]
fn both_find_every_bad_file_bad_at_the_same_entry() {
    let mut desk = Desk::new();
    let all = [
        chain::CHAIN,
        requests::REQUESTS,
        given::GIVEN,
        backends::BACKENDS,
        operators::OPERATORS,
        approvals::APPROVALS,
        custody::CUSTODY,
        checkpoints::CHECKPOINTS,
        daemons::DAEMONS,
        restores::RESTORES,
        freezes::FREEZES,
    ];
    let mut count = 0;
    for (name, _, make) in all.into_iter().flatten().copied::<Case>() {
        let Bad { lines, pins, operators, .. } = make();
        desk.add(name, &file(&lines), &pins, operators.as_deref());
        count += 1;
    }
    println!("{count} bad files");
    assert_eq!(desk.agree(), count);
}

#[test]
fn both_find_good_files_good_and_tell_the_rest_apart_alike() {
    let mut desk = Desk::new();
    let world = World::whole(1);
    let pins = Pins { heads: vec![world.kit.head.seen()], ..world.pins() };
    desk.add("all kinds", &world.kit.file(), &pins, Some(&world.operators.lines));
    desk.add("without operators", &world.kit.file(), &world.pins(), None);
    desk.add("nothing pinned", &world.kit.file(), &Pins::default(), None);
    desk.add("_operators", &world.operators.file(), &world.pins(), None);
    let asked = Pins { chain: Some("mira".parse().unwrap()), ..world.pins() };
    desk.add("another chain than asked for", &world.kit.file(), &asked, None);
    desk.add("_operators too short", &world.kit.file(), &world.pins(), Some(&world.operators.lines[..2]));
    let daemons = [Told::Start, Told::Config, Told::Start, Told::Start, Told::Recover(3), Told::Epoch, Told::Stop];
    let (vault, of_vault) = daemons::vault(&daemons);
    desk.add("_vault", &file(&vault.lines), &of_vault.pins(), None);
    let daemons = [Told::Start, Told::Config, Told::Restore(2), Told::StartWithout, Told::Recover(3), Told::Stop];
    let (vault, of_vault) = daemons::vault(&daemons);
    desk.add("_vault, restored", &file(&vault.lines), &of_vault.pins(), None);
    restored(&mut desk);

    let mut outlived = World::at_work(13);
    outlived.outlived();
    desk.add("intents that outlived their keys", &outlived.kit.file(), &outlived.pins(), None);

    let mut kept = World::at_work(12);
    let mut issue = kept.next_issue();
    issue.sealed = sealed().2;
    kept.put(issue);
    let pins = Pins { receipts: vec![receipt(&kept, |_| {})], ..kept.pins() };
    desk.add("a receipt", &kept.kit.file(), &pins, None);
    let checkpoint = checkpoints::next(&kept);
    kept.put(checkpoint);
    kept.obtain();
    desk.add("a checkpoint", &kept.kit.file(), &kept.pins(), None);

    let bytes = world.kit.file();
    desk.add("torn", &bytes[..bytes.len() - 40], &world.pins(), None);
    desk.add("without its last LF", &bytes[..bytes.len() - 1], &world.pins(), None);
    for (at, junk) in [b"".as_slice(), b"\n", b"hello\nworld\n", b"{}\n", b"\xff\xd8\xff\xe0"].iter().enumerate() {
        desk.add(format!("junk {at}"), junk, &Pins::default(), None);
    }
    for (what, to) in [("kind", json!("rebuild")), ("v", json!(2))] {
        let mut puzzled = World::at_work(11);
        let key = copy(&puzzled.stolen);
        puzzled.rewrite(&key, |entry| entry[what] = to.clone());
        puzzled.obtain();
        desk.add(format!("another {what}"), &puzzled.kit.file(), &puzzled.pins(), None);
        let mut forged = puzzled.kit.lines.clone();
        let other = nockvault::crypto::signature::SigningKey::generate(&puzzled.entropy);
        forged[3] = signed(serde_json::from_slice(&forged[3]).unwrap(), &other);
        desk.add(format!("another {what}, forged"), &file(&forged), &puzzled.pins(), None);
    }
    // Two kinds that are not understood, signed by somebody else, and a checkpoint of after a restore for before it.
    assert_eq!(desk.agree(), 3);
}

/// A chain that goes on from a backup, with what others hold of it and of what was lost.
fn restored(desk: &mut Desk) {
    let mut world = World::at_work(14);
    let by = world.command_of("nockvault/backup");
    let lease = world.lease();
    restores::restored(&mut world, 1, by.clone());
    world.put(entry::Revoke { by, lease, outcome: "none".into() });
    world.obtain();
    let checkpoint = checkpoints::next(&world);
    world.put(checkpoint);
    world.obtain();
    let (lines, size) = (world.kit.file(), world.kit.head.size);
    desk.add("restored", &lines, &world.pins(), Some(&world.operators.lines));
    let other = |size| Seen { head: Digest::of(b"lost"), size };
    for at in [size - 3, size, size + 7] {
        desk.add(
            format!("restored, a lost state {at}"),
            &lines,
            &Pins { heads: vec![other(at)], ..world.pins() },
            None,
        );
    }
    let both = Pins { heads: vec![world.kit.head.seen(), other(size)], ..world.pins() };
    desk.add("restored, a state and a lost one", &lines, &both, None);
    for at in [3, world.kit.lines.len()] {
        let kept = vec![checkpoints::kept(&world, at, None)];
        desk.add(format!("restored, a checkpoint of {at}"), &lines, &Pins { checkpoints: kept, ..world.pins() }, None);
    }
}

/// Signatures that fit the equation and yet show nothing: of the point zero as a key, which "signs" everything, and of a
/// good key with the point zero as its first half. Many verifiers accept both.
#[test]
fn both_refuse_signatures_on_which_verifiers_disagree() {
    let zero: [u8; 32] = std::array::from_fn(|at| u8::from(at == 0));
    let base: [u8; 32] = std::array::from_fn(|at| if at == 0 { 0x58 } else { 0x66 });
    let mut desk = Desk::new();
    let mut weak = World::new(7);
    let stolen = copy(&weak.stolen);
    weak.rewrite(&stolen, |entry| {
        let register = &mut entry["body"]["register"];
        let x = base64url::encode(&zero);
        let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        register["payload"]["kid"] = base64url::encode(Digest::of(jwk.as_bytes()).as_bytes()).into();
        register["payload"]["pk"] = x.into();
        register["sig"] = base64url::encode(&[base, zero].concat()).into();
    });
    desk.add("a key that signs everything", &weak.kit.file(), &weak.pins(), None);

    let mut world = World::new(7);
    let (stolen, seed) = (copy(&world.stolen), world.agent.seed());
    let public = world.agent.public().to_bytes();
    world.rewrite(&stolen, |entry| {
        let register = &mut entry["body"]["register"];
        let message = pae(PayloadType::Register.as_str(), &canonical(&register["payload"]));
        let hash: [u8; 64] = Sha512::digest([&zero[..], &public, &message].concat()).into();
        let secret: [u8; 64] = Sha512::digest(seed.expose()).into();
        let secret = Scalar::from_bytes_mod_order(clamp_integer(secret[..32].try_into().unwrap()));
        let s = Scalar::from_bytes_mod_order_wide(&hash) * secret;
        register["sig"] = base64url::encode(&[zero, s.to_bytes()].concat()).into();
    });
    desk.add("a signature that begins with zero", &world.kit.file(), &world.pins(), None);
    let lenient = "import json, sys, verify
for name in sys.argv[1:]:
    register = json.loads(open(name).readline())['body']['register']
    message = verify.pae('register', verify.rfc8785.dumps(register['payload']))
    key = verify.unb64(register['payload']['pk'])
    verify.loaded(key).verify(verify.unb64(register['sig']), message)
    print(verify.signed_by(key, verify.unb64(register['sig']), message))
";
    // The library underneath takes both, so that it is verify.py which refuses them.
    let taken = foreign::python(desk.folder.path()).args(["-c", lenient, "0.jsonl", "1.jsonl"]).output().unwrap();
    assert_eq!(
        String::from_utf8(taken.stdout).unwrap(),
        "False\nFalse\n",
        "{}",
        String::from_utf8_lossy(&taken.stderr)
    );
    assert_eq!(desk.agree(), 2);
}

#[test]
fn both_find_the_same_entry_where_a_bit_flipped_or_lines_moved() {
    let world = World::whole(5);
    let mut desk = Desk::new();
    let bytes = world.kit.file();
    for bit in (0..bytes.len() * 8).step_by(1511) {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        desk.add(format!("bit {bit}"), &changed, &world.pins(), None);
    }
    for at in 0..world.kit.lines.len() - 1 {
        let mut lines = world.kit.lines.clone();
        lines.swap(at, at + 1);
        desk.add(format!("{at} swapped"), &file(&lines), &world.pins(), None);
        let mut lines = world.kit.lines.clone();
        lines.remove(at);
        desk.add(format!("{at} removed"), &file(&lines), &world.pins(), None);
    }
    let count = desk.questions.len();
    assert!(count > 100, "only {count} files");
    assert_eq!(desk.agree(), count);
}

/// The report for people, of a file as it is handed to an auditor.
#[test]
fn verify_py_runs_as_a_program_and_says_what_it_does_not_prove() {
    let world = World::whole(1);
    let desk = Desk::new();
    desk.write("kit.jsonl", &world.kit.file());
    desk.write("operators.jsonl", &world.operators.file());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/python/verify.py");
    let run = |arguments: &[&str]| said(foreign::python(desk.folder.path()).arg(&script).args(arguments));
    let bare = run(&["kit.jsonl"]).ok();
    for part in ["prod/kit: intact", "NOT PINNED", "WHOSE VAULT THIS IS", "its end was cut off", "--operators"] {
        assert!(bare.contains(part), "{part:?} is missing in:\n{bare}");
    }
    let identity = format!("--identity={}", base64url::encode(&world.identity.public().to_bytes()));
    let pinned = run(&[&identity, "--operators", "operators.jsonl", "kit.jsonl"]).ok();
    assert!(!pinned.contains("NOT PINNED") && !pinned.contains("give --operators"), "{pinned}");
    let mut lines = world.kit.lines.clone();
    lines.remove(3);
    desk.write("bad.jsonl", &file(&lines));
    let bad = run(&[&identity, "bad.jsonl"]);
    assert!(bad.code == 2 && bad.out.contains("TAMPERED at entry 3 (line 4)"), "{bad:?}");
    assert!(run(&["nowhere.jsonl"]).fails(1).contains("nowhere.jsonl"));
    assert_eq!(run(&[]).code, 1);
    // What both take for the head of the chain.
    let head = verify(world.kit.file().as_slice(), &world.pins()).unwrap().head;
    assert_eq!(head, leaf(world.kit.lines.last().unwrap()));
    assert!(pinned.contains(&format!("head {head}:{}", world.kit.lines.len())), "{pinned}");
}

/// What the vault itself writes when an agent is frozen, and when a clock that was ahead is reset while it had sessions.
#[tokio::test]
async fn what_a_vault_writes_of_emergencies_is_intact_to_both() {
    let vault = support::Harness::new().await;
    vault.kv_role("orders", b"a value").await;
    let mut kit = vault.agent("kit").await;
    vault.grant(&kit.name, "orders", support::terms()).await;
    kit.get(&vault, "orders").await;
    vault.order(AgentFreeze { reason: None, agent: kit.name.clone() }).await;
    vault.order(AgentThaw { agent: kit.name.clone() }).await;
    let role: nockvault::id::RoleName = "orders".parse().unwrap();
    let reason = nockvault::statement::issue::Purpose::default();
    for (before, behind) in [("before-1", "behind-1"), ("before-2", "behind-2")] {
        kit.new_session(before);
        kit.get(&vault, "orders").await;
        vault.order(VaultFreeze { reason: reason.clone() }).await;
        vault.clock.advance(Seconds(7200));
        vault.refuses(&kit.issue("orders")).await;
        vault.order(VaultThaw {}).await;
        kit.new_session(behind);
        kit.get(&vault, "orders").await;
        vault.order(RoleFreeze { reason: reason.clone(), role: role.clone() }).await;
        vault.clock.advance(Seconds(7200));
        vault.order(RoleThaw { role: role.clone() }).await;
    }
    kit.new_session("then");
    kit.get(&vault, "orders").await;
    let right = vault.clock_now();
    vault.clock.set(right.plus(Seconds(86_400 * 365)));
    vault.vault().tend_once().await;
    for sid in ["one", "two"] {
        kit.new_session(sid);
        kit.get(&vault, "orders").await;
    }
    let (old, _) = kit.rotate(&vault).await;
    vault.clock.set(right);
    vault.order(ClockReset {}).await;
    vault.clock.set(right.plus(Seconds(301)));
    kit.new_session("three");
    kit.get(&vault, "orders").await;
    // By the key of before, whose overlap began anew.
    (kit.key, kit.kver) = (old, kit.kver - 1);
    kit.get(&vault, "orders").await;

    let entries = vault.chain_of(&kit.name).await;
    let by_command = entries.iter().filter(|entry| entry["kind"] == "session_end" && entry["body"]["by"].is_object());
    assert_eq!(by_command.count(), 2, "one command ends both sessions");
    let pins = Pins { identity: Some(vault.identity.clone()), ..Pins::default() };
    let (mut desk, operators) = (Desk::new(), vault.lines(&ChainName::operators()).await);
    let chain = file(&vault.lines(&ChainName::from(&kit.name)).await);
    desk.add("a chain of emergencies", &chain, &pins, Some(&operators));
    let chain = file(&vault.lines(&ChainName::vault()).await);
    desk.add("_vault in emergencies", &chain, &pins, Some(&operators));
    assert_eq!(desk.agree(), 0, "it is called tampered with");
}

/// What the vault writes while its chains are ahead of its clock, within the skew: entries behind the end of the leases
/// that they are about.
#[tokio::test]
async fn what_a_vault_writes_ahead_of_its_clock_is_intact_to_both() {
    let vault = support::Harness::new().await;
    vault.role("far", "far", json!({})).await;
    let mut kit = vault.agent("kit").await;
    vault.grant(&kit.name, "far", Terms { ttl: Seconds(120), ..support::terms() }).await;
    let right = vault.clock_now().plus(Seconds(1));
    vault.clock.set(right.plus(Seconds(240)));
    let long = kit.get(&vault, "far").await.hdr.lease;
    vault.clock.set(right);
    let (released, revoked) = (kit.get(&vault, "far").await.hdr, kit.get(&vault, "far").await.hdr);
    kit.renew(&vault, &long, 60).await;
    kit.release(&vault, &released.lease).await;
    vault.order(LeaseRevoke { reason: None, scope: Scope::Lease(revoked.lease) }).await;

    let entries = vault.chain_of(&kit.name).await;
    let behind = entries.iter().filter(|entry| entry["ts"].as_u64().unwrap() > released.exp.0);
    let kinds: Vec<&Value> = behind.map(|entry| &entry["kind"]).collect();
    assert_eq!(kinds, ["issue", "issue", "issue", "renew", "release", "revoke"]);
    let pins = Pins { identity: Some(vault.identity.clone()), ..Pins::default() };
    let (mut desk, operators) = (Desk::new(), vault.lines(&ChainName::operators()).await);
    let chain = file(&vault.lines(&ChainName::from(&kit.name)).await);
    desk.add("a chain ahead of its clock", &chain, &pins, Some(&operators));
    assert_eq!(desk.agree(), 0, "it is called tampered with");
}
