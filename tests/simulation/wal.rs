//! A crash at any write, done to the files. The store keeps its database in SQLite's write-ahead log: what was committed
//! stands there in frames, one after the other. The log as it was after any frame between two moments, with or without
//! the beginning of the next, is what a crash between them leaves on the disk; the next opening has to make do with it.
//!
//! How far the log has come is read from the index that SQLite keeps beside it (`vault.db-shm`, "WAL-Index Format" in
//! SQLite's documentation): the number of the last frame of the last commit, and the salt of the log's present round.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use super::ops::{Dice, Torn};

const HEAD: usize = 32;
const PAGE: usize = 4096;
const FRAME: usize = 24 + PAGE;

/// How far the log has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Another salt for each round: frames of an earlier one are in the database by now.
    round: u32,
    pub frames: u32,
    /// So many of them stand in the database too, and cannot be lost any more.
    settled: u32,
}

impl Position {
    /// Where the log of the database in `data` is now.
    pub fn of(data: &Path) -> Position {
        let mut head = [0_u8; 100];
        let read = File::open(data.join("vault.db-shm")).and_then(|mut file| file.read_exact(&mut head));
        if read.is_err() {
            return Position::default();
        }
        let word = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().unwrap());
        Position { round: word(32), frames: word(16), settled: word(96) }
    }

    pub fn is_before(&self, later: &Position) -> bool {
        self.round == later.round && self.frames < later.frames
    }

    /// Whether what happened here was after the frame `cut` of the round of `now`.
    pub fn is_after(&self, cut: u32, now: &Position) -> bool {
        self.round == now.round && self.frames > cut
    }
}

/// The database's files as they are at one moment.
pub struct Files {
    database: Vec<u8>,
    log: Vec<u8>,
}

impl Files {
    pub fn read(data: &Path) -> Files {
        Files {
            database: fs::read(data.join("vault.db")).unwrap(),
            log: fs::read(data.join("vault.db-wal")).unwrap_or_default(),
        }
    }

    /// Puts them in the place of those that are there. Whatever of the process that is gone still has those open goes on
    /// with files that have no name any more.
    pub fn write(&self, data: &Path) {
        let dead = data.with_extension("dead");
        fs::rename(data, &dead).unwrap();
        super::template::make(data);
        for (name, bytes) in [("vault.db", &self.database), ("vault.db-wal", &self.log)] {
            let mut options = File::options();
            std::os::unix::fs::OpenOptionsExt::mode(options.create_new(true).write(true), 0o600);
            options.open(data.join(name)).unwrap().write_all(bytes).unwrap();
        }
        fs::remove_dir_all(dead).unwrap();
    }

    /// Loses what was written after the frame `cut`, but for what a crash may leave of it.
    pub fn tear(&mut self, cut: u32, now: &Position, torn: Torn, dice: &mut Dice) {
        let end = HEAD + cut as usize * FRAME;
        if self.log.len() < end || now.frames < cut {
            return;
        }
        let mut rest = self.log.split_off(end);
        let written = (now.frames - cut) as usize * FRAME;
        match torn {
            Torn::Clean => {}
            Torn::Short => {
                rest.truncate(written.min(1 + dice.below(FRAME - 1)));
                self.log.extend(rest);
            }
            Torn::Hole if written > 0 => {
                rest.truncate(written);
                rest[..512].fill(0);
                // The first frame with a hole in it is as good as none, whatever stands behind.
                self.log.extend(rest);
            }
            Torn::Hole => {}
            Torn::Garbage => {
                let more = dice.below(2 * FRAME);
                self.log.extend((0..more).map(|_| u8::try_from(dice.below(256)).unwrap_or_default()));
            }
        }
    }
}

/// The frame that is the last to survive: between what was durable before and what is written now.
pub fn cut(before: &Position, now: &Position, after: u8) -> u32 {
    let first = if before.round == now.round { before.frames } else { 0 }.max(now.settled).min(now.frames);
    let span = u64::from(now.frames - first);
    first + u32::try_from((span * u64::from(after)).div_ceil(255)).unwrap_or_default()
}
