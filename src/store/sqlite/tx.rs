//! A transaction as a job sees it. Chains that a job changes stand in memory first: those of a job that fails are
//! forgotten with its savepoint, the others are written once for the whole group, right before the commit, and become
//! what the store knows after it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use rusqlite::{Connection, params};

use super::rows::{self, ChainId, Covered, Reset, Restored};
use super::schema::VERSION;
use super::stop::{Stop, is_constraint};
use super::views::{AgentFacts, Facts, Held, OperatorFacts, VaultFacts, View};
use super::{Shared, chains, trees};
use crate::audit::chain::{AuditKey, NotAppended, append};
use crate::audit::entry::{Body, By, ClockReset, Restore};
use crate::base64url;
use crate::denial::{Denial, Reason};
use crate::grant::{Grant, Role, Uses};
use crate::id::{AgentName, ChainName, Kid, Nonce, OperatorName, RoleName};
use crate::registry::{Agent, Duty, HeldKey, Operator};
use crate::statement::register::Holder;
use crate::statement::reply::EntryRef;
use crate::time::Timestamp;

/// Chains as a transaction left them, and whether their rows must be written.
type Chains = HashMap<ChainName, (Held, bool)>;

/// A transaction that writes.
#[derive(Debug)]
pub(super) struct Tx<'a> {
    pub(super) conn: &'a Connection,
    pub(super) shared: &'a Shared,
    /// The present, read once for each job.
    pub(super) now: Timestamp,
    /// The audit key; none before the daemon's `start`.
    pub(super) key: Option<Arc<AuditKey>>,
    /// The newest `ts` of any chain that this process knows.
    pub(super) newest: Timestamp,
    group: Chains,
    job: Chains,
    /// Chains whose newest checkpoint may be another now, or has other lines of witnesses.
    noted: BTreeSet<ChainName>,
}

impl<'a> Tx<'a> {
    pub(super) fn new(
        conn: &'a Connection,
        shared: &'a Shared,
        key: Option<Arc<AuditKey>>,
        newest: Timestamp,
    ) -> Tx<'a> {
        let now = shared.clock.now();
        Tx { conn, shared, now, key, newest, group: Chains::new(), job: Chains::new(), noted: BTreeSet::new() }
    }

    /// The chain of this name with its facts, if there is one.
    pub(super) fn look(&mut self, name: &ChainName) -> Result<Option<Held>, Stop> {
        if self.shared.views.is_aside(name) {
            return Err(Reason::Quarantined.into());
        }
        if let Some((held, _)) = self.job.get(name).or_else(|| self.group.get(name)) {
            return Ok(Some(held.clone()));
        }
        let known = self.shared.views.kept(name).map_or(0, |held| held.chain.head.size);
        let Some(held) = self.shared.views.hold(self.conn, self.shared, name)? else { return Ok(None) };
        // What this process has seen committed cannot be gone; only an older file put in place does that.
        if held.chain.head.size < known {
            return Err(self.shared.views.set_aside(name, "it is shorter than it was"));
        }
        self.group.insert(name.clone(), (held.clone(), false));
        Ok(Some(held))
    }

    /// The chain of this name, which must be there.
    pub(super) fn hold(&mut self, name: &ChainName) -> Result<Held, Stop> {
        self.look(name)?.ok_or_else(|| Stop::Broken(format!("there is no chain {name}")))
    }

    /// An agent's chain, if there is such an agent.
    pub(super) fn agent(&mut self, name: &AgentName) -> Result<Option<Held>, Stop> {
        self.look(&ChainName::from(name))
    }

    /// The chain that an agent's request belongs to.
    pub(super) fn own(&mut self, name: &AgentName) -> Result<Held, Stop> {
        self.agent(name)?.ok_or_else(|| Denial::new(Reason::Unauthenticated).internal("no such agent").into())
    }

    /// A role.
    pub(super) fn role(&mut self, name: &RoleName) -> Result<Option<Arc<Role>>, Stop> {
        Ok(self.hold(&ChainName::operators())?.operators()?.roles.get(name).cloned())
    }

    /// What `iat` must lie above.
    pub(super) fn floor(&mut self) -> Result<Timestamp, Stop> {
        Ok(self.hold(&ChainName::vault())?.vault()?.floor)
    }

    /// The same, or none where `_vault` is set aside: the window alone judges then.
    pub(super) fn known_floor(&mut self) -> Result<Timestamp, Stop> {
        Ok(self.vault()?.map_or(Timestamp::ZERO, |facts| facts.floor))
    }

    /// Leaves a chain as it is now for whoever comes after.
    pub(super) fn keep(&mut self, held: Held) {
        self.job.insert(held.chain.name.clone(), (held, true));
    }

    /// Adds a chain.
    pub(super) fn begin(&mut self, name: &ChainName, facts: Facts) -> Result<Held, Stop> {
        let counts = self.vault()?.map_or((0, 0), |facts| (facts.resets(), facts.restores()));
        let chain = chains::begin(self.conn, &self.shared.ring, &self.shared.name, name, counts)?;
        let view = View { facts, deciders: rows::Macs::default(), uses: rows::Macs::default() };
        Ok(Held { chain, view: Arc::new(view) })
    }

    /// The vault's own facts; none are known while `_vault` is set aside, or before it is founded.
    fn vault(&mut self) -> Result<Option<&VaultFacts>, Stop> {
        let name = ChainName::vault();
        if !self.job.contains_key(&name) && !self.group.contains_key(&name) {
            match self.look(&name) {
                Ok(_) | Err(Stop::Denied(_)) => {}
                Err(stop) => return Err(stop),
            }
        }
        match self.job.get(&name).or_else(|| self.group.get(&name)) {
            Some((vault, _)) => vault.vault().map(Some),
            None => Ok(None),
        }
    }

    /// The newest reset of the clock, as far as the vault's own facts are known.
    pub(super) fn reset(&mut self) -> Result<Option<&Reset>, Stop> {
        Ok(self.vault()?.and_then(|facts| facts.reset.as_ref()))
    }

    /// The reset of the clock that this chain's next entry must be.
    fn pending(&mut self, held: &Held) -> Result<Option<Reset>, Stop> {
        let reset = match &held.view.facts {
            Facts::Vault(facts) => facts.reset.as_ref(),
            _ => self.reset()?,
        };
        Ok(reset.filter(|reset| held.chain.resets < reset.number).cloned())
    }

    /// The restore that this chain's next entry must be.
    fn unheard(&mut self, held: &Held) -> Result<Option<Restored>, Stop> {
        let restored = match &held.view.facts {
            Facts::Vault(facts) => facts.restored.as_ref(),
            _ => self.vault()?.and_then(|facts| facts.restored.as_ref()),
        };
        let heard = held.chain.restored.map_or(0, |heard| heard.number);
        Ok(restored.filter(|restored| heard < restored.number).cloned())
    }

    /// The instant that an entry of this chain gets now, and at which all is judged that a verifier judges by it.
    pub(super) fn stamp(&mut self, held: &Held) -> Result<Timestamp, Stop> {
        let reset = self.pending(held)?.is_some();
        Ok(match &self.key {
            None => self.now,
            Some(key) if reset => self.now.max(key.nbf()),
            Some(key) => held.chain.head.stamp(key, self.now),
        })
    }

    /// The `seq` that the next entry gets which says something.
    pub(super) fn next_seq(&mut self, held: &Held) -> Result<u64, Stop> {
        let first = u64::from(self.pending(held)?.is_some()) + u64::from(self.unheard(held)?.is_some());
        Ok(held.chain.head.size + first)
    }

    /// Appends an entry to a chain; before it, the restore and the reset of the clock that the chain has not heard of.
    pub(super) fn append(&mut self, held: &mut Held, body: impl Into<Body>) -> Result<EntryRef, Stop> {
        self.settle(held)?;
        self.write(held, body.into())
    }

    /// Appends an entry that is no earlier than the newest one of any chain.
    pub(super) fn append_latest(&mut self, held: &mut Held, body: impl Into<Body>) -> Result<EntryRef, Stop> {
        let latest = self.latest();
        let now = std::mem::replace(&mut self.now, latest);
        let appended = self.append(held, body);
        self.now = now;
        appended
    }

    /// The instant that such an entry of this chain gets.
    pub(super) fn stamp_latest(&mut self, held: &Held) -> Result<Timestamp, Stop> {
        let latest = self.latest();
        let now = std::mem::replace(&mut self.now, latest);
        let stamp = self.stamp(held);
        self.now = now;
        stamp
    }

    /// Nothing keeps an operator from it, not even a history that lies beyond the audit key.
    fn latest(&self) -> Timestamp {
        let now = self.now;
        now.max(self.newest).min(self.key.as_ref().map_or(now, |key| now.max(Timestamp(key.exp().0 - 1))))
    }

    /// Writes the restore and the reset of the clock that the chain has not heard of. The restore is the first that a
    /// restored vault writes in any chain.
    pub(super) fn settle(&mut self, held: &mut Held) -> Result<(), Stop> {
        if let Some(Restored { number, by, salt, .. }) = self.unheard(held)? {
            let lost_from = held.chain.restored.map_or(held.chain.head.size, |heard| heard.lost_from);
            held.chain.restored = Some(chains::Heard { number, lost_from });
            self.write(held, Restore { by, number, salt }.into())?;
        }
        if let Some(Reset { number, by, .. }) = self.pending(held)? {
            held.chain.resets = number;
            self.write(held, ClockReset { by }.into())?;
        }
        Ok(())
    }

    fn write(&mut self, held: &mut Held, body: Body) -> Result<EntryRef, Stop> {
        let key = self.key.as_ref().ok_or_else(|| Stop::Broken("there is no audit key yet".to_owned()))?;
        let seq = held.chain.head.size;
        if seq >= chains::LONGEST {
            return Err(Stop::Broken(format!("the chain {} is full", held.chain.name)));
        }
        let (line, head) = append(&held.chain.head, key, &body, self.now).map_err(|why| match why {
            NotAppended::TooLong { limit, .. } => Stop::Denied(
                Denial::new(Reason::Oversize).limit(limit as u64).detail("its audit entry would be too long"),
            ),
            why => Stop::Broken(why.to_string()),
        })?;
        chains::store_line(self.conn, held.chain.id, seq, &head.leaf, &line).map_err(|error| {
            if is_constraint(&error) {
                return self.shared.views.set_aside(&held.chain.name, "it has lines beyond its end");
            }
            error.into()
        })?;
        trees::grow(self.conn, held.chain.id, &held.chain.head.tree, head.leaf)?;
        self.newest = self.newest.max(head.ts);
        held.chain.head = head;
        held.chain.grew(matches!(body, Body::Checkpoint(_)), self.shared.rules.checkpoints);
        Ok(EntryRef { leaf: held.chain.head.leaf, seq })
    }

    /// Appends an entry that goes with a change of the chain's deciding rows.
    pub(super) fn append_deciding(&mut self, held: &mut Held, body: impl Into<Body>) -> Result<EntryRef, Stop> {
        let entry = self.append(held, body)?;
        held.chain.deciding = Some(entry.seq);
        Ok(entry)
    }

    /// A clock further behind the vault's own history than the skew issues nothing.
    pub(super) fn clock_is_good(&mut self, held: &Held) -> Result<(), Stop> {
        let newest = match self.pending(held)? {
            // What stands in it is of before the reset.
            Some(_) => self.newest,
            None => self.newest.max(held.chain.head.ts),
        };
        if self.now.plus(self.shared.rules.skew) < newest {
            let internal = format!("the newest entry is of {newest}, the clock says {}", self.now);
            return Err(Denial::new(Reason::ClockBehind).at(self.now).internal(internal).into());
        }
        Ok(())
    }

    /// Spends a nonce of the key with this number.
    pub(super) fn spend(&mut self, key: i64, nonce: &Nonce, iat: Timestamp) -> Result<(), Stop> {
        let sql = "INSERT OR IGNORE INTO nonces (key, nonce, iat) VALUES (?1, ?2, ?3)";
        if self.conn.prepare_cached(sql)?.execute(params![key, nonce_bytes(nonce), iat.0])? == 0 {
            return Err(Reason::Replay.into());
        }
        let sql = "INSERT INTO nonces_live (key, count) VALUES (?1, 1)
                   ON CONFLICT (key) DO UPDATE SET count = count + 1 RETURNING count";
        let live: u64 = self.conn.prepare_cached(sql)?.query_row([key], |row| row.get(0))?;
        let limit = self.shared.rules.nonces_per_key;
        if live > limit { Err(Denial::new(Reason::NoncesFull).limit(limit).into()) } else { Ok(()) }
    }

    // --- the writer's side

    /// A new job begins.
    pub(super) fn begin_job(&mut self) {
        self.now = self.shared.clock.now();
        self.job.clear();
    }

    /// The job's changes hold, if the group's do.
    pub(super) fn end_job(&mut self) {
        self.group.extend(self.job.drain());
    }

    /// What the job has changed so far, for a part of it that may fail alone.
    pub(super) fn mark(&self) -> Mark {
        Mark(self.job.clone())
    }

    /// Forgets what came after the mark; the database's savepoint is the caller's.
    pub(super) fn back_to(&mut self, mark: Mark) {
        self.job = mark.0;
    }

    /// Writes the rows of all chains that changed.
    pub(super) fn flush(&mut self) -> rusqlite::Result<()> {
        for (held, changed) in self.group.values_mut() {
            if *changed {
                held.chain.deciders = held.view.deciders.digest();
                held.chain.uses = held.view.uses.digest();
                held.chain.write(self.conn, &self.shared.ring)?;
            }
        }
        Ok(())
    }

    /// Tells of a checkpoint once all of this is durable. Where the job fails, who hears of it finds nothing new.
    pub(super) fn note(&mut self, name: &ChainName) {
        self.noted.insert(name.clone());
    }

    /// Makes what is durable now known to all.
    pub(super) fn publish(self) {
        let changed: Vec<Held> =
            self.group.into_values().filter_map(|(held, changed)| changed.then_some(held)).collect();
        let names: Vec<_> = changed.iter().map(|held| held.chain.name.clone()).collect();
        for held in changed {
            self.shared.views.keep(held);
        }
        if !names.is_empty() {
            self.shared.announcer.announce(&names);
        }
        if !self.noted.is_empty() {
            self.shared.noted.announce(&Vec::from_iter(self.noted));
        }
    }
}

/// A state within a job.
pub(super) struct Mark(Chains);

/// A nonce as it is stored.
pub(super) fn nonce_bytes(nonce: &Nonce) -> Vec<u8> {
    base64url::decode(nonce.as_str()).expect("the grammar of Nonce is base64url")
}

/// The key of this identifier, in whichever chain.
pub(super) fn chain_of_key(conn: &Connection, kid: &Kid) -> rusqlite::Result<Option<ChainId>> {
    use rusqlite::OptionalExtension as _;
    let mut statement = conn.prepare_cached("SELECT chain FROM keys WHERE kid = ?1")?;
    statement.query_row([kid.as_str()], |row| row.get(0)).optional()
}

impl Tx<'_> {
    /// Covers a row that decides, and counts it among those of the chain.
    pub(super) fn cover(&self, held: &mut Held, row: &Covered) -> [u8; 40] {
        let mac = row.mac(&self.shared.ring);
        Arc::make_mut(&mut held.view).deciders.put(row, mac);
        mac.to_bytes()
    }

    /// Writes the vault's own row.
    pub(super) fn put_vault(&mut self, held: &mut Held, facts: VaultFacts) -> Result<(), Stop> {
        let chain = held.chain.id;
        let mac = self.cover(held, &rows::vault(chain, &facts, VERSION));
        let sql = "INSERT INTO vault (chain, name, aud, epochs, iat_floor, config, reset, mac, restored, ring)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
                   ON CONFLICT (chain) DO UPDATE SET epochs = ?4, iat_floor = ?5, config = ?6, reset = ?7, mac = ?8,
                                                     restored = ?9, ring = ?10";
        let (name, aud, floor) = (facts.name.as_str(), facts.aud.as_str(), facts.floor.0);
        let reset = rows::reset_text(&facts);
        self.conn.prepare_cached(sql)?.execute(params![
            chain,
            name,
            aud,
            facts.epochs,
            floor,
            facts.config,
            reset,
            mac,
            rows::restored_text(&facts),
            rows::ring_text(&facts),
        ])?;
        Arc::make_mut(&mut held.view).facts = Facts::Vault(facts);
        Ok(())
    }

    /// Writes an agent's row; the collision of its name with another's is the caller's to find.
    pub(super) fn put_agent(&mut self, held: &mut Held, name: &AgentName, since: Timestamp) -> Result<(), Stop> {
        let chain = held.chain.id;
        let mac = self.cover(held, &rows::agent(chain, name, since, false));
        let sql = "INSERT INTO agents (chain, name, collision, since, frozen, mac) VALUES (?1, ?2, ?3, ?4, 0, ?5)";
        let (name, collision) = (name.as_str(), name.collision_form());
        self.conn.prepare_cached(sql)?.execute(params![chain, name, collision, since.0, mac])?;
        self.with_agent(held, |agent| agent.since = since);
        Ok(())
    }

    /// Freezes or thaws an agent.
    pub(super) fn set_frozen(&mut self, held: &mut Held, frozen: bool) -> Result<(), Stop> {
        let (chain, agent) = (held.chain.id, Arc::clone(&held.agent()?.agent));
        let mac = self.cover(held, &rows::agent(chain, &agent.name, agent.since, frozen));
        let sql = "UPDATE agents SET frozen = ?2, mac = ?3 WHERE chain = ?1";
        self.conn.prepare_cached(sql)?.execute(params![chain, frozen, mac])?;
        self.with_agent(held, |agent| agent.frozen = frozen);
        Ok(())
    }

    /// Writes an operator's row, a new one's or with another duty.
    pub(super) fn put_operator(
        &mut self,
        held: &mut Held,
        name: &OperatorName,
        since: Timestamp,
        duty: &Duty,
    ) -> Result<(), Stop> {
        let chain = held.chain.id;
        let mac = self.cover(held, &rows::operator(chain, name, since, duty));
        let sql = "INSERT INTO operators (chain, name, since, duty, mac) VALUES (?1, ?2, ?3, ?4, ?5)
                   ON CONFLICT (name) DO UPDATE SET duty = ?4, mac = ?5";
        self.conn.prepare_cached(sql)?.execute(params![chain, name.as_str(), since.0, rows::duty_text(duty), mac])?;
        if let Facts::Operators(facts) = &mut Arc::make_mut(&mut held.view).facts {
            let new = Operator { name: name.clone(), since, duty: duty.clone(), keys: Vec::new() };
            facts.operators.entry(name.clone()).or_insert(new).duty = duty.clone();
        }
        Ok(())
    }

    /// Adds a key, whose identifier no other key has.
    pub(super) fn add_key(&mut self, held: &mut Held, key: HeldKey) -> Result<(), Stop> {
        let chain = held.chain.id;
        let sql = "INSERT INTO keys (chain, holder, kid, kver, pk, form, since, grace, ended, mac)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL, NULL, zeroblob(40))";
        self.conn.prepare_cached(sql)?.execute(params![
            chain,
            rows::holder(&key.holder).1,
            key.kid.as_str(),
            key.kver,
            key.public.to_bytes(),
            key.form.as_str(),
            key.since.0,
        ])?;
        let id = self.conn.last_insert_rowid();
        self.write_key(held, id, key)
    }

    /// Changes when a key's life ends.
    pub(super) fn write_key(&mut self, held: &mut Held, id: i64, key: HeldKey) -> Result<(), Stop> {
        let mac = self.cover(held, &rows::key(id, held.chain.id, &key));
        let sql = "UPDATE keys SET grace = ?2, ended = ?3, mac = ?4 WHERE id = ?1";
        let (grace, ended) = (key.grace.map(|at| at.0), key.ended.map(|at| at.0));
        self.conn.prepare_cached(sql)?.execute(params![id, grace, ended, mac])?;
        match (&mut Arc::make_mut(&mut held.view).facts, &key.holder) {
            (Facts::Agent(AgentFacts { agent, keys, .. }), _) => {
                keys.insert(key.kid.clone(), id);
                put_in_order(&mut Arc::make_mut(agent).keys, key);
            }
            (Facts::Operators(OperatorFacts { operators, keys, .. }), Holder::Operator(name)) => {
                keys.insert(key.kid.clone(), id);
                if let Some(operator) = operators.get_mut(name) {
                    put_in_order(&mut operator.keys, key);
                }
            }
            _ => return Err(Stop::Broken("a key under a chain of another kind".to_owned())),
        }
        Ok(())
    }

    /// Adds a role.
    pub(super) fn add_role(&mut self, held: &mut Held, role: Role) -> Result<(), Stop> {
        let chain = held.chain.id;
        let config = text_of(&role.config);
        let mac = self.cover(held, &rows::role(chain, &role, &config));
        let sql = "INSERT INTO roles (chain, name, engine, config, since, mac) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let name = role.name.as_str();
        self.conn.prepare_cached(sql)?.execute(params![chain, name, role.engine, config, role.since.0, mac])?;
        if let Facts::Operators(facts) = &mut Arc::make_mut(&mut held.view).facts {
            facts.roles.insert(role.name.clone(), Arc::new(role));
        }
        Ok(())
    }

    /// Adds a grant that has given nothing yet.
    pub(super) fn add_grant(&mut self, held: &mut Held, grant: Grant) -> Result<(), Stop> {
        let chain = held.chain.id;
        let terms = text_of(&grant.terms);
        let mac = self.cover(held, &rows::grant(chain, &grant, &terms));
        let sql = "INSERT INTO grants (chain, role, terms, seq, since, mac) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let role = grant.role.as_str();
        self.conn.prepare_cached(sql)?.execute(params![chain, role, terms, grant.seq, grant.since.0, mac])?;
        let seq = grant.seq;
        self.with_agent(held, |agent| {
            agent.grants.push(grant);
            agent.grants.sort_by(|a, b| a.role.cmp(&b.role));
        });
        self.put_uses(held, seq, Uses::default())
    }

    /// Takes a grant out, and what it has given with it.
    pub(super) fn remove_grant(&mut self, held: &mut Held, grant: &Grant) -> Result<(), Stop> {
        let chain = held.chain.id;
        let sql = "DELETE FROM grants WHERE chain = ?1 AND role = ?2";
        self.conn.prepare_cached(sql)?.execute(params![chain, grant.role.as_str()])?;
        self.conn
            .prepare_cached("DELETE FROM uses WHERE chain = ?1 AND seq = ?2")?
            .execute(params![chain, grant.seq])?;
        let view = Arc::make_mut(&mut held.view);
        view.deciders.remove(&rows::grant(chain, grant, ""));
        view.uses.remove(&rows::uses(chain, grant.seq, Uses::default()));
        if let Facts::Agent(facts) = &mut view.facts {
            facts.uses.remove(&grant.seq);
        }
        self.with_agent(held, |agent| agent.grants.retain(|one| one.seq != grant.seq));
        Ok(())
    }

    fn with_agent(&mut self, held: &mut Held, change: impl FnOnce(&mut Agent)) {
        if let Facts::Agent(facts) = &mut Arc::make_mut(&mut held.view).facts {
            change(Arc::make_mut(&mut facts.agent));
        }
    }

    /// Writes what a grant has given.
    pub(super) fn put_uses(&mut self, held: &mut Held, seq: u64, uses: Uses) -> Result<(), Stop> {
        let chain = held.chain.id;
        // A rate over an endless time paces beyond what a column holds; the end of time is late enough.
        let uses = Uses { paced: uses.paced.min(i64::MAX as u64), ..uses };
        let row = rows::uses(chain, seq, uses);
        let mac = row.mac(&self.shared.ring);
        let sql = "INSERT INTO uses (chain, seq, count, paced, mac) VALUES (?1, ?2, ?3, ?4, ?5)
                   ON CONFLICT (chain, seq) DO UPDATE SET count = ?3, paced = ?4, mac = ?5";
        self.conn.prepare_cached(sql)?.execute(params![chain, seq, uses.count, uses.paced, mac.to_bytes()])?;
        let view = Arc::make_mut(&mut held.view);
        view.uses.put(&row, mac);
        if let Facts::Agent(facts) = &mut view.facts {
            facts.uses.insert(seq, uses);
        }
        Ok(())
    }
}

fn put_in_order(keys: &mut Vec<HeldKey>, key: HeldKey) {
    match keys.iter_mut().find(|known| known.kid == key.kid) {
        Some(known) => *known = key,
        None => {
            keys.push(key);
            keys.sort_by_key(|key| key.kver);
        }
    }
}

fn text_of<T: serde::Serialize>(value: &T) -> String {
    String::from_utf8(crate::crypto::json::canonical(value)).expect("canonical JSON is UTF-8")
}

/// The entry that effects name as their cause.
pub(super) fn by(entry: EntryRef) -> By {
    By { chain: ChainName::operators(), leaf: entry.leaf, seq: entry.seq }
}
