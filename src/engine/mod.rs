//! What makes credentials. An [`Engine`] turns a [`Permit`] into a [`Minted`] secret; it says what it can, checks a
//! role's configuration when the role is made and a request's parameters before anything is minted, and it never sees
//! the store or the audit trail: what it must read comes through [`StoredValues`].
//!
//! An engine's error never eats a lease: nothing is recorded as issued before the engine has answered.

pub mod jwt;
pub mod kv;

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::authz::Permit;
use crate::crypto::signature::PublicKey;
use crate::denial::{Denial, Reason};
use crate::id::SecretName;
use crate::secret::SecretBytes;

/// What an engine can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether a credential's life can be prolonged.
    pub renewable: bool,
    /// Whether a credential can be made useless before its time. Where not, the end of the lease is all there is.
    pub revocable: bool,
}

/// A credential, fresh from its engine.
#[derive(Debug)]
pub struct Minted {
    /// The secret: a JSON object whose member `type` names the engine.
    pub secret: SecretBytes,
    /// Its public name at the far side, or in our own trail where there is no far side.
    pub handle: String,
}

/// What is to be minted.
#[derive(Clone, Copy, Debug)]
pub struct Mint<'a> {
    /// The leave to do so.
    pub permit: &'a Permit,
    /// The request's parameters, which [`Engine::check_params`] has found good.
    pub params: &'a Map<String, Value>,
    /// The session's own signing key, where it brought one.
    pub session_key: Option<&'a PublicKey>,
}

/// The port through which engines read stored secrets.
#[async_trait]
pub trait StoredValues: Send + Sync {
    /// The newest version of a secret, or the one asked for, with its number.
    ///
    /// # Errors
    /// Where the store cannot be read now.
    async fn stored_value(&self, name: &SecretName, version: Option<u64>)
    -> Result<Option<(u64, SecretBytes)>, Denial>;
}

/// A maker of credentials.
#[async_trait]
pub trait Engine: Send + Sync + std::fmt::Debug {
    /// The name by which roles choose it.
    fn kind(&self) -> &'static str;

    /// What it can.
    fn capabilities(&self) -> Capabilities;

    /// Checks a role's configuration before the role is made.
    ///
    /// # Errors
    /// [`Reason::BadRole`] with what does not fit.
    fn check_role(&self, config: &Map<String, Value>) -> Result<(), Denial>;

    /// Checks a request's parameters before anything is minted.
    ///
    /// # Errors
    /// [`Reason::ParamsRefused`] with what does not fit.
    fn check_params(&self, config: &Map<String, Value>, params: &Map<String, Value>) -> Result<(), Denial>;

    /// Makes one credential.
    ///
    /// # Errors
    /// [`Reason::SecretMissing`], [`Reason::EngineUnavailable`].
    async fn mint(&self, mint: Mint<'_>, values: &dyn StoredValues) -> Result<Minted, Denial>;
}

/// The engines of a vault, by kind.
#[derive(Debug)]
pub struct Engines(Vec<Box<dyn Engine>>);

impl Engines {
    /// These engines.
    #[must_use]
    pub fn new(engines: Vec<Box<dyn Engine>>) -> Engines {
        Engines(engines)
    }

    /// The engine of this kind.
    ///
    /// # Errors
    /// [`Reason::BadRole`], with the kinds that there are.
    pub fn of_kind(&self, kind: &str) -> Result<&dyn Engine, Denial> {
        self.0.iter().find(|engine| engine.kind() == kind).map(AsRef::as_ref).ok_or_else(|| {
            let kinds: Vec<_> = self.0.iter().map(|engine| engine.kind()).collect();
            Denial::new(Reason::BadRole).detail(format!("no engine {kind:?}; there are: {}", kinds.join(", ")))
        })
    }
}

/// Reads configuration or parameters into their type.
fn members<T: serde::de::DeserializeOwned>(members: &Map<String, Value>, reason: Reason) -> Result<T, Denial> {
    serde_json::from_value(Value::Object(members.clone())).map_err(|why| Denial::new(reason).detail(why.to_string()))
}
