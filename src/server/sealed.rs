//! `CustodyService`: how a sealed vault comes to its root key, and how an unsealed one comes to an operator whom custody makes
//! ([`recover`]). It stands on operators' unix sockets alone, sealed or not.
//!
//! No operator's signature can be checked here, so whoever contributes proves himself by what he contributes. A contribution is
//! sealed to a key that is made for this sealed time, so that neither the network's buffers nor a trace of them hold it;
//! its purpose is part of that seal, so that what was given to unseal serves for nothing else, and what was given for one
//! new operator for no other. Shares wait in memory until
//! they are complete, are withdrawn, or nobody added one for a while; one that does not belong there is refused and costs
//! nothing. After a wrong one the next is taken a second later.

mod recover;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::compose::{self, ComposeFault};
use super::phases::Phases;
use super::status;
use crate::audit::entry::Opened;
use crate::config::Config;
use crate::crypto::hash::Digest;
use crate::crypto::hpke::{self, SealSecretKey, Sealed};
use crate::crypto::json::canonical;
use crate::denial::Reason;
use crate::entropy::{Entropy, OsEntropy};
use crate::id::{Aud, CustodianName, VaultName};
use crate::seal::custody::purpose::Purpose;
use crate::seal::custody::shares::{Gathered, Share, ShareFault};
use crate::seal::custody::{self, CustodySecret, RootKey};
use crate::secret::{Secret, SecretBytes};
use crate::statement::custody::Kind;
use crate::store::sqlite::Sqlite;
use crate::telemetry::Telemetry;
use crate::time::SystemClock;
use crate::vault::Vault;
use crate::wire::v1::custody_service_server::CustodyService;
use crate::wire::v1::{
    Custodian, ReadCustodyRequest, ReadCustodyResponse, RecoverRequest, RecoverResponse, UnsealRequest, UnsealResponse,
    WithdrawSharesRequest, WithdrawSharesResponse,
};

/// How long after a wrong contribution the next is taken.
const PACE: Duration = Duration::from_secs(1);
/// How long shares wait for the next one.
const IDLE: Duration = Duration::from_secs(15 * 60);
/// For how many things, and of how many custodians, shares wait at once: each needs a place in memory.
const POTS: usize = 16;

/// What was contributed, and whoever waits for what comes of it.
#[derive(Debug)]
pub(super) struct Contributed {
    root: RootKey,
    opened: Opened,
    answer: oneshot::Sender<Result<(), Refused>>,
}

/// Why a contribution came to nothing.
#[derive(Debug)]
pub(super) struct Refused {
    reason: Reason,
    text: String,
}

impl Refused {
    fn new(reason: Reason, text: impl Into<String>) -> Refused {
        Refused { reason, text: text.into() }
    }

    /// There is nothing to unseal.
    pub(super) fn not_sealed() -> Refused {
        Refused::new(Reason::NotSealed, Reason::NotSealed.advice())
    }

    fn of(fault: &ComposeFault) -> Refused {
        let reason = if fault.is_wrong_root() { Reason::CustodyRefused } else { Reason::Internal };
        Refused::new(reason, fault.to_string())
    }
}

impl Contributed {
    /// Says what came of it. Whoever contributed may be gone.
    pub(super) fn answer(self, said: Result<(), Refused>) {
        let _ = self.answer.send(said);
    }
}

/// Opens the vault with what was contributed.
///
/// # Errors
/// What to say to whoever contributed it. The vault stays sealed.
pub(super) async fn open(config: &Config, contributed: &Contributed) -> Result<Arc<Vault>, Refused> {
    let Contributed { root, opened, .. } = contributed;
    let opened = compose::open_with(config, root, opened.clone(), Arc::new(SystemClock), Arc::new(OsEntropy));
    opened.await.map_err(|fault| {
        tracing::warn!(why = %fault, "the vault could not be unsealed");
        Refused::of(&fault)
    })
}

/// The service. Clones share what was contributed.
#[derive(Clone, Debug)]
pub(super) struct Custody(Arc<Desk>);

#[derive(Debug)]
struct Desk {
    data_dir: PathBuf,
    phases: Phases,
    telemetry: Telemetry,
    entropy: Arc<dyn Entropy>,
    opening: mpsc::Sender<Contributed>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    intake: SealSecretKey,
    /// Until when nothing is taken.
    paced: Option<Instant>,
    /// Shares that wait for others.
    pots: Pots,
}

/// Shares by what they were given for, and by their custodian.
type Pots = BTreeMap<(Purpose, CustodianName), Pot>;

/// The shares of one custodian for one thing.
#[derive(Debug)]
struct Pot {
    /// What the custodian was when they were given: of another set, they serve for nothing.
    kind: Kind,
    gathered: Gathered,
    indexes: BTreeSet<u8>,
    /// When one came last.
    touched: Instant,
}

/// What came of a contribution that is the custodian's.
enum Came {
    /// Root key and all.
    Whole(RootKey, Opened),
    /// More shares are needed.
    Part(Progress),
}

/// How far the shares are.
#[derive(Debug)]
struct Progress {
    threshold: u32,
    contributed: Vec<u32>,
}

impl Progress {
    /// All that were needed.
    fn whole(opened: &Opened) -> Progress {
        let contributed: Vec<u32> = opened.shares.iter().map(|index| u32::from(*index)).collect();
        Progress { threshold: u32::try_from(contributed.len()).unwrap_or(u32::MAX), contributed }
    }
}

impl State {
    /// Forgets shares to which none was added for long.
    fn tire(&mut self) {
        self.pots.retain(|_, pot| pot.touched.elapsed() < IDLE);
    }

    /// Adds a share.
    fn add(&mut self, purpose: Purpose, to: &custody::Custodian, text: &str) -> Result<&Pot, Refused> {
        let no = |fault: ShareFault| Refused::new(Reason::CustodyRefused, fault.to_string());
        let share: Share = text.parse().map_err(no)?;
        let index = share.index();
        let place = (purpose, to.who.name.clone());
        let kept = self.pots.remove(&place).filter(|pot| pot.kind == to.who.kind);
        let mut pot = match kept {
            Some(pot) => pot,
            None if self.pots.len() >= POTS => {
                let text = "shares for too many things wait already; withdraw those that nobody wants, with --reset";
                return Err(Refused::new(Reason::Busy, text));
            }
            None => Pot {
                kind: to.who.kind.clone(),
                gathered: Gathered::of(&to.who.kind).map_err(no)?,
                indexes: BTreeSet::new(),
                touched: Instant::now(),
            },
        };
        // Complete already: the vault did not open for another reason, and is tried again.
        if !pot.gathered.is_enough() {
            if let Err(fault) = pot.gathered.add(share) {
                // A share that is none takes nobody's place.
                if !pot.indexes.is_empty() {
                    self.pots.insert(place, pot);
                }
                return Err(no(fault));
            }
            pot.indexes.insert(index);
        }
        pot.touched = Instant::now();
        Ok(self.pots.entry(place).insert_entry(pot).into_mut())
    }
}

impl Custody {
    /// The service, and where what was contributed arrives.
    pub(super) fn new(config: &Config, phases: Phases, telemetry: Telemetry) -> (Custody, mpsc::Receiver<Contributed>) {
        let (opening, contributed) = mpsc::channel(1);
        let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
        let state =
            Mutex::new(State { intake: SealSecretKey::generate(&*entropy), paced: None, pots: BTreeMap::new() });
        let data_dir = config.vault.data_dir.clone();
        (Custody(Arc::new(Desk { data_dir, phases, telemetry, entropy, opening, state })), contributed)
    }

    /// Forgets all that was contributed, and the key that it was sealed to.
    pub(super) fn forget(&self) {
        let mut state = self.0.state();
        state.intake = SealSecretKey::generate(&*self.0.entropy);
        state.paced = None;
        state.pots.clear();
    }

    /// Forgets shares to which none was added for long.
    pub(super) fn tire(&self) {
        self.0.state().tire();
    }

    /// Forgets what was contributed to make operators.
    pub(super) fn forget_recoveries(&self) {
        self.0.state().pots.retain(|(purpose, _), _| *purpose == Purpose::Unseal);
    }
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self, refused: Refused) -> Status {
        let Refused { reason, text } = refused;
        self.telemetry.refused(reason);
        tracing::info!(%reason, text, "a contribution was refused");
        status::told(reason, &text)
    }

    /// What a sealed contribution to this custodian comes to; a secret goes to whichever it fits where none is named.
    fn take(
        &self,
        (purpose, name): (Purpose, &str),
        sealed: &Sealed,
        mut custodians: Vec<custody::Custodian>,
        aud: &Aud,
    ) -> Result<Came, Refused> {
        let opened = hpke::open(&self.state().intake, sealed, &purpose.info(name), &[]);
        let opened = opened.map_err(|_| {
            let text =
                "the contribution is not sealed to the key of this time, or was made for something else; ask anew";
            Refused::new(Reason::BadSealedInput, text)
        })?;
        custodians.retain(|known| name.is_empty() || known.who.name.as_str() == name);
        match custodians.as_slice() {
            [] => Err(Refused::new(Reason::NotFound, "the vault has no custodian of this name")),
            [one] if matches!(one.who.kind, Kind::Shares { .. }) => self.share(purpose, one, aud, &opened),
            _ => {
                let secret = Secret::from_slice(opened.expose()).map(CustodySecret::new);
                let secret =
                    secret.ok_or_else(|| Refused::new(Reason::CustodyRefused, "a custodian's secret has 32 bytes"))?;
                let (custodian, root) = custody::open_any(&custodians, aud, &secret).map_err(|_| {
                    let names: Vec<_> = custodians.iter().map(|known| known.who.name.to_string()).collect();
                    Refused::new(Reason::CustodyRefused, format!("this is not what opens {}", names.join(" or ")))
                })?;
                Ok(Came::Whole(root, Opened { custodian: Some(custodian), shares: Vec::new() }))
            }
        }
    }

    /// Adds a share, and puts the secret together where that is the last that was needed.
    fn share(&self, purpose: Purpose, to: &custody::Custodian, aud: &Aud, text: &SecretBytes) -> Result<Came, Refused> {
        let text = std::str::from_utf8(text.expose())
            .map_err(|_| Refused::new(Reason::CustodyRefused, "this is no share, which is a line of text"))?;
        let mut state = self.state();
        state.tire();
        let pot = state.add(purpose, to, text)?;
        let (contributed, threshold) =
            (pot.indexes.iter().map(|index| u32::from(*index)).collect(), pot.gathered.progress().1);
        if !pot.gathered.is_enough() {
            return Ok(Came::Part(Progress { threshold: threshold.into(), contributed }));
        }
        let wrong = |why: String| Refused::new(Reason::CustodyRefused, why);
        let opened = Opened { custodian: Some(to.who.name.clone()), shares: pot.indexes.iter().copied().collect() };
        let root = pot.gathered.secret().map_err(|fault| fault.to_string()).and_then(|secret| {
            let why =
                "the shares together do not open the custodian, so all of them are forgotten; one of them is wrong";
            to.open(aud, &secret).map_err(|_| why.to_owned())
        });
        match root {
            Ok(root) => Ok(Came::Whole(root, opened)),
            Err(why) => {
                state.pots.remove(&(purpose, to.who.name.clone()));
                Err(wrong(why))
            }
        }
    }

    /// Who can open the vault, as its database says it. Nothing of it is believed before the ring is open.
    fn custodians(&self) -> Result<(Vec<custody::Custodian>, Aud, VaultName), Refused> {
        Sqlite::custodians(&self.data_dir).map_err(|fault| Refused::new(Reason::Internal, fault.to_string()))
    }

    /// That no wrong contribution was made a moment ago.
    fn paced(&self) -> Result<(), Refused> {
        if self.state().paced.is_some_and(|until| Instant::now() < until) {
            return Err(Refused::new(
                Reason::RateLimited,
                "a wrong contribution was made within the last second; try again in a second",
            ));
        }
        Ok(())
    }

    /// The next contribution has to wait where this one was wrong.
    fn pace<T>(&self, done: &Result<T, Refused>) {
        if let Err(Refused { reason: Reason::CustodyRefused, .. }) = done {
            self.state().paced = Some(Instant::now() + PACE);
        }
    }

    async fn contribute(&self, asked: UnsealRequest) -> Result<UnsealResponse, Refused> {
        if self.phases.state().is_some() {
            return Err(Refused::not_sealed());
        }
        self.paced()?;
        let sealed = sealed(asked.sealed_enc, asked.sealed_ct)?;
        let (custodians, aud, _) = self.custodians()?;
        let (root, opened) = match self.take((Purpose::Unseal, &asked.custodian), &sealed, custodians, &aud)? {
            Came::Whole(root, opened) => (root, opened),
            Came::Part(Progress { threshold, contributed }) => {
                return Ok(UnsealResponse { unsealed: false, threshold, contributed });
            }
        };
        let Progress { threshold, contributed } = Progress::whole(&opened);
        let (answer, told) = oneshot::channel();
        let gone = |_| Refused::new(Reason::AuditUnavailable, "the daemon stops");
        self.opening.send(Contributed { root, opened, answer }).await.map_err(|_| gone(()))?;
        told.await.map_err(|_| gone(()))??;
        Ok(UnsealResponse { unsealed: true, threshold, contributed })
    }
}

fn sealed(enc: Vec<u8>, ct: Vec<u8>) -> Result<Sealed, Refused> {
    let enc = enc.try_into().map_err(|_| Refused::new(Reason::Malformed, "sealed_enc has 32 bytes"))?;
    Ok(Sealed { enc, ct })
}

fn told(known: &custody::Custodian, purpose: Purpose, pots: &Pots) -> Custodian {
    let given = pots
        .get(&(purpose, known.who.name.clone()))
        .filter(|pot| pot.kind == known.who.kind)
        .map(|pot| pot.indexes.iter().map(|index| u32::from(*index)).collect());
    let kind = &known.who.kind;
    let threshold = if let Kind::Shares { threshold, .. } = kind { u32::from(*threshold) } else { 0 };
    Custodian {
        name: known.who.name.to_string(),
        kind: kind.name().to_owned(),
        parameters: String::from_utf8_lossy(&canonical(kind)).into_owned(),
        threshold,
        contributed: given.unwrap_or_default(),
    }
}

#[tonic::async_trait]
impl CustodyService for Custody {
    async fn read_custody(
        &self,
        request: Request<ReadCustodyRequest>,
    ) -> Result<Response<ReadCustodyResponse>, Status> {
        let purpose = match <[u8; 32]>::try_from(request.into_inner().register) {
            Ok(register) => Purpose::Recover(Digest::from_bytes(register)),
            Err(none) if none.is_empty() => Purpose::Unseal,
            Err(_) => return Err(self.0.refuse(Refused::new(Reason::Malformed, "register has 32 bytes, or none"))),
        };
        let sealed = self.0.phases.state().is_none();
        let (custodians, aud, vault) = self.0.custodians().map_err(|refused| self.0.refuse(refused))?;
        let mut state = self.0.state();
        state.tire();
        Ok(Response::new(ReadCustodyResponse {
            vault: vault.to_string(),
            aud: aud.to_string(),
            sealed,
            custodians: custodians.iter().map(|known| told(known, purpose, &state.pots)).collect(),
            intake: state.intake.public().as_bytes().to_vec(),
        }))
    }

    async fn unseal(&self, request: Request<UnsealRequest>) -> Result<Response<UnsealResponse>, Status> {
        let done = self.0.contribute(request.into_inner()).await;
        self.0.pace(&done);
        done.map(Response::new).map_err(|refused| self.0.refuse(refused))
    }

    async fn withdraw_shares(
        &self,
        request: Request<WithdrawSharesRequest>,
    ) -> Result<Response<WithdrawSharesResponse>, Status> {
        let named = request.into_inner().custodian;
        let (mut state, mut withdrawn) = (self.0.state(), 0);
        // What was withdrawn does not come back by being sent once more.
        state.intake = SealSecretKey::generate(&*self.0.entropy);
        state.pots.retain(|(_, name), pot| {
            let goes = named.is_empty() || name.as_str() == named;
            withdrawn += if goes { pot.indexes.len() } else { 0 };
            !goes
        });
        tracing::info!(withdrawn, "shares were withdrawn");
        Ok(Response::new(WithdrawSharesResponse { withdrawn: u32::try_from(withdrawn).unwrap_or(u32::MAX) }))
    }

    async fn recover(&self, request: Request<RecoverRequest>) -> Result<Response<RecoverResponse>, Status> {
        let done = self.0.recover(request.into_inner()).await;
        self.0.pace(&done);
        done.map(Response::new).map_err(|refused| self.0.refuse(refused))
    }
}

#[cfg(test)]
mod tests;
