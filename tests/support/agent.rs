//! An agent: its key, its session, what it has seen of its own chain, and the requests it signs.

use nockvault::authz::Peer;
use nockvault::crypto::envelope::{Envelope, PayloadType};
use nockvault::crypto::hpke::{SUITE, SealSecretKey, Sealed};
use nockvault::crypto::json::canonical;
use nockvault::crypto::signature::{Form, SigningKey};
use nockvault::denial::Reason;
use nockvault::entropy::OsEntropy;
use nockvault::id::{AgentName, Aud, Kid, LeaseId, Sid};
use nockvault::seal::reply as seal;
use nockvault::statement::Body;
use nockvault::statement::issue::Issue;
use nockvault::statement::lease::{Release, Renew};
use nockvault::statement::register::{Holder, Register};
use nockvault::statement::reply::{Closed, EntryRef, Issued, Opened, Released, Renewed, Rotated};
use nockvault::statement::request::{Common, Request, Seen};
use nockvault::statement::rotate_key::RotateKey;
use nockvault::statement::session::{Close, Hello, Seal};
use nockvault::time::{Clock, ManualClock, Seconds};
use nockvault::vault::answer::Outcome;
use serde_json::{Map, Value};

use super::{HERE, Harness, Refusal, new_key, nonce};

/// What an agent can call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rpc {
    OpenSession,
    RequestCredential,
    RenewLease,
    ReleaseLease,
    CloseSession,
    RotateKey,
}

impl Rpc {
    /// Every call.
    pub const ALL: [Rpc; 6] = [
        Rpc::OpenSession,
        Rpc::RequestCredential,
        Rpc::RenewLease,
        Rpc::ReleaseLease,
        Rpc::CloseSession,
        Rpc::RotateKey,
    ];

    /// The call that takes requests of this `typ`.
    pub fn of(typ: &str) -> Rpc {
        match typ {
            Hello::TYP => Rpc::OpenSession,
            Issue::TYP => Rpc::RequestCredential,
            Renew::TYP => Rpc::RenewLease,
            Release::TYP => Rpc::ReleaseLease,
            Close::TYP => Rpc::CloseSession,
            RotateKey::TYP => Rpc::RotateKey,
            other => panic!("no call takes {other}"),
        }
    }
}

impl Harness {
    /// Gives an envelope to one of the calls.
    pub async fn send(&self, rpc: Rpc, envelope: Envelope) -> Outcome {
        self.send_from(rpc, envelope, HERE).await
    }

    /// The same, from somewhere else.
    pub async fn send_from(&self, rpc: Rpc, envelope: Envelope, peer: Peer) -> Outcome {
        let vault = self.vault();
        match rpc {
            Rpc::OpenSession => vault.open_session(envelope).await,
            Rpc::RequestCredential => vault.issue(envelope, peer).await,
            Rpc::RenewLease => vault.renew(envelope, peer).await,
            Rpc::ReleaseLease => vault.release(envelope).await,
            Rpc::CloseSession => vault.close(envelope).await,
            Rpc::RotateKey => vault.rotate_key(envelope).await,
        }
    }

    /// Sends what should be refused.
    pub async fn refusal(&self, rpc: Rpc, envelope: Envelope) -> Refusal {
        let req = envelope.digest();
        self.refused(self.send(rpc, envelope).await, req)
    }

    /// Sends a request for a credential that should be refused, and says why it was.
    pub async fn refuses(&self, envelope: &Envelope) -> Reason {
        self.refusal(Rpc::RequestCredential, envelope.clone()).await.reason
    }

    /// Sends a request for a credential that should be granted.
    pub async fn issued(&self, envelope: &Envelope) -> Issued {
        let outcome = self.send(Rpc::RequestCredential, envelope.clone()).await;
        self.released(outcome, envelope.digest())
    }
}

/// The agent.
pub struct Agent {
    pub name: AgentName,
    pub key: SigningKey,
    pub kver: u64,
    pub form: Form,
    pub prev: Option<Kid>,
    pub sid: Sid,
    pub seal: SealSecretKey,
    pub seen: Seen,
    pub aud: Aud,
    pub clock: ManualClock,
}

impl Agent {
    /// An agent that nobody has registered yet, in a new session `work`.
    pub fn new(name: &str, key: SigningKey, form: Form, aud: &Aud, clock: &ManualClock) -> Agent {
        Agent {
            name: name.parse().unwrap(),
            key,
            kver: 1,
            form,
            prev: None,
            sid: "work".parse().unwrap(),
            seal: SealSecretKey::generate(&OsEntropy),
            seen: Seen::NONE,
            aud: aud.clone(),
            clock: clock.clone(),
        }
    }

    /// The statement that proves its key.
    pub fn register_statement(&self) -> Register {
        Register {
            holder: Holder::Agent(self.name.clone()),
            aud: self.aud.clone(),
            form: self.form,
            iat: self.clock.now(),
            kver: self.kver,
            nonce: nonce(),
            pk: self.key.public(),
            prev: self.prev.clone(),
        }
    }

    /// Begins another session, with another key.
    pub fn new_session(&mut self, sid: &str) {
        self.sid = sid.parse().unwrap();
        self.seal = SealSecretKey::generate(&OsEntropy);
    }

    /// Another hand of the same agent, which has seen nothing.
    pub fn again(&self) -> Agent {
        let (name, key) = (self.name.as_str(), copy(&self.key));
        Agent { kver: self.kver, prev: self.prev.clone(), ..Agent::new(name, key, self.form, &self.aud, &self.clock) }
    }

    // --- what it signs

    /// The session's public side.
    pub fn seal_statement(&self) -> Seal {
        Seal { pk: self.seal.public().into(), suite: SUITE.to_owned(), sig_pk: None }
    }

    /// A request, as it stands before it is signed.
    pub fn request<B: Body>(&self, body: B) -> Request<B> {
        let common = Common {
            v: 1,
            typ: B::TYP.to_owned(),
            aud: self.aud.clone(),
            agent: self.name.clone(),
            kid: self.key.kid(),
            kver: self.kver,
            sid: self.sid.clone(),
            nonce: nonce(),
            iat: self.clock.now(),
            seen: self.seen,
        };
        Request { common, body }
    }

    /// What a request for this role says besides.
    pub fn issue_body(&self, role: &str) -> Issue {
        Issue {
            role: role.parse().unwrap(),
            ttl: Seconds(0),
            params: Map::new(),
            purpose: "a test".to_owned().try_into().unwrap(),
            seal: self.seal_statement(),
        }
    }

    /// Signs these bytes as a request.
    pub fn sign_bytes(&self, payload: Vec<u8>) -> Envelope {
        let t = PayloadType::Request.as_str();
        let signature = self.key.sign(self.form, t, &payload);
        Envelope { payload_type: t.to_owned(), payload, signature, kid: self.key.kid().to_string() }
    }

    /// Signs the canonical form of a request or of any JSON.
    pub fn sign<T: serde::Serialize + ?Sized>(&self, statement: &T) -> Envelope {
        self.sign_bytes(canonical(statement))
    }

    /// A signed request of this body.
    pub fn signed<B: Body>(&self, body: B) -> Envelope {
        self.sign(&self.request(body))
    }

    /// A signed request for this role.
    pub fn issue(&self, role: &str) -> Envelope {
        self.signed(self.issue_body(role))
    }

    /// The same as JSON, to be changed and signed.
    pub fn issue_value(&self, role: &str) -> Value {
        serde_json::to_value(self.request(self.issue_body(role))).unwrap()
    }

    // --- what it gets

    /// Remembers an entry of its chain.
    pub fn keep(&mut self, entry: EntryRef) {
        if entry.seq + 1 > self.seen.size {
            self.seen = entry.seen();
        }
    }

    /// Opens a session.
    pub async fn hello(&mut self, vault: &Harness) -> Opened {
        let envelope = self.signed(Hello { seal: self.seal_statement() });
        let opened: Opened = vault.released(vault.send(Rpc::OpenSession, envelope.clone()).await, envelope.digest());
        self.keep(opened.entry);
        opened
    }

    /// Gets a credential.
    pub async fn get(&mut self, vault: &Harness, role: &str) -> Issued {
        let issued = vault.issued(&self.issue(role)).await;
        self.keep(issued.entry);
        issued
    }

    /// Renews a lease.
    pub async fn renew(&mut self, vault: &Harness, lease: &LeaseId, ttl: u64) -> Renewed {
        let envelope = self.signed(Renew { lease: lease.clone(), ttl: Seconds(ttl) });
        let renewed: Renewed = vault.released(vault.send(Rpc::RenewLease, envelope.clone()).await, envelope.digest());
        self.keep(renewed.entry);
        renewed
    }

    /// Gives a lease back.
    pub async fn release(&mut self, vault: &Harness, lease: &LeaseId) -> Released {
        let envelope = self.signed(Release::Lease(lease.clone()));
        let released: Released =
            vault.released(vault.send(Rpc::ReleaseLease, envelope.clone()).await, envelope.digest());
        self.keep(released.entry);
        released
    }

    /// Closes its session.
    pub async fn close(&mut self, vault: &Harness) -> Closed {
        let envelope = self.signed(Close {});
        let closed: Closed = vault.released(vault.send(Rpc::CloseSession, envelope.clone()).await, envelope.digest());
        self.keep(closed.entry);
        closed
    }

    /// The request that puts `next` in the place of its key.
    pub fn rotation(&self, next: &SigningKey) -> RotateKey {
        let register = Register {
            kver: self.kver + 1,
            prev: Some(self.key.kid()),
            pk: next.public(),
            ..self.register_statement()
        };
        RotateKey { new: register.sign(next) }
    }

    /// Goes over to a new key. Gives the old one.
    pub async fn rotate(&mut self, vault: &Harness) -> (SigningKey, Rotated) {
        let next = new_key();
        let envelope = self.signed(self.rotation(&next));
        let rotated: Rotated = vault.released(vault.send(Rpc::RotateKey, envelope.clone()).await, envelope.digest());
        self.keep(rotated.entry);
        self.prev = Some(self.key.kid());
        self.kver += 1;
        (std::mem::replace(&mut self.key, next), rotated)
    }

    /// The secret inside a credential.
    pub fn open(&self, issued: &Issued) -> Value {
        let sealed = Sealed { enc: issued.enc.0.as_slice().try_into().unwrap(), ct: issued.ct.0.clone() };
        let secret = seal::open(&self.seal, &issued.hdr, &sealed).unwrap();
        serde_json::from_slice(secret.expose()).unwrap()
    }
}

/// The same key once more; keys are not cloned but on purpose.
pub fn copy(key: &SigningKey) -> SigningKey {
    SigningKey::from_seed(&key.seed())
}
