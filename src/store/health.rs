//! What lies under a store, for whoever looks after it.

use crate::id::{ChainName, CustodianName, OperatorName};
use crate::time::Timestamp;

/// How a store's files, and what bounds it, are. What cannot be looked at is told as not known.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// The version of its tables.
    pub schema: u64,
    /// The newest `ts` of any chain.
    pub newest: Timestamp,
    /// Bytes that are free where it lies.
    pub free: Option<u64>,
    /// Bytes of the database, and of what is not yet moved into it.
    pub database: u64,
    /// Bytes of the log beside it.
    pub log: u64,
    /// Whether space is kept for ending what was issued.
    pub reserve: bool,
    /// Whether it has found the disk full, and issues nothing.
    pub full: bool,
    /// Its files that are open to others, each with its mode.
    pub open: Vec<(String, u32)>,
    /// Who can get at the root key: the name, and of what kind.
    pub custodians: Vec<(CustodianName, String)>,
    /// The agent with the most live leases, and how many.
    pub most_leases: Option<(ChainName, u64)>,
    /// The agent with the most open sessions, and how many.
    pub most_sessions: Option<(ChainName, u64)>,
    /// When a backup was last commanded, among the newest entries of `_operators`.
    pub backup: Option<Timestamp>,
    /// Whom custody made operators, and when, oldest first, among the newest entries of `_operators`.
    pub by_custody: Vec<(OperatorName, Timestamp)>,
    /// When the oldest entry was written that was looked at for these two; none where all were.
    pub looked_back_to: Option<Timestamp>,
}
