//! The programs, as they stand on a machine: vaultd hands its checkpoints to a folder and to a witness, and what it says at
//! its end is there before it is gone.

#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "witness/desk.rs"]
mod desk;
mod programs;
#[path = "deliver/served.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod served;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use desk::Desk;
use nockvault::audit::checkpoint::Checkpoint;
use nockvault::audit::note::{Note, NoteKey};
use nockvault::audit::policy::Policy;
use nockvault::crypto::signature::SigningKey;
use nockvault::entropy::SeededEntropy;
use programs::{Vault, program, said};
use served::{Witness, free};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_daemon_says_last_is_kept_outside() {
    let (keep, at) = (tempfile::tempdir().unwrap(), free());
    let witness = Witness::new(Desk::new("witness.example/w", SigningKey::generate(&SeededEntropy::new(40))));
    let policy = format!("witness W {} http://{at}/w\nquorum W\n", witness.desk.lock().unwrap().vkey());
    let file = keep.path().join("witnesses.policy");
    fs::write(&file, &policy).unwrap();
    let section =
        format!("[checkpoints]\nplaces = [\"dir:{}\"]\npolicy = \"{}\"", keep.path().display(), file.display());
    let mut vault = Vault::start_with(|config| config.replacen("[checkpoints]", &section, 1));
    vault.with_kit("hunter2");
    for line in vault.vaultctl(&["keys", "export", "--witness"]).ok().lines() {
        let key = line.split_whitespace().find_map(|word| word.parse::<NoteKey>().ok());
        witness.desk.lock().unwrap().know(key.unwrap_or_else(|| panic!("{line} holds no verifier key")));
    }
    assert_eq!(witness.desk.lock().unwrap().logs.len(), 3, "kit and the vault's own two");
    let _server = witness.serve(at).await;
    tokio::task::block_in_place(|| vault.restart());

    let policy = Policy::read(policy.as_bytes()).unwrap();
    for chain in ["kit", "_operators", "_vault"] {
        let file = keep.path().join(format!("{chain}.checkpoint"));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644, "others read it");
        let kept = fs::read_to_string(file).unwrap();
        let checkpoint = Checkpoint::read(&Note::read(&kept).unwrap().text).unwrap();
        assert_eq!((checkpoint.origin, checkpoint.size > 0), (format!("prod/{chain}"), true));
        let known = &witness.desk.lock().unwrap().logs[&format!("prod/{chain}")];
        assert_eq!((known.size, known.root), (checkpoint.size, checkpoint.root), "{chain}");
    }
    let told = vault.vaultctl(&["audit", "checkpoint", "kit", "-o", "json"]).ok();
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let note = told["note"].as_str().unwrap_or_else(|| panic!("{told}"));
    assert!(policy.judge(&Note::read(note).unwrap()).met, "{note}");
}

#[test]
fn a_policy_that_is_none_is_told_before_anything_is_written() {
    let keep = tempfile::tempdir().unwrap();
    let file = keep.path().join("witnesses.policy");
    fs::write(&file, "quorum W\n").unwrap();
    let mut vault = Vault::start();
    vault.kill();
    let config = vault.path().join("vault/vaultd.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replacen("[checkpoints]", &format!("[checkpoints]\npolicy = {file:?}"), 1)).unwrap();
    let vaultd = |arguments: [&str; 2]| said(program(env!("CARGO_BIN_EXE_vaultd"), vault.path()).args(arguments));
    let config = config.to_str().unwrap();
    for (arguments, code) in [(["check-config", config], 1), (["--config", config], 2)] {
        let told = vaultd(arguments).fails(code);
        let why = "witnesses.policy: line 1 of the policy: no line above gives the name W";
        assert!(told.contains(why) && !told.contains("ready"), "{told}");
    }
}
