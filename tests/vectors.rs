//! The published test vectors, run through the vault's own functions. Sources and licences are in
//! `tests/vectors/README.md`.
//!
//! `NOCKVAULT_VECTORS=FOLDER` runs another set of the same layout instead of the committed one. Of the committed set
//! every kind must be there; another set may hold fewer kinds, and what it lacks is said on standard error. In both, a
//! file that gives no vector fails the test.
//!
//! Beside each vector stands its change: a vector that holds must fail once a bit of it is flipped, so that no check
//! passes by looking away.

#![allow(clippy::unwrap_used, reason = "a test stops where what it stands on is not there")]

#[path = "vectors/canonical.rs"]
mod canonical;
#[path = "vectors/ed25519.rs"]
mod ed25519;
#[path = "vectors/folder.rs"]
mod folder;
#[path = "vectors/notes.rs"]
mod notes;
#[path = "vectors/sealing.rs"]
mod sealing;
#[path = "vectors/trees.rs"]
mod trees;
