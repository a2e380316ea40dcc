//! Certificate authorities in commands: `nockvault/ca_create`, `ca_import`, `ca_certify`, `ca_show`. An authority's
//! private key stands in no statement: the vault makes it, or it comes sealed to the vault's intake key beside the
//! envelope, whose body names its digest.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Body;
use crate::crypto::hash::Digest;
use crate::id::SecretName;

/// Makes an authority.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CaCreate {
    /// Its name, among those of stored secrets; never used again.
    pub name: SecretName,
    /// The engine that signs with it.
    pub engine: String,
    /// What is wished of it, as the engine takes it.
    pub wish: Map<String, Value>,
}

impl Body for CaCreate {
    const TYP: &'static str = "nockvault/ca_create";
}

/// Brings an authority that was made elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CaImport {
    /// Its name, among those of stored secrets; never used again.
    pub name: SecretName,
    /// The engine that signs with it.
    pub engine: String,
    /// H(enc || ct) of the sealed key beside the envelope.
    pub sealed: Digest,
}

impl Body for CaImport {
    const TYP: &'static str = "nockvault/ca_import";
}

/// Gives an authority the certificate chain that a higher one signed for its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CaCertify {
    /// Which authority.
    pub name: SecretName,
    /// The engine that signs with it.
    pub engine: String,
    /// The chain as PEM, the authority's own certificate first.
    pub chain: String,
}

impl Body for CaCertify {
    const TYP: &'static str = "nockvault/ca_certify";
}

/// Shows what is public of an authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CaShow {
    /// Which authority.
    pub name: SecretName,
    /// The engine that signs with it.
    pub engine: String,
}

impl Body for CaShow {
    const TYP: &'static str = "nockvault/ca_show";
}
