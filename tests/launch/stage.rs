//! A launcher in the background, with its child, both ended when the test is.

use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::programs::{Said, Vault, program, said};

/// The secret that agents of these tests get.
pub const SECRET: &str = "canary-7f3a9c51-orders";

/// How long anything may take. Much longer than it does, since other tests run beside it.
pub const LONG: Duration = Duration::from_secs(60);

pub fn vault() -> Vault {
    let vault = Vault::start();
    vault.with_kit(SECRET);
    vault
}

/// A vault whose `orders-read` lives this long, and this long with renewals.
pub fn short_lived(ttl: &str, max: &str) -> Vault {
    let vault = vault();
    vault.vaultctl(&["revoke", "kit", "orders-read"]).ok();
    vault.vaultctl(&["grant", "kit", "orders-read", "--ttl", ttl, "--max-ttl", max]).ok();
    vault
}

/// The agent's key as its file has it: no test says it aloud.
pub fn seed(vault: &Vault) -> String {
    fs::read_to_string(vault.path().join("kit.ed25519")).unwrap().trim().to_owned()
}

/// A launcher that has the key in its environment, out of its child's reach.
pub fn exec(vault: &Vault) -> Command {
    let mut command = exec_with_file(vault);
    command.env("NOCKVAULT_AGENT_KIT_ED25519_KEY", seed(vault));
    command
}

/// A launcher that looks for the key in files.
pub fn exec_with_file(vault: &Vault) -> Command {
    let mut command = program(env!("CARGO_BIN_EXE_vault-agent"), vault.path());
    command.args(["exec", "--agent", "kit", "--vault", "vault/prod.card"]);
    command
}

/// Runs a script as a child, to its end.
pub fn run(vault: &Vault, options: &[&str], script: &str) -> Said {
    said(exec(vault).args(options).args(["--", "sh", "-c", script]))
}

/// A launcher that runs. Its child writes its process id into the file `child` before anything else.
pub struct Launched {
    launcher: Child,
    err: PathBuf,
    child: PathBuf,
}

impl Drop for Launched {
    fn drop(&mut self) {
        let _ = self.launcher.kill();
        let _ = self.launcher.wait();
        if let Some(pid) = self.child() {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

impl Launched {
    pub fn start(vault: &Vault, options: &[&str], script: &str) -> Launched {
        Launched::begin(exec(vault), vault, options, script)
    }

    pub fn begin(mut command: Command, vault: &Vault, options: &[&str], script: &str) -> Launched {
        let (err, child) = (vault.path().join("launcher.err"), vault.path().join("child"));
        let _ = fs::remove_file(&child);
        let script = format!("echo $$ > child.new; mv child.new child; {script}");
        command.args(options).args(["--", "sh", "-c", &script]);
        command.stdout(Stdio::null()).stderr(fs::File::create(&err).unwrap());
        Launched { launcher: command.spawn().unwrap(), err, child }
    }

    /// The child's process, once there is one.
    pub fn child(&self) -> Option<Pid> {
        fs::read_to_string(&self.child).ok()?.trim().parse().ok().and_then(Pid::from_raw)
    }

    pub fn wait_for_child(&self) -> Pid {
        let mut pid = None;
        wait_until("the child runs", || {
            pid = self.child();
            pid.is_some()
        });
        pid.unwrap()
    }

    pub fn id(&self) -> Pid {
        Pid::from_child(&self.launcher)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.id(), signal).unwrap();
    }

    /// What the launcher has said so far.
    pub fn words(&self) -> String {
        let mut text = String::new();
        fs::File::open(&self.err).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    pub fn end(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.launcher.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < LONG, "the launcher did not end:\n{}", self.words());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The live leases of the agent, as the operator sees them.
pub fn leases(vault: &Vault) -> usize {
    let list = vault.vaultctl(&["lease", "list", "--agent", "kit", "-o", "jsonl"]).ok();
    list.lines().filter(|line| line.contains("\"live\"")).count()
}

/// The kinds of the entries in the agent's chain.
pub fn kinds(vault: &Vault) -> Vec<String> {
    let list = vault.vaultctl(&["audit", "export", "kit"]).ok();
    let entries = list.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    entries.map(|entry| entry["kind"].as_str().unwrap().to_owned()).collect()
}
