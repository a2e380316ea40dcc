//! The service of operators: from a message to an envelope, to the vault, and back. Nothing is decided here; a secret
//! that travels beside its envelope stays sealed until the vault opens it.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::desk::Desk;
use super::{backup, status};
use crate::crypto::hpke::Sealed;
use crate::denial::Reason;
use crate::vault::Vault;
use crate::vault::operate::Call;
use crate::wire::v1::operator_service_server::OperatorService;
use crate::wire::v1::{
    AddCustodianRequest, AddCustodianResponse, ApproveRequest, ApproveResponse, CertifyCaRequest, CertifyCaResponse,
    CheckRoleRequest, CheckRoleResponse, CreateCaRequest, CreateCaResponse, CreateGrantRequest, CreateGrantResponse,
    CreateRoleRequest, CreateRoleResponse, EndAgentKeyRequest, EndAgentKeyResponse, EndOperatorKeyRequest,
    EndOperatorKeyResponse, ExplainRequest, ExplainResponse, ForgetLeaseRequest, ForgetLeaseResponse,
    FreezeAgentRequest, FreezeAgentResponse, FreezeRoleRequest, FreezeRoleResponse, FreezeVaultRequest,
    FreezeVaultResponse, ImportCaRequest, ImportCaResponse, ListAgentsRequest, ListAgentsResponse,
    ListApprovalsRequest, ListApprovalsResponse, ListChainsRequest, ListChainsResponse, ListCustodiansRequest,
    ListCustodiansResponse, ListGrantsRequest, ListGrantsResponse, ListLeasesRequest, ListLeasesResponse,
    ListOperatorsRequest, ListOperatorsResponse, ListRolesRequest, ListRolesResponse, ListSecretVersionsRequest,
    ListSecretVersionsResponse, ListSecretsRequest, ListSecretsResponse, MakeBackupRequest, ProveEntryRequest,
    ProveEntryResponse, PutSecretRequest, PutSecretResponse, ReadAuditRequest, ReadAuditResponse,
    ReadCheckpointRequest, ReadCheckpointResponse, ReadDirectoryRequest, ReadDirectoryResponse, ReadDoctorRequest,
    ReadDoctorResponse, ReadStatusRequest, ReadStatusResponse, RegisterAgentRequest, RegisterAgentResponse,
    RegisterOperatorRequest, RegisterOperatorResponse, RemoveCustodianRequest, RemoveCustodianResponse,
    ResetClockRequest, ResetClockResponse, RevokeGrantRequest, RevokeGrantResponse, RevokeLeasesRequest,
    RevokeLeasesResponse, RollbackSecretRequest, RollbackSecretResponse, RotateOperatorKeyRequest,
    RotateOperatorKeyResponse, RotateRingRequest, RotateRingResponse, RotateRoleRequest, RotateRoleResponse,
    RotateRootRequest, RotateRootResponse, RotateVaultKeyRequest, RotateVaultKeyResponse, SealVaultRequest,
    SealVaultResponse, SetOperatorDutyRequest, SetOperatorDutyResponse, SetPolicyRequest, SetPolicyResponse,
    ShowAgentRequest, ShowAgentResponse, ShowCaRequest, ShowCaResponse, ShowLeaseRequest, ShowLeaseResponse,
    ShowOperatorRequest, ShowOperatorResponse, ShowPolicyRequest, ShowPolicyResponse, ShowRoleRequest,
    ShowRoleResponse, ThawAgentRequest, ThawAgentResponse, ThawRoleRequest, ThawRoleResponse, ThawVaultRequest,
    ThawVaultResponse, WithdrawRequest, WithdrawResponse,
};

/// The vault as operators see it.
#[derive(Clone, Debug)]
pub(super) struct Operators(pub(super) Desk);

macro_rules! operators {
    ({
        $($rpc:ident($request:ident) -> $response:ident = $call:ident;)*
    } and with sealed input {
        $($sealed_rpc:ident($sealed_request:ident) -> $sealed_response:ident = $sealed_call:ident;)*
    }) => {
        #[tonic::async_trait]
        impl OperatorService for Operators {
            $(async fn $rpc(&self, request: Request<$request>) -> Result<Response<$response>, Status> {
                let asked = self.0.ask(request.into_inner().signed, |vault, envelope| async move {
                    vault.operate(Call::$call, envelope, None).await
                });
                let signed = asked.await?;
                Ok(Response::new($response { signed: Some(signed) }))
            })*

            $(async fn $sealed_rpc(
                &self,
                request: Request<$sealed_request>,
            ) -> Result<Response<$sealed_response>, Status> {
                let $sealed_request { signed, sealed_enc, sealed_ct } = request.into_inner();
                // An encapsulated key of another length is no sealed input; the vault says so, signed.
                let sealed = sealed_enc.try_into().ok().map(|enc| Sealed { enc, ct: sealed_ct });
                let asked = self.0.ask(signed, |vault, envelope| async move {
                    vault.operate(Call::$sealed_call, envelope, sealed).await
                });
                let signed = asked.await?;
                Ok(Response::new($sealed_response { signed: Some(signed) }))
            })*

            async fn read_audit(
                &self,
                request: Request<ReadAuditRequest>,
            ) -> Result<Response<ReadAuditResponse>, Status> {
                let signed = request.into_inner().signed;
                let asked = |vault: Arc<Vault>, envelope| async move { vault.read_audit(envelope).await };
                let (signed, lines) = self.0.ask_beside(signed, asked).await?;
                Ok(Response::new(ReadAuditResponse { signed: Some(signed), lines }))
            }

            type MakeBackupStream = backup::Parts;

            async fn make_backup(
                &self,
                request: Request<MakeBackupRequest>,
            ) -> Result<Response<backup::Parts>, Status> {
                let inside = self.0.enter()?;
                let signed = request.into_inner().signed;
                let asked = |vault: Arc<Vault>, envelope| async move { vault.backup(envelope).await };
                let (signed, making) = self.0.ask_beside(signed, asked).await?;
                Ok(Response::new(backup::parts(signed, making, Arc::clone(&self.0.belongings), inside)))
            }

            async fn seal_vault(
                &self,
                request: Request<SealVaultRequest>,
            ) -> Result<Response<SealVaultResponse>, Status> {
                let (desk, signed) = (self.0.clone(), request.into_inner().signed);
                // In a task of its own: whoever asked may go away, and a seal that is chained takes effect.
                let sealing = tokio::spawn(async move { desk.seal(signed).await });
                let died = |_| status::refusal(&Reason::Internal.into(), None);
                let signed = sealing.await.map_err(died)??;
                Ok(Response::new(SealVaultResponse { signed: Some(signed) }))
            }

            async fn read_directory(
                &self,
                request: Request<ReadDirectoryRequest>,
            ) -> Result<Response<ReadDirectoryResponse>, Status> {
                let signed = request.into_inner().signed;
                let asked = |vault: Arc<Vault>, envelope| async move { vault.read_directory(envelope).await };
                let (signed, directory) = self.0.ask_beside(signed, asked).await?;
                Ok(Response::new(ReadDirectoryResponse { signed: Some(signed), directory }))
            }
        }
    };
}

operators!({
    read_status(ReadStatusRequest) -> ReadStatusResponse = StatusRead;
    explain(ExplainRequest) -> ExplainResponse = Explain;
    read_doctor(ReadDoctorRequest) -> ReadDoctorResponse = DoctorRead;
    register_agent(RegisterAgentRequest) -> RegisterAgentResponse = AgentRegister;
    list_agents(ListAgentsRequest) -> ListAgentsResponse = AgentList;
    show_agent(ShowAgentRequest) -> ShowAgentResponse = AgentShow;
    end_agent_key(EndAgentKeyRequest) -> EndAgentKeyResponse = AgentKeyEnd;
    freeze_agent(FreezeAgentRequest) -> FreezeAgentResponse = AgentFreeze;
    thaw_agent(ThawAgentRequest) -> ThawAgentResponse = AgentThaw;
    freeze_vault(FreezeVaultRequest) -> FreezeVaultResponse = VaultFreeze;
    thaw_vault(ThawVaultRequest) -> ThawVaultResponse = VaultThaw;
    freeze_role(FreezeRoleRequest) -> FreezeRoleResponse = RoleFreeze;
    thaw_role(ThawRoleRequest) -> ThawRoleResponse = RoleThaw;
    list_custodians(ListCustodiansRequest) -> ListCustodiansResponse = CustodyList;
    add_custodian(AddCustodianRequest) -> AddCustodianResponse = CustodyAdd;
    remove_custodian(RemoveCustodianRequest) -> RemoveCustodianResponse = CustodyRemove;
    rotate_root(RotateRootRequest) -> RotateRootResponse = CustodyRotate;
    create_role(CreateRoleRequest) -> CreateRoleResponse = RoleCreate;
    check_role(CheckRoleRequest) -> CheckRoleResponse = RoleCheck;
    rotate_role(RotateRoleRequest) -> RotateRoleResponse = RoleRotate;
    list_roles(ListRolesRequest) -> ListRolesResponse = RoleList;
    show_role(ShowRoleRequest) -> ShowRoleResponse = RoleShow;
    rollback_secret(RollbackSecretRequest) -> RollbackSecretResponse = SecretRollback;
    list_secrets(ListSecretsRequest) -> ListSecretsResponse = SecretList;
    list_secret_versions(ListSecretVersionsRequest) -> ListSecretVersionsResponse = SecretVersions;
    create_ca(CreateCaRequest) -> CreateCaResponse = CaCreate;
    certify_ca(CertifyCaRequest) -> CertifyCaResponse = CaCertify;
    show_ca(ShowCaRequest) -> ShowCaResponse = CaShow;
    create_grant(CreateGrantRequest) -> CreateGrantResponse = GrantCreate;
    list_grants(ListGrantsRequest) -> ListGrantsResponse = GrantList;
    revoke_grant(RevokeGrantRequest) -> RevokeGrantResponse = GrantRevoke;
    list_leases(ListLeasesRequest) -> ListLeasesResponse = LeaseList;
    show_lease(ShowLeaseRequest) -> ShowLeaseResponse = LeaseShow;
    forget_lease(ForgetLeaseRequest) -> ForgetLeaseResponse = LeaseForget;
    revoke_leases(RevokeLeasesRequest) -> RevokeLeasesResponse = LeaseRevoke;
    rotate_vault_key(RotateVaultKeyRequest) -> RotateVaultKeyResponse = KeyRotate;
    rotate_ring(RotateRingRequest) -> RotateRingResponse = RingRotate;
    reset_clock(ResetClockRequest) -> ResetClockResponse = ClockReset;
    register_operator(RegisterOperatorRequest) -> RegisterOperatorResponse = OperatorRegister;
    set_operator_duty(SetOperatorDutyRequest) -> SetOperatorDutyResponse = OperatorDuty;
    end_operator_key(EndOperatorKeyRequest) -> EndOperatorKeyResponse = OperatorKeyEnd;
    rotate_operator_key(RotateOperatorKeyRequest) -> RotateOperatorKeyResponse = OperatorRotate;
    list_operators(ListOperatorsRequest) -> ListOperatorsResponse = OperatorList;
    show_operator(ShowOperatorRequest) -> ShowOperatorResponse = OperatorShow;
    set_policy(SetPolicyRequest) -> SetPolicyResponse = PolicySet;
    show_policy(ShowPolicyRequest) -> ShowPolicyResponse = PolicyShow;
    approve(ApproveRequest) -> ApproveResponse = Approve;
    withdraw(WithdrawRequest) -> WithdrawResponse = Withdraw;
    list_approvals(ListApprovalsRequest) -> ListApprovalsResponse = ApprovalList;
    list_chains(ListChainsRequest) -> ListChainsResponse = AuditList;
    read_checkpoint(ReadCheckpointRequest) -> ReadCheckpointResponse = AuditCheckpoint;
    prove_entry(ProveEntryRequest) -> ProveEntryResponse = AuditProve;
} and with sealed input {
    put_secret(PutSecretRequest) -> PutSecretResponse = SecretPut;
    import_ca(ImportCaRequest) -> ImportCaResponse = CaImport;
});
