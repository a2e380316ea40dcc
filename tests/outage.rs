//! The backend is gone for longer than its leases live, in each of the ways in which a backend can be gone; or it is
//! there and refuses. What is over waits, for all to see, and is taken away when it can be. Nobody else is slower.

#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod programs;
#[path = "postgres/server.rs"]
mod server;
#[path = "killed/stage.rs"]
mod stage;
#[path = "outage/wire.rs"]
mod wire;

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use nockvault::client::agent::{Credential, Session};
use nockvault::client::fault::Fault;
use nockvault::denial::Reason;
use nockvault::id::{ChainName, RoleName};
use nockvault::secret::SecretBytes;
use nockvault::statement::lease::Which;
use nockvault::statement::secret::SecretUse;
use nockvault::time::{Clock as _, Seconds, SystemClock};
use serde_json::{Value, json};

use stage::{Stage, ask};
use wire::{Way, Wire};

/// How long the vault lets an engine work.
const DEADLINE: Duration = Duration::from_secs(2);
/// How much longer an answer may take on a machine that is busy with other things.
const MARGIN: Duration = Duration::from_millis(1500);

const LINES: &[(&str, &str)] =
    &[("engine_deadline_ms = 5000", "engine_deadline_ms = 2000"), ("backend_retry_s = 30", "backend_retry_s = 1")];

/// The session of a credential at the server, which the server itself would go on with for ever.
async fn login(stage: &Stage, credential: &Credential) -> tokio_postgres::Client {
    let secret = &credential.secret;
    let [user, password] = ["username", "password"].map(|member| secret.expose(member).unwrap().to_owned());
    stage.server.client(&user, &password).await.unwrap()
}

fn handle(credential: &Credential) -> String {
    credential.secret.expose("username").unwrap().to_owned()
}

/// Asks for these roles in turn for a while. Gives how long the answer in the middle took.
async fn pace(session: &Session, roles: &[RoleName]) -> Duration {
    let (begin, mut took) = (Instant::now(), Vec::new());
    while begin.elapsed() < Duration::from_millis(700) {
        for role in roles {
            let asked = Instant::now();
            let lease = session.request(&ask(role)).await.unwrap().hdr.lease;
            took.push(asked.elapsed());
            session.release(&lease).await.unwrap();
        }
    }
    took.sort();
    took[took.len() / 2]
}

/// Roles of engines that need no backend.
async fn others(stage: &mut Stage) -> [RoleName; 2] {
    let value = SecretBytes::from(b"a value".to_vec());
    let name = "notes".parse().unwrap();
    stage.operator().await.put_secret(&name, &value, SecretUse::Kv, None).await.unwrap();
    let notes = stage.role_of("kv", json!({ "secret": "notes" }), None).await;
    let tokens = stage.role_of("jwt", json!({ "audience": ["https://api.test"] }), None).await;
    [notes, tokens]
}

/// Asks 32 times for a role whose backend is gone: each is told so within the deadline, and meanwhile others are served
/// as before.
async fn nobody_else_waits(session: &Session, gone: &RoleName, others: &[RoleName], before: Duration, way: Way) {
    let asked: Vec<_> = (0..32)
        .map(|turn| {
            let (session, ask) = (session.clone(), ask(gone));
            tokio::spawn(async move {
                // One after the other, so that some come when all places are taken, and one comes free in their time.
                tokio::time::sleep(Duration::from_millis(10 * turn)).await;
                let begin = Instant::now();
                (session.request(&ask).await, begin.elapsed())
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let during = pace(session, others).await;
    if way == Way::Silent {
        assert!(asked.iter().any(|one| !one.is_finished()), "nobody waited for the backend meanwhile");
    }
    assert!(
        during < 3 * before + Duration::from_millis(20),
        "{before:?} before, {during:?} beside a backend that is gone"
    );
    for one in asked {
        let (answer, took) = one.await.unwrap();
        assert_eq!(answer.unwrap_err().reason(), Some(Reason::EngineUnavailable));
        assert!(took < DEADLINE + MARGIN, "{took:?}");
    }
}

/// Waits until each of these was tried in vain, and holds what operators see against it.
async fn the_queue_is_seen(stage: &Stage, held: &[Credential]) {
    stage
        .until("they were not tried", async |stage| {
            let stuck = stage.leases(Which::Stuck).await;
            held.iter().all(|credential| {
                let id = credential.hdr.lease.as_str();
                stuck.iter().any(|lease| lease["lease"] == id && lease["undo"]["tries"].as_u64() > Some(0))
            })
        })
        .await;
    let shown = stage.vault.vaultctl(&["lease", "list", "--stuck", "--output", "json"]).ok();
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let shown = shown.as_array().or(shown["items"].as_array()).unwrap();
    let table = stage.vault.vaultctl(&["lease", "list", "--stuck"]).ok();
    assert!(["TRIES", "NEXT", "FAULT"].iter().all(|title| table.contains(title)), "{table}");
    for credential in held {
        let lease = shown.iter().find(|lease| lease["lease"] == credential.hdr.lease.as_str()).unwrap();
        let undo = &lease["undo"];
        assert_eq!(lease["state"], "expired");
        assert!(undo["tries"].as_u64() > Some(0), "{lease}");
        assert!(undo["retry"].as_u64() > lease["ended"].as_u64(), "{lease}");
        assert!(undo["retry"].as_u64() < Some(SystemClock.now().plus(Seconds(3)).0), "{lease}");
        assert!(undo["fault"].as_str().unwrap().starts_with("engine_unavailable"), "{lease}");
        assert!(table.contains(credential.hdr.lease.as_str()), "{table}");
    }
}

/// The value of a metric.
fn metric(stage: &Stage, name: &str) -> u64 {
    let ready = &stage.vault.ready;
    let address = ready.split_whitespace().find_map(|part| part.strip_prefix("http=http://")).unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

/// How often it was tried in vain before each credential was taken away, as the chain has it.
async fn tries(stage: &Stage, held: &[Credential]) -> Vec<u64> {
    let chain = stage.entries(&ChainName::from(&stage::kit())).await;
    let undone: Vec<&Value> = chain.iter().filter(|entry| entry["kind"] == "undone").collect();
    let of = |credential: &Credential| {
        let entry = undone.iter().find(|entry| entry["body"]["lease"] == credential.hdr.lease.as_str()).unwrap();
        entry["body"]["tries"].as_u64().unwrap()
    };
    held.iter().map(of).collect()
}

/// A backend to which the way is cut for longer than its leases live, while their sessions go on there.
async fn cut_off(way: Way) {
    let mut stage = Stage::with(LINES).await;
    let wire = Wire::to(stage.server.port()).await;
    let orders = stage.role_by(wire.port(), None).await;
    let others = others(&mut stage).await;
    let session = stage.session();
    let before = pace(&session, &others).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(session.request(&ask(&orders).ttl(Seconds(4))).await.unwrap());
    }
    let inside = login(&stage, &held[0]).await;

    wire.set(way);
    the_queue_is_seen(&stage, &held).await;
    nobody_else_waits(&session, &orders, &others, before, way).await;
    inside.simple_query("SELECT name FROM item").await.unwrap();

    wire.set(Way::Open);
    let begin = Instant::now();
    stage.settle().await;
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    inside.simple_query("SELECT name FROM item").await.unwrap_err();
    let told = stage.told(&orders).await;
    let expired = told.iter().filter(|story| *story == &["issue", "expire pending", "undone revoked"]).count();
    let denied = told.iter().filter(|story| *story == &["deny engine_unavailable", "undone absent"]).count();
    assert_eq!((expired, expired + denied), (3, told.len()), "{told:?}");
    assert!(tries(&stage, &held).await.iter().all(|tries| *tries > 0));
    session.request(&ask(&orders)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_backend_that_refuses_connections_is_waited_for() {
    cut_off(Way::Refused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_backend_that_never_answers_is_waited_for() {
    cut_off(Way::Silent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_server_that_is_stopped_for_longer_than_its_leases_live_finds_them_revoked() {
    let mut stage = Stage::with(LINES).await;
    let orders = stage.role(None).await;
    let session = stage.session();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(session.request(&ask(&orders).ttl(Seconds(4))).await.unwrap());
    }
    stage.server.stop();
    let fault = session.request(&ask(&orders)).await.unwrap_err();
    assert_eq!(fault.reason(), Some(Reason::EngineUnavailable), "{fault}");
    the_queue_is_seen(&stage, &held).await;
    // What lives is counted every 15 seconds.
    stage.until("the metric shows none", async |stage| metric(stage, "nockvault_leases_stuck") >= 3).await;

    stage.server.start_again().await;
    let begin = Instant::now();
    stage.settle().await;
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    let told = stage.told(&orders).await;
    assert_eq!(told[..3], [["issue", "expire pending", "undone revoked"]; 3]);
    assert!(tries(&stage, &held).await.iter().all(|tries| *tries > 0));
    assert_eq!(told[3..], [["deny engine_unavailable", "undone absent"]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_an_operator_gave_up_on_is_swept_when_the_backend_is_back() {
    let mut stage = Stage::with(LINES).await;
    let orders = stage.role(None).await;
    let credential = stage.session().request(&ask(&orders).ttl(Seconds(3))).await.unwrap();
    let (id, handle) = (credential.hdr.lease.to_string(), handle(&credential));
    let refused = stage.vault.vaultctl(&["lease", "revoke", &id, "--force"]).fails(2);
    assert!(refused.contains("nothing_to_undo"), "{refused}");
    stage.server.stop();
    the_queue_is_seen(&stage, std::slice::from_ref(&credential)).await;
    stage.vault.vaultctl(&["lease", "revoke", &id, "--force"]).ok();
    assert!(stage.leases(Which::Stuck).await.is_empty());
    stage.server.start_again().await;
    assert_eq!(stage.told(&orders).await, [["issue", "expire pending", "forget"]]);
    let roles = format!("SELECT 1 FROM pg_roles WHERE rolname = '{handle}'");
    assert!(!stage.server.sql(&roles).await.is_empty(), "nobody takes it away before the sweep");

    stage.vault.restart();
    stage.until("it was not swept", async |stage| stage.server.sql(&roles).await.is_empty()).await;
    let swept = async |stage: &Stage| {
        let chain = stage.entries(&ChainName::vault()).await;
        chain.into_iter().filter(|entry| entry["kind"] == "swept").map(|entry| entry["body"].clone()).collect()
    };
    stage.until("it is not told", async |stage| !Vec::<Value>::is_empty(&swept(stage).await)).await;
    let expected = json!({ "handle": handle, "outcome": "revoked", "role": orders });
    assert_eq!(swept(&stage).await, [expected]);
    stage.settle().await;
}

/// What the queue says of a lease.
async fn undo(stage: &Stage, credential: &Credential) -> Value {
    stage.lease(&credential.hdr.lease).await["undo"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lease_that_the_backend_refuses_to_end_holds_up_no_other() {
    let mut stage = Stage::with(LINES).await;
    let orders = stage.role(None).await;
    let session = stage.session();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(session.request(&ask(&orders)).await.unwrap());
    }
    // What is owned in a database that does not let the vault in keeps the login from being dropped.
    let keep = format!("CREATE TABLE kept (n int); ALTER TABLE kept OWNER TO {}", handle(&held[0]));
    stage.server.sql_in("stock", &keep).await;
    stage.server.sql("REVOKE CONNECT ON DATABASE stock FROM PUBLIC").await;
    for credential in &held {
        session.release(&credential.hdr.lease).await.unwrap();
    }
    stage.until("the others wait too", async |stage| stage.leases(Which::Stuck).await.len() == 1).await;
    stage.until("it is not tried again", async |stage| undo(stage, &held[0]).await["tries"].as_u64() > Some(1)).await;
    let seen = undo(&stage, &held[0]).await;
    let fault = seen["fault"].as_str().unwrap();
    assert!(fault.starts_with("engine_refused") && fault.contains("stock"), "{fault}");
    let ended = stage.lease(&held[0].hdr.lease).await["ended"].as_u64().unwrap();
    assert!(seen["retry"].as_u64().unwrap() >= ended + 3000, "each wait is longer than the one before: {seen}");
    let shut = stage.server.client(&handle(&held[0]), held[0].secret.expose("password").unwrap()).await;
    assert!(shut.is_err(), "it is locked out all the same");

    stage.server.sql("GRANT CONNECT ON DATABASE stock TO PUBLIC").await;
    stage.settle().await;
    assert_eq!(stage.told(&orders).await, [["issue", "release", "undone revoked"]; 3]);
    let tries = tries(&stage, &held).await;
    assert!(tries[0] >= 2 && tries[1..] == [0, 0], "{tries:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_backend_that_takes_the_vaults_rights_away_is_asked_until_it_gives_them_back() {
    let mut stage = Stage::with(LINES).await;
    let orders = stage.role(None).await;
    let session = stage.session();
    let credential = session.request(&ask(&orders)).await.unwrap();
    stage.server.sql("ALTER ROLE vault_admin NOCREATEROLE").await;
    let refused = session.request(&ask(&orders)).await.map(drop);
    assert!(matches!(&refused, Err(Fault::Refused(refusal)) if refusal.code == "engine_refused"), "{refused:?}");
    session.release(&credential.hdr.lease).await.unwrap();
    stage
        .until("it is not tried again", async |stage| undo(stage, &credential).await["tries"].as_u64() > Some(1))
        .await;
    let seen = undo(&stage, &credential).await;
    assert!(seen["fault"].as_str().unwrap().starts_with("engine_refused"), "{seen}");
    stage.server.sql("ALTER ROLE vault_admin CREATEROLE").await;
    stage.settle().await;
    let told = [&["issue", "release", "undone revoked"][..], &["deny engine_refused", "undone absent"]];
    assert_eq!(stage.told(&orders).await, told);
}
