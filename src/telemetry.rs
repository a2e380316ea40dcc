//! The names of logs and metrics. Metrics count by closed sets of words: methods, gRPC codes, reasons. No agent's,
//! operator's or session's name is a label, so that `/metrics` tells a stranger nothing about who there is and grows
//! with nobody. Logs go to standard error; nothing that is logged holds a payload, an envelope or a secret.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::denial::Reason;
use crate::time::{Seconds, Timestamp};

/// The upper bounds of the latency buckets, in seconds: from a signature check to a stuck disk.
const BUCKETS: [f64; 13] = [0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 2.0, 8.0];

/// Those of clocks' differences, in seconds, up to the widest window.
const SKEW: [f64; 11] = [0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 3600.0];

/// Those of the jobs in one commit, up to the most there can be.
const BATCH: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

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
struct Turned {
    listener: &'static str,
    why: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Unsigned {
    listener: &'static str,
    peer: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outside {
    sink: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Around {
    wall: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Issuance {
    engine: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Side {
    clock: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Of {
    of: &'static str,
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
    /// For how long the first of them has been over.
    pub undoing_for: Seconds,
    /// Chains.
    pub chains: u64,
    /// Entries in all of them.
    pub entries: u64,
    /// For how long the checkpoint is overdue that has been due the longest.
    pub checkpoint_overdue: Seconds,
    /// Chains that do not verify and are set aside.
    pub quarantined: u64,
    /// Data keys, of which all but the newest wait to be deleted.
    pub data_keys: u64,
    /// Rows that an older data key covers.
    pub rows_left: u64,
}

/// How a sink is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkSeen {
    /// Its name, as in the metrics.
    pub name: &'static str,
    /// Whether its last try succeeded.
    pub well: bool,
    /// Entries that it has left to carry, as counted last.
    pub lag: u64,
    /// Chains of which it had something else than the store has.
    pub set_aside: u64,
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
    turned_away: Family<Turned, Counter>,
    signature_failures: Family<Unsigned, Counter>,
    agents: Gauge,
    grants: Gauge,
    sessions: Gauge,
    leases: Gauge,
    undoing: Gauge,
    undoing_for: Gauge,
    quarantined: Gauge,
    chains: Gauge,
    entries: Gauge,
    checkpoint_overdue: Gauge,
    inside: Inside,
    data_keys: Gauge,
    rows_left: Gauge,
    sink_well: Family<Outside, Gauge>,
    sink_lag: Family<Outside, Gauge>,
    sink_failures: Family<Outside, Counter>,
    sink_last: Family<Outside, Gauge>,
    sink_aside: Family<Outside, Counter>,
    /// The sinks that were ever told of: a family does not say which it has.
    sinks: Mutex<BTreeSet<&'static str>>,
}

/// What the vault, its store and its disk tell.
#[derive(Debug)]
struct Inside {
    issuances: Family<Issuance, Counter>,
    skew: Family<Side, Histogram, fn() -> Histogram>,
    waiting: Gauge,
    batch: Histogram,
    commit: Histogram,
    disk_free: Gauge,
    disk_reserve: Gauge,
    disk_full: Gauge,
    sealed: Gauge,
    ready: Gauge,
    certificates: Family<Of, Gauge>,
    walls: Family<Around, Gauge>,
    by_custody: Counter,
}

impl Default for Inside {
    fn default() -> Inside {
        Inside {
            issuances: Family::default(),
            skew: Family::new_with_constructor(|| Histogram::new(SKEW)),
            waiting: Gauge::default(),
            batch: Histogram::new(BATCH),
            commit: Histogram::new(BUCKETS),
            disk_free: Gauge::default(),
            disk_reserve: Gauge::default(),
            disk_full: Gauge::default(),
            sealed: Gauge::default(),
            ready: Gauge::default(),
            certificates: Family::default(),
            walls: Family::default(),
            by_custody: Counter::default(),
        }
    }
}

impl Inside {
    fn register(&self, registry: &mut Registry) {
        let family = self.issuances.clone();
        registry.register("issuances", "Requests for a credential, by engine and by issued or the reason", family);
        registry.register(
            "request_clock_skew_seconds",
            "How far a signer's clock is from the vault's, by ahead or behind; what lies outside the window is a refusal",
            self.skew.clone(),
        );
        registry.register("writer_queue_jobs", "Jobs that wait for the store's writer", self.waiting.clone());
        registry.register("writer_batch_jobs", "Jobs in one commit", self.batch.clone());
        registry.register("writer_commit_seconds", "Time of one commit with its jobs", self.commit.clone());
        registry.register("disk_free_bytes", "Room that is left under the data directory", self.disk_free.clone());
        registry.register(
            "disk_reserve_bytes",
            "Room that is kept to end leases on a full disk",
            self.disk_reserve.clone(),
        );
        registry.register(
            "disk_full",
            "Whether nothing is issued since the disk is full, 1 or 0",
            self.disk_full.clone(),
        );
        registry.register("sealed", "Whether the vault is sealed, 1 or 0", self.sealed.clone());
        registry.register("ready", "Whether the daemon takes requests, 1 or 0", self.ready.clone());
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "When a certificate ends, in seconds since the Unix epoch, by what it is of",
            self.certificates.clone(),
        );
        registry.register(
            "wall",
            "Whether a wall around the daemon that its configuration wants stands, 1 or 0: mlock, landlock, seccomp",
            self.walls.clone(),
        );
        registry.register(
            "custody_operators",
            "Operators whom custody made since the daemon began, and no operator did",
            self.by_custody.clone(),
        );
    }
}

impl Metrics {
    fn register_alive(&mut self) {
        let registry = &mut self.registry;
        registry.register("agents", "Registered agents", self.agents.clone());
        registry.register("grants_live", "Live grants", self.grants.clone());
        registry.register("sessions_open", "Open sessions", self.sessions.clone());
        registry.register("leases_live", "Live leases", self.leases.clone());
        registry.register(
            "leases_stuck",
            "Leases that ended and whose credential waits to be taken away at its backend",
            self.undoing.clone(),
        );
        registry.register(
            "leases_stuck_oldest_seconds",
            "For how long the first of these leases has been over",
            self.undoing_for.clone(),
        );
        registry.register("chains", "Audit chains", self.chains.clone());
        registry.register("chain_entries", "Entries in all audit chains", self.entries.clone());
        registry.register("chains_quarantined", "Chains that do not verify", self.quarantined.clone());
        registry.register(
            "checkpoint_overdue_seconds",
            "For how long the checkpoint is overdue that has been due the longest",
            self.checkpoint_overdue.clone(),
        );
    }

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
            signature_failures: Family::default(),
            agents: Gauge::default(),
            grants: Gauge::default(),
            sessions: Gauge::default(),
            leases: Gauge::default(),
            undoing: Gauge::default(),
            undoing_for: Gauge::default(),
            quarantined: Gauge::default(),
            chains: Gauge::default(),
            entries: Gauge::default(),
            checkpoint_overdue: Gauge::default(),
            inside: Inside::default(),
            data_keys: Gauge::default(),
            rows_left: Gauge::default(),
            sink_well: Family::default(),
            sink_lag: Family::default(),
            sink_failures: Family::default(),
            sink_last: Family::default(),
            sink_aside: Family::default(),
            sinks: Mutex::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("build", "The version that runs", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        registry.register("requests", "Requests answered, by method and gRPC code", metrics.requests.clone());
        registry.register("request_seconds", "Time from a request to its answer", metrics.seconds.clone());
        registry.register("refusals", "Refusals, by reason", metrics.refusals.clone());
        registry.register("connections", "Open connections, by listener", metrics.connections.clone());
        registry.register(
            "connections_turned_away",
            "Connections closed at once: all places taken (full), the peer's part of them (share), or too many too fast (rate)",
            metrics.turned_away.clone(),
        );
        registry.register(
            "signature_failures",
            "Requests that no registered key signed, by listener and by kind of peer: unix, loopback, private, public",
            metrics.signature_failures.clone(),
        );
        registry.register("data_keys", "Data keys, of which all but one wait to be deleted", metrics.data_keys.clone());
        registry.register("data_key_rows_left", "Rows that an older data key covers", metrics.rows_left.clone());
        metrics.inside.register(registry);
        metrics.register_alive();
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

    /// A connection was closed at once.
    pub fn turned_away(&self, listener: &'static str, why: &'static str) {
        self.0.turned_away.get_or_create(&Turned { listener, why }).inc();
    }

    /// No registered key had signed what this kind of peer sent.
    pub fn signature_failed(&self, listener: &'static str, peer: &'static str) {
        self.0.signature_failures.get_or_create(&Unsigned { listener, peer }).inc();
    }

    /// What lives was counted.
    pub fn counted(&self, alive: &Alive) {
        set(&self.0.agents, alive.agents);
        set(&self.0.grants, alive.grants);
        set(&self.0.sessions, alive.sessions);
        set(&self.0.leases, alive.leases);
        set(&self.0.undoing, alive.undoing);
        set(&self.0.undoing_for, alive.undoing_for.0);
        set(&self.0.quarantined, alive.quarantined);
        set(&self.0.chains, alive.chains);
        set(&self.0.entries, alive.entries);
        set(&self.0.checkpoint_overdue, alive.checkpoint_overdue.0);
        set(&self.0.data_keys, alive.data_keys);
        set(&self.0.rows_left, alive.rows_left);
    }

    /// A request for a credential ended: `issued`, or the reason why not. The engine is `none` where it was not known.
    pub fn issued(&self, engine: &'static str, result: &'static str) {
        self.0.inside.issuances.get_or_create(&Issuance { engine, result }).inc();
    }

    /// A request of a known signer was signed at `iat` by his clock, and came at `now`.
    pub fn skewed(&self, iat: Timestamp, now: Timestamp) {
        let clock = if iat > now { "ahead" } else { "behind" };
        let apart = Duration::from_millis(iat.0.abs_diff(now.0));
        self.0.inside.skew.get_or_create(&Side { clock }).observe(apart.as_secs_f64());
    }

    /// The store's writer has committed so many jobs.
    pub fn committed(&self, jobs: usize, took: Duration) {
        self.0.inside.batch.observe(f64::from(u32::try_from(jobs).unwrap_or(u32::MAX)));
        self.0.inside.commit.observe(took.as_secs_f64());
    }

    /// So many jobs wait for the store's writer.
    pub fn waiting(&self, jobs: usize) {
        set(&self.0.inside.waiting, jobs as u64);
    }

    /// How much room the disk has, how much of it is kept as a reserve, and whether it is full.
    pub fn disk(&self, free: u64, reserve: u64, full: bool) {
        set(&self.0.inside.disk_free, free);
        set(&self.0.inside.disk_reserve, reserve);
        set(&self.0.inside.disk_full, full.into());
    }

    /// Whether the vault is sealed.
    pub fn sealed(&self, sealed: bool) {
        set(&self.0.inside.sealed, sealed.into());
    }

    /// Custody made an operator.
    pub fn made_by_custody(&self) {
        self.0.inside.by_custody.inc();
    }

    /// Whether the daemon takes requests.
    pub fn ready(&self, ready: bool) {
        set(&self.0.inside.ready, ready.into());
    }

    /// When the certificate of this ends: one of `tls`, `tls_ca`, `response`, `checkpoint`, `intake`, `jwt`, `audit`,
    /// `x509_ca`.
    pub fn certificate(&self, of: &'static str, ends: Timestamp) {
        set(&self.0.inside.certificates.get_or_create(&Of { of }), ends.whole_seconds());
    }

    /// When the certificate of this ends, where that was told.
    #[must_use]
    pub fn certificate_ends(&self, of: &'static str) -> Option<Timestamp> {
        let seconds = self.0.inside.certificates.get(&Of { of })?.get();
        Some(Timestamp(u64::try_from(seconds).ok()?.saturating_mul(1000)))
    }

    /// Whether a wall stands that the configuration wants: `mlock`, `landlock`, `seccomp`.
    pub fn wall(&self, wall: &'static str, stands: bool) {
        set(&self.0.inside.walls.get_or_create(&Around { wall }), stands.into());
    }

    /// Whether this wall stands; none where it is not wanted.
    #[must_use]
    pub fn wall_stands(&self, wall: &'static str) -> Option<bool> {
        Some(self.0.inside.walls.get(&Around { wall })?.get() == 1)
    }

    /// Each sink that was told of.
    #[must_use]
    pub fn sinks(&self) -> Vec<SinkSeen> {
        let names = self.0.sinks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let seen = |name: &'static str| {
            let sink = Outside { sink: name };
            let lag = self.0.sink_lag.get(&sink).map_or(0, |gauge| gauge.get());
            SinkSeen {
                name,
                well: self.0.sink_well.get(&sink).is_some_and(|gauge| gauge.get() == 1),
                lag: u64::try_from(lag).unwrap_or(0),
                set_aside: self.0.sink_aside.get(&sink).map_or(0, |counter| counter.get()),
            }
        };
        names.into_iter().map(seen).collect()
    }

    fn known_sink(&self, sink: &'static str) -> Outside {
        self.0.sinks.lock().unwrap_or_else(PoisonError::into_inner).insert(sink);
        Outside { sink }
    }

    /// A sink begins, or is well again.
    pub fn sink_well(&self, sink: &'static str) {
        let sink = self.known_sink(sink);
        self.0.sink_well.get_or_create(&sink).set(1);
        // They are told of as zero before they are counted.
        self.0.sink_failures.get_or_create(&sink).inc_by(0);
        self.0.sink_aside.get_or_create(&sink).inc_by(0);
    }

    /// A sink could not carry an entry.
    pub fn sink_failed(&self, sink: &'static str) {
        let sink = self.known_sink(sink);
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

fn set(gauge: &Gauge, count: u64) {
    gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
}

/// Sends the log of the whole process to standard error: for people, or one JSON object a line. `level` is a filter as
/// the configuration has it.
///
/// # Errors
/// A level that is none, or a log that goes somewhere else already.
pub fn log_to_stderr(json: bool, level: &str) -> Result<(), String> {
    let filter = filter(level)?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = if json {
        lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed()
    } else {
        lines.with_ansi(std::io::stderr().is_terminal()).boxed()
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).try_init().map_err(|error| error.to_string())
}

/// Libraries that speak with peers before anything is known of them, and have a line for each thing that these do.
const SPOKEN_TO: [&str; 5] = ["h2", "hyper", "rustls", "tonic", "tower"];

/// What is logged at this level. A stranger shall not fill the log, so that of those libraries only errors are, unless
/// they are named, or all is wanted (`debug`, `trace`).
fn filter(level: &str) -> Result<Targets, String> {
    let filter: Targets = level.parse().map_err(|error| format!("{level:?} is not a log level: {error}"))?;
    if filter.default_level().is_none_or(|all| all > LevelFilter::INFO) {
        return Ok(filter);
    }
    let unnamed = SPOKEN_TO.iter().filter(|library| !level.contains(*library));
    Ok(unnamed.fold(filter, |filter, library| filter.with_target(*library, LevelFilter::ERROR)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libraries_say_of_strangers_is_logged_where_it_is_asked_for() {
        use tracing::Level;
        let said = |level: &str, target: &str| filter(level).unwrap().would_enable(target, &Level::WARN);
        for level in ["info", "warn"] {
            assert!(said(level, "nockvault::store") && !said(level, "h2::proto::streams::recv"), "{level}");
            assert!(filter(level).unwrap().would_enable("rustls", &Level::ERROR), "{level}");
        }
        assert!(said("debug", "h2::proto") && said("info,h2=debug", "h2::proto") && !said("info,h2=debug", "rustls"));
    }

    #[test]
    fn what_was_counted_is_told() {
        let telemetry = Telemetry::new();
        telemetry.answered("RequestCredential", "OK", Duration::from_millis(3));
        telemetry.refused(Reason::Replay);
        telemetry.refused(Reason::Replay);
        telemetry.connected("agents");
        telemetry.connected("agents");
        telemetry.disconnected("agents");
        telemetry.turned_away("operators", "full");
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
            "nockvault_connections_turned_away_total{listener=\"operators\",why=\"full\"} 1",
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
