//! Operators commanded by operators: who they are, what they may do, and their keys. No key enters without a statement
//! that it signed itself.

use super::super::Vault;
use super::super::answer::Outcome;
use super::super::listing;
use crate::authn::{Authenticated, Signed};
use crate::crypto::envelope::{Embedded, Envelope};
use crate::denial::{Denial, Reason};
use crate::statement::operator::{OperatorList, OperatorRegister, OperatorRotate, OperatorShow};
use crate::statement::register::{Holder, Register};
use crate::store::{Failure, Order};

impl Vault {
    pub(super) async fn operator_register(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<OperatorRegister>(envelope).await?;
        let command = &admitted.authenticated;
        let register = self.operators_key(command, &command.statement().body.register);
        let order = register.as_ref().map(|register| Order::RegisterOperator(command, register)).map_err(Clone::clone);
        Ok(self.carry(command, order).await)
    }

    pub(super) async fn operator_rotate(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<OperatorRotate>(envelope).await?;
        let command = &admitted.authenticated;
        let register = self.operators_key(command, &command.statement().body.register);
        let order = register.as_ref().map(|register| Order::RotateOperatorKey(command, register)).map_err(Clone::clone);
        Ok(self.carry(command, order).await)
    }

    /// The register statement of an operator's key, proved and in time.
    fn operators_key<S: Signed>(&self, command: &Authenticated<S>, embedded: &Embedded) -> Result<Register, Denial> {
        let register = Register::open(embedded)?;
        register.timely(&self.aud, command.at(), self.limits.rules.skew)?;
        match register.holder {
            Holder::Operator(_) => Ok(register),
            Holder::Agent(_) => Err(Denial::new(Reason::BadProof).detail("this is an agent's statement")),
        }
    }

    pub(super) async fn operator_list(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<OperatorList>(envelope).await?;
        let listed = self.store.operators().await;
        let told =
            listed.map(|operators| listing::whole(operators.iter().map(listing::operator))).map_err(Failure::denial);
        Ok(self.tell(&admitted.authenticated, told).await)
    }

    pub(super) async fn operator_show(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<OperatorShow>(envelope).await?;
        let named = &admitted.authenticated.statement().body.operator;
        let told = match self.store.operators().await {
            Ok(operators) => operators
                .iter()
                .find(|operator| operator.name == *named)
                .map(listing::operator_whole)
                .ok_or_else(|| Reason::NotFound.into()),
            Err(failure) => Err(failure.denial()),
        };
        Ok(self.tell(&admitted.authenticated, told).await)
    }
}
