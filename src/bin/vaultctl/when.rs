//! Times as people write them: an instant, a day, or how long ago.

use jiff::civil;
use jiff::tz::TimeZone;
use nockvault::time::{Clock as _, Seconds, SystemClock, Timestamp};

/// A time, or how long ago it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    At(Timestamp),
    Ago(Seconds),
}

impl When {
    pub(crate) fn at(self) -> Timestamp {
        match self {
            When::At(at) => at,
            When::Ago(ago) => SystemClock.now().minus(ago),
        }
    }
}

/// A day is its beginning.
pub(crate) fn since(text: &str) -> Result<When, String> {
    when(text, false)
}

/// A day is its end: the first instant that is no longer of it.
pub(crate) fn until(text: &str) -> Result<When, String> {
    when(text, true)
}

fn when(text: &str, end: bool) -> Result<When, String> {
    let bad =
        || format!("{text:?} is no time; write 2026-06-30, 2026-06-30T18:00:00Z, or how long ago, such as 90m or 7d");
    let millis = |at: jiff::Timestamp| u64::try_from(at.as_millisecond()).map(Timestamp).map_err(|_| bad());
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return millis(at).map(When::At);
    }
    if let Ok(day) = text.parse::<civil::Date>().and_then(|day| if end { day.tomorrow() } else { Ok(day) }) {
        return millis(day.to_zoned(TimeZone::UTC).map_err(|_| bad())?.timestamp()).map(When::At);
    }
    // A bare number could be seconds or a year.
    match text.parse::<Seconds>() {
        Ok(ago) if text.ends_with(|last: char| last.is_ascii_alphabetic()) => Ok(When::Ago(ago)),
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_an_instant_a_day_or_so_long_ago() {
        let at = |text: &str, end| match when(text, end).unwrap() {
            When::At(at) => at.to_string(),
            When::Ago(ago) => ago.to_string(),
        };
        assert_eq!(at("2026-06-30", false), "2026-06-30T00:00:00.000Z");
        assert_eq!(at("2026-06-30", true), "2026-07-01T00:00:00.000Z");
        assert_eq!(at("2026-06-30T18:00:00+02:00", true), "2026-06-30T16:00:00.000Z");
        assert_eq!((at("90m", false), at("7d", true)), ("90m".into(), "7d".into()));
        for bad in ["", "yesterday", "2026", "2026-13-01", "1h2h", "1900-01-01"] {
            assert!(when(bad, false).is_err(), "{bad:?}");
        }
    }
}
