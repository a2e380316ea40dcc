//! `vaultctl backup` and `vaultctl restore` as people use them, with real programs: under load, killed in the middle, and
//! with the wrong file, key or folder.

#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test stops where what it stands on is not there")]

mod programs;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use programs::{Said, Vault, example, program, said};
use serde_json::Value;

/// How long requests of before are refused, in these tests.
const SKEW: &str = "skew_s = 5";

fn quick(config: String) -> String {
    let line = config.lines().find(|line| line.contains("skew_s =")).unwrap().to_owned();
    config.replace(&line, SKEW)
}

fn restore(vault: &Vault, more: &[&str]) -> Said {
    let wanted = ["restore", "--file", "prod.backup", "--root-key", "vault/root.key", "--dir", "again"];
    let listen = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    vault.vaultctl(&[&wanted[..], &listen[..], more].concat())
}

/// A program that ends with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program that stands still at this step, and waits until it is there.
fn until(command: &mut Command, step: &str) -> Running {
    let mut running = Running(command.env("NOCKVAULT_FAILPOINT", step).stderr(Stdio::piped()).spawn().unwrap());
    let errors = BufReader::new(running.0.stderr.take().unwrap());
    let reached = errors.lines().map_while(Result::ok).any(|line| line == format!("failpoint {step}"));
    assert!(reached, "{step} was not reached");
    running
}

/// The daemon of the restored vault, and how it said that it is ready.
fn begin(vault: &Vault) -> (Running, String) {
    let mut command = program(env!("CARGO_BIN_EXE_vaultd"), vault.path());
    let started = command.args(["--config", "again/vaultd.toml"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut daemon = Running(started.unwrap());
    let mut ready = String::new();
    BufReader::new(daemon.0.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    (daemon, ready)
}

/// The daemon of the restored vault, and a card that leads to it.
fn serve(vault: &Vault) -> (Running, String) {
    let config = vault.path().join("again/vaultd.toml");
    fs::write(&config, quick(fs::read_to_string(&config).unwrap())).unwrap();
    let (daemon, ready) = begin(vault);
    let agents = ready.split_whitespace().find_map(|part| part.strip_prefix("agents=https")).unwrap();
    let card = vault.path().join("again/prod.card");
    let text = fs::read_to_string(&card).unwrap();
    let line = text.lines().find(|line| line.starts_with("agents")).unwrap().to_owned();
    fs::write(&card, text.replace(&line, &format!("agents = \"https{agents}\""))).unwrap();
    (daemon, card.to_str().unwrap().to_owned())
}

fn ask(folder: &Path, card: &str, more: &[&str]) -> Said {
    let mut command = program(example("request_credential"), folder);
    said(command.args(["--vault", card, "--reveal"]).args(more))
}

/// What a command says once the window of accepted clocks has passed.
fn patiently(run: impl Fn() -> Said) -> Said {
    for _ in 0..60 {
        let said = run();
        if said.code != 2 || !said.err.contains("stale") {
            return said;
        }
        thread::sleep(Duration::from_millis(250));
    }
    panic!("it is stale for ever");
}

#[test]
fn a_backup_made_under_load_becomes_a_vault_that_serves_and_verifies() {
    let mut vault = Vault::start();
    vault.with_kit("hunter2");
    let card = vault.card().to_str().unwrap().to_owned();
    ask(vault.path(), &card, &[]).ok();
    let (stop, given) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let load: Vec<_> = (0..2)
        .map(|_| {
            let (stop, given, card) = (Arc::clone(&stop), Arc::clone(&given), card.clone());
            let folder = vault.path().to_owned();
            thread::spawn(move || {
                while !stop.load(Ordering::Acquire) {
                    ask(&folder, &card, &[]).ok();
                    given.fetch_add(1, Ordering::AcqRel);
                }
            })
        })
        .collect();
    let wait = |more: u64| {
        let goal = given.load(Ordering::Acquire) + more;
        while given.load(Ordering::Acquire) < goal {
            thread::sleep(Duration::from_millis(20));
        }
    };
    wait(2);
    let made: Value =
        serde_json::from_str(&vault.vaultctl(&["backup", "--file", "prod.backup", "-o", "json"]).ok()).unwrap();
    wait(3);
    stop.store(true, Ordering::Release);
    load.into_iter().for_each(|load| load.join().unwrap());
    vault.vaultctl(&["audit", "export", "kit", "--file", "lost.jsonl"]).ok();
    let file = fs::read(vault.path().join("prod.backup")).unwrap();
    assert_eq!(made["bytes"], file.len());
    let key = fs::read(vault.path().join("vault/tls/server.key")).unwrap();
    for secret in [b"hunter2".as_slice(), b"orders-read", &key[..64]] {
        assert!(!file.windows(secret.len()).any(|part| part == secret), "the backup shows a secret");
    }
    let again = vault.vaultctl(&["backup", "--file", "prod.backup"]).fails(1);
    assert!(again.contains("is there already"), "{again}");
    vault.kill();

    let told: Value = serde_json::from_str(&restore(&vault, &["-o", "json"]).ok()).unwrap();
    assert_eq!((&told["number"], &told["chains"]), (&1.into(), &3.into()));
    assert_eq!(told["backup_entry"], made["entry"]);
    let (_daemon, card) = serve(&vault);
    // The certificate that agents know, and the whole answer: first that it is too early, then that it was restored.
    let refused = patiently(|| ask(vault.path(), &card, &[])).fails(2);
    assert!(refused.contains("restored") && !refused.contains("not signed"), "{refused}");
    assert_eq!(ask(vault.path(), &card, &["--accept-restore"]).ok(), "hunter2\n");
    assert_eq!(ask(vault.path(), &card, &[]).ok(), "hunter2\n");
    let kept = fs::read_dir(vault.path().join(".local/state/nockvault")).unwrap().next().unwrap().unwrap().path();
    let evidence = |file: &fs::DirEntry| file.file_name().to_string_lossy().starts_with("kit.seen.lost-");
    assert_eq!(fs::read_dir(kept).unwrap().filter(|file| evidence(file.as_ref().unwrap())).count(), 1);

    let ctl = |arguments: &[&str]| vault.vaultctl(&[&["--vault", &card], arguments].concat());
    let status: Value = serde_json::from_str(&ctl(&["status", "-o", "json"]).ok()).unwrap();
    assert_eq!((&status["restores"], &status["rehearsal"]), (&1.into(), &false.into()));
    ctl(&["revoke", "kit", "orders-read"]).ok();
    ctl(&["audit", "export", "--all", "--dir", "chains"]).ok();
    let mut verify = program(env!("CARGO_BIN_EXE_vault-verify"), vault.path());
    let report = said(verify.args(["--vault", "vault/prod.card", "chains"])).ok();
    assert_eq!(report.matches(": intact").count(), 3, "{report}");
    assert_eq!(report.matches("BETWEEN A BACKUP AND ITS RESTORE").count(), 3, "{report}");
    let mut lost = program(env!("CARGO_BIN_EXE_vault-verify"), vault.path());
    let both = said(lost.args(["--vault", "vault/prod.card", "lost.jsonl", "chains/kit.audit.jsonl"])).ok();
    assert!(both.contains("two branches of one chain") && both.contains("restore number 1"), "{both}");
    let origins = ctl(&["keys", "export", "--witness"]).ok();
    assert!(origins.contains("prod/kit~1+"), "{origins}");
}

#[test]
fn an_agent_goes_on_with_a_restored_vault_by_one_command_of_its_owner() {
    let mut vault = Vault::start();
    vault.with_kit("hunter2");
    let folder = vault.path().to_owned();
    let agent = |card: &str, arguments: &[&str]| {
        let mut command = program(env!("CARGO_BIN_EXE_vault-agent"), &folder);
        said(command.args(["--agent", "kit", "--vault", card]).args(arguments))
    };
    let of_now = vault.card().to_str().unwrap().to_owned();
    vault.vaultctl(&["backup", "--file", "prod.backup"]).ok();
    assert_eq!(agent(&of_now, &["get", "orders-read"]).ok(), "hunter2\n");
    let nothing = agent(&of_now, &["accept-restore"]);
    assert!(nothing.code == 0 && nothing.err.contains("nothing to accept"), "{nothing:?}");
    vault.kill();
    restore(&vault, &[]).ok();
    let (_daemon, card) = serve(&vault);
    let refused = patiently(|| agent(&card, &["get", "orders-read"])).fails(2);
    assert!(refused.contains("restored") && refused.contains("vault-agent accept-restore --agent kit"), "{refused}");
    let accepted = agent(&card, &["accept-restore"]);
    assert!(accepted.code == 0 && accepted.err.contains("is kept as evidence"), "{accepted:?}");
    assert_eq!(agent(&card, &["get", "orders-read"]).ok(), "hunter2\n");
}

#[test]
fn a_rehearsal_leads_nobody_to_the_real_vault_and_says_what_it_is() {
    let vault = Vault::start();
    vault.with_kit("hunter2");
    vault.vaultctl(&["backup", "--file", "prod.backup"]).ok();
    vault.vaultctl(&["keygen", "--operator", "mara"]).ok();
    let wanted = ["restore", "--file", "prod.backup", "--root-key", "vault/root.key", "--dir", "again", "--rehearsal"];
    let told = vault.vaultctl(&wanted);
    let card = vault.path().join("again/prod.card").to_str().unwrap().to_owned();
    assert!(told.code == 0 && told.err.contains("This is a rehearsal of the vault prod"), "{told:?}");
    assert!(!told.err.contains("is stopped") && !told.err.contains("to be done again"), "{told:?}");
    let command = told.err.lines().find_map(|line| line.trim_start().strip_prefix("vaultctl ")).unwrap();
    let status: Vec<&str> = command.split_whitespace().take_while(|word| *word != "answered").collect();

    // Beside the real one, which is still there: on free ports of its own, and its card leads there.
    let (daemon, ready) = begin(&vault);
    let agents = ready.split_whitespace().find(|part| part.starts_with("agents=https")).unwrap();
    let leads = format!("agents = \"{}\"", agents.strip_prefix("agents=").unwrap());
    assert!(fs::read_to_string(&card).unwrap().contains(&leads), "{ready}");
    assert!(!fs::read_to_string(vault.card()).unwrap().contains(&leads));
    let early = vault.vaultctl(&status).fails(2);
    assert!(early.contains("restored from a backup") && early.contains("wait until then"), "{early}");
    let unsaid = vault.vaultctl(&["--vault", &card, "status"]).fails(1);
    assert!(unsaid.contains("NOCKVAULT_OPERATOR=NAME") && !unsaid.contains("context use"), "{unsaid}");

    let mut second = program(env!("CARGO_BIN_EXE_vaultd"), vault.path());
    let taken = said(second.args(["--config", "again/vaultd.toml"])).fails(2);
    assert!(taken.contains("again/vaultd.toml: [http] listen: 127.0.0.1:") && taken.contains("is taken"), "{taken}");

    // An agent's own account that talked to it all the same.
    ask(vault.path(), &card, &[]).fails(2);
    drop(daemon);
    let real = vault.card().to_str().unwrap().to_owned();
    let refused = ask(vault.path(), &real, &[]).fails(1);
    let seen = refused.split("put ").nth(1).and_then(|rest| rest.split(" aside").next()).unwrap();
    assert!(refused.contains("rehearsal") && seen.ends_with("kit.seen"), "{refused}");
    fs::rename(seen, vault.path().join("aside")).unwrap();
    assert_eq!(ask(vault.path(), &real, &[]).ok(), "hunter2\n");
}

#[test]
fn a_card_leads_where_the_restored_vault_was_told_to_listen() {
    let mut vault = Vault::start();
    vault.with_kit("hunter2");
    vault.vaultctl(&["backup", "--file", "prod.backup"]).ok();
    vault.kill();
    let before = fs::read_to_string(vault.card()).unwrap();
    let agents = |card: &str| card.lines().find(|line| line.starts_with("agents")).unwrap().to_owned();
    let card = |dir: &str, listen: &[&str]| {
        let wanted = ["restore", "--file", "prod.backup", "--root-key", "vault/root.key", "--dir", dir];
        vault.vaultctl(&[&wanted, listen].concat()).ok();
        agents(&fs::read_to_string(vault.path().join(dir).join("prod.card")).unwrap())
    };
    let there = "agents = \"https://127.0.0.1:9540\"";
    assert_eq!(card("there", &["--listen", "127.0.0.1:9540"]), there);
    assert_eq!(card("tried", &["--listen", "127.0.0.1:9540", "--rehearsal"]), there);
    assert_eq!(card("any", &["--listen", "0.0.0.0:9540", "--rehearsal"]), "agents = \"https://localhost:9540\"");
    assert_eq!(card("usual", &[]), agents(&before));
}

#[test]
fn a_kill_in_the_middle_of_a_backup_or_a_restore_leaves_nothing_half_true() {
    let mut vault = Vault::start();
    vault.with_kit("hunter2");
    for step in ["backup: copied", "backup: a part given out"] {
        vault.kill();
        vault.go_on_until(step);
        let failed = thread::scope(|scope| {
            let run = scope.spawn(|| vault.vaultctl(&["backup", "--file", "prod.backup"]));
            let log = || fs::read_to_string(vault.log()).unwrap().contains(&format!("failpoint {step}"));
            while !log() {
                thread::sleep(Duration::from_millis(20));
            }
            rustix::process::kill_process(
                rustix::process::Pid::from_raw(vault.id().try_into().unwrap()).unwrap(),
                rustix::process::Signal::KILL,
            )
            .unwrap();
            run.join().unwrap()
        });
        assert_ne!(failed.code, 0, "{failed:?}");
        for left in ["prod.backup", "prod.backup.part"] {
            assert!(!vault.path().join(left).exists(), "{left} after {step}");
        }
        vault.kill();
        vault.go_on();
        assert!(!vault.path().join("vault/data/backup.copy").exists());
    }
    vault.vaultctl(&["backup", "--file", "prod.backup"]).ok();
    let show = ["audit", "show", "_operators", "--kind", "command", "--field", "body.command.payload.typ"];
    assert_eq!(vault.vaultctl(&show).ok().matches("nockvault/backup").count(), 3, "each was commanded");
    vault.kill();

    let wanted = ["restore", "--file", "prod.backup", "--root-key", "vault/root.key", "--dir", "again"];
    for (step, there) in [("restore: checked", false), ("restore: written", true), ("restore: marked", true)] {
        let mut command = program(env!("CARGO_BIN_EXE_vaultctl"), vault.path());
        drop(until(command.args(wanted), step));
        let folder = vault.path().join("again");
        assert_eq!(folder.exists(), there, "{step}");
        if there {
            assert!(!folder.join("vaultd.toml").exists() && !folder.join("data/vault.db").exists(), "{step}");
            let refused = vault.vaultctl(&wanted).fails(1);
            assert!(refused.contains("is there already"), "{refused}");
            fs::remove_dir_all(folder).unwrap();
        }
    }
    restore(&vault, &[]).ok();
    serve(&vault);
}

#[test]
fn a_wrong_file_key_card_or_folder_becomes_no_vault() {
    let mut vault = Vault::start();
    vault.with_kit("hunter2");
    vault.vaultctl(&["backup", "--file", "prod.backup"]).ok();
    vault.kill();
    let at = |name: &str| vault.path().join(name);
    let never = |said: Said, why: &str| {
        let err = said.fails(1);
        assert!(err.contains(why), "{err}");
        assert!(!at("again").exists(), "{err}");
    };
    let whole = fs::read(at("prod.backup")).unwrap();
    let mut changed = whole.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    for (bytes, why) in
        [(&whole[..whole.len() - 9], "breaks off"), (&changed, "changed"), (&b"hello".repeat(9), "no backup")]
    {
        fs::write(at("prod.backup"), bytes).unwrap();
        never(restore(&vault, &[]), why);
    }
    fs::write(at("prod.backup"), &whole).unwrap();
    let key = fs::read(at("vault/root.key")).unwrap();
    let other: Vec<u8> = key.iter().map(|byte| byte ^ 1).collect();
    fs::write(at("vault/root.key"), other).unwrap();
    never(restore(&vault, &[]), "the root key is not the one");
    fs::write(at("vault/root.key"), key).unwrap();
    let elsewhere = Vault::start();
    let card = elsewhere.card().to_str().unwrap().to_owned();
    never(restore(&vault, &["--vault", &card]), "is of the vault");
    fs::create_dir(at("again")).unwrap();
    assert!(restore(&vault, &[]).fails(1).contains("writes over nothing"));
    assert_eq!(fs::read_dir(at("again")).unwrap().count(), 0);
}
