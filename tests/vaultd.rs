//! The program `vaultd` itself: its words, its exit codes, its signals, what it leaves behind.
#![cfg(all(feature = "daemon", feature = "client"))]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nockvault::client::channel;
use nockvault::client::fault::{Fault, Untrusted};
use nockvault::entropy::OsEntropy;
use nockvault::server::init::{self, Laid, Plan};
use nockvault::statement::card::Card;
use nockvault::time::{Clock as _, SystemClock};
use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(30);

fn vaultd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vaultd"));
    command.env_remove("NOCKVAULT_CONFIG");
    command
}

fn run(args: &[&str]) -> Output {
    vaultd().args(args).output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("it writes UTF-8")
}

fn laid(folder: &Path) -> Laid {
    let loopback = "127.0.0.1:0".parse().expect("an address");
    let plan = Plan {
        folder: folder.join("vault"),
        name: "test".parse().expect("a name"),
        operator: "ada".parse().expect("a name"),
        hosts: vec!["vault.test".to_owned()],
        agents: loopback,
        operators: None,
        http: loopback,
        custody: nockvault::server::init::Keeper::File(None),
    };
    init::lay(&plan, SystemClock.now(), &(Arc::new(OsEntropy) as _)).expect("a vault is made")
}

/// A daemon that is killed when dropped.
struct Running {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
    ready: String,
}

impl Running {
    fn start(args: &[&str]) -> Running {
        let mut command = vaultd();
        let mut child = command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut ready = String::new();
        out.read_line(&mut ready).expect("it writes UTF-8");
        if !ready.starts_with("ready ") {
            let _ = child.kill();
            let mut told = String::new();
            child.stderr.take().expect("it is piped").read_to_string(&mut told).expect("it writes UTF-8");
            panic!("{ready:?}, and: {told}");
        }
        Running { child, out, ready: ready.trim().to_owned() }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it runs");
    }

    /// Waits for its end, and gives its code and what it logged.
    fn end(mut self) -> (ExitStatus, String) {
        let begin = Instant::now();
        let status = loop {
            match self.child.try_wait().expect("it is ours") {
                Some(status) => break status,
                None if begin.elapsed() > PATIENCE => panic!("it does not end"),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let mut told = String::new();
        self.child.stderr.take().expect("it is piped").read_to_string(&mut told).expect("it writes UTF-8");
        (status, told)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn usage_is_answered_with_1_and_help_with_0() {
    for (args, code) in [
        (&["--version"][..], 0),
        (&["--help"], 0),
        (&[], 1),
        (&["--nothing"], 1),
        (&["check-config"], 1),
        (&["dev", "--listen", "here"], 1),
        (&["--config", "/nowhere/vaultd.toml"], 1),
        (&["check-config", "/nowhere/vaultd.toml"], 1),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", text(&output.stderr));
        assert_eq!(output.stdout.is_empty(), code != 0, "{args:?}");
    }
    assert_eq!(text(&run(&["--version"]).stdout), concat!("vaultd ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn a_configuration_is_checked_with_the_files_it_names() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let laid = laid(folder.path());
    let file = laid.config.to_str().expect("a UTF-8 path");
    let check = || run(&["check-config", file]);
    let ok = check();
    assert_eq!((ok.status.code(), text(&ok.stdout)), (Some(0), format!("{file}: ok\n")), "{}", text(&ok.stderr));

    let root = laid.config.with_file_name("root.key");
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    mode(&root, 0o640);
    for refused in [check(), run(&["--config", file])] {
        let told = text(&refused.stderr);
        assert!(!refused.status.success() && told.contains("chmod 600"), "{told}");
    }
    mode(&root, 0o600);

    let key = laid.config.with_file_name("tls").join("server.key");
    let kept = fs::read(&key).expect("it is there");
    fs::write(&key, "no key").expect("it is ours");
    for (refused, code) in [(check(), 1), (run(&["--config", file]), 2)] {
        let told = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(code), "{told}");
        assert!(told.contains("server.key are no certificate and its key"), "{told}");
    }
    fs::write(&key, kept).expect("it is ours");

    let written = fs::read_to_string(&laid.config).expect("it is there");
    fs::write(&laid.config, written.replacen("127.0.0.1:0", "127.0.0.1:8123", 2)).expect("it is ours");
    let told = check();
    assert_eq!(told.status.code(), Some(1));
    assert!(text(&told.stderr).contains("127.0.0.1:8123 is that of [agents] already"), "{}", text(&told.stderr));
    fs::write(&laid.config, written.replace("skew_s", "skew_seconds")).expect("it is ours");
    for refused in [check(), run(&["--config", file])] {
        assert_eq!(refused.status.code(), Some(1));
        let told = text(&refused.stderr);
        assert!(told.contains("limits.skew_seconds: no such key") && told.contains("vaultd.toml:"), "{told}");
    }
}

#[tokio::test]
async fn who_answers_with_the_certificate_of_another_authority_is_no_vault_that_is_away() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (here, other) = (laid(&folder.path().join("here")), laid(&folder.path().join("other")));
    let daemon = Running::start(&["--config", here.config.to_str().expect("a UTF-8 path")]);
    let named = daemon.ready.split_whitespace().find_map(|word| word.strip_prefix("agents=https://127.0.0.1:"));
    let address = format!("https://127.0.0.1:{}", named.expect("it says where"));
    channel::open(&address, here.card.ca.as_deref()).await.expect("its own card's authority signed it");
    let fault = channel::open(&address, other.card.ca.as_deref()).await.expect_err("another's did not");
    assert!(matches!(fault, Fault::Untrusted(Untrusted::Tls { .. })), "{fault}");
    assert!(fault.to_string().contains("the card is old"), "{fault}");
}

#[test]
fn it_ends_in_order_when_told_to_and_begins_again() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let laid = laid(folder.path());
    let file = laid.config.to_str().expect("a UTF-8 path");
    let run_folder = laid.config.with_file_name("run");
    for signal in [Signal::TERM, Signal::INT] {
        let daemon = Running::start(&["--config", file]);
        for part in [" agents=https://127.0.0.1:", " agents=unix:/", " operators=unix:/", " http=http://127.0.0.1:"] {
            assert!(daemon.ready.contains(part), "no {part:?} in {}", daemon.ready);
        }
        let second = run(&["--config", file]);
        assert_eq!(second.status.code(), Some(2), "{}", text(&second.stderr));
        assert!(text(&second.stderr).contains("another process listens here"), "{}", text(&second.stderr));

        daemon.signal(signal);
        let (status, told) = daemon.end();
        assert_eq!(status.code(), Some(0), "{told}");
        assert!(told.contains("stopping") && told.contains("stopped"), "{told}");
        assert_eq!(fs::read_dir(&run_folder).expect("it is there").count(), 0, "the sockets are gone");
    }
}

#[test]
fn a_killed_daemon_leaves_nothing_in_the_way() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let laid = laid(folder.path());
    let file = laid.config.to_str().expect("a UTF-8 path");
    let daemon = Running::start(&["--config", file]);
    daemon.signal(Signal::KILL);
    assert_eq!(daemon.end().0.code(), None);
    let sockets = fs::read_dir(laid.config.with_file_name("run")).expect("it is there").count();
    assert_eq!(sockets, 2, "its sockets stayed");

    let again = Running::start(&["--config", file]);
    again.signal(Signal::TERM);
    assert_eq!(again.end().0.code(), Some(0));
}

#[test]
fn two_daemons_have_no_store_in_common() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let laid = laid(folder.path());
    let file = laid.config.to_str().expect("a UTF-8 path");
    // The same store, with sockets and ports of its own.
    let other = laid.config.with_file_name("other.toml");
    let written = fs::read_to_string(&laid.config).expect("it is there");
    assert!(written.contains("\"run/"), "{written}");
    fs::write(&other, written.replace("\"run/", "\"other/")).expect("it is ours");
    let other = other.to_str().expect("a UTF-8 path");

    let daemon = Running::start(&["--config", file]);
    for _ in 0..3 {
        let second = run(&["--config", other]);
        let told = text(&second.stderr);
        assert_eq!(second.status.code(), Some(2), "{told}");
        assert!(told.contains("another vaultd uses") && told.contains("stop it first"), "{told}");
    }
    // The lock goes with the process, however that ended.
    daemon.signal(Signal::KILL);
    assert_eq!(daemon.end().0.code(), None);
    let second = Running::start(&["--config", other]);
    second.signal(Signal::TERM);
    assert_eq!(second.end().0.code(), Some(0));
}

#[test]
fn what_it_makes_is_closed_to_others() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let laid = laid(folder.path());
    let daemon = Running::start(&["--config", laid.config.to_str().expect("a UTF-8 path")]);
    let data = laid.config.with_file_name("data");
    let mut paths: Vec<PathBuf> = vec![data.clone()];
    paths.extend(fs::read_dir(&data).expect("it is there").map(|entry| entry.expect("readable").path()));
    assert!(paths.len() > 2, "{paths:?}");
    for path in paths {
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} {mode:o}", path.display());
    }
    // No core file would hold its memory.
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.child.id())).expect("Linux tells");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("Linux tells");
    assert_eq!(core.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{core}");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end().0.code(), Some(0));
}

#[test]
fn dev_makes_a_vault_says_what_to_paste_and_takes_it_away() {
    let mut daemon = Running::start(&["dev"]);
    let mut told = String::new();
    while !told.contains("audit show") {
        assert!(daemon.out.read_line(&mut told).expect("it writes UTF-8") > 0, "{told}");
    }
    let value = |name: &str| {
        let line = told.lines().find_map(|line| line.trim().strip_prefix(&format!("export {name}=")));
        PathBuf::from(line.unwrap_or_else(|| panic!("no {name} in {told}")))
    };
    let (card, key) = (value("NOCKVAULT_CARD"), value("NOCKVAULT_OPERATOR_KEY"));
    let read = Card::read(&fs::read_to_string(&card).expect("the card is there")).expect("it is a card");
    assert!(daemon.ready.contains(&format!("agents={} ", read.agents)), "{} in {}", read.agents, daemon.ready);
    assert!(daemon.ready.contains(&format!("operators={} ", read.operators)), "{}", daemon.ready);
    nockvault::client::keyfile::read_secret(&key).expect("it is a key, closed to others");
    let secret = fs::read_to_string(&key).expect("it is ours");
    assert!(!told.contains(secret.trim()), "no key is printed");

    let folder = card.parent().expect("it lies in a folder").to_owned();
    assert_eq!(fs::metadata(&folder).expect("it is there").permissions().mode() & 0o777, 0o700);
    daemon.signal(Signal::INT);
    let (status, log) = daemon.end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!folder.exists(), "{log}");
}

#[test]
fn json_logs_are_json() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let laid = laid(folder.path());
    let written = fs::read_to_string(&laid.config).expect("it is there");
    let written = written.replace("format = \"human\"", "format = \"json\"").replace("\"info\"", "\"trace\"");
    fs::write(&laid.config, written).expect("it is ours");
    let daemon = Running::start(&["--config", laid.config.to_str().expect("a UTF-8 path")]);
    daemon.signal(Signal::TERM);
    let (status, told) = daemon.end();
    assert_eq!(status.code(), Some(0), "{told}");
    let lines: Vec<serde_json::Value> =
        told.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?} is no JSON"))).collect();
    assert!(lines.iter().any(|line| line["message"].as_str().is_some_and(|text| text.starts_with("ready "))), "{told}");
    assert!(lines.iter().all(|line| line["timestamp"].is_string() && line["level"].is_string()), "{told}");
}
