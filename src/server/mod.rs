//! The daemon's outside: listeners, TLS, limits, the two gRPC services, and the way they end. Agents and operators have
//! listeners, connections and places of their own. An agent's listener serves `AgentService` and nothing of the operators';
//! an operator's serves `OperatorService`, and of the agents' only `DescribeVault`. Beside them stand health and
//! reflection, which anyone may ask, a bounded number at once and for a bounded time.
//!
//! A message is bounded before it is read, a connection before it is accepted, a request before it waits. What is
//! refused is refused through one table ([`status::code`]). The services decide nothing: they hand envelopes to the
//! vault and send back what it releases.

pub mod admission;
mod agents;
mod backup;
pub mod compose;
mod desk;
pub mod drain;
mod house;
mod http;
pub mod init;
pub mod listen;
mod marker;
pub mod methods;
mod operators;
pub mod peers;
mod phases;
mod public;
pub mod restore;
mod sealed;
pub mod sinks;
pub mod status;
pub mod supervisor;
pub mod tls;
pub mod walls;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::{Server, ServerTlsConfig};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tower::layer::util::Identity;

use crate::config::{Config, Limits};
use crate::telemetry::Telemetry;
use crate::time::Seconds;
use crate::vault::Vault;
use crate::wire::v1::agent_service_server::AgentServiceServer;
use crate::wire::v1::custody_service_server::CustodyServiceServer;
use crate::wire::v1::operator_service_server::OperatorServiceServer;

use admission::Admission;
use agents::Agents;
use backup::Belongings;
use desk::{Desk, Told};
use house::House;
use listen::{Door, Listener, Listeners, Patience};
use operators::Operators;
use peers::{Free, Peers};
use phases::Phases;
use sealed::Custody;
use sinks::SinkFault;
use tls::TlsFault;

/// The largest message to health and reflection.
const PUBLIC_MESSAGE: usize = 4096;
/// The largest answer: what gRPC clients take by default.
const ANSWER: usize = 4 << 20;
/// How long the sinks have at the end for what is left, where there is so much time.
const CARRY: Duration = Duration::from_secs(5);

/// Why the daemon ended otherwise than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum RunFault {
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// A listener.
    #[error("a listener ended: {0}")]
    Listener(String),
    /// The store failed.
    #[error(
        "the store failed, as the log says, so nothing more can be issued; mend the disk, or what keeps it locked, and start \
         again: recovery goes on from there"
    )]
    Vault,
    /// It was sealed, and something held on to its keys.
    #[error(
        "the vault is sealed, but something here still holds its keys, so the daemon ends itself; start it again, it \
         will be sealed"
    )]
    Held,
    /// A sink of the audit trail.
    #[error(transparent)]
    Sink(#[from] SinkFault),
}

type Ended = Result<(), String>;

/// Serves on these listeners until it is told to stop, then ends in order: when this returns, the vault has written down
/// that it stopped. Without a vault it begins sealed; a vault that is sealed by command makes room for the next one that
/// somebody unseals.
///
/// # Errors
/// What kept it from serving, or from serving on.
pub async fn run(
    config: &Config,
    vault: Option<Arc<Vault>>,
    listeners: Listeners,
    telemetry: Telemetry,
    stop: CancellationToken,
) -> Result<(), RunFault> {
    let limits = &config.limits;
    let tls = match &config.tls {
        Some(files) => Some(tls::load(files, Seconds(limits.handshake_timeout_s))?),
        None => None,
    };
    let belongings = Arc::new(config.tls.as_ref().map_or_else(Vec::new, restore::belongings));
    let phases = Phases::new(telemetry.clone());
    if let Some(vault) = &vault {
        // Before a connection is accepted: who was told that the daemon is ready finds no sealed vault.
        phases.unseal(Arc::clone(vault));
    }
    let (custody, contributed) = Custody::new(config, phases.clone(), telemetry.clone());
    let told = Told::new();
    let serving = Serving { limits: *limits, tls, belongings, phases: phases.clone(), custody, telemetry, told };
    let closing = CancellationToken::new();
    let peers = |free| Peers::new(limits, free);
    let at_agents = peers(Free::Nobody);
    let for_agents = serving.admission("agents", &at_agents);
    let health = [(); 2].map(|()| HealthReporter::new());
    let [agents_health, operators_health] = &health;

    let mut doors: JoinSet<Ended> = JoinSet::new();
    let places = serving.places();
    for listener in listeners.agents {
        let routes = serving.agents(agents_health).await;
        let door = serving.door(listener, "agents", &places, &at_agents);
        doors.spawn(serving.grpc(routes, door, &for_agents, AGENT_WINDOWS, closing.clone())?);
    }
    let mut admissions = vec![for_agents];
    // Each has places of its own: what is done to a port is not felt at the socket.
    for listener in listeners.operators {
        let routes = serving.operators(operators_health, matches!(listener, Listener::Unix(_))).await;
        let at_operators = peers(Free::Local);
        let door = serving.door(listener, "operators", &serving.places(), &at_operators);
        let admission = serving.admission("operators", &at_operators);
        doors.spawn(serving.grpc(routes, door, &admission, OPERATOR_WINDOWS, closing.clone())?);
        admissions.push(admission);
    }
    // HTTP says "stopping" as long as anybody could ask.
    let end = CancellationToken::new();
    let mut http: JoinSet<Ended> = JoinSet::new();
    if let Some(listener) = listeners.http {
        let door = serving.door(listener, "http", &serving.places(), &peers(Free::Nobody));
        let telemetry = serving.telemetry.clone();
        let web = http::serve(door, phases.clone(), config.http_names, telemetry, closing.clone(), end.clone());
        http.spawn(async move { web.await.map_err(|error| error.to_string()) });
    }

    let mut house = House { config, serving: &serving, health: &health, doors, http, contributed, stop };
    let (ended, unsealed) = house.live(vault).await;
    let House { mut doors, mut http, .. } = house;

    serving.telemetry.ready(false);
    declare(&health, ServingStatus::NotServing).await;
    closing.cancel();
    drain::drain(&mut doors, &admissions, Duration::from_secs(limits.drain_s)).await;
    if let Some(unsealed) = unsealed {
        unsealed.end(CARRY.min(Duration::from_secs(limits.drain_s))).await;
    }
    end.cancel();
    http.shutdown().await;
    ended
}

/// Says whether the services are served, to whoever watches.
async fn declare(health: &[HealthReporter; 2], status: ServingStatus) {
    let own = [AgentServiceServer::<Agents>::NAME, OperatorServiceServer::<Operators>::NAME];
    for (health, own) in health.iter().zip(own) {
        for service in ["", own] {
            health.set_service_status(service, status).await;
        }
    }
}

/// How many bytes may be under way unread, for one request and for one connection.
type Windows = (u32, u32);
const AGENT_WINDOWS: Windows = (64 << 10, 256 << 10);
const OPERATOR_WINDOWS: Windows = (1 << 20, 2 << 20);

/// What all listeners are served with.
struct Serving {
    limits: Limits,
    tls: Option<ServerTlsConfig>,
    /// What goes with a backup.
    belongings: Belongings,
    phases: Phases,
    custody: Custody,
    telemetry: Telemetry,
    /// Which refusals the log tells of.
    told: Told,
}

impl Serving {
    fn admission(&self, name: &'static str, peers: &Peers) -> Admission {
        let phases = self.phases.clone();
        let places = u32::try_from(self.limits.concurrent_requests).unwrap_or(u32::MAX);
        let timeout = Duration::from_secs(self.limits.request_timeout_s);
        let peers = (name, peers.clone());
        Admission::new(places, timeout, peers, self.telemetry.clone(), move |reason| phases.refuse_unread(reason))
    }

    fn places(&self) -> Arc<Semaphore> {
        Arc::new(Semaphore::new(usize::try_from(self.limits.connections).unwrap_or(Semaphore::MAX_PERMITS)))
    }

    fn door(&self, listener: Listener, name: &'static str, places: &Arc<Semaphore>, peers: &Peers) -> Door {
        let patience = Patience::from(&self.limits);
        let (places, peers) = (Arc::clone(places), peers.clone());
        Door { listener, name, places, peers, patience, telemetry: self.telemetry.clone() }
    }

    fn desk(&self) -> Desk {
        let belongings = Arc::clone(&self.belongings);
        let told = self.told.clone();
        Desk { phases: self.phases.clone(), telemetry: self.telemetry.clone(), belongings, told }
    }

    async fn agents(&self, health: &HealthReporter) -> Routes {
        let bytes = usize::try_from(self.limits.agent_message_bytes).unwrap_or(usize::MAX);
        let service = AgentServiceServer::new(Agents(self.desk()))
            .max_decoding_message_size(bytes)
            .max_encoding_message_size(ANSWER);
        public(Routes::new(service), &[AgentServiceServer::<Agents>::NAME], health, self.status()).await
    }

    /// What health begins with.
    fn status(&self) -> ServingStatus {
        if self.phases.state().is_some() { ServingStatus::Serving } else { ServingStatus::NotServing }
    }

    /// Operators challenge the vault before they command it, so `DescribeVault` answers at their door too. It is all of
    /// the agents' service that they get. Custody is for those on this machine alone.
    async fn operators(&self, health: &HealthReporter, on_this_machine: bool) -> Routes {
        let bytes = usize::try_from(self.limits.operator_message_bytes).unwrap_or(usize::MAX);
        let service = OperatorServiceServer::new(Operators(self.desk()))
            .max_decoding_message_size(bytes)
            .max_encoding_message_size(ANSWER);
        let describe = AgentServiceServer::new(Agents(self.desk())).max_decoding_message_size(PUBLIC_MESSAGE);
        let routes = Routes::new(service).into_axum_router().route_service(methods::DESCRIBE, describe);
        let mut routes = Routes::from(routes);
        let mut names = vec![OperatorServiceServer::<Operators>::NAME];
        if on_this_machine {
            let custody = CustodyServiceServer::new(self.custody.clone());
            routes = routes.add_service(custody.max_decoding_message_size(PUBLIC_MESSAGE));
            names.push(CustodyServiceServer::<Custody>::NAME);
        }
        public(routes, &names, health, self.status()).await
    }

    /// Serves `routes` at `door` until `closing`.
    fn grpc(
        &self,
        routes: Routes,
        door: Door,
        admission: &Admission,
        windows: Windows,
        closing: CancellationToken,
    ) -> Result<impl Future<Output = Ended> + Send + 'static, TlsFault> {
        let mut server = self.http2(windows);
        // Whoever reached the unix socket is on this machine and was let in by its mode.
        if let (Listener::Tcp(_), Some(tls)) = (&door.listener, &self.tls) {
            server = server.tls_config(tls.clone()).map_err(|error| TlsFault::Refused(with_causes(&error)))?;
        }
        let router = server.layer(admission.clone()).add_routes(routes);
        let incoming = door.incoming(closing.clone());
        Ok(async move {
            let served = router.serve_with_incoming_shutdown(incoming, closing.cancelled_owned()).await;
            served.map_err(|error| with_causes(&error))
        })
    }

    fn http2(&self, (stream, connection): Windows) -> Server<Identity> {
        let small = |limit: u64| u32::try_from(limit).unwrap_or(u32::MAX);
        Server::builder()
            .max_concurrent_streams(small(self.limits.streams_per_connection))
            .http2_max_header_list_size(small(self.limits.header_bytes))
            .http2_keepalive_interval(Some(Duration::from_secs(self.limits.keepalive_s)))
            .http2_keepalive_timeout(Some(Duration::from_secs(self.limits.keepalive_timeout_s)))
            .initial_stream_window_size(stream)
            .initial_connection_window_size(connection)
    }
}

/// Adds what anyone may ask: health of this service, and what there is to call.
async fn public(routes: Routes, services: &[&'static str], health: &HealthReporter, status: ServingStatus) -> Routes {
    // Of the first there is a health: it is served where the vault is unsealed. How a vault is unsealed is always served.
    for name in ["", services[0]] {
        health.set_service_status(name, status).await;
    }
    let health = HealthServer::new(HealthService::from_health_reporter(health.clone()));
    let reflection = services
        .iter()
        .fold(tonic_reflection::server::Builder::configure(), |builder, service| builder.with_service_name(*service));
    let reflection = reflection
        .register_encoded_file_descriptor_set(crate::wire::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name("grpc.health.v1.Health")
        .with_service_name("grpc.reflection.v1.ServerReflection")
        .build_v1()
        .expect("the committed descriptor sets are whole, as a test sees");
    routes
        .add_service(health.max_decoding_message_size(PUBLIC_MESSAGE))
        .add_service(reflection.max_decoding_message_size(PUBLIC_MESSAGE))
}

/// An error with what caused it, for a log.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
