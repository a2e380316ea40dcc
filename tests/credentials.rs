//! Credentials of every engine, from the operator's first command to the last trace: the real daemon, real servers, the
//! roles of `deploy/roles/` and the agents' own library. Each is issued, used, renewed where it can be, given back, taken
//! back and left to expire, and is worth nothing afterwards; what an agent asks in the wrong words makes nothing; and the
//! trail says all of it to somebody who trusts nobody.

#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod programs;

#[path = "credentials/hostile.rs"]
mod hostile;
#[path = "credentials/jwt.rs"]
mod jwt;
#[path = "credentials/kv.rs"]
mod kv;
#[path = "credentials/postgres.rs"]
mod postgres;
#[path = "postgres/server.rs"]
mod postgres_server;
#[path = "credentials/readme.rs"]
mod readme;
#[path = "credentials/ssh.rs"]
mod ssh;
#[path = "ssh/server.rs"]
mod ssh_server;
#[path = "credentials/stage.rs"]
mod stage;
#[path = "credentials/tls.rs"]
mod tls;
#[path = "credentials/x509.rs"]
mod x509;
