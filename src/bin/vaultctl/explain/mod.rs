//! `vaultctl explain`: what would become of a request for a credential if it came now, and why. `grant --dry-run` and
//! `revoke --dry-run` ask the same question about an order.

use std::net::IpAddr;
use std::process::ExitCode;

use clap::Args;
use nockvault::client::operator::Operator;
use nockvault::id::{AgentName, RoleName, Sid};
use nockvault::statement::explain::{self as statement, NewGrant, Supposed};
use nockvault::statement::grant::GrantRevoke;
use nockvault::time::{Seconds, Timestamp};
use serde_json::{Map, Value};

use crate::output::{As, Column, Output, Shape};
use crate::terms::instant;
use crate::{Common, find, members, value};

/// Say what would become of an agent's request for a credential, and why: each check by name, in the order in which the vault
/// makes them.
///
/// Nothing is issued and no use is spent. What is not said is taken so that it fits the grant: the session is a new one, and
/// the address one that the grant covers. Exit code 0 also where the request would be denied; --field verdict says `issued`
/// or `denied`. A check is `ok`, `no`, or `open`: not looked at, because one before it decided.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The agent.
    agent: AgentName,
    /// The role.
    role: RoleName,
    /// The life asked for; without it, the grant's default.
    #[arg(long, value_name = "SPAN", default_value = "0s", hide_default_value = true)]
    ttl: Seconds,
    /// A parameter for the role's engine. The value is JSON where it reads as such, else a text; @FILE is what is in a
    /// file, @- standard input.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = value::param)]
    params: Vec<(String, Value)>,
    /// From which address; 127.0.0.1 for a unix socket.
    #[arg(long, value_name = "IP")]
    from: Option<IpAddr>,
    /// When: RFC 3339, or a date for the end of that day in UTC. The vault is taken as it is now.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    at: Option<Timestamp>,
    /// In this session.
    #[arg(long, value_name = "SID")]
    session: Option<Sid>,
    /// Ask the backend of the role too if it could serve. Nothing is created there.
    #[arg(long)]
    probe: bool,
}

const COLUMNS: &[Column] = &[
    ("CHECK", "check", As::Plain),
    ("STATE", "outcome", As::Plain),
    ("FOUND", "found", As::Brief),
    ("AGAINST", "limit", As::Brief),
    ("REASON", "reason", As::Plain),
];

/// Checks whose figures are instants, and those whose figures are spans.
const INSTANTS: &[&str] = &["registered", "window", "grant_until", "secret_life", "clock"];
const SPANS: &[&str] = &["ttl", "session_time"];

impl Explain {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        let Explain { agent, role, ttl, params, from, at, session, probe } = self;
        let params = members::params(params)?;
        let supposed = Supposed { agent, role, ttl, params, from, at, sid: session, probe };
        let operator = find::connect(common).await?;
        let told = operator.command(statement::Explain::Request(supposed)).await?.result;
        request(&told, output)
    }
}

/// What a grant would allow and change.
pub(crate) async fn grant(operator: &Operator, new: NewGrant, output: &Output) -> anyhow::Result<ExitCode> {
    let told = operator.command(statement::Explain::Grant(new)).await?.result;
    let refused = told.get("verdict").and_then(Value::as_str) == Some("refused");
    let ends = if refused { ExitCode::from(2) } else { ExitCode::SUCCESS };
    let people = output.shape == Shape::Table && output.field.is_none();
    if !people {
        return output.one(&told).map(|()| ends);
    }
    let text = |name: &str| told.get(name).and_then(Value::as_str).unwrap_or_default();
    match text("verdict") {
        "done" => say!("the grant would be given; nothing was written"),
        "waits" => say!("the grant would wait for other operators: {}; nothing was written", text("why")),
        _ => say!("the grant would be refused: {}: {}", text("reason"), text("why")),
    }
    let rest = told.iter().filter(|(name, _)| !matches!(name.as_str(), "request" | "why"));
    output.one(&rest.map(|(name, value)| (name.clone(), value.clone())).collect())?;
    // What a request under it would get is nothing to tell of a grant that there will not be.
    if let (Some(told), false) = (told.get("request").and_then(Value::as_object), refused) {
        request(told, output)?;
    }
    Ok(ends)
}

/// Which leases would end with a grant.
pub(crate) async fn revoke(operator: &Operator, of: GrantRevoke, output: &Output) -> anyhow::Result<()> {
    let told = operator.command(statement::Explain::Revoke(of)).await?.result;
    let text = |name: &str| told.get(name).and_then(Value::as_str).unwrap_or_default();
    match text("verdict") {
        "done" => say!("the grant would be taken back; nothing was written"),
        "waits" => say!("this would wait for other operators: {}; nothing was written", text("why")),
        _ => say!("this would be refused: {}: {}", text("reason"), text("why")),
    }
    output.one(&told)
}

fn request(told: &Map<String, Value>, output: &Output) -> anyhow::Result<()> {
    if output.shape != Shape::Table || output.field.is_some() {
        return output.one(told);
    }
    let text = |name: &str| told.get(name).and_then(Value::as_str);
    let (agent, role) = (text("agent").unwrap_or_default(), text("role").unwrap_or_default());
    match (text("reason"), told.get("expires").and_then(Value::as_u64)) {
        (Some(reason), _) => {
            say!("agent {agent} would be denied {role}: {reason}: {}", text("why").unwrap_or_default());
            say!("what to do: {}", text("do").unwrap_or_default());
        }
        (None, Some(expires)) => say!("agent {agent} would get {role} until {}", Timestamp(expires)),
        (None, None) => say!("agent {agent} would get {role}"),
    }
    let rows = told.get("checks").and_then(Value::as_array).into_iter().flatten();
    let rows: Vec<Map<String, Value>> = rows.filter_map(Value::as_object).map(for_people).collect();
    output.list(&rows, COLUMNS)
}

/// A check with its figures as people write them.
fn for_people(row: &Map<String, Value>) -> Map<String, Value> {
    let check = row.get("check").and_then(Value::as_str).unwrap_or_default();
    let written = |value: &Value| match value.as_u64() {
        // Nothing was signed yet that a request could lie before.
        Some(0) if check == "window" => Value::String("none".to_owned()),
        Some(at) if INSTANTS.contains(&check) => Value::String(Timestamp(at).to_string()),
        Some(span) if SPANS.contains(&check) => Value::String(Seconds(span).to_string()),
        _ => value.clone(),
    };
    let ends = |name: &str| name == "limit" && matches!(check, "key" | "session");
    let cell = |(name, value): (&String, &Value)| {
        let value = match (name.as_str(), value.as_u64()) {
            (_, Some(at)) if ends(name) => Value::String(Timestamp(at).to_string()),
            ("found" | "limit", _) => written(value),
            _ => value.clone(),
        };
        (name.clone(), value)
    };
    row.iter().map(cell).collect()
}
