//! A connection proves nothing and remembers nothing. Over one that was good, and is open still, the next call after a
//! revocation is refused; and so it is over one that comes back, which TLS may resume. With the real daemon, through a
//! relay that counts connections, so that it is seen that there was only the one.

#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod programs;
mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nockvault::client::{channel, keyfile};
use nockvault::crypto::envelope::Envelope;
use nockvault::crypto::signature::Form;
use nockvault::id::LeaseId;
use nockvault::statement::card::Card;
use nockvault::statement::lease::{Release, Renew};
use nockvault::statement::session::{Close, Hello};
use nockvault::time::{Clock as _, ManualClock, Seconds, SystemClock};
use nockvault::wire::convert::RefusalDetails;
use nockvault::wire::v1::agent_service_client::AgentServiceClient;
use nockvault::wire::v1::{
    CloseSessionRequest, OpenSessionRequest, ReleaseLeaseRequest, RenewLeaseRequest, RequestCredentialRequest,
    RotateKeyRequest,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use programs::Vault;
use support::agent::{Agent, Rpc};
use support::new_key;

/// Hands on what comes, and counts how often somebody came.
struct Relay {
    at: SocketAddr,
    came: Arc<AtomicUsize>,
    open: Arc<Mutex<JoinSet<()>>>,
}

impl Relay {
    async fn to(daemon: SocketAddr) -> Relay {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let at = listener.local_addr().unwrap();
        let (came, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(JoinSet::new())));
        tokio::spawn({
            let (came, open) = (Arc::clone(&came), Arc::clone(&open));
            async move {
                while let Ok((mut near, _)) = listener.accept().await {
                    came.fetch_add(1, Ordering::AcqRel);
                    open.lock().unwrap().spawn(async move {
                        let mut far = TcpStream::connect(daemon).await.unwrap();
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    });
                }
            }
        });
        Relay { at, came, open }
    }

    fn cut(&self) {
        self.open.lock().unwrap().abort_all();
    }

    fn came(&self) -> usize {
        self.came.load(Ordering::Acquire)
    }
}

/// `done`, the reason of a refusal, or `lost` where the connection was.
async fn said(channel: &Channel, rpc: Rpc, envelope: Envelope) -> String {
    let mut agents = AgentServiceClient::new(channel.clone());
    let signed = Some(envelope.into());
    let answer = match rpc {
        Rpc::OpenSession => agents.open_session(OpenSessionRequest { signed }).await.map(drop),
        Rpc::RequestCredential => agents.request_credential(RequestCredentialRequest { signed }).await.map(drop),
        Rpc::RenewLease => agents.renew_lease(RenewLeaseRequest { signed }).await.map(drop),
        Rpc::ReleaseLease => agents.release_lease(ReleaseLeaseRequest { signed }).await.map(drop),
        Rpc::CloseSession => agents.close_session(CloseSessionRequest { signed }).await.map(drop),
        Rpc::RotateKey => agents.rotate_key(RotateKeyRequest { signed }).await.map(drop),
    };
    match answer {
        Ok(()) => "done".to_owned(),
        Err(status) => RefusalDetails::from_status(&status).map_or_else(|| "lost".to_owned(), |refusal| refusal.reason),
    }
}

/// One request of each kind, signed now.
fn each(kit: &Agent) -> Vec<(Rpc, Envelope)> {
    kit.clock.set(SystemClock.now());
    let lease = || LeaseId::new(1, [1; 10]);
    vec![
        (Rpc::OpenSession, kit.signed(Hello { seal: kit.seal_statement() })),
        (Rpc::RequestCredential, kit.issue("orders-read")),
        (Rpc::RenewLease, kit.signed(Renew { lease: lease(), ttl: Seconds(0) })),
        (Rpc::ReleaseLease, kit.signed(Release::Lease(lease()))),
        (Rpc::CloseSession, kit.signed(Close {})),
        (Rpc::RotateKey, kit.signed(kit.rotation(&new_key()))),
    ]
}

async fn asked(channel: &Channel, kit: &Agent) -> String {
    kit.clock.set(SystemClock.now());
    said(channel, Rpc::RequestCredential, kit.issue("orders-read")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_revoked_is_refused_with_the_next_call_of_an_open_connection() {
    let vault = Vault::start();
    vault.with_kit("a value");
    let card = Card::read(&std::fs::read_to_string(vault.card()).unwrap()).unwrap();
    let key = keyfile::read_secret(&vault.path().join("kit.ed25519")).unwrap();
    let mut kit = Agent::new("kit", key, Form::Pae, &card.aud, &ManualClock::at(SystemClock.now()));
    let relay = Relay::to(card.agents.strip_prefix("https://").unwrap().parse().unwrap()).await;
    let channel = channel::open(&format!("https://{}", relay.at), card.ca.as_deref()).await.unwrap();

    // What is commanded in between, what the next call is told, and what makes it good again.
    let steps: [(&[&str], &str, &[&str]); 4] = [
        (&["revoke", "kit", "orders-read"], "no_grant", &["grant", "kit", "orders-read", "--ttl", "15m"]),
        (&["freeze", "kit"], "agent_frozen", &["thaw", "kit"]),
        (&["freeze", "--role", "orders-read"], "role_frozen", &["thaw", "--role", "orders-read"]),
        (&["freeze", "--everything"], "vault_frozen", &["thaw", "--everything"]),
    ];
    for (index, (stop, wanted, go_on)) in steps.into_iter().enumerate() {
        kit.new_session(&format!("work-{index}"));
        assert_eq!(asked(&channel, &kit).await, "done", "before {stop:?}");
        vault.vaultctl(stop).ok();
        assert_eq!(asked(&channel, &kit).await, wanted, "after {stop:?}");
        vault.vaultctl(go_on).ok();
    }
    kit.new_session("last");
    assert_eq!(asked(&channel, &kit).await, "done");
    vault.vaultctl(&["freeze", "--session", "kit/last"]).ok();
    assert_eq!(asked(&channel, &kit).await, "session_ended");
    kit.new_session("after-it");
    assert_eq!(asked(&channel, &kit).await, "done");

    // The key: nothing at all is heard any more.
    vault.vaultctl(&["agent", "end-key", "kit"]).ok();
    for (rpc, envelope) in each(&kit) {
        assert_eq!(said(&channel, rpc, envelope).await, "key_retired", "{rpc:?}");
    }
    assert_eq!(relay.came(), 1, "it was another connection");

    // The channel connects anew by itself, with what TLS kept of the connection before.
    relay.cut();
    let mut answer = "lost".to_owned();
    for _ in 0..50 {
        answer = asked(&channel, &kit).await;
        if answer != "lost" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!((answer.as_str(), relay.came()), ("key_retired", 2));
}
