//! Where a chain's file stands. The same code runs after a crash, after a rotation, and whenever a file is not as it was
//! left: it goes by what the files hold, compared byte by byte with the store, and takes a cursor for a place to begin
//! looking.
//!
//! | what is found | what happened | where it goes on |
//! |---|---|---|
//! | the line before the cursor is in its place | nothing, or a crash | after the last whole line that follows |
//! | another file under the name | renamed by a rotation | after the last line of the renamed one |
//! | a file that is shorter than the cursor | copied and emptied by a rotation | after the last line of the copy |
//! | no cursor | it was lost, or there never was one | after the last line that is there |
//!
//! A line that was cut off by a crash is completed. One that nothing can complete is cut off, in the live file alone.
//! Lines that the store does not have there end it with [`Stop::Diverged`], and nothing is changed.

use std::collections::VecDeque;
use std::io;

use serde::{Deserialize, Serialize};

use super::files::{CHUNK, First, Open, beside, with_inode};
use crate::crypto::hash::{Digest, leaf};
use crate::follow::cursor;
use crate::id::ChainName;
use crate::store::{Failure, Lines};

/// How many lines are asked of the store at once, and how many bytes.
pub(super) const PART: (u64, usize) = (1024, 512 << 10);

/// The cursor of a chain: its file is `file`, `at` bytes of which are whole lines, from the entry `base` to the one
/// before `seq`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) seq: u64,
    pub(super) leaf: Digest,
    pub(super) file: u64,
    pub(super) at: u64,
    pub(super) base: u64,
    /// Which file it is: 0 the live one, otherwise the number of the one that is written aside.
    pub(super) aside: u32,
    /// The run of the machine in which it was written. In another one, a file may have lost its end to a power cut.
    pub(super) boot: String,
    /// How many bytes of the line `seq` are in the file already.
    #[serde(skip)]
    pub(super) torn: u64,
    /// Whether it says exactly what was written, as in the process that wrote.
    #[serde(skip)]
    pub(super) exact: bool,
}

impl cursor::Mark for Mark {
    fn seq(&self) -> u64 {
        self.seq
    }
}

/// Why there is no going on.
#[derive(Debug)]
pub(super) enum Stop {
    /// The disk.
    Io(io::Error),
    /// The store.
    Store(Failure),
    /// The file holds what the store does not.
    Diverged(String),
    /// The store's chain does not hang together.
    Broken(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Io(error)
    }
}

/// Gives the lines of chains, from a thread that may wait for them.
pub(super) trait Source: Send {
    /// As [`crate::store::Store::lines`] has it.
    fn lines(&self, chain: &ChainName, from: u64, limit: u64, bytes: usize) -> Result<Option<Lines>, Failure>;
    /// As [`crate::store::Store::lines_of`] has it.
    fn lines_of(&self, chains: Vec<(ChainName, u64)>, limit: u64, bytes: usize) -> Result<Vec<Option<Lines>>, Failure>;
}

/// One chain as the store has it.
#[derive(Clone, Copy)]
pub(super) struct Truth<'a> {
    pub(super) source: &'a dyn Source,
    pub(super) chain: &'a ChainName,
}

impl Truth<'_> {
    /// The next lines from `from` on.
    pub(super) fn from(&self, from: u64) -> Result<Lines, Stop> {
        self.ask(from, PART.0)
    }

    fn ask(&self, from: u64, limit: u64) -> Result<Lines, Stop> {
        let lines = self.source.lines(self.chain, from, limit, PART.1).map_err(Stop::Store)?;
        lines.ok_or_else(|| Stop::Broken("the store does not know the chain any more".to_owned()))
    }

    fn line(&self, seq: u64) -> Result<Option<Vec<u8>>, Stop> {
        Ok(self.ask(seq, 1)?.lines.pop())
    }

    /// The leaf that the entry `seq` names as the one before it.
    pub(super) fn leaf_before(&self, seq: u64) -> Result<Digest, Stop> {
        let Some(before) = seq.checked_sub(1) else { return Ok(Digest::ZERO) };
        let line = self.line(before)?;
        line.map(|line| leaf(&line)).ok_or_else(|| Stop::Diverged(format!("the store has no entry {before}")))
    }
}

/// How far a file goes.
struct Reached {
    at: u64,
    seq: u64,
    leaf: Digest,
    /// What comes after its last whole line.
    rest: Vec<u8>,
}

/// Holds the lines of a file from `at` on against those of the store from `seq` on.
fn go_through(truth: Truth<'_>, file: &Open, at: u64, seq: u64, before: Digest) -> Result<Reached, Stop> {
    let mut reached = Reached { at, seq, leaf: before, rest: Vec::new() };
    let mut expected: VecDeque<Vec<u8>> = VecDeque::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = file.read(&mut chunk, reached.at + reached.rest.len() as u64)?;
        if read == 0 {
            return Ok(reached);
        }
        let mut piece = std::mem::take(&mut reached.rest);
        piece.extend_from_slice(&chunk[..read]);
        let mut from = 0;
        while let Some(length) = piece[from..].iter().position(|byte| *byte == b'\n') {
            if expected.is_empty() {
                expected = truth.from(reached.seq)?.lines.into();
            }
            let line = &piece[from..from + length];
            if expected.pop_front().as_deref() != Some(line) {
                return Err(Stop::Diverged(format!("its entry {} is not the store's", reached.seq)));
            }
            reached = Reached {
                at: reached.at + length as u64 + 1,
                seq: reached.seq + 1,
                leaf: leaf(line),
                rest: Vec::new(),
            };
            from += length + 1;
        }
        reached.rest = piece.split_off(from);
        if reached.rest.len() > CHUNK {
            return Err(Stop::Diverged(format!("what follows its entry {} is no line", reached.seq)));
        }
    }
}

/// One file that is to be settled.
pub(super) struct Settling<'a> {
    pub(super) truth: Truth<'a>,
    pub(super) live: &'a Open,
    /// Whether a rotation may have left something beside it that no cursor knows of.
    pub(super) rotated: bool,
    pub(super) aside: u32,
    pub(super) boot: &'a str,
}

impl Settling<'_> {
    /// Where the chain stands, as the files have it.
    pub(super) fn settle(&self, mark: Option<&Mark>) -> Result<Mark, Stop> {
        let Some(mark) = mark else {
            let beside = if self.rotated { self.newest_beside()? } else { None };
            return self.whole(beside.unwrap_or(0), false);
        };
        if mark.at > 0 && self.live.size >= mark.at && self.live.leaf_before(mark.at)? == Some(mark.leaf) {
            let reached = go_through(self.truth, self.live, mark.at, mark.seq, mark.leaf)?;
            return self.mark(reached, mark.base, true);
        }
        if self.live.inode == mark.file {
            return self.emptied(mark);
        }
        let start = self.after_renamed(mark)?;
        self.whole(start, false)
    }

    fn mark(&self, reached: Reached, base: u64, live: bool) -> Result<Mark, Stop> {
        let torn = self.torn(&reached, live)?;
        Ok(Mark {
            seq: reached.seq,
            leaf: reached.leaf,
            file: self.live.inode,
            at: reached.at,
            base,
            aside: self.aside,
            boot: self.boot.to_owned(),
            torn,
            exact: true,
        })
    }

    /// How many bytes of the next line stand at the end. What a power cut leaves, a line that ends in zero bytes, is cut
    /// off.
    fn torn(&self, reached: &Reached, cut: bool) -> Result<u64, Stop> {
        if reached.rest.is_empty() {
            return Ok(0);
        }
        let line = self.truth.line(reached.seq)?.unwrap_or_default();
        if line.starts_with(&reached.rest) {
            return Ok(reached.rest.len() as u64);
        }
        let written = reached.rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        if cut && line.starts_with(&reached.rest[..written]) {
            self.live.file.set_len(reached.at)?;
            return Ok(0);
        }
        Err(Stop::Diverged(format!("what follows its entry {} is no line of the store's", reached.seq)))
    }

    /// The live file from its beginning, which should be the entry `start`. Where lines between `start` and its first
    /// are in no file and `anew` is said, it is written anew from `start` on; it holds nothing that the store lacks.
    fn whole(&self, start: u64, anew: bool) -> Result<Mark, Stop> {
        let empty = |seq| -> Result<Reached, Stop> {
            Ok(Reached { at: 0, seq, leaf: self.truth.leaf_before(seq)?, rest: Vec::new() })
        };
        let first = match self.live.first()? {
            None => return self.mark(empty(start)?, start, true),
            Some(First::NoEntry) => return Err(Stop::Diverged("it does not begin with an entry".to_owned())),
            Some(First::Torn(rest)) => {
                if anew && self.is_torn_later(start, &rest)? {
                    self.live.file.set_len(0)?;
                    return self.mark(empty(start)?, start, true);
                }
                return self.mark(Reached { rest, ..empty(start)? }, start, true);
            }
            Some(First::Seq(first)) => first,
        };
        let reached = go_through(self.truth, self.live, 0, first, Digest::ZERO)?;
        if first > start && anew {
            self.live.file.set_len(0)?;
            return self.mark(empty(start)?, start, true);
        }
        if first > start {
            let path = self.live.path.display();
            tracing::warn!(file = %path, from = start, to = first - 1, "entries are in no file beside this one");
        }
        self.mark(reached, first, true)
    }

    /// Whether the piece is the beginning of a line after `start`, and not of `start` itself.
    fn is_torn_later(&self, start: u64, piece: &[u8]) -> Result<bool, Stop> {
        let lines = self.truth.from(start)?.lines;
        Ok(!lines.first().is_some_and(|line| line.starts_with(piece))
            && lines.iter().any(|line| line.starts_with(piece)))
    }

    /// The file is the same and shorter: a rotation copied and emptied it, or a power cut took its end.
    fn emptied(&self, mark: &Mark) -> Result<Mark, Stop> {
        if mark.at == 0 {
            let copied = if mark.exact { None } else { self.newest_beside()? };
            return self.whole(copied.map_or(mark.seq, |next| next.max(mark.seq)), true);
        }
        // It still begins as it did: only its end is gone.
        if matches!(self.live.first()?, Some(First::Seq(first)) if first == mark.base) {
            return self.whole(mark.base, false);
        }
        let start = match self.newest_beside()? {
            Some(next) if next > mark.base => next,
            _ if mark.boot != self.boot => mark.base,
            _ => {
                let file = self.live.path.display();
                tracing::warn!(%file, "it was emptied and no copy lies beside it: a few entries may be missing there");
                mark.seq
            }
        };
        self.whole(start, true)
    }

    /// Another file has the name. What follows the last line of the one that had it?
    fn after_renamed(&self, mark: &Mark) -> Result<u64, Stop> {
        if mark.exact && mark.torn == 0 {
            return Ok(mark.seq);
        }
        let mut next = mark.seq;
        // It may have been emptied before it was renamed, or be compressed, or elsewhere.
        if let Some(renamed) = with_inode(&beside(&self.live.path)?, mark.file)?
            && mark.at > 0
            && renamed.leaf_before(mark.at)? == Some(mark.leaf)
        {
            let reached = go_through(self.truth, &renamed, mark.at, mark.seq, mark.leaf)?;
            next = self.complete(&renamed, reached.seq, &reached.rest)?;
        }
        // And there may be files that are newer than the cursor.
        Ok(self.newest_beside()?.map_or(next, |beside| beside.max(next)))
    }

    /// The entry that follows the newest one in the files beside the live one.
    fn newest_beside(&self) -> Result<Option<u64>, Stop> {
        let mut newest = None;
        for path in beside(&self.live.path)? {
            // A file that cannot be opened or holds anything else is somebody else's.
            let Ok(file) = Open::existing(&path) else { continue };
            let Some((line, rest)) = file.last()? else { continue };
            let Some(facts) = crate::follow::facts::Facts::of(&line) else { continue };
            if self.truth.line(facts.seq)?.as_ref() != Some(&line) {
                continue;
            }
            let next = facts.seq + 1;
            if newest.is_none_or(|newest| newest < next) {
                newest = Some(self.complete(&file, next, &rest)?);
            }
        }
        Ok(newest)
    }

    /// Completes the line `seq`, of which a rotated file has only the beginning; gives the entry that follows. A file
    /// that is not found under its name any more is being compressed, and gets nothing.
    fn complete(&self, rotated: &Open, seq: u64, rest: &[u8]) -> Result<u64, Stop> {
        if rest.is_empty() {
            return Ok(seq);
        }
        let line = self.truth.line(seq)?.unwrap_or_default();
        if !line.starts_with(rest) || !rotated.is_named() {
            return Ok(seq);
        }
        let mut missing = line[rest.len()..].to_vec();
        missing.push(b'\n');
        io::Write::write_all(&mut &rotated.file, &missing)?;
        Ok(if rotated.is_named() { seq + 1 } else { seq })
    }
}
