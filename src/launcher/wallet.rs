//! What a launcher holds in its agent's name: one session, and in it the credentials that were asked for. A [`Wallet`]
//! connects when it is first asked. What it holds it gives again within the lease's life, to any number who ask at once;
//! it asks anew when a third of that life is left. When it is closed, the session ends and every lease with it.
//!
//! Each wait is bounded. A request whose answer was lost is given back by its hash before another is made, so that a bad
//! line leaves no lease behind that nobody knows of. What the vault ended (a session that was idle, revoked or too old)
//! is begun anew, once a request.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{RwLock, watch};
use tokio::time::timeout;

use super::orphans::{Noted, Orphan, Orphans};
use super::want::{Roles, Want};
use crate::client::Surroundings;
use crate::client::agent::{Agent, Session};
use crate::client::fault::{Fault, Refusal};
use crate::client::material::Material;
use crate::client::signer::Identity;
use crate::denial::Reason;
use crate::id::{AgentName, LeaseId, RoleName};
use crate::statement::card::Card;
use crate::statement::reply::Hdr;
use crate::time::{Seconds, Timestamp};

/// How long one exchange with the vault may take: two calls, the second with a corrected clock.
const EXCHANGE: Duration = Duration::from_secs(65);
/// How long closing may take, for somebody waits for the end of the launcher.
const CLOSING: Duration = Duration::from_secs(5);
/// How many different credentials one launcher holds. Parameters make wants different, and a child chooses them.
const MOST: usize = 256;
/// How long a request whose session the vault may not know yet is waited for at the end.
const SETTLING: Duration = Duration::from_secs(3);
/// How many sessions that were left for a younger one are kept for their leases.
const PAST: usize = 8;

/// A credential that is held.
#[derive(Debug)]
pub struct Held {
    /// What the vault said of it in the open.
    pub hdr: Hdr,
    /// The secret.
    pub secret: Material,
    exp: AtomicU64,
    /// When its life began, or was prolonged.
    since: AtomicU64,
    session: Session,
}

impl Held {
    /// When it ends. A renewal moves it.
    #[must_use]
    pub fn exp(&self) -> Timestamp {
        Timestamp(self.exp.load(Ordering::Acquire))
    }

    /// Its lease.
    #[must_use]
    pub fn lease(&self) -> &LeaseId {
        &self.hdr.lease
    }

    /// The text of this name in the secret; without a name, the one that stands for the whole: `value` of a `kv` secret,
    /// `token` of a `jwt`, else its `url` or `password`.
    #[must_use]
    pub fn member(&self, name: Option<&str>) -> Option<&str> {
        match name {
            Some(name) => self.secret.expose(name),
            None => ["value", "token", "url", "password"].iter().find_map(|name| self.secret.expose(name)),
        }
    }

    /// How much of its life is left at `now`, in milliseconds, and how long it was given, by the vault's last word on it.
    #[must_use]
    pub fn left(&self, now: Timestamp) -> (u64, u64) {
        let (exp, since) = (self.exp(), self.since.load(Ordering::Acquire));
        (exp.0.saturating_sub(now.0), exp.0.saturating_sub(since))
    }
}

/// What happened in the agent's name.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// A credential was issued.
    Issued(&'a Hdr),
    /// A lease goes on until then.
    Renewed(&'a Hdr, Timestamp),
    /// A lease was given back.
    Released(&'a Hdr),
    /// The vault refused a request for this role.
    Refused(&'a RoleName, &'a Refusal),
}

/// Who is told what happened.
pub trait Reporter: Send + Sync + fmt::Debug {
    /// Takes it down.
    ///
    /// # Errors
    /// Where it must be taken down and cannot be: a credential that was issued is then given back and not used.
    fn report(&self, event: &Event<'_>) -> Result<(), Fault>;
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn report(&self, _: &Event<'_>) -> Result<(), Fault> {
        Ok(())
    }
}

/// Whose wallet it is and how it is kept.
#[derive(Clone, Debug)]
pub struct Owner {
    /// The vault.
    pub card: Card,
    /// The agent and its key.
    pub identity: Identity<AgentName>,
    /// Clock, randomness and memory.
    pub around: Surroundings,
    /// How sessions are called; each gets a random suffix.
    pub label: String,
    /// What may be asked for.
    pub roles: Roles,
    /// Who is told.
    pub reporter: Arc<dyn Reporter>,
    /// Where open sessions are noted, so that the next launcher ends those of one that was killed.
    pub orphans: Option<Orphans>,
}

/// One agent's credentials. Clones share them.
#[derive(Clone, Debug)]
pub struct Wallet(Arc<Inner>, Roles);

#[derive(Debug)]
struct Inner {
    owner: Owner,
    /// Set when the session ends, so that nobody begins another.
    closed: AtomicBool,
    open: tokio::sync::Mutex<Option<Open>>,
    /// Sessions that a younger one took over from, while leases may live in them.
    past: Mutex<Vec<Open>>,
    /// Shared by the requests that are under way.
    underway: Arc<RwLock<()>>,
    places: Mutex<BTreeMap<Want, Arc<Place>>>,
}

/// The session in use.
#[derive(Debug)]
struct Open {
    agent: Agent,
    session: Session,
    since: Timestamp,
    noted: Option<Noted>,
}

impl Open {
    fn age(&self) -> Seconds {
        self.agent.now().since(self.since)
    }

    /// Whether a credential that is asked for now would end early, with this session. Then its owner asks in another.
    fn is_late(&self) -> bool {
        self.age().0 > self.agent.vault().limits.session_max.0 / 2
    }

    /// Ends it, and every lease in it. `settled`: no request is under way of which the vault may not have heard yet.
    async fn close(self, settled: bool) -> Result<u64, Fault> {
        let closed = match timeout(CLOSING, self.session.clone().close()).await {
            Ok(Err(fault)) if !settled && fault.reason() == Some(Reason::SessionUnknown) => {
                Err(Fault::local("a request is still under way"))
            }
            Ok(Err(fault)) if is_over(&fault) => Ok(0),
            Ok(closed) => closed,
            Err(_) => Err(Fault::local("the vault did not answer in time")),
        };
        closed.inspect_err(|_| {
            if let Some(noted) = &self.noted {
                noted.leave();
            }
        })
    }
}

/// Where one want's credential lies. Who asks holds the gate, so that others wait for what comes of it.
#[derive(Debug)]
struct Place {
    gate: tokio::sync::Mutex<()>,
    held: watch::Sender<Option<Arc<Held>>>,
}

impl Wallet {
    /// An empty wallet. Nothing is sent before something is asked for.
    #[must_use]
    pub fn new(owner: Owner) -> Wallet {
        let roles = owner.roles.clone();
        Wallet(
            Arc::new(Inner {
                owner,
                closed: AtomicBool::new(false),
                open: tokio::sync::Mutex::new(None),
                past: Mutex::default(),
                underway: Arc::default(),
                places: Mutex::default(),
            }),
            roles,
        )
    }

    /// Whose it is.
    #[must_use]
    pub fn owner(&self) -> &Owner {
        &self.0.owner
    }

    /// What may be asked for.
    #[must_use]
    pub fn roles(&self) -> &Roles {
        &self.1
    }

    /// The same wallet for somebody who may ask for less: for these roles, as far as the whole may be asked for them.
    #[must_use]
    pub fn only(&self, roles: BTreeSet<RoleName>) -> Wallet {
        let roles = roles.into_iter().filter(|role| self.1.allows(role)).collect();
        Wallet(self.0.clone(), Roles::Only(roles))
    }

    /// The vault's time, where it was heard, else this machine's.
    pub async fn now(&self) -> Timestamp {
        match self.0.open.lock().await.as_ref() {
            Some(open) => open.agent.now(),
            None => self.0.owner.around.clock.now(),
        }
    }

    /// A credential with life in it: the one that is held, else a new one.
    ///
    /// # Errors
    /// Any [`Fault`]; [`Fault::Local`] for a role that the launcher was not started with.
    pub async fn hold(&self, want: &Want) -> Result<Arc<Held>, Fault> {
        let place = self.place(want)?;
        let _gate = place.gate.lock().await;
        let held = place.held.borrow().clone();
        let now = self.now().await;
        let good = held.filter(|held| {
            let (left, life) = held.left(now);
            left > life / 3
        });
        match good {
            Some(held) => Ok(held),
            None => self.replace(&place, want).await,
        }
    }

    /// A new credential, whatever is held. The one before lives until its end, for tools that still use it.
    ///
    /// # Errors
    /// As [`Wallet::hold`].
    pub async fn fresh(&self, want: &Want) -> Result<Arc<Held>, Fault> {
        let place = self.place(want)?;
        let _gate = place.gate.lock().await;
        self.replace(&place, want).await
    }

    /// What is held for `want`, and each replacement of it.
    ///
    /// # Errors
    /// [`Fault::Local`] as in [`Wallet::hold`].
    pub fn follow(&self, want: &Want) -> Result<watch::Receiver<Option<Arc<Held>>>, Fault> {
        Ok(self.place(want)?.held.subscribe())
    }

    /// Everything that is held of the roles that may be asked for.
    #[must_use]
    pub fn held(&self) -> Vec<(Want, Arc<Held>)> {
        let places = self.places();
        let held = |(want, place): (&Want, &Arc<Place>)| Some((want.clone(), place.held.borrow().clone()?));
        places.iter().filter(|(want, _)| self.1.allows(&want.role)).filter_map(held).collect()
    }

    /// Asks for what is held to live on; the grant says for how long.
    ///
    /// # Errors
    /// Any [`Fault`]: the credential is what it was before.
    pub async fn renew(&self, want: &Want, held: &Held) -> Result<Timestamp, Fault> {
        let exp = bounded(held.session.renew(held.lease(), want.ttl)).await;
        let exp = exp.inspect_err(|fault| self.refused(&want.role, fault))?;
        held.since.store(self.now().await.0, Ordering::Release);
        held.exp.store(exp.0, Ordering::Release);
        self.0.owner.reporter.report(&Event::Renewed(&held.hdr, exp))?;
        Ok(exp)
    }

    /// Gives back what is held of a role. Gives how many credentials that were.
    ///
    /// # Errors
    /// Any [`Fault`]; what could not be given back is forgotten here all the same, and ends with its session.
    pub async fn release(&self, role: &RoleName) -> Result<usize, Fault> {
        let places: Vec<_> = {
            let places = self.places();
            let of_role = |want: &Want| want.role == *role && self.1.allows(role);
            places.iter().filter(|(want, _)| of_role(want)).map(|(_, place)| place.clone()).collect()
        };
        let mut count = 0;
        for place in places {
            let _gate = place.gate.lock().await;
            let Some(held) = place.held.send_replace(None) else { continue };
            self.give_back(&held).await?;
            count += 1;
        }
        Ok(count)
    }

    /// Gives one credential back. One that has ended already is no fault.
    ///
    /// # Errors
    /// Any [`Fault`].
    pub async fn give_back(&self, held: &Held) -> Result<(), Fault> {
        match bounded(held.session.release(held.lease())).await {
            Ok(()) => self.0.owner.reporter.report(&Event::Released(&held.hdr)),
            Err(fault) if is_over(&fault) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    /// Ends the session and every lease in it, within a few seconds. Gives how many leases there were; `None` where
    /// nothing was ever asked for.
    ///
    /// # Errors
    /// Any [`Fault`]: the leases then end when their time is over, or when the next launcher of this agent starts.
    pub async fn close(&self) -> Result<Option<u64>, Fault> {
        self.0.closed.store(true, Ordering::Release);
        let held = self.held();
        self.places().clear();
        let settled = timeout(SETTLING, self.0.underway.write()).await.is_ok();
        // Who holds it for longer connects, and begins nothing afterwards.
        let open = timeout(CLOSING, self.0.open.lock()).await.ok().and_then(|mut open| open.take());
        let mut all = std::mem::take(&mut *self.past());
        all.extend(open);
        if all.is_empty() {
            return Ok(None);
        }
        let (mut leases, mut failed) = (0, None);
        for open in all {
            match open.close(settled).await {
                Ok(ended) => leases += ended,
                Err(fault) => failed = Some(fault),
            }
        }
        if let Some(fault) = failed {
            return Err(fault);
        }
        for (_, held) in held {
            self.0.owner.reporter.report(&Event::Released(&held.hdr))?;
        }
        Ok(Some(leases))
    }

    /// Ends the sessions of launchers of this agent that were killed, or could not end them. Gives which.
    ///
    /// # Errors
    /// Any [`Fault`]; what is left is for the next launcher.
    pub async fn end_orphans(&self) -> Result<Vec<Orphan>, Fault> {
        let Some(orphans) = self.0.owner.orphans.as_ref().filter(|orphans| orphans.any()) else {
            return Ok(Vec::new());
        };
        self.session(false).await?;
        let agent = self.0.open.lock().await.as_ref().map(|open| open.agent.clone());
        match agent {
            Some(agent) => bounded(orphans.end(&agent, self.0.owner.around.clock.now())).await,
            None => Ok(Vec::new()),
        }
    }

    fn past(&self) -> MutexGuard<'_, Vec<Open>> {
        self.0.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn places(&self) -> MutexGuard<'_, BTreeMap<Want, Arc<Place>>> {
        self.0.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, want: &Want) -> Result<Arc<Place>, Fault> {
        let role = &want.role;
        if !self.roles().allows(role) {
            return Err(Fault::Local(format!(
                "this launcher does not ask for {role}: it was started for other roles; start it with --role {role}"
            )));
        }
        let mut places = self.places();
        if places.len() >= MOST && !places.contains_key(want) {
            // One that has ended is of no use to anybody.
            let now = self.0.owner.around.clock.now();
            let lives = |place: &Place| place.held.borrow().as_ref().is_some_and(|held| held.exp() > now);
            places.retain(|_, place| lives(place) || Arc::strong_count(place) > 1);
            if places.len() >= MOST {
                return Err(Fault::Local(format!("this launcher holds {MOST} different credentials; release some")));
            }
        }
        let empty = || Arc::new(Place { gate: tokio::sync::Mutex::new(()), held: watch::Sender::new(None) });
        Ok(places.entry(want.clone()).or_insert_with(empty).clone())
    }

    /// Asks, and puts what comes into its place. The caller holds the gate.
    async fn replace(&self, place: &Place, want: &Want) -> Result<Arc<Held>, Fault> {
        let mut anew = false;
        let held = loop {
            let session = self.session(anew).await?;
            match self.request(&session, want).await {
                Ok(held) => break held,
                Err(fault) if !anew && self.is_session_over(&fault, want).await => anew = true,
                Err(fault) => {
                    self.refused(&want.role, &fault);
                    return Err(fault);
                }
            }
        };
        if let Err(fault) = self.0.owner.reporter.report(&Event::Issued(&held.hdr)) {
            let _ = self.give_back(&held).await;
            return Err(fault);
        }
        let held = Arc::new(held);
        place.held.send_replace(Some(held.clone()));
        Ok(held)
    }

    /// Asks in a task of its own: a request is not broken off where its caller leaves, so that the end can wait for it.
    async fn request(&self, session: &Session, want: &Want) -> Result<Held, Fault> {
        let (session, ask) = (session.clone(), want.ask());
        let underway = self.0.underway.clone().read_owned().await;
        let asking = async move {
            let _underway = underway;
            let asked = bounded(session.request(&ask)).await;
            if let Err(Fault::NoAnswer { req, .. }) = &asked {
                // What came of it, if anything, is unknown and of no use: its secret was lost on the way.
                let _ = bounded(session.release_unanswered(*req)).await;
            }
            let credential = asked?;
            let (exp, since) = (AtomicU64::new(credential.hdr.exp.0), AtomicU64::new(credential.hdr.iat.0));
            Ok(Held { hdr: credential.hdr, secret: credential.secret, exp, since, session })
        };
        tokio::spawn(asking).await.unwrap_or_else(|_| Err(Fault::local("the request broke off")))
    }

    /// The session in use; another in its place where `anew`, or where there is none.
    async fn session(&self, anew: bool) -> Result<Session, Fault> {
        let owner = &self.0.owner;
        let mut open = self.0.open.lock().await;
        self.goes_on()?;
        if let Some(open) = open.as_ref().filter(|open| !anew && !open.is_late()) {
            return Ok(open.session.clone());
        }
        let connecting = Agent::connect_in(&owner.card, owner.identity.clone(), owner.around.clone());
        let agent = bounded(connecting).await?;
        self.goes_on()?;
        let session = agent.session(&owner.label)?;
        // Noted before the vault hears of it: a session that is known nowhere cannot be ended.
        let noted = owner.orphans.as_ref().map(|orphans| orphans.note(session.sid())).transpose()?;
        let since = agent.now();
        let before = open.replace(Open { agent, session: session.clone(), since, noted });
        drop(open);
        let oldest = {
            let mut past = self.past();
            past.extend(before);
            (past.len() > PAST).then(|| past.remove(0))
        };
        if let Some(oldest) = oldest {
            // What lived in it has been replaced long since; where it cannot be ended, its note stays.
            let _ = oldest.close(true).await;
        }
        Ok(session)
    }

    fn goes_on(&self) -> Result<(), Fault> {
        match self.0.closed.load(Ordering::Acquire) {
            true => Err(Fault::local("this launcher is ending and asks for nothing more")),
            false => Ok(()),
        }
    }

    /// Whether nothing more can be had in the session in use, while it could in another.
    async fn is_session_over(&self, fault: &Fault, want: &Want) -> bool {
        match fault.reason() {
            Some(Reason::SessionEnded | Reason::SessionUnknown | Reason::SealMismatch) => true,
            // A life that no session has room for is no reason to begin one.
            Some(Reason::TtlExceedsSession) => {
                let age = self.0.open.lock().await.as_ref().map_or(0, |open| open.age().0);
                let room = fault.refusal().and_then(|refusal| refusal.limit).unwrap_or(0);
                age > 0 && want.ttl.0 <= room.saturating_add(age)
            }
            _ => false,
        }
    }

    fn refused(&self, role: &RoleName, fault: &Fault) {
        if let Some(refusal) = fault.refusal() {
            // Nothing hangs on it: what was refused gives no secret.
            let _ = self.0.owner.reporter.report(&Event::Refused(role, refusal));
        }
    }
}

/// A lease or session that the vault knows no more, so that there is nothing left to end.
fn is_over(fault: &Fault) -> bool {
    matches!(
        fault.reason(),
        Some(Reason::LeaseEnded | Reason::LeaseUnknown | Reason::SessionEnded | Reason::SessionUnknown)
    )
}

/// Waits for an exchange as long as one may take.
async fn bounded<T>(exchange: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let late = || Fault::Local(format!("the vault did not answer within {} s", EXCHANGE.as_secs()));
    timeout(EXCHANGE, exchange).await.unwrap_or_else(|_| Err(late()))
}
