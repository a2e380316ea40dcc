//! Where people keep cards and keys: in `$XDG_CONFIG_HOME/nockvault` or `~/.config/nockvault`, `<vault>.card` for each
//! vault and `<vault>/<operator>.ed25519` for who commands it. What is named outright wins; what is not named is taken
//! only where there is no choice.

use std::fs;
use std::path::{Path, PathBuf};

use super::fault::Fault;
use crate::audit::directory::open;
use crate::statement::card::Card;
use crate::statement::directory::Directory;
use crate::time::Timestamp;

/// The folder itself, whether it exists or not.
#[must_use]
pub fn config_dir() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")))?;
    Some(config.join("nockvault"))
}

fn dir() -> Result<PathBuf, Fault> {
    config_dir().ok_or_else(|| Fault::local("neither HOME nor XDG_CONFIG_HOME names a folder; name the file outright"))
}

/// The card that is named, by its file or by its name in the folder; where none is named, the only one there is.
///
/// # Errors
/// [`Fault::Local`] where there is none, or more than one to choose from, or it is no card.
pub fn card(named: Option<&Path>) -> Result<Card, Fault> {
    let path = card_path(named)?;
    let at = |why: String| Fault::Local(format!("{}: {why}", path.display()));
    let text = fs::read_to_string(&path).map_err(|why| at(why.to_string()))?;
    Card::read(&text).map_err(|why| at(why.to_string()))
}

/// The file of that card.
///
/// # Errors
/// [`Fault::Local`] where there is none, or more than one to choose from.
pub fn card_path(named: Option<&Path>) -> Result<PathBuf, Fault> {
    match named {
        Some(named) if named.exists() || named.components().count() > 1 => Ok(named.to_owned()),
        Some(named) => {
            let name = named.to_string_lossy();
            let kept = dir()?.join(format!("{}.card", name.trim_end_matches(".card")));
            if !kept.exists() {
                let (named, kept) = (named.display(), kept.display());
                return Err(Fault::Local(format!("there is no card {named}, neither here nor as {kept}")));
            }
            Ok(kept)
        }
        None => only(&dir()?, "card", "vault card", "--vault FILE or NOCKVAULT_CARD"),
    }
}

/// The key directory in a file, where it is of the card's vault and still good: `vaultctl keys export` writes it, and so
/// does whoever fetches `/.well-known/nockvault/keys`.
///
/// # Errors
/// [`Fault::Local`] with what is wrong with it.
pub fn directory(path: &Path, card: &Card, now: Timestamp) -> Result<Directory, Fault> {
    let at = |why: String| Fault::Local(format!("{}: {why}", path.display()));
    let text = fs::read_to_string(path).map_err(|why| at(why.to_string()))?;
    open(&text, &card.identity, now).map_err(|why| at(why.to_string()))
}

/// The only file with this ending in a folder. `what` it is and what it is `named_by` go into the words of a refusal.
///
/// # Errors
/// [`Fault::Local`] where there is none, or more than one.
pub fn only(dir: &Path, ending: &str, what: &str, named_by: &str) -> Result<PathBuf, Fault> {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == ending)).collect();
    found.sort();
    let dir = dir.display();
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Fault::Local(format!("there is no {what} in {dir}; name it with {named_by}"))),
        several => {
            let names: Vec<_> =
                several.iter().filter_map(|path| path.file_stem()).map(|s| s.to_string_lossy()).collect();
            let names = names.join(", ");
            Err(Fault::Local(format!("there is more than one {what} in {dir} ({names}); name it with {named_by}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_is_taken_only_without_a_choice() {
        let dir = tempfile::tempdir().unwrap();
        let find = || only(dir.path(), "card", "vault card", "--vault FILE");
        assert!(find().unwrap_err().to_string().contains("there is no vault card"));
        fs::write(dir.path().join("prod.card"), "").unwrap();
        fs::write(dir.path().join("prod.toml"), "").unwrap();
        assert_eq!(find().unwrap(), dir.path().join("prod.card"));
        fs::write(dir.path().join("dev.card"), "").unwrap();
        assert!(find().unwrap_err().to_string().contains("(dev, prod); name it with --vault FILE"));
    }

    #[test]
    fn a_card_that_is_none_is_refused_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.card");
        fs::write(&path, "name = 1").unwrap();
        let text = card(Some(&path)).unwrap_err().to_string();
        assert!(text.starts_with(&path.display().to_string()) && text.contains("not a vault card"), "{text}");
    }
}
