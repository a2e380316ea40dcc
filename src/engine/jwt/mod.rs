//! The `jwt` engine signs a token that others check offline, with the keys at `/.well-known/jwks.json`.
//!
//! `base64url(header) "." base64url(claims) "." base64url(Ed25519(header "." claims))` (RFC 7515, RFC 8037). Header
//! `{"alg","kid","typ":"nv+jwt"}`, where `alg` is `EdDSA`, or `Ed25519` (RFC 9864) where the role says so: the signature
//! is the same. Claims (RFC 7519, times in whole seconds, `exp` rounded down): `iss` (the configured issuer or the vault
//! id), `sub` = `nv:<agent>`, `aud`, `iat`, `nbf`, `exp`, `jti` = the lease, `sid`, `scope` where the role has one,
//! `req` = H(PAE) of the request, `cnf.jkt` (RFC 9449) where the session brought a signing key, and what the role adds.
//!
//! Role: `{"audience": [TEXT, ..], "scope": TEXT, "alg": TEXT, "claims": {..}}`, all but `audience` optional. `scope` is
//! words with single spaces between (RFC 6749, section 3.3); a text among `claims` may hold `{{agent}}`, `{{session}}`,
//! `{{role}}`, `{{lease}}`. Params: `{"audience": TEXT, "scope": TEXT}`, one of the role's audiences, which may be left
//! out where the role has only one, and some of the words of its scope. Secret: `{"token","type":"jwt"}`.
//!
//! - `keys`: the keys, and the set that verifiers fetch
//! - `claims`: what a role adds
//! - `published`: the discovery document and the list of revoked tokens

mod claims;
mod keys;
mod published;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

pub use keys::{TokenKey, TokenKeys};
pub use published::{DISCOVERY, JWKS, JWKS_CACHE, REVOKED, REVOKED_TTL};

use super::kv::object;
use super::{Capabilities, Engine, Mint, Minted, Schemas, StoredValues, members, schema_of};
use crate::base64url;
use crate::crypto::json::canonical;
use crate::crypto::signature::SigningKey;
use crate::denial::{Denial, Reason};
use crate::statement::reply::Revocation;
use crate::time::Timestamp;

/// The most audiences of a role.
const AUDIENCES: usize = 64;
/// The most bytes of an audience.
const AUDIENCE_BYTES: usize = 256;
/// The most bytes of a scope.
const SCOPE_BYTES: usize = 1024;

/// The engine and its keys.
#[derive(Clone, Debug)]
pub struct Jwt {
    keys: TokenKeys,
    issuer: String,
}

/// The two names of one algorithm.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
enum Alg {
    #[default]
    #[serde(rename = "EdDSA")]
    EdDsa,
    Ed25519,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Whom tokens of this role may be for.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 256)))]
    audience: Vec<String>,
    /// Words with single spaces between them (RFC 6749, section 3.3).
    #[schemars(length(min = 1, max = 1024))]
    scope: Option<String>,
    /// The name that the token's header gives its algorithm.
    #[serde(default)]
    alg: Alg,
    /// Claims besides those that the vault sets. {{agent}}, {{session}}, {{role}} and {{lease}} in their texts are
    /// replaced.
    #[serde(default)]
    claims: Map<String, Value>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Params {
    /// One of the role's audiences; it may be left out where there is only one.
    #[schemars(length(min = 1, max = 256))]
    audience: Option<String>,
    /// Some of the words of the role's scope; all of them where it is left out.
    #[schemars(length(min = 1, max = 1024))]
    scope: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Secret<'a> {
    /// The token, in its compact form (RFC 7515).
    token: &'a str,
    #[serde(rename = "type")]
    #[schemars(extend("const" = "jwt"))]
    kind: &'static str,
}

fn refused(detail: &str) -> Denial {
    Denial::new(Reason::ParamsRefused).detail(detail)
}

impl Config {
    fn check(&self) -> Result<(), String> {
        let fits = |text: &String| (1..=AUDIENCE_BYTES).contains(&text.len()) && !text.chars().any(char::is_control);
        if !(1..=AUDIENCES).contains(&self.audience.len()) || !self.audience.iter().all(fits) {
            return Err(format!("audience is a list of 1 to {AUDIENCES} texts of 1 to {AUDIENCE_BYTES} bytes"));
        }
        if !self.scope.iter().all(|scope| scope.len() <= SCOPE_BYTES && scope.split(' ').all(is_word)) {
            return Err(format!("scope is words with single spaces between them, at most {SCOPE_BYTES} bytes"));
        }
        claims::check(&self.claims)
    }

    /// The one audience that the token is for.
    fn audience<'a>(&'a self, params: &'a Params) -> Result<&'a str, Denial> {
        match (&params.audience, self.audience.as_slice()) {
            (Some(wanted), allowed) if allowed.contains(wanted) => Ok(wanted),
            (None, [only]) => Ok(only),
            (Some(_), _) => Err(refused("the role does not allow this audience")),
            (None, _) => Err(refused("the role has several audiences; name one as audience")),
        }
    }

    /// The scope of the token: the role's, or as many of its words as were asked for, in its order.
    fn scope(&self, params: &Params) -> Result<Option<String>, Denial> {
        let Some(wanted) = &params.scope else { return Ok(self.scope.clone()) };
        let has: Vec<&str> = self.scope.iter().flat_map(|scope| scope.split(' ')).collect();
        if !wanted.split(' ').all(|word| has.contains(&word)) {
            return Err(refused("the role's scope does not hold every word of this scope"));
        }
        let wanted: Vec<&str> = has.into_iter().filter(|word| wanted.split(' ').any(|one| one == *word)).collect();
        Ok(Some(wanted.join(" ")))
    }
}

/// A word of a scope (RFC 6749, section 3.3).
fn is_word(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}

/// A JWS in its compact form (RFC 7515).
fn signed(key: &SigningKey, alg: Alg, typ: &str, claims: &Value) -> Zeroizing<String> {
    let header = json!({ "alg": alg, "kid": key.kid(), "typ": typ });
    let signed = format!("{}.{}", base64url::encode(&canonical(&header)), base64url::encode(&canonical(claims)));
    let signature = key.sign_raw(signed.as_bytes());
    Zeroizing::new(format!("{signed}.{}", base64url::encode(signature.as_bytes())))
}

impl Jwt {
    /// The engine that signs with `keys` in the name of `issuer`.
    #[must_use]
    pub fn new(keys: TokenKeys, issuer: String) -> Jwt {
        Jwt { keys, issuer }
    }

    fn claims(&self, mint: &Mint<'_>, config: &Config, exp: Timestamp) -> Result<Value, Denial> {
        let params: Params = members(mint.params, Reason::ParamsRefused)?;
        let permit = mint.permit;
        let made = claims::filled(&config.claims, permit).map_err(|why| Denial::new(Reason::BadRole).internal(why))?;
        let mut claims = made;
        let mut claim = |name: &str, value: Value| claims.insert(name.into(), value);
        claim("iss", json!(self.issuer));
        claim("sub", json!(format!("nv:{}", permit.agent())));
        claim("aud", json!(config.audience(&params)?));
        claim("iat", json!(permit.issued().whole_seconds()));
        claim("nbf", json!(permit.issued().whole_seconds()));
        claim("exp", json!(exp.whole_seconds()));
        claim("jti", json!(permit.lease()));
        claim("sid", json!(permit.sid()));
        claim("req", json!(permit.req()));
        if let Some(scope) = config.scope(&params)? {
            claim("scope", json!(scope));
        }
        if let Some(key) = mint.session_key {
            claim("cnf", json!({ "jkt": key.kid() }));
        }
        Ok(Value::Object(claims))
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
        config.check().map_err(|why| Denial::new(Reason::BadRole).detail(why))
    }

    fn check_params(&self, config: &Map<String, Value>, params: &Map<String, Value>) -> Result<(), Denial> {
        let config: Config = members(config, Reason::BadRole)?;
        let params: Params = members(params, Reason::ParamsRefused)?;
        config.audience(&params)?;
        config.scope(&params).map(|_| ())
    }

    async fn mint(&self, mint: Mint<'_>, _: &dyn StoredValues) -> Result<Minted, Denial> {
        let config: Config = members(mint.permit.config(), Reason::BadRole)?;
        let (now, asked) = (mint.permit.issued(), mint.permit.expires());
        let token = self.keys.signing(now, |key| {
            // A token never outlives the publication of its key.
            let exp = key.until.map_or(asked, |until| asked.min(until));
            let claims = self.claims(&mint, &config, exp)?;
            Ok::<_, Denial>((signed(&key.key, config.alg, "nv+jwt", &claims), (exp < asked).then_some(exp)))
        });
        let (token, until) = token.unwrap_or_else(|| Err(published::no_key()))?;
        let secret = object(&Secret { token: &token, kind: "jwt" }, token.len())?;
        Ok(Minted { secret, until })
    }
}
