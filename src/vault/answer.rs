//! The only things that leave the vault. A [`Released`] reply is signed and, where it answers a request that changed
//! something, made from the receipt that the store gave after the commit; there is no other way to make one. A
//! [`Refused`] one carries a denial, and the vault's signed word on it where the asker had proved a key.

use crate::crypto::envelope::{Envelope, PayloadType};
use crate::crypto::hash::Digest;
use crate::crypto::signature::{Form, SigningKey};
use crate::denial::Denial;
use crate::id::Kid;
use crate::statement::reply::{Denied, EntryRef, Executed, Reply};
use crate::time::Timestamp;

/// What the server may send.
#[derive(Debug)]
pub enum Outcome {
    /// It was done; here is the signed reply.
    Released(Released),
    /// It was not done.
    Refused(Refused),
}

/// A signed reply to something that is durable.
#[derive(Debug)]
pub struct Released(Envelope);

impl Released {
    /// The signed reply.
    #[must_use]
    pub fn into_envelope(self) -> Envelope {
        self.0
    }
}

/// A refusal.
#[derive(Debug)]
pub struct Refused {
    /// Why, for peer and operator.
    pub denial: Denial,
    /// The signed `nockvault/denied`, for one whose signature was valid.
    pub signed: Option<Envelope>,
}

/// Proof that an entry is durable. Only the flow makes one, from what the store gave back.
#[derive(Clone, Copy, Debug)]
pub struct Receipt(EntryRef);

impl Receipt {
    /// The proof that `entry` was committed.
    pub(super) fn of(entry: EntryRef) -> Receipt {
        Receipt(entry)
    }

    /// Where the entry stands.
    #[must_use]
    pub fn entry(&self) -> EntryRef {
        self.0
    }
}

/// Signs what leaves, with the response key.
#[derive(Debug)]
pub(super) struct Pen {
    key: SigningKey,
    kid: Kid,
}

impl Pen {
    pub(super) fn new(key: SigningKey) -> Pen {
        Pen { kid: key.kid(), key }
    }

    fn sign(&self, reply: &impl serde::Serialize) -> Envelope {
        let mut envelope = Envelope::sign(PayloadType::Response, reply, &self.key, Form::Pae);
        envelope.kid = self.kid.to_string();
        envelope
    }

    /// The reply to something that changed the vault.
    pub(super) fn release<R: Reply>(&self, receipt: Receipt, reply: impl FnOnce(EntryRef) -> R) -> Outcome {
        Outcome::Released(Released(self.sign(&reply(receipt.entry()))))
    }

    /// The reply to a question: nothing changed, so nothing is chained.
    pub(super) fn answer(&self, executed: &Executed) -> Outcome {
        debug_assert!(executed.entry.is_none(), "a question has no entry");
        Outcome::Released(Released(self.sign(executed)))
    }

    /// The vault's description of itself.
    pub(super) fn describe(&self, described: &crate::statement::reply::Described) -> Envelope {
        self.sign(described)
    }

    /// The vault's directory of keys.
    pub(super) fn list(&self, directory: &crate::statement::directory::Directory) -> Envelope {
        self.sign(directory)
    }

    /// A refusal to one who had proved a key.
    pub(super) fn refuse(&self, denial: Denial, req: Digest, now: Timestamp) -> Outcome {
        let said = Denied::new(denial.limit, now, denial.reason.code().to_owned(), req);
        Outcome::Refused(Refused { signed: Some(self.sign(&said)), denial: denial.at(now) })
    }
}

/// A refusal to one who proved nothing: unsigned.
pub(super) fn turn_away(denial: Denial) -> Outcome {
    Outcome::Refused(Refused { denial, signed: None })
}
