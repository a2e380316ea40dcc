//! A vault in memory, as far as its chains go: an agent `kit`, an operator, an audit key, and the entries that they
//! cause, made with the same functions that the vault makes them with.

use nockvault::audit::chain::{AuditKey, Head, append};
use nockvault::audit::entry::{self, Body, By};
use nockvault::audit::verify::Pins;
use nockvault::base64url::Bytes;
use nockvault::crypto::envelope::{Embedded, Envelope, PayloadType, pae};
use nockvault::crypto::hash::{Digest, leaf};
use nockvault::crypto::hpke::{SUITE, SealSecretKey};
use nockvault::crypto::json::canonical;
use nockvault::crypto::signature::{Form, SigningKey};
use nockvault::entropy::{Entropy, SeededEntropy};
use nockvault::id::{Aud, ChainName, LeaseId, Nonce, SetId};
use nockvault::statement::agent::{AgentKeyEnd, AgentRegister};
use nockvault::statement::command::{Command, Set};
use nockvault::statement::grant::{GrantCreate, GrantRevoke, Terms};
use nockvault::statement::issue::{Issue, Purpose};
use nockvault::statement::lease::{LeaseRevoke, Release, Renew, Scope};
use nockvault::statement::register::{Holder, Register};
use nockvault::statement::reply::{EntryRef, Hdr, Revocation};
use nockvault::statement::request::{Common, Request};
use nockvault::statement::rotate_key::RotateKey;
use nockvault::statement::session::{Close, Hello, Seal};
use nockvault::statement::{self, VERSION};
use nockvault::time::{Seconds, Timestamp};
use serde_json::Value;

/// When everything begins.
pub(crate) const START: Timestamp = Timestamp(1_780_500_000_000);
/// How long an audit key is good.
pub(crate) const EPOCH: Seconds = Seconds(86_400);
/// The life that the tests ask for.
pub(crate) const TTL: Seconds = Seconds(600);

/// A chain that is being written.
pub(crate) struct Chain {
    pub(crate) head: Head,
    pub(crate) lines: Vec<Vec<u8>>,
}

impl Chain {
    fn new(name: &ChainName) -> Chain {
        Chain { head: Head::empty(&"prod".parse().unwrap(), name), lines: Vec::new() }
    }

    pub(crate) fn put(&mut self, key: &AuditKey, body: &Body, now: Timestamp) -> EntryRef {
        let (line, head) = append(&self.head, key, body, now).unwrap();
        self.lines.push(line);
        self.head = head;
        self.head.entry().unwrap()
    }

    /// The file.
    pub(crate) fn file(&self) -> Vec<u8> {
        file(&self.lines)
    }
}

pub(crate) fn file(lines: &[Vec<u8>]) -> Vec<u8> {
    lines.iter().flat_map(|line| line.iter().copied().chain([b'\n'])).collect()
}

pub(crate) struct World {
    pub(crate) entropy: SeededEntropy,
    pub(crate) identity: SigningKey,
    pub(crate) aud: Aud,
    pub(crate) now: Timestamp,
    pub(crate) epoch: u64,
    pub(crate) audit: AuditKey,
    /// The same key as `audit`, for whoever stole it.
    pub(crate) stolen: SigningKey,
    pub(crate) operator: SigningKey,
    pub(crate) agent: SigningKey,
    pub(crate) kver: u64,
    pub(crate) seal: Seal,
    pub(crate) sid: &'static str,
    pub(crate) kit: Chain,
    pub(crate) operators: Chain,
    /// The entry of the grant in force.
    pub(crate) grant: u64,
}

pub(crate) fn copy(key: &SigningKey) -> SigningKey {
    SigningKey::from_seed(&key.seed())
}

impl World {
    /// A vault with an operator and the registered agent `kit`.
    pub(crate) fn new(seed: u64) -> World {
        let entropy = SeededEntropy::new(seed);
        let key = || SigningKey::generate(&entropy);
        let (identity, operator, agent, stolen) = (key(), key(), key(), key());
        let aud = Aud::of_identity(&identity.kid());
        let audit = AuditKey::certify(copy(&stolen), &identity, &aud, "n1", 1, START, START.plus(EPOCH));
        let seal = SealSecretKey::generate(&entropy).public();
        let mut world = World {
            seal: Seal { pk: seal.into(), suite: SUITE.into(), sig_pk: None },
            kit: Chain::new(&"kit".parse().unwrap()),
            operators: Chain::new(&ChainName::operators()),
            now: START,
            epoch: 1,
            kver: 1,
            sid: "nightly-7",
            grant: 0,
            entropy,
            identity,
            aud,
            audit,
            stolen,
            operator,
            agent,
        };
        world.found();
        world
    }

    fn found(&mut self) {
        let operator = Holder::Operator("ada".parse().unwrap());
        let genesis = entry::OperatorsGenesis {
            identity: self.identity_bytes(),
            operator: "ada".parse().unwrap(),
            register: self.register(operator, &copy(&self.operator), None),
            salt: self.salt(),
        };
        self.operators.put(&self.audit, &genesis.into(), self.now);
        let register = self.register(kit(), &copy(&self.agent), None);
        let by = self.command(AgentRegister { register: register.clone() });
        let genesis = entry::Genesis {
            agent: "kit".parse().unwrap(),
            by,
            identity: self.identity_bytes(),
            register,
            salt: self.salt(),
        };
        self.put(genesis);
    }

    /// `kit` with a grant, a session and a live lease.
    pub(crate) fn at_work(seed: u64) -> World {
        let mut world = World::new(seed);
        world.give(terms());
        world.hello();
        world.obtain();
        world
    }

    /// Everything that can happen, once: thirty entries and more.
    pub(crate) fn whole(seed: u64) -> World {
        let mut world = World::at_work(seed);
        let first = world.lease();
        world.renew(&first, TTL);
        let denied = world.ask(Renew { lease: LeaseId::new(5, [5; 10]), ttl: TTL });
        world.put(entry::Deny { handle: None, lease: None, reason: "lease_unknown".into(), request: denied });
        world.rotate(Some(world.now.plus(Seconds(60))));
        world.vouch();
        world.release(&first);
        world.obtain();
        let revoked = world.lease();
        let by = world.command(LeaseRevoke { reason: None, scope: Scope::Lease(revoked.clone()) });
        world.put(entry::Revoke { by, lease: revoked, outcome: "none".into() });
        world.new_epoch();
        world.obtain();
        let undelivered = world.lease();
        world.put(entry::Undelivered { lease: undelivered, outcome: "none".into() });
        world.obtain();
        let expired = world.lease();
        world.now = world.now.plus(TTL);
        world.put(entry::Expire { lease: expired, outcome: "none".into() });
        world.obtain();
        world.close();
        world.vouch();
        let counts = [("no_grant".to_owned(), 4)].into();
        world.put(entry::DenySummary { counts, from: world.now, to: world.now });
        world.replace_lost_key();
        world.sid = "nightly-8";
        world.hello();
        world.obtain();
        let with_its_session = world.lease();
        world.put(entry::SessionEnd { by: None, reason: "idle".into(), sid: "nightly-8".parse().unwrap() });
        world.put(entry::Expire { lease: with_its_session, outcome: "none".into() });
        world.sid = "nightly-10";
        world.at_backends();
        world.vouch();
        world.ungrant();
        world
    }

    /// The vault signs a checkpoint of all that stands there.
    pub(crate) fn vouch(&mut self) {
        let checkpoint = crate::checkpoints::next(self);
        self.put(checkpoint);
    }

    pub(crate) fn identity_bytes(&self) -> Bytes {
        Bytes(self.identity.public().to_bytes().to_vec())
    }

    pub(crate) fn salt(&self) -> Bytes {
        Bytes(self.random::<16>().to_vec())
    }

    pub(crate) fn nonce(&self) -> Nonce {
        Nonce::from_bytes(&self.random())
    }

    fn random<const N: usize>(&self) -> [u8; N] {
        let entropy: &dyn Entropy = &self.entropy;
        entropy.bytes()
    }

    pub(crate) fn put(&mut self, body: impl Into<Body>) -> EntryRef {
        self.now = self.now.plus(Seconds(1));
        self.kit.put(&self.audit, &body.into(), self.now)
    }

    /// What the reader knows who pinned the vault's identity.
    pub(crate) fn pins(&self) -> Pins {
        Pins { identity: Some(self.identity.public()), ..Pins::default() }
    }

    pub(crate) fn register(&self, holder: Holder, key: &SigningKey, follows: Option<(&SigningKey, u64)>) -> Embedded {
        let register = Register {
            holder,
            aud: self.aud.clone(),
            form: Form::Pae,
            iat: self.now,
            kver: follows.map_or(1, |(_, kver)| kver + 1),
            nonce: self.nonce(),
            pk: key.public(),
            prev: follows.map(|(key, _)| key.kid()),
        };
        register.sign(key)
    }

    /// An operator's command, chained, and the reference to it.
    pub(crate) fn command<B: statement::Body>(&mut self, body: B) -> By {
        let entry = self.signed_command(&body);
        self.order(entry::Command::carried(entry, serde_json::Map::new()))
    }

    /// A command of this `typ` that says nothing more, chained.
    pub(crate) fn command_of(&mut self, typ: &str) -> By {
        let entry = self.signed_as(typ, &serde_json::json!({}));
        self.order(entry::Command::carried(entry, serde_json::Map::new()))
    }

    pub(crate) fn signed_command<B: statement::Body>(&self, body: &B) -> Embedded {
        self.signed_as(B::TYP, body)
    }

    fn signed_as<B: serde::Serialize + Clone>(&self, typ: &str, body: &B) -> Embedded {
        let command = Command {
            v: VERSION,
            typ: typ.into(),
            aud: self.aud.clone(),
            operator: "ada".parse().unwrap(),
            kid: self.operator.kid(),
            kver: 1,
            nonce: self.nonce(),
            iat: self.now,
            body: body.clone(),
            // Grants are given as parts of sets; the others stand for themselves.
            set: (typ == <GrantCreate as statement::Body>::TYP).then(|| Set {
                id: SetId::from_bytes(&[7; 16]),
                of: 3,
                part: 2,
            }),
        };
        Envelope::sign(PayloadType::Command, &command, &self.operator, Form::Pae).embed().unwrap()
    }

    pub(crate) fn order(&mut self, command: entry::Command) -> By {
        let EntryRef { leaf, seq } = self.operators.put(&self.audit, &command.into(), self.now);
        By { chain: ChainName::operators(), leaf, seq }
    }

    pub(crate) fn give(&mut self, terms: Terms) {
        let role: nockvault::id::RoleName = "orders-read".parse().unwrap();
        let body = GrantCreate { agent: "kit".parse().unwrap(), role: role.clone(), terms: terms.clone() };
        let by = self.command(body);
        self.grant = self.put(entry::Grant { by, role, terms }).seq;
    }

    pub(crate) fn ungrant(&mut self) {
        let role: nockvault::id::RoleName = "orders-read".parse().unwrap();
        let by = self.command(GrantRevoke { agent: "kit".parse().unwrap(), role: role.clone() });
        self.put(entry::Ungrant { by, grant: self.grant, role });
    }

    pub(crate) fn common(&self, typ: &str) -> Common {
        Common {
            v: VERSION,
            typ: typ.into(),
            aud: self.aud.clone(),
            agent: "kit".parse().unwrap(),
            kid: self.agent.kid(),
            kver: self.kver,
            sid: self.sid.parse().unwrap(),
            nonce: self.nonce(),
            iat: self.now,
            seen: self.kit.head.seen(),
        }
    }

    /// A request of the agent, with its common members changed before it is signed.
    pub(crate) fn ask_as<B: statement::Body>(&self, body: B, change: impl FnOnce(&mut Common)) -> Embedded {
        let mut common = self.common(B::TYP);
        change(&mut common);
        self.sign(&Request { common, body })
    }

    pub(crate) fn ask<B: statement::Body>(&self, body: B) -> Embedded {
        self.ask_as(body, |_| {})
    }

    fn sign<B: statement::Body>(&self, request: &Request<B>) -> Embedded {
        Envelope::sign(PayloadType::Request, request, &self.agent, Form::Pae).embed().unwrap()
    }

    pub(crate) fn hello(&mut self) {
        let request = self.ask(Hello { seal: self.seal.clone() });
        self.put(entry::Session { request });
    }

    pub(crate) fn wish(&self) -> Issue {
        Issue {
            role: "orders-read".parse().unwrap(),
            ttl: TTL,
            params: serde_json::Map::new(),
            purpose: Purpose::default(),
            seal: self.seal.clone(),
        }
    }

    /// The entry of an issuance that answers `request`.
    pub(crate) fn issue(&self, request: Embedded) -> entry::Issue {
        let hdr = Hdr {
            agent: "kit".parse().unwrap(),
            exp: self.now.plus(TTL),
            iat: self.now,
            kid: self.agent.kid(),
            lease: LeaseId::new(self.now.0, self.random()),
            renewable: true,
            revocation: Revocation::None,
            req: request.open(PayloadType::Request).digest(),
            role: "orders-read".parse().unwrap(),
            sid: self.sid.parse().unwrap(),
            vault: self.aud.clone(),
        };
        let handle = nockvault::id::handle(&hdr.agent, &hdr.lease);
        entry::Issue { grant: self.grant, handle, hdr, request, sealed: Digest::of(&self.random::<32>()) }
    }

    /// The next issuance, as it is right.
    pub(crate) fn next_issue(&self) -> entry::Issue {
        self.issue(self.ask(self.wish()))
    }

    pub(crate) fn obtain(&mut self) -> EntryRef {
        let issue = self.next_issue();
        self.put(issue)
    }

    /// The lease that was issued last.
    pub(crate) fn lease(&self) -> LeaseId {
        self.last_issue().hdr.lease
    }

    pub(crate) fn last_issue(&self) -> entry::Issue {
        let issue = self.kit.lines.iter().rev().find_map(|line| match entry::Entry::read(line).unwrap().body {
            Body::Issue(issue) => Some(issue),
            _ => None,
        });
        issue.expect("something was issued")
    }

    pub(crate) fn renew(&mut self, lease: &LeaseId, ttl: Seconds) {
        let request = self.ask(Renew { lease: lease.clone(), ttl });
        self.put(entry::Renew { exp: self.now.plus(ttl), lease: lease.clone(), request });
    }

    pub(crate) fn release(&mut self, lease: &LeaseId) {
        let request = self.ask(Release::Lease(lease.clone()));
        self.put(entry::Release { lease: lease.clone(), request });
    }

    /// The agent closes its session.
    pub(crate) fn close(&mut self) {
        let request = self.ask(Close {});
        self.put(entry::Close { request });
    }

    /// The agent puts its next key in place.
    pub(crate) fn rotate(&mut self, grace: Option<Timestamp>) {
        let next = SigningKey::generate(&self.entropy);
        let register = self.register(kit(), &next, Some((&copy(&self.agent), self.kver)));
        let request = self.ask(RotateKey { new: register.clone() });
        self.put(entry::AgentKey { by: None, grace, register, request: Some(request) });
        (self.agent, self.kver) = (next, self.kver + 1);
    }

    /// An operator ends the agent's key and registers its successor.
    pub(crate) fn replace_lost_key(&mut self) {
        self.end_key();
        let next = SigningKey::generate(&self.entropy);
        let register = self.register(kit(), &next, Some((&copy(&self.agent), self.kver)));
        let by = Some(self.command(AgentRegister { register: register.clone() }));
        self.put(entry::AgentKey { by, grace: None, register, request: None });
        (self.agent, self.kver) = (next, self.kver + 1);
    }

    pub(crate) fn end_key(&mut self) {
        let (kid, suspect_from) = (self.agent.kid(), Some(START));
        let by = self.command(AgentKeyEnd { agent: "kit".parse().unwrap(), kid: Some(kid.clone()), suspect_from });
        self.put(entry::AgentKeyEnd { by, kid, suspect_from });
    }

    /// A new audit key takes over.
    pub(crate) fn new_epoch(&mut self) {
        self.epoch += 1;
        self.stolen = SigningKey::generate(&self.entropy);
        self.audit = self.audit_key(copy(&self.stolen), self.now, self.now.plus(EPOCH));
    }

    pub(crate) fn audit_key(&self, key: SigningKey, nbf: Timestamp, exp: Timestamp) -> AuditKey {
        AuditKey::certify(key, &self.identity, &self.aud, "n1", self.epoch, nbf, exp)
    }

    /// Changes the newest entry and signs it again with `key`, as one could who holds that key.
    pub(crate) fn rewrite(&mut self, key: &SigningKey, change: impl FnOnce(&mut Value)) {
        let line = self.kit.lines.last_mut().unwrap();
        let mut value: Value = serde_json::from_slice(line).unwrap();
        change(&mut value);
        *line = signed(value, key);
        self.kit.head.leaf = leaf(line);
    }
}

/// An entry, signed anew.
pub(crate) fn signed(mut entry: Value, key: &SigningKey) -> Vec<u8> {
    entry.as_object_mut().unwrap().remove("sig");
    let sig = key.sign_raw(&pae(PayloadType::Audit.as_str(), &canonical(&entry)));
    entry["sig"] = serde_json::to_value(sig).unwrap();
    canonical(&entry)
}

pub(crate) fn kit() -> Holder {
    Holder::Agent("kit".parse().unwrap())
}

pub(crate) fn terms() -> Terms {
    Terms {
        ttl: TTL,
        max_ttl: Seconds(3600),
        max_uses: Some(50),
        until: Some(START.plus(Seconds(30 * 86_400))),
        session: Some("nightly-*".parse().unwrap()),
        from: Vec::new(),
        rate: None,
    }
}
