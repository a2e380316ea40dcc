//! Why a request for a credential would be answered as it would: each check by name, in the order of the protocol, with
//! what was found beside what it is held against. Nothing here decides. The steps are those that decide about a request
//! ([`authn`], [`authz`], the engine), asked one by one; and what only the store decides, its own transaction says, which
//! is carried through and undone ([`crate::store::Store::foresee`]). What nobody has sent is signed by nobody, so the
//! checks of an envelope's shape, signature, names and history have nothing to say and are left out.

mod checks;
mod orders;
mod remedy;

use serde_json::{Map, Value, json};

use super::admit::alive;
use super::answer::Outcome;
use super::deadline::openly;
use super::issue::bound_by;
use super::{Vault, listing};
use crate::authn::{self, Authenticated};
use crate::authz::{self, Asked, Peer, Permit};
use crate::crypto::envelope::Envelope;
use crate::crypto::hpke::{SUITE, SealSecretKey};
use crate::denial::{Denial, Reason};
use crate::engine::Engine;
use crate::grant::Grant;
use crate::id::{Nonce, Sid, handle};
use crate::registry::{Agent, HeldKey};
use crate::statement::Body as _;
use crate::statement::command::Command;
use crate::statement::explain::{Explain, Supposed};
use crate::statement::issue::Issue;
use crate::statement::reply::Revocation;
use crate::statement::request::{Common, Seen};
use crate::statement::session::Seal;
use crate::store::{Failure, Foresight, Foretold, Question, Sample, Situation};
use crate::time::{Seconds, Timestamp};

use checks::Checks;

type Asking = Authenticated<Command<Explain>>;

/// The request that is supposed, with everything that it would have said.
struct Case<'a> {
    supposed: &'a Supposed,
    /// The grant that nobody has given yet.
    new: Option<Grant>,
    at: Timestamp,
    key: HeldKey,
    seen: Seen,
    sid: Sid,
    peer: Peer,
    seal: Seal,
}

/// What a request came to before the store was asked.
struct Planned<'a> {
    permit: Permit,
    engine: &'a dyn Engine,
}

impl Vault {
    /// `Explain`: changes nothing, whatever it is asked.
    pub(super) async fn explain(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<Explain>(envelope).await?;
        let asking = &admitted.authenticated;
        let told = match &asking.statement().body {
            Explain::Request(supposed) => self.explained(asking, supposed, None).await.map(|(checks, _)| checks.told()),
            Explain::Grant(new) => self.grant_foretold(asking, new).await,
            Explain::Revoke(_) => self.revoke_foretold(asking).await,
        };
        Ok(self.tell(asking, told).await)
    }

    /// What would become of a request, and what the store foretold beside it.
    async fn explained(
        &self,
        asking: &Asking,
        supposed: &Supposed,
        new: Option<Grant>,
    ) -> Result<(Checks, Option<Foretold>), Denial> {
        let at = supposed.at.unwrap_or_else(|| asking.at());
        let mut checks = Checks::of(supposed, at);
        let (agent, seen) = match self.store.agent(&supposed.agent).await {
            Ok(Some(found)) => found,
            Ok(None) => {
                checks.judge("registered", Value::Null, Value::Null, Err(Reason::Unauthenticated.into()));
                return Ok((checks, None));
            }
            Err(Failure::Denied(denial)) if denial.reason == Reason::Quarantined => {
                checks.judge("chain", json!("set aside"), Value::Null, Err(denial));
                return Ok((checks, None));
            }
            Err(failure) => return Err(failure.denial()),
        };
        checks.judge("registered", json!(agent.since), Value::Null, Ok(()));
        let Some(case) = self.case(supposed, new, at, &agent, seen) else {
            checks.judge("key", Value::Null, Value::Null, Err(Reason::Unauthenticated.into()));
            return Ok((checks, None));
        };
        let situation = self.situation(&case).await?;
        self.judge_speaker(&case, &mut checks).await?;
        let planned = self.judge_grant(&case, &situation, &mut checks);
        let told = self.judge_end(asking, &case, &situation, planned, &mut checks).await;
        checks.name(&case.sid, situation.session.is_none(), case.peer);
        Ok((checks, told))
    }

    /// The request in full. What the question leaves open is taken so that it fits the grant.
    fn case<'a>(
        &self,
        supposed: &'a Supposed,
        new: Option<Grant>,
        at: Timestamp,
        agent: &Agent,
        seen: Seen,
    ) -> Option<Case<'a>> {
        let accepted = agent.keys.iter().rev().find(|key| key.accepted(at).is_ok());
        let key = accepted.or(agent.newest())?.clone();
        let grant = new.as_ref().or_else(|| agent.grants.iter().find(|grant| grant.role == supposed.role));
        let terms = grant.map(|grant| &grant.terms);
        let drawn = format!("{:016x}", u64::from_be_bytes(self.entropy.bytes()));
        let fits = || match terms.and_then(|terms| terms.session.as_ref()) {
            Some(pattern) => pattern.as_str().replacen('*', &drawn, 1).replace('*', "").parse().ok(),
            None => drawn.parse().ok(),
        };
        let sid = supposed.sid.clone().or_else(fits)?;
        let covered = terms.and_then(|terms| terms.from.first()).map(|network| Peer::Tcp(network.network()));
        let peer = supposed.from.map(Peer::Tcp).or(covered).unwrap_or(Peer::Unix(None));
        let seal = SealSecretKey::generate(&*self.entropy);
        let seal = Seal { pk: seal.public().into(), suite: SUITE.to_owned(), sig_pk: None };
        Some(Case { supposed, new, at, key, seen, sid, peer, seal })
    }

    /// All that decides about it, with the grant that is supposed.
    async fn situation(&self, case: &Case<'_>) -> Result<Situation, Denial> {
        let question = Question {
            agent: case.supposed.agent.clone(),
            sid: case.sid.clone(),
            role: Some(case.supposed.role.clone()),
            nonce: Nonce::from_bytes(&self.entropy.bytes()),
            seen: case.seen,
        };
        let situation = self.store.situation(&case.key.kid, Box::new(|_| Some(question))).await;
        let mut situation = situation.map_err(Failure::denial)?.ok_or(Reason::Internal)?;
        if let Some(new) = &case.new {
            let mut agent = Agent::clone(&situation.agent);
            agent.grants.retain(|grant| grant.role != new.role);
            agent.grants.push(new.clone());
            situation.agent = agent.into();
            situation.uses = Default::default();
        }
        Ok(situation)
    }

    /// Steps 6 and 7: the key is good, and there is a window at all.
    async fn judge_speaker(&self, case: &Case<'_>, checks: &mut Checks) -> Result<(), Denial> {
        let Case { key, at, .. } = case;
        let ends = [key.ended, key.grace].into_iter().flatten().min();
        checks.key(&key.kid, key.kver);
        checks.judge("key", json!(key.kid), json!(ends), key.accepted(*at));
        let floor = self.store.candidate(&key.kid).await.map_err(Failure::denial)?.floor;
        // One that the present has passed follows it: at an earlier moment it stood earlier too.
        let floor = if floor < self.clock.now() { floor.min(at.minus(Seconds(1))) } else { floor };
        let within = authn::window(*at, *at, self.limits.rules.skew, floor).map(drop);
        checks.judge("window", json!(at), json!(floor), within);
        Ok(())
    }

    /// Steps 9 to 12, as far as they can be judged.
    fn judge_grant(&self, case: &Case<'_>, situation: &Situation, checks: &mut Checks) -> Option<Planned<'_>> {
        let Case { supposed, at, sid, peer, .. } = case;
        let (at, idle) = (*at, self.limits.rules.session_idle);
        let living = alive(situation);
        let (vault, agent) = if situation.frozen { (living, situation.agent.alive()) } else { (Ok(()), living) };
        let frozen = |frozen: bool| json!(if frozen { "frozen" } else { "thawed" });
        checks.judge("vault_thawed", frozen(situation.frozen), Value::Null, vault);
        checks.judge("agent_thawed", frozen(situation.agent.frozen), Value::Null, agent);
        let session = situation.session.as_ref();
        let seal = session.map_or(&case.seal, |session| &session.seal);
        let bound = authn::bind(session, Some(seal), at, idle);
        let found = match (session, &bound) {
            (None, _) => "new",
            (Some(_), Ok(_)) => "open",
            (Some(_), Err(_)) => "ended",
        };
        let session_ends = self.session_ends(situation, at);
        checks.judge("session", json!(found), json!(session_ends), bound.as_ref().map(drop).map_err(Clone::clone));
        // What the grant says is told for a new session where the one that was named is over.
        let (bound, session_ends) = match bound {
            Ok(bound) => (bound, session_ends),
            Err(_) => (authn::bind(None, Some(seal), at, idle).ok()?, at.plus(self.limits.rules.session_max)),
        };
        let asked = Asked {
            agent: &supposed.agent,
            sid,
            bound: &bound,
            session_ends,
            role: &supposed.role,
            ttl: supposed.ttl,
            peer: *peer,
            req: checks.req(),
        };
        let grant = situation.agent.grants.iter().find(|grant| grant.role == supposed.role);
        let role = situation.role.as_deref();
        for judged in authz::explain(&asked, grant, role, situation.uses, at) {
            checks.judge(judged.check, judged.found, judged.limit, judged.outcome);
        }
        checks.role_known(role.is_some());
        if let Some(role) = role {
            let engine = self.engines.of_kind(&role.engine);
            checks.judge("engine", json!(role.engine), Value::Null, engine.as_ref().map(drop).map_err(Clone::clone));
            if let Ok(engine) = engine {
                let names: Vec<&String> = supposed.params.keys().collect();
                let fits = engine.check_params(&role.config, &supposed.params);
                checks.judge("params", json!(names), Value::Null, fits);
            }
        }
        if checks.refused() {
            return None;
        }
        match self.decide(&asked, situation, &supposed.params, at) {
            Ok((permit, engine)) => Some(Planned { permit, engine }),
            Err(denial) => {
                checks.judge("permit", Value::Null, Value::Null, Err(denial));
                None
            }
        }
    }

    /// Steps 13 to 16: the backend and the transaction, in the order in which this engine's credentials meet them.
    async fn judge_end(
        &self,
        asking: &Asking,
        case: &Case<'_>,
        situation: &Situation,
        planned: Option<Planned<'_>>,
        checks: &mut Checks,
    ) -> Option<Foretold> {
        let Some(Planned { permit, engine }) = planned else {
            return self.judge_commit(asking, case, None, checks).await;
        };
        let at_backend = engine.capabilities().revocation == Revocation::Backend;
        let mut hdr = self.header(&permit, engine, case.key.kid.clone());
        if at_backend {
            let (found, most, free) = self.backends.look(&permit.role().name, permit.agent());
            checks.judge("backend_places", json!(found), json!(most), free);
        } else {
            let ready = self.judge_probe(&permit, engine, checks).await;
            let until = ready.iter().find_map(|found| found.get("expires").or(found.get("not_after")));
            let until = until.and_then(Value::as_u64).map(Timestamp);
            let bounded = bound_by(&hdr, until, case.supposed.ttl);
            hdr.exp = *bounded.as_ref().unwrap_or(&hdr.exp);
            checks.judge("secret_life", json!(until), json!(permit.expires()), bounded.map(drop));
        }
        checks.expires(hdr.exp);
        let common = Common {
            v: crate::statement::VERSION,
            typ: Issue::TYP.to_owned(),
            aud: self.aud.clone(),
            agent: case.supposed.agent.clone(),
            kid: case.key.kid.clone(),
            kver: case.key.kver,
            sid: case.sid.clone(),
            nonce: Nonce::from_bytes(&self.entropy.bytes()),
            iat: case.at,
            seen: case.seen,
        };
        let body = Issue {
            role: case.supposed.role.clone(),
            ttl: case.supposed.ttl,
            params: case.supposed.params.clone(),
            purpose: Default::default(),
            seal: situation.session.as_ref().map_or_else(|| case.seal.clone(), |session| session.seal.clone()),
        };
        let (latest, name) = (permit.latest(), handle(permit.agent(), permit.lease()));
        let sample = Sample { common, body, peer: case.peer, hdr, latest, handle: name, intended: at_backend };
        let sample = (!checks.refused()).then_some(sample);
        let told = self.judge_commit(asking, case, sample, checks).await;
        if at_backend && case.supposed.probe {
            self.judge_probe(&permit, engine, checks).await;
        } else if at_backend {
            checks.open("probe");
        }
        told
    }

    /// Whether the engine could serve this role now.
    async fn judge_probe(
        &self,
        permit: &Permit,
        engine: &dyn Engine,
        checks: &mut Checks,
    ) -> Option<Map<String, Value>> {
        let found = self.in_time(engine.probe(permit.config(), self)).await.map_err(openly);
        let said = json!(if found.is_ok() { "can serve" } else { "cannot serve" });
        checks.judge("probe", said, Value::Null, found.as_ref().map(drop).map_err(Clone::clone));
        checks.probed(found.as_ref().ok());
        found.ok()
    }

    /// What the transaction says that would record it.
    async fn judge_commit(
        &self,
        asking: &Asking,
        case: &Case<'_>,
        request: Option<Sample>,
        checks: &mut Checks,
    ) -> Option<Foretold> {
        let of = Some((case.supposed.agent.clone(), case.key.kid.clone()));
        let told = self.store.foresee(&Foresight { question: asking, of, request }).await;
        let (told, outcome) = match told {
            Ok(mut told) => {
                let outcome = told.request.take();
                (Some(told), outcome)
            }
            Err(failure) => (None, Some(Err(failure.denial()))),
        };
        let figures = told.as_ref().and_then(|told| told.figures);
        let figure = |of: fn(&crate::store::Figures) -> u64| json!(figures.as_ref().map(of));
        let rules = &self.limits.rules;
        let rows = [
            ("nonces", figure(|figures| figures.nonces), json!(rules.nonces_per_key), Reason::NoncesFull),
            ("clock", json!(case.at), json!(figures.map(|figures| figures.newest)), Reason::ClockBehind),
            ("sessions", figure(|figures| figures.sessions), json!(rules.sessions_per_agent), Reason::SessionLimit),
            ("leases", figure(|figures| figures.leases), json!(rules.leases_per_agent), Reason::LeaseLimit),
        ];
        checks.committed(rows, outcome);
        told
    }

    fn leases_shown(leases: &[crate::lease::Lease]) -> Vec<Value> {
        leases.iter().map(|lease| Value::Object(listing::lease(lease))).collect()
    }
}
