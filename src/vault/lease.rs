//! What an agent does with a lease it holds: `RenewLease` and `ReleaseLease`. Both ask the store, which holds the lease
//! against its owner inside the transaction: an agent never touches another's.

use super::admit::{Asking, Reply};
use super::answer::{Outcome, Receipt};
use super::{Vault, deadline};
use crate::authz::{self, Peer};
use crate::crypto::envelope::Envelope;
use crate::denial::{Denial, Reason};
use crate::engine::Made;
use crate::failpoint::failpoint;
use crate::lease::Lease;
use crate::statement::lease::{Release, Renew};
use crate::statement::reply::{Released, Renewed, Revocation};
use crate::store::Failure;
use crate::time::Timestamp;

impl Vault {
    /// `RenewLease`: more life, never past what the grant allows, and only from where it allows.
    pub async fn renew(&self, envelope: Envelope, peer: Peer) -> Outcome {
        match self.admit::<Renew>(envelope, |_| None).await {
            Ok(asking) => {
                let decided = self.decide_renew(&asking, peer).await;
                self.conclude(&asking, decided).await
            }
            Err(outcome) => outcome,
        }
    }

    async fn decide_renew(&self, asking: &Asking<Renew>, peer: Peer) -> Result<(Receipt, Reply), Denial> {
        asking.bind(None, self)?;
        let bears = self.renew_at_backend(asking, peer).await?;
        let renewed = self.store.renew(&asking.authenticated, peer, bears).await;
        let (lease, entry) = renewed.map_err(|failure| failure.denial())?;
        failpoint!("renew: committed");
        let req = asking.req();
        let reply: Reply = Box::new(move |pen, receipt| {
            pen.release(receipt, |entry| Renewed::new(entry, lease.expires, lease.id, req))
        });
        Ok((Receipt::of(entry), reply))
    }

    /// Has a backend bear the credential for longer, before the renewal is recorded. What a crash in between leaves is a
    /// credential that its backend would bear longer than its lease: the lease's end still takes it away. Gives until
    /// when; nothing where there is no backend, or where the store will say no.
    async fn renew_at_backend(&self, asking: &Asking<Renew>, peer: Peer) -> Result<Option<Timestamp>, Denial> {
        let (common, renew) = (&asking.authenticated.statement().common, asking.body());
        let lease = self.store.lease(&renew.lease).await.map_err(Failure::denial)?;
        let own = |lease: &Lease| lease.agent == common.agent && lease.sid == common.sid;
        let Some(lease) = lease.filter(|lease| own(lease) && lease.revocation == Revocation::Backend) else {
            return Ok(None);
        };
        let role = self.store.role(&lease.role).await.map_err(Failure::denial)?.ok_or(Reason::NoGrant)?;
        role.alive()?;
        let grant = asking.situation.agent.grants.iter().find(|grant| grant.role == lease.role);
        let expires = authz::prolong(&lease, grant, peer, renew.ttl, asking.authenticated.at())?;
        let engine = self.engines.of_kind(&role.engine)?;
        let made = Made { config: &role.config, agent: &lease.agent, lease: &lease.id, handle: &lease.handle };
        let place = self.backends.enter(&role.name, &lease.agent, self.limits.engine_deadline).await?;
        deadline::within(place.left, engine.renew(made, expires, self)).await?;
        failpoint!("renew: prolonged");
        Ok(Some(expires))
    }

    /// `ReleaseLease`: the agent gives back what it no longer needs.
    pub async fn release(&self, envelope: Envelope) -> Outcome {
        match self.admit::<Release>(envelope, |_| None).await {
            Ok(asking) => {
                let decided = self.decide_release(&asking).await;
                self.conclude(&asking, decided).await
            }
            Err(outcome) => outcome,
        }
    }

    async fn decide_release(&self, asking: &Asking<Release>) -> Result<(Receipt, Reply), Denial> {
        asking.bind(None, self)?;
        let (lease, entry) = self.store.release(&asking.authenticated).await.map_err(|failure| failure.denial())?;
        failpoint!("release: committed");
        if lease.revocation == Revocation::Backend {
            self.wake.notify_one();
        }
        let req = asking.req();
        let reply: Reply =
            Box::new(move |pen, receipt| pen.release(receipt, |entry| Released::new(entry, lease.id, req)));
        Ok((Receipt::of(entry), reply))
    }
}
