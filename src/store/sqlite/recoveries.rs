//! Operators whom custody makes. The custodian is one that a verified row names, and the root key opens the very keys that
//! this store works with: what somebody wrote into the database proves nothing here.

use async_trait::async_trait;

use super::super::{CustodyProof, Failure, Recoveries};
use super::operators::{enrol, may_enrol};
use super::reader::Instant;
use super::stop::Stop;
use super::tx::{self, Tx};
use super::writer::Weight;
use super::{Sqlite, founding};
use crate::audit::entry;
use crate::crypto::envelope::Embedded;
use crate::denial::{Denial, Reason};
use crate::failpoint::failpoint;
use crate::id::{ChainName, CustodianName};
use crate::registry::Duty;
use crate::seal::custody::RootKey;
use crate::statement::register::{Holder, Register};
use crate::statement::reply::EntryRef;

fn refused(why: &str) -> Stop {
    Denial::new(Reason::CustodyRefused).detail(why).into()
}

/// A further key follows another, and whoever holds that one needs no custody.
fn is_first(register: &Register) -> Result<(), Stop> {
    if register.kver == 1 {
        return Ok(());
    }
    let detail =
        "custody makes a new operator by its first key, and this key follows another; make one under a new name";
    Err(Denial::new(Reason::BadProof).detail(detail).into())
}

fn recoverable(at: Instant<'_>, register: &Register) -> Result<(), Stop> {
    is_first(register)?;
    let Holder::Operator(name) = &register.holder else {
        return Err(Denial::new(Reason::BadProof).detail("it names no operator").into());
    };
    if at.hold(&ChainName::operators())?.operators()?.operators.contains_key(name) {
        return Err(Reason::AlreadyExists.into());
    }
    match tx::chain_of_key(at.conn, &register.pk.kid())? {
        Some(_) => Err(Reason::KeyKnown.into()),
        None => Ok(()),
    }
}

fn prove(at: Instant<'_>, root: &RootKey, name: &CustodianName, shares: Vec<u8>) -> Result<CustodyProof, Stop> {
    let operators = at.hold(&ChainName::operators())?;
    let by = operators.operators()?.custodians.get(name).cloned();
    let by = by.filter(|by| by.custodian.root == root.epoch());
    let by = by.ok_or_else(|| refused("custody has changed meanwhile; give it once more"))?;
    let not_ours = || refused("what the custodian gives is not the root key of this vault; its record was changed");
    let ring = founding::ring(at.conn, root).map_err(|_| not_ours())?;
    if at.shared.ring.leads_on_from(&ring) { Ok(CustodyProof { by, shares }) } else { Err(not_ours()) }
}

fn recover(tx: &mut Tx<'_>, register: &Register, proof: &Embedded, custody: &CustodyProof) -> Result<EntryRef, Stop> {
    is_first(register)?;
    let mut operators = tx.hold(&ChainName::operators())?;
    let who = &custody.by.custodian.who;
    // A custodian that was taken out, or a root key that was replaced, has nothing to say any more.
    if operators.operators()?.custodians.get(&who.name) != Some(&custody.by) {
        return Err(refused("custody has changed meanwhile; give it once more"));
    }
    let duty = Duty::Admin;
    let enrolment = may_enrol(tx, &operators, register, Some(&duty))?;
    let body = entry::CustodyOperator {
        custodian: who.name.clone(),
        duty: duty.clone(),
        kind: who.kind.clone(),
        register: proof.clone(),
        shares: custody.shares.clone(),
    };
    let entry = tx.append(&mut operators, body)?;
    failpoint!("recover: entered");
    enrol(tx, &mut operators, enrolment)?;
    tx.keep(operators);
    failpoint!("recover: enrolled");
    Ok(entry)
}

#[async_trait]
impl Recoveries for Sqlite {
    async fn recoverable(&self, register: &Register) -> Result<(), Failure> {
        let register = register.clone();
        self.read(move |at| recoverable(at, &register)).await
    }

    async fn prove_custody(
        &self,
        root: RootKey,
        custodian: &CustodianName,
        shares: Vec<u8>,
    ) -> Result<CustodyProof, Failure> {
        let custodian = custodian.clone();
        // The root key goes with the closure.
        self.read(move |at| prove(at, &root, &custodian, shares)).await
    }

    async fn recover_operator(
        &self,
        register: &Register,
        proof: &Embedded,
        custody: CustodyProof,
    ) -> Result<EntryRef, Failure> {
        let (register, proof) = (register.clone(), proof.clone());
        self.write(Weight::Gives, None, move |tx| recover(tx, &register, &proof, &custody)).await
    }
}
