//! The verbs of the store, held to their guarantees. The one store there is runs on SQLite; what is said of verbs here
//! holds for any. Every chain that a test leaves behind must verify from public keys alone.
#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod bounds;
mod checkpoints;
mod files;
mod forged;
mod kept;
mod listed;
mod orders;
mod requests;
mod rings;
mod successors;
mod world;
