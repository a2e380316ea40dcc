//! The next line of a chain: `leaf = H(0x00 || line)`, `prev` = leaf of the line before (FORMATS section 5).
//!
//! [`append`] is pure: it takes the [`Head`] that is, and gives the line and the head that will be. The caller makes both
//! durable together, and goes on from the new head only when they are.

use std::fmt;

use super::certificate::{self, BadCert, Life, certify_key};
use super::entry::{self, Body, Origin};
use super::line::Draft;
use super::tree::Tree;
use crate::crypto::envelope::Embedded;
use crate::crypto::hash::{Digest, leaf};
use crate::crypto::signature::{PublicKey, SigningKey};
use crate::id::{Aud, ChainName, Kid, VaultName};
use crate::statement::cert::KeyRole;
use crate::statement::reply::EntryRef;
use crate::statement::request::Seen;
use crate::time::Timestamp;

/// The key that signs entries for one epoch. It lives in memory alone and is erased with it, so that a thief forges from
/// now on and not backwards.
pub struct AuditKey {
    key: SigningKey,
    kid: Kid,
    cert: Embedded,
    life: Life,
}

impl AuditKey {
    /// The key with a certificate of the identity key.
    #[must_use]
    pub fn certify(
        key: SigningKey,
        identity: &SigningKey,
        aud: &Aud,
        node: &str,
        epoch: u64,
        nbf: Timestamp,
        exp: Timestamp,
    ) -> AuditKey {
        let (life, pk) = (Life { nbf, exp }, key.public().to_bytes());
        let cert = certificate::cert_of(KeyRole::Audit, pk, key.kid(), aud, node, epoch, life);
        AuditKey { cert: certify_key(identity, &cert), kid: key.kid(), key, life }
    }

    /// Its identifier.
    #[must_use]
    pub fn kid(&self) -> &Kid {
        &self.kid
    }

    /// Its certificate.
    #[must_use]
    pub fn cert(&self) -> &Embedded {
        &self.cert
    }

    /// It signs entries from this on.
    #[must_use]
    pub fn nbf(&self) -> Timestamp {
        self.life.nbf
    }

    /// It signs entries before this.
    #[must_use]
    pub fn exp(&self) -> Timestamp {
        self.life.exp
    }
}

impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuditKey({})", self.kid())
    }
}

/// The key that signs checkpoints. It is kept at rest, unlike audit keys: a checkpoint is worth something because others
/// have it, whatever becomes of its key.
pub struct CheckpointKey {
    key: SigningKey,
    cert: Embedded,
    life: Life,
}

impl CheckpointKey {
    /// The key of this certificate, which `identity` gave it.
    ///
    /// # Errors
    /// [`BadCert`]; [`BadCert::Key`] also where the certificate is of another key.
    pub fn new(key: SigningKey, cert: Embedded, identity: &PublicKey) -> Result<CheckpointKey, BadCert> {
        let (opened, public) = certificate::open_signer(&cert, KeyRole::Checkpoint, identity)?;
        if public != key.public() {
            return Err(BadCert::Key);
        }
        Ok(CheckpointKey { life: certificate::life(&opened), key, cert })
    }

    /// The key itself.
    #[must_use]
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Its certificate.
    #[must_use]
    pub fn cert(&self) -> &Embedded {
        &self.cert
    }

    /// When it signs.
    #[must_use]
    pub fn life(&self) -> Life {
        self.life
    }
}

impl fmt::Debug for CheckpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckpointKey({})", self.key.kid())
    }
}

/// The newest state of a chain: all that is needed to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Where the chain comes from.
    pub origin: String,
    /// How many entries it has.
    pub size: u64,
    /// The leaf of the newest; 32 zero bytes where there is none.
    pub leaf: Digest,
    /// The `ts` of the newest.
    pub ts: Timestamp,
    /// The audit key of the newest.
    pub kid: Option<Kid>,
    /// The chain as a Merkle tree.
    pub tree: Tree,
}

impl Head {
    /// A chain without entries.
    #[must_use]
    pub fn empty(vault: &VaultName, chain: &ChainName) -> Head {
        Head {
            origin: entry::origin(vault, chain),
            size: 0,
            leaf: Digest::ZERO,
            ts: Timestamp::ZERO,
            kid: None,
            tree: Tree::default(),
        }
    }

    /// The state as an agent holds it.
    #[must_use]
    pub fn seen(&self) -> Seen {
        Seen { head: self.leaf, size: self.size }
    }

    /// The newest entry; none in a chain without entries.
    #[must_use]
    pub fn entry(&self) -> Option<EntryRef> {
        self.size.checked_sub(1).map(|seq| EntryRef { leaf: self.leaf, seq })
    }

    /// The `ts` that an entry gets which `key` signs at `now`: never before the entry before it, nor before the key is
    /// good. What decides whether the entry may be written is judged at this instant, since a verifier knows no other.
    #[must_use]
    pub fn stamp(&self, key: &AuditKey, now: Timestamp) -> Timestamp {
        now.max(self.ts).max(key.nbf())
    }
}

/// Why there is no next line. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAppended {
    /// The line would be longer than a line may be.
    #[error("the entry has {bytes} bytes, over the limit of {limit}")]
    TooLong {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// The audit key is past its end; the next one takes over first.
    #[error("the audit key ended at {0}")]
    KeyOver(Timestamp),
    /// The kind does not belong into this chain.
    #[error("an entry of the kind {0} does not belong into this chain")]
    OtherChain(&'static str),
}

/// Makes the next line, without LF, and the head that follows. The key's certificate goes with it where the entry before
/// was signed by another, and with every checkpoint.
///
/// # Errors
/// [`NotAppended`].
pub fn append(head: &Head, key: &AuditKey, body: &Body, now: Timestamp) -> Result<(Vec<u8>, Head), NotAppended> {
    let chain = Origin::parse(&head.origin).map(|origin| origin.chain);
    let Some(chain) = chain.filter(|chain| body.belongs_in(chain)) else {
        return Err(NotAppended::OtherChain(body.kind()));
    };
    let ts = match body {
        // What was written under the wrong clock stays behind it.
        Body::ClockReset(_) => now.max(key.nbf()),
        // So it does where a restored vault finds it in a chain: the reset follows at once.
        Body::Restore(_) if head.stamp(key, now) >= key.exp() => now.max(key.nbf()),
        _ => head.stamp(key, now.max(body.not_before())),
    };
    if ts >= key.exp() {
        return Err(NotAppended::KeyOver(key.exp()));
    }
    let begins = head.kid.as_ref() != Some(&key.kid) || matches!(body, Body::Checkpoint(_));
    let cert = begins.then_some(&key.cert);
    // The origin changes with a restore, whose own entry is the first of it.
    let origin = match (Origin::parse(&head.origin), body) {
        (Some(origin), Body::Restore(restore)) => Origin { restored: restore.number, ..origin }.to_string(),
        _ => head.origin.clone(),
    };
    let draft = Draft { body, cert, origin: &origin, prev: head.leaf, seq: head.size, ts };
    let line = draft.sign(&key.key);
    let limit = entry::admission(&chain).max_bytes;
    if line.len() > limit {
        return Err(NotAppended::TooLong { bytes: line.len(), limit });
    }
    let (leaf, mut tree) = (leaf(&line), head.tree.clone());
    tree.push(leaf);
    let next = Head { origin, size: head.size + 1, leaf, ts, kid: Some(key.kid.clone()), tree };
    Ok((line, next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::entry::{Entry, Epoch, Expire, Stop, Unreadable};
    use crate::entropy::SeededEntropy;
    use crate::id::LeaseId;

    fn identity() -> SigningKey {
        SigningKey::generate(&SeededEntropy::new(1))
    }

    fn key(seed: u64, nbf: u64, exp: u64) -> AuditKey {
        let aud = Aud::of_identity(&identity().kid());
        let key = SigningKey::generate(&SeededEntropy::new(seed));
        AuditKey::certify(key, &identity(), &aud, "n1", seed, Timestamp(nbf), Timestamp(exp))
    }

    fn empty() -> Head {
        Head::empty(&"prod".parse().unwrap(), &ChainName::vault())
    }

    #[test]
    fn each_line_names_the_one_before_it() {
        let key = key(2, 0, 100);
        let (first, head) = append(&empty(), &key, &Stop {}.into(), Timestamp(5)).unwrap();
        let (second, head) = append(&head, &key, &Epoch {}.into(), Timestamp(6)).unwrap();
        let (one, two) = (Entry::read(&first).unwrap(), Entry::read(&second).unwrap());
        assert_eq!((one.seq, one.prev, two.seq, two.prev), (0, Digest::ZERO, 1, leaf(&first)));
        assert_eq!((head.size, head.leaf), (2, leaf(&second)));
        assert_eq!(head.tree.root(), crate::crypto::hash::node(&leaf(&first), &leaf(&second)));
        assert_eq!(head.entry(), Some(EntryRef { leaf: leaf(&second), seq: 1 }));
        assert_eq!(one.origin, "prod/_vault");
        assert_eq!(empty().entry(), None);
    }

    #[test]
    fn the_signature_covers_all_but_itself() {
        let key = key(2, 0, 100);
        let (line, _) = append(&empty(), &key, &Stop {}.into(), Timestamp(5)).unwrap();
        let frame = crate::audit::line::Frame::read(&line).unwrap();
        let public: PublicKey = key.key.public();
        assert!(frame.verify(&public).is_ok());
        let later = String::from_utf8(line).unwrap().replace("\"ts\":5,", "\"ts\":6,");
        assert!(crate::audit::line::Frame::read(later.as_bytes()).unwrap().verify(&public).is_err());
    }

    #[test]
    fn a_certificate_comes_with_each_change_of_key() {
        let (one, two) = (key(2, 0, 100), key(3, 0, 100));
        let mut head = empty();
        let mut certified = Vec::new();
        for key in [&one, &one, &two, &two, &one] {
            let (line, next) = append(&head, key, &Epoch {}.into(), Timestamp(5)).unwrap();
            certified.push(Entry::read(&line).unwrap().cert.is_some());
            head = next;
        }
        assert_eq!(certified, [true, false, true, false, true]);
    }

    #[test]
    fn time_never_falls_and_never_leaves_the_life_of_the_key() {
        let (_, head) = append(&empty(), &key(2, 50, 100), &Stop {}.into(), Timestamp(5)).unwrap();
        assert_eq!(head.ts, Timestamp(50));
        let (_, head) = append(&head, &key(2, 50, 100), &Stop {}.into(), Timestamp(70)).unwrap();
        let (_, head) = append(&head, &key(2, 50, 100), &Stop {}.into(), Timestamp(60)).unwrap();
        assert_eq!(head.ts, Timestamp(70));
        let over = append(&head, &key(2, 50, 100), &Stop {}.into(), Timestamp(100));
        assert_eq!(over.unwrap_err(), NotAppended::KeyOver(Timestamp(100)));
    }

    #[test]
    fn a_chain_takes_its_own_kinds_and_no_line_beyond_the_limit() {
        let key = key(2, 0, 100);
        let lease = LeaseId::new(1, [0; 10]);
        let expire = |outcome: String| Body::from(Expire { lease: lease.clone(), outcome });
        let kit = Head::empty(&"prod".parse().unwrap(), &"kit".parse().unwrap());
        assert!(append(&kit, &key, &expire("none".into()), Timestamp(5)).is_ok());
        let elsewhere = append(&empty(), &key, &expire("none".into()), Timestamp(5));
        assert_eq!(elsewhere.unwrap_err(), NotAppended::OtherChain("expire"));
        let long = append(&kit, &key, &expire("x".repeat(40_000)), Timestamp(5));
        assert!(matches!(long.unwrap_err(), NotAppended::TooLong { limit: 32_768, .. }));
        // As long as a line may be, and a byte longer.
        let rest = 32_768 - append(&kit, &key, &expire(String::new()), Timestamp(5)).unwrap().0.len();
        let (longest, _) = append(&kit, &key, &expire("x".repeat(rest)), Timestamp(5)).unwrap();
        assert_eq!((longest.len(), Entry::read(&longest).is_ok()), (32_768, true));
        let longer = append(&kit, &key, &expire("x".repeat(rest + 1)), Timestamp(5));
        assert_eq!(longer.unwrap_err(), NotAppended::TooLong { bytes: 32_769, limit: 32_768 });
    }

    #[test]
    fn what_is_not_known_is_told_from_what_is_not_well_formed() {
        let key = key(2, 0, 100);
        let (_, head) = append(&empty(), &key, &Epoch {}.into(), Timestamp(5)).unwrap();
        let (line, _) = append(&head, &key, &Stop {}.into(), Timestamp(5)).unwrap();
        let line = String::from_utf8(line).unwrap();
        let read = |from: &str, to: &str| Entry::read(line.replacen(from, to, 1).as_bytes()).unwrap_err();
        assert!(matches!(read("\"kind\":\"stop\"", "\"kind\":\"halt\""), Unreadable::NotUnderstood(_)));
        assert!(matches!(read("\"v\":1", "\"v\":2"), Unreadable::NotUnderstood(_)));
        for (from, to) in [
            ("{\"body\":{}", "{\"body\":{\"a\":1}"),
            ("{\"body\":{},", "{"),
            ("\"origin\":\"prod/_vault\"", "\"origin\":\"prod\""),
            ("\"seq\":1", "\"seq\":1.0"),
            ("\"v\":1", "\"v\":1 "),
            ("\"sig\":", "\"sih\":"),
        ] {
            assert!(matches!(read(from, to), Unreadable::Malformed(_)), "{from} -> {to}");
        }
    }

    #[test]
    fn a_restored_vault_goes_on_from_a_clock_that_was_ahead() {
        let restore = || -> Body {
            let by = entry::By { chain: ChainName::operators(), leaf: Digest::ZERO, seq: 1 };
            entry::Restore { by, number: 1, salt: crate::base64url::Bytes(vec![7; 16]) }.into()
        };
        // In the life of the new key time does not fall; where the chain is ahead of all of it, it does.
        for (newest, ts) in [(60, 70), (99, 99), (100, 70), (500, 70)] {
            let head = Head { ts: Timestamp(newest), ..empty() };
            let (line, next) = append(&head, &key(2, 50, 100), &restore(), Timestamp(70)).unwrap();
            assert_eq!((next.ts, Entry::read(&line).unwrap().origin.as_str()), (Timestamp(ts), "prod/_vault~1"));
        }
    }
}
