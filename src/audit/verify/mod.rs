//! Verification of a whole chain from public keys alone, in one pass. What is kept in memory are the keys, sessions,
//! grants and leases that live. What is past (the leaf of each entry, the hash of each request and session, the
//! identifier of each lease) goes to unnamed temporary files, so that memory does not grow with the chain; that nothing
//! stands twice which may stand once is then found by sorting, and the verdict is still the earliest fault.
//!
//! A [`Verifier`] takes the lines of one chain in order and stops at the first that is wrong. Around every entry it
//! checks the chain: number, link, origin, time, certificate, signature. Inside an entry it checks that the agent or
//! operator asked for it, that nobody got more than was asked for and granted, and that everything happened in an order
//! in which it can happen (FORMATS section 5, "What a verifier checks"). [`Pins`] are what the reader knows from
//! elsewhere; the [`report::Report`] says what they, or their lack, mean for what is proved.
//!
//! After an entry that is not understood only the chain is checked: what that entry changed cannot be known. A file made
//! to exhaust this program is given up as one that cannot be told, where more lives at once in it than any vault allows.

mod agent;
mod ahead;
mod approvals;
mod checkpoints;
mod custody;
mod end;
mod freezes;
mod hands;
mod held;
mod keys;
mod lease;
pub mod operators;
pub mod report;
mod requests;
mod restores;
mod roster;
mod spill;
mod summary;
mod vault;
mod verifier;

use std::io::{self, BufRead};
use std::sync::Arc;

pub use checkpoints::Kept;
pub use custody::MadeByCustody;
pub use operators::Commands;
use report::Report;
pub use verifier::Verifier;

use super::policy::Policy;
use super::receipt::Receipt;
use crate::crypto::envelope::Embedded;
use crate::crypto::signature::PublicKey;
use crate::id::{Aud, ChainName, Kid, VaultName};
use crate::statement::card::{Card, Genesis};
use crate::statement::directory::Directory;
use crate::statement::request::Seen;
use crate::time::{Seconds, Timestamp};

/// What the reader of a chain knows from elsewhere. Each pin closes a question that the file alone leaves open.
#[derive(Clone, Debug, Default)]
pub struct Pins {
    /// The vault's identity key.
    pub identity: Option<PublicKey>,
    /// The vault's id.
    pub aud: Option<Aud>,
    /// The vault's name.
    pub vault: Option<VaultName>,
    /// The first entries of `_vault` and `_operators`.
    pub genesis: Option<Genesis>,
    /// Whose chain is asked for: a chain that is intact is no answer to a question about another.
    pub chain: Option<ChainName>,
    /// The keys that may be registered in an agent's chain; empty means any.
    pub agent_keys: Vec<Kid>,
    /// Keys of the agent, or of the operator, for a part of a chain, which does not tell those of before.
    pub holder_keys: Vec<PublicKey>,
    /// The vault's key directory, opened: it lists the keys of agents that were registered before it was made.
    pub directory: Option<Arc<Directory>>,
    /// The file may be a part of a chain, which begins at a `checkpoint` and not at the genesis.
    pub since_checkpoint: bool,
    /// States that the chain once had.
    pub heads: Vec<Seen>,
    /// Answers of the vault that name entries of the chain.
    pub receipts: Vec<Receipt>,
    /// Checkpoints of the chain that were kept elsewhere.
    pub checkpoints: Vec<Kept>,
    /// Certificates of checkpoint keys, beside those that stand in the chain.
    pub certs: Vec<Embedded>,
    /// Whose cosignatures make a kept checkpoint good.
    pub policy: Option<Policy>,
    /// The commands of a verified `_operators`.
    pub operators: Option<Arc<Commands>>,
    /// The present, and how old the newest entry may be.
    pub max_age: Option<(Timestamp, Seconds)>,
}

impl Pins {
    /// What a vault card pins.
    #[must_use]
    pub fn of_card(card: &Card) -> Pins {
        Pins {
            identity: Some(card.identity.clone()),
            aud: Some(card.aud.clone()),
            vault: Some(card.name.clone()),
            genesis: Some(card.genesis.clone()),
            ..Pins::default()
        }
    }
}

/// What a verification may use of the machine. The verdict is the same with any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Means {
    /// How many threads work on one file.
    pub threads: usize,
    /// How many lines a thread takes at a time.
    pub batch: usize,
    /// How many leaves, and how many values of each sort that may stand once, are held in memory. At least 1.
    pub held: usize,
}

impl Default for Means {
    /// One thread, and a few megabytes.
    fn default() -> Means {
        Means { threads: 1, batch: 64, held: 16_384 }
    }
}

/// Verifies the chain that `reader` gives, in this thread.
///
/// # Errors
/// Where it cannot be read.
pub fn verify(reader: impl BufRead, pins: &Pins) -> io::Result<Report> {
    verify_with(reader, pins, Means::default())
}

/// Verifies the chain that `reader` gives.
///
/// # Errors
/// Where it cannot be read.
pub fn verify_with(reader: impl BufRead, pins: &Pins, means: Means) -> io::Result<Report> {
    Ok(hands::read(reader, pins, means)?.finish())
}

/// Verifies `_operators`, and gives its commands where it is intact.
///
/// # Errors
/// Where it cannot be read.
pub fn verify_operators(reader: impl BufRead, pins: &Pins) -> io::Result<(Report, Option<Commands>)> {
    verify_operators_with(reader, pins, Means::default())
}

/// Verifies `_operators`, and gives its commands where it is intact.
///
/// # Errors
/// Where it cannot be read.
pub fn verify_operators_with(
    reader: impl BufRead,
    pins: &Pins,
    means: Means,
) -> io::Result<(Report, Option<Commands>)> {
    Ok(hands::read(reader, pins, means)?.finish_operators())
}
