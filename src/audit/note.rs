//! Signed notes, C2SP's signed-note v1.0.0: a text, an empty line, and lines of signatures over the text.
//!
//! ```text
//! text LF
//! LF
//! — <key name> base64(key id || signature) LF
//!
//! key id = SHA-256(name || LF || type || public key)[0..4]        vkey = name + hex(key id) + base64(type || public key)
//! ```
//!
//! A [`NoteKey`] is an Ed25519 key of type 0x01, which signs the text itself. Lines of other keys are kept and mean
//! nothing until their key is known: see [`witness`](super::witness) for those of type 0x04.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::shown::printable;
use crate::crypto::hash::Digest;
use crate::crypto::signature::{KeyFault, PublicKey, Signature, SigningKey};

/// How long a note may be, in bytes: a checkpoint with more signatures than any policy asks for.
pub const MAX_BYTES: usize = 256 << 10;

/// What a line of a signature begins with.
const DASH: &str = "\u{2014} ";

/// RFC 4648 section 4: the base64 of C2SP's formats, with padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes of a text in canonical base64 with padding.
pub(super) fn unbase64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// The hash that a text of canonical base64 stands for.
pub(super) fn digest(text: &str) -> Option<Digest> {
    Some(Digest::from_bytes(unbase64(text)?.try_into().ok()?))
}

/// The number that a text of digits stands for, without a sign or leading zeroes, and below 2^63.
pub(super) fn decimal(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number >> 63 == 0 && number.to_string() == text)
}

/// Why a text is no signed note.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadNote {
    /// It is longer than a note may be.
    #[error("the note has {bytes} bytes, over the limit of {limit}")]
    TooLarge {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// A character that no note has: a carriage return, a tab, a NUL.
    #[error("a note has no control character but line feeds; was it saved with CR LF?")]
    Control,
    /// No empty line between a text and signatures.
    #[error("a note is a text, an empty line, and lines of signatures, each ended by a line feed")]
    Shape,
    /// A line after the empty one is no signature.
    #[error("line {0} of the signatures is not `\u{2014} <key name> <base64>`")]
    Line(usize),
}

/// A note: what was said, and who is said to have signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The signed text, with its last LF.
    pub text: String,
    /// The lines below it, none of them checked.
    pub signatures: Vec<Line>,
}

/// The line of one signature, not checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The key's name.
    pub name: String,
    /// The key's id: where to look, no proof of who signed.
    pub id: [u8; 4],
    /// What the key made of the text.
    pub signature: Vec<u8>,
}

impl Line {
    /// Reads a line, given without its LF.
    #[must_use]
    pub fn read(line: &str) -> Option<Line> {
        let (name, bytes) = line.strip_prefix(DASH)?.split_once(' ')?;
        let bytes = unbase64(bytes)?;
        let (id, signature) = bytes.split_first_chunk::<4>()?;
        let fits = is_key_name(name) && !signature.is_empty();
        fits.then(|| Line { name: name.to_owned(), id: *id, signature: signature.to_vec() })
    }
}

/// The line, without its LF.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{DASH}{} {}", self.name, base64(&[self.id.as_slice(), &self.signature].concat()))
    }
}

/// Whether a key may have this name: not empty, and without white space, plus and control characters.
#[must_use]
pub fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+' || c < ' ')
}

impl Note {
    /// Reads a note. Nothing in it is believed before [`verified_by`](Self::verified_by) has been asked.
    ///
    /// # Errors
    /// [`BadNote`].
    pub fn read(note: &str) -> Result<Note, BadNote> {
        if note.len() > MAX_BYTES {
            return Err(BadNote::TooLarge { bytes: note.len(), limit: MAX_BYTES });
        }
        if note.contains(|c| c < ' ' && c != '\n') {
            return Err(BadNote::Control);
        }
        let gap = note.rfind("\n\n").ok_or(BadNote::Shape)?;
        let lines = note[gap + 2..].strip_suffix('\n').ok_or(BadNote::Shape)?;
        let read = |(nth, line)| Line::read(line).ok_or(BadNote::Line(nth + 1));
        let signatures = lines.split('\n').enumerate().map(read).collect::<Result<_, _>>()?;
        Ok(Note { text: note[..=gap].to_owned(), signatures })
    }

    /// The note of `text` with one signature by the Ed25519 key of this name.
    ///
    /// # Panics
    /// Where the text does not end with LF or has other control characters, or where no key can have this name.
    #[must_use]
    pub fn signed(text: &str, name: &str, key: &SigningKey) -> Note {
        assert!(text.ends_with('\n') && !text.contains(|c| c < ' ' && c != '\n'), "the text of a note is lines");
        assert!(is_key_name(name), "no key can have the name {name:?}");
        let by = NoteKey { name: name.to_owned(), key: key.public() };
        let signature = key.sign_raw(text.as_bytes()).as_bytes().to_vec();
        Note { text: text.to_owned(), signatures: vec![Line { id: by.id(), name: by.name, signature }] }
    }

    /// The whole note.
    #[must_use]
    pub fn write(&self) -> String {
        let mut note = format!("{}\n", self.text);
        for line in &self.signatures {
            note.push_str(&format!("{line}\n"));
        }
        note
    }

    /// The lines that name this key.
    pub fn lines_of(&self, name: &str, id: [u8; 4]) -> impl Iterator<Item = &Line> {
        self.signatures.iter().filter(move |line| line.name == name && line.id == id)
    }

    /// Whether the key signed the text: a line names it, and each line that names it is its signature.
    #[must_use]
    pub fn verified_by(&self, key: &NoteKey) -> bool {
        let mut lines = self.lines_of(&key.name, key.id()).peekable();
        let signed = |line: &Line| {
            let signature = Signature::from_slice(&line.signature);
            signature.is_some_and(|signature| key.key.verify_raw(self.text.as_bytes(), &signature).is_ok())
        };
        lines.peek().is_some() && lines.all(signed)
    }
}

/// What a key signs notes as; part of its id, so that a signature of one kind is never looked up as one of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyType {
    /// Ed25519 over the text.
    Note = 0x01,
    /// Ed25519 over a checkpoint and the time at which a witness saw it.
    Cosignature = 0x04,
}

/// Why a text is no verifier key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadVkey {
    /// Not the form of one.
    #[error("a verifier key is <name>+<8 hexadecimal digits>+<base64>")]
    Form,
    /// Its id is not that of its name and key: something was mistyped, or the name changed.
    #[error("the key's id is {found}, but that of its name and key is {wanted}; copy the whole text again")]
    Id {
        /// What the text says.
        found: String,
        /// What it would have to say.
        wanted: String,
    },
    /// A key of a kind that is not for this place.
    #[error("the key is of type {found:#04x}; here stands one of type {wanted:#04x}, {what}")]
    Type {
        /// What the text says.
        found: u8,
        /// What is asked for.
        wanted: u8,
        /// What that is, for people.
        what: &'static str,
    },
    /// No good Ed25519 key.
    #[error("the key is not a good Ed25519 key: {0}")]
    Key(#[from] KeyFault),
}

/// `SHA-256(name || LF || type || public key)[0..4]`.
pub(super) fn key_id(name: &str, kind: KeyType, key: &PublicKey) -> [u8; 4] {
    id_of(name, &[&[kind as u8], key.to_bytes().as_slice()].concat())
}

fn id_of(name: &str, material: &[u8]) -> [u8; 4] {
    let hash = Digest::of_parts(&[name.as_bytes(), b"\n", material]);
    let [a, b, c, d, ..] = *hash.as_bytes();
    [a, b, c, d]
}

fn hex(id: [u8; 4]) -> String {
    format!("{:08x}", u32::from_be_bytes(id))
}

/// The text of a verifier key.
pub(super) fn write_vkey(name: &str, kind: KeyType, key: &PublicKey) -> String {
    let material = [&[kind as u8], key.to_bytes().as_slice()].concat();
    format!("{name}+{}+{}", hex(id_of(name, &material)), base64(&material))
}

/// Reads a verifier key of this kind.
pub(super) fn read_vkey(text: &str, kind: KeyType) -> Result<(String, PublicKey), BadVkey> {
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(id), Some(material)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(BadVkey::Form);
    };
    let material = unbase64(material).filter(|_| is_key_name(name)).ok_or(BadVkey::Form)?;
    let wanted = hex(id_of(name, &material));
    if id != wanted {
        return Err(BadVkey::Id { found: printable(&id.chars().take(16).collect::<String>()), wanted });
    }
    let (found, key) = material.split_first().ok_or(BadVkey::Form)?;
    if *found != kind as u8 {
        let what = match kind {
            KeyType::Note => "an Ed25519 key that signs notes",
            KeyType::Cosignature => "the Ed25519 key of a witness",
        };
        return Err(BadVkey::Type { found: *found, wanted: kind as u8, what });
    }
    let key = key.try_into().map_err(|_| BadVkey::Form)?;
    Ok((name.to_owned(), PublicKey::from_bytes(key)?))
}

/// An Ed25519 key that signs notes, type 0x01, under its name. Its text is the verifier key, `name+id+key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteKey {
    name: String,
    key: PublicKey,
}

impl NoteKey {
    /// The key under this name; none where no key can have it.
    #[must_use]
    pub fn new(name: &str, key: PublicKey) -> Option<NoteKey> {
        is_key_name(name).then(|| NoteKey { name: name.to_owned(), key })
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

    /// What lines of its signatures name it by, beside its name.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        key_id(&self.name, KeyType::Note, &self.key)
    }
}

impl fmt::Display for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&write_vkey(&self.name, KeyType::Note, &self.key))
    }
}

impl FromStr for NoteKey {
    type Err = BadVkey;

    fn from_str(text: &str) -> Result<NoteKey, BadVkey> {
        let (name, key) = read_vkey(text, KeyType::Note)?;
        Ok(NoteKey { name, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    fn key(seed: u64) -> SigningKey {
        SigningKey::generate(&SeededEntropy::new(seed))
    }

    fn signed() -> (Note, NoteKey) {
        let key = key(1);
        let note = Note::signed("one\n\ntwo\n", "example.com/a", &key);
        (note, NoteKey::new("example.com/a", key.public()).unwrap())
    }

    #[test]
    fn what_is_written_reads_back_and_holds() {
        let (note, key) = signed();
        let read = Note::read(&note.write()).unwrap();
        assert_eq!(read, note);
        assert!(read.verified_by(&key));
        assert_eq!(key.to_string().parse(), Ok(key));
    }

    #[test]
    fn another_key_name_or_text_does_not_hold() {
        let (note, by) = signed();
        let said = Note { text: "one\n\ntwo \n".into(), ..note.clone() };
        assert!(!said.verified_by(&by));
        assert!(!note.verified_by(&NoteKey::new("example.com/b", by.key.clone()).unwrap()));
        assert!(!note.verified_by(&NoteKey::new("example.com/a", key(2).public()).unwrap()));
        // A line that names the key and is not its signature spoils the note, wherever it stands.
        for at in [0, 1] {
            let mut twice = note.clone();
            let mut line = note.signatures[0].clone();
            line.signature[5] ^= 1;
            twice.signatures.insert(at, line);
            assert!(!twice.verified_by(&by));
        }
        // One of a stranger does not, nor does one that shares the name or the id alone.
        let mut more = note.clone();
        let line = Line { name: "stranger".into(), id: by.id(), signature: vec![1] };
        more.signatures.push(line);
        more.signatures.push(Line { name: by.name.clone(), id: [0; 4], signature: vec![1] });
        assert!(Note::read(&more.write()).unwrap().verified_by(&by));
    }

    #[test]
    fn what_is_no_note_is_told_why() {
        let (note, _) = signed();
        let good = note.write();
        let line = note.signatures[0].to_string();
        for (text, why) in [
            (String::new(), BadNote::Shape),
            (good.replacen('\n', "\r\n", 1), BadNote::Control),
            (good.trim_end().to_owned(), BadNote::Shape),
            ("one\n\n".to_owned(), BadNote::Shape),
            (format!("one\n{line}\n"), BadNote::Shape),
            (format!("one\n\n{line}\nmore\n"), BadNote::Line(2)),
            (format!("one\n\n{}\n", line.replacen('\u{2014}', "-", 1)), BadNote::Line(1)),
            (format!("one\n\n{}\n", line.replacen("com", "c+m", 1)), BadNote::Line(1)),
            (format!("one\n\n{line}=\n"), BadNote::Line(1)),
            ("one\n\n\u{2014} a AAAAAA==\n".to_owned(), BadNote::Line(1)),
            ("one\n\n\u{2014}  AAAAAAA=\n".to_owned(), BadNote::Line(1)),
            ("x".repeat(MAX_BYTES + 1), BadNote::TooLarge { bytes: MAX_BYTES + 1, limit: MAX_BYTES }),
        ] {
            assert_eq!(Note::read(&text), Err(why), "{text:.80}");
        }
        let longest = format!("{}{good}", "x".repeat(MAX_BYTES - good.len()));
        assert!(Note::read(&longest).is_ok(), "as long as a note may be");
        for (name, may) in
            [("", false), ("a b", false), ("a+b", false), ("a\u{1}b", false), ("a\u{2003}b", false), ("ä/b", true)]
        {
            assert_eq!(is_key_name(name), may, "{name:?}");
        }
    }

    #[test]
    fn a_verifier_key_that_was_mistyped_is_none() {
        let (_, key) = signed();
        let text = key.to_string();
        let read = |text: &str| text.parse::<NoteKey>().unwrap_err();
        assert!(matches!(read(&text.replacen("com", "org", 1)), BadVkey::Id { .. }));
        assert!(matches!(read(&text.replace("+A", "+B")), BadVkey::Id { .. }));
        assert_eq!(read("example.com/a"), BadVkey::Form);
        assert_eq!(read(&format!(" {text}")), BadVkey::Form);
        let witness = write_vkey("w", KeyType::Cosignature, &key.key);
        assert!(matches!(read(&witness), BadVkey::Type { found: 4, wanted: 1, .. }));
        // Each part may be changed only together with the others.
        assert_eq!(decimal("007"), None);
        assert_eq!(decimal("+7"), None);
        assert_eq!((decimal("0"), decimal("9223372036854775807")), (Some(0), Some(i64::MAX as u64)));
        assert_eq!(decimal("9223372036854775808"), None);
    }
}
