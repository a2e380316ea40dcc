//! The flow. A [`Vault`] takes signed envelopes and gives [`answer::Outcome`]s; what stands between is the order of checks
//! of the protocol, each in its room: [`crate::authn`] who speaks, [`crate::authz`] what may be had, [`crate::engine`] the
//! credential, [`crate::seal`] its cover, [`crate::store`] what is durable. It knows nothing of gRPC and configuration
//! files.
//!
//! Nothing is released that is not durable in the agent's chain: [`answer::Released`] is made from a receipt alone.

mod admit;
pub mod answer;
mod backends;
mod checkpoint;
mod deadline;
mod describe;
pub mod directory;
mod doctor;
mod explain;
pub mod found;
pub mod inspect;
mod issue;
pub mod keys;
mod lease;
mod listing;
mod nonces;
pub mod operate;
mod pace;
pub mod publish;
mod ready;
pub use ready::NotReady;
pub mod recovery;
mod refusals;
pub mod ring;
mod rotate;
mod session;
mod sweep;
mod tend;
mod tokens;
mod undo;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::crypto::envelope::Embedded;
use crate::crypto::hpke::SealSecretKey;
use crate::crypto::signature::SigningKey;
use crate::denial::{Denial, Reason};
use crate::engine::{Engine, Engines, Stored, StoredValues};
use crate::entropy::Entropy;
use crate::id::{Aud, CustodianName, SecretName, VaultName};
use crate::statement::cert::KeyRole;
use crate::statement::reply::Revocation;
use crate::statement::secret::SecretUse;
use crate::store::{Event, Failure, KeptKey, Origins, Rules, Store, VaultKeys};
use crate::telemetry::Telemetry;
use crate::time::{Clock, Seconds, Timestamp};

use admit::Door;
use answer::Pen;
use backends::Backends;
use checkpoint::Checkpoints;
use directory::Directories;
use keys::Epochs;
use nonces::Nonces;
use pace::Paces;
pub use pace::PerAgent;
use publish::Publications;
use refusals::Refusals;
use ring::Renewal;
use tokens::Tokens;
use undo::Pauses;

/// What bounds a vault.
#[derive(Clone, Debug)]
pub struct Limits {
    /// What requests are held against.
    pub rules: Rules,
    /// How long one call of an engine to its backend may take.
    pub engine_deadline: Duration,
    /// The longest time until a backend that could not be reached is tried again.
    pub backend_retry: Seconds,
    /// How often one agent may ask, and how much at once.
    pub agents: PerAgent,
    /// This daemon's name, in certificates and in `_vault`.
    pub node: String,
    /// `iss` of tokens: an https address, or none for the vault id.
    pub issuer: Option<String>,
    /// All of the daemon's limits by the names that people know, for its `config` entry in `_vault`.
    pub named: BTreeMap<String, u64>,
}

impl Limits {
    /// How long an intent may stand: the call to the backend, the two commits around it, and as much again.
    fn intent_life(&self) -> Seconds {
        Seconds(2 * (self.engine_deadline + 2 * self.rules.deadline).as_secs().max(1))
    }
}

/// Why a vault did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpeningFault {
    /// The store cannot be written.
    #[error("the vault cannot begin: {}", .0.at_start())]
    Start(#[from] Failure),
    /// A key that every vault has is not there.
    #[error("the store holds no {0:?} key; it is damaged, restore it from a backup")]
    KeyMissing(KeyRole),
}

/// How the vault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It serves.
    Serving,
    /// It serves what it has begun and nothing else.
    Stopping,
    /// Its store failed; it issues nothing more and must be started anew.
    Failed,
}

impl State {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            State::Serving => "serving",
            State::Stopping => "stopping",
            State::Failed => "failed",
        }
    }
}

/// A vault at work.
#[derive(Debug)]
pub struct Vault {
    name: VaultName,
    aud: Aud,
    /// Where its store comes from.
    restored: Origins,
    /// The custodian that opened it at the start without people.
    opener: Option<CustodianName>,
    identity: SigningKey,
    intake: SealSecretKey,
    certs: Vec<Embedded>,
    tokens: Tokens,
    checkpoints: Checkpoints,
    pen: Pen,
    epochs: Epochs,
    engines: Engines,
    store: Arc<dyn Store>,
    door: Arc<Door>,
    refusals: Refusals,
    rotating: tokio::sync::Mutex<()>,
    /// Held while a backup is made.
    copying: Arc<tokio::sync::Semaphore>,
    publications: Publications,
    directories: Directories,
    limits: Limits,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    backends: Backends,
    pauses: Pauses,
    /// Wakes what undoes leases at backends.
    wake: tokio::sync::Notify,
    /// Wakes what tends the vault.
    commanded: tokio::sync::Notify,
    renewal: Renewal,
    state: AtomicU8,
    /// Cancelled when an operator has commanded that it be sealed.
    sealing: CancellationToken,
    /// Who is told what is done.
    telemetry: OnceLock<Telemetry>,
}

impl Vault {
    /// Begins to serve from an open store: certificates past half their life are renewed, a new audit key is made, and
    /// `_vault` says `start`. `engines` are those besides `jwt`.
    ///
    /// # Errors
    /// [`OpeningFault`], whose text says what to do.
    pub async fn open(
        store: Arc<dyn Store>,
        mut own: VaultKeys,
        limits: Limits,
        mut engines: Vec<Box<dyn Engine>>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Arc<Vault>, OpeningFault> {
        for key in &mut own.kept {
            // Of entries that lie ahead, a checkpoint does too.
            let until = if key.role == KeyRole::Checkpoint { own.newest } else { Timestamp::ZERO };
            if own.restored.unbegun {
                // What was certified anew after the backup, clients have seen, and take none that is older.
                let cert = keys::anew(key, &own.identity, &limits.node, clock.now(), until);
                store.replace_cert(key.role, &cert).await?;
                key.cert = cert;
            } else if let Some(cert) = keys::renewed(key, &own.identity, &limits.node, clock.now(), until) {
                store.replace_cert(key.role, &cert).await?;
                key.cert = cert;
            }
        }
        let certs = own.kept.iter().map(|key| key.cert.clone()).collect();
        let issuer = limits.issuer.clone().unwrap_or_else(|| own.aud.to_string());
        let tokens = Tokens::open(&*store, taken(&mut own.kept, KeyRole::Jwt)?, issuer, clock.now()).await?;
        engines.push(Box::new(tokens.engine()));
        if own.restored.rehearsal {
            // Production's credentials live at the same backends, and to this copy they look like orphans.
            engines.retain(|engine| engine.capabilities().revocation != Revocation::Backend);
        }
        let checkpoints = Checkpoints::of(taken(&mut own.kept, KeyRole::Checkpoint)?, &own.identity.public())
            .map_err(|_| OpeningFault::KeyMissing(KeyRole::Checkpoint))?;
        let mut secret = |role: KeyRole| taken(&mut own.kept, role).map(|key| key.secret);
        let door = Door {
            aud: own.aud.clone(),
            skew: limits.rules.skew,
            clock: Arc::clone(&clock),
            nonces: Nonces::default(),
            paces: Paces::new(&limits.agents),
        };
        let vault = Vault {
            intake: SealSecretKey::from_bytes(&secret(KeyRole::Intake)?),
            pen: Pen::new(SigningKey::from_seed(&secret(KeyRole::Response)?)),
            tokens,
            checkpoints,
            engines: Engines::new(engines),
            certs,
            epochs: Epochs::after(own.audit_epochs, own.newest),
            name: own.name,
            aud: own.aud,
            restored: own.restored,
            opener: own.opener,
            identity: own.identity,
            store,
            door: Arc::new(door),
            refusals: Refusals::default(),
            rotating: tokio::sync::Mutex::default(),
            copying: Arc::new(tokio::sync::Semaphore::new(1)),
            publications: Publications::default(),
            directories: Directories::default(),
            limits,
            clock,
            entropy,
            backends: Backends::default(),
            pauses: Pauses::default(),
            wake: tokio::sync::Notify::new(),
            commanded: tokio::sync::Notify::new(),
            renewal: Renewal::default(),
            state: AtomicU8::new(State::Serving as u8),
            sealing: CancellationToken::new(),
            telemetry: OnceLock::new(),
        };
        let start = Event::Start {
            node: vault.limits.node.clone(),
            opened: own.opened,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        vault.begin_epoch(start).await?;
        vault.tell_of_restore();
        vault.recover((!own.ended).then_some(own.newest)).await?;
        vault.store.config(&vault.limits.named).await?;
        vault.wake.notify_one();
        vault.renew_token_certs().await?;
        Ok(Arc::new(vault))
    }

    fn tell_of_restore(&self) {
        let Origins { restores, unbegun, rehearsal } = self.restored;
        if unbegun {
            let skew = self.limits.rules.skew;
            tracing::warn!(
                restores,
                rehearsal,
                "the vault comes out of a backup: no request signed before {skew} from now is taken, and \
                 what was live in the backup is taken back"
            );
        }
        if rehearsal {
            tracing::warn!(
                "this is the rehearsal of a restore: roles of backends give nothing, and nothing there is touched"
            );
        }
    }

    /// Ends what an earlier daemon had begun at backends, before anything new begins. Where that daemon did not end in
    /// order, its last entries being of `since`, `_vault` says so, and what was found.
    ///
    /// A crash in between leaves the rest of it to the next start, which counts only what it ended itself.
    async fn recover(&self, since: Option<Timestamp>) -> Result<(), Failure> {
        let mut interrupted = 0;
        loop {
            match self.store.recover(tend::BATCH).await? {
                0 => break,
                some => interrupted += some,
            }
        }
        if let Some(since) = since {
            let quarantined = self.store.census().await?.quarantined;
            self.store.event(Event::Recover { interrupted, quarantined, since }, None).await?;
        }
        Ok(())
    }

    /// The vault's identity.
    #[must_use]
    pub fn aud(&self) -> &Aud {
        &self.aud
    }

    /// The vault's name.
    #[must_use]
    pub fn name(&self) -> &VaultName {
        &self.name
    }

    /// The store behind it, for figures and tests.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// How it is.
    #[must_use]
    pub fn state(&self) -> State {
        if self.store.failed() {
            return State::Failed;
        }
        match self.state.load(Ordering::Acquire) {
            s if s == State::Stopping as u8 => State::Stopping,
            _ => State::Serving,
        }
    }

    /// Cancelled once an operator has commanded that the vault be sealed: its entry is durable, and whoever serves the vault
    /// takes it away.
    #[must_use]
    pub fn sealing(&self) -> &CancellationToken {
        &self.sealing
    }

    fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
    }

    /// Counts a refusal that never reached the flow: a message without the shape of one, or too much at once.
    pub fn refuse_unread(&self, reason: Reason) {
        self.refusals.count(reason, self.clock.now());
    }
}

/// Takes the key of this role out of those that are kept.
fn taken(kept: &mut Vec<KeptKey>, role: KeyRole) -> Result<KeptKey, OpeningFault> {
    let at = kept.iter().position(|key| key.role == role).ok_or(OpeningFault::KeyMissing(role))?;
    Ok(kept.swap_remove(at))
}

#[async_trait]
impl StoredValues for Vault {
    async fn stored_value(
        &self,
        used: SecretUse,
        name: &SecretName,
        version: Option<u64>,
    ) -> Result<Option<Stored>, Denial> {
        self.store.secret_value(used, name, version).await.map_err(Failure::denial)
    }
}
