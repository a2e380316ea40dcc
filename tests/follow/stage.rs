//! A vault in this process, an agent that makes entries, and the sinks that a test gives it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nockvault::crypto::hash::leaf;
use nockvault::follow::mirror::Mirror;
use nockvault::follow::{Follower, Sink};
use nockvault::id::ChainName;
use nockvault::statement::command::Page;
use nockvault::store::Store;
use nockvault::telemetry::Telemetry;
use nockvault::time::{Clock, SystemClock};
use tokio_util::sync::CancellationToken;

use crate::support::agent::Agent;
use crate::support::{Harness, rules, terms};

/// The longest that anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An entry: its chain and its number there.
pub(crate) type Place = (String, u64);

/// What a sink got: each entry's leaf, and how often it came.
#[derive(Debug, Default)]
pub(crate) struct Got {
    pub(crate) entries: BTreeMap<Place, String>,
    pub(crate) repeats: u64,
}

impl Got {
    /// A repeat must be the same entry.
    pub(crate) fn add(&mut self, place: Place, leaf: String) {
        if let Some(before) = self.entries.insert(place.clone(), leaf.clone()) {
            assert_eq!(before, leaf, "{place:?} came twice, and differs");
            self.repeats += 1;
        }
    }
}

pub(crate) struct Stage {
    pub(crate) harness: Harness,
    pub(crate) kit: Agent,
    pub(crate) telemetry: Telemetry,
    pub(crate) folder: tempfile::TempDir,
    follower: Option<Follower>,
}

impl Stage {
    pub(crate) async fn new() -> Stage {
        let mut rules = rules();
        rules.leases_per_agent = 1_000_000;
        let harness = Harness::with(rules).await;
        let kit = harness.agent("kit").await;
        harness.kv_role("orders", b"a password").await;
        harness.grant(&kit.name, "orders", terms()).await;
        let folder = tempfile::tempdir().unwrap();
        Stage { harness, kit, telemetry: Telemetry::new(), folder, follower: None }
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        Arc::clone(self.harness.vault().store())
    }

    /// Where sinks keep their cursors.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn audit(&self) -> PathBuf {
        self.folder.path().join("audit")
    }

    pub(crate) fn mirror(&self) -> Box<dyn Sink> {
        Box::new(Mirror::start(self.audit(), 0o640, self.store()).unwrap())
    }

    pub(crate) fn clock() -> Arc<dyn Clock> {
        Arc::new(SystemClock)
    }

    pub(crate) fn follow(&mut self, sinks: Vec<Box<dyn Sink>>) {
        let (store, finish) = (self.store(), CancellationToken::new());
        self.follower = Some(Follower::start(&store, sinks, &Stage::clock(), &self.telemetry, finish));
    }

    pub(crate) async fn stop(&mut self) {
        self.follower.take().unwrap().stop(Duration::from_secs(10)).await;
    }

    /// So many issuances more.
    pub(crate) async fn grow(&mut self, count: usize) -> Duration {
        let begin = Instant::now();
        for _ in 0..count {
            self.kit.get(&self.harness, "orders").await;
        }
        begin.elapsed()
    }

    /// Every entry of every chain.
    pub(crate) async fn truth(&self) -> BTreeMap<Place, String> {
        let agents = self.harness.vault().store().agents(&Page::first()).await.unwrap();
        let chains = agents.items.iter().map(|agent| ChainName::from(&agent.name));
        let mut truth = BTreeMap::new();
        for chain in chains.chain([ChainName::vault(), ChainName::operators()]) {
            let lines = self.harness.lines(&chain).await;
            truth.extend((0..).zip(&lines).map(|(seq, line)| ((chain.to_string(), seq), leaf(line).to_string())));
        }
        truth
    }

    /// What is counted for a sink, as it is now.
    pub(crate) async fn counted(&self, metric: &str, sink: &str) -> Option<u64> {
        let entries = self.harness.vault().store().census().await.unwrap().entries;
        if let Some(follower) = &self.follower {
            follower.measure(entries);
        }
        let start = format!("nockvault_sink_{metric}{{sink=\"{sink}\"}} ");
        self.telemetry.text().lines().find_map(|line| line.strip_prefix(&start)?.parse().ok())
    }

    /// Waits until this is counted for a sink.
    pub(crate) async fn until(&self, metric: &str, sink: &str, is: impl Fn(u64) -> bool) {
        let begin = Instant::now();
        loop {
            let counted = self.counted(metric, sink).await;
            if counted.is_some_and(&is) {
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "{metric} of {sink} is {counted:?}:\n{}", self.telemetry.text());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a sink has carried everything, and a second time over what is on its way.
    pub(crate) async fn until_carried(&self, sink: &str) {
        self.until("lag_entries", sink, |lag| lag == 0).await;
    }
}
