//! `vault-verify` over many files, and with what an auditor keeps beside them: checkpoints, a policy, a key directory, and
//! the proof of one entry.

use nockvault::audit::checkpoint::Checkpoint;
use nockvault::audit::directory;
use nockvault::audit::entry::{Body, Entry};
use nockvault::audit::proof::{self, Asked, EntryProof, NotProved};
use nockvault::audit::tree::{Tree, inclusion};
use nockvault::audit::witness::{WitnessKey, cosign};
use nockvault::base64url;
use nockvault::crypto::envelope::{Embedded, Envelope, PayloadType};
use nockvault::crypto::hash::{Digest, leaf};
use nockvault::crypto::signature::{Form, PublicKey, SigningKey};
use nockvault::statement::cert::KeyRole;
use nockvault::statement::directory::{Directory, ListedKey, Of};
use nockvault::time::Seconds;
use serde_json::Value;

use crate::cases::certificate;
use crate::checkpoints::key;
use crate::cli::Desk;
use crate::world::{World, file};

/// The note of the first so many entries of kit's chain, and the same with a witness's line.
pub(crate) fn note(world: &World, size: usize) -> String {
    let mut tree = Tree::default();
    world.kit.lines[..size].iter().for_each(|line| tree.push(leaf(line)));
    Checkpoint::of("prod/kit", &tree).sign(&key())
}

pub(crate) fn witness() -> (SigningKey, String) {
    let key = SigningKey::from_seed(&nockvault::secret::Secret::new([7; 32]));
    let vkey = WitnessKey::new("w.example/1", key.public()).unwrap().to_string();
    (key, format!("witness w1 {vkey}\nquorum w1\n"))
}

pub(crate) fn cosigned(note: &str) -> String {
    let text = &note[..note.find("\n\n").unwrap() + 1];
    format!("{note}{}\n", cosign(text, "w.example/1", &witness().0, 1_780_600_000))
}

fn embedded(value: Value) -> Embedded {
    serde_json::from_value(value).unwrap()
}

/// The vault's key directory, `change`d before it is signed.
pub(crate) fn listed(world: &World, change: impl FnOnce(&mut Vec<ListedKey>)) -> String {
    let response = SigningKey::generate(&world.entropy);
    let certs = [(KeyRole::Response, &response), (KeyRole::Checkpoint, &key())]
        .map(|(role, key)| embedded(certificate(world, role, key, &world.identity)));
    let told = nockvault::audit::verify::verify(world.kit.file().as_slice(), &world.pins()).unwrap();
    let keys = crate::parts::keys(&world.kit.lines);
    let mut agents: Vec<ListedKey> = keys
        .iter()
        .zip(&told.keys)
        .map(|(pk, seen)| ListedKey {
            agent: Some("kit".parse().unwrap()),
            ended: seen.until,
            form: Form::Pae,
            grace: None,
            kid: pk.kid(),
            kver: seen.kver,
            operator: None,
            pk: pk.clone(),
            since: seen.since.unwrap(),
        })
        .collect();
    change(&mut agents);
    let of = Of {
        aud: world.aud.clone(),
        certs: certs.to_vec(),
        identity: world.identity.public(),
        name: "prod".parse().unwrap(),
    };
    let directory = Directory::new(of, agents, Vec::new(), world.now.plus(Seconds(3600)));
    let signed = Envelope::sign(PayloadType::Response, &directory, &response, Form::Pae).embed().unwrap();
    directory::write(&signed)
}

pub(crate) fn begins(world: &World) -> usize {
    let is_one = |line: &[u8]| matches!(Entry::read(line).unwrap().body, Body::Checkpoint(_));
    world.kit.lines.iter().position(|line| is_one(line)).unwrap()
}

#[test]
fn a_kept_checkpoint_is_held_against_the_chain_and_so_are_its_witnesses() {
    let desk = Desk::new();
    let (good, other) = (note(&desk.world, 6), World::at_work(21));
    let fork = Checkpoint::of("prod/kit", &other.kit.head.tree).sign(&key());
    desk.write("good.checkpoint", cosigned(&good).as_bytes());
    desk.write("bare.checkpoint", good.as_bytes());
    desk.write("fork.checkpoint", fork.as_bytes());
    desk.write("policy", witness().1.as_bytes());
    let with = |checkpoint: &str, more: &[&str]| {
        let given = ["--vault", "prod.card", "--checkpoint", checkpoint];
        desk.run(&[&given, more, &["kit.audit.jsonl"]].concat())
    };
    let (code, text) = with("good.checkpoint", &["--witness-policy", "policy"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("1 signed checkpoint that was kept elsewhere"), "{text}");
    assert!(text.contains("w1 at 2026-06-04T19:06:40.000Z"), "{text}");
    assert!(!text.contains("its end was cut off"), "{text}");
    assert_eq!(with("bare.checkpoint", &[]).0, 0);
    let (code, text) = with("bare.checkpoint", &["--witness-policy", "policy"]);
    assert!(code == 1 && text.contains("not cosigned as the policy asks: w1 did not"), "{text}");
    let (code, text) = with("fork.checkpoint", &[]);
    assert!(code == 2 && text.contains("TAMPERED at entry 3") && text.contains("was kept"), "{text}");
    let (code, text) = with("prod.card", &[]);
    assert!(code == 1 && text.contains("not a signed note"), "{text}");
    let (code, text) = desk.run(&["--witness-policy", "policy", "kit.audit.jsonl"]);
    assert!(code == 1 && text.contains("--checkpoint or --proof"), "{text}");
}

#[test]
fn a_folder_is_all_chains_in_it_each_with_its_checkpoint() {
    let desk = Desk::new();
    std::fs::create_dir_all(desk.path("mirror")).unwrap();
    std::fs::create_dir_all(desk.path("safe")).unwrap();
    desk.write("mirror/kit.audit.jsonl", &desk.world.kit.file());
    desk.write("mirror/_operators.audit.jsonl", &desk.world.operators.file());
    let (vault, _) = crate::daemons::vault(&[crate::daemons::Told::Start]);
    desk.write("mirror/_vault.audit.jsonl", &vault.file());
    desk.write("mirror/notes.txt", b"not a chain");
    desk.write("safe/kit.checkpoint", note(&desk.world, 9).as_bytes());
    let (code, text) = desk.run(&["--checkpoint", "safe", "mirror"]);
    // The vault of that file is another, which nobody pinned; the commands are looked up in the folder.
    assert_eq!(code, 0, "{text}");
    let heads: Vec<&str> = text.lines().filter(|line| line.starts_with("mirror/")).collect();
    assert_eq!(
        heads,
        [
            "mirror/_operators.audit.jsonl: prod/_operators: intact",
            "mirror/_vault.audit.jsonl: prod/_vault: intact",
            "mirror/kit.audit.jsonl: prod/kit: intact"
        ]
    );
    assert!(text.contains("that operator's signed command") && text.contains("1 signed checkpoint"), "{text}");
    std::fs::remove_file(desk.path("mirror/kit.audit.jsonl")).unwrap();
    let (code, text) = desk.run(&["--checkpoint", "safe", "mirror"]);
    assert!(
        code == 1 && text.contains("is of the chain \"prod/kit\"") || text.contains("no file of that chain"),
        "{text}"
    );
    let (code, text) = desk.run(&["safe"]);
    assert!(code == 1 && text.contains("no *.audit.jsonl in the folder safe"), "{text}");
}

#[test]
fn many_files_are_told_in_the_order_given_and_one_that_is_not_there_does_not_stop_them() {
    let desk = Desk::new();
    let mut cut = desk.world.kit.lines.clone();
    cut.remove(3);
    desk.write("cut.jsonl", &file(&cut));
    let mut names = Vec::new();
    for turn in 0..20 {
        names.push(["kit.audit.jsonl", "operators.audit.jsonl", "cut.jsonl", "gone.jsonl"][turn % 4]);
    }
    let (code, text) = desk.run(&[&["--output", "json"], names.as_slice()].concat());
    assert_eq!(code, 2, "{text}");
    let told: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(told.iter().map(|told| told["file"].as_str().unwrap()).collect::<Vec<_>>(), names);
    let is: Vec<_> = told.iter().take(4).map(|told| told["verdict"]["is"].as_str().unwrap()).collect();
    assert_eq!(is, ["intact", "intact", "tampered", "unusable"]);
    assert_eq!(text.matches("cannot read gone.jsonl").count(), 10, "{text}");
    assert_eq!(desk.run(&["kit.audit.jsonl", "gone.jsonl"]).0, 1);
}

#[test]
fn the_key_directory_pins_the_agents_keys_and_vouches_for_checkpoint_keys() {
    let desk = Desk::new();
    desk.write("all.keys", listed(&desk.world, |_| {}).as_bytes());
    desk.write("fewer.keys", listed(&desk.world, |keys| drop(keys.remove(1))).as_bytes());
    let more = |keys: &mut Vec<ListedKey>| {
        let pk = SigningKey::generate(&nockvault::entropy::SeededEntropy::new(77)).public();
        keys.push(ListedKey { kid: pk.kid(), kver: Some(4), pk, ended: None, ..keys[0].clone() });
    };
    desk.write("more.keys", listed(&desk.world, more).as_bytes());
    desk.write("early.checkpoint", note(&desk.world, 3).as_bytes());
    desk.write("short.jsonl", &file(&desk.world.kit.lines[..4]));
    let with = |directory: &str, more: &[&str]| {
        desk.run(&[&["--vault", "prod.card", "--directory", directory], more].concat())
    };
    let (code, text) = with("all.keys", &["kit.audit.jsonl"]);
    assert!(code == 0 && text.contains("those that the vault showed in its key directory"), "{text}");
    let (code, text) = with("fewer.keys", &["kit.audit.jsonl"]);
    assert!(code == 2 && text.contains("does not list"), "{text}");
    let (code, text) = with("more.keys", &["kit.audit.jsonl"]);
    assert!(code == 2 && text.contains("and this chain does not"), "{text}");
    // The chain holds no checkpoint yet that would tell the key's certificate.
    let (code, text) = desk.run(&["--vault", "prod.card", "--checkpoint", "early.checkpoint", "short.jsonl"]);
    assert!(code == 1 && text.contains("give --directory"), "{text}");
    let (code, text) = with("all.keys", &["--checkpoint", "early.checkpoint", "short.jsonl"]);
    assert_eq!(code, 0, "{text}");
    let (code, text) = desk.run(&["--directory", "all.keys", "kit.audit.jsonl"]);
    assert!(code == 1 && text.contains("opened with the vault's identity key"), "{text}");
    let (code, text) = with("prod.card", &["kit.audit.jsonl"]);
    assert!(code == 1 && text.contains("not a key directory"), "{text}");
}

#[test]
fn a_part_of_a_chain_is_verified_with_the_agents_public_keys() {
    let desk = Desk::new();
    let begin = begins(&desk.world);
    desk.write("part.jsonl", &file(&desk.world.kit.lines[begin..]));
    desk.write("all.keys", listed(&desk.world, |_| {}).as_bytes());
    desk.write("kept.checkpoint", note(&desk.world, begin).as_bytes());
    let base = ["--vault", "prod.card", "--since-checkpoint", "--checkpoint", "kept.checkpoint"];
    let (code, text) = desk.run(&[&base, ["part.jsonl"].as_slice()].concat());
    assert!(code == 0 && text.contains("WHO SIGNED") && text.contains(&format!("from number {begin} on")), "{text}");
    let (code, text) = desk.run(&[&base, ["--directory", "all.keys", "part.jsonl"].as_slice()].concat());
    assert!(code == 0 && !text.contains("WHO SIGNED"), "{text}");
    let keys: Vec<String> =
        crate::parts::keys(&desk.world.kit.lines).iter().map(|key| base64url::encode(&key.to_bytes())).collect();
    let mut arguments = base.to_vec();
    keys.iter().for_each(|key| arguments.extend(["--agent-key", key]));
    arguments.push("part.jsonl");
    let (code, text) = desk.run(&arguments);
    assert!(code == 0 && !text.contains("WHO SIGNED"), "{text}");
    let (code, text) = desk.run(&["--vault", "prod.card", "part.jsonl"]);
    assert!(code == 2 && text.contains("an entry is missing before it"), "{text}");
    // As a public key or as its kid, a pin is a pin.
    let other = base64url::encode(&World::new(44).agent.public().to_bytes());
    let (code, text) = desk.run(&["--agent-key", &other, "kit.audit.jsonl"]);
    assert!(code == 2 && text.contains("not among those pinned"), "{text}");
    let mut whole = vec!["--agent-key"];
    whole.extend(keys.iter().flat_map(|key| [key.as_str(), "--agent-key"]));
    whole.pop();
    whole.push("kit.audit.jsonl");
    assert_eq!(desk.run(&whole).0, 0);
}

/// The proof of one entry under the first so many.
pub(crate) fn proof(world: &World, seq: usize, size: usize, note: &str) -> String {
    proof_in(&world.kit.lines, world, seq, size, note)
}

pub(crate) fn proof_in(lines: &[Vec<u8>], world: &World, seq: usize, size: usize, note: &str) -> String {
    let leaves: Vec<Digest> = lines.iter().map(|line| leaf(line)).collect();
    let root = |level: u32, index: u64| {
        let (begin, count) = ((index << level) as usize, 1 << level);
        let mut tree = Tree::default();
        leaves[begin..begin + count].iter().for_each(|leaf| tree.push(*leaf));
        Ok::<_, ()>(tree.root())
    };
    let path = inclusion(seq as u64, size as u64, root).unwrap();
    let audit = lines[..=seq].iter().rev().find_map(|line| Entry::read(line).unwrap().cert).unwrap();
    let checkpoint = embedded(certificate(world, KeyRole::Checkpoint, &key(), &world.identity));
    EntryProof::of(&lines[seq], &audit, path, note, &checkpoint).unwrap().write()
}

#[test]
fn the_proof_of_one_entry_needs_no_chain() {
    let desk = Desk::new();
    let note = cosigned(&note(&desk.world, 9));
    let good = proof(&desk.world, 3, 9, &note);
    desk.write("entry.proof", good.as_bytes());
    let read = EntryProof::read(&good).unwrap();
    assert_eq!((read.line(), read.note()), (&desk.world.kit.lines[3][..], note.as_str()));
    desk.write("forged.proof", good.replace("index 3", "index 2").as_bytes());
    desk.write("policy", witness().1.as_bytes());
    let first = base64url::encode(&crate::parts::keys(&desk.world.kit.lines)[0].to_bytes());
    let all = ["--vault", "prod.card", "--agent-key", &first, "--witness-policy", "policy", "--proof", "entry.proof"];
    let (code, text) = desk.run(&all);
    assert_eq!(code, 0, "{text}");
    for said in ["prod/kit entry 3: proved", "issue, of 2026-", "signed the request in it", "the witness w1 saw"] {
        assert!(text.contains(said), "{said:?} is missing in:\n{text}");
    }
    assert!(!text.contains("WHO ASKED"), "{text}");
    let (code, text) = desk.run(&["--vault", "prod.card", "--proof", "entry.proof", "--output", "json"]);
    assert_eq!(code, 0, "{text}");
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&told["verdict"]["is"], &told["seq"], &told["kind"]), (&"proved".into(), &3.into(), &"issue".into()));
    assert_eq!((&told["request_checked"], &told["file"]), (&false.into(), &"entry.proof".into()));
    assert!(desk.run(&["--vault", "prod.card", "--proof", "entry.proof"]).1.contains("WHO ASKED"));
    // A chain and a proof together: the worse of both.
    assert_eq!(desk.run(&["--vault", "prod.card", "--proof", "entry.proof", "kit.audit.jsonl"]).0, 0);
    for (arguments, code, said) in [
        (vec!["--vault", "prod.card", "--proof", "forged.proof"], 1, "proves nothing"),
        (vec!["--vault", "prod.card", "--proof", "prod.card"], 1, "cannot be read as the proof"),
        (vec!["--vault", "prod.card", "--chain", "mira", "--proof", "entry.proof"], 1, "asked was one about"),
        (vec!["--proof", "entry.proof"], 1, "with the vault's identity key"),
    ] {
        let found = desk.run(&arguments);
        assert_eq!(found.0, code, "{arguments:?}: {}", found.1);
        assert!(found.1.contains(said), "{arguments:?}: {said:?} is missing in:\n{}", found.1);
    }
}

#[test]
fn a_card_pins_all_that_it_says() {
    let card = Desk::new().card();
    let pins = nockvault::audit::verify::Pins::of_card(&card);
    assert_eq!(
        (pins.identity, pins.aud, pins.vault, pins.genesis),
        (Some(card.identity), Some(card.aud), Some(card.name), Some(card.genesis))
    );
}

#[test]
fn the_proof_of_a_command_says_which_operator_asked() {
    let world = World::at_work(22);
    let (lines, head) = (&world.operators.lines, &world.operators.head);
    let note = Checkpoint::of(&head.origin, &head.tree).sign(&key());
    let text = proof_in(lines, &world, 1, lines.len(), &note);
    let asked = |holders: Vec<PublicKey>| {
        let pins = proof::Pins { holders, ..proof::Pins::new(world.identity.public()) };
        proof::verify(&text, &pins).map(|proved| proved.asked)
    };
    let kid = world.operator.kid();
    assert_eq!(asked(vec![world.operator.public()]), Ok(Asked::Signed(kid.clone())));
    assert_eq!(asked(vec![]), Ok(Asked::Claimed(kid.to_string())));
    assert_eq!(asked(vec![world.agent.public()]), Err(NotProved::Holder(kid.to_string())));
}
