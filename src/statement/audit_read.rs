//! `nockvault/audit_read`: reads a part of a chain.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Body;
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
    pub limit: u64,
}

impl Body for AuditRead {
    const TYP: &'static str = "nockvault/audit_read";
}
