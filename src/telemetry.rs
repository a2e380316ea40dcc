//! The names of logs and metrics. Metrics count by closed sets of words: methods, gRPC codes, reasons. No agent's,
//! operator's or session's name is a label, so that `/metrics` tells a stranger nothing about who there is and grows
//! with nobody. Logs go to standard error; nothing that is logged holds a payload, an envelope or a secret.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::denial::Reason;
use crate::time::Timestamp;

/// The upper bounds of the latency buckets, in seconds: from a signature check to a stuck disk.
const BUCKETS: [f64; 13] = [0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 2.0, 8.0];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Rpc {
    rpc: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answer {
    rpc: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Refusal {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Door {
    listener: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outside {
    sink: &'static str,
}

/// How much there is of what lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alive {
    /// Registered agents.
    pub agents: u64,
    /// Live grants.
    pub grants: u64,
    /// Open sessions.
    pub sessions: u64,
    /// Live leases.
    pub leases: u64,
    /// Leases that ended and are not yet undone at their backends.
    pub undoing: u64,
    /// Chains that do not verify and are set aside.
    pub quarantined: u64,
    /// Data keys, of which all but the newest wait to be deleted.
    pub data_keys: u64,
    /// Rows that an older data key covers.
    pub rows_left: u64,
}

/// The metrics; clones count together.
#[derive(Clone, Debug)]
pub struct Telemetry(Arc<Metrics>);

#[derive(Debug)]
struct Metrics {
    registry: Registry,
    requests: Family<Answer, Counter>,
    seconds: Family<Rpc, Histogram, fn() -> Histogram>,
    refusals: Family<Refusal, Counter>,
    connections: Family<Door, Gauge>,
    turned_away: Family<Door, Counter>,
    agents: Gauge,
    grants: Gauge,
    sessions: Gauge,
    leases: Gauge,
    undoing: Gauge,
    quarantined: Gauge,
    sealed: Gauge,
    data_keys: Gauge,
    rows_left: Gauge,
    sink_well: Family<Outside, Gauge>,
    sink_lag: Family<Outside, Gauge>,
    sink_failures: Family<Outside, Counter>,
    sink_last: Family<Outside, Gauge>,
    sink_aside: Family<Outside, Counter>,
}

impl Metrics {
    fn register_sinks(&mut self) {
        let registry = &mut self.registry;
        registry.register("sink_well", "Whether a sink of the audit trail is well, 1 or 0", self.sink_well.clone());
        registry.register("sink_lag_entries", "Entries that a sink has left to carry", self.sink_lag.clone());
        registry.register("sink_failures", "Tries of a sink that failed", self.sink_failures.clone());
        registry.register(
            "sink_last_success_timestamp_seconds",
            "When a sink carried something last, in seconds since the Unix epoch",
            self.sink_last.clone(),
        );
        registry.register(
            "sink_set_aside",
            "Chains of which a sink had something else than the store has",
            self.sink_aside.clone(),
        );
    }
}

impl Default for Telemetry {
    fn default() -> Telemetry {
        Telemetry::new()
    }
}

impl Telemetry {
    /// Counters at zero.
    #[must_use]
    pub fn new() -> Telemetry {
        let mut metrics = Metrics {
            registry: Registry::with_prefix("nockvault"),
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            refusals: Family::default(),
            connections: Family::default(),
            turned_away: Family::default(),
            agents: Gauge::default(),
            grants: Gauge::default(),
            sessions: Gauge::default(),
            leases: Gauge::default(),
            undoing: Gauge::default(),
            quarantined: Gauge::default(),
            sealed: Gauge::default(),
            data_keys: Gauge::default(),
            rows_left: Gauge::default(),
            sink_well: Family::default(),
            sink_lag: Family::default(),
            sink_failures: Family::default(),
            sink_last: Family::default(),
            sink_aside: Family::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("build", "The version that runs", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        registry.register("requests", "Requests answered, by method and gRPC code", metrics.requests.clone());
        registry.register("request_seconds", "Time from a request to its answer", metrics.seconds.clone());
        registry.register("refusals", "Refusals, by reason", metrics.refusals.clone());
        registry.register("connections", "Open connections, by listener", metrics.connections.clone());
        registry.register(
            "connections_turned_away",
            "Connections closed at once because there were as many as there may be",
            metrics.turned_away.clone(),
        );
        registry.register("agents", "Registered agents", metrics.agents.clone());
        registry.register("grants_live", "Live grants", metrics.grants.clone());
        registry.register("sessions_open", "Open sessions", metrics.sessions.clone());
        registry.register("leases_live", "Live leases", metrics.leases.clone());
        registry.register(
            "leases_stuck",
            "Leases that ended and whose credential waits to be taken away at its backend",
            metrics.undoing.clone(),
        );
        registry.register("chains_quarantined", "Chains that do not verify", metrics.quarantined.clone());
        registry.register("sealed", "Whether the vault is sealed, 1 or 0", metrics.sealed.clone());
        registry.register("data_keys", "Data keys, of which all but one wait to be deleted", metrics.data_keys.clone());
        registry.register("data_key_rows_left", "Rows that an older data key covers", metrics.rows_left.clone());
        metrics.register_sinks();
        Telemetry(Arc::new(metrics))
    }

    /// A request was answered.
    pub fn answered(&self, rpc: &'static str, code: &'static str, took: Duration) {
        self.0.requests.get_or_create(&Answer { rpc, code }).inc();
        self.0.seconds.get_or_create(&Rpc { rpc }).observe(took.as_secs_f64());
    }

    /// Something was refused.
    pub fn refused(&self, reason: Reason) {
        self.0.refusals.get_or_create(&Refusal { reason: reason.code() }).inc();
    }

    /// A connection came to this listener.
    pub fn connected(&self, listener: &'static str) {
        self.0.connections.get_or_create(&Door { listener }).inc();
    }

    /// A connection of this listener ended.
    pub fn disconnected(&self, listener: &'static str) {
        self.0.connections.get_or_create(&Door { listener }).dec();
    }

    /// A connection was closed because there were as many as there may be.
    pub fn turned_away(&self, listener: &'static str) {
        self.0.turned_away.get_or_create(&Door { listener }).inc();
    }

    /// The vault is sealed, or no longer.
    pub fn sealed(&self, sealed: bool) {
        self.0.sealed.set(sealed.into());
    }

    /// What lives was counted.
    pub fn counted(&self, alive: &Alive) {
        let set = |gauge: &Gauge, count: u64| gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        set(&self.0.agents, alive.agents);
        set(&self.0.grants, alive.grants);
        set(&self.0.sessions, alive.sessions);
        set(&self.0.leases, alive.leases);
        set(&self.0.undoing, alive.undoing);
        set(&self.0.quarantined, alive.quarantined);
        set(&self.0.data_keys, alive.data_keys);
        set(&self.0.rows_left, alive.rows_left);
    }

    /// A sink begins, or is well again.
    pub fn sink_well(&self, sink: &'static str) {
        let sink = Outside { sink };
        self.0.sink_well.get_or_create(&sink).set(1);
        // They are told of as zero before they are counted.
        self.0.sink_failures.get_or_create(&sink).inc_by(0);
        self.0.sink_aside.get_or_create(&sink).inc_by(0);
    }

    /// A sink could not carry an entry.
    pub fn sink_failed(&self, sink: &'static str) {
        let sink = Outside { sink };
        self.0.sink_well.get_or_create(&sink).set(0);
        self.0.sink_failures.get_or_create(&sink).inc();
    }

    /// A sink has carried something.
    pub fn sink_carried(&self, sink: &'static str, now: Timestamp) {
        let seconds = i64::try_from(now.whole_seconds()).unwrap_or(i64::MAX);
        self.0.sink_last.get_or_create(&Outside { sink }).set(seconds);
    }

    /// A sink has this many entries left to carry.
    pub fn sink_lags(&self, sink: &'static str, entries: u64) {
        self.0.sink_lag.get_or_create(&Outside { sink }).set(i64::try_from(entries).unwrap_or(i64::MAX));
    }

    /// What a sink had of a chain was not what the store has.
    pub fn sink_set_aside(&self, sink: &'static str) {
        self.0.sink_aside.get_or_create(&Outside { sink }).inc();
    }

    /// All of it in the OpenMetrics text format.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        text::encode(&mut out, &self.0.registry).expect("a String takes every write");
        out
    }
}

/// Sends the log of the whole process to standard error: for people, or one JSON object a line. `level` is a filter as
/// the configuration has it.
///
/// # Errors
/// A level that is none, or a log that goes somewhere else already.
pub fn log_to_stderr(json: bool, level: &str) -> Result<(), String> {
    let filter: Targets = level.parse().map_err(|error| format!("{level:?} is not a log level: {error}"))?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = if json {
        lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed()
    } else {
        lines.with_ansi(std::io::stderr().is_terminal()).boxed()
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).try_init().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_told() {
        let telemetry = Telemetry::new();
        telemetry.answered("RequestCredential", "OK", Duration::from_millis(3));
        telemetry.refused(Reason::Replay);
        telemetry.refused(Reason::Replay);
        telemetry.connected("agents");
        telemetry.connected("agents");
        telemetry.disconnected("agents");
        telemetry.turned_away("operators");
        telemetry.counted(&Alive { leases: 7, ..Alive::default() });
        telemetry.sink_well("mirror");
        telemetry.sink_failed("syslog");
        telemetry.sink_lags("syslog", 12);
        telemetry.sink_carried("mirror", Timestamp(5_999));
        let text = telemetry.text();
        for line in [
            "nockvault_requests_total{rpc=\"RequestCredential\",code=\"OK\"} 1",
            "nockvault_request_seconds_bucket{le=\"0.004\",rpc=\"RequestCredential\"} 1",
            "nockvault_refusals_total{reason=\"replay\"} 2",
            "nockvault_connections{listener=\"agents\"} 1",
            "nockvault_connections_turned_away_total{listener=\"operators\"} 1",
            "nockvault_leases_live 7",
            "nockvault_sink_well{sink=\"mirror\"} 1",
            "nockvault_sink_failures_total{sink=\"mirror\"} 0",
            "nockvault_sink_well{sink=\"syslog\"} 0",
            "nockvault_sink_failures_total{sink=\"syslog\"} 1",
            "nockvault_sink_lag_entries{sink=\"syslog\"} 12",
            "nockvault_sink_last_success_timestamp_seconds{sink=\"mirror\"} 5",
            "# EOF",
        ] {
            assert!(text.lines().any(|told| told == line), "no line {line} in:\n{text}");
        }
        assert!(
            text.contains(concat!("nockvault_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1")),
            "{text}"
        );
    }
}
