//! Stored secrets, a row a version. Which version of a secret is the newest decides what is handed out, so that number is
//! a row that decides in `_operators`: who can write the database can take a version away, which is noticed, but cannot
//! put an older one in its place.

use std::sync::Arc;

use rusqlite::{OptionalExtension as _, params};
use serde_json::json;

use super::orders::{Effected, Follow, Wish, command};
use super::reads;
use super::rows;
use super::stop::Stop;
use super::tx::Tx;
use super::views::{Facts, Held};
use crate::crypto::aead::Place;
use crate::denial::{Denial, Reason};
use crate::engine::Stored;
use crate::id::{ChainName, SecretName};
use crate::secret::SecretBytes;
use crate::statement::secret::{SecretPut, SecretRollback, SecretUse};
use crate::time::Timestamp;

/// Where a secret's value is sealed to.
pub(super) fn secret_place<'a>(name: &'a SecretName, version: u64, purpose: &'a str) -> Place<'a> {
    Place { table: "secrets", column: "sealed", row: name.as_str(), purpose, ver: version }
}

/// What a secret's value is sealed for: its use, and when it ends. Neither can be changed in the row.
pub(super) fn secret_purpose(used: SecretUse, expires: Option<Timestamp>) -> String {
    expires.map_or_else(|| used.as_str().to_owned(), |expires| format!("{}@{}", used.as_str(), expires.0))
}

/// The newest version of a stored secret; 0 where there is none. A secret of before the numbers were kept has none until
/// its next version, and is taken to be as new as it looks.
pub(super) fn newest_version(conn: &rusqlite::Connection, operators: &Held, name: &SecretName) -> Result<u64, Stop> {
    if let Some(newest) = operators.operators()?.newest.get(name) {
        return Ok(*newest);
    }
    let sql = "SELECT version FROM secrets WHERE name = ?1 ORDER BY version DESC LIMIT 1";
    Ok(conn.prepare_cached(sql)?.query_row([name.as_str()], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// Whether a version of a secret is for another use. One that somebody took away is for none.
fn is_for_another(tx: &Tx<'_>, name: &SecretName, version: u64, used: SecretUse) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM secrets WHERE name = ?1 AND version = ?2 AND used != ?3";
    tx.conn.prepare_cached(sql)?.exists(params![name.as_str(), version, used.as_str()])
}

/// Stores a new version of a secret.
pub(super) fn put(tx: &mut Tx<'_>, wish: &Wish, put: &SecretPut, value: &SecretBytes) -> Effected {
    let SecretPut { name, expires, used, .. } = put;
    let before = newest_version(tx.conn, &tx.hold(&ChainName::operators())?, name)?;
    if *used == SecretUse::Ca {
        let detail = "an authority is made by `vaultctl ca create` or brought by `vaultctl ca import`";
        return Err(Denial::new(Reason::BadTerms).detail(detail).into());
    }
    if is_for_another(tx, name, before, *used)? {
        return Err(Denial::new(Reason::AlreadyExists).detail("a secret of this name is there for another use").into());
    }
    if expires.is_some() && *used != SecretUse::Kv {
        return Err(Denial::new(Reason::BadTerms).detail("only a value for kv can expire").into());
    }
    if expires.is_some_and(|expires| expires <= tx.now) {
        return Err(Denial::new(Reason::BadTerms).detail("expires has passed already").into());
    }
    let version = before + 1;
    let (entry, result, _) = command(tx, wish, &json!({ "name": name, "version": version }))?;
    add_version(tx, name, version, (*used, *expires), value)?;
    Ok((entry, result))
}

/// Stores the version that follows the one its value was made from, and no other.
pub(super) fn follow(tx: &mut Tx<'_>, wish: &Wish, next: &Follow) -> Effected {
    let Follow { role, name, used, after, value } = next;
    let newest = newest_version(tx.conn, &tx.hold(&ChainName::operators())?, name)?;
    if newest != *after {
        return Err(match after {
            0 => Denial::new(Reason::AlreadyExists).detail("a secret or an authority of this name is there").into(),
            _ => Denial::new(Reason::Busy).detail("another version was stored meanwhile").into(),
        });
    }
    if is_for_another(tx, name, newest, *used)? {
        return Err(Denial::new(Reason::AlreadyExists).detail("a secret of this name is there for another use").into());
    }
    let version = after + 1;
    let mut result = json!({ "name": name, "version": version });
    if let Some(role) = role {
        result["role"] = json!(role);
    }
    let (entry, result, _) = command(tx, wish, &result)?;
    add_version(tx, name, version, (*used, None), value)?;
    Ok((entry, result))
}

/// Stores a version behind the newest, by the command that was recorded last.
pub(super) fn add_version(
    tx: &mut Tx<'_>,
    name: &SecretName,
    version: u64,
    (used, expires): (SecretUse, Option<Timestamp>),
    value: &SecretBytes,
) -> Result<(), Stop> {
    let purpose = secret_purpose(used, expires);
    let sealed = tx.shared.ring.seal(&secret_place(name, version, &purpose), value.expose(), &*tx.shared.entropy);
    // A row beyond the newest can only be a forged one.
    let sql = "INSERT OR REPLACE INTO secrets (name, version, since, bytes, sealed, used, expires)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let (bytes, expires) = (value.expose().len() as u64, expires.map(|at| at.0));
    let row = params![name.as_str(), version, tx.now.0, bytes, sealed, used.as_str(), expires];
    tx.conn.prepare_cached(sql)?.execute(row)?;
    let mut operators = tx.hold(&ChainName::operators())?;
    operators.chain.deciding = operators.chain.head.size.checked_sub(1);
    put_newest(tx, &mut operators, name, version)?;
    tx.keep(operators);
    Ok(())
}

fn put_newest(tx: &mut Tx<'_>, held: &mut Held, name: &SecretName, version: u64) -> Result<(), Stop> {
    let chain = held.chain.id;
    let mac = tx.cover(held, &rows::newest(chain, name, version));
    let sql = "INSERT OR REPLACE INTO newest (name, chain, version, mac) VALUES (?1, ?2, ?3, ?4)";
    tx.conn.prepare_cached(sql)?.execute(params![name.as_str(), chain, version, mac])?;
    if let Facts::Operators(facts) = &mut Arc::make_mut(&mut held.view).facts {
        facts.newest.insert(name.clone(), version);
    }
    Ok(())
}

/// Seals the value of one version anew, if it opens.
pub(super) fn seal_anew(tx: &Tx<'_>, name: &str, version: u64) -> Result<bool, Stop> {
    let sql = "SELECT sealed, used, expires FROM secrets WHERE name = ?1 AND version = ?2";
    let read = |row: &rusqlite::Row<'_>| {
        Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, String>(1)?, row.get::<_, Option<u64>>(2)?))
    };
    let found = tx.conn.prepare_cached(sql)?.query_row(params![name, version], read).optional();
    let opened = match found {
        Ok(None) => return Ok(false),
        Ok(Some((sealed, used, expires))) => {
            let place = name.parse().ok().zip(SecretUse::from_word(&used));
            place.and_then(|(name, used)| {
                let purpose = secret_purpose(used, expires.map(Timestamp));
                let place = secret_place(&name, version, &purpose);
                let value = tx.shared.ring.open(&place, &sealed).ok()?;
                Some(tx.shared.ring.seal(&place, value.expose(), &*tx.shared.entropy))
            })
        }
        Err(error) if rows::is_conversion(&error) => None,
        Err(error) => return Err(error.into()),
    };
    let Some(sealed) = opened else {
        tracing::error!(name, version, "a version of a secret does not open and is left as it is");
        return Ok(false);
    };
    let sql = "UPDATE secrets SET sealed = ?3 WHERE name = ?1 AND version = ?2";
    tx.conn.prepare_cached(sql)?.execute(params![name, version, sealed])?;
    Ok(true)
}

/// Stores an earlier version's value once more. It never leaves the store.
pub(super) fn rollback(tx: &mut Tx<'_>, wish: &Wish, body: &SecretRollback) -> Effected {
    let SecretRollback { name, version: to } = body;
    let operators = tx.hold(&ChainName::operators())?;
    let stored = reads::stored(tx.conn, tx.shared, SecretUse::Kv, name, *to)?;
    let Some(Stored { expires, value, .. }) = stored else {
        return Err(Denial::new(Reason::NotFound).detail("no such version of a secret for kv").into());
    };
    if expires.is_some_and(|expires| expires <= tx.now) {
        return Err(Denial::new(Reason::SecretExpired).limit(0).detail("that version is past its end").into());
    }
    let version = newest_version(tx.conn, &operators, name)? + 1;
    let (entry, result, _) = command(tx, wish, &json!({ "name": name, "to": to, "version": version }))?;
    add_version(tx, name, version, (SecretUse::Kv, expires), &value)?;
    Ok((entry, result))
}
