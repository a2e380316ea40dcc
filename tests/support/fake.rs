//! An engine whose backend is a lock in this process: it holds one password, and can be told to be away, to refuse or
//! never to answer. Its authorities sign nothing; they are texts.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use nockvault::denial::{Denial, Reason};
use nockvault::engine::ca::{CertificateAuthority, Document, Ended, Published};
use nockvault::engine::{Capabilities, Engine, Mint, Minted, Schemas, Stored, StoredValues};
use nockvault::entropy::Entropy;
use nockvault::id::SecretName;
use nockvault::secret::SecretBytes;
use nockvault::statement::reply::Revocation;
use nockvault::statement::secret::SecretUse;
use nockvault::time::Timestamp;
use serde_json::{Map, Value, json};

/// What the backend does when it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Well,
    Away,
    Refusing,
    Silent,
}

/// The backend. Clones share one.
#[derive(Clone, Debug)]
pub struct Backend(Arc<Mutex<Lock>>);

#[derive(Debug)]
struct Lock {
    password: Vec<u8>,
    mood: Mood,
    /// After how many calls it is away.
    calls_left: Option<u32>,
    /// How many documents were made.
    made: u64,
}

impl Default for Backend {
    fn default() -> Backend {
        Backend(Arc::new(Mutex::new(Lock { password: b"first".to_vec(), mood: Mood::Well, calls_left: None, made: 0 })))
    }
}

impl Backend {
    pub fn mood(&self, mood: Mood) {
        self.0.lock().unwrap().mood = mood;
    }

    /// It answers so many calls more, and then is away.
    pub fn away_after(&self, calls: u32) {
        self.0.lock().unwrap().calls_left = Some(calls);
    }

    pub fn back(&self) {
        let mut lock = self.0.lock().unwrap();
        (lock.mood, lock.calls_left) = (Mood::Well, None);
    }

    pub fn password(&self) -> Vec<u8> {
        self.0.lock().unwrap().password.clone()
    }

    pub fn documents_made(&self) -> u64 {
        self.0.lock().unwrap().made
    }

    /// Lets in who knows the password, if it answers at all.
    async fn enter(&self, password: &[u8]) -> Result<bool, Denial> {
        let (mood, good) = {
            let mut lock = self.0.lock().unwrap();
            let gone = lock.calls_left == Some(0);
            lock.calls_left = lock.calls_left.map(|calls| calls.saturating_sub(1));
            (if gone { Mood::Away } else { lock.mood }, lock.password == password)
        };
        match mood {
            Mood::Well => Ok(good),
            Mood::Away => Err(Denial::new(Reason::EngineUnavailable).internal("connection refused")),
            Mood::Refusing => Err(Denial::new(Reason::EngineRefused).internal("role \"vault\" may not create roles")),
            Mood::Silent => std::future::pending().await,
        }
    }
}

/// The engine `fake`. Role: `{"secret": NAME}`, `{"ca": NAME}` or both.
#[derive(Debug)]
pub struct Fake(pub Backend);

fn named(config: &Map<String, Value>, member: &str) -> Result<SecretName, Denial> {
    let no = || Denial::new(Reason::BadRole).detail(format!("no {member}"));
    config.get(member).and_then(Value::as_str).and_then(|text| text.parse().ok()).ok_or_else(no)
}

async fn stored(values: &dyn StoredValues, name: &SecretName, version: Option<u64>) -> Result<Stored, Denial> {
    let stored = values.stored_value(SecretUse::Backend, name, version).await?;
    stored.ok_or_else(|| Denial::new(Reason::SecretMissing).internal(format!("no secret {name}")))
}

#[async_trait]
impl Engine for Fake {
    fn kind(&self) -> &'static str {
        "fake"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { renewable: false, revocation: Revocation::Listed }
    }

    fn schemas(&self) -> Schemas {
        Schemas { config: json!({}), params: json!({}), secret: json!({}) }
    }

    fn check_role(&self, config: &Map<String, Value>) -> Result<(), Denial> {
        named(config, "secret").or_else(|_| named(config, "ca")).map(|_| ())
    }

    fn check_params(&self, _: &Map<String, Value>, _: &Map<String, Value>) -> Result<(), Denial> {
        Ok(())
    }

    async fn mint(&self, mint: Mint<'_>, _: &dyn StoredValues) -> Result<Minted, Denial> {
        let secret = json!({"type": "fake", "name": mint.handle}).to_string();
        Ok(Minted { secret: SecretBytes::new(secret.into_bytes()), until: None })
    }

    async fn probe(
        &self,
        config: &Map<String, Value>,
        values: &dyn StoredValues,
    ) -> Result<Map<String, Value>, Denial> {
        let secret = stored(values, &named(config, "secret")?, None).await?;
        if !self.0.enter(secret.value.expose()).await? {
            return Err(Denial::new(Reason::EngineRefused).internal("password authentication failed"));
        }
        Ok(json!({"server": "fake 1", "secret_version": secret.version}).as_object().cloned().unwrap())
    }

    fn admin_secret(&self, config: &Map<String, Value>) -> Option<SecretName> {
        named(config, "secret").ok()
    }

    async fn rotate(&self, config: &Map<String, Value>, values: &dyn StoredValues) -> Result<(), Denial> {
        let name = named(config, "secret")?;
        let newest = stored(values, &name, None).await?;
        if self.0.enter(newest.value.expose()).await? {
            return Ok(());
        }
        if newest.version > 1 {
            let before = stored(values, &name, Some(newest.version - 1)).await?;
            if self.0.enter(before.value.expose()).await? {
                self.0.0.lock().unwrap().password = newest.value.expose().clone();
                return Ok(());
            }
        }
        Err(Denial::new(Reason::EngineRefused).internal("password authentication failed"))
    }

    fn authority(&self) -> Option<&dyn CertificateAuthority> {
        Some(self)
    }
}

const OURS: &str = "fake authority ";

fn text(stored: &SecretBytes) -> Result<&str, Denial> {
    let text = std::str::from_utf8(stored.expose()).unwrap_or_default();
    if text.starts_with(OURS) { Ok(text) } else { Err(Denial::new(Reason::Internal).internal("none of ours")) }
}

impl CertificateAuthority for Fake {
    fn make(&self, wish: &Map<String, Value>, _: Timestamp, entropy: &dyn Entropy) -> Result<SecretBytes, Denial> {
        let Some(subject) = wish.get("subject").and_then(Value::as_str) else {
            return Err(Denial::new(Reason::BadRole).detail("a wish has a subject"));
        };
        let key = u64::from_be_bytes(entropy.bytes());
        Ok(SecretBytes::new(format!("{OURS}{subject}\nkey-{key:016x}\n").into_bytes()))
    }

    fn import(&self, brought: &SecretBytes, _: Timestamp) -> Result<SecretBytes, Denial> {
        match std::str::from_utf8(brought.expose()) {
            Ok(key) if key.starts_with("key-") => Ok(SecretBytes::new(format!("{OURS}brought\n{key}\n").into_bytes())),
            _ => Err(Denial::new(Reason::BadSealedInput).detail("this is no key")),
        }
    }

    fn certify(&self, stored: &SecretBytes, chain: &str, _: Timestamp) -> Result<SecretBytes, Denial> {
        if !chain.starts_with("-----BEGIN") {
            return Err(Denial::new(Reason::BadRole).detail("the chain is no PEM"));
        }
        Ok(SecretBytes::new([text(stored)?, chain].concat().into_bytes()))
    }

    fn public(&self, stored: &SecretBytes) -> Result<Map<String, Value>, Denial> {
        let lines: Vec<&str> = text(stored)?.lines().collect();
        let shown = json!({"subject": lines[0].trim_start_matches(OURS), "certificate": lines[2..].join("\n")});
        Ok(shown.as_object().cloned().unwrap())
    }

    fn of_role(&self, config: &Map<String, Value>) -> Result<SecretName, Denial> {
        named(config, "ca")
    }

    fn publish(
        &self,
        stored: &SecretBytes,
        document: Document,
        ended: &[Ended],
        now: Timestamp,
    ) -> Result<Published, Denial> {
        let subject = text(stored)?.lines().next().unwrap_or_default();
        self.0.0.lock().unwrap().made += 1;
        let handles: Vec<&str> = ended.iter().map(|one| one.handle.as_str()).collect();
        Ok(match document {
            Document::Authority => Published { media_type: "text/plain", bytes: subject.as_bytes().to_vec() },
            Document::Revoked => Published {
                media_type: "application/x-fake-list",
                bytes: format!("{} {}", now.0, handles.join(",")).into_bytes(),
            },
        })
    }
}
