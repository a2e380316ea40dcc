//! Verification of a whole chain from public keys alone, in one pass. What is kept are the keys, sessions, grants and
//! leases that live, and of what is past 32 bytes for each entry, request and session, and 16 for each lease.
//!
//! A [`Verifier`] takes the lines of one chain in order and stops at the first that is wrong. Around every entry it
//! checks the chain: number, link, origin, time, certificate, signature. Inside an entry it checks that the agent or
//! operator asked for it, that nobody got more than was asked for and granted, and that everything happened in an order
//! in which it can happen (FORMATS section 5, "What a verifier checks"). [`Pins`] are what the reader knows from
//! elsewhere; the [`report::Report`] says what they, or their lack, mean for what is proved.
//!
//! After an entry that is not understood only the chain is checked: what that entry changed cannot be known.

mod agent;
mod keys;
mod lease;
pub mod operators;
pub mod report;
mod requests;
mod summary;

use std::io::{self, BufRead};
use std::sync::Arc;

use agent::AgentTrail;
use keys::AuditKeys;
use operators::{Commands, OperatorsTrail};
use report::{Fault, Finding, Report, Verdict};
use requests::Place;

use super::entry::{Body, Entry, Origin, Unreadable};
use super::line::Frame;
use super::receipt::{Named, Receipt};
use crate::crypto::hash::{Digest, leaf};
use crate::crypto::json::Admission;
use crate::crypto::signature::PublicKey;
use crate::id::{Aud, ChainName, Kid, VaultName};
use crate::statement::card::{Card, Genesis};
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
    /// States that the chain once had.
    pub heads: Vec<Seen>,
    /// Answers of the vault that name entries of the chain.
    pub receipts: Vec<Receipt>,
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

/// What is told by each of the three sorts of chains.
#[derive(Debug)]
enum Trail {
    Agent(Box<AgentTrail>),
    Operators(Box<OperatorsTrail>),
    Vault,
}

/// A chain under verification.
#[derive(Debug)]
pub struct Verifier<'a> {
    pins: &'a Pins,
    origin: Option<(Origin, String)>,
    keys: Option<AuditKeys>,
    trail: Option<Trail>,
    receipts: Vec<Named>,
    leaves: Vec<Digest>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    kinds: std::collections::BTreeMap<String, u64>,
    not_understood: Option<Verdict>,
    verdict: Option<Verdict>,
    unended: bool,
}

impl<'a> Verifier<'a> {
    /// Nothing read yet.
    #[must_use]
    pub fn new(pins: &'a Pins) -> Verifier<'a> {
        Verifier {
            pins,
            origin: None,
            keys: None,
            trail: None,
            receipts: Vec::new(),
            leaves: Vec::new(),
            from: None,
            to: None,
            kinds: std::collections::BTreeMap::new(),
            not_understood: None,
            verdict: None,
            unended: false,
        }
    }

    /// Takes the next line, without its LF. Gives whether to go on; once it says no, the verdict stands.
    pub fn line(&mut self, line: &[u8]) -> bool {
        if self.verdict.is_some() {
            return false;
        }
        if let Err(finding) = self.check(line) {
            self.verdict = Some(self.judgement(finding));
        }
        self.verdict.is_none()
    }

    fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// The verdict of a finding at the entry that is next.
    fn judgement(&self, finding: Finding) -> Verdict {
        let (entry, line) = (self.size(), self.size() + 1);
        match finding {
            Finding::Fault(fault, how) => Verdict::Tampered { entry, line, fault, how: printable(&how) },
            Finding::NotUnderstood(how) => Verdict::NotUnderstood { entry, line, how: printable(&how) },
            Finding::Unusable(how) => {
                Verdict::Unusable { how: printable(&format!("entry {entry} (line {line}): {how}")) }
            }
        }
    }

    fn check(&mut self, line: &[u8]) -> Result<(), Finding> {
        let frame = match Frame::read(line) {
            Ok(frame) => frame,
            Err(Unreadable::NotUnderstood(what)) => return self.skip(line, what),
            Err(Unreadable::Malformed(why)) if self.leaves.is_empty() && !resembles_an_entry(line) => {
                return Err(Finding::Unusable(format!("this is not the file of an audit chain: {why}")));
            }
            Err(Unreadable::Malformed(why)) => {
                return Err(Fault::Malformed.found(format!("the line is not an audit entry: {why}")));
            }
        };
        let leaf = leaf(line);
        self.check_link(&frame)?;
        self.check_key(&frame)?;
        self.check_pins(&frame, leaf)?;
        let (ts, entry) = (frame.ts(), frame.entry());
        self.check_time(ts, entry.as_ref().is_ok_and(|entry| !matches!(entry.body, Body::ClockReset(_))))?;
        match entry {
            Ok(entry) => self.understand(&entry, leaf)?,
            Err(Unreadable::NotUnderstood(what)) => {
                self.puzzle(format!("{what} is not understood by this version of the program"));
            }
            Err(Unreadable::Malformed(why)) => {
                return Err(Fault::Malformed.found(format!("the line is not an audit entry: {why}")));
            }
        }
        self.took(leaf, ts);
        Ok(())
    }

    /// An entry of another version, laid out in a way that is not known.
    fn skip(&mut self, line: &[u8], what: String) -> Result<(), Finding> {
        if self.leaves.is_empty() {
            return Err(Finding::NotUnderstood(format!("{what} is not understood by this version of the program")));
        }
        self.puzzle(format!("{what} is not understood by this version of the program; its signature was not checked"));
        let ts = self.to.unwrap_or_default();
        self.took(leaf(line), ts);
        Ok(())
    }

    fn puzzle(&mut self, how: String) {
        if self.not_understood.is_none() {
            self.not_understood = Some(self.judgement(Finding::NotUnderstood(how)));
        }
    }

    fn took(&mut self, leaf: Digest, ts: Timestamp) {
        self.leaves.push(leaf);
        self.from.get_or_insert(ts);
        self.to = Some(ts);
    }

    /// Number, link and origin.
    fn check_link(&mut self, frame: &Frame) -> Result<(), Finding> {
        let size = self.size();
        if frame.seq() != size {
            let how = if frame.seq() > size { "an entry is missing before it" } else { "it stands here again" };
            return Err(Fault::Seq.found(format!("entry {} stands where entry {size} belongs: {how}", frame.seq())));
        }
        if frame.prev() != self.leaves.last().copied().unwrap_or(Digest::ZERO) {
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
                if restored != *frame.origin() || frame.is_understood() {
                    return Err(Fault::Origin.found(format!("it belongs to the chain {}", frame.origin_text())));
                }
                self.origin = Some((restored, frame.origin_text().to_owned()));
            }
        }
        Ok(())
    }

    /// The identity, and the audit key's certificate, life and signature.
    fn check_key(&mut self, frame: &Frame) -> Result<(), Finding> {
        if self.keys.is_none() {
            let named = frame.identity();
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
        match &mut self.keys {
            Some(keys) => keys.check(frame),
            None => Ok(()),
        }
    }

    fn check_time(&self, ts: Timestamp, holds: bool) -> Result<(), Finding> {
        match self.to {
            // A `clock_reset` is the one entry where time may fall; what is not understood may be like it.
            Some(before) if ts < before && holds => {
                Err(Fault::Time.found(format!("it is of {ts}, before the entry before it, which is of {before}")))
            }
            _ => Ok(()),
        }
    }

    /// What was pinned of this very entry.
    fn check_pins(&mut self, frame: &Frame, leaf: Digest) -> Result<(), Finding> {
        let seq = frame.seq();
        if seq == 0 {
            let pinned = self.pins.genesis.as_ref().and_then(|genesis| match &frame.origin().chain {
                chain if *chain == ChainName::vault() => Some(genesis.vault),
                chain if *chain == ChainName::operators() => Some(genesis.operators),
                _ => None,
            });
            if pinned.is_some_and(|pinned| pinned != leaf) {
                return Err(Fault::Genesis.found("the chain begins with another entry than the one that was pinned"));
            }
            self.open_receipts()?;
        }
        for seen in &self.pins.heads {
            if seen.size == seq + 1 && seen.head != leaf {
                return Err(Fault::Head.found(format!("its leaf is {leaf}, but {} was held for it", seen.head)));
            }
        }
        for named in &self.receipts {
            if named.entry.seq == seq && named.entry.leaf != leaf {
                return Err(
                    Fault::Receipt.found(format!("its leaf is {leaf}, but a receipt names {}", named.entry.leaf))
                );
            }
        }
        Ok(())
    }

    fn open_receipts(&mut self) -> Result<(), Finding> {
        let Some(keys) = &self.keys else { return Ok(()) };
        for receipt in &self.pins.receipts {
            let named = receipt.open(keys.identity()).map_err(|why| Finding::Unusable(why.to_string()))?;
            self.receipts.push(named);
        }
        Ok(())
    }

    /// What the entry says, held against all that was said before.
    fn understand(&mut self, entry: &Entry, leaf: Digest) -> Result<(), Finding> {
        if let Body::Issue(issue) = &entry.body {
            for (hdr, sealed) in self
                .receipts
                .iter()
                .filter(|named| named.entry.seq == entry.seq)
                .filter_map(|named| named.issued.as_ref())
            {
                if *hdr != issue.hdr || *sealed != issue.sealed {
                    return Err(Fault::Receipt.found("its receipt says that something else was issued"));
                }
            }
        }
        if self.not_understood.is_some() {
            return Ok(());
        }
        let place = Place { ts: entry.ts, leaves: &self.leaves };
        let judged = match (&mut self.trail, &entry.body) {
            (None, body) => match self.begin(body, entry.ts) {
                Ok(trail) => {
                    self.trail = Some(trail);
                    Ok(())
                }
                Err(finding) => Err(finding),
            },
            (Some(_), Body::Checkpoint(_) | Body::ClockReset(_)) => Ok(()),
            (Some(Trail::Agent(trail)), _) => trail.judge(entry, place),
            (Some(Trail::Operators(trail)), Body::Command(command)) => {
                trail.command(command, entry.seq, leaf, entry.ts)
            }
            (Some(Trail::Vault), body) if !matches!(body, Body::VaultGenesis(_)) => Ok(()),
            _ => Err(Fault::Genesis.found("a chain has one genesis, at its beginning")),
        };
        match judged {
            Err(Finding::NotUnderstood(how)) => self.puzzle(how),
            Err(finding) => return Err(finding),
            Ok(()) => {}
        }
        *self.kinds.entry(entry.body.kind().to_owned()).or_default() += 1;
        Ok(())
    }

    /// The genesis of a chain.
    fn begin(&self, body: &Body, ts: Timestamp) -> Result<Trail, Finding> {
        let (Some(keys), Some((origin, _))) = (&self.keys, &self.origin) else {
            return Err(Fault::Genesis.found("the first entry names no identity key"));
        };
        let identity = keys.identity().to_bytes();
        let aud = Aud::of_identity(&keys.identity().kid());
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
            Body::Genesis(genesis) => Trail::Agent(Box::new(AgentTrail::begin(
                genesis,
                &aud,
                ts,
                &self.pins.agent_keys,
                self.pins.operators.clone(),
            )?)),
            Body::OperatorsGenesis(genesis) => Trail::Operators(Box::new(OperatorsTrail::begin(genesis, &aud, ts)?)),
            _ => Trail::Vault,
        })
    }

    /// The last line has no LF: it is torn where it is not even whole JSON.
    fn last(&mut self, line: &[u8]) {
        let torn = serde_json::from_slice::<serde::de::IgnoredAny>(line).is_err_and(|why| why.is_eof());
        if torn && self.verdict.is_none() {
            let (entry, line) = (self.size(), self.size() + 1);
            let how = "the file breaks off inside this entry; what stands before it is intact".to_owned();
            self.verdict = Some(Verdict::Torn { entry, line, how });
        } else {
            self.unended = true;
            self.line(line);
        }
    }

    /// What only the end of the chain can tell.
    fn conclude(&mut self) -> Verdict {
        let missing = self
            .pins
            .heads
            .iter()
            .map(|seen| seen.size)
            .chain(self.receipts.iter().map(|named| named.entry.seq.saturating_add(1)))
            .max()
            .filter(|size| *size > self.size());
        if self.leaves.is_empty() {
            return Verdict::Unusable { how: "the file is empty".into() };
        }
        if let Some(held) = missing {
            let fault = if self.pins.heads.iter().any(|seen| seen.size == held) { Fault::Head } else { Fault::Receipt };
            return self.judgement(fault.found(format!(
                "the chain ends here, but entry {} of it is held elsewhere: its end was cut off",
                held - 1
            )));
        }
        if let Some(puzzle) = self.not_understood.take() {
            return puzzle;
        }
        match (self.pins.max_age, self.to) {
            (Some((now, age)), Some(to)) if to.plus(age) < now => {
                Verdict::Stale { how: format!("the newest entry is of {to}, more than {age} before {now}") }
            }
            _ => Verdict::Intact,
        }
    }

    /// The report, after the last line.
    #[must_use]
    pub fn finish(mut self) -> Report {
        let verdict = match self.verdict.take() {
            Some(verdict) => verdict,
            None => self.conclude(),
        };
        self.summary(verdict)
    }

    /// The report of `_operators`, with its commands where it is intact.
    #[must_use]
    pub fn finish_operators(mut self) -> (Report, Option<Commands>) {
        let verdict = match self.verdict.take() {
            Some(verdict) => verdict,
            None => self.conclude(),
        };
        let report = self.summary(verdict);
        let commands = match self.trail {
            Some(Trail::Operators(trail)) if report.verdict == Verdict::Intact => Some(trail.into_commands()),
            _ => None,
        };
        (report, commands)
    }
}

/// A sentence that may quote what a forger wrote, on its way to a terminal: no control characters.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Whether a line that cannot be read was once an entry, as far as its ends tell: one flipped bit cannot spoil both.
fn resembles_an_entry(line: &[u8]) -> bool {
    line.starts_with(b"{\"body\":") || line.ends_with(b",\"v\":1}")
}

/// Verifies the chain that `reader` gives.
///
/// # Errors
/// Where it cannot be read.
pub fn verify(reader: impl BufRead, pins: &Pins) -> io::Result<Report> {
    Ok(read(reader, pins)?.finish())
}

/// Verifies `_operators`, and gives its commands where it is intact.
///
/// # Errors
/// Where it cannot be read.
pub fn verify_operators(reader: impl BufRead, pins: &Pins) -> io::Result<(Report, Option<Commands>)> {
    Ok(read(reader, pins)?.finish_operators())
}

fn read(mut reader: impl BufRead, pins: &Pins) -> io::Result<Verifier<'_>> {
    let mut verifier = Verifier::new(pins);
    let limit = Admission::OPERATORS_LINE.max_bytes as u64 + 2;
    let mut line = Vec::new();
    loop {
        line.clear();
        // A line over the limit is cut here and then found to be over it.
        io::Read::take(&mut reader, limit).read_until(b'\n', &mut line)?;
        match line.strip_suffix(b"\n") {
            _ if line.is_empty() => return Ok(verifier),
            Some(line) if verifier.line(line) => {}
            None if (line.len() as u64) < limit => {
                verifier.last(&line);
                return Ok(verifier);
            }
            None if verifier.line(&line) => {}
            _ => return Ok(verifier),
        }
    }
}
