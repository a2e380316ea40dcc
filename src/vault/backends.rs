//! The way to backends. Each role has so many places for calls and so many to wait in, so that a backend that is slow or
//! gone holds up its own requests and no others; and one agent has at most a part of a role's, so that others who share
//! the role come through. Who waits for a place and then calls is answered within one deadline.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::denial::{Denial, Reason};
use crate::id::{AgentName, RoleName};

/// How many requests may be with one role's backend at once.
const CALLS: usize = 16;
/// How many more may wait for that; the next is refused at once.
const WAITING: usize = 48;
/// How many of a role's places, to call and to wait, one agent may have.
const OF_ONE: usize = (CALLS + WAITING) / 2;

/// A place with a role's backend, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _call: OwnedSemaphorePermit,
    _seat: Seat,
    /// What the wait for it has left of the deadline: at least the half.
    pub(super) left: Duration,
}

/// The places of one role.
#[derive(Debug)]
struct Places {
    calls: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    agents: Agents,
}

/// How many places each agent has.
type Agents = Arc<Mutex<HashMap<AgentName, usize>>>;

/// One of an agent's places, until it is dropped.
#[derive(Debug)]
struct Seat {
    agents: Agents,
    agent: AgentName,
}

impl Seat {
    fn take(agents: &Agents, agent: &AgentName) -> Option<Seat> {
        let mut seated = agents.lock().unwrap_or_else(PoisonError::into_inner);
        let seats = seated.entry(agent.clone()).or_default();
        if *seats >= OF_ONE {
            return None;
        }
        *seats += 1;
        Some(Seat { agents: Arc::clone(agents), agent: agent.clone() })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seated = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        match seated.get_mut(&self.agent) {
            Some(seats) if *seats > 1 => *seats -= 1,
            _ => drop(seated.remove(&self.agent)),
        }
    }
}

/// The places of all roles.
#[derive(Debug, Default)]
pub(super) struct Backends(Mutex<HashMap<RoleName, Places>>);

impl Backends {
    /// A place for this agent with a role's backend.
    ///
    /// # Errors
    /// [`Reason::EngineUnavailable`] where too many wait already, or none is free in half of the deadline.
    pub(super) async fn enter(&self, role: &RoleName, agent: &AgentName, deadline: Duration) -> Result<Place, Denial> {
        let (calls, waiting, agents) = {
            let mut roles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let places = roles.entry(role.clone()).or_insert_with(|| Places {
                calls: Arc::new(Semaphore::new(CALLS)),
                waiting: Arc::new(Semaphore::new(CALLS + WAITING)),
                agents: Agents::default(),
            });
            (Arc::clone(&places.calls), Arc::clone(&places.waiting), Arc::clone(&places.agents))
        };
        let full = |why: &str| Denial::new(Reason::EngineUnavailable).internal(format!("{role}: {why}"));
        let seat = Seat::take(&agents, agent)
            .ok_or_else(|| full(&format!("{agent} has as many requests with its backend as one agent may have")))?;
        let _waits = waiting.try_acquire().map_err(|_| full("as many requests as may wait for its backend"))?;
        let begin = Instant::now();
        match tokio::time::timeout(deadline / 2, calls.acquire_owned()).await {
            Ok(Ok(call)) => {
                let left = deadline.saturating_sub(begin.elapsed()).max(deadline / 2);
                Ok(Place { _call: call, _seat: seat, left })
            }
            _ => Err(full("its backend is busy with other requests")),
        }
    }
}

impl Backends {
    /// How many places this agent has with a role's backend, and how many may be had; a refusal where [`Backends::enter`]
    /// would be refused at once. Takes none.
    pub(super) fn look(&self, role: &RoleName, agent: &AgentName) -> (usize, usize, Result<(), Denial>) {
        let roles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(places) = roles.get(role) else { return (0, OF_ONE, Ok(())) };
        let seated = places.agents.lock().unwrap_or_else(PoisonError::into_inner);
        let seats = seated.get(agent).copied().unwrap_or_default();
        let free = seats < OF_ONE && places.waiting.available_permits() > 0;
        (seats, OF_ONE, if free { Ok(()) } else { Err(Reason::EngineUnavailable.into()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_agent_has_no_more_than_its_part() {
        let backends = Arc::new(Backends::default());
        let (role, kit): (RoleName, AgentName) = ("orders".parse().unwrap(), "kit".parse().unwrap());
        let long = Duration::from_secs(60);
        let mut held = Vec::new();
        for _ in 0..CALLS {
            held.push(backends.enter(&role, &kit, long).await.unwrap());
        }
        let mut waiting = tokio::task::JoinSet::new();
        for _ in CALLS..OF_ONE {
            let (backends, role, kit) = (Arc::clone(&backends), role.clone(), kit.clone());
            waiting.spawn(async move { backends.enter(&role, &kit, long).await.is_ok() });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        let full = backends.enter(&role, &kit, long).await.unwrap_err();
        assert!(full.internal.contains("kit"), "{}", full.internal);
        waiting.shutdown().await;
        drop(held);
        assert!(backends.enter(&role, &kit, long).await.is_ok(), "places that are left are free again");
    }
}
