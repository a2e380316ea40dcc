//! `vaultctl keys`: public keys for others: the directory of all of them, and what a witness is configured with.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Subcommand;
use serde_json::json;

use crate::output::{Output, print};
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
    },
}

impl Keys {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        let Keys::Export { file } = self;
        let (text, directory) = find::connect(common).await?.read_directory().await?;
        say!(
            "{} keys of agents and {} of operators; good until {}",
            directory.agents.len(),
            directory.operators.len(),
            directory.exp
        );
        let Some(file) = file else {
            return if output.field.is_some() {
                output.one(json!(directory).as_object().unwrap_or(&serde_json::Map::new()))
            } else {
                print(&text)
            };
        };
        replace(&file, &text)
    }
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
