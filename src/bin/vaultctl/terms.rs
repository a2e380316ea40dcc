//! The words of a grant's terms, as commands and `vault.toml` take them.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::civil;
use jiff::tz::TimeZone;
use nockvault::time::Timestamp;

/// RFC 3339, or a date for the end of that day in UTC: the first instant that is no longer of it.
pub(crate) fn instant(text: &str) -> Result<Timestamp, String> {
    let bad = || format!("{text:?} is not a time; write 2026-12-31, or 2026-12-31T18:00:00Z");
    let at = match text.parse::<jiff::Timestamp>() {
        Ok(at) => at,
        Err(_) if text.len() == "2026-12-31".len() => {
            let day: civil::Date = text.parse().map_err(|_| bad())?;
            day.tomorrow().and_then(|next| next.to_zoned(TimeZone::UTC)).map_err(|_| bad())?.timestamp()
        }
        Err(_) => return Err(bad()),
    };
    u64::try_from(at.as_millisecond()).map(Timestamp).map_err(|_| bad())
}

/// A network in CIDR form, or one address.
pub(crate) fn network(text: &str) -> Result<IpNet, String> {
    let bad = || format!("{text:?} is not a network; write 10.0.0.0/8 or 10.1.2.3");
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| bad())?;
    let whole = network.trunc();
    if whole == network { Ok(network) } else { Err(format!("{text:?} has bits after its prefix; write {whole}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_means_the_end_of_its_day_in_utc() {
        assert_eq!(instant("2026-12-31").unwrap().to_string(), "2027-01-01T00:00:00.000Z");
        assert_eq!(instant("2026-12-31T18:00:00Z").unwrap().to_string(), "2026-12-31T18:00:00.000Z");
        assert_eq!(instant("2026-12-31T18:00:00+02:00").unwrap().to_string(), "2026-12-31T16:00:00.000Z");
        for bad in ["", "tomorrow", "2026-13-01", "2026-12-31T18:00:00", "1900-01-01", "31.12.2026"] {
            assert!(instant(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn networks_are_whole() {
        assert_eq!(network("10.0.0.0/8").unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(network("10.1.2.3").unwrap().to_string(), "10.1.2.3/32");
        assert_eq!(network("::1").unwrap().to_string(), "::1/128");
        assert!(network("10.1.0.0/8").unwrap_err().contains("write 10.0.0.0/8"));
        assert!(network("here").is_err());
    }
}
