//! Threads that only read, each with a connection of its own, where waiting for the disk holds up nobody. A read sees one
//! instant: it runs in a transaction that begins after it was asked for and ends after it. Reads that wait together are
//! taken together, up to [`ROUND`] at one instant, so that a thread that is busy is not woken for each of them.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot};

use super::super::Failure;
use super::stop::Stop;
use super::views::Held;
use super::writer::execute;
use super::{FAILED, Shared};
use crate::id::ChainName;

/// How many threads read.
pub(super) const READERS: usize = 4;

/// The most reads of one round.
const ROUND: usize = 8;

/// The most reads that wait. Who finds no room waits for it, no longer than the deadline.
const QUEUE: usize = 4096;

/// How often one looks whether reads are over.
const LOOK: Duration = Duration::from_millis(5);

/// The store at one instant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instant<'a> {
    pub(super) conn: &'a Connection,
    pub(super) shared: &'a Shared,
    /// The chains that were looked at: at one instant, a second look finds the same.
    seen: &'a Seen,
}

type Seen = RefCell<BTreeMap<ChainName, Rc<Held>>>;

impl Instant<'_> {
    /// The chain of this name with its facts, if there is one.
    pub(super) fn look(&self, name: &ChainName) -> Result<Option<Rc<Held>>, Stop> {
        if let Some(held) = self.seen.borrow().get(name).filter(|_| !self.shared.views.is_aside(name)) {
            return Ok(Some(Rc::clone(held)));
        }
        let held = self.shared.views.hold(self.conn, self.shared, name)?.map(Rc::new);
        if let Some(held) = &held {
            self.seen.borrow_mut().insert(name.clone(), Rc::clone(held));
        }
        Ok(held)
    }

    /// The chain of this name, which must be there.
    pub(super) fn hold(&self, name: &ChainName) -> Result<Rc<Held>, Stop> {
        self.look(name)?.ok_or_else(|| Stop::Broken(format!("there is no chain {name}")))
    }
}

/// A read that waits. It answers by itself, with the instant or with what kept it from one.
type Read = Box<dyn FnOnce(Result<Instant<'_>, Failure>) + Send>;

/// The reads that wait, the threads that sleep, whether one of them was woken and has not looked yet, and whether no more
/// reads come.
#[derive(Default)]
struct Waiting {
    reads: VecDeque<Read>,
    idle: usize,
    woken: bool,
    over: bool,
}

impl Waiting {
    /// Whether one is to be woken: for as long as one is on its way, what comes meanwhile is its work too.
    fn wakes(&mut self) -> bool {
        let wakes = !self.reads.is_empty() && self.idle > 0 && !self.woken;
        self.woken |= wakes;
        wakes
    }
}

/// Where reads wait for a thread.
#[derive(Default)]
struct Desk {
    waiting: Mutex<Waiting>,
    come: Condvar,
    /// Held by each round under way.
    under_way: Mutex<Arc<()>>,
}

impl Desk {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, read: Read) {
        let mut waiting = self.waiting();
        waiting.reads.push_back(read);
        self.wake(waiting);
    }

    /// The next round; none where nobody can ask any more. What it leaves is for another.
    fn next(&self) -> Option<VecDeque<Read>> {
        let mut waiting = self.waiting();
        while waiting.reads.is_empty() && !waiting.over {
            waiting.idle += 1;
            waiting = self.come.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            waiting.idle -= 1;
            waiting.woken = false;
        }
        let part = waiting.reads.len().min(ROUND);
        let round: VecDeque<Read> = waiting.reads.drain(..part).collect();
        self.wake(waiting);
        (!round.is_empty()).then_some(round)
    }

    fn wake(&self, mut waiting: MutexGuard<'_, Waiting>) {
        let wakes = waiting.wakes();
        drop(waiting);
        if wakes {
            self.come.notify_one();
        }
    }

    fn close(&self) {
        self.waiting().over = true;
        self.come.notify_all();
    }

    fn enter(&self) -> Arc<()> {
        Arc::clone(&self.under_way.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The threads, as those who ask see them. They end with it.
pub(super) struct Readers {
    desk: Arc<Desk>,
    room: Arc<Semaphore>,
    /// Says nothing, until the last thread has closed its connection.
    ended: Mutex<Receiver<Infallible>>,
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readers").field("room", &self.room.available_permits()).finish_non_exhaustive()
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.desk.close();
    }
}

impl Readers {
    /// Starts a thread for each connection.
    pub(super) fn start(connections: Vec<Connection>, shared: &Arc<Shared>) -> std::io::Result<Readers> {
        let (ends, ended) = channel();
        let room = Arc::new(Semaphore::new(QUEUE));
        let readers = Readers { desk: Arc::default(), room, ended: Mutex::new(ended) };
        for conn in connections {
            let (desk, shared, ends) = (Arc::clone(&readers.desk), Arc::clone(shared), ends.clone());
            std::thread::Builder::new().name("store-reader".to_owned()).spawn(move || {
                while let Some(round) = desk.next() {
                    let _under_way = desk.enter();
                    at_one_instant(&conn, &shared, round);
                }
                drop(conn);
                drop(ends);
            })?;
        }
        Ok(readers)
    }

    /// Ends the threads, and waits for them as long as that. Whether they ended.
    pub(super) fn end(&self, patience: Duration) -> bool {
        self.desk.close();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(ended.recv_timeout(patience), Err(RecvTimeoutError::Disconnected))
    }

    /// Waits until every read is over that is under way now. Others begin meanwhile.
    pub(super) async fn over(&self) {
        let earlier = std::mem::take(&mut *self.desk.under_way.lock().unwrap_or_else(PoisonError::into_inner));
        while Arc::strong_count(&earlier) > 1 {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Reads at one instant. Past the deadline nobody waits any more, and a read that did not begin by then never does.
    pub(super) async fn read<T, F>(&self, shared: &Shared, read: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(Instant<'_>) -> Result<T, Stop> + Send + 'static,
    {
        if shared.condition.failed() {
            return Err(Failure::Unavailable(FAILED.to_owned()));
        }
        let work = async {
            let gone = || Failure::Unavailable("the store is closed".to_owned());
            let room = Arc::clone(&self.room).acquire_owned().await.map_err(|_| gone())?;
            let (reply, answer) = oneshot::channel();
            self.desk.put(Box::new(move |at| {
                let _room = room;
                if reply.is_closed() {
                    return;
                }
                let run = || at.and_then(|at| read(at).map_err(Failure::from));
                let fault = |_| Err(Failure::Unavailable("a fault of our own; the log says where".to_owned()));
                let _ = reply.send(catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(fault));
            }));
            answer.await.unwrap_or_else(|_| Err(gone()))
        };
        let late = |_| Err(Failure::Unavailable("the deadline passed before it was read".to_owned()));
        tokio::time::timeout(shared.rules.deadline, work).await.unwrap_or_else(late)
    }
}

/// Runs the reads of a round in one transaction.
fn at_one_instant(conn: &Connection, shared: &Shared, round: VecDeque<Read>) {
    if let Err(error) = execute(conn, "BEGIN") {
        let why = error.to_string();
        return round.into_iter().for_each(|read| read(Err(Failure::Unavailable(why.clone()))));
    }
    let seen = Seen::default();
    round.into_iter().for_each(|read| read(Ok(Instant { conn, shared, seen: &seen })));
    if let Err(error) = execute(conn, "COMMIT") {
        tracing::warn!(%error, "a round of reads did not end well");
        // An open transaction would pin the log.
        let _ = execute(conn, "ROLLBACK");
    }
}
