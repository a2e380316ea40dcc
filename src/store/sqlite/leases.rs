//! Sessions and leases: rows that follow from the trail, and are looked for by what runs out next.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::rows::{ChainId, digest, json, maybe_time, parsed, time};
use crate::id::{AgentName, LeaseId, Sid};
use crate::lease::{Lease, State};
use crate::registry::Session;
use crate::time::{Seconds, Timestamp};

const NOT_OURS: &str = "a row of a session or lease that none of ours could be";

/// A value that a row of ours must have.
pub(super) fn ours<T>(value: Option<T>) -> rusqlite::Result<T> {
    value.ok_or_else(|| rusqlite::Error::ToSqlConversionFailure(NOT_OURS.into()))
}

/// The row is none of ours: a value in it has a type, a range or a form that ours never have.
pub(super) fn is_forged(error: &rusqlite::Error) -> bool {
    super::rows::is_conversion(error) || matches!(error, rusqlite::Error::ToSqlConversionFailure(_))
}

/// A session of the agent with this chain.
pub(super) fn session(
    conn: &Connection,
    chain: ChainId,
    agent: &AgentName,
    sid: &Sid,
) -> rusqlite::Result<Option<Session>> {
    let sql = "SELECT seal, opened, used, ends, ended FROM sessions WHERE chain = ?1 AND sid = ?2";
    let read = |row: &Row<'_>| {
        Ok(Session {
            agent: agent.clone(),
            sid: sid.clone(),
            seal: ours(json(row, 0)?)?,
            opened: time(row, 1)?,
            used: time(row, 2)?,
            ends: time(row, 3)?,
            ended: maybe_time(row, 4)?,
        })
    };
    conn.prepare_cached(sql)?.query_row(params![chain, sid.as_str()], read).optional()
}

fn due(session: &Session, idle: Seconds) -> u64 {
    session.ends.min(session.used.plus(idle)).0.min(i64::MAX as u64)
}

/// Writes a session that is new.
pub(super) fn add_session(conn: &Connection, chain: ChainId, session: &Session, idle: Seconds) -> rusqlite::Result<()> {
    let sql = "INSERT INTO sessions (chain, sid, seal, opened, used, ends, due, ended)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL)";
    let seal = String::from_utf8(crate::crypto::json::canonical(&session.seal)).expect("canonical JSON is UTF-8");
    conn.prepare_cached(sql)?.execute(params![
        chain,
        session.sid.as_str(),
        seal,
        session.opened.0,
        session.used.0,
        session.ends.0,
        due(session, idle),
    ])?;
    Ok(())
}

/// Writes when a session was used and whether it ended.
pub(super) fn touch_session(
    conn: &Connection,
    chain: ChainId,
    session: &Session,
    idle: Seconds,
) -> rusqlite::Result<()> {
    let sql = "UPDATE sessions SET used = ?3, due = ?4, ended = ?5 WHERE chain = ?1 AND sid = ?2";
    let ended = session.ended.map(|at| at.0);
    let (sid, used) = (session.sid.as_str(), session.used.0);
    conn.prepare_cached(sql)?.execute(params![chain, sid, used, due(session, idle), ended])?;
    Ok(())
}

/// The columns that [`read`] reads, in its order.
pub(super) const LEASE: &str = "l.id, c.name, l.sid, l.role, l.seq, l.req, l.handle, l.issued, l.expires, l.latest, \
                                l.renewable, l.state FROM leases l JOIN chains c ON c.id = l.chain";

/// A lease out of the columns of [`LEASE`].
pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Lease> {
    Ok(Lease {
        id: lease_id(row, 0)?,
        agent: ours(parsed(row, 1)?)?,
        sid: ours(parsed(row, 2)?)?,
        role: ours(parsed(row, 3)?)?,
        grant: row.get(4)?,
        req: digest(row, 5)?,
        handle: row.get(6)?,
        issued: time(row, 7)?,
        expires: time(row, 8)?,
        latest: time(row, 9)?,
        renewable: row.get(10)?,
        state: ours(State::from_word(row.get_ref(11)?.as_str()?))?,
    })
}

/// A lease's identifier as it is stored.
pub(super) fn lease_id(row: &Row<'_>, column: usize) -> rusqlite::Result<LeaseId> {
    let bytes: [u8; 16] = row.get(column)?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
    ours(text.parse().ok())
}

fn one(conn: &Connection, condition: &str, value: &[u8]) -> rusqlite::Result<Option<Lease>> {
    conn.prepare_cached(&format!("SELECT {LEASE} WHERE {condition}"))?.query_row([value], read).optional()
}

/// The lease of this identifier.
pub(super) fn by_id(conn: &Connection, id: &LeaseId) -> rusqlite::Result<Option<Lease>> {
    one(conn, "l.id = ?1", &id.bytes())
}

/// The lease that answers this request.
pub(super) fn by_req(conn: &Connection, req: &crate::crypto::hash::Digest) -> rusqlite::Result<Option<Lease>> {
    one(conn, "l.req = ?1", req.as_bytes())
}

/// Writes a lease that is new. One that answers the same request is a constraint's violation.
pub(super) fn add(conn: &Connection, chain: ChainId, lease: &Lease) -> rusqlite::Result<()> {
    let sql = "INSERT INTO leases
               (id, chain, sid, role, seq, req, handle, issued, expires, latest, renewable, state)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    conn.prepare_cached(sql)?.execute(params![
        lease.id.bytes(),
        chain,
        lease.sid.as_str(),
        lease.role.as_str(),
        lease.grant,
        lease.req.as_bytes(),
        lease.handle,
        lease.issued.0,
        lease.expires.0,
        lease.latest.0,
        lease.renewable,
        lease.state.as_str(),
    ])?;
    Ok(())
}

/// Writes where a lease stands and when it dies.
pub(super) fn update(conn: &Connection, id: &LeaseId, state: State, expires: Timestamp) -> rusqlite::Result<()> {
    let sql = "UPDATE leases SET state = ?2, expires = ?3 WHERE id = ?1";
    conn.prepare_cached(sql)?.execute(params![id.bytes(), state.as_str(), expires.0])?;
    Ok(())
}

/// The live leases of a session.
pub(super) fn live_of_session(conn: &Connection, chain: ChainId, sid: &Sid) -> rusqlite::Result<Vec<Lease>> {
    let sql = format!("SELECT {LEASE} WHERE l.chain = ?1 AND l.sid = ?2 AND l.state = 'live'");
    conn.prepare_cached(&sql)?.query_map(params![chain, sid.as_str()], read)?.collect()
}

/// The live leases of an agent under one grant.
pub(super) fn live_of_grant(conn: &Connection, chain: ChainId, grant: u64) -> rusqlite::Result<Vec<Lease>> {
    let sql = format!("SELECT {LEASE} WHERE l.chain = ?1 AND l.state = 'live' AND l.seq = ?2");
    conn.prepare_cached(&sql)?.query_map(params![chain, grant], read)?.collect()
}

/// What is over at `now`, oldest first: at most `limit` rows of chains that `open` lets through.
pub(super) fn over<T>(
    conn: &Connection,
    sql: &str,
    now: Timestamp,
    limit: u64,
    mut read: impl FnMut(&Row<'_>) -> rusqlite::Result<Option<T>>,
) -> rusqlite::Result<Vec<T>> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query([now.0])?;
    let mut found = Vec::new();
    while (found.len() as u64) < limit
        && let Some(row) = rows.next()?
    {
        found.extend(read(row)?);
    }
    Ok(found)
}
