//! A vault, its agent, a host, and `vault-agent proxy` between it and a child.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::programs::{Said, Vault, program, said};
use crate::upstream::{Upstream, ways};

/// What kit may have, and the child may not.
pub(crate) const SECRET: &str = "sk-live/7Qy+zR\"x\\w&0123456789";

pub(crate) struct Stage {
    pub(crate) vault: Vault,
    pub(crate) upstream: Upstream,
}

/// `vault-agent proxy`, until it is dropped.
pub(crate) struct Proxy {
    child: Child,
    pub(crate) variables: BTreeMap<String, String>,
    said: Arc<Mutex<String>>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Asked to end, it takes its folder of certificates along.
        let _ =
            rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::TERM);
        let asked = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && asked.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Stage {
    pub(crate) fn new() -> Stage {
        let vault = Vault::start();
        vault.with_kit(SECRET);
        let upstream = Upstream::start(vault.path());
        Stage { vault, upstream }
    }

    /// Another secret and the role of its name.
    pub(crate) fn put(&self, role: &str, secret: &str) {
        self.vault.vaultctl_fed(&["secret", "put", role, "-"], secret.as_bytes()).ok();
        self.vault.vaultctl(&["role", "create", role, "--engine", "kv", "--set", &format!("secret={role}")]).ok();
        self.vault.vaultctl(&["grant", "kit", role, "--ttl", "15m"]).ok();
    }

    /// A rule for the host, with these lines besides.
    pub(crate) fn rule(&self, name: &str, more: &str) -> String {
        let port = self.upstream.port;
        let has = |key: &str| more.lines().any(|line| line.starts_with(&format!("{key} =")));
        let mut text = format!("[[rule]]\nname = \"{name}\"\n");
        for (key, value) in [
            ("role", "\"orders-read\"".to_owned()),
            ("host", "\"localhost\"".to_owned()),
            ("port", port.to_string()),
            ("methods", "[\"GET\", \"HEAD\", \"POST\", \"PUT\"]".to_owned()),
            ("paths", "[\"/v1/*\"]".to_owned()),
            ("value", "\"Bearer {}\"".to_owned()),
            ("allow_private", "true".to_owned()),
            ("ca", "\"ca.pem\"".to_owned()),
        ] {
            if !(has(key) || (key == "value" && has("basic"))) {
                text += &format!("{key} = {value}\n");
            }
        }
        text + more + "\n"
    }

    /// The rule of most tests: both ways.
    pub(crate) fn api(&self) -> String {
        self.rule("api", "variable = \"API_BASE_URL\"\nbase = \"/v1\"\nconnect = true")
    }

    /// Starts the proxy with these rules.
    pub(crate) fn proxy(&self, rules: &str) -> Proxy {
        std::fs::write(self.path("rules.toml"), rules).unwrap();
        let mut command = program(env!("CARGO_BIN_EXE_vault-agent"), self.vault.path());
        command.args(["--agent", "kit", "proxy", "--rules", "rules.toml"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut variables = BTreeMap::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let err = child.stderr.take().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in BufReader::new(err).lines().map_while(Result::ok) {
                heard.lock().unwrap().push_str(&format!("{line}\n"));
            }
        });
        // The variables of the base URL and of the proxy's exceptions are always there; the last one says that it is all.
        let last = if rules.contains("connect = true") || rules.contains("passthrough") {
            "NODE_USE_ENV_PROXY"
        } else {
            "no_proxy"
        };
        while !variables.contains_key(last) {
            let Some(Ok(line)) = lines.next() else { panic!("no proxy: {}", said.lock().unwrap()) };
            let (name, value) = line.strip_prefix("export ").unwrap().split_once('=').unwrap();
            variables.insert(name.to_owned(), value.trim_matches('\'').to_owned());
        }
        Proxy { child, variables, said }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.vault.path().join(name)
    }

    /// How many credentials were issued.
    pub(crate) fn issued(&self) -> usize {
        let kinds = self.vault.vaultctl(&["audit", "show", "kit", "--field", "kind"]).ok();
        kinds.lines().filter(|kind| *kind == "issue").count()
    }

    /// The host as the child names it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.upstream.port)
    }

    /// A program of the child's: with the proxy's variables, and with nothing of the agent.
    pub(crate) fn child(&self, proxy: &Proxy, name: impl AsRef<Path>) -> Command {
        let folder = self.path("child");
        std::fs::create_dir_all(&folder).unwrap();
        let mut command = program(name, &folder);
        command.envs(&proxy.variables);
        command
    }

    /// What curl says of this, all of it; the secret is nowhere in it.
    pub(crate) fn curl(&self, proxy: &Proxy, arguments: &[&str]) -> Said {
        let said = said(self.child(proxy, "curl").args(["-sS", "-v", "--max-time", "60"]).args(arguments));
        assert_holds_none(&format!("{said:?}\n{}\n{}", said.out, said.err));
        said
    }
}

impl Proxy {
    pub(crate) fn base(&self) -> &str {
        &self.variables["API_BASE_URL"]
    }

    /// Port and token.
    pub(crate) fn at(&self) -> (u16, String) {
        let text = self.base().strip_prefix("http://127.0.0.1:").unwrap();
        let (port, rest) = text.split_once('/').unwrap();
        (port.parse().unwrap(), rest.split('/').next().unwrap().to_owned())
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Ends it as a user would, and gives its code.
    pub(crate) fn end(&mut self) -> Option<i32> {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::TERM)
            .unwrap();
        self.child.wait().unwrap().code()
    }

    /// The most memory that it had so far, in KiB.
    pub(crate) fn most(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

/// That no writing of the secret is in this text.
#[track_caller]
pub(crate) fn assert_holds_none(text: &str) {
    for way in ways(SECRET) {
        assert!(!text.contains(&way), "{way}:\n{text}");
    }
}

/// A Python of the system that has requests.
pub(crate) fn python() -> &'static str {
    let found = ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        Command::new(python).args(["-c", "import requests"]).output().is_ok_and(|said| said.status.success())
    });
    found.expect("a python3 with requests: .ci/deps installs it")
}
