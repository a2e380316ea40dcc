//! `(ek || cm) = HKDF-SHA256(ikm = data key, salt = n, info = "nockvault/aead/v1" 0x00 || H(AAD), 64 bytes)` and
//! `ct = XChaCha20-Poly1305(ek, n, plaintext, AAD)`, with `AAD = JCS({"column","epoch","row","table","use","v","ver"})`.
//! RFC 5869, RFC 8439, draft-irtf-cfrg-xchacha.
//!
//! A [`Record`] opens only at the place it was sealed to: moved to another row, column or version, it stays shut. It
//! also commits to its key: `cm` is compared before anything is decrypted, so that no ciphertext opens under two keys.
//! Rows that are not secret but decide something carry a MAC under a [`MacKey`], bound to their place in the same way.

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::bytes::{fixed, free};
use super::hash::Digest;
use super::json::canonical;
use super::primitive::{hkdf_sha256, hmac_sha256, xchacha20poly1305_open, xchacha20poly1305_seal};
use crate::entropy::Entropy;
use crate::secret::{Secret, SecretBytes};

const VERSION: u64 = 1;
const ALGORITHM: &str = "XC20P-HC";
/// Above this, JSON's numbers are not exact, and two places would be written alike.
const EXACT: u64 = 1 << 53;

/// Nothing was opened: another key, another place, or changed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sealed bytes do not open with this key in this place")]
pub struct NotOpened;

/// A key of the ring that protects records.
#[derive(Debug)]
pub struct DataKey(Secret<[u8; 32]>);

impl DataKey {
    /// A new key.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> DataKey {
        DataKey(Secret::init(|key: &mut [u8; 32]| entropy.fill(key)))
    }

    /// The key of these bytes.
    #[must_use]
    pub fn from_bytes(bytes: Secret<[u8; 32]>) -> DataKey {
        DataKey(bytes)
    }

    /// The bytes, for whoever wraps the key.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// Whether it is the other one, found out in constant time.
    #[must_use]
    pub fn is_same(&self, other: &DataKey) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

/// Where a record stands, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Place<'a> {
    /// The table.
    pub table: &'a str,
    /// The column.
    pub column: &'a str,
    /// The row's key, as text.
    pub row: &'a str,
    /// What the record is for.
    #[serde(rename = "use")]
    pub purpose: &'a str,
    /// The version of the record at this place, below 2^53.
    pub ver: u64,
}

#[derive(Serialize)]
struct Aad<'a> {
    #[serde(flatten)]
    place: &'a Place<'a>,
    epoch: u64,
    v: u64,
}

/// A sealed value with all that opening needs but the key and the place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    v: u64,
    alg: String,
    epoch: u64,
    #[serde(with = "fixed")]
    n: [u8; 24],
    cm: Digest,
    #[serde(with = "free")]
    ct: Vec<u8>,
}

impl Record {
    /// The epoch of the data key that opens it.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The record as canonical JSON.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical(self)
    }

    /// Reads what [`Record::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`NotOpened`] where the bytes are not a record.
    pub fn from_bytes(bytes: &[u8]) -> Result<Record, NotOpened> {
        serde_json::from_slice(bytes).map_err(|_| NotOpened)
    }
}

/// `ek || cm`, and the AAD both are bound to.
fn derive(key: &DataKey, nonce: &[u8; 24], aad: &[u8]) -> (Zeroizing<[u8; 32]>, Digest) {
    let info = [b"nockvault/aead/v1\0".as_slice(), Digest::of(aad).as_bytes()].concat();
    let mut out = Zeroizing::new([0u8; 64]);
    hkdf_sha256(key.expose(), nonce, &info, out.as_mut()).expect("64 bytes are fewer than HKDF's 8160");
    let (mut ek, mut cm) = (Zeroizing::new([0u8; 32]), [0u8; 32]);
    ek.copy_from_slice(&out[..32]);
    cm.copy_from_slice(&out[32..]);
    (ek, Digest::from_bytes(cm))
}

/// Seals `plaintext` to its place under the data key of this epoch, with a fresh nonce.
///
/// # Panics
/// Where `epoch` or `place.ver` is not below 2^53; both count from 1.
#[must_use]
pub fn seal(key: &DataKey, epoch: u64, place: &Place<'_>, plaintext: &[u8], entropy: &dyn Entropy) -> Record {
    assert!(epoch < EXACT && place.ver < EXACT, "epochs and versions count from 1 and stay below 2^53");
    let n = entropy.bytes::<24>();
    let aad = canonical(&Aad { place, epoch, v: VERSION });
    let (ek, cm) = derive(key, &n, &aad);
    let ct = xchacha20poly1305_seal(&ek, &n, &aad, plaintext);
    Record { v: VERSION, alg: ALGORITHM.to_owned(), epoch, n, cm, ct }
}

/// Opens a record at its place.
///
/// # Errors
/// [`NotOpened`], which does not say whether the key, the place or the bytes were wrong.
pub fn open(key: &DataKey, place: &Place<'_>, record: &Record) -> Result<SecretBytes, NotOpened> {
    if record.v != VERSION || record.alg != ALGORITHM || record.epoch >= EXACT || place.ver >= EXACT {
        return Err(NotOpened);
    }
    let aad = canonical(&Aad { place, epoch: record.epoch, v: VERSION });
    let (ek, cm) = derive(key, &record.n, &aad);
    if !cm.same(&record.cm) {
        return Err(NotOpened);
    }
    xchacha20poly1305_open(&ek, &record.n, &aad, &record.ct)
}

/// `mac = HMAC-SHA256(mk, u64be(len P) || P || row)` with `P = JCS(place)` and
/// `mk = HKDF-SHA256(ikm = data key, salt = "", info = "nockvault/mac/v1" 0x00 || label, 32 bytes)`. RFC 2104, RFC 5869.
#[derive(Debug)]
pub struct MacKey(Secret<[u8; 32]>);

impl MacKey {
    /// The MAC key that belongs to a data key and a label.
    #[must_use]
    pub fn derive(data_key: &DataKey, label: &str) -> MacKey {
        let info = [b"nockvault/mac/v1\0".as_slice(), label.as_bytes()].concat();
        MacKey(Secret::init(|key: &mut [u8; 32]| {
            hkdf_sha256(data_key.expose(), &[], &info, key).expect("32 bytes are fewer than HKDF's 8160");
        }))
    }

    /// The MAC of a row's bytes at its place.
    ///
    /// # Panics
    /// Where `place.ver` is not below 2^53.
    #[must_use]
    pub fn mac(&self, place: &Place<'_>, row: &[u8]) -> Digest {
        assert!(place.ver < EXACT, "versions count from 1 and stay below 2^53");
        let place = canonical(place);
        hmac_sha256(self.0.expose(), &[&(place.len() as u64).to_be_bytes(), &place, row])
    }

    /// Whether `mac` is that of the row at this place; in constant time.
    #[must_use]
    pub fn verify(&self, place: &Place<'_>, row: &[u8], mac: &Digest) -> bool {
        place.ver < EXACT && self.mac(place, row).same(mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    const PLACE: Place<'_> = Place { table: "secrets", column: "value", row: "db/orders#3", purpose: "kv", ver: 3 };

    fn data_key() -> DataKey {
        DataKey::from_bytes(Secret::new(std::array::from_fn(|i| i as u8)))
    }

    /// Computed with a separate implementation from the formula alone.
    const RECORD: &str = concat!(
        r#"{"alg":"XC20P-HC","cm":"0VADvkX7AyWtSG95eJFLuqiTEStAupRmhZHliQ9OC68","#,
        r#""ct":"3Ogbh01TNIqdipvC3z1Of3o1irBwlASQfriYxpo","epoch":7,"n":"ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7","v":1}"#
    );

    fn elsewhere() -> [Place<'static>; 6] {
        [
            Place { table: "secret", ..PLACE },
            Place { column: "valu", ..PLACE },
            Place { row: "db/orders#4", ..PLACE },
            Place { purpose: "admin", ..PLACE },
            Place { ver: 2, ..PLACE },
            // The same letters, cut elsewhere.
            Place { table: "secretsvalue", column: "", ..PLACE },
        ]
    }

    #[test]
    fn the_known_answer_opens_and_is_written_alike() {
        let record = Record::from_bytes(RECORD.as_bytes()).unwrap();
        assert_eq!(open(&data_key(), &PLACE, &record).unwrap().expose(), b"correct horse");
        assert_eq!(record.to_bytes(), RECORD.as_bytes());
        assert_eq!(record.epoch(), 7);
    }

    #[test]
    fn a_record_opens_only_at_its_place() {
        let record = seal(&data_key(), 7, &PLACE, b"secret", &SeededEntropy::new(1));
        assert_eq!(open(&data_key(), &PLACE, &record).unwrap().expose(), b"secret");
        for place in elsewhere() {
            assert_eq!(open(&data_key(), &place, &record).unwrap_err(), NotOpened, "{place:?}");
        }
    }

    #[test]
    fn every_member_of_a_record_is_bound() {
        let key = data_key();
        let record = seal(&key, 7, &PLACE, b"secret", &SeededEntropy::new(1));
        let mut changed = [(); 6].map(|()| record.clone());
        changed[0].v = 2;
        changed[1].alg = "XC20P".into();
        changed[2].epoch = 8;
        changed[3].n[0] ^= 1;
        changed[4].cm = Digest::ZERO;
        changed[5].ct[0] ^= 1;
        for record in changed {
            assert_eq!(open(&key, &PLACE, &record).unwrap_err(), NotOpened, "{record:?}");
        }
        let other = DataKey::generate(&SeededEntropy::new(2));
        assert_eq!(open(&other, &PLACE, &record).unwrap_err(), NotOpened);
    }

    /// Poly1305 alone commits to no key: an attacker who knows two keys can make one ciphertext that opens under both.
    /// So a record must be refused by its commitment even where the inner cipher would open it.
    #[test]
    fn a_record_commits_to_its_key() {
        let (mine, theirs) = (data_key(), DataKey::generate(&SeededEntropy::new(2)));
        let record = seal(&mine, 7, &PLACE, b"secret", &SeededEntropy::new(1));
        let aad = canonical(&Aad { place: &PLACE, epoch: 7, v: VERSION });
        let (their_ek, their_cm) = derive(&theirs, &record.n, &aad);
        let inner = xchacha20poly1305_seal(&their_ek, &record.n, &aad, b"planted");
        let planted = Record { ct: inner, ..record.clone() };
        assert!(xchacha20poly1305_open(&their_ek, &planted.n, &aad, &planted.ct).is_ok());
        assert_eq!(open(&theirs, &PLACE, &planted).unwrap_err(), NotOpened);
        assert!(!their_cm.same(&record.cm));
    }

    #[test]
    fn each_seal_has_its_own_nonce() {
        let entropy = SeededEntropy::new(1);
        let (a, b) = (seal(&data_key(), 7, &PLACE, b"x", &entropy), seal(&data_key(), 7, &PLACE, b"x", &entropy));
        assert!(a.n != b.n && a.ct != b.ct && a.cm != b.cm);
    }

    #[test]
    fn a_mac_is_bound_to_key_label_place_and_row() {
        let key = MacKey::derive(&data_key(), "rows");
        let mac = key.mac(&PLACE, b"row bytes");
        // Computed with a separate implementation from the formula alone.
        assert_eq!(mac.to_string(), "yBxDDn33CTjVcZAhP-Ur7R6KkGPOlyhf_63bR6VUbG4");
        assert!(key.verify(&PLACE, b"row bytes", &mac));
        assert!(!key.verify(&PLACE, b"row byte", &mac));
        assert!(elsewhere().iter().all(|place| !key.verify(place, b"row bytes", &mac)));
        assert!(!key.verify(&Place { ver: EXACT + 3, ..PLACE }, b"row bytes", &mac));
        assert!(!MacKey::derive(&data_key(), "row").verify(&PLACE, b"row bytes", &mac));
        let other = DataKey::generate(&SeededEntropy::new(2));
        assert!(!MacKey::derive(&other, "rows").verify(&PLACE, b"row bytes", &mac));
    }

    #[test]
    fn keys_print_nothing() {
        assert_eq!(format!("{:?}", data_key()), "DataKey(Secret(..))");
        assert_eq!(format!("{:?}", MacKey::derive(&data_key(), "rows")), "MacKey(Secret(..))");
    }
}
