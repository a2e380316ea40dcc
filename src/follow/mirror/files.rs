//! The file layer of the mirror: a live file, the files that a rotation has put beside it, and what their lines say. A
//! file is open for as long as one step takes, so that any number of chains costs one descriptor.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::crypto::hash::{Digest, leaf};
use crate::follow::facts::Facts;

/// How much is read at once.
pub(super) const CHUNK: usize = 256 << 10;
/// The files beside a live one that are looked into, newest first.
const LOOKED_INTO: usize = 8;
/// What goes on behind the name of a live file in that of a rotated one.
const SUFFIXES: [&str; 2] = [".jsonl.", ".jsonl-"];

/// A file that is open, and what it was like when it was opened.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) inode: u64,
    pub(super) size: u64,
}

impl Open {
    fn new(file: File, path: &Path) -> io::Result<Open> {
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        Ok(Open { file, path: path.to_owned(), inode: meta.ino(), size: meta.len() })
    }

    /// A file to read and to append to; it follows no symbolic link and waits for no pipe.
    pub(super) fn existing(path: &Path) -> io::Result<Open> {
        Open::new(options().open(path)?, path)
    }

    /// The same; where there is none, an empty one with this mode.
    pub(super) fn or_made(path: &Path, mode: u32) -> io::Result<Open> {
        match Open::existing(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        let file = options().create_new(true).mode(mode).open(path)?;
        // The daemon's umask lets nobody else read; this file is for others.
        file.set_permissions(Permissions::from_mode(mode))?;
        Open::new(file, path)
    }

    /// How long it is now.
    pub(super) fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Whether it is still found under its name.
    pub(super) fn is_named(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|meta| meta.ino() == self.inode)
    }

    /// The `seq` of its first line. [`First::Torn`] where there is no whole line, and none where there is nothing.
    pub(super) fn first(&self) -> io::Result<Option<First>> {
        let mut start = vec![0; CHUNK];
        let read = self.read(&mut start, 0)?;
        start.truncate(read);
        Ok(match start.iter().position(|byte| *byte == b'\n') {
            Some(end) => Some(Facts::of(&start[..end]).map_or(First::NoEntry, |facts| First::Seq(facts.seq))),
            None if read == 0 => None,
            None => Some(First::Torn(start)),
        })
    }

    /// The leaf of the whole line that ends right before `at`.
    pub(super) fn leaf_before(&self, at: u64) -> io::Result<Option<Digest>> {
        let from = at.saturating_sub(CHUNK as u64);
        let mut before = vec![0; usize::try_from(at - from).unwrap_or(CHUNK)];
        match self.file.read_exact_at(&mut before, from) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        Ok(last_line(&before, from == 0).filter(|(_, rest)| rest.is_empty()).map(|(line, _)| leaf(line)))
    }

    /// Its last whole line and what comes after it.
    pub(super) fn last(&self) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
        let size = self.length()?;
        let from = size.saturating_sub(CHUNK as u64);
        let mut end = vec![0; usize::try_from(size - from).unwrap_or(CHUNK)];
        let read = self.read(&mut end, from)?;
        end.truncate(read);
        Ok(last_line(&end, from == 0).map(|(line, rest)| (line.to_vec(), rest.to_vec())))
    }

    /// Fills as much of `buffer` as there is from `at` on.
    pub(super) fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// How a file begins.
#[derive(Debug)]
pub(super) enum First {
    /// With the whole line of this entry.
    Seq(u64),
    /// With a part of a line, and that is all.
    Torn(Vec<u8>),
    /// With something else.
    NoEntry,
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.read(true).append(true).custom_flags(flags.bits().cast_signed());
    options
}

/// The last whole line of a piece and what comes after it. Where the piece does not begin with a line, its first line
/// counts as cut.
fn last_line(piece: &[u8], begins: bool) -> Option<(&[u8], &[u8])> {
    let end = piece.iter().rposition(|byte| *byte == b'\n')?;
    let start = match piece[..end].iter().rposition(|byte| *byte == b'\n') {
        Some(before) => before + 1,
        None if begins => 0,
        None => return None,
    };
    Some((&piece[start..end], &piece[end + 1..]))
}

/// What rotations had left in a folder when it was listed. A chain without a cursor was not written to since, so that it has
/// nothing beside its file that is not among this; and a folder of ten thousand chains is listed once, and not for each.
#[derive(Debug)]
pub(super) struct Rotated(BTreeSet<String>);

impl Rotated {
    pub(super) fn list(folder: &Path) -> io::Result<Rotated> {
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(folder)? {
            if let Ok(name) = entry?.file_name().into_string()
                && SUFFIXES.iter().any(|suffix| name.contains(suffix))
            {
                names.insert(name);
            }
        }
        Ok(Rotated(names))
    }

    /// Whether one of them is of this live file.
    pub(super) fn has(&self, live: &Path) -> bool {
        let Some(name) = live.file_name().and_then(|name| name.to_str()) else { return false };
        let behind = self.0.range::<str, _>((Bound::Excluded(name), Bound::Unbounded));
        behind.map_while(|other| other.strip_prefix(name)).any(|rest| rest.starts_with(['.', '-']))
    }
}

/// The files that a rotation has left beside a live one: those whose names begin with its name and go on with `.` or
/// `-`. Newest first.
pub(super) fn beside(live: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(folder), Some(name)) = (live.parent(), live.file_name().and_then(|name| name.to_str())) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let rotated = entry.file_name().to_str().and_then(|other| other.strip_prefix(name)).map(str::to_owned);
        if rotated.is_some_and(|rest| rest.starts_with(['.', '-'])) {
            // What is gone again was not meant.
            if let Ok(meta) = entry.metadata()
                && meta.is_file()
            {
                found.push((meta.mtime(), meta.mtime_nsec(), entry.path()));
            }
        }
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found.into_iter().take(LOOKED_INTO).map(|(_, _, path)| path).collect())
}

/// The one of these files with this inode.
pub(super) fn with_inode(paths: &[PathBuf], inode: u64) -> io::Result<Option<Open>> {
    for path in paths {
        if fs::symlink_metadata(path).is_ok_and(|meta| meta.ino() == inode) {
            return Open::existing(path).map(Some);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_a_whole_one() {
        for (piece, begins, expected) in [
            ("", true, None),
            ("a", true, None),
            ("a\n", true, Some(("a", ""))),
            ("a\n", false, None),
            ("a\nb\nc", true, Some(("b", "c"))),
            ("a\nb\n", false, Some(("b", ""))),
        ] {
            let found = last_line(piece.as_bytes(), begins);
            assert_eq!(
                found,
                expected.map(|(line, rest): (&str, &str)| (line.as_bytes(), rest.as_bytes())),
                "{piece:?}"
            );
        }
    }

    #[test]
    fn no_link_is_followed_and_no_pipe_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "x").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
        for path in [&link, &pipe, &folder.path().to_owned()] {
            assert!(Open::or_made(path, 0o640).is_err(), "{}", path.display());
        }
        let made = Open::or_made(&folder.path().join("new"), 0o640).unwrap();
        assert_eq!(made.file.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn what_lies_beside_is_told_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["kit.audit.jsonl", "kit.audit.jsonl.1", "kit.audit.jsonl-20260101", "kit.audit.jsonlx", "kit"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let mut names: Vec<_> = beside(&folder.path().join("kit.audit.jsonl")).unwrap();
        names.sort_unstable();
        let expected = ["kit.audit.jsonl-20260101", "kit.audit.jsonl.1"].map(|name| folder.path().join(name));
        assert_eq!(names, expected);
        let rotated = Rotated::list(folder.path()).unwrap();
        for (name, has) in
            [("kit.audit.jsonl", true), ("it.audit.jsonl", false), ("ki", false), ("zoe.audit.jsonl", false)]
        {
            assert_eq!(rotated.has(&folder.path().join(name)), has, "{name}");
        }
    }
}
