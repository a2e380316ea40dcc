//! `vault-agent api-key`: the value alone, as Claude Code's `apiKeyHelper` wants it.

use std::process::ExitCode;

use clap::Args;
use nockvault::id::RoleName;
use zeroize::Zeroizing;

use crate::source::{Terms, give, source};
use crate::who::Who;

/// Print a key alone, for apiKeyHelper and its like
///
/// In Claude Code's settings.json:
///
/// {"apiKeyHelper": "vault-agent api-key model-key"}
///
/// It is run at the start and then every five minutes, or as often as CLAUDE_CODE_API_KEY_HELPER_TTL_MS says.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ApiKey {
    /// The role.
    role: RoleName,
    /// The member of the secret to print, where it is not the usual one.
    #[arg(long, value_name = "NAME")]
    member: Option<String>,
    #[command(flatten)]
    terms: Terms,
}

impl ApiKey {
    pub(crate) async fn run(&self, who: &Who) -> anyhow::Result<ExitCode> {
        let given = source(who)?.ask(&self.terms.want(self.role.clone(), "api key")).await?;
        // It becomes a header: a line break in it would begin another.
        let key = given.line(self.member.as_deref())?;
        let mut line = Zeroizing::new(String::with_capacity(key.len() + 1));
        line.push_str(&key);
        line.push('\n');
        give(line.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}
