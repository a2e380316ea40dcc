//! Operators whom custody makes, in the words of the store. Whoever can open the vault can have an operator in it when no
//! other is left to ask; what it takes is the root key itself, and it stands in `_operators` for everybody to see.

use async_trait::async_trait;

use super::{Failure, KeptCustodian};
use crate::crypto::envelope::Embedded;
use crate::id::CustodianName;
use crate::seal::custody::RootKey;
use crate::statement::register::Register;
use crate::statement::reply::EntryRef;

/// That somebody opened the root key of this vault by a custodian. Made by [`Recoveries::prove_custody`] alone, and good
/// for as long as that custodian's record is what it was.
#[derive(Debug)]
pub struct CustodyProof {
    pub(in crate::store) by: KeptCustodian,
    pub(in crate::store) shares: Vec<u8>,
}

/// The verbs of recovery.
#[async_trait]
pub trait Recoveries {
    /// Whether custody may make an operator of whom this statement names: the first key of a new operator, which the vault
    /// never knew. Nothing is written. Whether the statement is in time and for this vault is the caller's to see.
    ///
    /// # Errors
    /// [`Failure::Denied`] with [`BadProof`](crate::denial::Reason::BadProof),
    /// [`AlreadyExists`](crate::denial::Reason::AlreadyExists) or [`KeyKnown`](crate::denial::Reason::KeyKnown).
    async fn recoverable(&self, register: &Register) -> Result<(), Failure>;

    /// That this root key, which was opened by this custodian with shares of these indexes, is the one that wraps this
    /// store's ring. The root key is erased before it returns.
    ///
    /// # Errors
    /// [`Failure::Denied`] with [`CustodyRefused`](crate::denial::Reason::CustodyRefused).
    async fn prove_custody(
        &self,
        root: RootKey,
        custodian: &CustodianName,
        shares: Vec<u8>,
    ) -> Result<CustodyProof, Failure>;

    /// Makes whom the statement names an operator who may do everything; entry `custody_operator` in `_operators`. Durable
    /// when it returns: entry, operator and key, in one transaction. `proof` is the envelope of the statement.
    ///
    /// # Errors
    /// Those of [`Recoveries::recoverable`], and [`CustodyRefused`](crate::denial::Reason::CustodyRefused) where custody
    /// changed since it was proved.
    async fn recover_operator(
        &self,
        register: &Register,
        proof: &Embedded,
        custody: CustodyProof,
    ) -> Result<EntryRef, Failure>;
}
