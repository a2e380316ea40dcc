//! The store on SQLite: one file, one daemon, one thread that writes.
//!
//! - `files`, `schema`, `founding`: the directory and its lock, the tables, how a store is made and opened
//! - `ticket`, `writer`, `tx`: jobs, their group commit, and a transaction as a job sees it
//! - `fold`: the log, copied into the database beside the writer
//! - `reader`: threads that only read
//! - `rows`, `chains`, `views`: rows that decide, the one row of each chain that they are held against, and what of
//!   them is kept in memory
//! - `trees`, `checkpoints`: chains as Merkle trees, and what the vault signs of them
//! - `approvals`: the rules of several persons, and what waits for others
//! - `custodians`, `recoveries`: who can get at the root key, and the operators whom they make
//! - `rings`: rotation of the data keys, and the rows of older ones covered anew
//! - `backup`, `restores`: a copy of everything, and a store that is made of one
//! - `leases`, `requests`, `orders`, `operators`, `due`, `reads`, `lists`: the verbs
//!
//! Whoever can write the file but lacks the root key can add no agent, key, role or grant, change none, and put none
//! back that was taken away: each such row carries a MAC, and each chain's row the digest of all of them, under a MAC of
//! its own. He can destroy, and he can put a chain with all its rows back to an older state where this process has not
//! looked at it since it began; that is what `seen`, receipts and checkpoints are for. Rows of sessions, leases and
//! nonces carry no MAC: he can make a lease look live again, and have a nonce forgotten for the rest of its window. A
//! stored value is sealed to its name, version and use, and which version is the newest is a row that decides. What he
//! reads stays sealed.

mod approvals;
mod backup;
mod chains;
mod checkpoints;
mod custodians;
mod due;
mod files;
mod fold;
mod foresight;
mod founding;
mod freezes;
mod health;
mod intents;
mod leases;
mod listed;
mod lists;
mod operators;
mod orders;
mod reader;
mod reads;
mod recall;
mod recoveries;
mod requests;
mod resets;
mod restores;
mod rings;
mod rows;
mod schema;
mod secrets;
mod stop;
mod takebacks;
#[cfg(test)]
mod tests;
mod ticket;
mod token_keys;
mod trees;
mod tx;
mod undo;
mod verbs;
mod views;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

pub use backup::{RestoreFault, RestoredStore, Restoring};
use tokio::sync::{Semaphore, mpsc, oneshot};

use self::files::Files;
use self::fold::Fold;
use self::reader::{Instant, READERS, Readers};
use self::schema::{Access, Keys};
use self::stop::Stop;
use self::ticket::{Left, Ticket};
use self::tx::Tx;
use self::views::Views;
use self::writer::{Condition, Queue, Verb, Waiting, Weight, Writer};
use super::changes::Announcer;
use super::{Failure, Founding, Pace, Rules, VaultKeys};
use crate::audit::entry::{Body, Entry};
use crate::crypto::signature::PublicKey;
use crate::entropy::Entropy;
use crate::id::{Aud, ChainName, LeaseId, VaultName};
use crate::seal::at_rest::Ring;
use crate::seal::custody::{Custodian, RootKey};
use crate::statement::reply::EntryRef;
use crate::telemetry::Telemetry;
use crate::time::{Clock, Seconds, Timestamp};

/// The most jobs that wait for the writer. Who finds no room waits for it, no longer than the deadline.
const QUEUE: usize = 4096;

/// How long a store that is dropped waits for its readers, and for its writer.
const PATIENCE: Duration = Duration::from_secs(5);

const FAILED: &str = "the store has failed; the daemon must start anew";

/// Why a store is not opened or not founded. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenFault {
    /// No such directory or file.
    #[error("{0} does not exist; make a vault with `vaultctl init`, or name the right data directory")]
    Missing(PathBuf),
    /// There is a store already.
    #[error("{0} exists already and is not overwritten; name another data directory")]
    Exists(PathBuf),
    /// Others can read it.
    #[error("{path} is open to others (mode {mode:04o}); `chmod go-rwx {path}`")]
    Open {
        /// The directory or file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Another daemon has it.
    #[error("another vaultd uses {0}; stop it first")]
    Locked(PathBuf),
    /// Not a file of ours.
    #[error("vault.db is no NockVault store; name the right data directory")]
    NotOurs,
    /// A schema that this program does not know.
    #[error("the store has schema version {found} and this program knows 1 to {known}; use a newer vaultd")]
    UnknownSchema {
        /// What the file says.
        found: i64,
        /// The newest that is known.
        known: i64,
    },
    /// The ring does not open.
    #[error(
        "the root key is not the one of this store; name the right key file, or restore the store if it is damaged"
    )]
    WrongRoot,
    /// Ours, and damaged.
    #[error("the store is damaged: {0}; restore it from a backup")]
    Broken(String),
    /// The system refused.
    #[error("{path}: {cause}")]
    Io {
        /// What was asked for.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The database refused.
    #[error("the database failed: {0}; see that its disk is mounted, writable and sound, and start again")]
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for OpenFault {
    /// What the system refused may go well another time. Everything else says that the file does not hold what it must.
    fn from(error: rusqlite::Error) -> OpenFault {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, Unknown};
        match error.sqlite_error_code() {
            None | Some(DatabaseCorrupt | NotADatabase | Unknown) => {
                OpenFault::Broken(format!("{error}, or its disk cannot be read"))
            }
            Some(_) => OpenFault::Sql(error),
        }
    }
}

/// What writer and readers share.
#[derive(Debug)]
struct Shared {
    ring: Ring,
    rules: Rules,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    name: VaultName,
    aud: Aud,
    identity: PublicKey,
    views: Views,
    condition: Condition,
    /// Who is told of commits.
    telemetry: OnceLock<Telemetry>,
    announcer: Announcer,
    /// Tells of checkpoints.
    noted: Announcer,
}

impl Shared {
    fn new(
        ring: Ring,
        rules: Option<Rules>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        (name, aud): (VaultName, Aud),
        identity: PublicKey,
    ) -> Shared {
        let rules = rules.unwrap_or(NO_REQUESTS);
        Shared {
            ring,
            rules,
            clock,
            entropy,
            name,
            aud,
            identity,
            views: Views::default(),
            condition: Condition::default(),
            telemetry: OnceLock::new(),
            announcer: Announcer::default(),
            noted: Announcer::default(),
        }
    }
}

/// The rules of a founding, which serves no requests.
const NO_REQUESTS: Rules = Rules {
    skew: Seconds(0),
    nonces_per_key: 0,
    session_idle: Seconds(0),
    session_max: Seconds(0),
    sessions_per_agent: 0,
    leases_per_agent: 0,
    denials_per_minute: 0,
    key_overlap: Seconds(0),
    checkpoints: Pace { entries: 1000, after: Seconds(300) },
    deadline: Duration::ZERO,
};

/// The store in one directory, held by this process alone.
#[derive(Debug)]
pub struct Sqlite {
    shared: Arc<Shared>,
    readers: Readers,
    database: PathBuf,
    queue: Option<Queue>,
    room: Arc<Semaphore>,
    done: Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Sqlite {
    /// Makes the store of a new vault in `data_dir`, which is made where it is missing. Durable when it returns: the
    /// vault's keys, its first operator, and the first entries of `_vault` and `_operators`, which it gives back in this
    /// order.
    ///
    /// # Errors
    /// [`OpenFault`]; nothing of it is left then.
    pub fn found(
        data_dir: &Path,
        root: &RootKey,
        founding: Founding,
        entropy: Arc<dyn Entropy>,
    ) -> Result<(EntryRef, EntryRef), OpenFault> {
        founding::found(data_dir, root, founding, entropy)
    }

    /// Who can get at the root key of the store in `data_dir`, and whose vault it says it is. Nothing of that is verified:
    /// it is what opening is tried with, and what a ring that opened then proves. A daemon may hold the store meanwhile.
    ///
    /// # Errors
    /// [`OpenFault`].
    pub fn custodians(data_dir: &Path) -> Result<(Vec<Custodian>, Aud, VaultName), OpenFault> {
        custodians::unverified(data_dir)
    }

    /// Reads a backup to its end, and writes nothing.
    ///
    /// # Errors
    /// [`RestoreFault`], whose text says what is wrong with it.
    pub fn check_backup(backup: &std::fs::File, root: &RootKey, wanted: &Restoring) -> Result<(), RestoreFault> {
        backup::check(backup, root, &wanted.aud).map(drop).map_err(RestoreFault::from)
    }

    /// Who can get at the root key of a backup, and whose it says it is; nothing of that is verified.
    ///
    /// # Errors
    /// [`RestoreFault`], where it is no backup.
    pub fn backup_custodians(mut backup: &std::fs::File) -> Result<(Vec<Custodian>, Aud, VaultName), RestoreFault> {
        std::io::Seek::rewind(&mut backup)?;
        Ok(crate::seal::backup::custodians(std::io::BufReader::new(backup))?)
    }

    /// Makes a store of a backup in `data_dir`, which must not be there; the backup is read to its end before. Durable when it
    /// returns: everything that the backup holds, and that it was restored, which the first daemon on it goes on from.
    ///
    /// # Errors
    /// [`RestoreFault`]; where it is not the backup's, a directory without a store is left.
    pub fn restore(
        data_dir: &Path,
        root: &RootKey,
        backup: std::fs::File,
        wanted: &Restoring,
        entropy: Arc<dyn Entropy>,
    ) -> Result<RestoredStore, RestoreFault> {
        backup::restore(data_dir, root, backup, wanted, entropy)
    }

    /// Opens the store in `data_dir`, brings its tables to this program's version, and begins to write. A chain whose
    /// row does not fit its newest line is set aside at once; whole chains are for a verifier.
    ///
    /// # Errors
    /// [`OpenFault`].
    pub fn open(
        data_dir: &Path,
        root: &RootKey,
        rules: Rules,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<(Sqlite, VaultKeys), OpenFault> {
        let files = Files::take(data_dir)?;
        let database = files.existing_database()?;
        backup::forget(&database.with_file_name(backup::COPY))?;
        let mut conn = schema::connect(&database, Access::Write)?;
        let version = schema::version(&conn)?;
        let ring = founding::ring(&conn, root)?;
        schema::migrate(&mut conn, &Keys { ring: &ring, root, entropy: &*entropy }, version)?;
        let facts = founding::vault(&conn, &ring)?;
        rings::hold_to(&ring, &facts)?;
        let mut keys = founding::keys(&conn, &ring, &facts)?;
        let readers = (0..READERS).map(|_| schema::connect(&database, Access::Read)).collect::<Result<_, _>>()?;
        if let Err(cause) = files.keep_reserve() {
            // Issuing finds out by itself whether there is room; ending must not wait for it.
            tracing::error!(%cause, "there is no room for the reserve");
        }
        let (resets, vault) = (facts.resets(), (facts.name, facts.aud));
        let shared = Arc::new(Shared::new(ring, Some(rules), clock, entropy, vault, keys.identity.public()));
        let newest = look_at_all(&conn, &shared, resets)?;
        (keys.newest, keys.ended) = (newest, ended_in_order(&conn, &shared)?);
        shared.condition.wrote(newest);
        let (queue, jobs) = mpsc::unbounded_channel();
        let fold = Fold::start(database.clone(), Arc::clone(&shared))?;
        let writer = Writer { conn, fold, files, shared: Arc::clone(&shared), jobs, newest, key: None };
        let (end, done) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("store-writer".to_owned()).spawn(move || {
            writer.run();
            // Nobody listens where the store was not dropped but the process ends.
            let _ = end.send(());
        });
        thread.map_err(|cause| OpenFault::Io { path: database.clone(), cause })?;
        let readers =
            Readers::start(readers, &shared).map_err(|cause| OpenFault::Io { path: database.clone(), cause })?;
        Ok((
            Sqlite {
                shared,
                readers,
                database,
                queue: Some(queue),
                room: Arc::new(Semaphore::new(QUEUE)),
                done: Mutex::new(done),
            },
            keys,
        ))
    }

    /// Limits how large the database may grow, in bytes; beyond it, writing is refused as on a full disk.
    ///
    /// # Errors
    /// [`Failure::Unavailable`].
    pub async fn limit_size(&self, bytes: u64) -> Result<(), Failure> {
        self.write(Weight::Ends, None, move |tx| {
            let page: u64 = tx.conn.pragma_query_value(None, "page_size", |row| row.get(0))?;
            let pages = (bytes / page.max(1)).clamp(1, u32::MAX.into());
            // The pragma answers with the limit that now holds: never below what the database has already.
            Ok(tx.conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?)
        })
        .await
    }

    /// Sends a job through the writer and waits for it, no longer than the deadline. `lease` is what the job makes, to be
    /// ended again where nobody waits for the outcome.
    async fn write<T, F>(&self, weight: Weight, lease: Option<LeaseId>, run: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Result<T, Stop> + Send + 'static,
    {
        let unavailable = |why: &str| Failure::Unavailable(why.to_owned());
        if self.shared.condition.failed() {
            return Err(unavailable(FAILED));
        }
        let queue = self.queue.as_ref().ok_or_else(|| unavailable("the store is closed"))?;
        let deadline = tokio::time::Instant::now() + self.shared.rules.deadline;
        let room = tokio::time::timeout_at(deadline, Arc::clone(&self.room).acquire_owned()).await;
        let room = room.ok().and_then(Result::ok).ok_or_else(|| unavailable("too much waits to be written"))?;
        let (ticket, (reply, mut answer)) = (Ticket::default(), oneshot::channel());
        let verb =
            Verb { weight, run, outcome: None, reply, ticket: ticket.clone(), lease: lease.clone(), _room: room };
        let waiting = Waiting { ticket, lease, queue: queue.clone() };
        queue.send(Box::new(verb)).map_err(|_| unavailable("the writer is gone"))?;
        match tokio::time::timeout_at(deadline, &mut answer).await {
            Ok(Ok(result)) => {
                waiting.ticket.take();
                result
            }
            Ok(Err(_)) => match waiting.give_up() {
                Left::Nothing => Err(unavailable("the writer is gone")),
                Left::UnderWay | Left::Landed => Err(Failure::Unknown),
            },
            Err(_) => match waiting.give_up() {
                Left::Nothing => Err(unavailable("the deadline passed while it waited to be written")),
                Left::UnderWay => Err(Failure::Unknown),
                // It landed in this very moment, and its answer is on the way.
                Left::Landed => answer.await.unwrap_or(Err(Failure::Unknown)),
            },
        }
    }

    async fn read<T, F>(&self, read: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(Instant<'_>) -> Result<T, Stop> + Send + 'static,
    {
        self.readers.read(&self.shared, read).await
    }
}

impl Drop for Sqlite {
    /// Lets the readers end, then the writer with what waits for it, and the lock go with it: who closes the database last
    /// has the log's rest in it.
    fn drop(&mut self) {
        if !self.readers.end(PATIENCE) {
            tracing::warn!("the readers did not come to their end in time");
        }
        self.queue = None;
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if done.recv_timeout(PATIENCE).is_err() {
            tracing::warn!("the writer did not come to its end in time");
        }
    }
}

/// Whether the newest entry of `_vault` that is no checkpoint says that a daemon ended, or that none was there yet.
fn ended_in_order(conn: &rusqlite::Connection, shared: &Shared) -> Result<bool, OpenFault> {
    let chains::Found::Row(vault) = chains::find(conn, &shared.name, &ChainName::vault())? else { return Ok(false) };
    for seq in (0..vault.head.size).rev().take(2) {
        let line = chains::line_at(conn, vault.id, seq)?;
        match line.and_then(|line| Entry::read(&line).ok()).map(|entry| entry.body) {
            Some(Body::Checkpoint(_)) => {}
            body => return Ok(matches!(body, Some(Body::Stop(_) | Body::VaultGenesis(_)))),
        }
    }
    Ok(false)
}

/// Looks at each chain's row and newest line. Gives the newest `ts` of those that fit and have heard of the newest reset
/// of the clock.
fn look_at_all(conn: &rusqlite::Connection, shared: &Shared, resets: u64) -> Result<Timestamp, OpenFault> {
    let mut newest = Timestamp::ZERO;
    for name in chains::names(conn)? {
        let Some(name) = name else {
            tracing::error!("a chain has a name that no chain of ours can have");
            continue;
        };
        shared.announcer.announce(std::slice::from_ref(&name));
        shared.noted.announce(std::slice::from_ref(&name));
        let fault = match chains::find(conn, &shared.name, &name)? {
            chains::Found::Row(chain) if !chain.verify(&shared.ring) => "the MAC of its row does not verify",
            chains::Found::Row(chain) if !chain.fits_its_lines(conn)? => "its row and its newest line do not fit",
            chains::Found::Row(chain) => {
                if chain.resets == resets {
                    newest = newest.max(chain.head.ts);
                }
                continue;
            }
            chains::Found::Nothing => continue,
            chains::Found::Forged => "its row is none of ours",
        };
        shared.views.set_aside(&name, fault);
    }
    Ok(newest)
}
