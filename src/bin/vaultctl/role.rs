//! `vaultctl role`: a role is a kind of credential from one engine, set up as that engine takes it.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use nockvault::id::RoleName;
use nockvault::statement::role::{RoleCreate, RoleList, RoleShow};
use serde_json::{Map, Value};

use crate::agent::pages;
use crate::output::{As, Column, Output};
use crate::{Common, find};

#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Create a role.
    ///
    /// Engine kv hands out a stored secret: --set secret=NAME [--set version=N]. Engine jwt signs a token:
    /// --set 'audience=["api"]' [--set scope=read].
    Create {
        /// Its name, never used again.
        role: RoleName,
        /// The engine that mints for it: kv or jwt.
        #[arg(long)]
        engine: String,
        /// A member of the engine's configuration. The value is JSON where it reads as such, else a text.
        #[arg(long = "set", value_name = "NAME=VALUE")]
        set: Vec<String>,
        /// The engine's configuration as a JSON object; - reads it from standard input.
        #[arg(long, value_name = "FILE", conflicts_with = "set")]
        config: Option<PathBuf>,
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
    ("SINCE", "since", As::Time),
    ("CONFIG", "config", As::Plain),
];

impl Role {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        match self {
            Role::Create { role, engine, set, config } => {
                let config = match config {
                    Some(file) => read(&file)?,
                    None => members(&set)?,
                };
                let body = RoleCreate { role: role.clone(), engine, config };
                let done = find::connect(common).await?.command(body).await?;
                say!("created role {role}");
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

fn members(set: &[String]) -> anyhow::Result<Map<String, Value>> {
    let mut members = Map::new();
    for one in set {
        let (name, text) = one.split_once('=').with_context(|| format!("{one:?} is not NAME=VALUE"))?;
        let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        if members.insert(name.to_owned(), value).is_some() {
            bail!("{name} is set twice");
        }
    }
    Ok(members)
}

fn read(file: &Path) -> anyhow::Result<Map<String, Value>> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)?;
    } else {
        text = std::fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
    }
    serde_json::from_str(&text).with_context(|| format!("{} holds no JSON object", file.display()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_json_where_they_read_as_such() {
        let set = ["secret=orders-db", "version=3", r#"audience=["api"]"#, "text=\"3\"", "with=a=b"];
        let set: Vec<String> = set.iter().map(ToString::to_string).collect();
        let wanted = json!({"secret": "orders-db", "version": 3, "audience": ["api"], "text": "3", "with": "a=b"});
        assert_eq!(Value::Object(members(&set).unwrap()), wanted);
        assert!(members(&["x".into()]).is_err());
        assert!(members(&["x=1".into(), "x=2".into()]).is_err());
    }
}
