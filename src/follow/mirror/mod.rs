//! The mirror: `<dir>/<chain>.audit.jsonl`, byte by byte what the store has, a line an entry with LF, behind the commits.
//! It is for people and for programs that ship logs; the store is the truth, and the mirror is brought back to it.
//!
//! - Between two lines there is no gap and no repeat: not after a crash at any point, not after a rotation that renames
//!   the file, and not after one that copies and empties it where the copy lies beside it, uncompressed (`settle`).
//! - A file that holds anything else than what the store has is left as it is, loudly, and the chain is written to
//!   another one, `<chain>.audit.aside-1.jsonl`, from its first entry on.
//! - Nothing is synced. A crash of the daemon loses nothing; a power cut may take what was written last, and then it is
//!   written again from the store.
//! - One file is open at a time, by a thread that does nothing else: a disk that hangs holds up the mirror alone.

mod files;
mod settle;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use self::files::{Open, Rotated};
use self::settle::{Mark, PART, Settling, Source, Stop, Truth};
use super::cursor::{Carried, Cursors};
use super::facts::follows;
use super::{Sink, Step, Trouble};
use crate::id::ChainName;
use crate::store::{Failure, Lines, Store};

/// The name of the sink.
pub const NAME: &str = "mirror";

/// The folder of the cursors, inside the mirror's: who moves one moves both.
const STATE: &str = ".state";
/// The mode of the mirror's folder where it is made.
const FOLDER: u32 = 0o750;
/// For how long after its last line a file is looked at for having been emptied.
const RECENT: Duration = Duration::from_secs(60);
/// The most files that are looked at so.
const LOOKED_AT: usize = 4096;
/// How many chains are read from the store in one look, since each look wakes threads; and at most how many bytes of all
/// of them.
const TOGETHER: usize = 64;
const AHEAD: usize = 1 << 20;
/// How often a file is settled in one step before the step is given up.
const TRIES: usize = 4;
/// The most files that one chain is written aside to.
const ASIDE: u32 = 99;

/// The mirror in one folder.
#[derive(Debug)]
pub struct Mirror {
    work: mpsc::Sender<Job>,
    carried: Carried,
}

type Job = Box<dyn FnOnce(&mut Book) + Send>;

impl Mirror {
    /// A mirror in `folder`, which is made where there is none, with files of this mode. Called in a runtime.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(folder: PathBuf, mode: u32, store: Arc<dyn Store>) -> io::Result<Mirror> {
        let source = Waiting { store, runtime: Handle::current() };
        let mut book = Book::new(folder, mode, Box::new(source));
        let carried = book.cursors.carried().clone();
        let (work, jobs) = mpsc::channel::<Job>();
        std::thread::Builder::new().name("mirror".to_owned()).spawn(move || {
            for job in jobs {
                job(&mut book);
            }
        })?;
        Ok(Mirror { work, carried })
    }

    /// Has the thread do this.
    async fn ask<T: Send + 'static>(&self, job: impl FnOnce(&mut Book) -> T + Send + 'static) -> Result<T, Trouble> {
        let (reply, answer) = oneshot::channel();
        let gone = |_| Trouble::all("its thread is gone; start the daemon again");
        let job = move |book: &mut Book| {
            // Who asked may be gone.
            let _ = reply.send(job(book));
        };
        self.work.send(Box::new(job)).map_err(|_| gone(()))?;
        answer.await.map_err(|_| gone(()))
    }
}

#[async_trait]
impl Sink for Mirror {
    fn name(&self) -> &'static str {
        NAME
    }

    fn carried(&self) -> Carried {
        self.carried.clone()
    }

    async fn begin(&mut self, chains: &BTreeSet<ChainName>) {
        let chains = chains.clone();
        // Without its thread the first step says so.
        let _ = self.ask(move |book| book.cursors.count(&chains)).await;
    }

    async fn step(&mut self, chains: &[ChainName]) -> Vec<Result<Step, Trouble>> {
        let chains = chains[..chains.len().min(TOGETHER)].to_vec();
        self.ask(move |book| book.steps(&chains)).await.unwrap_or_else(|trouble| vec![Err(trouble)])
    }

    async fn look(&mut self) -> BTreeSet<ChainName> {
        self.ask(Book::look).await.unwrap_or_default()
    }

    async fn save(&mut self) -> Result<(), Trouble> {
        let saved = self.ask(|book| book.cursors.save()).await?;
        saved.map_err(|error| Trouble::all(format!("its cursors cannot be written: {error}")))
    }
}

/// The store, for a thread that may wait.
struct Waiting {
    store: Arc<dyn Store>,
    runtime: Handle,
}

impl Source for Waiting {
    fn lines(&self, chain: &ChainName, from: u64, limit: u64, bytes: usize) -> Result<Option<Lines>, Failure> {
        self.runtime.block_on(self.store.lines(chain, from, limit, bytes))
    }

    fn lines_of(&self, chains: Vec<(ChainName, u64)>, limit: u64, bytes: usize) -> Result<Vec<Option<Lines>>, Failure> {
        self.runtime.block_on(self.store.lines_of(chains, limit, bytes))
    }
}

/// The file of a chain: the live one, or the one that is written aside.
fn path(folder: &Path, chain: &ChainName, aside: u32) -> PathBuf {
    folder.join(match aside {
        0 => format!("{chain}.audit.jsonl"),
        number => format!("{chain}.audit.aside-{number}.jsonl"),
    })
}

/// Makes the folder of a mirror where there is none. The mirror makes it too; this is for who must have it before.
///
/// # Errors
/// What the system says.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    super::cursor::folder(folder, FOLDER)
}

/// All that the thread has.
struct Book {
    folder: PathBuf,
    mode: u32,
    source: Box<dyn Source>,
    cursors: Cursors<Mark>,
    /// What rotations had left, once it was asked for.
    rotated: Option<Rotated>,
    /// When the files that were written last were written.
    recent: BTreeMap<ChainName, Instant>,
    /// What was read ahead of chains whose turn comes, and from which entry on.
    ahead: BTreeMap<ChainName, (u64, Lines)>,
    boot: String,
}

impl Book {
    fn new(folder: PathBuf, mode: u32, source: Box<dyn Source>) -> Book {
        // Where the system tells none, every run looks like the last.
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
        let cursors = Cursors::new(folder.join(STATE));
        let (recent, ahead) = (BTreeMap::new(), BTreeMap::new());
        Book { folder, mode, source, cursors, rotated: None, recent, ahead, boot }
    }

    /// Brings these chains forward by one part each, until one meets trouble that no other escapes.
    fn steps(&mut self, chains: &[ChainName]) -> Vec<Result<Step, Trouble>> {
        self.look_ahead(chains);
        let mut steps = Vec::with_capacity(chains.len());
        for chain in chains {
            let step = self.step(chain);
            let over = step.as_ref().is_err_and(|trouble| trouble.all);
            steps.push(step);
            if over {
                break;
            }
        }
        self.ahead.clear();
        steps
    }

    /// Reads what follows in each of these chains, as far as it is known where they stand. What is not read here is read in
    /// its turn.
    fn look_ahead(&mut self, chains: &[ChainName]) {
        let stands = |chain: &ChainName| self.cursors.known(chain).map(|mark| (chain.clone(), mark.seq));
        let asked: Vec<_> = chains.iter().filter_map(stands).collect();
        if asked.is_empty() {
            return;
        }
        let each = (AHEAD / asked.len()).min(PART.1);
        if let Ok(read) = self.source.lines_of(asked.clone(), PART.0, each) {
            let read = asked.into_iter().zip(read);
            self.ahead = read.filter_map(|((chain, from), lines)| Some((chain, (from, lines?)))).collect();
        }
    }

    /// Brings a chain forward by one part.
    fn step(&mut self, chain: &ChainName) -> Result<Step, Trouble> {
        let no_folder = |error: io::Error| Trouble::all(format!("{}: {error}", self.folder.display()));
        make_folder(&self.folder).map_err(no_folder)?;
        let mark = self.cursors.load(chain);
        let aside = mark.as_ref().map_or(0, |mark| mark.aside);
        match self.write(chain, aside, mark) {
            Err(Stop::Diverged(why)) => self.aside(chain, aside, &why),
            written => written.map_err(|stop| self.trouble(chain, aside, stop)),
        }
    }

    fn trouble(&self, chain: &ChainName, aside: u32, stop: Stop) -> Trouble {
        let path = path(&self.folder, chain, aside);
        match stop {
            Stop::Store(failure) => Trouble::all(failure.to_string()),
            Stop::Io(error) => Trouble::of(format!("{}: {error}", path.display())),
            Stop::Broken(why) | Stop::Diverged(why) => Trouble::of(format!("{}: {why}", path.display())),
        }
    }

    /// Goes on in another file, since this one holds what the store does not.
    fn aside(&mut self, chain: &ChainName, aside: u32, why: &str) -> Result<Step, Trouble> {
        let file = path(&self.folder, chain, aside);
        for number in aside + 1..=ASIDE {
            let instead = path(&self.folder, chain, number);
            match self.write(chain, number, None) {
                Ok(step) => {
                    tracing::error!(
                        file = %file.display(), why, instead = %instead.display(),
                        "a file of the mirror is not what the store has; it is left as it is, and the chain is written aside"
                    );
                    return Ok(Step { set_aside: true, ..step });
                }
                Err(Stop::Diverged(_)) => {}
                Err(stop) => return Err(self.trouble(chain, number, stop)),
            }
        }
        Err(Trouble::of(format!("{}: {why}; and so are {ASIDE} files beside it", file.display())))
    }

    /// Writes one part into the chain's file, once it is known where the file stands.
    fn write(&mut self, chain: &ChainName, aside: u32, mut mark: Option<Mark>) -> Result<Step, Stop> {
        let path = path(&self.folder, chain, aside);
        let rotated = mark.is_none() && self.rotated(&path)?;
        let truth = Truth { source: &*self.source, chain };
        for _ in 0..TRIES {
            let live = Open::or_made(&path, self.mode)?;
            let settling = Settling { truth, live: &live, rotated, aside, boot: &self.boot };
            let stands = match mark.take() {
                Some(mark) if mark.exact && live.inode == mark.file && live.size == mark.at + mark.torn => mark,
                other => {
                    let stands = settling.settle(other.as_ref())?;
                    self.cursors.put(chain, stands.clone());
                    stands
                }
            };
            let lines = match self.ahead.remove(chain) {
                Some((from, lines)) if from == stands.seq => lines,
                _ => truth.from(stands.seq)?,
            };
            let (next, bytes) = follow_on(truth, &stands, &lines)?;
            if bytes.is_empty() {
                return Ok(Step::default());
            }
            // The store may have kept it waiting while the file was rotated once, and then again and compressed.
            if !live.is_named() {
                mark = Some(stands);
                continue;
            }
            let written = (&live.file).write_all(&bytes);
            if written.is_ok() && live.length()? == next.at {
                let more = next.seq < lines.head.size;
                self.cursors.put(chain, next);
                self.remember(chain);
                return Ok(Step { more, carried: true, set_aside: false });
            }
            // A part of it may be there, or the file was emptied at this moment.
            let unsure = Mark { exact: false, ..stands };
            self.cursors.put(chain, unsure.clone());
            written?;
            mark = Some(unsure);
        }
        Err(Stop::Io(io::Error::other("it changes while it is written")))
    }

    /// Whether rotations had left files of this live one. Where the cursors went, it is looked up anew.
    fn rotated(&mut self, live: &Path) -> io::Result<bool> {
        let listed = match self.rotated.take().filter(|_| self.cursors.kept()) {
            Some(listed) => listed,
            None => Rotated::list(&self.folder)?,
        };
        Ok(self.rotated.insert(listed).has(live))
    }

    fn remember(&mut self, chain: &ChainName) {
        if let Some(last) = self.recent.get_mut(chain) {
            *last = Instant::now();
        } else if self.recent.len() < LOOKED_AT {
            self.recent.insert(chain.clone(), Instant::now());
        }
    }

    /// The chains whose files were written a short time ago and are not as they were left. What a rotation lost between
    /// copying and emptying is written again at once, and not only when the chain goes on.
    fn look(&mut self) -> BTreeSet<ChainName> {
        self.recent.retain(|_, last| last.elapsed() < RECENT);
        let changed = |chain: &&ChainName| {
            let Some(mark) = self.cursors.known(chain) else { return false };
            let meta = std::fs::symlink_metadata(path(&self.folder, chain, mark.aside));
            !meta.is_ok_and(|meta| meta.ino() == mark.file && meta.len() == mark.at + mark.torn)
        };
        self.recent.keys().filter(changed).cloned().collect()
    }
}

/// What is to be written after `mark`, and the mark that follows.
fn follow_on(truth: Truth<'_>, mark: &Mark, lines: &Lines) -> Result<(Mark, Vec<u8>), Stop> {
    if !follows(lines, mark.seq, mark.leaf) {
        if truth.leaf_before(mark.seq)? == mark.leaf {
            return Err(Stop::Broken(format!("the store's own chain is broken at its entry {}", mark.seq)));
        }
        return Err(Stop::Diverged(format!("the store's entry {} does not follow what it ends with", mark.seq)));
    }
    let mut bytes = Vec::with_capacity(lines.lines.iter().map(|line| line.len() + 1).sum());
    for line in &lines.lines {
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
    }
    let Some(last) = lines.lines.last() else { return Ok((mark.clone(), bytes)) };
    let next = Mark {
        seq: mark.seq + lines.lines.len() as u64,
        leaf: crate::crypto::hash::leaf(last),
        at: mark.at + bytes.len() as u64,
        torn: 0,
        ..mark.clone()
    };
    bytes.drain(..usize::try_from(mark.torn).unwrap_or(bytes.len()).min(bytes.len()));
    Ok((next, bytes))
}
