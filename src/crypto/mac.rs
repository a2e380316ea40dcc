//! `tag = HMAC-SHA256(key, m)` (RFC 2104) under a key of any length that others chose. Who can check such a tag can make
//! one: it shows that a holder of the key wrote `m`, and not which.

use std::fmt;

use super::hash::Digest;
use super::primitive::hmac_sha256;
use crate::secret::SecretBytes;

/// A key that who writes and who checks both hold.
pub struct MacKey(SecretBytes);

impl MacKey {
    /// The key of these bytes; none where there are none, since anybody knows that key.
    #[must_use]
    pub fn new(bytes: SecretBytes) -> Option<MacKey> {
        (!bytes.expose().is_empty()).then_some(MacKey(bytes))
    }

    /// `HMAC-SHA256(key, parts[0] || parts[1] || ...)`.
    #[must_use]
    pub fn tag(&self, parts: &[&[u8]]) -> Digest {
        hmac_sha256(self.0.expose(), parts)
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231 section 4.3, whose key has four bytes, and 4.7, whose key is longer than a block.
    #[test]
    fn keys_of_any_length_give_the_tags_of_rfc_4231() {
        let tag = |key: &[u8], parts: &[&[u8]]| MacKey::new(key.to_vec().into()).unwrap().tag(parts);
        let hex = |digest: Digest| digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(
            hex(tag(b"Jefe", &[b"what do ya want ", b"for nothing?"])),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex(tag(&[0xaa; 131], &[b"Test Using Larger Than Block-Size Key - Hash Key First"])),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
        assert!(MacKey::new(Vec::new().into()).is_none());
    }
}
