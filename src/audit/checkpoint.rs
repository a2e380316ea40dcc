//! A checkpoint: what the vault says a chain was at one size, as a C2SP signed note (tlog-checkpoint v1.0.0).
//!
//! ```text
//! prod/kit LF            the chain's origin, and the name of the key that signs
//! 1742 LF                how many entries
//! base64(root) LF        the root of their tree
//! LF
//! — prod/kit base64(key id || signature) LF
//! ```
//!
//! The signature is Ed25519 of type 0x01 by a key with the role `checkpoint`, certified by the identity key. Whoever keeps
//! a checkpoint outside of the vault holds it to that history: no other chain of that size has the same root, and a
//! longer one proves that it follows.

use super::certificate::{BadCert, open_signer};
use super::note::{BadNote, Note, NoteKey, base64, decimal, digest};
use super::tree::Tree;
use crate::crypto::envelope::Embedded;
use crate::crypto::hash::Digest;
use crate::crypto::signature::{PublicKey, SigningKey};
use crate::statement::cert::{Cert, KeyRole};

/// The state of a chain at one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Where the chain comes from: `prod/kit`.
    pub origin: String,
    /// How many entries it has.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Digest,
}

/// Why a checkpoint is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCheckpoint {
    /// It is no signed note.
    #[error("the checkpoint is not a signed note: {0}")]
    Note(#[from] BadNote),
    /// A note, whose text is no checkpoint.
    #[error("the note is not a checkpoint: {0}")]
    Form(&'static str),
    /// The certificate of its key is not good.
    #[error("the certificate of the checkpoint's key is not good: {0}")]
    Cert(#[from] BadCert),
    /// The certified key did not sign it, or signed under another name.
    #[error("the checkpoint of {origin} was not signed by the key of its certificate under the name {origin}")]
    Signature {
        /// Which chain it speaks of.
        origin: String,
    },
}

impl Checkpoint {
    /// What a tree is, as a checkpoint of this chain.
    #[must_use]
    pub fn of(origin: &str, tree: &Tree) -> Checkpoint {
        Checkpoint { origin: origin.to_owned(), size: tree.size(), root: tree.root() }
    }

    /// The text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, base64(self.root.as_bytes()))
    }

    /// Reads the text of a checkpoint. Lines beyond the three are refused: nobody could hold them against the chain.
    ///
    /// # Errors
    /// [`BadCheckpoint::Form`].
    pub fn read(text: &str) -> Result<Checkpoint, BadCheckpoint> {
        let form = BadCheckpoint::Form;
        let lines: Vec<_> = text.strip_suffix('\n').unwrap_or_default().split('\n').collect();
        let [origin, size, root] = lines[..] else {
            return Err(form("it has three lines: the origin, the size, the root"));
        };
        if origin.is_empty() {
            return Err(form("its first line, the origin, is empty"));
        }
        let size = decimal(size).ok_or(form("its second line is not a size in plain decimal digits"))?;
        let root = digest(root).ok_or(form("its third line is not 32 bytes in base64"))?;
        if size == 0 && root != Tree::default().root() {
            return Err(form("a chain without entries has the root H(\"\")"));
        }
        Ok(Checkpoint { origin: origin.to_owned(), size, root })
    }

    /// The whole note, signed by the checkpoint key under the origin as its name.
    ///
    /// # Panics
    /// Where the origin is none that a chain can have: empty, or with white space, plus or control characters.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> String {
        Note::signed(&self.text(), &self.origin, key).write()
    }
}

/// Reads a checkpoint that is the vault's: the identity key certified a checkpoint key, and that key signed this under
/// the origin as its name. Whether the key was good at the time is for the caller, who knows a time: see [`open_dated`].
///
/// # Errors
/// [`BadCheckpoint`].
pub fn open(note: &str, cert: &Embedded, identity: &PublicKey) -> Result<Checkpoint, BadCheckpoint> {
    open_dated(note, cert, identity).map(|(checkpoint, ..)| checkpoint)
}

/// As [`open`], with the certificate that says from when to when the key was good, and the note, which may carry
/// signatures of witnesses too.
///
/// # Errors
/// [`BadCheckpoint`].
pub fn open_dated(
    note: &str,
    cert: &Embedded,
    identity: &PublicKey,
) -> Result<(Checkpoint, Cert, Note), BadCheckpoint> {
    let note = Note::read(note)?;
    let checkpoint = Checkpoint::read(&note.text)?;
    let (cert, key) = open_signer(cert, KeyRole::Checkpoint, identity)?;
    let key = NoteKey::new(&checkpoint.origin, key);
    if key.is_some_and(|key| note.verified_by(&key)) {
        Ok((checkpoint, cert, note))
    } else {
        Err(BadCheckpoint::Signature { origin: checkpoint.origin })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::certificate::{Life, cert_of, certify_key};
    use crate::entropy::SeededEntropy;
    use crate::id::Aud;
    use crate::time::Timestamp;

    fn key(seed: u64) -> SigningKey {
        SigningKey::generate(&SeededEntropy::new(seed))
    }

    fn cert(role: KeyRole, key: &SigningKey, identity: &SigningKey) -> Embedded {
        let life = Life { nbf: Timestamp(0), exp: Timestamp(100) };
        let aud = Aud::of_identity(&identity.kid());
        certify_key(identity, &cert_of(role, key.public().to_bytes(), key.kid(), &aud, "n1", 1, life))
    }

    fn checkpoint() -> Checkpoint {
        let mut tree = Tree::default();
        (0..5_u8).for_each(|seq| tree.push(Digest::of(&[seq])));
        Checkpoint::of("prod/kit", &tree)
    }

    #[test]
    fn a_checkpoint_opens_under_the_identity_that_certified_its_key() {
        let (identity, by) = (key(1), key(2));
        let note = checkpoint().sign(&by);
        let good = cert(KeyRole::Checkpoint, &by, &identity);
        assert_eq!(open(&note, &good, &identity.public()), Ok(checkpoint()));
        let bad = |note: &str, cert: &Embedded| open(note, cert, &identity.public()).unwrap_err();
        assert_eq!(bad(&note, &cert(KeyRole::Checkpoint, &by, &key(3))), BadCheckpoint::Cert(BadCert::Signature));
        let role = bad(&note, &cert(KeyRole::Audit, &by, &identity));
        assert!(matches!(role, BadCheckpoint::Cert(BadCert::Role { .. })));
        let not_signed = BadCheckpoint::Signature { origin: "prod/kit".into() };
        assert_eq!(bad(&note, &cert(KeyRole::Checkpoint, &key(3), &identity)), not_signed);
        assert_eq!(bad(&note.replacen("\n5\n", "\n4\n", 1), &good), not_signed);
        // The key of another name is another key, even with the same bytes.
        let elsewhere = Note::signed(&checkpoint().text(), "prod/ada", &by).write();
        assert_eq!(bad(&elsewhere, &good), not_signed);
    }

    #[test]
    fn only_the_three_lines_are_a_checkpoint() {
        let text = checkpoint().text();
        assert_eq!(Checkpoint::read(&text), Ok(checkpoint()));
        for (from, to) in [
            ("prod/kit", ""),
            ("\n5\n", "\n05\n"),
            ("\n5\n", "\n-5\n"),
            ("\n5\n", "\n9223372036854775808\n"),
            ("\n5\n", "\n0\n"),
            ("=\n", "\n"),
            ("=\n", "=\nmore\n"),
            ("=\n", "="),
        ] {
            let changed = text.replacen(from, to, 1);
            assert!(matches!(Checkpoint::read(&changed), Err(BadCheckpoint::Form(_))), "{changed}");
        }
        let empty = Checkpoint::of("prod/kit", &Tree::default());
        assert_eq!(Checkpoint::read(&empty.text()), Ok(empty));
    }
}
