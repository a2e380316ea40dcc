//! The answers that NockGuard's `nockcc:NAME` references call for: `GET /api/secrets/NAME/` with the header
//! `X-Agent-Token`, answered with `{"success":true,"data":{"value":".."}}`. NockGuard's `inject` rules so take their
//! secrets from here without knowing it.
//!
//! It is the one place in this house where a bearer token opens something, since NockGuard shows nothing else. So it is
//! narrow: it listens on loopback alone, the token lives as long as one run of a child, it opens only the names that were
//! written down and the roles that the launcher asks for, and a request that calls this machine by another name is
//! refused, so that no page in a browser reaches it by a name of its own. Whatever is not answered is 403, with no word of
//! why but in the launcher's own messages; 503 says that the vault could not be asked.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::json;
use super::provide::{Names, Wanted};
use crate::client::fault::Fault;
use crate::entropy::Entropy;
use crate::launcher::ask::Given;
use crate::launcher::token::Token;
use crate::launcher::wallet::Wallet;
use crate::launcher::want::Want;

/// The variable with the address that NockGuard calls.
pub const BASE_URL: &str = "NOCKCC_BASE_URL";
/// The variable with the token that it shows.
pub const TOKEN: &str = "NOCKGUARD_VAULT_AGENT_TOKEN";

/// How many connections are served at once.
const CONNECTIONS: usize = 32;
/// How long a connection may last, and how long a request's head may take to come.
const LIFE: Duration = Duration::from_secs(120);
const HEAD: Duration = Duration::from_secs(5);
/// The most bytes of a head.
const HEAD_MAX: usize = 16 * 1024;

/// The header with the token.
const SHOWN: &str = "x-agent-token";

/// An address that is served, and the token that opens it. Dropping it ends that.
#[derive(Debug)]
pub struct Serving {
    base_url: String,
    token: Arc<Token>,
    task: AbortHandle,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Serving {
    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// What has to be shown.
    #[must_use]
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// What the child's environment needs: the address and the token, each with its variable.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, Zeroizing<String>); 2] {
        [(BASE_URL, Zeroizing::new(self.base_url.clone())), (TOKEN, self.token.text())]
    }
}

/// Whom it is served from.
#[derive(Debug)]
struct Desk {
    wallet: Wallet,
    names: BTreeMap<String, Wanted>,
    token: Arc<Token>,
    port: u16,
}

/// Serves what `names` name, and beside them each role that the wallet asks for by its own name, on a free port of
/// 127.0.0.1, until what this gives is dropped. It is called within a tokio runtime.
///
/// # Errors
/// [`Fault::Local`] where no port can be had.
pub async fn serve(wallet: Wallet, names: BTreeMap<String, Wanted>, entropy: &dyn Entropy) -> Result<Serving, Fault> {
    let at = |why: std::io::Error| Fault::Local(format!("nothing can be served on 127.0.0.1: {why}"));
    let token = Arc::new(Token::new(entropy));
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.map_err(at)?;
    let port = listener.local_addr().map_err(at)?.port();
    let desk = Arc::new(Desk { wallet, names, token: token.clone(), port });
    let task = tokio::spawn(accept(listener, desk)).abort_handle();
    Ok(Serving { base_url: format!("http://127.0.0.1:{port}"), token, task })
}

async fn accept(listener: TcpListener, desk: Arc<Desk>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut served = JoinSet::new();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let desk = desk.clone();
                served.spawn(async move {
                    converse(stream, desk).await;
                    drop(place);
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
        while served.try_join_next().is_some() {}
    }
}

async fn converse(stream: TcpStream, desk: Arc<Desk>) {
    let answering = service_fn(move |request: Request<Incoming>| {
        let desk = desk.clone();
        async move { Ok::<_, Infallible>(desk.answer(&request).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_MAX).keep_alive(false);
    let _ = timeout(LIFE, http.serve_connection(TokioIo::new(stream), answering)).await;
}

#[derive(Serialize)]
struct Answer<'a> {
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct Data<'a> {
    value: &'a str,
}

impl Desk {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !self.admits(request) {
            return refused();
        }
        let Some(wanted) = name(request.uri().path()).and_then(|name| self.find(&name)) else { return refused() };
        // A task of its own: a caller who leaves must not break off a request that is under way.
        let wallet = self.wallet.clone();
        let held = tokio::spawn(async move { wallet.hold(&Want::role(wanted.role)).await }).await;
        let held = held.unwrap_or_else(|_| Err(Fault::local("the launcher is ending")));
        let found = held.and_then(|held| Given::of(&held));
        match found.and_then(|given| given.line(wanted.member.as_deref())) {
            Ok(value) => {
                let data = Some(Data { value: &value });
                told(StatusCode::OK, &Answer { success: true, data, error: None })
            }
            Err(Fault::Refused(_) | Fault::Local(_)) => refused(),
            Err(_) => {
                let error = Some("the vault cannot be asked");
                told(StatusCode::SERVICE_UNAVAILABLE, &Answer { success: false, data: None, error })
            }
        }
    }

    /// Whether it is a plain question to this machine, by its own name, from who has the token.
    fn admits(&self, request: &Request<Incoming>) -> bool {
        let only = |name: &str| {
            let mut values = request.headers().get_all(name).iter();
            let value = values.next().filter(|_| values.next().is_none())?;
            value.to_str().ok()
        };
        let here = ["127.0.0.1", "localhost", "[::1]"].map(|name| format!("{name}:{}", self.port));
        let host =
            only(header::HOST.as_str()).is_some_and(|host| here.iter().any(|own| own.eq_ignore_ascii_case(host)));
        let shown = only(SHOWN).is_some_and(|shown| self.token.is(shown));
        let plain =
            request.method() == Method::GET && request.uri().authority().is_none() && request.body().is_end_stream();
        host && shown && plain
    }

    fn find(&self, name: &str) -> Option<Wanted> {
        Names { names: self.names.clone(), roles: self.wallet.roles().clone() }.find(name).ok()
    }
}

/// The name in `/api/secrets/NAME/`, with or without the last stroke.
fn name(path: &str) -> Option<String> {
    let name = path.strip_prefix("/api/secrets/")?;
    let name = name.strip_suffix('/').unwrap_or(name);
    // A role may have strokes of its own, which a caller writes as %2F; nothing else needs to be written so.
    let name = name.replace("%2F", "/").replace("%2f", "/").replace("%3A", ":").replace("%3a", ":");
    (!name.is_empty() && !name.contains('%')).then_some(name)
}

fn refused() -> Response<Full<Bytes>> {
    told(StatusCode::FORBIDDEN, &Answer { success: false, data: None, error: Some("refused") })
}

fn told(status: StatusCode, answer: &Answer<'_>) -> Response<Full<Bytes>> {
    // Erased once it was sent.
    let mut response = Response::new(Full::new(Bytes::from_owner(json(answer))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::entropy::SeededEntropy;
    use crate::launcher::ask::tests::nowhere;
    use crate::launcher::want::Roles;

    async fn ask(serving: &Serving, head: &str) -> u16 {
        let address = serving.base_url().strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer[9..12].parse().unwrap_or_else(|_| panic!("{answer}"))
    }

    #[tokio::test]
    async fn only_a_plain_question_with_the_token_reaches_the_wallet() {
        let roles = Roles::Only(["orders".parse().unwrap()].into());
        let names = [("MODEL_KEY".to_owned(), "orders".parse().unwrap())].into();
        let serving = serve(nowhere(roles), names, &SeededEntropy::new(1)).await.unwrap();
        let [(_, base), (_, token)] = serving.environment();
        let host = base.strip_prefix("http://").unwrap().to_owned();
        let port = host.rsplit_once(':').unwrap().1.to_owned();
        let good = format!("GET /api/secrets/MODEL_KEY/ HTTP/1.1\r\nHost: {host}\r\nX-Agent-Token: {}\r\n\r\n", *token);
        // The wallet's vault is nowhere: this is as far as a good question comes.
        assert_eq!(ask(&serving, &good).await, 503);
        assert_eq!(ask(&serving, &good.replace("127.0.0.1", "localhost")).await, 503);
        assert_eq!(ask(&serving, &good.replace("MODEL_KEY/", "orders")).await, 503);
        let other = Token::new(&SeededEntropy::new(2)).text();
        for (was, is) in [
            (token.as_str(), ""),
            (token.as_str(), other.as_str()),
            ("X-Agent-Token", "Authorization"),
            ("X-Agent-Token", "X-Agent-Token: x\r\nX-Agent-Token"),
            (host.as_str(), "evil.example"),
            (host.as_str(), "127.0.0.1.evil.example"),
            (port.as_str(), "1"),
            ("GET", "POST"),
            ("GET /", "GET http://evil.example/"),
            ("\r\n\r\n", "\r\nContent-Length: 1\r\n\r\nx"),
            ("MODEL_KEY", "OTHER"),
            ("MODEL_KEY", "other-role"),
            ("MODEL_KEY/", ""),
            ("MODEL_KEY", "..%2Forders"),
            ("secrets", "other"),
        ] {
            assert_eq!(ask(&serving, &good.replace(was, is)).await, 403, "{was} -> {is}");
        }
        let address = host;
        drop(serving);
        tokio::task::yield_now().await;
        assert!(TcpStream::connect(&address).await.is_err(), "it goes on");
    }

    #[test]
    fn a_name_is_one_part_of_the_path() {
        assert_eq!(name("/api/secrets/A/").as_deref(), Some("A"));
        assert_eq!(name("/api/secrets/team%2Forders").as_deref(), Some("team/orders"));
        for path in ["/", "/api/secrets/", "/api/secrets//", "/api/secrets/%41/", "/API/secrets/A"] {
            assert_eq!(name(path), None, "{path}");
        }
    }
}
