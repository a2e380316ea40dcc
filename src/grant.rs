//! What may be had: a [`Role`] is a kind of credential from one engine, a [`Grant`] lets one agent have one role on
//! [`Terms`]. [`Uses`] is what a grant has given so far.

use serde_json::{Map, Value};

use crate::denial::{Denial, Reason};
use crate::id::{AgentName, RoleName};
use crate::statement::grant::{Rate, Terms};
use crate::time::Timestamp;

/// A kind of credential.
#[derive(Clone, Debug, PartialEq)]
pub struct Role {
    /// Its name.
    pub name: RoleName,
    /// The engine that mints for it.
    pub engine: String,
    /// The engine's configuration, checked when the role was made.
    pub config: Map<String, Value>,
    /// When it was made.
    pub since: Timestamp,
    /// Nothing of it is issued or prolonged while this is set.
    pub frozen: bool,
}

impl Role {
    /// Whether it may be had at all.
    ///
    /// # Errors
    /// [`Reason::RoleFrozen`].
    pub fn alive(&self) -> Result<(), Denial> {
        if self.frozen { Err(Reason::RoleFrozen.into()) } else { Ok(()) }
    }
}

/// One agent may have one role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Which agent.
    pub agent: AgentName,
    /// Which role.
    pub role: RoleName,
    /// On what terms.
    pub terms: Terms,
    /// The `seq` of its entry in the agent's chain: its name in the trail.
    pub seq: u64,
    /// When it was given.
    pub since: Timestamp,
}

/// What a grant has given so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// How many credentials.
    pub count: u64,
    /// The rate's theoretical arrival time (GCRA), in microseconds since the epoch: when the credentials given so far
    /// would have come, had they come evenly spaced.
    pub paced: u64,
}

impl Uses {
    /// The state after one more use at `now`.
    ///
    /// # Errors
    /// Where the rate is used up: how many whole seconds to wait, at least 1.
    pub fn one_more(self, rate: Option<Rate>, now: Timestamp) -> Result<Uses, u64> {
        let count = self.count.saturating_add(1);
        let Some(rate) = rate else { return Ok(Uses { count, ..self }) };
        // Far below where the sums of two would saturate: there, a rate over an endless time would bound nothing.
        let period = rate.per.0.saturating_mul(1_000_000).min(i64::MAX as u64);
        let now = now.0.saturating_mul(1000);
        // So far ahead lies only what a clock has paced that was ahead.
        let paced = if self.paced > now.saturating_add(period.saturating_mul(2)) { now } else { self.paced.max(now) };
        let paced = paced.saturating_add(period / rate.count.max(1));
        match paced.saturating_sub(now).saturating_sub(period) {
            0 => Ok(Uses { count, paced }),
            over => Err(over.div_ceil(1_000_000)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Seconds;

    #[test]
    fn a_rate_allows_its_count_at_once_and_then_paces() {
        let rate = Some(Rate { count: 3, per: Seconds(60) });
        let mut uses = Uses::default();
        for _ in 0..3 {
            uses = uses.one_more(rate, Timestamp(1_000_000)).unwrap();
        }
        assert_eq!(uses.one_more(rate, Timestamp(1_000_000)), Err(20));
        assert!(uses.one_more(rate, Timestamp(1_020_000)).is_ok());
    }

    #[test]
    fn a_rate_over_an_endless_time_still_bounds() {
        for per in [1 << 43, 1 << 44, 1 << 45, (1 << 53) - 1, u64::MAX] {
            let rate = Some(Rate { count: 2, per: Seconds(per) });
            let mut uses = Uses::default();
            for _ in 0..2 {
                uses = uses.one_more(rate, Timestamp(1_780_000_000_000)).unwrap();
                // As a column of the store holds it.
                uses.paced = uses.paced.min(i64::MAX as u64);
            }
            assert!(uses.one_more(rate, Timestamp(1_780_000_000_000)).is_err(), "2 in {per} s let a third through");
        }
    }

    #[test]
    fn a_clock_that_was_ahead_paces_nobody_for_long() {
        let rate = Some(Rate { count: 1, per: Seconds(60) });
        let year = Uses::default().one_more(rate, Timestamp(31_536_000_000)).unwrap();
        let now = year.one_more(rate, Timestamp(1_000_000)).unwrap();
        assert_eq!(now.one_more(rate, Timestamp(1_000_000)), Err(60));
    }

    #[test]
    fn a_rate_that_does_not_divide_its_period_still_allows_its_count() {
        let rate = Some(Rate { count: 7, per: Seconds(1) });
        let mut uses = Uses::default();
        for _ in 0..7 {
            uses = uses.one_more(rate, Timestamp(5_000)).unwrap();
        }
        assert!(uses.one_more(rate, Timestamp(5_000)).is_err());
    }
}
