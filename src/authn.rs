//! Who speaks: the checks that turn a signed envelope into an [`Authenticated`] statement.
//!
//! The order is that of the protocol. [`shape`] looks at the envelope alone; [`signature`] verifies it against the
//! candidate key, or spends the same time against a decoy where there is none, so that a stranger learns no names;
//! [`read`] admits the payload and believes it only then; [`holder`] holds its names against the key that verified;
//! [`window`] holds its time against the clock. Sessions are bound by [`bind`]. Each step's proof is a value of a type
//! with private fields that only that step can make, and the next step asks for it: a skipped check does not compile.
//!
//! Nothing here does I/O or reads a clock. The store evaluates [`window`], [`HeldKey::accepted`] and [`bind`] again
//! inside the transaction that decides.

use serde_json::Value;

use crate::crypto::envelope::{Envelope, PayloadType};
use crate::crypto::hash::Digest;
use crate::crypto::hpke;
use crate::crypto::json::{Admission, NotAdmitted, admit, wanted_by};
use crate::crypto::signature::decoy_verify;
use crate::denial::{Denial, Reason};
use crate::id::{Aud, Kid, Nonce};
use crate::registry::{HeldKey, Session};
use crate::statement::command::Command;
use crate::statement::register::Holder;
use crate::statement::request::{Request, Seen};
use crate::statement::session::Seal;
use crate::statement::{Body, VERSION};
use crate::time::{Seconds, Timestamp};

/// Proof: the envelope is of the right type and size.
#[derive(Debug)]
pub struct Shaped(());

/// Proof: the candidate key signed these bytes.
#[derive(Debug)]
pub struct SignatureValid(());

/// Proof: `iat` lies in the window and above the floor.
#[derive(Debug)]
pub struct WithinWindow(());

/// Proof: the session is open, or may be opened, under this seal.
#[derive(Debug)]
pub struct SessionBound(());

/// Steps 1 and 2: size, shape, payload type.
///
/// # Errors
/// [`Reason::Oversize`], [`Reason::WrongPayloadType`], [`Reason::Malformed`].
pub fn shape(envelope: &Envelope, wanted: PayloadType, rules: &Admission) -> Result<Shaped, Denial> {
    if envelope.payload.len() > rules.max_bytes {
        return Err(Denial::new(Reason::Oversize).limit(rules.max_bytes as u64));
    }
    if envelope.payload_type != wanted.as_str() {
        return Err(Denial::new(Reason::WrongPayloadType).detail(format!("wanted {}", wanted.as_str())));
    }
    if envelope.payload.is_empty() {
        return Err(Denial::new(Reason::Malformed).detail("the payload is empty"));
    }
    Ok(Shaped(()))
}

/// Steps 3 and 4: the candidate's signature. One answer and about one duration for unknown key and bad signature.
///
/// # Errors
/// [`Reason::Unauthenticated`].
pub fn signature(envelope: &Envelope, candidate: Option<&HeldKey>, _: &Shaped) -> Result<SignatureValid, Denial> {
    let Some(key) = candidate else {
        decoy_verify(&envelope.payload_type, &envelope.payload, &envelope.signature);
        return Err(Denial::new(Reason::Unauthenticated).internal("no key of that kid"));
    };
    key.public.verify(key.form, &envelope.payload_type, &envelope.payload, &envelope.signature).map_err(|_| {
        Denial::new(Reason::Unauthenticated).internal(format!("bad signature, claimed key of {}", key.holder))
    })?;
    Ok(SignatureValid(()))
}

/// A statement that agents or operators sign: what authentication asks of it.
pub trait Signed: Sized {
    /// Its `typ`.
    const TYP: &'static str;
    /// Its payload type.
    const PAYLOAD_TYPE: PayloadType;
    /// How its payload is admitted.
    const ADMISSION: Admission;

    /// The statement of an admitted payload.
    ///
    /// # Errors
    /// serde's word on which member does not fit.
    fn parse(value: Value) -> Result<Self, serde_json::Error>;
    /// The members that every statement has.
    fn claims(&self) -> Claims<'_>;
}

/// The members that every signed statement has, wherever they stand.
#[derive(Clone, Debug)]
pub struct Claims<'a> {
    /// The vault it is meant for.
    pub aud: &'a Aud,
    /// Who speaks.
    pub holder: Holder,
    /// The key that signed.
    pub kid: &'a Kid,
    /// Its number.
    pub kver: u64,
    /// The nonce.
    pub nonce: &'a Nonce,
    /// When it was signed.
    pub iat: Timestamp,
}

impl<B: Body> Signed for Request<B> {
    const TYP: &'static str = B::TYP;
    const PAYLOAD_TYPE: PayloadType = PayloadType::Request;
    const ADMISSION: Admission = Admission::AGENT;

    fn parse(value: Value) -> Result<Self, serde_json::Error> {
        serde_json::from_value(value)
    }

    fn claims(&self) -> Claims<'_> {
        let common = &self.common;
        Claims {
            aud: &common.aud,
            holder: Holder::Agent(common.agent.clone()),
            kid: &common.kid,
            kver: common.kver,
            nonce: &common.nonce,
            iat: common.iat,
        }
    }
}

impl<B: Body> Signed for Command<B> {
    const TYP: &'static str = B::TYP;
    const PAYLOAD_TYPE: PayloadType = PayloadType::Command;
    const ADMISSION: Admission = Admission::OPERATOR;

    fn parse(value: Value) -> Result<Self, serde_json::Error> {
        serde_json::from_value(value)
    }

    fn claims(&self) -> Claims<'_> {
        Claims {
            aud: &self.aud,
            holder: Holder::Operator(self.operator.clone()),
            kid: &self.kid,
            kver: self.kver,
            nonce: &self.nonce,
            iat: self.iat,
        }
    }
}

/// Step 5: admission and schema. Only after the signature are the bytes parsed at all.
///
/// # Errors
/// [`Reason::NotCanonical`], [`Reason::WrongTyp`], [`Reason::UnsupportedVersion`], [`Reason::Schema`].
pub fn read<S: Signed>(envelope: &Envelope, _: &SignatureValid) -> Result<S, Denial> {
    let value = admit(&envelope.payload, &S::ADMISSION).map_err(|why| match why {
        NotAdmitted::TooLarge { .. } => Denial::new(Reason::Oversize).limit(S::ADMISSION.max_bytes as u64),
        why => Denial::new(Reason::NotCanonical).detail(why.to_string()),
    })?;
    match value.get("typ").and_then(Value::as_str) {
        Some(typ) if typ == S::TYP => {}
        Some(_) => return Err(Denial::new(Reason::WrongTyp).detail(format!("wanted {}", S::TYP))),
        None => return Err(Denial::new(Reason::Schema).detail("member typ is missing or no text")),
    }
    match value.get("v").and_then(Value::as_u64) {
        Some(VERSION) => {}
        Some(_) => return Err(Denial::new(Reason::UnsupportedVersion).limit(VERSION)),
        None => return Err(Denial::new(Reason::Schema).detail("member v is missing or no number")),
    }
    // serde's own words would quote what did not fit, and that may be a secret in the wrong place.
    S::parse(value)
        .map_err(|why| Denial::new(Reason::Schema).detail(wanted_by(&why).chars().take(200).collect::<String>()))
}

/// Step 6: what the statement says of vault, holder and key equals the row whose key verified.
///
/// # Errors
/// [`Reason::WrongVault`], [`Reason::WrongHolder`], [`Reason::WrongKey`], [`Reason::KeyRetired`].
pub fn holder(claims: &Claims<'_>, key: &HeldKey, aud: &Aud, now: Timestamp, _: &SignatureValid) -> Result<(), Denial> {
    if claims.aud != aud {
        return Err(Denial::new(Reason::WrongVault).detail(format!("this vault is {aud}")));
    }
    if claims.holder != key.holder {
        return Err(Reason::WrongHolder.into());
    }
    if *claims.kid != key.kid || claims.kver != key.kver {
        return Err(Reason::WrongKey.into());
    }
    key.accepted(now)
}

/// Step 7: `now - skew <= iat <= now + skew`, and `iat` above the floor below which nonces are no longer kept.
///
/// # Errors
/// [`Reason::ClockSkew`] with the vault's time and the skew as limit, [`Reason::Stale`].
pub fn window(iat: Timestamp, now: Timestamp, skew: Seconds, floor: Timestamp) -> Result<WithinWindow, Denial> {
    if iat < now.minus(skew) || iat > now.plus(skew) {
        return Err(Denial::new(Reason::ClockSkew).limit(skew.0).at(now));
    }
    if iat <= floor {
        let stale = Denial::new(Reason::Stale).at(now);
        return Err(if floor < now { stale } else { stale.detail(above(floor)) });
    }
    Ok(WithinWindow(()))
}

/// A floor in the clock's future is that of a restore or of a clock that was set anew: a new statement comes too early as
/// well, and the second from which one is taken is said.
fn above(floor: Timestamp) -> String {
    let from = Timestamp((floor.0 / 1000 + 1) * 1000);
    format!(
        "the vault was restored from a backup, or its clock was reset; it takes nothing signed before {from}: wait until then"
    )
}

/// Step 10, as far as the request itself can tell: the suite is offered and the key is a safe point.
///
/// # Errors
/// [`Reason::SealSuite`], [`Reason::SealKey`].
pub fn seal_acceptable(seal: &Seal) -> Result<hpke::SealPublicKey, Denial> {
    if seal.suite != hpke::SUITE {
        return Err(Denial::new(Reason::SealSuite).detail(format!("accepted: {}", hpke::SUITE)));
    }
    seal.pk.check().map_err(|_| Reason::SealKey.into())
}

/// Steps 9 and 10: the session is alive and pinned to this seal, or does not exist yet. Requests that bring no seal
/// (renew, release, close) need a session that exists.
///
/// # Errors
/// [`Reason::SessionUnknown`], [`Reason::SessionEnded`], [`Reason::SealMismatch`].
pub fn bind(
    session: Option<&Session>,
    seal: Option<&Seal>,
    now: Timestamp,
    idle: Seconds,
) -> Result<SessionBound, Denial> {
    match (session, seal) {
        (None, None) => Err(Reason::SessionUnknown.into()),
        (None, Some(_)) => Ok(SessionBound(())),
        (Some(session), seal) => {
            session.alive(now, idle)?;
            match seal {
                Some(seal) if *seal != session.seal => Err(Reason::SealMismatch.into()),
                _ => Ok(SessionBound(())),
            }
        }
    }
}

/// A statement whose speaker is known: signature, names and time are checked, each by its step.
#[derive(Clone, Debug)]
pub struct Authenticated<S> {
    statement: S,
    envelope: Envelope,
    req: Digest,
    key: HeldKey,
    at: Timestamp,
}

impl<S: Signed> Authenticated<S> {
    /// Steps 1 to 7 in their order. `candidate` is the registered key of the envelope's `kid`, if there is one.
    ///
    /// # Errors
    /// The denial of the first step that fails, and whether the signature had been found valid before it.
    pub fn check(
        envelope: Envelope,
        candidate: Option<&HeldKey>,
        place: &Place<'_>,
    ) -> Result<Authenticated<S>, Refused> {
        let unproven = |denial| Refused { denial, signed: false };
        let proven = |denial| Refused { denial, signed: true };
        let shaped = shape(&envelope, S::PAYLOAD_TYPE, &S::ADMISSION).map_err(unproven)?;
        let valid = signature(&envelope, candidate, &shaped).map_err(unproven)?;
        let key = candidate.ok_or_else(|| unproven(Reason::Unauthenticated.into()))?;
        let statement: S = read(&envelope, &valid).map_err(proven)?;
        let claims = statement.claims();
        holder(&claims, key, place.aud, place.now, &valid).map_err(proven)?;
        let within = window(claims.iat, place.now, place.skew, place.floor).map_err(proven)?;
        Ok(Authenticated::of(statement, envelope, key.clone(), place.now, valid, within))
    }

    /// What the steps have proved; there is no other way to make one.
    fn of(
        statement: S,
        envelope: Envelope,
        key: HeldKey,
        at: Timestamp,
        _: SignatureValid,
        _: WithinWindow,
    ) -> Authenticated<S> {
        Authenticated { statement, req: envelope.digest(), envelope, key, at }
    }

    /// The statement.
    pub fn statement(&self) -> &S {
        &self.statement
    }

    /// The envelope as it was received.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// H(PAE) of it.
    pub fn req(&self) -> Digest {
        self.req
    }

    /// The key that signed it.
    pub fn key(&self) -> &HeldKey {
        &self.key
    }

    /// When it was checked.
    pub fn at(&self) -> Timestamp {
        self.at
    }
}

impl<B: Body> Authenticated<Request<B>> {
    /// What the agent claims to have seen of its chain.
    pub fn seen(&self) -> Seen {
        self.statement.common.seen
    }
}

/// Here and now, as authentication needs it.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// This vault.
    pub aud: &'a Aud,
    /// The present.
    pub now: Timestamp,
    /// How far `iat` may lie from it.
    pub skew: Seconds,
    /// At or below this `iat`, nonces are no longer kept.
    pub floor: Timestamp,
}

/// A refusal by authentication.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub denial: Denial,
    /// Whether a registered key had signed the statement: only then is the answer signed and specific.
    pub signed: bool,
}
