//! Floods of every kind against the real daemon: garbage, connections that say nothing, streams and headers without end,
//! strangers' requests, one agent's own. Its memory stays where it is, its log does not fill, and an agent who is at work
//! meanwhile is served within a stated factor. `tests/limits.rs` has those of requests and connections by rate.

#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "figures of what was tried")]

#[path = "faults/dice.rs"]
mod dice;
mod programs;
#[path = "floods/raw.rs"]
mod raw;
#[path = "floods/stage.rs"]
mod stage;
mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nockvault::client::agent::{Ask, Session};
use nockvault::client::channel;
use nockvault::crypto::envelope::Envelope;
use nockvault::statement::card::Card;
use nockvault::statement::session::Hello;
use nockvault::time::{Clock as _, SystemClock};
use nockvault::wire::convert::RefusalDetails;
use nockvault::wire::v1::agent_service_client::AgentServiceClient;
use nockvault::wire::v1::{OpenSessionRequest, RequestCredentialRequest};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

use dice::Dice;
use programs::Vault;
use raw::Tap;
use stage::{by_hand, card, session};
use support::agent::Agent;

/// What a request may take on a machine that is busy with other tests.
const BUSY: Duration = Duration::from_millis(100);
/// How much longer the slowest of the honest requests may take beside a flood.
const FACTOR: f64 = 10.0;
/// How much larger a flood of strangers may make the daemon, in KiB.
const LARGER: u64 = 64 << 10;
/// How much such a flood may write into its log, in bytes.
const LOGGED: u64 = 64 << 10;
/// How many connections a flood is sent over at once.
const AT_ONCE: usize = 12;
const MILLION: f64 = 1e6;

/// One at a time, since they measure.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// How long so many requests took, but for one of ten, and each was granted.
async fn politely(session: &Session, count: usize) -> Duration {
    let mut took = Vec::new();
    for _ in 0..count {
        let begin = Instant::now();
        session.request(&Ask::role("orders-read".parse().unwrap())).await.unwrap();
        took.push(begin.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    took.sort();
    took[count - 1 - count / 10]
}

/// What the daemon has in memory, in KiB.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Looks at the daemon's memory until it is dropped, and keeps the most.
struct Watched(Arc<AtomicU64>, tokio::task::JoinHandle<()>);

impl Watched {
    fn begin(pid: u32) -> Watched {
        let most = Arc::new(AtomicU64::new(memory(pid)));
        let seen = Arc::clone(&most);
        let task = tokio::spawn(async move {
            loop {
                seen.fetch_max(memory(pid), Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
        });
        Watched(most, task)
    }

    fn most(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.1.abort();
    }
}

/// Where a flood goes.
#[derive(Clone)]
struct Target {
    socket: PathBuf,
    tcp: SocketAddr,
    card: Arc<Card>,
    /// Signs for a stranger.
    stranger: Arc<tokio::sync::Mutex<Agent>>,
}

type Flood = fn(Target, Tap, usize) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// Each flood by its name. The number is that of the connection, so that each comes from an address of its own.
const FLOODS: &[(&str, Flood)] = &[
    ("garbage over TCP", |to, tap, number| Box::pin(async move { garbage(to.tcp, &tap, number).await })),
    ("connections that say nothing", |to, tap, number| Box::pin(async move { silence(to.tcp, &tap, number).await })),
    ("a byte now and then", |to, tap, number| {
        Box::pin(async move {
            // One of them holds as many connections as one peer may.
            if number == 0 {
                raw::slow(&to.socket, &tap).await;
            }
        })
    }),
    ("rapid reset", |to, tap, _| Box::pin(async move { raw::rapid_reset(&to.socket, &tap).await })),
    ("streams without end", |to, tap, _| Box::pin(async move { raw::many_streams(&to.socket, &tap).await })),
    ("a header list without end", |to, tap, _| Box::pin(async move { raw::endless_headers(&to.socket, &tap).await })),
    ("header lists too long", |to, tap, _| Box::pin(async move { raw::long_headers(&to.socket, &tap).await })),
    ("pings and settings", |to, tap, _| Box::pin(async move { raw::pings(&to.socket, &tap).await })),
    ("strangers' requests", |to, tap, _| Box::pin(async move { strangers(&to, &tap).await })),
];

/// An address of this machine that is not that of the others.
async fn connect(to: SocketAddr, number: usize) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 1, 1 + number as u8)), 0))?;
    socket.connect(to).await
}

async fn garbage(to: SocketAddr, tap: &Tap, number: usize) {
    let mut dice = Dice(number as u64);
    while tap.runs() {
        let Ok(mut stream) = connect(to, number).await else { continue };
        let mut bytes = dice.bytes(4096);
        if dice.yes() {
            // It looks like a handshake, and goes on as one record that is as long as one may be.
            bytes[..5].copy_from_slice(&[22, 3, 1, 0x40, 0]);
        }
        let poured = async { while stream.write_all(&bytes).await.is_ok() && tap.runs() {} };
        let _ = tokio::time::timeout(Duration::from_millis(300), poured).await;
        tap.count(1);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn silence(to: SocketAddr, tap: &Tap, number: usize) {
    let mut held = Vec::new();
    while tap.runs() {
        if held.len() < 80
            && let Ok(stream) = connect(to, number).await
        {
            held.push(stream);
            tap.count(1);
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

async fn strangers(to: &Target, tap: &Tap) {
    let Ok(channel) = channel::open(&to.card.agents, to.card.ca.as_deref()).await else { return };
    while tap.runs() {
        let envelope = {
            let agent = to.stranger.lock().await;
            agent.clock.set(SystemClock.now());
            agent.issue("orders-read")
        };
        issue(channel.clone(), envelope).await.unwrap_err();
        tap.count(1);
    }
}

async fn issue(channel: Channel, envelope: Envelope) -> Result<(), String> {
    let message = RequestCredentialRequest { signed: Some(envelope.into()) };
    let answer = AgentServiceClient::new(channel).request_credential(message).await;
    answer
        .map(drop)
        .map_err(|status| RefusalDetails::from_status(&status).map_or(status.to_string(), |told| told.reason))
}

fn log_length(vault: &Vault) -> u64 {
    std::fs::metadata(vault.log()).unwrap().len()
}

fn last_words(vault: &Vault) -> String {
    let log = std::fs::read_to_string(vault.log()).unwrap();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_flood_grows_the_daemon_fills_its_log_or_keeps_an_agent_waiting() {
    let _alone = ALONE.lock().await;
    let vault = stage::vault(&[], |config| config);
    let ada = session(&vault, "ada").await;
    politely(&ada, 20).await;
    let quiet = politely(&ada, 30).await;
    let target = Target {
        socket: vault.path().join("vault/run/agents.sock"),
        tcp: card(&vault).agents.strip_prefix("https://").unwrap().parse().unwrap(),
        card: Arc::new(card(&vault)),
        stranger: Arc::new(tokio::sync::Mutex::new(by_hand(&vault, "nobody"))),
    };
    let first = memory(vault.id());
    for (name, flood) in FLOODS {
        let (before, logged, tap, watched) =
            (memory(vault.id()), log_length(&vault), Tap::default(), Watched::begin(vault.id()));
        let mut senders = JoinSet::new();
        for number in 0..AT_ONCE {
            senders.spawn(flood(target.clone(), tap.clone(), number));
        }
        tokio::time::sleep(Duration::from_millis(700)).await;
        let beside = politely(&ada, 30).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        tap.close();
        while let Some(ended) = senders.join_next().await {
            ended.unwrap();
        }
        let (sent, most, logged) = (tap.counted(), watched.most(), log_length(&vault) - logged);
        let factor = beside.as_secs_f64() / quiet.max(BUSY).as_secs_f64();
        println!(
            "flood: {name}: {sent} sent; nine of ten requests {quiet:?} in quiet, {beside:?} beside it; memory {before} KiB, at \
             most {most} KiB; {logged} bytes logged"
        );
        assert!(sent > 10, "{name}: nothing was sent");
        assert!(factor < FACTOR, "{name}: {quiet:?} became {beside:?}");
        assert!(most < first + LARGER, "{name}: {first} KiB became {most} KiB");
        assert!(logged < LOGGED, "{name}: {logged} bytes were logged, at last {}", last_words(&vault));
    }
    politely(&ada, 5).await;
    println!("floods: {} kinds, memory {first} KiB before all and {} KiB after", FLOODS.len(), memory(vault.id()));
}

/// How many connections hold answers that nobody takes.
const UNREAD: usize = 60;
/// How much larger these may make the daemon, in KiB: 128 streams of each, unbounded, take 74 MiB.
const LARGER_BY_UNREAD: u64 = 40 << 10;

async fn check(channel: Channel) -> bool {
    let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
    answer.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::Serving)
}

/// What there is to call, or with what code it is refused.
async fn reflect(channel: Channel) -> Result<(), Code> {
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let ask = ServerReflectionRequest { host: String::new(), message_request };
    let answers = ServerReflectionClient::new(channel).server_reflection_info(tokio_stream::iter([ask])).await;
    let first = answers.map_err(|status| status.code())?.into_inner().message().await;
    first.map_err(|status| status.code())?.map(drop).ok_or(Code::Ok)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_anyone_may_ask_and_nobody_reads_is_bounded_in_number_and_in_time() {
    let _alone = ALONE.lock().await;
    let vault = stage::vault(&[("request_timeout_s", 5)], |config| config);
    let ada = session(&vault, "ada").await;
    politely(&ada, 20).await;
    let quiet = politely(&ada, 30).await;
    let socket = vault.path().join("vault/run/agents.sock");
    // The one is the flooder's own uid, the other an address that he does not have.
    let beside = channel::open(&format!("unix:{}", socket.display()), None).await.unwrap();
    let card = card(&vault);
    let elsewhere = channel::open(&card.agents, card.ca.as_deref()).await.unwrap();

    let (before, tap, watched, mut held) =
        (memory(vault.id()), Tap::default(), Watched::begin(vault.id()), JoinSet::new());
    for number in 0..UNREAD {
        let (socket, tap) = (socket.clone(), tap.clone());
        held.spawn(async move { raw::unread(&socket, number, &tap).await });
        // The first takes the streams that one peer may have.
        let full = async { while reflect(beside.clone()).await != Err(Code::ResourceExhausted) {} };
        if number == 0 {
            tokio::time::timeout(Duration::from_secs(20), full).await.expect("there are so many and no more");
        }
    }
    while tap.counted() < UNREAD as u64 * u64::from(raw::STREAMS) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let loaded = politely(&ada, 30).await;
    assert!(check(beside.clone()).await && check(elsewhere.clone()).await, "health is always told");
    assert_eq!(reflect(beside.clone()).await, Err(Code::ResourceExhausted), "he has his part of the streams");
    assert_eq!(reflect(elsewhere).await, Ok(()), "another has a part of his own");

    // What is not taken in its time is closed with its connection. Those that were refused everything hold nothing.
    let begin = Instant::now();
    for _ in 0..1 + UNREAD / 4 + 1 {
        let ended = tokio::time::timeout(Duration::from_secs(60), held.join_next()).await;
        ended
            .expect("the one with reflection, those with health, and one that asked who the vault is")
            .unwrap()
            .unwrap();
    }
    let again = async { while reflect(beside.clone()).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(20), again).await.expect("his places come back");
    let grown = watched.most() - before;
    println!(
        "unread: {} streams; memory {before} KiB and {grown} KiB more at the most; nine of ten requests {quiet:?} in quiet, \
         {loaded:?} beside it; closed after {:?}",
        tap.counted(),
        begin.elapsed(),
    );
    assert!(grown < LARGER_BY_UNREAD, "{grown} KiB more");
    let factor = loaded.as_secs_f64() / quiet.max(BUSY).as_secs_f64();
    assert!(factor < FACTOR, "{quiet:?} became {loaded:?}");
    assert!(check(beside).await);
}

/// Limits under which an agent may do as much as the machine gives.
const ROOMY: &[(&str, u64)] = &[
    ("agent_requests_per_s", 1_000_000),
    ("agent_request_burst", 10_000_000),
    ("peer_requests_per_s", 1_000_000),
    ("peer_request_burst", 10_000_000),
    ("concurrent_requests_per_agent", 200),
    ("concurrent_requests_per_peer", 200),
    ("sessions_per_agent", 100_000),
    ("nonces_per_key", 10_000_000),
];

/// Sends what `sign` signs, some at once, as long as `go_on` says. Gives how many were sent.
async fn pour<F>(vault: &Vault, sign: F, send: fn(Channel, Envelope) -> Sending, go_on: impl Fn(u64) -> bool) -> u64
where
    F: Fn(u64) -> Envelope,
{
    let card = card(vault);
    let mut channels = Vec::new();
    for _ in 0..4 {
        channels.push(channel::open(&card.agents, card.ca.as_deref()).await.unwrap());
    }
    let (mut under_way, mut sent) = (JoinSet::new(), 0);
    while go_on(sent) {
        under_way.spawn(send(channels[sent as usize % 4].clone(), sign(sent)));
        sent += 1;
        if under_way.len() >= 48 {
            under_way.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(ended) = under_way.join_next().await {
        ended.unwrap();
    }
    sent
}

type Sending = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How large the database is, what is still in its log counted once.
fn store_length(vault: &Vault) -> u64 {
    let database = rusqlite::Connection::open(vault.path().join("vault/data/vault.db")).unwrap();
    let number = |pragma: &str| database.pragma_query_value(None, pragma, |row| row.get::<_, u64>(0)).unwrap();
    number("page_count") * number("page_size")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nonces_of_one_agent_cost_it_disk_and_the_daemon_no_memory() {
    let _alone = ALONE.lock().await;
    let vault = stage::vault(ROOMY, |config| config);
    let ada = session(&vault, "ada").await;
    politely(&ada, 10).await;
    let quiet = politely(&ada, 20).await;
    let kit = by_hand(&vault, "kit");
    // What no grant covers costs a nonce, and after the first in a minute no entry.
    let sign = |_| {
        kit.clock.set(SystemClock.now());
        kit.issue("nothing")
    };
    let send = |channel: Channel, envelope: Envelope| -> Sending {
        Box::pin(async move { assert_eq!(issue(channel, envelope).await.unwrap_err(), "no_grant") })
    };
    let (warm, begin) = (Duration::from_secs(3), Instant::now());
    pour(&vault, sign, send, |_| begin.elapsed() < warm).await;
    let (before, disk, logged) = (memory(vault.id()), store_length(&vault), log_length(&vault));
    let (watched, begin) = (Watched::begin(vault.id()), Instant::now());
    let (sent, beside) = tokio::join!(pour(&vault, sign, send, |_| begin.elapsed() < 2 * warm), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        politely(&ada, 40).await
    });
    let (grown, disk) = (watched.most().saturating_sub(before), store_length(&vault) - disk);
    let (each, logged) = (disk as f64 / sent as f64, (log_length(&vault) - logged) as f64 / sent as f64);
    println!(
        "nonces: {sent} of one agent in {:?}; memory {before} KiB and {grown} KiB more at the most; {each:.0} bytes of disk \
         and {logged:.0} of log each, so a million take {:.0} MiB of disk; nine of ten requests {quiet:?} in quiet, {beside:?} \
         beside it",
        2 * warm,
        each * MILLION / f64::from(1 << 20),
    );
    assert!(sent > 100, "{sent}");
    assert!(grown < LARGER / 2, "{grown} KiB more for {sent} nonces");
    assert!(each < 1500.0, "{each} bytes of disk a nonce");
    let factor = beside.as_secs_f64() / quiet.max(BUSY).as_secs_f64();
    assert!(factor < FACTOR, "{quiet:?} became {beside:?}");
}

/// How many sessions are opened.
const SESSIONS: u64 = 10_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_sessions_cost_rows_and_no_memory() {
    let _alone = ALONE.lock().await;
    let mut vault = stage::vault(ROOMY, |config| config);
    let ada = session(&vault, "ada").await;
    politely(&ada, 10).await;
    let quiet = politely(&ada, 20).await;
    let kit = std::cell::RefCell::new(by_hand(&vault, "kit"));
    let sign = |number| {
        let mut kit = kit.borrow_mut();
        kit.clock.set(SystemClock.now());
        kit.sid = format!("session-{number}").parse().unwrap();
        kit.signed(Hello { seal: kit.seal_statement() })
    };
    let send = |channel: Channel, envelope: Envelope| -> Sending {
        let message = OpenSessionRequest { signed: Some(envelope.into()) };
        Box::pin(async move { drop(AgentServiceClient::new(channel).open_session(message).await.unwrap()) })
    };
    pour(&vault, |number| sign(number + SESSIONS), send, |sent| sent < 500).await;
    let (before, watched, begin) = (memory(vault.id()), Watched::begin(vault.id()), Instant::now());
    let (sent, beside) = tokio::join!(pour(&vault, sign, send, |sent| sent < SESSIONS), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        politely(&ada, 40).await
    });
    let (took, grown) = (begin.elapsed(), watched.most().saturating_sub(before));
    let after = politely(&ada, 20).await;
    drop(watched);
    let begin = Instant::now();
    vault.kill();
    vault.go_on();
    let began = begin.elapsed();
    println!(
        "sessions: {sent} of one agent in {took:?}; memory {before} KiB and {grown} KiB more at the most; nine of ten requests \
         {quiet:?} in quiet, {beside:?} beside it, {after:?} after; killed, it serves again after {began:?}"
    );
    assert_eq!(sent, SESSIONS);
    assert!(grown < LARGER / 2, "{grown} KiB more for {sent} sessions");
    let factor = beside.max(after).as_secs_f64() / quiet.max(BUSY).as_secs_f64();
    assert!(factor < FACTOR, "{quiet:?} became {beside:?}, and {after:?}");
}
