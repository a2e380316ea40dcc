//! `nockvault/explain`: what would become of a request or an order if it came now, and why. A question: nothing of it is
//! done, and nobody but the operator who asks is told.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::grant::{GrantCreate, GrantRevoke};
use super::{Body, nullable};
use crate::id::{AgentName, RoleName, Sid};
use crate::time::{Seconds, Timestamp};

/// Asks what would become of exactly one thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Explain {
    /// An agent's request for a credential.
    Request(Supposed),
    /// A grant, and a request under it that asks for no more than its role.
    Grant(NewGrant),
    /// The end of a grant.
    Revoke(GrantRevoke),
}

impl Body for Explain {
    const TYP: &'static str = "nockvault/explain";
}

/// A request that nobody sent. What it does not say is taken as a request would have it that fits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Supposed {
    /// Who would ask.
    pub agent: AgentName,
    /// For which role.
    pub role: RoleName,
    /// For how long, in seconds; 0 takes the grant's default.
    pub ttl: Seconds,
    /// Parameters for the engine.
    pub params: Map<String, Value>,
    /// From which address; null for one that the grant covers.
    #[serde(deserialize_with = "nullable")]
    #[schemars(with = "Option<String>")]
    pub from: Option<IpAddr>,
    /// When; null for now.
    #[serde(deserialize_with = "nullable")]
    pub at: Option<Timestamp>,
    /// In which session; null for a new one, of a name that the grant covers.
    #[serde(deserialize_with = "nullable")]
    pub sid: Option<Sid>,
    /// Whether the backend of the role is asked too if it could serve.
    pub probe: bool,
}

/// A grant that nobody has given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewGrant {
    /// The grant.
    pub grant: GrantCreate,
    /// Whether the backend of the role is asked too if it could serve.
    pub probe: bool,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_asks_for_exactly_one_thing() {
        let revoke = json!({"agent": "kit", "role": "orders"});
        assert!(serde_json::from_value::<Explain>(json!({ "revoke": revoke })).is_ok());
        let request = json!({
            "agent": "kit", "role": "orders", "ttl": 0, "params": {}, "from": "10.0.0.1", "at": null, "sid": null,
            "probe": false,
        });
        assert!(serde_json::from_value::<Explain>(json!({ "request": request })).is_ok());
        for bad in [json!({}), json!({ "revoke": revoke, "request": request }), json!({ "freeze": revoke })] {
            assert!(serde_json::from_value::<Explain>(bad).is_err());
        }
        let mut short = request;
        short.as_object_mut().unwrap().remove("sid");
        assert!(serde_json::from_value::<Explain>(json!({ "request": short })).is_err());
    }
}
