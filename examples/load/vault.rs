//! A vault under load: agents with keys from one seed, so that they are registered once and found again by every run.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use clap::Args;
use nockvault::client::channel;
use nockvault::client::keyfile;
use nockvault::client::operator::Operator;
use nockvault::client::pins::Pins;
use nockvault::client::place;
use nockvault::client::signer::Identity;
use nockvault::crypto::envelope::{Envelope, PayloadType};
use nockvault::crypto::hash::Digest;
use nockvault::crypto::hpke::{SUITE, SealSecretKey, Sealed};
use nockvault::crypto::signature::{Form, SigningKey};
use nockvault::entropy::{Entropy, OsEntropy};
use nockvault::id::{AgentName, Aud, Nonce, OperatorName, RoleName, Sid};
use nockvault::seal::reply;
use nockvault::secret::Secret;
use nockvault::statement::agent::AgentRegister;
use nockvault::statement::card::Card;
use nockvault::statement::grant::{GrantCreate, Terms};
use nockvault::statement::issue::{Issue, Purpose};
use nockvault::statement::register::{Holder, Register};
use nockvault::statement::reply::Issued;
use nockvault::statement::request::{Common, Request, Seen};
use nockvault::statement::session::Seal;
use nockvault::statement::{Body, VERSION};
use nockvault::time::{Clock as _, Seconds, SystemClock, Timestamp};
use nockvault::wire::convert::{self, RefusalDetails};
use nockvault::wire::v1::agent_service_client::AgentServiceClient;
use nockvault::wire::v1::{DescribeVaultRequest, RequestCredentialRequest, SignedEnvelope};
use prost::Message as _;
use serde_json::{Map, Value, json};
use tonic::transport::Channel;

use super::measure::{Plan, Work};

/// One of so many answers is opened.
const OPENED: u64 = 16;

/// Which vault, and the seed of the agents' keys.
#[derive(Args)]
pub(crate) struct Where {
    /// The vault's card.
    #[arg(long)]
    vault: PathBuf,
    /// A file of 32 bytes or more from which the agents' keys are made; `prepare` writes it where there is none.
    #[arg(long)]
    seed: PathBuf,
}

impl Where {
    fn card(&self) -> anyhow::Result<Card> {
        Ok(place::card(Some(&self.vault))?)
    }

    pub(crate) fn seed(&self) -> anyhow::Result<Vec<u8>> {
        std::fs::read(&self.seed).with_context(|| format!("{}: run `prepare` first", self.seed.display()))
    }
}

pub(crate) fn agent(seed: &[u8], number: usize) -> (AgentName, SigningKey) {
    let own = Digest::of_parts(&[b"load\0", seed, &number.to_be_bytes()]);
    let name = format!("load-{number}").parse().expect("it is a name");
    (name, SigningKey::from_seed(&Secret::new(*own.as_bytes())))
}

fn nonce() -> Nonce {
    let entropy: &dyn Entropy = &OsEntropy;
    Nonce::from_bytes(&entropy.bytes())
}

/// What every request begins with.
pub(crate) fn common<B: Body>(aud: &Aud, agent: &AgentName, key: &SigningKey, sid: &Sid, seen: Seen, _: &B) -> Common {
    Common {
        v: VERSION,
        typ: B::TYP.to_owned(),
        aud: aud.clone(),
        agent: agent.clone(),
        kid: key.kid(),
        kver: 1,
        sid: sid.clone(),
        nonce: nonce(),
        iat: SystemClock.now(),
        seen,
    }
}

/// What `prepare` is told.
#[derive(Args)]
pub(crate) struct Prepare {
    #[command(flatten)]
    place: Where,
    /// Who commands.
    #[arg(long)]
    operator: OperatorName,
    /// That operator's key.
    #[arg(long)]
    operator_key: PathBuf,
    /// How many agents there are to be.
    #[arg(long, default_value_t = 64)]
    agents: usize,
    /// The roles that each may have.
    #[arg(long, value_delimiter = ',')]
    roles: Vec<RoleName>,
}

impl Prepare {
    pub(crate) async fn run(self) -> anyhow::Result<Value> {
        let card = self.place.card()?;
        if !self.place.seed.exists() {
            let entropy: &dyn Entropy = &OsEntropy;
            keyfile::write(&self.place.seed, &entropy.bytes::<32>(), 0o600, false)?;
        }
        let seed = self.place.seed()?;
        let key = keyfile::read_secret(&self.operator_key)?;
        let operator = Arc::new(Operator::connect(&card, Identity::held(self.operator, key, 1)).await?);
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..self.agents {
            let (name, key) = agent(&seed, number);
            let (operator, roles, aud) = (Arc::clone(&operator), self.roles.clone(), card.aud.clone());
            tasks.spawn_local(async move {
                let register = Register {
                    holder: Holder::Agent(name.clone()),
                    aud,
                    form: Form::Pae,
                    iat: SystemClock.now(),
                    kver: 1,
                    nonce: nonce(),
                    pk: key.public(),
                    prev: None,
                };
                operator.command(AgentRegister { register: register.sign(&key) }).await?;
                for role in roles {
                    operator.command(GrantCreate { agent: name.clone(), role, terms: terms() }).await?;
                }
                anyhow::Ok(())
            });
            if tasks.len() >= 16 {
                tasks.join_next().await.context("there is one")???;
            }
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(json!({ "agents": self.agents, "roles": self.roles }))
    }
}

fn terms() -> Terms {
    let (ttl, max_ttl) = (Seconds(3600), Seconds(3600));
    Terms { ttl, max_ttl, max_uses: None, until: None, session: None, from: vec![], rate: None }
}

/// What `vault` is told.
#[derive(Args)]
pub(crate) struct Load {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    plan: Plan,
    /// Where the vault is, if not where its card says: as vaultd's first line writes it.
    #[arg(long)]
    address: Option<String>,
    /// What is asked for.
    #[arg(long)]
    role: RoleName,
    /// Parameters for the role's engine, as a JSON object.
    #[arg(long, default_value = "{}")]
    params: String,
    /// How many agents ask, each in a session of its own: one a connection where it is left out, and those of a connection
    /// by turns.
    #[arg(long)]
    agents: Option<usize>,
}

impl Load {
    pub(crate) async fn run(self) -> anyhow::Result<Value> {
        let card = self.place.card()?;
        let address = self.address.unwrap_or_else(|| card.agents.clone());
        let seed = self.place.seed()?;
        let params: Map<String, Value> = serde_json::from_str(&self.params).context("--params is no JSON object")?;
        let about = Rc::new(About { pins: pins(&card, &address).await?, card, role: self.role, params });
        let (count, agents) = (self.plan.sessions, self.agents.unwrap_or(self.plan.sessions));
        let mut connections = Vec::new();
        for number in 0..count {
            let channel = channel::open(&address, about.card.ca.as_deref()).await?;
            // With fewer agents than connections, several connections are one agent's.
            let sessions = (number % agents..agents.max(number % agents + 1)).step_by(count).map(|number| {
                let (name, key) = agent(&seed, number);
                Session::new(Rc::clone(&about), name, key, channel.clone())
            });
            connections.push(Connection { sessions: sessions.collect(), turn: 0 });
        }
        let first = connections.first_mut().context("--sessions 0")?.next();
        let (request, reply) = first.sizes().await.map_err(|why| anyhow!(why))?;
        let mut figures = self.plan.drive(connections).await;
        figures["request_bytes"] = request.into();
        figures["reply_bytes"] = reply.into();
        Ok(figures)
    }
}

/// The vault's own keys, from a challenge of its identity.
async fn pins(card: &Card, address: &str) -> anyhow::Result<Pins> {
    let entropy: &dyn Entropy = &OsEntropy;
    let challenge: [u8; 32] = entropy.bytes();
    let mut client = AgentServiceClient::new(channel::open(address, card.ca.as_deref()).await?);
    let reply = client.describe_vault(DescribeVaultRequest { challenge: challenge.to_vec() }).await?.into_inner();
    Ok(Pins::check(card, &challenge, &convert::envelope(reply.signed)?, Timestamp::ZERO, None)?)
}

/// What all sessions share.
struct About {
    card: Card,
    pins: Pins,
    role: RoleName,
    params: Map<String, Value>,
}

/// A session of an agent of its own.
struct Session {
    about: Rc<About>,
    name: AgentName,
    key: SigningKey,
    sid: Sid,
    seal: SealSecretKey,
    seen: Seen,
    client: AgentServiceClient<Channel>,
    asked: u64,
}

impl Session {
    fn new(about: Rc<About>, name: AgentName, key: SigningKey, channel: Channel) -> Session {
        let entropy: &dyn Entropy = &OsEntropy;
        let sid = format!("load-{}", keyfile::hex(&entropy.bytes::<8>())).parse().expect("it is a sid");
        let seal = SealSecretKey::generate(entropy);
        let client = AgentServiceClient::new(channel);
        Session { about, name, key, sid, seal, seen: Seen::NONE, client, asked: 0 }
    }

    fn request(&self) -> Envelope {
        let body = Issue {
            role: self.about.role.clone(),
            ttl: Seconds(0),
            params: self.about.params.clone(),
            purpose: Purpose::default(),
            seal: Seal { pk: self.seal.public().into(), suite: SUITE.to_owned(), sig_pk: None },
        };
        let common = common(&self.about.card.aud, &self.name, &self.key, &self.sid, self.seen, &body);
        Envelope::sign(PayloadType::Request, &Request { common, body }, &self.key, Form::Pae)
    }

    async fn ask(&mut self) -> Result<(Envelope, Envelope), String> {
        let request = self.request();
        let signed: Option<SignedEnvelope> = Some(request.clone().into());
        let answered = self.client.request_credential(RequestCredentialRequest { signed }).await;
        let reply = answered.map_err(|status| match RefusalDetails::from_status(&status) {
            Some(details) => format!("refused: {} ({})", details.reason, status.message()),
            None => status.to_string(),
        })?;
        Ok((request, convert::envelope(reply.into_inner().signed).map_err(|why| why.to_string())?))
    }

    fn check(&mut self, request: &Envelope, reply: &Envelope) -> Result<(), String> {
        let issued: Issued = self.about.pins.read(reply, SystemClock.now()).map_err(|why| why.to_string())?;
        if issued.hdr.req != request.digest() || issued.hdr.sid != self.sid {
            return Err("the answer is to another request".to_owned());
        }
        self.seen = issued.entry.seen();
        self.asked += 1;
        if self.asked % OPENED == 1 {
            let enc = issued.enc.0.try_into().map_err(|_| "the seal has another length".to_owned())?;
            let sealed = Sealed { enc, ct: issued.ct.0 };
            reply::open(&self.seal, &issued.hdr, &sealed).map_err(|_| "the seal does not open".to_owned())?;
        }
        Ok(())
    }

    /// Asks once. Gives how many bytes went each way, as protobuf.
    async fn sizes(&mut self) -> Result<(usize, usize), String> {
        let (request, reply) = self.ask().await?;
        self.check(&request, &reply)?;
        let size = |envelope: Envelope| {
            let signed = Some(SignedEnvelope::from(envelope));
            RequestCredentialRequest { signed }.encoded_len()
        };
        Ok((size(request), size(reply)))
    }
}

/// A connection, and the sessions that ask over it by turns.
struct Connection {
    sessions: Vec<Session>,
    turn: usize,
}

impl Connection {
    fn next(&mut self) -> &mut Session {
        self.turn = (self.turn + 1) % self.sessions.len();
        &mut self.sessions[self.turn]
    }
}

impl Work for Connection {
    async fn once(&mut self) -> Result<(), String> {
        let session = self.next();
        let (request, reply) = session.ask().await?;
        session.check(&request, &reply)
    }
}
