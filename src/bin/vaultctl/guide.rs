//! What `vaultctl` says of itself before it is told anything: a short overview where nothing was typed, and commands in
//! groups in `--help`.

use std::fmt::Write as _;

use clap::Command;

/// Which command stands in which group, in this order. One that stands in none comes last, under [`OTHERS`].
const GROUPS: &[(&str, &[&str])] = &[
    ("Set up", &["init", "context", "card", "keygen", "key-passphrase", "operator", "policy"]),
    (
        "Agents and what they may have",
        &["agent", "role", "secret", "ca", "grant", "grants", "revoke", "apply", "export", "explain", "lease"],
    ),
    ("What other operators must want too", &["approvals", "approve", "withdraw"]),
    ("Emergencies", &["freeze", "thaw", "lock-down", "seal", "unseal", "recover"]),
    ("Trail", &["audit", "keys"]),
    ("Running it", &["status", "doctor", "custody", "key", "clock", "backup", "restore"]),
    ("This program", &["completions", "man", "help"]),
];

/// Commands of no group.
const OTHERS: &str = "Others";
/// Where lines of help end.
const WIDTH: usize = 100;
/// Where what a command does begins.
const BESIDE: usize = 18;

/// The command with its subcommands listed in groups.
pub(crate) fn grouped(mut command: Command) -> Command {
    command.build();
    let visible: Vec<(String, String)> = command
        .get_subcommands()
        .filter(|one| !one.is_hide_set())
        .map(|one| (one.get_name().to_owned(), one.get_about().map(ToString::to_string).unwrap_or_default()))
        .collect();
    let stands = |name: &str| GROUPS.iter().any(|(_, names)| names.contains(&name));
    let others: Vec<&str> = visible.iter().map(|(name, _)| name.as_str()).filter(|name| !stands(name)).collect();
    let mut listed = String::new();
    for (group, names) in GROUPS.iter().copied().chain([(OTHERS, others.as_slice())]) {
        let lines: String = names
            .iter()
            .filter_map(|name| visible.iter().find(|(known, _)| known == name))
            .map(|(name, about)| line(name, about))
            .collect();
        if !lines.is_empty() {
            // A String takes every write.
            let _ = writeln!(listed, "{group}:\n{lines}");
        }
    }
    // Braces would be places to fill in.
    let listed = listed.replace(['{', '}'], "");
    command.help_template(format!(
        "{{before-help}}{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{listed}Everywhere:\n{{options}}{{after-help}}"
    ))
}

/// `  name   what it does`, broken between words.
fn line(name: &str, about: &str) -> String {
    let mut lines = vec![format!("  {name:<BESIDE$}")];
    for word in about.split_whitespace() {
        let last = lines.last_mut().expect("there is one");
        if last.chars().count() + word.chars().count() + 1 > WIDTH && last.trim().chars().count() > name.len() {
            lines.push(format!("  {:<BESIDE$}{word} ", ""));
        } else {
            last.push_str(word);
            last.push(' ');
        }
    }
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// The main job, for who types nothing but the name.
pub(crate) fn overview() {
    crate::output::fault(
        "vaultctl commands a NockVault: agents get short-lived credentials for signed requests, and hold no others.

The main job:
  vaultctl init --name prod                     make a vault; then: vaultd --config prod/vaultd.toml
  vaultctl keygen --agent kit                   where the agent runs, and where its key stays
  vaultctl agent register kit.register
  printf 'a password' | vaultctl secret put orders-db -
  vaultctl role create orders-read --engine kv --set secret=orders-db
  vaultctl grant kit orders-read --ttl 15m
  vault-agent get orders-read --agent kit       where the agent runs

And then:
  vaultctl status                               how the vault is
  vaultctl audit show kit                       what was asked and given
  vaultctl freeze kit                           when something is wrong with an agent

All commands: vaultctl --help. One of them: vaultctl COMMAND --help",
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_stands_in_a_group() {
        let text = crate::command_line().render_help().to_string();
        assert!(!text.contains(OTHERS), "a command stands in no group of guide.rs:\n{text}");
        for (group, names) in GROUPS {
            assert!(text.contains(&format!("{group}:\n")), "{group}");
            for name in *names {
                assert!(text.contains(&format!("\n  {name} ")), "{name} is in a group, and no command");
            }
        }
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
    }
}
