//! A vault with a secret, agents whose keys lie beside the file, and the file.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use nockvault::client::fault::Fault;
use nockvault::client::operator::{Operator, Order};
use nockvault::client::signer::Identity;
use nockvault::client::{keyfile, place};
use serde_json::Value;

use crate::programs::{Said, Vault, program, said};

pub(crate) struct Stage {
    pub(crate) vault: Vault,
}

impl Stage {
    /// A vault with the secret `orders-db`, and keys of these agents, not registered.
    pub(crate) fn with_agents(agents: &[&str]) -> Stage {
        let vault = Vault::start();
        vault.vaultctl_fed(&["secret", "put", "orders-db", "-"], b"hunter2").ok();
        for agent in agents {
            vault.vaultctl(&["keygen", "--agent", agent]).ok();
        }
        Stage { vault }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.vault.path().join("vault.toml")
    }

    pub(crate) fn write(&self, text: &str) {
        fs::write(self.file(), text).unwrap();
    }

    pub(crate) fn vaultctl(&self, words: &[&str]) -> Said {
        self.vault.vaultctl(words)
    }

    /// Applies the file, also as another operator than `ada`.
    pub(crate) fn apply(&self, more: &[&str]) -> Said {
        let ada = if more.contains(&"--operator") { &[][..] } else { &["--operator", "ada"] };
        self.vaultctl(&[&["apply", "-f", "vault.toml"], ada, more].concat())
    }

    /// A run that nobody waits for yet.
    pub(crate) fn started(&self) -> Child {
        let mut command = program(env!("CARGO_BIN_EXE_vaultctl"), self.vault.path());
        command.args(["apply", "-f", "vault.toml"]).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    /// What it says to programs, where it ends with this code.
    pub(crate) fn json(&self, more: &[&str], code: i32) -> Value {
        let told = self.apply(more);
        assert_eq!(told.code, code, "{told:?}");
        serde_json::from_str(&told.out).unwrap()
    }

    /// The entries of `_operators` with commands of a set.
    pub(crate) fn commands(&self) -> Vec<Value> {
        let chain = self.vaultctl(&["audit", "export", "_operators", "--operator", "ada"]).ok();
        let all = chain.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        all.filter(|entry| entry["body"]["command"]["payload"].get("set").is_some()).collect()
    }

    /// Every grant, as `AGENT ROLE`.
    pub(crate) fn grants(&self) -> Vec<String> {
        let grants = self.vaultctl(&["grants", "-o", "json", "--operator", "ada"]).ok();
        let grants: Vec<Value> = serde_json::from_str(&grants).unwrap();
        let word = |grant: &Value, name: &str| grant[name].as_str().unwrap().to_owned();
        grants.iter().map(|grant| format!("{} {}", word(grant, "agent"), word(grant, "role"))).collect()
    }

    /// What an agent gets.
    pub(crate) fn get(&self, agent: &str, role: &str) -> String {
        let words = ["get", role, "--agent", agent, "--key", &format!("{agent}.ed25519")];
        let out = said(program(env!("CARGO_BIN_EXE_vault-agent"), self.vault.path()).args(words)).ok();
        out.trim_end().to_owned()
    }

    /// Another operator, with its key beside `ada`'s.
    pub(crate) fn operator(&self, name: &str, duty: &[&str]) {
        self.vaultctl(&["keygen", "--operator", name]).ok();
        let register = self.vault.path().join(format!(".config/nockvault/prod/{name}.register"));
        let add = ["operator", "add", register.to_str().unwrap(), "--operator", "ada"];
        self.vaultctl(&[&add[..], duty].concat()).ok();
    }

    /// A command of an operator that is no part of a set.
    pub(crate) fn command<O: Order>(&self, operator: &str, order: O) -> Result<(), Fault> {
        let card = place::card(Some(&self.vault.card())).unwrap();
        let key = self.vault.path().join(format!(".config/nockvault/prod/{operator}.ed25519"));
        let identity = Identity::held(operator.parse().unwrap(), keyfile::read_secret(&key).unwrap(), 1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { Operator::connect(&card, identity).await?.command(order).await.map(drop) })
    }

    /// Whether the operators' chain holds, by both verifiers.
    pub(crate) fn verified(&self) {
        let report = self.vaultctl(&["audit", "verify", "_operators", "--operator", "ada"]).ok();
        assert!(report.contains("intact"), "{report}");
    }
}
