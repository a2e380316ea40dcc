//! What is still to be undone at backends: leases that are over and whose credential may live on where it was made. A
//! role's are found by an index on when they are due, so that one backend that is down holds up no other.

use rusqlite::{OptionalExtension as _, params};

use super::super::{Backlog, Sweep};
use super::leases::{self, COLUMNS, TABLES};
use super::reader::Instant;
use super::stop::Stop;
use super::tx::Tx;
use crate::audit::entry;
use crate::denial::Reason;
use crate::engine::Undone;
use crate::id::{ChainName, LeaseId, RoleName};
use crate::lease::{Lease, State, Undo};
use crate::statement::reply::EntryRef;
use crate::time::{Seconds, Timestamp};

/// The condition of a lease that is over and not undone; the index of it is `leases_undo`.
const WAITS: &str = "retry IS NOT NULL AND state != 'intended'";

/// No try is put off for so long: the longest wait that can be configured is an hour.
const FAR: Seconds = Seconds(86_400);

/// The roles with something to undo, and when the next of it is due: one step down the index a role, however much
/// waits, since every request that ends something asks.
pub(super) fn backlog(at: Instant<'_>) -> Result<Vec<Backlog>, Stop> {
    let next = format!("SELECT role, retry FROM leases WHERE {WAITS} AND role > ?1 ORDER BY role, retry LIMIT 1");
    let (mut found, mut after) = (Vec::new(), String::new());
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?));
    while let Some((role, retry)) = at.conn.prepare_cached(&next)?.query_row([&after], read).optional()? {
        // A role's name that none of ours has is of a row that none of ours wrote; what reads the row finds it out.
        if let Ok(role) = role.parse() {
            let retry = Timestamp(u64::try_from(retry).unwrap_or(0));
            let now = at.shared.clock.now();
            found.push(Backlog { role, retry: if retry > now.plus(FAR) { now } else { retry } });
        }
        after = role;
    }
    Ok(found)
}

/// What of a role is to be tried at `now`, longest due first. What belongs to a chain that is set aside could not be
/// recorded and would be tried without end: the sweep takes it away.
///
/// What says that it is to be tried after more than [`FAR`] was put off by a clock that was ahead, and is due too.
pub(super) fn to_undo(at: Instant<'_>, role: &RoleName, now: Timestamp, limit: u64) -> Result<Vec<Lease>, Stop> {
    let due = due_between(at, role, (Timestamp::ZERO, now), limit)?;
    if due.is_empty() { due_between(at, role, (now.plus(FAR), Timestamp(i64::MAX as u64)), limit) } else { Ok(due) }
}

fn due_between(
    at: Instant<'_>,
    role: &RoleName,
    (from, to): (Timestamp, Timestamp),
    limit: u64,
) -> Result<Vec<Lease>, Stop> {
    let sql = format!(
        "SELECT {COLUMNS} FROM {TABLES} WHERE l.role = ?1 AND l.retry BETWEEN ?2 AND ?3 AND l.retry IS NOT NULL
         AND l.state != 'intended' ORDER BY l.retry"
    );
    let mut statement = at.conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params![role.as_str(), from.0, to.0])?;
    let (views, mut found) = (&at.shared.views, Vec::new());
    while (found.len() as u64) < limit
        && let Some(row) = rows.next()?
    {
        let lease = leases::or_aside(views, row, leases::read(row, &at.shared.ring))?;
        found.extend(lease.filter(|lease| !views.is_aside(&ChainName::from(&lease.agent))));
    }
    Ok(found)
}

/// The lease, if something of it is still to be undone.
fn waiting(tx: &Tx<'_>, id: &LeaseId) -> Result<Option<(Lease, Undo)>, Stop> {
    let lease = leases::by_id(tx.conn, &tx.shared.ring, id)?.filter(|lease| lease.state.ended());
    Ok(lease.and_then(|lease| lease.undo.clone().map(|undo| (lease, undo))))
}

/// Records that a credential is gone from its backend. Gives nothing where that stands already.
pub(super) fn undone(tx: &mut Tx<'_>, id: &LeaseId, outcome: Undone) -> Result<Option<EntryRef>, Stop> {
    let Some((mut lease, undo)) = waiting(tx, id)? else { return Ok(None) };
    let mut held = tx.hold(&ChainName::from(&lease.agent))?;
    lease.undo = None;
    leases::write(tx.conn, &tx.shared.ring, held.chain.id, &lease)?;
    let body = entry::Undone { lease: lease.id, outcome: outcome.as_str().to_owned(), tries: undo.tries };
    let entry = tx.append(&mut held, body)?;
    tx.keep(held);
    Ok(Some(entry))
}

/// Records that it could not be undone now, and when it is tried next.
pub(super) fn not_undone(tx: &mut Tx<'_>, id: &LeaseId, fault: &str, retry: Timestamp) -> Result<(), Stop> {
    let Some((mut lease, undo)) = waiting(tx, id)? else { return Ok(()) };
    let held = tx.hold(&ChainName::from(&lease.agent))?;
    lease.undo = Some(Undo { retry, tries: undo.tries.saturating_add(1), fault: Some(fault.to_owned()) });
    leases::write(tx.conn, &tx.shared.ring, held.chain.id, &lease)?;
    Ok(())
}

/// For how long a lease that should have ended is still taken to answer for its credential: it is about to end.
const LATE: Seconds = Seconds(300);

/// Whether a lease answers for its credential: it lives, is about to, or is being undone. One whose row is none of ours
/// answers for nothing, and one whose chain is set aside only as long as it would live: nobody ends it any more.
pub(super) fn answered_for(at: Instant<'_>, id: &LeaseId, now: Timestamp) -> Result<bool, Stop> {
    let lease = match leases::by_id(at.conn, &at.shared.ring, id) {
        Err(error) if leases::is_forged(&error) => return Ok(false),
        found => found?,
    };
    Ok(lease.is_some_and(|lease| {
        let aside = at.shared.views.is_aside(&ChainName::from(&lease.agent));
        match lease.state {
            State::Intended => !aside || lease.undo.is_some_and(|undo| now < undo.retry.plus(LATE)),
            State::Live => now < lease.expires.plus(LATE),
            _ => lease.undo.is_some() && !aside,
        }
    }))
}

/// Records that a credential was found at a backend that no lease answers for, and was taken away.
pub(super) fn swept(tx: &mut Tx<'_>, sweep: &Sweep) -> Result<EntryRef, Stop> {
    let mut vault = tx.hold(&ChainName::vault())?;
    let Sweep { role, handle, outcome } = sweep.clone();
    let entry = tx.append(&mut vault, entry::Swept { handle, outcome: outcome.as_str().to_owned(), role })?;
    tx.keep(vault);
    Ok(entry)
}

/// Lets the lease go that an operator gives up on.
pub(super) fn forget(tx: &mut Tx<'_>, id: &LeaseId) -> Result<Lease, Stop> {
    let Some((mut lease, _)) = waiting(tx, id)? else { return Err(Reason::NothingToUndo.into()) };
    let held = tx.hold(&ChainName::from(&lease.agent))?;
    lease.undo = None;
    leases::write(tx.conn, &tx.shared.ring, held.chain.id, &lease)?;
    Ok(lease)
}
