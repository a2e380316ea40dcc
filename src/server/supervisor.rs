//! Whoever supervises the daemon is told how it is, in the way of systemd (`sd_notify(3)`): `READY=1` once it serves,
//! `STATUS=` with where it can be reached, `STOPPING=1` when its end begins, and, where it asks for it (`WatchdogSec=`),
//! that the daemon still runs. Where nobody supervises, nothing is said, and nothing here is needed.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

/// The daemon serves. From here on the supervisor hears that it lives, and, when `stop` is cancelled, that it stops.
/// Called in a runtime.
pub fn ready(status: &str, stop: CancellationToken) {
    say(&[NotifyState::Ready, NotifyState::Status(status)]);
    // Two signs of life in each period, so that one may be late.
    let sign = sd_notify::watchdog_enabled().map(|period| (period / 2).max(Duration::from_millis(1)));
    tokio::spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = live(sign) => {}
        }
        say(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
        // The end takes its time, and is bounded otherwise.
        live(sign).await;
    });
}

/// What the daemon is doing, for `systemctl status`.
pub fn status(status: &str) {
    say(&[NotifyState::Status(status)]);
}

async fn live(sign: Option<Duration>) {
    let Some(period) = sign else { return std::future::pending().await };
    let mut ticks = tokio::time::interval(period);
    loop {
        ticks.tick().await;
        say(&[NotifyState::Watchdog]);
    }
}

fn say(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the supervisor could not be told");
    }
}
