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
use nockvault::engine::jwt::Jwt;
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

struct OneSecret(Vec<u8>);

#[async_trait]
impl StoredValues for OneSecret {
    async fn stored_value(
        &self,
        _: SecretUse,
        name: &SecretName,
        version: Option<u64>,
    ) -> Result<Option<Stored>, Denial> {
        let there = name.as_str() == "orders-db" && version.is_none_or(|version| version == 3);
        Ok(there.then(|| Stored { version: 3, expires: None, value: SecretBytes::from(self.0.clone()) }))
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
    let role = Role { name: role.clone(), engine: engine.into(), config: object(config), since: NOW };
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
    engine.mint(mint, &OneSecret(stored.to_vec())).await
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
async fn a_token_verifies_with_the_published_key_and_says_whose_it_is() {
    let engine = Jwt::new(SigningKey::generate(&OsEntropy), "https://vault.example".into());
    let session = SigningKey::generate(&OsEntropy).public();
    let config = json!({ "audience": ["orders"], "scope": "read" });
    let minted = minted(&engine, config, json!({}), Some(&session), b"").await.unwrap();
    let token = told(&minted)["token"].as_str().unwrap().to_owned();
    let (signed, signature) = token.rsplit_once('.').unwrap();

    let jwk = &engine.jwks()["keys"][0];
    let key = PublicKey::from_bytes(&base64url::decode_array(jwk["x"].as_str().unwrap()).unwrap()).unwrap();
    assert_eq!(jwk["kid"], json!(key.kid()));
    let signature = Signature::from_slice(&base64url::decode(signature).unwrap()).unwrap();
    key.verify_raw(signed.as_bytes(), &signature).unwrap();
    assert!(key.verify_raw(&signed.as_bytes()[1..], &signature).is_err());

    let part = |text: &str| serde_json::from_slice::<Value>(&base64url::decode(text).unwrap()).unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    assert_eq!(part(header), json!({ "alg": "EdDSA", "kid": jwk["kid"], "typ": "nv+jwt" }));
    let wanted = json!({
        "aud": "orders", "cnf": { "jkt": session.kid() }, "exp": 1_780_512_300u64, "iat": 1_780_511_400u64, "iss": "https://vault.example",
        "jti": LeaseId::new(NOW.0, [1; 10]), "nbf": 1_780_511_400u64, "req": Digest::of(b"the request"), "scope": "read",
        "sid": "nightly-1", "sub": "nv:kit",
    });
    assert_eq!(part(claims), wanted);
}

#[test]
fn jwt_gives_no_audience_that_its_role_does_not_name() {
    let engine = Jwt::new(SigningKey::generate(&OsEntropy), "x".into());
    let (one, two) = (object(json!({ "audience": ["a"] })), object(json!({ "audience": ["a", "b"] })));
    for (config, params, good) in [
        (&one, json!({}), true),
        (&one, json!({ "audience": "a" }), true),
        (&one, json!({ "audience": "b" }), false),
        (&two, json!({ "audience": "b" }), true),
        (&two, json!({}), false),
        (&two, json!({ "audience": ["a"] }), false),
        (&two, json!({ "audience": "a", "scope": "admin" }), false),
    ] {
        assert_eq!(engine.check_params(config, &object(params.clone())).is_ok(), good, "{params}");
    }
    for config in [
        json!({}),
        json!({ "audience": [] }),
        json!({ "audience": "a" }),
        json!({ "audience": [""] }),
        json!({ "audience": ["a\n"] }),
    ] {
        assert!(engine.check_role(&object(config.clone())).is_err(), "{config}");
    }
}
