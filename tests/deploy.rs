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
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
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

/// Everything that can be told, once each thing has been counted.
fn told() -> String {
    let telemetry = Telemetry::new();
    telemetry.answered("RequestCredential", "OK", Duration::from_millis(1));
    telemetry.refused(Reason::EngineUnavailable);
    telemetry.connected("agents");
    telemetry.turned_away("agents", "full");
    telemetry.counted(&Alive::default());
    telemetry.sink_well("mirror");
    telemetry.sink_lags("mirror", 1);
    telemetry.sink_carried("mirror", Timestamp(1));
    telemetry.sink_set_aside("mirror");
    telemetry.signature_failed("agents", "public");
    telemetry.issued("kv", "issued");
    telemetry.skewed(Timestamp(1), Timestamp(2));
    telemetry.committed(3, Duration::from_millis(1));
    telemetry.certificate("tls", Timestamp(1));
    telemetry.wall("mlock", true);
    telemetry.text()
}

/// The names of all samples.
fn counted() -> BTreeSet<String> {
    let text = told();
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

/// Runs Prometheus' own tool in this house.
fn promtool(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new("promtool")
        .args(arguments)
        .current_dir(house())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is here; .ci/deps installs it");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn alert_rules_hold_and_each_fires_when_it_should_and_not_otherwise() {
    for arguments in [["check", "rules", "deploy/alerts.yml"], ["test", "rules", "tests/deploy/alerts.test.yml"]] {
        let done = promtool(&arguments, "");
        assert!(done.status.success(), "{arguments:?}: {done:?}");
    }
    let tests = fs::read_to_string(house().join("tests/deploy/alerts.test.yml")).unwrap();
    let manual = fs::read_to_string(house().join("src/manual/operations.rs")).unwrap();
    for alert in rules().split("- alert: ").skip(1).map(|alert| alert.lines().next().unwrap()) {
        for what in ["fires", "is calm"] {
            assert!(tests.contains(&format!("- name: {alert} {what}\n")), "no test that {alert} {what}");
        }
        assert!(manual.contains(&format!("| `{alert}` |")), "the manual does not say what to do about {alert}");
        assert!(rules().contains(&format!("runbook: \"the manual, operations, Alerts: {alert}\"")), "{alert}");
    }
}

#[test]
fn metrics_have_names_as_prometheus_has_them() {
    // The tool reads the older of the two text formats, which differs in the names of counters' heads.
    let (mut text, mut counters) = (String::new(), BTreeSet::new());
    for line in told().lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "TYPE", name, "counter"] => {
                counters.insert(name.to_owned());
                text += &format!("# TYPE {name}_total counter\n");
            }
            ["#", "TYPE", name, "info"] => text += &format!("# TYPE {name}_info gauge\n"),
            ["#", "HELP" | "TYPE", ..] => text += &format!("{line}\n"),
            ["#", ..] => {}
            _ => text += &format!("{line}\n"),
        }
    }
    for name in &counters {
        text = text.replace(&format!("# HELP {name} "), &format!("# HELP {name}_total "));
    }
    text = text.replace("# HELP nockvault_build ", "# HELP nockvault_build_info ");
    assert!(counters.len() >= 7, "{counters:?}");
    let done = promtool(&["check", "metrics"], &text);
    assert!(done.status.success() && done.stderr.is_empty(), "{done:?}\n{text}");
}

#[test]
fn the_dashboard_shows_what_is_told() {
    let text = fs::read_to_string(house().join("deploy/grafana/nockvault.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let (mut shown, mut record) = (BTreeSet::new(), "groups:\n- name: panels\n  rules:\n".to_owned());
    let counted = counted();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let expr = target["expr"].as_str().unwrap();
            let named = words(expr, "nockvault_", |c| c.is_ascii_lowercase() || c == '_');
            assert!(!named.is_empty(), "{expr}");
            for name in named {
                assert!(counted.contains(name), "{} shows {name}; there are {counted:?}", panel["title"]);
                shown.insert(name.trim_end_matches("_bucket").to_owned());
            }
            let expr = expr.replace("$job", ".+").replace("$instance", ".+");
            record += &format!("  - record: panel:{}\n    expr: {}\n", shown.len(), serde_json::json!(expr));
        }
    }
    // What is told is shown.
    let part = |name: &str| ["_bucket", "_sum", "_count"].iter().any(|end| name.ends_with(end));
    let told: BTreeSet<_> = counted.iter().filter(|name| !part(name)).cloned().collect();
    let hidden: Vec<_> = told.difference(&shown).collect();
    assert!(hidden.is_empty(), "no panel shows {hidden:?}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("panels.yml");
    fs::write(&file, record).unwrap();
    let done = promtool(&["check", "rules", "--lint=none", file.to_str().unwrap()], "");
    assert!(done.status.success(), "{done:?}");
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
