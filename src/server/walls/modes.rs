//! What others could read or write of a vault's files. A finding that gives a vault away is refused: the daemon does not
//! start, and `vaultd check-config` ends with 1. Where people differ with good reason, as about folders that a group may
//! write, it is said and goes on. Each comes with the command that mends it.
//!
//! The root key is looked at by its custody, the sockets are made with mode 0600 ([`crate::server::listen`]), and so are
//! all files that the daemon makes.

use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::WallFault;
use crate::config::Config;

/// Something that is too open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether the daemon does not start with it.
    pub refused: bool,
    /// What, and what to do.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Who may do what with a file: bits of a mode that are refused, and bits that are spoken of.
#[derive(Clone, Copy)]
struct Bounds {
    refused: u32,
    spoken: u32,
    /// What becomes possible.
    why: &'static str,
    /// The mode to give it.
    mode: &'static str,
}

const CONFIG: Bounds =
    Bounds { refused: 0o002, spoken: 0o020, why: "who writes it decides what the daemon does", mode: "go-w" };
const DATA: Bounds = Bounds { refused: 0o027, spoken: 0o050, why: "the vault's data lie in it", mode: "700" };
const TLS_KEY: Bounds =
    Bounds { refused: 0o027, spoken: 0, why: "who has this key speaks as the vault to its agents", mode: "600" };
const TLS_CERT: Bounds = Bounds { refused: 0o022, spoken: 0, why: "agents could be cut off", mode: "go-w" };
const SOCKETS: Bounds =
    Bounds { refused: 0o002, spoken: 0o020, why: "who writes it can put another socket in place", mode: "go-w" };
const TRAIL: Bounds =
    Bounds { refused: 0o002, spoken: 0o020, why: "who writes it can change what auditors are shown", mode: "go-w" };
const WAY: Bounds = Bounds { refused: 0o002, spoken: 0, why: "what lies below it can be exchanged", mode: "o-w" };

/// All that is too open of what the configuration in `file` names, and of the file. What is not there is passed over: who
/// needs it says so.
#[must_use]
pub fn look(config: &Config, file: &Path) -> Vec<Finding> {
    let mut all = Look::default();
    all.file(file, CONFIG);
    all.own(&config.vault.data_dir);
    all.file(&config.vault.data_dir, DATA);
    if let Some(tls) = &config.tls {
        all.file(&tls.key, TLS_KEY);
        all.file(&tls.cert, TLS_CERT);
    }
    for socket in [&config.agents.unix, &config.operators.unix].into_iter().flatten() {
        if let Some(folder) = socket.parent() {
            all.file(folder, SOCKETS);
        }
    }
    if let Some(mirror) = &config.audit.mirror {
        all.file(&mirror.dir, TRAIL);
    }
    for place in [Some(file), Some(&config.vault.data_dir), config.tls.as_ref().map(|tls| tls.key.as_path())] {
        all.way(place);
    }
    all.0
}

/// Refuses where a finding is to be refused.
///
/// # Errors
/// [`WallFault::Open`], with all of them.
pub fn refuse(findings: &[Finding]) -> Result<(), WallFault> {
    let refused: Vec<&str> =
        findings.iter().filter(|finding| finding.refused).map(|finding| finding.text.as_str()).collect();
    if refused.is_empty() { Ok(()) } else { Err(WallFault::Open(refused.join("\n"))) }
}

#[derive(Default)]
struct Look(Vec<Finding>);

impl Look {
    fn note(&mut self, refused: bool, text: String) {
        let finding = Finding { refused, text };
        if !self.0.contains(&finding) {
            self.0.push(finding);
        }
    }

    fn file(&mut self, path: &Path, bounds: Bounds) {
        let Ok(meta) = fs::metadata(path) else { return };
        let open = open_bits(&meta);
        let refused = open & bounds.refused != 0;
        if refused || open & bounds.spoken != 0 {
            let (shown, mode) = (path.display(), meta.mode() & 0o7777);
            self.note(
                refused,
                format!("{shown} is open to others (mode {mode:04o}): {}; `chmod {} {shown}`", bounds.why, bounds.mode),
            );
        }
    }

    /// The daemon's own, so that nobody else changes its mode.
    fn own(&mut self, path: &Path) {
        let (Ok(meta), uid) = (fs::metadata(path), rustix::process::geteuid().as_raw()) else { return };
        if meta.uid() != uid {
            let (shown, owner) = (path.display(), meta.uid());
            self.note(
                true,
                format!("{shown} belongs to uid {owner}, and the vault runs as uid {uid}; `chown -R {uid} {shown}`"),
            );
        }
    }

    /// The folders above, as they really lie.
    fn way(&mut self, place: Option<&Path>) {
        let Some(real) = place.and_then(|place| place.canonicalize().ok()) else { return };
        for folder in real.ancestors().skip(1) {
            self.file(folder, WAY);
        }
    }
}

/// The bits that count. In a folder like `/tmp` everybody writes, and nobody touches what is another's.
fn open_bits(meta: &Metadata) -> u32 {
    let mode = meta.mode();
    if meta.is_dir() && mode & 0o1000 != 0 { mode & 0o7777 & !0o022 } else { mode & 0o7777 }
}
