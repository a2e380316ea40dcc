//! `vaultctl keys`: public keys for others: the directory of all of them, and what a witness is configured with.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;
use nockvault::audit::directory::certs;
use nockvault::audit::entry;
use nockvault::audit::note::NoteKey;
use nockvault::client::operator::Operator;
use nockvault::statement::cert::KeyRole;
use nockvault::statement::directory::Directory;
use nockvault::statement::status::StatusRead;
use serde_json::{Map, Value, json};

use crate::audit::{Chain, object};
use crate::output::{Output, Shape, print};
use crate::{Common, find};

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Write the key directory: every key of the vault, its agents and operators, with names, signed by the vault.
    ///
    /// It stands by itself: vault-verify and clients check answers and entries by it, offline, until it expires. Anybody
    /// gets it without names from /.well-known/nockvault/keys.
    Export {
        /// Write into this file instead of standard output; one that is there is replaced as a whole.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Write what a witness is configured with instead: for each chain the key that signs its checkpoints, named by
        /// the chain's origin, as lines of a C2SP policy (log NAME+ID+KEY).
        #[arg(long, conflicts_with = "file")]
        witness: bool,
    },
}

impl Keys {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        let Keys::Export { file, witness } = self;
        let operator = find::connect(common).await?;
        let (text, directory) = operator.read_directory().await?;
        if witness {
            return logs(&operator, &directory, output).await;
        }
        if let Some(file) = &file {
            replace(file, &text)?;
        }
        say!(
            "{} keys of agents and {} of operators; good until {}",
            directory.agents.len(),
            directory.operators.len(),
            directory.exp
        );
        if file.is_none() {
            return if output.field.is_some() {
                output.one(json!(directory).as_object().unwrap_or(&serde_json::Map::new()))
            } else {
                print(&text)
            };
        }
        Ok(())
    }
}

/// The checkpoint key as each chain's own: the names of keys of checkpoints are origins.
async fn logs(operator: &Operator, directory: &Directory, output: &Output) -> anyhow::Result<()> {
    let (_, key, _) = certs(directory, KeyRole::Checkpoint).next().context("the vault has no checkpoint key")?;
    // Each chain's next checkpoint has the number of the newest restore behind its name.
    let status = operator.command(StatusRead {}).await?.result;
    let restores = status.get("restores").and_then(Value::as_u64).unwrap_or_default();
    let mut logs = Vec::new();
    for chain in Chain::all(operator).await? {
        let origin = entry::origin_after(&directory.name, &chain.name, restores);
        let vkey = NoteKey::new(&origin, key.clone()).with_context(|| format!("{origin} is no name for a key"))?;
        logs.push(object(json!({"chain": chain.name, "origin": origin, "vkey": vkey.to_string()})));
    }
    if output.shape == Shape::Table && output.field.is_none() {
        let line = |log: &Map<String, Value>| format!("log {}\n", log["vkey"].as_str().unwrap_or_default());
        return print(&logs.iter().map(line).collect::<String>());
    }
    output.list(&logs, &[])
}

/// A crash leaves the old file or the new one, and perhaps a stray one beside it.
fn replace(file: &std::path::Path, text: &str) -> anyhow::Result<()> {
    let mut name = file.file_name().context("--file names no file")?.to_owned();
    name.push(".new");
    let new = file.with_file_name(name);
    let write = || {
        let mut out = std::fs::File::create(&new)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        std::fs::rename(&new, file)
    };
    write().with_context(|| format!("{}", file.display()))
}
