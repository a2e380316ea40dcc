//! What may be had: a pure function from who asks, what, on which terms and when, to a [`Permit`] or a denial.
//!
//! Nothing is clipped. A life longer than allowed is refused with the limit; only where the agent asks for none
//! (`ttl` 0) the grant's default is cut to what is left of grant and session. What operators may command is judged in
//! [`operator`].

pub mod operator;
pub mod policy;

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Map, Value, json};

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
    let case = Case::of(asked, grant, role, uses, now)?;
    for check in Check::ALL {
        check.judge(&case)?;
    }
    let Case { grant, role, .. } = case;
    let uses = paced(&case)?;
    Ok(Permit {
        agent: asked.agent.clone(),
        sid: asked.sid.clone(),
        role: role.clone(),
        grant: grant.seq,
        lease: lease.clone(),
        req: asked.req,
        issued: now,
        expires: case.expires(),
        latest: case.latest(),
        uses,
    })
}

/// What [`Check`]s judge: what is asked, and the grant of the role to the one who asks.
#[derive(Clone, Copy, Debug)]
struct Case<'a> {
    asked: &'a Asked<'a>,
    grant: &'a Grant,
    role: &'a Role,
    uses: Uses,
    now: Timestamp,
}

impl<'a> Case<'a> {
    /// There is a grant, and it is of this role to this agent.
    fn of(
        asked: &'a Asked<'a>,
        grant: Option<&'a Grant>,
        role: Option<&'a Role>,
        uses: Uses,
        now: Timestamp,
    ) -> Result<Case<'a>, Denial> {
        let (Some(grant), Some(role)) = (grant, role) else {
            return Err(Denial::new(Reason::NoGrant).internal(format!("{} asked for {}", asked.agent, asked.role)));
        };
        if grant.agent != *asked.agent || grant.role != *asked.role || role.name != grant.role {
            return Err(Denial::new(Reason::NoGrant).internal("a grant of another agent or role was presented"));
        }
        Ok(Case { asked, grant, role, uses, now })
    }

    /// The latest that a lease may live.
    fn latest(&self) -> Timestamp {
        let terms = &self.grant.terms;
        let by_terms = self.now.plus(terms.max_ttl).min(self.asked.session_ends);
        terms.until.map_or(by_terms, |until| by_terms.min(until))
    }

    /// The longest life that the terms leave.
    fn longest(&self) -> Seconds {
        let terms = &self.grant.terms;
        terms.until.map_or(terms.max_ttl, |until| terms.max_ttl.min(until.since(self.now)))
    }

    /// When the lease ends: what is asked for, or the default cut to what is left.
    fn expires(&self) -> Timestamp {
        match self.asked.ttl {
            Seconds(0) => self.now.plus(self.grant.terms.ttl).min(self.latest()),
            ttl => self.now.plus(ttl),
        }
    }
}

/// What stands between a grant and a permit, one by one. [`permit`] asks them in this order and ends with the first that
/// says no; [`explain`] asks all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    RoleThawed,
    Until,
    SessionName,
    Address,
    Ttl,
    SessionTime,
    Uses,
    Rate,
}

impl Check {
    const ALL: [Check; 8] = [
        Check::RoleThawed,
        Check::Until,
        Check::SessionName,
        Check::Address,
        Check::Ttl,
        Check::SessionTime,
        Check::Uses,
        Check::Rate,
    ];

    fn name(self) -> &'static str {
        match self {
            Check::RoleThawed => "role_thawed",
            Check::Until => "grant_until",
            Check::SessionName => "session_name",
            Check::Address => "address",
            Check::Ttl => "ttl",
            Check::SessionTime => "session_time",
            Check::Uses => "uses",
            Check::Rate => "rate",
        }
    }

    fn judge(self, case: &Case<'_>) -> Result<(), Denial> {
        let Case { asked, grant, role, uses, now } = case;
        let terms = &grant.terms;
        match self {
            Check::RoleThawed => role.alive(),
            Check::Until => match terms.until.filter(|until| until <= now) {
                Some(until) => Err(Denial::new(Reason::GrantExpired).limit(until.0)),
                None => Ok(()),
            },
            Check::SessionName => match &terms.session {
                Some(pattern) if !pattern.covers(asked.sid) => Err(Reason::SessionNotGranted.into()),
                _ => Ok(()),
            },
            Check::Address if terms.cover_address(asked.peer.address()) => Ok(()),
            Check::Address => Err(outside(asked.peer)),
            Check::Ttl if asked.ttl > case.longest() => {
                Err(Denial::new(Reason::TtlExceedsGrant).limit(case.longest().0))
            }
            Check::SessionTime if asked.ttl > asked.session_ends.since(*now) => {
                Err(Denial::new(Reason::TtlExceedsSession).limit(asked.session_ends.since(*now).0))
            }
            Check::Ttl | Check::SessionTime => Ok(()),
            Check::Uses => match terms.max_uses.filter(|max| uses.count >= *max) {
                Some(max) => Err(Denial::new(Reason::GrantExhausted).limit(max)),
                None => Ok(()),
            },
            Check::Rate => paced(case).map(drop),
        }
    }

    /// What was found, and what it is held against; null where the grant sets no such bound.
    fn shown(self, case: &Case<'_>) -> (Value, Value) {
        let Case { asked, grant, role, uses, now } = case;
        let terms = &grant.terms;
        let ttl = if asked.ttl.0 == 0 { terms.ttl } else { asked.ttl };
        match self {
            Check::RoleThawed => (json!(if role.frozen { "frozen" } else { "thawed" }), Value::Null),
            Check::Until => (json!(now), json!(terms.until)),
            Check::SessionName => (json!(asked.sid), json!(terms.session)),
            Check::Address => (json!(asked.peer.address()), json!(terms.from)),
            Check::Ttl => (json!(ttl), json!(case.longest())),
            Check::SessionTime => (json!(ttl), json!(asked.session_ends.since(*now))),
            Check::Uses => (json!(uses.count), json!(terms.max_uses)),
            Check::Rate => {
                let (rate, now) = (terms.rate, now.0.saturating_mul(1000));
                let used = rate.map(|rate| {
                    let each = (rate.per.0.saturating_mul(1_000_000) / rate.count.max(1)).max(1);
                    uses.paced.saturating_sub(now).div_ceil(each).min(rate.count)
                });
                (json!(used), json!(rate.map(|rate| rate.to_string())))
            }
        }
    }
}

/// The uses with this one, at the rate of the terms.
fn paced(case: &Case<'_>) -> Result<Uses, Denial> {
    let one_more = case.uses.one_more(case.grant.terms.rate, case.now);
    one_more.map_err(|wait| Denial::new(Reason::RateLimited).limit(wait))
}

/// A check that was made, for one who wants to know why.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Its name.
    pub check: &'static str,
    /// What was found.
    pub found: Value,
    /// What that is held against; null where nothing bounds it.
    pub limit: Value,
    /// What it says.
    pub outcome: Result<(), Denial>,
}

/// What [`permit`] would ask, each by name, in its order, and what it would hear: also behind the first that says no, as
/// far as there is a grant to judge by.
#[must_use]
pub fn explain(
    asked: &Asked<'_>,
    grant: Option<&Grant>,
    role: Option<&Role>,
    uses: Uses,
    now: Timestamp,
) -> Vec<Judged> {
    let case = Case::of(asked, grant, role, uses, now);
    let outcome = case.as_ref().map(drop).map_err(Clone::clone);
    let found = json!(grant.map(|grant| grant.seq));
    let mut judged = vec![Judged { check: "grant", found, limit: Value::Null, outcome }];
    if let Ok(case) = &case {
        judged.extend(Check::ALL.map(|check| {
            let (found, limit) = check.shown(case);
            Judged { check: check.name(), found, limit, outcome: check.judge(case) }
        }));
    }
    judged
}

fn outside(peer: Peer) -> Denial {
    Denial::new(Reason::AddressNotGranted).internal(format!("peer {}", peer.address()))
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
