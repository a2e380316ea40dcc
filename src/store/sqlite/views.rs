//! What decides, as values: the facts behind a chain's deciding rows, each verified and all of them together held
//! against the chain's row. A view is kept in memory for as long as the chain's row says that it still holds, so that a
//! request reads one row and not all; what decides is that row, read anew each time, and never the memory.
//!
//! The rows of agents, their keys, grants and uses belong to the agent's chain; operators, their keys, roles, the keys
//! for tokens, the newest versions of secrets, custodians and the rules of several persons with what waits for others to `_operators`; the floor and the count of epochs to `_vault`. A chain whose rows do not fit is set aside, loudly, and
//! the others go on.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rusqlite::Connection;

use super::super::KeptCustodian;
use super::Shared;
use super::approvals::WaitingFacts;
use super::chains::{self, Chain, Found};
pub(super) use super::rows::VaultFacts;
use super::rows::{Macs, Reading, TokenKeyFacts};
use super::schema::VERSION;
use super::stop::Stop;
use crate::crypto::hash::Digest;
use crate::denial::Reason;
use crate::grant::{Role, Uses};
use crate::id::{AgentName, ChainName, CustodianName, Kid, OperatorName, RoleName, SecretName};
use crate::registry::{Agent, HeldKey, Operator};
use crate::statement::approval::PolicySet;
use crate::statement::register::Holder;
use crate::time::Timestamp;

/// The most views in memory. Beyond it all are dropped and read anew when asked for.
const VIEWS: usize = 1 << 14;

/// An agent's facts.
#[derive(Clone, Debug)]
pub(super) struct AgentFacts {
    pub(super) agent: Arc<Agent>,
    /// The numbers of its keys.
    pub(super) keys: BTreeMap<Kid, i64>,
    /// What its grants have given, by the `seq` of the grant.
    pub(super) uses: BTreeMap<u64, Uses>,
}

/// What stands behind `_operators`.
#[derive(Clone, Debug, Default)]
pub(super) struct OperatorFacts {
    pub(super) operators: BTreeMap<OperatorName, Operator>,
    pub(super) keys: BTreeMap<Kid, i64>,
    pub(super) roles: BTreeMap<RoleName, Arc<Role>>,
    /// The newest version of each stored secret.
    pub(super) newest: BTreeMap<SecretName, u64>,
    /// Keys for tokens after the first, by their numbers.
    pub(super) token_keys: BTreeMap<u64, TokenKeyFacts>,
    /// Who can get at the root key.
    pub(super) custodians: BTreeMap<CustodianName, KeptCustodian>,
    /// Which commands more than one operator must want.
    pub(super) policy: PolicySet,
    /// What waits for others, by H(PAE) of the command.
    pub(super) waiting: BTreeMap<Digest, WaitingFacts>,
}

/// The facts behind one chain.
#[derive(Clone, Debug)]
pub(super) enum Facts {
    Agent(AgentFacts),
    Operators(OperatorFacts),
    Vault(VaultFacts),
}

/// Facts, and the MACs of the rows they were read from.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) facts: Facts,
    pub(super) deciders: Macs,
    pub(super) uses: Macs,
}

impl OperatorFacts {
    /// The operator that has, or had, the key of this identifier.
    pub(super) fn of_key(&self, kid: &Kid) -> Option<&Operator> {
        self.operators.values().find(|operator| operator.key(kid).is_some())
    }
}

impl View {
    fn fits(&self, chain: &Chain) -> bool {
        self.deciders.digest() == chain.deciders && self.uses.digest() == chain.uses
    }

    /// The key of this identifier with its number, an agent's or an operator's.
    pub(super) fn key(&self, kid: &Kid) -> Option<(i64, &HeldKey)> {
        match &self.facts {
            Facts::Agent(facts) => Some((*facts.keys.get(kid)?, facts.agent.key(kid)?)),
            Facts::Operators(facts) => {
                let mut keys = facts.operators.values().flat_map(|operator| &operator.keys);
                Some((*facts.keys.get(kid)?, keys.find(|key| key.kid == *kid)?))
            }
            Facts::Vault(_) => None,
        }
    }
}

/// A chain as it is now, with its facts.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) chain: Chain,
    pub(super) view: Arc<View>,
}

impl Held {
    pub(super) fn agent(&self) -> Result<&AgentFacts, Stop> {
        match &self.view.facts {
            Facts::Agent(facts) => Ok(facts),
            _ => Err(self.misread()),
        }
    }

    pub(super) fn operators(&self) -> Result<&OperatorFacts, Stop> {
        match &self.view.facts {
            Facts::Operators(facts) => Ok(facts),
            _ => Err(self.misread()),
        }
    }

    pub(super) fn vault(&self) -> Result<&VaultFacts, Stop> {
        match &self.view.facts {
            Facts::Vault(facts) => Ok(facts),
            _ => Err(self.misread()),
        }
    }

    fn misread(&self) -> Stop {
        Stop::Broken(format!("the chain {} does not hold what was asked of it", self.chain.name))
    }
}

/// Why a chain is set aside.
enum Aside {
    Stop(Stop),
    Fault(String),
}

impl From<rusqlite::Error> for Aside {
    fn from(error: rusqlite::Error) -> Aside {
        Aside::Stop(error.into())
    }
}

fn fault<T>(what: impl Into<String>) -> Result<T, Aside> {
    Err(Aside::Fault(what.into()))
}

/// Views in memory, and the chains that are set aside.
#[derive(Debug, Default)]
pub(super) struct Views {
    kept: RwLock<HashMap<ChainName, Held>>,
    aside: Mutex<BTreeMap<ChainName, String>>,
    any_aside: AtomicBool,
}

impl Views {
    /// The chain of this name with its facts, as the connection's transaction sees them; none where there is no chain.
    ///
    /// # Errors
    /// [`Reason::Quarantined`] for a chain that is set aside, now or before.
    pub(super) fn hold(&self, conn: &Connection, shared: &Shared, name: &ChainName) -> Result<Option<Held>, Stop> {
        if self.is_aside(name) {
            return Err(Stop::Denied(Reason::Quarantined.into()));
        }
        match self.look(conn, shared, name) {
            Ok(held) => Ok(held),
            Err(Aside::Stop(stop)) => Err(stop),
            Err(Aside::Fault(what)) => Err(self.set_aside(name, &what)),
        }
    }

    fn look(&self, conn: &Connection, shared: &Shared, name: &ChainName) -> Result<Option<Held>, Aside> {
        let chain = match chains::find(conn, &shared.name, name)? {
            Found::Nothing => return Ok(None),
            Found::Forged => return fault("its row is none of ours"),
            Found::Row(chain) => *chain,
        };
        let kept = self.kept(name);
        if let Some(held) = kept.as_ref().filter(|held| held.chain == chain) {
            return Ok(Some(held.clone()));
        }
        if !chain.verify(&shared.ring) {
            return fault("the MAC of its row does not verify");
        }
        if !chain.fits_its_lines(conn)? {
            return fault("its row and its newest line do not fit");
        }
        let same = |held: &Held| held.chain.deciders == chain.deciders && held.chain.uses == chain.uses;
        let view = match kept.filter(same) {
            Some(held) => held.view,
            None => {
                let (view, forged) = read(conn, shared, &chain)?;
                match view {
                    _ if !forged.is_empty() => return fault(format!("forged rows in {}", forged.join(", "))),
                    Some(view) if view.fits(&chain) => Arc::new(view),
                    _ => return fault("its deciding rows are not those that its row names"),
                }
            }
        };
        let held = Held { chain, view };
        self.keep(held.clone());
        Ok(Some(held))
    }

    /// What is in memory, true or not any more.
    pub(super) fn kept(&self, name: &ChainName) -> Option<Held> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Keeps what a transaction has seen or made durable, unless something newer is there.
    pub(super) fn keep(&self, held: Held) {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= VIEWS && !kept.contains_key(&held.chain.name) {
            kept.clear();
        }
        let newer = kept.get(&held.chain.name).is_some_and(|known| known.chain.head.size > held.chain.head.size);
        if !newer {
            kept.insert(held.chain.name.clone(), held);
        }
    }

    /// Sets a chain aside, and gives the refusal that it causes.
    pub(super) fn set_aside(&self, name: &ChainName, what: &str) -> Stop {
        tracing::error!(chain = %name, what, "a chain does not verify and is quarantined");
        let mut aside = self.aside.lock().unwrap_or_else(PoisonError::into_inner);
        aside.insert(name.clone(), what.to_owned());
        self.any_aside.store(true, Ordering::Release);
        Stop::Denied(crate::denial::Denial::new(Reason::Quarantined).internal(format!("{name}: {what}")))
    }

    pub(super) fn is_aside(&self, name: &ChainName) -> bool {
        self.any_aside.load(Ordering::Acquire)
            && self.aside.lock().unwrap_or_else(PoisonError::into_inner).contains_key(name)
    }

    /// The floor, where `_vault` was looked at lately.
    pub(super) fn floor(&self) -> Timestamp {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let vault = kept.get(&ChainName::vault()).and_then(|held| held.vault().ok());
        vault.map_or(Timestamp::ZERO, |facts| facts.floor)
    }

    /// The chains that are set aside.
    pub(super) fn aside(&self) -> Vec<ChainName> {
        self.aside.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

/// The facts behind a chain, out of the rows that verify, and the tables with rows that do not. For a chain that is set
/// aside nothing is decided by them; they only tell a known key from a stranger's.
pub(super) fn read(conn: &Connection, shared: &Shared, chain: &Chain) -> rusqlite::Result<(Option<View>, Vec<String>)> {
    let mut deciding = Reading::new(conn, &shared.ring);
    let mut using = Reading::new(conn, &shared.ring);
    let facts = if chain.name == ChainName::vault() {
        let row = deciding.vault(chain.id, VERSION)?;
        row.map(Facts::Vault)
    } else if chain.name == ChainName::operators() {
        Some(Facts::Operators(operators(&mut deciding, chain)?))
    } else {
        agent(&mut deciding, &mut using, chain)?.map(Facts::Agent)
    };
    let mut forged = deciding.forged;
    forged.append(&mut using.forged);
    Ok((facts.map(|facts| View { facts, deciders: deciding.macs, uses: using.macs }), forged))
}

fn agent(deciding: &mut Reading<'_>, using: &mut Reading<'_>, chain: &Chain) -> rusqlite::Result<Option<AgentFacts>> {
    let Some((name, since, frozen)) =
        deciding.agent(chain.id)?.filter(|(name, ..)| ChainName::from(name) == chain.name)
    else {
        return Ok(None);
    };
    let of = |text: &str| text.parse::<AgentName>().ok().map(Holder::Agent);
    let keys = deciding.keys(chain.id, of)?;
    let numbers = keys.iter().map(|(id, key)| (key.kid.clone(), *id)).collect();
    let keys = keys.into_iter().map(|(_, key)| key).filter(|key| key.holder == Holder::Agent(name.clone())).collect();
    let grants = deciding.grants(chain.id, &name)?;
    let uses = using.uses(chain.id)?;
    Ok(Some(AgentFacts { agent: Arc::new(Agent { name, since, frozen, keys, grants }), keys: numbers, uses }))
}

fn operators(deciding: &mut Reading<'_>, chain: &Chain) -> rusqlite::Result<OperatorFacts> {
    let mut facts = OperatorFacts::default();
    for (name, since, duty) in deciding.operators(chain.id)? {
        facts.operators.insert(name.clone(), Operator { name, since, duty, keys: Vec::new() });
    }
    let of = |text: &str| text.parse::<OperatorName>().ok().map(Holder::Operator);
    for (id, key) in deciding.keys(chain.id, of)? {
        let Holder::Operator(name) = &key.holder else { continue };
        if let Some(operator) = facts.operators.get_mut(name) {
            facts.keys.insert(key.kid.clone(), id);
            operator.keys.push(key);
        }
    }
    let roles = deciding.roles(chain.id)?;
    let frozen = deciding.freezes(chain.id)?;
    let with_freeze = |role: Role| Role { frozen: frozen.iter().any(|name| *name == role.name.as_str()), ..role };
    facts.roles = roles.into_iter().map(|role| (role.name.clone(), Arc::new(with_freeze(role)))).collect();
    facts.newest = deciding.newest(chain.id)?;
    facts.token_keys = deciding.token_keys(chain.id)?.into_iter().map(|key| (key.epoch, key)).collect();
    let custodians = deciding.custodians(chain.id)?.into_iter();
    facts.custodians = custodians.map(|kept| (kept.custodian.who.name.clone(), kept)).collect();
    facts.policy = deciding.policy(chain.id)?;
    facts.waiting = deciding.waiting(chain.id)?;
    Ok(facts)
}
