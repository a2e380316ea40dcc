//! A folder for secrets in files: in memory (tmpfs), open to one user, gone with the launcher. What a killed launcher
//! left is taken away by the next one of the same user.
//!
//! Memory can be swapped out. Where that matters, swap is encrypted or off.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock, statfs};

use crate::client::fault::Fault;
use crate::client::keyfile::hex;
use crate::entropy::Entropy;

/// What `statfs` says of tmpfs (`linux/magic.h`).
const TMPFS: i64 = 0x0102_1994;
/// What the names of these folders begin with.
const NAME: &str = "nockvault-";
/// The file in each that its launcher holds locked.
const LOCK: &str = ".lock";

/// A user that a child runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// The user's number.
    pub uid: u32,
    /// Its group's.
    pub gid: u32,
}

/// The folder. It is removed with everything in it when this is dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    account: Option<Account>,
    _lock: File,
}

impl Folder {
    /// Makes a folder for `account`, or for this user, where files live in memory: in `base` where it is named, else in
    /// `$XDG_RUNTIME_DIR` or `/dev/shm`.
    ///
    /// # Errors
    /// [`Fault::Local`] where there is no such place.
    pub fn make(base: Option<&Path>, account: Option<Account>, entropy: &dyn Entropy) -> Result<Folder, Fault> {
        let base = match base {
            Some(base) => base.to_owned(),
            None => in_memory(account)?,
        };
        sweep(&base);
        let path = base.join(format!("{NAME}{}", hex(&entropy.bytes::<8>())));
        let at = |why: std::io::Error| Fault::Local(format!("{}: {why}", path.display()));
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(at)?;
        let lock = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path.join(LOCK)).map_err(at)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|why| at(why.into()))?;
        if let Some(Account { uid, gid }) = account {
            std::os::unix::fs::chown(&path, Some(uid), Some(gid)).map_err(at)?;
        }
        Ok(Folder { path, account, _lock: lock })
    }

    /// Whether a path is that of such a folder, by its name.
    #[must_use]
    pub fn is_one(path: &Path) -> bool {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(NAME))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file that the folder's user alone can read. One that was there is replaced at once and whole.
    ///
    /// # Errors
    /// [`Fault::Local`] where that cannot be done.
    pub fn write(&self, name: &str, contents: &[u8]) -> Result<PathBuf, Fault> {
        let path = self.path.join(name);
        let new = self.path.join(format!(".{name}.new"));
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            if let Some(Account { uid, gid }) = self.account {
                fchown(&file, Some(uid), Some(gid))?;
            }
            file.write_all(contents)?;
            fs::rename(&new, &path)
        })();
        written.map_err(|why| Fault::Local(format!("{}: {why}", path.display())))?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A place whose files live in memory. The runtime folder of this user serves no other.
fn in_memory(account: Option<Account>) -> Result<PathBuf, Fault> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let places = runtime.filter(|_| account.is_none()).into_iter().chain([PathBuf::from("/dev/shm")]);
    let mut places = places.filter(|dir| statfs(dir).is_ok_and(|stat| stat.f_type == TMPFS));
    places.next().ok_or_else(|| {
        Fault::local(
            "no place in memory for files: neither XDG_RUNTIME_DIR nor /dev/shm is a tmpfs; mount one, or name a folder \
             with --file-dir",
        )
    })
}

/// Removes what launchers of this user left that are gone.
fn sweep(base: &Path) {
    let own = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(base).into_iter().flatten().filter_map(Result::ok) {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(NAME));
        let real =
            fs::symlink_metadata(entry.path()).is_ok_and(|stat| stat.is_dir() && (stat.uid() == own || own == 0));
        if !ours || !real {
            continue;
        }
        // Without a lock file it is being made this very moment, or is not ours.
        let Ok(lock) = OpenOptions::new().write(true).open(entry.path().join(LOCK)) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::entropy::OsEntropy;

    #[test]
    fn files_are_private_and_go_with_the_folder() {
        let base = tempfile::tempdir().unwrap();
        let folder = Folder::make(Some(base.path()), None, &OsEntropy).unwrap();
        let file = folder.write("value", b"one").unwrap();
        folder.write("value", b"two").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(folder.path()), mode(&file)), (0o700, 0o600));
        let other = Folder::make(Some(base.path()), None, &OsEntropy).unwrap();
        assert!(file.exists(), "the folder of a launcher that lives is left alone");
        drop((folder, other));
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_launcher_left_is_taken_away() {
        let base = tempfile::tempdir().unwrap();
        let left = base.path().join("nockvault-0123");
        fs::create_dir(&left).unwrap();
        fs::write(left.join(LOCK), "").unwrap();
        fs::create_dir(base.path().join("nockvault-of-another-kind")).unwrap();
        let _folder = Folder::make(Some(base.path()), None, &OsEntropy).unwrap();
        assert!(!left.exists() && base.path().join("nockvault-of-another-kind").exists());
    }
}
