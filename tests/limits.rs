//! Limits of peers and agents, with the real daemon: who floods is told to wait, and whoever does not is served as before.
//! Nobody is locked out: the one who waited as long as he was told comes in.

#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod programs;
#[path = "floods/stage.rs"]
mod stage;
mod support;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nockvault::client::agent::{Ask, Session};
use nockvault::client::channel;
use nockvault::crypto::envelope::Envelope;
use nockvault::statement::card::Card;
use nockvault::time::{Clock as _, SystemClock};
use nockvault::wire::convert::RefusalDetails;
use nockvault::wire::v1::RequestCredentialRequest;
use nockvault::wire::v1::agent_service_client::AgentServiceClient;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use programs::Vault;
use stage::{by_hand, card, session};
use support::agent::Agent;

/// The longest that anybody waits, and the time that a busy machine takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a request may take on a machine that is busy with other tests.
const BUSY: Duration = Duration::from_millis(60);
/// How long a flooder rests after a refusal: the load that is measured is the daemon's, not the test's own signing.
const BREATH: Duration = Duration::from_millis(3);

/// One at a time, since they measure.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A vault with these limits in place of the defaults.
fn vault(limits: &[(&str, u64)]) -> Vault {
    // Of both families: a peer of IPv4 is the same whichever way it is written.
    stage::vault(limits, |config| config.replacen("listen = \"127.0.0.1:", "listen = \"[::]:", 1))
}

/// How long each of so many requests took, one after the other, and each was granted.
async fn politely(session: &Session, count: usize) -> Duration {
    let mut took = Vec::new();
    for _ in 0..count {
        let begin = Instant::now();
        session.request(&Ask::role("orders-read".parse().unwrap())).await.unwrap();
        took.push(begin.elapsed());
    }
    took.sort();
    took[count - 1 - count / 100]
}

async fn send(channel: Channel, envelope: Envelope) -> Result<(), RefusalDetails> {
    let message = RequestCredentialRequest { signed: Some(envelope.into()) };
    let answer = AgentServiceClient::new(channel).request_credential(message).await;
    answer.map(drop).map_err(|status| RefusalDetails::from_status(&status).unwrap_or_else(|| panic!("{status:?}")))
}

/// What became of a flood.
#[derive(Debug, Default)]
struct Flood {
    granted: usize,
    refused: Vec<RefusalDetails>,
}

impl Flood {
    fn of(&self, reason: &str) -> usize {
        self.refused.iter().filter(|refused| refused.reason == reason).count()
    }
}

/// Floods over some connections, with as many requests under way, until it is told to stop.
async fn flood(card: Card, agent: Arc<tokio::sync::Mutex<Agent>>, stop: Arc<AtomicBool>) -> Flood {
    let mut senders = JoinSet::new();
    for _ in 0..4 {
        let channel = channel::open(&card.agents, card.ca.as_deref()).await.unwrap();
        for _ in 0..4 {
            let (channel, agent, stop) = (channel.clone(), Arc::clone(&agent), Arc::clone(&stop));
            senders.spawn(async move {
                let mut all = Flood::default();
                while !stop.load(Ordering::Acquire) {
                    let envelope = {
                        let agent = agent.lock().await;
                        agent.clock.set(SystemClock.now());
                        agent.issue("orders-read")
                    };
                    match send(channel.clone(), envelope).await {
                        Ok(()) => all.granted += 1,
                        Err(refused) => {
                            all.refused.push(refused);
                            tokio::time::sleep(BREATH).await;
                        }
                    }
                }
                all
            });
        }
    }
    let mut all = Flood::default();
    while let Some(one) = senders.join_next().await {
        let Flood { granted, refused } = one.unwrap();
        all.granted += granted;
        all.refused.extend(refused);
    }
    all
}

fn metrics(vault: &Vault) -> String {
    let at = vault.ready.split_whitespace().find_map(|part| part.strip_prefix("http=http://")).unwrap();
    let mut stream = std::net::TcpStream::connect(at).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: vault\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// The value of a sample.
fn sample(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
    line.trim().parse().unwrap()
}

/// Waits as long as a refusal says, and asks until it is granted; how many times it was asked.
async fn comes_in(vault: &Vault, agent: &Agent) -> usize {
    let card = card(vault);
    let channel = channel::open(&card.agents, card.ca.as_deref()).await.unwrap();
    for asked in 1..20 {
        agent.clock.set(SystemClock.now());
        match send(channel.clone(), agent.issue("orders-read")).await {
            Ok(()) => return asked,
            Err(refused) => {
                let wait = refused.retry_after().unwrap_or_else(|| panic!("{refused:?}"));
                assert!(wait <= Duration::from_secs(5), "{wait:?}");
                tokio::time::sleep(wait).await;
            }
        }
    }
    panic!("it was locked out");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_agent_that_floods_waits_and_another_does_not() {
    let _alone = ALONE.lock().await;
    let (rate, burst) = (40, 60);
    let mut vault = vault(&[("agent_requests_per_s", rate), ("agent_request_burst", burst)]);
    let ada = session(&vault, "ada").await;
    politely(&ada, 10).await;
    // Her own burst is for both measurements.
    let quiet = politely(&ada, 20).await;

    let (stop, begin) = (Arc::new(AtomicBool::new(false)), Instant::now());
    let kit = Arc::new(tokio::sync::Mutex::new(by_hand(&vault, "kit")));
    let flooding = tokio::spawn(flood(card(&vault), Arc::clone(&kit), Arc::clone(&stop)));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let flooded = politely(&ada, 60).await;
    stop.store(true, Ordering::Release);
    let all = flooding.await.unwrap();
    let ran = begin.elapsed().as_secs() + 1;

    let ratio = flooded.as_secs_f64() / quiet.max(BUSY).as_secs_f64();
    println!("p99 {quiet:?} in quiet, {flooded:?} beside {} refused: {ratio:.1}", all.refused.len());
    assert!(ratio < 10.0, "p99 was {quiet:?} and became {flooded:?}");
    assert_eq!(all.of("rate_limited"), all.refused.len(), "{:?}", all.refused.last());
    assert!(all.granted as u64 <= burst + rate * ran, "{} in {ran} s", all.granted);
    assert!(all.granted as u64 >= burst, "{}", all.granted);
    let signed = all.refused.iter().filter(|refused| refused.signed.is_some()).count();
    assert!(signed > 0 && signed < all.refused.len(), "{signed}: some are refused without being read");
    assert!(all.refused.iter().all(|refused| refused.retry_after().is_some()));

    comes_in(&vault, &*kit.lock().await).await;
    let told = metrics(&vault);
    assert!(sample(&told, "nockvault_refusals_total{reason=\"rate_limited\"}") >= all.refused.len() as u64);
    // None of it stands in the agent's chain, and all of it was counted.
    let chain = vault.vaultctl(&["audit", "export", "kit"]).ok();
    assert!(!chain.contains("rate_limited"));
    vault.restart();
    let of_vault = vault.vaultctl(&["audit", "export", "_vault"]).ok();
    assert!(of_vault.contains("\"rate_limited\":"), "{of_vault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stranger_who_floods_keeps_no_agent_and_no_operator_out() {
    let _alone = ALONE.lock().await;
    let vault = vault(&[("peer_requests_per_s", 100), ("peer_request_burst", 300)]);
    let ada = session(&vault, "ada").await;
    politely(&ada, 10).await;
    let quiet = politely(&ada, 40).await;

    let (stop, begin) = (Arc::new(AtomicBool::new(false)), Instant::now());
    let stranger = Arc::new(tokio::sync::Mutex::new(by_hand(&vault, "nobody")));
    let flooding = tokio::spawn(flood(card(&vault), Arc::clone(&stranger), Arc::clone(&stop)));
    tokio::time::sleep(Duration::from_secs(2)).await;
    // From the same address, one that is at work goes on, and another comes in.
    let flooded = politely(&ada, 40).await;
    let freezing = Instant::now();
    let frozen = vault.vaultctl(&["freeze", "--everything", "--reason", "a flood"]);
    let froze = freezing.elapsed();
    frozen.ok();
    vault.vaultctl(&["thaw", "--everything"]).ok();
    let well = metrics(&vault);
    stop.store(true, Ordering::Release);
    let all = flooding.await.unwrap();
    let ran = begin.elapsed().as_secs() + 1;

    let ratio = flooded.as_secs_f64() / quiet.max(BUSY).as_secs_f64();
    println!(
        "p99 {quiet:?} in quiet, {flooded:?} beside {} refused: {ratio:.1}; froze in {froze:?}",
        all.refused.len()
    );
    assert!(ratio < 10.0, "p99 was {quiet:?} and became {flooded:?}");
    assert!(froze < PATIENCE, "{froze:?}");
    assert_eq!(all.granted, 0);
    let (read, unread) = (all.of("unauthenticated"), all.of("rate_limited"));
    assert_eq!(read + unread, all.refused.len(), "{:?}", all.refused.last());
    // A bad signature costs as much as ten requests; those that were under way at once were counted after it.
    assert!(read as u64 <= (300 + 100 * ran) / 10 + 16 + 300 / 10, "{read} were read in {ran} s");
    assert!(unread > read, "{read} read, {unread} unread");
    let failures = "nockvault_signature_failures_total{listener=\"agents\",peer=\"loopback\"}";
    assert!(sample(&well, failures) > 0);
    // Whoever waits as he is told comes in from there too.
    comes_in(&vault, &by_hand(&vault, "kit")).await;
}

async fn connect_from(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from.into(), 0)).unwrap();
    socket.connect(to).await.unwrap()
}

/// Whether a connection is still held after a moment.
async fn is_held(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    let read = tokio::io::AsyncReadExt::read(stream, &mut byte);
    !matches!(tokio::time::timeout(Duration::from_millis(20), read).await, Ok(Ok(0) | Err(_)))
}

fn is_closed(stream: &mut UnixStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    matches!(stream.read(&mut [0]), Ok(0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_connections_of_one_peer_leave_room_for_others() {
    let _alone = ALONE.lock().await;
    let vault = vault(&[("connections", 64), ("connections_per_peer", 16)]);
    let to = card(&vault).agents.strip_prefix("https://").unwrap().parse().unwrap();
    let mut slow = Vec::new();
    for _ in 0..100 {
        slow.push(connect_from(Ipv4Addr::new(127, 0, 0, 2), to).await);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut held = 0;
    for stream in &mut slow {
        held += usize::from(is_held(stream).await);
    }
    assert_eq!(held, 16, "a peer has its part, of IPv6 or of IPv4");
    // Another address says all it wants, and the machine's own users by the socket.
    let ada = session(&vault, "ada").await;
    politely(&ada, 5).await;
    let socket = vault.path().join("vault/run/agents.sock");
    let mut unix: Vec<_> = (0..40).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let closed = unix.iter_mut().map(is_closed).filter(|closed| *closed);
    assert_eq!(closed.count(), 40 - 16, "a uid is a peer");
    politely(&ada, 5).await;

    // Operators at their socket are not counted.
    let socket = vault.path().join("vault/run/operators.sock");
    let mut unix: Vec<_> = (0..40).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    vault.vaultctl(&["status"]).ok();
    let closed = unix.iter_mut().map(is_closed).filter(|closed| *closed);
    assert_eq!(closed.count(), 0);
    let told = metrics(&vault);
    assert_eq!(sample(&told, "nockvault_connections_turned_away_total{listener=\"agents\",why=\"share\"}"), 84 + 24);

    // Once the slow ones are gone, the place is free for whoever comes from there.
    drop(slow);
    let begin = Instant::now();
    while !is_held(&mut connect_from(Ipv4Addr::new(127, 0, 0, 2), to).await).await {
        assert!(begin.elapsed() < PATIENCE, "its places did not come back");
    }
    assert_eq!(to.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_are_counted_by_rate_before_a_handshake() {
    let _alone = ALONE.lock().await;
    let vault = vault(&[("peer_connections_per_s", 1), ("peer_connection_burst", 8)]);
    let to = card(&vault).agents.strip_prefix("https://").unwrap().parse().unwrap();
    for _ in 0..40 {
        drop(connect_from(Ipv4Addr::new(127, 0, 0, 3), to).await);
    }
    let ada = session(&vault, "ada").await;
    politely(&ada, 3).await;
    let told = metrics(&vault);
    assert!(sample(&told, "nockvault_connections_turned_away_total{listener=\"agents\",why=\"rate\"}") >= 25);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_client_waits_as_it_is_told_and_does_not_hammer() {
    let _alone = ALONE.lock().await;
    let vault = vault(&[("agent_requests_per_s", 10), ("agent_request_burst", 5)]);
    let kit = session(&vault, "kit").await;
    let begin = Instant::now();
    politely(&kit, 25).await;
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(1900), "{took:?}: five at once, then ten a second");
    let refused = sample(&metrics(&vault), "nockvault_refusals_total{reason=\"rate_limited\"}");
    println!("25 requests took {took:?}, and {refused} were refused");
    assert!((1..=60).contains(&refused), "{refused}");
}
