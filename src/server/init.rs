//! A new vault in a folder of its own: its data, its root key, a certificate under a small authority, the daemon's
//! configuration, and the card that agents, operators and auditors are handed. `vaultctl init` and `vaultd dev` call
//! this; nothing that exists is written over.
//!
//! The first operator's key is given back and kept nowhere: whoever calls writes it where its operator wants it.

use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::tls::{self, TlsFault};
use crate::config::{self, Custody, Places};
use crate::crypto::envelope::Embedded;
use crate::crypto::hpke::SealPublicKey;
use crate::crypto::signature::{Form, SigningKey};
use crate::entropy::Entropy;
use crate::id::{OperatorName, VaultName};
use crate::seal::custody::{self, Appointed, CustodyFault, RootKey};
use crate::statement::card::{Card, Genesis};
use crate::statement::custody::Kind;
use crate::statement::register::Register;
use crate::store::sqlite::{OpenFault, Sqlite};
use crate::time::Timestamp;
use crate::vault::found::{self, Drawn, Founding};

/// The daemon's configuration in the folder.
pub const CONFIG: &str = "vaultd.toml";
/// The first custodian's file in the folder, where nobody names another place.
const ROOT_KEY: &str = "root.key";

/// What whoever makes a vault decides.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where it is to be; made with mode 0700 when missing.
    pub folder: PathBuf,
    /// Its name, for people.
    pub name: VaultName,
    /// Its first operator.
    pub operator: OperatorName,
    /// What agents call the machine by, beside localhost; the first stands in the card.
    pub hosts: Vec<String>,
    /// Where agents reach it.
    pub agents: SocketAddr,
    /// Where operators reach it over TCP, beside the unix socket.
    pub operators: Option<SocketAddr>,
    /// Where health, metrics and the JWKS are.
    pub http: SocketAddr,
    /// Who can get at the root key.
    pub custody: Keeper,
}

/// The first custodian of a vault.
#[derive(Clone, Debug)]
pub enum Keeper {
    /// A file, which is made; none for `root.key` in the folder.
    File(Option<PathBuf>),
    /// A credential of the daemon's unit. The file is made that it is to hold, as for [`Keeper::File`].
    Credential(String, Option<PathBuf>),
    /// One that has its secret already.
    Other {
        /// How it comes by it.
        kind: Kind,
        /// The public key that is derived from it.
        public: SealPublicKey,
        /// Who opens the vault at the start.
        opens: Custody,
    },
}

/// What there is now.
#[derive(Debug)]
pub struct Laid {
    /// The daemon's configuration.
    pub config: PathBuf,
    /// The vault card.
    pub card: Card,
    /// Its file.
    pub card_path: PathBuf,
    /// The first operator's key, number 1, where it was made here. Who has it commands the vault.
    pub operator_key: Option<SigningKey>,
}

/// Why there is no vault.
#[derive(Debug, thiserror::Error)]
pub enum InitFault {
    /// The folder has one.
    #[error("{} exists: there is a vault here already; choose another folder", .0.display())]
    Exists(PathBuf),
    /// The folder has files where a vault's would be.
    #[error("{}", there(.0))]
    There(Vec<PathBuf>),
    /// A file could not be written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A path that cannot stand in a configuration.
    #[error("{}: the path is not UTF-8", .0.display())]
    Path(PathBuf),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// The root key.
    #[error(transparent)]
    Custody(#[from] CustodyFault),
    /// The store.
    #[error(transparent)]
    Store(#[from] OpenFault),
}

fn there(files: &[PathBuf]) -> String {
    let named: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let (are, them) = if named.len() == 1 { ("is", "it") } else { ("are", "them") };
    format!(
        "{} {are} there already: a vault, or what an init that failed has left; name another --dir, or remove {them} if no \
         vault was made",
        named.join(", ")
    )
}

/// Whether there is room for a vault of this name: none of its files is there. What comes to light later than this, with
/// the first files made, leaves half a vault.
///
/// # Errors
/// [`InitFault::Exists`], [`InitFault::There`].
pub fn vacant(folder: &Path, name: &VaultName) -> Result<(), InitFault> {
    let config = folder.join(CONFIG);
    if config.exists() {
        return Err(InitFault::Exists(config));
    }
    let card = format!("{name}.card");
    let names = ["tls/ca.pem", "tls/server.pem", "tls/server.key", "data/vault.db", &card];
    let files = names.into_iter().map(|name| folder.join(name));
    let there: Vec<PathBuf> = files.filter(|file| file.symlink_metadata().is_ok()).collect();
    if there.is_empty() { Ok(()) } else { Err(InitFault::There(there)) }
}

/// Makes the vault. The configuration is written last: a folder without one holds no vault, and whoever was interrupted
/// removes it and begins again.
///
/// # Errors
/// [`InitFault`]; what was written until then stays.
pub fn lay(plan: &Plan, now: Timestamp, entropy: &Arc<dyn Entropy>) -> Result<Laid, InitFault> {
    let (drawn, key) = (Drawn::new(&**entropy), SigningKey::generate(&**entropy));
    let register = drawn.first(plan.operator.clone(), key.public(), Form::Pae, now, &**entropy);
    let proof = register.sign(&key);
    let laid = lay_for(plan, drawn, (register, proof), now, entropy)?;
    Ok(Laid { operator_key: Some(key), ..laid })
}

/// The same for an operator whose key is held elsewhere, by the statement that it signed for this vault.
///
/// # Errors
/// As [`lay`].
pub fn lay_for(
    plan: &Plan,
    drawn: Drawn,
    (register, proof): (Register, Embedded),
    now: Timestamp,
    entropy: &Arc<dyn Entropy>,
) -> Result<Laid, InitFault> {
    vacant(&plan.folder, &plan.name)?;
    let (tls, places) = (tls::make(&plan.hosts, now, tls::LIFE)?, places(plan)?);
    let is_new = !plan.folder.exists();
    let folder = make_folder(&plan.folder)?;
    let (config, data) = (folder.join(CONFIG), folder.join(&places.data_dir));
    if let Err(why) = room_for_key(plan, &folder, &data) {
        if is_new {
            // It is empty.
            let _ = fs::remove_dir(&folder);
        }
        return Err(why);
    }
    make_folder(&folder.join("tls"))?;
    make_folder(&folder.join("run"))?;
    write(&folder.join("tls/ca.pem"), tls.ca_pem.as_bytes(), 0o644)?;
    write(&folder.join("tls/server.pem"), tls.cert_pem.as_bytes(), 0o644)?;
    write(&folder.join("tls/server.key"), tls.key_pem.expose(), 0o600)?;

    let (kind, public) = keep(plan, &folder, &data, &**entropy)?;
    let root = RootKey::generate(&**entropy);
    let founding =
        Founding { name: plan.name.clone(), node: config::NODE.to_owned(), operator: plan.operator.clone(), now };
    let (aud, identity) = (drawn.aud(), drawn.identity());
    let mut founding = found::prepare_for(drawn, founding, register, proof, &**entropy);
    let custodian = kind.name().parse().expect("the name of a kind is a name");
    founding.custodians = vec![Appointed { name: custodian, kind, public }];
    let (vault, operators) = Sqlite::found(&data, &root, founding, Arc::clone(entropy))?;

    let card = Card {
        name: plan.name.clone(),
        aud,
        identity,
        agents: agents_url(plan),
        operators: format!("unix:{}", folder.join(&places.operators_unix).display()),
        ca: Some(tls.ca_pem),
        genesis: Genesis { vault: vault.leaf, operators: operators.leaf },
    };
    let card_path = folder.join(format!("{}.card", plan.name));
    write(&card_path, card.write().as_bytes(), 0o644)?;
    write(&config, config::example(&places).as_bytes(), 0o600)?;
    Ok(Laid { config, card, card_path, operator_key: None })
}

fn places(plan: &Plan) -> Result<Places, InitFault> {
    let mut places = Places { agents: plan.agents, operators: plan.operators, http: plan.http, ..Places::default() };
    places.custody = match &plan.custody {
        Keeper::File(None) => places.custody,
        Keeper::File(Some(path)) => {
            let absolute = std::path::absolute(path).map_err(|error| InitFault::File { path: path.clone(), error })?;
            absolute.to_str().ok_or_else(|| InitFault::Path(absolute.clone()))?;
            Custody::File(absolute)
        }
        Keeper::Credential(name, _) => Custody::Credential(name.clone()),
        Keeper::Other { opens, .. } => opens.clone(),
    };
    Ok(places)
}

/// Whether the first custodian's file can be made, where it has one. It may be meant to lie in the vault's folder.
fn room_for_key(plan: &Plan, folder: &Path, data: &Path) -> Result<(), InitFault> {
    let (Keeper::File(path) | Keeper::Credential(_, path)) = &plan.custody else { return Ok(()) };
    let path = path.clone().unwrap_or_else(|| folder.join(ROOT_KEY));
    Ok(custody::file::vacant(&path, data)?)
}

/// The first custodian's kind and public key, with the file that it needs.
fn keep(plan: &Plan, folder: &Path, data: &Path, entropy: &dyn Entropy) -> Result<(Kind, SealPublicKey), InitFault> {
    let (kind, path) = match &plan.custody {
        Keeper::File(path) => (Kind::File, path),
        Keeper::Credential(_, path) => (Kind::Credential, path),
        Keeper::Other { kind, public, .. } => return Ok((kind.clone(), *public)),
    };
    let path = path.clone().unwrap_or_else(|| folder.join(ROOT_KEY));
    Ok((kind, custody::file::create(&path, data, entropy)?.public()))
}

/// The address in the card: the first host with the port that is listened on. Without a host it is the address itself,
/// or this machine where that means all of its addresses.
fn agents_url(plan: &Plan) -> String {
    let host = plan.hosts.first().cloned().unwrap_or_else(|| match plan.agents.ip() {
        ip if ip.is_unspecified() => "localhost".to_owned(),
        ip => ip.to_string(),
    });
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    format!("https://{host}:{}", plan.agents.port())
}

pub(super) fn make_folder(path: &Path) -> Result<PathBuf, InitFault> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.and_then(|()| path.canonicalize()).map_err(|error| InitFault::File { path: path.to_owned(), error })
}

/// A new file with its mode from the first byte on, durable.
pub(super) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), InitFault> {
    let open = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    open.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .map_err(|error| InitFault::File { path: path.to_owned(), error })
}
