//! Finds and reads vector files.

use std::path::{Path, PathBuf};
use std::{env, fs};

use serde_json::Value;

/// Where the vectors are, and whether it is the committed set.
pub(crate) fn root() -> (PathBuf, bool) {
    match env::var_os("NOCKVAULT_VECTORS") {
        Some(folder) if !folder.is_empty() => (PathBuf::from(folder), false),
        _ => (Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors"), true),
    }
}

/// The files of a folder whose names begin and end so, sorted. The committed set must have one; another may not.
pub(crate) fn files(folder: &str, start: &str, end: &str) -> Vec<PathBuf> {
    let (root, committed) = root();
    assert!(root.is_dir(), "{} is no folder", root.display());
    let fits = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with(start) && name.ends_with(end)
    };
    let listed = fs::read_dir(root.join(folder)).into_iter().flatten();
    let mut files: Vec<_> = listed.map(|entry| entry.unwrap().path()).filter(fits).collect();
    files.sort();
    if files.is_empty() {
        assert!(!committed, "{folder}/{start}*{end} is missing");
        eprintln!("{}: no {folder}/{start}*{end}, so none of these was run", root.display());
    }
    files
}

/// The text of a file.
pub(crate) fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs each JSON file of a kind through `run`, which returns how many vectors it ran: at least one.
pub(crate) fn each_json(folder: &str, start: &str, run: impl Fn(&Value) -> usize) {
    for file in files(folder, start, ".json") {
        let value = serde_json::from_str(&text(&file)).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let count = run(&value);
        assert!(count > 0, "{} holds no vector of this kind", file.display());
        eprintln!("{}: {count} vectors", file.display());
    }
}

/// Runs each vector of a Wycheproof file through `run`, with its group.
pub(crate) fn each_wycheproof(name: &str, run: impl Fn(&Value, &Value)) {
    each_json("wycheproof", &format!("{name}_test"), |file| {
        let groups = list(&file["testGroups"]);
        let tests = groups.iter().flat_map(|group| list(&group["tests"]).iter().map(move |test| (group, test)));
        tests.map(|(group, test)| run(group, test)).count()
    });
}

/// The vectors of a text file in NIST's style: blocks of `NAME = value`, each begun by `COUNT`.
pub(crate) fn blocks(text: &str) -> Vec<std::collections::HashMap<String, String>> {
    let mut blocks: Vec<std::collections::HashMap<_, _>> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.split_once('=') else { continue };
        if name.trim() == "COUNT" {
            blocks.push(Default::default());
        }
        let block = blocks.last_mut().expect("a block begins with COUNT");
        block.insert(name.trim().to_owned(), value.trim().to_owned());
    }
    blocks
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_else(|| panic!("a list, not {value}"))
}

pub(crate) fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("a text, not {value}"))
}

pub(crate) fn flag(value: &Value) -> bool {
    value.as_bool().unwrap_or_else(|| panic!("true or false, not {value}"))
}

/// The bytes of a member in hexadecimal.
pub(crate) fn hex(value: &Value) -> Vec<u8> {
    from_hex(string(value))
}

pub(crate) fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> =
        text.chars().map(|c| c.to_digit(16).unwrap_or_else(|| panic!("{text} is not hex"))).collect();
    assert!(digits.len().is_multiple_of(2), "{text} ends in half a byte");
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

/// The bytes with one bit flipped, or with a byte more where there are none.
pub(crate) fn flip(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    match bytes.len() {
        0 => bytes.push(0),
        length => bytes[bit / 8 % length] ^= 1 << (bit % 8),
    }
    bytes
}

/// Some bits of a text of this length: the first, the last, and a few between.
pub(crate) fn some_bits(bytes: &[u8]) -> [usize; 5] {
    let bits = (8 * bytes.len()).max(1);
    [0, bits / 4, bits / 2, bits * 3 / 4 + 3, bits - 1]
}

/// Another folder may hold what it likes, but not nothing.
#[test]
fn there_are_vectors() {
    let kinds = "wycheproof ed25519-speccheck cctv-ed25519 rfc8032 rfc8785 rfc9180 dsse jose hkdf sshsig x25519 rfc6962-merkle c2sp-tlog";
    let count: usize = kinds.split(' ').map(|kind| files(kind, "", "").len()).sum();
    assert!(count > 0, "{} holds no vectors", root().0.display());
}
