//! What the vault should be: for each agent, key, grant, nonce, session, lease and freeze, at each moment of the clock.
//! Written from the protocol (FORMATS) and not from the vault's own code, and without any of the ways in which a vault
//! can lose something: no rows, no commits, no backends.
//!
//! Each method is one request, command or thing that comes due. What a real vault does in several commits leaves its
//! [`Model::steps`]: each of them is a state that a crash may leave.

use std::collections::{BTreeMap, BTreeSet};

use nockvault::denial::{Fault, Reason};
use nockvault::lease::State;

use super::ops::{AGENTS, ROLES, Terms};

/// Milliseconds since the epoch, as the vault counts.
pub type Time = u64;

pub const SKEW: Time = 300_000;
pub const IDLE: Time = 3_600_000;
pub const LONGEST: Time = 7_200_000;
pub const OVERLAP: Time = 600_000;
pub const SESSIONS: usize = 3;
pub const LEASES: usize = 5;
pub const DENIALS: u64 = 4;
/// For how long a lease that is over still answers for its credential in a sweep.
pub const LATE: Time = 300_000;

/// The chains: one for each agent, then these.
pub const OPERATORS: usize = AGENTS;
pub const VAULT: usize = AGENTS + 1;
pub const CHAINS: usize = AGENTS + 2;

/// The chains whose entries the model tells.
pub const AGENTS_AND_OPERATORS: usize = AGENTS + 1;

/// Who signs: an agent by its number, or the operator.
pub const OPERATOR: usize = AGENTS;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The statement that brought it; 0 for the first.
    pub from: u64,
    pub grace: Option<Time>,
    pub ended: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub id: u64,
    pub terms: Terms,
    pub until: Option<Time>,
    pub count: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub seal: u64,
    pub used: Time,
    pub ends: Time,
    pub ended: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    pub frozen: bool,
    pub keys: Vec<Key>,
    pub grants: BTreeMap<usize, Grant>,
    pub sessions: BTreeMap<u64, Session>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub agent: usize,
    pub sid: u64,
    pub role: usize,
    pub grant: u64,
    pub issued: Time,
    pub expires: Time,
    pub latest: Time,
    pub state: State,
    /// Whether its backend is still to take it away.
    pub owed: bool,
    /// Of an intent: when it is taken to be broken off.
    pub until: Time,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    pub ts: Time,
    /// The kinds of its entries since the run began.
    pub said: Vec<&'static str>,
}

/// What an agent signed. A lease goes by the number of the request that asked for it.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub number: u64,
    pub agent: usize,
    /// Which of the agent's keys; none for one that nobody registered.
    pub key: Option<usize>,
    pub nonce: u64,
    pub iat: Time,
    pub genuine: bool,
    pub home: bool,
    pub seen: bool,
    pub near: bool,
    pub sid: u64,
    pub what: What,
}

#[derive(Clone, Copy, Debug)]
pub enum What {
    Hello { seal: u64 },
    Issue { seal: u64, role: usize, ttl: u64 },
    Renew { lease: u64, ttl: u64 },
    Release { lease: u64 },
    Close,
    Rotate,
}

/// What an operator signed.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    pub number: u64,
    pub iat: Time,
    pub what: Effect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Grant {
        agent: usize,
        role: usize,
        terms: Terms,
        until: Option<Time>,
    },
    Ungrant {
        agent: usize,
        role: usize,
    },
    FreezeAgent(usize),
    ThawAgent(usize),
    FreezeRole(usize),
    ThawRole(usize),
    FreezeVault,
    ThawVault,
    Revoke(Scope),
    /// One key, or all.
    EndKey {
        agent: usize,
        key: Option<usize>,
    },
    /// The key after this one of the agent's.
    NextKey {
        agent: usize,
        follows: usize,
    },
    Forget(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Lease(u64),
    Agent(usize),
    Session(usize, u64),
    Role(usize),
    All,
}

impl Scope {
    pub fn covers(self, number: u64, lease: &Lease) -> bool {
        match self {
            Scope::Lease(one) => one == number,
            Scope::Agent(agent) => agent == lease.agent,
            Scope::Session(agent, sid) => (agent, sid) == (lease.agent, lease.sid),
            Scope::Role(role) => role == lease.role,
            Scope::All => true,
        }
    }
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Come {
    /// It is done.
    Done,
    /// Its credential is being made at a backend.
    Making,
}

pub type Judged<T> = Result<T, Reason>;

#[derive(Clone, Debug)]
pub struct Model {
    pub now: Time,
    /// Since when the audit key signs.
    pub nbf: Time,
    pub floor: Time,
    pub newest: Time,
    pub frozen: bool,
    pub roles_frozen: [bool; ROLES.len()],
    pub agents: Vec<Agent>,
    /// Holder, key and nonce of what was accepted, and when it was signed.
    pub spent: BTreeMap<(usize, usize, u64), Time>,
    pub leases: BTreeMap<u64, Lease>,
    pub takebacks: Vec<(Scope, Time)>,
    /// Denials by minute and agent: those with an entry, and those that were counted.
    pub denials: BTreeMap<(u64, usize), (u64, u64)>,
    pub chains: Vec<Chain>,
    intent_life: Time,
    /// Leases whose credential an operator let go.
    pub forgotten: BTreeSet<u64>,
    /// The states that a crash may have left during the last step, oldest first.
    pub steps: Vec<Model>,
}

/// Whether a denial stands in the agent's chain: what the asker or an operator can mend does, a replay and what lies
/// outside of the window do not, nor what is the vault's own fault but for its backends'.
fn chained(no: Reason) -> bool {
    match no {
        Reason::EngineUnavailable | Reason::EngineRefused => true,
        Reason::Replay | Reason::ClockSkew | Reason::Stale => false,
        no => no.fault() != Fault::Vault,
    }
}

impl Model {
    /// Founded at `now`, with agents who have one key and no grants.
    pub fn founded(now: Time, intent_life: Time) -> Model {
        let key = Key { from: 0, grace: None, ended: false };
        let agent = Agent { frozen: false, keys: vec![key], grants: BTreeMap::new(), sessions: BTreeMap::new() };
        Model {
            now,
            nbf: now,
            floor: 0,
            newest: now,
            frozen: false,
            roles_frozen: [false; ROLES.len()],
            agents: vec![agent; AGENTS],
            spent: BTreeMap::new(),
            leases: BTreeMap::new(),
            takebacks: Vec::new(),
            denials: BTreeMap::new(),
            chains: vec![Chain { ts: now, said: Vec::new() }; CHAINS],
            intent_life,
            forgotten: BTreeSet::new(),
            steps: Vec::new(),
        }
    }

    // --- entries

    /// The instant of the next entry of a chain, at which everything about it is judged.
    pub fn at(&self, chain: usize) -> Time {
        self.now.max(self.chains[chain].ts).max(self.nbf)
    }

    pub fn say(&mut self, chain: usize, kind: &'static str) {
        self.say_at(chain, kind, 0);
    }

    pub fn say_at(&mut self, chain: usize, kind: &'static str, earliest: Time) {
        let at = self.at(chain).max(earliest);
        self.chains[chain].ts = at;
        self.chains[chain].said.push(kind);
        self.newest = self.newest.max(at);
    }

    /// What was done is durable now.
    pub fn commit(&mut self) {
        let steps = std::mem::take(&mut self.steps);
        let now = self.clone();
        self.steps = steps;
        self.steps.push(now);
    }

    /// All or nothing.
    pub fn attempt<T>(&mut self, run: impl FnOnce(&mut Model) -> Judged<T>) -> Judged<T> {
        let mut next = self.clone();
        let done = run(&mut next)?;
        *self = next;
        self.commit();
        Ok(done)
    }

    // --- requests

    /// A request, as far as the vault comes without a backend. `renews` is what the backend says where it is asked to
    /// prolong.
    pub fn request(&mut self, asked: &Request, renews: Judged<()>) -> Judged<Come> {
        self.turn();
        self.admit(asked, self.now)?;
        let come = self.plan(asked, renews).and_then(|()| self.attempt(|model| model.carry_out(asked)));
        come.map_err(|no| self.deny(asked, no))
    }

    /// Who speaks: key, window, nonce. What is refused here leaves nothing.
    fn admit(&self, asked: &Request, at: Time) -> Judged<()> {
        let key = asked.key.and_then(|key| self.agents[asked.agent].keys.get(key));
        let key = key.filter(|_| asked.genuine).ok_or(Reason::Unauthenticated)?;
        if !asked.home {
            return Err(Reason::WrongVault);
        }
        if key.ended || key.grace.is_some_and(|grace| grace <= at) {
            return Err(Reason::KeyRetired);
        }
        self.window(asked.iat)?;
        if self.spent.contains_key(&nonce_of(asked)) { Err(Reason::Replay) } else { Ok(()) }
    }

    pub fn window(&self, iat: Time) -> Judged<()> {
        if iat.abs_diff(self.now) > SKEW {
            return Err(Reason::ClockSkew);
        }
        if iat <= self.floor { Err(Reason::Stale) } else { Ok(()) }
    }

    /// What is judged before anything is made.
    fn plan(&self, asked: &Request, renews: Judged<()>) -> Judged<()> {
        self.alive(asked.agent)?;
        if !matches!(asked.what, What::Rotate) {
            self.bind(asked, self.now)?;
        }
        if !asked.seen {
            return Err(Reason::HistoryMismatch);
        }
        match asked.what {
            What::Issue { .. } => self.permit(asked, self.now, true).map(drop),
            What::Renew { lease, ttl } => {
                let own = |lease: &&Lease| lease.agent == asked.agent && lease.sid == asked.sid && lease.role > 0;
                let Some(lease) = self.leases.get(&lease).filter(own) else { return Ok(()) };
                self.prolong(lease, ttl, asked.near, self.now)?;
                renews
            }
            What::Rotate => self.newest_key(asked),
            _ => Ok(()),
        }
    }

    pub fn alive(&self, agent: usize) -> Judged<()> {
        match () {
            () if self.frozen => Err(Reason::VaultFrozen),
            () if self.agents[agent].frozen => Err(Reason::AgentFrozen),
            () => Ok(()),
        }
    }

    fn bind(&self, asked: &Request, at: Time) -> Judged<()> {
        let seal = match asked.what {
            What::Hello { seal } | What::Issue { seal, .. } => Some(seal),
            _ => None,
        };
        match (self.agents[asked.agent].sessions.get(&asked.sid), seal) {
            (None, None) => Err(Reason::SessionUnknown),
            (None, Some(_)) => Ok(()),
            (Some(session), _) if session.ended || at >= session.ends || at >= session.used + IDLE => {
                Err(Reason::SessionEnded)
            }
            (Some(session), Some(seal)) if seal != session.seal => Err(Reason::SealMismatch),
            _ => Ok(()),
        }
    }

    /// When the credential would end, when at the latest, and under which grant.
    fn permit(&self, asked: &Request, issued: Time, counted: bool) -> Judged<(Time, Time, u64)> {
        let What::Issue { role, ttl, .. } = asked.what else { return Err(Reason::Internal) };
        let agent = &self.agents[asked.agent];
        let ends = agent.sessions.get(&asked.sid).map_or(issued + LONGEST, |session| session.ends);
        let grant = agent.grants.get(&role).ok_or(Reason::NoGrant)?;
        let seconds = |until: Time| until.saturating_sub(issued) / 1000;
        if self.roles_frozen[role] {
            return Err(Reason::RoleFrozen);
        }
        if grant.until.is_some_and(|until| until <= issued) {
            return Err(Reason::GrantExpired);
        }
        if grant.terms.narrow && !asked.near {
            return Err(Reason::AddressNotGranted);
        }
        if ttl > grant.until.map_or(grant.terms.max_ttl, |until| grant.terms.max_ttl.min(seconds(until))) {
            return Err(Reason::TtlExceedsGrant);
        }
        if ttl > seconds(ends) {
            return Err(Reason::TtlExceedsSession);
        }
        if counted && grant.terms.max_uses.is_some_and(|most| grant.count >= most) {
            return Err(Reason::GrantExhausted);
        }
        let latest = (issued + grant.terms.max_ttl * 1000).min(ends).min(grant.until.unwrap_or(Time::MAX));
        let expires = if ttl == 0 { (issued + grant.terms.ttl * 1000).min(latest) } else { issued + ttl * 1000 };
        Ok((expires, latest, grant.id))
    }

    fn prolong(&self, lease: &Lease, ttl: u64, near: bool, at: Time) -> Judged<Time> {
        if self.roles_frozen[lease.role] {
            return Err(Reason::RoleFrozen);
        }
        if lease.state != State::Live || at >= lease.expires {
            return Err(Reason::LeaseEnded);
        }
        let grant = self.agents[lease.agent].grants.get(&lease.role).filter(|grant| grant.id == lease.grant);
        let grant = grant.ok_or(Reason::NoGrant)?;
        if grant.terms.narrow && !near {
            return Err(Reason::AddressNotGranted);
        }
        let latest = lease.latest.min(grant.until.unwrap_or(Time::MAX));
        let left = latest.saturating_sub(at) / 1000;
        match ttl {
            _ if left == 0 => Err(Reason::TtlExceedsGrant),
            0 => Ok((at + grant.terms.ttl * 1000).min(latest).max(lease.expires)),
            ttl if ttl > left => Err(Reason::TtlExceedsGrant),
            ttl => Ok(at + ttl * 1000),
        }
    }

    fn newest_key(&self, asked: &Request) -> Judged<()> {
        let newest = self.agents[asked.agent].keys.len() - 1;
        if asked.key == Some(newest) { Ok(()) } else { Err(Reason::BadSuccessor) }
    }

    /// The deciding transaction: everything is judged again, at the instant of the entry.
    fn carry_out(&mut self, asked: &Request) -> Judged<Come> {
        let (chain, now) = (asked.agent, self.now);
        let at = self.at(chain);
        self.admit(asked, at)?;
        self.spent.insert(nonce_of(asked), asked.iat);
        self.alive(asked.agent)?;
        if !matches!(asked.what, What::Release { .. } | What::Close) {
            self.clock_is_good(chain)?;
        }
        match asked.what {
            What::Issue { role, .. } if role > 0 => return self.intend(asked),
            What::Hello { .. } => self.enter(asked, at, at)?,
            What::Issue { .. } => self.enter(asked, at, now)?,
            What::Rotate => self.newest_key(asked)?,
            _ => self.enter(asked, at, at)?,
        }
        match asked.what {
            What::Hello { .. } => self.say(chain, "session"),
            What::Issue { .. } => {
                self.add(asked, State::Live)?;
                self.say_at(chain, "issue", now);
            }
            What::Renew { lease: number, ttl } => {
                let lease = self.own(asked, number)?;
                if lease.sid != asked.sid {
                    return Err(Reason::LeaseUnknown);
                }
                // A verifier holds its end against the entry.
                if !self.roles_frozen[lease.role] && at >= lease.expires {
                    return Err(Reason::LeaseEnded);
                }
                let expires = self.prolong(lease, ttl, asked.near, now)?;
                self.lease(number).expires = expires;
                self.say(chain, "renew");
            }
            What::Release { lease: number } => {
                let lease = self.own(asked, number)?;
                if lease.state != State::Live || now >= lease.expires {
                    return Err(Reason::LeaseEnded);
                }
                self.end(number, State::Released);
                self.say(chain, "release");
            }
            What::Close => {
                let all = self.live(|_, lease| (lease.agent, lease.sid) == (asked.agent, asked.sid));
                all.into_iter().for_each(|number| self.end(number, State::Released));
                self.say(chain, "close");
                self.session(asked.agent, asked.sid).ended = true;
            }
            What::Rotate => self.next_key(asked.agent, asked.number, Some(at + OVERLAP)),
        }
        Ok(Come::Done)
    }

    fn clock_is_good(&self, chain: usize) -> Judged<()> {
        let newest = self.newest.max(self.chains[chain].ts);
        if self.now + SKEW < newest { Err(Reason::ClockBehind) } else { Ok(()) }
    }

    /// The session is used; a new one is opened.
    fn enter(&mut self, asked: &Request, at: Time, opened: Time) -> Judged<()> {
        self.bind(asked, self.now)?;
        self.room_for_session(asked)?;
        let new = |seal| Session { seal, used: at, ends: opened + LONGEST, ended: false };
        let sessions = &mut self.agents[asked.agent].sessions;
        let session = match asked.what {
            What::Hello { seal } | What::Issue { seal, .. } => sessions.entry(asked.sid).or_insert_with(|| new(seal)),
            _ => sessions.get_mut(&asked.sid).ok_or(Reason::SessionUnknown)?,
        };
        session.used = session.used.max(at);
        Ok(())
    }

    fn room_for_session(&self, asked: &Request) -> Judged<()> {
        let sessions = &self.agents[asked.agent].sessions;
        let open = sessions.values().filter(|session| !session.ended).count();
        let new = !sessions.contains_key(&asked.sid);
        if new && open >= SESSIONS { Err(Reason::SessionLimit) } else { Ok(()) }
    }

    fn own(&self, asked: &Request, number: u64) -> Judged<&Lease> {
        self.leases.get(&number).filter(|lease| lease.agent == asked.agent).ok_or(Reason::LeaseUnknown)
    }

    pub fn lease(&mut self, number: u64) -> &mut Lease {
        self.leases.get_mut(&number).expect("it was found before")
    }

    pub fn session(&mut self, agent: usize, sid: u64) -> &mut Session {
        self.agents[agent].sessions.get_mut(&sid).expect("it was found before")
    }

    /// A new lease under the grant, which counts it.
    fn add(&mut self, asked: &Request, state: State) -> Judged<()> {
        let What::Issue { role, .. } = asked.what else { return Err(Reason::Internal) };
        let (expires, latest, grant) = self.permit(asked, self.now, true)?;
        let held = |lease: &&Lease| lease.agent == asked.agent && !lease.state.ended();
        if self.leases.values().filter(held).count() >= LEASES {
            return Err(Reason::LeaseLimit);
        }
        let (agent, sid, issued) = (asked.agent, asked.sid, self.now);
        let until = issued + self.intent_life;
        let lease = Lease { agent, sid, role, grant, issued, expires, latest, state, owed: false, until };
        self.leases.insert(asked.number, lease);
        if let Some(grant) = self.agents[agent].grants.get_mut(&role) {
            grant.count += 1;
        }
        Ok(())
    }

    fn intend(&mut self, asked: &Request) -> Judged<Come> {
        self.bind(asked, self.now)?;
        self.room_for_session(asked)?;
        self.add(asked, State::Intended)?;
        Ok(Come::Making)
    }

    /// The backend has answered: the credential is recorded, or the intent ends.
    pub fn made(&mut self, asked: &Request, answer: Judged<()>) -> Judged<()> {
        let done = answer.and_then(|()| self.attempt(|model| model.record(asked)));
        if done.is_err() {
            self.abandon(asked.number);
            self.commit();
        }
        done
    }

    fn record(&mut self, asked: &Request) -> Judged<()> {
        let (chain, at) = (asked.agent, self.at(asked.agent));
        let key = asked.key.and_then(|key| self.agents[asked.agent].keys.get(key)).ok_or(Reason::KeyRetired)?;
        if key.ended || key.grace.is_some_and(|grace| grace <= at) {
            return Err(Reason::KeyRetired);
        }
        self.window(asked.iat)?;
        self.alive(asked.agent)?;
        self.clock_is_good(chain)?;
        let lease = self.leases.get(&asked.number).filter(|lease| lease.state == State::Intended).cloned();
        let lease = lease.ok_or(Reason::Interrupted)?;
        self.enter(asked, at, lease.issued)?;
        let (expires, latest, grant) = self.permit(asked, lease.issued, false)?;
        if lease.expires > expires {
            return Err(Reason::TtlExceedsSession);
        }
        if grant != lease.grant {
            return Err(Reason::NoGrant);
        }
        *self.lease(asked.number) = Lease { state: State::Live, latest: lease.latest.min(latest), ..lease };
        self.say_at(chain, "issue", self.leases[&asked.number].issued);
        Ok(())
    }

    /// An intent that came to nothing ends, and its use is given back.
    pub fn abandon(&mut self, number: u64) {
        let Some(lease) = self.leases.get(&number).filter(|lease| lease.state == State::Intended).cloned() else {
            return;
        };
        self.end(number, State::Abandoned);
        if let Some(grant) = self.agents[lease.agent].grants.get_mut(&lease.role)
            && grant.id == lease.grant
        {
            grant.count = grant.count.saturating_sub(1);
        }
        self.say(lease.agent, "deny");
    }

    /// A denial spends the nonce and stands in the chain, or is counted where there were many.
    fn deny(&mut self, asked: &Request, no: Reason) -> Reason {
        if !chained(no) {
            return no;
        }
        if let Err(other) = self.admit(asked, self.at(asked.agent)) {
            return other;
        }
        self.spent.insert(nonce_of(asked), asked.iat);
        let (entries, counted) = self.denials.entry((self.now / 60_000, asked.agent)).or_default();
        if *entries < DENIALS {
            *entries += 1;
            self.say(asked.agent, "deny");
        } else {
            *counted += 1;
        }
        self.commit();
        no
    }

    pub fn live(&self, which: impl Fn(u64, &Lease) -> bool) -> Vec<u64> {
        let live = |(number, lease): &(&u64, &Lease)| lease.state == State::Live && which(**number, lease);
        self.leases.iter().filter(live).map(|(number, _)| *number).collect()
    }

    pub fn end(&mut self, number: u64, state: State) {
        let lease = self.lease(number);
        (lease.state, lease.owed) = (state, lease.role > 0);
    }

    pub fn next_key(&mut self, agent: usize, from: u64, grace: Option<Time>) {
        self.say(agent, "agent_key");
        if let Some(old) = self.agents[agent].keys.last_mut()
            && !old.ended
        {
            old.grace = grace;
        }
        self.agents[agent].keys.push(Key { from, grace: None, ended: false });
    }
}

fn nonce_of(asked: &Request) -> (usize, usize, u64) {
    (asked.agent, asked.key.unwrap_or(usize::MAX), asked.nonce)
}
