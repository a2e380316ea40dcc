//! Commands that wait for other operators, as they are told.

use crate::crypto::envelope::Embedded;
use crate::crypto::hash::Digest;
use crate::id::OperatorName;
use crate::statement::reply::EntryRef;
use crate::time::Timestamp;

/// A command that waits for approval.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// H(PAE) of it.
    pub command: Digest,
    /// It, as it was signed.
    pub envelope: Embedded,
    /// Who gave it.
    pub operator: OperatorName,
    /// The entry with which it began to wait.
    pub entry: EntryRef,
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    pub expires: Timestamp,
    /// How many operators must want it by the rules of now, its giver among them.
    pub persons: u64,
    /// Who approved it and counts now.
    pub approvals: Vec<OperatorName>,
}
