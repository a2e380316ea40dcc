//! The launcher's rows in an agent's NockGuard trail: an independent checker in Python, written from NockGuard's rules,
//! agrees with `vault-verify`; several writers, crashes, rotation and other people's files do not spoil the trail.

#![cfg(all(feature = "daemon", feature = "launcher"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use nockvault::audit::nockguard::written::Decision;
use nockvault::client::fault::Fault;
use nockvault::client::signer::{Held, Signer};
use nockvault::crypto::signature::{Form, PublicKey, Signature, SigningKey};
use nockvault::launcher::nockguard::Trail;
use nockvault::secret::Secret;
use nockvault::time::{ManualClock, Timestamp};

mod programs;

use programs::{Said, foreign, program, said};

const PUBLIC: &str = "2152f8d19b791d24453242e15f2eab6cb7cffa7b6a5ed30097960e069881db12";

fn signer(byte: u8) -> Arc<dyn Signer> {
    Arc::new(Held::new(SigningKey::from_seed(&Secret::new([byte; 32]))))
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::from_rfc3339("2026-06-03T18:30:00.750Z").unwrap()))
}

fn open(path: &Path) -> Result<Trail, Fault> {
    Trail::open(path, &"kit".parse().unwrap(), signer(0x42), Some("lock-7"), clock())
}

fn row(trail: &Trail, role: &str) -> Result<(), Fault> {
    trail.row(&format!("nockvault:issue:{role}"), Decision::Allow, "lease 1")
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs/kit.audit.jsonl");
    (dir, path)
}

fn mark(path: &Path) -> PathBuf {
    path.with_extension("jsonl.hwm")
}

/// NockGuard's rules once more, in Python.
fn python(path: &Path) -> Said {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nockguard/check.py");
    said(foreign::python(path.parent().unwrap()).arg(script).arg(path).arg(PUBLIC))
}

fn ours(path: &Path) -> Said {
    let mut command = program(env!("CARGO_BIN_EXE_vault-verify"), path.parent().unwrap());
    said(command.args(["--format", "nockguard", "--agent-key", PUBLIC]).arg(path))
}

/// Both checkers find this many rows, all of them counted by the checkpoint.
#[track_caller]
fn verifies(path: &Path, rows: usize) {
    assert_eq!(python(path).ok().trim(), format!("intact: {rows} rows, {rows} anchored"));
    let report = ours(path).ok();
    assert!(report.contains(&format!("{rows} good row")) && !report.contains("UNANCHORED"), "{report}");
}

#[track_caller]
fn refused(path: &Path, word: &str) {
    let text = open(path).unwrap_err().to_string();
    assert!(text.contains(word), "{text}");
}

#[test]
fn rows_verify_in_a_checker_that_is_not_ours() {
    let (_dir, path) = place();
    let trail = open(&path).unwrap();
    row(&trail, "orders-read").unwrap();
    trail.row("nockvault:request:orders-write", Decision::Deny, "no_grant").unwrap();
    trail.row("<&>\u{2028}\"\\", Decision::Deny, "\u{e9} \u{1f511} 'x' /").unwrap();
    verifies(&path, 3);
    let text = fs::read_to_string(&path).unwrap();
    let first = r#"{"ts":"2026-06-03T18:30:00Z","agent":"kit","tool":"nockvault:issue:orders-read","decision":"allow","reason":"lease 1","session_id":"lock-7","key_id":"3097"#;
    assert!(text.starts_with(first), "{text}");
    let modes = [&path, &mark(&path)].map(|file| fs::metadata(file).unwrap().permissions().mode() & 0o777);
    assert_eq!(modes, [0o600, 0o600]);
    // The checker is not one that always agrees.
    fs::write(&path, text.replacen("no_grant", "no_grand", 1)).unwrap();
    assert!(python(&path).fails(2).contains("row 2"));
    assert_eq!(ours(&path).code, 2);
}

#[test]
fn a_trail_that_nockguard_began_is_continued() {
    let (dir, path) = place();
    fs::create_dir(dir.path().join("logs")).unwrap();
    for ending in ["", ".hwm"] {
        let from = format!("tests/nockguard/golden.audit.jsonl{ending}");
        fs::copy(from, dir.path().join(format!("logs/kit.audit.jsonl{ending}"))).unwrap();
    }
    row(&open(&path).unwrap(), "orders-read").unwrap();
    verifies(&path, 4);
}

/// Each has its own file handle, as two launchers have, and NockGuard's proxy beside them.
#[test]
fn writers_at_the_same_time_make_one_chain() {
    let (_dir, path) = place();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let trail = open(&path).unwrap();
                for _ in 0..25 {
                    row(&trail, "orders-read").unwrap();
                }
            });
        }
    });
    verifies(&path, 100);
}

#[test]
fn what_a_crash_leaves_is_mended() {
    let (_dir, path) = place();
    let trail = open(&path).unwrap();
    for _ in 0..3 {
        row(&trail, "orders-read").unwrap();
    }
    let (text, early) = (fs::read(&path).unwrap(), fs::read(mark(&path)).unwrap());
    // Between the row and its checkpoint.
    row(&trail, "orders-read").unwrap();
    let four = fs::read(&path).unwrap();
    fs::write(mark(&path), &early).unwrap();
    row(&trail, "orders-read").unwrap();
    verifies(&path, 5);
    // The same, and found by the next launcher; the last row's LF is missing.
    fs::write(&path, &four[..four.len() - 1]).unwrap();
    fs::write(mark(&path), &early).unwrap();
    row(&open(&path).unwrap(), "orders-read").unwrap();
    verifies(&path, 5);
    // In the middle of a row: at each place where it can break off.
    for end in [text.len() + 1, text.len() + 40, four.len() - 2] {
        fs::write(&path, &four[..end]).unwrap();
        fs::write(mark(&path), &early).unwrap();
        let trail = open(&path).unwrap();
        verifies(&path, 4);
        row(&trail, "orders-read").unwrap();
        verifies(&path, 5);
        let said = format!("\"decision\":\"state-write\",\"reason\":\"cut {} bytes", end - text.len());
        assert!(fs::read_to_string(&path).unwrap().contains(&said));
    }
    // In the middle of the very first row.
    let first = text.split_inclusive(|byte| *byte == b'\n').next().unwrap();
    for end in [1, 30, first.len() - 2] {
        fs::write(&path, &first[..end]).unwrap();
        fs::remove_file(mark(&path)).unwrap();
        row(&open(&path).unwrap(), "orders-read").unwrap();
        verifies(&path, 2);
    }
    // The new checkpoint was written, and not put in place.
    fs::write(path.with_extension("jsonl.hwm.tmp"), "{\"count\":").unwrap();
    row(&open(&path).unwrap(), "orders-read").unwrap();
    verifies(&path, 3);
}

#[test]
fn a_broken_trail_is_not_appended_to() {
    let (_dir, path) = place();
    let trail = open(&path).unwrap();
    for _ in 0..3 {
        row(&trail, "orders-read").unwrap();
    }
    let (text, now) = (fs::read_to_string(&path).unwrap(), fs::read_to_string(mark(&path)).unwrap());
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let edited = text.replacen("orders", "orderz", 1);
    let cut = lines[..2].concat();
    let other = "{\"made\":\"by someone else\"}";
    for (bad, mark_text) in [
        (edited.as_str(), Some(now.as_str())),
        (&cut, Some(&now)),
        ("", Some(&now)),
        (&text, None),
        (&text, Some("")),
        (other, None),
        ("no trail", None),
        (&text[..text.len() - 40], Some(&now)),
    ] {
        fs::write(&path, bad).unwrap();
        match mark_text {
            Some(text) => fs::write(mark(&path), text).unwrap(),
            None => fs::remove_file(mark(&path)).unwrap_or_default(),
        }
        refused(&path, "nothing is appended");
        // Who has verified the trail once looks at its end alone, where an edit further up does not show.
        assert!(bad == edited || row(&trail, "orders-read").is_err(), "{bad}");
        assert_eq!(fs::read_to_string(&path).unwrap(), bad);
    }
    // Another key's trail, and this one's after the agent's key was replaced.
    fs::write(&path, &text).unwrap();
    fs::write(mark(&path), &now).unwrap();
    let other = Trail::open(&path, &"kit".parse().unwrap(), signer(7), None, clock());
    assert!(other.unwrap_err().to_string().contains("move both aside"));
    row(&trail, "orders-read").unwrap();
    // Rolled back together with its checkpoint, while this writer knows better.
    fs::write(&path, &text).unwrap();
    fs::write(mark(&path), &now).unwrap();
    assert!(row(&trail, "orders-read").unwrap_err().to_string().contains("rows were taken away"));
    assert!(open(&path).is_ok());
}

#[test]
fn a_trail_that_was_rotated_begins_anew() {
    let (dir, path) = place();
    let trail = open(&path).unwrap();
    row(&trail, "orders-read").unwrap();
    let old = dir.path().join("logs/kit.1.jsonl");
    fs::rename(&path, &old).unwrap();
    fs::rename(mark(&path), mark(&old)).unwrap();
    row(&trail, "orders-read").unwrap();
    row(&trail, "orders-read").unwrap();
    verifies(&path, 2);
    verifies(&old, 1);
}

#[test]
fn links_and_files_that_others_can_write_are_refused() {
    let (dir, path) = place();
    row(&open(&path).unwrap(), "orders-read").unwrap();
    for mode in [0o620, 0o602, 0o666] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        refused(&path, "chmod 600");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(open(&path).is_ok(), "NockGuard makes it so");
    let logs = dir.path().join("logs");
    fs::set_permissions(&logs, fs::Permissions::from_mode(0o770)).unwrap();
    refused(&path, "chmod 700");
    fs::set_permissions(&logs, fs::Permissions::from_mode(0o700)).unwrap();
    let kept = logs.join("kept");
    fs::rename(mark(&path), &kept).unwrap();
    symlink(&kept, mark(&path)).unwrap();
    refused(&path, "link");
    fs::remove_file(mark(&path)).unwrap();
    fs::rename(&kept, mark(&path)).unwrap();
    fs::rename(&path, &kept).unwrap();
    symlink(&kept, &path).unwrap();
    refused(&path, "link");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(open(&path).is_err());
    let linked = dir.path().join("linked");
    symlink(&logs, &linked).unwrap();
    refused(&linked.join("kit.audit.jsonl"), "link or no folder");
    // Somebody else's, where this can be made.
    fs::remove_dir(&path).unwrap();
    fs::rename(&kept, &path).unwrap();
    if std::os::unix::fs::chown(&path, Some(65534), None).is_ok() {
        refused(&path, "another user");
    }
}

#[test]
fn a_lock_that_is_not_let_go_is_not_waited_for_without_end() {
    let (_dir, path) = place();
    let trail = open(&path).unwrap();
    let other = fs::File::open(&path).unwrap();
    other.lock().unwrap();
    let text = row(&trail, "orders-read").unwrap_err().to_string();
    assert!(text.contains("does not let go"), "{text}");
    other.unlock().unwrap();
    row(&trail, "orders-read").unwrap();
    verifies(&path, 1);
}

#[test]
fn a_session_id_that_is_none_is_refused() {
    let (_dir, path) = place();
    for bad in ["a\nb", &"x".repeat(129)] {
        let opened = Trail::open(&path, &"kit".parse().unwrap(), signer(0x42), Some(bad), clock());
        assert!(opened.unwrap_err().to_string().contains("NOCKLOCK_SESSION_ID"));
    }
}

/// As a key in an SSH agent: it signs what it is asked to, in that agent's way.
#[derive(Debug)]
struct Elsewhere(PublicKey);

#[async_trait]
impl Signer for Elsewhere {
    fn public(&self) -> &PublicKey {
        &self.0
    }

    fn form(&self) -> Form {
        Form::Sshsig
    }

    async fn sign(&self, _: &str, _: &[u8]) -> Result<Signature, Fault> {
        Err(Fault::local("not asked here"))
    }
}

#[test]
fn a_key_that_lies_elsewhere_says_that_it_cannot() {
    let (_dir, path) = place();
    let elsewhere = Arc::new(Elsewhere(signer(0x42).public().clone()));
    let text = Trail::open(&path, &"kit".parse().unwrap(), elsewhere, None, clock()).unwrap_err().to_string();
    assert!(text.contains("SSH agent") && text.contains("--nockguard-trail"), "{text}");
    assert!(!path.exists());
    let mut file = fs::File::create(path.with_file_name("touched")).unwrap();
    file.write_all(b"the folder is there").unwrap();
}
