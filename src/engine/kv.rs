//! The `kv` engine hands out a stored secret. What it hands out cannot be un-known: the lease bounds for how long the
//! agent may ask and keep it, not what an agent that broke its word remembers. Where a backend can make credentials of
//! its own, an engine for it is the better choice.
//!
//! A value may have an end of its own: no lease of it lives longer, and past it it is not handed out.
//!
//! Role: `{"secret": NAME}` for the newest version, or `{"secret": NAME, "version": N}` for one that is pinned.
//! Params: none. Secret: `{"encoding","name","type":"kv","value","version"}`, where `encoding` is `utf8`, or
//! `base64url` for a value that is no text or holds characters that JSON must write as six.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::{Capabilities, Engine, Mint, Minted, Schemas, Stored, StoredValues, members, schema_of};
use crate::base64url;
use crate::denial::{Denial, Reason};
use crate::id::SecretName;
use crate::secret::SecretBytes;
use crate::statement::reply::Revocation;
use crate::statement::secret::SecretUse;

/// The engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kv;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The stored secret, of the use `kv`.
    secret: SecretName,
    /// The version that is pinned; the newest where it is left out.
    #[schemars(range(min = 1))]
    version: Option<u64>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Params {}

#[derive(Serialize, JsonSchema)]
struct Secret<'a> {
    /// How `value` is written.
    #[schemars(extend("enum" = ["utf8", "base64url"]))]
    encoding: &'static str,
    name: &'a SecretName,
    #[serde(rename = "type")]
    #[schemars(extend("const" = "kv"))]
    kind: &'static str,
    value: &'a str,
    version: u64,
}

#[async_trait]
impl Engine for Kv {
    fn kind(&self) -> &'static str {
        "kv"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { renewable: true, revocation: Revocation::None }
    }

    fn schemas(&self) -> Schemas {
        Schemas { config: schema_of::<Config>(), params: schema_of::<Params>(), secret: schema_of::<Secret<'_>>() }
    }

    fn check_role(&self, config: &Map<String, Value>) -> Result<(), Denial> {
        let config: Config = members(config, Reason::BadRole)?;
        if config.version == Some(0) {
            return Err(Denial::new(Reason::BadRole).detail("versions count from 1"));
        }
        Ok(())
    }

    fn check_params(&self, _: &Map<String, Value>, params: &Map<String, Value>) -> Result<(), Denial> {
        members::<Params>(params, Reason::ParamsRefused).map(|Params {}| ())
    }

    async fn mint(&self, mint: Mint<'_>, values: &dyn StoredValues) -> Result<Minted, Denial> {
        let config: Config = members(mint.permit.config(), Reason::BadRole)?;
        let stored = values.stored_value(SecretUse::Kv, &config.secret, config.version).await?;
        let Some(Stored { version, value, expires }) = stored else {
            return Err(Denial::new(Reason::SecretMissing)
                .internal(format!("no secret {0}; `vaultctl secret put {0}` stores one", config.secret)));
        };
        if expires.is_some_and(|expires| expires <= mint.permit.issued()) {
            return Err(Denial::new(Reason::SecretExpired).limit(0));
        }
        let encoded;
        let (encoding, value) = match std::str::from_utf8(value.expose()) {
            Ok(text) if !text.chars().any(swells) => ("utf8", text),
            _ => {
                encoded = Zeroizing::new(base64url::encode(value.expose()));
                ("base64url", encoded.as_str())
            }
        };
        let secret = object(&Secret { encoding, name: &config.secret, kind: "kv", value, version }, value.len())?;
        Ok(Minted { secret, until: expires })
    }

    async fn probe(
        &self,
        config: &Map<String, Value>,
        values: &dyn StoredValues,
    ) -> Result<Map<String, Value>, Denial> {
        let config: Config = members(config, Reason::BadRole)?;
        let Some(stored) = values.stored_value(SecretUse::Kv, &config.secret, config.version).await? else {
            return Err(Denial::new(Reason::SecretMissing)
                .internal(format!("no secret {0}; `vaultctl secret put {0}` stores one", config.secret)));
        };
        let found = json!({ "secret": config.secret, "version": stored.version, "expires": stored.expires });
        Ok(found.as_object().cloned().unwrap_or_default())
    }
}

/// A character that JSON writes as six: a value full of them would outgrow an answer.
fn swells(character: char) -> bool {
    character < ' ' && !matches!(character, '\t' | '\n' | '\r' | '\u{8}' | '\u{c}')
}

/// The JSON of a secret in one buffer that never has to grow, so that no half of it stays behind in freed memory.
pub(super) fn object(secret: &impl Serialize, value_bytes: usize) -> Result<SecretBytes, Denial> {
    let mut text = Vec::with_capacity(value_bytes * 6 + 1024);
    match serde_json::to_writer(&mut text, secret) {
        Ok(()) => Ok(SecretBytes::new(text)),
        Err(why) => Err(Denial::new(Reason::Internal).internal(why)),
    }
}
