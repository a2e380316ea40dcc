//! The database's log, copied into the database beside the writer. A commit appends to the log and syncs it, and that is all
//! that an answer waits for; what the log holds is copied later, page by page, and takes as long as many commits. A thread
//! of its own does it, so that nobody waits. The writer copies too, as SQLite does, once the log has become long in spite
//! of it: it begins anew only when all of it is copied, for which the writer must be still for a moment.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::schema::{Access, connect};
use super::stop::Meaning;
use super::{OpenFault, Shared};

/// After how many jobs the log is copied, or how many commits where these are of few jobs: some hundred pages of it to a
/// thousand. While they are copied and synced, commits wait for the same disk: more at once, and one request in a
/// hundred meets that; fewer, and pages that are written in each commit are copied more often.
const JOBS: usize = 100;
const COMMITS: usize = 16;

/// The thread, as the writer sees it.
pub(super) struct Fold {
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    jobs: usize,
    commits: usize,
}

impl Fold {
    /// Starts it for this database.
    pub(super) fn start(database: PathBuf, shared: Arc<Shared>) -> Result<Fold, OpenFault> {
        let conn = connect(&database, Access::Fold)?;
        let (wake, woken) = sync_channel(1);
        let thread =
            std::thread::Builder::new().name("store-fold".to_owned()).spawn(move || run(&conn, &shared, &woken));
        let thread = thread.map_err(|cause| OpenFault::Io { path: database, cause })?;
        Ok(Fold { wake: Some(wake), thread: Some(thread), jobs: 0, commits: 0 })
    }

    /// So many jobs were committed together.
    pub(super) fn wrote(&mut self, jobs: usize) {
        self.jobs += jobs;
        self.commits += 1;
        if self.jobs >= JOBS || self.commits >= COMMITS {
            self.now();
        }
    }

    /// Has it copied now, as for the room that the log takes on a full disk.
    pub(super) fn now(&mut self) {
        (self.jobs, self.commits) = (0, 0);
        // Where one is told and has not begun, it will copy this too.
        let _ = self.wake.as_ref().map(|wake| wake.try_send(()));
    }
}

impl Drop for Fold {
    /// Waits until it is done.
    fn drop(&mut self) {
        self.wake = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that copies the log has panicked");
        }
    }
}

fn run(conn: &Connection, shared: &Shared, woken: &Receiver<()>) {
    while woken.recv().is_ok() {
        let copied = conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        match copied.map_err(|error| (Meaning::of(&error), error)) {
            Ok(()) | Err((Meaning::Busy | Meaning::Local, _)) => {}
            // What is durable stays in the log; there is only no room to copy it to.
            Err((Meaning::Full, _)) => tracing::warn!("the disk is full: the log of the database grows"),
            Err((Meaning::Fatal, error)) => {
                shared.condition.fail(&format!("the database's log could not be copied: {error}"));
            }
        }
    }
}
