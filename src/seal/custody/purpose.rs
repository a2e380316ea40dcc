//! What somebody gives a custodian's secret for. It is part of the seal in which the secret, or a share of it, travels to
//! the daemon: what was given for one thing serves for no other, and what was given for one new operator for no other one.
//!
//! ```text
//! info = "nockvault-custody-v1" 0x00 || "unseal" || 0x00 || custodian
//! info = "nockvault-custody-v1" 0x00 || "recover" || 0x00 || custodian || 0x00 || H(PAE of the register statement)
//! ```
//!
//! HPKE (RFC 9180) keeps the two apart, since neither a purpose nor the name of a custodian holds a zero byte.

use crate::crypto::hash::Digest;

/// What a contribution is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// To unseal the vault.
    Unseal,
    /// To make an operator of whom this register statement names.
    Recover(Digest),
}

impl Purpose {
    /// The HPKE `info` of a contribution to this custodian.
    #[must_use]
    pub fn info(&self, custodian: &str) -> Vec<u8> {
        let (word, digest) = match self {
            Purpose::Unseal => ("unseal", None),
            Purpose::Recover(register) => ("recover", Some(register.as_bytes())),
        };
        let mut info = [b"nockvault-custody-v1\0", word.as_bytes(), b"\0", custodian.as_bytes()].concat();
        if let Some(digest) = digest {
            info.push(0);
            info.extend(digest);
        }
        info
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_purpose_has_its_own_info() {
        let register = Digest::from_bytes([7; 32]);
        assert_eq!(Purpose::Unseal.info("ops"), b"nockvault-custody-v1\0unseal\0ops");
        let recover = [&b"nockvault-custody-v1\0recover\0ops\0"[..], &[7; 32]].concat();
        assert_eq!(Purpose::Recover(register).info("ops"), recover);
        let another = Purpose::Recover(Digest::from_bytes([8; 32]));
        assert_ne!(another.info("ops"), recover);
        assert_ne!(Purpose::Recover(register).info(""), recover);
    }
}
