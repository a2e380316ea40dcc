//! What is frozen beside single agents: everything, or a role. A freeze is a deciding row, of `_vault` for everything and
//! of `_operators` for a role, so that it outlasts a restart and nobody who writes the database lifts it. What was issued
//! is taken back like by any revocation: a part with the command, the rest by [`super::takebacks`].
//!
//! The command's entry is stamped no earlier than the newest entry of any chain. So whatever was issued before it is not
//! later than it, and a verifier that finds something later, and well before the thaw, knows that it was issued in
//! between, though positions in different chains do not compare.

use rusqlite::params;
use serde_json::json;

use super::orders::{self, Effected, Wish, not_found};
use super::rows::{ChainId, Covered, Packed, Reading};
use super::stop::Stop;
use super::takebacks::{self, Reach};
use super::tx::Tx;
use super::views::{Facts, Held};
use crate::audit::entry;
use crate::id::{ChainName, RoleName};
use crate::statement::lease::Scope;
use std::sync::Arc;

/// Freezes everything. Done again, it takes back what is there by then.
pub(super) fn freeze_all(tx: &mut Tx<'_>, wish: &Wish) -> Effected {
    let (reach, before) = (Reach::from(Scope::All), tx.now.max(tx.newest));
    let leases = takebacks::count(tx, &reach, before)?;
    let mut vault = tx.hold(&ChainName::vault())?;
    let result = json!({ "leases": leases, "seq": tx.next_seq(&vault)? });
    let (entry, result, by) = orders::command(tx, wish, &result)?;
    let freeze = tx.append_deciding(&mut vault, entry::VaultFreeze { by: by.clone() })?;
    tx.put_freeze(&mut vault, None, freeze.seq)?;
    tx.keep(vault);
    takebacks::carry_out(tx, &reach, before, &by)?;
    Ok((entry, result))
}

pub(super) fn thaw_all(tx: &mut Tx<'_>, wish: &Wish) -> Effected {
    let mut vault = tx.hold(&ChainName::vault())?;
    if !vault.vault()?.frozen {
        return Err(not_found("the vault is not frozen"));
    }
    let result = json!({ "seq": tx.next_seq(&vault)? });
    let (entry, result, by) = orders::command(tx, wish, &result)?;
    tx.append_deciding(&mut vault, entry::VaultThaw { by })?;
    tx.remove_freeze(&mut vault, None)?;
    tx.keep(vault);
    Ok((entry, result))
}

/// Freezes a role. Done again, it takes back what is there by then.
pub(super) fn freeze_role(tx: &mut Tx<'_>, wish: &Wish, role: &RoleName) -> Effected {
    if tx.role(role)?.is_none() {
        return Err(not_found("no such role"));
    }
    let (reach, before) = (Reach::from(Scope::Role(role.clone())), tx.now.max(tx.newest));
    let leases = takebacks::count(tx, &reach, before)?;
    let (entry, result, by) = orders::command(tx, wish, &json!({ "leases": leases, "role": role }))?;
    let mut operators = tx.hold(&ChainName::operators())?;
    operators.chain.deciding = Some(entry.seq);
    tx.put_freeze(&mut operators, Some(role), entry.seq)?;
    tx.keep(operators);
    takebacks::carry_out(tx, &reach, before, &by)?;
    Ok((entry, result))
}

pub(super) fn thaw_role(tx: &mut Tx<'_>, wish: &Wish, role: &RoleName) -> Effected {
    if !tx.role(role)?.is_some_and(|role| role.frozen) {
        return Err(not_found("no such role, or it is not frozen"));
    }
    let (entry, result, _) = orders::command(tx, wish, &json!({ "role": role }))?;
    let mut operators = tx.hold(&ChainName::operators())?;
    operators.chain.deciding = Some(entry.seq);
    tx.remove_freeze(&mut operators, Some(role))?;
    tx.keep(operators);
    Ok((entry, result))
}

/// The row that says that a role is frozen, or everything, where it names none.
fn row(chain: ChainId, role: &str, seq: u64) -> Covered {
    Covered::new("freezes", format!("{chain}/{role}"), Packed::default().number(seq))
}

impl Reading<'_> {
    /// What is frozen: the names of roles, an empty one for everything.
    pub(super) fn freezes(&mut self, chain: ChainId) -> rusqlite::Result<Vec<String>> {
        let sql = "SELECT mac, role, seq FROM freezes WHERE chain = ?1";
        self.rows("freezes", sql, chain, |found| {
            let (role, seq): (String, u64) = (found.get(1)?, found.get(2)?);
            let covered = row(chain, &role, seq);
            Ok(Some((role, covered)))
        })
    }
}

impl Tx<'_> {
    /// Writes that a role is frozen, or everything, since the entry `seq` of its chain.
    fn put_freeze(&mut self, held: &mut Held, role: Option<&RoleName>, seq: u64) -> Result<(), Stop> {
        let chain = held.chain.id;
        let name = role.map_or("", RoleName::as_str);
        let mac = self.cover(held, &row(chain, name, seq));
        let sql = "INSERT INTO freezes (chain, role, seq, mac) VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT (chain, role) DO UPDATE SET seq = ?3, mac = ?4";
        self.conn.prepare_cached(sql)?.execute(params![chain, name, seq, mac])?;
        set_frozen(held, role, true);
        Ok(())
    }

    /// Takes that out.
    fn remove_freeze(&mut self, held: &mut Held, role: Option<&RoleName>) -> Result<(), Stop> {
        let chain = held.chain.id;
        let name = role.map_or("", RoleName::as_str);
        self.conn
            .prepare_cached("DELETE FROM freezes WHERE chain = ?1 AND role = ?2")?
            .execute(params![chain, name])?;
        Arc::make_mut(&mut held.view).deciders.remove(&row(chain, name, 0));
        set_frozen(held, role, false);
        Ok(())
    }
}

fn set_frozen(held: &mut Held, role: Option<&RoleName>, frozen: bool) {
    match (&mut Arc::make_mut(&mut held.view).facts, role) {
        (Facts::Vault(facts), None) => facts.frozen = frozen,
        (Facts::Operators(facts), Some(role)) => {
            if let Some(role) = facts.roles.get_mut(role) {
                Arc::make_mut(role).frozen = frozen;
            }
        }
        _ => {}
    }
}
