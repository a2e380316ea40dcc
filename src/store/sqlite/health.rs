//! How the store is: its files as they lie there, and a few figures found by the chains' own rows.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rusqlite::OptionalExtension as _;
use serde_json::Value;

use super::super::Health;
use super::chains;
use super::files::RESERVE;
use super::reader::Instant;
use super::rows::parsed;
use super::schema::VERSION;
use super::stop::Stop;
use crate::audit::entry::{Body, Entry};
use crate::id::{ChainName, OperatorName};
use crate::statement::Body as _;
use crate::statement::backup::Backup;
use crate::time::Timestamp;

/// How far back backups and operators made by custody are looked for, in entries; and how many entries and bytes at once.
const BACK: u64 = 32_768;
const ENTRIES: u64 = 4096;
const BYTES: usize = 1 << 20;

pub(super) fn health(at: Instant<'_>) -> Result<Health, Stop> {
    let mut health = Health { schema: VERSION as u64, full: at.shared.condition.full(), ..Health::default() };
    let newest = "SELECT COALESCE(MAX(ts), 0) FROM chains";
    health.newest = Timestamp(at.conn.prepare_cached(newest)?.query_row([], |row| row.get(0))?);
    health.most_leases = most(at, "SELECT name, leases FROM chains ORDER BY leases DESC, name LIMIT 1")?;
    health.most_sessions = most(at, "SELECT name, sessions FROM chains ORDER BY sessions DESC, name LIMIT 1")?;
    if let Ok(Some(operators)) = at.look(&ChainName::operators()) {
        let custodians = operators.operators()?.custodians.values();
        health.custodians = custodians
            .map(|kept| {
                let kind = serde_json::to_value(&kept.custodian.who.kind).unwrap_or_default();
                let word = kind.as_str().or_else(|| kind.get("name")?.as_str()).map(str::to_owned);
                let first = || kind.as_object().and_then(|kind| kind.keys().next().cloned());
                (kept.custodian.who.name.clone(), word.or_else(first).unwrap_or_default())
            })
            .collect();
        look_back(at, &operators.chain, &mut health)?;
    }
    if let Some(database) = at.conn.path() {
        files(Path::new(database), &mut health);
    }
    Ok(health)
}

fn most(at: Instant<'_>, sql: &str) -> Result<Option<(ChainName, u64)>, Stop> {
    let mut statement = at.conn.prepare_cached(sql)?;
    let found = statement.query_row([], |row| Ok((parsed(row, 0)?, row.get(1)?))).optional()?;
    Ok(found.and_then(|(name, count): (Option<ChainName>, u64)| Some((name?, count))).filter(|(_, count)| *count > 0))
}

/// What the newest entries of `_operators` tell.
fn look_back(at: Instant<'_>, chain: &chains::Chain, health: &mut Health) -> Result<(), Stop> {
    let mut from = chain.head.size.saturating_sub(BACK);
    let whole = from == 0;
    while from < chain.head.size {
        let lines = chains::lines(at.conn, chain, from, ENTRIES, BYTES)?;
        if lines.is_empty() {
            break;
        }
        if !whole && health.looked_back_to.is_none() {
            health.looked_back_to = lines.first().and_then(|line| Some(Entry::read(line).ok()?.ts));
        }
        from += lines.len() as u64;
        for line in &lines {
            health.backup = backed_up(line).or(health.backup);
            if let Some(made) = made_by_custody(line) {
                health.by_custody.push(made);
            }
        }
    }
    Ok(())
}

/// Whom custody made an operator in this entry, and when.
fn made_by_custody(line: &[u8]) -> Option<(OperatorName, Timestamp)> {
    let kind = b"custody_operator";
    line.windows(kind.len()).any(|part| part == kind).then_some(())?;
    let Entry { body: Body::CustodyOperator(said), ts, .. } = Entry::read(line).ok()? else { return None };
    let name = said.register.payload.get("operator")?.as_str()?;
    Some((name.parse().ok()?, ts))
}

/// When this entry was written, if it is a backup that was not refused.
fn backed_up(line: &[u8]) -> Option<Timestamp> {
    let typ = Backup::TYP.as_bytes();
    // Few are; the others need not be read.
    line.windows(typ.len()).any(|part| part == typ).then_some(())?;
    let entry: Value = serde_json::from_slice(line).ok()?;
    let body = entry.get("body")?;
    let made = body.get("result")?.get("backup").is_some();
    made.then(|| entry.get("ts")?.as_u64().map(Timestamp)).flatten()
}

fn files(database: &Path, health: &mut Health) {
    let Some(folder) = database.parent() else { return };
    health.free = rustix::fs::statvfs(folder).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    health.reserve = folder.join("reserve").metadata().is_ok_and(|file| file.len() == RESERVE);
    let names = ["", "vault.db", "vault.db-wal", "vault.db-shm", "lock", "reserve"];
    for name in names {
        let path = if name.is_empty() { folder.to_owned() } else { folder.join(name) };
        let Ok(file) = path.symlink_metadata() else { continue };
        if file.mode() & 0o077 != 0 {
            health.open.push((path.display().to_string(), file.mode() & 0o7777));
        }
        match name {
            "vault.db" => health.database = file.len(),
            "vault.db-wal" => health.log = file.len(),
            _ => {}
        }
    }
}
