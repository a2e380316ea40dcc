//! What the tools take and give, and how they are described to a client. Input is strict: a member that is not known is
//! refused, with words that a model can act on. Output is made of [`Text`], names and times, and so of nothing secret.

use std::sync::Arc;

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::text::Text;
use crate::id::{AgentName, LeaseId, RoleName, VaultName};

/// Where a credential is put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Slot {
    /// In private files in memory, whose paths you are told. They follow renewals and go away with the release or the session.
    #[default]
    File,
    /// In an environment variable of the commands that you run with the prefix that you are told.
    Env,
    /// Nowhere: a proxy puts it into the requests that it is for. The file has the variables that lead to the proxy.
    Proxy,
}

/// `list_credentials`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct List {}

/// `request_credential`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    /// The role: what kind of credential. list_credentials says which may be asked for.
    pub(super) role: RoleName,
    /// What it is needed for, in a few words. It is written to the audit trail, where people read it.
    pub(super) purpose: String,
    /// Where the credential is put: "file" (private files whose paths you are told), "env" (a variable of commands that
    /// you run with a given prefix) or "proxy" (a proxy puts it into requests, where this server has one for the role). You
    /// never see the value itself.
    #[serde(default)]
    pub(super) deliver: Slot,
    /// With "env": the variable's name, for example DATABASE_URL.
    #[serde(default)]
    pub(super) variable: Option<String>,
    /// The part of the secret that is wanted, for example "username" or "token". Left out, the usual one of its kind.
    #[serde(default)]
    pub(super) member: Option<String>,
    /// Parameters for the role's engine, where its operator says that there are any.
    #[serde(default)]
    pub(super) params: Map<String, Value>,
    /// For how long, in seconds. Left out, as long as the grant says; it is prolonged while you hold it.
    #[serde(default)]
    pub(super) ttl_seconds: Option<u64>,
}

/// `release_credential`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Release {
    /// The role whose credentials are given back.
    pub(super) role: RoleName,
}

/// A place where a credential was put.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct Placed {
    /// How: file, env or proxy.
    pub(super) deliver: Slot,
    /// The name under which tools look for it, for example a variable.
    pub(super) name: Text,
    /// The file's path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<Text>,
}

/// A credential that is held. Its value is not part of this, nor of any answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct Credential {
    pub(super) role: RoleName,
    /// The parameters it was asked for with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) params: Option<Text>,
    /// Its name in the vault's trail.
    pub(super) lease: LeaseId,
    /// When it ends, where it is not prolonged (RFC 3339).
    pub(super) expires: Text,
    /// How many seconds that is from now.
    pub(super) seconds_left: u64,
    /// Where it is.
    pub(super) placed: Vec<Placed>,
    /// What is wrong with it, where something is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trouble: Option<Text>,
}

/// The answer of `list_credentials`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Listed {
    pub(super) agent: AgentName,
    pub(super) vault: VaultName,
    /// The roles that may be asked for; left out where those are all that the agent was granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) roles: Option<Vec<RoleName>>,
    /// The roles whose credentials the proxy puts into requests.
    pub(super) proxy_roles: Vec<RoleName>,
    /// Where credentials can be put.
    pub(super) deliver: Vec<Slot>,
    /// What is held.
    pub(super) held: Vec<Credential>,
    pub(super) note: Text,
}

/// The answer of `request_credential`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Given {
    pub(super) credential: Credential,
    /// How to use it.
    pub(super) how: Text,
}

/// The answer of `release_credential`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Released {
    pub(super) role: RoleName,
    /// How many leases ended.
    pub(super) leases: usize,
}

/// A type's schema, in one piece: some clients do not follow references.
fn schema<T: JsonSchema>() -> Arc<JsonObject> {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    for said_elsewhere in ["title", "description", "$schema"] {
        schema.remove(said_elsewhere);
    }
    Arc::new(schema.as_object().cloned().unwrap_or_default())
}

/// Reads a tool's arguments.
pub(super) fn read<T: DeserializeOwned>(arguments: Option<JsonObject>) -> Result<T, serde_json::Error> {
    serde_json::from_value(Value::Object(arguments.unwrap_or_default()))
}

fn tool<I: JsonSchema, O: JsonSchema>(
    name: &'static str,
    title: &'static str,
    description: &'static str,
    hints: ToolAnnotations,
) -> Tool {
    let mut tool = Tool::new(name, description, schema::<I>());
    tool.title = Some(title.to_owned());
    tool.output_schema = Some(schema::<O>());
    tool.annotations = Some(hints.open_world(false));
    tool
}

/// The tools, as a client lists them.
pub(super) fn tools() -> Vec<Tool> {
    let hints = ToolAnnotations::new;
    vec![
        tool::<List, Listed>(
            "list_credentials",
            "List credentials",
            "Lists which credentials may be asked for in the agent's name, which are held now, where they were put and until \
             when they live. Values are never shown.",
            hints().read_only(true).idempotent(true).destructive(false),
        ),
        tool::<Request, Given>(
            "request_credential",
            "Request a credential",
            "Asks the vault for a short-lived credential and puts it where programs find it: into private files or a variable \
             of commands that you run. Answers with the place and the time it lives, never with the value: do not print, copy \
             or read it, let programs use it from where it is. Asking again gives the same credential while it lives. Where \
             the vault refuses, the answer says who can change that; tell the user, and do not try other roles instead.",
            hints().read_only(false).destructive(false).idempotent(true),
        ),
        tool::<Release, Released>(
            "release_credential",
            "Release a credential",
            "Gives a role's credentials back: the vault ends them and their files are removed. Do it as soon as they are no \
             longer needed. What is not given back ends with this session.",
            hints().read_only(false).destructive(true).idempotent(true),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_are_strict_and_in_one_piece() {
        for tool in tools() {
            let input = Value::Object((*tool.input_schema).clone());
            assert_eq!(input["type"], "object", "{}", tool.name);
            assert_eq!(input["additionalProperties"], false, "{}", tool.name);
            let output = Value::Object((*tool.output_schema.unwrap()).clone());
            for text in [input.to_string(), output.to_string()] {
                assert!(!text.contains("$ref") && !text.contains("$defs"), "{text}");
            }
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let object = |value: Value| value.as_object().cloned();
        assert!(read::<List>(None).is_ok());
        assert!(read::<List>(object(serde_json::json!({"x": 1}))).is_err());
        let good = serde_json::json!({"role": "orders-read", "purpose": "report"});
        assert_eq!(read::<Request>(object(good)).unwrap().deliver, Slot::File);
        for bad in [
            serde_json::json!({"role": "orders-read"}),
            serde_json::json!({"role": "Orders Read", "purpose": "x"}),
            serde_json::json!({"role": "orders-read", "purpose": "x", "deliver": "chat"}),
            serde_json::json!({"role": "orders-read", "purpose": "x", "reveal": true}),
            serde_json::json!({"role": "orders-read", "purpose": "x", "ttl_seconds": -1}),
        ] {
            assert!(read::<Request>(object(bad.clone())).is_err(), "{bad}");
        }
    }
}
