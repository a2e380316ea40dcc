//! OpenTelemetry: a collector that is not ours, out of the generated code of the OpenTelemetry project.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nockvault::follow::Sink;
use nockvault::follow::otlp::{NAME, otlp};
use nockvault::server::tls;
use nockvault::time::{Clock as _, SystemClock};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

use crate::stage::{Got, Stage};

/// What the collector keeps; clones share it.
#[derive(Clone, Default)]
struct Collector {
    got: Arc<Mutex<Got>>,
    records: Arc<Mutex<Vec<LogRecord>>>,
    resources: Arc<Mutex<Vec<Vec<KeyValue>>>>,
    refuses: Arc<AtomicBool>,
    hangs: Arc<AtomicBool>,
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        other => panic!("no text: {other:?}"),
    }
}

fn attribute<'a>(record: &'a LogRecord, key: &str) -> Option<&'a AnyValue> {
    record.attributes.iter().find(|one| one.key == key).and_then(|one| one.value.as_ref())
}

fn place(record: &LogRecord) -> (String, u64) {
    let Some(Value::IntValue(seq)) = attribute(record, "nockvault.seq").and_then(|value| value.value.clone()) else {
        panic!("no seq: {record:?}")
    };
    (text(attribute(record, "nockvault.chain")), u64::try_from(seq).unwrap())
}

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.refuses.load(Ordering::SeqCst) {
            return Err(Status::unavailable("later"));
        }
        for logs in request.into_inner().resource_logs {
            self.resources.lock().unwrap().push(logs.resource.unwrap().attributes);
            for record in logs.scope_logs.into_iter().flat_map(|scope| scope.log_records) {
                let leaf = text(attribute(&record, "nockvault.leaf"));
                self.got.lock().unwrap().add(place(&record), leaf);
                self.records.lock().unwrap().push(record);
            }
        }
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

/// Serves in a runtime of its own; when it is dropped, its connections end too.
struct Serving {
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

fn serve(collector: &Collector, at: &str, tls: Option<ServerTlsConfig>) -> Serving {
    let listener = std::net::TcpListener::bind(at).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = Server::builder();
    if let Some(tls) = tls {
        server = server.tls_config(tls).unwrap();
    }
    let router = server.add_service(LogsServiceServer::new(collector.clone()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.spawn(async move {
        let incoming = TcpListenerStream::new(TcpListener::from_std(listener).unwrap());
        router.serve_with_incoming(incoming).await.unwrap();
    });
    Serving { address, runtime: Some(runtime) }
}

impl Stage {
    fn otlp(&self, address: &str, ca: Option<&str>) -> Box<dyn Sink> {
        otlp(address, ca, "node1", &self.state(), self.store(), Stage::clock()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_gets_every_entry_with_what_it_is() {
    let (collector, mut stage) = (Collector::default(), Stage::new().await);
    let serving = serve(&collector, "127.0.0.1:0", None);
    let address = format!("http://{}", serving.address);
    stage.grow(30).await;
    stage.follow(vec![stage.otlp(&address, None)]);
    stage.grow(30).await;
    stage.until_carried(NAME).await;
    stage.stop().await;
    let truth = stage.truth().await;
    assert_eq!(collector.got.lock().unwrap().entries, truth);
    assert_eq!(collector.got.lock().unwrap().repeats, 0);

    let kit = stage.harness.lines(&"kit".parse().unwrap()).await;
    for record in collector.records.lock().unwrap().iter().filter(|record| place(record).0 == "kit") {
        let (_, seq) = place(record);
        let line = String::from_utf8(kit[seq as usize].clone()).unwrap();
        let entry: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(text(record.body.as_ref()), line);
        assert_eq!(text(attribute(record, "nockvault.kind")), entry["kind"].as_str().unwrap());
        assert_eq!(record.event_name, format!("nockvault.{}", entry["kind"].as_str().unwrap()));
        assert_eq!(record.time_unix_nano, entry["ts"].as_u64().unwrap() * 1_000_000);
        assert!(record.observed_time_unix_nano > 0);
        let expected = if entry["kind"] == "issue" { (9, "INFO") } else { (10, "INFO2") };
        assert_eq!((record.severity_number, record.severity_text.as_str()), expected, "{line}");
    }
    let resources = collector.resources.lock().unwrap().clone();
    let name = resources[0].iter().find(|one| one.key == "service.name").unwrap();
    assert_eq!(text(name.value.as_ref()), "nockvault");

    // A new life goes on where the last one stopped.
    stage.follow(vec![stage.otlp(&address, None)]);
    stage.grow(1).await;
    stage.until_carried(NAME).await;
    stage.stop().await;
    let got = collector.got.lock().unwrap();
    assert_eq!((got.entries.len(), got.repeats), (truth.len() + 1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_dead_hangs_or_refuses_gets_what_it_missed() {
    let (collector, mut stage) = (Collector::default(), Stage::new().await);
    let serving = serve(&collector, "127.0.0.1:0", None);
    let (address, at) = (format!("http://{}", serving.address), serving.address.to_string());
    stage.follow(vec![stage.otlp(&address, None), stage.mirror()]);
    stage.grow(5).await;
    stage.until_carried(NAME).await;

    drop(serving);
    stage.grow(20).await;
    stage.until("well", NAME, |well| well == 0).await;
    assert!(stage.counted("lag_entries", NAME).await.unwrap() >= 20);
    assert!(stage.counted("failures_total", NAME).await.unwrap() >= 1);
    stage.until_carried("mirror").await;
    assert_eq!(stage.counted("well", "mirror").await, Some(1), "the other sink goes on");

    collector.refuses.store(true, Ordering::SeqCst);
    let _serving = serve(&collector, &at, None);
    stage.grow(5).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(stage.counted("lag_entries", NAME).await.unwrap() >= 25);
    collector.refuses.store(false, Ordering::SeqCst);
    stage.until_carried(NAME).await;
    stage.until("well", NAME, |well| well == 1).await;

    collector.hangs.store(true, Ordering::SeqCst);
    stage.grow(5).await;
    stage.until("well", NAME, |well| well == 0).await;
    collector.hangs.store(false, Ordering::SeqCst);
    stage.until_carried(NAME).await;
    stage.stop().await;
    let truth = stage.truth().await;
    assert_eq!(collector.got.lock().unwrap().entries, truth);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_with_tls_is_checked_under_its_authority() {
    let (collector, mut stage) = (Collector::default(), Stage::new().await);
    let made = tls::make(&[], SystemClock.now(), tls::LIFE).unwrap();
    let identity = Identity::from_pem(&made.cert_pem, made.key_pem.expose());
    let _ = rustls::crypto::ring::default_provider().install_default();
    let serving = serve(&collector, "127.0.0.1:0", Some(ServerTlsConfig::new().identity(identity)));
    let address = format!("https://localhost:{}", serving.address.port());

    let other = tls::make(&[], SystemClock.now(), tls::LIFE).unwrap();
    for wrong in [Some(other.ca_pem.as_str()), None] {
        let failures = stage.counted("failures_total", NAME).await.unwrap_or(0);
        stage.follow(vec![stage.otlp(&address, wrong)]);
        stage.until("failures_total", NAME, |count| count > failures).await;
        stage.stop().await;
        assert!(collector.got.lock().unwrap().entries.is_empty());
    }

    stage.follow(vec![stage.otlp(&address, Some(&made.ca_pem))]);
    stage.until_carried(NAME).await;
    stage.stop().await;
    let truth = stage.truth().await;
    assert_eq!(collector.got.lock().unwrap().entries, truth);
}
