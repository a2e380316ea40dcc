//! What ends a job before its end, as the inside of the store tells it.

use rusqlite::ErrorCode;

use super::super::Failure;
use crate::denial::{Denial, Reason};

/// Why a job does not go on.
#[derive(Debug)]
pub(super) enum Stop {
    /// The decision was no.
    Denied(Denial),
    /// The database said no.
    Sql(rusqlite::Error),
    /// Something is not as it must be.
    Broken(String),
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Stop {
        Stop::Sql(error)
    }
}

impl From<Denial> for Stop {
    fn from(denial: Denial) -> Stop {
        Stop::Denied(denial)
    }
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Stop {
        Stop::Denied(reason.into())
    }
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Failure {
        match stop {
            Stop::Denied(denial) => Failure::Denied(denial),
            Stop::Sql(error) => Failure::Unavailable(error.to_string()),
            Stop::Broken(what) => Failure::Unavailable(what),
        }
    }
}

/// What an error of the database means for the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// There is no room.
    Full,
    /// Another connection holds the lock, or the system gives none.
    Busy,
    /// The disk or the file cannot be trusted any more.
    Fatal,
    /// This statement failed, and nothing else.
    Local,
}

impl Meaning {
    pub(super) fn of(error: &rusqlite::Error) -> Meaning {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Meaning::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => {
                Meaning::Busy
            }
            Some(
                ErrorCode::SystemIoFailure
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly,
            ) => Meaning::Fatal,
            _ => Meaning::Local,
        }
    }
}

/// Whether a constraint refused the row: it stands there already.
pub(super) fn is_constraint(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
}
