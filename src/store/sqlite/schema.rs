//! The tables, and how a database becomes one of ours. Migrations are numbered by their place in the list, added and
//! never edited: a database is at the version that its `user_version` says, and one that is newer than this program is
//! refused.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::{OpenFault, custodians, founding, leases, trees};
use crate::entropy::Entropy;
use crate::seal::at_rest::Ring;
use crate::seal::custody::RootKey;

/// Marks the file as a NockVault store: "NkVt".
const APPLICATION_ID: i64 = 0x4e6b_5674;

/// A step from one version to the next: the tables, and then what SQL cannot do.
type Step = (&'static str, fn(&Connection, &Keys<'_>) -> Result<(), OpenFault>);

/// What a database is brought on with.
pub(super) struct Keys<'a> {
    pub(super) ring: &'a Ring,
    /// What opened the ring.
    pub(super) root: &'a RootKey,
    pub(super) entropy: &'a dyn Entropy,
}

const MIGRATIONS: &[Step] = &[
    (FIRST, |_, _| Ok(())),
    (SECOND, |conn, keys| Ok(leases::cover_all(conn, keys.ring)?)),
    (TOKENS, |_, _| Ok(())),
    // From here on the vault's own row covers the version.
    ("", |_, _| Ok(())),
    (TREES, |conn, keys| Ok(trees::build_all(conn, keys.ring)?)),
    (FREEZES, |_, _| Ok(())),
    (RESTORED, |_, _| Ok(())),
    (CUSTODY, custodians::first),
    (DUTIES, |_, _| Ok(())),
    (RINGS, |_, _| Ok(())),
    (RULES, |_, _| Ok(())),
];

/// The version of the database from which on restores are known.
pub(super) const RESTORES: usize = 7;

/// The version of the database from which on there are custodians.
pub(super) const CUSTODIANS: usize = 8;

/// The version of the database from which on data keys are rotated.
pub(super) const ROTATIONS: usize = 10;

/// The version of this program's databases.
pub(super) const VERSION: usize = MIGRATIONS.len();

/// Times are milliseconds, digests and MACs blobs. `mac` stands in the rows that decide; see [`super::rows`].
const FIRST: &str = "
CREATE TABLE ring (
    epoch INTEGER PRIMARY KEY,
    wrapped BLOB NOT NULL
) STRICT;
CREATE TABLE own_keys (
    role TEXT PRIMARY KEY,
    sealed BLOB NOT NULL,
    cert TEXT
) STRICT, WITHOUT ROWID;

-- One row a chain: its newest state, the digests of its deciding rows and of the uses of its grants, and what lives.
CREATE TABLE chains (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    leaf BLOB NOT NULL,
    ts INTEGER NOT NULL,
    kid TEXT,
    deciding INTEGER,
    deciders BLOB NOT NULL,
    uses BLOB NOT NULL,
    sessions INTEGER NOT NULL,
    leases INTEGER NOT NULL,
    mac BLOB NOT NULL
) STRICT;
-- `at` is the chain's id times 2^32 plus the entry's seq, so that a chain lies in order and in one place.
CREATE TABLE lines (
    at INTEGER PRIMARY KEY,
    leaf BLOB NOT NULL,
    line BLOB NOT NULL
) STRICT;

CREATE TABLE vault (
    chain INTEGER PRIMARY KEY REFERENCES chains (id),
    name TEXT NOT NULL,
    aud TEXT NOT NULL,
    epochs INTEGER NOT NULL,
    iat_floor INTEGER NOT NULL,
    mac BLOB NOT NULL
) STRICT;
CREATE TABLE agents (
    chain INTEGER PRIMARY KEY REFERENCES chains (id),
    name TEXT NOT NULL UNIQUE,
    collision TEXT NOT NULL UNIQUE,
    since INTEGER NOT NULL,
    frozen INTEGER NOT NULL,
    mac BLOB NOT NULL
) STRICT;
CREATE TABLE operators (
    chain INTEGER NOT NULL REFERENCES chains (id),
    name TEXT PRIMARY KEY,
    since INTEGER NOT NULL,
    mac BLOB NOT NULL
) STRICT, WITHOUT ROWID;
-- Keys of agents stand under the agent's chain, keys of operators under theirs.
CREATE TABLE keys (
    id INTEGER PRIMARY KEY,
    chain INTEGER NOT NULL REFERENCES chains (id),
    holder TEXT NOT NULL,
    kid TEXT NOT NULL UNIQUE,
    kver INTEGER NOT NULL,
    pk BLOB NOT NULL,
    form TEXT NOT NULL,
    since INTEGER NOT NULL,
    grace INTEGER,
    ended INTEGER,
    mac BLOB NOT NULL,
    UNIQUE (chain, holder, kver)
) STRICT;
CREATE TABLE roles (
    chain INTEGER NOT NULL REFERENCES chains (id),
    name TEXT PRIMARY KEY,
    engine TEXT NOT NULL,
    config TEXT NOT NULL,
    since INTEGER NOT NULL,
    mac BLOB NOT NULL
) STRICT, WITHOUT ROWID;
-- Live grants only; what was taken back stands in the trail.
CREATE TABLE grants (
    chain INTEGER NOT NULL REFERENCES chains (id),
    role TEXT NOT NULL,
    terms TEXT NOT NULL,
    seq INTEGER NOT NULL,
    since INTEGER NOT NULL,
    mac BLOB NOT NULL,
    PRIMARY KEY (chain, role)
) STRICT, WITHOUT ROWID;
CREATE TABLE uses (
    chain INTEGER NOT NULL REFERENCES chains (id),
    seq INTEGER NOT NULL,
    count INTEGER NOT NULL,
    paced INTEGER NOT NULL,
    mac BLOB NOT NULL,
    PRIMARY KEY (chain, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE nonces (
    key INTEGER NOT NULL REFERENCES keys (id),
    nonce BLOB NOT NULL,
    iat INTEGER NOT NULL,
    PRIMARY KEY (key, nonce)
) STRICT, WITHOUT ROWID;
CREATE INDEX nonces_by_iat ON nonces (iat);
CREATE TABLE nonces_live (
    key INTEGER PRIMARY KEY REFERENCES keys (id),
    count INTEGER NOT NULL
) STRICT;

-- `due` is when the session runs out if nothing more comes.
CREATE TABLE sessions (
    chain INTEGER NOT NULL REFERENCES chains (id),
    sid TEXT NOT NULL,
    seal TEXT NOT NULL,
    opened INTEGER NOT NULL,
    used INTEGER NOT NULL,
    ends INTEGER NOT NULL,
    due INTEGER NOT NULL,
    ended INTEGER,
    PRIMARY KEY (chain, sid)
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_due ON sessions (due) WHERE ended IS NULL;
CREATE TABLE leases (
    id BLOB PRIMARY KEY,
    chain INTEGER NOT NULL REFERENCES chains (id),
    sid TEXT NOT NULL,
    role TEXT NOT NULL,
    seq INTEGER NOT NULL,
    req BLOB NOT NULL,
    handle TEXT NOT NULL,
    issued INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    latest INTEGER NOT NULL,
    renewable INTEGER NOT NULL,
    state TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX leases_by_req ON leases (req);
CREATE INDEX leases_by_agent ON leases (chain, id);
CREATE INDEX leases_live ON leases (chain, sid) WHERE state = 'live';
CREATE INDEX leases_due ON leases (expires) WHERE state = 'live';

-- Refusals of one agent in one minute: `entries` have an entry of their own, `counted` await the summary.
CREATE TABLE denials (
    minute INTEGER NOT NULL,
    chain INTEGER NOT NULL REFERENCES chains (id),
    reason TEXT NOT NULL,
    entries INTEGER NOT NULL,
    counted INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (minute, chain, reason)
) STRICT, WITHOUT ROWID;

CREATE TABLE secrets (
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    since INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (name, version)
) STRICT;
";

/// Leases that live at a backend too, and secrets with a use.
///
/// `retry` is when a lease must be looked at next for its backend's sake: an intent when it is taken to be interrupted,
/// one that ended when its revocation there is tried again. `request` is the envelope of an intent. A row of `takebacks`
/// is a command whose leases are still being ended.
const SECOND: &str = "
ALTER TABLE leases ADD COLUMN revocation TEXT NOT NULL DEFAULT 'none';
ALTER TABLE leases ADD COLUMN ended INTEGER;
ALTER TABLE leases ADD COLUMN retry INTEGER;
ALTER TABLE leases ADD COLUMN tries INTEGER NOT NULL DEFAULT 0;
ALTER TABLE leases ADD COLUMN fault TEXT;
ALTER TABLE leases ADD COLUMN request TEXT;
ALTER TABLE leases ADD COLUMN mac BLOB NOT NULL DEFAULT x'';
CREATE INDEX leases_live_by_role ON leases (role) WHERE state = 'live';
CREATE INDEX leases_intended ON leases (retry) WHERE state = 'intended';
CREATE INDEX leases_undo ON leases (role, retry) WHERE retry IS NOT NULL AND state != 'intended';
CREATE INDEX leases_listed ON leases (role, expires)
    WHERE revocation = 'listed' AND state NOT IN ('live', 'intended');
CREATE TABLE takebacks (
    id INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    before INTEGER NOT NULL,
    by TEXT NOT NULL,
    mac BLOB NOT NULL
) STRICT;

ALTER TABLE secrets ADD COLUMN used TEXT NOT NULL DEFAULT 'kv';
ALTER TABLE secrets ADD COLUMN expires INTEGER;
";

/// Keys for tokens after the first: `former_until` is until when the keys before this one are published. And which version
/// of each secret is the newest.
const TOKENS: &str = "
CREATE TABLE token_keys (
    epoch INTEGER PRIMARY KEY,
    chain INTEGER NOT NULL REFERENCES chains (id),
    kid TEXT NOT NULL,
    signs INTEGER NOT NULL,
    former_until INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    cert TEXT NOT NULL,
    mac BLOB NOT NULL
) STRICT;
CREATE TABLE newest (
    name TEXT PRIMARY KEY,
    chain INTEGER NOT NULL REFERENCES chains (id),
    version INTEGER NOT NULL,
    mac BLOB NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Chains as Merkle trees, and their checkpoints. `tree` holds the roots of a chain's complete subtrees, largest first;
/// `noted` is the `seq` of the newest checkpoint, `due` when the next one is. `nodes` holds the roots of complete subtrees
/// of 2^8, 2^16 and 2^24 leaves, by which proofs are made without a scan. `resets` is how many resets of the clock stand in
/// a chain. In the vault's own row, `config` is the `seq` of the newest `config` entry, and `reset` the newest reset of the
/// clock.
const TREES: &str = "
ALTER TABLE chains ADD COLUMN tree BLOB NOT NULL DEFAULT x'';
ALTER TABLE chains ADD COLUMN noted INTEGER;
ALTER TABLE chains ADD COLUMN due INTEGER;
ALTER TABLE chains ADD COLUMN resets INTEGER NOT NULL DEFAULT 0;
CREATE INDEX chains_due ON chains (due) WHERE due IS NOT NULL;
CREATE TABLE nodes (
    chain INTEGER NOT NULL REFERENCES chains (id),
    level INTEGER NOT NULL,
    place INTEGER NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (chain, level, place)
) STRICT, WITHOUT ROWID;
CREATE TABLE cosigned (
    chain INTEGER NOT NULL REFERENCES chains (id),
    size INTEGER NOT NULL,
    lines TEXT NOT NULL,
    PRIMARY KEY (chain, size)
) STRICT, WITHOUT ROWID;

ALTER TABLE vault ADD COLUMN config INTEGER;
ALTER TABLE vault ADD COLUMN reset TEXT;
";

/// Nonces that were remembered again after a reset of the clock, which do not count among those that a key has live. And
/// what is frozen beside agents: a row of `_operators` names a role; the one of `_vault`, whose name is empty, stands for
/// everything.
const FREEZES: &str = "
ALTER TABLE nonces ADD COLUMN recalled INTEGER NOT NULL DEFAULT 0;
CREATE TABLE freezes (
    chain INTEGER NOT NULL REFERENCES chains (id),
    role TEXT NOT NULL,
    seq INTEGER NOT NULL,
    mac BLOB NOT NULL,
    PRIMARY KEY (chain, role)
) STRICT, WITHOUT ROWID;
";

/// Restores from backups: in the vault's own row the newest, in a chain's row which it has heard of, and from which entry on
/// there may have been others before the first.
const RESTORED: &str = "
ALTER TABLE chains ADD COLUMN restores INTEGER NOT NULL DEFAULT 0;
ALTER TABLE chains ADD COLUMN lost_from INTEGER;
ALTER TABLE vault ADD COLUMN restored TEXT;
";

/// Custodians of the root key. `root` is the number of the root key that `sealed` holds, as `enc || ct`.
const CUSTODY: &str = "
CREATE TABLE custodians (
    name TEXT PRIMARY KEY,
    chain INTEGER NOT NULL REFERENCES chains (id),
    kind TEXT NOT NULL,
    public BLOB NOT NULL,
    root INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    since INTEGER NOT NULL,
    mac BLOB NOT NULL
) STRICT, WITHOUT ROWID;
";

/// What each operator may do; none for one who may do everything, as all before this version.
const DUTIES: &str = "
ALTER TABLE operators ADD COLUMN duty TEXT;
";
/// Rotation of data keys: in the vault's own row, the epochs that the ring has, once there was a rotation.
const RINGS: &str = "ALTER TABLE vault ADD COLUMN ring TEXT;";

/// The rules of several persons, and the commands that wait for others: `command` is its digest, `seq` and `leaf` where it
/// stands as it was signed, `approvals` who approved it.
const RULES: &str = "
CREATE TABLE policy (
    chain INTEGER PRIMARY KEY REFERENCES chains (id),
    rules TEXT NOT NULL,
    wait INTEGER NOT NULL,
    mac BLOB NOT NULL
) STRICT;
CREATE TABLE waiting (
    command TEXT PRIMARY KEY,
    chain INTEGER NOT NULL REFERENCES chains (id),
    wish BLOB NOT NULL,
    giver TEXT NOT NULL,
    seq INTEGER NOT NULL,
    leaf BLOB NOT NULL,
    since INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    approvals TEXT NOT NULL,
    mac BLOB NOT NULL
) STRICT, WITHOUT ROWID;
";

/// How much of the database the writer keeps in memory, in KiB.
const WRITER_CACHE_KIB: i64 = 32 << 10;

/// After how many pages of the log the writer copies it into the database by itself: 64 MiB.
const LOG_PAGES: i64 = 1 << 14;

/// How a connection is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// The one that writes.
    Write,
    /// One that cannot write.
    Read,
    /// One that cannot write either, but into a new file.
    Copy,
    /// One that copies the log and writes nothing of its own.
    Fold,
}

/// A connection with everything switched off that a database file could use against its reader: triggers, views,
/// functions in the schema, writes to the schema itself.
pub(super) fn connect(file: &Path, access: Access) -> rusqlite::Result<Connection> {
    let mode = match access {
        Access::Write | Access::Fold => OpenFlags::SQLITE_OPEN_READ_WRITE,
        Access::Read | Access::Copy => OpenFlags::SQLITE_OPEN_READ_ONLY,
    };
    let flags = mode | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let conn = Connection::open_with_flags(file, flags)?;
    // Short, so that the writer looks up between tries and drops what was withdrawn meanwhile.
    conn.busy_timeout(Duration::from_millis(50))?;
    conn.set_prepared_statement_cache_capacity(128);
    for (config, on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DDL, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true),
    ] {
        conn.set_db_config(config, on)?;
    }
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "cell_size_check", true)?;
    if access == Access::Write {
        conn.pragma_update(None, "journal_mode", "WAL")?;
        conn.pragma_update(None, "synchronous", "FULL")?;
        // What was wrapped by a root key that was replaced is overwritten in its page, not left beside the new.
        conn.pragma_update(None, "secure_delete", "FAST")?;
        conn.pragma_update(None, "journal_size_limit", 64 << 20)?;
        // A commit touches few pages of each of many trees: what is kept here is not read again from the log.
        conn.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
        conn.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
    } else if access == Access::Read {
        conn.pragma_update(None, "query_only", true)?;
    } else if access == Access::Fold {
        conn.pragma_update(None, "synchronous", "FULL")?;
    }
    Ok(conn)
}

fn number(conn: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    conn.pragma_query_value(None, pragma, |row| row.get(0))
}

/// Puts the tables into a new, empty database.
pub(super) fn begin(conn: &mut Connection, keys: &Keys<'_>) -> Result<(), OpenFault> {
    let sql = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    sql.pragma_update(None, "application_id", APPLICATION_ID)?;
    sql.commit()?;
    migrate(conn, keys, 0)
}

/// The version of a database of ours.
///
/// # Errors
/// [`OpenFault::NotOurs`], [`OpenFault::UnknownSchema`].
pub(super) fn version(conn: &Connection) -> Result<usize, OpenFault> {
    if number(conn, "application_id")? != APPLICATION_ID {
        return Err(OpenFault::NotOurs);
    }
    let (found, known) = (number(conn, "user_version")?, VERSION as i64);
    if found < 1 || found > known {
        return Err(OpenFault::UnknownSchema { found, known });
    }
    Ok(found as usize)
}

/// Brings a database at version `done` to this program's. A crash between two migrations leaves the version of the first;
/// the next start goes on from there. The version that a file names is believed where the vault's own row agrees.
///
/// # Errors
/// [`OpenFault::Broken`] where it does not.
pub(super) fn migrate(conn: &mut Connection, keys: &Keys<'_>, done: usize) -> Result<(), OpenFault> {
    for (index, (sql, rest)) in MIGRATIONS.iter().enumerate().skip(done) {
        let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(sql)?;
        rest(&transaction, keys)?;
        // Where nothing is founded yet, there is no such row.
        if done > 0 {
            founding::cover_version(&transaction, keys.ring, index, index + 1)?;
        }
        transaction.pragma_update(None, "user_version", index as i64 + 1)?;
        transaction.commit()?;
    }
    Ok(())
}
