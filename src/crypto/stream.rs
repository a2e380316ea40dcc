//! `ck = HKDF-SHA256(ikm = file key, salt = "", info = "nockvault/stream/v1" 0x00 || H(head), 32 bytes)` and
//! `ct_i = XChaCha20-Poly1305(ck, n_i, p_i, "")` with `n_i = 15 zero bytes || last || u64be(i)`, where `last` is 1 for the
//! last chunk and 0 for the others. RFC 5869, RFC 8439, draft-irtf-cfrg-xchacha; the STREAM construction of Hoang,
//! Reyhanitabar, Rogaway and Vizár.
//!
//! A file key is drawn for one stream and never used for another, so that the chunks can be numbered. Each chunk but the
//! last has [`CHUNK`] bytes; the last has at least one, unless it is the only one. What opened is what was sealed, in its
//! order and behind its head; that it was all of it only the last chunk says.

use zeroize::Zeroizing;

use super::aead::{DataKey, NotOpened};
use super::hash::Digest;
use super::primitive::{hkdf_sha256, xchacha20poly1305_open, xchacha20poly1305_seal};
use crate::secret::SecretBytes;

/// How many bytes a chunk has before it is sealed.
pub const CHUNK: usize = 256 << 10;

/// How many more it has after it.
pub const TAG: usize = 16;

/// The key of a stream, and how far it is.
pub struct StreamKey {
    key: Zeroizing<[u8; 32]>,
    next: u64,
}

impl std::fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StreamKey(..)")
    }
}

impl StreamKey {
    /// The key of the stream that follows `head`, out of a file key that was drawn for it.
    #[must_use]
    pub fn derive(file_key: &DataKey, head: &[u8]) -> StreamKey {
        let info = [b"nockvault/stream/v1\0".as_slice(), Digest::of(head).as_bytes()].concat();
        let mut key = Zeroizing::new([0; 32]);
        hkdf_sha256(file_key.expose(), &[], &info, key.as_mut()).expect("32 bytes are fewer than HKDF's 8160");
        StreamKey { key, next: 0 }
    }

    fn nonce(&mut self, last: bool) -> [u8; 24] {
        let mut nonce = [0; 24];
        nonce[15] = u8::from(last);
        nonce[16..].copy_from_slice(&self.next.to_be_bytes());
        self.next += 1;
        nonce
    }

    /// Seals the next chunk.
    #[must_use]
    pub fn seal(&mut self, chunk: &[u8], last: bool) -> Vec<u8> {
        let nonce = self.nonce(last);
        xchacha20poly1305_seal(&self.key, &nonce, &[], chunk)
    }

    /// Opens the next chunk.
    ///
    /// # Errors
    /// [`NotOpened`] where it is another one, was changed, or is the last where `last` says that it is not, and the other
    /// way round.
    pub fn open(&mut self, chunk: &[u8], last: bool) -> Result<SecretBytes, NotOpened> {
        let nonce = self.nonce(last);
        xchacha20poly1305_open(&self.key, &nonce, &[], chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    fn keys() -> (StreamKey, StreamKey) {
        let key = DataKey::generate(&SeededEntropy::new(1));
        (StreamKey::derive(&key, b"head"), StreamKey::derive(&key, b"head"))
    }

    #[test]
    fn chunks_open_in_their_order_and_the_last_as_the_last() {
        let (mut sealing, mut opening) = keys();
        let sealed = [sealing.seal(b"one", false), sealing.seal(b"two", false), sealing.seal(b"three", true)];
        assert_eq!(sealed[0].len(), 3 + TAG);
        assert_eq!(opening.open(&sealed[0], false).unwrap().expose(), b"one");
        assert!(keys().1.open(&sealed[1], false).is_err(), "a chunk in another's place");
        assert!(keys().1.open(&sealed[0], true).is_err(), "a chunk that is not the last as the last");
        assert_eq!(opening.open(&sealed[1], false).unwrap().expose(), b"two");
        let mut cut = opening;
        assert!(cut.open(&sealed[2], false).is_err(), "the last as one that is not");
    }

    #[test]
    fn a_stream_opens_behind_its_own_head_alone() {
        let key = DataKey::generate(&SeededEntropy::new(1));
        let sealed = StreamKey::derive(&key, b"head").seal(b"one", true);
        assert!(StreamKey::derive(&key, b"heae").open(&sealed, true).is_err());
        let other = DataKey::generate(&SeededEntropy::new(2));
        assert!(StreamKey::derive(&other, b"head").open(&sealed, true).is_err());
        let mut changed = sealed.clone();
        changed[0] ^= 1;
        assert!(StreamKey::derive(&key, b"head").open(&changed, true).is_err());
        assert_eq!(format!("{:?}", StreamKey::derive(&key, b"head")), "StreamKey(..)");
    }
}
