//! No key comes in that is weak, not canonical or of mixed order, and none without the proof that its holder has it.
//! The keys and signatures are such as a looser verifier would take.

use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use curve25519_dalek::{EdwardsPoint, Scalar};
use nockvault::base64url;
use nockvault::crypto::envelope::{Embedded, PayloadType, pae};
use nockvault::crypto::hash::Digest;
use nockvault::crypto::json::canonical;
use nockvault::crypto::signature::{Form, Signature};
use nockvault::denial::Reason::{self, *};
use nockvault::id::{ChainName, Kid};
use nockvault::statement::agent::AgentRegister;
use nockvault::statement::register::{Holder, Register};
use nockvault::time::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};

use crate::support::agent::{Agent, copy};
use crate::support::{Harness, new_key};

/// Registers this and expects it to be refused for that; but for the command's entry, nothing changes.
async fn refused(vault: &Harness, name: &str, register: Embedded, wanted: Reason) {
    let before = vault.picture();
    let refusal = vault.order_refused(AgentRegister { register }).await;
    assert_eq!(refusal.reason, wanted, "{name}: {}", refusal.denial);
    let after = vault.picture();
    let changed = before.changed(&after);
    assert!(
        changed.iter().all(|table| ["chains", "lines", "nonces", "nonces_live"].contains(table)),
        "{name}: {changed:?}"
    );
    assert_eq!(before.count("lines") + 1, after.count("lines"), "{name}");
    assert_eq!(before.count("chains"), after.count("chains"), "{name}");
    let entries = vault.entries(&ChainName::operators()).await;
    let newest = entries.last().unwrap();
    assert_eq!(
        (&newest["kind"], &newest["body"]["result"]),
        (&json!("command"), &json!({"denied": wanted.code()})),
        "{name}"
    );
}

/// A register statement of these key bytes, as text, and what its signature covers.
fn statement(vault: &Harness, name: &str, pk: &[u8; 32]) -> (Value, Vec<u8>) {
    let x = base64url::encode(pk);
    let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    let kid = Kid::from_thumbprint(Digest::of(jwk.as_bytes()).as_bytes());
    let payload = json!({
        "agent": name, "aud": vault.aud, "form": "pae", "iat": vault.clock_now(), "kid": kid, "kver": 1,
        "nonce": crate::support::nonce(), "pk": x, "prev": "", "typ": "nockvault/register", "v": 1,
    });
    let message = pae(PayloadType::Register.as_str(), &canonical(&payload));
    (payload, message)
}

fn challenge(r: &EdwardsPoint, pk: &[u8; 32], message: &[u8]) -> Scalar {
    let hash = Sha512::new().chain_update(r.compress().as_bytes()).chain_update(pk).chain_update(message);
    Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
}

/// A signature under `pk = secret * B + torsion` that satisfies the equation without the cofactor: nonces are tried until
/// the torsion falls out.
fn forge(secret: &Scalar, torsion: &EdwardsPoint, pk: &[u8; 32], message: &[u8]) -> Signature {
    for counter in 1..10_000u64 {
        let r = Scalar::from(counter);
        let point = ED25519_BASEPOINT_POINT * r;
        let k = challenge(&point, pk, message);
        if *torsion * k == EdwardsPoint::default() {
            let s = r + k * secret;
            let bytes = [point.compress().to_bytes(), s.to_bytes()].concat();
            return Signature::from_slice(&bytes).unwrap();
        }
    }
    panic!("one in eight should do");
}

#[tokio::test]
async fn keys_of_small_order_are_refused_though_their_signatures_hold() {
    let vault = Harness::new().await;
    for (index, torsion) in EIGHT_TORSION.iter().enumerate() {
        let pk = torsion.compress().to_bytes();
        let (payload, message) = statement(&vault, "kit", &pk);
        let sig = forge(&Scalar::ZERO, torsion, &pk, &message);
        refused(&vault, &format!("torsion point {index}"), Embedded { payload, sig }, BadProof).await;
    }
}

#[tokio::test]
async fn keys_of_mixed_order_are_refused_though_their_signatures_hold() {
    let vault = Harness::new().await;
    let secret = Scalar::from(0x6e6f_636bu64);
    for (index, torsion) in EIGHT_TORSION.iter().enumerate() {
        let pk = (ED25519_BASEPOINT_POINT * secret + torsion).compress().to_bytes();
        let (payload, message) = statement(&vault, &format!("kit{index}"), &pk);
        let sig = forge(&secret, torsion, &pk, &message);
        let register = Embedded { payload, sig };
        if index == 0 {
            // Without torsion it is a good key, and the same way of signing is taken.
            vault.order(AgentRegister { register }).await;
        } else {
            refused(&vault, &format!("torsion {index}"), register, BadProof).await;
        }
    }
}

#[tokio::test]
async fn keys_that_are_not_canonical_or_no_points_are_refused() {
    let vault = Harness::new().await;
    let prime = |plus: u8| {
        let mut bytes = [0xff; 32];
        (bytes[0], bytes[31]) = (0xed + plus, 0x7f);
        bytes
    };
    let flagged = |mut bytes: [u8; 32]| {
        bytes[31] |= 0x80;
        bytes
    };
    let mut one = [0; 32];
    one[0] = 1;
    // Above the prime (with either sign), the sign of a zero x, and y = 2, which is on no point.
    let mut keys: Vec<[u8; 32]> = (0..19).flat_map(|plus| [prime(plus), flagged(prime(plus))]).collect();
    let mut two = [0; 32];
    two[0] = 2;
    keys.extend([flagged(one), two, [0xff; 32], flagged([0; 32])]);
    for pk in keys {
        let (payload, message) = statement(&vault, "kit", &pk);
        // R the neutral point, s zero: what a looser verifier takes for a key that reads as the neutral point.
        let sig = forge(&Scalar::ZERO, &EdwardsPoint::default(), &pk, &message);
        refused(&vault, &base64url::encode(&pk), Embedded { payload, sig }, BadProof).await;
    }
}

/// The published keys on which verifiers disagree. Nobody has a secret of them; what a looser verifier takes for their
/// signature is none here.
#[tokio::test]
async fn published_keys_on_which_verifiers_disagree_do_not_come_in() {
    let vault = Harness::new().await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/");
    let read =
        |file: &str| serde_json::from_slice::<Value>(&std::fs::read(format!("{folder}{file}")).unwrap()).unwrap();
    let (speccheck, cctv) = (read("ed25519-speccheck/cases.json"), read("cctv-ed25519/ed25519vectors.json"));
    let cases = speccheck["cases"].as_array().unwrap().iter().chain(cctv.as_array().unwrap());
    let key = |case: &Value| case.get("pub_key").or(case.get("key")).and_then(Value::as_str).map(str::to_owned);
    let mut keys: Vec<String> = cases.map(|case| key(case).unwrap()).collect();
    keys.sort_unstable();
    keys.dedup();
    assert!(keys.len() > 10, "{keys:?}");
    for hex in keys {
        let pk: [u8; 32] = std::array::from_fn(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap());
        let (payload, message) = statement(&vault, "kit", &pk);
        let sig = forge(&Scalar::ZERO, &EdwardsPoint::default(), &pk, &message);
        refused(&vault, &hex, Embedded { payload, sig }, BadProof).await;
    }
}

#[tokio::test]
async fn a_register_statement_proves_one_key_for_one_holder_here_and_now() {
    let vault = Harness::new().await;
    let kit = vault.agent("kit").await;
    let other = Agent::new("ada", new_key(), Form::Pae, &vault.aud, &vault.clock);
    let good = other.register_statement();
    let old = Timestamp(good.iat.0 - 30 * 86_400_000 - 1);
    let elsewhere = format!("nv1:{}", Digest::of(b"other")).parse().unwrap();
    let named = |name: &str| Register { holder: Holder::Agent(name.parse().unwrap()), ..good.clone() };
    let cases = [
        ("signed by another key", good.sign(&new_key()), BadProof),
        ("another vault's", Register { aud: elsewhere, ..good.clone() }.sign(&other.key), WrongVault),
        ("31 days old", Register { iat: old, ..good.clone() }.sign(&other.key), BadProof),
        (
            "from the future",
            Register { iat: Timestamp(good.iat.0 + 300_001), ..good.clone() }.sign(&other.key),
            BadProof,
        ),
        (
            "an operator's",
            Register { holder: Holder::Operator("ada".parse().unwrap()), ..good.clone() }.sign(&other.key),
            BadProof,
        ),
        ("a known key", Register { pk: kit.key.public(), ..good.clone() }.sign(&copy(&kit.key)), KeyKnown),
        (
            "an operator's key",
            Register { pk: vault.operator.key.public(), ..good.clone() }.sign(&copy(&vault.operator.key)),
            KeyKnown,
        ),
        ("a known name", named("kit").sign(&other.key), AlreadyExists),
    ];
    for (name, register, wanted) in cases {
        refused(&vault, name, register, wanted).await;
    }
    let dotted = Agent::new("a.b", new_key(), Form::Pae, &vault.aud, &vault.clock);
    vault.register(&dotted).await;
    refused(&vault, "a name that differs in a dot", named("a-b").sign(&other.key), NameCollision).await;
    vault.register(&other).await;
}

#[tokio::test]
async fn each_member_of_a_register_statement_is_covered() {
    let vault = Harness::new().await;
    let kit = Agent::new("kit", new_key(), Form::Pae, &vault.aud, &vault.clock);
    let good = kit.register_statement().sign(&kit.key);
    let members: Vec<String> = good.payload.as_object().unwrap().keys().cloned().collect();
    assert_eq!(members.len(), 11);
    for member in &members {
        let mut without = good.clone();
        without.payload.as_object_mut().unwrap().remove(member);
        refused(&vault, &format!("without {member}"), without.clone(), BadProof).await;
        // Signed anew by its own key, so that the schema alone stands in the way.
        let sig = kit.key.sign(Form::Pae, PayloadType::Register.as_str(), &canonical(&without.payload));
        refused(&vault, &format!("signed without {member}"), Embedded { sig, ..without }, BadProof).await;
        let mut other = good.clone();
        other.payload[member] = match &good.payload[member] {
            Value::Number(number) => json!(number.as_u64().unwrap() + 1),
            Value::String(text) => json!(flip(text)),
            other => panic!("{other}"),
        };
        refused(&vault, &format!("{member} changed"), other, BadProof).await;
    }
    let mut more = good.clone();
    more.payload["extra"] = json!(1);
    let sig = kit.key.sign(Form::Pae, PayloadType::Register.as_str(), &canonical(&more.payload));
    refused(&vault, "one member more", Embedded { sig, ..more }, BadProof).await;
    vault.order(AgentRegister { register: good }).await;
}

/// Another text of the same length and alphabet.
fn flip(text: &str) -> String {
    match text.chars().next() {
        Some('a') => format!("b{}", &text[1..]),
        Some(_) => format!("a{}", &text[1..]),
        None => "a".repeat(43),
    }
}
