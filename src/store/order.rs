//! What operators command, in the words of the store: each order is a command whose signature and standing were judged, with
//! what its caller had to find out before.

use std::sync::Arc;

use super::KeptKey;
use crate::audit::chain::AuditKey;
use crate::authn::Authenticated;
use crate::crypto::envelope::Envelope;
use crate::crypto::hash::Digest;
use crate::denial::Denial;
use crate::id::{Kid, Nonce, SecretName};
use crate::seal::custody::Appointed;
use crate::secret::SecretBytes;
use crate::statement::agent::{AgentFreeze, AgentKeyEnd, AgentRegister, AgentThaw};
use crate::statement::approval::{Approve, PolicySet, Withdraw};
use crate::statement::backup::Backup;
use crate::statement::ca::{CaCertify, CaCreate, CaImport};
use crate::statement::clock::ClockReset;
use crate::statement::command::Command;
use crate::statement::custody::{CustodyAdd, CustodyRemove, CustodyRotate};
use crate::statement::freeze::{RoleFreeze, RoleThaw, VaultFreeze, VaultThaw};
use crate::statement::grant::{GrantCreate, GrantRevoke};
use crate::statement::key::{KeyRotate, RingRotate};
use crate::statement::lease::{LeaseForget, LeaseRevoke};
use crate::statement::operator::{OperatorDuty, OperatorKeyEnd, OperatorRegister, OperatorRotate};
use crate::statement::register::Register;
use crate::statement::role::{RoleCreate, RoleRotate};
use crate::statement::seal::VaultSeal;
use crate::statement::secret::{SecretPut, SecretRollback};
use crate::time::Timestamp;

/// A value to store as the version of a secret that follows one it was made from.
#[derive(Clone, Copy, Debug)]
pub struct Successor<'a> {
    /// Which secret.
    pub name: &'a SecretName,
    /// The version before it; 0 where there is no secret of this name. If another is the newest by then, the order is
    /// refused.
    pub after: u64,
    /// The value.
    pub value: &'a SecretBytes,
}

/// A command that changes something.
#[derive(Debug)]
pub enum Order<'a> {
    /// Registers an operator's key; the statement inside was opened and proved by the caller.
    RegisterOperator(&'a Authenticated<Command<OperatorRegister>>, &'a Register),
    /// Gives an operator another duty.
    AssignDuty(&'a Authenticated<Command<OperatorDuty>>),
    /// Ends an operator's key, or all of them.
    EndOperatorKey(&'a Authenticated<Command<OperatorKeyEnd>>),
    /// Puts an operator's next key in the place of the one that signed; the statement inside was opened and proved.
    RotateOperatorKey(&'a Authenticated<Command<OperatorRotate>>, &'a Register),
    /// Registers an agent's key; the statement inside was opened and proved by the caller.
    RegisterAgent(&'a Authenticated<Command<AgentRegister>>, &'a Register),
    /// Ends a key.
    EndAgentKey(&'a Authenticated<Command<AgentKeyEnd>>),
    /// Freezes an agent and revokes its leases: a part at once, the rest by [`Store::end_due`](super::Store::end_due).
    FreezeAgent(&'a Authenticated<Command<AgentFreeze>>),
    /// Thaws an agent.
    ThawAgent(&'a Authenticated<Command<AgentThaw>>),
    /// Freezes everything and revokes every lease: a part at once, the rest by [`Store::end_due`](super::Store::end_due).
    FreezeVault(&'a Authenticated<Command<VaultFreeze>>),
    /// Thaws what was frozen with everything.
    ThawVault(&'a Authenticated<Command<VaultThaw>>),
    /// Has the vault sealed, for which nothing changes in the store.
    SealVault(&'a Authenticated<Command<VaultSeal>>),
    /// Freezes a role and revokes its leases: a part at once, the rest by [`Store::end_due`](super::Store::end_due).
    FreezeRole(&'a Authenticated<Command<RoleFreeze>>),
    /// Thaws a role.
    ThawRole(&'a Authenticated<Command<RoleThaw>>),
    /// Appoints a custodian, and seals a new root key to all; the public key was checked by the caller.
    AddCustodian(&'a Authenticated<Command<CustodyAdd>>, &'a Appointed),
    /// Takes a custodian out, and seals a new root key to the others.
    RemoveCustodian(&'a Authenticated<Command<CustodyRemove>>),
    /// Seals a new root key to all custodians.
    RotateRoot(&'a Authenticated<Command<CustodyRotate>>),
    /// Makes a role, whose configuration its engine has checked.
    CreateRole(&'a Authenticated<Command<RoleCreate>>),
    /// Stores a new version of a secret; the value came sealed and was opened by the caller.
    PutSecret(&'a Authenticated<Command<SecretPut>>, &'a SecretBytes),
    /// Stores the next password of the vault at a role's backend.
    RotateRole(&'a Authenticated<Command<RoleRotate>>, Successor<'a>),
    /// Stores an authority that the vault made.
    CreateCa(&'a Authenticated<Command<CaCreate>>, Successor<'a>),
    /// Stores an authority that came sealed and was opened by the caller.
    ImportCa(&'a Authenticated<Command<CaImport>>, Successor<'a>),
    /// Stores an authority with its new certificate chain.
    CertifyCa(&'a Authenticated<Command<CaCertify>>, Successor<'a>),
    /// Stores the value of an earlier version of a secret once more.
    RollbackSecret(&'a Authenticated<Command<SecretRollback>>),
    /// Makes the next data key.
    RotateRing(&'a Authenticated<Command<RingRotate>>),
    /// Puts this key for tokens, whose certificate counts one more than the newest, behind the newest.
    RotateKey(&'a Authenticated<Command<KeyRotate>>, &'a Arc<KeptKey>),
    /// Gives a grant.
    CreateGrant(&'a Authenticated<Command<GrantCreate>>),
    /// Takes a grant back, with the leases under it.
    RevokeGrant(&'a Authenticated<Command<GrantRevoke>>),
    /// Revokes leases: a part at once, the rest by [`Store::end_due`](super::Store::end_due).
    RevokeLeases(&'a Authenticated<Command<LeaseRevoke>>),
    /// Gives up on a credential that its backend does not take away.
    ForgetLease(&'a Authenticated<Command<LeaseForget>>),
    /// Wants a backup, for which this was drawn. What it is made of stands behind this command.
    Backup(&'a Authenticated<Command<Backup>>, Digest),
    /// Says that the clock had been ahead and is right now, and has this key sign from here on.
    ResetClock(&'a Authenticated<Command<ClockReset>>, &'a Arc<AuditKey>),
    /// Replaces the rules of several persons.
    SetPolicy(&'a Authenticated<Command<PolicySet>>),
    /// Approves a command that waits.
    Approve(&'a Authenticated<Command<Approve>>),
    /// Takes back a command that waits.
    Withdraw(&'a Authenticated<Command<Withdraw>>),
    /// A command that was refused before the store was asked. It changes nothing, and spends its nonce and stands in
    /// `_operators` all the same.
    Refuse {
        /// The command.
        envelope: &'a Envelope,
        /// The key that signed.
        kid: &'a Kid,
        /// Its nonce.
        nonce: &'a Nonce,
        /// Its `iat`.
        iat: Timestamp,
        /// Why.
        denial: &'a Denial,
    },
}
