//! An operator's side of the protocol: every act is a signed command, and so is every question. A value that must not
//! be written down anywhere is sealed to the vault's certified intake key and travels beside its command, which names
//! it by digest.

use std::io::Write;

use async_trait::async_trait;
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::approval::Told;
use super::channel::MAX_MESSAGE;
use super::fault::{Fault, Untrusted};
use super::link::{self, Link, Patience, Surroundings};
use super::signer::{self, Identity};
use crate::audit::directory::open;
use crate::crypto::envelope::{Envelope, PayloadType};
use crate::crypto::hash::{Digest, Running};
use crate::crypto::hpke::{self, Sealed};
use crate::id::{Nonce, OperatorName, SecretName};
use crate::secret::SecretBytes;
use crate::statement::agent::{AgentFreeze, AgentKeyEnd, AgentList, AgentRegister, AgentShow, AgentThaw};
use crate::statement::approval::{ApprovalList, Approve, PolicySet, PolicyShow, Withdraw};
use crate::statement::audit_read::{AuditCheckpoint, AuditList, AuditProve, AuditRead};
use crate::statement::backup::Backup;
use crate::statement::ca::{CaCertify, CaCreate, CaImport, CaShow};
use crate::statement::card::Card;
use crate::statement::clock::ClockReset;
use crate::statement::command::{Command, Set};
use crate::statement::custody::{CustodyAdd, CustodyList, CustodyRemove, CustodyRotate};
use crate::statement::directory::{self, Directory, DirectoryRead};
use crate::statement::doctor::DoctorRead;
use crate::statement::explain::Explain;
use crate::statement::freeze::{RoleFreeze, RoleThaw, VaultFreeze, VaultThaw};
use crate::statement::grant::{GrantCreate, GrantList, GrantRevoke};
use crate::statement::key::{KeyRotate, RingRotate};
use crate::statement::lease::{LeaseForget, LeaseList, LeaseRevoke, LeaseShow};
use crate::statement::operator::{
    OperatorDuty, OperatorKeyEnd, OperatorList, OperatorRegister, OperatorRotate, OperatorShow,
};
use crate::statement::reply::{Described, Executed};
use crate::statement::role::{RoleCheck, RoleCreate, RoleList, RoleRotate, RoleShow};
use crate::statement::seal::VaultSeal;
use crate::statement::secret::{SecretList, SecretPut, SecretRollback, SecretUse, SecretVersions, intake_info};
use crate::statement::status::StatusRead;
use crate::statement::{Body, VERSION};
use crate::time::Timestamp;
use crate::wire::v1;
use crate::wire::v1::SignedEnvelope;
use crate::wire::v1::operator_service_client::OperatorServiceClient;

/// Room for what stands around a directory.
const FRAME: usize = 1 << 20;

/// What comes back beside the signed answer.
#[derive(Debug, Default)]
pub struct Carried {
    signed: Option<SignedEnvelope>,
    beside: Vec<Vec<u8>>,
}

/// A command and its call.
#[async_trait]
pub trait Order: Body {
    /// Sends the signed command, with what is sealed beside it where there is something.
    async fn carry(channel: Channel, signed: SignedEnvelope, sealed: Option<Sealed>) -> Result<Carried, Status>;
}

fn client(channel: Channel) -> OperatorServiceClient<Channel> {
    OperatorServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE)
}

macro_rules! orders {
    ($($order:ident => $call:ident($message:ident))*) => {$(
        #[async_trait]
        impl Order for $order {
            async fn carry(channel: Channel, signed: SignedEnvelope, _: Option<Sealed>) -> Result<Carried, Status> {
                let reply = client(channel).$call(v1::$message { signed: Some(signed) }).await?.into_inner();
                Ok(Carried { signed: reply.signed, beside: Vec::new() })
            }
        }
    )*};
}

orders! {
    StatusRead => read_status(ReadStatusRequest)
    Explain => explain(ExplainRequest)
    DoctorRead => read_doctor(ReadDoctorRequest)
    AgentRegister => register_agent(RegisterAgentRequest)
    AgentList => list_agents(ListAgentsRequest)
    AgentShow => show_agent(ShowAgentRequest)
    AgentKeyEnd => end_agent_key(EndAgentKeyRequest)
    AgentFreeze => freeze_agent(FreezeAgentRequest)
    AgentThaw => thaw_agent(ThawAgentRequest)
    VaultFreeze => freeze_vault(FreezeVaultRequest)
    VaultThaw => thaw_vault(ThawVaultRequest)
    VaultSeal => seal_vault(SealVaultRequest)
    RoleFreeze => freeze_role(FreezeRoleRequest)
    RoleThaw => thaw_role(ThawRoleRequest)
    CustodyList => list_custodians(ListCustodiansRequest)
    CustodyAdd => add_custodian(AddCustodianRequest)
    CustodyRemove => remove_custodian(RemoveCustodianRequest)
    CustodyRotate => rotate_root(RotateRootRequest)
    RoleCreate => create_role(CreateRoleRequest)
    RoleCheck => check_role(CheckRoleRequest)
    RoleRotate => rotate_role(RotateRoleRequest)
    RoleList => list_roles(ListRolesRequest)
    RoleShow => show_role(ShowRoleRequest)
    SecretRollback => rollback_secret(RollbackSecretRequest)
    SecretList => list_secrets(ListSecretsRequest)
    SecretVersions => list_secret_versions(ListSecretVersionsRequest)
    CaCreate => create_ca(CreateCaRequest)
    CaCertify => certify_ca(CertifyCaRequest)
    CaShow => show_ca(ShowCaRequest)
    GrantCreate => create_grant(CreateGrantRequest)
    GrantList => list_grants(ListGrantsRequest)
    GrantRevoke => revoke_grant(RevokeGrantRequest)
    LeaseList => list_leases(ListLeasesRequest)
    LeaseShow => show_lease(ShowLeaseRequest)
    LeaseForget => forget_lease(ForgetLeaseRequest)
    LeaseRevoke => revoke_leases(RevokeLeasesRequest)
    KeyRotate => rotate_vault_key(RotateVaultKeyRequest)
    RingRotate => rotate_ring(RotateRingRequest)
    ClockReset => reset_clock(ResetClockRequest)
    OperatorRegister => register_operator(RegisterOperatorRequest)
    OperatorDuty => set_operator_duty(SetOperatorDutyRequest)
    OperatorKeyEnd => end_operator_key(EndOperatorKeyRequest)
    OperatorRotate => rotate_operator_key(RotateOperatorKeyRequest)
    OperatorList => list_operators(ListOperatorsRequest)
    OperatorShow => show_operator(ShowOperatorRequest)
    PolicySet => set_policy(SetPolicyRequest)
    PolicyShow => show_policy(ShowPolicyRequest)
    Approve => approve(ApproveRequest)
    Withdraw => withdraw(WithdrawRequest)
    ApprovalList => list_approvals(ListApprovalsRequest)
    AuditList => list_chains(ListChainsRequest)
    AuditCheckpoint => read_checkpoint(ReadCheckpointRequest)
    AuditProve => prove_entry(ProveEntryRequest)
}

macro_rules! sealed_orders {
    ($($order:ident => $call:ident($message:ident))*) => {$(
        #[async_trait]
        impl Order for $order {
            async fn carry(channel: Channel, signed: SignedEnvelope, sealed: Option<Sealed>) -> Result<Carried, Status> {
                let (sealed_enc, sealed_ct) =
                    sealed.map_or_else(Default::default, |sealed| (sealed.enc.to_vec(), sealed.ct));
                let message = v1::$message { signed: Some(signed), sealed_enc, sealed_ct };
                let reply = client(channel).$call(message).await?.into_inner();
                Ok(Carried { signed: reply.signed, beside: Vec::new() })
            }
        }
    )*};
}

sealed_orders! {
    SecretPut => put_secret(PutSecretRequest)
    CaImport => import_ca(ImportCaRequest)
}

#[async_trait]
impl Order for AuditRead {
    async fn carry(channel: Channel, signed: SignedEnvelope, _: Option<Sealed>) -> Result<Carried, Status> {
        let message = v1::ReadAuditRequest { signed: Some(signed) };
        client(channel)
            .read_audit(message)
            .await
            .map(Response::into_inner)
            .map(|reply| Carried { signed: reply.signed, beside: reply.lines })
    }
}

#[async_trait]
impl Order for DirectoryRead {
    async fn carry(channel: Channel, signed: SignedEnvelope, _: Option<Sealed>) -> Result<Carried, Status> {
        let message = v1::ReadDirectoryRequest { signed: Some(signed) };
        let mut client = client(channel).max_decoding_message_size(directory::MAX_BYTES + FRAME);
        let v1::ReadDirectoryResponse { signed, directory } = client.read_directory(message).await?.into_inner();
        Ok(Carried { signed, beside: vec![directory] })
    }
}

/// A backup that came whole.
#[derive(Clone, Debug)]
pub struct Made {
    /// What the vault said of the command; its `result` names the backup.
    pub executed: Executed,
    /// How many bytes the file has.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub digest: Digest,
}

/// A connection to a vault in one operator's name.
#[derive(Debug)]
pub struct Operator {
    link: Link,
    identity: Identity<OperatorName>,
    /// Who is told of commands that wait for others; none where they are not waited for.
    pub(super) told: Option<Told>,
}

impl Operator {
    /// Connects to where the card says that operators call.
    ///
    /// # Errors
    /// [`Fault::Unreachable`], or [`Fault::Untrusted`] where another vault answers.
    pub async fn connect(card: &Card, identity: Identity<OperatorName>) -> Result<Operator, Fault> {
        Operator::connect_in(card, identity, Surroundings::default()).await
    }

    /// Connects with another clock, other randomness or a memory that is kept.
    ///
    /// # Errors
    /// As [`Operator::connect`].
    pub async fn connect_in(
        card: &Card,
        identity: Identity<OperatorName>,
        around: Surroundings,
    ) -> Result<Operator, Fault> {
        Ok(Operator { link: Link::open(card, &card.operators, around).await?, identity, told: None })
    }

    /// What the vault said of itself when it was last challenged.
    #[must_use]
    pub fn vault(&self) -> Described {
        self.link.pins().described().clone()
    }

    /// In whose name.
    #[must_use]
    pub fn name(&self) -> &OperatorName {
        &self.identity.name
    }

    /// Gives a command, or asks a question. One that others have to want too is refused with
    /// [`NeedsApproval`](crate::denial::Reason::NeedsApproval) and waits at the vault; see [`Operator::awaiting_approval`].
    ///
    /// # Errors
    /// Any [`Fault`].
    pub async fn command<O: Order>(&self, body: O) -> Result<Executed, Fault> {
        self.given(None, body).await
    }

    /// Gives a command that is a part of a set.
    ///
    /// # Errors
    /// Any [`Fault`].
    pub async fn part<O: Order>(&self, body: O, set: &Set) -> Result<Executed, Fault> {
        self.given(Some(set), body).await
    }

    /// Gives a command, and gives it again where others have to want it too and do.
    async fn given<O: Order>(&self, set: Option<&Set>, body: O) -> Result<Executed, Fault> {
        loop {
            match self.asked(set, body.clone()).await {
                Err(fault) if self.is_awaited(&fault) => self.approved(&body).await?,
                done => return done,
            }
        }
    }

    /// Gives a command and waits for nobody.
    pub(super) async fn asked<O: Order>(&self, set: Option<&Set>, body: O) -> Result<Executed, Fault> {
        Ok(self.exchange(set, |_| Ok((body.clone(), None))).await?.0)
    }

    /// Stores a new version of a secret. The value leaves this process sealed to the vault's certified intake key.
    ///
    /// # Errors
    /// Any [`Fault`].
    pub async fn put_secret(
        &self,
        name: &SecretName,
        value: &SecretBytes,
        used: SecretUse,
        expires: Option<Timestamp>,
    ) -> Result<Executed, Fault> {
        self.beside(value, |sealed| SecretPut { name: name.clone(), sealed, expires, used }).await
    }

    /// Brings a certificate authority that was made elsewhere. Its key leaves this process sealed to the vault's
    /// certified intake key.
    ///
    /// # Errors
    /// Any [`Fault`].
    pub async fn import_ca(&self, name: &SecretName, engine: &str, key: &SecretBytes) -> Result<Executed, Fault> {
        self.beside(key, |sealed| CaImport { name: name.clone(), engine: engine.to_owned(), sealed }).await
    }

    /// Gives a command whose value travels sealed beside it; `body` is what names the sealed value by its digest.
    async fn beside<O: Order>(
        &self,
        value: &SecretBytes,
        body: impl Fn(Digest) -> O + Send + Sync,
    ) -> Result<Executed, Fault> {
        let seal = |nonce: &Nonce| {
            let pins = self.link.pins();
            let to = pins.intake().ok_or_else(|| Untrusted::Certificate("there is none for the intake key".into()))?;
            let info = intake_info(&self.link.card.aud, nonce);
            let sealed =
                hpke::seal(to, &info, &[], value.expose(), &*self.link.around.entropy).map_err(Fault::local)?;
            Ok((body(sealed.digest()), Some(sealed)))
        };
        Ok(self.exchange(None, seal).await?.0)
    }

    /// Reads a part of a chain: the lines, and what the vault said of them. That they are the ones it spoke of is
    /// checked; what they prove is for the verifier.
    ///
    /// # Errors
    /// Any [`Fault`].
    pub async fn read_audit(&self, read: AuditRead) -> Result<(Vec<Vec<u8>>, Executed), Fault> {
        let (executed, lines) = self.exchange(None, |_| Ok((read.clone(), None))).await?;
        let with_ends: Vec<&[u8]> = lines.iter().flat_map(|line| [line.as_slice(), b"\n"]).collect();
        let digest = Digest::of_parts(&with_ends).to_string();
        let named = executed.result.get("digest").and_then(serde_json::Value::as_str);
        if named == Some(digest.as_str()) {
            Ok((lines, executed))
        } else {
            Err(Untrusted::OtherTerms { member: "digest" }.into())
        }
    }

    /// Has the vault make a backup, and writes it to `to` as it comes. What was written before a fault is no backup.
    ///
    /// # Errors
    /// Any [`Fault`]; [`Fault::NoAnswer`] where it breaks off.
    pub async fn backup(&self, to: &mut (dyn Write + Send)) -> Result<Made, Fault> {
        loop {
            match self.backed_up(to).await {
                // Where it was refused, nothing was written.
                Err(fault) if self.is_awaited(&fault) => self.approved(&Backup {}).await?,
                done => return done,
            }
        }
    }

    async fn backed_up(&self, to: &mut (dyn Write + Send)) -> Result<Made, Fault> {
        let (mut mended, mut patience) = (false, Patience::default());
        let (command, mut parts) = loop {
            let command = self.sign(self.link.nonce(), Backup {}, None).await?;
            let message = v1::MakeBackupRequest { signed: Some(command.clone().into()) };
            match client(self.link.channel.clone()).make_backup(message).await {
                Ok(parts) => break (command, parts.into_inner()),
                Err(status) => {
                    let fault = self.link.refusal(&status, &command).await;
                    if patience.waited(&fault, &*self.link.around.entropy).await {
                        continue;
                    }
                    if mended || !self.link.clock_mended(&fault).await {
                        return Err(fault);
                    }
                    mended = true;
                }
            }
        };
        let broken = |why: &str| Fault::NoAnswer { req: command.digest(), why: why.to_owned() };
        let (mut executed, mut bytes, mut running) = (None, 0, Running::default());
        loop {
            let next = match parts.message().await {
                Ok(next) => next,
                Err(status) => return Err(self.link.refusal(&status, &command).await),
            };
            let v1::MakeBackupResponse { signed, part, digest } = next.ok_or_else(|| broken("the backup broke off"))?;
            if executed.is_none() {
                let said: Executed = self.link.read(&link::answer(signed)?).await?;
                if said.req != command.digest() {
                    return Err(Untrusted::OtherRequest.into());
                }
                executed = Some(said);
            }
            running.take(&part);
            to.write_all(&part).map_err(Fault::local)?;
            bytes += part.len() as u64;
            if let Some(executed) = executed.as_ref().filter(|_| !digest.is_empty()) {
                let made = running.digest();
                let whole = made.as_bytes().as_slice() == digest;
                let made = Made { executed: executed.clone(), bytes, digest: made };
                return if whole { Ok(made) } else { Err(broken("the backup was changed on its way")) };
            }
        }
    }

    /// Reads the key directory, with names: its text, to be kept as it is, and what it says. That the vault signed it is
    /// checked, so that it stands by itself.
    ///
    /// # Errors
    /// Any [`Fault`].
    pub async fn read_directory(&self) -> Result<(String, Directory), Fault> {
        let (executed, mut beside) = self.exchange(None, |_| Ok((DirectoryRead {}, None))).await?;
        let form = |why: String| Untrusted::Form { typ: directory::TYP, why };
        let text = String::from_utf8(beside.pop().unwrap_or_default()).map_err(|why| form(why.to_string()))?;
        let digest = Digest::of(text.as_bytes()).to_string();
        if executed.result.get("digest").and_then(serde_json::Value::as_str) != Some(digest.as_str()) {
            return Err(Untrusted::OtherTerms { member: "digest" }.into());
        }
        let read = open(&text, &self.link.card.identity, self.link.now()).map_err(|why| form(why.to_string()))?;
        Ok((text, read))
    }

    /// Signs and sends what `make` gives for a fresh nonce, and once more where the vault proves that the clock was
    /// wrong.
    async fn exchange<O: Order>(
        &self,
        set: Option<&Set>,
        make: impl Fn(&Nonce) -> Result<(O, Option<Sealed>), Fault> + Send + Sync,
    ) -> Result<(Executed, Vec<Vec<u8>>), Fault> {
        let (mut mended, mut patience) = (false, Patience::default());
        loop {
            let nonce = self.link.nonce();
            let (body, sealed) = make(&nonce)?;
            let command = self.sign(nonce, body, set).await?;
            match O::carry(self.link.channel.clone(), command.clone().into(), sealed).await {
                Ok(Carried { signed, beside }) => {
                    let executed: Executed = self.link.read(&link::answer(signed)?).await?;
                    let answers = executed.req == command.digest();
                    return if answers { Ok((executed, beside)) } else { Err(Untrusted::OtherRequest.into()) };
                }
                Err(status) => {
                    let fault = self.link.refusal(&status, &command).await;
                    if patience.waited(&fault, &*self.link.around.entropy).await {
                        continue;
                    }
                    if mended || !self.link.clock_mended(&fault).await {
                        return Err(fault);
                    }
                    mended = true;
                }
            }
        }
    }

    async fn sign<O: Body>(&self, nonce: Nonce, body: O, set: Option<&Set>) -> Result<Envelope, Fault> {
        let command = Command {
            v: VERSION,
            typ: O::TYP.to_owned(),
            aud: self.link.card.aud.clone(),
            operator: self.identity.name.clone(),
            kid: self.identity.kid(),
            kver: self.identity.kver,
            nonce,
            iat: self.link.now(),
            body,
            set: set.cloned(),
        };
        signer::envelope(PayloadType::Command, &command, &*self.identity.signer).await
    }
}
