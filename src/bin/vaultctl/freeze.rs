//! `vaultctl freeze` and `thaw`: stops an agent, a session, a role or everything with one command, and lets it act again.

use std::fmt;

use anyhow::bail;
use clap::Args;
use nockvault::id::{AgentName, RoleName, Sid};
use nockvault::statement::agent::{AgentFreeze, AgentThaw};
use nockvault::statement::freeze::{RoleFreeze, RoleThaw, VaultFreeze, VaultThaw};
use nockvault::statement::issue::Purpose;
use nockvault::statement::lease::{LeaseRevoke, Scope};

use crate::output::Output;
use crate::{Common, find, lease};

/// Stop an agent, a session, a role or everything: nothing is issued any more, and every lease of it is revoked.
///
/// It is waited until the backends have taken the credentials away. Keys and grants stay; `vaultctl thaw` takes it back,
/// but for a session, which is over for good: its agent opens another under a new name, unless it is frozen itself. A key
/// that somebody took is ended with `vaultctl agent end-key`.
#[derive(Debug, Args)]
pub(crate) struct Freeze {
    #[command(flatten)]
    what: What,
    /// End this session.
    #[arg(long, value_name = "AGENT/SID", conflicts_with_all = ["name", "agent", "role", "everything"])]
    session: Option<String>,
    /// Why, for whoever reads the trail; at most 256 bytes.
    #[arg(long, value_name = "TEXT", value_parser = lease::reason)]
    reason: Option<Purpose>,
}

/// Let a frozen agent, a frozen role or everything act again. What was revoked stays revoked.
#[derive(Debug, Args)]
pub(crate) struct Thaw {
    #[command(flatten)]
    what: What,
}

#[derive(Debug, Args)]
struct What {
    /// The agent.
    #[arg(value_name = "AGENT", conflicts_with_all = ["agent", "role", "everything"])]
    name: Option<AgentName>,
    /// This agent.
    #[arg(long, conflicts_with_all = ["role", "everything"])]
    agent: Option<AgentName>,
    /// This role.
    #[arg(long, conflicts_with = "everything")]
    role: Option<RoleName>,
    /// Every agent and every role.
    #[arg(long)]
    everything: bool,
}

/// What is frozen or thawed.
enum Named {
    Agent(AgentName),
    Role(RoleName),
    Everything,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Named::Agent(agent) => write!(f, "agent {agent} is"),
            Named::Role(role) => write!(f, "role {role} is"),
            Named::Everything => f.write_str("every agent and every role is"),
        }
    }
}

impl Named {
    /// What names it on the command line.
    fn typed(&self) -> String {
        match self {
            Named::Agent(agent) => agent.to_string(),
            Named::Role(role) => format!("--role {role}"),
            Named::Everything => "--everything".to_owned(),
        }
    }
}

impl What {
    fn named(self) -> Option<Named> {
        match self {
            What { everything: true, .. } => Some(Named::Everything),
            What { role: Some(role), .. } => Some(Named::Role(role)),
            What { name, agent, .. } => name.or(agent).map(Named::Agent),
        }
    }
}

/// An agent's session: agents' names hold no slash, nor do sessions'.
fn session(text: &str) -> anyhow::Result<Scope> {
    let named = text.split_once('/').and_then(|(agent, sid)| Some((agent.parse().ok()?, sid.parse::<Sid>().ok()?)));
    match named {
        Some((agent, sid)) => Ok(Scope::Session(agent, sid)),
        None => bail!("{text:?} is no session; name it AGENT/SID, as `vaultctl lease list` has them"),
    }
}

impl Freeze {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        let ends = self.session.as_deref().map(session).transpose()?;
        let reason = self.reason;
        let operator = find::connect(common).await?;
        let waiting = lease::waiting(&operator).await?;
        let named = self.what.named();
        let said = named.as_ref().map(|named| format!("{named} frozen; back again: vaultctl thaw {}", named.typed()));
        let said = match &self.session {
            Some(session) => Some(format!("session {session} is ended, for good; its agent may open another")),
            None => said,
        };
        let done = match (ends, named) {
            (Some(scope), _) => operator.command(LeaseRevoke { reason, scope }).await?,
            (None, Some(Named::Agent(agent))) => operator.command(AgentFreeze { agent, reason }).await?,
            (None, Some(Named::Role(role))) => {
                operator.command(RoleFreeze { reason: reason.unwrap_or_default(), role }).await?
            }
            (None, Some(Named::Everything)) => {
                operator.command(VaultFreeze { reason: reason.unwrap_or_default() }).await?
            }
            (None, None) => bail!("name an agent, or --session, --role or --everything"),
        };
        if let Some(said) = said {
            say!("{said}");
        }
        output.one(&done.result)?;
        lease::undone(&operator, &done.result, waiting).await
    }
}

impl Thaw {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        let Some(named) = self.what.named() else { bail!("name an agent, or --role or --everything") };
        let operator = find::connect(common).await?;
        let said = format!("{named} thawed");
        let done = match named {
            Named::Agent(agent) => operator.command(AgentThaw { agent }).await?,
            Named::Role(role) => operator.command(RoleThaw { role }).await?,
            Named::Everything => operator.command(VaultThaw {}).await?,
        };
        say!("{said}");
        output.one(&done.result)
    }
}
