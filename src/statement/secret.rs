//! Stored secrets in commands: `nockvault/secret_put`, `secret_rollback`, `secret_list`, `secret_versions`. The value itself stands in no
//! statement: it is sealed to the vault's intake key and travels beside the envelope, whose body names its digest.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::command::Page;
use super::{Body, nullable};
use crate::crypto::hash::Digest;
use crate::id::{Aud, Nonce, SecretName};
use crate::time::Timestamp;

/// The largest sealed input, in bytes of ciphertext.
pub const SEALED_INPUT_MAX: usize = 1 << 20;

/// What a stored secret is for. It is fixed by the first version and bound into the seal at rest: what was stored for
/// one use is never found by another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecretUse {
    /// A value that the `kv` engine hands out.
    #[default]
    Kv,
    /// What an engine needs to be let in at its backend. It is never handed out.
    Backend,
    /// A certificate authority's key. It is never handed out.
    Ca,
}

impl SecretUse {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            SecretUse::Kv => "kv",
            SecretUse::Backend => "backend",
            SecretUse::Ca => "ca",
        }
    }

    /// The use of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<SecretUse> {
        [SecretUse::Kv, SecretUse::Backend, SecretUse::Ca].into_iter().find(|used| used.as_str() == word)
    }
}

/// Stores a new version of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretPut {
    /// Its name.
    pub name: SecretName,
    /// H(enc || ct) of the sealed value beside the envelope.
    pub sealed: Digest,
    /// When the value stops being good; none means never. Only for the use `kv`.
    #[serde(deserialize_with = "nullable")]
    pub expires: Option<Timestamp>,
    /// What it is for. Later versions are for the same use as the first.
    #[serde(rename = "use")]
    pub used: SecretUse,
}

impl Body for SecretPut {
    const TYP: &'static str = "nockvault/secret_put";
}

/// Stores the value of an earlier version once more, as the newest one. The value does not leave the vault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretRollback {
    /// Which secret, of the use `kv`.
    pub name: SecretName,
    /// Which version's value, with its end where it has one.
    pub version: u64,
}

impl Body for SecretRollback {
    const TYP: &'static str = "nockvault/secret_rollback";
}

/// Lists stored secrets by name, without values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretList {
    /// Which part of the list.
    pub page: Page,
}

impl Body for SecretList {
    const TYP: &'static str = "nockvault/secret_list";
}

/// Lists the versions of one secret, without values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretVersions {
    /// Which secret.
    pub name: SecretName,
}

impl Body for SecretVersions {
    const TYP: &'static str = "nockvault/secret_versions";
}

/// The HPKE `info` of sealed input: `"nockvault-intake-v1" 0x00 || aud || 0x00 || nonce`, the nonce as its text.
#[must_use]
pub fn intake_info(aud: &Aud, nonce: &Nonce) -> Vec<u8> {
    [b"nockvault-intake-v1\0", aud.as_str().as_bytes(), b"\0", nonce.as_str().as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Kid;

    #[test]
    fn a_use_has_one_word() {
        for used in [SecretUse::Kv, SecretUse::Backend, SecretUse::Ca] {
            assert_eq!(serde_json::to_value(used).unwrap(), used.as_str());
            assert_eq!(SecretUse::from_word(used.as_str()), Some(used));
        }
        assert_eq!(SecretUse::from_word("root"), None);
    }

    #[test]
    fn what_is_sealed_is_bound_to_its_vault_and_its_command() {
        let (aud, nonce) = (Aud::of_identity(&Kid::from_thumbprint(&[1; 32])), Nonce::from_bytes(&[7; 24]));
        let wanted = format!("nockvault-intake-v1\0{aud}\0{}", nonce.as_str());
        assert_eq!(intake_info(&aud, &nonce), wanted.as_bytes());
    }
}
