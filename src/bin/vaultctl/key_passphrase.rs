//! `vaultctl key-passphrase`: sets, changes or removes the passphrase of an operator's key.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use nockvault::client::keyfile::{self, PUBLIC, Stored};

use crate::contexts::chosen;
use crate::find::{self, KeyPlace, Place};
use crate::keygen::private;
use crate::{Common, ask};

/// Set, change or remove the passphrase of your operator key. The key stays the same.
///
/// The passphrase is asked for on the terminal; the present one is read from the file that NOCKVAULT_KEY_PASSPHRASE_FILE
/// names, where that is set. The key's file becomes PEM of PKCS #8 (PBES2 with scrypt), which openssl reads too. Copies of
/// the file that were made before stay as they are.
#[derive(Debug, Args)]
pub(crate) struct KeyPassphrase {
    /// Read the new passphrase from this file, which is for you alone.
    #[arg(long, value_name = "FILE", conflicts_with = "remove")]
    new_file: Option<PathBuf>,
    /// Remove it: the file alone is enough to command then.
    #[arg(long)]
    remove: bool,
}

impl KeyPassphrase {
    pub(crate) fn run(self, common: &Common) -> anyhow::Result<()> {
        let KeyPlace { operator, place } = find::key_place(&chosen(common)?, &find::card(common)?)?;
        let Place::File(path) = place else {
            bail!(
                "the key of {operator} is in an ssh-agent, and no file of ours; ssh-keygen -p protects the file it is from"
            )
        };
        let (key, was_locked) = match keyfile::read_stored(&path)? {
            Stored::Open(key) => (key, false),
            Stored::Locked(locked) => (ask::unlock(&locked)?, true),
        };
        if self.remove && !was_locked {
            bail!("{} has no passphrase", path.display());
        }
        let public = path.with_extension(PUBLIC);
        if public.exists() && keyfile::read_public(&public)? != key.public() {
            bail!("{} is not the public key of {}; nothing was changed", public.display(), path.display());
        }
        let words = if self.remove { None } else { Some(ask::changed(self.new_file, was_locked)?) };
        keyfile::write(&path, private(&key, words.as_ref())?.as_bytes(), 0o600, true)?;
        match (self.remove, was_locked) {
            (true, _) => say!("{} has no passphrase any more", path.display()),
            (false, true) => say!("{} has a new passphrase", path.display()),
            (false, false) => say!("{} is behind a passphrase now", path.display()),
        }
        Ok(())
    }
}
