//! A whole vault in one process, for tests: founded in a temporary folder, on a clock that stands until it is moved,
//! with an operator who signs commands and agents who sign requests. Answers are believed only when the response key
//! signed them, which the identity key has certified.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

pub mod agent;
pub mod chains;
pub mod fake;
pub mod far;
pub mod picture;
pub mod staff;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nockvault::audit::certificate::{open_intake, open_signer};
use nockvault::authz::Peer;
use nockvault::base64url;
use nockvault::crypto::envelope::{Envelope, PayloadType};
use nockvault::crypto::hash::Digest;
use nockvault::crypto::hpke::{self, SealPublicKey, Sealed};
use nockvault::crypto::signature::{Form, PublicKey, SigningKey};
use nockvault::denial::{Denial, Reason};
use nockvault::entropy::{Entropy, OsEntropy};
use nockvault::id::{AgentName, Aud, Kid, Nonce, OperatorName};
use nockvault::rate::Rate;
use nockvault::seal::custody::RootKey;
use nockvault::statement::Body;
use nockvault::statement::agent::{AgentKeyEnd, AgentRegister};
use nockvault::statement::backup::Backup;
use nockvault::statement::cert::KeyRole;
use nockvault::statement::command::Command;
use nockvault::statement::grant::{GrantCreate, GrantRevoke, Terms};
use nockvault::statement::reply::{Denied, Described, Executed, Reply};
use nockvault::statement::role::RoleCreate;
use nockvault::statement::secret::{SecretPut, SecretUse, intake_info};
use nockvault::store::sqlite::{OpenFault, RestoreFault, RestoredStore, Restoring, Sqlite};
use nockvault::store::{Pace, Rules};
use nockvault::time::{Clock, ManualClock, Seconds, Timestamp};
use nockvault::vault::answer::Outcome;
use nockvault::vault::found::{self, Founding};
use nockvault::vault::operate::Call;
use nockvault::vault::{Limits, OpeningFault, PerAgent, Vault};
use serde_json::{Map, Value, json};

use agent::Agent;
use fake::{Backend, Fake};
use far::Far;

/// When every test begins.
pub const START: Timestamp = Timestamp(1_780_000_000_000);

/// Where requests come from, where it is not said.
pub const HERE: Peer = Peer::Unix(None);

/// Rules with which a test meets no limit that it does not ask for.
pub fn rules() -> Rules {
    Rules {
        skew: Seconds(300),
        nonces_per_key: 100_000,
        session_idle: Seconds(3600),
        session_max: Seconds(7200),
        sessions_per_agent: 1000,
        leases_per_agent: 1000,
        denials_per_minute: 100_000,
        key_overlap: Seconds(600),
        // Later than any of these tests looks.
        checkpoints: Pace { entries: u64::MAX, after: Seconds(3_650 * 86_400) },
        deadline: Duration::from_secs(30),
    }
}

/// Terms that allow much.
pub fn terms() -> Terms {
    Terms {
        ttl: Seconds(300),
        max_ttl: Seconds(3600),
        max_uses: None,
        until: None,
        session: None,
        from: Vec::new(),
        rate: None,
    }
}

/// A fresh nonce.
pub fn nonce() -> Nonce {
    let entropy: &dyn Entropy = &OsEntropy;
    Nonce::from_bytes(&entropy.bytes())
}

/// A new signing key.
pub fn new_key() -> SigningKey {
    SigningKey::generate(&OsEntropy)
}

/// The vault.
pub struct Harness {
    folder: tempfile::TempDir,
    root: Arc<RootKey>,
    vault: Option<(Arc<Vault>, Arc<Sqlite>)>,
    response: PublicKey,
    intake: SealPublicKey,
    pub aud: Aud,
    pub identity: PublicKey,
    pub clock: ManualClock,
    pub rules: Rules,
    /// How long a call of an engine may take, from the next opening on.
    pub engine_deadline: Duration,
    /// What one agent may ask, from the next opening on.
    pub agents: PerAgent,
    /// What the engine `fake` speaks to.
    pub backend: Backend,
    /// What the engine `far` speaks to.
    pub far: Far,
    pub operator: Operator,
}

/// An operator and its key.
pub struct Operator {
    pub name: OperatorName,
    pub key: SigningKey,
    pub kver: u64,
    pub form: Form,
    pub aud: Aud,
    pub clock: ManualClock,
}

impl Operator {
    /// A command of this body, as it stands before it is signed.
    pub fn command<B: Body>(&self, body: B) -> Command<B> {
        Command {
            v: 1,
            typ: B::TYP.to_owned(),
            aud: self.aud.clone(),
            operator: self.name.clone(),
            kid: self.key.kid(),
            kver: self.kver,
            nonce: nonce(),
            iat: self.clock.now(),
            body,
            set: None,
        }
    }

    /// Signs a command.
    pub fn sign(&self, command: &impl serde::Serialize) -> Envelope {
        Envelope::sign(PayloadType::Command, command, &self.key, self.form)
    }
}

/// A refusal, as whoever asked gets it.
#[derive(Debug)]
pub struct Refusal {
    pub reason: Reason,
    pub denial: Denial,
    /// The vault's signed word on it, checked.
    pub said: Option<Denied>,
}

impl Harness {
    /// A new vault under [`rules`].
    pub async fn new() -> Harness {
        Harness::with(rules()).await
    }

    /// A new vault under these rules.
    pub async fn with(rules: Rules) -> Harness {
        Harness::found_in(tempfile::tempdir().unwrap(), rules).await
    }

    /// A new vault in this folder.
    pub async fn found_in(folder: tempfile::TempDir, rules: Rules) -> Harness {
        let clock = ManualClock::at(START);
        let root = Arc::new(RootKey::generate(&OsEntropy));
        let name = "root".parse::<OperatorName>().unwrap();
        let asked =
            Founding { name: "prod".parse().unwrap(), node: "node1".into(), operator: name.clone(), now: clock.now() };
        let (founding, founder) = found::prepare(asked, &OsEntropy);
        Sqlite::found(&folder.path().join("data"), &root, founding, Arc::new(OsEntropy)).unwrap();
        let aud = founder.aud.clone();
        let (key, form) = (founder.operator_key, Form::Pae);
        let operator = Operator { name, key, kver: 1, form, aud: aud.clone(), clock: clock.clone() };
        let (engine_deadline, backend, far) = (Duration::from_secs(5), Backend::default(), Far::default());
        let agents = PerAgent { rate: Rate::new(1_000_000, 1_000_000), all: 1 << 20, of_one: 1 << 20 };
        let limits = limits(rules, engine_deadline, agents);
        let vault = open(&folder.path().join("data"), &root, limits, &clock, (&backend, &far)).await.unwrap();
        let (response, intake) = own_keys(&vault.0, &founder.identity);
        Harness {
            folder,
            root,
            vault: Some(vault),
            response,
            intake,
            aud,
            identity: founder.identity,
            clock,
            rules,
            engine_deadline,
            agents,
            backend,
            far,
            operator,
        }
    }

    /// The vault itself.
    pub fn vault(&self) -> &Arc<Vault> {
        &self.vault.as_ref().unwrap().0
    }

    /// The store behind it.
    pub fn sqlite(&self) -> &Arc<Sqlite> {
        &self.vault.as_ref().unwrap().1
    }

    /// The time on its clock.
    pub fn clock_now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Where it keeps its data.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Drops the vault without a word, as a crash would, and opens it again.
    pub async fn reopen(&mut self) {
        self.reopen_under(self.rules).await;
    }

    /// The same, under other rules.
    pub async fn reopen_under(&mut self, rules: Rules) {
        self.try_reopen_under(rules).await.unwrap();
    }

    /// The same, where the vault may not be able to begin.
    pub async fn try_reopen_under(&mut self, rules: Rules) -> Result<(), OpeningFault> {
        self.shut();
        self.rules = rules;
        let limits = limits(rules, self.engine_deadline, self.agents);
        self.vault = Some(open(&self.data(), &self.root, limits, &self.clock, (&self.backend, &self.far)).await?);
        Ok(())
    }

    /// Begins again, where the files may be such that nothing can begin.
    pub async fn begin_again(&mut self) -> Result<(), Unopened> {
        self.shut();
        let limits = limits(self.rules, self.engine_deadline, self.agents);
        let opened = try_open(&self.data(), &self.root, limits, &self.clock, (&self.backend, &self.far)).await?;
        self.vault = Some(opened);
        Ok(())
    }

    /// Drops the vault without a word and leaves it so, for tests that change its files.
    pub fn shut(&mut self) {
        self.vault = None;
    }

    // --- backups

    /// Makes a backup in this file, as an operator commands it. Gives its entry in `_operators`.
    pub async fn back_up(&self, file: &Path) -> u64 {
        let envelope = self.operator.sign(&self.operator.command(Backup {}));
        let req = envelope.digest();
        let (outcome, making) = self.vault().backup(envelope).await;
        let executed: Executed = self.released(outcome, req);
        let out = std::fs::File::create(file).unwrap();
        making.unwrap().write(Vec::new(), Box::new(out)).await.unwrap();
        executed.entry.unwrap().seq
    }

    /// Makes a store of a backup under this name beside the data.
    pub fn restore_to(&self, name: &str, file: &Path, wanted: &Restoring) -> Result<RestoredStore, RestoreFault> {
        let file = std::fs::File::open(file).unwrap();
        Sqlite::restore(&self.folder.path().join(name), &self.root, file, wanted, Arc::new(OsEntropy))
    }

    /// What whoever restores this vault asks for.
    pub fn restoring(&self) -> Restoring {
        Restoring { aud: self.aud.clone(), number: None, rehearsal: false }
    }

    /// Stops the vault without a word, and goes on with what a backup becomes. What was lost lies in `lost-N` then.
    pub async fn restore(&mut self, file: &Path, wanted: &Restoring) -> RestoredStore {
        self.shut();
        let mut at = 0;
        let lost = loop {
            let lost = self.folder.path().join(format!("lost-{at}"));
            if !lost.exists() {
                break lost;
            }
            at += 1;
        };
        std::fs::rename(self.data(), lost).unwrap();
        let restored = self.restore_to("data", file, wanted).unwrap();
        self.reopen().await;
        restored
    }

    // --- what comes back

    /// The reply of an outcome that released something, signed by the response key, to this request.
    pub fn released<R: Reply>(&self, outcome: Outcome, req: Digest) -> R {
        match outcome {
            Outcome::Released(released) => self.signed(&released.into_envelope(), req),
            Outcome::Refused(refused) => panic!("refused: {} ({})", refused.denial, refused.denial.internal),
        }
    }

    /// What the vault signed for this request.
    pub fn signed<R: Reply>(&self, envelope: &Envelope, req: Digest) -> R {
        let said = self.believed(envelope);
        assert_eq!(said["typ"], R::TYP);
        let answers = if said.get("hdr").is_some() { &said["hdr"]["req"] } else { &said["req"] };
        assert_eq!(*answers, json!(req), "the answer is to another request");
        serde_json::from_value(said).unwrap()
    }

    fn believed(&self, envelope: &Envelope) -> Value {
        believe(envelope, &self.response)
    }

    /// The refusal of an outcome, its signed part checked.
    pub fn refused(&self, outcome: Outcome, req: Digest) -> Refusal {
        match outcome {
            Outcome::Released(released) => {
                panic!("released: {}", String::from_utf8_lossy(&released.into_envelope().payload))
            }
            Outcome::Refused(refused) => {
                let said: Option<Denied> = refused.signed.as_ref().map(|said| self.signed(said, req));
                if let Some(said) = &said {
                    assert_eq!(
                        (said.reason.as_str(), said.limit),
                        (refused.denial.reason.code(), refused.denial.limit)
                    );
                }
                Refusal { reason: refused.denial.reason, denial: refused.denial, said }
            }
        }
    }

    // --- operators

    /// Gives a command and its sealed input to the vault.
    pub async fn operate(&self, call: Call, envelope: Envelope, sealed: Option<Sealed>) -> Outcome {
        self.vault().operate(call, envelope, sealed).await
    }

    /// Commands and expects it to be done.
    pub async fn order<B: Body>(&self, body: B) -> Map<String, Value> {
        self.executed(body).await.result
    }

    /// The same, with the whole reply.
    pub async fn executed<B: Body>(&self, body: B) -> Executed {
        let envelope = self.operator.sign(&self.operator.command(body));
        let req = envelope.digest();
        self.released(self.operate(call(B::TYP), envelope, None).await, req)
    }

    /// Commands and expects a refusal.
    pub async fn order_refused<B: Body>(&self, body: B) -> Refusal {
        let envelope = self.operator.sign(&self.operator.command(body));
        let req = envelope.digest();
        self.refused(self.operate(call(B::TYP), envelope, None).await, req)
    }

    /// Registers an agent with a new key that signs in `form`.
    pub async fn register_in(&self, name: &str, form: Form) -> Agent {
        let agent = Agent::new(name, new_key(), form, &self.aud, &self.clock);
        self.register(&agent).await;
        agent
    }

    /// Registers an agent with a new key.
    pub async fn agent(&self, name: &str) -> Agent {
        self.register_in(name, Form::Pae).await
    }

    /// Registers this agent's key.
    pub async fn register(&self, agent: &Agent) {
        self.order(AgentRegister { register: agent.register_statement().sign(&agent.key) }).await;
    }

    /// A secret input sealed to the certified intake key for the command of this nonce.
    pub fn seal_input(&self, value: &[u8], nonce: &Nonce) -> Sealed {
        hpke::seal(&self.intake, &intake_info(&self.aud, nonce), &[], value, &OsEntropy).unwrap()
    }

    /// The command that stores a secret, and its sealed input.
    pub fn put_command(&self, name: &str, value: &[u8]) -> (Command<SecretPut>, Sealed) {
        self.put_command_for(name, value, SecretUse::Kv)
    }

    fn put_command_for(&self, name: &str, value: &[u8], used: SecretUse) -> (Command<SecretPut>, Sealed) {
        let empty = SecretPut { name: name.parse().unwrap(), sealed: Digest::ZERO, expires: None, used };
        let mut command = self.operator.command(empty);
        let sealed = self.seal_input(value, &command.nonce);
        command.body.sealed = sealed.digest();
        (command, sealed)
    }

    /// Stores a secret.
    pub async fn put_secret(&self, name: &str, value: &[u8]) {
        self.put_secret_for(name, value, SecretUse::Kv).await;
    }

    /// Stores a secret for this use.
    pub async fn put_secret_for(&self, name: &str, value: &[u8], used: SecretUse) {
        let (command, sealed) = self.put_command_for(name, value, used);
        let envelope = self.operator.sign(&command);
        let req = envelope.digest();
        self.released::<Executed>(self.operate(Call::SecretPut, envelope, Some(sealed)).await, req);
    }

    /// Makes a role.
    pub async fn role(&self, name: &str, engine: &str, config: Value) {
        let config = config.as_object().cloned().unwrap();
        self.order(RoleCreate { role: name.parse().unwrap(), engine: engine.into(), config }).await;
    }

    /// Makes a secret of this value and a `kv` role of the same name.
    pub async fn kv_role(&self, name: &str, value: &[u8]) {
        self.put_secret(name, value).await;
        self.role(name, "kv", json!({ "secret": name })).await;
    }

    /// Gives a grant.
    pub async fn grant(&self, agent: &AgentName, role: &str, terms: Terms) {
        self.order(GrantCreate { agent: agent.clone(), role: role.parse().unwrap(), terms }).await;
    }

    /// Takes a grant back.
    pub async fn ungrant(&self, agent: &AgentName, role: &str) {
        self.order(GrantRevoke { agent: agent.clone(), role: role.parse().unwrap() }).await;
    }

    /// Ends a key.
    pub async fn end_key(&self, agent: &AgentName, kid: Kid) {
        self.order(AgentKeyEnd { agent: agent.clone(), kid: Some(kid), suspect_from: None }).await;
    }
}

/// What stands in an answer that the response key signed.
fn believe(envelope: &Envelope, response: &PublicKey) -> Value {
    assert_eq!(envelope.payload_type, PayloadType::Response.as_str());
    response.verify(Form::Pae, &envelope.payload_type, &envelope.payload, &envelope.signature).unwrap();
    serde_json::from_slice(&envelope.payload).unwrap()
}

/// The vault's response and intake keys, as the identity key certifies them.
fn own_keys(vault: &Vault, identity: &PublicKey) -> (PublicKey, SealPublicKey) {
    let challenge = [7u8; 32];
    let envelope = vault.describe(&challenge).unwrap();
    let described: Described = serde_json::from_slice(&envelope.payload).unwrap();
    let response = described.certs.iter().find_map(|cert| open_signer(cert, KeyRole::Response, identity).ok());
    let intake = described.certs.iter().find_map(|cert| open_intake(cert, identity).ok());
    let response = response.unwrap().1;
    assert_eq!(believe(&envelope, &response)["req"], base64url::encode(&challenge));
    (response, intake.unwrap().1)
}

/// Why a vault did not begin.
#[derive(Debug)]
pub enum Unopened {
    /// The store was not opened.
    Store(OpenFault),
    /// The vault did not begin on it.
    Vault(OpeningFault),
}

/// Opens the vault in `data`, whose store is there and whole.
async fn open(
    data: &Path,
    root: &RootKey,
    limits: Limits,
    clock: &ManualClock,
    far_sides: (&Backend, &Far),
) -> Result<(Arc<Vault>, Arc<Sqlite>), OpeningFault> {
    try_open(data, root, limits, clock, far_sides).await.map_err(|unopened| match unopened {
        Unopened::Store(fault) => panic!("{fault}"),
        Unopened::Vault(fault) => fault,
    })
}

/// Opens the vault in `data`. One that was dropped just before may hold its lock for a moment still.
async fn try_open(
    data: &Path,
    root: &RootKey,
    limits: Limits,
    clock: &ManualClock,
    (backend, far): (&Backend, &Far),
) -> Result<(Arc<Vault>, Arc<Sqlite>), Unopened> {
    let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) = (Arc::new(clock.clone()), Arc::new(OsEntropy));
    let mut tries = 0;
    let (store, own) = loop {
        match Sqlite::open(data, root, limits.rules, clock.clone(), entropy.clone()) {
            Ok(opened) => break opened,
            Err(OpenFault::Locked(_)) if tries < 400 => tokio::time::sleep(Duration::from_millis(25)).await,
            Err(fault) => return Err(Unopened::Store(fault)),
        }
        tries += 1;
    };
    let store = Arc::new(store);
    let mut engines = nockvault::engine::all(&entropy, &own.aud);
    engines.push(Box::new(Fake(backend.clone())));
    engines.push(Box::new(far.clone()));
    let vault = Vault::open(store.clone(), own, limits, engines, clock, entropy).await.map_err(Unopened::Vault)?;
    Ok((vault, store))
}

fn limits(rules: Rules, engine_deadline: Duration, agents: PerAgent) -> Limits {
    Limits {
        rules,
        engine_deadline,
        backend_retry: Seconds(30),
        agents,
        node: "node1".into(),
        issuer: None,
        named: Default::default(),
    }
}

/// The call that takes commands of this `typ`.
pub fn call(typ: &str) -> Call {
    CALLS.iter().find(|(known, _)| *known == typ).unwrap_or_else(|| panic!("no call takes {typ}")).1
}

/// Every call of operators by its `typ`, but `audit_read`, `directory_read` and `backup`, which have ways of their own.
pub const CALLS: &[(&str, Call)] = &[
    ("nockvault/status_read", Call::StatusRead),
    ("nockvault/explain", Call::Explain),
    ("nockvault/doctor_read", Call::DoctorRead),
    ("nockvault/agent_register", Call::AgentRegister),
    ("nockvault/agent_list", Call::AgentList),
    ("nockvault/agent_show", Call::AgentShow),
    ("nockvault/agent_key_end", Call::AgentKeyEnd),
    ("nockvault/agent_freeze", Call::AgentFreeze),
    ("nockvault/agent_thaw", Call::AgentThaw),
    ("nockvault/vault_freeze", Call::VaultFreeze),
    ("nockvault/vault_thaw", Call::VaultThaw),
    ("nockvault/vault_seal", Call::VaultSeal),
    ("nockvault/role_freeze", Call::RoleFreeze),
    ("nockvault/role_thaw", Call::RoleThaw),
    ("nockvault/custody_list", Call::CustodyList),
    ("nockvault/custody_add", Call::CustodyAdd),
    ("nockvault/custody_remove", Call::CustodyRemove),
    ("nockvault/custody_rotate", Call::CustodyRotate),
    ("nockvault/role_create", Call::RoleCreate),
    ("nockvault/role_check", Call::RoleCheck),
    ("nockvault/role_rotate", Call::RoleRotate),
    ("nockvault/role_list", Call::RoleList),
    ("nockvault/role_show", Call::RoleShow),
    ("nockvault/secret_put", Call::SecretPut),
    ("nockvault/secret_rollback", Call::SecretRollback),
    ("nockvault/secret_list", Call::SecretList),
    ("nockvault/secret_versions", Call::SecretVersions),
    ("nockvault/ca_create", Call::CaCreate),
    ("nockvault/ca_import", Call::CaImport),
    ("nockvault/ca_certify", Call::CaCertify),
    ("nockvault/ca_show", Call::CaShow),
    ("nockvault/grant_create", Call::GrantCreate),
    ("nockvault/grant_list", Call::GrantList),
    ("nockvault/grant_revoke", Call::GrantRevoke),
    ("nockvault/lease_list", Call::LeaseList),
    ("nockvault/lease_show", Call::LeaseShow),
    ("nockvault/lease_revoke", Call::LeaseRevoke),
    ("nockvault/lease_forget", Call::LeaseForget),
    ("nockvault/key_rotate", Call::KeyRotate),
    ("nockvault/ring_rotate", Call::RingRotate),
    ("nockvault/clock_reset", Call::ClockReset),
    ("nockvault/operator_register", Call::OperatorRegister),
    ("nockvault/operator_duty", Call::OperatorDuty),
    ("nockvault/operator_key_end", Call::OperatorKeyEnd),
    ("nockvault/operator_rotate", Call::OperatorRotate),
    ("nockvault/operator_list", Call::OperatorList),
    ("nockvault/operator_show", Call::OperatorShow),
    ("nockvault/policy_set", Call::PolicySet),
    ("nockvault/policy_show", Call::PolicyShow),
    ("nockvault/approve", Call::Approve),
    ("nockvault/withdraw", Call::Withdraw),
    ("nockvault/approval_list", Call::ApprovalList),
    ("nockvault/audit_list", Call::AuditList),
    ("nockvault/audit_checkpoint", Call::AuditCheckpoint),
    ("nockvault/audit_prove", Call::AuditProve),
];
