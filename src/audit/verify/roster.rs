//! The operators as `_operators` tells them: who there is, with which keys, and what each may do at an entry. The commands
//! that change it are their own record, so that it is followed command by command.

use std::collections::BTreeMap;

use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::ahead::{Guess, Opened};
use super::keys::{Key, KeyHistory, Pinned};
use super::report::{Fault, Finding, KeySeen};
use crate::authz::operator::{is_known, permits};
use crate::crypto::envelope::Embedded;
use crate::crypto::signature::PublicKey;
use crate::id::{Aud, Kid, OperatorName};
use crate::statement::Body as _;
use crate::statement::operator::{Duty, OperatorDuty, OperatorKeyEnd, OperatorRegister, OperatorRotate};
use crate::statement::register::{Holder, Register};
use crate::time::Timestamp;

/// How many operators a vault may have had: whole chains hold far fewer.
const MOST: usize = 10_000;

/// One operator.
#[derive(Debug)]
struct Member {
    keys: KeyHistory,
    /// None where nobody told it: the part of the chain that is known begins later.
    duty: Option<Duty>,
}

/// All operators.
#[derive(Debug)]
pub(super) struct Roster {
    aud: Aud,
    members: BTreeMap<OperatorName, Member>,
    /// Keys of before the part that is known, where it is not told whose they are.
    rest: Option<KeyHistory>,
    pinned: Pinned,
}

impl Roster {
    /// The founder alone, who may do everything.
    pub(super) fn begin(
        founder: &OperatorName,
        register: &Embedded,
        aud: &Aud,
        ts: Timestamp,
    ) -> Result<Roster, Finding> {
        let keys = KeyHistory::begin(Holder::Operator(founder.clone()), aud, register, ts, Pinned::default())?;
        let members = BTreeMap::from([(founder.clone(), Member { keys, duty: Some(Duty::Admin) })]);
        Ok(Roster { aud: aud.clone(), members, rest: None, pinned: Pinned::default() })
    }

    /// What is known behind the first entries: keys that a directory lists or that were given, and no duties.
    pub(super) fn resume(aud: &Aud, given: &[PublicKey], pinned: Pinned) -> Roster {
        let mut members = BTreeMap::new();
        for listed in pinned.directory.iter().flat_map(|directory| &directory.operators) {
            if let Some(name) = &listed.operator {
                let keys = || KeyHistory::resume(Some(Holder::Operator(name.clone())), aud, &[], pinned.clone());
                members.entry(name.clone()).or_insert_with(|| Member { keys: keys(), duty: None });
            }
        }
        let rest = Some(KeyHistory::resume(None, aud, given, pinned.clone()));
        Roster { aud: aud.clone(), members, rest, pinned }
    }

    /// The key that signed what claims to be signed by `kid`, and whose it is; none of either where that is of before the
    /// part that is known.
    pub(super) fn signer(
        &mut self,
        kid: &str,
        opened: &Opened,
        ts: Timestamp,
    ) -> Result<(Option<OperatorName>, Option<&Key>), Finding> {
        let holder = self.members.iter_mut().find(|(_, member)| member.keys.has(kid));
        match (holder, &mut self.rest) {
            (Some((name, member)), _) => Ok((Some(name.clone()), member.keys.signer(kid, opened, ts)?)),
            (None, Some(rest)) => Ok((None, rest.signer(kid, opened, ts)?)),
            (None, None) => {
                Err(Fault::RequestSignature.found("what it rests on names a key that no operator ever had"))
            }
        }
    }

    /// Whether the operator's duty allowed the command; where the duty is not known, it is not told.
    pub(super) fn allowed(&self, operator: &OperatorName, typ: &str, body: &Value) -> Result<(), Finding> {
        match self.members.get(operator).and_then(|member| member.duty.as_ref()) {
            // Of a later version: an admin may give it, and whether others may is not known here.
            Some(Duty::Admin) if !is_known(typ) => Ok(()),
            Some(_) if !is_known(typ) => Err(Finding::NotUnderstood(format!(
                "the command {typ} is not understood by this version of the program"
            ))),
            Some(duty) => permits(duty, typ, body).map_err(|denial| {
                Fault::Duty.found(format!("{operator} may not command it by the duty that it had: {}", denial.detail))
            }),
            None => Ok(()),
        }
    }

    /// The operator's duty; none where nobody told it.
    pub(super) fn duty(&self, operator: &OperatorName) -> Option<&Duty> {
        self.members.get(operator).and_then(|member| member.duty.as_ref())
    }

    /// Whether the operator has a key that was not ended; yes, where nobody tells.
    pub(super) fn lives(&self, operator: &OperatorName) -> bool {
        self.members.get(operator).is_none_or(|member| member.keys.lives())
    }

    /// Whether this key of an operator was ended.
    pub(super) fn is_ended(&self, kid: &str) -> bool {
        self.members.values().map(|member| &member.keys).chain(&self.rest).any(|keys| keys.is_ended(kid))
    }

    /// A command that was carried out at `ts`, by this operator, with this result.
    pub(super) fn carried(
        &mut self,
        operator: &OperatorName,
        (typ, body): (&str, &Value),
        result: &Map<String, Value>,
        ts: Timestamp,
    ) -> Result<(), Finding> {
        let misfit =
            |why: serde_json::Error| Fault::RequestMembers.found(format!("the command in it is no {typ}: {why}"));
        match typ {
            OperatorRegister::TYP => {
                let OperatorRegister { duty, register } = OperatorRegister::deserialize(body).map_err(misfit)?;
                self.register(&register, duty, result, ts)
            }
            OperatorRotate::TYP => {
                let OperatorRotate { register } = OperatorRotate::deserialize(body).map_err(misfit)?;
                match named(&register)? {
                    (name, _) if name == *operator => self.register(&register, None, result, ts),
                    (name, _) => {
                        Err(Fault::Register.found(format!("{operator} put a key of {name} in place of its own")))
                    }
                }
            }
            OperatorDuty::TYP => {
                let OperatorDuty { duty, operator } = OperatorDuty::deserialize(body).map_err(misfit)?;
                self.member(&operator)?.duty = Some(duty);
                self.an_admin_stays()
            }
            OperatorKeyEnd::TYP => {
                let body = OperatorKeyEnd::deserialize(body).map_err(misfit)?;
                self.end(&body, result, ts)
            }
            _ => Ok(()),
        }
    }

    /// The operator of this name; in a part of a chain one who was not heard of is made.
    fn member(&mut self, name: &OperatorName) -> Result<&mut Member, Finding> {
        if !self.members.contains_key(name) {
            if self.rest.is_none() {
                return Err(Fault::KeyOrder.found(format!("it is about {name}, who never was an operator")));
            }
            let keys = KeyHistory::resume(Some(Holder::Operator(name.clone())), &self.aud, &[], self.pinned.clone());
            self.add(name, Member { keys, duty: None })?;
        }
        self.members.get_mut(name).ok_or_else(|| Finding::Unusable("an operator was lost".into()))
    }

    fn add(&mut self, name: &OperatorName, member: Member) -> Result<(), Finding> {
        if self.members.len() >= MOST {
            return Err(Finding::Unusable("the vault had more operators than this program keeps".into()));
        }
        self.members.insert(name.clone(), member);
        Ok(())
    }

    /// Custody makes an operator, by the first key of a new name.
    pub(super) fn by_custody(
        &mut self,
        register: &Embedded,
        duty: &Duty,
        ts: Timestamp,
    ) -> Result<(OperatorName, Kid), Finding> {
        self.register(register, Some(duty.clone()), &Map::new(), ts)?;
        let (name, _) = named(register)?;
        let kid = register.payload.get("kid").cloned().map(Kid::deserialize);
        match kid {
            Some(Ok(kid)) => Ok((name, kid)),
            _ => Err(Fault::Register.found("the register statement in it names no key")),
        }
    }

    /// A key becomes an operator's: by a command, or by what else the vault believes.
    pub(super) fn register(
        &mut self,
        register: &Embedded,
        duty: Option<Duty>,
        result: &Map<String, Value>,
        ts: Timestamp,
    ) -> Result<(), Finding> {
        let (name, kver) = named(register)?;
        let kid = register.payload.get("kid").and_then(Value::as_str).unwrap_or_default();
        if self.members.iter().any(|(other, member)| *other != name && member.keys.has(kid)) {
            return Err(Fault::KeyOrder.found(format!("the key {kid} was another operator's before")));
        }
        if kver == 1 {
            let again = self.members.get(&name).is_some_and(|member| self.rest.is_none() || member.keys.began());
            if again || duty.is_none() {
                return Err(Fault::KeyOrder.found(format!("it registers {name} anew, or without a duty")));
            }
            let keys = KeyHistory::begin(Holder::Operator(name.clone()), &self.aud, register, ts, self.pinned.clone())?;
            return self.add(&name, Member { keys, duty });
        }
        if duty.is_some() {
            return Err(Fault::KeyOrder.found(format!("it gives {name} a duty with a further key")));
        }
        let grace = result.get("grace").and_then(Value::as_u64).map(Timestamp);
        self.member(&name)?.keys.succeed(register, ts, grace)
    }

    /// The clock was put back to `ts`.
    pub(super) fn clock_reset(&mut self, ts: Timestamp) {
        self.members.values_mut().for_each(|member| member.keys.begin_overlaps_anew(ts));
    }

    fn end(&mut self, body: &OperatorKeyEnd, result: &Map<String, Value>, ts: Timestamp) -> Result<(), Finding> {
        let ended = result.get("kids").cloned().map(Vec::<Kid>::deserialize);
        let Some(Ok(kids)) = ended else {
            return Err(Fault::RequestMembers.found("what it says of the keys that it ended cannot be read"));
        };
        let left = self.member(&body.operator)?.keys.unended();
        let meant = match &body.kid {
            Some(kid) => kids == [kid.clone()],
            None => left.iter().all(|kid| kids.contains(kid)),
        };
        if !meant {
            return Err(Fault::KeyOrder.found("it ends other keys than the command says"));
        }
        for kid in &kids {
            self.member(&body.operator)?.keys.end(kid, ts, body.suspect_from)?;
            if let Some(rest) = self.rest.as_mut().filter(|rest| rest.has(kid.as_str())) {
                rest.end(kid, ts, body.suspect_from)?;
            }
        }
        self.an_admin_stays()
    }

    /// A vault keeps at least one admin with a key.
    fn an_admin_stays(&self) -> Result<(), Finding> {
        let admin =
            |member: &Member| member.duty.as_ref().is_none_or(|duty| *duty == Duty::Admin) && member.keys.lives();
        if self.rest.is_some() || self.members.values().any(admin) {
            Ok(())
        } else {
            Err(Fault::Duty.found("after it the vault has no admin with a key, which it never does without"))
        }
    }

    /// The keys that the next commands are likely signed by.
    pub(super) fn guesses(&self) -> impl Iterator<Item = Guess> {
        self.members.values().map(|member| &member.keys).chain(&self.rest).flat_map(KeyHistory::guesses).take(GUESSES)
    }

    /// Each operator's keys.
    pub(super) fn seen(&self) -> Vec<(String, Vec<KeySeen>)> {
        let whose = |kid: &Kid| self.members.values().any(|member| member.keys.has(kid.as_str()));
        let named = self.members.iter().map(|(name, member)| (name.to_string(), member.keys.seen()));
        let rest = self.rest.iter().map(|keys| {
            let unnamed = keys.seen().into_iter().filter(|key| !whose(&key.kid)).collect();
            ("the operator".to_owned(), unnamed)
        });
        named.chain(rest).collect()
    }

    /// How many commands are signed by keys that are not known.
    pub(super) fn unchecked(&self) -> u64 {
        self.members.values().map(|member| &member.keys).chain(&self.rest).map(|keys| keys.unchecked).sum()
    }
}

/// How many keys are tried on commands whose turn has not come.
const GUESSES: usize = 16;

/// Whose key a register statement brings, and its number.
fn named(register: &Embedded) -> Result<(OperatorName, u64), Finding> {
    match Register::deserialize(&register.payload) {
        Ok(Register { holder: Holder::Operator(name), kver, .. }) => Ok((name, kver)),
        _ => Err(Fault::Register.found("the register statement in it is no operator's")),
    }
}
