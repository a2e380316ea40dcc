//! Nonces of a false future. What was signed while the clock was ahead comes into its window once more when that time
//! truly comes; by then its nonce was forgotten, and the floor that took its place was put back by the reset. But the
//! trail has kept it: each request that was entered stands in its agent's chain, each command in `_operators`. So after a
//! reset the chains are read once, in parts and in the background, and the nonces that they hold above the new floor
//! are put back among the others, where a replay is found as at any other time.
//!
//! Until a chain was read, what its holders sign in the time in question is refused as stale. The window has to pass once
//! after a reset anyhow, which is time enough for millions of entries.
//!
//! A chain of one false future is read from where that begins, which is found by halving: the `ts` of entries does not
//! fall before the reset. A chain that was reset before is read as a whole. What left no entry is not found again:
//! questions of operators, and refusals that were only counted.

use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Deserialize;
use serde_json::Value;

use super::chains;
use super::due::open_chain;
use super::rows::{ChainId, NextLine, Recall, Reset, parsed};
use super::stop::Stop;
use super::tx::{Tx, nonce_bytes};
use super::views::{Held, VaultFacts};
use crate::denial::{Denial, Reason};
use crate::id::{ChainName, Kid, Nonce};
use crate::time::Timestamp;

/// The most bytes of lines that are held at once, but for one line.
const BYTES: usize = 1 << 20;
/// As late as an entry can be.
const LATEST: Timestamp = Timestamp((1 << 53) - 1);

/// What is to be looked up after a reset that finds these facts.
pub(super) fn after(facts: &VaultFacts, since: Timestamp) -> Recall {
    let before = facts.reset.as_ref().and_then(|reset| reset.recall);
    let forgotten = before.map_or(Timestamp::ZERO, |recall| recall.forgotten).max(facts.floor);
    Recall { forgotten, since, next: Some(NextLine::default()) }
}

/// The same for a reset that was recorded without it.
pub(super) fn of_old() -> Recall {
    Recall { forgotten: LATEST, since: Timestamp::ZERO, next: Some(NextLine::default()) }
}

/// Whether the nonces of this chain's holders are known around this `iat`.
///
/// # Errors
/// [`Reason::Stale`] where they are still looked up.
pub(super) fn ready(tx: &mut Tx<'_>, chain: ChainId, iat: Timestamp) -> Result<(), Stop> {
    let recall = tx.reset()?.and_then(|reset| reset.recall);
    let Some(Recall { forgotten, next: Some(next), .. }) = recall else { return Ok(()) };
    if iat > forgotten || (chain as u64) < next.chain {
        return Ok(());
    }
    let detail = "what was signed before the clock was reset is still looked up; try again in a minute";
    Err(Denial::new(Reason::Stale).at(tx.now).detail(detail).into())
}

/// Reads at most `limit` lines and chains more. Gives how many.
pub(super) fn go_on(tx: &mut Tx<'_>, limit: u64) -> Result<u64, Stop> {
    let Some(mut vault) = open_chain(tx, &ChainName::vault())? else { return Ok(0) };
    let facts = vault.vault()?.clone();
    let Some(reset) = facts.reset.clone() else { return Ok(0) };
    let Some(recall @ Recall { next: Some(mut at), .. }) = reset.recall else { return Ok(0) };
    let mut read = 0;
    let next = loop {
        if read >= limit {
            break Some(at);
        }
        let Some((chain, name)) = chain_from(tx.conn, at.chain)? else { break None };
        if chain != at.chain {
            at = NextLine { chain, seq: 0 };
        }
        // One that is set aside takes no request, and nothing of it would be believed.
        let held = match name.filter(|name| *name != ChainName::vault()) {
            Some(name) => open_chain(tx, &name)?,
            None => None,
        };
        let lines = match held {
            Some(held) => part(tx, &held, (&reset, recall.since), &mut at, limit - read)?,
            None => 0,
        };
        if lines == 0 {
            at = NextLine { chain: chain + 1, seq: 0 };
        }
        read += lines.max(1);
    };
    let reset = Some(Reset { recall: Some(Recall { next, ..recall }), ..reset });
    tx.put_vault(&mut vault, VaultFacts { reset, ..facts })?;
    tx.keep(vault);
    Ok(read)
}

/// The first chain with this number or a higher one.
fn chain_from(conn: &Connection, from: u64) -> rusqlite::Result<Option<(u64, Option<ChainName>)>> {
    let sql = "SELECT id, name FROM chains WHERE id >= ?1 ORDER BY id LIMIT 1";
    conn.prepare_cached(sql)?.query_row([from], |row| Ok((row.get(0)?, parsed(row, 1)?))).optional()
}

/// Reads a part of one chain. Gives how many lines; none where there are no more.
fn part(
    tx: &mut Tx<'_>,
    held: &Held,
    (reset, since): (&Reset, Timestamp),
    at: &mut NextLine,
    limit: u64,
) -> Result<u64, Stop> {
    let chain = &held.chain;
    if at.seq == 0 {
        let settled = chain.resets == reset.number;
        let before = chain.resets - u64::from(settled && chain.resets > 0);
        at.seq = if before > 0 { 0 } else { first_since(tx.conn, held, since)? };
    }
    let floor = tx.floor()?;
    let lines = chains::lines(tx.conn, chain, at.seq, limit, BYTES)?;
    for line in &lines {
        if let Some((kid, nonce, iat)) = asked(line)
            && iat > floor
        {
            let sql = "INSERT OR IGNORE INTO nonces (key, nonce, iat, recalled)
                       SELECT id, ?2, ?3, 1 FROM keys WHERE kid = ?1 AND chain = ?4";
            let values = params![kid.as_str(), nonce_bytes(&nonce), iat.0, chain.id];
            tx.conn.prepare_cached(sql)?.execute(values)?;
        }
    }
    at.seq += lines.len() as u64;
    Ok(lines.len() as u64)
}

/// The first entry of this time or a later one.
fn first_since(conn: &Connection, held: &Held, since: Timestamp) -> rusqlite::Result<u64> {
    #[derive(Deserialize)]
    struct Stamp {
        ts: Timestamp,
    }
    let (mut low, mut high) = (0, held.chain.head.size);
    while low < high {
        let middle = low.midpoint(high);
        let line = chains::line_at(conn, held.chain.id, middle)?;
        let stamp = line.and_then(|line| serde_json::from_slice::<Stamp>(&line).ok());
        // One that cannot be read is for the inspection; here it leads to reading more.
        if stamp.is_some_and(|stamp| stamp.ts < since) { low = middle + 1 } else { high = middle }
    }
    Ok(low)
}

/// The key, nonce and `iat` of the request or command in a line.
fn asked(line: &[u8]) -> Option<(Kid, Nonce, Timestamp)> {
    let line: Value = serde_json::from_slice(line).ok()?;
    let body = line.get("body")?;
    let payload = body.get("request").or_else(|| body.get("command"))?.get("payload")?;
    let text = |member: &str| payload.get(member).and_then(Value::as_str);
    let iat = payload.get("iat").and_then(Value::as_u64)?;
    Some((text("kid")?.parse().ok()?, text("nonce")?.parse().ok()?, Timestamp(iat)))
}
