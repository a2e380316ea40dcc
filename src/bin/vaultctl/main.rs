//! What operators type. Each command is one file; what they share is small: where the card and the operator's key are
//! ([`find`]), and how a result is shown ([`output`]).
//!
//! Results go to standard output, words to standard error. Exit codes: 0 done, 1 something on this side (usage, files,
//! no connection), 2 refused by the vault, or a chain that was tampered with, 3 not yet: it waits for other operators, or
//! the vault is not as the file of apply says.

/// Words for people, on standard error, unless they want none. What was done stays done where nobody reads them.
macro_rules! say {
    ($($words:tt)*) => {
        if !crate::output::is_quiet() {
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{}\n", format_args!($($words)*)));
        }
    };
}

mod advice;
mod agent;
mod apply;
mod approval;
mod ask;
mod audit;
mod backup;
mod ca;
mod card;
mod clock;
mod contexts;
mod contribute;
mod custody;
mod doctor;
mod explain;
mod export;
mod find;
mod freeze;
mod given;
mod grant;
mod guide;
mod init;
mod key;
mod key_passphrase;
mod keygen;
mod keys;
mod lease;
mod members;
mod near;
mod operator;
mod output;
mod policy;
mod progress;
mod recover;
mod role;
mod rotate;
mod seal;
mod secret;
#[path = "../shared/shell.rs"]
mod shell;
mod status;
mod terms;
mod unseal;
#[path = "../shared/value.rs"]
mod value;
mod ways;
mod when;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use nockvault::client::fault::Fault;
use nockvault::denial::Reason;

use output::{Color, Output, Shape};

/// Command a NockVault: agents, roles, grants, secrets, leases, audit trails.
///
/// Every command is signed with your operator key; there is no password and no root token. The vault card says where the
/// vault is and who it is.
#[derive(Debug, Parser)]
#[command(
    name = "vaultctl",
    version,
    term_width = 100,
    after_help = "Results go to standard output, words to standard error. Exit codes: 0 done, 1 something on this side, 2 refused \
                  by the vault, 3 not yet: it waits for other operators, or the vault is not as the file of apply says."
)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Everywhere")]
struct Common {
    /// The vault, as `vaultctl context list` names it. Without it, the current one, or the only one there is.
    #[arg(long, global = true, value_name = "NAME", env = "NOCKVAULT_CONTEXT", hide_env_values = true)]
    context: Option<String>,
    /// The vault's card, in place of a context: a file, or the name of one in ~/.config/nockvault.
    #[arg(long, global = true, value_name = "CARD", env = "NOCKVAULT_CARD", hide_env_values = true)]
    vault: Option<PathBuf>,
    /// The operator who commands. Without it, the context's, or the only one with a key for this vault in
    /// ~/.config/nockvault.
    #[arg(long, global = true, value_name = "NAME", env = "NOCKVAULT_OPERATOR", hide_env_values = true)]
    operator: Option<String>,
    /// The file with the operator's key.
    #[arg(long, global = true, value_name = "FILE", env = "NOCKVAULT_OPERATOR_KEY", hide_env_values = true)]
    key: Option<PathBuf>,
    /// How results are shown.
    #[arg(
        long,
        short = 'o',
        global = true,
        value_name = "FORM",
        default_value = "table",
        env = "NOCKVAULT_OUTPUT",
        hide_env_values = true
    )]
    output: Shape,
    /// Only this member of the result, raw, a line for each item. A dot leads into an object.
    #[arg(long, global = true, value_name = "NAME")]
    field: Option<String>,
    /// Whether states stand out in color: on a terminal, unless NO_COLOR is set.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_default_value = true)]
    color: Color,
    /// Print results and errors, and no other words.
    #[arg(long, short = 'q', global = true)]
    quiet: bool,
    /// Where other operators must want the command too, wait for them, and then give it again.
    #[arg(long, global = true)]
    wait_approval: bool,
    /// Who said which of these.
    #[arg(skip)]
    said_by: contexts::SaidBy,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(Box<init::Init>),
    /// Command several vaults: which there are, and which one commands go to.
    #[command(subcommand)]
    Context(contexts::Context),
    /// Show the vault card.
    Card,
    /// Show how the vault is.
    Status,
    Doctor(doctor::Doctor),
    /// Register agents, show them, rotate and end their keys.
    #[command(subcommand)]
    Agent(agent::Agent),
    /// Register operators, say what each may do, rotate and end their keys.
    #[command(subcommand)]
    Operator(operator::Operator),
    /// Say which kinds of commands more than one operator must want.
    #[command(subcommand)]
    Policy(policy::Policy),
    Approve(approval::Approve),
    Withdraw(approval::Withdraw),
    /// Show commands that wait for other operators.
    #[command(subcommand)]
    Approvals(approval::Approvals),
    /// Say what kinds of credentials there are.
    #[command(subcommand)]
    Role(role::Role),
    /// Store values for the kv engine. They leave this process sealed to the vault and stand in no chain.
    #[command(subcommand)]
    Secret(secret::Secret),
    /// Make, bring and show the authorities that certificates are signed with.
    #[command(subcommand)]
    Ca(ca::Ca),
    Grant(Box<grant::Grant>),
    Explain(Box<explain::Explain>),
    /// List grants, also those whose time is over: they stand until they are revoked.
    Grants(grant::Grants),
    Revoke(grant::Revoke),
    Apply(apply::Apply),
    Export(export::Export),
    Freeze(freeze::Freeze),
    Thaw(freeze::Thaw),
    Seal(seal::Seal),
    Unseal(unseal::Unseal),
    Recover(Box<recover::Recover>),
    LockDown(seal::LockDown),
    /// Show what was handed out.
    #[command(subcommand)]
    Lease(lease::Lease),
    /// Rotate the vault's own keys.
    #[command(subcommand)]
    Key(key::Key),
    /// Set right what a wrong clock has left.
    #[command(subcommand)]
    Clock(clock::Clock),
    /// Say who can get at the root key, and rotate it, while the vault serves.
    #[command(subcommand)]
    Custody(custody::Custody),
    Backup(backup::Backup),
    Restore(Box<backup::Restore>),
    /// Write public keys for others.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Read and verify audit chains.
    #[command(subcommand)]
    Audit(audit::Audit),
    Keygen(keygen::Keygen),
    KeyPassphrase(key_passphrase::KeyPassphrase),
    Completions(shell::Completions),
    Man(shell::Man),
}

/// The command line as it is read, shown and written down in man pages.
fn command_line() -> clap::Command {
    guide::grouped(Cli::command())
}

/// What was typed, and who said where commands go.
fn typed() -> Result<(Cli, advice::Names), clap::Error> {
    let mut matches = command_line().color(output::of_help(std::env::args_os())).try_get_matches()?;
    let (said_by, names) = (contexts::SaidBy::of(&matches), advice::Names::of(&matches));
    let mut cli = Cli::from_arg_matches_mut(&mut matches)?;
    cli.common.said_by = said_by;
    Ok((cli, names))
}

fn main() -> ExitCode {
    // Keys and passphrases pass through this process.
    nockvault::server::walls::keep_memory();
    if std::env::args_os().len() <= 1 {
        guide::overview();
        return ExitCode::from(1);
    }
    let (cli, names) = match typed() {
        Ok(typed) => typed,
        Err(words) => {
            let _ = words.print();
            return if words.use_stderr() { ExitCode::from(1) } else { ExitCode::SUCCESS };
        }
    };
    output::set_quiet(cli.common.quiet);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(why) => return failed(&why.into()),
    };
    let common = cli.common.clone();
    let done = runtime.block_on(async {
        // Where somebody stops waiting, what was made meanwhile is put away as it goes out of scope.
        tokio::select! {
            done = run(cli) => Some(done),
            () = approval::interrupted(&common) => {
                approval::given_up();
                None
            }
        }
    });
    match done {
        None => ExitCode::from(if approval::awaited().is_some() { WAITS } else { INTERRUPTED }),
        Some(Ok(code)) => code,
        Some(Err(why)) => {
            let code = failed(&why);
            if let Some(next) = runtime.block_on(advice::next(&why, &names, &common)) {
                output::fault(&format!("vaultctl: {}", output::calm(&next)));
            }
            code
        }
    }
}

/// The exit code of a command that waits for other operators.
const WAITS: u8 = 3;
/// That of one that was broken off, as shells have it.
const INTERRUPTED: u8 = 130;

fn failed(why: &anyhow::Error) -> ExitCode {
    // What others said, a server behind the vault among them, may stand in it.
    output::fault(&format!("vaultctl: {}", output::calm(&format!("{why:#}"))));
    if status::sealed(why) {
        output::fault("vaultctl: `vaultctl unseal`, on the vault's machine, opens it");
    }
    match why.downcast_ref::<Fault>() {
        Some(fault) if fault.reason() == Some(Reason::NeedsApproval) => ExitCode::from(WAITS),
        Some(Fault::Refused(_)) => ExitCode::from(2),
        _ => ExitCode::from(1),
    }
}

async fn run(Cli { common, command }: Cli) -> anyhow::Result<ExitCode> {
    let output = Output::of(&common);
    match command {
        Command::Init(init) => init.run(&common, &output).await,
        Command::Context(context) => context.run(&common, &output),
        Command::Card => card::run(&common, &output),
        Command::Status => return status::run(&common, &output).await,
        Command::Agent(agent) => agent.run(&common, &output).await,
        Command::Operator(operator) => operator.run(&common, &output).await,
        Command::Policy(policy) => policy.run(&common, &output).await,
        Command::Approve(approve) => approve.run(&common, &output).await,
        Command::Withdraw(withdraw) => withdraw.run(&common, &output).await,
        Command::Approvals(approvals) => approvals.run(&common, &output).await,
        Command::Role(role) => role.run(&common, &output).await,
        Command::Secret(secret) => secret.run(&common, &output).await,
        Command::Ca(ca) => ca.run(&common, &output).await,
        Command::Grant(grant) => return grant.run(&common, &output).await,
        Command::Doctor(doctor) => return doctor.run(&common, &output).await,
        Command::Explain(explain) => explain.run(&common, &output).await,
        Command::Grants(grants) => grants.run(&common, &output).await,
        Command::Revoke(revoke) => revoke.run(&common, &output).await,
        Command::Apply(apply) => return apply.run(&common, &output).await,
        Command::Export(export) => export.run(&common, &output).await,
        Command::Freeze(freeze) => freeze.run(&common, &output).await,
        Command::Thaw(thaw) => thaw.run(&common, &output).await,
        Command::Seal(seal) => seal.run(&common, &output).await,
        Command::Unseal(unseal) => unseal.run(&common, &output).await,
        Command::Recover(recover) => recover.run(&common, &output).await,
        Command::LockDown(lock_down) => lock_down.run(&common, &output).await,
        Command::Lease(lease) => lease.run(&common, &output).await,
        Command::Key(key) => key.run(&common, &output).await,
        Command::Clock(clock) => clock.run(&common, &output).await,
        Command::Custody(custody) => custody.run(&common, &output).await,
        Command::Backup(backup) => backup.run(&common, &output).await,
        Command::Restore(restore) => restore.run(&common, &output),
        Command::Keys(keys) => keys.run(&common, &output).await,
        Command::Audit(audit) => return audit.run(&common, &output).await,
        Command::Keygen(keygen) => keygen.run(&common, &output).await,
        Command::KeyPassphrase(command) => command.run(&common),
        Command::Completions(wanted) => output::print(&String::from_utf8(wanted.script(command_line()))?),
        Command::Man(man) => man.write(Cli::command()),
    }?;
    Ok(ExitCode::SUCCESS)
}
