//! What stands in the lists of revoked credentials: leases that ended before their time, found by an index that holds
//! no others.

use rusqlite::params;

use super::leases;
use super::reader::Instant;
use super::rows::time;
use super::stop::Stop;
use crate::engine::ca::Ended;
use crate::id::RoleName;
use crate::time::Timestamp;

/// The ended leases of these roles whose credential would still be taken at `now`, by when it expires. A row that none
/// of ours could be is left out: who can write it could as well have taken it away, and it holds up no others.
pub(super) fn listed(at: Instant<'_>, roles: &[RoleName], now: Timestamp) -> Result<Vec<Ended>, Stop> {
    // What an old row does not say happened at the earliest that it could: a list that dates a revocation later than it
    // was would let the credential pass for a while more.
    let sql = "SELECT id, handle, COALESCE(ended, issued), expires FROM leases INDEXED BY leases_listed
               WHERE revocation = 'listed' AND state IN ('released', 'revoked', 'undelivered')
                 AND role = ?1 AND expires > ?2 ORDER BY expires";
    let mut statement = at.conn.prepare_cached(sql)?;
    let mut found = Vec::new();
    for role in roles {
        let mut rows = statement.query(params![role.as_str(), now.0])?;
        while let Some(row) = rows.next()? {
            match ended(row) {
                Ok(one) => found.push(one),
                Err(error) if leases::is_forged(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(found)
}

fn ended(row: &rusqlite::Row<'_>) -> rusqlite::Result<Ended> {
    Ok(Ended { lease: leases::lease_id(row, 0)?, handle: row.get(1)?, ended: time(row, 2)?, expires: time(row, 3)? })
}
