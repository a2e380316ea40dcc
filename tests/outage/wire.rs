//! A way to a server that can be cut: a port of this machine behind which the server stands, or nobody, or somebody who
//! takes connections and never answers.

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How the way is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Open,
    /// Connections are refused, and those there were have ended.
    Refused,
    /// Connections are taken, and nothing comes of them; those there were are silent.
    Silent,
}

/// The way; it is gone when this is dropped.
pub(crate) struct Wire {
    port: u16,
    way: watch::Sender<Way>,
}

impl Wire {
    /// An open way to this port.
    pub(crate) async fn to(server: u16) -> Wire {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (way, watched) = watch::channel(Way::Open);
        tokio::spawn(serve(listener, server, watched));
        Wire { port, way }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

async fn serve(listener: TcpListener, server: u16, mut way: watch::Receiver<Way>) {
    let port = listener.local_addr().unwrap().port();
    let mut listener = Some(listener);
    loop {
        let now = *way.borrow_and_update();
        if now == Way::Refused {
            listener = None;
        } else if listener.is_none() {
            listener = Some(TcpListener::bind(("127.0.0.1", port)).await.unwrap());
        }
        tokio::select! {
            changed = way.changed() => if changed.is_err() { return },
            came = accept(listener.as_ref()) => drop(tokio::spawn(pass(came, server, way.clone()))),
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    match listener {
        Some(listener) => listener.accept().await.unwrap().0,
        None => std::future::pending().await,
    }
}

/// Passes bytes on as long as the way is open, and holds the connection until it is open again or refused.
async fn pass(mut from: TcpStream, server: u16, mut way: watch::Receiver<Way>) {
    let open = async {
        if let Ok(mut to) = TcpStream::connect(("127.0.0.1", server)).await {
            // Either end may go at any time.
            let _ = copy_bidirectional(&mut from, &mut to).await;
        }
    };
    tokio::select! {
        _ = way.wait_for(|way| *way != Way::Open) => {}
        () = open => return,
    }
    let _ = way.wait_for(|way| *way != Way::Silent).await;
    drop(from);
}
