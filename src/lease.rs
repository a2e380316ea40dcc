//! What was handed out. A [`Lease`] lives until it expires, is released by its agent or is revoked by an operator; a
//! lease whose answer never left is undelivered. The end is one way: no state leads back to [`State::Live`].

use crate::crypto::hash::Digest;
use crate::id::{AgentName, LeaseId, RoleName, Sid};
use crate::time::Timestamp;

/// Where a lease stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The credential is good.
    Live,
    /// Its agent gave it back.
    Released,
    /// An operator took it back.
    Revoked,
    /// Its time ran out.
    Expired,
    /// It was committed, but the answer never left.
    Undelivered,
}

impl State {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            State::Live => "live",
            State::Released => "released",
            State::Revoked => "revoked",
            State::Expired => "expired",
            State::Undelivered => "undelivered",
        }
    }

    /// The state of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<State> {
        [State::Live, State::Released, State::Revoked, State::Expired, State::Undelivered]
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

/// A credential that was handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its identifier.
    pub id: LeaseId,
    /// To whom.
    pub agent: AgentName,
    /// In which session.
    pub sid: Sid,
    /// Of which role.
    pub role: RoleName,
    /// The grant it was had under: the `seq` of the grant's entry.
    pub grant: u64,
    /// H(PAE) of the request it answers.
    pub req: Digest,
    /// The credential's public name at the far side.
    pub handle: String,
    /// When it was issued.
    pub issued: Timestamp,
    /// When it dies.
    pub expires: Timestamp,
    /// The latest that renewals can reach.
    pub latest: Timestamp,
    /// Whether its engine can prolong it.
    pub renewable: bool,
    /// Where it stands.
    pub state: State,
}

impl Lease {
    /// Whether it is good at `now`.
    #[must_use]
    pub fn live(&self, now: Timestamp) -> bool {
        self.state == State::Live && now < self.expires
    }
}
