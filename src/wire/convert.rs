//! Between the messages of gRPC and the house's own types. What comes in is measured before it is believed: an
//! [`Envelope`] made here has a signature of 64 bytes and a key hint and payload type of bounded length, and nothing
//! more is known of it. A refusal travels as a `google.rpc.Status` whose details hold the reason for programs and, where
//! the request's signature was valid, the vault's own signed word for it.

use std::collections::HashMap;
use std::time::Duration;

use prost::Message as _;
use prost_types::Any;
use tonic::Code;
use tonic_types::{ErrorInfo, pb};

use crate::crypto::envelope::Envelope;
use crate::crypto::signature::Signature;
use crate::wire::v1::SignedEnvelope;

/// The longest payload type on the wire, in bytes.
pub const MAX_PAYLOAD_TYPE: usize = 128;
/// The longest key hint on the wire, in bytes.
pub const MAX_KID: usize = 64;
/// The domain of our reasons in `google.rpc.ErrorInfo`.
pub const ERROR_DOMAIN: &str = "nockvault";

/// The metadata that says how long to wait, in milliseconds.
pub const RETRY_AFTER_MS: &str = "retry_after_ms";

const SIGNED_ENVELOPE_URL: &str = "type.googleapis.com/nockvault.v1.SignedEnvelope";

/// Why a message holds no envelope. The texts name lengths and never what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The message came without its envelope.
    #[error("the message holds no signed envelope")]
    Missing,
    /// An Ed25519 signature has one length.
    #[error("a signature has 64 bytes, this one has {0}")]
    Signature(usize),
    /// The payload type is too long.
    #[error("a payload type has at most {MAX_PAYLOAD_TYPE} bytes, this one has {0}")]
    PayloadType(usize),
    /// The key hint is too long.
    #[error("a kid has at most {MAX_KID} bytes, this one has {0}")]
    Kid(usize),
}

impl TryFrom<SignedEnvelope> for Envelope {
    type Error = EnvelopeError;

    fn try_from(wire: SignedEnvelope) -> Result<Self, EnvelopeError> {
        if wire.payload_type.len() > MAX_PAYLOAD_TYPE {
            return Err(EnvelopeError::PayloadType(wire.payload_type.len()));
        }
        if wire.kid.len() > MAX_KID {
            return Err(EnvelopeError::Kid(wire.kid.len()));
        }
        let signature = Signature::from_slice(&wire.signature).ok_or(EnvelopeError::Signature(wire.signature.len()))?;
        Ok(Envelope { payload_type: wire.payload_type, payload: wire.payload, signature, kid: wire.kid })
    }
}

impl From<Envelope> for SignedEnvelope {
    fn from(envelope: Envelope) -> Self {
        SignedEnvelope {
            payload_type: envelope.payload_type,
            payload: envelope.payload,
            signature: envelope.signature.as_bytes().to_vec(),
            kid: envelope.kid,
        }
    }
}

/// The envelope of a request or response, whose `signed` is optional to protobuf and to nobody else.
pub fn envelope(signed: Option<SignedEnvelope>) -> Result<Envelope, EnvelopeError> {
    signed.ok_or(EnvelopeError::Missing)?.try_into()
}

/// What a refusal says to programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalDetails {
    /// The code of the reason, as `nockvault/denied` spells it.
    pub reason: String,
    /// What a program can act on, such as the limit or the vault's time. Not signed: for show.
    pub metadata: HashMap<String, String>,
    /// The vault's signed `nockvault/denied`, absent where the request's signature did not verify. Its signature is not
    /// checked here.
    pub signed: Option<Envelope>,
}

impl RefusalDetails {
    /// The gRPC status that carries this refusal. Code and message stand in the details once more, because strict
    /// clients compare the two and reject a status that contradicts itself.
    #[must_use]
    pub fn into_status(self, code: Code, message: &str) -> tonic::Status {
        let info = pb::ErrorInfo { reason: self.reason, domain: ERROR_DOMAIN.to_owned(), metadata: self.metadata };
        let mut details = vec![packed(ErrorInfo::TYPE_URL, &info)];
        details.extend(self.signed.map(|signed| packed(SIGNED_ENVELOPE_URL, &SignedEnvelope::from(signed))));
        let status = pb::Status { code: code.into(), message: message.to_owned(), details };
        tonic::Status::with_details(code, message, status.encode_to_vec().into())
    }

    /// How long to wait before the same is asked anew, where that is all it takes. Nobody signed it: it may slow its reader
    /// down and decides nothing else.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.metadata.get(RETRY_AFTER_MS)?.parse().ok().map(Duration::from_millis)
    }

    /// The refusal that a status carries. None when it is not one of ours: from a proxy, from the transport, or from a
    /// peer that speaks otherwise. An envelope without the shape of one counts as absent, since only a verified one
    /// proves anything.
    #[must_use]
    pub fn from_status(status: &tonic::Status) -> Option<RefusalDetails> {
        let details = pb::Status::decode(status.details()).ok()?.details;
        let info: pb::ErrorInfo =
            unpacked(&details, ErrorInfo::TYPE_URL).find(|info: &pb::ErrorInfo| info.domain == ERROR_DOMAIN)?;
        let signed = unpacked(&details, SIGNED_ENVELOPE_URL).find_map(|signed: SignedEnvelope| signed.try_into().ok());
        Some(RefusalDetails { reason: info.reason, metadata: info.metadata, signed })
    }
}

fn packed(type_url: &str, message: &impl prost::Message) -> Any {
    Any { type_url: type_url.to_owned(), value: message.encode_to_vec() }
}

/// The messages of one type among the details.
fn unpacked<M: prost::Message + Default>(details: &[Any], type_url: &str) -> impl Iterator<Item = M> {
    details
        .iter()
        .filter(move |any| type_name(&any.type_url) == type_name(type_url))
        .filter_map(|any| M::decode(any.value.as_slice()).ok())
}

/// A type URL counts from its last slash, as `Any` defines it.
fn type_name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt as _;

    use super::*;
    use crate::denial::Reason;

    fn on_the_wire() -> SignedEnvelope {
        SignedEnvelope {
            payload_type: "t".repeat(MAX_PAYLOAD_TYPE),
            payload: b"{}".to_vec(),
            signature: (0..64).collect(),
            kid: "k".repeat(MAX_KID),
        }
    }

    fn refused(change: impl FnOnce(&mut SignedEnvelope)) -> EnvelopeError {
        let mut wire = on_the_wire();
        change(&mut wire);
        Envelope::try_from(wire).expect_err("it is beyond a limit")
    }

    #[test]
    fn an_envelope_at_its_limits_comes_back_as_it_was() {
        let envelope = envelope(Some(on_the_wire())).expect("it is within its limits");
        assert_eq!(envelope.payload, b"{}");
        assert_eq!(SignedEnvelope::from(envelope), on_the_wire());
    }

    #[test]
    fn what_has_no_shape_is_refused_with_its_length() {
        for length in [0, 63, 65, 4096] {
            assert_eq!(refused(|wire| wire.signature = vec![0; length]), EnvelopeError::Signature(length));
        }
        assert_eq!(refused(|wire| wire.kid.push('k')), EnvelopeError::Kid(65));
        assert_eq!(refused(|wire| wire.payload_type.push('t')), EnvelopeError::PayloadType(129));
        assert!(matches!(envelope(None), Err(EnvelopeError::Missing)));
        assert_eq!(EnvelopeError::Kid(65).to_string(), "a kid has at most 64 bytes, this one has 65");
    }

    fn refusal(signed: Option<SignedEnvelope>) -> RefusalDetails {
        RefusalDetails {
            reason: "clock_skew".to_owned(),
            metadata: HashMap::from([("now".to_owned(), "1700000000000".to_owned())]),
            signed: signed.map(|signed| signed.try_into().expect("it is an envelope")),
        }
    }

    #[test]
    fn a_refusal_comes_back_as_it_was() {
        for sent in [refusal(None), refusal(Some(on_the_wire()))] {
            let status = sent.clone().into_status(Code::FailedPrecondition, "mind the clock");
            assert_eq!(RefusalDetails::from_status(&status), Some(sent));
        }
    }

    #[test]
    fn a_refusal_reads_as_any_grpc_client_reads_it() {
        let status = refusal(Some(on_the_wire())).into_status(Code::FailedPrecondition, "mind the clock");
        let info = status.get_details_error_info().expect("google.rpc.ErrorInfo is there");
        assert_eq!((info.domain.as_str(), info.reason.as_str()), ("nockvault", "clock_skew"));
        let inner = pb::Status::decode(status.details()).expect("the details are a google.rpc.Status");
        assert_eq!((inner.code, inner.message.as_str()), (9, "mind the clock"));
        assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "mind the clock"));
    }

    #[test]
    fn a_status_of_anothers_is_no_refusal_of_ours() {
        let foreign = pb::ErrorInfo { reason: "X".to_owned(), domain: "proxy".to_owned(), metadata: HashMap::new() };
        let foreign =
            pb::Status { code: 14, message: String::new(), details: vec![packed(ErrorInfo::TYPE_URL, &foreign)] };
        for details in [Vec::new(), vec![0xff; 9], foreign.encode_to_vec()] {
            let status = tonic::Status::with_details(Code::Unavailable, "", details.into());
            assert!(RefusalDetails::from_status(&status).is_none());
        }
    }

    #[test]
    fn an_envelope_without_shape_in_a_refusal_counts_as_absent() {
        let info =
            pb::ErrorInfo { reason: "replay".to_owned(), domain: ERROR_DOMAIN.to_owned(), metadata: HashMap::new() };
        let shapeless = SignedEnvelope { signature: vec![0; 63], ..on_the_wire() };
        let details = vec![packed(ErrorInfo::TYPE_URL, &info), packed(SIGNED_ENVELOPE_URL, &shapeless)];
        let status = pb::Status { code: 6, message: String::new(), details };
        let status = tonic::Status::with_details(Code::AlreadyExists, "", status.encode_to_vec().into());
        let back = RefusalDetails::from_status(&status).expect("it is one of ours");
        assert!(back.reason == "replay" && back.signed.is_none());
    }

    #[test]
    fn the_contract_lists_every_reason_once() {
        let contract = include_str!("../../proto/nockvault/v1/envelope.proto");
        let (_, list) = contract.split_once("Every reason there is, by status:").expect("the list begins");
        let (list, _) = list.split_once("The transport itself").expect("the list ends");
        let mut listed: Vec<&str> = list.split('`').skip(1).step_by(2).collect();
        let mut reasons: Vec<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        listed.sort_unstable();
        reasons.sort_unstable();
        assert_eq!(listed, reasons);
    }
}
