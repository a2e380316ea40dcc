//! The engines mint what their roles say, and refuse what does not fit before anything is minted.

#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use async_trait::async_trait;
use nockvault::authn::bind;
use nockvault::authz::{Asked, Peer, Permit, permit};
use nockvault::base64url;
use nockvault::crypto::hash::Digest;
use nockvault::crypto::hpke::{SUITE, SealSecretKey};
use nockvault::crypto::signature::{PublicKey, Signature, SigningKey};
use nockvault::denial::{Denial, Reason};
use nockvault::engine::ca::{Ended, LINGERS};
use nockvault::engine::jwt::{Jwt, TokenKey, TokenKeys};
use nockvault::engine::kv::Kv;
use nockvault::engine::{Engine, Mint, Minted, Stored, StoredValues};
use nockvault::entropy::OsEntropy;
use nockvault::grant::{Grant, Role, Uses};
use nockvault::id::{LeaseId, SecretName};
use nockvault::secret::SecretBytes;
use nockvault::statement::grant::Terms;
use nockvault::statement::secret::SecretUse;
use nockvault::statement::session::Seal;
use nockvault::time::{Seconds, Timestamp};
use serde_json::{Map, Value, json};

const NOW: Timestamp = Timestamp(1_780_511_400_123);

struct OneSecret(Vec<u8>, Option<Timestamp>);

#[async_trait]
impl StoredValues for OneSecret {
    async fn stored_value(
        &self,
        _: SecretUse,
        name: &SecretName,
        version: Option<u64>,
    ) -> Result<Option<Stored>, Denial> {
        let there = name.as_str() == "orders-db" && version.is_none_or(|version| version == 3);
        Ok(there.then(|| Stored { version: 3, expires: self.1, value: SecretBytes::from(self.0.clone()) }))
    }
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn leave(engine: &str, config: Value) -> Permit {
    let (agent, role): (nockvault::id::AgentName, nockvault::id::RoleName) =
        ("kit".parse().unwrap(), "orders".parse().unwrap());
    let terms = Terms {
        ttl: Seconds(900),
        max_ttl: Seconds(3600),
        max_uses: None,
        until: None,
        session: None,
        from: vec![],
        rate: None,
    };
    let pk = SealSecretKey::generate(&OsEntropy).public().into();
    let seal = Seal { pk, suite: SUITE.into(), sig_pk: None };
    let asked = Asked {
        agent: &agent,
        sid: &"nightly-1".parse().unwrap(),
        bound: &bind(None, Some(&seal), NOW, Seconds(60)).unwrap(),
        session_ends: NOW.plus(Seconds(86_400)),
        role: &role,
        ttl: Seconds(0),
        peer: Peer::Unix(None),
        req: Digest::of(b"the request"),
    };
    let grant = Grant { agent: agent.clone(), role: role.clone(), terms, seq: 1, since: NOW };
    let role = Role { name: role.clone(), engine: engine.into(), config: object(config), since: NOW, frozen: false };
    permit(&asked, Some(&grant), Some(&role), Uses::default(), &LeaseId::new(NOW.0, [1; 10]), NOW).unwrap()
}

async fn minted(
    engine: &dyn Engine,
    config: Value,
    params: Value,
    key: Option<&PublicKey>,
    stored: &[u8],
) -> Result<Minted, Denial> {
    let permit = leave(engine.kind(), config);
    let mint = Mint { permit: &permit, handle: "nv_kit_0", params: &object(params), session_key: key };
    engine.mint(mint, &OneSecret(stored.to_vec(), None)).await
}

fn told(minted: &Minted) -> Value {
    serde_json::from_slice(minted.secret.expose()).unwrap()
}

#[tokio::test]
async fn kv_hands_out_the_stored_value() {
    let text = minted(&Kv, json!({ "secret": "orders-db" }), json!({}), None, "pass\"wört\n".as_bytes()).await.unwrap();
    let wanted =
        json!({ "encoding": "utf8", "name": "orders-db", "type": "kv", "value": "pass\"wört\n", "version": 3 });
    assert_eq!(told(&text), wanted);
    let bytes =
        minted(&Kv, json!({ "secret": "orders-db", "version": 3 }), json!({}), None, &[0xff, 0x00]).await.unwrap();
    assert_eq!((&told(&bytes)["encoding"], &told(&bytes)["value"]), (&json!("base64url"), &json!("_wA")));
    let bell = minted(&Kv, json!({ "secret": "orders-db" }), json!({}), None, b"a\x07b").await.unwrap();
    assert_eq!((&told(&bell)["encoding"], &told(&bell)["value"]), (&json!("base64url"), &json!("YQdi")));
    for config in [json!({ "secret": "other" }), json!({ "secret": "orders-db", "version": 4 })] {
        assert_eq!(minted(&Kv, config, json!({}), None, b"x").await.unwrap_err().reason, Reason::SecretMissing);
    }
}

#[test]
fn kv_refuses_roles_and_params_that_do_not_fit() {
    for config in [
        json!({}),
        json!({ "secret": "../etc" }),
        json!({ "secret": "a", "version": 0 }),
        json!({ "secret": "a", "more": 1 }),
    ] {
        assert_eq!(Kv.check_role(&object(config.clone())).unwrap_err().reason, Reason::BadRole, "{config}");
    }
    assert_eq!(Kv.check_params(&Map::new(), &object(json!({ "x": 1 }))).unwrap_err().reason, Reason::ParamsRefused);
}

#[tokio::test]
async fn kv_hands_out_nothing_past_the_end_of_its_value() {
    let permit = leave("kv", json!({ "secret": "orders-db" }));
    let mint = Mint { permit: &permit, handle: "nv_kit_0", params: &Map::new(), session_key: None };
    let one = |expires: Timestamp| OneSecret(b"x".to_vec(), Some(expires));
    let left = NOW.plus(Seconds(60));
    assert_eq!(Kv.mint(mint, &one(left)).await.unwrap().until, Some(left));
    for expires in [NOW, NOW.minus(Seconds(1))] {
        let denial = Kv.mint(mint, &one(expires)).await.unwrap_err();
        assert_eq!((denial.reason, denial.limit), (Reason::SecretExpired, Some(0)));
    }
}

/// The header and the claims of a token that the key of this set signed, checked by hand as RFC 7515 has it.
fn read(token: &str, jwks: &Value) -> Option<(Value, Value)> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let part = |text: &str| serde_json::from_slice::<Value>(&base64url::decode(text)?).ok();
    let (header, claims) = (part(header)?, part(claims)?);
    let jwk = jwks["keys"].as_array()?.iter().find(|key| key["kid"] == header["kid"])?;
    let key = PublicKey::from_bytes(&base64url::decode_array(jwk["x"].as_str()?)?).ok()?;
    let signature = Signature::from_slice(&base64url::decode(signature)?)?;
    let known = ["EdDSA", "Ed25519"].contains(&header["alg"].as_str()?);
    (known && key.verify_raw(signed.as_bytes(), &signature).is_ok()).then_some((header, claims))
}

fn jwt() -> Jwt {
    Jwt::new(TokenKeys::one(SigningKey::generate(&OsEntropy)), "https://vault.example".into())
}

async fn token(engine: &Jwt, config: Value, params: Value) -> String {
    let minted = minted(engine, config, params, None, b"").await.unwrap();
    told(&minted)["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_token_verifies_with_the_published_key_and_says_whose_it_is() {
    let engine = jwt();
    let session = SigningKey::generate(&OsEntropy).public();
    let config = json!({ "audience": ["orders"], "scope": "read" });
    let minted = minted(&engine, config, json!({}), Some(&session), b"").await.unwrap();
    let token = told(&minted)["token"].as_str().unwrap().to_owned();

    let jwks = engine.jwks(NOW);
    let (header, claims) = read(&token, &jwks).unwrap();
    assert_eq!(header, json!({ "alg": "EdDSA", "kid": jwks["keys"][0]["kid"], "typ": "nv+jwt" }));
    let wanted = json!({
        "aud": "orders", "cnf": { "jkt": session.kid() }, "exp": 1_780_512_300u64, "iat": 1_780_511_400u64, "iss": "https://vault.example",
        "jti": LeaseId::new(NOW.0, [1; 10]), "nbf": 1_780_511_400u64, "req": Digest::of(b"the request"), "scope": "read",
        "sid": "nightly-1", "sub": "nv:kit",
    });
    assert_eq!(claims, wanted);
    let jwk = &jwks["keys"][0];
    let key = PublicKey::from_bytes(&base64url::decode_array(jwk["x"].as_str().unwrap()).unwrap()).unwrap();
    assert_eq!(jwk, &json!({ "crv": "Ed25519", "kid": key.kid(), "kty": "OKP", "use": "sig", "x": jwk["x"] }));

    for at in [0, token.find('.').unwrap() + 1, token.len() - 40] {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        assert_eq!(read(&String::from_utf8(changed).unwrap(), &jwks), None, "changed at {at}");
    }
}

#[tokio::test]
async fn a_role_names_the_algorithm_its_audience_and_a_scope_that_params_narrow() {
    let engine = jwt();
    let config = json!({ "audience": ["a", "b"], "scope": "read write admin", "alg": "Ed25519" });
    let asked = token(&engine, config, json!({ "audience": "b", "scope": "admin read read" })).await;
    let (header, claims) = read(&asked, &engine.jwks(NOW)).unwrap();
    assert_eq!((&header["alg"], &claims["aud"]), (&json!("Ed25519"), &json!("b")));
    assert_eq!(claims["scope"], "read admin", "the words asked for, once, in the role's order");
    let plain = token(&engine, json!({ "audience": ["a"], "alg": "EdDSA" }), json!({})).await;
    let (header, claims) = read(&plain, &engine.jwks(NOW)).unwrap();
    assert_eq!((&header["alg"], claims.get("scope")), (&json!("EdDSA"), None));
}

#[tokio::test]
async fn a_role_adds_claims_that_name_what_the_vault_has_verified() {
    let engine = jwt();
    let claims = json!({
        "groups": ["agents", "{{agent}}-{{role}}"],
        "at": { "lease": "{{lease}}", "deep": { "sid": "<{{session}}>" } },
        "level": -3, "good": true, "none": null, "plain": "}} {agent} \" , \"sub\": \"nv:root",
    });
    let asked = token(&engine, json!({ "audience": ["a"], "claims": claims }), json!({})).await;
    let (_, claims) = read(&asked, &engine.jwks(NOW)).unwrap();
    assert_eq!(claims["groups"], json!(["agents", "kit-orders"]));
    assert_eq!(claims["at"], json!({ "lease": LeaseId::new(NOW.0, [1; 10]), "deep": { "sid": "<nightly-1>" } }));
    assert_eq!((&claims["level"], &claims["good"], &claims["none"]), (&json!(-3), &json!(true), &json!(null)));
    assert_eq!(claims["plain"], "}} {agent} \" , \"sub\": \"nv:root");
    assert_eq!((&claims["sub"], &claims["iss"]), (&json!("nv:kit"), &json!("https://vault.example")));
}

#[test]
fn jwt_gives_nothing_that_its_role_does_not_name() {
    let engine = jwt();
    let (one, two) = (
        object(json!({ "audience": ["a"], "scope": "read write" })),
        object(json!({ "audience": ["a", "b"], "alg": "Ed25519" })),
    );
    for (config, params, good) in [
        (&one, json!({}), true),
        (&one, json!({ "audience": "a" }), true),
        (&one, json!({ "audience": "b" }), false),
        (&one, json!({ "scope": "write" }), true),
        (&one, json!({ "scope": "write read" }), true),
        (&one, json!({ "scope": "" }), false),
        (&one, json!({ "scope": "read  write" }), false),
        (&one, json!({ "scope": "read admin" }), false),
        (&one, json!({ "scope": "rea" }), false),
        (&one, json!({ "scope": ["read"] }), false),
        (&two, json!({ "audience": "b" }), true),
        (&two, json!({}), false),
        (&two, json!({ "audience": ["a"] }), false),
        (&two, json!({ "audience": "a", "scope": "admin" }), false),
        (&two, json!({ "audience": "a", "claims": { "x": 1 } }), false),
        (&two, json!({ "audience": "a", "alg": "EdDSA" }), false),
    ] {
        let answer = engine.check_params(config, &object(params.clone()));
        assert_eq!(answer.is_ok(), good, "{params}");
        assert!(answer.is_ok() || answer.unwrap_err().reason == Reason::ParamsRefused, "{params}");
    }
}

#[test]
fn jwt_refuses_roles_that_do_not_fit() {
    let engine = jwt();
    let mut roles = vec![
        json!({}),
        json!({ "audience": [] }),
        json!({ "audience": "a" }),
        json!({ "audience": [""] }),
        json!({ "audience": ["a\n"] }),
        json!({ "audience": ["a".repeat(257)] }),
        json!({ "audience": vec!["a"; 65] }),
        json!({ "audience": ["a"], "alg": "none" }),
        json!({ "audience": ["a"], "alg": "HS256" }),
        json!({ "audience": ["a"], "key": "k" }),
    ];
    for scope in ["", " ", "read ", "read  write", "a\"b", "a\\b", "r\u{e9}ad", &"a".repeat(1025)] {
        roles.push(json!({ "audience": ["a"], "scope": scope }));
    }
    let mut claims = vec![
        json!([]),
        json!({ "a": "{{purpose}}" }),
        json!({ "a": "{{agent" }),
        json!({ "a": "{{ agent }}" }),
        json!({ "a": "{{{{agent}}}}" }),
        json!({ "a": ["x", { "b": "{{Agent}}" }] }),
        json!({ "a{{agent}}": 1 }),
        json!({ "": 1 }),
        json!({ "a": 1.5 }),
        json!({ "a": 1u64 << 53 }),
        json!({ "a": [[[[1]]]] }),
        json!({ "a": "x".repeat(4097) }),
        json!({ "a": "{{agent}}".repeat(33) }),
    ];
    for name in ["iss", "sub", "aud", "iat", "nbf", "exp", "jti", "sid", "req", "cnf", "scope"] {
        claims.push(json!({ name: "x" }));
    }
    roles.extend(claims.into_iter().map(|claims| json!({ "audience": ["a"], "claims": claims })));
    for config in roles {
        let refused = engine.check_role(&object(config.clone())).expect_err(&config.to_string());
        assert_eq!(refused.reason, Reason::BadRole, "{config}");
    }
    let good =
        json!({ "audience": ["a"], "claims": { "a": [[[1]]], "b": "{{agent}}".repeat(32), "c": { "sub": "x" } } });
    engine.check_role(&object(good)).unwrap();
}

#[tokio::test]
async fn after_a_rotation_old_and_new_tokens_verify_and_none_outlives_its_key() {
    let [old, new] = [1, 2].map(|seed| SigningKey::generate(&nockvault::entropy::SeededEntropy::new(seed)));
    let (old_kid, new_kid) = (old.kid(), new.kid());
    let seeds = [old.seed(), new.seed()];
    let keys = TokenKeys::one(old);
    let engine = Jwt::new(keys.clone(), "nv1:x".into());
    let config = || json!({ "audience": ["a"] });
    let before = token(&engine, config(), json!({})).await;
    // The next key is published, and its turn comes later.
    let until = NOW.plus(Seconds(600));
    let pair = |signs| {
        let [old, new] = seeds.each_ref().map(SigningKey::from_seed);
        let first = TokenKey { key: old, signs: Timestamp::ZERO, until: Some(until) };
        vec![first, TokenKey { key: new, signs, until: None }]
    };
    keys.replace(pair(NOW.plus(Seconds(60))));
    let capped = minted(&engine, config(), json!({}), None, b"").await.unwrap();
    assert_eq!(capped.until, Some(until), "a token would outlive its key");
    let (header, claims) = read(told(&capped)["token"].as_str().unwrap(), &engine.jwks(NOW)).unwrap();
    assert_eq!((&header["kid"], &claims["exp"]), (&json!(old_kid), &json!(until.whole_seconds())));
    keys.replace(pair(NOW));
    let after = token(&engine, config(), json!({})).await;
    let set = engine.jwks(NOW);
    assert_eq!(read(&before, &set).unwrap().0["kid"], json!(old_kid));
    assert_eq!(read(&after, &set).unwrap().0["kid"], json!(new_kid));
    let later = engine.jwks(until);
    assert_eq!((read(&before, &later), read(&after, &later).is_some()), (None, true));
}

#[test]
fn the_list_of_revoked_tokens_is_signed_short_lived_and_holds_what_would_still_be_good() {
    let engine = jwt();
    let ended = |byte: u8, expires: Timestamp| Ended {
        lease: LeaseId::new(NOW.0, [byte; 10]),
        handle: format!("nv_kit_{byte}"),
        ended: NOW.minus(Seconds(5)),
        expires,
    };
    // Whose clock is behind would still take the first.
    let list =
        [ended(1, NOW.minus(Seconds(LINGERS.0 - 1))), ended(2, NOW.minus(LINGERS)), ended(3, NOW.plus(Seconds(900)))];
    let (header, claims) = read(&engine.revoked(&list, NOW).unwrap(), &engine.jwks(NOW)).unwrap();
    assert_eq!((&header["typ"], &header["alg"]), (&json!("nv-revoked+jwt"), &json!("EdDSA")));
    let wanted = json!({
        "exp": NOW.whole_seconds() + 300, "iat": NOW.whole_seconds(), "iss": "https://vault.example",
        "revoked": [list[0].lease, list[2].lease],
    });
    assert_eq!(claims, wanted);
    let (_, none) = read(&engine.revoked(&[], NOW).unwrap(), &engine.jwks(NOW)).unwrap();
    assert_eq!(none["revoked"], json!([]));
}

#[test]
fn the_discovery_document_stands_below_an_https_issuer_alone() {
    let of = |issuer: &str| Jwt::new(TokenKeys::one(SigningKey::generate(&OsEntropy)), issuer.into()).discovery();
    let document = of("https://vault.example/prod/").unwrap();
    assert_eq!(document["issuer"], "https://vault.example/prod/");
    assert_eq!(document["jwks_uri"], "https://vault.example/prod/.well-known/jwks.json");
    assert_eq!(document["id_token_signing_alg_values_supported"], json!(["EdDSA", "Ed25519"]));
    assert_eq!(document["response_types_supported"], json!(["id_token"]));
    assert_eq!(document["subject_types_supported"], json!(["public"]));
    assert_eq!(of("nv1:abc"), None);
}
