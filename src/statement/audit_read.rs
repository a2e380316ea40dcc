//! Reading chains: `nockvault/audit_list` says which there are, `nockvault/audit_read` reads a part of one,
//! `nockvault/audit_checkpoint` its newest checkpoint, and `nockvault/audit_prove` what shows one entry to a stranger.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Body;
use super::command::{Page, page_limit};
use crate::id::ChainName;

/// Asks for lines of one chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditRead {
    /// Which chain.
    pub chain: ChainName,
    /// The first entry's `seq`.
    pub from: u64,
    /// How many entries at most, 1 to 1000; fewer come where they would exceed a message.
    #[serde(deserialize_with = "page_limit")]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: u64,
}

impl Body for AuditRead {
    const TYP: &'static str = "nockvault/audit_read";
}

/// Lists the chains by name, each with its newest state: `_operators` and `_vault` among them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditList {
    /// Which part of the list.
    pub page: Page,
}

impl Body for AuditList {
    const TYP: &'static str = "nockvault/audit_list";
}

/// Asks for a chain's newest checkpoint, with what witnesses signed of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditCheckpoint {
    /// Which chain.
    pub chain: ChainName,
}

impl Body for AuditCheckpoint {
    const TYP: &'static str = "nockvault/audit_checkpoint";
}

/// Asks for one entry with its inclusion in the chain's newest checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditProve {
    /// Which chain.
    pub chain: ChainName,
    /// The entry's `seq`.
    pub seq: u64,
}

impl Body for AuditProve {
    const TYP: &'static str = "nockvault/audit_prove";
}
