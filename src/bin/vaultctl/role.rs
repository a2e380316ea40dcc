//! `vaultctl role`: a role is a kind of credential from one engine, set up as that engine takes it.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use nockvault::client::fault::Fault;
use nockvault::client::operator::Operator;
use nockvault::denial::Reason;
use nockvault::id::RoleName;
use nockvault::statement::role::{RoleCheck, RoleCreate, RoleList, RoleRotate, RoleShow};
use serde_json::{Map, Value};

use crate::agent::pages;
use crate::output::{As, Column, Output};
use crate::{Common, find, members};

#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Create a role.
    ///
    /// Engine kv hands out a stored secret: --set secret=NAME [--set version=N]. Engine jwt signs a token:
    /// --set 'audience=["api"]' [--set scope="read write"] [--set alg=Ed25519] [--set 'claims={"group":"{{agent}}"}'],
    /// where {{agent}}, {{session}}, {{role}} and {{lease}} are replaced. What the other engines take is easier to write in
    /// a file.
    Create {
        /// Its name, never used again.
        role: RoleName,
        /// The engine that mints for it, such as kv, jwt, postgres, ssh or x509.
        #[arg(long)]
        engine: String,
        /// A member of the engine's configuration, also in place of one in the file. The value is JSON where it reads as
        /// such, the text of a file where it is @FILE (@- is standard input), else a text. A dot in the name leads into a table.
        #[arg(long = "set", value_name = "NAME=VALUE")]
        set: Vec<String>,
        /// The engine's configuration in a file of TOML or JSON; - reads it from standard input.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Create nothing: let the vault look at the backend, and show what it found. Ends with 1 if it would not work.
        #[arg(long)]
        check: bool,
    },
    /// Let the vault look at the backend of a role, and show what it found. Ends with 1 if it would not work.
    Check {
        /// The role.
        role: RoleName,
    },
    /// Exchange the password by which the vault is let in at a role's backend for one that nobody else knows.
    Rotate {
        /// The role.
        role: RoleName,
    },
    /// List the roles.
    List,
    /// Show one role.
    Show {
        /// The role.
        role: RoleName,
    },
}

const COLUMNS: &[Column] = &[
    ("ROLE", "role", As::Plain),
    ("ENGINE", "engine", As::Plain),
    ("FROZEN", "frozen", As::Plain),
    ("SINCE", "since", As::Time),
    ("CONFIG", "config", As::Brief),
];

impl Role {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        match self {
            Role::Create { role, engine, set, config, check: only } => {
                let config = members::gather(config.as_deref(), &set)?;
                if only {
                    let found = check(&find::connect(common).await?, engine, config).await?;
                    say!("role {role} would work; nothing was created");
                    return output.one(&found);
                }
                let body = RoleCreate { role: role.clone(), engine: engine.clone(), config: config.clone() };
                let operator = find::connect(common).await?;
                let done = operator.command(body).await?;
                say!("created role {role}");
                if engine == "kv" {
                    unstored(&operator, config).await;
                }
                output.one(&done.result)
            }
            Role::Check { role } => {
                let operator = find::connect(common).await?;
                let shown = operator.command(RoleShow { role: role.clone() }).await?.result;
                let engine = shown.get("engine").and_then(Value::as_str).context("the answer names no engine")?;
                let config = shown.get("config").and_then(Value::as_object).context("the answer has no config")?;
                let found = check(&operator, engine.to_owned(), config.clone()).await?;
                say!("role {role} works");
                output.one(&found)
            }
            Role::Rotate { role } => {
                let done = find::connect(common).await?.command(RoleRotate { role: role.clone() }).await?;
                match done.result.get("rotated") {
                    Some(Value::Bool(true)) => say!("the backend of {role} has taken a new password of the vault"),
                    _ => say!("a new password is stored and the backend of {role} has not taken it yet; see reason"),
                }
                output.one(&done.result)
            }
            Role::List => {
                let operator = find::connect(common).await?;
                let items = pages(async |page| Ok(operator.command(RoleList { page }).await?.result)).await?;
                output.list(&items, COLUMNS)
            }
            Role::Show { role } => output.one(&find::connect(common).await?.command(RoleShow { role }).await?.result),
        }
    }
}

/// Says it where the secret that a role hands out is not stored yet. The role is made all the same, in any order.
async fn unstored(operator: &Operator, config: Map<String, Value>) {
    let Some(name) = config.get("secret").and_then(Value::as_str).map(str::to_owned) else { return };
    let found = operator.command(RoleCheck { engine: "kv".to_owned(), config }).await;
    if found.is_err_and(|fault| fault.reason() == Some(Reason::SecretMissing)) {
        say!("no secret {name} is stored yet: vaultctl secret put {name}");
    }
}

/// Whether a role of this configuration would work, and what was found. That it would not is an answer like another:
/// it ends with 1, and a command that the vault does not take with 2.
pub(crate) async fn check(
    operator: &Operator,
    engine: String,
    config: Map<String, Value>,
) -> anyhow::Result<Map<String, Value>> {
    match operator.command(RoleCheck { engine, config }).await {
        Ok(done) => Ok(done.result),
        Err(Fault::Refused(refusal)) if refusal.proven && is_about_the_role(&refusal.code) => {
            bail!("it would not work: {}", refusal.message)
        }
        Err(fault) => Err(fault.into()),
    }
}

fn is_about_the_role(code: &str) -> bool {
    use Reason::{BadRole, EngineRefused, EngineUnavailable, SecretExpired, SecretMissing};
    [BadRole, EngineRefused, EngineUnavailable, SecretExpired, SecretMissing].iter().any(|one| one.code() == code)
}
