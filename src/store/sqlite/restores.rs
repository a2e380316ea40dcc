//! What a vault does that was restored from a backup, once: with the `start` of the first daemon on it, in one transaction.
//!
//! - No request is taken that was signed before, or that the lost vault may have taken: the floor is put to now and as far
//!   ahead as any clock may have been.
//! - What the backup calls live is taken back, since it is not known what became of it: the first of it and the rest by
//!   [`super::takebacks`], in parts, by the command that made the backup. Sessions that were open end with it.
//! - Each chain's next entry is `restore`, by [`Tx::settle`]; here it is that of `_vault`.
//!
//! A crash before the commit leaves a restored store on which no daemon has begun; after it, one that has.

use rusqlite::params;

use super::resets::end_sessions_of;
use super::rows::Restored;
use super::stop::Stop;
use super::takebacks::{self, Reach};
use super::tx::Tx;
use super::views::{Held, VaultFacts};
use crate::audit::entry::By;
use crate::time::Timestamp;

/// What is left to do on a restored store when its first daemon begins.
pub(super) fn begin(tx: &mut Tx<'_>, vault: &mut Held) -> Result<(), Stop> {
    let facts = vault.vault()?.clone();
    let Some(restored) = facts.restored.clone().filter(|restored| !restored.begun) else { return Ok(()) };
    let floor = facts.floor.max(tx.now.plus(tx.shared.rules.skew));
    let (by, number) = (restored.by.clone(), restored.number);
    let restored = Some(Restored { begun: true, ..restored });
    tx.put_vault(vault, VaultFacts { floor, restored, ..facts })?;
    takebacks::later(tx, &Reach::Restored { restored: number }, tx.now.max(tx.newest), &by)
}

/// Ends at most `limit` sessions that were opened up to `before`. Gives how many.
pub(super) fn end_sessions(tx: &mut Tx<'_>, before: Timestamp, by: &By, limit: u64) -> Result<u64, Stop> {
    let sql = "SELECT c.name, s.sid FROM sessions s JOIN chains c ON c.id = s.chain
               WHERE s.ended IS NULL AND s.opened <= ?1";
    end_sessions_of(tx, sql, params![before.0], by, limit)
}
