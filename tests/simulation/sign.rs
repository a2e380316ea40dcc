//! What agents and the operator sign: a step of the run becomes an envelope, and beside it what the model is told of it.

use std::collections::BTreeMap;

use nockvault::crypto::envelope::{Envelope, PayloadType};
use nockvault::crypto::hash::Digest;
use nockvault::crypto::hpke::{SUITE, SealSecretKey};
use nockvault::crypto::signature::{Form, SigningKey};
use nockvault::id::{AgentName, Aud, Kid, LeaseId, Nonce, RoleName, Sid};
use nockvault::statement::Body;
use nockvault::statement::agent::{AgentFreeze, AgentKeyEnd, AgentRegister, AgentThaw};
use nockvault::statement::freeze::{RoleFreeze, RoleThaw, VaultFreeze, VaultThaw};
use nockvault::statement::grant::{GrantCreate, GrantRevoke};
use nockvault::statement::issue::{Issue, Purpose};
use nockvault::statement::lease::{LeaseForget, LeaseRevoke, Release, Renew, Scope};
use nockvault::statement::register::Holder;
use nockvault::statement::request::{Common, Request, Seen};
use nockvault::statement::rotate_key::RotateKey;
use nockvault::statement::session::{Close, Hello, Seal};
use nockvault::time::{Seconds, Timestamp};
use nockvault::vault::operate::Call;
use serde_json::Map;

use super::model::{self, Effect, What};
use super::ops::{AGENTS, Ask, In, Order, ROLES, Slant, Wish};
use super::template::{self, NAMES, TEMPLATE};
use super::world::{Said, Sent, World};

/// A call of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rpc {
    OpenSession,
    Issue,
    Renew,
    Release,
    Close,
    RotateKey,
}

/// What an agent has at hand.
pub struct Hand {
    /// Its session, and the newest that it ever had.
    pub sid: u64,
    top: u64,
    pub seen: Seen,
    /// The keys of its sessions; under 1 a second one, which is the wrong one.
    pub seals: BTreeMap<(u64, u64), SealSecretKey>,
}

impl Default for Hand {
    fn default() -> Hand {
        Hand { sid: 1, top: 1, seen: Seen::NONE, seals: BTreeMap::new() }
    }
}

fn purpose() -> Purpose {
    "a run".to_owned().try_into().unwrap()
}

fn nonce_of(number: u64) -> Nonce {
    let mut bytes = [0x5a; 24];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Nonce::from_bytes(&bytes)
}

fn agent_name(agent: usize) -> AgentName {
    NAMES[agent].parse().unwrap()
}

fn role_name(role: usize) -> RoleName {
    ROLES[role].parse().unwrap()
}

fn sid_name(sid: u64) -> Sid {
    format!("work{sid}").parse().unwrap()
}

/// What stands in a request beside its body.
struct Frame {
    common: Common,
    key: SigningKey,
    /// Another key that signs in its name.
    forger: Option<SigningKey>,
}

impl Frame {
    fn sign<B: Body>(&self, body: B) -> Envelope {
        let common = Common { typ: B::TYP.to_owned(), ..self.common.clone() };
        let request = Request { common, body };
        let signer = self.forger.as_ref().unwrap_or(&self.key);
        let envelope = Envelope::sign(PayloadType::Request, &request, signer, Form::Pae);
        Envelope { kid: self.key.kid().to_string(), ..envelope }
    }
}

impl World {
    fn copy_of(key: &SigningKey) -> SigningKey {
        SigningKey::from_seed(&key.seed())
    }

    /// One of the keys that an agent has registered.
    fn key(&self, agent: usize, key: usize) -> SigningKey {
        let from = self.model.agents[agent].keys[key].from;
        World::copy_of(if from == 0 { &TEMPLATE.agents[agent] } else { &self.made[&from] })
    }

    /// A key for the next statement to bring.
    fn new_key(&mut self, number: u64) -> SigningKey {
        let key = SigningKey::generate(&*self.entropy);
        self.made.insert(number, World::copy_of(&key));
        key
    }

    fn number(&self) -> u64 {
        self.sent.len() as u64 + 1
    }

    fn seal(&mut self, agent: usize, sid: u64, which: u64) -> Seal {
        let entropy = self.entropy.clone();
        let key = self.hands[agent].seals.entry((sid, which)).or_insert_with(|| SealSecretKey::generate(&*entropy));
        Seal { pk: key.public().into(), suite: SUITE.to_owned(), sig_pk: None }
    }

    fn enter(&mut self, agent: usize, session: In) -> u64 {
        let hand = &mut self.hands[agent];
        match session {
            In::Same => {}
            In::New => {
                hand.top += 1;
                hand.sid = hand.top;
            }
            In::Former => return hand.sid.saturating_sub(1).max(1),
        }
        hand.sid
    }

    /// The lease that an agent asked for so many requests ago; 0 where there is none.
    fn lease_of(&self, agent: usize, ago: usize) -> u64 {
        let own = self.model.leases.iter().rev().filter(|(_, lease)| lease.agent == agent);
        own.map(|(number, _)| *number).nth(ago).unwrap_or_default()
    }

    /// As the vault names it.
    fn id_of(&self, number: u64) -> LeaseId {
        self.ids.get(&number).cloned().unwrap_or_else(|| LeaseId::new(1, [9; 10]))
    }

    pub fn handle_of(&self, number: u64) -> Option<String> {
        let lease = self.model.leases.get(&number)?;
        Some(nockvault::id::handle(&agent_name(lease.agent), self.ids.get(&number)?))
    }

    pub fn sign_request(&mut self, wish: &Wish, nonce: Option<u64>) -> Sent {
        let Wish { agent, slant, .. } = *wish;
        let (number, newest) = (self.number(), self.model.agents[agent].keys.len() - 1);
        let sid = self.enter(agent, wish.session);
        let index = match slant {
            Slant::Stranger => None,
            Slant::FormerKey => Some(newest.saturating_sub(1)),
            _ => Some(newest),
        };
        let key = index.map(|index| self.key(agent, index));
        let key = key.unwrap_or_else(|| SigningKey::generate(&*self.entropy));
        let dated = if let Slant::Dated(seconds) = slant { i64::from(seconds) * 1000 } else { 0 };
        let iat = self.model.now.saturating_add_signed(dated);
        let home = slant != Slant::Elsewhere;
        let aud = if home { TEMPLATE.aud.clone() } else { Aud::of_identity(&Kid::from_thumbprint(&[3; 32])) };
        let never = Seen { head: Digest::of(b"never"), size: 1 + self.hands[agent].seen.size };
        let seen = if slant == Slant::FalseSeen { never } else { self.hands[agent].seen };
        let nonce = nonce.unwrap_or(number);
        let common = Common {
            v: 1,
            typ: String::new(),
            aud,
            agent: agent_name(agent),
            kid: key.kid(),
            kver: index.unwrap_or_default() as u64 + 1,
            sid: sid_name(sid),
            nonce: nonce_of(nonce),
            iat: Timestamp(iat),
            seen,
        };
        let forger = (slant == Slant::Forged).then(|| SigningKey::generate(&*self.entropy));
        let frame = Frame { common, key, forger };
        let (envelope, what, rpc) = self.ask(wish, (number, sid), &frame);
        // The same statement once more is the same request, whoever signed it.
        let number = *self.numbers.entry(envelope.digest()).or_insert(number);
        let asked = model::Request {
            number,
            agent,
            key: index,
            nonce,
            iat,
            genuine: slant != Slant::Forged,
            home,
            seen: slant != Slant::FalseSeen,
            near: slant != Slant::Outside,
            sid,
            what,
        };
        Sent { envelope, said: Said::Request(asked, rpc) }
    }

    fn ask(&mut self, wish: &Wish, (number, sid): (u64, u64), frame: &Frame) -> (Envelope, What, Rpc) {
        let agent = wish.agent;
        let which = u64::from(wish.slant == Slant::OtherSeal);
        match wish.ask {
            Ask::Hello => {
                let seal = self.seal(agent, sid, which);
                (frame.sign(Hello { seal }), What::Hello { seal: which }, Rpc::OpenSession)
            }
            Ask::Issue { role, ttl } => {
                let seal = self.seal(agent, sid, which);
                let (name, purpose) = (role_name(role), purpose());
                let body = Issue { role: name, ttl: Seconds(ttl), params: Map::new(), purpose, seal };
                (frame.sign(body), What::Issue { seal: which, role, ttl }, Rpc::Issue)
            }
            Ask::Renew { lease, ttl } => {
                let lease = self.lease_of(agent, lease);
                let body = Renew { lease: self.id_of(lease), ttl: Seconds(ttl) };
                (frame.sign(body), What::Renew { lease, ttl }, Rpc::Renew)
            }
            Ask::Release { lease } => {
                let lease = self.lease_of(agent, lease);
                (frame.sign(Release::Lease(self.id_of(lease))), What::Release { lease }, Rpc::Release)
            }
            Ask::ReleaseOthers { lease } => {
                let lease = self.lease_of((agent + 1) % AGENTS, lease);
                (frame.sign(Release::Lease(self.id_of(lease))), What::Release { lease }, Rpc::Release)
            }
            Ask::ReleaseReq { lease } => {
                let lease = self.lease_of(agent, lease);
                let request = usize::try_from(lease).ok().and_then(|number| self.sent.get(number.checked_sub(1)?));
                let digest = request.map_or(Digest::ZERO, |sent| sent.envelope.digest());
                (frame.sign(Release::Req(digest)), What::Release { lease }, Rpc::Release)
            }
            Ask::Close => (frame.sign(Close {}), What::Close, Rpc::Close),
            Ask::Rotate => {
                let next = self.new_key(number);
                let common = &frame.common;
                let follows = (common.kver + 1, Some(common.kid.clone()));
                let holder = (Holder::Agent(common.agent.clone()), &common.aud);
                let new = template::register(holder, &next, follows, (nonce_of(number), common.iat)).sign(&next);
                (frame.sign(RotateKey { new }), What::Rotate, Rpc::RotateKey)
            }
        }
    }

    pub fn sign_command(&mut self, order: &Order) -> Sent {
        let (number, now) = (self.number(), self.model.now);
        let (what, call, envelope) = self.order(order, number);
        Sent { envelope, said: Said::Command(model::Command { number, iat: now, what }, call) }
    }

    fn signed<B: Body>(&self, number: u64, body: B) -> Envelope {
        let command = nockvault::statement::command::Command {
            v: 1,
            typ: B::TYP.to_owned(),
            aud: TEMPLATE.aud.clone(),
            operator: "root".parse().unwrap(),
            kid: TEMPLATE.operator.kid(),
            kver: 1,
            nonce: nonce_of(number),
            iat: Timestamp(self.model.now),
            body,
            set: None,
        };
        Envelope::sign(PayloadType::Command, &command, &TEMPLATE.operator, Form::Pae)
    }

    fn order(&mut self, order: &Order, number: u64) -> (Effect, Call, Envelope) {
        match *order {
            Order::Grant { agent, role, terms } => {
                let until = terms.lasts.map(|seconds| self.model.now + seconds * 1000);
                let written = template::terms(terms, until);
                let body = GrantCreate { agent: agent_name(agent), role: role_name(role), terms: written };
                (Effect::Grant { agent, role, terms, until }, Call::GrantCreate, self.signed(number, body))
            }
            Order::Ungrant { agent, role } => {
                let body = GrantRevoke { agent: agent_name(agent), role: role_name(role) };
                (Effect::Ungrant { agent, role }, Call::GrantRevoke, self.signed(number, body))
            }
            Order::FreezeAgent(agent) => {
                let body = AgentFreeze { agent: agent_name(agent), reason: None };
                (Effect::FreezeAgent(agent), Call::AgentFreeze, self.signed(number, body))
            }
            Order::ThawAgent(agent) => {
                let body = AgentThaw { agent: agent_name(agent) };
                (Effect::ThawAgent(agent), Call::AgentThaw, self.signed(number, body))
            }
            Order::FreezeRole(role) => {
                let body = RoleFreeze { reason: purpose(), role: role_name(role) };
                (Effect::FreezeRole(role), Call::RoleFreeze, self.signed(number, body))
            }
            Order::ThawRole(role) => {
                let body = RoleThaw { role: role_name(role) };
                (Effect::ThawRole(role), Call::RoleThaw, self.signed(number, body))
            }
            Order::FreezeVault => {
                let body = VaultFreeze { reason: purpose() };
                (Effect::FreezeVault, Call::VaultFreeze, self.signed(number, body))
            }
            Order::ThawVault => (Effect::ThawVault, Call::VaultThaw, self.signed(number, VaultThaw {})),
            Order::EndKey { agent, all } => {
                let newest = self.model.agents[agent].keys.len() - 1;
                let key = (!all).then_some(newest);
                let kid = key.map(|key| self.key(agent, key).kid());
                let body = AgentKeyEnd { agent: agent_name(agent), kid, suspect_from: None };
                (Effect::EndKey { agent, key }, Call::AgentKeyEnd, self.signed(number, body))
            }
            Order::NextKey(agent) => self.next_key_of(agent, number),
            Order::Forget { agent, lease } => {
                let lease = self.lease_of(agent, lease);
                let body = LeaseForget { lease: self.id_of(lease) };
                (Effect::Forget(lease), Call::LeaseForget, self.signed(number, body))
            }
            Order::RevokeLease { .. }
            | Order::RevokeAgent(_)
            | Order::RevokeSession(_)
            | Order::RevokeRole(_)
            | Order::RevokeAll => self.revoke(order, number),
        }
    }

    fn next_key_of(&mut self, agent: usize, number: u64) -> (Effect, Call, Envelope) {
        let follows = self.model.agents[agent].keys.len() - 1;
        let former = self.key(agent, follows).kid();
        let next = self.new_key(number);
        let holder = (Holder::Agent(agent_name(agent)), &TEMPLATE.aud);
        let at = (nonce_of(number), Timestamp(self.model.now));
        let register = template::register(holder, &next, (follows as u64 + 2, Some(former)), at).sign(&next);
        let envelope = self.signed(number, AgentRegister { register });
        (Effect::NextKey { agent, follows }, Call::AgentRegister, envelope)
    }

    fn revoke(&self, order: &Order, number: u64) -> (Effect, Call, Envelope) {
        let (scope, meant) = match *order {
            Order::RevokeLease { agent, lease } => {
                let lease = self.lease_of(agent, lease);
                (Scope::Lease(self.id_of(lease)), model::Scope::Lease(lease))
            }
            Order::RevokeAgent(agent) => (Scope::Agent(agent_name(agent)), model::Scope::Agent(agent)),
            Order::RevokeSession(agent) => {
                let sid = self.hands[agent].sid;
                (Scope::Session(agent_name(agent), sid_name(sid)), model::Scope::Session(agent, sid))
            }
            Order::RevokeRole(role) => (Scope::Role(role_name(role)), model::Scope::Role(role)),
            _ => (Scope::All, model::Scope::All),
        };
        (Effect::Revoke(meant), Call::LeaseRevoke, self.signed(number, LeaseRevoke { reason: None, scope }))
    }
}
