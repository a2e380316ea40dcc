//! Operators: who they are, what they may do, and which of their keys are good. All of it stands behind `_operators`, in
//! rows that decide; what a command says of them is its own record, so that it has no entry beside its own.
//!
//! A vault keeps at least one admin who has a key. What would leave it without one is refused, and since commands are
//! carried out one by one, two admins cannot put each other out: the second finds its own key ended.

use serde_json::{Value, json};

use super::orders::{self, Effected, Wish, not_found};
use super::requests::slowly_enough;
use super::stop::Stop;
use super::tx::{self, Tx};
use super::views::Held;
use crate::authz::operator::permits;
use crate::denial::{Denial, Reason};
use crate::id::{ChainName, Kid, OperatorName};
use crate::registry::{Duty, HeldKey, Operator};
use crate::statement::operator::{OperatorDuty, OperatorKeyEnd};
use crate::statement::register::{Holder, Register};
use crate::time::Timestamp;

/// Whether the command's operator may give it, by the duty that it has now.
pub(super) fn permitted(tx: &mut Tx<'_>, wish: &Wish) -> Result<(), Stop> {
    permits_key(tx, wish.kid(), wish.typ(), wish.body())
}

/// Whether the operator of this key may give a command of this `typ` with this body.
pub(super) fn permits_key(tx: &mut Tx<'_>, kid: &Kid, typ: &str, body: &Value) -> Result<(), Stop> {
    let operators = tx.hold(&ChainName::operators())?;
    let operator = operators.operators()?.of_key(kid);
    let operator = operator.ok_or_else(|| Denial::new(Reason::Unauthenticated).internal("no operator's key"))?;
    if !operator.lives() {
        return Err(Reason::KeyRetired.into());
    }
    Ok(permits(&operator.duty, typ, body)?)
}

/// A key that was found good to be an operator's, and what writing it down takes.
#[derive(Debug)]
pub(super) struct Enrolment<'a> {
    name: &'a OperatorName,
    register: &'a Register,
    /// What a new operator may do.
    duty: Option<&'a Duty>,
    /// The key before it, which is accepted until `grace`.
    old: Option<(i64, HeldKey)>,
    /// Until when the key before it is accepted beside it; none where there is none, or where it is ended.
    pub(super) grace: Option<Timestamp>,
}

/// Whether this key may become an operator's: the first of a new operator, who gets this duty, or the next of one who is
/// there, whose duty stays. Nothing is written. That the statement proves the key, for this vault and in time, is the
/// caller's to see, and so is who asks for it: a command of an operator, or something else that the vault believes.
///
/// # Errors
/// [`Reason::BadProof`], [`Reason::AlreadyExists`], [`Reason::BadDuty`], [`Reason::BadSuccessor`], [`Reason::KeyKnown`],
/// [`Reason::NotFound`] for an operator or a role that is not there.
pub(super) fn may_enrol<'a>(
    tx: &mut Tx<'_>,
    operators: &Held,
    register: &'a Register,
    duty: Option<&'a Duty>,
) -> Result<Enrolment<'a>, Stop> {
    let Holder::Operator(name) = &register.holder else {
        return Err(Denial::new(Reason::BadProof).detail("it names no operator").into());
    };
    let known = operators.operators()?.operators.get(name);
    let old = match (known, register.kver, duty) {
        (Some(_), 1, _) => return Err(Reason::AlreadyExists.into()),
        (None, 1, Some(duty)) => {
            roles_exist(operators, duty)?;
            None
        }
        (_, 1, None) => return Err(Denial::new(Reason::BadDuty).detail("say what the new operator may do").into()),
        (None, ..) => return Err(not_found("no such operator")),
        (Some(_), _, Some(_)) => {
            let detail = "a further key leaves the duty as it is; operator_duty changes it";
            return Err(Denial::new(Reason::BadDuty).detail(detail).into());
        }
        (Some(operator), _, None) => Some(succeeded(operators, operator, register)?),
    };
    if tx::chain_of_key(tx.conn, &register.pk.kid())?.is_some() {
        return Err(Reason::KeyKnown.into());
    }
    // A key that was ended is not accepted for any overlap.
    let living = old.as_ref().is_some_and(|(_, old)| old.ended.is_none());
    let grace = if living { Some(tx.stamp(operators)?.plus(tx.shared.rules.key_overlap)) } else { None };
    Ok(Enrolment { name, register, duty, old, grace })
}

/// Writes the rows of a key that was found good. The entry that says so is the newest of `operators`.
pub(super) fn enrol(tx: &mut Tx<'_>, operators: &mut Held, enrolment: Enrolment<'_>) -> Result<(), Stop> {
    let Enrolment { name, register, duty, old, grace } = enrolment;
    let since = operators.chain.head.ts;
    operators.chain.deciding = operators.chain.head.size.checked_sub(1);
    if let Some(duty) = duty {
        tx.put_operator(operators, name, since, duty)?;
    }
    if let (Some((id, mut old)), Some(_)) = (old, grace) {
        old.grace = grace;
        tx.write_key(operators, id, old)?;
    }
    tx.add_key(operators, HeldKey::registered(register, since))
}

/// The key that this one follows, with its number.
fn succeeded(operators: &Held, operator: &Operator, new: &Register) -> Result<(i64, HeldKey), Stop> {
    let no = |detail: &str| -> Stop { Denial::new(Reason::BadSuccessor).detail(detail).into() };
    let newest = operator.newest().ok_or_else(|| no("the operator has no key that it could follow"))?;
    if new.prev.as_ref() != Some(&newest.kid) || new.kver != newest.kver + 1 {
        return Err(no("it does not follow the operator's newest key"));
    }
    let (id, key) =
        operators.view.key(&newest.kid).ok_or_else(|| Stop::Broken("a key without its number".to_owned()))?;
    Ok((id, key.clone()))
}

fn roles_exist(operators: &Held, duty: &Duty) -> Result<(), Stop> {
    let Duty::Grantor { roles } = duty else { return Ok(()) };
    let known = &operators.operators()?.roles;
    match roles.iter().find(|role| !known.contains_key(*role)) {
        Some(role) => Err(Denial::new(Reason::NotFound).detail(format!("no such role: {role}")).into()),
        None => Ok(()),
    }
}

/// Registers an operator, or a further key of one.
pub(super) fn register(tx: &mut Tx<'_>, wish: &Wish, register: &Register, duty: Option<&Duty>) -> Effected {
    let operators = tx.hold(&ChainName::operators())?;
    let enrolment = may_enrol(tx, &operators, register, duty)?;
    carry(tx, wish, enrolment)
}

/// Puts an operator's next key in the place of the one that signed.
pub(super) fn rotate(tx: &mut Tx<'_>, wish: &Wish, new: &Register) -> Effected {
    let operators = tx.hold(&ChainName::operators())?;
    let enrolment = may_enrol(tx, &operators, new, None)?;
    let operator = operators.operators()?.of_key(wish.kid());
    let keys = operator.map(|operator| operator.keys.as_slice()).unwrap_or_default();
    if operator.map(|operator| &operator.name) != Some(enrolment.name) {
        return Err(Denial::new(Reason::BadSuccessor)
            .detail("it names another operator than the one who sends it")
            .into());
    }
    if keys.last().map(|key| &key.kid) != Some(wish.kid()) {
        return Err(Denial::new(Reason::BadSuccessor).detail("only the newest key may bring its successor").into());
    }
    slowly_enough(keys, tx.stamp(&operators)?)?;
    carry(tx, wish, enrolment)
}

fn carry(tx: &mut Tx<'_>, wish: &Wish, enrolment: Enrolment<'_>) -> Effected {
    let Enrolment { name, register, duty, grace, .. } = &enrolment;
    let mut result = json!({ "kid": register.pk.kid(), "kver": register.kver, "operator": name });
    match duty {
        Some(duty) => result["duty"] = json!(duty),
        None => result["grace"] = json!(grace),
    }
    let (entry, result, _) = orders::command(tx, wish, &result)?;
    let mut operators = tx.hold(&ChainName::operators())?;
    enrol(tx, &mut operators, enrolment)?;
    tx.keep(operators);
    Ok((entry, result))
}

/// Gives an operator another duty.
pub(super) fn assign(tx: &mut Tx<'_>, wish: &Wish, body: &OperatorDuty) -> Effected {
    let operators = tx.hold(&ChainName::operators())?;
    roles_exist(&operators, &body.duty)?;
    let operator = found(&operators, &body.operator)?.clone();
    if operator.duty == body.duty {
        return Err(Denial::new(Reason::AlreadyExists).detail("the operator has this duty already").into());
    }
    if body.duty != Duty::Admin {
        an_admin_stays(&operators, &Operator { duty: body.duty.clone(), ..operator.clone() })?;
    }
    let result = json!({ "before": operator.duty, "duty": body.duty, "operator": operator.name });
    let (entry, result, _) = orders::command(tx, wish, &result)?;
    let mut operators = tx.hold(&ChainName::operators())?;
    operators.chain.deciding = Some(entry.seq);
    tx.put_operator(&mut operators, &operator.name, operator.since, &body.duty)?;
    tx.keep(operators);
    Ok((entry, result))
}

/// Ends one key, or all of them: then the operator is out.
pub(super) fn end_key(tx: &mut Tx<'_>, wish: &Wish, body: &OperatorKeyEnd) -> Effected {
    let operators = tx.hold(&ChainName::operators())?;
    let operator = found(&operators, &body.operator)?.clone();
    if body.kid.as_ref().is_some_and(|kid| operator.key(kid).is_none()) {
        return Err(not_found("the operator has no such key"));
    }
    let meant = |key: &HeldKey| key.ended.is_none() && body.kid.as_ref().is_none_or(|kid| *kid == key.kid);
    let kids: Vec<Kid> = operator.keys.iter().filter(|key| meant(key)).map(|key| key.kid.clone()).collect();
    if kids.is_empty() {
        return Err(not_found("nothing is left to end: it was ended before"));
    }
    let ended = |key: &HeldKey| HeldKey { ended: key.ended.or(meant(key).then_some(Timestamp::ZERO)), ..key.clone() };
    let without = Operator { keys: operator.keys.iter().map(ended).collect(), ..operator.clone() };
    an_admin_stays(&operators, &without)?;
    let result = json!({ "kids": kids, "operator": operator.name, "out": !without.lives() });
    let (entry, result, _) = orders::command(tx, wish, &result)?;
    let mut operators = tx.hold(&ChainName::operators())?;
    operators.chain.deciding = Some(entry.seq);
    let at = operators.chain.head.ts;
    for kid in kids {
        let key = operators.view.key(&kid).map(|(id, key)| (id, key.clone()));
        let (id, key) = key.ok_or_else(|| Stop::Broken("a key without its number".to_owned()))?;
        tx.write_key(&mut operators, id, HeldKey { ended: Some(at), ..key })?;
    }
    tx.keep(operators);
    Ok((entry, result))
}

pub(super) fn found<'a>(operators: &'a Held, name: &OperatorName) -> Result<&'a Operator, Stop> {
    operators.operators()?.operators.get(name).ok_or_else(|| not_found("no such operator"))
}

/// Whether the vault has an admin with a key once this operator is as it is given here.
fn an_admin_stays(operators: &Held, changed: &Operator) -> Result<(), Stop> {
    let others = operators.operators()?.operators.values().filter(|one| one.name != changed.name);
    let mut all = others.chain(std::iter::once(changed));
    match all.any(|one| one.duty == Duty::Admin && one.lives()) {
        true => Ok(()),
        false => Err(Reason::LastAdmin.into()),
    }
}
