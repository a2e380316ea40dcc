//! An ssh-agent (draft-miller-ssh-agent) that has what the vault issues. Whoever asks it for identities gets the SSH
//! certificates of its roles, fetched that moment or still alive; and it signs with the certified keys, which never leave
//! this process. A program that has `SSH_AUTH_SOCK` of it logs in as its roles allow, and knows nothing of a vault.
//!
//! It signs logins (RFC 4252 section 7) by a certificate that it has listed and that is still good, and nothing else: no
//! file, no commit, no challenge of another protocol. A connection that OpenSSH has bound to a session
//! (`session-bind@openssh.com`) signs for that session alone, and one that it says is forwarded to another host signs
//! nothing, so that `ssh -A` lends a certificate to nobody. Everything else that an ssh-agent may be asked is refused.
//!
//! The socket is open to one user (mode 0600, and the peer's user id is looked at), and lies in a folder that is private
//! already. Connections, messages and time are bounded.

mod certified;
mod login;
mod talk;

use std::fmt;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::wallet::Wallet;
use super::want::Want;
use crate::client::fault::Fault;
use certified::Certificates;

/// How many connections are served at once. One more is hung up.
const CONNECTIONS: usize = 64;
/// The name of the socket in its folder.
const NAME: &str = "ssh-agent";
/// The longest path that the name of a unix socket has room for.
const PATH_MAX: usize = 107;

/// Who hears, in words, what this agent could not do.
pub type Words = Arc<dyn Fn(&str) + Send + Sync>;

/// An agent that serves. It ends, and its socket goes, when this is dropped.
pub struct Serving {
    path: PathBuf,
    task: JoinHandle<()>,
}

impl Serving {
    /// The socket: what `SSH_AUTH_SOCK` is to name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Serves the certificates of `wants` at a socket in `dir`, a private folder, to the user `uid`, or to this one. Nothing
/// is asked of the vault before somebody asks here. To be called where a runtime is.
///
/// # Errors
/// [`Fault::Local`] where the folder is not private or the socket cannot be made, and for a want with a key of its own,
/// since nobody here could sign with that.
pub fn serve(wallet: Wallet, wants: Vec<Want>, dir: &Path, uid: Option<u32>, words: Words) -> Result<Serving, Fault> {
    if let Some(want) = wants.iter().find(|want| want.params.contains_key(certified::PUBLIC_KEY)) {
        return Err(Fault::Local(format!(
            "{}: leave {} out; this agent has a key of its own where the role wants one brought",
            want.role,
            certified::PUBLIC_KEY
        )));
    }
    let own = rustix::process::geteuid().as_raw();
    let uid = uid.unwrap_or(own);
    private(dir, &[own, uid])?;
    let path = dir.join(NAME);
    let at = |why: std::io::Error| Fault::Local(format!("{}: {why}", path.display()));
    if path.as_os_str().len() > PATH_MAX {
        return Err(Fault::Local(format!("{}: longer than the {PATH_MAX} bytes of a socket's path", path.display())));
    }
    let listener = UnixListener::bind(&path).map_err(at)?;
    // The folder lets nobody else in meanwhile.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(at)?;
    if uid != own {
        std::os::unix::fs::chown(&path, Some(uid), None).map_err(at)?;
    }
    let certificates = Arc::new(Certificates::new(wallet, wants, words));
    let task = tokio::spawn(accept(listener, certificates, [own, uid]));
    Ok(Serving { path, task })
}

/// Whether a folder is one of these users', and nobody else can look or write into it. A group may pass through, as the
/// child's does where it is another user: the socket's own mode keeps others out.
fn private(dir: &Path, users: &[u32]) -> Result<(), Fault> {
    let stat = std::fs::symlink_metadata(dir).map_err(|why| Fault::Local(format!("{}: {why}", dir.display())))?;
    if !stat.is_dir() || !users.contains(&stat.uid()) || stat.mode() & 0o067 != 0 {
        return Err(Fault::Local(format!("{}: no private folder of this user (mode 0700)", dir.display())));
    }
    Ok(())
}

async fn accept(listener: UnixListener, certificates: Arc<Certificates>, users: [u32; 2]) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of files, most likely: it passes when others close theirs.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let known = stream.peer_cred().is_ok_and(|peer| users.contains(&peer.uid()));
        let Some(place) = room.clone().try_acquire_owned().ok().filter(|_| known) else { continue };
        let certificates = certificates.clone();
        tokio::spawn(async move {
            talk::talk(stream, &certificates).await;
            drop(place);
        });
    }
}
