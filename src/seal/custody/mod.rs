//! Custody of the root key: who can get at it. Each custodian is one way, and yields 32 secret bytes; from them an X25519
//! key is derived, and the root key is sealed to its public half. So whoever seals a new root key needs no custodian's
//! secret, and no custodian's secret is the root key itself.
//!
//! ```text
//! sk     = HKDF-SHA256(ikm = secret, salt = "", info = "nockvault/custody/v1", 32 bytes)      X25519
//! sealed = HPKE(to = public of sk, info = "nockvault/custody/v1", pt = root key,
//!               aad = JCS({"aud","kind","name","root","v":1}))                         root: the number of the root key
//! ```
//!
//! A record says how to come by the secret, and holds no part of it. It lies in the database and can be read before
//! anything is open, by whoever then proves that it is right: the root key opens the ring, or it does not. What is sealed
//! to a record's public key must have been verified as a row of the store before, which only an open ring can do.
//!
//! A vault of before there were custodians has one, whose secret is the root key itself, until that is rotated.
//!
//! - [`file`](mod@file): 32 bytes in a file
//! - `given`: those that the daemon's unit has as a credential, and those that a program prints
//! - `passphrase`: those that argon2id makes of one
//! - `shares`: those that several people have together
//! - `pkcs11`: those that a token computes
//! - [`purpose`]: what somebody gives one of them for

pub mod file;
#[cfg(feature = "daemon")]
pub mod given;
#[cfg(feature = "daemon")]
pub mod passphrase;
#[cfg(feature = "daemon")]
pub mod pkcs11;
pub mod purpose;
#[cfg(feature = "daemon")]
pub mod shares;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::file::CustodyFault;
use crate::base64url::Bytes;
use crate::crypto::aead::DataKey;
use crate::crypto::hpke::{self, NotOpened, SealPublicKey, SealSecretKey, Sealed};
use crate::crypto::json::canonical;
use crate::entropy::Entropy;
use crate::id::{Aud, CustodianName};
use crate::secret::Secret;
use crate::statement::custody::Kind;

const INFO: &[u8] = b"nockvault/custody/v1";
const VERSION: u64 = 1;

/// The number of the first root key, and of that of a vault of before there were custodians.
const FIRST: u64 = 1;

/// The key that opens the ring, and with it everything. Root keys are counted from 1; a rotation makes the next.
#[derive(Debug)]
pub struct RootKey {
    key: DataKey,
    epoch: u64,
}

impl RootKey {
    /// The first root key of a vault.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> RootKey {
        RootKey::after(0, entropy)
    }

    /// The root key after the one of this number.
    #[must_use]
    pub fn after(epoch: u64, entropy: &dyn Entropy) -> RootKey {
        RootKey { key: DataKey::generate(entropy), epoch: epoch + 1 }
    }

    /// The root key of a vault of before there were custodians: the secret itself.
    #[must_use]
    pub fn itself(secret: &CustodySecret) -> RootKey {
        let key = Secret::init(|key: &mut [u8; 32]| key.copy_from_slice(secret.expose()));
        RootKey { key: DataKey::from_bytes(key), epoch: FIRST }
    }

    /// Which root key it is.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn key(&self) -> &DataKey {
        &self.key
    }

    fn as_secret(&self) -> CustodySecret {
        CustodySecret::new(Secret::init(|secret: &mut [u8; 32]| secret.copy_from_slice(self.key.expose())))
    }
}

/// What a custodian yields: 32 bytes that nobody else has.
pub struct CustodySecret(Secret<[u8; 32]>);

impl CustodySecret {
    /// The secret of these bytes.
    #[must_use]
    pub fn new(bytes: Secret<[u8; 32]>) -> CustodySecret {
        CustodySecret(bytes)
    }

    /// A new secret.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> CustodySecret {
        CustodySecret(Secret::init(|secret: &mut [u8; 32]| entropy.fill(secret)))
    }

    /// The bytes, for whoever keeps them or carries them to the daemon.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    /// The public key that the root key is sealed to.
    #[must_use]
    pub fn public(&self) -> SealPublicKey {
        self.key().public()
    }

    fn key(&self) -> SealSecretKey {
        SealSecretKey::derive(&self.0, INFO)
    }
}

impl fmt::Debug for CustodySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustodySecret(..)")
    }
}

/// Who is to be a custodian: the record without a root key in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appointed {
    /// Its name.
    pub name: CustodianName,
    /// How it comes by its secret.
    pub kind: Kind,
    /// What the root key is sealed to.
    pub public: SealPublicKey,
}

impl Appointed {
    /// The custodian whose secret is the root key, as in a vault of before there were custodians.
    #[must_use]
    pub fn first(root: &RootKey) -> Appointed {
        Appointed { name: first_name(), kind: Kind::File, public: root.as_secret().public() }
    }

    /// Seals the root key to it. Whoever calls has drawn the public key from a row that verified, from a signed command, or
    /// from the secret itself.
    #[must_use]
    pub fn appoint(self, root: &RootKey, aud: &Aud, entropy: &dyn Entropy) -> Custodian {
        let aad = aad(aud, &self.name, &self.kind, root.epoch);
        let sealed = hpke::seal(&self.public, INFO, &aad, root.key.expose(), entropy)
            .expect("a checked public key gives a shared secret that is not zero");
        Custodian { who: self, root: root.epoch, held: Held::Sealed(sealed) }
    }
}

/// One way to get at the root key: what the record of it says. As JSON it is `{"kind","name","public","root","sealed"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Members", into = "Members")]
pub struct Custodian {
    /// Who it is.
    pub who: Appointed,
    /// The number of the root key that is sealed to it.
    pub root: u64,
    held: Held,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Held {
    /// The secret is the root key.
    Itself,
    /// The root key, sealed.
    Sealed(Sealed),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    kind: Kind,
    name: CustodianName,
    public: SealPublicKey,
    root: u64,
    sealed: Bytes,
}

impl TryFrom<Members> for Custodian {
    type Error = &'static str;

    fn try_from(members: Members) -> Result<Custodian, &'static str> {
        let Members { kind, name, public, root, sealed } = members;
        Custodian::from_stored(Appointed { name, kind, public }, root, &sealed.0).ok_or("nothing is sealed in it")
    }
}

impl From<Custodian> for Members {
    fn from(custodian: Custodian) -> Members {
        let sealed = Bytes(custodian.sealed());
        let Custodian { who: Appointed { name, kind, public }, root, .. } = custodian;
        Members { kind, name, public, root, sealed }
    }
}

#[derive(Serialize)]
struct Aad<'a> {
    aud: &'a Aud,
    kind: &'a Kind,
    name: &'a CustodianName,
    root: u64,
    v: u64,
}

fn aad(aud: &Aud, name: &CustodianName, kind: &Kind, root: u64) -> Vec<u8> {
    canonical(&Aad { aud, kind, name, root, v: VERSION })
}

impl Custodian {
    /// A record as it is stored: `enc || ct`, at least 32 bytes.
    #[must_use]
    pub fn from_stored(who: Appointed, root: u64, sealed: &[u8]) -> Option<Custodian> {
        let (enc, ct) = sealed.split_first_chunk::<32>()?;
        Some(Custodian { who, root, held: Held::Sealed(Sealed { enc: *enc, ct: ct.to_vec() }) })
    }

    /// The one custodian of a vault of before there were any. Its public key is not known before its secret is; the name
    /// and the kind are those that its migration gives it.
    #[must_use]
    pub fn before_custodians() -> Custodian {
        let public = CustodySecret::new(Secret::new([0; 32])).public();
        Custodian { who: Appointed { name: first_name(), kind: Kind::File, public }, root: FIRST, held: Held::Itself }
    }

    /// `enc || ct`; nothing for the custodian of a vault of before there were any.
    #[must_use]
    pub fn sealed(&self) -> Vec<u8> {
        match &self.held {
            Held::Itself => Vec::new(),
            Held::Sealed(sealed) => [&sealed.enc[..], &sealed.ct].concat(),
        }
    }

    /// Whether the secret may be this custodian's: that of the public key, or any for a vault of before custodians.
    #[must_use]
    pub fn fits(&self, secret: &CustodySecret) -> bool {
        self.held == Held::Itself || self.who.public == secret.public()
    }

    /// The root key, by the custodian's secret. It is believed once the ring opened with it.
    ///
    /// # Errors
    /// [`NotOpened`] where the secret is another one's, and where the record was changed.
    pub fn open(&self, aud: &Aud, secret: &CustodySecret) -> Result<RootKey, NotOpened> {
        let Held::Sealed(sealed) = &self.held else { return Ok(RootKey::itself(secret)) };
        let aad = aad(aud, &self.who.name, &self.who.kind, self.root);
        let key = hpke::open(&secret.key(), sealed, INFO, &aad)?;
        let key = Secret::from_slice(key.expose()).ok_or(NotOpened)?;
        Ok(RootKey { key: DataKey::from_bytes(key), epoch: self.root })
    }
}

/// The name of the first custodian where nobody chose one.
#[must_use]
pub fn first_name() -> CustodianName {
    "file".parse().expect("it is a name")
}

/// The root key, by a secret of one of these custodians.
///
/// # Errors
/// [`NotOpened`] where it is none of theirs.
pub fn open_any(
    custodians: &[Custodian],
    aud: &Aud,
    secret: &CustodySecret,
) -> Result<(CustodianName, RootKey), NotOpened> {
    let mut fitting = custodians.iter().filter(|custodian| custodian.fits(secret));
    let opened = fitting.find_map(|custodian| Some((custodian.who.name.clone(), custodian.open(aud, secret).ok()?)));
    opened.ok_or(NotOpened)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;
    use crate::id::Kid;

    fn aud(seed: u8) -> Aud {
        Aud::of_identity(&Kid::from_thumbprint(&[seed; 32]))
    }

    fn custodian(secret: &CustodySecret, root: &RootKey) -> Custodian {
        let who = Appointed { name: "file".parse().unwrap(), kind: Kind::File, public: secret.public() };
        who.appoint(root, &aud(1), &SeededEntropy::new(2))
    }

    #[test]
    fn a_custodian_opens_with_its_own_secret_and_as_it_was_written() {
        let entropy = SeededEntropy::new(1);
        let (secret, other) = (CustodySecret::generate(&entropy), CustodySecret::generate(&entropy));
        let root = RootKey::after(6, &entropy);
        let made = custodian(&secret, &root);
        let read = Custodian::from_stored(made.who.clone(), made.root, &made.sealed()).unwrap();
        assert_eq!(read, made);
        assert!(made.fits(&secret) && !made.fits(&other) && Custodian::before_custodians().fits(&other));
        let opened = read.open(&aud(1), &secret).unwrap();
        assert_eq!((opened.key.expose(), opened.epoch()), (root.key.expose(), 7));
        assert!(made.open(&aud(1), &other).is_err());
        assert!(made.open(&aud(2), &secret).is_err(), "it opened for another vault");
        assert!(Custodian { root: 8, ..made.clone() }.open(&aud(1), &secret).is_err(), "another number was taken");
        let who = Appointed { name: "elif".parse().unwrap(), ..made.who.clone() };
        assert!(Custodian { who, ..made.clone() }.open(&aud(1), &secret).is_err(), "another name was taken");
        let who = Appointed { kind: Kind::Command, ..made.who.clone() };
        assert!(Custodian { who, ..made.clone() }.open(&aud(1), &secret).is_err(), "another kind was taken");
        for at in 0..made.sealed().len() {
            let mut sealed = made.sealed();
            sealed[at] ^= 1;
            assert!(Custodian::from_stored(made.who.clone(), 7, &sealed).unwrap().open(&aud(1), &secret).is_err());
        }
        assert_eq!(Custodian::from_stored(made.who.clone(), 7, &made.sealed()[..31]), None);
    }

    #[test]
    fn a_secret_finds_its_custodian_among_several() {
        let entropy = SeededEntropy::new(3);
        let (one, two, stranger) =
            (CustodySecret::generate(&entropy), CustodySecret::generate(&entropy), CustodySecret::generate(&entropy));
        let root = RootKey::generate(&entropy);
        let second = Appointed { name: "two".parse().unwrap(), kind: Kind::Command, public: two.public() };
        let all = [custodian(&one, &root), second.appoint(&root, &aud(1), &entropy)];
        let (name, opened) = open_any(&all, &aud(1), &two).unwrap();
        assert_eq!((name.as_str(), opened.key.expose()), ("two", root.key.expose()));
        assert!(open_any(&all, &aud(1), &stranger).is_err());
        let (name, opened) = open_any(&[Custodian::before_custodians()], &aud(1), &stranger).unwrap();
        assert_eq!((name.as_str(), opened.key.expose()), ("file", stranger.expose()));
    }

    #[test]
    fn a_secret_shows_nothing() {
        let secret = CustodySecret::new(Secret::new([0xab; 32]));
        assert_eq!(format!("{secret:?}"), "CustodySecret(..)");
        assert!(!format!("{:?}", RootKey::itself(&secret)).contains("171"));
    }
}
