//! `vaultctl keygen`: makes an agent's key where the agent runs, or an operator's where the operator sits, and the
//! statement that proves that it is held. Only the statement leaves the machine.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use nockvault::base64url;
use nockvault::client::keyfile::{self, PUBLIC, REGISTER, SECRET};
use nockvault::client::passphrase;
use nockvault::client::signer::{self, Held, Signer};
use nockvault::client::sshagent::{Key as InAgent, SshAgent};
use nockvault::crypto::envelope::PayloadType;
use nockvault::crypto::json::canonical;
use nockvault::crypto::signature::SigningKey;
use nockvault::entropy::{Entropy, OsEntropy};
use nockvault::id::{AgentName, Kid, Nonce};
use nockvault::secret::SecretBytes;
use nockvault::statement::card::Card;
use nockvault::statement::register::{Holder, Register};
use nockvault::time::{Clock as _, SystemClock};
use serde_json::json;
use zeroize::Zeroizing;

use crate::contexts::By;
use crate::output::Output;
use crate::{Common, ask, find};

/// Make an agent's or an operator's key: NAME.ed25519 (mode 0600), NAME.pub, and NAME.register to hand on.
///
/// With --agent NAME it is an agent's, with --operator NAME and no agent an operator's. The files have NockGuard's form,
/// so that one key serves both. The register statement is for the vault of the card, and good for 30 days: an operator of
/// that vault registers it.
#[derive(Debug, Args)]
pub(crate) struct Keygen {
    /// The agent.
    #[arg(long, value_name = "NAME")]
    agent: Option<AgentName>,
    /// Put an operator's key behind a passphrase, which is asked for twice, or read from the file that
    /// NOCKVAULT_KEY_PASSPHRASE_FILE names.
    #[arg(long, conflicts_with_all = ["from_nockguard", "from_ssh_agent", "print_env"])]
    passphrase: bool,
    /// Make no key, but the statement for the one with which NockGuard's agent NAME signs already.
    ///
    /// It is looked for where NockGuard does: in NOCKGUARD_AGENT_NAME_ED25519_KEY, then in
    /// ~/.nockguard/keys/NAME.ed25519. It stays there, and agents find it there; only NAME.register is written.
    #[arg(long, value_name = "NAME", conflicts_with = "print_env")]
    from_nockguard: Option<String>,
    /// Make no key, but the statement for an Ed25519 key in the ssh-agent that SSH_AUTH_SOCK names.
    ///
    /// KEY is its comment, its fingerprint (SHA256:..) or its public line; it may be left out where there is only one.
    /// The private key stays where it is, and the ssh-agent is asked for each signature; only NAME.register is written.
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
    /// The folder to write into; made where it is missing, with mode 0700. Without it, the one that you are in, and for
    /// an operator's key the one where vaultctl looks for it.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// What is made, and for whom.
struct Making<'a> {
    holder: Holder,
    card: &'a Card,
    dir: PathBuf,
    force: bool,
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
        let holder = self.holder(common)?;
        let card = find::card(common)?;
        let making = Making { dir: self.dir(&holder, &card)?, holder, card: &card, force: self.force };
        let (prev, kver) = self.place(&making.holder)?;
        let entropy: &dyn Entropy = &OsEntropy;
        let source = self.source(entropy).await?;
        let signer = source.signer();
        let register = Register {
            holder: making.holder.clone(),
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
            find::make_config_dir(&making.dir)?;
        }
        match (&source, &making.holder) {
            (Source::There { place, .. }, _) => making.state(&register, &statement, place, output),
            (Source::New { key, .. }, Holder::Agent(agent)) if self.print_env => environment(agent, key, &statement),
            (Source::New { key, .. }, _) => {
                let words = if self.passphrase { Some(ask::new()?) } else { None };
                making.write(key, words.as_ref(), kver, &statement, output)
            }
        }
    }

    /// Whose key it is to be. An operator is named for this by the flag alone: a variable says who commands.
    fn holder(&self, common: &Common) -> anyhow::Result<Holder> {
        let operator = common.operator.as_ref().filter(|_| common.said_by.operator == By::Flag);
        let agents_alone = self.print_env || self.from_nockguard.is_some();
        match (&self.agent, &self.from_nockguard, operator) {
            (None, None, Some(_)) if agents_alone => bail!("--print-env is for agents' keys"),
            (None, None, Some(operator)) => Ok(Holder::Operator(operator.parse()?)),
            (Some(_), ..) | (_, Some(_), _) if self.passphrase => bail!(
                "an agent's key is used where nobody can be asked for a passphrase; --passphrase is for operators' keys, and \
                 an ssh-agent keeps an agent's: --from-ssh-agent"
            ),
            (Some(agent), ..) => Ok(Holder::Agent(agent.clone())),
            (None, Some(name), _) => Ok(Holder::Agent(name.parse().with_context(|| {
                format!("NockGuard's agent {name:?} needs another name here; give one with --agent")
            })?)),
            (None, None, None) => bail!("say whose key it is to be: --agent NAME, or --operator NAME"),
        }
    }

    /// Where it is written: agents' keys go to where the agent runs, an operator's to where it is looked for.
    fn dir(&self, holder: &Holder, card: &Card) -> anyhow::Result<PathBuf> {
        match (&self.dir, holder) {
            (Some(dir), _) if dir == Path::new(".") => Ok(PathBuf::new()),
            (Some(dir), _) => Ok(dir.clone()),
            (None, Holder::Agent(_)) => Ok(PathBuf::new()),
            (None, Holder::Operator(_)) => Ok(find::config_dir()?.join(card.name.as_str())),
        }
    }

    /// The key: a new one, or one that is there already.
    async fn source(&self, entropy: &dyn Entropy) -> anyhow::Result<Source> {
        if let Some(name) = &self.from_nockguard {
            let (key, place) = of_nockguard(name)?;
            return Ok(Source::There { signer: Box::new(Held::new(key)), place });
        }
        if let Some(wanted) = &self.from_ssh_agent {
            let (key, place) = in_ssh_agent(wanted).await?;
            return Ok(Source::There { signer: Box::new(key), place });
        }
        let key = Box::new(SigningKey::generate(entropy));
        Ok(Source::New { signer: Box::new(Held::new(SigningKey::from_seed(&key.seed()))), key })
    }

    /// Which key it follows, and its number.
    fn place(&self, holder: &Holder) -> anyhow::Result<(Option<Kid>, u64)> {
        let Some(old) = &self.follows else { return Ok((None, 1)) };
        if let Ok(kid) = old.parse::<Kid>() {
            return Ok((Some(kid), self.numbered()?));
        }
        if let Some((Ok(kid), Ok(number))) =
            old.split_once('/').map(|(kid, number)| (kid.parse::<Kid>(), number.parse::<u64>()))
        {
            return Ok((Some(kid), self.kver.unwrap_or(number.saturating_add(1))));
        }
        let path = Path::new(old);
        if path.extension().is_some_and(|end| end == REGISTER) {
            let (_, register) = keyfile::read_register(path)?;
            if register.holder != *holder {
                bail!("{}: this statement is of {}, not of {holder}", path.display(), register.holder);
            }
            let kver = self.kver.unwrap_or(register.kver + 1);
            return Ok((Some(register.pk.kid()), kver));
        }
        let public =
            keyfile::read_public(path).context("--follows takes a register statement, a .pub file or a key id")?;
        Ok((Some(public.kid()), self.numbered()?))
    }

    fn numbered(&self) -> anyhow::Result<u64> {
        match self.kver {
            Some(kver) if kver >= 2 => Ok(kver),
            Some(_) => bail!("a key that follows another has a --kver of at least 2"),
            None => {
                bail!("--follows needs --kver: the old key's number and one; for an agent, vaultctl agent show has it")
            }
        }
    }
}

impl Making<'_> {
    fn name(&self) -> &str {
        match &self.holder {
            Holder::Agent(name) => name.as_str(),
            Holder::Operator(name) => name.as_str(),
        }
    }

    fn kind(&self) -> &'static str {
        match self.holder {
            Holder::Agent(_) => "agent",
            Holder::Operator(_) => "operator",
        }
    }

    fn path(&self, ending: &str) -> PathBuf {
        self.dir.join(format!("{}.{ending}", self.name()))
    }

    /// What an operator of the vault types next.
    fn next(&self, register: &Path, kver: u64) -> String {
        let register = register.display();
        match &self.holder {
            Holder::Agent(_) if kver == 1 => format!("agent register {register}"),
            Holder::Agent(name) => format!("agent rotate {name} {register}"),
            Holder::Operator(_) if kver == 1 => format!(
                "operator add {register} --duty .., typed by an admin (or, where there is none any more: vaultctl recover \
                 {register})"
            ),
            Holder::Operator(_) => format!("operator add {register}, typed by an admin"),
        }
    }

    /// Writes the statement of a key that stays where it is.
    fn state(&self, register: &Register, statement: &str, place: &str, output: &Output) -> anyhow::Result<()> {
        let key = self.path(SECRET);
        if key.symlink_metadata().is_ok() && key != Path::new(place) {
            bail!(
                "{} is there already; beside it the statement of the key in {place} would be taken for that one's",
                key.display()
            );
        }
        let path = self.path(REGISTER);
        keyfile::write(&path, statement.as_bytes(), 0o644, self.force)?;
        say!(
            "the key in {place} is to be {}'s at the vault {} too: it was not copied, and is found there; now: vaultctl {}",
            self.holder,
            self.card.name,
            self.next(&path, register.kver)
        );
        let made = json!({
            (self.kind()): self.name(),
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
        key: &SigningKey,
        words: Option<&SecretBytes>,
        kver: u64,
        statement: &str,
        output: &Output,
    ) -> anyhow::Result<()> {
        let public = keyfile::hex(&key.public().to_bytes());
        let secret = private(key, words)?;
        let path = |ending| self.path(ending);
        let files = [
            (SECRET, secret.as_bytes(), 0o600),
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
            "made a key for {} at the vault {}; now: vaultctl {}",
            self.holder,
            self.card.name,
            self.next(&path(REGISTER), kver)
        );
        let made = json!({
            (self.kind()): self.name(),
            "key": path(SECRET),
            "kid": key.kid(),
            "kver": kver,
            "public": path(PUBLIC),
            "public_key": public,
            "register": path(REGISTER),
        });
        output.one(made.as_object().unwrap_or(&serde_json::Map::new()))
    }
}

/// What a key file holds: the seed, or the key behind a passphrase.
pub(crate) fn private(key: &SigningKey, words: Option<&SecretBytes>) -> anyhow::Result<Zeroizing<String>> {
    match words {
        Some(words) => Ok(passphrase::lock(key, words, &OsEntropy)?),
        None => Ok(Zeroizing::new(keyfile::hex(key.seed().expose()))),
    }
}

/// The key that is `wanted` in the ssh-agent, or the only one there, and where it is.
pub(crate) async fn in_ssh_agent(wanted: &str) -> anyhow::Result<(InAgent, String)> {
    let held = SshAgent::usual(&|name| std::env::var(name).ok())?;
    let listed = held.find(Some(wanted).filter(|wanted| !wanted.is_empty())).await?;
    let key = listed.public.clone().with_context(|| format!("{listed} is no plain Ed25519 key"))?;
    Ok((held.key(key), format!("ssh-agent:{}", listed.fingerprint())))
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
