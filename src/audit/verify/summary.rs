//! The sentences of a report: what the good entries of a chain prove, and what they leave open.

use super::agent::AgentTrail;
use super::checkpoints::witnesses;
use super::custody::MadeByCustody;
use super::report::{KeySeen, Report, Verdict};
use super::restores::Claim;
use super::verifier::{Trail, Verifier};
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
            made_by_custody: self.made_by_custody().to_vec(),
            proved: if good { self.proved(&keys) } else { Vec::new() },
            unproved: if good { self.unproved(&keys) } else { Vec::new() },
            verdict,
            origin: self.origin.take().map(|(_, text)| text),
            aud,
            pinned: self.pinned(),
            first: self.leaves.first(),
            size: self.leaves.len(),
            head: self.leaves.last(),
            from: self.from,
            to: self.to,
            audit_keys: self.keys.take().map(|keys| keys.seen()).unwrap_or_default(),
            keys,
            kinds: std::mem::take(&mut self.kinds),
            restores: std::mem::take(&mut self.restores.seen),
            checkpoint_count: self.checkpoints.count,
            checkpoints: self.checkpoints.listed(),
        }
    }

    fn made_by_custody(&self) -> &[MadeByCustody] {
        if let Some(Trail::Operators(trail)) = &self.trail { trail.made_by_custody() } else { &[] }
    }

    fn pinned(&self) -> bool {
        self.pins.identity.is_some() || self.pins.aud.is_some()
    }

    fn is_part(&self) -> bool {
        self.leaves.first() > 0
    }

    fn count(&self, kind: &str) -> u64 {
        self.kinds.get(kind).copied().unwrap_or_default()
    }

    fn proved(&self, keys: &[KeySeen]) -> Vec<String> {
        let mut said = Vec::new();
        if let (Some(from), Some(to), Some(audit)) = (self.from, self.to, &self.keys) {
            let unread = match self.skipped {
                0 => String::new(),
                skipped => {
                    format!(", but for {} of another version that a later one names", some(skipped, "entry", "entries"))
                }
            };
            said.push(format!(
                "the vault {} wrote {} in this order, from {from} to {to}: each is signed by an audit key that its \
                 identity key certified, and names the entry before it{unread}",
                Aud::of_identity(&audit.identity().kid()),
                some(self.leaves.len() - self.leaves.first(), "entry", "entries")
            ));
        }
        if let Some(newest) = self.restores.seen.last() {
            said.push(format!(
                "the vault says itself that it was restored from a backup, {} as this chain tells: each restore has an entry, \
                 a new audit key and a new number behind the origin, and the history before it was left as it was; the last \
                 is entry {}, of {}, number {}",
                some(self.restores.count, "time", "times"),
                newest.entry,
                newest.ts,
                newest.number
            ));
        }
        if let Some(newest) = self.checkpoints.newest.last() {
            said.push(format!(
                "it vouched {} for all that stood before, the last time at {} for {}, with the checkpoint key {}: nobody \
                 who kept such a note can be shown another history",
                some(self.checkpoints.count, "time", "times"),
                newest.ts,
                some(newest.size, "entry", "entries"),
                newest.kid
            ));
        }
        match &self.trail {
            Some(Trail::Agent(trail)) => {
                said.extend(keys.iter().filter_map(|key| signed("the agent", key)));
                self.given(trail, &mut said);
            }
            Some(Trail::Operators(trail)) => {
                let made = trail.made_by_custody().iter();
                said.extend(made.map(|made| format!("BY CUSTODY, AND BY NO OPERATOR'S COMMAND: {made}")));
                for (operator, keys) in trail.keys_by_operator() {
                    said.extend(keys.iter().filter_map(|key| signed(&operator, key)));
                }
            }
            Some(Trail::Vault(trail)) => {
                said.push(format!(
                    "{} began in an order that can be, {} of them after one that did not end in order",
                    some(trail.starts, "daemon", "daemons"),
                    trail.broken
                ));
                if trail.is_frozen() {
                    said.push("everything is frozen at the end of the file".into());
                }
            }
            None => {}
        }
        self.kept(&mut said);
        said
    }

    fn given(&self, trail: &AgentTrail, said: &mut Vec<String>) {
        let (gave, refused) =
            (some(self.count("issue"), "credential", "credentials"), some(trail.refused, "request", "requests"));
        if self.is_part() {
            said.push(format!("the vault gave {gave} and refused {refused}; none of these requests stands here twice"));
        } else {
            said.push(format!(
                "the vault gave {gave} and refused {refused}; each was asked for by the agent, once, and what was given \
                 lived no longer than asked and granted"
            ));
        }
        if self.pins.operators.is_some() {
            let of_before = if self.is_part() { ", where the lease was issued here," } else { "" };
            said.push(format!(
                "each grant, key and revocation{of_before} by an operator is that operator's signed command"
            ));
        }
        if let Some(directory) = self.pins.directory.as_ref().filter(|_| self.concluded && !trail.is_reset()) {
            let whose =
                if self.is_part() { "the keys of the agent that are registered here" } else { "the agent's keys" };
            let are = if directory.names && !self.is_part() { "are" } else { "are among" };
            said.push(format!(
                "{whose}, as far as they are of before it, {are} those that the vault showed in its key directory of {}",
                directory.iat
            ));
        }
    }

    /// Keys of which the directory says nothing.
    fn unlisted(&self, trail: &AgentTrail, keys: &[KeySeen], said: &mut Vec<String>) {
        let Some(directory) = &self.pins.directory else { return };
        let iat = directory.iat;
        if trail.is_reset() {
            said.push(format!(
                "that the agent's keys are those of the key directory of {iat}: the clock was put back, so that times do not \
                 tell which it had to list"
            ));
        }
        let lacks = |key: &&KeySeen| key.since.is_some() && directory.key(&key.kid).is_none();
        let later = keys.iter().filter(lacks).count() as u64;
        if later > 0 && !trail.is_reset() {
            said.push(format!(
                "that the vault showed anybody {}: registered after the key directory of {iat} was made",
                some(later, "key of the agent", "keys of the agent")
            ));
        }
        if self.is_part() && !directory.names {
            said.push(
                "whose the keys of the key directory are: it has no names, so that no request was held against them"
                    .into(),
            );
        }
    }

    /// What was held against the chain from elsewhere.
    fn kept(&self, said: &mut Vec<String>) {
        // Before a fault, or where the file breaks off, not all of it was compared.
        if !self.compared {
            return;
        }
        let signed = |at: usize| self.receipts.get(at).is_some_and(|named| named.signed);
        let lost = |sort: fn(&Claim) -> bool| self.lost.count(sort);
        let lost_receipts = self.lost.count(|claim| matches!(claim, Claim::Receipt(at) if signed(*at)));
        let kept = [
            (self.pins.heads.len() - lost(|claim| matches!(claim, Claim::Head(_))), "state", "states"),
            (
                (0..self.receipts.len()).filter(|at| signed(*at)).count() - lost_receipts,
                "signed receipt",
                "signed receipts",
            ),
            (
                self.pins.checkpoints.len() - lost(|claim| matches!(claim, Claim::Checkpoint(_))),
                "signed checkpoint",
                "signed checkpoints",
            ),
        ];
        let were = if kept.iter().map(|(count, ..)| count).sum::<usize>() == 1 { "was" } else { "were" };
        let kept: Vec<String> = kept
            .into_iter()
            .filter(|(count, ..)| *count > 0)
            .map(|(count, one, many)| some(count as u64, one, many))
            .collect();
        if !kept.is_empty() {
            said.push(format!("the chain holds {} that {were} kept elsewhere", kept.join(" and ")));
        }
        let Some(policy) = &self.pins.policy else { return };
        let held = |at: &usize| !self.lost.has(Claim::Checkpoint(*at));
        for kept in (0..self.pins.checkpoints.len()).filter(held).map(|at| &self.pins.checkpoints[at]) {
            let size = some(kept.checkpoint().size, "entry", "entries");
            let seen = witnesses(kept, policy).into_iter();
            let seen = seen.map(|(name, at)| format!("{name} at {}", Timestamp(at.saturating_mul(1000))));
            let seen = seen.collect::<Vec<_>>().join(", ");
            said.push(if seen.is_empty() {
                format!("the policy asks no witness about the checkpoint of {size}")
            } else {
                format!("witnesses saw the checkpoint of {size}, as many as the policy asks for: {seen}")
            });
        }
    }

    /// How many entries of the chain somebody held who is not the vault.
    fn reach(&self) -> Option<u64> {
        if !self.compared {
            return None;
        }
        let heads = self.pins.heads.iter().enumerate().map(|(at, seen)| (Claim::Head(at), seen.size));
        let receipts = self.receipts.iter().enumerate();
        let receipts = receipts.map(|(at, named)| (Claim::Receipt(at), named.entry.seq.saturating_add(1)));
        let kept = self.pins.checkpoints.iter().enumerate();
        let kept = kept.map(|(at, kept)| (Claim::Checkpoint(at), kept.checkpoint().size));
        let held = heads.chain(receipts).chain(kept).filter(|(claim, _)| !self.lost.has(*claim));
        held.map(|(_, size)| size).max()
    }

    fn unproved(&self, keys: &[KeySeen]) -> Vec<String> {
        let mut said = Vec::new();
        if !self.pinned() {
            said.push(
                "WHOSE VAULT THIS IS: the identity was not pinned but taken from the file itself, so that anybody could \
                 have made the whole of it; give --vault or --identity"
                    .into(),
            );
        }
        match self.reach() {
            None => said.push(
                "that nothing follows: a bare file cannot show that its end was cut off, or that the vault went on \
                 otherwise; compare with --checkpoint, --receipt or --head, or set --max-age"
                    .into(),
            ),
            Some(reach) => said.push(format!(
                "what followed the last entry, and that the vault shows everybody the same behind the first {}: nothing \
                 that was kept reaches further",
                some(reach, "entry", "entries")
            )),
        }
        if let Some(from) = self.restores.from() {
            said.push(format!(
                "WHAT THE VAULT WROTE BETWEEN A BACKUP AND ITS RESTORE, in entries from number {from} on: it may have given \
                 credentials, taken grants back and ended keys of which this chain knows nothing; a copy of the lost chain, \
                 receipts and checkpoints of it still prove what they prove"
            ));
        }
        if self.is_part() {
            said.push(format!(
                "anything of the {} before: which grants, sessions and leases stood there is not known, so that what \
                 rests on them was not held against them; the whole chain tells",
                some(self.leaves.first(), "entry", "entries")
            ));
        }
        if self.receipts.iter().any(|named| !named.signed) {
            said.push("that the vault signed the receipt: it carries no certificate of the response key".into());
        }
        if self.unended {
            said.push("that the last line was written to its end: its LF is missing".into());
        }
        match &self.trail {
            Some(Trail::Agent(trail)) => {
                self.unproved_of(trail, keys, &mut said);
                said.extend(keys.iter().filter_map(doubted));
            }
            Some(Trail::Operators(trail)) => {
                if trail.unchecked() > 0 {
                    said.push(unknown_keys(trail.unchecked()));
                }
                let made = trail.made_by_custody().iter();
                said.extend(made.map(|made| {
                    format!(
                        "WHO MADE {} AN OPERATOR in entry {}: custodians sign nothing, so that their part in it is the \
                         vault's word; ask them, and pin the new key once they have said so",
                        made.operator, made.entry
                    )
                }));
            }
            Some(Trail::Vault(trail)) => said.extend(self.idle(&trail.without_effect(), "everything")),
            _ => {}
        }
        said
    }

    /// Commands about something on which nothing rests.
    fn idle(&self, idle: &[u64], about: &str) -> Option<String> {
        (!idle.is_empty() && !self.is_part()).then(|| {
            format!(
                "THAT THE VAULT OBEYED the commands in the entries {idle:?} of _operators: they are about {about}, and \
                 nothing here rests on them; unless this file is older than they are, they were passed over"
            )
        })
    }

    fn unproved_of(&self, trail: &AgentTrail, keys: &[KeySeen], said: &mut Vec<String>) {
        let (unchecked, untold) = trail.unchecked();
        if unchecked > 0 {
            said.push(unknown_keys(unchecked));
        }
        if untold > 0 {
            said.push(format!(
                "that the history is the one that the agent saw when it signed {}: what it saw is of before the file",
                some(untold, "request", "requests")
            ));
        }
        self.unlisted(trail, keys, said);
        if self.pins.operators.is_none() {
            said.push(
                "that operators gave the commands named here: give --operators with the file of _operators".into(),
            );
        }
        said.extend(self.idle(&trail.without_effect(), "this agent"));
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
}

/// What a key signed; nothing of one that was given and not used.
fn signed(holder: &str, key: &KeySeen) -> Option<String> {
    let KeySeen { since, until, signed, .. } = key;
    if since.is_none() && *signed == 0 {
        return None;
    }
    let number = number(key);
    let good = match (since, until) {
        (Some(since), Some(until)) => format!("good from {since} and before {until}"),
        (Some(since), None) => format!("good from {since}"),
        (None, Some(until)) => format!("which the reader gave, good before {until}"),
        (None, None) => "which the reader gave".to_owned(),
    };
    Some(format!("{holder} signed {signed} of these with {number}, {good}"))
}

fn number(key: &KeySeen) -> String {
    let KeySeen { kid, kver, .. } = key;
    kver.map_or_else(|| format!("the key {kid}"), |kver| format!("key number {kver} ({kid})"))
}

/// What an operator said of a key when ending it.
fn doubted(key: &KeySeen) -> Option<String> {
    let (from, until) = (key.suspect_from?, key.until?);
    let number = number(key);
    Some(format!(
        "THAT THE AGENT ASKED for what {number} signed from {from} to {until}: the operator who ended it said that it may \
         have been in wrong hands since then"
    ))
}

fn unknown_keys(count: u64) -> String {
    format!(
        "WHO SIGNED {}: their keys were registered before the file begins; give the public keys with --agent-key, or \
         --directory",
        some(count, "request", "requests").to_uppercase()
    )
}

fn some(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
