//! An agent asks for a credential: connect, open a session, ask, open what comes back.
//!
//! ```text
//! cargo run --example request_credential -- --agent kit --role orders-read
//! ```
//!
//! The card comes from `--vault`, `NOCKVAULT_CARD` or `~/.config/nockvault`; the key from
//! `NOCKVAULT_AGENT_KIT_ED25519_KEY`, `kit.ed25519` here, or the usual folders. With `--save DIR` each text of the secret
//! becomes a file that nobody else can read, as `psql`, `ssh` and `curl` want to find them.

#![allow(clippy::print_stdout, reason = "an example speaks to whoever runs it")]

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use nockvault::client::agent::{Agent, Ask};
use nockvault::client::fault::Fault;
use nockvault::client::keyfile::{self, Places, find_agent};
use nockvault::client::material::Material;
use nockvault::client::seen::{Memory, usual_dir};
use nockvault::client::{Surroundings, place};
use nockvault::id::{AgentName, RoleName};
use nockvault::statement::reply::Revocation;
use nockvault::time::Seconds;
use serde_json::Value;

/// Ask a vault for a credential, as an agent.
#[derive(Parser)]
struct Arguments {
    /// The vault card.
    #[arg(long, env = "NOCKVAULT_CARD")]
    vault: Option<PathBuf>,
    /// Who asks.
    #[arg(long, default_value = "kit")]
    agent: AgentName,
    /// The file with the agent's key.
    #[arg(long)]
    key: Option<PathBuf>,
    /// What is asked for.
    #[arg(long, default_value = "orders-read")]
    role: RoleName,
    /// For how long; 0 takes the grant's default.
    #[arg(long, default_value = "0")]
    ttl: Seconds,
    /// What for. Whoever reads the trail will see it.
    #[arg(long, default_value = "an example")]
    purpose: String,
    /// A parameter for the role's engine. The value is JSON where it reads as such, else a text.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = param)]
    params: Vec<(String, Value)>,
    /// Print the secret's value, token or url to standard output.
    #[arg(long)]
    reveal: bool,
    /// Write each text of the secret into a file of its name in this folder, which is made.
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Keep the vault's receipt in this file.
    #[arg(long)]
    receipt: Option<PathBuf>,
    /// Go on where the vault says that it was restored from a backup, and keep what was seen as evidence. Ask first who
    /// restored it, and why.
    #[arg(long)]
    accept_restore: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        // The vault's no: its reason, its limit and its time are members of the refusal, for programs to act on.
        Err(Fault::Refused(refusal)) => {
            eprintln!("{refusal}");
            ExitCode::from(2)
        }
        Err(fault) => {
            eprintln!("{fault}");
            ExitCode::from(1)
        }
    }
}

/// What the vault says of how the credential can be made useless before its time.
fn recall(how: Revocation) -> &'static str {
    match how {
        Revocation::None => "in no way: it is not revocable, and what was read stays known",
        Revocation::Listed => "by a list that verifiers fetch from the vault",
        Revocation::Backend => "where it lives, at once",
    }
}

async fn run(arguments: Arguments) -> Result<(), Fault> {
    // Who the vault is, and who we are.
    let card = place::card(arguments.vault.as_deref())?;
    let mut places = Places::usual();
    places.file = arguments.key;
    places.dirs.insert(0, Path::new(".").to_owned());
    let identity = find_agent(&arguments.agent, &places, &|name| std::env::var(name).ok())?;

    // What we have seen of our own audit chain is kept between runs, and countersigned with each request.
    let memory = match usual_dir() {
        Some(dir) => Memory::kept_in(&dir, &card.aud, &arguments.agent)?,
        None => Memory::fleeting(),
    };
    let around = Surroundings { memory: Arc::new(memory), ..Surroundings::default() };

    // Connecting challenges the vault: what answers must hold the keys that the card pins.
    let agent = Agent::connect_in(&card, identity, around).await?;
    let session = agent.session("example")?;
    eprintln!("vault    {} ({})", card.name, card.aud);
    eprintln!("agent    {}, key {}", arguments.agent, agent.identity().kid());
    eprintln!("session  {}", session.sid());

    let purpose = arguments.purpose.try_into().map_err(Fault::local)?;
    let mut ask = Ask::role(arguments.role).ttl(arguments.ttl).purpose(purpose);
    for (name, value) in arguments.params {
        ask = ask.param(name, value);
    }
    let credential = match session.request(&ask).await {
        Err(Fault::Refused(refusal)) if arguments.accept_restore && refusal.code == "restored" => {
            let lost = agent.accept_restore(&refusal)?;
            eprintln!("restored {} entries of our chain were seen before, head {}: lost", lost.size, lost.head);
            session.request(&ask).await?
        }
        answered => answered?,
    };
    eprintln!("lease    {}, until {}", credential.hdr.lease, credential.hdr.exp);
    eprintln!("recall   {}", recall(credential.hdr.revocation));
    eprintln!("entry    {} of our chain, leaf {}", credential.entry.seq, credential.entry.leaf);
    if let Some(path) = arguments.receipt {
        std::fs::write(&path, credential.receipt.write()).map_err(Fault::local)?;
        eprintln!("receipt  {}", path.display());
    }

    // Use it here; it is erased from memory when `credential` is dropped.
    let secret = &credential.secret;
    let members: Vec<_> = secret.members().collect();
    eprintln!("secret   {}, opened with the session's key: {}", secret.kind().unwrap_or("?"), members.join(", "));
    if arguments.reveal {
        println!("{}", ["value", "token", "url"].iter().find_map(|member| secret.expose(member)).unwrap_or_default());
    }
    if let Some(dir) = arguments.save {
        save(secret, &dir)?;
        eprintln!("saved    {}", dir.display());
    }
    Ok(())
}

/// Writes each text of a secret into a file, for this user alone.
fn save(secret: &Material, dir: &Path) -> Result<(), Fault> {
    let at = |path: &Path, why: std::io::Error| Fault::Local(format!("{}: {why}", path.display()));
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|why| at(dir, why))?;
    for member in secret.members() {
        let Some(text) = secret.expose(member) else { continue };
        keyfile::write(&dir.join(member), text.as_bytes(), 0o600, true)?;
    }
    Ok(())
}

fn param(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=VALUE"))?;
    Ok((name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()))))
}
