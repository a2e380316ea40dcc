//! What stands in the lists of revoked credentials: leases that ended before their time, found by an index that holds
//! no others.

use rusqlite::params;

use super::leases::{self, COLUMNS};
use super::reader::Instant;
use super::stop::Stop;
use crate::engine::ca::Ended;
use crate::id::RoleName;
use crate::lease::Lease;
use crate::time::Timestamp;

/// The ended leases of these roles whose credential would still be taken at `now`, by when it expires: all that somebody
/// ended, whatever clock it was ended by, and of those that expired the ones whose session ended first. A row that none of
/// ours could be sets its agent's chain aside and holds up no others.
pub(super) fn listed(at: Instant<'_>, roles: &[RoleName], now: Timestamp) -> Result<Vec<Ended>, Stop> {
    let sql = format!(
        "SELECT {COLUMNS} FROM leases l INDEXED BY leases_listed JOIN chains c ON c.id = l.chain
         WHERE l.revocation = 'listed' AND l.state NOT IN ('live', 'intended') AND l.role = ?1 AND l.expires > ?2
         AND (l.state <> 'expired' OR l.ended IS NULL OR l.ended < l.expires)
         ORDER BY l.expires"
    );
    let mut statement = at.conn.prepare_cached(&sql)?;
    let mut found = Vec::new();
    for role in roles {
        let mut rows = statement.query(params![role.as_str(), now.0])?;
        while let Some(row) = rows.next()? {
            let read = leases::read(row, &at.shared.ring);
            // What an old row does not say happened at the earliest that it could: a list that dates a revocation later
            // than it was would let the credential pass for a while more.
            let ended = |lease: Lease| Ended {
                ended: lease.ended.unwrap_or(lease.issued),
                lease: lease.id,
                handle: lease.handle,
                expires: lease.expires,
            };
            found.extend(leases::or_aside(&at.shared.views, row, read)?.map(ended));
        }
    }
    Ok(found)
}
