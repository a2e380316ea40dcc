//! An agent's request: the members that all requests share, and beside them those of one `typ`.
//!
//! On paper the two stand in one flat object; [`Request`] takes it apart, so that code which needs only the common part
//! can be written once.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::{Map, Value};

use super::Body;
use crate::crypto::hash::Digest;
use crate::id::{AgentName, Aud, Kid, Nonce, Sid};
use crate::time::Timestamp;

/// The members of every request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Common {
    /// Version of the statement: 1.
    pub v: u64,
    /// What is asked.
    pub typ: String,
    /// The vault that is asked.
    pub aud: Aud,
    /// Who asks.
    pub agent: AgentName,
    /// The key that signs.
    pub kid: Kid,
    /// That key's number among the agent's keys, from 1.
    pub kver: u64,
    /// The session in which it is asked.
    pub sid: Sid,
    /// 16 to 32 random bytes, never used twice by one key.
    pub nonce: Nonce,
    /// When it was signed.
    pub iat: Timestamp,
    /// The newest state of its own chain that the agent holds.
    pub seen: Seen,
}

/// A state of a chain: so many entries, and the leaf of the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// Leaf of entry `size - 1`; 32 zero bytes where `size` is 0.
    pub head: Digest,
    /// How many entries.
    pub size: u64,
}

impl Seen {
    /// Nothing held yet.
    pub const NONE: Seen = Seen { head: Digest::ZERO, size: 0 };
}

/// A request with the members of one `typ`.
#[derive(Clone, Debug, PartialEq)]
pub struct Request<B> {
    /// What all requests have.
    pub common: Common,
    /// What this one has besides.
    pub body: B,
}

const COMMON: [&str; 10] = ["v", "typ", "aud", "agent", "kid", "kver", "sid", "nonce", "iat", "seen"];

impl<B: Body> Serialize for Request<B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let object = |value: Result<Value, serde_json::Error>| match value {
            Ok(Value::Object(members)) => Ok(members),
            Ok(_) => Err(ser::Error::custom("a statement is an object")),
            Err(error) => Err(ser::Error::custom(error)),
        };
        let mut members = object(serde_json::to_value(&self.common))?;
        members.extend(object(serde_json::to_value(&self.body))?);
        members.serialize(serializer)
    }
}

impl<'de, B: Body> Deserialize<'de> for Request<B> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Request<B>, D::Error> {
        let members = Map::<String, Value>::deserialize(deserializer)?;
        let (common, body): (Map<_, _>, Map<_, _>) =
            members.into_iter().partition(|(name, _)| COMMON.contains(&name.as_str()));
        Ok(Request {
            common: serde_json::from_value(Value::Object(common)).map_err(de::Error::custom)?,
            body: serde_json::from_value(Value::Object(body)).map_err(de::Error::custom)?,
        })
    }
}

impl<B: Body> JsonSchema for Request<B> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        B::TYP.into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        super::schema::merged(Common::json_schema(generator), B::json_schema(generator), B::TYP)
    }
}
