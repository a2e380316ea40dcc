//! What goes over the socket. Buffers that hold a token or a secret are erased when they are dropped.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use zeroize::{Zeroize, Zeroizing};

use crate::client::fault::{Fault, Refusal};
use crate::client::material::Material;
use crate::id::{LeaseId, RoleName};
use crate::launcher::ask::Given;
use crate::launcher::wallet::Held;
use crate::launcher::want::{Roles, Want};
use crate::secret::SecretBytes;
use crate::statement::issue::Purpose;
use crate::time::{Seconds, Timestamp};

/// A text that is erased when dropped.
#[derive(Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Shown(pub(super) String);

impl Drop for Shown {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A question.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    v: u64,
    #[serde(rename = "do")]
    pub(super) what: What,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    role: Option<RoleName>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    params: Map<String, Value>,
    #[serde(default, skip_serializing_if = "is_zero")]
    ttl: Seconds,
    #[serde(default, skip_serializing_if = "is_empty")]
    purpose: Purpose,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) fresh: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<Shown>,
}

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum What {
    Get,
    Release,
    List,
}

fn is_zero(span: &Seconds) -> bool {
    span.0 == 0
}

fn is_empty(purpose: &Purpose) -> bool {
    purpose.as_str().is_empty()
}

impl Question {
    pub(super) fn new(what: What, want: Option<&Want>, fresh: bool, token: Option<Shown>) -> Question {
        let mut question = Question {
            v: 1,
            what,
            role: None,
            params: Map::new(),
            ttl: Seconds(0),
            purpose: Purpose::default(),
            fresh,
            token,
        };
        if let Some(want) = want.cloned() {
            question.role = Some(want.role);
            (question.params, question.ttl, question.purpose) = (want.params, want.ttl, want.purpose);
        }
        question
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Question, Wrong> {
        // The parser's words may quote what it read, and a token may be in it.
        let question: Question = serde_json::from_slice(bytes).map_err(|why| {
            Wrong::new("bad_request", format!("not a question, at column {}; see the manual, operations", why.column()))
        })?;
        if question.v != 1 {
            return Err(Wrong::new("bad_request", "only \"v\":1 is spoken here"));
        }
        Ok(question)
    }

    pub(super) fn want(&mut self) -> Result<Want, Wrong> {
        let role = self.role.take().ok_or_else(|| Wrong::new("bad_request", "the question names no role"))?;
        let (params, purpose) = (std::mem::take(&mut self.params), std::mem::take(&mut self.purpose));
        Ok(Want { role, params, ttl: self.ttl, purpose })
    }

    /// The line that is sent.
    pub(super) fn line(&self) -> Zeroizing<Vec<u8>> {
        line(256, self)
    }
}

/// Something that is held, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// When it ends.
    pub exp: Timestamp,
    /// Its engine's name for what it is.
    pub kind: String,
    /// Its lease.
    pub lease: LeaseId,
    /// Whether the lease can be prolonged.
    pub renewable: bool,
    /// Of which role.
    pub role: RoleName,
}

impl Listed {
    pub(super) fn of(held: &Held) -> Listed {
        Listed {
            exp: held.exp(),
            kind: held.secret.kind().unwrap_or("?").to_owned(),
            lease: held.lease().clone(),
            renewable: held.hdr.renewable,
            role: held.hdr.role.clone(),
        }
    }
}

/// What `list` gives: what is held, and the roles that may be asked for, or null for whatever was granted.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Holdings {
    pub(super) leases: Vec<Listed>,
    pub(super) roles: Option<Vec<RoleName>>,
}

pub(super) fn list(held: Vec<Listed>, roles: &Roles) -> Zeroizing<Vec<u8>> {
    let roles = match roles {
        Roles::Any => None,
        Roles::Only(roles) => Some(roles.iter().cloned().collect()),
    };
    line(256, &Answer { ok: Some(Holdings { leases: held, roles }), error: None })
}

/// How many leases were given back.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Released {
    pub(super) released: usize,
}

pub(super) fn released(released: usize) -> Zeroizing<Vec<u8>> {
    line(64, &Answer { ok: Some(Released { released }), error: None })
}

/// A credential on the line. `secret` is its object as the vault made it.
#[derive(Deserialize)]
pub(super) struct Credential<'a> {
    exp: Timestamp,
    kind: String,
    lease: LeaseId,
    renewable: bool,
    role: RoleName,
    #[serde(borrow)]
    secret: &'a RawValue,
}

/// Puts a credential on a line: the open part, and the secret's own bytes behind it.
pub(super) fn credential(given: &Given) -> Zeroizing<Vec<u8>> {
    let open = Listed {
        exp: given.exp,
        kind: given.kind.clone(),
        lease: given.lease.clone(),
        renewable: given.renewable,
        role: given.role.clone(),
    };
    let open = serde_json::to_vec(&open).expect("its members are texts and numbers");
    let secret = given.secret.expose_json();
    // Of the right size from the start: a buffer that grows leaves copies behind.
    let mut line = Zeroizing::new(Vec::with_capacity(open.len() + secret.len() + 32));
    line.extend_from_slice(b"{\"ok\":");
    line.extend_from_slice(&open[..open.len() - 1]);
    line.extend_from_slice(b",\"secret\":");
    // Between the tokens of an object a line break is a space; inside its texts there is none.
    line.extend(secret.iter().map(|&byte| if byte == b'\n' || byte == b'\r' { b' ' } else { byte }));
    line.extend_from_slice(b"}}\n");
    line
}

impl Credential<'_> {
    pub(super) fn given(self) -> Option<Given> {
        let secret = Material::read(SecretBytes::new(self.secret.get().as_bytes().to_vec()))?;
        let Credential { exp, kind, lease, renewable, role, .. } = self;
        Some(Given { role, kind, lease, exp, renewable, secret })
    }
}

/// An answer: one of the two.
#[derive(Serialize, Deserialize)]
pub(super) struct Answer<T> {
    #[serde(skip_serializing_if = "Option::is_none", default = "none")]
    pub(super) ok: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) error: Option<Wrong>,
}

fn none<T>() -> Option<T> {
    None
}

/// Why there is nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Wrong {
    pub(super) code: String,
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    now: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proven: Option<bool>,
}

impl Wrong {
    pub(super) fn new(code: &str, message: impl Into<String>) -> Wrong {
        Wrong { code: code.into(), message: message.into(), limit: None, now: None, proven: None }
    }

    pub(super) fn of(fault: &Fault) -> Wrong {
        match fault {
            Fault::Refused(refusal) => {
                let Refusal { code, limit, now, message, proven, .. } = (**refusal).clone();
                Wrong { code, message, limit, now, proven: Some(proven) }
            }
            Fault::Unreachable { .. } => Wrong::new("unreachable", fault.to_string()),
            Fault::NoAnswer { .. } => Wrong::new("no_answer", fault.to_string()),
            Fault::Untrusted(_) => Wrong::new("untrusted", fault.to_string()),
            Fault::Local(why) => Wrong::new("launcher", why),
        }
    }

    pub(super) fn fault(self) -> Fault {
        let Wrong { code, message, limit, now, proven } = self;
        match proven {
            Some(proven) => {
                Fault::Refused(Box::new(Refusal { code, limit, retry_after_ms: None, now, message, proven }))
            }
            None => Fault::Local(format!("the launcher says: {message}")),
        }
    }

    pub(super) fn line(self) -> Zeroizing<Vec<u8>> {
        line(256, &Answer::<()> { ok: None, error: Some(self) })
    }
}

fn line<T: Serialize>(about: usize, value: &T) -> Zeroizing<Vec<u8>> {
    let mut line = Zeroizing::new(Vec::with_capacity(about));
    serde_json::to_writer(&mut *line, value).expect("its members are texts, numbers and lists");
    line.push(b'\n');
    line
}
