//! The way of whoever holds what opens a custodian, to unseal a vault or to have an operator made in it: over the unix socket
//! alone, unsigned on both sides. What opens a custodian leaves this process sealed to the key that the daemon made for
//! this time, and for this purpose.

use tonic::Status;
use tonic::transport::Channel;

use super::channel::{self, MAX_MESSAGE};
use super::fault::{Fault, Refusal};
use super::link;
use crate::crypto::envelope::{Embedded, Envelope, PayloadType};
use crate::crypto::hpke::{self, SealPublicKey, Sealed};
use crate::denial::Reason;
use crate::entropy::Entropy;
use crate::seal::custody::purpose::Purpose;
use crate::secret::SecretBytes;
use crate::statement::card::Card;
use crate::statement::register::Register;
use crate::wire::convert::RefusalDetails;
use crate::wire::v1::custody_service_client::CustodyServiceClient;
use crate::wire::v1::{
    ReadCustodyRequest, ReadCustodyResponse, RecoverRequest, RecoverResponse, UnsealRequest, UnsealResponse,
    WithdrawSharesRequest,
};

/// A connection to a vault's custody.
#[derive(Clone, Debug)]
pub struct Custody {
    client: CustodyServiceClient<Channel>,
    address: String,
}

impl Custody {
    /// Connects to where the card says that operators call, which must be a unix socket.
    ///
    /// # Errors
    /// [`Fault::Local`] for an address of another kind, [`Fault::Unreachable`] where nobody answers.
    pub async fn connect(card: &Card) -> Result<Custody, Fault> {
        let address = &card.operators;
        if !address.starts_with("unix:") {
            return Err(Fault::Local(format!(
                "custody is spoken of over the operators' unix socket alone, and the card names {address}; do it on the \
                 vault's machine, with the card there"
            )));
        }
        let channel = channel::open(address, None).await?;
        let client = CustodyServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
        Ok(Custody { client, address: address.clone() })
    }

    /// Which vault this says it is, whether it is sealed, and what would open it. Nothing of it is signed.
    ///
    /// # Errors
    /// Any [`Fault`].
    pub async fn read(&self) -> Result<ReadCustodyResponse, Fault> {
        self.read_for(Purpose::Unseal).await
    }

    /// The same, with the shares that were contributed for this.
    ///
    /// # Errors
    /// Any [`Fault`].
    pub async fn read_for(&self, purpose: Purpose) -> Result<ReadCustodyResponse, Fault> {
        let register = if let Purpose::Recover(register) = purpose { register.as_bytes().to_vec() } else { Vec::new() };
        let told = self.client.clone().read_custody(ReadCustodyRequest { register }).await;
        told.map(tonic::Response::into_inner).map_err(|status| self.fault(&status))
    }

    /// Contributes a custodian's secret, or a share of it, to unseal.
    ///
    /// # Errors
    /// Any [`Fault`].
    pub async fn unseal(
        &self,
        custodian: &str,
        contribution: &SecretBytes,
        entropy: &dyn Entropy,
    ) -> Result<UnsealResponse, Fault> {
        let send = async |Sealed { enc, ct }: Sealed| {
            let custodian = custodian.to_owned();
            let request = UnsealRequest { custodian, sealed_enc: enc.to_vec(), sealed_ct: ct };
            self.client.clone().unseal(request).await
        };
        self.contribute((Purpose::Unseal, custodian), contribution, entropy, send).await
    }

    /// Contributes a custodian's secret, or a share of it, to the making of this operator.
    ///
    /// # Errors
    /// Any [`Fault`].
    pub async fn recover(
        &self,
        newcomer: &Newcomer,
        custodian: &str,
        contribution: &SecretBytes,
        entropy: &dyn Entropy,
    ) -> Result<RecoverResponse, Fault> {
        let send = async |Sealed { enc, ct }: Sealed| {
            let (register, custodian) = (Some(newcomer.register.clone().into()), custodian.to_owned());
            let request = RecoverRequest { register, custodian, sealed_enc: enc.to_vec(), sealed_ct: ct };
            self.client.clone().recover(request).await
        };
        self.contribute((newcomer.purpose(), custodian), contribution, entropy, send).await
    }

    /// Seals a contribution for this purpose, and sends it.
    async fn contribute<T>(
        &self,
        (purpose, custodian): (Purpose, &str),
        contribution: &SecretBytes,
        entropy: &dyn Entropy,
        send: impl AsyncFn(Sealed) -> Result<tonic::Response<T>, Status>,
    ) -> Result<T, Fault> {
        let mut again = true;
        loop {
            let intake: Option<[u8; 32]> = self.read().await?.intake.try_into().ok();
            let intake = intake.and_then(|bytes| SealPublicKey::from_bytes(bytes).ok());
            let intake = intake.ok_or_else(|| Fault::local("the daemon's key for contributions is none"))?;
            let info = purpose.info(custodian);
            let sealed = hpke::seal(&intake, &info, &[], contribution.expose(), entropy).map_err(Fault::local)?;
            let done = send(sealed).await.map(tonic::Response::into_inner).map_err(|status| self.fault(&status));
            match done {
                // The daemon's key changed in between, as it does where somebody else has just unsealed.
                Err(fault) if again && fault.reason() == Some(Reason::BadSealedInput) => again = false,
                done => return done,
            }
        }
    }

    /// Has the shares forgotten that were contributed to this custodian, or with an empty name to all. Gives how many
    /// there were.
    ///
    /// # Errors
    /// Any [`Fault`].
    pub async fn withdraw(&self, custodian: &str) -> Result<u32, Fault> {
        let request = WithdrawSharesRequest { custodian: custodian.to_owned() };
        let done = self.client.clone().withdraw_shares(request).await;
        done.map(|done| done.into_inner().withdrawn).map_err(|status| self.fault(&status))
    }

    fn fault(&self, status: &Status) -> Fault {
        match RefusalDetails::from_status(status) {
            Some(RefusalDetails { reason: code, .. }) => {
                let message = link::printable(status.message());
                Fault::Refused(Box::new(Refusal {
                    code,
                    limit: None,
                    retry_after_ms: None,
                    now: None,
                    message,
                    proven: false,
                }))
            }
            None => Fault::Unreachable { address: self.address.clone(), why: link::said(status) },
        }
    }
}

/// Whom custody is to make an operator, as a statement of the new key says it.
#[derive(Clone, Debug)]
pub struct Newcomer {
    register: Envelope,
}

impl Newcomer {
    /// Of this statement, which its key has signed.
    ///
    /// # Errors
    /// [`Fault::Local`] where it has not.
    pub fn of(statement: &Embedded) -> Result<Newcomer, Fault> {
        let register = Register::open(statement).map_err(|denial| Fault::Local(denial.detail))?;
        let kid = register.pk.kid().as_str().to_owned();
        Ok(Newcomer { register: Envelope { kid, ..statement.open(PayloadType::Register) } })
    }

    /// What is contributed for it.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        Purpose::Recover(self.register.digest())
    }
}
