//! What both services do with every message: take the envelope out of it, and put the vault's answer in. The vault is
//! handed envelopes that have a shape; what has none is refused here and counted.

use std::sync::{Arc, Mutex, PoisonError};

use tonic::{Request, Status};

use super::backup::Belongings;
use super::listen::Origin;
use super::phases::{Inside, Phases};
use super::status;
use crate::authz::Peer;
use crate::crypto::envelope::Envelope;
use crate::denial::{Denial, Fault, Reason};
use crate::rate::{Rate, Table};
use crate::telemetry::Telemetry;
use crate::time::Stopwatch;
use crate::vault::Vault;
use crate::vault::answer::Outcome;
use crate::vault::operate::Call;
use crate::wire::convert;
use crate::wire::v1::SignedEnvelope;

/// The place where messages are taken and given.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    pub(super) phases: Phases,
    pub(super) telemetry: Telemetry,
    /// What goes with a backup.
    pub(super) belongings: Belongings,
    pub(super) told: Told,
}

/// Whether a refusal is worth a line in the log: so many of each reason. Whoever has a key and floods with it shall not
/// fill a disk; the metrics count every refusal.
#[derive(Clone, Debug)]
pub(super) struct Told(Arc<(Mutex<Table<Reason>>, Stopwatch)>);

impl Told {
    /// How many lines a second, and how many at once.
    const LINES: (u64, u64) = (5, 100);

    pub(super) fn new() -> Told {
        let rate = Rate::new(Told::LINES.0, Told::LINES.1);
        Told(Arc::new((Mutex::new(Table::new(rate, Reason::ALL.len())), Stopwatch::start())))
    }

    fn may(&self, reason: Reason) -> bool {
        let (lines, watch) = &*self.0;
        lines.lock().unwrap_or_else(PoisonError::into_inner).take(&reason, 1, watch.nanos()).is_ok()
    }
}

impl Desk {
    /// The envelope of a message.
    pub(super) fn take(&self, signed: Option<SignedEnvelope>) -> Result<Envelope, Status> {
        convert::envelope(signed).map_err(|error| {
            self.phases.refuse_unread(Reason::Malformed);
            self.telemetry.refused(Reason::Malformed);
            tracing::debug!(%error, "a message without an envelope");
            status::malformed(&error)
        })
    }

    /// A place inside the vault, where it is not sealed.
    pub(super) fn enter(&self) -> Result<Inside, Status> {
        self.phases.enter().ok_or_else(|| {
            self.telemetry.refused(Reason::Sealed);
            tracing::debug!("refused: the vault is sealed");
            status::refusal(&Reason::Sealed.into(), None)
        })
    }

    /// What the vault answers to a message.
    pub(super) async fn ask<F>(
        &self,
        signed: Option<SignedEnvelope>,
        work: impl FnOnce(Arc<Vault>, Envelope) -> F,
    ) -> Result<SignedEnvelope, Status>
    where
        F: Future<Output = Outcome>,
    {
        let beside = |vault, envelope| {
            let work = work(vault, envelope);
            async { (work.await, ()) }
        };
        Ok(self.ask_beside(signed, beside).await?.0)
    }

    /// The same, with what comes beside the answer.
    pub(super) async fn ask_beside<F, T>(
        &self,
        signed: Option<SignedEnvelope>,
        work: impl FnOnce(Arc<Vault>, Envelope) -> F,
    ) -> Result<(SignedEnvelope, T), Status>
    where
        F: Future<Output = (Outcome, T)>,
    {
        let inside = self.enter()?;
        let envelope = self.take(signed)?;
        let done = inside.within(work(Arc::clone(&inside.vault), envelope)).await;
        let (outcome, beside) = done.ok_or_else(|| status::refusal(&Reason::OutcomeUnknown.into(), None))?;
        Ok((self.give(outcome)?, beside))
    }

    /// Has the vault sealed, and answers when it is.
    pub(super) async fn seal(&self, signed: Option<SignedEnvelope>) -> Result<SignedEnvelope, Status> {
        let mut sealed = self.phases.until_sealed();
        let inside = self.enter()?;
        let envelope = self.take(signed)?;
        // A seal that stands in `_operators` takes effect, so nobody gives it up in between.
        let outcome = inside.vault.operate(Call::VaultSeal, envelope, None).await;
        let commanded = inside.vault.sealing().is_cancelled();
        drop(inside);
        let signed = self.give(outcome)?;
        if commanded {
            // Without a sender the process ends, and the keys with it.
            let _ = sealed.changed().await;
        }
        Ok(signed)
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
        let loud = (reason.fault() == Fault::Vault || signed.is_some()) && self.told.may(reason);
        if loud && reason.fault() == Fault::Vault {
            tracing::error!(%reason, internal, "refused");
        } else if loud {
            tracing::info!(%reason, internal, "refused");
        } else {
            // Strangers fill the log with nothing.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_told_of_in_few_lines() {
        let told = Told::new();
        for reason in [Reason::NoGrant, Reason::Replay] {
            let lines = (0..10_000).filter(|_| told.may(reason)).count();
            // Each reason has its own, and some more for the time that this takes.
            assert!((100..200).contains(&lines), "{reason}: {lines}");
        }
    }
}
