//! Chains as Merkle trees. A chain's row holds the roots of its complete subtrees, so that appending costs the same at any
//! length; the roots of complete subtrees of 2^8, 2^16 and 2^24 leaves are kept as they come, so that a proof looks up a
//! few rows and some hundred leaves at the most. A kept root carries no MAC: a false one makes a proof that leads to
//! another root than the one that was signed, and so proves nothing.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::chains::{self, Chain, Found, Layout};
use super::reader::Instant;
use super::rows::{ChainId, digest, parsed};
use super::stop::Stop;
use crate::audit::tree::{self, Tree};
use crate::crypto::hash::{Digest, node};
use crate::id::{ChainName, VaultName};
use crate::seal::at_rest::Ring;

/// Each so many levels, roots are kept.
const STEP: u32 = 8;

/// Keeps the roots of those subtrees that the leaf `seq` completes, where they are of a level that is kept. `before` is
/// the tree without it.
pub(super) fn grow(conn: &Connection, chain: ChainId, before: &Tree, leaf: Digest) -> rusqlite::Result<()> {
    if !(before.size() + 1).is_multiple_of(1 << STEP) {
        return Ok(());
    }
    let mut completed = Vec::new();
    before.clone().push_with(leaf, |level, place, root| {
        if level > 0 && level.is_multiple_of(STEP) {
            completed.push((level, place, *root));
        }
    });
    completed.iter().try_for_each(|(level, place, root)| keep(conn, chain, *level, *place, root))
}

fn keep(conn: &Connection, chain: ChainId, level: u32, place: u64, root: &Digest) -> rusqlite::Result<()> {
    let sql = "INSERT INTO nodes (chain, level, place, hash) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT (chain, level, place) DO UPDATE SET hash = ?4";
    conn.prepare_cached(sql)?.execute(params![chain, level, place, root.as_bytes()])?;
    Ok(())
}

/// The root of the complete subtree at this level and place.
fn root_at(conn: &Connection, chain: ChainId, level: u32, place: u64) -> Result<Digest, Stop> {
    let missing = || Stop::Broken(format!("the tree of the chain with the number {chain} lacks a part"));
    if level.is_multiple_of(STEP) && level > 0 {
        let sql = "SELECT hash FROM nodes WHERE chain = ?1 AND level = ?2 AND place = ?3";
        let mut statement = conn.prepare_cached(sql)?;
        let found = statement.query_row(params![chain, level, place], |row| digest(row, 0)).optional()?;
        return found.ok_or_else(missing);
    }
    let above = level % STEP;
    let (first, count) = (place << above, 1_u64 << above);
    let below = match level - above {
        0 => {
            let mut leaves = Vec::new();
            chains::leaves(conn, chain, first, first + count, |leaf| {
                leaves.push(leaf);
                Ok(())
            })?;
            leaves
        }
        kept => (first..first + count).map(|place| root_at(conn, chain, kept, place)).collect::<Result<_, _>>()?,
    };
    if below.len() as u64 == count { Ok(folded(below)) } else { Err(missing()) }
}

/// The root over 2^n nodes of one level.
fn folded(mut level: Vec<Digest>) -> Digest {
    while level.len() > 1 {
        let (pairs, _) = level.as_chunks::<2>();
        level = pairs.iter().map(|[left, right]| node(left, right)).collect();
    }
    level[0]
}

/// The proof that an entry stands in the tree of this size; none where there is no such entry or size.
pub(super) fn inclusion(at: Instant<'_>, name: &ChainName, seq: u64, size: u64) -> Result<Option<Vec<Digest>>, Stop> {
    let Some(held) = at.look(name)? else { return Ok(None) };
    if seq >= size || size > held.chain.head.size {
        return Ok(None);
    }
    tree::inclusion(seq, size, |level, place| root_at(at.conn, held.chain.id, level, place)).map(Some)
}

/// The proof that the tree of the size `old` is the beginning of the one of `size`; none where there is no such size.
pub(super) fn consistency(at: Instant<'_>, name: &ChainName, old: u64, size: u64) -> Result<Option<Vec<Digest>>, Stop> {
    let Some(held) = at.look(name)? else { return Ok(None) };
    if old > size || size > held.chain.head.size {
        return Ok(None);
    }
    tree::consistency(old, size, |level, place| root_at(at.conn, held.chain.id, level, place)).map(Some)
}

/// Builds the trees of a database that has none. A chain whose row or lines do not fit stays as it is: its row has no MAC
/// of the new layout then, and so it is set aside when the store opens.
pub(super) fn build_all(conn: &Connection, ring: &Ring) -> rusqlite::Result<()> {
    let mut statement = conn.prepare("SELECT name FROM vault")?;
    let vault: Option<Option<VaultName>> = statement.query_row([], |row| parsed(row, 0)).optional()?;
    let Some(vault) = vault.flatten() else { return Ok(()) };
    for name in chains::names(conn)?.into_iter().flatten() {
        let Found::Row(mut chain) = chains::find_in(Layout::BeforeTrees, conn, &vault, &name)? else { continue };
        if !chain.verify_in(Layout::BeforeTrees, ring) || !chain.fits_its_lines(conn)? {
            continue;
        }
        let tree = build(conn, &chain)?;
        if tree.size() == chain.head.size {
            chain.head.tree = tree;
            // All that there is awaits its first checkpoint.
            chain.due = (chain.head.size > 0).then_some(chain.head.ts);
            chain.write(conn, ring)?;
        }
    }
    Ok(())
}

fn build(conn: &Connection, chain: &Chain) -> rusqlite::Result<Tree> {
    let mut tree = Tree::default();
    chains::leaves(conn, chain.id, 0, chain.head.size, |leaf| {
        grow(conn, chain.id, &tree, leaf)?;
        tree.push(leaf);
        Ok(())
    })?;
    Ok(tree)
}
