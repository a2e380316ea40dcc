//! How far a sink has come in each chain. A cursor is a small file of its own, written whole over the one before in a
//! single piece that the system does not part, so that it is always one that was true; it may be older than the truth,
//! never newer. Nothing is synced: what a power cut takes is found again in the store, and a sink repeats a little or looks
//! at what it has written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::OFlags;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::id::ChainName;

/// How many cursors are kept in memory, some megabytes of them; where there are more, all are written down and forgotten.
const KNOWN: usize = 16_384;
/// How long a cursor's file is: filled up with spaces, each one covers the whole of the last. None needs more, and it is
/// one sector of any disk, which no end of the process and no power cut leaves half written.
const LENGTH: usize = 512;

/// A cursor.
pub(super) trait Mark: Clone + Serialize + DeserializeOwned {
    /// The `seq` that comes next.
    fn seq(&self) -> u64;
}

/// How many entries a sink has carried in all chains together. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Carried(Arc<AtomicU64>);

impl Carried {
    pub(super) fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn moved(&self, from: u64, to: u64) {
        // Wraps where it goes back, and comes out right.
        self.0.fetch_add(to.wrapping_sub(from), Ordering::Relaxed);
    }
}

/// The cursors of one sink.
#[derive(Debug)]
pub(super) struct Cursors<M> {
    folder: PathBuf,
    known: BTreeMap<ChainName, M>,
    unsaved: BTreeSet<ChainName>,
    carried: Carried,
}

impl<M: Mark> Cursors<M> {
    /// The cursors in `folder`, which is made when the first is written.
    pub(super) fn new(folder: PathBuf) -> Cursors<M> {
        Cursors { folder, known: BTreeMap::new(), unsaved: BTreeSet::new(), carried: Carried::default() }
    }

    pub(super) fn carried(&self) -> &Carried {
        &self.carried
    }

    /// Counts what was carried before this process began.
    pub(super) fn count(&self, chains: &BTreeSet<ChainName>) {
        let carried: u64 = chains.iter().filter_map(|chain| self.read(chain)).map(|mark| mark.seq()).sum();
        self.carried.moved(0, carried);
    }

    fn read(&self, chain: &ChainName) -> Option<M> {
        let path = self.folder.join(chain.as_str());
        let bytes = match fs::read(&path) {
            // It was made, and then nothing was written to it any more.
            Ok(bytes) if bytes.is_empty() => return None,
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a cursor cannot be read and is made anew");
                return None;
            }
        };
        let mark = serde_json::from_slice(&bytes);
        mark.inspect_err(|error| tracing::warn!(path = %path.display(), %error, "no cursor; it is made anew")).ok()
    }

    /// Whether there is a folder that cursors are kept in: where it went, they went with it.
    pub(super) fn kept(&self) -> bool {
        self.folder.is_dir()
    }

    /// The cursor of a chain as it is known in this process, without a look at the disk.
    pub(super) fn known(&self, chain: &ChainName) -> Option<&M> {
        self.known.get(chain)
    }

    /// The cursor of a chain.
    pub(super) fn load(&mut self, chain: &ChainName) -> Option<M> {
        if let Some(mark) = self.known.get(chain) {
            return Some(mark.clone());
        }
        let mark = self.read(chain)?;
        self.known.insert(chain.clone(), mark.clone());
        Some(mark)
    }

    /// Moves the cursor of a chain that was loaded before.
    pub(super) fn put(&mut self, chain: &ChainName, mark: M) {
        let to = mark.seq();
        let from = self.known.insert(chain.clone(), mark).map_or(0, |old| old.seq());
        self.carried.moved(from, to);
        if !self.unsaved.contains(chain) {
            self.unsaved.insert(chain.clone());
        }
    }

    /// Writes down what has moved. What cannot be written down is tried again the next time.
    pub(super) fn save(&mut self) -> io::Result<()> {
        if !self.unsaved.is_empty() {
            folder(&self.folder, 0o700)?;
        }
        while let Some(chain) = self.unsaved.first() {
            if let Some(mark) = self.known.get(chain) {
                let text = serde_json::to_vec(mark).map_err(io::Error::other)?;
                write(&self.folder.join(chain.as_str()), text)?;
            }
            self.unsaved.pop_first();
        }
        if self.known.len() > KNOWN {
            self.known.clear();
        }
        Ok(())
    }
}

/// Writes a cursor over the one before, without a new file for each: with thousands of chains on their way these would cost
/// more than what is carried. A link, or a file that has another name too, is not written to but replaced.
fn write(path: &Path, mut text: Vec<u8>) -> io::Result<()> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let before = fs::OpenOptions::new()
        .write(true)
        .custom_flags(flags)
        .open(path)
        .ok()
        .filter(|file| file.metadata().is_ok_and(|meta| meta.is_file() && meta.nlink() == 1));
    let mut file = before.map_or_else(|| anew(path), Ok)?;
    text.resize(text.len().next_multiple_of(LENGTH), b' ');
    file.write_all(&text)
}

/// A new file to write. What has the name is removed and never written to: it may be a link that somebody laid.
pub(super) fn anew(path: &Path) -> io::Result<fs::File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs::File::create_new(path),
    }
}

/// Makes a folder where there is none, with exactly this mode.
pub(super) fn folder(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(mode).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Seq(u64);

    impl Mark for Seq {
        fn seq(&self) -> u64 {
            self.0
        }
    }

    fn chain(name: &str) -> ChainName {
        name.parse().unwrap()
    }

    #[test]
    fn what_was_saved_is_found_again_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("state/mirror");
        let mut cursors = Cursors::new(place.clone());
        for (name, seq) in [("kit", 7), ("_vault", 3), ("kit", 9)] {
            cursors.load(&chain(name));
            cursors.put(&chain(name), Seq(seq));
        }
        assert_eq!(cursors.carried().total(), 12);
        cursors.put(&chain("kit"), Seq(4));
        assert_eq!(cursors.carried().total(), 7, "a step back is counted too");
        cursors.save().unwrap();

        fs::write(place.join("lea"), "{").unwrap();
        fs::write(place.join("max"), "").unwrap();
        let mut again: Cursors<Seq> = Cursors::new(place);
        again.count(&["kit", "_vault", "lea", "max", "zoe"].map(chain).into());
        assert_eq!(again.carried().total(), 7);
        assert_eq!(again.load(&chain("kit")), Some(Seq(4)));
        assert_eq!(["lea", "max", "zoe"].map(|name| again.load(&chain(name))), [None, None, None]);
        again.put(&chain("kit"), Seq(5));
        assert_eq!(again.carried().total(), 8);
    }

    #[test]
    fn a_cursor_covers_the_whole_of_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kit");
        let mut cursors = Cursors::new(folder.path().to_owned());
        let mut inodes = BTreeSet::new();
        for seq in [u64::MAX, 7, 12] {
            cursors.put(&chain("kit"), Seq(seq));
            cursors.save().unwrap();
            assert_eq!(cursors.read(&chain("kit")), Some(Seq(seq)));
            let meta = fs::metadata(&file).unwrap();
            assert_eq!(meta.len(), LENGTH as u64);
            inodes.insert(meta.ino());
        }
        assert_eq!(inodes.len(), 1, "a file was made for each");
    }

    #[test]
    fn nothing_but_a_cursor_is_written_over() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let (other, place) = (folder.path().join("other"), folder.path().join("kit"));
        let lay: [fn(&Path, &Path) -> io::Result<()>; 2] = [|a, b| symlink(a, b), |a, b| fs::hard_link(a, b)];
        for lay in lay {
            fs::write(&other, "mine").unwrap();
            lay(&other, &place).unwrap();
            let mut cursors = Cursors::new(folder.path().to_owned());
            cursors.put(&chain("kit"), Seq(7));
            cursors.save().unwrap();
            assert_eq!(fs::read(&other).unwrap(), b"mine");
            assert_eq!(cursors.read(&chain("kit")), Some(Seq(7)));
            fs::remove_file(&place).unwrap();
        }
    }

    #[test]
    fn what_is_not_used_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let mut cursors = Cursors::new(folder.path().to_owned());
        for agent in 0..=KNOWN {
            cursors.put(&chain(&format!("a{agent}")), Seq(1));
        }
        cursors.save().unwrap();
        assert!(cursors.known(&chain("a0")).is_none());
        assert_eq!(cursors.load(&chain("a0")), Some(Seq(1)));
        assert_eq!(cursors.carried().total(), KNOWN as u64 + 1);
    }
}
