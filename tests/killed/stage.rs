//! What the tests stand on: the real daemon with a real PostgreSQL behind it, an agent, an operator, and what must be
//! true whenever nothing is under way.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use nockvault::audit::verify::report::Verdict;
use nockvault::audit::verify::{Pins, verify, verify_operators};
use nockvault::client::agent::{Agent, Ask, Session};
use nockvault::client::fault::Fault;
use nockvault::client::operator::{Operator, Order};
use nockvault::client::signer::{Held, Identity, Signer};
use nockvault::client::{channel, keyfile};
use nockvault::crypto::envelope::{Envelope, PayloadType};
use nockvault::crypto::signature::{Form, PublicKey, Signature, SigningKey};
use nockvault::id::{AgentName, ChainName, LeaseId, RoleName};
use nockvault::secret::SecretBytes;
use nockvault::statement::audit_read::AuditRead;
use nockvault::statement::card::Card;
use nockvault::statement::command::Page;
use nockvault::statement::grant::{GrantCreate, Terms};
use nockvault::statement::lease::{LeaseList, LeaseShow, Which};
use nockvault::statement::role::RoleCreate;
use nockvault::statement::secret::SecretUse;
use nockvault::time::{Clock as _, Seconds, SystemClock};
use nockvault::wire::convert::RefusalDetails;
use nockvault::wire::v1::agent_service_client::AgentServiceClient;
use nockvault::wire::v1::{CloseSessionRequest, ReleaseLeaseRequest, RenewLeaseRequest, RequestCredentialRequest};
use serde_json::{Map, Value, json};

use crate::programs::Vault;
use crate::server::{ADMIN, Server};

/// The longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether PostgreSQL runs when the daemon is killed and while it starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Up,
    Down,
}

/// A key that keeps what it signed, so that a test can send the same bytes once more.
#[derive(Debug)]
pub(crate) struct Recorder {
    held: Held,
    signed: Mutex<Option<Envelope>>,
}

#[async_trait]
impl Signer for Recorder {
    fn public(&self) -> &PublicKey {
        self.held.public()
    }

    fn form(&self) -> Form {
        self.held.form()
    }

    async fn sign(&self, payload_type: &str, payload: &[u8]) -> Result<Signature, Fault> {
        let signature = self.held.sign(payload_type, payload).await?;
        assert_eq!(payload_type, PayloadType::Request.as_str());
        *self.signed.lock().unwrap() = Some(Envelope {
            payload_type: payload_type.to_owned(),
            payload: payload.to_vec(),
            signature,
            kid: self.public().kid().to_string(),
        });
        Ok(signature)
    }
}

/// What became of one lease, or of what was to be one: the entries of its agent's chain about it, in a few words each.
pub(crate) type Story = Vec<String>;

pub(crate) struct Stage {
    pub(crate) vault: Vault,
    pub(crate) server: Server,
    pub(crate) card: Card,
    operator_key: SigningKey,
    /// Asks the questions; a connection that broke with the daemon comes about anew.
    operator: Operator,
    signer: Arc<Recorder>,
    /// The agents, `kit` first.
    agents: Vec<Agent>,
    /// How long the daemon's log was when it was started last.
    log_from: u64,
    roles: usize,
}

impl Stage {
    pub(crate) async fn new() -> Stage {
        Stage::with(&[("backend_retry_s = 30", "backend_retry_s = 1")]).await
    }

    /// With these lines of its configuration in place of those.
    pub(crate) async fn with(lines: &[(&str, &str)]) -> Stage {
        let server = Server::start().await;
        let vault = Vault::start_with(|mut config| {
            for (line, instead) in lines {
                assert!(config.contains(line), "the configuration has no {line}");
                config = config.replace(line, instead);
            }
            config
        });
        let card = Card::read(&std::fs::read_to_string(vault.card()).unwrap()).unwrap();
        let operator_key = keyfile::read_secret(&vault.path().join(".config/nockvault/prod/ada.ed25519")).unwrap();
        let signer = Arc::new(Recorder { held: Held::new(enrol(&vault, "kit")), signed: Mutex::default() });
        let identity = Identity { name: kit(), signer: Arc::clone(&signer) as Arc<dyn Signer>, kver: 1 };
        let kit = Agent::connect(&card, identity).await.unwrap();
        let operator = ada(&card, &operator_key).await;
        let stage =
            Stage { operator, vault, server, card, operator_key, signer, agents: vec![kit], log_from: 0, roles: 0 };
        let password = SecretBytes::from(stage.server.admin_password().as_bytes().to_vec());
        let name = "orders/admin".parse().unwrap();
        stage.operator().await.put_secret(&name, &password, SecretUse::Backend, None).await.unwrap();
        stage
    }

    // --- the operator

    /// The operator, over a connection of its own.
    pub(crate) async fn operator(&self) -> Operator {
        ada(&self.card, &self.operator_key).await
    }

    pub(crate) async fn command<O: Order>(&self, order: O) -> Map<String, Value> {
        self.operator.command(order).await.unwrap().result
    }

    /// A role of its own at the server, and a grant of it to kit.
    pub(crate) async fn role(&mut self, max_uses: Option<u64>) -> RoleName {
        self.role_by(self.server.port(), max_uses).await
    }

    /// The same, where the vault reaches the server by another port.
    pub(crate) async fn role_by(&mut self, port: u16, max_uses: Option<u64>) -> RoleName {
        let config = json!({
            "host": "localhost", "port": port, "database": "orders", "user": ADMIN, "password": "orders/admin",
            "ca": self.server.ca_pem(), "grants": ["orders_read"],
        });
        self.role_of("postgres", config, max_uses).await
    }

    /// A role of an engine, and a grant of it to kit.
    pub(crate) async fn role_of(&mut self, engine: &str, config: Value, max_uses: Option<u64>) -> RoleName {
        self.roles += 1;
        let role: RoleName = format!("{engine}/{}", self.roles).parse().unwrap();
        let config = config.as_object().unwrap().clone();
        self.command(RoleCreate { role: role.clone(), engine: engine.into(), config }).await;
        self.grant("kit", &role, max_uses).await;
        role
    }

    async fn grant(&self, agent: &str, role: &RoleName, max_uses: Option<u64>) {
        let (ttl, max_ttl) = (Seconds(300), Seconds(3600));
        let terms = Terms { ttl, max_ttl, max_uses, until: None, session: None, from: vec![], rate: None };
        self.command(GrantCreate { agent: agent.parse().unwrap(), role: role.clone(), terms }).await;
    }

    pub(crate) async fn leases(&self, which: Which) -> Vec<Value> {
        let mut page = Page::first();
        let mut all = Vec::new();
        loop {
            let listed = self.command(LeaseList { agent: None, which, page: page.clone() }).await;
            all.extend(listed["items"].as_array().unwrap().iter().cloned());
            match listed["next"].as_str() {
                Some(next) => page.after = next.to_owned(),
                None => return all,
            }
        }
    }

    pub(crate) async fn lease(&self, lease: &LeaseId) -> Map<String, Value> {
        self.command(LeaseShow { lease: lease.clone() }).await
    }

    // --- the agents

    /// Another agent, which may have the role.
    pub(crate) async fn agent(&mut self, name: &str, role: &RoleName) -> Agent {
        let identity = Identity::held(name.parse().unwrap(), enrol(&self.vault, name), 1);
        let agent = Agent::connect(&self.card, identity).await.unwrap();
        self.grant(name, role, None).await;
        self.agents.push(agent.clone());
        agent
    }

    pub(crate) fn kit(&self) -> &Agent {
        &self.agents[0]
    }

    pub(crate) fn session(&self) -> Session {
        self.kit().session("work").unwrap()
    }

    /// What kit signed last.
    pub(crate) fn signed(&self) -> Envelope {
        self.signer.signed.lock().unwrap().clone().unwrap()
    }

    /// Sends these bytes once more. Gives the reason where they are refused.
    pub(crate) async fn again(&self, envelope: &Envelope) -> Result<(), String> {
        let payload: Value = serde_json::from_slice(&envelope.payload).unwrap();
        let mut client =
            AgentServiceClient::new(channel::open(&self.card.agents, self.card.ca.as_deref()).await.unwrap());
        let signed = Some(envelope.clone().into());
        let answer = match payload["typ"].as_str().unwrap() {
            "nockvault/issue" => client.request_credential(RequestCredentialRequest { signed }).await.map(drop),
            "nockvault/renew" => client.renew_lease(RenewLeaseRequest { signed }).await.map(drop),
            "nockvault/release" => client.release_lease(ReleaseLeaseRequest { signed }).await.map(drop),
            "nockvault/close" => client.close_session(CloseSessionRequest { signed }).await.map(drop),
            other => panic!("{other} is not sent here"),
        };
        answer.map_err(|status| RefusalDetails::from_status(&status).expect("it is refused").reason)
    }

    // --- kills

    fn log_end(&self) -> u64 {
        std::fs::metadata(self.vault.log()).unwrap().len()
    }

    /// Starts the daemon anew, to stand still at this step.
    pub(crate) fn arm(&mut self, step: &str) {
        self.vault.kill();
        self.log_from = self.log_end();
        self.vault.go_on_until(step);
    }

    /// Waits until the daemon stands still.
    pub(crate) async fn at(&self, step: &str) {
        let reached = format!("failpoint {step}\n");
        let begin = Instant::now();
        let mut text = String::new();
        while begin.elapsed() < PATIENCE {
            let mut log = std::fs::File::open(self.vault.log()).unwrap();
            log.seek(SeekFrom::Start(self.log_from)).unwrap();
            text.clear();
            log.read_to_string(&mut text).unwrap();
            if text.contains(&reached) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{step} was not reached:\n{text}");
    }

    /// Kills the daemon at this step, which it was armed for and which `drive` brings it to, and starts it again.
    /// Gives what `drive` came to.
    pub(crate) async fn kill_at<T: Send + 'static>(
        &mut self,
        step: &str,
        backend: Backend,
        drive: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let driven = tokio::spawn(drive);
        self.at(step).await;
        if backend == Backend::Down {
            self.server.stop();
        }
        self.vault.kill();
        let came = driven.await.unwrap();
        self.vault.go_on();
        came
    }

    /// Where the backend is down: waits until something was tried in vain there, if `waits`, and starts it again.
    pub(crate) async fn back(&mut self, backend: Backend, waits: bool) {
        if backend == Backend::Up {
            return;
        }
        if waits {
            self.until("nothing was tried in vain", async |stage| {
                let stuck = stage.leases(Which::Stuck).await;
                stuck.iter().any(|lease| {
                    let fault = lease["undo"]["fault"].as_str().unwrap_or_default();
                    lease["undo"]["tries"].as_u64() > Some(0) && fault.starts_with("engine_unavailable")
                })
            })
            .await;
        }
        self.server.start_again().await;
    }

    pub(crate) async fn until(&self, otherwise: &str, come: impl AsyncFn(&Stage) -> bool) {
        let begin = Instant::now();
        while !come(self).await {
            assert!(begin.elapsed() < PATIENCE, "{otherwise}:\n{}", self.last_words());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.vault.log()).unwrap();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    // --- what must be true

    /// Waits until nothing is left to undo, and holds the server, the rows and the chains against each other.
    pub(crate) async fn settle(&self) {
        self.until("something stays stuck", async |stage| stage.leases(Which::Stuck).await.is_empty()).await;
        self.roles_are_of_live_leases().await;
        let mut told = BTreeMap::new();
        for agent in &self.agents {
            told.extend(stories(&self.verified(agent).await));
        }
        self.each_lease_is_told(&told).await;
    }

    /// The roles at the server are those of the live leases.
    async fn roles_are_of_live_leases(&self) {
        let mut live = self.leases(Which::Live).await;
        live.retain(|lease| lease["revocation"] == "backend");
        let now = SystemClock.now();
        for lease in &live {
            let expires = lease["expires"].as_u64().unwrap();
            assert!(now.0 < expires + 3000, "it is over and still live: {lease}");
        }
        let handles: BTreeSet<String> = live.iter().map(|lease| lease["handle"].as_str().unwrap().to_owned()).collect();
        let rows = self.server.sql("SELECT rolname FROM pg_roles WHERE starts_with(rolname, 'nv_')").await;
        let roles: BTreeSet<String> = rows.into_iter().flatten().collect();
        assert_eq!(roles, handles, "left the roles at the server, right those of the live leases");
    }

    /// The entries of a chain.
    pub(crate) async fn entries(&self, chain: &ChainName) -> Vec<Value> {
        entries(&self.whole(chain).await)
    }

    async fn whole(&self, chain: &ChainName) -> Vec<u8> {
        let mut lines = Vec::new();
        let mut from = 0;
        loop {
            let read = AuditRead { chain: chain.clone(), from, limit: Page::MAX };
            let (part, _) = self.operator.read_audit(read).await.unwrap();
            if part.is_empty() {
                return lines;
            }
            from += part.len() as u64;
            part.iter().for_each(|line| lines.extend(line.iter().chain(b"\n")));
        }
    }

    /// Verifies an agent's chain and those of the vault as an auditor does. Gives the entries of the agent's.
    async fn verified(&self, agent: &Agent) -> Vec<Value> {
        let pins = |chain: &ChainName| Pins { chain: Some(chain.clone()), ..Pins::of_card(&self.card) };
        let (own, vault, operators) =
            (ChainName::from(&agent.identity().name), ChainName::vault(), ChainName::operators());
        let lines = self.whole(&own).await;
        let (report, commands) = verify_operators(self.whole(&operators).await.as_slice(), &pins(&operators)).unwrap();
        assert_eq!(report.verdict, Verdict::Intact, "{report}");
        let report = verify(self.whole(&vault).await.as_slice(), &pins(&vault)).unwrap();
        assert_eq!(report.verdict, Verdict::Intact, "{report}");
        let heads = vec![agent.seen()];
        let report =
            verify(lines.as_slice(), &Pins { operators: commands.map(Arc::new), heads, ..pins(&own) }).unwrap();
        assert_eq!(report.verdict, Verdict::Intact, "{report}");
        entries(&lines)
    }

    /// Each lease of the chain has a row in the same state, and what ended of it is undone.
    async fn each_lease_is_told(&self, told: &BTreeMap<String, (String, Story)>) {
        let rows: BTreeMap<String, Value> = self
            .leases(Which::All)
            .await
            .into_iter()
            .map(|lease| (lease["lease"].as_str().unwrap().to_owned(), lease))
            .collect();
        for (id, (_, story)) in told {
            let row = rows.get(id).unwrap_or_else(|| panic!("the lease {id} is lost: {story:?}"));
            let state = row["state"].as_str().unwrap();
            let words: Vec<&str> = story.iter().map(|word| word.split(' ').next().unwrap()).collect();
            let at_backend = row["revocation"] == "backend";
            let fits = match (state, words.as_slice()) {
                ("live", ["issue", lives @ ..]) => lives.iter().all(|word| *word == "renew"),
                ("abandoned", words) => words == ["deny", "undone"],
                (_, ["issue", lives @ .., end, "undone" | "forget"]) if at_backend => is_life(lives, end),
                (_, ["issue", lives @ .., end]) if !at_backend => is_life(lives, end),
                _ => false,
            };
            assert!(fits, "{state}: {story:?}");
        }
        assert!(rows.keys().all(|id| told.contains_key(id)), "a lease stands in no chain: {rows:?} {told:?}");
    }

    /// What became of the leases of this role, the first first.
    pub(crate) async fn told(&self, role: &RoleName) -> Vec<Story> {
        let mut found: Vec<_> = stories(&self.verified(self.kit()).await).into_iter().collect();
        found.retain(|(_, (of, _))| of == role.as_str());
        found.into_iter().map(|(_, (_, story))| story).collect()
    }
}

async fn ada(card: &Card, key: &SigningKey) -> Operator {
    let key = SigningKey::from_seed(&key.seed());
    Operator::connect(card, Identity::held("ada".parse().unwrap(), key, 1)).await.unwrap()
}

/// Registers an agent. Gives its key.
fn enrol(vault: &Vault, name: &str) -> SigningKey {
    vault.vaultctl(&["keygen", "--agent", name]).ok();
    vault.vaultctl(&["agent", "register", &format!("{name}.register")]).ok();
    keyfile::read_secret(&vault.path().join(format!("{name}.ed25519"))).unwrap()
}

/// Renewals, and one end.
fn is_life(lives: &[&str], end: &str) -> bool {
    let ends = ["release", "close", "revoke", "expire", "undelivered"];
    lives.iter().all(|word| *word == "renew") && ends.contains(&end)
}

fn entries(lines: &[u8]) -> Vec<Value> {
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

pub(crate) fn kit() -> AgentName {
    "kit".parse().unwrap()
}

pub(crate) fn ask(role: &RoleName) -> Ask {
    Ask::role(role.clone())
}

/// What a chain tells of each lease, by its identifier: its role and its story.
fn stories(chain: &[Value]) -> BTreeMap<String, (String, Story)> {
    let mut told: BTreeMap<String, (String, Story)> = BTreeMap::new();
    let mut sids: BTreeMap<String, String> = BTreeMap::new();
    for entry in chain {
        let (kind, body) = (entry["kind"].as_str().unwrap(), &entry["body"]);
        let payload = &body["request"]["payload"];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        match kind {
            "issue" => {
                let lease = text(&body["hdr"]["lease"]);
                sids.insert(lease.clone(), text(&body["hdr"]["sid"]));
                told.insert(lease, (text(&body["hdr"]["role"]), vec!["issue".into()]));
            }
            "deny" if body["lease"].is_string() => {
                let story = vec![format!("deny {}", text(&body["reason"]))];
                told.insert(text(&body["lease"]), (text(&payload["role"]), story));
            }
            "close" => {
                for (lease, (_, story)) in &mut told {
                    let ended = story.iter().any(|word| !["issue", "renew"].contains(&word.as_str()));
                    if !ended && sids.get(lease) == payload["sid"].as_str().map(str::to_owned).as_ref() {
                        story.push("close".into());
                    }
                }
            }
            _ => {
                if let Some(lease) = body["lease"].as_str() {
                    let (_, story) = told.get_mut(lease).expect("an entry about a lease follows its first");
                    let word = match body["outcome"].as_str() {
                        Some(outcome) => format!("{kind} {outcome}"),
                        None => kind.to_owned(),
                    };
                    story.push(word);
                }
            }
        }
    }
    told
}
