//! `nockvault/hello` and `nockvault/close`: the two ends of a session, and the seal that it is pinned to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Body, present};
use crate::crypto::hpke::SealKeyBytes;
use crate::crypto::signature::PublicKey;

/// The session's own key, to which credentials are sealed. The first request of a session pins it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// X25519 public key, 32 bytes.
    pub pk: SealKeyBytes,
    /// The HPKE suite: `X25519-HKDF-SHA256-CHACHA20POLY1305` is the one there is.
    pub suite: String,
    /// The session's Ed25519 signing key, where it has one.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "present")]
    #[schemars(with = "PublicKey")]
    pub sig_pk: Option<PublicKey>,
}

/// Opens a session before the first need: the vault answers with its time, its limits and the chain's head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// The key that the session is pinned to.
    pub seal: Seal,
}

impl Body for Hello {
    const TYP: &'static str = "nockvault/hello";
}

/// Ends a session and releases every lease of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Close {}

impl Body for Close {
    const TYP: &'static str = "nockvault/close";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_member_is_not_null() {
        let pk = crate::base64url::encode(&[9; 32]);
        let seal = |more: &str| serde_json::from_str::<Seal>(&format!(r#"{{"pk":"{pk}","suite":"x"{more}}}"#));
        assert!(seal("").is_ok());
        assert!(seal(r#","sig_pk":null"#).is_err());
    }
}
