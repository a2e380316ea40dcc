//! What the store says of its ring while rows of older data keys are covered anew.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::Failure;

/// The rows that are sealed or covered under each data key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RingRows {
    /// The epoch that everything new is of.
    pub epoch: u64,
    /// The epochs of the ring, oldest first.
    pub epochs: Vec<u64>,
    /// How many rows name an epoch, whoever wrote them; 0 stands for those that name none.
    pub rows: BTreeMap<u64, u64>,
}

impl RingRows {
    /// How many rows are of older epochs.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.rows.iter().filter(|(epoch, _)| **epoch != self.epoch).map(|(_, rows)| rows).sum()
    }

    /// The older epochs that no row names any more.
    #[must_use]
    pub fn spent(&self) -> Vec<u64> {
        let spent = |epoch: &&u64| **epoch != self.epoch && !self.rows.contains_key(epoch);
        self.epochs.iter().filter(spent).copied().collect()
    }
}

/// Where a pass over all rows is. It is kept in memory alone: what was covered anew is passed over quickly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pass {
    /// The vault's own keys.
    OwnKeys,
    /// Keys for tokens.
    TokenKeys,
    /// Stored secrets after this name and version.
    Secrets(String, u64),
    /// What commands have left to take back.
    Takebacks,
    /// Chains after this number, with the rows that decide.
    Chains(i64),
    /// Leases after this one.
    Leases(Vec<u8>),
}

impl Pass {
    /// The beginning.
    #[must_use]
    pub fn begin() -> Pass {
        Pass::OwnKeys
    }

    /// The beginning of what follows when this kind of rows is through.
    #[must_use]
    pub fn following(&self) -> Option<Pass> {
        match self {
            Pass::OwnKeys => Some(Pass::TokenKeys),
            Pass::TokenKeys => Some(Pass::Secrets(String::new(), 0)),
            Pass::Secrets(..) => Some(Pass::Takebacks),
            Pass::Takebacks => Some(Pass::Chains(0)),
            Pass::Chains(_) => Some(Pass::Leases(Vec::new())),
            Pass::Leases(_) => None,
        }
    }
}

/// What a part of a pass came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covered {
    /// How many rows were covered anew.
    pub rows: u64,
    /// Where to go on; none at the end.
    pub next: Option<Pass>,
}

/// The verbs of the ring.
#[async_trait]
pub trait Rings {
    /// The epochs of the data keys, oldest first; everything new is sealed and covered under the last.
    fn epochs(&self) -> Vec<u64>;
    /// How many rows there are of each data key.
    async fn ring_rows(&self) -> Result<RingRows, Failure>;
    /// Seals and covers the next rows of older data keys under the newest, each only after it opened or verified. Rows that
    /// do not, and those of chains that are set aside, stay as they are.
    async fn cover_anew(&self, from: &Pass) -> Result<Covered, Failure>;
    /// Deletes an older data key that no row names any more, and forgets it. Durable when it returns.
    async fn delete_epoch(&self, epoch: u64) -> Result<(), Failure>;
}
