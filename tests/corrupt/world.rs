//! A vault in which everything is told apart: who may have what, what was asked before, and what each chain says.

use std::collections::BTreeMap;
use std::path::Path;

use nockvault::crypto::envelope::Envelope;
use nockvault::id::ChainName;
use nockvault::statement::command::Page;
use nockvault::statement::lease::{Release, Which};
use nockvault::time::Seconds;

use crate::support::agent::{Agent, Rpc};
use crate::support::{Harness, terms};

/// The files of a store that hold anything.
pub(crate) type Files = BTreeMap<&'static str, Vec<u8>>;

pub(crate) const FILES: [&str; 3] = ["vault.db", "vault.db-wal", "vault.db-shm"];

/// Each role, and the value behind it.
pub(crate) const VALUES: [(&str, &str); 2] = [("orders", "the value of orders"), ("birds", "the value of birds")];

/// Who, which role, and whether it may be had.
pub(crate) const WISHES: [(usize, &str, bool); 8] = [
    (0, "orders", true),
    (0, "birds", false),
    (1, "orders", true),
    (1, "birds", true),
    // Has no grant, had one, has an ended key, is nobody's agent.
    (2, "orders", false),
    (3, "orders", false),
    (4, "orders", false),
    (5, "orders", false),
];

pub(crate) struct World {
    pub(crate) vault: Harness,
    /// kit, ida, and those who may have nothing.
    pub(crate) agents: Vec<Agent>,
    /// Requests that were answered.
    pub(crate) answered: Vec<(Rpc, Envelope)>,
    /// The lines of each chain.
    pub(crate) truth: BTreeMap<String, Vec<Vec<u8>>>,
    /// What each lease is, in words.
    pub(crate) leases: BTreeMap<String, String>,
    /// The store with its newest part in the log beside the database, and with all of it in the database.
    pub(crate) stores: [Files; 2],
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub(crate) fn chains() -> Vec<ChainName> {
    let agents = ["kit", "ida", "none", "late", "ended"].map(|name| name.parse().unwrap());
    agents.into_iter().chain([ChainName::vault(), ChainName::operators()]).collect()
}

fn files(data: &Path) -> Files {
    let there = FILES[..2].iter().filter(|name| data.join(name).exists());
    there.map(|name| (*name, std::fs::read(data.join(name)).unwrap())).collect()
}

impl World {
    pub(crate) async fn new() -> World {
        let vault = Harness::found_in(folder(), crate::support::rules()).await;
        for (role, value) in VALUES {
            vault.kv_role(role, value.as_bytes()).await;
        }
        let mut agents = Vec::new();
        for name in ["kit", "ida", "none", "late", "ended"] {
            agents.push(vault.agent(name).await);
        }
        let stranger = agents[0].again();
        agents.push(Agent { key: crate::support::new_key(), ..stranger });
        for (who, role) in [(0, "orders"), (1, "orders"), (1, "birds"), (3, "orders"), (4, "orders")] {
            vault.grant(&agents[who].name, role, terms()).await;
        }
        let mut world = World {
            vault,
            agents,
            answered: Vec::new(),
            truth: BTreeMap::new(),
            leases: BTreeMap::new(),
            stores: Default::default(),
        };
        world.live().await;
        world.truth = world.lines().await;
        world.leases = world.leases_now().await.unwrap();
        let data = world.vault.data();
        let with_log = files(&data);
        assert!(with_log["vault.db-wal"].len() > 4096, "nothing is in the log");
        world.vault.shut();
        let database = world.vault.database();
        database.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        drop(database);
        let moved = files(&data);
        assert!(moved["vault.db"].len() > with_log["vault.db"].len(), "the log was not moved");
        world.stores = [with_log, moved];
        world
    }

    /// What happens before.
    async fn live(&mut self) {
        for turn in 0..14 {
            for (who, role) in [(0, "orders"), (1, "orders"), (1, "birds"), (3, "orders"), (4, "orders")] {
                if who > 1 && turn > 1 {
                    continue;
                }
                let envelope = self.agents[who].issue(role);
                let issued = self.vault.issued(&envelope).await;
                self.agents[who].keep(issued.entry);
                self.answered.push((Rpc::RequestCredential, envelope));
                let lease = issued.hdr.lease;
                match turn % 4 {
                    1 => drop(self.agents[who].release(&self.vault, &lease).await),
                    2 => drop(self.agents[who].renew(&self.vault, &lease, 900).await),
                    _ => {}
                }
            }
            let refused = self.agents[0].issue("birds");
            self.vault.refuses(&refused).await;
            self.vault.clock.advance(Seconds(2));
        }
        let last = self.agents[1].signed(Release::Req(self.answered[0].1.digest()));
        self.vault.refusal(Rpc::ReleaseLease, last).await;
        self.vault.ungrant(&self.agents[3].name, "orders").await;
        self.vault.end_key(&self.agents[4].name, self.agents[4].key.kid()).await;
    }

    async fn lines(&self) -> BTreeMap<String, Vec<Vec<u8>>> {
        let mut all = BTreeMap::new();
        for chain in chains() {
            all.insert(chain.to_string(), self.vault.lines(&chain).await);
        }
        all
    }

    /// Each lease, in words; none where they cannot be listed.
    pub(crate) async fn leases_now(&self) -> Option<BTreeMap<String, String>> {
        let (mut all, mut page) = (BTreeMap::new(), Page::first());
        loop {
            let part = self.vault.vault().store().leases(None, Which::All, &page).await.ok()?;
            for lease in part.items {
                let said = format!(
                    "{} {} {} {} {} {:?} {:?}",
                    lease.agent, lease.sid, lease.role, lease.issued, lease.expires, lease.state, lease.ended
                );
                all.insert(lease.id.to_string(), said);
            }
            match part.next {
                Some(after) => page.after = after,
                None => return Some(all),
            }
        }
    }

    /// Puts these files in the place of the store's.
    pub(crate) fn put(&mut self, files: &Files) {
        self.vault.shut();
        for name in FILES {
            let path = self.vault.data().join(name);
            let _ = std::fs::remove_file(&path);
            if let Some(content) = files.get(name) {
                std::fs::write(&path, content).unwrap();
                std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            }
        }
    }
}
