//! The vault that a configuration names: custody opens the root key, the root key the store, and the store the vault.

use std::path::Path;
use std::sync::Arc;

use super::marker;
use crate::audit::entry::Opened;
use crate::config::{self, Config, Custody};
use crate::engine;
use crate::entropy::Entropy;
use crate::id::CustodianName;
use crate::seal::custody::given::{self, GivenFault};
use crate::seal::custody::pkcs11::{Pin, Token, TokenFault};
use crate::seal::custody::{self, Custodian, CustodyFault, CustodySecret, RootKey};
use crate::statement::custody::Kind;
use crate::store::sqlite::{OpenFault, Sqlite};
use crate::time::Clock;
use crate::vault::{OpeningFault, Vault};

/// Why there is no vault to serve.
#[derive(Debug, thiserror::Error)]
pub enum ComposeFault {
    /// A custodian's secret.
    #[error(transparent)]
    Custody(#[from] CustodyFault),
    /// What a program or the unit should give.
    #[error(transparent)]
    Given(#[from] GivenFault),
    /// A token.
    #[error(transparent)]
    Token(#[from] TokenFault),
    /// A secret that opens nothing.
    #[error(
        "what {place} gives is no custodian's of this vault ({known}); set [vault] custody in the daemon's configuration to \
         what opens one of these, or custody = {{ unseal = true }} to start sealed"
    )]
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

/// What can be said of the custody that a configuration names before there is a store: a file is read, the others have
/// effects and are left alone.
///
/// # Errors
/// What is wrong with the file.
pub fn check_custody(config: &Config) -> Result<(), CustodyFault> {
    match &config.vault.custody {
        Custody::File(path) => custody::file::read(path, &config.vault.data_dir).map(drop),
        _ => Ok(()),
    }
}

/// The token that a configuration names.
#[must_use]
pub fn token(token: &config::Token) -> Token {
    let config::Token { module, token, key, pin_file, pin_command } = token.clone();
    let pin = pin_file.map_or(Pin::Command(pin_command), Pin::File);
    Token { module, token, key, pin }
}

/// The secrets that a custody leads to, and where they come from; none where nothing opens by itself. A token gives one for
/// each custodian that may be its own.
///
/// # Errors
/// [`ComposeFault`].
pub fn secrets(
    custody: &Custody,
    data_dir: &Path,
    custodians: &[Custodian],
) -> Result<Option<(Vec<CustodySecret>, String)>, ComposeFault> {
    let (secret, place) = match custody {
        Custody::Unseal => return Ok(None),
        Custody::File(path) => (custody::file::read(path, data_dir)?, path.display().to_string()),
        Custody::Credential(name) => {
            let folder = std::env::var_os("CREDENTIALS_DIRECTORY");
            (given::credential(folder.as_deref(), name)?, format!("the credential {name}"))
        }
        Custody::Command(command) => (given::command(command)?, command.join(" ")),
        Custody::Pkcs11(named) => {
            let named = token(named);
            let own = custodians.iter().filter(|one| matches!(one.who.kind, Kind::Pkcs11 { .. }));
            let secrets = own.map(|one| named.secret(&one.who.kind)).collect::<Result<_, _>>()?;
            return Ok(Some((secrets, format!("the token {}", named.token))));
        }
    };
    Ok(Some((vec![secret], place)))
}

/// Secrets that were brought before the daemon's walls were raised, and where they came from.
#[derive(Debug, Default)]
pub struct Brought(Option<(Vec<CustodySecret>, String)>);

/// Brings the secrets by which the vault opens by itself: a file is read, a program run, a token asked. All of it comes before
/// the daemon's walls, behind which none of it can be had again. A vault that was sealed by command brings none.
///
/// # Errors
/// [`ComposeFault`], whose text says what to do.
pub fn bring(config: &Config) -> Result<Brought, ComposeFault> {
    let (custody, data) = (&config.vault.custody, &config.vault.data_dir);
    if marker::is_set(data).map_err(|cause| OpenFault::Io { path: data.clone(), cause })? {
        return Ok(Brought::default());
    }
    // Before the store is looked at: what is wrong with a file is said first.
    check_custody(config)?;
    let (custodians, ..) = Sqlite::custodians(data)?;
    Ok(Brought(secrets(custody, data, &custodians)?))
}

/// The root key by what was brought, and whose secret that was; none where nothing opens by itself. It is the store's where
/// its ring opens.
///
/// # Errors
/// [`ComposeFault`], whose text says what to do.
pub fn root_key(config: &Config, brought: Brought) -> Result<Option<(CustodianName, RootKey)>, ComposeFault> {
    let Brought(Some((secrets, place))) = brought else { return Ok(None) };
    let (custodians, aud, _) = Sqlite::custodians(&config.vault.data_dir)?;
    let mut opened = secrets.iter().filter_map(|secret| custody::open_any(&custodians, &aud, secret).ok());
    match opened.next() {
        Some((name, root)) => {
            tracing::info!(custodian = %name, "the root key was opened");
            Ok(Some((name, root)))
        }
        None => {
            let known = custodians.iter().map(|one| format!("{}: {}", one.who.name, one.who.kind.name()));
            Err(ComposeFault::Stranger { place, known: known.collect::<Vec<_>>().join(", ") })
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
    brought: Brought,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Option<Arc<Vault>>, ComposeFault> {
    let data = &config.vault.data_dir;
    if marker::is_set(data).map_err(|cause| OpenFault::Io { path: data.clone(), cause })? {
        tracing::warn!("the vault was sealed by command and stays sealed until somebody unseals it: `vaultctl unseal`");
        return Ok(None);
    }
    match root_key(config, brought)? {
        Some((name, root)) => open_by(config, &root, (Opened::by_itself(), Some(name)), clock, entropy).await.map(Some),
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
    let (name, root) = root_key(config, bring(config)?)?.ok_or(ComposeFault::Sealed)?;
    open_by(config, &root, (Opened::by_itself(), Some(name)), clock, entropy).await
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
    let opener = configured(config, &opened)?;
    open_by(config, root, (opened, opener), clock, entropy).await
}

/// The custodian that people unsealed with, where it is of the kind that the configuration names: it is most likely the one
/// by which the next start is to open.
fn configured(config: &Config, opened: &Opened) -> Result<Option<CustodianName>, ComposeFault> {
    let Some(name) = &opened.custodian else { return Ok(None) };
    let kind = match &config.vault.custody {
        Custody::Unseal => return Ok(None),
        Custody::File(_) => "file",
        Custody::Credential(_) => "credential",
        Custody::Command(_) => "command",
        Custody::Pkcs11(_) => "pkcs11",
    };
    let (custodians, ..) = Sqlite::custodians(&config.vault.data_dir)?;
    let same = custodians.iter().any(|one| one.who.name == *name && one.who.kind.name() == kind);
    Ok(Some(name.clone()).filter(|_| same))
}

async fn open_by(
    config: &Config,
    root: &RootKey,
    (opened, opener): (Opened, Option<CustodianName>),
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Arc<Vault>, ComposeFault> {
    let limits = config.vault_limits();
    let (store, mut keys) =
        Sqlite::open(&config.vault.data_dir, root, limits.rules, Arc::clone(&clock), Arc::clone(&entropy))?;
    keys.opened = Some(opened);
    keys.opener = opener;
    let engines = engine::all(&entropy, &keys.aud);
    Ok(Vault::open(Arc::new(store), keys, limits, engines, clock, entropy).await?)
}
