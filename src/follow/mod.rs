//! What follows the commits and carries them outside: to files ([`mirror`]), to a syslog ([`syslog`]), to an
//! OpenTelemetry collector ([`otlp`]). The store is the truth; each [`Sink`] reads it, remembers by cursors of its own
//! how far it has come, and goes on from there, after a crash too.
//!
//! Each sink runs by itself, at its own pace. Issuing never waits for one, nor does one wait for another: a sink that is
//! slow or dead is told of by a set of names of chains, and fetches what it missed when it is well again. It is visible:
//! [`Telemetry`] counts its lag, its failures and its last success, and the log says when it begins to fail and when it
//! is well again.
//!
//! What delivers checkpoints ([`places`], [`witness`]) is a [`Sink`] too, which hears of checkpoints alone.

mod bounded;
mod cursor;
mod facts;
mod http;
pub mod mirror;
pub mod otlp;
pub mod places;
mod run;
mod stream;
pub mod syslog;
pub mod witness;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::cursor::Carried;
use self::run::Run;
use crate::id::ChainName;
use crate::store::Store;
use crate::telemetry::Telemetry;
use crate::time::Clock;

/// What came of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// There is more of this chain to carry.
    pub more: bool,
    /// Something was carried.
    pub carried: bool,
    /// What the sink had of the chain is not what the store has; it began anew.
    pub set_aside: bool,
}

/// Why a step was not taken. It is taken again later, without end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// For the log: what is wrong, and where.
    pub why: String,
    /// Whether no other chain will fare better.
    pub all: bool,
}

impl Trouble {
    /// It concerns the whole sink.
    pub fn all(why: impl Into<String>) -> Trouble {
        Trouble { why: why.into(), all: true }
    }

    /// It concerns this chain alone.
    pub fn of(why: impl Into<String>) -> Trouble {
        Trouble { why: why.into(), all: false }
    }
}

/// A place outside that entries are carried to.
#[async_trait]
pub trait Sink: Send {
    /// Its name, a label of metrics: one of a closed set of words.
    fn name(&self) -> &'static str;
    /// How many entries it has carried: the sum of its cursors, which moves with them. One that carries no entries has no
    /// cursors, and nothing of what is about them to say.
    fn carried(&self) -> Carried {
        Carried::default()
    }
    /// Counts, once at the start, what was carried of these chains before.
    async fn begin(&mut self, _chains: &BTreeSet<ChainName>) {}
    /// Carries one part, the next that is missing outside, of the first of these chains, which are never none, and of as
    /// many after it as it takes together. What came of each, in their order: [`Trouble`] where the same part is carried
    /// again later; only the last may be trouble that no other chain escapes. Memory is bounded by the part. It is never
    /// dropped while it runs, but for the end of the process.
    async fn step(&mut self, chains: &[ChainName]) -> Vec<Result<Step, Trouble>>;
    /// Looks, each second and after each trouble, whether something that was carried is lost: the chains that need
    /// another step.
    async fn look(&mut self) -> BTreeSet<ChainName> {
        BTreeSet::new()
    }
    /// Writes the cursors down.
    ///
    /// # Errors
    /// They could not be written; the sink goes on.
    async fn save(&mut self) -> Result<(), Trouble> {
        Ok(())
    }
}

/// Follows the commits for all sinks.
#[derive(Debug)]
pub struct Follower {
    sinks: Vec<(&'static str, Carried)>,
    running: JoinSet<()>,
    finish: CancellationToken,
    telemetry: Telemetry,
}

impl Follower {
    /// Starts each sink in a task of its own. From [`Follower::stop`] on, or once `finish` is cancelled, each carries
    /// what is left and ends.
    #[must_use]
    pub fn start(
        store: &Arc<dyn Store>,
        sinks: Vec<Box<dyn Sink>>,
        clock: &Arc<dyn Clock>,
        telemetry: &Telemetry,
        finish: CancellationToken,
    ) -> Follower {
        let mut running = JoinSet::new();
        let mut named = Vec::new();
        for sink in sinks {
            named.push((sink.name(), sink.carried()));
            let run = Run::new(sink, store.changes(), Arc::clone(clock), telemetry.clone(), finish.clone());
            running.spawn(run.run());
        }
        Follower { sinks: named, running, finish, telemetry: telemetry.clone() }
    }

    /// Starts what delivers checkpoints, each in a task of its own. They carry no entries, so that their lag is not told.
    pub fn deliver(&mut self, store: &Arc<dyn Store>, places: Vec<Box<dyn Sink>>, clock: &Arc<dyn Clock>) {
        for place in places {
            let (telemetry, finish) = (self.telemetry.clone(), self.finish.clone());
            self.running.spawn(Run::new(place, store.noted(), Arc::clone(clock), telemetry, finish).run());
        }
    }

    /// Tells the metrics how far each sink lags, where all chains together have this many entries.
    pub fn measure(&self, entries: u64) {
        for (name, carried) in &self.sinks {
            self.telemetry.sink_lags(name, entries.saturating_sub(carried.total()));
        }
    }

    /// Has each sink carry what is committed by now, and ends them, at the latest after `within`. A sink that fails at
    /// this moment is not waited for: it goes on from its cursors at the next start.
    pub async fn stop(mut self, within: Duration) {
        self.finish.cancel();
        let all = async { while self.running.join_next().await.is_some() {} };
        if tokio::time::timeout(within, all).await.is_err() {
            tracing::warn!(?within, "a sink had more to carry than time; it goes on at the next start");
            self.running.shutdown().await;
        }
    }
}
