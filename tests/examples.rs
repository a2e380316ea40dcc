//! The examples do what they say, against a real vault; and the demo runs from its first line to its last.

#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test stops where what it stands on is not there")]

use std::fs;
use std::path::Path;

mod programs;

use programs::{Said, Vault, example, program, said};

fn run(vault: &Vault, name: &str, arguments: &[&str]) -> Said {
    said(program(example(name), vault.path()).args(arguments))
}

#[test]
fn a_credential_is_requested_opened_and_its_receipt_proves_it() {
    let vault = Vault::start();
    vault.with_kit("hunter2");
    let shown = run(&vault, "request_credential", &["--reveal", "--ttl", "60s", "--receipt", "kit.receipt"]);
    assert!(!shown.err.contains("hunter2"), "the secret goes to standard output alone");
    assert_eq!(shown.ok(), "hunter2\n");
    let silent = run(&vault, "request_credential", &[]);
    assert!(!format!("{silent:?}").contains("hunter2"), "it was not asked to reveal it");
    silent.ok();

    vault.vaultctl(&["audit", "export", "kit", "--file", "kit.audit.jsonl"]).ok();
    let report = run(&vault, "verify_offline", &["vault/prod.card", "kit.audit.jsonl", "kit.receipt"]).ok();
    assert!(report.contains("intact") && report.contains("1 signed receipt"), "{report}");

    // A chain that ends before the receipt's entry was cut.
    let whole = fs::read_to_string(vault.path().join("kit.audit.jsonl")).unwrap();
    let cut: String = whole.lines().take(2).map(|line| format!("{line}\n")).collect();
    fs::write(vault.path().join("cut.jsonl"), cut).unwrap();
    assert_eq!(run(&vault, "verify_offline", &["vault/prod.card", "cut.jsonl"]).code, 0, "a bare file cannot tell");
    assert_eq!(run(&vault, "verify_offline", &["vault/prod.card", "cut.jsonl", "kit.receipt"]).code, 2);
}

#[test]
fn what_an_agent_has_seen_is_countersigned_by_its_next_process() {
    let vault = Vault::start();
    vault.with_kit("hunter2");
    run(&vault, "request_credential", &[]).ok();
    run(&vault, "request_credential", &[]).ok();
    let sizes =
        vault.vaultctl(&["audit", "show", "kit", "--from", "2", "--field", "body.request.payload.seen.size"]).ok();
    assert_eq!(sizes, "0\n3\n");
}

#[test]
fn a_key_in_the_environment_serves_as_well_as_one_in_a_file() {
    let vault = Vault::start();
    vault.with_kit("hunter2");
    let lines = vault.vaultctl(&["keygen", "--agent", "ada", "--print-env"]).ok();
    let values: Vec<(&str, &str)> = lines.lines().map(|line| line.split_once('=').unwrap()).collect();
    vault.vaultctl_fed(&["agent", "register", "-"], values[2].1.as_bytes()).ok();
    vault.vaultctl(&["grant", "ada", "orders-read", "--ttl", "5m"]).ok();
    let ask = || {
        let mut command = program(example("request_credential"), vault.path());
        command.args(["--agent", "ada"]);
        command
    };
    let text = said(&mut ask()).fails(1);
    assert!(text.contains("no key of agent ada"), "{text}");
    said(ask().envs(values.iter().copied())).ok();
}

#[test]
fn a_replay_is_refused_byte_for_byte() {
    let vault = Vault::start();
    vault.with_kit("hunter2");
    let text = run(&vault, "replay", &[]).ok();
    assert!(text.contains("first    taken") && text.contains("copy     refused: replay"), "{text}");
    let kinds = vault.vaultctl(&["audit", "show", "kit", "--field", "kind"]).ok();
    assert_eq!(kinds, "genesis\ngrant\nissue\n", "the copy fills no chain");
}

#[test]
fn the_demo_runs_to_its_end_and_leaves_nothing() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = example("replay").ancestors().nth(3).unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let mut command = program("bash", folder.path());
    command.arg(root.join("examples/demo.sh")).env("CARGO_TARGET_DIR", target).env("TMPDIR", folder.path());
    let text = said(&mut command).ok();
    for wanted in ["copy     refused: replay", "ttl_exceeds_grant", "intact", "TAMPERED at entry 2", "Done."] {
        assert!(text.contains(wanted), "{wanted:?} is not in:\n{text}");
    }
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}
