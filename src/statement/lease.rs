//! Leases in statements: an agent's `nockvault/renew` and `nockvault/release`, an operator's `nockvault/lease_list` and
//! `nockvault/lease_revoke`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::command::Page;
use super::issue::Purpose;
use super::{Body, nullable, present};
use crate::crypto::hash::Digest;
use crate::id::{AgentName, LeaseId, RoleName, Sid};
use crate::time::Seconds;

/// Asks for more life for a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Renew {
    /// Which lease.
    pub lease: LeaseId,
    /// Life from now, in seconds; 0 takes the grant's default.
    pub ttl: Seconds,
}

impl Body for Renew {
    const TYP: &'static str = "nockvault/renew";
}

/// Gives a lease back, by its id, or by the request that it answers where the reply was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ReleaseMembers", into = "ReleaseMembers")]
pub enum Release {
    /// The lease of this id.
    Lease(LeaseId),
    /// The lease that this request, H(PAE), made.
    Req(Digest),
}

impl Body for Release {
    const TYP: &'static str = "nockvault/release";
}

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReleaseMembers {
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "present")]
    #[schemars(with = "LeaseId")]
    lease: Option<LeaseId>,
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "present")]
    #[schemars(with = "Digest")]
    req: Option<Digest>,
}

impl TryFrom<ReleaseMembers> for Release {
    type Error = &'static str;

    fn try_from(members: ReleaseMembers) -> Result<Release, &'static str> {
        match (members.lease, members.req) {
            (Some(lease), None) => Ok(Release::Lease(lease)),
            (None, Some(req)) => Ok(Release::Req(req)),
            _ => Err("release names either a lease or a req"),
        }
    }
}

impl From<Release> for ReleaseMembers {
    fn from(release: Release) -> ReleaseMembers {
        match release {
            Release::Lease(lease) => ReleaseMembers { lease: Some(lease), req: None },
            Release::Req(req) => ReleaseMembers { lease: None, req: Some(req) },
        }
    }
}

impl JsonSchema for Release {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Release".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let mut schema = ReleaseMembers::json_schema(generator);
        schema.insert("oneOf".into(), serde_json::json!([{ "required": ["lease"] }, { "required": ["req"] }]));
        schema
    }
}

/// Which leases a list is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// All there ever were.
    All,
    /// Those that live.
    Live,
    /// Those that ended, and whose credential still waits to be taken away at its backend.
    Stuck,
}

/// Lists leases, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaseList {
    /// Only this agent's.
    #[serde(deserialize_with = "nullable")]
    pub agent: Option<AgentName>,
    /// Only these.
    pub which: Which,
    /// Which part of the list.
    pub page: Page,
}

impl Body for LeaseList {
    const TYP: &'static str = "nockvault/lease_list";
}

/// Shows one lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaseShow {
    /// Which lease.
    pub lease: LeaseId,
}

impl Body for LeaseShow {
    const TYP: &'static str = "nockvault/lease_show";
}

/// Which leases are meant: exactly one of `lease`, `agent` (with or without `sid`), `role` and `all`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ScopeMembers", into = "ScopeMembers")]
pub enum Scope {
    /// One lease.
    Lease(LeaseId),
    /// A session's, and the session ends with them.
    Session(AgentName, Sid),
    /// An agent's.
    Agent(AgentName),
    /// A role's.
    Role(RoleName),
    /// All of them.
    All,
}

#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ScopeMembers {
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "present")]
    #[schemars(with = "AgentName")]
    agent: Option<AgentName>,
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "present")]
    #[schemars(with = "bool")]
    all: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "present")]
    #[schemars(with = "LeaseId")]
    lease: Option<LeaseId>,
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "present")]
    #[schemars(with = "RoleName")]
    role: Option<RoleName>,
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "present")]
    #[schemars(with = "Sid")]
    sid: Option<Sid>,
}

impl TryFrom<ScopeMembers> for Scope {
    type Error = &'static str;

    fn try_from(members: ScopeMembers) -> Result<Scope, &'static str> {
        let ScopeMembers { agent, all, lease, role, sid } = members;
        match (lease, agent, sid, role, all) {
            (Some(lease), None, None, None, None) => Ok(Scope::Lease(lease)),
            (None, Some(agent), Some(sid), None, None) => Ok(Scope::Session(agent, sid)),
            (None, Some(agent), None, None, None) => Ok(Scope::Agent(agent)),
            (None, None, None, Some(role), None) => Ok(Scope::Role(role)),
            (None, None, None, None, Some(true)) => Ok(Scope::All),
            _ => Err("a scope names one of: lease; agent; agent and sid; role; all, which is true"),
        }
    }
}

impl From<Scope> for ScopeMembers {
    fn from(scope: Scope) -> ScopeMembers {
        let none = ScopeMembers::default();
        match scope {
            Scope::Lease(lease) => ScopeMembers { lease: Some(lease), ..none },
            Scope::Session(agent, sid) => ScopeMembers { agent: Some(agent), sid: Some(sid), ..none },
            Scope::Agent(agent) => ScopeMembers { agent: Some(agent), ..none },
            Scope::Role(role) => ScopeMembers { role: Some(role), ..none },
            Scope::All => ScopeMembers { all: Some(true), ..none },
        }
    }
}

impl JsonSchema for Scope {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Scope".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let mut schema = ScopeMembers::json_schema(generator);
        let only = |member: &str| serde_json::json!({ "required": [member], "maxProperties": 1 });
        let session = serde_json::json!({ "required": ["agent", "sid"], "maxProperties": 2 });
        schema.insert(
            "oneOf".into(),
            serde_json::json!([only("lease"), only("agent"), session, only("role"), only("all")]),
        );
        schema
    }
}

/// Revokes leases: those of the scope that were issued before the command was carried out. What is many is ended in
/// parts, in the background.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaseRevoke {
    /// Why, for whoever reads the trail; at most 256 bytes of UTF-8. Left out where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "present")]
    #[schemars(with = "Purpose")]
    pub reason: Option<Purpose>,
    /// Which leases.
    pub scope: Scope,
}

impl Body for LeaseRevoke {
    const TYP: &'static str = "nockvault/lease_revoke";
}

/// Gives up on a credential that its backend does not take away: the vault tries no more, and the operator answers for
/// what is left there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaseForget {
    /// Which lease.
    pub lease: LeaseId,
}

impl Body for LeaseForget {
    const TYP: &'static str = "nockvault/lease_forget";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_names_one_thing() {
        let scope = |text: &str| serde_json::from_str::<Scope>(text);
        for good in [
            r#"{"agent":"kit"}"#,
            r#"{"agent":"kit","sid":"s1"}"#,
            r#"{"role":"orders"}"#,
            r#"{"all":true}"#,
            r#"{"lease":"019b9f3a-0000-7000-8000-000000000000"}"#,
        ] {
            assert_eq!(serde_json::to_string(&scope(good).unwrap()).unwrap(), good);
        }
        for bad in [
            "{}",
            r#"{"sid":"s1"}"#,
            r#"{"agent":"kit","role":"orders"}"#,
            r#"{"all":false}"#,
            r#"{"agent":null,"all":true}"#,
            r#"{"role":"orders","sid":"s1"}"#,
        ] {
            assert!(scope(bad).is_err(), "{bad} was taken");
        }
    }
}
