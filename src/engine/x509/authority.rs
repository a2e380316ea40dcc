//! A stored authority: its private key and the certificate chain from its own certificate up to a root. What comes in,
//! made, certified or imported, is checked once and wholly, so that a mint only reads it.
//!
//! Stored: `{"chain": [base64 DER, ..], "private_key": base64 PKCS #8, "type": "x509"}`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SerialNumber,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::asn1_rs::Tag;
use x509_parser::prelude::{FromDer, ParsedExtension};
use x509_parser::time::ASN1Time;
use x509_parser::x509::{X509Name, X509Version};
use zeroize::Zeroizing;

use super::key::{self, Algorithm, Key};
use super::{BACKDATED, crl, instant, pem, request};
use crate::crypto::hash::Digest;
use crate::denial::{Denial, Reason};
use crate::engine::kv::object;
use crate::entropy::Entropy;
use crate::secret::SecretBytes;
use crate::time::{Seconds, Timestamp};

/// The longest chain, in certificates.
const CHAIN_MAX: usize = 8;
/// The largest chain or bundle that is read, in bytes of PEM.
const PEM_MAX: usize = 64 * 1024;
/// The life of a certificate made here where the wish names none, in days.
const DAYS: u64 = 730;
/// The longest life of a certificate made here, in days.
const DAYS_MAX: u64 = 3650;

/// What an operator may wish of an authority that is made here.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    /// Its name.
    subject: Subject,
    /// How long its own certificate is good, in days: 1 to 3650; 730 where left out.
    days: Option<u64>,
    /// What kind of key it has; `ecdsa-p256` where left out.
    #[serde(default)]
    algorithm: Algorithm,
}

/// The name of an authority.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Subject {
    /// 1 to 64 characters, none of them a control character. No two authorities should share it.
    common_name: String,
    /// 1 to 64 characters, none of them a control character.
    organisation: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept<'a> {
    #[serde(borrow)]
    chain: Vec<&'a str>,
    private_key: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
}

/// An authority, read.
pub(super) struct Authority {
    key: Key,
    /// DER, its own certificate first, a self-signed root last.
    chain: Vec<Vec<u8>>,
}

/// What a mint needs to know of an authority's own time.
pub(super) struct Life {
    /// The first whole second at which the whole chain is good.
    pub(super) begins: u64,
    /// The last one.
    pub(super) ends: u64,
}

impl Authority {
    /// Makes an authority with a certificate that it signs itself. It may sign leaves and no other authority.
    pub(super) fn make(wish: &Wish, now: Timestamp, entropy: &dyn Entropy) -> Result<Authority, Denial> {
        let bad = |detail: &str| Denial::new(Reason::BadRole).detail(detail);
        let days = wish.days.unwrap_or(DAYS);
        if !(1..=DAYS_MAX).contains(&days) {
            return Err(bad("days is 1 to 3650"));
        }
        let mut name = DistinguishedName::new();
        for (kind, text) in [
            (DnType::OrganizationName, wish.subject.organisation.as_ref()),
            (DnType::CommonName, Some(&wish.subject.common_name)),
        ] {
            let Some(text) = text else { continue };
            if !fits_name(text) {
                return Err(bad("common_name and organisation have 1 to 64 characters and no control characters"));
            }
            name.push(kind, text.as_str());
        }
        let key = key::generate(wish.algorithm, entropy)?;
        let mut serial: [u8; 16] = entropy.bytes();
        // Positive, and of one length.
        serial[0] = serial[0] & 0x3f | 0x40;
        let mut certificate = template(name);
        certificate.serial_number = Some(SerialNumber::from_slice(&serial));
        certificate.not_before = instant(now.minus(BACKDATED).whole_seconds())?.to_datetime();
        certificate.not_after = instant(now.plus(Seconds(days * 86_400)).whole_seconds())?.to_datetime();
        let certificate = certificate.self_signed(&*key).map_err(internal)?;
        let made = Authority { key, chain: vec![certificate.der().to_vec()] };
        made.check(now).map_err(internal)?;
        Ok(made)
    }

    /// Takes a PEM bundle of a private key (PKCS #8) and the chain of its certificate, up to the root.
    pub(super) fn import(bundle: &[u8], now: Timestamp) -> Result<Authority, String> {
        let text = std::str::from_utf8(bundle).map_err(|_| "the bundle is not PEM")?;
        if text.len() > PEM_MAX {
            return Err("the bundle has more than 64 KiB".into());
        }
        let (mut keys, mut chain) = (Vec::new(), Vec::new());
        for block in pem::blocks(text)? {
            match block.label {
                pem::CERTIFICATE => chain.push(block.der.to_vec()),
                pem::PRIVATE_KEY => keys.push(block.der),
                label => {
                    return Err(format!(
                        "the bundle holds {label:?}; wanted are CERTIFICATE and one PRIVATE KEY (PKCS #8 without a \
                         passphrase, as `openssl pkcs8 -topk8 -nocrypt` writes it)"
                    ));
                }
            }
        }
        let [key] = keys.as_slice() else {
            return Err(format!("the bundle holds {} private keys; one is wanted", keys.len()));
        };
        let key =
            key::read(key).ok_or("the private key is no Ed25519, P-256, P-384 or RSA key of 2048 to 4096 bits")?;
        let brought = Authority { key, chain };
        brought.check(now).map(|()| brought)
    }

    /// The same key with another chain.
    pub(super) fn certify(self, chain: &str, now: Timestamp) -> Result<Authority, String> {
        if chain.len() > PEM_MAX {
            return Err("the chain has more than 64 KiB".into());
        }
        let blocks = pem::blocks(chain)?;
        if let Some(other) = blocks.iter().find(|block| block.label != pem::CERTIFICATE) {
            return Err(format!("the chain holds {:?}; only CERTIFICATE is wanted", other.label));
        }
        let chain = blocks.iter().map(|block| block.der.to_vec()).collect();
        let before = self.named()?;
        let certified = Authority { key: self.key, chain };
        certified.check(now)?;
        // Leaves name their issuer, and the list of the revoked is found by that name: under another, the leaves that are
        // out there would have no list.
        if certified.named()? == before {
            Ok(certified)
        } else {
            Err("certificate 1 has another subject than the one it takes the place of; have the request of `vaultctl ca \
                 show` signed under its own subject, or make another authority"
                .into())
        }
    }

    /// The name in its own certificate.
    fn named(&self) -> Result<Vec<u8>, String> {
        let own = parsed(self.chain.first().ok_or("there is no certificate")?)?;
        Ok(own.subject().as_raw().to_vec())
    }

    /// Reads what was stored.
    pub(super) fn open(stored: &SecretBytes) -> Result<Authority, Denial> {
        let foreign = || Denial::new(Reason::Internal).internal("the stored value is no authority of this engine");
        let kept: Kept<'_> = serde_json::from_slice(stored.expose()).map_err(|_| foreign())?;
        if kept.kind != super::KIND || kept.chain.is_empty() {
            return Err(foreign());
        }
        let pkcs8 = Zeroizing::new(STANDARD.decode(kept.private_key).map_err(|_| foreign())?);
        let key = key::read(&pkcs8).ok_or_else(foreign)?;
        let chain = kept.chain.iter().map(|der| STANDARD.decode(der)).collect::<Result<_, _>>();
        Ok(Authority { key, chain: chain.map_err(|_| foreign())? })
    }

    /// The value to store.
    pub(super) fn keep(&self) -> Result<SecretBytes, Denial> {
        let private_key = Zeroizing::new(STANDARD.encode(self.key.serialized_der()));
        let chain: Vec<String> = self.chain.iter().map(|der| STANDARD.encode(der)).collect();
        let chain: Vec<&str> = chain.iter().map(String::as_str).collect();
        let length = private_key.len() + chain.iter().map(|text| text.len() + 3).sum::<usize>();
        object(&Kept { chain, private_key: &private_key, kind: super::KIND }, length)
    }

    /// What may be shown.
    pub(super) fn shown(&self) -> Result<Map<String, Value>, Denial> {
        let mut certificates = Vec::with_capacity(self.chain.len());
        for der in &self.chain {
            let certificate = parsed(der).map_err(internal)?;
            let seconds = |time: ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
            certificates.push(json!({
                "fingerprint": hexadecimal(Digest::of(der).as_bytes()),
                "issuer": certificate.issuer().to_string(),
                "not_after": Timestamp::ZERO.plus(Seconds(seconds(certificate.validity().not_after))),
                "not_before": Timestamp::ZERO.plus(Seconds(seconds(certificate.validity().not_before))),
                "serial": hexadecimal(&certificate.tbs_certificate.serial.to_bytes_be()),
                "subject": certificate.subject().to_string(),
            }));
        }
        let mut shown = Map::new();
        for member in ["subject", "fingerprint", "not_before", "not_after"] {
            shown.insert(member.into(), certificates[0][member].clone());
        }
        shown.insert("algorithm".into(), json!(key::word(&self.key)));
        shown.insert("certificates".into(), json!(certificates));
        shown.insert("chain".into(), json!(self.chain_pem()));
        shown.insert("request".into(), json!(self.request()?));
        shown.insert("type".into(), json!(super::KIND));
        Ok(shown)
    }

    /// A certification request for the same key and name, so that a higher authority may sign it.
    fn request(&self) -> Result<String, Denial> {
        let own = parsed(&self.chain[0]).map_err(internal)?;
        let request = template(name_of(own.subject())).serialize_request(&*self.key).map_err(internal)?;
        Ok(pem::encode(pem::REQUEST, request.der()).to_string())
    }

    /// All certificates, its own first, the root last.
    pub(super) fn chain_pem(&self) -> String {
        pem::certificates(&self.chain)
    }

    /// What a TLS peer sends behind its leaf: the certificates below the root, or the root where there is no other.
    pub(super) fn sent_pem(&self) -> String {
        pem::certificates(&self.chain[..(self.chain.len() - 1).max(1)])
    }

    /// The root: what a TLS peer trusts.
    pub(super) fn root_pem(&self) -> String {
        pem::certificates(self.chain.last())
    }

    /// What signs.
    pub(super) fn issuer(&self) -> Result<Issuer<'static, &KeyPair>, Denial> {
        Issuer::from_ca_cert_der(&self.chain[0].as_slice().into(), &*self.key).map_err(internal)
    }

    /// The identifier of its key, as its certificate has it.
    pub(super) fn key_identifier(&self) -> Result<Vec<u8>, Denial> {
        let own = parsed(&self.chain[0]).map_err(internal)?;
        key_identifier(&own).ok_or_else(|| internal("the certificate has no key identifier"))
    }

    /// Whether this is the key of a certificate of the chain. The request of an authority, which is public, would
    /// otherwise pass for a session's.
    pub(super) fn has_key(&self, key: &impl PublicKeyData) -> bool {
        let info = key.subject_public_key_info();
        self.chain.iter().any(|der| parsed(der).is_ok_and(|one| one.public_key().raw == info))
    }

    /// When the whole chain is good.
    pub(super) fn life(&self) -> Result<Life, Denial> {
        let mut life = Life { begins: 0, ends: u64::MAX };
        for der in &self.chain {
            let certificate = parsed(der).map_err(internal)?;
            let validity = certificate.validity();
            life.begins = life.begins.max(u64::try_from(validity.not_before.timestamp()).unwrap_or(0));
            life.ends = life.ends.min(u64::try_from(validity.not_after.timestamp()).unwrap_or(0));
        }
        Ok(life)
    }

    /// Whether what this signs will be taken by those who trust its root, and says what they would find wrong.
    fn check(&self, now: Timestamp) -> Result<(), String> {
        if !(1..=CHAIN_MAX).contains(&self.chain.len()) {
            return Err(format!("there are {} certificates; wanted are 1 to {CHAIN_MAX}", self.chain.len()));
        }
        let chain = self.chain.iter().map(|der| parsed(der)).collect::<Result<Vec<_>, _>>()?;
        check_own(&chain[0], &self.key)?;
        for (below, certificate) in chain.iter().enumerate() {
            check_one(certificate, below, now).map_err(|why| format!("certificate {}: {why}", below + 1))?;
            let root = certificate.subject().as_raw() == certificate.issuer().as_raw();
            match (chain.get(below + 1), root) {
                (Some(above), false) => check_signed(certificate, above),
                (None, true) => check_signed(certificate, certificate),
                (Some(_), true) => Err("a root stands before the end of the chain".into()),
                (None, false) => Err("the chain does not end with a self-signed root; append it".into()),
            }
            .map_err(|why| format!("certificate {}: {why}", below + 1))?;
        }
        // What signs here writes the issuer's name anew. A name that it cannot repeat to the byte would give
        // certificates that no one finds an issuer for, so one is tried.
        if crl::repeats_name(self, chain[0].subject().as_raw(), now) {
            Ok(())
        } else {
            Err("certificate 1: its subject has a form that cannot be repeated as an issuer; each attribute stands \
                 once, alone in its set"
                .into())
        }
    }
}

fn template(name: DistinguishedName) -> CertificateParams {
    let mut template = CertificateParams::default();
    template.distinguished_name = name;
    template.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    template.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    template
}

/// The same name for a request. A form that this cannot repeat is left out: the higher authority decides on the name.
fn name_of(subject: &X509Name<'_>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for attribute in subject.iter_attributes() {
        let (Some(oid), Ok(text)) = (attribute.attr_type().iter(), attribute.as_str()) else { continue };
        let printable = (attribute.attr_value().tag() == Tag::PrintableString).then(|| text.try_into().ok()).flatten();
        let value = printable.map_or_else(|| DnValue::Utf8String(text.into()), DnValue::PrintableString);
        name.push(DnType::from_oid(&oid.collect::<Vec<u64>>()), value);
    }
    name
}

/// What only the certificate that signs leaves must be.
fn check_own(own: &X509Certificate<'_>, key: &KeyPair) -> Result<(), String> {
    if own.public_key().raw != key.subject_public_key_info() {
        return Err("certificate 1 is not for the key of this authority".into());
    }
    let usage = own.key_usage().ok().flatten();
    if !usage.is_some_and(|usage| usage.value.key_cert_sign() && usage.value.crl_sign()) {
        return Err("certificate 1: its key usage must name keyCertSign and cRLSign".into());
    }
    if key_identifier(own).is_none() {
        return Err("certificate 1 has no subject key identifier".into());
    }
    Ok(())
}

/// What every certificate of the chain must be. `below` counts the authorities under it.
fn check_one(certificate: &X509Certificate<'_>, below: usize, now: Timestamp) -> Result<(), String> {
    if certificate.version() != X509Version::V3 {
        return Err("it is not of version 3".into());
    }
    let constraints = certificate.basic_constraints().map_err(|_| "its basic constraints cannot be read")?;
    let Some(constraints) = constraints.filter(|constraints| constraints.value.ca) else {
        return Err("its basic constraints do not say CA:TRUE".into());
    };
    if constraints.value.path_len_constraint.is_some_and(|most| (most as usize) < below) {
        return Err(format!("its path length allows fewer authorities under it than the {below} there are"));
    }
    let usage = certificate.key_usage().map_err(|_| "its key usage cannot be read")?;
    if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err("its key usage does not name keyCertSign".into());
    }
    let now = instant(now.whole_seconds()).map_err(|denial| denial.internal)?;
    let validity = certificate.validity();
    if now > validity.not_after {
        return Err(format!("it expired at {}", validity.not_after));
    }
    if now < validity.not_before {
        return Err(format!("it is not good before {}", validity.not_before));
    }
    Ok(())
}

fn check_signed(certificate: &X509Certificate<'_>, above: &X509Certificate<'_>) -> Result<(), String> {
    if certificate.issuer().as_raw() != above.subject().as_raw() {
        return Err(format!("its issuer is {}, and not {} that follows", certificate.issuer(), above.subject()));
    }
    if !request::is_made_by(&certificate.signature_algorithm, above.public_key()) {
        return Err(
            "it is not signed with Ed25519, ECDSA or RSA with SHA-256 or stronger by the key that follows".into()
        );
    }
    certificate
        .verify_signature(Some(above.public_key()))
        .map_err(|_| "its signature does not verify with the key of the certificate that follows".into())
}

fn parsed(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err("bytes follow a certificate".into()),
        Err(_) => Err("a certificate cannot be read".into()),
    }
}

fn key_identifier(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0.to_vec()),
        _ => None,
    })
}

/// Whether this may be part of a name (RFC 5280 appendix A.1: at most 64 characters).
pub(super) fn fits_name(text: &str) -> bool {
    (1..=64).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

/// Lower-case hexadecimal digits.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn internal(why: impl std::fmt::Display) -> Denial {
    Denial::new(Reason::Internal).internal(why)
}
