//! The way of an operator to a vault that may be sealed: over the unix socket alone, unsigned on both sides. What opens a
//! custodian leaves this process sealed to the key that the daemon made for this sealed time.

use tonic::Status;
use tonic::transport::Channel;

use super::channel::{self, MAX_MESSAGE};
use super::fault::{Fault, Refusal};
use super::link;
use crate::crypto::hpke::{self, SealPublicKey};
use crate::denial::Reason;
use crate::entropy::Entropy;
use crate::secret::SecretBytes;
use crate::statement::card::Card;
use crate::wire::convert::RefusalDetails;
use crate::wire::v1::custody_service_client::CustodyServiceClient;
use crate::wire::v1::{ReadCustodyRequest, ReadCustodyResponse, UnsealRequest, UnsealResponse, WithdrawSharesRequest};

/// A connection to a vault's custody.
#[derive(Clone, Debug)]
pub struct Custody {
    client: CustodyServiceClient<Channel>,
    address: String,
}

/// What a contribution is for; it is part of its seal, so that it serves for nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To unseal.
    Unseal,
}

impl Purpose {
    fn word(self) -> &'static str {
        match self {
            Purpose::Unseal => "unseal",
        }
    }
}

/// The HPKE `info` of a contribution: `"nockvault-custody-v1" 0x00 || purpose || 0x00 || custodian`.
fn info(purpose: Purpose, custodian: &str) -> Vec<u8> {
    [b"nockvault-custody-v1\0", purpose.word().as_bytes(), b"\0", custodian.as_bytes()].concat()
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
        let told = self.client.clone().read_custody(ReadCustodyRequest {}).await;
        told.map(tonic::Response::into_inner).map_err(|status| self.fault(&status))
    }

    /// Contributes a custodian's secret, or a share of it.
    ///
    /// # Errors
    /// Any [`Fault`].
    pub async fn unseal(
        &self,
        custodian: &str,
        contribution: &SecretBytes,
        entropy: &dyn Entropy,
    ) -> Result<UnsealResponse, Fault> {
        match self.contribute(custodian, contribution, entropy).await {
            // The daemon's key changed in between, as it does where somebody else has just unsealed.
            Err(fault) if fault.reason() == Some(Reason::BadSealedInput) => {
                self.contribute(custodian, contribution, entropy).await
            }
            done => done,
        }
    }

    async fn contribute(
        &self,
        custodian: &str,
        contribution: &SecretBytes,
        entropy: &dyn Entropy,
    ) -> Result<UnsealResponse, Fault> {
        let intake: Option<[u8; 32]> = self.read().await?.intake.try_into().ok();
        let intake = intake.and_then(|bytes| SealPublicKey::from_bytes(bytes).ok());
        let intake = intake.ok_or_else(|| Fault::local("the daemon's key for contributions is none"))?;
        let info = info(Purpose::Unseal, custodian);
        let sealed = hpke::seal(&intake, &info, &[], contribution.expose(), entropy).map_err(Fault::local)?;
        let request =
            UnsealRequest { custodian: custodian.to_owned(), sealed_enc: sealed.enc.to_vec(), sealed_ct: sealed.ct };
        let done = self.client.clone().unseal(request).await;
        done.map(tonic::Response::into_inner).map_err(|status| self.fault(&status))
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
