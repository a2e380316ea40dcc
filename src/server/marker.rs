//! That the vault was sealed by command: a file `sealed` in the data directory. While it is there a daemon starts sealed,
//! also where custody would open by itself, until somebody unseals.
//!
//! It is set after the command stands in `_operators` and before it is answered: a crash in between leaves a command that
//! was not answered and a vault that starts as it always does. It is removed after `start` stands in `_vault`: a crash in
//! between leaves a vault that starts sealed once more. Whoever can write into the data directory can remove it, as he can
//! destroy everything else there; it keeps a supervisor from opening what an operator closed, and no one who has both the
//! directory and the root key.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Its name.
const NAME: &str = "sealed";
/// What stands in it, for whoever finds it.
const WORDS: &[u8] = b"This vault was sealed by command. `vaultctl unseal` opens it and removes this file.\n";

/// Whether it is there.
pub(super) fn is_set(data_dir: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(data_dir.join(NAME)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Puts it there. Durable when it returns.
pub(super) fn set(data_dir: &Path) -> io::Result<()> {
    // What is in it decides nothing, so that a name without its words is as good.
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(data_dir.join(NAME))?;
    file.write_all(WORDS).and_then(|()| file.sync_all())?;
    File::open(data_dir)?.sync_all()
}

/// Removes it. Durable when it returns.
pub(super) fn clear(data_dir: &Path) -> io::Result<()> {
    match fs::remove_file(data_dir.join(NAME)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        removed => removed?,
    }
    File::open(data_dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_and_goes() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(!is_set(folder.path()).expect("it can be looked for"));
        clear(folder.path()).expect("nothing is there to be removed");
        for _ in 0..2 {
            set(folder.path()).expect("it can be written");
            assert!(is_set(folder.path()).expect("it can be looked for"));
        }
        clear(folder.path()).expect("it can be removed");
        assert!(!is_set(folder.path()).expect("it can be looked for"));
    }
}
