//! The sentences of a report: what the good entries of a chain prove, and what they leave open.

use super::checkpoints::witnesses;
use super::report::{KeySeen, Report, Verdict};
use super::verifier::{Trail, Verifier};
use crate::crypto::hash::Digest;
use crate::id::Aud;
use crate::time::Timestamp;

impl Verifier<'_> {
    pub(super) fn summary(&mut self, verdict: Verdict) -> Report {
        let aud = self.keys.as_ref().map(|keys| Aud::of_identity(&keys.identity().kid()));
        let keys = match &self.trail {
            Some(Trail::Agent(trail)) => trail.keys(),
            Some(Trail::Operators(trail)) => trail.keys(),
            Some(Trail::Vault(_)) | None => Vec::new(),
        };
        let good = !self.leaves.is_empty();
        Report {
            proved: if good { self.proved(&keys) } else { Vec::new() },
            unproved: if good { self.unproved() } else { Vec::new() },
            verdict,
            origin: self.origin.take().map(|(_, text)| text),
            aud,
            pinned: self.pinned(),
            size: self.leaves.len(),
            head: self.leaves.last().unwrap_or(Digest::ZERO),
            from: self.from,
            to: self.to,
            audit_keys: self.keys.take().map(|keys| keys.seen()).unwrap_or_default(),
            keys,
            kinds: std::mem::take(&mut self.kinds),
            checkpoint_count: self.checkpoints.count,
            checkpoints: self.checkpoints.listed(),
        }
    }

    fn pinned(&self) -> bool {
        self.pins.identity.is_some() || self.pins.aud.is_some()
    }

    fn count(&self, kind: &str) -> u64 {
        self.kinds.get(kind).copied().unwrap_or_default()
    }

    fn proved(&self, keys: &[KeySeen]) -> Vec<String> {
        let mut said = Vec::new();
        if let (Some(from), Some(to), Some(audit)) = (self.from, self.to, &self.keys) {
            said.push(format!(
                "the vault {} wrote {} in this order, from {from} to {to}: each is signed by an audit key that its \
                 identity key certified, and names the entry before it",
                Aud::of_identity(&audit.identity().kid()),
                some(self.leaves.len(), "entry", "entries")
            ));
        }
        let holder = match &self.trail {
            Some(Trail::Agent(_)) => "the agent",
            Some(Trail::Operators(trail)) => trail.operator().as_str(),
            _ => return said,
        };
        for key in keys {
            let until = key.until.map_or_else(String::new, |until| format!(" and before {until}"));
            said.push(format!(
                "{holder} signed {} of these with key number {} ({}), good from {}{until}",
                key.signed, key.kver, key.kid, key.since
            ));
        }
        if let Some(Trail::Agent(trail)) = &self.trail {
            said.push(format!(
                "the vault gave {} and refused {}; each was asked for by the agent, once, and what was given lived no \
                 longer than asked and granted",
                some(self.count("issue"), "credential", "credentials"),
                some(trail.refused, "request", "requests")
            ));
            if self.pins.operators.is_some() {
                said.push("each grant, key and revocation by an operator is that operator's signed command".into());
            }
        }
        let (heads, receipts) = (self.pins.heads.len(), self.receipts.iter().filter(|named| named.signed).count());
        let checkpoints = self.pins.checkpoints.len();
        let kept = [
            (heads, "state", "states"),
            (receipts, "signed receipt", "signed receipts"),
            (checkpoints, "signed checkpoint", "signed checkpoints"),
        ];
        let kept: Vec<String> = kept
            .into_iter()
            .filter(|(count, ..)| *count > 0)
            .map(|(count, one, many)| some(count as u64, one, many))
            .collect();
        if !kept.is_empty() {
            let were = if heads + receipts + checkpoints == 1 { "was" } else { "were" };
            said.push(format!("the chain holds {} that {were} kept elsewhere", kept.join(" and ")));
        }
        if let Some(policy) = &self.pins.policy {
            for kept in &self.pins.checkpoints {
                let seen = witnesses(kept, policy).into_iter();
                let seen = seen.map(|(name, at)| format!("{name} at {}", Timestamp(at.saturating_mul(1000))));
                let (size, seen) = (kept.checkpoint().size, seen.collect::<Vec<_>>().join(", "));
                said.push(format!("witnesses saw these first {size} entries, as the policy asks: {seen}"));
            }
        }
        said
    }

    fn unproved(&self) -> Vec<String> {
        let mut said = Vec::new();
        if !self.pinned() {
            said.push(
                "WHOSE VAULT THIS IS: the identity was not pinned but taken from the file itself, so that anybody could \
                 have made the whole of it; give --vault or --identity"
                    .into(),
            );
        }
        if self.pins.heads.is_empty() && self.pins.receipts.is_empty() && self.pins.checkpoints.is_empty() {
            said.push(
                "that nothing follows: a bare file cannot show that its end was cut off, or that the vault went on \
                 otherwise; compare with --checkpoint, --receipt or --head, or set \
                 --max-age"
                    .into(),
            );
        }
        if self.receipts.iter().any(|named| !named.signed) {
            said.push("that the vault signed the receipt: it carries no certificate of the response key".into());
        }
        if self.unended {
            said.push("that the last line was written to its end: its LF is missing".into());
        }
        if let Some(Trail::Agent(trail)) = &self.trail {
            if self.pins.operators.is_none() {
                said.push(
                    "that operators gave the commands named here: give --operators with the file of _operators".into(),
                );
            }
            let idle = trail.without_effect();
            if !idle.is_empty() {
                said.push(format!(
                    "THAT THE VAULT OBEYED the commands in the entries {idle:?} of _operators: they are about this agent, and \
                     nothing here rests on them; unless this file is older than they are, they were passed over"
                ));
            }
            if self.pins.agent_keys.is_empty() {
                said.push(
                    "that the agent's first key is the agent's: an operator registered it; pin the agent's keys with \
                     --agent-key"
                        .into(),
                );
            }
            said.push(
                "who used the agent's keys: a signature shows a holder of the key, and nothing of who holds it".into(),
            );
            if trail.claims.count > 0 {
                let more = trail.claims.count - trail.claims.first.len() as u64;
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                said.push(format!(
                    "what the agent claims in the refused requests of the entries {:?}{more}: that the history was another",
                    trail.claims.first
                ));
            }
            let (left, given_up) = (trail.at_backends(), self.count("forget"));
            if left > 0 {
                said.push(format!(
                    "that {} gone from their backends: the leases are over, and no entry says so yet",
                    some(left as u64, "credential is", "credentials are")
                ));
            }
            if given_up > 0 {
                said.push(format!(
                    "that {} gone from their backends: an operator gave them up",
                    some(given_up, "credential is", "credentials are")
                ));
            }
            let (live, over) = trail.leases(self.to.unwrap_or_default());
            if live > 0 {
                said.push(format!(
                    "what became of {} that no entry here ends; by the last entry {over} of these had run out",
                    some(live as u64, "lease", "leases")
                ));
            }
        }
        said
    }
}

fn some(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
