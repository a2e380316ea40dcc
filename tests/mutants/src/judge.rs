//! Runs tests: once each with nothing switched on, to see which mutants it reaches and how long it takes; then, for each
//! mutant, the tests that reach it, until one fails; first those that cost least for what they caught so far. Each in a process of its own, since what is
//! switched on stays on, and since a mutant may loop or abort.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// A mutant may take this long, and [`SLOWER`] times as long as usual, before it is taken to hang.
const LONGEST: Duration = Duration::from_secs(5);
const SLOWER: u32 = 5;
/// And take this much memory, in KiB of addresses.
const ROOM: &str = "12000000";

/// A test, as it runs with nothing switched on.
pub struct Test {
    program: PathBuf,
    /// Its program and its name.
    pub name: String,
    word: String,
    usual: Duration,
    reaches: BTreeSet<usize>,
    /// How many mutants it was asked about, and how many of them it caught.
    asked: AtomicU32,
    caught: AtomicU32,
}

impl Test {
    /// What it takes, in all likelihood, until it catches one.
    fn price(&self) -> Duration {
        let (asked, caught) = (self.asked.load(Ordering::Relaxed), self.caught.load(Ordering::Relaxed));
        self.usual * (asked + 2) / (caught + 1)
    }
}

/// What became of a mutant.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    Caught,
    Timeout,
    Missed,
    /// No test reaches it.
    Unreached,
}

/// Where tests run, and how many at a time.
pub struct Judge<'a> {
    pub tree: &'a Path,
    pub notes: &'a Path,
    pub jobs: usize,
}

impl Judge<'_> {
    /// Runs every test of these programs, with nothing switched on.
    pub fn tests(&self, programs: &[(String, PathBuf)]) -> Result<Vec<Test>> {
        let mut all = Vec::new();
        for (target, program) in programs {
            let listed = Command::new(program).args(["--list", "--format", "terse"]).current_dir(self.tree).output()?;
            ensure!(listed.status.success(), "{} --list", program.display());
            let listed = String::from_utf8(listed.stdout)?;
            let words = listed.lines().filter_map(|line| line.strip_suffix(": test"));
            all.extend(words.map(|word| (program, format!("{target} {word}"), word.to_owned())));
        }
        fs::create_dir_all(self.notes)?;
        let tests = self.each(&all, |at, (program, name, word)| {
            let note = self.notes.join(at.to_string());
            let _ = fs::remove_file(&note);
            let reached = note.to_str().context("a path that is UTF-8")?;
            let began = Instant::now();
            let code = self.run(program, word, Duration::from_secs(600), ("NOCKVAULT_MUTANTS_REACHED", reached))?;
            let usual = began.elapsed();
            ensure!(code == Some(0), "{name} fails with no mutant on");
            let numbers = fs::read_to_string(&note).unwrap_or_default();
            let reaches = numbers.lines().filter_map(|number| number.parse().ok()).collect();
            let (asked, caught) = (AtomicU32::new(0), AtomicU32::new(0));
            let (program, name, word) = ((*program).clone(), name.clone(), word.clone());
            Ok(Test { program, name, word, usual, reaches, asked, caught })
        });
        tests.into_iter().collect()
    }

    /// What becomes of each of these mutants, and by which test.
    pub fn judge(&self, numbers: &[usize], names: &[&str], tests: &[Test]) -> Result<Vec<(Outcome, String)>> {
        let done = AtomicUsize::new(0);
        let found = self.each(numbers, |at, number| {
            let outcome = self.one(*number, tests);
            if let Ok((Outcome::Missed | Outcome::Unreached, _)) = &outcome {
                eprintln!("mutants: lives: {}", names[at]);
            }
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if done.is_multiple_of(100) {
                eprintln!("mutants: {done} of {}", numbers.len());
            }
            outcome
        });
        found.into_iter().collect()
    }

    fn one(&self, number: usize, tests: &[Test]) -> Result<(Outcome, String)> {
        let mut reach: Vec<&Test> = tests.iter().filter(|test| test.reaches.contains(&number)).collect();
        reach.sort_by_cached_key(|test| test.price());
        for test in &reach {
            let limit = LONGEST + test.usual * SLOWER;
            let code = self.run(&test.program, &test.word, limit, ("NOCKVAULT_MUTANT", &number.to_string()))?;
            test.asked.fetch_add(1, Ordering::Relaxed);
            if code != Some(0) {
                test.caught.fetch_add(1, Ordering::Relaxed);
                let outcome = if code == Some(137) { Outcome::Timeout } else { Outcome::Caught };
                return Ok((outcome, test.name.clone()));
            }
        }
        Ok((if reach.is_empty() { Outcome::Unreached } else { Outcome::Missed }, String::new()))
    }

    /// Runs one test. `timeout` ends whatever the test has started, too, and then gives 137.
    fn run(&self, program: &Path, word: &str, limit: Duration, (name, value): (&str, &str)) -> Result<Option<i32>> {
        let status = Command::new("sh")
            .args(["-c", "ulimit -c 0 -v $0; exec timeout -s KILL \"$@\"", ROOM])
            .arg(format!("{:.1}", limit.as_secs_f64()))
            .arg(program)
            .args(["--exact", word, "--test-threads", "1"])
            .current_dir(self.tree)
            .env("CARGO_MANIFEST_DIR", self.tree)
            // The same cases each time, and no search for a smaller one: that one fails is all that is asked.
            .envs([("PROPTEST_RNG_SEED", "1"), ("PROPTEST_MAX_SHRINK_ITERS", "0")])
            .envs([("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1"), ("RUST_BACKTRACE", "0")])
            .env(name, value)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        // `timeout` ends itself as it ends the test.
        Ok(status.code().or_else(|| status.signal().map(|signal| 128 + signal)))
    }

    /// Does it to each, some at a time, and gives what it gave in their order.
    fn each<T: Sync, O: Send>(&self, all: &[T], act: impl Fn(usize, &T) -> O + Sync) -> Vec<O> {
        let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        thread::scope(|scope| {
            for _ in 0..self.jobs {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(one) = all.get(at) else { return };
                        let gave = act(at, one);
                        done.lock().expect("no job panics").push((at, gave));
                    }
                });
            }
        });
        let mut done = done.into_inner().expect("no job panics");
        done.sort_by_key(|(at, _)| *at);
        done.into_iter().map(|(_, gave)| gave).collect()
    }
}
