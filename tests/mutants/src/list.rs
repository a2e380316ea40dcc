//! The list of mutants: that of cargo-mutants, so that names and counts are those that people know.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// The rooms, and their files.
pub const ROOMS: &[(&str, &str)] = &[
    ("authn", "src/authn.rs"),
    ("authz", "src/authz/**/*.rs"),
    ("audit", "src/audit/**/*.rs"),
    ("seal", "src/seal/**/*.rs"),
    ("statement", "src/statement/**/*.rs"),
];

/// What cargo-mutants calls the kinds of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Genre {
    FnValue,
    BinaryOperator,
    UnaryOperator,
    MatchArm,
    MatchArmGuard,
    StructField,
}

/// A place in a file, both from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

/// What is replaced.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Span {
    pub start: Place,
    pub end: Place,
}

/// One change, at one place.
#[derive(Clone, Debug, Deserialize)]
pub struct Mutant {
    pub name: String,
    pub file: String,
    pub span: Span,
    pub replacement: String,
    pub genre: Genre,
}

impl Mutant {
    /// The room that it stands in.
    pub fn room(&self) -> &str {
        let inner = self.file.trim_start_matches("src/").trim_end_matches(".rs");
        inner.split('/').next().unwrap_or(inner)
    }
}

/// All mutants of all rooms, in the order of files and lines. Their places here are their numbers.
pub struct List {
    pub mutants: Vec<Mutant>,
    /// Those that `.cargo/mutants.toml` leaves out, with its reasons.
    pub excluded: Vec<Mutant>,
}

impl List {
    /// Asks cargo-mutants.
    pub fn of(root: &Path) -> Result<List> {
        let all = ask(root, &["--no-config"])?;
        let kept: BTreeSet<String> = ask(root, &[])?.into_iter().map(|mutant| mutant.name).collect();
        let (mutants, excluded) = all.into_iter().partition(|mutant| kept.contains(&mutant.name));
        Ok(List { mutants, excluded })
    }
}

fn ask(root: &Path, words: &[&str]) -> Result<Vec<Mutant>> {
    let mut cargo = Command::new("cargo");
    cargo.args(["mutants", "--list", "--json", "--dir"]).arg(root).args(words);
    for (_, files) in ROOMS {
        cargo.args(["--file", files]);
    }
    let said = cargo.output().context("cargo mutants")?;
    ensure!(said.status.success(), "cargo mutants --list: {}", String::from_utf8_lossy(&said.stderr));
    serde_json::from_slice(&said.stdout).context("the list of cargo-mutants")
}
