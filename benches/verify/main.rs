//! How fast a chain is verified, beside the bound of its signatures, and in how much memory.
//!
//! `cargo bench --bench verify -- [--sizes 1000,100000,1000000] [--speed 100000]`
//!
//! Without `--bench`, which cargo bench adds, the numbers are small, so that a run only shows that all of it works.
//!
//! - bound: the time of two `verify_strict`, which every entry of a request needs: the vault's signature and the agent's.
//! - speed: entries a second, by one thread and by all, and what share of that is the bound.
//! - memory: the most that a new process had resident while it verified a chain of each size, and no fewer than before.
//!
//! The chains are made as a vault makes them, of one agent that works session by session: every entry is judged by all
//! that is judged of any chain.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that cannot go on stops, and prints its figures")]

mod chain;

use std::fs::File;
use std::hint::black_box;
use std::io::{BufReader, BufWriter};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nockvault::audit::verify::report::Verdict;
use nockvault::audit::verify::{Means, Pins, verify_with};
use nockvault::crypto::signature::SigningKey;
use nockvault::entropy::SeededEntropy;

/// Verifies the file and says how much memory it took: what this program calls itself with.
const LOOK: &str = "--look";

fn option(given: &[String], name: &str, whole: &str, trial: &str) -> String {
    let at = given.iter().position(|argument| argument == name);
    let fallback = if given.iter().any(|argument| argument == "--bench") { whole } else { trial };
    at.and_then(|at| given.get(at + 1).cloned()).unwrap_or_else(|| fallback.to_owned())
}

/// Verifies a chain, and gives how long it took.
fn time(file: &Path, size: u64, threads: usize) -> Duration {
    let pins = Pins { identity: Some(chain::identity().public()), ..Pins::default() };
    let reader = BufReader::new(File::open(file).unwrap());
    let began = Instant::now();
    let report = verify_with(reader, &pins, Means { threads, ..Means::default() }).unwrap();
    let took = began.elapsed();
    assert_eq!((&report.verdict, report.size), (&Verdict::Intact, size), "{report}");
    took
}

/// The time of one `verify_strict` over as many bytes as an entry has.
fn bound(rounds: u32) -> Duration {
    let key = SigningKey::generate(&SeededEntropy::new(1));
    let message = vec![b'x'; 1500];
    let (public, sig) = (key.public(), key.sign_raw(&message));
    let began = Instant::now();
    for _ in 0..rounds {
        black_box(public.verify_raw(black_box(&message), &sig)).unwrap();
    }
    began.elapsed() / rounds
}

/// One line of `/proc/self/status`, in MiB.
fn memory(line: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let value = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(':')).unwrap();
    value.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

fn write(folder: &Path, size: u64) -> std::path::PathBuf {
    let path = folder.join(format!("{size}.audit.jsonl"));
    let began = Instant::now();
    chain::write(&mut BufWriter::new(File::create(&path).unwrap()), size).unwrap();
    let bytes = std::fs::metadata(&path).unwrap().len();
    println!("{size} entries, {} bytes each, were written in {:.1} s", bytes / size, began.elapsed().as_secs_f64());
    path
}

fn main() {
    let given: Vec<String> = std::env::args().collect();
    if let Some(at) = given.iter().position(|argument| argument == LOOK) {
        let before = memory("VmHWM");
        time(Path::new(&given[at + 1]), given[at + 2].parse().unwrap(), given[at + 3].parse().unwrap());
        println!("{:.1} MiB, {before:.1} of them before it began", memory("VmHWM"));
        return;
    }
    let sizes = option(&given, "--sizes", "1000,100000,1000000", "100,2000");
    let speed: u64 = option(&given, "--speed", "100000", "2000").parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);

    let one = bound(if speed > 10_000 { 20_000 } else { 200 });
    println!("verify_strict: {:.1} us", one.as_secs_f64() * 1e6);
    let file = write(folder.path(), speed);
    for threads in [1, cores] {
        let took = (0..3).map(|_| time(&file, speed, threads)).min().unwrap();
        let each = took.as_secs_f64() / speed as f64;
        let share = 2.0 * one.as_secs_f64() / each / threads as f64;
        println!(
            "{threads} thread{}: {:.0} entries/s, {:.1} us each; two verify_strict are {:.0} % of a core's time",
            if threads == 1 { "" } else { "s" },
            1.0 / each,
            each * 1e6,
            share * 100.0
        );
    }
    for size in sizes.split(',') {
        let file = write(folder.path(), size.parse().unwrap());
        for threads in [1, cores] {
            let told = Command::new(std::env::current_exe().unwrap())
                .arg(LOOK)
                .arg(&file)
                .args([size, &threads.to_string()])
                .output()
                .unwrap();
            assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
            print!("{size} entries by {threads}: {}", String::from_utf8_lossy(&told.stdout));
        }
        std::fs::remove_file(file).unwrap();
    }
}
