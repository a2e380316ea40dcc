//! Where the card and the operator's key are: what a flag or a variable names, and otherwise what the context says
//! (`contexts`). Operators' keys are kept as `~/.config/nockvault/<vault>/<operator>.ed25519`; beside it, or alone where
//! an ssh-agent has the key, `<operator>.register`.

use std::fmt;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use nockvault::client::fault::Fault;
use nockvault::client::keyfile::{self, REGISTER, SECRET, Stored};
use nockvault::client::operator::Operator;
use nockvault::client::place;
use nockvault::client::signer::Identity;
use nockvault::client::sshagent::SshAgent;
use nockvault::crypto::signature::Form;
use nockvault::id::OperatorName;
use nockvault::statement::card::Card;
use nockvault::statement::register::Register;

use crate::contexts::{Chosen, chosen};
use crate::{Common, approval, ask};

/// Where cards and operators' keys are kept.
pub(crate) fn config_dir() -> anyhow::Result<PathBuf> {
    place::config_dir().context("neither HOME nor XDG_CONFIG_HOME names a folder; name the card with --vault FILE")
}

/// Makes a folder for keys, for this user alone, with those above it; one that is there stays as it is.
pub(crate) fn make_config_dir(dir: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).with_context(|| dir.display().to_string())
}

/// The card that was named, or that of the context.
pub(crate) fn card(common: &Common) -> Result<Card, Fault> {
    place::card(Some(&chosen(common)?.card))
}

/// An operator's key: whose it is, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyPlace {
    pub(crate) operator: String,
    pub(crate) place: Place,
}

/// Where a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In this file.
    File(PathBuf),
    /// In an ssh-agent; the statement in this file says which.
    SshAgent(PathBuf),
}

impl fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::File(path) => match keyfile::read_stored(path) {
                Ok(Stored::Locked(_)) => write!(f, "{} (behind a passphrase)", path.display()),
                _ => write!(f, "{}", path.display()),
            },
            Place::SshAgent(register) => write!(f, "ssh-agent, as {} says", register.display()),
        }
    }
}

/// The key file of this path without its ending, or the statement of a key that an ssh-agent has.
fn of_stem(stem: &Path) -> Option<Place> {
    let with = |ending: &str| PathBuf::from(format!("{}.{ending}", stem.display()));
    let (secret, register) = (with(SECRET), with(REGISTER));
    if secret.symlink_metadata().is_ok() {
        return Some(Place::File(secret));
    }
    let sshsig = |(_, read): (_, Register)| read.form == Form::Sshsig;
    keyfile::read_register(&register).is_ok_and(sshsig).then_some(Place::SshAgent(register))
}

/// Where the key is that commands at the vault of this card.
pub(crate) fn key_place(chosen: &Chosen, card: &Card) -> Result<KeyPlace, Fault> {
    let stem = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    if let Some(file) = &chosen.key {
        let operator = chosen.operator.clone().unwrap_or_else(|| stem(file));
        let in_agent = file.extension().is_some_and(|end| end == REGISTER);
        let place = if in_agent { Place::SshAgent(file.clone()) } else { Place::File(file.clone()) };
        return Ok(KeyPlace { operator, place });
    }
    let none = "neither HOME nor XDG_CONFIG_HOME names a folder; name the key with --key FILE";
    let dir = place::config_dir().ok_or_else(|| Fault::local(none))?.join(card.name.as_str());
    let known = known(&dir);
    let names = || known.iter().map(|found| found.operator.as_str()).collect::<Vec<_>>().join(", ");
    let shown = dir.display();
    match (&chosen.operator, known.as_slice()) {
        (Some(operator), _) => known.iter().find(|found| found.operator == *operator).cloned().ok_or_else(|| {
            let others = if known.is_empty() { String::new() } else { format!(" (there are {})", names()) };
            Fault::Local(format!(
                "no key of operator {operator} in {shown}{others}; name its file with --key FILE, or make one: vaultctl keygen \
                 --operator {operator}"
            ))
        }),
        (None, [one]) => Ok(one.clone()),
        (None, []) => Err(Fault::Local(format!(
            "there is no operator key in {shown}; name it with --key FILE or NOCKVAULT_OPERATOR_KEY, or make one: vaultctl \
             keygen --operator NAME"
        ))),
        (None, _) => {
            // What a context says counts only where the vault is named by it, and not by its card.
            let for_good = match &chosen.context {
                Some(name) => format!("vaultctl context use {name} --operator NAME"),
                None => "NOCKVAULT_OPERATOR=NAME in the environment".to_owned(),
            };
            Err(Fault::Local(format!(
                "there is more than one operator key in {shown} ({}); say who commands with --operator NAME, or for good: \
                 {for_good}",
                names()
            )))
        }
    }
}

/// Every operator's key in a folder, by name.
fn known(dir: &Path) -> Vec<KeyPlace> {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let keys = entries.filter(|path| path.extension().is_some_and(|end| end == SECRET || end == REGISTER));
    let mut stems: Vec<PathBuf> = keys.map(|path| path.with_extension("")).collect();
    stems.sort();
    stems.dedup();
    let named = |stem: PathBuf| {
        let operator = stem.file_name()?.to_str()?.to_owned();
        Some(KeyPlace { operator, place: of_stem(&stem)? })
    };
    stems.into_iter().filter_map(named).collect()
}

/// The operator and the key that commands. A passphrase is asked for where the key is behind one.
pub(crate) fn operator(common: &Common, card: &Card) -> anyhow::Result<Identity<OperatorName>> {
    let KeyPlace { operator, place } = key_place(&chosen(common)?, card)?;
    let name: OperatorName =
        operator.parse().context("an operator is named by --operator, or by the name of the key file")?;
    match place {
        Place::File(file) => {
            let key = match keyfile::read_stored(&file)? {
                Stored::Open(key) => key,
                Stored::Locked(locked) => ask::unlock(&locked)?,
            };
            let beside = file.with_extension(REGISTER);
            let register = if beside.exists() { Some(keyfile::read_register(&beside)?.1) } else { None };
            let kver = register.filter(|register| register.pk == key.public()).map_or(1, |register| register.kver);
            Ok(Identity::held(name, key, kver))
        }
        Place::SshAgent(file) => {
            let register = keyfile::read_register(&file)?.1;
            if register.form != Form::Sshsig {
                bail!("{}: this key is registered in the form pae, in which no ssh-agent signs", file.display());
            }
            let agent = SshAgent::usual(&|name| std::env::var(name).ok())?;
            Ok(Identity { name, signer: Arc::new(agent.key(register.pk)), kver: register.kver })
        }
    }
}

/// A connection in the operator's name.
pub(crate) async fn connect(common: &Common) -> anyhow::Result<Operator> {
    let card = card(common)?;
    let identity = operator(common, &card)?;
    Ok(awaiting(common, Operator::connect(&card, identity).await?))
}

/// The same connection, which waits for other operators where that is wanted.
pub(crate) fn awaiting(common: &Common, operator: Operator) -> Operator {
    if common.wait_approval { operator.awaiting_approval(approval::told()) } else { operator }
}
