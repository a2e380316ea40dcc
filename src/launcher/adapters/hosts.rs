//! Which credential belongs to which host, as the user wrote it down: `[USER@]HOST[:PORT][/PATH]=ROLE`. What is not
//! written down is not ours to answer, and nothing is guessed: a host is matched whole, never by its ending.

use std::fmt;
use std::str::FromStr;

use crate::id::RoleName;

/// A host, or a part of it, and the role whose credential opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    user: Option<String>,
    host: String,
    path: Vec<String>,
    role: RoleName,
}

impl Place {
    /// The role.
    #[must_use]
    pub fn role(&self) -> &RoleName {
        &self.role
    }

    /// The user name that was written before the host.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The host with its port, where it has one.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    fn covers(&self, host: &str, path: &[&str]) -> bool {
        self.host == host
            && path.len() >= self.path.len()
            && self.path.iter().zip(path).all(|(own, asked)| own == asked)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        self.path.iter().try_for_each(|part| write!(f, "/{part}"))
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Place, String> {
        let bad = |why: &str| format!("{text:?} is not [USER@]HOST[:PORT][/PATH]=ROLE: {why}");
        let (place, role) = text.split_once('=').ok_or_else(|| bad("it has no ="))?;
        let role = role.parse().map_err(|why| bad(&format!("{why}")))?;
        let place = place.strip_prefix("https://").unwrap_or(place);
        let (host, path) = place.split_once('/').unwrap_or((place, ""));
        let (user, host) = match host.rsplit_once('@') {
            Some((user, host)) => (Some(user.to_owned()), host),
            None => (None, host),
        };
        let host_fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte);
        if host.is_empty() || !host.bytes().all(host_fits) {
            return Err(bad("the host"));
        }
        if user.as_ref().is_some_and(|user| user.is_empty() || user.chars().any(char::is_control)) {
            return Err(bad("the user"));
        }
        Ok(Place { user, host: normal(host), path: parts(path).into_iter().map(str::to_owned).collect(), role })
    }
}

/// A host as it is compared: in lower case, without the port that https has anyway.
fn normal(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    host.strip_suffix(":443").map(str::to_owned).unwrap_or(host)
}

fn parts(path: &str) -> Vec<&str> {
    path.split('/').filter(|part| !part.is_empty()).collect()
}

/// The places that are written down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts(Vec<Place>);

impl From<Vec<Place>> for Hosts {
    fn from(places: Vec<Place>) -> Hosts {
        Hosts(places)
    }
}

impl Hosts {
    /// The places in a text of one a line; lines that begin with `#` and empty ones say nothing.
    ///
    /// # Errors
    /// The line that is none.
    pub fn read(text: &str) -> Result<Hosts, String> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(str::parse).collect::<Result<Vec<Place>, _>>().map(Hosts)
    }

    /// The one that says most of this host and path.
    #[must_use]
    pub fn find(&self, host: &str, path: &str) -> Option<&Place> {
        let (host, path) = (normal(host), parts(path));
        // A path that climbs could seem to lie where it does not.
        if path.iter().any(|part| *part == "." || *part == "..") {
            return None;
        }
        self.0.iter().filter(|place| place.covers(&host, &path)).max_by_key(|place| place.path.len())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Place> {
        self.0.iter()
    }
}

/// Whether a host with or without its port is this machine. Only a name that never leaves it is taken for that.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(name, _)| name),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(lines: &str) -> Hosts {
        Hosts::read(lines).unwrap()
    }

    #[test]
    fn the_place_that_says_most_is_found_and_nothing_by_its_ending() {
        let hosts =
            hosts("# ours\n\ngit.example=a\ngit.example/team=b\nbot@git.example/team/inner/=c\nGit.Example:8443=d\n");
        let role = |host: &str, path: &str| hosts.find(host, path).map(|place| place.role().to_string());
        assert_eq!(role("git.example", "").as_deref(), Some("a"));
        assert_eq!(role("GIT.example:443", "other/x.git").as_deref(), Some("a"));
        assert_eq!(role("git.example", "team/x.git").as_deref(), Some("b"));
        assert_eq!(role("git.example", "teammate/x.git").as_deref(), Some("a"));
        assert_eq!(role("git.example", "team/inner").as_deref(), Some("c"));
        assert_eq!(hosts.find("git.example", "team/inner").unwrap().user(), Some("bot"));
        assert_eq!(role("git.example:8443", "").as_deref(), Some("d"));
        for (host, path) in [
            ("evil.git.example", ""),
            ("git.example.evil", ""),
            ("git.example:80", ""),
            ("", ""),
            ("git.example", "../team/x"),
        ] {
            assert_eq!(role(host, path), None, "{host} {path}");
        }
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in ["git.example", "=a", "git example=a", "git.example=A B", "@git.example=a", "git.example?x=a"] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
        assert_eq!("https://git.example/team=a".parse::<Place>().unwrap().to_string(), "git.example/team");
    }

    #[test]
    fn only_this_machine_is_this_machine() {
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1", "127.0.0.1:8080", "127.9.9.9", "[::1]", "[::1]:80"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in
            ["", "localhost.evil", "127.0.0.1.evil:80", "10.0.0.1", "[::2]:80", "0.0.0.0", "evil:127.0.0.1", "::1"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
