//! What anyone may fetch of certificate authorities: little work for the vault, however often it is asked, and nothing
//! of an authority that no role signs with.

#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::sync::Arc;

use nockvault::base64url;
use nockvault::denial::Reason;
use nockvault::engine::ca::{Document, LINGERS};
use nockvault::engine::ssh::serial;
use nockvault::id::LeaseId;
use nockvault::statement::ca::CaCreate;
use nockvault::statement::grant::Terms;
use nockvault::statement::lease::{LeaseRevoke, Scope};
use nockvault::time::{Seconds, Timestamp};
use nockvault::vault::publish::FRESH;
use serde_json::{Value, json};
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use support::agent::{Agent, Rpc};
use support::{Harness, terms};

async fn document(vault: &Harness, name: &str, document: Document) -> Result<Option<String>, Reason> {
    match vault.vault().published("fake", &name.parse().unwrap(), document).await {
        Ok(found) => Ok(found.map(|found| String::from_utf8(found.bytes.clone()).unwrap())),
        Err(denial) => Err(denial.reason),
    }
}

async fn make(vault: &Harness, name: &str) {
    let wish = json!({"subject": name}).as_object().cloned().unwrap();
    vault.order(CaCreate { name: name.parse().unwrap(), engine: "fake".into(), wish }).await;
}

/// A vault whose roles `web` and `more` sign with the authority `root`, and with another that no role signs with.
async fn two() -> Harness {
    let vault = Harness::new().await;
    for name in ["root", "idle"] {
        make(&vault, name).await;
    }
    for role in ["web", "more"] {
        vault.role(role, "fake", json!({"ca": "root"})).await;
    }
    vault
}

#[tokio::test]
async fn only_what_a_role_signs_with_is_there() {
    let vault = two().await;
    assert_eq!(document(&vault, "root", Document::Authority).await, Ok(Some("fake authority root".into())));
    for name in ["idle", "nothing", "web"] {
        for kind in [Document::Authority, Document::Revoked] {
            assert_eq!(document(&vault, name, kind).await, Ok(None), "{name}");
        }
    }
    // Another engine has no authority of this name, and an engine that there is not has none at all.
    for kind in ["ssh", "kv", "nothing"] {
        let found = vault.vault().published(kind, &"root".parse().unwrap(), Document::Authority).await.unwrap();
        assert!(found.is_none(), "{kind}");
    }
    assert_eq!(vault.backend.documents_made(), 1, "what is not there is not opened");

    // A role may come before its authority.
    vault.role("early", "fake", json!({"ca": "late"})).await;
    vault.clock.advance(FRESH);
    assert_eq!(document(&vault, "late", Document::Authority).await, Ok(None));
    make(&vault, "late").await;
    vault.clock.advance(FRESH);
    assert_eq!(document(&vault, "late", Document::Authority).await, Ok(Some("fake authority late".into())));
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_ask_it_is_made_once_in_a_while() {
    let vault = two().await;
    let ask = || async {
        let mut tasks = tokio::task::JoinSet::new();
        for index in 0..200 {
            let vault = Arc::clone(vault.vault());
            let wanted = async move {
                let found = vault.published("fake", &"root".parse().unwrap(), Document::Revoked).await;
                found.unwrap().unwrap().bytes.clone()
            };
            let task = tasks.spawn(wanted);
            // Some go away before they have their answer.
            if index % 3 == 0 {
                task.abort();
            }
        }
        let mut found: Vec<Vec<u8>> = Vec::new();
        while let Some(one) = tasks.join_next().await {
            found.extend(one.ok());
        }
        found.dedup();
        assert_eq!(found.len(), 1);
    };
    ask().await;
    assert_eq!(vault.backend.documents_made(), 1);
    vault.clock.advance(Seconds(FRESH.0 - 1));
    ask().await;
    assert_eq!(vault.backend.documents_made(), 1);
    vault.clock.advance(Seconds(1));
    ask().await;
    assert_eq!(vault.backend.documents_made(), 2);
}

#[tokio::test]
async fn a_list_names_what_its_own_roles_signed_and_was_taken_back() {
    let vault = two().await;
    vault.role("other", "fake", json!({"ca": "idle"})).await;
    let mut kit = vault.agent("kit").await;
    kit.new_session("work");
    let mut handles = Vec::new();
    for role in ["web", "more", "other"] {
        vault.grant(&kit.name, role, terms()).await;
        kit.get(&vault, role).await;
        let given_back = kit.get(&vault, role).await.hdr.lease;
        kit.release(&vault, &given_back).await;
        handles.push(nockvault::id::handle(&kit.name, &given_back));
    }
    let now = vault.clock_now().0;
    let list = document(&vault, "root", Document::Revoked).await.unwrap().unwrap();
    let (at, named) = list.split_once(' ').unwrap();
    let mut named: Vec<&str> = named.split(',').collect();
    named.sort_unstable();
    let mut wanted = [handles[0].as_str(), handles[1].as_str()];
    wanted.sort_unstable();
    assert_eq!((at, named.as_slice()), (now.to_string().as_str(), &wanted[..]));
    let other = document(&vault, "idle", Document::Revoked).await.unwrap().unwrap();
    assert_eq!(other, format!("{now} {}", handles[2]));
    // They would have expired by themselves, and are still there for those whose clocks are behind.
    vault.clock.advance(Seconds(300 + LINGERS.0 - 1));
    assert!(document(&vault, "idle", Document::Revoked).await.unwrap().unwrap().contains(&handles[2]));
    vault.clock.advance(FRESH);
    let now = vault.clock_now().0;
    assert_eq!(document(&vault, "idle", Document::Revoked).await, Ok(Some(format!("{now} "))));
}

/// A vault whose engines publish lists, each with a role of its kind for a life of two minutes. Its clock was four minutes
/// ahead, which is within the skew, while kit asked once, and is right now.
async fn ahead() -> (Harness, Agent) {
    let vault = Harness::new().await;
    for (engine, wish, config) in [
        ("jwt", None, json!({"audience": ["api"]})),
        ("ssh", Some(json!({})), json!({"ca": "root", "principals": ["deploy"]})),
        (
            "x509",
            Some(json!({"subject": {"common_name": "Agents"}})),
            json!({"ca": "web", "trust_domain": "prod.example"}),
        ),
    ] {
        if let (Some(wish), Some(name)) = (wish, config["ca"].as_str()) {
            let wish = wish.as_object().cloned().unwrap();
            vault.order(CaCreate { name: name.parse().unwrap(), engine: engine.into(), wish }).await;
        }
        vault.role(engine, engine, config).await;
    }
    let mut kit = vault.agent("kit").await;
    for role in ["jwt", "ssh", "x509"] {
        vault.grant(&kit.name, role, Terms { ttl: Seconds(120), ..terms() }).await;
    }
    let began = vault.clock_now();
    vault.clock.set(began.plus(Seconds(240)));
    kit.hello(&vault).await;
    vault.clock.set(began.plus(Seconds(1)));
    (vault, kit)
}

/// Which of these leases the list of this engine names.
async fn named<'a>(vault: &Harness, engine: &str, leases: &'a [LeaseId]) -> Vec<&'a LeaseId> {
    let published = async |name: &str| {
        let found = vault.vault().published(engine, &name.parse().unwrap(), Document::Revoked).await;
        found.unwrap().unwrap().bytes.clone()
    };
    let names: Box<dyn Fn(&LeaseId) -> bool> = match engine {
        "jwt" => {
            let list = vault.vault().revoked_tokens().await.unwrap();
            let claims = base64url::decode(list.split('.').nth(1).unwrap()).unwrap();
            let claims: Value = serde_json::from_slice(&claims).unwrap();
            Box::new(move |lease| claims["revoked"].as_array().unwrap().contains(&json!(lease)))
        }
        "ssh" => {
            let list = published("root").await;
            Box::new(move |lease| list.windows(8).any(|eight| eight == serial(lease).to_be_bytes()))
        }
        _ => {
            let list = published("web").await;
            Box::new(move |lease| {
                let (_, list) = CertificateRevocationList::from_der(&list).unwrap();
                let entry = list.iter_revoked_certificates().find(|one| one.raw_serial() == lease.bytes());
                assert!(
                    entry.is_none_or(|entry| entry.revocation_date <= list.last_update()),
                    "it is yet to be revoked"
                );
                entry.is_some()
            })
        }
    };
    leases.iter().filter(|lease| names(lease)).collect()
}

/// Its entries are dated behind the end of what they take back. It is good by the clock, and so it can be given back and
/// stands in its list; not for ever.
#[tokio::test]
async fn what_ends_while_its_chain_is_ahead_of_the_clock_is_listed() {
    for engine in ["jwt", "ssh", "x509"] {
        let (vault, mut kit) = ahead().await;
        let mut leases = Vec::new();
        for _ in 0..3 {
            leases.push(kit.get(&vault, engine).await.hdr);
        }
        let exp = leases[0].exp;
        let leases: Vec<LeaseId> = leases.into_iter().map(|hdr| hdr.lease).collect();
        vault.clock.advance(Seconds(60));
        kit.release(&vault, &leases[0]).await;
        vault.order(LeaseRevoke { reason: None, scope: Scope::Lease(leases[1].clone()) }).await;
        let chain = vault.chain_of(&kit.name).await;
        for (entry, kind) in chain.iter().rev().zip(["revoke", "release"]) {
            assert_eq!(entry["kind"], kind);
            assert!(
                Timestamp(entry["ts"].as_u64().unwrap()) >= exp,
                "the chain is not ahead, and the test shows nothing"
            );
        }
        assert_eq!(named(&vault, engine, &leases).await, [&leases[0], &leases[1]], "{engine}");
        let again = kit.signed(nockvault::statement::lease::Release::Lease(leases[0].clone()));
        assert_eq!(vault.refusal(Rpc::ReleaseLease, again).await.reason, Reason::LeaseEnded);

        vault.clock.set(exp.plus(LINGERS));
        vault.vault().tend_once().await;
        assert_eq!(named(&vault, engine, &leases).await, Vec::<&LeaseId>::new(), "{engine}");
        vault.verify_all().await;
    }
}

/// Taken back while the clock was ahead, it is revoked since before the list was made, and not from some later date on.
#[tokio::test]
async fn what_was_taken_back_by_a_clock_that_was_ahead_is_revoked_now() {
    for engine in ["jwt", "ssh", "x509"] {
        let (vault, mut kit) = ahead().await;
        let now = vault.clock_now();
        let lease = kit.get(&vault, engine).await.hdr.lease;
        vault.clock.set(now.plus(Seconds(200)));
        vault.order(LeaseRevoke { reason: None, scope: Scope::Lease(lease.clone()) }).await;
        vault.clock.set(now.plus(Seconds(10)));
        let leases = [lease];
        assert_eq!(named(&vault, engine, &leases).await, [&leases[0]], "{engine}");
    }
}
