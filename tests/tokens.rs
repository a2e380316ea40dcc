//! Tokens and stored values over the whole vault: a key for tokens that turns, what is published meanwhile, and values
//! that come back or end.

#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::sync::Arc;

use nockvault::audit::certificate::{Life, cert_of, certify_key, open_signer};
use nockvault::authn::{Authenticated, Place};
use nockvault::base64url;
use nockvault::crypto::signature::{PublicKey, Signature};
use nockvault::denial::Reason;
use nockvault::engine::ca::LINGERS;
use nockvault::engine::jwt::{JWKS_CACHE, REVOKED_TTL};
use nockvault::id::LeaseId;
use nockvault::statement::cert::KeyRole;
use nockvault::statement::clock::ClockReset;
use nockvault::statement::command::Command;
use nockvault::statement::issue::Issue;
use nockvault::statement::key::{KeyRotate, Rotated};
use nockvault::statement::lease::{LeaseRevoke, Scope};
use nockvault::statement::reply::{Described, Revocation};
use nockvault::statement::secret::SecretRollback;
use nockvault::store::{KeptKey, Order};
use nockvault::time::{Seconds, Timestamp};
use serde_json::{Value, json};

use support::agent::Agent;
use support::{Harness, terms};

async fn stage() -> (Harness, Agent) {
    let vault = Harness::new().await;
    let kit = vault.agent("kit").await;
    let config = json!({ "audience": ["api"], "claims": { "who": "{{agent}}/{{session}}" } });
    vault.role("token", "jwt", config).await;
    vault.grant(&kit.name, "token", terms()).await;
    (vault, kit)
}

/// A token, and its lease.
async fn token(vault: &Harness, kit: &mut Agent) -> (String, LeaseId) {
    let issued = kit.get(vault, "token").await;
    assert_eq!((issued.hdr.revocation, issued.hdr.renewable), (Revocation::Listed, false));
    (kit.open(&issued)["token"].as_str().unwrap().to_owned(), issued.hdr.lease)
}

/// The claims of a token that a key of the vault's present set signed.
fn read(vault: &Harness, token: &str) -> Option<Value> {
    let (signed, signature) = token.rsplit_once('.')?;
    let part = |text: &str| serde_json::from_slice::<Value>(&base64url::decode(text).unwrap()).unwrap();
    let (header, claims) = signed.split_once('.')?;
    let set = vault.vault().jwks();
    let jwk = set["keys"].as_array()?.iter().find(|key| key["kid"] == part(header)["kid"])?;
    let key = PublicKey::from_bytes(&base64url::decode_array(jwk["x"].as_str()?)?).unwrap();
    key.verify_raw(signed.as_bytes(), &Signature::from_slice(&base64url::decode(signature)?)?).unwrap();
    Some(part(claims))
}

fn keys(vault: &Harness) -> usize {
    vault.vault().jwks()["keys"].as_array().unwrap().len()
}

async fn rotate(vault: &Harness, ahead: u64, withdraw: bool) -> (Timestamp, Timestamp, String) {
    let done = vault.order(KeyRotate { role: Rotated::Jwt, ahead: Seconds(ahead), withdraw }).await;
    let time = |member: &str| Timestamp(done[member].as_u64().unwrap());
    (time("signs"), time("former_until"), done["kid"].as_str().unwrap().to_owned())
}

fn kid(token: &str) -> String {
    let header: Value = serde_json::from_slice(&base64url::decode(token.split('.').next().unwrap()).unwrap()).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_new_key_is_published_before_it_signs_and_the_old_one_until_its_tokens_are_over() {
    let (mut vault, mut kit) = stage().await;
    let (first, _) = token(&vault, &mut kit).await;
    assert_eq!(read(&vault, &first).unwrap()["who"], format!("kit/{}", kit.sid));
    // Or a verifier may not have fetched the key when it signs.
    const { assert!(KeyRotate::AHEAD.0 >= 2 * JWKS_CACHE.0) };
    let (signs, until, next) = rotate(&vault, KeyRotate::AHEAD.0, false).await;
    assert_eq!(signs, vault.clock_now().plus(KeyRotate::AHEAD));
    assert_eq!(keys(&vault), 2);
    let (second, _) = token(&vault, &mut kit).await;
    assert_eq!(kid(&second), kid(&first), "the new key signs before its turn");

    vault.reopen().await;
    vault.clock.set(signs);
    kit.new_session("later");
    let (third, _) = token(&vault, &mut kit).await;
    assert_eq!((kid(&third), keys(&vault)), (next.clone(), 2));
    for token in [&first, &second, &third] {
        assert!(read(&vault, token).is_some());
    }
    vault.clock.set(Timestamp(until.0 - 1));
    assert_eq!(keys(&vault), 2);
    vault.clock.set(until);
    assert_eq!((keys(&vault), read(&vault, &first)), (1, None));
    assert_eq!(vault.vault().jwks()["keys"][0]["kid"], next.as_str());
    vault.reopen().await;
    assert_eq!(keys(&vault), 1);
    vault.verify_all().await;
}

#[tokio::test]
async fn a_key_that_others_know_is_withdrawn_at_once_and_does_not_come_back() {
    let (mut vault, mut kit) = stage().await;
    let (first, _) = token(&vault, &mut kit).await;
    let (_, _, second) = rotate(&vault, 600, false).await;
    let (signs, until, third) = rotate(&vault, 0, true).await;
    assert_eq!((signs, until), (vault.clock_now(), vault.clock_now()));
    for reopened in [false, true] {
        if reopened {
            vault.reopen().await;
        }
        assert_eq!((keys(&vault), read(&vault, &first)), (1, None));
        let (new, _) = token(&vault, &mut kit).await;
        assert_eq!(kid(&new), third);
        vault.clock.advance(Seconds(600));
        assert_ne!(kid(&token(&vault, &mut kit).await.0), second, "a withdrawn key had its turn");
    }
}

/// What was withdrawn while the clock was ahead is withdrawn as soon as the clock is right again, before the reset and after.
#[tokio::test]
async fn a_key_that_was_withdrawn_in_a_wrong_time_does_not_come_back_with_the_clock() {
    for (ahead, restarts) in [(0, false), (0, true), (600, false), (600, true)] {
        let (mut vault, mut kit) = stage().await;
        let (first, _) = token(&vault, &mut kit).await;
        let right = vault.clock_now();
        vault.clock.set(right.plus(Seconds(30 * 86_400)));
        vault.vault().tend_once().await;
        let (_, _, next) = rotate(&vault, ahead, true).await;
        vault.clock.advance(Seconds(ahead));
        assert_eq!((keys(&vault), read(&vault, &first)), (1, None));

        vault.clock.set(right.plus(Seconds(60)));
        if restarts {
            vault.reopen().await;
        }
        vault.vault().tend_once().await;
        let published = |vault: &Harness| vault.vault().jwks()["keys"][0]["kid"].as_str().unwrap().to_owned();
        assert_eq!((keys(&vault), published(&vault)), (1, next.clone()), "before the reset");
        vault.order(ClockReset {}).await;
        for after in [0, 301, 3600, 86_400] {
            vault.clock.advance(Seconds(after));
            assert_eq!((keys(&vault), published(&vault)), (1, next.clone()), "{after} s later");
        }
        kit.new_session("anew");
        assert_eq!(kid(&token(&vault, &mut kit).await.0), next);
        vault.reopen().await;
        assert_eq!((keys(&vault), published(&vault)), (1, next));
        vault.verify_all().await;
    }
}

/// A key that was only followed is published until what it signed is over, as at any other time.
#[tokio::test]
async fn a_key_that_was_followed_in_a_wrong_time_signs_no_more_and_is_published_for_a_session() {
    let (mut vault, mut kit) = stage().await;
    let (first, _) = token(&vault, &mut kit).await;
    let right = vault.clock_now();
    vault.clock.set(right.plus(Seconds(30 * 86_400)));
    vault.vault().tend_once().await;
    let (_, _, next) = rotate(&vault, 600, false).await;
    vault.clock.set(right.plus(Seconds(60)));
    vault.order(ClockReset {}).await;
    assert!(read(&vault, &first).is_some());
    let over = vault.clock_now().plus(vault.rules.session_max);
    vault.clock.advance(Seconds(301));
    kit.new_session("anew");
    assert_eq!(kid(&token(&vault, &mut kit).await.0), next);
    vault.clock.set(Timestamp(over.0 - 1));
    assert_eq!(keys(&vault), 2);
    vault.clock.set(over);
    vault.reopen().await;
    assert_eq!((keys(&vault), read(&vault, &first)), (1, None));
    vault.verify_all().await;
}

#[tokio::test]
async fn each_key_has_a_certificate_that_is_renewed_in_time() {
    let (mut vault, _) = stage().await;
    let (_, _, kid) = rotate(&vault, 0, false).await;
    let certs = |vault: &Harness| {
        let envelope = vault.vault().describe(&[7; 32]).unwrap();
        let described: Described = serde_json::from_slice(&envelope.payload).unwrap();
        let identity = PublicKey::from_bytes(&described.identity.0.as_slice().try_into().unwrap()).unwrap();
        let jwt = |cert| open_signer(cert, KeyRole::Jwt, &identity).ok().map(|(cert, _)| cert);
        described.certs.iter().filter_map(jwt).collect::<Vec<_>>()
    };
    let now = certs(&vault);
    assert_eq!(now.iter().map(|cert| cert.epoch).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(now[1].kid.as_str(), kid);
    vault.clock.advance(Seconds(200 * 86_400));
    vault.reopen().await;
    let later = certs(&vault);
    assert!(
        later
            .iter()
            .zip(&now)
            .all(|(later, now)| later.kid == now.kid && later.nbf > now.exp.minus(Seconds(300 * 86_400)))
    );
    assert_eq!(later.iter().map(|cert| cert.epoch).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn a_key_taken_out_of_the_database_leaves_no_key_published() {
    let (mut vault, mut kit) = stage().await;
    let (first, _) = token(&vault, &mut kit).await;
    rotate(&vault, 0, true).await;
    assert_eq!(vault.database().execute("DELETE FROM token_keys", []).unwrap(), 1);
    assert_eq!(read(&vault, &first), None);
    vault.reopen().await;
    assert_eq!((keys(&vault), read(&vault, &first)), (0, None), "the withdrawn key came back");
    assert!(vault.vault().revoked_tokens().await.is_err());
}

#[tokio::test]
async fn a_rotation_that_this_process_did_not_hear_of_is_found_within_a_minute() {
    let (vault, mut kit) = stage().await;
    let (first, _) = token(&vault, &mut kit).await;
    let wish = vault.operator.command(KeyRotate { role: Rotated::Jwt, ahead: Seconds(600), withdraw: false });
    let (store, now) = (vault.vault().store(), vault.clock_now());
    let known = store.candidate(&wish.kid).await.unwrap().key;
    let place = Place { aud: vault.vault().aud(), now, skew: Seconds(300), floor: Timestamp::ZERO };
    let command: Authenticated<Command<KeyRotate>> =
        Authenticated::check(vault.operator.sign(&wish), known.as_ref(), &place).unwrap();
    let (key, life) = (support::new_key(), Life { nbf: now, exp: now.plus(Seconds(1000)) });
    let public = key.public();
    let cert = cert_of(KeyRole::Jwt, public.to_bytes(), public.kid(), vault.vault().aud(), "n1", 2, life);
    let kept = KeptKey { role: KeyRole::Jwt, secret: key.seed(), cert: certify_key(&support::new_key(), &cert) };
    store.carry_out(&Order::RotateKey(&command, &Arc::new(kept))).await.unwrap().result.unwrap();
    assert_eq!(keys(&vault), 1);
    vault.clock.advance(Seconds(60));
    vault.vault().tend_once().await;
    assert_eq!(keys(&vault), 2);
    assert!(read(&vault, &first).is_some());
}

#[tokio::test]
async fn the_list_of_revoked_tokens_holds_what_was_given_back_or_taken_back() {
    let (vault, mut kit) = stage().await;
    let list = async || read(&vault, &vault.vault().revoked_tokens().await.unwrap()).unwrap();
    assert_eq!(list().await["revoked"], json!([]));
    let (_, released) = token(&vault, &mut kit).await;
    let (_, revoked) = token(&vault, &mut kit).await;
    let (_, live) = token(&vault, &mut kit).await;
    kit.release(&vault, &released).await;
    vault.order(LeaseRevoke { reason: None, scope: Scope::Lease(revoked.clone()) }).await;
    assert_eq!(list().await["revoked"], json!([]), "it is made once in a while, however many ask");
    vault.clock.advance(Seconds(5));
    let now = list().await;
    let mut wanted = [released.to_string(), revoked.to_string()];
    wanted.sort();
    let mut found: Vec<_> = now["revoked"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    found.sort_unstable();
    assert_eq!(found, wanted, "and not {live}");
    assert_eq!(now["exp"].as_u64().unwrap(), vault.clock_now().plus(REVOKED_TTL).whole_seconds());
    let (ttl, behind) = (terms().ttl, LINGERS);
    vault.clock.advance(Seconds(ttl.0 + behind.0 - 6));
    let found = list().await["revoked"].as_array().unwrap().len();
    assert_eq!(found, 2, "who has a clock that is behind would take them, and what expired by itself needs no list");
    vault.clock.advance(Seconds(6));
    assert_eq!(list().await["revoked"], json!([]), "what has expired for everybody need not be listed");
}

#[tokio::test]
async fn no_lease_of_a_stored_value_outlives_it_and_past_its_end_there_is_none() {
    let vault = Harness::new().await;
    let mut kit = vault.agent("kit").await;
    vault.kv_role("orders", b"one").await;
    vault.grant(&kit.name, "orders", terms()).await;
    let end = vault.clock_now().plus(Seconds(60));
    let (mut command, sealed) = vault.put_command("orders", b"two");
    command.body.expires = Some(end);
    let envelope = vault.operator.sign(&command);
    let req = envelope.digest();
    let put = vault.operate(support::call("nockvault/secret_put"), envelope, Some(sealed)).await;
    vault.released::<nockvault::statement::reply::Executed>(put, req);

    let issued = kit.get(&vault, "orders").await;
    assert_eq!((issued.hdr.exp, issued.hdr.revocation), (end, Revocation::None));
    assert_eq!(kit.open(&issued)["value"], "two");
    let long = kit.signed(Issue { ttl: Seconds(61), ..kit.issue_body("orders") });
    let refusal = vault.refusal(support::agent::Rpc::RequestCredential, long).await;
    assert_eq!((refusal.reason, refusal.denial.limit), (Reason::SecretExpired, Some(60)));
    vault.clock.set(end);
    let refusal = vault.refusal(support::agent::Rpc::RequestCredential, kit.issue("orders")).await;
    assert_eq!((refusal.reason, refusal.denial.limit), (Reason::SecretExpired, Some(0)));

    vault.order(SecretRollback { name: "orders".parse().unwrap(), version: 1 }).await;
    let issued = kit.get(&vault, "orders").await;
    assert_eq!((&kit.open(&issued)["value"], &kit.open(&issued)["version"]), (&json!("one"), &json!(3)));
    vault.verify_all().await;
}
