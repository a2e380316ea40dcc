//! Everything that reads what others wrote, fed with good examples, with what was made of them here, and with what once
//! broke it. Each reader is fed for a second or two with every run of the tests; `make fuzz` feeds them for as long as it
//! is let, guided by coverage. `tests/fuzz/src/lib.rs` has the list and what must hold.
//!
//! What is fed does not hang on the machine: the changes are counted, and a failure names its count. `NOCKVAULT_FUZZ_FROM`
//! begins there, and `NOCKVAULT_FUZZ_SECONDS` says for how long each reader is fed.

#![cfg(all(feature = "daemon", feature = "client", feature = "launcher"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(unreachable_pub, reason = "the list is shared with a program of its own")]

#[path = "fuzz/bounds.rs"]
mod bounds;
#[path = "support/committed.rs"]
mod committed;
#[path = "../src/bin/vaultctl/members.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod members;
#[path = "../src/bin/vaultctl/near.rs"]
mod near;
#[path = "fuzz/seeds.rs"]
mod seeds;
#[path = "fuzz/src/lib.rs"]
mod targets;
#[path = "../src/bin/vaultctl/terms.rs"]
mod terms;
#[path = "../src/bin/shared/value.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod value;

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nockvault::secret;
use nockvault::statement::schema;
use nockvault::wire::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use targets::mutate::{Dice, mutated};
use targets::{TARGETS, Target, find, statement, wire};

/// For how long a reader is fed, where nobody says otherwise.
const USUAL: u64 = 1;
/// The longest that one input may take, in a build without optimisation on a machine that does other things too: what
/// grows with the square of an input takes longer.
const SLOW: Duration = Duration::from_secs(4);

fn home() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

/// The committed inputs of a reader, by name.
fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = home().join("seeds").join(target.name);
    let mut all: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|why| panic!("{}: {why}", folder.display()))
        .map(|file| {
            let file = file.unwrap();
            (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())
        })
        .collect();
    all.sort();
    all
}

/// Feeds one input; what breaks is written down whole.
fn fed(target: &Target, input: &[u8], which: &str) -> bool {
    let run = || {
        let begun = Instant::now();
        let taken = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
        (taken, begun.elapsed())
    };
    let (taken, mut time) = run();
    if taken.is_ok() && time > SLOW {
        // Another program may have had the machine.
        time = time.min(run().1);
    }
    if let (Ok(taken), true) = (&taken, time <= SLOW) {
        return *taken;
    }
    let broken = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-broken", target.name));
    fs::write(&broken, input).unwrap();
    panic!("{} breaks {which} after {time:?}; the input lies in {}", target.name, broken.display());
}

/// What is said by the environment, as a number.
fn said(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Ends what was served, also where a test fails.
struct Served;

impl Drop for Served {
    fn drop(&mut self) {
        targets::end();
    }
}

#[allow(clippy::print_stdout, reason = "how much was fed is told to whoever asks for it")]
fn feed(name: &str) {
    let target = find(name).unwrap();
    let _served = Served;
    let seeds = corpus(target);
    assert!(!seeds.is_empty(), "there are no seeds");
    for (seed, input) in &seeds {
        let taken = fed(target, input, seed);
        assert!(taken || seed.starts_with("found-"), "the seed {seed} is no longer taken for what it is");
        assert!(input.len() <= target.cap, "the seed {seed} is longer than what is fed");
    }
    // What a panic says would drown the one that matters.
    let (begun, last) = (Instant::now(), Duration::from_secs(said("NOCKVAULT_FUZZ_SECONDS").unwrap_or(USUAL)));
    let from = said("NOCKVAULT_FUZZ_FROM").unwrap_or_default();
    let (mut count, mut taken) = (from, 0_u64);
    while begun.elapsed() < last {
        let mut dice = Dice::new(count);
        let (one, other) = (dice.below(seeds.len()), dice.below(seeds.len()));
        let input = mutated(&seeds[one].1, &seeds[other].1, target.cap, &mut dice);
        taken += u64::from(fed(target, &input, &format!("at the change {count}")));
        count += 1;
    }
    println!("{name}: {} changes, {taken} taken", count - from);
}

macro_rules! fed {
    ($($name:ident)*) => {
        /// Each reader by its name, a test each.
        mod reader {
            $(
                #[test]
                fn $name() {
                    super::feed(stringify!($name));
                }
            )*
        }

        const FED: &[&str] = &[$(stringify!($name)),*];
    };
}

fed! {
    json envelope statement grpc status csr authority sshkey engine entry chain receipt directory note vkey policy
    witness tree proof nockguard config apply card keyfile custody backup record ids times scope path answer seen adapters
    rules redact sshagent question proxy
}

/// What once broke a reader, by what holds since.
mod found {
    use super::{corpus, fed, find};

    fn again(name: &str, seed: &str) {
        let target = find(name).unwrap();
        let (_, input) = corpus(target).into_iter().find(|(known, _)| known == seed).unwrap();
        assert!(!fed(target, &input, seed), "{seed} is taken");
    }

    #[test]
    fn a_duration_has_no_sign() {
        again("times", "found-sign");
    }

    #[test]
    fn a_refused_statement_is_not_quoted() {
        again("statement", "found-quoted");
    }

    #[test]
    fn a_verifier_key_that_is_none_steers_no_terminal() {
        again("vkey", "found-control");
    }

    #[test]
    fn a_policy_that_is_none_steers_no_terminal() {
        again("policy", "found-control");
    }

    #[test]
    fn a_server_that_is_not_meant_steers_no_terminal() {
        again("adapters", "found-control");
    }
}

#[test]
fn every_reader_is_fed() {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names, FED);
    let known: BTreeSet<String> = names.iter().map(ToString::to_string).collect();
    let folders = fs::read_dir(home().join("seeds")).unwrap();
    let seeded: BTreeSet<String> = folders.map(|folder| folder.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(seeded, known, "seeds of no reader, or a reader without seeds");
}

#[test]
fn every_kind_of_statement_and_every_request_of_the_contract_is_fed() {
    let kinds: BTreeSet<String> =
        statement::KINDS.iter().map(|(typ, _)| typ.trim_start_matches("nockvault/").to_owned()).collect();
    let known: BTreeSet<String> = schema::all().keys().cloned().collect();
    assert_eq!(kinds, known);
    let contract = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let services = contract.file.iter().filter(|file| file.package() == "nockvault.v1").flat_map(|file| &file.service);
    let wanted: BTreeSet<&str> = services
        .flat_map(|service| &service.method)
        .map(|method| method.input_type().trim_start_matches(".nockvault.v1."))
        .collect();
    assert_eq!(wire::REQUESTS.iter().map(|(name, _)| *name).collect::<BTreeSet<_>>(), wanted);
}

/// A checker that finds nothing is none.
#[test]
fn an_input_that_breaks_a_reader_is_found_and_kept() {
    fn breaks(input: &[u8]) -> bool {
        assert!(!input.starts_with(b"bad"), "it is bad");
        true
    }
    let target = Target { name: "nothing", cap: 16, run: breaks };
    assert!(fed(&target, b"good", "x"));
    assert!(catch_unwind(|| fed(&target, b"bad input", "x")).is_err());
    let kept = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("nothing-broken");
    assert_eq!(fs::read(kept).unwrap(), b"bad input");
}

#[test]
fn changes_are_the_same_each_time_and_within_their_bounds() {
    let (one, other) = (br#"{"a":[1,"x",{"b":null}],"c":true}"#, b"line\nline\n");
    let all = |from: u64| -> Vec<Vec<u8>> {
        (from..from + 2000).map(|seed| mutated(one, other, 64, &mut Dice::new(seed))).collect()
    };
    let (first, again) = (all(0), all(0));
    assert_eq!(first, again);
    assert!(first.iter().all(|changed| changed.len() <= 64));
    assert!(first.iter().collect::<BTreeSet<_>>().len() > 1000, "most changes are the same");
    let trees = first.iter().filter(|changed| serde_json::from_slice::<serde_json::Value>(changed).is_ok());
    assert!(trees.count() > 200, "few changes are still JSON");
}
