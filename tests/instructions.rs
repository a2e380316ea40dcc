//! How many instructions an issuance takes, counted by valgrind and held against those of its cryptography, so that a way
//! which becomes longer is seen on any machine, however busy. A ratio: a new compiler moves both, and noise moves neither.
//!
//! The test runs itself under `valgrind --tool=cachegrind`, with few and with many issuances; what they differ by is free
//! of what begins and ends a vault. It is the build of the tests: cryptography is optimised in it, all else is not, so the
//! ratio is far above that of a release build (`make bench`), and tells the more of what is ours.

#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::hint::black_box;
use std::process::Command;

use nockvault::crypto::hpke::{self, SealSecretKey};
use nockvault::crypto::signature::{Form, SigningKey};
use nockvault::entropy::{Entropy, OsEntropy};

mod support;

use support::agent::Rpc;
use support::{Harness, terms};

/// Instructions of an issuance over those of its cryptography, as they were when this was written last.
const THEN: f64 = 2.61;
/// By how much they may have become more. Who makes it shorter by as much writes the new figure above.
const SLACK: f64 = 1.08;

/// What a run under valgrind is to do, and how often.
const TASK: &str = "NOCKVAULT_COUNTED_TASK";
const FEW: u64 = 10;
const MANY: u64 = 60;

const TEST: &str = "an_issuance_takes_no_more_instructions_than_it_did";

#[test]
fn an_issuance_takes_no_more_instructions_than_it_did() {
    if let Ok(task) = std::env::var(TASK) {
        let (name, count) = task.split_once(' ').unwrap();
        return perform(name, count.parse().unwrap());
    }
    let (whole, pieces) = (each("issue"), each("cryptography"));
    let ratio = whole / pieces;
    println!("an issuance takes {whole:.0} instructions, its cryptography {pieces:.0}: x {ratio:.3}, then x {THEN}");
    assert!(
        ratio < THEN * SLACK,
        "an issuance takes x {ratio:.2} of its cryptography, {THEN} before: what made it longer?"
    );
    assert!(
        ratio > THEN / SLACK,
        "an issuance became shorter: x {ratio:.2}; let THEN say so, lest it grows back unseen"
    );
}

/// Instructions of one.
fn each(task: &str) -> f64 {
    (counted(task, MANY) - counted(task, FEW)) / (MANY - FEW) as f64
}

fn counted(task: &str, count: u64) -> f64 {
    let output = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture", "--test-threads=1"])
        .env(TASK, format!("{task} {count}"))
        .output()
        .expect("valgrind runs; `make deps` installs it");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "it ran something else");
    let line = said.lines().find(|line| line.contains("I   refs:")).unwrap_or_else(|| panic!("no count in {said}"));
    line.rsplit(':').next().unwrap().trim().replace(',', "").parse().unwrap()
}

fn perform(task: &str, count: u64) {
    match task {
        "issue" => tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(issue(count)),
        "cryptography" => cryptography(count),
        other => panic!("no task {other}"),
    }
}

async fn issue(count: u64) {
    let vault = Harness::new().await;
    vault.kv_role("orders", b"a value").await;
    let kit = vault.agent("kit").await;
    vault.grant(&kit.name, "orders", terms()).await;
    for _ in 0..count {
        let request = kit.issue("orders");
        let req = request.digest();
        let outcome = vault.send(Rpc::RequestCredential, request).await;
        let _: nockvault::statement::reply::Issued = vault.released(outcome, req);
    }
    assert_eq!(vault.vault().store().census().await.unwrap().leases, count);
}

/// What signs, verifies and seals in one issuance, the agent's part of it included.
fn cryptography(count: u64) {
    let entropy: &dyn Entropy = &OsEntropy;
    let key = SigningKey::generate(entropy);
    let (public, to) = (key.public(), SealSecretKey::generate(entropy).public());
    let (request, few) = ([b'x'; 700], [7; 256]);
    for _ in 0..count {
        let signature = key.sign(Form::Pae, "request", &request);
        public.verify(Form::Pae, "request", &request, &signature).unwrap();
        drop(black_box(hpke::seal(&to, &[1; 82], &[], black_box(&few), entropy).unwrap()));
        for _ in 0..2 {
            black_box(key.sign_raw(black_box(&request)));
        }
        public.verify(Form::Pae, "request", &request, &signature).unwrap();
    }
}
