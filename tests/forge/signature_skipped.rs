//! A payload is read only with the proof that a registered key signed it, and that proof is made nowhere else.

use nockvault::authn::{SignatureValid, read};
use nockvault::crypto::envelope::Envelope;
use nockvault::denial::Denial;
use nockvault::statement::issue::Issue;
use nockvault::statement::request::Request;

fn believe(envelope: &Envelope) -> Result<Request<Issue>, Denial> {
    read(envelope, &SignatureValid(()))
}

fn main() {}
