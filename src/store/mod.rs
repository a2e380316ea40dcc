//! What is durable. [`Store`] speaks the domain's verbs; each writing verb is one transaction, and what its
//! documentation says is durable when it returns. The verbs decide again, inside the transaction and by the same pure
//! functions as the flow ([`crate::authn`], [`crate::authz`]), so that nothing rests on what was read before it and no
//! verb assumes that it is the only writer.
//!
//! Every writing verb that belongs to a request takes the request itself, spends its nonce in the same transaction, and
//! appends its audit entry there too. An entry's `ts` is the larger of the present, the entry before it and the audit
//! key's `nbf`.
//!
//! Stores share the verbs, these guarantees and one test suite, not SQL; [`sqlite`] is the one there is.

mod approvals;
mod backups;
mod changes;
mod foresight;
mod health;
mod keys;
mod order;
mod recoveries;
mod rings;
pub mod sqlite;

pub use approvals::Waiting;
pub use backups::{Belonging, Origins, WantedBackup};
pub use changes::Changes;
pub use foresight::{Figures, Foresight, Foretold, Sample};
pub use health::Health;
pub use keys::{KeptKey, TokenKey, VaultKeys};
pub use order::{Order, Successor};
pub use recoveries::{CustodyProof, Recoveries};
pub use rings::{Covered, Pass, RingRows, Rings};

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::audit::chain::{AuditKey, CheckpointKey, Head};
use crate::audit::entry::Opened;
use crate::authn::Authenticated;
use crate::authz::Peer;
use crate::crypto::envelope::{Embedded, Envelope};
use crate::crypto::hash::Digest;
use crate::crypto::signature::SigningKey;
use crate::denial::{Denial, Reason};
use crate::engine::ca::Ended;
use crate::engine::{Stored, Undone};
use crate::grant::{Grant, Role, Uses};
use crate::id::{AgentName, Aud, ChainName, Kid, LeaseId, Nonce, RoleName, SecretName, Sid, VaultName};
use crate::lease::Lease;
use crate::registry::{Agent, HeldKey, Operator, Session};
use crate::seal::custody::{Appointed, Custodian};
use crate::statement::approval::PolicySet;
use crate::statement::cert::KeyRole;
use crate::statement::command::Page;
use crate::statement::issue::Issue;
use crate::statement::lease::{Release, Renew, Which};
use crate::statement::register::Register;
use crate::statement::reply::{EntryRef, Hdr};
use crate::statement::request::{Request, Seen};
use crate::statement::rotate_key::RotateKey;
use crate::statement::secret::SecretUse;
use crate::statement::session::{Close, Hello};
use crate::telemetry::Telemetry;
use crate::time::{Seconds, Timestamp};

/// What kept a verb from its end.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The decision inside the transaction was no. Nothing was written.
    #[error("{0}")]
    Denied(#[from] Denial),
    /// Nothing was written and nothing will be: the disk is full, the chain is quarantined, or the deadline passed
    /// while the work still waited in the queue.
    #[error("nothing was written: {0}")]
    Unavailable(String),
    /// The deadline passed while the commit was under way. If it lands, what it made is undone as `undelivered`.
    #[error("the commit may still land")]
    Unknown,
}

impl Failure {
    /// What it means where it keeps a vault from beginning, and what to do.
    #[must_use]
    pub fn at_start(&self) -> String {
        let restore =
            "see that its disk is writable and sound; if it is, the store is damaged: restore it from a backup";
        match self {
            Failure::Denied(denial) if denial.reason == Reason::Quarantined => {
                format!("a chain that it cannot do without is quarantined, which the log names; {restore}")
            }
            failure => format!("{failure}; {restore}"),
        }
    }

    /// The refusal that a peer gets for it.
    #[must_use]
    pub fn denial(self) -> Denial {
        match self {
            Failure::Denied(denial) => denial,
            Failure::Unavailable(why) => Denial::new(Reason::AuditUnavailable).internal(why),
            Failure::Unknown => Reason::OutcomeUnknown.into(),
        }
    }
}

/// What the transactions hold requests against.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How far `iat` may lie from the clock; also for how long after `iat` a nonce is kept.
    pub skew: Seconds,
    /// How many live nonces one key may have.
    pub nonces_per_key: u64,
    /// After how long without a request a session ends.
    pub session_idle: Seconds,
    /// After how long a session ends in any case.
    pub session_max: Seconds,
    /// How many open sessions one agent may have.
    pub sessions_per_agent: u64,
    /// How many live leases one agent may have.
    pub leases_per_agent: u64,
    /// How many denials of one agent in a minute get an entry of their own; the rest share one `deny_summary`.
    pub denials_per_minute: u64,
    /// For how long an old key is accepted beside its successor.
    pub key_overlap: Seconds,
    /// When checkpoints are due.
    pub checkpoints: Pace,
    /// How long a verb may wait before it fails.
    pub deadline: std::time::Duration,
}

/// When a chain is due for its next checkpoint: whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// So many entries after the newest checkpoint.
    pub entries: u64,
    /// So long after the first entry behind the newest checkpoint.
    pub after: Seconds,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { entries: 1000, after: Seconds(300) }
    }
}

/// A chain's newest checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Its entry, and the size that the note speaks of.
    pub seq: u64,
    /// The signed note.
    pub note: String,
    /// The certificate of the checkpoint key.
    pub cert: Embedded,
    /// The signature lines of witnesses, without LF.
    pub cosigned: Vec<String>,
}

/// What there is to know about a key identifier before anything is verified.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The key, an agent's or an operator's, if it was ever registered.
    pub key: Option<HeldKey>,
    /// The floor that `iat` must lie above.
    pub floor: Timestamp,
}

/// All that decides about a request after its signature, read at one instant.
#[derive(Clone, Debug)]
pub struct Situation {
    /// The agent with its keys and live grants.
    pub agent: Arc<Agent>,
    /// The session of that name, open or ended.
    pub session: Option<Session>,
    /// The role asked for, where one was named and exists.
    pub role: Option<Arc<Role>>,
    /// What the agent's grant of that role has given.
    pub uses: Uses,
    /// Whether the nonce was used before.
    pub replayed: bool,
    /// Whether `seen` is a prefix of the agent's chain.
    pub history: bool,
    /// Whether everything is frozen.
    pub frozen: bool,
    /// Whether `seen` reaches behind what a backup had that the vault was restored from: where it is no prefix, it may well
    /// be of the history that was lost.
    pub restored: bool,
}

/// What a [`Situation`] is asked for.
#[derive(Clone, Debug)]
pub struct Question {
    /// Which agent.
    pub agent: AgentName,
    /// Which session.
    pub sid: Sid,
    /// Which role, for an issue.
    pub role: Option<RoleName>,
    /// The request's nonce.
    pub nonce: Nonce,
    /// What the agent holds of its chain.
    pub seen: Seen,
}

/// Says what is asked, once it is known whose key it is; nothing where there is nothing to ask. It runs where the store
/// reads, and is no longer than a signature takes.
pub type Asks = Box<dyn FnOnce(Candidate) -> Option<Question> + Send>;

/// A credential that is minted and sealed, and not yet recorded.
#[derive(Debug)]
pub struct Issuance<'a> {
    /// The request.
    pub request: &'a Authenticated<Request<Issue>>,
    /// From where it came.
    pub peer: Peer,
    /// What will be issued.
    pub hdr: &'a Hdr,
    /// The latest that renewals can reach.
    pub latest: Timestamp,
    /// The credential's public name at the far side.
    pub handle: &'a str,
    /// H(enc || ct).
    pub sealed: Digest,
    /// Whether an intent of it was recorded by [`Store::intend`].
    pub intended: bool,
}

/// A credential that is about to be made at a backend.
#[derive(Debug)]
pub struct Intent<'a> {
    /// The request.
    pub request: &'a Authenticated<Request<Issue>>,
    /// From where it came.
    pub peer: Peer,
    /// What is to be issued.
    pub hdr: &'a Hdr,
    /// The latest that renewals can reach.
    pub latest: Timestamp,
    /// The credential's public name at the far side.
    pub handle: &'a str,
    /// When the intent is taken to be broken off, if it is not committed before.
    pub until: Timestamp,
}

/// A role of which something waits to be undone at its backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// The role.
    pub role: RoleName,
    /// When the next of it is due.
    pub retry: Timestamp,
}

/// A credential that no lease answers for, found at a backend and taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// The role at whose backend it was found.
    pub role: RoleName,
    /// Its public name.
    pub handle: String,
    /// How it was found when it was taken away.
    pub outcome: Undone,
}

/// A refusal that belongs into an agent's chain.
#[derive(Debug)]
pub struct Refusal<'a> {
    /// Whose.
    pub agent: &'a AgentName,
    /// The key that signed.
    pub kid: &'a Kid,
    /// The request's nonce, spent with the entry.
    pub nonce: &'a Nonce,
    /// The request's `iat`.
    pub iat: Timestamp,
    /// The request.
    pub envelope: &'a Envelope,
    /// Why.
    pub reason: Reason,
}

/// What came of an order: its entry in `_operators`, and what to tell the operator, or why not.
#[derive(Debug)]
pub struct Carried {
    /// The `command` entry; a refused order has one too.
    pub entry: EntryRef,
    /// The result, or the denial that also stands in the entry.
    pub result: Result<Map<String, Value>, Denial>,
}

/// A part of a list.
#[derive(Clone, Debug)]
pub struct Listed<T> {
    /// The items.
    pub items: Vec<T>,
    /// What to put into [`Page::after`] for the rest, if there is more.
    pub next: Option<String>,
}

/// A stored secret, without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretVersion {
    /// Its name.
    pub name: SecretName,
    /// Which version, from 1.
    pub version: u64,
    /// When it was stored.
    pub since: Timestamp,
    /// How many bytes its value has.
    pub bytes: u64,
    /// What it is for.
    pub used: SecretUse,
    /// When it stops being good, where that was said.
    pub expires: Option<Timestamp>,
}

/// A custodian, and since when it is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptCustodian {
    /// Its record.
    pub custodian: Custodian,
    /// Since when.
    pub since: Timestamp,
}

/// A grant and what it has given.
#[derive(Clone, Debug)]
pub struct GrantInUse {
    /// The grant.
    pub grant: Grant,
    /// What it has given.
    pub uses: Uses,
}

/// Part of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lines {
    /// Lines without LF, in order.
    pub lines: Vec<Vec<u8>>,
    /// The chain's newest state.
    pub head: Seen,
}

/// Part of a chain as it lies in the store, for one who inspects it.
#[derive(Clone, Debug)]
pub struct StoredLines {
    /// Lines without LF, in order, each with the leaf that is kept beside it.
    pub lines: Vec<(Digest, Vec<u8>)>,
    /// The chain's newest state.
    pub head: Head,
}

/// How much of everything there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Registered agents.
    pub agents: u64,
    /// Roles.
    pub roles: u64,
    /// Live grants.
    pub grants: u64,
    /// Open sessions.
    pub sessions: u64,
    /// Live leases.
    pub leases: u64,
    /// Commands that have leases left to take back.
    pub revoking: u64,
    /// Leases that are over and not yet undone at their backends.
    pub undoing: u64,
    /// When the first of them was over.
    pub undoing_since: Option<Timestamp>,
    /// Chains.
    pub chains: u64,
    /// Entries in all chains.
    pub entries: u64,
    /// Since when the checkpoint is due that has been due the longest.
    pub checkpoint_due: Option<Timestamp>,
    /// Chains that do not verify and are set aside.
    pub quarantined: Vec<ChainName>,
    /// Whether everything is frozen.
    pub frozen: bool,
    /// How often the clock was reset; none where the chain that tells it is set aside.
    pub resets: Option<u64>,
}

/// What came due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Leases that expired.
    pub leases: u64,
    /// Sessions that ended.
    pub sessions: u64,
    /// Intents that were broken off.
    pub intents: u64,
    /// Leases that a command took back.
    pub revoked: u64,
    /// Lines that were read for nonces which the clock had made the vault forget.
    pub recalled: u64,
    /// Nonces that were forgotten below the new floor.
    pub nonces: u64,
}

/// What a vault begins with: the rows and the first entries of its own two chains.
#[derive(Debug)]
pub struct Founding {
    /// Its name.
    pub name: VaultName,
    /// Its identity.
    pub aud: Aud,
    /// Its identity key.
    pub identity: SigningKey,
    /// Its other keys.
    pub kept: Vec<KeptKey>,
    /// Its first operator's key.
    pub operator: Register,
    /// The envelope that proves it.
    pub proof: Embedded,
    /// The audit key that signs the first entries.
    pub audit_key: AuditKey,
    /// Who can get at the root key. Where nobody is named, whoever has the root key itself.
    pub custodians: Vec<Appointed>,
    /// The present.
    pub now: Timestamp,
}

/// Why an entry goes into `_vault`.
#[derive(Clone, Debug)]
pub enum Event {
    /// The daemon begins; its audit key is the one given with it.
    Start {
        /// The daemon's name.
        node: String,
        /// How it came to the root key.
        opened: Option<Opened>,
        /// Its version.
        version: String,
    },
    /// The daemon ends in order.
    Stop,
    /// A new audit key takes over.
    Epoch,
    /// The daemon before did not end in order.
    Recover {
        /// How many intents were broken off.
        interrupted: u64,
        /// Chains that do not verify.
        quarantined: Vec<ChainName>,
        /// The newest `ts` that there was.
        since: Timestamp,
    },
}

/// The domain's verbs.
#[async_trait]
pub trait Store: Rings + Recoveries + Send + Sync + std::fmt::Debug {
    /// Whether the store has met a fault after which nothing that the disk says can be trusted: every verb answers
    /// [`Failure::Unavailable`], and the daemon stops, starts again and recovers.
    fn failed(&self) -> bool;
    /// What holds the keys of this store: gone once the store and whatever works for it is.
    fn held(&self) -> std::sync::Weak<dyn std::any::Any + Send + Sync>;
    /// Whether nothing is issued since the disk is full.
    fn full(&self) -> bool;
    /// The instant of the newest entry that was written.
    fn newest(&self) -> Timestamp;
    /// Has the writer tell of its commits.
    fn observe(&self, telemetry: &Telemetry);
    /// A subscription to commits: which chains have grown.
    fn changes(&self) -> Changes;
    /// A subscription to checkpoints: which chains have a newer one, or one with more lines of witnesses.
    fn noted(&self) -> Changes;

    // --- reads for requests

    /// The key of this identifier and the floor.
    async fn candidate(&self, kid: &Kid) -> Result<Candidate, Failure>;
    /// All that decides about the request that `asks` makes of this key and the floor, at one instant; none where it asks
    /// nothing. [`Failure::Denied`] with [`Reason::Quarantined`] for a chain set aside.
    async fn situation(&self, kid: &Kid, asks: Asks) -> Result<Option<Situation>, Failure>;
    /// Whether a nonce of this key was used before.
    async fn nonce_known(&self, kid: &Kid, nonce: &Nonce) -> Result<bool, Failure>;
    /// The newest version of a secret stored for this use, or the one asked for.
    async fn secret_value(
        &self,
        used: SecretUse,
        name: &SecretName,
        version: Option<u64>,
    ) -> Result<Option<Stored>, Failure>;

    // --- requests of agents: each spends the nonce, changes the rows, appends the entry, in one durable transaction

    /// Opens or finds the session; entry `session`. Gives the session and its entry.
    async fn open_session(&self, request: &Authenticated<Request<Hello>>) -> Result<(Session, EntryRef), Failure>;
    /// Records that a credential is about to be made at a backend: spends the nonce, counts use and lease. No entry: the
    /// issuance, or what becomes of the intent, has one.
    async fn intend(&self, intent: &Intent<'_>) -> Result<(), Failure>;
    /// Ends an intent that came to nothing: entry `deny` with its lease and handle, and its backend to be looked at. Gives
    /// nothing where there is no such intent any more.
    async fn abandon(&self, lease: &LeaseId, reason: Reason) -> Result<Option<EntryRef>, Failure>;
    /// Records an issuance: session (opened if new), lease, use of the grant, entry `issue`. Where the caller is gone
    /// when the commit lands, the lease is ended as `undelivered`.
    async fn issue(&self, issuance: &Issuance<'_>) -> Result<EntryRef, Failure>;
    /// Prolongs a lease of the caller's, at most until its backend `bears` it; entry `renew`.
    async fn renew(
        &self,
        request: &Authenticated<Request<Renew>>,
        peer: Peer,
        bears: Option<Timestamp>,
    ) -> Result<(Lease, EntryRef), Failure>;
    /// Ends a lease of the caller's; entry `release`.
    async fn release(&self, request: &Authenticated<Request<Release>>) -> Result<(Lease, EntryRef), Failure>;
    /// Ends a session and its leases; entry `close`. Gives how many leases ended with it.
    async fn close(&self, request: &Authenticated<Request<Close>>) -> Result<(u64, EntryRef), Failure>;
    /// Puts the successor in place, if the signing key is still the newest; entry `agent_key`. Gives the end of the
    /// old key's overlap.
    async fn rotate_key(
        &self,
        request: &Authenticated<Request<RotateKey>>,
        new: &Register,
    ) -> Result<(Timestamp, EntryRef), Failure>;
    /// Records a refusal; entry `deny`, or a count towards `deny_summary` (then no entry is given back).
    async fn deny(&self, refusal: &Refusal<'_>) -> Result<Option<EntryRef>, Failure>;

    // --- commands of operators

    /// Spends a nonce: all that a signed read leaves behind.
    async fn spend(&self, kid: &Kid, nonce: &Nonce, iat: Timestamp) -> Result<(), Failure>;
    /// Carries an order out: entry `command` in `_operators`, and its effects with `by`, in one transaction. A refused
    /// order changes nothing but still spends its nonce and stands in `_operators` with its reason.
    async fn carry_out(&self, order: &Order<'_>) -> Result<Carried, Failure>;

    /// Decides an order and a request as if they came now, and undoes it: nothing of it is ever durable, and no use, nonce
    /// or place is spent.
    async fn foresee(&self, foresight: &Foresight<'_>) -> Result<Foretold, Failure>;

    // --- the vault's own

    /// Makes `key` the audit key from here on and says so in `_vault`.
    async fn event(&self, event: Event, key: Option<AuditKey>) -> Result<EntryRef, Failure>;
    /// Records the daemon's limits in `_vault`, where they are not those of the newest `config` entry.
    async fn config(&self, limits: &BTreeMap<String, u64>) -> Result<Option<EntryRef>, Failure>;
    /// Records how many strangers' requests were refused in a minute, by reason; entry `refused` in `_vault`.
    async fn refused(&self, minute: u64, counts: &BTreeMap<String, u64>) -> Result<EntryRef, Failure>;
    /// Ends what is over: expired leases (`expire`), sessions that ran out (`session_end`), intents past their time
    /// (`deny`), what commands have left to take back (`revoke`), full minutes of denials (`deny_summary`), nonces past
    /// their window (raising the floor). At most `limit` of each.
    async fn end_due(&self, limit: u64) -> Result<Due, Failure>;
    /// Ends intents that an earlier daemon has left, before the first request is served: at most `limit`; gives how many.
    async fn recover(&self, limit: u64) -> Result<u64, Failure>;

    // --- what is to be undone at backends

    /// The roles of which something waits, however much of each.
    async fn backlog(&self) -> Result<Vec<Backlog>, Failure>;
    /// The leases of a role that are to be tried at `now`, longest due first.
    async fn to_undo(&self, role: &RoleName, now: Timestamp, limit: u64) -> Result<Vec<Lease>, Failure>;
    /// Records that a credential is gone from its backend; entry `undone`. Gives nothing where that stands already.
    async fn undone(&self, lease: &LeaseId, outcome: Undone) -> Result<Option<EntryRef>, Failure>;
    /// Records that it could not be undone now, and when it is tried next.
    async fn not_undone(&self, lease: &LeaseId, fault: &str, retry: Timestamp) -> Result<(), Failure>;
    /// Whether a lease answers for its credential at `now`: it lives, is about to, or is being undone.
    async fn answered_for(&self, lease: &LeaseId, now: Timestamp) -> Result<bool, Failure>;
    /// Records that a credential without a lease was found and taken away; entry `swept` in `_vault`.
    async fn swept(&self, sweep: &Sweep) -> Result<EntryRef, Failure>;

    // --- reads for operators

    /// Every operator, by name.
    async fn operators(&self) -> Result<Vec<Operator>, Failure>;
    /// An operator.
    async fn operator(&self, kid: &Kid) -> Result<Option<Operator>, Failure>;
    /// Every custodian of the root key, by name.
    async fn custodians(&self) -> Result<Vec<KeptCustodian>, Failure>;
    /// The rules of several persons.
    async fn policy(&self) -> Result<PolicySet, Failure>;
    /// What waits for other operators, oldest first.
    async fn waiting(&self, page: &Page) -> Result<Listed<Waiting>, Failure>;
    /// Agents by name.
    async fn agents(&self, page: &Page) -> Result<Listed<Arc<Agent>>, Failure>;
    /// One agent, and its chain's newest state.
    async fn agent(&self, name: &AgentName) -> Result<Option<(Arc<Agent>, Seen)>, Failure>;
    /// Roles by name.
    async fn roles(&self, page: &Page) -> Result<Listed<Arc<Role>>, Failure>;
    /// One role.
    async fn role(&self, name: &RoleName) -> Result<Option<Arc<Role>>, Failure>;
    /// Stored secrets by name, each with its newest version.
    async fn secrets(&self, page: &Page) -> Result<Listed<SecretVersion>, Failure>;
    /// Versions of one secret, oldest first.
    async fn secret_versions(&self, name: &SecretName) -> Result<Vec<SecretVersion>, Failure>;
    /// Live grants by agent and role.
    async fn grants(&self, agent: Option<&AgentName>, page: &Page) -> Result<Listed<GrantInUse>, Failure>;
    /// Leases, newest first.
    async fn leases(&self, agent: Option<&AgentName>, which: Which, page: &Page) -> Result<Listed<Lease>, Failure>;
    /// One lease.
    async fn lease(&self, id: &LeaseId) -> Result<Option<Lease>, Failure>;
    /// What a list of revoked credentials of these roles says at `now`: leases revoked by such a list that were
    /// released, revoked or never delivered, and whose credential has not expired by itself. By when it expires.
    async fn listed(&self, roles: &[RoleName], now: Timestamp) -> Result<Vec<Ended>, Failure>;
    /// Chains by name, each with its newest state.
    async fn chains(&self, page: &Page) -> Result<Listed<(ChainName, Seen)>, Failure>;
    /// Lines of a chain from `from` on: at most `limit`, and at most `bytes` in all but for the first.
    async fn lines(&self, chain: &ChainName, from: u64, limit: u64, bytes: usize) -> Result<Option<Lines>, Failure>;
    /// The same of many chains in one read, each from its own `from` on and with these bounds for each.
    async fn lines_of(
        &self,
        chains: Vec<(ChainName, u64)>,
        limit: u64,
        bytes: usize,
    ) -> Result<Vec<Option<Lines>>, Failure>;

    // --- checkpoints and proofs

    /// Appends a checkpoint of all that the chain has; none where it has nothing, or its newest entry is one already.
    /// Durable when it returns: the entry, and with it the note.
    async fn checkpoint(&self, chain: &ChainName, key: Arc<CheckpointKey>) -> Result<Option<EntryRef>, Failure>;
    /// Chains that are due for a checkpoint at `now`, longest due first; with the end of time for `now`, all that have an
    /// entry behind their newest. Found by an index.
    async fn checkpoints_due(&self, now: Timestamp, limit: u64) -> Result<Vec<ChainName>, Failure>;
    /// The newest checkpoint of a chain; none where there is none yet.
    async fn newest_checkpoint(&self, chain: &ChainName) -> Result<Option<Noted>, Failure>;
    /// Keeps signature lines of witnesses with the checkpoint of this size, besides those that it has. Whether they are
    /// good is for the caller.
    async fn cosign(&self, chain: &ChainName, size: u64, lines: &[String]) -> Result<(), Failure>;
    /// The proof that an entry stands in the chain's tree of this size (RFC 9162 section 2.1.3); none where the chain has
    /// no such entry or size. It costs some hundred look-ups at any length.
    async fn inclusion(&self, chain: &ChainName, seq: u64, size: u64) -> Result<Option<Vec<Digest>>, Failure>;
    /// The proof that the chain's tree of the size `old` is the beginning of that of `size` (RFC 9162 section 2.1.4); none
    /// where the chain has no such size.
    async fn consistency(&self, chain: &ChainName, old: u64, size: u64) -> Result<Option<Vec<Digest>>, Failure>;
    /// Lines of a chain from `from` on as they lie in the store; none of a chain that is not there or is set aside. At most
    /// `limit`, and at most `bytes` in all but for the first.
    async fn stored_lines(
        &self,
        chain: &ChainName,
        from: u64,
        limit: u64,
        bytes: usize,
    ) -> Result<Option<StoredLines>, Failure>;
    /// Sets a chain aside because it does not verify: nothing is decided by it and nothing appended to it from here on.
    /// Held in memory: the next start looks for itself.
    fn quarantine(&self, chain: &ChainName, why: &str);
    /// What a request's `iat` must lie above, as far as it was looked at lately.
    fn floor(&self) -> Timestamp;
    /// Whether a chain is set aside.
    fn is_aside(&self, chain: &ChainName) -> bool;

    // --- the vault's keys, and figures

    /// Keeps a new certificate for one of the vault's own keys, the one that it names.
    async fn replace_cert(&self, role: KeyRole, cert: &Embedded) -> Result<(), Failure>;
    /// The keys for tokens after the first, which [`VaultKeys`] holds; the newest last.
    async fn token_keys(&self) -> Result<Vec<TokenKey>, Failure>;
    /// Writes a backup of everything as it is at one instant, sealed, to `out`: at the pace of whoever takes it there. No
    /// deadline holds. Others write meanwhile.
    async fn backup(&self, wanted: WantedBackup, out: Box<dyn std::io::Write + Send>) -> Result<(), Failure>;
    /// How its files are, and what comes close to a bound.
    async fn health(&self) -> Result<Health, Failure>;
    /// How much of everything there is.
    async fn census(&self) -> Result<Census, Failure>;
}
