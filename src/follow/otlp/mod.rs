//! Entries as log records of OpenTelemetry, sent to a collector over OTLP/gRPC (OTLP 1.x, `LogsService/Export`).
//!
//! | of the record | is |
//! |---|---|
//! | `time_unix_nano` | the entry's `ts` |
//! | `severity_number`, `severity_text` | 9 `INFO`, 10 `INFO2` for what operators decide, 13 `WARN`, by kind |
//! | `body` | the line, whole |
//! | `event_name` | `nockvault.<kind>` |
//! | attributes | `nockvault.chain`, `nockvault.seq`, `nockvault.kind`, `nockvault.leaf` |
//! | resource | `service.name` = `nockvault`, `service.instance.id` = the node |
//!
//! A collector acknowledges each part, so that every entry arrives at least once. What it rejects for good it says, and
//! then it is told of in the log and not sent again.

mod message;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic_prost::ProstCodec;

use self::message::{
    ExportLogsServiceRequest, ExportLogsServiceResponse, LogRecord, Resource, ResourceLogs, Scope, ScopeLogs, attribute,
};
use super::Sink;
use super::facts::{Entry, Severity};
use super::stream::{Stream, Wire};
use crate::id::ChainName;
use crate::store::Store;
use crate::time::Clock;

/// The name of the sink.
pub const NAME: &str = "otlp";

const EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
/// How long a connection or an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A collector that cannot be sent to.
#[derive(Debug, thiserror::Error)]
#[error("the collector {address}: {why}")]
pub struct NoCollector {
    address: String,
    why: String,
}

/// The sink that sends to the collector at `address` (`http://host:port` or `https://host:port`), whose certificate is
/// checked against `ca` (PEM), or against the system's authorities. `node` is the daemon's name, `state` the folder of
/// the cursors. Called in a runtime; the collector is connected to when there is something to send.
///
/// # Errors
/// [`NoCollector`]: an address or an authority that is none.
pub fn otlp(
    address: &str,
    ca: Option<&str>,
    node: &str,
    state: &Path,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
) -> Result<Box<dyn Sink>, NoCollector> {
    let fault = |error: &dyn std::error::Error| NoCollector { address: address.to_owned(), why: causes(error) };
    let mut endpoint = Endpoint::from_shared(address.to_owned()).map_err(|error| fault(&error))?;
    endpoint = endpoint.connect_timeout(PATIENCE).timeout(PATIENCE).tcp_nodelay(true);
    endpoint = endpoint.keep_alive_while_idle(false).http2_keep_alive_interval(PATIENCE);
    if address.starts_with("https:") {
        let tls = ClientTlsConfig::new();
        let tls = match ca {
            Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
            None => tls.with_native_roots(),
        };
        endpoint = endpoint.tls_config(tls).map_err(|error| fault(&error))?;
    }
    let collector = Grpc::new(endpoint.connect_lazy());
    let wire = Otlp { collector, address: address.to_owned(), node: node.to_owned(), clock };
    Ok(Box::new(Stream::new(wire, address, state, store)))
}

struct Otlp {
    collector: Grpc<Channel>,
    address: String,
    node: String,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Wire for Otlp {
    const NAME: &'static str = NAME;
    const DOUBT: Option<Duration> = None;

    async fn send(&mut self, chain: &ChainName, entries: &[Entry<'_>]) -> Result<(), String> {
        let request = tonic::Request::new(self.request(chain, entries));
        let failed = |what: &dyn std::error::Error| format!("{}: {}", self.address, causes(what));
        self.collector.ready().await.map_err(|error| failed(&error))?;
        let codec: ProstCodec<ExportLogsServiceRequest, ExportLogsServiceResponse> = ProstCodec::default();
        let answer = self.collector.unary(request, PathAndQuery::from_static(EXPORT), codec).await;
        let answer = answer.map_err(|status| format!("{}: {}: {}", self.address, status.code(), status.message()))?;
        if let Some(partial) = answer.into_inner().partial_success
            && partial.rejected_log_records > 0
        {
            tracing::error!(
                sink = NAME, %chain, from = entries.first().map(|entry| entry.facts.seq),
                rejected = partial.rejected_log_records, why = partial.error_message,
                "the collector rejected entries for good"
            );
        }
        Ok(())
    }
}

impl Otlp {
    fn request(&self, chain: &ChainName, entries: &[Entry<'_>]) -> ExportLogsServiceRequest {
        let observed = self.clock.now().0.saturating_mul(1_000_000);
        let log_records = entries.iter().map(|entry| record(chain, entry, observed)).collect();
        let scope = Scope { name: "nockvault.audit".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
        let attributes = vec![
            attribute("service.name", "nockvault".to_owned()),
            attribute("service.instance.id", self.node.clone()),
            attribute("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                resource: Some(Resource { attributes }),
                scope_logs: vec![ScopeLogs { scope: Some(scope), log_records }],
            }],
        }
    }
}

fn record(chain: &ChainName, entry: &Entry<'_>, observed: u64) -> LogRecord {
    let (severity_number, severity_text) = match Severity::of(&entry.facts.kind) {
        Severity::Info => (9, "INFO"),
        Severity::Notice => (10, "INFO2"),
        Severity::Warning => (13, "WARN"),
    };
    LogRecord {
        time_unix_nano: entry.facts.ts.0.saturating_mul(1_000_000),
        severity_number,
        severity_text: severity_text.to_owned(),
        body: Some(String::from_utf8_lossy(entry.line).into_owned().into()),
        attributes: vec![
            attribute("nockvault.chain", chain.to_string()),
            attribute("nockvault.seq", entry.facts.seq),
            attribute("nockvault.kind", entry.facts.kind.clone()),
            attribute("nockvault.leaf", entry.leaf.to_string()),
        ],
        observed_time_unix_nano: observed,
        event_name: format!("nockvault.{}", entry.facts.kind),
    }
}

/// An error with what caused it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
