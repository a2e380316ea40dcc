//! Agents in commands: `nockvault/agent_register`, `agent_list`, `agent_show`, `agent_key_end`, `agent_freeze`, `agent_thaw`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::command::Page;
use super::issue::Purpose;
use super::{Body, nullable, present};
use crate::crypto::envelope::Embedded;
use crate::id::{AgentName, Kid};
use crate::time::Timestamp;

/// Registers a key: an agent's first, which makes the agent, or a successor that the old key cannot vouch for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentRegister {
    /// The register envelope that the key's holder made.
    pub register: Embedded,
}

impl Body for AgentRegister {
    const TYP: &'static str = "nockvault/agent_register";
}

/// Lists agents by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentList {
    /// Which part of the list.
    pub page: Page,
}

impl Body for AgentList {
    const TYP: &'static str = "nockvault/agent_list";
}

/// Shows one agent with its keys, sessions and chain head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentShow {
    /// Which agent.
    pub agent: AgentName,
}

impl Body for AgentShow {
    const TYP: &'static str = "nockvault/agent_show";
}

/// Ends one key of an agent, or every key it has, now and for ever. A stolen key may have brought a successor by itself:
/// what ends a compromise with one command is to end them all. With all its keys, every lease of the agent is revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentKeyEnd {
    /// Whose key.
    pub agent: AgentName,
    /// Which key; none for every key that is not ended yet.
    #[serde(deserialize_with = "nullable")]
    pub kid: Option<Kid>,
    /// Since when the key may have been in wrong hands: information for readers of the trail; the end is now.
    #[serde(deserialize_with = "nullable")]
    pub suspect_from: Option<Timestamp>,
}

impl Body for AgentKeyEnd {
    const TYP: &'static str = "nockvault/agent_key_end";
}

/// Freezes an agent: until it is thawed none of its requests is carried out, and every lease it has is revoked. Its keys,
/// grants and sessions stay as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentFreeze {
    /// Which agent.
    pub agent: AgentName,
    /// Why, for whoever reads the trail; at most 256 bytes of UTF-8. Left out where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "present")]
    #[schemars(with = "Purpose")]
    pub reason: Option<Purpose>,
}

impl Body for AgentFreeze {
    const TYP: &'static str = "nockvault/agent_freeze";
}

/// Lets a frozen agent act again. What was revoked stays revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentThaw {
    /// Which agent.
    pub agent: AgentName,
}

impl Body for AgentThaw {
    const TYP: &'static str = "nockvault/agent_thaw";
}
