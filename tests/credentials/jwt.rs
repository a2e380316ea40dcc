//! Tokens, checked by openssl against the keys that the daemon serves, and listed once they are given back.

use std::fs;

use nockvault::base64url;
use nockvault::client::agent::Credential;
use nockvault::denial::Reason;
use nockvault::statement::reply::Revocation;
use nockvault::time::Seconds;
use serde_json::{Value, json};

use crate::hostile::{self, Takes};
use crate::stage::{Stage, ask, handle, issue, life, refused, text};

const ROLE: &str = "api-token";

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_checked_offline_and_listed_when_it_is_over_early() {
    let stage = Stage::new();
    stage.role(ROLE, "jwt", "jwt-api.toml", &[]);
    let kit = stage.agent("kit", &[ROLE]).await;
    let session = kit.session("report").unwrap();
    let whole = issue(&session, ROLE, 60).await;
    assert_eq!((whole.hdr.revocation, whole.hdr.renewable), (Revocation::Listed, false));
    let claims = proven(&stage, text(&whole, "token"));
    assert_eq!(claims["aud"], "https://api.example.com");
    assert_eq!((&claims["sub"], &claims["jti"]), (&json!("nv:kit"), &json!(whole.hdr.lease)));
    assert_eq!((&claims["scope"], &claims["tenant"]), (&json!("orders:read orders:write"), &json!("example")));
    assert_eq!(claims["actor"], format!("kit/{}", session.sid()));
    assert_eq!(claims["exp"], whole.hdr.exp.whole_seconds());

    let narrow = session.request(&ask(ROLE, 60).param("scope", "orders:read")).await.unwrap();
    assert_eq!(proven(&stage, text(&narrow, "token"))["scope"], "orders:read");
    assert_eq!(refused(session.renew(&narrow.hdr.lease, Seconds(60)).await).0, Reason::NotRenewable);

    assert!(!is_listed(&stage, &whole));
    session.release(&whole.hdr.lease).await.unwrap();
    let words = stage.words(&["lease", "revoke", narrow.hdr.lease.as_str()]);
    assert!(words.contains("published list"), "{words}");
    let live = issue(&session, ROLE, 2).await;
    stage.until("a list with both", || (is_listed(&stage, &whole) && is_listed(&stage, &narrow)).then_some(()));
    assert!(!is_listed(&stage, &live), "what lives is not listed");
    assert_eq!(stage.ended(&live.hdr.lease)["state"], "expired");
    assert!(!is_listed(&stage, &live), "what has expired needs no list");

    // A key follows; what the one before it signed is still proven by what is served.
    let before = issue(&session, ROLE, 60).await;
    turn_key(&stage);
    proven(&stage, text(&before, "token"));

    hostile::refused(&stage, ROLE, &Takes { texts: &["audience", "scope"], lists: &[] }).await;
    let chain = stage.verified("kit");
    assert_eq!(life(&chain, &whole), ["issue", "release"]);
    assert_eq!(life(&chain, &narrow), ["issue", "revoke listed"]);
    assert_eq!(life(&chain, &live), ["issue", "expire listed"]);
    assert!(handle(&chain, &whole).starts_with("nv_kit_"));
}

fn turn_key(stage: &Stage) {
    let keys = || serde_json::from_slice::<Value>(&stage.http("/.well-known/jwks.json")).unwrap()["keys"].clone();
    let count = keys().as_array().unwrap().len();
    stage.words(&["key", "rotate", "jwt", "--now"]);
    assert_eq!(keys().as_array().unwrap().len(), count + 1, "the next key is published before it signs");
}

/// The claims of a token, once openssl has found that a key which the daemon serves signed it.
#[track_caller]
fn proven(stage: &Stage, token: &str) -> Value {
    let parts: Vec<&str> = token.split('.').collect();
    let part = |at: usize| base64url::decode(parts[at]).unwrap();
    let header: Value = serde_json::from_slice(&part(0)).unwrap();
    let set: Value = serde_json::from_slice(&stage.http("/.well-known/jwks.json")).unwrap();
    let key = set["keys"].as_array().unwrap().iter().find(|key| key["kid"] == header["kid"]).expect("a key of this id");
    assert_eq!((&header["alg"], &key["kty"], &key["crv"]), (&json!("EdDSA"), &json!("OKP"), &json!("Ed25519")));
    // SubjectPublicKeyInfo of an Ed25519 key (RFC 8410): twelve bytes, and the key.
    let mut der = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    der.extend(base64url::decode(key["x"].as_str().unwrap()).unwrap());
    for (name, bytes) in
        [("key.der", der), ("signature", part(2)), ("signed", token[..token.len() - parts[2].len() - 1].into())]
    {
        fs::write(stage.path(name), bytes).unwrap();
    }
    let line = "pkeyutl -verify -rawin -pubin -keyform DER -inkey key.der -sigfile signature -in signed";
    let said = stage.run("openssl", &line.split(' ').collect::<Vec<_>>()).ok();
    assert!(said.contains("Verified Successfully"), "{said}");
    serde_json::from_slice(&part(1)).unwrap()
}

/// Whether the list of the revoked, which the daemon's key has signed too, names this token.
fn is_listed(stage: &Stage, credential: &Credential) -> bool {
    let list = String::from_utf8(stage.http("/jwt/revoked")).unwrap();
    let claims = proven(stage, list.trim());
    claims.to_string().contains(credential.hdr.lease.as_str())
}
