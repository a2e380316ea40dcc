//! What verifiers of tokens rely on: the keys, the document that names them, and the list of tokens that were revoked
//! before their time. All of it is public, and none of it says what a secret is.
//!
//! A rotation is one order: the key, when it signs, and until when those before it are published, are durable together or
//! not at all. The keys in memory are read from the store after it, and every minute, so that one whose answer was lost
//! is published long before it signs.

use std::sync::{Arc, PoisonError, RwLock};

use serde_json::Value;
use tokio::sync::Mutex;

use super::answer::Outcome;
use super::publish::{FRESH, Kept};
use super::{Vault, keys};
use crate::crypto::envelope::{Embedded, Envelope};
use crate::crypto::signature::SigningKey;
use crate::denial::{Denial, Reason};
use crate::engine::ca::LINGERS;
use crate::engine::jwt::{self, Jwt, TokenKeys};
use crate::id::RoleName;
use crate::statement::command::Page;
use crate::statement::key::KeyRotate;
use crate::store::{Failure, KeptKey, Order, Store, TokenKey};
use crate::time::{Seconds, Timestamp};

/// How often the keys are read anew.
const READ_ANEW: Seconds = Seconds(60);

/// The engine of tokens, its keys, and the list that was made last.
#[derive(Debug)]
pub(super) struct Tokens {
    jwt: Jwt,
    keys: TokenKeys,
    first: KeptKey,
    /// The certificates of the keys after the first.
    certs: RwLock<Vec<Embedded>>,
    /// When the keys were read; held while a rotation is under way.
    read: Mutex<Timestamp>,
    revoked: Kept<String>,
}

impl Tokens {
    /// The keys in the store, the first of which is `first`, and the engine that signs with them.
    pub(super) async fn open(
        store: &dyn Store,
        first: KeptKey,
        issuer: String,
        now: Timestamp,
    ) -> Result<Tokens, Failure> {
        let keys = TokenKeys::new(Vec::new());
        let jwt = Jwt::new(keys.clone(), issuer);
        let read = Mutex::new(now);
        let tokens = Tokens { jwt, keys, first, certs: RwLock::default(), read, revoked: Kept::default() };
        tokens.read(store).await?;
        Ok(tokens)
    }

    /// The engine.
    pub(super) fn engine(&self) -> Jwt {
        self.jwt.clone()
    }

    /// The certificates of the keys after the first.
    pub(super) fn certs(&self) -> Vec<Embedded> {
        self.certs.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the keys from the store. Where it cannot say which of them are good, none is.
    async fn read(&self, store: &dyn Store) -> Result<Vec<TokenKey>, Failure> {
        let later = match store.token_keys().await {
            Err(Failure::Denied(denial)) if denial.reason == Reason::Quarantined => {
                tracing::error!(why = %denial.internal, "no token is signed and no key for tokens is published");
                self.keys.replace(Vec::new());
                return Ok(Vec::new());
            }
            later => later?,
        };
        self.keys.replace(in_order(&self.first, &later));
        let certs = later.iter().map(|key| key.key.cert.clone()).collect();
        *self.certs.write().unwrap_or_else(PoisonError::into_inner) = certs;
        Ok(later)
    }
}

/// The keys as the engine takes them: each published until the earliest that a later one says.
fn in_order(first: &KeptKey, later: &[TokenKey]) -> Vec<jwt::TokenKey> {
    let key = |kept: &KeptKey| SigningKey::from_seed(&kept.secret);
    let mut until = None;
    let mut keys = Vec::with_capacity(later.len() + 1);
    for one in later.iter().rev() {
        keys.push(jwt::TokenKey { key: key(&one.key), signs: one.signs, until });
        until = Some(until.map_or(one.former_until, |until: Timestamp| until.min(one.former_until)));
    }
    keys.push(jwt::TokenKey { key: key(first), signs: Timestamp::ZERO, until });
    keys.reverse();
    keys
}

impl Vault {
    /// `nockvault/key_rotate`
    pub(super) async fn key_rotate(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<KeyRotate>(envelope).await?;
        let command = &admitted.authenticated;
        let mut read = self.tokens.read.lock().await;
        let key = match self.tokens.read(&*self.store).await {
            // The first is number one.
            Ok(later) => {
                let (epoch, node, now) = (later.len() as u64 + 2, &self.limits.node, self.clock.now());
                Ok(Arc::new(keys::make_token_key(epoch, &self.identity, node, now, &*self.entropy)))
            }
            Err(failure) => Err(failure.denial()),
        };
        let order = key.as_ref().map(|key| Order::RotateKey(command, key)).map_err(Clone::clone);
        let outcome = self.carry(command, order).await;
        // A crash before this leaves the new key to the next start.
        self.read_token_keys(&mut read).await;
        self.tokens.revoked.forget().await;
        Ok(outcome)
    }

    async fn read_token_keys(&self, read: &mut Timestamp) {
        match self.tokens.read(&*self.store).await {
            Ok(_) => *read = self.clock.now(),
            Err(failure) => tracing::warn!(why = %failure, "the keys for tokens could not be read; those known stay"),
        }
    }

    /// Reads the keys for tokens anew: their times were changed.
    pub(super) async fn token_keys_changed(&self) {
        let mut read = self.tokens.read.lock().await;
        self.read_token_keys(&mut read).await;
    }

    /// Reads the keys for tokens anew, once a minute.
    pub(super) async fn read_token_keys_if_due(&self) {
        let mut read = self.tokens.read.lock().await;
        let now = self.clock.now();
        if now >= read.plus(READ_ANEW) || now < *read {
            self.read_token_keys(&mut read).await;
        }
    }

    /// Gives the keys for tokens after the first new certificates, where theirs are past half their life.
    pub(super) async fn renew_token_certs(&self) -> Result<(), Failure> {
        for later in self.tokens.read(&*self.store).await? {
            let now = self.clock.now();
            if let Some(cert) = keys::renewed(&later.key, &self.identity, &self.limits.node, now, now) {
                self.store.replace_cert(later.key.role, &cert).await?;
            }
        }
        self.tokens.read(&*self.store).await.map(drop)
    }

    /// The keys that verify tokens of the `jwt` engine (RFC 7517).
    #[must_use]
    pub fn jwks(&self) -> Value {
        self.tokens.jwt.jwks(self.clock.now())
    }

    /// The discovery document of issued tokens, where there is an https issuer.
    #[must_use]
    pub fn discovery(&self) -> Option<Value> {
        self.tokens.jwt.discovery()
    }

    /// The signed list of tokens that were revoked and have not expired. What was revoked in the last seconds may be
    /// missing.
    ///
    /// # Errors
    /// Where the store cannot be read now.
    pub async fn revoked_tokens(self: &Arc<Vault>) -> Result<Arc<String>, Denial> {
        let make = |vault: Arc<Vault>, now: Timestamp| async move {
            let listed = vault.store.listed(&vault.token_roles().await?, now.minus(LINGERS)).await;
            let (ended, jwt) = (listed.map_err(Failure::denial)?, vault.tokens.engine());
            // A long list takes its time to be signed, and holds up nobody.
            let signed = tokio::task::spawn_blocking(move || jwt.revoked(&ended, now));
            signed.await.unwrap_or_else(|_| Err(Reason::Internal.into()))
        };
        self.tokens.revoked.fresh(self, FRESH, make).await
    }

    async fn token_roles(&self) -> Result<Vec<RoleName>, Denial> {
        let (mut roles, mut page) = (Vec::new(), Page::first());
        loop {
            let listed = self.store.roles(&page).await.map_err(Failure::denial)?;
            roles.extend(listed.items.iter().filter(|role| role.engine == "jwt").map(|role| role.name.clone()));
            let Some(next) = listed.next else { return Ok(roles) };
            page.after = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;
    use crate::statement::cert::KeyRole;

    #[test]
    fn a_key_is_published_until_the_earliest_that_a_later_one_says() {
        let (identity, entropy) = (SigningKey::generate(&SeededEntropy::new(1)), SeededEntropy::new(2));
        let first = keys::make(KeyRole::Jwt, &identity, "n1", Timestamp(1), &entropy);
        let later = |epoch, signs, former| TokenKey {
            key: keys::make_token_key(epoch, &identity, "n1", Timestamp(1), &entropy),
            signs: Timestamp(signs),
            former_until: Timestamp(former),
        };
        let untils = |later: &[TokenKey]| -> Vec<Option<u64>> {
            in_order(&first, later).iter().map(|key| key.until.map(|until| until.0)).collect()
        };
        assert_eq!(untils(&[]), [None]);
        assert_eq!(untils(&[later(2, 10, 90), later(3, 20, 100)]), [Some(90), Some(100), None]);
        let withdrawn = [later(2, 10, 90), later(3, 20, 20), later(4, 30, 110)];
        assert_eq!(untils(&withdrawn), [Some(20), Some(20), Some(110), None], "a withdrawn key comes back");
        let signs: Vec<u64> = in_order(&first, &withdrawn).iter().map(|key| key.signs.0).collect();
        assert_eq!(signs, [0, 10, 20, 30]);
    }
}
