//! Takes secrets out of a stream: of what comes back to the proxy, and of what a child prints. A secret is found as it is, and as JSON, a URL, HTML, hex or either
//! base64 writes it, the last at any of its three alignments and escaped once more, and wherever the stream is cut. What is
//! found is covered by a mark of the same length: a `Content-Length`, a frame and a JSON text stay what they were.
//!
//! Only what could still become a secret is held back, so that a stream of events is not delayed. What is decided at one
//! place depends on the bytes from there on alone, so that a stream cut anywhere reads as the whole does.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use zeroize::Zeroizing;

use crate::secret::SecretBytes;

/// The shortest secret that is taken out. A shorter one could not be told from other text.
pub(super) const SHORTEST: usize = 8;
/// What stands where a secret stood, with stars up to its length.
const MARK: &[u8] = b"[redacted]";
/// How many credentials' secrets are remembered: those that were put in last.
const REMEMBERED: usize = 32;

/// How the letters of a needle are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Letters {
    Exact,
    /// `+` is `-` and `/` is `_`: both alphabets at once.
    Base64,
    AnyCase,
}

impl Letters {
    fn same(self, wanted: u8, found: u8) -> bool {
        let url = |letter| match letter {
            b'+' => b'-',
            b'/' => b'_',
            other => other,
        };
        match self {
            Letters::Exact => wanted == found || (wanted == b' ' && found == b'+'),
            Letters::Base64 => url(wanted) == url(found),
            Letters::AnyCase => wanted.eq_ignore_ascii_case(&found),
        }
    }
}

/// One way of writing one secret.
#[derive(Debug)]
struct Needle {
    letters: Letters,
    text: SecretBytes,
}

/// What a place in the stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    /// A needle, of so many bytes.
    Needle(usize),
    /// What may become a needle when more comes.
    Start,
}

impl Found {
    /// Of two, the one that decides: more must be awaited, else the longer needle.
    fn or(self, other: Found) -> Found {
        match (self, other) {
            (Found::Start, _) | (_, Found::Start) => Found::Start,
            (Found::Needle(one), Found::Needle(two)) => Found::Needle(one.max(two)),
            (Found::Nothing, found) | (found, Found::Nothing) => found,
        }
    }
}

/// A letter with which an escape may begin.
fn escapes(letter: u8) -> bool {
    matches!(letter, b'%' | b'\\' | b'&')
}

fn hex(digits: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(digits).ok()?;
    digits.iter().all(u8::is_ascii_hexdigit).then(|| u32::from_str_radix(text, 16).ok())?
}

/// What an escape at the beginning of `input` stands for, and its length.
enum Escape {
    None,
    Letter(u8, usize),
    Cut,
}

/// An escape of hex digits behind `lead` bytes.
fn digits(input: &[u8], lead: usize, count: usize) -> Escape {
    let there = &input[lead..input.len().min(lead + count)];
    if !there.iter().all(u8::is_ascii_hexdigit) {
        return Escape::None;
    }
    if there.len() < count {
        return Escape::Cut;
    }
    match hex(there).and_then(|code| u8::try_from(code).ok()) {
        // As a character, only ASCII is one byte.
        Some(letter) if count == 2 || letter.is_ascii() => Escape::Letter(letter, lead + count),
        _ => Escape::None,
    }
}

fn entity(input: &[u8]) -> Escape {
    const LONGEST: usize = 8;
    let Some(end) = input.iter().take(LONGEST).position(|byte| *byte == b';') else {
        let open = input.len() < LONGEST && input[1..].iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'#');
        return if open { Escape::Cut } else { Escape::None };
    };
    let letter = match &input[1..end] {
        b"amp" => Some(b'&'),
        b"lt" => Some(b'<'),
        b"gt" => Some(b'>'),
        b"quot" => Some(b'"'),
        b"apos" => Some(b'\''),
        [b'#', b'x' | b'X', code @ ..] => hex(code).and_then(|code| u8::try_from(code).ok()),
        [b'#', code @ ..] => std::str::from_utf8(code).ok().and_then(|code| code.parse().ok()),
        _ => None,
    };
    letter.filter(u8::is_ascii).map_or(Escape::None, |letter| Escape::Letter(letter, end + 1))
}

fn escape(input: &[u8]) -> Escape {
    match input {
        [b'%', ..] => digits(input, 1, 2),
        [b'\\'] => Escape::Cut,
        [b'\\', b'u', ..] => digits(input, 2, 4),
        [b'\\', b'x', ..] => digits(input, 2, 2),
        [b'\\', next, ..] => match next {
            b'"' | b'\\' | b'/' | b'\'' => Escape::Letter(*next, 2),
            b'b' => Escape::Letter(8, 2),
            b'f' => Escape::Letter(12, 2),
            b'n' => Escape::Letter(b'\n', 2),
            b'r' => Escape::Letter(b'\r', 2),
            b't' => Escape::Letter(b'\t', 2),
            _ => Escape::None,
        },
        [b'&', ..] => entity(input),
        _ => Escape::None,
    }
}

impl Needle {
    fn new(letters: Letters, text: impl Into<Vec<u8>>) -> Needle {
        Needle { letters, text: text.into().into() }
    }

    fn begins_with(&self, letter: u8) -> bool {
        escapes(letter) || self.letters.same(self.text.expose()[0], letter)
    }

    /// Whether `input` begins with this needle; where it has `ended`, nothing comes after it.
    fn at(&self, input: &[u8], ended: bool) -> Found {
        let text = self.text.expose();
        for (index, wanted) in text.iter().enumerate() {
            match input.get(index) {
                None if ended => return Found::Nothing,
                None => return Found::Start,
                Some(found) if escapes(*found) => return self.at_escaped(input, index, ended),
                Some(found) if self.letters.same(*wanted, *found) => {}
                Some(_) => return Found::Nothing,
            }
        }
        Found::Needle(text.len())
    }

    /// The same, from where the first escape may stand. A letter may be itself or begin an escape, so that several ways
    /// through the input are followed at once.
    fn at_escaped(&self, input: &[u8], from: usize, ended: bool) -> Found {
        let (mut ways, mut next, mut open) = (vec![from], Vec::new(), false);
        for wanted in &self.text.expose()[from..] {
            next.clear();
            for way in &ways {
                let Some(found) = input.get(*way) else {
                    open = true;
                    continue;
                };
                if self.letters.same(*wanted, *found) {
                    next.push(way + 1);
                }
                match escape(&input[*way..]) {
                    Escape::Letter(letter, length) if self.letters.same(*wanted, letter) => next.push(way + length),
                    Escape::Cut => open = true,
                    Escape::Letter(..) | Escape::None => {}
                }
            }
            next.sort_unstable();
            next.dedup();
            std::mem::swap(&mut ways, &mut next);
            if ways.is_empty() {
                break;
            }
        }
        match ways.last() {
            _ if open && !ended => Found::Start,
            Some(end) => Found::Needle(*end),
            None => Found::Nothing,
        }
    }
}

/// All ways of writing one secret.
fn needles(secret: &str) -> Vec<Needle> {
    let bytes = secret.as_bytes();
    let hexed: Vec<u8> = bytes.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect();
    let mut all = vec![Needle::new(Letters::Exact, bytes), Needle::new(Letters::AnyCase, hexed)];
    for before in 0..3 {
        let mut shifted = Zeroizing::new(vec![0; before]);
        shifted.extend_from_slice(bytes);
        let text = Zeroizing::new(STANDARD_NO_PAD.encode(&*shifted));
        // The letters that hold nothing of what stands before and after.
        let (first, end) = ((before * 8).div_ceil(6), shifted.len() * 8 / 6);
        all.push(Needle::new(Letters::Base64, &text.as_bytes()[first..end]));
    }
    if !secret.is_ascii() {
        let escaped = |letter: char| match letter {
            letter if letter.is_ascii() => letter.to_string(),
            letter => letter.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
        };
        all.push(Needle::new(Letters::AnyCase, secret.chars().map(escaped).collect::<String>()));
    }
    all
}

/// What is looked for, and with which bytes it may begin.
#[derive(Debug)]
pub(super) struct Needles {
    all: Vec<Arc<Needle>>,
    /// For each byte the needles that may begin with it.
    first: Vec<Vec<u16>>,
}

impl Needles {
    fn new(all: Vec<Arc<Needle>>) -> Needles {
        let may_begin = |letter| {
            let numbers = (0_u16..).zip(&all);
            numbers.filter(|(_, needle)| needle.begins_with(letter)).map(|(number, _)| number).collect()
        };
        let first = (0..=u8::MAX).map(may_begin).collect();
        Needles { all, first }
    }

    fn at(&self, input: &[u8], ended: bool) -> Found {
        let candidates = self.first[usize::from(input[0])].iter().map(|number| &self.all[usize::from(*number)]);
        candidates.fold(Found::Nothing, |found, needle| found.or(needle.at(input, ended)))
    }

    /// The place of the first secret in `input` or of what may be the start of one.
    fn find(&self, input: &[u8], from: usize, ended: bool) -> Option<(usize, Found)> {
        (from..input.len()).find_map(|place| {
            // Most places are passed here.
            if self.first[usize::from(input[place])].is_empty() {
                return None;
            }
            let found = self.at(&input[place..], ended);
            (found != Found::Nothing).then_some((place, found))
        })
    }

    /// A whole text without secrets; `None` where there are none in it.
    pub(super) fn redacted(self: &Arc<Needles>, whole: &[u8]) -> Option<Vec<u8>> {
        let mut redactor = Redactor::new(Arc::clone(self));
        let mut out = redactor.push(Bytes::copy_from_slice(whole)).to_vec();
        out.extend_from_slice(&redactor.finish());
        (out != whole).then_some(out)
    }
}

/// The secrets that were put into requests: what came of an earlier one may come back later, and through another rule.
#[derive(Debug)]
pub(super) struct Known(Mutex<Remembered>);

/// The writings of the secrets that came together, in the order in which they were last given, and all of them for looking.
type Remembered = (VecDeque<Vec<Arc<Needle>>>, Arc<Needles>);

impl Default for Known {
    fn default() -> Known {
        Known(Mutex::new((VecDeque::new(), Arc::new(Needles::new(Vec::new())))))
    }
}

impl Known {
    /// Remembers these secrets, and gives all that are remembered.
    pub(super) fn with<'s>(&self, secrets: impl IntoIterator<Item = &'s str>) -> Arc<Needles> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (sets, all) = &mut *known;
        let mut new: Vec<Arc<Needle>> = Vec::new();
        for secret in secrets {
            let is_it = |one: &Arc<Needle>| one.letters == Letters::Exact && one.text.expose() == secret.as_bytes();
            if let Some(place) = sets.iter().position(|set| set.iter().any(is_it)) {
                let set = sets.remove(place);
                sets.extend(set);
            } else if !new.iter().any(is_it) {
                new.extend(needles(secret).into_iter().map(Arc::new));
            }
        }
        if !new.is_empty() {
            sets.push_back(new);
            while sets.len() > REMEMBERED {
                sets.pop_front();
            }
            *all = Arc::new(Needles::new(sets.iter().flatten().cloned().collect()));
        }
        Arc::clone(all)
    }
}

fn cover(place: &mut [u8]) {
    place.fill(b'*');
    if let Some(mark) = place.get_mut(..MARK.len()) {
        mark.copy_from_slice(MARK);
    }
}

/// A stream under redaction.
#[derive(Debug)]
pub(super) struct Redactor {
    needles: Arc<Needles>,
    /// The end of what came, where it may be the start of a secret.
    held: Zeroizing<Vec<u8>>,
}

impl Redactor {
    pub(super) fn new(needles: Arc<Needles>) -> Redactor {
        Redactor { needles, held: Zeroizing::new(Vec::new()) }
    }

    /// Takes the next part of the stream and gives what can be said so far.
    pub(super) fn push(&mut self, part: Bytes) -> Bytes {
        // Nearly every part has nothing in it, and goes on as it is.
        if self.held.is_empty() && self.needles.find(&part, 0, false).is_none() {
            return part;
        }
        self.held.extend_from_slice(&part);
        self.settle(false)
    }

    /// The end of the stream: gives the rest.
    pub(super) fn finish(&mut self) -> Bytes {
        self.settle(true)
    }

    fn settle(&mut self, ended: bool) -> Bytes {
        let (held, mut place) = (&mut *self.held, 0);
        let open = loop {
            match self.needles.find(held, place, ended) {
                Some((at, Found::Needle(length))) => {
                    cover(&mut held[at..at + length]);
                    place = at + length;
                }
                Some((at, _)) => break at,
                None => break held.len(),
            }
        };
        let said = Bytes::copy_from_slice(&held[..open]);
        let rest = Zeroizing::new(held[open..].to_vec());
        self.held = rest;
        said
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "sk-/a+b&\"c\\%41 d=9";

    fn whole(secret: &str, text: &[u8]) -> Vec<u8> {
        cut(secret, text, &[])
    }

    fn cut(secret: &str, text: &[u8], places: &[usize]) -> Vec<u8> {
        let mut redactor = Redactor::new(Known::default().with([secret]));
        let (mut out, mut from) = (Vec::new(), 0);
        let mut places: Vec<_> = places.iter().map(|place| place % (text.len() + 1)).collect();
        places.sort_unstable();
        for place in places.into_iter().chain([text.len()]) {
            out.extend_from_slice(&redactor.push(Bytes::copy_from_slice(&text[from..place])));
            from = place;
        }
        out.extend_from_slice(&redactor.finish());
        out
    }

    fn percent(text: &str) -> String {
        text.bytes().map(|byte| format!("%{byte:02X}")).collect()
    }

    fn units(text: &str) -> String {
        text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect()
    }

    fn html(text: &str) -> String {
        text.replace('&', "&amp;").replace('"', "&quot;")
    }

    fn ways(secret: &str) -> Vec<String> {
        let json = serde_json::to_string(secret).unwrap();
        let json = json[1..json.len() - 1].to_owned();
        let hexed: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        let mut all = vec![
            secret.to_owned(),
            json.replace('/', "\\/"),
            json,
            percent(secret),
            percent(secret).to_lowercase(),
            percent(secret).replace("%20", "+"),
            units(secret),
            units(secret).to_lowercase(),
            html(secret),
            hexed.to_uppercase(),
            hexed,
        ];
        for before in ["", "x", "xy", "user:", "Bearer "] {
            for after in ["", "!", "!?"] {
                let text = format!("{before}{secret}{after}");
                all.push(STANDARD.encode(&text));
                all.push(STANDARD.encode(&text).replace('/', "%2f").replace('+', "%2B"));
                all.push(STANDARD.encode(&text).replace('/', "\\/"));
                all.push(URL_SAFE_NO_PAD.encode(&text));
            }
        }
        all
    }

    #[test]
    fn a_secret_is_found_however_it_is_written() {
        for secret in
            [SECRET, "12345678", "gr\u{fc}\u{df}e-\u{1f511}-key", "xxxxxxxxx", "%%%%%%%%%%", "\\\\\\\\\\\\\\\\"]
        {
            for way in ways(secret) {
                let text = format!("{{\"echo\": \"{way}\"}}");
                let out = whole(secret, text.as_bytes());
                let said = String::from_utf8(out).unwrap();
                assert!(said.contains("[redacted]") || said.contains("********"), "{secret:?} as {way:?}: {said}");
                assert_eq!(said.len(), text.len(), "{way:?}");
                assert!(said.starts_with("{\"echo\": \"") && said.ends_with("\"}"), "{way:?}: {said}");
                assert!(!said.contains(&way), "{way:?}");
            }
        }
    }

    #[test]
    fn other_text_goes_on_as_it_is_and_at_once() {
        let mut redactor = Redactor::new(Known::default().with([SECRET]));
        let event = Bytes::from_static(b"data: {\"text\":\"sk-\"}\n\n");
        assert_eq!(redactor.push(event.clone()), event, "the start of a secret that did not go on");
        assert_eq!(redactor.push(Bytes::from_static(b"key sk-/a")), "key ");
        assert_eq!(redactor.push(Bytes::from_static(b"+b")), "");
        assert_eq!(redactor.push(Bytes::from_static(b"?")), "sk-/a+b?");
        assert_eq!(redactor.push(Bytes::from_static(b"sk-/")), "");
        assert_eq!(redactor.finish(), "sk-/");
        assert_eq!(redactor.finish(), "");
    }

    #[test]
    fn earlier_secrets_are_remembered_and_not_without_end() {
        let known = Known::default();
        let names: Vec<String> = (0..100).map(|number| format!("secret-{number:04}")).collect();
        for name in &names {
            known.with([name.as_str()]);
            assert!(known.with([name.as_str()]).redacted(name.as_bytes()).is_some());
        }
        let all = known.with([]);
        assert!(all.redacted(b"secret-0099 secret-0068").is_some_and(|out| out == b"[redacted]* [redacted]*"));
        assert!(all.redacted(b"secret-0000").is_none());
    }

    #[test]
    fn what_is_given_together_or_again_is_remembered_together() {
        let known = Known::default();
        let lines: Vec<String> = (0..60).map(|number| format!("line-{number:04}")).collect();
        known.with(lines.iter().map(String::as_str));
        let hidden = |line: &String| known.with([]).redacted(line.as_bytes()).is_some();
        assert!(lines.iter().all(hidden), "a key in many lines");
        for number in 0..100 {
            known.with([format!("secret-{number:04}").as_str()]);
            known.with([lines[7].as_str()]);
        }
        assert!(lines.iter().all(hidden), "it was given again and again");
    }

    #[test]
    fn nothing_of_it_is_printed() {
        let known = Known::default();
        known.with(["hunter2-hunter2"]);
        assert!(!format!("{known:?}").contains("hunter2"));
    }

    /// Pieces of the secret, its escapes, and other text, so that near misses are many.
    fn piece(secret: &'static str) -> impl Strategy<Value = Vec<u8>> {
        let ways = ways(secret);
        prop_oneof![
            prop::sample::select(ways.clone()).prop_map(String::into_bytes),
            (prop::sample::select(ways), any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(
                |(way, one, two)| {
                    let (one, two) = (one.index(way.len()), two.index(way.len()));
                    way.as_bytes()[one.min(two)..one.max(two)].to_vec()
                }
            ),
            prop::sample::select(vec![
                "%", "\\", "\\u", "\\u00", "%2", "&", "&#", "&amp", "&quot;", "\\\\", "sk-", "s"
            ])
            .prop_map(|text| text.as_bytes().to_vec()),
            prop::collection::vec(any::<u8>(), 0..6),
        ]
    }

    proptest! {
        #[test]
        fn a_stream_cut_anywhere_reads_as_the_whole_does(
            pieces in prop::collection::vec(piece(SECRET), 0..8),
            places in prop::collection::vec(any::<usize>(), 0..12),
        ) {
            let text = pieces.concat();
            let out = cut(SECRET, &text, &places);
            prop_assert_eq!(&out, &whole(SECRET, &text));
            prop_assert_eq!(out.len(), text.len());
            prop_assert!(!String::from_utf8_lossy(&out).contains(SECRET));
        }

        #[test]
        fn a_stream_cut_at_every_byte_reads_as_the_whole_does(pieces in prop::collection::vec(piece("aaaaaaab"), 0..6)) {
            let text = pieces.concat();
            let places: Vec<usize> = (0..=text.len()).collect();
            prop_assert_eq!(cut("aaaaaaab", &text, &places), whole("aaaaaaab", &text));
        }
    }
}
