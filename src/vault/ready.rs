//! Whether requests are served, and what is told of the vault to whoever watches it: figures and words of closed sets, no
//! names.

use std::collections::BTreeMap;

use super::{State, Vault};
use crate::audit::certificate::open_cert;
use crate::id::ChainName;
use crate::statement::cert::KeyRole;
use crate::telemetry::Telemetry;
use crate::time::Timestamp;

/// Why requests are not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReady {
    /// The daemon is told to stop.
    Stopping,
    /// The store failed.
    Failed,
    /// The clock is behind the vault's own history.
    ClockBehind,
    /// The disk is full.
    DiskFull,
    /// A chain of the vault's own does not verify.
    Quarantined,
    /// What is signed now is refused: the vault was restored, or its clock reset, less than the skew ago.
    Stale,
}

impl NotReady {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            NotReady::Stopping => "stopping",
            NotReady::Failed => "failed",
            NotReady::ClockBehind => "clock_behind",
            NotReady::DiskFull => "disk_full",
            NotReady::Quarantined => "quarantined",
            NotReady::Stale => "stale",
        }
    }
}

impl Vault {
    /// Has this vault and its store tell what they do.
    pub fn observe(&self, telemetry: &Telemetry) {
        // Whoever served it first goes on being told.
        let _ = self.telemetry.set(telemetry.clone());
        self.store.observe(telemetry);
    }

    pub(super) fn measure(&self, what: impl FnOnce(&Telemetry)) {
        if let Some(telemetry) = self.telemetry.get() {
            what(telemetry);
        }
    }

    /// Whether it serves what agents ask. Operators are served as long as it does not stop.
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&self) -> Result<(), NotReady> {
        match self.state() {
            State::Stopping => Err(NotReady::Stopping),
            State::Failed => Err(NotReady::Failed),
            State::Serving if self.clock.now().plus(self.limits.rules.skew) < self.store.newest() => {
                Err(NotReady::ClockBehind)
            }
            State::Serving if self.store.full() => Err(NotReady::DiskFull),
            State::Serving
                if [ChainName::vault(), ChainName::operators()].iter().any(|own| self.store.is_aside(own)) =>
            {
                Err(NotReady::Quarantined)
            }
            State::Serving if self.clock.now() <= self.store.floor() => Err(NotReady::Stale),
            State::Serving => Ok(()),
        }
    }

    /// Tells until when the vault's own certificates are good; of the keys for tokens, the newest one's.
    pub fn tell_certificates(&self) {
        let identity = self.identity.public();
        let certs = self.certs.iter().cloned().chain(self.tokens.certs()).chain([self.checkpoints.cert()]);
        let mut ends: BTreeMap<&'static str, Timestamp> = BTreeMap::from([("audit", self.epochs.ends())]);
        for cert in certs.filter_map(|cert| open_cert(&cert, &identity).ok()) {
            let of = match cert.role {
                KeyRole::Response => "response",
                KeyRole::Checkpoint => "checkpoint",
                KeyRole::Intake => "intake",
                KeyRole::Jwt => "jwt",
                KeyRole::Audit => "audit",
            };
            let end = ends.entry(of).or_default();
            *end = cert.exp.max(*end);
        }
        for (of, end) in ends {
            self.measure(|telemetry| telemetry.certificate(of, end));
        }
    }
}
