//! An agent's chain, entry by entry: what each kind may say after all that stands before it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Pins;
use super::ahead::Guess;
use super::keys::{KeyHistory, Pinned};
use super::lease::{Grants, Leases, Live, Sessions};
use super::operators::{Commands, Effect, names_operators};
use super::report::{Fault, Finding, KeySeen};
use super::requests::{Asked, Place, Requests};
use super::spill::Once;
use crate::audit::entry::{self, Body, By, Entry};
use crate::crypto::envelope::Embedded;
use crate::id::{AgentName, Aud, LeaseId, RoleName, handle};
use crate::statement::issue::Issue;
use crate::statement::lease::{Release, Renew};
use crate::statement::register::Holder;
use crate::statement::reply::Hdr;
use crate::statement::rotate_key::RotateKey;
use crate::statement::session::{Close, Hello};
use crate::time::Timestamp;

/// All that an agent's chain has told so far.
#[derive(Debug)]
pub(super) struct AgentTrail {
    agent: AgentName,
    aud: Aud,
    keys: KeyHistory,
    requests: Requests,
    grants: Grants,
    sessions: Sessions,
    leases: Leases,
    frozen: bool,
    /// The entry of `_operators` by which the chain began, or by which its clock was reset; see [`Commands::forbids`].
    since: Option<u64>,
    /// Commands that had their effect: by their entry and its kind, since one command may have effects of several kinds.
    spent: Once<16>,
    commands: Option<Arc<Commands>>,
    /// Those of the commands that had an effect here.
    obeyed: BTreeSet<u64>,
    /// The commands, by their entries, whose backups the chain was restored from.
    restored: BTreeSet<u64>,
    pub(super) claims: Claims,
    pub(super) refused: u64,
}

/// How many entries a sentence of a report names one by one.
const NAMED: usize = 20;

/// Entries whose refused request claims a history that is not this chain's.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// The first of them.
    pub(super) first: Vec<u64>,
    /// How many there are.
    pub(super) count: u64,
}

impl Claims {
    fn push(&mut self, seq: u64) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(seq);
        }
    }
}

impl AgentTrail {
    pub(super) fn begin(
        genesis: &entry::Genesis,
        aud: &Aud,
        ts: Timestamp,
        pins: &Pins,
        held: usize,
    ) -> Result<AgentTrail, Finding> {
        let holder = Holder::Agent(genesis.agent.clone());
        let keys = KeyHistory::begin(holder, aud, &genesis.register, ts, pinned(pins))?;
        let mut trail = AgentTrail::of(&genesis.agent, aud, keys, pins, held, 0);
        trail.since = Some(genesis.by.seq);
        trail.caused(&genesis.by, "genesis", 0, &Effect::Registered(&genesis.register))?;
        Ok(trail)
    }

    /// A part of the chain that begins with the entry `first`.
    pub(super) fn resume(agent: &AgentName, aud: &Aud, first: u64, pins: &Pins, held: usize) -> AgentTrail {
        let holder = Some(Holder::Agent(agent.clone()));
        let keys = KeyHistory::resume(holder, aud, &pins.holder_keys, pinned(pins));
        AgentTrail::of(agent, aud, keys, pins, held, first)
    }

    fn of(agent: &AgentName, aud: &Aud, keys: KeyHistory, pins: &Pins, held: usize, first: u64) -> AgentTrail {
        AgentTrail {
            requests: Requests::new(aud, agent, held),
            aud: aud.clone(),
            agent: agent.clone(),
            keys,
            grants: Grants::new(first),
            sessions: Sessions::new(first > 0, held),
            leases: Leases::new(first > 0, held),
            frozen: false,
            since: None,
            spent: Once::holding(held),
            commands: pins.operators.clone(),
            obeyed: BTreeSet::new(),
            restored: BTreeSet::new(),
            claims: Claims::default(),
            refused: 0,
        }
    }

    /// Judges an entry after the genesis; `place` is where its request stands.
    pub(super) fn judge(&mut self, entry: &Entry, place: Place<'_>) -> Result<(), Finding> {
        let ts = entry.ts;
        match &entry.body {
            Body::Session(session) => {
                let asked: Asked<Hello> = self.obeyed(&session.request, place)?;
                self.allowed(ts, None)?;
                self.sessions.open(&asked.common.sid, &asked.body.seal, place.seq)
            }
            Body::Issue(issue) => self.issue(issue, place),
            Body::Deny(deny) => self.deny(deny, place),
            Body::DenySummary(summary) => {
                self.refused = self.refused.saturating_add(summary.counts.values().sum());
                Ok(())
            }
            Body::Renew(renew) => {
                let asked: Asked<Renew> = self.obeyed(&renew.request, place)?;
                self.sessions.needs(&asked.common.sid, place.seq)?;
                if asked.body.lease != renew.lease {
                    return Err(Fault::RequestMembers.found("the agent asked to renew another lease"));
                }
                self.allowed(ts, self.leases.role_of(&renew.lease))?;
                self.leases.renew(renew, &asked.common.sid, asked.body.ttl, ts, &mut self.grants)
            }
            Body::Release(release) => self.release(release, place),
            Body::Close(close) => {
                let asked: Asked<Close> = self.obeyed(&close.request, place)?;
                self.leases.close(&asked.common.sid);
                self.sessions.end(&asked.common.sid, place.seq)
            }
            Body::Revoke(revoke) => match self.leases.end(&revoke.lease, Some(&revoke.outcome), place.seq)? {
                Some(lease) => {
                    self.by(&revoke.by, &Effect::Revoked(&revoke.lease, &lease.role, &lease.sid))?;
                    self.no_older_than(&revoke.by, &lease)
                }
                None => names_operators(&revoke.by),
            },
            Body::Expire(expire) => self.leases.expire(expire, place, &self.sessions),
            Body::Undelivered(undelivered) => {
                self.leases.end(&undelivered.lease, Some(&undelivered.outcome), place.seq).map(drop)
            }
            Body::Undone(undone) if !["revoked", "absent"].contains(&undone.outcome.as_str()) => {
                Err(Fault::Lease.found(format!("{:?} is not how a credential goes from its backend", undone.outcome)))
            }
            Body::Undone(undone) => self.leases.undone(&undone.lease, place.seq),
            Body::Forget(forget) => {
                self.leases.undone(&forget.lease, place.seq)?;
                self.caused(&forget.by, "forget", place.seq, &Effect::Forgotten(&forget.lease))
            }
            Body::SessionEnd(end) => self.session_end(end, place.seq),
            body => self.ordered(body, place),
        }
    }

    /// What operators cause, and changes of keys.
    fn ordered(&mut self, body: &Body, place: Place<'_>) -> Result<(), Finding> {
        let (kind, seq) = (body.kind(), place.seq);
        match body {
            Body::AgentKey(key) => self.successor(key, place),
            Body::AgentKeyEnd(end) => {
                // One command may end several keys; that none ends twice is for the keys to say.
                self.by(&end.by, &Effect::KeyEnded(&end.kid, end.suspect_from))?;
                self.obey(&end.by);
                self.keys.end(&end.kid, place.ts, end.suspect_from)
            }
            Body::Grant(grant) => {
                self.caused(&grant.by, kind, seq, &Effect::Granted(grant))?;
                self.grants.give(seq, grant)
            }
            Body::Ungrant(ungrant) => {
                self.caused(&ungrant.by, kind, seq, &Effect::Ungranted(&ungrant.role))?;
                self.grants.take_back(ungrant)
            }
            Body::Freeze(freeze) => {
                self.caused(&freeze.by, kind, seq, &Effect::Frozen)?;
                self.frozen = true;
                Ok(())
            }
            Body::Thaw(thaw) => {
                self.caused(&thaw.by, kind, seq, &Effect::Thawed)?;
                self.frozen = false;
                Ok(())
            }
            _ => Err(Fault::Genesis.found("a chain has one genesis, at its beginning")),
        }
    }

    /// A request because of which something was done.
    fn obeyed<B: crate::statement::Body>(&mut self, request: &Embedded, place: Place<'_>) -> Result<Asked<B>, Finding> {
        let asked = self.requests.obeyed(request, &mut self.keys, place)?;
        if self.frozen {
            Err(Fault::Frozen.found("the agent was frozen, and yet its request was carried out"))
        } else {
            Ok(asked)
        }
    }

    /// Nothing is given while everything is frozen, or the role.
    fn allowed(&self, ts: Timestamp, role: Option<&RoleName>) -> Result<(), Finding> {
        match self.commands.as_ref().and_then(|commands| commands.forbids(self.since, ts, role)) {
            None => Ok(()),
            Some(freeze) => Err(Fault::Frozen.found(format!(
                "it is of {ts}, when by entry {freeze} of _operators nothing of the kind might be given any more"
            ))),
        }
    }

    fn issue(&mut self, issue: &entry::Issue, place: Place<'_>) -> Result<(), Finding> {
        let asked: Asked<Issue> = self.obeyed(&issue.request, place)?;
        let (hdr, common) = (&issue.hdr, &asked.common);
        let differs = [
            ("agent", hdr.agent == common.agent),
            ("kid", hdr.kid == common.kid),
            ("role", hdr.role == asked.body.role),
            ("sid", hdr.sid == common.sid),
            ("vault", hdr.vault == self.aud),
            ("req", hdr.req == asked.req),
        ]
        .into_iter()
        .find(|(_, same)| !same);
        if let Some((member, _)) = differs {
            return Err(
                Fault::Header.found(format!("what was issued has another {member} than what the agent asked for"))
            );
        }
        self.named_as_it_is(&hdr.lease, &issue.handle)?;
        self.leaves_what_its_engine_leaves(hdr)?;
        self.allowed(place.ts, Some(&hdr.role))?;
        self.sessions.open(&common.sid, &asked.body.seal, place.seq)?;
        self.leases.issue(issue, &asked.body, place, &mut self.grants)
    }

    fn deny(&mut self, deny: &entry::Deny, place: Place<'_>) -> Result<(), Finding> {
        let refused = self.requests.refused(&deny.request, &mut self.keys, place, deny.lease.is_some())?;
        self.refused = self.refused.saturating_add(1);
        if deny.lease.is_some() != deny.handle.is_some() {
            return Err(Fault::Lease.found("it names a lease without its public name, or a name without its lease"));
        }
        if let (Some(lease), Some(named)) = (&deny.lease, &deny.handle) {
            self.named_as_it_is(lease, named)?;
            self.leases.abandoned(lease, place.seq)?;
        }
        if refused.false_history {
            self.claims.push(place.seq);
        }
        Ok(())
    }

    /// A credential's public name follows from its agent and its lease, so that nobody can be shown another's.
    fn named_as_it_is(&self, lease: &LeaseId, named: &str) -> Result<(), Finding> {
        if handle(&self.agent, lease) == named {
            Ok(())
        } else {
            Err(Fault::Header.found(format!("{named:?} is not the public name of the lease {lease} of this agent")))
        }
    }

    /// That nothing is to be done when a credential ends is not for the vault to say where it lives at a backend.
    fn leaves_what_its_engine_leaves(&self, hdr: &Hdr) -> Result<(), Finding> {
        match self.commands.as_ref().and_then(|commands| commands.revocation_of(&hdr.role)) {
            Some(left) if left != hdr.revocation => Err(Fault::Header.found(format!(
                "what was issued says of its revocation {:?}, where the engine of {} has {:?}",
                hdr.revocation.as_str(),
                hdr.role,
                left.as_str()
            ))),
            _ => Ok(()),
        }
    }

    /// A session ends with its time, or by an operator's command.
    fn session_end(&mut self, end: &entry::SessionEnd, seq: u64) -> Result<(), Finding> {
        if let Some(by) = &end.by {
            // One command may end several sessions; that none ends twice is for the sessions to say.
            self.by(by, &Effect::SessionEnded(&end.sid))?;
            self.obey(by);
        }
        if (end.reason == "revoked") != end.by.is_some() {
            return Err(Fault::By
                .found(format!("the session {} ended as {:?}: a command ends it, or time", end.sid, end.reason)));
        }
        self.sessions.end(&end.sid, seq)
    }

    fn release(&mut self, release: &entry::Release, place: Place<'_>) -> Result<(), Finding> {
        let asked: Asked<Release> = self.obeyed(&release.request, place)?;
        self.sessions.needs(&asked.common.sid, place.seq)?;
        let named = match asked.body {
            Release::Lease(lease) => lease == release.lease,
            Release::Req(req) => self.leases.made_by(&release.lease, req),
        };
        self.leases.end(&release.lease, None, place.seq)?;
        if named { Ok(()) } else { Err(Fault::RequestMembers.found("the agent gave back another lease")) }
    }

    fn successor(&mut self, key: &entry::AgentKey, place: Place<'_>) -> Result<(), Finding> {
        if let Some(by) = &key.by {
            self.caused(by, "agent_key", place.seq, &Effect::Registered(&key.register))?;
        }
        if let Some(request) = &key.request {
            let asked: Asked<RotateKey> = self.obeyed(request, place)?;
            if !self.keys.is_newest(asked.kver) {
                return Err(Fault::KeyOrder.found("a key that was not the newest named its successor"));
            }
            if asked.body.new != key.register {
                return Err(Fault::RequestMembers.found("the agent named another successor than the one put in place"));
            }
        }
        self.keys.succeed(&key.register, place.ts, key.grace)
    }

    /// An effect, in the entry `seq`, that a command has once.
    fn caused(&mut self, by: &By, kind: &'static str, seq: u64, effect: &Effect<'_>) -> Result<(), Finding> {
        self.by(by, effect)?;
        self.obey(by);
        let mut spent = [0; 16];
        spent[..8].copy_from_slice(&by.seq.to_be_bytes());
        // No two kinds begin with the same eight letters.
        for (byte, letter) in spent[8..].iter_mut().zip(kind.bytes()) {
            *byte = letter;
        }
        if self.spent.insert(spent, seq)? { Ok(()) } else { Err(spent_before(&spent)) }
    }

    fn by(&self, by: &By, effect: &Effect<'_>) -> Result<(), Finding> {
        names_operators(by)?;
        let Some(commands) = &self.commands else { return Ok(()) };
        commands.caused(by, &self.agent, &self.aud, effect)?;
        if commands.is_backup(by.seq) && !self.restored.contains(&by.seq) {
            return Err(Fault::By.found(format!(
                "it rests on the backup of entry {} of _operators, and this chain was not restored from it",
                by.seq
            )));
        }
        Ok(())
    }

    /// A command takes back nothing that was issued after it.
    fn no_older_than(&self, by: &By, lease: &Live) -> Result<(), Finding> {
        let older = |commands: &Arc<Commands>| commands.is_older(by, self.since, lease.issued);
        if lease.before_reset || !self.commands.as_ref().is_some_and(older) {
            return Ok(());
        }
        Err(Fault::By.found(format!(
            "it rests on entry {} of _operators, a command from before the lease, which was issued at {}",
            by.seq, lease.issued
        )))
    }

    fn obey(&mut self, by: &By) {
        if self.commands.is_some() {
            self.obeyed.insert(by.seq);
        }
    }

    /// Commands on this agent, by their entries in `_operators`, on which nothing here rests.
    pub(super) fn without_effect(&self) -> Vec<u64> {
        let Some(commands) = &self.commands else { return Vec::new() };
        commands.about(&self.agent).iter().copied().filter(|seq| !self.obeyed.contains(seq)).collect()
    }

    /// The first entry in which something stands that may stand once and stood before, where only the end could show it.
    pub(super) fn again(&mut self) -> Result<Option<(u64, Finding)>, Finding> {
        let spent = self.spent.again()?.map(|(entry, spent)| (entry, spent_before(&spent)));
        // Of one entry, what was looked at first counts.
        let found = [self.requests.again()?, self.sessions.again()?, self.leases.again()?, spent];
        Ok(found.into_iter().flatten().min_by_key(|(entry, _)| *entry))
    }

    /// The keys that the next requests are likely signed by.
    pub(super) fn guesses(&self) -> impl Iterator<Item = Guess> {
        self.keys.guesses()
    }

    /// The clock was put back to `ts`.
    pub(super) fn clock_reset(&mut self, by: &By, ts: Timestamp) {
        self.since = Some(by.seq);
        self.keys.clock_reset();
        self.leases.clock_reset();
        self.keys.begin_overlaps_anew(ts);
    }

    /// The vault was restored at `ts` from the backup of this command; the entry before is of `before`.
    pub(super) fn restored(&mut self, by: &By, before: Timestamp, ts: Timestamp) {
        self.restored.insert(by.seq);
        self.keys.restored(before, ts);
    }

    /// Whether the clock was ever put back.
    pub(super) fn is_reset(&self) -> bool {
        self.keys.is_reset()
    }

    /// What only the end can tell; `to` is the `ts` of the last entry.
    pub(super) fn conclude(&self, to: Timestamp) -> Result<(), Finding> {
        self.keys.lacks(&self.agent, to)
    }

    /// How many requests are signed by keys that are not known, and how many in view of a history that is not.
    pub(super) fn unchecked(&self) -> (u64, u64) {
        (self.keys.unchecked, self.requests.untold)
    }

    pub(super) fn keys(&self) -> Vec<KeySeen> {
        self.keys.seen()
    }

    pub(super) fn leases(&self, ts: Timestamp) -> (usize, usize) {
        self.leases.census(ts)
    }

    /// How many credentials still live at a backend though their leases ended, and how many of them were given up.
    pub(super) fn at_backends(&self) -> usize {
        self.leases.at_backends()
    }
}

fn spent_before(spent: &[u8; 16]) -> Finding {
    let seq = spent[..8].iter().fold(0_u64, |seq, byte| seq << 8 | u64::from(*byte));
    Fault::By.found(format!("entry {seq} of _operators, on which it rests, had this effect before"))
}

fn pinned(pins: &Pins) -> Pinned {
    let never_reset = pins.operators.as_ref().is_some_and(|commands| commands.never_reset());
    Pinned { only: pins.agent_keys.clone(), directory: pins.directory.clone(), never_reset }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_spent_names_its_entry() {
        let mut spent = [0; 16];
        spent[6..8].copy_from_slice(&[0x01, 0x02]);
        assert!(matches!(spent_before(&spent), Finding::Fault(Fault::By, how) if how.contains("entry 258 of")));
    }
}
