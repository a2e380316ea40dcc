//! What is looked at now and then and told in the metrics and by health: how much lives, how much room the disk has, until
//! when certificates are good, and whether requests are served. `/readyz` and gRPC's health say the same, since both ask
//! the same question.

use std::sync::Arc;

use tonic::server::NamedService;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use x509_parser::pem::Pem;

use super::agents::Agents;
use super::operators::Operators;
use crate::config::Config;
use crate::engine::ca::Document;
use crate::follow::Follower;
use crate::telemetry::{Alive, Telemetry};
use crate::time::{Clock as _, Seconds, SystemClock, Timestamp};
use crate::vault::{NotReady, Vault};
use crate::wire::v1::agent_service_server::AgentServiceServer;
use crate::wire::v1::operator_service_server::OperatorServiceServer;

/// So many counts from one look at certificates to the next: an hour.
const CERTIFICATES: u32 = 240;

/// Looks at a vault that is unsealed, for whoever watches it. It holds nothing of the vault's beyond that.
pub(super) struct Watch<'a> {
    config: &'a Config,
    vault: &'a Arc<Vault>,
    telemetry: &'a Telemetry,
    /// What tells agents of their service, and operators of theirs.
    health: &'a [HealthReporter; 2],
    /// What was said last.
    said: Option<Result<(), NotReady>>,
    counts: u32,
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        config: &'a Config,
        vault: &'a Arc<Vault>,
        telemetry: &'a Telemetry,
        health: &'a [HealthReporter; 2],
    ) -> Watch<'a> {
        vault.observe(telemetry);
        Watch { config, vault, telemetry, health, said: None, counts: 0 }
    }

    /// Says whether requests are served, where that has changed.
    pub(super) async fn look(&mut self) {
        let ready = self.vault.ready();
        if self.said == Some(ready) {
            return;
        }
        match ready {
            Ok(()) if self.said.is_some() => tracing::info!("requests of agents are served again"),
            Ok(()) => {}
            Err(why) => tracing::error!(why = why.as_str(), "requests of agents are not served"),
        }
        self.said = Some(ready);
        self.telemetry.ready(ready.is_ok());
        let status = |serves: bool| if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
        // What mends a disk or a clock is done by operators.
        let (agents, operators) =
            (status(ready.is_ok()), status(!matches!(ready, Err(NotReady::Failed | NotReady::Stopping))));
        for service in ["", AgentServiceServer::<Agents>::NAME] {
            self.health[0].set_service_status(service, agents).await;
        }
        for service in ["", OperatorServiceServer::<Operators>::NAME] {
            self.health[1].set_service_status(service, operators).await;
        }
    }

    /// Counts what there is.
    pub(super) async fn count(&mut self, follower: &Follower) {
        self.room();
        if self.counts.is_multiple_of(CERTIFICATES) {
            self.certificates().await;
        }
        self.counts = self.counts.wrapping_add(1);
        let census = match self.vault.store().census().await {
            Ok(census) => census,
            Err(failure) => {
                tracing::warn!(why = %failure, "what lives could not be counted");
                return;
            }
        };
        follower.measure(census.entries);
        let now = SystemClock.now();
        let since = |at: Option<Timestamp>| at.map_or(Seconds(0), |at| now.since(at));
        let data_keys = self.vault.data_keys();
        self.telemetry.counted(&Alive {
            agents: census.agents,
            grants: census.grants,
            sessions: census.sessions,
            leases: census.leases,
            undoing: census.undoing,
            undoing_for: since(census.undoing_since),
            quarantined: census.quarantined.len() as u64,
            chains: census.chains,
            entries: census.entries,
            checkpoint_overdue: since(census.checkpoint_due),
            data_keys: data_keys.epochs.len() as u64,
            rows_left: data_keys.left,
        });
    }

    fn room(&self) {
        let data = &self.config.vault.data_dir;
        let reserve = data.join("reserve").metadata().map_or(0, |file| file.len());
        match rustix::fs::statvfs(data) {
            Ok(disk) => {
                let free = disk.f_bavail.saturating_mul(disk.f_frsize);
                self.telemetry.disk(free, reserve, self.vault.store().full());
            }
            Err(error) => tracing::warn!(%error, "how much room the disk has could not be read"),
        }
    }

    async fn certificates(&self) {
        self.vault.tell_certificates();
        if let Some(files) = &self.config.tls {
            match tokio::fs::read(&files.cert).await {
                // Behind the server's own stand those of authorities.
                Ok(pem) => {
                    let ends = ends(&pem);
                    if let Some(own) = ends.first() {
                        self.telemetry.certificate("tls", *own);
                    }
                    if let Some(first) = ends.iter().skip(1).min() {
                        self.telemetry.certificate("tls_ca", *first);
                    }
                }
                Err(error) => tracing::warn!(%error, "the certificate of the listeners could not be read"),
            }
        }
        let mut first = None;
        for name in self.vault.signing("x509").await.unwrap_or_default() {
            if let Ok(Some(published)) = self.vault.published("x509", &name, Document::Authority).await {
                first = ends(&published.bytes).into_iter().chain(first).min();
            }
        }
        if let Some(first) = first {
            self.telemetry.certificate("x509_ca", first);
        }
    }
}

/// When each certificate of a PEM file ends.
fn ends(pem: &[u8]) -> Vec<Timestamp> {
    let blocks = Pem::iter_from_buffer(pem).filter_map(Result::ok);
    let seconds = blocks.filter_map(|block| Some(block.parse_x509().ok()?.validity().not_after.timestamp()));
    seconds.map(|seconds| Timestamp(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::tls;

    #[test]
    fn a_file_tells_when_each_of_its_certificates_ends() {
        let now = Timestamp(1_780_511_400_123);
        let made = tls::make(&[], now, Seconds(90 * 86_400)).expect("localhost is a host");
        let both = ends(format!("{}{}", made.cert_pem, made.ca_pem).as_bytes());
        assert_eq!(both.len(), 2);
        assert!(both.iter().all(|end| end.0.abs_diff(now.plus(Seconds(90 * 86_400)).0) <= 2 * 86_400_000), "{both:?}");
        assert!(ends(b"no certificate").is_empty());
    }
}
