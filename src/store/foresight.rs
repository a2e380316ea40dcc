//! What is foreseen: a transaction that is carried through with all that decides, and then undone.

use serde_json::{Map, Value};

use crate::authn::Authenticated;
use crate::authz::Peer;
use crate::denial::Denial;
use crate::id::{AgentName, Kid};
use crate::lease::Lease;
use crate::statement::command::Command;
use crate::statement::explain::Explain;
use crate::statement::issue::Issue;
use crate::statement::reply::Hdr;
use crate::statement::request::Common;
use crate::time::Timestamp;

/// What is to be foreseen: first the order that the question supposes, if it does, then the request.
#[derive(Clone, Debug)]
pub struct Foresight<'a> {
    /// The question.
    pub question: &'a Authenticated<Command<Explain>>,
    /// Whose figures are told, and of which key.
    pub of: Option<(AgentName, Kid)>,
    /// The request.
    pub request: Option<Sample>,
}

/// A request that nobody has sent, with the credential that it would get.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Who asks, and when.
    pub common: Common,
    /// What for.
    pub body: Issue,
    /// From where.
    pub peer: Peer,
    /// What would be issued.
    pub hdr: Hdr,
    /// The latest that renewals could reach.
    pub latest: Timestamp,
    /// The credential's public name.
    pub handle: String,
    /// Whether an intent comes first.
    pub intended: bool,
}

/// What was foreseen.
#[derive(Debug)]
pub struct Foretold {
    /// How much there is of what is limited.
    pub figures: Option<Figures>,
    /// What would come of the order, where one is supposed.
    pub order: Option<Result<Map<String, Value>, Denial>>,
    /// How many operators must want the order, and how many of them are missing; none where nobody is.
    pub wanting: Option<(u64, u64)>,
    /// The leases that would end with it, the first hundred.
    pub ends: Vec<Lease>,
    /// Whether the request would be recorded. It is not asked where the order would be refused.
    pub request: Option<Result<(), Denial>>,
}

/// How much an agent has of what is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Live nonces of the key.
    pub nonces: u64,
    /// Open sessions.
    pub sessions: u64,
    /// Live leases.
    pub leases: u64,
    /// The newest entry that the clock is held against.
    pub newest: Timestamp,
}
