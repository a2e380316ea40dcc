//! `nockvault/doctor_read`: whether this vault will be well tomorrow.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Body;

/// Asks what is not as it should be, or soon will not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DoctorRead {
    /// Whether the backend of each role is asked too if it could serve.
    pub probe: bool,
}

impl Body for DoctorRead {
    const TYP: &'static str = "nockvault/doctor_read";
}
