//! An entry on paper: how a line is laid out, what of it is signed, and the reading of the members that all entries have
//! before anybody looks at the body.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::entry::{Body, Entry, Origin, Unreadable, admission};
use crate::crypto::envelope::{Embedded, PayloadType, pae};
use crate::crypto::hash::Digest;
use crate::crypto::json::{Admission, NotAdmitted, admit, canonical_value};
use crate::crypto::signature::{BadSignature, PublicKey, Signature, SigningKey};
use crate::id::Kid;
use crate::statement::VERSION;
use crate::time::Timestamp;

/// The members of an entry as they stand on paper.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Members<B> {
    body: B,
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "present")]
    cert: Option<Embedded>,
    kid: Kid,
    kind: String,
    origin: String,
    prev: Digest,
    seq: u64,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    sig: Option<Signature>,
    ts: Timestamp,
    v: u64,
}

/// Lets a member be absent but not `null`.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// The members that all entries have, with a body that nobody has looked at: enough to verify the chain around an entry
/// that is not understood.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    members: Members<Value>,
    /// The line without the signature: what is signed.
    signed: Vec<u8>,
    sig: Signature,
    origin: Origin,
}

impl Frame {
    pub(super) fn read(line: &[u8]) -> Result<Frame, Unreadable> {
        let mut value = admit(line, &Admission::OPERATORS_LINE)?;
        // It is the bulk of the line, and moves as it is.
        let body = value.get_mut("body").map(Value::take);
        let malformed = |why: String| Unreadable::Malformed(why);
        let v = value.get("v").and_then(Value::as_u64);
        let mut members: Members<Value> = serde_json::from_value(value).map_err(|why| match v {
            Some(v) if v != VERSION => Unreadable::NotUnderstood(format!("version {v}")),
            _ => malformed(why.to_string()),
        })?;
        members.body = body.unwrap_or_default();
        let sig = members.sig.ok_or_else(|| malformed("without a signature".into()))?;
        let origin = Origin::parse(&members.origin).ok_or_else(|| malformed("origin is not <vault>/<chain>".into()))?;
        let rules = admission(&origin.chain);
        if line.len() > rules.max_bytes {
            return Err(NotAdmitted::TooLarge { bytes: line.len(), limit: rules.max_bytes }.into());
        }
        let signed = without_signature(line).ok_or_else(|| malformed("without a signature".into()))?;
        Ok(Frame { members, signed, sig, origin })
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(super) fn origin_text(&self) -> &str {
        &self.members.origin
    }

    /// Whether its kind and version are known; its body may still be malformed.
    pub(super) fn is_understood(&self) -> bool {
        !matches!(self.entry(), Err(Unreadable::NotUnderstood(_)))
    }

    pub(super) fn kind(&self) -> &str {
        &self.members.kind
    }

    pub(super) fn seq(&self) -> u64 {
        self.members.seq
    }

    pub(super) fn prev(&self) -> Digest {
        self.members.prev
    }

    pub(super) fn ts(&self) -> Timestamp {
        self.members.ts
    }

    pub(super) fn kid(&self) -> &Kid {
        &self.members.kid
    }

    pub(super) fn cert(&self) -> Option<&Embedded> {
        self.members.cert.as_ref()
    }

    /// The identity key that the first entry of every chain names.
    pub(super) fn identity(&self) -> Option<PublicKey> {
        let bytes = crate::base64url::decode_array(self.members.body.get("identity")?.as_str()?)?;
        PublicKey::from_bytes(&bytes).ok()
    }

    /// Whether `key` signed it.
    pub(super) fn verify(&self, key: &PublicKey) -> Result<(), BadSignature> {
        key.verify_raw(&pae(PayloadType::Audit.as_str(), &self.signed), &self.sig)
    }

    /// The entry, its body read as its kind.
    pub(super) fn entry(&self) -> Result<Entry, Unreadable> {
        let Members { body, cert, kid, kind, origin, prev, seq, ts, v, .. } = &self.members;
        if *v != VERSION {
            return Err(Unreadable::NotUnderstood(format!("version {v}")));
        }
        let read = Body::parse(&self.origin.chain, kind, body)?;
        // Some of the types inside leave out what they do not know; an entry has nothing that is not known.
        if serde_json::to_value(&read).ok().as_ref() != Some(body) {
            return Err(Unreadable::Malformed("body has members beyond those of its kind".into()));
        }
        if let Body::AgentKey(key) = &read
            && key.by.is_some() == key.request.is_some()
        {
            return Err(Unreadable::Malformed("body names either a request or a command".into()));
        }
        Ok(Entry {
            body: read,
            cert: cert.clone(),
            kid: kid.clone(),
            origin: origin.clone(),
            prev: *prev,
            seq: *seq,
            sig: self.sig,
            ts: *ts,
            v: *v,
        })
    }
}

/// The canonical form of an entry without its signature, out of its line. In a line that was admitted the members stand in
/// their order: behind `sig` come `ts` and `v`, which are numbers, so that the last such text is the member itself.
fn without_signature(line: &[u8]) -> Option<Vec<u8>> {
    const NAME: &[u8] = b",\"sig\":\"";
    let begin = line.windows(NAME.len()).rposition(|window| window == NAME)?;
    let value = begin + NAME.len();
    let end = value + line[value..].iter().position(|byte| *byte == b'"')? + 1;
    Some([&line[..begin], &line[end..]].concat())
}

/// What is to be signed and written.
pub(super) struct Draft<'a> {
    pub(super) body: &'a Body,
    pub(super) cert: Option<&'a Embedded>,
    pub(super) origin: &'a str,
    pub(super) prev: Digest,
    pub(super) seq: u64,
    pub(super) ts: Timestamp,
}

impl Draft<'_> {
    /// The line, signed, without LF.
    pub(super) fn sign(self, key: &SigningKey) -> Vec<u8> {
        let members = Members {
            body: self.body,
            cert: self.cert.cloned(),
            kid: key.kid(),
            kind: self.body.kind().to_owned(),
            origin: self.origin.to_owned(),
            prev: self.prev,
            seq: self.seq,
            sig: None,
            ts: self.ts,
            v: VERSION,
        };
        // Made into values once: what is signed and what is written differ by one member.
        let mut whole = serde_json::to_value(&members).expect("members of an entry have text keys");
        let sig = key.sign_raw(&pae(PayloadType::Audit.as_str(), &canonical_value(&whole)));
        whole["sig"] = serde_json::to_value(sig).expect("a signature is a text");
        canonical_value(&whole)
    }
}
