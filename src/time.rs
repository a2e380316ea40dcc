//! Time as the vault counts it: milliseconds since the Unix epoch for instants, whole seconds for durations.
//!
//! [`Clock`] is the only way to ask for the present, [`Stopwatch`] for how long something takes. Everything that decides takes `now` as an argument; only the
//! edge (the daemon, the client, a command line) holds a clock. [`ManualClock`] is for tests: its clones share one
//! hand, so that a test can step the time of a running vault, forwards and back.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An instant: milliseconds since the Unix epoch, UTC, without leap seconds (POSIX time).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

/// A duration in whole seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Seconds(pub u64);

impl Timestamp {
    /// The epoch itself; as a bound it means "before everything".
    pub const ZERO: Timestamp = Timestamp(0);

    /// The instant `span` later; stops at the end of time instead of wrapping.
    #[must_use]
    pub fn plus(self, span: Seconds) -> Timestamp {
        Timestamp(self.0.saturating_add(span.0.saturating_mul(1000)))
    }

    /// The instant `span` earlier, not before the epoch.
    #[must_use]
    pub fn minus(self, span: Seconds) -> Timestamp {
        Timestamp(self.0.saturating_sub(span.0.saturating_mul(1000)))
    }

    /// Whole seconds from `earlier` to here, rounded down; zero where `earlier` is not earlier.
    #[must_use]
    pub fn since(self, earlier: Timestamp) -> Seconds {
        Seconds(self.0.saturating_sub(earlier.0) / 1000)
    }

    /// Whole seconds since the epoch, rounded down: the unit of JWT claims.
    #[must_use]
    pub fn whole_seconds(self) -> u64 {
        self.0 / 1000
    }

    /// The instant that a text in RFC 3339 names, in any offset; none where it is no such text or before the epoch.
    #[must_use]
    pub fn from_rfc3339(text: &str) -> Option<Timestamp> {
        let instant: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(instant.as_millisecond()).ok().map(Timestamp)
    }

    /// The minute this instant lies in, counted from the epoch.
    #[must_use]
    pub fn minute(self) -> u64 {
        self.0 / 60_000
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds, for people; statements carry the number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instant = i64::try_from(self.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        match instant {
            Some(instant) => write!(f, "{instant:.3}"),
            None => write!(f, "{} ms", self.0),
        }
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            s if s != 0 && s.is_multiple_of(86_400) => write!(f, "{}d", s / 86_400),
            s if s != 0 && s.is_multiple_of(3600) => write!(f, "{}h", s / 3600),
            s if s != 0 && s.is_multiple_of(60) => write!(f, "{}m", s / 60),
            s => write!(f, "{s}s"),
        }
    }
}

impl std::str::FromStr for Seconds {
    type Err = String;

    /// Reads `90`, `90s`, `15m`, `1h`, `7d`, `1h30m`: whole seconds, units from large to small.
    fn from_str(text: &str) -> Result<Seconds, String> {
        let bad = || format!("{text:?} is not a duration; write for example 90s, 15m, 1h30m or 7d");
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Seconds).map_err(|_| bad());
        }
        let (mut total, mut rest, mut last_unit) = (0u64, text, u64::MAX);
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
            let count: u64 = rest[..digits].parse().map_err(|_| bad())?;
            let unit = match rest.as_bytes()[digits] {
                b'd' => 86_400,
                b'h' => 3600,
                b'm' => 60,
                b's' => 1,
                _ => return Err(bad()),
            };
            if unit >= last_unit {
                return Err(bad());
            }
            last_unit = unit;
            total = count.checked_mul(unit).and_then(|span| total.checked_add(span)).ok_or_else(bad)?;
            rest = &rest[digits + 1..];
        }
        if last_unit == u64::MAX { Err(bad()) } else { Ok(Seconds(total)) }
    }
}

/// Tells the present.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The instant at which it is asked.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one place where the machine's clock is read")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// A clock that stands until it is moved; clones share one hand.
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// A clock that shows `start`.
    #[must_use]
    pub fn at(start: Timestamp) -> ManualClock {
        ManualClock(Arc::new(AtomicU64::new(start.0)))
    }

    /// Puts the hand anywhere, also back.
    pub fn set(&self, to: Timestamp) {
        self.0.store(to.0, Ordering::SeqCst);
    }

    /// Moves the hand forward.
    pub fn advance(&self, span: Seconds) {
        self.0.fetch_add(span.0 * 1000, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// Counts on from its start, by a clock that nobody sets: for rates and spans, never for instants that are written down.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts to count.
    #[must_use]
    pub fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    /// Nanoseconds since the start.
    #[must_use]
    pub fn nanos(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("15m", 900), ("1h30m", 5400), ("7d", 604_800), ("0s", 0)] {
            assert_eq!(text.parse::<Seconds>().unwrap(), Seconds(seconds), "{text}");
        }
        for text in ["", "m", "15x", "1m1h", "1m1m", "-5s", "+5", "+5s", "1.5h", "99999999999999999999d", "15 m"] {
            assert!(text.parse::<Seconds>().is_err(), "{text:?} was taken");
        }
        assert_eq!(Seconds(5400).to_string(), "90m");
        assert_eq!(Seconds(86_400).to_string(), "1d");
        assert_eq!(Seconds(0).to_string(), "0s");
    }

    #[test]
    fn clones_of_a_manual_clock_share_one_hand() {
        let clock = ManualClock::at(Timestamp(5));
        let other = clock.clone();
        other.advance(Seconds(2));
        assert_eq!(clock.now(), Timestamp(2005));
        clock.set(Timestamp(1));
        assert_eq!(other.now(), Timestamp(1));
    }

    #[test]
    fn instants_print_as_rfc_3339() {
        assert_eq!(Timestamp(1_780_511_400_123).to_string(), "2026-06-03T18:30:00.123Z");
    }
}
