//! An agent's key in OpenSSH's own ssh-agent: enrolled through it, and each request signed by it, at a real vault. The
//! private key is in no file and in no process of ours.

#![cfg(all(feature = "daemon", feature = "launcher"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;

#[path = "ssh_agent/held.rs"]
mod held;
mod programs;

use held::{Held, script};
use nockvault::client::keyfile::{Places, find_in_ssh_agent};
use nockvault::client::signer::Identity;
use nockvault::id::AgentName;
use programs::{Said, Vault, example, program, said};

fn vaultctl(vault: &Vault, held: &Held, arguments: &[&str]) -> Said {
    let mut command = program(env!("CARGO_BIN_EXE_vaultctl"), vault.path());
    said(command.env("SSH_AUTH_SOCK", held.socket()).args(arguments))
}

fn request(vault: &Vault, held: &Held, arguments: &[&str]) -> Said {
    let mut command = program(example("request_credential"), vault.path());
    said(command.env("SSH_AUTH_SOCK", held.socket()).args(arguments))
}

/// A vault whose agent `ada` may have what `kit` may, and an ssh-agent in which `ada`'s key is.
fn enrolled(held: &Held, options: &[&str]) -> Vault {
    let vault = Vault::start();
    vault.with_kit("hunter2");
    held.add("ed25519", "ada's key", options);
    let made = vaultctl(&vault, held, &["keygen", "--agent", "ada", "--from-ssh-agent", "ada's key"]).ok();
    assert!(made.contains("ssh-agent:SHA256:"), "{made}");
    vault.vaultctl(&["agent", "register", "ada.register"]).ok();
    vault.vaultctl(&["grant", "ada", "orders-read", "--ttl", "5m"]).ok();
    vault
}

const ASK: &[&str] = &["--agent", "ada", "--reveal"];

#[test]
fn an_agent_whose_key_is_in_an_ssh_agent_enrols_and_asks() {
    let held = Held::start(None);
    let vault = enrolled(&held, &[]);
    let files: Vec<String> =
        fs::read_dir(vault.path()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert!(files.contains(&"ada.register".into()) && !files.contains(&"ada.ed25519".into()), "{files:?}");
    let register = fs::read_to_string(vault.path().join("ada.register")).unwrap();
    assert!(!register.contains("PRIVATE"));

    assert_eq!(request(&vault, &held, ASK).ok(), "hunter2\n");
    assert_eq!(request(&vault, &held, ASK).ok(), "hunter2\n");
    // The chain says in which form the key signs, and an auditor's tool verifies what it signed.
    vault.vaultctl(&["audit", "export", "ada", "--file", "ada.audit.jsonl"]).ok();
    let chain = fs::read_to_string(vault.path().join("ada.audit.jsonl")).unwrap();
    assert_eq!(chain.matches(r#""kind":"issue""#).count(), 2, "{chain}");
    let mut verify = program(env!("CARGO_BIN_EXE_vault-verify"), vault.path());
    let report = said(verify.args(["--vault", "vault/prod.card", "ada.audit.jsonl"])).ok();
    assert!(report.contains("intact"), "{report}");
    // Another agent's file of a key does not come in between.
    assert_eq!(request(&vault, &held, &["--agent", "kit", "--reveal"]).ok(), "hunter2\n");
}

#[test]
fn what_an_ssh_agent_refuses_is_told_with_the_way_out() {
    let held = Held::start(None);
    let vault = enrolled(&held, &[]);
    held.lock("-x");
    let text = request(&vault, &held, ASK).fails(1);
    assert!(text.contains("locked") && text.contains("ssh-add -X"), "{text}");
    held.lock("-X");
    request(&vault, &held, ASK).ok();

    held.ssh_add(&["-q", "-D"]);
    held.add("ed25519", "another", &[]);
    let text = request(&vault, &held, ASK).fails(1);
    assert!(text.contains("has no key") && text.contains("ssh-add FILE"), "{text}");

    let text = said(program(example("request_credential"), vault.path()).args(ASK)).fails(1);
    assert!(text.contains("SSH_AUTH_SOCK is not set"), "{text}");
    let mut command = program(example("request_credential"), vault.path());
    let text = said(command.env("SSH_AUTH_SOCK", vault.path().join("none")).args(ASK)).fails(1);
    assert!(text.contains("the ssh-agent at") && text.contains("No such file"), "{text}");
}

#[test]
fn a_key_that_asks_first_or_lives_for_a_time_behaves_so() {
    let folder = tempfile::tempdir().unwrap();
    let asks = folder.path().join("asks");
    let answer = |yes: bool| script(&asks, if yes { "exit 0" } else { "exit 1" });
    answer(true);
    let held = Held::start(asks.to_str());
    let vault = enrolled(&held, &["-c"]);
    request(&vault, &held, ASK).ok();
    answer(false);
    let text = request(&vault, &held, ASK).fails(1);
    assert!(text.contains("ssh-add -c"), "{text}");

    let brief = Held::start(None);
    brief.add("ed25519", "brief", &["-t", "1"]);
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let text = vaultctl(&vault, &brief, &["keygen", "--agent", "eve", "--from-ssh-agent", "brief"]).fails(1);
    assert!(text.contains("it has no keys"), "{text}");
}

#[test]
fn the_key_is_chosen_by_name_and_only_where_it_serves() {
    let held = Held::start(None);
    let vault = Vault::start();
    let keygen = |more: &[&str]| {
        let start = ["keygen", "--agent", "ada", "--from-ssh-agent"];
        vaultctl(&vault, &held, &[&start, more].concat())
    };
    assert!(keygen(&[]).fails(1).contains("it has no keys"));
    held.add("rsa", "old", &[]);
    assert!(keygen(&["old"]).fails(1).contains("only plain Ed25519 keys serve"));
    let line = held.add("ed25519", "one", &[]);
    let one = keygen(&["-o", "json"]).ok();
    held.add("ed25519", "two", &[]);
    let which = keygen(&["--force"]).fails(1);
    assert!(which.contains("which of these") && which.contains(" one ") && which.contains(" two "), "{which}");
    let fingerprints = held.ssh_add(&["-l"]);
    let fingerprint = fingerprints.lines().find(|line| line.contains(" one ")).unwrap().split(' ').nth(1).unwrap();
    for name in [fingerprint, "one", &line] {
        let again: serde_json::Value = serde_json::from_str(&keygen(&[name, "--force", "-o", "json"]).ok()).unwrap();
        let one: serde_json::Value = serde_json::from_str(&one).unwrap();
        assert_eq!(again["kid"], one["kid"], "{name}");
    }
    // Beside a file with a key, the statement would be taken for that one's.
    fs::write(vault.path().join("ada.ed25519"), "").unwrap();
    assert!(keygen(&["one", "--force"]).fails(1).contains("is there already"));
}

#[test]
fn a_key_changes_from_a_file_to_an_ssh_agent() {
    let held = Held::start(None);
    let vault = Vault::start();
    vault.with_kit("hunter2");
    held.add("ed25519", "kit", &[]);
    let dir = vault.path().join("next");
    let next = ["keygen", "--agent", "kit", "--follows", "kit.register", "--from-ssh-agent", "--dir", "next"];
    vaultctl(&vault, &held, &next).ok();
    vault.vaultctl(&["agent", "rotate", "kit", "next/kit.register"]).ok();
    fs::remove_file(vault.path().join("kit.ed25519")).unwrap();
    fs::remove_file(vault.path().join("kit.register")).unwrap();
    fs::copy(dir.join("kit.register"), vault.path().join("kit.register")).unwrap();
    assert_eq!(request(&vault, &held, &["--reveal"]).ok(), "hunter2\n");
    let kver =
        vault.vaultctl(&["audit", "show", "kit", "--kind", "issue", "--field", "body.request.payload.kver"]).ok();
    assert!(kver.ends_with("2\n"), "{kver}");
}

/// `vault-agent exec` as `ada`, whose key this ssh-agent has.
fn exec(vault: &Vault, held: &Held, options: &[&str], script: &str) -> Said {
    let mut command = program(env!("CARGO_BIN_EXE_vault-agent"), vault.path());
    command.env("SSH_AUTH_SOCK", held.socket()).args(["exec", "--agent", "ada", "--role", "orders-read"]);
    said(command.args(options).args(["--", "sh", "-c", script]))
}

#[test]
fn a_launcher_asks_with_a_key_in_an_ssh_agent_and_keeps_its_child_from_it() {
    let held = Held::start(None);
    let vault = enrolled(&held, &[]);
    let script = "echo $ORDERS_READ; echo ${SSH_AUTH_SOCK-none}";
    for options in [&[][..], &["--key", "ssh-agent:ada's key"], &["--key", "ssh-agent:"]] {
        let ran = exec(&vault, &held, options, script);
        assert_eq!(ran.out, "hunter2\nnone\n", "{options:?}: {ran:?}");
        assert!(ran.err.contains("can have the ssh-agent at"), "the same user could look for it: {ran:?}");
    }
    let none = exec(&vault, &held, &["--key", "ssh-agent:another"], script);
    assert!(none.out.is_empty() && none.err.contains("it has no key \"another\""), "{none:?}");
    assert_eq!(none.code, 125);
    // Where the key is in a file, an ssh-agent is the child's as before.
    let mut command = program(env!("CARGO_BIN_EXE_vault-agent"), vault.path());
    command.env("SSH_AUTH_SOCK", held.socket()).args(["exec", "--agent", "kit", "--role", "orders-read"]);
    let kit = said(command.args(["--", "ssh-add", "-l"])).ok();
    assert!(kit.contains("ada's key"), "{kit}");
}

/// What [`find_in_ssh_agent`] finds with the variables of this ssh-agent and the files of this folder.
async fn found(held: &Held, folder: &Path, wanted: Option<&str>) -> Result<Identity<AgentName>, String> {
    let socket = held.socket().to_str().unwrap().to_owned();
    let places = Places { file: None, dirs: vec![folder.to_owned()] };
    let variable = move |name: &str| (name == "SSH_AUTH_SOCK").then(|| socket.clone());
    let found = find_in_ssh_agent(&"kit".parse().unwrap(), wanted, &places, &variable).await;
    found.map_err(|why| why.to_string())
}

#[tokio::test]
async fn a_key_is_named_outright_and_its_number_is_the_statements() {
    let held = Held::start(None);
    let vault = Vault::start();
    held.add("ed25519", "kit", &[]);
    held.add("ed25519", "ada", &[]);
    let follows = format!("{}/4", "A".repeat(43));
    let next = ["keygen", "--agent", "kit", "--follows", &follows, "--from-ssh-agent", "kit"];
    vaultctl(&vault, &held, &next).ok();
    let kit = found(&held, vault.path(), Some("kit")).await.unwrap();
    assert_eq!(kit.kver, 5);
    assert_eq!(found(&held, vault.path(), None).await.unwrap().kid(), kit.kid(), "the statement names it");
    // The statement of another key says nothing of this one.
    assert_eq!(found(&held, vault.path(), Some("ada")).await.unwrap().kver, 1);
    let empty = tempfile::tempdir().unwrap();
    assert!(found(&held, empty.path(), None).await.unwrap_err().contains("which of these"));
    // A key that is registered as one in a file cannot sign through an ssh-agent.
    vault.vaultctl(&["keygen", "--agent", "kit", "--dir", "plain"]).ok();
    let seed = fs::read_to_string(vault.path().join("plain/kit.ed25519")).unwrap();
    add_seed(&held, &seed, vault.path());
    let text = found(&held, &vault.path().join("plain"), Some("from a file")).await.unwrap_err();
    assert!(text.contains("registered in the form pae") && text.contains("--from-ssh-agent"), "{text}");
}

/// Adds the key of this seed, in hex.
fn add_seed(held: &Held, seed: &str, folder: &Path) {
    let bytes: Vec<u8> = (0..32).map(|i| u8::from_str_radix(&seed[2 * i..2 * i + 2], 16).unwrap()).collect();
    let pair = ssh_key::private::Ed25519Keypair::from_seed(&bytes.try_into().unwrap());
    let key = ssh_key::PrivateKey::new(ssh_key::private::KeypairData::Ed25519(pair), "from a file").unwrap();
    let file = folder.join("openssh");
    fs::write(&file, key.to_openssh(ssh_key::LineEnding::LF).unwrap().as_bytes()).unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    held.ssh_add(&["-q", file.to_str().unwrap()]);
}
