//! Who asks: the vault's card, the agent's name, and its key. What is not named is taken from where it lies by habit.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use nockvault::client::fault::Fault;
use nockvault::client::keyfile::{Origin, Places, locate_agent};
use nockvault::client::seen::{Memory, usual_dir};
use nockvault::client::{Surroundings, place};
use nockvault::id::AgentName;
use nockvault::launcher::orphans::Orphans;
use nockvault::launcher::wallet::{Owner, Reporter};
use nockvault::launcher::want::Roles;

/// Where the vault and the agent's key are.
#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Who {
    /// The vault card: a file, or the name of one in ~/.config/nockvault. Without it, the only card there is taken.
    #[arg(long, global = true, value_name = "CARD", env = "NOCKVAULT_CARD", hide_env_values = true)]
    pub(crate) vault: Option<PathBuf>,
    /// The agent in whose name is asked.
    #[arg(long, global = true, value_name = "NAME", env = "NOCKVAULT_AGENT", hide_env_values = true)]
    pub(crate) agent: Option<AgentName>,
    /// The file with the agent's key; - is standard input. Without it: the variable `NOCKVAULT_AGENT_<NAME>_ED25519_KEY`,
    /// `<NAME>.ed25519` here, ~/.config/nockvault/agents, where NockGuard keeps keys, and the ssh-agent in which
    /// `<NAME>.register` says that it is.
    #[arg(long, global = true, value_name = "FILE", env = "NOCKVAULT_AGENT_KEY", hide_env_values = true)]
    pub(crate) key: Option<PathBuf>,
}

impl Who {
    /// The agent.
    pub(crate) fn agent(&self) -> Result<&AgentName, Fault> {
        self.agent
            .as_ref()
            .ok_or_else(|| Fault::local("whose name is asked in? Say --agent NAME, or set NOCKVAULT_AGENT"))
    }

    /// Whose wallet it is to be: card, key, memory, and the sessions of launchers before.
    pub(crate) fn owner(&self, label: &str, roles: Roles, reporter: Arc<dyn Reporter>) -> Result<Owner, Fault> {
        self.located(label, roles, reporter).map(|(owner, _)| owner)
    }

    /// The same, and where its key was.
    pub(crate) fn located(
        &self,
        label: &str,
        roles: Roles,
        reporter: Arc<dyn Reporter>,
    ) -> Result<(Owner, Origin), Fault> {
        let (card, agent) = (place::card(self.vault.as_deref())?, self.agent()?);
        let mut places = Places::usual();
        places.file.clone_from(&self.key);
        places.dirs.insert(0, Path::new(".").to_owned());
        let (identity, origin) = locate_agent(agent, &places, &|name| std::env::var(name).ok())?;
        let (memory, orphans) = match usual_dir() {
            Some(dir) => (Memory::kept_in(&dir, &card.aud, agent)?, Some(Orphans::kept_in(&dir, &card.aud, agent)?)),
            None => (Memory::fleeting(), None),
        };
        let around = Surroundings { memory: Arc::new(memory), ..Surroundings::default() };
        let label = label.to_owned();
        Ok((Owner { card, identity, around, label, roles, reporter, orphans }, origin))
    }
}
