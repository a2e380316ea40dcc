//! What a sink must know of a line to send it on. The rest of the line is not looked at: the store has verified what it
//! wrote, and whoever receives a line verifies it himself.

use serde::Deserialize;

use crate::crypto::hash::{Digest, leaf};
use crate::store::Lines;
use crate::time::Timestamp;

/// The members of an entry that a sink names.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Facts {
    /// What it says.
    pub(super) kind: String,
    /// The leaf of the entry before it.
    pub(super) prev: Digest,
    /// Its place in its chain.
    pub(super) seq: u64,
    /// When.
    pub(super) ts: Timestamp,
}

impl Facts {
    /// The facts of a line; none where it is not one.
    pub(super) fn of(line: &[u8]) -> Option<Facts> {
        serde_json::from_slice(line).ok()
    }
}

/// Whether these lines, and the chain's newest state, follow on the entry before `seq`, whose leaf is `leaf`.
pub(super) fn follows(lines: &Lines, seq: u64, leaf: Digest) -> bool {
    let head = &lines.head;
    let first = lines.lines.first().map(|line| Facts::of(line));
    match first {
        Some(Some(facts)) => facts.prev == leaf && facts.seq == seq,
        Some(None) => false,
        None => head.size == seq && head.head == leaf,
    }
}

/// How much an entry is worth somebody's attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    /// The ordinary course.
    Info,
    /// What an operator decided, and what daemons do.
    Notice,
    /// Something was refused, found or put back.
    Warning,
}

impl Severity {
    /// The severity of a kind of entry; a kind that is not known here is worth a look.
    pub(super) fn of(kind: &str) -> Severity {
        match kind {
            "session" | "issue" | "renew" | "release" | "close" | "expire" | "undone" | "session_end"
            | "checkpoint" | "epoch" => Severity::Info,
            "deny" | "deny_summary" | "refused" | "undelivered" | "swept" | "forget" | "recover" | "restore"
            | "clock_reset" | "custody_operator" => Severity::Warning,
            _ => Severity::Notice,
        }
    }
}

/// A line and what is known of it.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) facts: Facts,
    pub(super) leaf: Digest,
    pub(super) line: &'a [u8],
}

impl<'a> Entry<'a> {
    /// The entries of these lines; none where one is no line.
    pub(super) fn all(lines: &'a [Vec<u8>]) -> Option<Vec<Entry<'a>>> {
        lines.iter().map(|line| Some(Entry { facts: Facts::of(line)?, leaf: leaf(line), line })).collect()
    }
}
