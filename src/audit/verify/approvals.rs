//! The rules of several persons as `_operators` tells them, command by command: which there are, what waits for others, who
//! approved it; and whether a command that was carried out was wanted by as many as the rules asked for at that point. It
//! asks the same functions as the vault.
//!
//! A part of the chain that begins later knows no rules and not what waited: nothing is said of it then.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize as _;
use serde_json::Value;

use super::report::{Fault, Finding};
use super::roster::Roster;
use crate::audit::entry::{self, Approval, Waits};
use crate::authz::policy::persons;
use crate::crypto::hash::Digest;
use crate::denial::Reason;
use crate::id::{Kid, OperatorName};
use crate::statement::Body as _;
use crate::statement::approval::{Approve, PolicySet, Withdraw, wish};
use crate::statement::command::Command;
use crate::statement::operator::Duty;
use crate::statement::reply::EntryRef;
use crate::time::Timestamp;

/// The most commands that wait in a vault.
const MOST: usize = 100;

/// A command with where it stands.
#[derive(Clone, Copy)]
pub(super) struct Stands<'a> {
    pub(super) said: &'a Command<Value>,
    /// H(PAE) of it.
    pub(super) digest: Digest,
    pub(super) entry: EntryRef,
    pub(super) ts: Timestamp,
}

/// A command that waits.
#[derive(Debug)]
struct Waiting {
    giver: OperatorName,
    wish: Digest,
    typ: String,
    body: Value,
    since: Timestamp,
    expires: Timestamp,
    /// Each with its entry and the key that signed it.
    approvals: BTreeMap<OperatorName, (EntryRef, Kid)>,
}

impl Waiting {
    fn stands(&self, ts: Timestamp) -> bool {
        self.since <= ts && ts < self.expires
    }

    /// Whether it is what this command wishes, and still waits.
    fn is_of(&self, said: &Command<Value>, ts: Timestamp) -> bool {
        self.giver == said.operator && self.stands(ts) && self.wish == wish(&said.typ, &said.body)
    }
}

/// What is known of rules and approvals.
#[derive(Debug)]
pub(super) enum Approvals {
    /// The part that is known begins later.
    Unknown,
    /// From the beginning of the chain.
    Known(Known),
}

/// Rules, and what waits, by its digest.
#[derive(Debug, Default)]
pub(super) struct Known {
    policy: PolicySet,
    waiting: BTreeMap<Digest, Waiting>,
}

fn wrong(how: impl Into<String>) -> Finding {
    Fault::Approval.found(how)
}

impl Approvals {
    /// A command that was refused: where it says that it waits, it does from here on.
    pub(super) fn refused(&mut self, command: &entry::Command, at: Stands<'_>, roster: &Roster) -> Result<(), Finding> {
        if !command.approvals.is_empty() {
            return Err(wrong("it was refused, and names approvals"));
        }
        let waits = match (command.denial() == Some(Reason::NeedsApproval.code()), command.waits()) {
            (false, None) => return Ok(()),
            (true, Some(Some(waits))) => waits,
            _ => return Err(wrong("what it says of its waiting cannot be read")),
        };
        match self {
            Approvals::Unknown => Ok(()),
            Approvals::Known(known) => known.begins(&waits, at, roster),
        }
    }

    /// Whether a command that was carried out was wanted by enough. What waited for it does so no longer.
    pub(super) fn wanted(&mut self, command: &entry::Command, at: Stands<'_>, roster: &Roster) -> Result<(), Finding> {
        match self {
            Approvals::Unknown => Ok(()),
            Approvals::Known(known) => known.wanted(&command.approvals, at, roster),
        }
    }

    /// What a command that was carried out did to rules and approvals.
    pub(super) fn carried(&mut self, at: Stands<'_>, roster: &Roster) -> Result<(), Finding> {
        let Approvals::Known(known) = self else { return Ok(()) };
        let misfit = |why: serde_json::Error| {
            Fault::RequestMembers.found(format!("the command in it is no {}: {why}", at.said.typ))
        };
        let body = &at.said.body;
        match at.said.typ.as_str() {
            PolicySet::TYP => known.policy = PolicySet::deserialize(body).map_err(misfit)?,
            Approve::TYP => known.approve(&Approve::deserialize(body).map_err(misfit)?.command, at, roster)?,
            Withdraw::TYP => known.withdraw(&Withdraw::deserialize(body).map_err(misfit)?.command, at, roster)?,
            _ => return Ok(()),
        }
        known.forget(at.ts, roster);
        Ok(())
    }
}

impl Known {
    /// What does not wait any more, for one who could still give it, the vault forgets here: no reset of the clock brings it
    /// back.
    fn forget(&mut self, ts: Timestamp, roster: &Roster) {
        self.waiting.retain(|_, one| one.stands(ts) && roster.lives(&one.giver));
    }

    fn begins(&mut self, waits: &Waits, at: Stands<'_>, roster: &Roster) -> Result<(), Finding> {
        let Stands { said, digest, ts, .. } = at;
        let asked = persons(&self.policy.rules, &said.typ, &said.body);
        if waits.persons != asked || asked < 2 {
            return Err(wrong(format!("it says that it takes {} operators, but it takes {asked}", waits.persons)));
        }
        if waits.command != digest {
            return match self.waiting.get(&waits.command) {
                Some(known) if known.is_of(said, ts) && known.expires == waits.expires => Ok(()),
                _ => Err(wrong("it names another command that waits, which is not the same wish of this operator")),
            };
        }
        if waits.expires != ts.plus(self.policy.wait) {
            return Err(wrong("it does not wait for as long as the rules say"));
        }
        self.forget(ts, roster);
        if self.waiting.len() >= MOST {
            return Err(wrong("more commands wait than a vault lets wait"));
        }
        let waiting = Waiting {
            giver: said.operator.clone(),
            wish: wish(&said.typ, &said.body),
            typ: said.typ.clone(),
            body: said.body.clone(),
            since: ts,
            expires: waits.expires,
            approvals: BTreeMap::new(),
        };
        self.waiting.insert(digest, waiting);
        Ok(())
    }

    fn standing(&mut self, command: &Digest, ts: Timestamp) -> Result<&mut Waiting, Finding> {
        let found = self.waiting.get_mut(command).filter(|one| one.stands(ts));
        found.ok_or_else(|| wrong("it is about a command that does not wait for approval then"))
    }

    fn approve(&mut self, command: &Digest, at: Stands<'_>, roster: &Roster) -> Result<(), Finding> {
        let Stands { said, entry, ts, .. } = at;
        let waiting = self.standing(command, ts)?;
        if said.operator == waiting.giver {
            return Err(wrong(format!("{} approved a command of its own", said.operator)));
        }
        roster.allowed(&said.operator, &waiting.typ, &waiting.body)?;
        if waiting.approvals.get(&said.operator).is_some_and(|(_, kid)| !roster.is_ended(kid.as_str())) {
            return Err(wrong(format!("{} approved it before", said.operator)));
        }
        waiting.approvals.insert(said.operator.clone(), (entry, said.kid.clone()));
        Ok(())
    }

    fn withdraw(&mut self, command: &Digest, at: Stands<'_>, roster: &Roster) -> Result<(), Finding> {
        let by = &at.said.operator;
        if self.standing(command, at.ts)?.giver != *by && roster.duty(by) != Some(&Duty::Admin) {
            return Err(wrong(format!("{by} took back a command of another, and is no admin")));
        }
        self.waiting.remove(command);
        Ok(())
    }

    fn wanted(&mut self, named: &[Approval], at: Stands<'_>, roster: &Roster) -> Result<(), Finding> {
        let Stands { said, ts, .. } = at;
        let asked = persons(&self.policy.rules, &said.typ, &said.body);
        if asked < 2 && named.is_empty() && self.waiting.is_empty() {
            return Ok(());
        }
        let found = self.waiting.iter().find(|(_, one)| one.is_of(said, ts)).map(|(command, _)| *command);
        let waiting = found.and_then(|command| self.waiting.remove(&command));
        let mut persons = BTreeSet::from([&said.operator]);
        for Approval { entry, operator } in named {
            let given = waiting.as_ref().and_then(|waiting| waiting.approvals.get(operator));
            let Some((_, kid)) = given.filter(|(approve, _)| approve == entry) else {
                return Err(wrong(format!("it names an approval of {operator} that is none of this command")));
            };
            if !persons.insert(operator) {
                return Err(wrong(format!("it counts {operator} twice")));
            }
            if roster.is_ended(kid.as_str()) || !roster.lives(operator) {
                return Err(wrong(format!("it counts {operator}, who is out, or whose key was ended since")));
            }
            roster.allowed(operator, &said.typ, &said.body)?;
        }
        let wanted = persons.len() as u64;
        if wanted < asked {
            return Err(wrong(format!("it takes {asked} operators by the rules then, and {wanted} wanted it")));
        }
        Ok(())
    }
}
