//! Connections that take in no more than is allowed at a time. An answer may be endless in ways that no limit on its body
//! and no time limit stops: heads that say "go on" one after another are read by one thread for as long as they come, and
//! that thread is one of those that issue.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower::Service;

/// How many bytes may still be taken in. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Allowance(Arc<AtomicUsize>);

impl Allowance {
    /// From now on, so many.
    pub(super) fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    fn left(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn spend(&self, bytes: usize) {
        self.set(self.left().saturating_sub(bytes));
    }
}

/// Connects, with an allowance for all connections together.
#[derive(Clone, Debug)]
pub(super) struct Bounded {
    tcp: HttpConnector,
    allowance: Allowance,
}

impl Bounded {
    pub(super) fn new(allowance: Allowance) -> Bounded {
        let mut tcp = HttpConnector::new();
        // What runs over it may be TLS.
        tcp.enforce_http(false);
        Bounded { tcp, allowance }
    }
}

impl Service<Uri> for Bounded {
    type Response = TokioIo<Stream>;
    type Error = <HttpConnector as Service<Uri>>::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Uri>::poll_ready(&mut self.tcp, cx)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (connecting, allowance) = (self.tcp.call(to), self.allowance.clone());
        Box::pin(async move {
            let stream = connecting.await?.into_inner();
            Ok(TokioIo::new(Stream { stream, allowance }))
        })
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Stream {
    stream: TcpStream,
    allowance: Allowance,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let read = buffer.filled().len() - before;
        if read > self.allowance.left() {
            return Poll::Ready(Err(io::Error::other("it answers without end")));
        }
        self.allowance.spend(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
