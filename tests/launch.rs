//! The launcher as people run it: a real vaultd, vault-agent, and children that show what they were given. What a child
//! has, what it has not, how it ends, what is left of it, and what happens while the vault is away.

#![cfg(all(feature = "daemon", feature = "launcher"))]
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test that cannot go on fails")]

mod programs;

#[path = "launch/away.rs"]
mod away;
#[path = "launch/beside.rs"]
mod beside;
#[path = "launch/child.rs"]
mod child;
#[path = "launch/hostile.rs"]
mod hostile;
#[path = "launch/keeping.rs"]
mod keeping;
#[path = "launch/keys.rs"]
mod keys;
#[path = "launch/stage.rs"]
mod stage;
