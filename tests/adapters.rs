//! Tools that have never heard of NockVault get their credentials: git, docker, the AWS CLI, kubectl, psql, curl, each as
//! it is, against a small server that looks at what it was shown. Behind them stand a real vaultd, and vault-agent with
//! the agent's own key or below a launcher's socket.

#![cfg(all(feature = "daemon", feature = "launcher"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod programs;

#[path = "adapters/aws.rs"]
mod aws;
#[path = "adapters/docker.rs"]
mod docker;
#[path = "adapters/git.rs"]
mod git;
#[path = "adapters/kube.rs"]
mod kube;
#[path = "adapters/loopback.rs"]
mod loopback;
#[path = "adapters/plain.rs"]
mod plain;
#[path = "postgres/server.rs"]
mod postgres_server;
#[path = "adapters/psql.rs"]
mod psql;
#[path = "adapters/socket.rs"]
mod socket;
#[path = "adapters/stage.rs"]
mod stage;
