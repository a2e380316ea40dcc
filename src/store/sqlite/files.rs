//! The store's files: `vault.db` with what SQLite puts beside it, `lock`, by which one daemon holds the directory, and
//! `reserve`, space that is given up when the disk is full so that what was issued can still be ended.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, FlockOperation, Mode, OFlags};

use super::OpenFault;

/// Enough for some thousand entries that end what was issued.
pub(super) const RESERVE: u64 = 4 << 20;

/// The directory of one store, locked for as long as this lives.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    _lock: File,
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> OpenFault {
    let path = path.to_owned();
    move |cause| OpenFault::Io { path, cause }
}

impl Files {
    /// Takes the directory, which must be closed to others, and its lock.
    ///
    /// # Errors
    /// [`OpenFault::Missing`], [`OpenFault::Open`], [`OpenFault::Locked`], [`OpenFault::Io`].
    pub(super) fn take(folder: &Path) -> Result<Files, OpenFault> {
        let folder = closed(folder)?;
        let lock = create(&folder.join("lock"), OFlags::empty()).map_err(io(&folder.join("lock")))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|errno| match errno {
            rustix::io::Errno::WOULDBLOCK => OpenFault::Locked(folder.clone()),
            errno => io(&folder)(errno.into()),
        })?;
        Ok(Files { folder, _lock: lock })
    }

    /// Makes the directory where there is none, takes it, and makes an empty database file.
    ///
    /// # Errors
    /// [`OpenFault::Exists`] and those of [`Files::take`].
    pub(super) fn begin(folder: &Path) -> Result<Files, OpenFault> {
        match std::fs::DirBuilder::new().mode(0o700).create(folder) {
            Err(cause) if cause.kind() != ErrorKind::AlreadyExists => return Err(io(folder)(cause)),
            _ => {}
        }
        let files = Files::take(folder)?;
        create(&files.database(), OFlags::EXCL).map_err(|cause| match cause.kind() {
            ErrorKind::AlreadyExists => OpenFault::Exists(files.database()),
            _ => io(&files.database())(cause),
        })?;
        Ok(files)
    }

    /// Makes the directory, which must not be there, and takes it.
    ///
    /// # Errors
    /// [`OpenFault::Exists`] and those of [`Files::take`].
    pub(super) fn anew(folder: &Path) -> Result<Files, OpenFault> {
        std::fs::DirBuilder::new().mode(0o700).create(folder).map_err(|cause| match cause.kind() {
            ErrorKind::AlreadyExists => OpenFault::Exists(folder.to_owned()),
            _ => io(folder)(cause),
        })?;
        Files::take(folder)
    }

    /// Where a database is made that is to become the database.
    pub(super) fn unnamed(&self) -> PathBuf {
        self.folder.join("vault.db.part")
    }

    /// Gives it its name, durably, with the reserve beside it.
    ///
    /// # Errors
    /// [`OpenFault::Io`].
    pub(super) fn name(&self, part: &Path) -> Result<(), OpenFault> {
        self.keep_reserve().map_err(io(&self.folder))?;
        File::open(part).and_then(|file| file.sync_all()).map_err(io(part))?;
        std::fs::rename(part, self.database()).map_err(io(&self.database()))?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(io(&self.folder))
    }

    /// The database file.
    pub(super) fn database(&self) -> PathBuf {
        self.folder.join("vault.db")
    }

    /// The database file, where it is one and closed to others.
    ///
    /// # Errors
    /// [`OpenFault::Missing`], [`OpenFault::Open`].
    pub(super) fn existing_database(&self) -> Result<PathBuf, OpenFault> {
        database_in(&self.folder)
    }

    /// Takes back what a founding left that did not come to its end.
    pub(super) fn undo(&self) {
        for end in ["", "-wal", "-shm"] {
            // What is not there needs no removal, and what cannot be removed is refused by the next founding.
            let _ = std::fs::remove_file(self.folder.join(format!("vault.db{end}")));
        }
    }

    /// Makes the reserve where it is missing.
    ///
    /// # Errors
    /// The system's, with no part of a reserve left behind.
    pub(super) fn keep_reserve(&self) -> std::io::Result<()> {
        let path = self.folder.join("reserve");
        if path.metadata().is_ok_and(|file| file.len() == RESERVE) {
            return Ok(());
        }
        let made = create(&path, OFlags::empty()).and_then(|file| {
            rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, RESERVE)?;
            file.sync_all()
        });
        if made.is_err() {
            self.spend_reserve();
        }
        made
    }

    /// Whether there is room for the reserve and as much again, and the reserve was made. Without the second half a disk
    /// would be called empty as soon as the reserve was given up.
    pub(super) fn room_for_reserve(&self) -> bool {
        let room = rustix::fs::statvfs(&self.folder).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        room.is_ok_and(|room| room >= 2 * RESERVE) && self.keep_reserve().is_ok()
    }

    /// Gives the reserve's space up.
    pub(super) fn spend_reserve(&self) {
        if let Err(cause) = std::fs::remove_file(self.folder.join("reserve"))
            && cause.kind() != ErrorKind::NotFound
        {
            tracing::error!(%cause, "the reserve could not be given up");
        }
    }
}

/// The database file in a directory that nobody need hold, both closed to others.
///
/// # Errors
/// As those of [`Files::take`] and [`Files::existing_database`].
pub(super) fn look(folder: &Path) -> Result<PathBuf, OpenFault> {
    let folder = closed(folder)?;
    database_in(&folder)
}

/// The directory, where it is closed to others.
fn closed(folder: &Path) -> Result<PathBuf, OpenFault> {
    let folder = folder.canonicalize().map_err(missing(folder))?;
    let mode = folder.metadata().map_err(io(&folder))?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 { Err(OpenFault::Open { path: folder, mode }) } else { Ok(folder) }
}

fn database_in(folder: &Path) -> Result<PathBuf, OpenFault> {
    let path = folder.join("vault.db");
    match std::fs::symlink_metadata(&path) {
        Ok(file) if !file.is_file() => Err(OpenFault::NotOurs),
        Ok(file) if file.mode() & 0o077 != 0 => Err(OpenFault::Open { path, mode: file.mode() & 0o7777 }),
        Ok(_) => Ok(path),
        Err(cause) => Err(missing(&path)(cause)),
    }
}

/// What is not there is missing; what a disk does not let anybody look at may well be there.
fn missing(path: &Path) -> impl Fn(std::io::Error) -> OpenFault {
    move |cause| match cause.kind() {
        ErrorKind::NotFound => OpenFault::Missing(path.to_owned()),
        _ => io(path)(cause),
    }
}

fn create(path: &Path, more: OFlags) -> std::io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | more;
    Ok(File::from(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?))
}
