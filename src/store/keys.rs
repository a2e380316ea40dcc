//! The vault's own keys in the words of the store.

use super::Origins;
use crate::audit::entry::Opened;
use crate::crypto::envelope::Embedded;
use crate::crypto::signature::SigningKey;
use crate::id::{Aud, CustodianName, VaultName};
use crate::secret::Secret;
use crate::statement::cert::KeyRole;
use crate::time::Timestamp;

/// One of the vault's own keys, as it is kept at rest.
#[derive(Debug)]
pub struct KeptKey {
    /// What it is for.
    pub role: KeyRole,
    /// Its 32 secret bytes: an Ed25519 seed, for [`KeyRole::Intake`] an X25519 secret.
    pub secret: Secret<[u8; 32]>,
    /// Its certificate.
    pub cert: Embedded,
}

/// A key for tokens that took the place of another.
#[derive(Debug)]
pub struct TokenKey {
    /// The key, its number in its certificate.
    pub key: KeptKey,
    /// From when on it signs, unless a later one does.
    pub signs: Timestamp,
    /// Until when the keys before it are published.
    pub former_until: Timestamp,
}

/// What a store gives back when it is opened.
#[derive(Debug)]
pub struct VaultKeys {
    /// The vault's name.
    pub name: VaultName,
    /// Its identity.
    pub aud: Aud,
    /// Its identity key.
    pub identity: SigningKey,
    /// Its other keys.
    pub kept: Vec<KeptKey>,
    /// How many audit keys there have been: the next one's `epoch` is one more.
    pub audit_epochs: u64,
    /// The newest `ts` of any chain. Where the clock was ahead once, it lies in the future, and so will the next entries.
    pub newest: Timestamp,
    /// Whether the daemon before ended in order; so it is where there was none.
    pub ended: bool,
    /// Whether the vault comes out of a backup, and how.
    pub restored: Origins,
    /// How the daemon came to the root key; none where that is not told.
    pub opened: Option<Opened>,
    /// The custodian by whose secret the daemon opened the vault by itself; none where people did.
    pub opener: Option<CustodianName>,
}
