//! What follows the commits: the mirror is what the store has, across kills and rotations; a syslog and a collector get
//! every entry; one that hangs or is dead holds up nobody, is visible, and gets what it missed when it is back.

#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod programs;
mod support;

#[path = "follow/collector.rs"]
mod collector;
#[path = "follow/daemon.rs"]
mod daemon;
#[path = "follow/many.rs"]
mod many;
#[path = "follow/rotated.rs"]
mod rotated;
#[path = "follow/stage.rs"]
mod stage;
#[path = "follow/syslog.rs"]
mod syslog;
