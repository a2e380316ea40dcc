//! A vault with an agent and roles, and the ways to its credentials: the agent's own key, or a launcher's socket.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use nockvault::client::keyfile::{Places, find_agent};
use nockvault::client::{Surroundings, place};
use nockvault::launcher::socket::{self, Options, Serving};
use nockvault::launcher::token::Token;
use nockvault::launcher::wallet::{Owner, Silent, Wallet};
use nockvault::launcher::want::Roles;
use serde_json::Value;

use crate::programs::{Vault, program};

pub(crate) struct Stage {
    pub(crate) vault: Vault,
}

impl Stage {
    /// A vault with the agent `kit`, who was granted nothing yet.
    pub(crate) fn new() -> Stage {
        let vault = Vault::start();
        vault.vaultctl(&["keygen", "--agent", "kit"]).ok();
        vault.vaultctl(&["agent", "register", "kit.register"]).ok();
        Stage { vault }
    }

    /// The same, with a stored secret and the role of the same name, which kit may have.
    pub(crate) fn with(role: &str, secret: &[u8]) -> Stage {
        let stage = Stage::new();
        stage.put(role, secret);
        stage
    }

    pub(crate) fn put(&self, role: &str, secret: &[u8]) {
        self.vault.vaultctl_fed(&["secret", "put", role, "-"], secret).ok();
        let set = format!("secret={role}");
        self.vault.vaultctl(&["role", "create", role, "--engine", "kv", "--set", &set]).ok();
        self.grant(role);
    }

    pub(crate) fn grant(&self, role: &str) {
        self.vault.vaultctl(&["grant", "kit", role, "--ttl", "30m", "--max-ttl", "1h"]).ok();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.vault.path().join(name)
    }

    /// A program of the system in the vault's folder, which finds vault-agent and what it needs to ask in kit's name.
    pub(crate) fn tool(&self, name: impl AsRef<Path>) -> Command {
        let mut tool = self.bare(name);
        tool.env("NOCKVAULT_CARD", self.vault.card()).env("NOCKVAULT_AGENT", "kit");
        tool.env("NOCKVAULT_AGENT_KEY", self.path("kit.ed25519"));
        tool
    }

    /// The same with neither card nor key: it can ask a launcher alone.
    pub(crate) fn bare(&self, name: impl AsRef<Path>) -> Command {
        let mut tool = program(name, self.vault.path());
        let own = Path::new(env!("CARGO_BIN_EXE_vault-agent")).parent().unwrap();
        let path = std::env::var("PATH").unwrap();
        tool.env("PATH", format!("{}:{path}", own.display()));
        tool
    }

    /// vault-agent with kit's own key.
    pub(crate) fn agent(&self, arguments: &[&str]) -> Command {
        let mut agent = self.tool(env!("CARGO_BIN_EXE_vault-agent"));
        agent.args(arguments);
        agent
    }

    /// What a launcher of these roles would hold.
    pub(crate) fn wallet(&self, roles: &[&str]) -> Wallet {
        let places = Places { file: Some(self.path("kit.ed25519")), dirs: Vec::new() };
        let roles: BTreeSet<_> = roles.iter().map(|role| role.parse().unwrap()).collect();
        Wallet::new(Owner {
            card: place::card(Some(&self.vault.card())).unwrap(),
            identity: find_agent(&"kit".parse().unwrap(), &places, &|_| None).unwrap(),
            around: Surroundings::default(),
            label: "launcher".into(),
            roles: Roles::Only(roles),
            reporter: Arc::new(Silent),
            orphans: None,
        })
    }

    /// A launcher of these roles, with its socket.
    pub(crate) fn launcher(&self, roles: &[&str], token: Option<Arc<Token>>) -> (Wallet, Serving) {
        let wallet = self.wallet(roles);
        let options = Options { dir: Some(std::env::temp_dir()), uid: None, token };
        let serving = socket::serve(wallet.clone(), options).unwrap();
        (wallet, serving)
    }

    /// How many leases kit has.
    pub(crate) fn leases(&self) -> usize {
        let list = self.vault.vaultctl(&["lease", "list", "-o", "json"]).ok();
        serde_json::from_str::<Vec<Value>>(&list).unwrap().len()
    }
}
