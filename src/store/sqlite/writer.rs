//! The one thread that writes. It takes all jobs that wait, runs each in a savepoint of one transaction, commits once,
//! and answers only then: one sync serves all that waited, and no one waits for a timer.
//!
//! | a crash after | leaves |
//! |---|---|
//! | `BEGIN`, any job, the rows of the chains | nothing: the transaction was not committed |
//! | `COMMIT` | all of the group; nobody was answered, and what a caller may not have heard of it can release by `req` |
//! | the answers | all of the group |
//!
//! A job that fails, fails alone. A full disk fails the group: what gives is refused, what ends is run again in the room
//! that the reserve gives up. An error of the disk while it commits is the end: what is durable is not known any more,
//! so the store refuses everything until the daemon was started anew. A database that cannot be locked for a minute is the
//! end too: whoever has it for that long, or a file system that gives no locks, lets nothing be written again.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::super::Failure;
use super::Shared;
use super::files::Files;
use super::fold::Fold;
use super::requests;
use super::stop::{Meaning, Stop, is_constraint};
use super::ticket::{Left, Ticket};
use super::tx::Tx;
use crate::audit::chain::AuditKey;
use crate::id::LeaseId;
use crate::time::Timestamp;

const FULL: &str = "the disk is full";
const STAYS_LOCKED: &str = "the database could not be locked for a minute; see that no other program has vault.db open and \
     that its file system gives locks, as NFS does only with a lock service, and start again";

/// The most jobs of one commit.
const GROUP: usize = 256;

/// How long the writer waits in vain for the database before nothing is expected of it any more.
const LOCKED_OUT: Duration = Duration::from_secs(60);

/// Whether a job gives something out or ends what was given: what gives is refused while the disk is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    Gives,
    Ends,
}

/// A job, as the writer sees it.
pub(super) trait Job: Send {
    fn weight(&self) -> Weight;
    /// Whether it is still to be run; a job that was withdrawn is dropped.
    fn start(&self) -> bool;
    fn is_withdrawn(&self) -> bool;
    /// Runs it. After a rollback it may be run again.
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), Stop>;
    /// Tells the caller. Gives the job that undoes it where nobody waits any more.
    fn answer(self: Box<Self>, failure: Option<Failure>) -> Option<Box<dyn Job>>;
}

/// Where jobs wait.
pub(super) type Queue = UnboundedSender<Box<dyn Job>>;

/// A verb on its way through the writer.
pub(super) struct Verb<T, F> {
    pub(super) weight: Weight,
    pub(super) run: F,
    pub(super) outcome: Option<T>,
    pub(super) reply: oneshot::Sender<Result<T, Failure>>,
    pub(super) ticket: Ticket,
    /// The lease that is ended again where nobody waits for the outcome.
    pub(super) lease: Option<LeaseId>,
    /// Its place in the queue.
    pub(super) _room: OwnedSemaphorePermit,
}

impl<T, F> Job for Verb<T, F>
where
    T: Send + 'static,
    F: FnMut(&mut Tx<'_>) -> Result<T, Stop> + Send + 'static,
{
    fn weight(&self) -> Weight {
        self.weight
    }

    fn start(&self) -> bool {
        self.ticket.start()
    }

    fn is_withdrawn(&self) -> bool {
        self.ticket.is_withdrawn()
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), Stop> {
        self.outcome = Some((self.run)(tx)?);
        Ok(())
    }

    fn answer(self: Box<Self>, failure: Option<Failure>) -> Option<Box<dyn Job>> {
        let waits = self.ticket.land();
        let done = failure.is_none();
        let result = match (failure, self.outcome) {
            (None, Some(outcome)) => Ok(outcome),
            (Some(failure), _) => Err(failure),
            (None, None) => Err(Failure::Unavailable("the job did not run".to_owned())),
        };
        // Where the caller is gone between the two, its own guard finds the answer untaken and undoes it.
        let _ = self.reply.send(result);
        (!waits && done).then_some(self.lease).flatten().map(|lease| Box::new(Undo { lease }) as Box<dyn Job>)
    }
}

/// Ends a lease whose answer never left.
pub(super) struct Undo {
    lease: LeaseId,
}

impl Job for Undo {
    fn weight(&self) -> Weight {
        Weight::Ends
    }

    fn start(&self) -> bool {
        true
    }

    fn is_withdrawn(&self) -> bool {
        false
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), Stop> {
        requests::undelivered(tx, &self.lease)
    }

    fn answer(self: Box<Self>, failure: Option<Failure>) -> Option<Box<dyn Job>> {
        match failure {
            Some(Failure::Unavailable(why)) => {
                tracing::warn!(lease = %self.lease, why, "an undelivered lease lives on until it can be ended");
                Some(self)
            }
            _ => None,
        }
    }
}

/// Stands for a caller that waits; where it goes without an answer, the job is withdrawn or undone.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) ticket: Ticket,
    pub(super) lease: Option<LeaseId>,
    pub(super) queue: Queue,
}

impl Waiting {
    /// What is left behind by giving up now.
    pub(super) fn give_up(&self) -> Left {
        self.ticket.leave()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.ticket.leave() == Left::Landed
            && let Some(lease) = self.lease.take()
        {
            // A writer that is gone answers nobody, and the daemon with it.
            let _ = self.queue.send(Box::new(Undo { lease }));
        }
    }
}

/// The writer's own things.
pub(super) struct Writer {
    // In this order they end: what copies the log, and its connection, before the lock is another's.
    pub(super) conn: Connection,
    pub(super) fold: Fold,
    pub(super) files: Files,
    pub(super) shared: Arc<Shared>,
    pub(super) jobs: UnboundedReceiver<Box<dyn Job>>,
    pub(super) newest: Timestamp,
    pub(super) key: Option<Arc<AuditKey>>,
}

/// What the store knows of its disk.
#[derive(Debug, Default)]
pub(super) struct Condition {
    failed: AtomicBool,
    full: AtomicBool,
    newest: AtomicU64,
    /// How long the writer has waited for the database since it last had it, in microseconds.
    pub(super) locked_out: AtomicU64,
}

impl Condition {
    pub(super) fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Nothing is read or written any more.
    pub(super) fn fail(&self, why: &str) {
        if !self.failed.swap(true, Ordering::AcqRel) {
            tracing::error!(why, "the store cannot be trusted any more and stops");
        }
    }

    /// The instant of the newest entry.
    pub(super) fn newest(&self) -> Timestamp {
        Timestamp(self.newest.load(Ordering::Acquire))
    }

    pub(super) fn wrote(&self, newest: Timestamp) {
        self.newest.store(newest.0, Ordering::Release);
    }

    pub(super) fn full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    /// The writer has waited so much longer in vain. Gives for how long by now: only tries count, so that a store that
    /// nobody writes to is not taken for one that is locked.
    fn locked_out_for(&self, more: Duration) -> Duration {
        let more = u64::try_from(more.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.locked_out.fetch_add(more, Ordering::AcqRel).saturating_add(more))
    }

    /// The writer has the database.
    fn let_in(&self) {
        self.locked_out.store(0, Ordering::Release);
    }
}

/// How a group ended.
enum End {
    Committed,
    /// The lock is another's; the jobs still wait.
    Busy,
    /// Nothing was written.
    Nothing(String),
    /// Nothing was written, for want of room.
    Full,
    /// The disk cannot be trusted; whether the commit may have landed.
    Fatal(String, bool),
}

type Jobs = VecDeque<Box<dyn Job>>;
type Outcomes = Vec<(Box<dyn Job>, Option<Failure>)>;

impl Writer {
    /// Runs until nobody can send jobs any more and none waits.
    pub(super) fn run(mut self) {
        // Ends of undelivered leases: the next jobs of all. One that fails waits for the next group.
        let mut next = Jobs::new();
        let mut at_once = false;
        loop {
            let mut group = std::mem::take(&mut next);
            let own = group.len();
            if !at_once {
                match self.jobs.blocking_recv() {
                    Some(job) => group.push_back(job),
                    None => return,
                }
            }
            while group.len() < GROUP
                && let Ok(job) = self.jobs.try_recv()
            {
                group.push_back(job);
            }
            let company = group.len() > own;
            next = self.turn(group);
            at_once = company && !next.is_empty();
        }
    }

    /// Runs a group to its end and answers. Gives the jobs that follow from it.
    fn turn(&mut self, mut group: Jobs) -> Jobs {
        if self.shared.condition.full() && self.files.room_for_reserve() {
            tracing::info!("the disk has room again");
            self.shared.condition.full.store(false, Ordering::Release);
        }
        let mut again = false;
        loop {
            if self.shared.condition.failed() {
                return answer_all(group, || Failure::Unavailable(super::FAILED.to_owned()));
            }
            let mut ran = Outcomes::new();
            let end = self.group(&mut group, &mut ran);
            let all = |ran: Outcomes, group| ran.into_iter().map(|(job, _)| job).chain::<Jobs>(group);
            match end {
                End::Committed => return ran.into_iter().filter_map(|(job, failure)| job.answer(failure)).collect(),
                End::Busy => {
                    group.retain(|job| !job.is_withdrawn());
                    if group.is_empty() {
                        return Jobs::new();
                    }
                }
                End::Nothing(why) => return answer_all(all(ran, group), || Failure::Unavailable(why.clone())),
                End::Full => {
                    self.full();
                    let (ends, gives): (Jobs, Jobs) =
                        all(ran, group).partition(|job| job.weight() == Weight::Ends && !again);
                    let after = answer_all(gives, || Failure::Unavailable(FULL.to_owned()));
                    if ends.is_empty() {
                        return after;
                    }
                    (group, again) = (ends, true);
                    group.extend(after);
                }
                End::Fatal(why, landed) => {
                    self.shared.condition.fail(&why);
                    let unknown = || if landed { Failure::Unknown } else { Failure::Unavailable(why.clone()) };
                    let mut after = answer_all(ran.into_iter().map(|(job, _)| job), unknown);
                    // A job that never began lands nothing, whatever became of the others.
                    after.extend(answer_all(group, || Failure::Unavailable(why.clone())));
                    return after;
                }
            }
        }
    }

    fn full(&mut self) {
        if !self.shared.condition.full.swap(true, Ordering::AcqRel) {
            tracing::error!("the disk is full: nothing is issued until there is room");
        }
        self.files.spend_reserve();
        self.fold.now();
    }

    /// One transaction. Jobs that were begun stand in `ran` afterwards, the others still in `group`.
    fn group(&mut self, group: &mut Jobs, ran: &mut Outcomes) -> End {
        let (began, ring) = (Instant::now(), self.shared.ring.held());
        let end = self.commit(group, ran);
        if !matches!(end, End::Committed) {
            // A key that was made in it is nowhere written.
            self.shared.ring.put_back(ring);
        }
        if matches!(end, End::Committed) {
            self.fold.wrote(ran.len());
        }
        if let (End::Committed, Some(telemetry)) = (&end, self.shared.telemetry.get()) {
            telemetry.committed(ran.len(), began.elapsed());
            telemetry.waiting(self.jobs.len());
        }
        end
    }

    fn commit(&mut self, group: &mut Jobs, ran: &mut Outcomes) -> End {
        let began = Instant::now();
        if let Err(error) = execute(&self.conn, "BEGIN IMMEDIATE") {
            return match Meaning::of(&error) {
                Meaning::Busy if self.shared.condition.locked_out_for(began.elapsed()) < LOCKED_OUT => End::Busy,
                Meaning::Busy => End::Fatal(format!("{STAYS_LOCKED}: {error}"), false),
                _ => end_of(&error),
            };
        }
        self.shared.condition.let_in();
        let mut tx = Tx::new(&self.conn, &self.shared, self.key.clone(), self.newest);
        while let Some(mut job) = group.pop_front() {
            if !job.start() {
                continue;
            }
            if job.weight() == Weight::Gives && self.shared.condition.full() {
                ran.push((job, Some(Failure::Unavailable(FULL.to_owned()))));
                continue;
            }
            let before = (tx.key.clone(), tx.newest);
            let ring = self.shared.ring.held();
            let stop = run_one(&mut tx, job.as_mut()).err();
            let mut end = None;
            if let Some(stop) = &stop {
                (tx.key, tx.newest) = before;
                self.shared.ring.put_back(ring);
                end = match stop {
                    Stop::Sql(error) if Meaning::of(error) != Meaning::Local => Some(end_of(error)),
                    _ if self.conn.is_autocommit() => Some(End::Nothing("the transaction was rolled back".to_owned())),
                    _ => None,
                };
            }
            ran.push((job, stop.map(Failure::from)));
            if let Some(end) = end {
                roll_back(&self.conn);
                return end;
            }
        }
        if ran.iter().all(|(_, failure)| failure.is_some()) {
            roll_back(&self.conn);
            return End::Committed;
        }
        if let Err(error) = tx.flush() {
            roll_back(&self.conn);
            return end_of(&error);
        }
        if let Err(error) = execute(&self.conn, "COMMIT") {
            roll_back(&self.conn);
            return match end_of(&error) {
                End::Fatal(why, _) => End::Fatal(why, true),
                End::Nothing(why) if !is_constraint(&error) => End::Fatal(why, true),
                end => end,
            };
        }
        (self.key, self.newest) = (tx.key.clone(), tx.newest);
        self.shared.condition.wrote(self.newest);
        tx.publish();
        End::Committed
    }
}

/// Tells each job's caller that it came to nothing. Gives the jobs that follow from it.
fn answer_all(jobs: impl IntoIterator<Item = Box<dyn Job>>, failure: impl Fn() -> Failure) -> Jobs {
    jobs.into_iter().filter_map(|job| job.answer(Some(failure()))).collect()
}

/// Runs a job in its savepoint. A panic is the job's own failure.
fn run_one(tx: &mut Tx<'_>, job: &mut dyn Job) -> Result<(), Stop> {
    tx.begin_job();
    execute(tx.conn, "SAVEPOINT job")?;
    let ran = catch_unwind(AssertUnwindSafe(|| job.run(tx)))
        .unwrap_or_else(|_| Err(Stop::Broken("a fault of our own; the log says where".to_owned())));
    match ran {
        Ok(()) => {
            execute(tx.conn, "RELEASE job")?;
            tx.end_job();
            Ok(())
        }
        Err(stop) => {
            if !tx.conn.is_autocommit() {
                execute(tx.conn, "ROLLBACK TO job")?;
                execute(tx.conn, "RELEASE job")?;
            }
            Err(stop)
        }
    }
}

/// What an error before the commit means for the group: in any case, nothing of it was written.
fn end_of(error: &rusqlite::Error) -> End {
    match Meaning::of(error) {
        Meaning::Full => End::Full,
        Meaning::Fatal => End::Fatal(error.to_string(), false),
        Meaning::Busy | Meaning::Local => End::Nothing(error.to_string()),
    }
}

fn roll_back(conn: &Connection) {
    // What is rolled back already needs nothing, and a rollback that fails leaves it to the next BEGIN to say so.
    if !conn.is_autocommit() {
        let _ = execute(conn, "ROLLBACK");
    }
}

/// Runs a statement without rows out of the cache.
pub(super) fn execute(conn: &Connection, sql: &str) -> rusqlite::Result<()> {
    conn.prepare_cached(sql)?.execute([])?;
    Ok(())
}

/// Runs one job in a transaction of its own, before there is a writer.
pub(super) fn alone<T>(
    conn: &Connection,
    shared: &Shared,
    key: Arc<AuditKey>,
    job: impl FnOnce(&mut Tx<'_>) -> Result<T, Stop>,
) -> Result<T, Stop> {
    execute(conn, "BEGIN IMMEDIATE")?;
    let mut tx = Tx::new(conn, shared, Some(key), Timestamp::ZERO);
    let done = job(&mut tx).and_then(|value| {
        tx.end_job();
        tx.flush()?;
        execute(conn, "COMMIT")?;
        Ok(value)
    });
    if done.is_err() {
        roll_back(conn);
    }
    done
}
