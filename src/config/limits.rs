//! One table of every limit: its name with its unit, its default, the least and the most it may be, and what it is
//! for. The type, the reading, the refusals and the example file all come from it.

use std::ops::RangeInclusive;

/// A row of the table.
#[derive(Clone, Debug)]
pub struct Limit {
    /// The key in `[limits]`; it ends with its unit, or counts what it names.
    pub name: &'static str,
    /// What it is for.
    pub text: &'static str,
    /// What holds where the file says nothing.
    pub default: u64,
    /// What may be written.
    pub range: RangeInclusive<u64>,
}

macro_rules! limits {
    ($($(#[doc = $text:literal])+ $name:ident = $default:literal, $least:literal..=$most:literal;)*) => {
        /// How much of everything there may be.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Limits {
            $($(#[doc = $text])+ pub $name: u64,)*
        }

        impl Limits {
            /// Every limit, in the order of the example.
            pub const TABLE: &'static [Limit] = &[$(Limit {
                name: stringify!($name),
                text: concat!($($text),+),
                default: $default,
                range: $least..=$most,
            },)*];

            /// Every limit by its name.
            #[must_use]
            pub fn named(&self) -> std::collections::BTreeMap<String, u64> {
                [$((stringify!($name).to_owned(), self.$name),)*].into()
            }

            /// The limits that `read` finds for the rows.
            pub(super) fn read(mut read: impl FnMut(&'static Limit) -> u64) -> Limits {
                let mut rows = Limits::TABLE.iter();
                $(let $name = rows.next().map_or($default, &mut read);)*
                Limits { $($name,)* }
            }
        }

        impl Default for Limits {
            fn default() -> Limits {
                Limits { $($name: $default,)* }
            }
        }
    };
}

limits! {
    /// How far a request's iat may lie from the vault's clock, in seconds. A nonce is kept until iat + skew_s.
    skew_s = 300, 1..=3600;
    /// How many live nonces one key may have. A request more is refused with nonces_full; none is forgotten early.
    nonces_per_key = 200_000, 16..=10_000_000;
    /// After how many seconds without a request a session ends.
    session_idle_s = 3600, 10..=604_800;
    /// After how many seconds a session ends in any case, with every lease it holds.
    session_max_s = 86_400, 60..=2_592_000;
    /// How many open sessions one agent may have.
    sessions_per_agent = 64, 1..=100_000;
    /// How many live leases one agent may have.
    leases_per_agent = 1000, 1..=1_000_000;
    /// How many denials of one agent in a minute get an audit entry of their own; the rest share one deny_summary.
    denials_per_minute = 30, 1..=100_000;
    /// For how many seconds an agent's old key is accepted beside its successor.
    key_overlap_s = 604_800, 0..=2_592_000;
    /// For how many milliseconds a request may wait for its durable commit before it is refused.
    commit_deadline_ms = 5000, 50..=60_000;
    /// For how many milliseconds an engine may work at its backend, in one call, before it is given up.
    engine_deadline_ms = 5000, 50..=60_000;
    /// The longest time until a backend that could not be reached is tried again, in seconds. It begins with about one.
    backend_retry_s = 30, 1..=3600;
    /// The largest gRPC message from an agent, in bytes. A request's payload has at most 8192.
    agent_message_bytes = 32_768, 16_384..=1_048_576;
    /// The largest gRPC message from an operator, in bytes. Sealed input has at most 1 MiB, a command 65536.
    operator_message_bytes = 1_310_720, 131_072..=4_194_304;
    /// How many requests of agents are in hand at once, and as many of operators. One more is refused with busy.
    concurrent_requests = 256, 1..=65_536;
    /// How many of them one agent may have. One more is refused with rate_limited: so one that hangs at a slow backend
    /// leaves three quarters to others.
    concurrent_requests_per_agent = 64, 1..=65_536;
    /// How many of them may come from one address (of IPv6 one /64; of a unix socket one uid).
    concurrent_requests_per_peer = 128, 1..=65_536;
    /// How many requests a second one agent may send for long, counted after its signature was verified. One more is
    /// refused with rate_limited and the time to wait. Sessions that share the agent's key share this.
    agent_requests_per_s = 500, 1..=1_000_000;
    /// How many it may send at once, after a pause.
    agent_request_burst = 5000, 1..=10_000_000;
    /// How many requests a second may come from one address for long, counted before they are read. A bad signature counts
    /// ten times. Many agents behind one NAT are one address: two thousand that start at once and say five things each
    /// are the burst; at work each of them then has one a second. Operators on the same machine are not counted.
    peer_requests_per_s = 2000, 1..=1_000_000;
    /// How many may come from one address at once, after a pause.
    peer_request_burst = 10_000, 1..=10_000_000;
    /// How many connections a second one address may open for long, counted before any handshake. One more is closed.
    peer_connections_per_s = 100, 1..=100_000;
    /// How many it may open at once, after a pause.
    peer_connection_burst = 1000, 1..=1_000_000;
    /// How many addresses are known to have asked lately, for the limits above; those that were quiet the longest are
    /// forgotten. Each takes some 200 bytes.
    peers = 65_536, 16..=10_000_000;
    /// After how many seconds a request is given up, the reading of its message included.
    request_timeout_s = 30, 1..=600;
    /// How many connections of agents are open at once, as many of operators, and as many over HTTP. One more is closed.
    connections = 1024, 1..=65_536;
    /// How many of them may come from one address. While three quarters are open, no address gets more than a sixteenth.
    connections_per_peer = 512, 1..=65_536;
    /// How many requests one connection may have under way.
    streams_per_connection = 128, 1..=10_000;
    /// The largest list of gRPC headers, in bytes.
    header_bytes = 16_384, 4096..=1_048_576;
    /// Within how many seconds a connection has finished its handshake.
    handshake_timeout_s = 10, 1..=120;
    /// After how many seconds of silence a connection is asked whether it lives.
    keepalive_s = 60, 5..=7200;
    /// Within how many seconds it answers.
    keepalive_timeout_s = 20, 1..=600;
    /// For how many seconds a stopping daemon waits for the requests in hand.
    drain_s = 15, 1..=600;
}

/// The numbers of `[checkpoints]`.
pub(super) static CHECKPOINTS: [Limit; 2] = [
    Limit {
        name: "every_entries",
        text: "A chain gets a checkpoint after so many entries behind its newest one.",
        default: 1000,
        range: 1..=1_000_000_000,
    },
    Limit {
        name: "every_s",
        text: "Or so many seconds after the first entry behind its newest one, whichever comes first; and when the daemon \
               stops.",
        default: 300,
        range: 1..=86_400,
    },
];
