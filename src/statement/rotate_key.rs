//! `nockvault/rotate_key`: an agent puts its next key in place of the present one. The request is signed by the newest
//! key; the register statement inside it by the new one, so that both agree.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Body;
use crate::crypto::envelope::Embedded;

/// The successor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateKey {
    /// A register envelope for kver + 1 whose `prev` is the signing key.
    pub new: Embedded,
}

impl Body for RotateKey {
    const TYP: &'static str = "nockvault/rotate_key";
}
