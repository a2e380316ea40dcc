//! Sends a plan, command by command, each signed as a part of one set. Nothing is rolled back: where a command is refused
//! the run stops, what was done stays, and the same run again goes on with what is left. A command that waits for other
//! operators stops nothing but what needs it.

use std::collections::BTreeSet;

use nockvault::client::fault::Fault;
use nockvault::client::operator::Operator;
use nockvault::denial::Reason;
use nockvault::entropy::{Entropy, OsEntropy};
use nockvault::id::SetId;
use nockvault::statement::command::Set;
use nockvault::statement::reply::Executed;
use serde_json::Value;

use super::plan::{Change, Order, Plan};

/// What became of a change.
#[derive(Debug)]
pub(crate) enum Fate {
    /// It is so now, by these entries of `_operators`; none where it was so already.
    Done(Vec<u64>),
    /// A command of it waits for other operators, or needs one that does. Of an exchange the first half may be done.
    Waits(Vec<u64>),
    /// A command of it was not carried out, or nobody knows. Of an exchange the first half may be done.
    Failed(Vec<u64>),
    /// Nothing of it was sent.
    NotSent,
}

impl Fate {
    /// What programs call it.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Fate::Done(_) => "done",
            Fate::Waits(_) => "waits",
            Fate::Failed(_) => "failed",
            Fate::NotSent => "not_sent",
        }
    }

    pub(crate) fn entries(&self) -> &[u64] {
        match self {
            Fate::Done(entries) | Fate::Waits(entries) | Fate::Failed(entries) => entries,
            Fate::NotSent => &[],
        }
    }
}

/// What became of a plan.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) set: SetId,
    /// One for each change, in their order.
    pub(crate) fates: Vec<Fate>,
    /// How many commands were carried out.
    pub(crate) done: usize,
    /// How many leases end with them.
    pub(crate) leases: u64,
    /// Why the run stopped, where it did.
    pub(crate) stopped: Option<anyhow::Error>,
}

impl Sent {
    /// How many changes wait for other operators.
    pub(crate) fn waiting(&self) -> usize {
        self.fates.iter().filter(|fate| matches!(fate, Fate::Waits(_))).count()
    }
}

/// Carries a plan out, as far as it goes.
pub(crate) async fn send(operator: &Operator, plan: &Plan) -> Sent {
    let entropy: &dyn Entropy = &OsEntropy;
    let (set, of) = (SetId::from_bytes(&entropy.bytes()), plan.orders());
    let mut run = Run {
        operator,
        of,
        part: 0,
        absent: BTreeSet::new(),
        sent: Sent { set, fates: Vec::new(), done: 0, leases: 0, stopped: None },
    };
    for change in &plan.changes {
        let fate = if run.sent.stopped.is_some() { Fate::NotSent } else { run.carry(change).await };
        run.sent.fates.push(fate);
    }
    run.sent
}

struct Run<'a> {
    operator: &'a Operator,
    of: usize,
    part: usize,
    /// Agents and roles that wait for approval, and so are not there yet.
    absent: BTreeSet<String>,
    sent: Sent,
}

impl Run<'_> {
    async fn carry(&mut self, change: &Change) -> Fate {
        let (orders, before) = (change.orders(), self.part);
        let after = before + orders.len();
        let mut entries = Vec::new();
        if let Some(needed) = self.needs(change) {
            say!("part {after} of {} was not sent: it needs {needed}, which waits for other operators", self.of);
            self.part = after;
            return Fate::Waits(entries);
        }
        for order in orders {
            self.part += 1;
            match self.order(&order).await {
                Ok(done) => entries.extend(done.and_then(|done| done.entry).map(|entry| entry.seq)),
                Err(fault) if proven(&fault, Reason::NeedsApproval) => {
                    say!("part {} of {}, {}: {fault}", self.part, self.of, name(change));
                    if !entries.is_empty() {
                        say!("until then {} is revoked, and not given on other terms", name(change));
                    }
                    self.absent.extend(brings(change));
                    self.part = after;
                    return Fate::Waits(entries);
                }
                Err(fault) => {
                    self.stop(change, fault);
                    return Fate::Failed(entries);
                }
            }
        }
        Fate::Done(entries)
    }

    /// What a change needs that is not there yet.
    fn needs(&self, change: &Change) -> Option<&str> {
        let Change::Grant { grant, .. } = change else { return None };
        let needed = [format!("agent {}", grant.agent), format!("role {}", grant.role)];
        self.absent.iter().find(|absent| needed.contains(absent)).map(String::as_str)
    }

    /// Gives one command. None where what it would take away is gone already.
    async fn order(&mut self, order: &Order) -> Result<Option<Executed>, Fault> {
        let set = Set { id: self.sent.set.clone(), of: self.of as u64, part: self.part as u64 };
        let said = match order {
            Order::Revoke(body) => self.operator.part(body.clone(), &set).await,
            Order::Register(body) => self.operator.part(body.clone(), &set).await,
            Order::Create(body) => self.operator.part(body.clone(), &set).await,
            Order::Grant(body) => self.operator.part(body.clone(), &set).await,
        };
        match said {
            Ok(done) => {
                self.sent.done += 1;
                self.sent.leases += done.result.get("leases").and_then(Value::as_u64).unwrap_or_default();
                Ok(Some(done))
            }
            Err(fault) if matches!(order, Order::Revoke(_)) && proven(&fault, Reason::NotFound) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    fn stop(&mut self, change: &Change, fault: Fault) {
        let raced = if proven(&fault, Reason::AlreadyExists) { "; somebody else made it in between" } else { "" };
        let told = format!(
            "part {} of {}, {}{raced}. {} before it were carried out and stay, {} were not sent; the same command again goes on \
             with what is left",
            self.part,
            self.of,
            name(change),
            self.sent.done,
            self.of - self.part
        );
        self.sent.stopped = Some(anyhow::Error::from(fault).context(told));
    }
}

fn proven(fault: &Fault, reason: Reason) -> bool {
    fault.refusal().is_some_and(|refusal| refusal.proven) && fault.reason() == Some(reason)
}

/// What a change is about.
fn name(change: &Change) -> String {
    match change {
        Change::Revoke { agent, role, .. } => format!("the grant of {role} to {agent}"),
        Change::Grant { grant, .. } => format!("the grant of {} to {}", grant.role, grant.agent),
        Change::Register { agent, .. } => format!("agent {agent}"),
        Change::Create(role) => format!("role {}", role.role),
    }
}

/// What later changes may need of it.
fn brings(change: &Change) -> Option<String> {
    matches!(change, Change::Register { .. } | Change::Create(_)).then(|| name(change))
}
