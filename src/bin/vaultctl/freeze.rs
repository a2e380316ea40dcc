//! `vaultctl freeze` and `thaw`: stops an agent with one command, and lets it act again.

use clap::Args;
use nockvault::id::AgentName;
use nockvault::statement::agent::{AgentFreeze, AgentThaw};

use crate::output::Output;
use crate::{Common, find, lease};

/// Stop an agent: none of its requests is carried out any more, and every lease it has is revoked.
///
/// It is waited until the backends have taken the credentials away. Keys and grants stay; `vaultctl thaw` lets the agent
/// act again. A key that somebody took is ended with `vaultctl agent end-key`.
#[derive(Debug, Args)]
pub(crate) struct Freeze {
    /// The agent.
    agent: AgentName,
}

/// Let a frozen agent act again. What was revoked stays revoked.
#[derive(Debug, Args)]
pub(crate) struct Thaw {
    /// The agent.
    agent: AgentName,
}

impl Freeze {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        let operator = find::connect(common).await?;
        let waiting = lease::waiting(&operator).await?;
        let done = operator.command(AgentFreeze { agent: self.agent }).await?.result;
        output.one(&done)?;
        lease::undone(&operator, &done, waiting).await
    }
}

impl Thaw {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        output.one(&find::connect(common).await?.command(AgentThaw { agent: self.agent }).await?.result)
    }
}
