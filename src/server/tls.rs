//! What TCP listeners prove themselves with. [`make`] makes a small certificate authority for one vault and one server
//! certificate under it; the vault card carries the authority's certificate, so that every gRPC stack can check the
//! server with what it has on board. The authority's key is thrown away: nothing else is ever signed under it, and new
//! hosts mean a new pair. ECDSA P-256, since not every stack checks Ed25519 certificates.
//!
//! TLS hides traffic and names the server; it is not what the vault's promises rest on. Those rest on signatures and
//! seals inside.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use tonic::transport::{Identity, ServerTlsConfig};

use crate::config::TlsFiles;
use crate::secret::SecretBytes;
use crate::time::{Seconds, Timestamp};

/// How much earlier than now a certificate begins, for clients whose clocks are behind.
const EARLIER: Seconds = Seconds(86_400);

/// How long a pair made at `init` is good.
pub const LIFE: Seconds = Seconds(10 * 365 * 86_400);

/// A server certificate, its key, and the authority behind it.
#[derive(Debug)]
pub struct Tls {
    /// The authority's certificate, PEM: what clients trust.
    pub ca_pem: String,
    /// The server's certificate, PEM.
    pub cert_pem: String,
    /// Its key, PKCS #8 in PEM.
    pub key_pem: SecretBytes,
}

/// What kept a certificate from being made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// A host is neither an address nor a DNS name.
    #[error("{0:?} is neither an IP address nor a DNS name")]
    Host(String),
    /// The library made none.
    #[error("no certificate could be made: {0}")]
    Make(#[from] rcgen::Error),
    /// A file could not be read.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The TLS library takes neither.
    #[error("the certificate is not taken: {0}")]
    Refused(String),
    /// Certificate and key are no pair, or no PEM.
    #[error("{} and {} are no certificate and its key: {error}", cert.display(), key.display())]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        error: String,
    },
}

/// A pair for these hosts, and for `localhost`, `127.0.0.1` and `::1` besides, good from `now` for `life`.
///
/// The keys come from the TLS library's own generator, which asks the operating system.
///
/// # Errors
/// [`TlsFault::Host`] for a host that is neither an address nor a DNS name.
pub fn make(hosts: &[String], now: Timestamp, life: Seconds) -> Result<Tls, TlsFault> {
    let mut names: Vec<String> = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    for host in hosts {
        if host.parse::<IpAddr>().is_err() && !is_dns_name(host) {
            return Err(TlsFault::Host(host.clone()));
        }
        if !names.contains(host) {
            names.push(host.clone());
        }
    }
    let (begins, ends) = (now.minus(EARLIER), now.plus(life));

    let ca_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut ca = CertificateParams::default();
    ca.distinguished_name = named("NockVault CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    live(&mut ca, begins, ends);
    let ca_pem = ca.self_signed(&ca_key)?.pem();

    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut server = CertificateParams::new(names)?;
    server.distinguished_name = named("NockVault");
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    live(&mut server, begins, ends);
    let cert_pem = server.signed_by(&key, &Issuer::new(ca, ca_key))?.pem();
    Ok(Tls { ca_pem, cert_pem, key_pem: key.serialize_pem().into_bytes().into() })
}

fn named(name: &str) -> DistinguishedName {
    let mut all = DistinguishedName::new();
    all.push(DnType::CommonName, name);
    all
}

/// Letters, digits and hyphens between dots; a wildcard is none.
fn is_dns_name(text: &str) -> bool {
    let label = |label: &str| {
        let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        (1..=63).contains(&label.len()) && plain && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label) && !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// Year, month and day of an instant: certificates made here begin and end with a day.
fn day(at: Timestamp) -> (i32, u8, u8) {
    let seconds = i64::try_from(at.whole_seconds()).unwrap_or(i64::MAX);
    let date = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX).to_zoned(TimeZone::UTC).date();
    (date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs())
}

fn live(params: &mut CertificateParams, from: Timestamp, until: Timestamp) {
    let [begin, end] = [from, until].map(day);
    params.not_before = rcgen::date_time_ymd(begin.0, begin.1, begin.2);
    params.not_after = rcgen::date_time_ymd(end.0, end.1, end.2);
}

/// What a listener is served with.
///
/// # Errors
/// A file that cannot be read, or a certificate and key that are no pair.
pub fn load(files: &TlsFiles, handshake_timeout: Seconds) -> Result<ServerTlsConfig, TlsFault> {
    let read = |path: &Path| std::fs::read(path).map_err(|error| TlsFault::File { path: path.to_owned(), error });
    let identity = Identity::from_pem(read(&files.cert)?, read(&files.key)?);
    let config = ServerTlsConfig::new().identity(identity).timeout(std::time::Duration::from_secs(handshake_timeout.0));
    // Nothing but a server takes the pair apart, so one is made to see whether it fits.
    tonic::transport::Server::builder().tls_config(config.clone()).map_err(|error| TlsFault::Pair {
        cert: files.cert.clone(),
        key: files.key.clone(),
        error: crate::server::with_causes(&error),
    })?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_780_511_400_123);

    #[test]
    fn only_hosts_are_taken() {
        for host in ["vault.example.org", "10.0.0.7", "2001:db8::1", "a-b", "xn--bcher-kva.example"] {
            make(&[host.to_owned()], NOW, LIFE).unwrap_or_else(|error| panic!("{host}: {error}"));
        }
        for host in ["", "a b", "*.example.org", "https://x", "x:8440", "-a", "a..b", "10.0.0.256", "b\u{fc}cher"] {
            let fault = make(&[host.to_owned()], NOW, LIFE).expect_err("it is no host");
            assert_eq!(fault.to_string(), format!("{host:?} is neither an IP address nor a DNS name"));
        }
    }

    #[test]
    fn what_was_made_loads_and_another_key_does_not() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [cert, key, other] = ["cert", "key", "other"].map(|name| folder.path().join(name));
        let made = make(&[], NOW, LIFE).expect("localhost is a host");
        std::fs::write(&cert, &made.cert_pem).expect("a file is written");
        std::fs::write(&key, made.key_pem.expose()).expect("a file is written");
        std::fs::write(&other, make(&[], NOW, LIFE).expect("as before").key_pem.expose()).expect("a file is written");

        let timeout = Seconds(5);
        load(&TlsFiles { cert: cert.clone(), key: key.clone() }, timeout).expect("a pair");
        for wrong in [other, cert.clone(), folder.path().to_owned()] {
            let fault = load(&TlsFiles { cert: cert.clone(), key: wrong.clone() }, timeout).expect_err("no pair");
            assert!(fault.to_string().contains(&wrong.display().to_string()), "{fault}");
        }
    }
}
