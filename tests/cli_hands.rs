//! The hands of vaultctl: several vaults, keys behind passphrases and in ssh-agents, shells, man pages, terminals.

#![cfg(all(feature = "daemon", feature = "launcher"))]
#![allow(clippy::unwrap_used, reason = "a test stops where what it stands on is not there")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nockvault::time::{Clock as _, Seconds, SystemClock};
use serde_json::Value;

#[path = "ssh_agent/held.rs"]
mod held;
mod programs;
mod terminal;

use held::Held;
use programs::{Said, Vault, program, said};
use terminal::Terminal;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|why| panic!("{why}: {text}"))
}

/// Programs that say what shells and man need.
const OURS: [(&str, &str); 3] = [
    ("vaultctl", env!("CARGO_BIN_EXE_vaultctl")),
    ("vault-agent", env!("CARGO_BIN_EXE_vault-agent")),
    ("vaultd", env!("CARGO_BIN_EXE_vaultd")),
];

fn vaultctl(folder: &Path) -> Command {
    program(env!("CARGO_BIN_EXE_vaultctl"), folder)
}

/// A file for this user alone.
fn private(path: impl AsRef<Path>, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.as_ref().to_owned()
}

#[test]
fn contexts_say_which_vault_is_commanded() {
    let (prod, dev) = (Vault::start(), Vault::start());
    let run = |words: &[&str]| prod.vaultctl(words);
    let name = |said: Said| json(&said.ok())["aud"].as_str().unwrap().to_owned();
    let (prod_aud, dev_aud) =
        (name(run(&["card", "-o", "json"])), name(said(vaultctl(dev.path()).args(["card", "-o", "json"]))));

    // What init made is the current one; another is known by its card and used when that is said.
    let card = dev.card();
    let refused = run(&["context", "add", card.to_str().unwrap()]).fails(1);
    assert!(refused.contains("there is a context prod already") && refused.contains("--name"), "{refused}");
    let key = dev.path().join(".config/nockvault/prod/ada.ed25519");
    let add = ["context", "add", card.to_str().unwrap(), "--name", "dev", "--key", key.to_str().unwrap()];
    assert!(run(&add).fails(0).contains("vaultctl context use dev"));
    assert_eq!(name(run(&["card", "-o", "json"])), prod_aud);
    assert_eq!(name(run(&["card", "-o", "json", "--context", "dev"])), dev_aud);
    run(&["status", "--context", "dev"]).ok();
    let told = run(&["context", "use", "dev"]).fails(0);
    assert!(told.contains("commands go to the vault prod at unix:"), "{told}");
    assert_eq!(name(run(&["card", "-o", "json"])), dev_aud);
    run(&["status"]).ok();

    // Listed with a star, or with a member that says so.
    let table = run(&["context", "list"]).ok();
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[1].starts_with("*  dev") && rows[2].trim_start().starts_with("prod"), "{table}");
    let listed = json(&run(&["context", "list", "-o", "json"]).ok());
    assert_eq!((&listed[0]["current"], &listed[1]["current"]), (&true.into(), &false.into()));
    let shown = json(&run(&["context", "show", "-o", "json"]).ok());
    assert_eq!((shown["name"].as_str(), shown["operator"].as_str()), (Some("dev"), Some("ada")));
    assert_eq!(run(&["context", "show", "prod", "--field", "aud"]).ok().trim(), prod_aud);

    // Variables go before the current context, flags before variables; who says two things is asked which.
    let with = |variables: &[(&str, &str)], words: &[&str]| {
        said(vaultctl(prod.path()).envs(variables.iter().copied()).args(words))
    };
    let own = prod.card();
    let own = own.to_str().unwrap();
    let show = &["card", "-o", "json"][..];
    assert_eq!(name(with(&[("NOCKVAULT_CARD", own)], show)), prod_aud);
    assert_eq!(name(with(&[("NOCKVAULT_CONTEXT", "prod")], show)), prod_aud);
    assert_eq!(name(with(&[("NOCKVAULT_CARD", own)], &["card", "-o", "json", "--context", "dev"])), dev_aud);
    assert_eq!(name(with(&[("NOCKVAULT_CONTEXT", "dev")], &["card", "-o", "json", "--vault", own])), prod_aud);
    let both = with(&[("NOCKVAULT_CARD", own), ("NOCKVAULT_CONTEXT", "dev")], show).fails(1);
    assert!(both.contains("NOCKVAULT_CARD and NOCKVAULT_CONTEXT both say"), "{both}");
    let both = run(&["card", "--vault", own, "--context", "dev"]).fails(1);
    assert!(both.contains("--vault and --context both say"), "{both}");
    // A key that a variable names is not taken to the vault of --context.
    with(&[("NOCKVAULT_OPERATOR_KEY", "missing.ed25519")], &["status", "--context", "dev"]).ok();
    with(&[("NOCKVAULT_OPERATOR_KEY", "missing.ed25519")], &["status"]).fails(1);

    // Renamed and removed; what is not there is said with what is.
    run(&["context", "rename", "dev", "staging"]).ok();
    assert_eq!(name(run(&["card", "-o", "json"])), dev_aud);
    let refused = run(&["status", "--context", "stagin"]).fails(1);
    assert!(refused.contains("did you mean staging?"), "{refused}");
    run(&["context", "remove", "staging"]).ok();
    assert_eq!(name(run(&["card", "-o", "json"])), prod_aud, "the only one that is left");
    assert!(key.exists() && card.exists(), "only the copy of the card went");
    run(&["context", "use", "staging"]).fails(1);
}

#[test]
fn where_nothing_says_which_vault_what_to_type_is_said() {
    let vault = Vault::start();
    let run = |words: &[&str]| vault.vaultctl(words);
    let home = vault.path().join(".config/nockvault");
    // As an older vaultctl left it: cards, and no file of contexts.
    fs::remove_file(home.join("contexts.toml")).unwrap();
    run(&["status"]).ok();
    fs::copy(vault.card(), home.join("dev.card")).unwrap();
    let refused = run(&["status"]).fails(1);
    assert!(refused.contains("(dev, prod)") && refused.contains("vaultctl context use NAME"), "{refused}");
    run(&["context", "use", "prod"]).ok();
    run(&["status"]).ok();
    // Two operators with keys: one is named, for once or for good.
    fs::copy(home.join("prod/ada.ed25519"), home.join("prod/bob.ed25519")).unwrap();
    let refused = run(&["status"]).fails(1);
    assert!(refused.contains("(ada, bob)") && refused.contains("--operator NAME"), "{refused}");
    run(&["status", "--operator", "ada"]).ok();
    run(&["context", "use", "prod", "--operator", "ada"]).ok();
    run(&["status"]).ok();
    let refused = run(&["status", "--operator", "eve"]).fails(1);
    assert!(refused.contains("there are ada, bob") && refused.contains("keygen --operator eve"), "{refused}");
    // Nothing at all.
    let empty = tempfile::tempdir().unwrap();
    let refused = said(vaultctl(empty.path()).arg("status")).fails(1);
    assert!(refused.contains("vaultctl context add FILE") && refused.contains("vaultctl init"), "{refused}");
    private(home.join("contexts.toml"), "current = 7\n");
    let refused = run(&["status"]).fails(1);
    assert!(refused.contains("contexts.toml"), "{refused}");
}

#[test]
fn an_operators_key_stands_behind_a_passphrase() {
    let vault = Vault::start();
    let home = vault.path().join(".config/nockvault/prod");
    let key = home.join("ada.ed25519");
    let plain = fs::read_to_string(&key).unwrap();
    let file = private(vault.path().join("words"), "correct horse\n");
    let with = |file: &Path, words: &[&str]| {
        said(vaultctl(vault.path()).env("NOCKVAULT_KEY_PASSPHRASE_FILE", file).args(words))
    };

    with(&file, &["key-passphrase"]).ok();
    let locked = fs::read_to_string(&key).unwrap();
    assert!(locked.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----") && !locked.contains(&plain), "{locked}");
    with(&file, &["status"]).ok();
    // Nobody to ask: what to do instead is said.
    let refused = vault.vaultctl(&["status"]).fails(1);
    assert!(refused.contains("NOCKVAULT_KEY_PASSPHRASE_FILE"), "{refused}");
    let wrong = private(vault.path().join("wrong"), "correct hors\n");
    let refused = with(&wrong, &["status"]).fails(1);
    assert!(refused.contains("the passphrase does not open it") && !refused.contains("hors\n"), "{refused}");
    private(vault.path().join("empty"), "\n");
    with(&vault.path().join("empty"), &["status"]).fails(1);
    assert!(vault.vaultctl(&["context", "show", "--field", "key"]).ok().contains("(behind a passphrase)"));

    // At a terminal it is asked for, and not shown; who mistypes is asked again.
    let mut status = vaultctl(vault.path());
    status.args(["status", "--field", "agents"]);
    let asked = [("passphrase of", "correct hors"), ("passphrase of", "correct horse")];
    let seen = Terminal::run(&status, &asked).ends(0);
    assert!(seen.contains("that passphrase does not open it") && seen.trim_end().ends_with('0'), "{seen}");
    assert!(!seen.contains("correct"), "{seen}");

    // openssl reads it, and what openssl protects is read.
    let openssl = |words: &[&str]| said(program("openssl", vault.path()).args(words));
    let text = openssl(&["pkey", "-in", key.to_str().unwrap(), "-passin", "file:words", "-text", "-noout"]).ok();
    assert_eq!(text.lines().next(), Some("ED25519 Private-Key:"));
    let digits: String = text.lines().skip(2).take(3).flat_map(str::chars).filter(char::is_ascii_hexdigit).collect();
    assert_eq!(digits, plain.trim());
    let theirs = ["pkey", "-in", key.to_str().unwrap(), "-passin", "file:words", "-out", "theirs.ed25519", "-aes256"];
    fs::copy(&file, vault.path().join("again")).unwrap();
    openssl(&[&theirs[..], &["-passout", "file:again"]].concat()).ok();
    with(&file, &["status", "--key", "theirs.ed25519", "--operator", "ada"]).ok();

    // Changed and removed.
    let new = private(vault.path().join("new"), "another pair of shoes");
    with(&file, &["key-passphrase", "--new-file", new.to_str().unwrap()]).ok();
    with(&file, &["status"]).fails(1);
    with(&new, &["status"]).ok();
    let short = private(vault.path().join("short"), "horse");
    let refused = with(&new, &["key-passphrase", "--new-file", short.to_str().unwrap()]).fails(1);
    assert!(refused.contains("at least 8"), "{refused}");
    with(&new, &["key-passphrase", "--remove"]).ok();
    assert_eq!(fs::read_to_string(&key).unwrap(), plain);
    vault.vaultctl(&["status"]).ok();
    vault.vaultctl(&["key-passphrase", "--remove"]).fails(1);

    // From the beginning: at init, and for further operators; never for an agent, which nobody can ask.
    let folder = tempfile::tempdir().unwrap();
    let mut init = vaultctl(folder.path());
    init.args(["init", "--name", "locked", "--passphrase"]);
    let typed = [("new passphrase", "four words for me"), ("once more", "four words for me")];
    Terminal::run(&init, &typed).ends(0);
    let made = fs::read_to_string(folder.path().join(".config/nockvault/locked/ada.ed25519")).unwrap();
    assert!(made.starts_with("-----BEGIN ENCRYPTED"), "{made}");
    with(&file, &["keygen", "--operator", "mara", "--passphrase"]).ok();
    assert!(fs::read_to_string(home.join("mara.ed25519")).unwrap().starts_with("-----BEGIN ENCRYPTED"));
    let refused = with(&file, &["keygen", "--agent", "kit", "--passphrase"]).fails(1);
    assert!(refused.contains("nobody can be asked"), "{refused}");
}

#[test]
fn bash_zsh_and_fish_complete_commands_and_options() {
    let folder = tempfile::tempdir().unwrap();
    for (name, path) in OURS {
        for shell in ["bash", "zsh", "fish"] {
            let script = said(program(path, folder.path()).args(["completions", shell])).ok();
            let file = if shell == "zsh" { format!("_{name}") } else { format!("{name}.{shell}") };
            fs::write(folder.path().join(file), script).unwrap();
        }
    }
    let shell = |name: &str, script: &str| {
        said(program(name, folder.path()).args([if name == "zsh" { "-fc" } else { "-c" }, script])).ok()
    };
    // What bash would show after these words.
    let bash = |words: &str| {
        let count = words.split(' ').count() - 1;
        let script = format!(
            "source vaultctl.bash; COMP_WORDS=({}); COMP_CWORD={count}; COMP_LINE='{words}'; COMP_POINT=${{#COMP_LINE}}; \
             _vaultctl vaultctl \"${{COMP_WORDS[$COMP_CWORD]}}\" \"${{COMP_WORDS[$((COMP_CWORD-1))]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words.split(' ').map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ")
        );
        let mut shown: Vec<String> = shell("bash", &script).lines().map(str::to_owned).collect();
        shown.sort();
        shown
    };
    assert_eq!(bash("vaultctl fre"), ["freeze"]);
    assert_eq!(bash("vaultctl agent r"), ["register", "rotate"]);
    assert_eq!(bash("vaultctl grant --max"), ["--max-ttl", "--max-uses"]);
    assert_eq!(bash("vaultctl status --output j"), ["json", "jsonl"]);
    for (name, _) in OURS {
        assert!(shell("bash", &format!("source {name}.bash && complete -p {name}")).contains(name));
    }
    // fish answers for itself.
    let fish = |words: &str| shell("fish", &format!("source vaultctl.fish; complete -C '{words}'"));
    assert!(fish("vaultctl fre").starts_with("freeze\t"));
    let shown = fish("vaultctl agent r");
    assert!(shown.contains("register\t") && shown.contains("rotate\t") && !shown.contains("list\t"), "{shown}");
    // zsh is asked at a terminal, as it completes nowhere else. With this it says that it waits for a line.
    let prompt = "\u{1b}[?2004h";
    let mut zsh = program("zsh", folder.path());
    zsh.args(["-f", "-i"]);
    let words = [
        (
            prompt,
            "fpath=($PWD $fpath); autoload -U compinit; compinit -u -D; bindkey '^I' complete-word; print rea''dy",
        ),
        ("ready", "vaultctl fre\t"),
        (prompt, "vaultctl agent end\t"),
        (prompt, "exit"),
    ];
    let seen = Terminal::run(&zsh, &words).seen;
    assert!(seen.contains("vaultctl freeze") && seen.contains("vaultctl agent end-key"), "{seen}");
}

#[test]
fn man_pages_are_whole_and_clean() {
    let folder = tempfile::tempdir().unwrap();
    for (_, path) in OURS {
        said(program(path, folder.path()).args(["man", "--dir", "man1"])).ok();
    }
    let mut pages: Vec<PathBuf> =
        fs::read_dir(folder.path().join("man1")).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.sort();
    for wanted in [
        "vaultd.1",
        "vault-agent-exec.1",
        "vaultctl.1",
        "vaultctl-agent-register.1",
        "vaultctl-grant.1",
        "vaultctl-context-use.1",
    ] {
        assert!(pages.iter().any(|page| page.ends_with(wanted)), "{wanted} is missing among {pages:?}");
    }
    for page in &pages {
        let warned = said(program("man", folder.path()).env("MANWIDTH", "100").args(["-l", "--warnings"]).arg(page));
        assert!(warned.code == 0 && warned.err.is_empty(), "{}: {}", page.display(), warned.err);
        assert!(warned.out.contains("NAME") && warned.out.contains("SYNOPSIS"), "{}", page.display());
    }
    let lint = said(program("mandoc", folder.path()).args(["-T", "lint", "-W", "warning"]).args(&pages));
    assert!(lint.code == 0, "{}", lint.out);
}

#[test]
fn the_first_operator_commands_with_a_key_in_an_ssh_agent() {
    let held = Held::start(None);
    held.add("ed25519", "ada's key", &[]);
    let mut vault = Vault::start();
    let with = |words: &[&str]| said(vaultctl(vault.path()).env("SSH_AUTH_SOCK", held.socket()).args(words));
    let listen = free();
    let init = ["init", "--name", "held", "--dir", "held", "--listen", &listen, "--http", "127.0.0.1:0"];
    let key = ["--operator-key-from-ssh-agent", "ada's key"];
    assert!(with(&[&init[..], &key, &["--key", "x"]].concat()).fails(1).contains("--key names a file"));
    with(&[&init[..], &key].concat()).ok();
    let home = vault.path().join(".config/nockvault/held");
    let files: Vec<_> = fs::read_dir(&home).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, ["ada.register"], "no key of ours was made");
    // The daemon of this vault in the place of the other's.
    fs::rename(vault.path().join("vault"), vault.path().join("first")).unwrap();
    fs::rename(vault.path().join("held"), vault.path().join("vault")).unwrap();
    let config = vault.path().join("vault/vaultd.toml");
    let card = vault.path().join(".config/nockvault/held.card");
    for file in [&config, &card] {
        let text = fs::read_to_string(file).unwrap();
        fs::write(file, text.replace("/held/", "/vault/")).unwrap();
    }
    vault.kill();
    vault.go_on();

    let with = |words: &[&str]| said(vaultctl(vault.path()).env("SSH_AUTH_SOCK", held.socket()).args(words));
    with(&["context", "use", "held"]).ok();
    assert!(with(&["context", "show", "--field", "key"]).ok().starts_with("ssh-agent"));
    with(&["status"]).ok();
    // A command of its own kind, signed by the ssh-agent, stands in the chain and is verified.
    with(&["freeze", "--everything", "--reason", "a try"]).ok();
    with(&["thaw", "--everything"]).ok();
    assert!(with(&["audit", "verify", "_operators"]).ok().contains("intact"));
    with(&["audit", "export", "_operators", "--file", "operators.jsonl"]).ok();
    let mut verify = program(env!("CARGO_BIN_EXE_vault-verify"), vault.path());
    let card = card.to_str().unwrap();
    assert!(said(verify.args(["--vault", card, "operators.jsonl"])).ok().contains("intact"));
    // A passphrase is the ssh-agent's affair; without the agent nothing is signed.
    assert!(with(&["key-passphrase"]).fails(1).contains("in an ssh-agent"));
    assert!(vault.vaultctl(&["status"]).fails(1).contains("SSH_AUTH_SOCK is not set"));
    held.ssh_add(&["-q", "-D"]);
    assert!(with(&["status"]).fails(1).contains("ssh-add FILE"));

    // Another operator's key, in the agent or in a file.
    held.add("ed25519", "mara's key", &[]);
    with(&["keygen", "--operator", "mara", "--from-ssh-agent", "mara's key"]).ok();
    assert!(home.join("mara.register").exists() && !home.join("mara.ed25519").exists());
    let refused = with(&["status"]).fails(1);
    assert!(refused.contains("(ada, mara)") || refused.contains("ssh-add FILE"), "{refused}");
}

/// An address of this machine that nobody listens at.
fn free() -> String {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("127.0.0.1:{}", free.local_addr().unwrap().port())
}

/// Every question that vaultctl has, in every form: a table, JSON, a JSON object a line, YAML, and one member of it.
#[test]
fn every_question_is_answered_in_every_form() {
    let vault = Vault::start();
    vault.with_kit("hunter2");
    vault.vaultctl(&["ca", "create", "mesh", "--engine", "x509", "--set", "subject={\"common_name\":\"mesh\"}"]).ok();
    let lists: &[(&[&str], &str)] = &[
        (&["agent", "list"], "agent"),
        (&["role", "list"], "role"),
        (&["secret", "list"], "name"),
        (&["secret", "versions", "orders-db"], "version"),
        (&["grants"], "role"),
        (&["lease", "list", "--all"], "lease"),
        (&["audit", "list"], "chain"),
        (&["audit", "show", "kit"], "kind"),
        (&["context", "list"], "name"),
        (&["keys", "export", "--witness"], "vkey"),
    ];
    let things: &[(&[&str], &str)] = &[
        (&["status"], "agents"),
        (&["card"], "aud"),
        (&["agent", "show", "kit"], "agent"),
        (&["role", "show", "orders-read"], "engine"),
        (&["role", "check", "orders-read"], ""),
        (&["ca", "show", "mesh", "--engine", "x509"], ""),
        (&["context", "show"], "operator"),
        (&["audit", "verify", "kit"], "verdict"),
    ];
    for (words, member) in lists.iter().chain(things) {
        let is_list = lists.iter().any(|(list, _)| list == words);
        let as_shape = |shape: &str| vault.vaultctl(&[words, &["--output", shape][..]].concat()).ok();
        let table = as_shape("table");
        assert!(table.ends_with('\n') && !table.contains('\u{1b}'), "{words:?}: {table}");
        let read = json(&as_shape("json"));
        assert_eq!(read.is_array(), is_list, "{words:?}: {read}");
        let lines: Vec<Value> = as_shape("jsonl").lines().map(json).collect();
        match &read {
            Value::Array(items) if !words.starts_with(&["audit", "show"]) => assert_eq!(items, &lines, "{words:?}"),
            Value::Array(items) => assert_eq!(items.len(), lines.len(), "{words:?}"),
            thing => assert_eq!((lines.len(), thing.is_object()), (1, true), "{words:?}"),
        }
        let yaml = as_shape("yaml");
        assert!(!yaml.trim_start().starts_with('{'), "{words:?}: {yaml}");
        if !member.is_empty() {
            let field = vault.vaultctl(&[words, &["--field", member][..]].concat()).ok();
            let wanted: Vec<&Value> = if is_list { lines.iter().collect() } else { vec![&read] };
            assert_eq!(field.lines().count(), wanted.len(), "{words:?}: {field}");
            let refused = vault.vaultctl(&[words, &["--field", "no.such"][..]].concat());
            assert!(wanted.is_empty() || refused.fails(1).contains("has no member"), "{words:?}");
        }
    }
}

#[test]
fn what_is_over_is_said_so_in_a_list() {
    let vault = Vault::start();
    vault.with_kit("hunter2");
    vault.vaultctl(&["role", "create", "mail", "--engine", "kv", "--set", "secret=orders-db"]).ok();
    let soon = SystemClock.now().plus(Seconds(3)).to_string();
    vault.vaultctl(&["grant", "kit", "mail", "--ttl", "1m", "--until", &soon]).ok();
    assert!(!vault.vaultctl(&["agent", "list"]).ok().contains("(ended)"));
    std::thread::sleep(std::time::Duration::from_millis(3100));
    let grants = vault.vaultctl(&["grants"]).ok();
    assert!(grants.matches("(over)").count() == 1 && grants.contains(&format!("{soon} (over)")), "{grants}");
    vault.vaultctl(&["agent", "end-key", "kit"]).ok();
    let kid = vault.vaultctl(&["agent", "list", "--field", "kid"]).ok();
    let agents = vault.vaultctl(&["agent", "list"]).ok();
    assert!(agents.contains(&format!("{} (ended)", kid.trim())), "{agents}");
}

#[test]
fn states_stand_out_on_a_terminal_and_nowhere_else() {
    let vault = Vault::start();
    vault.with_kit("hunter2");
    let shown = |words: &[&str], variables: &[(&str, &str)]| {
        let mut command = vaultctl(vault.path());
        Terminal::run(command.args(words).envs(variables.iter().copied()), &[]).ends(0)
    };
    let red = "\u{1b}[";
    // Nothing is wrong: nothing is colored.
    assert!(!shown(&["agent", "list"], &[]).contains(red));
    vault.vaultctl(&["freeze", "kit", "--reason", "a try"]).ok();
    vault.vaultctl(&["freeze", "--role", "orders-read"]).ok();
    let table = shown(&["agent", "list"], &[]);
    assert!(table.contains(red), "{table:?}");
    assert!(shown(&["role", "list"], &[]).contains(red));
    assert!(shown(&["status"], &[("NO_COLOR", "")]).contains('\n'));
    for (words, variables) in [
        (&["agent", "list"][..], &[("NO_COLOR", "1")][..]),
        (&["agent", "list", "--color", "never"], &[]),
        (&["agent", "list", "-o", "json"], &[]),
        (&["agent", "list", "--field", "frozen"], &[]),
        (&["--help", "--color", "never"], &[]),
        (&["--help"], &[("NO_COLOR", "1")]),
    ] {
        let seen = shown(words, variables);
        assert!(!seen.contains(red), "{words:?} {variables:?}: {seen:?}");
    }
    assert!(shown(&["--help"], &[]).contains(red), "help has its headings");
    assert!(!vault.vaultctl(&["agent", "list"]).ok().contains(red));
    assert!(vault.vaultctl(&["agent", "list", "--color", "always"]).ok().contains(red));
    assert!(vault.vaultctl(&["role", "list"]).ok().contains("FROZEN"));

    // On a narrow terminal a list loses nothing, and what is copied out of it stays in one piece.
    let wide = vault.vaultctl(&["agent", "list"]).ok();
    let narrow = shown(&["agent", "list", "--color", "never"], &[("WIDE", "60")]);
    let kid = vault.vaultctl(&["agent", "show", "kit", "--field", "keys.0.kid"]).ok();
    assert!(wide.lines().any(|line| line.chars().count() > 60), "{wide}");
    assert!(narrow.contains(kid.trim()), "{narrow}");
    let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).count();
    assert_eq!(letters(&wide), letters(&narrow), "{wide}\n{narrow}");
}

#[test]
fn what_went_wrong_is_said_with_what_to_type_next() {
    let mut vault = Vault::start();
    vault.with_kit("hunter2");
    let says = |said: Said, code: i32, wanted: &[&str]| {
        let text = said.fails(code);
        for wanted in wanted {
            assert!(text.contains(wanted), "{wanted:?} is not in {text}");
        }
    };
    let run = |words: &[&str]| vault.vaultctl(words);
    // Names.
    says(run(&["agent", "show", "kti"]), 2, &["not_found", "there is no agent kti; did you mean kit?"]);
    says(run(&["role", "show", "order-read"]), 2, &["did you mean orders-read?"]);
    says(
        run(&["grant", "kit", "orders-write", "--ttl", "5m"]),
        2,
        &["there is no role orders-write; there are orders-read"],
    );
    says(run(&["freeze", "kitt"]), 2, &["did you mean kit?"]);
    says(run(&["audit", "show", "_operator"]), 1, &["_operators"]);
    says(run(&["secret", "versions", "orders-bd"]), 2, &["did you mean orders-db?"]);
    // Words.
    says(run(&["freez", "kit"]), 1, &["'freeze'"]);
    says(run(&["grant", "kit", "orders-read", "--ttl", "soon"]), 1, &["--ttl", "15m"]);
    says(run(&["grant", "kit", "orders-read"]), 1, &["--ttl"]);
    says(run(&["keygen"]), 1, &["--agent NAME", "--operator NAME"]);
    says(run(&["agent", "register", "kit.ed25519"]), 1, &["not a register statement"]);
    says(run(&["status", "--vault", "kit.register"]), 1, &["kit.register", "not a vault card"]);
    says(run(&["secret", "put", "x", "hunter2"]), 1, &["never given on the command line", "@FILE"]);
    // Keys.
    private(vault.path().join("bob.ed25519"), &"42".repeat(32));
    says(
        run(&["status", "--key", "bob.ed25519"]),
        2,
        &["unauthenticated", "knows no such key of an operator bob", "bob.ed25519"],
    );
    fs::write(vault.path().join("openssh.ed25519"), "-----BEGIN OPENSSH PRIVATE KEY-----\n").unwrap();
    private(vault.path().join("openssh.ed25519"), "-----BEGIN OPENSSH PRIVATE KEY-----\n");
    says(run(&["status", "--key", "openssh.ed25519"]), 1, &["ssh-add FILE", "--from-ssh-agent"]);
    // Values from files and pipes.
    fs::write(vault.path().join("why"), "the laptop was stolen\n").unwrap();
    run(&["freeze", "kit", "--reason", "@why"]).ok();
    let reasons = run(&["audit", "show", "_operators", "-o", "json"]).ok();
    assert!(reasons.contains("the laptop was stolen"), "{reasons}");
    fs::write(vault.path().join("value"), "hunter3\n").unwrap();
    run(&["secret", "put", "orders-db", "@value"]).ok();
    vault.vaultctl_fed(&["role", "create", "two", "--engine", "kv", "--set", "secret=@-"], b"orders-db").ok();
    says(run(&["freeze", "kit", "--reason", "@nowhere"]), 1, &["nowhere"]);
    says(run(&["explain", "kit", "orders-read", "--param", "csr=@nowhere"]), 1, &["--param", "nowhere: "]);
    says(run(&["explain", "kit", "orders-read", "--param", "a.b=1"]), 1, &["--param: a.b"]);
    run(&["thaw", "kit"]).ok();
    let told = run(&["explain", "kit", "orders-read", "--param", "csr=@why", "--field", "reason"]).ok();
    assert_eq!(told, "params_refused\n");
    // A dry run says it too where there is nothing to do.
    fs::write(vault.path().join("vault.toml"), run(&["export"]).ok()).unwrap();
    assert!(run(&["apply", "-f", "vault.toml", "--dry-run"]).fails(0).contains("nothing to do"));
    // Quiet: results and errors alone.
    let quiet = run(&["secret", "put", "orders-db", "@value", "--quiet"]);
    assert!(quiet.err.is_empty() && !quiet.out.is_empty(), "{quiet:?}");
    says(run(&["agent", "show", "nobody", "-q"]), 2, &["not_found"]);
    // Nobody there.
    vault.kill();
    says(vault.vaultctl(&["status"]), 1, &["cannot be reached", "start the vault"]);
    // Nothing typed: the main job, and where the rest is.
    says(vault.vaultctl(&[]), 1, &["vaultctl init --name prod", "vaultctl grant", "vaultctl --help"]);
    assert!(vault.vaultctl(&["--version"]).ok().starts_with(concat!("vaultctl ", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn a_person_who_waits_sees_how_far_it_is() {
    let vault = Vault::start();
    vault.with_kit("hunter2");
    let mut backup = vaultctl(vault.path());
    let seen = Terminal::run(backup.args(["backup", "--file", "all.backup"]), &[]).ends(0);
    assert!(seen.contains("backup"), "{seen:?}");
    // No bar where nobody looks, and none among the words of a pipe.
    let said = vault.vaultctl(&["backup", "--file", "two.backup"]);
    assert!(!said.err.contains('\r') && !said.err.contains('\u{1b}'), "{said:?}");
}
