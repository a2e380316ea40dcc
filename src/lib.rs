//! NockVault gives AI agents credentials that cannot be stolen in advance: an agent's signed request becomes a sealed,
//! short-lived secret, with an entry in that agent's own audit chain behind it.
//!
//! # Layout
//!
//! Imports run one way, from the bottom of this list upwards.
//!
//! - ground: [`time`], [`entropy`], [`secret`], [`mod@base64url`], [`id`], [`denial`]
//! - [`crypto`]: hash, signature, canonical JSON, envelope, aead, hpke; it alone names the crates behind them
//! - `wire`: the generated gRPC code and the way between it and the types of the house
//! - [`manual`]: prose only: the house, threats, formats, crash order, operations

pub mod base64url;
pub mod crypto;
pub mod denial;
pub mod entropy;
pub mod id;
pub mod manual;
pub mod secret;
pub mod time;
#[cfg(feature = "wire")]
pub mod wire;
