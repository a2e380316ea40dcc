//! The vault that a configuration names: custody opens the root key, the root key the store, and the store the vault.

use std::sync::Arc;

use crate::config::{Config, Custody};
use crate::engine;
use crate::entropy::Entropy;
use crate::seal::custody::{self, CustodyFault, RootKey};
use crate::store::sqlite::{OpenFault, Sqlite};
use crate::time::Clock;
use crate::vault::{OpeningFault, Vault};

/// Why there is no vault to serve.
#[derive(Debug, thiserror::Error)]
pub enum ComposeFault {
    /// The root key.
    #[error(transparent)]
    Custody(#[from] CustodyFault),
    /// The store.
    #[error(transparent)]
    Store(#[from] OpenFault),
    /// The vault.
    #[error(transparent)]
    Vault(#[from] OpeningFault),
}

/// The root key, out of its custody.
///
/// # Errors
/// What is wrong with the key's file.
pub fn root_key(config: &Config) -> Result<RootKey, CustodyFault> {
    let Custody::File(path) = &config.vault.custody;
    custody::read(path, &config.vault.data_dir)
}

/// Opens the vault. It begins to serve: `_vault` says so.
///
/// # Errors
/// [`ComposeFault`], whose text says what to do.
pub async fn open(
    config: &Config,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Arc<Vault>, ComposeFault> {
    let root = root_key(config)?;
    let limits = config.vault_limits();
    let (store, keys) =
        Sqlite::open(&config.vault.data_dir, &root, limits.rules, Arc::clone(&clock), Arc::clone(&entropy))?;
    let engines = engine::all(&entropy, &keys.aud);
    Ok(Vault::open(Arc::new(store), keys, limits, engines, clock, entropy).await?)
}
