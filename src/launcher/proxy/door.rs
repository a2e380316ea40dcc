//! Who may come in, and what is asked for. The listener is on loopback, where anybody on the machine may knock: a base URL
//! carries a token that cannot be guessed, `CONNECT` shows the same one. A base URL is taken only under the listener's own
//! name, so that no page that a browser was led to reaches it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap};
use http::uri::PathAndQuery;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use subtle::ConstantTimeEq as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::authority::Authority;
use super::exchange::{Allowed, HEADS, Line};
use super::no::{Answer, No};
use super::path::Plain;
use super::reach::{Reach, Unreached};
use super::rules::authority;
use super::{Words, tunnel};
use crate::launcher::redact::Known;
use crate::launcher::wallet::Wallet;

/// How many connections of children there may be at once. The next one waits.
const CONNECTIONS: usize = 256;
/// How long a child may take for the head of a request, and keep a connection without one.
const QUIET: Duration = Duration::from_secs(75);
/// The most headers of a request.
const HEADERS: usize = 128;

/// Everything that requests are judged by and carried with.
pub(super) struct Door {
    pub(super) lines: Vec<Arc<Line>>,
    pub(super) passthrough: Vec<Reach>,
    pub(super) authority: Option<Authority>,
    pub(super) wallet: Wallet,
    pub(super) known: Known,
    pub(super) token: String,
    pub(super) at: SocketAddr,
    pub(super) words: Words,
    pub(super) over: CancellationToken,
}

/// A connection's place among those that may be at once; it is free again when all that came of it is over.
type Place = Arc<OwnedSemaphorePermit>;

/// Whom a tunnel is for.
#[derive(Clone)]
struct Target {
    host: String,
    port: u16,
}

impl Door {
    /// Serves whoever comes, until it is over.
    pub(super) async fn serve(self: Arc<Door>, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (door, place) = (Arc::clone(&self), Arc::new(place));
                    let _ = stream.set_nodelay(true);
                    self.spawn(async move { door.connection(TokioIo::new(stream), None, place).await });
                }
                // Too many open files, as a rule; they become fewer.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let over = self.over.clone();
        tokio::spawn(async move {
            let _ = over.run_until_cancelled(work).await;
        });
    }

    /// One connection: the child's own, or what is in its tunnel to `target`.
    async fn connection<T>(self: Arc<Door>, io: TokioIo<T>, target: Option<Target>, place: Place)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let serve = service_fn(move |request| {
            let (door, target, place) = (Arc::clone(&self), target.clone(), Arc::clone(&place));
            async move { Ok::<_, Infallible>(door.answer(request, target, place).await) }
        });
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(QUIET).max_buf_size(HEADS).max_headers(HEADERS);
        // How a connection ends is the child's business.
        let _ = http.serve_connection(io, serve).with_upgrades().await;
    }

    /// What is in a tunnel is served as what is outside; boxed, since the one leads to the other.
    fn within<T>(self: Arc<Door>, io: T, target: Target, place: Place) -> Pin<Box<dyn Future<Output = ()> + Send>>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Box::pin(self.connection(TokioIo::new(io), Some(target), place))
    }

    async fn answer(self: Arc<Door>, request: Request<Incoming>, target: Option<Target>, place: Place) -> Answer {
        let what = format!("{} {}", request.method(), self.shown(&request, target.as_ref()));
        let answer = match target {
            Some(target) => self.inside(request, &target, place).await,
            None if *request.method() == Method::CONNECT => self.connect(request, place).await,
            None if request.uri().scheme().is_some() => Err(No::denied(
                "requests to http:// are not carried; use https://, so that nobody on the way reads them",
            )),
            None => self.base_url(request, place).await,
        };
        answer.unwrap_or_else(|no| {
            (self.words)(&format!("proxy: {what}: {}", no.words));
            no.answer()
        })
    }

    /// A request as people are told of it: without the token, and without its query, which may hold anything.
    fn shown(&self, request: &Request<Incoming>, target: Option<&Target>) -> String {
        let uri = request.uri();
        let path = uri.path().replacen(&format!("/{}", self.token), "", 1);
        match (target, uri.authority()) {
            (Some(target), _) => format!("https://{}{path}", authority(&target.host, target.port)),
            (None, Some(authority)) => format!("{authority}{path}"),
            (None, None) => path,
        }
    }

    fn knows(&self, token: &str) -> bool {
        token.as_bytes().ct_eq(self.token.as_bytes()).into()
    }

    // --- base URLs

    async fn base_url(self: &Arc<Door>, request: Request<Incoming>, place: Place) -> Result<Answer, No> {
        let own = [format!("127.0.0.1:{}", self.at.port()), format!("localhost:{}", self.at.port())];
        let host = only_host(request.headers())?;
        if !own.iter().any(|own| own.eq_ignore_ascii_case(host)) {
            return Err(No::denied(format!("the request is for the host {host:?}, and this is {}", own[0])));
        }
        let whole = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        let mut parts = whole.splitn(4, '/').skip(1);
        let (token, name, rest) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        if !self.knows(token) {
            return Err(No::denied("the base URL does not carry this launcher's token; use it as the launcher set it"));
        }
        let first = self.lines.iter().find(|line| line.rule.name == name);
        let first = first.ok_or_else(|| {
            let names: Vec<_> = self.lines.iter().map(|line| line.rule.name.as_str()).collect();
            No::denied(format!("there is no rule {name:?}; there are: {}", names.join(", ")))
        })?;
        let path = path_and_query(&format!("/{rest}"))?;
        let target = Target { host: first.rule.host.clone(), port: first.rule.port };
        let line = self.line(&target, request.method(), &path, Some(first.as_ref()))?;
        let base = Some(format!("http://127.0.0.1:{}/{}/{name}", self.at.port(), self.token));
        self.carry(line, Allowed { request, path, base }, place).await
    }

    /// The rule that allows this; of several the one that was named, else the first.
    fn line(&self, target: &Target, method: &Method, path: &PathAndQuery, first: Option<&Line>) -> Result<usize, No> {
        let Target { host, port } = target;
        let plain = Plain::read(path.path())
            .map_err(|why| No::denied(format!("the path {:?} could be read in two ways: {why}", path.path())))?;
        let of_host = |line: &&Arc<Line>| line.rule.host == *host && line.rule.port == *port;
        let named = first.filter(|line| line.rule.allows(method, &plain)).map(|line| &line.rule.name);
        let found = self.lines.iter().position(|line| match named {
            Some(name) => line.rule.name == *name,
            None => of_host(&line) && line.rule.allows(method, &plain),
        });
        found.ok_or_else(|| {
            let names: Vec<_> = self.lines.iter().filter(of_host).map(|line| line.rule.name.as_str()).collect();
            No::denied(format!(
                "no rule allows {method} https://{}{}; the rules for this host are: {}; another [[rule]], or more under \
                 methods and paths, would allow it",
                authority(host, *port),
                path.path(),
                names.join(", ")
            ))
        })
    }

    async fn carry(self: &Arc<Door>, line: usize, allowed: Allowed, place: Place) -> Result<Answer, No> {
        let (answer, upgraded) = self.lines[line].carry(allowed, &self.wallet, &self.known).await?;
        if let Some(upgraded) = upgraded {
            self.spawn(async move {
                tunnel::upgraded(upgraded).await;
                drop(place);
            });
        }
        Ok(answer)
    }

    // --- tunnels

    async fn connect(self: &Arc<Door>, mut request: Request<Incoming>, place: Place) -> Result<Answer, No> {
        let shown = request.headers().get(header::PROXY_AUTHORIZATION).and_then(|shown| shown.to_str().ok());
        if !shown.and_then(password).is_some_and(|token| self.knows(&token)) {
            return Err(No::stranger());
        }
        let target = target(request.uri().authority().map_or("", |authority| authority.as_str()))?;
        let Target { host, port } = &target;
        let ended =
            self.lines.iter().any(|line| line.rule.connect && line.rule.host == *host && line.rule.port == *port);
        let config = self.authority.as_ref().and_then(|authority| authority.of(host)).filter(|_| ended);
        if let Some(config) = config {
            let upgrade = hyper::upgrade::on(&mut request);
            let door = Arc::clone(self);
            self.spawn(async move {
                let Ok(io) = upgrade.await else { return };
                match tunnel::ended(TokioIo::new(io), &target.host, config).await {
                    Ok(stream) => door.within(stream, target, place).await,
                    Err(why) => (door.words)(&format!("proxy: {why}")),
                }
            });
            return Ok(established());
        }
        let passed = self.passthrough.iter().find(|to| to.host == *host && to.port == *port);
        let reach = passed.ok_or_else(|| {
            No::denied(format!(
                "no rule with connect = true names {host}:{port}, and passthrough does not either; add it to one of them"
            ))
        })?;
        let upstream = reach.connect().await.map_err(|why| match why {
            Unreached::Forbidden(why) => No::forbidden_address(why),
            Unreached::Away(why) => No::upstream(why),
        })?;
        let upgrade = hyper::upgrade::on(&mut request);
        let door = Arc::clone(self);
        self.spawn(async move {
            let Ok(io) = upgrade.await else { return };
            if let Err(why) = tunnel::passed(TokioIo::new(io), &target.host, upstream).await {
                (door.words)(&format!("proxy: {why}"));
            }
            drop(place);
        });
        Ok(established())
    }

    /// A request inside of a tunnel whose TLS is ended here.
    async fn inside(self: &Arc<Door>, request: Request<Incoming>, to: &Target, place: Place) -> Result<Answer, No> {
        if *request.method() == Method::CONNECT || request.uri().scheme().is_some() {
            return Err(No::denied("there is no proxy inside of a tunnel"));
        }
        let named = target(only_host(request.headers())?)?;
        if named.host != to.host || named.port != to.port {
            return Err(No::denied(format!(
                "the tunnel is for {}, and the request in it for {}",
                authority(&to.host, to.port),
                authority(&named.host, named.port)
            )));
        }
        let path = path_and_query(request.uri().path_and_query().map_or("", PathAndQuery::as_str))?;
        let line = self.line(to, request.method(), &path, None)?;
        self.carry(line, Allowed { request, path, base: None }, place).await
    }
}

fn established() -> Answer {
    Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync())
}

fn path_and_query(text: &str) -> Result<PathAndQuery, No> {
    text.parse().map_err(|_| No::malformed(format!("{text:?} is no path")))
}

/// The one host that a request names.
fn only_host(headers: &HeaderMap) -> Result<&str, No> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next().map(|host| host.to_str()), hosts.next()) {
        (Some(Ok(host)), None) => Ok(host),
        _ => Err(No::malformed("a request names one host")),
    }
}

/// Host and port of `host:port`; without a port, that of https.
fn target(text: &str) -> Result<Target, No> {
    let bad = || No::malformed(format!("{text:?} is no host and port"));
    let parsed: http::uri::Authority = text.parse().map_err(|_| bad())?;
    if text.contains('@') {
        return Err(bad());
    }
    let port = match text.rsplit_once(':') {
        Some((_, port)) if !port.ends_with(']') => port.parse().map_err(|_| bad())?,
        _ => 443,
    };
    let host = parsed.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    if host.is_empty() { Err(bad()) } else { Ok(Target { host, port }) }
}

/// The password of `Basic` credentials.
fn password(shown: &str) -> Option<String> {
    let (scheme, text) = shown.split_once(' ')?;
    let both = String::from_utf8(STANDARD.decode(text.trim()).ok()?).ok()?;
    let (_, password) = both.split_once(':')?;
    scheme.eq_ignore_ascii_case("basic").then(|| password.to_owned())
}
