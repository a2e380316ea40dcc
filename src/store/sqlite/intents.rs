//! Intents: what is about to be made at a backend is written down before the backend is asked, so that a crash at any
//! point leaves something that is found and undone.
//!
//! | a crash after | leaves | and then |
//! |---|---|---|
//! | the intent | an intent, and nothing or a credential at the backend | at the next start it becomes a `deny` (`interrupted`), and is undone at its backend |
//! | the mint | the same | the same |
//! | the commit | a live lease whose agent may not have the answer | the agent releases it by `req`, or it expires |
//!
//! The intent spends the nonce and counts the use and the lease; it opens no session and appends no entry. The commit
//! decides again what may have changed since, leaving out what the intent has reserved for this very request. An intent
//! that is not committed in its time is taken to be broken off, whoever made it.

use super::leases::{self, over};
use super::requests::{self, Asking, Minted};
use super::stop::Stop;
use super::tx::Tx;
use super::views::Held;
use crate::audit::entry;
use crate::authn;
use crate::crypto::envelope::Embedded;
use crate::denial::{Denial, Reason};
use crate::grant::Uses;
use crate::id::{ChainName, LeaseId};
use crate::lease::{State, Undo};
use crate::statement::issue::Issue;
use crate::statement::reply::EntryRef;
use crate::time::Timestamp;

/// Records what will be made; `until` is when it is taken to be broken off.
pub(super) fn intend(tx: &mut Tx<'_>, asking: &Asking<Issue>, minted: &Minted, until: Timestamp) -> Result<(), Stop> {
    requests::fits(asking, &minted.hdr, tx)?;
    let (mut held, _) = requests::admit_alive(tx, &asking.common)?;
    tx.clock_is_good(&held)?;
    let (common, rules) = (&asking.common, tx.shared.rules);
    let session = leases::session(tx.conn, held.chain.id, &common.agent, &common.sid)?;
    let bound = authn::bind(session.as_ref(), Some(&asking.body.seal), tx.now, rules.session_idle)?;
    if session.is_none() && held.chain.sessions >= rules.sessions_per_agent {
        return Err(Denial::new(Reason::SessionLimit).limit(rules.sessions_per_agent).into());
    }
    let ends = session.map_or(minted.hdr.iat.plus(rules.session_max), |session| session.ends);
    let uses = requests::uses_of(&held, &asking.body.role)?;
    let permit = requests::permit(tx, &held, asking, minted, (&bound, ends), uses)?;
    let mut lease = requests::lease(asking, minted, &permit, State::Intended);
    lease.undo = Some(Undo::at(until));
    let request = String::from_utf8(crate::crypto::json::canonical(&asking.embedded)).expect("canonical JSON is UTF-8");
    requests::add_lease(tx, &mut held, &lease, Some(&request))?;
    tx.put_uses(&mut held, permit.grant(), permit.uses())?;
    tx.keep(held);
    Ok(())
}

/// Makes an intent a live lease, if all that decides still lets it. Gives the chain and the grant.
pub(super) fn commit(tx: &mut Tx<'_>, asking: &Asking<Issue>, minted: &Minted) -> Result<(Held, u64), Stop> {
    let common = &asking.common;
    let mut held = tx.own(&common.agent)?;
    let at = tx.stamp(&held)?;
    let (_, key) = held.view.key(&common.kid).ok_or(Reason::KeyRetired)?;
    key.accepted(at)?;
    let floor = tx.floor()?;
    authn::window(common.iat, tx.now, tx.shared.rules.skew, floor)?;
    requests::alive(tx, &held)?;
    tx.clock_is_good(&held)?;
    let intent =
        leases::intent(tx.conn, &tx.shared.ring, &minted.hdr.lease)?.filter(|(lease, _)| lease.req == asking.req);
    let (intent, _) = intent.ok_or(Reason::Interrupted)?;
    let (session, bound) = requests::bind(tx, &mut held, common, Some(&asking.body.seal), minted.hdr.iat)?;
    // The use is counted already: whether there is one left was decided with the intent.
    let permit = requests::permit(tx, &held, asking, minted, (&bound, session.ends), Uses::default())?;
    if permit.grant() != intent.grant {
        return Err(Denial::new(Reason::NoGrant).internal("the grant was taken back and given anew meanwhile").into());
    }
    let lease = requests::lease(asking, minted, &permit, State::Live);
    leases::write(tx.conn, &tx.shared.ring, held.chain.id, &lease)?;
    Ok((held, permit.grant()))
}

/// Ends an intent that came to nothing: its `deny`, and its backend to be looked at. Gives nothing where there is no
/// such intent any more.
pub(super) fn abandon(tx: &mut Tx<'_>, id: &LeaseId, reason: Reason) -> Result<Option<EntryRef>, Stop> {
    let Some((mut lease, request)) = leases::intent(tx.conn, &tx.shared.ring, id)? else { return Ok(None) };
    let request: Embedded =
        serde_json::from_str(&request).map_err(|why| Stop::Broken(format!("the intent {id} has no request: {why}")))?;
    let mut held = tx.hold(&ChainName::from(&lease.agent))?;
    lease.end(State::Abandoned, tx.now);
    leases::write(tx.conn, &tx.shared.ring, held.chain.id, &lease)?;
    held.chain.leases = held.chain.leases.saturating_sub(1);
    // The use is given back; that it was paced is not, so that a backend that is down is not asked without measure.
    if let Some(uses) = held.agent()?.uses.get(&lease.grant).copied() {
        tx.put_uses(&mut held, lease.grant, Uses { count: uses.count.saturating_sub(1), ..uses })?;
    }
    let body =
        entry::Deny { handle: Some(lease.handle), lease: Some(lease.id), reason: reason.code().to_owned(), request };
    let entry = tx.append(&mut held, body)?;
    tx.keep(held);
    Ok(Some(entry))
}

/// Ends intents that are broken off: those past their time, or `all`. Gives how many.
pub(super) fn interrupt(tx: &mut Tx<'_>, all: bool, limit: u64) -> Result<u64, Stop> {
    let sql = "SELECT l.id, c.name FROM leases l JOIN chains c ON c.id = l.chain
               WHERE l.state = 'intended' AND l.retry <= ?1 ORDER BY l.retry";
    let now = if all { Timestamp(i64::MAX as u64) } else { tx.now };
    let views = &tx.shared.views;
    let due: Vec<(LeaseId, ChainName)> = over(tx.conn, sql, now, limit, |row| {
        let name: Option<ChainName> = super::rows::parsed(row, 1)?;
        let Some(name) = name.filter(|name| !views.is_aside(name)) else { return Ok(None) };
        Ok(super::due::unless_forged(views, &name, leases::lease_id(row, 0))?.map(|id| (id, name)))
    })?;
    let mut ended = 0;
    for (id, name) in due {
        if super::due::open_chain(tx, &name)?.is_none() {
            continue;
        }
        match abandon(tx, &id, Reason::Interrupted) {
            Err(Stop::Sql(error)) => {
                super::due::unless_forged::<()>(&tx.shared.views, &name, Err(error))?;
            }
            done => ended += u64::from(done?.is_some()),
        }
    }
    Ok(ended)
}
