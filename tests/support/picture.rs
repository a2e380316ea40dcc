//! What a vault holds, row by row, so that a test can say that nothing changed. The rows are read by a connection of
//! the test's own, beside the vault's.

use std::collections::{BTreeMap, BTreeSet};

use nockvault::base64url;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use super::Harness;

/// Every row of every table, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture(BTreeMap<String, BTreeSet<String>>);

impl Harness {
    /// A connection of the test's own that can also write.
    pub fn database(&self) -> Connection {
        Connection::open_with_flags(self.data().join("vault.db"), OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap()
    }

    /// What the vault holds now.
    pub fn picture(&self) -> Picture {
        let database = self.database();
        let mut tables = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").unwrap();
        let tables: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert!(tables.len() > 10, "this is not the vault's database: {tables:?}");
        Picture(tables.into_iter().map(|table| (table.clone(), rows(&database, &table))).collect())
    }
}

fn rows(database: &Connection, table: &str) -> BTreeSet<String> {
    let mut all = database.prepare(&format!("SELECT * FROM {table}")).unwrap();
    let columns = all.column_count();
    let mut found = all.query([]).unwrap();
    let mut rows = BTreeSet::new();
    while let Some(row) = found.next().unwrap() {
        let cells: Vec<String> = (0..columns).map(|index| cell(row.get_ref(index).unwrap())).collect();
        rows.insert(cells.join(" | "));
    }
    rows
}

fn cell(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "null".into(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        ValueRef::Blob(bytes) => base64url::encode(bytes),
    }
}

impl Picture {
    /// The tables in which two pictures differ.
    pub fn changed(&self, after: &Picture) -> Vec<&str> {
        let tables = self.0.keys().filter(|table| self.0.get(*table) != after.0.get(*table));
        tables.map(String::as_str).collect()
    }

    /// How many rows a table has.
    pub fn count(&self, table: &str) -> usize {
        self.0[table].len()
    }

    /// The rows of a table that were not there before.
    pub fn added(&self, after: &Picture, table: &str) -> Vec<String> {
        after.0[table].difference(&self.0[table]).cloned().collect()
    }
}

/// What an entry of its own changes: the line, its chain's row, the spent nonce, and the count of denials.
pub const TRAIL: [&str; 5] = ["chains", "denials", "lines", "nonces", "nonces_live"];
