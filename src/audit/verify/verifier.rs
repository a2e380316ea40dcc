//! The [`Verifier`]: takes the lines of one chain in order and stops at the first that is wrong.

use std::collections::BTreeMap;

use super::agent::AgentTrail;
use super::ahead::{Guess, Line, Opened, Read};
use super::checkpoints::{Checkpoints, Stand};
use super::keys::{AuditKeys, Pinned};
use super::operators::{OperatorsTrail, names_operators};
use super::report::{Fault, Finding, RestoreSeen, Verdict};
use super::requests::Place;
use super::restores::{Lost, Restores};
use super::roster::Roster;
use super::spill::Leaves;
use super::vault::VaultTrail;
use super::{Means, Pins};
use crate::audit::entry::{self, Body, Entry, Origin, Unreadable};
use crate::audit::line::Frame;
use crate::audit::receipt::Named;
use crate::audit::shown::printable;
use crate::audit::tree::Tree;
use crate::crypto::hash::Digest;
use crate::id::{Aud, ChainName};
use crate::time::Timestamp;

/// The kind of entry with which the origin changes.
const RESTORE: &str = "restore";

/// What is told by each of the three sorts of chains.
#[derive(Debug)]
pub(super) enum Trail {
    Agent(Box<AgentTrail>),
    Operators(Box<OperatorsTrail>),
    Vault(VaultTrail),
}

/// A chain under verification.
#[derive(Debug)]
pub struct Verifier<'a> {
    pub(super) pins: &'a Pins,
    held: usize,
    pub(super) origin: Option<(Origin, String)>,
    pub(super) keys: Option<AuditKeys>,
    pub(super) trail: Option<Trail>,
    pub(super) receipts: Vec<Named>,
    pub(super) leaves: Leaves,
    pub(super) checkpoints: Checkpoints,
    /// Time fell at the entry before, a restore: from then. Only a reset of the clock may follow.
    fell: Option<Timestamp>,
    /// The restores from backups.
    pub(super) restores: Restores,
    /// What is held elsewhere and was lost to them.
    pub(super) lost: Lost,
    /// The entry of `_operators` that the newest reset of the clock rests on.
    reset: Option<u64>,
    pub(super) from: Option<Timestamp>,
    pub(super) to: Option<Timestamp>,
    pub(super) kinds: BTreeMap<String, u64>,
    pub(super) not_understood: Option<Verdict>,
    pub(super) verdict: Option<Verdict>,
    pub(super) unended: bool,
    /// How many entries stand there with the last whose signature was checked.
    pub(super) vouched: u64,
    /// How many before that were of a version whose signature could not be checked.
    pub(super) skipped: u64,
    /// All that was held elsewhere was compared, and the chain holds it.
    pub(super) compared: bool,
    /// What only the end can tell of the holder's keys was asked.
    pub(super) concluded: bool,
}

impl<'a> Verifier<'a> {
    /// Nothing read yet.
    #[must_use]
    pub fn new(pins: &'a Pins) -> Verifier<'a> {
        Verifier::holding(pins, Means::default().held)
    }

    /// Nothing read yet; `held` as [`Means::held`].
    pub(super) fn holding(pins: &'a Pins, held: usize) -> Verifier<'a> {
        Verifier {
            pins,
            held,
            origin: None,
            keys: None,
            trail: None,
            receipts: Vec::new(),
            leaves: Leaves::holding(held),
            checkpoints: Checkpoints::default(),
            fell: None,
            restores: Restores::default(),
            lost: Lost::default(),
            reset: None,
            from: None,
            to: None,
            kinds: BTreeMap::new(),
            not_understood: None,
            verdict: None,
            unended: false,
            vouched: 0,
            skipped: 0,
            compared: false,
            concluded: false,
        }
    }

    /// Takes the next line, without its LF. Gives whether to go on; once it says no, the verdict stands.
    pub fn line(&mut self, line: &[u8]) -> bool {
        self.verdict.is_none() && self.take(&Line::ahead(line, &[]))
    }

    /// Takes the next line, worked on already.
    pub(super) fn take(&mut self, line: &Line) -> bool {
        if self.verdict.is_some() {
            return false;
        }
        if let Err(finding) = self.check(line) {
            self.verdict = Some(self.judgement(finding));
        }
        self.verdict.is_none()
    }

    pub(super) fn size(&self) -> u64 {
        self.leaves.len()
    }

    /// The line of the file, from 1, in which the entry stands that is next.
    pub(super) fn line_number(&self) -> u64 {
        self.size() - self.leaves.first() + 1
    }

    /// The verdict of a finding at the entry that is next.
    pub(super) fn judgement(&self, finding: Finding) -> Verdict {
        let (entry, line) = (self.size(), self.line_number());
        match finding {
            Finding::Fault(fault, how) => Verdict::Tampered { entry, line, fault, how: printable(&how) },
            Finding::NotUnderstood(how) => Verdict::NotUnderstood { entry, line, how: printable(&how) },
            Finding::Unusable(how) => {
                Verdict::Unusable { how: printable(&format!("entry {entry} (line {line}): {how}")) }
            }
        }
    }

    fn check(&mut self, line: &Line) -> Result<(), Finding> {
        let read = match &line.read {
            Ok(read) => read,
            Err(Unreadable::NotUnderstood(what)) => return self.skip(line.leaf, what),
            Err(Unreadable::Malformed(why)) if self.leaves.is_empty() && !line.resembles_an_entry => {
                return Err(Finding::Unusable(format!("this is not the file of an audit chain: {why}")));
            }
            Err(Unreadable::Malformed(why)) => return Err(malformed(why)),
        };
        if self.leaves.is_empty() && self.pins.since_checkpoint {
            self.resume(read)?;
        }
        self.check_link(&read.frame)?;
        let new_key = self.check_key(read)?;
        self.check_pins(&read.frame, line.leaf)?;
        let ts = read.frame.ts();
        self.check_time(ts, read.entry.as_ref().ok().map(|entry| &entry.body))?;
        match &read.entry {
            Ok(entry) => self.understand(entry, Around { leaf: line.leaf, opened: read.opened.as_ref(), new_key })?,
            Err(Unreadable::NotUnderstood(what)) => {
                self.puzzle(format!("{what} is not understood by this version of the program"));
            }
            Err(Unreadable::Malformed(why)) => return Err(malformed(why)),
        }
        let is_checkpoint = read.entry.as_ref().is_ok_and(|entry| matches!(entry.body, Body::Checkpoint(_)));
        self.took(line.leaf, ts, is_checkpoint)?;
        // Its `prev` vouches for those before it, also where they are of a version that is not known.
        self.skipped += self.size() - 1 - self.vouched.max(self.leaves.first());
        self.vouched = self.size();
        Ok(())
    }

    /// An entry of another version, laid out in a way that is not known.
    fn skip(&mut self, leaf: Digest, what: &str) -> Result<(), Finding> {
        if self.leaves.is_empty() {
            return Err(Finding::NotUnderstood(format!("{what} is not understood by this version of the program")));
        }
        self.puzzle(format!("{what} is not understood by this version of the program; its signature was not checked"));
        self.check_held(self.size(), leaf)?;
        self.took(leaf, self.to.unwrap_or_default(), false)
    }

    fn puzzle(&mut self, how: String) {
        if self.not_understood.is_none() {
            self.not_understood = Some(self.judgement(Finding::NotUnderstood(how)));
        }
    }

    fn took(&mut self, leaf: Digest, ts: Timestamp, is_checkpoint: bool) -> Result<(), Finding> {
        self.leaves.push(leaf, ts)?;
        self.checkpoints.took(leaf, is_checkpoint);
        self.from.get_or_insert(ts);
        self.to = Some(ts);
        Ok(())
    }

    /// The file begins at a checkpoint: what that says of the entries before it is believed once it is verified.
    fn resume(&mut self, read: &Read) -> Result<(), Finding> {
        let frame = &read.frame;
        let Ok(Entry { body: Body::Checkpoint(said), .. }) = &read.entry else {
            // A whole chain is as good as a part.
            return if frame.seq() == 0 {
                Ok(())
            } else {
                Err(Finding::Unusable("the file begins neither with a genesis nor with a checkpoint".into()))
            };
        };
        self.leaves.begin(frame.seq(), frame.prev());
        let Some(tree) = Tree::of(frame.seq(), said.tree.clone()) else {
            return Err(Fault::Checkpoint.found("its tree is not one of as many entries as stand before it"));
        };
        // In a tree of odd size the last subtree is the leaf of the last entry.
        if frame.seq() % 2 == 1 && tree.peaks().last() != Some(&frame.prev()) {
            return Err(Fault::Checkpoint.found("its tree does not end with the entry that it follows"));
        }
        self.checkpoints.tree = tree;
        Ok(())
    }

    /// Number, link and origin.
    fn check_link(&mut self, frame: &Frame) -> Result<(), Finding> {
        let size = self.size();
        if frame.seq() != size {
            let how = if frame.seq() > size { "an entry is missing before it" } else { "it stands here again" };
            return Err(Fault::Seq.found(format!("entry {} stands where entry {size} belongs: {how}", frame.seq())));
        }
        if frame.prev() != self.leaves.last() {
            return Err(Fault::Prev.found("it does not follow the entry before it: one of the two is not the original"));
        }
        match &self.origin {
            None => {
                if self.pins.vault.as_ref().is_some_and(|vault| *vault != frame.origin().vault) {
                    return Err(Fault::Origin.found(format!("it is of the vault {}", frame.origin().vault)));
                }
                if let Some(asked) = self.pins.chain.as_ref().filter(|asked| **asked != frame.origin().chain) {
                    let found = &frame.origin().chain;
                    return Err(Finding::Unusable(format!("this is the chain {found}, but {asked} was asked for")));
                }
                self.origin = Some((frame.origin().clone(), frame.origin_text().to_owned()));
            }
            Some((origin, _)) if origin == frame.origin() => {}
            Some((origin, _)) => {
                let restored = Origin { restored: frame.origin().restored, ..origin.clone() };
                let counts_on = frame.kind() == RESTORE && restored.restored > origin.restored;
                if restored != *frame.origin() || (frame.is_understood() && !counts_on) {
                    return Err(Fault::Origin.found(format!("it belongs to the chain {}", frame.origin_text())));
                }
                self.origin = Some((restored, frame.origin_text().to_owned()));
            }
        }
        Ok(())
    }

    /// The identity, and the audit key's certificate, life and signature. Gives whether it is another audit key than that
    /// of the entry before.
    fn check_key(&mut self, read: &Read) -> Result<bool, Finding> {
        if self.keys.is_none() {
            let named = read.frame.identity();
            let identity = match (&self.pins.identity, named) {
                (Some(pinned), Some(named)) if *pinned != named => {
                    return Err(Fault::Identity.found(format!(
                        "the chain is of the vault {}, but the vault {} was pinned: it is another vault's, or a forgery",
                        Aud::of_identity(&named.kid()),
                        Aud::of_identity(&pinned.kid())
                    )));
                }
                (Some(pinned), _) => pinned.clone(),
                (None, Some(named)) => named,
                (None, None) if self.leaves.first() > 0 => {
                    return Err(Finding::Unusable(
                        "a part of a chain does not name the vault's identity key; give --vault or --identity".into(),
                    ));
                }
                (None, None) => return Err(Fault::Genesis.found("the first entry names no identity key")),
            };
            let aud = Aud::of_identity(&identity.kid());
            if let Some(pinned) = self.pins.aud.as_ref().filter(|pinned| **pinned != aud) {
                return Err(Fault::Identity.found(format!(
                    "the chain is of the vault {aud}, but the vault {pinned} was pinned: it is another vault's, or a forgery"
                )));
            }
            self.keys = Some(AuditKeys::new(identity));
        }
        self.keys.as_mut().map_or(Ok(false), |keys| keys.check(read))
    }

    fn check_time(&mut self, ts: Timestamp, body: Option<&Body>) -> Result<(), Finding> {
        let fell = std::mem::take(&mut self.fell);
        let falls = self.to.filter(|before| ts < *before);
        match (body, falls) {
            // What is not understood may be like a reset of the clock.
            (None | Some(Body::ClockReset(_)), _) => Ok(()),
            (Some(Body::Restore(_)), Some(before)) => {
                self.fell = Some(before);
                Ok(())
            }
            (Some(_), before) => match before.or(fell) {
                Some(before) => {
                    Err(Fault::Time.found(format!("it is of {ts}, before the entry before it, which is of {before}")))
                }
                None => Ok(()),
            },
        }
    }

    /// What the entry says, held against all that was said before.
    fn understand(&mut self, entry: &Entry, around: Around<'_>) -> Result<(), Finding> {
        let Around { leaf, opened, new_key } = around;
        if let Body::Issue(issue) = &entry.body {
            for (hdr, sealed) in self
                .receipts
                .iter()
                .filter(|named| named.entry.seq == entry.seq && named.entry.leaf == leaf)
                .filter_map(|named| named.issued.as_ref())
            {
                if *hdr != issue.hdr || *sealed != issue.sealed {
                    return Err(Fault::Receipt.found("its receipt says that something else was issued"));
                }
            }
        }
        if let (Body::Checkpoint(said), Some(keys), Some((_, origin))) = (&entry.body, &self.keys, &self.origin) {
            let (identity, certified) = (keys.identity(), entry.cert.is_some());
            self.checkpoints.judge(said, Stand { seq: entry.seq, ts: entry.ts, origin, identity, certified })?;
        }
        if self.not_understood.is_some() {
            return Ok(());
        }
        if let Body::ClockReset(reset) = &entry.body {
            self.clock_reset(reset, (entry.seq, entry.ts))?;
        }
        let restored = match &entry.body {
            Body::Restore(restore) => Some(self.restore(restore, entry, new_key)?),
            _ => None,
        };
        let place = Place { seq: entry.seq, ts: entry.ts, leaves: &self.leaves, opened };
        let judged = match (&mut self.trail, &entry.body) {
            (None, body) => match self.begin(body, entry.ts) {
                Ok(trail) => {
                    self.trail = Some(trail);
                    Ok(())
                }
                Err(finding) => Err(finding),
            },
            (Some(_), Body::Checkpoint(_) | Body::ClockReset(_)) => Ok(()),
            (Some(Trail::Agent(_) | Trail::Operators(_)), Body::Restore(_)) => Ok(()),
            (Some(Trail::Agent(trail)), _) => trail.judge(entry, place),
            (Some(Trail::Operators(trail)), Body::Command(command)) => trail.command(command, leaf, place),
            (Some(Trail::Operators(trail)), Body::CustodyOperator(said)) => trail.by_custody(said, place),
            (Some(Trail::Vault(trail)), body) if !matches!(body, Body::VaultGenesis(_)) => {
                trail.judge(body, self.to.unwrap_or_default(), new_key)
            }
            _ => Err(Fault::Genesis.found("a chain has one genesis, at its beginning")),
        };
        match judged {
            Err(Finding::NotUnderstood(how)) => self.puzzle(how),
            Err(finding) => return Err(finding),
            Ok(()) => {}
        }
        restored.into_iter().for_each(|seen| self.restores.took(seen));
        *self.kinds.entry(entry.body.kind().to_owned()).or_default() += 1;
        Ok(())
    }

    /// An operator said that the clock had been ahead.
    fn clock_reset(&mut self, reset: &entry::ClockReset, at: (u64, Timestamp)) -> Result<(), Finding> {
        let by = &reset.by;
        names_operators(by)?;
        if self.reset.is_some_and(|before| by.seq <= before) {
            return Err(
                Fault::By.found(format!("entry {} of _operators had reset the clock of this chain before", by.seq))
            );
        }
        self.reset = Some(by.seq);
        if let Some(Trail::Agent(trail)) = &mut self.trail {
            trail.clock_reset(by, at.1);
        }
        match (&mut self.trail, &self.pins.operators, &self.keys) {
            (Some(Trail::Operators(trail)), ..) => trail.reset_the_clock(by, at),
            (_, Some(commands), Some(keys)) => commands.reset_the_clock(by, &Aud::of_identity(&keys.identity().kid())),
            _ => Ok(()),
        }
    }

    /// The vault was restored from a backup. What is told of it counts once the whole entry was found good.
    fn restore(&mut self, restore: &entry::Restore, entry: &Entry, new_key: bool) -> Result<RestoreSeen, Finding> {
        let entry::Restore { by, number, salt } = restore;
        let wrong = |how: &str| Err(Fault::Restore.found(how));
        if !new_key {
            return wrong("its audit key signed here before: a restored vault begins with a new one");
        }
        let counts_on = self.restores.newest().is_none_or(|before| before < *number);
        let in_origin = Origin::parse(&entry.origin).map(|origin| origin.restored);
        if salt.0.len() != 16 || in_origin != Some(*number) || !counts_on || self.leaves.is_empty() {
            return wrong("its number is not the one that the origin has from here on, or does not count on");
        }
        names_operators(by)?;
        if let Some(Trail::Agent(trail)) = &mut self.trail {
            trail.restored(by, self.to.unwrap_or_default(), entry.ts);
        }
        match (&self.trail, &self.pins.operators, &self.keys) {
            (Some(Trail::Operators(trail)), ..) => trail.restored(by, entry.seq)?,
            (_, Some(commands), Some(keys)) => commands.made_a_backup(by, &Aud::of_identity(&keys.identity().kid()))?,
            _ => {}
        }
        Ok(RestoreSeen { entry: entry.seq, number: *number, ts: entry.ts, backup: by.seq })
    }

    /// The genesis of a chain.
    fn begin(&self, body: &Body, ts: Timestamp) -> Result<Trail, Finding> {
        let (Some(keys), Some((origin, _))) = (&self.keys, &self.origin) else {
            return Err(Fault::Genesis.found("the first entry names no identity key"));
        };
        let identity = keys.identity().to_bytes();
        let aud = Aud::of_identity(&keys.identity().kid());
        if let (first @ 1.., Body::Checkpoint(_)) = (self.leaves.first(), body) {
            return Ok(self.part(&origin.chain, &aud, first));
        }
        let (named, salt, of_this_chain) = match body {
            Body::Genesis(genesis) => {
                (&genesis.identity, &genesis.salt, Some(&genesis.agent) == origin.chain.agent().as_ref())
            }
            Body::OperatorsGenesis(genesis) => (&genesis.identity, &genesis.salt, true),
            Body::VaultGenesis(genesis) => {
                (&genesis.identity, &genesis.salt, genesis.name == origin.vault && genesis.aud == aud)
            }
            _ => return Err(Fault::Genesis.found("the chain does not begin with its genesis")),
        };
        if named.0 != identity || salt.0.len() != 16 || !of_this_chain {
            return Err(Fault::Genesis.found("its genesis is that of another chain"));
        }
        Ok(match body {
            Body::Genesis(genesis) => {
                Trail::Agent(Box::new(AgentTrail::begin(genesis, &aud, ts, self.pins, self.held)?))
            }
            Body::OperatorsGenesis(genesis) => {
                Trail::Operators(Box::new(OperatorsTrail::begin(genesis, &aud, ts, self.held)?))
            }
            _ => Trail::Vault(VaultTrail::begin(true, &aud, self.pins.operators.clone())),
        })
    }

    /// A part of a chain, behind its first entries.
    fn part(&self, chain: &ChainName, aud: &Aud, first: u64) -> Trail {
        match chain.agent() {
            Some(agent) => Trail::Agent(Box::new(AgentTrail::resume(&agent, aud, first, self.pins, self.held))),
            None if *chain == ChainName::operators() => {
                let pinned = Pinned { directory: self.pins.directory.clone(), ..Pinned::default() };
                let roster = Roster::resume(aud, &self.pins.holder_keys, pinned);
                Trail::Operators(Box::new(OperatorsTrail::resume(roster, first, aud, self.held)))
            }
            None => Trail::Vault(VaultTrail::begin(false, aud, self.pins.operators.clone())),
        }
    }

    /// The keys that the next lines, and what stands in them, are likely signed by.
    pub(super) fn guesses(&self) -> Vec<Guess> {
        let mut guesses: Vec<Guess> = self.keys.iter().flat_map(AuditKeys::guesses).collect();
        match &self.trail {
            Some(Trail::Agent(trail)) => guesses.extend(trail.guesses()),
            Some(Trail::Operators(trail)) => guesses.extend(trail.guesses()),
            _ => {}
        }
        guesses
    }
}

/// What is known of an entry beside what it says.
#[derive(Clone, Copy)]
struct Around<'a> {
    leaf: Digest,
    opened: Option<&'a Opened>,
    /// Another audit key signed it than the entry before.
    new_key: bool,
}

fn malformed(why: &str) -> Finding {
    Fault::Malformed.found(format!("the line is not an audit entry: {why}"))
}
