//! `PAE(T, P) = "DSSEv1" SP dec(len T) SP T SP dec(len P) SP P` (DSSE 1.0.2): what is signed, with both lengths in it,
//! so that no other type and payload give the same bytes.
//!
//! An [`Envelope`] carries the payload as the bytes that were signed; nobody serialises them anew to verify them.
//! Inside other JSON an envelope is [`Embedded`]: the payload as the object it is, whose canonical form gives back the
//! signed bytes.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::hash::Digest;
use super::json::{canonical, canonical_value};
use super::signature::{Form, Signature, SigningKey};

/// What kind of statement an envelope holds, and so who may have signed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PayloadType {
    /// From an agent to the vault.
    Request,
    /// From an operator to the vault.
    Command,
    /// From the vault to either.
    Response,
    /// From the holder of a key: proof of possession.
    Register,
    /// From the vault's identity key, over its other keys.
    Cert,
    /// From the vault: an audit entry.
    Audit,
}

impl PayloadType {
    /// Every type there is.
    pub const ALL: [PayloadType; 6] = [
        PayloadType::Request,
        PayloadType::Command,
        PayloadType::Response,
        PayloadType::Register,
        PayloadType::Cert,
        PayloadType::Audit,
    ];

    /// The media type: the `T` that is signed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            PayloadType::Request => "application/vnd.nockvault.request.v1+json",
            PayloadType::Command => "application/vnd.nockvault.command.v1+json",
            PayloadType::Response => "application/vnd.nockvault.response.v1+json",
            PayloadType::Register => "application/vnd.nockvault.register.v1+json",
            PayloadType::Cert => "application/vnd.nockvault.cert.v1+json",
            PayloadType::Audit => "application/vnd.nockvault.audit.v1+json",
        }
    }
}

impl fmt::Display for PayloadType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A payload type that no version of this protocol knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the payload type is not one of this protocol")]
pub struct UnknownPayloadType;

impl FromStr for PayloadType {
    type Err = UnknownPayloadType;

    fn from_str(text: &str) -> Result<PayloadType, UnknownPayloadType> {
        PayloadType::ALL.into_iter().find(|known| known.as_str() == text).ok_or(UnknownPayloadType)
    }
}

/// `"DSSEv1" SP dec(len T) SP T SP dec(len P) SP P`, lengths in bytes. DSSE 1.0.2, protocol.md.
#[must_use]
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {} {} ", payload_type.len(), payload_type, payload.len());
    [head.as_bytes(), payload].concat()
}

/// A signed statement as it travels. Nothing in it is believed before the signature is verified; `kid` is a hint.
#[derive(Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The type that was signed, as it came.
    pub payload_type: String,
    /// The bytes that were signed.
    pub payload: Vec<u8>,
    /// The signature.
    pub signature: Signature,
    /// Where to look for the key. Not signed, so it decides nothing.
    pub kid: String,
}

impl Envelope {
    /// Signs the canonical form of a statement.
    #[must_use]
    pub fn sign<T: Serialize>(t: PayloadType, statement: &T, key: &SigningKey, form: Form) -> Envelope {
        let payload = canonical(statement);
        let signature = key.sign(form, t.as_str(), &payload);
        Envelope { payload_type: t.as_str().to_owned(), payload, signature, kid: key.kid().as_str().to_owned() }
    }

    /// `H(PAE(T, P))`: the statement's name in responses and entries. The signature is not part of it, so a second
    /// signature over the same statement gives no second name.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&pae(&self.payload_type, &self.payload))
    }

    /// The shape it has inside other JSON, or `None` where the payload is not a canonical JSON object, which would not
    /// lead back to the signed bytes.
    #[must_use]
    pub fn embed(&self) -> Option<Embedded> {
        let payload: serde_json::Value = serde_json::from_slice(&self.payload).ok()?;
        let leads_back = payload.is_object() && canonical_value(&payload) == self.payload;
        leads_back.then_some(Embedded { payload, sig: self.signature })
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("payload_type", &self.payload_type)
            .field("payload", &format_args!("{} bytes", self.payload.len()))
            .field("signature", &self.signature)
            .field("kid", &self.kid)
            .finish()
    }
}

/// An envelope inside other JSON: `{"payload":{...},"sig":"..."}`. Its type follows from the payload's `typ`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Embedded {
    /// The statement.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub payload: serde_json::Value,
    /// The signature over its canonical form.
    pub sig: Signature,
}

impl Embedded {
    /// The envelope again, with the signed bytes and without a hint of the key.
    #[must_use]
    pub fn open(&self, t: PayloadType) -> Envelope {
        Envelope {
            payload_type: t.as_str().to_owned(),
            payload: canonical_value(&self.payload),
            signature: self.sig,
            kid: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::entropy::SeededEntropy;

    fn signed() -> (Envelope, SigningKey) {
        let key = SigningKey::generate(&SeededEntropy::new(1));
        let statement = json!({"v": 1, "agent": "kit", "params": {"b": [1, 2], "a": "é"}});
        (Envelope::sign(PayloadType::Request, &statement, &key, Form::Pae), key)
    }

    #[test]
    fn an_envelope_embeds_and_opens_to_the_signed_bytes() {
        let (envelope, key) = signed();
        let text = serde_json::to_string(&envelope.embed().unwrap()).unwrap();
        let embedded: Embedded = serde_json::from_str(&text).unwrap();
        let opened = embedded.open(PayloadType::Request);
        assert_eq!(opened, Envelope { kid: String::new(), ..envelope.clone() });
        assert_eq!(opened.digest(), envelope.digest());
        assert_eq!(key.public().verify(Form::Pae, &opened.payload_type, &opened.payload, &opened.signature), Ok(()));
        // The same payload as another type is another statement.
        assert_ne!(embedded.open(PayloadType::Command).digest(), envelope.digest());
    }

    #[test]
    fn what_does_not_lead_back_is_not_embedded() {
        let (envelope, _) = signed();
        for payload in [&b"not json"[..], br#"{"a": 1}"#, br#"{"b":1,"a":1}"#, br#"{"a":1,"a":1}"#, b"[]", b"\xff"] {
            assert_eq!(Envelope { payload: payload.to_vec(), ..envelope.clone() }.embed(), None);
        }
        let extra = r#"{"payload":{},"sig":"","kid":""}"#;
        assert!(serde_json::from_str::<Embedded>(extra).is_err());
    }

    #[test]
    fn debug_shows_the_length_of_the_payload_only() {
        let text = format!("{:?}", signed().0);
        assert!(text.contains("payload: 51 bytes") && !text.contains("kit"), "{text}");
    }

    #[test]
    fn types_are_known_by_their_exact_text() {
        for known in PayloadType::ALL {
            assert_eq!(known.as_str().parse(), Ok(known));
            assert_eq!(known.as_str().to_uppercase().parse::<PayloadType>(), Err(UnknownPayloadType));
        }
    }

    #[test]
    fn lengths_are_in_bytes_and_part_of_what_is_signed() {
        assert_eq!(pae("é", b"a b"), "DSSEv1 2 é 3 a b".as_bytes());
        assert_ne!(pae("t", b"1 x"), pae("t 3", b"x"));
    }
}
