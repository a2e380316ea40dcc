//! What nobody can ask for, because there is no word for it. No statement and no configuration of a role has a member that
//! names a program, a file or a place to write to, so that no command over the wire has the daemon run, open or overwrite
//! anything: whatever it runs or opens stands in the file that it was started with. And in the daemon's own code there is
//! one place that starts a program.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Words for things that are run, opened or written.
const WORDS: &[&str] = &[
    "path",
    "file",
    "folder",
    "dir",
    "directory",
    "program",
    "exec",
    "plugin",
    "binary",
    "shell",
    "script",
    "socket",
    "url",
    "uri",
    "endpoint",
    "mount",
    "library",
    "module",
    "output",
    "log",
    "command",
    "cmd",
    "template",
    "include",
];

/// Members with such a word, and what they are.
const MEANT: &[(&str, &str)] = &[
    ("approve.command", "the digest of a command that waits"),
    ("described.command_bytes", "an answer: how long a command may be"),
    ("withdraw.command", "the digest of a command that waits"),
    ("ssh.config.force_command", "it stands in a certificate, and a host of the agent's login runs it"),
    ("postgres.secret.url", "an answer: where the agent logs in"),
];

/// What may start a process: a custodian's program, which the configuration names, and what agents and people start
/// themselves.
const STARTS: &[&str] = &[
    "src/seal/custody/given.rs",
    "src/launcher/child.rs",
    "src/bin/vault-agent/run.rs",
    "src/bin/vault-agent/confined.rs",
];

fn house() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files with this ending, below this folder.
fn below(folder: &Path, end: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            below(&path, end, found);
        } else if path.extension().is_some_and(|extension| extension == end) {
            found.push(path);
        }
    }
}

/// The names of the members that a schema has anywhere in it.
fn members(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Object(properties)) = object.get("properties") {
                found.extend(properties.keys().cloned());
            }
            object.values().for_each(|inner| members(inner, found));
        }
        Value::Array(list) => list.iter().for_each(|inner| members(inner, found)),
        _ => {}
    }
}

fn suspicious(member: &str) -> bool {
    member.split('_').any(|part| WORDS.contains(&part))
}

#[test]
fn no_statement_names_a_program_a_file_or_a_place_to_write_to() {
    let mut files = Vec::new();
    below(&house().join("proto/schema"), "json", &mut files);
    let mut schemas = BTreeMap::new();
    for file in files {
        let mut found = BTreeSet::new();
        members(&serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap(), &mut found);
        schemas.insert(file.file_stem().unwrap().to_str().unwrap().to_owned(), found);
    }
    assert!(schemas.len() > 60 && schemas["issue"].contains("role"), "the schemas were not read");
    let named: Vec<String> = schemas
        .iter()
        .flat_map(|(name, members)| members.iter().map(move |member| (name, member)))
        .filter(|(_, member)| suspicious(member))
        .map(|(name, member)| format!("{name}.{member}"))
        .collect();
    let mut meant: Vec<&str> = MEANT.iter().map(|(member, _)| *member).collect();
    meant.sort_unstable();
    assert_eq!(named, meant, "a member that names something to run, open or write, or one that is gone");
}

/// The kind of a custodian says that a program gives the secret, and not which.
#[test]
fn a_custodians_program_is_named_in_the_configuration_alone() {
    let text = fs::read_to_string(house().join("proto/schema/custody_add.json")).unwrap();
    let mut found = BTreeSet::new();
    members(&serde_json::from_str(&text).unwrap(), &mut found);
    assert!(found.contains("threshold"), "the kinds were not read");
    assert!(!found.iter().any(|member| suspicious(member) || member == "args" || member == "arguments"), "{found:?}");
}

#[test]
fn one_place_of_the_daemon_starts_a_program() {
    let mut files = Vec::new();
    below(&house().join("src"), "rs", &mut files);
    let names_it = |line: &str| line.split(|c: char| !c.is_alphanumeric()).any(|word| word == "Command");
    let starts = |text: &str| {
        let mut code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        code.any(|line| line.contains("process::") && names_it(line))
    };
    assert!(starts("use std::process::{Child, Command};") && starts("let it = tokio::process::Command::new(it);"));
    assert!(!starts("// std::process::Command") && !starts("use std::os::unix::process::CommandExt as _;"));
    let named: BTreeSet<String> = files
        .iter()
        .filter(|file| starts(&fs::read_to_string(file).unwrap()))
        .map(|file| file.strip_prefix(house()).unwrap().display().to_string())
        .collect();
    assert_eq!(named, STARTS.iter().map(|file| (*file).to_owned()).collect());
}
