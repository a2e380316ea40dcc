//! The seal of a reply: what an agent's session alone can open.
//!
//! HPKE base mode (RFC 9180) to the session's X25519 key, with the request and the header in `info`, so that a sealed
//! secret opens only as the answer to the request that asked for it. The plaintext is framed and padded:
//! `u32be length || secret || zeros` up to a multiple of 64 bytes, so that its length says little.

use serde::Serialize;
use zeroize::Zeroizing;

use crate::crypto::aead::NotOpened;
use crate::crypto::hash::Digest;
use crate::crypto::hpke::{self, SealPublicKey, SealSecretKey, Sealed};
use crate::denial::{Denial, Reason};
use crate::entropy::Entropy;
use crate::secret::SecretBytes;
use crate::statement::reply::{Hdr, seal_info};

const BLOCK: usize = 64;

/// Seals `secret` for the session that `hdr` names.
///
/// # Errors
/// [`Reason::SealKey`] where nothing can be sealed to that key.
pub fn seal(secret: &SecretBytes, hdr: &Hdr, to: &SealPublicKey, entropy: &dyn Entropy) -> Result<Sealed, Denial> {
    let plaintext = frame(secret.expose());
    hpke::seal(to, &seal_info(&hdr.req, hdr), &[], &plaintext, entropy).map_err(|_| Reason::SealKey.into())
}

/// Opens what [`seal`] made.
///
/// # Errors
/// [`NotOpened`] where key, request, header or bytes do not belong together, or the frame is broken.
pub fn open(key: &SealSecretKey, hdr: &Hdr, sealed: &Sealed) -> Result<SecretBytes, NotOpened> {
    open_as_signed(key, &hdr.req, hdr, sealed)
}

/// The same with the header as the vault signed it, which may have members that a later vault added.
///
/// # Errors
/// As [`open`].
pub fn open_as_signed(
    key: &SealSecretKey,
    req: &Digest,
    hdr: &impl Serialize,
    sealed: &Sealed,
) -> Result<SecretBytes, NotOpened> {
    let plaintext = hpke::open(key, sealed, &seal_info(req, hdr), &[])?;
    unframe(plaintext.expose()).map(|secret| SecretBytes::new(secret.to_vec())).ok_or(NotOpened)
}

fn frame(secret: &[u8]) -> Zeroizing<Vec<u8>> {
    let length = u32::try_from(secret.len()).expect("a secret is far smaller than 4 GiB");
    let whole = (4 + secret.len()).next_multiple_of(BLOCK);
    let mut plaintext = Zeroizing::new(Vec::with_capacity(whole));
    plaintext.extend_from_slice(&length.to_be_bytes());
    plaintext.extend_from_slice(secret);
    plaintext.resize(whole, 0);
    plaintext
}

fn unframe(plaintext: &[u8]) -> Option<&[u8]> {
    let (length, rest) = plaintext.split_first_chunk::<4>()?;
    let (secret, padding) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    (plaintext.len().is_multiple_of(BLOCK) && padding.len() < BLOCK && padding.iter().all(|b| *b == 0))
        .then_some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_with_members_of_a_later_vault_opens_as_it_was_signed() {
        let key = SealSecretKey::generate(&crate::entropy::SeededEntropy::new(3));
        let (req, hdr) = (Digest::of(b"request"), serde_json::json!({"a_later_member": 1, "role": "orders-read"}));
        let (info, entropy) = (seal_info(&req, &hdr), crate::entropy::SeededEntropy::new(4));
        let sealed = hpke::seal(&key.public(), &info, &[], &frame(b"secret"), &entropy).unwrap();
        assert_eq!(open_as_signed(&key, &req, &hdr, &sealed).unwrap().expose(), b"secret");
        assert!(open_as_signed(&key, &req, &serde_json::json!({"role": "orders-read"}), &sealed).is_err());
    }

    #[test]
    fn frames_are_whole_blocks_and_lead_back() {
        for length in [0, 1, 59, 60, 61, 124, 1000] {
            let secret = vec![7u8; length];
            let framed = frame(&secret);
            assert!(framed.len().is_multiple_of(BLOCK));
            assert_eq!(unframe(&framed), Some(secret.as_slice()));
        }
    }

    #[test]
    fn a_broken_frame_is_refused() {
        let framed = frame(b"secret").to_vec();
        let mut long = framed.clone();
        long[3] = 61;
        let mut dirty = framed.clone();
        dirty[63] = 1;
        let padded = [framed.clone(), vec![0; BLOCK]].concat();
        // A whole block of padding is one too many.
        let full = [frame(&[7; 60]).to_vec(), vec![0; BLOCK]].concat();
        for bad in [&framed[..63], &long, &dirty, &padded, &full, &[]] {
            assert_eq!(unframe(bad), None);
        }
    }
}
