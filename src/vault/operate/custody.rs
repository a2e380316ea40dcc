//! `nockvault/custody_list` and `custody_add`: who can get at the root key. The secret of a custodian is never here: who adds
//! one sends its public key, inside the signed command.

use super::super::Vault;
use super::super::answer::Outcome;
use super::super::listing;
use crate::crypto::envelope::Envelope;
use crate::denial::{Denial, Reason};
use crate::seal::custody::Appointed;
use crate::statement::custody::{CustodyAdd, CustodyList};
use crate::store::{Failure, Order};

impl Vault {
    pub(super) async fn custody_list(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<CustodyList>(envelope).await?;
        let listed = self.store.custodians().await;
        let told = listed.map(|all| listing::whole(all.iter().map(listing::custodian))).map_err(Failure::denial);
        Ok(self.tell(&admitted.authenticated, told).await)
    }

    pub(super) async fn custody_add(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<CustodyAdd>(envelope).await?;
        let CustodyAdd { kind, name, public } = &admitted.authenticated.statement().body;
        let appointed = public.check().map(|public| Appointed { name: name.clone(), kind: kind.clone(), public });
        let order = match &appointed {
            Ok(who) => Ok(Order::AddCustodian(&admitted.authenticated, who)),
            Err(_) => Err(Denial::new(Reason::SealKey)),
        };
        Ok(self.carry(&admitted.authenticated, order).await)
    }
}
