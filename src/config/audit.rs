//! `[audit]`: what is carried outside, and where to.

use std::path::{Path, PathBuf};

use super::limits::Limit;
use super::reader::{Found, Section};
use crate::follow::syslog::Target;

/// The mode of the mirror's files where none is said.
pub(super) const MODE: &str = "0640";
/// Others than the daemon read these files or do not, and nobody else writes them.
const MODES: [(&str, u32); 3] = [("0600", 0o600), ("0640", 0o640), ("0644", 0o644)];

/// `[audit]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// The mirror.
    pub mirror: Option<Mirror>,
    /// A syslog.
    pub syslog: Option<Syslog>,
    /// An OpenTelemetry collector.
    pub otlp: Option<Otlp>,
}

/// Each chain as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// In which folder.
    pub dir: PathBuf,
    /// The mode of the files.
    pub mode: u32,
}

/// Each entry as a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syslog {
    /// Where it listens.
    pub target: Target,
    /// The longest message in bytes.
    pub bytes: usize,
}

/// Each entry as a log record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Otlp {
    /// Where the collector is: `http://host:port` or `https://host:port`.
    pub address: String,
    /// Who vouches for its certificate, PEM; the system's authorities where none is named.
    pub ca: Option<PathBuf>,
}

/// The longest message to a syslog. What RFC 5424 asks every receiver to take, to what fits a datagram.
pub(super) static SYSLOG_BYTES: Limit =
    Limit { name: "syslog_bytes", text: "The longest message in bytes", default: 8192, range: 480..=65_000 };

/// Reads the section. `data` is the data directory, where it is known.
pub(super) fn read(mut section: Section<'_, '_>, base: &Path, data: Option<&Path>) -> Audit {
    let dir = section.path("dir", "audit", base);
    if let (Some(Found { value, line }), Some(data)) = (&dir, data)
        && value.starts_with(data)
    {
        let wrong = "the mirror would lie inside the data directory, which is closed to those who are to read it";
        section.wrong(*line, "dir", wrong, "name a folder elsewhere");
    }
    let mode = section.parsed("mode", MODE, mode);
    let mode = mode.map_or(0o640, |found| found.value);
    let mirror = dir.map(|dir| Mirror { dir: dir.value, mode });
    let syslog = syslog(&mut section);
    let otlp = otlp(&mut section, base);
    section.finish();
    Audit { mirror, syslog, otlp }
}

fn syslog(section: &mut Section<'_, '_>) -> Option<Syslog> {
    let target = section.parsed("syslog", "unix:/dev/log", str::parse::<Target>);
    let bytes = usize::try_from(section.limit(&SYSLOG_BYTES)).unwrap_or(usize::MAX);
    target.map(|target| Syslog { target: target.value, bytes })
}

fn otlp(section: &mut Section<'_, '_>, base: &Path) -> Option<Otlp> {
    let address = section.parsed("otlp", "http://127.0.0.1:4317", collector);
    let ca = section.path("otlp_ca", "tls/ca.pem", base);
    let with_tls = address.as_ref().is_some_and(|address| address.value.starts_with("https:"));
    if let (Some(ca), false) = (&ca, with_tls) {
        section.wrong(ca.line, "otlp_ca", "no connection to a collector uses it", "write otlp = \"https://...\"");
    }
    address.map(|address| Otlp { address: address.value, ca: ca.map(|ca| ca.value) })
}

fn collector(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).unwrap_or_default();
    let port =
        rest.rsplit_once(':').filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse::<u16>().ok());
    let plain = rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte));
    if !plain || port.is_none_or(|port| port == 0) {
        return Err(format!("{text:?} is neither http://host:port nor https://host:port"));
    }
    Ok(text.to_owned())
}

fn mode(text: &str) -> Result<u32, String> {
    let known = MODES.iter().find(|(name, _)| *name == text);
    known.map(|(_, mode)| *mode).ok_or_else(|| format!("{text:?} is none of 0600, 0640 and 0644"))
}
