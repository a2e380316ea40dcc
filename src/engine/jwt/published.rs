//! What verifiers fetch besides the keys: the discovery document (OpenID Connect Discovery 1.0, section 3) and the list
//! of tokens that were revoked before their time.
//!
//! `list = JWS(header, claims)`, header `{"alg":"EdDSA","kid","typ":"nv-revoked+jwt"}`, claims `{"exp","iat","iss",
//! "revoked":[jti, ..]}`. It is good until `exp`; a verifier that stays offline fetches it as often as that demands, and
//! refuses a token whose `jti` stands there, and every token when its newest list has run out. `typ` tells it from a
//! token, and a token from it.

use serde_json::{Value, json};

use super::{Alg, Jwt};
use crate::denial::{Denial, Reason};
use crate::engine::ca::{Ended, LINGERS};
use crate::time::{Seconds, Timestamp};

/// Where the discovery document stands below the issuer.
pub const DISCOVERY: &str = "/.well-known/openid-configuration";
/// Where the keys stand below the issuer.
pub const JWKS: &str = "/.well-known/jwks.json";
/// Where the list of revoked tokens stands.
pub const REVOKED: &str = "/jwt/revoked";

/// For how long a fetched key set may be kept.
pub const JWKS_CACHE: Seconds = Seconds(300);
/// For how long a list of revoked tokens is good.
pub const REVOKED_TTL: Seconds = Seconds(300);

impl Jwt {
    /// The key set (RFC 7517).
    #[must_use]
    pub fn jwks(&self, now: Timestamp) -> Value {
        self.keys.jwks(now)
    }

    /// The discovery document; none where the issuer is no https address, below which nothing can be fetched. The vault
    /// authorizes nobody over the web, so that the document names no endpoint for it.
    #[must_use]
    pub fn discovery(&self) -> Option<Value> {
        self.issuer.starts_with("https://").then(|| {
            json!({
                "claims_supported": ["iss", "sub", "aud", "iat", "nbf", "exp", "jti", "sid", "scope", "req", "cnf"],
                "id_token_signing_alg_values_supported": [Alg::EdDsa, Alg::Ed25519],
                "issuer": self.issuer,
                "jwks_uri": format!("{}{JWKS}", self.issuer.trim_end_matches('/')),
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
            })
        })
    }

    /// The signed list of the tokens of these leases, as far as they would still be good, be it by a clock that is behind.
    ///
    /// # Errors
    /// [`Reason::EngineUnavailable`] where no key may sign.
    pub fn revoked(&self, ended: &[Ended], now: Timestamp) -> Result<String, Denial> {
        let revoked: Vec<&str> =
            ended.iter().filter(|one| now < one.expires.plus(LINGERS)).map(|one| one.lease.as_str()).collect();
        let claims = json!({
            "exp": now.plus(REVOKED_TTL).whole_seconds(),
            "iat": now.whole_seconds(),
            "iss": self.issuer,
            "revoked": revoked,
        });
        let signed = self.keys.signing(now, |key| super::signed(&key.key, Alg::EdDsa, "nv-revoked+jwt", &claims));
        signed.map(|text| text.to_string()).ok_or_else(no_key)
    }
}

/// No key's turn has come: the clock stands before the first, or all were withdrawn.
pub(super) fn no_key() -> Denial {
    Denial::new(Reason::EngineUnavailable).internal("no token key may sign now; the clock may be wrong")
}
