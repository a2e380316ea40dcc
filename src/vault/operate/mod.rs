//! What operators command. Every command is signed, so is every question; a command that changes something stands in
//! `_operators` before its effects do, also where it is refused. There is no password and no root token.

mod approval;
mod audit;
mod backup;
mod ca;
mod clock;
mod custody;
mod operator;
mod role;
mod secret;

pub use backup::Making;
use serde_json::{Map, Value};

use super::Vault;
use super::answer::{Outcome, Receipt};
use super::listing;
use crate::authn::{Authenticated, Signed};
use crate::crypto::envelope::Envelope;
use crate::crypto::hpke::Sealed;
use crate::denial::{Denial, Reason};
use crate::failpoint::failpoint;
use crate::statement::agent::{AgentFreeze, AgentKeyEnd, AgentList, AgentRegister, AgentShow, AgentThaw};
use crate::statement::approval::{Approve, PolicySet, Withdraw};
use crate::statement::command::Command;
use crate::statement::custody::{CustodyRemove, CustodyRotate};
use crate::statement::freeze::{RoleFreeze, RoleThaw, VaultFreeze, VaultThaw};
use crate::statement::grant::{GrantCreate, GrantList, GrantRevoke, Terms};
use crate::statement::lease::{LeaseForget, LeaseList, LeaseRevoke, LeaseShow};
use crate::statement::operator::{OperatorDuty, OperatorKeyEnd};
use crate::statement::register::{Holder, Register};
use crate::statement::reply::Executed;
use crate::statement::seal::VaultSeal;
use crate::statement::secret::SecretRollback;
use crate::statement::status::StatusRead;
use crate::store::{Carried, Failure, Order};
use crate::time::Timestamp;

/// A command, by what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// `nockvault/status_read`
    StatusRead,
    /// `nockvault/explain`
    Explain,
    /// `nockvault/doctor_read`
    DoctorRead,
    /// `nockvault/agent_register`
    AgentRegister,
    /// `nockvault/agent_list`
    AgentList,
    /// `nockvault/agent_show`
    AgentShow,
    /// `nockvault/agent_key_end`
    AgentKeyEnd,
    /// `nockvault/agent_freeze`
    AgentFreeze,
    /// `nockvault/agent_thaw`
    AgentThaw,
    /// `nockvault/vault_freeze`
    VaultFreeze,
    /// `nockvault/vault_thaw`
    VaultThaw,
    /// `nockvault/vault_seal`
    VaultSeal,
    /// `nockvault/role_freeze`
    RoleFreeze,
    /// `nockvault/role_thaw`
    RoleThaw,
    /// `nockvault/custody_list`
    CustodyList,
    /// `nockvault/custody_add`
    CustodyAdd,
    /// `nockvault/custody_remove`
    CustodyRemove,
    /// `nockvault/custody_rotate`
    CustodyRotate,
    /// `nockvault/role_create`
    RoleCreate,
    /// `nockvault/role_check`
    RoleCheck,
    /// `nockvault/role_rotate`
    RoleRotate,
    /// `nockvault/role_list`
    RoleList,
    /// `nockvault/role_show`
    RoleShow,
    /// `nockvault/secret_put`
    SecretPut,
    /// `nockvault/secret_rollback`
    SecretRollback,
    /// `nockvault/secret_list`
    SecretList,
    /// `nockvault/secret_versions`
    SecretVersions,
    /// `nockvault/ca_create`
    CaCreate,
    /// `nockvault/ca_import`
    CaImport,
    /// `nockvault/ca_certify`
    CaCertify,
    /// `nockvault/ca_show`
    CaShow,
    /// `nockvault/grant_create`
    GrantCreate,
    /// `nockvault/grant_list`
    GrantList,
    /// `nockvault/grant_revoke`
    GrantRevoke,
    /// `nockvault/lease_list`
    LeaseList,
    /// `nockvault/lease_show`
    LeaseShow,
    /// `nockvault/lease_revoke`
    LeaseRevoke,
    /// `nockvault/lease_forget`
    LeaseForget,
    /// `nockvault/key_rotate`
    KeyRotate,
    /// `nockvault/ring_rotate`
    RingRotate,
    /// `nockvault/clock_reset`
    ClockReset,
    /// `nockvault/operator_register`
    OperatorRegister,
    /// `nockvault/operator_duty`
    OperatorDuty,
    /// `nockvault/operator_key_end`
    OperatorKeyEnd,
    /// `nockvault/operator_rotate`
    OperatorRotate,
    /// `nockvault/operator_list`
    OperatorList,
    /// `nockvault/operator_show`
    OperatorShow,
    /// `nockvault/policy_set`
    PolicySet,
    /// `nockvault/policy_show`
    PolicyShow,
    /// `nockvault/approve`
    Approve,
    /// `nockvault/withdraw`
    Withdraw,
    /// `nockvault/approval_list`
    ApprovalList,
    /// `nockvault/audit_list`
    AuditList,
    /// `nockvault/audit_checkpoint`
    AuditCheckpoint,
    /// `nockvault/audit_prove`
    AuditProve,
}

type Told = Result<Map<String, Value>, Denial>;

/// A command that was carried out.
pub(super) struct Done {
    entry: Receipt,
    /// What its entry says came of it.
    result: Map<String, Value>,
}

impl Vault {
    /// Carries out or answers one command. `sealed` is the input that travels beside the envelope of `secret_put`
    /// and `ca_import`.
    pub async fn operate(&self, call: Call, envelope: Envelope, sealed: Option<Sealed>) -> Outcome {
        let done = match call {
            Call::StatusRead => self.status_read(envelope).await,
            Call::Explain => self.explain(envelope).await,
            Call::DoctorRead => self.doctor_read(envelope).await,
            Call::AgentRegister => self.agent_register(envelope).await,
            Call::AgentList => self.agent_list(envelope).await,
            Call::AgentShow => self.agent_show(envelope).await,
            Call::AgentKeyEnd => self.order::<AgentKeyEnd>(envelope, |command| Order::EndAgentKey(command)).await,
            Call::AgentFreeze => self.order::<AgentFreeze>(envelope, |command| Order::FreezeAgent(command)).await,
            Call::AgentThaw => self.order::<AgentThaw>(envelope, |command| Order::ThawAgent(command)).await,
            Call::VaultFreeze => self.order::<VaultFreeze>(envelope, |command| Order::FreezeVault(command)).await,
            Call::VaultThaw => self.order::<VaultThaw>(envelope, |command| Order::ThawVault(command)).await,
            Call::VaultSeal => self.vault_seal(envelope).await,
            Call::RoleFreeze => self.order::<RoleFreeze>(envelope, |command| Order::FreezeRole(command)).await,
            Call::RoleThaw => self.order::<RoleThaw>(envelope, |command| Order::ThawRole(command)).await,
            Call::CustodyList => self.custody_list(envelope).await,
            Call::CustodyAdd => self.custody_add(envelope).await,
            Call::CustodyRemove => {
                self.order::<CustodyRemove>(envelope, |command| Order::RemoveCustodian(command)).await
            }
            Call::CustodyRotate => self.order::<CustodyRotate>(envelope, |command| Order::RotateRoot(command)).await,
            Call::RoleCreate => self.role_create(envelope).await,
            Call::RoleCheck => self.role_check(envelope).await,
            Call::RoleRotate => self.role_rotate(envelope).await,
            Call::RoleList => self.role_list(envelope).await,
            Call::RoleShow => self.role_show(envelope).await,
            Call::SecretPut => self.secret_put(envelope, sealed).await,
            Call::SecretRollback => {
                self.order::<SecretRollback>(envelope, |command| Order::RollbackSecret(command)).await
            }
            Call::SecretList => self.secret_list(envelope).await,
            Call::SecretVersions => self.secret_versions(envelope).await,
            Call::CaCreate => self.ca_create(envelope).await,
            Call::CaImport => self.ca_import(envelope, sealed).await,
            Call::CaCertify => self.ca_certify(envelope).await,
            Call::CaShow => self.ca_show(envelope).await,
            Call::GrantCreate => self.grant_create(envelope).await,
            Call::GrantList => self.grant_list(envelope).await,
            Call::GrantRevoke => self.order::<GrantRevoke>(envelope, |command| Order::RevokeGrant(command)).await,
            Call::LeaseList => self.lease_list(envelope).await,
            Call::LeaseShow => self.lease_show(envelope).await,
            Call::LeaseForget => self.order::<LeaseForget>(envelope, |command| Order::ForgetLease(command)).await,
            Call::LeaseRevoke => self.order::<LeaseRevoke>(envelope, |command| Order::RevokeLeases(command)).await,
            Call::KeyRotate => self.key_rotate(envelope).await,
            Call::RingRotate => self.ring_rotate(envelope).await,
            Call::ClockReset => self.clock_reset(envelope).await,
            Call::OperatorRegister => self.operator_register(envelope).await,
            Call::OperatorDuty => self.order::<OperatorDuty>(envelope, |command| Order::AssignDuty(command)).await,
            Call::OperatorKeyEnd => {
                self.order::<OperatorKeyEnd>(envelope, |command| Order::EndOperatorKey(command)).await
            }
            Call::OperatorRotate => self.operator_rotate(envelope).await,
            Call::OperatorList => self.operator_list(envelope).await,
            Call::OperatorShow => self.operator_show(envelope).await,
            Call::PolicySet => self.order::<PolicySet>(envelope, |command| Order::SetPolicy(command)).await,
            Call::PolicyShow => self.policy_show(envelope).await,
            Call::Approve => self.order::<Approve>(envelope, |command| Order::Approve(command)).await,
            Call::Withdraw => self.order::<Withdraw>(envelope, |command| Order::Withdraw(command)).await,
            Call::ApprovalList => self.approval_list(envelope).await,
            Call::AuditList => self.audit_list(envelope).await,
            Call::AuditCheckpoint => self.audit_checkpoint(envelope).await,
            Call::AuditProve => self.audit_prove(envelope).await,
        };
        done.unwrap_or_else(|refused| refused)
    }

    // --- commands that change something

    /// A command that the store can judge alone.
    pub(super) async fn order<B: crate::statement::Body>(
        &self,
        envelope: Envelope,
        order: for<'a> fn(&'a Authenticated<Command<B>>) -> Order<'a>,
    ) -> Result<Outcome, Outcome> {
        let admitted = self.command::<B>(envelope).await?;
        Ok(self.carry(&admitted.authenticated, Ok(order(&admitted.authenticated))).await)
    }

    /// From when its entry is durable, whoever serves the vault is told to take it away.
    async fn vault_seal(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<VaultSeal>(envelope).await?;
        let command = &admitted.authenticated;
        let Done { entry, result } = self.carried(command, Ok(Order::SealVault(command))).await?;
        self.sealing.cancel();
        Ok(self.executed(command, entry, result))
    }

    async fn agent_register(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<AgentRegister>(envelope).await?;
        let command = &admitted.authenticated;
        let register = Register::open(&command.statement().body.register).and_then(|register| {
            register.timely(&self.aud, command.at(), self.limits.rules.skew)?;
            match register.holder {
                Holder::Agent(_) => Ok(register),
                Holder::Operator(_) => Err(Denial::new(Reason::BadProof).detail("this is an operator's statement")),
            }
        });
        let order = register.as_ref().map(|register| Order::RegisterAgent(command, register)).map_err(Clone::clone);
        Ok(self.carry(command, order).await)
    }

    async fn grant_create(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<GrantCreate>(envelope).await?;
        let command = &admitted.authenticated;
        let good = Vault::good_terms(&command.statement().body.terms, command.at());
        Ok(self.carry(command, good.map(|()| Order::CreateGrant(command))).await)
    }

    /// Terms that a grant may have from here on.
    pub(super) fn good_terms(terms: &Terms, now: Timestamp) -> Result<(), Denial> {
        let bad = |why: String| Denial::new(Reason::BadTerms).detail(why);
        terms.consistent().map_err(bad)?;
        if terms.until.is_some_and(|until| until <= now) {
            return Err(bad("until has passed already".to_owned()));
        }
        Ok(())
    }

    pub(super) async fn carry<B>(
        &self,
        command: &Authenticated<Command<B>>,
        order: Result<Order<'_>, Denial>,
    ) -> Outcome
    where
        Command<B>: Signed,
    {
        match self.carried(command, order).await {
            Ok(Done { entry, result }) => self.executed(command, entry, result),
            Err(refused) => refused,
        }
    }

    /// Carries an order out, or records that it was refused.
    pub(super) async fn carried<B>(
        &self,
        command: &Authenticated<Command<B>>,
        order: Result<Order<'_>, Denial>,
    ) -> Result<Done, Outcome>
    where
        Command<B>: Signed,
    {
        let req = command.req();
        let claims = command.statement().claims();
        let carried = match order {
            Ok(order) => self.store.carry_out(&order).await,
            Err(denial) => {
                let refuse = Order::Refuse {
                    envelope: command.envelope(),
                    nonce: claims.nonce,
                    iat: claims.iat,
                    kid: claims.kid,
                    denial: &denial,
                };
                self.store.carry_out(&refuse).await
            }
        };
        match carried {
            Ok(Carried { entry, result: Ok(result) }) => {
                failpoint!("operate: carried");
                // What it has ended may have to be undone at a backend, and more may be left to end.
                self.wake.notify_one();
                self.commanded.notify_one();
                Ok(Done { entry: Receipt::of(entry), result })
            }
            Ok(Carried { result: Err(denial), .. }) => Err(self.pen.refuse(denial, req, self.clock.now())),
            Err(failure) => Err(self.count_out(failure.denial(), req)),
        }
    }

    /// The answer to a command whose entry is durable.
    fn executed<B>(&self, command: &Authenticated<Command<B>>, entry: Receipt, result: Map<String, Value>) -> Outcome
    where
        Command<B>: Signed,
    {
        let (now, req) = (self.clock.now(), command.req());
        self.pen.release(entry, |entry| Executed::new(Some(entry), now, req, result))
    }

    // --- questions

    /// Spends the question's nonce and answers it.
    pub(in crate::vault) async fn tell<S: Signed>(&self, command: &Authenticated<S>, told: Told) -> Outcome {
        let claims = command.statement().claims();
        if let Err(failure) = self.store.spend(claims.kid, claims.nonce, claims.iat).await {
            return self.count_out(failure.denial(), command.req());
        }
        match told {
            Ok(result) => self.pen.answer(&Executed::new(None, self.clock.now(), command.req(), result)),
            Err(denial) => self.pen.refuse(denial, command.req(), self.clock.now()),
        }
    }

    async fn status_read(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<StatusRead>(envelope).await?;
        let told = self.store.census().await.map(|census| self.status(&census)).map_err(Failure::denial);
        Ok(self.tell(&admitted.authenticated, told).await)
    }

    async fn agent_list(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<AgentList>(envelope).await?;
        let listed = self.store.agents(&admitted.authenticated.statement().body.page).await;
        let told = listed.map(|agents| listing::page(agents, |agent| listing::agent(agent))).map_err(Failure::denial);
        Ok(self.tell(&admitted.authenticated, told).await)
    }

    async fn agent_show(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<AgentShow>(envelope).await?;
        let agent = self.store.agent(&admitted.authenticated.statement().body.agent).await;
        let told = found(agent).map(|(agent, head)| listing::agent_whole(&agent, head));
        Ok(self.tell(&admitted.authenticated, told).await)
    }

    async fn grant_list(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<GrantList>(envelope).await?;
        let GrantList { agent, page } = &admitted.authenticated.statement().body;
        let listed = self.store.grants(agent.as_ref(), page).await;
        let told = listed.map(|grants| listing::page(grants, listing::grant)).map_err(Failure::denial);
        Ok(self.tell(&admitted.authenticated, told).await)
    }

    async fn lease_show(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<LeaseShow>(envelope).await?;
        let lease = self.store.lease(&admitted.authenticated.statement().body.lease).await;
        let told = found(lease).map(|lease| listing::lease(&lease));
        Ok(self.tell(&admitted.authenticated, told).await)
    }

    async fn lease_list(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<LeaseList>(envelope).await?;
        let LeaseList { agent, which, page } = &admitted.authenticated.statement().body;
        let listed = self.store.leases(agent.as_ref(), *which, page).await;
        let told = listed.map(|leases| listing::page(leases, listing::lease)).map_err(Failure::denial);
        Ok(self.tell(&admitted.authenticated, told).await)
    }
}

fn found<T>(looked_up: Result<Option<T>, Failure>) -> Result<T, Denial> {
    match looked_up {
        Ok(Some(found)) => Ok(found),
        Ok(None) => Err(Reason::NotFound.into()),
        Err(failure) => Err(failure.denial()),
    }
}
