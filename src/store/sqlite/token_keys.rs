//! Keys for tokens after the first, which is kept with the vault's other keys. When a key begins to sign, and until when
//! those before it are published, decides what verifiers take, so the rows are among those that decide in `_operators`:
//! who can write the database can neither take a key away and bring an older one back, nor add one.

use std::sync::Arc;

use rusqlite::{OptionalExtension as _, params};
use serde_json::json;

use super::super::{KeptKey, TokenKey};
use super::Shared;
use super::founding::text_of;
use super::orders::{Effected, Wish, command};
use super::reader::Instant;
use super::rows::{self, TokenKeyFacts};
use super::stop::Stop;
use super::tx::Tx;
use super::views::{Facts, Held};
use crate::crypto::aead::Place;
use crate::crypto::envelope::Embedded;
use crate::crypto::signature::SigningKey;
use crate::denial::{Denial, Reason};
use crate::id::ChainName;
use crate::secret::Secret;
use crate::statement::cert::KeyRole;
use crate::statement::key::KeyRotate;
use crate::time::Timestamp;

/// The number of the first key.
const FIRST: u64 = 1;

pub(super) fn place(epoch: &str) -> Place<'_> {
    Place { table: "token_keys", column: "sealed", row: epoch, purpose: "token_key", ver: 1 }
}

/// The number of a key, as its certificate has it.
pub(super) fn epoch_of(cert: &Embedded) -> Option<u64> {
    cert.payload.get("epoch").and_then(serde_json::Value::as_u64)
}

/// Puts a new key behind the newest.
pub(super) fn rotate(tx: &mut Tx<'_>, wish: &Wish, body: &KeyRotate, key: &KeptKey) -> Effected {
    let operators = tx.hold(&ChainName::operators())?;
    let newest = operators.operators()?.token_keys.keys().next_back().copied().unwrap_or(FIRST);
    let epoch = newest + 1;
    if epoch_of(&key.cert) != Some(epoch) {
        return Err(Denial::new(Reason::Busy).detail("another rotation came first; look at it, and ask again").into());
    }
    let signs = tx.now.plus(body.ahead);
    let former_until = if body.withdraw { signs } else { longest(tx, &operators, signs)? };
    let facts = TokenKeyFacts { epoch, kid: SigningKey::from_seed(&key.secret).kid(), signs, former_until };
    let result = json!({
        "epoch": epoch, "former_until": former_until, "kid": facts.kid, "role": body.role, "signs": signs,
    });
    let (entry, result, _) = command(tx, wish, &result)?;
    let mut operators = tx.hold(&ChainName::operators())?;
    operators.chain.deciding = Some(entry.seq);
    add(tx, &mut operators, facts, key)?;
    tx.keep(operators);
    Ok((entry, result))
}

/// After the clock was put back to now: what the newest key was to do later, it has done.
pub(super) fn put_back(tx: &mut Tx<'_>) -> Result<(), Stop> {
    let mut operators = tx.hold(&ChainName::operators())?;
    let keys: Vec<TokenKeyFacts> = operators.operators()?.token_keys.values().cloned().collect();
    let changed: Vec<TokenKeyFacts> = keys.iter().map(|key| key.put_back(tx.now, tx.shared)).collect();
    if changed == keys {
        return Ok(());
    }
    tx.settle(&mut operators)?;
    operators.chain.deciding = operators.chain.head.size.checked_sub(1);
    let chain = operators.chain.id;
    for facts in changed {
        let mac = tx.cover(&mut operators, &rows::token_key(chain, &facts));
        let sql = "UPDATE token_keys SET signs = ?2, former_until = ?3, mac = ?4 WHERE epoch = ?1";
        let row = params![facts.epoch, facts.signs.0, facts.former_until.0, mac];
        tx.conn.prepare_cached(sql)?.execute(row)?;
        keep(&mut operators, facts);
    }
    tx.keep(operators);
    Ok(())
}

impl TokenKeyFacts {
    /// The same under a clock that says `now` and was further once. The key signs now if it was to sign later; what it
    /// withdrew is withdrawn, and what it only followed stays published for as long as a session may last.
    fn put_back(&self, now: Timestamp, shared: &Shared) -> TokenKeyFacts {
        let withdraws = self.former_until == self.signs;
        let former = if withdraws { now } else { now.plus(shared.rules.session_max) };
        TokenKeyFacts { signs: self.signs.min(now), former_until: self.former_until.min(former), ..self.clone() }
    }
}

/// Until when a token may live that is signed before `signs`: no token outlives the session that asked for it, and those
/// there are may have been issued in sessions of a longer life than new ones have.
fn longest(tx: &Tx<'_>, operators: &Held, signs: Timestamp) -> Result<Timestamp, Stop> {
    let mut latest = signs.plus(tx.shared.rules.session_max);
    let open = "SELECT MAX(ends) FROM sessions WHERE ended IS NULL";
    let ends: Option<u64> = tx.conn.prepare_cached(open)?.query_row([], |row| row.get(0))?;
    latest = latest.max(ends.map_or(Timestamp::ZERO, Timestamp));
    let live = "SELECT MAX(expires) FROM leases WHERE role = ?1 AND state = 'live'";
    let mut live = tx.conn.prepare_cached(live)?;
    for role in operators.operators()?.roles.values().filter(|role| role.engine == "jwt") {
        let expires: Option<u64> = live.query_row([role.name.as_str()], |row| row.get(0))?;
        latest = latest.max(expires.map_or(Timestamp::ZERO, Timestamp));
    }
    Ok(Timestamp(latest.0.min(i64::MAX as u64)))
}

fn add(tx: &mut Tx<'_>, held: &mut Held, facts: TokenKeyFacts, key: &KeptKey) -> Result<(), Stop> {
    let chain = held.chain.id;
    let epoch = facts.epoch.to_string();
    let sealed = tx.shared.ring.seal(&place(&epoch), key.secret.expose(), &*tx.shared.entropy);
    let mac = tx.cover(held, &rows::token_key(chain, &facts));
    // A row at this place can only be a forged one.
    let sql = "INSERT OR REPLACE INTO token_keys (epoch, chain, kid, signs, former_until, sealed, cert, mac)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let (signs, former) = (facts.signs.0, facts.former_until.0);
    let row = params![facts.epoch, chain, facts.kid.as_str(), signs, former, sealed, text_of(&key.cert), mac];
    tx.conn.prepare_cached(sql)?.execute(row)?;
    keep(held, facts);
    Ok(())
}

fn keep(held: &mut Held, facts: TokenKeyFacts) {
    if let Facts::Operators(operators) = &mut Arc::make_mut(&mut held.view).facts {
        operators.token_keys.insert(facts.epoch, facts);
    }
}

/// The keys after the first, by their numbers. Under a clock that is behind the history they are as a reset would leave
/// them: a key that was withdrawn is not published meanwhile.
pub(super) fn all(at: Instant<'_>) -> Result<Vec<TokenKey>, Stop> {
    let operators = at.hold(&ChainName::operators())?;
    let sql = "SELECT sealed, cert FROM token_keys WHERE epoch = ?1";
    let mut statement = at.conn.prepare_cached(sql)?;
    let (now, rules) = (at.shared.clock.now(), at.shared.rules);
    let behind = now.plus(rules.skew) < at.shared.condition.newest();
    let mut keys = Vec::new();
    for facts in operators.operators()?.token_keys.values() {
        let broken = |what: &str| Stop::Broken(format!("the token key {} {what}", facts.epoch));
        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, Vec<u8>>(0)?, rows::json(row, 1)?));
        let (sealed, cert) =
            statement.query_row([facts.epoch], read).optional()?.ok_or_else(|| broken("is not there"))?;
        let opened = at.shared.ring.open(&place(&facts.epoch.to_string()), &sealed);
        let opened = opened.map_err(|_| broken("does not open"))?;
        let secret = Secret::from_slice(opened.expose()).ok_or_else(|| broken("is not 32 bytes"))?;
        if SigningKey::from_seed(&secret).kid() != facts.kid {
            return Err(broken("is another than its row names"));
        }
        let cert = cert.ok_or_else(|| broken("has no certificate"))?;
        let key = KeptKey { role: KeyRole::Jwt, secret, cert };
        let facts = if behind { facts.put_back(now, at.shared) } else { facts.clone() };
        keys.push(TokenKey { key, signs: facts.signs, former_until: facts.former_until });
    }
    Ok(keys)
}
