//! What the reader holds of a chain from elsewhere, compared entry by entry as it comes: its beginning, states, receipts,
//! checkpoints.

use super::Verifier;
use super::report::{Fault, Finding};
use super::restores::Claim;
use crate::audit::entry::Origin;
use crate::audit::line::Frame;
use crate::audit::receipt::Named;
use crate::crypto::hash::Digest;
use crate::id::ChainName;

impl Verifier<'_> {
    /// What was pinned of this very entry.
    pub(super) fn check_pins(&mut self, frame: &Frame, leaf: Digest) -> Result<(), Finding> {
        let seq = frame.seq();
        if self.leaves.is_empty() {
            let pinned = self.pins.genesis.as_ref().and_then(|genesis| match &frame.origin().chain {
                chain if *chain == ChainName::vault() => Some(genesis.vault),
                chain if *chain == ChainName::operators() => Some(genesis.operators),
                _ => None,
            });
            if seq == 0 && pinned.is_some_and(|pinned| pinned != leaf) {
                return Err(Fault::Genesis.found("the chain begins with another entry than the one that was pinned"));
            }
            self.open_receipts()?;
            for kept in &self.pins.checkpoints {
                let (of, here) = (&kept.checkpoint().origin, frame.origin_text());
                // A restore changes the number behind it.
                let same = |of: Origin| of.vault == frame.origin().vault && of.chain == frame.origin().chain;
                if !Origin::parse(of).is_some_and(same) {
                    return Err(Finding::Unusable(format!(
                        "the checkpoint is of the chain {of:?}, and this is {here}"
                    )));
                }
            }
            self.restores.began_after(frame.origin().restored, self.leaves.first());
            self.pins.certs.iter().for_each(|cert| self.checkpoints.remember(cert));
            self.reaches(frame.prev())?;
            if let Some(keys) = &self.keys {
                self.checkpoints.hold(&self.pins.checkpoints, None, frame.origin(), keys.identity())?;
            }
        }
        if frame.kind() == "restore" {
            self.restores.at(seq, frame.ts());
        }
        self.check_held(seq, leaf)
    }

    /// What was held elsewhere of the chain with this entry.
    pub(super) fn check_held(&mut self, seq: u64, leaf: Digest) -> Result<(), Finding> {
        if let (Some(keys), Some((origin, _))) = (&self.keys, &self.origin) {
            self.checkpoints.hold(&self.pins.checkpoints, Some(leaf), origin, keys.identity())?;
        }
        for (at, seen) in self.pins.heads.iter().enumerate() {
            if seen.size == seq + 1 && seen.head != leaf {
                if self.restores.lost(seq, None) {
                    let what = format!("the state {}:{}, unless it was changed since,", seen.head, seen.size);
                    self.lost.claim(Claim::Head(at), self.restores.of_before(&what));
                    continue;
                }
                return Err(Fault::Head.found(format!("its leaf is {leaf}, but {} was held for it", seen.head)));
            }
        }
        for (at, named) in self.receipts.iter().enumerate() {
            if named.entry.seq == seq && named.entry.leaf != leaf {
                if self.restores.lost(seq, named.issued.as_ref().map(|(hdr, _)| hdr.iat)) {
                    self.lost
                        .claim(Claim::Receipt(at), self.restores.of_before(&format!("the receipt of entry {seq}")));
                    continue;
                }
                return Err(
                    Fault::Receipt.found(format!("its leaf is {leaf}, but a receipt names {}", named.entry.leaf))
                );
            }
        }
        Ok(())
    }

    /// What is held of the chain before the file begins: its last state there can be compared, and nothing before that.
    fn reaches(&mut self, before: Digest) -> Result<(), Finding> {
        let first = self.leaves.first();
        let heads = self.pins.heads.iter().map(|seen| (seen.size, seen.head, Fault::Head));
        let receipts =
            self.receipts.iter().map(|Named { entry, .. }| (entry.seq.saturating_add(1), entry.leaf, Fault::Receipt));
        for (size, leaf, fault) in heads.chain(receipts) {
            if size == first && leaf != before {
                return Err(
                    fault.found(format!("the entry before it has the leaf {before}, but {leaf} was held for it"))
                );
            }
            self.reached(size)?;
        }
        for kept in &self.pins.checkpoints {
            self.reached(kept.checkpoint().size)?;
        }
        Ok(())
    }

    fn reached(&self, size: u64) -> Result<(), Finding> {
        let first = self.leaves.first();
        if size >= first {
            return Ok(());
        }
        Err(Finding::Unusable(format!(
            "what is held of the first {size} entries cannot be compared: the file begins with entry {first}"
        )))
    }

    fn open_receipts(&mut self) -> Result<(), Finding> {
        let Some(keys) = &self.keys else { return Ok(()) };
        for receipt in &self.pins.receipts {
            let named = receipt.open(keys.identity()).map_err(|why| Finding::Unusable(why.to_string()))?;
            self.receipts.push(named);
        }
        Ok(())
    }
}
