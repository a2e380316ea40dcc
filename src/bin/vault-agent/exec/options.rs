//! What is typed behind `vault-agent exec`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use nockvault::id::RoleName;
use nockvault::launcher::adapters::provide::Wanted;
use nockvault::launcher::delivery::Slot;
use nockvault::launcher::run::OnReplace;
use nockvault::time::Seconds;
use rustix::process::Signal;
use serde_json::Value;

use crate::value;

/// Run a command with an agent's credentials, and end them with it.
///
/// The command's environment holds no agent's key. A role that is named alone is delivered as its kind is used by habit:
/// a stored value or a token in a variable of the role's name (orders-read: ORDERS_READ), a PostgreSQL login in libpq's
/// variables and password file, an SSH or TLS key in files that variables name.
#[derive(Debug, Args)]
#[command(
    after_help = "Ends with the command's exit code, or 128 and the number of the signal that ended it; with 125 where vault-agent \
                        failed itself, 126 where the command cannot be run, 127 where there is none."
)]
pub(crate) struct Exec {
    /// A role whose credential the command is to have.
    #[arg(long = "role", value_name = "ROLE")]
    pub(super) roles: Vec<RoleName>,
    /// A role whose credential the command and what it starts may ask for (vault-agent get, and the adapters), and that
    /// is delivered nowhere.
    #[arg(long = "ask", value_name = "ROLE")]
    pub(super) asks: Vec<RoleName>,
    /// Put a secret, or one member of it, into a variable.
    #[arg(long = "env", value_name = "NAME=ROLE[:MEMBER]", help_heading = "Where secrets go")]
    pub(super) envs: Vec<Slot>,
    /// Put it into a file in memory, and the file's path into the variable. The file follows replacements.
    #[arg(long = "file", value_name = "NAME=ROLE[:MEMBER]", help_heading = "Where secrets go")]
    pub(super) files: Vec<Slot>,
    /// Put it into a memory file without a name, which only the command and what it starts can open.
    #[arg(long = "memfd", value_name = "NAME=ROLE[:MEMBER]", help_heading = "Where secrets go")]
    pub(super) memfds: Vec<Slot>,
    /// Put a PostgreSQL login into a password file: PGPASSFILE, PGHOST, PGPORT, PGDATABASE, PGUSER.
    #[arg(long, value_name = "ROLE", help_heading = "Where secrets go")]
    pub(super) pgpass: Vec<RoleName>,
    /// Put a PostgreSQL login into a service file, in a section named as the role: PGSERVICEFILE, PGSERVICE.
    #[arg(long, value_name = "ROLE", help_heading = "Where secrets go")]
    pub(super) pgservice: Vec<RoleName>,
    /// Serve its certificate for SSH in an ssh-agent of this run: SSH_AUTH_SOCK. The private key stays here.
    #[arg(long = "ssh", value_name = "ROLE", help_heading = "Where secrets go")]
    pub(super) ssh: Vec<RoleName>,
    /// Send HTTP requests on with credentials that the command never has, by the rules in this file.
    #[arg(long, value_name = "RULES", help_heading = "Where secrets go")]
    pub(super) proxy: Option<PathBuf>,
    /// Serve it as NockGuard's references nockcc:NAME ask for it: on a loopback address, under a token of this run.
    #[arg(long = "nockcc", value_name = "NAME=ROLE[:MEMBER]", value_parser = nockcc, help_heading = "Where secrets go")]
    pub(super) nockcc: Vec<(String, Wanted)>,
    /// The folder for files, where neither XDG_RUNTIME_DIR nor /dev/shm will do.
    #[arg(long, value_name = "DIR", help_heading = "Where secrets go")]
    pub(super) file_dir: Option<PathBuf>,
    /// A parameter for a role's engine. The value is JSON where it reads as such, else a text; @FILE is what is in a
    /// file, @- standard input.
    #[arg(long = "param", value_name = "ROLE:NAME=VALUE", value_parser = param, help_heading = "What is asked for")]
    pub(super) params: Vec<(RoleName, String, Value)>,
    /// How long a role's credential is to live between renewals. Without it, as the grant has it.
    #[arg(long = "ttl", value_name = "ROLE=TIME", value_parser = ttl, help_heading = "What is asked for")]
    pub(super) ttls: Vec<(RoleName, Seconds)>,
    /// What it is for. Whoever reads the trail will see it.
    #[arg(long, value_name = "TEXT", help_heading = "What is asked for")]
    pub(super) purpose: Option<String>,
    /// What the session's name begins with.
    #[arg(
        long,
        value_name = "NAME",
        env = "NOCKLOCK_SESSION_ID",
        hide_env_values = true,
        default_value = "exec",
        help_heading = "What is asked for"
    )]
    pub(super) session: String,
    /// How long to wait for a vault that is away, before the command is started.
    #[arg(long, value_name = "TIME", default_value = "30s", help_heading = "While it runs")]
    pub(super) wait: Seconds,
    /// What to do when a credential was replaced: nothing, restart, or signal:NAME.
    #[arg(long, value_name = "WHAT", default_value = "nothing", value_parser = on_replace, help_heading = "While it runs")]
    pub(super) on_replace: OnReplace,
    /// How long the command may take to end, once it was told to, before it is killed.
    #[arg(long, value_name = "TIME", default_value = "10s", help_heading = "While it runs")]
    pub(super) grace: Seconds,
    /// The user that the command runs as, who then cannot read this user's key files.
    #[arg(long, value_name = "USER", help_heading = "While it runs")]
    pub(super) user: Option<String>,
    /// Keep the command, and what it starts, from reading files with keys (Landlock).
    #[arg(long, help_heading = "While it runs")]
    pub(super) landlock: bool,
    /// Cover secrets that were delivered in what the command prints. Its output is then no terminal.
    #[arg(long, help_heading = "While it runs")]
    pub(super) mask: bool,
    /// Demand a token of this run on the launcher's socket, which only the command and what it starts inherit.
    #[arg(long, help_heading = "While it runs")]
    pub(super) tight: bool,
    /// Write a row for each request into the agent's own NockGuard trail, ~/.nockguard/logs/AGENT.audit.jsonl or this
    /// file. What cannot be written there is not given out.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, help_heading = "While it runs")]
    pub(super) nockguard_trail: Option<Option<PathBuf>>,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub(super) command: Vec<OsString>,
}

pub(crate) fn param(text: &str) -> Result<(RoleName, String, Value), String> {
    let bad = || format!("{text:?} is not ROLE:NAME=VALUE");
    let (role, rest) = text.split_once(':').ok_or_else(bad)?;
    let (name, value) = rest.split_once('=').ok_or_else(bad)?;
    let role = role.parse::<RoleName>().map_err(|why| format!("{role:?}: {why}"))?;
    Ok((role, name.to_owned(), value::value(value)?))
}

fn nockcc(text: &str) -> Result<(String, Wanted), String> {
    let (name, wanted) =
        text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=ROLE or NAME=ROLE:MEMBER"))?;
    Ok((name.to_owned(), wanted.parse()?))
}

fn ttl(text: &str) -> Result<(RoleName, Seconds), String> {
    let (role, ttl) = text.split_once('=').ok_or_else(|| format!("{text:?} is not ROLE=TIME"))?;
    Ok((role.parse().map_err(|why| format!("{role:?}: {why}"))?, ttl.parse()?))
}

fn on_replace(text: &str) -> Result<OnReplace, String> {
    match text {
        "nothing" => Ok(OnReplace::Nothing),
        "restart" => Ok(OnReplace::Restart),
        _ => {
            let signals = [
                ("HUP", Signal::HUP),
                ("USR1", Signal::USR1),
                ("USR2", Signal::USR2),
                ("INT", Signal::INT),
                ("TERM", Signal::TERM),
            ];
            let named = text.strip_prefix("signal:").and_then(|name| {
                signals.iter().find(|(known, _)| *known == name.trim_start_matches("SIG")).map(|(_, signal)| *signal)
            });
            named.map(OnReplace::Signal).ok_or_else(|| {
                format!("{text:?} is not nothing, restart or signal:NAME with HUP, USR1, USR2, INT or TERM")
            })
        }
    }
}
