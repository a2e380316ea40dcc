//! Who may speak: agents and operators with their numbered keys, and agents' sessions. These are the facts that
//! [`crate::authn`] judges by; where they come from and how they are protected at rest is the store's affair.

use crate::crypto::signature::{Form, PublicKey};
use crate::denial::{Denial, Reason};
use crate::grant::Grant;
use crate::id::{AgentName, Kid, OperatorName, Sid};
pub use crate::statement::operator::Duty;
use crate::statement::register::{Holder, Register};
use crate::statement::session::Seal;
use crate::time::{Seconds, Timestamp};

/// A registered key of an agent or operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldKey {
    /// Whose it is.
    pub holder: Holder,
    /// Its thumbprint, unique in the vault for ever.
    pub kid: Kid,
    /// Its number among the holder's keys, from 1.
    pub kver: u64,
    /// The key.
    pub public: PublicKey,
    /// How its signatures are formed.
    pub form: Form,
    /// When it was registered.
    pub since: Timestamp,
    /// Until when it is accepted beside its successor; none while it is the newest.
    pub grace: Option<Timestamp>,
    /// When it was retired or revoked.
    pub ended: Option<Timestamp>,
}

impl HeldKey {
    /// The key that a register statement brings.
    #[must_use]
    pub fn registered(register: &Register, since: Timestamp) -> HeldKey {
        HeldKey {
            holder: register.holder.clone(),
            kid: register.pk.kid(),
            kver: register.kver,
            public: register.pk.clone(),
            form: register.form,
            since,
            grace: None,
            ended: None,
        }
    }

    /// Whether the key is accepted at `now`.
    ///
    /// # Errors
    /// [`Reason::KeyRetired`].
    pub fn accepted(&self, now: Timestamp) -> Result<(), Denial> {
        // One that was ended stays so where the clock is set back.
        let over = self.ended.is_some() || self.grace.is_some_and(|end| end <= now);
        if over { Err(Reason::KeyRetired.into()) } else { Ok(()) }
    }
}

/// All that decides about one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Its name.
    pub name: AgentName,
    /// When it was registered.
    pub since: Timestamp,
    /// Whether it is frozen.
    pub frozen: bool,
    /// Its keys by kver, the newest last.
    pub keys: Vec<HeldKey>,
    /// Its grants, live ones only, by role.
    pub grants: Vec<Grant>,
}

impl Agent {
    /// Whether the agent may act at all.
    ///
    /// # Errors
    /// [`Reason::AgentFrozen`].
    pub fn alive(&self) -> Result<(), Denial> {
        if self.frozen { Err(Reason::AgentFrozen.into()) } else { Ok(()) }
    }

    /// Its newest key.
    #[must_use]
    pub fn newest(&self) -> Option<&HeldKey> {
        self.keys.last()
    }

    /// The key of this identifier.
    #[must_use]
    pub fn key(&self, kid: &Kid) -> Option<&HeldKey> {
        self.keys.iter().find(|key| key.kid == *kid)
    }
}

/// An operator and its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// Its name.
    pub name: OperatorName,
    /// When it was registered.
    pub since: Timestamp,
    /// What it may do.
    pub duty: Duty,
    /// Its keys by kver, the newest last.
    pub keys: Vec<HeldKey>,
}

impl Operator {
    /// Its newest key.
    #[must_use]
    pub fn newest(&self) -> Option<&HeldKey> {
        self.keys.last()
    }

    /// The key of this identifier.
    #[must_use]
    pub fn key(&self, kid: &Kid) -> Option<&HeldKey> {
        self.keys.iter().find(|key| key.kid == *kid)
    }

    /// Whether it has a key that no time takes from it: its newest is not ended. One whose newest key is ended is out, and
    /// commands nothing by a key before that one either.
    #[must_use]
    pub fn lives(&self) -> bool {
        self.newest().is_some_and(|key| key.ended.is_none())
    }
}

/// A session of an agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// Whose.
    pub agent: AgentName,
    /// Its identifier, the agent's own choice.
    pub sid: Sid,
    /// The key it is pinned to.
    pub seal: Seal,
    /// When it was opened.
    pub opened: Timestamp,
    /// When the last accepted request came.
    pub used: Timestamp,
    /// When it ends in any case.
    pub ends: Timestamp,
    /// When it was closed, revoked or found to have run out.
    pub ended: Option<Timestamp>,
}

impl Session {
    /// Whether it is open at `now`.
    ///
    /// # Errors
    /// [`Reason::SessionEnded`].
    pub fn alive(&self, now: Timestamp, idle: Seconds) -> Result<(), Denial> {
        if self.ended.is_some() || now >= self.ends || now >= self.used.plus(idle) {
            return Err(Reason::SessionEnded.into());
        }
        Ok(())
    }
}
