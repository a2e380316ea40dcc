//! The client library over a session's whole life, against the real daemon: over TLS, and over its socket.

#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test stops where what it stands on is not there")]

use std::fs;
use std::sync::Arc;

use nockvault::client::agent::{Agent, Ask};
use nockvault::client::keyfile;
use nockvault::client::signer::{Held, Identity};
use nockvault::crypto::hash::Digest;
use nockvault::crypto::signature::SigningKey;
use nockvault::denial::Reason;
use nockvault::entropy::OsEntropy;
use nockvault::id::AgentName;
use nockvault::statement::card::Card;
use nockvault::time::Seconds;

mod programs;

use programs::Vault;

fn vault() -> (Vault, Card) {
    let vault = Vault::start();
    vault.with_kit("hunter2");
    let card = Card::read(&fs::read_to_string(vault.card()).unwrap()).unwrap();
    (vault, card)
}

fn kit(vault: &Vault) -> Identity<AgentName> {
    let key = keyfile::read_secret(&vault.path().join("kit.ed25519")).unwrap();
    Identity::held("kit".parse().unwrap(), key, 1)
}

fn ask() -> Ask {
    Ask::role("orders-read".parse().unwrap()).ttl(Seconds(60)).purpose("a test".to_owned().try_into().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_opened_used_and_closed() {
    let (vault, card) = vault();
    let agent = Agent::connect(&card, kit(&vault)).await.unwrap();
    assert_eq!(agent.vault().name.as_str(), "prod");
    let (session, opened) = agent.open_session("nightly").await.unwrap();
    assert!(session.sid().as_str().starts_with("nightly-"));
    assert_eq!(agent.seen(), opened.entry.seen());

    let credential = session.request(&ask()).await.unwrap();
    assert_eq!(credential.secret.expose("value"), Some("hunter2"));
    assert_eq!(credential.hdr.exp, credential.hdr.iat.plus(Seconds(60)));
    let lease = &credential.hdr.lease;
    assert!(session.renew(lease, Seconds(600)).await.unwrap() > credential.hdr.exp);
    let fault = session.renew(lease, Seconds(7200)).await.unwrap_err();
    assert_eq!(fault.reason(), Some(Reason::TtlExceedsGrant));
    assert!(fault.refusal().unwrap().proven, "the vault signs its no");
    session.release(lease).await.unwrap();
    let fault = session.release(lease).await.unwrap_err();
    assert!(matches!(fault.reason(), Some(Reason::LeaseEnded | Reason::LeaseUnknown)), "{fault}");

    // A lease whose answer was lost is released by the name of the request.
    let lost = session.request(&ask()).await.unwrap();
    assert_eq!(session.release_unanswered(lost.request.digest()).await.unwrap(), lost.hdr.lease);
    let fault = session.release_unanswered(Digest::of(b"never sent")).await.unwrap_err();
    assert_eq!(fault.reason(), Some(Reason::LeaseUnknown));

    session.request(&ask()).await.unwrap();
    let again = session.clone();
    assert_eq!(session.close().await.unwrap(), 1);
    let fault = again.request(&ask()).await.unwrap_err();
    assert_eq!(fault.reason(), Some(Reason::SessionEnded));
    assert!(vault.vaultctl(&["audit", "verify", "kit"]).ok().contains("intact"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_followed_by_the_next_and_the_session_goes_on() {
    let (vault, card) = vault();
    let agent = Agent::connect(&card, kit(&vault)).await.unwrap();
    let session = agent.session("rotate").unwrap();
    session.request(&ask()).await.unwrap();
    let next = SigningKey::generate(&OsEntropy);
    let kid = next.kid();
    session.rotate_key(Arc::new(Held::new(next))).await.unwrap();
    assert_eq!((agent.identity().kid(), agent.identity().kver), (kid.clone(), 2));
    assert_eq!(session.request(&ask()).await.unwrap().hdr.kid, kid);
    // Requests that were signed with the old key while the new one took over are answered to the old key.
    let under_way = (0..20).map(|_| {
        let session = session.clone();
        tokio::spawn(async move { session.request(&ask()).await.map(|credential| credential.hdr.kid) })
    });
    let under_way: Vec<_> = under_way.collect();
    let next = SigningKey::generate(&OsEntropy);
    let kids = [kid, next.kid()];
    session.rotate_key(Arc::new(Held::new(next))).await.unwrap();
    for one in under_way {
        assert!(kids.contains(&one.await.unwrap().unwrap()));
    }
    let [_, kid] = kids;
    assert_eq!(vault.vaultctl(&["agent", "list", "--field", "kid"]).ok().trim(), kid.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_at_once_share_one_history() {
    let (vault, card) = vault();
    // Over the socket, where the card may lead as well.
    let socket = format!("unix:{}", vault.path().join("vault/run/agents.sock").display());
    let agent = Agent::connect(&Card { agents: socket, ..card }, kit(&vault)).await.unwrap();
    let session = agent.session("many").unwrap();
    session.request(&ask()).await.unwrap();
    let each = (0..20).map(|_| {
        let session = session.clone();
        tokio::spawn(async move { session.request(&ask()).await.map(|credential| credential.entry.seq) })
    });
    let mut seqs = Vec::new();
    for one in each.collect::<Vec<_>>() {
        seqs.push(one.await.unwrap().unwrap());
    }
    seqs.sort_unstable();
    assert_eq!(seqs, (3..23).collect::<Vec<u64>>());
    assert_eq!(agent.seen().size, 23);
}
