//! Sealed and unsealed. The listeners, the connections on them and the services stand as long as the process does; what
//! comes and goes is the vault behind them. [`Phases`] is the one place where the services find it. A request that finds
//! one is [`Inside`] and counted; a request that finds none is answered `sealed`.
//!
//! A vault leaves in order: no request finds it any more, those inside get time, those that remain are given up, and then
//! nothing here holds it. Who takes it away learns whether that came true, by what is left of it in memory.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::denial::Reason;
use crate::telemetry::Telemetry;
use crate::vault::{NotReady, State, Vault};

/// A vault that is served, and who is inside.
#[derive(Clone, Debug)]
struct Open {
    vault: Arc<Vault>,
    inside: TaskTracker,
    /// Cancelled when who is still inside is given up.
    over: CancellationToken,
}

/// What is served at present. Clones are of the same.
#[derive(Clone, Debug)]
pub(super) struct Phases(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    open: RwLock<Option<Open>>,
    /// How often a vault was sealed here, to its end.
    sealed: watch::Sender<u64>,
    telemetry: Telemetry,
}

/// A place inside: what a request holds while it needs the vault.
#[derive(Debug)]
pub(super) struct Inside {
    /// The vault.
    pub(super) vault: Arc<Vault>,
    over: CancellationToken,
    _counted: TaskTrackerToken,
}

impl Inside {
    /// What `work` gives, or nothing where it is given up: what was under way may still become durable then, and the
    /// vault undoes it.
    pub(super) async fn within<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.over.cancelled() => None,
        }
    }
}

impl Phases {
    /// Sealed.
    pub(super) fn new(telemetry: Telemetry) -> Phases {
        telemetry.sealed(true);
        Phases(Arc::new(Shared { open: RwLock::new(None), sealed: watch::Sender::new(0), telemetry }))
    }

    fn open(&self) -> Option<Open> {
        self.0.open.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From here on requests find this vault; one that they find already stays as it is, with who is inside.
    pub(super) fn unseal(&self, vault: Arc<Vault>) {
        let mut there = self.0.open.write().unwrap_or_else(PoisonError::into_inner);
        if there.as_ref().is_none_or(|open| !Arc::ptr_eq(&open.vault, &vault)) {
            *there = Some(Open { vault, inside: TaskTracker::new(), over: CancellationToken::new() });
        }
        drop(there);
        self.0.telemetry.sealed(false);
    }

    /// A place inside, where there is a vault.
    pub(super) fn enter(&self) -> Option<Inside> {
        // Counted under the lock, so that whoever takes the vault away waits for it.
        let open = self.0.open.read().unwrap_or_else(PoisonError::into_inner);
        let Open { vault, inside, over } = open.as_ref()?;
        Some(Inside { vault: Arc::clone(vault), over: over.clone(), _counted: inside.token() })
    }

    /// How the vault is; none while it is sealed.
    pub(super) fn state(&self) -> Option<State> {
        self.open().map(|open| open.vault.state())
    }

    /// Whether requests are served, and why not; none while it is sealed.
    pub(super) fn ready(&self) -> Option<Result<(), NotReady>> {
        self.open().map(|open| open.vault.ready())
    }

    /// Counts a refusal that never reached the flow. A sealed vault counts nothing: it can write nothing down.
    pub(super) fn refuse_unread(&self, reason: Reason) {
        if let Some(open) = self.open() {
            open.vault.refuse_unread(reason);
        }
    }

    /// From here on no request finds a vault. Waits until nobody is inside, and after `within` gives up who is.
    pub(super) async fn empty(&self, within: Duration) {
        let taken = self.0.open.write().unwrap_or_else(PoisonError::into_inner).take();
        self.0.telemetry.sealed(true);
        let Some(Open { inside, over, .. }) = taken else { return };
        inside.close();
        if tokio::time::timeout(within, inside.wait()).await.is_err() {
            tracing::warn!(
                ?within,
                "requests were still in hand and are given up; what they may have changed is undone"
            );
            over.cancel();
            // Each of them ends at its next step.
            inside.wait().await;
        }
    }

    /// The vault that was sealed last is gone from memory, or the process is about to end.
    pub(super) fn sealed(&self) {
        self.0.sealed.send_modify(|count| *count += 1);
    }

    /// Hears of the next vault that is gone from memory.
    pub(super) fn until_sealed(&self) -> watch::Receiver<u64> {
        self.0.sealed.subscribe()
    }
}
