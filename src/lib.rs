//! NockVault gives AI agents credentials that cannot be stolen in advance: an agent's signed request becomes a sealed,
//! short-lived secret, with an entry in that agent's own audit chain behind it.
//!
//! # Layout
//!
//! Imports run one way, from the bottom of this list upwards.
//!
//! - ground: [`time`], [`entropy`], [`secret`], [`mod@base64url`], [`id`], [`denial`], and `failpoint`, for tests alone
//! - [`crypto`]: hash, signature, canonical JSON, envelope, aead, hpke; it alone names the crates behind them
//! - [`statement`]: what agents, operators and the vault sign, one type for each `typ`
//! - `rate`: how often something may happen, for many keys in bounded room
//! - [`registry`], [`grant`], [`lease`]: who may speak, what may be had, what was handed out
//! - [`authn`], [`authz`]: from a signed envelope to an authenticated statement, from there to a permit or a denial
//! - [`seal`]: custody of the root key, the ring of data keys, records and replies bound to their place
//! - `engine`: what makes credentials, and takes them away: `kv`, `jwt`, `ssh`, `x509`, `postgres`; `ca` is what the
//!   engines of certificates share
//! - `telemetry`, `config`: names of logs and metrics; the daemon's file, strict, every limit with a unit and a default
//! - [`audit`]: entries and chains, and their verification from public keys alone
//! - `store`: what is durable: the domain's verbs, each one transaction
//! - `follow`: what follows the commits and carries them outside: files, syslog, OpenTelemetry
//! - `vault`: the flow: from signed envelopes to outcomes, in the order of checks of the protocol
//! - `wire`: the generated gRPC code and the way between it and the types of the house
//! - `server`: listeners, TLS, limits, drain; the thin services of agents and operators; the table from reason to status
//! - `client`: what agents and operators call: sign, send, believe only what the vault signed, open
//! - `launcher`: what `vault-agent` does: hold the agent's key, run its child, serve credentials where tools expect them
//! - [`manual`]: prose only: the house, threats, formats, crash order, running it

pub mod audit;
pub mod authn;
pub mod authz;
pub mod base64url;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "daemon")]
pub mod config;
pub mod crypto;
pub mod denial;
#[cfg(feature = "daemon")]
pub mod engine;
pub mod entropy;
#[cfg(feature = "daemon")]
pub(crate) mod failpoint;
#[cfg(feature = "daemon")]
pub mod follow;
pub mod grant;
pub mod id;
#[cfg(feature = "launcher")]
pub mod launcher;
pub mod lease;
pub mod manual;
#[cfg(feature = "daemon")]
pub mod rate;
pub mod registry;
pub mod seal;
pub mod secret;
#[cfg(feature = "daemon")]
pub mod server;
pub mod statement;
#[cfg(feature = "daemon")]
pub mod store;
#[cfg(feature = "daemon")]
pub mod telemetry;
pub mod time;
#[cfg(feature = "daemon")]
pub mod vault;
#[cfg(feature = "wire")]
pub mod wire;
