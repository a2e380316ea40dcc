//! A served vault with everybody who asks it: an operator of each duty, one whose key has ended, an agent, a stranger;
//! and another agent, whose things they reach for.

use std::sync::Arc;

use nockvault::authz::Peer;
use nockvault::crypto::envelope::{Envelope, PayloadType};
use nockvault::crypto::signature::{Form, SigningKey};
use nockvault::statement::command::Command;
use nockvault::statement::operator::Duty;
use nockvault::time::{Clock as _, ManualClock, SystemClock};
use nockvault::vault::Vault;
use nockvault::vault::answer::Outcome;
use nockvault::wire::convert::RefusalDetails;
use nockvault::wire::v1::SignedEnvelope;
use prost::Message;
use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::daemon::Daemon;
use crate::lines::{Line, Says};
use crate::support::agent::{Agent, copy};
use crate::support::staff::grantor;
use crate::support::{Operator, call, new_key, nonce, terms};

/// Who asks, in the order of the columns.
pub(crate) const COLUMNS: &[&str] = &["admin", "grantor", "auditor", "responder", "ended", "agent", "stranger"];

/// The operators in force, in the order of the columns.
pub(crate) fn duties() -> [(&'static str, Duty); 4] {
    [
        ("admin", Duty::Admin),
        ("grantor", grantor(&["orders-read"])),
        ("auditor", Duty::Auditor),
        ("responder", Duty::Responder),
    ]
}

/// One key, and in whose name it commands and requests.
pub(crate) struct Asker {
    pub(crate) column: &'static str,
    pub(crate) operator: Operator,
    pub(crate) agent: Agent,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The code of the refusal, where it was refused.
    pub(crate) code: Option<String>,
    /// Whether the reply names an entry of a chain.
    pub(crate) chained: bool,
}

/// Every message of the contract, as protobuf has it: what it takes first, signed or not, and what may go beside it.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Asked {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) first: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) sealed_enc: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) sealed_ct: Vec<u8>,
}

impl Asked {
    /// A message of this field alone.
    pub(crate) fn of(first: Vec<u8>) -> Asked {
        Asked { first, ..Asked::default() }
    }

    fn signed(envelope: Envelope) -> Asked {
        Asked::of(SignedEnvelope::from(envelope).encode_to_vec())
    }
}

/// Every answer of the contract that is signed.
#[derive(Clone, PartialEq, Message)]
struct Said {
    #[prost(bytes = "vec", tag = "1")]
    signed: Vec<u8>,
}

pub(crate) struct Stage {
    daemon: Daemon,
    agents: Channel,
    operators: Channel,
    clock: ManualClock,
    pub(crate) askers: Vec<Asker>,
    /// The agent's lease, in its session `work`.
    pub(crate) own: Value,
    /// The other agent's lease, in its session `private`.
    pub(crate) others: Value,
    pub(crate) other: Agent,
}

impl Stage {
    pub(crate) async fn set() -> Stage {
        let daemon = Daemon::start(|limits| limits.denials_per_minute = 100_000).await;
        let (agents, operators) = (daemon.agents().await, daemon.operators().await);
        let clock = ManualClock::at(SystemClock.now());
        let aud = daemon.laid.card.aud.clone();
        let agent = |name: &str| Agent::new(name, new_key(), Form::Pae, &aud, &clock);
        let (ada, mut mira) = (agent("ada"), agent("mira"));
        mira.new_session("private");
        let operator = |name: &str, key: SigningKey| {
            let (name, aud, clock) = (name.parse().unwrap(), aud.clone(), clock.clone());
            Operator { name, key, kver: 1, form: Form::Pae, aud, clock }
        };
        let root = operator("ada", copy(daemon.laid.operator_key.as_ref().unwrap()));
        let mut stage = Stage {
            daemon,
            agents,
            operators,
            clock: clock.clone(),
            askers: Vec::new(),
            own: Value::Null,
            others: Value::Null,
            other: agent("mira"),
        };

        for one in [&ada, &mira] {
            let body = json!({ "register": one.register_statement().sign(&one.key) });
            stage.order(&root, "nockvault/agent_register", body).await;
        }
        for (role, to) in [("orders-read", "ada"), ("billing", "mira")] {
            let body = json!({ "role": role, "engine": "jwt", "config": { "audience": ["orders"] } });
            stage.order(&root, "nockvault/role_create", body).await;
            let body = json!({ "agent": to, "role": role, "terms": terms() });
            stage.order(&root, "nockvault/grant_create", body).await;
        }
        let authority = json!({ "name": "users", "engine": "ssh", "wish": {} });
        stage.order(&root, "nockvault/ca_create", authority).await;
        stage.own = stage.issued(&ada, "orders-read").await;
        stage.others = stage.issued(&mira, "billing").await;
        stage.other = mira;

        let asking = |column, operator: Operator| {
            let agent = Agent::new("ada", copy(&operator.key), Form::Pae, &aud, &clock);
            Asker { column, operator, agent }
        };
        let mut askers = vec![asking("admin", root.again())];
        for (column, duty) in duties().into_iter().skip(1).chain([("ended", Duty::Admin)]) {
            let hired = operator(column, new_key());
            let body = serde_json::to_value(hired.registration(Some(duty))).unwrap();
            stage.order(&root, "nockvault/operator_register", body).await;
            askers.push(asking(column, hired));
        }
        let end = json!({ "operator": "ended", "kid": null, "suspect_from": null });
        stage.order(&root, "nockvault/operator_key_end", end).await;
        askers.push(Asker { column: "agent", operator: operator("ada", copy(&ada.key)), agent: ada });
        askers.push(asking("stranger", operator("ada", new_key())));
        assert_eq!(askers.iter().map(|asker| asker.column).collect::<Vec<_>>(), COLUMNS);
        stage.askers = askers;
        stage
    }

    pub(crate) async fn stop(self) {
        let Stage { daemon, agents, operators, .. } = self;
        drop((agents, operators));
        daemon.stop().await;
    }

    fn vault(&self) -> Arc<Vault> {
        self.daemon.vault.upgrade().expect("it is not sealed")
    }

    async fn order(&self, operator: &Operator, typ: &str, body: Value) {
        let outcome = self.vault().operate(call(typ), command(operator, typ, body), None).await;
        let Outcome::Released(_) = outcome else { panic!("{typ}: {outcome:?}") };
    }

    async fn issued(&self, agent: &Agent, role: &str) -> Value {
        let outcome = self.vault().issue(agent.issue(role), Peer::Unix(None)).await;
        let Outcome::Released(released) = outcome else { panic!("{role}: {outcome:?}") };
        let said: Value = serde_json::from_slice(&released.into_envelope().payload).unwrap();
        said["hdr"]["lease"].clone()
    }

    /// What this one sends for this line, and the body of it.
    pub(crate) fn message(&self, line: &Line, asker: &Asker) -> (Asked, Value) {
        match line.says {
            Says::Command(body) => {
                let body = body(self, asker);
                (Asked::signed(command(&asker.operator, line.typ, body.clone())), body)
            }
            Says::Request(request) => {
                let request = request(self, &asker.agent);
                assert_eq!(request["typ"], line.typ);
                (Asked::signed(asker.agent.sign(&request)), request)
            }
            Says::Unsigned(message) => (message(self), Value::Null),
        }
    }

    /// A request of the agent, for any call.
    pub(crate) fn a_request(&self) -> Asked {
        let asker = self.askers.iter().find(|asker| asker.column == "agent").unwrap();
        Asked::signed(asker.agent.issue("orders-read"))
    }

    /// A command of the admin, for any call.
    pub(crate) fn a_command(&self) -> Asked {
        Asked::signed(command(&self.askers[0].operator, "nockvault/status_read", json!({})))
    }

    /// Asks at the listener that serves it.
    pub(crate) async fn ask(&self, service: &str, rpc: &str, message: Asked) -> Answer {
        let channel = if service == "AgentService" { &self.agents } else { &self.operators };
        match call_rpc(channel.clone(), &format!("/nockvault.v1.{service}/{rpc}"), message).await {
            Ok(said) => Answer { code: None, chained: names_an_entry(&said) },
            Err(status) => Answer { code: Some(code(&status)), chained: false },
        }
    }

    /// A key that nobody has seen yet, for an agent of this name.
    pub(crate) fn newcomer(&self, name: &str) -> Agent {
        Agent::new(name, new_key(), Form::Pae, &self.other.aud, &self.clock)
    }
}

fn command(operator: &Operator, typ: &str, body: Value) -> Envelope {
    let command = Command {
        v: 1,
        typ: typ.to_owned(),
        aud: operator.aud.clone(),
        operator: operator.name.clone(),
        kid: operator.key.kid(),
        kver: operator.kver,
        nonce: nonce(),
        iat: operator.clock.now(),
        body,
        set: None,
    };
    Envelope::sign(PayloadType::Command, &command, &operator.key, operator.form)
}

/// Calls a method and takes the first message of its answer.
async fn call_rpc(channel: Channel, path: &str, message: Asked) -> Result<Said, Status> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.expect("it is connected");
    let codec = tonic_prost::ProstCodec::<Asked, Said>::default();
    let path = path.parse::<http::uri::PathAndQuery>().unwrap();
    let mut answer = grpc.server_streaming(Request::new(message), path, codec).await?.into_inner();
    Ok(answer.message().await?.expect("an answer"))
}

fn names_an_entry(said: &Said) -> bool {
    let Ok(envelope) = SignedEnvelope::decode(said.signed.as_slice()) else { return false };
    let said: Value = serde_json::from_slice(&envelope.payload).unwrap_or_default();
    said.get("entry").is_some_and(|entry| !entry.is_null())
}

fn code(status: &Status) -> String {
    match RefusalDetails::from_status(status) {
        Some(details) => details.reason,
        None if status.code() == Code::Unimplemented => "unimplemented".to_owned(),
        None => format!("{:?}: {}", status.code(), status.message()),
    }
}
