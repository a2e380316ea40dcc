//! Foresight: what would be decided, found by deciding it. The very transaction of an issuance or an order is carried
//! through in a savepoint and undone to the last row, so that what is foretold and what is done cannot differ, and what
//! is asked for cannot be done.

use rusqlite::OptionalExtension as _;

use super::super::{Figures, Foresight, Foretold, Sample};
use super::orders::{self, Wish};
use super::requests::{self, Asking, Minted, embed};
use super::stop::Stop;
use super::tx::Tx;
use super::writer::execute;
use super::{intents, leases};
use crate::crypto::hash::Digest;
use crate::denial::Denial;
use crate::id::{AgentName, ChainName, Kid};
use crate::lease::Lease;
use crate::statement::explain::Explain;
use crate::statement::grant::GrantRevoke;
use crate::statement::issue::Issue;

/// How many leases are named that would end.
const NAMED: usize = 100;

/// What is to be foreseen, as a job keeps it.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    of: Option<(AgentName, Kid)>,
    wish: Option<Wish>,
    revoke: Option<GrantRevoke>,
    request: Option<(Asking<Issue>, Minted)>,
}

impl Wanted {
    pub(super) fn of(foresight: &Foresight<'_>) -> Result<Wanted, Stop> {
        let question = foresight.question;
        let request = |sample: &Sample| -> Result<(Asking<Issue>, Minted), Stop> {
            let Sample { common, body, peer, hdr, latest, handle, intended } = sample.clone();
            let embedded = embed(question.envelope())?;
            let minted = Minted { peer, latest, handle, sealed: Digest::ZERO, intended, hdr };
            Ok((Asking { common, body, req: minted.hdr.req, embedded }, minted))
        };
        let revoke = match &question.statement().body {
            Explain::Revoke(body) => Some(body.clone()),
            Explain::Request(_) | Explain::Grant(_) => None,
        };
        let request = foresight.request.as_ref().map(request).transpose()?;
        Ok(Wanted { of: foresight.of.clone(), wish: Wish::supposed(question)?, revoke, request })
    }
}

/// Carries all of it through and undoes it.
pub(super) fn foresee(tx: &mut Tx<'_>, wanted: &Wanted) -> Result<Foretold, Stop> {
    let mut told = Foretold { figures: None, order: None, wanting: None, ends: Vec::new(), request: None };
    if let Some((agent, kid)) = &wanted.of {
        told.figures = figures(tx, agent, kid)?;
    }
    if let Some(body) = &wanted.revoke {
        told.ends = ends(tx, body)?;
    }
    let (mark, now, newest) = (tx.mark(), tx.now, tx.newest);
    execute(tx.conn, "SAVEPOINT foresight")?;
    let carried = carry(tx, wanted, &mut told);
    execute(tx.conn, "ROLLBACK TO foresight")?;
    execute(tx.conn, "RELEASE foresight")?;
    tx.back_to(mark);
    (tx.now, tx.newest) = (now, newest);
    carried?;
    Ok(told)
}

fn carry(tx: &mut Tx<'_>, wanted: &Wanted, told: &mut Foretold) -> Result<(), Stop> {
    if let Some(wish) = &wanted.wish {
        let standing = orders::standing_as_meant(tx, wish)?;
        told.wanting = (standing.missing() > 0).then_some((standing.persons, standing.missing()));
        let order = decided(orders::permitted_as_meant(tx, wish).and_then(|()| orders::effect(tx, wish)))?;
        let order = order.map(|(_, result)| result);
        let refused = order.is_err();
        told.order = Some(order);
        if refused {
            return Ok(());
        }
    }
    if let Some((asking, minted)) = &wanted.request {
        tx.now = asking.common.iat;
        let issued = match minted.intended {
            true => intents::intend(tx, asking, minted, tx.now),
            false => requests::decide(tx, asking, minted).map(drop),
        };
        told.request = Some(decided(issued)?);
    }
    Ok(())
}

/// A refusal is what was asked for; what keeps it from being found is not.
fn decided<T>(done: Result<T, Stop>) -> Result<Result<T, Denial>, Stop> {
    match done {
        Ok(done) => Ok(Ok(done)),
        Err(Stop::Denied(denial)) => Ok(Err(denial)),
        Err(stop) => Err(stop),
    }
}

fn figures(tx: &mut Tx<'_>, agent: &AgentName, kid: &Kid) -> Result<Option<Figures>, Stop> {
    let Some(held) = tx.agent(agent)? else { return Ok(None) };
    let key = held.view.key(kid).map(|(id, _)| id);
    let mut live = tx.conn.prepare_cached("SELECT count FROM nonces_live WHERE key = ?1")?;
    let nonces = live.query_row([key], |row| row.get(0)).optional()?.unwrap_or_default();
    let newest = tx.newest.max(held.chain.head.ts);
    Ok(Some(Figures { nonces, sessions: held.chain.sessions, leases: held.chain.leases, newest }))
}

fn ends(tx: &mut Tx<'_>, body: &GrantRevoke) -> Result<Vec<Lease>, Stop> {
    let Some(held) = tx.look(&ChainName::from(&body.agent))? else { return Ok(Vec::new()) };
    let grants = &held.agent()?.agent.grants;
    let Some(grant) = grants.iter().find(|grant| grant.role == body.role) else { return Ok(Vec::new()) };
    let mut live = leases::live_of_grant(tx.conn, &tx.shared.ring, held.chain.id, grant.seq)?;
    live.truncate(NAMED);
    Ok(live)
}
