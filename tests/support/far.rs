//! An engine whose credentials live at a backend in this process: a list of what is there. It can be told to be away, to
//! refuse, to be silent, to take its time, and to go on with what its caller has given up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use nockvault::denial::{Denial, Reason};
use nockvault::engine::{Capabilities, Engine, Made, Mint, Minted, Schemas, StoredValues, Undone};
use nockvault::secret::SecretBytes;
use nockvault::statement::reply::Revocation;
use nockvault::time::Timestamp;
use serde_json::{Map, Value, json};

/// How the backend takes a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Temper {
    #[default]
    Well,
    Away,
    Refusing,
    /// It never answers.
    Silent,
    /// It does what it is told, and the answer is lost.
    Mute,
}

/// The backend. Clones share one.
#[derive(Clone, Debug, Default)]
pub struct Far(Arc<Mutex<There>>);

#[derive(Debug, Default)]
struct There {
    credentials: BTreeMap<String, Timestamp>,
    temper: Temper,
    /// What it does not let go of.
    clung_to: BTreeSet<String>,
    takes: Duration,
    minted: u64,
    revoked: u64,
    at_once: usize,
    most_at_once: usize,
}

impl Far {
    pub fn temper(&self, temper: Temper) {
        self.0.lock().unwrap().temper = temper;
    }

    /// How long each call takes.
    pub fn takes(&self, takes: Duration) {
        self.0.lock().unwrap().takes = takes;
    }

    /// What is there.
    pub fn handles(&self) -> Vec<String> {
        self.0.lock().unwrap().credentials.keys().cloned().collect()
    }

    /// Until when it bears a credential.
    pub fn bears(&self, handle: &str) -> Option<Timestamp> {
        self.0.lock().unwrap().credentials.get(handle).copied()
    }

    /// Puts something there behind the vault's back.
    pub fn put(&self, handle: &str) {
        self.0.lock().unwrap().credentials.insert(handle.to_owned(), Timestamp(u64::MAX));
    }

    /// Does not let go of this one.
    pub fn cling_to(&self, handle: &str) {
        self.0.lock().unwrap().clung_to.insert(handle.to_owned());
    }

    /// How many were minted, and how often one was to be revoked.
    pub fn calls(&self) -> (u64, u64) {
        let there = self.0.lock().unwrap();
        (there.minted, there.revoked)
    }

    /// The most calls there ever were at once.
    pub fn most_at_once(&self) -> usize {
        self.0.lock().unwrap().most_at_once
    }

    async fn enter<T>(&self, what: impl FnOnce(&mut There) -> T) -> Result<T, Denial> {
        let (temper, takes) = {
            let mut there = self.0.lock().unwrap();
            there.at_once += 1;
            there.most_at_once = there.most_at_once.max(there.at_once);
            (there.temper, there.takes)
        };
        let _leave = Leave(self.clone());
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        match temper {
            Temper::Well => Ok(what(&mut self.0.lock().unwrap())),
            Temper::Away => Err(Denial::new(Reason::EngineUnavailable).internal("connection refused")),
            Temper::Refusing => Err(Denial::new(Reason::EngineRefused).internal("permission denied")),
            Temper::Silent => std::future::pending().await,
            Temper::Mute => {
                what(&mut self.0.lock().unwrap());
                std::future::pending().await
            }
        }
    }
}

struct Leave(Far);

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().at_once -= 1;
    }
}

#[async_trait]
impl Engine for Far {
    fn kind(&self) -> &'static str {
        "far"
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
        let (handle, expires) = (mint.handle.to_owned(), mint.permit.expires());
        self.enter(|there| {
            there.minted += 1;
            there.credentials.insert(handle, expires);
        })
        .await?;
        let secret = json!({"type": "far", "name": mint.handle}).to_string();
        Ok(Minted { secret: SecretBytes::new(secret.into_bytes()), until: None })
    }

    async fn renew(&self, made: Made<'_>, expires: Timestamp, _: &dyn StoredValues) -> Result<(), Denial> {
        let handle = made.handle.to_owned();
        let there = self.enter(|there| there.credentials.get_mut(&handle).map(|until| *until = expires)).await?;
        there.ok_or_else(|| Denial::new(Reason::EngineRefused).internal("there is no such credential"))
    }

    async fn revoke(&self, made: Made<'_>, _: &dyn StoredValues) -> Result<Undone, Denial> {
        let handle = made.handle.to_owned();
        self.enter(|there| {
            there.revoked += 1;
            if there.clung_to.contains(&handle) {
                return Err(Denial::new(Reason::EngineRefused).internal("objects depend on it"));
            }
            Ok(if there.credentials.remove(&handle).is_some() { Undone::Revoked } else { Undone::Absent })
        })
        .await?
    }

    async fn probe(&self, _: &Map<String, Value>, _: &dyn StoredValues) -> Result<Map<String, Value>, Denial> {
        self.enter(|_| Map::new()).await
    }

    async fn list(&self, _: &Map<String, Value>, _: &dyn StoredValues) -> Result<Vec<String>, Denial> {
        self.enter(|there| there.credentials.keys().cloned().collect()).await
    }
}
