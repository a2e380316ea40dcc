//! Witnesses: others who sign that a chain only ever grew (C2SP's tlog-cosignature and tlog-witness).
//!
//! ```text
//! cosignature = u64be seconds || Ed25519("cosignature/v1" LF "time " seconds LF || text of the checkpoint), key type 0x04
//!
//! POST <prefix>/add-checkpoint       "old " size LF, {base64(hash) LF}, LF, the checkpoint's whole note
//! 200                                lines of signatures: "— " name " " base64(key id || cosignature) LF
//! 409                                the size that the witness has, LF
//! ```
//!
//! A witness cosigns a checkpoint only where it follows on the newest one that it cosigned of that origin. So two
//! checkpoints of one chain that do not follow on each other cannot both be cosigned by one honest witness: a view that
//! was split for two readers shows.

use std::fmt;
use std::str::FromStr;

use super::note::{BadVkey, KeyType, Line, Note, base64, decimal, digest, is_key_name, key_id, read_vkey, write_vkey};
use crate::crypto::hash::Digest;
use crate::crypto::signature::{PublicKey, Signature, SigningKey};

/// How many hashes a consistency proof may have in a request.
pub const MAX_PROOF: usize = 63;

/// How much of an answer that refuses is told, in characters.
const TOLD: usize = 200;

/// The Ed25519 key of a witness, type 0x04, under its name. Its text is the verifier key, `name+id+key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessKey {
    name: String,
    key: PublicKey,
}

/// A line names the witness and is not its cosignature of this checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line names the witness and is not its cosignature of this checkpoint")]
pub struct BadCosignature;

impl WitnessKey {
    /// The key under this name; none where no key can have it.
    #[must_use]
    pub fn new(name: &str, key: PublicKey) -> Option<WitnessKey> {
        is_key_name(name).then(|| WitnessKey { name: name.to_owned(), key })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// What lines of its cosignatures name it by, beside its name.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        key_id(&self.name, KeyType::Cosignature, &self.key)
    }

    /// When the witness says it saw this checkpoint as the newest of its chain, in seconds since the Unix epoch; none
    /// where no line names the witness. Of several the latest counts.
    ///
    /// # Errors
    /// [`BadCosignature`] where any line that names it does not hold.
    pub fn cosigned(&self, note: &Note) -> Result<Option<u64>, BadCosignature> {
        let mut latest = None;
        for line in note.lines_of(&self.name, self.id()) {
            latest = latest.max(Some(self.time_of(&note.text, &line.signature).ok_or(BadCosignature)?));
        }
        Ok(latest)
    }

    fn time_of(&self, text: &str, cosignature: &[u8]) -> Option<u64> {
        let (time, signature) = cosignature.split_first_chunk::<8>()?;
        let time = Some(u64::from_be_bytes(*time)).filter(|time| *time != 0 && time >> 63 == 0)?;
        let signature = Signature::from_slice(signature)?;
        self.key.verify_raw(message(text, time).as_bytes(), &signature).is_ok().then_some(time)
    }
}

impl fmt::Display for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&write_vkey(&self.name, KeyType::Cosignature, &self.key))
    }
}

impl FromStr for WitnessKey {
    type Err = BadVkey;

    fn from_str(text: &str) -> Result<WitnessKey, BadVkey> {
        let (name, key) = read_vkey(text, KeyType::Cosignature)?;
        Ok(WitnessKey { name, key })
    }
}

fn message(text: &str, seconds: u64) -> String {
    format!("cosignature/v1\ntime {seconds}\n{text}")
}

/// What a witness of this name makes of a checkpoint's text that it saw at `seconds` since the Unix epoch.
///
/// # Panics
/// Where no key can have this name.
#[must_use]
pub fn cosign(text: &str, name: &str, key: &SigningKey, seconds: u64) -> Line {
    let by = WitnessKey::new(name, key.public()).expect("the name of a witness is a key name");
    let signature = key.sign_raw(message(text, seconds).as_bytes());
    Line { id: by.id(), name: by.name, signature: [&seconds.to_be_bytes(), signature.as_bytes().as_slice()].concat() }
}

/// The body of a request that a witness cosign a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size that the witness has; 0 where it never saw the chain, and to ask.
    pub old: u64,
    /// That the checkpoint follows on that size; empty where it is 0.
    pub proof: Vec<Digest>,
    /// The checkpoint: its whole note.
    pub note: String,
}

/// Why a text is no request to a witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAddCheckpoint {
    /// Not begun by the old size.
    #[error("the first line is not `old <size>` in plain decimal digits")]
    Old,
    /// A line of the proof is no hash.
    #[error("line {0} is not a hash of 32 bytes in base64")]
    Hash(usize),
    /// Too many hashes.
    #[error("a consistency proof has at most {MAX_PROOF} hashes")]
    TooMany,
    /// No empty line before a checkpoint.
    #[error("an empty line and a checkpoint follow on the proof")]
    Shape,
}

impl AddCheckpoint {
    /// The body.
    #[must_use]
    pub fn write(&self) -> String {
        let mut body = format!("old {}\n", self.old);
        for hash in &self.proof {
            body.push_str(&base64(hash.as_bytes()));
            body.push('\n');
        }
        body.push('\n');
        body.push_str(&self.note);
        body
    }

    /// Reads a body, as a witness does. The note is not looked at.
    ///
    /// # Errors
    /// [`BadAddCheckpoint`].
    pub fn read(body: &str) -> Result<AddCheckpoint, BadAddCheckpoint> {
        let (head, note) = body.split_once("\n\n").ok_or(BadAddCheckpoint::Shape)?;
        let (old, proof) = head.split_once('\n').unwrap_or((head, ""));
        let old = old.strip_prefix("old ").and_then(decimal).ok_or(BadAddCheckpoint::Old)?;
        let hashes: Vec<_> = proof.split_terminator('\n').collect();
        if hashes.len() > MAX_PROOF {
            return Err(BadAddCheckpoint::TooMany);
        }
        let read = |(nth, line): (usize, &&str)| digest(line).ok_or(BadAddCheckpoint::Hash(nth + 2));
        let proof = hashes.iter().enumerate().map(read).collect::<Result<_, _>>()?;
        Ok(AddCheckpoint { old, proof, note: note.to_owned() })
    }
}

/// What a witness answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Lines of signatures, not checked: see [`accept`].
    Lines(Vec<Line>),
    /// The newest size that it has is another than the request took it to be.
    Has(u64),
    /// It will not.
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it says, cut, and without control characters.
        says: String,
    },
}

/// Why an answer is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// A body that is not lines of signatures.
    #[error("the witness answered 200 with something else than lines of signatures")]
    Lines,
    /// A conflict without the size that the witness has.
    #[error("the witness answered 409 without the size that it has")]
    Size,
    /// No line by the witness's key.
    #[error("the answer holds no cosignature by {0}; is the key in the policy the witness's present one?")]
    Missing(String),
    /// A line that names the witness's key does not hold.
    #[error(
        "the answer names {0} and is not its cosignature of this checkpoint: the witness, or who answers for it, is not to be trusted"
    )]
    Spoilt(String),
}

impl Answer {
    /// Reads the answer to an `add-checkpoint`.
    ///
    /// # Errors
    /// [`BadAnswer::Lines`] and [`BadAnswer::Size`].
    pub fn read(status: u16, body: &str) -> Result<Answer, BadAnswer> {
        match status {
            200 => {
                let lines = body.strip_suffix('\n').ok_or(BadAnswer::Lines)?;
                let lines: Option<_> = lines.split('\n').map(Line::read).collect();
                lines.map(Answer::Lines).ok_or(BadAnswer::Lines)
            }
            409 => body.strip_suffix('\n').and_then(decimal).map(Answer::Has).ok_or(BadAnswer::Size),
            status => {
                let says = body.trim().chars().take(TOLD).map(|c| if c.is_control() { ' ' } else { c }).collect();
                Ok(Answer::Refused { status, says })
            }
        }
    }
}

/// What of a witness's lines is worth keeping with a checkpoint: its own, which hold. Lines of other keys are dropped. The
/// time is the witness's, in seconds since the Unix epoch.
///
/// # Errors
/// [`BadAnswer::Missing`] and [`BadAnswer::Spoilt`].
pub fn accept(text: &str, lines: Vec<Line>, by: &WitnessKey) -> Result<(Vec<Line>, u64), BadAnswer> {
    let mut answer = Note { text: text.to_owned(), signatures: lines };
    let time = match by.cosigned(&answer) {
        Ok(Some(time)) => time,
        Ok(None) => return Err(BadAnswer::Missing(by.name.clone())),
        Err(BadCosignature) => return Err(BadAnswer::Spoilt(by.name.clone())),
    };
    answer.signatures.retain(|line| line.name == by.name && line.id == by.id());
    Ok((answer.signatures, time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::note::NoteKey;
    use crate::entropy::SeededEntropy;

    const TEXT: &str = "prod/kit\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";

    fn key(seed: u64) -> SigningKey {
        SigningKey::generate(&SeededEntropy::new(seed))
    }

    fn witness() -> WitnessKey {
        WitnessKey::new("example.com/w", key(2).public()).unwrap()
    }

    fn cosigned(lines: Vec<Line>) -> Note {
        let mut note = Note::signed(TEXT, "prod/kit", &key(1));
        note.signatures.extend(lines);
        note
    }

    #[test]
    fn a_cosignature_tells_when_the_witness_saw_the_checkpoint() {
        let line = |time| cosign(TEXT, "example.com/w", &key(2), time);
        assert_eq!(witness().cosigned(&cosigned(vec![line(7)])), Ok(Some(7)));
        assert_eq!(witness().cosigned(&cosigned(vec![line(7), line(9), line(8)])), Ok(Some(9)));
        assert_eq!(witness().cosigned(&cosigned(vec![])), Ok(None));
        assert_eq!(witness().cosigned(&cosigned(vec![line(0)])), Err(BadCosignature));
        assert_eq!(witness().cosigned(&cosigned(vec![line(1 << 63)])), Err(BadCosignature));
        let elsewhere = Note { text: TEXT.replacen("1", "2", 1), ..cosigned(vec![line(7)]) };
        assert_eq!(witness().cosigned(&elsewhere), Err(BadCosignature));
        for bit in 0..8 * 72 {
            let mut changed = line(7);
            changed.signature[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(witness().cosigned(&cosigned(vec![line(7), changed])), Err(BadCosignature), "bit {bit}");
        }
    }

    #[test]
    fn a_witness_key_is_no_note_key() {
        let text = witness().to_string();
        assert_eq!(text.parse(), Ok(witness()));
        assert!(text.parse::<NoteKey>().is_err());
        let note_key = NoteKey::new("example.com/w", key(2).public()).unwrap();
        assert!(note_key.to_string().parse::<WitnessKey>().is_err());
        assert_ne!(note_key.id(), witness().id());
        // A signature over the text alone, under the witness's id, is no cosignature.
        let plain = Note::signed(TEXT, "example.com/w", &key(2)).signatures.remove(0);
        let posing = Line { id: witness().id(), ..plain };
        assert_eq!(witness().cosigned(&cosigned(vec![posing])), Err(BadCosignature));
    }

    #[test]
    fn a_request_reads_as_it_was_written() {
        let note = cosigned(vec![]).write();
        for proof in [vec![], vec![Digest::ZERO], vec![Digest::of(b"1"); MAX_PROOF]] {
            let request = AddCheckpoint { old: 9, proof, note: note.clone() };
            assert_eq!(AddCheckpoint::read(&request.write()), Ok(request));
        }
        let many = AddCheckpoint { old: 9, proof: vec![Digest::ZERO; MAX_PROOF + 1], note };
        assert_eq!(AddCheckpoint::read(&many.write()), Err(BadAddCheckpoint::TooMany));
        assert_eq!(AddCheckpoint::read("old 01\n\nx"), Err(BadAddCheckpoint::Old));
        assert_eq!(AddCheckpoint::read("\n\nx"), Err(BadAddCheckpoint::Old));
        assert_eq!(AddCheckpoint::read("old 1\nAAAA\n\nx"), Err(BadAddCheckpoint::Hash(2)));
        assert_eq!(AddCheckpoint::read("old 1\n"), Err(BadAddCheckpoint::Shape));
    }

    #[test]
    fn only_what_holds_under_the_witness_key_is_kept() {
        let good = cosign(TEXT, "example.com/w", &key(2), 7);
        let stranger = cosign(TEXT, "example.com/x", &key(3), 7);
        let lie = Line { id: good.id, ..cosign(TEXT, "example.com/w", &key(3), 7) };
        let accept = |lines: &[&Line]| accept(TEXT, lines.iter().copied().cloned().collect(), &witness());
        assert_eq!(accept(&[&stranger, &good]), Ok((vec![good.clone()], 7)));
        // What shares its name, or what names it by, alone.
        let namesake = Line { id: [0; 4], ..good.clone() };
        let alias = Line { name: "example.com/x".into(), ..good.clone() };
        assert_eq!(accept(&[&namesake, &good, &alias]), Ok((vec![good.clone()], 7)));
        assert_eq!((witness().name(), witness().id()), ("example.com/w", good.id));
        // SHA-256(name LF 0x04 key), its first four bytes.
        let id = Digest::of_parts(&[b"example.com/w\n\x04", &key(2).public().to_bytes()]);
        assert_eq!(witness().id(), id.as_bytes()[..4]);
        assert_eq!(accept(&[&stranger]), Err(BadAnswer::Missing("example.com/w".into())));
        assert_eq!(accept(&[&good, &lie]), Err(BadAnswer::Spoilt("example.com/w".into())));
        assert_eq!(Answer::read(200, &format!("{stranger}\n{good}\n")), Ok(Answer::Lines(vec![stranger, good])));
        assert_eq!(Answer::read(200, ""), Err(BadAnswer::Lines));
        assert_eq!(Answer::read(200, "ok\n"), Err(BadAnswer::Lines));
        assert_eq!(Answer::read(409, "17\n"), Ok(Answer::Has(17)));
        assert_eq!(Answer::read(409, "17"), Err(BadAnswer::Size));
        let refused = Answer::Refused { status: 404, says: "unknown log".into() };
        assert_eq!(Answer::read(404, "unknown\tlog\n"), Ok(refused));
    }
}
