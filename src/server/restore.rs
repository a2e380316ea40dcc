//! A vault out of a backup, in a folder of its own that was not there before: its data, the certificate that agents know,
//! a configuration and a card. `vaultctl restore` calls this. The backup is verified to its end before anything is made,
//! and the configuration is written last: a folder without one holds no vault.
//!
//! No custodian's secret is in a backup, and none is copied: the configuration names it where it is.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::init::{self, CONFIG, InitFault};
use crate::config::{self, Places, TlsFiles};
use crate::entropy::Entropy;
use crate::seal::backup::BackupFault;
use crate::seal::custody::{self, Custodian, CustodyFault, CustodySecret};
use crate::statement::card::Card;
use crate::store::sqlite::{RestoreFault, RestoredStore, Restoring, Sqlite};

/// What a backup calls the certificate, and its key.
const CERT: &str = "tls/server.pem";
const KEY: &str = "tls/server.key";

/// What whoever restores decides.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The backup.
    pub file: PathBuf,
    /// Where the vault is to be; it must not be there.
    pub folder: PathBuf,
    /// The card of the vault, which pins whose backup it is.
    pub card: Card,
    /// Where it listens, and who opens it at the start.
    pub places: Places,
    /// Agents are to reach it where it listens, and not where the card says. A rehearsal's never leads to the real vault.
    pub moved: bool,
    /// The number of this restore; none for the next.
    pub number: Option<u64>,
    /// It is a rehearsal: the vault touches no backend.
    pub rehearsal: bool,
}

/// What there is now.
#[derive(Debug)]
pub struct Laid {
    /// The daemon's configuration.
    pub config: PathBuf,
    /// The card, with where operators call now.
    pub card_path: PathBuf,
    /// What the store is.
    pub store: RestoredStore,
}

/// Why there is no vault.
#[derive(Debug, thiserror::Error)]
pub enum LayFault {
    /// The folder is there.
    #[error("{} is there already, and a restore writes over nothing; name a folder that is not there", .0.display())]
    Exists(PathBuf),
    /// The backup cannot be read.
    #[error("{}: {error}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The backup, or the store that it becomes.
    #[error(transparent)]
    Restore(#[from] RestoreFault),
    /// The root key.
    #[error(transparent)]
    Custody(#[from] CustodyFault),
    /// A file of the folder.
    #[error(transparent)]
    Init(#[from] InitFault),
}

/// What goes with a backup of a vault with this certificate.
#[must_use]
pub fn belongings(tls: &TlsFiles) -> Vec<(String, PathBuf)> {
    vec![(CERT.to_owned(), tls.cert.clone()), (KEY.to_owned(), tls.key.clone())]
}

/// Who can get at the root key of the backup, as it says of itself; it must be of the card's vault.
///
/// # Errors
/// [`LayFault`].
pub fn custodians(plan: &Plan) -> Result<Vec<Custodian>, LayFault> {
    let backup = File::open(&plan.file).map_err(|error| LayFault::File { path: plan.file.clone(), error })?;
    let (custodians, found, _) = Sqlite::backup_custodians(&backup)?;
    if found != plan.card.aud {
        let other = BackupFault::OtherVault { found, wanted: plan.card.aud.clone() };
        return Err(RestoreFault::from(other).into());
    }
    Ok(custodians)
}

/// Makes the vault, by the secret of a custodian of the backup's time.
///
/// # Errors
/// [`LayFault`]. Where the backup is what is wrong, nothing was made; otherwise what was made is taken away again.
pub fn lay(plan: &Plan, secret: &CustodySecret, entropy: &Arc<dyn Entropy>) -> Result<Laid, LayFault> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error| LayFault::File { path, error }
    };
    if plan.folder.symlink_metadata().is_ok() {
        return Err(LayFault::Exists(plan.folder.clone()));
    }
    let custodians = custodians(plan)?;
    let backup = File::open(&plan.file).map_err(at(&plan.file))?;
    let (_, root) = custody::open_any(&custodians, &plan.card.aud, secret)
        .map_err(|_| LayFault::from(RestoreFault::from(BackupFault::WrongRoot)))?;
    let wanted = Restoring { aud: plan.card.aud.clone(), number: plan.number, rehearsal: plan.rehearsal };
    Sqlite::check_backup(&backup, &root, &wanted)?;
    let folder = init::make_folder(&plan.folder)?;
    let laid = (|| {
        let data = folder.join(&plan.places.data_dir);
        let store = Sqlite::restore(&data, &root, backup, &wanted, Arc::clone(entropy))?;
        furnish(plan, &folder, store)
    })();
    if laid.is_err() {
        // It was made a moment ago and holds nothing but what came out of the backup.
        let _ = fs::remove_dir_all(&folder);
    }
    laid
}

fn furnish(plan: &Plan, folder: &Path, store: RestoredStore) -> Result<Laid, LayFault> {
    for name in ["tls", "run"] {
        init::make_folder(&folder.join(name))?;
    }
    for (name, mode) in [(CERT, 0o644), (KEY, 0o600)] {
        if let Some(file) = store.files.iter().find(|file| file.name == name) {
            init::write(&folder.join(name), file.bytes.expose(), mode)?;
        }
    }
    if let Some(ca) = &plan.card.ca {
        init::write(&folder.join("tls/ca.pem"), ca.as_bytes(), 0o644)?;
    }
    let places = &plan.places;
    let operators = format!("unix:{}", folder.join(&places.operators_unix).display());
    let card = Card { agents: agents_url(plan), operators, ..plan.card.clone() };
    let card_path = folder.join(format!("{}.card", card.name));
    init::write(&card_path, card.write().as_bytes(), 0o644)?;
    let config = folder.join(CONFIG);
    init::write(&config, config::example(places).as_bytes(), 0o600)?;
    Ok(Laid { config, card_path, store })
}

/// Where the new card leads agents: to where the vault listens, where that was said or it is a rehearsal; otherwise to where
/// they called before. The certificate is that of before, and so a name stays where the vault is reached from elsewhere.
fn agents_url(plan: &Plan) -> String {
    let before = &plan.card.agents;
    if !plan.moved && !plan.rehearsal {
        return before.clone();
    }
    let listen = plan.places.agents;
    let named = before.strip_prefix("https://").and_then(|rest| rest.rsplit_once(':')).map(|(host, _)| host);
    match named.filter(|_| !plan.rehearsal && !listen.ip().is_loopback()) {
        Some(host) => format!("https://{host}:{}", listen.port()),
        None if listen.ip().is_unspecified() => format!("https://localhost:{}", listen.port()),
        None => format!("https://{listen}"),
    }
}

/// A free port of the loopback, for what is only tried.
///
/// # Errors
/// What the system says.
pub fn free_port() -> std::io::Result<SocketAddr> {
    std::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?.local_addr()
}
