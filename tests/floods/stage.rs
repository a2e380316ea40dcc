//! What floods and limits are tried on: a vault with limits of the test's own, agents that behave, and agents by hand.

use nockvault::client::agent::{Agent as Client, Session};
use nockvault::client::keyfile;
use nockvault::client::signer::Identity;
use nockvault::crypto::signature::{Form, SigningKey};
use nockvault::statement::card::Card;
use nockvault::time::{Clock as _, ManualClock, SystemClock};

use crate::programs::Vault;
use crate::support::agent::Agent;

pub(crate) fn card(vault: &Vault) -> Card {
    Card::read(&std::fs::read_to_string(vault.card()).unwrap()).unwrap()
}

/// A vault with these limits in place of the defaults and its configuration changed besides, the agents `kit` and `ada`, and
/// the key of `nobody`.
pub(crate) fn vault(limits: &[(&str, u64)], change: impl Fn(String) -> String) -> Vault {
    let vault = Vault::start_with(|config| {
        let line = |line: &str| {
            let set = line.split_once(" = ").and_then(|(name, _)| limits.iter().find(|(limit, _)| *limit == name));
            set.map_or_else(|| line.to_owned(), |(name, value)| format!("{name} = {value}"))
        };
        change(config).lines().map(line).collect::<Vec<_>>().join("\n") + "\n"
    });
    vault.with_kit("a value");
    for name in ["ada", "nobody"] {
        vault.vaultctl(&["keygen", "--agent", name]).ok();
    }
    vault.vaultctl(&["agent", "register", "ada.register"]).ok();
    vault.vaultctl(&["grant", "ada", "orders-read", "--ttl", "15m", "--max-ttl", "1h"]).ok();
    vault
}

fn key(vault: &Vault, name: &str) -> SigningKey {
    keyfile::read_secret(&vault.path().join(format!("{name}.ed25519"))).unwrap()
}

pub(crate) async fn session(vault: &Vault, agent: &str) -> Session {
    let identity = Identity::held(agent.parse().unwrap(), key(vault, agent), 1);
    Client::connect(&card(vault), identity).await.unwrap().session("work").unwrap()
}

/// An agent that does not listen to what it is told: kit by its own key, or a stranger who says that it is kit.
pub(crate) fn by_hand(vault: &Vault, whose: &str) -> Agent {
    Agent::new("kit", key(vault, whose), Form::Pae, &card(vault).aud, &ManualClock::at(SystemClock.now()))
}
