//! What `vaultd` is told by its file. The file is TOML and read strictly: a key that nobody knows is refused, and so is
//! a number outside its range; whoever mistypes a limit does not run without it. A [`Config`] is valid as a whole: its
//! limits agree with each other, and no listener that leaves the machine speaks without TLS. Relative paths count from
//! the folder of the file.
//!
//! Every limit has its unit in its name and a default, in one table ([`Limits::TABLE`]). [`example`] writes a whole file
//! with every key and its default.

mod audit;
mod checkpoints;
mod custody;
mod example;
mod host;
mod limits;
mod reader;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use audit::{Audit, Mirror, Otlp, Syslog};
pub use checkpoints::Checkpoints;
pub use custody::{Custody, Token};
pub use example::{NODE, Places, example};
pub use host::{Host, Wall};
pub use limits::{Limit, Limits};
pub use reader::{Fault, Faults};
use reader::{Found, Reader, Section};
use toml::de::DeTable;
use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::id::VaultName;
use crate::rate::Rate;
use crate::store::{Pace, Rules};
use crate::time::Seconds;
use crate::vault;

/// The longest path of a unix socket, in bytes: `sun_path` holds 108 with its end, and the socket is made under a
/// longer name first.
const UNIX_PATH: usize = 100;

/// A valid configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The vault itself.
    pub vault: VaultPart,
    /// Where agents reach it.
    pub agents: Listen,
    /// Where operators reach it.
    pub operators: Listen,
    /// Where health, metrics and the JWKS are.
    pub http: Option<SocketAddr>,
    /// Whether the key directory there says whose the keys are.
    pub http_names: bool,
    /// What TCP listeners prove themselves with.
    pub tls: Option<TlsFiles>,
    /// How much of everything there may be.
    pub limits: Limits,
    /// What of the audit trail is carried outside.
    pub audit: Audit,
    /// How it logs.
    pub log: Log,
    /// What it takes away from itself.
    pub host: Host,
    /// The `iss` of tokens; the vault's id where none is set.
    pub issuer: Option<String>,
    /// When chains get a checkpoint, and who keeps it.
    pub checkpoints: Checkpoints,
}

/// `[vault]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultPart {
    /// Where the data is.
    pub data_dir: PathBuf,
    /// The daemon's name among those of one vault.
    pub node: String,
    /// Who keeps the root key.
    pub custody: Custody,
}

/// The listeners of one kind of peer; at least one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listen {
    /// An address and port.
    pub tcp: Option<SocketAddr>,
    /// A unix socket.
    pub unix: Option<PathBuf>,
}

/// `[tls]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain, PEM.
    pub cert: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// For people or for programs.
    pub format: LogFormat,
    /// What is logged, as `tracing-subscriber` filters.
    pub level: String,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// Everything that is wrong with it, or that it could not be read.
    pub fn read(path: &Path) -> Result<Config, Faults> {
        // The paths in the file stay right wherever the reader stands later.
        let read = std::path::absolute(path).and_then(|path| Ok((std::fs::read_to_string(&path)?, path)));
        let (text, path) = read.map_err(|error| Faults {
            path: path.to_owned(),
            faults: vec![Fault {
                line: 1,
                key: String::new(),
                wrong: format!("the file cannot be read: {error}"),
                write: "`vaultctl init` writes one".to_owned(),
            }],
        })?;
        Config::parse(&text, &path)
    }

    /// What the vault is held to.
    #[must_use]
    pub fn vault_limits(&self) -> vault::Limits {
        let limits = &self.limits;
        let rules = Rules {
            skew: Seconds(limits.skew_s),
            nonces_per_key: limits.nonces_per_key,
            session_idle: Seconds(limits.session_idle_s),
            session_max: Seconds(limits.session_max_s),
            sessions_per_agent: limits.sessions_per_agent,
            leases_per_agent: limits.leases_per_agent,
            denials_per_minute: limits.denials_per_minute,
            key_overlap: Seconds(limits.key_overlap_s),
            checkpoints: self.checkpoints.pace,
            deadline: Duration::from_millis(limits.commit_deadline_ms),
        };
        vault::Limits {
            rules,
            engine_deadline: Duration::from_millis(limits.engine_deadline_ms),
            backend_retry: Seconds(limits.backend_retry_s),
            agents: vault::PerAgent {
                rate: Rate::new(limits.agent_requests_per_s, limits.agent_request_burst),
                all: limits.concurrent_requests,
                of_one: limits.concurrent_requests_per_agent,
            },
            node: self.vault.node.clone(),
            issuer: self.issuer.clone(),
            named: self.named(),
        }
    }

    /// Every limit by its name, those of other sections behind the name of the section.
    fn named(&self) -> BTreeMap<String, u64> {
        let mut named = self.limits.named();
        let Pace { entries, after } = self.checkpoints.pace;
        named.insert("checkpoints_every_entries".to_owned(), entries);
        named.insert("checkpoints_every_s".to_owned(), after.0);
        named
    }

    /// Reads the text of the file at `path`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str, path: &Path) -> Result<Config, Faults> {
        let all = |faults| Faults { path: path.to_owned(), faults };
        let root = DeTable::parse(text).map_err(|error| all(vec![reader::no_toml(text, &error)]))?;
        let mut reader = Reader::new(text, root.get_ref());
        let base = path.parent().unwrap_or(Path::new(""));
        let config = read_all(&mut reader, base);
        let faults = reader.finish();
        match config {
            Some(config) if faults.is_empty() => Ok(config),
            _ => Err(all(faults)),
        }
    }
}

/// None only after a fault was noted.
fn read_all(reader: &mut Reader<'_>, base: &Path) -> Option<Config> {
    let vault = vault_part(reader.section("vault"), base);
    let tls = tls(reader.section("tls"), base);
    // Where TLS is meant and wrong, the listeners do not complain besides.
    let with_tls = !matches!(tls, Some(None));
    let agents = listen(reader.section("agents"), base, with_tls, "agents.sock");
    let operators = listen(reader.section("operators"), base, with_tls, "operators.sock");
    let (http, http_names) = http(reader.section("http"));
    let limits = read_limits(reader.section("limits"));
    let data = vault.as_ref().map(|vault| vault.data_dir.as_path());
    let audit = audit::read(reader.section("audit"), base, data);
    let log = log(reader.section("log"));
    let host = host::read(reader.section("host"));
    let issuer = issuer(reader.section("jwt"));
    let checkpoints = checkpoints::read(reader.section("checkpoints"), base);
    Some(Config {
        vault: vault?,
        agents: agents?,
        operators: operators?,
        http,
        http_names,
        tls: tls.flatten(),
        limits,
        audit,
        log,
        host,
        issuer,
        checkpoints,
    })
}

fn vault_part(mut section: Section<'_, '_>, base: &Path) -> Option<VaultPart> {
    let data_dir = section.path("data_dir", "data", base);
    section.need(&data_dir, "data_dir", "data");
    let node = section.parsed("node", example::NODE, |text| {
        text.parse::<VaultName>().map(|name| name.to_string()).map_err(|_| {
            format!("{text:?} is not a node's name: up to 63 of a-z, 0-9, . and -, beginning with a letter or digit")
        })
    });
    let custody = custody::read(&mut section, base, data_dir.as_ref().map(|data| data.value.as_path()));
    section.finish();
    Some(VaultPart {
        data_dir: data_dir?.value,
        node: node.map_or_else(|| example::NODE.to_owned(), |node| node.value),
        custody: custody?,
    })
}

/// `Some(None)`: no TLS. None: a fault.
fn tls(mut section: Section<'_, '_>, base: &Path) -> Option<Option<TlsFiles>> {
    let cert = section.path("cert", "tls/server.pem", base);
    let key = section.path("key", "tls/server.key", base);
    let present = section.present();
    if present {
        section.need(&cert, "cert", "tls/server.pem");
        section.need(&key, "key", "tls/server.key");
    }
    section.finish();
    match (cert, key) {
        (Some(cert), Some(key)) => Some(Some(TlsFiles { cert: cert.value, key: key.value })),
        _ if present => None,
        _ => Some(None),
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("{text:?} is not an IP address with a port"))
}

fn listen(mut section: Section<'_, '_>, base: &Path, with_tls: bool, socket: &str) -> Option<Listen> {
    let tcp = section.parsed("listen", "127.0.0.1:8440", address);
    let unix = section.path("unix", socket, base);
    if let Some(Found { value, line }) = &tcp
        && !value.ip().is_loopback()
        && !with_tls
    {
        let wrong = format!("{value} is off loopback and there is no TLS");
        section.wrong(*line, "listen", wrong, "add [tls] with cert and key, or listen on 127.0.0.1");
    }
    if let Some(Found { value, line }) = &unix
        && value.as_os_str().len() > UNIX_PATH
    {
        let wrong = format!("the path has {} bytes", value.as_os_str().len());
        section.wrong(*line, "unix", wrong, format!("a unix socket takes at most {UNIX_PATH}"));
    }
    if !section.has("listen") && !section.has("unix") {
        section.need(&None::<()>, "unix", socket);
    }
    section.finish();
    Some(Listen { tcp: tcp.map(|found| found.value), unix: unix.map(|found| found.value) })
}

fn http(mut section: Section<'_, '_>) -> (Option<SocketAddr>, bool) {
    let listen = section.parsed("listen", "127.0.0.1:8441", address);
    let plaintext = section.flag("plaintext");
    let names = section.flag("names");
    if section.present() {
        section.need(&listen, "listen", "127.0.0.1:8441");
    }
    if let Some(Found { value, line }) = &listen
        && !value.ip().is_loopback()
        && !plaintext
    {
        let wrong = format!("{value} is off loopback and this listener speaks no TLS");
        let write = "put a proxy with TLS before 127.0.0.1, or write plaintext = true: nothing secret is read here, but a \
                     JWKS can be exchanged on its way";
        section.wrong(*line, "listen", wrong, write);
    }
    section.finish();
    (listen.map(|found| found.value), names)
}

fn read_limits(mut section: Section<'_, '_>) -> Limits {
    let limits = Limits::read(|row| section.limit(row));
    let pairs = [
        ("session_idle_s", limits.session_idle_s, "session_max_s", limits.session_max_s),
        ("commit_deadline_ms", limits.commit_deadline_ms, "request_timeout_s", limits.request_timeout_s * 1000),
        ("commit_deadline_ms", limits.commit_deadline_ms, "drain_s", limits.drain_s * 1000),
        ("engine_deadline_ms", limits.engine_deadline_ms, "request_timeout_s", limits.request_timeout_s * 1000),
        ("engine_deadline_ms", limits.engine_deadline_ms, "drain_s", limits.drain_s * 1000),
        ("keepalive_timeout_s", limits.keepalive_timeout_s, "keepalive_s", limits.keepalive_s),
    ];
    for (shorter, short, longer, long) in pairs {
        if short > long {
            let line = section.line_of(shorter).or_else(|| section.line_of(longer)).unwrap_or(section.line());
            section.wrong(line, shorter, format!("it is longer than {longer}"), format!("lower it or raise {longer}"));
        }
    }
    section.finish();
    limits
}

fn log(mut section: Section<'_, '_>) -> Log {
    let format = section.parsed("format", "human", |text| match text {
        "human" => Ok(LogFormat::Human),
        "json" => Ok(LogFormat::Json),
        other => Err(format!("{other:?} is neither human nor json")),
    });
    let level = section.parsed("level", example::LEVEL, level);
    section.finish();
    Log {
        format: format.map_or(LogFormat::Human, |found| found.value),
        level: level.map_or_else(|| example::LEVEL.to_owned(), |found| found.value),
    }
}

/// A bare word would pass as the name of a target, so that a mistyped level would silence the log.
fn level(text: &str) -> Result<String, String> {
    let bare = text.split(',').map(str::trim).find(|part| !part.contains('=') && part.parse::<LevelFilter>().is_err());
    if bare.is_some() || text.parse::<Targets>().is_err() {
        return Err(format!("{text:?} is not off, error, warn, info, debug or trace, nor a list of target=level"));
    }
    Ok(text.to_owned())
}

fn issuer(mut section: Section<'_, '_>) -> Option<String> {
    let issuer = section.parsed("issuer", "https://vault.example.org", |text| {
        let host = text.strip_prefix("https://").unwrap_or_default();
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\"\\".contains(&byte));
        if host.is_empty() || host.starts_with('/') || !plain {
            return Err(format!("{text:?} is not an https URL without query and fragment"));
        }
        Ok(text.to_owned())
    });
    section.finish();
    issuer.map(|found| found.value)
}
