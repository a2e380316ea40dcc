//! Grants, sessions and leases as an agent's chain tells them: what was allowed, what was open, and what lived, each in
//! its legal order. Only what lives is kept in memory; that no name of a session or lease is used twice is for
//! [`Once`].

use std::collections::{HashMap, HashSet};

use super::report::{Fault, Finding};
use super::requests::Place;
use super::spill::Once;
use crate::audit::entry;
use crate::crypto::hash::Digest;
use crate::id::{LeaseId, RoleName, Sid};
use crate::statement::grant::Terms;
use crate::statement::issue::Issue;
use crate::statement::reply::{Hdr, Revocation};
use crate::statement::session::Seal;
use crate::time::{Seconds, Timestamp};

/// How many leases, sessions or grants may live at once. It is what a vault may be set to allow one agent at most; a
/// file that was made to exhaust this program holds more.
const MOST: usize = 1_000_000;

fn within(count: usize, what: &str) -> Result<(), Finding> {
    if count <= MOST {
        return Ok(());
    }
    Err(Finding::Unusable(format!("more than {MOST} {what} at once, which is more than this program keeps")))
}

/// A grant that is in force.
#[derive(Debug)]
struct Given {
    seq: u64,
    terms: Terms,
    uses: u64,
}

/// The grants in force, by role.
#[derive(Debug)]
pub(super) struct Grants {
    given: HashMap<RoleName, Given>,
    /// The first entry that is known; what was granted before it is not.
    first: u64,
    /// Grants of before that were taken back since.
    gone: HashSet<u64>,
}

impl Grants {
    pub(super) fn new(first: u64) -> Grants {
        Grants { given: HashMap::new(), first, gone: HashSet::new() }
    }

    /// Whether it may be in force though its entry is of before the part that is known.
    fn untold(&self, role: &RoleName, seq: u64) -> bool {
        seq < self.first && !self.given.contains_key(role) && !self.gone.contains(&seq)
    }

    pub(super) fn give(&mut self, seq: u64, grant: &entry::Grant) -> Result<(), Finding> {
        self.given.insert(grant.role.clone(), Given { seq, terms: grant.terms.clone(), uses: 0 });
        within(self.given.len(), "grants are in force")
    }

    pub(super) fn take_back(&mut self, ungrant: &entry::Ungrant) -> Result<(), Finding> {
        if self.untold(&ungrant.role, ungrant.grant) {
            self.gone.insert(ungrant.grant);
            return within(self.gone.len(), "grants of before are taken back");
        }
        match self.given.remove(&ungrant.role) {
            Some(given) if given.seq == ungrant.grant => Ok(()),
            _ => Err(Fault::Grant.found(format!(
                "it takes back the grant of entry {} for {}, which is not in force",
                ungrant.grant, ungrant.role
            ))),
        }
    }

    /// The grant that something rests on; none where it is of before the part that is known.
    fn in_force(&mut self, role: &RoleName, seq: u64) -> Result<Option<&mut Given>, Finding> {
        if self.untold(role, seq) {
            return Ok(None);
        }
        let given = self.given.get_mut(role).filter(|given| given.seq == seq);
        let none = || Fault::Grant.found(format!("it rests on entry {seq}, which is no grant of {role} in force"));
        given.map(Some).ok_or_else(none)
    }

    /// Whether the grant covers what was issued; counts the use.
    fn cover(&mut self, seq: u64, hdr: &Hdr, ttl: Seconds) -> Result<(), Finding> {
        let Some(given) = self.in_force(&hdr.role, seq)? else { return Ok(()) };
        let terms = &given.terms;
        let beyond = |what: String| Err(Fault::Grant.found(format!("what was issued is beyond its grant: {what}")));
        let longest = if ttl.0 == 0 { terms.ttl } else { terms.max_ttl };
        if hdr.exp > hdr.iat.plus(longest) {
            return beyond(format!("it lives longer than {longest}"));
        }
        if terms.until.is_some_and(|until| hdr.exp > until) {
            return beyond("it outlives the grant".into());
        }
        if terms.session.as_ref().is_some_and(|pattern| !pattern.covers(&hdr.sid)) {
            return beyond(format!("the session {} is not among those it covers", hdr.sid));
        }
        given.uses += 1;
        match given.terms.max_uses {
            Some(max) if given.uses > max => beyond(format!("it was used more than {max} times")),
            _ => Ok(()),
        }
    }
}

/// The sessions that are open, with the seal that each is pinned to, and the hashes of all that ever were: a sid is
/// never used again.
#[derive(Debug)]
pub(super) struct Sessions {
    /// The seal is not known of a session that was opened before the part that is known.
    live: HashMap<Sid, Option<Seal>>,
    named: Once<32>,
    /// What stands before is not known.
    part: bool,
}

impl Sessions {
    pub(super) fn new(part: bool, held: usize) -> Sessions {
        Sessions { live: HashMap::new(), named: Once::holding(held), part }
    }

    /// A request of the entry `seq` that may open the session.
    pub(super) fn open(&mut self, sid: &Sid, seal: &Seal, seq: u64) -> Result<(), Finding> {
        match self.live.get_mut(sid) {
            Some(Some(pinned)) if pinned != seal => {
                return Err(Fault::Session.found(format!("the session {sid} is pinned to another seal key")));
            }
            Some(pinned) => *pinned = Some(seal.clone()),
            None => self.begin(sid, Some(seal.clone()), seq)?,
        }
        Ok(())
    }

    fn begin(&mut self, sid: &Sid, seal: Option<Seal>, seq: u64) -> Result<(), Finding> {
        if !self.named.insert(*Digest::of(sid.as_str().as_bytes()).as_bytes(), seq)? {
            return Err(ended());
        }
        self.live.insert(sid.clone(), seal);
        within(self.live.len(), "sessions are open")
    }

    /// The first entry that opens a session which ended before, where only the end could show it.
    pub(super) fn again(&mut self) -> Result<Option<(u64, Finding)>, Finding> {
        Ok(self.named.again()?.map(|(entry, _)| (entry, ended())))
    }

    /// A request of the entry `seq` that needs the session to be open.
    pub(super) fn needs(&mut self, sid: &Sid, seq: u64) -> Result<(), Finding> {
        match self.live.contains_key(sid) {
            true => Ok(()),
            false if self.part => self.begin(sid, None, seq),
            false => Err(not_open(sid)),
        }
    }

    fn is_open(&self, sid: &Sid) -> bool {
        self.live.contains_key(sid)
    }

    pub(super) fn end(&mut self, sid: &Sid, seq: u64) -> Result<(), Finding> {
        self.needs(sid, seq)?;
        self.live.remove(sid).map(drop).ok_or_else(|| not_open(sid))
    }
}

fn ended() -> Finding {
    Fault::Session.found("it opens a session whose name was used before: that session had ended")
}

fn not_open(sid: &Sid) -> Finding {
    Fault::Session.found(format!("the session {sid} is not open at this place"))
}

/// A lease that lives.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) sid: Sid,
    pub(super) role: RoleName,
    revocation: Revocation,
    req: Digest,
    grant: u64,
    pub(super) issued: Timestamp,
    /// Whether the clock was reset since.
    pub(super) before_reset: bool,
    exp: Timestamp,
    renewable: bool,
}

/// The leases that live, and the identifiers of all that ever did.
#[derive(Debug)]
pub(super) struct Leases {
    live: HashMap<LeaseId, Live>,
    named: Once<16>,
    /// Those that ended, or came to nothing, and whose credential may still be at its backend.
    at_backend: HashSet<[u8; 16]>,
    /// Those of before the part that is known that ended in it: what they left is not known.
    untold: HashSet<[u8; 16]>,
    /// What stands before is not known.
    part: bool,
}

impl Leases {
    pub(super) fn new(part: bool, held: usize) -> Leases {
        let (at_backend, untold) = (HashSet::new(), HashSet::new());
        Leases { live: HashMap::new(), named: Once::holding(held), at_backend, untold, part }
    }

    /// A credential was given; `asked` is what was asked for.
    pub(super) fn issue(
        &mut self,
        issue: &entry::Issue,
        asked: &Issue,
        place: Place<'_>,
        grants: &mut Grants,
    ) -> Result<(), Finding> {
        let (hdr, ts) = (&issue.hdr, place.ts);
        if hdr.iat > ts || hdr.exp <= hdr.iat {
            return Err(Fault::Header.found(format!(
                "what was issued claims to be of {} and to die at {}, but the entry is of {ts}",
                hdr.iat, hdr.exp
            )));
        }
        if asked.ttl.0 != 0 && hdr.exp > hdr.iat.plus(asked.ttl) {
            return Err(Fault::Life.found(format!(
                "it lives from {} to {}, longer than the {} that the agent asked for",
                hdr.iat, hdr.exp, asked.ttl
            )));
        }
        grants.cover(issue.grant, hdr, asked.ttl)?;
        self.name(&hdr.lease, place.seq)?;
        let live = Live {
            sid: hdr.sid.clone(),
            role: hdr.role.clone(),
            revocation: hdr.revocation,
            req: hdr.req,
            grant: issue.grant,
            issued: hdr.iat,
            before_reset: false,
            exp: hdr.exp,
            renewable: hdr.renewable,
        };
        self.live.insert(hdr.lease.clone(), live);
        within(self.live.len(), "leases live")
    }

    fn name(&mut self, id: &LeaseId, seq: u64) -> Result<(), Finding> {
        if self.named.insert(id.bytes(), seq)? { Ok(()) } else { Err(known_before(&id.bytes())) }
    }

    /// The first entry that names a lease anew which was issued before, where only the end could show it.
    pub(super) fn again(&mut self) -> Result<Option<(u64, Finding)>, Finding> {
        Ok(self.named.again()?.map(|(entry, id)| (entry, known_before(&id))))
    }

    pub(super) fn renew(
        &mut self,
        renew: &entry::Renew,
        sid: &Sid,
        ttl: Seconds,
        ts: Timestamp,
        grants: &mut Grants,
    ) -> Result<(), Finding> {
        let id = &renew.lease;
        if self.is_untold(id)? {
            return Ok(());
        }
        let Some(lease) = self.live.get_mut(id) else { return Err(self.not_live(id)) };
        if lease.sid != *sid {
            return Err(Fault::Session.found(format!("the lease {id} is of the session {}, not of {sid}", lease.sid)));
        }
        if !lease.renewable {
            return Err(Fault::Lease.found(format!("the lease {id} was prolonged, but it was issued as not renewable")));
        }
        if lease.exp <= ts {
            return Err(Fault::Lease.found(format!("the lease {id} had run out at {} when it was renewed", lease.exp)));
        }
        let Some(given) = grants.in_force(&lease.role, lease.grant)? else {
            lease.exp = renew.exp;
            return Ok(());
        };
        let terms = &given.terms;
        let latest = lease.issued.plus(terms.max_ttl).min(terms.until.unwrap_or(Timestamp(u64::MAX)));
        let asked = if ttl.0 == 0 { ts.plus(terms.ttl).max(lease.exp) } else { ts.plus(ttl) };
        if renew.exp > asked {
            return Err(
                Fault::Life.found(format!("the lease {id} lives until {}, longer than was asked for", renew.exp))
            );
        }
        if renew.exp > latest {
            return Err(Fault::Grant.found(format!("the lease {id} lives until {}, beyond its grant", renew.exp)));
        }
        lease.exp = renew.exp;
        Ok(())
    }

    /// Whether it may live though it was issued before the part that is known.
    fn is_untold(&self, id: &LeaseId) -> Result<bool, Finding> {
        Ok(self.part && !self.live.contains_key(id) && !self.named.contains(&id.bytes())?)
    }

    /// A lease ends in the entry `seq`, and gives what it was; none where it is of before the part that is known. `outcome`
    /// is what its entry says of the backend.
    pub(super) fn end(&mut self, id: &LeaseId, outcome: Option<&str>, seq: u64) -> Result<Option<Live>, Finding> {
        if self.part && !self.live.contains_key(id) {
            self.name(id, seq)?;
            self.untold.insert(id.bytes());
            within(self.untold.len(), "leases of before ended")?;
            return Ok(None);
        }
        let lease = self.live.remove(id).ok_or_else(|| self.not_live(id))?;
        if let Some(outcome) = outcome.filter(|outcome| *outcome != lease.revocation.outcome()) {
            return Err(Fault::Lease.found(format!(
                "the lease {id} ends with the outcome {outcome:?}, where its kind of credential leaves {:?}",
                lease.revocation.outcome()
            )));
        }
        if lease.revocation == Revocation::Backend {
            self.at_backend.insert(id.bytes());
            within(self.at_backend.len(), "credentials wait for their backends")?;
        }
        Ok(Some(lease))
    }

    /// A request for which something may have been made at a backend came to nothing.
    pub(super) fn abandoned(&mut self, id: &LeaseId, seq: u64) -> Result<(), Finding> {
        self.name(id, seq)?;
        self.at_backend.insert(id.bytes());
        within(self.at_backend.len(), "credentials wait for their backends")
    }

    /// A credential is gone from its backend, or given up there.
    pub(super) fn undone(&mut self, id: &LeaseId, seq: u64) -> Result<(), Finding> {
        if self.at_backend.remove(&id.bytes()) || self.untold.remove(&id.bytes()) {
            return Ok(());
        }
        if self.part && !self.live.contains_key(id) && self.named.insert(id.bytes(), seq)? {
            return Ok(());
        }
        let how = if self.live.contains_key(id) { "still lives" } else { "has nothing left there" };
        Err(Fault::Lease.found(format!("the lease {id} is said to be undone at its backend, but it {how}")))
    }

    /// How many credentials may still be at a backend though their leases ended.
    pub(super) fn at_backends(&self) -> usize {
        self.at_backend.len()
    }

    /// A lease ends by itself: at its time, or with its session.
    pub(super) fn expire(
        &mut self,
        expire: &entry::Expire,
        place: Place<'_>,
        sessions: &Sessions,
    ) -> Result<(), Finding> {
        let id = &expire.lease;
        let Some(lease) = self.end(id, Some(&expire.outcome), place.seq)? else { return Ok(()) };
        if lease.exp > place.ts && sessions.is_open(&lease.sid) {
            return Err(Fault::Lease.found(format!(
                "the lease {id} is said to have run out, but it lives until {} and its session is open",
                lease.exp
            )));
        }
        Ok(())
    }

    /// A session was closed, and all of it ends.
    pub(super) fn close(&mut self, sid: &Sid) {
        let at_backend = &mut self.at_backend;
        self.live.retain(|id, lease| {
            if lease.sid == *sid && lease.revocation == Revocation::Backend {
                at_backend.insert(id.bytes());
            }
            lease.sid != *sid
        });
    }

    /// The clock was put back: what lives was issued under another.
    pub(super) fn clock_reset(&mut self) {
        self.live.values_mut().for_each(|lease| lease.before_reset = true);
    }

    /// Whether this lease is the one that this request made.
    pub(super) fn made_by(&self, id: &LeaseId, req: Digest) -> bool {
        self.live.get(id).map_or(self.part, |lease| lease.req == req)
    }

    /// The role of a lease that lives and is known.
    pub(super) fn role_of(&self, id: &LeaseId) -> Option<&RoleName> {
        self.live.get(id).map(|lease| &lease.role)
    }

    /// How many live, and how many of them should have ended before `ts`.
    pub(super) fn census(&self, ts: Timestamp) -> (usize, usize) {
        (self.live.len(), self.live.values().filter(|lease| lease.exp <= ts).count())
    }

    fn not_live(&self, id: &LeaseId) -> Finding {
        match self.named.contains(&id.bytes()) {
            Ok(true) => Fault::Lease.found(format!("the lease {id} had ended before")),
            Ok(false) => Fault::Lease.found(format!("the lease {id} was never issued")),
            Err(why) => why.into(),
        }
    }
}

fn known_before(id: &[u8; 16]) -> Finding {
    let id = LeaseId::from_bytes(*id).map_or_else(String::new, |id| format!("{id} "));
    Fault::Lease.found(format!("the lease {id}was issued, or had ended, before"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_lives_at_once_than_a_vault_allows() {
        assert!(within(MOST, "leases live").is_ok());
        assert!(matches!(within(MOST + 1, "leases live"), Err(Finding::Unusable(how)) if how.contains("leases live")));
    }
}
