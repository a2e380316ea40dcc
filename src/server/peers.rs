//! What one peer may take before anything is known of it: connections, counted before a handshake, and requests, counted
//! before they are read. A peer is an address: of IPv4 one, an IPv4 address mapped into IPv6 being the same one, of IPv6 a
//! /64, since that is what one machine is given; of a unix socket it is a uid. Each kind of listener counts for itself, so
//! that agents take nothing from operators.
//!
//! Behind one address there may be many (a NAT, a host full of containers), and one of them may be bad. So a peer's
//! requests are counted in two rows: those of connections on which a signature has been verified, and those of strangers.
//! A stranger at the same address uses up the strangers' row, and the agents that are at work there go on. A bad signature
//! costs as much as ten requests, and makes its connection a stranger's. Where the vault tells an agent to wait, nothing
//! more of its connection is read until then, and that costs its neighbours nothing. A proxy that puts many agents onto one
//! connection makes them one in this.
//!
//! Limits delay and lock nobody out: [`crate::rate`] says why. Operators on the same machine are not counted by rate, and
//! those on the unix socket not at all: whoever opens that socket may stop the daemon anyway, and it must be possible to
//! freeze while everything else is flooded.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::listen::Origin;
use super::public::{CHECKS, STREAMS, STREAMS_OF_PEER};
use crate::authz::Peer;
use crate::config::Limits;
use crate::rate::{Rate, Seat, Shares, Table};
use crate::time::Stopwatch;

/// What a request costs whose signature is bad, beyond the one that it was counted as.
const BAD_SIGNATURE: u64 = 9;
/// When one that has all in hand that it may is to come again.
const AGAIN: Duration = Duration::from_millis(100);

/// A peer, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// The upper half of an IPv6 address.
    V6(u64),
    /// The uid at the other end of a unix socket, where the kernel tells it.
    Unix(Option<u32>),
}

impl From<Peer> for Source {
    fn from(peer: Peer) -> Source {
        match peer {
            Peer::Unix(uid) => Source::Unix(uid),
            Peer::Tcp(address) => match address.to_canonical() {
                IpAddr::V4(address) => Source::V4(address),
                IpAddr::V6(address) => {
                    let [a, b, c, d, ..] = address.segments().map(u64::from);
                    Source::V6(a << 48 | b << 32 | c << 16 | d)
                }
            },
        }
    }
}

/// What kind of peer it is: a word for metrics.
#[must_use]
pub fn kind(peer: &Peer) -> &'static str {
    let Peer::Tcp(address) = peer else { return "unix" };
    let private = match address.to_canonical() {
        address if address.is_loopback() => return "loopback",
        IpAddr::V4(address) => address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => address.is_unique_local() || address.is_unicast_link_local(),
    };
    if private { "private" } else { "public" }
}

/// What is known of one connection.
#[derive(Debug)]
pub struct Line {
    /// Whether its newest signature was verified.
    proven: AtomicBool,
    /// Until when nothing of it is read, in nanoseconds.
    until: AtomicU64,
    /// The places for requests for health.
    checks: Arc<Semaphore>,
    over: CancellationToken,
}

impl Default for Line {
    fn default() -> Line {
        let checks = Arc::new(Semaphore::new(CHECKS));
        Line { proven: AtomicBool::default(), until: AtomicU64::default(), checks, over: CancellationToken::new() }
    }
}

impl Line {
    /// A place for a request for health.
    ///
    /// # Errors
    /// How long the peer should wait.
    pub fn check(&self) -> Result<OwnedSemaphorePermit, Duration> {
        Arc::clone(&self.checks).try_acquire_owned().map_err(|_| AGAIN)
    }

    /// Ends the connection.
    pub fn close(&self) {
        self.over.cancel();
    }

    /// Is done when the connection is to end.
    pub async fn closed(self: Arc<Line>) {
        self.over.cancelled().await;
    }
}

/// Why a connection is closed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnedAway {
    /// There are as many as there may be.
    Full,
    /// The peer has its part of them.
    Share,
    /// The peer opens too many too fast.
    Rate,
}

impl TurnedAway {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            TurnedAway::Full => "full",
            TurnedAway::Share => "share",
            TurnedAway::Rate => "rate",
        }
    }
}

/// Who is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Free {
    /// Everybody is counted.
    Nobody,
    /// Who is on this machine.
    Local,
}

/// The peers of one kind of listener; clones count together.
#[derive(Clone, Debug)]
pub struct Peers(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    free: Free,
    /// The beginning of its time.
    watch: Stopwatch,
    connections: Shares<Source>,
    opened: Mutex<Table<Source>>,
    in_hand: Shares<Source>,
    /// Streams of health and reflection.
    streams: Shares<Source>,
    /// Of each peer a row for connections on which a signature was verified, and one for the others.
    requests: Mutex<Table<(Source, bool)>>,
}

/// What a peer holds, until it is dropped; nothing where it is not counted.
pub type Held = Option<Seat<Source>>;

impl Peers {
    /// None yet.
    #[must_use]
    pub fn new(limits: &Limits, free: Free) -> Peers {
        let count = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
        let opened = Rate::new(limits.peer_connections_per_s, limits.peer_connection_burst);
        let asked = Rate::new(limits.peer_requests_per_s, limits.peer_request_burst);
        Peers(Arc::new(Counted {
            free,
            watch: Stopwatch::start(),
            connections: Shares::new(count(limits.connections), count(limits.connections_per_peer)),
            opened: Mutex::new(Table::new(opened, count(limits.peers))),
            in_hand: Shares::new(count(limits.concurrent_requests), count(limits.concurrent_requests_per_peer)),
            streams: Shares::new(STREAMS, STREAMS_OF_PEER),
            requests: Mutex::new(Table::new(asked, count(limits.peers))),
        }))
    }

    fn now(&self) -> u64 {
        self.0.watch.nanos()
    }

    fn is_uncounted(&self, peer: &Peer) -> bool {
        self.0.free == Free::Local && matches!(peer, Peer::Unix(_))
    }

    fn has_no_rate(&self, peer: &Peer) -> bool {
        self.0.free == Free::Local && peer.address().to_canonical().is_loopback()
    }

    /// Lets a connection in.
    ///
    /// # Errors
    /// Why not.
    pub fn connect(&self, peer: &Peer) -> Result<Held, TurnedAway> {
        let source = Source::from(*peer);
        if self.is_uncounted(peer) {
            return Ok(None);
        }
        let seat = self.0.connections.enter(&source).ok_or(TurnedAway::Share)?;
        if !self.has_no_rate(peer) {
            let mut opened = self.0.opened.lock().unwrap_or_else(PoisonError::into_inner);
            opened.take(&source, 1, self.now()).map_err(|_| TurnedAway::Rate)?;
        }
        Ok(Some(seat))
    }

    /// Counts a request that is about to be read.
    ///
    /// # Errors
    /// How long the peer should wait.
    pub fn ask(&self, origin: &Origin) -> Result<(), Duration> {
        if self.has_no_rate(&origin.0) {
            return Ok(());
        }
        let now = self.now();
        let until = origin.1.until.load(Ordering::Relaxed);
        if until > now {
            return Err(Duration::from_nanos(until - now));
        }
        let row = (Source::from(origin.0), origin.1.proven.load(Ordering::Relaxed));
        self.0.requests.lock().unwrap_or_else(PoisonError::into_inner).take(&row, 1, now)
    }

    /// Takes a request of this peer in hand.
    ///
    /// # Errors
    /// How long the peer should wait.
    pub fn take_in_hand(&self, peer: &Peer) -> Result<Held, Duration> {
        self.enter(&self.0.in_hand, peer)
    }

    /// Begins a stream of this peer.
    ///
    /// # Errors
    /// How long the peer should wait.
    pub fn stream(&self, peer: &Peer) -> Result<Held, Duration> {
        self.enter(&self.0.streams, peer)
    }

    fn enter(&self, places: &Shares<Source>, peer: &Peer) -> Result<Held, Duration> {
        if self.is_uncounted(peer) {
            return Ok(None);
        }
        places.enter(&Source::from(*peer)).map(Some).ok_or(AGAIN)
    }

    /// A signature was verified on this connection.
    pub fn proved(&self, origin: &Origin) {
        origin.1.proven.store(true, Ordering::Relaxed);
    }

    /// A signature was bad.
    pub fn failed(&self, origin: &Origin) {
        origin.1.proven.store(false, Ordering::Relaxed);
        if !self.has_no_rate(&origin.0) {
            let row = (Source::from(origin.0), false);
            self.0.requests.lock().unwrap_or_else(PoisonError::into_inner).charge(&row, BAD_SIGNATURE, self.now());
        }
    }

    /// Who speaks here was told to wait: nothing of the connection is read for that long.
    pub fn hold(&self, origin: &Origin, wait: Duration) {
        let wait = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX).min(Rate::LONGEST);
        origin.1.until.store(self.now().saturating_add(wait), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(address: &str) -> Peer {
        Peer::Tcp(address.parse().expect("an address"))
    }

    fn origin(peer: Peer) -> Origin {
        Origin(peer, Arc::default())
    }

    fn limits() -> Limits {
        Limits {
            peer_requests_per_s: 1,
            peer_request_burst: 30,
            peer_connections_per_s: 1,
            peer_connection_burst: 3,
            ..Limits::default()
        }
    }

    #[test]
    fn a_peer_is_an_address_of_ipv4_a_net_of_ipv6_or_a_uid() {
        let same = |a: &str, b: &str| Source::from(tcp(a)) == Source::from(tcp(b));
        assert!(same("192.0.2.1", "::ffff:192.0.2.1") && !same("192.0.2.1", "192.0.2.2"));
        assert!(same("2001:db8:1:2::1", "2001:db8:1:2:ffff::2") && !same("2001:db8:1:2::1", "2001:db8:1:3::1"));
        let [root, other] = [0, 1].map(|uid| Source::from(Peer::Unix(Some(uid))));
        assert!(root != other && root != Source::from(tcp("127.0.0.1")));
        for (address, word) in [
            ("127.0.0.1", "loopback"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::1", "loopback"),
            ("10.1.2.3", "private"),
            ("fd00::1", "private"),
            ("192.0.2.1", "public"),
            ("2001:db8::1", "public"),
        ] {
            assert_eq!(kind(&tcp(address)), word, "{address}");
        }
    }

    #[test]
    fn connections_are_counted_by_number_and_by_rate() {
        let peers = Peers::new(&Limits { connections_per_peer: 2, ..limits() }, Free::Nobody);
        let held: Vec<_> = (0..2).map(|_| peers.connect(&tcp("192.0.2.1")).expect("a place")).collect();
        assert_eq!(peers.connect(&tcp("::ffff:192.0.2.1")).err(), Some(TurnedAway::Share));
        drop(held);
        peers.connect(&tcp("192.0.2.1")).expect("the third");
        assert_eq!(peers.connect(&tcp("192.0.2.1")).err(), Some(TurnedAway::Rate));
        assert!(peers.connect(&tcp("192.0.2.2")).is_ok() && peers.connect(&Peer::Unix(Some(7))).is_ok());
    }

    #[test]
    fn a_stranger_uses_up_the_strangers_row_and_not_that_of_his_neighbours() {
        let peers = Peers::new(&limits(), Free::Nobody);
        let (stranger, agent) = (origin(tcp("192.0.2.1")), origin(tcp("192.0.2.1")));
        peers.ask(&agent).expect("the first");
        peers.proved(&agent);
        for _ in 0..3 {
            peers.ask(&stranger).expect("there is some left");
            peers.failed(&stranger);
        }
        let wait = peers.ask(&stranger).expect_err("thirty-one are used");
        assert!(wait <= Duration::from_nanos(Rate::LONGEST), "{wait:?}");
        peers.ask(&agent).expect("it has shown who it is");
        // It shows a bad signature, and is a stranger from there on.
        peers.failed(&agent);
        assert!(peers.ask(&agent).is_err());
    }

    #[test]
    fn a_connection_that_was_told_to_wait_waits_alone() {
        let peers = Peers::new(&limits(), Free::Nobody);
        let (bad, good) = (origin(tcp("192.0.2.1")), origin(tcp("192.0.2.1")));
        peers.hold(&bad, Duration::from_secs(3600));
        let wait = peers.ask(&bad).expect_err("it waits");
        assert!(wait > Duration::from_secs(1) && wait <= Duration::from_nanos(Rate::LONGEST), "{wait:?}");
        peers.ask(&good).expect("nobody told this one");
    }

    #[test]
    fn operators_on_this_machine_are_never_kept_out() {
        let peers = Peers::new(&Limits { connections_per_peer: 2, ..limits() }, Free::Local);
        let mut held = Vec::new();
        for _ in 0..100 {
            held.push(peers.connect(&Peer::Unix(Some(0))).expect("in any number"));
            let at = origin(tcp("::ffff:127.0.0.1"));
            peers.failed(&at);
            peers.ask(&at).expect("at any rate");
            drop(peers.connect(&at.0).expect("at any rate"));
            held.push(peers.take_in_hand(&Peer::Unix(None)).expect("in any number"));
        }
        let far = origin(tcp("192.0.2.1"));
        assert!((0..31).any(|_| peers.ask(&far).is_err()), "who is far is counted");
    }
}
