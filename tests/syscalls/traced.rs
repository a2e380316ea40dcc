//! A daemon under strace, which counts what it asks of the system about the vault's files, or has one of these calls fail.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::programs::program;

/// The longest that a daemon may take to begin or to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Every call about files, with the errors that each can have.
pub(crate) const CALLS: &[(&str, usize, &[&str])] = &[
    ("fsync", 16, &["EIO", "ENOSPC", "EDQUOT"]),
    ("fdatasync", 16, &["EIO", "ENOSPC", "EDQUOT"]),
    ("pwrite64", 26, &["EIO", "ENOSPC", "EROFS", "EDQUOT"]),
    ("write", 10, &["ENOSPC", "EIO", "EROFS", "EDQUOT"]),
    ("ftruncate", 6, &["EIO", "ENOSPC", "EROFS"]),
    ("fallocate", 2, &["ENOSPC", "EIO", "EOPNOTSUPP"]),
    ("openat", 18, &["EIO", "EMFILE", "EROFS", "ENOSPC", "EACCES"]),
    ("pread64", 16, &["EIO"]),
    ("read", 8, &["EIO"]),
    ("rename", 4, &["EIO", "ENOSPC", "EROFS"]),
    ("unlink", 4, &["EIO", "EROFS"]),
    ("mkdir", 3, &["EIO", "ENOSPC"]),
    ("mmap", 4, &["ENOMEM", "ENODEV"]),
    ("flock", 2, &["EIO", "ENOLCK"]),
    ("fcntl", 14, &["EIO", "ENOLCK"]),
    ("newfstatat", 6, &["EIO", "ENOMEM"]),
    ("fstat", 4, &["EIO"]),
    ("statx", 8, &["EIO", "EACCES"]),
    ("getdents64", 3, &["EIO"]),
    ("fchmod", 2, &["EIO"]),
];

/// One call that fails.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) call: &'static str,
    pub(crate) error: &'static str,
    /// Which of these calls, as strace says it: `3`, `3..6`, `3+`. It counts in each thread by itself.
    pub(crate) when: String,
}

impl Fault {
    fn option(&self) -> String {
        format!("inject={}:error={}:when={}", self.call, self.error, self.when)
    }
}

/// Such a daemon. What is started here is stopped here.
pub(crate) struct Traced {
    /// strace stands behind it, so that this is the daemon itself.
    pub(crate) daemon: Child,
    log: PathBuf,
}

impl Drop for Traced {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// How a daemon began.
pub(crate) enum Began {
    Serves(Traced),
    /// It ended instead, with this code and these words.
    Ended(i32, String),
}

/// Every file of the vault that is there, and those that come and go.
fn files(vault: &Path) -> Vec<PathBuf> {
    let mut found = vec![vault.to_owned()];
    let mut at = 0;
    while at < found.len() {
        if found[at].is_dir() {
            for entry in fs::read_dir(&found[at]).unwrap().flatten() {
                // A socket is no file.
                if !entry.file_type().unwrap().is_socket() {
                    found.push(entry.path());
                }
            }
        }
        at += 1;
    }
    for name in ["data/vault.db-wal", "data/vault.db-shm", "data/vault.db-journal", "data/reserve"] {
        found.push(vault.join(name));
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Starts the daemon of the vault in `folder`, with this fault, or with none and every call written to `calls`.
pub(crate) fn start(folder: &Path, fault: Option<&Fault>, calls: &Path) -> Began {
    let vault = folder.join("vault").canonicalize().unwrap();
    let log = folder.join("traced.log");
    let names: Vec<&str> = CALLS.iter().map(|(name, ..)| *name).collect();
    let mut command = program("strace", folder);
    // The tracer is no parent, so that what is killed here is the daemon.
    command.args(["-D", "-f", "-q", "--seccomp-bpf", "-e", "signal=none", "-o"]).arg(calls);
    for file in files(&vault) {
        command.arg("-P").arg(file);
    }
    command.arg("-e").arg(format!("trace={}", fault.map_or(names.join(","), |fault| fault.call.to_owned())));
    if let Some(fault) = fault {
        command.arg("-e").arg(fault.option());
    }
    command.arg(env!("CARGO_BIN_EXE_vaultd")).arg("--config").arg(vault.join("vaultd.toml"));
    let mut daemon =
        command.stdout(Stdio::piped()).stderr(File::create(&log).unwrap()).spawn().expect("strace is here");
    let out = daemon.stdout.take().expect("it is piped");
    let (say, said) = mpsc::channel();
    std::thread::spawn(move || {
        let mut first = String::new();
        let _ = BufReader::new(out).read_line(&mut first);
        // Whoever waited may have given up.
        let _ = say.send(first);
    });
    let mut traced = Traced { daemon, log };
    match said.recv_timeout(PATIENCE) {
        Ok(first) if first.starts_with("ready") => Began::Serves(traced),
        Ok(_) => Began::Ended(traced.ended().expect("it said nothing and does not end"), traced.words()),
        Err(_) => panic!("it neither serves nor ends: {}", traced.words()),
    }
}

impl Traced {
    /// What it has logged.
    pub(crate) fn words(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for its end. Gives its code, or none where it goes on.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            if let Some(code) = self.over() {
                return Some(code);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }

    /// Its code, where it has ended.
    pub(crate) fn over(&mut self) -> Option<i32> {
        self.daemon.try_wait().expect("it is ours").map(|status| status.code().unwrap_or(-1))
    }

    /// Kills it (SIGKILL). Gives what it had logged.
    pub(crate) fn kill(mut self) -> String {
        let _ = self.daemon.kill();
        self.daemon.wait().expect("it ends");
        self.words()
    }
}

/// How often each call was made, by the thread that made it most.
pub(crate) fn counted(calls: &Path) -> BTreeMap<String, usize> {
    // The tracer writes on for a moment after the daemon's end.
    std::thread::sleep(Duration::from_millis(200));
    let mut by_thread: BTreeMap<(String, String), usize> = BTreeMap::new();
    for line in fs::read_to_string(calls).unwrap().lines() {
        let Some((thread, said)) = line.split_once(' ') else { continue };
        if let Some((call, _)) = said.trim_start().split_once('(')
            && CALLS.iter().any(|(name, ..)| *name == call)
        {
            *by_thread.entry((thread.to_owned(), call.to_owned())).or_default() += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((_, call), count) in by_thread {
        let known = most.entry(call).or_insert(0);
        *known = count.max(*known);
    }
    most
}

/// Whether the fault came to pass.
pub(crate) fn injected(calls: &Path) -> usize {
    fs::read_to_string(calls).unwrap_or_default().matches("(INJECTED)").count()
}
