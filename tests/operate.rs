//! What operators command around engines: a role is checked before it is made, the vault's own password at a backend is
//! exchanged without a moment in which nobody is let in, and authorities are made, brought, certified and shown.

#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::time::Duration;

use nockvault::crypto::hash::Digest;
use nockvault::denial::Reason::{self, *};
use nockvault::id::ChainName;
use nockvault::statement::ca::{CaCertify, CaCreate, CaImport, CaShow};
use nockvault::statement::reply::Executed;
use nockvault::statement::role::{RoleCheck, RoleRotate};
use nockvault::statement::secret::{SecretPut, SecretUse, SecretVersions};
use nockvault::store::Store as _;
use nockvault::vault::answer::Outcome;
use nockvault::vault::operate::Call;
use serde_json::{Map, Value, json};

use support::fake::Mood;
use support::{Harness, terms};

fn members(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

fn check(engine: &str, config: Value) -> RoleCheck {
    RoleCheck { engine: engine.into(), config: members(config) }
}

fn rotate() -> RoleRotate {
    RoleRotate { role: "reports".parse().unwrap() }
}

/// A vault whose role `reports` is let in at its backend by the secret `admin`.
async fn let_in() -> Harness {
    let vault = Harness::new().await;
    vault.put_secret_for("admin", b"first", SecretUse::Backend).await;
    vault.role("reports", "fake", json!({"secret": "admin"})).await;
    vault
}

async fn stored(vault: &Harness, used: SecretUse, name: &str) -> Option<(u64, Vec<u8>)> {
    let stored = vault.sqlite().secret_value(used, &name.parse().unwrap(), None).await.unwrap();
    stored.map(|stored| (stored.version, stored.value.expose().clone()))
}

async fn newest_command(vault: &Harness) -> Value {
    vault.entries(&ChainName::operators()).await.pop().unwrap()
}

// --- role_check

#[tokio::test]
async fn a_role_is_checked_and_nothing_is_created() {
    let vault = let_in().await;
    let before = vault.picture();
    let found = vault.order(check("fake", json!({"secret": "admin"}))).await;
    assert_eq!(Value::Object(found), json!({"server": "fake 1", "secret_version": 1}));
    // Only its nonce is spent: it stands in no chain.
    assert_eq!(before.changed(&vault.picture()).join(" "), "nonces nonces_live");

    let envelope = vault.operator.sign(&vault.operator.command(check("fake", json!({"secret": "admin"}))));
    let first = vault.operate(Call::RoleCheck, envelope.clone(), None).await;
    vault.released::<Executed>(first, envelope.digest());
    let again = vault.operate(Call::RoleCheck, envelope.clone(), None).await;
    assert_eq!(vault.refused(again, envelope.digest()).reason, Replay);
}

#[tokio::test]
async fn what_would_not_work_is_told_with_the_words_of_the_backend() {
    let vault = let_in().await;
    let before = vault.picture();
    for (engine, config, reason, words) in [
        ("none", json!({}), BadRole, "there are: kv,"),
        ("fake", json!({"secret": 7}), BadRole, "no ca"),
        ("kv", json!({"secret": "a", "more": 1}), BadRole, "unknown field `more`"),
        ("fake", json!({"secret": "nothing"}), SecretMissing, "no secret nothing"),
    ] {
        let refusal = vault.order_refused(check(engine, config)).await;
        assert_eq!(refusal.reason, reason, "{}", refusal.denial);
        assert!(refusal.denial.to_string().contains(words), "{}", refusal.denial);
    }
    for (mood, reason, words) in
        [(Mood::Away, EngineUnavailable, "connection refused"), (Mood::Refusing, EngineRefused, "may not create roles")]
    {
        vault.backend.mood(mood);
        let refusal = vault.order_refused(check("fake", json!({"secret": "admin"}))).await;
        assert_eq!(refusal.reason, reason);
        assert!(refusal.denial.to_string().contains(words), "{}", refusal.denial);
    }
    assert_eq!(before.changed(&vault.picture()).join(" "), "nonces nonces_live");
}

#[tokio::test]
async fn a_backend_that_never_answers_is_given_up() {
    let mut vault = let_in().await;
    vault.engine_deadline = Duration::from_millis(80);
    vault.reopen().await;
    vault.backend.mood(Mood::Silent);
    let refusal = vault.order_refused(check("fake", json!({"secret": "admin"}))).await;
    assert_eq!(refusal.reason, EngineUnavailable);
    assert!(refusal.denial.to_string().contains("within 80 ms"), "{}", refusal.denial);
    assert_eq!(vault.order_refused(rotate()).await.reason, EngineUnavailable);
}

// --- role_rotate

#[tokio::test]
async fn a_password_is_exchanged_and_stands_nowhere_else() {
    let vault = let_in().await;
    let told = vault.order(rotate()).await;
    let wanted = json!({"name": "admin", "role": "reports", "rotated": true, "version": 2});
    assert_eq!(Value::Object(told), wanted);
    let (version, value) = stored(&vault, SecretUse::Backend, "admin").await.unwrap();
    assert_eq!((version, &value), (2, &vault.backend.password()));
    assert_eq!(nockvault::base64url::decode(std::str::from_utf8(&value).unwrap()).unwrap().len(), 32);
    let entry = newest_command(&vault).await;
    assert_eq!(entry["body"]["result"], json!({"name": "admin", "role": "reports", "version": 2}));
    assert_eq!(entry["body"]["command"]["payload"]["typ"], "nockvault/role_rotate");
    let chain = vault.file(&ChainName::operators()).await;
    assert!(!chain.windows(value.len()).any(|part| part == value), "the password stands in the chain");
    assert_eq!(vault.order(rotate()).await["version"], 3);
}

#[tokio::test]
async fn a_backend_that_went_away_is_let_in_by_either_and_catches_up() {
    let mut vault = let_in().await;
    // It takes the newest version, and then is gone before it can be told the next one.
    vault.backend.away_after(1);
    let told = vault.order(rotate()).await;
    assert_eq!((&told["rotated"], &told["version"]), (&json!(false), &json!(2)));
    let reason = told["reason"].as_str().unwrap();
    assert!(reason.contains("connection refused") && reason.contains("rotate again to complete it"), "{reason}");
    assert_eq!(vault.backend.password(), b"first");

    // While it is away no further version is added, for then nobody would be let in.
    let before = vault.picture();
    assert_eq!(vault.order_refused(rotate()).await.reason, EngineUnavailable);
    assert!(!before.changed(&vault.picture()).contains(&"secrets"));
    assert_eq!(newest_command(&vault).await["body"]["result"], json!({"denied": "engine_unavailable"}));

    // A crash later the next rotation completes the one that was broken off, before it adds its own.
    vault.reopen().await;
    vault.backend.back();
    let told = vault.order(rotate()).await;
    assert_eq!((&told["rotated"], &told["version"]), (&json!(true), &json!(3)));
    assert_eq!(stored(&vault, SecretUse::Backend, "admin").await.unwrap().1, vault.backend.password());
}

#[tokio::test]
async fn of_many_rotations_at_once_none_locks_the_vault_out() {
    let vault = let_in().await;
    let asked: Vec<_> = (0..8).map(|_| vault.operator.sign(&vault.operator.command(rotate()))).collect();
    let mut tasks = tokio::task::JoinSet::new();
    for envelope in asked {
        let vault = std::sync::Arc::clone(vault.vault());
        tasks.spawn(async move { vault.operate(Call::RoleRotate, envelope, None).await });
    }
    let answers = tasks.join_all().await;
    assert!(answers.iter().all(|answer| matches!(answer, Outcome::Released(_))), "{answers:?}");
    assert_eq!(stored(&vault, SecretUse::Backend, "admin").await.unwrap(), (9, vault.backend.password()));
}

#[tokio::test]
async fn what_cannot_be_rotated_is_refused_and_stands_in_the_chain() {
    let vault = let_in().await;
    vault.kv_role("plain", b"value").await;
    vault.role("orphan", "fake", json!({"secret": "nothing"})).await;
    for (role, reason, words) in [
        ("nothing", NotFound, ""),
        ("plain", BadRole, "engine kv has no password of its own"),
        ("orphan", SecretMissing, "vaultctl secret put"),
    ] {
        let refusal = vault.order_refused(RoleRotate { role: role.parse().unwrap() }).await;
        assert_eq!(refusal.reason, reason, "{role}");
        assert!(refusal.denial.to_string().contains(words), "{}", refusal.denial);
        assert_eq!(newest_command(&vault).await["body"]["result"], json!({"denied": reason.code()}), "{role}");
    }
}

// --- authorities

fn create(name: &str, engine: &str, wish: Value) -> CaCreate {
    CaCreate { name: name.parse().unwrap(), engine: engine.into(), wish: members(wish) }
}

fn show(name: &str, engine: &str) -> CaShow {
    CaShow { name: name.parse().unwrap(), engine: engine.into() }
}

fn certify(name: &str, chain: &str) -> CaCertify {
    CaCertify { name: name.parse().unwrap(), engine: "fake".into(), chain: chain.into() }
}

/// Brings an authority; gives its result, or the reason.
async fn import(vault: &Harness, name: &str, engine: &str, key: &[u8]) -> Result<Map<String, Value>, Reason> {
    let empty = CaImport { name: name.parse().unwrap(), engine: engine.into(), sealed: Digest::ZERO };
    let mut command = vault.operator.command(empty);
    let sealed = vault.seal_input(key, &command.nonce);
    command.body.sealed = sealed.digest();
    let envelope = vault.operator.sign(&command);
    let req = envelope.digest();
    match vault.operate(Call::CaImport, envelope, Some(sealed)).await {
        outcome @ Outcome::Released(_) => Ok(vault.released::<Executed>(outcome, req).result),
        outcome => Err(vault.refused(outcome, req).reason),
    }
}

#[tokio::test]
async fn an_authority_is_made_here_and_its_key_is_shown_to_nobody() {
    let vault = Harness::new().await;
    let told = vault.order(create("web/root", "fake", json!({"subject": "ops"}))).await;
    assert_eq!(Value::Object(told), json!({"certificate": "", "name": "web/root", "subject": "ops", "version": 1}));
    let shown = vault.order(show("web/root", "fake")).await;
    let wanted = json!({"certificate": "", "engine": "fake", "name": "web/root", "subject": "ops", "version": 1});
    assert_eq!(Value::Object(shown), wanted);
    assert_eq!(newest_command(&vault).await["body"]["result"], json!({"name": "web/root", "version": 1}));

    let (_, value) = stored(&vault, SecretUse::Ca, "web/root").await.unwrap();
    let key = value.split(|byte| *byte == b'\n').nth(1).unwrap();
    assert!(key.starts_with(b"key-"));
    let chain = vault.file(&ChainName::operators()).await;
    assert!(!chain.windows(key.len()).any(|part| part == key), "the key stands in the chain");
    for used in [SecretUse::Kv, SecretUse::Backend] {
        assert!(stored(&vault, used, "web/root").await.is_none());
    }
    let versions = vault.order(SecretVersions { name: "web/root".parse().unwrap() }).await;
    assert_eq!(versions["items"][0]["use"], "ca");
}

#[tokio::test]
async fn an_authority_is_brought_and_certified() {
    let vault = Harness::new().await;
    assert_eq!(import(&vault, "web", "fake", b"key-1").await.unwrap()["subject"], "brought");
    assert_eq!(import(&vault, "other", "fake", b"nonsense").await, Err(BadSealedInput));
    assert_eq!(import(&vault, "other", "kv", b"key-1").await, Err(BadRole));
    assert_eq!(import(&vault, "web", "fake", b"key-2").await, Err(AlreadyExists));
    let told = vault.order(certify("web", "-----BEGIN one")).await;
    assert_eq!((&told["version"], &told["certificate"]), (&json!(2), &json!("-----BEGIN one")));
    let entry = newest_command(&vault).await;
    assert_eq!(entry["body"]["command"]["payload"]["body"]["chain"], "-----BEGIN one");
    assert_eq!(vault.order(show("web", "fake")).await["certificate"], "-----BEGIN one");
    assert_eq!(vault.order_refused(certify("web", "nonsense")).await.reason, BadRole);
    assert_eq!(vault.order_refused(certify("nothing", "-----BEGIN")).await.reason, NotFound);
}

#[tokio::test]
async fn names_and_uses_of_stored_values_do_not_mix() {
    let vault = Harness::new().await;
    vault.put_secret("plain", b"value").await;
    let wish = || json!({"subject": "ops"});
    assert_eq!(vault.order_refused(create("plain", "fake", wish())).await.reason, AlreadyExists);
    assert_eq!(import(&vault, "plain", "fake", b"key-1").await, Err(AlreadyExists));
    vault.order(create("web", "fake", wish())).await;
    assert_eq!(vault.order_refused(create("web", "fake", wish())).await.reason, AlreadyExists);
    assert_eq!(vault.order_refused(show("plain", "fake")).await.reason, NotFound);
    assert_eq!(vault.order_refused(create("new", "kv", wish())).await.reason, BadRole);
    assert_eq!(vault.order_refused(create("new", "fake", json!({}))).await.reason, BadRole);

    // No way round: an authority's value comes by its own commands alone.
    for name in ["web", "new"] {
        let empty = SecretPut { name: name.parse().unwrap(), sealed: Digest::ZERO, expires: None, used: SecretUse::Ca };
        let mut command = vault.operator.command(empty);
        let sealed = vault.seal_input(b"key-1", &command.nonce);
        command.body.sealed = sealed.digest();
        let envelope = vault.operator.sign(&command);
        let req = envelope.digest();
        let refusal = vault.refused(vault.operate(Call::SecretPut, envelope, Some(sealed)).await, req);
        assert_eq!(refusal.reason, BadTerms, "{name}");
        assert!(refusal.denial.to_string().contains("vaultctl ca create"), "{}", refusal.denial);
    }
}

#[tokio::test]
async fn a_value_for_another_use_is_not_minted() {
    let vault = Harness::new().await;
    let mut kit = vault.agent("kit").await;
    kit.new_session("work");
    vault.put_secret_for("admin", b"first", SecretUse::Backend).await;
    vault.order(create("web", "fake", json!({"subject": "ops"}))).await;
    for name in ["admin", "web"] {
        vault.role(name, "kv", json!({"secret": name})).await;
        vault.grant(&kit.name, name, terms()).await;
        let refusal = vault.refusal(support::agent::Rpc::RequestCredential, kit.issue(name)).await;
        assert_eq!(refusal.reason, SecretMissing, "{name}");
    }
}
