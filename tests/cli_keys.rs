//! Public keys for others, with the real programs: the key directory for operators and for anybody, clients that pin it,
//! and what becomes of agents' keys that follow each other.

#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test stops where what it stands on is not there")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use nockvault::audit::directory::{BadDirectory, certs, open};
use nockvault::client::fault::{Fault, Untrusted};
use nockvault::client::keyfile;
use nockvault::client::operator::Operator;
use nockvault::client::signer::Identity;
use nockvault::client::{Surroundings, place};
use nockvault::statement::card::Card;
use nockvault::statement::cert::KeyRole;
use nockvault::statement::directory::{Directory, GOOD_FOR};
use nockvault::time::{Clock as _, SystemClock};

mod programs;

use programs::Vault;

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
