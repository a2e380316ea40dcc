//! What is not durable is not released. A full disk, a stuck database, callers who go away: the answer comes within its
//! time, nothing is issued that no entry stands for, and all goes on when the fault is over.

#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nockvault::denial::Reason::{self, *};
use nockvault::lease::State;
use nockvault::statement::command::Page;
use nockvault::statement::lease::{LeaseRevoke, Release, Scope};
use nockvault::store::Rules;
use nockvault::time::Seconds;
use nockvault::vault::answer::Outcome;
use serde_json::Value;

use support::agent::{Agent, Rpc};
use support::{HERE, Harness, rules, terms};

/// How long a verb may wait in these tests, and how much longer an answer may take on a busy machine.
const DEADLINE: Duration = Duration::from_millis(400);
const SLACK: Duration = Duration::from_secs(5);

fn hurried() -> Rules {
    Rules { deadline: DEADLINE, ..rules() }
}

async fn furnish(vault: &Harness) -> Agent {
    vault.kv_role("orders", b"a value").await;
    let mut kit = vault.agent("kit").await;
    vault.grant(&kit.name, "orders", terms()).await;
    kit.hello(vault).await;
    kit
}

/// How many leases of kit's are in each state.
async fn leases(vault: &Harness, kit: &Agent) -> BTreeMap<&'static str, usize> {
    let (mut page, mut counts) = (Page::first(), BTreeMap::new());
    loop {
        let listed = vault
            .vault()
            .store()
            .leases(Some(&kit.name), nockvault::statement::lease::Which::All, &page)
            .await
            .unwrap();
        for lease in &listed.items {
            *counts.entry(lease.state.as_str()).or_default() += 1;
        }
        match listed.next {
            Some(next) => page.after = next,
            None => return counts,
        }
    }
}

fn kinds(chain: &[Value], kind: &str) -> usize {
    chain.iter().filter(|entry| entry["kind"] == kind).count()
}

/// Refused for want of a trail, within its time.
async fn unavailable(vault: &Harness, rpc: Rpc, envelope: nockvault::crypto::envelope::Envelope) {
    let begin = Instant::now();
    let refusal = vault.refusal(rpc, envelope).await;
    assert_eq!(refusal.reason, AuditUnavailable, "{}", refusal.denial);
    assert!(begin.elapsed() < DEADLINE + SLACK, "the answer took {:?}", begin.elapsed());
}

#[tokio::test]
async fn a_stuck_database_is_answered_in_time_and_nothing_lands_later() {
    let vault = Harness::with(hurried()).await;
    let mut kit = furnish(&vault).await;
    let lease = kit.get(&vault, "orders").await.hdr.lease;
    let before = vault.picture();
    let lock = vault.database();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();

    let begin = Instant::now();
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let (vault, envelope) = (vault.vault().clone(), kit.issue("orders"));
            tokio::spawn(async move { vault.issue(envelope, HERE).await })
        })
        .collect();
    for one in waiting {
        match one.await.unwrap() {
            Outcome::Refused(refused) => assert_eq!(refused.denial.reason, AuditUnavailable),
            Outcome::Released(_) => panic!("issued without an entry"),
        }
    }
    assert!(begin.elapsed() < DEADLINE + SLACK, "all of them took {:?}", begin.elapsed());
    unavailable(&vault, Rpc::ReleaseLease, kit.signed(Release::Lease(lease.clone()))).await;
    // A denial is not spoken either while it cannot be written down.
    unavailable(&vault, Rpc::RequestCredential, kit.issue("nothing")).await;
    // Who the vault is, it says all the same.
    vault.vault().describe(&[1; 32]).unwrap();

    lock.execute_batch("ROLLBACK").unwrap();
    drop(lock);
    kit.get(&vault, "orders").await;
    kit.release(&vault, &lease).await;
    let after = vault.picture();
    assert_eq!(before.count("lines") + 2, after.count("lines"), "what was withdrawn landed after all");
    assert_eq!(leases(&vault, &kit).await, BTreeMap::from([("live", 1), ("released", 1)]));
    vault.verify_all().await;
}

#[tokio::test]
async fn a_database_at_its_size_issues_nothing_and_goes_on_when_there_is_room() {
    let mut vault = Harness::with(hurried()).await;
    let mut kit = furnish(&vault).await;
    kit.get(&vault, "orders").await;
    vault.sqlite().limit_size(1).await.unwrap();
    let mut issued = 1;
    // What room the last pages have may still be used.
    let refused = loop {
        let envelope = kit.issue("orders");
        let begin = Instant::now();
        let outcome = vault.send(Rpc::RequestCredential, envelope.clone()).await;
        assert!(begin.elapsed() < DEADLINE + SLACK, "the answer took {:?}", begin.elapsed());
        match outcome {
            Outcome::Released(_) => issued += 1,
            Outcome::Refused(refused) => break refused.denial.reason,
        }
        assert!(issued < 1000, "the limit does not hold");
    };
    assert_eq!(refused, AuditUnavailable);
    let full = vault.picture();
    for _ in 0..20 {
        unavailable(&vault, Rpc::RequestCredential, kit.issue("orders")).await;
    }
    assert_eq!(full, vault.picture(), "something was written without room");
    assert_eq!(kinds(&vault.chain_of(&kit.name).await, "issue"), issued);
    assert_eq!(vault.vault().store().census().await.unwrap().leases, issued as u64);

    vault.sqlite().limit_size(1 << 40).await.unwrap();
    kit.get(&vault, "orders").await;
    assert_eq!(leases(&vault, &kit).await, BTreeMap::from([("live", issued + 1)]));
    vault.reopen().await;
    assert_eq!(leases(&vault, &kit).await, BTreeMap::from([("live", issued + 1)]));
    vault.verify_all().await;
}

/// Callers who go away at any moment: every lease that nobody was told of ends as undelivered, and what was told of
/// lives.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_lands_for_nobody_is_undone() {
    let mut vault = Harness::new().await;
    let kit = furnish(&vault).await;
    let mut told = 0;
    for round in 0..20u64 {
        let calls: Vec<_> = (0..20)
            .map(|_| {
                let (vault, envelope) = (vault.vault().clone(), kit.issue("orders"));
                tokio::spawn(async move { vault.issue(envelope, HERE).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_micros(round * 300)).await;
        for (index, call) in calls.iter().enumerate() {
            if index % 4 != 0 {
                call.abort();
            }
        }
        for call in calls {
            match call.await {
                Ok(Outcome::Released(_)) => told += 1,
                Ok(Outcome::Refused(refused)) => panic!("{}", refused.denial),
                Err(gone) => assert!(gone.is_cancelled()),
            }
        }
    }
    assert!(told >= 100, "a quarter was never aborted");
    settled(&vault, &kit, told).await;
    let counts = leases(&vault, &kit).await;
    let chain = vault.chain_of(&kit.name).await;
    assert_eq!(kinds(&chain, "undelivered"), counts.get("undelivered").copied().unwrap_or(0));
    assert_eq!(kinds(&chain, "issue"), counts.values().sum::<usize>());
    vault.reopen().await;
    assert_eq!(leases(&vault, &kit).await, counts);
    vault.verify_all().await;
}

/// A deadline so short that it passes while commits are under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deadline_that_passes_while_it_commits_leaves_no_lease_behind() {
    let mut vault = Harness::new().await;
    let kit = furnish(&vault).await;
    let (mut told, mut refusals) = (0, BTreeMap::<Reason, usize>::new());
    for deadline in [3, 6, 12, 25, 50] {
        // The beginning itself is a commit, and may be late too.
        let hasty = Rules { deadline: Duration::from_millis(deadline), leases_per_agent: 10_000, ..rules() };
        let mut tries = 0;
        while let Err(late) = vault.try_reopen_under(hasty).await {
            tries += 1;
            assert!(tries < 1000, "{deadline} ms: {late}");
        }
        let calls: Vec<_> = (0..300)
            .map(|_| {
                let (vault, envelope) = (vault.vault().clone(), kit.issue("orders"));
                tokio::spawn(async move { vault.issue(envelope, HERE).await })
            })
            .collect();
        for call in calls {
            match call.await.unwrap() {
                Outcome::Released(_) => told += 1,
                Outcome::Refused(refused) => *refusals.entry(refused.denial.reason).or_default() += 1,
            }
        }
    }
    assert!(
        refusals.keys().all(|reason| [AuditUnavailable, OutcomeUnknown, LeaseLimit].contains(reason)),
        "{refusals:?}"
    );
    assert!(!refusals.is_empty(), "no deadline passed");
    vault.reopen_under(rules()).await;
    settled(&vault, &kit, told).await;
    vault.verify_all().await;
}

/// In a moment, exactly so many leases live as were told of: none more, and none less.
async fn settled(vault: &Harness, kit: &Agent, told: usize) {
    let live = State::Live.as_str();
    for _ in 0..200 {
        if leases(vault, kit).await.get(live) == Some(&told) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{told} were told of; there are {:?}", leases(vault, kit).await);
}

// --- a disk that is really full

const MOUNT: &str = "NOCKVAULT_TEST_MOUNT";

/// Runs itself once more in a mount namespace of its own, on a small disk in memory. Where the system allows no such
/// mount, the test above with a limited database stands alone.
#[test]
fn on_a_full_disk_nothing_is_issued_and_everything_can_still_be_ended() {
    if let Some(mount) = std::env::var_os(MOUNT) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        return runtime.block_on(on_a_full_disk(Path::new(&mount)));
    }
    let mount = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=24m,mode=0700 tmpfs \"$0\" && echo mounted && \"$@\"";
    for namespace in [&["-m"][..], &["-U", "-r", "-m"]] {
        let output = Command::new("unshare")
            .args(namespace)
            .args(["sh", "-c", script])
            .arg(mount.path())
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "on_a_full_disk_nothing_is_issued_and_everything_can_still_be_ended", "--nocapture"])
            .env(MOUNT, mount.path())
            .output();
        let Ok(output) = output else { continue };
        let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if said.contains("mounted") {
            assert!(output.status.success(), "{said}\n{wrong}");
            assert!(said.contains("1 passed"), "{said}");
            return;
        }
    }
    eprintln!("no small disk can be mounted here; the full disk is left to the test of a limited database");
}

async fn on_a_full_disk(mount: &Path) {
    let mut vault = Harness::found_in(tempfile::tempdir_in(mount).unwrap(), hurried()).await;
    let mut kit = furnish(&vault).await;
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(kit.get(&vault, "orders").await.hdr.lease);
    }
    let ballast = mount.join("ballast");
    fill(&ballast);
    let mut issued = held.len();
    // The log of the database may have room of its own for a while.
    while let Outcome::Released(_) = vault.send(Rpc::RequestCredential, kit.issue("orders")).await {
        issued += 1;
        fill(&ballast);
        assert!(issued < 20_000, "the disk does not fill");
    }
    for _ in 0..20 {
        unavailable(&vault, Rpc::RequestCredential, kit.issue("orders")).await;
    }
    assert_eq!(leases(&vault, &kit).await["live"], issued);

    // In the room of the reserve: agents give back, operators take back, and what runs out ends.
    kit.release(&vault, &held[0]).await;
    vault.order(LeaseRevoke { reason: None, scope: Scope::Lease(held[1].clone()) }).await;
    vault.clock.advance(Seconds(301));
    vault.vault().tend_once().await;
    let counts = leases(&vault, &kit).await;
    assert_eq!((counts["released"], counts["revoked"], counts.get("live")), (1, 1, None), "{counts:?}");
    unavailable(&vault, Rpc::RequestCredential, kit.issue("orders")).await;
    vault.ungrant(&kit.name, "orders").await;
    vault.end_key(&kit.name, kit.key.kid()).await;
    assert_eq!(vault.refuses(&kit.issue("orders")).await, KeyRetired);

    std::fs::remove_file(&ballast).unwrap();
    let mut ada = vault.agent("ada").await;
    vault.grant(&ada.name, "orders", terms()).await;
    ada.get(&vault, "orders").await;
    vault.reopen().await;
    ada.get(&vault, "orders").await;
    vault.verify_all().await;
}

/// Takes all the room that is left.
fn fill(ballast: &Path) {
    let mut file = File::options().create(true).append(true).open(ballast).unwrap();
    for block in [1 << 20, 1 << 12, 1] {
        while file.write_all(&vec![0; block]).is_ok() {}
    }
}
