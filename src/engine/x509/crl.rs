//! The list of revoked certificates (CRL version 2, RFC 5280 section 5), in DER. It lists the leases that ended before
//! their time by the serial numbers that follow from them, says when it was made and that the next one comes within
//! [`NEXT`], and is numbered by the milliseconds at which it was made, so that numbers rise as long as the clock does.
//! No reason is given: RFC 5280 section 5.3.1 wants none where it would be "unspecified".

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::authority::Authority;
use super::instant;
use crate::denial::{Denial, Reason};
use crate::engine::ca::Ended;
use crate::time::{Seconds, Timestamp};

/// How long after a list the next one is promised.
const NEXT: Seconds = Seconds(86_400);

/// The list, signed.
pub(super) fn signed(authority: &Authority, ended: &[Ended], now: Timestamp) -> Result<Vec<u8>, Denial> {
    let mut revoked_certs = Vec::with_capacity(ended.len());
    for one in ended {
        // Under a clock that was ahead it ended later than now, and a peer may wait for a date that is to come.
        let ended = one.ended.min(now);
        revoked_certs.push(RevokedCertParams {
            serial_number: SerialNumber::from_slice(&one.lease.bytes()),
            revocation_time: instant(ended.whole_seconds())?.to_datetime(),
            reason_code: None,
            invalidity_date: None,
        });
    }
    let list = CertificateRevocationListParams {
        this_update: instant(now.whole_seconds())?.to_datetime(),
        next_update: instant(now.plus(NEXT).whole_seconds())?.to_datetime(),
        crl_number: SerialNumber::from(now.0),
        issuing_distribution_point: None,
        revoked_certs,
        key_identifier_method: KeyIdMethod::PreSpecified(authority.key_identifier()?),
    };
    let list = list.signed_by(&authority.issuer()?).map_err(|why| Denial::new(Reason::Internal).internal(why))?;
    Ok(list.der().to_vec())
}

/// Whether a list of this authority names its issuer with exactly these bytes.
pub(super) fn repeats_name(authority: &Authority, name: &[u8], now: Timestamp) -> bool {
    signed(authority, &[], now).is_ok_and(|der| {
        CertificateRevocationList::from_der(&der).is_ok_and(|(_, list)| list.issuer().as_raw() == name)
    })
}
