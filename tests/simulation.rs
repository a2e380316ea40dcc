//! The whole vault against a model of it: thousands of short lives of random requests, replays, commands, steps of the
//! clock, crashes at any write, full disks, and backends that are down, slow or lie. After every step the verdict is the
//! model's, every chain verifies, no lease and no credential is unaccounted for, no nonce is taken twice, and what was
//! answered stands.
//!
//! One seed makes a run. `NOCKVAULT_SIMULATION_SEED=n` repeats one; `NOCKVAULT_SIMULATION_RUNS=n` makes n of them, and
//! `NOCKVAULT_SIMULATION_FROM=n` begins at another than the first.

#![cfg(feature = "daemon")]
#![allow(unreachable_pub, reason = "the rooms of one test program")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "simulation/backend.rs"]
mod backend;
#[path = "simulation/crash.rs"]
mod crash;
#[path = "simulation/due.rs"]
mod due;
#[path = "simulation/look.rs"]
mod look;
#[path = "simulation/model.rs"]
mod model;
#[path = "simulation/ops.rs"]
mod ops;
#[path = "simulation/run.rs"]
mod run;
#[path = "simulation/sign.rs"]
mod sign;
#[path = "simulation/template.rs"]
mod template;
#[path = "simulation/wal.rs"]
mod wal;
#[path = "simulation/world.rs"]
mod world;

use std::time::Instant;

use run::{Failed, play, run, run_all, runtime};
use world::{Figures, Planted};

/// As many as take about a minute on two processors, unoptimised.
const RUNS: u64 = 200;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn the_vault_does_what_its_model_does() {
    if let Some(seed) = number("NOCKVAULT_SIMULATION_SEED") {
        for op in ops::drawn(seed) {
            println!("{op:?}");
        }
        let figures = run(&runtime(), seed, Planted::Nothing).unwrap_or_else(|failed| panic!("{failed}"));
        println!("{figures:?}");
        return;
    }
    let begin = Instant::now();
    let runs = number("NOCKVAULT_SIMULATION_RUNS").unwrap_or(RUNS);
    let from = number("NOCKVAULT_SIMULATION_FROM").unwrap_or(1);
    let Figures { runs, ops, statements, accepted, crashes, cut, faults, full } =
        run_all(from, runs).unwrap_or_else(|failed| panic!("{failed}"));
    println!(
        "{runs} runs, {ops} steps, {statements} statements of which {accepted} were accepted, {crashes} crashes of which \
         {cut} lost writes, {faults} faults of backends, {full} writes without room, in {:.0?}",
        begin.elapsed()
    );
    assert!(accepted * 10 > statements, "so few were accepted that little was tried");
}

/// The first run in which the defect is found, made as small as it goes. Without the defect the same steps pass.
fn found(planted: Planted) -> Failed {
    let runtime = runtime();
    let failed = (1..=300).find_map(|seed| run(&runtime, seed, planted).err());
    let failed = *failed.unwrap_or_else(|| panic!("{planted:?} was not found"));
    let without = play(&runtime, failed.seed, &failed.ops, Planted::Nothing);
    assert!(without.is_ok(), "{failed}\nfails without the defect too: {without:?}");
    eprintln!("{planted:?}: {failed}");
    failed
}

#[test]
fn a_vault_that_forgets_nonces_at_a_crash_is_found() {
    let failed = found(Planted::ForgetsNonces);
    assert!(failed.ops.len() <= 6 && failed.ops.len() * 2 < failed.of, "{failed}");
    assert!(failed.why.contains("Replay"), "{failed}");
}

#[test]
fn a_disk_that_loses_what_was_answered_is_found() {
    let failed = found(Planted::LosesTheLast);
    assert!(failed.ops.len() <= 3, "{failed}");
}

#[test]
fn a_backend_that_keeps_what_it_took_away_is_found() {
    let failed = found(Planted::Clings);
    assert!(failed.ops.len() <= 4, "{failed}");
    assert!(failed.why.contains("orphan"), "{failed}");
}

#[test]
fn one_seed_makes_the_same_chains_to_the_byte() {
    let runtime = runtime();
    for seed in 1..=5 {
        let [once, again] = [(); 2].map(|()| play(&runtime, seed, &ops::drawn(seed), Planted::Nothing).unwrap().1);
        assert_eq!(once, again, "seed {seed}");
    }
}
