//! A whole vault in this process, on a real store and by the real clock, with agents who sign requests. Agents and the
//! root key are drawn from fixed seeds, so that another process can open the same vault and speak for them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nockvault::audit::certificate::open_intake;
use nockvault::authz::Peer;
use nockvault::crypto::envelope::{Envelope, PayloadType};
use nockvault::crypto::hpke::{self, SUITE, SealSecretKey};
use nockvault::crypto::signature::{Form, PublicKey, SigningKey};
use nockvault::entropy::{Entropy, OsEntropy, SeededEntropy};
use nockvault::id::{AgentName, Aud, Nonce, Sid};
use nockvault::rate::Rate;
use nockvault::seal::custody::RootKey;
use nockvault::statement::Body;
use nockvault::statement::agent::AgentRegister;
use nockvault::statement::command::Command;
use nockvault::statement::grant::{GrantCreate, Terms};
use nockvault::statement::issue::Issue;
use nockvault::statement::lease::{LeaseRevoke, Scope};
use nockvault::statement::register::{Holder, Register};
use nockvault::statement::reply::Described;
use nockvault::statement::request::{Common, Request, Seen};
use nockvault::statement::role::RoleCreate;
use nockvault::statement::secret::{SecretPut, SecretUse, intake_info};
use nockvault::statement::session::{Close, Seal};
use nockvault::store::sqlite::Sqlite;
use nockvault::store::{Pace, Rules};
use nockvault::time::{Clock, Seconds, SystemClock};
use nockvault::vault::answer::Outcome;
use nockvault::vault::found::{self, Founding};
use nockvault::vault::operate::Call;
use nockvault::vault::{Limits, PerAgent, Vault};
use serde_json::{Map, json};
use tokio_util::sync::CancellationToken;

use crate::backend::Backend;

/// The role of stored values, and the one whose credentials live at the backend.
pub(crate) const KV: &str = "notes";
pub(crate) const SLOW: &str = "databases";
/// Agents among which the leases are shared out.
pub(crate) const AGENTS: u64 = 8;
/// The agent whose requests are measured.
pub(crate) const PROBE: u64 = AGENTS;

/// How long a session may last.
const DAY: Seconds = Seconds(86_400);
/// How long a lease lives: none ends while something is measured, and none asks for more than its session has.
const LIFE: Seconds = Seconds(43_200);
/// A window so wide that no nonce leaves it while something is measured.
const SKEW: Seconds = Seconds(14_400);

fn rules() -> Rules {
    Rules {
        skew: SKEW,
        nonces_per_key: 10_000_000,
        session_idle: DAY,
        session_max: DAY,
        sessions_per_agent: 1000,
        leases_per_agent: 10_000_000,
        denials_per_minute: 1000,
        key_overlap: Seconds(600),
        checkpoints: Pace::default(),
        deadline: Duration::from_secs(30),
    }
}

fn nonce() -> Nonce {
    let entropy: &dyn Entropy = &OsEntropy;
    Nonce::from_bytes(&entropy.bytes())
}

fn root() -> RootKey {
    RootKey::generate(&SeededEntropy::new(1))
}

/// An agent in a session of its own.
pub(crate) struct Agent {
    name: AgentName,
    key: SigningKey,
    seal: SealSecretKey,
    sid: Sid,
    aud: Aud,
}

impl Agent {
    pub(crate) fn new(number: u64, sid: &str, aud: &Aud) -> Agent {
        Agent {
            name: format!("kit{number}").parse().unwrap(),
            key: SigningKey::generate(&SeededEntropy::new(1000 + number)),
            seal: SealSecretKey::generate(&OsEntropy),
            sid: sid.parse().unwrap(),
            aud: aud.clone(),
        }
    }

    fn sign<B: Body>(&self, body: B) -> Envelope {
        let common = Common {
            v: 1,
            typ: B::TYP.to_owned(),
            aud: self.aud.clone(),
            agent: self.name.clone(),
            kid: self.key.kid(),
            kver: 1,
            sid: self.sid.clone(),
            nonce: nonce(),
            iat: SystemClock.now(),
            seen: Seen::NONE,
        };
        Envelope::sign(PayloadType::Request, &Request { common, body }, &self.key, Form::Pae)
    }

    /// A signed request for a credential of this role.
    pub(crate) fn asks(&self, role: &str) -> Envelope {
        self.sign(Issue {
            role: role.parse().unwrap(),
            ttl: Seconds(0),
            params: Map::new(),
            purpose: "a benchmark".to_owned().try_into().unwrap(),
            seal: Seal { pk: self.seal.public().into(), suite: SUITE.to_owned(), sig_pk: None },
        })
    }

    /// A signed request to end its session.
    pub(crate) fn closes(&self) -> Envelope {
        self.sign(Close {})
    }

    fn register(&self) -> AgentRegister {
        let register = Register {
            holder: Holder::Agent(self.name.clone()),
            aud: self.aud.clone(),
            form: Form::Pae,
            iat: SystemClock.now(),
            kver: 1,
            nonce: nonce(),
            pk: self.key.public(),
            prev: None,
        };
        AgentRegister { register: register.sign(&self.key) }
    }
}

/// The vault at work, with all that it does unasked.
pub(crate) struct House {
    pub(crate) vault: Arc<Vault>,
    pub(crate) backend: Backend,
    /// How long it took to open it.
    pub(crate) took: Duration,
    end: CancellationToken,
    attending: tokio::task::JoinHandle<()>,
}

impl House {
    /// Opens the vault in this folder.
    pub(crate) async fn open(folder: &Path, backend: Backend) -> House {
        let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) = (Arc::new(SystemClock), Arc::new(OsEntropy));
        let began = Instant::now();
        let (store, own) = Sqlite::open(folder, &root(), rules(), Arc::clone(&clock), Arc::clone(&entropy)).unwrap();
        let limits = Limits {
            rules: rules(),
            engine_deadline: Duration::from_secs(5),
            backend_retry: Seconds(30),
            agents: PerAgent { rate: Rate::new(1_000_000, 1_000_000), all: 1 << 20, of_one: 1 << 20 },
            node: "bench".into(),
            issuer: None,
            named: Default::default(),
        };
        let mut engines = nockvault::engine::all(&entropy, &own.aud);
        engines.push(Box::new(backend.clone()));
        let vault = Vault::open(Arc::new(store), own, limits, engines, clock, entropy).await.unwrap();
        let took = began.elapsed();
        let end = CancellationToken::new();
        let attending = tokio::spawn(Arc::clone(&vault).attend(end.clone()));
        House { vault, backend, took, end, attending }
    }

    /// Ends it in order.
    pub(crate) async fn shut(self) {
        self.end.cancel();
        self.attending.await.unwrap();
        self.vault.stop().await;
    }

    /// Gives these requests for credentials to the vault, so many at once.
    pub(crate) async fn issue_all(&self, requests: Vec<Envelope>, at_once: usize) {
        let requests = Arc::new(std::sync::Mutex::new(requests));
        let tasks: Vec<_> = (0..at_once)
            .map(|_| {
                let (vault, requests) = (Arc::clone(&self.vault), Arc::clone(&requests));
                tokio::spawn(async move {
                    loop {
                        let next = requests.lock().unwrap().pop();
                        let Some(request) = next else { return };
                        released(vault.issue(request, Peer::Unix(None)).await);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    }

    /// Has these agents take so many leases of a role.
    pub(crate) async fn fill(&self, agents: &Arc<Vec<Agent>>, role: &'static str, count: u64, at_once: usize) {
        let left = Arc::new(AtomicU64::new(count));
        let tasks: Vec<_> = (0..at_once)
            .map(|_| {
                let (vault, agents, left) = (Arc::clone(&self.vault), Arc::clone(agents), Arc::clone(&left));
                tokio::spawn(async move {
                    while let Ok(number) =
                        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                    {
                        let request = agents[number as usize % agents.len()].asks(role);
                        released(vault.issue(request, Peer::Unix(None)).await);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    }
}

/// The vault did what it was asked.
pub(crate) fn released(outcome: Outcome) -> Envelope {
    match outcome {
        Outcome::Released(released) => released.into_envelope(),
        Outcome::Refused(refused) => panic!("refused: {} ({})", refused.denial, refused.denial.internal),
    }
}

/// Who commands it.
pub(crate) struct Operator {
    key: SigningKey,
    identity: PublicKey,
    aud: Aud,
}

impl Operator {
    /// Founds a vault in this folder.
    pub(crate) fn found(folder: &Path) -> Operator {
        let asked = Founding {
            name: "bench".parse().unwrap(),
            node: "bench".to_owned(),
            operator: "root".parse().unwrap(),
            now: SystemClock.now(),
        };
        let (founding, founder) = found::prepare(asked, &OsEntropy);
        Sqlite::found(folder, &root(), founding, Arc::new(OsEntropy)).unwrap();
        Operator { key: founder.operator_key, identity: founder.identity, aud: founder.aud }
    }

    fn command<B: Body>(&self, body: B) -> Command<B> {
        Command {
            v: 1,
            typ: B::TYP.to_owned(),
            aud: self.aud.clone(),
            operator: "root".parse().unwrap(),
            kid: self.key.kid(),
            kver: 1,
            nonce: nonce(),
            iat: SystemClock.now(),
            body,
            set: None,
        }
    }

    async fn order<B: Body>(&self, house: &House, call: Call, body: B) {
        let envelope = Envelope::sign(PayloadType::Command, &self.command(body), &self.key, Form::Pae);
        released(house.vault.operate(call, envelope, None).await);
    }

    /// Takes all leases of a role back.
    pub(crate) async fn revoke(&self, house: &House, role: &str) {
        let scope = Scope::Role(role.parse().unwrap());
        self.order(house, Call::LeaseRevoke, LeaseRevoke { reason: None, scope }).await;
    }

    /// Makes the roles, the agents, and their grants.
    pub(crate) async fn furnish(&self, house: &House) {
        self.put_secret(house).await;
        for (role, engine, config) in [(KV, "kv", json!({ "secret": KV })), (SLOW, "slow", json!({}))] {
            let config = config.as_object().cloned().unwrap();
            let create = RoleCreate { role: role.parse().unwrap(), engine: engine.to_owned(), config };
            self.order(house, Call::RoleCreate, create).await;
        }
        let terms = Terms {
            ttl: LIFE,
            max_ttl: LIFE,
            max_uses: None,
            until: None,
            session: None,
            from: Vec::new(),
            rate: None,
        };
        for number in 0..=PROBE {
            let agent = Agent::new(number, "work", &self.aud);
            self.order(house, Call::AgentRegister, agent.register()).await;
            for role in [KV, SLOW] {
                let (agent, role, terms) = (agent.name.clone(), role.parse().unwrap(), terms.clone());
                self.order(house, Call::GrantCreate, GrantCreate { agent, role, terms }).await;
            }
        }
    }

    async fn put_secret(&self, house: &House) {
        let described = house.vault.describe(&[7; 32]).unwrap();
        let described: Described = serde_json::from_slice(&described.payload).unwrap();
        let intake = described.certs.iter().find_map(|cert| open_intake(cert, &self.identity).ok()).unwrap().1;
        let nonce = nonce();
        let value = b"correct horse battery staple";
        let sealed = hpke::seal(&intake, &intake_info(&self.aud, &nonce), &[], value, &OsEntropy).unwrap();
        let put = SecretPut { name: KV.parse().unwrap(), sealed: sealed.digest(), expires: None, used: SecretUse::Kv };
        let command = Command { nonce, ..self.command(put) };
        let envelope = Envelope::sign(PayloadType::Command, &command, &self.key, Form::Pae);
        released(house.vault.operate(Call::SecretPut, envelope, Some(sealed)).await);
    }
}
