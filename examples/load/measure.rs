//! The loop that all loads share, and the figures that come out of it. CPU time is what the system counted for the
//! processes named, in hundredths of a second.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};

/// What a load does again and again.
pub(crate) trait Work {
    /// Once.
    async fn once(&mut self) -> Result<(), String>;
}

/// How a load is put on.
#[derive(Args, Clone)]
pub(crate) struct Plan {
    /// How many at once, each on a connection of its own.
    #[arg(long, default_value_t = 1)]
    pub(crate) sessions: usize,
    /// For how long it is measured, in seconds.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// For how long before that it runs unmeasured.
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    /// So many a second in all, due at fixed instants. Without it, each session asks again when it has its answer.
    #[arg(long)]
    rate: Option<f64>,
    /// The server's process.
    #[arg(long)]
    pid: Option<u32>,
    /// The first process of what the server uses, whose children count too.
    #[arg(long)]
    backend_pid: Option<u32>,
}

/// What the clock says to those who are at work.
struct State {
    ends: Cell<bool>,
    measured: Cell<bool>,
    done: Cell<u64>,
    all: Cell<u64>,
    bad: Cell<u64>,
    latencies: RefCell<Vec<u32>>,
    fault: RefCell<Option<String>>,
}

impl Plan {
    /// Runs the load and gives its figures.
    pub(crate) async fn drive<W: Work + 'static>(&self, workers: Vec<W>) -> Value {
        let state = Rc::new(State {
            ends: Cell::new(false),
            measured: Cell::new(false),
            done: Cell::new(0),
            all: Cell::new(0),
            bad: Cell::new(0),
            latencies: RefCell::default(),
            fault: RefCell::default(),
        });
        let (begin, count) = (Instant::now(), workers.len());
        let apart = self.rate.map(|rate| Duration::from_secs_f64(count as f64 / rate));
        let mut tasks = Vec::new();
        for (number, worker) in workers.into_iter().enumerate() {
            let clock = apart.map(|apart| (begin + apart.mul_f64(number as f64 / count as f64), apart));
            tasks.push(tokio::task::spawn_local(work(worker, clock, Rc::clone(&state))));
        }
        tokio::time::sleep(Duration::from_secs_f64(self.warm_up)).await;
        let before = self.counters();
        state.measured.set(true);
        tokio::time::sleep(Duration::from_secs_f64(self.seconds)).await;
        state.measured.set(false);
        let after = self.counters();
        state.ends.set(true);
        for task in tasks {
            // One that hangs is cut off: its time is over.
            let _ = tokio::time::timeout(Duration::from_secs(10), task).await;
        }
        self.figures(&state, &before, &after)
    }

    fn counters(&self) -> Counters {
        Counters {
            at: Instant::now(),
            server: self.pid.map_or(0.0, |pid| cpu_of(&pid.to_string())),
            backend: self.backend_pid.map_or(0.0, cpu_of_tree),
            own: cpu_of("self"),
            machine: machine(),
            written: self.pid.map_or(0, written),
        }
    }

    fn figures(&self, state: &State, before: &Counters, after: &Counters) -> Value {
        let (done, took) = (state.done.get(), (after.at - before.at).as_secs_f64());
        let mut latencies = state.latencies.borrow_mut();
        latencies.sort_unstable();
        let at = |share: f64| {
            let last = latencies.len().saturating_sub(1);
            f64::from(latencies.get((last as f64 * share).round() as usize).copied().unwrap_or_default()) / 1e3
        };
        let each = |seconds: f64| if done == 0 { 0.0 } else { seconds * 1e6 / done as f64 };
        let (server, backend) = (after.server - before.server, after.backend - before.backend);
        let own = after.own - before.own;
        json!({
            "sessions": self.sessions,
            "mode": if self.rate.is_some() { "open" } else { "closed" },
            "asked_rate": self.rate,
            "seconds": took,
            "done": done,
            "all": state.all.get(),
            "bad": state.bad.get(),
            "fault": *state.fault.borrow(),
            "rate": done as f64 / took,
            "p50_ms": at(0.5),
            "p99_ms": at(0.99),
            "p999_ms": at(0.999),
            "max_ms": at(1.0),
            "server_us": each(server),
            "backend_us": each(backend),
            "client_us": each(own),
            "server_cores": server / took,
            "client_cores": own / took,
            "other_cores": (after.machine - before.machine - server - backend - own) / took,
            "written_bytes": if done == 0 { 0.0 } else { (after.written - before.written) as f64 / done as f64 },
            "rss_bytes": self.pid.map(resident),
        })
    }
}

async fn work<W: Work>(mut worker: W, clock: Option<(Instant, Duration)>, state: Rc<State>) {
    let mut turn = 0_u32;
    while !state.ends.get() {
        let due = match clock {
            None => Instant::now(),
            Some((first, apart)) => {
                let due = first + apart * turn;
                tokio::time::sleep_until(due.into()).await;
                due
            }
        };
        turn += 1;
        let measured = state.measured.get();
        let said = worker.once().await;
        if measured && state.measured.get() {
            let took = u32::try_from(due.elapsed().as_micros()).unwrap_or(u32::MAX);
            state.latencies.borrow_mut().push(took);
        }
        if let Err(why) = said {
            state.bad.set(state.bad.get() + 1);
            state.fault.replace(Some(why));
            // Who is turned away at once would otherwise do nothing but ask.
            tokio::time::sleep(Duration::from_millis(5)).await;
        } else {
            state.all.set(state.all.get() + 1);
            state.done.set(state.done.get() + u64::from(state.measured.get()));
        }
    }
}

struct Counters {
    at: Instant,
    server: f64,
    backend: f64,
    own: f64,
    machine: f64,
    written: u64,
}

/// A second in the ticks of `/proc`: Linux counts in hundredths on every machine that this runs on.
const TICKS: f64 = 100.0;

/// The fields of a `stat` line after the program's name, which may hold spaces.
fn fields(text: &str) -> Vec<u64> {
    let after = text.rsplit_once(')').map_or("", |(_, after)| after);
    after.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0)).collect()
}

fn stat(process: &str) -> Option<Vec<u64>> {
    let fields = fields(&std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?);
    (fields.len() > 13).then_some(fields)
}

/// CPU time of a process so far, user and system, in seconds.
pub(crate) fn cpu_of(process: &str) -> f64 {
    stat(process).map_or(0.0, |fields| (fields[10] + fields[11]) as f64 / TICKS)
}

/// The same of a process and all that come from it, those that have ended included.
fn cpu_of_tree(root: u32) -> f64 {
    let root = u64::from(root);
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let (Ok(pid), Some(fields)) = (name.parse::<u64>(), stat(&name)) {
            all.insert(pid, fields);
        }
    }
    let below = |mut pid: u64| {
        while pid != root && pid > 1 {
            pid = all.get(&pid).map_or(0, |fields| fields[0]);
        }
        pid == root
    };
    let own = all.iter().filter(|(pid, _)| below(**pid)).map(|(_, fields)| fields[10] + fields[11]).sum::<u64>();
    let ended = all.get(&root).map_or(0, |fields| fields[12] + fields[13]);
    (own + ended) as f64 / TICKS
}

/// All that the machine was busy with, in seconds.
fn machine() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let fields: Vec<f64> = line.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0.0)).collect();
    [0, 1, 2, 5, 6, 7].iter().map(|at| fields.get(*at).copied().unwrap_or(0.0)).sum::<f64>() / TICKS
}

fn line_of(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Bytes that a process had written to disks.
fn written(pid: u32) -> u64 {
    line_of(&format!("/proc/{pid}/io"), "write_bytes:")
}

/// Bytes of a process in memory.
fn resident(pid: u32) -> u64 {
    line_of(&format!("/proc/{pid}/status"), "VmRSS:") * 1024
}
