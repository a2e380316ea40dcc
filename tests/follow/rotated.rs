//! The real logrotate, while agents are busy: as `deploy/logrotate` has it, and by copying and emptying.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::daemon::Busy;
use crate::programs::said;

/// The rules of `deploy/logrotate` for this folder, turned at each call, with these lines in place of those.
fn rules(busy: &Busy, lines: &[(&str, &str)]) -> String {
    let mut rules = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/logrotate")).unwrap();
    let place = busy.audit().display().to_string();
    // Whoever runs this test runs the daemon.
    let own = [("/var/lib/nockvault/audit", place.as_str()), ("    su nockvault nockvault\n", "")];
    for (line, instead) in own.iter().chain(lines) {
        assert!(rules.contains(line), "deploy/logrotate has no {line}");
        rules = rules.replace(line, instead);
    }
    rules
}

/// What the mirror has of a chain: the rotated files, the oldest first, and the live one.
fn all(busy: &Busy, chain: &str) -> String {
    let live = busy.live(chain);
    let mut text = String::new();
    let numbers: Vec<u32> = fs::read_dir(busy.audit())
        .unwrap()
        .filter_map(|file| {
            let name = file.unwrap().file_name().into_string().unwrap();
            let rest = name.strip_prefix(&format!("{chain}.audit.jsonl."))?;
            Some(rest.trim_end_matches(".gz").parse().unwrap())
        })
        .collect();
    for number in (1..=numbers.iter().copied().max().unwrap_or(0)).rev() {
        let (plain, packed) = (format!("{}.{number}", live.display()), format!("{}.{number}.gz", live.display()));
        if Path::new(&plain).exists() {
            text += &fs::read_to_string(plain).unwrap();
        } else {
            text += &said(Command::new("gzip").args(["-dc", &packed])).ok();
        }
    }
    text + &fs::read_to_string(live).unwrap_or_default()
}

async fn turns(lines: &[(&str, &str)]) {
    let mut busy = Busy::new().await;
    let (conf, state) = (busy.vault.path().join("logrotate.conf"), busy.vault.path().join("logrotate.state"));
    fs::write(&conf, rules(&busy, lines)).unwrap();
    // It refuses rules that others could write.
    let strict = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(&conf, strict).unwrap();
    let work = busy.work();
    let mut turned = 0;
    for round in 0..14 {
        work.issues(10).await;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]));
        let mut logrotate = Command::new("logrotate");
        logrotate.env("PATH", path.unwrap()).args(["--force", "--state"]).arg(&state).arg(&conf);
        said(&mut logrotate).ok();
        turned += 1;
        if round == 5 {
            busy.vault.kill();
            busy.vault.go_on();
        }
        if round == 9 {
            work.issues(3).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
    work.stop().await;
    busy.assert_mirrored(|chain| all(&busy, chain)).await;
    let rotated = format!("{}.{turned}", busy.live("kit").display());
    assert!(Path::new(&rotated).exists() || Path::new(&format!("{rotated}.gz")).exists(), "it did not turn");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_renames_leaves_neither_gap_nor_repeat() {
    turns(&[("create 0640 nockvault nockvault", "create 0640")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_leaves_no_file_leaves_neither_gap_nor_repeat() {
    turns(&[("    create 0640 nockvault nockvault\n", "    nocreate\n")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_copies_and_empties_leaves_neither_gap_nor_repeat() {
    turns(&[("    create 0640 nockvault nockvault\n", "    copytruncate\n")]).await;
}
