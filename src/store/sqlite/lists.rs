//! Reads for operators: lists by keyset, so that the hundredth page costs what the first does.

use std::rc::Rc;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::super::{Census, GrantInUse, Lines, Listed, SecretVersion, StoredLines};
use super::chains;
use super::checkpoints;
use super::leases::{self, COLUMNS, TABLES, TABLES_UNDO};
use super::reader::Instant;
use super::rows::{maybe_time, parsed, time};
use super::stop::Stop;
use super::takebacks;
use super::views::{Held, VaultFacts};
use crate::denial::Reason;
use crate::grant::Role;
use crate::id::{AgentName, ChainName, Kid, LeaseId, RoleName, SecretName};
use crate::lease::{Lease, State};
use crate::registry::{Agent, Operator};
use crate::statement::command::Page;
use crate::statement::lease::Which;
use crate::statement::request::Seen;
use crate::statement::secret::SecretUse;
use crate::time::Timestamp;

/// How many rows a page of leases looks at, so that a long run of dead ones does not hold a read open.
const LOOKED_AT: u64 = 10_000;

fn limit(page: &Page) -> u64 {
    page.limit.clamp(1, Page::MAX)
}

/// Names after the page's place, one more than the page holds: the last tells that there is more.
fn names<T: std::str::FromStr>(conn: &Connection, sql: &str, page: &Page) -> rusqlite::Result<Vec<T>> {
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map(params![page.after, limit(page) + 1], |row| parsed(row, 0))?;
    // A name that is none of ours belongs to a forged row.
    rows.filter_map(Result::transpose).collect()
}

/// Cuts a list that was read with one item more than its page.
fn cut<T>(mut items: Vec<T>, page: &Page, name: impl Fn(&T) -> String) -> Listed<T> {
    let room = usize::try_from(limit(page)).unwrap_or(usize::MAX);
    let more = items.len() > room;
    items.truncate(room);
    Listed { next: more.then(|| items.last().map(&name)).flatten(), items }
}

/// A chain that is set aside is left out of a list and named by the census.
fn unless_aside(held: Result<Option<Rc<Held>>, Stop>) -> Result<Option<Rc<Held>>, Stop> {
    match held {
        Err(Stop::Denied(denial)) if denial.reason == Reason::Quarantined => Ok(None),
        held => held,
    }
}

pub(super) fn operators(at: Instant<'_>) -> Result<Vec<Operator>, Stop> {
    Ok(at.hold(&ChainName::operators())?.operators()?.operators.values().cloned().collect())
}

pub(super) fn operator(at: Instant<'_>, kid: &Kid) -> Result<Option<Operator>, Stop> {
    let held = at.hold(&ChainName::operators())?;
    let mut operators = held.operators()?.operators.values();
    Ok(operators.find(|operator| operator.keys.iter().any(|key| key.kid == *kid)).cloned())
}

pub(super) fn agents(at: Instant<'_>, page: &Page) -> Result<Listed<Arc<Agent>>, Stop> {
    let sql = "SELECT name FROM agents WHERE name > ?1 ORDER BY name LIMIT ?2";
    let names = cut(names::<AgentName>(at.conn, sql, page)?, page, ToString::to_string);
    let mut items = Vec::new();
    for name in &names.items {
        if let Some(held) = unless_aside(at.look(&ChainName::from(name)))? {
            items.push(Arc::clone(&held.agent()?.agent));
        }
    }
    Ok(Listed { items, next: names.next })
}

pub(super) fn agent(at: Instant<'_>, name: &AgentName) -> Result<Option<(Arc<Agent>, Seen)>, Stop> {
    let Some(held) = at.look(&ChainName::from(name))? else { return Ok(None) };
    Ok(Some((Arc::clone(&held.agent()?.agent), held.chain.head.seen())))
}

pub(super) fn roles(at: Instant<'_>, page: &Page) -> Result<Listed<Arc<Role>>, Stop> {
    let held = at.hold(&ChainName::operators())?;
    let after = held.operators()?.roles.iter().filter(|(name, _)| name.as_str() > page.after.as_str());
    let room = usize::try_from(limit(page) + 1).unwrap_or(usize::MAX);
    let items = after.map(|(_, role)| Arc::clone(role)).take(room).collect();
    Ok(cut(items, page, |role: &Arc<Role>| role.name.to_string()))
}

pub(super) fn role(at: Instant<'_>, name: &RoleName) -> Result<Option<Arc<Role>>, Stop> {
    Ok(at.hold(&ChainName::operators())?.operators()?.roles.get(name).cloned())
}

fn version(row: &Row<'_>) -> rusqlite::Result<Option<SecretVersion>> {
    let Some(name) = parsed(row, 0)? else { return Ok(None) };
    let Some(used) = SecretUse::from_word(row.get_ref(4)?.as_str()?) else { return Ok(None) };
    let (since, expires) = (time(row, 2)?, maybe_time(row, 5)?);
    Ok(Some(SecretVersion { name, version: row.get(1)?, since, bytes: row.get(3)?, used, expires }))
}

pub(super) fn secrets(at: Instant<'_>, page: &Page) -> Result<Listed<SecretVersion>, Stop> {
    // Each step seeks the next name and that name's newest version: the versions between are not walked through.
    let sql = "SELECT name, version, since, bytes, used, expires FROM secrets
               WHERE name = (SELECT name FROM secrets WHERE name > ?1 ORDER BY name LIMIT 1)
               ORDER BY version DESC LIMIT 1";
    let mut statement = at.conn.prepare_cached(sql)?;
    let (mut items, mut after) = (Vec::new(), page.after.clone());
    while items.len() as u64 <= limit(page)
        && let Some(found) = statement.query_row([after.as_str()], |row| Ok((row.get(0)?, version(row)?))).optional()?
    {
        after = found.0;
        items.extend(found.1);
    }
    Ok(cut(items, page, |secret: &SecretVersion| secret.name.to_string()))
}

pub(super) fn secret_versions(at: Instant<'_>, name: &SecretName) -> Result<Vec<SecretVersion>, Stop> {
    let sql = "SELECT name, version, since, bytes, used, expires FROM secrets WHERE name = ?1 ORDER BY version";
    let mut statement = at.conn.prepare_cached(sql)?;
    let rows = statement.query_map([name.as_str()], version)?;
    Ok(rows.filter_map(Result::transpose).collect::<rusqlite::Result<_>>()?)
}

/// Grants by agent and role. A place in the list is written `agent:role`; neither name can hold a colon.
pub(super) fn grants(at: Instant<'_>, agent: Option<&AgentName>, page: &Page) -> Result<Listed<GrantInUse>, Stop> {
    let (after_agent, after_role) = page.after.split_once(':').unwrap_or((page.after.as_str(), ""));
    let sql = "SELECT name FROM agents a WHERE name >= ?1 AND EXISTS (SELECT 1 FROM grants g WHERE g.chain = a.chain)
               ORDER BY name LIMIT ?2";
    let from = Page { after: after_agent.to_owned(), ..page.clone() };
    let holders: Vec<AgentName> = match agent {
        Some(agent) => vec![agent.clone()],
        None => names(at.conn, sql, &from)?,
    };
    let mut items = Vec::new();
    for name in holders {
        if items.len() as u64 > limit(page) {
            break;
        }
        let Some(held) = unless_aside(at.look(&ChainName::from(&name)))? else { continue };
        let facts = held.agent()?;
        for grant in &facts.agent.grants {
            if (name.as_str(), grant.role.as_str()) > (after_agent, after_role) {
                let uses = facts.uses.get(&grant.seq).copied().unwrap_or_default();
                items.push(GrantInUse { grant: grant.clone(), uses });
            }
        }
    }
    Ok(cut(items, page, |one: &GrantInUse| format!("{}:{}", one.grant.agent, one.grant.role)))
}

/// Leases, newest first. A page may hold fewer than asked for and still have a next.
pub(super) fn leases(
    at: Instant<'_>,
    agent: Option<&AgentName>,
    which: Which,
    page: &Page,
) -> Result<Listed<Lease>, Stop> {
    // Beyond the newest there is none; what is no lease's name comes before all.
    let before = match page.after.as_str() {
        "" => [0xff; 16],
        text => text.parse::<LeaseId>().map_or([0; 16], |id| id.bytes()),
    };
    let chain = match agent {
        Some(agent) => match at.look(&ChainName::from(agent)) {
            Ok(None) => return Ok(Listed { items: Vec::new(), next: None }),
            held => held?.map(|held| held.chain.id),
        },
        None => None,
    };
    let condition = if chain.is_some() { "l.chain = ?2 AND" } else { "?2 IS NULL AND" };
    // Those that wait for their backends are few beside all that ever were, and stand in an index of their own. Left to
    // itself, the database would rather go through all than sort these.
    let (tables, waits, most) = match which {
        Which::Stuck => (TABLES_UNDO, "l.retry IS NOT NULL AND l.state != 'intended' AND", limit(page) + 1),
        Which::All | Which::Live => (TABLES, "", LOOKED_AT + 1),
    };
    let sql = format!("SELECT {COLUMNS} FROM {tables} WHERE {waits} {condition} l.id < ?1 ORDER BY l.id DESC LIMIT ?3");
    let mut statement = at.conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params![before, chain, most])?;
    let (mut items, mut seen, mut last) = (Vec::new(), 0, None);
    while let Some(row) = rows.next()? {
        if items.len() as u64 == limit(page) || seen == LOOKED_AT {
            return Ok(Listed { items, next: last });
        }
        let lease = leases::read(row, &at.shared.ring)?;
        (seen, last) = (seen + 1, Some(lease.id.to_string()));
        if which != Which::Live || lease.state == State::Live {
            items.push(lease);
        }
    }
    Ok(Listed { items, next: None })
}

pub(super) fn lease(at: Instant<'_>, id: &LeaseId) -> Result<Option<Lease>, Stop> {
    Ok(leases::by_id(at.conn, &at.shared.ring, id)?)
}

/// Chains as their rows are: one that is set aside is listed too, since its lines can be read.
pub(super) fn chains(at: Instant<'_>, page: &Page) -> Result<Listed<(ChainName, Seen)>, Stop> {
    let sql = "SELECT name FROM chains WHERE name > ?1 ORDER BY name LIMIT ?2";
    let names = cut(names::<ChainName>(at.conn, sql, page)?, page, ToString::to_string);
    let mut items = Vec::new();
    for name in names.items {
        if let chains::Found::Row(chain) = chains::find(at.conn, &at.shared.name, &name)? {
            items.push((name, chain.head.seen()));
        }
    }
    Ok(Listed { items, next: names.next })
}

/// Lines as they stand. They are read for whoever verifies, so a chain that is set aside is shown too.
pub(super) fn lines(
    at: Instant<'_>,
    name: &ChainName,
    from: u64,
    limit: u64,
    bytes: usize,
) -> Result<Option<Lines>, Stop> {
    let chains::Found::Row(chain) = chains::find(at.conn, &at.shared.name, name)? else { return Ok(None) };
    let lines = chains::lines(at.conn, &chain, from, limit, bytes)?;
    Ok(Some(Lines { lines, head: chain.head.seen() }))
}

/// Lines with the leaves beside them, of a chain that is not set aside.
pub(super) fn stored_lines(
    at: Instant<'_>,
    name: &ChainName,
    from: u64,
    limit: u64,
    bytes: usize,
) -> Result<Option<StoredLines>, Stop> {
    let held = match at.look(name) {
        Ok(Some(held)) => held,
        Ok(None) | Err(Stop::Denied(_)) => return Ok(None),
        Err(stop) => return Err(stop),
    };
    let lines = chains::stored(at.conn, &held.chain, from, limit, bytes)?;
    Ok(Some(StoredLines { lines, head: held.chain.head.clone() }))
}

fn undoing_since(at: Instant<'_>) -> Result<Option<Timestamp>, Stop> {
    let sql = "SELECT MIN(COALESCE(ended, issued)) FROM leases WHERE retry IS NOT NULL AND state != 'intended'";
    let since: Option<u64> = at.conn.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok(since.map(Timestamp))
}

pub(super) fn census(at: Instant<'_>) -> Result<Census, Stop> {
    let count = |sql: &str| at.conn.prepare_cached(sql)?.query_row([], |row| row.get::<_, u64>(0));
    // Of a chain that is set aside nothing is known, and nothing is issued either.
    let vault = at.look(&ChainName::vault()).ok().flatten();
    let facts = vault.as_ref().and_then(|held| held.vault().ok());
    Ok(Census {
        frozen: facts.is_some_and(|facts| facts.frozen),
        resets: facts.map(VaultFacts::resets),
        agents: count("SELECT COUNT(*) FROM agents")?,
        roles: count("SELECT COUNT(*) FROM roles")?,
        grants: count("SELECT COUNT(*) FROM grants")?,
        sessions: count("SELECT COALESCE(SUM(sessions), 0) FROM chains")?,
        leases: count("SELECT COALESCE(SUM(leases), 0) FROM chains")?,
        revoking: takebacks::left(at.conn)?,
        undoing: count("SELECT COUNT(*) FROM leases WHERE retry IS NOT NULL AND state != 'intended'")?,
        undoing_since: undoing_since(at)?,
        chains: count("SELECT COUNT(*) FROM chains")?,
        entries: count("SELECT COALESCE(SUM(size), 0) FROM chains")?,
        checkpoint_due: checkpoints::due_longest(at)?,
        quarantined: at.shared.views.aside(),
    })
}
