//! What the programs say of themselves is pinned: `--help` of each command stands under `tests/help/`. A change of it is
//! a change of the interface. `NOCKVAULT_REGENERATE=1 cargo test --test help` writes the files anew.

#![cfg(all(feature = "daemon", feature = "launcher"))]
#![allow(clippy::unwrap_used, reason = "a test stops where what it stands on is not there")]

#[path = "support/committed.rs"]
mod committed;

use std::collections::BTreeMap;
use std::process::Command;

/// Every program, and every command of it.
const PROGRAMS: &[(&str, &str, &[&str])] = &[
    ("vaultd", env!("CARGO_BIN_EXE_vaultd"), &["", "check-config", "dev", "completions", "man"]),
    ("vault-verify", env!("CARGO_BIN_EXE_vault-verify"), &[""]),
    (
        "vault-agent",
        env!("CARGO_BIN_EXE_vault-agent"),
        &[
            "",
            "exec",
            "run",
            "mcp",
            "get",
            "release",
            "list",
            "git",
            "docker",
            "aws",
            "kube",
            "pgpass",
            "api-key",
            "provide",
            "proxy",
            "accept-restore",
            "completions",
            "man",
        ],
    ),
    (
        "vaultctl",
        env!("CARGO_BIN_EXE_vaultctl"),
        &[
            "",
            "init",
            "context",
            "context list",
            "context use",
            "context show",
            "context add",
            "context rename",
            "context remove",
            "card",
            "status",
            "doctor",
            "agent",
            "agent register",
            "agent list",
            "agent show",
            "agent end-key",
            "agent rotate",
            "operator",
            "operator add",
            "operator list",
            "operator show",
            "operator duty",
            "operator end",
            "operator rotate",
            "policy",
            "policy show",
            "policy set",
            "approve",
            "withdraw",
            "approvals",
            "approvals list",
            "approvals show",
            "role",
            "role create",
            "role check",
            "role rotate",
            "role list",
            "role show",
            "secret",
            "secret put",
            "secret rollback",
            "secret list",
            "secret versions",
            "ca",
            "ca create",
            "ca import",
            "ca certify",
            "ca show",
            "grant",
            "apply",
            "export",
            "explain",
            "grants",
            "revoke",
            "freeze",
            "thaw",
            "seal",
            "unseal",
            "recover",
            "lock-down",
            "backup",
            "restore",
            "lease",
            "lease list",
            "lease show",
            "lease revoke",
            "key",
            "key rotate",
            "key rotation",
            "clock",
            "clock reset",
            "custody",
            "custody list",
            "custody add",
            "custody remove",
            "custody rotate",
            "keys",
            "keys export",
            "audit",
            "audit list",
            "audit show",
            "audit tail",
            "audit export",
            "audit checkpoint",
            "audit prove",
            "audit verify",
            "keygen",
            "key-passphrase",
            "completions",
            "man",
        ],
    ),
];

fn help(path: &str, command: &str) -> String {
    let output = Command::new(path)
        .args(command.split_whitespace())
        .arg("--help")
        .env_clear()
        .env("HOME", "/home/ada")
        .output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{path} {command}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// One file a program, with a heading for each command.
fn told() -> BTreeMap<String, String> {
    let whole = |name: &str, path: &str, commands: &[&str]| {
        let each = commands.iter().map(|command| {
            let line = format!("{name} {command}").trim_end().to_owned();
            format!("==== {line} --help\n\n{}\n", help(path, command))
        });
        each.collect::<String>()
    };
    PROGRAMS.iter().map(|(name, path, commands)| (format!("{name}.txt"), whole(name, path, commands))).collect()
}

#[test]
fn help_is_as_it_is_pinned() {
    for (file, text) in told() {
        committed::stands(format!("tests/help/{file}"), text);
    }
}

/// The lines of a help that name commands: those under `Commands:`, or, where they stand in groups, under any heading
/// between the usage and the options.
fn listed(text: &str) -> impl Iterator<Item = &str> {
    let grouped = text.split_once("\nSet up:\n").and_then(|(_, rest)| rest.split_once("\nEverywhere:\n"));
    let plain = text.split_once("\nCommands:\n").map(|(_, rest)| rest.split("\n\n").next().unwrap_or_default());
    grouped.map(|(groups, _)| groups).or(plain).unwrap_or_default().lines()
}

/// A command that is not in the table would have no pinned help.
#[test]
fn no_command_is_forgotten() {
    for (name, path, commands) in PROGRAMS {
        for command in *commands {
            let text = help(path, command);
            let listed = listed(&text);
            let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
            for word in names.filter_map(|line| line.split_whitespace().next()).filter(|word| *word != "help") {
                let whole = format!("{command} {word}").trim_start().to_owned();
                assert!(commands.contains(&whole.as_str()), "{name} {whole} has no pinned help");
            }
        }
    }
}

/// What is base64url begins with a hyphen one time in 64.
#[test]
fn a_key_that_begins_with_a_hyphen_is_taken_as_a_value() {
    let vaultctl = env!("CARGO_BIN_EXE_vaultctl");
    let kid = format!("-{}", "A".repeat(42));
    for arguments in
        [&["agent", "end-key", "kit", "--kid"][..], &["keygen", "--agent", "kit", "--kver", "2", "--follows"]]
    {
        let output = Command::new(vaultctl).args(arguments).arg(&kid).env_clear().output().unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        assert!(words.contains("neither HOME nor XDG_CONFIG_HOME"), "{arguments:?}: {words}");
    }
}

#[test]
fn wrong_usage_is_1_and_help_is_0() {
    for (name, path, _) in PROGRAMS {
        let code = |arguments: &[&str]| Command::new(path).args(arguments).env_clear().output().unwrap().status.code();
        assert_eq!(code(&["--help"]), Some(0), "{name}");
        assert_eq!(code(&["--version"]), Some(0), "{name}");
        assert_eq!(code(&["--no-such-flag"]), Some(1), "{name}");
        assert_eq!(code(&[]), Some(1), "{name}");
    }
}
