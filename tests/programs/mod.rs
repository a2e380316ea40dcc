//! The real programs, for tests that use them as people do: a vault in a temporary folder, its daemon, and vaultctl
//! with nothing of the user's around it. What is started is stopped.

#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

pub mod foreign;
pub mod sdk;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// What a program said and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    fn of(output: Output) -> Said {
        Said {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Its standard output, where it ended with 0.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// Its standard error, where it ended with this code.
    #[track_caller]
    pub fn fails(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        self.err
    }
}

/// A vault made by `vaultctl init`, and its daemon.
pub struct Vault {
    pub folder: tempfile::TempDir,
    daemon: Child,
    /// The line that the daemon began with: where it can be reached.
    pub ready: String,
}

impl Drop for Vault {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// A program of ours, in `folder`, with nothing of the user's environment.
pub fn program(path: impl AsRef<Path>, folder: &Path) -> Command {
    let mut command = Command::new(path.as_ref());
    command.env_clear().current_dir(folder).stdin(Stdio::null());
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", folder).env("USER", "ada");
    command
}

pub fn said(command: &mut Command) -> Said {
    Said::of(command.output().expect("the program starts"))
}

impl Vault {
    /// Makes a vault named `prod` with the operator `ada`, and starts it.
    pub fn start() -> Vault {
        Vault::start_with(|config| config)
    }

    /// The same, with its configuration changed.
    pub fn start_with(change: impl Fn(String) -> String) -> Vault {
        let folder = tempfile::Builder::new().prefix("nv").tempdir().expect("a temporary folder");
        for attempt in 0.. {
            let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
            let listen = format!("127.0.0.1:{port}");
            let init = ["init", "--name", "prod", "--dir", "vault", "--listen", &listen, "--http", "127.0.0.1:0"];
            said(program(env!("CARGO_BIN_EXE_vaultctl"), folder.path()).args(init)).ok();
            let config = folder.path().join("vault/vaultd.toml");
            let text = std::fs::read_to_string(&config).expect("init wrote it");
            std::fs::write(&config, change(text)).expect("it is ours");
            match daemon(folder.path(), &[]) {
                Some((daemon, ready)) => return Vault { folder, daemon, ready },
                // Somebody else took the port in between.
                None if attempt < 5 => {
                    for made in ["vault", ".config"] {
                        std::fs::remove_dir_all(folder.path().join(made)).expect("what was made can be removed");
                    }
                }
                None => break,
            }
        }
        let log = std::fs::read_to_string(folder.path().join("vaultd.log")).unwrap_or_default();
        panic!("vaultd did not start:\n{log}")
    }

    /// Starts the vault that was made in this folder, under `vault`, with these variables.
    pub fn standing_in(folder: tempfile::TempDir, around: &[(&str, &str)]) -> Vault {
        let started = daemon(folder.path(), around);
        let (daemon, ready) = started.unwrap_or_else(|| {
            let log = std::fs::read_to_string(folder.path().join("vaultd.log")).unwrap_or_default();
            panic!("vaultd did not start:\n{log}")
        });
        Vault { folder, daemon, ready }
    }

    /// Stops the daemon as an operator would, and starts it again.
    pub fn restart(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.daemon);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        assert!(self.daemon.wait().expect("it ends").success());
        self.go_on();
    }

    /// Kills the daemon (SIGKILL), wherever it is.
    pub fn kill(&mut self) {
        self.daemon.kill().expect("it is ours");
        self.daemon.wait().expect("it ends");
    }

    /// Starts the daemon again.
    pub fn go_on(&mut self) {
        (self.daemon, self.ready) = daemon(self.path(), &[]).expect("vaultd starts again");
    }

    /// Starts the daemon again, with these variables.
    pub fn go_on_with(&mut self, around: &[(&str, &str)]) {
        (self.daemon, self.ready) = daemon(self.path(), around).expect("vaultd starts again");
    }

    /// Starts the daemon again, to stand still at this step for ever (`src/failpoint.rs`).
    pub fn go_on_until(&mut self, step: &str) {
        (self.daemon, self.ready) = daemon(self.path(), &[("NOCKVAULT_FAILPOINT", step)]).expect("vaultd starts again");
    }

    /// Starts the daemon again, with a clock that is so far off.
    pub fn go_on_with_clock(&mut self, off: &str) {
        let around = clock(off);
        let around: Vec<(&str, &str)> = around.iter().map(|(name, value)| (*name, value.as_str())).collect();
        (self.daemon, self.ready) = daemon(self.path(), &around).expect("vaultd starts again");
    }

    /// The daemon's process.
    pub fn id(&self) -> u32 {
        self.daemon.id()
    }

    /// What the daemon has logged, in all its lives.
    pub fn log(&self) -> PathBuf {
        self.path().join("vaultd.log")
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn card(&self) -> PathBuf {
        self.path().join("vault/prod.card")
    }

    pub fn vaultctl(&self, arguments: &[&str]) -> Said {
        said(program(env!("CARGO_BIN_EXE_vaultctl"), self.path()).args(arguments))
    }

    /// The same, with this on its standard input.
    pub fn vaultctl_fed(&self, arguments: &[&str], input: &[u8]) -> Said {
        let mut command = program(env!("CARGO_BIN_EXE_vaultctl"), self.path());
        fed(command.args(arguments), input)
    }

    /// An agent with a key, registered and granted `orders-read`, which gives the secret `orders-db`.
    pub fn with_kit(&self, secret: &str) {
        self.vaultctl(&["keygen", "--agent", "kit"]).ok();
        self.vaultctl(&["agent", "register", "kit.register"]).ok();
        self.vaultctl_fed(&["secret", "put", "orders-db", "-"], secret.as_bytes()).ok();
        self.vaultctl(&["role", "create", "orders-read", "--engine", "kv", "--set", "secret=orders-db"]).ok();
        self.vaultctl(&["grant", "kit", "orders-read", "--ttl", "15m", "--max-ttl", "1h"]).ok();
    }
}

pub fn fed(command: &mut Command, input: &[u8]) -> Said {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    // A program that has refused already does not read.
    let _ = child.stdin.take().expect("it is piped").write_all(input);
    Said::of(child.wait_with_output().expect("the program ends"))
}

/// Starts the daemon and waits until it says that it is ready.
/// What has a program see another time, for example one of `+10d`.
pub fn clock(off: &str) -> [(&'static str, String); 3] {
    let library =
        Command::new("faketime").args(["-f", off, "printenv", "LD_PRELOAD"]).output().expect("faketime is here");
    let library = String::from_utf8(library.stdout).expect("a path").trim().to_owned();
    [("LD_PRELOAD", library), ("FAKETIME", off.to_owned()), ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned())]
}

fn daemon(folder: &Path, around: &[(&str, &str)]) -> Option<(Child, String)> {
    let log = std::fs::File::options().create(true).append(true).open(folder.join("vaultd.log")).expect("a log");
    let mut command = program(env!("CARGO_BIN_EXE_vaultd"), folder);
    command.args(["--config", "vault/vaultd.toml"]).stdout(Stdio::piped()).stderr(log);
    command.envs(around.iter().copied());
    let mut child = command.spawn().expect("vaultd starts");
    let mut first = String::new();
    let out = child.stdout.take().expect("it is piped");
    let _ = BufReader::new(out).read_line(&mut first);
    if first.starts_with("ready") {
        return Some((child, first));
    }
    let _ = child.wait();
    None
}

/// An example, built if it is not, or not as it stands in the source.
pub fn example(name: &str) -> PathBuf {
    static BUILT: std::sync::Once = std::sync::Once::new();
    let folder = Path::new(env!("CARGO_BIN_EXE_vaultctl")).parent().expect("programs lie in a folder").join("examples");
    BUILT.call_once(|| {
        let target = folder.parent().and_then(Path::parent).expect("target/debug/examples");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--examples", "--target-dir"]).arg(target);
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        // What cargo told this test about its package would count as a change of it to the build scripts that look.
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"]
                .iter()
                .any(|start| text.starts_with(start))
            {
                cargo.env_remove(&name);
            }
        }
        said(&mut cargo).ok();
    });
    folder.join(name)
}
