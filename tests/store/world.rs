//! A vault's store in a folder of its own, with a clock that stands, an operator and agents that sign.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nockvault::audit::chain::AuditKey;
use nockvault::audit::entry::{Body, Entry};
use nockvault::audit::verify::report::Verdict;
use nockvault::audit::verify::{Pins, verify, verify_operators};
use nockvault::authn::{Authenticated, Place, Signed};
use nockvault::authz::Peer;
use nockvault::crypto::envelope::{Embedded, Envelope, PayloadType};
use nockvault::crypto::hash::Digest;
use nockvault::crypto::hpke::{SUITE, SealKeyBytes, SealSecretKey};
use nockvault::crypto::signature::{Form, SigningKey};
use nockvault::denial::Reason;
use nockvault::entropy::{Entropy, SeededEntropy};
use nockvault::id::{AgentName, ChainName, Kid, LeaseId, Nonce, OperatorName, RoleName, Sid};
use nockvault::registry::HeldKey;
use nockvault::seal::custody::{self, RootKey};
use nockvault::statement::agent::AgentRegister;
use nockvault::statement::command::Command;
use nockvault::statement::grant::{GrantCreate, Terms};
use nockvault::statement::issue::{Issue, Purpose};
use nockvault::statement::register::{Holder, Register};
use nockvault::statement::reply::{EntryRef, Hdr, Revocation};
use nockvault::statement::request::{Common, Request, Seen};
use nockvault::statement::role::RoleCreate;
use nockvault::statement::session::{Hello, Seal};
use nockvault::statement::{self, VERSION};
use nockvault::store::sqlite::{OpenFault, Sqlite};
use nockvault::store::{Carried, Event, Failure, Issuance, Order, Pace, Rules, Store, VaultKeys};
use nockvault::time::{Clock, ManualClock, Seconds, Timestamp};
use nockvault::vault::found::{self, Founder};
use rusqlite::Connection;
use tempfile::TempDir;

pub(crate) const START: Timestamp = Timestamp(1_780_511_400_000);

pub(crate) const RULES: Rules = Rules {
    skew: Seconds(300),
    nonces_per_key: 1000,
    session_idle: Seconds(3600),
    session_max: Seconds(86_400),
    sessions_per_agent: 10,
    leases_per_agent: 50,
    denials_per_minute: 3,
    key_overlap: Seconds(600),
    checkpoints: Pace { entries: 1000, after: Seconds(300) },
    deadline: Duration::from_secs(20),
};

/// Where requests come from.
pub(crate) const HERE: Peer = Peer::Tcp(IpAddr::V4(Ipv4Addr::LOCALHOST));

/// An agent as it knows itself.
#[derive(Debug)]
pub(crate) struct Kit {
    pub(crate) name: AgentName,
    pub(crate) key: SigningKey,
    pub(crate) kver: u64,
    pub(crate) seal: Seal,
}

pub(crate) struct World {
    pub(crate) clock: ManualClock,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) folder: TempDir,
    pub(crate) founder: Founder,
    pub(crate) keys: VaultKeys,
    pub(crate) rules: Rules,
    store: Option<Arc<Sqlite>>,
    count: AtomicU64,
}

pub(crate) fn seal(seed: u64) -> Seal {
    let key = SealSecretKey::generate(&SeededEntropy::new(seed)).public();
    Seal { pk: SealKeyBytes::from_bytes(*key.as_bytes()), suite: SUITE.to_owned(), sig_pk: None }
}

pub(crate) fn terms() -> Terms {
    Terms {
        ttl: Seconds(900),
        max_ttl: Seconds(3600),
        max_uses: None,
        until: None,
        session: None,
        from: Vec::new(),
        rate: None,
    }
}

pub(crate) fn data_dir(folder: &Path) -> PathBuf {
    folder.join("data")
}

pub(crate) fn root(folder: &Path) -> RootKey {
    let secret = custody::file::read(&folder.join("root.key"), &data_dir(folder));
    RootKey::itself(&secret.expect("the key file was made with the vault"))
}

/// A founded vault that nobody has opened yet.
pub(crate) fn found(entropy: &Arc<dyn Entropy>) -> (TempDir, Founder, (EntryRef, EntryRef)) {
    let folder = tempfile::tempdir().unwrap();
    custody::file::create(&folder.path().join("root.key"), &data_dir(folder.path()), &**entropy).unwrap();
    let root = root(folder.path());
    let wish = found::Founding {
        name: "prod".parse().unwrap(),
        node: "n1".to_owned(),
        operator: "ada".parse().unwrap(),
        now: START,
    };
    let (founding, founder) = found::prepare(wish, &**entropy);
    let genesis = Sqlite::found(&data_dir(folder.path()), &root, founding, Arc::clone(entropy)).unwrap();
    (folder, founder, genesis)
}

pub(crate) fn open(
    folder: &Path,
    rules: Rules,
    clock: &ManualClock,
    entropy: &Arc<dyn Entropy>,
) -> Result<(Sqlite, VaultKeys), OpenFault> {
    let secret = custody::file::read(&folder.join("root.key"), &data_dir(folder)).expect("it was made with the vault");
    let (custodians, aud, _) = Sqlite::custodians(&data_dir(folder))?;
    let (_, root) = custody::open_any(&custodians, &aud, &secret).map_err(|_| OpenFault::WrongRoot)?;
    Sqlite::open(&data_dir(folder), &root, rules, Arc::new(clock.clone()), Arc::clone(entropy))
}

impl World {
    pub(crate) async fn new() -> World {
        World::with(RULES).await
    }

    pub(crate) async fn with(rules: Rules) -> World {
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(7));
        let (folder, founder, _) = found(&entropy);
        let clock = ManualClock::at(START);
        let (store, keys) = open(folder.path(), rules, &clock, &entropy).unwrap();
        let count = AtomicU64::new(1);
        let world = World { clock, entropy, folder, founder, keys, rules, store: Some(Arc::new(store)), count };
        world.begin().await;
        world
    }

    pub(crate) fn store(&self) -> &Arc<Sqlite> {
        self.store.as_ref().expect("the store is open")
    }

    /// The daemon begins, with the next audit key.
    pub(crate) async fn begin(&self) -> EntryRef {
        let start = Event::Start { node: "n1".to_owned(), opened: None, version: "0".to_owned() };
        self.store().event(start, Some(self.audit_key(self.keys.audit_epochs + 1))).await.unwrap()
    }

    pub(crate) fn audit_key(&self, epoch: u64) -> AuditKey {
        let (key, now) = (SigningKey::generate(&*self.entropy), self.clock.now());
        AuditKey::certify(key, &self.keys.identity, &self.keys.aud, "n1", epoch, now, now.plus(Seconds(30 * 86_400)))
    }

    /// The process ends and another begins.
    pub(crate) async fn restart(&mut self) {
        self.reopen();
        self.begin().await;
    }

    pub(crate) fn shut(&mut self) {
        let store = Arc::into_inner(self.store.take().expect("the store is open"));
        drop(store.expect("nobody else holds the store"));
    }

    pub(crate) fn reopen(&mut self) {
        self.shut();
        let (store, keys) = open(self.folder.path(), self.rules, &self.clock, &self.entropy).unwrap();
        (self.store, self.keys) = (Some(Arc::new(store)), keys);
    }

    /// What somebody does to the file while no daemon runs, who can write it and lacks the root key; then the next begins.
    pub(crate) fn shut_and(&mut self, act: impl FnOnce(&Connection)) {
        self.shut();
        act(&self.intruder());
        let (store, keys) = open(self.folder.path(), self.rules, &self.clock, &self.entropy).unwrap();
        (self.store, self.keys) = (Some(Arc::new(store)), keys);
    }

    /// A connection of somebody who can write the file and lacks the root key.
    pub(crate) fn intruder(&self) -> Connection {
        let intruder = Connection::open(data_dir(self.folder.path()).join("vault.db")).unwrap();
        intruder.busy_timeout(Duration::from_secs(10)).unwrap();
        intruder
    }

    pub(crate) fn nonce(&self) -> Nonce {
        Nonce::from_bytes(&self.entropy.bytes())
    }

    fn next(&self) -> u64 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }

    // --- statements

    async fn authenticated<S: Signed>(&self, envelope: Envelope) -> Authenticated<S> {
        let kid: Kid = envelope.kid.parse().unwrap();
        let candidate = self.store().candidate(&kid).await.unwrap();
        self.checked(envelope, candidate.key.as_ref())
    }

    /// The statement as the flow hands it over, against this key.
    pub(crate) fn checked<S: Signed>(&self, envelope: Envelope, key: Option<&HeldKey>) -> Authenticated<S> {
        let place = Place { aud: &self.keys.aud, now: self.clock.now(), skew: self.rules.skew, floor: Timestamp::ZERO };
        Authenticated::check(envelope, key, &place).expect("the test signs well")
    }

    pub(crate) fn sign_request<B: statement::Body>(&self, kit: &Kit, sid: &str, body: B) -> Envelope {
        let common = Common {
            v: VERSION,
            typ: B::TYP.to_owned(),
            aud: self.keys.aud.clone(),
            agent: kit.name.clone(),
            kid: kit.key.kid(),
            kver: kit.kver,
            sid: sid.parse().unwrap(),
            nonce: self.nonce(),
            iat: self.clock.now(),
            seen: Seen::NONE,
        };
        Envelope::sign(PayloadType::Request, &Request { common, body }, &kit.key, Form::Pae)
    }

    pub(crate) async fn request<B: statement::Body>(&self, kit: &Kit, sid: &str, body: B) -> Authenticated<Request<B>> {
        self.authenticated(self.sign_request(kit, sid, body)).await
    }

    pub(crate) async fn command<B: statement::Body>(&self, body: B) -> Authenticated<Command<B>> {
        let key = &self.founder.operator_key;
        let operator: OperatorName = "ada".parse().unwrap();
        let command = Command {
            v: VERSION,
            typ: B::TYP.to_owned(),
            aud: self.keys.aud.clone(),
            operator,
            kid: key.kid(),
            kver: 1,
            nonce: self.nonce(),
            iat: self.clock.now(),
            body,
            set: None,
        };
        self.authenticated(Envelope::sign(PayloadType::Command, &command, key, Form::Pae)).await
    }

    pub(crate) async fn order(&self, order: &Order<'_>) -> Carried {
        self.store().carry_out(order).await.expect("the order reached the chain")
    }

    pub(crate) fn register(&self, name: &str, key: &SigningKey, kver: u64, prev: Option<Kid>) -> (Register, Embedded) {
        let register = Register {
            holder: Holder::Agent(name.parse().unwrap()),
            aud: self.keys.aud.clone(),
            form: Form::Pae,
            iat: self.clock.now(),
            kver,
            nonce: self.nonce(),
            pk: key.public(),
            prev,
        };
        let embedded = register.sign(key);
        (register, embedded)
    }

    pub(crate) async fn try_agent(&self, name: &str) -> (Kit, Carried) {
        let key = SigningKey::generate(&*self.entropy);
        let (register, embedded) = self.register(name, &key, 1, None);
        let command = self.command(AgentRegister { register: embedded }).await;
        let carried = self.order(&Order::RegisterAgent(&command, &register)).await;
        (Kit { name: name.parse().unwrap(), key, kver: 1, seal: seal(self.next()) }, carried)
    }

    pub(crate) async fn agent(&self, name: &str) -> Kit {
        let (kit, carried) = self.try_agent(name).await;
        carried.result.expect("the name is free");
        kit
    }

    pub(crate) async fn role(&self, role: &str) {
        let body = RoleCreate { role: role.parse().unwrap(), engine: "kv".to_owned(), config: Default::default() };
        let command = self.command(body).await;
        self.order(&Order::CreateRole(&command)).await.result.expect("the role is new");
    }

    pub(crate) async fn grant(&self, kit: &Kit, role: &str, terms: Terms) -> u64 {
        let body = GrantCreate { agent: kit.name.clone(), role: role.parse().unwrap(), terms };
        let command = self.command(body).await;
        let result = self.order(&Order::CreateGrant(&command)).await.result.expect("the grant is new");
        result["grant"].as_u64().unwrap()
    }

    /// An agent that may have the role `orders`, which is there.
    pub(crate) async fn granted(&self, name: &str) -> Kit {
        let kit = self.agent(name).await;
        if self.store().role(&"orders".parse().unwrap()).await.unwrap().is_none() {
            self.role("orders").await;
        }
        self.grant(&kit, "orders", terms()).await;
        kit
    }

    pub(crate) fn issue_body(&self, kit: &Kit, role: &str, ttl: u64) -> Issue {
        Issue {
            role: role.parse().unwrap(),
            ttl: Seconds(ttl),
            params: Default::default(),
            purpose: Purpose::default(),
            seal: kit.seal.clone(),
        }
    }

    pub(crate) async fn wants(&self, kit: &Kit, sid: &str) -> Authenticated<Request<Issue>> {
        self.request(kit, sid, self.issue_body(kit, "orders", 900)).await
    }

    pub(crate) fn header(&self, request: &Authenticated<Request<Issue>>) -> Hdr {
        let (common, body, now) = (&request.statement().common, &request.statement().body, self.clock.now());
        Hdr {
            agent: common.agent.clone(),
            exp: now.plus(body.ttl),
            iat: now,
            kid: common.kid.clone(),
            lease: LeaseId::new(now.0, self.entropy.bytes()),
            renewable: true,
            revocation: Revocation::None,
            req: request.req(),
            role: body.role.clone(),
            sid: common.sid.clone(),
            vault: self.keys.aud.clone(),
        }
    }

    /// Records an issuance for the request, as the flow would.
    pub(crate) async fn record(&self, request: &Authenticated<Request<Issue>>) -> Result<(LeaseId, EntryRef), Failure> {
        self.record_as(request, Revocation::None).await
    }

    /// The same for a credential that can be revoked in this way.
    pub(crate) async fn record_as(
        &self,
        request: &Authenticated<Request<Issue>>,
        revocation: Revocation,
    ) -> Result<(LeaseId, EntryRef), Failure> {
        let hdr = Hdr { revocation, ..self.header(request) };
        let handle = nockvault::id::handle(&hdr.agent, &hdr.lease);
        let issuance = Issuance {
            request,
            peer: HERE,
            hdr: &hdr,
            latest: hdr.iat.plus(Seconds(3600)),
            handle: &handle,
            sealed: Digest::of(b"sealed"),
            intended: false,
        };
        self.store().issue(&issuance).await.map(|entry| (hdr.lease.clone(), entry))
    }

    pub(crate) async fn issue(&self, kit: &Kit, sid: &str) -> Result<(LeaseId, EntryRef), Failure> {
        let request = self.wants(kit, sid).await;
        self.record(&request).await
    }

    pub(crate) async fn hello(&self, kit: &Kit, sid: &str) -> Result<EntryRef, Failure> {
        let request = self.request(kit, sid, Hello { seal: kit.seal.clone() }).await;
        self.store().open_session(&request).await.map(|(_, entry)| entry)
    }

    // --- what is there

    pub(crate) async fn chain(&self, chain: &str) -> Vec<Vec<u8>> {
        let name: ChainName = chain.parse().unwrap();
        let mut lines = Vec::new();
        loop {
            let part = self.store().lines(&name, lines.len() as u64, 100, 1 << 20).await.unwrap().unwrap();
            if part.lines.is_empty() {
                assert_eq!(part.head.size, lines.len() as u64);
                return lines;
            }
            lines.extend(part.lines);
        }
    }

    pub(crate) async fn entries(&self, chain: &str) -> Vec<Body> {
        self.chain(chain).await.iter().map(|line| Entry::read(line).unwrap().body).collect()
    }

    pub(crate) async fn kinds(&self, chain: &str) -> Vec<&'static str> {
        self.entries(chain).await.iter().map(Body::kind).collect()
    }

    /// Every chain verifies, the agents' against `_operators`.
    pub(crate) async fn verify(&self, agents: &[&Kit]) {
        let mut pins = Pins { identity: Some(self.founder.identity.clone()), ..Pins::default() };
        let text = |lines: Vec<Vec<u8>>| {
            let mut lines = lines.join(&b'\n');
            lines.push(b'\n');
            lines
        };
        let vault = verify(text(self.chain("_vault").await).as_slice(), &pins).unwrap();
        assert_eq!(vault.verdict, Verdict::Intact, "{vault}");
        let (report, commands) = verify_operators(text(self.chain("_operators").await).as_slice(), &pins).unwrap();
        assert_eq!(report.verdict, Verdict::Intact, "{report}");
        pins.operators = commands.map(Arc::new);
        for kit in agents {
            let report = verify(text(self.chain(kit.name.as_str()).await).as_slice(), &pins).unwrap();
            assert_eq!(report.verdict, Verdict::Intact, "{report}");
        }
    }
}

#[track_caller]
pub(crate) fn denied<T: std::fmt::Debug>(result: Result<T, Failure>) -> Reason {
    match result {
        Err(Failure::Denied(denial)) => denial.reason,
        other => panic!("not denied: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn unavailable<T: std::fmt::Debug>(result: Result<T, Failure>) -> String {
    match result {
        Err(Failure::Unavailable(why)) => why,
        other => panic!("not unavailable: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn refused(carried: Carried) -> Reason {
    carried.result.expect_err("the order was carried out").reason
}

pub(crate) fn sid(text: &str) -> Sid {
    text.parse().unwrap()
}

pub(crate) fn role(text: &str) -> RoleName {
    text.parse().unwrap()
}
