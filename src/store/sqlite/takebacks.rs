//! Revocation of many leases by one command. The command stands in `_operators` at once; what it takes back is ended in
//! parts, each a transaction of its own, so that requests are not kept waiting behind it. What is left of it is a row, so
//! that a crash in between leaves the rest to the next start. An intent of the scope is such a rest: what it becomes was
//! asked for before the command, and is taken back as soon as it is there. So it is also where the clock was put back
//! since and calls the intent later than the command.

use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params};
use serde::{Deserialize, Serialize};

use super::due::{open_chain, unless_forged};
use super::leases::{self, COLUMNS, TABLES};
use super::rows::{ChainId, Covered, Packed, parsed, time};
use super::stop::Stop;
use super::tx::Tx;
use super::{requests, resets, restores};
use crate::audit::entry::{self, By};
use crate::id::{ChainName, LeaseId};
use crate::lease::State;
use crate::seal::at_rest::Mac;
use crate::statement::lease::Scope;
use crate::time::Timestamp;

/// What one transaction takes back; the rest is left for later ones.
pub(super) const AT_ONCE: u64 = 100;

/// Which leases a command ends.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Reach {
    /// Those of a scope.
    Scope(Scope),
    /// Those that stood in a backup that the vault was restored from, and sessions that were open in it.
    Restored {
        /// The restore.
        restored: u64,
    },
    /// Those that were issued later, and sessions that were opened later: under a clock that was ahead.
    IssuedAfter {
        /// Later than this.
        issued_after: Timestamp,
    },
}

impl From<Scope> for Reach {
    fn from(scope: Scope) -> Reach {
        Reach::Scope(scope)
    }
}

/// What is left of a command.
#[derive(Debug)]
struct Takeback {
    id: i64,
    reach: Reach,
    before: Timestamp,
    by: By,
}

fn covered(scope: &str, before: Timestamp, by: &str) -> Covered {
    let packed = Packed::default().text(scope).number(before.0).text(by);
    Covered::new("takebacks", "", packed)
}

fn text(value: &impl serde::Serialize) -> String {
    String::from_utf8(crate::crypto::json::canonical(value)).expect("canonical JSON is UTF-8")
}

/// What a condition compares with.
type Values = Vec<Box<dyn ToSql>>;

/// The condition of the live leases of a scope that were issued up to `?1`, and what it compares with.
fn condition(conn: &Connection, reach: &Reach) -> Result<(&'static str, Values), Stop> {
    let scope = match reach {
        Reach::Scope(scope) => scope,
        Reach::Restored { .. } => return Ok(("1", Vec::new())),
        Reach::IssuedAfter { issued_after } => return Ok(("l.issued > ?2", vec![Box::new(issued_after.0)])),
    };
    // A chain that somebody deleted has no leases; that must not keep those of others alive.
    let chain = |name: &ChainName| -> Result<Option<ChainId>, Stop> {
        let sql = "SELECT id FROM chains WHERE name = ?1";
        Ok(conn.prepare_cached(sql)?.query_row([name.as_str()], |row| row.get(0)).optional()?)
    };
    Ok(match scope {
        Scope::Lease(id) => ("l.id = ?2", vec![Box::new(id.bytes().to_vec())]),
        Scope::Agent(agent) => ("l.chain = ?2", vec![Box::new(chain(&agent.into())?)]),
        Scope::Session(agent, sid) => {
            ("l.chain = ?2 AND l.sid = ?3", vec![Box::new(chain(&agent.into())?), Box::new(sid.to_string())])
        }
        Scope::Role(role) => ("l.role = ?2", vec![Box::new(role.to_string())]),
        Scope::All => ("1", Vec::new()),
    })
}

/// How many leases a scope has now.
pub(super) fn count(tx: &Tx<'_>, reach: &Reach, before: Timestamp) -> Result<u64, Stop> {
    let (condition, values) = condition(tx.conn, reach)?;
    let sql = format!("SELECT COUNT(*) FROM leases l WHERE l.state = 'live' AND l.issued <= ?1 AND {condition}");
    let mut all: Vec<&dyn ToSql> = vec![&before.0];
    all.extend(values.iter().map(AsRef::as_ref));
    Ok(tx.conn.prepare_cached(&sql)?.query_row(all.as_slice(), |row| row.get(0))?)
}

/// Ends at most `limit` leases of a scope; sessions that go with them count as they do. Gives how many.
pub(super) fn take_back(tx: &mut Tx<'_>, reach: &Reach, before: Timestamp, by: &By, limit: u64) -> Result<u64, Stop> {
    let mut ended = match reach {
        Reach::IssuedAfter { issued_after } => resets::end_sessions(tx, *issued_after, before, by, limit)?,
        Reach::Restored { .. } => restores::end_sessions(tx, before, by, limit)?,
        Reach::Scope(_) => 0,
    };
    let (condition, values) = condition(tx.conn, reach)?;
    let sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE l.state = 'live' AND l.issued <= ?1 AND {condition}");
    let found = {
        let mut all: Vec<&dyn ToSql> = vec![&before.0];
        all.extend(values.iter().map(AsRef::as_ref));
        let mut statement = tx.conn.prepare_cached(&sql)?;
        let mut rows = statement.query(all.as_slice())?;
        let mut found: Vec<(LeaseId, ChainName)> = Vec::new();
        while (found.len() as u64) < limit - ended
            && let Some(row) = rows.next()?
        {
            found.extend(named(tx, row)?);
        }
        found
    };
    for (id, name) in found {
        let Some(mut held) = open_chain(tx, &name)? else { continue };
        let lease = leases::by_id(tx.conn, &tx.shared.ring, &id);
        let Some(mut lease) = unless_forged(&tx.shared.views, &name, lease)?.flatten() else { continue };
        let outcome = requests::end_lease(tx, &mut held, &mut lease, State::Revoked)?;
        tx.append(&mut held, entry::Revoke { by: by.clone(), lease: id, outcome })?;
        tx.keep(held);
        ended += 1;
    }
    Ok(ended)
}

/// Ends what a command reaches: a part of it at once, and the rest of it is left for later, the intents among it.
pub(super) fn carry_out(tx: &mut Tx<'_>, reach: &Reach, before: Timestamp, by: &By) -> Result<(), Stop> {
    if take_back(tx, reach, before, by, AT_ONCE)? >= AT_ONCE || under_way(tx, reach, before)? {
        later(tx, reach, before, by)?;
    }
    // No entry tells of an intent, so that `before` lies behind one that was begun before the clock was put back. Each is
    // a rest by itself: what is asked for after the command is not meant by it, though it may be dated earlier.
    for (id, issued) in intents(tx, reach, before, ">")? {
        later(tx, &Scope::Lease(id).into(), issued, by)?;
    }
    Ok(())
}

/// Whether an intent of a scope may yet become a lease.
fn under_way(tx: &Tx<'_>, reach: &Reach, before: Timestamp) -> Result<bool, Stop> {
    Ok(!intents(tx, reach, before, "<=")?.is_empty())
}

/// The intents of a scope by when they were issued, compared in this way.
fn intents(
    tx: &Tx<'_>,
    reach: &Reach,
    before: Timestamp,
    compared: &'static str,
) -> Result<Vec<(LeaseId, Timestamp)>, Stop> {
    let (condition, values) = condition(tx.conn, reach)?;
    let sql = format!(
        "SELECT l.id, c.name, l.issued FROM leases l INDEXED BY leases_intended JOIN chains c ON c.id = l.chain
         WHERE l.state = 'intended' AND l.issued {compared} ?1 AND {condition}"
    );
    let mut all: Vec<&dyn ToSql> = vec![&before.0];
    all.extend(values.iter().map(AsRef::as_ref));
    let mut statement = tx.conn.prepare_cached(&sql)?;
    let mut rows = statement.query(all.as_slice())?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        if let Some((id, name)) = named(tx, row)? {
            found.extend(unless_forged(&tx.shared.views, &name, time(row, 2))?.map(|issued| (id, issued)));
        }
    }
    Ok(found)
}

/// The lease of a row and its chain, unless that is set aside.
fn named(tx: &Tx<'_>, row: &Row<'_>) -> rusqlite::Result<Option<(LeaseId, ChainName)>> {
    let views = &tx.shared.views;
    let name: Option<ChainName> = parsed(row, 1)?;
    let Some(name) = name.filter(|name| !views.is_aside(name)) else { return Ok(None) };
    Ok(unless_forged(views, &name, leases::lease_id(row, 0))?.map(|id| (id, name)))
}

/// Leaves the rest of a command for later.
pub(super) fn later(tx: &Tx<'_>, reach: &Reach, before: Timestamp, by: &By) -> Result<(), Stop> {
    let (scope, by) = (text(reach), text(by));
    let mac = covered(&scope, before, &by).mac(&tx.shared.ring).to_bytes();
    let sql = "INSERT INTO takebacks (scope, before, by, mac) VALUES (?1, ?2, ?3, ?4)";
    tx.conn.prepare_cached(sql)?.execute(params![scope, before.0, by, mac])?;
    Ok(())
}

/// The oldest command after this one of which something is left; one that is none of ours is dropped.
fn next(tx: &Tx<'_>, after: i64) -> Result<Option<Takeback>, Stop> {
    let sql = "SELECT id, scope, before, by, mac FROM takebacks WHERE id > ?1 ORDER BY id LIMIT 1";
    loop {
        let mut statement = tx.conn.prepare_cached(sql)?;
        let mut rows = statement.query([after])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let id: i64 = row.get(0)?;
        let read: rusqlite::Result<Option<Takeback>> = (|| {
            let (scope, by) = (row.get_ref(1)?.as_str()?, row.get_ref(3)?.as_str()?);
            let before = Timestamp(row.get(2)?);
            let mac = leases::ours(Mac::from_slice(row.get_ref(4)?.as_blob()?))?;
            let ours = covered(scope, before, by).verify(&tx.shared.ring, &mac);
            let values = serde_json::from_str(scope).ok().zip(serde_json::from_str(by).ok()).filter(|_| ours);
            Ok(values.map(|(reach, by)| Takeback { id, reach, before, by }))
        })();
        if let Ok(Some(takeback)) = read {
            return Ok(Some(takeback));
        }
        tracing::error!(id, "a command's rest is a row that is none of ours, and is dropped");
        tx.conn.execute("DELETE FROM takebacks WHERE id = ?1", [id])?;
    }
}

/// Covers what is left of a command anew, if it is ours.
pub(super) fn cover_anew(tx: &Tx<'_>, id: i64) -> Result<bool, Stop> {
    let sql = "SELECT scope, before, by, mac FROM takebacks WHERE id = ?1";
    let read = |row: &Row<'_>| -> rusqlite::Result<Option<Mac>> {
        let (scope, by) = (row.get_ref(0)?.as_str()?, row.get_ref(2)?.as_str()?);
        let covered = covered(scope, Timestamp(row.get(1)?), by);
        let mac = leases::ours(Mac::from_slice(row.get_ref(3)?.as_blob()?))?;
        Ok(covered.verify(&tx.shared.ring, &mac).then(|| covered.mac(&tx.shared.ring)))
    };
    let mac = match tx.conn.prepare_cached(sql)?.query_row([id], read).optional() {
        Err(error) if leases::is_forged(&error) => None,
        mac => mac?.flatten(),
    };
    let Some(mac) = mac else { return Ok(false) };
    tx.conn.prepare_cached("UPDATE takebacks SET mac = ?2 WHERE id = ?1")?.execute(params![id, mac.to_bytes()])?;
    Ok(true)
}

/// Ends a part of what commands have left. Gives how many leases.
pub(super) fn go_on(tx: &mut Tx<'_>, limit: u64) -> Result<u64, Stop> {
    let (mut ended, mut after) = (0, i64::MIN);
    while ended < limit
        && let Some(Takeback { id, reach, before, by }) = next(tx, after)?
    {
        let part = take_back(tx, &reach, before, &by, limit - ended)?;
        if part < limit - ended && !under_way(tx, &reach, before)? {
            tx.conn.prepare_cached("DELETE FROM takebacks WHERE id = ?1")?.execute([id])?;
        }
        (ended, after) = (ended + part, id);
    }
    Ok(ended)
}

/// How many commands have something left to end.
pub(super) fn left(conn: &Connection) -> rusqlite::Result<u64> {
    conn.prepare_cached("SELECT COUNT(*) FROM takebacks")?.query_row([], |row| row.get(0))
}
