//! The daemon killed in the middle of it, as often as not between the commit and the answer. However many copies came
//! before and after: the chain has one entry for the request, and at most one copy was answered.

use std::time::Duration;

use nockvault::client::{channel, keyfile};
use nockvault::crypto::envelope::Envelope;
use nockvault::crypto::signature::Form;
use nockvault::statement::card::Card;
use nockvault::time::{Clock as _, ManualClock, SystemClock};
use nockvault::wire::convert::RefusalDetails;
use nockvault::wire::v1::RequestCredentialRequest;
use nockvault::wire::v1::agent_service_client::AgentServiceClient;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tonic::transport::Channel;

use crate::programs::Vault;
use crate::support::agent::Agent;

const COPIES: usize = 1000;

/// How a copy ended: answered, refused for a reason, or with the connection.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Answered,
    Refused(String),
    Broken,
}

async fn send(channel: Channel, envelope: Envelope) -> End {
    let message = RequestCredentialRequest { signed: Some(envelope.into()) };
    match AgentServiceClient::new(channel).request_credential(message).await {
        Ok(_) => End::Answered,
        Err(status) => RefusalDetails::from_status(&status).map_or(End::Broken, |refusal| End::Refused(refusal.reason)),
    }
}

/// Sends so many copies over some connections, without waiting for their ends.
async fn copies(card: &Card, envelope: &Envelope, count: usize) -> Vec<JoinHandle<End>> {
    let mut channels = Vec::new();
    for _ in 0..8 {
        channels.push(channel::open(&card.agents, card.ca.as_deref()).await.unwrap());
    }
    (0..count).map(|index| tokio::spawn(send(channels[index % 8].clone(), envelope.clone()))).collect()
}

/// How many were answered; all others must have been refused as copies, or broken off with the daemon.
async fn answered(sent: Vec<JoinHandle<End>>, broken: bool) -> usize {
    let mut answered = 0;
    for one in sent {
        match one.await.unwrap() {
            End::Answered => answered += 1,
            End::Refused(reason) => assert!(["replay", "busy"].contains(&reason.as_str()), "{reason}"),
            End::Broken => assert!(broken, "a copy got no answer of a daemon that lives"),
        }
    }
    answered
}

fn chain(vault: &Vault) -> Vec<Value> {
    let text = vault.vaultctl(&["audit", "export", "kit"]).ok();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_thousand_copies_around_a_kill_exactly_one_is_entered() {
    let mut vault = Vault::start_with(|config| {
        config
            .replace("concurrent_requests = 256", "concurrent_requests = 4096")
            .replace("concurrent_requests_per_peer = 128", "concurrent_requests_per_peer = 4096")
    });
    vault.with_kit("a value");
    let card = Card::read(&std::fs::read_to_string(vault.card()).unwrap()).unwrap();
    let key = keyfile::read_secret(&vault.path().join("kit.ed25519")).unwrap();
    let clock = ManualClock::at(SystemClock.now());
    let kit = Agent::new("kit", key, Form::Pae, &card.aud, &clock);

    let mut all = 0;
    for wait in [0u64, 3, 10, 40] {
        clock.set(SystemClock.now());
        let envelope = kit.issue("orders-read");
        let sent = copies(&card, &envelope, COPIES).await;
        tokio::time::sleep(Duration::from_millis(wait)).await;
        vault.kill();
        let before = answered(sent, true).await;
        vault.go_on();
        let after = answered(copies(&card, &envelope, COPIES).await, false).await;
        assert!(before + after <= 1, "{wait} ms: answered {before} times before the kill and {after} after it");

        let embedded = json!(envelope.embed().unwrap());
        let chain = chain(&vault);
        let entries: Vec<&Value> = chain.iter().filter(|entry| entry["body"]["request"] == embedded).collect();
        assert_eq!(entries.len(), 1, "{wait} ms: {entries:?}");
        assert_eq!(entries[0]["kind"], "issue");
        all += before + after;
    }
    assert!(all > 0, "nothing was ever answered");
    vault.vaultctl(&["audit", "verify", "kit"]).ok();
}
