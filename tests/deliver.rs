//! Promise: what the vault said of a chain is kept where the vault cannot take it back, and a place that is slow, dead or
//! lying delays nobody and is seen.

#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "witness/desk.rs"]
mod desk;
#[path = "deliver/served.rs"]
mod served;
#[path = "store/world.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod world;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use desk::Desk;
use nockvault::audit::chain::CheckpointKey;
use nockvault::audit::checkpoint;
use nockvault::audit::note::{Note, NoteKey};
use nockvault::audit::policy::Policy;
use nockvault::crypto::signature::SigningKey;
use nockvault::entropy::SeededEntropy;
use nockvault::follow::places::Place;
use nockvault::follow::{Follower, Sink, witness};
use nockvault::statement::cert::KeyRole;
use nockvault::store::{Noted, Store};
use nockvault::telemetry::Telemetry;
use nockvault::time::Clock;
use served::{Keep, Server, Witness, free};
use tokio_util::sync::CancellationToken;
use world::{Kit, World, data_dir};

const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A vault with the agent `kit`, and what delivers its checkpoints.
struct Stage {
    world: World,
    kit: Kit,
    key: Arc<CheckpointKey>,
    telemetry: Telemetry,
    follower: Option<Follower>,
}

fn checkpoint_key(world: &World) -> Arc<CheckpointKey> {
    let kept = world.keys.kept.iter().find(|key| key.role == KeyRole::Checkpoint).unwrap();
    let key = SigningKey::from_seed(&kept.secret);
    Arc::new(CheckpointKey::new(key, kept.cert.clone(), &world.keys.identity.public()).unwrap())
}

impl Stage {
    async fn new() -> Stage {
        let world = World::new().await;
        let kit = world.granted("kit").await;
        let key = checkpoint_key(&world);
        Stage { world, kit, key, telemetry: Telemetry::default(), follower: None }
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(self.world.store()) as Arc<dyn Store>
    }

    /// A new process delivers to these.
    async fn deliver(&mut self, make: impl Fn(&Arc<dyn Store>, &Telemetry) -> Box<dyn Sink>) {
        self.rest().await;
        self.telemetry = Telemetry::default();
        let (store, clock) = (self.store(), Arc::new(self.world.clock.clone()) as Arc<dyn Clock>);
        let sink = make(&store, &self.telemetry);
        let mut follower = Follower::start(&store, Vec::new(), &clock, &self.telemetry, CancellationToken::new());
        follower.deliver(&store, vec![sink], &clock);
        self.follower = Some(follower);
    }

    async fn deliver_to(&mut self, place: &str) {
        let place: Place = place.parse().unwrap();
        self.deliver(|store, telemetry| place.sink(store, telemetry).unwrap()).await;
    }

    async fn ask(&mut self, policy: &Policy) {
        self.deliver(|store, telemetry| witness::sink(&policy.witnesses()[0], store, telemetry).unwrap().unwrap())
            .await;
    }

    async fn rest(&mut self) {
        if let Some(follower) = self.follower.take() {
            follower.stop(Duration::from_secs(5)).await;
        }
    }

    /// Entries, and the checkpoint over them.
    async fn checkpoint(&self, entries: usize) -> Noted {
        for _ in 0..entries {
            self.world.hello(&self.kit, "s1").await.unwrap();
        }
        let chain = "kit".parse().unwrap();
        self.world.store().checkpoint(&chain, Arc::clone(&self.key)).await.unwrap().unwrap();
        self.noted().await
    }

    async fn noted(&self) -> Noted {
        self.world.store().newest_checkpoint(&"kit".parse().unwrap()).await.unwrap().unwrap()
    }

    async fn is_cosigned(&self) -> bool {
        !self.noted().await.cosigned.is_empty()
    }

    /// What a metric of the place says.
    fn metric(&self, name: &str) -> Option<u64> {
        let text = self.telemetry.text();
        let line = text.lines().find(|line| line.starts_with(&format!("nockvault_{name}{{")))?;
        line.rsplit_once(' ')?.1.parse().ok()
    }

    /// The vault's files as they are now.
    async fn copy(&mut self, to: &Path) {
        self.rest().await;
        let from = data_dir(self.world.folder.path());
        self.world.shut_and(|_| copy_files(&from, to));
        self.world.begin().await;
    }

    /// The vault's files as they were.
    async fn back(&mut self, from: &Path) {
        self.rest().await;
        let to = data_dir(self.world.folder.path());
        self.world.shut_and(|_| copy_files(from, &to));
        self.world.begin().await;
    }
}

fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().starts_with("vault.db") {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// Waits for what will be soon.
macro_rules! soon {
    ($what:expr) => {
        let begun = Instant::now();
        while !$what {
            assert!(begun.elapsed() < Duration::from_secs(30), "{} did not come about", stringify!($what));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
}

/// A witness that knows the chain of `kit`, and the policy that asks for it.
fn witness(stage: &Stage, at: SocketAddr) -> (Witness, Policy) {
    let mut desk = Desk::new("witness.example/w", SigningKey::generate(&SeededEntropy::new(40)));
    desk.know(NoteKey::new("prod/kit", stage.key.key().public()).unwrap());
    let policy = policy(&desk, at);
    (Witness::new(desk), policy)
}

fn policy(desk: &Desk, at: SocketAddr) -> Policy {
    let text = format!("witness W {} http://{at}/w\nquorum W\n", desk.vkey());
    Policy::read(text.as_bytes()).unwrap()
}

async fn served(stage: &Stage) -> (Witness, Policy, Server) {
    let at = free();
    let (witness, policy) = witness(stage, at);
    let server = witness.serve(at).await;
    (witness, policy, server)
}

fn whole(noted: &Noted) -> String {
    noted.cosigned.iter().fold(noted.note.clone(), |note, line| note + line + "\n")
}

#[tokio::test]
async fn a_witness_cosigns_each_checkpoint_and_the_store_keeps_it() {
    let mut stage = Stage::new().await;
    let (witness, policy, _server) = served(&stage).await;
    stage.ask(&policy).await;
    for (entries, answers) in [(3, &[200][..]), (1, &[200, 200]), (40, &[200, 200, 200])] {
        let made = stage.checkpoint(entries).await;
        soon!(stage.is_cosigned().await);
        let noted = stage.noted().await;
        assert_eq!((noted.seq, noted.cosigned.len()), (made.seq, 1));
        checkpoint::open(&whole(&noted), &noted.cert, &stage.world.keys.identity.public()).unwrap();
        assert!(policy.judge(&Note::read(&whole(&noted)).unwrap()).met);
        // The chain's own line was not asked about before, so that the first request of a process asks.
        assert_eq!(witness.answered(), answers);
    }
    assert_eq!((stage.metric("sink_well"), stage.metric("sink_failures_total")), (Some(1), Some(0)));
    // Another process does not know what the witness has, and hears it.
    stage.rest().await;
    stage.checkpoint(5).await;
    assert!(!stage.is_cosigned().await);
    stage.ask(&policy).await;
    soon!(stage.is_cosigned().await);
    assert_eq!(witness.answered(), [200, 200, 200, 409, 200]);
    // A checkpoint that is cosigned is not shown again.
    stage.ask(&policy).await;
    stage.rest().await;
    assert_eq!(witness.answered().len(), 5);
}

#[tokio::test]
async fn an_answer_that_was_lost_is_asked_for_again() {
    let mut stage = Stage::new().await;
    let (witness, policy, _server) = served(&stage).await;
    let noted = stage.checkpoint(2).await;
    let request = nockvault::audit::witness::AddCheckpoint { old: 0, proof: vec![], note: noted.note };
    assert_eq!(witness.desk.lock().unwrap().add_checkpoint(&request.write()).0, 200);
    stage.ask(&policy).await;
    soon!(stage.is_cosigned().await);
    assert_eq!(witness.answered(), [409, 200]);
}

#[tokio::test]
async fn a_witness_that_lies_is_not_believed_and_seen() {
    let mut stage = Stage::new().await;
    let at = free();
    let (mut witness, policy) = witness(&stage, at);
    witness.lies = true;
    let _server = witness.serve(at).await;
    stage.ask(&policy).await;
    stage.checkpoint(2).await;
    soon!(stage.metric("sink_failures_total") >= Some(2));
    assert!(!stage.is_cosigned().await);
    assert_eq!(stage.metric("sink_well"), Some(0));
}

#[tokio::test]
async fn a_witness_that_is_down_delays_nobody_and_is_caught_up_with() {
    let mut stage = Stage::new().await;
    let at = free();
    let (witness, policy) = witness(&stage, at);
    stage.ask(&policy).await;
    stage.checkpoint(2).await;
    soon!(stage.metric("sink_well") == Some(0));
    // The vault goes on, and only its newest checkpoint is asked for when the witness is back.
    stage.world.issue(&stage.kit, "s1").await.unwrap();
    let newest = stage.checkpoint(3).await;
    let server = witness.serve(at).await;
    soon!(stage.is_cosigned().await);
    assert_eq!(stage.noted().await.seq, newest.seq);
    soon!(stage.metric("sink_well") == Some(1));
    assert_eq!(witness.answered(), [200]);
    // It goes away between two checkpoints, with the connection, and comes again.
    server.stop().await;
    stage.checkpoint(1).await;
    soon!(stage.metric("sink_well") == Some(0));
    let _server = witness.serve(at).await;
    soon!(stage.is_cosigned().await);
    soon!(stage.metric("sink_well") == Some(1));
}

#[tokio::test]
async fn a_witness_that_does_not_know_the_log_is_no_failure() {
    let mut stage = Stage::new().await;
    let (witness, policy, _server) = served(&stage).await;
    let key = witness.desk.lock().unwrap().logs.remove("prod/kit").unwrap().key;
    stage.ask(&policy).await;
    stage.checkpoint(2).await;
    soon!(witness.answered() == [404]);
    witness.desk.lock().unwrap().know(key);
    stage.checkpoint(2).await;
    soon!(stage.is_cosigned().await);
    assert_eq!((stage.metric("sink_well"), stage.metric("sink_failures_total")), (Some(1), Some(0)));
}

/// The vault's files are put back and the vault goes on: two histories. The witness has seen the other one.
#[tokio::test]
async fn a_witness_tells_a_vault_that_was_put_back() {
    let (mut stage, old) = (Stage::new().await, tempfile::tempdir().unwrap());
    let (witness, policy, _server) = served(&stage).await;
    stage.copy(old.path()).await;
    stage.ask(&policy).await;
    let seen = stage.checkpoint(6).await;
    soon!(stage.is_cosigned().await);
    stage.back(old.path()).await;
    stage.ask(&policy).await;
    // Shorter than what the witness has, then longer, and never again what it was.
    let forked = stage.checkpoint(1).await;
    assert!(forked.seq < seen.seq);
    soon!(stage.metric("sink_set_aside_total") == Some(1));
    // It is asked again as often as something happens, and answers as often.
    let answers = || {
        let mut answers = witness.answered();
        answers.dedup();
        answers
    };
    assert_eq!(answers(), [200, 409]);
    stage.rest().await;
    let forked = stage.checkpoint(9).await;
    assert!(forked.seq > seen.seq);
    stage.ask(&policy).await;
    soon!(stage.metric("sink_set_aside_total") == Some(1));
    assert_eq!(answers()[..3], [200, 409, 422]);
    assert_eq!(stage.metric("sink_well"), Some(0));
    assert!(!stage.is_cosigned().await);
    // Agents are served: it is not for a witness to stop a vault.
    stage.world.hello(&stage.kit, "s1").await.unwrap();
}

#[tokio::test]
async fn a_folder_holds_the_newest_and_is_not_overwritten_by_another_history() {
    let (mut stage, old, keep) = (Stage::new().await, tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (file, place) = (keep.path().join("kit.checkpoint"), format!("dir:{}", keep.path().display()));
    let lies = || fs::read_to_string(&file).unwrap_or_default();
    stage.copy(old.path()).await;
    stage.deliver_to(&place).await;
    for entries in [3, 1, 20] {
        let noted = stage.checkpoint(entries).await;
        soon!(lies() == whole(&noted));
    }
    // What witnesses sign later is delivered too.
    let line = "\u{2014} witness.example/w AAAAAAAA".to_owned();
    let chain = "kit".parse().unwrap();
    let newest = stage.noted().await;
    stage.world.store().cosign(&chain, newest.seq, std::slice::from_ref(&line)).await.unwrap();
    soon!(lies() == format!("{}{line}\n", newest.note));
    assert_eq!(stage.metric("sink_failures_total"), Some(0));

    let kept = lies();
    stage.back(old.path()).await;
    for entries in [2, 40] {
        stage.deliver_to(&place).await;
        stage.checkpoint(entries).await;
        soon!(stage.metric("sink_set_aside_total") == Some(1));
        assert_eq!((lies(), stage.metric("sink_well")), (kept.clone(), Some(0)));
    }
    // Once somebody has taken the evidence away, the place is well again.
    fs::rename(&file, keep.path().join("evidence")).unwrap();
    let newest = stage.noted().await;
    soon!(lies() == whole(&newest));
    assert_eq!(fs::read_dir(keep.path()).unwrap().count(), 2);
}

#[tokio::test]
async fn a_file_that_is_no_checkpoint_is_left_alone() {
    let (mut stage, keep) = (Stage::new().await, tempfile::tempdir().unwrap());
    let file = keep.path().join("kit.checkpoint");
    fs::write(&file, "mine").unwrap();
    stage.deliver_to(&format!("dir:{}", keep.path().display())).await;
    stage.checkpoint(2).await;
    soon!(stage.metric("sink_set_aside_total") == Some(1));
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}

#[tokio::test]
async fn a_folder_that_is_not_mounted_is_waited_for() {
    let (mut stage, keep) = (Stage::new().await, tempfile::tempdir().unwrap());
    let folder = keep.path().join("mount");
    stage.deliver_to(&format!("dir:{}", folder.display())).await;
    let noted = stage.checkpoint(2).await;
    soon!(stage.metric("sink_well") == Some(0));
    assert!(!folder.exists());
    fs::create_dir(&folder).unwrap();
    soon!(fs::read_to_string(folder.join("kit.checkpoint")).unwrap_or_default() == noted.note);
    soon!(stage.metric("sink_well") == Some(1));
}

/// Who has the folder can stop what he gets of one chain, and is seen; the others come, and nothing is waited for.
#[tokio::test]
async fn a_folder_that_takes_one_chain_ill_gets_the_others() {
    let (mut stage, keep) = (Stage::new().await, tempfile::tempdir().unwrap());
    for chain in ["_operators", "_vault"] {
        let made = stage.world.store().checkpoint(&chain.parse().unwrap(), Arc::clone(&stage.key)).await;
        made.unwrap().unwrap();
    }
    fs::create_dir(keep.path().join("_operators.checkpoint~new")).unwrap();
    let pipe = keep.path().join("_vault.checkpoint");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    stage.deliver_to(&format!("dir:{}", keep.path().display())).await;
    for entries in [2, 3] {
        let noted = stage.checkpoint(entries).await;
        soon!(fs::read_to_string(keep.path().join("kit.checkpoint")).unwrap_or_default() == noted.note);
    }
    assert_eq!(stage.metric("sink_well"), Some(0));
    let begun = Instant::now();
    stage.follower.take().unwrap().stop(Duration::from_secs(20)).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_endpoint_is_sent_each_checkpoint_until_it_takes_it() {
    let mut stage = Stage::new().await;
    let keep = Keep::default();
    let server = keep.serve().await;
    for (place, name) in [("notes", "prod/kit"), ("notes/", "kit.checkpoint")] {
        stage.deliver_to(&format!("http://{}/{place}", server.at)).await;
        let noted = stage.checkpoint(3).await;
        soon!(keep.note(name).as_ref() == Some(&noted.note));
    }
    assert_eq!(stage.metric("sink_well"), Some(1));
    *keep.answers.lock().unwrap() = Some(503);
    let noted = stage.checkpoint(1).await;
    soon!(stage.metric("sink_well") == Some(0));
    *keep.answers.lock().unwrap() = None;
    soon!(keep.note("kit.checkpoint").as_ref() == Some(&noted.note));
    *keep.answers.lock().unwrap() = Some(409);
    stage.checkpoint(1).await;
    soon!(stage.metric("sink_set_aside_total") == Some(1));
}

/// What is under way when the vault stops is delivered still, and a place that does not answer is not waited for.
#[tokio::test]
async fn the_last_checkpoint_is_delivered_at_the_end() {
    let mut stage = Stage::new().await;
    let (witness, policy, server) = served(&stage).await;
    stage.ask(&policy).await;
    stage.checkpoint(2).await;
    stage.rest().await;
    assert!(stage.is_cosigned().await);
    assert_eq!(witness.answered(), [200]);
    server.stop().await;
    let hole = std::net::TcpListener::bind(ANYWHERE).unwrap();
    stage.deliver_to(&format!("http://{}/", hole.local_addr().unwrap())).await;
    stage.checkpoint(2).await;
    let begun = Instant::now();
    stage.follower.take().unwrap().stop(Duration::from_millis(300)).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
