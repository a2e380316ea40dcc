//! The certification request (PKCS #10, RFC 2986) with which a session brings a key of its own. Its public key is
//! taken, and its signature proves that the session holds the private one. All else in it, subject, extensions and
//! attributes, is passed over: what a certificate says is the role's to say.

use rcgen::SubjectPublicKeyInfo;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::oid_registry::{
    OID_KEY_TYPE_EC_PUBLIC_KEY, OID_PKCS1_RSAENCRYPTION, OID_PKCS1_RSASSAPSS, OID_PKCS1_SHA256WITHRSA,
    OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA, OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384,
    OID_SIG_ED25519,
};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo as Presented};

use super::pem;
use crate::crypto::signature;

/// The longest request, in bytes of PEM.
const MAX: usize = 8 * 1024;

/// The public key of a request, proven to be its sender's.
pub(super) fn public_key(text: &str) -> Result<SubjectPublicKeyInfo, &'static str> {
    if text.len() > MAX {
        return Err("a request has at most 8192 bytes of PEM");
    }
    let blocks = pem::blocks(text)?;
    let [block] = blocks.as_slice() else {
        return Err("PEM with exactly one CERTIFICATE REQUEST is wanted");
    };
    if !matches!(block.label, pem::REQUEST | "NEW CERTIFICATE REQUEST") {
        return Err("the PEM block is no CERTIFICATE REQUEST");
    }
    let (rest, request) =
        X509CertificationRequest::from_der(&block.der).map_err(|_| "the request cannot be read as PKCS #10")?;
    if !rest.is_empty() {
        return Err("bytes follow the request");
    }
    let presented = &request.certification_request_info.subject_pki;
    check_strength(presented)?;
    if !is_made_by(&request.signature_algorithm, presented) {
        return Err("the request is not signed by an algorithm of its own key with SHA-256 or stronger");
    }
    request.verify_signature().map_err(|_| "the request's signature does not verify with its own key")?;
    SubjectPublicKeyInfo::from_der(presented.raw).map_err(|_| WANTED)
}

const WANTED: &str = "the key must be Ed25519, ECDSA on P-256 or P-384, or RSA of 2048 to 4096 bits";

/// A key that others can forge for is no identity.
fn check_strength(key: &Presented<'_>) -> Result<(), &'static str> {
    if key.algorithm.algorithm == OID_SIG_ED25519 {
        let bytes = key.subject_public_key.data.as_ref().try_into().map_err(|_| WANTED)?;
        return signature::PublicKey::from_bytes(bytes).map(|_| ()).map_err(|_| "this Ed25519 key is weak");
    }
    match key.parsed() {
        // That the point lies on its curve is checked with the signature.
        Ok(PublicKey::EC(_)) => Ok(()),
        Ok(PublicKey::RSA(rsa)) if (2048..=4096).contains(&rsa.key_size()) => match rsa.try_exponent() {
            Ok(exponent) if exponent >= 65_537 && exponent % 2 == 1 => Ok(()),
            _ => Err("the exponent of an RSA key is odd and at least 65537"),
        },
        _ => Err(WANTED),
    }
}

/// Whether a signature of this algorithm can be by a key of this kind. The verifier looks at the algorithm alone.
pub(super) fn is_made_by(algorithm: &AlgorithmIdentifier<'_>, key: &Presented<'_>) -> bool {
    let (algorithm, kind) = (&algorithm.algorithm, &key.algorithm.algorithm);
    if *kind == OID_SIG_ED25519 {
        return *algorithm == OID_SIG_ED25519;
    }
    if *kind == OID_KEY_TYPE_EC_PUBLIC_KEY {
        return [OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384].contains(algorithm);
    }
    let by_rsa = [OID_PKCS1_SHA256WITHRSA, OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA, OID_PKCS1_RSASSAPSS];
    *kind == OID_PKCS1_RSAENCRYPTION && by_rsa.contains(algorithm)
}
