//! What whoever takes over the daemon from inside finds: tried in a thread behind the same walls, which hold that thread
//! and what it starts, and not the test.

use std::fs;
use std::io::ErrorKind::PermissionDenied;
use std::net::{TcpListener, TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use nockvault::config::Config;
use nockvault::entropy::OsEntropy;
use nockvault::server::init::{self, Plan};
use nockvault::server::walls::Raised;
use nockvault::server::walls::calls::{self, ROWS, Row, When};
use nockvault::server::walls::files;
use nockvault::time::{Clock as _, SystemClock};
use rustix::process::{Pid, Signal, kill_process};

/// Runs this behind walls: in a thread of its own, that is gone afterwards.
fn inside<T: Send>(what: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|threads| threads.spawn(what).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}

fn stands(raised: Result<Raised, String>) {
    assert!(matches!(raised, Ok(Raised::Stands(_))), "{raised:?}");
}

fn laid(folder: &Path) -> PathBuf {
    let loopback = "127.0.0.1:0".parse().unwrap();
    let plan = Plan {
        folder: folder.to_owned(),
        name: "test".parse().unwrap(),
        operator: "ada".parse().unwrap(),
        hosts: Vec::new(),
        agents: loopback,
        operators: None,
        http: loopback,
        custody: nockvault::server::init::Keeper::File(None),
    };
    init::lay(&plan, SystemClock.now(), &(Arc::new(OsEntropy) as _)).unwrap().config
}

#[track_caller]
fn denied<T: std::fmt::Debug>(what: std::io::Result<T>) {
    assert_eq!(what.expect_err("it was let through").kind(), PermissionDenied);
}

#[test]
fn files_beside_the_vault_are_out_of_reach() {
    let folder = tempfile::tempdir().unwrap();
    let vault = folder.path().join("vault");
    let config = Config::read(&laid(&vault)).unwrap();
    let shadow = folder.path().join("shadow");
    fs::write(&shadow, "root:secret").unwrap();
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = elsewhere.local_addr().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    let pid = Pid::from_child(&other);
    inside(|| {
        stands(files::close(&files::plan(&config, &[])));
        // What it needs.
        for open in ["data", "audit"] {
            let file = vault.join(open).join("new");
            fs::write(&file, "x").unwrap();
            fs::rename(&file, vault.join(open).join("newer")).unwrap();
            fs::remove_file(vault.join(open).join("newer")).unwrap();
        }
        drop(UnixListener::bind(vault.join("run/new.sock")).unwrap());
        fs::remove_file(vault.join("run/new.sock")).unwrap();
        fs::write(vault.join("data/renewed"), "x").unwrap();
        fs::read(vault.join("tls/server.key")).unwrap();
        assert!(("localhost", 1).to_socket_addrs().unwrap().next().is_some());
        fs::read("/proc/sys/kernel/random/boot_id").unwrap();
        TcpStream::connect(at).unwrap();
        drop(TcpListener::bind("127.0.0.1:0").unwrap());
        // What it does not.
        denied(fs::read(&shadow));
        denied(fs::write(&shadow, "x"));
        denied(fs::File::create(folder.path().join("new")));
        denied(fs::remove_file(&shadow));
        denied(fs::rename(vault.join("data/renewed"), folder.path().join("out")));
        denied(fs::write(vault.join("tls/server.key"), "x"));
        denied(fs::write(vault.join("run/file"), "x"));
        denied(fs::read(vault.join("vaultd.toml")));
        denied(fs::read(vault.join("root.key")));
        denied(fs::read_dir(folder.path()));
        denied(fs::read_dir("/root"));
        denied(fs::write("/usr/nockvault-test", "x"));
        denied(Command::new("/bin/true").status());
        denied(TcpListener::bind(free));
        assert!(kill_process(pid, Signal::KILL).is_err(), "another process was reached");
    });
    other.kill().unwrap();
    other.wait().unwrap();
}

/// Makes each call that it is given, as `name number argument*` a line, and prints `name errno`.
const CALLS: &str = "
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
for line in sys.argv[1].splitlines():
    name, *numbers = line.split()
    ctypes.set_errno(0)
    done = libc.syscall(*[ctypes.c_long(int(number)) for number in numbers])
    print(name, ctypes.get_errno() if done == -1 else 0)
";

/// A way in which a row's call is refused.
fn arguments(row: &Row) -> Vec<[u64; 6]> {
    let with = |at: u8, value: u64| {
        let mut all = [0; 6];
        all[usize::from(at)] = value;
        all
    };
    let one = |when: &When| match *when {
        When::Is(at, value) | When::Has(at, value) => with(at, value.into()),
        // AF_ALG, a door to the kernel's ciphers.
        When::IsNone(at, _) => with(at, 38),
    };
    if row.when.is_empty() { vec![[0; 6]] } else { row.when.iter().map(one).collect() }
}

fn runs(row: &&Row) -> bool {
    row.name.starts_with("execve")
}

fn python(rows: &[Row]) -> Command {
    let mut lines = String::new();
    for row in rows {
        for all in arguments(row) {
            lines += &format!("{} {} {}\n", row.name, row.number, all.map(|one| one.to_string()).join(" "));
        }
    }
    let mut command = Command::new("python3");
    command.args(["-c", CALLS, &lines]).stdin(Stdio::null());
    command
}

#[test]
fn each_call_of_the_table_is_refused() {
    let rows: Vec<Row> = ROWS.iter().filter(|row| !runs(row)).copied().collect();
    assert!(rows.len() > 60, "the table has {} rows", rows.len());
    let tried = inside(|| {
        stands(calls::refuse_rows(&rows, false));
        python(&rows).output().unwrap()
    });
    let out = String::from_utf8(tried.stdout).unwrap();
    assert!(tried.status.success(), "{out}{}", String::from_utf8_lossy(&tried.stderr));
    #[cfg(target_arch = "x86_64")]
    {
        let own = |number| Row { name: "x32", number, when: &[], why: "" };
        let rows: Vec<Row> = calls::X32_OWN.map(own).collect();
        let tried = inside(|| {
            stands(calls::refuse_rows(&[], false));
            python(&rows).output().unwrap()
        });
        let out = String::from_utf8(tried.stdout).unwrap();
        assert!(out.lines().count() == 36 && out.lines().all(|line| line.ends_with(" 1")), "{out}");
    }
    let wanted: usize = rows.iter().map(|row| arguments(row).len()).sum();
    assert_eq!(out.lines().count(), wanted);
    let through: Vec<&str> = out.lines().filter(|line| !line.ends_with(" 1")).collect();
    assert!(through.is_empty(), "let through: {through:?}");

    // Without the wall, calls that anybody may make are made: it is the wall that refused them.
    let harmless: Vec<Row> =
        rows.iter().filter(|row| ["personality", "prctl", "kcmp", "mprotect"].contains(&row.name)).copied().collect();
    assert_eq!(harmless.len(), 4);
    let out = String::from_utf8(python(&harmless).output().unwrap().stdout).unwrap();
    assert!(!out.is_empty() && out.lines().all(|line| !line.ends_with(" 1")), "{out}");
}

#[test]
fn nothing_can_be_run_and_a_refused_call_can_end_the_process() {
    let refused = inside(|| {
        stands(calls::refuse(false));
        // Threads are still made.
        assert_eq!(std::thread::spawn(|| 7).join().unwrap(), 7);
        Command::new("/bin/true").status()
    });
    denied(refused);
    let only: Vec<Row> = ROWS.iter().filter(|row| row.name == "ptrace").copied().collect();
    let ended = inside(|| {
        stands(calls::refuse_rows(&only, true));
        python(&only).output().unwrap()
    });
    assert_eq!(ended.status.signal(), Some(Signal::SYS.as_raw()), "{ended:?}");
}

#[test]
fn the_table_names_each_call_once_and_says_why() {
    let mut numbers: Vec<i64> = ROWS.iter().map(|row| row.number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), ROWS.len());
    assert!(ROWS.iter().all(|row| row.why.starts_with("to ")));
}
