//! A backend in this process: a set of what was made, and a time that each call takes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use nockvault::denial::Denial;
use nockvault::engine::{Capabilities, Engine, Made, Mint, Minted, Schemas, StoredValues, Undone};
use nockvault::secret::SecretBytes;
use nockvault::statement::reply::Revocation;
use serde_json::{Map, Value, json};

/// The backend. Clones share one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backend(Arc<Mutex<There>>);

#[derive(Debug, Default)]
struct There {
    made: BTreeSet<String>,
    takes: Duration,
    revoked: u64,
}

impl Backend {
    /// How long each call takes from now on.
    pub(crate) fn takes(&self, takes: Duration) {
        self.0.lock().unwrap().takes = takes;
    }

    /// How many were taken away so far.
    pub(crate) fn revoked(&self) -> u64 {
        self.0.lock().unwrap().revoked
    }

    /// How many are there.
    pub(crate) fn holds(&self) -> usize {
        self.0.lock().unwrap().made.len()
    }

    /// One call. It sleeps on a thread of its own: the runtime's timer goes by whole milliseconds, which is much of five.
    pub(crate) async fn call(&self) {
        let takes = self.0.lock().unwrap().takes;
        if !takes.is_zero() {
            tokio::task::spawn_blocking(move || std::thread::sleep(takes)).await.unwrap();
        }
    }
}

#[async_trait]
impl Engine for Backend {
    fn kind(&self) -> &'static str {
        "slow"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { renewable: true, revocation: Revocation::Backend }
    }

    fn schemas(&self) -> Schemas {
        Schemas { config: json!({}), params: json!({}), secret: json!({}) }
    }

    fn check_role(&self, _: &Map<String, Value>) -> Result<(), Denial> {
        Ok(())
    }

    fn check_params(&self, _: &Map<String, Value>, _: &Map<String, Value>) -> Result<(), Denial> {
        Ok(())
    }

    async fn mint(&self, mint: Mint<'_>, _: &dyn StoredValues) -> Result<Minted, Denial> {
        self.call().await;
        self.0.lock().unwrap().made.insert(mint.handle.to_owned());
        let secret = json!({ "type": "slow", "name": mint.handle }).to_string();
        Ok(Minted { secret: SecretBytes::new(secret.into_bytes()), until: None })
    }

    async fn revoke(&self, made: Made<'_>, _: &dyn StoredValues) -> Result<Undone, Denial> {
        self.call().await;
        let mut there = self.0.lock().unwrap();
        there.revoked += 1;
        Ok(if there.made.remove(made.handle) { Undone::Revoked } else { Undone::Absent })
    }

    async fn list(&self, _: &Map<String, Value>, _: &dyn StoredValues) -> Result<Vec<String>, Denial> {
        Ok(self.0.lock().unwrap().made.iter().cloned().collect())
    }
}
