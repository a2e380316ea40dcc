//! One entry convinces a stranger, who has the vault's identity key and a file, and nothing else.
//!
//! Each entry of a chain in which everything happens is proved against a checkpoint of the chain; then the file is changed
//! in each of its bits, its parts are exchanged for those of others, and it is asked what it does not prove.

use nockvault::audit::certificate::{BadCert, Life, cert_of, certify_key};
use nockvault::audit::checkpoint::{BadCheckpoint, Checkpoint};
use nockvault::audit::entry::{Body, Entry};
use nockvault::audit::note::{Note, NoteKey};
use nockvault::audit::policy::Policy;
use nockvault::audit::proof::{Asked, EntryProof, NotProved, Pins, Proved, TlogProof, verify};
use nockvault::audit::tree::{self, BadProof, Tree};
use nockvault::audit::witness::{WitnessKey, cosign};
use nockvault::crypto::envelope::Embedded;
use nockvault::crypto::hash::{Digest, leaf, node};
use nockvault::crypto::signature::SigningKey;
use nockvault::entropy::SeededEntropy;
use nockvault::statement::cert::KeyRole;
use nockvault::time::Timestamp;

use crate::world::{START, World};

/// A chain, its tree, and the checkpoint over all of it.
struct Stage {
    world: World,
    key: SigningKey,
    cert: Embedded,
    checkpoint: Checkpoint,
}

fn key(seed: u64) -> SigningKey {
    SigningKey::generate(&SeededEntropy::new(seed))
}

fn certify(world: &World, role: KeyRole, key: &SigningKey) -> Embedded {
    let life = Life { nbf: START, exp: Timestamp(START.0 + 1_000_000) };
    certify_key(&world.identity, &cert_of(role, key.public().to_bytes(), key.kid(), &world.aud, "n1", 1, life))
}

impl Stage {
    fn of(world: World) -> Stage {
        let mut tree = Tree::default();
        world.kit.lines.iter().for_each(|line| tree.push(leaf(line)));
        let key = key(70);
        let (cert, checkpoint) = (certify(&world, KeyRole::Checkpoint, &key), Checkpoint::of("prod/kit", &tree));
        Stage { world, key, cert, checkpoint }
    }

    fn path(&self, seq: usize) -> Vec<Digest> {
        let leaves: Vec<_> = self.world.kit.lines.iter().map(|line| leaf(line)).collect();
        fn root(leaves: &[Digest]) -> Digest {
            match leaves {
                [one] => *one,
                many => node(&root(&many[..many.len() / 2]), &root(&many[many.len() / 2..])),
            }
        }
        let at = |level: u32, index: u64| {
            let from = (index << level) as usize;
            Ok::<_, std::convert::Infallible>(root(&leaves[from..from + (1 << level)]))
        };
        tree::inclusion(seq as u64, self.checkpoint.size, at).unwrap()
    }

    /// The certificate of the audit key that signed this line: the newest up to there.
    fn audit_cert(&self, seq: usize) -> Embedded {
        let certs = self.world.kit.lines[..=seq].iter().map(|line| Entry::read(line).unwrap().cert);
        certs.flatten().last().unwrap()
    }

    fn proof_of(&self, seq: usize, line: &[u8], note: &str) -> String {
        EntryProof::of(line, &self.audit_cert(seq), self.path(seq), note, &self.cert).unwrap().write()
    }

    fn note(&self) -> String {
        self.checkpoint.sign(&self.key)
    }

    fn proof(&self, seq: usize) -> String {
        self.proof_of(seq, &self.world.kit.lines[seq], &self.note())
    }

    fn pins(&self) -> Pins {
        Pins::new(self.world.identity.public())
    }

    fn refused(&self, text: &str) -> NotProved {
        verify(text, &self.pins()).unwrap_err()
    }
}

/// The first entry of this kind.
fn first(world: &World, kind: &str) -> usize {
    world.kit.lines.iter().position(|line| Entry::read(line).unwrap().body.kind() == kind).unwrap()
}

#[test]
fn each_entry_of_a_chain_proves_itself() {
    let stage = Stage::of(World::whole(1));
    assert!(stage.world.kit.lines.len() > 30);
    for (seq, line) in stage.world.kit.lines.iter().enumerate() {
        let text = stage.proof(seq);
        assert_eq!(EntryProof::read(&text).unwrap().write(), text);
        let proved = verify(&text, &stage.pins()).unwrap_or_else(|why| panic!("entry {seq}: {why}"));
        let Proved { origin, checkpoint, entry, .. } = proved;
        assert_eq!((origin.chain.to_string().as_str(), proved.seq, proved.leaf), ("kit", seq as u64, leaf(line)));
        assert_eq!((proved.line, checkpoint), (line.clone(), stage.checkpoint.clone()));
        let entry = entry.unwrap();
        let asked = matches!(proved.asked, Asked::Claimed(_));
        assert_eq!(asked, serde_json::to_value(&entry.body).unwrap().to_string().contains("\"request\":{"), "{seq}");
    }
}

#[test]
fn no_bit_of_the_file_can_be_changed() {
    let stage = Stage::of(World::at_work(2));
    let text = stage.proof(first(&stage.world, "issue"));
    assert!(verify(&text, &stage.pins()).is_ok());
    // Every third bit comes to stand at each place in a byte.
    for bit in (0..8 * text.len()).step_by(3) {
        let mut bytes = text.clone().into_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let Ok(changed) = String::from_utf8(bytes) else { continue };
        let answer = verify(&changed, &stage.pins());
        assert!(answer.is_err(), "bit {bit}: {changed}");
    }
    for end in 0..text.len() {
        let Some(cut) = text.get(..end) else { continue };
        assert!(verify(cut, &stage.pins()).is_err(), "cut at {end}");
    }
}

#[test]
fn who_asked_is_proved_by_the_holders_own_key() {
    let stage = Stage::of(World::at_work(3));
    let seq = first(&stage.world, "issue");
    let agent = &stage.world.agent;
    let with = |holders| Pins { holders, ..stage.pins() };
    let asked = |holders, text: &str| verify(text, &with(holders)).map(|proved| proved.asked);
    assert_eq!(asked(vec![], &stage.proof(seq)), Ok(Asked::Claimed(agent.kid().to_string())));
    assert_eq!(asked(vec![key(9).public(), agent.public()], &stage.proof(seq)), Ok(Asked::Signed(agent.kid())));
    let stranger = asked(vec![key(9).public()], &stage.proof(seq)).unwrap_err();
    assert_eq!((stranger.is_tampering(), stranger), (false, NotProved::Holder(agent.kid().to_string())));
    assert_eq!(asked(vec![agent.public()], &stage.proof(0)), Ok(Asked::Nothing));
}

/// Whoever holds the vault's keys can write such an entry; the agent's key shows that it never asked.
#[test]
fn an_issuance_that_nobody_asked_for_is_told() {
    let mut stage = Stage::of(World::at_work(4));
    let seq = first(&stage.world, "issue");
    let Body::Issue(issue) = Entry::read(&stage.world.kit.lines[seq]).unwrap().body else { unreachable!() };
    let holders = vec![stage.world.agent.public()];

    let mut invented = issue.clone();
    let member = invented.request.payload.get_mut("purpose").unwrap();
    *member = "something else".into();
    invented.hdr.req = invented.request.open(nockvault::crypto::envelope::PayloadType::Request).digest();
    let mut widened = issue.clone();
    widened.hdr.role = "orders-write".parse().unwrap();
    for (body, contradiction) in [(invented, false), (widened, true)] {
        let at = stage.world.kit.lines.len();
        stage.world.put(body);
        stage = Stage::of(stage.world);
        let text = stage.proof(at);
        let why = verify(&text, &Pins { holders: holders.clone(), ..stage.pins() }).unwrap_err();
        assert!(why.is_tampering(), "{why}");
        if contradiction {
            assert_eq!(why, NotProved::Contradiction("role"));
            assert_eq!(stage.refused(&text), why);
        } else {
            assert_eq!(why, NotProved::Request(stage.world.agent.kid().to_string()));
            assert!(verify(&text, &stage.pins()).is_ok(), "without the agent's key nobody can tell");
        }
    }
}

#[test]
fn parts_of_others_do_not_fit() {
    let stage = Stage::of(World::at_work(5));
    let other = Stage::of(World::at_work(6));
    let seq = first(&stage.world, "issue");
    let line = &stage.world.kit.lines[seq];
    let parts = |audit: &Embedded, note: &str, cert: &Embedded| {
        EntryProof::of(line, audit, stage.path(seq), note, cert).unwrap().write()
    };
    let audit = stage.audit_cert(seq);

    let why = stage.refused(&parts(&other.audit_cert(seq), &stage.note(), &stage.cert));
    assert_eq!(why, NotProved::AuditCert(BadCert::Signature));
    let why = stage.refused(&parts(&certify(&stage.world, KeyRole::Audit, &key(8)), &stage.note(), &stage.cert));
    assert!(matches!(why, NotProved::AuditKey { .. }), "{why}");
    let why = stage.refused(&parts(&stage.cert, &stage.note(), &stage.cert));
    assert!(matches!(why, NotProved::AuditCert(BadCert::Role { .. })), "{why}");
    let why = stage.refused(&parts(&audit, &other.note(), &stage.cert));
    assert_eq!(why, NotProved::Inclusion(BadProof::Root));
    let why = stage.refused(&parts(&audit, &stage.note(), &other.cert));
    assert_eq!(why, NotProved::Checkpoint(BadCheckpoint::Cert(BadCert::Signature)));
    let elsewhere = Checkpoint { origin: "prod/ada".into(), ..stage.checkpoint.clone() }.sign(&stage.key);
    let why = stage.refused(&parts(&audit, &elsewhere, &stage.cert));
    assert!(matches!(why, NotProved::Origin { .. }), "{why}");
    let earlier = Checkpoint { size: seq as u64, ..stage.checkpoint.clone() }.sign(&stage.key);
    let why = stage.refused(&parts(&audit, &earlier, &stage.cert));
    assert!(matches!(why, NotProved::Inclusion(BadProof::Outside { .. })), "{why}");
    assert!(why.is_tampering());
}

#[test]
fn a_line_outside_of_its_keys_life_proves_nothing() {
    let stage = Stage::of(World::at_work(7));
    let world = &stage.world;
    let life = Life { nbf: START, exp: START };
    let cert = cert_of(KeyRole::Audit, world.stolen.public().to_bytes(), world.stolen.kid(), &world.aud, "n1", 1, life);
    let cert = certify_key(&world.identity, &cert);
    let text = EntryProof::of(&world.kit.lines[3], &cert, stage.path(3), &stage.note(), &stage.cert).unwrap().write();
    assert!(matches!(stage.refused(&text), NotProved::KeyLife { .. }));
}

#[test]
fn a_proof_about_another_chain_or_vault_answers_nothing() {
    let stage = Stage::of(World::at_work(8));
    let text = stage.proof(2);
    let asked = |vault: &str, chain: &str| {
        let pins = Pins { vault: Some(vault.parse().unwrap()), chain: Some(chain.parse().unwrap()), ..stage.pins() };
        verify(&text, &pins).map(drop)
    };
    assert_eq!(asked("prod", "kit"), Ok(()));
    for (vault, chain) in [("prod", "ada"), ("test", "kit")] {
        let why = asked(vault, chain).unwrap_err();
        assert!(matches!(why, NotProved::Other { .. }) && !why.is_tampering(), "{why}");
    }
    assert_eq!(verify(&text, &Pins::new(key(9).public())).unwrap_err(), NotProved::AuditCert(BadCert::Signature));
}

#[test]
fn witnesses_count_under_a_policy() {
    let stage = Stage::of(World::at_work(9));
    let line = &stage.world.kit.lines[2];
    let vkey = |nth| WitnessKey::new(&format!("w{nth}.example"), key(nth).public()).unwrap();
    let policy = |quorum: &str| {
        let text = format!("witness A {}\nwitness B {}\ngroup both all A B\nquorum {quorum}\n", vkey(1), vkey(2));
        Policy::read(text.as_bytes()).unwrap()
    };
    let mut note = Note::read(&stage.note()).unwrap();
    let text = note.text.clone();
    note.signatures.push(cosign(&text, "w1.example", &key(1), 1_780_500_100));
    let proof = stage.proof_of(2, line, &note.write());
    let under = |proof: &str, policy| verify(proof, &Pins { policy: Some(policy), ..stage.pins() });

    let judgement = under(&proof, policy("A")).unwrap().witnesses.unwrap();
    let seen: Vec<_> = judgement.witnesses.iter().map(|(name, seen)| (name.as_str(), *seen)).collect();
    assert_eq!(seen, [("A", Ok(Some(1_780_500_100))), ("B", Ok(None))]);
    let why = under(&proof, policy("both")).unwrap_err();
    assert!(why.to_string().ends_with("B has not cosigned") && !why.is_tampering(), "{why}");

    note.signatures.push(cosign(&text, "w2.example", &key(3), 1_780_500_100));
    note.signatures.last_mut().unwrap().id = vkey(2).id();
    let why = under(&stage.proof_of(2, line, &note.write()), policy("both")).unwrap_err();
    assert!(why.to_string().contains("names B is not its cosignature") && why.is_tampering(), "{why}");

    let log = |key: &SigningKey| {
        let key = NoteKey::new("prod/kit", key.public()).unwrap();
        Policy::read(format!("log {key}\nquorum none\n").as_bytes()).unwrap()
    };
    assert!(under(&proof, log(&stage.key)).is_ok());
    assert_eq!(under(&proof, log(&key(9))).unwrap_err(), NotProved::Log);
}

/// What a later version writes is proved as far as it goes, and said not to be understood.
#[test]
fn an_entry_of_an_unknown_kind_is_proved_and_not_understood() {
    let mut stage = Stage::of(World::at_work(10));
    let cert = stage.audit_cert(0);
    let line = String::from_utf8(stage.world.kit.lines[2].clone()).unwrap();
    let mut line: serde_json::Value =
        serde_json::from_str(&line.replacen("\"kind\":\"session\"", "\"kind\":\"dance\"", 1)).unwrap();
    line.as_object_mut().unwrap().remove("sig");
    let unsigned = nockvault::crypto::json::canonical(&line);
    let audit = nockvault::crypto::envelope::PayloadType::Audit.as_str();
    let sig = stage.world.stolen.sign_raw(&nockvault::crypto::envelope::pae(audit, &unsigned));
    line["sig"] = serde_json::to_value(sig).unwrap();
    stage.world.kit.lines[2] = nockvault::crypto::json::canonical(&line);
    let stage = Stage::of(stage.world);
    let text = EntryProof::of(&stage.world.kit.lines[2], &cert, stage.path(2), &stage.note(), &stage.cert).unwrap();
    let proved = verify(&text.write(), &stage.pins()).unwrap();
    assert!(proved.entry.unwrap_err().to_string().contains("not understood"));
    assert_eq!(proved.asked, Asked::Nothing);
}

#[test]
fn a_foreign_proof_is_told_from_a_spoilt_one() {
    let stage = Stage::of(World::at_work(11));
    let mut proof = TlogProof::read(&stage.proof(2)).unwrap();
    proof.extra = Some(b"age-v1.2.1-darwin-arm64.tar.gz".to_vec());
    let why = stage.refused(&proof.write());
    assert!(matches!(why, NotProved::Form(_)) && !why.is_tampering(), "{why}");
    assert!(why.to_string().contains("does not carry a line and two certificates"), "{why}");
    let mut moved = TlogProof::read(&stage.proof(2)).unwrap();
    moved.index = 3;
    let why = stage.refused(&moved.write());
    assert!(why.to_string().contains("proof of entry 3, but the line in it is entry 2"), "{why}");
}

/// Whoever holds the vault's keys can write an entry beside what was asked for; the request in it shows that alone.
#[test]
fn an_entry_that_does_something_else_than_its_request_asks_is_told() {
    let world = || World::whole(14);
    let body = |kind: &str| Entry::read(&world().kit.lines[first(&world(), kind)]).unwrap().body;
    let (Body::Renew(renew), Body::Release(release), Body::Close(close)) =
        (body("renew"), body("release"), body("close"))
    else {
        unreachable!()
    };
    let key = world().kit.lines.iter().find_map(|line| match Entry::read(line).unwrap().body {
        Body::AgentKey(key) if key.request.is_some() => Some(key),
        _ => None,
    });
    let key = key.unwrap();
    let Body::Session(session) = body("session") else { unreachable!() };
    let Body::Issue(issue) = body("issue") else { unreachable!() };
    let other: nockvault::id::LeaseId = "019a0000-0000-7000-8000-000000000001".parse().unwrap();

    let mut register = key.register.clone();
    register.payload["kver"] = 9.into();
    let mut longer = issue.clone();
    longer.hdr.exp = Timestamp(longer.hdr.exp.0 + 3_600_000);
    let lies: Vec<(Body, &str)> = vec![
        (nockvault::audit::entry::Renew { lease: other.clone(), ..renew.clone() }.into(), "lease"),
        (
            nockvault::audit::entry::Renew { exp: Timestamp(u64::from(u32::MAX) * 1000), ..renew.clone() }.into(),
            "life, which is longer",
        ),
        (
            nockvault::audit::entry::Renew { request: release.request.clone(), ..renew.clone() }.into(),
            "kind of request",
        ),
        (nockvault::audit::entry::Release { lease: other, ..release.clone() }.into(), "lease"),
        (nockvault::audit::entry::Release { request: close.request.clone(), ..release }.into(), "kind of request"),
        (nockvault::audit::entry::Close { request: session.request.clone() }.into(), "kind of request"),
        (nockvault::audit::entry::Session { request: close.request }.into(), "kind of request"),
        (nockvault::audit::entry::AgentKey { register, ..key }.into(), "new key"),
        (longer.into(), "life, which is longer"),
    ];
    for (lie, told) in lies {
        let kind = lie.kind();
        let mut world = world();
        let at = world.kit.lines.len();
        world.put(lie);
        let stage = Stage::of(world);
        assert_eq!(stage.refused(&stage.proof(at)), NotProved::Contradiction(told), "{kind}");
    }
}
