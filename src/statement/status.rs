//! `nockvault/status_read`: how the vault is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Body;

/// Asks for the vault's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatusRead {}

impl Body for StatusRead {
    const TYP: &'static str = "nockvault/status_read";
}
