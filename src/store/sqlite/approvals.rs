//! The rules of several persons, and the commands that wait for others. Rules and what waits are rows that decide, of
//! `_operators`: nobody who writes the database lifts a rule or approves.
//!
//! Whoever gives a command carries it out. It is asked inside the transaction, when all of it was done and can still be
//! undone: so what would be refused anyway is refused with its own reason, and what is carried out was judged by the state
//! of that moment, the approvals too. A command that lacks approvals is undone, stands in `_operators` as refused with
//! `needs_approval`, and begins to wait. What waits is known by who gave it and by what it says; carried out, it is gone
//! with its approvals, in the same transaction, so that an approval counts once.
//!
//! One whose time is over has no entry of its own: the entry with which it began to wait says until when. Its row goes with
//! the next change.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::{Listed, Waiting};
use super::chains;
use super::orders::{self, Effected, Wish, not_found};
use super::reader::Instant;
use super::rows::{self, ChainId, Covered, Packed, parsed};
use super::stop::Stop;
use super::tx::Tx;
use super::views::{Facts, Held, OperatorFacts, Views};
use crate::audit::entry::{self, Approval, Body, Entry, Waits};
use crate::authz::operator::permits;
use crate::authz::policy::{persons, strictest, unruled};
use crate::crypto::envelope::{Embedded, PayloadType};
use crate::crypto::hash::{Digest, leaf};
use crate::crypto::json::canonical;
use crate::denial::{Denial, Reason};
use crate::id::{ChainName, Kid, OperatorName};
use crate::registry::{Duty, Operator};
use crate::statement::approval::{Approve, PolicySet, Withdraw, wish as wish_of};
use crate::statement::command::Page;
use crate::statement::reply::EntryRef;
use crate::time::Timestamp;

/// The most commands that wait at once.
const MOST: usize = 100;

/// The most of them that one operator gave: none keeps the others from giving any.
const MOST_OF_ONE: usize = 50;

/// The most bytes of commands in one part of a list, beyond the first.
const LISTED: usize = 1 << 20;

/// An approval as a row keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Given {
    entry: EntryRef,
    /// The key that signed it: once that is ended, it does not count.
    kid: Kid,
}

/// What a row says of a command that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WaitingFacts {
    /// What it says, see [`wish_of`].
    wish: Digest,
    giver: OperatorName,
    /// Where it stands, as it was signed.
    entry: EntryRef,
    since: Timestamp,
    expires: Timestamp,
    approvals: BTreeMap<OperatorName, Given>,
}

impl WaitingFacts {
    /// Whether it waits at `now`. Before its beginning, a clock was reset that had been ahead.
    fn stands(&self, now: Timestamp) -> bool {
        self.since <= now && now < self.expires
    }

    /// Whether it waits at `now`, for one who can still give it.
    fn counts(&self, facts: &OperatorFacts, now: Timestamp) -> bool {
        self.stands(now) && facts.operators.get(&self.giver).is_some_and(Operator::lives)
    }

    /// The approvals that count for this command now: of other operators who are in force, whose duty allows it and whose
    /// key was not ended since.
    fn counted(&self, facts: &OperatorFacts, typ: &str, body: &Value) -> Vec<Approval> {
        let counts = |name: &OperatorName, given: &Given| {
            let key = |one: &Operator| one.key(&given.kid).is_some_and(|key| key.ended.is_none());
            let able = |one: &Operator| one.lives() && key(one) && permits(&one.duty, typ, body).is_ok();
            *name != self.giver && facts.operators.get(name).is_some_and(able)
        };
        let named = |(name, given): (&OperatorName, &Given)| Approval { entry: given.entry, operator: name.clone() };
        self.approvals.iter().filter(|(name, given)| counts(name, given)).map(named).collect()
    }
}

// --- the gate

/// Who wants a command, before it is carried out.
#[derive(Debug)]
pub(super) struct Standing {
    /// How many must.
    pub(super) persons: u64,
    /// Who approved it.
    pub(super) approvals: Vec<Approval>,
    /// What waits already for the same giver and says the same, and until when.
    waiting: Option<(Digest, Timestamp)>,
    /// Who gives it.
    giver: Option<OperatorName>,
}

impl Standing {
    /// What takes nobody else.
    pub(super) fn alone() -> Standing {
        Standing { persons: 1, approvals: Vec::new(), waiting: None, giver: None }
    }

    /// How many more have to want it.
    pub(super) fn missing(&self) -> u64 {
        self.persons.saturating_sub(1 + self.approvals.len() as u64)
    }
}

/// How it stands about a command of this `typ` and body that this key gives, at the instant of its entry.
pub(super) fn standing(
    tx: &mut Tx<'_>,
    kid: &Kid,
    (typ, body): (&str, &Value),
    now: Timestamp,
) -> Result<Standing, Stop> {
    let operators = tx.hold(&ChainName::operators())?;
    let facts = operators.operators()?;
    let mut standing = Standing { persons: persons(&facts.policy.rules, typ, body), ..Standing::alone() };
    let Some(giver) = facts.of_key(kid).filter(|_| !facts.waiting.is_empty()) else { return Ok(standing) };
    standing.giver = Some(giver.name.clone());
    let wish = wish_of(typ, body);
    let same = |one: &WaitingFacts| one.giver == giver.name && one.wish == wish && one.stands(now);
    if let Some((command, found)) = facts.waiting.iter().find(|(_, one)| same(one)) {
        standing.approvals = found.counted(facts, typ, body);
        standing.waiting = Some((*command, found.expires));
    }
    Ok(standing)
}

/// Whether what was done may stay done. What waited for it is gone then.
pub(super) fn settle(tx: &mut Tx<'_>, standing: &Standing, done: &EntryRef, now: Timestamp) -> Result<(), Stop> {
    let mut operators = tx.hold(&ChainName::operators())?;
    match (standing.missing(), standing.waiting) {
        (0, None) => Ok(()),
        (0, Some((command, _))) => {
            remove(tx, &mut operators, &command)?;
            operators.chain.deciding = operators.chain.deciding.max(Some(done.seq));
            tx.keep(operators);
            Ok(())
        }
        (_, None) => {
            let facts = operators.operators()?;
            let waiting = facts.waiting.values().filter(|one| one.counts(facts, now));
            let givers: Vec<_> = waiting.map(|one| &one.giver).collect();
            let own = givers.iter().filter(|giver| Some(**giver) == standing.giver.as_ref()).count();
            let (limit, whose) = if own >= MOST_OF_ONE { (MOST_OF_ONE, " of yours") } else { (MOST, "") };
            if own >= MOST_OF_ONE || givers.len() >= MOST {
                let detail = format!("as many commands{whose} wait for approval as may; approve or withdraw some");
                return Err(Denial::new(Reason::Busy).limit(limit as u64).detail(detail).into());
            }
            Err(Reason::NeedsApproval.into())
        }
        (_, Some(_)) => Err(Reason::NeedsApproval.into()),
    }
}

/// Records a command that others have to want too, and lets it wait, where the same does not wait already. Gives what its
/// giver is told.
pub(super) fn wait(
    tx: &mut Tx<'_>,
    wish: &Wish,
    standing: &Standing,
    now: Timestamp,
) -> Result<(EntryRef, Denial), Stop> {
    let mut operators = tx.hold(&ChainName::operators())?;
    let new = now.plus(operators.operators()?.policy.wait);
    let (command, expires) = standing.waiting.unwrap_or_else(|| (wish.digest(), new));
    let waits = Waits { command, expires, persons: standing.persons };
    let refused = entry::Command::waiting(wish.embedded().clone(), Reason::NeedsApproval.code(), &waits);
    let entry = orders::append(tx, wish, &mut operators, refused)?;
    if standing.waiting.is_none() {
        let giver = giver(operators.operators()?, wish)?.name.clone();
        let since = operators.chain.head.ts;
        let wish = wish_of(wish.typ(), wish.body());
        sweep(tx, &mut operators)?;
        put(
            tx,
            &mut operators,
            command,
            WaitingFacts { wish, giver, entry, since, expires, approvals: BTreeMap::new() },
        )?;
        operators.chain.deciding = Some(entry.seq);
    }
    tx.keep(operators);
    let (persons, missing) = (standing.persons, standing.missing());
    let more = if missing == 1 { "1 more has".to_owned() } else { format!("{missing} more have") };
    let detail = format!(
        "it waits and takes {persons} operators: {more} to say `vaultctl approve {command}` before {expires}; then give the same \
         command again, or give it with --wait-approval, which waits and goes on by itself"
    );
    Ok((entry, Denial::new(Reason::NeedsApproval).limit(persons).detail(detail)))
}

// --- the commands

/// Approves a command that waits.
pub(super) fn approve(tx: &mut Tx<'_>, wish: &Wish, body: &Approve) -> Effected {
    let operators = tx.hold(&ChainName::operators())?;
    let now = tx.stamp(&operators)?;
    let facts = operators.operators()?;
    let mut waiting = standing_row(facts, &body.command, now)?.clone();
    let said = signed(tx.conn, &tx.shared.views, &operators, (&body.command, &waiting))?;
    let (typ, of) = said_in(&said);
    let approver = giver(facts, wish)?;
    may_approve(approver, &waiting, (typ, of))?;
    waiting.approvals.insert(approver.name.clone(), Given { entry: waiting.entry, kid: wish.kid().clone() });
    let result = json!({
        "approvals": waiting.counted(facts, typ, of).len(),
        "command": body.command,
        "operator": waiting.giver,
        "persons": persons(&facts.policy.rules, typ, of),
        "typ": typ,
    });
    let name = approver.name.clone();
    let (entry, result, _) = orders::command(tx, wish, &result)?;
    if let Some(given) = waiting.approvals.get_mut(&name) {
        given.entry = entry;
    }
    change(tx, entry, |tx, operators| put(tx, operators, body.command, waiting))?;
    Ok((entry, result))
}

fn may_approve(approver: &Operator, waiting: &WaitingFacts, (typ, body): (&str, &Value)) -> Result<(), Denial> {
    let cannot = |why: &str| Err(Denial::new(Reason::CannotApprove).detail(why));
    if approver.name == waiting.giver {
        return cannot("it is your own; it takes somebody else");
    }
    permits(&approver.duty, typ, body)?;
    // By a key that was ended since, nothing was approved.
    let good = |given: &Given| approver.key(&given.kid).is_some_and(|key| key.ended.is_none());
    match waiting.approvals.get(&approver.name).is_some_and(good) {
        true => cannot("you have approved it already; it takes somebody else"),
        false => Ok(()),
    }
}

/// Takes back a command that waits.
pub(super) fn withdraw(tx: &mut Tx<'_>, wish: &Wish, body: &Withdraw) -> Effected {
    let operators = tx.hold(&ChainName::operators())?;
    let now = tx.stamp(&operators)?;
    let facts = operators.operators()?;
    let (by, waiting) = (giver(facts, wish)?, standing_row(facts, &body.command, now)?);
    if by.name != waiting.giver && by.duty != Duty::Admin {
        let detail = format!("withdraw of another's command takes the duty admin; yours is {}", by.duty);
        return Err(Denial::new(Reason::NotPermitted).detail(detail).into());
    }
    let result = json!({ "command": body.command, "operator": waiting.giver });
    let (entry, result, _) = orders::command(tx, wish, &result)?;
    change(tx, entry, |tx, operators| remove(tx, operators, &body.command))?;
    Ok((entry, result))
}

/// Replaces the rules.
pub(super) fn set_policy(tx: &mut Tx<'_>, wish: &Wish, policy: &PolicySet) -> Effected {
    let bad = |detail: String| -> Stop { Denial::new(Reason::BadPolicy).detail(detail).into() };
    if let Some((word, why)) = policy.rules.keys().find_map(|word| unruled(word).map(|why| (word, why))) {
        return Err(bad(format!("no rule can be made for {word}: {why}")));
    }
    let operators = tx.hold(&ChainName::operators())?;
    let facts = operators.operators()?;
    let admins = facts.operators.values().filter(|one| one.duty == Duty::Admin && one.lives()).count() as u64;
    let most = strictest(&policy.rules);
    if most > admins {
        return Err(bad(format!(
            "a rule asks for {most} operators, and so many admins would have to agree to lift it, but there are {admins}; \
             register more first"
        )));
    }
    let result = json!({ "rules": policy.rules, "wait": policy.wait });
    let (entry, result, _) = orders::command(tx, wish, &result)?;
    change(tx, entry, |tx, operators| put_policy(tx, operators, policy.clone()))?;
    Ok((entry, result))
}

/// Changes rows that decide, behind this entry; what does not wait any more goes with it.
fn change(
    tx: &mut Tx<'_>,
    entry: EntryRef,
    make: impl FnOnce(&Tx<'_>, &mut Held) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let mut operators = tx.hold(&ChainName::operators())?;
    sweep(tx, &mut operators)?;
    make(tx, &mut operators)?;
    operators.chain.deciding = Some(entry.seq);
    tx.keep(operators);
    Ok(())
}

fn giver<'a>(facts: &'a OperatorFacts, wish: &Wish) -> Result<&'a Operator, Stop> {
    let operator = facts.of_key(wish.kid());
    operator.ok_or_else(|| Denial::new(Reason::Unauthenticated).internal("no operator's key").into())
}

fn standing_row<'a>(facts: &'a OperatorFacts, command: &Digest, now: Timestamp) -> Result<&'a WaitingFacts, Stop> {
    let found = facts.waiting.get(command).ok_or_else(|| not_found("no such command waits for approval"))?;
    match (found.stands(now), found.counts(facts, now)) {
        (false, _) => Err(not_found(&format!("it waited until {}", found.expires))),
        (true, false) => Err(not_found(&format!("{}, who gave it, is out", found.giver))),
        (true, true) => Ok(found),
    }
}

/// The command as it was signed, out of the entry that the row names.
fn signed(
    conn: &Connection,
    views: &Views,
    held: &Held,
    (command, waiting): (&Digest, &WaitingFacts),
) -> Result<Embedded, Stop> {
    let line = chains::line_at(conn, held.chain.id, waiting.entry.seq)?;
    let line = line.filter(|line| leaf(line) == waiting.entry.leaf);
    let read = line.and_then(|line| match Entry::read(&line).ok()?.body {
        Body::Command(said) => Some(said.command),
        _ => None,
    });
    let same = |said: &Embedded| said.open(PayloadType::Command).digest() == *command;
    read.filter(same).ok_or_else(|| views.set_aside(&held.chain.name, "a command that waits is not the one of its row"))
}

/// The `typ` and the body of a command.
fn said_in(said: &Embedded) -> (&str, &Value) {
    let payload = &said.payload;
    (payload.get("typ").and_then(Value::as_str).unwrap_or_default(), payload.get("body").unwrap_or(&Value::Null))
}

// --- rows

fn text<T: Serialize>(value: &T) -> String {
    String::from_utf8(canonical(value)).expect("canonical JSON is UTF-8")
}

fn policy_row(chain: ChainId, policy: &PolicySet) -> Covered {
    Covered::new("policy", chain.to_string(), Packed::default().text(&text(&policy.rules)).number(policy.wait.0))
}

fn waiting_row(chain: ChainId, command: &Digest, waiting: &WaitingFacts) -> Covered {
    let WaitingFacts { wish, giver, entry, since, expires, approvals } = waiting;
    let packed = Packed::default()
        .number(chain as u64)
        .bytes(wish.as_bytes())
        .text(giver.as_str())
        .number(entry.seq)
        .bytes(entry.leaf.as_bytes())
        .number(since.0)
        .number(expires.0)
        .text(&text(approvals));
    Covered::new("waiting", command.to_string(), packed)
}

fn with_facts(held: &mut Held, make: impl FnOnce(&mut OperatorFacts)) {
    if let Facts::Operators(facts) = &mut Arc::make_mut(&mut held.view).facts {
        make(facts);
    }
}

fn put_policy(tx: &Tx<'_>, held: &mut Held, policy: PolicySet) -> Result<(), Stop> {
    let chain = held.chain.id;
    let mac = tx.cover(held, &policy_row(chain, &policy));
    let sql = "INSERT INTO policy (chain, rules, wait, mac) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT (chain) DO UPDATE SET rules = ?2, wait = ?3, mac = ?4";
    tx.conn.prepare_cached(sql)?.execute(params![chain, text(&policy.rules), policy.wait.0, mac])?;
    with_facts(held, |facts| facts.policy = policy);
    Ok(())
}

fn put(tx: &Tx<'_>, held: &mut Held, command: Digest, waiting: WaitingFacts) -> Result<(), Stop> {
    let chain = held.chain.id;
    let mac = tx.cover(held, &waiting_row(chain, &command, &waiting));
    let sql = "INSERT INTO waiting (command, chain, wish, giver, seq, leaf, since, expires, approvals, mac)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
               ON CONFLICT (command) DO UPDATE SET approvals = ?9, mac = ?10";
    tx.conn.prepare_cached(sql)?.execute(params![
        command.to_string(),
        chain,
        waiting.wish.as_bytes(),
        waiting.giver.as_str(),
        waiting.entry.seq,
        waiting.entry.leaf.as_bytes(),
        waiting.since.0,
        waiting.expires.0,
        text(&waiting.approvals),
        mac
    ])?;
    with_facts(held, |facts| drop(facts.waiting.insert(command, waiting)));
    Ok(())
}

fn remove(tx: &Tx<'_>, held: &mut Held, command: &Digest) -> Result<(), Stop> {
    tx.conn.prepare_cached("DELETE FROM waiting WHERE command = ?1")?.execute([command.to_string()])?;
    let row = Covered::new("waiting", command.to_string(), Packed::default());
    Arc::make_mut(&mut held.view).deciders.remove(&row);
    with_facts(held, |facts| drop(facts.waiting.remove(command)));
    Ok(())
}

/// Takes out the rows of what does not wait any more.
fn sweep(tx: &Tx<'_>, held: &mut Held) -> Result<(), Stop> {
    let (now, facts) = (held.chain.head.ts, held.operators()?);
    let over = facts.waiting.iter().filter(|(_, one)| !one.counts(facts, now));
    let over: Vec<Digest> = over.map(|(command, _)| *command).collect();
    over.iter().try_for_each(|command| remove(tx, held, command))
}

impl rows::Reading<'_> {
    /// The rules; those that hold where nobody set any, where there is no row.
    pub(super) fn policy(&mut self, chain: ChainId) -> rusqlite::Result<PolicySet> {
        let sql = "SELECT mac, rules, wait FROM policy WHERE chain = ?1";
        let read = |row: &Row<'_>| {
            let (Some(rules), wait) = (rows::json(row, 1)?, row.get(2)?) else { return Ok(None) };
            let policy = PolicySet { rules, wait: crate::time::Seconds(wait) };
            let covered = policy_row(chain, &policy);
            Ok(Some((policy, covered)))
        };
        Ok(self.rows("policy", sql, chain, read)?.pop().unwrap_or_default())
    }

    /// What waits for approval.
    pub(super) fn waiting(&mut self, chain: ChainId) -> rusqlite::Result<BTreeMap<Digest, WaitingFacts>> {
        let sql =
            "SELECT mac, command, wish, giver, seq, leaf, since, expires, approvals FROM waiting WHERE chain = ?1";
        let read = |row: &Row<'_>| {
            let (Some(command), Some(giver)) = (parsed(row, 1)?, parsed(row, 3)?) else { return Ok(None) };
            let Some(approvals) = rows::json(row, 8)? else { return Ok(None) };
            let entry = EntryRef { leaf: rows::digest(row, 5)?, seq: row.get(4)? };
            let (since, expires) = (rows::time(row, 6)?, rows::time(row, 7)?);
            let wish = rows::digest(row, 2)?;
            let waiting = WaitingFacts { wish, giver, entry, since, expires, approvals };
            let covered = waiting_row(chain, &command, &waiting);
            Ok(Some(((command, waiting), covered)))
        };
        Ok(self.rows("waiting", sql, chain, read)?.into_iter().collect())
    }
}

// --- reads

/// The rules.
pub(super) fn policy(at: Instant<'_>) -> Result<PolicySet, Stop> {
    Ok(at.hold(&ChainName::operators())?.operators()?.policy.clone())
}

/// What waits, oldest first, each with the command as it was signed.
pub(super) fn waiting(at: Instant<'_>, page: &Page) -> Result<Listed<Waiting>, Stop> {
    let held = at.hold(&ChainName::operators())?;
    let (facts, now) = (held.operators()?, stamp(at, &held)?);
    let after: Option<u64> = page.after.parse().ok();
    let mut standing: Vec<_> = facts.waiting.iter().filter(|(_, one)| one.counts(facts, now)).collect();
    standing.sort_by_key(|(_, one)| one.entry.seq);
    standing.retain(|(_, one)| after.is_none_or(|after| one.entry.seq > after));
    let (mut listed, mut bytes) = (Listed { items: Vec::new(), next: None }, 0);
    for (command, one) in standing {
        let envelope = signed(at.conn, &at.shared.views, &held, (command, one))?;
        bytes += canonical(&envelope).len();
        let full = listed.items.len() as u64 >= page.limit || bytes > LISTED;
        if let Some(last) = listed.items.last().filter(|_| full) {
            let last: &Waiting = last;
            listed.next = Some(last.entry.seq.to_string());
            break;
        }
        let (typ, body) = said_in(&envelope);
        let approvals = one.counted(facts, typ, body).into_iter().map(|approval| approval.operator).collect();
        let persons = persons(&facts.policy.rules, typ, body);
        let (operator, entry, since, expires) = (one.giver.clone(), one.entry, one.since, one.expires);
        listed.items.push(Waiting { command: *command, envelope, operator, entry, since, expires, persons, approvals });
    }
    Ok(listed)
}

/// The instant at which a command that came now would be judged: never before the chain's newest entry, unless the clock was
/// reset since.
fn stamp(at: Instant<'_>, held: &Held) -> Result<Timestamp, Stop> {
    let now = at.shared.clock.now();
    let vault = at.hold(&ChainName::vault())?;
    let unheard = vault.vault()?.reset.as_ref().is_some_and(|reset| held.chain.resets < reset.number);
    Ok(if unheard { now } else { now.max(held.chain.head.ts) })
}
