//! The daemon: reads its configuration, opens the vault, serves it, ends in order. `vaultd dev` makes a vault for one
//! afternoon and removes it at the end.
//!
//! Exit codes: 0 it ended as it was told to, 1 the command line or the configuration is wrong, 2 it could not serve.

#[path = "shared/shell.rs"]
mod shell;

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use nockvault::client::keyfile;
use nockvault::config::{Config, LogFormat};
use nockvault::entropy::{Entropy, OsEntropy};
use nockvault::server::compose::Brought;
use nockvault::server::init::{self, Keeper, Laid, Plan};
use nockvault::server::listen::{Listener, Listeners};
use nockvault::server::{compose, drain, run, sinks, supervisor, tls, walls};
use nockvault::telemetry::{self, Telemetry};
use nockvault::time::{Clock as _, Seconds, SystemClock};
use tokio_util::sync::CancellationToken;

/// How long threads that nothing is left to do with are waited for at the end.
const STRAYS: Duration = Duration::from_secs(2);
/// Wrong usage or configuration.
const USAGE: u8 = 1;
/// It could not serve, or not serve on.
const RUNTIME: u8 = 2;

/// The NockVault daemon: takes signed requests, gives sealed short-lived secrets, and keeps the audit trail.
#[derive(Debug, Parser)]
#[command(
    name = "vaultd",
    version,
    term_width = 100,
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true
)]
struct Args {
    /// The configuration, as `vaultctl init` writes it
    #[arg(long, value_name = "FILE", env = "NOCKVAULT_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Says what is wrong with a configuration and the files it names, without starting
    CheckConfig {
        /// The configuration
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Makes a vault in a temporary folder, serves it, says what to paste next, and removes it at the end
    Dev {
        /// Where agents reach it; port 0 takes a free one
        #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
    Completions(shell::Completions),
    Man(shell::Man),
}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Where nobody reads it, nothing is lost.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    walls::close_up();
    let ended = match (args.command, args.config) {
        (Some(Command::CheckConfig { file }), _) => check(&file).map_err(|error| (USAGE, error)),
        (Some(Command::Dev { listen }), _) => dev(listen),
        (Some(Command::Completions(wanted)), _) => {
            say(&String::from_utf8_lossy(&wanted.script(Args::command()))).map_err(|error| (RUNTIME, error))
        }
        (Some(Command::Man(man)), _) => man.write(Args::command()).map_err(|error| (RUNTIME, error)),
        (None, Some(file)) => serve_file(&file),
        (None, None) => Err((USAGE, anyhow::anyhow!("no configuration; name one with --config FILE"))),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, error)) => {
            // Where nobody reads it, nothing is lost.
            let _ = writeln!(std::io::stderr(), "vaultd: {error:#}");
            ExitCode::from(code)
        }
    }
}

type Ended = Result<(), (u8, anyhow::Error)>;

/// Reads a configuration and tries what can be tried without starting.
fn check(file: &Path) -> anyhow::Result<()> {
    let config = Config::read(file)?;
    let open = walls::modes::look(&config, file);
    walls::modes::refuse(&open)?;
    compose::check_custody(&config)?;
    if let Some(files) = &config.tls {
        install_tls_provider();
        tls::load(files, Seconds(config.limits.handshake_timeout_s))?;
    }
    sinks::check(&config)?;
    check_ports(&config)?;
    let data = &config.vault.data_dir;
    let there = data.metadata().with_context(|| {
        format!("{}: the data directory; `vaultctl init` makes one where there is none", data.display())
    })?;
    anyhow::ensure!(there.is_dir(), "{}: no folder; name the data directory of the vault", data.display());
    for finding in open {
        // Where nobody reads it, nothing is lost.
        let _ = writeln!(std::io::stderr(), "vaultd: {finding}");
    }
    say(&format!("{}: ok\n", file.display()))
}

/// No two listeners have one place.
fn check_ports(config: &Config) -> anyhow::Result<()> {
    let all = [("[agents]", config.agents.tcp), ("[operators]", config.operators.tcp), ("[http]", config.http)];
    let mut taken = std::collections::BTreeMap::new();
    for (section, at) in all.into_iter().filter_map(|(section, at)| Some((section, at.filter(|at| at.port() != 0)?))) {
        if let Some(other) = taken.insert(at, section) {
            anyhow::bail!("{section} listen: {at} is that of {other} already; name another port there");
        }
    }
    Ok(())
}

fn serve_file(file: &Path) -> Ended {
    let config = Config::read(file).map_err(|faults| (USAGE, faults.into()))?;
    log(&config)?;
    behind_walls(&config, file, &[], |_| String::new())
}

fn log(config: &Config) -> Ended {
    let json = config.log.format == LogFormat::Json;
    telemetry::log_to_stderr(json, &config.log.level).map_err(|error| (USAGE, anyhow::anyhow!(error)))
}

/// Serves with what the daemon needs to serve and the folders `also`, and without the rest of the machine. The walls hold
/// the thread that raises them and those that it starts, so there is one at this point. Custody may have a program run, or
/// read what is not the daemon's: the root key comes before the walls that end this.
fn behind_walls(config: &Config, file: &Path, also: &[&Path], more: impl FnOnce(&Listeners) -> String) -> Ended {
    let at_start = |error: anyhow::Error| (RUNTIME, error);
    let telemetry = Telemetry::new();
    walls::lock(config, file, &telemetry).map_err(|fault| at_start(fault.into()))?;
    let brought = compose::bring(config).map_err(|fault| at_start(fault.into()))?;
    walls::raise(config, also, &telemetry).map_err(|fault| at_start(fault.into()))?;
    in_runtime(serve((config, file), brought, telemetry, more))
}

fn in_runtime(work: impl Future<Output = anyhow::Result<()>>) -> Ended {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("vaultd").build();
    let ended = runtime.context("no threads").and_then(|runtime| {
        let ended = runtime.block_on(work);
        // A disk that hangs, of a place that keeps checkpoints, does not keep the daemon from its end.
        runtime.shutdown_timeout(STRAYS);
        ended
    });
    ended.map_err(|error| (RUNTIME, error))
}

/// Two libraries ask for the process' TLS provider; there is one.
fn install_tls_provider() {
    // An error says that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Opens the vault with the secrets that were brought, or begins sealed without any, and serves until a signal. `more` is
/// said after the line that begins with `ready`.
async fn serve(
    (config, file): (&Config, &Path),
    brought: Brought,
    telemetry: Telemetry,
    more: impl FnOnce(&Listeners) -> String,
) -> anyhow::Result<()> {
    install_tls_provider();
    let stop = CancellationToken::new();
    drain::on_signals(stop.clone(), RUNTIME.into()).context("signals cannot be listened for")?;
    sinks::check(config)?;
    // It is read again where it serves; what is wrong with it is said before the vault begins.
    if let Some(files) = &config.tls {
        tls::load(files, Seconds(config.limits.handshake_timeout_s))?;
    }
    // Bound first: a port that is taken leaves no trace in the vault.
    let listeners = Listeners::bind(config).await.with_context(|| file.display().to_string())?;
    let vault = compose::begin(config, brought, Arc::new(SystemClock), Arc::new(OsEntropy)).await?;
    let mut ready = ready(&listeners, config.tls.is_some());
    let version = env!("CARGO_PKG_VERSION");
    match &vault {
        Some(vault) => tracing::info!(version, vault = %vault.aud(), name = %vault.name(), "{ready}"),
        None => {
            ready.push_str(" sealed");
            tracing::info!(version, "{ready}");
        }
    }
    say(&format!("{ready}\n{}", more(&listeners)))?;
    supervisor::ready(&ready, stop.clone());
    run(config, vault, listeners, telemetry, stop).await?;
    tracing::info!("stopped");
    Ok(())
}

/// `ready agents=https://127.0.0.1:8440 agents=unix:/run/... operators=unix:/run/... http=http://127.0.0.1:8441`: what
/// whoever starts a daemon waits for, with the ports that the system chose. A vault that begins sealed says ` sealed` at
/// the end.
fn ready(listeners: &Listeners, with_tls: bool) -> String {
    let mut line = String::from("ready");
    let rooms = [("agents", &listeners.agents[..], with_tls), ("operators", &listeners.operators[..], with_tls)];
    let http = listeners.http.as_slice();
    for (name, all, with_tls) in rooms.into_iter().chain([("http", http, false)]) {
        for listener in all {
            // A String takes every write.
            let _ = write!(line, " {name}={}", listener.url(with_tls));
        }
    }
    line
}

fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("standard output")
}

/// A folder that is gone when this is.
struct Passing(PathBuf);

impl Drop for Passing {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "the temporary vault could not be removed");
        }
    }
}

fn dev(listen: SocketAddr) -> Ended {
    let (folder, laid) = lay_dev(listen).map_err(|error| (RUNTIME, error))?;
    let config = Config::read(&laid.config).map_err(|faults| (RUNTIME, faults.into()))?;
    log(&config)?;
    let more = |listeners: &Listeners| match say_dev(&folder.0, &laid, listeners) {
        Ok(text) => text,
        Err(error) => format!("the vault serves, but its card could not be written: {error:#}\n"),
    };
    // In a thread of its own: this one stays outside of the walls, to remove the folder at the end.
    let ended = std::thread::scope(|threads| {
        let serving = threads.spawn(|| behind_walls(&config, &laid.config, &[&folder.0], more));
        serving.join().unwrap_or_else(|_| Err((RUNTIME, anyhow::anyhow!("it ended by a fault of its own, told above"))))
    });
    drop(folder);
    ended
}

/// A new vault in a temporary folder, with its operator's key beside it.
fn lay_dev(listen: SocketAddr) -> anyhow::Result<(Passing, Laid)> {
    let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
    let suffix = keyfile::hex(&entropy.bytes::<6>());
    let folder = Passing(std::env::temp_dir().join(format!("nockvault-dev-{suffix}")));
    let plan = Plan {
        folder: folder.0.clone(),
        name: "dev".parse().expect("it is a name"),
        operator: "dev".parse().expect("it is a name"),
        hosts: Vec::new(),
        agents: listen,
        operators: None,
        http: SocketAddr::from(([127, 0, 0, 1], 0)),
        custody: Keeper::File(None),
    };
    let laid = init::lay(&plan, SystemClock.now(), &entropy)?;
    let seed = laid.operator_key.as_ref().expect("its key is made where nobody brings one").seed();
    keyfile::write(&operator_key(&folder.0), keyfile::hex(seed.expose()).as_bytes(), 0o600, false)?;
    Ok((folder, laid))
}

fn operator_key(folder: &Path) -> PathBuf {
    folder.join(format!("dev.{}", keyfile::SECRET))
}

/// Writes the card anew with the port that the system chose, and says what to paste next.
fn say_dev(folder: &Path, laid: &Laid, listeners: &Listeners) -> anyhow::Result<String> {
    let mut card = laid.card.clone();
    if let Some(tcp) = listeners.agents.iter().find(|listener| matches!(listener, Listener::Tcp(_))) {
        card.agents = tcp.url(true);
    }
    std::fs::write(&laid.card_path, card.write())?;
    Ok(format!(
        "
A vault for now: it is gone, with everything in it, when this daemon ends (Ctrl-C).
Paste into another terminal:

  export NOCKVAULT_CARD={card}
  export NOCKVAULT_OPERATOR_KEY={key}

  vaultctl status
  vaultctl keygen --agent kit
  vaultctl agent register kit.register
  printf 'a password' | vaultctl secret put orders-db -
  vaultctl role create orders-read --engine kv --set secret=orders-db
  vaultctl grant kit orders-read --ttl 15m
  vault-agent get orders-read --agent kit
  vaultctl audit show kit
",
        card = laid.card_path.display(),
        key = operator_key(folder).display(),
    ))
}
