//! Custodians: the rows that say who can get at the root key. Each is a row that decides, of `_operators`, so that a root
//! key is sealed to those alone that an operator appointed. They can also be read before the ring is open: then they are
//! tried, not believed.
//!
//! A root key is in memory only while the ring is opened or wrapped. So whenever a custodian comes or goes, there is a new
//! one: it is drawn, sealed to each custodian that is to have it, the ring is wrapped by it, and it is forgotten.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, Row, params};
use serde_json::json;

use super::super::KeptCustodian;
use super::chains::{self, Found, Layout};
use super::orders::{self, Effected, Wish, not_found};
use super::reader::Instant;
use super::rows::{self, ChainId, Covered, Macs, Packed, parsed};
use super::schema::{self, Access, CUSTODIANS, Keys};
use super::stop::Stop;
use super::tx::Tx;
use super::views::{Facts, Held};
use super::{OpenFault, Shared};
use crate::crypto::hpke::SealPublicKey;
use crate::crypto::json::canonical;
use crate::denial::{Denial, Reason};
use crate::failpoint::failpoint;
use crate::id::{Aud, ChainName, CustodianName, VaultName};
use crate::seal::at_rest::{Mac, Ring};
use crate::seal::custody::{Appointed, Custodian, RootKey};
use crate::statement::custody::Kind;
use crate::time::Timestamp;

fn kind_text(kind: &Kind) -> String {
    String::from_utf8(canonical(kind)).expect("canonical JSON is UTF-8")
}

/// The row of a custodian.
fn row(chain: ChainId, kept: &KeptCustodian) -> Covered {
    let Custodian { who: Appointed { name, kind, public }, root, .. } = &kept.custodian;
    let packed = Packed::default()
        .number(chain as u64)
        .text(&kind_text(kind))
        .bytes(public.as_bytes())
        .number(*root)
        .bytes(&kept.custodian.sealed())
        .number(kept.since.0);
    Covered::new("custodians", name.as_str(), packed)
}

/// What the columns from `first` on say: name, kind, public, root, sealed, since.
fn read(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<KeptCustodian>> {
    let (Some(name), Some(kind)) = (parsed(row, first)?, rows::json(row, first + 1)?) else { return Ok(None) };
    let Ok(public) = SealPublicKey::from_bytes(row.get(first + 2)?) else { return Ok(None) };
    let (root, sealed): (u64, Vec<u8>) = (row.get(first + 3)?, row.get(first + 4)?);
    let custodian = Custodian::from_stored(Appointed { name, kind, public }, root, &sealed);
    let since = rows::time(row, first + 5)?;
    Ok(custodian.map(|custodian| KeptCustodian { custodian, since }))
}

impl rows::Reading<'_> {
    pub(super) fn custodians(&mut self, chain: ChainId) -> rusqlite::Result<Vec<KeptCustodian>> {
        let sql = "SELECT mac, name, kind, public, root, sealed, since FROM custodians WHERE chain = ?1";
        self.rows("custodians", sql, chain, |found| {
            let Some(kept) = read(found, 1)? else { return Ok(None) };
            let covered = row(chain, &kept);
            Ok(Some((kept, covered)))
        })
    }
}

/// The custodians of the store in `data_dir`, whose vault it says it is. Nothing of it is verified: the ring is not open.
pub(super) fn unverified(data_dir: &Path) -> Result<(Vec<Custodian>, Aud, VaultName), OpenFault> {
    let database = super::files::look(data_dir)?;
    let conn = schema::connect(&database, Access::Read)?;
    let version = schema::version(&conn)?;
    let broken = |what: &str| OpenFault::Broken(what.to_owned());
    let vault = conn.query_row("SELECT aud, name FROM vault", [], |row| Ok((parsed(row, 0)?, parsed(row, 1)?)));
    let (Some(aud), Some(name)) = vault? else { return Err(broken("the vault's own row is forged")) };
    Ok((stored(&conn, version)?, aud, name))
}

/// The custodians of a database of this version, unverified. A row that none of ours could be is left out.
pub(super) fn stored(conn: &Connection, version: usize) -> Result<Vec<Custodian>, OpenFault> {
    if version < CUSTODIANS {
        return Ok(vec![Custodian::before_custodians()]);
    }
    let mut statement = conn.prepare("SELECT name, kind, public, root, sealed, since FROM custodians ORDER BY name")?;
    let mut found = statement.query([])?;
    let mut all = Vec::new();
    while let Some(row) = found.next()? {
        match read(row, 0) {
            Ok(kept) => all.extend(kept.map(|kept| kept.custodian)),
            Err(error) if rows::is_conversion(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(all)
}

/// Makes whoever has the root key of a database of before there were custodians the first: its secret is that key.
pub(super) fn first(conn: &Connection, keys: &Keys<'_>) -> Result<(), OpenFault> {
    let forged = || OpenFault::Broken("the rows of _operators are not those that its chain names".to_owned());
    let vault = conn.query_row("SELECT name, aud FROM vault", [], |row| Ok((parsed(row, 0)?, parsed(row, 1)?)));
    let (name, aud): (VaultName, Aud) = match vault {
        // Nothing is founded yet; the founding appoints its own.
        Err(rusqlite::Error::QueryReturnedNoRows) => return Ok(()),
        vault => match vault? {
            (Some(name), Some(aud)) => (name, aud),
            _ => return Err(OpenFault::Broken("the vault's own row is forged".to_owned())),
        },
    };
    let layout = Layout::of(CUSTODIANS);
    let Found::Row(mut chain) = chains::find_in(layout, conn, &name, &ChainName::operators())? else {
        return Err(forged());
    };
    let mut macs = macs_before(conn, chain.id)?.ok_or_else(forged)?;
    if !chain.verify_in(layout, keys.ring) || macs.digest() != chain.deciders {
        return Err(forged());
    }
    let who = Appointed::first(keys.root);
    let kept = KeptCustodian { custodian: who.appoint(keys.root, &aud, keys.entropy), since: chain.head.ts };
    let covered = row(chain.id, &kept);
    let mac = covered.mac(keys.ring);
    insert(conn, chain.id, &kept, &mac)?;
    macs.put(&covered, mac);
    chain.deciders = macs.digest();
    Ok(chain.write(conn, keys.ring)?)
}

/// The MACs of all rows that decided in `_operators` before there were custodians, by the names of those rows. What they
/// cover is for whoever reads the rows; here they only have to be those that the chain's row names.
pub(super) fn macs_before(conn: &Connection, chain: ChainId) -> rusqlite::Result<Option<Macs>> {
    let mut macs = Macs::default();
    let tables = [
        ("operators", "name"),
        ("keys", "id"),
        ("roles", "name"),
        ("newest", "name"),
        ("token_keys", "epoch"),
        ("freezes", "chain || '/' || role"),
    ];
    for (table, name) in tables {
        let mut statement = conn.prepare(&format!("SELECT CAST({name} AS TEXT), mac FROM {table} WHERE chain = ?1"))?;
        let mut found = statement.query([chain])?;
        while let Some(row) = found.next()? {
            let Some(mac) = row.get_ref(1)?.as_blob().ok().and_then(Mac::from_slice) else { return Ok(None) };
            macs.put_named(format!("{table}/{}", row.get::<_, String>(0)?), mac);
        }
    }
    Ok(Some(macs))
}

fn insert(conn: &Connection, chain: ChainId, kept: &KeptCustodian, mac: &Mac) -> rusqlite::Result<()> {
    let Custodian { who: Appointed { name, kind, public }, root, .. } = &kept.custodian;
    let sql = "INSERT INTO custodians (name, chain, kind, public, root, sealed, since, mac)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
               ON CONFLICT (name) DO UPDATE SET kind = ?3, public = ?4, root = ?5, sealed = ?6, since = ?7, mac = ?8";
    let (sealed, since) = (kept.custodian.sealed(), kept.since.0);
    let values = params![name.as_str(), chain, kind_text(kind), public.as_bytes(), root, sealed, since, mac.to_bytes()];
    conn.prepare_cached(sql)?.execute(values).map(drop)
}

impl Tx<'_> {
    /// Writes a custodian's row, anew where it has one.
    pub(super) fn put_custodian(&mut self, held: &mut Held, kept: KeptCustodian) -> Result<(), Stop> {
        let chain = held.chain.id;
        let covered = row(chain, &kept);
        let mac = covered.mac(&self.shared.ring);
        insert(self.conn, chain, &kept, &mac)?;
        let view = Arc::make_mut(&mut held.view);
        view.deciders.put(&covered, mac);
        if let Facts::Operators(facts) = &mut view.facts {
            facts.custodians.insert(kept.custodian.who.name.clone(), kept);
        }
        Ok(())
    }

    /// Takes a custodian's row out.
    fn remove_custodian(&mut self, held: &mut Held, kept: &KeptCustodian) -> Result<(), Stop> {
        let name = &kept.custodian.who.name;
        self.conn.prepare_cached("DELETE FROM custodians WHERE name = ?1")?.execute([name.as_str()])?;
        let view = Arc::make_mut(&mut held.view);
        view.deciders.remove(&row(held.chain.id, kept));
        if let Facts::Operators(facts) = &mut view.facts {
            facts.custodians.remove(name);
        }
        Ok(())
    }
}

/// The first custodians of a vault that is founded.
pub(super) fn found(
    tx: &mut Tx<'_>,
    shared: &Shared,
    operators: &mut Held,
    root: &RootKey,
    appointed: Vec<Appointed>,
) -> Result<(), Stop> {
    let since = operators.chain.head.ts;
    for who in appointed {
        let custodian = who.appoint(root, &shared.aud, &*shared.entropy);
        tx.put_custodian(operators, KeptCustodian { custodian, since })?;
    }
    Ok(())
}

/// Writes the ring as this root key wraps it, in place of what was there.
pub(super) fn write_ring(tx: &Tx<'_>, ring: &Ring, root: &RootKey) -> Result<(), Stop> {
    tx.conn.execute("DELETE FROM ring", [])?;
    for (epoch, key) in ring.wrap(root, &*tx.shared.entropy) {
        tx.conn.execute("INSERT INTO ring (epoch, wrapped) VALUES (?1, ?2)", params![epoch, key])?;
    }
    Ok(())
}

/// Who is to be a custodian, and since when, by name.
type Custodians = BTreeMap<CustodianName, (Appointed, Timestamp)>;

/// The most custodians: each is one more way in.
const MOST: usize = 16;

/// Draws a new root key, seals it to these custodians alone, and wraps the ring by it. All of it is one transaction with the
/// command: before it commits the old root key opens the old ring, and after it the new one the new.
///
/// Who they are comes out of a view that was verified, or out of the signed command: no public key that somebody wrote into
/// the database is among them.
pub(super) fn wrap_anew(tx: &mut Tx<'_>, operators: &mut Held, ring: &Ring, wanted: Custodians) -> Result<u64, Stop> {
    let before = operators.operators()?.custodians.clone();
    let newest = before.values().map(|kept| kept.custodian.root).max().unwrap_or_default();
    let shared = tx.shared;
    let root = RootKey::after(newest, &*shared.entropy);
    for kept in before.values().filter(|kept| !wanted.contains_key(&kept.custodian.who.name)) {
        tx.remove_custodian(operators, kept)?;
    }
    for (who, since) in wanted.into_values() {
        let custodian = who.appoint(&root, &shared.aud, &*shared.entropy);
        tx.put_custodian(operators, KeptCustodian { custodian, since })?;
    }
    failpoint!("custody: sealed");
    write_ring(tx, ring, &root)?;
    failpoint!("custody: wrapped");
    Ok(root.epoch())
}

/// Those that there are, as a view has verified them.
pub(super) fn present(operators: &Held) -> Result<Custodians, Stop> {
    let kept = operators.operators()?.custodians.iter();
    Ok(kept.map(|(name, kept)| (name.clone(), (kept.custodian.who.clone(), kept.since))).collect())
}

/// Carries out a command about custody: the custodians become those that it makes of them.
fn change(tx: &mut Tx<'_>, wish: &Wish, make: impl FnOnce(&mut Custodians, Timestamp) -> Result<(), Stop>) -> Effected {
    let held = tx.hold(&ChainName::operators())?;
    let newest = held.operators()?.custodians.values().map(|kept| kept.custodian.root).max().unwrap_or_default();
    let mut wanted = present(&held)?;
    make(&mut wanted, tx.stamp(&held)?)?;
    let result = json!({
        "automatic": wanted.values().any(|(who, _)| who.kind.is_automatic()),
        "custodians": wanted.keys().collect::<Vec<_>>(),
        "root": newest + 1,
    });
    let (entry, result, _) = orders::command(tx, wish, &result)?;
    let (mut operators, shared) = (tx.hold(&ChainName::operators())?, tx.shared);
    operators.chain.deciding = Some(entry.seq);
    wrap_anew(tx, &mut operators, &shared.ring, wanted)?;
    tx.keep(operators);
    Ok((entry, result))
}

/// Appoints a custodian.
pub(super) fn add(tx: &mut Tx<'_>, wish: &Wish, who: &Appointed) -> Effected {
    let exists = |what: &str| Stop::from(Denial::new(Reason::AlreadyExists).detail(what));
    change(tx, wish, |custodians, since| {
        if custodians.contains_key(&who.name) {
            return Err(exists("a custodian has this name; remove it first, or choose another"));
        }
        if custodians.values().any(|(known, _)| known.public == who.public) {
            return Err(exists("a custodian has this public key: its secret is the same one"));
        }
        if custodians.len() >= MOST {
            return Err(exists("there are 16 custodians, and each is a way in; remove one first"));
        }
        custodians.insert(who.name.clone(), (who.clone(), since));
        Ok(())
    })
}

/// Takes a custodian out.
pub(super) fn remove(tx: &mut Tx<'_>, wish: &Wish, name: &CustodianName) -> Effected {
    change(tx, wish, |custodians, _| {
        custodians.remove(name).ok_or_else(|| not_found("no such custodian"))?;
        if custodians.is_empty() { Err(Reason::LastCustodian.into()) } else { Ok(()) }
    })
}

/// Seals a new root key to all of them.
pub(super) fn rotate(tx: &mut Tx<'_>, wish: &Wish) -> Effected {
    change(tx, wish, |_, _| Ok(()))
}

/// Those that there are.
pub(super) fn listed(at: Instant<'_>) -> Result<Vec<KeptCustodian>, Stop> {
    Ok(at.hold(&ChainName::operators())?.operators()?.custodians.values().cloned().collect())
}
