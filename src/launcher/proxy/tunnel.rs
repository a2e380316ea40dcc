//! What goes through `CONNECT`. TLS to a rule's host is ended here, where the client names that very host; a tunnel to a
//! host of `passthrough` goes on untouched, where the first thing in it is TLS to that very name. What an upgraded
//! connection brings back is looked through like a body.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::upgrade::Upgraded as Io;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy, copy_bidirectional, split};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::exchange::Upgraded;
use crate::launcher::redact::Redactor;

/// How long a client may take to say whom it wants to speak to, and for the rest of the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The most that a client may say until then.
const HELLO: usize = 64 << 10;

/// Ends the TLS of `host`.
///
/// # Errors
/// Why not, in words.
pub(super) async fn ended(
    io: TokioIo<Io>,
    host: &str,
    config: Arc<ServerConfig>,
) -> Result<TlsStream<TokioIo<Io>>, String> {
    let handshake = async {
        let start = LazyConfigAcceptor::new(Acceptor::default(), io).await.map_err(|why| why.to_string())?;
        agrees(start.client_hello().server_name(), host)?;
        start
            .into_stream(config)
            .await
            .map_err(|why| format!("{why}; does the client trust this launcher's authority?"))
    };
    match timeout(HANDSHAKE, handshake).await {
        Ok(ended) => ended.map_err(|why| format!("no TLS with the child for {host}: {why}")),
        Err(_) => Err(format!("no TLS with the child for {host} within {} s", HANDSHAKE.as_secs())),
    }
}

/// Whether the name in the handshake is the one of the tunnel. For an address there is none (RFC 6066).
fn agrees(named: Option<&str>, host: &str) -> Result<(), String> {
    match named {
        Some(named) if named.eq_ignore_ascii_case(host) => Ok(()),
        None if host.parse::<std::net::IpAddr>().is_ok() => Ok(()),
        Some(named) => Err(format!("the tunnel is for {host}, and the handshake in it for {named:?}")),
        None => Err(format!("the tunnel is for {host}, and the handshake in it names nobody")),
    }
}

/// Carries a tunnel to `host`, untouched.
///
/// # Errors
/// Why not, in words.
pub(super) async fn passed(mut child: TokioIo<Io>, host: &str, mut upstream: TcpStream) -> Result<(), String> {
    let hello = timeout(HANDSHAKE, hello(&mut child, host)).await;
    let hello = hello.unwrap_or_else(|_| Err("nothing was said in it".to_owned()));
    let hello = hello.map_err(|why| format!("the tunnel to {host} was closed: {why}"))?;
    // From here on an error is an end like any other.
    if upstream.write_all(&hello).await.is_ok() {
        let _ = copy_bidirectional(&mut child, &mut upstream).await;
    }
    Ok(())
}

/// Reads until it is known whom the client wants to speak to, and gives what was read.
async fn hello(child: &mut TokioIo<Io>, host: &str) -> Result<Vec<u8>, String> {
    let (mut acceptor, mut read, mut part) = (Acceptor::default(), Vec::new(), [0; 4096]);
    loop {
        let count = child.read(&mut part).await.map_err(|why| why.to_string())?;
        if count == 0 || read.len() > HELLO {
            return Err("what comes in it is no TLS".to_owned());
        }
        read.extend_from_slice(&part[..count]);
        let mut rest = &part[..count];
        while !rest.is_empty() {
            acceptor.read_tls(&mut rest).map_err(|why| why.to_string())?;
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                agrees(accepted.client_hello().server_name(), host)?;
                return Ok(read);
            }
            Err((why, _)) => return Err(format!("what comes in it is no TLS: {why}")),
        }
    }
}

/// Carries what child and upstream say after a change of protocol.
pub(super) async fn upgraded(Upgraded { child, upstream, redactor }: Upgraded) {
    let (Ok(child), Ok(upstream)) = (child.await, upstream.await) else { return };
    let (mut from_child, mut to_child) = split(TokioIo::new(child));
    let (mut from_upstream, mut to_upstream) = split(TokioIo::new(upstream));
    let up = async {
        let _ = copy(&mut from_child, &mut to_upstream).await;
        let _ = to_upstream.shutdown().await;
    };
    let down = async {
        let _ = looked_through(&mut from_upstream, &mut to_child, redactor).await;
        let _ = to_child.shutdown().await;
    };
    tokio::join!(up, down);
}

async fn looked_through(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut redactor: Redactor,
) -> io::Result<()> {
    let mut part = vec![0; 16 << 10];
    loop {
        let count = from.read(&mut part).await?;
        let out = if count == 0 { redactor.finish() } else { redactor.push(Bytes::copy_from_slice(&part[..count])) };
        to.write_all(&out).await?;
        to.flush().await?;
        if count == 0 {
            return Ok(());
        }
    }
}
