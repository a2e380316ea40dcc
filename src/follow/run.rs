//! One sink at work: it hears which chains have changed and takes steps until each is carried, one part of a chain in
//! turn, so that a busy chain does not keep the others waiting. After trouble it waits, longer each time, and goes on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{Sink, Step, Trouble};
use crate::id::ChainName;
use crate::store::Changes;
use crate::telemetry::Telemetry;
use crate::time::Clock;

/// How long more commits are waited for, to be carried together.
const LINGER: Duration = Duration::from_millis(10);
/// How often cursors are written down and a look is taken.
const TICK: Duration = Duration::from_secs(1);
/// The first and the longest wait after trouble.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// A step that takes longer is told of.
const SLOW: Duration = Duration::from_secs(30);
/// A sink is well again when it has caught up, or has gone on for this long.
const STEADY: Duration = Duration::from_secs(15);
/// How long it is waited at the end for a commit that was not told of.
const LAST: Duration = Duration::from_millis(20);

/// How a sink fares, and who is told.
struct Health {
    name: &'static str,
    clock: Arc<dyn Clock>,
    telemetry: Telemetry,
    failing: Option<Instant>,
    steady: Option<Instant>,
    wait: Duration,
}

impl Health {
    fn fails(&mut self, why: &str) {
        self.steady = None;
        self.telemetry.sink_failed(self.name);
        if self.failing.is_none() {
            tracing::warn!(sink = self.name, why, "a sink fails; entries wait for it in the store");
            self.failing = Some(Instant::now());
        } else {
            tracing::debug!(sink = self.name, why, "a sink still fails");
        }
    }

    fn carried(&mut self, step: Step) {
        if step.set_aside {
            self.telemetry.sink_set_aside(self.name);
        }
        if step.carried {
            self.telemetry.sink_carried(self.name, self.clock.now());
        }
    }

    /// Something went well; `all` where nothing is left to do.
    fn went_well(&mut self, all: bool) {
        let Some(since) = self.failing else { return };
        let steady = *self.steady.get_or_insert_with(Instant::now);
        if all || steady.elapsed() >= STEADY {
            tracing::info!(sink = self.name, failed_for = ?since.elapsed(), "a sink is well again");
            self.telemetry.sink_well(self.name);
            (self.failing, self.steady, self.wait) = (None, None, RETRY.0);
        }
    }

    /// When it is tried again.
    fn next_try(&mut self) -> Instant {
        let at = Instant::now() + self.wait;
        self.wait = (self.wait * 2).min(RETRY.1);
        at
    }
}

/// One sink and what it has to do.
pub(super) struct Run {
    sink: Box<dyn Sink>,
    changes: Changes,
    finish: CancellationToken,
    health: Health,
    pending: BTreeSet<ChainName>,
    /// The chain that the sink failed at; the next round begins behind it.
    failed: Option<ChainName>,
    /// Chains in trouble of their own, and when they are tried again.
    troubled: BTreeSet<ChainName>,
    retry: Instant,
    tended: Instant,
}

impl Run {
    pub(super) fn new(
        sink: Box<dyn Sink>,
        changes: Changes,
        clock: Arc<dyn Clock>,
        telemetry: Telemetry,
        finish: CancellationToken,
    ) -> Run {
        let name = sink.name();
        telemetry.sink_well(name);
        let health = Health { name, clock, telemetry, failing: None, steady: None, wait: RETRY.0 };
        let now = Instant::now();
        let (pending, troubled) = (BTreeSet::new(), BTreeSet::new());
        Run { sink, changes, finish, health, pending, failed: None, troubled, retry: now, tended: now }
    }

    /// Until it is told to finish and nothing is left that it can carry.
    pub(super) async fn run(mut self) {
        self.pending = tokio::select! {
            chains = self.changes.next() => chains,
            () = self.finish.cancelled() => BTreeSet::new(),
        };
        self.sink.begin(&self.pending).await;
        while self.has_work().await {
            if let Err(again) = self.round().await {
                tokio::select! {
                    () = sleep_until(again) => {}
                    () = self.finish.cancelled() => break,
                }
            }
        }
        self.tend().await;
    }

    /// Waits until a chain is to be carried. No where nothing is left and it is told to finish.
    async fn has_work(&mut self) -> bool {
        loop {
            // What changed meanwhile; what is not there yet is not waited for.
            tokio::select! {
                biased;
                chains = self.changes.next() => self.pending.extend(chains),
                () = std::future::ready(()) => {}
            }
            if !self.troubled.is_empty() && self.retry <= Instant::now() && !self.finish.is_cancelled() {
                self.pending.append(&mut self.troubled);
            }
            if !self.pending.is_empty() {
                return true;
            }
            if self.troubled.is_empty() {
                self.health.went_well(true);
            }
            if self.finish.is_cancelled() {
                match timeout(LAST, self.changes.next()).await {
                    Ok(chains) => self.pending = chains,
                    Err(_) => return false,
                }
                continue;
            }
            let (retry, tick) = (self.retry, self.tended + TICK);
            tokio::select! {
                chains = self.changes.next() => {
                    self.pending.extend(chains);
                    sleep(LINGER).await;
                }
                () = sleep_until(retry), if !self.troubled.is_empty() => {}
                () = sleep_until(tick) => self.tend().await,
                () = self.finish.cancelled() => {}
            }
        }
    }

    /// Takes one step for each pending chain. Ends early, with when to go on, where no chain fares better. The next round
    /// then begins behind the chain that it ended at: where that one alone is the trouble, it keeps no other waiting.
    async fn round(&mut self) -> Result<(), Instant> {
        let mut round: Vec<_> = std::mem::take(&mut self.pending).into_iter().collect();
        if let Some(failed) = self.failed.take() {
            let behind = round.partition_point(|chain| *chain <= failed);
            round.rotate_left(behind);
        }
        let mut left = round.as_slice();
        while !left.is_empty() {
            let steps = self.step(left).await;
            let (taken, rest) = left.split_at(steps.len());
            for (at, (chain, step)) in taken.iter().zip(steps).enumerate() {
                if !self.came_of(chain, step) {
                    self.failed = Some(chain.clone());
                    self.pending.extend(left[at..].iter().cloned());
                    self.tend().await;
                    return Err(self.health.next_try());
                }
            }
            left = rest;
            if self.tended.elapsed() >= TICK {
                self.tend().await;
            }
        }
        Ok(())
    }

    /// Notes what came of a step. Gives whether other chains may fare better.
    fn came_of(&mut self, chain: &ChainName, step: Result<Step, Trouble>) -> bool {
        match step {
            Ok(step) => {
                self.health.carried(step);
                if step.more {
                    self.pending.insert(chain.clone());
                }
                if self.troubled.is_empty() {
                    self.health.went_well(false);
                }
                true
            }
            Err(trouble) => {
                self.health.fails(&trouble.why);
                if !trouble.all {
                    if self.troubled.is_empty() {
                        self.retry = self.health.next_try();
                    }
                    self.troubled.insert(chain.clone());
                }
                !trouble.all
            }
        }
    }

    async fn step(&mut self, chains: &[ChainName]) -> Vec<Result<Step, Trouble>> {
        let mut step = self.sink.step(chains);
        match timeout(SLOW, &mut step).await {
            Ok(ended) => ended,
            Err(_) => {
                self.health.fails("it has not taken an entry for half a minute");
                step.await
            }
        }
    }

    async fn tend(&mut self) {
        let again = self.sink.look().await;
        self.pending.extend(again);
        if let Err(trouble) = self.sink.save().await {
            self.health.fails(&trouble.why);
        }
        self.tended = Instant::now();
    }
}
