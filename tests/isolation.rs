//! One agent's compromise reaches its own live grants and nothing else; who can write the database but lacks the root
//! key adds no agent, no key and no grant, and brings none back; and what was taken back is over with the next request.

#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

#[path = "isolation/database.rs"]
mod database;

use nockvault::crypto::envelope::Envelope;
use nockvault::crypto::hpke::SealSecretKey;
use nockvault::denial::Reason::{self, *};
use nockvault::statement::agent::AgentKeyEnd;
use nockvault::statement::lease::{LeaseRevoke, Release, Renew, Scope};
use nockvault::statement::reply::{Hdr, Issued};
use nockvault::statement::session::{Close, Hello};
use nockvault::time::Seconds;
use serde_json::json;

use support::agent::{Agent, Rpc};
use support::{Harness, terms};

/// Two agents with a grant each, a session each of the same name, and a live lease each.
struct Two {
    vault: Harness,
    ada: Agent,
    bob: Agent,
    bobs: Issued,
    bobs_request: Envelope,
}

async fn two() -> Two {
    let vault = Harness::new().await;
    vault.kv_role("shared", b"a value of both").await;
    vault.kv_role("bobs", b"a value of bob's").await;
    let (mut ada, mut bob) = (vault.agent("ada").await, vault.agent("bob").await);
    for (agent, role) in [(&ada, "shared"), (&bob, "shared"), (&bob, "bobs")] {
        vault.grant(&agent.name, role, terms()).await;
    }
    ada.get(&vault, "shared").await;
    bob.get(&vault, "shared").await;
    bob.new_session("private");
    let bobs_request = bob.issue("bobs");
    let bobs = vault.issued(&bobs_request).await;
    bob.keep(bobs.entry);
    Two { vault, ada, bob, bobs, bobs_request }
}

#[tokio::test]
async fn nothing_of_another_agents_is_there_at_any_call() {
    let Two { vault, ada, bob, bobs, bobs_request } = two().await;
    let lease = || bobs.hdr.lease.clone();
    // Ada in her own session; in one named like bob's; and with bob's own seal under the name of his session.
    let mut named = Agent::new("ada", support::agent::copy(&ada.key), ada.form, &ada.aud, &ada.clock);
    (named.sid, named.seen) = (bob.sid.clone(), ada.seen);
    let bob_before = vault.chain_of(&bob.name).await;
    let cases: Vec<(&str, Rpc, Envelope, Reason)> = vec![
        ("renew his lease", Rpc::RenewLease, ada.signed(Renew { lease: lease(), ttl: Seconds(0) }), LeaseUnknown),
        ("release his lease", Rpc::ReleaseLease, ada.signed(Release::Lease(lease())), LeaseUnknown),
        ("release by his request", Rpc::ReleaseLease, ada.signed(Release::Req(bobs_request.digest())), LeaseUnknown),
        (
            "renew in his session",
            Rpc::RenewLease,
            named.signed(Renew { lease: lease(), ttl: Seconds(0) }),
            SessionUnknown,
        ),
        ("release in his session", Rpc::ReleaseLease, named.signed(Release::Lease(lease())), SessionUnknown),
        ("close his session", Rpc::CloseSession, named.signed(Close {}), SessionUnknown),
        ("his role", Rpc::RequestCredential, ada.issue("bobs"), NoGrant),
        ("his role in his session", Rpc::RequestCredential, named.issue("bobs"), NoGrant),
        ("his history", Rpc::RequestCredential, with_seen_of(&ada, &bob), HistoryMismatch),
        ("her name, his key", Rpc::RequestCredential, in_the_name_of(&bob, "ada"), WrongHolder),
        ("his name, her key", Rpc::RequestCredential, in_the_name_of(&ada, "bob"), WrongHolder),
    ];
    for (name, rpc, envelope, wanted) in cases {
        let refusal = vault.refusal(rpc, envelope).await;
        assert_eq!(refusal.reason, wanted, "{name}: {}", refusal.denial);
        let text = refusal.denial.to_string();
        assert!(!text.contains("bob") && !text.contains("private"), "{name}: {text}");
    }
    // Not a word of it in his chain, and his lease and session are as they were.
    assert_eq!(vault.chain_of(&bob.name).await, bob_before);
    let lease = vault.vault().store().lease(&lease()).await.unwrap().unwrap();
    assert_eq!((lease.state, lease.expires), (nockvault::lease::State::Live, bobs.hdr.exp));

    // A lease that is not there and one of another's are refused alike.
    let nowhere = nockvault::id::LeaseId::new(1, [1; 10]);
    let one = vault.refusal(Rpc::ReleaseLease, ada.signed(Release::Lease(nowhere))).await.denial;
    let other = vault.refusal(Rpc::ReleaseLease, ada.signed(Release::Lease(bobs.hdr.lease.clone()))).await.denial;
    assert_eq!((one.to_string(), one.limit, one.now), (other.to_string(), other.limit, other.now));
    vault.verify_all().await;
}

fn with_seen_of(agent: &Agent, other: &Agent) -> Envelope {
    let mut request = agent.request(agent.issue_body("shared"));
    request.common.seen = other.seen;
    agent.sign(&request)
}

fn in_the_name_of(agent: &Agent, name: &str) -> Envelope {
    let mut request = agent.request(agent.issue_body("shared"));
    request.common.agent = name.parse().unwrap();
    agent.sign(&request)
}

/// A session belongs to its agent: two may call theirs alike, and neither sees the other's.
#[tokio::test]
async fn sessions_of_one_name_are_two_agents_two_sessions() {
    let Two { vault, mut ada, mut bob, .. } = two().await;
    for agent in [&mut ada, &mut bob] {
        agent.new_session("night");
        agent.hello(&vault).await;
    }
    ada.close(&vault).await;
    let issued = bob.get(&vault, "shared").await;
    assert_eq!(bob.open(&issued)["value"], "a value of both");
    assert_eq!(vault.refuses(&ada.issue("shared")).await, SessionEnded);
}

/// Within one agent, a credential still opens only to its own session.
#[tokio::test]
async fn a_credential_opens_to_its_own_session_alone() {
    let Two { vault, ada, mut bob, bobs, .. } = two().await;
    let sealed =
        || nockvault::crypto::hpke::Sealed { enc: bobs.enc.0.as_slice().try_into().unwrap(), ct: bobs.ct.0.clone() };
    let open = |key: &SealSecretKey, hdr: &Hdr| nockvault::seal::reply::open(key, hdr, &sealed());
    assert!(open(&bob.seal, &bobs.hdr).is_ok());
    let mut moved = bobs.hdr.clone();
    moved.exp = moved.exp.plus(Seconds(1));
    assert!(open(&bob.seal, &moved).is_err() && open(&ada.seal, &bobs.hdr).is_err());
    bob.new_session("another");
    assert!(open(&bob.seal, &bobs.hdr).is_err());
    bob.get(&vault, "bobs").await;
}

#[tokio::test]
async fn what_was_taken_back_is_over_with_the_next_request() {
    let Two { vault, mut ada, mut bob, bobs, .. } = two().await;
    let in_flight = bob.issue("bobs");
    vault.ungrant(&bob.name, "bobs").await;
    assert_eq!(vault.refuses(&in_flight).await, NoGrant, "signed before, sent after");
    assert_eq!(vault.refuses(&bob.issue("bobs")).await, NoGrant);
    let renew = bob.signed(Renew { lease: bobs.hdr.lease.clone(), ttl: Seconds(0) });
    assert_eq!(vault.refusal(Rpc::RenewLease, renew).await.reason, LeaseEnded, "a lease under it ended with it");
    bob.sid = "work".parse().unwrap();
    // What else he has is not touched.
    bob.new_session("more");
    bob.get(&vault, "shared").await;

    // A lease alone.
    let lease = bob.get(&vault, "shared").await.hdr.lease;
    vault.order(LeaseRevoke { reason: None, scope: Scope::Lease(lease.clone()) }).await;
    let renew = bob.signed(Renew { lease, ttl: Seconds(0) });
    assert_eq!(vault.refusal(Rpc::RenewLease, renew).await.reason, LeaseEnded);

    // The key: one command, and none of its requests is heard again at any call; another's are.
    vault.end_key(&bob.name, bob.key.kid()).await;
    for (rpc, envelope) in [
        (Rpc::OpenSession, bob.signed(Hello { seal: bob.seal_statement() })),
        (Rpc::RequestCredential, bob.issue("shared")),
        (Rpc::RenewLease, bob.signed(Renew { lease: bobs.hdr.lease.clone(), ttl: Seconds(0) })),
        (Rpc::ReleaseLease, bob.signed(Release::Lease(bobs.hdr.lease.clone()))),
        (Rpc::CloseSession, bob.signed(Close {})),
        (Rpc::RotateKey, bob.signed(bob.rotation(&support::new_key()))),
    ] {
        assert_eq!(vault.refusal(rpc, envelope).await.reason, KeyRetired, "{rpc:?}");
    }
    ada.get(&vault, "shared").await;
    vault.verify_all().await;
}

/// A grant that is given again is a new one: its uses begin anew, and leases of the old one do not come back with it.
#[tokio::test]
async fn a_grant_given_again_does_not_bring_the_old_leases_back() {
    let Two { vault, mut bob, bobs, .. } = two().await;
    vault.ungrant(&bob.name, "bobs").await;
    vault.grant(&bob.name, "bobs", terms()).await;
    let renew = bob.signed(Renew { lease: bobs.hdr.lease.clone(), ttl: Seconds(0) });
    assert_eq!(vault.refusal(Rpc::RenewLease, renew).await.reason, LeaseEnded);
    bob.get(&vault, "bobs").await;
}

/// A stranger's storm leaves nothing behind but a number: no entry, no row, in any chain, until the minute's count.
#[tokio::test]
async fn a_stranger_fills_no_chain() {
    let Two { vault, bob, .. } = two().await;
    let before = vault.picture();
    let stranger = Agent::new("bob", support::new_key(), bob.form, &bob.aud, &bob.clock);
    for index in 0..500 {
        let mut request = stranger.issue_value("shared");
        request["agent"] = json!(format!("agent{index}"));
        let mut envelope = stranger.sign(&request);
        if index % 2 == 0 {
            envelope.kid = bob.key.kid().to_string();
        }
        assert_eq!(vault.refuses(&envelope).await, Unauthenticated);
    }
    assert_eq!(before, vault.picture());
    vault.clock.advance(Seconds(60));
    vault.vault().tend_once().await;
    let after = vault.picture();
    assert_eq!(before.count("lines") + 1, after.count("lines"), "one line for a minute of it");
    let own = vault.entries(&nockvault::id::ChainName::vault()).await;
    assert_eq!(own.last().unwrap()["body"]["counts"], json!({"unauthenticated": 500}));
}

#[tokio::test]
async fn a_thief_that_rotated_the_key_is_shut_out_by_one_command() {
    let Two { vault, ada: mut thief, .. } = two().await;
    let owners = thief.issue("shared");
    thief.rotate(&vault).await;
    let thiefs = thief.issue("shared");
    let body = AgentKeyEnd { agent: thief.name.clone(), kid: None, suspect_from: None };
    vault.order(body).await;
    for envelope in [owners, thiefs] {
        assert_eq!(vault.refusal(Rpc::RequestCredential, envelope).await.reason, Reason::KeyRetired);
    }
    vault.verify_all().await;
}
