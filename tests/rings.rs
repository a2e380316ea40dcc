//! Rotation of the data keys by `vaultctl`, against the real daemon: it is killed at every step of it, and goes on; a
//! backup from the middle becomes a vault that goes on too.

#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod programs;

use std::fs;
use std::time::{Duration, Instant};

use programs::{Vault, example, program, said};
use serde_json::Value;

const STEPS: [&str; 4] = ["ring: begun", "ring: part", "ring: covered", "ring: deleted"];

fn ask(vault: &Vault) -> String {
    let card = vault.card();
    let mut command = program(example("request_credential"), vault.path());
    said(command.args(["--vault", card.to_str().unwrap(), "--reveal"])).ok()
}

fn rotation(vault: &Vault, more: &[&str]) -> Value {
    serde_json::from_str(&vault.vaultctl(&[&["key", "rotation", "-o", "json"], more].concat()).ok()).unwrap()
}

fn until(vault: &Vault, from: usize, step: &str) {
    let begun = Instant::now();
    while !fs::read_to_string(vault.log()).unwrap()[from..].contains(&format!("failpoint {step}")) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{step} was not reached");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn it_is_killed_at_every_step_and_goes_on() {
    let mut vault = Vault::start();
    vault.with_kit("hunter2");
    for _ in 0..3 {
        assert_eq!(ask(&vault), "hunter2\n");
    }
    for (turn, step) in STEPS.iter().enumerate() {
        vault.kill();
        let from = fs::metadata(vault.log()).unwrap().len() as usize;
        vault.go_on_until(step);
        let done: Value = serde_json::from_str(&vault.vaultctl(&["key", "rotate", "data", "-o", "json"]).ok()).unwrap();
        let epoch = turn as u64 + 2;
        assert_eq!(done["epoch"], epoch);
        until(&vault, from, step);
        // It serves on meanwhile.
        assert_eq!(ask(&vault), "hunter2\n", "{step}");
        assert_eq!(rotation(&vault, &[])["epochs"], serde_json::json!([epoch - 1, epoch]), "{step}");
        if *step == "ring: part" {
            vault.vaultctl(&["backup", "--file", "prod.backup"]).ok();
        }
        vault.kill();
        vault.go_on();
        let after = rotation(&vault, &["--wait"]);
        assert_eq!((&after["epochs"], &after["left"]), (&serde_json::json!([epoch]), &0.into()), "{step}");
        assert_eq!(ask(&vault), "hunter2\n", "{step}");
    }
    for chain in ["kit", "_operators", "_vault"] {
        vault.vaultctl(&["audit", "verify", chain]).ok();
    }
    vault.kill();
    let wanted = ["restore", "--file", "prod.backup", "--root-key", "vault/root.key", "--dir", "again"];
    let told = vault
        .vaultctl(&[&wanted[..], &["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "-o", "json"]].concat())
        .ok();
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["number"], &told["quarantined"]), (&1.into(), &serde_json::json!([])));
}

#[test]
fn flags_for_tokens_are_not_for_data_keys() {
    let vault = Vault::start();
    let refused = vault.vaultctl(&["key", "rotate", "data", "--now"]).fails(1);
    assert!(refused.contains("in use at once"), "{refused}");
    assert_eq!(rotation(&vault, &[]), serde_json::json!({ "epoch": 1, "epochs": [1], "left": 0 }));
}
