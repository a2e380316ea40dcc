//! A vault made by hand: honest in everything but the one thing that it is told to do wrong. It keeps every envelope
//! that it was sent.

use std::sync::{Arc, Mutex};

use nockvault::audit::certificate::{Life, cert_of, certify_key};
use nockvault::base64url::Bytes;
use nockvault::crypto::envelope::{Envelope, PayloadType};
use nockvault::crypto::hash::Digest;
use nockvault::crypto::hpke::SUITE;
use nockvault::crypto::signature::{Form, SigningKey};
use nockvault::denial::Reason;
use nockvault::entropy::SeededEntropy;
use nockvault::id::{Aud, LeaseId};
use nockvault::seal;
use nockvault::secret::{Secret, SecretBytes};
use nockvault::statement::card::{Card, Genesis};
use nockvault::statement::cert::KeyRole;
use nockvault::statement::issue::Issue;
use nockvault::statement::lease::Renew;
use nockvault::statement::reply::{Denied, Described, EntryRef, Hdr, Issued, Limits, Renewed, Revocation};
use nockvault::statement::request::Request;
use nockvault::time::{Clock, ManualClock, Seconds, Timestamp};
use nockvault::wire::convert::{self, RefusalDetails};
use nockvault::wire::v1::agent_service_server::{AgentService, AgentServiceServer};
use nockvault::wire::v1::*;
use serde_json::{Value, json};
use tonic::{Code, Response, Status};

/// The vault's time when a test begins.
pub(crate) const START: Timestamp = Timestamp(1_780_000_000_000);
/// The life of its keys.
pub(crate) const LIFE: Life = Life { nbf: Timestamp(START.0 - 1_000), exp: Timestamp(START.0 + 1_000_000) };

/// What it does wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wrongs {
    /// Changes the header before it is sealed and signed.
    pub(crate) hdr: Option<fn(&mut Hdr)>,
    /// Changes the finished answer before it is signed.
    pub(crate) answer: Option<fn(&mut Value)>,
    /// Changes the description before it is signed.
    pub(crate) described: Option<fn(&mut Described)>,
    /// Signs answers with a key that no certificate names.
    pub(crate) stranger_signs: bool,
    /// Has its keys certified by another identity.
    pub(crate) stranger_certifies: bool,
    /// Changes the envelope after it was signed.
    pub(crate) envelope: Option<fn(&mut Envelope)>,
    /// The `seq` of the next entry, where it is not the right one.
    pub(crate) seq: Option<u64>,
    /// The life of its response key.
    pub(crate) life: Option<Life>,
    /// Refuses as many requests for their clock, signed or not.
    pub(crate) refuse: u32,
    /// Whether refusals are signed, and by its own key.
    pub(crate) unsigned: bool,
    /// Names another request in its refusals.
    pub(crate) refuses_another: bool,
    /// Holds no root key: it says so to everybody, and can sign nothing.
    pub(crate) sealed: bool,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) clock: ManualClock,
    pub(crate) wrongs: Mutex<Wrongs>,
    pub(crate) sent: Mutex<Vec<SignedEnvelope>>,
    size: Mutex<u64>,
    identity: SigningKey,
    response: SigningKey,
    stranger: SigningKey,
}

#[derive(Clone, Debug)]
pub(crate) struct Fake(pub Arc<Inner>);

impl Fake {
    /// Starts it on a free port of the loopback; it ends with the test's runtime.
    pub(crate) async fn start() -> (Fake, Card) {
        let key = |seed: u8| SigningKey::from_seed(&Secret::new([seed; 32]));
        let inner = Inner {
            clock: ManualClock::at(START),
            wrongs: Mutex::default(),
            sent: Mutex::default(),
            size: Mutex::new(3),
            identity: key(1),
            response: key(2),
            stranger: key(3),
        };
        let identity = inner.identity.public();
        let fake = Fake(Arc::new(inner));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let service = AgentServiceServer::new(fake.clone());
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        let card = Card {
            name: "prod".parse().unwrap(),
            aud: Aud::of_identity(&identity.kid()),
            identity,
            agents: address.clone(),
            operators: address,
            ca: None,
            genesis: Genesis { vault: Digest::ZERO, operators: Digest::ZERO },
        };
        (fake, card)
    }

    pub(crate) fn wrong(&self, wrongs: Wrongs) {
        *self.0.wrongs.lock().unwrap() = wrongs;
    }

    fn wrongs(&self) -> Wrongs {
        self.0.wrongs.lock().unwrap().clone()
    }

    fn aud(&self) -> Aud {
        Aud::of_identity(&self.0.identity.kid())
    }

    /// Signs an answer, wrongly where it was told so.
    fn sign(&self, answer: &impl serde::Serialize) -> Option<SignedEnvelope> {
        let wrongs = self.wrongs();
        let mut answer = serde_json::to_value(answer).unwrap();
        if let Some(change) = wrongs.answer {
            change(&mut answer);
        }
        let key = if wrongs.stranger_signs { &self.0.stranger } else { &self.0.response };
        let mut envelope = Envelope::sign(PayloadType::Response, &answer, key, Form::Pae);
        if let Some(change) = wrongs.envelope {
            change(&mut envelope);
        }
        Some(envelope.into())
    }

    fn unsealed(&self) -> Result<(), Status> {
        let reason = Reason::Sealed.code();
        let details = RefusalDetails { reason: reason.into(), metadata: [].into(), signed: None };
        if self.wrongs().sealed { Err(details.into_status(Code::Unavailable, reason)) } else { Ok(()) }
    }

    /// Keeps what came, and refuses it where it was told so.
    fn take(&self, signed: Option<SignedEnvelope>) -> Result<Envelope, Status> {
        self.unsealed()?;
        let envelope = convert::envelope(signed.clone()).unwrap();
        self.0.sent.lock().unwrap().extend(signed);
        let wrongs = self.wrongs();
        if wrongs.refuse == 0 {
            return Ok(envelope);
        }
        self.0.wrongs.lock().unwrap().refuse -= 1;
        let now = self.0.clock.now();
        let req = if wrongs.refuses_another { Digest::ZERO } else { envelope.digest() };
        let denied = Denied::new(Some(300), now, Reason::ClockSkew.code().into(), req);
        let signed = if wrongs.unsigned { None } else { self.sign(&denied) };
        let details = RefusalDetails {
            reason: Reason::ClockSkew.code().into(),
            metadata: [("now".into(), now.0.to_string()), ("limit".into(), "300".into())].into(),
            signed: signed.map(|signed| signed.try_into().unwrap()),
        };
        Err(details.into_status(Code::FailedPrecondition, "clock_skew: mind the clock"))
    }

    fn entry(&self) -> EntryRef {
        let mut size = self.0.size.lock().unwrap();
        let seq = self.wrongs().seq.unwrap_or(*size);
        *size += 1;
        EntryRef { leaf: Digest::of(&seq.to_be_bytes()), seq }
    }

    fn issue(&self, envelope: &Envelope) -> Issued {
        let Request { common, body }: Request<Issue> = serde_json::from_slice(&envelope.payload).unwrap();
        let now = self.0.clock.now();
        let ttl = if body.ttl.0 == 0 { Seconds(60) } else { body.ttl };
        let mut hdr = Hdr {
            agent: common.agent,
            exp: now.plus(ttl),
            iat: now,
            kid: common.kid,
            lease: LeaseId::new(now.0, [7; 10]),
            renewable: true,
            revocation: Revocation::None,
            req: envelope.digest(),
            role: body.role,
            sid: common.sid,
            vault: self.aud(),
        };
        if let Some(change) = self.wrongs().hdr {
            change(&mut hdr);
        }
        let secret = SecretBytes::new(json!({"type": "kv", "value": "demo"}).to_string().into_bytes());
        let to = body.seal.pk.check().unwrap();
        let sealed = seal::reply::seal(&secret, &hdr, &to, &SeededEntropy::new(9)).unwrap();
        Issued::new(Bytes(sealed.ct), Bytes(sealed.enc.to_vec()), self.entry(), hdr)
    }
}

#[tonic::async_trait]
impl AgentService for Fake {
    async fn describe_vault(
        &self,
        request: tonic::Request<DescribeVaultRequest>,
    ) -> Result<Response<DescribeVaultResponse>, Status> {
        self.unsealed()?;
        let wrongs = self.wrongs();
        let life = wrongs.life.unwrap_or(LIFE);
        let response = self.0.response.public();
        let cert = cert_of(KeyRole::Response, response.to_bytes(), response.kid(), &self.aud(), "node1", 1, life);
        let certifier = if wrongs.stranger_certifies { &self.0.stranger } else { &self.0.identity };
        let limits = Limits {
            skew: Seconds(300),
            request_bytes: 8192,
            command_bytes: 65536,
            sealed_input_bytes: 1 << 20,
            session_idle: Seconds(600),
            session_max: Seconds(3600),
        };
        let mut described = Described::new(
            vec![],
            self.aud(),
            vec![certify_key(certifier, &cert)],
            Bytes(self.0.identity.public().to_bytes().to_vec()),
            limits,
            "prod".parse().unwrap(),
            self.0.clock.now(),
            Bytes(request.into_inner().challenge),
            vec![SUITE.to_owned()],
        );
        if let Some(change) = wrongs.described {
            change(&mut described);
        }
        Ok(Response::new(DescribeVaultResponse { signed: self.sign(&described) }))
    }

    async fn request_credential(
        &self,
        request: tonic::Request<RequestCredentialRequest>,
    ) -> Result<Response<RequestCredentialResponse>, Status> {
        let envelope = self.take(request.into_inner().signed)?;
        Ok(Response::new(RequestCredentialResponse { signed: self.sign(&self.issue(&envelope)) }))
    }

    async fn renew_lease(
        &self,
        request: tonic::Request<RenewLeaseRequest>,
    ) -> Result<Response<RenewLeaseResponse>, Status> {
        let envelope = self.take(request.into_inner().signed)?;
        let Request { body, .. }: Request<Renew> = serde_json::from_slice(&envelope.payload).unwrap();
        let exp = self.0.clock.now().plus(body.ttl);
        let renewed = Renewed::new(self.entry(), exp, body.lease, envelope.digest());
        Ok(Response::new(RenewLeaseResponse { signed: self.sign(&renewed) }))
    }

    async fn open_session(
        &self,
        _: tonic::Request<OpenSessionRequest>,
    ) -> Result<Response<OpenSessionResponse>, Status> {
        Err(Status::unimplemented("not a part of this one"))
    }

    async fn release_lease(
        &self,
        _: tonic::Request<ReleaseLeaseRequest>,
    ) -> Result<Response<ReleaseLeaseResponse>, Status> {
        Err(Status::unavailable("the connection broke"))
    }

    async fn close_session(
        &self,
        _: tonic::Request<CloseSessionRequest>,
    ) -> Result<Response<CloseSessionResponse>, Status> {
        Err(Status::unimplemented("not a part of this one"))
    }

    async fn rotate_key(&self, _: tonic::Request<RotateKeyRequest>) -> Result<Response<RotateKeyResponse>, Status> {
        Err(Status::unimplemented("not a part of this one"))
    }
}
