//! `vaultctl export`: what stands in a vault, as the file that `vaultctl apply` takes, so that a vault that was set up by
//! hand moves into git. What such a file does not hold is not in it: keys, secrets, operators, rules, custody.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use nockvault::client::operator::Operator;
use nockvault::id::{AgentName, RoleName};
use nockvault::statement::grant::Terms;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::apply::plan::Standing;
use crate::apply::state;
use crate::output::{Output, Shape, print};
use crate::{Common, find};

/// Print the agents, roles and grants of the vault as the file that `vaultctl apply` takes.
///
/// For example: vaultctl export > vault.toml. Applied to the same vault it changes nothing. For another vault each agent
/// needs its statement besides (register = "NAME.register"), and secrets and authorities are made by hand: `secrets` names
/// those that kv roles hand out.
#[derive(Debug, Args)]
pub(crate) struct Export {}

/// The file.
#[derive(Debug, Serialize)]
struct File {
    /// What has to be stored before the roles are made.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    secrets: BTreeSet<String>,
    agents: BTreeMap<String, Nothing>,
    roles: BTreeMap<String, Made>,
    grants: Vec<Granted>,
}

/// There it is, and that is all.
#[derive(Debug, Serialize)]
struct Nothing {}

#[derive(Debug, Serialize)]
struct Made {
    #[serde(skip_serializing_if = "Option::is_none")]
    engine: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<Map<String, Value>>,
}

#[derive(Debug, Serialize)]
struct Granted {
    agent: AgentName,
    role: RoleName,
    ttl: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_ttl: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_uses: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    from: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<String>,
}

impl Granted {
    fn of(agent: &AgentName, role: &RoleName, terms: &Terms) -> Granted {
        Granted {
            agent: agent.clone(),
            role: role.clone(),
            ttl: terms.ttl.to_string(),
            max_ttl: (terms.max_ttl != terms.ttl).then(|| terms.max_ttl.to_string()),
            max_uses: terms.max_uses,
            until: terms.until.map(|until| until.to_string()),
            session: terms.session.as_ref().map(|session| session.as_str().to_owned()),
            from: terms.from.iter().map(ToString::to_string).collect(),
            rate: terms.rate.map(|rate| rate.to_string()),
        }
    }
}

impl File {
    fn of(standing: &Standing) -> File {
        let roles = standing.roles.iter().map(|(name, role)| {
            // TOML has no null: such a role is only said to be there.
            let whole = !role.config.values().any(holds_null);
            let engine = whole.then(|| role.engine.clone());
            (name.to_string(), Made { engine, config: whole.then(|| role.config.clone()) })
        });
        // The configuration of a kv role names the stored secret that it hands out.
        let kv = standing.roles.values().filter(|role| role.engine == "kv");
        let secrets = kv.filter_map(|role| role.config.get("secret")?.as_str().map(str::to_owned)).collect();
        File {
            secrets,
            agents: standing.agents.keys().map(|name| (name.to_string(), Nothing {})).collect(),
            roles: roles.collect(),
            grants: standing.grants.iter().map(|((agent, role), terms)| Granted::of(agent, role, terms)).collect(),
        }
    }
}

fn holds_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(holds_null),
        Value::Object(members) => members.values().any(holds_null),
        _ => false,
    }
}

impl Export {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        let card = find::card(common)?;
        let identity = find::operator(common, &card)?;
        let name = identity.name.clone();
        let standing = state::all(&Operator::connect(&card, identity).await?, &name).await?;
        let file = File::of(&standing);
        if output.shape == Shape::Table && output.field.is_none() {
            print(&text(&file, card.name.as_str())?)
        } else {
            output.one(serde_json::to_value(&file)?.as_object().unwrap_or(&Map::new()))
        }
    }
}

fn text(file: &File, vault: &str) -> anyhow::Result<String> {
    let head = format!(
        "# The vault {vault}, as it stood. vaultctl apply -f FILE makes it so; vaultctl apply --help says how.\n\n"
    );
    Ok(head + &toml::to_string_pretty(file)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_toml_cannot_say_is_left_out_and_the_rest_quoted() {
        let made = |config: Value| {
            let config = config.as_object().cloned().unwrap_or_default();
            crate::apply::plan::StandingRole { engine: "kv".into(), config }
        };
        let terms = Terms {
            ttl: "15m".parse().unwrap(),
            max_ttl: "15m".parse().unwrap(),
            max_uses: None,
            until: None,
            session: None,
            from: Vec::new(),
            rate: None,
        };
        let standing = Standing {
            duty: nockvault::statement::operator::Duty::Auditor,
            rules: Default::default(),
            now: nockvault::time::Timestamp(0),
            agents: [("a.b".parse().unwrap(), Default::default())].into(),
            roles: [
                ("x/y".parse().unwrap(), made(json!({"secret": "s", "ca": "one\ntwo\n"}))),
                ("z".parse().unwrap(), made(json!({"version": null}))),
            ]
            .into(),
            grants: [(("a.b".parse().unwrap(), "z".parse().unwrap()), terms)].into(),
            secrets: Default::default(),
        };
        let text = text(&File::of(&standing), "prod").unwrap();
        assert!(text.contains("secrets = [\"s\"]"), "{text}");
        for line in
            ["[agents.\"a.b\"]", "[roles.\"x/y\"]", "engine = \"kv\"", "[roles.z]", "[[grants]]", "ttl = \"15m\""]
        {
            assert!(text.lines().any(|one| one == line), "{line}:\n{text}");
        }
        assert!(!text.contains("version") && !text.contains("max_ttl"), "{text}");
    }
}
