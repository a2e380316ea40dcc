//! Where peers come in. A [`Listener`] is a TCP port or a unix socket of mode 0600; a [`Door`] accepts from it, never
//! more connections at once than there may be, of all and of one peer: one more is closed before anything is read of it,
//! so that nothing piles up. A [`Connection`] knows its
//! [`Peer`], and ends itself when nothing was heard from the far side for too long, be it before the handshake or after.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, Sleep};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use super::peers::{Held, Line, Peers, TurnedAway};
use crate::authz::Peer;
use crate::config::{Config, Limits, Listen};
use crate::telemetry::Telemetry;

/// What every HTTP/2 connection begins with has this many bytes (RFC 9113, 3.4), and no TLS handshake or HTTP/1 request
/// has fewer. Until then a connection is on the shorter clock.
const PREFACE: u64 = 24;

/// How long to wait after accepting failed, as it does when the process has no more file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What kept a listener from being opened.
#[derive(Debug, thiserror::Error)]
pub enum BindFault {
    /// Another program listens on the port.
    #[error(
        "{setting}: {at} is taken by another program, or by another listener of this one; stop that one, or name another port there"
    )]
    PortTaken {
        /// What names the port.
        setting: &'static str,
        /// The port.
        at: SocketAddr,
    },
    /// The system did not let it.
    #[error("{setting}: {at}: {error}")]
    System {
        /// What names the place.
        setting: &'static str,
        /// Where it was to listen.
        at: String,
        /// What the system said.
        error: io::Error,
    },
    /// Something that is no socket has the socket's name.
    #[error("{0}: {path}: something that is no socket stands here; move it away or choose another path", path = .1.display())]
    NotASocket(&'static str, PathBuf),
    /// Another process answers on the socket.
    #[error("{0}: {path}: another process listens here", path = .1.display())]
    Taken(&'static str, PathBuf),
}

/// An open port or socket.
#[derive(Debug)]
pub enum Listener {
    /// A port.
    Tcp(TcpListener),
    /// A socket in the file system.
    Unix(UnixSocket),
}

/// A unix socket of mode 0600; its name is removed with it.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|there| there.ino() == self.inode);
        if ours {
            // Left behind, it is found stale and replaced at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Everything a daemon listens on.
#[derive(Debug)]
pub struct Listeners {
    /// For agents.
    pub agents: Vec<Listener>,
    /// For operators.
    pub operators: Vec<Listener>,
    /// For health, metrics and the JWKS.
    pub http: Option<Listener>,
}

impl Listeners {
    /// Opens all that the configuration names.
    ///
    /// # Errors
    /// The first that cannot be opened.
    pub async fn bind(config: &Config) -> Result<Listeners, BindFault> {
        let http = match config.http {
            Some(address) => Some(Listener::tcp("[http] listen", address).await?),
            None => None,
        };
        let agents = bind_all(["[agents] listen", "[agents] unix"], &config.agents).await?;
        let operators = bind_all(["[operators] listen", "[operators] unix"], &config.operators).await?;
        Ok(Listeners { agents, operators, http })
    }
}

async fn bind_all([port, socket]: [&'static str; 2], listen: &Listen) -> Result<Vec<Listener>, BindFault> {
    let mut all = Vec::new();
    if let Some(address) = listen.tcp {
        all.push(Listener::tcp(port, address).await?);
    }
    if let Some(path) = &listen.unix {
        all.push(Listener::unix(socket, path)?);
    }
    Ok(all)
}

impl Listener {
    /// Opens the port that this setting names; 0 takes a free one.
    ///
    /// # Errors
    /// Another program has it, or what the system says.
    pub async fn tcp(setting: &'static str, address: SocketAddr) -> Result<Listener, BindFault> {
        let listener = TcpListener::bind(address).await;
        listener.map(Listener::Tcp).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => BindFault::PortTaken { setting, at: address },
            _ => BindFault::System { setting, at: address.to_string(), error },
        })
    }

    /// Opens the socket that this setting names, of mode 0600, in the place of one that nobody listens on any more. It is made under another name
    /// and moved when it has its mode, so that at no time another user can connect.
    ///
    /// # Errors
    /// Something else has that name, somebody listens there, or what the system says.
    pub fn unix(setting: &'static str, path: &Path) -> Result<Listener, BindFault> {
        let fault = |error| BindFault::System { setting, at: path.display().to_string(), error };
        make_way(setting, path)?;
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let new = PathBuf::from(name);
        let made = (|| {
            if fs::symlink_metadata(&new).is_ok() {
                fs::remove_file(&new)?;
            }
            let listener = UnixListener::bind(&new)?;
            fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
            let inode = fs::symlink_metadata(&new)?.ino();
            fs::rename(&new, path)?;
            Ok(UnixSocket { listener, path: path.to_owned(), inode })
        })();
        made.map(Listener::Unix).map_err(fault)
    }

    /// The address of a port.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(_) => None,
        }
    }

    /// Where it listens, as a client is told: `https://ADDRESS`, `http://ADDRESS` or `unix:PATH`.
    #[must_use]
    pub fn url(&self, with_tls: bool) -> String {
        match self {
            Listener::Tcp(listener) => {
                let scheme = if with_tls { "https" } else { "http" };
                listener.local_addr().map_or_else(|_| scheme.to_owned(), |address| format!("{scheme}://{address}"))
            }
            Listener::Unix(socket) => format!("unix:{}", socket.path.display()),
        }
    }

    async fn accept(&self) -> io::Result<(Io, Peer)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                stream.set_nodelay(true)?;
                // An IPv4 peer of a dual-stack socket is the IPv4 address that grants speak of.
                Ok((Io::Tcp(stream), Peer::Tcp(address.ip().to_canonical())))
            }
            Listener::Unix(socket) => {
                let (stream, _) = socket.listener.accept().await?;
                let uid = stream.peer_cred().ok().map(|credentials| credentials.uid());
                Ok((Io::Unix(stream), Peer::Unix(uid)))
            }
        }
    }
}

/// Makes the folder of a socket, and sees that at most a dead socket has its name.
fn make_way(setting: &'static str, path: &Path) -> Result<(), BindFault> {
    let fault = |error| BindFault::System { setting, at: path.display().to_string(), error };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(fault)?;
    }
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(fault(error)),
        Ok(there) if !there.file_type().is_socket() => Err(BindFault::NotASocket(setting, path.to_owned())),
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            Err(error) => Err(fault(error)),
            Ok(_) => Err(BindFault::Taken(setting, path.to_owned())),
        },
    }
}

/// How long a connection may say nothing.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Before its first bytes are complete.
    pub handshake: Duration,
    /// Afterwards. Live peers answer the pings that come more often.
    pub silence: Duration,
}

impl From<&Limits> for Patience {
    fn from(limits: &Limits) -> Patience {
        Patience {
            handshake: Duration::from_secs(limits.handshake_timeout_s),
            silence: Duration::from_secs(limits.keepalive_s + limits.keepalive_timeout_s + 5),
        }
    }
}

/// A listener, and how many may be inside.
#[derive(Debug)]
pub struct Door {
    /// Where it listens.
    pub listener: Listener,
    /// Its name in metrics.
    pub name: &'static str,
    /// The places inside; doors may share them.
    pub places: Arc<Semaphore>,
    /// What each peer may have of them.
    pub peers: Peers,
    /// How long a connection may say nothing.
    pub patience: Patience,
    /// Where it counts.
    pub telemetry: Telemetry,
}

impl Door {
    /// The next connection that there is a place for.
    pub async fn accept(&self) -> Connection {
        loop {
            let (io, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(listener = self.name, %error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            };
            let (held, permit) = match self.enter(&peer) {
                Ok(place) => place,
                Err(why) => {
                    self.telemetry.turned_away(self.name, why.as_str());
                    tracing::debug!(listener = self.name, ?peer, why = why.as_str(), "a connection was closed at once");
                    continue;
                }
            };
            self.telemetry.connected(self.name);
            let place = Place { name: self.name, telemetry: self.telemetry.clone(), _permit: permit, _held: held };
            let line = Arc::<Line>::default();
            return Connection {
                io,
                closed: Box::pin(Arc::clone(&line).closed()),
                origin: Origin(peer, line),
                heard: 0,
                silence: self.patience.silence,
                alarm: Box::pin(tokio::time::sleep(self.patience.handshake)),
                _place: place,
            };
        }
    }

    /// A place for this peer, before a byte of it was read.
    fn enter(&self, peer: &Peer) -> Result<(Held, OwnedSemaphorePermit), TurnedAway> {
        let permit = Arc::clone(&self.places).try_acquire_owned().map_err(|_| TurnedAway::Full)?;
        Ok((self.peers.connect(peer)?, permit))
    }

    /// Its connections until it is told to stop; then it is closed.
    #[must_use]
    pub fn incoming(self, stop: CancellationToken) -> ReceiverStream<io::Result<Connection>> {
        let (inside, stream) = mpsc::channel(1);
        tokio::spawn(async move {
            let accepting = async { while inside.send(Ok(self.accept().await)).await.is_ok() {} };
            tokio::select! {
                () = stop.cancelled() => {}
                () = accepting => {}
            }
        });
        ReceiverStream::new(stream)
    }
}

impl axum::serve::Listener for Door {
    type Io = Connection;
    type Addr = Origin;

    async fn accept(&mut self) -> (Connection, Origin) {
        let connection = Door::accept(self).await;
        let origin = connection.origin.clone();
        (connection, origin)
    }

    fn local_addr(&self) -> io::Result<Origin> {
        let address = self.listener.address().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Origin(Peer::Tcp(address.ip()), Arc::default()))
    }
}

/// Where a connection came from, and what is known of it; every request on it carries this.
#[derive(Clone, Debug)]
pub struct Origin(pub Peer, pub Arc<Line>);

/// A place inside, given back when dropped.
#[derive(Debug)]
struct Place {
    name: &'static str,
    telemetry: Telemetry,
    _permit: OwnedSemaphorePermit,
    _held: Held,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.telemetry.disconnected(self.name);
    }
}

#[derive(Debug)]
enum Io {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// An accepted connection.
pub struct Connection {
    io: Io,
    origin: Origin,
    heard: u64,
    silence: Duration,
    alarm: Pin<Box<Sleep>>,
    /// Is done when the connection is to end.
    closed: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    _place: Place,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("io", &self.io).field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Connected for Connection {
    type ConnectInfo = Origin;

    fn connect_info(&self) -> Origin {
        self.origin.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = match &mut self.io {
            Io::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Io::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        if read.is_ready() {
            self.heard += (buf.filled().len() - before) as u64;
            if self.heard >= PREFACE {
                let until = Instant::now() + self.silence;
                self.alarm.as_mut().reset(until);
            }
        } else if self.alarm.as_mut().poll(cx).is_ready() || self.closed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Io::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Io::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Io::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::super::peers::Free;
    use super::*;

    fn door(listener: Listener, places: usize, patience: Patience) -> Door {
        let peers = Peers::new(&Limits::default(), Free::Nobody);
        let places = Arc::new(Semaphore::new(places));
        Door { listener, name: "test", places, peers, patience, telemetry: Telemetry::new() }
    }

    const LONG: Patience = Patience { handshake: Duration::from_secs(60), silence: Duration::from_secs(60) };

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_nothing_else_is() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("new/folder/vault.sock");
        let mode = |path: &Path| fs::symlink_metadata(path).expect("it is there").permissions().mode() & 0o777;

        let first = Listener::unix("[agents] unix", &path).expect("a socket");
        assert_eq!((mode(&path), mode(path.parent().expect("a folder"))), (0o600, 0o700));
        assert!(matches!(Listener::unix("[agents] unix", &path), Err(BindFault::Taken(..))));
        drop(first);
        assert!(!path.exists(), "its name goes with it");

        // Another process' socket, dead: the name stays behind.
        drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
        assert!(path.exists());
        let second = Listener::unix("[agents] unix", &path).expect("in its place");
        assert_eq!(mode(&path), 0o600);

        // Whoever has the name by now keeps it.
        fs::remove_file(&path).expect("it is there");
        fs::write(&path, b"a file").expect("a file is written");
        drop(second);
        assert_eq!(fs::read(&path).expect("it is there"), b"a file");
        assert!(matches!(Listener::unix("[agents] unix", &path), Err(BindFault::NotASocket(..))));
    }

    #[tokio::test]
    async fn a_unix_peer_is_its_uid_and_a_tcp_peer_its_address() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("s");
        let unix = door(Listener::unix("[agents] unix", &path).expect("a socket"), 9, LONG);
        let _client = UnixStream::connect(&path).await.expect("it listens");
        let uid = fs::metadata(folder.path()).expect("it is there").uid();
        assert_eq!(unix.accept().await.connect_info().0, Peer::Unix(Some(uid)));

        let tcp = door(Listener::tcp("[http] listen", "[::]:0".parse().unwrap()).await.expect("a port"), 9, LONG);
        let port = tcp.listener.address().expect("it has one").port();
        let _client = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
        assert_eq!(tcp.accept().await.connect_info().0, Peer::Tcp("127.0.0.1".parse().unwrap()));
    }

    #[tokio::test]
    async fn one_connection_too_many_is_closed_and_a_place_comes_back() {
        let door = Arc::new(door(
            Listener::tcp("[http] listen", "127.0.0.1:0".parse().unwrap()).await.expect("a port"),
            1,
            LONG,
        ));
        let address = door.listener.address().expect("it has one");
        let _first = TcpStream::connect(address).await.expect("it listens");
        let inside = door.accept().await;
        let accepting = tokio::spawn({
            let door = Arc::clone(&door);
            async move { door.accept().await }
        });
        let mut second = TcpStream::connect(address).await.expect("it listens");
        assert_eq!(second.read(&mut [0]).await.expect("closed in order"), 0);
        assert!(
            door.telemetry.text().contains("nockvault_connections_turned_away_total{listener=\"test\",why=\"full\"} 1")
        );

        drop(inside);
        let _third = TcpStream::connect(address).await.expect("it listens");
        accepting.await.expect("there is a place again");
        assert!(door.telemetry.text().contains("nockvault_connections{listener=\"test\"} 0"), "both are over");
    }

    #[tokio::test]
    async fn who_says_nothing_is_not_waited_for() {
        let patience = Patience { handshake: Duration::from_millis(150), silence: Duration::from_millis(400) };
        let door =
            door(Listener::tcp("[http] listen", "127.0.0.1:0".parse().unwrap()).await.expect("a port"), 9, patience);
        let address = door.listener.address().expect("it has one");

        for (sent, least, most) in [(0, 150, 400), (23, 150, 400), (24, 400, 2000)] {
            let mut client = TcpStream::connect(address).await.expect("it listens");
            let mut inside = door.accept().await;
            let begin = Instant::now();
            client.write_all(&vec![b'x'; sent]).await.expect("it is open");
            let mut heard = Vec::new();
            let error = inside.read_to_end(&mut heard).await.expect_err("it says no more");
            let took = begin.elapsed().as_millis();
            assert_eq!((error.kind(), heard.len()), (io::ErrorKind::TimedOut, sent));
            assert!((least..most).contains(&took), "{sent} bytes: {took} ms");
        }
    }
}
