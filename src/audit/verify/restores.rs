//! Restores from backups: where a chain goes on from a backup, and what others hold of it that was lost then.
//!
//! Between the backup and the restore the vault wrote entries that the chain does not have. Who holds a state, a receipt
//! or a checkpoint of them holds something true, and the chain does not hold it: that is no sign that somebody rewrote
//! it in silence, and no proof of the contrary. It is told as what it is, claim by claim.

use std::collections::BTreeSet;

use super::report::RestoreSeen;
use crate::time::Timestamp;

/// How many restores a report lists.
const LISTED: usize = 1000;

/// How many lost claims a verdict names.
const NAMED: usize = 20;

/// The restores that a chain tells of.
#[derive(Debug, Default)]
pub(super) struct Restores {
    pub(super) seen: Vec<RestoreSeen>,
    newest: Option<u64>,
    /// From which entry on there may have been others before.
    from: Option<u64>,
    /// When the newest was written, which may not be judged yet.
    last: Option<Timestamp>,
    pub(super) count: u64,
}

impl Restores {
    /// The chain, whose first entry this is, began after so many restores.
    pub(super) fn began_after(&mut self, restored: u64, first: u64) {
        if restored > 0 {
            // Of a chain of the same name before it nothing is known, nor of what a part does not show.
            (self.newest, self.from) = (Some(restored), Some(first));
        }
    }

    /// The entry of this number is one: that is known before it is judged.
    pub(super) fn at(&mut self, entry: u64, ts: Timestamp) {
        self.from.get_or_insert(entry);
        self.last = Some(ts);
    }

    pub(super) fn took(&mut self, seen: RestoreSeen) {
        self.newest = Some(seen.number);
        self.count += 1;
        if self.seen.len() < LISTED {
            self.seen.push(seen);
        }
    }

    /// The number of the newest one.
    pub(super) fn newest(&self) -> Option<u64> {
        self.newest
    }

    /// From which entry on there may have been others, lost since.
    pub(super) fn from(&self) -> Option<u64> {
        self.from
    }

    /// Whether the entry of this number may once have been another, as one holds it who knows of it since `of`: what is of
    /// after the newest restore was not lost to any.
    pub(super) fn lost(&self, entry: u64, of: Option<Timestamp>) -> bool {
        let since = self.last.zip(of).is_some_and(|(last, of)| last < of);
        !since && self.from.is_some_and(|from| entry >= from)
    }

    /// What is said of something that was lost.
    pub(super) fn of_before(&self, what: &str) -> String {
        let last = self.last.map_or_else(|| "a restore".to_owned(), |last| format!("the restore of {last}"));
        format!("{what} is of before {last}: the chain went on from a backup without it, and says so")
    }
}

/// What is held elsewhere, by its place among the pins of its sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Claim {
    Head(usize),
    Receipt(usize),
    Checkpoint(usize),
}

/// What is held elsewhere and was lost.
#[derive(Debug, Default)]
pub(super) struct Lost {
    claims: BTreeSet<Claim>,
    said: Vec<String>,
}

impl Lost {
    pub(super) fn claim(&mut self, claim: Claim, said: String) {
        if self.claims.insert(claim) && self.said.len() < NAMED {
            self.said.push(said);
        }
    }

    pub(super) fn has(&self, claim: Claim) -> bool {
        self.claims.contains(&claim)
    }

    /// How many there are of those that `sort` says yes to.
    pub(super) fn count(&self, sort: impl Fn(&Claim) -> bool) -> usize {
        self.claims.iter().filter(|claim| sort(claim)).count()
    }

    /// What a reader is told of it; none where nothing was lost.
    pub(super) fn said(&self) -> Option<String> {
        let more = self.claims.len() - self.said.len();
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        (!self.claims.is_empty()).then(|| self.said.join("; ") + &more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_restores_are_counted_and_a_thousand_are_listed() {
        let mut restores = Restores::default();
        for number in 0..=LISTED as u64 {
            restores.took(RestoreSeen { entry: number, number, ts: Timestamp(number), backup: 0 });
        }
        assert_eq!((restores.count, restores.seen.len()), (1001, 1000));
        assert_eq!((restores.newest(), restores.seen.last().map(|seen| seen.number)), (Some(1000), Some(999)));
    }

    #[test]
    fn what_is_of_after_the_newest_restore_was_not_lost() {
        let mut restores = Restores::default();
        assert!(!restores.lost(7, None), "nothing is lost where nothing was restored");
        restores.at(5, Timestamp(100));
        restores.at(9, Timestamp(200));
        let lost = [(4, None), (5, None), (5, Some(199)), (5, Some(200)), (5, Some(201)), (4, Some(1))];
        let lost = lost.map(|(entry, of)| restores.lost(entry, of.map(Timestamp)));
        assert_eq!(lost, [false, true, true, true, false, false]);
    }

    #[test]
    fn a_chain_may_begin_behind_a_restore() {
        let began = |restored: u64| {
            let mut restores = Restores::default();
            restores.began_after(restored, 5);
            (restores.newest(), restores.from())
        };
        assert_eq!([began(0), began(1), began(2)], [(None, None), (Some(1), Some(5)), (Some(2), Some(5))]);
    }
}
