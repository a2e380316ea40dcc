//! `vault-agent confined`: the step between the launcher and a child that is kept away from files with keys. It gives up
//! reading them, which a process can only do for itself, and becomes the child.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::Args;
use nockvault::launcher::confine::{Confinement, landlock};

/// Become a command that cannot read these files and folders.
#[derive(Debug, Args)]
#[command(hide = true)]
pub(crate) struct Confined {
    /// A file or a folder that the command cannot read.
    #[arg(long = "closed", value_name = "PATH")]
    closed: Vec<PathBuf>,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

impl Confined {
    /// Gives a code only where there is no child.
    pub(crate) fn run(&self) -> ExitCode {
        // What this thread gives up is what the child will not have: it is this thread that becomes it.
        match landlock(&self.closed) {
            Ok(Confinement::Enforced) => {}
            Ok(missing) => say!("{missing}"),
            Err(why) => {
                say!("{why}");
                return ExitCode::from(125);
            }
        }
        let Some((program, arguments)) = self.command.split_first() else { return ExitCode::from(125) };
        let why = Command::new(program).args(arguments).exec();
        say!("{}: {why}", program.to_string_lossy());
        ExitCode::from(if why.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 })
    }
}
