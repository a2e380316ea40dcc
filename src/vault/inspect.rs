//! The inspection of all chains, at the start and then once a day: each line is held against the leaf beside it, the line
//! before it, the audit key and the chain's row, in the background and with a quarter of one core. A chain that does not
//! hold is set aside, loudly, and the others serve on. It shows what somebody changed in the database who lacks the audit
//! key; what somebody did who has it, receipts and checkpoints elsewhere show.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::Vault;
use crate::audit::links::Links;
use crate::id::ChainName;
use crate::store::{Failure, StoredLines};
use crate::time::{Seconds, Timestamp};

/// How often all chains are inspected.
const EVERY: Seconds = Seconds(86_400);
/// How often it is asked whether it is time.
const BEAT: Duration = Duration::from_secs(10);
/// How much is read at once.
const LINES: u64 = 128;
const BYTES: usize = 1 << 20;
/// For each moment of work, so many of rest.
const REST: u32 = 3;

/// What an inspection found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspected {
    /// Chains that hold.
    pub chains: u64,
    /// Their entries.
    pub entries: u64,
    /// Chains that do not, and were set aside.
    pub quarantined: Vec<ChainName>,
    /// Chains that could not be read to their end.
    pub unread: Vec<ChainName>,
}

/// How the inspection of one chain ended.
enum Found {
    Whole(u64),
    Fault(String),
    /// It is gone, or set aside already.
    Nothing,
}

impl Vault {
    /// Inspects all chains now and then once a day, until `stop`.
    pub(super) async fn inspect_on(&self, stop: CancellationToken) {
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last: Option<Timestamp> = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = beat.tick() => {}
            }
            let now = self.clock.now();
            // A clock that was ahead puts off nothing.
            if last.is_none_or(|last| now < last || last.plus(EVERY) <= now) {
                last = Some(now);
                tokio::select! {
                    () = stop.cancelled() => return,
                    inspected = self.inspect() => {
                        let Inspected { chains, entries, quarantined, unread } = inspected;
                        let (quarantined, unread) = (quarantined.len(), unread.len());
                        tracing::info!(chains, entries, quarantined, unread, "the chains were inspected");
                    }
                }
            }
        }
    }

    /// Inspects all chains once, and sets those aside that do not hold.
    pub async fn inspect(&self) -> Inspected {
        let mut inspected = Inspected::default();
        for chain in self.store.changes().next().await {
            match self.inspect_one(&chain).await {
                Ok(Found::Whole(entries)) => {
                    inspected.chains += 1;
                    inspected.entries += entries;
                }
                Ok(Found::Fault(fault)) => {
                    self.store.quarantine(&chain, &fault);
                    inspected.quarantined.push(chain);
                }
                Ok(Found::Nothing) => {}
                Err(failure) => {
                    tracing::warn!(%chain, why = %failure, "a chain could not be inspected to its end");
                    inspected.unread.push(chain);
                }
            }
        }
        inspected
    }

    async fn inspect_one(&self, chain: &ChainName) -> Result<Found, Failure> {
        let mut links = Links::new(&self.name, chain, &self.identity.public());
        loop {
            let part = self.store.stored_lines(chain, links.size(), LINES, BYTES).await?;
            let Some(part) = part else { return Ok(Found::Nothing) };
            let before = links.size();
            let worked = tokio::task::spawn_blocking(move || work(links, part)).await;
            let Ok((back, took, done)) = worked else {
                return Err(Failure::Unavailable("a fault of our own; the log says where".to_owned()));
            };
            links = back;
            match done {
                Err(fault) => return Ok(Found::Fault(fault)),
                Ok(true) => return Ok(Found::Whole(links.size())),
                Ok(false) if links.size() == before => {
                    return Ok(Found::Fault(format!("entry {before} is not there, though the chain goes on")));
                }
                Ok(false) => tokio::time::sleep(took * REST).await,
            }
        }
    }
}

/// Takes a part of a chain, whose head was read with it. Gives whether it was the last, and how long that took.
fn work(mut links: Links, part: StoredLines) -> (Links, Duration, Result<bool, String>) {
    let began = Instant::now();
    let taken = part.lines.iter().try_for_each(|(leaf, line)| links.line(leaf, line));
    let done = taken.and_then(|()| match links.size() == part.head.size {
        true => links.ends(&part.head).map(|()| true),
        false => Ok(false),
    });
    (links, began.elapsed(), done)
}
