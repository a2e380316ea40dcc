//! The launcher's side of the socket.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Uid, chown};
use rustix::process::geteuid;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::form::{self, Listed, Question, What, Wrong};
use super::line::{Came, line};
use super::{Options, QUESTION_MAX, SOCKET};
use crate::client::fault::Fault;
use crate::launcher::ask::Given;
use crate::launcher::folder;
use crate::launcher::token::Token;
use crate::launcher::wallet::Wallet;

/// How many are served at once; others wait in the system's queue.
const CONNECTIONS: usize = 64;
/// How long a question may take to come, and an answer to be taken.
const SPEAKING: Duration = Duration::from_secs(5);
/// How long an answer may take to be found: longer than the wallet's own waits.
const FINDING: Duration = Duration::from_secs(90);

/// A socket that is served. Dropping it ends that and removes the socket.
#[derive(Debug)]
pub struct Serving {
    path: PathBuf,
    task: AbortHandle,
    token: Option<Arc<Token>>,
    _lock: fs::File,
    _folder: tempfile::TempDir,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Serving {
    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the child's environment needs: the name and value of `NOCKVAULT_AGENT_SOCKET`.
    #[must_use]
    pub fn variable(&self) -> (&'static str, &Path) {
        (SOCKET, &self.path)
    }

    /// What has to be shown, in tight mode: its [`Token::file`] goes to the child.
    #[must_use]
    pub fn token(&self) -> Option<&Token> {
        self.token.as_deref()
    }
}

/// Who is let in.
struct Door {
    wallet: Wallet,
    uids: [u32; 2],
    token: Option<Arc<Token>>,
}

/// Makes the socket and serves it, until what this gives is dropped. It is called within a tokio runtime.
///
/// # Errors
/// [`Fault::Local`] where the socket cannot be made, or not be given to the child's user.
pub fn serve(wallet: Wallet, options: Options) -> Result<Serving, Fault> {
    let own = geteuid().as_raw();
    let uid = options.uid.unwrap_or(own);
    let dir = options.dir.or_else(|| runtime_dir(own == uid)).unwrap_or_else(std::env::temp_dir);
    let at = |why: std::io::Error| Fault::Local(format!("no socket can be made in {}: {why}", dir.display()));
    let private = fs::Permissions::from_mode(0o700);
    let folder = tempfile::Builder::new().prefix("nockvault-").permissions(private).tempdir_in(&dir).map_err(at)?;
    let lock = folder::lock(folder.path()).map_err(at)?;
    let path = folder.path().join("agent.sock");
    // Nobody else can enter the folder yet, so that there is no moment at which the socket is open to more.
    let listener = UnixListener::bind(&path).map_err(at)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(at)?;
    if uid != own {
        for given in [&path, folder.path()] {
            chown(given, Some(Uid::from_raw(uid)), None).map_err(|why| {
                Fault::Local(format!("the socket cannot be given to the user {uid}: {why}; that takes root"))
            })?;
        }
    }
    let door = Arc::new(Door { wallet, uids: [own, uid], token: options.token.clone() });
    let task = tokio::spawn(accept(listener, door)).abort_handle();
    Ok(Serving { path, task, token: options.token, _lock: lock, _folder: folder })
}

/// The user's runtime folder, where it is private: another user could not enter it.
fn runtime_dir(for_self: bool) -> Option<PathBuf> {
    let dir = PathBuf::from(std::env::var_os("XDG_RUNTIME_DIR")?);
    let private = fs::metadata(&dir).ok()?.permissions().mode() & 0o077 == 0;
    (for_self && private && dir.is_absolute()).then_some(dir)
}

async fn accept(listener: UnixListener, door: Arc<Door>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    // Dropped with this task, and everything that it serves with it.
    let mut served = JoinSet::new();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let door = door.clone();
                served.spawn(async move {
                    door.serve(stream).await;
                    drop(place);
                });
            }
            // No file left to open, say. What is open now will be closed.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
        while served.try_join_next().is_some() {}
    }
}

impl Door {
    /// One question, one answer. What the other side does not take is its own loss.
    async fn serve(&self, mut stream: UnixStream) {
        let answer = match self.admitted(&stream) {
            Ok(()) => match timeout(SPEAKING, question(&mut stream)).await {
                Ok(Ok(line)) => self.answer(&line).await.unwrap_or_else(Wrong::line),
                Ok(Err(wrong)) => wrong.line(),
                Err(_) => Wrong::new("too_slow", "the question did not come in time").line(),
            },
            Err(wrong) => wrong.line(),
        };
        let telling = async {
            stream.write_all(&answer).await?;
            stream.shutdown().await
        };
        let _ = timeout(SPEAKING, telling).await;
    }

    /// Whether the kernel says that this user is at the other end.
    fn admitted(&self, stream: &UnixStream) -> Result<(), Wrong> {
        let refused = || Wrong::new("other_user", "this socket belongs to another user");
        let peer = stream.peer_cred().map_err(|_| refused())?;
        if self.uids.contains(&peer.uid()) { Ok(()) } else { Err(refused()) }
    }

    async fn answer(&self, line: &[u8]) -> Result<Zeroizing<Vec<u8>>, Wrong> {
        let question = Question::read(line)?;
        if let Some(token) = &self.token
            && !question.token.as_ref().is_some_and(|shown| token.is(&shown.0))
        {
            return Err(Wrong::new(
                "no_token",
                "this launcher answers only who shows the token of its run: it is in the inherited file that \
                 NOCKVAULT_AGENT_TOKEN_FD names, and whoever started this program closed it or did not have it",
            ));
        }
        // A task of its own: a request that is broken off under way could leave a lease that nobody knows of.
        let found = timeout(FINDING, tokio::spawn(find(self.wallet.clone(), question))).await;
        match found {
            Ok(Ok(found)) => found,
            Ok(Err(_)) => Err(Wrong::new("launcher", "the launcher is ending")),
            Err(_) => Err(Wrong::new("too_slow", "the vault did not answer in time")),
        }
    }
}

async fn find(wallet: Wallet, mut question: Question) -> Result<Zeroizing<Vec<u8>>, Wrong> {
    let wrong = |fault: Fault| Wrong::of(&fault);
    match question.what {
        What::Get => {
            let want = question.want()?;
            let held = if question.fresh { wallet.fresh(&want).await } else { wallet.hold(&want).await };
            let given = Given::of(&*held.map_err(wrong)?).map_err(wrong)?;
            Ok(form::credential(&given))
        }
        What::Release => {
            let role = question.want()?.role;
            wallet.release(&role).await.map(form::released).map_err(wrong)
        }
        What::List => {
            let held = wallet.held().iter().map(|(_, held)| Listed::of(held)).collect();
            Ok(form::list(held, wallet.roles()))
        }
    }
}

/// The line that is asked, without its end.
async fn question(stream: &mut UnixStream) -> Result<Zeroizing<Vec<u8>>, Wrong> {
    match line(stream, QUESTION_MAX).await {
        Ok(Came::Line(line)) => Ok(line),
        Ok(Came::TooMuch) => Err(Wrong::new("too_large", format!("a question has at most {QUESTION_MAX} bytes"))),
        Ok(Came::Broken(_)) => Err(Wrong::new("bad_request", "a question ends with a line feed")),
        Err(_) => Err(Wrong::new("bad_request", "the question broke off")),
    }
}
