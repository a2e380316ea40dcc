//! Writes and signs one certificate: whose it is, as whom, from when to when, and what it allows. All of it comes from
//! the permit and the role; of the request there is the key, and the choice among the role's principals.

use ssh_key::certificate::{Builder, CertType};
use ssh_key::public::{Ed25519PublicKey, KeyData};

use super::super::Mint;
use super::authority::Authority;
use super::internal;
use super::role::{Config, Wanted};
use crate::denial::Denial;
use crate::id::LeaseId;
use crate::time::Seconds;

/// How much earlier than it was signed a certificate begins, for hosts whose clocks are behind.
pub const BACKDATED: Seconds = Seconds(60);

/// The serial number of the certificate under a lease: the last 62 bits of its UUID, all of them random (`rand_b` of
/// RFC 9562 section 5.7), and 1 in place of 0, which OpenSSH reads as "no number". It stays below 2^62, so that it fits
/// where others keep signed numbers.
#[must_use]
pub fn serial(lease: &LeaseId) -> u64 {
    let number = u128::from_be_bytes(lease.bytes()) & ((1 << 62) - 1);
    u64::try_from(number).expect("62 bits fit in 64").max(1)
}

/// The certificate's line: `ssh-ed25519-cert-v01@openssh.com BASE64`.
pub(super) fn sign(
    authority: &Authority,
    config: &Config,
    wanted: &Wanted<'_>,
    key: Ed25519PublicKey,
    mint: &Mint<'_>,
    nonce: [u8; 32],
) -> Result<String, Denial> {
    let begins = mint.permit.issued().minus(BACKDATED).whole_seconds();
    let ends = mint.permit.expires().whole_seconds();
    let mut certificate = Builder::new(nonce, KeyData::Ed25519(key), begins, ends).map_err(internal)?;
    certificate.serial(serial(mint.permit.lease())).map_err(internal)?;
    certificate.cert_type(CertType::User).map_err(internal)?;
    certificate.key_id(mint.handle).map_err(internal)?;
    // The builder refuses to sign where this loop ran not once: no principals would mean all of them.
    for name in &wanted.principals {
        certificate.valid_principal(*name).map_err(internal)?;
    }
    for (name, value) in config.critical_options.pairs() {
        certificate.critical_option(name, value).map_err(internal)?;
    }
    for extension in &config.extensions {
        certificate.extension(extension.as_str(), "").map_err(internal)?;
    }
    certificate.sign(authority.key()).and_then(|signed| signed.to_openssh()).map_err(internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_is_the_random_end_of_the_lease_and_never_zero() {
        let of = |text: &str| serial(&text.parse().unwrap());
        assert_eq!(of("0198c0de-0000-7fff-8000-000000000000"), 1);
        assert_eq!(of("0198c0de-0000-7fff-8000-000000000001"), 1);
        assert_eq!(of("0198c0de-0000-7fff-bfff-ffffffffffff"), (1 << 62) - 1);
        assert_eq!(of("0198c0de-0000-7fff-8123-456789abcdef"), 0x0123_4567_89ab_cdef);
        assert_eq!(serial(&LeaseId::new(7, [5; 10])), serial(&LeaseId::new(9, [5; 10])));
    }
}
