//! The files of the store rot, at random places and in random ways, and the vault is started on them and used. It may say
//! that it cannot begin, refuse, or set a chain aside. It never gives what is not granted, never another's value, never a
//! chain that is not the one that was written, never the same request twice, and it does not panic.

#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "figures of what was tried")]

#[path = "corrupt/damage.rs"]
mod damage;
#[path = "faults/dice.rs"]
mod dice;
mod support;
#[path = "corrupt/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use nockvault::crypto::envelope::Envelope;
use nockvault::id::ChainName;
use nockvault::statement::reply::Issued;
use nockvault::vault::State;
use nockvault::vault::answer::Outcome;
use serde_json::{Value, json};

use damage::Damage;
use dice::Dice;
use support::Unopened;
use support::agent::{Agent, Rpc};
use world::{Files, VALUES, WISHES, World, chains};

/// How many stores each test damages.
const CASES: u64 = 132;

/// How many panics there were on any thread, the store's own among them, which would answer as if nothing were.
static PANICS: AtomicUsize = AtomicUsize::new(0);

fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.fetch_add(1, Ordering::SeqCst);
            told(panic);
        }));
    });
}

/// What became of one store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Became {
    /// It was not opened, or the vault did not begin; with what it said.
    Unopened(String),
    /// Chains were set aside, or something could not be read.
    Noticed,
    /// It is the store of an earlier moment, whole. Whoever holds something newer notices.
    Older,
    /// Everything is as it was: the damage is where nothing is kept.
    Whole,
}

/// How much of each chain is there and true.
struct Read {
    chains: BTreeMap<String, Vec<Vec<u8>>>,
    noticed: bool,
    older: bool,
}

impl Read {
    fn stands(&self, envelope: &Envelope) -> bool {
        let embedded = json!(envelope.embed().unwrap());
        let mut entries = self.chains.values().flatten().map(|line| serde_json::from_slice::<Value>(line).unwrap());
        entries.any(|entry| entry["body"]["request"] == embedded)
    }

    /// Whether the chain lacks what its agent has seen.
    fn lacks(&self, agent: &Agent) -> bool {
        self.chains.get(agent.name.as_str()).is_some_and(|lines| (lines.len() as u64) < agent.seen.size)
    }
}

/// Starts the vault on damaged files and uses it.
async fn judge(world: &mut World, may_be_older: bool) -> Became {
    match world.vault.begin_again().await {
        Err(Unopened::Store(fault)) => return Became::Unopened(fault.to_string()),
        Err(Unopened::Vault(fault)) => return Became::Unopened(fault.to_string()),
        Ok(()) => {}
    }
    let inspected = world.vault.vault().inspect().await;
    let mut read = chains_are_true(world, &inspected.unread).await;
    assert!(may_be_older || !read.older, "the newest entries are gone, and nobody noticed");
    read.noticed |= !inspected.unread.is_empty();
    nothing_false_is_given(world, &mut read).await;
    for (rpc, envelope) in &world.answered {
        if let Outcome::Released(_) = world.vault.send(*rpc, envelope.clone()).await {
            assert!(read.older && !read.stands(envelope), "an answered request was answered again");
        }
    }
    match world.leases_now().await {
        None => read.noticed = true,
        Some(now) => {
            let same = now.iter().filter(|(id, said)| world.leases.get(*id) == Some(said)).count();
            read.noticed |= !read.older && same < world.leases.len();
        }
    }
    read.noticed |= world.vault.vault().state() != State::Serving;
    match (read.noticed, read.older) {
        (true, _) => Became::Noticed,
        (false, true) => Became::Older,
        (false, false) => Became::Whole,
    }
}

/// What is read of each chain is what was written, or the chain is set aside.
async fn chains_are_true(world: &World, unread: &[ChainName]) -> Read {
    let store = world.vault.vault().store();
    let mut read = Read { chains: BTreeMap::new(), noticed: false, older: false };
    let Ok(census) = store.census().await else {
        read.noticed = true;
        return read;
    };
    let aside: Vec<String> = census.quarantined.iter().map(ToString::to_string).collect();
    read.noticed = !aside.is_empty();
    for chain in chains() {
        let name = chain.to_string();
        let truth = &world.truth[&name];
        let lines = match store.lines(&chain, 0, 10_000, 16 << 20).await {
            Ok(Some(part)) => part.lines,
            Ok(None) => Vec::new(),
            Err(_) => {
                read.noticed = true;
                continue;
            }
        };
        if aside.contains(&name) || unread.contains(&chain) {
            continue;
        }
        let same = lines.iter().zip(truth).take_while(|(one, other)| one == other).count();
        // Each start writes into the vault's own chain.
        assert!(
            same == lines.len().min(truth.len()) || name == "_vault",
            "{name}: entry {same} is none that was written"
        );
        read.older |= same < truth.len();
        read.chains.insert(name, lines);
    }
    read
}

/// Who may have nothing gets nothing, and who may gets the very value or a refusal.
async fn nothing_false_is_given(world: &World, read: &mut Read) {
    for (who, role, may) in WISHES {
        let agent = &world.agents[who];
        let envelope = agent.issue(role);
        let req = envelope.digest();
        match world.vault.send(Rpc::RequestCredential, envelope).await {
            Outcome::Refused(denied) if may => {
                read.noticed |= !read.older;
                *SAID.lock().unwrap().entry(denied.denial.reason.code()).or_default() += 1;
            }
            Outcome::Refused(_) => {}
            outcome => {
                let issued: Issued = world.vault.released(outcome, req);
                // What was taken back later was good in an earlier moment.
                assert!(may || (read.older && [3, 4].contains(&who)), "{} got {role}", agent.name);
                assert!(!read.lacks(agent), "{} holds more of its chain than there is, and was served", agent.name);
                let value = VALUES.iter().find(|(name, _)| *name == role).unwrap().1;
                assert_eq!(agent.open(&issued)["value"], *value, "{} got another value", agent.name);
            }
        }
    }
}

/// Why those were refused who may.
static SAID: std::sync::Mutex<BTreeMap<&'static str, usize>> = std::sync::Mutex::new(BTreeMap::new());

/// Damages one file of the store that `which` chooses, in every way in turn.
async fn rot(test: &str, from: u64, older: bool, which: impl Fn(&World) -> (&Files, &'static str)) {
    count_panics();
    let begin = Instant::now();
    let mut world = World::new().await;
    let (mut all, mut words) = (BTreeMap::<String, usize>::new(), BTreeMap::<String, usize>::new());
    // A case that failed is tried alone by its number.
    let alone = std::env::var("NOCKVAULT_CASE").ok().map(|case| case.parse::<u64>().unwrap());
    for case in (from..from + CASES).filter(|case| alone.is_none_or(|alone| alone == *case)) {
        let mut dice = Dice(case);
        let damage = Damage::ALL[(case % Damage::ALL.len() as u64) as usize];
        let (store, name) = which(&world);
        let mut files = store.clone();
        let what = damage.done_to(files.get_mut(name).unwrap(), &mut dice);
        println!("case {case}: {name}: {what}");
        world.put(&files);
        let became = judge(&mut world, older).await;
        println!("case {case}: {became:?}");
        assert_eq!(PANICS.load(Ordering::SeqCst), 0, "case {case}: something panicked");
        let word = match became {
            Became::Unopened(said) => {
                assert!(
                    said.contains("restore") || said.contains("mend"),
                    "case {case}: what to do is not said: {said}"
                );
                *words.entry(said).or_default() += 1;
                "did not begin"
            }
            Became::Noticed => "was noticed",
            Became::Older => "is older",
            Became::Whole => "held nothing",
        };
        *all.entry(word.to_owned()).or_default() += 1;
    }
    println!(
        "damaged files, {test}: {CASES} cases in {:?}: {all:?}; refusals of who may: {:?}",
        begin.elapsed(),
        SAID.lock().unwrap()
    );
    words.iter().for_each(|(said, count)| println!("    {count} said: {}", said.replace('\n', " ")));
    let seen = |word: &str| all.get(word).is_some_and(|count| *count > 0);
    assert!(alone.is_some() || seen("held nothing"), "whatever is done to it counts: {all:?}");
    let known = if older { seen("is older") } else { seen("was noticed") || seen("did not begin") };
    assert!(alone.is_some() || known, "nothing was noticed: {all:?}");
}

#[tokio::test]
async fn a_database_that_rots_is_noticed_and_nothing_false_is_served() {
    rot("database", 1000, false, |world| (&world.stores[1], "vault.db")).await;
}

#[tokio::test]
async fn a_log_that_rots_is_noticed_and_nothing_false_is_served() {
    rot("log", 2000, true, |world| (&world.stores[0], "vault.db-wal")).await;
}

#[tokio::test]
async fn a_database_under_its_log_that_rots_is_noticed_and_nothing_false_is_served() {
    rot("database under its log", 3000, false, |world| (&world.stores[0], "vault.db")).await;
}
