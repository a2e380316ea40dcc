//! Rules of several persons at the command line: what waits and how it goes on, exit codes, and what is left where somebody
//! stops waiting.

#![cfg(all(feature = "daemon", feature = "launcher"))]
#![allow(clippy::unwrap_used, reason = "a test stops where what it stands on is not there")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

mod programs;

use programs::{Vault, program};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|why| panic!("{why}: {text}"))
}

/// A vault with the admins `ada` and `mara`, under `grant_create = 2`. Each says who she is.
fn under_rule() -> Vault {
    let vault = Vault::start();
    vault.with_kit("a secret");
    let ada = |words: &[&str]| vault.vaultctl(&[words, &["--operator", "ada"]].concat());
    vault.vaultctl(&["keygen", "--operator", "mara"]).ok();
    let register = vault.path().join(".config/nockvault/prod/mara.register");
    ada(&["operator", "add", register.to_str().unwrap(), "--duty", "admin"]).ok();
    ada(&["revoke", "kit", "orders-read"]).ok();
    ada(&["policy", "set", "grant_create=2", "--wait", "1h"]).ok();
    vault
}

/// The only command that waits.
fn waiting(vault: &Vault) -> Value {
    json(&vault.vaultctl(&["approvals", "list", "-o", "json", "--operator", "mara"]).ok())[0].clone()
}

/// A program that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// One that waits for approval; it has said so.
    fn waits(vault: &Vault, words: &[&str]) -> Running {
        let mut command: Command = program(env!("CARGO_BIN_EXE_vaultctl"), vault.path());
        command.args(words).args(["--operator", "ada", "--wait-approval"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let told = said.by_ref().map(Result::unwrap).find(|line| line.contains("Ctrl-C stops waiting"));
        assert!(told.is_some(), "it ended without waiting");
        // What it says later has a reader too.
        std::thread::spawn(move || said.for_each(drop));
        Running(child)
    }

    fn code(&mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }
}

#[test]
fn a_command_ends_with_3_and_goes_on_when_another_approved_it() {
    let vault = under_rule();
    let run = |by: &str, words: &[&str]| vault.vaultctl(&[words, &["--operator", by]].concat());
    let grant = ["grant", "kit", "orders-read", "--ttl", "15m"];
    let shown = json(&run("ada", &["policy", "show", "-o", "json"]).ok());
    assert_eq!(
        (&shown["rules"]["grant_create"], &shown["admins"], &shown["wait"]),
        (&2.into(), &2.into(), &3600.into())
    );
    let told = run("ada", &[&grant[..], &["--dry-run"]].concat()).fails(0);
    assert!(told.contains("would wait for other operators"), "{told}");

    let told = run("ada", &grant).fails(3);
    let item = waiting(&vault);
    let id = item["command"].as_str().unwrap();
    for said in ["needs_approval", &format!("vaultctl approve {id}"), "vaultctl approvals list", "--wait-approval"] {
        assert!(told.contains(said), "{said:?} is missing in: {told}");
    }
    assert_eq!(
        (&item["operator"], &item["kind"], &item["missing"]),
        (&"ada".into(), &"grant_create".into(), &1.into())
    );
    assert!(run("ada", &["approve", id]).fails(2).contains("cannot_approve"));
    assert!(run("mara", &["approve", "nothing-so-named"]).fails(1).contains("no command of this name waits"));
    let shown = json(&run("mara", &["approvals", "show", &id[..8], "-o", "json"]).ok());
    assert_eq!(shown["body"]["terms"]["ttl"], 900);
    // Another body is another wish.
    run("ada", &["grant", "kit", "orders-read", "--ttl", "16m"]).fails(3);
    run("mara", &["approve", &id[..8]]).ok();
    run("ada", &grant).ok();
    let left = waiting(&vault);
    assert_eq!(left["body"]["terms"]["ttl"], 960);
    run("ada", &["withdraw", left["command"].as_str().unwrap()]).ok();
    assert_eq!(json(&run("mara", &["approvals", "list", "-o", "json"]).ok()), json("[]"));
    assert!(run("ada", &["policy", "set", "secret_put=2"]).fails(2).contains("sealed beside it"));
    run("ada", &["policy", "set", "grant"]).fails(1);
    for (words, bounds) in [
        (&["grant_create=1"][..], "2 to 9 operators"),
        (&["grant_create=10"], "2 to 9 operators"),
        (&["--none", "--wait", "10s"], "for 1m to 30d"),
        (&["--none", "--wait", "31d"], "for 1m to 30d"),
    ] {
        let told = run("ada", &[&["policy", "set"][..], words].concat()).fails(1);
        assert!(told.contains(bounds), "{words:?}: {told}");
    }
    run("ada", &["policy", "set", "--none"]).fails(3);
}

#[test]
fn what_is_drawn_anew_waits_with_the_program_that_drew_it() {
    let vault = under_rule();
    let run = |by: &str, words: &[&str]| vault.vaultctl(&[words, &["--operator", by]].concat());
    let key = vault.path().join("spare.key");
    let add = ["custody", "add", "spare", "--custody", "file", "--root-key", key.to_str().unwrap()];
    // It cannot go on later, so nothing of it is left.
    run("ada", &add).fails(3);
    assert!(!key.exists(), "a custodian's secret that nobody appointed was left");
    assert!(waiting(&vault).is_null(), "a command waits that nobody can give again");

    let mut adding = Running::waits(&vault, &add);
    run("mara", &["approve", waiting(&vault)["command"].as_str().unwrap()]).ok();
    assert_eq!(adding.code(), Some(0));
    assert!(key.exists());
    assert!(run("mara", &["custody", "list"]).ok().contains("spare"));
}

#[test]
fn who_stops_waiting_leaves_nothing_half_done() {
    let vault = under_rule();
    let key = vault.path().join("spare.key");
    let add = ["custody", "add", "spare", "--custody", "file", "--root-key", key.to_str().unwrap()];
    let mut adding = Running::waits(&vault, &add);
    assert!(key.exists());
    let id = rustix::process::Pid::from_raw(adding.0.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    assert_eq!(adding.code(), Some(3));
    assert!(!key.exists(), "a custodian's secret that nobody appointed was left");
}
