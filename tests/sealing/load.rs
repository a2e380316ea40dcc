//! Sealed while agents ask without a pause.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nockvault::client::agent::{Agent, Ask};
use nockvault::client::fault::Fault;
use nockvault::client::signer::Identity;
use nockvault::client::{keyfile, place};
use nockvault::denial::Reason;
use serde_json::Value;

use crate::programs::Vault;
use crate::stage::{seal, unseal, vault};
use crate::verified;

const AGENTS: usize = 8;

/// Has the agent hold so many live leases.
pub(crate) fn leases(vault: &Vault, count: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let card = place::card(Some(&vault.card())).unwrap();
        let key = keyfile::read_secret(&vault.path().join("kit.ed25519")).unwrap();
        let agent = Agent::connect(&card, Identity::held("kit".parse().unwrap(), key, 1)).await.unwrap();
        let session = agent.session("many").unwrap();
        for _ in 0..count {
            session.request(&Ask::role("orders-read".parse().unwrap())).await.unwrap();
        }
    });
}

#[test]
fn nothing_is_issued_after_a_seal_was_acknowledged_and_nothing_hangs() {
    let vault = vault(|config| config);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let given = Arc::new(AtomicU64::new(0));
    let card = place::card(Some(&vault.card())).unwrap();
    let key = keyfile::read_secret(&vault.path().join("kit.ed25519")).unwrap();
    let agent = runtime.block_on(Agent::connect(&card, Identity::held("kit".parse().unwrap(), key, 1))).unwrap();
    let busy: Vec<_> = (0..AGENTS)
        .map(|index| {
            let (session, over, given) = (agent.session(&format!("s{index}")).unwrap(), over.clone(), given.clone());
            runtime.spawn(async move {
                let (mut longest, mut sealed) = (Duration::ZERO, 0);
                while !over.load(Ordering::Acquire) {
                    let start = Instant::now();
                    match session.request(&Ask::role("orders-read".parse().unwrap())).await {
                        Ok(credential) => {
                            given.fetch_add(1, Ordering::AcqRel);
                            session.release(&credential.hdr.lease).await.ok();
                        }
                        Err(fault) if fault.reason() == Some(Reason::Sealed) => {
                            sealed += 1;
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                        Err(Fault::NoAnswer { .. } | Fault::Unreachable { .. }) => {}
                        Err(fault) if fault.reason() == Some(Reason::OutcomeUnknown) => {}
                        Err(fault) => panic!("{fault}"),
                    }
                    longest = longest.max(start.elapsed());
                }
                (longest, sealed)
            })
        })
        .collect();
    while given.load(Ordering::Acquire) < 20 {
        std::thread::sleep(Duration::from_millis(10));
    }
    seal(&vault).ok();
    let acknowledged = given.load(Ordering::Acquire);
    std::thread::sleep(Duration::from_secs(2));
    // Each may have had an answer on its way to its task.
    let after = given.load(Ordering::Acquire);
    assert!(after <= acknowledged + AGENTS as u64, "{acknowledged} and then {after}");
    unseal(&vault).ok();
    let more = Instant::now();
    while given.load(Ordering::Acquire) < after + 20 {
        assert!(more.elapsed() < Duration::from_secs(30), "the agents do not go on");
        std::thread::sleep(Duration::from_millis(10));
    }
    over.store(true, Ordering::Release);
    for busy in busy {
        let (longest, sealed) = runtime.block_on(busy).unwrap();
        assert!(longest < Duration::from_secs(20), "{longest:?}");
        assert!(sealed > 0, "it was told that the vault is sealed");
    }
    // By the chain: nothing was issued between the stop and the start of the daemon.
    let entries = |chain: &str| {
        let text = vault.vaultctl(&["audit", "export", chain]).ok();
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
    };
    let of = |kind: &str| {
        let all = entries("_vault");
        all.iter().filter(|entry| entry["kind"] == kind).filter_map(|entry| entry["ts"].as_u64()).collect::<Vec<_>>()
    };
    let (stop, start) = (of("stop")[0], of("start")[1]);
    let issued = entries("kit").into_iter().filter(|entry| entry["kind"] == "issue");
    let between = issued.filter_map(|entry| entry["ts"].as_u64()).filter(|ts| (stop + 1..start).contains(ts)).count();
    assert_eq!(between, 0);
    verified(&vault);
}
