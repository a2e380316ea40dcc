//! Checkpoints: the entries, which chains are due for one, the newest, and what witnesses signed beside it.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::Noted;
use super::chains;
use super::reader::Instant;
use super::rows::{ChainId, parsed};
use super::stop::Stop;
use super::tx::Tx;
use crate::audit;
use crate::audit::certificate::Life;
use crate::audit::chain::CheckpointKey;
use crate::audit::entry::{Body, Checkpoint, Entry};
use crate::denial::{Denial, Reason};
use crate::failpoint::failpoint;
use crate::id::ChainName;
use crate::statement::reply::EntryRef;
use crate::time::Timestamp;

/// The most lines of witnesses that one checkpoint keeps, and the longest of them.
const COSIGNED: usize = 64;
const COSIGNATURE_BYTES: usize = 4096;

/// Chains whose checkpoint is due, without those that are set aside.
pub(super) fn due(at: Instant<'_>, now: Timestamp, limit: u64) -> Result<Vec<ChainName>, Stop> {
    let mut statement = at.conn.prepare_cached("SELECT name FROM chains WHERE due <= ?1 ORDER BY due")?;
    let mut rows = statement.query([i64::try_from(now.0).unwrap_or(i64::MAX)])?;
    let mut due = Vec::new();
    while let Some(row) = rows.next()?
        && (due.len() as u64) < limit
    {
        let name: Option<ChainName> = parsed(row, 0)?;
        due.extend(name.filter(|name| !at.shared.views.is_aside(name)));
    }
    Ok(due)
}

/// When the checkpoint that has been due the longest became or becomes due, without chains that are set aside.
pub(super) fn due_longest(at: Instant<'_>) -> Result<Option<Timestamp>, Stop> {
    let mut statement = at.conn.prepare_cached("SELECT name, due FROM chains WHERE due IS NOT NULL ORDER BY due")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let name: Option<ChainName> = parsed(row, 0)?;
        if name.is_some_and(|name| !at.shared.views.is_aside(&name)) {
            return Ok(Some(Timestamp(row.get(1)?)));
        }
    }
    Ok(None)
}

/// Appends a checkpoint of all that stands in the chain. Note, entry and what the chain's row says of them are one
/// transaction: a crash leaves all of it or nothing.
pub(super) fn append(tx: &mut Tx<'_>, name: &ChainName, key: &CheckpointKey) -> Result<Option<EntryRef>, Stop> {
    let Some(mut held) = tx.look(name)? else { return Ok(None) };
    if held.chain.head.size == 0 || held.chain.noted == held.chain.head.size.checked_sub(1) {
        return Ok(None);
    }
    tx.settle(&mut held)?;
    let ts = tx.stamp(&held)?;
    if !key.life().holds(ts) {
        let Life { nbf, exp } = key.life();
        return Err(Stop::Broken(format!("the checkpoint key is good from {nbf} to {exp}, and the entry is of {ts}")));
    }
    let head = &held.chain.head;
    let note = audit::checkpoint::Checkpoint::of(&head.origin, &head.tree).sign(key.key());
    let tree = head.tree.peaks().to_vec();
    let entry = tx.append(&mut held, Checkpoint { cert: key.cert().clone(), note, tree })?;
    tx.keep(held);
    tx.note(name);
    failpoint!("checkpoint: appended");
    Ok(Some(entry))
}

/// The newest checkpoint of a chain.
pub(super) fn newest(at: Instant<'_>, name: &ChainName) -> Result<Option<Noted>, Stop> {
    let Some(held) = at.look(name)? else { return Ok(None) };
    let Some(seq) = held.chain.noted else { return Ok(None) };
    let Some(Checkpoint { cert, note, .. }) = checkpoint_at(at.conn, held.chain.id, seq)? else {
        return Err(at.shared.views.set_aside(name, "its newest checkpoint is none"));
    };
    let cosigned = cosigned(at.conn, held.chain.id, seq)?.unwrap_or_default();
    Ok(Some(Noted { seq, note, cert, cosigned }))
}

/// Adds lines of witnesses to those that a checkpoint has.
pub(super) fn cosign(tx: &mut Tx<'_>, name: &ChainName, size: u64, lines: &[String]) -> Result<(), Stop> {
    let chain = tx.look(name)?.ok_or(Reason::NotFound)?.chain.id;
    if checkpoint_at(tx.conn, chain, size)?.is_none() {
        return Err(Denial::new(Reason::NotFound)
            .internal(format!("{name} has no checkpoint of the size {size}"))
            .into());
    }
    let mut kept = cosigned(tx.conn, chain, size)?.unwrap_or_default();
    for line in lines {
        if line.len() > COSIGNATURE_BYTES || line.contains('\n') {
            return Err(Stop::Broken("a witness's line is too long, or more than one".to_owned()));
        }
        if !kept.contains(line) {
            kept.push(line.clone());
        }
    }
    if kept.len() > COSIGNED {
        return Err(Stop::Broken(format!("a checkpoint keeps at most {COSIGNED} lines of witnesses")));
    }
    let sql = "INSERT INTO cosigned (chain, size, lines) VALUES (?1, ?2, ?3)
               ON CONFLICT (chain, size) DO UPDATE SET lines = ?3";
    tx.conn.prepare_cached(sql)?.execute(params![chain, size, kept.join("\n")])?;
    tx.note(name);
    Ok(())
}

fn cosigned(conn: &Connection, chain: ChainId, size: u64) -> rusqlite::Result<Option<Vec<String>>> {
    let mut statement = conn.prepare_cached("SELECT lines FROM cosigned WHERE chain = ?1 AND size = ?2")?;
    let text: Option<String> = statement.query_row(params![chain, size], |row| row.get(0)).optional()?;
    Ok(text.map(|text| text.lines().map(str::to_owned).collect()))
}

/// The checkpoint that is the entry `seq`, if it is one.
fn checkpoint_at(conn: &Connection, chain: ChainId, seq: u64) -> rusqlite::Result<Option<Checkpoint>> {
    let line = chains::line_at(conn, chain, seq)?;
    let entry = line.and_then(|line| Entry::read(&line).ok());
    Ok(match entry.map(|entry| entry.body) {
        Some(Body::Checkpoint(checkpoint)) => Some(checkpoint),
        _ => None,
    })
}
