//! Statements, every kind that is signed.

use nockvault::authn::{Authenticated, Place, Refused, Signed};
use nockvault::authz::operator::permits;
use nockvault::authz::policy::persons;
use nockvault::crypto::envelope::Envelope;
use nockvault::crypto::json::{Admission, admit, canonical, canonical_value};
use nockvault::crypto::signature::{Form, SigningKey};
use nockvault::registry::{Duty, HeldKey};
use nockvault::statement::approval::wish;
use nockvault::statement::command::Command;
use nockvault::statement::request::Request;
use nockvault::statement::*;
use nockvault::time::{Seconds, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::world;

/// Reads the payload as its kind. Says whether it is one.
type Read = fn(&[u8], &Value) -> bool;

macro_rules! kinds {
    (requests: $($request:ty),*; commands: $($command:ty),*; replies: $($reply:ty),*;) => {
        &[
            $((<$request as Body>::TYP, request::<$request>),)*
            $((<$command as Body>::TYP, command::<$command>),)*
            $((<$reply as reply::Reply>::TYP, loose::<$reply>),)*
            (register::TYP, loose::<register::Register>),
            (cert::TYP, loose::<cert::Cert>),
            (directory::TYP, loose::<directory::Directory>),
        ]
    };
}

/// Every kind, by its `typ`.
pub const KINDS: &[(&str, Read)] = kinds! {
    requests: session::Hello, issue::Issue, lease::Renew, lease::Release, session::Close, rotate_key::RotateKey;
    commands: status::StatusRead, explain::Explain, doctor::DoctorRead, agent::AgentRegister, agent::AgentList,
        agent::AgentShow, agent::AgentKeyEnd, agent::AgentFreeze, agent::AgentThaw, freeze::VaultFreeze,
        freeze::VaultThaw, freeze::RoleFreeze, freeze::RoleThaw, seal::VaultSeal, custody::CustodyList,
        custody::CustodyAdd, custody::CustodyRemove, custody::CustodyRotate, role::RoleCreate, role::RoleCheck,
        role::RoleRotate, role::RoleList, role::RoleShow, secret::SecretPut, secret::SecretRollback,
        secret::SecretList, secret::SecretVersions, ca::CaCreate, ca::CaImport, ca::CaCertify, ca::CaShow,
        grant::GrantCreate, grant::GrantList, grant::GrantRevoke, lease::LeaseList, lease::LeaseShow,
        lease::LeaseRevoke, lease::LeaseForget, key::KeyRotate, key::RingRotate, clock::ClockReset,
        operator::OperatorRegister, operator::OperatorDuty, operator::OperatorKeyEnd, operator::OperatorRotate,
        operator::OperatorList, operator::OperatorShow, approval::PolicySet, approval::PolicyShow, approval::Approve,
        approval::Withdraw, approval::ApprovalList, backup::Backup, audit_read::AuditRead, audit_read::AuditList,
        audit_read::AuditCheckpoint, audit_read::AuditProve, directory::DirectoryRead;
    replies: reply::Issued, reply::Opened, reply::Renewed, reply::Released, reply::Closed, reply::Rotated,
        reply::Executed, reply::Denied, reply::Described;
};

/// A payload, whose `typ` says what it is to be read as.
pub(super) fn statement(data: &[u8]) -> bool {
    let Ok(value) = admit(data, &Admission::RESPONSE) else { return false };
    let Some(typ) = value.get("typ").and_then(Value::as_str) else { return false };
    KINDS.iter().find(|(known, _)| *known == typ).is_some_and(|(_, read)| read(data, &value))
}

fn request<B: Body>(payload: &[u8], value: &Value) -> bool {
    let held = world::held(world::agent(), &world::kit());
    let parsed = Request::<B>::parse(value.clone());
    knocks::<Request<B>>(payload, &held, &world::kit(), parsed.is_ok());
    parsed.is_ok_and(|request| is_one(&request, payload))
}

fn command<B: Body>(payload: &[u8], value: &Value) -> bool {
    let held = world::held(world::operator(), &world::root());
    let parsed = Command::<B>::parse(value.clone());
    knocks::<Command<B>>(payload, &held, &world::root(), parsed.is_ok());
    let Ok(command) = parsed else { return false };
    let body = value.get("body").expect("a command has a body");
    let roles = || body.get("role").and_then(Value::as_str).and_then(|role| role.parse().ok()).into_iter().collect();
    for duty in [Duty::Admin, Duty::Auditor, Duty::Responder, Duty::Grantor { roles: roles() }] {
        let _ = permits(&duty, B::TYP, body);
    }
    let rules = [("grant_create".to_owned(), 3), ("agent_register".to_owned(), 2)].into();
    assert!((1..=3).contains(&persons(&rules, B::TYP, body)));
    let _ = wish(B::TYP, body);
    is_one(&command, payload)
}

/// The door: what its key signed is let in exactly where it reads as a statement, is for this vault, of this holder and
/// of now. One of its texts is then exchanged for a secret, which no refusal repeats.
fn knocks<S: Signed>(payload: &[u8], held: &HeldKey, key: &SigningKey, reads: bool) {
    match knock::<S>(payload, held, key) {
        Ok(inside) => {
            let claims = inside.statement().claims();
            assert!(reads && *claims.aud == world::aud() && claims.holder == held.holder && claims.kver == held.kver);
            assert!(claims.iat.0.abs_diff(world::NOW.0) <= 300_000 && *claims.kid == held.kid);
        }
        Err(refused) => super::told(format!("{} {}", refused.denial, refused.denial.detail)),
    }
    let mut value: Value = serde_json::from_slice(payload).expect("it was admitted");
    let count = texts(&mut value, None);
    texts(&mut value, Some(payload.len() % count.max(1)));
    if let Err(refused) = knock::<S>(&canonical_value(&value), held, key) {
        let detail = refused.denial.detail;
        assert!(!detail.contains(SECRET), "a refusal repeats what was sent: {detail}");
    }
}

fn knock<S: Signed>(payload: &[u8], held: &HeldKey, key: &SigningKey) -> Result<Authenticated<S>, Refused> {
    let t = S::PAYLOAD_TYPE.as_str();
    let signature = key.sign(Form::Pae, t, payload);
    let kid = held.kid.to_string();
    let envelope = Envelope { payload_type: t.to_owned(), payload: payload.to_vec(), signature, kid };
    let aud = world::aud();
    let place = Place { aud: &aud, now: world::NOW, skew: Seconds(300), floor: Timestamp::ZERO };
    Authenticated::check(envelope, Some(held), &place)
}

/// What somebody put in the wrong place.
const SECRET: &str = "Hunter2, hunter2!";

/// How many texts a value holds; the one at this place becomes the secret.
fn texts(value: &mut Value, place: Option<usize>) -> usize {
    match value {
        Value::String(text) => {
            if place == Some(0) {
                *text = SECRET.to_owned();
            }
            1
        }
        Value::Array(items) => of_all(items.iter_mut(), place),
        Value::Object(members) => of_all(members.values_mut(), place),
        _ => 0,
    }
}

fn of_all<'a>(all: impl Iterator<Item = &'a mut Value>, place: Option<usize>) -> usize {
    all.fold(0, |before, one| before + texts(one, place.and_then(|place| place.checked_sub(before))))
}

/// Whether it is written as the bytes that it was read from. What its signer wrote in one of several ways, a network in
/// CIDR form or the words of a list, may come out in the usual way, which is then read as the same.
fn is_one<T: Serialize + DeserializeOwned>(read: &T, payload: &[u8]) -> bool {
    let written = canonical(read);
    if written != payload {
        let again: T = serde_json::from_slice(&written).expect("what is written reads");
        assert_eq!(canonical(&again), written, "it is written as something else");
        assert!(several_ways(payload, &written), "it is written otherwise than it was signed");
    }
    true
}

/// Whether two statements differ in nothing but lists of texts: of networks, and of what stands once in any order.
fn several_ways(one: &[u8], other: &[u8]) -> bool {
    fn plain(value: &mut Value) {
        match value {
            Value::Array(items) => {
                if items.iter().all(Value::is_string) {
                    items.clear();
                }
                items.iter_mut().for_each(plain);
            }
            Value::Object(members) => members.values_mut().for_each(plain),
            _ => {}
        }
    }
    let read = |bytes| {
        let mut value: Value = serde_json::from_slice(bytes).expect("it was admitted");
        plain(&mut value);
        canonical_value(&value)
    };
    read(one) == read(other)
}

/// A statement of the vault, in which readers pass over what they do not know: what is read of it is written one way.
fn loose<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(_: &[u8], value: &Value) -> bool {
    let Ok(read) = serde_json::from_value::<T>(value.clone()) else { return false };
    let written = canonical(&read);
    let again: T = serde_json::from_slice(&written).expect("what is written reads");
    assert_eq!(again, read, "it is written as something else");
    assert_eq!(canonical(&again), written);
    true
}
