//! The verbs of the store, each handed to the writer or to a reader.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::super::{
    Asks, Backlog, Candidate, Carried, Census, Changes, Due, Event, Failure, Foresight, Foretold, GrantInUse, Health,
    Intent, Issuance, KeptCustodian, Lines, Listed, Noted, Order, Refusal, SecretVersion, Situation, Store,
    StoredLines, Sweep, TokenKey, Waiting, WantedBackup,
};
use super::orders::{self, Wish};
use super::reader::Instant;
use super::requests::{self, Asking, Minted, Refused, embed};
use super::writer::Weight;
use super::{
    Sqlite, approvals, backup, checkpoints, custodians, due, foresight, founding, health, intents, listed, lists,
    reads, token_keys, trees, undo,
};
use crate::audit::chain::{AuditKey, CheckpointKey};
use crate::authn::Authenticated;
use crate::authz::Peer;
use crate::crypto::envelope::Embedded;
use crate::crypto::hash::Digest;
use crate::denial::Reason;
use crate::engine::ca::Ended;
use crate::engine::{Stored, Undone};
use crate::grant::Role;
use crate::id::{AgentName, ChainName, Kid, LeaseId, Nonce, RoleName, SecretName};
use crate::lease::Lease;
use crate::registry::{Agent, Operator, Session};
use crate::statement::approval::PolicySet;
use crate::statement::cert::KeyRole;
use crate::statement::command::Page;
use crate::statement::lease::{Release, Renew, Which};
use crate::statement::register::Register;
use crate::statement::reply::EntryRef;
use crate::statement::request::{Request, Seen};
use crate::statement::rotate_key::RotateKey;
use crate::statement::secret::SecretUse;
use crate::statement::session::{Close, Hello};
use crate::telemetry::Telemetry;
use crate::time::Timestamp;

/// The number of an audit key among the vault's.
pub(super) fn epoch_of(key: &AuditKey) -> Option<u64> {
    key.cert().payload.get("epoch").and_then(serde_json::Value::as_u64)
}

#[async_trait]
impl Store for Sqlite {
    fn failed(&self) -> bool {
        self.shared.condition.failed()
    }

    fn held(&self) -> std::sync::Weak<dyn std::any::Any + Send + Sync> {
        let held: Arc<dyn std::any::Any + Send + Sync> = self.shared.clone();
        Arc::downgrade(&held)
    }

    fn full(&self) -> bool {
        self.shared.condition.full()
    }

    fn newest(&self) -> Timestamp {
        self.shared.condition.newest()
    }

    fn observe(&self, telemetry: &Telemetry) {
        // Whoever served this store first goes on being told.
        let _ = self.shared.telemetry.set(telemetry.clone());
    }

    fn changes(&self) -> Changes {
        self.shared.announcer.listen()
    }

    fn noted(&self) -> Changes {
        self.shared.noted.listen()
    }

    async fn candidate(&self, kid: &Kid) -> Result<Candidate, Failure> {
        let kid = kid.clone();
        self.read(move |at| reads::candidate(at, &kid)).await
    }

    async fn situation(&self, kid: &Kid, asks: Asks) -> Result<Option<Situation>, Failure> {
        let kid = kid.clone();
        self.read(move |at| {
            let question = asks(reads::candidate(at, &kid)?);
            question.map(|question| reads::situation(at, &kid, &question)).transpose()
        })
        .await
    }

    async fn nonce_known(&self, kid: &Kid, nonce: &Nonce) -> Result<bool, Failure> {
        let (kid, nonce) = (kid.clone(), nonce.clone());
        self.read(move |at| reads::nonce_known(at, &kid, &nonce)).await
    }

    async fn secret_value(
        &self,
        used: SecretUse,
        name: &SecretName,
        version: Option<u64>,
    ) -> Result<Option<Stored>, Failure> {
        let name = name.clone();
        self.read(move |at| reads::secret_value(at, used, &name, version)).await
    }

    async fn open_session(&self, request: &Authenticated<Request<Hello>>) -> Result<(Session, EntryRef), Failure> {
        let asking = Asking::of(request)?;
        self.write(Weight::Gives, None, move |tx| requests::open_session(tx, &asking)).await
    }

    async fn intend(&self, intent: &Intent<'_>) -> Result<(), Failure> {
        let asking = Asking::of(intent.request)?;
        let minted = Minted {
            peer: intent.peer,
            hdr: intent.hdr.clone(),
            latest: intent.latest,
            handle: intent.handle.to_owned(),
            sealed: Digest::ZERO,
            intended: true,
        };
        let until = intent.until;
        self.write(Weight::Gives, None, move |tx| intents::intend(tx, &asking, &minted, until)).await
    }

    async fn abandon(&self, lease: &LeaseId, reason: Reason) -> Result<Option<EntryRef>, Failure> {
        let lease = lease.clone();
        self.write(Weight::Ends, None, move |tx| intents::abandon(tx, &lease, reason)).await
    }

    async fn issue(&self, issuance: &Issuance<'_>) -> Result<EntryRef, Failure> {
        let asking = Asking::of(issuance.request)?;
        let minted = Minted {
            peer: issuance.peer,
            hdr: issuance.hdr.clone(),
            latest: issuance.latest,
            handle: issuance.handle.to_owned(),
            sealed: issuance.sealed,
            intended: issuance.intended,
        };
        let lease = Some(minted.hdr.lease.clone());
        self.write(Weight::Gives, lease, move |tx| requests::issue(tx, &asking, &minted)).await
    }

    async fn renew(
        &self,
        request: &Authenticated<Request<Renew>>,
        peer: Peer,
        bears: Option<Timestamp>,
    ) -> Result<(Lease, EntryRef), Failure> {
        let asking = Asking::of(request)?;
        self.write(Weight::Gives, None, move |tx| requests::renew(tx, &asking, peer, bears)).await
    }

    async fn release(&self, request: &Authenticated<Request<Release>>) -> Result<(Lease, EntryRef), Failure> {
        let asking = Asking::of(request)?;
        self.write(Weight::Ends, None, move |tx| requests::release(tx, &asking)).await
    }

    async fn close(&self, request: &Authenticated<Request<Close>>) -> Result<(u64, EntryRef), Failure> {
        let asking = Asking::of(request)?;
        self.write(Weight::Ends, None, move |tx| requests::close(tx, &asking)).await
    }

    async fn rotate_key(
        &self,
        request: &Authenticated<Request<RotateKey>>,
        new: &Register,
    ) -> Result<(Timestamp, EntryRef), Failure> {
        let (asking, new) = (Asking::of(request)?, new.clone());
        self.write(Weight::Gives, None, move |tx| requests::rotate_key(tx, &asking, &new)).await
    }

    async fn deny(&self, refusal: &Refusal<'_>) -> Result<Option<EntryRef>, Failure> {
        let refused = Refused {
            agent: refusal.agent.clone(),
            kid: refusal.kid.clone(),
            nonce: refusal.nonce.clone(),
            iat: refusal.iat,
            embedded: embed(refusal.envelope)?,
            reason: refusal.reason,
        };
        self.write(Weight::Gives, None, move |tx| requests::deny(tx, &refused)).await
    }

    async fn spend(&self, kid: &Kid, nonce: &Nonce, iat: Timestamp) -> Result<(), Failure> {
        let (kid, nonce) = (kid.clone(), nonce.clone());
        self.write(Weight::Gives, None, move |tx| orders::spend(tx, &kid, &nonce, iat)).await
    }

    async fn carry_out(&self, order: &Order<'_>) -> Result<Carried, Failure> {
        let wish = Wish::of(order)?;
        let weight = if wish.ends() { Weight::Ends } else { Weight::Gives };
        self.write(weight, None, move |tx| orders::carry_out(tx, &wish)).await
    }

    async fn foresee(&self, foresight: &Foresight<'_>) -> Result<Foretold, Failure> {
        let wanted = foresight::Wanted::of(foresight)?;
        self.write(Weight::Gives, None, move |tx| foresight::foresee(tx, &wanted)).await
    }

    async fn event(&self, event: Event, key: Option<AuditKey>) -> Result<EntryRef, Failure> {
        let (epoch, key) = (key.as_ref().and_then(epoch_of), key.map(Arc::new));
        let run = move |tx: &mut super::tx::Tx<'_>| {
            if let Some(key) = &key {
                tx.key = Some(Arc::clone(key));
            }
            due::event(tx, &event, epoch)
        };
        self.write(Weight::Ends, None, run).await
    }

    async fn config(&self, limits: &BTreeMap<String, u64>) -> Result<Option<EntryRef>, Failure> {
        let limits = limits.clone();
        self.write(Weight::Ends, None, move |tx| due::config(tx, &limits)).await
    }

    async fn refused(&self, minute: u64, counts: &BTreeMap<String, u64>) -> Result<EntryRef, Failure> {
        let counts = counts.clone();
        self.write(Weight::Gives, None, move |tx| due::refused(tx, minute, &counts)).await
    }

    async fn end_due(&self, limit: u64) -> Result<Due, Failure> {
        self.write(Weight::Ends, None, move |tx| due::end_due(tx, limit)).await
    }

    async fn recover(&self, limit: u64) -> Result<u64, Failure> {
        self.write(Weight::Ends, None, move |tx| intents::interrupt(tx, true, limit)).await
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, Failure> {
        self.read(undo::backlog).await
    }

    async fn to_undo(&self, role: &RoleName, now: Timestamp, limit: u64) -> Result<Vec<Lease>, Failure> {
        let role = role.clone();
        self.read(move |at| undo::to_undo(at, &role, now, limit)).await
    }

    async fn undone(&self, lease: &LeaseId, outcome: Undone) -> Result<Option<EntryRef>, Failure> {
        let lease = lease.clone();
        self.write(Weight::Ends, None, move |tx| undo::undone(tx, &lease, outcome)).await
    }

    async fn not_undone(&self, lease: &LeaseId, fault: &str, retry: Timestamp) -> Result<(), Failure> {
        let (lease, fault) = (lease.clone(), fault.to_owned());
        self.write(Weight::Ends, None, move |tx| undo::not_undone(tx, &lease, &fault, retry)).await
    }

    async fn answered_for(&self, lease: &LeaseId, now: Timestamp) -> Result<bool, Failure> {
        let lease = lease.clone();
        self.read(move |at| undo::answered_for(at, &lease, now)).await
    }

    async fn swept(&self, sweep: &Sweep) -> Result<EntryRef, Failure> {
        let sweep = sweep.clone();
        self.write(Weight::Ends, None, move |tx| undo::swept(tx, &sweep)).await
    }

    async fn operators(&self) -> Result<Vec<Operator>, Failure> {
        self.read(lists::operators).await
    }

    async fn custodians(&self) -> Result<Vec<KeptCustodian>, Failure> {
        self.read(custodians::listed).await
    }

    async fn policy(&self) -> Result<PolicySet, Failure> {
        self.read(approvals::policy).await
    }

    async fn waiting(&self, page: &Page) -> Result<Listed<Waiting>, Failure> {
        let page = page.clone();
        self.read(move |at| approvals::waiting(at, &page)).await
    }

    async fn operator(&self, kid: &Kid) -> Result<Option<Operator>, Failure> {
        let kid = kid.clone();
        self.read(move |at| lists::operator(at, &kid)).await
    }

    async fn agents(&self, page: &Page) -> Result<Listed<Arc<Agent>>, Failure> {
        let page = page.clone();
        self.read(move |at| lists::agents(at, &page)).await
    }

    async fn agent(&self, name: &AgentName) -> Result<Option<(Arc<Agent>, Seen)>, Failure> {
        let name = name.clone();
        self.read(move |at| lists::agent(at, &name)).await
    }

    async fn roles(&self, page: &Page) -> Result<Listed<Arc<Role>>, Failure> {
        let page = page.clone();
        self.read(move |at| lists::roles(at, &page)).await
    }

    async fn role(&self, name: &RoleName) -> Result<Option<Arc<Role>>, Failure> {
        let name = name.clone();
        self.read(move |at| lists::role(at, &name)).await
    }

    async fn secrets(&self, page: &Page) -> Result<Listed<SecretVersion>, Failure> {
        let page = page.clone();
        self.read(move |at| lists::secrets(at, &page)).await
    }

    async fn secret_versions(&self, name: &SecretName) -> Result<Vec<SecretVersion>, Failure> {
        let name = name.clone();
        self.read(move |at| lists::secret_versions(at, &name)).await
    }

    async fn grants(&self, agent: Option<&AgentName>, page: &Page) -> Result<Listed<GrantInUse>, Failure> {
        let (agent, page) = (agent.cloned(), page.clone());
        self.read(move |at| lists::grants(at, agent.as_ref(), &page)).await
    }

    async fn leases(&self, agent: Option<&AgentName>, which: Which, page: &Page) -> Result<Listed<Lease>, Failure> {
        let (agent, page) = (agent.cloned(), page.clone());
        self.read(move |at| lists::leases(at, agent.as_ref(), which, &page)).await
    }

    async fn lease(&self, id: &LeaseId) -> Result<Option<Lease>, Failure> {
        let id = id.clone();
        self.read(move |at| lists::lease(at, &id)).await
    }

    async fn listed(&self, roles: &[RoleName], now: Timestamp) -> Result<Vec<Ended>, Failure> {
        let roles = roles.to_vec();
        self.read(move |at| listed::listed(at, &roles, now)).await
    }

    async fn chains(&self, page: &Page) -> Result<Listed<(ChainName, Seen)>, Failure> {
        let page = page.clone();
        self.read(move |at| lists::chains(at, &page)).await
    }

    async fn lines(&self, chain: &ChainName, from: u64, limit: u64, bytes: usize) -> Result<Option<Lines>, Failure> {
        let chain = chain.clone();
        self.read(move |at| lists::lines(at, &chain, from, limit, bytes)).await
    }

    async fn lines_of(
        &self,
        chains: Vec<(ChainName, u64)>,
        limit: u64,
        bytes: usize,
    ) -> Result<Vec<Option<Lines>>, Failure> {
        let each = move |at: Instant<'_>| {
            chains.iter().map(|(chain, from)| lists::lines(at, chain, *from, limit, bytes)).collect()
        };
        self.read(each).await
    }

    async fn checkpoint(&self, chain: &ChainName, key: Arc<CheckpointKey>) -> Result<Option<EntryRef>, Failure> {
        let chain = chain.clone();
        self.write(Weight::Gives, None, move |tx| checkpoints::append(tx, &chain, &key)).await
    }

    async fn checkpoints_due(&self, now: Timestamp, limit: u64) -> Result<Vec<ChainName>, Failure> {
        self.read(move |at| checkpoints::due(at, now, limit)).await
    }

    async fn newest_checkpoint(&self, chain: &ChainName) -> Result<Option<Noted>, Failure> {
        let chain = chain.clone();
        self.read(move |at| checkpoints::newest(at, &chain)).await
    }

    async fn cosign(&self, chain: &ChainName, size: u64, lines: &[String]) -> Result<(), Failure> {
        let (chain, lines) = (chain.clone(), lines.to_vec());
        self.write(Weight::Gives, None, move |tx| checkpoints::cosign(tx, &chain, size, &lines)).await
    }

    async fn inclusion(&self, chain: &ChainName, seq: u64, size: u64) -> Result<Option<Vec<Digest>>, Failure> {
        let chain = chain.clone();
        self.read(move |at| trees::inclusion(at, &chain, seq, size)).await
    }

    async fn consistency(&self, chain: &ChainName, old: u64, size: u64) -> Result<Option<Vec<Digest>>, Failure> {
        let chain = chain.clone();
        self.read(move |at| trees::consistency(at, &chain, old, size)).await
    }

    async fn stored_lines(
        &self,
        chain: &ChainName,
        from: u64,
        limit: u64,
        bytes: usize,
    ) -> Result<Option<StoredLines>, Failure> {
        let chain = chain.clone();
        self.read(move |at| lists::stored_lines(at, &chain, from, limit, bytes)).await
    }

    fn quarantine(&self, chain: &ChainName, why: &str) {
        self.shared.views.set_aside(chain, why);
    }

    fn floor(&self) -> Timestamp {
        self.shared.views.floor()
    }

    fn is_aside(&self, chain: &ChainName) -> bool {
        self.shared.views.is_aside(chain)
    }

    async fn replace_cert(&self, role: KeyRole, cert: &Embedded) -> Result<(), Failure> {
        let cert = cert.clone();
        self.write(Weight::Ends, None, move |tx| founding::replace_cert(tx, role, &cert)).await
    }

    async fn token_keys(&self) -> Result<Vec<TokenKey>, Failure> {
        self.read(token_keys::all).await
    }

    async fn backup(&self, wanted: WantedBackup, out: Box<dyn std::io::Write + Send>) -> Result<(), Failure> {
        let (shared, database) = (Arc::clone(&self.shared), self.database.clone());
        let task = tokio::task::spawn_blocking(move || backup::write(&shared, &database, wanted, out));
        task.await.unwrap_or_else(|_| Err(Failure::Unavailable("a fault of our own; the log says where".to_owned())))
    }

    async fn health(&self) -> Result<Health, Failure> {
        self.read(health::health).await
    }

    async fn census(&self) -> Result<Census, Failure> {
        self.read(lists::census).await
    }
}
