//! The door: from an envelope to a request whose speaker is known and whose nonce is held (steps 1 to 8), and what is
//! done with those that do not come in.
//!
//! Refused before step 8, a request is counted and nothing else; refused after it, it becomes a `deny` entry together
//! with its nonce, so that it does not come alive under a later grant.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::answer::{Outcome, Receipt, turn_away};
use super::nonces::{Nonces, Reservation};
use super::pace::{InHand, Paces};
use super::{State, Vault};
use crate::authn::{self, Authenticated, Place, SessionBound, Signed};
use crate::authz::operator::permits;
use crate::crypto::envelope::Envelope;
use crate::crypto::hash::Digest;
use crate::denial::{Denial, Fault, Reason};
use crate::id::{Aud, Kid, RoleName};
use crate::statement::Body;
use crate::statement::command::Command;
use crate::statement::request::Request;
use crate::statement::session::Seal;
use crate::store::{Candidate, Failure, Question, Refusal, Situation};
use crate::time::{Clock, Seconds, Timestamp};

/// A statement that came in: authenticated, its nonce held until this is dropped.
#[derive(Debug)]
pub(super) struct Admitted<S> {
    pub(super) authenticated: Authenticated<S>,
    _nonce: Reservation,
}

/// An agent's request that came in, with all that decides about it.
#[derive(Debug)]
pub(super) struct Asking<B> {
    pub(super) authenticated: Authenticated<Request<B>>,
    pub(super) situation: Situation,
    _nonce: Reservation,
    _in_hand: InHand,
}

impl<B: Body> Asking<B> {
    /// The members of this `typ`.
    pub(super) fn body(&self) -> &B {
        &self.authenticated.statement().body
    }

    /// H(PAE) of the request.
    pub(super) fn req(&self) -> Digest {
        self.authenticated.req()
    }

    /// Step 9, as to the agent: it may act, and so may agents at all.
    pub(super) fn alive(&self) -> Result<(), Denial> {
        alive(&self.situation)
    }

    /// Step 11: `seen` is a prefix of the chain.
    pub(super) fn history(&self) -> Result<(), Denial> {
        match &self.situation {
            Situation { history: true, .. } => Ok(()),
            Situation { restored: true, .. } => Err(Reason::Restored.into()),
            _ => Err(Reason::HistoryMismatch.into()),
        }
    }

    /// Steps 9 to 11: agent and session alive, the seal acceptable and the session's own, `seen` a prefix of the chain.
    /// Where the vault was restored and `seen` may be of the history that was lost, it says so.
    pub(super) fn bind(&self, seal: Option<&Seal>, vault: &Vault) -> Result<SessionBound, Denial> {
        let now = self.authenticated.at();
        self.alive()?;
        seal.map(authn::seal_acceptable).transpose()?;
        let bound = authn::bind(self.situation.session.as_ref(), seal, now, vault.limits.rules.session_idle)?;
        self.history()?;
        Ok(bound)
    }
}

/// What decides about coming in beside the store.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) aud: Aud,
    pub(super) skew: Seconds,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) nonces: Nonces,
    pub(super) paces: Paces,
}

/// One who did not come in; with the digest of the request where a registered key had signed it.
#[derive(Debug)]
struct TurnedAway {
    denial: Box<Denial>,
    req: Option<Digest>,
}

impl Door {
    /// Steps 1 to 8, but for the looks into the store.
    fn let_in<S: Signed>(&self, envelope: Envelope, candidate: &Candidate) -> Result<Admitted<S>, TurnedAway> {
        let (now, req) = (self.clock.now(), envelope.digest());
        let place = Place { aud: &self.aud, now, skew: self.skew, floor: candidate.floor };
        let authenticated: Authenticated<S> = Authenticated::check(envelope, candidate.key.as_ref(), &place)
            .map_err(|refused| TurnedAway { denial: Box::new(refused.denial), req: refused.signed.then_some(req) })?;
        let claims = authenticated.statement().claims();
        let reserved = self.nonces.reserve(claims.kid, claims.nonce);
        let nonce = reserved.map_err(|denial| TurnedAway { denial: Box::new(denial), req: Some(req) })?;
        Ok(Admitted { authenticated, _nonce: nonce })
    }

    /// The same for an agent's request, which is taken in hand. Its nonce is not spent and its chain not written: who asks
    /// too often fills nothing.
    fn enter<B: Body>(
        &self,
        envelope: Envelope,
        candidate: &Candidate,
    ) -> Result<(Admitted<Request<B>>, InHand), TurnedAway> {
        let admitted = self.let_in::<Request<B>>(envelope, candidate)?;
        let authenticated = &admitted.authenticated;
        let in_hand = self.paces.enter(&authenticated.statement().common.agent);
        let in_hand =
            in_hand.map_err(|denial| TurnedAway { denial: Box::new(denial), req: Some(authenticated.req()) })?;
        Ok((admitted, in_hand))
    }
}

/// What an admitted request asks the store.
fn question<B: Body>(admitted: &Admitted<Request<B>>, role: impl FnOnce(&B) -> Option<&RoleName>) -> Question {
    let Request { common, body } = admitted.authenticated.statement();
    Question {
        agent: common.agent.clone(),
        sid: common.sid.clone(),
        role: role(body).cloned(),
        nonce: common.nonce.clone(),
        seen: common.seen,
    }
}

/// Step 9, as to the agent: agents may act at all, and so may this one.
pub(super) fn alive(situation: &Situation) -> Result<(), Denial> {
    if situation.frozen { Err(Reason::VaultFrozen.into()) } else { situation.agent.alive() }
}

impl Vault {
    /// Steps 1 to 8 for an agent's request, and the reading of all that decides about it: one look into the store, on whose
    /// thread the signature is verified too.
    pub(super) async fn admit<B: Body>(
        &self,
        envelope: Envelope,
        role: impl FnOnce(&B) -> Option<&RoleName> + Send + 'static,
    ) -> Result<Asking<B>, Outcome> {
        let kid = self.knock(&envelope).await?;
        let (door, (tell, mut told)) = (Arc::clone(&self.door), oneshot::channel());
        let asks = move |candidate: Candidate| {
            let entered = door.enter::<B>(envelope, &candidate);
            let question = entered.as_ref().ok().map(|(admitted, _)| question(admitted, role));
            // Where nobody waits any more, what was held goes with it.
            let _ = tell.send(entered);
            question
        };
        let situation = self.store.situation(&kid, Box::new(asks)).await;
        let (Admitted { authenticated, _nonce }, _in_hand) = match (told.try_recv(), &situation) {
            (Ok(entered), _) => entered.map_err(|turned| self.count(turned))?,
            (Err(_), Err(Failure::Denied(denial))) => return Err(self.count_away(denial.clone())),
            (Err(_), _) => return Err(self.count_away(Reason::AuditUnavailable.into())),
        };
        self.measure(|telemetry| telemetry.skewed(authenticated.statement().common.iat, authenticated.at()));
        match situation {
            Ok(Some(situation)) if situation.replayed => {
                Err(self.count_out(Reason::Replay.into(), authenticated.req()))
            }
            Ok(Some(situation)) => Ok(Asking { authenticated, situation, _nonce, _in_hand }),
            Ok(None) => Err(self.count_out(Reason::Internal.into(), authenticated.req())),
            Err(failure) => Err(self.count_out(failure.denial(), authenticated.req())),
        }
    }

    /// Steps 1 to 8 for an operator's command.
    pub(super) async fn command<B: Body>(&self, envelope: Envelope) -> Result<Admitted<Command<B>>, Outcome> {
        self.command_above(envelope, None).await
    }

    /// The same for one that another floor holds for than that of all requests.
    pub(super) async fn command_above<B: Body>(
        &self,
        envelope: Envelope,
        floor: Option<Timestamp>,
    ) -> Result<Admitted<Command<B>>, Outcome> {
        let admitted = self.authenticate::<Command<B>>(envelope, floor).await?;
        let command = admitted.authenticated.statement();
        match self.store.nonce_known(&command.kid, &command.nonce).await {
            Ok(false) => {}
            Ok(true) => return Err(self.count_out(Reason::Replay.into(), admitted.authenticated.req())),
            Err(failure) => return Err(self.count_out(failure.denial(), admitted.authenticated.req())),
        }
        match self.permitted(&admitted.authenticated).await {
            Ok(()) => Ok(admitted),
            // What a duty does not allow stands in `_operators` with its reason, a question too.
            Err(denial) if denial.reason == Reason::NotPermitted => {
                Err(match self.carried(&admitted.authenticated, Err(denial)).await {
                    Ok(_) => self.count_out(Reason::Internal.into(), admitted.authenticated.req()),
                    Err(refused) => refused,
                })
            }
            Err(denial) => Err(self.count_out(denial, admitted.authenticated.req())),
        }
    }

    /// Whether the operator's duty allows the command. It is asked again inside the transaction that carries it out.
    async fn permitted<B: Body>(&self, command: &Authenticated<Command<B>>) -> Result<(), Denial> {
        let operator = self.store.operator(&command.key().kid).await.map_err(Failure::denial)?;
        let operator = operator.ok_or_else(|| Denial::new(Reason::Unauthenticated).internal("no operator's key"))?;
        if !operator.lives() {
            return Err(Reason::KeyRetired.into());
        }
        let body = serde_json::to_value(&command.statement().body)
            .map_err(|why| Denial::new(Reason::Internal).internal(why))?;
        permits(&operator.duty, B::TYP, &body)
    }

    async fn authenticate<S: Signed>(
        &self,
        envelope: Envelope,
        floor: Option<Timestamp>,
    ) -> Result<Admitted<S>, Outcome> {
        let kid = self.knock(&envelope).await?;
        let mut candidate = self.store.candidate(&kid).await.map_err(|failure| self.count_away(failure.denial()))?;
        candidate.floor = floor.unwrap_or(candidate.floor);
        let admitted: Admitted<S> = self.door.let_in(envelope, &candidate).map_err(|turned| self.count(turned))?;
        let authenticated = &admitted.authenticated;
        self.measure(|telemetry| telemetry.skewed(authenticated.statement().claims().iat, authenticated.at()));
        Ok(admitted)
    }

    /// Whether anything is taken in now, and the key that an envelope names.
    async fn knock(&self, envelope: &Envelope) -> Result<Kid, Outcome> {
        if self.state() == State::Stopping {
            // `stop` stands in `_vault`: what still arrives on an open connection comes too late.
            return Err(self.count_away(Denial::new(Reason::AuditUnavailable).internal("the daemon stops")));
        }
        self.turn_epoch_if_due().await.map_err(|denial| self.count_away(denial))?;
        // A kid that is none cannot be registered; it is looked up all the same, so that both take alike time.
        Ok(envelope.kid.parse().unwrap_or_else(|_| Kid::from_thumbprint(&[0; 32])))
    }

    fn count(&self, turned: TurnedAway) -> Outcome {
        match turned.req {
            Some(req) => self.count_out(*turned.denial, req),
            None => self.count_away(*turned.denial),
        }
    }

    /// Counts a refusal to one who proved nothing.
    pub(super) fn count_away(&self, denial: Denial) -> Outcome {
        self.refusals.count(denial.reason, self.clock.now());
        turn_away(denial)
    }

    /// Counts a refusal to one who proved a key.
    pub(super) fn count_out(&self, denial: Denial, req: Digest) -> Outcome {
        let now = self.clock.now();
        self.refusals.count(denial.reason, now);
        self.pen.refuse(denial, req, now)
    }

    /// Ends a request that came in: releases the reply that belongs to its receipt, or chains the denial.
    pub(super) async fn conclude<B: Body>(
        &self,
        asking: &Asking<B>,
        decided: Result<(Receipt, Reply), Denial>,
    ) -> Outcome {
        match decided {
            Ok((receipt, reply)) => reply(&self.pen, receipt),
            Err(denial) if chained(&denial) => self.deny(asking, denial).await,
            Err(denial) => self.count_out(denial, asking.req()),
        }
    }

    async fn deny<B: Body>(&self, asking: &Asking<B>, denial: Denial) -> Outcome {
        let common = &asking.authenticated.statement().common;
        let refusal = Refusal {
            agent: &common.agent,
            kid: &common.kid,
            nonce: &common.nonce,
            iat: common.iat,
            envelope: asking.authenticated.envelope(),
            reason: denial.reason,
        };
        match self.store.deny(&refusal).await {
            Ok(_) => self.pen.refuse(denial, asking.req(), self.clock.now()),
            // Without its entry the denial is not spoken either: the peer learns that the trail cannot be written.
            Err(failure) => self.count_out(failure.denial(), asking.req()),
        }
    }
}

/// What signs a reply once its receipt is there.
pub(super) type Reply = Box<dyn FnOnce(&super::answer::Pen, Receipt) -> Outcome + Send>;

/// Whether a denial gets an entry in the agent's chain. A replay was entered when it was first seen; where the vault
/// itself cannot serve, its trail most likely cannot either.
fn chained(denial: &Denial) -> bool {
    match denial.reason {
        Reason::SecretMissing | Reason::EngineUnavailable | Reason::EngineRefused => true,
        Reason::Replay | Reason::NoncesFull | Reason::ClockSkew | Reason::Stale => false,
        reason => reason.fault() != Fault::Vault,
    }
}
