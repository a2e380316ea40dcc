//! How a result is shown: a table for people, JSON or YAML for programs, or one member, raw. Tables write instants as
//! RFC 3339 and durations as `15m`; JSON and YAML have the numbers of the statements, milliseconds and seconds.

use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::bail;
use clap::{ColorChoice, ValueEnum};
use comfy_table::{Cell, Color as Ink, ColumnConstraint, ContentArrangement, Table, Width, presets};
use nockvault::time::{Seconds, Timestamp};
use serde_json::{Map, Value};

use crate::Common;

/// In what form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shape {
    Table,
    Json,
    /// One JSON object a line.
    Jsonl,
    Yaml,
}

/// When states stand out in color.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

impl Color {
    /// Whether standard output takes color: what people read, on a terminal, where nobody said otherwise.
    fn on(self) -> bool {
        match self {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                let said = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
                let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
                std::io::stdout().is_terminal() && !said("NO_COLOR") && !dumb
            }
        }
    }
}

/// Whether help is shown in color, which is decided before anything is read.
pub(crate) fn of_help(typed: impl IntoIterator<Item = OsString>) -> ColorChoice {
    let words: Vec<OsString> = typed.into_iter().take_while(|word| word != "--").collect();
    let is = |when: &str| {
        let joined = format!("--color={when}");
        words.iter().any(|word| *word == *joined)
            || words.windows(2).any(|pair| pair[0] == "--color" && pair[1] == *when)
    };
    match (is("never"), is("always")) {
        (true, _) => ColorChoice::Never,
        (_, true) => ColorChoice::Always,
        _ => ColorChoice::Auto,
    }
}

static QUIET: AtomicBool = AtomicBool::new(false);

/// Lets `say!` say nothing from here on.
pub(crate) fn set_quiet(quiet: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
}

pub(crate) fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Says what went wrong, also to those who want no other words.
pub(crate) fn fault(words: &str) {
    let _ = writeln!(std::io::stderr(), "{words}");
}

/// How a member is written in a table.
#[derive(Clone, Copy, Debug)]
pub(crate) enum As {
    /// As it is.
    Plain,
    /// Milliseconds since the epoch, as RFC 3339.
    Time,
    /// Seconds, as `15m`.
    Span,
    /// As it is, as far as it fits into a list.
    Brief,
}

/// A column: its title, the member it shows (with dots into objects), and how.
pub(crate) type Column = (&'static str, &'static str, As);

/// The members that are instants or durations wherever they stand.
const TIMES: &[&str] = &[
    "since",
    "ended",
    "grace",
    "until",
    "expires",
    "issued",
    "latest",
    "now",
    "ts",
    "opened",
    "made",
    "iat",
    "ends",
    "signs",
    "former_until",
    "not_before",
    "not_after",
    "retry",
];
const SPANS: &[&str] = &["ttl", "max_ttl", "per", "wait"];

/// Where results go.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    pub(crate) shape: Shape,
    pub(crate) field: Option<String>,
    pub(crate) color: bool,
}

impl Output {
    pub(crate) fn of(common: &Common) -> Output {
        let color = common.output == Shape::Table && common.field.is_none() && common.color.on();
        Output { shape: common.output, field: common.field.clone(), color }
    }

    /// Shows a list.
    pub(crate) fn list(&self, items: &[Map<String, Value>], columns: &[Column]) -> anyhow::Result<()> {
        if let Some(field) = &self.field {
            return items.iter().try_for_each(|item| print_raw(item, field));
        }
        match self.shape {
            Shape::Table => print(&table(items, columns, self.color)),
            Shape::Jsonl => items.iter().try_for_each(|item| self.data(item)),
            _ => self.data(&items),
        }
    }

    /// Shows one thing, a line for each member.
    pub(crate) fn one(&self, item: &Map<String, Value>) -> anyhow::Result<()> {
        if let Some(field) = &self.field {
            return print_raw(item, field);
        }
        match self.shape {
            Shape::Table => print(&lines(item, self.color)),
            _ => self.data(item),
        }
    }

    fn data(&self, value: &impl serde::Serialize) -> anyhow::Result<()> {
        match self.shape {
            Shape::Yaml => print(&serde_saphyr::to_string(value)?),
            Shape::Jsonl => print(&(serde_json::to_string(value)? + "\n")),
            _ => print(&(serde_json::to_string_pretty(value)? + "\n")),
        }
    }
}

/// Writes to standard output. A reader that went away is not a failure of ours.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(why) if why.kind() != std::io::ErrorKind::BrokenPipe => Err(why.into()),
        _ => Ok(()),
    }
}

fn look_up<'a>(item: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let mut names = path.split('.');
    let first = item.get(names.next()?)?;
    names.try_fold(first, |value, name| match value {
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        value => value.get(name),
    })
}

pub(crate) fn print_raw(item: &Map<String, Value>, field: &str) -> anyhow::Result<()> {
    match look_up(item, field) {
        // A text of lines, such as PEM, has its end already.
        Some(Value::String(text)) if text.ends_with('\n') => print(text),
        Some(Value::String(text)) => print(&format!("{text}\n")),
        Some(value) => print(&format!("{value}\n")),
        None => {
            let names: Vec<&str> = item.keys().map(String::as_str).collect();
            bail!("the result has no member {field:?}; it has {}", names.join(", "))
        }
    }
}

/// A table without lines. On a terminal its cells are broken where it would be wider than that, between words.
fn bare(color: bool) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if color {
        table.enforce_styling();
    }
    table
}

/// The color of a state that somebody should see: red where something was stopped or does not hold, yellow where
/// something is under way or soon over.
fn ink(member: &str, value: Option<&Value>) -> Option<Ink> {
    let member = member.rsplit('.').next().unwrap_or(member);
    match (member, value?) {
        ("frozen" | "sealed", Value::Bool(true)) => Some(Ink::Red),
        ("frozen", Value::Object(_) | Value::Number(_)) => Some(Ink::Red),
        ("stuck" | "quarantined", Value::Number(number)) if number.as_u64() != Some(0) => Some(Ink::Red),
        ("quarantined" | "fault", Value::String(_)) => Some(Ink::Red),
        ("quarantined", Value::Array(items)) if !items.is_empty() => Some(Ink::Red),
        ("revoking" | "undoing", Value::Number(number)) if number.as_u64() != Some(0) => Some(Ink::Yellow),
        ("state" | "status" | "phase", Value::String(state)) => match state.as_str() {
            "stuck" | "sealed" | "tampered" | "failed" => Some(Ink::Red),
            "revoking" | "expired" | "revoked" | "released" | "lost" => Some(Ink::Yellow),
            _ => None,
        },
        _ => None,
    }
}

fn painted(text: String, ink: Option<Ink>, color: bool) -> Cell {
    let cell = Cell::new(text);
    match ink.filter(|_| color) {
        Some(ink) => cell.fg(ink),
        None => cell,
    }
}

/// The longest word that is kept whole: a lease, a key, a digest, an instant.
const WHOLE: usize = 64;

/// Lets no column be narrower than its longest word, for what is broken cannot be copied: the line may then be longer than
/// the terminal. One that does not know its width has none.
fn fit(table: &mut Table) {
    if table.width() == Some(0) {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    let longest = |cell: &Cell| cell.content().split_whitespace().map(|word| word.chars().count()).max();
    let mut widest = vec![0; table.column_count()];
    for row in table.header().into_iter().chain(table.row_iter()) {
        for (widest, cell) in widest.iter_mut().zip(row.cell_iter()) {
            let word = longest(cell).unwrap_or_default();
            *widest = usize::max(*widest, if word > WHOLE { 0 } else { word });
        }
    }
    for (column, word) in table.column_iter_mut().zip(widest) {
        let word = u16::try_from(word).unwrap_or(u16::MAX);
        let least = Width::Fixed(word.saturating_add(column.padding_width()));
        column.set_constraint(ColumnConstraint::LowerBoundary(least));
    }
}

/// The text of a table, without the blanks at the ends of its lines.
fn drawn(mut table: Table) -> String {
    fit(&mut table);
    table.lines().map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(&line).trim_end())).collect()
}

fn table(items: &[Map<String, Value>], columns: &[Column], color: bool) -> String {
    let mut table = bare(color);
    table.set_header(columns.iter().map(|(title, ..)| *title));
    for item in items {
        table.add_row(columns.iter().map(|(_, member, how)| {
            let value = look_up(item, member);
            painted(cell(value, *how), ink(member, value), color)
        }));
    }
    drawn(table)
}

fn lines(item: &Map<String, Value>, color: bool) -> String {
    let mut table = bare(color);
    flat(String::new(), item, &mut |name, value, how| {
        let ink = ink(&name, Some(value));
        table.add_row([Cell::new(name), painted(cell(Some(value), how), ink, color)]);
    });
    drawn(table)
}

/// Each member by the path that `--field` takes; the items of a list of objects one by one, each in one line.
fn flat(before: String, item: &Map<String, Value>, row: &mut dyn FnMut(String, &Value, As)) {
    for (name, value) in item {
        let path = format!("{before}{name}");
        match value {
            Value::Object(inner) if !inner.is_empty() => flat(format!("{path}."), inner, row),
            Value::Array(items) if items.iter().any(Value::is_object) => {
                for (index, one) in items.iter().enumerate() {
                    row(format!("{path}.{index}"), &Value::String(in_a_line(one)), As::Plain);
                }
            }
            // PEM and the like is for a file.
            Value::String(text) if text.trim_end().contains('\n') => {
                let (first, lines) = (text.lines().next().unwrap_or_default(), text.lines().count());
                let more = format!("{first} .. {lines} lines; --field {path} writes them");
                row(path, &Value::String(more), As::Plain);
            }
            _ => row(path, value, how(name)),
        }
    }
}

/// The members of an object that are something, in one line, as a table writes them. Nothing of them is left out.
pub(crate) fn in_a_line(item: &Value) -> String {
    let mut words = Vec::new();
    gather(String::new(), item, &mut words);
    words.join(" ")
}

fn gather(before: String, item: &Value, words: &mut Vec<String>) {
    for (name, value) in item.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        match value {
            Value::Object(inner) if !inner.is_empty() => gather(format!("{before}{name}."), value, words),
            _ => words.push(format!("{before}{name}={}", cell(Some(value), how(name)))),
        }
    }
}

fn how(name: &str) -> As {
    match name {
        name if TIMES.contains(&name) => As::Time,
        name if SPANS.contains(&name) => As::Span,
        _ => As::Plain,
    }
}

/// As much of a text as a list has room for.
pub(crate) fn brief(text: &str) -> String {
    match text.char_indices().nth(BRIEF) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text.to_owned(),
    }
}

const BRIEF: usize = 72;

/// What an agent's own words must not do to a terminal: control it, break its lines, or turn the order of what follows.
fn disturbs(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Words that may come from elsewhere, for a terminal. Lines stay lines.
pub(crate) fn calm(text: &str) -> String {
    text.chars().map(|c| if c != '\n' && disturbs(c) { ' ' } else { c }).collect()
}

fn cell(value: Option<&Value>, how: As) -> String {
    match (value, how) {
        (None | Some(Value::Null), _) => "-".to_owned(),
        (Some(Value::Number(number)), As::Time) => {
            number.as_u64().map_or_else(|| number.to_string(), |ms| Timestamp(ms).to_string())
        }
        (Some(Value::Number(number)), As::Span) => {
            number.as_u64().map_or_else(|| number.to_string(), |s| Seconds(s).to_string())
        }
        (Some(Value::String(text)), _) => text.chars().map(|c| if disturbs(c) { ' ' } else { c }).collect(),
        (Some(value), As::Brief) => brief(&cell(Some(value), As::Plain)),
        (Some(Value::Array(items)), _) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
            let items: Vec<String> = items.iter().map(|item| cell(Some(item), how)).collect();
            if items.is_empty() { "-".to_owned() } else { items.join(",") }
        }
        (Some(value), _) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn a_table_writes_times_for_people() {
        let items = [
            object(
                json!({"agent": "kit", "since": 1_780_511_400_123_u64, "terms": {"ttl": 900}, "from": ["10.0.0.0/8", "::1/128"]}),
            ),
            object(json!({"agent": "a\u{1b}[2J\u{202e}", "since": null, "terms": {}, "from": []})),
        ];
        let columns: &[Column] = &[
            ("AGENT", "agent", As::Plain),
            ("SINCE", "since", As::Time),
            ("TTL", "terms.ttl", As::Span),
            ("FROM", "from", As::Plain),
        ];
        let text = table(&items, columns, false);
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["AGENT", "SINCE", "TTL", "FROM"]);
        assert_eq!(rows[1], ["kit", "2026-06-03T18:30:00.123Z", "15m", "10.0.0.0/8,::1/128"]);
        assert_eq!(rows[2], ["a", "[2J", "-", "-", "-"]);
    }

    #[test]
    fn one_thing_is_shown_by_the_paths_of_its_members() {
        let since = 1_780_511_400_123_u64;
        let keys = json!([{"kid": "k", "since": since, "ended": null}, {"kid": "l", "since": since}]);
        let text = lines(
            &object(json!({"agent": "kit", "chain": {"size": 3}, "grants": [], "keys": keys, "ttl": 900})),
            false,
        );
        let wanted = "agent       kit\n\
                      chain.size  3\n\
                      grants      -\n\
                      keys.0      kid=k since=2026-06-03T18:30:00.123Z\n\
                      keys.1      kid=l since=2026-06-03T18:30:00.123Z\n\
                      ttl         15m\n";
        assert_eq!(text, wanted);
    }

    #[test]
    fn what_somebody_may_copy_is_not_broken() {
        let (lease, at) = ("Q2lQ0wWbS5eKzJ0aXkq1pA", "2026-06-03T18:30:00.123Z");
        let mut table = bare(false);
        table.set_header(["LEASE", "SINCE", "WHY"]).set_width(50);
        table.add_row([lease, at, "keys were seen on a forum by somebody who said so"]);
        let text = drawn(table);
        assert!(text.contains(lease) && text.contains(at) && text.contains("somebody"), "{text}");
        assert!(text.lines().count() > 3, "{text}");
        let mut table = bare(false);
        table.set_width(0).add_row([lease, "keys were seen"]);
        assert_eq!(drawn(table), format!("{lease}  keys were seen\n"));
    }

    #[test]
    fn an_object_in_a_line_has_times_and_spans() {
        let body = json!({"agent": "kit", "iat": 1_780_511_400_123_u64, "terms": {"ttl": 900, "until": null}});
        assert_eq!(in_a_line(&body), "agent=kit iat=2026-06-03T18:30:00.123Z terms.ttl=15m");
    }

    #[test]
    fn what_others_said_does_not_command_the_terminal() {
        assert_eq!(calm("a\u{1b}[2J\r\u{202e}b\nc"), "a [2J  b\nc");
    }

    #[test]
    fn a_field_is_found_by_its_path() {
        let item = object(json!({"chain": {"head": "x", "size": 3}, "keys": [{"kid": "k"}]}));
        assert_eq!(look_up(&item, "chain.size"), Some(&json!(3)));
        assert_eq!(look_up(&item, "keys.0.kid"), Some(&json!("k")));
        assert_eq!(look_up(&item, "chain.none"), None);
        assert!(print_raw(&item, "none").unwrap_err().to_string().contains("chain, keys"));
    }
}
