//! A receipt: a signed answer of the vault that somebody kept, as the JSON of its envelope with the response key's
//! certificate beside it:
//!
//! ```text
//! {"cert":{"payload":{...},"sig":"..."},"payload":{"entry":{"leaf":"...","seq":7},...},"sig":"..."}
//! ```
//!
//! It names an entry, so that a chain which lost or changed that entry is found out.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::certificate::{BadCert, open_signer};
use crate::crypto::envelope::{Embedded, Envelope, PayloadType};
use crate::crypto::hash::Digest;
use crate::crypto::json::canonical;
use crate::crypto::signature::{Form, PublicKey, Signature};
use crate::statement::cert::KeyRole;
use crate::statement::reply::{EntryRef, Hdr, Issued};

/// An answer that was kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The response key's certificate; without it the signature cannot be checked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cert: Option<Embedded>,
    /// The answer.
    pub payload: Value,
    /// The response key's signature.
    pub sig: Signature,
}

/// Why a receipt is worth nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReceipt {
    /// Not the form of one.
    #[error("not a receipt: {0}")]
    Malformed(String),
    /// Its certificate is not good.
    #[error("the receipt's certificate is not good: {0}")]
    Cert(#[from] BadCert),
    /// The key of its certificate did not sign it.
    #[error("the receipt was not signed by the response key of its certificate")]
    Signature,
}

/// What a receipt says of the chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// Which entry.
    pub entry: EntryRef,
    /// What was issued and how it was sealed, H(enc || ct), where it is the receipt of a credential.
    pub issued: Option<(Hdr, Digest)>,
    /// Whether the signature was checked.
    pub signed: bool,
}

impl Receipt {
    /// The receipt that this answer is.
    ///
    /// # Errors
    /// [`BadReceipt::Malformed`] where the answer is no canonical JSON object.
    pub fn keep(answer: &Envelope, cert: Option<&Embedded>) -> Result<Receipt, BadReceipt> {
        let Embedded { payload, sig } =
            answer.embed().ok_or_else(|| BadReceipt::Malformed("the answer is not canonical JSON".into()))?;
        Ok(Receipt { cert: cert.cloned(), payload, sig })
    }

    /// Reads a receipt's text.
    ///
    /// # Errors
    /// [`BadReceipt::Malformed`].
    pub fn read(text: &str) -> Result<Receipt, BadReceipt> {
        serde_json::from_str(text).map_err(|why| BadReceipt::Malformed(why.to_string()))
    }

    /// The receipt's text.
    #[must_use]
    pub fn write(&self) -> String {
        String::from_utf8(canonical(self)).expect("JSON is UTF-8")
    }

    /// What it says of the chain; signed under the identity key, where it carries a certificate.
    ///
    /// # Errors
    /// [`BadReceipt`].
    pub fn open(&self, identity: &PublicKey) -> Result<Named, BadReceipt> {
        if let Some(cert) = &self.cert {
            let (_, key) = open_signer(cert, KeyRole::Response, identity)?;
            let embedded = Embedded { payload: self.payload.clone(), sig: self.sig };
            let envelope = embedded.open(PayloadType::Response);
            key.verify(Form::Pae, &envelope.payload_type, &envelope.payload, &envelope.signature)
                .map_err(|_| BadReceipt::Signature)?;
        }
        let malformed = |why: serde_json::Error| BadReceipt::Malformed(why.to_string());
        let entry = self.payload.get("entry").cloned().unwrap_or_default();
        let entry = serde_json::from_value(entry).map_err(malformed)?;
        let issued = if self.payload.get("typ").and_then(Value::as_str) == Some(Issued::TYP) {
            let issued: Issued = serde_json::from_value(self.payload.clone()).map_err(malformed)?;
            Some((issued.hdr, Digest::of_parts(&[&issued.enc.0, &issued.ct.0])))
        } else {
            None
        };
        Ok(Named { entry, issued, signed: self.cert.is_some() })
    }
}
