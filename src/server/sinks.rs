//! The sinks and the keepers of checkpoints that a configuration names, and the follower that serves them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::audit::policy::Policy;
use crate::config::{Checkpoints, Config};
use crate::follow::mirror::Mirror;
use crate::follow::otlp::{NoCollector, otlp};
use crate::follow::syslog::syslog;
use crate::follow::{Follower, Sink, witness};
use crate::store::Store;
use crate::telemetry::Telemetry;
use crate::time::{Clock, SystemClock};

/// The folder of the cursors, in the data directory.
const STATE: &str = "follow";

/// Why nothing follows the commits.
#[derive(Debug, thiserror::Error)]
pub enum SinkFault {
    /// There is no thread for the mirror.
    #[error("the mirror could not be started: {0}")]
    Mirror(std::io::Error),
    /// The file of a collector's authority.
    #[error("{}: {error}", path.display())]
    Authority {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A collector that cannot be sent to.
    #[error(transparent)]
    Collector(#[from] NoCollector),
    /// A place of checkpoints, or the policy, that cannot be used as it is written.
    #[error("{0}")]
    Place(String),
}

/// Starts them. Called in a runtime.
///
/// # Errors
/// [`SinkFault`]. A place that cannot be reached is none: it is tried without end.
pub(super) fn follow(config: &Config, store: &Arc<dyn Store>, telemetry: &Telemetry) -> Result<Follower, SinkFault> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let sinks = sinks(config, store, &clock)?;
    let places = places(&config.checkpoints, store, telemetry).map_err(SinkFault::Place)?;
    let mut follower = Follower::start(store, sinks, &clock, telemetry, CancellationToken::new());
    follower.deliver(store, places, &clock);
    Ok(follower)
}

/// Whatever gets each entry.
fn sinks(config: &Config, store: &Arc<dyn Store>, clock: &Arc<dyn Clock>) -> Result<Vec<Box<dyn Sink>>, SinkFault> {
    let state = config.vault.data_dir.join(STATE);
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    if let Some(mirror) = &config.audit.mirror {
        let mirror = Mirror::start(mirror.dir.clone(), mirror.mode, Arc::clone(store)).map_err(SinkFault::Mirror)?;
        sinks.push(Box::new(mirror));
    }
    if let Some(to) = &config.audit.syslog {
        sinks.push(syslog(to.target.clone(), to.bytes, &state, Arc::clone(store)));
    }
    if let Some(to) = &config.audit.otlp {
        let ca = to.ca.as_deref().map(read_authority).transpose()?;
        let (store, clock) = (Arc::clone(store), Arc::clone(clock));
        sinks.push(otlp(&to.address, ca.as_deref(), &config.vault.node, &state, store, clock)?);
    }
    Ok(sinks)
}

/// Whatever keeps checkpoints: the places, and the witnesses of the policy.
fn places(
    checkpoints: &Checkpoints,
    store: &Arc<dyn Store>,
    telemetry: &Telemetry,
) -> Result<Vec<Box<dyn Sink>>, String> {
    let mut sinks = Vec::new();
    for place in &checkpoints.places {
        sinks.push(place.sink(store, telemetry)?);
    }
    if let Some(path) = &checkpoints.policy {
        for asked in read_policy(path)?.witnesses() {
            match witness::sink(asked, store, telemetry)? {
                Some(sink) => sinks.push(sink),
                None => {
                    tracing::warn!(witness = asked.name, "the policy has no address of this witness; it is not asked")
                }
            }
        }
    }
    Ok(sinks)
}

/// Tries what can be tried of them without a vault: whether the policy and the authority of a collector can be read.
///
/// # Errors
/// It cannot.
pub fn check(config: &Config) -> Result<(), SinkFault> {
    if let Some(path) = config.audit.otlp.as_ref().and_then(|otlp| otlp.ca.as_ref()) {
        read_authority(path)?;
    }
    config.checkpoints.policy.as_deref().map_or(Ok(()), |path| read_policy(path).map(drop).map_err(SinkFault::Place))
}

fn read_authority(path: &Path) -> Result<String, SinkFault> {
    fs::read_to_string(path).map_err(|error| SinkFault::Authority { path: path.to_owned(), error })
}

fn read_policy(path: &Path) -> Result<Policy, String> {
    let text = fs::read(path).map_err(|error| format!("the policy {} cannot be read: {error}", path.display()))?;
    Policy::read(&text).map_err(|why| format!("{}: {why}", path.display()))
}
