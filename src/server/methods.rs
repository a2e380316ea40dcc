//! Every method of all services, by name. A request for one of them counts against the requests in hand and is
//! measured under its name; whatever else a peer calls (health, reflection, a method that does not exist) is `other`.
//! A test compares the table with the contract, so that no new method can be forgotten.

/// The one call that asks for no signature, and that both kinds of listeners answer.
pub const DESCRIBE: &str = "/nockvault.v1.AgentService/DescribeVault";

/// The methods that agents call.
pub const AGENTS: &[&str] = &[
    DESCRIBE,
    "/nockvault.v1.AgentService/OpenSession",
    "/nockvault.v1.AgentService/RequestCredential",
    "/nockvault.v1.AgentService/RenewLease",
    "/nockvault.v1.AgentService/ReleaseLease",
    "/nockvault.v1.AgentService/CloseSession",
    "/nockvault.v1.AgentService/RotateKey",
];

/// The methods that operators call.
pub const OPERATORS: &[&str] = &[
    "/nockvault.v1.OperatorService/ReadStatus",
    "/nockvault.v1.OperatorService/Explain",
    "/nockvault.v1.OperatorService/ReadDoctor",
    "/nockvault.v1.OperatorService/RegisterAgent",
    "/nockvault.v1.OperatorService/ListAgents",
    "/nockvault.v1.OperatorService/ShowAgent",
    "/nockvault.v1.OperatorService/EndAgentKey",
    "/nockvault.v1.OperatorService/FreezeAgent",
    "/nockvault.v1.OperatorService/ThawAgent",
    "/nockvault.v1.OperatorService/FreezeVault",
    "/nockvault.v1.OperatorService/ThawVault",
    "/nockvault.v1.OperatorService/FreezeRole",
    "/nockvault.v1.OperatorService/ThawRole",
    "/nockvault.v1.OperatorService/ListCustodians",
    "/nockvault.v1.OperatorService/AddCustodian",
    "/nockvault.v1.OperatorService/RemoveCustodian",
    "/nockvault.v1.OperatorService/RotateRoot",
    "/nockvault.v1.OperatorService/CreateRole",
    "/nockvault.v1.OperatorService/CheckRole",
    "/nockvault.v1.OperatorService/RotateRole",
    "/nockvault.v1.OperatorService/ListRoles",
    "/nockvault.v1.OperatorService/ShowRole",
    "/nockvault.v1.OperatorService/PutSecret",
    "/nockvault.v1.OperatorService/RollbackSecret",
    "/nockvault.v1.OperatorService/ListSecrets",
    "/nockvault.v1.OperatorService/ListSecretVersions",
    "/nockvault.v1.OperatorService/CreateCa",
    "/nockvault.v1.OperatorService/ImportCa",
    "/nockvault.v1.OperatorService/CertifyCa",
    "/nockvault.v1.OperatorService/ShowCa",
    "/nockvault.v1.OperatorService/CreateGrant",
    "/nockvault.v1.OperatorService/ListGrants",
    "/nockvault.v1.OperatorService/RevokeGrant",
    "/nockvault.v1.OperatorService/ListLeases",
    "/nockvault.v1.OperatorService/ShowLease",
    "/nockvault.v1.OperatorService/RevokeLeases",
    "/nockvault.v1.OperatorService/ForgetLease",
    "/nockvault.v1.OperatorService/RotateVaultKey",
    "/nockvault.v1.OperatorService/RotateRing",
    "/nockvault.v1.OperatorService/ResetClock",
    "/nockvault.v1.OperatorService/MakeBackup",
    "/nockvault.v1.OperatorService/RegisterOperator",
    "/nockvault.v1.OperatorService/SetOperatorDuty",
    "/nockvault.v1.OperatorService/EndOperatorKey",
    "/nockvault.v1.OperatorService/RotateOperatorKey",
    "/nockvault.v1.OperatorService/ListOperators",
    "/nockvault.v1.OperatorService/ShowOperator",
    "/nockvault.v1.OperatorService/SetPolicy",
    "/nockvault.v1.OperatorService/ShowPolicy",
    "/nockvault.v1.OperatorService/Approve",
    "/nockvault.v1.OperatorService/Withdraw",
    "/nockvault.v1.OperatorService/ListApprovals",
    "/nockvault.v1.OperatorService/ListChains",
    "/nockvault.v1.OperatorService/ReadCheckpoint",
    "/nockvault.v1.OperatorService/ProveEntry",
    "/nockvault.v1.OperatorService/ReadAudit",
    "/nockvault.v1.OperatorService/ReadDirectory",
    "/nockvault.v1.OperatorService/SealVault",
];

/// The methods of custody, which operators' unix sockets have.
pub const CUSTODY: &[&str] = &[
    "/nockvault.v1.CustodyService/ReadCustody",
    "/nockvault.v1.CustodyService/Unseal",
    "/nockvault.v1.CustodyService/WithdrawShares",
    "/nockvault.v1.CustodyService/Recover",
];

/// The name of a method of ours: the last part of its path.
#[must_use]
pub fn name(path: &str) -> Option<&'static str> {
    let ours = AGENTS.iter().chain(OPERATORS).chain(CUSTODY).find(|known| **known == path)?;
    ours.rsplit('/').next()
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn the_table_is_the_contract() {
        let contract = FileDescriptorSet::decode(crate::wire::FILE_DESCRIPTOR_SET).expect("the committed contract");
        let mut methods = Vec::new();
        for file in contract.file.iter().filter(|file| file.package() == "nockvault.v1") {
            for service in &file.service {
                let path = |method: &str| format!("/nockvault.v1.{}/{method}", service.name());
                methods.extend(service.method.iter().map(|method| path(method.name())));
            }
        }
        assert_eq!([AGENTS, OPERATORS, CUSTODY].concat(), methods);
    }

    #[test]
    fn only_our_own_methods_have_names() {
        assert_eq!(name("/nockvault.v1.AgentService/RenewLease"), Some("RenewLease"));
        for path in ["", "/", "/nockvault.v1.AgentService/", "/grpc.health.v1.Health/Check", "RenewLease"] {
            assert_eq!(name(path), None, "{path}");
        }
    }
}
