//! Who asks: the vault's card, the agent's name, and its key. What is not named is taken from where it lies by habit.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use nockvault::client::fault::Fault;
use nockvault::client::keyfile::{INPUT, Origin, Places, find_in_ssh_agent, locate_agent};
use nockvault::client::seen::{Memory, usual_dir};
use nockvault::client::signer::Identity;
use nockvault::client::{Surroundings, place};
use nockvault::id::AgentName;
use nockvault::launcher::orphans::Orphans;
use nockvault::launcher::wallet::{Owner, Reporter};
use nockvault::launcher::want::Roles;

/// What `--key` begins with where the key is in an ssh-agent.
const IN_SSH_AGENT: &str = "ssh-agent:";

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
    /// `<NAME>.register` says that it is. Or ssh-agent:KEY, a key there by its comment or fingerprint (SHA256:..).
    #[arg(long, global = true, value_name = "FILE", env = "NOCKVAULT_AGENT_KEY", hide_env_values = true)]
    pub(crate) key: Option<PathBuf>,
    /// What the ssh-agent said, where it was asked for a key by name.
    #[arg(skip)]
    held: Option<Result<Identity<AgentName>, String>>,
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Who {
    /// The agent.
    pub(crate) fn agent(&self) -> Result<&AgentName, Fault> {
        self.agent
            .as_ref()
            .ok_or_else(|| Fault::local("whose name is asked in? Say --agent NAME, or set NOCKVAULT_AGENT"))
    }

    /// That the key does not come from standard input, which has another use.
    pub(crate) fn not_by_input(&self, used: &str) -> Result<(), Fault> {
        match self.key.as_deref() == Some(Path::new(INPUT)) {
            false => Ok(()),
            true => Err(Fault::Local(format!(
                "--key - is standard input, which {used}; name a file, or ssh-agent:KEY, or set \
                 NOCKVAULT_AGENT_<NAME>_ED25519_KEY"
            ))),
        }
    }

    /// Asks the ssh-agent for the key that `--key` names there, where it names one. What it said is told by who wants to
    /// have the key.
    pub(crate) async fn look_up(&mut self) {
        let wanted = self.key.as_ref().and_then(|key| key.to_str()).and_then(|key| key.strip_prefix(IN_SSH_AGENT));
        let Some((wanted, agent)) = wanted.zip(self.agent.as_ref()) else { return };
        let wanted = Some(wanted).filter(|wanted| !wanted.is_empty());
        let places = Places { file: None, ..self.places() };
        let found = find_in_ssh_agent(agent, wanted, &places, &variable).await;
        self.held = Some(found.map_err(|why| why.to_string()));
    }

    /// Where the key is looked for.
    fn places(&self) -> Places {
        let mut places = Places::usual();
        places.file.clone_from(&self.key);
        places.dirs.insert(0, Path::new(".").to_owned());
        places
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
        let (identity, origin) = match &self.held {
            Some(held) => (held.clone().map_err(Fault::Local)?, Origin::SshAgent),
            None => locate_agent(agent, &self.places(), &variable)?,
        };
        let (memory, orphans) = match usual_dir() {
            Some(dir) => (Memory::kept_in(&dir, &card.aud, agent)?, Some(Orphans::kept_in(&dir, &card.aud, agent)?)),
            None => (Memory::fleeting(), None),
        };
        let around = Surroundings { memory: Arc::new(memory), ..Surroundings::default() };
        let label = label.to_owned();
        Ok((Owner { card, identity, around, label, roles, reporter, orphans }, origin))
    }
}
