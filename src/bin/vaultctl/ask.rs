//! Passphrases of operators' keys: asked for on the terminal itself, whatever standard input is, or read from the file
//! that a variable names. Never from the command line, where everybody on the machine could read them.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use nockvault::client::fault::Fault;
use nockvault::client::keyfile::{self, Locked};
use nockvault::client::passphrase::{LEAST, NotUnlocked};
use nockvault::crypto::signature::SigningKey;
use nockvault::secret::SecretBytes;
use zeroize::Zeroizing;

/// Names the file with the passphrase of the operator's key.
pub(crate) const VARIABLE: &str = "NOCKVAULT_KEY_PASSPHRASE_FILE";
/// How often it may be mistyped.
const TRIES: u32 = 3;

fn named() -> Option<PathBuf> {
    std::env::var_os(VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from)
}

/// Asks without showing what is typed.
pub(crate) fn hidden(question: &str) -> anyhow::Result<SecretBytes> {
    let typed = rpassword::prompt_password(question);
    let no = || {
        format!(
            "there is no terminal to ask for the passphrase on; write it into a file for you alone (mode 0600) and name that \
             with {VARIABLE}"
        )
    };
    Ok(SecretBytes::new(std::mem::take(&mut *Zeroizing::new(typed.with_context(no)?)).into_bytes()))
}

/// The key behind a passphrase.
pub(crate) fn unlock(locked: &Locked) -> anyhow::Result<SigningKey> {
    let shown = locked.path().display();
    let wrong = |why: NotUnlocked| Fault::Local(format!("{shown}: {why}"));
    if let Some(file) = named() {
        let opened = locked.open(&keyfile::read_passphrase(&file)?);
        return Ok(opened.map_err(|why| Fault::Local(format!("{shown}: {why} (it is of {})", file.display())))?);
    }
    for _ in 1..TRIES {
        match locked.open(&hidden(&format!("passphrase of {shown}: "))?) {
            Err(NotUnlocked::Passphrase) => say!("that passphrase does not open it"),
            opened => return Ok(opened.map_err(wrong)?),
        }
    }
    Ok(locked.open(&hidden(&format!("passphrase of {shown}: "))?).map_err(wrong)?)
}

/// The passphrase of a key that has none yet: of the file that the variable names, or asked for twice.
pub(crate) fn new() -> anyhow::Result<SecretBytes> {
    changed(None, false)
}

/// A new passphrase: of this file, of the one that the variable names where that is not the present one's, or asked for
/// twice.
pub(crate) fn changed(file: Option<PathBuf>, has_one: bool) -> anyhow::Result<SecretBytes> {
    let words = match file.or_else(|| named().filter(|_| !has_one)) {
        Some(file) => keyfile::read_passphrase(&file)?,
        None => {
            let first = hidden("new passphrase of your operator key: ")?;
            if first.expose() != hidden("once more: ")?.expose() {
                bail!("the two are not the same; nothing was changed");
            }
            first
        }
    };
    if String::from_utf8_lossy(words.expose()).chars().count() < LEAST {
        bail!("a passphrase has at least {LEAST} characters; a few words that go together nowhere else are good");
    }
    Ok(words)
}
