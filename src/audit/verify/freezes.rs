//! When everything was frozen, or a role, as `_operators` tells it. Positions in different chains do not compare, but
//! times do as far as this: a freeze is recorded no earlier than the newest entry of any chain, so what stands in an
//! agent's chain with a later `ts` came after it; and nothing is issued while the clock is further behind the newest entry
//! than the skew, so what came after a thaw is not earlier than the thaw by more than that. What lies between, and not
//! within the longest skew of the thaw, was issued while it was forbidden. A reset of the clock begins time anew; times are
//! compared between two resets.

use std::collections::HashMap;

use serde_json::Value;

use super::operators::CLOCK_RESET;
use crate::id::RoleName;
use crate::statement::Body as _;
use crate::statement::freeze::{RoleFreeze, RoleThaw, VaultFreeze, VaultThaw};
use crate::time::{Seconds, Timestamp};

/// The longest skew that a vault can be set to.
pub(super) const LONGEST_SKEW: Seconds = Seconds(3600);

/// A moment: how often the clock had been reset, and the time since.
type When = (usize, Timestamp);

/// One freeze and its thaw.
#[derive(Clone, Debug)]
struct Span {
    /// The entry of the freeze.
    by: u64,
    from: When,
    /// The thaw; none where there is none yet.
    to: Option<When>,
}

/// All freezes that were carried out.
#[derive(Clone, Debug, Default)]
pub(super) struct Freezes {
    /// The entries whose commands reset the clock.
    resets: Vec<u64>,
    /// Freezes by role, or of everything, in order.
    spans: HashMap<Option<String>, Vec<Span>>,
    /// The last command that is known, whatever it was: later than that there may be a thaw that is not.
    newest: When,
}

impl Freezes {
    /// A command that was carried out.
    pub(super) fn carried(&mut self, seq: u64, ts: Timestamp, typ: &str, body: &Value) {
        let now = (self.resets.len(), ts);
        self.newest = now;
        let role = || body.get("role").and_then(Value::as_str).map(str::to_owned);
        match typ {
            CLOCK_RESET => self.resets.push(seq),
            VaultFreeze::TYP => self.freeze(None, seq, now),
            RoleFreeze::TYP => role().into_iter().for_each(|role| self.freeze(Some(role), seq, now)),
            VaultThaw::TYP => self.thaw(&None, now),
            RoleThaw::TYP => role().into_iter().for_each(|role| self.thaw(&Some(role), now)),
            _ => {}
        }
    }

    fn freeze(&mut self, what: Option<String>, by: u64, from: When) {
        let spans = self.spans.entry(what).or_default();
        // What is frozen already stays frozen.
        if spans.last().is_none_or(|last| last.to.is_some()) {
            spans.push(Span { by, from, to: None });
        }
    }

    fn thaw(&mut self, what: &Option<String>, to: When) {
        if let Some(last) = self.spans.get_mut(what).and_then(|spans| spans.last_mut()) {
            last.to.get_or_insert(to);
        }
    }

    /// Whether no reset of the clock is among the commands.
    pub(super) fn never_reset(&self) -> bool {
        self.resets.is_empty()
    }

    /// How often the clock had been reset, where the newest command that a chain rests on for its time is `since`.
    fn era(&self, since: Option<u64>) -> Option<usize> {
        match since {
            Some(since) => Some(self.resets.partition_point(|reset| *reset <= since)),
            None => self.resets.is_empty().then_some(0),
        }
    }

    /// Whether the times of the command of this entry and of a chain whose time rests on `since` compare.
    pub(super) fn compares(&self, command: u64, since: Option<u64>) -> bool {
        self.era(since) == Some(self.resets.partition_point(|reset| *reset < command))
    }

    /// The entry with the freeze, of everything or of this role, under which nothing may have been issued at `ts`. `since`
    /// is the entry of `_operators` with the newest command that the agent's chain rested on to begin or to begin time
    /// anew; where that is not known, nothing is told once the clock was reset.
    pub(super) fn forbids(&self, since: Option<u64>, ts: Timestamp, role: Option<&RoleName>) -> Option<u64> {
        let era = self.era(since)?;
        let within = |what: Option<String>| -> Option<u64> {
            let spans = self.spans.get(&what)?;
            let span = spans.partition_point(|span| span.from < (era, ts)).checked_sub(1).map(|at| &spans[at])?;
            let (until, end) = span.to.unwrap_or(self.newest);
            let before = era < until || era == until && ts.plus(LONGEST_SKEW) < end;
            before.then_some(span.by)
        };
        within(None).or_else(|| role.and_then(|role| within(Some(role.to_string()))))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HOUR: u64 = 3_600_000;

    fn told(commands: &[(u64, u64, &str)]) -> Freezes {
        let mut freezes = Freezes::default();
        for (seq, hours, typ) in commands {
            freezes.carried(*seq, Timestamp(hours * HOUR), typ, &json!({ "role": "orders" }));
        }
        freezes
    }

    #[test]
    fn what_is_surely_between_freeze_and_thaw_is_forbidden_and_nothing_else() {
        let freezes = told(&[(1, 10, VaultFreeze::TYP), (2, 11, VaultFreeze::TYP), (3, 20, VaultThaw::TYP)]);
        let at = |hours: u64| freezes.forbids(Some(0), Timestamp(hours * HOUR), None);
        assert_eq!((at(9), at(10), at(11), at(18)), (None, None, Some(1), Some(1)));
        assert_eq!((at(19), at(20), at(21)), (None, None, None), "the clock may have been behind at the thaw");
        let open = told(&[(1, 10, VaultFreeze::TYP), (2, 15, "nockvault/grant_create")]);
        assert_eq!(open.forbids(Some(0), Timestamp(13 * HOUR), None), Some(1));
        assert_eq!(open.forbids(Some(0), Timestamp(16 * HOUR), None), None, "a thaw may follow that is not known");
    }

    #[test]
    fn a_role_is_frozen_for_itself() {
        let freezes = told(&[(1, 10, RoleFreeze::TYP), (3, 20, RoleThaw::TYP), (4, 40, "nockvault/grant_create")]);
        let role =
            |name: &str, hours: u64| freezes.forbids(Some(0), Timestamp(hours * HOUR), Some(&name.parse().unwrap()));
        assert_eq!((role("orders", 12), role("others", 12), role("orders", 30)), (Some(1), None, None));
    }

    #[test]
    fn time_counts_anew_after_a_reset() {
        let freezes =
            told(&[(1, 90, VaultFreeze::TYP), (2, 95, CLOCK_RESET), (5, 12, VaultThaw::TYP), (6, 30, "nockvault/x")]);
        let at = |since, hours: u64| freezes.forbids(since, Timestamp(hours * HOUR), None);
        assert_eq!((at(Some(0), 80), at(Some(0), 92)), (None, Some(1)));
        assert_eq!(
            (at(Some(2), 10), at(Some(2), 12), at(Some(4), 10), at(Some(2), 92)),
            (Some(1), None, Some(1), None)
        );
        assert!(!freezes.never_reset() && told(&[(1, 10, VaultFreeze::TYP)]).never_reset());
        let open = told(&[(1, 10, VaultFreeze::TYP), (2, 15, "nockvault/grant_create")]);
        assert_eq!(open.forbids(None, Timestamp(13 * HOUR), None), Some(1), "the clock was never reset");
        assert_eq!(at(None, 92), None, "of a part of a chain it is not known how often the clock was reset before");
    }
}
