//! The keys that tokens are signed with: one that signs, those before it that verifiers still need, and perhaps one that
//! is published already and signs from a stated moment on. A key is never taken from the published set while a token
//! that it signed is good, unless an operator withdrew it.
//!
//! `JWK = {"crv":"Ed25519","kid","kty":"OKP","use":"sig","x"}` (RFC 7517, RFC 8037), `kid` its thumbprint (RFC 7638).
//! No `alg` stands there: one key signs under both names of its algorithm, `EdDSA` and `Ed25519` (RFC 9864), and a
//! verifier that finds the other name beside the key refuses the token. Which of them it takes, a verifier states itself.

use std::sync::{Arc, PoisonError, RwLock};

use serde_json::{Value, json};

use crate::base64url;
use crate::crypto::signature::{PublicKey, SigningKey};
use crate::id::Kid;
use crate::time::Timestamp;

/// One key for tokens.
#[derive(Debug)]
pub struct TokenKey {
    /// The key.
    pub key: SigningKey,
    /// From when on it signs, unless a later one does.
    pub signs: Timestamp,
    /// Until when it is published: none before it has a successor. No token that it signs lives longer.
    pub until: Option<Timestamp>,
}

impl TokenKey {
    fn published(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// The keys of a vault, in the order in which they were made. Clones share them.
#[derive(Clone, Debug)]
pub struct TokenKeys(Arc<RwLock<Arc<[TokenKey]>>>);

impl TokenKeys {
    /// These keys, the oldest first. Without any, nothing is signed.
    #[must_use]
    pub fn new(keys: Vec<TokenKey>) -> TokenKeys {
        TokenKeys(Arc::new(RwLock::new(keys.into())))
    }

    /// One key, without a successor.
    #[must_use]
    pub fn one(key: SigningKey) -> TokenKeys {
        TokenKeys::new(vec![TokenKey { key, signs: Timestamp::ZERO, until: None }])
    }

    /// Puts these keys in the place of the present ones, for all clones.
    pub fn replace(&self, keys: Vec<TokenKey>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys.into();
    }

    fn all(&self) -> Arc<[TokenKey]> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lends the key that signs at `now`: the newest whose turn has come.
    pub(super) fn signing<T>(&self, now: Timestamp, sign: impl FnOnce(&TokenKey) -> T) -> Option<T> {
        let keys = self.all();
        let turn = |key: &&TokenKey| key.signs <= now && key.published(now);
        keys.iter().rev().find(turn).map(sign)
    }

    /// The identifier of the key that signs at `now`.
    #[must_use]
    pub fn signer(&self, now: Timestamp) -> Option<Kid> {
        self.signing(now, |key| key.key.kid())
    }

    /// The key set that verifiers fetch, the newest key first (RFC 7517).
    #[must_use]
    pub fn jwks(&self, now: Timestamp) -> Value {
        let keys: Vec<Value> =
            self.all().iter().rev().filter(|key| key.published(now)).map(|key| jwk(&key.key.public())).collect();
        json!({ "keys": keys })
    }
}

fn jwk(key: &PublicKey) -> Value {
    let x = base64url::encode(&key.to_bytes());
    json!({ "crv": "Ed25519", "kid": key.kid(), "kty": "OKP", "use": "sig", "x": x })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    fn key(seed: u64, signs: u64, until: Option<u64>) -> TokenKey {
        let key = SigningKey::generate(&SeededEntropy::new(seed));
        TokenKey { key, signs: Timestamp(signs), until: until.map(Timestamp) }
    }

    fn kids(keys: &TokenKeys, now: u64) -> Vec<String> {
        let set = keys.jwks(Timestamp(now));
        set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_key_is_published_before_it_signs_and_for_as_long_as_its_tokens_live() {
        let [one, two] = [1, 2].map(|seed| key(seed, 0, None).key.kid());
        let keys = TokenKeys::new(vec![key(1, 0, Some(300)), key(2, 100, None)]);
        let (first, second) = (one.to_string(), two.to_string());
        for (now, signs, published) in [
            (0, &one, vec![&second, &first]),
            (99, &one, vec![&second, &first]),
            (100, &two, vec![&second, &first]),
            (299, &two, vec![&second, &first]),
            (300, &two, vec![&second]),
        ] {
            assert_eq!(keys.signer(Timestamp(now)).as_ref(), Some(signs), "{now}");
            assert_eq!(kids(&keys, now).iter().collect::<Vec<_>>(), published, "{now}");
        }
    }

    #[test]
    fn of_two_whose_turn_has_come_the_newest_signs() {
        let keys = TokenKeys::new(vec![key(1, 0, Some(900)), key(2, 600, Some(900)), key(3, 50, None)]);
        let third = Some(key(3, 0, None).key.kid());
        assert_eq!(keys.signer(Timestamp(49)), Some(key(1, 0, None).key.kid()));
        for now in [50, 600, 1000] {
            assert_eq!(keys.signer(Timestamp(now)), third, "a key that was passed over comes back at {now}");
        }
        assert_eq!(kids(&keys, 0).len(), 3);
    }

    #[test]
    fn a_withdrawn_key_neither_signs_nor_stands_there() {
        let keys = TokenKeys::new(vec![key(1, 0, Some(100)), key(2, 200, None)]);
        assert_eq!(keys.signer(Timestamp(150)), None);
        assert_eq!(kids(&keys, 150).len(), 1);
    }
}
