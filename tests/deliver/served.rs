//! Places over real HTTP, on loopback: a witness, and an endpoint that keeps what it gets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{post, put};
use nockvault::audit::witness::cosign;
use nockvault::crypto::signature::SigningKey;
use nockvault::entropy::SeededEntropy;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::desk::Desk;

/// A server that ends with its value.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) at: SocketAddr,
    task: JoinHandle<()>,
    end: DropGuard,
}

impl Server {
    async fn start(at: SocketAddr, routes: Router) -> Server {
        let listener = TcpListener::bind(at).await.unwrap();
        let (at, end) = (listener.local_addr().unwrap(), CancellationToken::new());
        let ended = end.clone().cancelled_owned();
        let serving = axum::serve(listener, routes).with_graceful_shutdown(ended);
        Server { at, task: tokio::spawn(async move { serving.await.unwrap() }), end: end.drop_guard() }
    }

    /// It is gone when this returns, with its connections.
    pub(crate) async fn stop(self) {
        drop(self.end);
        self.task.await.unwrap();
    }
}

/// An address on which nobody listens yet.
pub(crate) fn free() -> SocketAddr {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap()
}

/// A witness that is served, now and then.
#[derive(Clone)]
pub(crate) struct Witness {
    pub(crate) desk: Arc<Mutex<Desk>>,
    /// Status of each answer.
    pub(crate) answered: Arc<Mutex<Vec<u16>>>,
    /// It signs with another key than its own.
    pub(crate) lies: bool,
}

impl Witness {
    pub(crate) fn new(desk: Desk) -> Witness {
        Witness { desk: Arc::new(Mutex::new(desk)), answered: Arc::default(), lies: false }
    }

    pub(crate) async fn serve(&self, at: SocketAddr) -> Server {
        let routes = Router::new().route("/w/add-checkpoint", post(add_checkpoint)).with_state(self.clone());
        Server::start(at, routes).await
    }

    pub(crate) fn answered(&self) -> Vec<u16> {
        self.answered.lock().unwrap().clone()
    }
}

async fn add_checkpoint(State(witness): State<Witness>, body: String) -> impl IntoResponse {
    let mut desk = witness.desk.lock().unwrap();
    let (status, mut answer) = desk.add_checkpoint(&body);
    if witness.lies && status == 200 {
        let text = &body[body.find("\n\n").unwrap() + 2..];
        let text = &text[..=text.find("\n\n").unwrap()];
        let mut line = cosign(text, desk.name, &SigningKey::generate(&SeededEntropy::new(99)), desk.now);
        line.id = desk.vkey().id();
        answer = format!("{line}\n");
    }
    witness.answered.lock().unwrap().push(status);
    let kind = if status == 409 { "text/x.tlog.size" } else { "text/plain; charset=utf-8" };
    (StatusCode::from_u16(status).unwrap(), [(header::CONTENT_TYPE, kind)], answer)
}

/// What an endpoint was given: by path, the newest.
#[derive(Clone, Default)]
pub(crate) struct Keep {
    pub(crate) notes: Arc<Mutex<BTreeMap<String, String>>>,
    /// What it answers; 200 where nothing is said.
    pub(crate) answers: Arc<Mutex<Option<u16>>>,
}

impl Keep {
    pub(crate) async fn serve(&self) -> Server {
        let routes =
            Router::new().route("/notes", post(posted)).route("/notes/{name}", put(named)).with_state(self.clone());
        Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), routes).await
    }

    pub(crate) fn note(&self, name: &str) -> Option<String> {
        self.notes.lock().unwrap().get(name).cloned()
    }

    fn take(&self, name: String, body: String) -> StatusCode {
        let status = self.answers.lock().unwrap().unwrap_or(200);
        if status == 200 {
            self.notes.lock().unwrap().insert(name, body);
        }
        StatusCode::from_u16(status).unwrap()
    }
}

async fn posted(State(keep): State<Keep>, body: String) -> StatusCode {
    keep.take(body.lines().next().unwrap().to_owned(), body)
}

async fn named(State(keep): State<Keep>, Path(name): Path<String>, body: String) -> StatusCode {
    keep.take(name, body)
}
