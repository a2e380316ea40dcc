//! `vault-agent exec`: runs a child with credentials where it looks for them, and without the key that they are asked
//! for with.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use nockvault::client::fault::Fault;
use nockvault::entropy::OsEntropy;
use nockvault::id::RoleName;
use nockvault::launcher::child::{Program, code, code_of};
use nockvault::launcher::delivery::{Deliveries, Delivery, Slot};
use nockvault::launcher::folder::{Account, Folder};
use nockvault::launcher::key;
use nockvault::launcher::run::{OnReplace, Run, Stopped, Words};
use nockvault::launcher::wallet::{Silent, Wallet};
use nockvault::launcher::want::{Roles, Want};
use nockvault::time::Seconds;
use rustix::process::Signal;
use serde_json::Value;

use crate::account;
use crate::who::Who;

/// The exit code of a launcher that failed itself.
const FAILED: u8 = 125;

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
    roles: Vec<RoleName>,
    /// Put a secret, or one member of it, into a variable.
    #[arg(long = "env", value_name = "NAME=ROLE[:MEMBER]", help_heading = "Where secrets go")]
    envs: Vec<Slot>,
    /// Put it into a file in memory, and the file's path into the variable. The file follows replacements.
    #[arg(long = "file", value_name = "NAME=ROLE[:MEMBER]", help_heading = "Where secrets go")]
    files: Vec<Slot>,
    /// Put it into a memory file without a name, which only the command and what it starts can open.
    #[arg(long = "memfd", value_name = "NAME=ROLE[:MEMBER]", help_heading = "Where secrets go")]
    memfds: Vec<Slot>,
    /// Put a PostgreSQL login into a password file: PGPASSFILE, PGHOST, PGPORT, PGDATABASE, PGUSER.
    #[arg(long, value_name = "ROLE", help_heading = "Where secrets go")]
    pgpass: Vec<RoleName>,
    /// Put a PostgreSQL login into a service file, in a section named as the role: PGSERVICEFILE, PGSERVICE.
    #[arg(long, value_name = "ROLE", help_heading = "Where secrets go")]
    pgservice: Vec<RoleName>,
    /// The folder for files, where neither XDG_RUNTIME_DIR nor /dev/shm will do.
    #[arg(long, value_name = "DIR", help_heading = "Where secrets go")]
    file_dir: Option<PathBuf>,
    /// A parameter for a role's engine. The value is JSON where it reads as such, else a text.
    #[arg(long = "param", value_name = "ROLE:NAME=VALUE", value_parser = param, help_heading = "What is asked for")]
    params: Vec<(RoleName, String, Value)>,
    /// How long a role's credential is to live between renewals. Without it, as the grant has it.
    #[arg(long = "ttl", value_name = "ROLE=TIME", value_parser = ttl, help_heading = "What is asked for")]
    ttls: Vec<(RoleName, Seconds)>,
    /// What it is for. Whoever reads the trail will see it.
    #[arg(long, value_name = "TEXT", help_heading = "What is asked for")]
    purpose: Option<String>,
    /// What the session's name begins with.
    #[arg(
        long,
        value_name = "NAME",
        env = "NOCKLOCK_SESSION_ID",
        hide_env_values = true,
        default_value = "exec",
        help_heading = "What is asked for"
    )]
    session: String,
    /// How long to wait for a vault that is away, before the command is started.
    #[arg(long, value_name = "TIME", default_value = "30s", help_heading = "While it runs")]
    wait: Seconds,
    /// What to do when a credential was replaced: nothing, restart, or signal:NAME.
    #[arg(long, value_name = "WHAT", default_value = "nothing", value_parser = on_replace, help_heading = "While it runs")]
    on_replace: OnReplace,
    /// How long the command may take to end, once it was told to, before it is killed.
    #[arg(long, value_name = "TIME", default_value = "10s", help_heading = "While it runs")]
    grace: Seconds,
    /// The user that the command runs as, who then cannot read this user's key files.
    #[arg(long, value_name = "USER", help_heading = "While it runs")]
    user: Option<String>,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Says it on standard error.
#[derive(Debug)]
struct Stderr;

impl Words for Stderr {
    fn say(&self, words: &dyn fmt::Display) {
        say!("{}", crate::calm(&words.to_string()));
    }
}

impl Exec {
    /// Runs it. Failures of the launcher have an exit code of their own, so that no child's can be taken for one.
    pub(crate) async fn run(self, who: &Who) -> ExitCode {
        match self.execute(who).await {
            Ok(code) => ExitCode::from(code),
            Err(why) => {
                say!("{}", crate::calm(&format!("{why:#}")));
                ExitCode::from(FAILED)
            }
        }
    }

    async fn execute(self, who: &Who) -> anyhow::Result<u8> {
        key::hide()?;
        let user = self.user.as_deref().map(account::find).transpose()?;
        let account = user.as_ref().map(|user| user.account);
        let wants = self.wants()?;
        let roles = Roles::Only(wants.keys().cloned().collect());
        let owner = who.owner(&self.session, roles, Arc::new(Silent))?;
        let environment = environment(owner.identity.signer.public(), user.as_ref());
        let deliveries = self.deliveries(account)?;
        let delivered = deliveries.roles();
        let wallet = Wallet::new(owner);
        end_orphans(&wallet).await;
        let mut run = Run {
            wallet: wallet.clone(),
            wants: wants.into_iter().filter(|(role, _)| delivered.contains(role)).collect(),
            deliveries,
            program: self.program(account),
            environment,
            on_replace: self.on_replace,
            patience: Duration::from_secs(self.wait.0),
            grace: Duration::from_secs(self.grace.0),
            words: &Stderr,
        };
        let ended = run.run().await;
        if let Err(fault) = wallet.close().await {
            say!(
                "the session could not be ended: {fault}; its leases end with their time, or at this agent's next start"
            );
        }
        match ended {
            Ok(status) => Ok(code(status)),
            Err(Stopped::Fault(fault)) => Err(fault.into()),
            Err(Stopped::NotStarted { program, why }) => {
                say!("{program}: {why}");
                Ok(code_of(&why))
            }
            Err(Stopped::Signalled(signal)) => Ok(u8::try_from(128 + signal.as_raw()).unwrap_or(FAILED)),
        }
    }

    fn program(&self, account: Option<Account>) -> Program {
        let (name, arguments) = self.command.split_first().expect("clap demands a command");
        Program { name: name.clone(), arguments: arguments.to_vec(), account, piped: false }
    }

    /// Each role that is named anywhere, with what is asked for it.
    fn wants(&self) -> Result<BTreeMap<RoleName, Want>, Fault> {
        let program = PathBuf::from(&self.command[0]);
        let program = program.file_name().unwrap_or_default().to_string_lossy();
        let purpose = self.purpose.clone().unwrap_or_else(|| format!("vault-agent exec {program}"));
        let purpose = nockvault::statement::issue::Purpose::try_from(purpose).map_err(Fault::local)?;
        let slots = self.envs.iter().chain(&self.files).chain(&self.memfds).map(|slot| &slot.role);
        let named: BTreeSet<_> = self.roles.iter().chain(slots).chain(&self.pgpass).chain(&self.pgservice).collect();
        let mut wants: BTreeMap<_, _> = named
            .into_iter()
            .map(|role| (role.clone(), Want { purpose: purpose.clone(), ..Want::role(role.clone()) }))
            .collect();
        let unnamed =
            |role: &RoleName| Fault::Local(format!("{role} is asked for nowhere; name it with --role {role}"));
        for (role, name, value) in &self.params {
            wants.get_mut(role).ok_or_else(|| unnamed(role))?.params.insert(name.clone(), value.clone());
        }
        for (role, ttl) in &self.ttls {
            wants.get_mut(role).ok_or_else(|| unnamed(role))?.ttl = *ttl;
        }
        Ok(wants)
    }

    fn deliveries(&self, account: Option<Account>) -> Result<Deliveries, Fault> {
        let mut list: Vec<_> = self.envs.iter().cloned().map(Delivery::Env).collect();
        list.extend(self.files.iter().cloned().map(Delivery::File));
        list.extend(self.memfds.iter().cloned().map(Delivery::Memfd));
        list.extend(self.pgpass.iter().cloned().map(Delivery::Pgpass));
        list.extend(self.pgservice.iter().cloned().map(Delivery::Pgservice));
        let placed: BTreeSet<_> = list.iter().map(|delivery| delivery.role().clone()).collect();
        list.extend(self.roles.iter().filter(|role| !placed.contains(*role)).cloned().map(Delivery::Usual));
        Deliveries::new(list, account, || Folder::make(self.file_dir.as_deref(), account, &OsEntropy))
    }
}

/// The variables of this process, without any agent's key, and as another user has them where the child is one.
fn environment(
    own: &nockvault::crypto::signature::PublicKey,
    user: Option<&account::User>,
) -> BTreeMap<OsString, OsString> {
    let (kept, _) = key::without_keys(std::env::vars_os(), own);
    let mut environment: BTreeMap<_, _> = kept.into_iter().collect();
    if let Some(user) = user {
        for (name, value) in [("HOME", &user.home), ("USER", &user.name), ("LOGNAME", &user.name)] {
            environment.insert(name.into(), value.into());
        }
        environment.remove(std::ffi::OsStr::new("XDG_RUNTIME_DIR"));
    }
    environment
}

/// Ends what launchers that were killed have left. A vault that is away says so soon enough.
async fn end_orphans(wallet: &Wallet) {
    match wallet.end_orphans().await {
        Ok(ended) => {
            for (sid, leases) in ended {
                say!("ended session {sid} of a launcher that was killed, and {leases} leases in it");
            }
        }
        Err(Fault::Unreachable { .. }) => {}
        Err(fault) => say!("sessions of launchers that were killed could not be ended: {fault}"),
    }
}

fn param(text: &str) -> Result<(RoleName, String, Value), String> {
    let bad = || format!("{text:?} is not ROLE:NAME=VALUE");
    let (role, rest) = text.split_once(':').ok_or_else(bad)?;
    let (name, value) = rest.split_once('=').ok_or_else(bad)?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((role.parse().map_err(|why| format!("{role:?}: {why}"))?, name.to_owned(), value))
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
