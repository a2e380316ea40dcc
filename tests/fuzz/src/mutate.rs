//! Changes to an input that keep much of its form: a byte flipped, a part cut out, said again or taken from another input,
//! lines and members exchanged, a number put at its edge. What is JSON is changed as a tree and written in canonical form
//! again, so that the change gets past admission.

use serde_json::{Map, Value};

/// A row of numbers that its seed decides alone.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The row of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// The next number (SplitMix64).
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn one<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// A part of something of this length; more often a short one.
    fn part(&mut self, length: usize) -> std::ops::Range<usize> {
        let longest = if self.below(4) == 0 { length } else { length.min(16) };
        let begin = self.below(length + 1);
        begin..(begin + self.below(longest + 1)).min(length)
    }
}

/// Texts that readers look at twice.
const WORDS: &[&str] = &[
    "",
    "null",
    "true",
    "-1",
    "0",
    "1",
    "-0",
    "01",
    "+1",
    "1.0",
    "1e9",
    "18446744073709551615",
    "18446744073709551616",
    "9007199254740991",
    "9007199254740992",
    "9223372036854775807",
    "\u{0}",
    "\n",
    "\r\n",
    "\t",
    " ",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "é",
    "e\u{301}",
    "\u{202e}",
    "\u{feff}",
    "\u{1b}[2J",
    "\u{9b}2J",
    "../",
    "/",
    "//",
    "/./",
    "%2e%2e",
    "%",
    "%00",
    "{",
    "}",
    "[",
    "]",
    "{{",
    "}}",
    "=",
    "==",
    ".",
    "..",
    ":",
    "@",
    "~",
    "~1",
    "-----BEGIN X-----",
    "-----END X-----",
    "$ref",
    "$serde_json::private::RawValue",
    "$serde_json::private::Number",
    "__proto__",
    "{token}",
    "::1",
    "127.0.0.1",
];

/// Numbers at an edge.
const EDGES: [u64; 12] =
    [0, 1, 2, 127, 255, 256, 65_535, 0xffff_ffff, 1 << 53, (1 << 53) - 1, i64::MAX as u64, u64::MAX];

/// A changed input of at most `cap` bytes; `other` lends parts.
#[must_use]
pub fn mutated(input: &[u8], other: &[u8], cap: usize, dice: &mut Dice) -> Vec<u8> {
    let mut out = input.to_vec();
    for _ in 0..=dice.below(4) {
        if dice.below(3) == 0
            && let Some(changed) = tree(&out, other, dice)
        {
            out = changed;
        } else if dice.below(5) == 0 {
            lines(&mut out, dice);
        } else {
            bytes(&mut out, other, cap, dice);
        }
    }
    out.truncate(cap);
    out
}

/// A change to the bytes as such.
fn bytes(out: &mut Vec<u8>, other: &[u8], cap: usize, dice: &mut Dice) {
    let here = dice.part(out.len());
    match dice.below(10) {
        0 | 1 if !out.is_empty() => {
            let at = dice.below(out.len());
            out[at] ^= 1 << dice.below(8);
        }
        2 if !out.is_empty() => {
            let at = dice.below(out.len());
            out[at] = dice.next() as u8;
        }
        3 => drop(out.splice(here, [])),
        4 => {
            let part = out[here.clone()].to_vec();
            let times = if dice.below(8) == 0 { cap / part.len().max(1) } else { 1 + dice.below(3) };
            let room = cap.saturating_sub(out.len()) / part.len().max(1);
            let said = part.repeat(times.min(room));
            out.splice(here.end..here.end, said);
        }
        5 => {
            let lent = other[dice.part(other.len())].to_vec();
            out.splice(here, lent);
        }
        6 => {
            let word = dice.one(WORDS).as_bytes().to_vec();
            out.splice(here.start..here.start, word);
        }
        7 => {
            let word = dice.one(WORDS).as_bytes().to_vec();
            out.splice(here, word);
        }
        8 => {
            let edge = *dice.one(&EDGES);
            if dice.below(2) == 0 {
                out.splice(here, edge.to_string().into_bytes());
            } else {
                let wide = 1 << dice.below(4);
                let number = edge.to_be_bytes()[8 - wide..].to_vec();
                let end = (here.start + wide).min(out.len());
                out.splice(here.start..end, number);
            }
        }
        _ => {
            let mut taken: Vec<u8> = out.splice(here, []).collect();
            if dice.below(2) == 0 {
                taken.reverse();
            }
            let at = dice.below(out.len() + 1);
            out.splice(at..at, taken);
        }
    }
}

/// A change to the lines.
fn lines(out: &mut Vec<u8>, dice: &mut Dice) {
    let mut lines: Vec<Vec<u8>> = out.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let (one, other) = (dice.below(lines.len()), dice.below(lines.len()));
    match dice.below(4) {
        0 => lines.swap(one, other),
        1 => drop(lines.remove(one)),
        2 => lines.insert(other, lines[one].clone()),
        _ => {
            // A line may itself be JSON.
            if let Some(changed) = tree(&lines[one], &lines[other], dice) {
                lines[one] = changed;
            }
        }
    }
    *out = lines.join(&b'\n');
}

/// A change to what is JSON, written canonically; none where it is not JSON.
fn tree(input: &[u8], other: &[u8], dice: &mut Dice) -> Option<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(input).ok()?;
    let lent: Option<Value> = serde_json::from_slice(other).ok();
    let lent = lent.map(|mut lent| {
        let which = dice.below(count(&lent));
        std::mem::take(nth(&mut lent, &mut { which }).unwrap_or(&mut Value::Null))
    });
    let which = dice.below(count(&value));
    let place = nth(&mut value, &mut { which })?;
    change(place, lent, dice);
    let sorted = if dice.below(20) == 0 { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) };
    sorted.ok()
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum(),
        _ => 0,
    }
}

fn nth<'a>(value: &'a mut Value, which: &mut usize) -> Option<&'a mut Value> {
    if *which == 0 {
        return Some(value);
    }
    *which -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| nth(item, which)),
        Value::Object(members) => members.values_mut().find_map(|member| nth(member, which)),
        _ => None,
    }
}

fn change(place: &mut Value, lent: Option<Value>, dice: &mut Dice) {
    match place {
        _ if dice.below(6) == 0 => *place = lent.unwrap_or(Value::Null),
        Value::Object(members) => member(members, lent, dice),
        Value::Array(items) => match dice.below(4) {
            0 => items.extend(lent),
            1 => drop(items.pop()),
            2 => items.reverse(),
            _ => {
                let first = items.first().cloned();
                items.extend(first);
            }
        },
        Value::Number(_) => *place = (*dice.one(&EDGES)).into(),
        Value::String(text) => {
            let mut bytes = std::mem::take(text).into_bytes();
            if dice.below(3) == 0 {
                bytes = dice.one(WORDS).as_bytes().to_vec();
            } else {
                self::bytes(&mut bytes, b"AZ az09-_./*", 512, dice);
            }
            *text = String::from_utf8_lossy(&bytes).into_owned();
        }
        Value::Bool(yes) => *yes = !*yes,
        Value::Null => *place = lent.unwrap_or_else(|| Value::from(0)),
    }
}

fn member(members: &mut Map<String, Value>, lent: Option<Value>, dice: &mut Dice) {
    let names: Vec<String> = members.keys().cloned().collect();
    if names.is_empty() || dice.below(5) == 0 {
        members.insert((*dice.one(WORDS)).to_owned(), lent.unwrap_or(Value::Null));
        return;
    }
    let (one, other) = (dice.one(&names), dice.one(&names));
    match dice.below(4) {
        0 => drop(members.remove(one)),
        1 => {
            let value = members.remove(one).unwrap_or_default();
            members.insert(format!("{one}{}", dice.one(WORDS)), value);
        }
        2 => drop(members.insert(one.clone(), lent.unwrap_or(Value::Null))),
        _ => {
            let (a, b) = (members[one].clone(), members[other].clone());
            members.insert(one.clone(), b);
            members.insert(other.clone(), a);
        }
    }
}
