//! A whole configuration with every key, what it is for, and its default: what `vaultctl init` writes, and the
//! reference of all keys.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::custody::Custody;
use super::limits::{CHECKPOINTS, Limit, Limits};

/// The daemon's name where the file gives none.
pub const NODE: &str = "node1";
/// What is logged where the file says nothing.
pub(super) const LEVEL: &str = "info";

/// The width of a comment.
const WIDTH: usize = 118;

/// What differs from vault to vault in a configuration. Paths are written as they are; a relative one counts from the
/// folder of the file.
#[derive(Clone, Debug)]
pub struct Places {
    /// The data directory.
    pub data_dir: String,
    /// Who opens the vault at the start.
    pub custody: Custody,
    /// Where agents reach the vault over TCP.
    pub agents: SocketAddr,
    /// Where they reach it on the same machine.
    pub agents_unix: String,
    /// Where operators reach it.
    pub operators_unix: String,
    /// Where operators reach it over TCP, if they may.
    pub operators: Option<SocketAddr>,
    /// Where health, metrics and the JWKS are.
    pub http: SocketAddr,
    /// Where the mirror of the audit trail is.
    pub audit: String,
    /// The certificate.
    pub cert: String,
    /// Its key.
    pub key: String,
}

impl Default for Places {
    fn default() -> Places {
        Places {
            data_dir: "data".to_owned(),
            custody: Custody::File("root.key".into()),
            agents: SocketAddr::from(([127, 0, 0, 1], 8440)),
            agents_unix: "run/agents.sock".to_owned(),
            operators_unix: "run/operators.sock".to_owned(),
            operators: None,
            http: SocketAddr::from(([127, 0, 0, 1], 8441)),
            audit: "audit".to_owned(),
            cert: "tls/server.pem".to_owned(),
            key: "tls/server.key".to_owned(),
        }
    }
}

/// The text of a configuration for these places, every key explained.
#[must_use]
pub fn example(places: &Places) -> String {
    let operators = match places.operators {
        Some(address) => format!("listen = \"{address}\""),
        None => "# listen = \"127.0.0.1:8442\"".to_owned(),
    };
    let mut text = format!(
        r#"# The configuration of vaultd. `vaultd check-config FILE` says what is wrong with it. Relative paths count from the
# folder of this file. A key that vaultd does not know is refused.

[vault]
# Where the data is; mode 0700, on a local disk that honours sync.
data_dir = {data_dir}
# This daemon's name among those of one vault.
node = {node}
# Whose secret opens the vault when it starts: {{ file="root.key" }}, of mode 0600 outside the data directory, with a
# copy elsewhere; {{ credential="NAME" }} of the daemon's systemd unit;
# {{ command=["/path/of/program", "argument"] }}, which prints it;
# {{ pkcs11={{ module="/path.so", token="LABEL", key="LABEL", pin_file="hsm.pin" }} }}; or
# {{ unseal=true }}: nobody's, it starts sealed. See `vaultctl custody`.
custody = {custody}

[agents]
# Where agents reach the vault over the network, and on the same machine. One of the two suffices.
listen = "{agents}"
unix = {agents_unix}

[operators]
# Where operators reach it. Over the network only if `listen` is set.
unix = {operators_unix}
{operators}

[http]
# Health (/healthz, /readyz), metrics (/metrics), the keys of issued tokens (/.well-known/jwks.json), authorities and
# lists of what was revoked (/ssh, /x509, /jwt), and the key directory (/.well-known/nockvault/keys), without TLS.
# Off loopback it needs plaintext = true.
listen = "{http}"
plaintext = {plaintext}
# Whether the key directory says whose the keys are, to anybody who asks. `vaultctl keys export` says it to operators.
names = false

[tls]
# What the TCP listeners of agents and operators prove themselves with. Without it they stay on loopback.
cert = {cert}
key = {key}

[audit]
# Each chain as a file, <agent>.audit.jsonl, byte by byte what the vault has, for people and for what ships logs. The
# vault reads none of it. Without `dir` there are no files.
dir = {audit}
# Who reads them: 0600, 0640 or 0644. The folders above have to let them in too; `vaultctl init` makes its own 0700.
mode = {mode}
# Each entry as a message of a syslog: unix:/path, udp:host:port or tcp:host:port. A longer message is cut.
# syslog = "unix:/dev/log"
syslog_bytes = {syslog_bytes}
# Each entry as a log record of an OpenTelemetry collector, over gRPC. With https, its certificate is checked against
# the system's authorities, or against those in `otlp_ca`.
# otlp = "https://127.0.0.1:4317"
# otlp_ca = "tls/collector-ca.pem"

[log]
# human or json, on standard error.
format = "human"
# off, error, warn, info, debug or trace, also by target: "info,nockvault=debug".
level = {level}

[jwt]
# The iss of tokens; the vault's id where none is set.
# issuer = "https://vault.example.org"

[limits]
"#,
        data_dir = quoted(&places.data_dir),
        node = quoted(NODE),
        custody = places.custody.written(),
        agents = places.agents,
        agents_unix = quoted(&places.agents_unix),
        operators_unix = quoted(&places.operators_unix),
        http = places.http,
        plaintext = !places.http.ip().is_loopback(),
        cert = quoted(&places.cert),
        key = quoted(&places.key),
        audit = quoted(&places.audit),
        mode = quoted(super::audit::MODE),
        syslog_bytes = super::audit::SYSLOG_BYTES.default,
        level = quoted(LEVEL),
    );
    numbers(&mut text, Limits::TABLE);
    text.push_str(
        "\n[checkpoints]\n# What the vault signs of each chain, for others to keep: nothing before a checkpoint can be rewritten.\n",
    );
    numbers(&mut text, &CHECKPOINTS);
    text.push_str(super::checkpoints::EXAMPLE);
    text.push_str(super::host::EXAMPLE);
    text
}

fn numbers(text: &mut String, rows: &[Limit]) {
    for limit in rows {
        comment(text, &format!("{} From {} to {}.", limit.text, limit.range.start(), limit.range.end()));
        // A String takes every write.
        let _ = writeln!(text, "{} = {}", limit.name, limit.default);
    }
}

/// A TOML text, escaped as the format asks.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn comment(out: &mut String, text: &str) {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
}
