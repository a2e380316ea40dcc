//! The proxy of a child: requests go out with a secret that the child never has. What [`Rules`] allow (a host, a method, a
//! path) is sent on with the secret in its header; everything else is refused with 403 and says which rule was missing. The
//! child finds it in two ways. A base URL, `http://127.0.0.1:PORT/TOKEN/RULE`, asks for nothing but a variable. Through
//! `HTTPS_PROXY` the TLS of the rules' hosts is ended here, under an authority that lives as long as this start; where no
//! rule says `connect = true`, there is no authority and no TLS is ended.
//!
//! The secret is put in last, in place of what the child sent under that name, and taken out of whatever comes back. The
//! listener is on loopback and asks for a token. Names are looked up here, once for each connection, and addresses of this
//! machine, of private networks and of clouds' metadata are refused. What this does not stop: a host that a rule names and
//! that helps the child can hand it the secret in a writing that nobody looks for. Name hosts that are trusted with it.
//!
//! - `rules`: the file; `path`: which paths it means
//! - `door`: who may come in, and what is asked for; `no`: what is said to what is refused
//! - `exchange`: a request on its way, and its answer; `put`: what is put in; `body`: what is taken out
//! - `tunnel`, `authority`: `CONNECT`, and the TLS in it
//! - `reach`: the way out

mod authority;
mod body;
mod door;
mod exchange;
mod no;
mod path;
mod put;
mod reach;
mod rules;
mod tunnel;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::authority::Authority;
use self::door::Door;
use self::exchange::Line;
pub use self::rules::Rules;
use super::wallet::Wallet;
use crate::base64url;
use crate::client::fault::Fault;
use crate::launcher::redact::Known;

/// Who is told, in words for people, what was refused. No secret is in them.
pub type Words = Arc<dyn Fn(&str) + Send + Sync>;

/// What stands in a variable for clients that refuse to start without a secret.
pub const PLACEHOLDER: &str = "held-by-vault-agent";

/// A proxy that serves until it is dropped; then all its connections are broken off.
pub struct Serving {
    variables: Vec<(String, OsString)>,
    at: SocketAddr,
    over: CancellationToken,
    /// Where clients read whom to trust.
    _folder: Option<tempfile::TempDir>,
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serving({})", self.at)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.over.cancel();
    }
}

impl Serving {
    /// What the child's environment has to hold: where the proxy is, with its token, and whom to trust.
    #[must_use]
    pub fn variables(&self) -> &[(String, OsString)] {
        &self.variables
    }

    /// Where it listens.
    #[must_use]
    pub fn at(&self) -> SocketAddr {
        self.at
    }
}

/// Serves these rules on a loopback port, 0 for any that is free, with credentials out of `wallet`. `environment` is what
/// the child would have had: authorities and exceptions that it names stay good.
///
/// # Errors
/// [`Fault::Local`]: the port is taken, or a certificate or file could not be made or read.
pub async fn serve(
    wallet: Wallet,
    rules: Rules,
    port: u16,
    environment: &dyn Fn(&str) -> Option<OsString>,
    words: Words,
) -> Result<Serving, Fault> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    let listener = listener.map_err(|why| Fault::Local(format!("no port for the proxy, {port}: {why}")))?;
    let at = listener.local_addr().map_err(Fault::local)?;
    let around = &wallet.owner().around;
    let token = base64url::encode(&around.entropy.bytes::<32>());
    let mut variables = found_at(&rules, at, &token, environment);
    let (hosts, tunnels): (BTreeSet<_>, _) = (rules.ended().collect(), rules.tunnels());
    let (mut folder, mut authority) = (None, None);
    if !hosts.is_empty() {
        let made = Authority::make(&hosts, around.clock.now())?;
        let place = public_folder()?;
        variables.extend(made.trusted(place.path(), environment)?);
        (folder, authority) = (Some(place), Some(made));
    }
    if tunnels {
        variables.extend(proxied(at, &token));
    }
    let Rules { rules, passthrough } = rules;
    let lines = rules.into_iter().map(|rule| Line::new(rule).map(Arc::new)).collect::<Result<_, _>>()?;
    let (known, over) = (Known::default(), CancellationToken::new());
    let door = Door { lines, passthrough, authority, wallet, known, token, at, words, over: over.clone() };
    let serving = Arc::new(door).serve(listener);
    tokio::spawn({
        let over = over.clone();
        async move { over.run_until_cancelled(serving).await }
    });
    Ok(Serving { variables, at, over, _folder: folder })
}

/// Base URLs and placeholders, and what keeps clients from asking another proxy for a base URL.
fn found_at(
    rules: &Rules,
    at: SocketAddr,
    token: &str,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Vec<(String, OsString)> {
    let mut variables = Vec::new();
    for rule in &rules.rules {
        if let Some(variable) = &rule.variable {
            variables.push((variable.clone(), format!("http://{at}/{token}/{}{}", rule.name, rule.base).into()));
        }
        variables.extend(rule.placeholders.iter().map(|name| (name.clone(), PLACEHOLDER.into())));
    }
    for name in ["NO_PROXY", "no_proxy"] {
        let mut list = environment(name).unwrap_or_default();
        if !list.is_empty() {
            list.push(",");
        }
        list.push("127.0.0.1");
        variables.push((name.to_owned(), list));
    }
    variables
}

fn proxied(at: SocketAddr, token: &str) -> Vec<(String, OsString)> {
    let url = format!("http://x:{token}@{at}");
    let mut variables: Vec<_> = ["HTTPS_PROXY", "https_proxy"].map(|name| (name.to_owned(), url.clone().into())).into();
    // Node looks at the two above where this is said.
    variables.push(("NODE_USE_ENV_PROXY".to_owned(), "1".into()));
    variables
}

/// A folder for certificates, which are public: a child of another user reads them too.
fn public_folder() -> Result<tempfile::TempDir, Fault> {
    let folder = tempfile::Builder::new().prefix("vault-agent-proxy-").tempdir();
    let folder = folder.map_err(|why| Fault::Local(format!("no folder for the proxy's certificates: {why}")))?;
    let opened = std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755));
    opened.map_err(|why| Fault::Local(format!("{}: {why}", folder.path().display())))?;
    Ok(folder)
}
