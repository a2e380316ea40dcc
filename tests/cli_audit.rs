//! `vaultctl audit` as auditors and operators use it, with the real programs: what is shown of chains, what follows, what
//! is exported, and what a verdict ends with.

#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test stops where what it stands on is not there")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nockvault::audit::note::Note;
use nockvault::audit::policy::Policy;
use nockvault::audit::proof;
use nockvault::statement::card::Card;
use nockvault::time::{Clock as _, Seconds, SystemClock};
use serde_json::{Value, json};

mod programs;

use programs::{Said, Vault, example, program, said};

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn ask(vault: &Vault, agent: &str, role: &str) -> Said {
    let arguments = ["--agent", agent, "--role", role];
    said(program(example("request_credential"), vault.path()).args(arguments))
}

/// Kit with two leases of two roles, one denial, and nova beside it.
fn busy() -> Vault {
    let vault = Vault::start();
    vault.with_kit("hunter2");
    vault.vaultctl(&["role", "create", "mail", "--engine", "kv", "--set", "secret=orders-db"]).ok();
    vault.vaultctl(&["grant", "kit", "mail", "--ttl", "15m", "--max-ttl", "1h"]).ok();
    vault.vaultctl(&["keygen", "--agent", "nova"]).ok();
    vault.vaultctl(&["agent", "register", "nova.register"]).ok();
    ask(&vault, "kit", "orders-read").ok();
    ask(&vault, "kit", "mail").ok();
    ask(&vault, "kit", "none").fails(2);
    vault.vaultctl(&["lease", "revoke", "--role", "mail"]).ok();
    vault
}

#[test]
fn entries_are_shown_by_what_they_are_about() {
    let vault = busy();
    let show = |arguments: &[&str]| {
        let all = [&["audit", "show", "-o", "jsonl"][..], arguments].concat();
        rows(&vault.vaultctl(&all).ok())
    };
    let kinds = |arguments: &[&str]| -> Vec<String> {
        show(arguments).iter().map(|entry| entry["kind"].as_str().unwrap().to_owned()).collect()
    };
    let all = kinds(&["kit"]);
    assert_eq!(all, ["genesis", "grant", "grant", "issue", "issue", "deny", "revoke"]);
    assert_eq!(kinds(&["kit", "--role", "mail"]), ["grant", "issue", "revoke"]);
    assert_eq!(kinds(&["kit", "--kind", "deny", "--kind", "genesis"]), ["genesis", "deny"]);
    assert_eq!(kinds(&["kit", "--last", "2"]), ["deny", "revoke"]);
    assert_eq!(kinds(&["kit", "--last", "1", "--kind", "issue"]), ["issue"]);
    assert_eq!(kinds(&["kit", "--from", "4"]), ["issue", "deny", "revoke"]);
    assert_eq!(kinds(&["--agent", "nova"]), ["genesis"]);
    let issue = &show(&["kit", "--kind", "issue", "--role", "mail"])[0]["body"]["hdr"];
    let (lease, sid) = (issue["lease"].as_str().unwrap(), issue["sid"].as_str().unwrap());
    assert_eq!(kinds(&["kit", "--lease", lease]), ["issue", "revoke"]);
    assert_eq!(kinds(&["kit", "--session", sid]), ["issue", "revoke"]);
    // A lease that is revoked by name stands in the operators' chain too.
    assert_eq!(kinds(&["--all", "--since", "1h", "--session", sid]), ["issue", "revoke"]);

    // Time: as it is told, and as it was; what is older than the chain is all of it.
    let deny = show(&["kit", "--kind", "deny"])[0]["ts"].as_u64().unwrap();
    let at = |ts: u64| nockvault::time::Timestamp(ts).to_string();
    assert_eq!(kinds(&["kit", "--since", &at(deny)]), ["deny", "revoke"]);
    assert_eq!(kinds(&["kit", "--until", &at(deny)]), all[..5]);
    assert_eq!(kinds(&["kit", "--since", "1d", "--until", &at(deny + 1)]), all[..6]);
    assert_eq!(kinds(&["kit", "--since", "2126-01-01"]), [] as [&str; 0]);
    vault.vaultctl(&["audit", "show", "kit", "--since", "1m", "--until", "1h"]).fails(1);
    vault.vaultctl(&["audit", "show", "kit", "--since", "yesterday"]).fails(1);
    vault.vaultctl(&["audit", "show"]).fails(1);
    // A name or a kind that was mistyped is no empty answer.
    let none = vault.vaultctl(&["audit", "show", "nobody"]).fails(2);
    assert!(none.contains("there is no chain nobody; there are _operators, _vault, kit, nova"), "{none}");
    let none = vault.vaultctl(&["audit", "show", "kit", "--kind", "foo"]).fails(1);
    assert!(none.contains("--kind") && none.contains("deny_summary"), "{none}");
    for list in [&["lease", "list"][..], &["lease", "list", "--all"], &["grants"]] {
        let of = |agent: &str| vault.vaultctl(&[list, &["--agent", agent]].concat());
        let none = of("nobody").fails(2);
        assert!(none.contains("there is no agent nobody; there are kit, nova"), "{list:?}: {none}");
        assert_eq!(of("nova").ok().lines().count(), 1, "{list:?}: an agent that is known and has none");
    }
    vault.vaultctl(&["audit", "show", "kit", "nova", "--from", "1"]).fails(1);
}

/// A command is told with what it is aimed at, who gave it, why, and that it was refused where it was.
#[test]
fn a_refused_command_does_not_look_like_one_that_was_carried_out() {
    let vault = busy();
    vault.vaultctl(&["freeze", "kit", "--reason", "keys seen on a forum"]).ok();
    vault.vaultctl(&["agent", "show", "nobody"]).fails(2);
    vault.vaultctl(&["grant", "kit", "nothing", "--ttl", "15m"]).fails(2);
    let shown = vault.vaultctl(&["audit", "show", "_operators"]);
    let lines: Vec<&str> = shown.out.lines().collect();
    let by = |what: &str| lines.iter().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{what}: {lines:?}"));
    assert!(by("agent_freeze kit").contains(": keys seen on a forum"), "{lines:?}");
    assert!(by("grant_create kit mail").contains(" by ") && !by("grant_create kit mail").contains("REFUSED"));
    assert!(by("grant_create kit nothing").contains("  REFUSED "), "{lines:?}");
    assert!(by("agent_register nova").contains(" by "), "{lines:?}");
    assert_eq!(shown.err, "", "there are no more than are shown");

    // What is not shown is told, but to who asked for so many.
    let few = vault.vaultctl(&["audit", "show", "_operators", "--last", "2"]);
    assert_eq!((few.out.lines().count(), few.err.as_str()), (3, ""));
    for _ in 0..20 {
        vault.vaultctl(&["grant", "kit", "nothing", "--ttl", "15m"]).fails(2);
    }
    let shown = vault.vaultctl(&["audit", "show", "_operators"]);
    assert!(shown.out.lines().count() == 21 && shown.err.contains("earlier: --from 0 shows all"), "{shown:?}");
}

/// Where the clock was reset, times do not rise through a chain, and what is asked by time is found all the same.
#[test]
fn what_a_wrong_clock_stamped_hides_nothing_from_who_asks_by_time() {
    let mut vault = Vault::start_with(|config| config.replace("skew_s = 300", "skew_s = 2"));
    vault.with_kit("hunter2");
    vault.kill();
    vault.go_on_with_clock("+10d");
    for _ in 0..20 {
        let ahead = ["--agent", "kit", "--role", "orders-read"];
        let mut command = program(example("request_credential"), vault.path());
        said(command.args(ahead).envs(programs::clock("+10d"))).ok();
    }
    vault.kill();
    vault.go_on();
    ask(&vault, "kit", "orders-read").fails(2);
    vault.vaultctl(&["clock", "reset"]).ok();
    std::thread::sleep(Duration::from_secs(3));
    ask(&vault, "kit", "orders-read").ok();
    vault.vaultctl(&["freeze", "kit"]).ok();

    let kinds = |arguments: &[&str]| -> Vec<String> {
        let all =
            [&["audit", "show", "-o", "jsonl", "kit", "--kind", "issue", "--kind", "freeze"][..], arguments].concat();
        rows(&vault.vaultctl(&all).ok()).iter().map(|entry| entry["kind"].as_str().unwrap().to_owned()).collect()
    };
    let every = [["issue"; 21].as_slice(), &["freeze"]].concat();
    assert_eq!(kinds(&["--since", "1h"]), every);
    let tomorrow = SystemClock.now().plus(Seconds(86_400)).to_string();
    assert_eq!(kinds(&["--until", &tomorrow]), ["issue", "freeze"]);
    assert_eq!(kinds(&["--since", "1h", "--until", &tomorrow]), ["issue", "freeze"]);
    assert_eq!(kinds(&["--since", &tomorrow]), ["issue"; 20]);
}

#[test]
fn chains_are_merged_by_time_and_shown_in_each_form() {
    let vault = busy();
    let merged = rows(&vault.vaultctl(&["audit", "show", "--all", "--since", "1d", "-o", "jsonl"]).ok());
    let times: Vec<u64> = merged.iter().map(|entry| entry["ts"].as_u64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let list = rows(&vault.vaultctl(&["audit", "list", "-o", "jsonl"]).ok());
    let sizes: u64 = list.iter().map(|chain| chain["size"].as_u64().unwrap()).sum();
    assert_eq!(merged.len() as u64, sizes);
    let names: Vec<&str> = list.iter().map(|chain| chain["chain"].as_str().unwrap()).collect();
    assert_eq!(names, ["_operators", "_vault", "kit", "nova"]);
    for name in names {
        let origin = format!("prod/{name}");
        let seqs = merged.iter().filter(|entry| entry["origin"] == origin.as_str()).map(|entry| entry["seq"].as_u64());
        assert!(seqs.enumerate().all(|(at, seq)| seq == Some(at as u64)), "{name}");
    }

    // Two chains, and each once.
    let two = rows(&vault.vaultctl(&["audit", "show", "kit", "nova", "--agent", "kit", "-o", "jsonl"]).ok());
    assert_eq!(two.len(), 8);
    let table = vault.vaultctl(&["audit", "show", "kit", "nova", "--last", "3"]).ok();
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["CHAIN", "SEQ", "TIME", "KIND", "WHAT"]);
    assert_eq!((lines.len(), lines[2][0], lines[2][1], lines[2][3]), (4, "kit", "5", "deny"));
    assert_eq!(&lines[2][4..6], ["no_grant", "none"]);
    let one = vault.vaultctl(&["audit", "show", "kit", "--last", "1"]).ok();
    assert!(one.starts_with("SEQ     TIME") && one.contains("6       2"), "{one}");
    let json: Value = serde_json::from_str(&vault.vaultctl(&["audit", "show", "kit", "-o", "json"]).ok()).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 7);
    let none = vault.vaultctl(&["audit", "show", "kit", "--kind", "thaw", "-o", "json"]).ok();
    assert_eq!(none, "[]\n");
    let yaml = vault.vaultctl(&["audit", "show", "kit", "-o", "yaml"]).ok();
    assert_eq!(yaml.matches("\n  kind: ").count() + yaml.matches("- kind: ").count(), 7, "{yaml}");
    assert_eq!(vault.vaultctl(&["audit", "show", "nova", "--field", "kind"]).ok(), "genesis\n");
    // As jsonl an entry is its line.
    let lines = vault.vaultctl(&["audit", "show", "kit", "-o", "jsonl"]).ok();
    assert_eq!(lines, vault.vaultctl(&["audit", "export", "kit"]).ok());
}

/// A `vaultctl audit tail` at work, and what it has shown.
struct Tail {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Tail {
    fn of(vault: &Vault, arguments: &[&str]) -> Tail {
        let mut command = program(env!("CARGO_BIN_EXE_vaultctl"), vault.path());
        command.args(["audit", "tail", "--follow", "-o", "jsonl"]).args(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (to, lines) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| to.send(line)));
        Tail { child, lines }
    }

    /// The next entry, as `chain kind`. Checkpoints stand between, so that numbers are not told.
    #[track_caller]
    fn next(&self) -> String {
        let line = self.lines.recv_timeout(Duration::from_secs(60)).expect("an entry comes");
        let entry: Value = serde_json::from_str(&line).unwrap();
        let chain = entry["origin"].as_str().unwrap().trim_start_matches("prod/").to_owned();
        format!("{chain} {}", entry["kind"].as_str().unwrap())
    }

    fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "Ctrl-C ends it in order");
        assert!(self.lines.try_recv().is_err(), "nothing is left over");
    }
}

#[test]
fn what_comes_is_followed_through_a_restart_of_the_daemon_without_gap_or_repeat() {
    let mut vault = Vault::start();
    vault.with_kit("hunter2");
    let grants = Tail::of(&vault, &["kit", "-n", "1", "--kind", "grant", "--kind", "ungrant"]);
    assert_eq!(grants.next(), "kit grant");
    let all = Tail::of(&vault, &["--all", "-n", "0", "--kind", "genesis", "--kind", "grant", "--kind", "ungrant"]);
    // Long enough for both to have asked at least once.
    std::thread::sleep(Duration::from_millis(2500));
    vault.vaultctl(&["revoke", "kit", "orders-read"]).ok();
    assert_eq!(grants.next(), "kit ungrant");
    assert_eq!(all.next(), "kit ungrant");
    vault.kill();
    std::thread::sleep(Duration::from_millis(2500));
    vault.go_on();
    vault.vaultctl(&["keygen", "--agent", "nova"]).ok();
    vault.vaultctl(&["agent", "register", "nova.register"]).ok();
    vault.vaultctl(&["grant", "kit", "orders-read", "--ttl", "5m"]).ok();
    assert_eq!(grants.next(), "kit grant");
    assert_eq!((all.next(), all.next()), ("nova genesis".into(), "kit grant".into()));
    vault.restart();
    vault.vaultctl(&["revoke", "kit", "orders-read"]).ok();
    assert_eq!((grants.next(), all.next()), ("kit ungrant".into(), "kit ungrant".into()));
    grants.stop();
    all.stop();
}

/// Shorter than it was, and longer again with other entries.
#[test]
fn who_follows_a_vault_that_was_put_back_is_told_so() {
    use rustix::process::{Pid, Signal, kill_process};
    let copy = |from: &Path, to: &Path| {
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            if entry.file_name().to_string_lossy().starts_with("vault.db") {
                fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
    };
    let mut vault = Vault::start();
    vault.with_kit("hunter2");
    let (data, old) = (vault.path().join("vault/data"), tempfile::tempdir().unwrap());
    for longer in [false, true] {
        vault.kill();
        copy(&data, old.path());
        vault.go_on();
        vault.vaultctl(&["revoke", "kit", "orders-read"]).ok();
        let mut tail = Tail::of(&vault, &["kit", "-n", "1", "--kind", "grant", "--kind", "ungrant"]);
        assert_eq!(tail.next(), "kit ungrant");
        std::thread::sleep(Duration::from_millis(1500));
        let pid = Pid::from_child(&tail.child);
        kill_process(pid, Signal::STOP).unwrap();
        vault.kill();
        copy(old.path(), &data);
        vault.go_on();
        if longer {
            vault.vaultctl(&["revoke", "kit", "orders-read"]).ok();
            vault.vaultctl(&["grant", "kit", "orders-read", "--ttl", "8m"]).ok();
        }
        kill_process(pid, Signal::CONT).unwrap();
        assert_eq!(tail.child.wait().unwrap().code(), Some(1));
        let told = std::io::read_to_string(tail.child.stderr.take().unwrap()).unwrap();
        let how = if longer { "does not follow on what was there" } else { "and now it has" };
        assert!(told.contains(how) && told.contains("was put back"), "{told}");
        assert!(tail.lines.try_recv().is_err(), "nothing of the other history is shown as if it went on");
    }
}

#[test]
fn every_chain_is_exported_and_verifies_against_the_operators() {
    let vault = busy();
    vault.vaultctl(&["audit", "export", "--all", "--dir", "out/today"]).ok();
    let dir = vault.path().join("out/today");
    let mut names: Vec<String> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["_operators", "_vault", "kit", "nova"].map(|name| format!("{name}.audit.jsonl")));
    let card = vault.card();
    let verify = ["--vault", card.to_str().unwrap(), "--operators", "_operators.audit.jsonl"];
    let files = ["kit.audit.jsonl", "nova.audit.jsonl", "_vault.audit.jsonl"];
    let report = said(program(env!("CARGO_BIN_EXE_vault-verify"), &dir).args(verify).args(files));
    assert_eq!(report.ok().matches("intact").count(), 4);
    // An agent's key in each form that keygen hands it out in, and the card by its name.
    let public = fs::read_to_string(vault.path().join("kit.pub")).unwrap();
    let kid = vault.vaultctl(&["agent", "show", "kit", "--field", "keys.0.kid"]).ok();
    let with = |key: &str| {
        let mut verify = program(env!("CARGO_BIN_EXE_vault-verify"), vault.path());
        said(verify.env("NOCKVAULT_CARD", "prod").args(["--agent-key", key, "out/today/kit.audit.jsonl"]))
    };
    for key in ["kit.pub", public.trim(), kid.trim()] {
        assert!(with(key).ok().contains("intact"), "{key}");
    }
    let other = with("nova.pub");
    assert!(other.code == 2 && other.out.contains("not among those pinned"), "{other:?}");
    assert!(with("nosuch.pub").fails(1).contains("nosuch.pub is neither 64 digits of hex nor a file of them"));
    let mut verify = program(env!("CARGO_BIN_EXE_vault-verify"), vault.path());
    let none = said(verify.args(["--vault", "nosuch", "out/today/kit.audit.jsonl"])).fails(1);
    assert!(none.contains("there is no card nosuch"), "{none}");

    let again = vault.vaultctl(&["audit", "export", "--all", "--dir", "out/today"]).fails(1);
    assert!(again.contains("is there already"), "{again}");

    let whole = fs::read_to_string(dir.join("kit.audit.jsonl")).unwrap();
    let end: String = whole.lines().skip(4).map(|line| format!("{line}\n")).collect();
    assert_eq!(vault.vaultctl(&["audit", "export", "kit", "--from", "4"]).ok(), end);
    vault.vaultctl(&["audit", "export", "kit", "--from", "7", "--file", "none.jsonl"]).fails(1);
    vault.vaultctl(&["audit", "export", "nobody", "--file", "none.jsonl"]).fails(2);
    for stray in ["none.jsonl", "none.jsonl.part"] {
        assert!(!vault.path().join(stray).exists(), "{stray} was left behind");
    }
}

#[test]
fn a_verdict_ends_with_its_code_and_takes_what_the_reader_knows() {
    let vault = busy();
    let verify = |more: &[&str]| vault.vaultctl(&[&["audit", "verify", "kit"][..], more].concat());
    assert!(verify(&["--max-age", "1h"]).ok().contains("intact"));
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(verify(&["--max-age", "1s"]).code, 1);
    let kid = vault.vaultctl(&["agent", "show", "kit", "--field", "keys.0.kid"]).ok();
    let public = fs::read_to_string(vault.path().join("kit.pub")).unwrap();
    for key in [kid.trim(), public.trim(), "kit.pub"] {
        verify(&["--agent-key", key]).ok();
    }
    assert!(verify(&["--agent-key", "nosuch.pub"]).fails(1).contains("neither a key id nor a public key"));
    let nova = vault.vaultctl(&["agent", "show", "nova", "--field", "keys.0.kid"]).ok();
    let found = verify(&["--agent-key", nova.trim()]);
    assert!(found.code == 2 && found.out.contains("not among those pinned"), "{found:?}");
    let told: Value = serde_json::from_str(&verify(&["-o", "json"]).ok()).unwrap();
    assert_eq!(told["size"], 7, "{told}");
}

#[test]
fn every_chain_is_verified_and_the_worst_verdict_is_the_exit_code() {
    let mut vault = busy();
    let verify = |vault: &Vault| vault.vaultctl(&["audit", "verify", "--all", "-o", "json"]);
    let told: Vec<Value> = serde_json::from_str(&verify(&vault).ok()).unwrap();
    let chains: Vec<&str> = told.iter().map(|row| row["chain"].as_str().unwrap()).collect();
    assert_eq!(chains, ["_operators", "_vault", "kit", "nova"]);
    assert!(told.iter().all(|row| row["what"]["is"] == "intact"), "{told:?}");
    vault.vaultctl(&["audit", "verify", "kit", "--all"]).fails(1);

    // Somebody who holds the database writes into one line.
    vault.kill();
    let database = rusqlite::Connection::open(vault.path().join("vault/data/vault.db")).unwrap();
    let changed = database
        .execute(
            "UPDATE lines SET line = CAST(replace(CAST(line AS TEXT), '\"orders-read\"', '\"orders-Read\"') AS BLOB)
             WHERE at = (SELECT id FROM chains WHERE name = 'kit') * 4294967296 + 1",
            [],
        )
        .unwrap();
    assert_eq!(changed, 1);
    drop(database);
    vault.go_on();
    let found = verify(&vault);
    let told: Vec<Value> = serde_json::from_str(&found.out).unwrap();
    let of = |chain: &str| told.iter().find(|row| row["chain"] == chain).unwrap()["what"]["is"].clone();
    assert_eq!(
        (found.code, of("kit"), of("nova"), of("_vault")),
        (2, json!("tampered"), json!("intact"), json!("intact"))
    );
}

#[test]
fn one_entry_is_proved_to_a_stranger_under_the_newest_checkpoint() {
    let mut vault = busy();
    // A daemon that stops in order leaves a checkpoint of each chain.
    vault.restart();
    let note = vault.vaultctl(&["audit", "checkpoint", "kit"]).ok();
    assert!(note.starts_with("prod/kit\n7\n"), "{note}");
    let told: Value =
        serde_json::from_str(&vault.vaultctl(&["audit", "checkpoint", "kit", "-o", "json"]).ok()).unwrap();
    assert_eq!((&told["size"], &told["origin"]), (&7.into(), &"prod/kit".into()), "{told}");

    vault.vaultctl(&["audit", "prove", "kit", "3", "--file", "kit-3.proof"]).ok();
    let proof = fs::read_to_string(vault.path().join("kit-3.proof")).unwrap();
    assert!(proof.starts_with("c2sp.org/tlog-proof@v1\n") && proof.contains("\nindex 3\n"), "{proof}");
    assert_eq!(proof, vault.vaultctl(&["audit", "prove", "kit", "3"]).ok());
    let again = vault.vaultctl(&["audit", "prove", "kit", "3", "--file", "kit-3.proof"]).fails(1);
    assert!(again.contains("kit-3.proof") && !again.contains("under a checkpoint"), "{again}");
    let card = Card::read(&fs::read_to_string(vault.card()).unwrap()).unwrap();
    for seq in 0..7 {
        let text = vault.vaultctl(&["audit", "prove", "kit", &seq.to_string()]).ok();
        let proved = proof::verify(&text, &proof::Pins::new(card.identity.clone())).unwrap();
        assert_eq!((proved.seq, proved.checkpoint.size), (seq, 7));
    }
    // An entry that no checkpoint covers gets one, a checkpoint itself has none behind it yet, and what is not there has none.
    vault.vaultctl(&["revoke", "kit", "orders-read"]).ok();
    let size = vault.vaultctl(&["agent", "show", "kit", "--field", "chain.size"]).ok().trim().parse::<u64>().unwrap();
    let text = vault.vaultctl(&["audit", "prove", "kit", &(size - 1).to_string()]).ok();
    let proved = proof::verify(&text, &proof::Pins::new(card.identity.clone())).unwrap();
    assert_eq!((proved.seq, proved.checkpoint.size), (size - 1, size));
    let early = vault.vaultctl(&["audit", "prove", "kit", &size.to_string()]).fails(2);
    assert!(early.contains(&format!("no checkpoint of kit covers entry {size}")), "{early}");
    let size = size + 1;
    let none = vault.vaultctl(&["audit", "prove", "kit", &size.to_string()]).fails(2);
    assert!(none.contains(&format!("has no entry {size}")), "{none}");

    // The checkpoint, kept elsewhere, holds the chain; one of another chain does not.
    fs::write(vault.path().join("kit.checkpoint"), &note).unwrap();
    vault.vaultctl(&["audit", "verify", "kit", "--checkpoint", "kit.checkpoint"]).ok();
    let nova = vault.vaultctl(&["audit", "checkpoint", "nova"]).ok();
    fs::write(vault.path().join("nova.checkpoint"), nova).unwrap();
    assert_ne!(vault.vaultctl(&["audit", "verify", "kit", "--checkpoint", "nova.checkpoint"]).code, 0);

    let told = vault.vaultctl(&["audit", "verify", "kit", "--checkpoint", "kit.pub"]).fails(1);
    assert_eq!(told.matches("a note is a text, an empty line").count(), 1, "{told}");

    // What follows on it is a file of its own, which begins with the entry that holds it.
    let part = vault.vaultctl(&["audit", "export", "kit", "--since-checkpoint"]).ok();
    let first: Value = serde_json::from_str(part.lines().next().unwrap()).unwrap();
    assert_eq!((&first["kind"], &first["seq"]), (&"checkpoint".into(), &(size - 1).into()));
    assert_eq!(part.lines().count(), 1);
}

#[test]
fn a_witness_is_told_the_keys_of_checkpoints_by_their_chains() {
    let mut vault = busy();
    vault.restart();
    let lines = vault.vaultctl(&["keys", "export", "--witness"]).ok();
    let policy = Policy::read(format!("{lines}quorum none\n").as_bytes()).unwrap();
    let names: Vec<&str> = policy.logs().iter().map(|log| log.key.name()).collect();
    assert_eq!(names, ["prod/_operators", "prod/_vault", "prod/kit", "prod/nova"]);
    let note = Note::read(&vault.vaultctl(&["audit", "checkpoint", "kit"]).ok()).unwrap();
    let signed = |name: &str| {
        let vkey = policy.logs().iter().find(|log| log.key.name() == name).unwrap();
        note.verified_by(&vkey.key)
    };
    assert!(signed("prod/kit") && !signed("prod/nova"));
}
