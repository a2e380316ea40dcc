//! What the vault refuses, as one table: a request, what is wrong with it, the one code it is refused with, and what it
//! leaves behind. All are signed by the agent's own key where that makes sense, so that the signature is not what saves
//! the vault. A refusal before the nonce is reserved leaves every row of the database as it was; one after it leaves
//! exactly one `deny` of that reason in the agent's chain, and its spent nonce.

#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

#[path = "negative/commands.rs"]
mod commands;
#[path = "negative/forms.rs"]
mod forms;
#[path = "negative/keys.rs"]
mod keys;
#[path = "negative/limits.rs"]
mod limits;
#[path = "negative/registration.rs"]
mod registration;
#[path = "negative/seals.rs"]
mod seals;
#[path = "negative/stage.rs"]
mod stage;
#[path = "negative/strangers.rs"]
mod strangers;

use nockvault::crypto::envelope::PayloadType;
use nockvault::crypto::hash::Digest;
use nockvault::denial::Reason;
use nockvault::denial::Reason::*;
use serde_json::{Value, json};

use stage::{Leaves, Leaves::*, Stage};
use support::START;

type Edit = fn(&mut Value, &Stage);

/// What is wrong, how it is made wrong, the code, what is left behind.
struct Row(&'static str, Edit, Reason, Leaves);

/// A good request for the role `orders`, changed in one thing and signed again by its own key.
const CHANGED: &[Row] = &[
    // --- who, where, which key
    Row("another version", |r, _| r["v"] = json!(2), UnsupportedVersion, Nothing),
    Row("version 0", |r, _| r["v"] = json!(0), UnsupportedVersion, Nothing),
    Row("a version that is a text", |r, _| r["v"] = json!("1"), Schema, Nothing),
    Row("another typ", |r, _| r["typ"] = json!("nockvault/renew"), WrongTyp, Nothing),
    Row("a typ that is none", |r, _| r["typ"] = json!("nockvault/Issue"), WrongTyp, Nothing),
    Row("a typ that is a number", |r, _| r["typ"] = json!(1), Schema, Nothing),
    Row("another vault", |r, _| r["aud"] = json!(format!("nv1:{}", Digest::of(b"other"))), WrongVault, Nothing),
    Row("a vault that is none", |r, _| r["aud"] = json!("prod"), Schema, Nothing),
    Row("another agent's name", |r, _| r["agent"] = json!("ada"), WrongHolder, Nothing),
    Row("nobody's name", |r, _| r["agent"] = json!("nobody"), WrongHolder, Nothing),
    Row("its name in capitals", |r, _| r["agent"] = json!("Kit"), Schema, Nothing),
    Row("its name and a space", |r, _| r["agent"] = json!("kit "), Schema, Nothing),
    Row("no name", |r, _| r["agent"] = json!(""), Schema, Nothing),
    Row("another agent's kid", |r, s| r["kid"] = json!(s.ada.key.kid()), WrongKey, Nothing),
    Row("a kid that is none", |r, _| r["kid"] = json!("kit"), Schema, Nothing),
    Row("the kver of a key to come", |r, _| r["kver"] = json!(2), WrongKey, Nothing),
    Row("kver 0", |r, _| r["kver"] = json!(0), WrongKey, Nothing),
    // --- when, and once
    Row("signed before the window", |r, _| r["iat"] = json!(r["iat"].as_u64().unwrap() - 300_001), ClockSkew, Nothing),
    Row("signed after the window", |r, _| r["iat"] = json!(r["iat"].as_u64().unwrap() + 300_001), ClockSkew, Nothing),
    Row("signed at the beginning of time", |r, _| r["iat"] = json!(0), ClockSkew, Nothing),
    Row("signed at the end of time", |r, _| r["iat"] = json!((1u64 << 53) - 1), ClockSkew, Nothing),
    Row("a negative time", |r, _| r["iat"] = json!(-1), Schema, Nothing),
    Row("a nonce that was used", |r, s| r["nonce"] = json!(s.used_nonce), Replay, Nothing),
    Row("a nonce of 15 bytes", |r, _| r["nonce"] = json!("AAAAAAAAAAAAAAAAAAAA"), Schema, Nothing),
    Row("a nonce of 33 bytes", |r, _| r["nonce"] = json!("A".repeat(44)), Schema, Nothing),
    Row("a nonce with loose bits", |r, _| r["nonce"] = json!("AAAAAAAAAAAAAAAAAAAAAB"), Schema, Nothing),
    // --- the session
    Row("a sid that is none", |r, _| r["sid"] = json!("../work"), Schema, Nothing),
    Row("a sid of 129 bytes", |r, _| r["sid"] = json!("s".repeat(129)), Schema, Nothing),
    Row("a session that was closed", |r, _| r["sid"] = json!("closed"), SessionEnded, Denial),
    Row("another session's seal", |r, s| r["seal"]["pk"] = json!(s.other_seal.pk), SealMismatch, Denial),
    Row("a signing key it had not", |r, s| r["seal"]["sig_pk"] = json!(s.ada.key.public()), SealMismatch, Denial),
    Row("another suite", |r, _| r["seal"]["suite"] = json!("X25519-HKDF-SHA256-AES-128-GCM"), SealSuite, Denial),
    Row("the suite in small letters", |r, _| lower(&mut r["seal"]["suite"]), SealSuite, Denial),
    Row("a seal key of small order", |r, _| r["seal"]["pk"] = json!("A".repeat(43)), SealKey, Denial),
    Row("a seal key of 31 bytes", |r, _| r["seal"]["pk"] = json!("A".repeat(42)), Schema, Nothing),
    Row("a seal that is a text", |r, _| r["seal"] = json!("none"), Schema, Nothing),
    // --- the history
    Row("the history of a fork", |r, _| r["seen"]["head"] = json!(Digest::of(b"fork")), HistoryMismatch, Denial),
    Row("an older size with the newest head", |r, _| r["seen"]["size"] = json!(1), HistoryMismatch, Denial),
    Row("a history longer than the chain", |r, _| r["seen"]["size"] = json!(1_000_000), HistoryMismatch, Denial),
    Row("the longest history", |r, _| r["seen"]["size"] = json!((1u64 << 53) - 1), HistoryMismatch, Denial),
    Row("no history, with a head", |r, _| r["seen"]["size"] = json!(0), HistoryMismatch, Denial),
    Row("a history, without its head", |r, _| r["seen"]["head"] = json!(Digest::ZERO), HistoryMismatch, Denial),
    Row("another agent's history", |r, s| r["seen"] = json!(s.ada.seen), HistoryMismatch, Denial),
    Row("a negative history", |r, _| r["seen"]["size"] = json!(-1), Schema, Nothing),
    // --- what is wanted
    Row("a role that nobody made", |r, _| r["role"] = json!("nothing"), NoGrant, Denial),
    Row("a role that another agent has", |r, _| r["role"] = json!("ada-only"), NoGrant, Denial),
    Row("a role that was taken back", |r, _| r["role"] = json!("taken-back"), NoGrant, Denial),
    Row("the role by a way round", |r, _| r["role"] = json!("x/../orders"), Schema, Nothing),
    Row("the role with a doubled slash", |r, _| r["role"] = json!("//orders"), Schema, Nothing),
    Row("the role in capitals", |r, _| r["role"] = json!("Orders"), Schema, Nothing),
    Row("the role in other letters", |r, _| r["role"] = json!("\u{43e}rders"), Schema, Nothing),
    Row("the role, percent-encoded", |r, _| r["role"] = json!("%6frders"), Schema, Nothing),
    Row("a grant that has expired", |r, _| r["role"] = json!("expired"), GrantExpired, Denial),
    Row("a grant whose uses are spent", |r, _| r["role"] = json!("once"), GrantExhausted, Denial),
    Row("a grant for other sessions", |r, _| r["role"] = json!("nightly"), SessionNotGranted, Denial),
    Row("a grant for other networks", |r, _| r["role"] = json!("far"), AddressNotGranted, Denial),
    Row("a grant whose rate is used up", |r, _| r["role"] = json!("seldom"), RateLimited, Denial),
    Row("a role without its secret", |r, _| r["role"] = json!("hollow"), SecretMissing, Denial),
    Row("a longer life than granted", |r, _| r["ttl"] = json!(3601), TtlExceedsGrant, Denial),
    Row("the longest life", |r, _| r["ttl"] = json!((1u64 << 53) - 1), TtlExceedsGrant, Denial),
    Row(
        "a life past the session",
        |r, _| (r["role"], r["ttl"]) = (json!("long"), json!(7201)),
        TtlExceedsSession,
        Denial,
    ),
    Row("a negative life", |r, _| r["ttl"] = json!(-1), Schema, Nothing),
    Row("a life that is null", |r, _| r["ttl"] = Value::Null, Schema, Nothing),
    Row("params that the engine has not", |r, _| r["params"] = json!({"path": "/etc"}), ParamsRefused, Denial),
    Row(
        "an audience not allowed",
        |r, _| (r["role"], r["params"]) = (json!("token"), json!({"audience": "b"})),
        ParamsRefused,
        Denial,
    ),
    Row(
        "an audience that is a list",
        |r, _| (r["role"], r["params"]) = (json!("token"), json!({"audience": ["a"]})),
        ParamsRefused,
        Denial,
    ),
    Row("params that are a list", |r, _| r["params"] = json!([]), Schema, Nothing),
    Row("a purpose of 257 bytes", |r, _| r["purpose"] = json!("p".repeat(257)), Schema, Nothing),
    Row("a purpose with an end of line", |r, _| r["purpose"] = json!("a\nb"), Schema, Nothing),
    // --- what is not in the schema
    Row("one member more", |r, _| r["extra"] = json!(1), Schema, Nothing),
    Row("a member of another typ", |r, s| r["lease"] = json!(s.live), Schema, Nothing),
    Row("one member more in seen", |r, _| r["seen"]["extra"] = json!(1), Schema, Nothing),
    Row("one member more in seal", |r, _| r["seal"]["extra"] = json!(1), Schema, Nothing),
    Row("a signing key that is null", |r, _| r["seal"]["sig_pk"] = Value::Null, Schema, Nothing),
    Row("an operator beside the agent", |r, _| r["operator"] = json!("root"), Schema, Nothing),
];

fn lower(text: &mut Value) {
    *text = json!(text.as_str().unwrap().to_lowercase());
}

#[tokio::test]
async fn a_request_changed_in_one_thing_is_refused_for_that_and_changes_nothing() {
    let stage = Stage::set().await;
    for Row(name, edit, wanted, leaves) in CHANGED {
        let mut request = stage.kit.issue_value("orders");
        edit(&mut request, &stage);
        stage.judge(name, stage.kit.sign(&request), *wanted, *leaves).await;
    }
    stage.vault.verify_all().await;
    // The one that was changed is a good one.
    stage.vault.issued(&stage.kit.issue("orders")).await;
}

#[tokio::test]
async fn each_member_is_needed_and_of_its_kind() {
    let stage = Stage::set().await;
    let good = stage.kit.issue_value("orders");
    let members: Vec<String> = good.as_object().unwrap().keys().cloned().collect();
    assert_eq!(members.len(), 15, "the members of an issue");
    for member in &members {
        let mut without = good.clone();
        without.as_object_mut().unwrap().remove(member);
        stage.judge(&format!("without {member}"), stage.kit.sign(&without), Schema, Nothing).await;
        for kind in [Value::Null, json!(true), json!([[]]), json!({"a": {}}), json!("\u{e4}"), json!(-7)] {
            let mut other = good.clone();
            other[member] = kind;
            let name = format!("{member} as {}", other[member]);
            let wanted = match (member.as_str(), other[member].is_string(), other[member].is_object()) {
                ("typ", true, _) => WrongTyp,
                // These are what the members may be, and the engine or the reader of the trail makes of it what it will.
                ("params", _, true) => ParamsRefused,
                ("purpose", true, _) => continue,
                _ => Schema,
            };
            let leaves = if wanted == ParamsRefused { Denial } else { Nothing };
            stage.judge(&name, stage.kit.sign(&other), wanted, leaves).await;
        }
    }
    for (outer, inner) in [("seen", "head"), ("seen", "size"), ("seal", "pk"), ("seal", "suite")] {
        let mut without = good.clone();
        without[outer].as_object_mut().unwrap().remove(inner);
        stage.judge(&format!("without {outer}.{inner}"), stage.kit.sign(&without), Schema, Nothing).await;
    }
}

#[tokio::test]
async fn one_byte_changed_anywhere_without_the_key_is_a_strangers_request() {
    let stage = Stage::set().await;
    let good = stage.kit.issue("orders");
    let before = stage.vault.picture();
    for index in 0..good.payload.len() {
        let mut flipped = good.clone();
        flipped.payload[index] ^= 1 << (index % 8);
        stage.stranger(&format!("byte {index} of the payload"), flipped).await;
    }
    for bit in 0..512 {
        let mut signature = *good.signature.as_bytes();
        signature[bit / 8] ^= 1 << (bit % 8);
        let signature = nockvault::crypto::signature::Signature::from_bytes(signature);
        stage
            .stranger(
                &format!("bit {bit} of the signature"),
                nockvault::crypto::envelope::Envelope { signature, ..good.clone() },
            )
            .await;
    }
    for kid in ["", "kit", "*", &"A".repeat(43), stage.ada.key.kid().as_str(), &format!("{} ", good.kid)] {
        let mut hinted = good.clone();
        hinted.kid = kid.to_owned();
        stage.stranger(&format!("the hint {kid:?}"), hinted).await;
    }
    let nothing: Vec<&str> = Vec::new();
    assert_eq!(before.changed(&stage.vault.picture()), nothing);
    stage.vault.issued(&good).await;
}

#[tokio::test]
async fn another_payload_type_is_another_statement() {
    let stage = Stage::set().await;
    let good = stage.kit.issue("orders");
    for t in PayloadType::ALL.into_iter().filter(|t| *t != PayloadType::Request) {
        // As it was signed, under another name; and signed anew under that name.
        let mut renamed = good.clone();
        renamed.payload_type = t.as_str().to_owned();
        stage.judge_unsigned(&format!("renamed to {t}"), renamed.clone(), WrongPayloadType).await;
        renamed.signature = stage.kit.key.sign(stage.kit.form, t.as_str(), &renamed.payload);
        stage.judge_unsigned(&format!("signed as {t}"), renamed.clone(), WrongPayloadType).await;
        // Signed as another type and sent as a request: the type is part of what is signed.
        renamed.payload_type = good.payload_type.clone();
        stage.stranger(&format!("signed as {t}, sent as a request"), renamed).await;
    }
    let upper =
        nockvault::crypto::envelope::Envelope { payload_type: good.payload_type.to_uppercase(), ..good.clone() };
    stage.judge_unsigned("the type in capitals", upper, WrongPayloadType).await;
    let none = nockvault::crypto::envelope::Envelope { payload_type: String::new(), ..good };
    stage.judge_unsigned("no type", none, WrongPayloadType).await;
}

#[tokio::test]
async fn both_edges_of_the_window_are_inside_it() {
    let stage = Stage::set().await;
    let now = START.0 + stage::SET_FOR;
    for (iat, good) in [(now - 300_000, true), (now + 300_000, true), (now - 300_001, false), (now + 300_001, false)] {
        let mut request = stage.kit.issue_value("orders");
        request["iat"] = json!(iat);
        let envelope = stage.kit.sign(&request);
        if good {
            stage.vault.issued(&envelope).await;
        } else {
            let said = stage.judge("beyond the window", envelope, ClockSkew, Nothing).await.said.unwrap();
            assert_eq!((said.limit, said.now.0), (Some(300), now), "what a client corrects its clock by");
        }
    }
}

#[tokio::test]
async fn limits_that_a_program_can_act_on_are_signed() {
    let stage = Stage::set().await;
    let until = START.0 + 1_000;
    for (role, ttl, wanted, limit) in [
        ("orders", 3601, TtlExceedsGrant, 3600),
        ("long", 7201, TtlExceedsSession, 7200),
        ("once", 0, GrantExhausted, 1),
        ("expired", 0, GrantExpired, until),
        ("seldom", 0, RateLimited, 60),
    ] {
        let mut request = stage.kit.issue_value(role);
        request["ttl"] = json!(ttl);
        request["sid"] = json!("fresh");
        request["seal"] = json!(stage.other_seal);
        let said = stage.judge(role, stage.kit.sign(&request), wanted, Denial).await.said.unwrap();
        assert_eq!(said.limit, Some(limit), "{role}");
        assert_eq!(said.reason, wanted.code());
    }
}

/// Reasons that no request of this table can meet, and where they are met instead.
const ELSEWHERE: &[(Reason, &str)] = &[
    (Sealed, "the server, before there is a vault"),
    (Oversize, "forms"),
    (Malformed, "forms"),
    (WrongPayloadType, "another_payload_type_is_another_statement"),
    (Unauthenticated, "strangers"),
    (NotCanonical, "forms"),
    (KeyRetired, "keys"),
    (Stale, "tests/replay.rs"),
    (NoncesFull, "limits"),
    (AgentFrozen, "tests/leases.rs"),
    (VaultFrozen, "tests/leases.rs"),
    (RoleFrozen, "tests/leases.rs"),
    (SessionUnknown, "limits"),
    (SessionLimit, "limits"),
    (Restored, "tests/restore.rs"),
    (LeaseLimit, "limits"),
    (LeaseUnknown, "limits"),
    (LeaseEnded, "limits"),
    (NotRenewable, "limits"),
    (BadSuccessor, "keys"),
    (EngineUnavailable, "tests/leases.rs"),
    (EngineRefused, "tests/leases.rs"),
    (Interrupted, "tests/leases.rs"),
    (NothingToUndo, "tests/leases.rs"),
    (SecretExpired, "tests/engines.rs"),
    (AuditUnavailable, "tests/store_faults.rs"),
    (OutcomeUnknown, "tests/store_faults.rs"),
    (ClockBehind, "tests/replay.rs"),
    (ClockGood, "tests/clock.rs"),
    (LastCustodian, "tests/custody.rs"),
    (Quarantined, "tests/isolation.rs"),
    (Busy, "the server, before there is a statement"),
    (NotPermitted, "tests/operators.rs"),
    (BadDuty, "tests/operators.rs"),
    (LastAdmin, "tests/operators.rs"),
    (NeedsApproval, "tests/approvals.rs"),
    (CannotApprove, "tests/approvals.rs"),
    (BadPolicy, "tests/approvals.rs"),
    (AlreadyExists, "commands"),
    (NameCollision, "registration"),
    (NotFound, "commands"),
    (KeyKnown, "registration"),
    (BadProof, "registration"),
    (BadRole, "commands"),
    (BadTerms, "commands"),
    (BadSealedInput, "commands"),
    (NotSealed, "tests/sealing.rs"),
    (CustodyRefused, "tests/sealing.rs"),
    (Internal, "a fault of our own"),
];

#[test]
fn no_reason_is_forgotten() {
    for reason in Reason::ALL {
        let here = CHANGED.iter().any(|row| row.2 == *reason);
        let elsewhere = ELSEWHERE.iter().any(|(other, _)| other == reason);
        assert!(here != elsewhere, "{reason} has no row, or one and an excuse");
    }
}
