//! Sessions and leases: rows that follow from the trail, and are looked for by what runs out next.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::rows::{ChainId, Covered, Packed, digest, json, maybe_time, parsed, time};
use super::views::Views;
use crate::id::{AgentName, ChainName, LeaseId, Sid};
use crate::lease::{Lease, State, Undo};
use crate::registry::Session;
use crate::seal::at_rest::{Mac, Ring};
use crate::statement::reply::Revocation;
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

/// The columns that [`read`] reads, in its order; `l` is the lease and `c` its chain.
pub(super) const COLUMNS: &str = "l.id, c.name, l.sid, l.role, l.seq, l.req, l.handle, l.issued, l.expires, l.latest, \
                                  l.renewable, l.state, l.revocation, l.ended, l.retry, l.tries, l.fault, l.request, \
                                  l.chain, l.mac";

/// The tables that they are of.
pub(super) const TABLES: &str = "leases l JOIN chains c ON c.id = l.chain";

/// The same, by the index of what waits for its backend.
pub(super) const TABLES_UNDO: &str = "leases l INDEXED BY leases_undo JOIN chains c ON c.id = l.chain";

/// What a lease's MAC covers. Who can write the database and has not the root key can so make no lease live longer, end
/// unseen, or wait for its backend for ever.
fn covered(chain: ChainId, lease: &Lease, request: Option<&str>) -> Covered {
    let undo = lease.undo.as_ref();
    let packed = Packed::default()
        .number(chain as u64)
        .text(lease.sid.as_str())
        .text(lease.role.as_str())
        .number(lease.grant)
        .bytes(lease.req.as_bytes())
        .text(&lease.handle)
        .number(lease.issued.0)
        .number(lease.expires.0)
        .number(lease.latest.0)
        .number(lease.renewable.into())
        .text(lease.state.as_str())
        .text(lease.revocation.as_str())
        .maybe(lease.ended.map(|at| at.0))
        .maybe(undo.map(|undo| undo.retry.0))
        .number(undo.map_or(0, |undo| undo.tries))
        .text(undo.and_then(|undo| undo.fault.as_deref()).unwrap_or_default())
        .text(request.unwrap_or_default());
    Covered::new("leases", lease.id.as_str(), packed)
}

/// A lease out of the columns of [`COLUMNS`], as far as they can be read.
fn columns(row: &Row<'_>) -> rusqlite::Result<(Lease, Option<String>, ChainId)> {
    let retry = maybe_time(row, 14)?;
    let (tries, fault) = (row.get(15)?, row.get(16)?);
    let lease = Lease {
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
        revocation: ours(Revocation::from_word(row.get_ref(12)?.as_str()?))?,
        ended: maybe_time(row, 13)?,
        undo: retry.map(|retry| Undo { retry, tries, fault }),
    };
    Ok((lease, row.get(17)?, row.get(18)?))
}

/// A lease, and of an intent its request, out of the columns of [`COLUMNS`], if the row is ours.
fn read_with(row: &Row<'_>, ring: &Ring) -> rusqlite::Result<(Lease, Option<String>)> {
    let (lease, request, chain) = columns(row)?;
    let mac = ours(Mac::from_slice(row.get_ref(19)?.as_blob()?))?;
    ours(covered(chain, &lease, request.as_deref()).verify(ring, &mac).then_some((lease, request)))
}

/// A lease out of the columns of [`COLUMNS`], if the row is ours.
pub(super) fn read(row: &Row<'_>, ring: &Ring) -> rusqlite::Result<Lease> {
    read_with(row, ring).map(|(lease, _)| lease)
}

/// What was read of a row; nothing where none of ours could be it, and then its chain is set aside.
pub(super) fn or_aside<T>(views: &Views, row: &Row<'_>, read: rusqlite::Result<T>) -> rusqlite::Result<Option<T>> {
    match read {
        Err(error) if is_forged(&error) => {
            if let Some(name) = parsed::<ChainName>(row, 1)? {
                views.set_aside(&name, "a row of one of its leases is none of ours");
            }
            Ok(None)
        }
        read => read.map(Some),
    }
}

/// A lease's identifier as it is stored.
pub(super) fn lease_id(row: &Row<'_>, column: usize) -> rusqlite::Result<LeaseId> {
    ours(LeaseId::from_bytes(row.get(column)?))
}

/// The lease of this identifier.
pub(super) fn by_id(conn: &Connection, ring: &Ring, id: &LeaseId) -> rusqlite::Result<Option<Lease>> {
    let sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE l.id = ?1");
    conn.prepare_cached(&sql)?.query_row([id.bytes()], |row| read(row, ring)).optional()
}

/// The intent of this identifier, with its request.
pub(super) fn intent(conn: &Connection, ring: &Ring, id: &LeaseId) -> rusqlite::Result<Option<(Lease, String)>> {
    let sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE l.id = ?1 AND l.state = 'intended'");
    let found = conn.prepare_cached(&sql)?.query_row([id.bytes()], |row| read_with(row, ring)).optional()?;
    found.map(|(lease, request)| Ok((lease, ours(request)?))).transpose()
}

/// The lease that answers this request.
pub(super) fn by_req(
    conn: &Connection,
    ring: &Ring,
    req: &crate::crypto::hash::Digest,
) -> rusqlite::Result<Option<Lease>> {
    let sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE l.req = ?1");
    conn.prepare_cached(&sql)?.query_row([req.as_bytes()], |row| read(row, ring)).optional()
}

/// Writes a lease that is new; of an intent with its request. One that answers the same request is a constraint's
/// violation.
pub(super) fn add(
    conn: &Connection,
    ring: &Ring,
    chain: ChainId,
    lease: &Lease,
    request: Option<&str>,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO leases (id, chain, sid, role, seq, req, handle, issued, expires, latest, renewable, state,
               revocation, ended, retry, tries, fault, request, mac)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)";
    let undo = lease.undo.as_ref();
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
        lease.revocation.as_str(),
        lease.ended.map(|at| at.0),
        undo.map(|undo| undo.retry.0),
        undo.map_or(0, |undo| undo.tries),
        undo.and_then(|undo| undo.fault.as_deref()),
        request,
        covered(chain, lease, request).mac(ring).to_bytes(),
    ])?;
    Ok(())
}

/// Writes what may change of a lease. It is no intent any more.
pub(super) fn write(conn: &Connection, ring: &Ring, chain: ChainId, lease: &Lease) -> rusqlite::Result<()> {
    let sql = "UPDATE leases SET expires = ?2, latest = ?3, state = ?4, ended = ?5, retry = ?6, tries = ?7, fault = ?8,
               request = NULL, mac = ?9 WHERE id = ?1";
    let undo = lease.undo.as_ref();
    conn.prepare_cached(sql)?.execute(params![
        lease.id.bytes(),
        lease.expires.0,
        lease.latest.0,
        lease.state.as_str(),
        lease.ended.map(|at| at.0),
        undo.map(|undo| undo.retry.0),
        undo.map_or(0, |undo| undo.tries),
        undo.and_then(|undo| undo.fault.as_deref()),
        covered(chain, lease, None).mac(ring).to_bytes(),
    ])?;
    Ok(())
}

/// Covers the rows that were written before leases had MACs. None of those lived at a backend; what says so is a record
/// with more in it than its table had, and stays uncovered.
pub(super) fn cover_all(conn: &Connection, ring: &Ring) -> rusqlite::Result<()> {
    let sql = format!(
        "SELECT {COLUMNS} FROM {TABLES} WHERE l.mac = x'' AND l.revocation = 'none' AND l.ended IS NULL
         AND l.retry IS NULL AND l.tries = 0 AND l.fault IS NULL AND l.request IS NULL"
    );
    let mut statement = conn.prepare(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (lease, request, chain) = columns(row)?;
        let mac = covered(chain, &lease, request.as_deref()).mac(ring).to_bytes();
        conn.execute("UPDATE leases SET mac = ?2 WHERE id = ?1", params![lease.id.bytes(), mac])?;
    }
    Ok(())
}

/// The chain of a lease, if both are there and it has a name.
pub(super) fn chain_of(conn: &Connection, id: &[u8]) -> rusqlite::Result<Option<ChainName>> {
    let sql = "SELECT c.name FROM leases l JOIN chains c ON c.id = l.chain WHERE l.id = ?1";
    Ok(conn.prepare_cached(sql)?.query_row([id], |row| parsed(row, 0)).optional()?.flatten())
}

/// Covers a lease anew under the newest key. A row that does not verify under the key it names is none of ours, and is
/// left as it is.
pub(super) fn cover_anew(conn: &Connection, ring: &Ring, id: &[u8]) -> rusqlite::Result<bool> {
    let sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE l.id = ?1");
    let read = |row: &Row<'_>| {
        let (lease, request) = read_with(row, ring)?;
        Ok(covered(row.get(18)?, &lease, request.as_deref()).mac(ring))
    };
    let Some(mac) = conn.prepare_cached(&sql)?.query_row([id], read).optional()? else { return Ok(false) };
    conn.prepare_cached("UPDATE leases SET mac = ?2 WHERE id = ?1")?.execute(params![id, mac.to_bytes()])?;
    Ok(true)
}

/// The live leases of a session.
pub(super) fn live_of_session(
    conn: &Connection,
    ring: &Ring,
    chain: ChainId,
    sid: &Sid,
) -> rusqlite::Result<Vec<Lease>> {
    let sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE l.chain = ?1 AND l.sid = ?2 AND l.state = 'live'");
    conn.prepare_cached(&sql)?.query_map(params![chain, sid.as_str()], |row| read(row, ring))?.collect()
}

/// The live leases of an agent under one grant.
pub(super) fn live_of_grant(
    conn: &Connection,
    ring: &Ring,
    chain: ChainId,
    grant: u64,
) -> rusqlite::Result<Vec<Lease>> {
    let sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE l.chain = ?1 AND l.state = 'live' AND l.seq = ?2");
    conn.prepare_cached(&sql)?.query_map(params![chain, grant], |row| read(row, ring))?.collect()
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
