//! What stays shut. Custody yields the root key; the root key opens the ring of data keys; a data key protects each
//! record at its place. What leaves the vault for a session is sealed to that session's own key instead, so that no one
//! on the way reads it.
//!
//! - [`custody`]: where the root key comes from, and what is refused as its place
//! - [`at_rest`]: the ring; columns sealed to their place, rows bound to theirs
//! - [`backup`]: everything that the vault keeps, in one file that only the root key opens
//! - [`reply`]: a secret sealed to the session that asked for it

pub mod at_rest;
pub mod backup;
pub mod custody;
pub mod reply;
