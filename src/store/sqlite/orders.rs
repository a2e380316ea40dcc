//! Orders of operators: the `command` entry in `_operators` first, then what it does, with `by`. All of it is one
//! transaction. An order that is refused is undone to the last row and stands in `_operators` with its reason; it has
//! still spent its nonce.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::super::{Carried, KeptKey, Order, Successor};
use super::approvals::Standing;
use super::requests::{self, embed};
use super::stop::Stop;
use super::takebacks::{AT_ONCE, Reach};
use super::tx::{self, Tx};
use super::views::{AgentFacts, Facts, Held};
use super::writer::execute;
use super::{
    approvals, custodians, freezes, leases, operators, recall, resets, rings, secrets, takebacks, token_keys, undo,
};
use crate::audit::chain::AuditKey;
use crate::audit::entry::{self, Approval, By};
use crate::authn::{self, Authenticated};
use crate::base64url::Bytes;
use crate::crypto::envelope::{Embedded, PayloadType};
use crate::crypto::hash::Digest;
use crate::denial::{Denial, Reason};
use crate::grant::{Grant, Role};
use crate::id::{AgentName, ChainName, CustodianName, Kid, Nonce, RoleName, SecretName, Sid};
use crate::lease::State;
use crate::registry::{Agent, Duty, HeldKey};
use crate::seal::custody::Appointed;
use crate::secret::SecretBytes;
use crate::statement::Body;
use crate::statement::agent::{AgentFreeze, AgentKeyEnd, AgentThaw};
use crate::statement::approval::{Approve, PolicySet, Withdraw};
use crate::statement::command::Command;
use crate::statement::explain::Explain;
use crate::statement::grant::{GrantCreate, GrantRevoke};
use crate::statement::key::KeyRotate;
use crate::statement::lease::{LeaseForget, LeaseRevoke, Scope};
use crate::statement::operator::{OperatorDuty, OperatorKeyEnd};
use crate::statement::register::{Holder, Register};
use crate::statement::reply::EntryRef;
use crate::statement::role::RoleCreate;
use crate::statement::secret::{SecretPut, SecretRollback, SecretUse};
use crate::time::Timestamp;

/// A command as a job keeps it.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    kid: Kid,
    nonce: Nonce,
    iat: Timestamp,
    embedded: Embedded,
    effect: Effect,
    /// Who approved it, for its entry.
    approvals: Vec<Approval>,
}

#[derive(Clone, Debug)]
enum Effect {
    RegisterOperator(Box<Register>, Option<Duty>),
    AssignDuty(OperatorDuty),
    EndOperatorKey(OperatorKeyEnd),
    RotateOperatorKey(Box<Register>),
    RegisterAgent(Box<Register>, Embedded),
    EndAgentKey(AgentKeyEnd),
    FreezeAgent(AgentFreeze),
    ThawAgent(AgentThaw),
    FreezeVault,
    ThawVault,
    SealVault,
    FreezeRole(RoleName),
    ThawRole(RoleName),
    AddCustodian(Arc<Appointed>),
    RemoveCustodian(CustodianName),
    RotateRoot,
    CreateRole(RoleCreate),
    PutSecret(SecretPut, Arc<SecretBytes>),
    Follow(Follow),
    RollbackSecret(SecretRollback),
    RotateKey(KeyRotate, Arc<KeptKey>),
    RotateRing,
    CreateGrant(GrantCreate),
    RevokeGrant(GrantRevoke),
    RevokeLeases(LeaseRevoke),
    ForgetLease(LeaseForget),
    Backup(Digest),
    ResetClock(Arc<AuditKey>),
    SetPolicy(PolicySet),
    Approve(Approve),
    Withdraw(Withdraw),
    Refuse(Denial),
}

/// A [`Successor`] as a job keeps it.
#[derive(Clone, Debug)]
pub(super) struct Follow {
    pub(super) role: Option<RoleName>,
    pub(super) name: SecretName,
    pub(super) used: SecretUse,
    pub(super) after: u64,
    pub(super) value: Arc<SecretBytes>,
}

impl Follow {
    fn of(next: &Successor<'_>, used: SecretUse, role: Option<RoleName>) -> Effect {
        let value = Arc::new(SecretBytes::from(next.value.expose().clone()));
        Effect::Follow(Follow { role, name: next.name.clone(), used, after: next.after, value })
    }
}

impl Wish {
    pub(super) fn of(order: &Order<'_>) -> Result<Wish, Stop> {
        fn wish<B: Body>(command: &Authenticated<Command<B>>, effect: impl FnOnce(B) -> Effect) -> Result<Wish, Stop> {
            let Command { kid, nonce, iat, body, .. } = command.statement().clone();
            let (embedded, effect) = (embed(command.envelope())?, effect(body));
            Ok(Wish { kid, nonce, iat, embedded, effect, approvals: Vec::new() })
        }
        match order {
            Order::RegisterOperator(command, register) => {
                wish(command, |body| Effect::RegisterOperator(Box::new((*register).clone()), body.duty))
            }
            Order::AssignDuty(command) => wish(command, Effect::AssignDuty),
            Order::EndOperatorKey(command) => wish(command, Effect::EndOperatorKey),
            Order::RotateOperatorKey(command, register) => {
                wish(command, |_| Effect::RotateOperatorKey(Box::new((*register).clone())))
            }
            Order::RegisterAgent(command, register) => {
                wish(command, |body| Effect::RegisterAgent(Box::new((*register).clone()), body.register))
            }
            Order::EndAgentKey(command) => wish(command, Effect::EndAgentKey),
            Order::FreezeAgent(command) => wish(command, Effect::FreezeAgent),
            Order::ThawAgent(command) => wish(command, Effect::ThawAgent),
            Order::FreezeVault(command) => wish(command, |_| Effect::FreezeVault),
            Order::ThawVault(command) => wish(command, |_| Effect::ThawVault),
            Order::SealVault(command) => wish(command, |_| Effect::SealVault),
            Order::FreezeRole(command) => wish(command, |body| Effect::FreezeRole(body.role)),
            Order::ThawRole(command) => wish(command, |body| Effect::ThawRole(body.role)),
            Order::AddCustodian(command, who) => {
                let who = Arc::new((*who).clone());
                wish(command, |_| Effect::AddCustodian(who))
            }
            Order::RemoveCustodian(command) => wish(command, |body| Effect::RemoveCustodian(body.name)),
            Order::RotateRoot(command) => wish(command, |_| Effect::RotateRoot),
            Order::CreateRole(command) => wish(command, Effect::CreateRole),
            Order::PutSecret(command, value) => {
                let value = Arc::new(SecretBytes::from(value.expose().clone()));
                wish(command, |body| Effect::PutSecret(body, value))
            }
            Order::RotateRole(command, next) => {
                wish(command, |body| Follow::of(next, SecretUse::Backend, Some(body.role)))
            }
            Order::CreateCa(command, next) => wish(command, |_| Follow::of(next, SecretUse::Ca, None)),
            Order::ImportCa(command, next) => wish(command, |_| Follow::of(next, SecretUse::Ca, None)),
            Order::CertifyCa(command, next) => wish(command, |_| Follow::of(next, SecretUse::Ca, None)),
            Order::RollbackSecret(command) => wish(command, Effect::RollbackSecret),
            Order::RotateKey(command, key) => wish(command, |body| Effect::RotateKey(body, Arc::clone(key))),
            Order::RotateRing(command) => wish(command, |_| Effect::RotateRing),
            Order::CreateGrant(command) => wish(command, Effect::CreateGrant),
            Order::RevokeGrant(command) => wish(command, Effect::RevokeGrant),
            Order::RevokeLeases(command) => wish(command, Effect::RevokeLeases),
            Order::ForgetLease(command) => wish(command, Effect::ForgetLease),
            Order::Backup(command, drawn) => wish(command, |_| Effect::Backup(*drawn)),
            Order::ResetClock(command, key) => wish(command, |_| Effect::ResetClock(Arc::clone(key))),
            Order::SetPolicy(command) => wish(command, Effect::SetPolicy),
            Order::Approve(command) => wish(command, Effect::Approve),
            Order::Withdraw(command) => wish(command, Effect::Withdraw),
            Order::Refuse { envelope, kid, nonce, iat, denial } => Ok(Wish {
                kid: (*kid).clone(),
                nonce: (*nonce).clone(),
                iat: *iat,
                embedded: embed(envelope)?,
                effect: Effect::Refuse((*denial).clone()),
                approvals: Vec::new(),
            }),
        }
    }

    /// The order that a question supposes, if it supposes one. The question's own envelope stands in for that of the
    /// command that nobody gave.
    pub(super) fn supposed(question: &Authenticated<Command<Explain>>) -> Result<Option<Wish>, Stop> {
        let Command { kid, nonce, iat, body, .. } = question.statement().clone();
        let effect = match body {
            Explain::Request(_) => return Ok(None),
            Explain::Grant(new) => Effect::CreateGrant(new.grant),
            Explain::Revoke(body) => Effect::RevokeGrant(body),
        };
        let embedded = embed(question.envelope())?;
        Ok(Some(Wish { kid, nonce, iat, embedded, effect, approvals: Vec::new() }))
    }

    /// Whether it takes something back.
    pub(super) fn ends(&self) -> bool {
        matches!(
            self.effect,
            Effect::EndAgentKey(_)
                | Effect::EndOperatorKey(_)
                | Effect::FreezeAgent(_)
                | Effect::FreezeVault
                | Effect::SealVault
                | Effect::FreezeRole(_)
                | Effect::RevokeGrant(_)
                | Effect::RevokeLeases(_)
                | Effect::ForgetLease(_)
                | Effect::ResetClock(_)
        )
    }

    pub(super) fn iat(&self) -> Timestamp {
        self.iat
    }

    /// Whether its entry is no earlier than the newest one of any chain: what freezes, thaws or takes leases back. So no
    /// lease that it takes back is later than it, and a verifier may say so.
    pub(super) fn is_latest(&self) -> bool {
        matches!(
            self.effect,
            Effect::FreezeVault
                | Effect::ThawVault
                | Effect::FreezeRole(_)
                | Effect::ThawRole(_)
                | Effect::FreezeAgent(_)
                | Effect::EndAgentKey(_)
                | Effect::RevokeGrant(_)
                | Effect::RevokeLeases(_)
        )
    }

    /// The key that signed it.
    pub(super) fn kid(&self) -> &Kid {
        &self.kid
    }

    /// H(PAE) of it.
    pub(super) fn digest(&self) -> Digest {
        self.embedded.open(PayloadType::Command).digest()
    }

    /// It, as it was signed.
    pub(super) fn embedded(&self) -> &Embedded {
        &self.embedded
    }

    /// What is wished.
    pub(super) fn typ(&self) -> &str {
        self.embedded.payload.get("typ").and_then(Value::as_str).unwrap_or_default()
    }

    /// What the order is and says that a question supposes.
    fn meant(&self) -> (&str, Value) {
        match &self.effect {
            Effect::CreateGrant(body) => (GrantCreate::TYP, json!(body)),
            Effect::RevokeGrant(body) => (GrantRevoke::TYP, json!(body)),
            _ => (self.typ(), self.body().clone()),
        }
    }

    /// What the `typ` says besides, as it was signed.
    pub(super) fn body(&self) -> &Value {
        self.embedded.payload.get("body").unwrap_or(&Value::Null)
    }
}

/// Spends a nonce of a key that may speak now, an agent's or an operator's.
pub(super) fn spend(tx: &mut Tx<'_>, kid: &Kid, nonce: &Nonce, iat: Timestamp) -> Result<(), Stop> {
    let floor = tx.known_floor()?;
    spend_above(tx, kid, nonce, (iat, floor), false)
}

fn spend_above(
    tx: &mut Tx<'_>,
    kid: &Kid,
    nonce: &Nonce,
    (iat, floor): (Timestamp, Timestamp),
    latest: bool,
) -> Result<(), Stop> {
    let stranger = || -> Stop { Denial::new(Reason::Unauthenticated).internal("no such key").into() };
    let chain = tx::chain_of_key(tx.conn, kid)?.ok_or_else(stranger)?;
    let name = super::chains::name_of(tx.conn, chain)?.ok_or_else(stranger)?;
    let held = tx.hold(&name)?;
    let (id, key) = held.view.key(kid).ok_or_else(stranger)?;
    key.accepted(if latest { tx.stamp_latest(&held)? } else { tx.stamp(&held)? })?;
    authn::window(iat, tx.now, tx.shared.rules.skew, floor)?;
    recall::ready(tx, held.chain.id, iat)?;
    tx.spend(id, nonce, iat)
}

pub(super) fn carry_out(tx: &mut Tx<'_>, wish: &Wish) -> Result<Carried, Stop> {
    let operators = tx.hold(&ChainName::operators())?;
    if operators.view.key(&wish.kid).is_none() {
        return Err(Denial::new(Reason::Unauthenticated).internal("no operator's key").into());
    }
    let floor = match wish.effect {
        // It is what sets the floor anew; none comes twice, nor an older one after a newer.
        Effect::ResetClock(_) => resets::floor(tx)?,
        // What ends something goes on where `_vault` is set aside.
        _ if wish.ends() => tx.known_floor()?,
        _ => tx.floor()?,
    };
    // It is judged at the instant of its entry, since whoever verifies that knows no other.
    let latest = wish.is_latest();
    let at = if latest { tx.stamp_latest(&operators)? } else { tx.stamp(&operators)? };
    spend_above(tx, &wish.kid, &wish.nonce, (wish.iat, floor), latest)?;
    // How it stands before it changes what decides about it.
    let standing = match wish.effect {
        Effect::Refuse(_) => Standing::alone(),
        _ => approvals::standing(tx, &wish.kid, (wish.typ(), wish.body()), at)?,
    };
    let wish = &Wish { approvals: standing.approvals.clone(), ..wish.clone() };
    let (mark, newest) = (tx.mark(), tx.newest);
    execute(tx.conn, "SAVEPOINT effect")?;
    let done = permitted(tx, wish).and_then(|()| effect(tx, wish));
    match done.and_then(|done| approvals::settle(tx, &standing, &done.0, at).map(|()| done)) {
        Ok((entry, result)) => {
            execute(tx.conn, "RELEASE effect")?;
            Ok(Carried { entry, result: Ok(result) })
        }
        Err(Stop::Denied(denial)) => {
            execute(tx.conn, "ROLLBACK TO effect")?;
            execute(tx.conn, "RELEASE effect")?;
            tx.back_to(mark);
            tx.newest = newest;
            if denial.reason == Reason::NeedsApproval {
                let (entry, denial) = approvals::wait(tx, wish, &standing, at)?;
                return Ok(Carried { entry, result: Err(denial) });
            }
            let mut operators = tx.hold(&ChainName::operators())?;
            let refused = entry::Command::refused(wish.embedded.clone(), denial.reason.code());
            let entry = append(tx, wish, &mut operators, refused)?;
            tx.keep(operators);
            Ok(Carried { entry, result: Err(denial) })
        }
        Err(stop) => Err(stop),
    }
}

pub(super) type Effected = Result<(EntryRef, Map<String, Value>), Stop>;

/// By the duty that the operator has at this moment. What was refused before it came here says why itself.
fn permitted(tx: &mut Tx<'_>, wish: &Wish) -> Result<(), Stop> {
    if matches!(wish.effect, Effect::Refuse(_)) { Ok(()) } else { operators::permitted(tx, wish) }
}

/// The same for an order that is foreseen, whose statement is a question and not the order.
pub(super) fn permitted_as_meant(tx: &mut Tx<'_>, wish: &Wish) -> Result<(), Stop> {
    let (typ, body) = wish.meant();
    operators::permits_key(tx, &wish.kid, typ, &body)
}

/// Who would have to want it.
pub(super) fn standing_as_meant(tx: &mut Tx<'_>, wish: &Wish) -> Result<Standing, Stop> {
    let (typ, body) = wish.meant();
    let operators = tx.hold(&ChainName::operators())?;
    let at = tx.stamp(&operators)?;
    approvals::standing(tx, &wish.kid, (typ, &body), at)
}

pub(super) fn effect(tx: &mut Tx<'_>, wish: &Wish) -> Effected {
    match &wish.effect {
        Effect::RegisterOperator(register, duty) => operators::register(tx, wish, register, duty.as_ref()),
        Effect::AssignDuty(body) => operators::assign(tx, wish, body),
        Effect::EndOperatorKey(body) => operators::end_key(tx, wish, body),
        Effect::RotateOperatorKey(register) => operators::rotate(tx, wish, register),
        Effect::RegisterAgent(register, embedded) => match &register.holder {
            Holder::Agent(name) if register.kver == 1 => first_key(tx, wish, name, register, embedded),
            Holder::Agent(name) => next_key(tx, wish, name, register, embedded),
            Holder::Operator(_) => Err(Denial::new(Reason::BadProof).detail("it names no agent").into()),
        },
        Effect::EndAgentKey(body) => end_key(tx, wish, body),
        Effect::FreezeAgent(body) => freeze(tx, wish, &body.agent),
        Effect::ThawAgent(body) => thaw(tx, wish, &body.agent),
        Effect::FreezeVault => freezes::freeze_all(tx, wish),
        Effect::ThawVault => freezes::thaw_all(tx, wish),
        // What it does is not the store's.
        Effect::SealVault => command(tx, wish, &json!({})).map(|(entry, result, _)| (entry, result)),
        Effect::FreezeRole(role) => freezes::freeze_role(tx, wish, role),
        Effect::ThawRole(role) => freezes::thaw_role(tx, wish, role),
        Effect::AddCustodian(who) => custodians::add(tx, wish, who),
        Effect::RemoveCustodian(name) => custodians::remove(tx, wish, name),
        Effect::RotateRoot => custodians::rotate(tx, wish),
        Effect::CreateRole(body) => create_role(tx, wish, body),
        Effect::PutSecret(put, value) => secrets::put(tx, wish, put, value),
        Effect::Follow(next) => secrets::follow(tx, wish, next),
        Effect::RollbackSecret(body) => secrets::rollback(tx, wish, body),
        Effect::RotateKey(body, key) => token_keys::rotate(tx, wish, body, key),
        Effect::RotateRing => rings::rotate(tx, wish),
        Effect::CreateGrant(body) => create_grant(tx, wish, body),
        Effect::RevokeGrant(body) => revoke_grant(tx, wish, body),
        Effect::RevokeLeases(body) => revoke_leases(tx, wish, &body.scope),
        Effect::ForgetLease(body) => forget_lease(tx, wish, body),
        Effect::Backup(drawn) => {
            command(tx, wish, &json!({ "backup": drawn })).map(|(entry, result, _)| (entry, result))
        }
        Effect::ResetClock(key) => resets::reset(tx, wish, key),
        Effect::SetPolicy(policy) => approvals::set_policy(tx, wish, policy),
        Effect::Approve(body) => approvals::approve(tx, wish, body),
        Effect::Withdraw(body) => approvals::withdraw(tx, wish, body),
        Effect::Refuse(denial) => Err(denial.clone().into()),
    }
}

/// Records the command as carried out; its effects follow, in the same transaction.
pub(super) fn command(
    tx: &mut Tx<'_>,
    wish: &Wish,
    result: &Value,
) -> Result<(EntryRef, Map<String, Value>, By), Stop> {
    let (carried, result) = carried(wish, result);
    let mut operators = tx.hold(&ChainName::operators())?;
    let entry = append(tx, wish, &mut operators, carried)?;
    tx.keep(operators);
    Ok((entry, result, tx::by(entry)))
}

/// Appends an entry about a command, at the instant at which the command was judged.
pub(super) fn append(
    tx: &mut Tx<'_>,
    wish: &Wish,
    operators: &mut Held,
    entry: entry::Command,
) -> Result<EntryRef, Stop> {
    if wish.is_latest() { tx.append_latest(operators, entry) } else { tx.append(operators, entry) }
}

fn carried(wish: &Wish, result: &Value) -> (entry::Command, Map<String, Value>) {
    let result = result.as_object().cloned().unwrap_or_default();
    let carried = entry::Command::carried(wish.embedded.clone(), result.clone());
    (entry::Command { approvals: wish.approvals.clone(), ..carried }, result)
}

pub(super) fn not_found(what: &str) -> Stop {
    Denial::new(Reason::NotFound).detail(what).into()
}

fn agent(tx: &mut Tx<'_>, name: &AgentName) -> Result<Held, Stop> {
    tx.agent(name)?.ok_or_else(|| not_found("no such agent"))
}

/// How a key is made that follows this one.
pub(super) fn follow_with(old: &HeldKey) -> String {
    let Holder::Agent(agent) = &old.holder else { return String::new() };
    format!(
        "for its next key: vaultctl keygen --agent {agent} --follows {}/{} --dir next, then vaultctl agent rotate {agent} \
         next/{agent}.register",
        old.kid, old.kver
    )
}

fn first_key(tx: &mut Tx<'_>, wish: &Wish, name: &AgentName, register: &Register, embedded: &Embedded) -> Effected {
    if let Some(held) = tx.agent(name)? {
        let old = held.agent()?.agent.newest().map_or_else(String::new, follow_with);
        let detail = format!("there is an agent {name}, and names are never used again; {old}");
        return Err(Denial::new(Reason::AlreadyExists).detail(detail).into());
    }
    let sql = "SELECT 1 FROM agents WHERE collision = ?1";
    let collides = tx.conn.prepare_cached(sql)?.exists([name.collision_form()])?;
    if collides {
        return Err(Reason::NameCollision.into());
    }
    let kid = register.pk.kid();
    if tx::chain_of_key(tx.conn, &kid)?.is_some() {
        return Err(Reason::KeyKnown.into());
    }
    let (entry, result, by) = command(tx, wish, &json!({ "agent": name, "kid": kid, "kver": 1, "seq": 0 }))?;
    let unborn = Agent { name: name.clone(), since: Timestamp::ZERO, frozen: false, keys: vec![], grants: vec![] };
    let facts = AgentFacts { agent: Arc::new(unborn), keys: Default::default(), uses: Default::default() };
    let mut held = tx.begin(&ChainName::from(name), Facts::Agent(facts))?;
    let genesis = entry::Genesis {
        agent: name.clone(),
        by,
        identity: Bytes(tx.shared.identity.to_bytes().to_vec()),
        register: embedded.clone(),
        salt: Bytes(tx.shared.entropy.bytes::<16>().to_vec()),
    };
    tx.append_deciding(&mut held, genesis)?;
    let since = held.chain.head.ts;
    tx.put_agent(&mut held, name, since)?;
    tx.add_key(&mut held, HeldKey::registered(register, since))?;
    tx.keep(held);
    Ok((entry, result))
}

fn next_key(tx: &mut Tx<'_>, wish: &Wish, name: &AgentName, register: &Register, embedded: &Embedded) -> Effected {
    let mut held = agent(tx, name)?;
    let (id, mut old) = requests::successor(tx, &held, register)?;
    let result = json!({
        "agent": name, "kid": register.pk.kid(), "kver": register.kver, "seq": tx.next_seq(&held)?,
    });
    let (entry, result, by) = command(tx, wish, &result)?;
    let grace = tx.stamp(&held)?.plus(tx.shared.rules.key_overlap);
    // A key that was ended is not accepted for any overlap.
    let grace = old.ended.is_none().then_some(grace);
    let body = entry::AgentKey { by: Some(by), grace, register: embedded.clone(), request: None };
    tx.append_deciding(&mut held, body)?;
    let since = held.chain.head.ts;
    if grace.is_some() {
        old.grace = grace;
        tx.write_key(&mut held, id, old)?;
    }
    tx.add_key(&mut held, HeldKey::registered(register, since))?;
    tx.keep(held);
    Ok((entry, result))
}

/// The key of this identifier, or all that are not ended, with their numbers.
fn keys_to_end(held: &Held, kid: Option<&Kid>) -> Result<Vec<(i64, HeldKey)>, Stop> {
    let agent = &held.agent()?.agent;
    if kid.is_some_and(|kid| agent.key(kid).is_none()) {
        return Err(not_found("the agent has no such key"));
    }
    let meant = |key: &&HeldKey| key.ended.is_none() && kid.is_none_or(|kid| *kid == key.kid);
    let keys: Vec<_> = agent.keys.iter().filter(meant).filter_map(|key| held.view.key(&key.kid)).collect();
    if keys.is_empty() {
        return Err(not_found("nothing is left to end: it was ended before"));
    }
    Ok(keys.into_iter().map(|(id, key)| (id, key.clone())).collect())
}

/// Ends one key, or all of them and with them what was issued: what is left of a thief ends by this one command.
fn end_key(tx: &mut Tx<'_>, wish: &Wish, body: &AgentKeyEnd) -> Effected {
    let mut held = agent(tx, &body.agent)?;
    let keys = keys_to_end(&held, body.kid.as_ref())?;
    let kids: Vec<&Kid> = keys.iter().map(|(_, key)| &key.kid).collect();
    let before = tx.now.max(tx.newest);
    let issued = body.kid.is_none().then(|| Reach::from(Scope::Agent(body.agent.clone())));
    let leases = issued.as_ref().map_or(Ok(0), |scope| takebacks::count(tx, scope, before))?;
    let result = json!({ "agent": body.agent, "kids": kids, "leases": leases, "seq": tx.next_seq(&held)? });
    let (entry, result, by) = command(tx, wish, &result)?;
    for (id, mut key) in keys {
        let (by, kid, suspect_from) = (by.clone(), key.kid.clone(), body.suspect_from);
        tx.append_deciding(&mut held, entry::AgentKeyEnd { by, kid, suspect_from })?;
        key.ended = Some(held.chain.head.ts);
        tx.write_key(&mut held, id, key)?;
    }
    tx.keep(held);
    if let Some(scope) = &issued
        && takebacks::take_back(tx, scope, before, &by, AT_ONCE)? >= AT_ONCE
    {
        takebacks::later(tx, scope, before, &by)?;
    }
    Ok((entry, result))
}

/// Freezes an agent, and takes back what it has. Done again, it takes back what is there by then.
fn freeze(tx: &mut Tx<'_>, wish: &Wish, name: &AgentName) -> Effected {
    let mut held = agent(tx, name)?;
    let (scope, before) = (Reach::from(Scope::Agent(name.clone())), tx.now.max(tx.newest));
    let leases = takebacks::count(tx, &scope, before)?;
    let result = json!({ "agent": name, "leases": leases, "seq": tx.next_seq(&held)? });
    let (entry, result, by) = command(tx, wish, &result)?;
    tx.append_deciding(&mut held, entry::Freeze { by: by.clone() })?;
    tx.set_frozen(&mut held, true)?;
    tx.keep(held);
    takebacks::carry_out(tx, &scope, before, &by)?;
    Ok((entry, result))
}

fn thaw(tx: &mut Tx<'_>, wish: &Wish, name: &AgentName) -> Effected {
    let mut held = agent(tx, name)?;
    if !held.agent()?.agent.frozen {
        return Err(not_found("the agent is not frozen"));
    }
    let result = json!({ "agent": name, "seq": tx.next_seq(&held)? });
    let (entry, result, by) = command(tx, wish, &result)?;
    tx.append_deciding(&mut held, entry::Thaw { by })?;
    tx.set_frozen(&mut held, false)?;
    tx.keep(held);
    Ok((entry, result))
}

fn create_role(tx: &mut Tx<'_>, wish: &Wish, body: &RoleCreate) -> Effected {
    if tx.role(&body.role)?.is_some() {
        return Err(Reason::AlreadyExists.into());
    }
    let (entry, result, _) = command(tx, wish, &json!({ "role": body.role }))?;
    let mut operators = tx.hold(&ChainName::operators())?;
    let since = operators.chain.head.ts;
    operators.chain.deciding = Some(entry.seq);
    let role = Role {
        name: body.role.clone(),
        engine: body.engine.clone(),
        config: body.config.clone(),
        since,
        frozen: false,
    };
    tx.add_role(&mut operators, role)?;
    tx.keep(operators);
    Ok((entry, result))
}

fn create_grant(tx: &mut Tx<'_>, wish: &Wish, body: &GrantCreate) -> Effected {
    body.terms.consistent().map_err(|why| Denial::new(Reason::BadTerms).detail(why))?;
    let mut held = agent(tx, &body.agent)?;
    if tx.role(&body.role)?.is_none() {
        return Err(not_found("no such role"));
    }
    if held.agent()?.agent.grants.iter().any(|grant| grant.role == body.role) {
        return Err(Denial::new(Reason::AlreadyExists)
            .detail("the agent has this role; revoke that grant first")
            .into());
    }
    let seq = tx.next_seq(&held)?;
    let (entry, result, by) = command(tx, wish, &json!({ "agent": body.agent, "role": body.role, "grant": seq }))?;
    let (role, terms) = (body.role.clone(), body.terms.clone());
    tx.append_deciding(&mut held, entry::Grant { by, role: role.clone(), terms: terms.clone() })?;
    let since = held.chain.head.ts;
    tx.add_grant(&mut held, Grant { agent: body.agent.clone(), role, terms, seq, since })?;
    tx.keep(held);
    Ok((entry, result))
}

fn revoke_grant(tx: &mut Tx<'_>, wish: &Wish, body: &GrantRevoke) -> Effected {
    let mut held = agent(tx, &body.agent)?;
    let grants = &held.agent()?.agent.grants;
    let grant = grants.iter().find(|grant| grant.role == body.role).cloned();
    let grant = grant.ok_or_else(|| not_found("the agent has no grant of this role"))?;
    let mut live = leases::live_of_grant(tx.conn, &tx.shared.ring, held.chain.id, grant.seq)?;
    let result = json!({ "agent": body.agent, "role": body.role, "grant": grant.seq, "leases": live.len() });
    let (entry, result, by) = command(tx, wish, &result)?;
    let ungrant = entry::Ungrant { by: by.clone(), grant: grant.seq, role: body.role.clone() };
    tx.append_deciding(&mut held, ungrant)?;
    tx.remove_grant(&mut held, &grant)?;
    for lease in &mut live {
        let outcome = requests::end_lease(tx, &mut held, lease, State::Revoked)?;
        tx.append(&mut held, entry::Revoke { by: by.clone(), lease: lease.id.clone(), outcome })?;
    }
    tx.keep(held);
    Ok((entry, result))
}

fn revoke_leases(tx: &mut Tx<'_>, wish: &Wish, scope: &Scope) -> Effected {
    match scope {
        Scope::Lease(id) => {
            let lease = leases::by_id(tx.conn, &tx.shared.ring, id)?.ok_or_else(|| not_found("no such lease"))?;
            if lease.state.ended() {
                return Err(Reason::LeaseEnded.into());
            }
        }
        Scope::Agent(name) | Scope::Session(name, _) => drop(agent(tx, name)?),
        Scope::Role(name) if tx.role(name)?.is_none() => return Err(not_found("no such role")),
        Scope::Role(_) | Scope::All => {}
    }
    let before = tx.now.max(tx.newest);
    let reach = &Reach::from(scope.clone());
    let leases = takebacks::count(tx, reach, before)?;
    let (entry, result, by) = command(tx, wish, &json!({ "leases": leases }))?;
    if let Scope::Session(name, sid) = scope {
        revoke_session(tx, name, sid, &by)?;
    }
    takebacks::carry_out(tx, reach, before, &by)?;
    Ok((entry, result))
}

/// Ends a session by command, if it is open.
fn revoke_session(tx: &mut Tx<'_>, name: &AgentName, sid: &Sid, by: &By) -> Result<(), Stop> {
    let mut held = agent(tx, name)?;
    let session = leases::session(tx.conn, held.chain.id, name, sid)?.ok_or_else(|| not_found("no such session"))?;
    if session.ended.is_some() {
        return Ok(());
    }
    let end = entry::SessionEnd { by: Some(by.clone()), reason: "revoked".to_owned(), sid: sid.clone() };
    tx.append(&mut held, end)?;
    let at = held.chain.head.ts;
    requests::end_session(tx, &mut held, session, at)?;
    tx.keep(held);
    Ok(())
}

fn forget_lease(tx: &mut Tx<'_>, wish: &Wish, body: &LeaseForget) -> Effected {
    let lease = undo::forget(tx, &body.lease)?;
    let mut held = tx.hold(&ChainName::from(&lease.agent))?;
    let result = json!({ "agent": lease.agent, "handle": lease.handle, "lease": lease.id, "seq": tx.next_seq(&held)? });
    let (entry, result, by) = command(tx, wish, &result)?;
    tx.append(&mut held, entry::Forget { by, lease: lease.id })?;
    tx.keep(held);
    Ok((entry, result))
}
