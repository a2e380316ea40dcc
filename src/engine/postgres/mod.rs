//! The `postgres` engine makes a role for each lease, and drops it when the lease ends.
//!
//! A minted role is named as its handle, so that the server's own logs name agent and lease. It logs in with a password
//! of 32 random bytes, until it expires, and inherits the rights of the roles in `grants`. The server is given the
//! SCRAM-SHA-256 verifier of the password (RFC 5802, RFC 7677) and never the password: neither its log nor the network
//! shows it. A comment on the role names vault and lease, so that several vaults can share a server.
//!
//! `VALID UNTIL` only keeps new logins out. A revocation locks the role out first and commits that, then ends its
//! sessions, drops its objects or gives them to the owner, and drops it; see [`role`]. A function or a view that an agent
//! made runs with the rights of whoever owns it: name an owner only where objects must outlive their lease, and one that
//! may do little. The vault's own role needs to be no superuser:
//!
//! ```sql
//! CREATE ROLE vault_admin LOGIN CREATEROLE PASSWORD '...';
//! GRANT pg_signal_backend TO vault_admin;                  -- to end sessions
//! GRANT orders_read TO vault_admin WITH ADMIN OPTION;      -- each of `grants`
//! GRANT leftovers TO vault_admin;                          -- the `owner`, where one is named,
//! GRANT CREATE ON SCHEMA app TO leftovers;                 -- and where it may get what minted roles made
//! ```
//!
//! A member of a group may act as the group: one that may create objects lets an agent leave some behind that are not its
//! role's, and that no revocation finds. Minted roles can take up all connections of the server, and the vault then
//! comes late to end them: from PostgreSQL 16 on, set `reserved_connections` and `GRANT pg_use_reserved_connections TO
//! vault_admin`; before, keep `max_connections` above what `connections` and the leases of an agent come to.
//!
//! Connect to the server itself: a pooler that shares connections between transactions loses the locks that this engine
//! holds. Made for PostgreSQL 12 and later.
//!
//! Role: `{"host","port","database","user","password","tls","ca","grants","connections","owner","databases","creation",
//! "renewal","revocation"}`, of which `host`, `database`, `user` and `password` (the name of a stored secret) must be
//! there, and `ca` where the certificate is checked; the schema says what each is, and [`template`] how statements are
//! written. Params: none. Secret: `{"type":"postgres","username","password","host","port","database","sslmode","url"}`,
//! and `ca` where the server's certificate is checked; `sslmode` and `url` are libpq's.

mod admin;
mod config;
mod fault;
mod pool;
pub mod role;
pub mod template;
mod tls;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::kv::object;
use super::{Capabilities, Engine, Made, Mint, Minted, Schemas, StoredValues, Undone, members, schema_of};
use crate::base64url;
use crate::crypto::scram;
use crate::denial::{Denial, Reason};
use crate::entropy::Entropy;
use crate::id::SecretName;
use crate::secret::Secret as Hidden;
use crate::statement::reply::Revocation;
use crate::time::{Seconds, Timestamp};

use config::{Config, Tls};
use pool::Pools;
use role::Wanted;

/// The engine and its connections.
pub struct Postgres {
    entropy: Arc<dyn Entropy>,
    vault: String,
    pools: Pools,
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("vault", &self.vault).finish_non_exhaustive()
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "PostgresParams")]
struct Params {}

/// A login.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "PostgresSecret")]
struct Secret<'a> {
    /// The authorities by which the server's certificate is to be checked, PEM; left out where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<&'a str>,
    /// The database to connect to.
    database: &'a str,
    /// The server's host, or the directory of its unix socket.
    host: &'a str,
    /// The password.
    password: &'a str,
    /// The server's port.
    port: u16,
    /// How libpq is to protect the way: `verify-full`, `require` or `disable`.
    sslmode: &'static str,
    /// `postgres`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// All of it but `ca` as a connection URI.
    url: &'a str,
    /// The role's name: the handle.
    username: &'a str,
}

impl Postgres {
    /// The engine of the vault of this identity, which marks the roles that are its own.
    #[must_use]
    pub fn new(entropy: Arc<dyn Entropy>, vault: String) -> Postgres {
        Postgres { entropy, vault, pools: Pools::default() }
    }

    /// How the comments on all roles of this vault begin.
    fn mark(&self) -> String {
        format!("nockvault {} lease ", self.vault)
    }

    fn password(&self) -> Zeroizing<String> {
        let random = Hidden::init(|bytes: &mut [u8; 32]| self.entropy.fill(bytes));
        Zeroizing::new(base64url::encode(random.expose()))
    }

    fn secret(config: &Config, username: &str, password: &str) -> Result<crate::secret::SecretBytes, Denial> {
        let sslmode = match config.tls() {
            Tls::VerifyFull => "verify-full",
            Tls::Require => "require",
            Tls::Off => "disable",
        };
        let url = url(config, username, password, sslmode);
        let secret = Secret {
            ca: config.ca.as_deref(),
            database: &config.database,
            host: &config.host,
            password,
            port: config.port,
            sslmode,
            kind: "postgres",
            url: &url,
            username,
        };
        let texts = [secret.ca.unwrap_or_default(), &config.database, &config.host, password, &url, username];
        object(&secret, texts.iter().map(|text| text.len()).sum())
    }
}

/// The login as a connection URI. Neither name nor password holds what would have to be written otherwise.
fn url(config: &Config, username: &str, password: &str, sslmode: &str) -> Zeroizing<String> {
    let mut url = Zeroizing::new(String::with_capacity(1024 + 3 * (config.host.len() + config.database.len())));
    let parts = ["postgresql://", username, ":", password, "@"];
    parts.iter().for_each(|part| url.push_str(part));
    if config.host.contains(':') {
        parts_of_address(&mut url, &config.host);
    } else {
        percent(&mut url, &config.host);
    }
    url.push_str(&format!(":{}/", config.port));
    percent(&mut url, &config.database);
    url.push_str("?sslmode=");
    url.push_str(sslmode);
    url
}

/// An IPv6 address, in its brackets.
fn parts_of_address(url: &mut String, host: &str) {
    url.push('[');
    url.push_str(host);
    url.push(']');
}

/// RFC 3986, all but the unreserved characters escaped.
fn percent(url: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            url.push(byte as char);
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[async_trait]
impl Engine for Postgres {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { renewable: true, revocation: Revocation::Backend }
    }

    fn schemas(&self) -> Schemas {
        Schemas { config: schema_of::<Config>(), params: schema_of::<Params>(), secret: schema_of::<Secret<'_>>() }
    }

    fn check_role(&self, config: &Map<String, Value>) -> Result<(), Denial> {
        Config::read(config).map(|_| ())
    }

    fn check_params(&self, _: &Map<String, Value>, params: &Map<String, Value>) -> Result<(), Denial> {
        members::<Params>(params, Reason::ParamsRefused).map(|Params {}| ())
    }

    async fn mint(&self, mint: Mint<'_>, values: &dyn StoredValues) -> Result<Minted, Denial> {
        let config = Config::read(mint.permit.config())?;
        let mut session = self.pools.session(&config, &config.database, values).await?;
        let password = self.password();
        let verifier = scram::sha256_verifier(password.as_bytes(), &self.entropy.bytes(), scram::ITERATIONS);
        let mark = format!("{}{}", self.mark(), mint.permit.lease());
        let expires = mint.permit.expires();
        let wanted = Wanted { handle: mint.handle, verifier: &verifier, expires, mark: &mark };
        role::make(&mut session, &config, &wanted).await?;
        session.done();
        Ok(Minted { secret: Postgres::secret(&config, mint.handle, &password)?, until: None })
    }

    async fn renew(&self, made: Made<'_>, expires: Timestamp, values: &dyn StoredValues) -> Result<(), Denial> {
        let config = Config::read(made.config)?;
        let mut session = self.pools.session(&config, &config.database, values).await?;
        role::prolong(&mut session, &config, made.handle, expires).await?;
        session.done();
        Ok(())
    }

    async fn revoke(&self, made: Made<'_>, values: &dyn StoredValues) -> Result<Undone, Denial> {
        let config = Config::read(made.config)?;
        let mut session = self.pools.session(&config, &config.database, values).await?;
        let undone = role::remove(&mut session, &config, made.handle, &self.pools, values).await?;
        session.done();
        Ok(undone)
    }

    /// A revocation waits for a mint that is under way, see [`role`]: what it does not find then never comes.
    fn lingers(&self) -> Seconds {
        Seconds(0)
    }

    async fn probe(
        &self,
        config: &Map<String, Value>,
        values: &dyn StoredValues,
    ) -> Result<Map<String, Value>, Denial> {
        admin::probe(&self.pools, &Config::read(config)?, values).await
    }

    async fn list(&self, config: &Map<String, Value>, values: &dyn StoredValues) -> Result<Vec<String>, Denial> {
        let config = Config::read(config)?;
        let mut session = self.pools.session(&config, &config.database, values).await?;
        let handles = role::marked(&mut session, &self.mark()).await?;
        session.done();
        Ok(handles)
    }

    fn admin_secret(&self, config: &Map<String, Value>) -> Option<SecretName> {
        Config::read(config).ok().map(|config| config.password)
    }

    async fn rotate(&self, config: &Map<String, Value>, values: &dyn StoredValues) -> Result<(), Denial> {
        admin::rotate(&self.pools, &Config::read(config)?, values).await
    }
}
