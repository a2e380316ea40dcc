//! `vault-agent run`: a command with variables from a launcher's socket.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Args;
use nockvault::client::fault::Fault;
use nockvault::id::RoleName;
use nockvault::launcher::child::code_of;
use nockvault::launcher::delivery::Slot;
use nockvault::launcher::key;
use nockvault::launcher::socket::Client;
use nockvault::launcher::want::Want;
use nockvault::statement::issue::Purpose;
use serde_json::Value;

use crate::exec::{FAILED, param};
use crate::source::launcher;

/// Run a command with variables that a launcher's socket fills
///
/// The launcher (vault-agent mcp, or exec) holds the credentials and prolongs them; the command gets what is good now.
#[derive(Debug, Args)]
#[command(
    after_help = "Ends as the command does; with 125 where vault-agent failed itself, 126 where the command cannot be \
                        run, 127 where there is none."
)]
pub(crate) struct Run {
    /// The launcher's socket. Without it, the one that NOCKVAULT_AGENT_SOCKET names.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Put a secret, or one member of it, into a variable.
    #[arg(long = "env", value_name = "NAME=ROLE[:MEMBER]", required = true)]
    envs: Vec<Slot>,
    /// A parameter for a role's engine, as it was asked for with.
    #[arg(long = "param", value_name = "ROLE:NAME=VALUE", value_parser = param)]
    params: Vec<(RoleName, String, Value)>,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Run {
    pub(crate) async fn run(self) -> ExitCode {
        match self.replace_this().await {
            Ok(code) => ExitCode::from(code),
            Err(fault) => {
                say!("{}", crate::calm(&fault.to_string()));
                ExitCode::from(FAILED)
            }
        }
    }

    /// Becomes the command; what comes back is why not.
    async fn replace_this(self) -> Result<u8, Fault> {
        let client = match self.socket {
            Some(path) => Client::new(path, None),
            None => launcher()?,
        };
        let mut given = BTreeMap::new();
        let (program, arguments) = self.command.split_first().expect("clap demands a command");
        let mut command = Command::new(program);
        // Whose key the launcher holds is not known here; who started this may have it in the environment all the same.
        let (kept, _) = key::without_keys(std::env::vars_os(), None);
        command.args(arguments).env_clear().envs(kept);
        for slot in &self.envs {
            if !given.contains_key(&slot.role) {
                let mut want = Want::role(slot.role.clone());
                want.purpose = Purpose::try_from("vault-agent run".to_owned()).map_err(Fault::local)?;
                let params = self.params.iter().filter(|(role, ..)| *role == slot.role);
                want.params = params.map(|(_, name, value)| (name.clone(), value.clone())).collect();
                given.insert(slot.role.clone(), client.get(&want, false).await?);
            }
            let value = given[&slot.role].bytes(slot.member.as_deref())?;
            if value.contains(&0) {
                return Err(Fault::Local(format!(
                    "the value for {} has a NUL byte, which no variable can",
                    slot.variable
                )));
            }
            command.env(slot.variable.as_str(), OsString::from_vec(value.to_vec()));
        }
        drop(given);
        let why = command.exec();
        say!("{}: {why}", crate::calm(&program.to_string_lossy()));
        Ok(code_of(&why))
    }
}
