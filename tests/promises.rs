//! `SECURITY.md` names a test for each promise, for each class of failure that others shipped, and for each promise at a
//! boundary; and the tests exist.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};

fn house() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn security() -> String {
    fs::read_to_string(house().join("SECURITY.md")).unwrap()
}

/// A table: the heading that it stands under, the heads of its columns, and its rows.
struct Table {
    under: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Which column names tests, where one does.
    fn tests(&self) -> Option<usize> {
        self.columns.iter().position(|column| ["tests", "shown by"].contains(&column.as_str()))
    }
}

fn cells(line: &str) -> Vec<String> {
    line.trim().trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}

fn tables(text: &str) -> Vec<Table> {
    let (mut all, mut under, mut inside) = (Vec::<Table>::new(), String::new(), false);
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix('#') {
            under = heading.trim_start_matches('#').trim().to_owned();
        }
        match (line.starts_with('|'), inside) {
            (true, false) => all.push(Table { under: under.clone(), columns: cells(line), rows: Vec::new() }),
            (true, true) if line.starts_with("|---") => {}
            (true, true) => all.last_mut().unwrap().rows.push(cells(line)),
            (false, _) => {}
        }
        inside = line.starts_with('|');
    }
    all
}

/// The tests that a text names: `file::name`, or `file::` for all of a file.
fn named(text: &str) -> Vec<&str> {
    let spelled = |part: &&str| part.chars().all(|c| c.is_ascii_alphanumeric() || "_/.:".contains(c));
    text.split('`').skip(1).step_by(2).filter(|part| part.contains("::")).filter(spelled).collect()
}

/// `tests/FILE.rs` and what stands under `tests/FILE/`, or a file of the source.
fn source(file: &str) -> String {
    if file.starts_with("src/") {
        return fs::read_to_string(house().join(file)).unwrap_or_default();
    }
    let tests = house().join("tests");
    let mut files: Vec<PathBuf> = vec![tests.join(format!("{file}.rs"))];
    if let Ok(folder) = fs::read_dir(tests.join(file)) {
        let inside = folder.map(|file| file.unwrap().path());
        files.extend(inside.filter(|path| path.extension().is_some_and(|end| end == "rs")));
    }
    files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect::<Vec<_>>().join("\n")
}

/// Whether a text has a test of this name: a function under an attribute that makes it one.
fn has_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let begins = format!("fn {name}(");
    lines.iter().enumerate().any(|(at, line)| {
        let above = lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
        line.trim_start_matches("async ").starts_with(&begins)
            && above.into_iter().any(|line| line.starts_with("#[") && line.contains("test"))
    })
}

fn exists(test: &str) -> bool {
    let (file, name) = test.split_once("::").unwrap();
    let text = source(file);
    if name.is_empty() { text.contains("#[test]") || text.contains("#[tokio::test") } else { has_test(&text, name) }
}

#[test]
fn every_test_that_is_named_exists() {
    let text = security();
    let missing: Vec<&str> = named(&text).into_iter().filter(|test| !exists(test)).collect();
    assert!(missing.is_empty(), "named in SECURITY.md, and not there: {missing:#?}");
}

#[test]
fn every_promise_class_and_boundary_is_held_by_tests() {
    let text = security();
    let tables = tables(&text);
    for table in &tables {
        let Some(column) = table.tests() else { continue };
        for row in &table.rows {
            assert_eq!(row.len(), table.columns.len(), "{}: {row:?}", table.under);
            assert!(!named(&row[column]).is_empty(), "{}: no test holds: {}", table.under, row[0]);
        }
    }
    let of = |under: &str| tables.iter().find(|table| table.under == under && table.tests().is_some()).unwrap();
    assert_eq!(of("Promises").rows.len(), 10, "there are ten promises");
    assert!(of("What others shipped").rows.len() >= 22, "a class was dropped");
    let boundaries = text.split("\n## Threat model").nth(1).unwrap().split("\n## ").next().unwrap();
    let who: Vec<&str> = boundaries.split("\n### ").skip(1).map(|part| part.lines().next().unwrap()).collect();
    assert_eq!(who.len(), 8, "{who:?}");
    for part in boundaries.split("\n### ").skip(1) {
        let name = part.lines().next().unwrap();
        assert!(of(name).rows.len() >= 4 && part.contains("Not promised"), "{name}");
    }
}

#[test]
fn a_name_that_is_no_test_is_found() {
    assert!(exists("promises::a_name_that_is_no_test_is_found") && exists("promises::"));
    assert!(exists("src/id.rs::names_are_taken_as_they_are_or_refused"));
    assert!(!exists("promises::exists") && !exists("promises::nothing") && !exists("nothing::"));
    assert!(!exists("src/id.rs::parse") && !exists("src/nothing.rs::nothing"));
    assert_eq!(named("`a::b`, `vaultctl x`, a::c, `d::`, `e f::g`"), ["a::b", "d::"]);
}
