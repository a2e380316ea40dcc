//! What stands in a vault, by signed questions, page by page.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use nockvault::client::operator::Operator;
use nockvault::id::{AgentName, Kid, OperatorName, RoleName};
use nockvault::statement::agent::{AgentList, AgentShow};
use nockvault::statement::approval::PolicyShow;
use nockvault::statement::grant::{GrantList, Terms};
use nockvault::statement::operator::{Duty, OperatorShow};
use nockvault::statement::role::RoleList;
use nockvault::statement::secret::SecretList;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::file::Wanted;
use super::plan::{Standing, StandingAgent, StandingRole};
use crate::agent::pages;

/// A member of the vault's answer, as what it is.
fn take<T: DeserializeOwned>(item: &Map<String, Value>, name: &str) -> anyhow::Result<T> {
    let value = item.get(name).cloned().unwrap_or_default();
    serde_json::from_value(value).with_context(|| format!("the vault's answer has no {name} that can be read"))
}

/// Everything that stands: agents, roles, grants.
pub(crate) async fn all(operator: &Operator, name: &OperatorName) -> anyhow::Result<Standing> {
    let shown = operator.command(OperatorShow { operator: name.clone() }).await?;
    let standing = Standing {
        duty: duty(&shown.result)?,
        rules: take(&operator.command(PolicyShow {}).await?.result, "rules")?,
        now: shown.now,
        agents: agents(operator).await?,
        roles: roles(operator).await?,
        grants: grants(operator).await?,
        secrets: BTreeSet::new(),
    };
    Ok(standing)
}

/// The same, with what a file needs to be known besides: all keys of agents whose newest is not the one it names, and
/// secrets where it asks for some.
pub(crate) async fn for_file(operator: &Operator, name: &OperatorName, wanted: &Wanted) -> anyhow::Result<Standing> {
    let mut standing = all(operator, name).await?;
    for (agent, one) in &wanted.agents {
        let Some((_, read)) = &one.register else { continue };
        let Some(there) = standing.agents.get_mut(agent).filter(|there| !there.keys.contains(&read.pk.kid())) else {
            continue;
        };
        let shown = operator.command(AgentShow { agent: agent.clone() }).await?.result;
        let keys: Vec<Map<String, Value>> = take(&shown, "keys")?;
        there.keys = keys.iter().map(|key| take(key, "kid")).collect::<anyhow::Result<_>>()?;
    }
    if !wanted.secrets.is_empty() {
        let items = pages(async |page| Ok(operator.command(SecretList { page }).await?.result)).await?;
        standing.secrets = items.iter().map(|item| take(item, "name")).collect::<anyhow::Result<_>>()?;
    }
    Ok(standing)
}

fn duty(shown: &Map<String, Value>) -> anyhow::Result<Duty> {
    let mut members = json!({ "name": shown.get("duty") });
    if let Some(roles) = shown.get("roles").filter(|roles| !roles.is_null()) {
        members["roles"] = roles.clone();
    }
    serde_json::from_value(members).context("the vault's answer has no duty that can be read")
}

async fn agents(operator: &Operator) -> anyhow::Result<BTreeMap<AgentName, StandingAgent>> {
    let items = pages(async |page| Ok(operator.command(AgentList { page }).await?.result)).await?;
    let one = |item: &Map<String, Value>| {
        let newest: Option<Kid> = take(item, "kid")?;
        // When it was frozen, or that it is: whatever is said but no is a yes.
        let frozen = !matches!(item.get("frozen"), None | Some(Value::Null | Value::Bool(false)));
        Ok((take(item, "agent")?, StandingAgent { keys: newest.into_iter().collect(), frozen }))
    };
    items.iter().map(one).collect()
}

async fn roles(operator: &Operator) -> anyhow::Result<BTreeMap<RoleName, StandingRole>> {
    let items = pages(async |page| Ok(operator.command(RoleList { page }).await?.result)).await?;
    let one = |item: &Map<String, Value>| {
        Ok((take(item, "role")?, StandingRole { engine: take(item, "engine")?, config: take(item, "config")? }))
    };
    items.iter().map(one).collect()
}

async fn grants(operator: &Operator) -> anyhow::Result<BTreeMap<(AgentName, RoleName), Terms>> {
    let items = pages(async |page| Ok(operator.command(GrantList { agent: None, page }).await?.result)).await?;
    let one =
        |item: &Map<String, Value>| Ok(((take(item, "agent")?, take(item, "role")?), take::<Terms>(item, "terms")?));
    items.iter().map(one).collect()
}
