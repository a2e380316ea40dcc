//! The sinks that a configuration names, and the follower that serves them.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::follow::mirror::Mirror;
use crate::follow::{Follower, Sink};
use crate::store::Store;
use crate::telemetry::Telemetry;
use crate::time::{Clock, SystemClock};

/// Starts them. Called in a runtime.
///
/// # Errors
/// There is no thread for one.
pub(super) fn follow(config: &Config, store: &Arc<dyn Store>, telemetry: &Telemetry) -> std::io::Result<Follower> {
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    if let Some(mirror) = &config.audit.mirror {
        sinks.push(Box::new(Mirror::start(mirror.dir.clone(), mirror.mode, Arc::clone(store))?));
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    Ok(Follower::start(store, sinks, &clock, telemetry, CancellationToken::new()))
}
