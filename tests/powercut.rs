//! The power goes while the vault works. Everything that it writes and syncs is recorded, and from the record every kind
//! of disk is made that a cut can leave: what was synced, and of the rest any part, sector by sector. On each the vault
//! begins again; what was answered is there, what was not is there whole or not at all, and no request is taken twice.

#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "figures of what was tried")]

#[path = "faults/dice.rs"]
mod dice;
#[path = "powercut/disk.rs"]
mod disk;
#[path = "powercut/record.rs"]
mod record;
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use nockvault::crypto::envelope::Envelope;
use nockvault::denial::Reason;
use nockvault::id::ChainName;
use nockvault::statement::lease::Release;
use nockvault::statement::reply::{Issued, Released};
use nockvault::store::Rules;
use nockvault::vault::answer::Outcome;
use serde_json::{Value, json};

use dice::Dice;
use disk::{Cut, Disk, Files};
use record::{Recording, Step, mark};
use support::agent::{Agent, Rpc};
use support::{Harness, rules, terms};

/// How many requests are made while it is recorded: enough that the log is copied into the database on the way.
const REQUESTS: usize = 130;
/// How many disks are made of the record, beside those around each sync of the database itself.
const DISKS: usize = 300;
/// The whole of every so many is verified, as an auditor does.
const VERIFIED: usize = 12;
const SEED: u64 = 8;
/// One process has one tracer.
static RECORDED: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// What the agents were told, and so must be true ever after.
#[derive(Clone, Debug, Default)]
struct Told {
    /// How long each chain is, at the least.
    lengths: BTreeMap<String, usize>,
    /// How many requests were answered.
    requests: usize,
}

struct Sent {
    rpc: Rpc,
    envelope: Envelope,
}

struct Past {
    /// What was told at each mark.
    told: Vec<Told>,
    sent: Vec<Sent>,
    /// All lines of each chain in the end.
    truth: BTreeMap<String, Vec<Vec<u8>>>,
}

fn chains() -> [ChainName; 4] {
    [ChainName::vault(), ChainName::operators(), "kit".parse().unwrap(), "ida".parse().unwrap()]
}

/// Where there is memory to write to, it is quicker; what is recorded is the same.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

async fn lines(vault: &Harness) -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut all = BTreeMap::new();
    for chain in chains() {
        all.insert(chain.to_string(), vault.lines(&chain).await);
    }
    all
}

/// The files of the store that hold anything. The index of the log is made anew by whoever opens it first.
fn files(data: &Path) -> Files {
    let names = ["vault.db", "vault.db-wal"].into_iter().filter(|name| data.join(name).exists());
    names.map(|name| (name.to_owned(), std::fs::read(data.join(name)).unwrap())).collect()
}

/// Two agents at work, each answer marked in the record; now and then an operator commands something.
async fn work(vault: &Harness, [kit, ida]: &mut [Agent; 2]) -> (Vec<Told>, Vec<Sent>) {
    let (mut told, mut sent) = (vec![Told::default()], Vec::new());
    for turn in 0..REQUESTS {
        let agent = if turn % 3 == 0 { &mut *ida } else { &mut *kit };
        let mut now = told.last().unwrap().clone();
        let envelope = agent.issue("orders");
        sent.push(Sent { rpc: Rpc::RequestCredential, envelope: envelope.clone() });
        let issued: Issued = vault.issued(&envelope).await;
        let mut entry = issued.entry;
        if turn % 4 == 1 {
            now.lengths.insert(agent.name.to_string(), entry.seq as usize + 1);
            now.requests = sent.len();
            told.push(now.clone());
            mark(told.len() - 1);
            let envelope = agent.signed(Release::Lease(issued.hdr.lease.clone()));
            sent.push(Sent { rpc: Rpc::ReleaseLease, envelope: envelope.clone() });
            let outcome = vault.send(Rpc::ReleaseLease, envelope.clone()).await;
            entry = vault.released::<Released>(outcome, envelope.digest()).entry;
        }
        agent.keep(entry);
        now.lengths.insert(agent.name.to_string(), entry.seq as usize + 1);
        now.requests = sent.len();
        if turn % 10 == 7 {
            vault.put_secret("orders", format!("value {turn}").as_bytes()).await;
            let operators = vault.lines(&ChainName::operators()).await.len();
            now.lengths.insert(ChainName::operators().to_string(), operators);
        }
        told.push(now);
        mark(told.len() - 1);
    }
    (told, sent)
}

/// Records two agents at work. Gives the vault, the disk before, what happened, and what was told.
async fn recorded() -> (Harness, Files, Vec<Step>, Past) {
    let mut vault = Harness::found_in(folder(), Rules { leases_per_agent: 100_000, ..rules() }).await;
    vault.kv_role("orders", b"a value").await;
    let mut agents = [vault.agent("kit").await, vault.agent("ida").await];
    for agent in &mut agents {
        vault.grant(&agent.name, "orders", terms()).await;
        agent.hello(&vault).await;
    }
    let _alone = RECORDED.lock().await;
    let before = files(&vault.data());
    let data = vault.data().canonicalize().unwrap();
    let log = tempfile::NamedTempFile::new().unwrap();
    let recording = Recording::begin(log.path());
    let (told, sent) = work(&vault, &mut agents).await;
    let truth = lines(&vault).await;
    vault.verify_all().await;
    // The last to close the store moves the rest of the log into the database, and removes it.
    vault.shut();
    let steps = recording.end(&data);
    // The record is whole: it makes of the disk before what there is now.
    let mut disk = Disk::new(before.clone());
    steps.iter().for_each(|step| disk.take(step));
    let (replayed, now) = (disk.after(Cut::All, &mut Dice(0)), files(&data));
    assert!(replayed["vault.db"] == now["vault.db"], "the record of the database is not whole");
    assert!(!replayed.contains_key("vault.db-wal") && !now.contains_key("vault.db-wal"), "the log was not moved");
    (vault, before, steps, Past { told, sent, truth })
}

/// Puts these files in the place of the store's.
fn put(data: &Path, files: &Files) {
    for name in ["vault.db", "vault.db-wal", "vault.db-shm"] {
        let _ = std::fs::remove_file(data.join(name));
        if let Some(content) = files.get(name) {
            std::fs::write(data.join(name), content).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(data.join(name), mode).unwrap();
        }
    }
}

/// Whether a request stands in its agent's chain.
fn stands(sent: &Sent, lines: &BTreeMap<String, Vec<Vec<u8>>>) -> bool {
    let embedded = json!(sent.envelope.embed().unwrap());
    let of_agent = ["kit", "ida"].iter().flat_map(|chain| &lines[*chain]).rev();
    of_agent
        .map(|line| serde_json::from_slice::<Value>(line).unwrap())
        .any(|entry| entry["body"]["request"] == embedded)
}

/// The vault begins on such a disk, and holds what it told.
async fn holds(vault: &mut Harness, past: &Past, told: &Told, whole: bool) {
    vault.begin_again().await.unwrap_or_else(|fault| panic!("it did not begin: {fault:?}"));
    let now = lines(vault).await;
    for (chain, truth) in &past.truth {
        let length = told.lengths.get(chain).copied().unwrap_or(0);
        let now = &now[chain];
        let same = now.iter().zip(truth).take_while(|(one, other)| one == other).count();
        assert!(same >= length, "{chain}: entry {same} is gone, and {length} were told of");
        assert!(same == now.len() || chain == "_vault", "{chain}: entry {same} is none that was written");
    }
    for sent in past.sent[..told.requests].iter().rev().take(2) {
        let refusal = vault.refusal(sent.rpc, sent.envelope.clone()).await;
        assert_eq!(refusal.reason, Reason::Replay, "an answered request was taken again");
    }
    // What was under way is there whole, or may come once more.
    if let Some(sent) = past.sent.get(told.requests) {
        let landed = stands(sent, &now);
        match vault.send(sent.rpc, sent.envelope.clone()).await {
            Outcome::Released(_) => assert!(!landed, "its entry is there and its nonce is not"),
            Outcome::Refused(refused) => {
                assert_eq!(refused.denial.reason, Reason::Replay);
                assert!(landed, "its nonce is there and its entry is not");
            }
        }
    }
    if whole {
        let inspected = vault.vault().inspect().await;
        assert!(inspected.quarantined.is_empty() && inspected.unread.is_empty(), "{inspected:?}");
        vault.verify_all().await;
    }
    vault.shut();
}

/// At which steps the power goes: anywhere, and thickly where the log is moved into the database.
fn places(steps: &[Step], dice: &mut Dice) -> Vec<usize> {
    let indexes = |wanted: &dyn Fn(&Step) -> bool| -> Vec<usize> {
        (0..steps.len()).filter(|index| wanted(&steps[*index])).collect()
    };
    let moved = indexes(&|step| matches!(step, Step::Write { file, .. } if file == "vault.db"));
    let ended = indexes(&|step| match step {
        Step::Sync { file } => file == "vault.db",
        Step::Gone { file } => file == "vault.db-wal",
        _ => false,
    });
    assert!(!moved.is_empty() && !ended.is_empty(), "the log was never moved into the database");
    let mut places: Vec<usize> = (0..DISKS).map(|_| dice.below(steps.len() + 1)).collect();
    places.extend((0..DISKS / 3).map(|_| moved[dice.below(moved.len())] + dice.below(2)));
    places.extend(ended.iter().flat_map(|at| [*at, *at + 1]));
    places.sort_unstable();
    places
}

#[tokio::test]
async fn what_was_answered_is_there_when_the_power_comes_back() {
    let begin = Instant::now();
    let (mut vault, before, steps, past) = recorded().await;
    let recorded = begin.elapsed();
    let (mut dice, mut disk, mut told, mut done) = (Dice(SEED), Disk::new(before), 0, 0);
    let (mut tried, mut lost, mut cuts) = (0, 0, BTreeMap::<Cut, usize>::new());
    for place in places(&steps, &mut dice) {
        while done < place {
            if let Step::Mark(answered) = &steps[done] {
                told = *answered;
            }
            disk.take(&steps[done]);
            done += 1;
        }
        let cut = if disk.waiting() == 0 { Cut::Nothing } else { Cut::ALL[dice.below(6)] };
        put(&vault.data(), &disk.after(cut, &mut dice));
        println!("disk {tried}: {cut:?} at step {place}, {} not synced, {told} told", disk.waiting());
        holds(&mut vault, &past, &past.told[told], tried % VERIFIED == 0).await;
        *cuts.entry(cut).or_default() += 1;
        lost += disk.waiting();
        tried += 1;
    }
    println!(
        "power cuts: {tried} disks made of {} steps ({cuts:?}), {lost} writes at stake, nothing told was lost; \
         recorded in {recorded:?}, all in {:?}",
        steps.len(),
        begin.elapsed(),
    );
    assert!(tried >= DISKS && lost > tried, "nothing was at stake");
}

/// The test above can fail: a store that answers before its sync loses what it told.
#[tokio::test]
async fn a_disk_that_lies_about_a_sync_is_found_out() {
    let (mut vault, before, steps, past) = recorded().await;
    // The last sync of the log was said to be done, and was not.
    let of_log = |step: &Step| matches!(step, Step::Sync { file } if file == "vault.db-wal");
    let last = steps.iter().rposition(|step| matches!(step, Step::Mark(_))).unwrap();
    let lied = steps[..last].iter().rposition(of_log).unwrap();
    let mut disk = Disk::new(before);
    steps[..=last].iter().enumerate().filter(|(index, _)| *index != lied).for_each(|(_, step)| disk.take(step));
    put(&vault.data(), &disk.after(Cut::Nothing, &mut Dice(SEED)));
    vault.begin_again().await.unwrap();
    let told = past.told.last().unwrap();
    let now = lines(&vault).await;
    let lost = told.lengths.iter().filter(|(chain, length)| now[*chain].len() < **length).count();
    assert!(lost > 0, "what was never synced is there");
}
