//! The founding of a vault's store, and its opening. Founding is one transaction on a file that was not there before: a
//! crash leaves either no vault, whose file the next founding must be freed of by hand, or all of it.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::super::{Founding, KeptKey, Origins, VaultKeys};
use super::chains::{self, Found, Layout, RECALLS};
use super::files::Files;
use super::rows;
use super::schema::{self, Access, Keys, VERSION};
use super::stop::Stop;
use super::tx::Tx;
use super::views::{Facts, OperatorFacts, VaultFacts};
use super::{OpenFault, Shared, custodians, writer};
use crate::audit::entry;
use crate::base64url::Bytes;
use crate::crypto::aead::Place;
use crate::crypto::envelope::Embedded;
use crate::crypto::signature::SigningKey;
use crate::entropy::Entropy;
use crate::id::ChainName;
use crate::registry::{Duty, HeldKey};
use crate::seal::at_rest::Ring;
use crate::seal::custody::{Appointed, RootKey};
use crate::secret::Secret;
use crate::statement::cert::KeyRole;
use crate::statement::register::{Holder, Register};
use crate::statement::reply::EntryRef;
use crate::time::{ManualClock, Timestamp};

const IDENTITY: &str = "identity";

/// The word that a key's role is stored under.
pub(super) fn word(role: KeyRole) -> &'static str {
    match role {
        KeyRole::Response => "response",
        KeyRole::Audit => "audit",
        KeyRole::Checkpoint => "checkpoint",
        KeyRole::Intake => "intake",
        KeyRole::Jwt => "jwt",
    }
}

fn role_of(word: &str) -> Option<KeyRole> {
    let all = [KeyRole::Response, KeyRole::Audit, KeyRole::Checkpoint, KeyRole::Intake, KeyRole::Jwt];
    all.into_iter().find(|role| self::word(*role) == word)
}

pub(super) fn key_place(role: &str) -> Place<'_> {
    Place { table: "own_keys", column: "sealed", row: role, purpose: "own_key", ver: 1 }
}

/// Makes the store of a new vault in `folder`.
pub(super) fn found(
    folder: &Path,
    root: &RootKey,
    founding: Founding,
    entropy: Arc<dyn Entropy>,
) -> Result<(EntryRef, EntryRef), OpenFault> {
    let files = Files::begin(folder)?;
    let founded = begin(&files, root, founding, entropy);
    if founded.is_err() {
        files.undo();
    }
    founded
}

fn begin(
    files: &Files,
    root: &RootKey,
    founding: Founding,
    entropy: Arc<dyn Entropy>,
) -> Result<(EntryRef, EntryRef), OpenFault> {
    let mut conn = schema::connect(&files.database(), Access::Write)?;
    let ring = Ring::generate(&*entropy);
    schema::begin(&mut conn, &Keys { ring: &ring, root, entropy: &*entropy })?;
    let Founding { name, aud, identity, kept, operator, proof, audit_key, custodians, now } = founding;
    let custodians = if custodians.is_empty() { vec![Appointed::first(root)] } else { custodians };
    let shared = Shared::new(ring, None, Arc::new(ManualClock::at(now)), entropy, (name, aud), identity.public());
    let genesis = writer::alone(&conn, &shared, Arc::new(audit_key), |tx| {
        custodians::write_ring(tx, &tx.shared.ring, root)?;
        store_key(tx, IDENTITY, identity.seed().expose(), None)?;
        for KeptKey { role, secret, cert } in &kept {
            store_key(tx, word(*role), secret.expose(), Some(cert))?;
        }
        Ok((found_vault(tx, &shared)?, found_operators(tx, &shared, (&operator, &proof), (root, custodians))?))
    });
    let genesis = genesis.map_err(|stop| match stop {
        Stop::Sql(error) => error.into(),
        Stop::Denied(denial) => OpenFault::Broken(denial.to_string()),
        Stop::Broken(what) => OpenFault::Broken(what),
    })?;
    files.keep_reserve().map_err(|cause| OpenFault::Io { path: files.database(), cause })?;
    Ok(genesis)
}

fn store_key(tx: &Tx<'_>, role: &str, secret: &[u8], cert: Option<&Embedded>) -> Result<(), Stop> {
    let sealed = tx.shared.ring.seal(&key_place(role), secret, &*tx.shared.entropy);
    let cert = cert.map(text_of);
    let sql = "INSERT INTO own_keys (role, sealed, cert) VALUES (?1, ?2, ?3)";
    tx.conn.execute(sql, params![role, sealed, cert])?;
    Ok(())
}

/// Replaces the certificate of one of the vault's own keys.
pub(super) fn replace_cert(tx: &Tx<'_>, role: KeyRole, cert: &Embedded) -> Result<(), Stop> {
    let (word, text) = (word(role), text_of(cert));
    // The first key for tokens stands with the others, those after it in a table of theirs.
    let changed = match super::token_keys::epoch_of(cert) {
        Some(epoch) if role == KeyRole::Jwt && epoch > 1 => {
            tx.conn.execute("UPDATE token_keys SET cert = ?2 WHERE epoch = ?1", params![epoch, text])?
        }
        _ => tx.conn.execute("UPDATE own_keys SET cert = ?2 WHERE role = ?1", [word, &text])?,
    };
    if changed == 1 { Ok(()) } else { Err(Stop::Broken(format!("the vault has no such key of the role {word}"))) }
}

pub(super) fn text_of(cert: &Embedded) -> String {
    String::from_utf8(crate::crypto::json::canonical(cert)).expect("canonical JSON is UTF-8")
}

fn found_vault(tx: &mut Tx<'_>, shared: &Shared) -> Result<EntryRef, Stop> {
    // The audit key that signs the first entries is of the first epoch.
    let facts = VaultFacts {
        name: shared.name.clone(),
        aud: shared.aud.clone(),
        epochs: 1,
        floor: Timestamp::ZERO,
        config: None,
        reset: None,
        frozen: false,
        restored: None,
        ring: Vec::new(),
    };
    let mut vault = tx.begin(&ChainName::vault(), Facts::Vault(facts.clone()))?;
    let genesis = entry::VaultGenesis {
        aud: shared.aud.clone(),
        identity: Bytes(shared.identity.to_bytes().to_vec()),
        name: shared.name.clone(),
        salt: Bytes(shared.entropy.bytes::<16>().to_vec()),
    };
    let entry = tx.append_deciding(&mut vault, genesis)?;
    tx.put_vault(&mut vault, facts)?;
    tx.keep(vault);
    Ok(entry)
}

fn found_operators(
    tx: &mut Tx<'_>,
    shared: &Shared,
    (register, embedded): (&Register, &Embedded),
    (root, custodians): (&RootKey, Vec<Appointed>),
) -> Result<EntryRef, Stop> {
    let Holder::Operator(name) = &register.holder else {
        return Err(Stop::Broken("the first key is not an operator's".to_owned()));
    };
    let mut operators = tx.begin(&ChainName::operators(), Facts::Operators(OperatorFacts::default()))?;
    let genesis = entry::OperatorsGenesis {
        identity: Bytes(shared.identity.to_bytes().to_vec()),
        operator: name.clone(),
        register: embedded.clone(),
        salt: Bytes(shared.entropy.bytes::<16>().to_vec()),
    };
    let entry = tx.append_deciding(&mut operators, genesis)?;
    let since = operators.chain.head.ts;
    tx.put_operator(&mut operators, name, since, &Duty::Admin)?;
    tx.add_key(&mut operators, HeldKey::registered(register, since))?;
    custodians::found(tx, shared, &mut operators, root, custodians)?;
    tx.keep(operators);
    Ok(entry)
}

/// Data keys with their epochs, each wrapped by a root key.
type Wrapped = Vec<(u64, Vec<u8>)>;

/// The ring of a store.
pub(super) fn ring(conn: &Connection, root: &RootKey) -> Result<Ring, OpenFault> {
    let mut statement = conn.prepare("SELECT epoch, wrapped FROM ring")?;
    let stored = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<Vec<_>, _>>()?;
    // All are wrapped at once; what another root key wrapped was put beside them.
    let ours = |(_, key): &(u64, Vec<u8>)| Ring::epoch_of(key) == Some(root.epoch());
    let (wrapped, others): (Wrapped, Wrapped) = stored.into_iter().partition(ours);
    if !wrapped.is_empty() && !others.is_empty() {
        tracing::error!(
            keys = others.len(),
            "data keys were put back that another root key wrapped; they are not used"
        );
    }
    Ring::unwrap(root, &wrapped).map_err(|_| OpenFault::WrongRoot)
}

/// The vault's own facts, out of a row that verifies. Whether it is the newest one is for the chain's row to say.
pub(super) fn vault(conn: &Connection, ring: &Ring) -> Result<VaultFacts, OpenFault> {
    let chain = conn.query_row("SELECT id FROM chains WHERE name = '_vault'", [], |row| row.get(0))?;
    let mut reading = rows::Reading::new(conn, ring);
    let row = reading.vault(chain, VERSION)?;
    // Each rotation of the data keys writes it anew; under an older key it is one that was put back.
    let row = row.filter(|_| reading.macs.iter().all(|(_, mac)| mac.epoch() == ring.epoch()));
    row.ok_or_else(|| OpenFault::Broken("the vault's own row is forged".to_owned()))
}

/// Has the vault's own row say that a database of version `from` is now of version `to`. So only a database that was of
/// that version is brought on from it.
pub(super) fn cover_version(conn: &Connection, ring: &Ring, from: usize, to: usize) -> Result<(), OpenFault> {
    let broken = || OpenFault::Broken(format!("it is said to be of version {from}, and the vault's own row is not"));
    let id = conn.query_row("SELECT id FROM chains WHERE name = '_vault'", [], |row| row.get(0))?;
    let mut reading = rows::Reading::new(conn, ring);
    let mut facts = reading.vault(id, from)?.ok_or_else(broken)?;
    let layout = Layout::of(to);
    let Found::Row(mut chain) = chains::find_in(layout, conn, &facts.name, &ChainName::vault())? else {
        return Err(broken());
    };
    if !chain.verify_in(layout, ring) || !chain.fits_its_lines(conn)? || reading.macs.digest() != chain.deciders {
        return Err(broken());
    }
    if let Some(reset) = facts.reset.as_mut().filter(|reset| to >= RECALLS && reset.recall.is_none()) {
        reset.recall = Some(super::recall::of_old());
        conn.execute("UPDATE vault SET reset = ?2 WHERE chain = ?1", params![id, rows::reset_text(&facts)])?;
    }
    let row = rows::vault(id, &facts, to);
    let mac = row.mac(ring);
    conn.execute("UPDATE vault SET mac = ?2 WHERE chain = ?1", params![id, mac.to_bytes()])?;
    reading.macs.put(&row, mac);
    chain.deciders = reading.macs.digest();
    match layout {
        Layout::BeforeTrees => Ok(chain.write_before_trees(conn, ring)?),
        Layout::BeforeRestores | Layout::Present => Ok(chain.write(conn, ring)?),
    }
}

/// The vault's keys.
pub(super) fn keys(conn: &Connection, ring: &Ring, facts: &VaultFacts) -> Result<VaultKeys, OpenFault> {
    let broken = |what: &str| OpenFault::Broken(what.to_owned());
    let mut statement = conn.prepare("SELECT role, sealed, cert FROM own_keys ORDER BY role")?;
    let mut rows = statement.query([])?;
    let (mut identity, mut kept) = (None, Vec::new());
    while let Some(row) = rows.next()? {
        let (role, sealed): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let opened = ring.open(&key_place(&role), &sealed).map_err(|_| broken("a key of the vault does not open"))?;
        let secret = Secret::from_slice(opened.expose()).ok_or_else(|| broken("a key of the vault is not 32 bytes"))?;
        if role == IDENTITY {
            identity = Some(SigningKey::from_seed(&secret));
            continue;
        }
        let role = role_of(&role).ok_or_else(|| broken("a key of the vault has an unknown role"))?;
        let cert = rows::json(row, 2)?.ok_or_else(|| broken("a key of the vault has no certificate"))?;
        kept.push(KeptKey { role, secret, cert });
    }
    let identity = identity.ok_or_else(|| broken("the vault has no identity key"))?;
    if crate::id::Aud::of_identity(&identity.kid()) != facts.aud {
        return Err(broken("the identity key is not the vault's"));
    }
    let (name, aud, audit_epochs) = (facts.name.clone(), facts.aud.clone(), facts.epochs);
    let restored = facts.restored.as_ref().map_or_else(Origins::default, |restored| Origins {
        restores: restored.number,
        unbegun: !restored.begun,
        rehearsal: restored.rehearsal,
    });
    Ok(VaultKeys {
        name,
        aud,
        identity,
        kept,
        audit_epochs,
        newest: Timestamp::ZERO,
        ended: true,
        restored,
        opened: None,
        opener: None,
    })
}
