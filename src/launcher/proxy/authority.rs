//! The certificate authority of one start. It signs one certificate for each host whose TLS is ended here, and its key is
//! dropped before anything is served: nothing else can ever be signed under it. Its certificate names those hosts as the
//! only ones it may speak for, so that a client that trusts it trusts it for nothing more. The hosts' key is in memory
//! alone. ECDSA P-256, since not every stack checks Ed25519 certificates.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::tz::TimeZone;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::client::fault::Fault;
use crate::time::{Seconds, Timestamp};

/// How much earlier than now a certificate begins, for clients whose clocks are behind.
const EARLIER: Seconds = Seconds(86_400);
/// How long it is good: longer than a launcher runs.
const LIFE: Seconds = Seconds(397 * 86_400);

/// Variables whose file a client takes instead of the system's authorities, so that it has to hold those too.
const INSTEAD: &[&str] = &["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO"];
/// Variables whose file a client takes besides.
const BESIDES: &[&str] = &["NODE_EXTRA_CA_CERTS", "DENO_CERT"];

/// What ends the TLS of some hosts.
#[derive(Debug)]
pub(super) struct Authority {
    pem: String,
    hosts: BTreeMap<String, Arc<ServerConfig>>,
}

impl Authority {
    /// An authority for these hosts, with a certificate for each.
    ///
    /// # Errors
    /// The library's.
    pub(super) fn make(hosts: &BTreeSet<&str>, now: Timestamp) -> Result<Authority, Fault> {
        let made = |why: rcgen::Error| Fault::Local(format!("no certificate could be made: {why}"));
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(made)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named("NockVault proxy of one launcher");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.name_constraints = Some(constraints(hosts));
        live(&mut params, now);
        let authority = params.self_signed(&key).map_err(made)?;
        let issuer = Issuer::new(params, key);
        let mut ended = BTreeMap::new();
        for host in hosts {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(made)?;
            let mut params = CertificateParams::new(vec![(*host).to_owned()]).map_err(made)?;
            params.distinguished_name = named("NockVault proxy");
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.use_authority_key_identifier_extension = true;
            live(&mut params, now);
            let certificate = params.signed_by(&key, &issuer).map_err(made)?;
            let config = server(certificate.der().clone(), &key).map_err(Fault::local)?;
            ended.insert((*host).to_owned(), Arc::new(config));
        }
        Ok(Authority { pem: authority.pem(), hosts: ended })
    }

    /// What ends the TLS of this host.
    pub(super) fn of(&self, host: &str) -> Option<Arc<ServerConfig>> {
        self.hosts.get(host).cloned()
    }

    /// Writes the files that make clients trust it, into this folder, and gives the variables that name them. What
    /// `environment` had in such a variable stays trusted.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub(super) fn trusted(
        &self,
        folder: &Path,
        environment: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Vec<(String, OsString)>, Fault> {
        let read = |name: &str, path: &Path| {
            std::fs::read_to_string(path).map_err(|why| Fault::Local(format!("{name} names {}: {why}", path.display())))
        };
        let mut variables = Vec::new();
        let mut system = None;
        for name in INSTEAD.iter().chain(BESIDES) {
            let before = match environment(name).filter(|path| !path.is_empty()) {
                Some(path) => read(name, Path::new(&path))?,
                None if BESIDES.contains(name) => String::new(),
                None => system.get_or_insert_with(system_roots).clone(),
            };
            let path = self.write(folder, name, &before)?;
            variables.push(((*name).to_owned(), path.into_os_string()));
        }
        Ok(variables)
    }

    fn write(&self, folder: &Path, name: &str, before: &str) -> Result<PathBuf, Fault> {
        let path = folder.join(format!("{}.pem", name.to_lowercase()));
        let written = std::fs::File::create_new(&path)
            .and_then(|mut file| file.write_all(format!("{}\n{before}", self.pem).as_bytes()));
        written.map_err(|why| Fault::Local(format!("{}: {why}", path.display())))?;
        Ok(path)
    }
}

/// The authorities that this system trusts, PEM.
fn system_roots() -> String {
    let all = rustls_native_certs::load_native_certs().certs;
    all.iter().map(|certificate| pem(certificate)).collect()
}

fn pem(der: &CertificateDer<'_>) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

fn server(certificate: CertificateDer<'static>, key: &KeyPair) -> Result<ServerConfig, rustls::Error> {
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into());
    let config = config.with_safe_default_protocol_versions()?.with_no_client_auth();
    let mut config = config.with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// These hosts and no other: a kind of name of which none is permitted would be permitted whole.
fn constraints(hosts: &BTreeSet<&str>) -> NameConstraints {
    let (ips, names): (Vec<&str>, Vec<&str>) = hosts.iter().partition(|host| host.parse::<IpAddr>().is_ok());
    let mut permitted: Vec<_> = names.iter().map(|name| GeneralSubtree::DnsName((*name).to_owned())).collect();
    if permitted.is_empty() {
        permitted.push(GeneralSubtree::DnsName("none.invalid".to_owned()));
    }
    let ips: Vec<IpAddr> = ips.iter().filter_map(|ip| ip.parse().ok()).collect();
    permitted.extend(ips.iter().map(|ip| {
        GeneralSubtree::IpAddress(match ip {
            IpAddr::V4(ip) => CidrSubnet::V4(ip.octets(), [255; 4]),
            IpAddr::V6(ip) => CidrSubnet::V6(ip.octets(), [255; 16]),
        })
    }));
    let mut excluded = Vec::new();
    if !ips.iter().any(IpAddr::is_ipv4) {
        excluded.push(GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])));
    }
    if !ips.iter().any(IpAddr::is_ipv6) {
        excluded.push(GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])));
    }
    NameConstraints { permitted_subtrees: permitted, excluded_subtrees: excluded }
}

fn named(name: &str) -> DistinguishedName {
    let mut all = DistinguishedName::new();
    all.push(DnType::CommonName, name);
    all
}

/// Year, month and day of an instant: certificates made here begin and end with a day.
fn day(at: Timestamp) -> (i32, u8, u8) {
    let seconds = i64::try_from(at.whole_seconds()).unwrap_or(i64::MAX);
    let date = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX).to_zoned(TimeZone::UTC).date();
    (date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs())
}

fn live(params: &mut CertificateParams, now: Timestamp) {
    let [begin, end] = [now.minus(EARLIER), now.plus(LIFE)].map(day);
    params.not_before = rcgen::date_time_ymd(begin.0, begin.1, begin.2);
    params.not_after = rcgen::date_time_ymd(end.0, end.1, end.2);
}
