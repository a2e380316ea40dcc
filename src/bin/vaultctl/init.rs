//! `vaultctl init`: makes a vault. Everything a vault needs comes out of one command: its folder with the root key, the
//! database with the first entries of its chains, TLS under a small CA of its own, the configuration and the card; and
//! the first operator's key, which is put where vaultctl looks for it. No daemon runs yet.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;
use nockvault::client::keyfile::{self, PUBLIC, REGISTER, SECRET};
use nockvault::client::signer::{self, Signer as _};
use nockvault::config::Custody;
use nockvault::crypto::envelope::{Embedded, PayloadType};
use nockvault::crypto::json::canonical;
use nockvault::entropy::{Entropy, OsEntropy};
use nockvault::id::{OperatorName, VaultName};
use nockvault::server::init::{self, CONFIG, Keeper, Laid, Plan};
use nockvault::statement::register::Register;
use nockvault::time::{Clock as _, SystemClock};
use nockvault::vault::found::Drawn;
use serde_json::{Map, json};

use crate::contexts::Contexts;
use crate::keygen::{self, private};
use crate::output::Output;
use crate::ways::{Made, Way, Ways, take_away};
use crate::{Common, ask, find};

/// Make a vault: data directory, root key, TLS, configuration, vault card and the first operator's key.
///
/// The vault's own things come into --dir; a copy of the card and your operator key into ~/.config/nockvault, where
/// vaultctl looks for them. Nothing that is there already is replaced. The first operator is --operator, or your login
/// name, or admin where the system tells none.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The vault's name, for people.
    #[arg(long, value_name = "NAME")]
    name: VaultName,
    /// The folder to make; without it, the vault's name.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Where agents reach it.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8440")]
    listen: SocketAddr,
    /// Where operators reach it over the network, beside the unix socket.
    #[arg(long, value_name = "IP:PORT")]
    listen_operators: Option<SocketAddr>,
    /// Where health, metrics and the JWKS are, without TLS.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8441")]
    http: SocketAddr,
    /// A name or address that the TLS certificate is for, beside localhost; may stand several times. The first stands in
    /// the card.
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,
    /// Who can get at the root key; without it, whom the options below name, or a file. More can be added while the vault
    /// serves.
    #[arg(long, value_name = "KIND", value_enum)]
    custody: Option<Way>,
    #[command(flatten)]
    ways: Ways,
    /// Put your operator key behind a passphrase, which is asked for twice, or read from the file that
    /// NOCKVAULT_KEY_PASSPHRASE_FILE names.
    #[arg(long)]
    passphrase: bool,
    /// Make no operator key: yours is an Ed25519 key in the ssh-agent that SSH_AUTH_SOCK names.
    ///
    /// KEY is its comment, its fingerprint (SHA256:..) or its public line; it may be left out where there is only one. The
    /// private key stays where it is, and the ssh-agent is asked for each command's signature.
    #[arg(long, value_name = "KEY", num_args = 0..=1, default_missing_value = "", conflicts_with = "passphrase")]
    operator_key_from_ssh_agent: Option<String>,
}

impl Init {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        let way = self.custody.unwrap_or_else(|| self.ways.meant());
        self.ways.check(way, &["init"])?;
        let operator = match &common.operator {
            Some(name) => name.parse::<OperatorName>()?,
            None => login().context("your login name is no operator name; choose one with --operator NAME")?,
        };
        let config = find::config_dir()?;
        let kept = config.join(format!("{}.card", self.name));
        let key = config.join(self.name.as_str()).join(format!("{operator}.{SECRET}"));
        let elsewhere = common.key.as_deref().map(std::path::absolute).transpose()?;
        let key = common.key.clone().unwrap_or(key);
        let mut contexts = Contexts::read()?;
        if contexts.has(&self.name) {
            bail!("the context {} is there already; choose another name, or: vaultctl context rename", self.name);
        }
        let words = if self.passphrase { Some(ask::new()?) } else { None };
        let wanted = self.operator_key_from_ssh_agent.clone();
        if wanted.is_some() && common.key.is_some() {
            bail!("--key names a file, and the ssh-agent keeps this key; leave one of the two");
        }
        let mut plan = Plan {
            folder: self.dir.clone().unwrap_or_else(|| PathBuf::from(self.name.as_str())),
            name: self.name,
            operator,
            hosts: self.host,
            agents: self.listen,
            operators: self.listen_operators,
            http: self.http,
            custody: Keeper::File(self.ways.root_key.clone()),
        };
        if plan.agents.ip().is_unspecified() && plan.hosts.is_empty() {
            bail!("--listen {} is reached from elsewhere; say with --host under which name", plan.agents);
        }
        // Looked at before anything is made: once the vault is founded, its only operator's key must find its place.
        for path in [&kept, &key, &key.with_extension(PUBLIC), &key.with_extension(REGISTER)] {
            if path.symlink_metadata().is_ok() {
                bail!(
                    "{} is there already, and init replaces nothing; move it away or choose another name",
                    path.display()
                );
            }
            folder_of(path)?;
        }
        let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
        init::vacant(&plan.folder, &plan.name)?;
        let (keeper, files) = keeper(&self.ways, way, &*entropy)?;
        plan.custody = keeper;
        let now = SystemClock.now();
        // A crash before the key's files are written leaves a vault that nobody commands: remove its folder and begin again.
        let (laid, key) = match wanted {
            Some(wanted) => {
                let drawn = Drawn::new(&*entropy);
                let signed = by_ssh_agent(&drawn, &plan.operator, &wanted, &*entropy).await;
                let signed = signed.inspect_err(|_| take_away(&files))?;
                let statement = canonical(&signed.1);
                let laid = init::lay_for(&plan, drawn, signed, now, &entropy).inspect_err(|_| take_away(&files))?;
                let register = key.with_extension(REGISTER);
                keyfile::write(&register, &statement, 0o644, false)?;
                (laid, register)
            }
            None => {
                let laid = init::lay(&plan, now, &entropy).inspect_err(|_| take_away(&files))?;
                let made = laid.operator_key.as_ref().context("the vault was made without an operator's key")?;
                keyfile::write(&key, private(made, words.as_ref())?.as_bytes(), 0o600, false)?;
                let public = keyfile::hex(&made.public().to_bytes());
                keyfile::write(&key.with_extension(PUBLIC), public.as_bytes(), 0o644, false)?;
                (laid, key)
            }
        };
        keyfile::write(&kept, laid.card.write().as_bytes(), 0o644, false)?;
        let current = contexts.made(&plan.name, plan.operator.clone(), elsewhere)?;
        tell(&plan, &laid, &key, output)?;
        if !current {
            say!("Commands go to another vault as before; to this one: vaultctl context use {}", plan.name);
        }
        Ok(())
    }
}

/// The first custodian, with the files that were made for it already.
fn keeper(ways: &Ways, way: Way, entropy: &dyn Entropy) -> anyhow::Result<(Keeper, Vec<PathBuf>)> {
    Ok(match way {
        Way::File => (Keeper::File(ways.root_key.clone()), Vec::new()),
        Way::Credential => (Keeper::Credential(ways.credential_name()?, ways.root_key.clone()), Vec::new()),
        way => {
            let Made { kind, secret, opens, files } = ways.make(way, entropy)?;
            (Keeper::Other { kind, public: secret.public(), opens }, files)
        }
    })
}

/// The first operator's statement, signed by the ssh-agent that has the key.
async fn by_ssh_agent(
    drawn: &Drawn,
    operator: &OperatorName,
    wanted: &str,
    entropy: &dyn Entropy,
) -> anyhow::Result<(Register, Embedded)> {
    let (key, _) = keygen::in_ssh_agent(wanted).await?;
    let register = drawn.first(operator.clone(), key.public().clone(), key.form(), SystemClock.now(), entropy);
    let signed = signer::envelope(PayloadType::Register, &register, &key).await?;
    Ok((register, signed.embed().context("a register statement is JSON")?))
}

fn tell(plan: &Plan, laid: &Laid, key: &Path, output: &Output) -> anyhow::Result<()> {
    let folder = laid.config.parent().unwrap_or(Path::new("."));
    let root = match &plan.custody {
        Keeper::File(path) | Keeper::Credential(_, path) => {
            Some(path.clone().unwrap_or_else(|| folder.join("root.key")))
        }
        Keeper::Other { .. } => None,
    };
    let mut made = json!({
        "aud": laid.card.aud,
        "card": laid.card_path,
        "config": folder.join(CONFIG),
        "operator": plan.operator,
        "operator_key": key,
        "vault": laid.card.name,
    });
    if let Some(root) = &root {
        made["root_key"] = json!(root);
    }
    output.one(made.as_object().unwrap_or(&Map::new()))?;
    let starts_sealed = matches!(&plan.custody, Keeper::Other { opens: Custody::Unseal, .. });
    say!(
        "\nThe vault {name} is made. Next:\n\
         \x20 vaultd --config {config}\n\
         {unseal}\x20 vaultctl status\n\
         \x20 vaultctl keygen --agent kit              where the agent runs\n\
         \x20 vaultctl agent register kit.register\n\
         The card {card} is public: hand it to agents, operators and auditors.",
        name = laid.card.name,
        config = laid.config.display(),
        unseal = if starts_sealed { "  vaultctl unseal                          it starts sealed\n" } else { "" },
        card = laid.card_path.display(),
    );
    match (&plan.custody, &root) {
        (Keeper::Credential(name, _), Some(root)) => say!(
            "Before vaultd starts, encrypt {root} for this machine, name it in its unit, and keep a copy in a safe place:\n\
             \x20 systemd-creds encrypt --name={name} {root} /etc/credstore.encrypted/{name}\n\
             \x20 LoadCredentialEncrypted={name}",
            root = root.display(),
        ),
        (_, Some(root)) => {
            say!("Copy {} to a safe place: without it the data cannot be opened.", root.display());
        }
        _ => say!("Without what opens it, the data are lost: add a second custodian with vaultctl custody add."),
    }
    Ok(())
}

/// The login name where the system tells one, or `admin`.
fn login() -> Option<OperatorName> {
    let told = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    told.unwrap_or_else(|| "admin".to_owned()).parse().ok()
}

/// Makes the folder that a file is to lie in.
fn folder_of(path: &Path) -> anyhow::Result<()> {
    find::make_config_dir(path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}
