//! Runs tests: once each with nothing switched on, to see which mutants it reaches and how long it takes; then, for each
//! mutant, the tests that reach it, the shortest first, until one fails. Each in a process of its own, since what is
//! switched on stays on, and since a mutant may loop or abort.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
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
    /// Runs every test of these programs, with nothing switched on. The shortest come first.
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
            Ok(Test { program: (*program).clone(), name: name.clone(), word: word.clone(), usual, reaches })
        });
        let mut tests = tests.into_iter().collect::<Result<Vec<_>>>()?;
        tests.sort_by_key(|test| test.usual);
        Ok(tests)
    }

    /// What becomes of each of these mutants, and by which test.
    pub fn judge(&self, numbers: &[usize], tests: &[Test]) -> Result<Vec<(Outcome, String)>> {
        let done = AtomicUsize::new(0);
        let found = self.each(numbers, |_, number| {
            let outcome = self.one(*number, tests);
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if done.is_multiple_of(100) {
                eprintln!("mutants: {done} of {}", numbers.len());
            }
            outcome
        });
        found.into_iter().collect()
    }

    fn one(&self, number: usize, tests: &[Test]) -> Result<(Outcome, String)> {
        let mut outcome = Outcome::Unreached;
        for test in tests.iter().filter(|test| test.reaches.contains(&number)) {
            let limit = LONGEST + test.usual * SLOWER;
            match self.run(&test.program, &test.word, limit, ("NOCKVAULT_MUTANT", &number.to_string()))? {
                Some(0) => outcome = Outcome::Missed,
                Some(137) => return Ok((Outcome::Timeout, test.name.clone())),
                _ => return Ok((Outcome::Caught, test.name.clone())),
            }
        }
        Ok((outcome, String::new()))
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
        Ok(status.code())
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
