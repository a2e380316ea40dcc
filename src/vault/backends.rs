//! The way to backends. Each role has so many places for calls and so many to wait in, so that a backend that is slow or
//! gone holds up its own requests and no others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::denial::{Denial, Reason};
use crate::id::RoleName;

/// How many requests may be with one role's backend at once.
const CALLS: usize = 16;
/// How many more may wait for that; the next is refused at once.
const WAITING: usize = 48;

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
    /// [`Reason::EngineUnavailable`] where too many wait already, or none is free in time.
    pub(super) async fn enter(&self, role: &RoleName, deadline: Duration) -> Result<OwnedSemaphorePermit, Denial> {
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
        match tokio::time::timeout(deadline, calls.acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(full("its backend is busy with other requests")),
        }
    }
}
