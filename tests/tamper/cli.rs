//! `vault-verify` as an auditor runs it: exit codes, what it prints, and what it takes.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use nockvault::audit::chain::Head;
use nockvault::audit::entry;
use nockvault::base64url;
use nockvault::id::ChainName;
use nockvault::statement::card::{Card, Genesis};
use serde_json::Value;

use crate::cases::{receipt, sealed};
use crate::world::{Chain, START, World, file};

/// A world whose files lie in a folder.
pub(crate) struct Desk {
    folder: tempfile::TempDir,
    pub(crate) world: World,
}

impl Desk {
    pub(crate) fn new() -> Desk {
        let mut world = World::whole(20);
        world.give(crate::world::terms());
        world.sid = "nightly-9";
        let mut issue = world.next_issue();
        issue.sealed = sealed().2;
        world.put(issue);
        let desk = Desk { folder: tempfile::tempdir().unwrap(), world };
        desk.write("kit.audit.jsonl", &desk.world.kit.file());
        desk.write("operators.audit.jsonl", &desk.world.operators.file());
        desk.write("prod.card", desk.card().write().as_bytes());
        desk.write("kept.receipt", receipt(&desk.world, |_| {}).write().as_bytes());
        desk
    }

    pub(crate) fn card(&self) -> Card {
        let first = |chain: &Chain| nockvault::crypto::hash::leaf(&chain.lines[0]);
        Card {
            name: "prod".parse().unwrap(),
            aud: self.world.aud.clone(),
            identity: self.world.identity.public(),
            agents: "https://127.0.0.1:1".into(),
            operators: "unix:/run/vaultd/operators.sock".into(),
            ca: None,
            genesis: Genesis { vault: nockvault::crypto::hash::Digest::ZERO, operators: first(&self.world.operators) },
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vault-verify"));
        command.current_dir(self.folder.path()).env_remove("NOCKVAULT_CARD").args(arguments);
        command
    }

    /// Runs it, and gives its exit code and what it printed.
    pub(crate) fn run(&self, arguments: &[&str]) -> (i32, String) {
        told(self.command(arguments).output().unwrap())
    }
}

fn told(output: Output) -> (i32, String) {
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[test]
fn an_intact_file_exits_with_0_and_says_what_it_proves() {
    let desk = Desk::new();
    let (code, text) = desk.run(&["kit.audit.jsonl"]);
    assert_eq!(code, 0, "{text}");
    for said in ["prod/kit: intact", "NOT PINNED", "not proved:", "its end was cut off", "proved:"] {
        assert!(text.contains(said), "{said:?} is missing in:\n{text}");
    }
    let head = format!("{}:{}", desk.world.kit.head.leaf, desk.world.kit.head.size);
    let all = [
        "--vault",
        "prod.card",
        "--operators",
        "operators.audit.jsonl",
        "--receipt",
        "kept.receipt",
        "--head",
        &head,
        "kit.audit.jsonl",
    ];
    let (code, text) = desk.run(&all);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("1 state and 1 signed receipt ") && text.contains("that operator's signed command"),
        "{text}"
    );
    // The report of _operators comes first, and nothing was pinned of its end.
    let (_, kit) = text.split_once("prod/kit: intact").unwrap();
    assert!(!text.contains("NOT PINNED") && !kit.contains("its end was cut off"), "{text}");
}

#[test]
fn the_environment_names_the_card_and_the_standard_input_may_be_the_file() {
    let desk = Desk::new();
    let mut command = desk.command(&["-"]);
    command.env("NOCKVAULT_CARD", desk.path("prod.card"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&desk.world.kit.file()).unwrap();
    let (code, text) = told(child.wait_with_output().unwrap());
    assert_eq!(code, 0, "{text}");
    assert!(!text.contains("NOT PINNED"), "{text}");
}

#[test]
fn a_tampered_file_exits_with_2_and_names_the_entry() {
    let desk = Desk::new();
    let mut lines = desk.world.kit.lines.clone();
    lines.remove(3);
    desk.write("cut.jsonl", &file(&lines));
    let (code, text) = desk.run(&["--vault", "prod.card", "cut.jsonl"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("TAMPERED at entry 3 (line 4): entry 4 stands where entry 3 belongs"), "{text}");
    // The worst of several files decides.
    assert_eq!(desk.run(&["cut.jsonl", "kit.audit.jsonl"]).0, 2);
    assert_eq!(desk.run(&["kit.audit.jsonl", "cut.jsonl", "prod.card"]).0, 2);

    desk.write("short.jsonl", &file(&desk.world.kit.lines[..4]));
    assert_eq!(desk.run(&["--vault", "prod.card", "short.jsonl"]).0, 0);
    let (code, text) = desk.run(&["--vault", "prod.card", "--receipt", "kept.receipt", "short.jsonl"]);
    assert!(code == 2 && text.contains("its end was cut off"), "{text}");
}

#[test]
fn pins_that_do_not_fit_are_tampering() {
    let desk = Desk::new();
    let other = World::new(21);
    let key = base64url::encode(&other.identity.public().to_bytes());
    let first = World::whole(20).kit.lines[0].clone();
    for identity in [key.as_str(), other.aud.as_str()] {
        let (code, text) = desk.run(&["--identity", identity, "kit.audit.jsonl"]);
        assert_eq!(code, 2, "{text}");
        assert!(text.contains(other.aud.as_str()) && text.contains(desk.world.aud.as_str()), "{text}");
    }
    let (code, text) = desk.run(&["--agent-key", other.agent.kid().as_str(), "kit.audit.jsonl"]);
    assert!(code == 2 && text.contains("not among those pinned"), "{text}");
    let head = format!("{}:2", nockvault::crypto::hash::leaf(&first));
    let (code, text) = desk.run(&["--head", &head, "kit.audit.jsonl"]);
    assert!(code == 2 && text.contains("TAMPERED at entry 1"), "{text}");
    let mut chain = Chain { head: Head::empty(&"prod".parse().unwrap(), &ChainName::vault()), lines: Vec::new() };
    let genesis = entry::VaultGenesis {
        aud: desk.world.aud.clone(),
        identity: desk.world.identity_bytes(),
        name: "prod".parse().unwrap(),
        salt: desk.world.salt(),
    };
    chain.put(&World::new(20).audit, &genesis.into(), START);
    desk.write("vault.jsonl", &chain.file());
    let (code, text) = desk.run(&["--vault", "prod.card", "vault.jsonl"]);
    assert!(code == 2 && text.contains("begins with another entry"), "{text}");
}

#[test]
fn what_cannot_be_verified_exits_with_1() {
    let desk = Desk::new();
    desk.write("torn.jsonl", &desk.world.kit.file()[..3000]);
    desk.write(
        "forged.receipt",
        receipt(&desk.world, |_| {}).write().replace("\"renewable\":true", "\"renewable\":false").as_bytes(),
    );
    let other = World::new(21).aud;
    let nothing = format!("{}:0", desk.world.aud.identity_kid());
    // Nobody signed it, and its number is the largest there is.
    let wild = format!(
        r#"{{"payload":{{"entry":{{"leaf":"{}","seq":{}}}}},"sig":"{}"}}"#,
        desk.world.kit.head.leaf,
        u64::MAX,
        "A".repeat(86)
    );
    desk.write("wild.receipt", wild.as_bytes());
    assert_eq!(desk.run(&["--receipt", "wild.receipt", "kit.audit.jsonl"]).0, 2);
    for (arguments, said) in [
        (vec!["--chain", "mira", "kit.audit.jsonl"], "this is the chain kit, but mira was asked for"),
        (vec!["--operators", "kit.audit.jsonl", "kit.audit.jsonl"], "but _operators was asked for"),
        (vec!["--head", &nothing, "kit.audit.jsonl"], "at least 1"),
        (vec!["nothing.jsonl"], "cannot read nothing.jsonl"),
        (vec!["prod.card"], "not the file of an audit chain"),
        (vec!["torn.jsonl"], "torn at entry"),
        (vec!["--max-age", "1h", "kit.audit.jsonl"], "too old"),
        (vec!["--receipt", "forged.receipt", "kit.audit.jsonl"], "was not signed by the response key"),
        (vec!["--vault", "kit.audit.jsonl", "kit.audit.jsonl"], "not a vault card"),
        (vec!["--vault", "prod.card", "--identity", other.as_str(), "kit.audit.jsonl"], "but the card is of"),
        (vec!["--head", "zzz", "kit.audit.jsonl"], "write LEAF:SIZE"),
        (vec!["--identity", "zzz", "kit.audit.jsonl"], "neither 43 characters"),
        (vec!["--receipt", "kept.receipt", "kit.audit.jsonl", "torn.jsonl"], "give one file"),
        (vec!["--frobnicate"], "unexpected argument"),
        (vec![], "required"),
    ] {
        let (code, text) = desk.run(&arguments);
        assert_eq!(code, 1, "{arguments:?}: {text}");
        assert!(text.contains(said), "{arguments:?}: {said:?} is missing in:\n{text}");
    }
    assert_eq!(desk.run(&["--help"]).0, 0);
    assert_eq!(desk.run(&["--version"]).0, 0);
}

#[test]
fn a_value_that_begins_with_a_hyphen_is_taken_as_a_value() {
    let desk = Desk::new();
    let leaf = format!("-{}", "A".repeat(42));
    let (code, text) = desk.run(&["--head", &format!("{leaf}:1"), "kit.audit.jsonl"]);
    assert!(code == 2 && text.contains("was held for it"), "{text}");
    let (code, text) = desk.run(&["--agent-key", &leaf, "kit.audit.jsonl"]);
    assert!(code == 2 && text.contains("not among those pinned"), "{text}");
}

#[test]
fn json_has_one_object_a_file() {
    let desk = Desk::new();
    let mut lines = desk.world.kit.lines.clone();
    lines.swap(2, 3);
    desk.write("swapped.jsonl", &file(&lines));
    let (code, text) =
        desk.run(&["--output", "json", "--operators", "operators.audit.jsonl", "kit.audit.jsonl", "swapped.jsonl"]);
    assert_eq!(code, 2, "{text}");
    let reports: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<_> = reports.iter().map(|report| report["file"].as_str().unwrap()).collect();
    assert_eq!(names, ["operators.audit.jsonl", "kit.audit.jsonl", "swapped.jsonl"]);
    assert_eq!(reports[1]["verdict"]["is"], "intact");
    assert_eq!(reports[1]["size"], desk.world.kit.head.size);
    assert_eq!(reports[1]["pinned"], false);
    let verdict = &reports[2]["verdict"];
    assert_eq!((&verdict["is"], &verdict["fault"]), (&"tampered".into(), &"seq".into()));
    assert_eq!((&verdict["entry"], &verdict["line"]), (&2.into(), &3.into()));
}

#[test]
fn a_file_that_cannot_be_read_keeps_no_other_from_being_reported() {
    let desk = Desk::new();
    for other in ["--operators", "--proof"] {
        let (code, text) = desk.run(&["--vault", "prod.card", other, "nothing", "kit.audit.jsonl"]);
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("cannot read nothing") && text.contains("prod/kit: intact"), "{text}");
        let (code, text) = desk.run(&["--output", "json", "--vault", "prod.card", other, "nothing", "kit.audit.jsonl"]);
        assert_eq!(code, 1, "{text}");
        assert!(text.contains("\"is\":\"unusable\"") && text.contains("\"is\":\"intact\""), "{text}");
    }
    // What is worse is still said.
    let mut lines = desk.world.kit.lines.clone();
    lines.remove(3);
    desk.write("cut.jsonl", &file(&lines));
    assert_eq!(desk.run(&["--operators", "nothing", "kit.audit.jsonl", "cut.jsonl"]).0, 2);
}
