//! The ring: data keys by epoch, wrapped by the root key. A column is sealed with the newest of them and says which; a
//! row that decides carries a [`Mac`] under a key derived from the same data key. Both are bound to their [`Place`], so
//! that what is moved to another row, column or version is not accepted there.

use std::collections::BTreeMap;
use std::fmt;

use super::custody::RootKey;
use crate::crypto::aead::{self, DataKey, MacKey, NotOpened, Place, Record};
use crate::crypto::hash::Digest;
use crate::entropy::Entropy;
use crate::secret::{Secret, SecretBytes};

/// What the MAC key is derived for.
const ROWS: &str = "rows";

/// The MAC of a row, and the epoch of the key that made it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mac {
    epoch: u64,
    tag: Digest,
}

impl Mac {
    /// `u64be(epoch) || tag`, as it stands beside the row.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 40] {
        let mut bytes = [0; 40];
        bytes[..8].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[8..].copy_from_slice(self.tag.as_bytes());
        bytes
    }

    /// Reads what [`Mac::to_bytes`] wrote.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Mac> {
        let (epoch, tag) = bytes.split_first_chunk::<8>()?;
        let tag = Digest::from_bytes(tag.try_into().ok()?);
        Some(Mac { epoch: u64::from_be_bytes(*epoch), tag })
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mac(epoch {})", self.epoch)
    }
}

/// One data key with the MAC key that belongs to it.
#[derive(Debug)]
struct Epoch {
    data: DataKey,
    rows: MacKey,
}

impl Epoch {
    fn of(data: DataKey) -> Epoch {
        let rows = MacKey::derive(&data, ROWS);
        Epoch { data, rows }
    }
}

/// The data keys that the vault holds.
#[derive(Debug)]
pub struct Ring {
    epochs: BTreeMap<u64, Epoch>,
    current: u64,
}

impl Ring {
    /// A ring with one new key, of epoch 1.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Ring {
        Ring { epochs: BTreeMap::from([(1, Epoch::of(DataKey::generate(entropy)))]), current: 1 }
    }

    /// Each data key wrapped by the root key, with its epoch.
    #[must_use]
    pub fn wrap(&self, root: &RootKey, entropy: &dyn Entropy) -> Vec<(u64, Vec<u8>)> {
        let wrap = |(epoch, key): (&u64, &Epoch)| {
            let row = epoch.to_string();
            let record = aead::seal(root.key(), root.epoch(), &wrapped_at(&row), key.data.expose(), entropy);
            (*epoch, record.to_bytes())
        };
        self.epochs.iter().map(wrap).collect()
    }

    /// Opens what [`Ring::wrap`] gave. The newest epoch is the current one.
    ///
    /// # Errors
    /// [`NotOpened`] where the root key is another one, where bytes were changed, and where there is no key at all.
    pub fn unwrap(root: &RootKey, wrapped: &[(u64, Vec<u8>)]) -> Result<Ring, NotOpened> {
        let mut epochs = BTreeMap::new();
        for (epoch, record) in wrapped {
            let record = Record::from_bytes(record)?;
            if record.epoch() != root.epoch() {
                return Err(NotOpened);
            }
            let key = aead::open(root.key(), &wrapped_at(&epoch.to_string()), &record)?;
            let key = Secret::from_slice(key.expose()).ok_or(NotOpened)?;
            epochs.insert(*epoch, Epoch::of(DataKey::from_bytes(key)));
        }
        let current = *epochs.keys().next_back().ok_or(NotOpened)?;
        Ok(Ring { epochs, current })
    }

    fn current(&self) -> &Epoch {
        self.epochs.get(&self.current).expect("the current epoch is one of the ring's")
    }

    /// Seals a column to its place.
    #[must_use]
    pub fn seal(&self, place: &Place<'_>, plaintext: &[u8], entropy: &dyn Entropy) -> Vec<u8> {
        aead::seal(&self.current().data, self.current, place, plaintext, entropy).to_bytes()
    }

    /// Opens a column at its place.
    ///
    /// # Errors
    /// [`NotOpened`], which does not say why.
    pub fn open(&self, place: &Place<'_>, record: &[u8]) -> Result<SecretBytes, NotOpened> {
        let record = Record::from_bytes(record)?;
        let key = self.epochs.get(&record.epoch()).ok_or(NotOpened)?;
        aead::open(&key.data, place, &record)
    }

    /// The MAC of a row at its place.
    #[must_use]
    pub fn mac(&self, place: &Place<'_>, row: &[u8]) -> Mac {
        Mac { epoch: self.current, tag: self.current().rows.mac(place, row) }
    }

    /// Whether `mac` is that of the row at this place.
    #[must_use]
    pub fn verify(&self, place: &Place<'_>, row: &[u8], mac: &Mac) -> bool {
        self.epochs.get(&mac.epoch).is_some_and(|key| key.rows.verify(place, row, &mac.tag))
    }
}

fn wrapped_at(row: &str) -> Place<'_> {
    Place { table: "ring", column: "key", row, purpose: "data_key", ver: 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    fn place(row: &str) -> Place<'_> {
        Place { table: "secrets", column: "sealed", row, purpose: "kv", ver: 1 }
    }

    #[test]
    fn a_ring_comes_back_under_its_own_root_key_only() {
        let entropy = SeededEntropy::new(1);
        let (root, other) = (RootKey::generate(&entropy), RootKey::generate(&entropy));
        let ring = Ring::generate(&entropy);
        let record = ring.seal(&place("a"), b"value", &entropy);
        let wrapped = ring.wrap(&root, &entropy);
        let again = Ring::unwrap(&root, &wrapped).unwrap();
        assert_eq!(again.open(&place("a"), &record).unwrap().expose(), b"value");
        assert!(again.open(&place("b"), &record).is_err(), "it opened at another place");
        assert!(Ring::unwrap(&other, &wrapped).is_err());
        assert!(Ring::unwrap(&root, &[]).is_err());
        assert!(Ring::unwrap(&root, &[(2, wrapped[0].1.clone())]).is_err(), "a key of another epoch was taken");
    }

    #[test]
    fn a_mac_holds_for_its_row_at_its_place() {
        let ring = Ring::generate(&SeededEntropy::new(2));
        let mac = ring.mac(&place("a"), b"row");
        assert_eq!(Mac::from_slice(&mac.to_bytes()), Some(mac));
        assert!(ring.verify(&place("a"), b"row", &mac));
        assert!(!ring.verify(&place("a"), b"rou", &mac));
        assert!(!ring.verify(&place("b"), b"row", &mac));
        let mut of_no_epoch = mac.to_bytes();
        of_no_epoch[7] = 9;
        assert!(!ring.verify(&place("a"), b"row", &Mac::from_slice(&of_no_epoch).unwrap()));
        assert_eq!(Mac::from_slice(&mac.to_bytes()[1..]), None);
    }
}
