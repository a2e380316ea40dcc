//! The service of agents: from a message to an envelope, to the vault, and back. Nothing is decided here.

use tonic::{Request, Response, Status};

use super::desk::{Desk, peer};
use crate::wire::v1::agent_service_server::AgentService;
use crate::wire::v1::{
    CloseSessionRequest, CloseSessionResponse, DescribeVaultRequest, DescribeVaultResponse, OpenSessionRequest,
    OpenSessionResponse, ReleaseLeaseRequest, ReleaseLeaseResponse, RenewLeaseRequest, RenewLeaseResponse,
    RequestCredentialRequest, RequestCredentialResponse, RotateKeyRequest, RotateKeyResponse,
};

/// The vault as agents see it.
#[derive(Clone, Debug)]
pub(super) struct Agents(pub(super) Desk);

macro_rules! agents {
    ($($rpc:ident($request:ident) -> $response:ident = $verb:ident $(from $peer:ident)?;)*) => {
        #[tonic::async_trait]
        impl AgentService for Agents {
            async fn describe_vault(
                &self,
                request: Request<DescribeVaultRequest>,
            ) -> Result<Response<DescribeVaultResponse>, Status> {
                let described = self.0.enter()?.vault.describe(&request.get_ref().challenge);
                let signed = described.map_err(|denial| self.0.refuse(&denial, None))?;
                Ok(Response::new(DescribeVaultResponse { signed: Some(signed.into()) }))
            }

            $(async fn $rpc(&self, request: Request<$request>) -> Result<Response<$response>, Status> {
                $(let $peer = peer(&request)?;)?
                let signed = request.into_inner().signed;
                let asked = self.0.ask(signed, |vault, envelope| async move {
                    vault.$verb(envelope $(, $peer)?).await
                });
                let signed = asked.await?;
                Ok(Response::new($response { signed: Some(signed) }))
            })*
        }
    };
}

agents! {
    open_session(OpenSessionRequest) -> OpenSessionResponse = open_session;
    request_credential(RequestCredentialRequest) -> RequestCredentialResponse = issue from peer;
    renew_lease(RenewLeaseRequest) -> RenewLeaseResponse = renew from peer;
    release_lease(ReleaseLeaseRequest) -> ReleaseLeaseResponse = release;
    close_session(CloseSessionRequest) -> CloseSessionResponse = close;
    rotate_key(RotateKeyRequest) -> RotateKeyResponse = rotate_key;
}
