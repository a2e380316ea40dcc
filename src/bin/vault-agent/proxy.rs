//! `vault-agent proxy`: the proxy alone, for programs that no launcher runs.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use nockvault::launcher::key;
use nockvault::launcher::proxy::{Rules, Serving, serve};
use nockvault::launcher::wallet::{Silent, Wallet};
use nockvault::launcher::want::Roles;
use tokio::signal::unix::{SignalKind, signal};

use crate::calm;
use crate::who::Who;

/// Send requests on with credentials that the program behind them never has
///
/// Prints the variables that the program needs, one `export` a line, and serves until it is interrupted; then everything
/// that it was given is given back. What is refused is said on standard error.
#[derive(Debug, Args)]
pub(crate) struct Proxy {
    /// Which requests get which credential, TOML; `deploy/proxy.toml` is an example.
    #[arg(long, value_name = "FILE")]
    rules: PathBuf,
    /// The port on 127.0.0.1 to listen on; 0 takes any that is free.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
}

impl Proxy {
    pub(crate) async fn run(&self, who: &Who) -> anyhow::Result<ExitCode> {
        key::hide()?;
        let rules = Rules::read(&self.rules)?;
        let wallet = Wallet::new(who.owner("proxy", Roles::Only(rules.roles()), Arc::new(Silent))?);
        // Before anything is said, so that whoever heard it can end this in order.
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let words = Arc::new(|words: &str| say!("{}", calm(words)));
        let serving = serve(wallet.clone(), rules, self.port, &|name| std::env::var_os(name), words).await?;
        std::io::stdout().write_all(&exports(&serving)).and_then(|()| std::io::stdout().flush())?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        drop(serving);
        wallet.close().await?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The variables that lead to it, as a shell reads them.
pub(crate) fn exports(serving: &Serving) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in serving.variables() {
        out.extend_from_slice(format!("export {name}=").as_bytes());
        out.extend_from_slice(&quoted(value));
        out.push(b'\n');
    }
    out
}

/// As a shell reads it back.
fn quoted(value: &OsStr) -> Vec<u8> {
    let mut out = vec![b'\''];
    for byte in value.as_encoded_bytes() {
        match byte {
            b'\'' => out.extend_from_slice(b"'\\''"),
            byte => out.push(*byte),
        }
    }
    out.push(b'\'');
    out
}
