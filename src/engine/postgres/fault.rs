//! What the server's errors mean: try again later, or look at the role. The operator reads the SQLSTATE and the server's
//! own message. A message may quote a piece of the statement; a verifier in it is left out.

use std::error::Error as _;
use std::fmt::Write as _;

use deadpool_postgres::{HookError, PoolError};
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::denial::{Denial, Reason};
use crate::id::SecretName;

/// How a verifier begins, wherever it stands.
const VERIFIER: &str = "SCRAM-SHA-256$";

/// Whether the server did not take the password.
pub(super) fn is_wrong_password(error: &Error) -> bool {
    error.code() == Some(&SqlState::INVALID_PASSWORD)
}

/// What kept us from being let in.
#[derive(Debug)]
pub(super) enum NotIn {
    /// The server did not take the password.
    WrongPassword(Error),
    /// Anything else.
    Other(Denial),
}

impl NotIn {
    pub(super) fn of(error: PoolError, place: &str) -> NotIn {
        let late = |what: &str| {
            let why = format!("{place}: {what}");
            NotIn::Other(Denial::new(Reason::EngineUnavailable).internal(why))
        };
        match error {
            PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => {
                if is_wrong_password(&error) {
                    NotIn::WrongPassword(error)
                } else {
                    NotIn::Other(denial(&error, place))
                }
            }
            PoolError::Timeout(deadpool_postgres::TimeoutType::Wait) => late("all connections are busy"),
            PoolError::Timeout(_) => late("no connection within the time for it"),
            PoolError::PostCreateHook(why) => late(&why.to_string()),
            PoolError::Closed | PoolError::NoRuntimeSpecified => late("the pool is closed"),
        }
    }

    /// The denial, where the password was the one of this secret.
    pub(super) fn denial(self, place: &str, secret: &SecretName) -> Denial {
        match self {
            NotIn::Other(denial) => denial,
            NotIn::WrongPassword(error) => {
                let said = said(&error);
                let why = format!("{place}: {said}; the password is the stored secret {secret}");
                Denial::new(Reason::EngineUnavailable).internal(why)
            }
        }
    }
}

/// The denial for an error while `doing` something.
pub(super) fn denial(error: &Error, doing: &str) -> Denial {
    let reason = if is_passing(error) { Reason::EngineUnavailable } else { Reason::EngineRefused };
    Denial::new(reason).internal(format!("{doing}: {}", said(error)))
}

/// The same for the removal of a role: what is in the way of this one says nothing of the server.
pub(super) fn in_the_way(error: &Error, doing: &str) -> Denial {
    let denial = denial(error, doing);
    if is_in_the_way(error) { Denial { reason: Reason::EngineRefused, ..denial } } else { denial }
}

/// Whether something at the server holds what is asked for: a lock, a row, a deadlock, the time of a statement.
pub(super) fn is_in_the_way(error: &Error) -> bool {
    let code = error.code().map(SqlState::code);
    code.is_some_and(|code| code.starts_with("40") || matches!(code, "55P03" | "57014" | "XX000"))
}

/// Whether a later try may go better without anybody doing something about the role.
fn is_passing(error: &Error) -> bool {
    let Some(code) = error.code().map(SqlState::code) else {
        return true;
    };
    let classes = [
        "08", // the connection
        "28", // not let in
        "40", // a deadlock or the like
        "53", // no room, or too many connections
        "57", // shutting down, starting, cancelled, timed out
        "58", // the system below
    ];
    // Not in time for a lock; a standby, which takes no writes; two at once on one catalog row.
    classes.iter().any(|class| code.starts_with(class)) || matches!(code, "55P03" | "25006" | "XX000")
}

/// What the server said, or what happened on the way.
fn said(error: &Error) -> String {
    let text = if let Some(said) = error.as_db_error() {
        let mut text = format!("{} (SQLSTATE {})", said.message(), said.code().code());
        // Tells which objects keep a role from being dropped, and never a statement.
        if let Some(detail) = said.detail().filter(|_| *said.code() == SqlState::DEPENDENT_OBJECTS_STILL_EXIST) {
            let _ = write!(text, ": {}", detail.replace('\n', "; "));
        }
        text
    } else {
        let mut text = error.to_string();
        let mut below = error.source();
        while let Some(cause) = below {
            let _ = write!(text, ": {cause}");
            below = cause.source();
        }
        text
    };
    without_verifiers(&text)
}

/// The text with each verifier cut out.
fn without_verifiers(text: &str) -> String {
    let mut parts = text.split(VERIFIER);
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end =
            part.find(|byte: char| !(byte.is_ascii_alphanumeric() || "+/=:$".contains(byte))).unwrap_or(part.len());
        clean.push_str("SCRAM-SHA-256 (left out)");
        clean.push_str(&part[end..]);
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_verifier_is_left_out() {
        let text = "syntax error at or near \"'SCRAM-SHA-256$4096:AA+/==$x=:y=' VALID\" and SCRAM-SHA-256$4096:zz";
        let clean = "syntax error at or near \"'SCRAM-SHA-256 (left out)' VALID\" and SCRAM-SHA-256 (left out)";
        assert_eq!(without_verifiers(text), clean);
        assert_eq!(without_verifiers("plain"), "plain");
    }
}
