//! Holds the house to its plan. Imports run one way, downward, along the table below; a crate that carries a risk is
//! named in one place only; no file grows past the wall, and none is a drawer for odds and ends.
//!
//! A finding is `file:line: what is wrong`. The way out is to move code, and only after thought to change a row: the
//! table is the plan, reviewed as such.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "architecture/source.rs"]
mod source;

use source::{Named, Token};

/// The ground: every room may stand on it.
const GROUND: &str = "time entropy secret base64url id denial failpoint";

/// Which rooms each room may name. A row names only rooms of earlier rows, so that there is no circle.
const TABLE: &[(&str, &str)] = &[
    ("time", ""),
    ("entropy", ""),
    ("secret", ""),
    ("base64url", ""),
    ("id", "base64url time entropy"),
    ("denial", "id time"),
    ("failpoint", ""),
    ("rate", ""),
    ("crypto", "ground"),
    ("statement", "ground crypto"),
    ("grant", "ground crypto statement"),
    ("lease", "ground crypto statement"),
    ("registry", "ground crypto statement grant"),
    ("authn", "ground crypto statement registry"),
    ("authz", "ground crypto statement registry grant lease authn"),
    ("seal", "ground crypto statement"),
    ("engine", "ground crypto statement grant lease authz seal"),
    // What a duty allows is judged offline by the same table.
    ("audit", "ground crypto statement authz"),
    ("telemetry", "ground"),
    ("store", "ground crypto statement registry grant lease authn authz seal engine audit telemetry"),
    ("follow", "ground crypto statement audit telemetry store"),
    ("vault", "ground rate crypto statement registry grant lease authn authz seal engine audit telemetry store"),
    // The limits of the vault and the store are their own types; the configuration fills them.
    ("config", "ground rate vault store follow"),
    ("wire", "ground crypto statement"),
    (
        "server",
        "ground rate crypto statement registry grant lease authn authz seal engine audit telemetry store follow vault config wire",
    ),
    ("client", "ground crypto statement seal audit wire"),
    ("launcher", "ground crypto statement audit client"),
    ("manual", ""),
];

/// Crates that are named in one place only, and where.
const KEPT: &[(&str, &str)] = &[
    ("ed25519_dalek", "src/crypto"),
    ("curve25519_dalek", "src/crypto"),
    ("chacha20poly1305", "src/crypto"),
    ("hpke", "src/crypto"),
    ("sha2", "src/crypto"),
    ("hkdf", "src/crypto"),
    ("hmac", "src/crypto"),
    ("getrandom", "src/entropy.rs"),
    ("rusqlite", "src/store/sqlite"),
    ("libc", "src/server/walls"),
    ("seccompiler", "src/server/walls"),
];

/// Rooms that an offline verifier or a pure decision stands on: they neither wait nor speak to a network.
const STILL: &str = "crypto statement authn authz audit";
const RUNTIMES: &str = "tokio tokio_stream tokio_util tonic tonic_prost tonic_types";

/// Names that say nothing of what is inside.
const DRAWERS: &str = "util utils helper helpers manager managers common misc";

/// The wall. A file of 400 lines is long already.
const LINES: usize = 700;

fn has(words: &str, word: &str) -> bool {
    words.split(' ').any(|one| one == word)
}

fn row(room: &str) -> Option<&'static str> {
    TABLE.iter().find(|(name, _)| *name == room).map(|(_, allowed)| *allowed)
}

fn allowed(from: &str, to: &str) -> bool {
    row(from).is_some_and(|words| has(words, to) || (has(words, "ground") && has(GROUND, to)))
}

/// A source file under judgement: its path from the root of the package, and its text.
struct File {
    path: String,
    text: String,
}

impl File {
    /// The module path: `src/store/sqlite/mod.rs` is `store`, `sqlite`.
    fn module(&self) -> Vec<String> {
        let inner = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        let inner = inner.trim_end_matches("/mod").trim_end_matches("/main");
        inner.split('/').filter(|part| *part != "lib").map(str::to_owned).collect()
    }

    /// A program of `src/bin`: it links the library as `nockvault` and may name all of it.
    fn is_program(&self) -> bool {
        self.path.starts_with("src/bin/")
    }

    /// Committed output of a generator.
    fn is_generated(&self) -> bool {
        self.path.contains("/gen/") || self.path.ends_with("/gen.rs")
    }

    fn find(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

/// Everything that is wrong with one file.
fn findings(file: &File) -> Vec<String> {
    if file.is_generated() {
        return Vec::new();
    }
    let tokens = source::tokens(&file.text);
    let named = source::named(&tokens, &file.module());
    let mut found = shape(file);
    found.extend(crates(file, &named));
    if !file.is_program() {
        found.extend(ways_round(file, &tokens));
        found.extend(arrows(file, &named));
    }
    found.dedup();
    found
}

fn shape(file: &File) -> Vec<String> {
    let mut found = Vec::new();
    if !file.text.starts_with("//!") {
        found.push(file.find(1, "a file begins with `//!` and says what it promises"));
    }
    let lines = file.text.lines().count();
    if lines > LINES {
        found.push(file.find(lines, format_args!("{lines} lines; the wall is {LINES}")));
    }
    if let Some(drawer) = file.module().iter().find(|part| has(DRAWERS, part)) {
        found.push(file.find(1, format_args!("`{drawer}` says nothing of what is inside")));
    }
    found
}

fn crates(file: &File, named: &[Named]) -> Vec<String> {
    let module = file.module();
    let mut found = Vec::new();
    for Named { path, line, .. } in named.iter().filter(|named| !named.rooted) {
        let name = path[0].as_str();
        let kept = KEPT.iter().find(|(kept, _)| *kept == name);
        if let Some((_, place)) = kept.filter(|(_, place)| !stands_in(&file.path, place)) {
            found.push(file.find(*line, format_args!("`{name}` is named in {place} only")));
        }
        if has(RUNTIMES, name) && module.first().is_some_and(|room| has(STILL, room)) {
            found.push(file.find(*line, format_args!("{} may not name `{name}`", module[0])));
        }
    }
    found
}

/// `place` is a file, or a room: a folder or the file that opens it.
fn stands_in(path: &str, place: &str) -> bool {
    path == place || path == format!("{place}.rs") || path.starts_with(&format!("{place}/"))
}

/// What would lead past the table without naming a room.
fn ways_round(file: &File, tokens: &[Token]) -> Vec<String> {
    let text = |index: usize| tokens.get(index).map_or("", |token: &Token| token.text.as_str());
    let mut found = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let attribute = text(index) == "path" && text(index + 1) == "=" && index > 1 && text(index - 1) == "[";
        if attribute {
            found.push(file.find(token.line, "`#[path]` leads past the table"));
        }
        if file.path == "src/lib.rs" && text(index) == "use" {
            found.push(file.find(token.line, "lib.rs hands nothing on; name a thing where it lives"));
        }
    }
    found
}

fn arrows(file: &File, named: &[Named]) -> Vec<String> {
    let module = file.module();
    let Some(from) = module.first() else { return Vec::new() };
    let mut found = Vec::new();
    if row(from).is_none() {
        found.push(file.find(1, format_args!("the room `{from}` has no row in the table")));
    }
    for Named { path, line, .. } in named.iter().filter(|named| named.rooted) {
        match path.first().map(String::as_str) {
            None | Some("*") => found.push(file.find(*line, "the root itself is named; name a room")),
            Some(to) if to == from => {}
            Some(to) if row(to).is_none() => {
                found.push(file.find(*line, format_args!("{from} -> {to}: `{to}` has no row in the table")));
            }
            Some(to) if !allowed(from, to) => {
                found.push(file.find(*line, format_args!("{from} -> {to} is not in the table")));
            }
            Some(_) => {}
        }
    }
    found
}

fn rust_files(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("src is readable") {
        let path = entry.expect("an entry of src is readable").path();
        if path.is_dir() {
            rust_files(&path, out);
        } else if path.extension().is_some_and(|end| end == "rs") {
            out.push(path);
        }
    }
}

#[test]
fn the_house_stands_as_planned() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    rust_files(&root.join("src"), &mut paths);
    paths.sort();
    assert!(paths.iter().any(|path| path.ends_with("src/lib.rs")), "no src/lib.rs under {}", root.display());
    let mut found = Vec::new();
    for path in &paths {
        let text = fs::read_to_string(path).expect("a source file is UTF-8");
        let path = path.strip_prefix(root).expect("the file stands under the root").display().to_string();
        found.extend(findings(&File { path, text }));
    }
    assert!(found.is_empty(), "{} findings:\n{}\n", found.len(), found.join("\n"));
}

#[test]
fn the_table_has_no_circle() {
    for (index, (room, words)) in TABLE.iter().enumerate() {
        let earlier = &TABLE[..index];
        for to in words.split(' ').filter(|word| !word.is_empty()) {
            let known = to == "ground" || earlier.iter().any(|(name, _)| *name == to);
            assert!(known, "{room} -> {to}: a row names only rooms of earlier rows");
        }
        assert!(!has(words, "ground") || !has(GROUND, room), "{room} is ground itself");
        assert!(!earlier.iter().any(|(name, _)| name == room), "{room} has two rows");
    }
    assert!(GROUND.split(' ').all(|room| row(room).is_some()), "each ground room has a row");
}

/// What the test says of a file with this text, without the heading that every file needs.
fn judge(path: &str, text: &str) -> Vec<String> {
    findings(&File { path: path.to_owned(), text: format!("//! Judged.\n{text}") })
}

#[track_caller]
fn assert_refused(path: &str, text: &str, findings: &[&str]) {
    assert_eq!(judge(path, text), findings, "{path}: {text}");
}

#[track_caller]
fn assert_passes(path: &str, text: &str) {
    assert_refused(path, text, &[]);
}

#[test]
fn an_arrow_up_is_found_however_it_is_written() {
    let refused = ["src/engine/kv.rs:2: engine -> store is not in the table"];
    for text in [
        "use crate::store::Store;",
        "use crate::store;",
        "pub(crate) use crate::store::sqlite as s;",
        "use crate::{authz::Permit, store::{self}};",
        "use super::super::store::Store;",
        "use super::super::{lease, store};",
        "fn f() { crate::store::open() }",
        "fn f(s: &dyn crate::store::Store) {}",
        "fn f() { <u8 as crate::store::Verb>::run() }",
        "mod tests { mod deep { fn f() { super::super::super::super::store::open() } } }",
        "macro_rules! m { () => { $crate::store::open() } }",
        "pub(in crate::store) fn f() {}",
    ] {
        assert_refused("src/engine/kv.rs", text, &refused);
    }
    assert_refused(
        "src/engine/kv.rs",
        "use crate::{\n    crypto,\n    vault::{\n        self,\n    },\n};",
        &["src/engine/kv.rs:5: engine -> vault is not in the table"],
    );
    assert_refused("src/time.rs", "use super::id::AgentId;", &["src/time.rs:2: time -> id is not in the table"]);
}

#[test]
fn an_arrow_down_passes_and_so_does_prose() {
    for text in [
        "use crate::crypto::{hash, json};\nuse crate::time::Timestamp;",
        "use super::Engine;\nuse super::super::lease::Lease;\nuse self::inner::Thing;",
        "mod tests { use super::*; }",
        "// use crate::store::Store;\n/* crate::vault::issue /* nested */ crate::server */\n/// See [`crate::store`].",
        "const S: &str = \"use crate::store\"; const R: &str = r#\"crate::vault::x \"quoted\" \"#;",
        "fn f<'a>(x: &'a str) -> char { let q = '\"'; let e = '\\''; q }",
        "fn f() -> impl Sized + use<> {}",
        "use std::store::Store; fn f() { other::store::run() }",
    ] {
        assert_passes("src/engine/kv.rs", text);
    }
    assert_passes("src/bin/vaultctl/main.rs", "use nockvault::vault::Vault;\nuse crate::output::Table;");
    assert_passes("src/wire/gen/nockvault.v1.rs", "use super::super::super::anything::At;");
}

#[test]
fn a_way_round_the_table_is_found() {
    assert_refused(
        "src/authz.rs",
        "use crate::*;\nuse super::*;\nuse crate as root;",
        &[
            "src/authz.rs:2: the root itself is named; name a room",
            "src/authz.rs:3: the root itself is named; name a room",
            "src/authz.rs:4: the root itself is named; name a room",
        ],
    );
    assert_refused(
        "src/authz.rs",
        "#[path = \"store/mod.rs\"]\nmod inner;",
        &["src/authz.rs:2: `#[path]` leads past the table"],
    );
    assert_refused(
        "src/lib.rs",
        "pub mod store;\npub use store::Store;",
        &["src/lib.rs:3: lib.rs hands nothing on; name a thing where it lives"],
    );
    assert_refused(
        "src/vault/issue.rs",
        "use crate::bin::vaultd;",
        &["src/vault/issue.rs:2: vault -> bin: `bin` has no row in the table"],
    );
    assert_refused("src/cellar.rs", "", &["src/cellar.rs:1: the room `cellar` has no row in the table"]);
}

#[test]
fn a_kept_crate_is_found_outside_its_room() {
    for text in [
        "use sha2::Digest;",
        "use sha2;",
        "use {std::fmt, sha2::{Digest, Sha256}};",
        "extern crate sha2 as s;",
        "fn f() { sha2::Sha256::digest(b\"\") }",
        "fn f() { let d = ::sha2::Sha256::new(); }",
    ] {
        assert_refused("src/audit/entry.rs", text, &["src/audit/entry.rs:2: `sha2` is named in src/crypto only"]);
        assert_passes("src/crypto/hash.rs", text);
    }
    assert_passes("src/seal/reply.rs", "use crate::crypto::hpke;\nfn f() { hpke::seal() }");
    assert_refused(
        "src/store/mod.rs",
        "fn f(c: &rusqlite::Connection) {}",
        &["src/store/mod.rs:2: `rusqlite` is named in src/store/sqlite only"],
    );
    assert_passes("src/store/sqlite/writer.rs", "use rusqlite::Connection;");
    assert_refused("src/bin/vaultd.rs", "use hmac::Mac;", &["src/bin/vaultd.rs:2: `hmac` is named in src/crypto only"]);
}

#[test]
fn a_still_room_does_not_wait() {
    assert_refused("src/audit/chain.rs", "use tokio::fs;", &["src/audit/chain.rs:2: audit may not name `tokio`"]);
    assert_refused("src/authz.rs", "#[tonic::async_trait]", &["src/authz.rs:2: authz may not name `tonic`"]);
    assert_passes("src/server/agent.rs", "use tokio::net::TcpListener;");
}

#[test]
fn a_shapeless_file_is_found() {
    let bare = File { path: "src/time.rs".to_owned(), text: "use std::fmt;\n".to_owned() };
    assert_eq!(findings(&bare), ["src/time.rs:1: a file begins with `//!` and says what it promises"]);
    assert_refused("src/store/utils.rs", "", &["src/store/utils.rs:1: `utils` says nothing of what is inside"]);
    let at_the_wall = "\n".repeat(LINES - 1);
    assert_passes("src/time.rs", &at_the_wall);
    assert_refused("src/time.rs", &format!("{at_the_wall}\n"), &["src/time.rs:701: 701 lines; the wall is 700"]);
}
