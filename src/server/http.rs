//! What is read over plain HTTP: whether the daemon lives (`/healthz`), whether it takes requests (`/readyz`), what it
//! counts (`/metrics`), and what verifiers of issued tokens need: their keys (`/.well-known/jwks.json`) and the document
//! that names them (`/.well-known/openid-configuration`), and the list of those revoked (`/jwt/revoked`); and what hosts
//! and peers need that take certificates: the authorities (`/ssh/ca/NAME`, `/x509/ca/NAME`) and the lists of what they
//! signed and was revoked since (`/ssh/krl/NAME`, `/x509/crl/NAME`); and, for whoever checks what the vault and its agents
//! signed, the key directory (`/.well-known/nockvault/keys`). Nothing here is secret, and nothing changes anything.

use std::sync::Arc;

use axum::Router;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::IncomingStream;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::listen::{Door, Origin};
use super::peers::Peers;
use super::phases::Phases;
use crate::denial::Reason;
use crate::engine::ca::{Document, Published};
use crate::engine::jwt::{DISCOVERY, JWKS, JWKS_CACHE, REVOKED};
use crate::id::SecretName;
use crate::telemetry::Telemetry;
use crate::time::Seconds;
use crate::vault::directory::KEPT_FOR;
use crate::vault::publish::FRESH;
use crate::vault::{self, NotReady};

/// Where the key directory is.
const KEYS: &str = "/.well-known/nockvault/keys";

#[derive(Clone, Debug)]
struct Front {
    phases: Phases,
    telemetry: Telemetry,
    stop: CancellationToken,
    /// Whether the key directory says whose the keys are.
    names: bool,
}

/// Serves until `end`; from `stop` on it says that the daemon is not ready.
pub(super) async fn serve(
    door: Door,
    phases: Phases,
    names: bool,
    telemetry: Telemetry,
    stop: CancellationToken,
    end: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route(JWKS, get(jwks))
        .route(DISCOVERY, get(discovery))
        .route(REVOKED, get(revoked))
        .route("/ssh/ca/{*name}", get(ssh_ca))
        .route("/ssh/krl/{*name}", get(ssh_krl))
        .route("/x509/ca/{*name}", get(x509_ca))
        .route("/x509/crl/{*name}", get(x509_crl))
        .route(KEYS, get(keys))
        .with_state(Front { phases, telemetry: telemetry.clone(), stop, names });
    let peers = door.peers.clone();
    let router = router.layer(middleware::from_fn_with_state((peers, telemetry), limited));
    let router = router.into_make_service_with_connect_info::<Origin>();
    axum::serve(door, router).with_graceful_shutdown(end.cancelled_owned()).await
}

impl Connected<IncomingStream<'_, Door>> for Origin {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Origin {
        stream.remote_addr().clone()
    }
}

/// Counts requests of a peer before they are served; but how the daemon is, it says at any rate.
async fn limited(
    State((peers, telemetry)): State<(Peers, Telemetry)>,
    ConnectInfo(origin): ConnectInfo<Origin>,
    request: Request,
    next: Next,
) -> Response {
    if !["/healthz", "/readyz"].contains(&request.uri().path())
        && let Err(wait) = peers.ask(&origin)
    {
        telemetry.refused(Reason::RateLimited);
        let retry = [(header::RETRY_AFTER, wait.as_secs_f64().ceil().to_string())];
        return (StatusCode::TOO_MANY_REQUESTS, retry, "too many requests from your address; wait\n").into_response();
    }
    next.run(request).await
}

/// The word for a vault that is not there.
const SEALED: &str = "sealed";

async fn healthz(State(front): State<Front>) -> impl IntoResponse {
    match front.phases.state() {
        Some(vault::State::Failed) => (StatusCode::SERVICE_UNAVAILABLE, vault::State::Failed.as_str()),
        state => (StatusCode::OK, state.map_or(SEALED, vault::State::as_str)),
    }
}

async fn readyz(State(front): State<Front>) -> impl IntoResponse {
    match front.phases.ready() {
        _ if front.stop.is_cancelled() => (StatusCode::SERVICE_UNAVAILABLE, NotReady::Stopping.as_str()),
        Some(Ok(())) => (StatusCode::OK, "serving"),
        Some(Err(why)) => (StatusCode::SERVICE_UNAVAILABLE, why.as_str()),
        None => (StatusCode::SERVICE_UNAVAILABLE, SEALED),
    }
}

async fn metrics(State(front): State<Front>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], front.telemetry.text())
}

async fn jwks(State(front): State<Front>) -> Response {
    let Some(inside) = front.phases.enter() else { return later(FRESH) };
    let kind = (header::CONTENT_TYPE, "application/jwk-set+json".to_owned());
    ([kind, cached()], inside.vault.jwks().to_string()).into_response()
}

async fn discovery(State(front): State<Front>) -> Response {
    let Some(inside) = front.phases.enter() else { return later(FRESH) };
    match inside.vault.discovery() {
        Some(document) => {
            ([(header::CONTENT_TYPE, "application/json".to_owned()), cached()], document.to_string()).into_response()
        }
        None => (StatusCode::NOT_FOUND, "no https issuer is configured; [jwt] issuer names one\n").into_response(),
    }
}

/// Whoever fetches the list wants it as it is now; how long it is good, it says itself.
async fn revoked(State(front): State<Front>) -> Response {
    let Some(inside) = front.phases.enter() else { return later(FRESH) };
    match inside.within(inside.vault.revoked_tokens()).await {
        Some(Ok(list)) => {
            let headers = [(header::CONTENT_TYPE, "application/jwt"), (header::CACHE_CONTROL, "no-cache")];
            // However many read it, and however slowly, there is one of it.
            (headers, Bytes::from_owner(Text(list))).into_response()
        }
        // Why not stands in the log.
        Some(Err(_)) | None => {
            (StatusCode::SERVICE_UNAVAILABLE, "the list cannot be made now; try again later\n").into_response()
        }
    }
}

/// How long it is good, the directory says itself, under the vault's signature; a cache on the way keeps it no longer than
/// the vault does.
async fn keys(State(front): State<Front>) -> Response {
    let Some(inside) = front.phases.enter() else { return later(KEPT_FOR) };
    match inside.within(inside.vault.public_directory(front.names)).await {
        Some(Ok(text)) => {
            let cache = format!("public, max-age={}", KEPT_FOR.0);
            let headers = [(header::CONTENT_TYPE, "application/json".to_owned()), (header::CACHE_CONTROL, cache)];
            (headers, Bytes::from_owner(Text(text))).into_response()
        }
        Some(Err(_)) | None => later(KEPT_FOR),
    }
}

async fn ssh_ca(front: State<Front>, Path(name): Path<String>) -> Response {
    published(front, "ssh", &name, Document::Authority).await
}

async fn ssh_krl(front: State<Front>, Path(name): Path<String>) -> Response {
    published(front, "ssh", &name, Document::Revoked).await
}

async fn x509_ca(front: State<Front>, Path(name): Path<String>) -> Response {
    published(front, "x509", &name, Document::Authority).await
}

async fn x509_crl(front: State<Front>, Path(name): Path<String>) -> Response {
    published(front, "x509", &name, Document::Revoked).await
}

/// A document of an authority. What is no name and what no role signs with are alike.
async fn published(State(front): State<Front>, kind: &str, name: &str, document: Document) -> Response {
    let unknown = || (StatusCode::NOT_FOUND, "no role signs with an authority of this name\n").into_response();
    let Ok(name) = name.parse::<SecretName>() else { return unknown() };
    let Some(inside) = front.phases.enter() else { return later(FRESH) };
    match inside.within(inside.vault.published(kind, &name, document)).await {
        Some(Ok(Some(published))) => {
            let good_for = if document == Document::Authority { JWKS_CACHE } else { FRESH };
            let cache = format!("public, max-age={}", good_for.0);
            let headers = [(header::CONTENT_TYPE, published.media_type.to_owned()), (header::CACHE_CONTROL, cache)];
            (headers, Bytes::from_owner(Shared(published))).into_response()
        }
        Some(Ok(None)) => unknown(),
        Some(Err(_)) | None => later(FRESH),
    }
}

/// Why not stands in the log, or the vault is sealed.
fn later(after: Seconds) -> Response {
    let retry = [(header::RETRY_AFTER, after.0.to_string())];
    (StatusCode::SERVICE_UNAVAILABLE, retry, "it cannot be made now; try again later\n").into_response()
}

/// A document that many readers share.
struct Shared(Arc<Published>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}

/// A text that many readers share.
struct Text(Arc<String>);

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

fn cached() -> (HeaderName, String) {
    (header::CACHE_CONTROL, format!("public, max-age={}", JWKS_CACHE.0))
}
