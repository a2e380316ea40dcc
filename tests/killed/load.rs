//! Killed while much is under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nockvault::client::agent::{Agent, Session};
use nockvault::client::fault::{Fault, Untrusted};
use nockvault::crypto::hash::Digest;
use nockvault::denial::Reason;
use nockvault::id::RoleName;
use nockvault::statement::lease::{LeaseRevoke, Scope, Which};
use nockvault::time::Seconds;

use crate::stage::{Backend, Stage, ask};

/// More leases than one transaction takes back.
const LEASES: usize = 104;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_kill_in_the_middle_of_a_large_revocation_leaves_the_rest_to_the_next_start() {
    let mut stage = Stage::new().await;
    let role = stage.role(None).await;
    let session = stage.session();
    for _ in 0..LEASES / 8 {
        let asked = (0..8).map(|_| {
            let (session, ask) = (session.clone(), ask(&role));
            tokio::spawn(async move { session.request(&ask).await })
        });
        for one in asked.collect::<Vec<_>>() {
            one.await.unwrap().unwrap();
        }
    }
    let step = "operate: carried";
    stage.arm(step);
    let operator = stage.operator().await;
    let order = LeaseRevoke { reason: None, scope: Scope::Role(role.clone()) };
    let answer = stage.kill_at(step, Backend::Down, async move { operator.command(order).await }).await;
    assert!(answer.is_err(), "{answer:?}");
    stage.back(Backend::Down, true).await;
    stage.until("the rest lives on", async |stage| stage.leases(Which::Live).await.is_empty()).await;
    stage.settle().await;
    assert_eq!(stage.told(&role).await, vec![["issue", "revoke pending", "undone revoked"]; LEASES]);
}

/// Asks for leases, and keeps, renews or releases them, until no answer comes. Gives the request for a lease whose
/// answer was lost.
async fn busy(session: Session, role: RoleName, issued: Arc<AtomicUsize>) -> Option<Digest> {
    for turn in 0.. {
        let lease = match session.request(&ask(&role).ttl(Seconds(3))).await {
            Ok(credential) => credential.hdr.lease,
            Err(Fault::NoAnswer { req, .. }) => return Some(req),
            Err(fault) if too_late(&fault) => continue,
            Err(fault) => panic!("{fault}"),
        };
        issued.fetch_add(1, Ordering::Relaxed);
        let gone = match turn % 3 {
            0 => Ok(()),
            1 => session.renew(&lease, Seconds(4)).await.map(drop),
            _ => session.release(&lease).await,
        };
        match gone {
            Ok(()) => {}
            Err(Fault::NoAnswer { .. }) => return None,
            Err(fault) if too_late(&fault) => {}
            Err(fault) => panic!("{fault}"),
        }
    }
    None
}

/// Whether the answer came when the lease was over, as on a machine that is busy with other things.
fn too_late(fault: &Fault) -> bool {
    let over = [Some(Reason::LeaseEnded), Some(Reason::EngineUnavailable)].contains(&fault.reason());
    over || matches!(fault, Fault::Untrusted(Untrusted::OtherTerms { member: "exp" }))
}

/// Gives back what a lost answer may have held.
async fn give_back(session: &Session, req: Digest) {
    match session.release_unanswered(req).await {
        Ok(_) => {}
        Err(fault) => {
            let none = [Some(Reason::LeaseUnknown), Some(Reason::LeaseEnded), Some(Reason::SessionUnknown)];
            assert!(none.contains(&fault.reason()), "{fault}");
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);

async fn round(stage: &mut Stage, agents: &[Agent], role: &RoleName) {
    let sessions: Vec<Session> = agents.iter().map(|agent| agent.session("busy").unwrap()).collect();
    let issued = Arc::new(AtomicUsize::new(0));
    let work = |session: &Session| tokio::spawn(busy(session.clone(), role.clone(), Arc::clone(&issued)));
    let working: Vec<_> = sessions.iter().map(work).collect();
    let begin = Instant::now();
    while begin.elapsed() < SECOND || issued.load(Ordering::Relaxed) < 2 * agents.len() {
        assert!(begin.elapsed() < 20 * SECOND, "nothing was under way");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    stage.vault.kill();
    let mut lost = Vec::new();
    for (working, session) in working.into_iter().zip(&sessions) {
        lost.extend(working.await.unwrap().map(|req| (session, req)));
    }
    stage.vault.go_on();
    for (session, req) in lost {
        give_back(session, req).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn kills_under_load_leave_no_orphan_and_lose_no_lease() {
    let mut stage = Stage::new().await;
    let role = stage.role(None).await;
    let mut agents = vec![stage.kit().clone()];
    for name in ["lea", "max", "zoe"] {
        agents.push(stage.agent(name, &role).await);
    }
    for _ in 0..5 {
        round(&mut stage, &agents, &role).await;
    }
    stage.until("a lease outlives its time", async |stage| stage.leases(Which::Live).await.is_empty()).await;
    stage.settle().await;
}
