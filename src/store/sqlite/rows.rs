//! Rows that decide: what their MACs cover, and how they are read. A row is covered as a whole, at its place, in an
//! encoding that cannot be cut elsewhere; a row that does not verify, or that no value of ours could have written, is a
//! forgery and is reported as such, never used.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row};

use super::schema::{RESTORES, ROTATIONS};
use crate::audit::entry::By;
use crate::base64url::Bytes;
use crate::crypto::aead::Place;
use crate::crypto::hash::Digest;
use crate::crypto::signature::{Form, PublicKey};
use crate::grant::{Grant, Role, Uses};
use crate::id::{AgentName, Aud, ChainName, Kid, OperatorName, RoleName, SecretName, VaultName};
use crate::registry::{Duty, HeldKey};
use crate::seal::at_rest::{Mac, Ring};
use crate::statement::register::Holder;
use crate::time::Timestamp;

/// A chain's number in this database.
pub(super) type ChainId = i64;

/// The bytes that a MAC covers: each member with its length before it.
#[derive(Debug, Default)]
pub(super) struct Packed(Vec<u8>);

impl Packed {
    pub(super) fn bytes(mut self, bytes: &[u8]) -> Packed {
        self.0.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn text(self, text: &str) -> Packed {
        self.bytes(text.as_bytes())
    }

    pub(super) fn number(self, number: u64) -> Packed {
        self.bytes(&number.to_be_bytes())
    }

    /// None and zero differ in length.
    pub(super) fn maybe(self, number: Option<u64>) -> Packed {
        match number {
            Some(number) => self.number(number),
            None => self.bytes(&[]),
        }
    }
}

/// A row with what its MAC covers.
#[derive(Debug)]
pub(super) struct Covered {
    table: &'static str,
    row: String,
    bytes: Vec<u8>,
}

impl Covered {
    pub(super) fn new(table: &'static str, row: impl Into<String>, packed: Packed) -> Covered {
        Covered { table, row: row.into(), bytes: packed.0 }
    }

    fn place(&self) -> Place<'_> {
        Place { table: self.table, column: "mac", row: &self.row, purpose: "row", ver: 1 }
    }

    pub(super) fn mac(&self, ring: &Ring) -> Mac {
        ring.mac(&self.place(), &self.bytes)
    }

    pub(super) fn verify(&self, ring: &Ring, mac: &Mac) -> bool {
        ring.verify(&self.place(), &self.bytes, mac)
    }

    /// The row's name among all that decide.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.table, self.row)
    }
}

/// The MACs of a set of rows, by the rows' names. Their digest stands in the chain's row, so that no row can be added,
/// left out or put back without it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Macs(BTreeMap<String, Mac>);

impl Macs {
    pub(super) fn put(&mut self, row: &Covered, mac: Mac) {
        self.0.insert(row.name(), mac);
    }

    /// The MAC of the row of this name, where what it covers is not at hand.
    pub(super) fn put_named(&mut self, name: String, mac: Mac) {
        self.0.insert(name, mac);
    }

    /// Each with its row's name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Mac)> {
        self.0.iter().map(|(name, mac)| (name.as_str(), mac))
    }

    pub(super) fn remove(&mut self, row: &Covered) {
        self.0.remove(&row.name());
    }

    pub(super) fn digest(&self) -> Digest {
        let mut packed = Packed::default();
        for (name, mac) in &self.0 {
            packed = packed.text(name).bytes(&mac.to_bytes());
        }
        Digest::of(&packed.0)
    }
}

/// What the row of a vault's own facts says.
#[derive(Clone, Debug)]
pub(super) struct VaultFacts {
    pub(super) name: VaultName,
    pub(super) aud: Aud,
    pub(super) epochs: u64,
    pub(super) floor: Timestamp,
    /// The `seq` of the newest `config` entry.
    pub(super) config: Option<u64>,
    /// The newest reset of the clock.
    pub(super) reset: Option<Reset>,
    /// Whether everything is frozen, which a row of its own says.
    pub(super) frozen: bool,
    /// The newest restore from a backup.
    pub(super) restored: Option<Restored>,
    /// The epochs of the ring, in order; none before its first rotation.
    pub(super) ring: Vec<u64>,
}

/// A restore from a backup.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Restored {
    /// The restores that led here, with this one.
    pub(super) number: u64,
    /// The command by which the backup was made.
    pub(super) by: By,
    /// What this restore drew.
    pub(super) salt: Bytes,
    /// Whether a daemon has begun on it.
    pub(super) begun: bool,
    /// It is a rehearsal, which touches no backend.
    pub(super) rehearsal: bool,
}

impl VaultFacts {
    /// The number of the newest restore.
    pub(super) fn restores(&self) -> u64 {
        self.restored.as_ref().map_or(0, |restored| restored.number)
    }

    /// How often the clock was reset.
    pub(super) fn resets(&self) -> u64 {
        self.reset.as_ref().map_or(0, |reset| reset.number)
    }
}

/// A reset of the clock by an operator's command.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Reset {
    /// How many there have been with this one.
    pub(super) number: u64,
    /// The command.
    pub(super) by: By,
    /// The command's `iat`: no earlier one resets the clock again.
    pub(super) iat: Timestamp,
    /// What it made the vault forget, and how far that was looked up; none in a database of before version 6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) recall: Option<Recall>,
}

/// Nonces that were forgotten under a clock that was ahead; see [`super::recall`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Recall {
    /// Up to this `iat` nonces may have been forgotten: the highest floor of before any reset.
    pub(super) forgotten: Timestamp,
    /// When the clock was reset, by the clock that was right again.
    pub(super) since: Timestamp,
    /// How far the chains were read; none once all of them were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<NextLine>,
}

/// The line that is to be read next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct NextLine {
    /// Chains with lower numbers were read.
    pub(super) chain: u64,
    /// Entries of this chain before this one were read.
    pub(super) seq: u64,
}

/// The row of a vault's own facts in a database of this version. It covers the version too, since the fourth: a database
/// that is said to be older than it is would have its rows covered anew, whoever wrote them.
pub(super) fn vault(chain: ChainId, facts: &VaultFacts, version: usize) -> Covered {
    let VaultFacts { name, aud, epochs, floor, config, .. } = facts;
    let packed = Packed::default().text(name.as_str()).text(aud.as_str()).number(*epochs).number(floor.0);
    let packed = if version < 4 { packed } else { packed.number(version as u64) };
    let packed = match version {
        ..5 => packed,
        _ => packed.maybe(*config).text(&reset_text(facts).unwrap_or_default()),
    };
    // One that was never restored is covered as it was before there were restores.
    let packed = match restored_text(facts) {
        Some(restored) => packed.text(&restored),
        None => packed,
    };
    // So is one whose data keys were never rotated.
    let packed = match ring_text(facts) {
        Some(ring) => packed.text("ring").text(&ring),
        None => packed,
    };
    Covered::new("vault", chain.to_string(), packed)
}

/// The newest reset of the clock as it is stored.
pub(super) fn reset_text(facts: &VaultFacts) -> Option<String> {
    let reset = facts.reset.as_ref()?;
    Some(String::from_utf8(crate::crypto::json::canonical(reset)).expect("canonical JSON is UTF-8"))
}

/// The newest restore as it is stored.
pub(super) fn restored_text(facts: &VaultFacts) -> Option<String> {
    let restored = facts.restored.as_ref()?;
    Some(String::from_utf8(crate::crypto::json::canonical(restored)).expect("canonical JSON is UTF-8"))
}

/// The epochs of the ring as they are stored.
pub(super) fn ring_text(facts: &VaultFacts) -> Option<String> {
    (!facts.ring.is_empty()).then(|| serde_json::Value::from(facts.ring.clone()).to_string())
}

/// The row of an agent.
pub(super) fn agent(chain: ChainId, name: &AgentName, since: Timestamp, frozen: bool) -> Covered {
    let packed = Packed::default().text(name.as_str()).number(since.0).number(frozen.into());
    Covered::new("agents", chain.to_string(), packed)
}

/// The row of an operator. That of an admin is covered as it was before there were other duties, so that those of older
/// databases are admins'; a duty that was taken out of another's row leaves a row that does not verify.
pub(super) fn operator(chain: ChainId, name: &OperatorName, since: Timestamp, duty: &Duty) -> Covered {
    let packed = Packed::default().number(chain as u64).number(since.0);
    let packed = match duty_text(duty) {
        Some(duty) => packed.text(&duty),
        None => packed,
    };
    Covered::new("operators", name.as_str(), packed)
}

/// A duty as it is stored; none for that of an admin.
pub(super) fn duty_text(duty: &Duty) -> Option<String> {
    (*duty != Duty::Admin)
        .then(|| String::from_utf8(crate::crypto::json::canonical(duty)).expect("canonical JSON is UTF-8"))
}

/// The row of a key.
pub(super) fn key(id: i64, chain: ChainId, key: &HeldKey) -> Covered {
    let (kind, name) = holder(&key.holder);
    let packed = Packed::default()
        .number(chain as u64)
        .text(kind)
        .text(name)
        .text(key.kid.as_str())
        .number(key.kver)
        .bytes(&key.public.to_bytes())
        .text(key.form.as_str())
        .number(key.since.0)
        .maybe(key.grace.map(|at| at.0))
        .maybe(key.ended.map(|at| at.0));
    Covered::new("keys", id.to_string(), packed)
}

/// The kind and the name of a holder.
pub(super) fn holder(holder: &Holder) -> (&'static str, &str) {
    match holder {
        Holder::Agent(name) => ("agent", name.as_str()),
        Holder::Operator(name) => ("operator", name.as_str()),
    }
}

/// The row of a role, its configuration as the text that is stored.
pub(super) fn role(chain: ChainId, role: &Role, config: &str) -> Covered {
    let packed = Packed::default().number(chain as u64).text(&role.engine).text(config).number(role.since.0);
    Covered::new("roles", role.name.as_str(), packed)
}

/// What a row says of a key for tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TokenKeyFacts {
    /// Which of them it is.
    pub(super) epoch: u64,
    pub(super) kid: Kid,
    /// From when on it signs.
    pub(super) signs: Timestamp,
    /// Until when the keys before it are published.
    pub(super) former_until: Timestamp,
}

/// The row of a key for tokens.
pub(super) fn token_key(chain: ChainId, key: &TokenKeyFacts) -> Covered {
    let packed =
        Packed::default().number(chain as u64).text(key.kid.as_str()).number(key.signs.0).number(key.former_until.0);
    Covered::new("token_keys", key.epoch.to_string(), packed)
}

/// The row that says which version of a secret is the newest.
pub(super) fn newest(chain: ChainId, name: &SecretName, version: u64) -> Covered {
    Covered::new("newest", name.as_str(), Packed::default().number(chain as u64).number(version))
}

/// The row of a grant, its terms as the text that is stored.
pub(super) fn grant(chain: ChainId, grant: &Grant, terms: &str) -> Covered {
    let packed = Packed::default().text(grant.agent.as_str()).text(terms).number(grant.seq).number(grant.since.0);
    Covered::new("grants", format!("{chain}/{}", grant.role), packed)
}

/// The row of what a grant has given.
pub(super) fn uses(chain: ChainId, seq: u64, uses: Uses) -> Covered {
    let packed = Packed::default().number(uses.count).number(uses.paced);
    Covered::new("uses", format!("{chain}/{seq}"), packed)
}

/// A blob as a digest.
pub(super) fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    Ok(Digest::from_bytes(row.get(column)?))
}

/// A text that was written from a value of ours, as that value; or as `None` where none could have written it.
pub(super) fn parsed<T: std::str::FromStr>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>> {
    Ok(row.get_ref(column)?.as_str().ok().and_then(|text| text.parse().ok()))
}

/// A text of JSON, as [`parsed`].
pub(super) fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>> {
    Ok(row.get_ref(column)?.as_str().ok().and_then(|text| serde_json::from_str(text).ok()))
}

/// A text of JSON where there is one; none where it is not ours.
fn maybe_json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Option<T>>> {
    match row.get_ref(column)?.as_str_or_null()? {
        None => Ok(Some(None)),
        Some(_) => Ok(json(row, column)?.map(Some)),
    }
}

pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    row.get(column).map(Timestamp)
}

pub(super) fn maybe_time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<u64>>(column)?.map(Timestamp))
}

fn mac(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Mac>> {
    Ok(row.get_ref(column)?.as_blob().ok().and_then(Mac::from_slice))
}

/// How the rows of a chain are asked for.
const OF_CHAIN: &str = "WHERE chain = ?1";

/// Whose chains a table's rows belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// The vault's.
    Vault,
    /// The operators'.
    Operators,
    /// Agents'.
    Agents,
    /// Those of several, found by an index on the chain.
    Several,
}

/// A table of rows that decide, and by which column one of a chain is found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decider {
    pub(super) table: &'static str,
    column: &'static str,
    pub(super) whose: Whose,
}

/// All tables of rows that decide.
pub(super) const DECIDERS: [Decider; 13] = {
    const fn table(table: &'static str, column: &'static str, whose: Whose) -> Decider {
        Decider { table, column, whose }
    }
    [
        table("vault", "chain", Whose::Vault),
        table("freezes", "role", Whose::Several),
        table("agents", "chain", Whose::Agents),
        table("operators", "name", Whose::Operators),
        table("keys", "id", Whose::Several),
        table("roles", "name", Whose::Operators),
        table("token_keys", "epoch", Whose::Operators),
        table("newest", "name", Whose::Operators),
        table("custodians", "name", Whose::Operators),
        table("policy", "chain", Whose::Operators),
        table("waiting", "command", Whose::Operators),
        table("grants", "role", Whose::Agents),
        table("uses", "seq", Whose::Agents),
    ]
};

impl Decider {
    pub(super) fn of(table: &str) -> Option<&'static Decider> {
        DECIDERS.iter().find(|decider| decider.table == table)
    }

    /// The condition of one row of the chain `?1`, by its key `?2`.
    fn condition(&self) -> String {
        format!("{OF_CHAIN} AND {} = ?2", self.column)
    }

    /// The key of a row, out of its name: of a row that is named with its chain, the rest.
    fn key<'r>(&self, row: &'r str) -> &'r str {
        match self.table {
            "freezes" | "grants" | "uses" => row.split_once('/').map_or(row, |(_, key)| key),
            _ => row,
        }
    }

    /// Writes another MAC beside a row.
    pub(super) fn write(&self, conn: &Connection, chain: ChainId, row: &str, mac: &Mac) -> rusqlite::Result<usize> {
        let sql = format!("UPDATE {} SET mac = ?3 {}", self.table, self.condition());
        conn.prepare_cached(&sql)?.execute(rusqlite::params![chain, self.key(row), mac.to_bytes()])
    }
}

/// Rows of one table, read and verified.
pub(super) struct Reading<'a> {
    conn: &'a Connection,
    ring: &'a Ring,
    /// The MACs of the rows that verified.
    pub(super) macs: Macs,
    /// The names of those that did not.
    pub(super) forged: Vec<String>,
    /// The one row that is asked for, where not all are.
    only: Option<(&'a str, &'a str)>,
    /// What of it is covered.
    covered: Option<Covered>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(conn: &'a Connection, ring: &'a Ring) -> Reading<'a> {
        Reading { conn, ring, macs: Macs::default(), forged: Vec::new(), only: None, covered: None }
    }

    /// One deciding row of a chain by its name among them, if it is there and verifies with this very MAC.
    pub(super) fn one(
        conn: &'a Connection,
        ring: &'a Ring,
        (chain, of): (ChainId, &ChainName),
        name: &'a str,
        mac: &Mac,
    ) -> rusqlite::Result<Option<Covered>> {
        let Some((table, row)) = name.split_once('/') else { return Ok(None) };
        let mut reading = Reading { only: Some((table, row)), ..Reading::new(conn, ring) };
        let agent = of.agent();
        match table {
            "vault" => drop(reading.vault(chain, super::schema::VERSION)?),
            "freezes" => drop(reading.freezes(chain)?),
            "agents" => drop(reading.agent(chain)?),
            "operators" => drop(reading.operators(chain)?),
            "keys" if agent.is_some() => drop(reading.keys(chain, |text| text.parse().ok().map(Holder::Agent))?),
            "keys" => drop(reading.keys(chain, |text| text.parse().ok().map(Holder::Operator))?),
            "roles" => drop(reading.roles(chain)?),
            "token_keys" => drop(reading.token_keys(chain)?),
            "newest" => drop(reading.newest(chain)?),
            "custodians" => drop(reading.custodians(chain)?),
            "policy" => drop(reading.policy(chain)?),
            "waiting" => drop(reading.waiting(chain)?),
            "grants" => drop(agent.map(|agent| reading.grants(chain, &agent)).transpose()?),
            "uses" => drop(reading.uses(chain)?),
            _ => return Ok(None),
        }
        let same = reading.macs.iter().eq([(name, mac)]);
        Ok(reading.covered.filter(|_| same))
    }

    /// The values of a chain's rows that verify. `read` gives a row's value, and what its MAC covers; the MAC stands in
    /// the first column.
    pub(super) fn rows<T>(
        &mut self,
        table: &str,
        sql: &str,
        chain: ChainId,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<Option<(T, Covered)>>,
    ) -> rusqlite::Result<Vec<T>> {
        let (sql, key) = match self.only {
            None => (sql.to_owned(), None),
            Some((asked, row)) => match Decider::of(asked).filter(|decider| decider.table == table) {
                Some(decider) => (sql.replacen(OF_CHAIN, &decider.condition(), 1), Some(decider.key(row))),
                None => return Ok(Vec::new()),
            },
        };
        let mut statement = self.conn.prepare_cached(&sql)?;
        let mut rows = match key {
            None => statement.query([chain])?,
            Some(key) => statement.query(rusqlite::params![chain, key])?,
        };
        let mut values = Vec::new();
        while let Some(row) = rows.next()? {
            match (read(row), mac(row, 0)?) {
                (Ok(Some((value, covered))), Some(mac)) if covered.verify(self.ring, &mac) => {
                    self.macs.put(&covered, mac);
                    self.covered = self.only.map(|_| covered);
                    values.push(value);
                }
                (Err(error), _) if !is_conversion(&error) => return Err(error),
                _ => self.forged.push(table.to_owned()),
            }
        }
        Ok(values)
    }

    /// The vault's own facts, in a database of this version.
    pub(super) fn vault(&mut self, chain: ChainId, version: usize) -> rusqlite::Result<Option<VaultFacts>> {
        let sql = match version {
            ..5 => "SELECT mac, name, aud, epochs, iat_floor, NULL, NULL, NULL, NULL FROM vault WHERE chain = ?1",
            5..RESTORES => {
                "SELECT mac, name, aud, epochs, iat_floor, config, reset, NULL, NULL FROM vault WHERE chain = ?1"
            }
            RESTORES..ROTATIONS => {
                "SELECT mac, name, aud, epochs, iat_floor, config, reset, restored, NULL FROM vault WHERE chain = ?1"
            }
            _ => "SELECT mac, name, aud, epochs, iat_floor, config, reset, restored, ring FROM vault WHERE chain = ?1",
        };
        let read = |row: &Row<'_>| {
            let (Some(name), Some(aud)) = (parsed(row, 1)?, parsed(row, 2)?) else { return Ok(None) };
            let (epochs, floor) = (row.get(3)?, time(row, 4)?);
            let config = maybe_time(row, 5)?.map(|seq| seq.0);
            let (Some(reset), Some(restored)) = (maybe_json(row, 6)?, maybe_json(row, 7)?) else { return Ok(None) };
            let Some(ring) = maybe_json::<Vec<u64>>(row, 8)? else { return Ok(None) };
            let ring = ring.unwrap_or_default();
            let facts = VaultFacts { name, aud, epochs, floor, config, reset, frozen: false, restored, ring };
            let covered = vault(chain, &facts, version);
            Ok(Some((facts, covered)))
        };
        let facts = self.rows("vault", sql, chain, read)?.pop();
        let frozen = version >= 6 && self.freezes(chain)?.iter().any(String::is_empty);
        Ok(facts.map(|facts| VaultFacts { frozen, ..facts }))
    }

    pub(super) fn agent(&mut self, chain: ChainId) -> rusqlite::Result<Option<(AgentName, Timestamp, bool)>> {
        let sql = "SELECT mac, name, since, frozen FROM agents WHERE chain = ?1";
        let read = |row: &Row<'_>| {
            let Some(name) = parsed(row, 1)? else { return Ok(None) };
            let (since, frozen) = (time(row, 2)?, row.get(3)?);
            let covered = agent(chain, &name, since, frozen);
            Ok(Some(((name, since, frozen), covered)))
        };
        Ok(self.rows("agents", sql, chain, read)?.pop())
    }

    pub(super) fn operators(&mut self, chain: ChainId) -> rusqlite::Result<Vec<(OperatorName, Timestamp, Duty)>> {
        let sql = "SELECT mac, name, since, duty FROM operators WHERE chain = ?1";
        self.rows("operators", sql, chain, |row| {
            let (Some(name), Some(duty)) = (parsed(row, 1)?, maybe_json(row, 3)?) else { return Ok(None) };
            let (since, duty) = (time(row, 2)?, duty.unwrap_or(Duty::Admin));
            let covered = operator(chain, &name, since, &duty);
            Ok(Some(((name, since, duty), covered)))
        })
    }

    /// Keys with their numbers, by kver.
    pub(super) fn keys(
        &mut self,
        chain: ChainId,
        of: fn(&str) -> Option<Holder>,
    ) -> rusqlite::Result<Vec<(i64, HeldKey)>> {
        let sql = "SELECT mac, id, holder, kid, kver, pk, form, since, grace, ended FROM keys WHERE chain = ?1
                   ORDER BY holder, kver";
        self.rows("keys", sql, chain, |row| {
            let (Some(kid), Some(holder)) = (parsed::<Kid>(row, 3)?, of(row.get_ref(2)?.as_str()?)) else {
                return Ok(None);
            };
            let form = match row.get_ref(6)?.as_str()? {
                "pae" => Form::Pae,
                "sshsig" => Form::Sshsig,
                _ => return Ok(None),
            };
            let Ok(public) = PublicKey::from_bytes(&row.get(5)?) else { return Ok(None) };
            let (grace, ended) = (maybe_time(row, 8)?, maybe_time(row, 9)?);
            let held = HeldKey { holder, kid, kver: row.get(4)?, public, form, since: time(row, 7)?, grace, ended };
            let id = row.get(1)?;
            let covered = key(id, chain, &held);
            Ok(Some(((id, held), covered)))
        })
    }

    pub(super) fn roles(&mut self, chain: ChainId) -> rusqlite::Result<Vec<Role>> {
        let sql = "SELECT mac, name, engine, config, since FROM roles WHERE chain = ?1";
        self.rows("roles", sql, chain, |row| {
            let (Some(name), Some(config)) = (parsed::<RoleName>(row, 1)?, json(row, 3)?) else { return Ok(None) };
            let value = Role { name, engine: row.get(2)?, config, since: time(row, 4)?, frozen: false };
            let covered = role(chain, &value, row.get_ref(3)?.as_str()?);
            Ok(Some((value, covered)))
        })
    }

    pub(super) fn token_keys(&mut self, chain: ChainId) -> rusqlite::Result<Vec<TokenKeyFacts>> {
        let sql = "SELECT mac, epoch, kid, signs, former_until FROM token_keys WHERE chain = ?1";
        self.rows("token_keys", sql, chain, |row| {
            let Some(kid) = parsed(row, 2)? else { return Ok(None) };
            let value = TokenKeyFacts { epoch: row.get(1)?, kid, signs: time(row, 3)?, former_until: time(row, 4)? };
            let covered = token_key(chain, &value);
            Ok(Some((value, covered)))
        })
    }

    /// The newest version of each secret.
    pub(super) fn newest(&mut self, chain: ChainId) -> rusqlite::Result<BTreeMap<SecretName, u64>> {
        let sql = "SELECT mac, name, version FROM newest WHERE chain = ?1";
        let rows = self.rows("newest", sql, chain, |row| {
            let Some(name) = parsed::<SecretName>(row, 1)? else { return Ok(None) };
            let version = row.get(2)?;
            let covered = newest(chain, &name, version);
            Ok(Some(((name, version), covered)))
        })?;
        Ok(rows.into_iter().collect())
    }

    /// Grants by role.
    pub(super) fn grants(&mut self, chain: ChainId, of: &AgentName) -> rusqlite::Result<Vec<Grant>> {
        let sql = "SELECT mac, role, terms, seq, since FROM grants WHERE chain = ?1 ORDER BY role";
        self.rows("grants", sql, chain, |row| {
            let (Some(role), Some(terms)) = (parsed::<RoleName>(row, 1)?, json(row, 2)?) else { return Ok(None) };
            let value = Grant { agent: of.clone(), role, terms, seq: row.get(3)?, since: time(row, 4)? };
            let covered = grant(chain, &value, row.get_ref(2)?.as_str()?);
            Ok(Some((value, covered)))
        })
    }

    pub(super) fn uses(&mut self, chain: ChainId) -> rusqlite::Result<BTreeMap<u64, Uses>> {
        let sql = "SELECT mac, seq, count, paced FROM uses WHERE chain = ?1";
        let rows = self.rows("uses", sql, chain, |row| {
            let (seq, value) = (row.get(1)?, Uses { count: row.get(2)?, paced: row.get(3)? });
            let covered = uses(chain, seq, value);
            Ok(Some(((seq, value), covered)))
        })?;
        Ok(rows.into_iter().collect())
    }
}

/// The value has a type or a range that ours never have: the row is not ours.
pub(super) fn is_conversion(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType};
    matches!(error, FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    #[test]
    fn members_cannot_be_cut_elsewhere() {
        let one = Packed::default().text("ab").text("c").maybe(None).0;
        let two = Packed::default().text("a").text("bc").maybe(None).0;
        assert_ne!(one, two);
        assert_ne!(Packed::default().maybe(None).0, Packed::default().maybe(Some(0)).0);
    }

    #[test]
    fn the_digest_of_rows_sees_each_row_and_each_mac() {
        let ring = Ring::generate(&SeededEntropy::new(1));
        let rows = [uses(1, 3, Uses::default()), uses(1, 4, Uses { count: 1, paced: 0 })];
        let mut macs = Macs::default();
        let mut seen = vec![macs.digest()];
        for row in &rows {
            macs.put(row, row.mac(&ring));
            seen.push(macs.digest());
        }
        let again = uses(1, 4, Uses { count: 2, paced: 0 });
        macs.put(&again, again.mac(&ring));
        seen.push(macs.digest());
        for (index, digest) in seen.iter().enumerate() {
            assert!(!seen[..index].contains(digest), "state {index} has the digest of an earlier one");
        }
        macs.remove(&rows[1]);
        assert_eq!(macs.digest(), seen[1]);
        assert!(!uses(2, 3, Uses::default()).verify(&ring, &rows[0].mac(&ring)), "a row of another chain was taken");
    }
}
