//! Who signs. A [`Signer`] holds one key and gives signatures, not the key; the key in memory ([`Held`]) is the one
//! there is, others (an SSH agent, a token) come as further implementations. An [`Identity`] is a signer with the name
//! and the number under which its key is registered.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;

use super::fault::Fault;
use crate::audit::nockguard::written::Message;
use crate::crypto::envelope::{Envelope, PayloadType};
use crate::crypto::json::canonical;
use crate::crypto::signature::{Form, PublicKey, Signature, SigningKey};
use crate::id::Kid;

/// Holds a key and signs with it.
#[async_trait]
pub trait Signer: Send + Sync + fmt::Debug {
    /// The key.
    fn public(&self) -> &PublicKey;
    /// How its signatures are formed, as it was registered.
    fn form(&self) -> Form;
    /// Signs an envelope's type and payload in that form.
    ///
    /// # Errors
    /// [`Fault::Local`] where the holder does not answer or does not want to.
    async fn sign(&self, payload_type: &str, payload: &[u8]) -> Result<Signature, Fault>;
    /// The holder that has the key itself in this process's memory. Others sign envelopes alone.
    fn held(&self) -> Option<&Held> {
        None
    }
}

/// A key in this process's memory.
#[derive(Debug)]
pub struct Held {
    key: SigningKey,
    public: PublicKey,
}

impl Held {
    /// The holder of this key.
    #[must_use]
    pub fn new(key: SigningKey) -> Held {
        let public = key.public();
        Held { key, public }
    }

    /// Signs a row or a checkpoint of the agent's NockGuard trail. No statement of ours is one, as it is signed.
    #[must_use]
    pub fn sign_nockguard(&self, message: &Message) -> Signature {
        self.key.sign_raw(message.as_bytes())
    }
}

#[async_trait]
impl Signer for Held {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn form(&self) -> Form {
        Form::Pae
    }

    async fn sign(&self, payload_type: &str, payload: &[u8]) -> Result<Signature, Fault> {
        Ok(self.key.sign(Form::Pae, payload_type, payload))
    }

    fn held(&self) -> Option<&Held> {
        Some(self)
    }
}

/// A name, the key that stands for it, and that key's number.
#[derive(Clone, Debug)]
pub struct Identity<N> {
    /// The agent's or operator's name.
    pub name: N,
    /// The holder of the key.
    pub signer: Arc<dyn Signer>,
    /// The key's number among the holder's keys, from 1.
    pub kver: u64,
}

impl<N> Identity<N> {
    /// A name with its key in memory.
    #[must_use]
    pub fn held(name: N, key: SigningKey, kver: u64) -> Identity<N> {
        Identity { name, signer: Arc::new(Held::new(key)), kver }
    }

    /// The key's identifier.
    #[must_use]
    pub fn kid(&self) -> Kid {
        self.signer.public().kid()
    }
}

/// Signs the canonical form of a statement.
///
/// # Errors
/// The signer's.
pub async fn envelope<T: Serialize + Sync>(
    t: PayloadType,
    statement: &T,
    signer: &dyn Signer,
) -> Result<Envelope, Fault> {
    let payload = canonical(statement);
    let signature = signer.sign(t.as_str(), &payload).await?;
    let kid = signer.public().kid().as_str().to_owned();
    Ok(Envelope { payload_type: t.as_str().to_owned(), payload, signature, kid })
}
