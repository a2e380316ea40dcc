//! A row of NockGuard's trail, and the checkpoint beside it, read byte for byte.
//!
//! NockGuard signs what Go's `encoding/json` writes of a struct: its members in their order, empty ones left out, no
//! blanks, `<`, `>` and `&` as escapes. A row is read by exactly that grammar, and the signed bytes are the row's own,
//! with its `sig` cut out. So whatever else stands in a line (a member more, one twice, one under another spelling, a
//! blank, an escape that Go does not write) is found without a second writer to compare with, and nothing that a person
//! reads in the file is outside of what was signed.

/// What a member holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    /// A text that is always there.
    Text,
    /// A text that is left out where it is empty.
    SomeText,
    /// A number that is left out where it is zero.
    SomeNumber,
}

/// NockGuard's members, in the order of its struct.
const MEMBERS: [(&str, Sort); 12] = [
    ("ts", Sort::Text),
    ("agent", Sort::Text),
    ("tool", Sort::Text),
    ("decision", Sort::Text),
    ("reason", Sort::SomeText),
    ("nock_id", Sort::SomeNumber),
    ("pr", Sort::SomeText),
    ("review_id", Sort::SomeText),
    ("parent_audit_seq", Sort::SomeNumber),
    ("session_id", Sort::SomeText),
    ("key_id", Sort::SomeText),
    ("sig", Sort::SomeText),
];

/// One row. Texts stand as in the file, with their escapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row<'a> {
    pub(super) ts: &'a str,
    pub(super) agent: &'a str,
    pub(super) decision: &'a str,
    pub(super) key_id: Option<&'a str>,
    /// Lower-case hex, of no length in particular.
    pub(super) sig: &'a str,
    /// What was signed, but for its closing brace.
    signed: &'a [u8],
    /// Whether it holds the mark that Go writes for bytes that are no UTF-8.
    pub(super) mended: bool,
}

impl<'a> Row<'a> {
    /// Reads a line, without its LF.
    pub(super) fn read(line: &'a [u8]) -> Result<Row<'a>, String> {
        let mut reader = Reader { line, at: 0, mended: false };
        let mut texts: [Option<&str>; MEMBERS.len()] = [None; MEMBERS.len()];
        let mut signed = line;
        for (place, (name, sort)) in MEMBERS.iter().enumerate() {
            let begins = reader.at;
            let opening = if place == 0 { '{' } else { ',' };
            if !reader.take(format!("{opening}\"{name}\":").as_bytes()) {
                match sort {
                    Sort::Text => return Err(reader.without(name)),
                    Sort::SomeText | Sort::SomeNumber => continue,
                }
            }
            let text = if *sort == Sort::SomeNumber { reader.number()? } else { reader.text()? };
            if text.is_empty() && *sort == Sort::SomeText {
                return Err(reader.wrong(&format!("an empty {name:?} is left out")));
            }
            texts[place] = Some(text);
            if *name == "sig" {
                signed = &line[..begins];
            }
        }
        if !reader.take(b"}") {
            return Err(reader.beyond());
        }
        if reader.at != line.len() {
            return Err(reader.wrong("the row is over, and something follows"));
        }
        let [Some(ts), Some(agent), _, Some(decision), .., key_id, sig] = texts else {
            return Err(reader.wrong("a member is missing"));
        };
        let sig = sig.ok_or("the row is not signed")?;
        if !sig.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
            return Err("its signature is not lower-case hex".into());
        }
        Ok(Row { ts, agent, decision, key_id, sig, signed, mended: reader.mended })
    }

    /// `canonical || LF || prev`, in parts.
    pub(super) fn message<'b>(&'b self, prev: &'b str) -> [&'b [u8]; 3] {
        [self.signed, b"}\n", prev.as_bytes()]
    }
}

/// The file `<trail>.hwm`: how many rows there were when it was written, and the signature of the last of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) count: u64,
    pub(super) last_sig: String,
    pub(super) sig: String,
}

/// The largest such file that is read.
pub(super) const MARK_BYTES: usize = 4096;

impl Mark {
    pub(super) fn read(bytes: &[u8]) -> Result<Mark, String> {
        let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        if line.len() > MARK_BYTES {
            return Err(format!("it has more than {MARK_BYTES} bytes"));
        }
        let mut reader = Reader { line, at: 0, mended: false };
        let mut member = |opening: &str, name: &str, number: bool| {
            if !reader.take(opening.as_bytes()) {
                return Err(reader.without(name));
            }
            if number { reader.number() } else { reader.text() }
        };
        let count = member("{\"count\":", "count", true)?;
        let last_sig = member(",\"last_sig\":", "last_sig", false)?;
        let sig = member(",\"sig\":", "sig", false)?;
        if !reader.take(b"}") || reader.at != line.len() {
            return Err(reader.wrong("something else than its three members stands here"));
        }
        let count = count.parse().map_err(|_| "its count is not that of rows")?;
        Ok(Mark { count, last_sig: last_sig.to_owned(), sig: sig.to_owned() })
    }

    /// `"nockguard-hwm-v1" LF count LF last_sig LF`; the last LF is that of a row without a row before it.
    pub(super) fn message(&self) -> Vec<u8> {
        format!("nockguard-hwm-v1\n{}\n{}\n", self.count, self.last_sig).into_bytes()
    }
}

struct Reader<'a> {
    line: &'a [u8],
    at: usize,
    mended: bool,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.line[self.at..]
    }

    fn take(&mut self, expected: &[u8]) -> bool {
        let there = self.rest().starts_with(expected);
        if there {
            self.at += expected.len();
        }
        there
    }

    fn wrong(&self, why: &str) -> String {
        format!("byte {}: {why}", self.at + 1)
    }

    fn without(&self, name: &str) -> String {
        self.wrong(&format!("the member {name:?} does not stand where NockGuard writes it"))
    }

    /// What is wrong with that which follows the last member in its place.
    fn beyond(&self) -> String {
        let name = self.rest().strip_prefix(b",\"").and_then(|rest| {
            let end = rest.iter().position(|byte| *byte == b'"')?;
            std::str::from_utf8(&rest[..end]).ok()
        });
        match name {
            Some(name) if MEMBERS.iter().any(|(known, _)| *known == name) => {
                self.wrong(&format!("the member {name:?} stands twice or out of its place"))
            }
            Some(name) => self.wrong(&format!("{name:?} is no member of a row, and no signature covers it")),
            None => self.wrong("neither a member of a row nor its end"),
        }
    }

    /// A whole number other than zero, as Go writes it.
    fn number(&mut self) -> Result<&'a str, String> {
        let digits = self.rest().iter().take_while(|byte| matches!(byte, b'-' | b'0'..=b'9')).count();
        let text = std::str::from_utf8(&self.rest()[..digits]).unwrap_or_default();
        match text.parse::<i64>() {
            Ok(number) if number != 0 && number.to_string() == text => {
                self.at += digits;
                Ok(text)
            }
            _ => Err(self.wrong("not a whole number other than zero")),
        }
    }

    /// A text, as Go writes it: what stands between its quotes.
    fn text(&mut self) -> Result<&'a str, String> {
        if !self.take(b"\"") {
            return Err(self.wrong("a text begins with a quote"));
        }
        let begins = self.at;
        loop {
            match self.rest() {
                [b'"', ..] => break,
                [b'\\', ..] => self.escape()?,
                [0..=0x1f | b'<' | b'>' | b'&', ..] | [0xe2, 0x80, 0xa8 | 0xa9, ..] => {
                    return Err(self.wrong("NockGuard writes this character as an escape"));
                }
                [_, ..] => self.at += 1,
                [] => return Err(self.wrong("the text does not end")),
            }
        }
        let text = std::str::from_utf8(&self.line[begins..self.at]).map_err(|why| {
            format!("byte {}: not UTF-8, which NockGuard never writes", begins + why.valid_up_to() + 1)
        })?;
        self.at += 1;
        Ok(text)
    }

    /// One of Go's escapes. Its version 1.22 changed those of backspace and form feed; a trail may hold both.
    fn escape(&mut self) -> Result<(), String> {
        let length = match self.rest() {
            [b'\\', b'"' | b'\\' | b'n' | b'r' | b't' | b'b' | b'f', ..] => 2,
            [b'\\', b'u', hex @ ..] => {
                let hex = hex.get(..4).unwrap_or_default();
                let (control, mark) = (is_control(hex), hex == b"fffd");
                self.mended |= mark;
                let special = [b"003c", b"003e", b"0026", b"2028", b"2029"].iter().any(|one| *one == hex);
                if control || mark || special { 6 } else { 0 }
            }
            _ => 0,
        };
        if length == 0 {
            return Err(self.wrong("NockGuard does not write this escape"));
        }
        self.at += length;
        Ok(())
    }
}

/// A control character's four digits, but for those that have a letter: LF, CR and tab.
fn is_control(hex: &[u8]) -> bool {
    let [b'0', b'0', high @ b'0'..=b'1', low @ (b'0'..=b'9' | b'a'..=b'f')] = hex else { return false };
    !(*high == b'0' && matches!(low, b'9' | b'a' | b'd'))
}
