//! `vaultctl lease`: what was handed out, and how it is taken back.

use std::time::Duration;

use anyhow::bail;
use clap::{Args, Subcommand};
use nockvault::client::operator::Operator;
use nockvault::id::{AgentName, LeaseId, RoleName, Sid};
use nockvault::statement::issue::Purpose;
use nockvault::statement::lease::{LeaseForget, LeaseList, LeaseRevoke, LeaseShow, Scope, Which};
use nockvault::statement::status::StatusRead;
use serde_json::{Map, Value};

use crate::agent::{known, pages};
use crate::output::{As, Column, Output};
use crate::{Common, find, given};

#[derive(Debug, Subcommand)]
pub(crate) enum Lease {
    /// List leases, newest first: those that live, unless told otherwise.
    List {
        /// Only this agent's.
        #[arg(long)]
        agent: Option<AgentName>,
        /// Also those that ended.
        #[arg(long, conflicts_with = "stuck")]
        all: bool,
        /// Those that ended, and whose credential still waits to be taken away at its backend.
        #[arg(long)]
        stuck: bool,
    },
    /// Show one lease.
    Show {
        /// The lease.
        lease: LeaseId,
    },
    /// Revoke leases, and wait until their backends have taken the credentials away.
    ///
    /// For example: vaultctl lease revoke --agent kit. An agent whose key may be in wrong hands gets new leases as long
    /// as its key and its grants live: vaultctl agent end-key ends its keys and revokes its leases.
    Revoke(Revoke),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Revoke {
    /// One lease.
    #[arg(conflicts_with_all = ["agent", "session", "role", "all"])]
    lease: Option<LeaseId>,
    /// All leases of this agent.
    #[arg(long, conflicts_with_all = ["role", "all"])]
    agent: Option<AgentName>,
    /// With --agent: only those of this session, and end the session.
    #[arg(long, value_name = "SID", requires = "agent")]
    session: Option<Sid>,
    /// All leases of this role.
    #[arg(long, conflicts_with = "all")]
    role: Option<RoleName>,
    /// All leases of the vault.
    #[arg(long)]
    all: bool,
    /// Give up on a lease that ended and whose backend does not take its credential away. It may still be there: you
    /// answer for it, and it stands in the audit trail.
    #[arg(long, requires = "lease")]
    force: bool,
    /// Do not wait for the backends.
    #[arg(long)]
    no_wait: bool,
    /// Why, for whoever reads the trail; at most 256 bytes.
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: Option<Purpose>,
}

/// What `--reason` says.
pub(crate) fn reason(typed: &str) -> Result<Purpose, String> {
    Purpose::try_from(given::text(typed)?).map_err(|why| why.to_string())
}

const COLUMNS: &[Column] = &[
    ("LEASE", "lease", As::Plain),
    ("AGENT", "agent", As::Plain),
    ("ROLE", "role", As::Plain),
    ("STATE", "state", As::Plain),
    ("ISSUED", "issued", As::Time),
    ("EXPIRES", "expires", As::Time),
    ("REVOCATION", "revocation", As::Plain),
    ("SESSION", "sid", As::Plain),
];

const STUCK: &[Column] = &[
    ("LEASE", "lease", As::Plain),
    ("ROLE", "role", As::Plain),
    ("HANDLE", "handle", As::Plain),
    ("STATE", "state", As::Plain),
    ("ENDED", "ended", As::Time),
    ("TRIES", "undo.tries", As::Plain),
    ("NEXT", "undo.retry", As::Time),
    ("FAULT", "undo.fault", As::Plain),
];

impl Lease {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        let operator = find::connect(common).await?;
        match self {
            Lease::List { agent, all, stuck } => {
                let (which, columns) = match (all, stuck) {
                    (_, true) => (Which::Stuck, STUCK),
                    (true, _) => (Which::All, COLUMNS),
                    _ => (Which::Live, COLUMNS),
                };
                let ask =
                    async |page| Ok(operator.command(LeaseList { agent: agent.clone(), which, page }).await?.result);
                let items = pages(ask).await?;
                known(&operator, agent.as_ref(), &items).await?;
                output.list(&items, columns)
            }
            Lease::Show { lease } => output.one(&operator.command(LeaseShow { lease }).await?.result),
            Lease::Revoke(revoke) => revoke.run(&operator, output).await,
        }
    }
}

impl Revoke {
    fn scope(&self) -> anyhow::Result<Scope> {
        Ok(match self {
            Revoke { lease: Some(lease), .. } => Scope::Lease(lease.clone()),
            Revoke { agent: Some(agent), session: Some(sid), .. } => Scope::Session(agent.clone(), sid.clone()),
            Revoke { agent: Some(agent), .. } => Scope::Agent(agent.clone()),
            Revoke { role: Some(role), .. } => Scope::Role(role.clone()),
            Revoke { all: true, .. } => Scope::All,
            _ => bail!("name a lease, or --agent, --role or --all"),
        })
    }

    async fn run(self, operator: &Operator, output: &Output) -> anyhow::Result<()> {
        if let (Some(lease), true) = (&self.lease, self.force) {
            let done = operator.command(LeaseForget { lease: lease.clone() }).await?;
            say!("gave up on lease {lease}; its credential may still be at its backend");
            return output.one(&done.result);
        }
        let before = waiting(operator).await?;
        let done = operator.command(LeaseRevoke { reason: self.reason.clone(), scope: self.scope()? }).await?;
        let leases = done.result.get("leases").and_then(Value::as_u64).unwrap_or_default();
        say!("revoked {leases} {}", if leases == 1 { "lease" } else { "leases" });
        output.one(&done.result)?;
        if self.no_wait || leases == 0 {
            return Ok(());
        }
        match &self.lease {
            Some(lease) => one_undone(operator, lease).await,
            None => all_undone(operator, before).await,
        }
    }
}

/// How many leases wait for a backend before a command: it does not wait for these.
pub(crate) async fn waiting(operator: &Operator) -> anyhow::Result<u64> {
    Ok(number(&operator.command(StatusRead {}).await?.result, "undoing"))
}

/// Waits for the backends of what a command took back, where that was anything.
pub(crate) async fn undone(operator: &Operator, done: &Map<String, Value>, before: u64) -> anyhow::Result<()> {
    if number(done, "leases") > 0 { all_undone(operator, before).await } else { Ok(()) }
}

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(500);
/// After how many looks without progress nobody waits any longer.
const PATIENCE: u32 = 20;

/// Waits until a lease has nothing left at its backend, and says what its end is worth.
async fn one_undone(operator: &Operator, lease: &LeaseId) -> anyhow::Result<()> {
    for _ in 0..PATIENCE {
        let shown = operator.command(LeaseShow { lease: lease.clone() }).await?.result;
        if shown.get("undo").is_none_or(Value::is_null) {
            match shown.get("revocation").and_then(Value::as_str) {
                Some("backend") => say!("its backend has taken the credential away"),
                Some("listed") => {
                    say!(
                        "until it would have expired it stands in the published list; whoever relies on it must fetch that"
                    );
                }
                _ => say!("what it gave cannot be taken back: change it at its source"),
            }
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
    say!("its backend has not taken the credential away yet; the vault goes on trying: vaultctl lease show {lease}");
    Ok(())
}

/// Waits until nothing is left to revoke, and no more is left at backends than `before`, and says how far it is.
async fn all_undone(operator: &Operator, before: u64) -> anyhow::Result<()> {
    let (mut last, mut still) = ((u64::MAX, u64::MAX), 0);
    while still < PATIENCE {
        let status = operator.command(StatusRead {}).await?.result;
        let left = (number(&status, "revoking"), number(&status, "undoing").saturating_sub(before));
        if left == (0, 0) {
            if last.1 != u64::MAX {
                say!("their backends have taken all of it away");
            }
            return Ok(());
        }
        if left == last {
            still += 1;
        } else {
            let more = if left.0 > 0 { "; more are being revoked" } else { "" };
            let at = if left.1 == 1 {
                "lease still to be taken away at its backend"
            } else {
                "leases still to be taken away at their backends"
            };
            say!("{} {at}{more}", left.1);
            (last, still) = (left, 0);
        }
        tokio::time::sleep(LOOK).await;
    }
    let (wait, their) = if last.1 == 1 { ("lease waits", "its backend") } else { ("leases wait", "their backends") };
    say!("{} {wait} for {their}; the vault goes on trying: vaultctl lease list --stuck", last.1);
    Ok(())
}

fn number(status: &Map<String, Value>, member: &str) -> u64 {
    status.get(member).and_then(Value::as_u64).unwrap_or_default()
}
