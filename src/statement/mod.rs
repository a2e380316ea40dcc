//! What is signed: the statements of agents, operators and the vault, one type for each `typ`.
//!
//! A statement is canonical JSON with exactly the members of its schema; the schemas under `proto/schema/` are made
//! from these types. What all requests share stands in [`request::Request`], what all commands share in
//! [`command::Command`]; the types named for a `typ` hold only what is their own. Parsing a statement checks its
//! grammar and nothing else: whether it may be believed is for [`crate::authn`].

pub mod agent;
pub mod approval;
pub mod audit_read;
pub mod backup;
pub mod ca;
pub mod card;
pub mod cert;
pub mod clock;
pub mod command;
pub mod custody;
pub mod directory;
pub mod doctor;
pub mod explain;
pub mod freeze;
pub mod grant;
pub mod issue;
pub mod key;
pub mod lease;
pub mod operator;
pub mod register;
pub mod reply;
pub mod request;
pub mod role;
pub mod rotate_key;
pub mod schema;
pub mod seal;
pub mod secret;
pub mod session;
pub mod status;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version of every statement of this protocol.
pub const VERSION: u64 = 1;

/// The members that are one `typ`'s own.
pub trait Body: Serialize + DeserializeOwned + JsonSchema + Clone + std::fmt::Debug + Send + Sync + 'static {
    /// The value of the statement's member `typ`.
    const TYP: &'static str;
}

/// Lets a member be `null` but not absent: a statement has exactly the members of its schema.
pub(crate) fn nullable<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: serde::Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    serde::Deserialize::deserialize(deserializer)
}

/// Lets a member be absent but not `null`: what is not there is not written down at all.
pub(crate) fn present<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: serde::Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    T::deserialize(deserializer).map(Some)
}
