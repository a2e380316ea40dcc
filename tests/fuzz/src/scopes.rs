//! What a grant covers: sessions and networks; and the paths that a rule of the launcher's proxy allows.

use std::net::IpAddr;

use nockvault::id::Sid;
use nockvault::statement::grant::{SessionPattern, Terms};
use nockvault::time::Seconds;

use super::path::{Pattern, Plain};

/// A pattern and the name of a session, a line each; then a network and an address.
pub(super) fn scope(data: &[u8]) -> bool {
    let Some(text) = super::text(data) else { return false };
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let (pattern, sid, network, address) = (line(), line(), line(), line());
    let mut taken = false;
    if let (Ok(pattern), Ok(sid)) = (pattern.parse::<SessionPattern>(), sid.parse::<Sid>()) {
        let plainly = covers(pattern.as_str().as_bytes(), sid.as_str().as_bytes());
        assert_eq!(pattern.covers(&sid), plainly, "a pattern covers otherwise than it reads");
        taken = true;
    }
    if let (Ok(network), Ok(address)) = (network.parse(), address.parse::<IpAddr>()) {
        let terms = Terms {
            ttl: Seconds(1),
            max_ttl: Seconds(1),
            max_uses: None,
            until: None,
            session: None,
            from: vec![network],
            rate: None,
        };
        let inside = |address: IpAddr| match (network.trunc(), address) {
            (ipnet::IpNet::V4(net), IpAddr::V4(ip)) => within(&net.addr().octets(), &ip.octets(), net.prefix_len()),
            (ipnet::IpNet::V6(net), IpAddr::V6(ip)) => within(&net.addr().octets(), &ip.octets(), net.prefix_len()),
            _ => false,
        };
        assert_eq!(terms.cover_address(address), inside(address.to_canonical()), "a network covers otherwise");
        assert!(terms.consistent().is_ok());
        taken = true;
    }
    taken
}

/// The same by the book: each star is tried for every run.
fn covers(pattern: &[u8], sid: &[u8]) -> bool {
    let mut reach = vec![false; sid.len() + 1];
    reach[0] = true;
    for letter in pattern {
        if *letter == b'*' {
            let first = reach.iter().position(|at| *at).unwrap_or(reach.len());
            reach[first..].fill(true);
        } else {
            for at in (0..sid.len()).rev() {
                reach[at + 1] = reach[at] && sid[at] == *letter;
            }
            reach[0] = false;
        }
    }
    reach[sid.len()]
}

fn within(net: &[u8], ip: &[u8], bits: u8) -> bool {
    (0..usize::from(bits)).all(|bit| (net[bit / 8] ^ ip[bit / 8]) & (0x80 >> (bit % 8)) == 0)
}

/// A pattern and a path, a line each. What is allowed lies below the pattern, however it is read.
pub(super) fn path(data: &[u8]) -> bool {
    let Some(text) = super::text(data) else { return false };
    let (pattern, path) = text.split_once('\n').unwrap_or(("/*", text));
    let (pattern, plain) = (Pattern::read(pattern), Plain::read(path));
    if let Err(why) = &pattern {
        super::told(why);
    }
    let (Ok(pattern), Ok(plain)) = (pattern, plain) else { return false };
    let allowed = pattern.allows(&plain);
    // A pattern without a star is the path itself, decoded.
    let Ok(Pattern::Exact(decoded)) = Pattern::read(path) else { return true };
    assert!(
        decoded.starts_with('/') && !decoded.contains(['\\', '\0', '%']),
        "a path was taken that reads in two ways"
    );
    for segment in decoded[1..].split('/') {
        let bare = segment.split(';').next().unwrap_or_default().trim_end();
        assert!(bare != "." && bare != "..", "a path climbs");
    }
    match &pattern {
        Pattern::Exact(exact) => assert_eq!(allowed, *exact == decoded),
        Pattern::Below(folder) => assert!(folder.ends_with('/') && allowed == decoded.starts_with(folder.as_str())),
    }
    true
}
