//! What is read over plain HTTP: whether the daemon lives (`/healthz`), whether it takes requests (`/readyz`), what it
//! counts (`/metrics`), and what verifiers of issued tokens need: their keys (`/.well-known/jwks.json`) and the document
//! that names them (`/.well-known/openid-configuration`), and the list of those revoked (`/jwt/revoked`). Nothing here is secret, and nothing changes anything.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio_util::sync::CancellationToken;

use super::listen::Door;
use crate::engine::jwt::{DISCOVERY, JWKS, JWKS_CACHE, REVOKED};
use crate::telemetry::Telemetry;
use crate::vault::{self, Vault};

#[derive(Clone, Debug)]
struct Front {
    vault: Arc<Vault>,
    telemetry: Telemetry,
    stop: CancellationToken,
}

/// Serves until `end`; from `stop` on it says that the daemon is not ready.
pub(super) async fn serve(
    door: Door,
    vault: Arc<Vault>,
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
        .with_state(Front { vault, telemetry, stop });
    axum::serve(door, router).with_graceful_shutdown(end.cancelled_owned()).await
}

async fn healthz(State(front): State<Front>) -> impl IntoResponse {
    let state = front.vault.state();
    let code = if state == vault::State::Failed { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (code, state.as_str())
}

async fn readyz(State(front): State<Front>) -> impl IntoResponse {
    match front.vault.state() {
        vault::State::Serving if front.stop.is_cancelled() => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        vault::State::Serving => (StatusCode::OK, "serving"),
        state => (StatusCode::SERVICE_UNAVAILABLE, state.as_str()),
    }
}

async fn metrics(State(front): State<Front>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], front.telemetry.text())
}

async fn jwks(State(front): State<Front>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/jwk-set+json".to_owned()), cached()], front.vault.jwks().to_string())
}

async fn discovery(State(front): State<Front>) -> Response {
    match front.vault.discovery() {
        Some(document) => {
            ([(header::CONTENT_TYPE, "application/json".to_owned()), cached()], document.to_string()).into_response()
        }
        None => (StatusCode::NOT_FOUND, "no https issuer is configured; [jwt] issuer names one\n").into_response(),
    }
}

/// Whoever fetches the list wants it as it is now; how long it is good, it says itself.
async fn revoked(State(front): State<Front>) -> Response {
    match front.vault.revoked_tokens().await {
        Ok(list) => {
            let headers = [(header::CONTENT_TYPE, "application/jwt"), (header::CACHE_CONTROL, "no-cache")];
            (headers, list.to_string()).into_response()
        }
        Err(denial) => {
            tracing::warn!(reason = denial.reason.code(), why = %denial.internal, "the list of revoked tokens cannot be made");
            (StatusCode::SERVICE_UNAVAILABLE, "the list cannot be made now; try again later\n").into_response()
        }
    }
}

fn cached() -> (HeaderName, String) {
    (header::CACHE_CONTROL, format!("public, max-age={}", JWKS_CACHE.0))
}
