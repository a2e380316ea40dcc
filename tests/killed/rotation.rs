//! Killed while it exchanges its own password at the server.

use nockvault::statement::role::RoleRotate;

use crate::stage::{Backend, Stage, ask};

/// The steps of a rotation, and whether the server has taken the new password.
const STEPS: &[&str] = &["rotate: settled", "operate: carried", "rotate: taken"];

/// Kills the daemon at a step of a rotation; whichever password the server has then, the vault is let in.
async fn killed(stage: &mut Stage, step: &str, backend: Backend) {
    let role = stage.role(None).await;
    let session = stage.session();
    let before = session.request(&ask(&role)).await.unwrap().hdr.lease;
    stage.arm(step);
    let operator = stage.operator().await;
    let order = RoleRotate { role: role.clone() };
    let answer = stage.kill_at(step, backend, async move { operator.command(order).await }).await;
    assert!(answer.is_err(), "{step}: {answer:?}");
    session.release(&before).await.unwrap();
    stage.back(backend, true).await;
    stage.settle().await;
    let after = session.request(&ask(&role)).await.unwrap().hdr.lease;
    session.release(&after).await.unwrap();
    stage.settle().await;
    assert_eq!(stage.told(&role).await, [["issue", "release", "undone revoked"]; 2], "{step}");
}

async fn each_step(backend: Backend) {
    let mut stage = Stage::new().await;
    for step in STEPS {
        // Twice: what the first leaves is what the second begins with.
        killed(&mut stage, step, backend).await;
        killed(&mut stage, step, backend).await;
    }
    let role = stage.role(None).await;
    assert_eq!(stage.command(RoleRotate { role }).await["rotated"], true);
    let first = stage.server.client(crate::server::ADMIN, stage.server.admin_password()).await;
    assert!(first.is_err(), "the first password is still good");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_kill_at_any_step_of_a_rotation_locks_nobody_out() {
    each_step(Backend::Up).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_kill_at_any_step_of_a_rotation_locks_nobody_out_with_the_backend_down() {
    each_step(Backend::Down).await;
}
