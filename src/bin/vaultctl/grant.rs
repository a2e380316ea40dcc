//! `vaultctl grant`, `grants` and `revoke`: which agent may have which role, on what terms. Nothing is clipped: what an
//! agent asks beyond its terms is refused with the limit.

use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;
use ipnet::IpNet;
use nockvault::id::{AgentName, LeaseId, RoleName};
use nockvault::statement::explain::NewGrant;
use nockvault::statement::grant::{GrantCreate, GrantList, GrantRevoke, Rate, SessionPattern, Terms};
use nockvault::statement::lease::{LeaseRevoke, Scope};
use nockvault::time::{Clock as _, Seconds, SystemClock, Timestamp};
use serde_json::{Map, Value, json};

use crate::agent::{known, pages};
use crate::output::{As, Column, Output, Shape};
use crate::terms::{instant, network};
use crate::{Common, explain, find, lease};

/// Let an agent have a role, on terms.
///
/// For example: vaultctl grant kit orders-read --ttl 15m --max-ttl 1h --max-uses 100 --until 2026-12-31
/// --session 'nightly-*' --from 10.0.0.0/8 --rate 10/m
#[derive(Debug, Args)]
pub(crate) struct Grant {
    /// The agent.
    agent: AgentName,
    /// The role.
    role: RoleName,
    /// The life of a credential where none is asked for: 90s, 15m, 1h30m, 7d.
    #[arg(long, value_name = "SPAN")]
    ttl: Seconds,
    /// The longest life of a credential, with all its renewals; without it, as --ttl.
    #[arg(long, value_name = "SPAN")]
    max_ttl: Option<Seconds>,
    /// How many credentials in all.
    #[arg(long, value_name = "N")]
    max_uses: Option<u64>,
    /// When the grant ends: RFC 3339, or a date, which means the end of that day in UTC.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    until: Option<Timestamp>,
    /// Only in sessions of this name; * stands for any run of characters.
    #[arg(long, value_name = "PATTERN")]
    session: Option<SessionPattern>,
    /// Only from this network or address; may stand several times, or with commas. A unix socket counts as loopback.
    #[arg(long, value_name = "CIDR", value_delimiter = ',', value_parser = network)]
    from: Vec<IpNet>,
    /// At most so many in so much time: 10/m, 100/h, 3/10m.
    #[arg(long, value_name = "RATE")]
    rate: Option<Rate>,
    /// Say what it would allow and change, and what a request under it would get. Nothing is given. Ends with 2 if it would
    /// be refused.
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run, ask the backend of the role too if it could serve.
    #[arg(long, requires = "dry_run")]
    probe: bool,
}

/// What `grants` takes.
#[derive(Debug, Args)]
pub(crate) struct Grants {
    /// Only this agent's.
    #[arg(long)]
    agent: Option<AgentName>,
}

/// Take a grant back with every lease under it, or end one lease.
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// The agent whose grant ends.
    #[arg(required_unless_present = "lease", requires = "role")]
    agent: Option<AgentName>,
    /// The role of that grant.
    role: Option<RoleName>,
    /// End this lease alone.
    #[arg(long, value_name = "ID", conflicts_with_all = ["agent", "role"])]
    lease: Option<LeaseId>,
    /// Say which leases would end. Nothing is taken back.
    #[arg(long, conflicts_with = "lease")]
    dry_run: bool,
}

const COLUMNS: &[Column] = &[
    ("AGENT", "agent", As::Plain),
    ("ROLE", "role", As::Plain),
    ("TTL", "terms.ttl", As::Span),
    ("MAX TTL", "terms.max_ttl", As::Span),
    ("USES", "used", As::Plain),
    ("UNTIL", "ends", As::Plain),
    ("SESSION", "terms.session", As::Plain),
    ("FROM", "terms.from", As::Plain),
    ("RATE", "rate", As::Plain),
];

impl Grant {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
        let Grant { agent, role, ttl, max_ttl, max_uses, until, session, from, rate, dry_run, probe } = self;
        let terms = Terms { ttl, max_ttl: max_ttl.unwrap_or(ttl), max_uses, until, session, from, rate };
        terms.consistent().map_err(|why| anyhow!("these terms contradict each other: {why}"))?;
        let operator = find::connect(common).await?;
        if dry_run {
            let grant = GrantCreate { agent, role, terms };
            return explain::grant(&operator, NewGrant { grant, probe }, output).await;
        }
        let until = terms.until.map_or_else(|| "it is revoked".to_owned(), |until| until.to_string());
        let done = operator.command(GrantCreate { agent: agent.clone(), role: role.clone(), terms }).await?;
        say!("agent {agent} may have {role} until {until}");
        output.one(&done.result).map(|()| ExitCode::SUCCESS)
    }
}

impl Grants {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        let operator = find::connect(common).await?;
        let ask = async |page| Ok(operator.command(GrantList { agent: self.agent.clone(), page }).await?.result);
        let mut items = pages(ask).await?;
        known(&operator, self.agent.as_ref(), &items).await?;
        if output.shape == Shape::Table {
            let now = SystemClock.now();
            items.iter_mut().for_each(|item| for_people(item, now));
        }
        output.list(&items, COLUMNS)
    }
}

/// Adds the members that a table shows in one word.
fn for_people(item: &mut Map<String, Value>, now: Timestamp) {
    let uses = item.get("uses").and_then(Value::as_u64).unwrap_or_default();
    let terms = item.get("terms");
    let used = match terms.and_then(|terms| terms.get("max_uses")).and_then(Value::as_u64) {
        Some(max) => format!("{uses} of {max}"),
        None => uses.to_string(),
    };
    let rate = terms.and_then(|terms| terms.get("rate")).cloned().unwrap_or_default();
    let rate = serde_json::from_value::<Rate>(rate).map(|rate| rate.to_string());
    let until = terms.and_then(|terms| terms.get("until")).and_then(Value::as_u64).map(Timestamp);
    // As this machine's clock has it; the vault judges by its own.
    let over = |until: Timestamp| if until <= now { format!("{until} (over)") } else { until.to_string() };
    let until = until.map(over);
    item.insert("used".into(), json!(used));
    item.insert("ends".into(), json!(until));
    item.insert("rate".into(), json!(rate.ok()));
}

impl Revoke {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        let operator = find::connect(common).await?;
        if let (true, Some(agent), Some(role)) = (self.dry_run, &self.agent, &self.role) {
            let (agent, role) = (agent.clone(), role.clone());
            return explain::revoke(&operator, GrantRevoke { agent, role }, output).await;
        }
        let waiting = lease::waiting(&operator).await?;
        let done = match (self.lease, self.agent, self.role) {
            (Some(lease), _, _) => {
                let done = operator.command(LeaseRevoke { reason: None, scope: Scope::Lease(lease.clone()) }).await?;
                say!("revoked lease {lease}");
                done
            }
            (None, Some(agent), Some(role)) => {
                let done = operator.command(GrantRevoke { agent: agent.clone(), role: role.clone() }).await?;
                say!("revoked the grant of {role} to agent {agent}, and what lived under it");
                done
            }
            _ => anyhow::bail!("name an agent and a role, or a lease with --lease"),
        };
        output.one(&done.result)?;
        lease::undone(&operator, &done.result, waiting).await
    }
}
