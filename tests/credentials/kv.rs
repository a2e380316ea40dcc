//! Stored values: versions, one that is rolled back, one that ends, and the word that none can be taken back.

use std::time::Duration;

use nockvault::denial::Reason;
use nockvault::statement::reply::Revocation;
use nockvault::time::{Clock as _, Seconds, SystemClock};
use serde_json::json;

use crate::hostile::{self, Takes};
use crate::stage::{Stage, ask, handle, issue, life, refused, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_value_has_versions_and_an_end_and_is_said_to_be_beyond_recall() {
    let stage = Stage::new();
    stage.vault.vaultctl_fed(&["secret", "put", "partner-key"], b"first\n").ok();
    stage.role("partner-key", "kv", "kv.toml", &[]);
    stage.role("partner-key-1", "kv", "kv.toml", &["version=1"]);
    let kit = stage.agent("kit", &["partner-key", "partner-key-1"]).await;
    let session = kit.session("values").unwrap();

    let first = issue(&session, "partner-key", 0).await;
    assert_eq!((text(&first, "value"), first.secret.kind()), ("first", Some("kv")));
    assert_eq!((first.hdr.revocation, first.hdr.renewable), (Revocation::None, true));
    let longer = session.renew(&first.hdr.lease, Seconds(300)).await.unwrap();
    assert!(longer.since(first.hdr.exp) >= Seconds(200));
    session.release(&first.hdr.lease).await.unwrap();
    assert_eq!(refused(session.renew(&first.hdr.lease, Seconds(0)).await).0, Reason::LeaseEnded);

    versions(&stage, &session).await;
    ends(&stage, &session).await;

    // Taken back, it is the lease that ends; the words say what does not.
    let last = issue(&session, "partner-key-1", 0).await;
    let words = stage.words(&["lease", "revoke", last.hdr.lease.as_str()]);
    assert!(words.contains("revoked 1 lease") && words.contains("cannot be taken back"), "{words}");
    assert_eq!(stage.ended(&last.hdr.lease)["state"], "revoked");

    let takes = Takes { texts: &[], lists: &[] };
    hostile::refused(&stage, "partner-key", &takes).await;
    let chain = stage.verified("kit");
    assert_eq!(life(&chain, &first), ["issue", "renew", "release"]);
    assert_eq!(life(&chain, &last), ["issue", "revoke none"]);
    assert!(handle(&chain, &first).starts_with("nv_kit_"));
}

async fn versions(stage: &Stage, session: &nockvault::client::agent::Session) {
    stage.vault.vaultctl_fed(&["secret", "put", "partner-key"], b"second\n").ok();
    assert_eq!(text(&issue(session, "partner-key", 0).await, "value"), "second");
    assert_eq!(text(&issue(session, "partner-key-1", 0).await, "value"), "first", "a version that is pinned stays");

    let words = stage.words(&["secret", "rollback", "partner-key", "--to", "1"]);
    assert!(words.contains("partner-key"), "{words}");
    assert_eq!(text(&issue(session, "partner-key", 0).await, "value"), "first");
    let versions = stage.json(&["secret", "versions", "partner-key"]);
    assert_eq!(versions.as_array().unwrap().len(), 3, "the value of old is a version of its own: {versions}");
    assert!(!versions.to_string().contains("first"), "no value is shown");
}

/// A value that ends in three seconds: no lease of it lives longer, and then it is not handed out.
async fn ends(stage: &Stage, session: &nockvault::client::agent::Session) {
    let end = SystemClock.now().plus(Seconds(3));
    let put = ["secret", "put", "partner-key", "--expires", &end.to_string()];
    stage.vault.vaultctl_fed(&put, b"fleeting\n").ok();
    let fleeting = issue(session, "partner-key", 0).await;
    assert_eq!((text(&fleeting, "value"), fleeting.hdr.exp), ("fleeting", end));
    let (reason, limit) = refused(session.request(&ask("partner-key", 60)).await);
    assert!(reason == Reason::SecretExpired && limit.unwrap() <= 3, "{reason} {limit:?}");
    assert!(refused(session.renew(&fleeting.hdr.lease, Seconds(60)).await).1.unwrap() <= 3);
    tokio::time::sleep(Duration::from_millis(3100)).await;
    assert_eq!(refused(session.request(&ask("partner-key", 0)).await), (Reason::SecretExpired, Some(0)));
    assert_eq!(stage.ended(&fleeting.hdr.lease)["state"], json!("expired"));
}
