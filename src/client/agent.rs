//! An agent's side of the protocol. An [`Agent`] is a connection in one agent's name; a [`Session`] has a key of its
//! own, in memory only, to which credentials are sealed; [`Session::request`] gives a [`Credential`] or says why not.
//!
//! Each request countersigns what the agent has seen of its audit chain, and each answer is held against it: its
//! signature, the hash of the request, every member of the header, the life, and the place of its entry. What fails one
//! of these is not used.

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use serde_json::{Map, Value};
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::channel::MAX_MESSAGE;
use super::fault::{Fault, Refusal, Untrusted};
use super::link::{self, Link, Patience, Surroundings};
use super::material::Material;
use super::signer::{self, Identity, Signer};
use crate::audit::receipt::Receipt;
use crate::crypto::envelope::{Envelope, PayloadType};
use crate::crypto::hash::Digest;
use crate::crypto::hpke::{SUITE, SealSecretKey, Sealed};
use crate::denial::Reason;
use crate::id::{AgentName, LeaseId, RoleName, Sid};
use crate::seal;
use crate::statement::card::Card;
use crate::statement::issue::{Issue, Purpose};
use crate::statement::lease::{Release, Renew};
use crate::statement::register::{Holder, Register};
use crate::statement::reply::{Closed, Described, EntryRef, Hdr, Issued, Opened, Released, Renewed, Reply, Rotated};
use crate::statement::request::{Common, Request, Seen};
use crate::statement::rotate_key::RotateKey;
use crate::statement::session::{Close, Hello, Seal};
use crate::statement::{Body, VERSION};
use crate::time::{Seconds, Timestamp};
use crate::wire::v1::agent_service_client::AgentServiceClient;
use crate::wire::v1::{
    CloseSessionRequest, OpenSessionRequest, ReleaseLeaseRequest, RenewLeaseRequest, RequestCredentialRequest,
    RotateKeyRequest, SignedEnvelope,
};

/// A statement of agents, its call, and what answers it.
#[async_trait]
trait Wish: Body {
    type Reply: Answer;

    async fn carry(channel: Channel, signed: SignedEnvelope) -> Result<Option<SignedEnvelope>, Status>;
}

/// The members that every answer to an agent has.
trait Answer: Reply {
    fn req(&self) -> Digest;
    fn entry(&self) -> EntryRef;
}

macro_rules! wishes {
    ($($wish:ident => $call:ident($message:ident) -> $reply:ident { $req:ident $(. $more:ident)* })*) => {$(
        #[async_trait]
        impl Wish for $wish {
            type Reply = $reply;

            async fn carry(channel: Channel, signed: SignedEnvelope) -> Result<Option<SignedEnvelope>, Status> {
                let mut client = AgentServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
                client.$call($message { signed: Some(signed) }).await.map(Response::into_inner).map(|reply| reply.signed)
            }
        }

        impl Answer for $reply {
            fn req(&self) -> Digest {
                self.$req$(.$more)*
            }

            fn entry(&self) -> EntryRef {
                self.entry
            }
        }
    )*};
}

wishes! {
    Hello => open_session(OpenSessionRequest) -> Opened { req }
    Issue => request_credential(RequestCredentialRequest) -> Issued { hdr.req }
    Renew => renew_lease(RenewLeaseRequest) -> Renewed { req }
    Release => release_lease(ReleaseLeaseRequest) -> Released { req }
    Close => close_session(CloseSessionRequest) -> Closed { req }
    RotateKey => rotate_key(RotateKeyRequest) -> Rotated { req }
}

/// An answer that was believed: what it says, as it was signed, and the request that it answers.
#[derive(Clone, Debug)]
pub struct Answered<R> {
    /// What the vault said.
    pub reply: R,
    /// The same as it was signed, with the certificate of the key that signed it.
    pub receipt: Receipt,
    /// What was asked.
    pub request: Envelope,
}

/// A connection to a vault in one agent's name. Clones share it.
#[derive(Clone, Debug)]
pub struct Agent(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    link: Link,
    identity: RwLock<Identity<AgentName>>,
}

impl Agent {
    /// Connects to the vault of `card`, with what is remembered kept in memory only.
    ///
    /// # Errors
    /// [`Fault::Unreachable`], or [`Fault::Untrusted`] where another vault answers.
    pub async fn connect(card: &Card, identity: Identity<AgentName>) -> Result<Agent, Fault> {
        Agent::connect_in(card, identity, Surroundings::default()).await
    }

    /// Connects with another clock, other randomness or a memory that is kept.
    ///
    /// # Errors
    /// As [`Agent::connect`].
    pub async fn connect_in(card: &Card, identity: Identity<AgentName>, around: Surroundings) -> Result<Agent, Fault> {
        let link = Link::open(card, &card.agents, around).await?;
        Ok(Agent(Arc::new(Inner { link, identity: RwLock::new(identity) })))
    }

    /// What the vault said of itself when it was last challenged.
    #[must_use]
    pub fn vault(&self) -> Described {
        self.0.link.pins().described().clone()
    }

    /// The newest state of the agent's chain that was shown to it: keep it where the vault cannot reach.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.0.link.around.memory.seen()
    }

    /// The name and key in use.
    #[must_use]
    pub fn identity(&self) -> Identity<AgentName> {
        self.0.identity.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The vault's time, as far as it is known here.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.link.now()
    }

    /// Ends a session of this agent, whoever began it, and every lease in it. Gives how many leases there were.
    ///
    /// # Errors
    /// Any [`Fault`].
    pub async fn close(&self, sid: &Sid) -> Result<u64, Fault> {
        let Answered { reply, .. } = self.exchange(sid, &Close {}).await?;
        if reply.sid == *sid { Ok(reply.leases) } else { Err(Untrusted::OtherTerms { member: "sid" }.into()) }
    }

    /// Accepts that the vault was restored from a backup, which it has just said in `refusal`, and goes on with it: as
    /// [`Memory::accept_restore`](super::seen::Memory::accept_restore), in whose words whoever owns the agent decides.
    /// Gives the newest state of the history that was lost, to be kept as evidence.
    ///
    /// # Errors
    /// [`Fault::Local`].
    pub fn accept_restore(&self, refusal: &Refusal) -> Result<Seen, Fault> {
        self.0.link.around.memory.accept_restore(refusal)
    }

    /// A session whose id is `label` with a random suffix, since a sid is never used again. Nothing is sent: the first
    /// request opens it at the vault.
    ///
    /// # Errors
    /// [`Fault::Local`] for a label that no sid can begin with.
    pub fn session(&self, label: &str) -> Result<Session, Fault> {
        let entropy = &*self.0.link.around.entropy;
        let sid = format!("{label}-{}", super::keyfile::hex(&entropy.bytes::<8>()));
        Ok(Session {
            agent: self.clone(),
            sid: sid.parse().map_err(Fault::local)?,
            seal: Arc::new(SealSecretKey::generate(entropy)),
        })
    }

    /// As [`Agent::session`], and opens it at the vault at once, to learn its limits and the head of the chain.
    ///
    /// # Errors
    /// Any [`Fault`].
    pub async fn open_session(&self, label: &str) -> Result<(Session, Opened), Fault> {
        let session = self.session(label)?;
        let opened = self.exchange(&session.sid, &Hello { seal: session.seal() }).await?;
        Ok((session, opened.reply))
    }

    /// Signs and sends; once more with a new statement where the vault proves that the clock was wrong, and a few times where
    /// it says when to come again.
    async fn exchange<W: Wish>(&self, sid: &Sid, wish: &W) -> Result<Answered<W::Reply>, Fault> {
        let link = &self.0.link;
        let (mut mended, mut patience) = (false, Patience::default());
        loop {
            let (request, seen) = self.sign(sid, wish).await?;
            match W::carry(link.channel.clone(), request.clone().into()).await {
                Ok(signed) => return self.believe(request, seen, link::answer(signed)?).await,
                Err(status) => {
                    let fault = link.refusal(&status, &request).await;
                    if patience.waited(&fault, &*link.around.entropy).await {
                        continue;
                    }
                    if mended || !link.clock_mended(&fault).await {
                        return Err(self.with_a_way_in(fault));
                    }
                    mended = true;
                }
            }
        }
    }

    /// The vault says nothing to a stranger but that it knows no such key. What a stranger can do, this side knows, and what
    /// an agent of a restored vault can.
    fn with_a_way_in(&self, mut fault: Fault) -> Fault {
        let reason = fault.reason();
        let Fault::Refused(refusal) = &mut fault else { return fault };
        let Identity { name, .. } = self.identity();
        refusal.message += &match reason {
            Some(Reason::Unauthenticated) => format!(
                "; if agent {name} was never enrolled with this key ({}): vaultctl keygen --agent {name} makes one where it \
                 runs, and an operator registers it: vaultctl agent register {name}.register",
                self.identity().kid()
            ),
            Some(Reason::Restored) => format!(" (vault-agent accept-restore --agent {name})"),
            _ => return fault,
        };
        fault
    }

    async fn sign<W: Wish>(&self, sid: &Sid, wish: &W) -> Result<(Envelope, Seen), Fault> {
        let (link, identity) = (&self.0.link, self.identity());
        let seen = self.seen();
        let common = Common {
            v: VERSION,
            typ: W::TYP.to_owned(),
            aud: link.card.aud.clone(),
            agent: identity.name.clone(),
            kid: identity.kid(),
            kver: identity.kver,
            sid: sid.clone(),
            nonce: link.nonce(),
            iat: link.now(),
            seen,
        };
        let request = Request { common, body: wish.clone() };
        Ok((signer::envelope(PayloadType::Request, &request, &*identity.signer).await?, seen))
    }

    async fn believe<R: Answer>(&self, request: Envelope, seen: Seen, answer: Envelope) -> Result<Answered<R>, Fault> {
        let reply: R = self.0.link.read(&answer).await?;
        if reply.req() != request.digest() {
            return Err(Untrusted::OtherRequest.into());
        }
        self.0.link.around.memory.learn(seen, reply.entry()).map_err(|fault| match fault {
            // What cannot be remembered is not used, a full disk say. It happened all the same, and can be given back.
            Fault::Local(why) => Fault::NoAnswer { req: request.digest(), why },
            fault => fault,
        })?;
        let receipt = Receipt::keep(&answer, self.0.link.pins().cert_of(&answer)).map_err(Fault::local)?;
        Ok(Answered { reply, receipt, request })
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Ask {
    role: RoleName,
    ttl: Seconds,
    params: Map<String, Value>,
    purpose: Purpose,
}

impl Ask {
    /// A credential of this role, for the life that the grant gives where none is asked for.
    #[must_use]
    pub fn role(role: RoleName) -> Ask {
        Ask { role, ttl: Seconds(0), params: Map::new(), purpose: Purpose::default() }
    }

    /// For this long.
    #[must_use]
    pub fn ttl(mut self, ttl: Seconds) -> Ask {
        self.ttl = ttl;
        self
    }

    /// With a parameter for the engine.
    #[must_use]
    pub fn param(mut self, name: impl Into<String>, value: impl Into<Value>) -> Ask {
        self.params.insert(name.into(), value.into());
        self
    }

    /// For this purpose, which whoever reads the trail will see.
    #[must_use]
    pub fn purpose(mut self, purpose: Purpose) -> Ask {
        self.purpose = purpose;
        self
    }
}

/// A session: credentials are sealed to its key, and end with it.
#[derive(Clone, Debug)]
pub struct Session {
    agent: Agent,
    sid: Sid,
    seal: Arc<SealSecretKey>,
}

impl Session {
    /// Its id.
    #[must_use]
    pub fn sid(&self) -> &Sid {
        &self.sid
    }

    fn seal(&self) -> Seal {
        Seal { pk: self.seal.public().into(), suite: SUITE.to_owned(), sig_pk: None }
    }

    /// Asks for a credential, opens it, and checks that it is what was asked for.
    ///
    /// # Errors
    /// Any [`Fault`]. After [`Fault::NoAnswer`] a lease may exist: [`Session::release_unanswered`] ends it.
    pub async fn request(&self, ask: &Ask) -> Result<Credential, Fault> {
        let Ask { role, ttl, params, purpose } = ask.clone();
        let issue = Issue { role, ttl, params, purpose, seal: self.seal() };
        let Answered { reply, receipt, request } = self.agent.exchange(&self.sid, &issue).await?;
        self.check(&reply.hdr, ask, &request)?;
        let enc = <[u8; 32]>::try_from(reply.enc.0.as_slice()).map_err(|_| Untrusted::Seal)?;
        // The header as it was signed: a later vault's may have members that are not known here.
        let (sealed, hdr) = (Sealed { enc, ct: reply.ct.0 }, receipt.payload.get("hdr"));
        let secret = seal::reply::open_as_signed(&self.seal, &reply.hdr.req, &hdr, &sealed);
        let secret = Material::read(secret.map_err(|_| Untrusted::Seal)?).ok_or(Untrusted::Seal)?;
        Ok(Credential { hdr: reply.hdr, secret, entry: reply.entry, receipt, request })
    }

    /// Whether this is what `request` asked for: the key is the one that signed it, also where another took over since.
    fn check(&self, hdr: &Hdr, ask: &Ask, request: &Envelope) -> Result<(), Untrusted> {
        let (link, identity) = (&self.agent.0.link, self.agent.identity());
        let life = Seconds(hdr.exp.0.saturating_sub(hdr.iat.0).div_ceil(1000));
        // A life that begins elsewhere than now could end at any time and still be no longer than was asked for.
        let (now, skew) = (link.now(), link.pins().described().limits.skew.0.saturating_mul(1000));
        let checks = [
            ("vault", hdr.vault == link.card.aud),
            ("agent", hdr.agent == identity.name),
            ("kid", hdr.kid.as_str() == request.kid),
            ("role", hdr.role == ask.role),
            ("sid", hdr.sid == self.sid),
            ("iat", hdr.iat.0.abs_diff(now.0) <= skew),
            ("exp", hdr.exp > now && (ask.ttl.0 == 0 || life <= ask.ttl)),
        ];
        match checks.iter().find(|(_, fits)| !fits) {
            Some((member, _)) => Err(Untrusted::OtherTerms { member }),
            None => Ok(()),
        }
    }

    /// Asks for a lease to live for `ttl` from now; 0 takes the grant's default. Gives when it ends.
    ///
    /// # Errors
    /// Any [`Fault`].
    pub async fn renew(&self, lease: &LeaseId, ttl: Seconds) -> Result<Timestamp, Fault> {
        let Answered { reply, .. } = self.agent.exchange(&self.sid, &Renew { lease: lease.clone(), ttl }).await?;
        let now = self.agent.0.link.now();
        let skew = self.agent.0.link.pins().described().limits.skew;
        if reply.lease != *lease {
            return Err(Untrusted::OtherTerms { member: "lease" }.into());
        }
        if reply.exp <= now || (ttl.0 != 0 && reply.exp > now.plus(ttl).plus(skew)) {
            return Err(Untrusted::OtherTerms { member: "exp" }.into());
        }
        Ok(reply.exp)
    }

    /// Gives a lease back.
    ///
    /// # Errors
    /// Any [`Fault`].
    pub async fn release(&self, lease: &LeaseId) -> Result<(), Fault> {
        let Answered { reply, .. } = self.agent.exchange(&self.sid, &Release::Lease(lease.clone())).await?;
        if reply.lease == *lease { Ok(()) } else { Err(Untrusted::OtherTerms { member: "lease" }.into()) }
    }

    /// Gives back the lease that a request made whose answer was lost ([`Fault::NoAnswer`]).
    ///
    /// # Errors
    /// Any [`Fault`]; a refusal with `lease_unknown` says that no lease came of it.
    pub async fn release_unanswered(&self, req: Digest) -> Result<LeaseId, Fault> {
        Ok(self.agent.exchange(&self.sid, &Release::Req(req)).await?.reply.lease)
    }

    /// Ends the session and every lease in it. Gives how many leases there were.
    ///
    /// # Errors
    /// Any [`Fault`].
    pub async fn close(self) -> Result<u64, Fault> {
        self.agent.close(&self.sid).await
    }

    /// Puts the key that `next` holds in place of the present one, and signs with it from here on. Gives until when the
    /// old one is still accepted. Keep the new key safe before calling: afterwards there is no other.
    ///
    /// # Errors
    /// Any [`Fault`].
    pub async fn rotate_key(&self, next: Arc<dyn Signer>) -> Result<Timestamp, Fault> {
        let (link, old) = (&self.agent.0.link, self.agent.identity());
        let register = Register {
            holder: Holder::Agent(old.name.clone()),
            aud: link.card.aud.clone(),
            form: next.form(),
            iat: link.now(),
            kver: old.kver + 1,
            nonce: link.nonce(),
            pk: next.public().clone(),
            prev: Some(old.kid()),
        };
        let signed = signer::envelope(PayloadType::Register, &register, &*next).await?;
        let new = signed.embed().ok_or_else(|| Fault::local("a register statement is JSON"))?;
        let Answered { reply, .. } = self.agent.exchange(&self.sid, &RotateKey { new }).await?;
        if (reply.kver, &reply.kid) != (register.kver, &register.pk.kid()) {
            return Err(Untrusted::OtherTerms { member: "kid" }.into());
        }
        let mut identity = self.agent.0.identity.write().unwrap_or_else(PoisonError::into_inner);
        *identity = Identity { name: old.name, signer: next, kver: register.kver };
        Ok(reply.grace)
    }
}

/// A credential and the vault's receipt for it.
#[derive(Debug)]
pub struct Credential {
    /// What was issued, in the open.
    pub hdr: Hdr,
    /// The secret.
    pub secret: Material,
    /// Its entry in the agent's chain.
    pub entry: EntryRef,
    /// The vault's signed answer: kept in a file, it shows later that this entry is still in the agent's chain.
    pub receipt: Receipt,
    /// The request that it answers.
    pub request: Envelope,
}
