//! `vault-agent mcp`: a server of the Model Context Protocol on standard input and output.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use nockvault::client::fault::Fault;
use nockvault::entropy::OsEntropy;
use nockvault::id::RoleName;
use nockvault::launcher::child::signals;
use nockvault::launcher::folder::Folder;
use nockvault::launcher::mcp::{Options, Proxied, serve};
use nockvault::launcher::proxy::{self, Rules, Serving};
use nockvault::launcher::wallet::{Owner, Silent, Wallet};
use nockvault::launcher::want::Roles;
use nockvault::launcher::{key, socket};

use crate::calm;
use crate::exec::{end_orphans, say_unended, trail};
use crate::proxy::exports;
use crate::who::Who;

/// Serve a model its credentials over the Model Context Protocol, without showing them to it
///
/// For a client's configuration: standard input and output carry the protocol. The model may list what it can ask for,
/// ask for a credential to be put into files or variables of its commands, and give it back. No answer holds a secret's
/// value. When the client goes, everything is given back.
#[derive(Debug, Args)]
#[command(
    after_help = "For Claude Code: claude mcp add nockvault -- vault-agent mcp --agent NAME --role ROLE\n\nWhat the model \
                        may run as this user can read the files it is told of: their values stay out of the conversation \
                        unless a command prints them."
)]
pub(crate) struct Mcp {
    /// A role that may be asked for. Without one, and without --proxy, every role that the agent was granted.
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<RoleName>,
    /// The folder for files, where neither XDG_RUNTIME_DIR nor /dev/shm will do.
    #[arg(long, value_name = "DIR")]
    file_dir: Option<PathBuf>,
    /// Put credentials into requests, by these rules of the proxy (see vault-agent proxy). The roles that they name can be
    /// had in that way alone, unless --role names them too.
    #[arg(long, value_name = "FILE")]
    proxy: Option<PathBuf>,
    /// Write a row for each request into the agent's own NockGuard trail, ~/.nockguard/logs/AGENT.audit.jsonl or this
    /// file. What cannot be written there is not given out.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    nockguard_trail: Option<Option<PathBuf>>,
    /// What the session's name begins with.
    #[arg(long, value_name = "NAME", env = "NOCKLOCK_SESSION_ID", hide_env_values = true, default_value = "mcp")]
    session: String,
}

impl Mcp {
    pub(crate) async fn run(self, who: &Who) -> anyhow::Result<ExitCode> {
        key::hide()?;
        who.not_by_input("carries the protocol here")?;
        let rules = self.proxy.as_deref().map(Rules::read).transpose()?;
        let roles: BTreeSet<RoleName> = self.roles.into_iter().collect();
        let roles = if roles.is_empty() && rules.is_none() { Roles::Any } else { Roles::Only(roles) };
        let mut owner = who.owner(&self.session, roles, Arc::new(Silent))?;
        if let Some(file) = self.nockguard_trail {
            owner.reporter = Arc::new(trail(&owner, file)?);
        }
        let wallet = Wallet::new(owner);
        end_orphans(&wallet).await;
        let socket =
            socket::serve(wallet.clone(), socket::Options { dir: self.file_dir.clone(), ..Default::default() })?;
        let proxy = match rules {
            Some(rules) => Some(Beside::start(&wallet, rules, self.file_dir.as_deref()).await?),
            None => None,
        };
        let options = Options {
            file_dir: self.file_dir,
            socket: socket.path().to_owned(),
            program: std::env::current_exe().context("this program's own path")?,
            proxy: proxy.as_ref().map(|beside| beside.told.clone()),
        };
        let mut stop = signals().context("signals")?;
        let served = tokio::select! {
            served = serve(wallet.clone(), options) => served,
            _ = stop.recv() => Ok(()),
        };
        drop(socket);
        let wallets = std::iter::once(wallet).chain(proxy.map(|beside| beside.told.wallet));
        for wallet in wallets {
            if let Err(fault) = wallet.close().await {
                say_unended(&fault);
            }
        }
        served?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The proxy, and the file that leads to it.
struct Beside {
    told: Proxied,
    _serving: Serving,
    _folder: Folder,
}

impl Beside {
    async fn start(wallet: &Wallet, rules: Rules, dir: Option<&Path>) -> Result<Beside, Fault> {
        let wants = rules.wants().cloned().collect();
        // A session of its own: nothing that asks the other wallet, by a tool or its socket, gets what the rules name.
        let owner = Owner { roles: Roles::Only(rules.roles()), ..wallet.owner().clone() };
        let wallet = Wallet::new(owner);
        let words = Arc::new(|words: &str| say!("{}", calm(words)));
        let serving = proxy::serve(wallet.clone(), rules, 0, &|name| std::env::var_os(name), words).await?;
        let folder = Folder::make(dir, None, &OsEntropy)?;
        // With the token of the proxy in it, which stays out of the conversation so.
        let file = folder.write("proxy.env", &exports(&serving))?;
        Ok(Beside { told: Proxied { wallet, wants, file }, _serving: serving, _folder: folder })
    }
}
