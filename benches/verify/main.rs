//! How fast a chain is verified, beside the bound of its signatures, and in how much memory.
//!
//! `cargo bench --bench verify -- [--sizes 1000,100000,1000000] [--speed 100000]`
//!
//! Without `--bench`, which cargo bench adds, the numbers are small, so that a run only shows that all of it works.
//!
//! - bound: the time of two `verify_strict`, which every entry of a request needs: the vault's signature and the agent's.
//! - speed: entries a second, by one thread and by all; the CPU time of an entry, and what share of that is the bound.
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

/// CPU time of this process so far, of threads that ended too. Its ticks are hundredths of a second.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    // The name before them may hold spaces; it ends with the last bracket.
    let (_, after) = text.rsplit_once(')').unwrap();
    let ticks = after.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap());
    Duration::from_millis(10 * ticks.sum::<u64>())
}

/// What something took.
struct Took {
    wall: Duration,
    cpu: Duration,
}

fn take(work: impl FnOnce()) -> Took {
    let (began, before) = (Instant::now(), cpu());
    work();
    Took { wall: began.elapsed(), cpu: cpu().saturating_sub(before) }
}

/// Verifies a chain.
fn verify(file: &Path, size: u64, threads: usize) {
    let pins = Pins { identity: Some(chain::identity().public()), ..Pins::default() };
    let reader = BufReader::new(File::open(file).unwrap());
    let report = verify_with(reader, &pins, Means { threads, ..Means::default() }).unwrap();
    assert_eq!((&report.verdict, report.size), (&Verdict::Intact, size), "{report}");
}

/// The CPU time of one `verify_strict` over as many bytes as an entry has, in seconds.
fn bound(rounds: u32) -> f64 {
    let key = SigningKey::generate(&SeededEntropy::new(1));
    let message = vec![b'x'; 1500];
    let (public, sig) = (key.public(), key.sign_raw(&message));
    let took = take(|| {
        for _ in 0..rounds {
            black_box(public.verify_raw(black_box(&message), &sig)).unwrap();
        }
    });
    took.cpu.as_secs_f64() / f64::from(rounds)
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
        verify(Path::new(&given[at + 1]), given[at + 2].parse().unwrap(), given[at + 3].parse().unwrap());
        println!("{:.1} MiB, {before:.1} of them before it began", memory("VmHWM"));
        return;
    }
    let sizes = option(&given, "--sizes", "1000,100000,1000000", "100,2000");
    let speed: u64 = option(&given, "--speed", "100000", "2000").parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);

    let one = bound(if speed > 10_000 { 20_000 } else { 500 });
    println!("verify_strict: {:.1} us", one * 1e6);
    let file = write(folder.path(), speed);
    for threads in [1, cores] {
        let took = (0..3).map(|_| take(|| verify(&file, speed, threads))).min_by_key(|took| took.cpu).unwrap();
        let each = took.cpu.as_secs_f64() / speed as f64;
        println!(
            "{threads} thread{}: {:.0} entries/s; {:.1} us of CPU time each, of which two verify_strict are {:.0} %",
            if threads == 1 { "" } else { "s" },
            speed as f64 / took.wall.as_secs_f64(),
            each * 1e6,
            200.0 * one / each
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
