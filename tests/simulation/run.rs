//! Runs: one seed makes all of a run. A run that fails is made smaller, step by step, as long as it fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex};

use tokio::runtime::Runtime;

use super::ops::{Op, drawn};
use super::template::TEMPLATE;
use super::world::{Figures, Planted, World};

/// How often a failing run is tried again with less of it.
const TRIES: usize = 400;

/// A run that failed.
#[derive(Debug)]
pub struct Failed {
    pub seed: u64,
    pub why: String,
    /// What is left of it: without any one of these it does not fail.
    pub ops: Vec<Op>,
    /// How many steps it had.
    pub of: usize,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Failed { seed, why, ops, of } = self;
        writeln!(f, "the run of seed {seed} failed: {why}")?;
        writeln!(f, "{} of its {of} steps are enough:", ops.len())?;
        ops.iter().try_for_each(|op| writeln!(f, "    {op:?}"))?;
        write!(f, "again: NOCKVAULT_SIMULATION_SEED={seed} cargo test --test simulation")
    }
}

/// What runs are played in.
pub fn runtime() -> Runtime {
    // It is founded in a runtime of its own.
    LazyLock::force(&TEMPLATE);
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn played(seed: u64, ops: &[Op], planted: Planted) -> Result<(Figures, Vec<Vec<u8>>), String> {
    let mut world = World::begin(seed, planted).await.map_err(|why| format!("at the beginning: {why}"))?;
    for (index, op) in ops.iter().enumerate() {
        world.step(op).await.map_err(|why| format!("at step {}, {op:?}: {why}", index + 1))?;
    }
    world.come_to_rest().await?;
    world.figures.faults = world.far.faults();
    Ok((world.figures, world.chains.iter().map(|seen| seen.lines.join(&b'\n')).collect()))
}

/// Plays these steps. Gives what was done, and the chains that came of it.
pub fn play(runtime: &Runtime, seed: u64, ops: &[Op], planted: Planted) -> Result<(Figures, Vec<Vec<u8>>), String> {
    let played = catch_unwind(AssertUnwindSafe(|| runtime.block_on(played(seed, ops, planted))));
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("it panicked: {}", text.unwrap_or_default()))
    })
}

/// The steps with as many left out, or made simpler, as leaves a run that fails.
pub fn shrunk(runtime: &Runtime, seed: u64, ops: Vec<Op>, why: String, planted: Planted) -> Failed {
    let of = ops.len();
    let (mut ops, mut why, mut tries) = (ops, why, TRIES);
    let mut fails = |ops: &[Op], why: &mut String| {
        if tries == 0 {
            return false;
        }
        tries -= 1;
        let failed = play(runtime, seed, ops, planted).err();
        let fails = failed.is_some();
        *why = failed.unwrap_or_else(|| std::mem::take(why));
        fails
    };
    let mut part = ops.len();
    while part > 0 {
        let mut at = 0;
        while at < ops.len() {
            let gone = at..(at + part).min(ops.len());
            let kept = |(index, op): (usize, &Op)| (!gone.contains(&index)).then(|| op.clone());
            let less: Vec<Op> = ops.iter().enumerate().filter_map(kept).collect();
            // What names an earlier statement by how long ago it was may mean the same one only so.
            let nearer: Vec<Op> = less
                .iter()
                .enumerate()
                .map(|(index, op)| if index < at { op.clone() } else { op.nearer(part) })
                .collect();
            if fails(&less, &mut why) {
                ops = less;
            } else if nearer != less && fails(&nearer, &mut why) {
                ops = nearer;
            } else {
                at += part;
            }
        }
        part /= 2;
    }
    for at in 0..ops.len() {
        for simpler in ops[at].simpler() {
            let mut changed = ops.clone();
            changed[at] = simpler;
            if fails(&changed, &mut why) {
                ops = changed;
                break;
            }
        }
    }
    Failed { seed, why, ops, of }
}

/// The run of one seed, and if it fails, the least of it that does.
pub fn run(runtime: &Runtime, seed: u64, planted: Planted) -> Result<Figures, Box<Failed>> {
    let ops = drawn(seed);
    match play(runtime, seed, &ops, planted) {
        Ok((figures, _)) => Ok(figures),
        Err(why) => Err(Box::new(shrunk(runtime, seed, ops, why, planted))),
    }
}

/// The runs of so many seeds from this one on, on all processors.
pub fn run_all(from: u64, runs: u64) -> Result<Figures, Box<Failed>> {
    let (next, stop) = (AtomicU64::new(from), AtomicBool::new(false));
    let (sum, failed) = (Mutex::new(Figures::default()), Mutex::new(None));
    let threads = std::thread::available_parallelism().map_or(2, |count| count.get().min(8));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let runtime = runtime();
                while !stop.load(Ordering::Acquire) {
                    let seed = next.fetch_add(1, Ordering::AcqRel);
                    if seed >= from + runs {
                        return;
                    }
                    match run(&runtime, seed, Planted::Nothing) {
                        Ok(figures) => sum.lock().unwrap().add(&figures),
                        Err(why) => {
                            stop.store(true, Ordering::Release);
                            failed.lock().unwrap().get_or_insert(why);
                        }
                    }
                }
            });
        }
    });
    match failed.into_inner().unwrap() {
        Some(failed) => Err(failed),
        None => Ok(sum.into_inner().unwrap()),
    }
}
