//! The other half of the model: what operators command, and what comes due by itself.

use nockvault::denial::Reason;
use nockvault::lease::State;

use super::model::IDLE;
use super::model::{
    Command, Effect, Grant, Judged, Lease, Model, OPERATOR, OPERATORS, OVERLAP, SKEW, Scope, Session, Time, VAULT,
};

const EPOCH: Time = 86_400_000;

impl Model {
    // --- commands

    pub fn command(&mut self, given: &Command) -> Judged<()> {
        self.turn();
        self.window(given.iat)?;
        let nonce = (OPERATOR, 0, given.number);
        if self.spent.contains_key(&nonce) {
            return Err(Reason::Replay);
        }
        self.spent.insert(nonce, given.iat);
        let done = self.attempt(|model| model.effect(given));
        if done.is_err() {
            self.say_command(given.what);
            self.commit();
        }
        done
    }

    /// A command stands in `_operators` before its effects; one that freezes is no earlier than any entry.
    fn say_command(&mut self, what: Effect) {
        let latest =
            matches!(what, Effect::FreezeVault | Effect::ThawVault | Effect::FreezeRole(_) | Effect::ThawRole(_));
        self.say_at(OPERATORS, "command", if latest { self.newest } else { 0 });
    }

    fn effect(&mut self, given: &Command) -> Judged<()> {
        let before = self.now.max(self.newest);
        self.possible(given.what)?;
        self.say_command(given.what);
        match given.what {
            Effect::Grant { agent, role, terms, until } => {
                self.say(agent, "grant");
                self.agents[agent].grants.insert(role, Grant { id: given.number, terms, until, count: 0 });
            }
            Effect::Ungrant { agent, role } => {
                self.say(agent, "ungrant");
                let id = self.agents[agent].grants.remove(&role).map_or(0, |grant| grant.id);
                self.revoke(|_, lease| lease.agent == agent && lease.grant == id);
            }
            Effect::FreezeAgent(agent) => {
                self.say(agent, "freeze");
                self.agents[agent].frozen = true;
                self.reach(Scope::Agent(agent), before);
            }
            Effect::ThawAgent(agent) => {
                self.say(agent, "thaw");
                self.agents[agent].frozen = false;
            }
            Effect::FreezeRole(role) => {
                self.roles_frozen[role] = true;
                self.reach(Scope::Role(role), before);
            }
            Effect::ThawRole(role) => self.roles_frozen[role] = false,
            Effect::FreezeVault => {
                self.say(VAULT, "freeze");
                self.frozen = true;
                self.reach(Scope::All, before);
            }
            Effect::ThawVault => {
                self.say(VAULT, "thaw");
                self.frozen = false;
            }
            Effect::Revoke(scope) => {
                if let Scope::Session(agent, sid) = scope
                    && !self.session(agent, sid).ended
                {
                    self.say(agent, "session_end");
                    self.session(agent, sid).ended = true;
                }
                self.reach(scope, before);
            }
            Effect::EndKey { agent, key } => self.end_keys(agent, key),
            Effect::NextKey { agent, .. } => self.next_key(agent, given.number, Some(self.at(agent) + OVERLAP)),
            Effect::Forget(number) => {
                self.lease(number).owed = false;
                self.forgotten.insert(number);
                self.say(self.leases[&number].agent, "forget");
            }
        }
        Ok(())
    }

    /// Whether there is something for the command to do.
    fn possible(&self, what: Effect) -> Judged<()> {
        let lease = |number: u64| self.leases.get(&number);
        let no = match what {
            Effect::Grant { until: Some(until), .. } if until <= self.now => Reason::BadTerms,
            Effect::Grant { agent, role, .. } if self.agents[agent].grants.contains_key(&role) => Reason::AlreadyExists,
            Effect::Ungrant { agent, role } if !self.agents[agent].grants.contains_key(&role) => Reason::NotFound,
            Effect::ThawAgent(agent) if !self.agents[agent].frozen => Reason::NotFound,
            Effect::ThawRole(role) if !self.roles_frozen[role] => Reason::NotFound,
            Effect::ThawVault if !self.frozen => Reason::NotFound,
            Effect::Revoke(Scope::Lease(number)) if lease(number).is_none() => Reason::NotFound,
            Effect::Revoke(Scope::Lease(number)) if lease(number).is_some_and(|lease| lease.state.ended()) => {
                Reason::LeaseEnded
            }
            Effect::Revoke(Scope::Session(agent, sid)) if !self.agents[agent].sessions.contains_key(&sid) => {
                Reason::NotFound
            }
            Effect::NextKey { agent, follows } if follows + 1 != self.agents[agent].keys.len() => Reason::BadSuccessor,
            Effect::EndKey { agent, key } if self.keys_to_end(agent, key).is_empty() => Reason::NotFound,
            Effect::Forget(number) if !lease(number).is_some_and(|lease| lease.owed) => Reason::NothingToUndo,
            _ => return Ok(()),
        };
        Err(no)
    }

    fn keys_to_end(&self, agent: usize, key: Option<usize>) -> Vec<usize> {
        let keys = self.agents[agent].keys.iter().enumerate();
        keys.filter(|(index, held)| !held.ended && key.is_none_or(|key| key == *index))
            .map(|(index, _)| index)
            .collect()
    }

    fn end_keys(&mut self, agent: usize, key: Option<usize>) {
        for index in self.keys_to_end(agent, key) {
            self.say(agent, "agent_key_end");
            self.agents[agent].keys[index].ended = true;
        }
        if key.is_none() {
            self.revoke(|_, lease| lease.agent == agent);
        }
    }

    fn revoke(&mut self, which: impl Fn(u64, &Lease) -> bool) {
        for number in self.live(which) {
            self.end(number, State::Revoked);
            self.say(self.leases[&number].agent, "revoke");
        }
    }

    /// Carries out a revocation: also of intents that are dated later than now, since they are there.
    fn reach(&mut self, scope: Scope, before: Time) {
        self.take_back(scope, before);
        let later = |(number, lease): &(&u64, &Lease)| {
            lease.state == State::Intended && lease.issued > before && scope.covers(**number, lease)
        };
        let later = self.leases.iter().filter(later).map(|(number, lease)| (Scope::Lease(*number), lease.issued));
        self.takebacks.extend(later.collect::<Vec<_>>());
    }

    /// Takes back what a scope has; an intent of it is taken back once it is a lease.
    fn take_back(&mut self, scope: Scope, before: Time) {
        self.revoke(|number, lease| scope.covers(number, lease) && lease.issued <= before);
        if self.under_way(scope, before) {
            self.takebacks.push((scope, before));
        }
    }

    fn under_way(&self, scope: Scope, before: Time) -> bool {
        let intended = |lease: &Lease| lease.state == State::Intended && lease.issued <= before;
        self.leases.iter().any(|(number, lease)| intended(lease) && scope.covers(*number, lease))
    }

    // --- what comes due

    /// A new audit key each day.
    pub fn turn(&mut self) {
        if self.turns() {
            self.nbf = self.now;
            self.say(VAULT, "epoch");
            self.commit();
        }
    }

    /// Whether the next request turns the audit key.
    pub fn turns(&self) -> bool {
        self.now >= self.nbf + EPOCH
    }

    pub fn tend(&mut self) {
        self.turn();
        let now = self.now;
        for number in self.live(|_, lease| lease.expires <= now) {
            self.expire(number);
        }
        for (agent, sid) in self.sessions_due() {
            self.say(agent, "session_end");
            self.session(agent, sid).ended = true;
            for number in self.live(|_, lease| (lease.agent, lease.sid) == (agent, sid)) {
                self.expire(number);
            }
        }
        let broken = |(_, lease): &(&u64, &Lease)| lease.state == State::Intended && lease.until <= now;
        let broken: Vec<u64> = self.leases.iter().filter(broken).map(|(number, _)| *number).collect();
        broken.into_iter().for_each(|number| self.abandon(number));
        for (scope, before) in std::mem::take(&mut self.takebacks) {
            self.take_back(scope, before);
        }
        let full: Vec<(u64, usize)> =
            self.denials.keys().filter(|(minute, _)| *minute < now / 60_000).copied().collect();
        for minute in full {
            if self.denials.remove(&minute).is_some_and(|(_, counted)| counted > 0) {
                self.say(minute.1, "deny_summary");
            }
        }
        let old: Vec<Time> = self.spent.values().filter(|iat| **iat < now.saturating_sub(SKEW)).copied().collect();
        self.floor = old.into_iter().fold(self.floor, Time::max);
        self.spent.retain(|_, iat| *iat >= now.saturating_sub(SKEW));
        self.commit();
    }

    fn expire(&mut self, number: u64) {
        self.end(number, State::Expired);
        self.say(self.leases[&number].agent, "expire");
    }

    fn sessions_due(&self) -> Vec<(usize, u64)> {
        let mut due = Vec::new();
        for (agent, facts) in self.agents.iter().enumerate() {
            let over = |session: &Session| !session.ended && session.ends.min(session.used + IDLE) <= self.now;
            due.extend(facts.sessions.iter().filter(|(_, session)| over(session)).map(|(sid, _)| (agent, *sid)));
        }
        due
    }

    /// The process is gone, and another begins: what was about to be made comes to nothing.
    pub fn start(&mut self) {
        self.nbf = self.now;
        self.say(VAULT, "start");
        let all: Vec<u64> = self.leases.keys().copied().collect();
        all.into_iter().for_each(|number| self.abandon(number));
        self.steps.clear();
    }
}
