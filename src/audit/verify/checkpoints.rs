//! Checkpoints: those that stand in the chain, each held against the tree of all that stands before it, and those that
//! somebody kept elsewhere, which hold the chain to what it was.

use serde::Serialize;

use super::report::{Fault, Finding};
use crate::audit::certificate::{BadCert, life};
use crate::audit::checkpoint::{BadCheckpoint, Checkpoint, open, open_dated};
use crate::audit::entry::{self, Origin};
use crate::audit::note::Note;
use crate::audit::policy::{Judgement, Policy};
use crate::audit::tree::Tree;
use crate::crypto::envelope::Embedded;
use crate::crypto::hash::Digest;
use crate::crypto::signature::PublicKey;
use crate::id::Kid;
use crate::time::Timestamp;

/// How many checkpoints a report lists: the newest.
const LISTED: usize = 1000;

/// How many certificates of checkpoint keys are kept: of a chain's life there are a few.
const CERTS: usize = 100;

/// A checkpoint that stands in the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckpointSeen {
    /// How many entries it speaks of: all that stand before its own.
    pub size: u64,
    /// The root of their tree.
    pub root: Digest,
    /// When it was made.
    pub ts: Timestamp,
    /// The checkpoint key that signed it.
    pub kid: Kid,
}

/// A checkpoint that was kept elsewhere: the text of a signed note, with the lines of any witnesses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    text: String,
    note: Note,
    checkpoint: Checkpoint,
}

impl Kept {
    /// Reads a note that was kept. Who signed it is asked when the chain has told the certificates.
    ///
    /// # Errors
    /// [`BadCheckpoint`] where it is no signed note, or none of a checkpoint.
    pub fn read(text: &str) -> Result<Kept, BadCheckpoint> {
        let note = Note::read(text)?;
        let checkpoint = Checkpoint::read(&note.text)?;
        Ok(Kept { text: text.to_owned(), note, checkpoint })
    }

    /// What it says.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The note.
    #[must_use]
    pub fn note(&self) -> &Note {
        &self.note
    }
}

/// Where a checkpoint's entry stands.
#[derive(Clone, Copy)]
pub(super) struct Stand<'a> {
    pub(super) seq: u64,
    pub(super) ts: Timestamp,
    pub(super) origin: &'a str,
    pub(super) identity: &'a PublicKey,
    /// Whether its line carries the audit key's certificate.
    pub(super) certified: bool,
}

/// All that a chain has told of checkpoints.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    pub(super) tree: Tree,
    /// The entry before is one.
    after_one: bool,
    pub(super) count: u64,
    pub(super) newest: Vec<CheckpointSeen>,
    certs: Vec<Embedded>,
    /// The kept ones, by their place among the pins, that have another root than this chain had.
    differ: Vec<(usize, u64)>,
    /// Those that speak of the chain of before a restore, where it had been restored already.
    lost: Vec<usize>,
}

impl Checkpoints {
    /// The tree grows by an entry.
    pub(super) fn took(&mut self, leaf: Digest, is_checkpoint: bool) {
        self.tree.push(leaf);
        self.after_one = is_checkpoint;
    }

    /// Judges a checkpoint in the chain.
    pub(super) fn judge(&mut self, said: &entry::Checkpoint, stand: Stand<'_>) -> Result<(), Finding> {
        let wrong = |how: String| Err(Fault::Checkpoint.found(how));
        if self.after_one {
            return wrong("it follows another checkpoint, and speaks of nothing that one does not".into());
        }
        if !stand.certified {
            return wrong(
                "its line does not carry the audit key's certificate, so that nobody could begin here".into(),
            );
        }
        let (checkpoint, cert, _) = open_dated(&said.note, &said.cert, stand.identity).map_err(|why| {
            Fault::Checkpoint.found(format!("the note in it is not a checkpoint of this vault: {why}"))
        })?;
        let Checkpoint { origin, size, root } = checkpoint;
        if !life(&cert).holds(stand.ts) {
            let (nbf, exp) = (cert.nbf, cert.exp);
            return wrong(format!("its key is good from {nbf} and before {exp}, but the entry is of {}", stand.ts));
        }
        if origin != stand.origin {
            return wrong(format!("its note speaks of the chain {origin:?}"));
        }
        if size != stand.seq {
            return wrong(format!("its note speaks of {size} entries, where {} stand before it", stand.seq));
        }
        if said.tree != self.tree.peaks() || root != self.tree.root() {
            return wrong(
                "its note or its tree is not that of the entries before it: they were others when it was made".into(),
            );
        }
        self.remember(&said.cert);
        self.list(CheckpointSeen { size, root, ts: stand.ts, kid: cert.kid });
        Ok(())
    }

    fn list(&mut self, seen: CheckpointSeen) {
        self.count += 1;
        if self.newest.len() >= 2 * LISTED {
            self.newest.drain(..LISTED);
        }
        self.newest.push(seen);
    }

    /// The newest of them, the last of all last.
    pub(super) fn listed(&mut self) -> Vec<CheckpointSeen> {
        let from = self.newest.len().saturating_sub(LISTED);
        self.newest.split_off(from)
    }

    /// A certificate that a kept checkpoint may be signed under.
    pub(super) fn remember(&mut self, cert: &Embedded) {
        if self.certs.len() < CERTS && !self.certs.contains(cert) {
            self.certs.push(cert.clone());
        }
    }

    /// Holds what was kept against the chain: with the entry of this leaf, or without one as it stands.
    /// With that entry, the chain has this origin.
    pub(super) fn hold(
        &mut self,
        kept: &[Kept],
        leaf: Option<Digest>,
        origin: &Origin,
        identity: &PublicKey,
    ) -> Result<(), Finding> {
        let (before, size) = (self.tree.size(), self.tree.size() + u64::from(leaf.is_some()));
        for (at, kept) in kept.iter().enumerate().filter(|(_, kept)| kept.checkpoint.size == size) {
            let mut tree = self.tree.clone();
            leaf.into_iter().for_each(|leaf| tree.push(leaf));
            let restored = Origin::parse(&kept.checkpoint.origin).map_or(0, |of| of.restored);
            if restored < origin.restored {
                self.lost.push(at);
            } else if tree.root() != kept.checkpoint.root || restored > origin.restored {
                if self.signed(kept, identity).is_ok() {
                    return Err(differs(kept));
                }
                self.differ.push((at, before));
            }
        }
        Ok(())
    }

    /// Whether a checkpoint key of the vault signed it.
    fn signed(&self, kept: &Kept, identity: &PublicKey) -> Result<(), BadCheckpoint> {
        let mut found = Err(BadCheckpoint::Cert(BadCert::Signature));
        for cert in &self.certs {
            found = open(&kept.text, cert, identity).map(drop);
            if found.is_ok() {
                return found;
            }
        }
        found
    }

    /// What only the end can tell of those that were kept: who signed them, and whether the chain is so long. A finding
    /// comes with the entry at which it is to be reported, where that was passed already.
    pub(super) fn settle(
        &self,
        kept: &[Kept],
        policy: Option<&Policy>,
        identity: &PublicKey,
        restored: u64,
    ) -> Result<Vec<usize>, (Option<u64>, Finding)> {
        let mut lost = Vec::new();
        let unusable = |how: String| Err((None, Finding::Unusable(how)));
        for (at, kept) in kept.iter().enumerate() {
            let size = kept.checkpoint.size;
            if self.certs.is_empty() {
                return unusable(
                    "who signed the checkpoint cannot be told: the chain holds no checkpoint with the certificate of its \
                     key; give --directory"
                        .into(),
                );
            }
            if let Err(why) = self.signed(kept, identity) {
                return unusable(format!("the checkpoint of {size} entries that was kept is not the vault's: {why}"));
            }
            if let Some((_, entry)) = self.differ.iter().find(|(which, _)| *which == at) {
                return Err((Some(*entry), differs(kept)));
            }
            let of_before = Origin::parse(&kept.checkpoint.origin).map_or(0, |of| of.restored) < restored;
            if self.lost.contains(&at) || size > self.tree.size() && of_before {
                lost.push(at);
                continue;
            }
            if size > self.tree.size() {
                return Err((None, Fault::KeptCheckpoint.found(format!(
                    "the chain ends here, but a checkpoint of {size} entries of it is held elsewhere: its end was cut off"
                ))));
            }
            if let Some(policy) = policy
                && let Err(how) = cosigned(kept, policy)
            {
                return unusable(how);
            }
        }
        Ok(lost)
    }
}

fn differs(kept: &Kept) -> Finding {
    let Checkpoint { size, root, .. } = &kept.checkpoint;
    Fault::KeptCheckpoint.found(format!(
        "the first {size} entries are not those of a checkpoint that was kept, whose root is {root}: one of them was \
         changed after that"
    ))
}

/// Who cosigned a kept checkpoint, as a policy asks for it.
fn cosigned(kept: &Kept, policy: &Policy) -> Result<(), String> {
    let size = kept.checkpoint.size;
    if !policy.admits(&kept.note) {
        return Err(format!("the checkpoint of {size} entries is not signed by a log of the policy"));
    }
    let Judgement { witnesses, met } = policy.judge(&kept.note);
    if met {
        return Ok(());
    }
    let told = |(name, seen): &(String, Result<Option<u64>, _>)| match seen {
        Ok(Some(_)) => format!("{name} did"),
        Ok(None) => format!("{name} did not"),
        Err(_) => format!("{name}'s line is not good"),
    };
    let told: Vec<String> = witnesses.iter().map(told).collect();
    Err(format!("the checkpoint of {size} entries was not cosigned as the policy asks: {}", told.join(", ")))
}

/// Which witnesses saw a kept checkpoint, and when, in seconds since the Unix epoch.
pub(super) fn witnesses(kept: &Kept, policy: &Policy) -> Vec<(String, u64)> {
    let seen = policy.judge(&kept.note).witnesses;
    seen.into_iter().filter_map(|(name, seen)| Some((name, seen.ok().flatten()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::signature::Signature;

    fn seen(size: u64) -> CheckpointSeen {
        CheckpointSeen { size, root: Digest::ZERO, ts: Timestamp(size), kid: Kid::from_thumbprint(&[1; 32]) }
    }

    #[test]
    fn of_many_checkpoints_the_newest_thousand_are_listed() {
        for many in [0, 1, LISTED, LISTED + 1, LISTED + LISTED / 2, 2 * LISTED, 2 * LISTED + 1, 5 * LISTED] {
            let mut checkpoints = Checkpoints::default();
            (0..many as u64).for_each(|size| checkpoints.list(seen(size)));
            assert!(checkpoints.newest.len() <= 2 * LISTED);
            assert_eq!(checkpoints.count, many as u64);
            let listed = checkpoints.listed();
            assert_eq!(
                (listed.len(), listed.last()),
                (many.min(LISTED), many.checked_sub(1).map(|last| seen(last as u64)).as_ref())
            );
        }
    }

    #[test]
    fn a_certificate_is_kept_once_and_not_without_end() {
        let cert = |nth: usize| Embedded { payload: nth.into(), sig: Signature::from_bytes([0; 64]) };
        let mut checkpoints = Checkpoints::default();
        for nth in (0..=CERTS).chain(0..3) {
            checkpoints.remember(&cert(nth));
            checkpoints.remember(&cert(0));
        }
        assert_eq!(checkpoints.certs, (0..CERTS).map(cert).collect::<Vec<_>>());
    }
}
