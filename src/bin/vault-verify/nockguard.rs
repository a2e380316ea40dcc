//! `vault-verify --format nockguard`: the trails of NockGuard, with its own keys.

use std::fs::{self, File};
use std::io::{self, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use nockvault::audit::nockguard::{Key, Report, verify};
use nockvault::crypto::mac::MacKey;
use nockvault::crypto::signature::PublicKey;
use nockvault::secret::SecretBytes;
use nockvault::time::{Clock as _, SystemClock};

use super::{Arguments, Output, shown, unread};

/// Whose trails the files are.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    Nockvault,
    Nockguard,
}

#[derive(Args)]
pub(super) struct Nockguard {
    /// Whose trails the files are; those of NockGuard are verified with --agent-key HEX|FILE (an agent's public key),
    /// --nockguard-pub or --nockguard-key.
    #[arg(long, value_enum, default_value_t = Format::Nockvault)]
    pub(super) format: Format,
    /// NockGuard's public key for all agents: 64 digits of hex, or a file with them.
    #[arg(long, value_name = "HEX|FILE")]
    nockguard_pub: Vec<String>,
    /// A file with NockGuard's HMAC key for all agents: a trail under it is tamper-evident, not attributable.
    #[arg(long, value_name = "FILE")]
    nockguard_key: Vec<PathBuf>,
}

impl Nockguard {
    /// Options that say nothing of our own chains.
    pub(super) fn given(&self) -> bool {
        !(self.nockguard_pub.is_empty() && self.nockguard_key.is_empty())
    }
}

/// Refuses what says nothing of these trails: passed over in silence, it would seem to have been checked. The environment
/// may name a card for other files. Every option is named here, so that none that comes later is forgotten.
fn only_what_counts(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments {
        vault: _,
        identity,
        agent_key: _,
        directory,
        chain,
        operators,
        receipt,
        checkpoint,
        witness_policy,
        proof,
        since_checkpoint,
        head,
        max_age: _,
        nockguard: _,
        output: _,
        files,
    } = arguments;
    let ours = [
        ("--identity", identity.is_some()),
        ("--directory", directory.is_some()),
        ("--chain", chain.is_some()),
        ("--operators", operators.is_some()),
        ("--receipt", !receipt.is_empty()),
        ("--checkpoint", !checkpoint.is_empty()),
        ("--witness-policy", witness_policy.is_some()),
        ("--proof", !proof.is_empty()),
        ("--since-checkpoint", *since_checkpoint),
        ("--head", !head.is_empty()),
    ];
    if let Some((name, _)) = ours.iter().find(|(_, given)| *given) {
        anyhow::bail!("{name} is of NockVault's chains; a trail of NockGuard's has no such thing");
    }
    if files.is_empty() {
        anyhow::bail!("give the files of the trails");
    }
    Ok(())
}

/// Verifies the files, prints a report for each, and gives the worst of their exit codes.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    only_what_counts(arguments)?;
    let keys = keys(arguments)?;
    let max_age = arguments.max_age.map(|age| (SystemClock.now(), age));
    let mut worst = 0;
    for path in &arguments.files {
        // The checkpoint is read first: rows that are written meanwhile are then beyond it, and nothing is missing.
        let mark = mark(path)?;
        let trail = BufReader::new(File::open(path).with_context(|| unread(path))?);
        let report = verify(trail, mark.as_deref(), &keys, max_age).with_context(|| unread(path))?;
        tell(arguments.output, path, &report)?;
        worst = worst.max(report.verdict.exit_code());
    }
    Ok(worst)
}

fn keys(arguments: &Arguments) -> anyhow::Result<Vec<Key>> {
    let mut keys = Vec::new();
    for text in &arguments.agent_key {
        keys.push(Key::Agent(public(text).context("--agent-key")?));
    }
    for text in &arguments.nockguard.nockguard_pub {
        keys.push(Key::Global(public(text).context("--nockguard-pub")?));
    }
    for path in &arguments.nockguard.nockguard_key {
        keys.push(Key::Hmac(secret(path).with_context(|| unread(path))?));
    }
    if keys.is_empty() {
        anyhow::bail!(
            "nothing to verify with: give an agent's public key with --agent-key, or the installation's key with \
             --nockguard-pub or --nockguard-key"
        );
    }
    Ok(keys)
}

/// A public key in hex, or in a file as hex.
pub(super) fn public(text: &str) -> anyhow::Result<PublicKey> {
    let is_hex = |text: &str| text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let hex = if is_hex(text) {
        text.to_owned()
    } else {
        let path = Path::new(text);
        let read = small(path).with_context(|| format!("{text} is neither 64 digits of hex nor a file of them"))?;
        String::from_utf8_lossy(read.expose()).trim().to_owned()
    };
    if !is_hex(&hex) {
        anyhow::bail!("{text}: a public key is 64 digits of hex");
    }
    let mut bytes = [0; 32];
    for (byte, place) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&hex[place..place + 2], 16)?;
    }
    Ok(PublicKey::from_bytes(&bytes)?)
}

/// The HMAC key is the bytes that NockGuard's environment variable holds; the line's end after them is the editor's.
fn secret(path: &Path) -> anyhow::Result<MacKey> {
    let bytes = small(path)?;
    let text = bytes.expose();
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    MacKey::new(SecretBytes::from(text.to_vec())).context("the file holds no key")
}

/// A file of at most 4096 bytes.
fn small(path: &Path) -> io::Result<SecretBytes> {
    let mut bytes = Vec::with_capacity(4097);
    File::open(path)?.take(4097).read_to_end(&mut bytes)?;
    if bytes.len() > 4096 {
        return Err(io::Error::other("it has more than the 4096 bytes of a key file"));
    }
    Ok(bytes.into())
}

/// The checkpoint beside a trail, cut where it is longer than any.
fn mark(trail: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    if trail == Path::new("-") {
        anyhow::bail!("the checkpoint of a trail of NockGuard's stands beside its file; give the file");
    }
    let mut path = trail.as_os_str().to_owned();
    path.push(".hwm");
    let path = Path::new(&path);
    match fs::symlink_metadata(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        _ => {
            let mut bytes = Vec::new();
            let file = File::open(path).with_context(|| unread(path))?;
            file.take(8192).read_to_end(&mut bytes).with_context(|| unread(path))?;
            Ok(Some(bytes))
        }
    }
}

fn tell(output: Output, path: &Path, report: &Report) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match output {
        Output::Human => write!(out, "{}: {report}", shown(path)),
        Output::Json => {
            let mut told = serde_json::to_value(report)?;
            told["file"] = path.display().to_string().into();
            writeln!(out, "{told}")
        }
    }
    .context("cannot write the report")
}
