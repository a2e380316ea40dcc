//! Backups: a copy of the database as it is at one instant, sealed on its way out; and a store that is made of one.
//!
//! The copy is made by SQLite's `VACUUM INTO`, in one read transaction that lasts as long as the copying does and no longer:
//! the writer goes on meanwhile, and the log of writes grows by what it writes. Then the copy, a file without a name, is
//! sealed and given out at the pace of whoever takes it. What was deleted is not in it.
//!
//! | a crash after | leaves |
//! |---|---|
//! | the command in `_operators` | a command without a backup |
//! | the copy was begun | a file `backup.copy`, which the next opening or backup removes |
//! | its name was taken away | nothing |
//!
//! A restore writes into a directory that was not there before, and gives the database its name last: a crash before that
//! leaves a directory without a store, which nothing opens.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use super::super::{Belonging, Failure, WantedBackup};
use super::files::Files;
use super::rows::{Restored, VaultFacts};
use super::schema::{self, Access, Keys, VERSION};
use super::stop::Stop;
use super::tx::{self, Tx};
use super::writer::execute;
use super::{OpenFault, Shared, chains, custodians, founding, rings};
use crate::audit::entry::{Body, Entry};
use crate::audit::links::Links;
use crate::base64url::Bytes;
use crate::crypto::hash::Digest;
use crate::entropy::Entropy;
use crate::failpoint::failpoint;
use crate::id::{Aud, ChainName, VaultName};
use crate::seal::at_rest::Ring;
use crate::seal::backup::{self, About, BackupFault, Header, Manifest, Opened, Part, Sealing};
use crate::seal::custody::RootKey;
use crate::statement::Body as _;
use crate::statement::backup::Backup;
use crate::statement::reply::EntryRef;
use crate::time::{ManualClock, Timestamp};

/// The copy, as long as it has a name.
pub(super) const COPY: &str = "backup.copy";

/// How many lines of a chain are read at once, and how many bytes.
const LINES: (u64, usize) = (128, 1 << 20);

/// The longest file beside the database.
const BELONGING: u64 = 1 << 20;

fn broken(what: impl Into<String>) -> Failure {
    Failure::Unavailable(what.into())
}

/// Writes a backup to `out`. It takes as long as it takes; the caller has a thread for it.
pub(super) fn write(
    shared: &Shared,
    database: &Path,
    wanted: WantedBackup,
    out: Box<dyn Write + Send>,
) -> Result<(), Failure> {
    let before = shared.ring.held();
    let (mut copy, conn) = copied(database).map_err(|fault| broken(fault.to_string()))?;
    failpoint!("backup: copied");
    let sealed = (|| -> Result<(), Stop> {
        let summary = summary(&conn)?;
        if command(&conn, &shared.name, wanted.by)?.is_none() {
            return Err(Stop::Broken("the copy does not hold the command that it was made by".to_owned()));
        }
        let mut statement = conn.prepare("SELECT epoch, wrapped FROM ring ORDER BY epoch")?;
        let ring = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<Vec<_>, _>>()?;
        let custodians = custodians::stored(&conn, VERSION).map_err(|fault| Stop::Broken(fault.to_string()))?;
        // The file key is sealed by a key that goes with it: the ring may have turned since the copy was made.
        let epochs: Vec<u64> = ring.iter().map(|(epoch, _)| *epoch).collect();
        let newest =
            Ring::among(&[before, shared.ring.held()], &epochs).filter(|ring| Some(&ring.epoch()) == epochs.last());
        let newest =
            newest.ok_or_else(|| Stop::Broken("the data keys were rotated meanwhile; try again".to_owned()))?;
        let WantedBackup { by, backup, files } = wanted;
        let about = About { aud: shared.aud.clone(), backup, by, made: shared.clock.now(), name: shared.name.clone() };
        let parts = files.iter().map(|file| Part { bytes: file.bytes.expose().len() as u64, name: file.name.clone() });
        let io = |cause: std::io::Error| Stop::Broken(format!("the backup could not be given out: {cause}"));
        let manifest = Manifest {
            chains: summary.chains,
            database: copy.metadata().map_err(io)?.len(),
            entries: summary.entries,
            files: parts.collect(),
            heads: summary.heads,
            schema: VERSION as u64,
            v: 1,
        };
        let entropy = &*shared.entropy;
        let give = || -> std::io::Result<()> {
            let mut sealing = Sealing::begin(out, about, &newest, (custodians, ring), &manifest, entropy)?;
            files.iter().try_for_each(|file| sealing.write_all(file.bytes.expose()))?;
            std::io::copy(&mut copy, &mut sealing)?;
            sealing.finish().map(drop)
        };
        give().map_err(io)
    })();
    sealed.map_err(Failure::from)
}

/// A copy of the database that has no name any more, and a connection to it.
fn copied(database: &Path) -> Result<(File, Connection), OpenFault> {
    let path = database.with_file_name(COPY);
    let io = |cause| OpenFault::Io { path: path.clone(), cause };
    forget(&path)?;
    let room = rustix::fs::statvfs(database).map_err(|errno| io(errno.into()))?;
    let needed = database.metadata().map_err(io)?.len().saturating_add(super::files::RESERVE * 2);
    if room.f_bavail.saturating_mul(room.f_frsize) < needed {
        return Err(io(std::io::Error::other(format!("a copy needs {needed} bytes of room beside the database"))));
    }
    // SQLite writes into a file that is there and empty; so it is closed to others from the beginning.
    let copy = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path).map_err(io)?;
    let made = (|| {
        let conn = schema::connect(database, Access::Copy)?;
        let text = path.to_str().ok_or_else(|| io(std::io::Error::other("the path is not UTF-8")))?;
        conn.execute("VACUUM INTO ?1", [text])?;
        schema::connect(&path, Access::Read)
            .and_then(|conn| {
                // It opens the file before that loses its name.
                conn.query_row("SELECT COUNT(*) FROM ring", [], |_| Ok(()))?;
                Ok(conn)
            })
            .map_err(OpenFault::from)
    })();
    forget(&path)?;
    Ok((copy, made?))
}

/// Removes a copy that was left.
pub(super) fn forget(path: &Path) -> Result<(), OpenFault> {
    match std::fs::remove_file(path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(OpenFault::Io { path: path.to_owned(), cause })
        }
        _ => Ok(()),
    }
}

/// What the chains of a database come to.
struct Summary {
    chains: u64,
    entries: u64,
    heads: Digest,
}

fn summary(conn: &Connection) -> Result<Summary, rusqlite::Error> {
    let mut summary = Summary { chains: 0, entries: 0, heads: Digest::ZERO };
    let mut statement = conn.prepare("SELECT name, size, leaf FROM chains ORDER BY name")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (name, size): (String, u64) = (row.get(0)?, row.get(1)?);
        let line = format!("{name} {size} {}\n", super::rows::digest(row, 2)?);
        summary.chains += 1;
        summary.entries += size;
        summary.heads = Digest::of_parts(&[summary.heads.as_bytes(), line.as_bytes()]);
    }
    Ok(summary)
}

/// What a command in `_operators` drew for its backup.
fn command(conn: &Connection, vault: &VaultName, by: EntryRef) -> rusqlite::Result<Option<String>> {
    let chains::Found::Row(operators) = chains::find(conn, vault, &ChainName::operators())? else { return Ok(None) };
    let Some(line) = chains::line_at(conn, operators.id, by.seq)? else { return Ok(None) };
    let entry = Entry::read(&line).ok().filter(|_| crate::crypto::hash::leaf(&line) == by.leaf);
    Ok(match entry.map(|entry| entry.body) {
        Some(Body::Command(command)) => {
            let typ = command.command.payload.get("typ").and_then(serde_json::Value::as_str);
            let drawn = command.result.get("backup").and_then(serde_json::Value::as_str);
            drawn.filter(|_| typ == Some(Backup::TYP)).map(str::to_owned)
        }
        _ => None,
    })
}

/// What whoever restores decides.
#[derive(Clone, Debug)]
pub struct Restoring {
    /// Whose backup it must be.
    pub aud: Aud,
    /// The number of this restore; none for one more than the backup has behind it.
    pub number: Option<u64>,
    /// It is a rehearsal: nothing of it touches a backend.
    pub rehearsal: bool,
}

/// A store that was made of a backup.
#[derive(Debug)]
pub struct RestoredStore {
    /// The vault's name.
    pub name: VaultName,
    /// The command by which the backup was made.
    pub by: EntryRef,
    /// When the backup was made.
    pub made: Timestamp,
    /// The number of this restore.
    pub number: u64,
    /// How many chains there are.
    pub chains: u64,
    /// How many entries they have.
    pub entries: u64,
    /// Chains that do not verify: they did not in the vault either, or it would not have written this backup.
    pub quarantined: Vec<(ChainName, String)>,
    /// What stood beside the database.
    pub files: Vec<Belonging>,
}

/// Why a backup does not become a store.
#[derive(Debug, thiserror::Error)]
pub enum RestoreFault {
    /// The file.
    #[error(transparent)]
    Backup(#[from] BackupFault),
    /// The place, or what the backup holds.
    #[error(transparent)]
    Store(#[from] OpenFault),
    /// A number that was given before.
    #[error("this backup has {behind} restores behind it, so that {wanted} is not a new one; name a higher number")]
    Number {
        /// How many there were.
        behind: u64,
        /// The one that was asked for.
        wanted: u64,
    },
    /// A backup that a rehearsal made.
    #[error(
        "this backup was made by a rehearsal, which never becomes the real vault; restore a backup that the vault itself \
         made, or try this one with --rehearsal"
    )]
    OfRehearsal,
    /// What the backup says of itself is not so.
    #[error("the backup is not what it says of itself: {0}; use another one")]
    NotSo(String),
}

impl From<rusqlite::Error> for RestoreFault {
    fn from(error: rusqlite::Error) -> RestoreFault {
        RestoreFault::Store(error.into())
    }
}

impl From<std::io::Error> for RestoreFault {
    fn from(error: std::io::Error) -> RestoreFault {
        RestoreFault::Backup(error.into())
    }
}

/// Reads the whole file once, writing nothing: what is wrong with it is found before anything is there.
pub(super) fn check(mut file: &File, root: &RootKey, aud: &Aud) -> Result<Manifest, BackupFault> {
    file.rewind()?;
    let Opened { manifest, mut rest, .. } = backup::open(file, aud, root)?;
    if manifest.files.iter().any(|part| part.bytes > BELONGING) {
        return Err(BackupFault::Unknown);
    }
    let files = manifest.files.iter().fold(0_u64, |all, part| all.saturating_add(part.bytes));
    rest.copy(files.saturating_add(manifest.database), &mut std::io::sink())?;
    rest.end()?;
    failpoint!("restore: checked");
    Ok(manifest)
}

/// Makes the store in `data_dir`, which must not be there.
pub(super) fn restore(
    data_dir: &Path,
    root: &RootKey,
    mut file: File,
    wanted: &Restoring,
    entropy: Arc<dyn Entropy>,
) -> Result<RestoredStore, RestoreFault> {
    let manifest = check(&file, root, &wanted.aud)?;
    file.rewind()?;
    let Opened { header, ring, mut rest, .. } = backup::open(&mut file, &wanted.aud, root)?;
    let mut belongings = Vec::new();
    for Part { bytes, name } in &manifest.files {
        let bytes = rest.take(usize::try_from(*bytes).unwrap_or(usize::MAX))?;
        belongings.push(Belonging { name: name.clone(), bytes: Arc::new(bytes) });
    }
    let files = Files::anew(data_dir)?;
    let part = files.unnamed();
    let io = |cause| OpenFault::Io { path: part.clone(), cause };
    let mut out = File::options().write(true).create_new(true).mode(0o600).open(&part).map_err(io)?;
    rest.copy(manifest.database, &mut out)?;
    out.sync_all().map_err(io)?;
    failpoint!("restore: written");

    let mut conn = schema::connect(&part, Access::Write)?;
    let version = schema::version(&conn)?;
    let stored = founding::ring(&conn, root)?;
    // The rows are read and covered by the keys of the database; those of the header opened the file.
    drop(ring);
    let summary = summary(&conn)?;
    let told = (manifest.schema, manifest.chains, manifest.entries, manifest.heads);
    if (version as u64, summary.chains, summary.entries, summary.heads) != told {
        return Err(RestoreFault::NotSo("its database has other chains than its manifest names".to_owned()));
    }
    schema::migrate(&mut conn, &Keys { ring: &stored, root, entropy: &*entropy }, version)?;
    let facts = founding::vault(&conn, &stored)?;
    rings::hold_to(&stored, &facts)?;
    let keys = founding::keys(&conn, &stored, &facts)?;
    if facts.aud != header.aud || facts.name != header.name {
        return Err(RestoreFault::NotSo("its database is of another vault than its head".to_owned()));
    }
    let clock = Arc::new(ManualClock::at(header.made));
    let names = (facts.name.clone(), facts.aud.clone());
    let shared = Shared::new(stored, None, clock, entropy, names, keys.identity.public());
    let quarantined = inspect(&conn, &shared)?;
    let number = mark(&conn, &shared, &header, facts, wanted)?;
    // One file alone is given its name.
    conn.pragma_update_and_check(None, "wal_checkpoint", "TRUNCATE", |_| Ok(()))?;
    conn.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))?;
    conn.close().map_err(|(_, error)| error)?;
    failpoint!("restore: marked");
    files.name(&part)?;
    let Header { by, made, name, .. } = header;
    let Summary { chains, entries, .. } = summary;
    Ok(RestoredStore { name, by, made, number, chains, entries, quarantined, files: belongings })
}

/// Verifies every chain: its rows, and its lines one by one. Gives those that do not hold; the vault's own two must.
fn inspect(conn: &Connection, shared: &Shared) -> Result<Vec<(ChainName, String)>, RestoreFault> {
    let mut aside = Vec::new();
    for name in chains::names(conn)? {
        let name = name.ok_or_else(|| RestoreFault::NotSo("a chain has a name that none can have".to_owned()))?;
        let Err(why) = inspect_one(conn, shared, &name)? else { continue };
        if name.agent().is_none() {
            return Err(RestoreFault::NotSo(format!("the chain {name} does not verify: {why}")));
        }
        aside.push((name, why));
    }
    Ok(aside)
}

fn inspect_one(conn: &Connection, shared: &Shared, name: &ChainName) -> rusqlite::Result<Result<(), String>> {
    let held = match shared.views.hold(conn, shared, name) {
        Ok(Some(held)) => held,
        Ok(None) => return Ok(Err("it is gone".to_owned())),
        Err(Stop::Sql(error)) => return Err(error),
        Err(Stop::Denied(denial)) => return Ok(Err(denial.internal)),
        Err(Stop::Broken(why)) => return Ok(Err(why)),
    };
    let mut links = Links::new(&shared.name, name, &shared.identity);
    while links.size() < held.chain.head.size {
        let part = chains::stored(conn, &held.chain, links.size(), LINES.0, LINES.1)?;
        if part.is_empty() {
            return Ok(Err(format!("entry {} is not there", links.size())));
        }
        for (leaf, line) in &part {
            if let Err(why) = links.line(leaf, line) {
                return Ok(Err(why));
            }
        }
    }
    Ok(links.ends(&held.chain.head))
}

/// Has the vault's own row say that it was restored: the first daemon on it does the rest.
fn mark(
    conn: &Connection,
    shared: &Shared,
    header: &Header,
    facts: VaultFacts,
    wanted: &Restoring,
) -> Result<u64, RestoreFault> {
    let drawn = command(conn, &shared.name, header.by)?;
    if drawn != Some(header.backup.to_string()) {
        let why = format!("entry {} of its _operators is not the command that made it", header.by.seq);
        return Err(RestoreFault::NotSo(why));
    }
    if !wanted.rehearsal && facts.restored.as_ref().is_some_and(|restored| restored.rehearsal) {
        return Err(RestoreFault::OfRehearsal);
    }
    let behind = facts.restores();
    let number = wanted.number.unwrap_or(behind + 1);
    if number <= behind || number >= 1 << 53 {
        return Err(RestoreFault::Number { behind, wanted: number });
    }
    let restored = Restored {
        number,
        by: tx::by(header.by),
        salt: Bytes(shared.entropy.bytes::<16>().to_vec()),
        begun: false,
        rehearsal: wanted.rehearsal,
    };
    let marked = (|| -> Result<(), Stop> {
        execute(conn, "BEGIN IMMEDIATE")?;
        let mut tx = Tx::new(conn, shared, None, Timestamp::ZERO);
        let mut vault = tx.hold(&ChainName::vault())?;
        tx.put_vault(&mut vault, VaultFacts { restored: Some(restored), ..facts })?;
        tx.keep(vault);
        tx.end_job();
        tx.flush()?;
        Ok(execute(conn, "COMMIT")?)
    })();
    match marked {
        Ok(()) => Ok(number),
        Err(Stop::Sql(error)) => Err(error.into()),
        Err(Stop::Denied(denial)) => Err(RestoreFault::NotSo(denial.internal)),
        Err(Stop::Broken(why)) => Err(RestoreFault::NotSo(why)),
    }
}
