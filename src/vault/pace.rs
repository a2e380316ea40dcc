//! How often one agent may ask, and how much of it may be in hand at once: judged once the signature has shown whose
//! request it is, so that nobody uses up another's. What is in hand takes the daemon's places, the store's queue and the
//! ways to backends; an agent has at most its part of them. Who is over it is told when to come again, and nothing else
//! happens to him: the first request after that wait is served.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::denial::{Denial, Reason};
use crate::id::AgentName;
use crate::rate::{Rate, Seat, Shares, Table};
use crate::time::Stopwatch;

/// How many agents are known to have asked lately. More than that are forgotten as they have been quiet the longest.
const AGENTS: usize = 65_536;
/// When one that has all in hand that it may is to come again.
const AGAIN: Duration = Duration::from_millis(100);

/// The limits of one agent.
#[derive(Clone, Copy, Debug)]
pub struct PerAgent {
    /// How often it may ask.
    pub rate: Rate,
    /// How many requests of all agents are in hand at once.
    pub all: u64,
    /// How many of them one agent may have.
    pub of_one: u64,
}

/// A request of an agent, in hand until it is dropped.
pub(super) type InHand = Seat<AgentName>;

/// What agents have asked lately, and have in hand.
#[derive(Debug)]
pub(super) struct Paces {
    /// Not the vault's clock, which may be set back while somebody waits.
    watch: Stopwatch,
    rates: Mutex<Table<AgentName>>,
    in_hand: Shares<AgentName>,
}

impl Paces {
    pub(super) fn new(limits: &PerAgent) -> Paces {
        let places = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        Paces {
            watch: Stopwatch::start(),
            rates: Mutex::new(Table::new(limits.rate, AGENTS)),
            in_hand: Shares::new(places(limits.all), places(limits.of_one)),
        }
    }

    /// Takes a request of this agent in hand.
    ///
    /// # Errors
    /// [`Reason::RateLimited`], with when to come again.
    pub(super) fn enter(&self, agent: &AgentName) -> Result<InHand, Denial> {
        self.enter_at(agent, self.watch.nanos())
    }

    fn enter_at(&self, agent: &AgentName, now: u64) -> Result<InHand, Denial> {
        let limited =
            |wait, what: &str| Denial::new(Reason::RateLimited).retry_after(wait).detail(what).internal(agent);
        let in_hand = self.in_hand.enter(agent);
        let in_hand = in_hand.ok_or_else(|| limited(AGAIN, "this agent has as much in hand as one agent may have"))?;
        let taken = self.rates.lock().unwrap_or_else(PoisonError::into_inner).take(agent, 1, now);
        taken.map_err(|wait| limited(wait, "this agent asks more often than one agent may"))?;
        Ok(in_hand)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_asks_too_often_or_too_much_at_once_waits_and_others_do_not() {
        let paces = Paces::new(&PerAgent { rate: Rate::new(10, 5), all: 100, of_one: 3 });
        let (kit, ada): (AgentName, AgentName) = ("kit".parse().unwrap(), "ada".parse().unwrap());
        let now = 1_780_000_000;
        let held: Vec<_> = (0..3).map(|_| paces.enter_at(&kit, now).unwrap()).collect();
        let full = paces.enter_at(&kit, now).unwrap_err();
        assert_eq!((full.reason, full.retry_after_ms, full.limit), (Reason::RateLimited, Some(100), Some(1)));
        drop(held);
        for _ in 0..2 {
            drop(paces.enter_at(&kit, now).unwrap());
        }
        let fast = paces.enter_at(&kit, now).unwrap_err();
        assert_eq!((fast.reason, fast.retry_after_ms), (Reason::RateLimited, Some(100)));
        assert!(fast.detail.contains("more often"), "{fast}");
        assert!(paces.enter_at(&ada, now).is_ok());
        assert!(paces.enter_at(&kit, now + 100_000_000).is_ok(), "after the wait it is served");
    }
}
