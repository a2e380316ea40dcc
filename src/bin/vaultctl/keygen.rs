//! `vaultctl keygen`: makes an agent's key where the agent runs, and the statement that proves that it is held. Only
//! the statement leaves the machine.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use nockvault::base64url;
use nockvault::client::keyfile::{self, PUBLIC, REGISTER, SECRET};
use nockvault::crypto::json::canonical;
use nockvault::crypto::signature::{Form, SigningKey};
use nockvault::entropy::{Entropy, OsEntropy};
use nockvault::id::{AgentName, Kid, Nonce};
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
    #[arg(long, value_name = "NAME")]
    agent: AgentName,
    /// The key that this one follows: its NAME.register, its NAME.pub, or its key id.
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
    /// The folder to write into.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

impl Keygen {
    pub(crate) fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        let card = find::card(common)?;
        let (prev, kver) = self.place()?;
        let entropy: &dyn Entropy = &OsEntropy;
        let key = SigningKey::generate(entropy);
        let register = Register {
            holder: Holder::Agent(self.agent.clone()),
            aud: card.aud.clone(),
            form: Form::Pae,
            iat: SystemClock.now(),
            kver,
            nonce: Nonce::from_bytes(&entropy.bytes()),
            pk: key.public(),
            prev,
        };
        let statement = String::from_utf8(canonical(&register.sign(&key)))?;
        let public = keyfile::hex(&key.public().to_bytes());
        if self.print_env {
            return self.environment(&key, &public, &statement);
        }
        let seed = Zeroizing::new(keyfile::hex(key.seed().expose()));
        let dir = if self.dir == Path::new(".") { Path::new("") } else { &self.dir };
        let path = |ending| dir.join(format!("{}.{ending}", self.agent));
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
            "made a key for agent {} at the vault {}; now: vaultctl agent register {}",
            self.agent,
            card.name,
            path(REGISTER).display()
        );
        let made = json!({
            "agent": self.agent,
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
    fn place(&self) -> anyhow::Result<(Option<Kid>, u64)> {
        let Some(old) = &self.follows else { return Ok((None, 1)) };
        if let Ok(kid) = old.parse::<Kid>() {
            return Ok((Some(kid), self.numbered()?));
        }
        let path = Path::new(old);
        if path.extension().is_some_and(|end| end == REGISTER) {
            let (_, register) = keyfile::read_register(path)?;
            if register.holder != Holder::Agent(self.agent.clone()) {
                bail!("{}: this statement is of {}, not of agent {}", path.display(), register.holder, self.agent);
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
                bail!("--follows needs --kver: the old key's number and one; vaultctl agent show {} has it", self.agent)
            }
        }
    }

    fn environment(&self, key: &SigningKey, public: &str, statement: &str) -> anyhow::Result<()> {
        let part = keyfile::variable_part(&self.agent);
        say!("the first line below is the private key of agent {}; no file was written", self.agent);
        let lines = Zeroizing::new(format!(
            "NOCKVAULT_AGENT_{part}_ED25519_KEY={}\nNOCKVAULT_AGENT_{part}_ED25519_PUB={public}\nNOCKVAULT_AGENT_{part}_REGISTER={}\n",
            *Zeroizing::new(keyfile::hex(key.seed().expose())),
            base64url::encode(statement.as_bytes()),
        ));
        crate::output::print(&lines)
    }
}
