//! What stands around the vault, as the daemon tells it of itself: who gets the trail, the listeners' certificate, the walls.
//! A vault that nobody serves has none of it.

use super::super::Vault;
use super::rows::{Rows, State};
use super::{ends, names};
use crate::telemetry::{SinkSeen, Telemetry};
use crate::time::Timestamp;

/// A sink that has more left to carry is behind.
const LAG_WARN: u64 = 10_000;
const WALLS: [&str; 3] = ["mlock", "landlock", "seccomp"];

impl Vault {
    pub(super) fn examine_outside(&self, now: Timestamp, rows: &mut Rows) {
        self.measure(|telemetry| {
            examine_sinks(&telemetry.sinks(), rows);
            examine_tls(telemetry, now, rows);
            examine_walls(telemetry, rows);
        });
    }
}

fn examine_sinks(sinks: &[SinkSeen], rows: &mut Rows) {
    let ill = |sink: &&SinkSeen| !sink.well || sink.set_aside > 0;
    let said = |sink: &SinkSeen| match sink {
        SinkSeen { name, well: false, .. } => format!("{name} fails"),
        SinkSeen { name, set_aside: 1.., .. } => format!("{name} has a chain otherwise than the store"),
        SinkSeen { name, lag, .. } => format!("{name} has {lag} entries to carry"),
    };
    let bad: Vec<String> = sinks.iter().filter(ill).map(said).collect();
    let behind: Vec<String> = sinks.iter().filter(|sink| sink.lag > LAG_WARN).map(said).collect();
    let (state, found) = match (sinks.is_empty(), bad.is_empty(), behind.is_empty()) {
        (true, ..) => (State::Warn, "nobody outside gets the trail or its checkpoints".to_owned()),
        (_, false, _) => (State::Bad, names::some(&bad)),
        (_, _, false) => (State::Warn, names::some(&behind)),
        _ => (State::Ok, names::some(&sinks.iter().map(|sink| sink.name.to_owned()).collect::<Vec<_>>())),
    };
    let what = if sinks.is_empty() {
        "name places or witnesses under [checkpoints], or a mirror under [audit], that the vault cannot write again"
    } else {
        "look into the daemon's log for why; the manual says under \"The trail outside\" what each does"
    };
    rows.add("sinks", state, found, what);
}

fn examine_tls(telemetry: &Telemetry, now: Timestamp, rows: &mut Rows) {
    let own = ["tls", "tls_ca"].into_iter().filter_map(|of| Some((of, telemetry.certificate_ends(of)?)));
    let (state, found) = match own.min_by_key(|(_, end)| *end) {
        Some(("tls", end)) => (ends(end, now), format!("the listeners' certificate ends {end}")),
        Some((_, end)) => (ends(end, now), format!("the authority of the listeners' certificate ends {end}")),
        None => (State::Ok, "no certificate".to_owned()),
    };
    rows.add("tls", state, found, "put a new certificate where [tls] says, and restart the daemon");
}

fn examine_walls(telemetry: &Telemetry, rows: &mut Rows) {
    let those = |standing: bool| -> Vec<String> {
        let such = |wall: &&'static str| telemetry.wall_stands(wall) == Some(standing);
        WALLS.into_iter().filter(such).map(str::to_owned).collect()
    };
    let missing = those(false);
    let (state, found) = match missing.is_empty() {
        true => (State::Ok, names::some(&those(true))),
        false => (State::Warn, format!("not there: {}", names::some(&missing))),
    };
    rows.add("walls", state, found, "the daemon's log says at its start why, and what to do");
}
