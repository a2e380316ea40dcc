//! `vault-agent exec`: runs a child.

use std::process::ExitCode;

use clap::Args;

use crate::who::Who;

/// Run a command with an agent's credentials.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Exec {
    pub(crate) async fn run(&self, who: &Who) -> ExitCode {
        let _ = who.agent();
        say!("{} cannot be run yet", self.command.join(" "));
        ExitCode::from(125)
    }
}
