//! The offline verifier: reads chain files and says what they prove, with public keys alone.
//!
//! It speaks to nobody, and links no server code. Exit 0: intact; 2: tampered; 1: it could not be told.

mod branches;
mod known;
mod nockguard;
mod proof;
mod work;

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use known::Identity;
use nockvault::audit::shown::printable;
use nockvault::id::ChainName;
use nockvault::statement::request::Seen;
use nockvault::time::Seconds;

/// Verify the audit chains of a vault, offline, with public keys alone.
///
/// Prints what each file proves and what it cannot. Exit code 0: intact; 2: tampered, with the entry and how;
/// 1: it could not be verified.
// `allow_hyphen_values`: what is base64url begins with a hyphen one time in 64.
#[derive(Parser)]
#[command(name = "vault-verify", version, term_width = 100)]
struct Arguments {
    /// The vault's card, which pins its identity and the beginning of its own chains: a file, or the name of one in
    /// ~/.config/nockvault.
    #[arg(long, value_name = "CARD", env = "NOCKVAULT_CARD", hide_env_values = true)]
    vault: Option<PathBuf>,
    /// The vault's identity: its public key in base64url, or its id, nv1:...
    #[arg(long, value_name = "KEY|ID", allow_hyphen_values = true)]
    identity: Option<Identity>,
    /// A key that may stand in an agent's chain, by its kid or as its public key in base64url, in hex or in a file NAME.pub;
    /// once one is given, no other may. A proof and a file that begins at a checkpoint need the public key.
    #[arg(long, value_name = "KID|KEY|FILE", allow_hyphen_values = true)]
    agent_key: Vec<String>,
    /// The vault's signed key directory: the agents' keys must be those that it lists, and checkpoints may be signed by the
    /// keys that it certifies.
    #[arg(long, value_name = "FILE")]
    directory: Option<PathBuf>,
    /// Whose chain the files are: an agent's name, _operators or _vault. Another chain is no answer, intact or not.
    #[arg(long, value_name = "NAME")]
    chain: Option<ChainName>,
    /// The file of _operators, to find the commands in it that the chains name.
    #[arg(long, value_name = "FILE")]
    operators: Option<PathBuf>,
    /// An answer of the vault that was kept: its entry must be in the chain.
    #[arg(long, value_name = "FILE")]
    receipt: Vec<PathBuf>,
    /// A checkpoint that was kept: the chain must have had its root at its size. A folder stands for all *.checkpoint in it.
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// Which witnesses must have cosigned what --checkpoint and --proof give, in the form of c2sp.org/tlog-policy.
    #[arg(long, value_name = "FILE")]
    witness_policy: Option<PathBuf>,
    /// The proof of one entry (c2sp.org/tlog-proof@v1); no chain is needed.
    #[arg(long, value_name = "FILE")]
    proof: Vec<PathBuf>,
    /// The files may be parts of chains that begin at a checkpoint, as vaultctl audit export --since-checkpoint writes them.
    #[arg(long)]
    since_checkpoint: bool,
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
    /// Files of audit chains; - reads the standard input, and a folder stands for all *.audit.jsonl in it.
    #[arg(required_unless_present = "proof", value_name = "FILE")]
    files: Vec<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Human,
    Json,
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
            let _ = writeln!(io::stderr(), "vault-verify: {}", printable(&format!("{why:#}")));
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
    if arguments.witness_policy.is_some() && arguments.checkpoint.is_empty() && arguments.proof.is_empty() {
        anyhow::bail!(
            "--witness-policy says who must have cosigned; give what they cosigned with --checkpoint or --proof"
        );
    }
    if let Some(name) = of_chains(arguments).filter(|_| arguments.files.is_empty()) {
        anyhow::bail!("{name} is held against a chain; give the chain's file");
    }
    let known = known::Known::of(arguments)?;
    let mut worst = 0;
    for path in &arguments.proof {
        let found = proof::run(arguments, &known, path);
        worst = worst.max(found.or_else(|why| unusable(arguments.output, path, &why))?);
    }
    if !arguments.files.is_empty() {
        worst = worst.max(work::run(arguments, known)?);
    }
    Ok(worst)
}

/// An option that says something of chains alone.
fn of_chains(arguments: &Arguments) -> Option<&'static str> {
    let given = [
        ("--checkpoint", !arguments.checkpoint.is_empty()),
        ("--receipt", !arguments.receipt.is_empty()),
        ("--head", !arguments.head.is_empty()),
        ("--operators", arguments.operators.is_some()),
        ("--max-age", arguments.max_age.is_some()),
    ];
    given.into_iter().find_map(|(name, given)| given.then_some(name))
}

fn unread(path: &Path) -> String {
    format!("cannot read {}", shown(path))
}

/// The name of a file, which may be a forger's too, on its way to a terminal.
fn shown(path: &Path) -> String {
    printable(&path.display().to_string())
}

/// A file that is to be held in memory, of so many bytes and a line feed at most.
fn bytes(path: &Path, most: usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(|| unread(path))?;
    file.take(most as u64 + 2).read_to_end(&mut bytes).with_context(|| unread(path))?;
    if bytes.len() > most + 1 {
        anyhow::bail!("{}: it has more than {most} bytes, which is more than any such file", unread(path));
    }
    Ok(bytes)
}

/// The same, of text.
fn text(path: &Path, most: usize) -> anyhow::Result<String> {
    String::from_utf8(bytes(path, most)?).with_context(|| unread(path))
}

/// Prints what was found of a file: `told` for people, or the object with the file's name in it.
fn tell(output: Output, path: &Path, told: &str, object: serde_json::Value) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let written = match (output, object) {
        (Output::Json, serde_json::Value::Object(mut object)) => {
            object.insert("file".into(), path.display().to_string().into());
            writeln!(out, "{}", serde_json::Value::Object(object))
        }
        _ => write!(out, "{}: {told}", shown(path)),
    };
    written.context("cannot write the report")
}

/// Prints what was found of several files together.
fn print(told: &str) -> anyhow::Result<()> {
    io::stdout().lock().write_all(told.as_bytes()).context("cannot write the report")
}

/// Says that a file could not be looked at, which keeps no other from being verified. Gives the exit code of that.
fn unusable(output: Output, path: &Path, why: &anyhow::Error) -> anyhow::Result<u8> {
    let how = format!("{why:#}");
    let _ = writeln!(io::stderr(), "vault-verify: {}", printable(&how));
    if output == Output::Json {
        tell(output, path, "", serde_json::json!({"verdict": {"is": "unusable", "how": how}}))?;
    }
    Ok(1)
}
