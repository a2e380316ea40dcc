//! A vault to be sealed, an agent, and a launcher that runs meanwhile.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::programs::{Said, Vault, program, said};

/// What the agent gets.
pub(crate) const SECRET: &str = "canary-4d1e77aa-orders";

/// How long anything may take. Much longer than it does, since other tests run beside it.
const LONG: Duration = Duration::from_secs(60);

pub(crate) fn vault(change: impl Fn(String) -> String) -> Vault {
    let vault = Vault::start_with(change);
    vault.with_kit(SECRET);
    vault
}

/// One whose credentials live for seconds.
pub(crate) fn short_lived() -> Vault {
    let vault = vault(|config| config);
    vault.vaultctl(&["revoke", "kit", "orders-read"]).ok();
    vault.vaultctl(&["grant", "kit", "orders-read", "--ttl", "4s", "--max-ttl", "4s"]).ok();
    vault
}

pub(crate) fn seal(vault: &Vault) -> Said {
    vault.vaultctl(&["seal", "--reason", "a test"])
}

pub(crate) fn unseal(vault: &Vault) -> Said {
    unseal_with(vault, "vault/root.key")
}

pub(crate) fn unseal_with(vault: &Vault, file: &str) -> Said {
    vault.vaultctl(&["unseal", "--root-key", file])
}

/// A launcher with the agent's key in its environment.
pub(crate) fn exec(vault: &Vault) -> Command {
    let mut command = program(env!("CARGO_BIN_EXE_vault-agent"), vault.path());
    let seed = fs::read_to_string(vault.path().join("kit.ed25519")).unwrap();
    command.env("NOCKVAULT_AGENT_KIT_ED25519_KEY", seed.trim());
    command.args(["exec", "--agent", "kit", "--vault", "vault/prod.card"]);
    command
}

/// Asks for the credential once, and says it.
pub(crate) fn agent(vault: &Vault) -> Said {
    let mut command = exec(vault);
    said(command.args(["--role", "orders-read", "--wait", "1s", "--", "sh", "-c", "printf %s \"$ORDERS_READ\""]))
}

/// The whole answer to a GET.
pub(crate) fn http(vault: &Vault, path: &str) -> String {
    let address = vault.ready.split_whitespace().find_map(|word| word.strip_prefix("http=http://")).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: vault\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// How many commands of this `typ` stand in `_operators`.
pub(crate) fn operators_entries(vault: &Vault, typ: &str) -> usize {
    let chain = vault.vaultctl(&["audit", "export", "_operators"]).ok();
    let entries = chain.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    entries.filter(|entry| entry["command"]["payload"]["typ"] == typ || line_has(entry, typ)).count()
}

fn line_has(entry: &Value, typ: &str) -> bool {
    entry.pointer("/body/command/payload/typ").is_some_and(|said| said == typ)
}

/// Waits until the daemon stands at this step.
pub(crate) fn reached(vault: &Vault, step: &str) {
    let words = format!("failpoint {step}");
    wait_until("the step is reached", || fs::read_to_string(vault.log()).unwrap().contains(&words));
}

/// Kills the daemon (SIGKILL).
pub(crate) fn kill(vault: &Vault) {
    let daemon = Pid::from_raw(i32::try_from(vault.id()).unwrap()).unwrap();
    kill_process(daemon, Signal::KILL).unwrap();
}

pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A launcher that runs. Its child writes its process id into the file `child` before anything else.
pub(crate) struct Launched {
    launcher: Child,
    err: PathBuf,
    child: PathBuf,
}

impl Drop for Launched {
    fn drop(&mut self) {
        let _ = self.launcher.kill();
        let _ = self.launcher.wait();
        let child = fs::read_to_string(&self.child).ok().and_then(|pid| Pid::from_raw(pid.trim().parse().ok()?));
        if let Some(pid) = child {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

impl Launched {
    pub(crate) fn start(vault: &Vault, options: &[&str], script: &str) -> Launched {
        let (err, child) = (vault.path().join("launcher.err"), vault.path().join("child"));
        let script = format!("echo $$ > child.new; mv child.new child; {script}");
        let mut command = exec(vault);
        command.args(options).args(["--", "sh", "-c", &script]);
        command.stdout(Stdio::null()).stderr(fs::File::create(&err).unwrap());
        Launched { launcher: command.spawn().unwrap(), err, child }
    }

    pub(crate) fn wait_for_child(&self) {
        wait_until("the child runs", || self.child.exists());
    }

    /// What the launcher has said so far.
    pub(crate) fn words(&self) -> String {
        fs::read_to_string(&self.err).unwrap()
    }

    pub(crate) fn end_by_signal(&mut self) {
        kill_process(Pid::from_child(&self.launcher), Signal::TERM).unwrap();
        wait_until("the launcher ends", || self.launcher.try_wait().unwrap().is_some());
    }
}
