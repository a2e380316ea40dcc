//! The end in order. The first SIGTERM or SIGINT begins it: health says so, no connection is accepted any more, the
//! requests in hand get [`crate::config::Limits::drain_s`] to finish, the vault writes down that it stops, the process
//! ends with 0. A second signal ends it at once, which is safe like any crash.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::admission::Admission;

/// How long the last answers may take to reach the network once no request is in hand.
const FLUSH: Duration = Duration::from_millis(500);

/// Listens for SIGTERM and SIGINT. The first cancels `stop`; the second ends the process with `second`.
///
/// # Errors
/// The system does not let signals be listened for.
pub fn on_signals(stop: CancellationToken, second: i32) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let name = either(&mut terminate, &mut interrupt).await;
        tracing::info!(signal = name, "stopping; a second signal stops at once");
        stop.cancel();
        let name = either(&mut terminate, &mut interrupt).await;
        tracing::warn!(signal = name, "stopped at once");
        std::process::exit(second);
    });
    Ok(())
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// Waits until all listeners are done, or no request is in hand and the last answers are out, or `within` is over. A
/// connection that is merely open, as one that watches health is, holds nobody up.
pub(super) async fn drain<T: 'static>(listeners: &mut JoinSet<T>, admissions: &[Admission], within: Duration) {
    let idle = async {
        for admission in admissions {
            admission.idle().await;
        }
        tokio::time::sleep(FLUSH).await;
    };
    let done = async { while listeners.join_next().await.is_some() {} };
    tokio::select! {
        () = done => {}
        () = idle => {}
        () = tokio::time::sleep(within) => {
            tracing::warn!(?within, "requests were still in hand and are given up; what they may have changed is undone");
        }
    }
    listeners.shutdown().await;
}
