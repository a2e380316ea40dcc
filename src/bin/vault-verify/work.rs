//! Many files on all cores: a queue of files, as many threads as there are cores, and the reports in the order in which
//! the files were given. One file alone gets all cores.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nockvault::audit::entry::Origin;
use nockvault::audit::verify::report::Report;
use nockvault::audit::verify::{Kept, Means, Pins, verify_operators_with, verify_with};
use nockvault::id::ChainName;

use super::branches;
use super::known::{Known, expand};
use super::{Arguments, shown, tell, unread, unusable};

/// What the name of a chain's file ends with, as the vault's mirror writes it.
const CHAIN: &str = ".audit.jsonl";

/// How much is read at a time.
const READ: usize = 256 << 10;

/// A file, and what is known of its chain.
struct Job {
    path: PathBuf,
    pins: Pins,
}

/// Verifies the files that were given, prints a report for each, and gives the worst of their exit codes.
pub(super) fn run(arguments: &Arguments, known: Known) -> anyhow::Result<u8> {
    let mut files = expand(&arguments.files, CHAIN)?;
    let operators = arguments.operators.clone().or_else(|| beside(arguments, &mut files));
    if files.len() > 1 && !(arguments.head.is_empty() && arguments.receipt.is_empty()) {
        anyhow::bail!("--head and --receipt are of one chain; give one file with them");
    }
    let Known { vault, mut chain, mut checkpoints } = known;
    let progress = Progress::of(files.iter().chain(&operators));
    let mut worst = 0;
    if let Some(path) = &operators {
        let mut pins = Pins { chain: Some(ChainName::operators()), policy: chain.policy.clone(), ..vault };
        let of_operators = (!checkpoints.is_empty()).then(|| origin(path)).flatten();
        let (theirs, others) = checkpoints
            .into_iter()
            .partition(|(_, kept)| of_operators.as_ref().is_some_and(|of| of_one_chain(of, &kept.checkpoint().origin)));
        pins.checkpoints = kept(theirs);
        checkpoints = others;
        let found = open(path, &progress).and_then(|reader| {
            let means = Means { threads: cores(), ..Means::default() };
            verify_operators_with(reader, &pins, means).with_context(|| unread(path))
        });
        let (report, commands) = match found {
            Ok((report, commands)) => (Ok(report), commands),
            Err(why) => (Err(why), None),
        };
        worst = progress.aside(|| one(arguments, path, report))?;
        chain.operators = commands.map(Arc::new);
    }
    let jobs = jobs(files, &chain, checkpoints)?;
    let (each, good) = verify_all(arguments, &jobs, &progress)?;
    progress.done();
    Ok(worst.max(each).max(branches::run(arguments, &good)?))
}

/// The file of `_operators` in a folder that was given: it is not only one of the chains, the others rest on it.
fn beside(arguments: &Arguments, files: &mut Vec<PathBuf>) -> Option<PathBuf> {
    let name = format!("{}{CHAIN}", ChainName::operators());
    let of_folder = |file: &Path| {
        file.file_name().is_some_and(|found| *found == *name) && !arguments.files.iter().any(|given| given == file)
    };
    let at = files.iter().position(|file| of_folder(file))?;
    Some(files.remove(at))
}

/// Gives each file the checkpoints that are of its chain.
fn jobs(files: Vec<PathBuf>, chain: &Pins, checkpoints: Vec<(PathBuf, Kept)>) -> anyhow::Result<Vec<Job>> {
    let mut jobs: Vec<Job> = files.into_iter().map(|path| Job { path, pins: chain.clone() }).collect();
    if let [job] = jobs.as_mut_slice() {
        job.pins.checkpoints = kept(checkpoints);
        return Ok(jobs);
    }
    if checkpoints.is_empty() {
        return Ok(jobs);
    }
    let origins: Vec<Option<String>> = jobs.iter().map(|job| origin(&job.path)).collect();
    for (path, kept) in checkpoints {
        let of = &kept.checkpoint().origin;
        let mut found = false;
        let theirs = |origin: &Option<String>| origin.as_ref().is_some_and(|origin| of_one_chain(origin, of));
        for (job, _) in jobs.iter_mut().zip(&origins).filter(|(_, origin)| theirs(origin)) {
            job.pins.checkpoints.push(kept.clone());
            found = true;
        }
        if !found {
            anyhow::bail!("the checkpoint {} is of {of:?}, and no file of that chain was given", shown(&path));
        }
    }
    Ok(jobs)
}

fn kept(checkpoints: Vec<(PathBuf, Kept)>) -> Vec<Kept> {
    checkpoints.into_iter().map(|(_, kept)| kept).collect()
}

/// Whose chain a file says it is: where a checkpoint is looked at, and believed by nobody.
fn origin(path: &Path) -> Option<String> {
    let mut line = Vec::new();
    BufReader::new(File::open(path).ok()?.take(READ as u64)).read_until(b'\n', &mut line).ok()?;
    let first: serde_json::Value = serde_json::from_slice(&line).ok()?;
    first.get("origin")?.as_str().map(str::to_owned)
}

/// Whether both are of one chain: a restore changes the number behind it.
fn of_one_chain(one: &str, two: &str) -> bool {
    let of = |text| Origin::parse(text).map(|origin| (origin.vault, origin.chain));
    one == two || of(one).is_some_and(|one| Some(one) == of(two))
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Gives the worst exit code, and the files that were found good.
fn verify_all(arguments: &Arguments, jobs: &[Job], progress: &Progress) -> anyhow::Result<(u8, Vec<PathBuf>)> {
    let hands = cores().min(jobs.len()).max(1);
    let means = Means { threads: (cores() / hands).max(1), ..Means::default() };
    let next = AtomicUsize::new(0);
    let (found, reports) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..hands {
            let (found, next) = (found.clone(), &next);
            scope.spawn(move || {
                while let Some((at, job)) = take(jobs, next) {
                    let report = open(&job.path, progress)
                        .and_then(|reader| verify_with(reader, &job.pins, means).with_context(|| unread(&job.path)));
                    // Nobody waits any more where a report could not be printed.
                    if found.send((at, report)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(found);
        let mut good = Vec::new();
        let worst = in_order(reports, |at, report| {
            let path = &jobs[at].path;
            let code = progress.aside(|| one(arguments, path, report))?;
            good.extend((code == 0 && path != Path::new("-")).then(|| path.clone()));
            Ok(code)
        })?;
        Ok((worst, good))
    })
}

fn take<'a>(jobs: &'a [Job], next: &AtomicUsize) -> Option<(usize, &'a Job)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    jobs.get(at).map(|job| (at, job))
}

/// Says each report when those before it were said, and gives the worst exit code.
fn in_order<T>(
    found: mpsc::Receiver<(usize, T)>,
    mut say: impl FnMut(usize, T) -> anyhow::Result<u8>,
) -> anyhow::Result<u8> {
    let (mut waiting, mut next, mut worst) = (BTreeMap::new(), 0, 0);
    for (at, report) in found {
        waiting.insert(at, report);
        while let Some(report) = waiting.remove(&next) {
            worst = worst.max(say(next, report)?);
            next += 1;
        }
    }
    Ok(worst)
}

/// Says what came of one file: a file that cannot be read does not keep the others from being verified.
fn one(arguments: &Arguments, path: &Path, found: anyhow::Result<Report>) -> anyhow::Result<u8> {
    match found {
        Ok(report) => {
            say(arguments, path, &report)?;
            Ok(report.verdict.exit_code())
        }
        Err(why) => unusable(arguments.output, path, &why),
    }
}

fn say(arguments: &Arguments, path: &Path, report: &Report) -> anyhow::Result<()> {
    tell(arguments.output, path, &report.to_string(), serde_json::to_value(report)?)
}

fn open(path: &Path, progress: &Progress) -> anyhow::Result<Box<dyn BufRead>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(path).with_context(|| unread(path))?;
    Ok(Box::new(BufReader::with_capacity(READ, progress.watch(file))))
}

/// How far it is, for a person at a terminal who waits. It goes to the standard error, and nowhere else.
struct Progress(ProgressBar);

/// Below so many bytes nobody waits.
const WORTH_IT: u64 = 16 << 20;

impl Progress {
    fn of<'a>(files: impl Iterator<Item = &'a PathBuf>) -> Progress {
        let bytes = files.filter_map(|file| Some(file.metadata().ok()?.len())).sum();
        if bytes < WORTH_IT || !io::stderr().is_terminal() {
            return Progress(ProgressBar::hidden());
        }
        let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr_with_hz(4));
        let style = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {eta} left");
        Progress(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }

    fn watch(&self, file: File) -> impl Read + 'static {
        self.0.wrap_read(file)
    }

    /// Prints while the bar is out of the way.
    fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }

    fn done(&self) {
        self.0.finish_and_clear();
    }
}
