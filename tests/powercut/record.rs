//! What this process writes into a folder, and when it has it synced, as the kernel is asked for it. strace looks on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{PTracer, Pid, Signal, kill_process, set_ptracer};

/// What changes a file, what makes that last, and what a mark is made with.
const CALLS: &str =
    "pwrite64,fdatasync,fsync,ftruncate,unlink,unlinkat,rename,renameat,renameat2,statx,newfstatat,stat";
/// A folder that is nowhere. Who asks for a file in it leaves a mark in the record.
const MARKS: &str = "/nockvault-marks/";
const PATIENCE: Duration = Duration::from_secs(30);

/// One thing that happened, in its order.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Bytes at a place of a file.
    Write { file: String, at: usize, bytes: Vec<u8> },
    /// A file got this length.
    Length { file: String, length: usize },
    /// What was written to a file lasts.
    Sync { file: String },
    /// A file is gone.
    Gone { file: String },
    /// So many were answered by now.
    Mark(usize),
}

/// Leaves a mark in the record: from here on, so many were answered.
pub(crate) fn mark(answered: usize) {
    assert!(!Path::new(MARKS).join(answered.to_string()).exists());
}

/// The record while it is made.
pub(crate) struct Recording {
    strace: Child,
    log: PathBuf,
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

impl Recording {
    /// Begins, and returns when every thread of this process is looked at.
    pub(crate) fn begin(log: &Path) -> Recording {
        // Where only ancestors may look on, this one may too. A system that knows no such rule has nothing to lift.
        let _ = set_ptracer(PTracer::Any);
        let strace = Command::new("strace")
            .args(["-f", "-y", "-xx", "-s", "100000", "-e", "signal=none", "-e", CALLS, "-o"])
            .arg(log)
            .args(["-p", &std::process::id().to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("strace is here");
        let recording = Recording { strace, log: log.to_owned() };
        let begin = Instant::now();
        while !all_traced() {
            assert!(begin.elapsed() < PATIENCE, "strace may not look at this process");
            std::thread::sleep(Duration::from_millis(5));
        }
        recording
    }

    /// Ends, and gives what happened to the files of `folder`, each by its name there.
    pub(crate) fn end(mut self, folder: &Path) -> Vec<Step> {
        let pid = Pid::from_child(&self.strace);
        kill_process(pid, Signal::INT).expect("it looks on");
        self.strace.wait().expect("it ends");
        read(&fs::read_to_string(&self.log).expect("strace wrote it"), folder)
    }
}

fn all_traced() -> bool {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux tells");
    tasks.flatten().all(|task| {
        // A thread that has ended needs no tracer.
        let Ok(status) = fs::read_to_string(task.path().join("status")) else { return true };
        status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|pid| pid.trim() != "0"))
    })
}

/// A line `PID call(ARGUMENTS) = RESULT`, or its two halves where another thread came in between. What is asked for counts
/// from where it was asked; a sync, from where it was answered.
fn read(log: &str, folder: &Path) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut asked: BTreeMap<&str, &str> = BTreeMap::new();
    for line in log.lines() {
        let Some((pid, said)) = line.split_once(' ') else { continue };
        let said = said.trim_start();
        if let Some(half) = said.strip_suffix("<unfinished ...>") {
            steps.extend(begun(half, folder));
            asked.insert(pid, half);
        } else if said.starts_with("<... ") {
            let half = asked.remove(pid).unwrap_or_else(|| panic!("no beginning of {line}"));
            steps.extend(ended(half, said, folder));
        } else {
            steps.extend(begun(said, folder));
            steps.extend(ended(said, said, folder));
        }
    }
    steps
}

/// What a call does from where it begins.
fn begun(call: &str, folder: &Path) -> Option<Step> {
    let (name, arguments) = call.split_once('(')?;
    if let Some(named) = quoted(arguments).and_then(|(bytes, _)| String::from_utf8(bytes).ok())
        && let Some(answered) = named.strip_prefix(MARKS)
    {
        return Some(Step::Mark(answered.parse().expect("a number")));
    }
    let file = of_folder(name, arguments, folder)?;
    match name {
        "pwrite64" => {
            let (bytes, rest) = quoted(arguments)?;
            let mut numbers = rest.trim_start_matches(", ").split([',', ')']).map(str::trim);
            let (count, at): (usize, usize) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
            assert_eq!(bytes.len(), count, "strace cut a write");
            Some(Step::Write { file, at, bytes })
        }
        "ftruncate" => {
            let length = arguments.split_once(">, ")?.1.split(')').next()?.trim().parse().ok()?;
            Some(Step::Length { file, length })
        }
        "unlink" | "unlinkat" => Some(Step::Gone { file }),
        name if name.starts_with("rename") => {
            panic!("the store renames {file} under load, of which nothing is known here")
        }
        _ => None,
    }
}

/// What a call has done when it ends: `call` has its arguments, `end` its result.
fn ended(call: &str, end: &str, folder: &Path) -> Option<Step> {
    let (name, arguments) = call.split_once('(')?;
    let file = of_folder(name, arguments, folder)?;
    let result = end.rsplit_once(" = ").map(|(_, result)| result.trim())?;
    let went_well = !result.starts_with('-');
    assert!(
        went_well || !["pwrite64", "ftruncate", "fdatasync", "fsync"].contains(&name),
        "{name} of {file}: {result}"
    );
    if name == "pwrite64" {
        let wanted = arguments.rsplit_once(", ").and_then(|(rest, _)| rest.rsplit_once(", "));
        // Where the call was cut in two, its arguments end with a bracket or with nothing.
        assert!(wanted.is_some_and(|(_, count)| count.trim() == result), "{file}: a short write, {result}");
    }
    matches!(name, "fdatasync" | "fsync").then_some(Step::Sync { file })
}

/// The name of the file that a call is about, where it lies in this folder.
fn of_folder(name: &str, arguments: &str, folder: &Path) -> Option<String> {
    let path = match name {
        "pwrite64" | "ftruncate" | "fdatasync" | "fsync" => {
            let (_, path) = arguments.split_once('<')?;
            unhexed(path.split_once('>')?.0)
        }
        _ => quoted(arguments)?.0,
    };
    let path = PathBuf::from(String::from_utf8(path).ok()?);
    Some(path.strip_prefix(folder).ok()?.to_str()?.to_owned())
}

/// The first text in quotes, and what follows it.
fn quoted(arguments: &str) -> Option<(Vec<u8>, &str)> {
    let (_, rest) = arguments.split_once('"')?;
    let (text, rest) = rest.split_once('"')?;
    assert!(!rest.starts_with("..."), "strace cut a text");
    Some((unhexed(text), rest))
}

/// `\x61\x62` is `ab`.
fn unhexed(text: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).expect("strace writes hex") as u8;
    text.as_bytes().chunks_exact(4).map(|four| digit(four[2]) << 4 | digit(four[3])).collect()
}
