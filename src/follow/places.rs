//! Places that keep the newest checkpoint of each chain, where the vault cannot take it back. A place gets the whole note
//! with the cosignatures of witnesses:
//!
//! - `dir:/path`: the file `/path/<chain>.checkpoint`, replaced as a whole. The folder must be there: where it is a disk of
//!   others that is not mounted, nothing is written beside it. Before a checkpoint is replaced, the store proves that
//!   the new one follows on it; where it does not, the old one is evidence and stays.
//! - `https://host/path/`, with a slash at its end: `PUT` of `<chain>.checkpoint` below it.
//! - `https://host/path`: `POST` of each note; which chain it is of stands in its first line.
//!
//! A place that has the newest checkpoint gets no other. One that was away gets the newest when it is back, and none of
//! those between: each checkpoint holds all that stood before it.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use http::{Method, StatusCode};
use rustix::fs::OFlags;
use tokio::task::spawn_blocking;

use super::cursor;
use super::http::{Http, Target};
use super::{Sink, Step, Trouble};
use crate::audit::checkpoint::Checkpoint;
use crate::audit::note::{MAX_BYTES, Note};
use crate::audit::tree::verify_consistency;
use crate::id::ChainName;
use crate::store::{Failure, Noted, Store};
use crate::telemetry::Telemetry;

/// A place as the configuration names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A folder.
    Folder(PathBuf),
    /// An endpoint of HTTP.
    Endpoint(Target),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Place, String> {
        match text.strip_prefix("dir:") {
            Some(path) if Path::new(path).is_absolute() => Ok(Place::Folder(PathBuf::from(path))),
            Some(path) => Err(format!("the folder of a place is an absolute path, not {path:?}")),
            None => text.parse().map(Place::Endpoint),
        }
    }
}

/// As it is named in the log and in metrics.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Folder(path) => write!(f, "dir:{}", path.display()),
            Place::Endpoint(target) => target.fmt(f),
        }
    }
}

impl Place {
    /// What delivers checkpoints to it.
    ///
    /// # Errors
    /// TLS has no certificates of the system to check the place against.
    pub fn sink(&self, store: &Arc<dyn Store>, telemetry: &Telemetry) -> Result<Box<dyn Sink>, String> {
        let place = Kept::new(name(self), store, telemetry);
        Ok(match self {
            Place::Folder(folder) => Box::new(Folder { place, folder: folder.clone() }),
            Place::Endpoint(target) => {
                Box::new(Endpoint { place, http: Http::for_target(target)?, target: target.clone() })
            }
        })
    }
}

/// A name for metrics. There are as many as the configuration has places, for as long as the daemon lives.
pub(super) fn name(place: impl fmt::Display) -> &'static str {
    place.to_string().leak()
}

/// What all who deliver checkpoints have.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) name: &'static str,
    pub(super) store: Arc<dyn Store>,
    telemetry: Telemetry,
    /// Chains of which it was told that the vault contradicts what the place has.
    told: BTreeSet<ChainName>,
}

impl Kept {
    pub(super) fn new(name: &'static str, store: &Arc<dyn Store>, telemetry: &Telemetry) -> Kept {
        Kept { name, store: Arc::clone(store), telemetry: telemetry.clone(), told: BTreeSet::new() }
    }

    /// The newest checkpoint of a chain.
    pub(super) async fn newest(&self, chain: &ChainName) -> Result<Option<Noted>, Trouble> {
        self.store.newest_checkpoint(chain).await.map_err(unread)
    }

    /// What the place has is no beginning of what the store has. It is told loudly, once a chain.
    pub(super) fn forked(&mut self, chain: &ChainName, why: String) -> Trouble {
        if self.told.insert(chain.clone()) {
            tracing::error!(place = self.name, %chain, why, "the vault contradicts a checkpoint that others have of it");
            self.telemetry.sink_set_aside(self.name);
        }
        Trouble::of(why)
    }

    /// A chain was delivered.
    pub(super) fn delivered(&mut self, chain: &ChainName) -> Step {
        self.told.remove(chain);
        Step { carried: true, ..Step::default() }
    }
}

pub(super) fn unread(failure: Failure) -> Trouble {
    Trouble::of(format!("the store: {failure}"))
}

/// The note with all cosignatures.
fn whole(noted: &Noted) -> String {
    let lines = noted.cosigned.iter().flat_map(|line| [line, "\n"]);
    [noted.note.as_str()].into_iter().chain(lines).collect()
}

/// A folder.
#[derive(Debug)]
struct Folder {
    place: Kept,
    folder: PathBuf,
}

impl Folder {
    /// Whether the new checkpoint follows on the one that lies there.
    async fn follows(&self, chain: &ChainName, lies: &str, new: &str) -> Result<Result<(), String>, Trouble> {
        let file = self.file(chain);
        let stays = |why: String| Ok(Err(format!("{}: {why}; keep the file as evidence and find out", file.display())));
        let read = |note: &str| Note::read(note).ok().and_then(|note| Checkpoint::read(&note.text).ok());
        let Some(old) = read(lies) else { return stays("it is no checkpoint".to_owned()) };
        let new = read(new).ok_or_else(|| Trouble::of("the newest checkpoint in the store cannot be read"))?;
        if old.origin != new.origin {
            return stays(format!("it is a checkpoint of {}, not of {}", old.origin, new.origin));
        }
        if old.size > new.size {
            return stays(format!(
                "it holds {} entries, but the newest checkpoint of the vault {}: the vault's database is an older one",
                old.size, new.size
            ));
        }
        let path = self.place.store.consistency(chain, old.size, new.size).await.map_err(unread)?;
        let holds = path.is_some_and(|path| {
            verify_consistency(old.size, &old.root, new.size, &new.root, &path).is_ok() || old.size == 0
        });
        if holds {
            Ok(Ok(()))
        } else {
            stays(format!("the vault's chain does not begin with its {} entries", old.size))
        }
    }

    fn file(&self, chain: &ChainName) -> PathBuf {
        self.folder.join(format!("{chain}.checkpoint"))
    }

    /// Writes the newest checkpoint of a chain where it is not there yet.
    async fn carry(&mut self, chain: &ChainName) -> Result<Step, Trouble> {
        let Some(noted) = self.place.newest(chain).await? else { return Ok(Step::default()) };
        let (file, note) = (self.file(chain), whole(&noted));
        let lies = blocking({
            let file = file.clone();
            move || read(&file).map_err(Trouble::of)
        })
        .await?;
        match lies {
            Some(lies) if lies == note.as_bytes() => return Ok(Step::default()),
            Some(lies) => {
                let lies = String::from_utf8(lies).unwrap_or_default();
                if let Err(why) = self.follows(chain, &lies, &noted.note).await? {
                    return Err(self.place.forked(chain, why));
                }
            }
            None => {}
        }
        blocking(move || replace(&file, note.as_bytes()).map_err(Trouble::all)).await?;
        Ok(self.place.delivered(chain))
    }
}

#[async_trait]
impl Sink for Folder {
    fn name(&self) -> &'static str {
        self.place.name
    }

    async fn step(&mut self, chains: &[ChainName]) -> Vec<Result<Step, Trouble>> {
        vec![self.carry(&chains[0]).await]
    }
}

/// What the disk does, where it may take its time.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Trouble> + Send + 'static) -> Result<T, Trouble> {
    spawn_blocking(work).await.map_err(|error| Trouble::all(error.to_string()))?
}

/// What lies there. The folder may be another's: no link of his is followed, no pipe waited for, and no more read than a
/// note can be long.
fn read(file: &Path) -> Result<Option<Vec<u8>>, String> {
    let read = || -> io::Result<Vec<u8>> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let opened = fs::OpenOptions::new().read(true).custom_flags(flags).open(file)?;
        if !opened.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let most = 2 * MAX_BYTES as u64;
        let mut lies = Vec::new();
        opened.take(most + 1).read_to_end(&mut lies)?;
        // No note is so long, so it is something else, whatever stands in it.
        Ok(if lies.len() as u64 > most { Vec::new() } else { lies })
    };
    match read() {
        Ok(lies) => Ok(Some(lies)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{} cannot be read: {error}", file.display())),
    }
}

/// Writes the file under another name, durable, and then renames it: a crash leaves the old one or the new one.
fn replace(file: &Path, note: &[u8]) -> Result<(), String> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    let unfinished = file.with_extension("checkpoint~new");
    let write = || -> io::Result<()> {
        // One that a crash left, or a link that somebody laid there, is not written through.
        let mut out = cursor::anew(&unfinished)?;
        // For others to read, whatever the daemon makes otherwise.
        out.set_permissions(fs::Permissions::from_mode(0o644))?;
        out.write_all(note)?;
        out.sync_all()?;
        fs::rename(&unfinished, file)?;
        fs::File::open(folder)?.sync_all()
    };
    write().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            format!("{} is not there; make the folder or mount what is to keep checkpoints", folder.display())
        }
        _ => format!("{} cannot be written: {error}", file.display()),
    })
}

/// An endpoint of HTTP.
#[derive(Debug)]
struct Endpoint {
    place: Kept,
    http: Http,
    target: Target,
}

impl Endpoint {
    /// Sends the newest checkpoint of a chain.
    async fn carry(&mut self, chain: &ChainName) -> Result<Step, Trouble> {
        let Some(noted) = self.place.newest(chain).await? else { return Ok(Step::default()) };
        let (method, target) = if self.target.is_folder() {
            (Method::PUT, self.target.below(&format!("{chain}.checkpoint")).map_err(Trouble::of)?)
        } else {
            (Method::POST, self.target.clone())
        };
        let (status, _) = self.http.send(method, &target, whole(&noted)).await.map_err(Trouble::all)?;
        let why = || format!("{target} answered {status} to the checkpoint of {chain}");
        match status {
            status if status.is_success() => Ok(self.place.delivered(chain)),
            StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => Err(self.place.forked(chain, why())),
            _ => Err(Trouble::all(why())),
        }
    }
}

#[async_trait]
impl Sink for Endpoint {
    fn name(&self) -> &'static str {
        self.place.name
    }

    async fn step(&mut self, chains: &[ChainName]) -> Vec<Result<Step, Trouble>> {
        vec![self.carry(&chains[0]).await]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_folder_or_an_address() {
        for good in ["dir:/var/lib/keep", "https://keep.example/notes/", "http://127.0.0.1:8000/add"] {
            assert_eq!(good.parse::<Place>().unwrap().to_string(), good);
        }
        for bad in ["dir:keep", "dir:", "/var/lib/keep", "http://keep.example/", "s3://keep/notes"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_is_replaced_whole_and_no_folder_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kit.checkpoint");
        assert_eq!(read(&file), Ok(None));
        for note in [b"one".as_slice(), b"two"] {
            replace(&file, note).unwrap();
            assert_eq!(read(&file), Ok(Some(note.to_vec())));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        // What a crash left is no hindrance.
        fs::write(folder.path().join("kit.checkpoint~new"), "half").unwrap();
        replace(&file, b"three").unwrap();
        assert_eq!(read(&file), Ok(Some(b"three".to_vec())));
        let away = folder.path().join("not mounted/kit.checkpoint");
        assert!(replace(&away, b"one").unwrap_err().contains("make the folder or mount"));
        assert!(!away.parent().unwrap().exists());
    }

    /// Whoever has the folder can make the daemon neither write nor read anything else, nor wait.
    #[test]
    fn no_link_is_followed_and_no_pipe_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (file, key) = (folder.path().join("kit.checkpoint"), folder.path().join("root.key"));
        fs::write(&key, "secret").unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink(&key, folder.path().join("kit.checkpoint~new")).unwrap();
        replace(&file, b"one").unwrap();
        assert_eq!(read(&file), Ok(Some(b"one".to_vec())));
        assert_eq!(fs::read(&key).unwrap(), b"secret");
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);

        let laid = |name: &str| folder.path().join(name);
        std::os::unix::fs::symlink("/dev/zero", laid("endless")).unwrap();
        std::os::unix::fs::symlink(&key, laid("link")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, laid("pipe"), rustix::fs::Mode::RUSR).unwrap();
        for name in ["endless", "link", "pipe"] {
            assert!(read(&laid(name)).is_err(), "{name}");
        }
        fs::write(laid("long"), vec![b'a'; 3 * MAX_BYTES]).unwrap();
        assert_eq!(read(&laid("long")), Ok(Some(Vec::new())));
    }
}
