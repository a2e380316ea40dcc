//! What the verbs cannot show from outside: a job that panics, a disk that fails, a caller that gives up while its job
//! is under way.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

use rusqlite::ffi;

use super::super::{Event, Store};
use super::*;
use crate::audit::chain::AuditKey;
use crate::audit::entry::{Body, By, Entry};
use crate::audit::tree::{self, Tree};
use crate::crypto::hash::Digest;
use crate::crypto::signature::{Form, SigningKey};
use crate::entropy::SeededEntropy;
use crate::id::{ChainName, Nonce, OperatorName, SecretName};
use crate::lease::{Lease, State};
use crate::registry::{Agent, HeldKey};
use crate::secret::SecretBytes;
use crate::statement::register::{Holder, Register};
use crate::statement::secret::SecretUse;
use crate::time::{ManualClock, Timestamp};

const NOW: Timestamp = Timestamp(1_780_511_400_000);

fn audit_key(identity: &SigningKey, epoch: u64) -> AuditKey {
    let (key, aud) = (SigningKey::generate(&SeededEntropy::new(epoch)), Aud::of_identity(&identity.kid()));
    AuditKey::certify(key, identity, &aud, "n1", epoch, NOW, NOW.plus(Seconds(86_400)))
}

fn register(holder: Holder, key: &SigningKey, aud: &Aud) -> Register {
    let nonce = Nonce::from_bytes(&[1; 24]);
    let aud = aud.clone();
    Register { holder, aud, form: Form::Pae, iat: NOW, kver: 1, nonce, pk: key.public(), prev: None }
}

async fn store(folder: &Path, deadline: Duration) -> Sqlite {
    let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(9));
    let (root, identity, key) =
        (RootKey::generate(&*entropy), SigningKey::generate(&*entropy), SigningKey::generate(&*entropy));
    let aud = Aud::of_identity(&identity.kid());
    let name: OperatorName = "ada".parse().unwrap();
    let operator = register(Holder::Operator(name), &key, &aud);
    let founding = Founding {
        name: "prod".parse().unwrap(),
        aud,
        proof: operator.sign(&key),
        operator,
        kept: Vec::new(),
        custodians: Vec::new(),
        audit_key: audit_key(&identity, 1),
        identity,
        now: NOW,
    };
    Sqlite::found(&folder.join("data"), &root, founding, Arc::clone(&entropy)).unwrap();
    let rules = Rules { deadline, ..NO_REQUESTS };
    let clock = Arc::new(ManualClock::at(NOW));
    let (store, keys) = Sqlite::open(&folder.join("data"), &root, rules, clock, entropy).unwrap();
    let start = Event::Start { node: "n1".to_owned(), opened: None, version: "0".to_owned() };
    store.event(start, Some(audit_key(&keys.identity, 2))).await.unwrap();
    store
}

#[tokio::test]
async fn a_job_that_panics_fails_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), Duration::from_secs(20)).await;
    let panics = store.write(Weight::Gives, None, |tx| -> Result<(), Stop> {
        tx.conn.execute("DELETE FROM own_keys", [])?;
        panic!("on purpose");
    });
    let good = store.event(Event::Epoch, None);
    let (panicked, event) = tokio::join!(panics, good);
    assert!(matches!(panicked, Err(Failure::Unavailable(_))), "{panicked:?}");
    assert_eq!(event.unwrap().seq, 2);
    let left =
        store.read(|at| Ok(at.conn.query_row("SELECT COUNT(*) FROM own_keys", [], |row| row.get::<_, u64>(0))?));
    assert_eq!(left.await.unwrap(), 1, "what it did was not undone");
    let reader = store.read(|_| -> Result<(), Stop> { panic!("on purpose") }).await;
    assert!(matches!(reader, Err(Failure::Unavailable(_))), "{reader:?}");
    for _ in 0..2 * READERS {
        store.census().await.unwrap();
    }
}

#[tokio::test]
async fn an_error_of_the_disk_is_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), Duration::from_secs(20)).await;
    let failing = store.write(Weight::Ends, None, |_| -> Result<(), Stop> {
        Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR_FSYNC), None).into())
    });
    let failing = failing.await;
    assert!(matches!(failing, Err(Failure::Unavailable(_))), "{failing:?}");
    assert!(store.failed());
    for failed in [store.event(Event::Stop, None).await.err(), store.census().await.err()] {
        assert!(matches!(failed, Some(Failure::Unavailable(why)) if why == FAILED));
    }
}

#[tokio::test]
async fn a_database_that_stays_locked_is_the_end_and_one_that_is_free_again_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), Duration::from_secs(1)).await;
    let locked_out = &store.shared.condition.locked_out;
    let other = rusqlite::Connection::open(folder.path().join("data/vault.db")).unwrap();
    let waits = async || store.event(Event::Epoch, None).await;
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(matches!(waits().await, Err(Failure::Unavailable(_))));
    let counted = locked_out.load(Ordering::Acquire);
    assert!((1..30_000_000).contains(&counted), "{counted} us of a second");

    // Nearly a minute of it, and the other lets go.
    locked_out.store(59_000_000, Ordering::Release);
    other.execute_batch("ROLLBACK").unwrap();
    waits().await.unwrap();
    assert_eq!(locked_out.load(Ordering::Acquire), 0);
    assert!(!store.failed());

    // A minute of it.
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    locked_out.store(59_999_000, Ordering::Release);
    let ended = waits().await;
    assert!(matches!(&ended, Err(Failure::Unavailable(why)) if why.contains("no other program")), "{ended:?}");
    assert!(store.failed());
}

#[test]
fn a_lock_that_the_system_does_not_give_is_waited_for_as_one_of_another() {
    for (code, meaning) in [
        (ffi::SQLITE_BUSY, stop::Meaning::Busy),
        (ffi::SQLITE_PROTOCOL, stop::Meaning::Busy),
        (ffi::SQLITE_IOERR_LOCK, stop::Meaning::Fatal),
    ] {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        assert_eq!(stop::Meaning::of(&error), meaning, "{error}");
    }
}

#[tokio::test]
async fn a_commit_that_the_database_refuses_lands_nothing_and_is_not_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), Duration::from_secs(20)).await;
    // A reference that is checked only at the commit.
    let refused = store.write(Weight::Gives, None, |tx| {
        tx.conn.execute_batch("PRAGMA defer_foreign_keys = ON")?;
        let sql = "INSERT INTO nonces (key, nonce, iat) VALUES (999, x'00', 0)";
        Ok(tx.conn.execute(sql, [])?)
    });
    let refused = refused.await;
    assert!(matches!(refused, Err(Failure::Unavailable(_))), "{refused:?}");
    assert!(!store.failed());
    store.event(Event::Epoch, None).await.unwrap();
}

/// Puts an agent with a live lease into the store.
fn with_lease(tx: &mut Tx<'_>, lease: &LeaseId) -> Result<(), Stop> {
    let (name, key) = (tx_agent(), SigningKey::generate(&SeededEntropy::new(40)));
    let register = register(Holder::Agent(name.clone()), &key, &tx.shared.aud);
    let agent = Agent { name: name.clone(), since: NOW, frozen: false, keys: vec![], grants: vec![] };
    let facts = views::AgentFacts { agent: Arc::new(agent), keys: Default::default(), uses: Default::default() };
    let mut held = tx.begin(&ChainName::from(&name), views::Facts::Agent(facts))?;
    tx.put_agent(&mut held, &name, NOW)?;
    tx.add_key(&mut held, HeldKey::registered(&register, NOW))?;
    let lease = Lease {
        id: lease.clone(),
        agent: name,
        sid: "s1".parse().unwrap(),
        role: "orders".parse().unwrap(),
        grant: 1,
        req: Digest::of(b"request"),
        handle: "handle".to_owned(),
        issued: NOW,
        expires: NOW.plus(Seconds(60)),
        latest: NOW.plus(Seconds(60)),
        renewable: false,
        state: State::Live,
        revocation: crate::statement::reply::Revocation::None,
        ended: None,
        undo: None,
    };
    leases::add(tx.conn, &tx.shared.ring, held.chain.id, &lease, None)?;
    held.chain.leases += 1;
    tx.keep(held);
    Ok(())
}

fn tx_agent() -> crate::id::AgentName {
    "kit".parse().unwrap()
}

#[tokio::test]
async fn what_lands_after_its_caller_gave_up_is_undelivered() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), Duration::from_millis(300)).await;
    let lease = LeaseId::new(NOW.0, [7; 10]);
    let (made, (let_go, held_up)) = (lease.clone(), mpsc::channel::<()>());
    let slow = store.write(Weight::Gives, Some(lease.clone()), move |tx| {
        with_lease(tx, &made)?;
        // Nobody lets it go before the caller has given up.
        let _ = held_up.recv();
        Ok(())
    });
    let slow = slow.await;
    assert!(matches!(slow, Err(Failure::Unknown)), "{slow:?}");
    assert!(store.lease(&lease).await.unwrap().is_none());
    let_go.send(()).unwrap();
    while store.lease(&lease).await.unwrap().is_none_or(|lease| lease.state == State::Live) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(store.lease(&lease).await.unwrap().unwrap().state, State::Undelivered);
    let lines = store.lines(&"kit".parse().unwrap(), 0, 10, 1 << 20).await.unwrap().unwrap().lines;
    let Body::Undelivered(entry) = Entry::read(&lines[0]).unwrap().body else { panic!("no undelivered entry") };
    assert_eq!((entry.lease, lines.len()), (lease, 1));
    assert_eq!(store.census().await.unwrap().leases, 0);
}

#[tokio::test]
async fn a_read_that_takes_too_long_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), Duration::from_millis(300)).await;
    let (let_go, held_up) = mpsc::channel::<()>();
    let slow = store.read(move |_| {
        // Nobody lets it go before the caller has given up.
        let _ = held_up.recv();
        Ok(())
    });
    let slow = slow.await;
    assert!(matches!(slow, Err(Failure::Unavailable(_))), "{slow:?}");
    store.census().await.unwrap();
    let_go.send(()).unwrap();
}

#[tokio::test]
async fn a_secret_of_before_newest_versions_were_rows_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path(), Duration::from_secs(20)).await;
    let name: SecretName = "orders-db".parse().unwrap();
    let old = name.clone();
    let written = store.write(Weight::Gives, None, move |tx| {
        for (version, value) in [(1, b"one"), (2, b"two")] {
            let sealed = tx.shared.ring.seal(&secrets::secret_place(&old, version, "kv"), value, &*tx.shared.entropy);
            let sql = "INSERT INTO secrets (name, version, since, bytes, sealed) VALUES (?1, ?2, 0, 3, ?3)";
            tx.conn.execute(sql, rusqlite::params![old.as_str(), version, sealed])?;
        }
        Ok(())
    });
    written.await.unwrap();
    let newest = async || store.secret_value(SecretUse::Kv, &name, None).await.unwrap().map(|stored| stored.version);
    assert_eq!(newest().await, Some(2));
    let next = name.clone();
    let added = store.write(Weight::Gives, None, move |tx| {
        secrets::add_version(tx, &next, 3, (SecretUse::Kv, None), &SecretBytes::from(b"three".to_vec()))
    });
    added.await.unwrap();
    assert_eq!(newest().await, Some(3));
    // From then on the number holds.
    let gone =
        store.write(Weight::Gives, None, |tx| Ok(tx.conn.execute("DELETE FROM secrets WHERE version = 3", [])?));
    assert_eq!(gone.await.unwrap(), 1);
    assert_eq!(newest().await, None);
}

/// What takes the tables back to those of the fourth version, which had no trees.
const FOURTH: &str = "
ALTER TABLE nonces DROP COLUMN recalled; DROP TABLE freezes;
DROP TABLE nodes; DROP TABLE cosigned; DROP INDEX chains_due;
ALTER TABLE chains DROP COLUMN tree; ALTER TABLE chains DROP COLUMN noted; ALTER TABLE chains DROP COLUMN due;
ALTER TABLE chains DROP COLUMN resets; ALTER TABLE vault DROP COLUMN config; ALTER TABLE vault DROP COLUMN reset;
ALTER TABLE chains DROP COLUMN restores; ALTER TABLE chains DROP COLUMN lost_from; ALTER TABLE vault DROP COLUMN restored;
ALTER TABLE vault DROP COLUMN ring;
PRAGMA user_version = 4;";

/// What takes them from there to those of the first version, which had no MACs on leases.
const FIRST: &str = "
DROP TABLE takebacks; DROP TABLE token_keys; DROP TABLE newest;
ALTER TABLE secrets DROP COLUMN used; ALTER TABLE secrets DROP COLUMN expires;
DROP INDEX leases_live_by_role; DROP INDEX leases_intended; DROP INDEX leases_undo; DROP INDEX leases_listed;
ALTER TABLE leases DROP COLUMN revocation; ALTER TABLE leases DROP COLUMN ended; ALTER TABLE leases DROP COLUMN retry;
ALTER TABLE leases DROP COLUMN tries; ALTER TABLE leases DROP COLUMN fault; ALTER TABLE leases DROP COLUMN request;
ALTER TABLE leases DROP COLUMN mac;
PRAGMA user_version = 1;";

#[tokio::test]
async fn a_database_of_the_first_version_is_brought_on_and_keeps_its_leases() {
    let folder = tempfile::tempdir().unwrap();
    let first = store(folder.path(), Duration::from_secs(20)).await;
    let lease = LeaseId::new(NOW.0, [7; 10]);
    let made = lease.clone();
    first.write(Weight::Gives, None, move |tx| with_lease(tx, &made)).await.unwrap();
    drop(first);

    let mut older = Older::of(folder.path());
    older.conn.execute_batch(FIRST).unwrap();
    founding::cover_version(&older.conn, &older.ring, 4, 1).unwrap();
    // It is what its own row says, and nothing else.
    assert!(matches!(founding::cover_version(&older.conn, &older.ring, 4, 5), Err(OpenFault::Broken(_))));
    assert_eq!(schema::version(&older.conn).unwrap(), 1);
    let keys = schema::Keys { ring: &older.ring, root: &older.root, entropy: &*older.entropy };
    schema::migrate(&mut older.conn, &keys, 1).unwrap();
    let store = older.opened();
    assert_eq!(store.lease(&lease).await.unwrap().unwrap().state, State::Live);
    assert!(store.census().await.unwrap().quarantined.is_empty());
}

/// A database of the fourth version.
struct Older {
    conn: rusqlite::Connection,
    ring: Ring,
    root: RootKey,
    data: PathBuf,
    entropy: Arc<dyn Entropy>,
}

/// Takes the tables back to those of the seventh version, which named no custodians.
fn forget_custodians(conn: &rusqlite::Connection, ring: &Ring) {
    let found = chains::find(conn, &"prod".parse().unwrap(), &ChainName::operators()).unwrap();
    let chains::Found::Row(mut operators) = found else { panic!("_operators is there") };
    operators.deciders = custodians::macs_before(conn, operators.id).unwrap().unwrap().digest();
    operators.write(conn, ring).unwrap();
    conn.execute_batch(
        "DROP TABLE policy; DROP TABLE waiting; DROP TABLE custodians; ALTER TABLE operators DROP COLUMN duty",
    )
    .unwrap();
}

impl Older {
    /// Out of one of the present version.
    fn of(folder: &Path) -> Older {
        let (data, entropy) = (folder.join("data"), Arc::new(SeededEntropy::new(9)));
        let root = RootKey::generate(&*entropy);
        let conn = schema::connect(&data.join("vault.db"), Access::Write).unwrap();
        let ring = founding::ring(&conn, &root).unwrap();
        forget_custodians(&conn, &ring);
        for name in chains::names(&conn).unwrap().into_iter().flatten() {
            let chains::Found::Row(mut chain) = chains::find(&conn, &"prod".parse().unwrap(), &name).unwrap() else {
                panic!("{name} is there")
            };
            chain.write_before_trees(&conn, &ring).unwrap();
        }
        founding::cover_version(&conn, &ring, schema::VERSION, 4).unwrap();
        conn.execute_batch(FOURTH).unwrap();
        Older { conn, ring, root, data, entropy }
    }

    fn opened(self) -> Sqlite {
        drop(self.conn);
        let clock = Arc::new(ManualClock::at(NOW));
        let rules = Rules { deadline: Duration::from_secs(20), ..NO_REQUESTS };
        Sqlite::open(&self.data, &self.root, rules, clock, self.entropy).unwrap().0
    }
}

#[tokio::test]
async fn a_database_without_trees_gets_them() {
    let folder = tempfile::tempdir().unwrap();
    let older = store(folder.path(), Duration::from_secs(20)).await;
    older.write(Weight::Gives, None, move |tx| with_lease(tx, &LeaseId::new(NOW.0, [7; 10]))).await.unwrap();
    let many = older.write(Weight::Ends, None, |tx| {
        for _ in 0..700 {
            due::event(tx, &Event::Epoch, None)?;
        }
        Ok(())
    });
    many.await.unwrap();
    let name = ChainName::vault();
    let before = proofs(&older, &name).await;
    drop(older);
    let older = Older::of(folder.path());
    let changed = older.conn.execute("UPDATE chains SET leases = 7 WHERE name = 'kit'", []).unwrap();
    assert_eq!(changed, 1);
    let store = older.opened();
    assert_eq!(proofs(&store, &name).await, before);
    let due = store.checkpoints_due(NOW, 10).await.unwrap();
    assert_eq!(due.iter().map(ChainName::as_str).collect::<Vec<_>>(), ["_vault", "_operators"]);
    assert_eq!(store.census().await.unwrap().quarantined, ["kit".parse().unwrap()]);
}

/// Proofs in a chain of 702 entries, each held against the lines themselves.
async fn proofs(store: &Sqlite, chain: &ChainName) -> Vec<Vec<Digest>> {
    let lines = store.lines(chain, 0, 1000, usize::MAX).await.unwrap().unwrap().lines;
    let leaves: Vec<Digest> = lines.iter().map(|line| crate::crypto::hash::leaf(line)).collect();
    let root = |size: usize| {
        let mut tree = Tree::default();
        leaves[..size].iter().for_each(|leaf| tree.push(*leaf));
        tree.root()
    };
    assert_eq!(leaves.len(), 702);
    let mut all = Vec::new();
    for (seq, size) in [(0, 1), (0, 702), (255, 256), (300, 700), (701, 702), (511, 640)] {
        let path = store.inclusion(chain, seq, size).await.unwrap().unwrap();
        tree::verify_inclusion(&leaves[seq as usize], seq, size, &path, &root(size as usize)).unwrap();
        all.push(path);
    }
    for (old, size) in [(1, 702), (256, 702), (300, 511), (700, 701)] {
        let path = store.consistency(chain, old, size).await.unwrap().unwrap();
        tree::verify_consistency(old, &root(old as usize), size, &root(size as usize), &path).unwrap();
        all.push(path);
    }
    assert_eq!(store.inclusion(chain, 5, 703).await.unwrap(), None);
    assert_eq!(store.inclusion(chain, 5, 5).await.unwrap(), None);
    assert_eq!(store.consistency(chain, 6, 5).await.unwrap(), None);
    all
}

/// What takes the tables back to those of the fifth version, which looked up no nonces after a reset of the clock.
const FIFTH: &str = "
ALTER TABLE nonces DROP COLUMN recalled; DROP TABLE freezes;
ALTER TABLE chains DROP COLUMN restores; ALTER TABLE chains DROP COLUMN lost_from; ALTER TABLE vault DROP COLUMN restored;
ALTER TABLE vault DROP COLUMN ring;
PRAGMA user_version = 5;";

#[tokio::test]
async fn a_database_that_had_a_reset_before_nonces_were_looked_up_looks_them_up() {
    let folder = tempfile::tempdir().unwrap();
    let older = store(folder.path(), Duration::from_secs(20)).await;
    older.write(Weight::Gives, None, move |tx| with_lease(tx, &LeaseId::new(NOW.0, [7; 10]))).await.unwrap();
    // As a program of that version left it: a reset that says nothing of nonces.
    let by = By { chain: ChainName::operators(), leaf: Digest::ZERO, seq: 0 };
    let reset = older.write(Weight::Gives, None, move |tx| {
        let mut vault = tx.hold(&ChainName::vault())?;
        let facts = vault.vault()?.clone();
        let reset = Some(rows::Reset { number: 1, by: by.clone(), iat: NOW, recall: None });
        tx.put_vault(&mut vault, views::VaultFacts { reset, ..facts })?;
        tx.keep(vault);
        Ok(())
    });
    reset.await.unwrap();
    drop(older);
    let conn = schema::connect(&folder.path().join("data/vault.db"), Access::Write).unwrap();
    let entropy = Arc::new(SeededEntropy::new(9));
    let (root, data) = (RootKey::generate(&*entropy), folder.path().join("data"));
    let ring = founding::ring(&conn, &root).unwrap();
    forget_custodians(&conn, &ring);
    founding::cover_version(&conn, &ring, schema::VERSION, 5).unwrap();
    conn.execute_batch(FIFTH).unwrap();
    let reset = |conn: &rusqlite::Connection| -> String {
        conn.query_row("SELECT reset FROM vault", [], |row| row.get(0)).unwrap()
    };
    assert!(!reset(&conn).contains("recall"));
    let older = Older { conn, ring, root, data, entropy };
    let store = older.opened();
    assert!(store.census().await.unwrap().quarantined.is_empty());
    let conn = schema::connect(&folder.path().join("data/vault.db"), Access::Read).unwrap();
    assert!(reset(&conn).contains("\"next\""), "all chains are to be read");
    assert_eq!(schema::version(&conn).unwrap(), schema::VERSION);
}
