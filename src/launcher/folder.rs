//! A folder for secrets in files: in memory (tmpfs), open to one user, gone with the launcher. What a killed launcher
//! left is taken away by the next one of the same user.
//!
//! Where the child is another user, the folder stays the launcher's, and the child may only pass through it to files of
//! its own: in a folder that it could write to, a link could lead the launcher's hand anywhere.
//!
//! Memory can be swapped out. Where that matters, swap is encrypted or off.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock, statfs};

use crate::client::fault::Fault;
use crate::client::keyfile::hex;
use crate::entropy::Entropy;

/// What `statfs` says of tmpfs (`linux/magic.h`).
const TMPFS: i64 = 0x0102_1994;
/// What the names of these folders begin with.
const NAME: &str = "nockvault-";
/// The file in each that its launcher holds locked.
const LOCK: &str = ".lock";
/// Its name before it is locked.
const UNLOCKED: &str = ".lock.new";

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
        let lock = lock(&path).map_err(at)?;
        if let Some(Account { gid, .. }) = account {
            std::os::unix::fs::chown(&path, None, Some(gid)).map_err(at)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o710)).map_err(at)?;
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
            // What stands there is left from a try that failed, or was put there to be written into.
            match fs::remove_file(&new) {
                Err(why) if why.kind() != ErrorKind::NotFound => return Err(why),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
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

/// Locks a folder of this launcher's, whose name begins as those do: what is left of it when the launcher is gone, the
/// next one takes away.
pub(super) fn lock(folder: &Path) -> io::Result<File> {
    let made = folder.join(UNLOCKED);
    let lock = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&made)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    // Under its name it is locked from the first moment on, so that no other launcher takes this folder for left.
    fs::rename(&made, folder.join(LOCK))?;
    Ok(lock)
}

/// Takes away what launchers of this user left that were killed, where they leave anything: in memory, in the temporary
/// folder, and in the folder that is `named`.
pub fn tidy(named: Option<&Path>) {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let usual = [PathBuf::from("/dev/shm"), std::env::temp_dir()];
    for base in usual.into_iter().chain(runtime).chain(named.map(Path::to_owned)) {
        sweep(&base);
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
    // Neither a link nor a pipe that nobody reads holds this up.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let mut lock = OpenOptions::new();
    lock.write(true).custom_flags(flags.cast_signed());
    for entry in fs::read_dir(base).into_iter().flatten().filter_map(Result::ok) {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(NAME));
        let real = fs::symlink_metadata(entry.path())
            .is_ok_and(|stat| stat.is_dir() && stat.uid() == own && stat.mode() & 0o067 == 0);
        if !ours || !real {
            continue;
        }
        // Without a lock file it is being made this very moment, or is not ours.
        let Ok(lock) = lock.open(entry.path().join(LOCK)) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
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
        let private = |path: &Path| fs::DirBuilder::new().mode(0o700).create(path).unwrap();
        private(&left);
        fs::write(left.join(LOCK), "").unwrap();
        fs::create_dir(base.path().join("nockvault-of-another-kind")).unwrap();
        let pipe = base.path().join("nockvault-pipe");
        private(&pipe);
        rustix::fs::mkfifoat(rustix::fs::CWD, pipe.join(LOCK), 0o600.into()).unwrap();
        let _folder = Folder::make(Some(base.path()), None, &OsEntropy).unwrap();
        assert!(!left.exists() && base.path().join("nockvault-of-another-kind").exists());
    }

    #[test]
    fn a_link_does_not_lead_a_secret_elsewhere() {
        let base = tempfile::tempdir().unwrap();
        let elsewhere = base.path().join("elsewhere");
        fs::write(&elsewhere, "as it was").unwrap();
        let folder = Folder::make(Some(base.path()), None, &OsEntropy).unwrap();
        std::os::unix::fs::symlink(&elsewhere, folder.path().join(".value.new")).unwrap();
        let file = folder.write("value", b"one").unwrap();
        assert_eq!((fs::read(&file).unwrap(), fs::read(&elsewhere).unwrap()), (b"one".to_vec(), b"as it was".to_vec()));
    }
}
