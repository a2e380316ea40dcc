//! Whom the commands beside a child ask: the launcher that they run under, else the vault with the agent's own key.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use clap::Args;
use nockvault::client::fault::Fault;
use nockvault::client::place::config_dir;
use nockvault::id::RoleName;
use nockvault::launcher::adapters::hosts::{Hosts, Place};
use nockvault::launcher::ask::Source;
use nockvault::launcher::key;
use nockvault::launcher::socket::Client;
use nockvault::launcher::wallet::{Silent, Wallet};
use nockvault::launcher::want::{Roles, Want};
use nockvault::statement::issue::Purpose;
use nockvault::time::Seconds;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::value;
use crate::who::Who;

/// A variable of the environment, where it is a text.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The launcher's socket, where this program runs under one.
pub(crate) fn launcher() -> Result<Client, Fault> {
    Client::inherited(&variable)?.ok_or_else(|| {
        Fault::local(
            "there is no launcher here: NOCKVAULT_AGENT_SOCKET is not set. This command works below vault-agent exec",
        )
    })
}

/// The launcher's socket, else the agent's own key. What the key gets lives until its lease ends: the session is not
/// noted for the next launcher, which would end it.
pub(crate) fn source(who: &Who) -> Result<Source, Fault> {
    let client = Client::inherited(&variable)?;
    key::hide()?;
    if let Some(client) = client {
        return Ok(Source::Socket(client));
    }
    let mut owner = who.owner("tool", Roles::Any, Arc::new(Silent))?;
    owner.orphans = None;
    Ok(Source::Own(Wallet::new(owner)))
}

/// On what terms a credential is asked for.
#[derive(Debug, Args)]
pub(crate) struct Terms {
    /// For how long, for example 15m; without it, for as long as the grant says. A launcher gives what it holds already,
    /// however long that lives.
    #[arg(long, value_name = "DURATION", default_value = "0", hide_default_value = true)]
    pub(crate) ttl: Seconds,
    /// A parameter for the role's engine. The value is JSON where it reads as such, else a text; @FILE is what is in a
    /// file, @- standard input.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = value::param)]
    pub(crate) params: Vec<(String, Value)>,
    /// What for. Whoever reads the trail will see it.
    #[arg(long, value_name = "TEXT", value_parser = purpose)]
    pub(crate) purpose: Option<Purpose>,
}

impl Terms {
    /// The credential that is wanted on these terms; `usual` is what for, where it was not said.
    pub(crate) fn want(&self, role: RoleName, usual: &str) -> Want {
        let purpose = self.purpose.clone().or_else(|| usual.to_owned().try_into().ok()).unwrap_or_default();
        let params: Map<String, Value> = self.params.iter().cloned().collect();
        Want { role, params, ttl: self.ttl, purpose }
    }
}

fn purpose(text: &str) -> Result<Purpose, String> {
    text.to_owned().try_into().map_err(str::to_owned)
}

/// The hosts that were named, else those in a file of the usual folder.
pub(crate) fn hosts(named: &[Place], file: &str) -> Result<Hosts, Fault> {
    if !named.is_empty() {
        return Ok(named.to_vec().into());
    }
    let Some(path) = config_dir().map(|dir| dir.join(file)) else { return Ok(Hosts::default()) };
    let at = |why: String| Fault::Local(format!("{}: {why}", path.display()));
    match std::fs::read_to_string(&path) {
        Ok(text) => Hosts::read(&text).map_err(at),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(Hosts::default()),
        Err(why) => Err(at(why.to_string())),
    }
}

/// All of standard input, where it is not longer than a question may be.
pub(crate) fn input(most: usize) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let mut input = Zeroizing::new(Vec::with_capacity(most + 1));
    std::io::stdin().take(most as u64 + 1).read_to_end(&mut input).map_err(Fault::local)?;
    if input.len() > most {
        return Err(Fault::Local(format!("more than {most} bytes came in on standard input")));
    }
    Ok(input)
}

/// Writes what was asked for to standard output.
pub(crate) fn give(bytes: &[u8]) -> Result<(), Fault> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    written.map_err(|why| Fault::Local(format!("standard output takes nothing: {why}")))
}
