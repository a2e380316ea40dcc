//! `H(m) = SHA-256(m)` (FIPS 180-4), and the hashes of a Merkle tree (RFC 6962 section 2.1):
//! `leaf = H(0x00 || line)`, `node = H(0x01 || left || right)`. The prefixes keep a leaf from ever being read as a node.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use super::bytes::bytes_as_text;
use crate::base64url;

/// 32 bytes out of SHA-256 or HMAC-SHA256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// SHA-256 of bytes that come in parts.
#[derive(Clone, Default)]
pub struct Running(Sha256);

impl Running {
    /// Takes the next part.
    pub fn take(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    /// The digest of all that was taken.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(self.0.clone().finalize().into())
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Running(..)")
    }
}

bytes_as_text!(Digest, 43, "32 bytes of a SHA-256 as canonical base64url", |bytes| Ok(Digest(bytes)));

impl Digest {
    /// 32 zero bytes: where a chain begins, and where no history is held.
    pub const ZERO: Digest = Digest([0; 32]);

    /// `SHA-256(bytes)`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    /// `SHA-256(parts[0] || parts[1] || ...)`. The lengths are not hashed: whoever calls sees to it that the parts
    /// cannot be cut elsewhere.
    #[must_use]
    pub fn of_parts(parts: &[&[u8]]) -> Digest {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part);
        }
        Digest(hash.finalize().into())
    }

    /// These 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Digest {
        Digest(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether both are equal, in a time that does not say where they differ. For MACs and commitments; public digests
    /// are compared with `==`.
    #[must_use]
    pub fn same(&self, other: &Digest) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&base64url::encode(&self.0))
    }
}

impl std::str::FromStr for Digest {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Digest, &'static str> {
        base64url::decode_array(text).map(Digest).ok_or("not 32 bytes of canonical base64url")
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64url::encode(&self.0))
    }
}

/// `H(0x00 || line)`: the leaf of an audit line, without its LF. RFC 6962 section 2.1.
#[must_use]
pub fn leaf(line: &[u8]) -> Digest {
    Digest::of_parts(&[&[0x00], line])
}

/// `H(0x01 || left || right)`: an inner node. RFC 6962 section 2.1.
#[must_use]
pub fn node(left: &Digest, right: &Digest) -> Digest {
    Digest::of_parts(&[&[0x01], &left.0, &right.0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_sha_256() {
        // FIPS 180-4's example "abc".
        assert_eq!(Digest::of(b"abc").to_string(), "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0");
        assert_eq!(Digest::of_parts(&[b"a", b"", b"bc"]), Digest::of(b"abc"));
    }

    #[test]
    fn a_leaf_is_never_a_node() {
        let (left, right) = (Digest::of(b"l"), Digest::of(b"r"));
        let both = [left.as_bytes().as_slice(), right.as_bytes()].concat();
        assert_ne!(leaf(&both), node(&left, &right));
        assert_ne!(leaf(&both), Digest::of(&both));
        assert_ne!(node(&left, &right), node(&right, &left));
    }

    #[test]
    fn same_means_equal() {
        let a = Digest::of(b"a");
        for bit in 0..256 {
            let mut bytes = *a.as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!a.same(&Digest::from_bytes(bytes)), "bit {bit}");
        }
        assert!(a.same(&a.clone()));
    }

    #[test]
    fn in_json_a_digest_is_43_characters() {
        let text = serde_json::to_string(&Digest::ZERO).unwrap();
        assert_eq!(text, format!("\"{}\"", "A".repeat(43)));
        assert_eq!(serde_json::from_str::<Digest>(&text).unwrap(), Digest::ZERO);
        for bad in ["\"AAAA\"".to_owned(), format!("\"{}B\"", "A".repeat(42)), format!("\"{}=\"", "A".repeat(43))] {
            let error = serde_json::from_str::<Digest>(&bad).unwrap_err().to_string();
            assert!(!error.contains("AAAA"), "{error} quotes the value");
        }
    }
}
