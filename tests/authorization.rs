//! Who may do what, in one table: every call of the contract against every duty of operators, an operator whose key has
//! ended, an agent, and a stranger. Each cell is what a served vault answered over its own sockets. The table stands in
//! `tests/authorization/table.txt` for people to review; `NOCKVAULT_REGENERATE=1` writes it anew. What must never be is
//! asserted beside it, so that a table written anew cannot hide it.
#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/committed.rs"]
mod committed;
#[path = "server/daemon.rs"]
#[allow(dead_code, reason = "this test program uses a part of it")]
mod daemon;
#[path = "authorization/lines.rs"]
mod lines;
#[path = "authorization/stage.rs"]
mod stage;
mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use nockvault::authz::operator::{TABLE, permits, word};
use nockvault::statement::schema;
use nockvault::wire::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use serde_json::Value;

use lines::{LINES, Line, Says};
use stage::{Answer, COLUMNS, Stage};

const HEAD: &str = "\
Who may do what: every call of the contract, and what a vault answers to whoever asks.

may      The call is carried out, or it is refused for a reason that has nothing to do with who asks.
anybody  The call takes no signature. Custody is served on operators' unix sockets alone.
other    The code of the refusal.

Each asks at the listener that serves the call, and signs exactly what the call takes, with its own key. The grantor is one
of the role orders-read; the ended operator was an admin. The agent has the admin's name: it commands in that name, and
operators request in it.
";

/// A call of the contract: its service and its name, and whether it takes something signed.
struct Rpc {
    service: String,
    name: String,
    signed: bool,
}

/// A line of the table: what each column got.
struct Row {
    line: &'static Line,
    service: String,
    cells: Vec<Answer>,
    /// What each operator said, in the order of the columns.
    bodies: Vec<Value>,
}

impl Row {
    fn name(&self) -> String {
        format!("{} ({})", self.line.rpc, self.line.of)
    }

    fn cell(&self, column: &str) -> &Answer {
        &self.cells[COLUMNS.iter().position(|one| *one == column).unwrap()]
    }
}

fn contract() -> Vec<Rpc> {
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file;
    let ours = || files.iter().filter(|file| file.package() == "nockvault.v1");
    let signed = |message: &str| {
        let named = |name: &str| message == format!(".nockvault.v1.{name}");
        let message = ours().flat_map(|file| &file.message_type).find(|one| named(one.name())).unwrap();
        message.field.iter().any(|field| field.name() == "signed")
    };
    let mut rpcs = Vec::new();
    for service in ours().flat_map(|file| &file.service) {
        rpcs.extend(service.method.iter().map(|method| Rpc {
            service: service.name().to_owned(),
            name: method.name().to_owned(),
            signed: signed(method.input_type()),
        }));
    }
    rpcs
}

/// Asks all of it. A vault that was sealed makes room for another.
async fn ask_all() -> Vec<Row> {
    let mut stage = Stage::set().await;
    let mut rows = Vec::new();
    for rpc in contract() {
        for line in LINES.iter().filter(|line| line.rpc == rpc.name) {
            let mut row = Row { line, service: rpc.service.clone(), cells: Vec::new(), bodies: Vec::new() };
            for at in 0..COLUMNS.len() {
                let asker = &stage.askers[at];
                let (message, body) = stage.message(line, asker);
                let answer = stage.ask(&rpc.service, &rpc.name, message).await;
                row.bodies.push(body);
                let seals = line.rpc == "SealVault" && answer.code.is_none();
                row.cells.push(answer);
                if seals {
                    stage.stop().await;
                    stage = Stage::set().await;
                }
            }
            rows.push(row);
        }
    }
    stage.stop().await;
    rows
}

/// Refusals that have nothing to do with who asks: the caller got past the door, and what it asks for is not to be had.
const OF_THE_MATTER: &[&str] = &[
    "already_exists",
    "bad_role",
    "bad_sealed_input",
    "clock_good",
    "not_found",
    "not_renewable",
    "not_sealed",
    "nothing_to_undo",
];

fn word_for(row: &Row, answer: &Answer) -> String {
    match answer.code.as_deref() {
        Some(code) if !OF_THE_MATTER.contains(&code) => code.to_owned(),
        _ if matches!(row.line.says, Says::Unsigned(_)) => "anybody".to_owned(),
        _ => "may".to_owned(),
    }
}

fn text(rows: &[Row]) -> String {
    let mut text = HEAD.to_owned();
    for service in rows.iter().map(|row| &row.service).fold(Vec::new(), |mut all, service| {
        all.extend((!all.contains(&service)).then_some(service));
        all
    }) {
        let mut lines =
            vec![["call", "of", "statement"].iter().chain(COLUMNS).map(|cell| (*cell).to_owned()).collect()];
        for row in rows.iter().filter(|row| row.service == *service) {
            let mut cells = vec![row.line.rpc.to_owned(), row.line.of.to_owned(), word(row.line.typ).to_owned()];
            cells.extend(row.cells.iter().map(|answer| word_for(row, answer)));
            lines.push(cells);
        }
        writeln!(text, "\n{service}\n{}", aligned(&lines)).unwrap();
    }
    text.trim_end().to_owned() + "\n"
}

fn aligned(lines: &[Vec<String>]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap();
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    let rows = lines.iter().map(|line| {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    });
    rows.collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_is_what_a_vault_answers() {
    let rows = ask_all().await;
    let text = text(&rows);
    for row in &rows {
        operators_as_the_rules_say(row);
        an_auditor_changes_nothing(row);
        each_kind_of_key_to_its_own_calls(row);
    }
    let met: BTreeSet<&str> = rows.iter().flat_map(|row| &row.cells).filter_map(|cell| cell.code.as_deref()).collect();
    let unmet: Vec<_> = OF_THE_MATTER.iter().filter(|code| !met.contains(*code)).collect();
    assert!(unmet.is_empty(), "nobody is refused for {unmet:?}, so it needs no exception");
    committed::stands("tests/authorization/table.txt", text);
}

/// The rules of [`TABLE`] and the vault say the same of each command as it was sent.
fn operators_as_the_rules_say(row: &Row) {
    let Says::Command(_) = row.line.says else { return };
    for (at, (column, duty)) in stage::duties().into_iter().enumerate() {
        let got = word_for(row, &row.cells[at]);
        match permits(&duty, row.line.typ, &row.bodies[at]) {
            Err(_) => assert_eq!(got, "not_permitted", "{column}: {}", row.name()),
            // No duty lets an operator put a key in another's place by its own hand.
            Ok(()) if row.line.of == "another's key" => assert_eq!(got, "bad_successor", "{column}: {}", row.name()),
            Ok(()) => assert_eq!(got, "may", "{column}: {}", row.name()),
        }
    }
}

/// Whatever is carried out for an auditor stands in no chain, but for the key that it puts in place of its own.
fn an_auditor_changes_nothing(row: &Row) {
    let answer = row.cell("auditor");
    if word_for(row, answer) != "may" {
        return;
    }
    assert!(
        !answer.chained || (row.line.rpc, row.line.of) == ("RotateOperatorKey", "its own key"),
        "an auditor changes something with {}",
        row.name()
    );
    assert_eq!(answer.code, None, "{} is refused, so nobody sees whether it changes something", row.name());
}

fn each_kind_of_key_to_its_own_calls(row: &Row) {
    let may = |column: &&str| word_for(row, row.cell(column)) == "may";
    let is_describe = row.line.rpc == "DescribeVault";
    let columns: &[&str] = match row.service.as_str() {
        "AgentService" if is_describe => &[],
        "AgentService" => &["admin", "grantor", "auditor", "responder", "ended", "stranger"],
        _ => &["ended", "agent", "stranger"],
    };
    let none: Vec<&&str> = columns.iter().filter(|column| may(column)).collect();
    assert!(none.is_empty(), "{none:?} may do {}", row.name());
    if row.service == "AgentService" && !is_describe {
        assert_eq!(may(&"agent"), !row.line.of.contains("another's"), "an agent and {}", row.name());
    }
}

#[test]
fn every_call_and_every_statement_has_a_line() {
    let rpcs = contract();
    let lacks: Vec<&str> =
        rpcs.iter().map(|rpc| rpc.name.as_str()).filter(|name| !has(|line| line.rpc == *name)).collect();
    assert!(lacks.is_empty(), "calls of the contract without a line in tests/authorization/lines.rs: {lacks:?}");
    for line in LINES {
        let rpc = rpcs.iter().find(|rpc| rpc.name == line.rpc);
        let rpc = rpc.unwrap_or_else(|| panic!("{} is no call of the contract", line.rpc));
        assert_eq!(rpc.signed, !matches!(line.says, Says::Unsigned(_)), "{}: whether it is signed", line.rpc);
    }
    let all = schema::all();
    let from_somebody = |schema: &Value| {
        let member = |name: &str| schema["properties"].get(name).is_some();
        (member("operator") && member("body")) || (member("agent") && member("sid") && member("seen"))
    };
    let stated = all.iter().filter(|(_, schema)| from_somebody(schema)).map(|(word, _)| word.as_str());
    let stated: BTreeSet<&str> = stated.collect();
    assert!(stated.is_superset(&TABLE.iter().map(|(word, _)| *word).collect()), "the commands are all found");
    let lacks: Vec<&&str> = stated.iter().filter(|known| !has(|line| word(line.typ) == **known)).collect();
    assert!(lacks.is_empty(), "statements without a line in tests/authorization/lines.rs: {lacks:?}");
}

fn has(wanted: impl Fn(&Line) -> bool) -> bool {
    LINES.iter().any(wanted)
}

/// A good statement of the other kind, signed by a key that is in force, is none here.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_commands_nothing_and_a_command_requests_nothing() {
    let stage = Stage::set().await;
    for rpc in contract().iter().filter(|rpc| rpc.signed) {
        let (request, command) = (stage.a_request(), stage.a_command());
        let message = if rpc.service == "AgentService" { command } else { request };
        let answer = stage.ask(&rpc.service, &rpc.name, message).await;
        assert_eq!(answer.code.as_deref(), Some("wrong_payload_type"), "{}", rpc.name);
    }
    stage.stop().await;
}
