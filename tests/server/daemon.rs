//! A daemon in this process: a vault of its own in a temporary folder, on ports that the system chose.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Weak};

use nockvault::config::{Config, Limits};
use nockvault::entropy::OsEntropy;
use nockvault::server::init::{self, Laid, Plan};
use nockvault::server::listen::Listeners;
use nockvault::server::{RunFault, compose, run};
use nockvault::telemetry::Telemetry;
use nockvault::time::{Clock as _, SystemClock};
use nockvault::vault::Vault;
use nockvault::wire::v1::agent_service_client::AgentServiceClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// How to make a vault in `folder`, on free ports of loopback.
pub(crate) fn plan(folder: &Path) -> Plan {
    Plan {
        folder: folder.join("vault"),
        name: "test".parse().expect("a name"),
        operator: "ada".parse().expect("a name"),
        hosts: Vec::new(),
        agents: LOOPBACK,
        operators: None,
        http: LOOPBACK,
        custody: nockvault::server::init::Keeper::File(None),
    }
}

pub(crate) struct Daemon {
    folder: tempfile::TempDir,
    pub(crate) laid: Laid,
    /// Not held here: a vault that somebody holds is not sealed.
    pub(crate) vault: Weak<Vault>,
    pub(crate) tcp: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) stop: CancellationToken,
    task: JoinHandle<Result<(), RunFault>>,
}

impl Daemon {
    /// Starts one with these limits.
    pub(crate) async fn start(change: impl FnOnce(&mut Limits)) -> Daemon {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let laid =
            init::lay(&plan(folder.path()), SystemClock.now(), &(Arc::new(OsEntropy) as _)).expect("a vault is made");
        let mut config = Config::read(&laid.config).expect("the configuration is valid");
        change(&mut config.limits);
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listeners = Listeners::bind(&config).await.expect("free ports");
        let tcp = listeners.agents.iter().find_map(|listener| listener.address()).expect("a port");
        let http = listeners.http.as_ref().and_then(|listener| listener.address()).expect("a port");
        let vault = compose::open(&config, Arc::new(SystemClock), Arc::new(OsEntropy)).await.expect("it opens");
        let stop = CancellationToken::new();
        let held = Arc::downgrade(&vault);
        let task = tokio::spawn({
            let stop = stop.clone();
            async move { run(&config, Some(vault), listeners, Telemetry::new(), stop).await }
        });
        Daemon { folder, laid, vault: held, tcp, http, stop, task }
    }

    pub(crate) fn folder(&self) -> std::path::PathBuf {
        self.folder.path().join("vault")
    }

    /// Over TLS.
    pub(crate) async fn agents(&self) -> Channel {
        let ca = self.laid.card.ca.as_ref().expect("the card carries it");
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
        let endpoint = Endpoint::from_shared(format!("https://{}", self.tcp)).expect("an address");
        endpoint.tls_config(tls).expect("a certificate").connect().await.expect("it listens")
    }

    pub(crate) async fn agents_unix(&self) -> Channel {
        self.unix("agents").await
    }

    pub(crate) async fn operators(&self) -> Channel {
        self.unix("operators").await
    }

    async fn unix(&self, name: &str) -> Channel {
        let path = self.folder().join(format!("run/{name}.sock"));
        let endpoint = Endpoint::from_shared(format!("unix:{}", path.display())).expect("an address");
        endpoint.connect().await.expect("it listens")
    }

    /// Tells it to stop and waits until it has.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.ended().await.expect("it ended in order");
    }

    pub(crate) async fn ended(self) -> Result<(), RunFault> {
        self.task.await.expect("it did not panic")
    }
}

pub(crate) fn agent_service(channel: Channel) -> AgentServiceClient<Channel> {
    AgentServiceClient::new(channel)
}

/// The whole answer to a GET.
pub(crate) async fn http(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let ask = format!("GET {path} HTTP/1.1\r\nHost: vault\r\nConnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.expect("it is open");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}
