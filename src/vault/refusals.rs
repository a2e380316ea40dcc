//! What is refused before a nonce is spent: strangers, replays, skew, statements for another vault. Such a request gets
//! no entry of its own, so that nobody can fill an agent's chain with copies of what that agent once sent; it is
//! counted by reason, and each minute's counts become one `refused` entry of `_vault`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::denial::Reason;
use crate::time::Timestamp;

/// Counts by minute and reason. Both are few: minutes are flushed as they pass, reasons are a closed list.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<BTreeMap<u64, BTreeMap<String, u64>>>);

impl Refusals {
    /// Counts one.
    pub(super) fn count(&self, reason: Reason, now: Timestamp) {
        let mut minutes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *minutes.entry(now.minute()).or_default().entry(reason.code().into()).or_default() += 1;
    }

    /// Takes the oldest minute out that lies before `now`, or any where the vault stops.
    pub(super) fn take(&self, now: Option<Timestamp>) -> Option<(u64, BTreeMap<String, u64>)> {
        let mut minutes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = minutes.first_entry()?;
        now.is_none_or(|now| *oldest.key() != now.minute()).then(|| oldest.remove_entry())
    }

    /// Puts back what could not be written down, beside what was counted since.
    pub(super) fn put_back(&self, minute: u64, counts: BTreeMap<String, u64>) {
        let mut minutes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let there = minutes.entry(minute).or_default();
        for (reason, count) in counts {
            *there.entry(reason).or_default() += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_taken_when_it_has_passed() {
        let refusals = Refusals::default();
        refusals.count(Reason::Replay, Timestamp(59_999));
        refusals.count(Reason::Replay, Timestamp(1));
        assert_eq!(refusals.take(Some(Timestamp(59_999))), None);
        let (minute, counts) = refusals.take(Some(Timestamp(60_000))).unwrap();
        assert_eq!((minute, counts["replay"]), (0, 2));
        refusals.put_back(minute, counts);
        assert_eq!(refusals.take(None).unwrap().1["replay"], 2);
        assert_eq!(refusals.take(None), None);
    }
}
