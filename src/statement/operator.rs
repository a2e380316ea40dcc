//! Operators in commands: `nockvault/operator_register`, `operator_duty`, `operator_key_end`, `operator_rotate`,
//! `operator_list`, `operator_show`; and what an operator may do, its [`Duty`].

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Body, nullable, present};
use crate::crypto::envelope::Embedded;
use crate::id::{Kid, OperatorName, RoleName};
use crate::time::Timestamp;

/// What an operator may do. Which commands each duty allows stands in one table, [`crate::authz::operator::TABLE`].
///
/// On paper it is `{"name":"admin"}`, or `{"name":"grantor","roles":["orders-read"]}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Members", into = "Members")]
pub enum Duty {
    /// Everything.
    Admin,
    /// Gives and takes back grants of these roles, and registers new agents. Reads.
    Grantor {
        /// The roles; at least one, at most [`Duty::MOST_ROLES`].
        roles: BTreeSet<RoleName>,
    },
    /// Reads, and changes nothing.
    Auditor,
    /// Freezes and takes back, and gives nothing. Reads.
    Responder,
}

/// The words for duties.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DutyName {
    /// [`Duty::Admin`].
    Admin,
    /// [`Duty::Grantor`].
    Grantor,
    /// [`Duty::Auditor`].
    Auditor,
    /// [`Duty::Responder`].
    Responder,
}

impl DutyName {
    /// Every duty there is.
    pub const ALL: [DutyName; 4] = [DutyName::Admin, DutyName::Grantor, DutyName::Auditor, DutyName::Responder];

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            DutyName::Admin => "admin",
            DutyName::Grantor => "grantor",
            DutyName::Auditor => "auditor",
            DutyName::Responder => "responder",
        }
    }
}

impl Duty {
    /// The most roles that a grantor is named.
    pub const MOST_ROLES: usize = 200;

    /// Its word.
    #[must_use]
    pub fn name(&self) -> DutyName {
        match self {
            Duty::Admin => DutyName::Admin,
            Duty::Grantor { .. } => DutyName::Grantor,
            Duty::Auditor => DutyName::Auditor,
            Duty::Responder => DutyName::Responder,
        }
    }
}

impl std::fmt::Display for Duty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name().as_str())
    }
}

/// The members as they stand on paper.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Members {
    name: DutyName,
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "present")]
    #[schemars(with = "BTreeSet<RoleName>", length(min = 1, max = 200))]
    roles: Option<BTreeSet<RoleName>>,
}

impl TryFrom<Members> for Duty {
    type Error = &'static str;

    fn try_from(Members { name, roles }: Members) -> Result<Duty, &'static str> {
        match (name, roles) {
            (DutyName::Grantor, Some(roles)) if (1..=Duty::MOST_ROLES).contains(&roles.len()) => {
                Ok(Duty::Grantor { roles })
            }
            (DutyName::Grantor, _) => Err("a grantor is named 1 to 200 roles"),
            (_, Some(_)) => Err("only a grantor is named roles"),
            (DutyName::Admin, None) => Ok(Duty::Admin),
            (DutyName::Auditor, None) => Ok(Duty::Auditor),
            (DutyName::Responder, None) => Ok(Duty::Responder),
        }
    }
}

impl From<Duty> for Members {
    fn from(duty: Duty) -> Members {
        let name = duty.name();
        match duty {
            Duty::Grantor { roles } => Members { name, roles: Some(roles) },
            _ => Members { name, roles: None },
        }
    }
}

impl JsonSchema for Duty {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duty".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let mut schema = Members::json_schema(generator);
        let grantor = serde_json::json!({ "properties": { "name": { "const": "grantor" } }, "required": ["roles"] });
        let other = serde_json::json!({
            "properties": { "name": { "enum": ["admin", "auditor", "responder"] } }, "maxProperties": 1
        });
        schema.insert("oneOf".into(), serde_json::json!([grantor, other]));
        schema
    }
}

/// Registers a key: an operator's first, which makes the operator and says its duty, or a successor that the old key
/// cannot vouch for, which leaves the duty as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OperatorRegister {
    /// What the new operator may do; none for a further key of an operator.
    #[serde(deserialize_with = "nullable")]
    pub duty: Option<Duty>,
    /// The register envelope that the key's holder made.
    pub register: Embedded,
}

impl Body for OperatorRegister {
    const TYP: &'static str = "nockvault/operator_register";
}

/// Gives an operator another duty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OperatorDuty {
    /// What it may do from here on.
    pub duty: Duty,
    /// Which operator.
    pub operator: OperatorName,
}

impl Body for OperatorDuty {
    const TYP: &'static str = "nockvault/operator_duty";
}

/// Ends one key of an operator, or every key it has: then the operator is out. A vault keeps at least one admin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OperatorKeyEnd {
    /// Whose key.
    pub operator: OperatorName,
    /// Which key; none for every key that is not ended yet.
    #[serde(deserialize_with = "nullable")]
    pub kid: Option<Kid>,
    /// Since when the key may have been in wrong hands: information for readers of the trail; the end is now.
    #[serde(deserialize_with = "nullable")]
    pub suspect_from: Option<Timestamp>,
}

impl Body for OperatorKeyEnd {
    const TYP: &'static str = "nockvault/operator_key_end";
}

/// An operator puts its next key in place of the present one. The command is signed by the newest key, the register
/// statement in it by the new one, so that both agree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OperatorRotate {
    /// A register envelope for kver + 1 whose `prev` is the signing key.
    pub register: Embedded,
}

impl Body for OperatorRotate {
    const TYP: &'static str = "nockvault/operator_rotate";
}

/// Lists all operators by name, those among them who are out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OperatorList {}

impl Body for OperatorList {
    const TYP: &'static str = "nockvault/operator_list";
}

/// Shows one operator with its keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OperatorShow {
    /// Which operator.
    pub operator: OperatorName,
}

impl Body for OperatorShow {
    const TYP: &'static str = "nockvault/operator_show";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duty_has_one_text() {
        let duty = |text: &str| serde_json::from_str::<Duty>(text);
        for good in [
            r#"{"name":"admin"}"#,
            r#"{"name":"grantor","roles":["billing","orders-read"]}"#,
            r#"{"name":"auditor"}"#,
            r#"{"name":"responder"}"#,
        ] {
            assert_eq!(serde_json::to_string(&duty(good).unwrap()).unwrap(), good);
        }
        for bad in [
            "{}",
            r#""admin""#,
            r#"{"name":"root"}"#,
            r#"{"name":"grantor"}"#,
            r#"{"name":"grantor","roles":[]}"#,
            r#"{"name":"grantor","roles":null}"#,
            r#"{"name":"admin","roles":["orders-read"]}"#,
            r#"{"name":"admin","more":1}"#,
        ] {
            assert!(duty(bad).is_err(), "{bad} was taken");
        }
    }
}
