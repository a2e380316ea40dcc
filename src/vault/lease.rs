//! What an agent does with a lease it holds: `RenewLease` and `ReleaseLease`. Both ask the store, which holds the lease
//! against its owner inside the transaction: an agent never touches another's.

use super::Vault;
use super::admit::{Asking, Reply};
use super::answer::{Outcome, Receipt};
use crate::authz::Peer;
use crate::crypto::envelope::Envelope;
use crate::denial::Denial;
use crate::statement::lease::{Release, Renew};
use crate::statement::reply::{Released, Renewed};

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
        let (lease, entry) = self.store.renew(&asking.authenticated, peer).await.map_err(|failure| failure.denial())?;
        let req = asking.req();
        let reply: Reply = Box::new(move |pen, receipt| {
            pen.release(receipt, |entry| Renewed::new(entry, lease.expires, lease.id, req))
        });
        Ok((Receipt::of(entry), reply))
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
        let req = asking.req();
        let reply: Reply =
            Box::new(move |pen, receipt| pen.release(receipt, |entry| Released::new(entry, lease.id, req)));
        Ok((Receipt::of(entry), reply))
    }
}
