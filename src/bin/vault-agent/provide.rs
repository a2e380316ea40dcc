//! `vault-agent provide`: secrets by JSON on standard input and output.

use std::process::ExitCode;

use clap::Args;
use nockvault::id::RoleName;
use nockvault::launcher::adapters::provide::{Found, INPUT_MAX, Names, Wanted, ids};
use nockvault::launcher::want::Roles;

use crate::source::{Terms, give, input, source};
use crate::who::Who;

/// Answer as an exec provider of secrets (OpenClaw's SecretRef)
///
/// In openclaw.json, with the program's whole path:
///
/// "secrets": {"providers": {"nockvault": {"source": "exec", "command": "/usr/local/bin/vault-agent",
///   "args": ["provide"], "passEnv": ["HOME", "NOCKVAULT_AGENT_SOCKET"]}}}
///
/// An id is ROLE or ROLE:MEMBER, or a name that --id gives to one.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Provide {
    /// A name for a role, or for a member of its secret.
    #[arg(long = "id", value_name = "NAME=ROLE[:MEMBER]", value_parser = name)]
    names: Vec<(String, Wanted)>,
    /// Only these roles may be asked for by their own names; none, where there are names and no such role.
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<RoleName>,
    #[command(flatten)]
    terms: Terms,
}

impl Provide {
    pub(crate) async fn run(&self, who: &Who) -> anyhow::Result<ExitCode> {
        let ids = ids(&input(INPUT_MAX)?)?;
        let roles = match (self.roles.as_slice(), self.names.as_slice()) {
            ([], []) => Roles::Any,
            (roles, _) => Roles::Only(roles.iter().cloned().collect()),
        };
        let names = Names { names: self.names.iter().cloned().collect(), roles };
        let (source, mut found) = (source(who)?, Found::default());
        for id in ids {
            match names.find(&id) {
                Ok(wanted) => {
                    let given = source.ask(&self.terms.want(wanted.role.clone(), "exec provider")).await;
                    found.take(id, &wanted, given);
                }
                Err(why) => found.miss(id, why),
            }
        }
        give(&found.answer())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A name and what it stands for.
pub(crate) fn name(text: &str) -> Result<(String, Wanted), String> {
    let (name, wanted) = text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=ROLE[:MEMBER]"))?;
    Ok((name.to_owned(), wanted.parse().map_err(|why| format!("{text:?} is not NAME=ROLE[:MEMBER]: {why}"))?))
}
