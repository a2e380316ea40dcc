//! `enc, ct = SealBase(pkR, info, aad, pt)`: HPKE base mode with DHKEM(X25519, HKDF-SHA256) 0x0020, HKDF-SHA256 0x0001
//! and ChaCha20-Poly1305 0x0003. RFC 9180.
//!
//! One seal has one fresh sender key; what was sealed opens with the receiver's key alone, not with any key of the
//! sender. A public key is taken only in its canonical encoding and only where it is not of small order: for such a
//! point the shared secret would be known to everyone.

use std::convert::Infallible;
use std::fmt;

use ::hpke::aead::ChaCha20Poly1305;
use ::hpke::kdf::HkdfSha256;
use ::hpke::kem::X25519HkdfSha256;
use ::hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};

pub use super::aead::NotOpened;
use super::bytes::bytes_as_text;
use super::hash::Digest;
use super::primitive::hkdf_sha256;
use crate::base64url;
use crate::entropy::Entropy;
use crate::id::Kid;
use crate::secret::{Secret, SecretBytes};

/// The suite's name in statements.
pub const SUITE: &str = "X25519-HKDF-SHA256-CHACHA20POLY1305";

/// The point is of small order or not canonically encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key is not a safe X25519 public key")]
pub struct BadSealKey;

/// 32 bytes that claim to be an X25519 public key: what stands in a statement before anyone has looked. The point is
/// checked by [`SealKeyBytes::check`], so that an unsafe one gets a denial of its own instead of a schema's.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SealKeyBytes([u8; 32]);

bytes_as_text!(SealKeyBytes, 43, "32 bytes of an X25519 public key as canonical base64url", |bytes| {
    Ok(SealKeyBytes(bytes))
});

impl SealKeyBytes {
    /// These 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> SealKeyBytes {
        SealKeyBytes(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key, where it is safe to seal to.
    ///
    /// # Errors
    /// [`BadSealKey`] for a point of small order or an encoding that is not canonical.
    pub fn check(&self) -> Result<SealPublicKey, BadSealKey> {
        SealPublicKey::from_bytes(self.0)
    }
}

impl fmt::Debug for SealKeyBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealKeyBytes({})", base64url::encode(&self.0))
    }
}

/// An X25519 public key that is safe to seal to.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SealPublicKey([u8; 32]);

bytes_as_text!(SealPublicKey, 43, "32 bytes of an X25519 public key as canonical base64url", |bytes| {
    SealPublicKey::from_bytes(bytes).map_err(|_| "an X25519 key that is canonical and not of small order")
});

/// The prime `2^255 - 19`, little-endian.
const PRIME: [u8; 32] = {
    let mut prime = [0xff; 32];
    prime[0] = 0xed;
    prime[31] = 0x7f;
    prime
};

/// `p - 1`, the u-coordinate of the points of order 4 on the twist.
const MINUS_ONE: [u8; 32] = {
    let mut minus_one = PRIME;
    minus_one[0] -= 1;
    minus_one
};

/// The u-coordinates of all points of order 1, 2, 4 and 8 on the curve and its twist, in canonical encoding.
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    {
        let mut one = [0; 32];
        one[0] = 1;
        one
    },
    MINUS_ONE,
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09,
        0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44,
        0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
];

impl SealPublicKey {
    /// Takes the key in where it is safe.
    ///
    /// # Errors
    /// [`BadSealKey`] for a point of small order or an encoding that is not canonical (a u-coordinate at or above the
    /// prime, or the unused top bit set).
    pub fn from_bytes(bytes: [u8; 32]) -> Result<SealPublicKey, BadSealKey> {
        let below_prime = bytes.iter().rev().lt(PRIME.iter().rev());
        if below_prime && !SMALL_ORDER.contains(&bytes) { Ok(SealPublicKey(bytes)) } else { Err(BadSealKey) }
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// `SHA-256({"crv":"X25519","kty":"OKP","x":base64url(key)})`: the key's name in certificates. RFC 7638, RFC 8037.
    #[must_use]
    pub fn kid(&self) -> Kid {
        let x = base64url::encode(&self.0);
        let jwk = format!(r#"{{"crv":"X25519","kty":"OKP","x":"{x}"}}"#);
        Kid::from_thumbprint(Digest::of(jwk.as_bytes()).as_bytes())
    }
}

impl From<SealPublicKey> for SealKeyBytes {
    fn from(key: SealPublicKey) -> SealKeyBytes {
        SealKeyBytes(key.0)
    }
}

impl fmt::Debug for SealPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealPublicKey({})", base64url::encode(&self.0))
    }
}

/// An X25519 secret key, erased when dropped.
pub struct SealSecretKey {
    secret: Secret<[u8; 32]>,
    public: SealPublicKey,
}

impl SealSecretKey {
    /// A new key.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> SealSecretKey {
        SealSecretKey::from_bytes(&Secret::init(|key: &mut [u8; 32]| entropy.fill(key)))
    }

    /// The key of these bytes, clamped when used (RFC 7748 section 5).
    #[must_use]
    pub fn from_bytes(bytes: &Secret<[u8; 32]>) -> SealSecretKey {
        let public = X25519HkdfSha256::sk_to_pk(&private(bytes)).to_bytes();
        SealSecretKey {
            secret: Secret::init(|key: &mut [u8; 32]| key.copy_from_slice(bytes.expose())),
            // A clamped scalar times the base point is canonical and of large order.
            public: SealPublicKey(public.into()),
        }
    }

    /// `sk = HKDF-SHA256(ikm = secret, salt = "", info, 32 bytes)`, clamped when used: the key that whoever holds the
    /// secret can always make again. RFC 5869.
    #[must_use]
    pub fn derive(secret: &Secret<[u8; 32]>, info: &[u8]) -> SealSecretKey {
        let bytes = Secret::init(|key: &mut [u8; 32]| {
            hkdf_sha256(secret.expose(), &[], info, key).expect("32 bytes are fewer than HKDF's 8160");
        });
        SealSecretKey::from_bytes(&bytes)
    }

    /// The bytes, for whoever keeps the key.
    #[must_use]
    pub fn to_bytes(&self) -> Secret<[u8; 32]> {
        Secret::init(|key: &mut [u8; 32]| key.copy_from_slice(self.secret.expose()))
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> SealPublicKey {
        self.public
    }
}

impl fmt::Debug for SealSecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealSecretKey({})", base64url::encode(self.public.as_bytes()))
    }
}

fn private(bytes: &Secret<[u8; 32]>) -> <X25519HkdfSha256 as Kem>::PrivateKey {
    Deserializable::from_bytes(bytes.expose()).expect("32 bytes are an X25519 secret key")
}

/// What was sealed to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The encapsulated key.
    pub enc: [u8; 32],
    /// The ciphertext with its tag.
    pub ct: Vec<u8>,
}

impl Sealed {
    /// `H(enc || ct)`: its name in entries and commands. `enc` has a fixed length, so nothing can be cut elsewhere.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of_parts(&[&self.enc, &self.ct])
    }
}

/// Lets crates draw from our source.
pub(crate) struct Draw<'a>(pub(crate) &'a dyn Entropy);

impl rand_core::TryRng for Draw<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.0.bytes()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.0.bytes()))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(out);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Draw<'_> {}

/// `enc, ct = SealBase(to, info, aad, plaintext)`. RFC 9180 section 6.1.
///
/// # Errors
/// [`BadSealKey`] where the shared secret would be all zeros; a checked key does not give that.
///
/// # Panics
/// Where `info` is longer than 64 KiB; ours has a fixed, short form.
pub fn seal(
    to: &SealPublicKey,
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
    entropy: &dyn Entropy,
) -> Result<Sealed, BadSealKey> {
    let to = Deserializable::from_bytes(&to.0).map_err(|_| BadSealKey)?;
    let (enc, ct) = ::hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeS::Base,
        &to,
        info,
        plaintext,
        aad,
        &mut Draw(entropy),
    )
    .map_err(|_| BadSealKey)?;
    Ok(Sealed { enc: enc.to_bytes().into(), ct })
}

/// `pt = OpenBase(enc, key, info, aad, ct)`. RFC 9180 section 6.1.
///
/// # Errors
/// [`NotOpened`], which does not say what was wrong.
///
/// # Panics
/// Where `info` is longer than 64 KiB; ours has a fixed, short form.
pub fn open(key: &SealSecretKey, sealed: &Sealed, info: &[u8], aad: &[u8]) -> Result<SecretBytes, NotOpened> {
    let enc = Deserializable::from_bytes(&sealed.enc).map_err(|_| NotOpened)?;
    ::hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &private(&key.secret),
        &enc,
        info,
        &sealed.ct,
        aad,
    )
    .map(SecretBytes::from)
    .map_err(|_| NotOpened)
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::MontgomeryPoint;

    use super::*;
    use crate::entropy::SeededEntropy;

    #[test]
    fn what_is_sealed_opens_with_its_key_info_and_aad_alone() {
        let entropy = SeededEntropy::new(1);
        let (mine, theirs) = (SealSecretKey::generate(&entropy), SealSecretKey::generate(&entropy));
        let sealed = seal(&mine.public(), b"info", b"aad", b"secret", &entropy).unwrap();
        assert_eq!(open(&mine, &sealed, b"info", b"aad").unwrap().expose(), b"secret");
        assert_eq!(open(&theirs, &sealed, b"info", b"aad").unwrap_err(), NotOpened);
        assert_eq!(open(&mine, &sealed, b"inf", b"aad").unwrap_err(), NotOpened);
        assert_eq!(open(&mine, &sealed, b"info", b"").unwrap_err(), NotOpened);
        for bit in 0..8 * (32 + sealed.ct.len()) {
            let mut changed = sealed.clone();
            let byte = bit / 8;
            *if byte < 32 { &mut changed.enc[byte] } else { &mut changed.ct[byte - 32] } ^= 1 << (bit % 8);
            assert_eq!(open(&mine, &changed, b"info", b"aad").unwrap_err(), NotOpened, "bit {bit}");
            assert_ne!(changed.digest(), sealed.digest());
        }
        let cut = Sealed { ct: sealed.ct[..15].to_vec(), ..sealed.clone() };
        assert_eq!(open(&mine, &cut, b"info", b"aad").unwrap_err(), NotOpened);
    }

    #[test]
    fn two_seals_share_nothing() {
        let entropy = SeededEntropy::new(2);
        let to = SealSecretKey::generate(&entropy).public();
        let (a, b) = (seal(&to, b"", b"", b"x", &entropy).unwrap(), seal(&to, b"", b"", b"x", &entropy).unwrap());
        assert!(a.enc != b.enc && a.ct != b.ct);
    }

    #[test]
    fn a_secret_key_leads_back_and_prints_its_public_half() {
        let key = SealSecretKey::generate(&SeededEntropy::new(3));
        assert_eq!(SealSecretKey::from_bytes(&key.to_bytes()).public(), key.public());
        assert!(!format!("{key:?}").contains(&base64url::encode(key.to_bytes().expose())));
    }

    #[test]
    fn a_derived_key_is_that_of_its_secret_and_purpose() {
        let secret = Secret::new([5; 32]);
        let key = SealSecretKey::derive(&secret, b"one");
        assert_eq!(key.public(), SealSecretKey::derive(&Secret::new([5; 32]), b"one").public());
        assert_ne!(key.public(), SealSecretKey::derive(&secret, b"two").public());
        assert_ne!(key.public(), SealSecretKey::derive(&Secret::new([6; 32]), b"one").public());
        assert_ne!(key.to_bytes().expose(), secret.expose());
    }

    #[test]
    fn exactly_the_points_of_small_order_give_a_known_secret() {
        for point in SMALL_ORDER {
            assert_eq!(MontgomeryPoint(point).mul_clamped([7; 32]).0, [0; 32]);
            assert_eq!(SealPublicKey::from_bytes(point), Err(BadSealKey));
        }
        // Small numbers and their negatives, where a mistake in the list would show, and the base point.
        for low in 2..200u8 {
            let mut bytes = [0; 32];
            bytes[0] = low;
            assert_ne!(MontgomeryPoint(bytes).mul_clamped([7; 32]).0, [0; 32]);
            assert!(SealPublicKey::from_bytes(bytes).is_ok(), "u = {low}");
            let mut negative = PRIME;
            negative[0] = negative[0].wrapping_sub(low);
            assert!(SealPublicKey::from_bytes(negative).is_ok(), "u = p - {low}");
        }
    }

    #[test]
    fn an_encoding_that_is_not_canonical_is_refused() {
        let mut high_bit = *SealSecretKey::generate(&SeededEntropy::new(4)).public().as_bytes();
        high_bit[31] |= 0x80;
        let mut above = PRIME;
        above[0] += 9;
        for bytes in [PRIME, above, high_bit, [0xff; 32]] {
            assert_eq!(SealKeyBytes::from_bytes(bytes).check(), Err(BadSealKey));
            let text = serde_json::to_string(&SealKeyBytes::from_bytes(bytes)).unwrap();
            // A statement reads it, and the check has its own refusal; the checked type does not.
            assert_eq!(serde_json::from_str::<SealKeyBytes>(&text).unwrap().as_bytes(), &bytes);
            assert!(serde_json::from_str::<SealPublicKey>(&text).is_err());
        }
    }
}
