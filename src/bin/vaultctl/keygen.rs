//! `vaultctl keygen`: makes an agent's key where the agent runs, and the statement that proves that it is held. Only
//! the statement leaves the machine.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use nockvault::base64url;
use nockvault::client::keyfile::{self, PUBLIC, REGISTER, SECRET};
use nockvault::client::signer::{self, Held, Signer};
use nockvault::client::sshagent::SshAgent;
use nockvault::crypto::envelope::PayloadType;
use nockvault::crypto::json::canonical;
use nockvault::crypto::signature::SigningKey;
use nockvault::entropy::{Entropy, OsEntropy};
use nockvault::id::{AgentName, Kid, Nonce};
use nockvault::statement::card::Card;
use nockvault::statement::register::{Holder, Register};
use nockvault::time::{Clock as _, SystemClock};
use serde_json::json;
use zeroize::Zeroizing;

use crate::output::Output;
use crate::{Common, find};

/// Make an agent's key: NAME.ed25519 (mode 0600), NAME.pub, and NAME.register for the operator.
///
/// The files have NockGuard's form, so that one key serves both. The register statement is for the vault of the card,
/// and good for 30 days.
#[derive(Debug, Args)]
pub(crate) struct Keygen {
    /// The agent.
    #[arg(long, value_name = "NAME", required_unless_present = "from_nockguard")]
    agent: Option<AgentName>,
    /// Make no key, but the statement for the one with which NockGuard's agent NAME signs already.
    ///
    /// It is looked for where NockGuard does: in NOCKGUARD_AGENT_NAME_ED25519_KEY, then in
    /// ~/.nockguard/keys/NAME.ed25519. It stays there, and agents find it there; only NAME.register is written.
    #[arg(long, value_name = "NAME", conflicts_with = "print_env")]
    from_nockguard: Option<String>,
    /// Make no key, but the statement for an Ed25519 key in the ssh-agent that SSH_AUTH_SOCK names.
    ///
    /// KEY is its comment, its fingerprint (SHA256:..) or its public line; it may be left out where there is only one.
    /// The private key stays where it is, and agents ask the ssh-agent for each signature; only NAME.register is written.
    #[arg(
        long,
        value_name = "KEY",
        num_args = 0..=1,
        default_missing_value = "",
        conflicts_with_all = ["from_nockguard", "print_env"]
    )]
    from_ssh_agent: Option<String>,
    /// The key that this one follows: its NAME.register, its NAME.pub, its key id, or KID/KVER with its number.
    #[arg(long, value_name = "OLD", allow_hyphen_values = true)]
    follows: Option<String>,
    /// The number of this key among the agent's; needed with --follows, unless that names a register statement.
    #[arg(long, value_name = "N", requires = "follows")]
    kver: Option<u64>,
    /// Print lines for an environment instead of writing files. The private key is among them.
    #[arg(long, conflicts_with_all = ["force", "dir"])]
    print_env: bool,
    /// Replace files that are there. An old key that is replaced is gone.
    #[arg(long)]
    force: bool,
    /// The folder to write into; made where it is missing, with mode 0700.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

/// Whence the key is.
enum Source {
    /// Made here, to be written.
    New { signer: Box<Held>, key: Box<SigningKey> },
    /// In a place where it stays.
    There { signer: Box<dyn Signer>, place: String },
}

impl Source {
    fn signer(&self) -> &dyn Signer {
        match self {
            Source::New { signer, .. } => &**signer,
            Source::There { signer, .. } => &**signer,
        }
    }
}

impl Keygen {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        let card = find::card(common)?;
        let agent = self.agent()?;
        let (prev, kver) = self.place(&agent)?;
        let entropy: &dyn Entropy = &OsEntropy;
        let source = self.source(entropy).await?;
        let signer = source.signer();
        let register = Register {
            holder: Holder::Agent(agent.clone()),
            aud: card.aud.clone(),
            form: signer.form(),
            iat: SystemClock.now(),
            kver,
            nonce: Nonce::from_bytes(&entropy.bytes()),
            pk: signer.public().clone(),
            prev,
        };
        let signed = signer::envelope(PayloadType::Register, &register, signer).await?;
        let signed = signed.embed().context("a register statement is JSON")?;
        let statement = String::from_utf8(canonical(&signed))?;
        if !self.print_env {
            // Keys are to lie in it: nobody else looks inside.
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&self.dir)
                .with_context(|| self.dir.display().to_string())?;
        }
        match &source {
            Source::There { place, .. } => self.state(&agent, &card, &register, &statement, place, output),
            Source::New { key, .. } if self.print_env => environment(&agent, key, &statement),
            Source::New { key, .. } => self.write(&agent, &card, key, kver, &statement, output),
        }
    }

    /// The key: a new one, or one that is there already.
    async fn source(&self, entropy: &dyn Entropy) -> anyhow::Result<Source> {
        if let Some(name) = &self.from_nockguard {
            let (key, place) = of_nockguard(name)?;
            return Ok(Source::There { signer: Box::new(Held::new(key)), place });
        }
        if let Some(wanted) = &self.from_ssh_agent {
            let held = SshAgent::usual(&|name| std::env::var(name).ok())?;
            let listed = held.find(Some(wanted.as_str()).filter(|wanted| !wanted.is_empty())).await?;
            let key = listed.public.clone().with_context(|| format!("{listed} is no plain Ed25519 key"))?;
            return Ok(Source::There {
                signer: Box::new(held.key(key)),
                place: format!("ssh-agent:{}", listed.fingerprint()),
            });
        }
        let key = Box::new(SigningKey::generate(entropy));
        Ok(Source::New { signer: Box::new(Held::new(SigningKey::from_seed(&key.seed()))), key })
    }

    /// The agent, under its name here.
    fn agent(&self) -> anyhow::Result<AgentName> {
        match (&self.agent, &self.from_nockguard) {
            (Some(agent), _) => Ok(agent.clone()),
            (None, Some(name)) => name
                .parse()
                .with_context(|| format!("NockGuard's agent {name:?} needs another name here; give one with --agent")),
            (None, None) => bail!("give the agent's name with --agent"),
        }
    }

    fn path(&self, agent: &AgentName, ending: &str) -> PathBuf {
        let dir = if self.dir == Path::new(".") { Path::new("") } else { &self.dir };
        dir.join(format!("{agent}.{ending}"))
    }

    /// Writes the statement of a key that stays where it is.
    fn state(
        &self,
        agent: &AgentName,
        card: &Card,
        register: &Register,
        statement: &str,
        place: &str,
        output: &Output,
    ) -> anyhow::Result<()> {
        let key = self.path(agent, SECRET);
        if key.symlink_metadata().is_ok() && key != Path::new(place) {
            bail!(
                "{} is there already; beside it the statement of the key in {place} would be taken for that one's",
                key.display()
            );
        }
        let path = self.path(agent, REGISTER);
        keyfile::write(&path, statement.as_bytes(), 0o644, self.force)?;
        say!(
            "the key in {place} is to be agent {agent}'s at the vault {} too: it was not copied, and agents find it \
             there; now: vaultctl agent register {}",
            card.name,
            path.display()
        );
        let made = json!({
            "agent": agent,
            "key": place,
            "kid": register.pk.kid(),
            "kver": register.kver,
            "public_key": keyfile::hex(&register.pk.to_bytes()),
            "register": path,
        });
        output.one(made.as_object().unwrap_or(&serde_json::Map::new()))
    }

    /// Writes a new key and its statement.
    fn write(
        &self,
        agent: &AgentName,
        card: &Card,
        key: &SigningKey,
        kver: u64,
        statement: &str,
        output: &Output,
    ) -> anyhow::Result<()> {
        let public = keyfile::hex(&key.public().to_bytes());
        let seed = Zeroizing::new(keyfile::hex(key.seed().expose()));
        let path = |ending| self.path(agent, ending);
        let files = [
            (SECRET, seed.as_bytes(), 0o600),
            (PUBLIC, public.as_bytes(), 0o644),
            (REGISTER, statement.as_bytes(), 0o644),
        ];
        if !self.force {
            // Looked at before the first is written, so that no key is left beside the statement of another.
            for (ending, ..) in files {
                if path(ending).symlink_metadata().is_ok() {
                    bail!("{} is there already; --force replaces it for good", path(ending).display());
                }
            }
        }
        for (ending, contents, mode) in files {
            keyfile::write(&path(ending), contents, mode, self.force)?;
        }
        say!(
            "made a key for agent {agent} at the vault {}; now: vaultctl agent register {}",
            card.name,
            path(REGISTER).display()
        );
        let made = json!({
            "agent": agent,
            "key": path(SECRET),
            "kid": key.kid(),
            "kver": kver,
            "public": path(PUBLIC),
            "public_key": public,
            "register": path(REGISTER),
        });
        output.one(made.as_object().unwrap_or(&serde_json::Map::new()))
    }

    /// Which key it follows, and its number.
    fn place(&self, agent: &AgentName) -> anyhow::Result<(Option<Kid>, u64)> {
        let Some(old) = &self.follows else { return Ok((None, 1)) };
        if let Ok(kid) = old.parse::<Kid>() {
            return Ok((Some(kid), self.numbered(agent)?));
        }
        if let Some((Ok(kid), Ok(number))) =
            old.split_once('/').map(|(kid, number)| (kid.parse::<Kid>(), number.parse::<u64>()))
        {
            return Ok((Some(kid), self.kver.unwrap_or(number.saturating_add(1))));
        }
        let path = Path::new(old);
        if path.extension().is_some_and(|end| end == REGISTER) {
            let (_, register) = keyfile::read_register(path)?;
            if register.holder != Holder::Agent(agent.clone()) {
                bail!("{}: this statement is of {}, not of agent {agent}", path.display(), register.holder);
            }
            let kver = self.kver.unwrap_or(register.kver + 1);
            return Ok((Some(register.pk.kid()), kver));
        }
        let public =
            keyfile::read_public(path).context("--follows takes a register statement, a .pub file or a key id")?;
        Ok((Some(public.kid()), self.numbered(agent)?))
    }

    fn numbered(&self, agent: &AgentName) -> anyhow::Result<u64> {
        match self.kver {
            Some(kver) if kver >= 2 => Ok(kver),
            Some(_) => bail!("a key that follows another has a --kver of at least 2"),
            None => {
                bail!("--follows needs --kver: the old key's number and one; vaultctl agent show {agent} has it")
            }
        }
    }
}

/// NockGuard's key, and where it is.
fn of_nockguard(name: &str) -> anyhow::Result<(SigningKey, String)> {
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    Ok(keyfile::of_nockguard(name, home.as_deref(), &|name| {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    })?)
}

fn environment(agent: &AgentName, key: &SigningKey, statement: &str) -> anyhow::Result<()> {
    let part = keyfile::variable_part(agent);
    say!("the first line below is the private key of agent {agent}; no file was written");
    let lines = Zeroizing::new(format!(
        "NOCKVAULT_AGENT_{part}_ED25519_KEY={}\nNOCKVAULT_AGENT_{part}_ED25519_PUB={}\nNOCKVAULT_AGENT_{part}_REGISTER={}\n",
        *Zeroizing::new(keyfile::hex(key.seed().expose())),
        keyfile::hex(&key.public().to_bytes()),
        base64url::encode(statement.as_bytes()),
    ));
    crate::output::print(&lines)
}
