//! `vaultctl agent rotate`: an agent's next key. Where the agent's key is, the old and the new key sign and no operator is
//! needed; where it is not, an operator registers the statement that the new key made. Either way the old key is accepted
//! beside the new one for the overlap, and everything that it signed still verifies.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;
use nockvault::client::Surroundings;
use nockvault::client::agent::Agent;
use nockvault::client::fault::Fault;
use nockvault::client::keyfile::{self, PUBLIC, Places, REGISTER, SECRET, find_agent};
use nockvault::client::operator::Operator;
use nockvault::client::seen::{Memory, usual_dir};
use nockvault::client::signer::{Held, Identity};
use nockvault::crypto::json::canonical;
use nockvault::crypto::signature::{Form, SigningKey};
use nockvault::denial::Reason;
use nockvault::entropy::{Entropy, OsEntropy};
use nockvault::id::{AgentName, Kid, Nonce};
use nockvault::statement::agent::AgentShow;
use nockvault::statement::card::Card;
use nockvault::statement::register::{Holder, Register};
use nockvault::time::{Clock as _, SystemClock, Timestamp};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::audit::object;
use crate::output::Output;
use crate::{Common, agent, find};

/// Give an agent its next key. The old one is accepted beside it for the overlap: 7 days, unless configured otherwise.
///
/// Where the agent's key is: vaultctl agent rotate kit --agent-key kit.ed25519 makes the new key, signs with both, and
/// puts it in the old one's place; no operator is needed. Elsewhere an operator registers the statement of a key that
/// `vaultctl keygen --follows` made: vaultctl agent rotate kit kit.register. With neither, it says what to type.
#[derive(Debug, Args)]
pub(crate) struct Rotate {
    /// The agent.
    agent: AgentName,
    /// The statement of the new key, NAME.register.
    #[arg(conflicts_with = "agent_key")]
    statement: Option<PathBuf>,
    /// The agent's present key, NAME.ed25519. The new one takes its name; the old one is kept as NAME.KVER.ed25519.
    #[arg(long, value_name = "FILE")]
    agent_key: Option<PathBuf>,
}

impl Rotate {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        match (&self.statement, &self.agent_key) {
            (Some(file), _) => agent::register(file, Some(&self.agent), common, output).await,
            (None, Some(file)) => at_the_agent(&self.agent, file, common, output).await,
            (None, None) => {
                let Newest { kid, kver, ended } = newest(&find::connect(common).await?, &self.agent).await?;
                let name = &self.agent;
                let here = match ended {
                    // It signs nothing any more, its successor neither.
                    Some(at) => format!(" and was ended at {at}. Where the agent runs:"),
                    None => format!(
                        ". Where that key is:\n  vaultctl agent rotate {name} --agent-key {name}.{SECRET}\n\
                         or, to bring one from elsewhere, where the agent runs:"
                    ),
                };
                bail!(
                    "the newest key of agent {name} is {kid}, number {kver}{here}\n  \
                     vaultctl keygen --agent {name} --follows {kid}/{kver} --dir next\nand here:\n  \
                     vaultctl agent rotate {name} next/{name}.{REGISTER}"
                )
            }
        }
    }
}

// --- an operator's side

async fn shown(operator: &Operator, agent: &AgentName) -> anyhow::Result<Vec<Map<String, Value>>> {
    let shown = operator.command(AgentShow { agent: agent.clone() }).await?.result;
    let keys = shown.get("keys").and_then(Value::as_array).context("the vault's answer has no keys")?;
    Ok(keys.iter().cloned().map(object).collect())
}

struct Newest {
    kid: Kid,
    kver: u64,
    ended: Option<Timestamp>,
}

async fn newest(operator: &Operator, agent: &AgentName) -> anyhow::Result<Newest> {
    let keys = shown(operator, agent).await?;
    let newest = keys.last().context("the agent has no key")?;
    let kid = newest.get("kid").and_then(Value::as_str).context("the vault's answer has no kid")?.parse()?;
    let number = |member: &str| newest.get(member).and_then(Value::as_u64);
    Ok(Newest { kid, kver: number("kver").unwrap_or_default(), ended: number("ended").map(Timestamp) })
}

/// Says where a statement does not follow the agent's newest key, before anything is commanded.
pub(crate) async fn follows(operator: &Operator, agent: &AgentName, new: &Register) -> anyhow::Result<()> {
    let Newest { kid, kver, .. } = newest(operator, agent).await?;
    if new.prev.as_ref() == Some(&kid) && new.kver == kver + 1 {
        return Ok(());
    }
    bail!(
        "the statement is of a key number {} that follows {}, but the newest key of agent {agent} is {kid}, number {kver}; \
         make it anew: vaultctl keygen --agent {agent} --follows {kid}/{kver} --dir next",
        new.kver,
        new.prev.as_ref().map_or("none", Kid::as_str)
    )
}

/// Says until when the key before a new one is accepted.
pub(crate) async fn overlap(operator: &Operator, new: &Register) -> anyhow::Result<()> {
    let Holder::Agent(agent) = &new.holder else { return Ok(()) };
    let keys = shown(operator, agent).await?;
    let old = keys.iter().find(|key| key.get("kid").and_then(Value::as_str) == new.prev.as_ref().map(Kid::as_str));
    let time = |member: &str| old?.get(member)?.as_u64().map(Timestamp);
    match (time("ended"), time("grace")) {
        (Some(ended), _) => say!("the key before it was ended at {ended} and is not accepted"),
        (None, Some(grace)) => say!("the key before it is accepted until {grace}"),
        (None, None) => {}
    }
    Ok(())
}

// --- the agent's side

/// The files of a rotation. Each step leaves what the next run goes on from:
///
/// - the new key is durable as `NAME.next.ed25519`, with its statement beside it, before the vault hears of it;
/// - the vault has taken it, and the answer was lost: it is found out by asking in the new key's name;
/// - the files are exchanged: the statement and the public key first, the private key last, so that as long as there is a
///   `NAME.next.ed25519` the rotation is not over.
pub(crate) struct Files {
    pub(crate) now: PathBuf,
    pub(crate) next: PathBuf,
    /// Where keys before the present one are kept.
    kept: PathBuf,
}

impl Files {
    pub(crate) fn of(file: &Path) -> anyhow::Result<Files> {
        let stem = file.file_stem().context("the key that was named is no file")?.to_string_lossy().into_owned();
        let folder = file.parent().unwrap_or(Path::new("")).to_owned();
        Ok(Files { now: file.to_owned(), next: folder.join(format!("{stem}.next.{SECRET}")), kept: folder })
    }

    /// The same with all but the present key in a folder beside it, which is made: where a folder holds one operator's key,
    /// it needs no naming, and it is to stay so.
    pub(crate) fn apart(file: &Path) -> anyhow::Result<Files> {
        use std::os::unix::fs::DirBuilderExt as _;
        let Files { now, next, kept } = Files::of(file)?;
        let folder = kept.join("rotated");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .with_context(|| folder.display().to_string())?;
        Ok(Files { now, next: folder.join(next.file_name().unwrap_or_default()), kept: folder })
    }

    fn put(from: &Path, to: &Path) -> anyhow::Result<()> {
        match fs::rename(from, to) {
            // An earlier run has done it.
            Err(why) if why.kind() == std::io::ErrorKind::NotFound && to.exists() => Ok(()),
            done => done.with_context(|| to.display().to_string()),
        }
    }

    /// The new key takes the old one's name. Gives where the old one is now.
    pub(crate) fn exchange(&self, old: u64) -> anyhow::Result<PathBuf> {
        let name = self.now.with_extension(format!("{old}.{SECRET}"));
        let kept = self.kept.join(name.file_name().unwrap_or_default());
        match fs::hard_link(&self.now, &kept) {
            Err(why) if why.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(why).with_context(|| kept.display().to_string());
            }
            Err(_) if keyfile::read_secret(&kept)?.kid() != keyfile::read_secret(&self.now)?.kid() => {
                bail!("{} is there already, and is another key; move it away and type this again", kept.display());
            }
            _ => {}
        }
        for ending in [REGISTER, PUBLIC, SECRET] {
            Files::put(&self.next.with_extension(ending), &self.now.with_extension(ending))?;
        }
        Ok(kept)
    }
}

async fn at_the_agent(agent: &AgentName, file: &Path, common: &Common, output: &Output) -> anyhow::Result<()> {
    let card = find::card(common)?;
    let files = Files::of(file)?;
    let places = Places { file: Some(file.to_owned()), dirs: Vec::new() };
    let old = find_agent(agent, &places, &|_| None)?;
    let begun = files.next.symlink_metadata().is_ok();
    let (key, kver) = if begun {
        resumed(&files)?
    } else {
        begin(&Holder::Agent(agent.clone()), &card, (old.kid(), old.kver), &files)?
    };
    let next = Arc::new(Held::new(key));
    let kid = nockvault::client::signer::Signer::public(&*next).kid();
    let around = || -> anyhow::Result<Surroundings> {
        let memory = match usual_dir() {
            Some(dir) => Memory::kept_in(&dir, &card.aud, agent)?,
            None => Memory::fleeting(),
        };
        Ok(Surroundings { memory: Arc::new(memory), ..Surroundings::default() })
    };
    let grace = if begun && taken(&card, agent, &next, kver, around()?).await? {
        say!("an earlier run has brought key number {kver}; its files take their places");
        None
    } else {
        let session = Agent::connect_in(&card, old.clone(), around()?).await?.session("rotate")?;
        let grace = session.rotate_key(next).await.inspect_err(|fault| {
            if matches!(fault, Fault::NoAnswer { .. }) {
                say!("the new key is kept as {}; the same command again goes on", files.next.display());
            }
        })?;
        Some(grace)
    };
    let kept = files.exchange(kver - 1)?;
    match grace {
        Some(grace) => say!(
            "agent {agent} has key number {kver}; the old one is accepted until {grace}, and kept as {}: remove it then",
            kept.display()
        ),
        None => say!("agent {agent} has key number {kver}; the old one is kept as {}", kept.display()),
    }
    output.one(&object(json!({
        "agent": agent, "grace": grace, "key": files.now, "kid": kid, "kver": kver, "old_key": kept,
    })))
}

/// Makes the next key, durable before anybody hears of it.
pub(crate) fn begin(
    holder: &Holder,
    card: &Card,
    (old, number): (Kid, u64),
    files: &Files,
) -> anyhow::Result<(SigningKey, u64)> {
    let entropy: &dyn Entropy = &OsEntropy;
    let (key, kver) = (SigningKey::generate(entropy), number + 1);
    let register = Register {
        holder: holder.clone(),
        aud: card.aud.clone(),
        form: Form::Pae,
        iat: SystemClock.now(),
        kver,
        nonce: Nonce::from_bytes(&entropy.bytes()),
        pk: key.public(),
        prev: Some(old),
    };
    let public = keyfile::hex(&key.public().to_bytes());
    let seed = Zeroizing::new(keyfile::hex(key.seed().expose()));
    // The private key last: where it is there, so is what belongs to it.
    keyfile::write(&files.next.with_extension(REGISTER), &canonical(&register.sign(&key)), 0o644, true)?;
    keyfile::write(&files.next.with_extension(PUBLIC), public.as_bytes(), 0o644, true)?;
    keyfile::write(&files.next, seed.as_bytes(), 0o600, false)?;
    Ok((key, kver))
}

/// The next key that an earlier run has made, and its number.
pub(crate) fn resumed(files: &Files) -> anyhow::Result<(SigningKey, u64)> {
    let key = keyfile::read_secret(&files.next)?;
    for statement in [&files.next, &files.now].map(|file| file.with_extension(REGISTER)) {
        if let Ok((_, register)) = keyfile::read_register(&statement)
            && register.pk == key.public()
        {
            return Ok((key, register.kver));
        }
    }
    bail!("{} lies there without its statement; move it away to make another key", files.next.display())
}

/// Whether the vault has the next key already.
async fn taken(
    card: &Card,
    agent: &AgentName,
    next: &Arc<Held>,
    kver: u64,
    around: Surroundings,
) -> anyhow::Result<bool> {
    let identity = Identity { name: agent.clone(), signer: Arc::clone(next) as _, kver };
    match Agent::connect_in(card, identity, around).await?.open_session("rotated").await {
        Ok((session, _)) => {
            session.close().await?;
            Ok(true)
        }
        Err(fault) if fault.reason() == Some(Reason::Unauthenticated) => Ok(false),
        Err(fault) => Err(fault.into()),
    }
}
