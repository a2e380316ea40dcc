//! A freeze while everything is busy, with the real daemon and a real PostgreSQL: when the command has been answered
//! nothing more is issued, and within seconds nothing that was issued works any more; whoever was not meant goes on.

#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod programs;
#[path = "postgres/server.rs"]
mod server;
#[path = "killed/stage.rs"]
mod stage;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nockvault::client::agent::{Agent, Credential, Session};
use nockvault::denial::Reason;
use nockvault::id::RoleName;
use nockvault::statement::lease::Which;
use tokio::task::JoinHandle;

use stage::{Stage, ask};

/// How many ask at once in one agent's name.
const ASKING: usize = 3;

/// Within this time nothing that was issued works any more.
const SECONDS: Duration = Duration::from_secs(5);

/// What one asker came to: its credentials with the instant at which each was asked for, its refusals likewise.
#[derive(Default)]
struct Came {
    credentials: Vec<(Instant, Credential)>,
    refused: Vec<(Instant, Reason)>,
}

/// Asks until it is told to stop, and goes on when it is refused.
fn asking(session: Session, role: RoleName, stop: Arc<AtomicBool>) -> JoinHandle<Came> {
    tokio::spawn(async move {
        let mut came = Came::default();
        while !stop.load(Ordering::Acquire) {
            let asked = Instant::now();
            match session.request(&ask(&role)).await {
                Ok(credential) => came.credentials.push((asked, credential)),
                Err(fault) => {
                    let reason = fault.reason().unwrap_or_else(|| panic!("{fault}"));
                    came.refused.push((asked, reason));
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        came
    })
}

/// Several askers in one agent's name.
struct Busy(Vec<JoinHandle<Came>>);

impl Busy {
    fn begin(agent: &Agent, session: Option<&Session>, role: &RoleName, stop: &Arc<AtomicBool>) -> Busy {
        let session = || session.cloned().unwrap_or_else(|| agent.session("busy").unwrap());
        Busy((0..ASKING).map(|_| asking(session(), role.clone(), Arc::clone(stop))).collect())
    }

    async fn end(self) -> Came {
        let mut all = Came::default();
        for asker in self.0 {
            let Came { credentials, refused } = asker.await.unwrap();
            all.credentials.extend(credentials);
            all.refused.extend(refused);
        }
        all
    }
}

impl Came {
    /// Held against a freeze that was answered at `frozen`, of which requests are told `reason`.
    fn ended(&self, frozen: Instant, reasons: &[Reason]) {
        assert!(!self.credentials.is_empty(), "nothing was issued before the freeze");
        let late = self.credentials.iter().filter(|(asked, _)| *asked > frozen).count();
        assert_eq!(late, 0, "something was issued for a request of after the freeze");
        let after: Vec<_> = self.refused.iter().filter(|(asked, _)| *asked > frozen).collect();
        assert!(!after.is_empty(), "nobody asked after the freeze");
        for (_, reason) in after {
            assert!(reasons.contains(reason), "{reason:?}");
        }
    }

    /// Held against a freeze that meant others.
    fn went_on(&self, frozen: Instant) {
        assert_eq!(self.refused, [], "somebody was refused whom the freeze did not mean");
        assert!(self.credentials.iter().any(|(asked, _)| *asked > frozen), "nobody asked after the freeze");
    }
}

async fn let_in(stage: &Stage, credential: &Credential) -> bool {
    let [user, password] = ["username", "password"].map(|member| credential.secret.expose(member).unwrap());
    stage.server.client(user, password).await.is_ok()
}

/// Waits until none of these logins is let in any more, and the connection that one of them had is cut.
async fn over(stage: &Stage, came: &Came, open: &tokio_postgres::Client, frozen: Instant) {
    let mut left: Vec<&Credential> = came.credentials.iter().map(|(_, credential)| credential).collect();
    loop {
        let mut still = Vec::new();
        for credential in left {
            if let_in(stage, credential).await {
                still.push(credential);
            }
        }
        left = still;
        if left.is_empty() && open.simple_query("SELECT 1").await.is_err() {
            return;
        }
        assert!(frozen.elapsed() < SECONDS, "{} logins are still let in", left.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Freezes by this command while kit and another agent ask for `role`, and sees that kit has nothing any more, and the
/// other neither where it is `meant` too.
async fn freeze(stage: &Stage, others: &Agent, role: &RoleName, command: &[&str], meant: bool, reasons: &[Reason]) {
    let session = stage.session();
    let first = session.request(&ask(role)).await.unwrap();
    let [user, password] = ["username", "password"].map(|member| first.secret.expose(member).unwrap().to_owned());
    let open = stage.server.client(&user, &password).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let kits = Busy::begin(stage.kit(), Some(&session), role, &stop);
    let theirs = Busy::begin(others, None, role, &stop);
    tokio::time::sleep(Duration::from_millis(700)).await;

    let sid = format!("kit/{}", session.sid());
    let command: Vec<&str> = command.iter().map(|word| if *word == "SESSION" { &sid } else { *word }).collect();
    let (vault, reason) = (&stage.vault, ["--reason", "keys seen on a forum"]);
    tokio::task::block_in_place(|| vault.vaultctl(&[&["freeze"], &command[..], &reason].concat()).ok());
    let frozen = Instant::now();
    tokio::time::sleep(Duration::from_millis(700)).await;
    stop.store(true, Ordering::Release);
    let (mut kits, theirs) = (kits.end().await, theirs.end().await);
    kits.credentials.push((frozen - SECONDS, first));

    kits.ended(frozen, reasons);
    over(stage, &kits, &open, frozen).await;
    if meant {
        theirs.ended(frozen, reasons);
        over(stage, &theirs, &open, frozen).await;
        assert_eq!(stage.leases(Which::Live).await.len(), 0);
    } else {
        theirs.went_on(frozen);
        for (_, credential) in &theirs.credentials {
            assert!(let_in(stage, credential).await, "what another has was taken too");
        }
    }
    // The chains say the same: no entry of an issuance stands where it may not.
    stage.settle().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_freeze_under_load_lets_nothing_through_once_it_was_answered() {
    let mut stage = Stage::new().await;
    let role = stage.role(None).await;
    let ida = stage.agent("ida", &role).await;
    let name = role.as_str().to_owned();
    freeze(&stage, &ida, &role, &["kit"], false, &[Reason::AgentFrozen]).await;
    stage.vault.vaultctl(&["thaw", "kit"]).ok();
    freeze(&stage, &ida, &role, &["--session", "SESSION"], false, &[Reason::SessionEnded]).await;
    freeze(&stage, &ida, &role, &["--role", &name], true, &[Reason::RoleFrozen]).await;
    stage.vault.vaultctl(&["thaw", "--role", &name]).ok();
    freeze(&stage, &ida, &role, &["--everything"], true, &[Reason::VaultFrozen]).await;
    stage.vault.vaultctl(&["thaw", "--everything"]).ok();
    // Who was frozen gets something again, and nothing of before has come back.
    stage.session().request(&ask(&role)).await.unwrap();
    assert_eq!(stage.leases(Which::Live).await.len(), 1);
    stage.settle().await;
}
