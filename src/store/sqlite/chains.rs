//! Chains in the database: the row with a chain's newest state, and the lines. The row is covered by a MAC and says
//! what the deciding rows must add up to, so it is the one place that everything else of a chain is held against.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::super::Pace;
use super::rows::{ChainId, Covered, Packed, digest, maybe_time, parsed, time};
use crate::audit::chain::Head;
use crate::audit::entry;
use crate::audit::tree::Tree;
use crate::crypto::hash::Digest;
use crate::id::{ChainName, VaultName};
use crate::seal::at_rest::{Mac, Ring};
use crate::statement::request::Seen;
use crate::time::Timestamp;

/// A chain's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) id: ChainId,
    pub(super) name: ChainName,
    pub(super) head: Head,
    /// The `seq` of the newest entry that changed a deciding row.
    pub(super) deciding: Option<u64>,
    /// The digest of the deciding rows.
    pub(super) deciders: Digest,
    /// The digest of the rows that say what grants have given.
    pub(super) uses: Digest,
    /// Open sessions.
    pub(super) sessions: u64,
    /// Live leases.
    pub(super) leases: u64,
    /// The `seq` of the newest checkpoint.
    pub(super) noted: Option<u64>,
    /// When the next checkpoint is due; none where nothing follows the newest.
    pub(super) due: Option<Timestamp>,
    /// How many resets of the clock stand in it.
    pub(super) resets: u64,
    /// What of restores stands in it; none where it began before any and none came since.
    pub(super) restored: Option<Heard>,
    pub(super) mac: Mac,
}

impl Chain {
    fn covered(&self, layout: Layout) -> Covered {
        let packed = Packed::default()
            .number(self.id as u64)
            .number(self.head.size)
            .bytes(self.head.leaf.as_bytes())
            .number(self.head.ts.0)
            .text(self.head.kid.as_ref().map_or("", |kid| kid.as_str()))
            .maybe(self.deciding)
            .bytes(self.deciders.as_bytes())
            .bytes(self.uses.as_bytes())
            .number(self.sessions)
            .number(self.leases);
        let packed = match layout {
            Layout::BeforeTrees => packed,
            Layout::BeforeRestores | Layout::Present => {
                packed.bytes(&self.peaks()).maybe(self.noted).maybe(self.due.map(|due| due.0)).number(self.resets)
            }
        };
        // A chain that heard of none is covered as it was before there were any.
        let packed = match self.restored {
            Some(Heard { number, lost_from }) => packed.number(number).number(lost_from),
            None => packed,
        };
        Covered::new("chains", self.name.as_str(), packed)
    }

    /// Whether the row is ours.
    pub(super) fn verify(&self, ring: &Ring) -> bool {
        self.verify_in(Layout::Present, ring)
    }

    /// Whether the row is ours, in this layout.
    pub(super) fn verify_in(&self, layout: Layout, ring: &Ring) -> bool {
        self.covered(layout).verify(ring, &self.mac)
    }

    /// The roots of the tree's complete subtrees, side by side.
    fn peaks(&self) -> Vec<u8> {
        self.head.tree.peaks().iter().flat_map(|peak| *peak.as_bytes()).collect()
    }

    /// Whether the lines end where the row says, with the line that it says. The rest is for a verifier.
    pub(super) fn fits_its_lines(&self, conn: &Connection) -> rusqlite::Result<bool> {
        let newest = self.head.size.checked_sub(1).map(|seq| leaf_at(conn, self.id, seq)).transpose()?.flatten();
        let fits = if self.head.size == 0 { self.head.leaf == Digest::ZERO } else { newest == Some(self.head.leaf) };
        Ok(fits
            && leaf_at(conn, self.id, self.head.size)?.is_none()
            && self.deciding.is_none_or(|seq| seq < self.head.size))
    }

    /// Whether `seen` is a prefix of the chain.
    pub(super) fn has(&self, conn: &Connection, seen: Seen) -> rusqlite::Result<bool> {
        match seen.size {
            0 => Ok(seen.head == Digest::ZERO),
            size if size > self.head.size => Ok(false),
            size if size == self.head.size => Ok(seen.head == self.head.leaf),
            size => Ok(leaf_at(conn, self.id, size - 1)? == Some(seen.head)),
        }
    }

    /// Remembers when the next checkpoint is due, after an entry that is one or is not.
    pub(super) fn grew(&mut self, checkpoint: bool, pace: Pace) {
        if checkpoint {
            (self.noted, self.due) = (self.head.size.checked_sub(1), None);
            return;
        }
        let behind = self.head.size - self.noted.map_or(0, |seq| seq + 1);
        let ts = self.head.ts;
        let soon = Timestamp(ts.plus(pace.after).0.min(i64::MAX as u64));
        self.due = match self.due {
            _ if behind >= pace.entries => Some(ts),
            // Later than that lies only what a clock has said that was ahead.
            due => Some(due.map_or(soon, |due| due.min(soon))),
        };
    }

    /// Writes the row anew, with its MAC.
    pub(super) fn write(&mut self, conn: &Connection, ring: &Ring) -> rusqlite::Result<()> {
        self.mac = self.covered(Layout::Present).mac(ring);
        let sql = "UPDATE chains SET size = ?2, leaf = ?3, ts = ?4, kid = ?5, deciding = ?6, deciders = ?7, uses = ?8,
                   sessions = ?9, leases = ?10, mac = ?11, tree = ?12, noted = ?13, due = ?14,
                   resets = ?15 WHERE id = ?1";
        conn.prepare_cached(sql)?.execute(params![
            self.id,
            self.head.size,
            self.head.leaf.as_bytes(),
            self.head.ts.0,
            self.head.kid.as_ref().map(|kid| kid.as_str()),
            self.deciding,
            self.deciders.as_bytes(),
            self.uses.as_bytes(),
            self.sessions,
            self.leases,
            self.mac.to_bytes(),
            self.peaks(),
            self.noted,
            self.due.map(|due| due.0),
            self.resets,
        ])?;
        // A migration to a version that knows of none writes rows too.
        if let Some(Heard { number, lost_from }) = self.restored {
            let sql = "UPDATE chains SET restores = ?2, lost_from = ?3 WHERE id = ?1";
            conn.prepare_cached(sql)?.execute(params![self.id, number, lost_from])?;
        }
        Ok(())
    }

    /// Writes what a migration to a version before trees changes: the digest of the deciding rows, and the MAC.
    pub(super) fn write_before_trees(&mut self, conn: &Connection, ring: &Ring) -> rusqlite::Result<()> {
        self.mac = self.covered(Layout::BeforeTrees).mac(ring);
        let sql = "UPDATE chains SET deciders = ?2, mac = ?3 WHERE id = ?1";
        conn.execute(sql, params![self.id, self.deciders.as_bytes(), self.mac.to_bytes()])?;
        Ok(())
    }
}

/// What a chain has heard of restores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// The number of the newest one, which its origin ends with.
    pub(super) number: u64,
    /// From this entry on, there may have been others before the first of them.
    pub(super) lost_from: u64,
}

/// The version of the database from which on chains are trees.
pub(super) const TREES: usize = 5;
/// The first version of a database that looks up nonces after a reset of the clock.
pub(super) const RECALLS: usize = 6;

/// What the rows of chains hold, by the version of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Before version 5: no tree, no checkpoints.
    BeforeTrees,
    /// Before restores were known.
    BeforeRestores,
    /// As this program writes them.
    Present,
}

impl Layout {
    /// That of a database of this version.
    pub(super) fn of(version: usize) -> Layout {
        match version {
            ..TREES => Layout::BeforeTrees,
            TREES..super::schema::RESTORES => Layout::BeforeRestores,
            _ => Layout::Present,
        }
    }

    /// How a row is looked for by its chain's name; what a layout lacks stands as it is in a chain that has none.
    fn select(self) -> &'static str {
        match self {
            Layout::BeforeTrees => {
                "SELECT id, name, size, leaf, ts, kid, deciding, deciders, uses, sessions, leases, mac, x'', NULL, NULL, 0,
                        0, NULL
                 FROM chains WHERE name = ?1"
            }
            Layout::BeforeRestores => {
                "SELECT id, name, size, leaf, ts, kid, deciding, deciders, uses, sessions, leases, mac, tree, noted, due,
                        resets, 0, NULL
                 FROM chains WHERE name = ?1"
            }
            Layout::Present => {
                "SELECT id, name, size, leaf, ts, kid, deciding, deciders, uses, sessions, leases, mac, tree, noted, due,
                        resets, restores, lost_from
                 FROM chains WHERE name = ?1"
            }
        }
    }
}

/// A new chain without entries. Its row has no MAC before [`Chain::write`].
pub(super) fn begin(
    conn: &Connection,
    ring: &Ring,
    vault: &VaultName,
    name: &ChainName,
    (resets, restores): (u64, u64),
) -> rusqlite::Result<Chain> {
    let sql = "INSERT INTO chains (name, size, leaf, ts, deciders, uses, sessions, leases, mac)
               VALUES (?1, 0, zeroblob(32), 0, zeroblob(32), zeroblob(32), 0, 0, zeroblob(40))";
    conn.prepare_cached(sql)?.execute([name.as_str()])?;
    let mut chain = Chain {
        id: conn.last_insert_rowid(),
        name: name.clone(),
        head: Head { origin: entry::origin_after(vault, name, restores), ..Head::empty(vault, name) },
        deciding: None,
        deciders: Digest::ZERO,
        uses: Digest::ZERO,
        sessions: 0,
        leases: 0,
        noted: None,
        due: None,
        resets,
        // There may have been one of this name of which nothing is known.
        restored: (restores > 0).then_some(Heard { number: restores, lost_from: 0 }),
        mac: Mac::from_slice(&[0; 40]).expect("40 bytes are a MAC"),
    };
    chain.write(conn, ring)?;
    Ok(chain)
}

fn read(row: &Row<'_>, vault: &VaultName) -> rusqlite::Result<Option<Chain>> {
    let (Some(name), Some(mac)) = (parsed::<ChainName>(row, 1)?, Mac::from_slice(row.get_ref(11)?.as_blob()?)) else {
        return Ok(None);
    };
    let kid = match row.get_ref(5)?.as_str_or_null()? {
        None => None,
        Some(text) => match text.parse() {
            Ok(kid) => Some(kid),
            Err(_) => return Ok(None),
        },
    };
    let size = row.get(2)?;
    // Peaks that do not fit the size are none of ours, which the row's MAC then says: no such row was ever covered.
    let tree = tree(size, row.get_ref(12)?.as_blob()?).unwrap_or_default();
    let empty = Head::empty(vault, &name);
    let head = Head { size, leaf: digest(row, 3)?, ts: time(row, 4)?, kid, tree, ..empty };
    let deciding = maybe_time(row, 6)?.map(|seq| seq.0);
    let (deciders, uses) = (digest(row, 7)?, digest(row, 8)?);
    let (sessions, leases) = (row.get(9)?, row.get(10)?);
    let (noted, due) = (maybe_time(row, 13)?.map(|seq| seq.0), maybe_time(row, 14)?);
    let resets = row.get(15)?;
    let restored = match (row.get(16)?, row.get(17)?) {
        (0_u64, None) => None,
        (number, Some(lost_from)) => Some(Heard { number, lost_from }),
        _ => return Ok(None),
    };
    let mut head = head;
    head.origin = entry::origin_after(vault, &name, restored.map_or(0, |heard| heard.number));
    Ok(Some(Chain {
        id: row.get(0)?,
        name,
        head,
        deciding,
        deciders,
        uses,
        sessions,
        leases,
        noted,
        due,
        resets,
        restored,
        mac,
    }))
}

fn tree(size: u64, peaks: &[u8]) -> Option<Tree> {
    let (peaks, rest) = peaks.as_chunks();
    let tree = Tree::of(size, peaks.iter().map(|peak| Digest::from_bytes(*peak)).collect())?;
    rest.is_empty().then_some(tree)
}

/// What a look for a chain finds.
#[derive(Debug)]
pub(super) enum Found {
    /// No such row.
    Nothing,
    /// A row that is none of ours.
    Forged,
    /// A row whose MAC is still to be verified.
    Row(Box<Chain>),
}

/// The row of a chain.
pub(super) fn find(conn: &Connection, vault: &VaultName, name: &ChainName) -> rusqlite::Result<Found> {
    find_in(Layout::Present, conn, vault, name)
}

/// The row of a chain, in this layout.
pub(super) fn find_in(
    layout: Layout,
    conn: &Connection,
    vault: &VaultName,
    name: &ChainName,
) -> rusqlite::Result<Found> {
    let found = conn.prepare_cached(layout.select())?.query_row([name.as_str()], |row| read(row, vault)).optional();
    Ok(match found {
        Ok(None) => Found::Nothing,
        Ok(Some(Some(chain))) => Found::Row(Box::new(chain)),
        Ok(Some(None)) => Found::Forged,
        Err(error) if super::rows::is_conversion(&error) => Found::Forged,
        Err(error) => return Err(error),
    })
}

/// The name of the chain with this number.
pub(super) fn name_of(conn: &Connection, id: ChainId) -> rusqlite::Result<Option<ChainName>> {
    let mut statement = conn.prepare_cached("SELECT name FROM chains WHERE id = ?1")?;
    Ok(statement.query_row([id], |row| parsed(row, 0)).optional()?.flatten())
}

/// The most entries of a chain; the next would stand among those of another.
pub(super) const LONGEST: u64 = 1 << 32;

fn at(chain: ChainId, seq: u64) -> i64 {
    (chain << 32) | (seq & (LONGEST - 1)) as i64
}

/// The leaf of one entry.
pub(super) fn leaf_at(conn: &Connection, chain: ChainId, seq: u64) -> rusqlite::Result<Option<Digest>> {
    let mut statement = conn.prepare_cached("SELECT leaf FROM lines WHERE at = ?1")?;
    ours(statement.query_row([at(chain, seq)], |row| digest(row, 0)).optional())
}

/// What was found, unless it has a type that ours never have: that is nothing to anybody, and no fault of the database.
fn ours<T>(found: rusqlite::Result<Option<T>>) -> rusqlite::Result<Option<T>> {
    match found {
        Err(error) if super::rows::is_conversion(&error) => Ok(None),
        found => found,
    }
}

/// One line.
pub(super) fn line_at(conn: &Connection, chain: ChainId, seq: u64) -> rusqlite::Result<Option<Vec<u8>>> {
    let Some(at) = (seq < LONGEST).then(|| at(chain, seq)) else { return Ok(None) };
    ours(conn.prepare_cached("SELECT line FROM lines WHERE at = ?1")?.query_row([at], |row| row.get(0)).optional())
}

/// The leaves of a chain from `from` up to before `to`, in order.
pub(super) fn leaves(
    conn: &Connection,
    chain: ChainId,
    from: u64,
    to: u64,
    mut each: impl FnMut(Digest) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let mut statement = conn.prepare_cached("SELECT leaf FROM lines WHERE at >= ?1 AND at < ?2 ORDER BY at")?;
    // The end of the longest chain is where the next one's lines begin.
    let mut rows = statement.query([at(chain, from), at(chain, from) + (to - from) as i64])?;
    while let Some(row) = rows.next()? {
        each(digest(row, 0)?)?;
    }
    Ok(())
}

/// Stores one line. A line that stands there already is a constraint's violation.
pub(super) fn store_line(
    conn: &Connection,
    chain: ChainId,
    seq: u64,
    leaf: &Digest,
    line: &[u8],
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO lines (at, leaf, line) VALUES (?1, ?2, ?3)";
    conn.prepare_cached(sql)?.execute(params![at(chain, seq), leaf.as_bytes(), line])?;
    Ok(())
}

/// Lines from `from` up to the chain's end, at most `limit`, and at most `bytes` in all but for the first.
pub(super) fn lines(
    conn: &Connection,
    chain: &Chain,
    from: u64,
    limit: u64,
    bytes: usize,
) -> rusqlite::Result<Vec<Vec<u8>>> {
    Ok(stored(conn, chain, from, limit, bytes)?.into_iter().map(|(_, line)| line).collect())
}

/// The same with the leaf that is kept beside each.
pub(super) fn stored(
    conn: &Connection,
    chain: &Chain,
    from: u64,
    limit: u64,
    bytes: usize,
) -> rusqlite::Result<Vec<(Digest, Vec<u8>)>> {
    let end = from.saturating_add(limit).min(chain.head.size);
    if from >= end {
        return Ok(Vec::new());
    }
    let mut statement = conn.prepare_cached("SELECT leaf, line FROM lines WHERE at BETWEEN ?1 AND ?2 ORDER BY at")?;
    let mut rows = statement.query([at(chain.id, from), at(chain.id, end - 1)])?;
    let (mut lines, mut total) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        // A leaf that is none is not that of its line, which is for whoever compares them.
        let leaf = digest(row, 0).unwrap_or(Digest::ZERO);
        // Nor is a line that is no blob, which is left to them as an empty one.
        let line = row.get_ref(1)?.as_blob().unwrap_or_default().to_vec();
        total += line.len() + 1;
        if total > bytes && !lines.is_empty() {
            break;
        }
        lines.push((leaf, line));
    }
    Ok(lines)
}

/// The names of all chains.
pub(super) fn names(conn: &Connection) -> rusqlite::Result<Vec<Option<ChainName>>> {
    conn.prepare("SELECT name FROM chains ORDER BY id")?.query_map([], |row| parsed(row, 0))?.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Seconds;

    #[test]
    fn a_checkpoint_that_was_due_in_a_false_future_is_due_soon_after_the_reset() {
        let conn = Connection::open_in_memory().unwrap();
        let ring = Ring::generate(&crate::entropy::SeededEntropy::new(1));
        conn.execute_batch(
            "CREATE TABLE chains (id INTEGER PRIMARY KEY, name, size, leaf, ts, kid, deciding, deciders, uses, sessions,
             leases, mac, tree, noted, due, resets, restores, lost_from)",
        )
        .unwrap();
        let mut chain = begin(&conn, &ring, &"prod".parse().unwrap(), &"kit".parse().unwrap(), (0, 0)).unwrap();
        let pace = Pace { entries: 1000, after: Seconds(300) };
        let mut due = |ts, size| {
            (chain.head.ts, chain.head.size) = (Timestamp(ts), size);
            chain.grew(false, pace);
            chain.due.map(|due| due.0)
        };
        assert_eq!(due(9_000_000, 1), Some(9_300_000));
        assert_eq!(due(9_100_000, 2), Some(9_300_000), "the first entry counts");
        assert_eq!(due(1_000_000, 3), Some(1_300_000), "the clock was put back");
        assert_eq!(due(1_100_000, 4), Some(1_300_000));
        assert_eq!(due(1_200_000, 1000), Some(1_200_000), "there are many");
    }
}
