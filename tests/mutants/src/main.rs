//! Mutation testing in one build. cargo-mutants says what to change; here all changes are compiled into one copy of the
//! sources, each behind a switch that the environment turns on ([`switch`], [`tree`]). Each test runs once to see which
//! mutants it reaches; then each mutant is judged by the tests that reach it, and by no others ([`judge`]).
//!
//! `nockvault-mutants ROOT [ROOM ..]`. `MUTANTS_TESTS` and `MUTANTS_FEATURES` have the words for cargo that name the tests
//! and the features, `MUTANTS_JOBS` says how many run at a time. With `MUTANTS_ITERATE` set, what was caught last time is not tried again.

mod judge;
mod list;
mod report;
mod switch;
mod tree;

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use judge::{Judge, Outcome};
use list::{List, ROOMS};
use report::{Report, bare, caught_before};
use tree::Tree;

fn main() -> Result<ExitCode> {
    let mut words = env::args().skip(1);
    let root = PathBuf::from(words.next().context("ROOT [ROOM ..]")?).canonicalize()?;
    let asked: Vec<String> = words.collect();
    let all = ROOMS.iter().map(|(room, _)| *room);
    let rooms: Vec<&str> = all.filter(|room| asked.is_empty() || asked.iter().any(|one| one == room)).collect();
    ensure!(rooms.len() == asked.len() || asked.is_empty(), "the rooms are {ROOMS:?}");
    run(&root, &rooms)
}

fn run(root: &Path, rooms: &[&str]) -> Result<ExitCode> {
    let home = root.join("target/mutants");
    let words = |name: &str| -> Vec<String> {
        env::var(name).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    };
    let (targets, features) = (words("MUTANTS_TESTS"), words("MUTANTS_FEATURES"));
    let jobs = env::var("MUTANTS_JOBS").map_or(Ok(2), |jobs| jobs.parse()).context("MUTANTS_JOBS")?;
    let began = Instant::now();
    let told = |what: String| eprintln!("mutants: {:>5} s: {what}", began.elapsed().as_secs());

    let list = List::of(root)?;
    told(format!("{} mutants, {} excluded", list.mutants.len(), list.excluded.len()));
    let tree = Tree::new(root, &home, &list.mutants, &features);
    let switches = tree.grow()?;
    told(format!("{} have a switch", switches.on.len()));
    let programs = tree.tests(&targets)?;
    let judge = Judge { tree: &tree.place, notes: &home.join("reached"), jobs };
    told(format!("{} test programs", programs.len()));
    let tests = judge.tests(&programs)?;
    told(format!("{} tests", tests.len()));

    let mut report = Report::default();
    list.excluded.iter().for_each(|mutant| report.add(mutant, "excluded", String::new()));
    let mut before = BTreeMap::new();
    if env::var_os("MUTANTS_ITERATE").is_some() {
        rooms.iter().for_each(|room| before.extend(caught_before(&home, room)));
    }
    let mut left = Vec::new();
    for (number, mutant) in list.mutants.iter().enumerate() {
        if switches.unviable.contains(&number) {
            report.add(mutant, "unviable", String::new());
        } else if !switches.on.contains(&number) {
            report.add(mutant, "unswitchable", String::new());
        } else if let Some(by) = before.get(&bare(&mutant.name)) {
            report.add(mutant, "caught", by.clone());
        } else if rooms.contains(&mutant.room()) {
            left.push(number);
        }
    }
    let names: Vec<&str> = left.iter().map(|number| list.mutants[*number].name.as_str()).collect();
    for (number, (outcome, by)) in left.iter().zip(judge.judge(&left, &names, &tests)?) {
        let outcome = match outcome {
            Outcome::Caught => "caught",
            Outcome::Timeout => "timeout",
            Outcome::Missed => "missed",
            Outcome::Unreached => "unreached",
        };
        report.add(&list.mutants[*number], outcome, by);
    }
    let (text, living) = report.write(&home, rooms)?;
    told("done".to_owned());
    print!("{text}");
    Ok(if living == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
