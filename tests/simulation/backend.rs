//! The backends of the simulation: lists of credentials in this process, on the clock of the run. Each takes its calls
//! well or badly, as it is told to, and what it did after a moment can be taken back, as if the vault had crashed there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use nockvault::denial::{Denial, Reason};
use nockvault::engine::{Capabilities, Engine, Made, Mint, Minted, Schemas, StoredValues, Undone};
use nockvault::id::{LeaseId, of_handle};
use nockvault::secret::SecretBytes;
use nockvault::statement::reply::Revocation;
use nockvault::time::{Clock as _, ManualClock, Seconds, Timestamp};
use serde_json::{Map, Value, json};
use tokio::sync::Notify;

use super::ops::Temper;
use super::wal::Position;

/// After how long a credential comes into being that was given up.
const LATE: Seconds = Seconds(40);

/// What there is at one place.
#[derive(Clone, Debug, Default)]
pub struct There {
    /// Credentials by their handle, and until when they are borne.
    pub credentials: BTreeMap<String, Timestamp>,
    /// What is still to come into being.
    coming: BTreeMap<String, Timestamp>,
    pub temper: Temper,
    /// What it said it had taken away, or made, and had not.
    pub lied: BTreeSet<String>,
}

impl There {
    fn arrive(&mut self, now: Timestamp) {
        let here: Vec<String> =
            self.coming.iter().filter(|(_, due)| **due <= now).map(|(handle, _)| handle.clone()).collect();
        for handle in here {
            self.coming.remove(&handle);
            self.credentials.insert(handle, Timestamp(u64::MAX));
        }
    }
}

/// All places, by name.
type Places = BTreeMap<String, There>;

#[derive(Debug)]
struct State {
    places: Places,
    /// What there was before each change of this step, and where the vault's log was then.
    before: Vec<(Position, Places)>,
    /// The next credential is made, and its answer waits for [`Far::go_on`].
    held: bool,
    /// How often a call did not go well.
    faults: u64,
    /// Planted: what it says it has taken away stays, and nothing tells of it.
    clings: bool,
}

/// The backends. Clones share them.
#[derive(Clone, Debug)]
pub struct Far {
    state: Arc<Mutex<State>>,
    clock: ManualClock,
    data: PathBuf,
    really_silent: bool,
    reached: Arc<Notify>,
    answer: Arc<Notify>,
}

impl Far {
    /// Beside the vault in `data`. A place that is `really_silent` lets its callers wait; else it says at once what they
    /// would hear in the end.
    pub fn new(names: &[&str], clock: ManualClock, data: PathBuf, really_silent: bool) -> Far {
        let places = names.iter().map(|name| ((*name).to_owned(), There::default())).collect();
        let state = State { places, before: Vec::new(), held: false, faults: 0, clings: false };
        let (reached, answer) = (Arc::default(), Arc::default());
        Far { state: Arc::new(Mutex::new(state)), clock, data, really_silent, reached, answer }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap();
        let now = self.clock.now();
        state.places.values_mut().for_each(|there| there.arrive(now));
        state
    }

    /// The same for one who is about to change what is there.
    fn change(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        let (position, before) = (Position::of(&self.data), state.places.clone());
        state.before.push((position, before));
        state
    }

    pub fn cling(&self) {
        self.lock().clings = true;
    }

    pub fn temper(&self, place: &str, temper: Temper) {
        self.lock().places.get_mut(place).unwrap().temper = temper;
    }

    pub fn there(&self, place: &str) -> There {
        self.lock().places[place].clone()
    }

    pub fn faults(&self) -> u64 {
        self.lock().faults
    }

    /// A step begins: what was done before it is done.
    pub fn begin(&self) {
        self.lock().before.clear();
    }

    /// Takes back what was done after the frame `cut` of the log.
    pub fn back_to(&self, cut: u32, now: &Position) {
        let mut state = self.lock();
        if let Some((_, places)) = state.before.iter().find(|(position, _)| position.is_after(cut, now)) {
            let before = places.clone();
            for (name, there) in &mut state.places {
                let temper = there.temper;
                *there = There { temper, ..before[name].clone() };
            }
        }
        state.before.clear();
    }

    /// Lets the next credential be made and its answer wait.
    pub fn hold(&self, held: bool) {
        self.lock().held = held;
    }

    /// Comes back once such a credential is made.
    pub async fn reached(&self) {
        self.reached.notified().await;
    }

    /// Lets the answer go.
    pub fn go_on(&self) {
        self.answer.notify_one();
    }

    /// What a call hears, by the temper alone.
    pub fn says(temper: Temper) -> Result<(), Reason> {
        match temper {
            Temper::Well | Temper::Lying => Ok(()),
            Temper::Refusing => Err(Reason::EngineRefused),
            Temper::Away | Temper::Silent | Temper::Mute | Temper::Late => Err(Reason::EngineUnavailable),
        }
    }

    /// A call to a place: what is done there if anything is, and what the caller hears of it.
    async fn call<T>(
        &self,
        config: &Map<String, Value>,
        lie: impl FnOnce(&mut There) -> T,
        what: impl FnOnce(&mut There) -> Result<T, Denial>,
    ) -> Result<T, Denial> {
        let place = config["place"].as_str().unwrap();
        let temper = self.lock().places[place].temper;
        let done = {
            let mut state = self.change();
            state.faults += u64::from(temper != Temper::Well);
            let there = state.places.get_mut(place).unwrap();
            match temper {
                Temper::Well | Temper::Mute => Some(what(there)),
                Temper::Lying => Some(Ok(lie(there))),
                _ => None,
            }
        };
        match (Far::says(temper), done) {
            (Ok(()), Some(done)) => done,
            (Err(no), _) => {
                if no == Reason::EngineUnavailable && temper != Temper::Away && self.really_silent {
                    return std::future::pending().await;
                }
                Err(Denial::new(no).internal("the backend was told to"))
            }
            (Ok(()), None) => Err(Reason::Internal.into()),
        }
    }

    async fn wait_if_held(&self) {
        if std::mem::take(&mut self.lock().held) {
            self.reached.notify_one();
            self.answer.notified().await;
        }
    }
}

fn schemas() -> Schemas {
    Schemas { config: json!({}), params: json!({}), secret: json!({}) }
}

#[async_trait]
impl Engine for Far {
    fn kind(&self) -> &'static str {
        "far"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { renewable: true, revocation: Revocation::Backend }
    }

    fn schemas(&self) -> Schemas {
        schemas()
    }

    fn check_role(&self, _: &Map<String, Value>) -> Result<(), Denial> {
        Ok(())
    }

    fn check_params(&self, _: &Map<String, Value>, _: &Map<String, Value>) -> Result<(), Denial> {
        Ok(())
    }

    async fn mint(&self, mint: Mint<'_>, _: &dyn StoredValues) -> Result<Minted, Denial> {
        let (handle, expires) = (mint.handle.to_owned(), mint.permit.expires());
        let config = mint.permit.config();
        let place = config["place"].as_str().unwrap();
        if self.lock().places[place].temper == Temper::Late {
            let due = self.clock.now().plus(LATE);
            let mut state = self.change();
            state.places.get_mut(place).unwrap().coming.insert(handle.clone(), due);
        }
        let lie = |there: &mut There| {
            there.lied.insert(handle.clone());
        };
        let make = |there: &mut There| {
            there.credentials.insert(handle.clone(), expires);
            Ok(())
        };
        self.call(config, lie, make).await?;
        self.wait_if_held().await;
        let secret = json!({"type": "far", "name": mint.handle}).to_string();
        Ok(Minted { secret: SecretBytes::new(secret.into_bytes()), until: None })
    }

    async fn renew(&self, made: Made<'_>, expires: Timestamp, _: &dyn StoredValues) -> Result<(), Denial> {
        let none = || Denial::new(Reason::EngineRefused).internal("there is no such credential");
        let prolong =
            |there: &mut There| there.credentials.get_mut(made.handle).map(|until| *until = expires).ok_or_else(none);
        self.call(made.config, |_| (), prolong).await
    }

    async fn revoke(&self, made: Made<'_>, _: &dyn StoredValues) -> Result<Undone, Denial> {
        let clings = self.lock().clings;
        let lie = |there: &mut There| {
            there.lied.insert(made.handle.to_owned());
            Undone::Revoked
        };
        let take = |there: &mut There| {
            if clings && there.credentials.contains_key(made.handle) {
                return Ok(Undone::Revoked);
            }
            Ok(if there.credentials.remove(made.handle).is_some() { Undone::Revoked } else { Undone::Absent })
        };
        self.call(made.config, lie, take).await
    }

    async fn list(&self, config: &Map<String, Value>, _: &dyn StoredValues) -> Result<Vec<String>, Denial> {
        let all = |there: &There| there.credentials.keys().cloned().collect::<Vec<_>>();
        self.call(config, |there| all(there), |there| Ok(all(there))).await
    }
}

/// The lease that a handle is of.
pub fn lease_of(handle: &str) -> Option<LeaseId> {
    of_handle(handle).map(|(_, lease)| lease)
}

/// Credentials without any effect outside.
#[derive(Debug)]
pub struct Near;

#[async_trait]
impl Engine for Near {
    fn kind(&self) -> &'static str {
        "near"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { renewable: true, revocation: Revocation::None }
    }

    fn schemas(&self) -> Schemas {
        schemas()
    }

    fn check_role(&self, _: &Map<String, Value>) -> Result<(), Denial> {
        Ok(())
    }

    fn check_params(&self, _: &Map<String, Value>, _: &Map<String, Value>) -> Result<(), Denial> {
        Ok(())
    }

    async fn mint(&self, mint: Mint<'_>, _: &dyn StoredValues) -> Result<Minted, Denial> {
        let secret = json!({"type": "near", "name": mint.handle}).to_string();
        Ok(Minted { secret: SecretBytes::new(secret.into_bytes()), until: None })
    }
}
