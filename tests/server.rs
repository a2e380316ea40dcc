//! The daemon's outside, as peers meet it: in this process, and the real program.
#![cfg(all(feature = "daemon", feature = "client"))]

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use nockvault::server::methods;
use nockvault::wire::convert::RefusalDetails;
use nockvault::wire::v1::{DescribeVaultRequest, DescribeVaultResponse, RequestCredentialRequest, SignedEnvelope};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

#[path = "server/daemon.rs"]
mod daemon;

use daemon::{Daemon, http};

const AGENTS: &str = "nockvault.v1.AgentService";
const CUSTODY: &str = "nockvault.v1.CustodyService";
const OPERATORS: &str = "nockvault.v1.OperatorService";
const PATIENCE: Duration = Duration::from_secs(20);

async fn services(channel: Channel) -> BTreeSet<String> {
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::iter([ask]))
        .await
        .expect("reflection is served")
        .into_inner();
    let answer = answers.next().await.expect("an answer").expect("no fault").message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("a list, not {answer:?}") };
    list.service.into_iter().map(|service| service.name).collect()
}

async fn health(channel: Channel, service: &str) -> Result<ServingStatus, Status> {
    let answer = HealthClient::new(channel).check(HealthCheckRequest { service: service.to_owned() }).await?;
    Ok(answer.into_inner().status())
}

/// Calls a method with an empty message.
async fn call(channel: Channel, path: &'static str) -> Status {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.expect("it is connected");
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let answer = grpc.unary(Request::new(()), http_path(path), codec).await;
    answer.expect_err("an empty message is refused")
}

fn http_path(path: &'static str) -> ::http::uri::PathAndQuery {
    ::http::uri::PathAndQuery::from_static(path)
}

fn reason(status: &Status) -> String {
    RefusalDetails::from_status(status).unwrap_or_else(|| panic!("one of ours, not {status:?}")).reason
}

#[tokio::test(flavor = "multi_thread")]
async fn each_listener_serves_its_own() {
    let daemon = Daemon::start(|_| {}).await;
    let (agents, operators) = (daemon.agents().await, daemon.operators().await);
    let public = ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"];
    let expected = |own: &str| public.iter().copied().chain([own]).map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(services(agents.clone()).await, expected(AGENTS));
    // Custody stands there too, and at no TCP listener.
    let mut on_this_machine = expected(OPERATORS);
    on_this_machine.insert(CUSTODY.to_owned());
    assert_eq!(services(operators.clone()).await, on_this_machine);
    assert_eq!(services(daemon.agents_unix().await).await, expected(AGENTS));

    assert_eq!(health(agents.clone(), AGENTS).await.expect("served"), ServingStatus::Serving);
    assert_eq!(health(agents.clone(), "").await.expect("served"), ServingStatus::Serving);
    assert_eq!(health(operators.clone(), OPERATORS).await.expect("served"), ServingStatus::Serving);
    assert_eq!(health(agents.clone(), OPERATORS).await.expect_err("not here").code(), Code::NotFound);

    // Every method answers at its own listener, and at the other's there is none; all can ask who the vault is.
    for (own, other, paths) in [(&agents, &operators, methods::AGENTS), (&operators, &agents, methods::OPERATORS)] {
        for path in paths {
            let refused = call(own.clone(), path).await;
            assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "malformed"), "{path}");
            let elsewhere = call(other.clone(), path).await.code();
            let expected = if *path == methods::DESCRIBE { Code::InvalidArgument } else { Code::Unimplemented };
            assert_eq!(elsewhere, expected, "{path}");
        }
    }
    assert_eq!(call(agents, "/nockvault.v1.AgentService/Nothing").await.code(), Code::Unimplemented);
    daemon.stop().await;
}

fn describe() -> DescribeVaultRequest {
    DescribeVaultRequest { challenge: vec![7; 32] }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_vault_says_who_it_is_over_every_way_in() {
    let daemon = Daemon::start(|_| {}).await;
    for channel in [daemon.agents().await, daemon.agents_unix().await, daemon.operators().await] {
        let signed =
            daemon::agent_service(channel).describe_vault(describe()).await.expect("it says").into_inner().signed;
        assert!(signed.is_some_and(|signed| signed.signature.len() == 64));
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_measured_before_it_is_believed() {
    let daemon = Daemon::start(|_| {}).await;
    let mut agents = daemon::agent_service(daemon.agents().await);
    let envelope = |payload: usize, signature: usize| RequestCredentialRequest {
        signed: Some(SignedEnvelope {
            payload_type: "application/vnd.nockvault.request.v1+json".to_owned(),
            payload: vec![b' '; payload],
            signature: vec![0; signature],
            kid: String::new(),
        }),
    };
    let over = agents.request_credential(envelope(40_000, 64)).await.expect_err("it is too large");
    assert_eq!(
        (over.code(), reason(&over).as_str()),
        (Code::InvalidArgument, "oversize"),
        "and is not read to its end"
    );
    let long = agents.request_credential(envelope(9_000, 64)).await.expect_err("it is too large");
    assert_eq!((long.code(), reason(&long).as_str()), (Code::InvalidArgument, "oversize"));
    let shapeless = agents.request_credential(envelope(10, 63)).await.expect_err("it has no shape");
    assert_eq!((shapeless.code(), reason(&shapeless).as_str()), (Code::InvalidArgument, "malformed"));
    assert!(shapeless.message().contains("this one has 63"), "{shapeless:?}");
    let stranger = agents.request_credential(envelope(10, 64)).await.expect_err("nobody signed it");
    assert_eq!((stranger.code(), reason(&stranger).as_str()), (Code::Unauthenticated, "unauthenticated"));
    let told = RefusalDetails::from_status(&stranger).expect("one of ours");
    assert!(told.signed.is_none() && told.metadata.is_empty(), "{told:?}");

    let metrics = http(daemon.http, "/metrics").await;
    for line in [
        "nockvault_requests_total{rpc=\"RequestCredential\",code=\"INVALID_ARGUMENT\"} 3",
        "nockvault_requests_total{rpc=\"RequestCredential\",code=\"UNAUTHENTICATED\"} 1",
        "nockvault_refusals_total{reason=\"malformed\"} 1",
        "nockvault_refusals_total{reason=\"oversize\"} 2",
        "nockvault_refusals_total{reason=\"unauthenticated\"} 1",
    ] {
        assert!(metrics.contains(line), "no {line} in\n{metrics}");
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_plaintext_nor_garbage_gets_in_or_does_harm() {
    let daemon = Daemon::start(|_| {}).await;
    let plain = Endpoint::from_shared(format!("http://{}", daemon.tcp)).expect("an address").connect().await;
    if let Ok(channel) = plain {
        health(channel, "").await.expect_err("there is TLS");
    }
    let garbage: [&[u8]; 5] =
        [b"", b"\0", b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0", &[0xff; 70_000]];
    for bytes in garbage {
        let mut stream = TcpStream::connect(daemon.tcp).await.expect("it listens");
        // It may close before all was written.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it is closed");

        let mut stream =
            tokio::net::UnixStream::connect(daemon.folder().join("run/agents.sock")).await.expect("it listens");
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it is closed");
    }
    assert_eq!(health(daemon.agents().await, "").await.expect("served"), ServingStatus::Serving);
    assert_eq!(health(daemon.agents_unix().await, "").await.expect("served"), ServingStatus::Serving);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_tells_what_is_public() {
    let daemon = Daemon::start(|_| {}).await;
    for (path, head, body) in [
        ("/healthz", "HTTP/1.1 200", "serving"),
        ("/readyz", "HTTP/1.1 200", "serving"),
        ("/metrics", "application/openmetrics-text", "# EOF"),
        ("/.well-known/jwks.json", "application/jwk-set+json", "\"crv\":\"Ed25519\""),
        ("/.well-known/openid-configuration", "HTTP/1.1 404", "no https issuer is configured"),
        ("/jwt/revoked", "application/jwt", "."),
        ("/", "HTTP/1.1 404", ""),
        ("/.well-known/../etc/passwd", "HTTP/1.1 404", ""),
    ] {
        let answer = http(daemon.http, path).await;
        let (got, rest) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(got.contains(head) && rest.contains(body), "{path}: {answer}");
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sockets_are_the_owners_alone_and_gone_at_the_end() {
    let daemon = Daemon::start(|_| {}).await;
    let sockets = ["agents", "operators"].map(|name| daemon.folder().join(format!("run/{name}.sock")));
    for socket in &sockets {
        let mode = std::fs::metadata(socket).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", socket.display());
    }
    daemon.stop().await;
    assert!(sockets.iter().all(|socket| !socket.exists()));
}

/// A request whose message is held back until it is told to go.
struct Held {
    go: tokio::sync::mpsc::Sender<DescribeVaultRequest>,
    answer: tokio::task::JoinHandle<Result<DescribeVaultResponse, Status>>,
}

impl Held {
    async fn finish(self) -> Result<DescribeVaultResponse, Status> {
        self.go.send(describe()).await.expect("it waits");
        // Its end makes the message whole.
        drop(self.go);
        self.answer.await.expect("it ends")
    }
}

async fn hold(channel: Channel) -> Held {
    let (go, message) = tokio::sync::mpsc::channel(1);
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.expect("it is connected");
    let answer = tokio::spawn(async move {
        let codec = tonic_prost::ProstCodec::<DescribeVaultRequest, DescribeVaultResponse>::default();
        let request = Request::new(ReceiverStream::new(message));
        grpc.client_streaming(request, http_path(methods::DESCRIBE), codec).await.map(tonic::Response::into_inner)
    });
    // Its head is under way; nothing says when it has arrived.
    tokio::time::sleep(Duration::from_millis(300)).await;
    Held { go, answer }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_too_much_is_told_at_once_and_keeps_nobody_else_out() {
    let daemon = Daemon::start(|limits| limits.concurrent_requests = 1).await;
    let channel = daemon.agents().await;
    let held = hold(channel.clone()).await;

    let busy = daemon::agent_service(channel.clone()).describe_vault(describe()).await.expect_err("one is in hand");
    assert_eq!((busy.code(), reason(&busy).as_str()), (Code::ResourceExhausted, "busy"));
    assert_eq!(health(channel, "").await.expect("served"), ServingStatus::Serving);
    daemon::agent_service(daemon.operators().await).describe_vault(describe()).await.expect("operators have their own");

    held.finish().await.expect("it is answered");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_hand_is_finished_and_nothing_new_begins() {
    let daemon = Daemon::start(|_| {}).await;
    let channel = daemon.agents().await;
    let mut watched = HealthClient::new(daemon.agents_unix().await)
        .watch(HealthCheckRequest { service: AGENTS.to_owned() })
        .await
        .expect("it is served")
        .into_inner();
    let next = watched.next().await.expect("at once").expect("a status");
    assert_eq!(next.status(), ServingStatus::Serving);
    let held = hold(channel).await;

    daemon.stop.cancel();
    // That it serves may be told more than once.
    let another = async {
        loop {
            let next = watched.next().await.expect("told").expect("a status").status();
            if next != ServingStatus::Serving {
                return next;
            }
        }
    };
    let next = tokio::time::timeout(PATIENCE, another).await.expect("soon");
    assert_eq!(next, ServingStatus::NotServing);
    let ready = http(daemon.http, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503") && ready.ends_with("stopping"), "{ready}");
    // The task that accepts is told, and on a busy machine runs a moment later.
    let shut = async { while TcpStream::connect(daemon.tcp).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, shut).await.expect("nobody accepts any more");

    held.finish().await.expect("it is answered");
    // The watcher still watches, and holds nobody up.
    let vault = daemon.vault.upgrade().expect("it serves");
    let begin = std::time::Instant::now();
    daemon.ended().await.expect("it ended in order");
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());

    let lines = vault.store().lines(&nockvault::id::ChainName::vault(), 0, 100, 1 << 20).await.expect("a chain");
    let lines = lines.expect("it is there").lines;
    let mut ends = lines.iter().rev().map(|line| String::from_utf8_lossy(line).into_owned());
    let (last, before) = (ends.next().expect("it has begun"), ends.next().expect("it has begun"));
    assert!(last.contains("\"kind\":\"checkpoint\"") && before.contains("\"kind\":\"stop\""), "{before}\n{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_does_not_end_is_given_up() {
    let daemon = Daemon::start(|limits| (limits.request_timeout_s, limits.commit_deadline_ms) = (1, 500)).await;
    let held = hold(daemon.agents().await).await;
    let given_up = tokio::time::timeout(PATIENCE, held.answer).await.expect("soon").expect("it ends");
    let given_up = given_up.expect_err("its message never came");
    assert_eq!((given_up.code(), reason(&given_up).as_str()), (Code::DeadlineExceeded, "outcome_unknown"));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_anyone_may_open_ends_with_its_time() {
    let daemon = Daemon::start(|limits| (limits.request_timeout_s, limits.commit_deadline_ms) = (1, 500)).await;
    let ask = || ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    // It asks as long as it is answered, and never says that it is done.
    let (more, asked) = tokio::sync::mpsc::channel(1);
    more.send(ask()).await.expect("there is room");
    let mut answers = ServerReflectionClient::new(daemon.agents().await)
        .server_reflection_info(tokio_stream::wrappers::ReceiverStream::new(asked))
        .await
        .expect("reflection is served")
        .into_inner();
    let ended = async {
        loop {
            match answers.next().await.expect("it is told") {
                Ok(_) => more.send(ask()).await.expect("it is open"),
                Err(status) => return status,
            }
        }
    };
    let ended = tokio::time::timeout(PATIENCE, ended).await.expect("soon");
    assert_eq!((ended.code(), ended.message()), (Code::Unavailable, "this has had its time; ask anew"));
    daemon.stop().await;
}
