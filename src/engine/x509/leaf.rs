//! The certificate of a session. Everything in it comes from the role, the permit and the lease; of what the session
//! brought there is only its public key, and DNS names that the role allows.

use rcgen::{
    CertificateParams, CrlDistributionPoint, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    PublicKeyData, SanType, SerialNumber,
};

use super::authority::{Authority, Life};
use super::role::{Config, Usage};
use super::{BACKDATED, instant};
use crate::denial::{Denial, Reason};
use crate::engine::Mint;
use crate::time::{Seconds, Timestamp};

/// What a certificate says, apart from its key.
pub(super) struct Leaf<'a> {
    /// Its role.
    pub(super) config: &'a Config,
    /// For whom.
    pub(super) mint: &'a Mint<'a>,
    /// The session's identity, where the role has a trust domain.
    pub(super) spiffe_id: Option<&'a str>,
    /// The names it asked for and may have.
    pub(super) dns: &'a [String],
}

/// A certificate's life.
#[derive(Clone, Copy)]
pub(super) struct Span {
    /// The first second of it.
    not_before: u64,
    /// The last second of it: what `notAfter` names is part of the life (RFC 5280 section 4.1.2.5), though not every
    /// verifier gives it.
    not_after: u64,
}

impl Span {
    /// From a little before the issue to the last whole second of the lease, within the life of the authority.
    pub(super) fn of(mint: &Mint<'_>, authority: &Life) -> Result<Span, Denial> {
        let (issued, expires) = (mint.permit.issued(), mint.permit.expires());
        if authority.ends < issued.whole_seconds() {
            let detail = "the certificate of the authority behind this role has expired";
            return Err(Denial::new(Reason::SecretExpired).limit(0).detail(detail));
        }
        Ok(Span {
            not_before: issued.minus(BACKDATED).whole_seconds().max(authority.begins),
            not_after: expires.whole_seconds().saturating_sub(1).min(authority.ends),
        })
    }

    /// The instant from which the certificate is refused.
    pub(super) fn until(self) -> Timestamp {
        Timestamp::ZERO.plus(Seconds(self.not_after + 1))
    }
}

impl Leaf<'_> {
    /// The certificate over `key`, in DER.
    pub(super) fn signed(&self, key: &impl PublicKeyData, span: Span, by: &Authority) -> Result<Vec<u8>, Denial> {
        let internal = |why: rcgen::Error| Denial::new(Reason::Internal).internal(why);
        let mut leaf = CertificateParams::default();
        leaf.serial_number = Some(SerialNumber::from_slice(&self.mint.permit.lease().bytes()));
        leaf.not_before = instant(span.not_before)?.to_datetime();
        leaf.not_after = instant(span.not_after)?.to_datetime();
        leaf.distinguished_name = DistinguishedName::new();
        if let Some(organisation) = &self.config.organisation {
            leaf.distinguished_name.push(DnType::OrganizationName, organisation.as_str());
        }
        leaf.distinguished_name.push(DnType::CommonName, self.mint.handle);
        if let Some(uri) = self.spiffe_id {
            leaf.subject_alt_names.push(SanType::URI(uri.try_into().map_err(internal)?));
        }
        for name in self.dns {
            leaf.subject_alt_names.push(SanType::DnsName(name.as_str().try_into().map_err(internal)?));
        }
        leaf.is_ca = IsCa::ExplicitNoCa;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = self.config.usage.iter().map(|usage| usage.purpose()).collect();
        leaf.use_authority_key_identifier_extension = true;
        let lists = self.config.crl.iter().map(|url| CrlDistributionPoint { uris: vec![url.clone()] });
        leaf.crl_distribution_points = lists.collect();
        Ok(leaf.signed_by(key, &by.issuer()?).map_err(internal)?.der().to_vec())
    }
}

impl Usage {
    fn purpose(self) -> ExtendedKeyUsagePurpose {
        match self {
            Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
            Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
        }
    }
}
