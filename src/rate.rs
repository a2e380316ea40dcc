//! How often something may happen: a rate with a burst, kept for many keys in bounded room; and how much of a number of
//! places one key may hold. Nothing here reads a clock: `now` is an argument, in nanoseconds since an instant of the
//! caller's choice.
//!
//! A [`Table`] counts by the generic cell rate algorithm (GCRA): of each key it keeps one number, the instant at which
//! the key would have its whole burst again. An instant that is past says nothing more than no entry at all, and one that
//! lies ahead says how much of the burst is used.
//!
//! **Why many keys do not help an attacker.** The table has at most so many entries. Where one more is needed, the one
//! goes whose instant is the earliest: an idle one, or else the one that says least. To lose an entry is never a loss
//! for whose it was: it has its whole burst again. So nobody can do a busy neighbour harm by pushing his entry out. Who
//! floods cannot push out his own either: what he owes lies further ahead than what each of the keys owes that he would
//! push with, as each of them has paid for one or two events, and he for a burst of them. Each such key begins with a
//! burst of its own anyway; against one who has that many addresses a rate by address does nothing, and what bounds him
//! is the number of places ([`Shares`] and the limits of all together).
//!
//! **Why nobody is locked out.** What a key can owe is bounded: at the most [`Rate::LONGEST`] after it stops, and
//! whatever it did before, it may go on.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;

/// So many in a second, and so many at once where there were none for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// From one to the next, in nanoseconds.
    interval: u64,
    burst: u64,
}

impl Rate {
    /// The longest that anybody waits who has done too much, in nanoseconds, where a single event does not take longer.
    pub const LONGEST: u64 = 5 * SECOND;

    /// `per_s` in a second and `burst` at once; each is at least 1.
    #[must_use]
    pub fn new(per_s: u64, burst: u64) -> Rate {
        Rate { interval: (SECOND / per_s.max(1)).max(1), burst: burst.max(1) }
    }

    /// How far ahead of now a key's instant lies that has used its whole burst.
    fn span(&self) -> u64 {
        self.interval.saturating_mul(self.burst)
    }

    /// The furthest that an instant can lie ahead.
    fn bound(&self) -> u64 {
        self.span().saturating_add(Rate::LONGEST.max(self.interval) - self.interval)
    }
}

/// A rate for each of many keys.
pub struct Table<K> {
    rate: Rate,
    most: usize,
    /// When each key would have its whole burst again.
    whole: HashMap<K, u64>,
    /// The same, by that instant.
    order: BTreeSet<(u64, K)>,
}

impl<K> fmt::Debug for Table<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("rate", &self.rate).field("keys", &self.whole.len()).finish_non_exhaustive()
    }
}

impl<K: Clone + Eq + Hash + Ord> Table<K> {
    /// For at most so many keys.
    #[must_use]
    pub fn new(rate: Rate, most: usize) -> Table<K> {
        Table { rate, most: most.max(1), whole: HashMap::new(), order: BTreeSet::new() }
    }

    /// Counts one event that costs `price`, if it may happen at `now`.
    ///
    /// # Errors
    /// How long it takes until it may; nothing was counted then.
    pub fn take(&mut self, key: &K, price: u64, now: u64) -> Result<(), Duration> {
        let price = price.clamp(1, self.rate.burst).saturating_mul(self.rate.interval);
        let whole = self.at(key, now).saturating_add(price);
        let latest = now.saturating_add(self.rate.span());
        if whole > latest {
            return Err(Duration::from_nanos(whole - latest));
        }
        self.set(key, whole, now);
        Ok(())
    }

    /// Counts what has happened already and turned out to cost `price` more. What is owed is bounded.
    pub fn charge(&mut self, key: &K, price: u64, now: u64) {
        let whole = self.at(key, now).saturating_add(price.saturating_mul(self.rate.interval));
        self.set(key, whole.min(now.saturating_add(self.rate.bound())), now);
    }

    /// How many keys it has something of.
    #[must_use]
    pub fn len(&self) -> usize {
        self.whole.len()
    }

    /// Whether it has something of no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.whole.is_empty()
    }

    /// A key's instant. One that lies further ahead than it could is of a clock that went back, and says nothing.
    fn at(&self, key: &K, now: u64) -> u64 {
        let latest = now.saturating_add(self.rate.bound());
        self.whole.get(key).filter(|whole| **whole <= latest).map_or(now, |whole| now.max(*whole))
    }

    fn set(&mut self, key: &K, whole: u64, now: u64) {
        if let Some(before) = self.whole.insert(key.clone(), whole) {
            self.order.remove(&(before, key.clone()));
        }
        self.order.insert((whole, key.clone()));
        // Two that are idle for one that came, so that the table shrinks again; and the one that says least.
        for _ in 0..2 {
            let Some((first, _)) = self.order.first() else { return };
            if *first > now && self.whole.len() <= self.most {
                return;
            }
            if let Some((_, gone)) = self.order.pop_first() {
                self.whole.remove(&gone);
            }
        }
    }
}

/// Places that many keys share. No key has more than its part of them; and while more than three quarters are taken, none
/// takes more than a sixteenth, so that who holds a few still comes in when others hold all they may.
pub struct Shares<K: Clone + Eq + Hash>(Arc<Mutex<Held<K>>>);

struct Held<K> {
    all: usize,
    of_one: usize,
    taken: usize,
    by: HashMap<K, usize>,
}

impl<K: Clone + Eq + Hash> Clone for Shares<K> {
    fn clone(&self) -> Shares<K> {
        Shares(Arc::clone(&self.0))
    }
}

impl<K: Clone + Eq + Hash> fmt::Debug for Shares<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.held();
        write!(f, "Shares({} of {}, {} of one)", held.taken, held.all, held.of_one)
    }
}

impl<K: Clone + Eq + Hash> Shares<K> {
    /// `all` places, of which one key has at most `of_one`.
    #[must_use]
    pub fn new(all: usize, of_one: usize) -> Shares<K> {
        Shares(Arc::new(Mutex::new(Held { all, of_one: of_one.max(1), taken: 0, by: HashMap::new() })))
    }

    fn held(&self) -> MutexGuard<'_, Held<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for this key; none where it has its part. Whether there is one at all is not looked at here.
    #[must_use]
    pub fn enter(&self, key: &K) -> Option<Seat<K>> {
        let mut held = self.held();
        let part = if held.taken >= held.all - held.all / 4 { (held.all / 16).max(1) } else { held.of_one };
        let seats = held.by.get(key).copied().unwrap_or(0);
        if seats >= part.min(held.of_one) {
            return None;
        }
        held.by.insert(key.clone(), seats + 1);
        held.taken += 1;
        Some(Seat { shares: self.clone(), key: key.clone() })
    }
}

/// A place of one key's part, until it is dropped.
pub struct Seat<K: Clone + Eq + Hash> {
    shares: Shares<K>,
    key: K,
}

impl<K: Clone + Eq + Hash> fmt::Debug for Seat<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seat")
    }
}

impl<K: Clone + Eq + Hash> Drop for Seat<K> {
    fn drop(&mut self) {
        let mut held = self.shares.held();
        held.taken -= 1;
        match held.by.get_mut(&self.key) {
            Some(seats) if *seats > 1 => *seats -= 1,
            _ => drop(held.by.remove(&self.key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = SECOND / 1000;

    #[test]
    fn a_burst_and_then_the_rate() {
        let mut table = Table::new(Rate::new(10, 3), 9);
        for _ in 0..3 {
            assert_eq!(table.take(&"kit", 1, 0), Ok(()));
        }
        assert_eq!(table.take(&"kit", 1, 0), Err(Duration::from_millis(100)));
        assert_eq!(table.take(&"ada", 1, 0), Ok(()), "another has a burst of its own");
        assert_eq!(table.take(&"kit", 1, 99 * MS), Err(Duration::from_millis(1)));
        assert_eq!(table.take(&"kit", 1, 100 * MS), Ok(()));
        assert!(table.take(&"kit", 1, 100 * MS).is_err());
        // In the long run it is the rate, whatever is refused in between.
        let allowed = (100..10_100).filter(|ms| table.take(&"kit", 1, ms * MS).is_ok()).count();
        assert_eq!(allowed, 99);
    }

    #[test]
    fn nobody_is_locked_out_whatever_he_did_and_whatever_the_clock_does() {
        let mut table = Table::new(Rate::new(1000, 100), 9);
        for _ in 0..1_000_000 {
            table.charge(&"bad", 10, 7);
        }
        let wait = table.take(&"bad", 1, 7).unwrap_err();
        assert!(wait.as_nanos() <= u128::from(Rate::LONGEST), "{wait:?}");
        assert_eq!(table.take(&"bad", 1, 7 + Rate::LONGEST), Ok(()));
        // The clock was an hour ahead.
        let ahead = 3600 * SECOND;
        for _ in 0..100 {
            table.take(&"kit", 1, ahead).unwrap();
        }
        assert!(table.take(&"kit", 1, ahead).is_err());
        assert_eq!(table.take(&"kit", 1, 0), Ok(()));
        // A price that no burst covers is the whole burst.
        assert_eq!(Table::new(Rate::new(1, 2), 1).take(&"x", 5, 0), Ok(()));
    }

    #[test]
    fn a_hundred_thousand_strangers_fill_no_more_than_the_table() {
        let mut table = Table::new(Rate::new(1, 5), 1000);
        // One who floods, one who is busy and has some left.
        for _ in 0..5 {
            table.take(&u64::MAX, 1, 0).unwrap();
        }
        for _ in 0..3 {
            table.take(&(u64::MAX - 1), 1, 0).unwrap();
        }
        for stranger in 0..100_000 {
            assert_eq!(table.take(&stranger, 1, 0), Ok(()));
            assert!(table.len() <= 1000 && table.order.len() == table.whole.len(), "{}", table.len());
        }
        assert!(table.whole.capacity() <= 4000, "{}", table.whole.capacity());
        // Nobody of them pushed out what says more.
        assert!(table.take(&u64::MAX, 1, 0).is_err(), "who floods has not come clean");
        assert_eq!(table.take(&(u64::MAX - 1), 2, 0), Ok(()), "who is busy has what he had");
        assert!(table.take(&(u64::MAX - 1), 1, 0).is_err());
        // All are idle in the end, and go as others come.
        for late in 0..1000 {
            table.take(&((1 << 40) | (late % 2)), 1, 1000 * SECOND + late * 2 * SECOND).unwrap();
        }
        assert!(table.len() <= 2, "{}", table.len());
    }

    #[test]
    fn no_key_has_more_than_its_part() {
        let shares = Shares::new(64, 32);
        let of = |key: &'static str, many| (0..many).map_while(|_| shares.enter(&key)).collect::<Vec<_>>();
        let first = of("first", 99);
        assert_eq!(first.len(), 32);
        assert_eq!(of("second", 99).len(), 16, "up to three quarters of all");
        let second = of("second", 99);
        let third = of("third", 99);
        assert_eq!(third.len(), 4, "then a sixteenth");
        drop(second);
        assert_eq!(shares.held().taken, 36);
        drop((first, third));
        let held = shares.held();
        assert_eq!((held.taken, held.by.len()), (0, 0));
    }
}
