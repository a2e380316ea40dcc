//! Public keys for others, with the real programs: the key directory for operators and for anybody, clients that pin it,
//! and what becomes of agents' keys that follow each other.

#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test stops where what it stands on is not there")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use nockvault::audit::directory::{BadDirectory, certs, open};
use nockvault::client::fault::{Fault, Untrusted};
use nockvault::client::keyfile;
use nockvault::client::operator::Operator;
use nockvault::client::signer::Identity;
use nockvault::client::{Surroundings, place};
use nockvault::statement::card::Card;
use nockvault::statement::cert::KeyRole;
use nockvault::statement::directory::{Directory, GOOD_FOR};
use nockvault::time::{Clock as _, SystemClock, Timestamp};
use serde_json::Value;

mod programs;

use programs::{Said, Vault, example, program, said};

fn card(vault: &Vault) -> Card {
    Card::read(&fs::read_to_string(vault.card()).unwrap()).unwrap()
}

/// Head and body of what the daemon's HTTP listener gives.
fn http(vault: &Vault, path: &str) -> (String, String) {
    let address = vault.ready.split("http=").nth(1).or_else(|| vault.ready.split("http://").nth(1)).unwrap();
    let address = address.split_whitespace().next().unwrap().trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: vault\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

const KEYS: &str = "/.well-known/nockvault/keys";

#[test]
fn operators_get_names_and_strangers_get_keys() {
    let vault = Vault::start();
    vault.with_kit("hunter2");
    let identity = card(&vault).identity;
    let text = vault.vaultctl(&["keys", "export"]).ok();
    let now = SystemClock.now();
    let named = open(&text, &identity, now).unwrap();
    assert!(named.names && named.agents.len() == 1 && named.operators.len() == 1);
    assert_eq!(named.agents[0].agent.as_ref().unwrap().as_str(), "kit");
    assert_eq!(named.operators[0].operator.as_ref().unwrap().as_str(), "ada");
    let kit = keyfile::read_public(&vault.path().join("kit.pub")).unwrap();
    assert_eq!((&named.agents[0].pk, named.agents[0].kver), (&kit, Some(1)));
    assert!(named.agents[0].good(now) && named.exp == named.iat.plus(GOOD_FOR));
    for role in [KeyRole::Response, KeyRole::Checkpoint, KeyRole::Jwt] {
        assert_eq!(certs(&named, role).count(), 1, "{role:?}");
    }

    let (head, body) = http(&vault, KEYS);
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("cache-control: public, max-age=60"), "{head}");
    let public = open(&body, &identity, now).unwrap();
    assert_eq!((public.names, public.operators.len(), public.agents.len()), (false, 0, 1));
    assert_eq!(public.agents[0], named.agents[0].nameless());
    assert!(!body.contains("\"kit\"") && !body.contains("\"ada\""), "a stranger learns a name: {body}");

    // A file is replaced as a whole, so that a job can renew it.
    for _ in 0..2 {
        vault.vaultctl(&["keys", "export", "--file", "prod.keys"]).ok();
    }
    let kept = place::directory(&vault.path().join("prod.keys"), &card(&vault), now).unwrap();
    assert_eq!(kept.agents, named.agents);
    let later = now.plus(GOOD_FOR).plus(GOOD_FOR);
    let expired = place::directory(&vault.path().join("prod.keys"), &card(&vault), later).unwrap_err().to_string();
    assert!(expired.contains("prod.keys") && expired.contains("fetch a new one"), "{expired}");
}

#[test]
fn names_are_public_only_where_the_configuration_says_so() {
    let vault = Vault::start_with(|config| config.replace("\nnames = false", "\nnames = true"));
    vault.with_kit("hunter2");
    let directory = open(&http(&vault, KEYS).1, &card(&vault).identity, SystemClock.now()).unwrap();
    assert!(directory.names && directory.agents[0].agent.is_some() && directory.operators.len() == 1);
}

#[tokio::test]
async fn a_client_that_is_given_a_directory_takes_no_other_response_key() {
    let (vault, other) = (Vault::start(), Vault::start());
    let card = card(&vault);
    vault.vaultctl(&["keys", "export", "--file", "prod.keys"]).ok();
    let path = vault.path().join("prod.keys");
    let listed = place::directory(&path, &card, SystemClock.now()).unwrap();
    let key = || keyfile::read_secret(&vault.path().join(".config/nockvault/prod/ada.ed25519")).unwrap();
    let connect = async |directory: Directory| {
        let around = Surroundings { directory: Some(Arc::new(directory)), ..Surroundings::default() };
        Operator::connect_in(&card, Identity::held("ada".parse().unwrap(), key(), 1), around).await
    };
    connect(listed.clone()).await.unwrap();
    // A response key that the identity key certified and that the directory does not hold.
    let without =
        Directory { certs: certs(&listed, KeyRole::Jwt).map(|found| found.2.clone()).collect(), ..listed.clone() };
    let refused = connect(without).await.unwrap_err();
    assert!(matches!(refused, Fault::Untrusted(Untrusted::NotListed { .. })), "{refused:?}");
    let old = Directory { exp: listed.iat, ..listed };
    let refused = connect(old).await.unwrap_err();
    assert!(matches!(&refused, Fault::Local(why) if why.contains("fetch a new one")), "{refused:?}");
    // Another vault's directory is not this vault's.
    let elsewhere = other.vaultctl(&["keys", "export"]).ok();
    assert!(matches!(open(&elsewhere, &card.identity, SystemClock.now()), Err(BadDirectory::OtherVault { .. })));
}

/// Asks for a credential in an agent's name; `with` names its key file, where it is not the usual one.
fn ask(vault: &Vault, agent: &str, with: Option<&str>) -> Said {
    let mut command = program(example("request_credential"), vault.path());
    command.args(["--agent", agent, "--role", "orders-read"]);
    said(command.args(with.iter().flat_map(|file| ["--key", file])))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

const ROTATE: &[&str] = &["agent", "rotate", "kit", "--agent-key", "kit.ed25519", "-o", "json"];

#[test]
fn an_agent_brings_its_next_key_itself_and_the_old_one_works_for_the_overlap() {
    let vault = Vault::start_with(|config| config.replace("key_overlap_s = 604800", "key_overlap_s = 12"));
    vault.with_kit("hunter2");
    ask(&vault, "kit", None).ok();
    let told = vault.vaultctl(ROTATE);
    assert!(told.err.contains("the old one is accepted until") && told.err.contains("kit.1.ed25519"), "{told:?}");
    let told = json(&told.ok());
    assert_eq!((&told["kver"], &told["old_key"]), (&2.into(), &"kit.1.ed25519".into()));
    for stray in ["kit.next.ed25519", "kit.next.pub", "kit.next.register"] {
        assert!(!vault.path().join(stray).exists(), "{stray} is left over");
    }
    // Both work: who has not changed over yet goes on with the old one.
    ask(&vault, "kit", None).ok();
    ask(&vault, "kit", Some("kit.1.ed25519")).ok();
    let grace = Timestamp(told["grace"].as_u64().unwrap());
    while SystemClock.now() <= grace {
        std::thread::sleep(Duration::from_millis(100));
    }
    let refused = ask(&vault, "kit", Some("kit.1.ed25519")).fails(2);
    assert!(refused.contains("key_retired"), "{refused}");
    ask(&vault, "kit", None).ok();

    // What the old key signed verifies with the old key, what the new one signed with the new one.
    let report = json(&vault.vaultctl(&["audit", "verify", "kit", "-o", "json"]).ok());
    let keys = report["keys"].as_array().unwrap();
    assert_eq!((keys.len(), keys[0]["until"].as_u64()), (2, Some(grace.0)), "{report}");
    assert!(keys.iter().all(|key| key["signed"].as_u64().unwrap() >= 2), "{report}");
    let [old, new] = [0, 1].map(|at| keys[at]["kid"].as_str().unwrap().to_owned());
    vault.vaultctl(&["audit", "verify", "kit", "--agent-key", &old, "--agent-key", &new]).ok();
    let found = vault.vaultctl(&["audit", "verify", "kit", "--agent-key", &old]);
    assert!(found.code == 2 && found.out.contains(&new) && found.out.contains("pinned"), "{found:?}");
    let directory = open(&vault.vaultctl(&["keys", "export"]).ok(), &card(&vault).identity, SystemClock.now()).unwrap();
    assert_eq!(directory.agents.iter().map(|key| key.until()).collect::<Vec<_>>(), [Some(grace), None]);
}

#[test]
fn a_rotation_that_was_broken_off_goes_on_with_the_same_key() {
    let mut vault = Vault::start();
    vault.with_kit("hunter2");
    let path = |vault: &Vault, name: &str| vault.path().join(name);
    // The new key is there, and the vault has not heard of it.
    vault.kill();
    vault.vaultctl(ROTATE).fails(1);
    let made = fs::read_to_string(path(&vault, "kit.next.ed25519")).unwrap();
    vault.go_on();
    assert_eq!(json(&vault.vaultctl(ROTATE).ok())["kver"], 2);
    assert_eq!(fs::read_to_string(path(&vault, "kit.ed25519")).unwrap(), made);
    // The vault has it, and not all files are exchanged.
    fs::rename(path(&vault, "kit.ed25519"), path(&vault, "kit.next.ed25519")).unwrap();
    fs::hard_link(path(&vault, "kit.1.ed25519"), path(&vault, "kit.ed25519")).unwrap();
    let again = vault.vaultctl(ROTATE);
    assert!(again.err.contains("an earlier run has brought key number 2"), "{again:?}");
    again.ok();
    assert_eq!(fs::read_to_string(path(&vault, "kit.ed25519")).unwrap(), made);
    assert_eq!(vault.vaultctl(&["agent", "list", "--field", "kver"]).ok(), "2\n");
    ask(&vault, "kit", None).ok();
    // And once more from there.
    assert_eq!(json(&vault.vaultctl(ROTATE).ok())["kver"], 3);
    ask(&vault, "kit", None).ok();
    // An old key that would be lost is not overwritten.
    fs::write(path(&vault, "kit.3.ed25519"), fs::read(path(&vault, "kit.1.ed25519")).unwrap()).unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path(&vault, "kit.3.ed25519"), fs::Permissions::from_mode(0o600)).unwrap();
    let kept = vault.vaultctl(ROTATE).fails(1);
    assert!(kept.contains("is another key"), "{kept}");
    fs::remove_file(path(&vault, "kit.3.ed25519")).unwrap();
    assert_eq!(json(&vault.vaultctl(ROTATE).ok())["kver"], 4);
    ask(&vault, "kit", None).ok();
}

#[test]
fn an_operator_registers_the_next_key_and_is_told_what_it_follows() {
    let vault = Vault::start();
    vault.with_kit("hunter2");
    let told = vault.vaultctl(&["agent", "rotate", "kit"]).fails(1);
    let line = told.lines().find(|line| line.contains("keygen")).expect("it says how").trim();
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    vault.vaultctl(&words).ok();
    let done = vault.vaultctl(&["agent", "rotate", "kit", "next/kit.register"]);
    assert!(done.err.contains("the key before it is accepted until"), "{done:?}");
    done.ok();
    ask(&vault, "kit", Some("next/kit.ed25519")).ok();
    ask(&vault, "kit", None).ok();
    // The same statement does not follow any more.
    let again = vault.vaultctl(&["agent", "rotate", "kit", "next/kit.register"]).fails(1);
    assert!(again.contains("number 2") && again.contains("vaultctl keygen --agent kit --follows"), "{again}");
    vault.vaultctl(&["keygen", "--agent", "nova"]).ok();
    let other = vault.vaultctl(&["agent", "rotate", "kit", "nova.register"]).fails(1);
    assert!(other.contains("of agent nova, not of agent kit"), "{other}");
}

#[test]
fn a_key_ends_when_it_is_said_and_readers_are_told_since_when_to_doubt_it() {
    let vault = Vault::start();
    vault.with_kit("hunter2");
    ask(&vault, "kit", None).ok();
    vault.vaultctl(ROTATE).ok();
    let old = vault.vaultctl(&["agent", "show", "kit", "--field", "keys.0.kid"]).ok();
    let end = ["agent", "end-key", "kit", "--kid", old.trim(), "--suspect-from"];
    let future = vault.vaultctl(&[&end[..], &["2126-01-01"]].concat()).fails(1);
    assert!(future.contains("has not come yet"), "{future}");
    ask(&vault, "kit", Some("kit.1.ed25519")).ok();
    vault.vaultctl(&[&end[..], &["2h"]].concat()).ok();
    let refused = ask(&vault, "kit", Some("kit.1.ed25519")).fails(2);
    assert!(refused.contains("key_retired"), "{refused}");
    ask(&vault, "kit", None).ok();
    // What it signed before stays good; the reader is told what was said of it.
    let report = vault.vaultctl(&["audit", "verify", "kit"]).ok();
    assert!(report.contains("intact") && report.contains("it may have been in wrong hands since then"), "{report}");
    let report = json(&vault.vaultctl(&["audit", "verify", "kit", "-o", "json"]).ok());
    let (from, until) = (&report["keys"][0]["suspect_from"], &report["keys"][0]["until"]);
    assert!(from.as_u64().unwrap() + 7_000_000 < until.as_u64().unwrap(), "{report}");
    assert_eq!(report["keys"][1]["suspect_from"], Value::Null);
}

#[test]
fn an_agent_without_a_key_of_its_own_is_told_how_to_enrol_and_gets_nothing() {
    let vault = Vault::start();
    vault.with_kit("hunter2");
    let none = ask(&vault, "nova", None).fails(1);
    assert!(none.contains("vaultctl keygen --agent nova") && none.contains("agent register nova.register"), "{none}");
    // A key that nobody registered, and another agent's key: one answer of the vault's, and the way in from this side.
    vault.vaultctl(&["keygen", "--agent", "nova"]).ok();
    for with in [None, Some("kit.ed25519")] {
        let refused = ask(&vault, "nova", with);
        assert!(!refused.out.contains("hunter2"));
        let refused = refused.fails(2);
        let wanted = if with.is_none() { "an operator registers it" } else { "wrong_holder" };
        assert!(refused.contains(wanted), "{refused}");
    }
    let entries = vault.vaultctl(&["audit", "show", "kit", "--field", "kind"]).ok();
    assert_eq!(entries, "genesis\ngrant\n", "a stranger wrote into a chain");
}
