//! What is over is taken away where it lives. A lease that ended waits in the store until its backend has done so; this
//! loop tries, without end, what is due. One role's backlog is worked off by one task with so many calls at once, and a
//! backend that cannot be reached pauses its role alone: one lease is tried from time to time, and the rest when that
//! succeeds.
//!
//! | a crash after | leaves |
//! |---|---|
//! | the lease's end | a lease that waits for its backend |
//! | the backend's answer | the same; the next try finds nothing there and says so |
//! | the `undone` entry | nothing to do |

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::{self, JoinSet};
use tokio_util::sync::CancellationToken;

use super::Vault;
use crate::denial::{Denial, Reason};
use crate::engine::{Engine, Made, Undone};
use crate::entropy::Entropy;
use crate::failpoint::failpoint;
use crate::grant::Role;
use crate::id::RoleName;
use crate::lease::{Lease, State};
use crate::store::Failure;
use crate::time::{Seconds, Timestamp};

/// How long the loop sleeps when nothing wakes it.
const BEAT: Duration = Duration::from_secs(1);
/// How many calls are made to one role's backend at once.
const CALLS: usize = 8;
/// How many leases of a role are under way at once: in a call, or on their way to be recorded.
const UNDER_WAY: usize = 128;
/// How many leases are read at once.
const BATCH: u64 = 1024;
/// The longest time until a lease that its backend refuses to end is tried again.
const REFUSED_MAX: Seconds = Seconds(300);

/// What the loop remembers of roles; all of it may be lost.
#[derive(Debug, Default)]
pub(super) struct Pauses(Mutex<HashMap<RoleName, Pause>>);

#[derive(Clone, Copy, Debug, Default)]
struct Pause {
    until: Timestamp,
    failures: u64,
}

impl Pauses {
    fn of(&self, role: &RoleName) -> Pause {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(role).copied().unwrap_or_default()
    }

    fn set(&self, role: &RoleName, pause: Option<Pause>) {
        let mut pauses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match pause {
            Some(pause) => drop(pauses.insert(role.clone(), pause)),
            None => drop(pauses.remove(role)),
        }
    }
}

/// How one try went, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tried {
    Done,
    /// The backend answered, and this lease is tried again later.
    Later,
    /// It was not begun, or the store could not say so.
    Unrecorded,
    /// The backend could not be reached.
    Unreachable,
}

/// The way to one role's backend.
struct Way {
    /// The role, if it is still there.
    role: Option<Arc<Role>>,
    calls: Semaphore,
}

/// The time to the next try after so many in vain: twice as long each time, up to `max`, of which the half is drawn.
fn backoff(failures: u64, max: Seconds, entropy: &dyn Entropy) -> u64 {
    let whole = 1000_u64.saturating_mul(1 << failures.min(20)).min(max.0 * 1000);
    let drawn = u64::from_be_bytes(entropy.bytes::<8>()) % (whole / 2 + 1);
    whole / 2 + drawn
}

impl Vault {
    /// Undoes what is due until `stop`.
    pub async fn undo(self: Arc<Self>, stop: CancellationToken) {
        let mut working: HashMap<task::Id, RoleName> = HashMap::new();
        let mut workers: JoinSet<()> = JoinSet::new();
        // Something came due of a role that was being worked off; its worker may have looked just before.
        let mut missed = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(BEAT) => {}
                Some(done) = workers.join_next_with_id(), if !workers.is_empty() => {
                    // A worker that panicked took no lease with it; what it left is found again.
                    working.remove(&done.map_or_else(|panicked| panicked.id(), |(id, ())| id));
                    // What a worker leaves cannot be worked off now, and is looked at again with the next beat.
                    if !std::mem::take(&mut missed) {
                        continue;
                    }
                }
            }
            for role in self.due_roles().await {
                if working.values().any(|worked| *worked == role) {
                    missed = true;
                    continue;
                }
                let (vault, stop, its) = (Arc::clone(&self), stop.clone(), role.clone());
                let worker = workers.spawn(async move { vault.undo_role(&its, &stop).await });
                working.insert(worker.id(), role);
            }
        }
    }

    /// One round of it, for all roles.
    pub async fn undo_once(self: &Arc<Self>) {
        for role in self.due_roles().await {
            self.undo_role(&role, &CancellationToken::new()).await;
        }
    }

    /// The roles with something to try now.
    async fn due_roles(&self) -> Vec<RoleName> {
        let now = self.clock.now();
        // No pause is longer than this; one that ends later was begun by a clock that was ahead.
        let longest = now.plus(self.limits.backend_retry);
        let paused = |role: &RoleName| {
            let until = self.pauses.of(role).until;
            now < until && until <= longest
        };
        match self.store.backlog().await {
            Ok(backlog) => backlog
                .into_iter()
                .filter(|waits| waits.retry <= now && !paused(&waits.role))
                .map(|waits| waits.role)
                .collect(),
            Err(failure) => {
                tracing::warn!(why = %failure, "what is to be undone could not be read");
                Vec::new()
            }
        }
    }

    /// Works off what is due of one role.
    async fn undo_role(self: &Arc<Self>, role: &RoleName, stop: &CancellationToken) {
        let way = match self.store.role(role).await {
            Ok(role) => Arc::new(Way { role, calls: Semaphore::new(CALLS) }),
            Err(failure) => return unread(role, &failure),
        };
        loop {
            let now = self.clock.now();
            let before = self.pauses.of(role);
            let limit = if before.failures > 0 { 1 } else { BATCH };
            let due = match self.store.to_undo(role, now, limit).await {
                Ok(due) if due.is_empty() => return,
                Ok(due) => due,
                Err(failure) => return unread(role, &failure),
            };
            match self.undo_all(due, &way, stop).await {
                Tried::Done | Tried::Later => self.pauses.set(role, None),
                Tried::Unreachable => {
                    let failures = before.failures + 1;
                    let until =
                        Timestamp(self.clock.now().0 + backoff(failures, self.limits.backend_retry, &*self.entropy));
                    self.pauses.set(role, Some(Pause { until, failures }));
                    tracing::warn!(%role, failures, "the backend cannot be reached; what is over there waits");
                    return;
                }
                Tried::Unrecorded => return,
            }
            if stop.is_cancelled() {
                return;
            }
        }
    }

    /// Undoes these, so many at once. Stops beginning more once the backend cannot be reached.
    async fn undo_all(self: &Arc<Self>, due: Vec<Lease>, way: &Arc<Way>, stop: &CancellationToken) -> Tried {
        let mut under_way: JoinSet<Tried> = JoinSet::new();
        let mut due = due.into_iter();
        let mut worst = Tried::Done;
        loop {
            while worst <= Tried::Later && under_way.len() < UNDER_WAY && !stop.is_cancelled() {
                let Some(lease) = due.next() else { break };
                let (vault, way) = (Arc::clone(self), Arc::clone(way));
                under_way.spawn(async move { vault.undo_lease(lease, &way).await });
            }
            match under_way.join_next().await {
                None => return worst,
                Some(tried) => worst = worst.max(tried.unwrap_or(Tried::Unrecorded)),
            }
            if worst == Tried::Unreachable {
                // Those that wait for their call are not begun: each would wait for its deadline in vain.
                way.calls.close();
            }
        }
    }

    async fn undo_lease(&self, lease: Lease, way: &Way) -> Tried {
        let Ok(call) = way.calls.acquire().await else { return Tried::Unrecorded };
        failpoint!("undo: begun");
        let revoked = self.revoke_at_backend(&lease, way.role.as_deref()).await;
        drop(call);
        failpoint!("undo: revoked");
        let now = self.clock.now();
        let tries = lease.undo.as_ref().map_or(0, |undo| undo.tries);
        let (recorded, tried) = match revoked {
            Ok((Undone::Absent, settled)) if now < settled => {
                let fault = "not there yet; what was under way may still land";
                (self.store.not_undone(&lease.id, fault, settled).await, Tried::Later)
            }
            Ok((outcome, _)) => (self.store.undone(&lease.id, outcome).await.map(drop), Tried::Done),
            Err(denial) => {
                let reachable = denial.reason != Reason::EngineUnavailable;
                let max = if reachable { REFUSED_MAX } else { self.limits.backend_retry };
                let retry = Timestamp(now.0 + backoff(tries + 1, max, &*self.entropy));
                let fault = said(&denial);
                tracing::warn!(lease = %lease.id, role = %lease.role, tries, fault, "a credential could not be taken away");
                let tried = if reachable { Tried::Later } else { Tried::Unreachable };
                (self.store.not_undone(&lease.id, &fault, retry).await, tried)
            }
        };
        failpoint!("undo: recorded");
        match recorded {
            Ok(()) => tried,
            Err(failure) => {
                tracing::warn!(lease = %lease.id, why = %failure, "what came of a lease could not be recorded");
                Tried::Unrecorded
            }
        }
    }

    /// Has the backend take one credential away. Beside what it says stands from when on it is to be believed that
    /// nothing is there.
    async fn revoke_at_backend(&self, lease: &Lease, role: Option<&Role>) -> Result<(Undone, Timestamp), Denial> {
        let role = role.ok_or_else(|| Denial::new(Reason::EngineRefused).internal("its role is gone"))?;
        let engine = self.engines.of_kind(&role.engine)?;
        let made = Made { config: &role.config, agent: &lease.agent, lease: &lease.id, handle: &lease.handle };
        let undone = self.in_time(engine.revoke(made, self)).await?;
        Ok((undone, settled(lease, engine)))
    }
}

fn unread(role: &RoleName, failure: &Failure) {
    tracing::warn!(%role, why = %failure, "what is to be undone could not be read");
}

/// From when on nothing more can appear for a lease. A mint that was given up may still be under way.
fn settled(lease: &Lease, engine: &dyn Engine) -> Timestamp {
    match lease.ended.filter(|_| lease.state == State::Abandoned) {
        Some(ended) => ended.plus(engine.lingers()),
        None => Timestamp::ZERO,
    }
}

/// What an operator reads of it.
fn said(denial: &Denial) -> String {
    let mut text = denial.reason.code().to_owned();
    for more in [&denial.detail, &denial.internal] {
        if !more.is_empty() {
            text.push_str(": ");
            text.push_str(more);
        }
    }
    text.truncate(text.floor_char_boundary(500));
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::entropy::SeededEntropy;

    #[test]
    fn the_wait_grows_to_its_cap_and_is_drawn() {
        let entropy = SeededEntropy::new(1);
        let waits: Vec<u64> = (0..200).map(|failures| backoff(failures, REFUSED_MAX, &entropy)).collect();
        for (failures, wait) in waits.iter().enumerate() {
            let whole = (1000_u64 << failures.min(20)).min(300_000);
            assert!((whole / 2..=whole).contains(wait), "{failures}: {wait}");
        }
        let last: HashSet<_> = waits[100..].iter().collect();
        assert!(last.len() > 90, "the waits are not drawn: {last:?}");
        assert!(backoff(u64::MAX, Seconds(30), &entropy) <= 30_000);
    }
}
