//! A vault with its daemon, an operator who types, and agents who link the library.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nockvault::client::agent::{Agent, Ask, Credential, Session};
use nockvault::client::fault::Fault;
use nockvault::client::keyfile::{Places, find_agent};
use nockvault::client::place;
use nockvault::denial::Reason;
use nockvault::id::LeaseId;
use nockvault::time::Seconds;
use serde_json::Value;

use crate::programs::{Said, Vault, program, said};

/// How often something is looked for that comes within seconds.
const LOOKS: u32 = 300;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

pub(crate) struct Stage {
    pub(crate) vault: Vault,
}

/// A role file of `deploy/roles/`.
pub(crate) fn role_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/roles").join(name)
}

impl Stage {
    /// A vault in which each denial has its entry, also where a test makes many.
    pub(crate) fn new() -> Stage {
        let many = |config: String| config.replace("denials_per_minute = 30\n", "denials_per_minute = 1000\n");
        Stage { vault: Vault::start_with(many) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.vault.path().join(name)
    }

    pub(crate) fn ctl(&self, arguments: &[&str]) -> Said {
        self.vault.vaultctl(arguments)
    }

    /// What vaultctl says to people, where it succeeded.
    #[track_caller]
    pub(crate) fn words(&self, arguments: &[&str]) -> String {
        let said = self.ctl(arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
        said.err
    }

    /// One member of what vaultctl answers.
    #[track_caller]
    pub(crate) fn field(&self, arguments: &[&str], field: &str) -> String {
        self.ctl(&[arguments, &["--field", field]].concat()).ok().trim_end().to_owned()
    }

    /// What vaultctl answers, as programs read it.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ctl(&[arguments, &["-o", "json"]].concat()).ok()).unwrap()
    }

    /// Makes a role of a file of `deploy/roles/`, with these members set otherwise.
    #[track_caller]
    pub(crate) fn role(&self, role: &str, engine: &str, file: &str, set: &[&str]) {
        let file = role_file(file);
        let mut arguments = vec!["role", "create", role, "--engine", engine, "--config", file.to_str().unwrap()];
        arguments.extend(set.iter().flat_map(|one| ["--set", one]));
        assert!(self.words(&arguments).contains(&format!("created role {role}")));
    }

    /// Registers an agent whose key lies in the vault's folder, and grants it roles for a minute, an hour at most.
    pub(crate) async fn agent(&self, name: &str, roles: &[&str]) -> Agent {
        self.ctl(&["keygen", "--agent", name]).ok();
        self.ctl(&["agent", "register", &format!("{name}.register")]).ok();
        for role in roles {
            self.ctl(&["grant", name, role, "--ttl", "1m", "--max-ttl", "1h"]).ok();
        }
        let places = Places { file: Some(self.path(&format!("{name}.ed25519"))), dirs: Vec::new() };
        let identity = find_agent(&name.parse().unwrap(), &places, &|_| None).unwrap();
        Agent::connect(&place::card(Some(&self.vault.card())).unwrap(), identity).await.unwrap()
    }

    /// A program of the system, in the vault's folder.
    pub(crate) fn run(&self, name: &str, arguments: &[&str]) -> Said {
        said(program(name, self.vault.path()).args(arguments))
    }

    /// What the daemon serves over HTTP at this path.
    #[track_caller]
    pub(crate) fn http(&self, path: &str) -> Vec<u8> {
        let (code, body) = self.try_http(path);
        assert_eq!(code, 200, "{path}: {}", String::from_utf8_lossy(&body));
        body
    }

    pub(crate) fn try_http(&self, path: &str) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(self.http_address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: vault\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let code = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
        (code, answer.split_off(end + 4))
    }

    pub(crate) fn http_address(&self) -> &str {
        self.vault.ready.split_whitespace().find_map(|word| word.strip_prefix("http=http://")).unwrap()
    }

    /// Looks until what is there shows what is wanted.
    #[track_caller]
    pub(crate) fn until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        for _ in 0..LOOKS {
            if let Some(found) = look() {
                return found;
            }
            std::thread::sleep(BETWEEN_LOOKS);
        }
        panic!("{what} did not come")
    }

    /// The state of a lease, once nothing is left to undo.
    pub(crate) fn ended(&self, lease: &LeaseId) -> Value {
        self.until("the end of a lease", || {
            let shown = self.json(&["lease", "show", lease.as_str()]);
            (shown["state"] != "live" && shown["undo"].is_null()).then_some(shown)
        })
    }

    /// Has `vault-verify` judge an agent's chain beside `_operators`; gives the chain.
    pub(crate) fn verified(&self, agent: &str) -> Vec<Value> {
        let (own, operators) = (format!("{agent}.audit.jsonl"), format!("{agent}.operators.jsonl"));
        self.ctl(&["audit", "export", agent, "--file", &own]).ok();
        self.ctl(&["audit", "export", "_operators", "--file", &operators]).ok();
        let arguments = ["--vault", "vault/prod.card", "--operators", &operators, &own];
        let report = self.run(env!("CARGO_BIN_EXE_vault-verify"), &arguments).ok();
        assert!(report.contains("intact") && !report.contains("not understood"), "{report}");
        let entries = std::fs::read_to_string(self.path(&own)).unwrap();
        entries.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// The entries of a lease: kind and outcome, in order. Its first names the lease, how it can be ended, and its handle.
#[track_caller]
pub(crate) fn life(chain: &[Value], credential: &Credential) -> Vec<String> {
    let lease = credential.hdr.lease.as_str();
    let issue = chain.iter().find(|entry| entry["body"]["hdr"]["lease"] == lease).expect("an entry of its issue");
    assert_eq!(issue["body"]["hdr"]["revocation"], serde_json::to_value(credential.hdr.revocation).unwrap());
    assert_eq!(issue["body"]["hdr"]["sid"], credential.hdr.sid.as_str());
    let of_lease = |entry: &&Value| entry["body"]["lease"] == lease || entry["body"]["hdr"]["lease"] == lease;
    let told = |entry: &Value| {
        let outcome = entry["body"]["outcome"].as_str().map_or(String::new(), |outcome| format!(" {outcome}"));
        format!("{}{outcome}", entry["kind"].as_str().unwrap())
    };
    chain.iter().filter(of_lease).map(told).collect()
}

/// The public name that the entry of the issue gives a credential.
#[track_caller]
pub(crate) fn handle(chain: &[Value], credential: &Credential) -> String {
    let lease = credential.hdr.lease.as_str();
    let issue = chain.iter().find(|entry| entry["body"]["hdr"]["lease"] == lease).expect("an entry of its issue");
    issue["body"]["handle"].as_str().unwrap().to_owned()
}

pub(crate) async fn issue(session: &Session, role: &str, ttl: u64) -> Credential {
    session.request(&ask(role, ttl)).await.unwrap()
}

pub(crate) fn ask(role: &str, ttl: u64) -> Ask {
    Ask::role(role.parse().unwrap()).ttl(Seconds(ttl)).purpose("a test".to_owned().try_into().unwrap())
}

#[track_caller]
pub(crate) fn text<'a>(credential: &'a Credential, member: &str) -> &'a str {
    credential.secret.expose(member).unwrap_or_else(|| panic!("the secret has no text {member}"))
}

/// The reason and the limit of a refusal that the vault signed.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(answer: Result<T, Fault>) -> (Reason, Option<u64>) {
    let fault = answer.expect_err("it is refused");
    let refusal = fault.refusal().unwrap_or_else(|| panic!("no refusal: {fault}"));
    assert!(refusal.proven, "{refusal}");
    (fault.reason().unwrap(), refusal.limit)
}
