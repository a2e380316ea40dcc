//! The way to the vault: `https://host:port` with nothing trusted but the CA that the card carries, `http://` on
//! loopback only, or `unix:/path`. An address that is none of these is refused before anything is sent.

use std::net::IpAddr;
use std::time::Duration;

use rustls::CertificateError;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use super::fault::{Fault, Untrusted};

/// How long a connection may take to come about.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call may take. The vault answers within its own, shorter deadline, also where it cannot serve.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest message that is taken in: a page of audit lines, with room for its frame.
pub const MAX_MESSAGE: usize = 5 << 20;

/// An address as the card writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    Tls { host: String },
    Loopback,
    Unix,
}

fn parse(address: &str) -> Result<Address, Fault> {
    let bad = |why: &str| {
        Fault::Local(format!(
            "the address {address:?} {why}; it is https://host:port, http:// on loopback, or unix:/path"
        ))
    };
    if let Some(path) = address.strip_prefix("unix:") {
        return if path.starts_with('/') { Ok(Address::Unix) } else { Err(bad("names no absolute path")) };
    }
    let uri: http::Uri = address.parse().map_err(|_| bad("is not an address"))?;
    let host = uri.host().ok_or_else(|| bad("names no host"))?.trim_matches(['[', ']']).to_owned();
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(bad("has a path"));
    }
    match uri.scheme_str() {
        Some("https") => Ok(Address::Tls { host }),
        Some("http") if host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()) => {
            Ok(Address::Loopback)
        }
        Some("http") => Err(bad("would send everything in the open to another machine")),
        _ => Err(bad("has no scheme")),
    }
}

/// Connects to `address`, trusting over TLS the certificates under `ca` (PEM) and no others.
///
/// # Errors
/// [`Fault::Local`] for an address that is not one or a CA that is missing, [`Fault::Unreachable`] where nobody answers,
/// [`Fault::Untrusted`] where one answers whose certificate another CA has signed.
pub async fn open(address: &str, ca: Option<&str>) -> Result<Channel, Fault> {
    let unreachable =
        |error: tonic::transport::Error| Fault::Unreachable { address: address.to_owned(), why: causes(&error) };
    let kind = parse(address)?;
    let mut endpoint = Endpoint::from_shared(address.to_owned())
        .map_err(|error| Fault::Local(format!("the address {address:?} is not one: {}", causes(&error))))?
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT)
        .tcp_nodelay(true);
    if let Address::Tls { host } = kind {
        let Some(ca) = ca else {
            return Err(Fault::Local(format!(
                "the card carries no CA, so that nothing could be trusted at {address}; ask the vault's operator for a new card"
            )));
        };
        // One provider is linked. Where the program has installed one before, that one stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca)).domain_name(host);
        endpoint = endpoint.tls_config(tls).map_err(unreachable)?;
    }
    endpoint.connect().await.map_err(|error| {
        let stranger = || Untrusted::Tls { address: address.to_owned(), why: causes(&error) };
        if is_of_another_ca(&error) { stranger().into() } else { unreachable(error) }
    })
}

/// Whether the other side has a certificate that the CA did not sign. One that is not good now may be renewed, and another
/// name than the card's may be given to it.
fn is_of_another_ca(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let tls = inner.and_then(|inner| inner.downcast_ref()).or_else(|| error.downcast_ref::<rustls::Error>());
        if let Some(rustls::Error::InvalidCertificate(why)) = tls {
            return matches!(why, CertificateError::UnknownIssuer | CertificateError::BadSignature);
        }
        next = error.source();
    }
    false
}

/// An error with all that caused it, since transports hide the cause.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut next = error.source();
    while let Some(error) = next {
        let text = error.to_string();
        if texts.last().is_none_or(|last| !last.contains(&text)) {
            texts.push(text);
        }
        next = error.source();
    }
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_on_this_machine() {
        for good in ["http://127.0.0.1:7447", "http://[::1]:7447", "http://localhost:1", "http://127.9.9.9:1/"] {
            assert_eq!(parse(good).unwrap(), Address::Loopback, "{good}");
        }
        for bad in
            ["http://10.0.0.1:7447", "http://vault.example:7447", "http://localhost.example:1", "http://0.0.0.0:1"]
        {
            assert!(parse(bad).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn addresses_are_of_three_kinds() {
        assert_eq!(parse("https://[::1]:7447").unwrap(), Address::Tls { host: "::1".into() });
        assert_eq!(parse("https://vault.example:7447").unwrap(), Address::Tls { host: "vault.example".into() });
        assert_eq!(parse("unix:/run/vault.sock").unwrap(), Address::Unix);
        assert_eq!(parse("unix:///run/vault.sock").unwrap(), Address::Unix);
        for bad in
            ["", "vault.example:7447", "unix:vault.sock", "ftp://a:1", "https://a:1/path", "https://a:1/?q", "/run/v"]
        {
            assert!(parse(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[tokio::test]
    async fn tls_without_a_pinned_ca_is_refused() {
        let fault = open("https://127.0.0.1:9", None).await.unwrap_err();
        assert!(matches!(&fault, Fault::Local(why) if why.contains("no CA")), "{fault}");
    }
}
