//! `vault-agent pgpass`: a line of libpq's password file.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use nockvault::client::keyfile;
use nockvault::id::RoleName;
use nockvault::launcher::adapters::pgpass::line;

use crate::source::{Terms, give, source};
use crate::who::Who;

/// Print a line for libpq's password file
///
/// vault-agent pgpass orders-login --file ~/.pgpass-orders
/// PGPASSFILE=~/.pgpass-orders psql ...
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Pgpass {
    /// The role.
    role: RoleName,
    /// Write the line into this file, which only its owner may read, in place of what is there.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    terms: Terms,
}

impl Pgpass {
    pub(crate) async fn run(&self, who: &Who) -> anyhow::Result<ExitCode> {
        let given = source(who)?.ask(&self.terms.want(self.role.clone(), "pgpass")).await?;
        let line = line(&given)?;
        match &self.file {
            Some(file) => keyfile::write(file, line.as_bytes(), 0o600, true)?,
            None => give(line.as_bytes())?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
