//! The engine that `CONTRIBUTING.md` walks through, against a real Redis; and that the page quotes it as it is.
//!
//! `walk/redis.rs` is written as a file of `src/engine/`; the modules here give it the names that it finds there.

#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(unreachable_pub, reason = "the engine is written for a library")]

pub(crate) use nockvault::{base64url, crypto, denial, entropy, id, secret, statement};

/// As `src/engine/mod.rs` has it.
#[path = "walk"]
mod engine {
    pub(crate) use nockvault::engine::*;
    use serde_json::{Map, Value};

    use crate::denial::{Denial, Reason};

    pub(crate) mod kv {
        use crate::denial::{Denial, Reason};
        use crate::secret::SecretBytes;

        pub(crate) fn object(secret: &impl serde::Serialize, _: usize) -> Result<SecretBytes, Denial> {
            let text = serde_json::to_vec(secret).map_err(|why| Denial::new(Reason::Internal).internal(why))?;
            Ok(SecretBytes::new(text))
        }
    }

    #[path = "redis.rs"]
    pub(crate) mod redis;

    fn members<T: serde::de::DeserializeOwned>(members: &Map<String, Value>, reason: Reason) -> Result<T, Denial> {
        crate::crypto::json::read_as(members).map_err(|why| Denial::new(reason).detail(why.to_string()))
    }

    fn schema_of<T: schemars::JsonSchema>() -> Value {
        schemars::generate::SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().into()
    }
}

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};

use crypto::hash::Digest;
use crypto::hpke::{SUITE, SealSecretKey};
use denial::{Denial, Reason};
use engine::redis::Redis;
use engine::{Engine, Made, Mint, Stored, StoredValues, Undone};
use entropy::{Entropy, OsEntropy};
use id::{AgentName, LeaseId, RoleName, SecretName, handle};
use nockvault::authn::bind;
use nockvault::authz::{Asked, Peer, Permit, permit};
use nockvault::grant::{Grant, Role, Uses};
use nockvault::time::{Clock as _, Seconds, SystemClock};
use secret::SecretBytes;
use statement::grant::Terms;
use statement::secret::SecretUse;
use statement::session::Seal;

const ADMIN: &str = "the server's own";

/// A Redis on a free port, which ends with its test.
struct Server {
    port: u16,
    running: Child,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Server {
        for _ in 0..5 {
            let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
            let folder = tempfile::tempdir().unwrap();
            let mut redis = Command::new("redis-server");
            redis
                .args(["--bind", "127.0.0.1", "--save", "", "--requirepass", ADMIN])
                .arg("--port")
                .arg(port.to_string());
            let running = redis.current_dir(folder.path()).stdout(Stdio::null()).spawn().unwrap();
            let server = Server { port, running, _folder: folder };
            for _ in 0..100 {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return server;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        panic!("Redis does not start");
    }

    /// A client who says these lines, and what it hears: a line for each, or less where the server hangs up.
    fn client(&self) -> Client {
        let there = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        there.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Client(BufReader::new(there))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.running.kill();
        let _ = self.running.wait();
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    /// Says a command, and gives the first line of the answer; nothing where the server hung up.
    fn say(&mut self, command: &str) -> String {
        let mut line = String::new();
        let said = self.0.get_mut().write_all(format!("{command}\r\n").as_bytes());
        if said.is_ok() && self.0.read_line(&mut line).is_ok() && line.starts_with('$') && !line.starts_with("$-1") {
            let mut text = vec![0; line.trim()[1..].parse::<usize>().unwrap() + 2];
            self.0.read_exact(&mut text).unwrap();
            return String::from_utf8(text).unwrap().trim().to_owned();
        }
        line.trim().to_owned()
    }
}

/// The one stored secret.
struct Passwords(&'static str);

#[async_trait]
impl StoredValues for Passwords {
    async fn stored_value(&self, used: SecretUse, name: &SecretName, _: Option<u64>) -> Result<Option<Stored>, Denial> {
        assert_eq!((used, name.as_str()), (SecretUse::Backend, "cache-admin"));
        let value = SecretBytes::from(self.0.as_bytes().to_vec());
        Ok((!self.0.is_empty()).then_some(Stored { version: 1, expires: None, value }))
    }
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

fn config(server: &Server) -> Value {
    json!({"host": "127.0.0.1", "port": server.port, "password": "cache-admin", "keys": ["orders:*"], "allow": ["read"]})
}

/// Leave for kit to have a role of this configuration.
fn leave(config: Value) -> Permit {
    let (agent, role): (AgentName, RoleName) = ("kit".parse().unwrap(), "orders".parse().unwrap());
    let now = SystemClock.now();
    let (ttl, max_ttl) = (Seconds(900), Seconds(3600));
    let terms = Terms { ttl, max_ttl, max_uses: None, until: None, session: None, from: vec![], rate: None };
    let pk = SealSecretKey::generate(&OsEntropy).public().into();
    let seal = Seal { pk, suite: SUITE.into(), sig_pk: None };
    let asked = Asked {
        agent: &agent,
        sid: &"nightly-1".parse().unwrap(),
        bound: &bind(None, Some(&seal), now, Seconds(60)).unwrap(),
        session_ends: now.plus(Seconds(86_400)),
        role: &role,
        ttl: Seconds(0),
        peer: Peer::Unix(None),
        req: Digest::of(b"the request"),
    };
    let grant = Grant { agent: agent.clone(), role: role.clone(), terms, seq: 1, since: now };
    let role = Role { name: role.clone(), engine: "redis".into(), config: object(config), since: now, frozen: false };
    let entropy: &dyn Entropy = &OsEntropy;
    let lease = LeaseId::new(now.0, entropy.bytes());
    permit(&asked, Some(&grant), Some(&role), Uses::default(), &lease, now).unwrap()
}

fn named(permit: &Permit) -> String {
    handle(permit.agent(), permit.lease())
}

async fn mint(engine: &Redis, permit: &Permit, values: &Passwords) -> Result<Value, Denial> {
    let (handle, params) = (named(permit), Map::new());
    let minted = engine.mint(Mint { permit, handle: &handle, params: &params, session_key: None }, values).await?;
    Ok(serde_json::from_slice(minted.secret.expose()).unwrap())
}

async fn revoke(engine: &Redis, permit: &Permit, values: &Passwords) -> Result<Undone, Denial> {
    let (agent, lease, handle) = (permit.agent(), permit.lease(), named(permit));
    engine.revoke(Made { config: permit.config(), agent, lease, handle: &handle }, values).await
}

fn redis(vault: &str) -> Redis {
    Redis::new(Arc::new(OsEntropy), vault.into())
}

#[tokio::test]
async fn a_minted_user_does_what_it_may_and_dies_with_its_connections() {
    let (server, engine, values) = (Server::start(), redis("nv1:one"), Passwords(ADMIN));
    let mut admin = server.client();
    assert_eq!(admin.say(&format!("AUTH \"{ADMIN}\"")), "+OK");
    admin.say("SET orders:1 lamp");
    admin.say("SET salaries:1 100");

    let permit = leave(config(&server));
    let secret = mint(&engine, &permit, &values).await.unwrap();
    assert_eq!(secret["username"], named(&permit));
    let login = format!("AUTH {} {}", secret["username"].as_str().unwrap(), secret["password"].as_str().unwrap());
    let mut kit = server.client();
    assert_eq!(kit.say(&login), "+OK");
    assert_eq!(kit.say("GET orders:1"), "lamp");
    for refused in ["GET salaries:1", "SET orders:1 mine", "ACL LIST", "CONFIG GET *"] {
        assert!(kit.say(refused).starts_with("-NOPERM"), "{refused} was done");
    }

    assert_eq!(revoke(&engine, &permit, &values).await.unwrap(), Undone::Revoked);
    assert_eq!(kit.say("GET orders:1"), "", "a connection outlived its user");
    assert!(server.client().say(&login).starts_with("-WRONGPASS"));
    assert_eq!(revoke(&engine, &permit, &values).await.unwrap(), Undone::Absent);
}

#[tokio::test]
async fn what_this_vault_made_is_listed_and_nothing_else() {
    let (server, values) = (Server::start(), Passwords(ADMIN));
    let (one, other) = (redis("nv1:one"), redis("nv1:other"));
    let (mine, theirs) = (leave(config(&server)), leave(config(&server)));
    mint(&one, &mine, &values).await.unwrap();
    mint(&other, &theirs, &values).await.unwrap();
    let config = object(config(&server));
    assert_eq!(one.list(&config, &values).await.unwrap(), [named(&mine)]);
    revoke(&one, &mine, &values).await.unwrap();
    assert!(one.list(&config, &values).await.unwrap().is_empty());
    assert_eq!(other.list(&config, &values).await.unwrap(), [named(&theirs)]);
}

#[tokio::test]
async fn a_server_that_is_away_is_told_from_one_that_says_no() {
    let (server, engine) = (Server::start(), redis("nv1:one"));
    let probed = engine.probe(&object(config(&server)), &Passwords(ADMIN)).await.unwrap();
    assert_eq!(probed["users"], 1);

    let permit = leave(config(&server));
    let reason = async |values| mint(&engine, &permit, &values).await.unwrap_err().reason;
    assert_eq!(reason(Passwords("not the password")).await, Reason::EngineUnavailable);
    assert_eq!(reason(Passwords("")).await, Reason::SecretMissing);
    let mut admin = server.client();
    admin.say(&format!("AUTH \"{ADMIN}\""));
    admin.say("ACL SETUSER default -acl");
    assert_eq!(reason(Passwords(ADMIN)).await, Reason::EngineRefused);
    drop(server);
    assert_eq!(reason(Passwords(ADMIN)).await, Reason::EngineUnavailable);
}

#[test]
fn roles_and_params_that_do_not_fit_are_refused() {
    let engine = redis("nv1:one");
    let good =
        json!({"host": "h", "port": 6379, "password": "cache-admin", "keys": ["a:*"], "allow": ["read", "write"]});
    assert!(engine.check_role(&object(good.clone())).is_ok());
    for (member, value) in [
        ("host", json!("")),
        ("port", json!(0)),
        ("password", json!("No Name")),
        ("keys", json!([])),
        ("keys", json!(["a b"])),
        ("keys", json!(["a\r\nFLUSHALL"])),
        ("keys", json!(["\u{0430}:*"])),
        ("allow", json!(["read", "read"])),
        ("allow", json!(["admin"])),
        ("user", json!("x")),
    ] {
        let mut config = good.clone();
        config[member] = value;
        assert_eq!(engine.check_role(&object(config)).unwrap_err().reason, Reason::BadRole, "{member}");
    }
    let params = object(json!({"keys": ["*"]}));
    assert_eq!(engine.check_params(&object(good), &params).unwrap_err().reason, Reason::ParamsRefused);
}

/// What CONTRIBUTING.md shows of the engine stands there word for word.
#[test]
fn the_page_quotes_the_engine_as_it_is() {
    let house = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(house.join(path)).unwrap();
    let flat = |text: &str| text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    let source = flat(&(read("tests/walk/redis.rs") + &read("tests/walk.rs")));
    let page = read("CONTRIBUTING.md");
    let quotes: Vec<&str> = page.split("```rust\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(quotes.len() >= 5, "the page shows hardly anything");
    for quote in quotes {
        assert!(source.contains(&flat(quote)), "this stands nowhere in the engine:\n{quote}");
    }
}
