//! An agent's chain, entry by entry: what each kind may say after all that stands before it.

use std::collections::HashSet;
use std::sync::Arc;

use super::keys::KeyHistory;
use super::lease::{Grants, Leases, Sessions};
use super::operators::{Commands, Effect, names_operators};
use super::report::{Fault, Finding, KeySeen};
use super::requests::{Asked, Place, Requests};
use crate::audit::entry::{self, Body, By, Entry};
use crate::crypto::envelope::Embedded;
use crate::id::{AgentName, Aud, Kid, LeaseId, handle};
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
    /// Commands that had their effect: by kind, since one command may have several effects of different kinds.
    spent: HashSet<(&'static str, u64)>,
    commands: Option<Arc<Commands>>,
    /// Entries whose refused request claims a history that is not this chain's.
    pub(super) claims: Vec<u64>,
    pub(super) refused: u64,
}

impl AgentTrail {
    pub(super) fn begin(
        genesis: &entry::Genesis,
        aud: &Aud,
        ts: Timestamp,
        pinned: &[Kid],
        commands: Option<Arc<Commands>>,
    ) -> Result<AgentTrail, Finding> {
        let agent = genesis.agent.clone();
        let keys = KeyHistory::begin(Holder::Agent(agent.clone()), aud, &genesis.register, ts, pinned)?;
        let mut trail = AgentTrail {
            requests: Requests::new(aud, &agent),
            aud: aud.clone(),
            agent,
            keys,
            grants: Grants::default(),
            sessions: Sessions::default(),
            leases: Leases::default(),
            frozen: false,
            spent: HashSet::new(),
            commands,
            claims: Vec::new(),
            refused: 0,
        };
        trail.caused(&genesis.by, "genesis", &Effect::Registered(&genesis.register))?;
        Ok(trail)
    }

    /// Judges an entry after the genesis; `place` is where its request stands.
    pub(super) fn judge(&mut self, entry: &Entry, place: Place<'_>) -> Result<(), Finding> {
        let ts = entry.ts;
        match &entry.body {
            Body::Session(session) => {
                let asked: Asked<Hello> = self.obeyed(&session.request, place)?;
                self.sessions.open(&asked.common.sid, &asked.body.seal)
            }
            Body::Issue(issue) => self.issue(issue, place),
            Body::Deny(deny) => self.deny(deny, entry.seq, place),
            Body::DenySummary(summary) => {
                self.refused = self.refused.saturating_add(summary.counts.values().sum());
                Ok(())
            }
            Body::Renew(renew) => {
                let asked: Asked<Renew> = self.obeyed(&renew.request, place)?;
                self.sessions.is_open(&asked.common.sid)?;
                if asked.body.lease != renew.lease {
                    return Err(Fault::RequestMembers.found("the agent asked to renew another lease"));
                }
                self.leases.renew(renew, &asked.common.sid, asked.body.ttl, ts, &mut self.grants)
            }
            Body::Release(release) => self.release(release, place),
            Body::Close(close) => {
                let asked: Asked<Close> = self.obeyed(&close.request, place)?;
                self.leases.close(&asked.common.sid);
                self.sessions.end(&asked.common.sid)
            }
            Body::Revoke(revoke) => {
                let lease = self.leases.end(&revoke.lease, Some(&revoke.outcome))?;
                self.by(&revoke.by, &Effect::Revoked(&revoke.lease, &lease.role, &lease.sid))
            }
            Body::Expire(expire) => self.leases.expire(expire, ts, &self.sessions),
            Body::Undelivered(undelivered) => self.leases.end(&undelivered.lease, Some(&undelivered.outcome)).map(drop),
            Body::Undone(undone) if !["revoked", "absent"].contains(&undone.outcome.as_str()) => {
                Err(Fault::Lease.found(format!("{:?} is not how a credential goes from its backend", undone.outcome)))
            }
            Body::Undone(undone) => self.leases.undone(&undone.lease),
            Body::Forget(forget) => {
                self.leases.undone(&forget.lease)?;
                self.caused(&forget.by, "forget", &Effect::Forgotten(&forget.lease))
            }
            Body::SessionEnd(end) => self.session_end(end),
            body => self.ordered(body, entry, place),
        }
    }

    /// What operators cause, and changes of keys.
    fn ordered(&mut self, body: &Body, entry: &Entry, place: Place<'_>) -> Result<(), Finding> {
        let kind = body.kind();
        match body {
            Body::AgentKey(key) => self.successor(key, entry.ts, place),
            Body::AgentKeyEnd(end) => {
                // One command may end several keys; that none ends twice is for the keys to say.
                self.by(&end.by, &Effect::KeyEnded(&end.kid, end.suspect_from))?;
                self.spent.insert((kind, end.by.seq));
                self.keys.end(&end.kid, entry.ts)
            }
            Body::Grant(grant) => {
                self.caused(&grant.by, kind, &Effect::Granted(grant))?;
                self.grants.give(entry.seq, grant);
                Ok(())
            }
            Body::Ungrant(ungrant) => {
                self.caused(&ungrant.by, kind, &Effect::Ungranted(&ungrant.role))?;
                self.grants.take_back(ungrant)
            }
            Body::Freeze(freeze) => {
                self.caused(&freeze.by, kind, &Effect::Frozen)?;
                self.frozen = true;
                Ok(())
            }
            Body::Thaw(thaw) => {
                self.caused(&thaw.by, kind, &Effect::Thawed)?;
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
        self.sessions.open(&common.sid, &asked.body.seal)?;
        self.leases.issue(issue, &asked.body, place.ts, &mut self.grants)
    }

    fn deny(&mut self, deny: &entry::Deny, seq: u64, place: Place<'_>) -> Result<(), Finding> {
        let refused = self.requests.refused(&deny.request, &mut self.keys, place)?;
        self.refused = self.refused.saturating_add(1);
        if deny.lease.is_some() != deny.handle.is_some() {
            return Err(Fault::Lease.found("it names a lease without its public name, or a name without its lease"));
        }
        if let (Some(lease), Some(named)) = (&deny.lease, &deny.handle) {
            self.named_as_it_is(lease, named)?;
            self.leases.abandoned(lease)?;
        }
        if refused.false_history {
            self.claims.push(seq);
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
    fn session_end(&mut self, end: &entry::SessionEnd) -> Result<(), Finding> {
        if let Some(by) = &end.by {
            self.caused(by, "session_end", &Effect::SessionEnded(&end.sid))?;
        }
        if (end.reason == "revoked") != end.by.is_some() {
            return Err(Fault::By
                .found(format!("the session {} ended as {:?}: a command ends it, or time", end.sid, end.reason)));
        }
        self.sessions.end(&end.sid)
    }

    fn release(&mut self, release: &entry::Release, place: Place<'_>) -> Result<(), Finding> {
        let asked: Asked<Release> = self.obeyed(&release.request, place)?;
        self.sessions.is_open(&asked.common.sid)?;
        let named = match asked.body {
            Release::Lease(lease) => lease == release.lease,
            Release::Req(req) => self.leases.made_by(&release.lease, req),
        };
        self.leases.end(&release.lease, None)?;
        if named { Ok(()) } else { Err(Fault::RequestMembers.found("the agent gave back another lease")) }
    }

    fn successor(&mut self, key: &entry::AgentKey, ts: Timestamp, place: Place<'_>) -> Result<(), Finding> {
        if let Some(by) = &key.by {
            self.caused(by, "agent_key", &Effect::Registered(&key.register))?;
        }
        if let Some(request) = &key.request {
            let asked: Asked<RotateKey> = self.obeyed(request, place)?;
            if self.keys.newest().is_none_or(|newest| newest.kver != asked.kver) {
                return Err(Fault::KeyOrder.found("a key that was not the newest named its successor"));
            }
            if asked.body.new != key.register {
                return Err(Fault::RequestMembers.found("the agent named another successor than the one put in place"));
            }
        }
        self.keys.succeed(&key.register, ts, key.grace)
    }

    /// An effect that a command has once.
    fn caused(&mut self, by: &By, kind: &'static str, effect: &Effect<'_>) -> Result<(), Finding> {
        self.by(by, effect)?;
        if self.spent.insert((kind, by.seq)) {
            Ok(())
        } else {
            Err(Fault::By.found(format!("entry {} of _operators, on which it rests, had this effect before", by.seq)))
        }
    }

    fn by(&self, by: &By, effect: &Effect<'_>) -> Result<(), Finding> {
        names_operators(by)?;
        match &self.commands {
            Some(commands) => commands.caused(by, &self.agent, &self.aud, effect),
            None => Ok(()),
        }
    }

    /// Commands on this agent, by their entries in `_operators`, on which nothing here rests.
    pub(super) fn without_effect(&self) -> Vec<u64> {
        let Some(commands) = &self.commands else { return Vec::new() };
        let rests = |seq: &u64| self.spent.iter().any(|(_, spent)| spent == seq);
        commands.about(&self.agent).filter(|seq| !rests(seq)).collect()
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
