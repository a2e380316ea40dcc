//! The clients in other languages under `examples/`: each runs the published request vectors, and each lives an agent's life
//! with a real vault: session, credential, renewal, release, refusals, a replay, a wrong clock, the next key, and vaults
//! that are not the right one. What they were given stands in the chain, and `vault-verify` agrees.

#![cfg(all(feature = "daemon", feature = "launcher"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

mod programs;

use nockvault::client::seen::Memory;
use nockvault::statement::card::Card;
use programs::{Said, Vault, program, said, sdk};
use serde_json::{Value, json};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A client: its name, and how a program with it is started.
type Client = (&'static str, fn(&Path) -> Command);

const PYTHON: Client = ("python", |folder| {
    let mut command = sdk::python(folder);
    command.arg(format!("{ROOT}/tests/sdk/ask.py"));
    command
});
const NODE: Client = ("node", |folder| {
    let mut command = sdk::node(folder);
    command.arg(format!("{ROOT}/tests/sdk/ask.mjs"));
    command
});
const GO: Client = ("go", sdk::go);

/// What it says when it is told to do this, a value a line.
fn tell((name, client): Client, folder: &Path, arguments: &[&str]) -> Vec<Value> {
    let said = said(client(folder).args(arguments));
    assert_eq!(said.code, 0, "{name}: {said:?}");
    assert!(!said.err.contains("hunter2"), "{name}: {said:?}");
    said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_python_package_holds_the_request_vectors() {
    let mut python = sdk::python(Path::new(ROOT));
    let said = said(python.args(["-m", "unittest", "discover", "-s", "examples/python/tests"]));
    assert!(said.code == 0 && said.err.contains("Ran 4 tests"), "{said:?}");
}

#[test]
fn the_python_package_is_typed() {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mypy");
    let mut mypy = sdk::python(&Path::new(ROOT).join("examples/python"));
    mypy.env("MYPYPATH", "src").args(["-m", "mypy", "--strict", "-p", "nockvault", "--cache-dir"]).arg(cache);
    assert!(said(&mut mypy).ok().contains("no issues"), "mypy found issues");
}

#[test]
fn the_typescript_client_holds_the_request_vectors() {
    let mut node = sdk::node(Path::new(ROOT));
    let built = Path::new(ROOT).join("target/sdk-typescript/dist/test/vectors.test.js");
    node.env("NOCKVAULT_REQUEST_VECTORS", format!("{ROOT}/tests/vectors/requests"));
    let said = said(node.args(["--test", "--test-reporter=tap"]).arg(built));
    assert!(said.code == 0 && said.out.contains("# fail 0"), "{said:?}");
    let held = said.out.lines().find_map(|line| line.strip_prefix("# pass ")).unwrap();
    assert!(held.parse::<u32>().unwrap() > 100, "{held} subtests are too few");
}

#[test]
fn the_go_client_holds_the_request_vectors() {
    let mut go = sdk::go_test();
    go.env("NOCKVAULT_REQUEST_VECTORS", format!("{ROOT}/tests/vectors/requests"));
    let said = said(go.args(["-count=1", "-v", "."])).ok();
    let held = said.lines().filter(|line| line.trim_start().starts_with("--- PASS")).count();
    assert!(held > 100, "{held} tests are too few: {said}");
}

/// An agent's life, up to what the chain says of it.
fn lives(client: Client) {
    let vault = Vault::start();
    vault.with_kit("hunter2 \u{1f511}");
    let sid = match client.0 {
        "python" => "py-",
        "node" => "js-",
        _ => "go-",
    };
    let wanted = [
        json!(["hunter2 \u{1f511}", "hunter2 \u{1f511}", "kv", sid]),
        json!([true]),
        json!(["no_grant", null, true]),
        json!(["ttl_exceeds_grant", 3600, true]),
        json!(["Local", null]),
        json!(["lease_ended", null, true]),
        json!(["replay"]),
        json!([true]),
        json!(["hunter2 \u{1f511}", 2]),
        json!([true, 2]),
        json!(["hunter2 \u{1f511}"]),
        json!([3]),
    ];
    let told = tell(client, vault.path(), &["life"]);
    assert_eq!(told[..wanted.len()], wanted, "{}: {told:?}", client.0);
    let size = told[wanted.len()][0].as_u64().unwrap();
    assert_eq!(told[wanted.len() + 1], json!([true]), "{}: what is remembered outlives the process", client.0);

    // The client of this crate goes on from the same file.
    let card = Card::read(&fs::read_to_string(vault.card()).unwrap()).unwrap();
    let state = vault.path().join(".local/state/nockvault");
    let memory = Memory::kept_in(&state, &card.aud, &"kit".parse().unwrap()).unwrap();
    assert_eq!(memory.seen().size, size);
    let file = state.join(card.aud.as_str()).join("kit.seen");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let next = vault.path().join("kit.next.ed25519");
    assert_eq!(fs::metadata(next).unwrap().permissions().mode() & 0o777, 0o600);

    for chain in ["kit", "_operators"] {
        vault.vaultctl(&["audit", "export", chain, "--file", &format!("{chain}.jsonl")]).ok();
    }
    let mut verify = program(env!("CARGO_BIN_EXE_vault-verify"), vault.path());
    verify.args(["--vault", "vault/prod.card", "--receipt", "kit.receipt", "--operators", "_operators.jsonl"]);
    verify.args(["--head", &format!("{}:{size}", memory.seen().head), "kit.jsonl"]);
    let report = said(&mut verify).ok();
    assert!(report.contains("1 signed receipt"), "{report}");
}

#[test]
fn an_agent_in_python_lives_its_life() {
    lives(PYTHON);
}

#[test]
fn an_agent_in_typescript_lives_its_life() {
    lives(NODE);
}

#[test]
fn an_agent_in_go_lives_its_life() {
    lives(GO);
}

/// What is asked for at once, and what is left of it at the end of a session.
#[test]
fn sessions_end_and_many_requests_share_one() {
    let vault = Vault::start();
    vault.with_kit("hunter2");
    for client in [PYTHON, NODE, GO] {
        let told = tell(client, vault.path(), &["named"]);
        assert_eq!(told, [json!(["hunter2"]), json!(["session_ended", null, true])], "{}", client.0);
        let told = tell(client, vault.path(), &["together"]);
        let wanted = [json!([["hunter2"], 5]), json!(["no_grant", true]), json!([true]), json!([4])];
        assert_eq!(told, wanted, "{}", client.0);
    }
    let live: Value = serde_json::from_str(&vault.vaultctl(&["lease", "list", "--output", "json"]).ok()).unwrap();
    assert!(!live.to_string().contains("\"state\":\"live\""), "{live}");
}

/// A card with another member in the place of this one.
fn changed(vault: &Vault, name: &str, member: &str, value: &str) -> String {
    let card = fs::read_to_string(vault.card()).unwrap();
    let lines = card.lines().map(|line| match line.strip_prefix(member) {
        Some(rest) if rest.starts_with(" =") => format!("{member} = \"{value}\"\n"),
        _ => format!("{line}\n"),
    });
    fs::write(vault.path().join(name), lines.collect::<String>()).unwrap();
    name.to_owned()
}

#[test]
fn other_vaults_open_keys_and_strangers_are_told_apart() {
    let (vault, other) = (Vault::start(), Vault::start());
    vault.with_kit("hunter2");
    let card = Card::read(&fs::read_to_string(other.card()).unwrap()).unwrap();
    let socket = format!("unix:{}", other.path().join("vault/run/agents.sock").display());
    let cards = [
        // Their address over a socket without TLS: the identity stops it. With TLS, the CA does.
        changed(&vault, "socket.card", "agents", &socket),
        changed(&vault, "tls.card", "agents", &card.agents),
        changed(&vault, "nobody.card", "agents", "unix:/nowhere"),
        changed(&vault, "open.card", "agents", "http://192.0.2.1:7447"),
        changed(&vault, "torn.card", "aud", card.aud.as_str()),
    ];
    let open = vault.path().join("open.ed25519");
    fs::copy(vault.path().join("kit.ed25519"), &open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o640)).unwrap();
    let wanted = [
        json!(["Untrusted", "other_vault"]),
        json!(["Unreachable", null]),
        json!(["Unreachable", null]),
        json!(["Local", null]),
        json!(["Local", null]),
        json!(["Local", null]),
        json!(["unauthenticated", null, false]),
    ];
    for client in [PYTHON, NODE, GO] {
        let arguments: Vec<&str> = ["strangers"].into_iter().chain(cards.iter().map(String::as_str)).collect();
        assert_eq!(tell(client, vault.path(), &arguments), wanted, "{}", client.0);
    }
}

/// What a launcher answers to these roles, by the book of `launcher::socket`.
fn answer(question: &Value) -> String {
    let ok = r#"{"ok":{"exp":1780000000000,"kind":"kv","lease":"019b9f3a-0000-7000-8000-000000000000","renewable":true,"role":"orders-read","secret":{"type":"kv","value":"hunter2"}}}"#;
    match question["role"].as_str().unwrap() {
        "orders-read" => ok.to_owned(),
        "broken" => "{".to_owned(),
        _ => r#"{"error":{"code":"no_grant","limit":null,"message":"no_grant: ask","proven":true}}"#.to_owned(),
    }
}

#[test]
fn under_a_launcher_no_key_is_needed() {
    for client in [PYTHON, NODE, GO] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let asked = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for stream in listener.incoming().take(3) {
                let mut stream = BufReader::new(stream.unwrap());
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                let question: Value = serde_json::from_str(&line).unwrap();
                writeln!(stream.get_mut(), "{}", answer(&question)).unwrap();
                asked.push(question);
            }
            asked
        });
        let mut command = client.1(folder.path());
        command.env("NOCKVAULT_AGENT_SOCKET", &path).arg("launcher");
        let said: Said = said(&mut command);
        assert_eq!(said.code, 0, "{}: {said:?}", client.0);
        let told: Vec<Value> = said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let wanted = [json!(["hunter2", "kv", "orders-read"]), json!(["no_grant", null, true]), json!(["Local", null])];
        assert_eq!(told, wanted, "{}", client.0);
        let first = json!({
            "v": 1, "do": "get", "role": "orders-read", "params": {"table": "orders"}, "ttl": 60, "purpose": "test",
        });
        assert_eq!(asked.join().unwrap()[0], first, "{}", client.0);
    }
}

/// The same below the real one, in tight mode: the token comes over an inherited file.
#[test]
fn the_real_launcher_answers_all_of_them() {
    let vault = Vault::start();
    vault.with_kit("hunter2");
    let key = fs::read_to_string(vault.path().join("kit.ed25519")).unwrap();
    for client in [PYTHON, NODE, GO] {
        let child = client.1(vault.path());
        let mut exec = program(env!("CARGO_BIN_EXE_vault-agent"), vault.path());
        exec.args(["exec", "--agent", "kit", "--vault", "vault/prod.card", "--ask", "orders-read", "--tight", "--"]);
        exec.arg(child.get_program()).args(child.get_args()).arg("launched");
        for (name, value) in child.get_envs() {
            exec.env(name, value.unwrap_or_default());
        }
        let said = said(exec.env("NOCKVAULT_AGENT_KIT_ED25519_KEY", key.trim()));
        assert_eq!(said.code, 0, "{}: {said:?}", client.0);
        let told: Vec<Value> = said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(told, [json!(["hunter2", true]), json!(["Local", null])], "{}: {said:?}", client.0);
    }
}
