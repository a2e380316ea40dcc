//! Backups: `nockvault/backup`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Body;

/// Asks for a copy of everything that the vault keeps, as it is at one instant behind this command, encrypted so that only
/// the root key opens it. A vault that is restored from it names this command in every chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Backup {}

impl Body for Backup {
    const TYP: &'static str = "nockvault/backup";
}
