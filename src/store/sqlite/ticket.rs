//! Who still waits for a job. The caller and the writer agree on it through one small state, so that a job is run by
//! the one or withdrawn by the other and never both, and so that what lands for nobody is known to have done so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const QUEUED: u8 = 0;
const STARTED: u8 = 1;
const LANDED: u8 = 2;
const TAKEN: u8 = 3;
const WITHDRAWN: u8 = 4;
const ABANDONED: u8 = 5;

/// The state of one job, shared by its caller and the writer.
#[derive(Clone, Debug, Default)]
pub(super) struct Ticket(Arc<AtomicU8>);

/// What a caller that gives up leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Nothing: the job was withdrawn and will not run.
    Nothing,
    /// A job under way, which the writer will find abandoned.
    UnderWay,
    /// A job that has landed, with an answer that nobody took.
    Landed,
}

impl Ticket {
    fn step(&self, from: u8, to: u8) -> bool {
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The writer begins the job, unless it was withdrawn. A job that is run again has begun already.
    pub(super) fn start(&self) -> bool {
        self.step(QUEUED, STARTED) || matches!(self.0.load(Ordering::Acquire), STARTED | ABANDONED)
    }

    /// Whether the job was withdrawn.
    pub(super) fn is_withdrawn(&self) -> bool {
        self.0.load(Ordering::Acquire) == WITHDRAWN
    }

    /// The writer has the outcome; whether anybody still waits for it.
    pub(super) fn land(&self) -> bool {
        self.step(STARTED, LANDED) || self.step(QUEUED, LANDED)
    }

    /// The caller has the outcome.
    pub(super) fn take(&self) {
        self.step(LANDED, TAKEN);
    }

    /// The caller goes away.
    pub(super) fn leave(&self) -> Left {
        if self.step(QUEUED, WITHDRAWN) {
            Left::Nothing
        } else if self.step(STARTED, ABANDONED) {
            Left::UnderWay
        } else if self.step(LANDED, ABANDONED) {
            Left::Landed
        } else {
            // Taken, or left before: there is nothing to leave any more.
            Left::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_withdrawn_or_run_and_never_both() {
        let ticket = Ticket::default();
        assert_eq!(ticket.leave(), Left::Nothing);
        assert!(ticket.is_withdrawn() && !ticket.start());
        let ticket = Ticket::default();
        assert!(ticket.start());
        assert_eq!(ticket.leave(), Left::UnderWay);
        assert!(!ticket.land(), "somebody was said to wait");
    }

    #[test]
    fn an_answer_that_nobody_took_is_told_from_one_that_was_taken() {
        let ticket = Ticket::default();
        assert!(ticket.start() && ticket.land());
        assert_eq!(ticket.leave(), Left::Landed);
        let ticket = Ticket::default();
        assert!(ticket.start() && ticket.land());
        ticket.take();
        assert_eq!(ticket.leave(), Left::Nothing);
    }
}
