//! The data keys while the vault serves: after a rotation all that older keys seal or cover is gone through in the
//! background, in parts that hold up no request for longer than some milliseconds. A daemon that begins on a store with
//! older keys goes on with it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::Vault;
use super::answer::Outcome;
use crate::crypto::envelope::Envelope;
#[cfg(debug_assertions)]
use crate::failpoint::failpoint;
use crate::statement::key::RingRotate;
use crate::store::{Failure, Order, Pass};

/// Names a step at which requests go on where a test stops it: a thread that serves none waits there.
macro_rules! step {
    ($name:literal) => {
        #[cfg(debug_assertions)]
        let _ = tokio::task::spawn_blocking(|| {
            failpoint!($name);
        })
        .await;
    };
}

/// How long requests have the store for themselves after each part.
const PAUSE: Duration = Duration::from_millis(2);
/// After how long it is tried again where the store refused.
const AGAIN: Duration = Duration::from_secs(10);

/// How far it is.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    /// Wakes what covers rows anew.
    pub(super) wake: tokio::sync::Notify,
    /// How many rows were left when they were counted last, less those that were covered since.
    left: AtomicU64,
}

/// What there is of data keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataKeys {
    /// Their epochs, oldest first.
    pub epochs: Vec<u64>,
    /// How many rows are still of older ones.
    pub left: u64,
}

impl Vault {
    /// The data keys, and how many rows are of older ones.
    #[must_use]
    pub fn data_keys(&self) -> DataKeys {
        let epochs = self.store.epochs();
        let left = if epochs.len() > 1 { self.renewal.left.load(Ordering::Acquire) } else { 0 };
        DataKeys { epochs, left }
    }

    /// The same as operators are told it.
    pub(super) fn ring_status(&self) -> Value {
        let DataKeys { epochs, left } = self.data_keys();
        json!({ "epoch": epochs.last(), "epochs": epochs, "left": left })
    }

    /// `nockvault/ring_rotate`
    pub(super) async fn ring_rotate(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let outcome = self.order::<RingRotate>(envelope, |command| Order::RotateRing(command)).await;
        // A crash before this leaves it to the next start.
        self.renewal.wake.notify_one();
        outcome
    }

    /// Covers anew what older data keys cover, after each rotation and at the start, until `stop`.
    pub(super) async fn renew_on(&self, stop: CancellationToken) {
        loop {
            let again = match self.renew_rows(&stop).await {
                Ok(()) => Duration::MAX,
                Err(failure) => {
                    tracing::warn!(why = %failure, "rows of an older data key could not be covered anew; it will be tried again");
                    AGAIN
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.renewal.wake.notified() => {}
                () = tokio::time::sleep(again) => {}
            }
        }
    }

    /// Goes through all rows as often as the ring turns meanwhile, and deletes the keys that nothing names any more.
    async fn renew_rows(&self, stop: &CancellationToken) -> Result<(), Failure> {
        while self.store.epochs().len() > 1 {
            let before = self.count_left().await?;
            step!("ring: begun");
            let mut at = Some(Pass::begin());
            while let Some(from) = at {
                if stop.is_cancelled() {
                    return Ok(());
                }
                let covered = self.store.cover_anew(&from).await?;
                if covered.rows > 0 {
                    step!("ring: part");
                    let less = |left: u64| Some(left.saturating_sub(covered.rows));
                    let _ = self.renewal.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
                    tokio::time::sleep(PAUSE).await;
                }
                at = covered.next;
            }
            step!("ring: covered");
            let rows = self.count_left().await?;
            for epoch in rows.spent() {
                self.store.delete_epoch(epoch).await?;
                tracing::info!(epoch, "nothing is sealed under an older data key any more; it was deleted");
            }
            if rows.epoch == before.epoch {
                if rows.left() > 0 {
                    let (epochs, left) = (self.store.epochs(), rows.left());
                    tracing::error!(
                        ?epochs,
                        left,
                        "rows of chains that are set aside, or that do not verify, keep their data keys"
                    );
                }
                return Ok(());
            }
        }
        Ok(())
    }

    async fn count_left(&self) -> Result<crate::store::RingRows, Failure> {
        let rows = self.store.ring_rows().await?;
        self.renewal.left.store(rows.left(), Ordering::Release);
        Ok(rows)
    }
}
