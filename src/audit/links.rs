//! A chain as its vault holds it, line by line: each line hashes to the leaf kept beside it, follows the line before it,
//! and was signed by an audit key that was good then; a checkpoint says what the tree was; and the end is the head that
//! the vault goes on from. What the entries mean is for [`super::verify`], which an auditor runs on a file.
//!
//! It holds whoever changed lines without having the audit key of their time. Kept are a few keys and one digest for each
//! bit of the size.

use std::collections::HashMap;

use super::certificate::{self, Life, open_signer};
use super::chain::Head;
use super::checkpoint::Checkpoint;
use super::entry::{Body, Origin};
use super::line::Frame;
use super::note::Note;
use super::tree::Tree;
use crate::crypto::hash::{Digest, leaf};
use crate::crypto::signature::PublicKey;
use crate::id::{ChainName, Kid, VaultName};
use crate::statement::cert::KeyRole;
use crate::time::Timestamp;

/// The kind of entry with which the origin changes.
const RESTORE: &str = "restore";

/// A chain under inspection.
#[derive(Debug)]
pub struct Links {
    origin: Origin,
    identity: PublicKey,
    keys: HashMap<Kid, (PublicKey, Life)>,
    tree: Tree,
    leaf: Digest,
    ts: Timestamp,
}

impl Links {
    /// No line yet.
    #[must_use]
    pub fn new(vault: &VaultName, chain: &ChainName, identity: &PublicKey) -> Links {
        Links {
            origin: Origin { vault: vault.clone(), chain: chain.clone(), restored: 0 },
            identity: identity.clone(),
            keys: HashMap::new(),
            tree: Tree::default(),
            leaf: Digest::ZERO,
            ts: Timestamp::ZERO,
        }
    }

    /// How many lines held.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    /// Takes the next line, without its LF, and the leaf that is kept beside it.
    ///
    /// # Errors
    /// What is wrong with it, as one sentence.
    pub fn line(&mut self, kept: &Digest, line: &[u8]) -> Result<(), String> {
        self.check(kept, line).map_err(|why| format!("entry {}: {why}", self.size()))
    }

    fn check(&mut self, kept: &Digest, line: &[u8]) -> Result<(), String> {
        let leaf = leaf(line);
        if leaf != *kept {
            return Err(format!("the line hashes to {leaf}, and {kept} is kept for it"));
        }
        let frame = Frame::read(line).map_err(|why| why.to_string())?;
        self.belongs(&frame)?;
        if frame.seq() != self.size() || frame.prev() != self.leaf {
            return Err("it does not follow the line before it".to_owned());
        }
        if frame.ts() < self.ts && !["clock_reset", RESTORE].contains(&frame.kind()) {
            return Err("it is of before the line before it".to_owned());
        }
        self.signed(&frame)?;
        if frame.kind() == "checkpoint" {
            self.checkpoint(&frame)?;
        }
        self.tree.push(leaf);
        (self.leaf, self.ts) = (leaf, frame.ts());
        Ok(())
    }

    /// The origin changes where the vault was restored, and a chain that began after a restore has its number from the
    /// first line on.
    fn belongs(&mut self, frame: &Frame) -> Result<(), String> {
        let changes = frame.kind() == RESTORE && frame.origin().restored > self.origin.restored;
        if self.size() == 0 || changes {
            self.origin.restored = frame.origin().restored;
        }
        if *frame.origin() == self.origin {
            Ok(())
        } else {
            Err(format!("it belongs to the chain {}", frame.origin_text()))
        }
    }

    fn signed(&mut self, frame: &Frame) -> Result<(), String> {
        if let Some(cert) = frame.cert() {
            let (cert, key) = open_signer(cert, KeyRole::Audit, &self.identity).map_err(|why| why.to_string())?;
            self.keys.retain(|_, (_, life)| frame.ts() < life.exp);
            self.keys.insert(cert.kid.clone(), (key, certificate::life(&cert)));
        }
        let known = self.keys.get(frame.kid()).filter(|(_, life)| life.holds(frame.ts()));
        let (key, _) = known.ok_or("no certificate makes its key an audit key at this time")?;
        frame.verify(key).map_err(|_| "its signature is not that of its audit key".to_owned())
    }

    fn checkpoint(&self, frame: &Frame) -> Result<(), String> {
        let Ok(Body::Checkpoint(body)) = frame.clone().entry().map(|entry| entry.body) else {
            return Err("it is called a checkpoint and is none".to_owned());
        };
        let note = Note::read(&body.note).map_err(|why| why.to_string())?;
        let said = Checkpoint::read(&note.text).map_err(|why| why.to_string())?;
        let is = Checkpoint::of(&self.origin.to_string(), &self.tree);
        if said == is && body.tree == self.tree.peaks() {
            Ok(())
        } else {
            Err("it says of the chain before it what is not so".to_owned())
        }
    }

    /// Whether the lines end as the vault goes on from them.
    ///
    /// # Errors
    /// What is wrong with the head, as one sentence.
    pub fn ends(&self, head: &Head) -> Result<(), String> {
        if self.tree == head.tree && self.leaf == head.leaf && self.ts == head.ts {
            Ok(())
        } else {
            Err(format!("its lines, {} in all, do not come to what its row says", self.size()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::chain::{AuditKey, CheckpointKey, append};
    use crate::audit::entry::{self, By, ClockReset, Epoch, Restore};
    use crate::base64url::Bytes;
    use crate::crypto::signature::SigningKey;
    use crate::entropy::SeededEntropy;
    use crate::id::Aud;

    fn identity() -> SigningKey {
        SigningKey::generate(&SeededEntropy::new(1))
    }

    fn audit_key(seed: u64, nbf: u64) -> AuditKey {
        let (key, aud) = (SigningKey::generate(&SeededEntropy::new(seed)), Aud::of_identity(&identity().kid()));
        AuditKey::certify(key, &identity(), &aud, "n1", seed, Timestamp(nbf), Timestamp(nbf + 1000))
    }

    fn checkpoint_key() -> CheckpointKey {
        let (key, aud) = (SigningKey::generate(&SeededEntropy::new(9)), Aud::of_identity(&identity().kid()));
        let life = Life { nbf: Timestamp(0), exp: Timestamp(100_000) };
        let cert = certificate::cert_of(KeyRole::Checkpoint, key.public().to_bytes(), key.kid(), &aud, "n1", 1, life);
        CheckpointKey::new(key, certificate::certify_key(&identity(), &cert), &identity().public()).unwrap()
    }

    /// Two keys, a checkpoint, and a clock that was ahead.
    fn chain() -> (Vec<(Digest, Vec<u8>)>, Head) {
        let (mut head, mut lines) = (Head::empty(&"prod".parse().unwrap(), &ChainName::vault()), Vec::new());
        let by = By { chain: ChainName::operators(), leaf: Digest::ZERO, seq: 1 };
        let (ahead, now, key) = (audit_key(2, 50_000), audit_key(3, 1000), checkpoint_key());
        for step in 0..6 {
            let body: Body = match step {
                3 => entry::Checkpoint {
                    cert: key.cert().clone(),
                    note: Checkpoint::of(&head.origin, &head.tree).sign(key.key()),
                    tree: head.tree.peaks().to_vec(),
                }
                .into(),
                4 => ClockReset { by: by.clone() }.into(),
                _ => Epoch {}.into(),
            };
            let (signer, at) = if step < 4 { (&ahead, 50_010) } else { (&now, 1010) };
            let (line, next) = append(&head, signer, &body, Timestamp(at)).unwrap();
            lines.push((next.leaf, line));
            head = next;
        }
        (lines, head)
    }

    fn links() -> Links {
        Links::new(&"prod".parse().unwrap(), &ChainName::vault(), &identity().public())
    }

    fn all(lines: &[(Digest, Vec<u8>)], head: &Head) -> Result<(), String> {
        let mut links = links();
        lines.iter().try_for_each(|(leaf, line)| links.line(leaf, line))?;
        links.ends(head)
    }

    #[test]
    fn a_chain_as_it_was_written_holds() {
        let (lines, head) = chain();
        all(&lines, &head).unwrap();
    }

    #[test]
    fn a_line_changed_anywhere_is_found_at_its_place() {
        let (lines, head) = chain();
        for (at, (_, line)) in lines.iter().enumerate() {
            for place in (0..line.len()).step_by(97) {
                let mut changed = lines.clone();
                changed[at].1[place] ^= 1;
                let fault = all(&changed, &head).unwrap_err();
                assert!(fault.starts_with(&format!("entry {at}:")), "{fault}");
                // Also by one who keeps the leaf in step.
                changed[at].0 = leaf(&changed[at].1);
                all(&changed, &head).unwrap_err();
            }
        }
    }

    #[test]
    fn lines_left_out_or_turned_round_are_found() {
        let (lines, head) = chain();
        for at in 0..lines.len() {
            let mut short = lines.clone();
            short.remove(at);
            all(&short, &head).unwrap_err();
            let mut turned = lines.clone();
            turned.swap(at, (at + 1) % lines.len());
            all(&turned, &head).unwrap_err();
        }
        assert!(all(&lines, &Head { tree: Tree::default(), ..head.clone() }).is_err());
        let elsewhere = Links::new(&"prod".parse().unwrap(), &ChainName::operators(), &identity().public());
        let mut elsewhere = elsewhere;
        assert!(elsewhere.line(&lines[0].0, &lines[0].1).unwrap_err().contains("belongs to the chain"));
    }

    #[test]
    fn time_falls_nowhere_else_and_a_checkpoint_tells_the_truth() {
        let (key, key_of_checkpoints) = (audit_key(2, 50_000), checkpoint_key());
        let empty = Head::empty(&"prod".parse().unwrap(), &ChainName::vault());
        let (first, head) = append(&empty, &key, &Epoch {}.into(), Timestamp(50_100)).unwrap();
        // A head that forgets the time lets an entry be of before.
        let earlier = Head { ts: Timestamp::ZERO, ..head.clone() };
        let (second, _) = append(&earlier, &key, &Epoch {}.into(), Timestamp(50_000)).unwrap();
        let mut links = links();
        links.line(&leaf(&first), &first).unwrap();
        assert!(links.line(&leaf(&second), &second).unwrap_err().contains("of before the line before it"));
        let lie = entry::Checkpoint {
            cert: key_of_checkpoints.cert().clone(),
            note: Checkpoint { origin: head.origin.clone(), size: 1, root: Digest::ZERO }
                .sign(key_of_checkpoints.key()),
            tree: head.tree.peaks().to_vec(),
        };
        let (lying, _) = append(&head, &key, &lie.into(), Timestamp(50_100)).unwrap();
        assert!(links.line(&leaf(&lying), &lying).unwrap_err().contains("what is not so"));
    }

    /// A key, a time, what is written, and what is done to the head before.
    type Step<'a> = (&'a AuditKey, u64, Body, fn(&mut Head));

    /// The lines that these steps make, each by a key, at a time, behind a head that somebody changed.
    fn told(steps: &[Step<'_>]) -> Result<(), String> {
        let (mut head, mut links) = (Head::empty(&"prod".parse().unwrap(), &ChainName::vault()), links());
        for (key, at, body, change) in steps {
            change(&mut head);
            let (line, next) = append(&head, key, body, Timestamp(*at)).unwrap();
            links.line(&leaf(&line), &line)?;
            head = next;
        }
        links.ends(&head)
    }

    fn as_is(_: &mut Head) {}

    #[test]
    fn a_line_follows_by_number_and_by_link() {
        let key = audit_key(2, 0);
        let second = |change| told(&[(&key, 5, Epoch {}.into(), as_is), (&key, 6, Epoch {}.into(), change)]);
        assert_eq!(second(as_is), Ok(()));
        for change in [|head: &mut Head| head.size += 1, |head: &mut Head| head.leaf = Digest::ZERO] {
            assert!(second(change).unwrap_err().contains("does not follow"));
        }
    }

    #[test]
    fn a_line_is_signed_by_a_certified_key_in_its_time() {
        let (key, next) = (audit_key(2, 0), audit_key(3, 500));
        // The second line leaves the certificate of its key out.
        let without = |key: &AuditKey, at, change| {
            told(&[(&audit_key(2, 0), 5, Epoch {}.into(), as_is), (key, at, Epoch {}.into(), change)])
        };
        assert!(
            without(&next, 600, |head| head.kid = Some(audit_key(3, 500).kid().clone()))
                .unwrap_err()
                .contains("no certificate")
        );
        let (line, _) =
            append(&Head::empty(&"prod".parse().unwrap(), &ChainName::vault()), &key, &Epoch {}.into(), Timestamp(5))
                .unwrap();
        let forged = String::from_utf8(line).unwrap().replace("\"ts\":5,", "\"ts\":6,").into_bytes();
        assert!(links().line(&leaf(&forged), &forged).unwrap_err().contains("its signature is not"));
        // A key is known until a certificate comes behind its end, and not again when the clock is put back.
        let by = By { chain: ChainName::operators(), leaf: Digest::ZERO, seq: 1 };
        let again = |at, then, body| {
            told(&[
                (&key, 5, Epoch {}.into(), as_is),
                (&next, at, Epoch {}.into(), as_is),
                (&key, then, body, |head| {
                    (head.kid, head.ts) = (Some(audit_key(2, 0).kid().clone()), Timestamp::ZERO);
                }),
            ])
        };
        assert_eq!(again(999, 999, Epoch {}.into()), Ok(()));
        assert!(again(1000, 900, ClockReset { by }.into()).unwrap_err().contains("no certificate"));
    }

    #[test]
    fn the_origin_counts_on_with_a_restore_alone() {
        let by = By { chain: ChainName::operators(), leaf: Digest::ZERO, seq: 1 };
        let restore = |number| Body::from(Restore { by: by.clone(), number, salt: Bytes(vec![7; 16]) });
        let key = audit_key(2, 0);
        let then = |body: Body, change| told(&[(&key, 5, restore(2), as_is), (&key, 6, body, change)]);
        assert_eq!(then(restore(3), as_is), Ok(()));
        assert_eq!(then(Epoch {}.into(), as_is), Ok(()), "a chain may begin behind a restore");
        assert!(then(restore(1), as_is).unwrap_err().contains("belongs to the chain"));
        let changed = then(Epoch {}.into(), |head| head.origin = "prod/_vault~3".to_owned());
        assert!(changed.unwrap_err().contains("belongs to the chain"));
    }
}
