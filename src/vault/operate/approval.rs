//! `nockvault/policy_show` and `approval_list`: which commands more than one operator must want, and which wait for others.

use super::super::Vault;
use super::super::answer::Outcome;
use super::super::listing;
use crate::crypto::envelope::Envelope;
use crate::registry::Duty;
use crate::statement::approval::{ApprovalList, PolicyShow};
use crate::store::Failure;

use super::Told;

impl Vault {
    pub(super) async fn policy_show(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<PolicyShow>(envelope).await?;
        let told = self.policy_told().await;
        Ok(self.tell(&admitted.authenticated, told).await)
    }

    async fn policy_told(&self) -> Told {
        let policy = self.store.policy().await.map_err(Failure::denial)?;
        let operators = self.store.operators().await.map_err(Failure::denial)?;
        let admins = operators.iter().filter(|one| one.duty == Duty::Admin && one.lives()).count();
        Ok(listing::policy(&policy, admins))
    }

    pub(super) async fn approval_list(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<ApprovalList>(envelope).await?;
        let listed = self.store.waiting(&admitted.authenticated.statement().body.page).await;
        let told = listed.map(|waiting| listing::page(waiting, listing::waiting)).map_err(Failure::denial);
        Ok(self.tell(&admitted.authenticated, told).await)
    }
}
