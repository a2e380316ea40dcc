//! What a sink must know of a line to send it on. The rest of the line is not looked at: the store has verified what it
//! wrote, and whoever receives a line verifies it himself.

use serde::Deserialize;

use crate::crypto::hash::Digest;

/// The members of an entry that a sink names.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Facts {
    /// The leaf of the entry before it.
    pub(super) prev: Digest,
    /// Its place in its chain.
    pub(super) seq: u64,
}

impl Facts {
    /// The facts of a line; none where it is not one.
    pub(super) fn of(line: &[u8]) -> Option<Facts> {
        serde_json::from_slice(line).ok()
    }
}
