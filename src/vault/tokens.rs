//! What verifiers of tokens rely on: the keys, the document that names them, and the list of tokens that were revoked
//! before their time. All of it is public, and none of it says what a secret is.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Mutex;

use super::Vault;
use crate::denial::Denial;
use crate::engine::jwt::Jwt;
use crate::id::RoleName;
use crate::statement::command::Page;
use crate::store::Failure;
use crate::time::{Seconds, Timestamp};

/// For how long a list is given out again: whoever fetches it, and however often, costs one look in so much time.
const FRESH: Seconds = Seconds(5);

/// The engine of tokens, and the list that was made last.
#[derive(Debug)]
pub(super) struct Tokens {
    jwt: Jwt,
    revoked: Mutex<Option<(Timestamp, Arc<str>)>>,
}

impl Tokens {
    pub(super) fn new(jwt: Jwt) -> Tokens {
        Tokens { jwt, revoked: Mutex::default() }
    }
}

impl Vault {
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
    pub async fn revoked_tokens(&self) -> Result<Arc<str>, Denial> {
        let now = self.clock.now();
        // One at a time: who comes meanwhile takes what this one makes.
        let mut made = self.tokens.revoked.lock().await;
        if let Some((at, list)) = &*made
            && *at <= now
            && now < at.plus(FRESH)
        {
            return Ok(Arc::clone(list));
        }
        let ended = self.store.listed(&self.token_roles().await?, now).await.map_err(Failure::denial)?;
        let list: Arc<str> = self.tokens.jwt.revoked(&ended, now)?.into();
        *made = Some((now, Arc::clone(&list)));
        Ok(list)
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
