//! Killed while a lease is renewed, ends, or is undone.

use nockvault::client::agent::{Credential, Session};
use nockvault::client::fault::Fault;
use nockvault::denial::Reason;
use nockvault::id::RoleName;
use nockvault::statement::grant::GrantRevoke;
use nockvault::statement::lease::{LeaseRevoke, Scope};
use nockvault::time::{Seconds, Timestamp};

use crate::stage::{Backend, Stage, ask, kit};

/// A live lease, in a daemon that stands still at `step` when it comes there.
async fn lease(stage: &mut Stage, step: &str, ttl: u64) -> (RoleName, Session, Credential) {
    let role = stage.role(None).await;
    stage.arm(step);
    let session = stage.session();
    let credential = session.request(&ask(&role).ttl(Seconds(ttl))).await.unwrap();
    (role, session, credential)
}

async fn expires(stage: &Stage, credential: &Credential) -> Timestamp {
    Timestamp(stage.lease(&credential.hdr.lease).await["expires"].as_u64().unwrap())
}

/// Until when the server lets a role in.
async fn valid_until(stage: &Stage, credential: &Credential) -> u64 {
    let handle = stage.lease(&credential.hdr.lease).await["handle"].as_str().unwrap().to_owned();
    let look =
        format!("SELECT (extract(epoch FROM rolvaliduntil) * 1000)::bigint FROM pg_roles WHERE rolname = '{handle}'");
    stage.server.sql(&look).await[0][0].parse().unwrap()
}

fn lost<T: std::fmt::Debug>(step: &str, answer: Result<T, Fault>) {
    assert!(matches!(answer, Err(Fault::NoAnswer { .. })), "{step}: {answer:?}");
}

/// The server bears a role for longer than its lease: the lease ends when it would have.
async fn renewal_prolonged(stage: &mut Stage, backend: Backend) {
    let step = "renew: prolonged";
    let (role, session, credential) = lease(stage, step, 5).await;
    let id = credential.hdr.lease.clone();
    lost(step, stage.kill_at(step, backend, async move { session.renew(&id, Seconds(600)).await }).await);
    assert_eq!(expires(stage, &credential).await, credential.hdr.exp);
    if backend == Backend::Up {
        assert!(valid_until(stage, &credential).await > credential.hdr.exp.plus(Seconds(500)).0);
    }
    stage.back(backend, true).await;
    stage
        .until("it did not expire", async |stage| stage.lease(&credential.hdr.lease).await["state"] == "expired")
        .await;
    stage.settle().await;
    assert_eq!(stage.told(&role).await, [["issue", "expire pending", "undone revoked"]]);
}

async fn renewal_committed(stage: &mut Stage, backend: Backend) {
    let step = "renew: committed";
    let (role, session, credential) = lease(stage, step, 60).await;
    let renewing = (session.clone(), credential.hdr.lease.clone());
    lost(step, stage.kill_at(step, backend, async move { renewing.0.renew(&renewing.1, Seconds(600)).await }).await);
    assert_eq!(stage.again(&stage.signed()).await, Err("replay".into()));
    let until = expires(stage, &credential).await;
    assert!(until > credential.hdr.exp.plus(Seconds(500)), "{until}");
    session.release(&credential.hdr.lease).await.unwrap();
    stage.back(backend, true).await;
    stage.settle().await;
    assert_eq!(stage.told(&role).await, [["issue", "renew", "release", "undone revoked"]]);
}

/// Two leases of a session that is closed.
async fn closed(stage: &mut Stage, backend: Backend) {
    let step = "close: committed";
    let (role, session, _) = lease(stage, step, 60).await;
    session.request(&ask(&role)).await.unwrap();
    let closing = session.clone();
    lost(step, stage.kill_at(step, backend, async move { closing.close().await }).await);
    assert_eq!(stage.again(&stage.signed()).await, Err("replay".into()));
    assert_eq!(session.request(&ask(&role)).await.unwrap_err().reason(), Some(Reason::SessionEnded));
    stage.back(backend, true).await;
    stage.settle().await;
    assert_eq!(stage.told(&role).await, [["issue", "close", "undone revoked"]; 2]);
}

/// An operator takes a lease back.
async fn revoked(stage: &mut Stage, backend: Backend) {
    let step = "operate: carried";
    let (role, session, credential) = lease_before(stage, step).await;
    let operator = stage.operator().await;
    let scope = Scope::Lease(credential.hdr.lease.clone());
    lost(
        step,
        stage.kill_at(step, backend, async move { operator.command(LeaseRevoke { reason: None, scope }).await }).await,
    );
    let fault = session.renew(&credential.hdr.lease, Seconds(60)).await.unwrap_err();
    assert_eq!(fault.reason(), Some(Reason::LeaseEnded));
    stage.back(backend, true).await;
    stage.settle().await;
    assert_eq!(stage.told(&role).await, [["issue", "revoke pending", "undone revoked"]]);
}

/// As [`lease`], where the step is one that commands come to.
async fn lease_before(stage: &mut Stage, step: &str) -> (RoleName, Session, Credential) {
    let role = stage.role(None).await;
    let session = stage.session();
    let credential = session.request(&ask(&role)).await.unwrap();
    stage.arm(step);
    (role, session, credential)
}

/// An operator takes a grant back, and its leases with it.
async fn ungranted(stage: &mut Stage, backend: Backend) {
    let step = "operate: carried";
    let (role, session, _) = lease_before(stage, step).await;
    let operator = stage.operator().await;
    let order = GrantRevoke { agent: kit(), role: role.clone() };
    lost(step, stage.kill_at(step, backend, async move { operator.command(order).await }).await);
    assert_eq!(session.request(&ask(&role)).await.unwrap_err().reason(), Some(Reason::NoGrant));
    stage.back(backend, true).await;
    stage.settle().await;
    assert_eq!(stage.told(&role).await, [["issue", "revoke pending", "undone revoked"]]);
}

async fn expired(stage: &mut Stage, backend: Backend) {
    let step = "tend: ended";
    let (role, ..) = lease(stage, step, 2).await;
    stage.kill_at(step, backend, async {}).await;
    stage.back(backend, true).await;
    stage.settle().await;
    assert_eq!(stage.told(&role).await, [["issue", "expire pending", "undone revoked"]]);
}

/// The steps after a release; how often it may have to be tried again, and what the last try finds.
const UNDOING: &[(&str, bool, &str)] = &[
    ("release: committed", true, "undone revoked"),
    ("undo: begun", true, "undone revoked"),
    ("postgres: joined", true, "undone revoked"),
    ("postgres: locked out", true, "undone revoked"),
    ("postgres: cleaned", true, "undone revoked"),
    ("undo: revoked", true, "undone absent"),
    ("undo: recorded", false, "undone revoked"),
];

async fn released(stage: &mut Stage, backend: Backend, (step, waits, undone): (&str, bool, &str)) {
    let (role, session, credential) = lease(stage, step, 60).await;
    let releasing = (session.clone(), credential.hdr.lease.clone());
    let answer = stage.kill_at(step, backend, async move { releasing.0.release(&releasing.1).await }).await;
    assert!(matches!(answer, Ok(()) | Err(Fault::NoAnswer { .. })), "{step}: {answer:?}");
    assert_eq!(stage.again(&stage.signed()).await, Err("replay".into()));
    let fault = session.release(&credential.hdr.lease).await.unwrap_err();
    assert_eq!(fault.reason(), Some(Reason::LeaseEnded), "{step}");
    stage.back(backend, waits).await;
    stage.settle().await;
    assert_eq!(stage.told(&role).await, [["issue", "release", undone]], "{step}");
}

async fn each_end(backend: Backend) {
    let mut stage = Stage::new().await;
    let stage = &mut stage;
    renewal_prolonged(stage, backend).await;
    renewal_committed(stage, backend).await;
    closed(stage, backend).await;
    revoked(stage, backend).await;
    ungranted(stage, backend).await;
    expired(stage, backend).await;
    for row in UNDOING {
        released(stage, backend, *row).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_kill_at_any_step_of_a_leases_end_with_the_backend_up() {
    each_end(Backend::Up).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_kill_at_any_step_of_a_leases_end_with_the_backend_down() {
    each_end(Backend::Down).await;
}
