//! The proof of one entry: a file that shows a stranger a single line, and that it stands in the chain, without the chain
//! (C2SP's tlog-proof, version 1).
//!
//! ```text
//! c2sp.org/tlog-proof@v1 LF
//! extra base64(JCS {"certs":[certificate of the audit key, certificate of the checkpoint key],"line":{...}}) LF
//! index <seq of the line> LF
//! base64(hash) LF ...                  from the leaf's neighbour up to below the root: RFC 6962 section 2.1.1
//! LF
//! the checkpoint's whole note, with the cosignatures of witnesses
//! ```
//!
//! [`TlogProof`] is that format alone; [`EntryProof`] is what the vault makes of it; [`verify`] says what one proves under
//! the keys that the reader has from elsewhere. The extra data is signed by nobody: all of it proves itself by the
//! signatures inside.

mod verify;

use serde::{Deserialize, Serialize};

pub use self::verify::{Asked, NotProved, Pins, Proved, verify};
use super::entry::Unreadable;
use super::line::Frame;
use super::note::{base64, decimal, digest, unbase64};
use crate::crypto::envelope::Embedded;
use crate::crypto::hash::Digest;
use crate::crypto::json::{Admission, admit_as, canonical};

/// The first line of a proof.
pub const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// How long a proof may be, in bytes: the longest line of any chain in base64, and the longest note.
pub const MAX_BYTES: usize = 1 << 20;

/// How many hashes lead from a leaf to the root of the largest tree.
const MAX_PATH: usize = 63;

/// A line and two certificates, one object deeper than each of them.
const EXTRA: Admission = Admission { max_bytes: 256 << 10, max_depth: 18 };

/// The parts of a proof in the format of C2SP, none of them checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    /// What whoever made it put beside it.
    pub extra: Option<Vec<u8>>,
    /// Which leaf.
    pub index: u64,
    /// The hashes from the leaf's neighbour upward.
    pub path: Vec<Digest>,
    /// The checkpoint, as it stands in the file.
    pub checkpoint: String,
}

/// Why a text is no proof.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadForm {
    /// Too long to be one.
    #[error("a proof has at most {MAX_BYTES} bytes")]
    TooLarge,
    /// Another file.
    #[error("its first line is not {HEADER}: this is no proof of one entry")]
    Header,
    /// Bytes beside it that cannot be read.
    #[error("what stands behind `extra` is not base64")]
    Extra,
    /// It does not say which leaf.
    #[error("the line `index <number>` is missing or no plain decimal number")]
    Index,
    /// A hash that is none.
    #[error("hash {0} of the path is not 32 bytes in base64")]
    Hash(usize),
    /// More hashes than a tree has levels.
    #[error("a path has at most {MAX_PATH} hashes")]
    TooMany,
    /// No empty line and checkpoint at the end.
    #[error("an empty line and a checkpoint follow on the path; was the end of the file cut off?")]
    Checkpoint,
    /// The vault's part is missing or of another make.
    #[error("it does not carry a line and two certificates of a NockVault: {0}")]
    Parts(String),
    /// The line in it is none.
    #[error("the line in it cannot be read: {0}")]
    Line(#[from] Unreadable),
}

impl TlogProof {
    /// The file's text.
    #[must_use]
    pub fn write(&self) -> String {
        let mut text = format!("{HEADER}\n");
        if let Some(extra) = &self.extra {
            text.push_str(&format!("extra {}\n", base64(extra)));
        }
        text.push_str(&format!("index {}\n", self.index));
        for hash in &self.path {
            text.push_str(&base64(hash.as_bytes()));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.checkpoint);
        text
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// [`BadForm`], up to [`BadForm::Checkpoint`].
    pub fn read(text: &str) -> Result<TlogProof, BadForm> {
        if text.len() > MAX_BYTES {
            return Err(BadForm::TooLarge);
        }
        let rest = text.strip_prefix(HEADER).and_then(|rest| rest.strip_prefix('\n')).ok_or(BadForm::Header)?;
        let (head, checkpoint) = rest.split_once("\n\n").ok_or(BadForm::Checkpoint)?;
        if checkpoint.is_empty() {
            return Err(BadForm::Checkpoint);
        }
        let mut lines = head.split('\n').peekable();
        let extra = match lines.next_if(|line| line.starts_with("extra ")) {
            Some(line) => Some(unbase64(&line["extra ".len()..]).ok_or(BadForm::Extra)?),
            None => None,
        };
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).and_then(decimal);
        let index = index.ok_or(BadForm::Index)?;
        let path: Vec<_> = lines
            .enumerate()
            .map(|(nth, line)| digest(line).ok_or(BadForm::Hash(nth + 1)))
            .collect::<Result<_, _>>()?;
        if path.len() > MAX_PATH {
            return Err(BadForm::TooMany);
        }
        Ok(TlogProof { extra, index, path, checkpoint: checkpoint.to_owned() })
    }
}

/// What the vault puts into `extra`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Extra {
    certs: [Embedded; 2],
    line: serde_json::Value,
}

/// The proof of one entry of a vault's chain, not checked.
#[derive(Clone, Debug)]
pub struct EntryProof {
    /// The line, without LF.
    line: Vec<u8>,
    frame: Frame,
    audit: Embedded,
    checkpoint: Embedded,
    path: Vec<Digest>,
    note: String,
}

impl EntryProof {
    /// The proof of `line`, given without LF: with the certificate of the audit key that signed it, the path of its
    /// inclusion in the tree of a checkpoint, that checkpoint's whole note with the cosignatures of witnesses, and the
    /// certificate of the key that signed the note.
    ///
    /// Nothing is verified here; what came out of a database is best held against [`verify`] before it is handed on.
    ///
    /// # Errors
    /// [`Unreadable`] where the line is none.
    pub fn of(
        line: &[u8],
        audit: &Embedded,
        path: Vec<Digest>,
        note: &str,
        checkpoint: &Embedded,
    ) -> Result<EntryProof, Unreadable> {
        let frame = Frame::read(line)?;
        let (audit, checkpoint) = (audit.clone(), checkpoint.clone());
        Ok(EntryProof { line: line.to_owned(), frame, audit, checkpoint, path, note: note.to_owned() })
    }

    /// The file's text.
    #[must_use]
    pub fn write(&self) -> String {
        let line = serde_json::from_slice(&self.line).expect("a line that was read is JSON");
        let extra = canonical(&Extra { certs: [self.audit.clone(), self.checkpoint.clone()], line });
        let (index, path, checkpoint) = (self.frame.seq(), self.path.clone(), self.note.clone());
        TlogProof { extra: Some(extra), index, path, checkpoint }.write()
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// [`BadForm`].
    pub fn read(text: &str) -> Result<EntryProof, BadForm> {
        let TlogProof { extra, index, path, checkpoint: note } = TlogProof::read(text)?;
        let extra = extra.ok_or_else(|| BadForm::Parts("it has no extra data".to_owned()))?;
        let Extra { certs: [audit, checkpoint], line } =
            admit_as(&extra, &EXTRA).map_err(|why| BadForm::Parts(why.to_string()))?;
        let proof = EntryProof::of(&canonical(&line), &audit, path, &note, &checkpoint)?;
        if proof.frame.seq() == index {
            Ok(proof)
        } else {
            let seq = proof.frame.seq();
            Err(BadForm::Parts(format!("it is the proof of entry {index}, but the line in it is entry {seq}")))
        }
    }

    /// The line, without LF.
    #[must_use]
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    /// The checkpoint's note.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.note
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_its_ends_have_their_bounds() {
        let proof = |hashes| TlogProof {
            extra: None,
            index: 7,
            path: vec![Digest::ZERO; hashes],
            checkpoint: "x\n".to_owned(),
        };
        assert_eq!(TlogProof::read(&proof(63).write()), Ok(proof(63)));
        assert_eq!(TlogProof::read(&proof(64).write()), Err(BadForm::TooMany));
        let text = proof(2).write();
        for (from, to, why) in [
            ("index 7", "index 07", BadForm::Index),
            ("index 7", "extra AA==\nextra AA==\nindex 7", BadForm::Index),
            ("index 7", "index 7\nextra AA==", BadForm::Hash(1)),
            ("index 7", "extra AB==\nindex 7", BadForm::Extra),
            ("@v1", "@v2", BadForm::Header),
            ("\n\nx", "\nx", BadForm::Checkpoint),
            ("\n\nx\n", "\n\n", BadForm::Checkpoint),
            ("A=\nA", "B=\nA", BadForm::Hash(1)),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_eq!(TlogProof::read(&changed), Err(why), "{changed}");
        }
        let long = TlogProof { checkpoint: "x".repeat(MAX_BYTES), ..proof(0) };
        assert_eq!(TlogProof::read(&long.write()), Err(BadForm::TooLarge));
        let bare = TlogProof { checkpoint: String::new(), ..proof(0) }.write().len();
        let longest = TlogProof { checkpoint: "x".repeat(MAX_BYTES - bare), ..proof(0) };
        assert_eq!(TlogProof::read(&longest.write()), Ok(longest));
        let parts = EntryProof::read(&text).unwrap_err();
        assert!(parts.to_string().contains("no extra data"), "{parts}");
    }
}
