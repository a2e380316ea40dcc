//! The vault that a configuration names: custody opens the root key, the root key the store, and the store the vault.

use std::sync::Arc;

use super::marker;
use crate::audit::entry::Opened;
use crate::config::{Config, Custody};
use crate::engine;
use crate::entropy::Entropy;
use crate::seal::custody::{self, CustodyFault, CustodySecret, RootKey};
use crate::store::sqlite::{OpenFault, Sqlite};
use crate::time::Clock;
use crate::vault::{OpeningFault, Vault};

/// Why there is no vault to serve.
#[derive(Debug, thiserror::Error)]
pub enum ComposeFault {
    /// A custodian's secret.
    #[error(transparent)]
    Custody(#[from] CustodyFault),
    /// A secret that opens nothing.
    #[error("what {place} holds is no custodian's of this vault ({known}); name the right one")]
    Stranger {
        /// Where it came from.
        place: String,
        /// The custodians that there are, with their kinds.
        known: String,
    },
    /// Nothing opens by itself.
    #[error("the vault is sealed, and its configuration names nothing that opens it")]
    Sealed,
    /// The store.
    #[error(transparent)]
    Store(#[from] OpenFault),
    /// The vault.
    #[error(transparent)]
    Vault(#[from] OpeningFault),
}

/// The secret of the custodian that the configuration names; none where nothing opens by itself.
///
/// # Errors
/// What is wrong with where it comes from.
pub fn secret(config: &Config) -> Result<Option<CustodySecret>, ComposeFault> {
    let Custody::File(path) = &config.vault.custody;
    Ok(Some(custody::file::read(path, &config.vault.data_dir)?))
}

/// The root key, out of its custody; none where nothing opens by itself. It is the store's where its ring opens.
///
/// # Errors
/// [`ComposeFault`], whose text says what to do.
pub fn root_key(config: &Config) -> Result<Option<RootKey>, ComposeFault> {
    let Some(secret) = secret(config)? else { return Ok(None) };
    let (custodians, aud, _) = Sqlite::custodians(&config.vault.data_dir)?;
    match custody::open_any(&custodians, &aud, &secret) {
        Ok((_, root)) => Ok(Some(root)),
        Err(_) => {
            let Custody::File(path) = &config.vault.custody;
            let known = custodians.iter().map(|one| format!("{}: {}", one.who.name, one.who.kind.name()));
            let known = known.collect::<Vec<_>>().join(", ");
            Err(ComposeFault::Stranger { place: path.display().to_string(), known })
        }
    }
}

impl ComposeFault {
    /// Whether it was the wrong root key.
    #[must_use]
    pub fn is_wrong_root(&self) -> bool {
        matches!(self, ComposeFault::Store(OpenFault::WrongRoot))
    }
}

/// The vault to begin with, or none where it begins sealed: where nothing opens by itself, and where it was sealed by
/// command, which stays so until somebody unseals.
///
/// # Errors
/// [`ComposeFault`], whose text says what to do.
pub async fn begin(
    config: &Config,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Option<Arc<Vault>>, ComposeFault> {
    let data = &config.vault.data_dir;
    if marker::is_set(data).map_err(|cause| OpenFault::Io { path: data.clone(), cause })? {
        tracing::warn!("the vault was sealed by command and stays sealed until somebody unseals it: `vaultctl unseal`");
        return Ok(None);
    }
    match root_key(config)? {
        Some(root) => open_with(config, &root, Opened::by_itself(), clock, entropy).await.map(Some),
        None => Ok(None),
    }
}

/// Opens the vault with what its custody gives by itself. It begins to serve: `_vault` says so.
///
/// # Errors
/// [`ComposeFault`], whose text says what to do.
pub async fn open(
    config: &Config,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Arc<Vault>, ComposeFault> {
    let root = root_key(config)?.ok_or(ComposeFault::Sealed)?;
    open_with(config, &root, Opened::by_itself(), clock, entropy).await
}

/// Opens the vault with this root key, come by in this way. It begins to serve: `_vault` says so.
///
/// # Errors
/// [`ComposeFault`], whose text says what to do.
pub async fn open_with(
    config: &Config,
    root: &RootKey,
    opened: Opened,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Arc<Vault>, ComposeFault> {
    let limits = config.vault_limits();
    let (store, mut keys) =
        Sqlite::open(&config.vault.data_dir, root, limits.rules, Arc::clone(&clock), Arc::clone(&entropy))?;
    keys.opened = Some(opened);
    let engines = engine::all(&entropy, &keys.aud);
    Ok(Vault::open(Arc::new(store), keys, limits, engines, clock, entropy).await?)
}
