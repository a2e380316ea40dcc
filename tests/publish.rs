//! What anyone may fetch of certificate authorities: little work for the vault, however often it is asked, and nothing
//! of an authority that no role signs with.

#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::sync::Arc;

use nockvault::denial::Reason;
use nockvault::engine::ca::{Document, LINGERS};
use nockvault::statement::ca::CaCreate;
use nockvault::time::Seconds;
use nockvault::vault::publish::FRESH;
use serde_json::json;

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
