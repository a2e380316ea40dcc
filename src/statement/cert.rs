//! `nockvault/cert`: the identity key names the vault's other keys, each with one role and a life.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base64url::Bytes;
use crate::id::{Aud, Kid};
use crate::time::Timestamp;

/// The statement's `typ`.
pub const TYP: &str = "nockvault/cert";

/// What a key of the vault is for; a key has one role and is never used in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyRole {
    /// Signs responses.
    Response,
    /// Signs audit entries for one epoch.
    Audit,
    /// Signs checkpoints.
    Checkpoint,
    /// X25519: operators seal secret input to it.
    Intake,
    /// Signs tokens of the `jwt` engine.
    Jwt,
}

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cert {
    /// The vault.
    pub aud: Aud,
    /// Which of the keys of this role it is, counted from 1.
    pub epoch: u64,
    /// The key is good before this.
    pub exp: Timestamp,
    /// The key's RFC 7638 thumbprint.
    pub kid: Kid,
    /// The key is good from this on.
    pub nbf: Timestamp,
    /// The daemon that holds it.
    pub node: String,
    /// The public key, 32 bytes: Ed25519, for `intake` X25519.
    pub pk: Bytes,
    /// What it is for.
    pub role: KeyRole,
    /// `nockvault/cert`.
    pub typ: String,
    /// 1.
    pub v: u64,
}
