//! What has to be done so that a vault is as a file says, and in which order. Nothing is asked and nothing sent here.
//!
//! Revocations that a file no longer names come first: a run that is broken off has then taken away too much rather than
//! too little. Then come agents, then roles, then grants, which need both. Terms are not changed in place: the grant is
//! revoked, with its leases, and given anew right after it.

use std::collections::{BTreeMap, BTreeSet};

use nockvault::authz::operator::permits;
use nockvault::authz::policy::persons;
use nockvault::crypto::envelope::Embedded;
use nockvault::id::{AgentName, Kid, RoleName, SecretName};
use nockvault::statement::Body;
use nockvault::statement::agent::AgentRegister;
use nockvault::statement::approval::Rules;
use nockvault::statement::grant::{GrantCreate, GrantRevoke, Terms};
use nockvault::statement::operator::Duty;
use nockvault::statement::role::RoleCreate;
use nockvault::time::Timestamp;
use serde_json::{Map, Value, json};

use super::Prune;
use super::file::{Wanted, WantedAgent};
use crate::near::near;

/// An agent as it stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct StandingAgent {
    /// Every key it has or had, as far as it was asked for: the newest, or all.
    pub(crate) keys: BTreeSet<Kid>,
    pub(crate) frozen: bool,
}

/// A role as it stands.
#[derive(Clone, Debug)]
pub(crate) struct StandingRole {
    pub(crate) engine: String,
    pub(crate) config: Map<String, Value>,
}

/// What stands in a vault.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    /// What the operator who asks may do.
    pub(crate) duty: Duty,
    /// Which commands take several operators.
    pub(crate) rules: Rules,
    pub(crate) now: Timestamp,
    pub(crate) agents: BTreeMap<AgentName, StandingAgent>,
    pub(crate) roles: BTreeMap<RoleName, StandingRole>,
    pub(crate) grants: BTreeMap<(AgentName, RoleName), Terms>,
    pub(crate) secrets: BTreeSet<SecretName>,
}

/// One thing that has to become another.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// A grant that the file no longer names.
    Revoke { agent: AgentName, role: RoleName, was: Terms },
    /// An agent that is not there.
    Register { agent: AgentName, kid: Kid, statement: Box<Embedded> },
    /// A role that is not there.
    Create(RoleCreate),
    /// A grant that is not there, or that is there on other terms.
    Grant { grant: GrantCreate, was: Option<Terms> },
}

/// A signed command of a plan.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    Revoke(GrantRevoke),
    Register(AgentRegister),
    Create(RoleCreate),
    Grant(GrantCreate),
}

impl Order {
    fn said(&self) -> (&'static str, Value) {
        match self {
            Order::Revoke(body) => (GrantRevoke::TYP, json!(body)),
            Order::Register(body) => (AgentRegister::TYP, json!(body)),
            Order::Create(body) => (RoleCreate::TYP, json!(body)),
            Order::Grant(body) => (GrantCreate::TYP, json!(body)),
        }
    }
}

impl Change {
    /// The commands that make it, in their order.
    pub(crate) fn orders(&self) -> Vec<Order> {
        match self {
            Change::Revoke { agent, role, .. } => {
                vec![Order::Revoke(GrantRevoke { agent: agent.clone(), role: role.clone() })]
            }
            Change::Register { statement, .. } => {
                vec![Order::Register(AgentRegister { register: statement.as_ref().clone() })]
            }
            Change::Create(body) => vec![Order::Create(body.clone())],
            Change::Grant { grant, was } => {
                let old = GrantRevoke { agent: grant.agent.clone(), role: grant.role.clone() };
                let revoked = was.as_ref().map(|_| Order::Revoke(old));
                revoked.into_iter().chain([Order::Grant(grant.clone())]).collect()
            }
        }
    }
}

/// What is to be done.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) changes: Vec<Change>,
    /// Grants that stand between agents and roles of the file, which it does not name, and which stay.
    pub(crate) left: Vec<(AgentName, RoleName, Terms)>,
    /// What somebody should know besides.
    pub(crate) notes: Vec<String>,
    /// What the operator may not do of it.
    pub(crate) forbidden: Vec<String>,
    /// Grants that would be revoked at once and given anew only when other operators have approved that.
    pub(crate) between: Vec<String>,
}

impl Plan {
    /// How many grants go that the file does not name.
    pub(crate) fn pruned(&self) -> usize {
        self.changes.iter().filter(|change| matches!(change, Change::Revoke { .. })).count()
    }

    /// How many commands it takes.
    pub(crate) fn orders(&self) -> usize {
        self.changes.iter().map(|change| change.orders().len()).sum()
    }
}

/// The plan, or every reason why there is none, with its place in the file.
pub(crate) fn plan(wanted: &Wanted, standing: &Standing, prune: Option<Prune>) -> Result<Plan, Vec<String>> {
    let (mut plan, mut wrong) = (Plan::default(), Vec::new());
    secrets(wanted, standing, &mut wrong);
    surplus(wanted, standing, prune, &mut plan);
    agents(wanted, standing, &mut plan, &mut wrong);
    roles(wanted, standing, &mut plan, &mut wrong);
    grants(wanted, standing, &mut plan);
    for order in plan.changes.iter().flat_map(Change::orders) {
        let (typ, body) = order.said();
        if let Err(denial) = permits(&standing.duty, typ, &body)
            && !plan.forbidden.contains(&denial.detail)
        {
            plan.forbidden.push(denial.detail);
        }
    }
    if wrong.is_empty() { Ok(plan) } else { Err(wrong) }
}

fn secrets(wanted: &Wanted, standing: &Standing, wrong: &mut Vec<String>) {
    for (name, at) in wanted.secrets.iter().filter(|(name, _)| !standing.secrets.contains(*name)) {
        let meant = near(name.as_str(), standing.secrets.iter().map(SecretName::as_str));
        let meant = meant.map_or_else(
            || format!("vaultctl secret put {name} makes it, from a prompt or a file"),
            |meant| format!("did you mean {meant}?"),
        );
        wrong.push(wanted.wrong(*at, format!("no secret {name} is stored; {meant}")));
    }
}

/// What stands and is not named.
fn surplus(wanted: &Wanted, standing: &Standing, prune: Option<Prune>, plan: &mut Plan) {
    let named =
        |agent: &AgentName, role: &RoleName| wanted.agents.contains_key(agent) && wanted.roles.contains_key(role);
    for (key, terms) in standing.grants.iter().filter(|(key, _)| !wanted.grants.contains_key(*key)) {
        let (agent, role) = key.clone();
        match prune {
            Some(Prune::All) => plan.changes.push(Change::Revoke { agent, role, was: terms.clone() }),
            Some(Prune::Named) if named(&agent, &role) => {
                plan.changes.push(Change::Revoke { agent, role, was: terms.clone() });
            }
            None if named(&agent, &role) => plan.left.push((agent, role, terms.clone())),
            _ => {}
        }
    }
    if prune == Some(Prune::All) {
        let agents = standing.agents.keys().filter(|agent| !wanted.agents.contains_key(*agent));
        plan.notes.extend(agents.map(|agent| {
            format!(
                "agent {agent} is not in the file, and agents are not deleted; vaultctl agent end-key {agent} ends it"
            )
        }));
        let roles = standing.roles.keys().filter(|role| !wanted.roles.contains_key(*role));
        plan.notes.extend(roles.map(|role| {
            format!("role {role} is not in the file, and roles are not deleted; without a grant nobody has it")
        }));
    }
}

fn agents(wanted: &Wanted, standing: &Standing, plan: &mut Plan, wrong: &mut Vec<String>) {
    // Who has which key and which spelling, the file's own agents too: the vault would refuse the second of each.
    let mut holders: BTreeMap<Kid, AgentName> = BTreeMap::new();
    let mut spelled: BTreeMap<String, AgentName> = BTreeMap::new();
    for (name, agent) in &standing.agents {
        holders.extend(agent.keys.iter().map(|kid| (kid.clone(), name.clone())));
        spelled.insert(name.collision_form(), name.clone());
    }
    for (name, WantedAgent { at, register }) in &wanted.agents {
        let mut no = |why: String| wrong.push(wanted.wrong(*at, why));
        match (standing.agents.get(name), register) {
            (Some(there), register) => {
                if there.frozen {
                    plan.notes.push(format!("agent {name} is frozen and stays so; vaultctl thaw {name}"));
                }
                if let Some((_, read)) = register.as_ref().filter(|(_, read)| !there.keys.contains(&read.pk.kid())) {
                    no(format!(
                        "agent {name} is registered with other keys than {}, and a file gives no agent another key: vaultctl \
                         agent register does it, or the agent itself (vaultctl agent rotate)",
                        read.pk.kid()
                    ));
                }
            }
            (None, None) => {
                let meant = near(name.as_str(), standing.agents.keys().map(AgentName::as_str));
                let meant = meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
                no(format!(
                    "agent {name} is not registered and has no register = \"{name}.register\", which vaultctl keygen --agent \
                     {name} makes{meant}"
                ));
            }
            (None, Some((_, read))) if read.kver != 1 => {
                no(format!("agent {name} is not registered, and this is its key number {}, not its first", read.kver));
            }
            (None, Some((statement, read))) => {
                let kid = read.pk.kid();
                match (holders.insert(kid.clone(), name.clone()), spelled.insert(name.collision_form(), name.clone())) {
                    (Some(other), _) => no(format!("agent {name} brings the key of agent {other}: each has its own")),
                    (None, Some(other)) => {
                        no(format!("agent {name} differs from agent {other} only in . and -, which no two agents may"));
                    }
                    (None, None) => {
                        let statement = Box::new(statement.clone());
                        plan.changes.push(Change::Register { agent: name.clone(), kid, statement });
                    }
                }
            }
        }
    }
}

fn roles(wanted: &Wanted, standing: &Standing, plan: &mut Plan, wrong: &mut Vec<String>) {
    for (name, role) in &wanted.roles {
        let mut no = |why: String| wrong.push(wanted.wrong(role.at, why));
        match (standing.roles.get(name), &role.made) {
            (Some(_), None) => {}
            (Some(there), Some((engine, config))) => {
                let differs = difference(there, engine, config);
                if !differs.is_empty() {
                    no(format!(
                        "role {name} is there already and differs in {}, and a role is never changed: those who have it would \
                         get something else under its name. Name a new role, grant that, and revoke this one",
                        differs.join(", ")
                    ));
                }
            }
            (None, Some((engine, config))) => {
                let (engine, config) = (engine.clone(), config.clone());
                plan.changes.push(Change::Create(RoleCreate { role: name.clone(), engine, config }));
            }
            (None, None) => {
                let meant = near(name.as_str(), standing.roles.keys().map(RoleName::as_str));
                let meant = meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
                no(format!("role {name} is not there, and the file does not say of what engine it is{meant}"));
            }
        }
    }
}

/// In which members two roles differ, each with what stands and what is wanted.
fn difference(there: &StandingRole, engine: &str, config: &Map<String, Value>) -> Vec<String> {
    let mut differs = Vec::new();
    if there.engine != engine {
        differs.push(format!("engine ({} in the vault, {engine} in the file)", there.engine));
    }
    let names: BTreeSet<&String> = there.config.keys().chain(config.keys()).collect();
    let shown = |value: Option<&Value>| {
        value.map_or_else(|| "none".to_owned(), |value| super::shown::brief(&value.to_string()))
    };
    for name in names {
        let (is, be) = (there.config.get(name), config.get(name));
        if is != be {
            differs.push(format!("{name} ({} in the vault, {} in the file)", shown(is), shown(be)));
        }
    }
    differs
}

fn grants(wanted: &Wanted, standing: &Standing, plan: &mut Plan) {
    for ((agent, role), (_, terms)) in &wanted.grants {
        let was = standing.grants.get(&(agent.clone(), role.clone()));
        if was == Some(terms) {
            continue;
        }
        if let (None, Some(until)) = (was, terms.until.filter(|until| *until <= standing.now)) {
            plan.notes.push(format!(
                "the grant of {role} to {agent} ended at {until} and is not given; it can leave the file"
            ));
            continue;
        }
        let grant = GrantCreate { agent: agent.clone(), role: role.clone(), terms: terms.clone() };
        if was.is_some() && persons(&standing.rules, GrantCreate::TYP, &json!(grant)) > 1 {
            plan.between
                .push(format!("{agent} would be without {role} until other operators have approved its new terms"));
        }
        plan.changes.push(Change::Grant { grant, was: was.cloned() });
    }
}
