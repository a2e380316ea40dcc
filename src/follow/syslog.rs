//! Entries as messages of a syslog (RFC 5424), over a unix datagram socket, UDP (RFC 5426) or TCP with octet counting
//! (RFC 6587 section 3.4.1).
//!
//! ```text
//! <110>1 2026-06-03T18:30:00.123Z vault-1 vaultd 4711 issue [nockvault@32473 chain="kit" seq="7" kind="issue" leaf="..."] {"body":...}
//! ```
//!
//! The facility is 13, log audit; the severity follows the kind of the entry; `MSGID` is the kind. The message is the
//! line itself, which holds no secret of an agent. Where it does not fit, it is cut, ends with `[cut]`, and `bytes` says
//! how long the line is; its leaf says which one. 32473 is the number that RFC 5612 leaves to those without one.
//!
//! A syslog acknowledges nothing. What was sent in the last ten to twenty seconds before a connection breaks is sent
//! again; whoever must miss nothing takes the mirror, or OpenTelemetry. Over UDP and unix datagrams messages can be lost
//! without anybody knowing.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, lookup_host};
use tokio::time::timeout;

use super::Sink;
use super::facts::{Entry, Severity};
use super::stream::{Stream, Wire};
use crate::id::ChainName;
use crate::store::Store;

/// The name of the sink.
pub const NAME: &str = "syslog";

/// Log audit.
const FACILITY: u8 = 13;
/// How long one connect or one write may take, and how long a peer may leave bytes unacknowledged.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many bytes may be on their way in a connection.
const UNDER_WAY: usize = 256 << 10;
/// What ends a message that was cut.
const CUT: &str = " [cut]";

/// Where a syslog listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A unix datagram socket, like `/dev/log`.
    Unix(PathBuf),
    /// A host and port.
    Udp(String),
    /// A host and port.
    Tcp(String),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Unix(path) => write!(f, "unix:{}", path.display()),
            Target::Udp(to) => write!(f, "udp:{to}"),
            Target::Tcp(to) => write!(f, "tcp:{to}"),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    /// Reads `unix:/dev/log`, `udp:host:port` or `tcp:host:port`.
    fn from_str(text: &str) -> Result<Target, String> {
        let place = |to: &str| {
            let (host, port) = to.rsplit_once(':')?;
            let port_is_one = port.parse::<u16>().is_ok_and(|port| port != 0);
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            let host_is_one = !bare.is_empty() && (host.starts_with('[') || !host.contains(':'));
            (port_is_one && host_is_one && host.bytes().all(|byte| byte.is_ascii_graphic())).then(|| to.to_owned())
        };
        let target = match text.split_once(':') {
            Some(("unix", path)) if path.starts_with('/') => Some(Target::Unix(path.into())),
            Some(("udp", to)) => place(to).map(Target::Udp),
            Some(("tcp", to)) => place(to).map(Target::Tcp),
            _ => None,
        };
        target.ok_or_else(|| format!("{text:?} is none of unix:/path, udp:host:port and tcp:host:port"))
    }
}

/// The sink that sends to a syslog.
///
/// `limit` is the longest message in bytes; `state` the folder of the cursors.
#[must_use]
pub fn syslog(target: Target, limit: usize, state: &Path, store: Arc<dyn Store>) -> Box<dyn Sink> {
    let name = target.to_string();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let printable = !host.is_empty() && host.len() <= 255 && host.bytes().all(|byte| byte.is_ascii_graphic());
    let host = if printable { host } else { "-".to_owned() };
    let wire = Syslog { target, limit, host, line: None };
    Box::new(Stream::new(wire, &name, state, store))
}

struct Syslog {
    target: Target,
    limit: usize,
    host: String,
    line: Option<Line>,
}

enum Line {
    Unix(UnixDatagram),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

#[async_trait]
impl Wire for Syslog {
    const NAME: &'static str = NAME;
    const DOUBT: Option<Duration> = Some(PATIENCE);

    async fn send(&mut self, chain: &ChainName, entries: &[Entry<'_>]) -> Result<(), String> {
        let messages = entries.iter().map(|entry| message(chain, entry, &self.host, self.limit));
        let sent = match &mut self.line {
            Some(line) => line.send(messages).await,
            None => match timeout(PATIENCE, connect(&self.target)).await.unwrap_or_else(|_| Err(silent())) {
                Ok(line) => self.line.insert(line).send(messages).await,
                Err(error) => Err(error),
            },
        };
        sent.map_err(|error| {
            self.line = None;
            format!("{}: {error}", self.target)
        })
    }

    /// A peer that ended the connection.
    fn is_broken(&mut self) -> bool {
        let Some(Line::Tcp(stream)) = &self.line else { return false };
        let broken = loop {
            match stream.try_read(&mut [0; 512]) {
                Ok(0) => break true,
                // It has nothing to say to us.
                Ok(_) => {}
                Err(error) => break error.kind() != std::io::ErrorKind::WouldBlock,
            }
        };
        if broken {
            self.line = None;
        }
        broken
    }
}

fn silent() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::TimedOut, "it takes nothing")
}

async fn connect(target: &Target) -> std::io::Result<Line> {
    match target {
        Target::Unix(path) => {
            let socket = UnixDatagram::unbound()?;
            socket.connect(path)?;
            Ok(Line::Unix(socket))
        }
        Target::Udp(to) => {
            let found = lookup_host(to.as_str()).await?.next();
            let to = found.ok_or_else(|| std::io::Error::other("the name has no address"))?;
            let from = if to.is_ipv4() { SocketAddr::from(([0; 4], 0)) } else { SocketAddr::from(([0_u16; 8], 0)) };
            let socket = UdpSocket::bind(from).await?;
            socket.connect(to).await?;
            Ok(Line::Udp(socket))
        }
        Target::Tcp(to) => {
            let stream = TcpStream::connect(to.as_str()).await?;
            stream.set_nodelay(true)?;
            // A peer that is gone without a word is noticed while what it may have lost is still known.
            let patience = u32::try_from(PATIENCE.as_millis()).unwrap_or(u32::MAX);
            rustix::net::sockopt::set_tcp_user_timeout(&stream, patience)?;
            rustix::net::sockopt::set_socket_send_buffer_size(&stream, UNDER_WAY)?;
            rustix::net::sockopt::set_socket_keepalive(&stream, true)?;
            rustix::net::sockopt::set_tcp_keepidle(&stream, PATIENCE / 2)?;
            rustix::net::sockopt::set_tcp_keepintvl(&stream, PATIENCE / 5)?;
            Ok(Line::Tcp(stream))
        }
    }
}

impl Line {
    /// Sends messages. Each write that makes no headway for a while is a fault.
    async fn send(&mut self, messages: impl Iterator<Item = String>) -> std::io::Result<()> {
        match self {
            Line::Unix(socket) => {
                for message in messages {
                    timeout(PATIENCE, socket.send(message.as_bytes())).await.unwrap_or_else(|_| Err(silent()))?;
                }
            }
            Line::Udp(socket) => {
                for message in messages {
                    timeout(PATIENCE, socket.send(message.as_bytes())).await.unwrap_or_else(|_| Err(silent()))?;
                }
            }
            Line::Tcp(stream) => {
                let mut bytes = String::new();
                for message in messages {
                    // A String takes every write.
                    let _ = write!(bytes, "{} {message}", message.len());
                }
                let mut rest = bytes.as_bytes();
                while !rest.is_empty() {
                    let written = timeout(PATIENCE, stream.write(rest)).await.unwrap_or_else(|_| Err(silent()))?;
                    if written == 0 {
                        return Err(std::io::ErrorKind::WriteZero.into());
                    }
                    rest = &rest[written..];
                }
            }
        }
        Ok(())
    }
}

/// An entry as a message of at most `limit` bytes.
fn message(chain: &ChainName, entry: &Entry<'_>, host: &str, limit: usize) -> String {
    let severity = match Severity::of(&entry.facts.kind) {
        Severity::Warning => 4,
        Severity::Notice => 5,
        Severity::Info => 6,
    };
    let kind = &entry.facts.kind;
    let plain =
        !kind.is_empty() && kind.len() <= 32 && kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let kind = if plain { kind.as_str() } else { "-" };
    let head = |cut: &str| {
        format!(
            "<{}>1 {} {host} vaultd {} {kind} [nockvault@32473 chain=\"{chain}\" seq=\"{}\" kind=\"{kind}\" leaf=\"{}\"{cut}] ",
            FACILITY * 8 + severity,
            entry.facts.ts,
            std::process::id(),
            entry.facts.seq,
            entry.leaf,
        )
    };
    let line = String::from_utf8_lossy(entry.line);
    let whole = head("");
    if whole.len() + line.len() <= limit {
        return whole + &line;
    }
    let mut cut = head(&format!(" bytes=\"{}\"", line.len()));
    let room = limit.saturating_sub(cut.len() + CUT.len());
    cut.push_str(&line[..line.floor_char_boundary(room)]);
    cut.push_str(CUT);
    cut
}
