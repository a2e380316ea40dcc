//! Custody of the root key with real programs: every kind of custodian, several at once, from one to another while the vault
//! serves, killed in the middle, and a database that somebody wrote into.

#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod programs;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use nockvault::crypto::hpke::SealSecretKey;
use nockvault::entropy::OsEntropy;
use nockvault::seal::custody::file;
use nockvault::store::sqlite::Sqlite;
use programs::{Said, Vault, fed, program, said};
use serde_json::Value;

const PASSPHRASE: &str = "correct horse battery staple";

/// A program that ends with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn custodians(vault: &Vault) -> Vec<(String, u64)> {
    let listed = vault.vaultctl(&["custody", "list", "-o", "json"]).ok();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let one = |item: &Value| (item["custodian"].as_str().unwrap().to_owned(), item["root"].as_u64().unwrap());
    listed.as_array().or_else(|| listed["items"].as_array()).unwrap().iter().map(one).collect()
}

fn names(vault: &Vault) -> Vec<String> {
    custodians(vault).into_iter().map(|(name, _)| name).collect()
}

fn opened_by(vault: &Vault, custody: &str) {
    let path = vault.path().join("vault/vaultd.toml");
    let text = fs::read_to_string(&path).unwrap();
    let line = text.lines().find(|line| line.starts_with("custody = ")).unwrap().to_owned();
    fs::write(&path, text.replace(&line, &format!("custody = {custody}"))).unwrap();
}

/// What a daemon says that does not start.
fn refused(vault: &Vault) -> String {
    said(program(env!("CARGO_BIN_EXE_vaultd"), vault.path()).args(["--config", "vault/vaultd.toml"])).fails(2)
}

fn add_file(vault: &Vault, name: &str) -> Said {
    let file = format!("{name}.key");
    vault.vaultctl(&["custody", "add", name, "--custody", "file", "--root-key", &file])
}

/// A file for this user alone.
fn private(path: impl AsRef<Path>, text: &str) {
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn database(vault: &Vault) -> rusqlite::Connection {
    rusqlite::Connection::open(vault.path().join("vault/data/vault.db")).unwrap()
}

#[test]
fn a_vault_goes_from_one_custodian_to_another_while_it_serves() {
    let mut vault = Vault::start();
    vault.with_kit("hunter2");
    assert_eq!(custodians(&vault), [("file".to_owned(), 1)]);
    assert!(vault.vaultctl(&["custody", "remove", "file"]).fails(2).contains("last custodian"));
    let root = fs::read(vault.path().join("vault/root.key")).unwrap();

    add_file(&vault, "spare").ok();
    assert!(add_file(&vault, "spare").fails(1).contains("exists already"), "a file was written over");
    fs::rename(vault.path().join("spare.key"), vault.path().join("kept.key")).unwrap();
    assert!(add_file(&vault, "spare").fails(2).contains("name"));
    assert!(!vault.path().join("spare.key").exists(), "a key that opens nothing was left");
    fs::rename(vault.path().join("kept.key"), vault.path().join("spare.key")).unwrap();
    assert_eq!(custodians(&vault), [("file".to_owned(), 2), ("spare".to_owned(), 2)]);
    vault.restart();
    vault.vaultctl(&["custody", "rotate"]).ok();
    assert_eq!(custodians(&vault), [("file".to_owned(), 3), ("spare".to_owned(), 3)]);
    assert_eq!(fs::read(vault.path().join("vault/root.key")).unwrap(), root, "a rotation needs nobody's secret");
    vault.restart();

    opened_by(&vault, "{ file = \"../spare.key\" }");
    vault.restart();
    vault.vaultctl(&["custody", "remove", "file"]).ok();
    assert!(vault.vaultctl(&["custody", "remove", "file"]).fails(2).contains("no such custodian"));
    vault.restart();
    assert_eq!(custodians(&vault), [("spare".to_owned(), 4)]);
    vault.kill();
    opened_by(&vault, "{ file = \"root.key\" }");
    assert!(refused(&vault).contains("no custodian's of this vault (spare: file)"));
    opened_by(&vault, "{ file = \"../spare.key\" }");
    vault.go_on();
    let operators = vault.vaultctl(&["audit", "show", "_operators", "-o", "json"]).ok();
    for told in ["nockvault/custody_add", "nockvault/custody_rotate", "nockvault/custody_remove", "spare"] {
        assert!(operators.contains(told), "{told} does not stand in _operators");
    }
    vault.vaultctl(&["audit", "verify", "_operators"]).ok();
}

#[test]
fn a_kill_in_the_middle_of_a_change_leaves_a_vault_that_opens() {
    let mut vault = Vault::start();
    add_file(&vault, "spare").ok();
    let mut root = 2;
    for (command, after) in [
        (&["custody", "rotate"][..], &["file", "spare"][..]),
        (&["custody", "add", "third", "--custody", "file", "--root-key", "third.key"], &["file", "spare", "third"]),
        (&["custody", "remove", "third"], &["file", "spare"]),
    ] {
        for (step, done) in [("custody: sealed", false), ("custody: wrapped", false), ("operate: carried", true)] {
            let before = names(&vault);
            vault.kill();
            let _ = fs::remove_file(vault.path().join("third.key.old"));
            if command.contains(&"add") && vault.path().join("third.key").exists() {
                fs::rename(vault.path().join("third.key"), vault.path().join("third.key.old")).unwrap();
            }
            vault.go_on_until(step);
            let log = BufReader::new(fs::File::open(vault.log()).unwrap()).lines().count();
            let mut vaultctl = program(env!("CARGO_BIN_EXE_vaultctl"), vault.path());
            let _waiting = Running(vaultctl.args(command).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
            let reached = (0..500).any(|_| {
                std::thread::sleep(std::time::Duration::from_millis(20));
                let lines = BufReader::new(fs::File::open(vault.log()).unwrap()).lines();
                lines.skip(log).map_while(Result::ok).any(|line| line == format!("failpoint {step}"))
            });
            assert!(reached, "{step} was not reached");
            vault.kill();
            root += u64::from(done);
            let keys: &[&str] = if done && after.contains(&"third") {
                &["root.key", "../spare.key", "../third.key"]
            } else {
                &["root.key", "../spare.key"]
            };
            for key in keys {
                opened_by(&vault, &format!("{{ file = \"{key}\" }}"));
                vault.go_on();
                assert_eq!(
                    names(&vault),
                    if done { after.to_vec() } else { before.iter().map(String::as_str).collect() }
                );
                assert!(custodians(&vault).iter().all(|(_, at)| *at == root), "{step}: {:?}", custodians(&vault));
                vault.kill();
            }
            opened_by(&vault, "{ file = \"root.key\" }");
            vault.go_on();
        }
    }
}

#[test]
fn root_keys_and_data_keys_are_rotated_in_any_order() {
    let mut vault = Vault::start();
    vault.with_kit("hunter2");
    let rotations: [&[&str]; 7] = [
        &["key", "rotate", "data"],
        &["custody", "rotate"],
        &["custody", "add", "spare", "--custody", "file", "--root-key", "spare.key"],
        &["key", "rotate", "data"],
        &["key", "rotate", "data"],
        &["custody", "rotate"],
        &["custody", "remove", "file"],
    ];
    for (done, rotation) in (1..).zip(rotations) {
        // No waiting: the rows of older keys are still being covered anew.
        vault.vaultctl(rotation).ok();
        assert!(custodians(&vault).iter().all(|(_, root)| *root == done + 1), "{rotation:?}");
    }
    vault.kill();
    opened_by(&vault, "{ file = \"../spare.key\" }");
    vault.go_on();
    let told: Value = serde_json::from_str(&vault.vaultctl(&["key", "rotation", "--wait", "-o", "json"]).ok()).unwrap();
    assert_eq!((&told["epoch"], &told["left"]), (&4.into(), &0.into()), "{told}");
    let mut ask = program(programs::example("request_credential"), vault.path());
    assert_eq!(said(ask.args(["--vault", vault.card().to_str().unwrap(), "--reveal"])).ok(), "hunter2\n");
    for chain in ["kit", "_operators", "_vault"] {
        vault.vaultctl(&["audit", "verify", chain]).ok();
    }
    vault.kill();
    opened_by(&vault, "{ file = \"root.key\" }");
    assert!(refused(&vault).contains("no custodian's of this vault"));
}

/// Copies of the data as they were, to be put back.
fn kept(vault: &Vault) -> PathBuf {
    database(vault).execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let copy = vault.path().join("kept.db");
    fs::copy(vault.path().join("vault/data/vault.db"), &copy).unwrap();
    copy
}

/// Puts them back, without what was written since.
fn put_back(vault: &Vault, copy: &Path) {
    for end in ["-wal", "-shm"] {
        let _ = fs::remove_file(vault.path().join(format!("vault/data/vault.db{end}")));
    }
    fs::copy(copy, vault.path().join("vault/data/vault.db")).unwrap();
}

#[test]
fn no_root_key_is_sealed_to_a_record_that_somebody_wrote_into_the_database() {
    let mut vault = Vault::start();
    add_file(&vault, "spare").ok();
    vault.kill();
    let copy = kept(&vault);
    let theirs = SealSecretKey::generate(&OsEntropy);
    let public = theirs.public().as_bytes().to_vec();
    let changes: [(&str, Vec<u8>); 7] = [
        ("name = CAST(?1 AS TEXT)", b"other".to_vec()),
        ("kind = CAST(?1 AS TEXT)", br#"{"name":"command"}"#.to_vec()),
        ("public = ?1", public.clone()),
        ("root = CAST(?1 AS INTEGER)", b"1".to_vec()),
        ("sealed = ?1", vec![7; 80]),
        ("since = CAST(?1 AS INTEGER)", b"1".to_vec()),
        ("mac = ?1", vec![7; 40]),
    ];
    for (what, value) in &changes {
        // The other custodian opens the vault; what was changed then has no say in it.
        database(&vault).execute(&format!("UPDATE custodians SET {what} WHERE name = 'spare'"), [value]).unwrap();
        vault.go_on();
        let told = vault.vaultctl(&["custody", "rotate"]).fails(2);
        assert!(told.contains("quarantined"), "{what}: {told}");
        vault.kill();
        let sealed: Vec<(u64, Vec<u8>)> = database(&vault)
            .prepare("SELECT root, public FROM custodians")
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert!(sealed.iter().all(|(root, _)| *root <= 2), "{what}: a root key was sealed");
        put_back(&vault, &copy);
    }
    // A custodian that somebody added.
    database(&vault)
        .execute(
            "INSERT INTO custodians SELECT 'mine', chain, kind, ?1, root, sealed, since, mac FROM custodians WHERE name = 'spare'",
            [&public],
        )
        .unwrap();
    vault.go_on();
    assert!(vault.vaultctl(&["custody", "rotate"]).fails(2).contains("quarantined"));
    vault.kill();
    put_back(&vault, &copy);
    // One whose own record was changed does not open it.
    database(&vault).execute("UPDATE custodians SET public = ?1 WHERE name = 'file'", [&public]).unwrap();
    assert!(refused(&vault).contains("no custodian's of this vault"));
    put_back(&vault, &copy);
    // Written while the daemon serves: what it verified counts, and its next writing heals the row.
    vault.go_on();
    let before = custodians(&vault);
    database(&vault).execute("UPDATE custodians SET public = ?1 WHERE name = 'spare'", [&public]).unwrap();
    let rotated = vault.vaultctl(&["custody", "rotate"]);
    vault.kill();
    let (custodians, aud, _) = Sqlite::custodians(&vault.path().join("vault/data")).unwrap();
    let spare = custodians.iter().find(|one| one.who.name.as_str() == "spare").unwrap();
    if rotated.code == 0 {
        let secret = file::read(&vault.path().join("spare.key"), Path::new("none")).unwrap();
        assert!(spare.open(&aud, &secret).is_ok(), "it was sealed to another key");
    } else {
        assert_eq!(spare.root, before[1].1, "a root key was sealed");
    }
}

fn backup(vault: &Vault, file: &str) {
    vault.vaultctl(&["backup", "--file", file]).ok();
}

fn restore(vault: &Vault, file: &str, dir: &str, more: &[&str]) -> Said {
    let listen = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    vault.vaultctl(&[&["restore", "--file", file, "--dir", dir][..], &listen, more].concat())
}

#[test]
fn a_passphrase_opens_a_backup_and_a_wrong_one_does_not() {
    let vault = Vault::start();
    let add = ["custody", "add", "people", "--custody", "passphrase", "--passphrase-file", "-"];
    assert!(vault.vaultctl_fed(&add, b"too short\n").fails(1).contains("12 characters"));
    vault.vaultctl_fed(&add, format!("{PASSPHRASE}\n").as_bytes()).ok();
    backup(&vault, "prod.backup");
    private(vault.path().join("right"), PASSPHRASE);
    private(vault.path().join("wrong"), "correct horse battery stable");
    let wrong = restore(&vault, "prod.backup", "again", &["--passphrase-file", "wrong"]).fails(1);
    assert!(wrong.contains("is not the one") && !wrong.contains("stable"), "{wrong}");
    restore(&vault, "prod.backup", "again", &["--passphrase-file", "right"]).ok();
    let config = fs::read_to_string(vault.path().join("again/vaultd.toml")).unwrap();
    assert!(config.contains("custody = { unseal = true }"));
    restore(&vault, "prod.backup", "by-file", &["--root-key", "vault/root.key"]).ok();
    let log = fs::read_to_string(vault.log()).unwrap();
    assert!(!log.contains(PASSPHRASE));
    // A passphrase alone is not automatic, which is said.
    let told = vault.vaultctl(&["custody", "remove", "file"]);
    assert!(told.err.contains("unseal"), "{told:?}");
}

#[test]
fn shares_of_several_open_a_backup_and_what_does_not_belong_there_is_told() {
    let vault = Vault::start();
    let add = |name: &str, dir: &str| {
        let numbers = ["--shares", "3", "--threshold", "2", "--shares-dir", dir];
        vault.vaultctl(&[&["custody", "add", name, "--custody", "shares"][..], &numbers].concat())
    };
    let no_terminal = ["custody", "add", "none", "--custody", "shares", "--shares", "3", "--threshold", "2"];
    assert!(vault.vaultctl(&no_terminal).fails(1).contains("--shares-dir"));
    add("people", "shares").ok();
    backup(&vault, "prod.backup");
    for index in 1..=3 {
        let path = vault.path().join(format!("shares/share-{index}"));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(fs::read_to_string(path).unwrap().starts_with("nockvault-share1-"));
    }
    let with = |files: &[&str]| {
        let more: Vec<&str> = files.iter().flat_map(|file| ["--share-file", *file]).collect();
        restore(&vault, "prod.backup", "again", &more)
    };
    assert!(with(&["shares/share-1"]).fails(1).contains("1 of 2 shares"));
    assert!(with(&["shares/share-1", "shares/share-1"]).fails(1).contains("there already"));
    let text = fs::read_to_string(vault.path().join("shares/share-2")).unwrap();
    fs::write(vault.path().join("typo"), text.replace("share1-", "share1-0")).unwrap();
    assert!(with(&["shares/share-1", "typo"]).fails(1).contains("mistyped"));
    let elsewhere = Vault::start();
    let numbers = ["--shares", "3", "--threshold", "2", "--shares-dir", "shares"];
    elsewhere.vaultctl(&[&["custody", "add", "people", "--custody", "shares"][..], &numbers].concat()).ok();
    fs::copy(elsewhere.path().join("shares/share-2"), vault.path().join("foreign")).unwrap();
    assert!(with(&["shares/share-1", "foreign"]).fails(1).contains("is of the set"));
    with(&["shares/share-3", "shares/share-1"]).ok();
}

/// A vault whose daemon is opened by what a program prints, from its beginning.
#[test]
fn a_program_that_prints_the_secret_opens_a_vault() {
    let folder = tempfile::Builder::new().prefix("nv").tempdir().unwrap();
    let digits = "5e".repeat(32);
    fs::write(folder.path().join("secret"), &digits).unwrap();
    let init = |command: &[&str]| {
        let first = ["init", "--name", "prod", "--dir", "vault", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"];
        let mut vaultctl = program(env!("CARGO_BIN_EXE_vaultctl"), folder.path());
        fed(vaultctl.args(first).args(["--custody", "command", "--custody-command"]).args(command), b"")
    };
    assert!(init(&["head", "-c", "32", "/dev/urandom"]).fails(1).contains("another secret each time"));
    assert!(init(&["false"]).fails(1).contains("ended with"));
    let cat = folder.path().join("secret").display().to_string();
    let made = init(&["cat", &cat]);
    assert!(!format!("{made:?}").contains(&digits));
    made.ok();
    assert!(!folder.path().join("vault/root.key").exists());
    let mut vaultd = program(env!("CARGO_BIN_EXE_vaultd"), folder.path());
    vaultd.args(["--config", "vault/vaultd.toml"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut daemon = Running(vaultd.spawn().unwrap());
    let first = BufReader::new(daemon.0.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    assert!(first.starts_with("ready "), "{first}");
    drop(daemon);
    fs::write(folder.path().join("secret"), "5f".repeat(32)).unwrap();
    let told = said(program(env!("CARGO_BIN_EXE_vaultd"), folder.path()).args(["--config", "vault/vaultd.toml"]));
    assert!(told.fails(2).contains("no custodian's of this vault (command: command)"));
}

/// `vaultctl init` in a folder, with these options.
fn init(folder: &Path, options: &[&str]) -> Said {
    let first = ["init", "--name", "prod", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    said(program(env!("CARGO_BIN_EXE_vaultctl"), folder).args(first).args(options))
}

/// What the vault that was made there says of its custody. It is put away, so that the next can have its name.
fn made(folder: &Path, vault: &str) -> String {
    let config = fs::read_to_string(folder.join(vault).join("vaultd.toml")).unwrap();
    fs::remove_dir_all(folder.join(vault)).unwrap();
    fs::remove_dir_all(folder.join(".config")).unwrap();
    config.lines().find(|line| line.starts_with("custody = ")).unwrap().to_owned()
}

#[test]
fn init_takes_the_custody_that_its_options_name_and_passes_none_of_them_over() {
    let folder = tempfile::Builder::new().prefix("nv").tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let shares = ["--shares", "3", "--threshold", "2", "--shares-dir", "shares"];
    let other = init(folder.path(), &[&["--dir", "v", "--custody", "file"][..], &shares].concat()).fails(1);
    assert!(other.contains("--shares is for a custodian of the kind shares"), "{other}");
    private(at("words"), PASSPHRASE);
    let two = init(folder.path(), &[&["--dir", "v", "--passphrase-file", "words"][..], &shares].concat()).fails(1);
    assert!(two.contains("--shares is for"), "{two}");
    assert!(!at("v").exists() && !at("shares").exists(), "something was made");

    init(folder.path(), &[&["--dir", "v"][..], &shares].concat()).ok();
    assert_eq!(made(folder.path(), "v"), "custody = { unseal = true }");
    assert!(at("shares/share-3").exists());

    fs::set_permissions(at("words"), fs::Permissions::from_mode(0o644)).unwrap();
    let open = init(folder.path(), &["--dir", "v", "--passphrase-file", "words"]).fails(1);
    assert!(open.contains("chmod 600") && !at("v").exists(), "{open}");
    fs::set_permissions(at("words"), fs::Permissions::from_mode(0o600)).unwrap();
    init(folder.path(), &["--dir", "v", "--passphrase-file", "words"]).ok();
    assert_eq!(made(folder.path(), "v"), "custody = { unseal = true }");

    // A program's words end where it is said, and not in silence with options of ours.
    fs::write(at("secret"), "5e".repeat(32)).unwrap();
    std::os::unix::fs::symlink("/bin/cat", at("cat")).unwrap();
    let swallowed = init(folder.path(), &["--custody-command", "./cat", "secret", "--dir", "v"]).fails(1);
    assert!(swallowed.contains("--dir would go to the program") && swallowed.contains("';'"), "{swallowed}");
    init(folder.path(), &["--custody-command", "./cat", "secret", ";", "--dir", "v"]).ok();
    let custody = made(folder.path(), "v");
    assert!(custody.contains("/cat\", \"secret\"]") && !custody.contains("./cat"), "{custody}");
}

#[test]
fn an_init_that_fails_leaves_nothing_in_the_way_of_the_next() {
    let folder = tempfile::Builder::new().prefix("nv").tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    private(at("taken"), "taken");
    for (key, why) in [("nowhere/x", "nowhere"), ("taken", "exists already")] {
        let told = init(folder.path(), &["--dir", "v", "--root-key", key]).fails(1);
        assert!(told.contains(why) && !at("v").exists(), "{told}");
    }
    fs::create_dir_all(at("v/tls")).unwrap();
    fs::write(at("v/tls/ca.pem"), "").unwrap();
    let left = init(folder.path(), &["--dir", "v", "--shares", "3", "--threshold", "2", "--shares-dir", "s"]).fails(1);
    assert!(left.contains("v/tls/ca.pem is there already: a vault, or what an init that failed has left"), "{left}");
    assert!(!at("s").exists() && !at("v/root.key").exists(), "something was made");
    fs::remove_file(at("v/tls/ca.pem")).unwrap();
    // A key may lie in the folder that is made with the vault.
    init(folder.path(), &["--dir", "v", "--root-key", "v/mine.key"]).ok();
    assert!(at("v/mine.key").exists());
}

#[test]
fn a_custodian_that_is_refused_leaves_no_file_and_nothing_is_taken_in_silence() {
    let vault = Vault::start();
    let at = |name: &str| vault.path().join(name);
    let add = |name: &str| {
        let shares = ["--shares", "3", "--threshold", "2", "--shares-dir", "shares"];
        vault.vaultctl(&[&["custody", "add", name, "--custody", "shares"][..], &shares].concat())
    };
    let refused = add("file").fails(2);
    assert!(refused.contains("was removed: shares/share-1") && !at("shares/share-1").exists(), "{refused}");
    add("people").ok();
    let again = add("others").fails(1);
    assert!(again.contains("is there already") && !again.contains("--force"), "{again}");
    assert!(at("shares/share-1").exists(), "another custodian's share was removed");

    let inside = ["custody", "add", "spare", "--custody", "file", "--root-key", "vault/data/spare.key"];
    assert!(vault.vaultctl(&inside).fails(1).contains("inside the data directory"));
    let both = [&inside[..6], &["spare.key", "--credential", "nv"]].concat();
    assert!(vault.vaultctl(&both).fails(1).contains("--credential is for a custodian of the kind credential"));
    assert!(!at("vault/data/spare.key").exists() && !at("spare.key").exists());
    assert_eq!(names(&vault), ["file", "people"]);

    backup(&vault, "prod.backup");
    let none = restore(&vault, "prod.backup", "again", &["--passphrase-file", "words"]).fails(1);
    assert!(none.contains("file (file), people (shares)"), "{none}");
    vault.vaultctl(&["seal"]).ok();
    assert!(vault.vaultctl(&["unseal", "--share-file", "/dev/null"]).fails(1).contains("holds no share"));
    let swallowed = vault.vaultctl(&["unseal", "--custody-command", "cat", "x", "--quiet"]).fails(1);
    assert!(swallowed.contains("--quiet would go to the program"), "{swallowed}");
}

#[test]
fn a_credential_of_the_unit_opens_a_vault() {
    let mut vault = Vault::start();
    let add = ["custody", "add", "unit", "--custody", "credential", "--credential", "nv-root"];
    vault.vaultctl(&[&add[..], &["--root-key", "unit.key"]].concat()).ok();
    vault.kill();
    opened_by(&vault, "{ credential = \"nv-root\" }");
    assert!(refused(&vault).contains("CREDENTIALS_DIRECTORY"));
    let folder = vault.path().join("credentials");
    fs::create_dir(&folder).unwrap();
    fs::rename(vault.path().join("unit.key"), folder.join("nv-root")).unwrap();
    vault.go_on_with(&[("CREDENTIALS_DIRECTORY", folder.to_str().unwrap())]);
    assert_eq!(names(&vault), ["file", "unit"]);
}

/// SoftHSM's library, where the system puts it.
fn softhsm() -> &'static str {
    let places = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"];
    places.into_iter().find(|path| Path::new(path).exists()).expect("softhsm2 is installed; see .ci/deps")
}

#[test]
fn a_token_opens_a_vault_and_its_key_never_leaves_it() {
    let mut vault = Vault::start();
    let at = |name: &str| vault.path().join(name).display().to_string();
    fs::create_dir(at("tokens")).unwrap();
    fs::write(at("softhsm2.conf"), format!("directories.tokendir = {}\n", at("tokens"))).unwrap();
    let config = at("softhsm2.conf");
    let mut token = program("softhsm2-util", vault.path());
    let init = ["--init-token", "--free", "--label", "prod", "--so-pin", "87654321", "--pin", "1234"];
    said(token.env("SOFTHSM2_CONF", &config).args(init)).ok();
    fs::write(at("pin"), "1234\n").unwrap();
    fs::set_permissions(at("pin"), fs::Permissions::from_mode(0o644)).unwrap();
    let add = || {
        let mut vaultctl = program(env!("CARGO_BIN_EXE_vaultctl"), vault.path());
        vaultctl.env("SOFTHSM2_CONF", &config).args(["custody", "add", "hsm", "--custody", "pkcs11"]);
        vaultctl.args(["--pkcs11-module", softhsm(), "--pkcs11-token", "prod", "--pin-file", "pin"]);
        said(&mut vaultctl)
    };
    assert!(add().fails(1).contains("chmod 600"));
    fs::set_permissions(at("pin"), fs::Permissions::from_mode(0o600)).unwrap();
    let added = add();
    let line = added.err.lines().find(|line| line.contains("custody = ")).unwrap_or_else(|| panic!("{added:?}"));
    let custody = line.trim().strip_prefix("custody = ").unwrap().to_owned();
    added.ok();
    vault.kill();
    opened_by(&vault, &custody);
    vault.go_on_with(&[("SOFTHSM2_CONF", &config)]);
    vault.vaultctl(&["custody", "remove", "file"]).ok();
    vault.kill();
    vault.go_on_with(&[("SOFTHSM2_CONF", &config)]);
    assert_eq!(names(&vault), ["hsm"]);
    // Sealed by command, not even its own token opens it unasked: an operator has it asked.
    vault.vaultctl(&["seal"]).ok();
    // The doctor shows what it has, and that the vault is sealed.
    let doctor = vault.vaultctl(&["doctor"]);
    assert_eq!(doctor.code, 2, "{doctor:?}");
    for wanted in ["operator_key", "unsealed", "vaultctl unseal"] {
        assert!(doctor.out.contains(wanted), "no {wanted} in {doctor:?}");
    }
    let mut unseal = program(env!("CARGO_BIN_EXE_vaultctl"), vault.path());
    unseal.env("SOFTHSM2_CONF", &config).args(["unseal", "--pkcs11-module", softhsm(), "--pkcs11-token", "prod"]);
    said(unseal.args(["--pin-file", "pin"])).ok();
    assert_eq!(names(&vault), ["hsm"]);
    vault.kill();
    fs::write(vault.path().join("pin"), "4321\n").unwrap();
    let mut vaultd = program(env!("CARGO_BIN_EXE_vaultd"), vault.path());
    let told = said(vaultd.env("SOFTHSM2_CONF", &config).args(["--config", "vault/vaultd.toml"])).fails(2);
    assert!(told.contains("the token \"prod\"") && !told.contains("4321"), "{told}");
}
