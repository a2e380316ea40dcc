//! The `redis` engine makes an ACL user for each lease, and deletes it when the lease ends.
//!
//! The user is named as its handle and logs in with a password of 32 random bytes, of which the server is sent the hash
//! (`ACL SETUSER .. #<SHA-256>`). It may run the commands of the categories in `allow` on the keys that fit `keys`. The
//! right to one channel that names the vault is its mark. A Redis user has no end of its own: its lease's end is its
//! only one. To delete it ends its connections.
//!
//! Role: `{"host","port","password","keys","allow"}`; `password` names the stored secret of the server's user `default`.
//! Params: none. Secret: `{"type":"redis","username","password","host","port"}`. There is no TLS yet: for a server on
//! the same machine. Redis 6 and later.

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::kv::object;
use super::{Capabilities, Engine, Made, Mint, Minted, Schemas, StoredValues, Undone, members, schema_of};
use crate::base64url;
use crate::crypto::hash::Digest;
use crate::denial::{Denial, Reason};
use crate::entropy::Entropy;
use crate::id::SecretName;
use crate::secret::Secret as Hidden;
use crate::statement::reply::Revocation;
use crate::statement::secret::SecretUse;

/// The engine.
#[derive(Clone, Debug)]
pub struct Redis {
    entropy: Arc<dyn Entropy>,
    vault: String,
}

/// A role's configuration.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "RedisConfig")]
struct Config {
    /// The server's host.
    #[schemars(length(min = 1, max = 255))]
    host: String,
    /// Its port.
    #[schemars(range(min = 1))]
    port: u16,
    /// The stored secret, of the use `backend`, that holds the password of the server's user `default`.
    password: SecretName,
    /// The patterns of the keys that a login may reach: printable ASCII without spaces.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 256)))]
    keys: Vec<String>,
    /// What it may do with them.
    #[schemars(length(min = 1, max = 2))]
    allow: Vec<Allow>,
}

/// A category of commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Allow {
    /// To read.
    Read,
    /// To write.
    Write,
}

/// A request's parameters: none.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "RedisParams")]
struct Params {}

/// A login.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "RedisSecret")]
struct Secret<'a> {
    /// The server's host.
    host: &'a str,
    /// The password.
    password: &'a str,
    /// The server's port.
    port: u16,
    /// `redis`.
    #[serde(rename = "type")]
    #[schemars(extend("const" = "redis"))]
    kind: &'static str,
    /// The user: the handle.
    username: &'a str,
}

impl Config {
    fn read(config: &Map<String, Value>) -> Result<Config, Denial> {
        let config: Config = members(config, Reason::BadRole)?;
        let bad = |what: &str| Err(Denial::new(Reason::BadRole).detail(what));
        let fits = |key: &String| (1..=256).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
        if config.host.is_empty() || config.host.len() > 255 || config.port == 0 {
            return bad("host is 1 to 255 bytes and port 1 to 65535");
        }
        if !(1..=32).contains(&config.keys.len()) || !config.keys.iter().all(fits) {
            return bad("keys is a list of 1 to 32 patterns of printable ASCII without spaces, of at most 256 bytes");
        }
        if !(1..=2).contains(&config.allow.len()) || config.allow.first() == config.allow.get(1) {
            return bad("allow is read, write or both");
        }
        Ok(config)
    }
}

impl Redis {
    /// The engine of the vault of this identity, which marks the users that are its own.
    #[must_use]
    pub fn new(entropy: Arc<dyn Entropy>, vault: String) -> Redis {
        Redis { entropy, vault }
    }

    /// The right that all users of this vault have and no others.
    fn mark(&self) -> String {
        format!("&nockvault:{}", self.vault)
    }

    fn password(&self) -> Zeroizing<String> {
        let random = Hidden::init(|bytes: &mut [u8; 32]| self.entropy.fill(bytes));
        Zeroizing::new(base64url::encode(random.expose()))
    }
}

#[async_trait]
impl Engine for Redis {
    fn kind(&self) -> &'static str {
        "redis"
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
        let password = self.password();
        let mut rules = vec!["reset".to_owned(), "on".to_owned(), format!("#{}", hexadecimal(&password)), self.mark()];
        rules.extend(config.keys.iter().map(|key| format!("~{key}")));
        rules.extend(config.allow.iter().map(|allow| match allow {
            Allow::Read => "+@read".to_owned(),
            Allow::Write => "+@write".to_owned(),
        }));
        let mut command = vec!["ACL", "SETUSER", mint.handle];
        command.extend(rules.iter().map(String::as_str));
        Session::open(&config, values).await?.call(&command).await?;

        let host = config.host.as_str();
        let secret = Secret { host, password: &password, port: config.port, kind: "redis", username: mint.handle };
        let secret = object(&secret, host.len() + password.len() + mint.handle.len())?;
        Ok(Minted { secret, until: None })
    }

    async fn revoke(&self, made: Made<'_>, values: &dyn StoredValues) -> Result<Undone, Denial> {
        let config = Config::read(made.config)?;
        // The server ends the user's connections with it.
        match Session::open(&config, values).await?.call(&["ACL", "DELUSER", made.handle]).await? {
            Said::Number(0) => Ok(Undone::Absent),
            _ => Ok(Undone::Revoked),
        }
    }

    async fn probe(
        &self,
        config: &Map<String, Value>,
        values: &dyn StoredValues,
    ) -> Result<Map<String, Value>, Denial> {
        let config = Config::read(config)?;
        let mut session = Session::open(&config, values).await?;
        let users = session.call(&["ACL", "USERS"]).await?.texts().len();
        let found = json!({ "server": format!("{}:{}", config.host, config.port), "users": users });
        Ok(found.as_object().cloned().unwrap_or_default())
    }

    async fn list(&self, config: &Map<String, Value>, values: &dyn StoredValues) -> Result<Vec<String>, Denial> {
        let config = Config::read(config)?;
        let users = Session::open(&config, values).await?.call(&["ACL", "LIST"]).await?.texts();
        let mark = self.mark();
        // Each is a line: `user NAME on #HASH ~KEYS &CHANNELS +COMMANDS`.
        let ours = users.iter().filter(|line| line.split(' ').any(|word| word == mark));
        Ok(ours.filter_map(|line| line.split(' ').nth(1)).map(str::to_owned).collect())
    }
}

/// SHA-256 of a password, as the server wants it.
fn hexadecimal(password: &str) -> String {
    Digest::of(password.as_bytes()).as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the server says (RESP 2).
enum Said {
    Number(i64),
    Text(String),
    List(Vec<Said>),
    Nothing,
}

impl Said {
    /// The texts of a list.
    fn texts(self) -> Vec<String> {
        match self {
            Said::List(all) => {
                all.into_iter().filter_map(|one| if let Said::Text(text) = one { Some(text) } else { None }).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// The longest text and the longest list that are read.
const LONGEST: usize = 1 << 20;

/// A connection as the server's own user. Dropped, it is closed: no call is left half done on it.
struct Session(BufReader<TcpStream>);

impl Session {
    async fn open(config: &Config, values: &dyn StoredValues) -> Result<Session, Denial> {
        let stored = values.stored_value(SecretUse::Backend, &config.password, None).await?;
        let missing = || Denial::new(Reason::SecretMissing).internal(format!("no secret {}", config.password));
        let password = stored.ok_or_else(missing)?.value;
        let there = TcpStream::connect((config.host.as_str(), config.port)).await.map_err(away)?;
        let mut session = Session(BufReader::new(there));
        let password = std::str::from_utf8(password.expose());
        let password = password.map_err(|_| Denial::new(Reason::EngineRefused).internal("the password is no text"))?;
        session.call(&["AUTH", password]).await?;
        Ok(session)
    }

    /// One command. Each word goes with its length before it, so that nothing in it can be taken for another.
    async fn call(&mut self, words: &[&str]) -> Result<Said, Denial> {
        let mut bytes = Zeroizing::new(format!("*{}\r\n", words.len()).into_bytes());
        for word in words {
            bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            bytes.extend_from_slice(word.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        self.0.write_all(&bytes).await.map_err(away)?;
        self.said().await
    }

    async fn said(&mut self) -> Result<Said, Denial> {
        let line = self.line().await?;
        let (kind, rest) = line.split_at_checked(1).unwrap_or_default();
        match kind {
            "+" => Ok(Said::Text(rest.to_owned())),
            "-" => Err(no(rest)),
            ":" => rest.parse().map(Said::Number).map_err(|_| nonsense()),
            "$" if rest == "-1" => Ok(Said::Nothing),
            "$" => self.text(length(rest)?).await.map(Said::Text),
            "*" => {
                let mut all = Vec::new();
                for _ in 0..length(rest)? {
                    all.push(Box::pin(self.said()).await?);
                }
                Ok(Said::List(all))
            }
            _ => Err(nonsense()),
        }
    }

    async fn line(&mut self) -> Result<String, Denial> {
        let mut line = String::new();
        (&mut self.0).take(LONGEST as u64).read_line(&mut line).await.map_err(away)?;
        line.strip_suffix("\r\n").map(str::to_owned).ok_or_else(nonsense)
    }

    async fn text(&mut self, length: usize) -> Result<String, Denial> {
        let mut text = vec![0; length + 2];
        self.0.read_exact(&mut text).await.map_err(away)?;
        text.truncate(length);
        String::from_utf8(text).map_err(|_| nonsense())
    }
}

fn length(text: &str) -> Result<usize, Denial> {
    text.parse().ok().filter(|length| *length <= LONGEST).ok_or_else(nonsense)
}

/// It could not be reached, so that a later try may help.
fn away(why: std::io::Error) -> Denial {
    Denial::new(Reason::EngineUnavailable).internal(why)
}

fn nonsense() -> Denial {
    Denial::new(Reason::EngineUnavailable).internal("the server does not speak as Redis does")
}

/// It answered and said no. The first word says why; the rest may quote what it was sent.
fn no(said: &str) -> Denial {
    let code = said.split(' ').next().unwrap_or_default();
    let passing = matches!(code, "LOADING" | "BUSY" | "MASTERDOWN" | "OOM" | "WRONGPASS" | "NOAUTH");
    let reason = if passing { Reason::EngineUnavailable } else { Reason::EngineRefused };
    Denial::new(reason).internal(format!("the server says {code}"))
}
