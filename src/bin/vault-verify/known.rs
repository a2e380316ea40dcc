//! What the reader knows from elsewhere, out of the options and the files that they name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use nockvault::audit::directory::{certs, open_at_any_time};
use nockvault::audit::note;
use nockvault::audit::policy::{self, Policy};
use nockvault::audit::receipt::Receipt;
use nockvault::audit::verify::{Kept, Pins};
use nockvault::base64url;
use nockvault::crypto::signature::PublicKey;
use nockvault::id::{Aud, Kid};
use nockvault::statement::card::Card;
use nockvault::statement::cert::KeyRole;
use nockvault::statement::directory::{Directory, MAX_BYTES};
use nockvault::time::{Clock as _, SystemClock};

use super::{Arguments, bytes, nockguard, shown, text, unread};

/// The most bytes of a card or receipt: far more than one has.
const SMALL: usize = 1 << 20;

/// What `--identity` takes.
#[derive(Clone)]
pub(super) enum Identity {
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

/// All that the reader knows.
pub(super) struct Known {
    /// What is of the vault, and so of every chain.
    pub(super) vault: Pins,
    /// What is of agents and of single chains beside that; the checkpoints apart.
    pub(super) chain: Pins,
    /// Checkpoints, each with its file.
    pub(super) checkpoints: Vec<(PathBuf, Kept)>,
}

impl Known {
    pub(super) fn of(arguments: &Arguments) -> anyhow::Result<Known> {
        let mut vault = vault(arguments)?;
        vault.since_checkpoint = arguments.since_checkpoint;
        if let Some(path) = &arguments.directory {
            let directory = directory(path, &vault)?;
            let of_checkpoints = certs(&directory, KeyRole::Checkpoint);
            vault.certs = of_checkpoints.map(|(_, _, embedded)| embedded.clone()).collect();
            vault.directory = Some(Arc::new(directory));
        }
        let mut chain = Pins { chain: arguments.chain.clone(), heads: arguments.head.clone(), ..vault.clone() };
        for text in &arguments.agent_key {
            let (kids, public) = agent_key(text)?;
            chain.agent_keys.extend(kids);
            chain.holder_keys.extend(public);
        }
        for path in &arguments.receipt {
            let text = text(path, SMALL)?;
            chain.receipts.push(Receipt::read(&text).with_context(|| unread(path))?);
        }
        if let Some(path) = &arguments.witness_policy {
            let text = bytes(path, policy::MAX_BYTES)?;
            chain.policy = Some(Policy::read(&text).with_context(|| unread(path))?);
        }
        chain.max_age = arguments.max_age.map(|age| (SystemClock.now(), age));
        let mut checkpoints = Vec::new();
        for path in expand(&arguments.checkpoint, ".checkpoint")? {
            let text = text(&path, note::MAX_BYTES)?;
            // Its words hold those of what caused it.
            let kept = Kept::read(&text).map_err(|why| anyhow!("{}: {why}", unread(&path)))?;
            checkpoints.push((path, kept));
        }
        Ok(Known { vault, chain, checkpoints })
    }
}

/// Files, and for a folder all in it that end so, in the order of their names.
pub(super) fn expand(paths: &[PathBuf], end: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).with_context(|| unread(path))? {
            let entry = entry.with_context(|| unread(path))?;
            if entry.file_name().to_string_lossy().ends_with(end) {
                found.push(entry.path());
            }
        }
        if found.is_empty() {
            bail!("no *{end} in the folder {}", path.display());
        }
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

/// A kid, or a public key, which has a kid. In base64url both are 43 characters, and one text may be read as either; nobody
/// can have a key for the reading that was not meant. Anything else is a key as keygen hands it out: hex, or a file of it.
fn agent_key(text: &str) -> anyhow::Result<(Vec<Kid>, Option<PublicKey>)> {
    let Ok(kid) = text.parse::<Kid>() else {
        let public = nockguard::public(text).context("--agent-key takes a key id, a public key or a file NAME.pub")?;
        return Ok((vec![public.kid()], Some(public)));
    };
    let public = base64url::decode_array(text).and_then(|bytes| PublicKey::from_bytes(&bytes).ok());
    let kids = [Some(kid), public.as_ref().map(PublicKey::kid)];
    Ok((kids.into_iter().flatten().collect(), public))
}

fn directory(path: &Path, vault: &Pins) -> anyhow::Result<Directory> {
    let identity = vault.identity.as_ref().context(
        "a key directory is opened with the vault's identity key; give --vault, or --identity with the public key",
    )?;
    let text = text(path, MAX_BYTES)?;
    open_at_any_time(&text, identity).with_context(|| unread(path))
}

/// The file of a card, which `NOCKVAULT_CARD` may also give by its name in the folder where vaultctl and vault-agent keep
/// cards. Their `client::place` is not linked here.
fn card_file(named: &Path) -> anyhow::Result<PathBuf> {
    if named.exists() || named.components().count() > 1 {
        return Ok(named.to_owned());
    }
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
    let name = named.to_string_lossy();
    let kept = config.map(|dir| dir.join("nockvault").join(format!("{}.card", name.trim_end_matches(".card"))));
    match kept {
        Some(kept) if kept.exists() => Ok(kept),
        Some(kept) => bail!("there is no card {}, neither here nor as {}", shown(named), shown(&kept)),
        None => bail!("there is no card {} here", shown(named)),
    }
}

fn vault(arguments: &Arguments) -> anyhow::Result<Pins> {
    let mut pins = Pins::default();
    if let Some(named) = &arguments.vault {
        let path = &card_file(named)?;
        let text = text(path, SMALL)?;
        pins = Pins::of_card(&Card::read(&text).with_context(|| unread(path))?);
    }
    if let Some(identity) = arguments.identity.clone() {
        let (key, aud) = match identity {
            Identity::Key(key) => (Some(key.clone()), Aud::of_identity(&key.kid())),
            Identity::Id(aud) => (None, aud),
        };
        if let Some(card) = pins.aud.as_ref().filter(|card| **card != aud) {
            bail!("--identity is of the vault {aud}, but the card is of {card}");
        }
        pins.identity = pins.identity.or(key);
        pins.aud = Some(aud);
    }
    Ok(pins)
}
