//! What a reading of NockGuard's trail found, laid out as [`crate::audit::verify::report::Report`] lays out ours.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::{Key, Trail, hex};
use crate::audit::verify::report::Verdict;
use crate::time::Timestamp;

/// By whose key a trail was found good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Signer {
    /// An agent's own Ed25519 key.
    Agent {
        /// The public key, in hex.
        public: String,
        /// What the rows call it: SHA-256 of the public key, in hex.
        key_id: String,
    },
    /// The Ed25519 key of the whole installation.
    Global {
        /// The public key, in hex.
        public: String,
        /// What the rows call it: SHA-256 of the public key, in hex.
        key_id: String,
    },
    /// The HMAC key of the whole installation, which has no public name.
    Hmac,
}

impl Signer {
    pub(super) fn of(key: &Key) -> Signer {
        match key {
            Key::Agent(public) => Signer::Agent { public: hex(&public.to_bytes()), key_id: super::key_id(public) },
            Key::Global(public) => Signer::Global { public: hex(&public.to_bytes()), key_id: super::key_id(public) },
            Key::Hmac(_) => Signer::Hmac,
        }
    }
}

/// All that a verification has to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What is to be thought of it. Entries are counted from 0, empty lines apart.
    pub verdict: Verdict,
    /// Whose format it is.
    pub format: &'static str,
    /// How many rows were found good.
    pub size: u64,
    /// How many of them the checkpoint covers.
    pub anchored: u64,
    /// The time of the first.
    pub from: Option<Timestamp>,
    /// The time of the last.
    pub to: Option<Timestamp>,
    /// Which of the given keys signed them.
    pub signer: Option<Signer>,
    /// The signature of the last, which stands for all before it.
    pub head: Option<String>,
    /// How many rows name each agent.
    pub agents: BTreeMap<String, u64>,
    /// How many rows hold each decision.
    pub kinds: BTreeMap<String, u64>,
    /// What the good rows prove, a sentence each.
    pub proved: Vec<String>,
    /// What they do not, a sentence each.
    pub unproved: Vec<String>,
}

impl Report {
    pub(super) fn of(trail: Trail<'_>, verdict: Verdict) -> Report {
        let anchored = trail.anchored();
        let good = trail.size > 0;
        Report {
            proved: if good { trail.proved(anchored) } else { Vec::new() },
            unproved: if good { trail.unproved(anchored) } else { Vec::new() },
            verdict,
            format: "nockguard",
            size: trail.size,
            anchored,
            from: trail.from,
            to: trail.to,
            signer: trail.key.map(Signer::of),
            head: good.then_some(trail.prev),
            agents: trail.agents.0,
            kinds: trail.decisions.0,
        }
    }
}

impl Trail<'_> {
    fn span(&self) -> String {
        match (self.from, self.to) {
            (Some(from), Some(to)) => format!(", from {from} to {to} by the writer's clock"),
            _ => String::new(),
        }
    }

    fn proved(&self, anchored: u64) -> Vec<String> {
        let rows = rows(self.size);
        let whole = format!("{rows} stand as they were written and in this order{}", self.span());
        let mut said = match self.key {
            Some(Key::Agent(public)) => vec![format!(
                "{whole}: each is signed by the holder of the agent's key {}, together with the signature before it",
                hex(&public.to_bytes())
            )],
            Some(Key::Global(public)) => vec![format!(
                "{whole}: each is signed by the holder of the installation's key {}, together with the signature before \
                 it",
                hex(&public.to_bytes())
            )],
            Some(Key::Hmac(_)) => vec![format!(
                "{whole}, unless a holder of the HMAC key wanted it otherwise: each carries a tag of that key, together \
                 with the tag before it"
            )],
            None => Vec::new(),
        };
        if anchored > 0 {
            said.push(format!(
                "the trail was not cut off below row {anchored}: the signed checkpoint counts that many"
            ));
        }
        said
    }

    fn unproved(&self, anchored: u64) -> Vec<String> {
        let mut said = Vec::new();
        match self.key {
            Some(Key::Agent(_)) => said.push(
                "that the key is this agent's: the trail does not say so; compare it with the one that the agent's owner \
                 keeps"
                    .into(),
            ),
            Some(Key::Global(_)) => said.push(
                "WHICH AGENT ACTED: the agents' names are the word of whoever holds the installation's one key".into(),
            ),
            Some(Key::Hmac(_)) => said.push(
                "WHO WROTE IT: an HMAC is tamper-evident and not attributable; whoever can check the trail holds the key \
                 and can write another, the reader of this report included"
                    .into(),
            ),
            None => {}
        }
        if matches!(self.key, Some(Key::Agent(_))) && self.agents.several() {
            said.push("why the rows name several agents, though one agent's key signed them all".into());
        }
        if anchored < self.size {
            said.push(format!(
                "that nothing is missing after row {anchored}: the last {} are UNANCHORED, the checkpoint does not count \
                 them",
                rows(self.size - anchored)
            ));
        }
        said.push(
            "that nothing follows: trail and checkpoint, rolled back together, look like this too; compare the number of \
             rows and the head with those that were kept elsewhere, or set --max-age"
                .into(),
        );
        said.push(
            "that the calls were made as the rows say, or that every call has its row: the rows are the word of the \
             program that wrote them, and its clock is the machine's"
                .into(),
        );
        if self.clock_fell > 0 {
            said.push(format!("when {} happened: their time is before that of the row before", rows(self.clock_fell)));
        }
        if self.timeless > 0 {
            said.push(format!("when {} happened: their time cannot be read", rows(self.timeless)));
        }
        if self.mended > 0 {
            said.push(format!(
                "what {} held where they say \\ufffd: bytes that were no text; NockGuard's own verifier takes such a row \
                 for tampered",
                rows(self.mended)
            ));
        }
        if self.blank > 0 {
            let lines = if self.blank == 1 { "1 empty line".into() } else { format!("{} empty lines", self.blank) };
            said.push(format!("where {lines} between the rows came from: no signature covers them"));
        }
        if self.unended {
            said.push("that the last line was written to its end: its LF is missing".into());
        }
        said
    }
}

fn rows(count: u64) -> String {
    format!("{count} {}", if count == 1 { "row" } else { "rows" })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "nockguard: {}", self.verdict)?;
        if let (Some(from), Some(to)) = (self.from, self.to) {
            writeln!(f, "  {} good {}, {from} to {to}", self.size, if self.size == 1 { "row" } else { "rows" })?;
        }
        if let Some(head) = &self.head {
            writeln!(f, "  head {head}:{}", self.size)?;
        }
        match &self.signer {
            Some(Signer::Agent { public, key_id }) => writeln!(f, "  agent's key {public} (key_id {key_id})")?,
            Some(Signer::Global { public, key_id }) => writeln!(f, "  global key {public} (key_id {key_id})")?,
            Some(Signer::Hmac) => writeln!(f, "  global HMAC key  (NOT ATTRIBUTABLE)")?,
            None => {}
        }
        for counts in [&self.agents, &self.kinds] {
            if !counts.is_empty() {
                let counts: Vec<String> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
                writeln!(f, "  {}", counts.join(", "))?;
            }
        }
        for (title, sentences) in [("proved", &self.proved), ("not proved", &self.unproved)] {
            if !sentences.is_empty() {
                writeln!(f, "  {title}:")?;
            }
            for sentence in sentences {
                writeln!(f, "  - {sentence}")?;
            }
        }
        Ok(())
    }
}
