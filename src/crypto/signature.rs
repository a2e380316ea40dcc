//! `sig = Ed25519(seed, M)`, pure Ed25519 (RFC 8032), over `M = PAE(T, P)` or, for keys that live in an SSH agent, over
//! the SSHSIG preamble of `PAE(T, P)`.
//!
//! A [`PublicKey`] is one that may be registered: its encoding is canonical, it is not of small order, and it has no
//! part of small order. Signatures are verified with `verify_strict`, one by one: the batch equation and the permissive
//! one answer differently on crafted input, and then two verifiers would not agree on what was signed.

use std::fmt;
use std::sync::LazyLock;

use curve25519_dalek::Scalar;
use curve25519_dalek::edwards::CompressedEdwardsY;
use ed25519_dalek as dalek;
use ed25519_dalek::Signer as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha512};

use super::bytes::bytes_as_text;
use super::envelope::pae;
use super::hash::Digest;
use crate::base64url;
use crate::entropy::Entropy;
use crate::id::Kid;
use crate::secret::Secret;

/// What a key's holder signs, fixed when the key is registered and never read from an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// `PAE(T, P)` itself.
    Pae,
    /// The OpenSSH signature format over `PAE(T, P)`, with namespace `T` and hash SHA-512.
    Sshsig,
}

impl Form {
    /// The word in statements.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Form::Pae => "pae",
            Form::Sshsig => "sshsig",
        }
    }

    /// The bytes that a holder of a key of this form signs for an envelope's type and payload.
    #[must_use]
    pub fn message(self, payload_type: &str, payload: &[u8]) -> Vec<u8> {
        let message = pae(payload_type, payload);
        match self {
            Form::Pae => message,
            Form::Sshsig => sshsig(payload_type, &message),
        }
    }
}

/// `"SSHSIG" || str(namespace) || str("") || str("sha512") || str(SHA-512(message))`, with
/// `str(s) = u32be(len s) || s`: what `ssh-keygen -Y sign -n namespace` signs. OpenSSH PROTOCOL.sshsig section 2.
fn sshsig(namespace: &str, message: &[u8]) -> Vec<u8> {
    let mut blob = b"SSHSIG".to_vec();
    for part in [namespace.as_bytes(), b"", b"sha512", &Sha512::digest(message)] {
        let length = u32::try_from(part.len()).expect("a payload type and a hash are shorter than 4 GiB");
        blob.extend_from_slice(&length.to_be_bytes());
        blob.extend_from_slice(part);
    }
    blob
}

/// Why 32 bytes are not a key that may be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// No point of the curve has this encoding.
    #[error("the key is not a point of the curve")]
    NotAPoint,
    /// The point has another, canonical encoding: one key would have two identifiers.
    #[error("the key is not canonically encoded")]
    NotCanonical,
    /// A key of small order, under which one signature fits many messages.
    #[error("the key is of small order")]
    Weak,
    /// A key with a part of small order, on which verifiers disagree.
    #[error("the key has a component of small order")]
    MixedOrder,
}

/// The signature does not belong to this key and these bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct BadSignature;

/// An Ed25519 signature, 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

bytes_as_text!(Signature, 86, "64 bytes of an Ed25519 signature as canonical base64url", |bytes| Ok(Signature(bytes)));

impl Signature {
    /// These 64 bytes. Whether they are a signature of anything is what verifying tells.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 64]) -> Signature {
        Signature(bytes)
    }

    /// These bytes, where they are 64.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Signature> {
        bytes.try_into().ok().map(Signature)
    }

    /// The 64 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }

    /// Whether a verifier has to look at the message: `s` is reduced, and `R` a point that is not of small order.
    fn is_whole(&self) -> bool {
        let (r, s) = self.0.split_at(32);
        let reduced = s.try_into().is_ok_and(|s| Scalar::from_canonical_bytes(s).is_some().into());
        let point = CompressedEdwardsY::from_slice(r).ok().and_then(|r| r.decompress());
        reduced && point.is_some_and(|point| !point.is_small_order())
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", base64url::encode(&self.0))
    }
}

/// An Ed25519 public key that may be registered.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(dalek::VerifyingKey);

bytes_as_text!(PublicKey, 43, "32 bytes of an Ed25519 public key as canonical base64url", |bytes| {
    PublicKey::from_bytes(&bytes).map_err(|_| "an Ed25519 key that is canonical and free of small order")
});

impl PublicKey {
    /// Takes the key in where it is a canonical point, not weak and torsion-free. The last check costs about as much
    /// as verifying a signature, so a key is parsed once and kept.
    ///
    /// # Errors
    /// The first fault found, in the order of [`KeyFault`].
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<PublicKey, KeyFault> {
        let key = dalek::VerifyingKey::from_bytes(bytes).map_err(|_| KeyFault::NotAPoint)?;
        let point = key.to_edwards();
        if point.compress().as_bytes() != bytes {
            Err(KeyFault::NotCanonical)
        } else if key.is_weak() {
            Err(KeyFault::Weak)
        } else if !point.is_torsion_free() {
            Err(KeyFault::MixedOrder)
        } else {
            Ok(PublicKey(key))
        }
    }

    /// The 32 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// `SHA-256({"crv":"Ed25519","kty":"OKP","x":base64url(key)})`: the key's name everywhere. RFC 7638, RFC 8037.
    #[must_use]
    pub fn kid(&self) -> Kid {
        let x = base64url::encode(self.as_bytes());
        let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        Kid::from_thumbprint(Digest::of(jwk.as_bytes()).as_bytes())
    }

    /// `[s]B = R + [SHA-512(R || A || M)]A`, compared as encodings and without the cofactor, with `s` reduced and neither
    /// `R` nor `A` of small order. RFC 8032 section 5.1.7, in its strictest reading.
    ///
    /// # Errors
    /// [`BadSignature`], which says nothing more.
    pub fn verify_raw(&self, message: &[u8], sig: &Signature) -> Result<(), BadSignature> {
        self.0.verify_strict(message, &dalek::Signature::from_bytes(&sig.0)).map_err(|_| BadSignature)
    }

    /// Verifies a signature over an envelope's type and payload in the form that the key is registered with.
    ///
    /// # Errors
    /// [`BadSignature`], which says nothing more.
    pub fn verify(&self, form: Form, payload_type: &str, payload: &[u8], sig: &Signature) -> Result<(), BadSignature> {
        let verified = self.verify_raw(&form.message(payload_type, payload), sig);
        if verified.is_err() {
            even_out(form, payload_type, payload, sig);
        }
        verified
    }
}

/// Makes up for what a refusal under a key of the form `sshsig` has hashed besides, so that a stranger cannot tell by the
/// clock of which form a key is, and so that there is one: the payload, where the signature is refused before anything
/// else is hashed, and the preamble otherwise. Who signs well pays nothing for it.
fn even_out(form: Form, payload_type: &str, payload: &[u8], sig: &Signature) {
    let whole = sig.is_whole();
    if form == Form::Pae {
        let hashed = if whole { b"" } else { payload };
        std::hint::black_box(sshsig(payload_type, std::hint::black_box(hashed)));
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.kid())
    }
}

/// An Ed25519 signing key, erased when dropped.
pub struct SigningKey {
    key: Box<dalek::SigningKey>,
    public: PublicKey,
    kid: Kid,
}

impl SigningKey {
    /// A new key.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> SigningKey {
        SigningKey::from_seed(&Secret::init(|seed: &mut [u8; 32]| entropy.fill(seed)))
    }

    /// The key of this seed (RFC 8032 section 5.1.5).
    #[must_use]
    pub fn from_seed(seed: &Secret<[u8; 32]>) -> SigningKey {
        let key = Box::new(dalek::SigningKey::from_bytes(seed.expose()));
        // A clamped scalar times the base point is canonical, torsion-free and never the identity.
        let public = PublicKey(key.verifying_key());
        let kid = public.kid();
        SigningKey { key, public, kid }
    }

    /// The seed, for whoever writes the key file.
    #[must_use]
    pub fn seed(&self) -> Secret<[u8; 32]> {
        Secret::init(|seed: &mut [u8; 32]| seed.copy_from_slice(self.key.as_bytes()))
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.public.clone()
    }

    /// The public key's identifier.
    #[must_use]
    pub fn kid(&self) -> Kid {
        self.kid.clone()
    }

    /// `Ed25519(seed, message)`. For bytes that say themselves what they are: a checkpoint, a JWT.
    #[must_use]
    pub fn sign_raw(&self, message: &[u8]) -> Signature {
        Signature(self.key.sign(message).to_bytes())
    }

    /// Signs an envelope's type and payload.
    #[must_use]
    pub fn sign(&self, form: Form, payload_type: &str, payload: &[u8]) -> Signature {
        self.sign_raw(&form.message(payload_type, payload))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.kid)
    }
}

/// Spends the time of one failing [`PublicKey::verify`] of this very signature, so that a stranger cannot tell by the clock
/// whether a key is registered. What is looked at is the stranger's signature and none of ours: one that is refused early,
/// since its `s` is not reduced or its `R` is no point or of small order, has to be refused as early here.
pub fn decoy_verify(payload_type: &str, payload: &[u8], sig: &Signature) {
    static DECOY: LazyLock<PublicKey> = LazyLock::new(|| SigningKey::from_seed(&Secret::new([0x5a; 32])).public());
    // The result is kept from the optimiser, which would otherwise see that nobody looks at it.
    let payload = std::hint::black_box(payload);
    let _ = std::hint::black_box(DECOY.verify(Form::Pae, payload_type, payload, sig));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    const TYPE: &str = "application/vnd.nockvault.request.v1+json";
    const PAYLOAD: &[u8] = br#"{"agent":"kit","v":1}"#;

    fn key(seed: u64) -> SigningKey {
        SigningKey::generate(&SeededEntropy::new(seed))
    }

    #[test]
    fn a_signature_belongs_to_its_key_type_payload_and_form() {
        let kit = key(1);
        for (form, other) in [(Form::Pae, Form::Sshsig), (Form::Sshsig, Form::Pae)] {
            let sig = kit.sign(form, TYPE, PAYLOAD);
            assert_eq!(kit.public().verify(form, TYPE, PAYLOAD, &sig), Ok(()));
            assert_eq!(kit.public().verify(other, TYPE, PAYLOAD, &sig), Err(BadSignature));
            assert_eq!(kit.public().verify(form, "application/x", PAYLOAD, &sig), Err(BadSignature));
            assert_eq!(kit.public().verify(form, TYPE, b"{}", &sig), Err(BadSignature));
            assert_eq!(key(2).public().verify(form, TYPE, PAYLOAD, &sig), Err(BadSignature));
        }
    }

    /// Made once with `ssh-keygen -Y sign -n TYPE` (OpenSSH 9.2) over a file that holds `PAE(TYPE, PAYLOAD)`.
    #[test]
    fn what_openssh_signs_verifies() {
        let public = base64url::decode_array("nq0LH8rY6CB6ZrQ15LLo9WyGK0cbjLNPNPtwyt7hXLo").unwrap();
        let sig = "SZPojQyOtV1ciP5tAVCPDShN09FF5Z0DW3gz7DckJIMiOperPHL0pUe8iMSX5rVZLVczJ6Nx4QAJMc79lCn_Aw";
        let sig = Signature::from_slice(&base64url::decode(sig).unwrap()).unwrap();
        let public = PublicKey::from_bytes(&public).unwrap();
        assert_eq!(public.verify(Form::Sshsig, TYPE, PAYLOAD, &sig), Ok(()));
        assert_eq!(public.verify(Form::Pae, TYPE, PAYLOAD, &sig), Err(BadSignature));
    }

    #[test]
    fn each_unregistrable_key_is_refused_for_its_fault() {
        let from = |hex: &str| {
            let bytes: Vec<u8> = (0..32).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect();
            PublicKey::from_bytes(&bytes.try_into().unwrap()).map(|_| ())
        };
        let last = |byte: &str| "00".repeat(31) + byte;
        // y = 2 is on no point; y = 0 is of order 4; y = 1 with the sign of a zero x; y = p + 1, which reads as 1.
        assert_eq!(from(&("02".to_owned() + &"00".repeat(31))), Err(KeyFault::NotAPoint));
        assert_eq!(from(&last("00")), Err(KeyFault::Weak));
        assert_eq!(from(&last("80")), Err(KeyFault::Weak));
        assert_eq!(from(&("01".to_owned() + &"00".repeat(30) + "80")), Err(KeyFault::NotCanonical));
        assert_eq!(from(&("ee".to_owned() + &"ff".repeat(30) + "7f")), Err(KeyFault::NotCanonical));
        // A good key plus a point of order 8, made here.
        let good = key(3).public().0.to_edwards();
        let mixed = good + curve25519_dalek::constants::EIGHT_TORSION[1];
        assert_eq!(PublicKey::from_bytes(&mixed.compress().to_bytes()).unwrap_err(), KeyFault::MixedOrder);
        assert!(PublicKey::from_bytes(&good.compress().to_bytes()).is_ok());
    }

    #[test]
    fn a_seed_leads_back_and_debug_shows_only_the_kid() {
        let kit = key(4);
        let again = SigningKey::from_seed(&kit.seed());
        assert_eq!(again.kid(), kit.kid());
        assert_eq!(again.sign_raw(b"m"), kit.sign_raw(b"m"));
        assert_eq!(format!("{kit:?}"), format!("SigningKey({})", kit.kid()));
        assert_eq!(format!("{:?}", kit.public()), format!("PublicKey({})", kit.kid()));
    }

    /// The best of many runs is compared, since a busy machine only ever adds time. `tests/timing.rs` looks more closely.
    #[test]
    fn a_decoy_costs_what_a_bad_signature_costs() {
        let public = key(6).public();
        let of_another = key(7).sign(Form::Pae, TYPE, PAYLOAD);
        let mut not_reduced = *of_another.as_bytes();
        not_reduced[32..].fill(0xff);
        let best = |run: &dyn Fn()| {
            let once = |_| {
                let start = std::time::Instant::now();
                run();
                start.elapsed()
            };
            (0..200).map(once).min().unwrap().as_nanos() as f64
        };
        for (name, sig) in [
            ("another's", of_another),
            ("R of small order", Signature([0; 64])),
            ("s not reduced", Signature(not_reduced)),
        ] {
            let decoy = best(&|| decoy_verify(TYPE, PAYLOAD, &sig));
            let bad = best(&|| assert_eq!(public.verify(Form::Pae, TYPE, PAYLOAD, &sig), Err(BadSignature)));
            assert!((0.6..1.6).contains(&(decoy / bad)), "{name}: decoy {decoy} ns, bad signature {bad} ns");
        }
    }

    #[test]
    fn in_json_a_key_is_checked_and_never_quoted() {
        let public = key(5).public();
        let text = serde_json::to_string(&public).unwrap();
        assert_eq!(serde_json::from_str::<PublicKey>(&text).unwrap(), public);
        let weak = format!("\"{}\"", base64url::encode(&[0; 32]));
        let error = serde_json::from_str::<PublicKey>(&weak).unwrap_err().to_string();
        assert!(error.contains("free of small order") && !error.contains("AAAA"), "{error}");
        assert_eq!(serde_json::to_string(&Form::Sshsig).unwrap(), "\"sshsig\"");
        assert_eq!(Form::Pae.as_str(), serde_json::to_value(Form::Pae).unwrap());
    }
}
