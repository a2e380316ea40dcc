//! An operator whom custody makes, where none is left who could: by the first key of a new operator, and by whoever can open
//! the vault. It is no command, since no operator signs it; it stands in `_operators` as what it is.

use super::{State, Vault};
use crate::crypto::envelope::Embedded;
use crate::denial::{Denial, Reason};
use crate::failpoint::failpoint;
use crate::id::{CustodianName, Kid, OperatorName};
use crate::seal::custody::RootKey;
use crate::statement::register::{Holder, Register};
use crate::statement::reply::EntryRef;
use crate::store::Failure;

/// The statement of a new operator, as it may be enrolled.
#[derive(Debug)]
pub struct Newcomer {
    /// The operator's name.
    pub operator: OperatorName,
    register: Register,
    proof: Embedded,
}

impl Newcomer {
    /// The key that it brings.
    #[must_use]
    pub fn kid(&self) -> Kid {
        self.register.pk.kid()
    }
}

impl Vault {
    /// Whom custody would make an operator: the statement is its key's own, for this vault, in time, and of a new operator.
    ///
    /// # Errors
    /// Why it cannot be.
    pub async fn newcomer(&self, proof: Embedded) -> Result<Newcomer, Denial> {
        if self.state() == State::Stopping {
            return Err(Denial::new(Reason::AuditUnavailable).internal("the daemon stops"));
        }
        let register = Register::open(&proof)?;
        register.timely(&self.aud, self.clock.now(), self.limits.rules.skew)?;
        let Holder::Operator(operator) = register.holder.clone() else {
            return Err(Denial::new(Reason::BadProof).detail("this is an agent's statement"));
        };
        self.store.recoverable(&register).await.map_err(Failure::denial)?;
        Ok(Newcomer { operator, register, proof })
    }

    /// Makes it an operator who may do everything, by the word of this custodian. The root key is erased on the way. What is
    /// given back is durable.
    ///
    /// # Errors
    /// Why not. Nothing was written then, but for `outcome_unknown`.
    pub async fn recover_operator(
        &self,
        newcomer: Newcomer,
        root: RootKey,
        custodian: &CustodianName,
        shares: Vec<u8>,
    ) -> Result<EntryRef, Denial> {
        let Newcomer { operator, register, proof } = newcomer;
        let custody = self.store.prove_custody(root, custodian, shares).await.map_err(Failure::denial)?;
        self.turn_epoch_if_due().await?;
        let entry = self.store.recover_operator(&register, &proof, custody).await.map_err(Failure::denial)?;
        failpoint!("recover: carried");
        self.commanded.notify_one();
        tracing::warn!(
            %operator,
            kid = %register.pk.kid(),
            %custodian,
            entry = entry.seq,
            "custody made an operator who may do everything, and no operator did; is that what its custodians wanted?"
        );
        Ok(entry)
    }
}
