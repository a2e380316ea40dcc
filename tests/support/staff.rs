//! Operators beside the first: each with a key of its own and a duty.

use std::collections::BTreeSet;

use nockvault::crypto::envelope::{Embedded, Envelope, PayloadType};
use nockvault::crypto::signature::{Form, SigningKey};
use nockvault::id::Kid;
use nockvault::statement::Body;
use nockvault::statement::command::Command;
use nockvault::statement::operator::{Duty, OperatorRegister};
use nockvault::statement::register::{Holder, Register};
use nockvault::statement::reply::Executed;
use nockvault::time::Clock as _;
use serde_json::{Map, Value};

use super::{Harness, Operator, Refusal, call, new_key, nonce};

/// The duty of a grantor of these roles.
pub fn grantor(roles: &[&str]) -> Duty {
    Duty::Grantor { roles: roles.iter().map(|role| role.parse().unwrap()).collect::<BTreeSet<_>>() }
}

impl Harness {
    /// An operator of this name, whom nobody has registered yet.
    pub fn newcomer(&self, name: &str) -> Operator {
        let (name, key) = (name.parse().unwrap(), new_key());
        Operator { name, key, kver: 1, form: Form::Pae, aud: self.aud.clone(), clock: self.clock.clone() }
    }

    /// A registered operator with this duty.
    pub async fn hire(&self, name: &str, duty: Duty) -> Operator {
        let operator = self.newcomer(name);
        self.order(operator.registration(Some(duty))).await;
        operator
    }

    /// A command of this operator that is carried out.
    pub async fn order_of<B: Body>(&self, operator: &Operator, body: B) -> Map<String, Value> {
        let envelope = operator.sign(&operator.command(body));
        let req = envelope.digest();
        self.released::<Executed>(self.operate(call(B::TYP), envelope, None).await, req).result
    }

    /// A command of this operator that is refused.
    pub async fn refused_of<B: Body>(&self, operator: &Operator, body: B) -> Refusal {
        self.refused_envelope(operator.sign(&operator.command(body)), B::TYP).await
    }

    /// A signed command that is refused.
    pub async fn refused_envelope(&self, envelope: Envelope, typ: &str) -> Refusal {
        let req = envelope.digest();
        self.refused(self.operate(call(typ), envelope, None).await, req)
    }
}

impl Operator {
    /// The statement that proves its key, as the one after `prev`.
    pub fn register_after(&self, prev: Option<Kid>) -> Embedded {
        let register = Register {
            holder: Holder::Operator(self.name.clone()),
            aud: self.aud.clone(),
            form: self.form,
            iat: self.clock.now(),
            kver: self.kver,
            nonce: nonce(),
            pk: self.key.public(),
            prev,
        };
        register.sign(&self.key)
    }

    /// The command that registers its first key.
    pub fn registration(&self, duty: Option<Duty>) -> OperatorRegister {
        OperatorRegister { duty, register: self.register_after(None) }
    }

    /// The same operator with its next key.
    pub fn next(&self) -> Operator {
        let (name, aud, clock) = (self.name.clone(), self.aud.clone(), self.clock.clone());
        Operator { name, key: new_key(), kver: self.kver + 1, form: self.form, aud, clock }
    }

    /// Another hand of the same operator.
    pub fn again(&self) -> Operator {
        let (name, aud, clock) = (self.name.clone(), self.aud.clone(), self.clock.clone());
        let key = SigningKey::from_seed(&self.key.seed());
        Operator { name, key, kver: self.kver, form: self.form, aud, clock }
    }

    /// Signs this command as it stands.
    pub fn sign_value(&self, command: &Command<Value>) -> Envelope {
        Envelope::sign(PayloadType::Command, command, &self.key, self.form)
    }
}
