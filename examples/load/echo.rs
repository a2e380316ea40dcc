//! The least that a call costs: the vault's own service over the same transport, which reads a request of the same size
//! and answers at once with the same bytes.

use std::io::Read as _;
use std::net::SocketAddr;

use clap::Args;
use nockvault::client::channel;
use nockvault::wire::v1::agent_service_client::AgentServiceClient;
use nockvault::wire::v1::agent_service_server::{AgentService, AgentServiceServer};
use nockvault::wire::v1::{
    CloseSessionRequest, CloseSessionResponse, DescribeVaultRequest, DescribeVaultResponse, OpenSessionRequest,
    OpenSessionResponse, ReleaseLeaseRequest, ReleaseLeaseResponse, RenewLeaseRequest, RenewLeaseResponse,
    RequestCredentialRequest, RequestCredentialResponse, RotateKeyRequest, RotateKeyResponse, SignedEnvelope,
};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server as Transport};
use tonic::{Request, Response, Status, async_trait};

use super::measure::{Plan, Work};

/// An envelope with which the message around it has this many bytes.
fn filled(bytes: usize) -> SignedEnvelope {
    let mut envelope = SignedEnvelope {
        payload_type: "application/vnd.nockvault.request.v1+json".to_owned(),
        payload: Vec::new(),
        signature: vec![7; 64],
        kid: "k".repeat(43),
    };
    let around = RequestCredentialRequest { signed: Some(envelope.clone()) }.encoded_len();
    envelope.payload = vec![b'x'; bytes.saturating_sub(around + 4)];
    envelope
}

/// What `echo-server` is told.
#[derive(Args)]
pub(crate) struct Server {
    /// How large the answer is, in bytes of protobuf.
    #[arg(long, default_value_t = 1500)]
    reply_bytes: usize,
}

struct Echo(SignedEnvelope);

fn none<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("nothing but RequestCredential"))
}

#[async_trait]
impl AgentService for Echo {
    async fn describe_vault(
        &self,
        _: Request<DescribeVaultRequest>,
    ) -> Result<Response<DescribeVaultResponse>, Status> {
        none()
    }

    async fn open_session(&self, _: Request<OpenSessionRequest>) -> Result<Response<OpenSessionResponse>, Status> {
        none()
    }

    async fn request_credential(
        &self,
        request: Request<RequestCredentialRequest>,
    ) -> Result<Response<RequestCredentialResponse>, Status> {
        if request.get_ref().signed.is_none() {
            return Err(Status::invalid_argument("empty"));
        }
        Ok(Response::new(RequestCredentialResponse { signed: Some(self.0.clone()) }))
    }

    async fn renew_lease(&self, _: Request<RenewLeaseRequest>) -> Result<Response<RenewLeaseResponse>, Status> {
        none()
    }

    async fn release_lease(&self, _: Request<ReleaseLeaseRequest>) -> Result<Response<ReleaseLeaseResponse>, Status> {
        none()
    }

    async fn close_session(&self, _: Request<CloseSessionRequest>) -> Result<Response<CloseSessionResponse>, Status> {
        none()
    }

    async fn rotate_key(&self, _: Request<RotateKeyRequest>) -> Result<Response<RotateKeyResponse>, Status> {
        none()
    }
}

impl Server {
    pub(crate) async fn run(self) -> anyhow::Result<Value> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        println!("ready http://{}", listener.local_addr()?);
        let service = AgentServiceServer::new(Echo(filled(self.reply_bytes)));
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        // Whoever started it holds the other end.
        let ended = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0]));
        let until = async {
            let _ = ended.await;
        };
        let served = Transport::builder().add_service(service).serve_with_incoming_shutdown(incoming, until);
        tokio::spawn(served).await??;
        Ok(json!({ "ended": true }))
    }
}

/// What `echo` is told.
#[derive(Args)]
pub(crate) struct Load {
    #[command(flatten)]
    plan: Plan,
    /// Where the server is.
    #[arg(long)]
    address: String,
    /// How large a request is, in bytes of protobuf.
    #[arg(long, default_value_t = 1000)]
    request_bytes: usize,
}

struct Caller {
    client: AgentServiceClient<Channel>,
    request: SignedEnvelope,
}

impl Work for Caller {
    async fn once(&mut self) -> Result<(), String> {
        let request = RequestCredentialRequest { signed: Some(self.request.clone()) };
        match self.client.request_credential(request).await {
            Ok(reply) if reply.get_ref().signed.is_some() => Ok(()),
            Ok(_) => Err("an empty answer".to_owned()),
            Err(status) => Err(status.to_string()),
        }
    }
}

impl Load {
    pub(crate) async fn run(self) -> anyhow::Result<Value> {
        let mut callers = Vec::new();
        for _ in 0..self.plan.sessions {
            let client = AgentServiceClient::new(channel::open(&self.address, None).await?);
            callers.push(Caller { client, request: filled(self.request_bytes) });
        }
        Ok(self.plan.drive(callers).await)
    }
}
