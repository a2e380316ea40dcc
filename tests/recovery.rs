//! Operators whom custody makes, with real programs: where every admin's key is lost, whoever can open the vault has an
//! operator made in it, and everybody who verifies the trail is told.

#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod programs;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nockvault::client::custody::{Custody, Newcomer};
use nockvault::client::fault::Fault;
use nockvault::client::{channel, keyfile, place};
use nockvault::crypto::envelope::{Embedded, PayloadType};
use nockvault::crypto::hpke::{self, SealPublicKey};
use nockvault::entropy::OsEntropy;
use nockvault::seal::custody::purpose::Purpose;
use nockvault::secret::SecretBytes;
use nockvault::wire::convert::RefusalDetails;
use nockvault::wire::v1::custody_service_client::CustodyServiceClient;
use nockvault::wire::v1::{ReadCustodyRequest, RecoverRequest, UnsealRequest};
use programs::{Said, Vault, program, said};
use serde_json::{Value, json};

const PASSPHRASE: &str = "correct horse battery staple";
/// For how long nothing is taken after a wrong contribution, and a little more.
const PACE: Duration = Duration::from_millis(1100);

/// Every operator's key is gone from this machine.
fn lose_the_keys(vault: &Vault) {
    fs::remove_dir_all(vault.path().join(".config/nockvault/prod")).unwrap();
    assert_ne!(vault.vaultctl(&["agent", "list"]).code, 0);
}

/// A key and its statement, in this folder.
fn newcomer(vault: &Vault, name: &str) -> String {
    vault.vaultctl(&["keygen", "--operator", name, "--dir", "."]).ok();
    format!("{name}.register")
}

fn recover(vault: &Vault, name: &str, more: &[&str]) -> Said {
    vault.vaultctl(&[&["recover", &newcomer(vault, name)][..], more].concat())
}

/// As this operator, whose key lies in this folder.
fn as_operator(vault: &Vault, name: &str, arguments: &[&str]) -> Said {
    let key = format!("{name}.ed25519");
    vault.vaultctl(&[&["--operator", name, "--key", &key][..], arguments].concat())
}

/// The entries of `_operators` that say that custody made somebody.
fn made(vault: &Vault, operator: &str) -> Vec<Value> {
    let chain = as_operator(vault, operator, &["audit", "export", "_operators"]).ok();
    let entries = chain.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    entries.filter(|entry| entry["kind"] == "custody_operator").collect()
}

/// A stranger who has the card and the file is told.
fn verified(vault: &Vault, operator: &str, told: &str) {
    let chain = as_operator(vault, operator, &["audit", "export", "_operators"]).ok();
    fs::write(vault.path().join("operators.jsonl"), chain).unwrap();
    let mut verify = program(env!("CARGO_BIN_EXE_vault-verify"), vault.path());
    let report = said(verify.args(["--vault", "vault/prod.card", "operators.jsonl"])).ok();
    assert!(report.contains("BY CUSTODY, AND BY NO OPERATOR'S COMMAND") && report.contains(told), "{report}");
}

#[test]
fn a_file_makes_an_admin_who_does_what_the_lost_one_did() {
    let mut vault = Vault::start();
    lose_the_keys(&vault);
    let done = recover(&vault, "mara", &["--root-key", "vault/root.key", "-o", "json"]);
    let told: Value = serde_json::from_str(&done.out).unwrap_or_else(|_| panic!("{done:?}"));
    assert_eq!(
        (&told["recovered"], &told["operator"], &told["custodian"]),
        (&json!(true), &"mara".into(), &"file".into())
    );
    assert!(done.err.contains("mara is an admin now"), "{done:?}");
    // She registers a second operator and puts the lost one out.
    let zoe = newcomer(&vault, "zoe");
    as_operator(&vault, "mara", &["operator", "add", &zoe, "--duty", "admin"]).ok();
    as_operator(&vault, "mara", &["operator", "end", "ada"]).ok();
    vault.restart();
    as_operator(&vault, "zoe", &["operator", "list"]).ok();
    let [entry] = &made(&vault, "mara")[..] else { panic!("one entry says it") };
    let body = &entry["body"];
    assert_eq!((&body["custodian"], &body["shares"]), (&json!("file"), &json!([])));
    assert_eq!((&body["duty"], &body["kind"]), (&json!({"name": "admin"}), &json!({"name": "file"})));
    assert_eq!((&body["register"]["payload"]["operator"], &entry["seq"]), (&json!("mara"), &told["seq"]));
    verified(&vault, "mara", "mara was made admin by custody (file file) at ");
    for chain in ["_operators", "_vault"] {
        as_operator(&vault, "zoe", &["audit", "verify", chain]).ok();
    }
    let log = fs::read_to_string(vault.log()).unwrap();
    assert!(log.contains("custody made an operator who may do everything"), "{log}");
    let doctor = as_operator(&vault, "zoe", &["doctor"]);
    assert!(doctor.out.contains("by_custody") && doctor.out.contains("mara"), "{doctor:?}");
    // A later one does not hide it.
    assert_eq!(recover(&vault, "eve", &["--root-key", "vault/root.key"]).code, 0);
    let doctor = as_operator(&vault, "zoe", &["doctor", "-o", "json"]);
    let rows: Vec<Value> = serde_json::from_str(&doctor.out).unwrap();
    let found = rows.iter().find(|row| row["check"] == "by_custody").unwrap()["found"].as_str().unwrap();
    assert!(found.contains("mara") && found.contains("eve"), "{found}");
}

#[test]
fn what_cannot_be_an_operator_is_refused_before_anything_is_taken() {
    let vault = Vault::start();
    let root = ["--root-key", "vault/root.key"];
    let again = recover(&vault, "mara", &root);
    assert_eq!(again.code, 0, "{again:?}");
    let known = vault.vaultctl(&[&["recover", "mara.register"][..], &root].concat());
    assert!(known.code == 2 && known.err.contains("already_exists"), "{known:?}");
    // A known key under another name: the statement is good, and the key is another's.
    let statement = sign_as(&vault, "mara.ed25519", "eve", 0);
    fs::write(vault.path().join("eve.register"), statement).unwrap();
    let refused = vault.vaultctl(&[&["recover", "eve.register"][..], &root].concat());
    assert!(refused.code == 2 && refused.err.contains("key_known"), "{refused:?}");
    // Signed more than 30 days ago.
    vault.vaultctl(&["keygen", "--operator", "old", "--dir", "."]).ok();
    let statement = sign_as(&vault, "old.ed25519", "old", 31 * 86_400_000);
    fs::write(vault.path().join("old.register"), statement).unwrap();
    let refused = vault.vaultctl(&[&["recover", "old.register"][..], &root].concat());
    assert!(refused.code == 2 && refused.err.contains("bad_proof") && refused.err.contains("30 days"), "{refused:?}");
    // An agent's, and a further key.
    vault.vaultctl(&["keygen", "--agent", "kit"]).ok();
    let refused = vault.vaultctl(&[&["recover", "kit.register"][..], &root].concat()).fails(1);
    assert!(refused.contains("not of an operator"), "{refused}");
    let follows = ["--follows", "mara.register", "--dir", "next"];
    fs::create_dir(vault.path().join("next")).unwrap();
    vault.vaultctl(&[&["keygen", "--operator", "mara"][..], &follows].concat()).ok();
    let refused = vault.vaultctl(&[&["recover", "next/mara.register"][..], &root].concat()).fails(1);
    assert!(refused.contains("first key"), "{refused}");
    // Another vault's statement does not leave this machine.
    let other = Vault::start();
    let foreign = fs::read(other.path().join(newcomer(&other, "joe"))).unwrap();
    fs::write(vault.path().join("joe.register"), foreign).unwrap();
    let refused = vault.vaultctl(&[&["recover", "joe.register"][..], &root].concat()).fails(1);
    assert!(refused.contains("is for the vault"), "{refused}");
    assert_eq!(made(&vault, "mara").len(), 1);
}

/// A statement of the key in this file, in another name or of another time.
fn sign_as(vault: &Vault, key: &str, name: &str, before: u64) -> String {
    use nockvault::statement::register::{Holder, Register};
    let (_, read) = keyfile::read_register(&vault.path().join(key).with_extension("register")).unwrap();
    let key = keyfile::parse_secret(fs::read_to_string(vault.path().join(key)).unwrap().trim()).unwrap();
    let iat = nockvault::time::Timestamp(read.iat.0 - before);
    let statement = Register { holder: Holder::Operator(name.parse().unwrap()), iat, ..read }.sign(&key);
    serde_json::to_string(&statement).unwrap()
}

#[test]
fn a_sealed_vault_is_unsealed_first_and_a_wrong_secret_costs_a_second() {
    let vault = Vault::start();
    vault.vaultctl(&["seal"]).ok();
    let sealed = recover(&vault, "mara", &["--root-key", "vault/root.key"]);
    assert!(sealed.code == 2 && sealed.err.contains("unseal it first"), "{sealed:?}");
    vault.vaultctl(&["unseal", "--root-key", "vault/root.key"]).ok();
    fs::write(vault.path().join("wrong.key"), [7; 32]).unwrap();
    let begin = Instant::now();
    let wrong = vault.vaultctl(&["recover", "mara.register", "--root-key", "wrong.key"]);
    assert!(wrong.code == 2 && wrong.err.contains("custody_refused"), "{wrong:?}");
    let hurried = vault.vaultctl(&["recover", "mara.register", "--root-key", "vault/root.key"]);
    if begin.elapsed() < Duration::from_millis(900) {
        assert!(hurried.code == 2 && hurried.err.contains("rate_limited"), "{hurried:?}");
        thread::sleep(PACE);
        vault.vaultctl(&["recover", "mara.register", "--root-key", "vault/root.key"]).ok();
    }
    assert_eq!(made(&vault, "mara").len(), 1);
}

#[test]
fn a_passphrase_and_a_program_make_operators_too() {
    let vault = Vault::start();
    let add = ["custody", "add", "people", "--custody", "passphrase", "--passphrase-file", "-"];
    vault.vaultctl_fed(&add, format!("{PASSPHRASE}\n").as_bytes()).ok();
    fs::write(vault.path().join("secret"), "5e".repeat(32)).unwrap();
    let cat = vault.path().join("secret").display().to_string();
    vault.vaultctl(&["custody", "add", "prints", "--custody", "command", "--custody-command", "cat", &cat]).ok();
    lose_the_keys(&vault);
    let mara = newcomer(&vault, "mara");
    let typed = |words: &str| vault.vaultctl_fed(&["recover", &mara, "--passphrase-file", "-"], words.as_bytes());
    let wrong = typed("correct horse battery stable\n");
    assert!(wrong.code == 2 && wrong.err.contains("custody_refused"), "{wrong:?}");
    thread::sleep(PACE);
    typed(&format!("{PASSPHRASE}\n")).ok();
    recover(&vault, "zoe", &["--custody-command", "cat", &cat]).ok();
    let said: Vec<Value> = made(&vault, "zoe").iter().map(|entry| entry["body"]["custodian"].clone()).collect();
    assert_eq!(said, ["people", "prints"]);
    verified(&vault, "mara", "zoe was made admin by custody (command prints) at ");
    let log = fs::read_to_string(vault.log()).unwrap();
    assert!(!log.contains(PASSPHRASE) && !log.contains(&"5e".repeat(32)), "{log}");
}

/// SoftHSM's library, where the system puts it.
fn softhsm() -> &'static str {
    let places = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"];
    places.into_iter().find(|path| Path::new(path).exists()).expect("softhsm2 is installed; see .ci/deps")
}

#[test]
fn a_token_makes_an_operator() {
    let vault = Vault::start();
    let at = |name: &str| vault.path().join(name).display().to_string();
    fs::create_dir(at("tokens")).unwrap();
    fs::write(at("softhsm2.conf"), format!("directories.tokendir = {}\n", at("tokens"))).unwrap();
    fs::write(at("pin"), "1234\n").unwrap();
    fs::set_permissions(at("pin"), fs::Permissions::from_mode(0o600)).unwrap();
    let run = |program: &mut Command| said(program.env("SOFTHSM2_CONF", at("softhsm2.conf"))).ok();
    let init = ["--init-token", "--free", "--label", "prod", "--so-pin", "87654321", "--pin", "1234"];
    run(program("softhsm2-util", vault.path()).args(init));
    let token = ["--pkcs11-module", softhsm(), "--pkcs11-token", "prod", "--pin-file", "pin"];
    let vaultctl = || program(env!("CARGO_BIN_EXE_vaultctl"), vault.path());
    run(vaultctl().args(["custody", "add", "hsm", "--custody", "pkcs11"]).args(token));
    lose_the_keys(&vault);
    let mara = newcomer(&vault, "mara");
    run(vaultctl().args(["recover", &mara]).args(token));
    verified(&vault, "mara", "mara was made admin by custody (pkcs11 hsm) at ");
}

/// A vault with a custodian `ops` of whom two of three shares are enough.
fn shared() -> Vault {
    let vault = Vault::start();
    let numbers = ["--shares", "3", "--threshold", "2", "--shares-dir", "shares"];
    vault.vaultctl(&[&["custody", "add", "ops", "--custody", "shares"][..], &numbers].concat()).ok();
    vault
}

fn share(vault: &Vault, statement: &str, index: u8) -> Said {
    let file = format!("shares/share-{index}");
    vault.vaultctl(&["recover", statement, "ops", "--share-file", &file, "-o", "json"])
}

#[test]
fn shares_of_several_people_collect_for_one_statement_and_for_no_other() {
    let vault = shared();
    lose_the_keys(&vault);
    let (mara, eve) = (newcomer(&vault, "mara"), newcomer(&vault, "eve"));
    let told: Value = serde_json::from_str(&share(&vault, &mara, 1).ok()).unwrap();
    assert_eq!((&told["recovered"], &told["contributed"], &told["needed"]), (&json!(false), &json!([1]), &json!(2)));
    // Who gives his share to another statement does not complete this one.
    let told: Value = serde_json::from_str(&share(&vault, &eve, 2).ok()).unwrap();
    assert_eq!((&told["recovered"], &told["contributed"]), (&json!(false), &json!([2])));
    let twice = share(&vault, &mara, 1);
    assert!(twice.code == 2 && twice.err.contains("there already"), "{twice:?}");
    thread::sleep(PACE);
    // Withdrawn is withdrawn.
    let told: Value = serde_json::from_str(&vault.vaultctl(&["recover", &eve, "--reset", "-o", "json"]).ok()).unwrap();
    assert_eq!(told["withdrawn"], 2);
    share(&vault, &mara, 3).ok();
    let told: Value = serde_json::from_str(&share(&vault, &mara, 1).ok()).unwrap();
    assert_eq!((&told["recovered"], &told["shares"]), (&json!(true), &json!([1, 3])));
    let entry = &made(&vault, "mara")[0]["body"];
    assert_eq!(
        (&entry["shares"], &entry["kind"]["threshold"], &entry["kind"]["count"]),
        (&json!([1, 3]), &json!(2), &json!(3))
    );
    verified(&vault, "mara", "mara was made admin by custody (shares ops, 2 of 3: 1, 3) at ");
    // Sealing forgets what was given to recover.
    share(&vault, &eve, 1).ok();
    as_operator(&vault, "mara", &["seal"]).ok();
    vault.vaultctl(&["unseal", "--root-key", "vault/root.key"]).ok();
    let told: Value = serde_json::from_str(&share(&vault, &eve, 2).ok()).unwrap();
    assert_eq!((&told["recovered"], &told["contributed"]), (&json!(false), &json!([2])));
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn statement(vault: &Vault, file: &str) -> Embedded {
    keyfile::read_register(&vault.path().join(file)).unwrap().0
}

/// What was sealed for one purpose, sent for another: exactly these bytes, to the key that they were sealed to.
async fn replayed(vault: &Vault, made_for: Purpose, sent_as: Option<&Embedded>) -> String {
    let card = place::card(Some(&vault.card())).unwrap();
    let mut client = CustodyServiceClient::new(channel::open(&card.operators, None).await.unwrap());
    let intake = client.read_custody(ReadCustodyRequest::default()).await.unwrap().into_inner().intake;
    let intake = SealPublicKey::from_bytes(intake.try_into().unwrap()).unwrap();
    let secret = fs::read(vault.path().join("vault/root.key")).unwrap();
    let sealed = hpke::seal(&intake, &made_for.info(""), &[], &secret, &OsEntropy).unwrap();
    let (custodian, sealed_enc, sealed_ct) = (String::new(), sealed.enc.to_vec(), sealed.ct);
    let said = match sent_as {
        None => client.unseal(UnsealRequest { custodian, sealed_enc, sealed_ct }).await.map(drop),
        Some(register) => {
            let register = Some(register.open(PayloadType::Register).into());
            client.recover(RecoverRequest { register, custodian, sealed_enc, sealed_ct }).await.map(drop)
        }
    };
    said.err().and_then(|status| RefusalDetails::from_status(&status)).map_or("taken".to_owned(), |told| told.reason)
}

#[test]
fn what_was_given_for_one_thing_is_nothing_for_another() {
    let vault = Vault::start();
    let (mara, eve) = (newcomer(&vault, "mara"), newcomer(&vault, "eve"));
    let (mara, eve) = (statement(&vault, &mara), statement(&vault, &eve));
    let purpose = |statement| Newcomer::of(statement).unwrap().purpose();
    let runtime = runtime();
    let said = |made_for, sent_as: Option<&Embedded>| runtime.block_on(replayed(&vault, made_for, sent_as));
    assert_eq!(said(Purpose::Unseal, Some(&mara)), "bad_sealed_input", "what was given to unseal made an operator");
    assert_eq!(said(purpose(&eve), Some(&mara)), "bad_sealed_input", "what was given for one made another");
    vault.vaultctl(&["seal"]).ok();
    assert_eq!(said(purpose(&mara), None), "bad_sealed_input", "what was given to recover unsealed");
    assert_eq!(said(Purpose::Unseal, None), "taken");
    assert_eq!(said(purpose(&mara), Some(&mara)), "taken");
    assert_eq!(said(purpose(&mara), Some(&mara)), "already_exists");
    assert_eq!(made(&vault, "mara").len(), 1);
}

#[test]
fn what_somebody_wrote_into_the_database_makes_nobody_an_operator() {
    let vault = Vault::start();
    vault.vaultctl(&["custody", "add", "spare", "--custody", "file", "--root-key", "spare.key"]).ok();
    let mara = newcomer(&vault, "mara");
    let database = rusqlite::Connection::open(vault.path().join("vault/data/vault.db")).unwrap();
    // A custodian of his own, with a root key of his own sealed to it.
    let (aud, secret) = (statement(&vault, &mara).payload["aud"].as_str().unwrap().parse().unwrap(), [9; 32]);
    let secret = nockvault::seal::custody::CustodySecret::new(nockvault::secret::Secret::new(secret));
    let root = nockvault::seal::custody::RootKey::after(1, &OsEntropy);
    let who = nockvault::seal::custody::Appointed {
        name: "spare".parse().unwrap(),
        kind: nockvault::statement::custody::Kind::File,
        public: secret.public(),
    };
    let forged = who.appoint(&root, &aud, &OsEntropy);
    fs::write(vault.path().join("mine.key"), secret.expose()).unwrap();
    database
        .execute(
            "UPDATE custodians SET public = ?1, sealed = ?2, root = 2 WHERE name = 'spare'",
            rusqlite::params![forged.who.public.as_bytes(), forged.sealed()],
        )
        .unwrap();
    drop(database);
    let refused = vault.vaultctl(&["recover", &mara, "spare", "--root-key", "mine.key"]);
    assert!(refused.code == 2, "{refused:?}");
    assert_eq!(Vec::<Value>::new(), {
        let chain = fs::read_to_string(vault.log()).unwrap();
        chain.lines().filter(|line| line.contains("custody made an operator")).map(Value::from).collect::<Vec<_>>()
    });
}

#[test]
fn a_kill_at_any_step_leaves_an_operator_or_none() {
    for (step, done) in [("recover: entered", false), ("recover: enrolled", false), ("recover: carried", true)] {
        let mut vault = Vault::start();
        let mara = newcomer(&vault, "mara");
        vault.kill();
        vault.go_on_until(step);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| vault.vaultctl(&["recover", &mara, "--root-key", "vault/root.key"]));
            let begin = Instant::now();
            while !fs::read_to_string(vault.log()).unwrap().contains(&format!("failpoint {step}")) {
                assert!(begin.elapsed() < Duration::from_secs(60), "{step} was not reached");
                thread::sleep(Duration::from_millis(20));
            }
            let daemon = rustix::process::Pid::from_raw(i32::try_from(vault.id()).unwrap()).unwrap();
            rustix::process::kill_process(daemon, rustix::process::Signal::KILL).unwrap();
            assert_ne!(waiting.join().unwrap().code, 0, "{step}");
        });
        vault.kill();
        vault.go_on();
        let there = vault.vaultctl(&["operator", "show", "mara"]).code == 0;
        assert_eq!(there, done, "{step}");
        // The same again ends where it would have ended.
        let again = vault.vaultctl(&["recover", &mara, "--root-key", "vault/root.key"]);
        assert_eq!(again.code, if done { 2 } else { 0 }, "{step}: {again:?}");
        assert_eq!(made(&vault, "mara").len(), 1, "{step}");
        verified(&vault, "mara", "mara was made admin by custody");
    }
}

/// A program that ends with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_restored_vault_whose_operators_lost_their_keys_gets_one() {
    let mut vault = shared();
    vault.vaultctl(&["backup", "--file", "prod.backup"]).ok();
    vault.kill();
    let listen = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    let restore = ["restore", "--file", "prod.backup", "--dir", "again", "--root-key", "vault/root.key"];
    vault.vaultctl(&[&restore[..], &listen].concat()).ok();
    fs::remove_dir_all(vault.path().join(".config/nockvault/prod")).unwrap();
    // Commands that were signed before the restore are refused for as long as clocks may differ.
    let config = vault.path().join("again/vaultd.toml");
    let text = fs::read_to_string(&config).unwrap();
    let line = text.lines().find(|line| line.contains("skew_s =")).unwrap().to_owned();
    fs::write(&config, text.replace(&line, "skew_s = 5")).unwrap();
    let mut command = program(env!("CARGO_BIN_EXE_vaultd"), vault.path());
    let started = command.args(["--config", "again/vaultd.toml"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut daemon = Running(started.unwrap());
    let mut ready = String::new();
    BufReader::new(daemon.0.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    assert!(ready.starts_with("ready "), "{ready}");
    let with_card = |arguments: &[&str]| vault.vaultctl(&[&["--vault", "again/prod.card"][..], arguments].concat());
    with_card(&["keygen", "--operator", "mara", "--dir", "."]).ok();
    for index in ["shares/share-2", "shares/share-3"] {
        with_card(&["recover", "mara.register", "ops", "--share-file", index]).ok();
    }
    let file: PathBuf = vault.path().join("again/operators.jsonl");
    let as_mara = ["--operator", "mara", "--key", "mara.ed25519"];
    let chain = {
        let begin = Instant::now();
        loop {
            let said = with_card(&[&as_mara[..], &["audit", "export", "_operators"]].concat());
            if said.code == 0 {
                break said.out;
            }
            assert!(said.err.contains("stale") && begin.elapsed() < Duration::from_secs(90), "{said:?}");
            thread::sleep(Duration::from_secs(1));
        }
    };
    fs::write(&file, chain).unwrap();
    let mut verify = program(env!("CARGO_BIN_EXE_vault-verify"), vault.path());
    let report = said(verify.args(["--vault", "again/prod.card"]).arg(&file)).ok();
    assert!(report.contains("mara was made admin by custody (shares ops, 2 of 3: 2, 3) at "), "{report}");
}

#[test]
fn the_client_gives_what_it_holds_to_this_statement_alone() {
    let vault = shared();
    let (mara, eve) = (newcomer(&vault, "mara"), newcomer(&vault, "eve"));
    let newcomers = [mara, eve].map(|file| Newcomer::of(&statement(&vault, &file)).unwrap());
    let text = |index: u8| {
        let line = fs::read_to_string(vault.path().join(format!("shares/share-{index}"))).unwrap();
        SecretBytes::new(line.trim().as_bytes().to_vec())
    };
    let card = place::card(Some(&vault.card())).unwrap();
    runtime().block_on(async {
        let custody = Custody::connect(&card).await.unwrap();
        let mut shown = Vec::new();
        for (newcomer, index) in newcomers.iter().zip([1, 2]) {
            let came = custody.recover(newcomer, "ops", &text(index), &OsEntropy).await.unwrap();
            assert!(!came.recovered);
            let known = custody.read_for(newcomer.purpose()).await.unwrap();
            let ops = known.custodians.into_iter().find(|known| known.name == "ops").unwrap();
            shown.push(ops.contributed);
        }
        assert_eq!(shown, [[1], [2]]);
        let unsealing = custody.read().await.unwrap();
        assert!(unsealing.custodians.iter().all(|known| known.contributed.is_empty()), "they are for no unsealing");
        let done = custody.recover(&newcomers[0], "ops", &text(3), &OsEntropy).await.unwrap();
        assert!(done.recovered && done.operator == "mara" && done.contributed == [1, 3], "{done:?}");
        // What others gave for another is there still, and is asked for under the daemon's new key.
        let again = custody.recover(&newcomers[0], "ops", &text(2), &OsEntropy).await.unwrap_err();
        assert!(matches!(&again, Fault::Refused(refused) if refused.code == "already_exists"), "{again}");
        let done = custody.recover(&newcomers[1], "ops", &text(1), &OsEntropy).await.unwrap();
        assert!(done.recovered && done.operator == "eve", "{done:?}");
    });
}
