//! The `postgres` engine against a real PostgreSQL.

#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "postgres/hostile.rs"]
mod hostile;
#[path = "postgres/server.rs"]
mod server;

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use nockvault::authn::bind;
use nockvault::authz::{Asked, Peer, Permit, permit};
use nockvault::crypto::hash::Digest;
use nockvault::crypto::hpke::{SUITE, SealSecretKey};
use nockvault::denial::{Denial, Reason};
use nockvault::engine::postgres::Postgres;
use nockvault::engine::{Engine, Made, Mint, Stored, StoredValues, Undone};
use nockvault::entropy::{Entropy, OsEntropy};
use nockvault::grant::{Grant, Role, Uses};
use nockvault::id::{AgentName, LeaseId, RoleName, SecretName, handle};
use nockvault::secret::SecretBytes;
use nockvault::statement::grant::Terms;
use nockvault::statement::secret::SecretUse;
use nockvault::statement::session::Seal;
use nockvault::time::{Clock, Seconds, SystemClock, Timestamp};
use serde_json::{Map, Value, json};
use tokio_postgres::error::SqlState;

use server::{ADMIN, Server};

/// The versions of the vault's own password, the first first.
struct Passwords(Mutex<Vec<String>>);

impl Passwords {
    fn of(server: &Server) -> Passwords {
        Passwords(Mutex::new(vec![server.admin_password().into()]))
    }

    fn store(&self, password: &str) {
        self.0.lock().unwrap().push(password.into());
    }
}

#[async_trait]
impl StoredValues for Passwords {
    async fn stored_value(
        &self,
        used: SecretUse,
        name: &SecretName,
        version: Option<u64>,
    ) -> Result<Option<Stored>, Denial> {
        assert_eq!(used, SecretUse::Backend);
        let all = self.0.lock().unwrap();
        let version = version.unwrap_or(all.len() as u64);
        let value = all.get(version as usize - 1).filter(|_| name.as_str() == "orders/admin");
        Ok(value.map(|value| Stored { version, expires: None, value: SecretBytes::from(value.clone().into_bytes()) }))
    }
}

/// A lease that was asked for.
struct Lease {
    permit: Permit,
    handle: String,
    config: Map<String, Value>,
}

impl Lease {
    fn new(config: &Value) -> Lease {
        let (agent, role): (AgentName, RoleName) = ("kit".parse().unwrap(), "orders".parse().unwrap());
        let now = SystemClock.now();
        let terms = Terms {
            ttl: Seconds(900),
            max_ttl: Seconds(3600),
            max_uses: None,
            until: None,
            session: None,
            from: vec![],
            rate: None,
        };
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
        let config = config.as_object().unwrap().clone();
        let role =
            Role { name: role.clone(), engine: "postgres".into(), config: config.clone(), since: now, frozen: false };
        let entropy: &dyn Entropy = &OsEntropy;
        let lease = LeaseId::new(now.0, entropy.bytes());
        let permit = permit(&asked, Some(&grant), Some(&role), Uses::default(), &lease, now).unwrap();
        Lease { permit, handle: handle(&agent, &lease), config }
    }

    async fn mint(&self, engine: &Postgres, values: &Passwords) -> Result<Value, Denial> {
        let mint = Mint { permit: &self.permit, handle: &self.handle, params: &Map::new(), session_key: None };
        let minted = engine.mint(mint, values).await?;
        Ok(serde_json::from_slice(minted.secret.expose()).unwrap())
    }

    fn made(&self) -> Made<'_> {
        Made { config: &self.config, agent: self.permit.agent(), lease: self.permit.lease(), handle: &self.handle }
    }
}

fn engine() -> Postgres {
    Postgres::new(Arc::new(OsEntropy), "nv1:one".into())
}

fn config(server: &Server) -> Value {
    json!({
        "host": "localhost", "port": server.port(), "database": "orders", "user": ADMIN, "password": "orders/admin",
        "ca": server.ca_pem(), "grants": ["orders_read"],
    })
}

fn with(mut config: Value, member: &str, value: Value) -> Value {
    config[member] = value;
    config
}

fn text<'a>(secret: &'a Value, member: &str) -> &'a str {
    secret[member].as_str().unwrap()
}

async fn login(server: &Server, secret: &Value) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    server.client(text(secret, "username"), text(secret, "password")).await
}

async fn role_exists(server: &Server, handle: &str) -> bool {
    !server.sql(&format!("SELECT 1 FROM pg_roles WHERE rolname = '{handle}'")).await.is_empty()
}

#[tokio::test]
async fn a_minted_role_logs_in_reads_what_it_may_and_dies() {
    let server = Server::start().await;
    let (engine, values) = (engine(), Passwords::of(&server));
    let lease = Lease::new(&config(&server));
    let secret = lease.mint(&engine, &values).await.unwrap();
    let (password, port) = (text(&secret, "password"), server.port());
    let url = format!("postgresql://{}:{password}@localhost:{port}/orders?sslmode=verify-full", lease.handle);
    let wanted = json!({
        "ca": server.ca_pem(), "database": "orders", "host": "localhost", "password": password, "port": port,
        "sslmode": "verify-full", "type": "postgres", "url": url, "username": lease.handle,
    });
    assert_eq!((secret.clone(), password.len()), (wanted, 43));
    url.parse::<tokio_postgres::Config>().unwrap_err(); // its sslmode is libpq's
    url.replace("verify-full", "require").parse::<tokio_postgres::Config>().unwrap();

    let client = login(&server, &secret).await.unwrap();
    assert_eq!(client.query("SELECT name FROM item", &[]).await.unwrap().len(), 2);
    let refused = client.query("SELECT amount FROM salary", &[]).await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));

    assert_eq!(engine.revoke(lease.made(), &values).await.unwrap(), Undone::Revoked);
    assert!(client.query("SELECT 1", &[]).await.is_err());
    assert_eq!(login(&server, &secret).await.unwrap_err().code(), Some(&SqlState::INVALID_PASSWORD));
    assert!(!role_exists(&server, &lease.handle).await);
    assert_eq!(engine.revoke(lease.made(), &values).await.unwrap(), Undone::Absent);
}

#[tokio::test]
async fn the_servers_log_holds_the_verifier_and_never_the_password() {
    let server = Server::start().await;
    let (engine, values) = (engine(), Passwords::of(&server));
    let lease = Lease::new(&config(&server));
    let secret = lease.mint(&engine, &values).await.unwrap();
    login(&server, &secret).await.unwrap();
    let log = server.log();
    assert!(log.contains(&format!("CREATE ROLE \"{}\"", lease.handle)) && log.contains("SCRAM-SHA-256$4096:"));
    assert!(!log.contains(text(&secret, "password")), "the log shows the password");

    // The server quotes the place of a fault, which may be the verifier itself.
    let creation = json!(["CREATE ROLE {{name}} {{password}}"]);
    let denial = Lease::new(&with(config(&server), "creation", creation)).mint(&engine, &values).await.unwrap_err();
    assert_eq!(denial.reason, Reason::EngineRefused);
    assert!(server.log().contains("syntax error at or near \"'SCRAM-SHA-256$"), "the server quotes no verifier");
    assert!(denial.internal.contains("(SQLSTATE 42601)") && denial.internal.contains("(left out)"), "{denial:?}");
    assert!(!format!("{denial:?}").contains("SCRAM-SHA-256$"), "{denial:?}");
}

#[tokio::test]
async fn a_role_cannot_log_in_past_its_end_and_renewing_moves_that() {
    let server = Server::start().await;
    let (engine, values) = (engine(), Passwords::of(&server));
    let lease = Lease::new(&config(&server));
    let secret = lease.mint(&engine, &values).await.unwrap();
    let look = format!(
        "SELECT (extract(epoch FROM rolvaliduntil) * 1000)::int8, rolconnlimit FROM pg_roles WHERE rolname = '{}'",
        lease.handle
    );
    assert_eq!(server.sql(&look).await, [[lease.permit.expires().0.to_string(), "4".into()]]);

    let past = Timestamp(SystemClock.now().0 - 1000);
    engine.renew(lease.made(), past, &values).await.unwrap();
    assert_eq!(login(&server, &secret).await.unwrap_err().code(), Some(&SqlState::INVALID_PASSWORD));
    let later = SystemClock.now().plus(Seconds(3600));
    engine.renew(lease.made(), later, &values).await.unwrap();
    assert_eq!(server.sql(&look).await, [[later.0.to_string(), "4".into()]]);
    login(&server, &secret).await.unwrap();

    engine.revoke(lease.made(), &values).await.unwrap();
    let denial = engine.renew(lease.made(), later, &values).await.unwrap_err();
    assert_eq!(denial.reason, Reason::EngineRefused, "{denial:?}");
}

#[tokio::test]
async fn a_revocation_ends_what_is_under_way() {
    let server = Server::start().await;
    let (engine, values) = (engine(), Passwords::of(&server));
    let lease = Lease::new(&config(&server));
    let secret = lease.mint(&engine, &values).await.unwrap();
    let (first, second) = (login(&server, &secret).await.unwrap(), login(&server, &secret).await.unwrap());
    let asleep = tokio::spawn(async move { first.batch_execute("SELECT pg_sleep(60)").await });
    second.batch_execute("BEGIN; SELECT * FROM item").await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(engine.revoke(lease.made(), &values).await.unwrap(), Undone::Revoked);
    assert_eq!(asleep.await.unwrap().unwrap_err().code(), Some(&SqlState::ADMIN_SHUTDOWN));
    assert!(second.batch_execute("SELECT 1").await.is_err());
    let left = format!("SELECT 1 FROM pg_stat_activity WHERE usename = '{}'", lease.handle);
    assert_eq!(server.sql(&left).await.len(), 0);
}

#[tokio::test]
async fn logins_that_race_with_a_revocation_do_not_survive_it() {
    let server = Server::start().await;
    let (engine, values) = (engine(), Passwords::of(&server));
    for _ in 0..5 {
        let lease = Lease::new(&with(config(&server), "connections", json!(20)));
        let secret = lease.mint(&engine, &values).await.unwrap();
        let racing = async {
            let mut open = Vec::new();
            for _ in 0..12 {
                open.push(login(&server, &secret).await);
            }
            open
        };
        let (open, revoked) = tokio::join!(racing, engine.revoke(lease.made(), &values));
        assert_eq!(revoked.unwrap(), Undone::Revoked);
        for client in open.into_iter().flatten() {
            assert!(client.batch_execute("SELECT 1").await.is_err(), "a session outlived its role");
        }
    }
}

#[tokio::test]
async fn two_revocations_of_one_role_do_not_disturb_each_other() {
    let server = Server::start().await;
    let (engine, values) = (engine(), Passwords::of(&server));
    let lease = Lease::new(&config(&server));
    lease.mint(&engine, &values).await.unwrap();
    let revoked = tokio::join!(engine.revoke(lease.made(), &values), engine.revoke(lease.made(), &values));
    let mut words = [revoked.0.unwrap().as_str(), revoked.1.unwrap().as_str()];
    words.sort_unstable();
    assert_eq!(words, ["absent", "revoked"]);
}

#[tokio::test]
async fn what_a_role_made_is_its_owners_afterwards() {
    let server = Server::start().await;
    let (engine, values) = (engine(), Passwords::of(&server));
    let lease = Lease::new(&with(config(&server), "grants", json!(["orders_maker"])));
    let secret = lease.mint(&engine, &values).await.unwrap();
    let client = login(&server, &secret).await.unwrap();
    let made = "CREATE TABLE public.draft (i int); CREATE SCHEMA own; CREATE TABLE own.deep (i int); \
                CREATE FUNCTION own.one() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TYPE own.kind AS (i int); \
                GRANT SELECT ON public.draft TO PUBLIC; \
                ALTER DEFAULT PRIVILEGES IN SCHEMA own GRANT SELECT ON TABLES TO PUBLIC";
    client.batch_execute(made).await.unwrap();
    assert_eq!(engine.revoke(lease.made(), &values).await.unwrap(), Undone::Revoked);
    let left = "SELECT 1 FROM pg_tables WHERE tablename IN ('draft', 'deep')";
    assert!(server.sql_in("orders", left).await.is_empty(), "where nobody is named, it dies with its role");

    let lease =
        Lease::new(&with(with(config(&server), "grants", json!(["orders_maker"])), "owner", json!("orders_maker")));
    let secret = lease.mint(&engine, &values).await.unwrap();
    login(&server, &secret).await.unwrap().batch_execute("CREATE TABLE public.second (i int)").await.unwrap();
    assert_eq!(engine.revoke(lease.made(), &values).await.unwrap(), Undone::Revoked);
    let owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'second'";
    assert_eq!(server.sql_in("orders", owner).await, [["orders_maker"]]);
}

#[tokio::test]
async fn what_lies_in_another_database_keeps_the_role_until_the_vault_may_enter_that() {
    let server = Server::start().await;
    let (engine, values) = (engine(), Passwords::of(&server));
    server.sql_in("stock", "GRANT CREATE ON SCHEMA public TO PUBLIC").await;
    let lease = Lease::new(&config(&server));
    let secret = lease.mint(&engine, &values).await.unwrap();
    let (user, password) = (text(&secret, "username"), text(&secret, "password"));
    let client = server.client_in("stock", user, password).await.unwrap();
    client.batch_execute("CREATE TABLE public.shelf (i int)").await.unwrap();
    server.sql("REVOKE CONNECT ON DATABASE stock FROM PUBLIC").await;

    let denial = engine.revoke(lease.made(), &values).await.unwrap_err();
    assert_eq!(denial.reason, Reason::EngineRefused, "one role's objects passed for an outage");
    assert!(denial.internal.contains("/stock: permission denied"), "{denial:?}");
    assert!(client.batch_execute("SELECT 1").await.is_err());
    let refused = login(&server, &secret).await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION), "it is locked out: {refused:?}");

    server.sql("GRANT CONNECT ON DATABASE stock TO vault_admin").await;
    assert_eq!(engine.revoke(lease.made(), &values).await.unwrap(), Undone::Revoked);
    assert!(server.sql_in("stock", "SELECT 1 FROM pg_tables WHERE tablename = 'shelf'").await.is_empty());
}

#[tokio::test]
async fn two_vaults_on_one_server_list_each_its_own() {
    let server = Server::start().await;
    let values = Passwords::of(&server);
    let (one, two) = (engine(), Postgres::new(Arc::new(OsEntropy), "nv1:on".into()));
    let mut leases = [Lease::new(&config(&server)), Lease::new(&config(&server)), Lease::new(&config(&server))];
    leases.sort_by(|a, b| a.handle.cmp(&b.handle));
    let [a, b, c] = &leases;
    a.mint(&one, &values).await.unwrap();
    b.mint(&two, &values).await.unwrap();
    c.mint(&one, &values).await.unwrap();
    assert_eq!(one.list(&a.config, &values).await.unwrap(), [a.handle.clone(), c.handle.clone()]);
    assert_eq!(two.list(&a.config, &values).await.unwrap(), std::slice::from_ref(&b.handle));
    one.revoke(a.made(), &values).await.unwrap();
    assert_eq!(one.list(&a.config, &values).await.unwrap(), std::slice::from_ref(&c.handle));
    let mark = format!("SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = '{}'", c.handle);
    assert_eq!(server.sql(&mark).await, [[format!("nockvault nv1:one lease {}", c.permit.lease())]]);
}

#[tokio::test]
async fn a_server_that_is_down_is_unavailable_at_once_and_served_again_when_it_is_back() {
    let mut server = Server::start().await;
    let (engine, values) = (engine(), Passwords::of(&server));
    let lease = Lease::new(&config(&server));
    lease.mint(&engine, &values).await.unwrap();
    server.stop();
    let tried = tokio::time::timeout(Duration::from_secs(3), async {
        let mint = Lease::new(&config(&server)).mint(&engine, &values).await.unwrap_err();
        (mint, engine.revoke(lease.made(), &values).await.unwrap_err())
    });
    let (mint, revoke) = tried.await.unwrap();
    assert_eq!((mint.reason, revoke.reason), (Reason::EngineUnavailable, Reason::EngineUnavailable));
    assert!(mint.internal.contains("refused"), "{mint:?}");
    server.start_again().await;
    assert_eq!(engine.revoke(lease.made(), &values).await.unwrap(), Undone::Revoked);
    Lease::new(&config(&server)).mint(&engine, &values).await.unwrap();
}

#[tokio::test]
async fn a_server_that_lets_nobody_in_is_unavailable_and_the_operator_reads_why() {
    let server = Server::start().await;
    let (engine, values) = (engine(), Passwords::of(&server));
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    for (config, why) in [
        (with(config(&server), "ca", json!(other)), "invalid peer certificate"),
        (with(config(&server), "user", json!("nobody_here")), "SQLSTATE 28P01"),
        (with(config(&server), "user", json!("orders_maker")), "SQLSTATE 28P01"),
        (with(config(&server), "host", json!("127.0.0.2")), "refused"),
    ] {
        let denial = Lease::new(&config).mint(&engine, &values).await.unwrap_err();
        assert_eq!(denial.reason, Reason::EngineUnavailable, "{denial:?}");
        assert!(denial.internal.contains(why), "{denial:?}");
    }
    let missing = Lease::new(&with(config(&server), "database", json!("gone"))).mint(&engine, &values).await;
    assert_eq!(missing.unwrap_err().reason, Reason::EngineRefused);
    let missing = Lease::new(&with(config(&server), "password", json!("other"))).mint(&engine, &values).await;
    assert_eq!(missing.unwrap_err().reason, Reason::SecretMissing);

    values.store("wrong");
    values.store("wrong too");
    let denial = Lease::new(&config(&server)).mint(&engine, &values).await.unwrap_err();
    assert_eq!(denial.reason, Reason::EngineUnavailable);
    assert!(denial.internal.contains("28P01") && denial.internal.contains("the stored secret orders/admin"));
    assert!(!denial.internal.contains("wrong"));
}

#[tokio::test]
async fn every_way_to_the_server_works() {
    let server = Server::start().await;
    let (engine, values) = (engine(), Passwords::of(&server));
    let mut plain = config(&server);
    plain.as_object_mut().unwrap().remove("ca");
    let socket = with(plain.clone(), "host", json!(server.socket_dir()));
    for (config, tls, sslmode) in [
        (config(&server), "TLSv1.3", "verify-full"),
        (with(plain.clone(), "tls", json!("require")), "TLSv1.3", "require"),
        (with(plain.clone(), "tls", json!("off")), "off", "disable"),
        (socket, "off", "disable"),
    ] {
        let lease = Lease::new(&config);
        assert_eq!(engine.probe(&lease.config, &values).await.unwrap()["tls"], tls);
        let secret = lease.mint(&engine, &values).await.unwrap();
        assert_eq!(secret["sslmode"], sslmode);
        let told: tokio_postgres::Config = text(&secret, "url").replace("verify-full", "require").parse().unwrap();
        assert_eq!((told.get_dbname(), told.get_ports()), (Some("orders"), &[server.port()][..]));
        login(&server, &secret).await.unwrap();
        engine.revoke(lease.made(), &values).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_asks_for_the_password_itself_does_not_get_it() {
    let server = Server::start().await;
    let (engine, values) = (engine(), Passwords::of(&server));
    let verified = config(&server);
    let mut required = with(verified.clone(), "tls", json!("require"));
    required.as_object_mut().unwrap().remove("ca");
    server.lets_in("hostssl all vault_admin all password").await;
    for config in [&verified, &required] {
        let denial = engine.probe(&Lease::new(config).config, &values).await.unwrap_err();
        assert!(denial.internal.contains("channel binding"), "{denial:?}");
    }
    server.lets_in("hostssl all vault_admin all scram-sha-256").await;
    engine.probe(&Lease::new(&verified).config, &values).await.unwrap();
}

#[tokio::test]
async fn names_are_quoted_whatever_they_hold() {
    let server = Server::start().await;
    let (engine, values) = (engine(), Passwords::of(&server));
    let hostile = "orders_read\"; DROP TABLE public.item; --";
    let denial =
        Lease::new(&with(config(&server), "grants", json!([hostile]))).mint(&engine, &values).await.unwrap_err();
    assert_eq!(denial.reason, Reason::EngineRefused);
    assert!(denial.internal.contains("(SQLSTATE 42704)"), "{denial:?}");
    let denial = engine.probe(&Lease::new(&with(config(&server), "grants", json!([hostile]))).config, &values).await;
    assert!(denial.unwrap_err().detail.contains("does not exist"));

    let odd = "a \"b\" 'c' \\ {{name}}";
    server.sql(r#"CREATE ROLE "a ""b"" 'c' \ {{name}}""#).await;
    server.sql(r#"GRANT "a ""b"" 'c' \ {{name}}" TO vault_admin WITH ADMIN OPTION"#).await;
    let lease = Lease::new(&with(with(config(&server), "grants", json!([odd, "orders_read"])), "owner", json!(odd)));
    let secret = lease.mint(&engine, &values).await.unwrap();
    let client = login(&server, &secret).await.unwrap();
    assert_eq!(client.query("SELECT name FROM item", &[]).await.unwrap().len(), 2);
    assert_eq!(engine.revoke(lease.made(), &values).await.unwrap(), Undone::Revoked);
}

#[tokio::test]
async fn a_dropped_call_leaves_nothing_and_the_pool_goes_on() {
    let server = Server::start().await;
    let (engine, values) = (engine(), Passwords::of(&server));
    let creation =
        json!(["CREATE ROLE {{name}} LOGIN PASSWORD {{password}} VALID UNTIL {{expiration}}", "SELECT pg_sleep(30)",]);
    for _ in 0..10 {
        let slow = Lease::new(&with(config(&server), "creation", creation.clone()));
        let dropped = tokio::time::timeout(Duration::from_millis(150), slow.mint(&engine, &values)).await;
        assert!(dropped.is_err(), "the call ended by itself");
        let undone = tokio::time::timeout(Duration::from_secs(3), engine.revoke(slow.made(), &values)).await;
        assert_eq!(undone.unwrap().unwrap(), Undone::Absent);
    }
    let lease = Lease::new(&config(&server));
    let secret = tokio::time::timeout(Duration::from_secs(3), lease.mint(&engine, &values)).await.unwrap().unwrap();
    login(&server, &secret).await.unwrap();
    assert_eq!(engine.list(&lease.config, &values).await.unwrap(), std::slice::from_ref(&lease.handle));
    let busy = "SELECT 1 FROM pg_stat_activity WHERE usename = 'vault_admin' AND (state <> 'idle')";
    for _ in 0..50 {
        if server.sql(busy).await.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("a dropped call goes on at the server");
}

#[tokio::test]
async fn a_revocation_waits_for_a_creation_that_is_still_on_its_way() {
    let server = Server::start().await;
    let (engine, values) = (engine(), Passwords::of(&server));
    let creation =
        json!(["SELECT pg_sleep(1)", "CREATE ROLE {{name}} LOGIN PASSWORD {{password}} VALID UNTIL {{expiration}}",]);
    let slow = Lease::new(&with(config(&server), "creation", creation));
    let revoked = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        engine.revoke(slow.made(), &values).await.unwrap()
    };
    let (minted, revoked) = tokio::join!(slow.mint(&engine, &values), revoked);
    minted.unwrap();
    assert_eq!(revoked, Undone::Revoked);
    assert!(!role_exists(&server, &slow.handle).await);
}

#[tokio::test]
async fn a_revocation_that_was_broken_off_leaves_the_role_locked_out_and_goes_on_later() {
    let server = Server::start().await;
    let (engine, values) = (engine(), Passwords::of(&server));
    let lease = Lease::new(&with(config(&server), "grants", json!(["orders_maker"])));
    let secret = lease.mint(&engine, &values).await.unwrap();
    let client = login(&server, &secret).await.unwrap();
    client.batch_execute("CREATE TABLE public.busy (i int); GRANT ALL ON public.busy TO orders_read").await.unwrap();

    // Somebody else holds the table, so that it cannot change hands.
    server.sql_in("orders", "CREATE ROLE other LOGIN PASSWORD 'x' IN ROLE orders_read").await;
    let other = server.client("other", "x").await.unwrap();
    other.batch_execute("BEGIN; SELECT * FROM public.busy").await.unwrap();
    for _ in 0..2 {
        let cut = tokio::time::timeout(Duration::from_millis(700), engine.revoke(lease.made(), &values)).await;
        assert!(cut.is_err(), "{cut:?}");
        assert!(client.batch_execute("SELECT 1").await.is_err(), "its session lives");
        let refused = login(&server, &secret).await.unwrap_err();
        assert_eq!(refused.code(), Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION), "{refused:?}");
        assert_eq!(engine.list(&lease.config, &values).await.unwrap(), std::slice::from_ref(&lease.handle));
    }
    other.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(engine.revoke(lease.made(), &values).await.unwrap(), Undone::Revoked);
    assert!(!role_exists(&server, &lease.handle).await);
}

#[tokio::test]
async fn a_rotation_that_was_broken_off_locks_nobody_out() {
    let server = Server::start().await;
    let (engine, values) = (engine(), Passwords::of(&server));
    let config = config(&server);
    assert_eq!(engine.admin_secret(config.as_object().unwrap()).unwrap().as_str(), "orders/admin");
    let before = Lease::new(&config);
    before.mint(&engine, &values).await.unwrap();

    // The new version is stored, and then the vault dies.
    values.store("the vault's own, v2");
    Lease::new(&config).mint(&engine, &values).await.unwrap();
    let after_restart = self::engine();
    Lease::new(&config).mint(&after_restart, &values).await.unwrap();

    for _ in 0..2 {
        after_restart.rotate(config.as_object().unwrap(), &values).await.unwrap();
        let old = server.client(ADMIN, server.admin_password()).await.unwrap_err();
        assert_eq!(old.code(), Some(&SqlState::INVALID_PASSWORD));
        server.client(ADMIN, "the vault's own, v2").await.unwrap();
    }
    for engine in [&engine, &after_restart, &self::engine()] {
        let leases: Vec<Lease> = (0..3).map(|_| Lease::new(&config)).collect();
        let minted = tokio::join!(
            leases[0].mint(engine, &values),
            leases[1].mint(engine, &values),
            leases[2].mint(engine, &values)
        );
        assert!(minted.0.is_ok() && minted.1.is_ok() && minted.2.is_ok(), "{minted:?}");
    }
    assert_eq!(engine.revoke(before.made(), &values).await.unwrap(), Undone::Revoked);
    assert!(!server.log().contains("own, v2"), "the log shows the vault's password");

    // One that no printable ASCII writes.
    values.store("Pa\u{df}wort \u{2168} \u{fb01}");
    engine.rotate(config.as_object().unwrap(), &values).await.unwrap();
    Lease::new(&config).mint(&self::engine(), &values).await.unwrap();
}

#[tokio::test]
async fn a_probe_tells_what_is_there_and_what_is_missing() {
    let server = Server::start().await;
    let (engine, values) = (engine(), Passwords::of(&server));
    let good = Lease::new(&with(with(config(&server), "databases", json!(["stock"])), "owner", json!("orders_maker")));
    let found = engine.probe(&good.config, &values).await.unwrap();
    assert!(found["server"].as_str().unwrap().starts_with("PostgreSQL "), "{found:?}");
    assert_eq!((&found["tls"], &found["superuser"]), (&json!("TLSv1.3"), &json!(false)));
    assert_eq!(found["databases"], json!(["orders", "stock"]));
    assert_eq!(server.sql("SELECT 1 FROM pg_roles WHERE rolname LIKE 'nv_%'").await.len(), 0);

    server.sql("CREATE ROLE boss SUPERUSER; CREATE ROLE stranger; REVOKE pg_signal_backend FROM vault_admin").await;
    server.sql("ALTER ROLE vault_admin NOCREATEROLE").await;
    let bad = with(with(config(&server), "grants", json!(["boss", "gone", "orders_read"])), "owner", json!("stranger"));
    let denial = engine.probe(bad.as_object().unwrap(), &values).await.unwrap_err();
    assert_eq!(denial.reason, Reason::EngineRefused);
    for advice in [
        "ALTER ROLE vault_admin CREATEROLE",
        "GRANT pg_signal_backend TO vault_admin",
        "GRANT boss TO vault_admin WITH ADMIN OPTION",
        "the role gone, named in grants, does not exist",
        "GRANT stranger TO vault_admin",
    ] {
        assert!(denial.detail.contains(advice), "{advice}: {}", denial.detail);
    }
    assert!(!denial.detail.contains("orders_read"), "{}", denial.detail);
}

#[tokio::test]
async fn an_operators_own_statements_are_used() {
    let server = Server::start().await;
    let (engine, values) = (engine(), Passwords::of(&server));
    let mut own = with(config(&server), "grants", json!([]));
    own["creation"] = json!([
        "CREATE ROLE {{name}} LOGIN PASSWORD {{password}} VALID UNTIL {{expiration}} CONNECTION LIMIT {{connections}}",
        "DO $$ BEGIN EXECUTE format('GRANT orders_read TO %I', {{name_literal}}); END $$",
        "ALTER ROLE {{name}} SET search_path TO nowhere, public",
    ]);
    own["renewal"] = json!(["ALTER ROLE {{name}} VALID UNTIL {{expiration}} CONNECTION LIMIT 7"]);
    own["revocation"] = json!(["DROP OWNED BY {{name}} CASCADE"]);
    let lease = Lease::new(&own);
    engine.check_role(&lease.config).unwrap();
    let secret = lease.mint(&engine, &values).await.unwrap();
    let client = login(&server, &secret).await.unwrap();
    assert_eq!(client.query("SELECT name FROM item", &[]).await.unwrap().len(), 2);
    engine.renew(lease.made(), SystemClock.now().plus(Seconds(60)), &values).await.unwrap();
    let limit = format!("SELECT rolconnlimit FROM pg_roles WHERE rolname = '{}'", lease.handle);
    assert_eq!(server.sql(&limit).await, [["7"]]);
    assert_eq!(engine.revoke(lease.made(), &values).await.unwrap(), Undone::Revoked);

    let two = Lease::new(&with(own, "renewal", json!(["SELECT {{expiration}}; DROP TABLE public.item"])));
    two.mint(&engine, &values).await.unwrap();
    let denial = engine.renew(two.made(), SystemClock.now(), &values).await.unwrap_err();
    assert_eq!(denial.reason, Reason::EngineRefused);
    assert_eq!(server.sql_in("orders", "SELECT name FROM item").await.len(), 2);
}

#[test]
fn roles_and_params_that_do_not_fit_are_refused() {
    let engine = engine();
    let ca = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    let good = json!({
        "host": "localhost", "database": "orders", "user": "vault_admin", "password": "orders/admin", "ca": ca,
    });
    let check = |config: &Value| engine.check_role(config.as_object().unwrap());
    check(&good).unwrap();
    for (member, value, why) in [
        ("host", json!(""), "host is"),
        ("host", json!("a,b"), "host is"),
        ("host", json!("/run/postgresql"), "ca is used with tls verify-full only"),
        ("port", json!(0), "port is"),
        ("database", json!("a\0b"), "database: a name has"),
        ("user", json!("a".repeat(64)), "user: a name has"),
        ("password", json!("hunter2!"), "is not a secret name"),
        ("tls", json!("off"), "ca is used"),
        ("tls", json!("prefer"), "expected one of"),
        ("ca", json!("none"), "ca holds no certificate"),
        ("ca", Value::Null, "tls verify-full needs ca"),
        ("grants", json!(["vault_admin"]), "as mighty as the vault"),
        ("grants", json!([""]), "grants: a name has"),
        ("owner", json!("vault_admin"), "with the vault's rights"),
        ("databases", json!(["orders"]), "leave the one of database out"),
        ("connections", json!(0), "connections is"),
        ("creation", json!([]), "creation has 1 to 32 statements"),
        ("creation", json!(["CREATE ROLE {{name}}"]), "creation nowhere uses {{password}}"),
        ("creation", json!(["CREATE ROLE \"{{name}}\" {{password}}"]), "comes with its quotes"),
        ("creation", json!(["CREATE ROLE {{name}} {{password}} {{owner}}"]), "there is no {{owner}} here"),
        ("creation", json!(["CREATE ROLE {{name}} {{password}}", " COMMIT"]), "would end the transaction"),
        ("creation", json!(["CREATE ROLE {{name}} {{password}}", "; /* a /* b */ */ -- c\n COMMIT"]), "would end"),
        ("renewal", json!(["ALTER ROLE {{name}}"]), "renewal nowhere uses {{expiration}}"),
        ("revocation", json!(["DROP OWNED BY {{user}}"]), "there is no {{user}} here"),
        ("revocation", json!([""]), "revocation: a statement has"),
        ("sslmode", json!("require"), "unknown field"),
    ] {
        let denial = check(&with(good.clone(), member, value.clone())).expect_err(&format!("{member} {value}"));
        assert_eq!(denial.reason, Reason::BadRole);
        assert!(denial.detail.contains(why), "{member} {value}: {}", denial.detail);
    }
    let params = json!({ "database": "stock" });
    let refused = engine.check_params(&Map::new(), params.as_object().unwrap()).unwrap_err();
    assert_eq!(refused.reason, Reason::ParamsRefused);
}

#[test]
fn every_member_is_described() {
    let schemas = engine().schemas();
    for schema in [&schemas.config, &schemas.secret] {
        for (name, member) in schema["properties"].as_object().unwrap() {
            assert!(member["description"].as_str().is_some_and(|text| text.len() > 5), "{name}: {member}");
        }
    }
    assert_eq!(schemas.config["additionalProperties"], false);
    assert_eq!(schemas.config["required"], json!(["host", "database", "user", "password"]));
}
