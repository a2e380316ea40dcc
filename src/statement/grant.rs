//! Grants in commands: `nockvault/grant_create`, `grant_list`, `grant_revoke`, and the terms that a grant is given on.

use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::command::Page;
use super::{Body, nullable};
use crate::id::{AgentName, RoleName, Sid};
use crate::time::{Seconds, Timestamp};

/// Lets an agent have a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantCreate {
    /// Which agent.
    pub agent: AgentName,
    /// Which role.
    pub role: RoleName,
    /// On what terms.
    pub terms: Terms,
}

impl Body for GrantCreate {
    const TYP: &'static str = "nockvault/grant_create";
}

/// Lists grants by agent and role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantList {
    /// Only this agent's.
    #[serde(deserialize_with = "nullable")]
    pub agent: Option<AgentName>,
    /// Which part of the list.
    pub page: Page,
}

impl Body for GrantList {
    const TYP: &'static str = "nockvault/grant_list";
}

/// Takes a grant back and revokes the leases that live under it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantRevoke {
    /// Whose grant.
    pub agent: AgentName,
    /// Of which role.
    pub role: RoleName,
}

impl Body for GrantRevoke {
    const TYP: &'static str = "nockvault/grant_revoke";
}

/// What a grant allows. Nothing is clipped: a request beyond its terms is refused with the limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// The life a lease gets where none is asked for, in seconds.
    pub ttl: Seconds,
    /// The longest life of a lease with all its renewals, in seconds.
    pub max_ttl: Seconds,
    /// How many credentials in all; none means no such bound.
    #[serde(deserialize_with = "nullable")]
    pub max_uses: Option<u64>,
    /// When the grant ends; none means when it is revoked.
    #[serde(deserialize_with = "nullable")]
    pub until: Option<Timestamp>,
    /// Which sessions, by name; none means any.
    #[serde(deserialize_with = "nullable")]
    pub session: Option<SessionPattern>,
    /// From which networks (CIDR); empty means anywhere. A peer on a unix socket counts as loopback.
    #[schemars(with = "Vec<String>")]
    pub from: Vec<IpNet>,
    /// How many credentials in how much time; none means no such bound.
    #[serde(deserialize_with = "nullable")]
    pub rate: Option<Rate>,
}

impl Terms {
    /// Whether a peer at `address` is covered.
    #[must_use]
    pub fn cover_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.from.is_empty() || self.from.iter().any(|network| network.contains(&address))
    }

    /// Whether the terms make sense by themselves.
    ///
    /// # Errors
    /// A sentence that names the contradiction.
    pub fn consistent(&self) -> Result<(), String> {
        if self.ttl.0 == 0 || self.max_ttl < self.ttl {
            return Err("ttl is at least one second and at most max_ttl".into());
        }
        if self.max_uses == Some(0) {
            return Err("max_uses is at least 1; to forbid, revoke the grant".into());
        }
        match self.rate {
            Some(Rate { count, per }) if count == 0 || per.0 == 0 => Err("a rate is at least 1 in at least 1 s".into()),
            _ => Ok(()),
        }
    }
}

/// So many in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// How many.
    pub count: u64,
    /// In how many seconds.
    pub per: Seconds,
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.count, self.per)
    }
}

impl std::str::FromStr for Rate {
    type Err = String;

    /// Reads `10/m`, `5/s`, `100/h`, `3/10m`.
    fn from_str(text: &str) -> Result<Rate, String> {
        let bad = || format!("{text:?} is not a rate; write for example 10/m, 100/h or 3/10m");
        let (count, per) = text.split_once('/').filter(|(_, per)| !per.is_empty()).ok_or_else(bad)?;
        if !count.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(bad());
        }
        let per = if per.starts_with(|c: char| c.is_ascii_digit()) { per.to_owned() } else { format!("1{per}") };
        Ok(Rate { count: count.parse().map_err(|_| bad())?, per: per.parse().map_err(|_| bad())? })
    }
}

/// A session's name with `*` for any run of characters, also none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct SessionPattern(String);

impl SessionPattern {
    /// Whether a session of this name is covered.
    #[must_use]
    pub fn covers(&self, sid: &Sid) -> bool {
        let Some((head, rest)) = self.0.split_once('*') else { return self.0 == sid.as_str() };
        let Some(mut left) = sid.as_str().strip_prefix(head) else { return false };
        let mut parts: Vec<&str> = rest.split('*').collect();
        let tail = parts.pop().unwrap_or_default();
        for part in parts {
            let Some(at) = left.find(part) else { return false };
            left = &left[at + part.len()..];
        }
        left.ends_with(tail)
    }

    /// The pattern's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SessionPattern {
    type Error = &'static str;

    fn try_from(text: String) -> Result<SessionPattern, &'static str> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"._-*".contains(&b);
        if (1..=128).contains(&text.len()) && text.bytes().all(fits) {
            Ok(SessionPattern(text))
        } else {
            Err("a session pattern is 1 to 128 of A-Z a-z 0-9 . _ - and * for any run of them")
        }
    }
}

impl From<SessionPattern> for String {
    fn from(pattern: SessionPattern) -> String {
        pattern.0
    }
}

impl std::str::FromStr for SessionPattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<SessionPattern, &'static str> {
        text.to_owned().try_into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run() {
        let covers =
            |pattern: &str, sid: &str| pattern.parse::<SessionPattern>().unwrap().covers(&sid.parse().unwrap());
        for (pattern, sid) in
            [("nightly-*", "nightly-7"), ("*", "x"), ("a*b*c", "a1b2c"), ("x", "x"), ("n*", "n"), ("a*a", "aa")]
        {
            assert!(covers(pattern, sid), "{pattern} does not cover {sid}");
        }
        for (pattern, sid) in [("nightly-*", "night-7"), ("x", "xx"), ("a*b", "ac"), ("a*a", "a"), ("a*b*c", "acb")] {
            assert!(!covers(pattern, sid), "{pattern} covers {sid}");
        }
    }

    #[test]
    fn rates_read() {
        assert_eq!("10/m".parse::<Rate>().unwrap(), Rate { count: 10, per: Seconds(60) });
        assert_eq!("3/10m".parse::<Rate>().unwrap(), Rate { count: 3, per: Seconds(600) });
        for text in ["10/1m", "3/10m", "5/1s"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for bad in ["", "10", "/m", "x/m", "+1/m", "10/", "10/y"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pattern_has_a_length_and_letters() {
        let read = |text: &str| text.parse::<SessionPattern>().map(|pattern| pattern.as_str().to_owned());
        let longest = "a".repeat(128);
        assert_eq!((read("a._-*"), read(&longest)), (Ok("a._-*".to_owned()), Ok(longest.clone())));
        for bad in ["", "a b", "ä", &(longest + "a")] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn terms_do_not_contradict_themselves() {
        type Change = fn(&mut Terms);
        let with = |change: Change| {
            let mut terms = Terms {
                ttl: Seconds(60),
                max_ttl: Seconds(60),
                max_uses: Some(1),
                until: None,
                session: None,
                from: Vec::new(),
                rate: Some(Rate { count: 1, per: Seconds(1) }),
            };
            change(&mut terms);
            terms.consistent()
        };
        let good: [Change; 3] = [|_| {}, |terms| terms.ttl = Seconds(1), |terms| terms.rate = None];
        for change in good {
            assert_eq!(with(change), Ok(()));
        }
        let bad: [(Change, &str); 5] = [
            (|terms| terms.ttl = Seconds(0), "ttl"),
            (|terms| terms.max_ttl = Seconds(59), "ttl"),
            (|terms| terms.max_uses = Some(0), "max_uses"),
            (|terms| terms.rate = Some(Rate { count: 0, per: Seconds(1) }), "rate"),
            (|terms| terms.rate = Some(Rate { count: 1, per: Seconds(0) }), "rate"),
        ];
        for (change, of) in bad {
            assert!(with(change).is_err_and(|why| why.contains(of)), "{of}");
        }
    }
}
