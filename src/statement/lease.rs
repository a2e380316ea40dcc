//! Leases in statements: an agent's `nockvault/renew` and `nockvault/release`, an operator's `nockvault/lease_list` and
//! `nockvault/lease_revoke`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::command::Page;
use super::{Body, nullable, present};
use crate::crypto::hash::Digest;
use crate::id::{AgentName, LeaseId};
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

/// Lists leases, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaseList {
    /// Only this agent's.
    #[serde(deserialize_with = "nullable")]
    pub agent: Option<AgentName>,
    /// Only those still live.
    pub live: bool,
    /// Which part of the list.
    pub page: Page,
}

impl Body for LeaseList {
    const TYP: &'static str = "nockvault/lease_list";
}

/// Revokes one lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaseRevoke {
    /// Which lease.
    pub lease: LeaseId,
}

impl Body for LeaseRevoke {
    const TYP: &'static str = "nockvault/lease_revoke";
}
