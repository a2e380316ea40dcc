//! Emergencies beyond one agent: `nockvault/vault_freeze`, `vault_thaw`, `role_freeze`, `role_thaw`. An agent is frozen by
//! a command of its own, see [`super::agent`]. A session is not frozen but ended, by a `nockvault/lease_revoke` of its
//! scope: it belongs to one process, and its name is never used again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Body;
use super::issue::Purpose;
use crate::id::RoleName;

/// Freezes everything: until it is thawed no request of any agent is carried out, and every lease is revoked. Operators go
/// on commanding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultFreeze {
    /// Why, for whoever reads the trail; at most 256 bytes of UTF-8.
    pub reason: Purpose,
}

impl Body for VaultFreeze {
    const TYP: &'static str = "nockvault/vault_freeze";
}

/// Lets agents act again. What was revoked stays revoked, and what is frozen by itself stays frozen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VaultThaw {}

impl Body for VaultThaw {
    const TYP: &'static str = "nockvault/vault_thaw";
}

/// Freezes a role: until it is thawed nobody gets a credential of it or has one prolonged, and every lease of it is
/// revoked. Its grants stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleFreeze {
    /// Why, for whoever reads the trail; at most 256 bytes of UTF-8.
    pub reason: Purpose,
    /// Which role.
    pub role: RoleName,
}

impl Body for RoleFreeze {
    const TYP: &'static str = "nockvault/role_freeze";
}

/// Lets a frozen role be issued again. What was revoked stays revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleThaw {
    /// Which role.
    pub role: RoleName,
}

impl Body for RoleThaw {
    const TYP: &'static str = "nockvault/role_thaw";
}
