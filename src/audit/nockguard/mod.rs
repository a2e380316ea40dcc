//! NockGuard's own trails: what its agents' keys prove of them, in one pass and in memory that does not grow.
//!
//! ```text
//! row     = {"ts":...,"agent":...,"tool":...,"decision":...,...,"sig":<hex>} LF       members in this order
//! sig     = Ed25519(key, row without sig || LF || sig of the row before, in hex)       or HMAC-SHA256 of the same bytes
//! <trail>.hwm = {"count":N,"last_sig":<hex>,"sig":<hex>} LF
//! sig     = Ed25519(key, "nockguard-hwm-v1" LF N LF last_sig LF)                        or HMAC-SHA256
//! ```
//!
//! It is stricter than NockGuard's verifier in one respect. That one reads a row, writes it again and checks the
//! signature of what it wrote, so that a name in capitals or a blank more goes by; here the bytes of the file themselves
//! must be those that were signed (`row.rs`), and the checkpoint's those that NockGuard writes. As there, a row without a
//! signature is tampering, and so is a trail without its checkpoint, or one that is shorter than the checkpoint counts;
//! rows beyond the checkpoint are accepted and reported.
//!
//! [`written`] makes the rows that an agent's launcher adds to its own trail.

mod report;
mod row;
pub mod written;

use std::collections::BTreeMap;
use std::io::{self, BufRead};

pub use report::{Report, Signer};
use row::{Mark, Row};

use crate::audit::shown::printable;
use crate::audit::verify::report::{Fault, Verdict};
use crate::crypto::hash::Digest;
use crate::crypto::mac::MacKey;
use crate::crypto::signature::{PublicKey, Signature};
use crate::time::{Seconds, Timestamp};

/// The longest line: NockGuard's own limit. A longer one is not read, which says nothing about tampering.
const LINE_BYTES: u64 = 8 << 20;

/// How many agents and decisions a report tells apart.
const NAMES: usize = 64;

/// A key that may have signed a trail.
#[derive(Debug)]
pub enum Key {
    /// An agent's own.
    Agent(PublicKey),
    /// The one of an installation, for agents without a key of their own.
    Global(PublicKey),
    /// The older one of an installation: who checks with it can also write.
    Hmac(MacKey),
}

impl Key {
    fn signed(&self, parts: &[&[u8]], sig: &str) -> bool {
        match self {
            Key::Agent(key) | Key::Global(key) => {
                unhex(sig).is_some_and(|sig| key.verify_raw(&parts.concat(), &Signature::from_bytes(sig)).is_ok())
            }
            Key::Hmac(key) => unhex(sig).is_some_and(|sig| key.tag(parts).same(&Digest::from_bytes(sig))),
        }
    }

    /// What rows call this key; an HMAC key has no name.
    fn id(&self) -> Option<String> {
        match self {
            Key::Agent(key) | Key::Global(key) => Some(key_id(key)),
            Key::Hmac(_) => None,
        }
    }
}

/// What NockGuard calls a key: SHA-256 of its 32 bytes, in hex.
fn key_id(key: &PublicKey) -> String {
    hex(Digest::of(&key.to_bytes()).as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Lower-case hex of exactly `N` bytes.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        *byte = (digit(pair[0])? << 4) | digit(pair[1])?;
    }
    Some(bytes)
}

/// How often each name was seen. Beyond [`NAMES`] of them they are counted together, so that no trail fills the memory.
#[derive(Debug, Default)]
struct Counts(BTreeMap<String, u64>);

impl Counts {
    fn saw(&mut self, name: &str) {
        if let Some(count) = self.0.get_mut(name) {
            *count += 1;
            return;
        }
        let name = if self.0.len() < NAMES { shown(name) } else { "(others)".to_owned() };
        *self.0.entry(name).or_default() += 1;
    }

    fn several(&self) -> bool {
        self.0.len() > 1
    }
}

/// A text of the file on its way to a terminal.
fn shown(text: &str) -> String {
    printable(&text.chars().take(128).collect::<String>())
}

/// A trail under verification.
#[derive(Debug)]
pub struct Trail<'a> {
    keys: &'a [Key],
    mark: Option<Result<Mark, String>>,
    key: Option<&'a Key>,
    /// The signature of the newest good row, in hex.
    prev: String,
    /// That of the row which the checkpoint counts last.
    at_mark: Option<String>,
    size: u64,
    lines: u64,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    agents: Counts,
    decisions: Counts,
    clock_fell: u64,
    timeless: u64,
    mended: u64,
    /// Lines without anything in them, which no signature covers.
    blank: u64,
    unended: bool,
    torn: bool,
    verdict: Option<Verdict>,
}

impl<'a> Trail<'a> {
    /// Nothing read yet. `mark` is the file `<trail>.hwm`, where there is one. The key that signed the first row has to
    /// have signed them all.
    #[must_use]
    pub fn new(keys: &'a [Key], mark: Option<&[u8]>) -> Trail<'a> {
        Trail {
            keys,
            mark: mark.map(Mark::read),
            key: None,
            prev: String::new(),
            at_mark: None,
            size: 0,
            lines: 0,
            from: None,
            to: None,
            agents: Counts::default(),
            decisions: Counts::default(),
            clock_fell: 0,
            timeless: 0,
            mended: 0,
            blank: 0,
            unended: false,
            torn: false,
            verdict: None,
        }
    }

    fn tampered(&self, fault: Fault, how: impl AsRef<str>) -> Verdict {
        Verdict::Tampered { entry: self.size, line: self.lines, fault, how: printable(how.as_ref()) }
    }

    /// Takes the next line, without its LF. Gives whether to go on; once it says no, the verdict stands.
    pub fn line(&mut self, line: &[u8]) -> bool {
        if self.verdict.is_none() {
            self.lines += 1;
            if line.trim_ascii().is_empty() {
                self.blank += 1;
            } else {
                self.verdict = self.take(line).err();
            }
        }
        self.verdict.is_none()
    }

    fn take(&mut self, line: &[u8]) -> Result<(), Verdict> {
        let row = match Row::read(line) {
            Ok(row) => row,
            Err(_) if self.size == 0 && !resembles_a_row(line) => {
                return Err(Verdict::Unusable { how: "this is not a trail of NockGuard's".into() });
            }
            Err(why) => {
                return Err(self.tampered(Fault::Malformed, format!("the line is not as NockGuard wrote it: {why}")));
            }
        };
        let keys = self.key.map_or(self.keys, std::slice::from_ref);
        let Some(key) = keys.iter().find(|key| key.signed(&row.message(&self.prev), row.sig)) else {
            let how = "its signature does not fit: it was altered, put here, or moved, the row before it was taken away, or \
                       another key signed it";
            return Err(self.tampered(Fault::Signature, how));
        };
        if row.key_id.is_some_and(|named| key.id().as_deref() != Some(named)) {
            return Err(self.tampered(Fault::KeyPin, "it names another key than the one that signed it"));
        }
        self.key = Some(key);
        self.took(&row);
        Ok(())
    }

    fn took(&mut self, row: &Row<'_>) {
        self.size += 1;
        self.prev.clear();
        self.prev.push_str(row.sig);
        if self.mark.as_ref().is_some_and(|mark| mark.as_ref().is_ok_and(|mark| mark.count == self.size)) {
            self.at_mark = Some(self.prev.clone());
        }
        self.agents.saw(row.agent);
        self.decisions.saw(row.decision);
        self.mended += u64::from(row.mended);
        match Timestamp::from_rfc3339(row.ts) {
            Some(ts) => {
                self.clock_fell += u64::from(self.to.is_some_and(|before| ts < before));
                self.from.get_or_insert(ts);
                self.to = Some(ts);
            }
            None => self.timeless += 1,
        }
    }

    /// The last line has no LF. Where it is not even whole JSON, the machine may have stopped in the middle of it.
    fn last(&mut self, line: &[u8]) {
        let breaks_off = serde_json::from_slice::<serde::de::IgnoredAny>(line).is_err_and(|why| why.is_eof());
        if breaks_off && self.size > 0 && self.verdict.is_none() {
            self.lines += 1;
            self.torn = true;
        } else {
            self.unended = true;
            self.line(line);
        }
    }

    /// A line that is longer than any that is read.
    fn too_long(&mut self) {
        let how = format!("line {} has more than {LINE_BYTES} bytes, and is not read", self.lines + 1);
        self.verdict.get_or_insert(Verdict::Unusable { how });
    }

    /// How many rows the checkpoint covers, where it fits and is signed by the key that signed them.
    fn anchored(&self) -> u64 {
        match &self.mark {
            Some(Ok(mark)) if self.at_mark.as_ref() == Some(&mark.last_sig) && self.is_signed(mark) => mark.count,
            _ => 0,
        }
    }

    fn is_signed(&self, mark: &Mark) -> bool {
        let keys = self.key.map_or(self.keys, std::slice::from_ref);
        keys.iter().any(|key| key.signed(&[&mark.message()], &mark.sig))
    }

    /// What the checkpoint says of the rows.
    fn check_mark(&self) -> Result<(), Verdict> {
        let next = |how: String| {
            let line = self.lines + u64::from(!self.torn);
            Err(Verdict::Tampered { entry: self.size, line, fault: Fault::Head, how: printable(&how) })
        };
        let mark = match &self.mark {
            None if self.size == 0 => return Err(Verdict::Unusable { how: "the trail has no rows".into() }),
            None => {
                return next(
                    "the trail has no checkpoint (.hwm): NockGuard writes one with every row, and whoever cuts \
                                 off a trail's end takes it away"
                        .into(),
                );
            }
            Some(Err(why)) => return next(format!("the checkpoint (.hwm) is not as NockGuard wrote it: {why}")),
            Some(Ok(mark)) => mark,
        };
        if !self.is_signed(mark) {
            return next("the checkpoint (.hwm) is not signed by the key that signed the rows".into());
        }
        if self.size < mark.count {
            return next(format!(
                "the trail ends here, but the signed checkpoint counts {} rows: its end was cut off",
                mark.count
            ));
        }
        if self.at_mark.as_ref() != Some(&mark.last_sig) {
            return next(format!("row {} of the trail is not the one that the signed checkpoint names", mark.count));
        }
        Ok(())
    }

    fn conclude(&self, max_age: Option<(Timestamp, Seconds)>) -> Verdict {
        if let Err(verdict) = self.check_mark() {
            return verdict;
        }
        if self.torn {
            let how = "the file breaks off inside this row; what stands before it is intact".to_owned();
            return Verdict::Torn { entry: self.size, line: self.lines, how };
        }
        match (max_age, self.to) {
            (Some((now, age)), Some(to)) if to.plus(age) < now => {
                Verdict::Stale { how: format!("the newest row is of {to}, more than {age} before {now}") }
            }
            (Some(_), None) => Verdict::Stale { how: "no row has a time that can be read".into() },
            _ => Verdict::Intact,
        }
    }

    /// The report, after the last line. `max_age` is the present, and how old the newest row may be.
    #[must_use]
    pub fn finish(mut self, max_age: Option<(Timestamp, Seconds)>) -> Report {
        let verdict = self.verdict.take().unwrap_or_else(|| self.conclude(max_age));
        Report::of(self, verdict)
    }
}

/// Whether a line that cannot be read was once a row, as far as its two ends tell: one flipped bit cannot spoil both.
fn resembles_a_row(line: &[u8]) -> bool {
    line.starts_with(b"{\"ts\":\"")
        || (line.ends_with(b"\"}") && line.windows(12).any(|part| part == b"\"decision\":\""))
}

/// Verifies the trail that `reader` gives, with the checkpoint that stood beside it.
///
/// # Errors
/// Where it cannot be read.
pub fn verify(
    mut reader: impl BufRead,
    mark: Option<&[u8]>,
    keys: &[Key],
    max_age: Option<(Timestamp, Seconds)>,
) -> io::Result<Report> {
    let mut trail = Trail::new(keys, mark);
    let mut line = Vec::new();
    loop {
        line.clear();
        io::Read::take(&mut reader, LINE_BYTES + 1).read_until(b'\n', &mut line)?;
        match line.strip_suffix(b"\n") {
            _ if line.is_empty() => break,
            Some(line) if trail.line(line) => {}
            Some(_) => break,
            None if line.len() as u64 > LINE_BYTES => {
                trail.too_long();
                break;
            }
            None => {
                trail.last(&line);
                break;
            }
        }
    }
    Ok(trail.finish(max_age))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_of_its_length_and_in_small_letters() {
        assert_eq!(unhex::<3>("00ff7a"), Some([0, 0xff, 0x7a]));
        for bad in ["", "00ff", "00ff7", "00ff7a0", "00ff7a00", "00FF7A", "00fg7a", "+0ff7a"] {
            assert_eq!(unhex::<3>(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_mark_has_its_bounds() {
        let mark = |length: usize| {
            let empty = "{\"count\":1,\"last_sig\":\"\",\"sig\":\"\"}";
            empty.replacen("\"\"", &format!("\"{}\"", "0".repeat(length - empty.len())), 1)
        };
        assert!(Mark::read(mark(row::MARK_BYTES).as_bytes()).is_ok());
        for length in [row::MARK_BYTES + 1, row::MARK_BYTES + 2] {
            assert!(Mark::read(mark(length).as_bytes()).is_err_and(|why| why.contains("more than")), "{length}");
        }
    }
}
