//! Reads TOML strictly. Whoever reads says which keys there are by asking for them; what nobody asked for is a fault,
//! as is a value of another kind or outside its range. All faults of a file are found in one go, and each names its
//! line, its key, what is wrong and what to write.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::limits::Limit;

/// One thing wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where, counted from 1.
    pub line: usize,
    /// Which key, with its section; empty where the file is no TOML.
    pub key: String,
    /// What is wrong.
    pub wrong: String,
    /// What to write instead.
    pub write: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}; {}", self.wrong, self.write)
    }
}

/// Everything wrong with a file; one line of text each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// Which file.
    pub path: PathBuf,
    /// What, by line. Never empty.
    pub faults: Vec<Fault>,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{}:{}: {fault}", self.path.display(), fault.line)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// A file under reading.
pub(super) struct Reader<'i> {
    lines: Lines,
    root: Option<&'i DeTable<'i>>,
    asked: Vec<&'static str>,
    pub(super) faults: Vec<Fault>,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) line: usize,
}

/// Where each line of a text ends, so that the text is not read once more for each place in it.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Lines {
        Lines(text.match_indices('\n').map(|(at, _)| at).collect())
    }

    /// The line of this place, counted from 1.
    fn line_of(&self, offset: usize) -> usize {
        self.0.partition_point(|end| *end < offset) + 1
    }
}

/// The fault of a text that is no TOML.
pub(super) fn no_toml(text: &str, error: &toml::de::Error) -> Fault {
    Fault {
        line: Lines::of(text).line_of(error.span().map_or(0, |span| span.start)),
        key: String::new(),
        wrong: format!("not TOML: {}", error.message()),
        write: "see https://toml.io".to_owned(),
    }
}

impl<'i> Reader<'i> {
    pub(super) fn new(text: &str, root: &'i DeTable<'i>) -> Reader<'i> {
        Reader { lines: Lines::of(text), root: Some(root), asked: Vec::new(), faults: Vec::new() }
    }

    /// Opens a section. An absent one reads as an empty one.
    pub(super) fn section(&mut self, name: &'static str) -> Section<'_, 'i> {
        self.asked.push(name);
        let entry = self.root.and_then(|root| root.get_key_value(name));
        let line = entry.map_or(1, |(key, _)| self.lines.line_of(key.span().start));
        let value = entry.map(|(_, value)| value.get_ref());
        let table = match value {
            None => None,
            Some(DeValue::Table(table)) => Some(table),
            Some(other) => {
                let wrong = format!("{} where a section belongs", kind(other));
                self.faults.push(Fault { line, key: name.to_owned(), wrong, write: format!("write [{name}]") });
                None
            }
        };
        let broken = value.is_some() && table.is_none();
        Section {
            name: name.to_owned(),
            line,
            table,
            broken,
            asked: Vec::new(),
            lines: &self.lines,
            faults: &mut self.faults,
        }
    }

    /// Says what stands beside the sections that were asked for.
    pub(super) fn finish(mut self) -> Vec<Fault> {
        if let Some(root) = self.root {
            unknown(&self.lines, "", root, &self.asked, &mut self.faults);
        }
        self.faults.sort_by_key(|fault| fault.line);
        self.faults
    }
}

/// One section under reading.
pub(super) struct Section<'r, 'i> {
    name: String,
    line: usize,
    table: Option<&'i DeTable<'i>>,
    /// Something else stands in its place, which was noted: no key of it is missed besides.
    broken: bool,
    asked: Vec<&'static str>,
    lines: &'r Lines,
    faults: &'r mut Vec<Fault>,
}

impl<'i> Section<'_, 'i> {
    /// Whether the file has it.
    pub(super) fn present(&self) -> bool {
        self.table.is_some()
    }

    pub(super) fn line(&self) -> usize {
        self.line
    }

    /// Whether a key is there, right or wrong.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Where a key stands, if it is there.
    pub(super) fn line_of(&self, key: &str) -> Option<usize> {
        let (name, _) = self.table?.get_key_value(key)?;
        Some(self.lines.line_of(name.span().start))
    }

    fn value(&mut self, key: &'static str) -> Option<Found<&'i DeValue<'i>>> {
        self.asked.push(key);
        let (name, value) = self.table?.get_key_value(key)?;
        Some(Found { value: value.get_ref(), line: self.lines.line_of(name.span().start) })
    }

    /// Notes a fault at a key.
    pub(super) fn wrong(&mut self, line: usize, key: &str, wrong: impl Into<String>, write: impl Into<String>) {
        let key = format!("{}.{key}", self.name);
        self.faults.push(Fault { line, key, wrong: wrong.into(), write: write.into() });
    }

    /// A text, if the key is there. `example` is what a text here looks like.
    pub(super) fn text(&mut self, key: &'static str, example: &str) -> Option<Found<String>> {
        let found = self.value(key)?;
        match found.value {
            DeValue::String(text) if !text.is_empty() => Some(Found { value: text.to_string(), line: found.line }),
            other => {
                let wrong = match other {
                    DeValue::String(_) => "an empty text".to_owned(),
                    other => format!("{} where a text belongs", kind(other)),
                };
                self.wrong(found.line, key, wrong, format!("write {key} = {example:?}"));
                None
            }
        }
    }

    /// A text that reads as a `T`.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Found<T>> {
        let found = self.text(key, example)?;
        match parse(&found.value) {
            Ok(value) => Some(Found { value, line: found.line }),
            Err(wrong) => {
                self.wrong(found.line, key, wrong, format!("write for example {key} = {example:?}"));
                None
            }
        }
    }

    /// A list of texts that each read as a `T`; empty where the key is not there. `example` is what one looks like.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        example: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let Some(found) = self.value(key) else { return Vec::new() };
        let write = format!("write for example {key} = [{example:?}]");
        let DeValue::Array(items) = found.value else {
            self.wrong(found.line, key, format!("{} where a list belongs", kind(found.value)), write);
            return Vec::new();
        };
        let mut list = Vec::with_capacity(items.len());
        for item in items {
            let line = self.lines.line_of(item.span().start);
            let read = match item.get_ref() {
                DeValue::String(text) => parse(text),
                other => Err(format!("{} where a text belongs", kind(other))),
            };
            match read {
                Ok(value) => list.push(value),
                Err(wrong) => self.wrong(line, key, wrong, write.clone()),
            }
        }
        list
    }

    /// A path; a relative one counts from the file's own folder.
    pub(super) fn path(&mut self, key: &'static str, example: &str, base: &Path) -> Option<Found<PathBuf>> {
        self.text(key, example).map(|found| Found { value: base.join(found.value), line: found.line })
    }

    /// Notes a key that must be there and is not. One that is there and wrong was noted before.
    pub(super) fn need<T>(&mut self, found: &Option<T>, key: &'static str, example: &str) {
        if found.is_none() && !self.has(key) && !self.broken {
            self.wrong(self.line, key, "missing", format!("write {key} = {example:?}"));
        }
    }

    /// Yes or no; no where nothing is said.
    pub(super) fn flag(&mut self, key: &'static str) -> bool {
        let Some(found) = self.value(key) else { return false };
        if let DeValue::Boolean(value) = found.value {
            return *value;
        }
        let wrong = format!("{} where true or false belongs", kind(found.value));
        self.wrong(found.line, key, wrong, format!("write {key} = false"));
        false
    }

    /// A limit, or its default.
    pub(super) fn limit(&mut self, limit: &'static Limit) -> u64 {
        let Some(found) = self.value(limit.name) else { return limit.default };
        let (least, most) = (limit.range.start(), limit.range.end());
        let write = format!("write a number from {least} to {most}; the default is {}", limit.default);
        let wrong = match found.value {
            DeValue::Integer(digits) => match i128::from_str_radix(digits.as_str(), digits.radix()) {
                Ok(number) if number < i128::from(*least) => format!("{number} is too small"),
                Ok(number) => match u64::try_from(number) {
                    Ok(number) if number <= *most => return number,
                    _ => format!("{number} is too large"),
                },
                Err(_) => "a number beyond all bounds".to_owned(),
            },
            other => format!("{} where a number belongs", kind(other)),
        };
        self.wrong(found.line, limit.name, wrong, write);
        limit.default
    }

    /// A table inside this section, written inline or as a section of its own.
    pub(super) fn section(&mut self, key: &'static str, example: &str) -> Section<'_, 'i> {
        let found = self.value(key);
        let line = found.as_ref().map_or(self.line, |found| found.line);
        let value = found.map(|found| found.value);
        let table = match value {
            None => None,
            Some(DeValue::Table(table)) => Some(table),
            Some(other) => {
                let wrong = format!("{} where a table belongs", kind(other));
                self.wrong(line, key, wrong, format!("write {key} = {example}"));
                None
            }
        };
        let name = format!("{}.{key}", self.name);
        let broken = self.broken || (value.is_some() && table.is_none());
        Section { name, line, table, broken, asked: Vec::new(), lines: self.lines, faults: self.faults }
    }

    /// Says what stands beside the keys that were asked for.
    pub(super) fn finish(self) {
        if let Some(table) = self.table {
            unknown(self.lines, &format!("{}.", self.name), table, &self.asked, self.faults);
        }
    }
}

fn unknown(lines: &Lines, prefix: &str, table: &DeTable<'_>, asked: &[&'static str], faults: &mut Vec<Fault>) {
    let strangers = table.keys().filter(|key| !asked.contains(&key.get_ref().as_ref()));
    for stranger in strangers {
        let name: &str = stranger.get_ref();
        let near = asked.iter().min_by_key(|known| distance(known, name)).filter(|known| distance(known, name) <= 3);
        let write = match near {
            Some(near) => format!("did you mean {near}?"),
            None => format!("known here: {}", asked.join(", ")),
        };
        let line = lines.line_of(Spanned::span(stranger).start);
        faults.push(Fault { line, key: format!("{prefix}{name}"), wrong: "no such key".to_owned(), write });
    }
}

/// How many letters must be put in, taken out or exchanged to make one of the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, right) in b.bytes().enumerate() {
            let exchanged = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = exchanged.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_letters() {
        for (a, b, count) in [("skew_s", "skew_s", 0), ("skew", "skew_s", 2), ("", "abc", 3), ("listen", "lisent", 2)] {
            assert_eq!((distance(a, b), distance(b, a)), (count, count), "{a} {b}");
        }
    }

    #[test]
    fn lines_count_from_one() {
        let lines = Lines::of("a\nb\n");
        assert_eq!([0, 1, 2, 3, 4, 9].map(|offset| lines.line_of(offset)), [1, 1, 2, 2, 3, 3]);
    }

    /// Each of many places is found without reading the text once more, which took two minutes.
    #[test]
    fn a_long_file_of_faults_is_read_in_no_time() {
        let many = 60_000;
        let text = format!("[one]\nlist = [\n{}]\n", "1,\n".repeat(many));
        let begun = std::time::Instant::now();
        let root = DeTable::parse(&text).unwrap();
        let parsed = begun.elapsed();
        let mut reader = Reader::new(&text, root.get_ref());
        let mut section = reader.section("one");
        section.list("list", "x", |text| Ok(text.to_owned()));
        section.finish();
        let faults = reader.finish();
        let took = begun.elapsed() - parsed;
        assert_eq!((faults.len(), faults[0].line, faults[many - 1].line), (many, 3, many + 2));
        assert!(took < std::time::Duration::from_secs(5), "{took:?}, and {parsed:?} to parse it");
    }
}
