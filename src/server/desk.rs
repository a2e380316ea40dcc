//! What both services do with every message: take the envelope out of it, and put the vault's answer in. The vault is
//! handed envelopes that have a shape; what has none is refused here and counted.

use std::sync::Arc;

use tonic::{Request, Status};

use super::backup::Belongings;
use super::listen::Origin;
use super::status;
use crate::authz::Peer;
use crate::crypto::envelope::Envelope;
use crate::denial::{Denial, Fault, Reason};
use crate::telemetry::Telemetry;
use crate::vault::Vault;
use crate::vault::answer::Outcome;
use crate::wire::convert;
use crate::wire::v1::SignedEnvelope;

/// The place where messages are taken and given.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    pub(super) vault: Arc<Vault>,
    pub(super) telemetry: Telemetry,
    /// What goes with a backup.
    pub(super) belongings: Belongings,
}

impl Desk {
    /// The envelope of a message.
    pub(super) fn take(&self, signed: Option<SignedEnvelope>) -> Result<Envelope, Status> {
        convert::envelope(signed).map_err(|error| {
            self.vault.refuse_unread(Reason::Malformed);
            self.telemetry.refused(Reason::Malformed);
            tracing::debug!(%error, "a message without an envelope");
            status::malformed(&error)
        })
    }

    /// What the vault says, on its way out.
    pub(super) fn give(&self, outcome: Outcome) -> Result<SignedEnvelope, Status> {
        match outcome {
            Outcome::Released(released) => Ok(released.into_envelope().into()),
            Outcome::Refused(refused) => Err(self.refuse(&refused.denial, refused.signed)),
        }
    }

    /// A refusal on its way out. The log gets what the peer must not.
    pub(super) fn refuse(&self, denial: &Denial, signed: Option<Envelope>) -> Status {
        let reason = denial.reason;
        self.telemetry.refused(reason);
        let internal = denial.internal.as_str();
        if reason.fault() == Fault::Vault {
            tracing::error!(%reason, internal, "refused");
        } else if signed.is_some() {
            tracing::info!(%reason, internal, "refused");
        } else {
            // Strangers do not fill the log either.
            tracing::debug!(%reason, internal, "refused");
        }
        status::refusal(denial, signed)
    }
}

/// Where a request came from. Each of our connections says so; without its word nothing is assumed.
pub(super) fn peer<T>(request: &Request<T>) -> Result<Peer, Status> {
    let origin = request.extensions().get::<Origin>();
    origin.map(|origin| origin.0).ok_or_else(|| status::refusal(&Denial::new(Reason::Internal), None))
}
