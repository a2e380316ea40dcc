//! `vault-agent aws`: `credential_process` of the AWS SDKs and CLI.

use std::process::ExitCode;

use clap::Args;
use nockvault::id::RoleName;
use nockvault::launcher::adapters::aws::answer;

use crate::source::{Terms, give, source};
use crate::who::Who;

/// Answer the AWS CLI and SDKs as their credential_process
///
/// In ~/.aws/config, with the program's whole path:
///
/// [profile agent]
/// credential_process = /usr/local/bin/vault-agent aws aws-deploy
///
/// The secret has access_key_id, secret_access_key and by choice session_token, as members or in a stored JSON object.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Aws {
    /// The role.
    role: RoleName,
    #[command(flatten)]
    terms: Terms,
}

impl Aws {
    pub(crate) async fn run(&self, who: &Who) -> anyhow::Result<ExitCode> {
        let given = source(who)?.ask(&self.terms.want(self.role.clone(), "credential_process")).await?;
        give(&answer(&given)?)?;
        Ok(ExitCode::SUCCESS)
    }
}
