//! `vault-agent accept-restore`: goes on with a vault that was restored from a backup, once whoever owns the agent has
//! decided that it may. Until then the agent's requests are refused, and rightly so: a restore looks like a history that
//! somebody rolled back.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use nockvault::client::agent::Agent;
use nockvault::client::fault::Fault;
use nockvault::denial::Reason;
use nockvault::launcher::wallet::{Owner, Silent};
use nockvault::launcher::want::Roles;

use crate::who::Who;

/// Go on with a vault that was restored from a backup
///
/// A vault that comes out of a backup does not know the newest entries of its agents' chains, and refuses whoever saw them
/// with `restored`. Ask its operator who restored it, and why. Then this command takes the vault's signed word for it, and
/// keeps the newest entry that was seen as evidence of what was lost, beside the agent's memory.
#[derive(Debug, Args)]
pub(crate) struct AcceptRestore {}

impl AcceptRestore {
    pub(crate) async fn run(&self, who: &Who) -> anyhow::Result<ExitCode> {
        let Owner { card, identity, around, .. } = who.owner("accept", Roles::Any, Arc::new(Silent))?;
        let agent = Agent::connect_in(&card, identity, around).await?;
        let refusal = match agent.open_session("accept").await {
            Err(Fault::Refused(refusal)) if Reason::from_code(&refusal.code) == Some(Reason::Restored) => refusal,
            Err(fault) => return Err(fault.into()),
            Ok((session, _)) => {
                agent.close(session.sid()).await?;
                say!("the vault {} knows all that this agent saw of its chain; there is nothing to accept", card.name);
                return Ok(ExitCode::SUCCESS);
            }
        };
        let lost = agent.accept_restore(&refusal)?;
        let (session, opened) = agent.open_session("accept").await?;
        agent.close(session.sid()).await?;
        say!(
            "accepted: of this agent's chain {} entries had been seen, up to {}, which is kept as evidence; the restored \
             one goes on at {}",
            lost.size,
            lost.head,
            opened.entry.seq
        );
        Ok(ExitCode::SUCCESS)
    }
}
