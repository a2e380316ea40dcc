//! Connections that only read, each used by one reader at a time on a thread where waiting for the disk holds up
//! nobody. A read sees one instant: it runs in a transaction that ends with it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::super::Failure;
use super::stop::Stop;
use super::views::Held;
use super::writer::execute;
use super::{FAILED, Shared};
use crate::id::ChainName;

/// How many reads run at once.
pub(super) const READERS: usize = 4;

/// The connections that are free.
#[derive(Debug)]
pub(super) struct Readers {
    free: Mutex<Vec<Connection>>,
    room: Arc<Semaphore>,
    /// Held by each read under way.
    under_way: Mutex<Arc<()>>,
}

/// How often one looks whether reads are over.
const LOOK: Duration = Duration::from_millis(5);

/// The store at one instant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instant<'a> {
    pub(super) conn: &'a Connection,
    pub(super) shared: &'a Shared,
}

impl Instant<'_> {
    /// The chain of this name with its facts, if there is one.
    pub(super) fn look(&self, name: &ChainName) -> Result<Option<Held>, Stop> {
        self.shared.views.hold(self.conn, self.shared, name)
    }

    /// The chain of this name, which must be there.
    pub(super) fn hold(&self, name: &ChainName) -> Result<Held, Stop> {
        self.look(name)?.ok_or_else(|| Stop::Broken(format!("there is no chain {name}")))
    }
}

impl Readers {
    pub(super) fn new(connections: Vec<Connection>) -> Readers {
        let room = Arc::new(Semaphore::new(connections.len()));
        Readers { free: Mutex::new(connections), room, under_way: Mutex::default() }
    }

    /// Waits until every read is over that is under way now. Others begin meanwhile.
    pub(super) async fn over(&self) {
        let earlier = std::mem::take(&mut *self.under_way.lock().unwrap_or_else(PoisonError::into_inner));
        while Arc::strong_count(&earlier) > 1 {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Reads at one instant. Past the deadline nobody waits any more, and the connection comes back when it is done.
    pub(super) async fn read<T, F>(self: &Arc<Readers>, shared: &Arc<Shared>, read: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(Instant<'_>) -> Result<T, Stop> + Send + 'static,
    {
        if shared.condition.failed() {
            return Err(Failure::Unavailable(FAILED.to_owned()));
        }
        let deadline: Duration = shared.rules.deadline;
        let (readers, shared) = (Arc::clone(self), Arc::clone(shared));
        let work = async move {
            let gone = || Failure::Unavailable("the store is closed".to_owned());
            let room = Arc::clone(&readers.room).acquire_owned().await.map_err(|_| gone())?;
            let task = tokio::task::spawn_blocking(move || {
                let _room = room;
                let conn = Borrowed::of(&readers).ok_or_else(gone)?;
                let _under_way = Arc::clone(&readers.under_way.lock().unwrap_or_else(PoisonError::into_inner));
                conn.at_one_instant(&shared, read).map_err(Failure::from)
            });
            task.await
                .unwrap_or_else(|_| Err(Failure::Unavailable("a fault of our own; the log says where".to_owned())))
        };
        let late = |_| Err(Failure::Unavailable("the deadline passed before it was read".to_owned()));
        tokio::time::timeout(deadline, work).await.unwrap_or_else(late)
    }
}

/// A connection that goes back where it came from, whatever becomes of its reader.
struct Borrowed<'a> {
    conn: Option<Connection>,
    from: &'a Readers,
}

impl<'a> Borrowed<'a> {
    fn of(from: &'a Readers) -> Option<Borrowed<'a>> {
        let conn = from.free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        Some(Borrowed { conn: Some(conn), from })
    }

    fn at_one_instant<T>(&self, shared: &Shared, read: impl FnOnce(Instant<'_>) -> Result<T, Stop>) -> Result<T, Stop> {
        let conn = self.conn.as_ref().expect("it is there until it goes back");
        execute(conn, "BEGIN")?;
        let result = read(Instant { conn, shared });
        execute(conn, "COMMIT")?;
        result
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        let Some(conn) = self.conn.take() else { return };
        if !conn.is_autocommit() {
            // A reader that panicked leaves its transaction open, which would pin the log.
            let _ = execute(&conn, "ROLLBACK");
        }
        self.from.free.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
    }
}
