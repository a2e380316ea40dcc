//! The `jwt` engine signs a token that others check offline, with the keys at `/.well-known/jwks.json`.
//!
//! `base64url(header) "." base64url(claims) "." base64url(Ed25519(header "." claims))` (RFC 7515, RFC 8037). Header
//! `{"alg":"EdDSA","kid","typ":"nv+jwt"}`. Claims (RFC 7519, times in whole seconds, `exp` rounded down): `iss` (the
//! configured issuer or the vault id), `sub` = `nv:<agent>`, `aud`, `iat`, `nbf`, `exp`, `jti` = the lease, `sid`,
//! `scope` where the role has one, `req` = H(PAE) of the request, and `cnf.jkt` (RFC 9449) where the session brought a
//! signing key.
//!
//! Role: `{"audience": [TEXT, ..], "scope": TEXT}`, `scope` optional. Params: `{"audience": TEXT}`, one of the role's;
//! it may be left out where the role has only one. Secret: `{"token","type":"jwt"}`.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::kv::object;
use super::{Capabilities, Engine, Mint, Minted, Schemas, StoredValues, members, schema_of};
use crate::base64url;
use crate::crypto::json::canonical;
use crate::crypto::signature::SigningKey;
use crate::denial::{Denial, Reason};
use crate::statement::reply::Revocation;

/// The engine and its key.
#[derive(Debug)]
pub struct Jwt {
    key: SigningKey,
    issuer: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    audience: Vec<String>,
    scope: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Params {
    audience: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Secret<'a> {
    token: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
}

impl Config {
    /// The one audience that the token is for.
    fn audience<'a>(&'a self, params: &'a Params) -> Result<&'a str, Denial> {
        match (&params.audience, self.audience.as_slice()) {
            (Some(wanted), allowed) if allowed.contains(wanted) => Ok(wanted),
            (None, [only]) => Ok(only),
            (Some(_), _) => Err(Denial::new(Reason::ParamsRefused).detail("the role does not allow this audience")),
            (None, _) => {
                Err(Denial::new(Reason::ParamsRefused).detail("the role has several audiences; name one as audience"))
            }
        }
    }
}

impl Jwt {
    /// The engine that signs with `key` in the name of `issuer`.
    #[must_use]
    pub fn new(key: SigningKey, issuer: String) -> Jwt {
        Jwt { key, issuer }
    }

    /// The key set that verifiers fetch (RFC 7517).
    #[must_use]
    pub fn jwks(&self) -> Value {
        let x = base64url::encode(&self.key.public().to_bytes());
        json!({ "keys": [{ "alg": "EdDSA", "crv": "Ed25519", "kid": self.key.kid(), "kty": "OKP", "use": "sig", "x": x }] })
    }

    fn claims(&self, mint: &Mint<'_>, config: &Config, audience: &str) -> Map<String, Value> {
        let permit = mint.permit;
        let mut claims = Map::new();
        let mut claim = |name: &str, value: Value| claims.insert(name.into(), value);
        claim("iss", json!(self.issuer));
        claim("sub", json!(format!("nv:{}", permit.agent())));
        claim("aud", json!(audience));
        claim("iat", json!(permit.issued().whole_seconds()));
        claim("nbf", json!(permit.issued().whole_seconds()));
        claim("exp", json!(permit.expires().whole_seconds()));
        claim("jti", json!(permit.lease()));
        claim("sid", json!(permit.sid()));
        claim("req", json!(permit.req()));
        if let Some(scope) = &config.scope {
            claim("scope", json!(scope));
        }
        if let Some(key) = mint.session_key {
            claim("cnf", json!({ "jkt": key.kid() }));
        }
        claims
    }

    fn token(&self, claims: &Map<String, Value>) -> Zeroizing<String> {
        let header = json!({ "alg": "EdDSA", "kid": self.key.kid(), "typ": "nv+jwt" });
        let signed = format!("{}.{}", base64url::encode(&canonical(&header)), base64url::encode(&canonical(claims)));
        let signature = self.key.sign_raw(signed.as_bytes());
        Zeroizing::new(format!("{signed}.{}", base64url::encode(signature.as_bytes())))
    }
}

#[async_trait]
impl Engine for Jwt {
    fn kind(&self) -> &'static str {
        "jwt"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { renewable: false, revocation: Revocation::Listed }
    }

    fn schemas(&self) -> Schemas {
        Schemas { config: schema_of::<Config>(), params: schema_of::<Params>(), secret: schema_of::<Secret<'_>>() }
    }

    fn check_role(&self, config: &Map<String, Value>) -> Result<(), Denial> {
        let config: Config = members(config, Reason::BadRole)?;
        let fits = |text: &String| !text.is_empty() && text.len() <= 256 && !text.chars().any(char::is_control);
        if config.audience.is_empty() || !config.audience.iter().all(fits) || !config.scope.iter().all(fits) {
            let detail = "audience is a list of at least one text, scope a text; each has 1 to 256 bytes";
            return Err(Denial::new(Reason::BadRole).detail(detail));
        }
        Ok(())
    }

    fn check_params(&self, config: &Map<String, Value>, params: &Map<String, Value>) -> Result<(), Denial> {
        let config: Config = members(config, Reason::BadRole)?;
        let params: Params = members(params, Reason::ParamsRefused)?;
        config.audience(&params).map(|_| ())
    }

    async fn mint(&self, mint: Mint<'_>, _: &dyn StoredValues) -> Result<Minted, Denial> {
        let config: Config = members(mint.permit.config(), Reason::BadRole)?;
        let params: Params = members(mint.params, Reason::ParamsRefused)?;
        let audience = config.audience(&params)?;
        let token = self.token(&self.claims(&mint, &config, audience));
        let secret = object(&Secret { token: &token, kind: "jwt" }, token.len())?;
        Ok(Minted { secret, until: None })
    }
}
