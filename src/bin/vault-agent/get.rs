//! `vault-agent get`, `release`, `list`: a credential on standard output, and what the launcher holds.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use nockvault::id::RoleName;
use nockvault::launcher::ask::Given;
use zeroize::Zeroizing;

use crate::source::{Terms, give, launcher, source};
use crate::who::Who;

/// How a result is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For a shell or for people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Print a credential: the launcher's, or one of the agent's own where there is no launcher
///
/// Below `vault-agent exec`, the launcher gives what it holds, and renews it. Elsewhere the agent's own key asks, and the
/// lease lives until its end.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The role.
    role: RoleName,
    #[command(flatten)]
    terms: Terms,
    /// The member of the secret to print, for example username. Without it: value, token, url or password.
    #[arg(long, value_name = "NAME", conflicts_with = "output")]
    member: Option<String>,
    /// The member alone, or all of the secret with its lease.
    #[arg(long, short, value_name = "FORM", default_value = "text")]
    output: Form,
    /// Ask for a new one, whatever the launcher holds.
    #[arg(long)]
    fresh: bool,
}

impl Get {
    pub(crate) async fn run(&self, who: &Who) -> anyhow::Result<ExitCode> {
        let (source, want) = (source(who)?, self.terms.want(self.role.clone(), "vault-agent get"));
        let given = if self.fresh { source.fresh(&want).await? } else { source.ask(&want).await? };
        match self.output {
            Form::Json => give(&whole(&given))?,
            Form::Text => {
                let bytes = given.bytes(self.member.as_deref())?;
                let mut line = Zeroizing::new(Vec::with_capacity(bytes.len() + 1));
                line.extend_from_slice(&bytes);
                // What is no text is given as it is.
                if std::str::from_utf8(&bytes).is_ok() {
                    line.push(b'\n');
                }
                give(&line)?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The open part, and the secret as the vault made it.
fn whole(given: &Given) -> Zeroizing<Vec<u8>> {
    let open = serde_json::json!({
        "exp": given.exp, "kind": given.kind, "lease": given.lease, "renewable": given.renewable, "role": given.role,
    });
    let (open, secret) = (open.to_string(), given.secret.expose_json());
    let mut line = Zeroizing::new(Vec::with_capacity(open.len() + secret.len() + 16));
    line.extend_from_slice(open.trim_end_matches('}').as_bytes());
    line.extend_from_slice(b",\"secret\":");
    line.extend_from_slice(secret);
    line.extend_from_slice(b"}\n");
    line
}

/// Give back what the launcher holds of a role
///
/// The next to ask gets a new one.
#[derive(Debug, Args)]
pub(crate) struct Release {
    /// The role.
    role: RoleName,
}

impl Release {
    pub(crate) async fn run(&self) -> anyhow::Result<ExitCode> {
        let count = launcher()?.release(&self.role).await?;
        say!("gave back {count} {} of {}", if count == 1 { "lease" } else { "leases" }, self.role);
        Ok(ExitCode::SUCCESS)
    }
}

/// Show what the launcher holds
#[derive(Debug, Args)]
pub(crate) struct List {
    /// A table, or JSON with the roles that may be asked for.
    #[arg(long, short, value_name = "FORM", default_value = "text")]
    output: Form,
}

impl List {
    pub(crate) async fn run(&self) -> anyhow::Result<ExitCode> {
        let (leases, roles) = launcher()?.held().await?;
        if self.output == Form::Json {
            give(format!("{}\n", serde_json::json!({ "leases": leases, "roles": roles })).as_bytes())?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut lines = String::new();
        for held in &leases {
            lines += &format!("{}\t{}\tuntil {}\t{}\n", held.role, held.kind, held.exp, held.lease);
        }
        give(lines.as_bytes())?;
        match &roles {
            Some(roles) => {
                let roles: Vec<_> = roles.iter().map(RoleName::as_str).collect();
                say!("this launcher asks for {}", roles.join(", "));
            }
            None => say!("this launcher asks for whatever its agent was granted"),
        }
        Ok(ExitCode::SUCCESS)
    }
}
