//! `nockvault/register`: the holder of a key proves that it holds it. The statement is signed by the key that it names;
//! no key enters a vault without one, neither an agent's nor an operator's.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::present;
use crate::crypto::envelope::{Embedded, Envelope, PayloadType};
use crate::crypto::json::{Admission, admit_as};
use crate::crypto::signature::{Form, PublicKey, SigningKey};
use crate::denial::{Denial, Reason};
use crate::id::{AgentName, Aud, Kid, Nonce, OperatorName};
use crate::time::{Seconds, Timestamp};

/// The statement's `typ`.
pub const TYP: &str = "nockvault/register";

/// A register statement is taken for 30 days after it was signed.
pub const MAX_AGE: Seconds = Seconds(30 * 86_400);

/// Who holds a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    /// An agent.
    Agent(AgentName),
    /// An operator.
    Operator(OperatorName),
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Holder::Agent(name) => write!(f, "agent {name}"),
            Holder::Operator(name) => write!(f, "operator {name}"),
        }
    }
}

/// A key and its holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Members", into = "Members")]
pub struct Register {
    /// Whose key it is to be.
    pub holder: Holder,
    /// The vault it is meant for.
    pub aud: Aud,
    /// How its signatures are formed, for ever.
    pub form: Form,
    /// When it was signed.
    pub iat: Timestamp,
    /// The key's number among the holder's keys, from 1.
    pub kver: u64,
    /// Random, so that two statements differ.
    pub nonce: Nonce,
    /// The key.
    pub pk: PublicKey,
    /// The key it follows; none for a first key.
    pub prev: Option<Kid>,
}

/// The members as they stand on paper.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Members {
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "present")]
    #[schemars(with = "AgentName")]
    agent: Option<AgentName>,
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "present")]
    #[schemars(with = "OperatorName")]
    operator: Option<OperatorName>,
    aud: Aud,
    form: Form,
    iat: Timestamp,
    kid: Kid,
    kver: u64,
    nonce: Nonce,
    pk: PublicKey,
    /// The key identifier it follows, or an empty text.
    prev: String,
    typ: String,
    v: u64,
}

impl TryFrom<Members> for Register {
    type Error = String;

    fn try_from(members: Members) -> Result<Register, String> {
        let holder = match (members.agent, members.operator) {
            (Some(agent), None) => Holder::Agent(agent),
            (None, Some(operator)) => Holder::Operator(operator),
            _ => return Err("it names either an agent or an operator".into()),
        };
        if members.typ != TYP || members.v != super::VERSION {
            return Err(format!("it is not a {TYP} of version {}", super::VERSION));
        }
        if members.pk.kid() != members.kid {
            return Err("its kid is not the thumbprint of its pk".into());
        }
        let prev = match members.prev.as_str() {
            "" => None,
            kid => Some(kid.parse::<Kid>().map_err(|bad| bad.to_string())?),
        };
        if (members.kver == 1) != prev.is_none() || members.kver == 0 {
            return Err(
                "kver is 1 for a first key, whose prev is empty, and larger for one that follows another".into()
            );
        }
        let Members { aud, form, iat, kver, nonce, pk, .. } = members;
        Ok(Register { holder, aud, form, iat, kver, nonce, pk, prev })
    }
}

impl From<Register> for Members {
    fn from(register: Register) -> Members {
        let kid = register.pk.kid();
        let (agent, operator) = match register.holder {
            Holder::Agent(name) => (Some(name), None),
            Holder::Operator(name) => (None, Some(name)),
        };
        Members {
            agent,
            operator,
            aud: register.aud,
            form: register.form,
            iat: register.iat,
            kid,
            kver: register.kver,
            nonce: register.nonce,
            pk: register.pk,
            prev: register.prev.map(String::from).unwrap_or_default(),
            typ: TYP.into(),
            v: super::VERSION,
        }
    }
}

impl JsonSchema for Register {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Register".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let mut schema = Members::json_schema(generator);
        schema.insert("oneOf".into(), serde_json::json!([{ "required": ["agent"] }, { "required": ["operator"] }]));
        schema
    }
}

impl Register {
    /// The statement signed by its own key.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> Embedded {
        Envelope::sign(PayloadType::Register, self, key, self.form).embed().expect("a register statement is JSON")
    }

    /// Reads an embedded register envelope and checks that the key it names signed it, in the form it names.
    ///
    /// # Errors
    /// [`Reason::BadProof`] with what was wrong. Age, vault and novelty are for the caller, which knows now and here.
    pub fn open(embedded: &Embedded) -> Result<Register, Denial> {
        let envelope = embedded.open(PayloadType::Register);
        let register: Register = admit_as(&envelope.payload, &Admission::AGENT)
            .map_err(|why| Denial::new(Reason::BadProof).detail(why.to_string()))?;
        register
            .pk
            .verify(register.form, &envelope.payload_type, &envelope.payload, &envelope.signature)
            .map_err(|_| Denial::new(Reason::BadProof).detail("the key it names did not sign it"))?;
        Ok(register)
    }

    /// What else a vault asks of a register statement that just arrived: meant for this vault, signed in the last 30
    /// days and not in the future beyond `skew`.
    ///
    /// # Errors
    /// [`Reason::BadProof`] or [`Reason::WrongVault`].
    pub fn timely(&self, aud: &Aud, now: Timestamp, skew: Seconds) -> Result<(), Denial> {
        if self.aud != *aud {
            return Err(Denial::new(Reason::WrongVault).detail(format!("the register statement is for {}", self.aud)));
        }
        if self.iat > now.plus(skew) || self.iat < now.minus(MAX_AGE) {
            let detail = "the register statement is older than 30 days or from the future; make a new one";
            return Err(Denial::new(Reason::BadProof).detail(detail).at(now));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::entropy::SeededEntropy;

    const DAY: u64 = 86_400_000;

    fn register() -> Register {
        let pk = SigningKey::generate(&SeededEntropy::new(1)).public();
        let (holder, aud) = (Holder::Agent("kit".parse().unwrap()), Aud::of_identity(&pk.kid()));
        let (iat, nonce, prev) = (Timestamp(300 * DAY), Nonce::from_bytes(&[7; 24]), Some(pk.kid()));
        Register { holder, aud, form: Form::Pae, iat, kver: 2, nonce, pk, prev }
    }

    #[test]
    fn a_statement_that_contradicts_itself_is_none() {
        let with = |change: fn(&mut Value)| {
            let mut value = serde_json::to_value(register()).unwrap();
            change(&mut value);
            serde_json::from_value::<Register>(value)
        };
        let first = |value: &mut Value| (value["kver"], value["prev"]) = (json!(1), json!(""));
        assert_eq!((with(|_| {}).unwrap(), with(first).unwrap().prev), (register(), None));
        let bad: [fn(&mut Value); 10] = [
            |value| value["typ"] = json!("nockvault/cert"),
            |value| value["v"] = json!(2),
            |value| value["kid"] = json!("A".repeat(43)),
            |value| value["operator"] = json!("ada"),
            |value| drop(value.as_object_mut().unwrap().remove("agent")),
            |value| value["kver"] = json!(1),
            |value| value["kver"] = json!(0),
            |value| value["prev"] = json!(""),
            |value| value["prev"] = json!("short"),
            |value| (value["kver"], value["prev"]) = (json!(0), json!("")),
        ];
        for (nth, change) in bad.into_iter().enumerate() {
            assert!(with(change).is_err(), "number {nth}");
        }
    }

    #[test]
    fn a_statement_is_taken_here_and_for_thirty_days() {
        let (register, skew) = (register(), Seconds(300));
        let at = |now: u64| register.timely(&register.aud, Timestamp(now), skew).map_err(|denial| denial.reason);
        let (early, late) = (register.iat.0 - 300_000, register.iat.0 + 30 * DAY);
        assert_eq!([at(early), at(register.iat.0), at(late)], [Ok(()); 3]);
        assert_eq!([at(early - 1), at(late + 1)], [Err(Reason::BadProof); 2]);
        let other = Aud::of_identity(&SigningKey::generate(&SeededEntropy::new(2)).public().kid());
        let elsewhere = register.timely(&other, register.iat, skew).map_err(|denial| denial.reason);
        assert_eq!(elsewhere, Err(Reason::WrongVault));
    }
}
