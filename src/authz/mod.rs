//! What may be had: a pure function from who asks, what, on which terms and when, to a [`Permit`] or a denial.
//!
//! Nothing is clipped. A life longer than allowed is refused with the limit; only where the agent asks for none
//! (`ttl` 0) the grant's default is cut to what is left of grant and session. What operators may command is judged in
//! [`operator`].

pub mod operator;

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Map, Value};

use crate::authn::SessionBound;
use crate::crypto::hash::Digest;
use crate::denial::{Denial, Reason};
use crate::grant::{Grant, Role, Uses};
use crate::id::{AgentName, LeaseId, RoleName, Sid};
use crate::lease::Lease;
use crate::time::{Seconds, Timestamp};

/// Where a request came from. It can narrow what is allowed and never widen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A TCP connection.
    Tcp(IpAddr),
    /// The unix socket, with the peer's uid where the kernel told it.
    Unix(Option<u32>),
}

impl Peer {
    /// The address that networks in terms are compared with; a unix socket counts as loopback.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        match self {
            Peer::Tcp(address) => *address,
            Peer::Unix(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }
}

/// What is asked, as far as the decision needs it.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// Who.
    pub agent: &'a AgentName,
    /// In which session.
    pub sid: &'a Sid,
    /// The proof that the session is open, or may be opened, under the seal of the request.
    pub bound: &'a SessionBound,
    /// When that session ends at the latest.
    pub session_ends: Timestamp,
    /// Which role.
    pub role: &'a RoleName,
    /// For how long; 0 takes the default.
    pub ttl: Seconds,
    /// From where.
    pub peer: Peer,
    /// H(PAE) of the request.
    pub req: Digest,
}

/// Leave to mint one credential. Only [`permit`] makes one.
#[derive(Clone, Debug)]
pub struct Permit {
    agent: AgentName,
    sid: Sid,
    role: Role,
    grant: u64,
    lease: LeaseId,
    req: Digest,
    issued: Timestamp,
    expires: Timestamp,
    latest: Timestamp,
    uses: Uses,
}

/// Step 12: a live grant covers what is asked.
///
/// `grant` is the agent's live grant of the role, if there is one; `lease` the identifier that the credential will be
/// held under.
///
/// # Errors
/// A denial of fault [`crate::denial::Fault::Grant`] or [`crate::denial::Fault::Limit`], with the limit.
pub fn permit(
    asked: &Asked<'_>,
    grant: Option<&Grant>,
    role: Option<&Role>,
    uses: Uses,
    lease: &LeaseId,
    now: Timestamp,
) -> Result<Permit, Denial> {
    let (Some(grant), Some(role)) = (grant, role) else {
        return Err(Denial::new(Reason::NoGrant).internal(format!("{} asked for {}", asked.agent, asked.role)));
    };
    if grant.agent != *asked.agent || grant.role != *asked.role || role.name != grant.role {
        return Err(Denial::new(Reason::NoGrant).internal("a grant of another agent or role was presented"));
    }
    role.alive()?;
    let terms = &grant.terms;
    if terms.until.is_some_and(|until| until <= now) {
        return Err(Denial::new(Reason::GrantExpired).limit(terms.until.unwrap_or_default().0));
    }
    if terms.session.as_ref().is_some_and(|pattern| !pattern.covers(asked.sid)) {
        return Err(Reason::SessionNotGranted.into());
    }
    if !terms.cover_address(asked.peer.address()) {
        return Err(outside(asked.peer));
    }
    let expires = expiry(asked, grant, now)?;
    if let Some(max) = terms.max_uses.filter(|max| uses.count >= *max) {
        return Err(Denial::new(Reason::GrantExhausted).limit(max));
    }
    let uses = uses.one_more(terms.rate, now).map_err(|wait| Denial::new(Reason::RateLimited).limit(wait))?;
    Ok(Permit {
        agent: asked.agent.clone(),
        sid: asked.sid.clone(),
        role: role.clone(),
        grant: grant.seq,
        lease: lease.clone(),
        req: asked.req,
        issued: now,
        expires,
        latest: bound(now, asked.session_ends, grant),
        uses,
    })
}

fn outside(peer: Peer) -> Denial {
    Denial::new(Reason::AddressNotGranted).internal(format!("peer {}", peer.address()))
}

/// The latest that a lease issued at `issued` may live.
fn bound(issued: Timestamp, session_ends: Timestamp, grant: &Grant) -> Timestamp {
    let by_terms = issued.plus(grant.terms.max_ttl).min(session_ends);
    grant.terms.until.map_or(by_terms, |until| by_terms.min(until))
}

fn expiry(asked: &Asked<'_>, grant: &Grant, now: Timestamp) -> Result<Timestamp, Denial> {
    let terms = &grant.terms;
    let latest = bound(now, asked.session_ends, grant);
    if asked.ttl.0 == 0 {
        return Ok(now.plus(terms.ttl).min(latest));
    }
    let left = terms.until.map_or(terms.max_ttl, |until| terms.max_ttl.min(until.since(now)));
    if asked.ttl > left {
        return Err(Denial::new(Reason::TtlExceedsGrant).limit(left.0));
    }
    let in_session = asked.session_ends.since(now);
    if asked.ttl > in_session {
        return Err(Denial::new(Reason::TtlExceedsSession).limit(in_session.0));
    }
    Ok(now.plus(asked.ttl))
}

/// How long a lease may live on when its agent asks for `ttl` more from now. The grant must still be there: a renewal
/// never outlives the leave it rests on, nor the lease's own latest time.
///
/// # Errors
/// [`Reason::LeaseEnded`], [`Reason::NotRenewable`], [`Reason::NoGrant`], [`Reason::AddressNotGranted`], [`Reason::TtlExceedsGrant`] with the seconds
/// that are left.
pub fn prolong(
    lease: &Lease,
    grant: Option<&Grant>,
    peer: Peer,
    ttl: Seconds,
    now: Timestamp,
) -> Result<Timestamp, Denial> {
    if !lease.live(now) {
        return Err(Reason::LeaseEnded.into());
    }
    if !lease.renewable {
        return Err(Reason::NotRenewable.into());
    }
    let grant = grant.filter(|grant| grant.seq == lease.grant).ok_or(Reason::NoGrant)?;
    if !grant.terms.cover_address(peer.address()) {
        return Err(outside(peer));
    }
    let latest = grant.terms.until.map_or(lease.latest, |until| lease.latest.min(until));
    let left = latest.since(now);
    if left.0 == 0 {
        return Err(Denial::new(Reason::TtlExceedsGrant)
            .limit(0)
            .detail("the lease has reached the longest life it may have"));
    }
    if ttl.0 == 0 {
        return Ok(now.plus(grant.terms.ttl).min(latest).max(lease.expires));
    }
    if ttl > left {
        return Err(Denial::new(Reason::TtlExceedsGrant).limit(left.0));
    }
    Ok(now.plus(ttl))
}

impl Permit {
    /// To whom.
    #[must_use]
    pub fn agent(&self) -> &AgentName {
        &self.agent
    }

    /// For which session.
    #[must_use]
    pub fn sid(&self) -> &Sid {
        &self.sid
    }

    /// Of which role.
    #[must_use]
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// The engine's configuration in that role.
    #[must_use]
    pub fn config(&self) -> &Map<String, Value> {
        &self.role.config
    }

    /// The `seq` of the grant's entry.
    #[must_use]
    pub fn grant(&self) -> u64 {
        self.grant
    }

    /// The lease it will be held under.
    #[must_use]
    pub fn lease(&self) -> &LeaseId {
        &self.lease
    }

    /// H(PAE) of the request.
    #[must_use]
    pub fn req(&self) -> Digest {
        self.req
    }

    /// When it is issued.
    #[must_use]
    pub fn issued(&self) -> Timestamp {
        self.issued
    }

    /// When it dies.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// The latest that renewals can reach.
    #[must_use]
    pub fn latest(&self) -> Timestamp {
        self.latest
    }

    /// What the grant has given, this one included.
    #[must_use]
    pub fn uses(&self) -> Uses {
        self.uses
    }
}
