//! How entries are shown, one after another, as they come: a table for people, and JSON or YAML for programs. As `jsonl`
//! an entry is its line, byte for byte.

use nockvault::statement::command::Set;
use serde_json::{Map, Value, json};

use super::read::Entry;
use crate::output::{self, Output, Shape, calm, print};

/// The members of a body that say in a word what an entry is about.
const TELLING: &[&str] = &[
    "reason",
    "/request/payload/role",
    "role",
    "/hdr/lease",
    "lease",
    "outcome",
    "/register/payload/kid",
    "kid",
    "/request/payload/sid",
    "sid",
    "/request/payload/purpose",
    "/command/payload/typ",
    "/command/payload/operator",
];

/// Shows entries.
#[derive(Debug)]
pub(crate) struct Shown<'a> {
    output: &'a Output,
    /// The width of the column that names the chain; none where there is one chain.
    chain: Option<usize>,
    begun: bool,
}

impl<'a> Shown<'a> {
    /// For entries of these chains.
    pub(crate) fn of<'n>(output: &'a Output, chains: impl Iterator<Item = &'n str>, several: bool) -> Shown<'a> {
        let width = chains.map(str::len).max().unwrap_or_default().clamp("_operators".len(), 24);
        Shown { output, chain: several.then_some(width), begun: false }
    }

    /// Shows one.
    pub(crate) fn show(&mut self, entry: &Entry) -> anyhow::Result<()> {
        if let Some(field) = &self.output.field {
            return output::print_raw(&entry.members, field);
        }
        let first = !std::mem::replace(&mut self.begun, true);
        match self.output.shape {
            Shape::Table => {
                let head = if first { self.row("CHAIN", "SEQ", "TIME", "KIND", "WHAT") } else { String::new() };
                let kind = entry.members.get("kind").and_then(Value::as_str).unwrap_or_default();
                let what = told(entry.members.get("body").unwrap_or(&Value::Null));
                let (seq, ts) = (entry.seq.to_string(), entry.ts.to_string());
                print(&(head + &self.row(entry.chain.as_str(), &seq, &ts, kind, &what)))
            }
            Shape::Jsonl => print(&format!("{}\n", String::from_utf8_lossy(&entry.line))),
            Shape::Json => {
                let item = serde_json::to_string_pretty(&json!(entry.members))?.replace('\n', "\n  ");
                print(&format!("{}\n  {item}", if first { "[" } else { "," }))
            }
            Shape::Yaml => print(&serde_saphyr::to_string(&[&entry.members])?),
        }
    }

    /// After the last.
    pub(crate) fn end(&self) -> anyhow::Result<()> {
        match (&self.output.field, self.output.shape) {
            (None, Shape::Json) => print(if self.begun { "\n]\n" } else { "[]\n" }),
            (None, Shape::Yaml) if !self.begun => print("[]\n"),
            (None, Shape::Table) if !self.begun => print(&self.row("CHAIN", "SEQ", "TIME", "KIND", "WHAT")),
            _ => Ok(()),
        }
    }

    fn row(&self, chain: &str, seq: &str, time: &str, kind: &str, what: &str) -> String {
        let chain = self.chain.map_or_else(String::new, |width| format!("{chain:<width$}  "));
        let row = format!("{chain}{seq:<6}  {time:<24}  {kind:<13}  {what}");
        // What an agent chose to say does not break a line or command the terminal.
        format!("{}\n", calm(&row).replace('\n', " ").trim_end())
    }
}

fn told(body: &Value) -> String {
    let find = |name: &&str| if name.starts_with('/') { body.pointer(name) } else { body.get(name) };
    let texts = TELLING.iter().filter_map(find).filter_map(Value::as_str).filter(|text| !text.is_empty());
    let set = body.pointer("/command/payload/set").and_then(|set| serde_json::from_value::<Set>(set.clone()).ok());
    let set = set.map(|Set { id, of, part }| format!("part {part} of {of} of set {id}"));
    texts.map(str::to_owned).chain(set).collect::<Vec<_>>().join(" ")
}

/// The members of an object, for what shows one thing.
pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_told_in_a_few_words() {
        let body =
            json!({"hdr": {"lease": "L"}, "request": {"payload": {"role": "orders-read", "sid": "s", "purpose": ""}}});
        assert_eq!(told(&body), "orders-read L s");
        assert_eq!(told(&json!({"reason": "no_grant"})), "no_grant");
        let set = json!({"id": "AAAAAAAAAAAAAAAAAAAAAA", "of": 3, "part": 2});
        let body = json!({"command": {"payload": {"typ": "nockvault/grant_create", "operator": "ada", "set": set}}});
        assert_eq!(told(&body), "nockvault/grant_create ada part 2 of 3 of set AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(told(&json!({})), "");
    }
}
