//! What stands beside an agent: it holds the agent's key, asks the vault in its name, and gives credentials where tools
//! expect them. Each command is one file; what they share is who asks ([`who`]).
//!
//! What was asked for goes to standard output, words to standard error. Exit codes: 0 done, 1 something on this side
//! (usage, files, no connection), 2 refused by the vault. `exec` ends with its child's code; where it fails itself, with
//! 125, and with 126 or 127 where the child cannot be run or is not there.

/// Words for people, on standard error. What was done stays done where nobody reads them.
macro_rules! say {
    ($($words:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("vault-agent: {}\n", format_args!($($words)*)));
    }};
}

mod accept_restore;
mod account;
mod api_key;
mod aws;
mod confined;
mod docker;
mod exec;
mod get;
mod git;
mod kube;
mod mcp;
mod pgpass;
mod provide;
mod proxy;
mod run;
#[path = "../shared/shell.rs"]
mod shell;
mod source;
#[path = "../shared/value.rs"]
mod value;
mod who;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use nockvault::client::fault::Fault;

/// Hold an agent's key, and give its credentials to the programs that need them.
///
/// The program that is run sees no key. It sees a secret only where it was to have one.
#[derive(Debug, Parser)]
#[command(name = "vault-agent", version, term_width = 100)]
struct Cli {
    #[command(flatten)]
    who: who::Who,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Exec(Box<exec::Exec>),
    Confined(confined::Confined),
    Run(run::Run),
    Mcp(mcp::Mcp),
    Get(get::Get),
    Release(get::Release),
    List(get::List),
    Git(git::Git),
    Docker(docker::Docker),
    Aws(aws::Aws),
    Kube(kube::Kube),
    Pgpass(pgpass::Pgpass),
    ApiKey(api_key::ApiKey),
    Provide(provide::Provide),
    Proxy(proxy::Proxy),
    AcceptRestore(accept_restore::AcceptRestore),
    Completions(shell::Completions),
    Man(shell::Man),
}

/// What was typed. Docker gives its helpers no words of the user's, and so the name by which it calls this program, a
/// link to it, says which command is meant.
fn typed() -> Vec<OsString> {
    let mut typed: Vec<OsString> = std::env::args_os().collect();
    let called = typed.first().and_then(|name| Path::new(name).file_name()).unwrap_or_default();
    if called.to_string_lossy().starts_with("docker-credential-") {
        typed.insert(1, "docker".into());
    }
    typed
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(typed()) {
        Ok(cli) => cli,
        Err(words) => {
            let _ = words.print();
            return if words.use_stderr() { ExitCode::from(1) } else { ExitCode::SUCCESS };
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(why) => return failed(&why.into()),
    };
    let ended = runtime.block_on(run(cli));
    // A thread that still waits for standard input is not waited for.
    runtime.shutdown_background();
    match ended {
        Ok(code) => code,
        Err(why) => failed(&why),
    }
}

fn failed(why: &anyhow::Error) -> ExitCode {
    say!("{}", calm(&format!("{why:#}")));
    match why.downcast_ref::<Fault>() {
        Some(Fault::Refused(_)) => ExitCode::from(2),
        _ => ExitCode::from(1),
    }
}

/// Words of others on their way to a terminal: lines stay lines, other control characters go.
fn calm(text: &str) -> String {
    text.chars().filter(|c| *c == '\n' || !c.is_control()).collect()
}

async fn run(Cli { mut who, command }: Cli) -> anyhow::Result<ExitCode> {
    who.look_up().await;
    match command {
        Command::Confined(confined) => Ok(confined.run()),
        Command::Exec(exec) => Ok(exec.run(&who).await),
        Command::Run(run) => Ok(run.run().await),
        Command::Mcp(mcp) => mcp.run(&who).await,
        Command::Get(get) => get.run(&who).await,
        Command::Release(release) => release.run().await,
        Command::List(list) => list.run().await,
        Command::Git(git) => git.run(&who).await,
        Command::Docker(docker) => docker.run(&who).await,
        Command::Aws(aws) => aws.run(&who).await,
        Command::Kube(kube) => kube.run(&who).await,
        Command::Pgpass(pgpass) => pgpass.run(&who).await,
        Command::ApiKey(key) => key.run(&who).await,
        Command::Provide(provide) => provide.run(&who).await,
        Command::Proxy(proxy) => proxy.run(&who).await,
        Command::Completions(wanted) => {
            source::give(&wanted.script(Cli::command()))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Man(man) => {
            man.write(Cli::command())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::AcceptRestore(accept) => accept.run(&who).await,
    }
}
