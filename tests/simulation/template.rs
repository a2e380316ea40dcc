//! The vault that every run begins with: founded once, with its agents, roles and grants, and copied for each run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use nockvault::audit::certificate::open_signer;
use nockvault::audit::verify::Pins;
use nockvault::crypto::envelope::{Envelope, PayloadType};
use nockvault::crypto::signature::{Form, PublicKey, SigningKey};
use nockvault::engine::Engine;
use nockvault::entropy::{Entropy, SeededEntropy};
use nockvault::id::{Aud, ChainName, Nonce, OperatorName};
use nockvault::rate::Rate;
use nockvault::seal::custody::RootKey;
use nockvault::statement::Body;
use nockvault::statement::agent::AgentRegister;
use nockvault::statement::cert::KeyRole;
use nockvault::statement::command::Command;
use nockvault::statement::grant::{GrantCreate, Terms};
use nockvault::statement::register::{Holder, Register};
use nockvault::statement::reply::Described;
use nockvault::statement::role::RoleCreate;
use nockvault::store::sqlite::{OpenFault, Sqlite};
use nockvault::store::{Pace, Rules, Store as _};
use nockvault::time::{Clock, ManualClock, Seconds, Timestamp};
use nockvault::vault::answer::Outcome;
use nockvault::vault::found::{self, Founding};
use nockvault::vault::operate::Call;
use nockvault::vault::{Limits, PerAgent, Vault};
use serde_json::json;

use super::backend::{Far, Near};
use super::model::{self, CHAINS, Grant, Model};
use super::ops::{self, AGENTS, ROLES};

/// When every run begins.
pub const START: Timestamp = Timestamp(1_780_000_000_000);

pub const NAMES: [&str; AGENTS] = ["kit", "ada", "bo"];

/// Who has what from the beginning.
const GRANTED: [(usize, usize); 6] = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 1)];

const TERMS: ops::Terms = ops::Terms { ttl: 300, max_ttl: 3600, max_uses: None, lasts: None, narrow: false };

/// A vault that is open, and its store.
pub type Opened = (Arc<Vault>, Arc<Sqlite>);

/// The founded vault.
pub struct Template {
    folder: tempfile::TempDir,
    pub root: RootKey,
    pub aud: Aud,
    pub operator: SigningKey,
    pub agents: Vec<SigningKey>,
    pub response: PublicKey,
    /// What the verifier knows.
    pub pins: Pins,
    /// How many entries each chain has at the beginning.
    pub sizes: Vec<u64>,
}

/// It is made on first use.
pub static TEMPLATE: LazyLock<Template> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(made())
});

/// A folder in memory where the system has such a place.
pub fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.or_else(|_| tempfile::tempdir()).unwrap()
}

pub fn rules() -> Rules {
    let seconds = |milliseconds: u64| Seconds(milliseconds / 1000);
    Rules {
        skew: seconds(model::SKEW),
        nonces_per_key: 100_000,
        session_idle: seconds(model::IDLE),
        session_max: seconds(model::LONGEST),
        sessions_per_agent: model::SESSIONS as u64,
        leases_per_agent: model::LEASES as u64,
        denials_per_minute: model::DENIALS,
        key_overlap: seconds(model::OVERLAP),
        checkpoints: Pace { entries: 7, after: Seconds(600) },
        deadline: Duration::from_secs(30),
    }
}

/// How long a call to a backend may take; a hurried run has backends that never answer.
pub fn engine_deadline(hurried: bool) -> Duration {
    if hurried { Duration::from_millis(20) } else { Duration::from_secs(30) }
}

/// How long an intent may stand, in milliseconds.
pub fn intent_life(hurried: bool) -> u64 {
    2000 * (engine_deadline(hurried) + 2 * rules().deadline).as_secs()
}

fn limits(hurried: bool) -> Limits {
    Limits {
        rules: rules(),
        engine_deadline: engine_deadline(hurried),
        backend_retry: Seconds(30),
        // A clock that goes back a little has whoever asked lately wait as long; a burst of years waits for nothing.
        agents: PerAgent { rate: Rate::new(1, 1 << 30), all: 1 << 20, of_one: 1 << 20 },
        node: "node1".into(),
        issuer: None,
        named: BTreeMap::default(),
    }
}

/// Opens the vault in `data`.
pub async fn open(
    data: &Path,
    root: &RootKey,
    (clock, entropy): (&ManualClock, &Arc<dyn Entropy>),
    far: &Far,
    hurried: bool,
) -> Result<Opened, String> {
    let clock: Arc<dyn Clock> = Arc::new(clock.clone());
    let mut tries = 0;
    let (store, own) = loop {
        match Sqlite::open(data, root, rules(), clock.clone(), entropy.clone()) {
            Ok(opened) => break opened,
            // The one before may hold its lock for a moment still.
            Err(OpenFault::Locked(_)) if tries < 1000 => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(fault) => return Err(format!("the store does not open: {fault}")),
        }
        tries += 1;
    };
    let store = Arc::new(store);
    let engines: Vec<Box<dyn Engine>> = vec![Box::new(Near), Box::new(far.clone())];
    let vault = Vault::open(store.clone(), own, limits(hurried), engines, clock, entropy.clone()).await;
    vault.map(|vault| (vault, store)).map_err(|fault| format!("the vault does not open: {fault}"))
}

/// Makes a directory for a vault, with its reserve, which nobody writes to.
pub fn make(data: &Path) {
    std::fs::create_dir(data).unwrap();
    std::fs::set_permissions(data, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::hard_link(TEMPLATE.data().join("reserve"), data.join("reserve")).unwrap();
}

impl Template {
    /// A copy of the vault's files.
    pub fn copy_to(&self, data: &Path) {
        make(data);
        for file in ["vault.db", "vault.db-wal"] {
            let _ = std::fs::copy(self.data().join(file), data.join(file));
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What should be in it.
    pub fn model(&self, hurried: bool) -> Model {
        let mut model = Model::founded(START.0, intent_life(hurried));
        for (agent, role) in GRANTED {
            let id = 1 << 40 | (agent as u64) << 8 | role as u64;
            model.agents[agent].grants.insert(role, Grant { id, terms: TERMS, until: None, count: 0 });
        }
        // The commands that made all this.
        let commands = AGENTS + ROLES.len() + GRANTED.len();
        model.spent = (0..commands).map(|one| ((model::OPERATOR, 0, 1 << 50 | one as u64), START.0)).collect();
        model
    }
}

pub fn terms(of: ops::Terms, until: Option<u64>) -> Terms {
    let here: Vec<ipnet::IpNet> = vec!["127.0.0.0/8".parse().unwrap()];
    Terms {
        ttl: Seconds(of.ttl),
        max_ttl: Seconds(of.max_ttl),
        max_uses: of.max_uses,
        until: until.map(Timestamp),
        session: None,
        from: if of.narrow { here } else { Vec::new() },
        rate: None,
    }
}

/// The chain of this number in the model.
pub fn chain(number: usize) -> ChainName {
    match number {
        model::OPERATORS => ChainName::operators(),
        model::VAULT => ChainName::vault(),
        agent => NAMES[agent].parse().unwrap(),
    }
}

/// The statement that proves a key.
pub fn register(
    (holder, aud): (Holder, &Aud),
    key: &SigningKey,
    (kver, prev): (u64, Option<nockvault::id::Kid>),
    (nonce, iat): (Nonce, Timestamp),
) -> Register {
    Register { holder, aud: aud.clone(), form: Form::Pae, iat, kver, nonce, pk: key.public(), prev }
}

/// Commands at the founding.
struct Founder {
    vault: Arc<Vault>,
    key: SigningKey,
    aud: Aud,
    entropy: Arc<dyn Entropy>,
}

impl Founder {
    async fn order<B: Body>(&self, call: Call, body: B) {
        let operator: OperatorName = "root".parse().unwrap();
        let (kid, typ, nonce) = (self.key.kid(), B::TYP.to_owned(), Nonce::from_bytes(&self.entropy.bytes()));
        let aud = self.aud.clone();
        let command = Command { v: 1, typ, aud, operator, kid, kver: 1, nonce, iat: START, body, set: None };
        let envelope = Envelope::sign(PayloadType::Command, &command, &self.key, Form::Pae);
        if let Outcome::Refused(refused) = self.vault.operate(call, envelope, None).await {
            panic!("{}: {}", refused.denial, refused.denial.internal);
        }
    }
}

async fn made() -> Template {
    let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(7));
    let (folder, clock) = (folder(), ManualClock::at(START));
    let data = folder.path().join("data");
    let root = RootKey::generate(&*entropy);
    let name: OperatorName = "root".parse().unwrap();
    let asked = Founding { name: "prod".parse().unwrap(), node: "node1".into(), operator: name, now: START };
    let (founding, founder) = found::prepare(asked, &*entropy);
    Sqlite::found(&data, &root, founding, entropy.clone()).unwrap();
    let far = Far::new(&ROLES, clock.clone(), data.clone(), false);
    let (vault, store) = open(&data, &root, (&clock, &entropy), &far, false).await.unwrap();
    let (aud, key) = (founder.aud.clone(), founder.operator_key);
    let founder_at_work = Founder { vault: vault.clone(), key, aud: aud.clone(), entropy: entropy.clone() };
    let agents: Vec<SigningKey> = NAMES.iter().map(|_| SigningKey::generate(&*entropy)).collect();
    for (name, key) in NAMES.iter().zip(&agents) {
        let holder = Holder::Agent(name.parse().unwrap());
        let at = (Nonce::from_bytes(&entropy.bytes()), START);
        let register = register((holder, &aud), key, (1, None), at).sign(key);
        founder_at_work.order(Call::AgentRegister, AgentRegister { register }).await;
    }
    for (number, role) in ROLES.iter().enumerate() {
        let config = json!({ "place": role }).as_object().cloned().unwrap();
        let engine = if number == 0 { "near" } else { "far" }.to_owned();
        founder_at_work.order(Call::RoleCreate, RoleCreate { role: role.parse().unwrap(), engine, config }).await;
    }
    for (agent, role) in GRANTED {
        let (agent, role) = (NAMES[agent].parse().unwrap(), ROLES[role].parse().unwrap());
        founder_at_work.order(Call::GrantCreate, GrantCreate { agent, role, terms: terms(TERMS, None) }).await;
    }
    let described: Described = serde_json::from_slice(&vault.describe(&[7; 32]).unwrap().payload).unwrap();
    let response = |cert| open_signer(cert, KeyRole::Response, &founder.identity).ok();
    let response = described.certs.iter().find_map(response).unwrap().1;
    vault.stop().await;
    let mut sizes = Vec::new();
    for number in 0..CHAINS {
        sizes.push(store.lines(&chain(number), 0, 1, 1 << 20).await.unwrap().unwrap().head.size);
    }
    let operator = founder_at_work.key;
    drop((founder_at_work.vault, vault, store));
    let pins = Pins { identity: Some(founder.identity), aud: Some(aud.clone()), ..Pins::default() };
    Template { folder, root, aud, operator, agents, response, pins, sizes }
}
