//! Keys that are made here, for authorities and for sessions that bring none.
//!
//! The default is ECDSA on P-256: every TLS stack takes it, from browsers and Windows to load balancers and hardware
//! of ten years ago. Ed25519 is smaller and has no nonce to get wrong; OpenSSL, rustls and Go take it, browsers and
//! many managed load balancers do not, so that it is there for those who know both ends.

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use schemars::JsonSchema;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::denial::{Denial, Reason};
use crate::entropy::Entropy;

/// A key that can sign. The PKCS #8 it was read from is erased with it; the parsed form belongs to `ring`, which
/// erases nothing.
pub(super) type Key = Zeroizing<KeyPair>;

/// PKCS #8 version 1 of an Ed25519 key (RFC 8410 section 7), up to its seed. Version 2, with the public key behind it,
/// is not read by OpenSSL before 3.2.
const ED25519_PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// What kind of key is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub(super) enum Algorithm {
    /// ECDSA on P-256 with SHA-256: taken everywhere.
    #[default]
    #[serde(rename = "ecdsa-p256")]
    EcdsaP256,
    /// Ed25519 (RFC 8410): taken by OpenSSL, rustls and Go, not by browsers.
    #[serde(rename = "ed25519")]
    Ed25519,
}

/// A fresh key.
pub(super) fn generate(algorithm: Algorithm, entropy: &dyn Entropy) -> Result<Key, Denial> {
    match algorithm {
        Algorithm::Ed25519 => {
            let mut pkcs8 = Zeroizing::new([0u8; 48]);
            pkcs8[..16].copy_from_slice(&ED25519_PKCS8);
            entropy.fill(&mut pkcs8[16..]);
            read(pkcs8.as_slice()).ok_or_else(|| Denial::new(Reason::Internal).internal("an Ed25519 seed was refused"))
        }
        // `ring` makes P-256 keys from the system's generator alone; `entropy` has no part in it.
        Algorithm::EcdsaP256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .map(Zeroizing::new)
            .map_err(|why| Denial::new(Reason::Internal).internal(why)),
    }
}

/// The key of a PKCS #8 document: Ed25519, P-256, P-384, or RSA of 2048 to 4096 bits.
pub(super) fn read(pkcs8: &[u8]) -> Option<Key> {
    KeyPair::try_from(pkcs8).ok().map(Zeroizing::new)
}

/// The word for a key's algorithm.
pub(super) fn word(key: &KeyPair) -> &'static str {
    match key.algorithm() {
        algorithm if *algorithm == PKCS_ED25519 => "ed25519",
        algorithm if *algorithm == PKCS_ECDSA_P256_SHA256 => "ecdsa-p256",
        algorithm if *algorithm == PKCS_ECDSA_P384_SHA384 => "ecdsa-p384",
        _ => "rsa",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    #[test]
    fn an_ed25519_key_comes_from_the_entropy_given_and_reads_back() {
        let made = |seed| generate(Algorithm::Ed25519, &SeededEntropy::new(seed)).unwrap();
        assert_eq!(made(1).serialized_der(), made(1).serialized_der());
        assert_ne!(made(1).public_key_raw(), made(2).public_key_raw());
        assert_eq!((made(1).serialized_der().len(), word(&made(1))), (48, "ed25519"));
        let other = generate(Algorithm::EcdsaP256, &SeededEntropy::new(1)).unwrap();
        assert_eq!(word(&read(other.serialized_der()).unwrap()), "ecdsa-p256");
        assert!(read(&made(1).serialized_der()[..47]).is_none() && read(b"").is_none());
    }
}
