//! The list of revoked certificates, in OpenSSH's binary form
//! (<https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.krl>).
//!
//! ```text
//! list    = "SSHKRL\n\0" || u32(1) || u64(version) || u64(seconds) || u64(0) || str("") || str(comment) || section*
//! section = 0x01 || str( str(authority's key) || str("") || 0x20 || str(u64(serial)*) )
//! str(s)  = u32(len s) || s            (numbers big-endian)
//! ```
//! The version is the time in milliseconds, so that a later list has the greater one. What is revoked stands in it
//! twice: under the key of the authority, and under no key, which means any. The second is for certificates that an
//! earlier key of the same authority signed and that hosts still take while it is changed; serial numbers are 62 random
//! bits, so that no certificate of somebody else's authority is meant by chance.
//!
//! Certificates are named by their serial numbers alone. The format could name key ids too, but those hold agents' names,
//! and whoever can fetch the list would read them; and since serial number and key id follow from the same lease, they
//! would revoke nothing more. Serial numbers are sorted, so that the same revocations at the same time give the same
//! bytes.
//!
//! The list is not signed. The format has room for a signature, but `sshd` never asked for one when it reads
//! `RevokedKeys`, so that a signature would protect nobody.

use std::collections::BTreeSet;

use super::super::ca::Ended;
use super::certificate::serial;
use crate::denial::{Denial, Reason};
use crate::time::Timestamp;

const MAGIC: &[u8; 8] = b"SSHKRL\n\0";
const FORMAT: u32 = 1;
const SECTION_CERTIFICATES: u8 = 1;
const SERIAL_LIST: u8 = 0x20;
/// With more, the file outgrows what OpenSSH reads (128 MiB).
const ENTRIES_MAX: usize = 4_000_000;

/// The list of what `ended`, for the authority whose public key has this blob.
pub(super) fn list(authority: &[u8], ended: &[Ended], now: Timestamp) -> Result<Vec<u8>, Denial> {
    if ended.len() > ENTRIES_MAX {
        let detail = format!("ssh: {} certificates are revoked, and hosts read at most {ENTRIES_MAX}", ended.len());
        return Err(Denial::new(Reason::Internal).internal(detail));
    }
    let serials: BTreeSet<u64> = ended.iter().map(|ended| serial(&ended.lease)).collect();
    let mut list = Wire::default();
    list.raw(MAGIC).u32(FORMAT).u64(now.0).u64(now.whole_seconds()).u64(0).string(b"").string(b"nockvault");
    if !serials.is_empty() {
        list.section(authority, &serials).section(b"", &serials);
    }
    Ok(list.0)
}

/// The binary forms of RFC 4251 section 5.
#[derive(Default)]
struct Wire(Vec<u8>);

impl Wire {
    fn raw(&mut self, bytes: &[u8]) -> &mut Wire {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u32(&mut self, number: u32) -> &mut Wire {
        self.raw(&number.to_be_bytes())
    }

    fn u64(&mut self, number: u64) -> &mut Wire {
        self.raw(&number.to_be_bytes())
    }

    fn string(&mut self, bytes: &[u8]) -> &mut Wire {
        self.u32(u32::try_from(bytes.len()).expect("a list has at most ENTRIES_MAX numbers")).raw(bytes)
    }

    fn section(&mut self, authority: &[u8], serials: &BTreeSet<u64>) -> &mut Wire {
        let (mut numbers, mut inner) = (Wire::default(), Wire::default());
        for serial in serials {
            numbers.u64(*serial);
        }
        inner.string(authority).string(b"").raw(&[SERIAL_LIST]).string(&numbers.0);
        self.raw(&[SECTION_CERTIFICATES]).string(&inner.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::LeaseId;

    fn ended(random: u8) -> Ended {
        let lease = LeaseId::new(1, [random; 10]);
        Ended { lease, handle: "nv_kit_0".into(), ended: Timestamp(1), expires: Timestamp(2) }
    }

    #[test]
    fn the_same_revocations_give_the_same_bytes_in_any_order() {
        let list = |ended: &[Ended]| list(b"key", ended, Timestamp(1_780_511_400_123)).unwrap();
        assert_eq!(list(&[ended(1), ended(2)]), list(&[ended(2), ended(1), ended(2)]));
        assert_ne!(list(&[ended(1)]), list(&[ended(2)]));
        let empty = list(&[]);
        assert_eq!((&empty[..8], empty.len()), (&MAGIC[..], 8 + 4 + 3 * 8 + 4 + 4 + "nockvault".len()));
    }

    #[test]
    fn no_handle_stands_in_the_list() {
        let bytes = list(b"key", &[ended(1)], Timestamp(5)).unwrap();
        assert!(!bytes.windows(3).any(|part| part == b"nv_" || part == b"kit"));
    }
}
