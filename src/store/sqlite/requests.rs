//! Requests of agents, decided anew inside the transaction: by the key as it is now, in the window of the present, in
//! the session as it stands, under the grant that is there. Each spends its nonce and appends its entry; what is
//! refused leaves nothing.
//!
//! What a verifier judges by an entry's `ts` is judged here at that same instant, see [`Tx::stamp`]. The window, whether
//! a session is over, and whether a lease is that is given back, are held against the clock itself.

use super::stop::{Stop, is_constraint};
use super::tx::Tx;
use super::views::Held;
use super::{intents, leases, recall};
use crate::audit::entry;
use crate::authn::{self, Authenticated, SessionBound};
use crate::authz::{self, Asked, Peer, Permit};
use crate::crypto::envelope::Embedded;
use crate::crypto::hash::Digest;
use crate::denial::{Denial, Reason};
use crate::grant::Uses;
use crate::id::{AgentName, ChainName, Kid, LeaseId, Nonce, RoleName, Sid};
use crate::lease::{Lease, State};
use crate::registry::{HeldKey, Session};
use crate::statement::Body;
use crate::statement::issue::Issue;
use crate::statement::lease::{Release, Renew};
use crate::statement::register::Register;
use crate::statement::reply::{EntryRef, Hdr};
use crate::statement::request::{Common, Request};
use crate::statement::rotate_key::RotateKey;
use crate::statement::session::{Close, Hello, Seal};
use crate::time::{Seconds, Timestamp};

/// How many keys an agent may bring itself within [`DAY`].
const KEYS_A_DAY: usize = 32;
const DAY: Seconds = Seconds(86_400);

/// A request as a job keeps it: the statement, and the envelope in the shape that its entry holds.
#[derive(Clone, Debug)]
pub(super) struct Asking<B> {
    pub(super) common: Common,
    pub(super) body: B,
    pub(super) req: Digest,
    pub(super) embedded: Embedded,
}

impl<B: Body> Asking<B> {
    pub(super) fn of(request: &Authenticated<Request<B>>) -> Result<Asking<B>, Stop> {
        let Request { common, body } = request.statement().clone();
        Ok(Asking { common, body, req: request.req(), embedded: embed(request.envelope())? })
    }
}

/// The envelope in the shape that entries hold. Only what was admitted is recorded, so it has one.
pub(super) fn embed(envelope: &crate::crypto::envelope::Envelope) -> Result<Embedded, Stop> {
    envelope.embed().ok_or_else(|| Stop::Broken("the request is not canonical JSON".to_owned()))
}

/// Everything about an issuance but the request.
#[derive(Clone, Debug)]
pub(super) struct Minted {
    pub(super) peer: Peer,
    pub(super) hdr: Hdr,
    pub(super) latest: Timestamp,
    pub(super) handle: String,
    pub(super) sealed: Digest,
    /// Whether an intent of it is recorded.
    pub(super) intended: bool,
}

/// The agent's chain and the key, after steps 6 to 9 of the order of checks, with the nonce spent.
fn admit(
    tx: &mut Tx<'_>,
    agent: &AgentName,
    kid: &Kid,
    nonce: &Nonce,
    iat: Timestamp,
) -> Result<(Held, HeldKey), Stop> {
    let held = tx.own(agent)?;
    let at = tx.stamp(&held)?;
    let (id, key) = held.view.key(kid).ok_or_else(|| Denial::new(Reason::Unauthenticated).internal("no such key"))?;
    let key = key.clone();
    key.accepted(at)?;
    let floor = tx.floor()?;
    authn::window(iat, tx.now, tx.shared.rules.skew, floor)?;
    recall::ready(tx, held.chain.id, iat)?;
    tx.spend(id, nonce, iat)?;
    Ok((held, key))
}

/// Whether the agent of this chain may act, and agents at all.
pub(super) fn alive(tx: &mut Tx<'_>, held: &Held) -> Result<(), Stop> {
    if tx.hold(&ChainName::vault())?.vault()?.frozen {
        return Err(Reason::VaultFrozen.into());
    }
    Ok(held.agent()?.agent.alive()?)
}

pub(super) fn admit_alive(tx: &mut Tx<'_>, common: &Common) -> Result<(Held, HeldKey), Stop> {
    let (held, key) = admit(tx, &common.agent, &common.kid, &common.nonce, common.iat)?;
    alive(tx, &held)?;
    Ok((held, key))
}

/// The session of a request: as it is, or a new one where the request may open it.
pub(super) fn bind(
    tx: &mut Tx<'_>,
    held: &mut Held,
    common: &Common,
    seal: Option<&Seal>,
    opened: Timestamp,
) -> Result<(Session, SessionBound), Stop> {
    let rules = tx.shared.rules;
    let (chain, at) = (held.chain.id, tx.stamp(held)?);
    let known = leases::session(tx.conn, chain, &common.agent, &common.sid)?;
    let bound = authn::bind(known.as_ref(), seal, tx.now, rules.session_idle)?;
    if let Some(mut session) = known {
        session.used = session.used.max(at);
        leases::touch_session(tx.conn, chain, &session, rules.session_idle)?;
        return Ok((session, bound));
    }
    let seal = seal.ok_or(Reason::SessionUnknown)?.clone();
    if held.chain.sessions >= rules.sessions_per_agent {
        return Err(Denial::new(Reason::SessionLimit).limit(rules.sessions_per_agent).into());
    }
    let (agent, sid) = (common.agent.clone(), common.sid.clone());
    let session = Session { agent, sid, seal, opened, used: at, ends: opened.plus(rules.session_max), ended: None };
    leases::add_session(tx.conn, chain, &session, rules.session_idle)?;
    held.chain.sessions += 1;
    Ok((session, bound))
}

/// Ends a lease, with the count of those that live. Gives what its entry says of the backend.
pub(super) fn end_lease(tx: &Tx<'_>, held: &mut Held, lease: &mut Lease, state: State) -> Result<String, Stop> {
    lease.end(state, tx.now);
    leases::write(tx.conn, &tx.shared.ring, held.chain.id, lease)?;
    held.chain.leases = held.chain.leases.saturating_sub(1);
    Ok(lease.outcome().to_owned())
}

pub(super) fn open_session(tx: &mut Tx<'_>, asking: &Asking<Hello>) -> Result<(Session, EntryRef), Stop> {
    let (mut held, _) = admit_alive(tx, &asking.common)?;
    tx.clock_is_good(&held)?;
    let opened = tx.stamp(&held)?;
    let (session, _) = bind(tx, &mut held, &asking.common, Some(&asking.body.seal), opened)?;
    let entry = tx.append(&mut held, entry::Session { request: asking.embedded.clone() })?;
    tx.keep(held);
    Ok((session, entry))
}

/// What is recorded answers the request that it is recorded for.
pub(super) fn fits(asking: &Asking<Issue>, hdr: &Hdr, tx: &Tx<'_>) -> Result<(), Stop> {
    let common = &asking.common;
    let fits = hdr.agent == common.agent
        && hdr.kid == common.kid
        && hdr.sid == common.sid
        && hdr.role == asking.body.role
        && hdr.req == asking.req
        && hdr.vault == tx.shared.aud;
    if fits { Ok(()) } else { Err(Stop::Broken("the credential does not answer the request".to_owned())) }
}

/// Step 12, once more: what the grant allows now, to a session that ends then.
pub(super) fn permit(
    tx: &mut Tx<'_>,
    held: &Held,
    asking: &Asking<Issue>,
    minted: &Minted,
    (bound, session_ends): (&SessionBound, Timestamp),
    uses: Uses,
) -> Result<Permit, Stop> {
    let (hdr, body) = (&minted.hdr, &asking.body);
    let role = tx.role(&body.role)?;
    let grant = held.agent()?.agent.grants.iter().find(|grant| grant.role == body.role);
    let asked = Asked {
        agent: &hdr.agent,
        sid: &hdr.sid,
        bound,
        session_ends,
        role: &body.role,
        ttl: body.ttl,
        peer: minted.peer,
        req: asking.req,
    };
    let permit = authz::permit(&asked, grant, role.as_deref(), uses, &hdr.lease, hdr.iat)?;
    if hdr.exp > permit.expires() {
        // The session or the grant came to end earlier between the mint and here.
        return Err(Denial::new(Reason::TtlExceedsSession).limit(permit.expires().since(hdr.iat).0).into());
    }
    Ok(permit)
}

/// What the agent's grant of this role has given so far.
pub(super) fn uses_of(held: &Held, role: &RoleName) -> Result<Uses, Stop> {
    let facts = held.agent()?;
    let grant = facts.agent.grants.iter().find(|grant| grant.role == *role);
    Ok(grant.and_then(|grant| facts.uses.get(&grant.seq)).copied().unwrap_or_default())
}

/// The lease that an issuance makes.
pub(super) fn lease(asking: &Asking<Issue>, minted: &Minted, permit: &Permit, state: State) -> Lease {
    let hdr = &minted.hdr;
    Lease {
        id: hdr.lease.clone(),
        agent: hdr.agent.clone(),
        sid: hdr.sid.clone(),
        role: hdr.role.clone(),
        grant: permit.grant(),
        req: asking.req,
        handle: minted.handle.clone(),
        issued: hdr.iat,
        expires: hdr.exp,
        latest: minted.latest.min(permit.latest()),
        renewable: hdr.renewable,
        revocation: hdr.revocation,
        state,
        ended: None,
        undo: None,
    }
}

/// Writes a new lease and counts it.
pub(super) fn add_lease(tx: &Tx<'_>, held: &mut Held, lease: &Lease, request: Option<&str>) -> Result<(), Stop> {
    let limit = tx.shared.rules.leases_per_agent;
    if held.chain.leases >= limit {
        return Err(Denial::new(Reason::LeaseLimit).limit(limit).into());
    }
    leases::add(tx.conn, &tx.shared.ring, held.chain.id, lease, request).map_err(|error| {
        // The same request under another nonce's row: its digest is the lease's own.
        if is_constraint(&error) { Reason::Replay.into() } else { Stop::from(error) }
    })?;
    held.chain.leases += 1;
    Ok(())
}

/// All that decides about an issuance that has no intent. What it opens, counts and adds is written; its entry is not.
/// Gives the chain and the grant.
pub(super) fn decide(tx: &mut Tx<'_>, asking: &Asking<Issue>, minted: &Minted) -> Result<(Held, u64), Stop> {
    let (mut held, _) = admit_alive(tx, &asking.common)?;
    tx.clock_is_good(&held)?;
    let (session, bound) = bind(tx, &mut held, &asking.common, Some(&asking.body.seal), minted.hdr.iat)?;
    let uses = uses_of(&held, &asking.body.role)?;
    let permit = permit(tx, &held, asking, minted, (&bound, session.ends), uses)?;
    add_lease(tx, &mut held, &lease(asking, minted, &permit, State::Live), None)?;
    tx.put_uses(&mut held, permit.grant(), permit.uses())?;
    Ok((held, permit.grant()))
}

pub(super) fn issue(tx: &mut Tx<'_>, asking: &Asking<Issue>, minted: &Minted) -> Result<EntryRef, Stop> {
    fits(asking, &minted.hdr, tx)?;
    let (mut held, grant) =
        if minted.intended { intents::commit(tx, asking, minted)? } else { decide(tx, asking, minted)? };
    let entry = tx.append(
        &mut held,
        entry::Issue {
            grant,
            handle: minted.handle.clone(),
            hdr: minted.hdr.clone(),
            request: asking.embedded.clone(),
            sealed: minted.sealed,
        },
    )?;
    tx.keep(held);
    Ok(entry)
}

/// The lease of an agent. Another agent's is as unknown as none.
fn own(lease: Option<Lease>, agent: &AgentName) -> Result<Lease, Stop> {
    Ok(lease.filter(|lease| lease.agent == *agent).ok_or(Reason::LeaseUnknown)?)
}

pub(super) fn renew(
    tx: &mut Tx<'_>,
    asking: &Asking<Renew>,
    peer: Peer,
    bears: Option<Timestamp>,
) -> Result<(Lease, EntryRef), Stop> {
    let (mut held, _) = admit_alive(tx, &asking.common)?;
    tx.clock_is_good(&held)?;
    let at = tx.stamp(&held)?;
    bind(tx, &mut held, &asking.common, None, at)?;
    let mut lease = own(leases::by_id(tx.conn, &tx.shared.ring, &asking.body.lease)?, &asking.common.agent)?;
    if lease.sid != asking.common.sid {
        return Err(Denial::new(Reason::LeaseUnknown).detail("the lease belongs to another session").into());
    }
    tx.role(&lease.role)?.map_or(Ok(()), |role| role.alive())?;
    // A verifier holds the lease's end against the entry's `ts`. How much longer it lives is counted from the present.
    if !lease.live(at) {
        return Err(Reason::LeaseEnded.into());
    }
    let agent = &held.agent()?.agent;
    let grant = agent.grants.iter().find(|grant| grant.role == lease.role);
    let allowed = authz::prolong(&lease, grant, peer, asking.body.ttl, tx.now)?;
    lease.expires = bears.map_or(allowed, |bears| allowed.min(bears));
    leases::write(tx.conn, &tx.shared.ring, held.chain.id, &lease)?;
    let body = entry::Renew { exp: lease.expires, lease: lease.id.clone(), request: asking.embedded.clone() };
    let entry = tx.append(&mut held, body)?;
    tx.keep(held);
    Ok((lease, entry))
}

pub(super) fn release(tx: &mut Tx<'_>, asking: &Asking<Release>) -> Result<(Lease, EntryRef), Stop> {
    let (mut held, _) = admit_alive(tx, &asking.common)?;
    let at = tx.stamp(&held)?;
    bind(tx, &mut held, &asking.common, None, at)?;
    let lease = match &asking.body {
        Release::Lease(id) => leases::by_id(tx.conn, &tx.shared.ring, id)?,
        Release::Req(req) => leases::by_req(tx.conn, &tx.shared.ring, req)?,
    };
    let mut lease = own(lease, &asking.common.agent)?;
    // By the clock: what is still good can be given back, though the entry be dated behind its end.
    if !lease.live(tx.now) {
        return Err(Reason::LeaseEnded.into());
    }
    end_lease(tx, &mut held, &mut lease, State::Released)?;
    let body = entry::Release { lease: lease.id.clone(), request: asking.embedded.clone() };
    let entry = tx.append(&mut held, body)?;
    tx.keep(held);
    Ok((lease, entry))
}

/// Ends a session, with the count of those that are open.
pub(super) fn end_session(tx: &Tx<'_>, held: &mut Held, mut session: Session, at: Timestamp) -> Result<(), Stop> {
    session.ended = Some(at);
    leases::touch_session(tx.conn, held.chain.id, &session, tx.shared.rules.session_idle)?;
    held.chain.sessions = held.chain.sessions.saturating_sub(1);
    Ok(())
}

pub(super) fn close(tx: &mut Tx<'_>, asking: &Asking<Close>) -> Result<(u64, EntryRef), Stop> {
    let (mut held, _) = admit_alive(tx, &asking.common)?;
    let at = tx.stamp(&held)?;
    let (session, _) = bind(tx, &mut held, &asking.common, None, at)?;
    let sid: &Sid = &asking.common.sid;
    let mut live = leases::live_of_session(tx.conn, &tx.shared.ring, held.chain.id, sid)?;
    for lease in &mut live {
        end_lease(tx, &mut held, lease, State::Released)?;
    }
    let entry = tx.append(&mut held, entry::Close { request: asking.embedded.clone() })?;
    let ended = held.chain.head.ts;
    end_session(tx, &mut held, session, ended)?;
    tx.keep(held);
    Ok((live.len() as u64, entry))
}

/// The register statement brings the successor of an agent's newest key, under an identifier that is new to the vault.
pub(super) fn successor(tx: &Tx<'_>, held: &Held, new: &Register) -> Result<(i64, HeldKey), Stop> {
    let no = |detail: &str| -> Stop { Denial::new(Reason::BadSuccessor).detail(detail).into() };
    let newest = held.agent()?.agent.newest().ok_or_else(|| no("the agent has no key that it could follow"))?;
    if new.holder != newest.holder {
        return Err(no("it names another holder"));
    }
    if new.prev.as_ref() != Some(&newest.kid) || new.kver != newest.kver + 1 {
        return Err(no(&format!("it does not follow the newest key; {}", super::orders::follow_with(newest))));
    }
    if super::tx::chain_of_key(tx.conn, &new.pk.kid())?.is_some() {
        return Err(Reason::KeyKnown.into());
    }
    let (id, _) = held.view.key(&newest.kid).ok_or_else(|| Stop::Broken("a key without its number".to_owned()))?;
    Ok((id, newest.clone()))
}

/// A holder's keys are kept for ever and weigh on each of its entries, and each is accepted for an overlap: who changes
/// them without end would hold up the writer for all, and leave more keys to end than an operator can.
pub(super) fn slowly_enough(keys: &[HeldKey], at: Timestamp) -> Result<(), Stop> {
    match keys.iter().rev().nth(KEYS_A_DAY - 1).map(|key| key.since.plus(DAY)) {
        Some(free) if at < free => Err(Denial::new(Reason::RateLimited)
            .limit(free.since(at).0 + 1)
            .detail("the key was changed as often as it may be within a day")
            .into()),
        _ => Ok(()),
    }
}

pub(super) fn rotate_key(
    tx: &mut Tx<'_>,
    asking: &Asking<RotateKey>,
    new: &Register,
) -> Result<(Timestamp, EntryRef), Stop> {
    let (mut held, signer) = admit_alive(tx, &asking.common)?;
    // Until when the old key is accepted is told by this clock.
    tx.clock_is_good(&held)?;
    let (id, mut old) = successor(tx, &held, new)?;
    if old.kid != signer.kid {
        return Err(Denial::new(Reason::BadSuccessor).detail("only the newest key may bring its successor").into());
    }
    let keys = &held.agent()?.agent.keys;
    slowly_enough(keys, tx.stamp(&held)?)?;
    let grace = tx.stamp(&held)?.plus(tx.shared.rules.key_overlap);
    let body = entry::AgentKey {
        by: None,
        grace: Some(grace),
        register: asking.body.new.clone(),
        request: Some(asking.embedded.clone()),
    };
    let entry = tx.append_deciding(&mut held, body)?;
    let since = held.chain.head.ts;
    old.grace = Some(grace);
    tx.write_key(&mut held, id, old)?;
    tx.add_key(&mut held, HeldKey::registered(new, since))?;
    tx.keep(held);
    Ok((grace, entry))
}

/// A refusal as a job keeps it.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) agent: AgentName,
    pub(super) kid: Kid,
    pub(super) nonce: Nonce,
    pub(super) iat: Timestamp,
    pub(super) embedded: Embedded,
    pub(super) reason: Reason,
}

pub(super) fn deny(tx: &mut Tx<'_>, refused: &Refused) -> Result<Option<EntryRef>, Stop> {
    let (mut held, _) = admit(tx, &refused.agent, &refused.kid, &refused.nonce, refused.iat)?;
    let (chain, minute, reason) = (held.chain.id, tx.now.minute(), refused.reason.code());
    let sql = "SELECT COALESCE(SUM(entries), 0) FROM denials WHERE minute = ?1 AND chain = ?2";
    let entries: u64 = tx.conn.prepare_cached(sql)?.query_row(rusqlite::params![minute, chain], |row| row.get(0))?;
    let own = entries < tx.shared.rules.denials_per_minute;
    let sql = "INSERT INTO denials (minute, chain, reason, entries, counted, first, last)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)
               ON CONFLICT (minute, chain, reason) DO UPDATE SET entries = entries + ?4, counted = counted + ?5,
               first = CASE WHEN counted = 0 THEN ?6 ELSE first END, last = ?6";
    let (entry, counted) = if own { (1, 0) } else { (0, 1) };
    tx.conn.prepare_cached(sql)?.execute(rusqlite::params![minute, chain, reason, entry, counted, tx.now.0])?;
    if !own {
        return Ok(None);
    }
    let body = entry::Deny { handle: None, lease: None, reason: reason.to_owned(), request: refused.embedded.clone() };
    let entry = tx.append(&mut held, body)?;
    tx.keep(held);
    Ok(Some(entry))
}

/// Ends a lease whose answer never left.
pub(super) fn undelivered(tx: &mut Tx<'_>, id: &LeaseId) -> Result<(), Stop> {
    let lease = leases::by_id(tx.conn, &tx.shared.ring, id)?;
    let Some(mut lease) = lease.filter(|lease| lease.state == State::Live) else { return Ok(()) };
    let mut held = tx.hold(&ChainName::from(&lease.agent))?;
    let outcome = end_lease(tx, &mut held, &mut lease, State::Undelivered)?;
    tx.append(&mut held, entry::Undelivered { lease: id.clone(), outcome })?;
    tx.keep(held);
    Ok(())
}
