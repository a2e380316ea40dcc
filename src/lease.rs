//! What was handed out. A [`Lease`] lives until it expires, is released by its agent or is revoked by an operator; a
//! lease whose answer never left is undelivered. The end is one way: no state leads back to [`State::Live`].
//!
//! ```text
//!               commit            the agent gives it back, or closes its session
//!  intended --------------> live ------------------------------------------------> released
//!      |                     |
//!      | broken off          |---- an operator takes it back -------------------> revoked
//!      v                     |---- its time or its session runs out ------------> expired
//!  abandoned                 '---- the answer never left -----------------------> undelivered
//! ```
//!
//! A credential that lives at a backend begins as an intent, which is durable before the backend is asked; the others
//! begin live. Whichever way such a lease ends, and also where it was abandoned, it then waits with an [`Undo`] until its
//! backend has taken the credential away, or until an operator has it forgotten.

use crate::crypto::hash::Digest;
use crate::id::{AgentName, LeaseId, RoleName, Sid};
use crate::statement::reply::Revocation;
use crate::time::Timestamp;

/// Where a lease stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Its credential is about to be made at its backend.
    Intended,
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
    /// The intent came to nothing: nobody was given anything.
    Abandoned,
}

impl State {
    /// All of them.
    pub const ALL: [State; 7] = [
        State::Intended,
        State::Live,
        State::Released,
        State::Revoked,
        State::Expired,
        State::Undelivered,
        State::Abandoned,
    ];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            State::Intended => "intended",
            State::Live => "live",
            State::Released => "released",
            State::Revoked => "revoked",
            State::Expired => "expired",
            State::Undelivered => "undelivered",
            State::Abandoned => "abandoned",
        }
    }

    /// The state of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether it is over.
    #[must_use]
    pub fn ended(self) -> bool {
        !matches!(self, State::Intended | State::Live)
    }

    /// Whether this step is drawn above.
    #[must_use]
    pub fn leads_to(self, next: State) -> bool {
        match self {
            State::Intended => matches!(next, State::Live | State::Abandoned),
            State::Live => matches!(next, State::Released | State::Revoked | State::Expired | State::Undelivered),
            _ => false,
        }
    }
}

/// What is still to be done at the backend. Of an intent: when it is taken to have been broken off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undo {
    /// When it is tried next.
    pub retry: Timestamp,
    /// How often it was tried.
    pub tries: u64,
    /// What the last try met. Never a secret.
    pub fault: Option<String>,
}

impl Undo {
    /// To be tried from `at` on.
    #[must_use]
    pub fn at(at: Timestamp) -> Undo {
        Undo { retry: at, tries: 0, fault: None }
    }
}

/// A credential that was handed out, or is about to be.
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
    /// How it can be made useless before its time.
    pub revocation: Revocation,
    /// Where it stands.
    pub state: State,
    /// When it ended, by the clock; its entry may be dated later.
    pub ended: Option<Timestamp>,
    /// What is still to be done at its backend.
    pub undo: Option<Undo>,
}

impl Lease {
    /// Whether it is good at `now`.
    #[must_use]
    pub fn live(&self, now: Timestamp) -> bool {
        self.state == State::Live && now < self.expires
    }

    /// Ends it at `now`, by the clock and not by its chain, which may be ahead of it: neither its backend nor the lists of
    /// what was revoked wait for that.
    pub fn end(&mut self, state: State, now: Timestamp) {
        debug_assert!(self.state.leads_to(state) && state.ended(), "{:?} does not lead to {state:?}", self.state);
        self.state = state;
        self.ended = Some(now);
        self.undo = (self.revocation == Revocation::Backend).then(|| Undo::at(now));
    }

    /// What the entry that ends it says of the backend.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        self.revocation.outcome()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_one_way() {
        for state in State::ALL {
            assert_eq!(State::from_word(state.as_str()), Some(state));
            for next in State::ALL {
                if state.ended() {
                    assert!(!state.leads_to(next), "{state:?} leads to {next:?}");
                }
                assert!(!state.leads_to(State::Intended), "{state:?} leads back to an intent");
            }
        }
        assert!(State::Intended.leads_to(State::Live) && !State::Intended.leads_to(State::Expired));
    }
}
