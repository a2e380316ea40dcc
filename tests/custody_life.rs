//! Each kind of custody through a vault's whole life, with real programs: made, started, unsealed, both keys rotated, started
//! again, sealed, its record tampered with, and moved to another custodian. What people type is typed, at a terminal.

#![cfg(all(feature = "daemon", feature = "launcher"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod programs;
mod terminal;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use programs::{Said, Vault, example, program, said};
use terminal::Terminal;

const SECRET: &str = "hunter2-of-the-orders";

/// How a custodian gives its secret to `vaultctl unseal`: arguments, and what is typed at which question.
#[derive(Clone, Debug, Default)]
struct Given {
    arguments: Vec<String>,
    typed: Vec<(String, String)>,
}

impl Given {
    fn by(arguments: &[&str]) -> Given {
        Given { arguments: arguments.iter().map(|word| (*word).to_owned()).collect(), typed: Vec::new() }
    }

    fn typed(steps: &[(&str, &str)]) -> Given {
        let typed = steps.iter().map(|(question, line)| ((*question).to_owned(), (*line).to_owned())).collect();
        Given { arguments: Vec::new(), typed }
    }
}

/// A kind of custodian.
struct Kind {
    name: &'static str,
    /// Whether the daemon comes by the secret itself.
    opens_by_itself: bool,
    right: Given,
    wrong: Given,
    /// What the daemon and `vaultctl` find around them.
    around: Vec<(&'static str, String)>,
}

impl Kind {
    fn around(&self) -> Vec<(&str, &str)> {
        self.around.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }

    fn vaultctl(&self, folder: &Path) -> Command {
        let mut vaultctl = program(env!("CARGO_BIN_EXE_vaultctl"), folder);
        vaultctl.envs(self.around());
        vaultctl
    }

    /// What was said, and how it ended.
    fn unseal(&self, vault: &Vault, given: &Given) -> (String, i32) {
        let mut unseal = self.vaultctl(vault.path());
        unseal.arg("unseal").args(&given.arguments);
        if given.typed.is_empty() {
            let Said { code, out, err } = said(&mut unseal);
            return (out + &err, code);
        }
        let steps: Vec<_> = given.typed.iter().map(|(question, line)| (question.as_str(), line.as_str())).collect();
        let Terminal { seen, code } = Terminal::run(&unseal, &steps);
        for (_, line) in &given.typed {
            assert!(line.is_empty() || !seen.contains(line.as_str()), "what was typed was shown");
        }
        (seen, code)
    }

    /// The wrong secret opens nothing, and the right one does.
    fn open(&self, vault: &Vault) {
        let (told, code) = self.unseal(vault, &self.wrong);
        // Who has typed no share that is one leaves it to others, which is no failure.
        assert!(code != 0 || told.contains("0 of 2"), "{}: a wrong secret was taken: {told}", self.name);
        assert!(!serves(vault), "{}: a wrong secret opened the vault", self.name);
        // A wrong secret costs a second.
        thread::sleep(Duration::from_millis(1100));
        let (told, code) = self.unseal(vault, &self.right);
        assert_eq!(code, 0, "{}: {told}", self.name);
        assert!(serves(vault), "{}", self.name);
    }
}

fn serves(vault: &Vault) -> bool {
    let status = vault.vaultctl(&["status", "-o", "json"]);
    assert!(status.code == 0 || status.code == 2, "{status:?}");
    status.code == 0
}

fn agent_gets_it(vault: &Vault) {
    let card = vault.card();
    let mut ask = program(example("request_credential"), vault.path());
    let got = said(ask.arg("--vault").arg(card).arg("--reveal")).ok();
    assert!(got.contains(SECRET), "{got}");
}

/// What `vaultctl init` makes here, and what it said.
fn made(kind: &Kind, folder: &Path, arguments: &[&str], steps: &[(&str, &str)]) -> String {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).unwrap().port();
    let mut init = kind.vaultctl(folder);
    init.args(["init", "--name", "prod", "--dir", "vault", "--http", "127.0.0.1:0", "--listen"]);
    init.arg(format!("127.0.0.1:{port}")).args(["--custody", kind.name]).args(arguments);
    Terminal::run(&init, steps).ends(0)
}

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("nv").tempdir().unwrap()
}

fn private(path: impl AsRef<Path>, bytes: &[u8]) -> PathBuf {
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.as_ref().to_owned()
}

/// From its first start to another custodian.
fn lives(kind: &Kind, folder: tempfile::TempDir) {
    let mut vault = Vault::standing_in(folder, &kind.around());
    let begins_sealed = |vault: &Vault| vault.ready.trim_end().ends_with(" sealed");
    assert_eq!(begins_sealed(&vault), !kind.opens_by_itself, "{}: {}", kind.name, vault.ready);
    if begins_sealed(&vault) {
        kind.open(&vault);
    }
    vault.with_kit(SECRET);
    agent_gets_it(&vault);
    vault.vaultctl(&["custody", "rotate"]).ok();
    vault.vaultctl(&["key", "rotate", "data"]).ok();
    vault.vaultctl(&["key", "rotation", "--wait"]).ok();
    agent_gets_it(&vault);

    vault.kill();
    vault.go_on_with(&kind.around());
    if begins_sealed(&vault) {
        kind.open(&vault);
    }
    agent_gets_it(&vault);

    vault.vaultctl(&["seal", "--reason", "a test"]).ok();
    assert!(!serves(&vault));
    vault.kill();
    vault.go_on_with(&kind.around());
    assert!(begins_sealed(&vault), "{}: a seal did not survive the restart", kind.name);
    kind.open(&vault);
    agent_gets_it(&vault);

    tampered(kind, &mut vault);
    moved(kind, &mut vault);
}

/// A record that somebody wrote into opens nothing, and put back it opens again.
fn tampered(kind: &Kind, vault: &mut Vault) {
    vault.vaultctl(&["seal", "--reason", "a test"]).ok();
    vault.kill();
    let database = || rusqlite::Connection::open(vault.path().join("vault/data/vault.db")).unwrap();
    let sealed: Vec<u8> = database().query_row("SELECT sealed FROM custodians", [], |row| row.get(0)).unwrap();
    let other: Vec<u8> = sealed.iter().map(|byte| byte ^ 1).collect();
    database().execute("UPDATE custodians SET sealed = ?1", [other]).unwrap();
    vault.go_on_with(&kind.around());
    let mut given = kind.right.clone();
    if kind.name == "shares" {
        // It asks on, until nobody has another.
        given.typed.push(("share of shares (".to_owned(), String::new()));
    }
    let (told, code) = kind.unseal(vault, &given);
    assert!(code != 0 || told.contains("custody_refused"), "{}: {told}", kind.name);
    assert!(!serves(vault), "{}: a record that was changed opened the vault: {told}", kind.name);
    vault.kill();
    let database = rusqlite::Connection::open(vault.path().join("vault/data/vault.db")).unwrap();
    database.execute("UPDATE custodians SET sealed = ?1", [sealed]).unwrap();
    drop(database);
    vault.go_on_with(&kind.around());
    kind.open(vault);
}

/// To a file, while it serves; what opened it before is worth nothing then.
fn moved(kind: &Kind, vault: &mut Vault) {
    vault.vaultctl(&["custody", "add", "spare", "--custody", "file", "--root-key", "spare.key"]).ok();
    agent_gets_it(vault);
    let removed = vault.vaultctl(&["custody", "remove", kind.name]);
    assert_eq!(removed.code, 0, "{removed:?}");
    let warned = removed.err.contains("WARNING") && removed.err.contains(&format!("{} opened this daemon", kind.name));
    assert_eq!(warned, kind.opens_by_itself, "{}: {}", kind.name, removed.err);
    let config = vault.path().join("vault/vaultd.toml");
    let text = fs::read_to_string(&config).unwrap();
    let line = text.lines().find(|line| line.starts_with("custody = ")).unwrap();
    fs::write(&config, text.replace(line, "custody = { file = \"../spare.key\" }")).unwrap();
    vault.kill();
    vault.go_on();
    assert!(!vault.ready.trim_end().ends_with(" sealed"), "{}: {}", kind.name, vault.ready);
    agent_gets_it(vault);
    vault.vaultctl(&["seal", "--reason", "a test"]).ok();
    let (told, code) = kind.unseal(vault, &kind.right);
    assert!(code != 0 && !serves(vault), "{}: who was put out opened the vault: {told}", kind.name);
    thread::sleep(Duration::from_millis(1100));
    vault.vaultctl(&["unseal", "--root-key", "spare.key"]).ok();
    agent_gets_it(vault);
    vault.vaultctl(&["audit", "verify", "--all"]).ok();
}

#[test]
fn a_file() {
    let folder = folder();
    private(folder.path().join("wrong.key"), &[7; 32]);
    let kind = Kind {
        name: "file",
        opens_by_itself: true,
        right: Given::by(&["--root-key", "root.key"]),
        wrong: Given::by(&["--root-key", "wrong.key"]),
        around: Vec::new(),
    };
    made(&kind, folder.path(), &["--root-key", "root.key"], &[]);
    lives(&kind, folder);
}

#[test]
fn a_passphrase_that_is_typed() {
    let (folder, typed) = (folder(), "correct horse battery staple");
    let kind = Kind {
        name: "passphrase",
        opens_by_itself: false,
        right: Given::typed(&[("passphrase of passphrase: ", typed)]),
        wrong: Given::typed(&[("passphrase of passphrase: ", "correct horse battery stable")]),
        around: Vec::new(),
    };
    let seen = made(&kind, folder.path(), &[], &[("passphrase: ", typed), ("once more: ", typed)]);
    assert!(!seen.contains(typed), "what was typed was shown");
    lives(&kind, folder);
}

#[test]
fn shares_that_are_typed() {
    let folder = folder();
    let mut kind = Kind {
        name: "shares",
        opens_by_itself: false,
        right: Given::default(),
        wrong: Given::default(),
        around: Vec::new(),
    };
    let seen = made(&kind, folder.path(), &["--shares", "3", "--threshold", "2"], &[]);
    let shares: Vec<&str> = seen.lines().map(str::trim).filter(|line| line.starts_with("nockvault-share")).collect();
    assert_eq!(shares.len(), 3, "{seen}");
    // Mistyped in one place, twice the same, and then two that are enough.
    let mut mistyped = shares[0].to_owned();
    let last = mistyped.pop().unwrap();
    mistyped.push(if last == '7' { '6' } else { '7' });
    let none = "share of shares (0 of 2 given";
    let one = "share of shares (1 of 2 given";
    kind.right = Given::typed(&[(none, &mistyped), (none, shares[2]), (one, shares[2]), (one, shares[0])]);
    kind.wrong = Given::typed(&[(none, &mistyped), (none, "")]);
    lives(&kind, folder);
}

#[test]
fn a_credential_of_the_unit() {
    let folder = folder();
    let credentials = folder.path().join("credentials");
    fs::create_dir(&credentials).unwrap();
    private(folder.path().join("wrong.key"), &[7; 32]);
    let kind = Kind {
        name: "credential",
        opens_by_itself: true,
        right: Given::by(&["--root-key", "credentials/nv-root"]),
        wrong: Given::by(&["--root-key", "wrong.key"]),
        around: vec![("CREDENTIALS_DIRECTORY", credentials.display().to_string())],
    };
    made(&kind, folder.path(), &["--credential", "nv-root", "--root-key", "credentials/nv-root"], &[]);
    lives(&kind, folder);
}

#[test]
fn a_program_that_prints_it() {
    let folder = folder();
    let path = private(folder.path().join("secret"), "5e".repeat(32).as_bytes()).display().to_string();
    let wrong = private(folder.path().join("wrong"), "5f".repeat(32).as_bytes()).display().to_string();
    let kind = Kind {
        name: "command",
        opens_by_itself: true,
        right: Given::by(&["--custody-command", "cat", &path]),
        wrong: Given::by(&["--custody-command", "cat", &wrong]),
        around: Vec::new(),
    };
    made(&kind, folder.path(), &["--custody-command", "cat", &path], &[]);
    lives(&kind, folder);
}

/// SoftHSM's library, where the system puts it.
fn softhsm() -> &'static str {
    let places = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"];
    places.into_iter().find(|path| Path::new(path).exists()).expect("softhsm2 is installed; see .ci/deps")
}

#[test]
fn a_token() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name).display().to_string();
    fs::create_dir(at("tokens")).unwrap();
    fs::write(at("softhsm2.conf"), format!("directories.tokendir = {}\n", at("tokens"))).unwrap();
    let config = at("softhsm2.conf");
    let mut token = program("softhsm2-util", folder.path());
    for (label, pin) in [("prod", "1234"), ("other", "5678")] {
        let init = ["--init-token", "--free", "--label", label, "--so-pin", "87654321", "--pin", pin];
        said(token.env("SOFTHSM2_CONF", &config).args(init)).ok();
        token = program("softhsm2-util", folder.path());
        private(at(&format!("{label}.pin")), pin.as_bytes());
    }
    let of = |label: &str| {
        let pin = format!("{label}.pin");
        ["--pkcs11-module", softhsm(), "--pkcs11-token", label, "--pin-file", &pin].map(str::to_owned).to_vec()
    };
    let mut wrong = of("prod");
    wrong[5] = "other.pin".to_owned();
    let kind = Kind {
        name: "pkcs11",
        opens_by_itself: true,
        right: Given { arguments: of("prod"), typed: Vec::new() },
        wrong: Given { arguments: wrong, typed: Vec::new() },
        around: vec![("SOFTHSM2_CONF", config.clone())],
    };
    let arguments = of("prod");
    made(&kind, folder.path(), &arguments.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    lives(&kind, folder);
}
