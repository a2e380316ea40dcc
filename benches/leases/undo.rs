//! Many leases taken back by one command, against a backend that takes its time.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nockvault::authz::Peer;
use serde_json::Value;

use crate::backend::Backend;
use crate::figures::{Runs, cpu, ms, quantile};
use crate::house::{Agent, House, KV, Operator, PROBE, SLOW, released};
use crate::{Options, agents};

/// How many calls the vault makes to one role's backend at once: `CALLS` of `src/vault/undo.rs`.
const CALLS: u64 = 8;
/// Requests at once while leases are made at the backend; more than the vault lets in would be refused.
const AT_ONCE: usize = 16;
/// Requests a second for another role, while it runs and while it is quiet.
const RATE: u32 = 100;
/// How long the quiet is listened to.
const QUIET: Duration = Duration::from_secs(5);

/// What one command took.
struct Took {
    /// Until it was answered.
    answered: Duration,
    /// Until all was ended.
    ended: Duration,
    /// Until the last was recorded as undone.
    undone: Duration,
    cpu: Duration,
}

/// A vault that holds leases at the backend.
struct Stage<'a> {
    options: &'a Options,
    operator: &'a Operator,
    house: &'a House,
}

impl Stage<'_> {
    /// Makes the leases, which takes no time at the backend.
    async fn fill(&self) {
        let backend = &self.house.backend;
        backend.takes(Duration::ZERO);
        self.house.fill(&agents(self.house), SLOW, self.options.revoke, AT_ONCE).await;
        assert_eq!(backend.holds() as u64, self.options.revoke);
        backend.takes(self.options.call);
    }

    /// Takes all of them back by one command, and waits for the last.
    async fn take_back(&self) -> Took {
        let (backend, store) = (&self.house.backend, self.house.vault.store());
        let revoked = backend.revoked() + self.options.revoke;
        let (spent, began) = (cpu(), Instant::now());
        self.operator.revoke(self.house, SLOW).await;
        let answered = began.elapsed();
        let mut ended = None;
        loop {
            // Seldom, since counting takes its time of what is counted.
            let near = backend.revoked() + 2 * CALLS >= revoked;
            tokio::time::sleep(Duration::from_millis(if near { 2 } else { 100 })).await;
            if ended.is_some() && !near {
                continue;
            }
            let census = store.census().await.unwrap();
            if census.revoking == 0 {
                ended.get_or_insert_with(|| began.elapsed());
                if census.undoing == 0 {
                    break;
                }
            }
        }
        let (undone, cpu) = (began.elapsed(), cpu() - spent);
        assert_eq!((backend.holds(), backend.revoked()), (0, revoked), "each was taken away once");
        Took { answered, ended: ended.unwrap(), undone, cpu }
    }

    /// Asks for values of the other role on a clock until `end`. Gives the times of the answers.
    async fn ask_on_a_clock(&self, probe: &Arc<Agent>, end: impl Future<Output = ()>) -> Vec<Duration> {
        let mut tasks = tokio::task::JoinSet::new();
        let mut clock = tokio::time::interval(Duration::from_secs(1) / RATE);
        let mut times = Vec::new();
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => break,
                due = clock.tick() => {
                    let (vault, probe) = (Arc::clone(&self.house.vault), Arc::clone(probe));
                    // What a request waits for its turn is its own time.
                    tasks.spawn(async move {
                        released(vault.issue(probe.asks(KV), Peer::Unix(None)).await);
                        due.elapsed()
                    });
                }
                Some(time) = tasks.join_next(), if !tasks.is_empty() => times.push(time.unwrap()),
            }
        }
        times.extend(tasks.join_all().await);
        times.sort_unstable();
        times
    }
}

async fn live(house: &House) -> u64 {
    house.vault.store().census().await.unwrap().leases
}

/// The time and the CPU time that the backend alone takes for so many calls, `CALLS` at once.
async fn alone(backend: &Backend, count: u64) -> (Duration, Duration) {
    let (spent, began) = (cpu(), Instant::now());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..CALLS {
        let backend = backend.clone();
        tasks.spawn(async move {
            for _ in 0..count / CALLS {
                backend.call().await;
            }
        });
    }
    tasks.join_all().await;
    (began.elapsed(), cpu() - spent)
}

#[derive(Default)]
struct Found {
    figures: Vec<(&'static str, &'static str, Runs)>,
}

impl Found {
    fn add(&mut self, name: &'static str, text: &'static str, value: f64) {
        match self.figures.iter_mut().find(|(known, ..)| *known == name) {
            Some((_, _, runs)) => runs.add(value),
            None => {
                let mut runs = Runs::default();
                runs.add(value);
                self.figures.push((name, text, runs));
            }
        }
    }
}

async fn one_run(stage: &Stage<'_>, probe: &Arc<Agent>, found: &mut Found) {
    let Options { revoke, call, .. } = *stage.options;
    stage.fill().await;
    let (spent, began) = (cpu(), Instant::now());
    stage.house.vault.sweep().await;
    found.add("sweep_ms", "a sweep that finds nothing, ms", ms(began.elapsed()));
    found.add("sweep_cpu_us", "- its CPU a lease, us", ms(cpu() - spent) * 1e3 / revoke as f64);

    let bound = call.mul_f64(revoke as f64 / CALLS as f64);
    let (bare, bare_cpu) = alone(&stage.house.backend, revoke).await;
    let took = stage.take_back().await;
    found.add("answered_ms", "the command answered after, ms", ms(took.answered));
    found.add("ended_s", "all leases ended after, s", took.ended.as_secs_f64());
    found.add("undone_s", "the last undone after, s", took.undone.as_secs_f64());
    found.add("bound_s", "the bound of the backend, s", bound.as_secs_f64());
    found.add("bare_s", "the backend alone, s", bare.as_secs_f64());
    found.add("ratio", "last undone / bound", took.undone.as_secs_f64() / bound.as_secs_f64());
    found.add("ratio_bare", "last undone / backend alone", took.undone.as_secs_f64() / bare.as_secs_f64());
    let own = took.cpu.saturating_sub(bare_cpu);
    found.add("cpu_us", "CPU of the vault a lease, us", ms(own) * 1e3 / revoke as f64);

    stage.fill().await;
    let quiet = stage.ask_on_a_clock(probe, tokio::time::sleep(QUIET)).await;
    let mut beside = None;
    let busy = stage.ask_on_a_clock(probe, async { beside = Some(stage.take_back().await) }).await;
    found.add("quiet_p50_ms", "another role, quiet: p50, ms", ms(quantile(&quiet, 0.5)));
    found.add("quiet_p99_ms", "- p99, ms", ms(quantile(&quiet, 0.99)));
    found.add("busy_p50_ms", "another role, meanwhile: p50, ms", ms(quantile(&busy, 0.5)));
    found.add("busy_p99_ms", "- p99, ms", ms(quantile(&busy, 0.99)));
    found.add("busy_max_ms", "- the longest, ms", ms(quantile(&busy, 1.0)));
    let beside = beside.unwrap().undone.as_secs_f64();
    found.add("busy_ratio", "- last undone / bound", beside / bound.as_secs_f64());
}

/// Measures, prints the table, and gives the figures.
pub(crate) async fn measure(options: &Options, operator: &Operator, folder: &Path) -> Value {
    let house = House::open(folder, Backend::default()).await;
    let others = live(&house).await;
    let stage = Stage { options, operator, house: &house };
    let probe = Arc::new(Agent::new(PROBE, "probe", house.vault.aud()));
    let mut found = Found::default();
    for _ in 0..options.runs {
        one_run(&stage, &probe, &mut found).await;
    }
    assert!(live(&house).await >= others, "another role lost leases");
    house.shut().await;
    let (revoke, call) = (options.revoke, options.call.as_millis());
    println!("{revoke} of {} live leases taken back by one command, a call of {call} ms each", others + revoke);
    let mut all = serde_json::Map::new();
    for (name, text, runs) in &found.figures {
        println!("{text:<34} {:>26}", runs.text());
        all.insert((*name).to_owned(), runs.json());
    }
    all.into()
}
