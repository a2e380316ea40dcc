//! What one entry costs at the end of a chain of any length: CPU time of this process, user and system, the store's
//! threads included.
//!
//! `cargo bench --bench append -- [--sizes 0,10000,100000,1000000] [--alone 5000] [--grouped 20000]`
//!
//! Each row first brings the chain to its size. `alone_us` is for entries of which each waits for the one before, and so
//! pays a commit of its own; `grouped_us` for 64 at once, which share commits. An entry is signed, hashed into the chain's
//! tree and made durable; nobody asks for it, so that what is measured is the trail and nothing else. Run without
//! `--bench` it makes a small trial. The folder goes with the run.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that cannot go on stops, and prints its figures")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nockvault::audit::chain::AuditKey;
use nockvault::crypto::signature::SigningKey;
use nockvault::entropy::{Entropy, OsEntropy};
use nockvault::id::ChainName;
use nockvault::seal::custody::RootKey;
use nockvault::store::sqlite::Sqlite;
use nockvault::store::{Event, Pace, Rules, Store as _};
use nockvault::time::{Clock, Seconds, SystemClock};
use nockvault::vault::found::{self, Founding};

/// How many are on their way together in `grouped_us`.
const AT_ONCE: usize = 64;

fn rules() -> Rules {
    Rules {
        skew: Seconds(300),
        nonces_per_key: 1000,
        session_idle: Seconds(3600),
        session_max: Seconds(3600),
        sessions_per_agent: 10,
        leases_per_agent: 10,
        denials_per_minute: 10,
        key_overlap: Seconds(600),
        checkpoints: Pace::default(),
        deadline: Duration::from_secs(60),
    }
}

fn option(given: &[String], name: &str, whole: &str, trial: &str) -> String {
    let at = given.iter().position(|argument| argument == name);
    let fallback = if given.iter().any(|argument| argument == "--bench") { whole } else { trial };
    at.and_then(|at| given.get(at + 1).cloned()).unwrap_or_else(|| fallback.to_owned())
}

/// CPU time of this process so far. Its ticks are hundredths of a second.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    // The name before them may hold spaces; it ends with the last bracket.
    let (_, after) = text.rsplit_once(')').unwrap();
    let ticks = after.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap());
    Duration::from_millis(10 * ticks.sum::<u64>())
}

async fn opened(folder: &std::path::Path) -> Arc<Sqlite> {
    let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) = (Arc::new(SystemClock), Arc::new(OsEntropy));
    let asked = Founding {
        name: "bench".parse().unwrap(),
        node: "bench".to_owned(),
        operator: "root".parse().unwrap(),
        now: clock.now(),
    };
    let (founding, _) = found::prepare(asked, &*entropy);
    let root = RootKey::generate(&*entropy);
    Sqlite::found(folder, &root, founding, Arc::clone(&entropy)).unwrap();
    let (store, own) = Sqlite::open(folder, &root, rules(), Arc::clone(&clock), Arc::clone(&entropy)).unwrap();
    let (now, key) = (clock.now(), SigningKey::generate(&*entropy));
    let key = AuditKey::certify(key, &own.identity, &own.aud, "bench", 2, now, now.plus(Seconds(172_800)));
    store.event(Event::Start { node: "bench".into(), version: "0".into(), opened: None }, Some(key)).await.unwrap();
    Arc::new(store)
}

async fn one(store: &Sqlite, number: u64) {
    store.refused(number, &BTreeMap::from([("unauthenticated".to_owned(), 1)])).await.unwrap();
}

/// Appends so many entries, so many at once. Gives the CPU time of one in microseconds.
async fn append(store: &Arc<Sqlite>, count: u64, at_once: usize) -> f64 {
    let (before, left) = (cpu(), Arc::new(AtomicU64::new(count)));
    let tasks: Vec<_> = (0..at_once)
        .map(|_| {
            let (store, left) = (Arc::clone(store), Arc::clone(&left));
            tokio::spawn(async move {
                while let Ok(number) = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)) {
                    one(&store, number).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    (cpu() - before).as_secs_f64() * 1e6 / count.max(1) as f64
}

async fn size(store: &Sqlite) -> u64 {
    store.lines(&ChainName::vault(), 0, 1, 1).await.unwrap().unwrap().head.size
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let given: Vec<String> = std::env::args().collect();
    let sizes = option(&given, "--sizes", "0,10000,100000,1000000", "0,500");
    let alone: u64 = option(&given, "--alone", "5000", "50").parse().unwrap();
    let grouped: u64 = option(&given, "--grouped", "20000", "200").parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = opened(&folder.path().join("data")).await;
    println!("{:>9} {:>11} {:>11} {:>8}", "entries", "alone_us", "grouped_us", "fill_s");
    for wanted in sizes.split(',').map(|text| text.parse::<u64>().unwrap()) {
        let began = Instant::now();
        append(&store, wanted.saturating_sub(size(&store).await), AT_ONCE).await;
        let fill = began.elapsed().as_secs_f64();
        let from = size(&store).await;
        let grouped = append(&store, grouped, AT_ONCE).await;
        let alone = append(&store, alone, 1).await;
        println!("{from:>9} {alone:>11.1} {grouped:>11.1} {fill:>8.1}");
    }
}
