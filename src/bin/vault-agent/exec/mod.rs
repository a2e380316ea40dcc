//! `vault-agent exec`: runs a child with credentials where it looks for them, and without the key that they are asked
//! for with.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use nockvault::client::fault::Fault;
use nockvault::denial::Reason;
use nockvault::entropy::OsEntropy;
use nockvault::id::RoleName;
use nockvault::launcher::child::{Program, code, code_of};
use nockvault::launcher::delivery::{Deliveries, Delivery};
use nockvault::launcher::folder::{self, Account, Folder};
use nockvault::launcher::key;
use nockvault::launcher::mask::Mask;
use nockvault::launcher::nockguard::{Trail, usual_place};
use nockvault::launcher::orphans::Orphan;
use nockvault::launcher::proxy::Rules;
use nockvault::launcher::run::{Run, Stopped, Words};
use nockvault::launcher::token::TOKEN_FD;
use nockvault::launcher::wallet::{Owner, Silent, Wallet};
use nockvault::launcher::want::{Roles, Want};

use crate::account;
use crate::who::Who;

mod beside;
mod near;
mod options;

pub(crate) use options::{Exec, param};

use beside::Beside;
use near::Near;

/// The exit code of a launcher that failed itself.
pub(crate) const FAILED: u8 = 125;

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
        let rules = self.proxy.as_deref().map(Rules::read).transpose()?;
        let proxied = rules.as_ref().map(Rules::roles).unwrap_or_default();
        let roles = Roles::Only(wants.keys().cloned().chain(proxied).collect());
        let (mut owner, origin) = who.located(&self.session, roles, Arc::new(Silent))?;
        let near = Near { origin, landlock: self.landlock };
        near.warn(account);
        if let Some(file) = &self.nockguard_trail {
            owner.reporter = Arc::new(trail(&owner, file.clone())?);
        }
        let mut environment = environment(owner.identity.signer.public(), user.as_ref());
        near.take_from(&mut environment);
        folder::tidy(self.file_dir.as_deref());
        let deliveries = self.deliveries(account)?;
        let delivered = deliveries.roles();
        let wallet = Wallet::new(owner);
        end_orphans(&wallet).await;
        let beside = Beside::start(&self, &wallet, account, &wants, rules, &environment).await?;
        environment.extend(beside.variables());
        let mut run = Run {
            wallet: wallet.clone(),
            wants: wants.into_iter().filter(|(role, _)| delivered.contains(role)).collect(),
            deliveries,
            program: near.around(Program { no_input: near.came_in(), ..self.program(account) }),
            environment,
            inherited: beside.inherited(),
            mask: self.mask.then(Mask::default),
            on_replace: self.on_replace,
            patience: Duration::from_secs(self.wait.0),
            grace: Duration::from_secs(self.grace.0),
            words: &Stderr,
        };
        let ended = run.run().await;
        drop(run);
        drop(beside);
        // Where the vault refused before anything was issued, there is nothing to end; why it refused is said below.
        let refused = matches!(&ended, Err(Stopped::Fault(fault)) if fault.refusal().is_some());
        let nothing = refused && wallet.held().is_empty();
        if let (Err(fault), false) = (wallet.close().await, nothing) {
            say_unended(&fault);
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
        Program { name: name.clone(), arguments: arguments.to_vec(), account, no_input: false }
    }

    /// The roles that the child may hold: what it is given, and what its tools may ask for.
    fn asked(&self) -> BTreeSet<RoleName> {
        let slots = self.envs.iter().chain(&self.files).chain(&self.memfds).map(|slot| &slot.role);
        let files = self.pgpass.iter().chain(&self.pgservice);
        let nockcc = self.nockcc.iter().map(|(_, wanted)| &wanted.role);
        self.roles.iter().chain(slots).chain(files).chain(&self.asks).chain(nockcc).cloned().collect()
    }

    /// Each role that is named anywhere, with what is asked for it.
    fn wants(&self) -> Result<BTreeMap<RoleName, Want>, Fault> {
        let program = PathBuf::from(&self.command[0]);
        let program = program.file_name().unwrap_or_default().to_string_lossy();
        let purpose = self.purpose.clone().unwrap_or_else(|| {
            let program: String = program.chars().filter(|c| !c.is_control()).take(50).collect();
            format!("vault-agent exec {program}")
        });
        let purpose = nockvault::statement::issue::Purpose::try_from(purpose).map_err(Fault::local)?;
        let named: BTreeSet<_> = self.asked().into_iter().chain(self.ssh.iter().cloned()).collect();
        let mut wants: BTreeMap<_, _> = named
            .into_iter()
            .map(|role| (role.clone(), Want { purpose: purpose.clone(), ..Want::role(role) }))
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

/// The agent's own NockGuard trail, with every request in it.
pub(crate) fn trail(owner: &Owner, file: Option<PathBuf>) -> Result<Trail, Fault> {
    let agent = &owner.identity.name;
    let path = file.or_else(|| usual_place(agent)).ok_or_else(|| {
        Fault::local("NockGuard keeps its trails in the home folder, and HOME names none; say --nockguard-trail=FILE")
    })?;
    let session = std::env::var("NOCKLOCK_SESSION_ID").ok();
    Trail::open(&path, agent, owner.identity.signer.clone(), session.as_deref(), owner.around.clock.clone())
}

/// The variables of this process, without any agent's key, and as another user has them where the child is one.
fn environment(
    own: &nockvault::crypto::signature::PublicKey,
    user: Option<&account::User>,
) -> BTreeMap<OsString, OsString> {
    let (kept, _) = key::without_keys(std::env::vars_os(), Some(own));
    let mut environment: BTreeMap<_, _> = kept.into_iter().collect();
    // The token of a launcher around this one opens nothing here.
    environment.remove(std::ffi::OsStr::new(TOKEN_FD));
    if let Some(user) = user {
        for (name, value) in [("HOME", &user.home), ("USER", &user.name), ("LOGNAME", &user.name)] {
            environment.insert(name.into(), value.into());
        }
        environment.remove(std::ffi::OsStr::new("XDG_RUNTIME_DIR"));
    }
    environment
}

/// Says that the session still stands, and what becomes of its leases.
pub(crate) fn say_unended(fault: &Fault) {
    match fault.reason() {
        Some(Reason::AgentFrozen) => say!("the agent is frozen; its leases were taken back by that"),
        Some(Reason::VaultFrozen) => say!("the vault is frozen; all leases were taken back by that"),
        _ => say!(
            "the session could not be ended: {fault}; its leases end with their time, or at this agent's next start"
        ),
    }
}

/// Ends what launchers that were killed, or could not, have left. A vault that is away says so soon enough.
pub(crate) async fn end_orphans(wallet: &Wallet) {
    match wallet.end_orphans().await {
        Ok(ended) => {
            for Orphan { sid, leases, left } in ended {
                let why = if left { "could not end it" } else { "was killed" };
                say!("ended session {sid} of a launcher that {why}, and {leases} leases in it");
            }
        }
        Err(Fault::Unreachable { .. }) => {}
        // So is all that this key asks for next, and then it is said.
        Err(fault) if fault.reason() == Some(Reason::Unauthenticated) => {}
        Err(fault) => say!("sessions of launchers that are gone could not be ended: {fault}"),
    }
}
