//! Names in certificates: SPIFFE IDs and DNS names. Both are taken as they are or refused; nothing is folded, trimmed
//! or decoded, so that what a role allows and what a certificate says are the same bytes.

use crate::id::{AgentName, Sid};

/// The longest SPIFFE ID, in bytes.
const SPIFFE_MAX: usize = 2048;
/// The longest trust domain, in bytes.
const TRUST_DOMAIN_MAX: usize = 255;
/// The longest DNS name, in bytes without the root's dot.
const DNS_MAX: usize = 253;

/// The identity of a session, `spiffe://<trust domain>/agent/<agent>/session/<sid>`, by the rules of the SPIFFE ID
/// standard, sections 2.1 to 2.3.
pub(super) fn spiffe_id(trust_domain: &str, agent: &AgentName, sid: &Sid) -> Result<String, &'static str> {
    let id = format!("spiffe://{trust_domain}/agent/{agent}/session/{sid}");
    check_spiffe_id(&id).map(|()| id)
}

/// Whether this is a SPIFFE ID: the scheme, a trust domain and a path of non-empty segments, without port, user,
/// percent-encoding, query or fragment.
fn check_spiffe_id(id: &str) -> Result<(), &'static str> {
    if id.len() > SPIFFE_MAX {
        return Err("a SPIFFE ID has at most 2048 bytes");
    }
    let rest = id.strip_prefix("spiffe://").ok_or("a SPIFFE ID begins with spiffe://")?;
    let (domain, path) = rest.split_once('/').map_or((rest, None), |(domain, path)| (domain, Some(path)));
    check_trust_domain(domain)?;
    path.map_or(Ok(()), |path| path.split('/').try_for_each(check_segment))
}

fn check_segment(segment: &str) -> Result<(), &'static str> {
    if matches!(segment, "" | "." | "..") {
        return Err("a segment of a SPIFFE ID is neither empty nor . nor ..");
    }
    if !segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)) {
        return Err("a segment of a SPIFFE ID has only A-Z a-z 0-9 . - _");
    }
    Ok(())
}

/// Whether this is the name of a trust domain.
pub(super) fn check_trust_domain(name: &str) -> Result<(), &'static str> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    if name.is_empty() || name.len() > TRUST_DOMAIN_MAX || !name.bytes().all(fits) {
        return Err("a trust domain has 1 to 255 of a-z 0-9 . - _, as in prod.example.internal");
    }
    Ok(())
}

/// Whether this is a DNS name as certificates have it (RFC 5280 section 4.2.1.6, RFC 1123 section 2.1), in lower case
/// and without the root's dot. What a resolver would read as an address is none.
fn check_dns_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > DNS_MAX {
        return Err("a DNS name has 1 to 253 bytes");
    }
    if !name.split('.').all(is_label) {
        return Err(
            "a DNS name has labels of 1 to 63 of a-z 0-9 -, neither beginning nor ending with -, joined by dots; \
             names in other scripts are written in their xn-- form",
        );
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if hexadecimal || last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("this is read as an IP address, and is no DNS name");
    }
    Ok(())
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Whether this may stand in a role: a DNS name, or `*.` and one.
pub(super) fn check_dns_rule(rule: &str) -> Result<(), &'static str> {
    check_dns_name(rule.strip_prefix("*.").unwrap_or(rule))
}

/// Whether a role with these rules allows this name. A rule is the name itself, or `*.` and a suffix, which stands for
/// exactly one label before it. Such a label may not be of the `xn--` kind, which can look like another on a screen: a
/// role names those exactly. A name with a `*` of its own is allowed where `wildcards` are and the rule is the same.
pub(super) fn check_dns_allowed(rules: &[String], wildcards: bool, name: &str) -> Result<(), &'static str> {
    let named = rules.iter().any(|rule| rule == name);
    if let Some(suffix) = name.strip_prefix("*.") {
        check_dns_name(suffix)?;
        return match (wildcards, named) {
            (true, true) => Ok(()),
            (true, false) => Err("the role does not allow this name"),
            (false, _) => Err("the role gives no certificates for wildcards"),
        };
    }
    check_dns_name(name)?;
    let by_suffix = name.split_once('.').is_some_and(|(label, suffix)| {
        label.get(2..4) != Some("--") && rules.iter().any(|rule| rule.strip_prefix("*.") == Some(suffix))
    });
    if named || by_suffix { Ok(()) } else { Err("the role does not allow this name") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spiffe_ids_follow_the_rules_of_their_standard() {
        for good in [
            "spiffe://staging.example.com/payments/mysql",
            "spiffe://example.org",
            "spiffe://example.org/a",
            "spiffe://1.2.3.4/service",
            "spiffe://a_b-c.d/9eebccd2-12bf-40a6-b262-65fe0487d453",
            "spiffe://td/A/b.C_-/...",
            &format!("spiffe://{}/x", "d".repeat(255)),
            &format!("spiffe://td/{}", "x".repeat(2048 - 12)),
        ] {
            assert_eq!(check_spiffe_id(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "spiffe:",
            "spiffe:/td/a",
            "http://td/a",
            "SPIFFE://td/a",
            "spiffe://",
            "spiffe:///a",
            "spiffe://TD/a",
            "spiffe://td:80/a",
            "spiffe://user@td/a",
            "spiffe://td%20/a",
            "spiffe://td/",
            "spiffe://td//a",
            "spiffe://td/a/",
            "spiffe://td/./a",
            "spiffe://td/a/..",
            "spiffe://td/a%2fb",
            "spiffe://td/a b",
            "spiffe://td/a?q",
            "spiffe://td/a#f",
            "spiffe://td/a\n",
            "spiffe://td/a\0",
            "spiffe://td/ä",
            "spiffe://тd/a",
            "spiffe://[::1]/a",
            "spiffe://td/a~b",
            &format!("spiffe://{}/x", "d".repeat(256)),
            &format!("spiffe://td/{}", "x".repeat(2049 - 12)),
        ] {
            assert!(check_spiffe_id(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_agent_and_session_name_fits_a_spiffe_id() {
        let (agent, sid) = ("9.-".parse().unwrap(), "A..-_z".parse().unwrap());
        let id = spiffe_id("prod.example", &agent, &sid).unwrap();
        assert_eq!(id, "spiffe://prod.example/agent/9.-/session/A..-_z");
        for dots in [".", ".."] {
            assert!(dots.parse::<AgentName>().is_err() && dots.parse::<Sid>().is_err());
        }
        let longest = ("a".repeat(63).parse().unwrap(), "s".repeat(128).parse().unwrap());
        assert!(spiffe_id(&"d".repeat(255), &longest.0, &longest.1).is_ok());
        assert!(spiffe_id("Prod", &agent, &sid).is_err());
    }

    #[test]
    fn dns_names_are_plain_or_refused() {
        let longest = format!("{}.{}", ["a".repeat(61).as_str(); 4].join("."), "b".repeat(5));
        assert_eq!(longest.len(), 253);
        for good in ["db", "db.example.internal", "a-b.c", "4.example", "xn--4ca.example", "x.0xg", "x.0y1", &longest] {
            assert_eq!(check_dns_name(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "A.b",
            "-a.b",
            "a-.b",
            "a_b.c",
            "a b",
            "a\0.b",
            "a.b\n",
            "a/b",
            "a:80",
            "*",
            "*.a",
            "a.*",
            "ä.b",
            "exаmple.org",
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "a.0x",
            "::1",
            "[::1]",
            &"a".repeat(64),
            &format!("{longest}x"),
            &"a.".repeat(500_000),
        ] {
            assert!(check_dns_name(bad).is_err(), "{:?}", bad.get(..bad.len().min(40)));
        }
    }

    #[test]
    fn a_suffix_stands_for_one_label_and_a_wildcard_must_be_allowed() {
        let rules: Vec<String> = ["db.example", "*.svc.example", "xn--4ca.example"].map(String::from).into();
        for good in ["db.example", "a.svc.example", "xn--4ca.example"] {
            assert_eq!(check_dns_allowed(&rules, false, good), Ok(()), "{good}");
        }
        for bad in [
            "svc.example",
            "a.b.svc.example",
            "evil-svc.example",
            "a.svc.example.org",
            "xdb.example",
            "xn--pple-43d.svc.example",
            "*.svc.example",
            "*.db.example",
        ] {
            assert!(check_dns_allowed(&rules, false, bad).is_err(), "{bad}");
        }
        assert_eq!(check_dns_allowed(&rules, true, "*.svc.example"), Ok(()));
        for bad in ["*.example", "*.db.example", "*", "*.*.example", "a*.svc.example"] {
            assert!(check_dns_allowed(&rules, true, bad).is_err(), "{bad}");
        }
    }
}
