//! Covers. [`reply`] seals a secret to the session that asked for it, so that no one on the way reads it.

pub mod reply;
