//! Syslog over its three ways: what arrives, and what becomes of the vault when it does not.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nockvault::crypto::hash::leaf;
use nockvault::follow::Sink;
use nockvault::follow::syslog::{NAME, Target, syslog};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram};
use tokio::task::JoinHandle;

use crate::stage::{Got, PATIENCE, Stage};

/// A message, read as RFC 5424 has it.
#[derive(Debug)]
struct Message {
    priority: u32,
    kind: String,
    place: (String, u64),
    leaf: String,
    bytes: Option<usize>,
    text: String,
}

fn read(message: &str) -> Message {
    let rest = message.strip_prefix('<').unwrap();
    let (priority, rest) = rest.split_once(">1 ").unwrap();
    let parts: Vec<&str> = rest.splitn(6, ' ').collect();
    let [time, host, app, process, kind, rest] = parts[..] else { panic!("{message}") };
    assert!(time.ends_with('Z') && time.as_bytes()[10] == b'T' && time.len() == 24, "{time}");
    assert!(!host.is_empty() && app == "vaultd" && process.parse::<u32>().is_ok(), "{message}");
    let (data, text) = rest.strip_prefix("[nockvault@32473 ").unwrap().split_once("] ").unwrap();
    let value = |name: &str| {
        let from = data.find(&format!("{name}=\""))? + name.len() + 2;
        Some(data[from..].split_once('"').unwrap().0.to_owned())
    };
    assert_eq!(value("kind").unwrap(), kind);
    Message {
        priority: priority.parse().unwrap(),
        kind: kind.to_owned(),
        place: (value("chain").unwrap(), value("seq").unwrap().parse().unwrap()),
        leaf: value("leaf").unwrap(),
        bytes: value("bytes").map(|bytes| bytes.parse().unwrap()),
        text: text.to_owned(),
    }
}

/// What a syslog has got; clones share it.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<(Got, Vec<Message>)>>);

impl Kept {
    fn add(&self, text: &str) {
        let message = read(text);
        let mut kept = self.0.lock().unwrap();
        kept.0.add(message.place.clone(), message.leaf.clone());
        kept.1.push(message);
    }

    fn entries(&self) -> std::collections::BTreeMap<(String, u64), String> {
        self.0.lock().unwrap().0.entries.clone()
    }
}

/// Waits until the syslog has every entry.
async fn whole(kept: &Kept, stage: &Stage) {
    let (truth, begin) = (stage.truth().await, std::time::Instant::now());
    while kept.entries() != truth {
        assert!(begin.elapsed() < PATIENCE, "{} of {} entries", kept.entries().len(), truth.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Stage {
    fn syslog(&self, target: &str, limit: usize) -> Box<dyn Sink> {
        syslog(target.parse().unwrap(), limit, &self.state(), self.store())
    }
}

/// Reads messages with octet counting until the connection ends.
async fn read_tcp(stream: TcpStream, kept: Kept) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut count = Vec::new();
        if stream.read_until(b' ', &mut count).await.unwrap_or(0) == 0 {
            return;
        }
        let count: usize = String::from_utf8(count).unwrap().trim().parse().unwrap();
        let mut message = vec![0; count];
        if stream.read_exact(&mut message).await.is_err() {
            return;
        }
        kept.add(std::str::from_utf8(&message).unwrap());
    }
}

fn serve_tcp(listener: TcpListener, kept: &Kept) -> JoinHandle<()> {
    let kept = kept.clone();
    tokio::spawn(async move {
        // One connection after another; it ends with the task.
        while let Ok((stream, _)) = listener.accept().await {
            read_tcp(stream, kept.clone()).await;
        }
    })
}

fn serve_unix(path: &Path, kept: &Kept) -> JoinHandle<()> {
    let (socket, kept) = (UnixDatagram::bind(path).unwrap(), kept.clone());
    tokio::spawn(async move {
        let mut buffer = vec![0; 70_000];
        while let Ok(length) = socket.recv(&mut buffer).await {
            kept.add(std::str::from_utf8(&buffer[..length]).unwrap());
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_syslog_gets_every_entry_whole() {
    let (mut stage, kept) = (Stage::new().await, Kept::default());
    let path = stage.folder.path().join("log");
    let serving = serve_unix(&path, &kept);
    stage.grow(10).await;
    stage.follow(vec![stage.syslog(&format!("unix:{}", path.display()), 60_000)]);
    stage.harness.refuses(&stage.kit.issue("nothing-of-mine")).await;
    stage.grow(20).await;
    stage.until_carried(NAME).await;
    stage.stop().await;
    whole(&kept, &stage).await;
    let kept = kept.0.lock().unwrap();
    assert_eq!(kept.0.repeats, 0);
    for message in &kept.1 {
        assert_eq!(leaf(message.text.as_bytes()).to_string(), message.leaf, "{message:?}");
        assert_eq!(message.bytes, None);
        let severity = match message.kind.as_str() {
            "issue" | "session" => 6,
            "deny" => 4,
            _ => 5,
        };
        assert_eq!(message.priority, 13 * 8 + severity, "{message:?}");
    }
    assert!(kept.1.iter().any(|message| message.kind == "deny"));
    drop(kept);
    serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_long_is_cut_and_says_so() {
    let (mut stage, kept) = (Stage::new().await, Kept::default());
    let path = stage.folder.path().join("log");
    let serving = serve_unix(&path, &kept);
    stage.grow(10).await;
    stage.follow(vec![stage.syslog(&format!("unix:{}", path.display()), 700)]);
    stage.until_carried(NAME).await;
    stage.stop().await;
    whole(&kept, &stage).await;
    let lines = stage.harness.lines(&"kit".parse().unwrap()).await;
    let (mut cut, kept) = (0, kept.0.lock().unwrap());
    for message in kept.1.iter().filter(|message| message.place.0 == "kit") {
        let line = String::from_utf8(lines[message.place.1 as usize].clone()).unwrap();
        let Some(bytes) = message.bytes else { continue };
        cut += 1;
        assert_eq!(bytes, line.len());
        assert!(line.starts_with(message.text.strip_suffix(" [cut]").unwrap()), "{message:?}");
    }
    assert!(cut >= 10, "the entries of issuances are longer than this");
    drop(kept);
    serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_syslog_over_udp_gets_datagrams_of_the_length_that_is_set() {
    let (mut stage, kept) = (Stage::new().await, Kept::default());
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let target = format!("udp:{}", socket.local_addr().unwrap());
    let (lengths, there) = (Arc::new(Mutex::new(Vec::new())), kept.clone());
    let serving = tokio::spawn({
        let lengths = Arc::clone(&lengths);
        async move {
            let mut buffer = vec![0; 70_000];
            while let Ok(length) = socket.recv(&mut buffer).await {
                lengths.lock().unwrap().push(length);
                there.add(std::str::from_utf8(&buffer[..length]).unwrap());
            }
        }
    });
    stage.follow(vec![stage.syslog(&target, 480)]);
    stage.grow(20).await;
    stage.until_carried(NAME).await;
    stage.stop().await;
    whole(&kept, &stage).await;
    assert_eq!(lengths.lock().unwrap().iter().max(), Some(&480));
    serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_syslog_over_tcp_that_was_away_gets_what_it_missed() {
    let (mut stage, kept) = (Stage::new().await, Kept::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let serving = serve_tcp(listener, &kept);
    stage.follow(vec![stage.syslog(&format!("tcp:{at}"), 8192)]);
    stage.grow(20).await;
    stage.until_carried(NAME).await;
    whole(&kept, &stage).await;
    serving.abort();
    stage.grow(30).await;
    stage.until("well", NAME, |well| well == 0).await;
    stage.until("lag_entries", NAME, |lag| lag >= 30).await;
    let serving = serve_tcp(TcpListener::bind(at).await.unwrap(), &kept);
    whole(&kept, &stage).await;
    stage.until("well", NAME, |well| well == 1).await;
    stage.stop().await;
    serving.abort();
}

/// Accepts and never reads.
fn hang(listener: TcpListener) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut connections = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.push(stream);
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_syslog_that_hangs_holds_up_nobody_and_is_seen() {
    let (mut stage, kept) = (Stage::new().await, Kept::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // What the system takes in its name is little.
    rustix::net::sockopt::set_socket_recv_buffer_size(&listener, 16 << 10).unwrap();
    let at = listener.local_addr().unwrap();
    let hanging = hang(listener);
    stage.grow(50).await;
    let alone = stage.grow(300).await;
    stage.follow(vec![stage.syslog(&format!("tcp:{at}"), 60_000), stage.mirror()]);
    stage.until_carried("mirror").await;
    let beside = stage.grow(300).await;
    assert!(beside < alone * 2 + Duration::from_secs(1), "300 issuances took {alone:?}, and {beside:?} beside it");
    stage.until_carried("mirror").await;
    stage.until("lag_entries", NAME, |lag| lag > 100).await;
    stage.until("well", NAME, |well| well == 0).await;
    assert_eq!(stage.counted("well", "mirror").await, Some(1));

    hanging.abort();
    let _ = hanging.await;
    let serving = serve_tcp(TcpListener::bind(at).await.unwrap(), &kept);
    whole(&kept, &stage).await;
    stage.until_carried(NAME).await;
    stage.stop().await;
    serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_waits_for_what_is_left_and_not_for_the_dead() {
    let (mut stage, kept) = (Stage::new().await, Kept::default());
    let path = stage.folder.path().join("log");
    let serving = serve_unix(&path, &kept);
    stage.grow(200).await;
    stage.follow(vec![stage.syslog(&format!("unix:{}", path.display()), 60_000)]);
    // Told to end before it has begun, it still carries everything.
    stage.stop().await;
    whole(&kept, &stage).await;
    serving.abort();

    let nobody = Target::Unix(stage.folder.path().join("nobody"));
    stage.follow(vec![stage.syslog(&nobody.to_string(), 8192)]);
    stage.until("well", NAME, |well| well == 0).await;
    let begin = std::time::Instant::now();
    stage.stop().await;
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}
