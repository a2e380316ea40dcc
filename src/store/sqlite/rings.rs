//! Rotation of the data keys while the store serves. The command, the new key (the ring is wrapped by a new root key, sealed
//! to the custodians that there are) and the vault's own row, which names the epochs of the ring, are one transaction;
//! everything after it is sealed and covered under the new key. Then the rows of older keys are gone through, a small part
//! at a time: a reader finds them, the writer opens or verifies each under the key it names and covers the very same content
//! anew. What does not verify is left as it is, and so is all of a chain that is set aside. Once no row names an older key
//! it is deleted, and forgotten when the last read that began before is over.
//!
//! | a crash after | leaves |
//! |---|---|
//! | the command | the ring with both keys; rows under both open |
//! | any part | the same, with fewer rows of the old key; the next start goes through all of them once more |
//! | the last part | the same, without a row of the old key; the next start finds that out |
//! | the deletion | the ring without the old key |
//!
//! Which epochs the ring has is for the vault's own row to say, and that is covered by the newest of them: who puts a
//! wrapped key of before back into the database, and rows that he forged under it, has the key ignored and the rows not
//! verify. New rows are of the newest key, so that a pass that has seen every row once has seen all there are.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, params};
use serde_json::json;

use super::super::{Covered, Failure, Pass, RingRows, Rings};
use super::due::{open_chain, unless_forged};
use super::orders::{Effected, Wish, command};
use super::reader::Instant;
use super::rows::{DECIDERS, Decider, Reading, Whose, parsed};
use super::stop::Stop;
use super::tx::Tx;
use super::views::VaultFacts;
use super::writer::Weight;
use super::{OpenFault, Sqlite, custodians, founding, leases, secrets, takebacks, token_keys};
#[cfg(debug_assertions)]
use crate::failpoint::failpoint;
use crate::id::ChainName;
use crate::seal::at_rest::Ring;

/// How many rows one transaction covers anew: some milliseconds.
const PART: usize = 100;
/// How many rows a reader looks at to find them.
const LOOKED_AT: u64 = 4000;
/// How many chains. Each is looked for in several tables.
const CHAINS: u64 = 400;

/// Lets the ring hold those keys alone that the vault's own row names.
///
/// # Errors
/// [`OpenFault::Broken`] where one of them is gone.
pub(super) fn hold_to(ring: &Ring, facts: &VaultFacts) -> Result<(), OpenFault> {
    let named: &[u64] = if facts.ring.is_empty() { &[1] } else { &facts.ring };
    let held = ring.epochs();
    if let Some(gone) = named.iter().find(|epoch| !held.contains(epoch)) {
        return Err(OpenFault::Broken(format!("its data key of epoch {gone} is gone")));
    }
    for epoch in held.into_iter().filter(|epoch| !named.contains(epoch)) {
        tracing::error!(epoch, "a data key was put back that the vault had deleted; it is not used");
        ring.forget(epoch);
    }
    if named.contains(&ring.epoch()) {
        Ok(())
    } else {
        Err(OpenFault::Broken("it has a data key that the vault never made".to_owned()))
    }
}

/// Makes the next data key, by which all is sealed and covered from here on.
pub(super) fn rotate(tx: &mut Tx<'_>, wish: &Wish) -> Effected {
    let before = tx.shared.ring.held();
    let rotated = rotate_in(tx, wish);
    if rotated.is_err() {
        tx.shared.ring.put_back(before);
    }
    rotated
}

fn rotate_in(tx: &mut Tx<'_>, wish: &Wish) -> Effected {
    let facts = tx.hold(&ChainName::vault())?.vault()?.clone();
    let operators = tx.hold(&ChainName::operators())?;
    let custodians = custodians::present(&operators)?;
    let roots = operators.operators()?.custodians.values().map(|kept| kept.custodian.root);
    let (shared, next) = (tx.shared, tx.shared.ring.epoch() + 1);
    let result = json!({ "epoch": next, "root": roots.max().unwrap_or_default() + 1 });
    let (entry, result, _) = command(tx, wish, &result)?;
    let epoch = shared.ring.turn(&*shared.entropy);
    // The root key is in nobody's memory. The one that wraps the new data key is drawn for it, and sealed to whoever could
    // get at the one before.
    let mut operators = tx.hold(&ChainName::operators())?;
    operators.chain.deciding = Some(entry.seq);
    custodians::wrap_anew(tx, &mut operators, &shared.ring, custodians)?;
    tx.keep(operators);
    let mut ring = if facts.ring.is_empty() { vec![1] } else { facts.ring.clone() };
    ring.push(epoch);
    let mut vault = tx.hold(&ChainName::vault())?;
    tx.put_vault(&mut vault, VaultFacts { ring, ..facts })?;
    tx.keep(vault);
    Ok((entry, result))
}

/// Deletes the wrapped key of an epoch that no row names any more. It stays in memory for reads that are under way.
pub(super) fn delete(tx: &mut Tx<'_>, epoch: u64) -> Result<(), Stop> {
    let mut vault = tx.hold(&ChainName::vault())?;
    let facts = vault.vault()?.clone();
    let ring: Vec<u64> = facts.ring.iter().copied().filter(|one| *one != epoch).collect();
    if epoch == tx.shared.ring.epoch() || ring.len() == facts.ring.len() {
        return Ok(());
    }
    tx.conn.execute("DELETE FROM ring WHERE epoch = ?1", [epoch])?;
    tx.shared.ring.retire(epoch);
    tx.put_vault(&mut vault, VaultFacts { ring, ..facts })?;
    tx.keep(vault);
    Ok(())
}

// --- how many rows there are of each epoch

/// Columns of MACs and the tables they are in, besides those of rows that decide.
const COVERED: [&str; 3] = ["chains", "takebacks", "leases"];
/// Columns that are sealed.
const SEALED: [&str; 3] = ["own_keys", "token_keys", "secrets"];

/// Counts the rows of a table by their epochs, in all but leases, of which there may be very many.
pub(super) fn count(at: Instant<'_>) -> Result<RingRows, Stop> {
    let ring = &at.shared.ring;
    let mut counted = RingRows { epoch: ring.epoch(), epochs: ring.epochs(), ..RingRows::default() };
    let covered = COVERED.iter().filter(|table| **table != "leases").copied();
    for table in DECIDERS.iter().map(|decider| decider.table).chain(covered) {
        let mut statement =
            at.conn.prepare_cached(&format!("SELECT substr(mac, 1, 8), COUNT(*) FROM {table} GROUP BY 1"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            *counted.rows.entry(epoch_of(row.get_ref(0)?.as_blob().ok())).or_default() += row.get::<_, u64>(1)?;
        }
    }
    for table in SEALED {
        let mut statement = at.conn.prepare_cached(&format!("SELECT sealed FROM {table}"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let epoch = row.get_ref(0)?.as_blob().ok().and_then(Ring::epoch_of).unwrap_or(0);
            *counted.rows.entry(epoch).or_default() += 1;
        }
    }
    Ok(counted)
}

/// The same of some leases after one. Gives the last that was looked at, if there may be more.
pub(super) fn count_leases(at: Instant<'_>, after: &[u8], counted: &mut RingRows) -> Result<Option<Vec<u8>>, Stop> {
    let sql = "SELECT id, substr(mac, 1, 8) FROM leases WHERE id > ?1 ORDER BY id LIMIT ?2";
    let mut statement = at.conn.prepare_cached(sql)?;
    let mut rows = statement.query(params![after, LOOKED_AT])?;
    let (mut seen, mut last) = (0, Vec::new());
    while let Some(row) = rows.next()? {
        *counted.rows.entry(epoch_of(row.get_ref(1)?.as_blob().ok())).or_default() += 1;
        (seen, last) = (seen + 1, row.get(0)?);
    }
    Ok((seen == LOOKED_AT).then_some(last))
}

fn epoch_of(mac: Option<&[u8]>) -> u64 {
    mac.and_then(|mac| mac.first_chunk()).map_or(0, |epoch| u64::from_be_bytes(*epoch))
}

// --- what is to be covered anew

/// Rows of older epochs, as a reader found them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stale {
    OwnKeys(Vec<String>),
    TokenKeys(Vec<u64>),
    Secrets(Vec<(String, u64)>),
    Takebacks(Vec<i64>),
    Chains(Vec<ChainName>),
    Leases(Vec<Vec<u8>>),
}

impl Stale {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Stale::OwnKeys(rows) => rows.is_empty(),
            Stale::TokenKeys(rows) => rows.is_empty(),
            Stale::Secrets(rows) => rows.is_empty(),
            Stale::Takebacks(rows) => rows.is_empty(),
            Stale::Chains(rows) => rows.is_empty(),
            Stale::Leases(rows) => rows.is_empty(),
        }
    }
}

/// The next rows of older epochs, and where to look on.
pub(super) fn find(at: Instant<'_>, from: &Pass) -> Result<(Stale, Option<Pass>), Stop> {
    let current = at.shared.ring.epoch();
    let (stale, next) = match from {
        Pass::OwnKeys => (Stale::OwnKeys(sealed_before(at.conn, "role", "own_keys", current)?), None),
        Pass::TokenKeys => (Stale::TokenKeys(sealed_before(at.conn, "epoch", "token_keys", current)?), None),
        Pass::Secrets(name, version) => find_secrets(at.conn, (name, *version), current)?,
        Pass::Takebacks => {
            let sql = "SELECT id FROM takebacks WHERE substr(mac, 1, 8) != ?1";
            let mut statement = at.conn.prepare_cached(sql)?;
            let ids = statement.query_map([current.to_be_bytes()], |row| row.get(0))?;
            (Stale::Takebacks(ids.collect::<Result<_, _>>()?), None)
        }
        Pass::Chains(after) => find_chains(at, *after, current)?,
        Pass::Leases(after) => find_leases(at.conn, after, current)?,
    };
    Ok((stale, next.or_else(|| from.following())))
}

/// The keys of a small table's rows that are sealed under another epoch.
fn sealed_before<T: rusqlite::types::FromSql>(
    conn: &Connection,
    key: &str,
    table: &str,
    current: u64,
) -> rusqlite::Result<Vec<T>> {
    let mut statement = conn.prepare_cached(&format!("SELECT {key}, sealed FROM {table}"))?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        if row.get_ref(1)?.as_blob().ok().and_then(Ring::epoch_of).is_some_and(|epoch| epoch != current) {
            found.push(row.get(0)?);
        }
    }
    Ok(found)
}

fn find_secrets(conn: &Connection, after: (&str, u64), current: u64) -> rusqlite::Result<(Stale, Option<Pass>)> {
    let sql =
        "SELECT name, version, sealed FROM secrets WHERE (name, version) > (?1, ?2) ORDER BY name, version LIMIT ?3";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params![after.0, after.1, PART as u64])?;
    let (mut found, mut last) = (Vec::new(), None);
    while let Some(row) = rows.next()? {
        let (name, version): (String, u64) = (row.get(0)?, row.get(1)?);
        if row.get_ref(2)?.as_blob().ok().and_then(Ring::epoch_of).is_some_and(|epoch| epoch != current) {
            found.push((name.clone(), version));
        }
        last = Some(Pass::Secrets(name, version));
    }
    Ok((Stale::Secrets(found), last))
}

/// Chains of which a row is of another epoch, but for those that are set aside.
fn find_chains(at: Instant<'_>, after: i64, current: u64) -> Result<(Stale, Option<Pass>), Stop> {
    let (vault, operators) = (ChainName::vault(), ChainName::operators());
    let stale =
        |table: &str| format!("EXISTS (SELECT 1 FROM {table} t WHERE t.chain = ?1 AND substr(t.mac, 1, 8) != ?2)");
    let mut statement =
        at.conn.prepare_cached("SELECT id, name, substr(mac, 1, 8) FROM chains WHERE id > ?1 ORDER BY id LIMIT ?2")?;
    let mut rows = statement.query(params![after, CHAINS])?;
    let (mut found, mut last) = (Vec::new(), None);
    while let Some(row) = rows.next()? {
        if found.len() >= PART {
            break;
        }
        let (id, name): (i64, Option<ChainName>) = (row.get(0)?, parsed(row, 1)?);
        last = Some(Pass::Chains(id));
        let Some(name) = name.filter(|name| !at.shared.views.is_aside(name)) else { continue };
        let kept_in = |decider: &&Decider| match decider.whose {
            Whose::Vault => name == vault,
            Whose::Operators => name == operators,
            Whose::Agents => name.agent().is_some(),
            Whose::Several => true,
        };
        let mut is_stale = epoch_of(row.get_ref(2)?.as_blob().ok()) != current;
        for decider in DECIDERS.iter().filter(kept_in) {
            if is_stale {
                break;
            }
            let sql = format!("SELECT {}", stale(decider.table));
            let mut one = at.conn.prepare_cached(&sql)?;
            is_stale = one.query_row(params![id, current.to_be_bytes()], |row| row.get(0))?;
        }
        found.extend(is_stale.then_some(name));
    }
    Ok((Stale::Chains(found), last))
}

fn find_leases(conn: &Connection, after: &[u8], current: u64) -> rusqlite::Result<(Stale, Option<Pass>)> {
    let sql = "SELECT id, substr(mac, 1, 8) != ?3 FROM leases WHERE id > ?1 ORDER BY id LIMIT ?2";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params![after, LOOKED_AT, current.to_be_bytes()])?;
    let (mut found, mut last) = (Vec::new(), None);
    while found.len() < PART
        && let Some(row) = rows.next()?
    {
        let id: Vec<u8> = row.get(0)?;
        if row.get(1)? {
            found.push(id.clone());
        }
        last = Some(Pass::Leases(id));
    }
    Ok((Stale::Leases(found), last))
}

// --- covering it anew

/// Covers these rows anew. Gives how many, and a chain of which more is left.
pub(super) fn cover(tx: &mut Tx<'_>, stale: &Stale) -> Result<(u64, bool), Stop> {
    let mut covered = 0;
    match stale {
        Stale::OwnKeys(roles) => {
            for role in roles {
                covered += u64::from(seal_anew(tx, "own_keys", "role", role, &founding::key_place(role))?);
            }
        }
        Stale::TokenKeys(epochs) => {
            for epoch in epochs {
                let place = epoch.to_string();
                covered += u64::from(seal_anew(tx, "token_keys", "epoch", &place, &token_keys::place(&place))?);
            }
        }
        Stale::Secrets(versions) => {
            for (name, version) in versions {
                covered += u64::from(secrets::seal_anew(tx, name, *version)?);
            }
        }
        Stale::Takebacks(ids) => {
            for id in ids {
                covered += u64::from(takebacks::cover_anew(tx, *id)?);
            }
        }
        Stale::Leases(ids) => {
            for id in ids {
                covered += u64::from(lease(tx, id)?);
            }
        }
        Stale::Chains(names) => {
            for name in names {
                let (rows, more) = chain(tx, name, PART.saturating_sub(covered as usize))?;
                covered += rows;
                if more {
                    return Ok((covered, true));
                }
            }
        }
    }
    Ok((covered, false))
}

/// Opens a column at its place and seals it there anew.
fn seal_anew(
    tx: &Tx<'_>,
    table: &str,
    column: &str,
    key: &str,
    place: &crate::crypto::aead::Place<'_>,
) -> Result<bool, Stop> {
    let sql = format!("SELECT sealed FROM {table} WHERE {column} = ?1");
    let sealed: Vec<u8> = tx.conn.prepare_cached(&sql)?.query_row([key], |row| row.get(0))?;
    let Ok(value) = tx.shared.ring.open(place, &sealed) else {
        tracing::error!(table, row = key, "a sealed value does not open and is left as it is");
        return Ok(false);
    };
    let sealed = tx.shared.ring.seal(place, value.expose(), &*tx.shared.entropy);
    let sql = format!("UPDATE {table} SET sealed = ?2 WHERE {column} = ?1");
    tx.conn.prepare_cached(&sql)?.execute(params![key, sealed])?;
    Ok(true)
}

fn lease(tx: &mut Tx<'_>, id: &[u8]) -> Result<bool, Stop> {
    let Some(name) = leases::chain_of(tx.conn, id)? else { return Ok(false) };
    if tx.shared.views.is_aside(&name) {
        return Ok(false);
    }
    let covered = leases::cover_anew(tx.conn, &tx.shared.ring, id);
    Ok(unless_forged(&tx.shared.views, &name, covered)?.unwrap_or(false))
}

/// Covers the deciding rows of a chain anew, and with the last of them its own. Gives how many, and whether some are left.
fn chain(tx: &mut Tx<'_>, name: &ChainName, limit: usize) -> Result<(u64, bool), Stop> {
    if limit == 0 {
        return Ok((0, true));
    }
    // All of its rows verify here, and are those that its own row names; or it is set aside.
    let Some(mut held) = open_chain(tx, name)? else { return Ok((0, false)) };
    let current = tx.shared.ring.epoch();
    let macs = held.view.deciders.iter().chain(held.view.uses.iter());
    let mut stale: Vec<_> =
        macs.filter(|(_, mac)| mac.epoch() != current).map(|(row, mac)| (row.to_owned(), *mac)).collect();
    let more = stale.len() > limit;
    stale.truncate(limit);
    let mut rows = 0;
    for (row, mac) in &stale {
        let one = Reading::one(tx.conn, &tx.shared.ring, (held.chain.id, name), row, mac)?;
        let Some((decider, (table, key), row)) =
            one.and_then(|one| Some((Decider::of(row.split_once('/')?.0)?, row.split_once('/')?, one)))
        else {
            tracing::error!(chain = %name, row, "a deciding row cannot be covered anew and is left as it is");
            continue;
        };
        let mac = row.mac(&tx.shared.ring);
        decider.write(tx.conn, held.chain.id, key, &mac)?;
        let view = Arc::make_mut(&mut held.view);
        let macs = if table == "uses" { &mut view.uses } else { &mut view.deciders };
        macs.put(&row, mac);
        rows += 1;
    }
    rows += u64::from(held.chain.mac.epoch() != current);
    tx.keep(held);
    Ok((rows, more && rows > 0))
}

/// Goes on with a part of a pass; how the caller runs the two halves is its own affair.
pub(super) fn part(covered: (u64, bool), from: &Pass, next: Option<Pass>) -> Covered {
    let (rows, more) = covered;
    Covered { rows, next: if more { Some(from.clone()) } else { next } }
}

#[async_trait]
impl Rings for Sqlite {
    fn epochs(&self) -> Vec<u64> {
        self.shared.ring.epochs()
    }

    /// A reader finds the rows, the writer covers them.
    async fn cover_anew(&self, from: &Pass) -> Result<Covered, Failure> {
        let at = from.clone();
        let (stale, next) = self.read(move |reading| find(reading, &at)).await?;
        if stale.is_empty() {
            return Ok(Covered { rows: 0, next });
        }
        let covered = self.write(Weight::Gives, None, move |tx| cover(tx, &stale)).await?;
        Ok(part(covered, from, next))
    }

    /// Not at one instant: new rows are of the newest key.
    async fn ring_rows(&self) -> Result<RingRows, Failure> {
        let mut counted = self.read(count).await?;
        let mut after = Some(Vec::new());
        while let Some(from) = after {
            let mut part = RingRows::default();
            let counting = move |at: Instant<'_>| Ok((count_leases(at, &from, &mut part)?, part.rows));
            let (next, rows) = self.read(counting).await?;
            for (epoch, rows) in rows {
                *counted.rows.entry(epoch).or_default() += rows;
            }
            after = next;
        }
        Ok(counted)
    }

    /// It is forgotten once the last read that may need it is over.
    async fn delete_epoch(&self, epoch: u64) -> Result<(), Failure> {
        self.write(Weight::Gives, None, move |tx| delete(tx, epoch)).await?;
        // Where a test stops it here, a thread waits that serves no request.
        #[cfg(debug_assertions)]
        let _ = tokio::task::spawn_blocking(|| {
            failpoint!("ring: deleted");
        })
        .await;
        self.readers.over().await;
        let forget = move |tx: &mut Tx<'_>| {
            tx.shared.ring.forget(epoch);
            Ok(())
        };
        self.write(Weight::Gives, None, forget).await
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema::Keys;
    use super::*;
    use crate::entropy::SeededEntropy;
    use crate::seal::custody::RootKey;

    /// A table that a later version brings is gone through too, or this fails.
    #[test]
    fn every_column_that_a_key_covers_is_gone_through() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("vault.db");
        std::fs::write(&file, b"").unwrap();
        let mut conn = super::super::schema::connect(&file, super::super::schema::Access::Write).unwrap();
        let entropy = SeededEntropy::new(1);
        let (ring, root) = (Ring::generate(&entropy), RootKey::generate(&entropy));
        super::super::schema::begin(&mut conn, &Keys { ring: &ring, root: &root, entropy: &entropy }).unwrap();
        let tables = |column: &str| -> Vec<String> {
            let sql = "SELECT m.name FROM sqlite_schema m, pragma_table_info(m.name) c
                       WHERE m.type = 'table' AND c.name = ?1 ORDER BY m.name";
            conn.prepare(sql).unwrap().query_map([column], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        let mut covered: Vec<&str> = DECIDERS.iter().map(|decider| decider.table).chain(COVERED).collect();
        covered.sort_unstable();
        assert_eq!(tables("mac"), covered);
        let mut sealed = SEALED.to_vec();
        // Sealed to a custodian's public key, not by the ring.
        sealed.push("custodians");
        sealed.sort_unstable();
        assert_eq!(tables("sealed"), sealed);
    }
}
