//! What ends by itself: leases, sessions, minutes of refusals, nonces past their window. All of it is found by an index
//! on when it is due, so that nothing is scanned; a chain that is set aside keeps what it has, and holds up nobody.

use std::collections::BTreeMap;

use rusqlite::params;

use super::super::{Due, Event};
use super::leases::{self, over};
use super::rows::{ChainId, parsed};
use super::stop::Stop;
use super::tx::Tx;
use super::views::{VaultFacts, Views};
use super::{chains, intents, recall, requests, restores, takebacks};
use crate::audit::entry;
use crate::denial::Reason;
use crate::id::{ChainName, LeaseId, Sid};
use crate::lease::State;
use crate::statement::reply::EntryRef;
use crate::time::Timestamp;

/// How many lines are read in the time in which a lease is ended.
const LINES: u64 = 4;

pub(super) fn end_due(tx: &mut Tx<'_>, limit: u64) -> Result<Due, Stop> {
    let leases = expire(tx, limit)?;
    let (sessions, with_them) = end_sessions(tx, limit)?;
    let intents = intents::interrupt(tx, false, limit)?;
    let revoked = takebacks::go_on(tx, limit)?;
    summarise(tx, limit)?;
    let recalled = recall::go_on(tx, limit * LINES)?;
    let nonces = forget(tx, limit)?;
    Ok(Due { leases: leases + with_them, sessions, intents, revoked, recalled, nonces })
}

/// The chain of a row, unless it is set aside, which an attempt to hold it finds out.
pub(super) fn open_chain(tx: &mut Tx<'_>, name: &ChainName) -> Result<Option<super::views::Held>, Stop> {
    match tx.look(name) {
        Err(Stop::Denied(_)) => Ok(None),
        held => held,
    }
}

/// What was read of a chain's rows, unless none of ours could say it: then that chain is set aside, and the others are
/// ended all the same.
pub(super) fn unless_forged<T>(
    views: &Views,
    chain: &ChainName,
    read: rusqlite::Result<T>,
) -> rusqlite::Result<Option<T>> {
    match read {
        Err(error) if leases::is_forged(&error) => {
            views.set_aside(chain, "a row of what it has to end is none of ours");
            Ok(None)
        }
        read => read.map(Some),
    }
}

fn expire(tx: &mut Tx<'_>, limit: u64) -> Result<u64, Stop> {
    let sql = "SELECT l.id, c.name FROM leases l JOIN chains c ON c.id = l.chain
               WHERE l.state = 'live' AND l.expires <= ?1 ORDER BY l.expires";
    let views = &tx.shared.views;
    let due: Vec<(LeaseId, ChainName)> = over(tx.conn, sql, tx.now, limit, |row| {
        let name: Option<ChainName> = parsed(row, 1)?;
        let Some(name) = name.filter(|name| !views.is_aside(name)) else { return Ok(None) };
        Ok(unless_forged(views, &name, leases::lease_id(row, 0))?.map(|id| (id, name)))
    })?;
    let mut ended = 0;
    for (id, name) in due {
        let Some(mut held) = open_chain(tx, &name)? else { continue };
        let lease = unless_forged(&tx.shared.views, &name, leases::by_id(tx.conn, &tx.shared.ring, &id))?;
        let Some(mut lease) = lease.flatten() else { continue };
        let outcome = requests::end_lease(tx, &mut held, &mut lease, State::Expired)?;
        tx.append(&mut held, entry::Expire { lease: id, outcome })?;
        tx.keep(held);
        ended += 1;
    }
    Ok(ended)
}

/// Ends sessions that ran out, and their leases with them.
fn end_sessions(tx: &mut Tx<'_>, limit: u64) -> Result<(u64, u64), Stop> {
    let sql = "SELECT c.name, s.sid FROM sessions s JOIN chains c ON c.id = s.chain
               WHERE s.ended IS NULL AND s.due <= ?1 ORDER BY s.due";
    let views = &tx.shared.views;
    let due: Vec<(ChainName, Sid)> = over(tx.conn, sql, tx.now, limit, |row| {
        let name: Option<ChainName> = parsed(row, 0)?;
        Ok(name.filter(|name| !views.is_aside(name)).zip(parsed(row, 1)?))
    })?;
    let (mut sessions, mut ended) = (0, 0);
    for (name, sid) in due {
        let (Some(mut held), Some(agent)) = (open_chain(tx, &name)?, name.agent()) else { continue };
        let (chain, idle) = (held.chain.id, tx.shared.rules.session_idle);
        let views = &tx.shared.views;
        let session = unless_forged(views, &name, leases::session(tx.conn, chain, &agent, &sid))?;
        let live = unless_forged(views, &name, leases::live_of_session(tx.conn, &tx.shared.ring, chain, &sid))?;
        let (Some(session), Some(live)) = (session.flatten(), live) else { continue };
        if session.alive(tx.now, idle).is_ok() {
            // The idle time was made longer since; the row learns when it is due now.
            leases::touch_session(tx.conn, chain, &session, idle)?;
            continue;
        }
        let reason = if tx.now >= session.ends { "max" } else { "idle" };
        tx.append(&mut held, entry::SessionEnd { by: None, reason: reason.to_owned(), sid: sid.clone() })?;
        let at = held.chain.head.ts;
        requests::end_session(tx, &mut held, session, at)?;
        for mut lease in live {
            let outcome = requests::end_lease(tx, &mut held, &mut lease, State::Expired)?;
            tx.append(&mut held, entry::Expire { lease: lease.id, outcome })?;
            ended += 1;
        }
        tx.keep(held);
        sessions += 1;
    }
    Ok((sessions, ended))
}

/// Sums up the refusals of minutes that are over.
fn summarise(tx: &mut Tx<'_>, limit: u64) -> Result<(), Stop> {
    let sql = "SELECT DISTINCT d.minute, d.chain, c.name FROM denials d JOIN chains c ON c.id = d.chain
               WHERE d.minute < ?1 ORDER BY d.minute";
    let views = &tx.shared.views;
    let minute = Timestamp(tx.now.minute());
    let full: Vec<(u64, ChainId, ChainName)> = over(tx.conn, sql, minute, limit, |row| {
        let name: Option<ChainName> = parsed(row, 2)?;
        let Some(name) = name.filter(|name| !views.is_aside(name)) else { return Ok(None) };
        let read = (|| Ok((row.get(0)?, row.get(1)?)))();
        Ok(unless_forged(views, &name, read)?.map(|(minute, chain)| (minute, chain, name)))
    })?;
    for (minute, chain, name) in full {
        let Some(mut held) = open_chain(tx, &name)? else { continue };
        let counted = unless_forged(&tx.shared.views, &name, counted(tx, minute, chain))?;
        let Some(summary) = counted else { continue };
        if !summary.counts.is_empty() {
            tx.append(&mut held, summary)?;
            tx.keep(held);
        }
        let sql = "DELETE FROM denials WHERE minute = ?1 AND chain = ?2";
        tx.conn.prepare_cached(sql)?.execute(params![minute, chain])?;
    }
    Ok(())
}

/// What the refusals of one agent in one minute come to.
fn counted(tx: &Tx<'_>, minute: u64, chain: ChainId) -> rusqlite::Result<entry::DenySummary> {
    let mut summary = entry::DenySummary { counts: BTreeMap::new(), from: Timestamp(u64::MAX), to: Timestamp::ZERO };
    let sql = "SELECT reason, counted, first, last FROM denials WHERE minute = ?1 AND chain = ?2 AND counted > 0";
    let mut statement = tx.conn.prepare_cached(sql)?;
    let mut rows = statement.query(params![minute, chain])?;
    while let Some(row) = rows.next()? {
        // What goes into an entry is what an entry can say: a reason of ours, and numbers that every reader keeps.
        let number = |column| leases::ours(Some(row.get::<_, u64>(column)?).filter(|number| *number < 1 << 53));
        let reason = leases::ours(row.get_ref(0)?.as_str().ok().and_then(Reason::from_code))?;
        summary.counts.insert(reason.code().to_owned(), number(1)?);
        summary.from = summary.from.min(Timestamp(number(2)?));
        summary.to = summary.to.max(Timestamp(number(3)?));
    }
    Ok(summary)
}

/// Forgets nonces past their window, and raises the floor to the newest of them in the same transaction: whatever
/// becomes of the clock or the skew, none of these requests is taken again. Where the floor has no place, all are kept.
fn forget(tx: &mut Tx<'_>, limit: u64) -> Result<u64, Stop> {
    let Some(mut vault) = open_chain(tx, &ChainName::vault())? else { return Ok(0) };
    let sql = "DELETE FROM nonces WHERE (key, nonce) IN
               (SELECT key, nonce FROM nonces WHERE iat < ?1 ORDER BY iat LIMIT ?2) RETURNING key, iat, recalled";
    let before = tx.now.minus(tx.shared.rules.skew);
    let mut keys: BTreeMap<i64, u64> = BTreeMap::new();
    let (mut forgotten, mut newest) = (0, Timestamp::ZERO);
    {
        let mut statement = tx.conn.prepare_cached(sql)?;
        let mut rows = statement.query(params![before.0, limit])?;
        while let Some(row) = rows.next()? {
            // One that was remembered again is not among those that a key has live.
            *keys.entry(row.get(0)?).or_default() += u64::from(row.get::<_, i64>(2)? == 0);
            // Of before the epoch is none of ours, and raises nothing.
            newest = newest.max(Timestamp(u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0)));
            forgotten += 1;
        }
    }
    for (key, count) in keys {
        let sql = "UPDATE nonces_live SET count = MAX(count - ?2, 0) WHERE key = ?1";
        tx.conn.prepare_cached(sql)?.execute(params![key, count])?;
    }
    let facts = vault.vault()?.clone();
    if newest > facts.floor {
        tx.put_vault(&mut vault, VaultFacts { floor: newest, ..facts })?;
        tx.keep(vault);
    }
    Ok(forgotten)
}

/// Records what happened to the vault itself; with `epochs`, that an audit key of that number signs from here on.
pub(super) fn event(tx: &mut Tx<'_>, event: &Event, epochs: Option<u64>) -> Result<EntryRef, Stop> {
    let mut vault = tx.hold(&ChainName::vault())?;
    let facts = vault.vault()?.clone();
    let body: entry::Body = match event {
        Event::Start { node, opened, version } => {
            entry::Start { node: node.clone(), opened: opened.clone(), version: version.clone() }.into()
        }
        Event::Stop => entry::Stop {}.into(),
        Event::Epoch => entry::Epoch {}.into(),
        Event::Recover { interrupted, quarantined, since } => {
            entry::Recover { interrupted: *interrupted, quarantined: quarantined.clone(), since: *since }.into()
        }
    };
    let entry = match epochs.filter(|epochs| *epochs > facts.epochs) {
        Some(epochs) => {
            let entry = tx.append_deciding(&mut vault, body)?;
            tx.put_vault(&mut vault, VaultFacts { epochs, ..facts })?;
            entry
        }
        None => tx.append(&mut vault, body)?,
    };
    if matches!(event, Event::Start { .. }) {
        restores::begin(tx, &mut vault)?;
    }
    tx.keep(vault);
    Ok(entry)
}

/// Records the limits, where the newest entry of them has others.
pub(super) fn config(tx: &mut Tx<'_>, limits: &BTreeMap<String, u64>) -> Result<Option<EntryRef>, Stop> {
    let mut vault = tx.hold(&ChainName::vault())?;
    let facts = vault.vault()?.clone();
    let newest = facts.config.map(|seq| chains::line_at(tx.conn, vault.chain.id, seq)).transpose()?.flatten();
    let newest = newest.and_then(|line| entry::Entry::read(&line).ok()).map(|entry| entry.body);
    if matches!(&newest, Some(entry::Body::Config(config)) if config.limits == *limits) {
        return Ok(None);
    }
    let entry = tx.append_deciding(&mut vault, entry::Config { limits: limits.clone() })?;
    tx.put_vault(&mut vault, VaultFacts { config: Some(entry.seq), ..facts })?;
    tx.keep(vault);
    Ok(Some(entry))
}

pub(super) fn refused(tx: &mut Tx<'_>, minute: u64, counts: &BTreeMap<String, u64>) -> Result<EntryRef, Stop> {
    let mut vault = tx.hold(&ChainName::vault())?;
    let entry = tx.append(&mut vault, entry::Refused { counts: counts.clone(), minute })?;
    tx.keep(vault);
    Ok(entry)
}
