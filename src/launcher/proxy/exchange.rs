//! One request on its way to a rule's host, and its answer on the way back. What the child sent goes on without anything
//! that belongs to the connection or names another path or method; then the secret is put in. The answer comes back
//! without secrets. No redirect is followed, and no request is sent twice.

use std::error::Error as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use tokio::time::timeout;

use super::body::Redacted;
use super::no::{Answer, No};
use super::put::Filled;
use super::reach::{Reach, Unreached};
use super::rules::Rule;
use crate::client::fault::Fault;
use crate::id::LeaseId;
use crate::launcher::redact::{Known, Needles, Redactor};
use crate::launcher::wallet::{Held, Wallet};
use crate::time::{Seconds, Timestamp};

/// How long a credential is waited for.
const CREDENTIAL: Duration = Duration::from_secs(30);
/// How long it may take until the head of an answer comes, the upload before it included.
const HEAD: Duration = Duration::from_secs(1800);
/// How long a connection that nobody uses is kept.
const IDLE: Duration = Duration::from_secs(30);
/// The most of an answer's head, in bytes, and its most headers.
pub(super) const HEADS: usize = 128 << 10;
const HEADERS: usize = 128;
/// How much lies at least between two credentials that are asked for because the upstream did not take one.
const DOUBTS: Seconds = Seconds(60);

/// Headers of the connection, not of the message (RFC 9110, 7.6.1), with those that the proxy answers for itself.
static OF_THE_HOP: [HeaderName; 10] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
];

/// What some servers take for another method or path than the one that was compared with the rule, what asks for a part of
/// an answer or for a coded one, in both of which no secret would be found, and what would tell the upstream of this proxy.
static NOT_SENT: [HeaderName; 15] = [
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-method-override"),
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
    HeaderName::from_static("x-original-uri"),
    HeaderName::from_static("x-original-method"),
    HeaderName::from_static("x-forwarded-uri"),
    HeaderName::from_static("x-forwarded-method"),
    header::RANGE,
    HeaderName::from_static("request-range"),
    header::IF_RANGE,
    header::ACCEPT_ENCODING,
    header::SEC_WEBSOCKET_EXTENSIONS,
    header::REFERER,
];

/// A rule in use: with the connections to its host.
pub(super) struct Line {
    pub(super) rule: Rule,
    client: Client<HttpsConnector<Reach>, Incoming>,
    doubt: Mutex<Doubt>,
    /// Who asks for the credential. The others wait here, and leave nothing behind when they go.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// A lease that the upstream did not take.
#[derive(Default)]
struct Doubt {
    lease: Option<LeaseId>,
    not_before: Timestamp,
}

/// Whether the child and the upstream speak something else from here on.
pub(super) struct Upgraded {
    pub(super) child: OnUpgrade,
    pub(super) upstream: OnUpgrade,
    pub(super) redactor: Redactor,
}

/// A request that a rule allows.
pub(super) struct Allowed {
    pub(super) request: Request<Incoming>,
    /// What is asked for at the host.
    pub(super) path: PathAndQuery,
    /// What stands before it in the child's eyes, where it is a base URL that the child uses.
    pub(super) base: Option<String>,
}

impl Line {
    /// Makes a rule ready. Nothing is sent.
    ///
    /// # Errors
    /// This system has no certificates of authorities, and the rule names none.
    pub(super) fn new(rule: Rule) -> Result<Line, Fault> {
        let config = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into());
        let config = config.with_safe_default_protocol_versions().map_err(Fault::local)?;
        let config = match &rule.roots {
            Some(roots) => config.with_root_certificates(roots.clone()),
            None => config.with_native_roots().map_err(|why| {
                Fault::Local(format!(
                    "this system has no certificates that {} could be checked against: {why}; install ca-certificates, \
                     or set SSL_CERT_FILE",
                    rule.host
                ))
            })?,
        };
        let reach = Reach { host: rule.host.clone(), port: rule.port, allow_private: rule.allow_private };
        let https = HttpsConnectorBuilder::new().with_tls_config(config.with_no_client_auth());
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .http1_max_buf_size(HEADS)
            .http1_max_headers(HEADERS)
            .build(https.https_only().enable_http1().wrap_connector(reach));
        Ok(Line { rule, client, doubt: Mutex::default(), turn: Arc::default() })
    }

    /// Sends it with the secret, and gives the answer without.
    ///
    /// # Errors
    /// A [`No`] that the child is told.
    pub(super) async fn carry(
        self: &Arc<Line>,
        mut allowed: Allowed,
        wallet: &Wallet,
        known: &Known,
    ) -> Result<(Answer, Option<Upgraded>), No> {
        let upgrades = self.upgrades(allowed.request.headers())?;
        let child = upgrades.then(|| hyper::upgrade::on(&mut allowed.request));
        let held = self.credential(wallet).await?;
        let Filled { value, secrets } = self.rule.put.fill(&held).map_err(|why| {
            No::bad_credential(format!("role {} cannot be used in rule {}: {why}", self.rule.want.role, self.rule.name))
        })?;
        let needles = known.with(secrets.iter().map(|secret| secret.as_str()));
        let request = self.request(allowed.request, allowed.path, value, upgrades)?;
        let is_head = *request.method() == Method::HEAD;
        let answer = match timeout(HEAD, self.client.request(request)).await {
            Ok(answer) => answer.map_err(|error| self.unreached(&error))?,
            Err(_) => return Err(No::late(format!("{} did not answer in time", self.rule.host))),
        };
        if answer.status() == StatusCode::UNAUTHORIZED {
            self.doubt().lease = Some(held.lease().clone());
        }
        self.answer(answer, child, &needles, is_head, allowed.base.as_deref())
    }

    fn doubt(&self) -> std::sync::MutexGuard<'_, Doubt> {
        self.doubt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the child asks for another protocol, and the rule lets it.
    fn upgrades(&self, headers: &HeaderMap) -> Result<bool, No> {
        let Some(to) = headers.get(header::UPGRADE) else { return Ok(false) };
        if self.rule.websocket && to.as_bytes().eq_ignore_ascii_case(b"websocket") {
            return Ok(true);
        }
        let to = String::from_utf8_lossy(to.as_bytes()).into_owned();
        Err(No::denied(format!(
            "rule {} allows no change of protocol to {to:?}; for WebSocket, write websocket = true there",
            self.rule.name
        )))
    }

    /// The credential that is held; another, once, where the upstream did not take that one.
    async fn credential(self: &Arc<Line>, wallet: &Wallet) -> Result<Arc<Held>, No> {
        let role = &self.rule.want.role;
        let (line, its) = (Arc::clone(self), wallet.clone());
        let ask = async {
            let turn = Arc::clone(&self.turn).lock_owned().await;
            // On its own: a child that goes away in the middle is not to leave a lease behind that nobody knows of.
            let asked = tokio::spawn(async move {
                let _turn = turn;
                let want = &line.rule.want;
                let held = its.hold(want).await?;
                if line.is_doubted(&held, its.owner().around.clock.now()) {
                    // Where there is no other, the upstream says no once more, and the child learns of it.
                    return Ok(its.fresh(want).await.unwrap_or(held));
                }
                Ok::<_, Fault>(held)
            });
            asked.await.unwrap_or_else(|why| Err(Fault::local(why)))
        };
        match timeout(CREDENTIAL, ask).await {
            Ok(Ok(held)) => Ok(held),
            Ok(Err(fault @ Fault::Refused(_))) => Err(No::denied(format!("no credential of role {role}: {fault}"))),
            Ok(Err(fault @ (Fault::Unreachable { .. } | Fault::NoAnswer { .. }))) => {
                Err(No::no_credential(format!("no credential of role {role}: {fault}")))
            }
            Ok(Err(fault)) => Err(No::bad_credential(format!("no credential of role {role}: {fault}"))),
            Err(_) => Err(No::no_credential(format!(
                "no credential of role {role}: the vault did not answer within {} s",
                CREDENTIAL.as_secs()
            ))),
        }
    }

    fn is_doubted(&self, held: &Held, now: Timestamp) -> bool {
        let mut doubt = self.doubt();
        if doubt.lease.as_ref() != Some(held.lease()) || now < doubt.not_before {
            return false;
        }
        *doubt = Doubt { lease: None, not_before: now.plus(DOUBTS) };
        true
    }

    fn request(
        &self,
        request: Request<Incoming>,
        path: PathAndQuery,
        value: HeaderValue,
        upgrades: bool,
    ) -> Result<Request<Incoming>, No> {
        let (mut head, body) = request.into_parts();
        let host = self.rule.authority();
        let uri = Uri::builder().scheme("https").authority(host.as_str()).path_and_query(path).build();
        head.uri = uri.map_err(|_| No::malformed("this is no path"))?;
        head.version = Version::HTTP_11;
        head.extensions.clear();
        let headers = &mut head.headers;
        strip(headers);
        not_sent(headers, &self.rule.header);
        headers.insert(header::HOST, HeaderValue::from_str(&host).map_err(|_| No::malformed("this is no host"))?);
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if upgrades {
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        // In place of whatever the child sent under this name.
        headers.insert(self.rule.header.clone(), value);
        Ok(Request::from_parts(head, body))
    }

    fn unreached(&self, error: &ClientError) -> No {
        let mut next = error.source();
        let mut words = format!("{} did not answer: {error}", self.rule.host);
        while let Some(cause) = next {
            match cause.downcast_ref::<Unreached>() {
                Some(Unreached::Forbidden(why)) => return No::forbidden_address(why.clone()),
                Some(Unreached::Away(why)) => return No::upstream(why.clone()),
                None => words = format!("{words}: {cause}"),
            }
            next = cause.source();
        }
        No::upstream(words)
    }

    fn answer(
        &self,
        mut answer: Response<Incoming>,
        child: Option<OnUpgrade>,
        needles: &Arc<Needles>,
        is_head: bool,
        base: Option<&str>,
    ) -> Result<(Answer, Option<Upgraded>), No> {
        let redactor = Redactor::new(Arc::clone(needles));
        let mut upgraded = None;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            let child =
                child.ok_or_else(|| No::upstream(format!("{} changed the protocol unasked", self.rule.host)))?;
            let upstream = hyper::upgrade::on(&mut answer);
            upgraded = Some(Upgraded { child, upstream, redactor: Redactor::new(Arc::clone(needles)) });
        }
        let (head, body) = answer.into_parts();
        if !is_head {
            readable(&head.headers).map_err(|what| {
                let host = &self.rule.host;
                No::unreadable(format!(
                    "{host} was asked for a plain answer and sent {what}, in which a secret could not be found; it is not \
                     passed on"
                ))
            })?;
        }
        // Nothing but these goes on: not the reason behind the status, which is the upstream's free text.
        let mut out = Response::new(Redacted::new(body, redactor).boxed_unsync());
        *out.status_mut() = head.status;
        *out.headers_mut() = self.headers(head.headers, needles, base);
        if upgraded.is_some() {
            out.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            out.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        Ok((out, upgraded))
    }

    fn headers(&self, mut headers: HeaderMap, needles: &Arc<Needles>, base: Option<&str>) -> HeaderMap {
        strip(&mut headers);
        // It would lead the child past this proxy.
        headers.remove(header::ALT_SVC);
        if !self.rule.cookies {
            // What the upstream gives for the secret may be as good as the secret.
            headers.remove(header::SET_COOKIE);
        }
        let location = headers.get(header::LOCATION).and_then(|to| self.told_from(to, base?));
        if let Some(location) = location {
            headers.insert(header::LOCATION, location);
        }
        let mut out = HeaderMap::with_capacity(headers.len());
        for (name, value) in &headers {
            if needles.redacted(name.as_str().as_bytes()).is_some() {
                continue;
            }
            let value = match needles.redacted(value.as_bytes()) {
                Some(bytes) => HeaderValue::from_bytes(&bytes).unwrap_or(HeaderValue::from_static("[redacted]")),
                None => value.clone(),
            };
            out.append(name.clone(), value);
        }
        out
    }

    /// A redirect within the host, as one who uses the base URL has to follow it.
    fn told_from(&self, location: &HeaderValue, base: &str) -> Option<HeaderValue> {
        let text = location.to_str().ok()?;
        let origin = format!("https://{}", self.rule.authority());
        let path = text.strip_prefix(origin.as_str()).unwrap_or(text);
        let is_path = path.starts_with('/') && !path.starts_with("//");
        is_path.then(|| HeaderValue::from_str(&format!("{base}{path}")).ok())?
    }
}

/// Removes the headers of the connection, and those that it names as its own.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // How long the body is belongs to the message, whatever is said.
        .filter(|name| *name != header::CONTENT_LENGTH)
        .collect();
    for name in OF_THE_HOP.iter().chain(&named) {
        headers.remove(name);
    }
}

/// Removes what is not sent, and what the child says under the name of the secret, also where an underscore stands for a
/// hyphen: to many a server (RFC 3875, 4.1.18) both are one name.
fn not_sent(headers: &mut HeaderMap, secret: &HeaderName) {
    let hyphens = |byte: u8| if byte == b'_' { b'-' } else { byte };
    let alike = |one: &HeaderName, other: &HeaderName| {
        one.as_str().bytes().map(hyphens).eq(other.as_str().bytes().map(hyphens))
    };
    let told = |name: &&HeaderName| NOT_SENT.iter().chain([secret]).chain(&OF_THE_HOP).any(|not| alike(name, not));
    let gone: Vec<_> = headers.keys().filter(told).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
}

/// Whether a secret would be found in a body under these headers.
fn readable(headers: &HeaderMap) -> Result<(), String> {
    for name in [header::CONTENT_ENCODING, header::TRANSFER_ENCODING] {
        for value in headers.get_all(&name) {
            let value = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
            if !value.split(',').all(|coding| matches!(coding.trim(), "" | "identity" | "chunked")) {
                return Err(format!("{name}: {value}"));
            }
        }
    }
    let kind =
        headers.get(header::CONTENT_TYPE).map(|kind| String::from_utf8_lossy(kind.as_bytes()).to_ascii_lowercase());
    match kind {
        Some(kind) if ["utf-16", "utf-32", "utf-7"].iter().any(|charset| kind.contains(charset)) => {
            Err(format!("content-type: {kind}"))
        }
        _ => Ok(()),
    }
}
