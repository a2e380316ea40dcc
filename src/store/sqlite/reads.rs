//! Reads on the way of a request: a few rows by their keys, and the chain's row that says whether what is in memory
//! still holds.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::super::{Candidate, Question, Situation};
use super::reader::Instant;
use super::rows::ChainId;
use super::rows::maybe_time;
use super::secrets::{newest_version, secret_place, secret_purpose};
use super::stop::Stop;
use super::tx::{chain_of_key, nonce_bytes};
use super::views::{Held, View};
use super::{Shared, chains, leases, views};
use crate::denial::{Denial, Reason};
use crate::engine::Stored;
use crate::id::{ChainName, Kid, Nonce, SecretName};
use crate::registry::HeldKey;
use crate::statement::register::Holder;
use crate::statement::secret::SecretUse;
use crate::time::Timestamp;

/// The facts behind the chain of this number. Of a chain that is set aside, what verifies: enough to tell its keys from
/// a stranger's, and nothing is decided by it.
fn view_of(at: Instant<'_>, chain: ChainId) -> Result<Option<Arc<View>>, Stop> {
    let Some(name) = chains::name_of(at.conn, chain)? else { return Ok(None) };
    match at.look(&name) {
        Ok(held) => Ok(held.map(|held| Arc::clone(&held.view))),
        Err(Stop::Denied(_)) => match chains::find(at.conn, &at.shared.name, &name)? {
            chains::Found::Row(chain) => Ok(views::read(at.conn, at.shared, &chain)?.0.map(Arc::new)),
            _ => Ok(None),
        },
        Err(stop) => Err(stop),
    }
}

pub(super) fn candidate(at: Instant<'_>, kid: &Kid) -> Result<Candidate, Stop> {
    let key_in = |view: Arc<View>| view.key(kid).map(|(_, key)| key.clone());
    let key = match chain_of_key(at.conn, kid)? {
        Some(chain) => view_of(at, chain)?.and_then(key_in),
        None => {
            // As much is read where nobody has the key, so that a stranger cannot tell by the clock whether somebody does; and
            // read anew, as a chain is that nobody else in this round asks for.
            if let Ok(Some(held)) = at.shared.views.hold(at.conn, at.shared, &ChainName::operators()) {
                let name = chains::name_of(at.conn, held.chain.id)?;
                std::hint::black_box((name, key_in(held.view)));
            }
            None
        }
    };
    let floor = match at.hold(&ChainName::vault()) {
        Ok(vault) => vault.vault()?.floor,
        // Whatever became of `_vault`, an operator is heard: what ends something goes on.
        Err(Stop::Denied(_)) if key.as_ref().is_some_and(is_operators) => Timestamp::ZERO,
        Err(stop) => return Err(stop),
    };
    Ok(Candidate { key, floor })
}

fn is_operators(key: &HeldKey) -> bool {
    matches!(key.holder, Holder::Operator(_))
}

pub(super) fn situation(at: Instant<'_>, kid: &Kid, asked: &Question) -> Result<Situation, Stop> {
    let name = ChainName::from(&asked.agent);
    let stranger = || Denial::new(Reason::Unauthenticated).internal("no such agent");
    let held = at.look(&name)?.ok_or_else(stranger)?;
    let facts = held.agent()?;
    let session = leases::session(at.conn, held.chain.id, &asked.agent, &asked.sid)?;
    let operators = asked.role.as_ref().map(|_| at.hold(&ChainName::operators())).transpose()?;
    let role = match (&operators, &asked.role) {
        (Some(operators), Some(name)) => operators.operators()?.roles.get(name).cloned(),
        _ => None,
    };
    let grant = facts.agent.grants.iter().find(|grant| Some(&grant.role) == asked.role.as_ref());
    Ok(Situation {
        agent: Arc::clone(&facts.agent),
        session,
        role,
        uses: grant.and_then(|grant| facts.uses.get(&grant.seq)).copied().unwrap_or_default(),
        replayed: nonce_known(at, kid, &asked.nonce)?,
        history: held.chain.has(at.conn, asked.seen)?,
        frozen: at.hold(&ChainName::vault())?.vault()?.frozen,
        restored: lost_from(at, &held)?.is_some_and(|from| asked.seen.size > from),
    })
}

/// From which entry on this chain may once have had others, which a restore lost.
fn lost_from(at: Instant<'_>, held: &Held) -> Result<Option<u64>, Stop> {
    if let Some(heard) = held.chain.restored {
        return Ok(Some(heard.lost_from));
    }
    // One that has not heard of a restore has none of what came after the backup.
    let restores = at.hold(&ChainName::vault())?.vault()?.restores();
    Ok((restores > 0).then_some(held.chain.head.size))
}

pub(super) fn nonce_known(at: Instant<'_>, kid: &Kid, nonce: &Nonce) -> Result<bool, Stop> {
    let sql = "SELECT 1 FROM nonces WHERE key = (SELECT id FROM keys WHERE kid = ?1) AND nonce = ?2";
    Ok(at.conn.prepare_cached(sql)?.exists(params![kid.as_str(), nonce_bytes(nonce)])?)
}

pub(super) fn secret_value(
    at: Instant<'_>,
    used: SecretUse,
    name: &SecretName,
    version: Option<u64>,
) -> Result<Option<Stored>, Stop> {
    let version = match version {
        Some(version) => version,
        None => newest_version(at.conn, &*at.hold(&ChainName::operators())?, name)?,
    };
    stored(at.conn, at.shared, used, name, version)
}

/// One version of a secret, if it is for this use.
pub(super) fn stored(
    conn: &Connection,
    shared: &Shared,
    used: SecretUse,
    name: &SecretName,
    version: u64,
) -> Result<Option<Stored>, Stop> {
    let sql = "SELECT sealed, expires FROM secrets WHERE name = ?1 AND version = ?2 AND used = ?3";
    let mut statement = conn.prepare_cached(sql)?;
    // No version is beyond what a column holds, and so no such row is there.
    let Ok(column) = i64::try_from(version) else { return Ok(None) };
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, Vec<u8>>(0)?, maybe_time(row, 1)?));
    let found = statement.query_row(params![name.as_str(), column, used.as_str()], read).optional()?;
    let Some((sealed, expires)) = found else { return Ok(None) };
    let purpose = secret_purpose(used, expires);
    let opened = shared.ring.open(&secret_place(name, version, &purpose), &sealed);
    let value = opened.map_err(|why| Stop::Broken(format!("version {version} of the secret {name}: {why}")))?;
    Ok(Some(Stored { version, expires, value }))
}
