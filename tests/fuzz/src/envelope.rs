//! Signed envelopes: on the wire, and embedded in entries and files.

use nockvault::crypto::envelope::{Embedded, Envelope, PayloadType};
use nockvault::crypto::json::canonical;
use nockvault::crypto::signature::Signature;
use nockvault::statement::register::Register;
use nockvault::wire::convert::{MAX_KID, MAX_PAYLOAD_TYPE};
use nockvault::wire::v1::SignedEnvelope;
use prost::Message as _;

/// Three inputs in one: a message of gRPC; a payload, which is embedded; and an embedded envelope as files have it.
pub(super) fn envelope(data: &[u8]) -> bool {
    let on_the_wire = SignedEnvelope::decode(data).is_ok_and(wire);
    let payload = embeds(data);
    let embedded = super::text(data).is_some_and(in_a_file);
    on_the_wire || payload || embedded
}

/// An envelope keeps its bytes between the wire and the house, and is bounded.
fn wire(sent: SignedEnvelope) -> bool {
    let Ok(envelope) = Envelope::try_from(sent.clone()) else { return false };
    assert!(envelope.payload_type.len() <= MAX_PAYLOAD_TYPE && envelope.kid.len() <= MAX_KID);
    embeds(&envelope.payload);
    let digest = envelope.digest();
    let back = SignedEnvelope::from(envelope);
    assert_eq!(back, sent);
    assert_eq!(Envelope::try_from(back).expect("it was one before").digest(), digest);
    true
}

/// What is embedded opens to the bytes that were signed.
fn embeds(payload: &[u8]) -> bool {
    let (payload_type, kid) = (PayloadType::Request.as_str().to_owned(), String::new());
    let signature = Signature::from_bytes([7; 64]);
    let envelope = Envelope { payload_type, payload: payload.to_vec(), signature, kid };
    let Some(embedded) = envelope.embed() else { return false };
    let read: Embedded = serde_json::from_slice(&canonical(&embedded)).expect("it was written as JSON");
    let opened = read.open(PayloadType::Request);
    assert!(opened.payload == payload && opened.digest() == envelope.digest(), "it opens to other bytes");
    true
}

/// What a file says is embedded has one digest, however the file writes it; a register statement in it says what its key
/// signed.
fn in_a_file(text: &str) -> bool {
    let Ok(embedded) = serde_json::from_str::<Embedded>(text) else { return false };
    let opened = embedded.open(PayloadType::Register);
    let again: Embedded = serde_json::from_slice(&canonical(&embedded)).expect("it was written as JSON");
    assert_eq!(again.open(PayloadType::Register).digest(), opened.digest());
    if let Ok(register) = Register::open(&embedded) {
        assert_eq!(canonical(&register), opened.payload, "the statement is written otherwise than it was signed");
        return true;
    }
    false
}
