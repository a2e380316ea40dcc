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
];

/// The members of a command's own body that say in a word what it is aimed at.
const AIMED: &[&str] = &[
    "agent",
    "/register/payload/agent",
    "operator",
    "/register/payload/operator",
    "role",
    "name",
    "kid",
    "lease",
    "/scope/agent",
    "/scope/sid",
    "/scope/role",
    "/scope/lease",
    "command",
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
    if let Some(payload) = body.pointer("/command/payload") {
        return commanded(body, payload);
    }
    let by = body.get("by").map(|by| match (by.get("chain").and_then(Value::as_str), by.get("seq")) {
        (Some(chain), Some(seq)) => format!("by {chain} {seq}"),
        _ => String::new(),
    });
    words(body, TELLING).into_iter().chain(by).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// What was commanded, at what, by whom and why; and in capitals that it was refused, where it was.
fn commanded(body: &Value, payload: &Value) -> String {
    let text = |of: &Value, name: &str| of.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let typ = text(payload, "typ");
    let mut told = vec![typ.strip_prefix("nockvault/").unwrap_or(&typ).to_owned()];
    let own = payload.get("body").unwrap_or(&Value::Null);
    told.extend(words(own, AIMED));
    told.push(format!("by {}", text(payload, "operator")));
    if let Some(Set { id, of, part }) = payload.get("set").and_then(|set| serde_json::from_value(set.clone()).ok()) {
        told.push(format!("part {part} of {of} of set {id}"));
    }
    let why = Some(text(own, "reason")).filter(|why| !why.is_empty());
    let why = why.map_or_else(String::new, |why| format!(": {why}"));
    let result = body.get("result").unwrap_or(&Value::Null);
    let end = match (result.get("waits").is_some(), result.get("denied")) {
        (true, _) => "  waits for approval".to_owned(),
        (false, Some(denied)) => format!("  REFUSED {}", denied.as_str().unwrap_or("without a reason")),
        (false, None) => String::new(),
    };
    format!("{}{why}{end}", told.join(" "))
}

/// The texts that stand under these names.
fn words(body: &Value, names: &[&str]) -> Vec<String> {
    let find = |name: &&str| if name.starts_with('/') { body.pointer(name) } else { body.get(name) };
    let texts = names.iter().filter_map(find).filter_map(Value::as_str).filter(|text| !text.is_empty());
    texts.map(str::to_owned).collect()
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
        let freeze = json!({"by": {"chain": "_operators", "leaf": "x", "seq": 12}});
        assert_eq!(told(&freeze), "by _operators 12");
        assert_eq!(told(&json!({})), "");
    }

    #[test]
    fn a_command_is_told_with_its_end() {
        let command = |typ: &str, own: Value, result: Value| {
            let payload = json!({"typ": typ, "operator": "mara", "body": own});
            told(&json!({"approvals": [], "command": {"payload": payload}, "result": result}))
        };
        let thaw = |result: Value| command("nockvault/agent_thaw", json!({"agent": "kit"}), result);
        assert_eq!(thaw(json!({})), "agent_thaw kit by mara");
        assert_eq!(thaw(json!({"denied": "not_permitted"})), "agent_thaw kit by mara  REFUSED not_permitted");
        let waits = json!({"denied": "approval_required", "waits": {}});
        assert_eq!(thaw(waits), "agent_thaw kit by mara  waits for approval");
        let freeze = json!({"agent": "kit", "reason": "keys seen on a forum"});
        assert_eq!(
            command("nockvault/agent_freeze", freeze, json!({})),
            "agent_freeze kit by mara: keys seen on a forum"
        );
        let of = json!({"scope": {"agent": "kit", "sid": "s"}});
        assert_eq!(command("nockvault/lease_revoke", of, json!({})), "lease_revoke kit s by mara");

        let set = json!({"id": "AAAAAAAAAAAAAAAAAAAAAA", "of": 3, "part": 2});
        let own = json!({"agent": "kit", "role": "orders-read", "terms": {"ttl": 900}});
        let payload = json!({"typ": "nockvault/grant_create", "operator": "ada", "body": own, "set": set});
        let wanted = "grant_create kit orders-read by ada part 2 of 3 of set AAAAAAAAAAAAAAAAAAAAAA";
        assert_eq!(told(&json!({"command": {"payload": payload}})), wanted);
    }
}
