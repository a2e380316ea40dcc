//! Messages of gRPC: what a call carries, and what a refusal does.

use nockvault::server::methods;
use nockvault::wire::convert::{RefusalDetails, envelope};
use nockvault::wire::v1::*;
use prost::Message;
use tonic::{Code, Status};

use super::envelope;

macro_rules! messages {
    (signed: $($signed:ident),*; bare: $($bare:ident),*;) => {
        /// Every request of the contract: its name, and what reads it.
        pub const REQUESTS: &[(&str, fn(&[u8]) -> bool)] = &[
            $((stringify!($signed), |bytes| {
                read::<$signed>(bytes).is_some_and(|message| envelope(message.signed).is_ok_and(opened))
            }),)*
            $((stringify!($bare), |bytes| read::<$bare>(bytes).is_some()),)*
        ];
    };
}

messages! {
    signed: OpenSessionRequest, RequestCredentialRequest, RenewLeaseRequest, ReleaseLeaseRequest, CloseSessionRequest,
        RotateKeyRequest, ReadStatusRequest, ExplainRequest, ReadDoctorRequest, RegisterAgentRequest, ListAgentsRequest,
        ShowAgentRequest, EndAgentKeyRequest, FreezeAgentRequest, ThawAgentRequest, FreezeVaultRequest, ThawVaultRequest,
        FreezeRoleRequest, ThawRoleRequest, ListCustodiansRequest, AddCustodianRequest, RemoveCustodianRequest,
        RotateRootRequest, CreateRoleRequest, CheckRoleRequest, RotateRoleRequest, ListRolesRequest, ShowRoleRequest,
        PutSecretRequest, RollbackSecretRequest, ListSecretsRequest, ListSecretVersionsRequest, CreateCaRequest,
        ImportCaRequest, CertifyCaRequest, ShowCaRequest, CreateGrantRequest, ListGrantsRequest, RevokeGrantRequest,
        ListLeasesRequest, ShowLeaseRequest, ForgetLeaseRequest, RevokeLeasesRequest, RotateVaultKeyRequest,
        RotateRingRequest, ResetClockRequest, MakeBackupRequest, RegisterOperatorRequest, SetOperatorDutyRequest,
        EndOperatorKeyRequest, RotateOperatorKeyRequest, ListOperatorsRequest, ShowOperatorRequest, SetPolicyRequest,
        ShowPolicyRequest, ApproveRequest, WithdrawRequest, ListApprovalsRequest, ListChainsRequest,
        ReadCheckpointRequest, ProveEntryRequest, ReadAuditRequest, ReadDirectoryRequest, SealVaultRequest;
    bare: DescribeVaultRequest, ReadCustodyRequest, UnsealRequest, WithdrawSharesRequest, RecoverRequest;
}

/// The first byte says which request the rest is to be read as.
pub(super) fn grpc(data: &[u8]) -> bool {
    let Some((which, bytes)) = data.split_first() else { return false };
    if let Some(path) = super::text(bytes) {
        assert!(methods::name(path).is_none_or(|name| path.ends_with(name)));
    }
    let (_, read) = REQUESTS[usize::from(*which) % REQUESTS.len()];
    read(bytes)
}

/// A message that is read is written so that it is read as the same.
fn read<M: Message + Default + PartialEq>(bytes: &[u8]) -> Option<M> {
    let message = M::decode(bytes).ok()?;
    let written = message.encode_to_vec();
    assert_eq!(written.len(), message.encoded_len());
    assert!(M::decode(written.as_slice()).is_ok_and(|again| again == message), "it is written as another message");
    Some(message)
}

fn opened(envelope: nockvault::crypto::envelope::Envelope) -> bool {
    let bytes = SignedEnvelope::from(envelope).encode_to_vec();
    envelope::envelope(&bytes)
}

/// The details of a refusal, which any proxy on the way may have written.
pub(super) fn status(data: &[u8]) -> bool {
    let status = Status::with_details(Code::Unavailable, "", data.to_vec().into());
    let Some(details) = RefusalDetails::from_status(&status) else { return false };
    let _ = details.retry_after();
    let again = details.clone().into_status(Code::NotFound, "again");
    assert_eq!(RefusalDetails::from_status(&again), Some(details), "a refusal is written as another");
    true
}
