//! The sinks and the keepers of checkpoints that a configuration names, and the follower that serves them.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::audit::policy::Policy;
use crate::config::{Checkpoints, Config};
use crate::follow::mirror::Mirror;
use crate::follow::{Follower, Sink, witness};
use crate::store::Store;
use crate::telemetry::Telemetry;
use crate::time::{Clock, SystemClock};

/// Starts them. Called in a runtime.
///
/// # Errors
/// There is no thread for one, or a place or the policy cannot be used as it is written.
pub(super) fn follow(config: &Config, store: &Arc<dyn Store>, telemetry: &Telemetry) -> io::Result<Follower> {
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    if let Some(mirror) = &config.audit.mirror {
        sinks.push(Box::new(Mirror::start(mirror.dir.clone(), mirror.mode, Arc::clone(store))?));
    }
    let places = places(&config.checkpoints, store, telemetry).map_err(io::Error::other)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut follower = Follower::start(store, sinks, &clock, telemetry, CancellationToken::new());
    follower.deliver(store, places, &clock);
    Ok(follower)
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

/// Tries what can be tried of them without a vault: whether the policy can be read.
///
/// # Errors
/// It cannot.
pub fn check(config: &Config) -> io::Result<()> {
    config.checkpoints.policy.as_deref().map_or(Ok(()), |path| read_policy(path).map(drop).map_err(io::Error::other))
}

fn read_policy(path: &Path) -> Result<Policy, String> {
    let text = fs::read(path).map_err(|error| format!("the policy {} cannot be read: {error}", path.display()))?;
    Policy::read(&text).map_err(|why| format!("{}: {why}", path.display()))
}
