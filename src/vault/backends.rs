//! The way to backends. Each role has so many places for calls and so many to wait in, so that a backend that is slow or
//! gone holds up its own requests and no others. Who waits for a place and then calls is answered within one deadline.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::denial::{Denial, Reason};
use crate::id::RoleName;

/// How many requests may be with one role's backend at once.
const CALLS: usize = 16;
/// How many more may wait for that; the next is refused at once.
const WAITING: usize = 48;

/// A place with a role's backend, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _call: OwnedSemaphorePermit,
    /// What the wait for it has left of the deadline: at least the half.
    pub(super) left: Duration,
}

/// The places of one role.
#[derive(Debug)]
struct Places {
    calls: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// The places of all roles.
#[derive(Debug, Default)]
pub(super) struct Backends(Mutex<HashMap<RoleName, Places>>);

impl Backends {
    /// A place with a role's backend.
    ///
    /// # Errors
    /// [`Reason::EngineUnavailable`] where too many wait already, or none is free in half of the deadline.
    pub(super) async fn enter(&self, role: &RoleName, deadline: Duration) -> Result<Place, Denial> {
        let (calls, waiting) = {
            let mut roles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let places = roles.entry(role.clone()).or_insert_with(|| Places {
                calls: Arc::new(Semaphore::new(CALLS)),
                waiting: Arc::new(Semaphore::new(CALLS + WAITING)),
            });
            (Arc::clone(&places.calls), Arc::clone(&places.waiting))
        };
        let full = |why: &str| Denial::new(Reason::EngineUnavailable).internal(format!("{role}: {why}"));
        let _waits = waiting.try_acquire().map_err(|_| full("as many requests as may wait for its backend"))?;
        let begin = Instant::now();
        match tokio::time::timeout(deadline / 2, calls.acquire_owned()).await {
            Ok(Ok(call)) => Ok(Place { _call: call, left: deadline.saturating_sub(begin.elapsed()).max(deadline / 2) }),
            _ => Err(full("its backend is busy with other requests")),
        }
    }
}
