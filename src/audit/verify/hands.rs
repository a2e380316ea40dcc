//! Reads the lines of a file and takes them to a [`Verifier`], with the help of several threads where the caller allows
//! them. Threads read ahead, hash and try signatures ([`super::ahead`]); the verdict is reached line by line in order, by
//! one, so that it is the same with any number of threads.
//!
//! At most a few batches of lines are in memory, and a line over the limit is cut there.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::ahead::{Guess, Line};
use super::verifier::Verifier;
use super::{Means, Pins};
use crate::crypto::json::Admission;

/// A batch ends after so many bytes, however few its lines.
const BYTES: usize = 128 << 10;

/// How many batches may wait, for each thread.
const AHEAD: usize = 3;

/// Lines that follow one another, each without its LF.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Where each line ends in `bytes`.
    ends: Vec<usize>,
}

impl Batch {
    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, end)| &self.bytes[begin..*end])
    }
}

/// Cuts a file into lines.
struct Lines<R> {
    reader: R,
    /// How many make a batch.
    batch: usize,
    ended: bool,
    /// What stands behind the last LF.
    rest: Option<Vec<u8>>,
}

impl<R: BufRead> Lines<R> {
    /// The next lines; none at the end.
    fn batch(&mut self) -> io::Result<Option<Batch>> {
        let limit = Admission::OPERATORS_LINE.max_bytes as u64 + 2;
        let mut batch = Batch::default();
        while !self.ended && batch.ends.len() < self.batch.max(1) && batch.bytes.len() < BYTES {
            let begin = batch.bytes.len();
            Read::take(&mut self.reader, limit).read_until(b'\n', &mut batch.bytes)?;
            let line = &batch.bytes[begin..];
            if line.is_empty() {
                self.ended = true;
            } else if line.ends_with(b"\n") {
                batch.bytes.pop();
                batch.ends.push(batch.bytes.len());
            } else if (line.len() as u64) < limit {
                self.rest = Some(batch.bytes.split_off(begin));
                self.ended = true;
            } else {
                // Cut here; it is found to be over the limit when its turn comes, and nothing behind it counts.
                batch.ends.push(batch.bytes.len());
                self.ended = true;
            }
        }
        Ok(Some(batch).filter(|batch| !batch.ends.is_empty()))
    }
}

/// Takes all lines of `reader` to a verifier.
pub(super) fn read(reader: impl BufRead, pins: &Pins, means: Means) -> io::Result<Verifier<'_>> {
    let Means { threads, batch, held } = means;
    let mut verifier = Verifier::holding(pins, held);
    let mut lines = Lines { reader, batch, ended: false, rest: None };
    // The first lines tell the keys that those behind them are tried with, and a short file needs no threads.
    let mut go_on = alone(&mut verifier, lines.batch()?);
    if threads > 1 && go_on && !lines.ended {
        go_on = thread::scope(|scope| {
            let (jobs, waiting) = mpsc::sync_channel::<Job>(threads * AHEAD);
            let waiting = Arc::new(Mutex::new(waiting));
            for _ in 0..threads {
                let waiting = Arc::clone(&waiting);
                scope.spawn(move || work(&waiting));
            }
            together(&mut verifier, &mut lines, &jobs, threads * AHEAD)
        })?;
    }
    while go_on && !lines.ended {
        go_on = alone(&mut verifier, lines.batch()?);
    }
    if let Some(rest) = lines.rest.filter(|_| go_on) {
        verifier.last(&rest);
    }
    Ok(verifier)
}

fn alone(verifier: &mut Verifier<'_>, batch: Option<Batch>) -> bool {
    batch.is_none_or(|batch| batch.lines().all(|line| verifier.line(line)))
}

/// A batch to be worked on, and where the lines go then.
struct Job {
    batch: Batch,
    guesses: Arc<Vec<Guess>>,
    done: SyncSender<Vec<Line>>,
}

/// What one thread does, until there are no more jobs.
fn work(waiting: &Mutex<Receiver<Job>>) {
    loop {
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { batch, guesses, done }) = job else { return };
        // Nobody waits for it any more where an earlier line was wrong.
        let _ = done.send(batch.lines().map(|line| Line::ahead(line, &guesses)).collect());
    }
}

/// Gives out jobs, and takes what was worked on in order. Gives whether all lines were good.
fn together(
    verifier: &mut Verifier<'_>,
    lines: &mut Lines<impl BufRead>,
    jobs: &SyncSender<Job>,
    ahead: usize,
) -> io::Result<bool> {
    let mut guesses = Arc::new(verifier.guesses());
    let mut under_way: VecDeque<Receiver<Vec<Line>>> = VecDeque::new();
    loop {
        while under_way.len() < ahead
            && let Some(batch) = lines.batch()?
        {
            let (done, ready) = mpsc::sync_channel(1);
            if jobs.send(Job { batch, guesses: Arc::clone(&guesses), done }).is_err() {
                return Err(io::Error::other("the threads that read ahead have ended"));
            }
            under_way.push_back(ready);
        }
        let Some(ready) = under_way.pop_front() else { return Ok(true) };
        let ready = ready.recv().map_err(|_| io::Error::other("a thread that read ahead has ended"))?;
        if !ready.iter().all(|line| verifier.take(line)) {
            return Ok(false);
        }
        let now = verifier.guesses();
        if *guesses != now {
            guesses = Arc::new(now);
        }
    }
}
