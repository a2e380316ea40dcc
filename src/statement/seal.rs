//! `nockvault/vault_seal`: the end of serving until somebody unseals. What unseals is no statement: a sealed vault can check
//! no signature.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Body;
use super::issue::Purpose;

/// Seals the vault: the requests in hand are ended, every key leaves memory, and every request is answered `sealed`, over
/// restarts too, until somebody unseals. Leases stay as they are; what expires meanwhile at a backend by itself does so,
/// and the rest is taken back after unsealing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultSeal {
    /// Why, for whoever reads the trail; at most 256 bytes of UTF-8.
    pub reason: Purpose,
}

impl Body for VaultSeal {
    const TYP: &'static str = "nockvault/vault_seal";
}
