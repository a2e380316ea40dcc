//! What an issuance is made of, each piece alone: the bound that the whole is held against. CPU time of this process,
//! user and system.
//!
//! The rows are those that an issuance leaves, in tables made as the vault's own database says, filled like its newest
//! rows, and committed in groups with `synchronous=FULL` on the same disk.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use nockvault::crypto::hash::Digest;
use nockvault::crypto::hpke::{self, SealSecretKey};
use nockvault::crypto::signature::{Form, SigningKey};
use nockvault::entropy::{Entropy, OsEntropy};
use rusqlite::types::Value as Column;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use super::measure::cpu_of;

/// What `pieces` is told.
#[derive(Args)]
pub(crate) struct Pieces {
    /// The database of a vault that has issued.
    #[arg(long)]
    store: PathBuf,
    /// A folder on the same disk.
    #[arg(long)]
    folder: PathBuf,
    /// How many issuances shared a commit.
    #[arg(long, default_value_t = 1.0)]
    group: f64,
    /// How large a request is, in bytes.
    #[arg(long, default_value_t = 1000)]
    request_bytes: usize,
    /// How large a reply is, in bytes.
    #[arg(long, default_value_t = 1500)]
    reply_bytes: usize,
    /// For how long each piece is measured, in seconds.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
}

impl Pieces {
    /// CPU time of one call, in microseconds.
    fn each(&self, mut call: impl FnMut()) -> f64 {
        let (before, end) = (cpu_of("self"), Instant::now() + Duration::from_secs_f64(self.seconds));
        let mut calls = 0_u32;
        while Instant::now() < end {
            for _ in 0..50 {
                call();
            }
            calls += 50;
        }
        (cpu_of("self") - before) * 1e6 / f64::from(calls)
    }

    pub(crate) fn run(&self) -> anyhow::Result<Value> {
        let entropy: &dyn Entropy = &OsEntropy;
        let key = SigningKey::generate(entropy);
        let (public, to) = (key.public(), SealSecretKey::generate(entropy).public());
        let (request, reply) = (vec![b'x'; self.request_bytes], vec![b'y'; self.reply_bytes]);
        let signature = key.sign(Form::Pae, "request", &request);
        let mut rows = Rows::open(&self.store, &self.folder)?;
        let line = vec![b'z'; rows.line];
        let few = [7_u8; 256];
        let verify = self.each(|| black_box(&public).verify(Form::Pae, "request", &request, &signature).unwrap());
        let seal = self.each(|| drop(hpke::seal(&to, &[1; 82], &[], black_box(&few), entropy).unwrap()));
        let sign = |bytes: &[u8]| {
            black_box(key.sign_raw(black_box(bytes)));
        };
        let sign_entry = self.each(|| sign(&line));
        let sign_reply = self.each(|| sign(&reply));
        // The request's name, the entry's leaf, two nodes of the tree, header and sealed bytes; and as much as three
        // MACs over rows.
        let hashes = self.each(|| {
            for bytes in [&request[..], &line, &few[..65], &few[..65], &few, &few, &few, &few, &few] {
                black_box(Digest::of(black_box(bytes)));
            }
        });
        let group = self.group.round().max(1.0) as u64;
        let rows_us = self.rows(&mut rows, group)?;
        Ok(json!({
            "verify_us": verify,
            "seal_us": seal,
            "signatures_us": sign_entry + sign_reply,
            "hashes_us": hashes,
            "rows_us": rows_us,
            "group": group,
            "line_bytes": rows.line,
            "request_bytes": self.request_bytes,
            "reply_bytes": self.reply_bytes,
        }))
    }

    fn rows(&self, rows: &mut Rows, group: u64) -> anyhow::Result<f64> {
        for _ in 0..20 {
            rows.commit(group)?;
        }
        let (before, end) = (cpu_of("self"), Instant::now() + Duration::from_secs_f64(2.0 * self.seconds));
        let mut written = 0;
        while Instant::now() < end {
            rows.commit(group)?;
            written += group;
        }
        Ok((cpu_of("self") - before) * 1e6 / written as f64)
    }
}

/// A row of a table, as the vault wrote it last.
struct Like {
    sql: String,
    values: Vec<Column>,
}

impl Like {
    fn of(store: &Connection, table: &str) -> anyhow::Result<Like> {
        let by = match table {
            "leases" => "ORDER BY issued DESC",
            "lines" => "ORDER BY length(line) DESC",
            _ => "",
        };
        let mut statement = store.prepare(&format!("SELECT * FROM {table} {by} LIMIT 1"))?;
        let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let values = statement.query_row([], |row| (0..names.len()).map(|at| row.get(at)).collect())?;
        let places: Vec<String> = (1..=names.len()).map(|at| format!("?{at}")).collect();
        let sql = format!("INSERT OR REPLACE INTO {table} ({}) VALUES ({})", names.join(", "), places.join(", "));
        Ok(Like { sql, values })
    }
}

/// The tables that an issuance writes to, in a database of their own.
struct Rows {
    own: Connection,
    nonce: Like,
    lease: Like,
    line: usize,
    entry: Like,
    written: i64,
}

const SESSION: &str = "UPDATE sessions SET used = ?1, due = ?1";
const USES: &str = "UPDATE uses SET count = ?1, paced = ?1";
const LIVE: &str =
    "INSERT INTO nonces_live (key, count) VALUES (1, 1) ON CONFLICT (key) DO UPDATE SET count = count + 1";
const HEAD: &str = "UPDATE chains SET size = ?1, leaf = ?2, ts = ?1, mac = zeroblob(40)";

impl Rows {
    fn open(store: &Path, folder: &Path) -> anyhow::Result<Rows> {
        let theirs = Connection::open_with_flags(store, OpenFlags::SQLITE_OPEN_READ_ONLY)
            .with_context(|| store.display().to_string())?;
        let file = folder.join("pieces.db");
        for name in ["pieces.db", "pieces.db-wal", "pieces.db-shm"] {
            let _ = std::fs::remove_file(folder.join(name));
        }
        let own = Connection::open(&file)?;
        own.pragma_update(None, "journal_mode", "WAL")?;
        own.pragma_update(None, "synchronous", "FULL")?;
        // What rows refer to is not here.
        own.pragma_update(None, "foreign_keys", false)?;
        let tables = ["nonces", "nonces_live", "sessions", "uses", "leases", "lines", "chains"];
        let mut statement = theirs
            .prepare("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND tbl_name = ?1 ORDER BY type = 'index'")?;
        for table in tables {
            let all: Vec<String> = statement.query_map([table], |row| row.get(0))?.collect::<Result<_, _>>()?;
            anyhow::ensure!(!all.is_empty(), "{} has no table {table}", store.display());
            own.execute_batch(&all.join(";"))?;
        }
        for table in ["sessions", "uses", "chains"] {
            let like = Like::of(&theirs, table)?;
            own.execute(&like.sql, rusqlite::params_from_iter(&like.values))?;
        }
        let [nonce, lease, entry] = ["nonces", "leases", "lines"].map(|table| Like::of(&theirs, table));
        let entry = entry?;
        let line = entry.values.iter().map(|value| if let Column::Blob(bytes) = value { bytes.len() } else { 0 }).max();
        Ok(Rows { own, nonce: nonce?, lease: lease?, line: line.unwrap_or(0), entry, written: 0 })
    }

    /// The rows of so many issuances, in one commit.
    fn commit(&mut self, group: u64) -> anyhow::Result<()> {
        self.own.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        for _ in 0..group {
            self.written += 1;
            let at = self.written;
            // Keys of these tables are random but for the entry's, which is a number.
            let random: [u8; 32] = *Digest::of(&at.to_be_bytes()).as_bytes();
            for like in [&mut self.nonce, &mut self.lease] {
                let mut changed = 0;
                for value in &mut like.values {
                    let Column::Blob(bytes) = value else { continue };
                    if (16..=32).contains(&bytes.len()) && changed < 2 {
                        let length = bytes.len();
                        *bytes = random[..length].to_vec();
                        changed += 1;
                    }
                }
            }
            self.entry.values[0] = Column::Integer(at);
            for like in [&self.nonce, &self.lease, &self.entry] {
                self.own.prepare_cached(&like.sql)?.execute(rusqlite::params_from_iter(&like.values))?;
            }
            for sql in [SESSION, USES] {
                self.own.prepare_cached(sql)?.execute([at])?;
            }
            self.own.prepare_cached(LIVE)?.execute([])?;
            self.own.prepare_cached(HEAD)?.execute((at, random))?;
        }
        self.own.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }
}
