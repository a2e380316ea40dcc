//! The reset of the clock: after an operator's command, time counts anew. The command stands in `_operators` under the old
//! time; from there on each chain's next entry is `clock_reset`, and only there `ts` falls. The chains are not touched one
//! by one: a chain's row says how many resets it has heard of, and what appends to it looks.
//!
//! What was given under the wrong clock is taken back: the first of it with the command, the rest in parts by
//! [`super::takebacks`]. What was asked under it is remembered again, likewise in parts: [`super::recall`]. Keys that were
//! replaced under it would be good until a time that lies far ahead: with the command, their overlap begins anew.

use std::sync::Arc;

use rusqlite::params;
use serde_json::json;

use super::due::{open_chain, unless_forged};
use super::orders::{self, Effected, Wish};
use super::rows::{Reset, parsed};
use super::stop::Stop;
use super::takebacks::{self, Reach};
use super::tx::Tx;
use super::views::{Facts, Held, VaultFacts};
use super::{intents, leases, recall, requests, token_keys};
use crate::audit::chain::AuditKey;
use crate::audit::entry::{self, By};
use crate::denial::{Denial, Reason};
use crate::id::{ChainName, Sid};
use crate::registry::HeldKey;
use crate::time::{Seconds, Timestamp};

/// How much is taken back together with the command.
const AT_ONCE: u64 = 100;
/// How many lines are read with the command for the nonces that they hold.
const LINES: u64 = 200;
/// More intents than ever are under way.
const INTENTS: u64 = 100_000;

/// Below which `iat` no reset is taken: that of the newest one.
pub(super) fn floor(tx: &mut Tx<'_>) -> Result<Timestamp, Stop> {
    let vault = tx.hold(&ChainName::vault())?;
    Ok(vault.vault()?.reset.as_ref().map_or(Timestamp::ZERO, |reset| reset.iat))
}

/// Resets the clock, and has `key` sign from here on.
pub(super) fn reset(tx: &mut Tx<'_>, wish: &Wish, key: &Arc<AuditKey>) -> Effected {
    let (now, skew) = (tx.now, tx.shared.rules.skew);
    let facts = tx.hold(&ChainName::vault())?.vault()?.clone();
    let ahead = tx.newest.max(facts.floor);
    if ahead <= now.plus(skew) {
        let internal = format!("the newest entry is of {}, the floor is {}", tx.newest, facts.floor);
        return Err(Denial::new(Reason::ClockGood).at(now).internal(internal).into());
    }
    let floor = now.plus(skew);
    let reach = Reach::IssuedAfter { issued_after: now };
    let leases = takebacks::count(tx, &reach, ahead)?;
    let (entry, result, by) = orders::command(tx, wish, &json!({ "floor": floor, "leases": leases }))?;

    let number = facts.resets() + 1;
    let epochs = super::verbs::epoch_of(key).unwrap_or_default().max(facts.epochs);
    let recall = Some(recall::after(&facts, key.nbf()));
    let reset = Some(Reset { number, by: by.clone(), iat: wish.iat(), recall });
    tx.key = Some(Arc::clone(key));
    let mut vault = tx.hold(&ChainName::vault())?;
    tx.put_vault(&mut vault, VaultFacts { floor, epochs, reset, ..facts })?;
    // The first entry under the new key.
    tx.settle(&mut vault)?;
    vault.chain.deciding = vault.chain.head.size.checked_sub(1);
    tx.newest = vault.chain.head.ts;
    tx.keep(vault);
    begin_overlaps_anew(tx)?;
    token_keys::put_back(tx)?;

    // An intent of then would be looked at no earlier than its own time; what it made is looked for at its backend now.
    intents::interrupt(tx, true, INTENTS)?;
    recall::go_on(tx, LINES)?;
    if takebacks::take_back(tx, &reach, ahead, &by, AT_ONCE)? >= AT_ONCE {
        takebacks::later(tx, &reach, ahead, &by)?;
    }
    Ok((entry, result))
}

/// Keys that were replaced later than now are accepted for the overlap that they had, from now on. Each chain of such a key
/// says its `clock_reset` at once: a verifier counts the overlap from there.
fn begin_overlaps_anew(tx: &mut Tx<'_>) -> Result<(), Stop> {
    let sql = "SELECT DISTINCT c.name FROM keys k JOIN chains c ON c.id = k.chain WHERE k.since > ?1 AND k.kver > 1";
    let names: Vec<Option<ChainName>> = {
        let mut statement = tx.conn.prepare_cached(sql)?;
        statement.query_map([tx.now.0], |row| parsed(row, 0))?.collect::<Result<_, _>>()?
    };
    for name in names.into_iter().flatten() {
        // One that is set aside takes no request.
        let Some(mut held) = open_chain(tx, &name)? else { continue };
        let replaced = replaced_after(&held, tx.now);
        if replaced.is_empty() {
            continue;
        }
        tx.settle(&mut held)?;
        held.chain.deciding = held.chain.head.size.checked_sub(1);
        let at = held.chain.head.ts;
        for (id, key, overlap) in replaced {
            let grace = key.grace.map(|grace| grace.min(at.plus(overlap)));
            tx.write_key(&mut held, id, HeldKey { grace, ..key })?;
        }
        tx.keep(held);
    }
    Ok(())
}

/// The keys whose successor came later than `now` and that would be accepted beside it, with their numbers and overlaps.
fn replaced_after(held: &Held, now: Timestamp) -> Vec<(i64, HeldKey, Seconds)> {
    let holders: Vec<&[HeldKey]> = match &held.view.facts {
        Facts::Agent(facts) => vec![&facts.agent.keys],
        Facts::Operators(facts) => facts.operators.values().map(|operator| operator.keys.as_slice()).collect(),
        Facts::Vault(_) => Vec::new(),
    };
    let mut replaced = Vec::new();
    for [key, next] in holders.into_iter().flat_map(<[HeldKey]>::array_windows) {
        let grace = key.grace.filter(|grace| key.ended.is_none() && next.since > now && *grace > now);
        if let (Some(grace), Some((id, _))) = (grace, held.view.key(&key.kid)) {
            replaced.push((id, key.clone(), grace.since(next.since)));
        }
    }
    replaced
}

/// Ends at most `limit` sessions that were opened after `after` and up to `before`. Gives how many.
pub(super) fn end_sessions(
    tx: &mut Tx<'_>,
    after: Timestamp,
    before: Timestamp,
    by: &By,
    limit: u64,
) -> Result<u64, Stop> {
    // One that was opened later than now runs out later too, so that the index on that finds it.
    let sql = "SELECT c.name, s.sid FROM sessions s INDEXED BY sessions_due JOIN chains c ON c.id = s.chain
               WHERE s.ended IS NULL AND s.due > ?1 AND s.opened > ?1 AND s.opened <= ?2";
    end_sessions_of(tx, sql, params![after.0, before.0], by, limit)
}

/// Ends at most `limit` of the sessions that a query names by chain and sid, because of a command. Gives how many.
pub(super) fn end_sessions_of(
    tx: &mut Tx<'_>,
    sql: &str,
    values: impl rusqlite::Params,
    by: &By,
    limit: u64,
) -> Result<u64, Stop> {
    let mut found: Vec<(ChainName, Sid)> = Vec::new();
    {
        let mut statement = tx.conn.prepare_cached(sql)?;
        let mut rows = statement.query(values)?;
        while (found.len() as u64) < limit
            && let Some(row) = rows.next()?
        {
            let name: Option<ChainName> = parsed(row, 0)?;
            let name = name.filter(|name| !tx.shared.views.is_aside(name));
            found.extend(name.zip(parsed(row, 1)?));
        }
    }
    let mut ended = 0;
    for (name, sid) in found {
        let (Some(mut held), Some(agent)) = (open_chain(tx, &name)?, name.agent()) else { continue };
        let session = leases::session(tx.conn, held.chain.id, &agent, &sid);
        let Some(session) = unless_forged(&tx.shared.views, &name, session)?.flatten() else { continue };
        let end = entry::SessionEnd { by: Some(by.clone()), reason: "revoked".to_owned(), sid };
        tx.append(&mut held, end)?;
        let at = held.chain.head.ts;
        requests::end_session(tx, &mut held, session, at)?;
        tx.keep(held);
        ended += 1;
    }
    Ok(ended)
}
