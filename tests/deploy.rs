//! What stands beside a vault is true: alert rules name what is counted and commands that there are, and the script for
//! hosts replaces a list by a list and by nothing else.

#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[cfg(feature = "client")]
#[path = "deploy/images.rs"]
mod images;
#[cfg(feature = "client")]
mod programs;
#[cfg(feature = "client")]
#[path = "deploy/units.rs"]
mod units;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use nockvault::denial::Reason;
use nockvault::telemetry::{Alive, Telemetry};
use nockvault::time::Timestamp;

fn house() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rules() -> String {
    fs::read_to_string(house().join("deploy/alerts.yml")).unwrap()
}

/// The words that begin with `before` and go on with `more`.
fn words<'a>(text: &'a str, before: &str, more: fn(char) -> bool) -> BTreeSet<&'a str> {
    text.match_indices(before)
        .map(|(at, _)| {
            let rest = &text[at..];
            &rest[..rest[before.len()..].find(|c| !more(c)).map_or(rest.len(), |end| before.len() + end)]
        })
        .collect()
}

/// The names of all samples, once each thing has been counted.
fn counted() -> BTreeSet<String> {
    let telemetry = Telemetry::new();
    telemetry.answered("RequestCredential", "OK", Duration::from_millis(1));
    telemetry.refused(Reason::EngineUnavailable);
    telemetry.connected("agents");
    telemetry.turned_away("agents");
    telemetry.counted(&Alive::default());
    telemetry.sink_well("mirror");
    telemetry.sink_lags("mirror", 1);
    telemetry.sink_carried("mirror", Timestamp(1));
    let text = telemetry.text();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect()
}

#[test]
fn alert_rules_name_what_is_counted() {
    let (rules, counted) = (rules(), counted());
    let named = words(&rules, "nockvault_", |c| c.is_ascii_lowercase() || c == '_');
    assert!(named.len() >= 3, "the rules name hardly anything: {named:?}");
    for name in named {
        assert!(counted.contains(name), "alerts.yml names {name}; there are {counted:?}");
    }
    let reasons = words(&rules, "reason=\"", |c| c != '"');
    assert!(!reasons.is_empty());
    for reason in reasons {
        let code = reason.trim_start_matches("reason=\"");
        assert!(Reason::from_code(code).is_some(), "alerts.yml names the reason {code}, which nothing is refused for");
    }
}

#[test]
fn each_alert_says_what_to_do_by_commands_that_there_are() {
    let rules = rules();
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() >= 5);
    for alert in &alerts {
        for member in ["expr:", "severity:", "summary:", "description:"] {
            assert!(alert.contains(member), "an alert without {member} {alert}");
        }
    }
    let help = fs::read_to_string(house().join("tests/help/vaultctl.txt")).unwrap();
    let help = help + &fs::read_to_string(house().join("tests/help/vault-verify.txt")).unwrap();
    let commands: Vec<&str> = rules.split('`').filter(|part| part.starts_with("vault")).collect();
    assert!(commands.len() >= 5);
    for command in commands {
        let verbs: Vec<&str> = command.split(' ').take_while(|word| word.starts_with(char::is_lowercase)).collect();
        assert!(help.contains(&format!("{} ", verbs.join(" "))), "{command} is no command");
        for option in command.split(' ').filter(|word| word.starts_with("--")) {
            assert!(help.contains(option), "{command}: there is no {option}");
        }
    }
}

/// Runs the script for hosts on the list at `from`.
fn fetch(from: &Path, to: &Path) -> Output {
    let url = format!("file://{}", from.display());
    Command::new(house().join("deploy/fetch-krl")).arg(url).arg(to).output().unwrap()
}

/// A list as OpenSSH writes one, which revokes this serial number.
fn list(folder: &Path, serial: u64) -> PathBuf {
    let (authority, lines, list) = (folder.join("ca"), folder.join("lines"), folder.join(format!("{serial}.krl")));
    let run = |arguments: &[&str]| {
        let done = Command::new("ssh-keygen").args(arguments).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    if !authority.exists() {
        run(&["-q", "-t", "ed25519", "-N", "", "-f", authority.to_str().unwrap()]);
    }
    fs::write(&lines, format!("serial: {serial}\n")).unwrap();
    let public = authority.with_extension("pub");
    run(&["-q", "-k", "-f", list.to_str().unwrap(), "-s", public.to_str().unwrap(), lines.to_str().unwrap()]);
    list
}

#[test]
fn a_host_replaces_its_list_by_a_list_and_by_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (list(folder.path(), 1), list(folder.path(), 2));
    let host = folder.path().join("etc");
    fs::create_dir(&host).unwrap();
    let there = host.join("nockvault_revoked");

    assert!(fetch(&first, &there).status.success());
    assert_eq!(fs::read(&there).unwrap(), fs::read(&first).unwrap());

    let page = folder.path().join("page.html");
    fs::write(&page, "<html>sign in to go on</html>").unwrap();
    let empty = folder.path().join("empty");
    fs::write(&empty, "").unwrap();
    for wrong in [&page, &empty, &folder.path().join("not-there")] {
        let done = fetch(wrong, &there);
        assert!(!done.status.success() && !done.stderr.is_empty(), "{}: {done:?}", wrong.display());
        assert_eq!(fs::read(&there).unwrap(), fs::read(&first).unwrap(), "{} was taken", wrong.display());
    }

    assert!(fetch(&second, &there).status.success());
    assert_eq!(fs::read(&there).unwrap(), fs::read(&second).unwrap());
    let left: Vec<_> = fs::read_dir(&host).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, ["nockvault_revoked"], "something was left behind");
}
