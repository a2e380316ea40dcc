//! The offline verifier: reads chain files and says what they prove, with public keys alone.
//!
//! It speaks to nobody, and links no server code. Exit 0: intact; 2: tampered; 1: it could not be told.

#[path = "vault-verify/nockguard.rs"]
mod nockguard;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use nockvault::audit::receipt::Receipt;
use nockvault::audit::verify::report::Report;
use nockvault::audit::verify::{Pins, verify, verify_operators};
use nockvault::base64url;
use nockvault::crypto::signature::PublicKey;
use nockvault::id::{Aud, ChainName, Kid};
use nockvault::statement::card::Card;
use nockvault::statement::request::Seen;
use nockvault::time::{Clock, Seconds, SystemClock};

/// Verify the audit chains of a vault, offline, with public keys alone.
///
/// Prints what each file proves and what it cannot. Exit code 0: intact; 2: tampered, with the entry and how;
/// 1: it could not be verified.
// `allow_hyphen_values`: what is base64url begins with a hyphen one time in 64.
#[derive(Parser)]
#[command(name = "vault-verify", version, term_width = 100)]
struct Arguments {
    /// The vault's card, which pins its identity and the beginning of its own chains.
    #[arg(long, value_name = "CARD", env = "NOCKVAULT_CARD", hide_env_values = true)]
    vault: Option<PathBuf>,
    /// The vault's identity: its public key in base64url, or its id, nv1:...
    #[arg(long, value_name = "KEY|ID", allow_hyphen_values = true)]
    identity: Option<Identity>,
    /// A key that may stand in an agent's chain; once one is given, no other may.
    #[arg(long, value_name = "KID", allow_hyphen_values = true)]
    agent_key: Vec<String>,
    /// Whose chain the files are: an agent's name, _operators or _vault. Another chain is no answer, intact or not.
    #[arg(long, value_name = "NAME")]
    chain: Option<ChainName>,
    /// The file of _operators, to find the commands in it that the chains name.
    #[arg(long, value_name = "FILE")]
    operators: Option<PathBuf>,
    /// An answer of the vault that was kept: its entry must be in the chain.
    #[arg(long, value_name = "FILE")]
    receipt: Vec<PathBuf>,
    /// A state that the chain once had: the leaf of its last entry and the number of its entries.
    #[arg(long, value_name = "LEAF:SIZE", value_parser = head, allow_hyphen_values = true)]
    head: Vec<Seen>,
    /// How old the newest entry may be, for example 90s, 15m, 1h30m or 7d.
    #[arg(long, value_name = "DURATION")]
    max_age: Option<Seconds>,
    #[command(flatten)]
    nockguard: nockguard::Nockguard,
    /// How to print the reports; json gives one object a line and file.
    #[arg(long, value_enum, default_value_t = Output::Human)]
    output: Output,
    /// Files of audit chains; - reads the standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Human,
    Json,
}

/// What `--identity` takes.
#[derive(Clone)]
enum Identity {
    Key(PublicKey),
    Id(Aud),
}

impl std::str::FromStr for Identity {
    type Err = String;

    fn from_str(text: &str) -> Result<Identity, String> {
        if text.starts_with("nv1:") {
            return text.parse().map(Identity::Id).map_err(|why: nockvault::id::BadId| why.to_string());
        }
        let bytes = base64url::decode_array(text).ok_or("neither 43 characters of base64url nor nv1:...")?;
        PublicKey::from_bytes(&bytes).map(Identity::Key).map_err(|why| why.to_string())
    }
}

fn head(text: &str) -> Result<Seen, String> {
    let form = "write LEAF:SIZE, for example as a report prints it";
    let (leaf, size) = text.split_once(':').ok_or(form)?;
    let head = serde_json::from_value(leaf.into()).map_err(|_| form)?;
    match size.parse().map_err(|_| form)? {
        0 => Err("every chain once had no entries; a state that shows anything has a SIZE of at least 1".into()),
        size => Ok(Seen { head, size }),
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(why) => {
            // clap's own code for wrong usage is 2, which here means tampered.
            let code = u8::from(why.use_stderr());
            let _ = why.print();
            return ExitCode::from(code);
        }
    };
    match run(&arguments) {
        Ok(code) => ExitCode::from(code),
        Err(why) => {
            let _ = writeln!(io::stderr(), "vault-verify: {why:#}");
            ExitCode::from(1)
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    if arguments.nockguard.format == nockguard::Format::Nockguard {
        return nockguard::run(arguments);
    }
    if arguments.nockguard.given() {
        anyhow::bail!("--nockguard-pub and --nockguard-key are for --format nockguard");
    }
    if arguments.files.len() > 1 && !(arguments.head.is_empty() && arguments.receipt.is_empty()) {
        anyhow::bail!("--head and --receipt are of one chain; give one file with them");
    }
    let vault = vault_pins(arguments)?;
    let mut worst = 0;
    let agent_keys: Result<Vec<Kid>, _> = arguments.agent_key.iter().map(|kid| kid.parse()).collect();
    let agent_keys = agent_keys.context("--agent-key")?;
    let mut pins = Pins { agent_keys, chain: arguments.chain.clone(), ..vault.clone() };
    if let Some(path) = &arguments.operators {
        let asked = Pins { chain: Some(ChainName::operators()), ..vault };
        let (report, commands) = verify_operators(open(path)?, &asked).with_context(|| unread(path))?;
        worst = tell(arguments, path, &report, worst)?;
        pins.operators = commands.map(Arc::new);
    }
    pins.heads.clone_from(&arguments.head);
    for path in &arguments.receipt {
        let text = std::fs::read_to_string(path).with_context(|| unread(path))?;
        pins.receipts.push(Receipt::read(&text).with_context(|| unread(path))?);
    }
    pins.max_age = arguments.max_age.map(|age| (SystemClock.now(), age));
    for path in &arguments.files {
        let report = verify(open(path)?, &pins).with_context(|| unread(path))?;
        worst = tell(arguments, path, &report, worst)?;
    }
    Ok(worst)
}

fn vault_pins(arguments: &Arguments) -> anyhow::Result<Pins> {
    let mut pins = Pins::default();
    if let Some(path) = &arguments.vault {
        let text = std::fs::read_to_string(path).with_context(|| unread(path))?;
        pins = Pins::of_card(&Card::read(&text).with_context(|| unread(path))?);
    }
    if let Some(identity) = arguments.identity.clone() {
        let (key, aud) = match identity {
            Identity::Key(key) => (Some(key.clone()), Aud::of_identity(&key.kid())),
            Identity::Id(aud) => (None, aud),
        };
        if let Some(card) = pins.aud.as_ref().filter(|card| **card != aud) {
            anyhow::bail!("--identity is of the vault {aud}, but the card is of {card}");
        }
        pins.identity = pins.identity.or(key);
        pins.aud = Some(aud);
    }
    Ok(pins)
}

fn unread(path: &Path) -> String {
    format!("cannot read {}", path.display())
}

fn open(path: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    Ok(Box::new(BufReader::new(File::open(path).with_context(|| unread(path))?)))
}

/// Prints a report, and gives the worse of its exit code and the one so far: tampered is the worst.
fn tell(arguments: &Arguments, path: &Path, report: &Report, worst: u8) -> anyhow::Result<u8> {
    let mut out = io::stdout().lock();
    match arguments.output {
        Output::Human => write!(out, "{}: {report}", path.display()),
        Output::Json => {
            let mut told = serde_json::to_value(report)?;
            told["file"] = path.display().to_string().into();
            writeln!(out, "{told}")
        }
    }
    .context("cannot write the report")?;
    Ok(worst.max(report.verdict.exit_code()))
}
