//! What there is, read from the database by a connection of the simulation's own, and what of it is not as it should be.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use nockvault::audit::verify::report::Verdict;
use nockvault::audit::verify::{Pins, verify, verify_operators};
use nockvault::crypto::hash::{Digest, leaf};
use nockvault::id::LeaseId;
use nockvault::lease::State;
use rusqlite::{Connection, OpenFlags, Row};
use serde_json::Value;

use super::model::{self, AGENTS_AND_OPERATORS, CHAINS, Model, OPERATORS, VAULT};
use super::ops::{AGENTS, ROLES};
use super::template::{NAMES, TEMPLATE, chain};
use super::world::{Planted, Step, World};

/// What is known of a chain.
#[derive(Clone, Debug, Default)]
pub struct ChainSeen {
    pub lines: Vec<Vec<u8>>,
    leaves: Vec<Digest>,
    ts: u64,
    /// The kinds of entries since the run began, as far as the model tells them.
    said: Vec<String>,
    /// How many entries there are that it does not tell: checkpoints, and what became of backends.
    beside: usize,
    /// How often a lease was said to be undone.
    undone: BTreeMap<String, u64>,
}

/// Everything that both sides tell.
#[derive(Debug, PartialEq, Eq)]
struct Shape {
    floor: u64,
    frozen: bool,
    roles_frozen: Vec<bool>,
    nonces: usize,
    agents: Vec<AgentShape>,
    /// Used, ends, ended.
    sessions: BTreeMap<(usize, u64), (u64, u64, bool)>,
    /// State, expires, latest.
    leases: BTreeMap<u64, (&'static str, u64, u64)>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct AgentShape {
    frozen: bool,
    keys: Vec<(Option<u64>, bool)>,
    grants: BTreeMap<usize, u64>,
}

impl Shape {
    fn of(model: &Model) -> Shape {
        let agents = model.agents.iter().map(|agent| AgentShape {
            frozen: agent.frozen,
            keys: agent.keys.iter().map(|key| (key.grace, key.ended)).collect(),
            grants: agent.grants.iter().map(|(role, grant)| (*role, grant.count)).collect(),
        });
        let sessions = model.agents.iter().enumerate().flat_map(|(agent, facts)| {
            facts
                .sessions
                .iter()
                .map(move |(sid, session)| ((agent, *sid), (session.used, session.ends, session.ended)))
        });
        let lease = |lease: &model::Lease| (lease.state.as_str(), lease.expires, lease.latest);
        Shape {
            floor: model.floor,
            frozen: model.frozen,
            roles_frozen: model.roles_frozen.to_vec(),
            nonces: model.spent.len(),
            agents: agents.collect(),
            sessions: sessions.collect(),
            leases: model.leases.iter().map(|(number, one)| (*number, lease(one))).collect(),
        }
    }
}

pub fn connect(data: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(data.join("vault.db"), flags).unwrap()
}

fn all<T>(database: &Connection, sql: &str, read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>) -> Vec<T> {
    let mut statement = database.prepare_cached(sql).unwrap();
    statement.query_map([], read).unwrap().map(Result::unwrap).collect()
}

fn agent_of(name: &str) -> usize {
    NAMES.iter().position(|known| *known == name).unwrap()
}

fn role_of(name: &str) -> usize {
    ROLES.iter().position(|known| *known == name).unwrap()
}

/// The difference of two sides, where there is one.
fn unlike<T: PartialEq + std::fmt::Debug>(what: &str, is: &T, should: &T) -> Option<String> {
    (is != should).then(|| format!("{what}: there is {is:?}, and should be {should:?}"))
}

impl World {
    fn database(&self) -> &Connection {
        self.database.as_ref().unwrap()
    }

    /// Reads what chains have grown by; the verifier takes each new line.
    pub async fn look(&mut self) -> Step {
        let sizes: BTreeMap<String, u64> =
            all(self.database(), "SELECT name, size FROM chains", |row| Ok((row.get(0)?, row.get(1)?)))
                .into_iter()
                .collect();
        for number in 0..CHAINS {
            let name = chain(number);
            let from = self.chains[number].lines.len() as u64;
            if sizes.get(name.as_str()) == Some(&from) {
                continue;
            }
            let store = self.vault().store().clone();
            let lines = store.lines(&name, from, 1000, 8 << 20).await.map_err(|why| format!("{name}: {why}"))?;
            let lines = lines.ok_or_else(|| format!("the chain {name} is gone"))?.lines;
            for line in lines {
                self.take(number, line)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, number: usize, line: Vec<u8>) -> Step {
        if !self.verifiers[number].line(&line) {
            let mut file = self.file(number);
            file.extend(line);
            file.push(b'\n');
            let report = verify(Cursor::new(file), &TEMPLATE.pins).map_err(|why| why.to_string())?;
            return Err(format!("the verifier refuses the chain {}: {report}", chain(number)));
        }
        let value: Value = serde_json::from_slice(&line).map_err(|why| why.to_string())?;
        let seen = &mut self.chains[number];
        seen.ts = value["ts"].as_u64().unwrap();
        if seen.lines.len() as u64 >= TEMPLATE.sizes[number] {
            let kind = value["kind"].as_str().unwrap();
            match kind {
                "checkpoint" => seen.beside += 1,
                "undone" => {
                    seen.beside += 1;
                    *seen.undone.entry(value["body"]["lease"].as_str().unwrap().to_owned()).or_default() += 1;
                }
                kind => seen.said.push(kind.to_owned()),
            }
        }
        seen.leaves.push(leaf(&line));
        seen.lines.push(line);
        Ok(())
    }

    fn file(&self, number: usize) -> Vec<u8> {
        self.chains[number].lines.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect()
    }

    fn shape(&mut self) -> (Shape, BTreeMap<u64, bool>) {
        let database = self.database.as_ref().unwrap();
        let mut agents: Vec<AgentShape> = (0..AGENTS).map(|_| AgentShape::default()).collect();
        for (name, frozen) in all(database, "SELECT name, frozen FROM agents", |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?))
        }) {
            agents[agent_of(&name)].frozen = frozen;
        }
        let sql = "SELECT c.name, k.grace, k.ended FROM keys k JOIN chains c ON c.id = k.chain
                   WHERE c.name NOT LIKE '\\_%' ESCAPE '\\' ORDER BY k.kver";
        for (name, key) in all(database, sql, |row| {
            Ok((row.get::<_, String>(0)?, (row.get(1)?, row.get::<_, Option<u64>>(2)?.is_some())))
        }) {
            agents[agent_of(&name)].keys.push(key);
        }
        let sql = "SELECT c.name, g.role, COALESCE(u.count, 0) FROM grants g JOIN chains c ON c.id = g.chain
                   LEFT JOIN uses u ON u.chain = g.chain AND u.seq = g.seq";
        for (name, role, count) in
            all(database, sql, |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get(2)?)))
        {
            agents[agent_of(&name)].grants.insert(role_of(&role), count);
        }
        let frozen = all(database, "SELECT role FROM freezes", |row| row.get::<_, String>(0));
        let sql = "SELECT c.name, s.sid, s.used, s.ends, s.ended FROM sessions s JOIN chains c ON c.id = s.chain";
        let sessions = all(database, sql, |row| {
            let sid = row.get::<_, String>(1)?.trim_start_matches("work").parse::<u64>().unwrap();
            let ended = row.get::<_, Option<u64>>(4)?.is_some();
            Ok(((agent_of(&row.get::<_, String>(0)?), sid), (row.get(2)?, row.get(3)?, ended)))
        });
        let (leases, owed) = leases(database, &self.numbers, &mut self.ids);
        let shape = Shape {
            floor: all(database, "SELECT iat_floor FROM vault", |row| row.get(0))[0],
            frozen: frozen.iter().any(String::is_empty),
            roles_frozen: ROLES.iter().map(|role| frozen.iter().any(|one| one == role)).collect(),
            nonces: all(database, "SELECT COUNT(*) FROM nonces", |row| row.get(0))[0],
            agents,
            sessions: sessions.into_iter().collect(),
            leases,
        };
        (shape, owed)
    }

    /// In what the vault and this model differ. What a backend is owed may have been given since.
    pub fn differences(&mut self, model: &Model) -> Vec<String> {
        let ((mut is, owed), should) = (self.shape(), Shape::of(model));
        if self.planted == Planted::ForgetsNonces {
            // That they are gone is to be found by what it leads to.
            (is.nonces, is.floor) = (should.nonces, should.floor);
        }
        let mut found = Vec::new();
        found.extend(unlike("the floor", &is.floor, &should.floor));
        found.extend(unlike("frozen", &is.frozen, &should.frozen));
        found.extend(unlike("frozen roles", &is.roles_frozen, &should.roles_frozen));
        found.extend(unlike("nonces", &is.nonces, &should.nonces));
        found.extend(unlike("agents", &is.agents, &should.agents));
        found.extend(unlike("sessions", &is.sessions, &should.sessions));
        found.extend(unlike("leases", &is.leases, &should.leases));
        for (number, owed) in owed {
            if owed && !model.leases.get(&number).is_some_and(|lease| lease.owed) {
                found.push(format!("lease {number} is owed to its backend"));
            }
        }
        for number in 0..AGENTS_AND_OPERATORS {
            let mut is: Vec<&str> = self.chains[number].said.iter().map(String::as_str).collect();
            let mut should = model.chains[number].said.clone();
            is.sort_unstable();
            should.sort_unstable();
            found.extend(unlike(&format!("entries of {}", chain(number)), &is, &should));
        }
        found
    }

    /// Looks at everything after a step.
    pub async fn check(&mut self) -> Step {
        self.look().await?;
        let model = self.model.clone();
        let found = self.differences(&model);
        if !found.is_empty() {
            return Err(found.join("\n"));
        }
        for number in 0..CHAINS {
            self.hold_time(number)?;
        }
        self.learn()?;
        self.check_backends()?;
        self.check_receipts()
    }

    /// An entry's time is what the model says, but where an entry came that it does not tell.
    fn hold_time(&mut self, number: usize) -> Step {
        let (is, should) = (self.chains[number].ts, self.model.chains[number].ts);
        let beside = std::mem::replace(&mut self.beside[number], self.chains[number].beside);
        if number != VAULT && beside == self.chains[number].beside && is != should {
            return Err(format!("the newest entry of {} is of {is}, and should be of {should}", chain(number)));
        }
        if is < should {
            return Err(format!("the newest entry of {} is of {is}, and is at least of {should}", chain(number)));
        }
        Ok(())
    }

    /// Takes over what the model cannot know: when backends were tried, and entries beside.
    pub fn learn(&mut self) -> Step {
        for number in 0..CHAINS {
            self.model.chains[number].ts = self.chains[number].ts;
            self.beside[number] = self.chains[number].beside;
        }
        self.model.newest = self.chains.iter().map(|seen| seen.ts).max().unwrap_or_default();
        let (_, owed) = self.shape();
        let given: Vec<u64> = (self.model.leases.iter())
            .filter(|(number, lease)| lease.owed && !owed.get(number).copied().unwrap_or_default())
            .map(|(number, _)| *number)
            .collect();
        for number in given {
            self.model.leases.get_mut(&number).unwrap().owed = false;
        }
        self.check_undone()
    }

    /// What was taken away stands in the trail once, and nothing else does.
    fn check_undone(&self) -> Step {
        for (number, lease) in &self.model.leases {
            let done = lease.role > 0 && lease.state.ended() && !lease.owed && !self.model.forgotten.contains(number);
            let id = self.ids.get(number).map(ToString::to_string).unwrap_or_default();
            let said = self.chains[lease.agent].undone.get(&id).copied().unwrap_or_default();
            if said != u64::from(done) {
                return Err(format!("lease {number} is said to be undone {said} times, and {lease:?}"));
            }
        }
        Ok(())
    }

    /// The lease that answers for a credential, by its number.
    fn number_of(&self, handle: &str) -> Option<u64> {
        let id: LeaseId = super::backend::lease_of(handle)?;
        self.ids.iter().find(|(_, known)| **known == id).map(|(number, _)| *number)
    }

    /// Whether a sweep must leave it.
    pub fn answered_for(&self, handle: &str) -> bool {
        let lease = self.number_of(handle).and_then(|number| self.model.leases.get(&number));
        lease.is_some_and(|lease| match lease.state {
            State::Intended => true,
            State::Live => self.model.now < lease.expires + model::LATE,
            _ => lease.owed,
        })
    }

    /// No orphan: each credential has a lease that accounts for it. And none is taken away early.
    fn check_backends(&self) -> Step {
        for place in &ROLES[1..] {
            let there = self.far.there(place);
            for handle in there.credentials.keys().filter(|handle| !there.lied.contains(*handle)) {
                let number = self.number_of(handle);
                let lease = number.and_then(|number| self.model.leases.get(&number));
                let accounts = |lease: &model::Lease| !lease.state.ended() || lease.owed;
                let forgotten = number.is_some_and(|number| self.model.forgotten.contains(&number));
                if !forgotten && !lease.is_some_and(accounts) {
                    return Err(format!("an orphan at {place}: {handle}, of lease {number:?}: {lease:?}"));
                }
            }
        }
        for (number, lease) in self.model.leases.iter().filter(|(_, lease)| lease.role > 0) {
            let live = lease.state == State::Live && self.model.now < lease.expires;
            if !live || self.excused.contains(number) {
                continue;
            }
            let (there, handle) = (self.far.there(ROLES[lease.role]), self.handle_of(*number).unwrap_or_default());
            if !there.credentials.contains_key(&handle) && !there.lied.contains(&handle) {
                return Err(format!("the credential of lease {number} is not at {}", ROLES[lease.role]));
            }
        }
        Ok(())
    }

    /// What was answered stands where the answer says.
    pub fn check_receipts(&self) -> Step {
        for (number, entry) in &self.receipts {
            let stands = usize::try_from(entry.seq).ok().and_then(|seq| self.chains[*number].leaves.get(seq));
            if stands != Some(&entry.leaf) {
                return Err(format!("what was answered does not stand as entry {} of {}", entry.seq, chain(*number)));
            }
        }
        Ok(())
    }

    /// The verifier's word on all chains, each held against `_operators` and against every answer.
    pub fn verify_all(&self) -> Step {
        let heads = |chain: usize| {
            let of = self.receipts.iter().filter(move |(number, _)| *number == chain);
            of.map(|(_, entry)| entry.seen()).collect::<Vec<_>>()
        };
        let pins = |chain: usize| Pins { heads: heads(chain), ..TEMPLATE.pins.clone() };
        let file = Cursor::new(self.file(OPERATORS));
        let (report, commands) = verify_operators(file, &pins(OPERATORS)).map_err(|why| why.to_string())?;
        if report.verdict != Verdict::Intact {
            return Err(format!("_operators: {report}"));
        }
        let commands = commands.map(Arc::new);
        for number in (0..AGENTS).chain([VAULT]) {
            let pins = Pins { operators: commands.clone(), ..pins(number) };
            let report = verify(Cursor::new(self.file(number)), &pins).map_err(|why| why.to_string())?;
            if report.verdict != Verdict::Intact {
                return Err(format!("{}: {report}", chain(number)));
            }
        }
        Ok(())
    }
}

type Leases = BTreeMap<u64, (&'static str, u64, u64)>;

/// All leases, and whether their backends are owed something.
fn leases(
    database: &Connection,
    numbers: &BTreeMap<Digest, u64>,
    ids: &mut BTreeMap<u64, LeaseId>,
) -> (Leases, BTreeMap<u64, bool>) {
    let sql = "SELECT req, id, state, expires, latest, retry FROM leases";
    let (mut leases, mut owed) = (Leases::new(), BTreeMap::new());
    let read = |row: &Row<'_>| {
        let req: Vec<u8> = row.get(0)?;
        let id = LeaseId::from_bytes(row.get(1)?).unwrap();
        let state = State::from_word(&row.get::<_, String>(2)?).unwrap();
        let waits = row.get::<_, Option<u64>>(5)?.is_some() && state != State::Intended;
        Ok((req, id, (state.as_str(), row.get(3)?, row.get(4)?), waits))
    };
    for (req, id, lease, waits) in all(database, sql, read) {
        // One that nobody asked for gets a number that the model has not.
        let asked = numbers.iter().find(|(digest, _)| digest.as_bytes().as_slice() == req);
        let number = asked.map_or(u64::MAX, |(_, number)| *number);
        ids.insert(number, id);
        leases.insert(number, lease);
        owed.insert(number, waits);
    }
    (leases, owed)
}
