//! One request over HTTP to a place outside: `https://` with the roots of the system (or of `SSL_CERT_FILE`), or `http://`
//! to the same machine. No redirect is followed, no proxy asked, and nothing is waited for longer than [`PATIENCE`].

use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};

use super::bounded::{Allowance, Bounded};

/// How long a request may take, from the look-up of the name to the end of the answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// The most of an answer that is taken in, in bytes.
const ANSWER: usize = 64 << 10;
/// The most of everything that comes in for one request, in bytes: heads, TLS, and the answer.
const ALL: usize = 512 << 10;

/// Where requests are sent to.
#[derive(Clone, PartialEq, Eq)]
pub struct Target(Uri);

impl Target {
    /// The target of `path` below this one.
    ///
    /// # Errors
    /// The two together are no address.
    pub(super) fn below(&self, path: &str) -> Result<Target, String> {
        let text = self.0.to_string();
        format!("{}/{path}", text.trim_end_matches('/')).parse()
    }

    /// Whether it ends in a slash, and so names a folder.
    pub(super) fn is_folder(&self) -> bool {
        self.0.query().is_none() && self.0.path().len() > 1 && self.0.path().ends_with('/')
    }

    fn needs_tls(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }
}

/// Without its query, which may hold what nobody else is to know.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = self.0.authority().map_or("", |authority| authority.as_str());
        write!(f, "{}://{authority}{}", self.0.scheme_str().unwrap_or_default(), self.0.path())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        let uri: Uri = text.parse().map_err(|_| "it is not an address".to_owned())?;
        let host = uri.host().ok_or("it names no host")?.trim_matches(['[', ']']);
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("an address holds no password".to_owned());
        }
        match uri.scheme_str() {
            Some("https") => Ok(Target(uri)),
            Some("http") if host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()) => {
                Ok(Target(uri))
            }
            Some("http") => Err("to another machine it is https://".to_owned()),
            _ => Err("it is https://, or http:// on this machine".to_owned()),
        }
    }
}

/// Sends requests, one after another, and keeps connections for the next.
#[derive(Clone)]
pub(super) struct Http {
    client: Client<HttpsConnector<Bounded>, Full<Bytes>>,
    allowance: Allowance,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Http")
    }
}

impl Http {
    /// A client for this target.
    ///
    /// # Errors
    /// It needs certificates of the system, and there are none.
    pub(super) fn for_target(target: &Target) -> Result<Http, String> {
        let tls = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let tls = if target.needs_tls() {
            tls.with_native_roots().map_err(|error| {
                format!(
                    "this system has no certificates that {target} could be checked against: {error}; install \
                     ca-certificates, or set SSL_CERT_FILE"
                )
            })?
        } else {
            tls.with_root_certificates(RootCertStore::empty())
        };
        Ok(Http::with(tls.with_no_client_auth()))
    }

    fn with(tls: ClientConfig) -> Http {
        let (allowance, https) = (Allowance::default(), HttpsConnectorBuilder::new().with_tls_config(tls));
        let connector = https.https_or_http().enable_http1().wrap_connector(Bounded::new(allowance.clone()));
        Http { client: Client::builder(TokioExecutor::new()).build(connector), allowance }
    }

    /// Sends one request with a body of text, and gives what was answered.
    ///
    /// # Errors
    /// What kept it from its end.
    pub(super) async fn send(
        &self,
        method: Method,
        target: &Target,
        body: String,
    ) -> Result<(StatusCode, String), String> {
        self.allowance.set(ALL);
        let answer = tokio::time::timeout(PATIENCE, self.exchange(method, target, body)).await;
        // A connection that is kept for the next request has nothing to say meanwhile.
        self.allowance.set(0);
        match answer {
            Ok(answer) => answer.map_err(|why| format!("{target}: {why}")),
            Err(_) => Err(format!("{target} did not answer within {} s", PATIENCE.as_secs())),
        }
    }

    async fn exchange(&self, method: Method, target: &Target, body: String) -> Result<(StatusCode, String), String> {
        let request = Request::builder()
            .method(method)
            .uri(target.0.clone())
            .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
            .header(header::USER_AGENT, concat!("nockvault/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| causes(&error))?;
        let answer = self.client.request(request).await.map_err(|error| causes(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER).collect().await.map_err(|error| causes(&*error))?;
        Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
    }
}

/// An error with all that caused it, since transports hide the cause.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Result<String, String> {
        text.parse::<Target>().map(|target| target.to_string())
    }

    #[test]
    fn in_the_open_only_on_this_machine() {
        assert_eq!(target("https://keep.example/a/b?token=1").unwrap(), "https://keep.example/a/b");
        for good in ["http://127.0.0.1:8000/", "http://[::1]:8000/a", "http://localhost/a"] {
            assert_eq!(target(good).unwrap(), good);
        }
        for bad in
            ["http://keep.example/", "ftp://keep.example/", "keep.example", "", "/a", "https://a:b@keep.example/"]
        {
            assert!(target(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_below_a_target_has_one_slash_between() {
        for base in ["https://w.example/a", "https://w.example/a/"] {
            let below = base.parse::<Target>().unwrap().below("add-checkpoint").unwrap();
            assert_eq!(below.to_string(), "https://w.example/a/add-checkpoint");
        }
        let is_folder = |text: &str| text.parse::<Target>().unwrap().is_folder();
        assert!(is_folder("https://w.example/a/"));
        assert!(
            !is_folder("https://w.example/a")
                && !is_folder("https://w.example/")
                && !is_folder("https://w.example/a/?b")
        );
    }

    /// Answers one request after another over TLS, as whom the certificate says, until the test ends.
    fn serve(key: &rcgen::CertifiedKey<rcgen::KeyPair>) -> Target {
        use std::io::{Read as _, Write as _};
        let chain = vec![key.cert.der().clone()];
        let secret = rustls::pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
        let tls = rustls::ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, secret)
            .unwrap();
        let (listener, tls) = (std::net::TcpListener::bind("127.0.0.1:0").unwrap(), std::sync::Arc::new(tls));
        let at = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming().map(Result::unwrap) {
                let connection = rustls::ServerConnection::new(std::sync::Arc::clone(&tls)).unwrap();
                let mut stream = rustls::StreamOwned::new(connection, stream);
                let mut request = Vec::new();
                let mut part = [0; 1024];
                while !request.ends_with(b"a note\n") {
                    match stream.read(&mut part) {
                        Ok(0) | Err(_) => break,
                        Ok(count) => request.extend_from_slice(&part[..count]),
                    }
                }
                let moved = request.starts_with(b"POST /moved ");
                let head = if moved { "HTTP/1.1 302 Found\r\nlocation: /" } else { "HTTP/1.1 200 OK" };
                let _ = stream
                    .write_all(format!("{head}\r\ncontent-length: 5\r\nconnection: close\r\n\r\nkept\n").as_bytes());
            }
        });
        format!("https://localhost:{at}/").parse().unwrap()
    }

    /// Heads that say "go on", as long as the connection stands.
    #[tokio::test]
    async fn an_answer_without_end_is_broken_off_at_once() {
        use std::io::{Read as _, Write as _};
        for endless in ["HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nlink: </>\r\n\r\n", "x"] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let target = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 1024]);
                let part = endless.repeat(1000);
                let mut sent = 0_usize;
                while stream.write_all(part.as_bytes()).is_ok() {
                    sent += part.len();
                }
                sent
            });
            let http = Http::for_target(&target).unwrap();
            let begun = std::time::Instant::now();
            http.send(Method::POST, &target, "a note\n".to_owned()).await.unwrap_err();
            assert!(begun.elapsed() < PATIENCE / 2, "{endless}: {:?}", begun.elapsed());
            // What the two kernels hold on its way is all that it could send besides.
            let sent = tokio::task::spawn_blocking(move || server.join().unwrap()).await.unwrap();
            assert!(sent < 32 << 20, "{endless}: {sent}");
        }
    }

    fn trusting(roots: RootCertStore) -> Http {
        let tls = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into());
        let tls = tls.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
        Http::with(tls.with_no_client_auth())
    }

    #[tokio::test]
    async fn over_tls_only_to_whom_the_certificate_names() {
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(key.cert.der().clone()).unwrap();
        let (target, http) = (serve(&key), trusting(roots));
        let send = async |http: &Http, target: &Target| http.send(Method::POST, target, "a note\n".to_owned()).await;
        assert_eq!(send(&http, &target).await, Ok((StatusCode::OK, "kept\n".to_owned())));
        // Where it is said to have moved to, nothing is sent.
        let moved = target.below("moved").unwrap();
        assert_eq!(send(&http, &moved).await.map(|(status, _)| status), Ok(StatusCode::FOUND));
        let why = send(&trusting(RootCertStore::empty()), &target).await.unwrap_err();
        assert!(why.contains("certificate"), "{why}");
        let elsewhere = target.to_string().replace("localhost", "127.0.0.1").parse().unwrap();
        let why = send(&http, &elsewhere).await.unwrap_err();
        assert!(why.contains("certificate"), "{why}");
    }
}
