//! The daemon is killed (SIGKILL) at every step of what it does at a backend, with the backend up and with it down.
//! After the next start, in bounded time: no role is left at the server but those of live leases, no lease is lost, the
//! same bytes are not taken twice, and every chain verifies and tells what happened.

#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod programs;
#[path = "postgres/server.rs"]
mod server;

#[path = "killed/ends.rs"]
mod ends;
#[path = "killed/issue.rs"]
mod issue;
#[path = "killed/load.rs"]
mod load;
#[path = "killed/rotation.rs"]
mod rotation;
#[path = "killed/stage.rs"]
mod stage;
