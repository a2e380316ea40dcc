//! The main job: a signed request becomes a sealed, short-lived secret with an entry behind it.
//!
//! What a crash leaves, step by step:
//!
//! | a crash after | where the credential has no effect outside | where it lives at a backend |
//! |---|---|---|
//! | the checks | nothing | nothing |
//! | the intent | | the intent, which the next start ends as `deny` and undoes |
//! | the mint | nothing | the same, and a credential that nobody was given, undone with it |
//! | the commit | a live lease that its agent may not have got: it releases it by `req`, or it expires | the same |
//!
//! The answer leaves last.

use std::time::Duration;

use serde_json::{Map, Value};

use super::admit::{Asking, Reply};
use super::answer::{Outcome, Receipt};
use super::{Vault, deadline};
use crate::authn::{self, SessionBound};
use crate::authz::{self, Asked, Peer, Permit};
use crate::base64url::Bytes;
use crate::crypto::envelope::Envelope;
use crate::crypto::hpke::{SealPublicKey, Sealed};
use crate::denial::{Denial, Reason};
use crate::engine::{Engine, Mint};
use crate::failpoint::failpoint;
use crate::id::{Kid, LeaseId, handle};
use crate::seal::reply as seal;
use crate::statement::issue::Issue;
use crate::statement::reply::{Hdr, Issued, Revocation};
use crate::store::{Intent, Issuance, Situation};
use crate::time::{Seconds, Timestamp};

/// What will be issued, and by whom.
struct Plan<'a> {
    permit: Permit,
    engine: &'a dyn Engine,
    handle: String,
    hdr: Hdr,
    to: SealPublicKey,
}

impl Vault {
    /// `RequestCredential`: from a signed envelope to a sealed credential, or a denial.
    pub async fn issue(&self, envelope: Envelope, peer: Peer) -> Outcome {
        let mut engine = "none";
        let outcome = self.issue_from(envelope, peer, &mut engine).await;
        let result = match &outcome {
            Outcome::Released(_) => "issued",
            Outcome::Refused(refused) => refused.denial.reason.code(),
        };
        self.measure(|telemetry| telemetry.issued(engine, result));
        outcome
    }

    /// The same, and says which engine it came to.
    async fn issue_from(&self, envelope: Envelope, peer: Peer, engine: &mut &'static str) -> Outcome {
        let asking = match self.admit::<Issue>(envelope, |issue| Some(&issue.role)).await {
            Ok(asking) => asking,
            Err(outcome) => return outcome,
        };
        let plan = self.plan(&asking, peer).inspect(|plan| *engine = plan.engine.kind());
        let decided = match plan {
            Ok(plan) if plan.hdr.revocation == Revocation::Backend => {
                return self.issue_at_backend(&asking, peer, plan).await;
            }
            Ok(plan) => self.mint_and_commit(&asking, peer, plan, None).await,
            Err(denial) => Err(denial),
        };
        self.conclude(&asking, decided).await
    }

    /// Steps 13 to 16 for a credential that lives at a backend: intent, mint, seal, commit; or the intent is undone.
    async fn issue_at_backend(&self, asking: &Asking<Issue>, peer: Peer, plan: Plan<'_>) -> Outcome {
        let role = &plan.permit.role().name;
        let place = match self.backends.enter(role, plan.permit.agent(), self.limits.engine_deadline).await {
            Ok(place) => place,
            Err(denial) => return self.conclude(asking, Err(denial)).await,
        };
        let intent = Intent {
            request: &asking.authenticated,
            peer,
            hdr: &plan.hdr,
            latest: plan.permit.latest(),
            handle: &plan.handle,
            until: self.clock.now().plus(self.limits.intent_life()),
        };
        failpoint!("issue: decided");
        if let Err(failure) = self.store.intend(&intent).await {
            return self.conclude(asking, Err(failure.denial())).await;
        }
        failpoint!("issue: intended");
        let lease = plan.permit.lease().clone();
        match self.mint_and_commit(asking, peer, plan, Some(place.left)).await {
            Ok((receipt, reply)) => self.conclude(asking, Ok((receipt, reply))).await,
            Err(denial) => self.abandon(asking, &lease, denial).await,
        }
    }

    /// Ends an intent that came to nothing: its `deny` is written, and its backend looked at soon.
    async fn abandon(&self, asking: &Asking<Issue>, lease: &LeaseId, denial: Denial) -> Outcome {
        let req = asking.req();
        match self.store.abandon(lease, denial.reason).await {
            Ok(Some(_)) => {
                failpoint!("issue: abandoned");
                self.wake.notify_one();
                self.pen.refuse(denial, req, self.clock.now())
            }
            // The commit landed all the same, and the store undoes it.
            Ok(None) => self.count_out(denial, req),
            // The intent is found again when its time is over.
            Err(failure) => self.count_out(failure.denial(), req),
        }
    }

    /// Steps 9 to 12: all that is decided before anything is made.
    fn plan(&self, asking: &Asking<Issue>, peer: Peer) -> Result<Plan<'_>, Denial> {
        let issue = asking.body();
        let bound = asking.bind(Some(&issue.seal), self)?;
        let to = authn::seal_acceptable(&issue.seal)?;
        let (permit, engine) = self.permit(asking, &bound, peer)?;
        let handle = handle(permit.agent(), permit.lease());
        let hdr = self.header(&permit, engine, asking.authenticated.key().kid.clone());
        Ok(Plan { permit, engine, handle, hdr, to })
    }

    /// Steps 14 to 16; `intended` is how long a mint that has an intent may take.
    async fn mint_and_commit(
        &self,
        asking: &Asking<Issue>,
        peer: Peer,
        plan: Plan<'_>,
        intended: Option<Duration>,
    ) -> Result<(Receipt, Reply), Denial> {
        let Plan { permit, engine, handle, mut hdr, to } = plan;
        let issue = asking.body();
        let session_key = issue.seal.sig_pk.as_ref();
        let mint = Mint { permit: &permit, handle: &handle, params: &issue.params, session_key };
        let deadline = intended.unwrap_or(self.limits.engine_deadline);
        let failed = |denial: Denial| {
            let (agent, role, why) = (permit.agent(), &permit.role().name, &denial.internal);
            tracing::warn!(%agent, %role, reason = denial.reason.code(), why, "a credential could not be made");
            denial
        };
        let minted = deadline::within(deadline, engine.mint(mint, self)).await.map_err(failed)?;
        failpoint!("issue: minted");
        let latest = minted.until.map_or(permit.latest(), |until| permit.latest().min(until));
        hdr.exp = bound_by(&hdr, minted.until, issue.ttl)?;
        let sealed = seal::seal(&minted.secret, &hdr, &to, &*self.entropy)?;
        let issuance = Issuance {
            request: &asking.authenticated,
            peer,
            hdr: &hdr,
            latest,
            handle: &handle,
            sealed: sealed.digest(),
            intended: intended.is_some(),
        };
        let receipt = Receipt::of(self.store.issue(&issuance).await.map_err(|failure| failure.denial())?);
        failpoint!("issue: committed");
        Ok((receipt, reply(sealed, hdr)))
    }

    /// Step 12: the grant covers it, and the engine takes its parameters.
    fn permit(
        &self,
        asking: &Asking<Issue>,
        bound: &SessionBound,
        peer: Peer,
    ) -> Result<(Permit, &dyn Engine), Denial> {
        let (common, issue) = (&asking.authenticated.statement().common, asking.body());
        let now = asking.authenticated.at();
        let asked = Asked {
            agent: &common.agent,
            sid: &common.sid,
            bound,
            session_ends: self.session_ends(&asking.situation, now),
            role: &issue.role,
            ttl: issue.ttl,
            peer,
            req: asking.req(),
        };
        self.decide(&asked, &asking.situation, &issue.params, now)
    }

    /// When the session of a request ends at the latest, also one that the request opens.
    pub(super) fn session_ends(&self, situation: &Situation, now: Timestamp) -> Timestamp {
        situation.session.as_ref().map_or(now.plus(self.limits.rules.session_max), |session| session.ends)
    }

    /// Step 12 for what is asked, in this situation.
    pub(super) fn decide(
        &self,
        asked: &Asked<'_>,
        situation: &Situation,
        params: &Map<String, Value>,
        now: Timestamp,
    ) -> Result<(Permit, &dyn Engine), Denial> {
        let grant = situation.agent.grants.iter().find(|grant| grant.role == *asked.role);
        let lease = LeaseId::new(now.0, self.entropy.bytes());
        let permit = authz::permit(asked, grant, situation.role.as_deref(), situation.uses, &lease, now)?;
        let engine = self.engines.of_kind(&permit.role().engine)?;
        engine.check_params(permit.config(), params)?;
        Ok((permit, engine))
    }

    /// What stands around the credential that the key `kid` asked for.
    pub(super) fn header(&self, permit: &Permit, engine: &dyn Engine, kid: Kid) -> Hdr {
        let can = engine.capabilities();
        Hdr {
            agent: permit.agent().clone(),
            exp: permit.expires(),
            iat: permit.issued(),
            kid,
            lease: permit.lease().clone(),
            renewable: can.renewable,
            req: permit.req(),
            revocation: can.revocation,
            role: permit.role().name.clone(),
            sid: permit.sid().clone(),
            vault: self.aud.clone(),
        }
    }
}

/// A credential that dies sooner than the permit says bounds the lease. Who asked for a life of its own is refused with
/// what is left.
pub(super) fn bound_by(hdr: &Hdr, until: Option<Timestamp>, asked: Seconds) -> Result<Timestamp, Denial> {
    let Some(until) = until.filter(|until| *until < hdr.exp) else { return Ok(hdr.exp) };
    let left = until.since(hdr.iat);
    if until <= hdr.iat || asked.0 != 0 {
        return Err(Denial::new(Reason::SecretExpired).limit(left.0));
    }
    Ok(until)
}

fn reply(sealed: Sealed, hdr: Hdr) -> Reply {
    Box::new(move |pen, receipt| {
        pen.release(receipt, |entry| Issued::new(Bytes(sealed.ct), Bytes(sealed.enc.to_vec()), entry, hdr))
    })
}
