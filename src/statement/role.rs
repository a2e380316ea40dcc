//! Roles in commands: `nockvault/role_create`, `role_check`, `role_rotate`, `role_list`, `role_show`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Body;
use super::command::Page;
use crate::id::RoleName;

/// Creates a role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleCreate {
    /// Its name, never used again.
    pub role: RoleName,
    /// The engine that mints for it.
    pub engine: String,
    /// The engine's configuration, as its schema says.
    pub config: Map<String, Value>,
}

impl Body for RoleCreate {
    const TYP: &'static str = "nockvault/role_create";
}

/// Asks whether a role of this configuration could be served. Nothing is created.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleCheck {
    /// The engine that would mint for it.
    pub engine: String,
    /// The engine's configuration, as its schema says.
    pub config: Map<String, Value>,
}

impl Body for RoleCheck {
    const TYP: &'static str = "nockvault/role_check";
}

/// Exchanges the password by which the vault is let in at a role's backend for one that the vault draws.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleRotate {
    /// Which role.
    pub role: RoleName,
}

impl Body for RoleRotate {
    const TYP: &'static str = "nockvault/role_rotate";
}

/// Lists roles by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleList {
    /// Which part of the list.
    pub page: Page,
}

impl Body for RoleList {
    const TYP: &'static str = "nockvault/role_list";
}

/// Shows one role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleShow {
    /// Which role.
    pub role: RoleName,
}

impl Body for RoleShow {
    const TYP: &'static str = "nockvault/role_show";
}
