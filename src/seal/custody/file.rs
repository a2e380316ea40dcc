//! A custodian that is a file: 32 bytes, mode 0600, outside the data directory, so that no copy or backup of the one holds
//! the other. What does not look like that is refused with what was wrong and the command that mends it.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use zeroize::Zeroize;

use super::CustodySecret;
use crate::entropy::Entropy;
use crate::secret::Secret;

const LENGTH: usize = 32;
/// By this file a data directory is known, where nobody says which one it is.
const DATABASE: &str = "vault.db";

/// Why a key file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum CustodyFault {
    /// There is none.
    #[error("there is no key file {0}; make a vault with `vaultctl init`, or name the right file")]
    Missing(PathBuf),
    /// There is one already.
    #[error(
        "{0} exists already and is not overwritten: it may open another vault; `mv {0} {0}.old`, or name another file"
    )]
    Exists(PathBuf),
    /// A symbolic link.
    #[error("{0} is a symbolic link; name the file itself: `readlink -f {0}`")]
    Link(PathBuf),
    /// A folder, a device, a pipe.
    #[error("{0} is no regular file; name the key file itself: `ls -ld {0}`")]
    NotAFile(PathBuf),
    /// Others can read it.
    #[error(
        "{path} can be used by others (mode {mode:04o}); `chmod 600 {path}`, and replace the key if others were on this machine"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is somebody else's.
    #[error("{path} belongs to uid {owner}, and the vault runs as uid {uid}; `chown {uid} {path}`")]
    Owner {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who reads it.
        uid: u32,
    },
    /// It lies with what it protects.
    #[error(
        "{path} lies inside the data directory {data_dir}, where every backup would take it along; `mv {path}` elsewhere"
    )]
    Inside {
        /// The file.
        path: PathBuf,
        /// The data directory.
        data_dir: PathBuf,
    },
    /// It would lie with what some vault protects.
    #[error(
        "{path} would lie inside the data directory {data_dir}, where every copy of the data would take it along; name a file \
         elsewhere"
    )]
    Within {
        /// The file.
        path: PathBuf,
        /// The data directory.
        data_dir: PathBuf,
    },
    /// It does not hold 32 bytes.
    #[error(
        "{path} is no key file: it holds {} bytes and not 32; `ls -l {path}`, and restore it from its backup",
        held(*length)
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// How many bytes, 33 for more than 32.
        length: usize,
    },
    /// The system refused.
    #[error("{path}: {cause}; `ls -ld {path}`")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
}

/// How many bytes a file holds. Of a long one no more is read than shows that it is no key file.
fn held(length: usize) -> String {
    if length > LENGTH { format!("more than {LENGTH}") } else { length.to_string() }
}

/// Whether a key file can be made there, as far as that can be told without making it: its folder is there, it is not, and
/// no vault has its data around it.
///
/// # Errors
/// [`CustodyFault`].
pub fn vacant(path: &Path, data_dir: &Path) -> Result<(), CustodyFault> {
    let around = parent(path);
    let io = |cause| CustodyFault::Io { path: around.to_owned(), cause };
    let folder = around.canonicalize().map_err(io)?;
    apart(path, data_dir)?;
    // A new custodian's file is made by who does not know where the daemon has its data.
    let data = folder.ancestors().find(|folder| folder.join(DATABASE).symlink_metadata().is_ok());
    if let Some(data) = data {
        return Err(CustodyFault::Within { path: path.to_owned(), data_dir: data.to_owned() });
    }
    if path.symlink_metadata().is_ok() {
        return Err(CustodyFault::Exists(path.to_owned()));
    }
    Ok(())
}

/// Draws a new secret and makes its file, which must not exist.
///
/// # Errors
/// [`CustodyFault`].
pub fn create(path: &Path, data_dir: &Path, entropy: &dyn Entropy) -> Result<CustodySecret, CustodyFault> {
    vacant(path, data_dir)?;
    let io = |cause: std::io::Error| match cause.kind() {
        ErrorKind::AlreadyExists => CustodyFault::Exists(path.to_owned()),
        _ => CustodyFault::Io { path: path.to_owned(), cause },
    };
    // What is there already is not opened, and a link is not followed, wherever it leads: O_CREAT | O_EXCL.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
    let secret = CustodySecret::generate(entropy);
    // A crash before the last of these leaves a file that is too short and is refused as such; nothing was founded yet.
    file.write_all(secret.expose()).and_then(|()| file.sync_all()).map_err(io)?;
    File::open(parent(path)).and_then(|folder| folder.sync_all()).map_err(io)?;
    Ok(secret)
}

/// Reads the secret in a file, of a vault whose data lie in `data_dir`.
///
/// # Errors
/// [`CustodyFault`].
pub fn read(path: &Path, data_dir: &Path) -> Result<CustodySecret, CustodyFault> {
    let io = |cause: std::io::Error| CustodyFault::Io { path: path.to_owned(), cause };
    // NONBLOCK, since a pipe would wait here for a writer.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| match errno {
        rustix::io::Errno::NOENT => CustodyFault::Missing(path.to_owned()),
        rustix::io::Errno::LOOP => CustodyFault::Link(path.to_owned()),
        errno => io(errno.into()),
    })?;
    let stat = rustix::fs::fstat(&file).map_err(|errno| io(errno.into()))?;
    let (mode, uid) = (stat.st_mode & 0o7777, rustix::process::geteuid().as_raw());
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(CustodyFault::NotAFile(path.to_owned()));
    }
    if stat.st_uid != uid {
        return Err(CustodyFault::Owner { path: path.to_owned(), owner: stat.st_uid, uid });
    }
    if mode & 0o077 != 0 {
        return Err(CustodyFault::Open { path: path.to_owned(), mode });
    }
    apart(path, data_dir)?;
    let mut bytes = [0u8; LENGTH + 1];
    let length = fill(&mut File::from(file), &mut bytes).map_err(io)?;
    let secret =
        (length == LENGTH).then(|| Secret::init(|key: &mut [u8; LENGTH]| key.copy_from_slice(&bytes[..LENGTH])));
    bytes.zeroize();
    let secret = secret.ok_or_else(|| CustodyFault::Length { path: path.to_owned(), length })?;
    Ok(CustodySecret::new(secret))
}

fn fill(file: &mut File, bytes: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    while length < bytes.len() {
        match file.read(&mut bytes[length..])? {
            0 => break,
            more => length += more,
        }
    }
    Ok(length)
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The key does not lie where its data lie, whatever links lead there.
fn apart(path: &Path, data_dir: &Path) -> Result<(), CustodyFault> {
    let io = |cause| CustodyFault::Io { path: path.to_owned(), cause };
    let folder = parent(path).canonicalize().map_err(io)?;
    match data_dir.canonicalize() {
        Ok(data) if folder.starts_with(&data) => {
            Err(CustodyFault::Inside { path: path.to_owned(), data_dir: data_dir.to_owned() })
        }
        Ok(_) => Ok(()),
        // A data directory that is still to be made holds nothing yet.
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(io(cause)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::entropy::SeededEntropy;

    /// A folder with an empty data directory and this key file in it, which only its owner may use.
    fn folder(bytes: &[u8]) -> (tempfile::TempDir, PathBuf, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (key, data) = (folder.path().join("root.key"), folder.path().join("data"));
        fs::create_dir(&data).unwrap();
        fs::write(&key, bytes).unwrap();
        fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
        (folder, key, data)
    }

    #[test]
    fn a_key_file_is_made_once_and_for_its_owner_alone() {
        let (folder, taken, data) = folder(b"taken");
        let key = folder.path().join("new.key");
        let made = create(&key, &data, &SeededEntropy::new(1)).unwrap();
        assert_eq!(fs::read(&key).unwrap(), made.expose());
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(read(&key, &data).unwrap().expose(), made.expose());
        let again = create(&taken, &data, &SeededEntropy::new(2)).unwrap_err();
        assert!(matches!(again, CustodyFault::Exists(_)), "{again}");
        for to in ["elsewhere", "root.key"] {
            let link = folder.path().join(format!("to-{to}"));
            symlink(folder.path().join(to), &link).unwrap();
            let followed = create(&link, &data, &SeededEntropy::new(3)).unwrap_err();
            assert!(matches!(followed, CustodyFault::Exists(_)), "{followed}");
        }
        assert!(!folder.path().join("elsewhere").exists());
        assert_eq!(fs::read(&taken).unwrap(), b"taken");
    }

    #[test]
    fn a_file_that_is_no_key_file_is_told_by_what_is_wrong() {
        let (folder, key, data) = folder(&[7; 32]);
        let said = |path: &Path| read(path, &data).unwrap_err();
        let at = |name: &str| folder.path().join(name);
        assert!(matches!(said(&at("gone")), CustodyFault::Missing(_)));
        symlink(&key, at("link")).unwrap();
        assert!(matches!(said(&at("link")), CustodyFault::Link(_)));
        assert!(matches!(said(&data), CustodyFault::NotAFile(_)));
        let pipe = rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0);
        pipe.unwrap();
        assert!(matches!(said(&at("pipe")), CustodyFault::NotAFile(_)), "it waited for a writer");
        for mode in [0o640, 0o604, 0o610, 0o602] {
            fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
            assert!(matches!(said(&key), CustodyFault::Open { mode: found, .. } if found == mode), "{mode:o}");
        }
        fs::set_permissions(&key, Permissions::from_mode(0o400)).unwrap();
        assert_eq!(read(&key, &data).unwrap().expose(), &[7; 32]);
        for (bytes, wanted) in [(0, 0), (31, 31), (33, 33), (100, 33)] {
            let (_folder, key, data) = self::folder(&vec![7; bytes]);
            let found = read(&key, &data).unwrap_err();
            assert!(matches!(found, CustodyFault::Length { length, .. } if length == wanted), "{bytes}: {found}");
            assert_eq!(found.to_string().contains("more than 32 bytes"), bytes > 32, "{bytes}: {found}");
        }
    }

    #[test]
    fn a_key_does_not_lie_with_what_it_protects() {
        let (folder, key, data) = folder(&[7; 32]);
        let inside = |path: &Path, data: &Path| matches!(apart(path, data), Err(CustodyFault::Inside { .. }));
        symlink(&data, folder.path().join("other")).unwrap();
        fs::create_dir(data.join("deep")).unwrap();
        for path in ["data/key", "data/deep/key", "other/key", "other/deep/../key"] {
            assert!(inside(&folder.path().join(path), &data), "{path}");
        }
        assert!(apart(&key, &data).is_ok() && apart(&key, &folder.path().join("not/made/yet")).is_ok());
        // Who does not know where the data lie is kept out of them too.
        fs::write(data.join(DATABASE), b"").unwrap();
        let unknown = |path: &str| vacant(&folder.path().join(path), Path::new(""));
        for path in ["data/new", "data/deep/new", "other/new"] {
            assert!(matches!(unknown(path), Err(CustodyFault::Within { .. })), "{path}");
        }
        assert!(unknown("new").is_ok() && matches!(unknown("root.key"), Err(CustodyFault::Exists(_))));
        assert!(matches!(unknown("nowhere/new"), Err(CustodyFault::Io { path, .. }) if path.ends_with("nowhere")));
        // What is no folder holds nothing either, and cannot be made one.
        assert!(matches!(apart(&key, &key.join("data")), Err(CustodyFault::Io { .. })));
        assert_eq!((parent(Path::new("key")), parent(Path::new("a/key"))), (Path::new("."), Path::new("a")));
    }
}
