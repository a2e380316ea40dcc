//! The ring: data keys by epoch, wrapped by the root key. A column is sealed with the newest of them and says which; a
//! row that decides carries a [`Mac`] under a key derived from the same data key. Both are bound to their [`Place`], so
//! that what is moved to another row, column or version is not accepted there.
//!
//! What the ring holds is one value that is exchanged as a whole, by the one who writes the store: a new key is known to
//! all before anything under it can be read, and an old one is forgotten after the last who may still read it. Who uses
//! the ring takes that value for the length of one operation; nobody waits for anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

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
    /// The epoch of the key that made it.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

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

/// The data keys at one moment.
#[derive(Debug)]
struct Keys {
    epochs: BTreeMap<u64, Arc<Epoch>>,
    current: u64,
    /// Epochs that are kept no more, and opened for those who began before.
    retired: BTreeSet<u64>,
}

impl Keys {
    fn current(&self) -> &Epoch {
        self.epochs.get(&self.current).expect("the current epoch is one of the ring's")
    }
}

/// The data keys that the vault holds.
#[derive(Debug)]
pub struct Ring(RwLock<Arc<Keys>>);

/// What a ring held at one moment.
#[derive(Clone, Debug)]
pub struct Held(Arc<Keys>);

impl Ring {
    fn of(epochs: BTreeMap<u64, Arc<Epoch>>) -> Option<Ring> {
        let current = *epochs.keys().next_back()?;
        Some(Ring(RwLock::new(Arc::new(Keys { epochs, current, retired: BTreeSet::new() }))))
    }

    /// A ring with one new key, of epoch 1.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Ring {
        let first = Arc::new(Epoch::of(DataKey::generate(entropy)));
        Ring::of(BTreeMap::from([(1, first)])).expect("it has a key")
    }

    /// Each data key that is kept wrapped by the root key, with its epoch.
    #[must_use]
    pub fn wrap(&self, root: &RootKey, entropy: &dyn Entropy) -> Vec<(u64, Vec<u8>)> {
        let keys = self.keys();
        let kept = keys.epochs.iter().filter(|(epoch, _)| !keys.retired.contains(epoch));
        let wrap = |(epoch, key): (&u64, &Arc<Epoch>)| {
            let row = epoch.to_string();
            let record = aead::seal(root.key(), root.epoch(), &wrapped_at(&row), key.data.expose(), entropy);
            (*epoch, record.to_bytes())
        };
        kept.map(wrap).collect()
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
            epochs.insert(*epoch, Arc::new(Epoch::of(DataKey::from_bytes(key))));
        }
        Ring::of(epochs).ok_or(NotOpened)
    }

    /// A ring of those epochs that one of these moments knew; none where they knew none.
    #[must_use]
    pub fn among(moments: &[Held], epochs: &[u64]) -> Option<Ring> {
        let known = |epoch: &u64| moments.iter().find_map(|held| Some((*epoch, Arc::clone(held.0.epochs.get(epoch)?))));
        Ring::of(epochs.iter().filter_map(known).collect())
    }

    /// Whether the newest key of that ring, as it was kept, is one of this one's.
    #[must_use]
    pub fn leads_on_from(&self, kept: &Ring) -> bool {
        let (ours, kept) = (self.keys(), kept.keys());
        ours.epochs.get(&kept.current).is_some_and(|key| key.data.is_same(&kept.current().data))
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn exchange(&self, keys: Arc<Keys>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// What it holds now.
    #[must_use]
    pub fn held(&self) -> Held {
        Held(self.keys())
    }

    /// Holds that again: what came since was not written.
    pub fn put_back(&self, held: Held) {
        self.exchange(held.0);
    }

    /// The epoch that everything new is of.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.keys().current
    }

    /// All epochs, oldest first.
    #[must_use]
    pub fn epochs(&self) -> Vec<u64> {
        self.keys().epochs.keys().copied().collect()
    }

    /// Draws the next data key, by which everything is sealed from here on. Gives its epoch. It is to be kept, wrapped,
    /// before anything is that it sealed.
    pub fn turn(&self, entropy: &dyn Entropy) -> u64 {
        let keys = self.keys();
        let (epoch, mut epochs) = (keys.current + 1, keys.epochs.clone());
        epochs.insert(epoch, Arc::new(Epoch::of(DataKey::generate(entropy))));
        self.exchange(Arc::new(Keys { epochs, current: epoch, retired: keys.retired.clone() }));
        epoch
    }

    /// Keeps the key of an older epoch no more: it opens what it sealed until it is forgotten, and is not wrapped again.
    pub fn retire(&self, epoch: u64) {
        let keys = self.keys();
        if epoch != keys.current {
            let mut retired = keys.retired.clone();
            retired.insert(epoch);
            self.exchange(Arc::new(Keys { epochs: keys.epochs.clone(), current: keys.current, retired }));
        }
    }

    /// Forgets the key of an older epoch. It is erased when the last who uses it is done.
    pub fn forget(&self, epoch: u64) {
        let keys = self.keys();
        let (mut epochs, mut retired) = (keys.epochs.clone(), keys.retired.clone());
        if epoch != keys.current && epochs.remove(&epoch).is_some() {
            retired.remove(&epoch);
            self.exchange(Arc::new(Keys { epochs, current: keys.current, retired }));
        }
    }

    /// The epoch that a sealed column names, whoever wrote it.
    #[must_use]
    pub fn epoch_of(record: &[u8]) -> Option<u64> {
        Record::from_bytes(record).ok().map(|record| record.epoch())
    }

    /// Seals a column to its place.
    #[must_use]
    pub fn seal(&self, place: &Place<'_>, plaintext: &[u8], entropy: &dyn Entropy) -> Vec<u8> {
        let keys = self.keys();
        aead::seal(&keys.current().data, keys.current, place, plaintext, entropy).to_bytes()
    }

    /// Opens a column at its place.
    ///
    /// # Errors
    /// [`NotOpened`], which does not say why.
    pub fn open(&self, place: &Place<'_>, record: &[u8]) -> Result<SecretBytes, NotOpened> {
        let record = Record::from_bytes(record)?;
        let keys = self.keys();
        let key = keys.epochs.get(&record.epoch()).ok_or(NotOpened)?;
        aead::open(&key.data, place, &record)
    }

    /// The MAC of a row at its place.
    #[must_use]
    pub fn mac(&self, place: &Place<'_>, row: &[u8]) -> Mac {
        let keys = self.keys();
        Mac { epoch: keys.current, tag: keys.current().rows.mac(place, row) }
    }

    /// Whether `mac` is that of the row at this place.
    #[must_use]
    pub fn verify(&self, place: &Place<'_>, row: &[u8], mac: &Mac) -> bool {
        self.keys().epochs.get(&mac.epoch).is_some_and(|key| key.rows.verify(place, row, &mac.tag))
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
    fn a_ring_that_turned_opens_what_was_before_until_it_forgets() {
        let entropy = SeededEntropy::new(3);
        let (root, ring) = (RootKey::generate(&entropy), Ring::generate(&entropy));
        let (record, mac) = (ring.seal(&place("a"), b"value", &entropy), ring.mac(&place("a"), b"row"));
        let before = ring.held();
        assert_eq!((ring.turn(&entropy), ring.epoch(), ring.epochs()), (2, 2, vec![1, 2]));
        let wrapped = ring.wrap(&root, &entropy);
        let (newer, newer_mac) = (ring.seal(&place("a"), b"value", &entropy), ring.mac(&place("a"), b"row"));
        assert_eq!((Ring::epoch_of(&record), Ring::epoch_of(&newer), newer_mac.epoch()), (Some(1), Some(2), 2));
        for both in [&ring, &Ring::unwrap(&root, &wrapped).unwrap()] {
            assert!(both.open(&place("a"), &record).is_ok() && both.open(&place("a"), &newer).is_ok());
            assert!(both.verify(&place("a"), b"row", &mac) && both.verify(&place("a"), b"row", &newer_mac));
        }
        ring.retire(2);
        ring.forget(2);
        assert_eq!((ring.epochs(), ring.wrap(&root, &entropy).len()), (vec![1, 2], 2), "the current key was forgotten");
        ring.retire(1);
        assert!(ring.open(&place("a"), &record).is_ok(), "it was forgotten while reads may be under way");
        assert_eq!(ring.wrap(&root, &entropy).iter().map(|(epoch, _)| *epoch).collect::<Vec<_>>(), [2]);
        ring.forget(1);
        assert!(ring.open(&place("a"), &record).is_err() && !ring.verify(&place("a"), b"row", &mac));
        let older = Ring::among(&[ring.held(), before.clone()], &[1]).unwrap();
        assert!(older.open(&place("a"), &record).is_ok() && older.open(&place("a"), &newer).is_err());
        assert!(Ring::among(&[ring.held()], &[1]).is_none());
        assert!(ring.leads_on_from(&Ring::unwrap(&root, &wrapped).unwrap()) && !ring.leads_on_from(&older));
        let stranger = Ring::generate(&entropy);
        stranger.turn(&entropy);
        assert!(!ring.leads_on_from(&stranger), "a key of the same number was taken for the same");
        ring.put_back(before);
        assert_eq!((ring.epoch(), ring.epochs()), (1, vec![1]));
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
