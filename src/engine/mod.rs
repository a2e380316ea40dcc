//! What makes credentials. An [`Engine`] turns a permit into a [`Minted`] secret, and where the credential lives at a
//! backend, prolongs it and takes it away there. It says what it can, checks a role's configuration when the role is
//! made and a request's parameters before anything is minted, and never sees the store or the audit trail: what it must
//! read comes through [`StoredValues`].
//!
//! How a credential can be ended decides how it is issued ([`Revocation`]):
//!
//! | revocation | issue | end |
//! |---|---|---|
//! | `none`, `listed` | mint, seal, commit | the lease ends; what is `listed` stands in a published list until it would have expired |
//! | `backend` | intent durable, mint, seal, commit | the lease ends, and [`Engine::revoke`] is called until it succeeds |
//!
//! An engine's error never eats a lease: nothing is recorded as issued before the engine has answered, and what may have
//! been made at a backend is undone by the same call that ends a lease. The vault puts a deadline on every call that
//! leaves the process and drops the future when it passes; an engine must bear that at every `await`.
//!
//! A new engine is one file here and one line in [`all`]; `CONTRIBUTING.md` walks through one.

pub mod ca;
pub mod jwt;
pub mod kv;
pub mod postgres;
pub mod ssh;
pub mod x509;

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::authz::Permit;
use crate::crypto::json;
use crate::crypto::signature::PublicKey;
use crate::denial::{Denial, Reason};
use crate::entropy::Entropy;
use crate::id::{AgentName, Aud, LeaseId, SecretName};
use crate::secret::SecretBytes;
use crate::statement::reply::Revocation;
use crate::statement::secret::SecretUse;
use crate::time::{Seconds, Timestamp};

use ca::CertificateAuthority;

/// What an engine can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether a credential's life can be prolonged.
    pub renewable: bool,
    /// How a credential can be made useless before its time.
    pub revocation: Revocation,
}

/// A credential, fresh from its engine.
#[derive(Debug)]
pub struct Minted {
    /// The secret: a JSON object whose member `type` names the engine.
    pub secret: SecretBytes,
    /// When the credential dies of itself, where that may be sooner than the permit says.
    pub until: Option<Timestamp>,
}

/// What is to be minted.
#[derive(Clone, Copy, Debug)]
pub struct Mint<'a> {
    /// The leave to do so.
    pub permit: &'a Permit,
    /// The credential's public name: what the backend's own logs will show.
    pub handle: &'a str,
    /// The request's parameters, which [`Engine::check_params`] has found good.
    pub params: &'a Map<String, Value>,
    /// The session's own signing key, where it brought one.
    pub session_key: Option<&'a PublicKey>,
}

/// A credential that was minted, or may have been: its intent is recorded.
#[derive(Clone, Copy, Debug)]
pub struct Made<'a> {
    /// The configuration of its role.
    pub config: &'a Map<String, Value>,
    /// To whom.
    pub agent: &'a AgentName,
    /// Under which lease.
    pub lease: &'a LeaseId,
    /// Its public name.
    pub handle: &'a str,
}

/// How a revocation found the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undone {
    /// It was there and is no more.
    Revoked,
    /// There was nothing of that name.
    Absent,
}

impl Undone {
    /// The word for it, as entries have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Undone::Revoked => "revoked",
            Undone::Absent => "absent",
        }
    }
}

/// A version of a stored secret.
#[derive(Debug)]
pub struct Stored {
    /// Which version, from 1.
    pub version: u64,
    /// When the value stops being good, where that was said.
    pub expires: Option<Timestamp>,
    /// The value.
    pub value: SecretBytes,
}

/// The port through which engines read stored secrets. A secret is stored for one use; asked for another, it is not
/// there.
#[async_trait]
pub trait StoredValues: Send + Sync {
    /// The newest version of a secret, or the one asked for.
    ///
    /// # Errors
    /// Where the store cannot be read now.
    async fn stored_value(
        &self,
        used: SecretUse,
        name: &SecretName,
        version: Option<u64>,
    ) -> Result<Option<Stored>, Denial>;
}

/// The shapes of what an engine takes and gives, as JSON Schema (2020-12). `proto/schema/engine/` publishes them.
#[derive(Clone, Debug, PartialEq)]
pub struct Schemas {
    /// A role's configuration.
    pub config: Value,
    /// A request's parameters.
    pub params: Value,
    /// The secret inside the seal.
    pub secret: Value,
}

/// A maker of credentials. Errors of outside calls are [`Reason::EngineUnavailable`] where the backend could not be
/// reached, so that a later try may help, and [`Reason::EngineRefused`] where it answered and said no. Their `internal`
/// tells the operator what the backend said; a secret never stands there.
#[async_trait]
pub trait Engine: Send + Sync + std::fmt::Debug {
    /// The name by which roles choose it.
    fn kind(&self) -> &'static str;

    /// What it can.
    fn capabilities(&self) -> Capabilities;

    /// The shapes of its configuration, parameters and secrets.
    fn schemas(&self) -> Schemas;

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
    /// [`Reason::SecretMissing`], [`Reason::EngineUnavailable`], [`Reason::EngineRefused`].
    async fn mint(&self, mint: Mint<'_>, values: &dyn StoredValues) -> Result<Minted, Denial>;

    /// Lets a credential live until `expires`, at its backend. Called before the renewal is recorded: what a crash
    /// leaves is a credential that its backend would bear longer than its lease, and the lease's end still ends it.
    ///
    /// # Errors
    /// As [`Engine::mint`].
    async fn renew(&self, made: Made<'_>, expires: Timestamp, values: &dyn StoredValues) -> Result<(), Denial> {
        let _ = (made, expires, values);
        Ok(())
    }

    /// Makes a credential useless at its backend, at once, for new uses and for those under way. Idempotent: what is not
    /// there is [`Undone::Absent`].
    ///
    /// # Errors
    /// As [`Engine::mint`]; it will be called again.
    async fn revoke(&self, made: Made<'_>, values: &dyn StoredValues) -> Result<Undone, Denial> {
        let _ = (made, values);
        Ok(Undone::Absent)
    }

    /// For how long after a mint was given up its credential may still appear at the backend: until then, that
    /// [`Engine::revoke`] finds nothing proves nothing, and it is called again.
    fn lingers(&self) -> Seconds {
        Seconds(60)
    }

    /// Looks whether a role of this configuration could be served, and creates nothing. Gives what was found, for
    /// people: members in plain words.
    ///
    /// # Errors
    /// What is wrong, as [`Engine::mint`] would meet it.
    async fn probe(
        &self,
        config: &Map<String, Value>,
        values: &dyn StoredValues,
    ) -> Result<Map<String, Value>, Denial> {
        let _ = (config, values);
        Ok(Map::new())
    }

    /// The handles of all that this vault ever made at the backend of this role and that is still there: what a sweep
    /// compares with the leases.
    ///
    /// # Errors
    /// As [`Engine::mint`].
    async fn list(&self, config: &Map<String, Value>, values: &dyn StoredValues) -> Result<Vec<String>, Denial> {
        let _ = (config, values);
        Ok(Vec::new())
    }

    /// The stored secret by which the engine is let in at the backend of this role, where there is one.
    fn admin_secret(&self, config: &Map<String, Value>) -> Option<SecretName> {
        let _ = config;
        None
    }

    /// Makes the backend take the newest version of that secret, with the newest if it is taken already, else with the
    /// one before it. A new version is stored before this is called, so that a crash at any point leaves one of the two
    /// newest versions good.
    ///
    /// # Errors
    /// As [`Engine::mint`].
    async fn rotate(&self, config: &Map<String, Value>, values: &dyn StoredValues) -> Result<(), Denial> {
        let _ = (config, values);
        Err(Denial::new(Reason::BadRole).detail("this engine has no secret of its own at a backend"))
    }

    /// The certificate authorities of this engine, where it signs with such.
    fn authority(&self) -> Option<&dyn CertificateAuthority> {
        None
    }
}

/// The engines that the vault `aud` is opened with, besides [`jwt`], whose key is the vault's own.
#[must_use]
pub fn all(entropy: &Arc<dyn Entropy>, aud: &Aud) -> Vec<Box<dyn Engine>> {
    vec![
        Box::new(kv::Kv),
        Box::new(postgres::Postgres::new(Arc::clone(entropy), aud.to_string())),
        Box::new(ssh::Ssh::new(Arc::clone(entropy))),
        Box::new(x509::X509::new(Arc::clone(entropy))),
    ]
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

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Engine> {
        self.0.iter().map(AsRef::as_ref)
    }
}

/// Reads configuration or parameters into their type. A refusal names the member and quotes no value: what somebody put
/// in the wrong place may be a secret, and is not to be heard again from the other side.
fn members<T: serde::de::DeserializeOwned>(members: &Map<String, Value>, reason: Reason) -> Result<T, Denial> {
    json::read_as(members).map_err(|why| Denial::new(reason).detail(why.to_string()))
}

/// The published schema of a type.
fn schema_of<T: schemars::JsonSchema>() -> Value {
    schemars::generate::SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().into()
}
