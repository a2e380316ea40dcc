//! What makes an answer the vault's: the identity key that the card pins, the certificates that this key signed over
//! the vault's other keys, and a signature by one of those. [`Pins`] come out of a `nockvault/described` that answers a
//! fresh challenge, and every later answer is read through them. Nothing else, no name and no TLS certificate, makes an
//! answer believed.

use serde_json::Value;

use super::fault::{Fault, Untrusted};
use crate::audit::certificate::{BadCert, life, open_intake, open_signer};
use crate::audit::directory::certs;
use crate::crypto::envelope::{Embedded, Envelope, PayloadType};
use crate::crypto::hpke::SealPublicKey;
use crate::crypto::json::{Admission, admit};
use crate::crypto::signature::{Form, PublicKey};
use crate::id::Kid;
use crate::statement::VERSION;
use crate::statement::card::Card;
use crate::statement::cert::{Cert, KeyRole};
use crate::statement::directory::Directory;
use crate::statement::reply::{Described, Reply};
use crate::time::Timestamp;

/// A response key with its certificate.
#[derive(Clone, Debug)]
struct Response {
    key: PublicKey,
    cert: Cert,
    embedded: Embedded,
}

/// The vault's certified keys and what it said of itself.
#[derive(Clone, Debug)]
pub struct Pins {
    responses: Vec<Response>,
    intake: Option<SealPublicKey>,
    nbf: Timestamp,
    described: Described,
}

impl Pins {
    /// Believes `reply` where it answers `challenge` and leads to the identity that `card` pins. Its certificates are
    /// judged at its own `now`, since the clock on this side may be what is wrong; a response key born before
    /// `newest`, the newest that was ever accepted, is an old one brought back. Where a key directory is `listed`, no
    /// response key that does not stand in it is believed, certified or not.
    ///
    /// # Errors
    /// [`Untrusted`], with both thumbprints where another vault answers.
    pub fn check(
        card: &Card,
        challenge: &[u8],
        reply: &Envelope,
        newest: Timestamp,
        listed: Option<&Directory>,
    ) -> Result<Pins, Fault> {
        // Parsed before it is verified, since the certificates to verify it by stand inside; believed only after.
        let described: Described = parse(reply)?;
        let shown = <[u8; 32]>::try_from(described.identity.0.as_slice())
            .ok()
            .and_then(|bytes| PublicKey::from_bytes(&bytes).ok())
            .ok_or_else(|| form::<Described>("identity is not a key"))?;
        let pinned = &card.identity;
        if shown != *pinned || described.aud != card.aud {
            let shown = if shown == *pinned { described.aud.identity_kid() } else { shown.kid() };
            return Err(Untrusted::OtherVault { pinned: pinned.kid(), shown }.into());
        }
        if described.req.0 != challenge {
            return Err(Untrusted::OtherRequest.into());
        }
        let (mut responses, mut intake) = (Vec::new(), None);
        for embedded in &described.certs {
            let (response, to) = (open_signer(embedded, KeyRole::Response, pinned), open_intake(embedded, pinned));
            match (response, to) {
                (Ok((cert, key)), _) if life(&cert).holds(described.now) => {
                    responses.push(Response { key, cert, embedded: embedded.clone() });
                }
                (_, Ok((cert, key))) if life(&cert).holds(described.now) => intake = Some(key),
                (Ok(_), _) | (_, Ok(_)) | (Err(BadCert::Role { .. }), Err(BadCert::Role { .. })) => {}
                (_, Err(why)) => return Err(Untrusted::Certificate(why.to_string()).into()),
            }
        }
        let signer = signer(&responses, reply).ok_or(Untrusted::Signature)?;
        let nbf = signer.cert.nbf;
        if nbf < newest {
            return Err(Untrusted::OlderKey { kid: signer.cert.kid.clone(), kept: None }.into());
        }
        if let Some(directory) = listed {
            let known: Vec<Kid> = certs(directory, KeyRole::Response).map(|(cert, ..)| cert.kid).collect();
            if !known.contains(&signer.cert.kid) {
                return Err(Untrusted::NotListed { kid: signer.cert.kid.clone(), made: directory.iat }.into());
            }
            responses.retain(|response| known.contains(&response.cert.kid));
        }
        Ok(Pins { nbf, responses, intake, described })
    }

    /// What the vault said of itself.
    #[must_use]
    pub fn described(&self) -> &Described {
        &self.described
    }

    /// The key that operators seal secret input to.
    #[must_use]
    pub fn intake(&self) -> Option<&SealPublicKey> {
        self.intake.as_ref()
    }

    /// Since when the response key that signed the description is good.
    #[must_use]
    pub fn nbf(&self) -> Timestamp {
        self.nbf
    }

    /// The certificate of the response key that signed `reply`: who keeps an answer keeps it with this.
    #[must_use]
    pub fn cert_of(&self, reply: &Envelope) -> Option<&Embedded> {
        signer(&self.responses, reply).map(|response| &response.embedded)
    }

    /// Whether a response key that is good at `now` signed `reply`.
    #[must_use]
    pub fn signed(&self, reply: &Envelope, now: Timestamp) -> bool {
        signer(&self.responses, reply).is_some_and(|response| now < response.cert.exp)
    }

    /// Reads a signed answer.
    ///
    /// # Errors
    /// [`Untrusted::Signature`], then [`Untrusted::Form`].
    pub fn read<R: Reply>(&self, reply: &Envelope, now: Timestamp) -> Result<R, Untrusted> {
        if self.signed(reply, now) { parse(reply) } else { Err(Untrusted::Signature) }
    }
}

fn form<R: Reply>(why: impl ToString) -> Untrusted {
    Untrusted::Form { typ: R::TYP, why: why.to_string() }
}

fn signer<'a>(responses: &'a [Response], reply: &Envelope) -> Option<&'a Response> {
    let t = PayloadType::Response.as_str();
    let fits = |response: &&Response| response.key.verify(Form::Pae, t, &reply.payload, &reply.signature).is_ok();
    (reply.payload_type == t).then(|| responses.iter().find(fits)).flatten()
}

/// A statement of the vault: its `typ`, its version, its members. Members that are not known are ignored, unless `crit`
/// names them.
fn parse<R: Reply>(reply: &Envelope) -> Result<R, Untrusted> {
    let value = admit(&reply.payload, &Admission::RESPONSE).map_err(form::<R>)?;
    if value.get("typ").and_then(Value::as_str) != Some(R::TYP) {
        return Err(form::<R>("its typ is another"));
    }
    if value.get("v").and_then(Value::as_u64) != Some(VERSION) {
        return Err(form::<R>("its version is not known here; a newer client may read it"));
    }
    let crit = value.get("crit").cloned();
    let read: R = serde_json::from_value(value).map_err(|_| form::<R>("a member is missing or of another kind"))?;
    let Some(crit) = crit else { return Ok(read) };
    let known = serde_json::to_value(&read).map_err(form::<R>)?;
    let understood = |name: &Value| name.as_str().is_some_and(|name| known.get(name).is_some());
    match crit.as_array() {
        Some(names) if names.iter().all(understood) => Ok(read),
        _ => Err(form::<R>("crit names a member that is not understood here; a newer client may read it")),
    }
}
