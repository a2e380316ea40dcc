//! What is past goes to unnamed temporary files, so that a chain of a million entries is verified in the memory of one of
//! a thousand: [`Leaves`], in order and read again at any place, and [`Once`], values of which each may stand once.
//!
//! The files have no name and are gone with the process, however it ends. They lie where the system keeps temporary
//! files (`TMPDIR`); what is in them stands in the chain too, so nothing there is secret. A chain that fits into the
//! first few thousand entries makes none.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};

use crate::crypto::hash::Digest;
use crate::time::Timestamp;

/// How many bytes all runs together are read ahead by while they are merged.
const READ_AHEAD: usize = 1 << 20;

/// The bytes of a leaf and its `ts`.
const PLACE: u64 = 40;

/// The leaves of all entries, each with its `ts`.
#[derive(Debug)]
pub(super) struct Leaves {
    held: usize,
    /// The number of the first, and the leaf of the one before it.
    first: u64,
    before: Digest,
    /// The newest.
    recent: Vec<(Digest, Timestamp)>,
    /// How many lie in the file.
    past: u64,
    file: Option<File>,
}

impl Leaves {
    /// None yet; about `held` of them in memory.
    pub(super) fn holding(held: usize) -> Leaves {
        Leaves { held, first: 0, before: Digest::ZERO, recent: Vec::new(), past: 0, file: None }
    }

    /// The first will be the entry `first`, and this the leaf of the entry before it.
    pub(super) fn begin(&mut self, first: u64, before: Digest) {
        (self.first, self.before) = (first, before);
    }

    /// The number of the first.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The number of the next.
    pub(super) fn len(&self) -> u64 {
        self.first + self.past + self.recent.len() as u64
    }

    /// Whether there is none yet.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == self.first
    }

    /// The leaf that the next entry follows.
    pub(super) fn last(&self) -> Digest {
        self.recent.last().map_or(self.before, |(leaf, _)| *leaf)
    }

    /// The `ts` of the last.
    pub(super) fn newest(&self) -> Option<Timestamp> {
        self.recent.last().map(|(_, ts)| *ts)
    }

    /// Forgets the entry `len` and those behind it.
    ///
    /// # Errors
    /// Where the temporary file cannot be read.
    pub(super) fn cut(&mut self, len: u64) -> io::Result<()> {
        let count = len.saturating_sub(self.first);
        if count > self.past {
            self.recent.truncate(usize::try_from(count - self.past).unwrap_or(usize::MAX));
        } else {
            // Of those that are left the last is held in memory, as ever.
            let last = if count > 0 { self.at(len - 1)? } else { None };
            (self.recent, self.past) = (last.into_iter().collect(), count.saturating_sub(1));
        }
        Ok(())
    }

    /// # Errors
    /// Where the temporary file cannot be written.
    pub(super) fn push(&mut self, leaf: Digest, ts: Timestamp) -> io::Result<()> {
        self.recent.push((leaf, ts));
        if self.recent.len() > self.held {
            // The newer half stays: what an agent saw last is asked for most.
            self.spill(self.held / 2 + 1)?;
        }
        Ok(())
    }

    fn spill(&mut self, count: usize) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile()?),
        };
        file.seek(SeekFrom::Start(self.past * PLACE))?;
        let mut bytes = Vec::with_capacity(count * PLACE as usize);
        for (leaf, ts) in self.recent.drain(..count) {
            bytes.extend_from_slice(leaf.as_bytes());
            bytes.extend_from_slice(&ts.0.to_be_bytes());
        }
        file.write_all(&bytes)?;
        self.past += count as u64;
        Ok(())
    }

    /// The leaf and the `ts` of the entry `index`; none where it is not among them.
    ///
    /// # Errors
    /// Where the temporary file cannot be read.
    pub(super) fn at(&self, index: u64) -> io::Result<Option<(Digest, Timestamp)>> {
        let Some(index) = index.checked_sub(self.first) else { return Ok(None) };
        let Some(file) = self.file.as_ref().filter(|_| index < self.past) else {
            let recent = usize::try_from(index - self.past.min(index)).ok();
            return Ok(recent.and_then(|at| self.recent.get(at)).copied());
        };
        let mut file: &File = file;
        file.seek(SeekFrom::Start(index * PLACE))?;
        let (mut leaf, mut ts) = ([0; 32], [0; 8]);
        file.read_exact(&mut leaf)?;
        file.read_exact(&mut ts)?;
        Ok(Some((Digest::from_bytes(leaf), Timestamp(u64::from_be_bytes(ts)))))
    }
}

/// Values of `N` bytes, each of which may stand once. One that stands again soon is found at once; one that stands again
/// much later is found by [`Once::again`], which sorts.
#[derive(Debug)]
pub(super) struct Once<const N: usize> {
    held: usize,
    /// The newest, each with the entry in which it stands.
    recent: HashMap<[u8; N], u64>,
    runs: Option<Runs>,
}

/// Values that left the memory: sorted runs, one behind the other in a file.
#[derive(Debug)]
struct Runs {
    file: File,
    /// How many values each run has.
    counts: Vec<usize>,
}

/// A value and the entry in which it stands.
type Record<const N: usize> = ([u8; N], u64);

impl<const N: usize> Once<N> {
    /// None yet; at most `held` of them in memory.
    pub(super) fn holding(held: usize) -> Once<N> {
        Once { held: held.max(1), recent: HashMap::new(), runs: None }
    }

    /// Takes in a value that stands in this entry. Gives whether it is new, as far as the memory tells.
    ///
    /// # Errors
    /// Where the temporary file cannot be written.
    pub(super) fn insert(&mut self, value: [u8; N], entry: u64) -> io::Result<bool> {
        if self.recent.len() >= self.held {
            self.spill()?;
        }
        match self.recent.entry(value) {
            Slot::Occupied(_) => Ok(false),
            Slot::Vacant(slot) => {
                slot.insert(entry);
                Ok(true)
            }
        }
    }

    fn spill(&mut self) -> io::Result<()> {
        let runs = match &mut self.runs {
            Some(runs) => runs,
            none => none.insert(Runs { file: tempfile::tempfile()?, counts: Vec::new() }),
        };
        let mut records: Vec<Record<N>> = self.recent.drain().collect();
        records.sort_unstable();
        runs.file.seek(SeekFrom::End(0))?;
        let mut out = BufWriter::new(&runs.file);
        for (value, entry) in &records {
            out.write_all(value)?;
            out.write_all(&entry.to_be_bytes())?;
        }
        out.flush()?;
        runs.counts.push(records.len());
        Ok(())
    }

    /// Whether it was ever taken in. It may read all that left the memory: it is asked once, to say what is wrong.
    ///
    /// # Errors
    /// Where the temporary file cannot be read.
    pub(super) fn contains(&self, value: &[u8; N]) -> io::Result<bool> {
        if self.recent.contains_key(value) {
            return Ok(true);
        }
        let Some(runs) = &self.runs else { return Ok(false) };
        let mut file = &runs.file;
        file.seek(SeekFrom::Start(0))?;
        let mut reader = BufReader::new(file);
        for _ in 0..runs.counts.iter().sum() {
            if read::<N>(&mut reader)?.0 == *value {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The first entry with a value that stood in an earlier one, and the value. Where nothing left the memory there is
    /// none, since [`Once::insert`] told.
    ///
    /// # Errors
    /// Where the temporary file cannot be written or read.
    pub(super) fn again(&mut self) -> io::Result<Option<(u64, [u8; N])>> {
        if self.runs.is_none() {
            return Ok(None);
        }
        self.spill()?;
        match &self.runs {
            Some(runs) => runs.again(),
            None => Ok(None),
        }
    }
}

/// A run while it is merged: what was read of it, newest last, and where the rest begins.
struct Run<const N: usize> {
    ahead: Vec<Record<N>>,
    next: u64,
    left: usize,
}

impl Runs {
    /// Merges the runs, and gives the lowest entry that repeats a value.
    fn again<const N: usize>(&self) -> io::Result<Option<(u64, [u8; N])>> {
        let size = N as u64 + 8;
        let ahead = (READ_AHEAD / size as usize / self.counts.len().max(1)).max(16);
        let (mut runs, mut begin) = (Vec::new(), 0);
        for count in &self.counts {
            runs.push(Run::<N> { ahead: Vec::new(), next: begin, left: *count });
            begin += *count as u64 * size;
        }
        let mut smallest = std::collections::BinaryHeap::new();
        for (index, run) in runs.iter_mut().enumerate() {
            smallest.extend(run.take(&self.file, ahead)?.map(|record| std::cmp::Reverse((record, index))));
        }
        let mut before: Option<[u8; N]> = None;
        let mut found: Option<(u64, [u8; N])> = None;
        while let Some(std::cmp::Reverse(((value, entry), index))) = smallest.pop() {
            if before == Some(value) && found.is_none_or(|(lowest, _)| entry < lowest) {
                found = Some((entry, value));
            }
            before = Some(value);
            smallest.extend(runs[index].take(&self.file, ahead)?.map(|record| std::cmp::Reverse((record, index))));
        }
        Ok(found)
    }
}

impl<const N: usize> Run<N> {
    fn take(&mut self, mut file: &File, ahead: usize) -> io::Result<Option<Record<N>>> {
        if self.ahead.is_empty() && self.left > 0 {
            let count = self.left.min(ahead);
            let mut bytes = vec![0; count * (N + 8)];
            file.seek(SeekFrom::Start(self.next))?;
            file.read_exact(&mut bytes)?;
            let mut rest = bytes.as_slice();
            for _ in 0..count {
                self.ahead.push(read::<N>(&mut rest)?);
            }
            self.ahead.reverse();
            self.next += bytes.len() as u64;
            self.left -= count;
        }
        Ok(self.ahead.pop())
    }
}

fn read<const N: usize>(reader: &mut impl Read) -> io::Result<Record<N>> {
    let (mut value, mut entry) = ([0; N], [0; 8]);
    reader.read_exact(&mut value)?;
    reader.read_exact(&mut entry)?;
    Ok((value, u64::from_be_bytes(entry)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(n: u64) -> [u8; 32] {
        *Digest::of(&n.to_be_bytes()).as_bytes()
    }

    #[test]
    fn leaves_are_read_again_at_any_place() {
        let mut leaves = Leaves::holding(8);
        for n in 0..1000 {
            assert_eq!(leaves.len(), n);
            leaves.push(Digest::from_bytes(value(n)), Timestamp(n)).unwrap();
            assert_eq!(leaves.last(), Digest::from_bytes(value(n)));
            assert_eq!(leaves.at(n / 3).unwrap(), Some((Digest::from_bytes(value(n / 3)), Timestamp(n / 3))));
        }
        assert!(leaves.recent.len() <= 8 && leaves.file.is_some());
        for n in 0..1000 {
            assert_eq!(leaves.at(n).unwrap(), Some((Digest::from_bytes(value(n)), Timestamp(n))));
        }
        assert_eq!((leaves.at(1000).unwrap(), leaves.at(u64::MAX).unwrap()), (None, None));
        for len in [999, 995, 990, 400, 1] {
            leaves.cut(len).unwrap();
            assert_eq!((leaves.len(), leaves.newest()), (len, Some(Timestamp(len - 1))));
            assert_eq!(leaves.at(len).unwrap(), None);
        }
        leaves.cut(0).unwrap();
        assert_eq!((leaves.len(), leaves.newest(), leaves.at(0).unwrap()), (0, None, None));
    }

    #[test]
    fn leaves_may_begin_later_than_at_the_beginning() {
        let mut leaves = Leaves::holding(4);
        leaves.begin(100, Digest::from_bytes(value(99)));
        assert_eq!((leaves.len(), leaves.is_empty(), leaves.last()), (100, true, Digest::from_bytes(value(99))));
        for n in 100..200 {
            leaves.push(Digest::from_bytes(value(n)), Timestamp(n)).unwrap();
        }
        for (index, there) in [(0, false), (99, false), (100, true), (150, true), (199, true), (200, false)] {
            let at = leaves.at(index).unwrap();
            assert_eq!(at, there.then(|| (Digest::from_bytes(value(index)), Timestamp(index))), "{index}");
        }
        for (len, newest) in [(120, Some(Timestamp(119))), (101, Some(Timestamp(100))), (100, None)] {
            leaves.cut(len).unwrap();
            assert_eq!((leaves.len(), leaves.newest(), leaves.is_empty()), (len, newest, newest.is_none()));
        }
    }

    #[test]
    fn few_leaves_and_values_make_no_file() {
        let (mut leaves, mut once) = (Leaves::holding(8), Once::holding(8));
        for n in 0..8 {
            leaves.push(Digest::ZERO, Timestamp(n)).unwrap();
            assert!(n == 7 || once.insert(value(n), n).unwrap());
        }
        assert!(leaves.file.is_none() && once.runs.is_none());
        assert_eq!(once.again().unwrap(), None);
        assert!(!once.insert(value(3), 9).unwrap());
    }

    #[test]
    fn the_first_entry_that_repeats_a_value_is_found_wherever_both_stand() {
        for (one, other) in [(0, 1), (0, 499), (3, 100), (498, 499), (7, 8), (250, 251)] {
            let mut once = Once::holding(8);
            let mut at_once = None;
            for n in 0..500 {
                let same = if n == other { one } else { n };
                if !once.insert(value(same), n).unwrap() {
                    at_once.get_or_insert(n);
                }
            }
            let found = at_once.or(once.again().unwrap().map(|(entry, _)| entry));
            assert_eq!(found, Some(other), "{one} again as {other}");
            assert!(once.contains(&value(one)).unwrap() && !once.contains(&value(500)).unwrap());
        }
    }

    #[test]
    fn of_several_repetitions_the_earliest_counts_and_of_none_none() {
        let mut once = Once::holding(8);
        for (entry, of) in (0..400).map(|n| (n, n)).chain([(400, 390), (410, 5), (420, 17), (430, 5)]) {
            once.insert(value(of), entry).unwrap();
        }
        // 390 stands in the run before; 400 is the first entry that repeats anything.
        assert_eq!(once.again().unwrap(), Some((400, value(390))));
        let mut once = Once::holding(8);
        for n in 0..1000 {
            assert!(once.insert(value(n), n).unwrap());
        }
        assert_eq!(once.again().unwrap(), None);
    }

    #[test]
    fn many_runs_are_merged_in_little_memory() {
        let mut once = Once::<32>::holding(1);
        for n in 0..5000 {
            assert!(once.insert(value(n), n).unwrap());
        }
        once.insert(value(1), 5000).unwrap();
        once.insert(value(4000), 5001).unwrap();
        assert_eq!(once.again().unwrap(), Some((5000, value(1))));
        assert_eq!(once.runs.as_ref().unwrap().counts.len(), 5002);
    }

    #[test]
    fn leaves_leave_the_memory_however_little_it_holds() {
        let mut leaves = Leaves::holding(1);
        for n in 0..100 {
            leaves.push(Digest::from_bytes(value(n)), Timestamp(n)).unwrap();
            assert!(leaves.recent.len() <= 1);
        }
        assert_eq!(leaves.at(50).unwrap(), Some((Digest::from_bytes(value(50)), Timestamp(50))));
    }

    /// Where there are many runs, of each a part is read at a time.
    #[test]
    fn runs_that_are_read_in_parts_are_merged_as_if_whole() {
        let value = |n: u64| u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_be_bytes();
        let mut once = Once::<16>::holding(20);
        for n in 0..60_000 {
            assert!(once.insert(value(n), n).unwrap());
        }
        assert_eq!(once.again().unwrap(), None);
        assert!(once.insert(value(5), 60_000).unwrap() && once.insert(value(59_000), 60_001).unwrap());
        assert_eq!(once.again().unwrap(), Some((60_000, value(5))));
    }
}
