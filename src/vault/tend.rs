//! What the vault does unasked: it ends what is over, turns audit epochs, and writes down what it refused. All of it is
//! loops that wake each second or when there is something to do; a live lease costs a row, not a timer.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{State, Vault};
use crate::denial::Denial;
use crate::failpoint::failpoint;
use crate::store::{Event, Failure};

const BEAT: Duration = Duration::from_secs(1);
/// How much one transaction ends at the most, so that requests are not kept waiting behind it: some milliseconds.
pub(super) const BATCH: u64 = 50;

impl Vault {
    /// All that the vault does unasked, until `stop`: it tends itself, undoes at backends what is over, sweeps them,
    /// covers anew what older data keys cover, and inspects its chains.
    pub async fn attend(self: Arc<Self>, stop: CancellationToken) {
        tokio::join!(
            self.tend(stop.clone()),
            Arc::clone(&self).undo(stop.clone()),
            self.sweep_on(stop.clone()),
            self.renew_on(stop.clone()),
            self.inspect_on(stop)
        );
    }

    /// Tends the vault until `stop`.
    pub async fn tend(&self, stop: CancellationToken) {
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = beat.tick() => {}
                () = self.commanded.notified() => {}
            }
            self.tend_once().await;
        }
    }

    /// One round of it. What fails is said in the log and done in the next round.
    pub async fn tend_once(&self) {
        if let Err(denial) = self.turn_epoch_if_due().await {
            tracing::error!(reason = denial.reason.code(), why = %denial.internal, "the audit key could not be turned");
        }
        self.write_refusals(Some(self.clock.now())).await;
        self.read_token_keys_if_due().await;
        self.end_due().await;
        self.checkpoint_due().await;
    }

    /// Ends what is over.
    async fn end_due(&self) {
        loop {
            match self.store.end_due(BATCH).await {
                Ok(due) => {
                    let ended = [due.leases, due.sessions, due.intents, due.revoked, due.recalled, due.nonces];
                    if due.leases > 0 {
                        failpoint!("tend: ended");
                    }
                    if due.leases + due.intents + due.revoked > 0 {
                        self.wake.notify_one();
                    }
                    if ended.iter().all(|ended| *ended < BATCH) {
                        return;
                    }
                }
                Err(failure) => {
                    tracing::warn!(why = %failure, "what is over could not be ended; it will be tried again");
                    return;
                }
            }
        }
    }

    /// Writes down what was refused in the minutes before `now`; without one, in all.
    async fn write_refusals(&self, now: Option<crate::time::Timestamp>) {
        while let Some((minute, counts)) = self.refusals.take(now) {
            if let Err(failure) = self.store.refused(minute, &counts).await {
                tracing::warn!(why = %failure, minute, "refusals could not be written down; they are kept");
                self.refusals.put_back(minute, counts);
                return;
            }
        }
    }

    /// Puts the next audit key in place once the present one's day is over. Requests call it too, so that no entry is
    /// signed by a key past its certificate when the beat was late.
    pub(super) async fn turn_epoch_if_due(&self) -> Result<(), Denial> {
        if !self.epochs.due(self.clock.now()) {
            return Ok(());
        }
        let _turn = self.epochs.turn().await;
        let now = self.clock.now();
        if !self.epochs.due(now) {
            return Ok(());
        }
        self.begin_epoch(Event::Epoch).await.map_err(Failure::denial)
    }

    /// Makes an audit key, has the store use it and say so in `_vault`.
    pub(super) async fn begin_epoch(&self, event: Event) -> Result<(), Failure> {
        let now = self.clock.now();
        let key = self.epochs.next(&self.identity, &self.limits.node, now, &*self.entropy);
        self.store.event(event, Some(key)).await?;
        self.epochs.turned(now);
        Ok(())
    }

    /// Ends in order: what was refused is written down, `_vault` says `stop`, and the chains get their checkpoints. Call it when no request is served any
    /// more.
    pub async fn stop(&self) {
        self.set_state(State::Stopping);
        self.write_refusals(None).await;
        if let Err(failure) = self.store.event(Event::Stop, None).await {
            tracing::warn!(why = %failure, "the stop could not be written down");
        }
        self.checkpoint_all().await;
    }
}
