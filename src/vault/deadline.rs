//! Calls that leave the process. None is waited for longer than the vault allows; an engine bears that its future is
//! dropped when the time is over.

use std::time::Duration;

use super::Vault;
use crate::denial::{Denial, Reason};

/// The most characters of a backend's words that go into an answer: they travel in a header, which has an end.
const WORDS: usize = 2000;

impl Vault {
    /// What an engine's call gives, if it gives it in time.
    pub(super) async fn in_time<T>(&self, call: impl Future<Output = Result<T, Denial>>) -> Result<T, Denial> {
        within(self.limits.engine_deadline, call).await
    }
}

/// What an engine's call gives, if it gives it within this time.
pub(super) async fn within<T>(deadline: Duration, call: impl Future<Output = Result<T, Denial>>) -> Result<T, Denial> {
    let late = |_| {
        let said = format!("no answer from the backend within {} ms", deadline.as_millis());
        Err(Denial::new(Reason::EngineUnavailable).internal(said))
    };
    tokio::time::timeout(deadline, call).await.unwrap_or_else(late)
}

/// A refusal that an operator gets: what the backend said is for exactly such a reader.
pub(super) fn openly(mut denial: Denial) -> Denial {
    let words = if denial.detail.is_empty() { &denial.internal } else { &denial.detail };
    denial.detail = words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WORDS).collect();
    denial
}
