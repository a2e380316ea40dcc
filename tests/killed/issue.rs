//! Killed while it issues.

use nockvault::client::fault::Fault;
use nockvault::denial::Reason;
use nockvault::time::Seconds;

use crate::stage::{Backend, Stage, Story, ask};

/// What a kill at a step of the issuance leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    /// Nothing: the same bytes are good once more.
    Nothing,
    /// An intent, which becomes a denial of this reason; and at the backend, as it stands then, this.
    Intent(Reason, &'static str),
    /// A live lease.
    Lease,
}

const STEPS: &[(&str, Leaves)] = &[
    ("issue: decided", Leaves::Nothing),
    ("issue: intended", Leaves::Intent(Reason::Interrupted, "absent")),
    // Its transaction is open then, and ends with its connection.
    ("postgres: made", Leaves::Intent(Reason::Interrupted, "absent")),
    ("issue: minted", Leaves::Intent(Reason::Interrupted, "revoked")),
    ("issue: committed", Leaves::Lease),
];

fn story(words: &[&str]) -> Story {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Kills the daemon at a step of one issuance, under a grant that can be used once.
async fn killed(stage: &mut Stage, step: &str, backend: Backend, leaves: Leaves) {
    let role = stage.role(Some(1)).await;
    stage.arm(step);
    let session = stage.session();
    let asking = (session.clone(), ask(&role));
    let answer = stage.kill_at(step, backend, async move { asking.0.request(&asking.1).await.map(drop) }).await;
    let Err(Fault::NoAnswer { req, .. }) = answer else { panic!("{step}: {answer:?}") };
    let sent = stage.signed();
    assert_eq!(req, sent.digest());

    match leaves {
        Leaves::Nothing => {
            stage.back(backend, false).await;
            stage.again(&sent).await.unwrap();
            session.release_unanswered(req).await.unwrap();
        }
        Leaves::Intent(..) => {
            assert_eq!(stage.again(&sent).await, Err("replay".into()), "{step}");
            // The intent opened no session, so that there is none to release anything in.
            let fault = session.release_unanswered(req).await.unwrap_err();
            assert_eq!(fault.reason(), Some(Reason::SessionUnknown), "{step}: {fault}");
            stage.back(backend, true).await;
        }
        Leaves::Lease => {
            assert_eq!(stage.again(&sent).await, Err("replay".into()), "{step}");
            session.release_unanswered(req).await.unwrap();
            stage.back(backend, true).await;
        }
    }
    stage.settle().await;

    // The use of what came to nothing was given back; that of what was given was not.
    let after = session.request(&ask(&role)).await;
    let given = ["issue", "release", "undone revoked"];
    let told = match leaves {
        Leaves::Intent(reason, found) => {
            session.release(&after.unwrap().hdr.lease).await.unwrap();
            stage.settle().await;
            let denied = [format!("deny {}", reason.code()), format!("undone {found}")];
            vec![denied.to_vec(), story(&given)]
        }
        _ => {
            assert_eq!(after.unwrap_err().reason(), Some(Reason::GrantExhausted), "{step}");
            vec![story(&given)]
        }
    };
    assert_eq!(stage.told(&role).await, told, "{step}");
}

/// Kills the daemon where the backend was down already and the intent has been given up.
async fn abandoned(stage: &mut Stage, backend: Backend) {
    let step = "issue: abandoned";
    let role = stage.role(Some(1)).await;
    stage.arm(step);
    stage.server.stop();
    let session = stage.session();
    let asking = (session.clone(), ask(&role));
    let answer = stage.kill_at(step, Backend::Down, async move { asking.0.request(&asking.1).await.map(drop) }).await;
    assert!(matches!(answer, Err(Fault::NoAnswer { .. })), "{answer:?}");
    assert_eq!(stage.again(&stage.signed()).await, Err("replay".into()));
    stage.back(Backend::Down, backend == Backend::Down).await;
    stage.settle().await;
    let lease = session.request(&ask(&role).ttl(Seconds(60))).await.unwrap().hdr.lease;
    session.release(&lease).await.unwrap();
    stage.settle().await;
    let denied = story(&["deny engine_unavailable", "undone absent"]);
    assert_eq!(stage.told(&role).await, [denied, story(&["issue", "release", "undone revoked"])]);
}

async fn each_step(backend: Backend) {
    let mut stage = Stage::new().await;
    for (step, leaves) in STEPS {
        killed(&mut stage, step, backend, *leaves).await;
    }
    abandoned(&mut stage, backend).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_kill_at_any_step_of_an_issuance_with_the_backend_up() {
    each_step(Backend::Up).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_kill_at_any_step_of_an_issuance_with_the_backend_down() {
    each_step(Backend::Down).await;
}
