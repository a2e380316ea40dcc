//! The founding of a vault: its identity, its keys, its first operator. [`prepare`] makes all that a store then writes
//! down as the first rows and entries; done once, into an empty place, before any daemon runs.

use super::keys::{self, Epochs};
use crate::crypto::envelope::Embedded;
use crate::crypto::signature::{Form, PublicKey, SigningKey};
use crate::entropy::Entropy;
use crate::id::{Aud, Nonce, OperatorName, VaultName};
use crate::statement::register::{Holder, Register};
use crate::store;
use crate::time::Timestamp;

/// What whoever founds a vault decides.
#[derive(Debug)]
pub struct Founding {
    /// Its name, for people.
    pub name: VaultName,
    /// The daemon's name in its keys' certificates.
    pub node: String,
    /// Its first operator.
    pub operator: OperatorName,
    /// The present.
    pub now: Timestamp,
}

/// What whoever founds a vault takes away.
#[derive(Debug)]
pub struct Founder {
    /// The vault's identity.
    pub aud: Aud,
    /// Its identity key.
    pub identity: PublicKey,
    /// The first operator's key. It is kept nowhere else: who has it commands the vault.
    pub operator_key: SigningKey,
}

/// A vault's identity, drawn before anything is signed for it: the first operator's statement names the vault.
#[derive(Debug)]
pub struct Drawn {
    identity: SigningKey,
}

impl Drawn {
    /// A new one.
    #[must_use]
    pub fn new(entropy: &dyn Entropy) -> Drawn {
        Drawn { identity: SigningKey::generate(entropy) }
    }

    /// What the vault will be known by.
    #[must_use]
    pub fn aud(&self) -> Aud {
        Aud::of_identity(&self.identity.kid())
    }

    /// Its identity key.
    #[must_use]
    pub fn identity(&self) -> PublicKey {
        self.identity.public()
    }

    /// What the first operator's key is to sign, in its form.
    #[must_use]
    pub fn first(
        &self,
        operator: OperatorName,
        key: PublicKey,
        form: Form,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Register {
        Register {
            holder: Holder::Operator(operator),
            aud: self.aud(),
            form,
            iat: now,
            kver: 1,
            nonce: Nonce::from_bytes(&entropy.bytes()),
            pk: key,
            prev: None,
        }
    }
}

/// Draws all keys of a new vault and signs what its first entries will hold.
#[must_use]
pub fn prepare(founding: Founding, entropy: &dyn Entropy) -> (store::Founding, Founder) {
    let drawn = Drawn::new(entropy);
    let operator_key = SigningKey::generate(entropy);
    let register = drawn.first(founding.operator.clone(), operator_key.public(), Form::Pae, founding.now, entropy);
    let proof = register.sign(&operator_key);
    let founder = Founder { aud: drawn.aud(), identity: drawn.identity(), operator_key };
    (prepare_for(drawn, founding, register, proof, entropy), founder)
}

/// The same for an operator whose key is held elsewhere and has signed already: `proof` is the signed `register`.
#[must_use]
pub fn prepare_for(
    drawn: Drawn,
    founding: Founding,
    register: Register,
    proof: Embedded,
    entropy: &dyn Entropy,
) -> store::Founding {
    let Founding { name, node, now, .. } = founding;
    let (aud, identity) = (drawn.aud(), drawn.identity);
    store::Founding {
        name,
        aud,
        proof,
        operator: register,
        kept: keys::KEPT.iter().map(|role| keys::make(*role, &identity, &node, now, entropy)).collect(),
        audit_key: Epochs::after(0, now).next(&identity, &node, now, entropy),
        identity,
        custodians: Vec::new(),
        now,
    }
}
