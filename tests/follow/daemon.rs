//! The real daemon, its mirror, and agents that keep it busy.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nockvault::client::agent::{Agent, Ask};
use nockvault::client::fault::Fault;
use nockvault::client::keyfile;
use nockvault::client::signer::Identity;
use nockvault::statement::card::Card;
use tokio::task::JoinHandle;

use crate::programs::{Vault, program, said};
use crate::stage::PATIENCE;

const AGENTS: [&str; 3] = ["kit", "lea", "max"];

/// A vault with agents.
pub(crate) struct Busy {
    pub(crate) vault: Vault,
    agents: Vec<Agent>,
}

/// Agents at work.
pub(crate) struct Work {
    stop: Arc<AtomicBool>,
    pub(crate) issued: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Work {
    /// Waits until so many more were issued.
    pub(crate) async fn issues(&self, count: u64) {
        let (from, begin) = (self.issued.load(Ordering::SeqCst), Instant::now());
        while self.issued.load(Ordering::SeqCst) < from + count {
            assert!(begin.elapsed() < PATIENCE, "nothing is issued");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub(crate) async fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

impl Busy {
    pub(crate) async fn new() -> Busy {
        let vault = Vault::start_with(|config| {
            let roomy = config.replace("leases_per_agent = 1000", "leases_per_agent = 1000000");
            roomy.replace("sessions_per_agent = 64", "sessions_per_agent = 10000")
        });
        vault.with_kit("a password");
        let card = Card::read(&fs::read_to_string(vault.card()).unwrap()).unwrap();
        let mut agents = Vec::new();
        for name in AGENTS {
            if name != "kit" {
                vault.vaultctl(&["keygen", "--agent", name]).ok();
                vault.vaultctl(&["agent", "register", &format!("{name}.register")]).ok();
                vault.vaultctl(&["grant", name, "orders-read", "--ttl", "15m"]).ok();
            }
            let key = keyfile::read_secret(&vault.path().join(format!("{name}.ed25519"))).unwrap();
            agents.push(Agent::connect(&card, Identity::held(name.parse().unwrap(), key, 1)).await.unwrap());
        }
        Busy { vault, agents }
    }

    /// Has the agents ask for credentials, until they are told to stop. What gets no answer is asked for anew.
    pub(crate) fn work(&self) -> Work {
        let (stop, issued) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let at_work = |agent: &Agent| {
            let (session, stop, issued) = (agent.session("work").unwrap(), Arc::clone(&stop), Arc::clone(&issued));
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    match session.request(&Ask::role("orders-read".parse().unwrap())).await {
                        Ok(_) => {
                            issued.fetch_add(1, Ordering::SeqCst);
                        }
                        Err(Fault::NoAnswer { .. } | Fault::Unreachable { .. }) => {
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                        Err(fault) => panic!("{fault}"),
                    }
                }
            })
        };
        let tasks = self.agents.iter().flat_map(|agent| [at_work(agent), at_work(agent)]).collect();
        Work { stop, issued, tasks }
    }

    pub(crate) fn audit(&self) -> PathBuf {
        self.vault.path().join("vault/audit")
    }

    pub(crate) fn live(&self, chain: &str) -> PathBuf {
        self.audit().join(format!("{chain}.audit.jsonl"))
    }

    pub(crate) fn export(&self, chain: &str) -> String {
        self.vault.vaultctl(&["audit", "export", chain]).ok()
    }

    /// Waits until the mirror of each chain is what the store has, and has the verifier look at it. `read` gives what the
    /// mirror has of a chain.
    pub(crate) async fn assert_mirrored(&self, read: impl Fn(&str) -> String) {
        let begin = Instant::now();
        for chain in AGENTS.iter().chain(&["_vault"]) {
            loop {
                let (mirrored, stored) = (read(chain), self.export(chain));
                if mirrored == stored {
                    break;
                }
                let of = |text: &str| text.lines().map(seq).collect::<Vec<_>>();
                let so_far = mirrored.len() < stored.len() && stored.starts_with(&mirrored);
                assert!(
                    so_far && begin.elapsed() < PATIENCE,
                    "{chain}: {:?}, and the store has {:?}; {}",
                    wrong(&of(&mirrored)),
                    of(&stored).len(),
                    fs::read_to_string(self.vault.log()).unwrap(),
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        for chain in AGENTS {
            let file = self.vault.path().join(format!("{chain}.whole"));
            fs::write(&file, read(chain)).unwrap();
            let mut verify = program(env!("CARGO_BIN_EXE_vault-verify"), self.vault.path());
            said(verify.arg("--vault").arg(self.vault.card()).arg(&file)).ok();
        }
    }
}

fn seq(line: &str) -> Option<u64> {
    serde_json::from_str::<serde_json::Value>(line).ok()?["seq"].as_u64()
}

/// The first place where the numbers do not follow on each other.
fn wrong(seqs: &[Option<u64>]) -> Option<(usize, Option<u64>)> {
    (0..).zip(seqs).find(|(at, seq)| **seq != Some(*at)).map(|(at, seq)| (at as usize, *seq))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_under_load_leave_neither_gap_nor_repeat_in_the_mirror() {
    let mut busy = Busy::new().await;
    let work = busy.work();
    for round in 0..12_u64 {
        work.issues(20 + 7 * round).await;
        busy.vault.kill();
        busy.vault.go_on();
    }
    work.issues(10).await;
    work.stop().await;
    busy.assert_mirrored(|chain| fs::read_to_string(busy.live(chain)).unwrap()).await;
    let names = fs::read_dir(busy.audit()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let strangers: Vec<String> = names.filter(|name| !name.ends_with(".audit.jsonl") && name != ".state").collect();
    assert!(strangers.is_empty(), "{strangers:?}");

    // An end in order leaves nothing out: the last entry of _vault says that it stopped.
    busy.vault.restart();
    let own = fs::read_to_string(busy.live("_vault")).unwrap();
    assert!(own.lines().any(|line| line.contains("\"kind\":\"stop\"")), "{own}");
}
