//! A vault that says what a script tells it to, and writes down every call with its answer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use nockvault::audit::certificate::{Life, cert_of, certify_key};
use nockvault::base64url::{Bytes, encode};
use nockvault::crypto::envelope::{Embedded, Envelope, PayloadType};
use nockvault::crypto::hash::Digest;
use nockvault::crypto::hpke::{SUITE, SealKeyBytes};
use nockvault::crypto::signature::{Form, SigningKey};
use nockvault::entropy::SeededEntropy;
use nockvault::id::{Aud, LeaseId};
use nockvault::seal;
use nockvault::secret::{Secret, SecretBytes};
use nockvault::statement::card::{Card, Genesis};
use nockvault::statement::cert::{Cert, KeyRole};
use nockvault::statement::reply::{Denied, Described, EntryRef, Hdr, Issued, Limits, Revocation};
use nockvault::time::{Seconds, Timestamp};
use nockvault::wire::convert::{self, RefusalDetails};
use nockvault::wire::v1::agent_service_server::{AgentService, AgentServiceServer};
use nockvault::wire::v1::*;
use serde::Serialize;
use serde_json::{Value, json};
use tonic::{Code, Response, Status};

/// The vault's time.
pub(crate) const START: Timestamp = Timestamp(1_780_000_000_000);
/// The life of its keys.
pub(crate) const LIFE: Life = Life { nbf: Timestamp(START.0 - 1_000_000), exp: Timestamp(START.0 + 1_000_000) };
/// How many entries the agent's chain has before the first answer.
pub(crate) const SIZE: u64 = 3;

/// What it answers: its word, or a status.
pub(crate) type Answer = Result<Envelope, Status>;
/// One answer: out of the keys and what was asked.
pub(crate) type Turn = Box<dyn FnOnce(&Asked) -> Answer + Send>;

/// The vault's keys, and one that is none of them.
pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&Secret::new([seed; 32]))
}

pub(crate) const IDENTITY: u8 = 1;
pub(crate) const RESPONSE: u8 = 2;
pub(crate) const STRANGER: u8 = 3;
/// The response key that follows.
pub(crate) const NEXT: u8 = 5;

pub(crate) fn aud() -> Aud {
    Aud::of_identity(&key(IDENTITY).kid())
}

/// What a call carried.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    Challenge(Vec<u8>),
    Statement(Envelope),
}

impl Asked {
    pub(crate) fn challenge(&self) -> Bytes {
        match self {
            Asked::Challenge(challenge) => Bytes(challenge.clone()),
            Asked::Statement(_) => panic!("a statement came instead of a challenge"),
        }
    }

    pub(crate) fn envelope(&self) -> &Envelope {
        match self {
            Asked::Statement(envelope) => envelope,
            Asked::Challenge(_) => panic!("a challenge came instead of a statement"),
        }
    }

    pub(crate) fn member(&self, name: &str) -> Value {
        serde_json::from_slice::<Value>(&self.envelope().payload).unwrap()[name].clone()
    }

    fn text<T: serde::de::DeserializeOwned>(&self, name: &str) -> T {
        serde_json::from_value(self.member(name)).unwrap()
    }
}

/// A statement of the vault, signed by the key of this seed.
pub(crate) fn signed(by: u8, said: &impl Serialize) -> Envelope {
    Envelope::sign(PayloadType::Response, said, &key(by), Form::Pae)
}

pub(crate) fn cert(of: u8, role: KeyRole, life: Life) -> Cert {
    let public = key(of).public();
    cert_of(role, public.to_bytes(), public.kid(), &aud(), "node1", 1, life)
}

pub(crate) fn certified(by: u8, cert: &Cert) -> Embedded {
    certify_key(&key(by), cert)
}

/// What it says of itself.
pub(crate) fn described(asked: &Asked) -> Described {
    let limits = Limits {
        skew: Seconds(300),
        request_bytes: 8192,
        command_bytes: 65536,
        sealed_input_bytes: 1 << 20,
        session_idle: Seconds(600),
        session_max: Seconds(3600),
    };
    Described::new(
        vec![],
        aud(),
        vec![certified(IDENTITY, &cert(RESPONSE, KeyRole::Response, LIFE))],
        Bytes(key(IDENTITY).public().to_bytes().to_vec()),
        limits,
        "prod".parse().unwrap(),
        START,
        asked.challenge(),
        vec![SUITE.to_owned()],
    )
}

pub(crate) fn entry(seq: u64) -> EntryRef {
    EntryRef { leaf: Digest::of(&seq.to_be_bytes()), seq }
}

/// The header that fits a request.
pub(crate) fn hdr(asked: &Asked) -> Hdr {
    let ttl = match asked.text::<u64>("ttl") {
        0 => 60,
        ttl => ttl,
    };
    Hdr {
        agent: asked.text("agent"),
        exp: START.plus(Seconds(ttl)),
        iat: START,
        kid: asked.text("kid"),
        lease: LeaseId::new(START.0, [7; 10]),
        renewable: true,
        revocation: Revocation::None,
        req: asked.envelope().digest(),
        role: asked.text("role"),
        sid: asked.text("sid"),
        vault: aud(),
    }
}

fn seal_key(asked: &Asked) -> SealKeyBytes {
    serde_json::from_value(asked.member("seal")["pk"].clone()).unwrap()
}

/// The answer that gives `secret` under this header.
pub(crate) fn issued(asked: &Asked, hdr: Hdr, secret: &[u8]) -> Issued {
    let to = seal_key(asked).check().unwrap();
    let sealed = seal::reply::seal(&SecretBytes::new(secret.to_vec()), &hdr, &to, &SeededEntropy::new(9)).unwrap();
    Issued::new(Bytes(sealed.ct), Bytes(sealed.enc.to_vec()), entry(SIZE), hdr)
}

/// The same around a plaintext that nobody framed.
pub(crate) fn issued_raw(asked: &Asked, plaintext: &[u8]) -> Issued {
    let (to, hdr) = (seal_key(asked).check().unwrap(), hdr(asked));
    let info = nockvault::statement::reply::seal_info(&hdr.req, &hdr);
    let sealed = nockvault::crypto::hpke::seal(&to, &info, &[], plaintext, &SeededEntropy::new(9)).unwrap();
    Issued::new(Bytes(sealed.ct), Bytes(sealed.enc.to_vec()), entry(SIZE), hdr)
}

/// The status of a refusal, with the vault's signed word or without.
pub(crate) fn refusal(code: Code, reason: &str, limit: Option<u64>, word: Option<Envelope>) -> Status {
    let mut metadata: std::collections::HashMap<String, String> = [("now".into(), START.0.to_string())].into();
    if let (Some(limit), true) = (limit, word.is_some()) {
        // One member without a signed word beside it: the order of two is not fixed.
        metadata = [("limit".into(), limit.to_string())].into();
    }
    let details = RefusalDetails { reason: reason.into(), metadata, signed: word };
    details.into_status(code, &format!("{reason}: as the vault puts it for people"))
}

/// A signed refusal of `req`.
pub(crate) fn denied(reason: &str, limit: Option<u64>, req: Digest) -> Denied {
    Denied::new(limit, START, reason.into(), req)
}

/// Where the client's calls arrive.
#[derive(Clone)]
pub(crate) struct Scripted {
    turns: Arc<Mutex<VecDeque<Turn>>>,
    /// Every call with its answer, as it is published.
    pub(crate) tape: Arc<Mutex<Vec<Value>>>,
}

pub(crate) fn envelope_json(envelope: &Envelope) -> Value {
    json!({
        "payload_type": envelope.payload_type,
        "payload": std::str::from_utf8(&envelope.payload).expect("a payload of ours is text"),
        "signature": envelope.signature,
        "kid": envelope.kid,
    })
}

impl Scripted {
    /// Starts it on a free port of the loopback, where it ends with the test's runtime, and gives its card.
    pub(crate) async fn start(turns: Vec<Turn>) -> (Scripted, Card) {
        let vault = Scripted { turns: Arc::new(Mutex::new(turns.into())), tape: Arc::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let service = AgentServiceServer::new(vault.clone());
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        (vault, card(&address))
    }

    /// Whether everything that was to be said was said.
    pub(crate) fn done(&self) -> bool {
        self.turns.lock().unwrap().is_empty()
    }

    fn take(&self, call: &str, asked: Asked) -> Result<Option<SignedEnvelope>, Status> {
        let turn = self.turns.lock().unwrap().pop_front();
        let Some(turn) = turn else { panic!("{call} was not expected: {asked:?}") };
        let answer = turn(&asked);
        let said = match &answer {
            Ok(envelope) => json!({"signed": envelope_json(envelope)}),
            Err(status) => json!({"status": {
                "code": i32::from(status.code()),
                "message": status.message(),
                "details": encode(status.details()),
            }}),
        };
        let line = match &asked {
            Asked::Challenge(challenge) => json!({"call": call, "challenge": encode(challenge), "answer": said}),
            Asked::Statement(envelope) => json!({"call": call, "signed": envelope_json(envelope), "answer": said}),
        };
        self.tape.lock().unwrap().push(line);
        answer.map(|envelope| Some(envelope.into()))
    }

    fn statement(&self, call: &str, signed: Option<SignedEnvelope>) -> Result<Option<SignedEnvelope>, Status> {
        self.take(call, Asked::Statement(convert::envelope(signed).unwrap()))
    }
}

/// The vault's card, with this address in it.
pub(crate) fn card(address: &str) -> Card {
    Card {
        name: "prod".parse().unwrap(),
        aud: aud(),
        identity: key(IDENTITY).public(),
        agents: address.into(),
        operators: address.into(),
        ca: None,
        genesis: Genesis { vault: Digest::ZERO, operators: Digest::ZERO },
    }
}

macro_rules! calls {
    ($($call:ident = $name:literal ($request:ident) -> $response:ident;)*) => {
        #[tonic::async_trait]
        impl AgentService for Scripted {
            async fn describe_vault(
                &self,
                request: tonic::Request<DescribeVaultRequest>,
            ) -> Result<Response<DescribeVaultResponse>, Status> {
                let asked = Asked::Challenge(request.into_inner().challenge);
                Ok(Response::new(DescribeVaultResponse { signed: self.take("DescribeVault", asked)? }))
            }

            $(async fn $call(&self, request: tonic::Request<$request>) -> Result<Response<$response>, Status> {
                Ok(Response::new($response { signed: self.statement($name, request.into_inner().signed)? }))
            })*
        }
    };
}

calls! {
    open_session = "OpenSession" (OpenSessionRequest) -> OpenSessionResponse;
    request_credential = "RequestCredential" (RequestCredentialRequest) -> RequestCredentialResponse;
    renew_lease = "RenewLease" (RenewLeaseRequest) -> RenewLeaseResponse;
    release_lease = "ReleaseLease" (ReleaseLeaseRequest) -> ReleaseLeaseResponse;
    close_session = "CloseSession" (CloseSessionRequest) -> CloseSessionResponse;
    rotate_key = "RotateKey" (RotateKeyRequest) -> RotateKeyResponse;
}
