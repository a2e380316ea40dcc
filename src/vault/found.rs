//! The founding of a vault: its identity, its keys, its first operator. [`prepare`] makes all that a store then writes
//! down as the first rows and entries; done once, into an empty place, before any daemon runs.

use super::keys::{self, Epochs};
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

/// Draws all keys of a new vault and signs what its first entries will hold.
#[must_use]
pub fn prepare(founding: Founding, entropy: &dyn Entropy) -> (store::Founding, Founder) {
    let Founding { name, node, operator, now } = founding;
    let identity = SigningKey::generate(entropy);
    let operator_key = SigningKey::generate(entropy);
    let aud = Aud::of_identity(&identity.kid());
    let operator = Register {
        holder: Holder::Operator(operator),
        aud: aud.clone(),
        form: Form::Pae,
        iat: now,
        kver: 1,
        nonce: Nonce::from_bytes(&entropy.bytes()),
        pk: operator_key.public(),
        prev: None,
    };
    let founder = Founder { aud: aud.clone(), identity: identity.public(), operator_key };
    let founding = store::Founding {
        name,
        aud,
        proof: operator.sign(&founder.operator_key),
        operator,
        kept: keys::KEPT.iter().map(|role| keys::make(*role, &identity, &node, now, entropy)).collect(),
        audit_key: Epochs::after(0, now).next(&identity, &node, now, entropy),
        identity,
        custodians: Vec::new(),
        now,
    };
    (founding, founder)
}
