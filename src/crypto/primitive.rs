//! The bare functions that [`super::aead`] is built of, in one place, so that the published vectors run against the
//! very code that the vault runs. Nothing but [`super::aead`], [`super::hpke`], [`super::mac`], [`super::stream`] and the
//! vectors calls them: they know no place and commit to no key.

use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::aead::NotOpened;
use super::hash::Digest;
use crate::secret::SecretBytes;

/// More output than 255 hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("HKDF-SHA256 gives at most 8160 bytes")]
pub struct TooLong;

/// `OKM = HKDF-Expand(HKDF-Extract(salt, ikm), info, len out)` with SHA-256. RFC 5869.
///
/// # Errors
/// [`TooLong`] where more than 8160 bytes are asked for.
pub fn hkdf_sha256(ikm: &[u8], salt: &[u8], info: &[u8], out: &mut [u8]) -> Result<(), TooLong> {
    Hkdf::<Sha256>::new(Some(salt), ikm).expand(info, out).map_err(|_| TooLong)
}

/// `HMAC-SHA256(key, parts[0] || parts[1] || ...)`. RFC 2104.
#[must_use]
pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> Digest {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    Digest::from_bytes(mac.finalize().into_bytes().into())
}

/// `ct || tag = XChaCha20-Poly1305(key, nonce, plaintext, aad)`. RFC 8439 with the extended nonce of
/// draft-irtf-cfrg-xchacha.
#[must_use]
pub fn xchacha20poly1305_seal(key: &[u8; 32], nonce: &[u8; 24], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    XChaCha20Poly1305::new(key.into())
        .encrypt(nonce.into(), Payload { msg: plaintext, aad })
        .expect("a record is far below the cipher's 256 GiB")
}

/// The reverse of [`xchacha20poly1305_seal`].
///
/// # Errors
/// [`NotOpened`] where the tag does not fit.
pub fn xchacha20poly1305_open(
    key: &[u8; 32],
    nonce: &[u8; 24],
    aad: &[u8],
    ciphertext: &[u8],
) -> Result<SecretBytes, NotOpened> {
    XChaCha20Poly1305::new(key.into())
        .decrypt(nonce.into(), Payload { msg: ciphertext, aad })
        .map(SecretBytes::from)
        .map_err(|_| NotOpened)
}
