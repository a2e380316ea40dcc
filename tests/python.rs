//! The agent in Python, with nothing of ours underneath, against a real vault; and the verifier in Rust over the chain
//! that came of it. Two readings of the formats that agree.

#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test stops where what it stands on is not there")]

use std::fs;

mod programs;

use programs::{Said, Vault, foreign, program, said};

fn python(vault: &Vault, arguments: &[&str]) -> Said {
    said(foreign::python(vault.path()).args(arguments))
}

const ASK: [&str; 9] =
    ["-m", "agent", "--vault", "vault/prod.card", "--agent", "kit", "--key", "kit.ed25519", "--role"];

fn ask(vault: &Vault, more: &[&str]) -> Said {
    python(vault, &[&ASK[..], more].concat())
}

#[test]
fn an_agent_in_python_and_the_verifier_in_rust_agree_on_the_same_vault() {
    let vault = Vault::start();
    // Text that JSON may escape in more than one way.
    let secret = "h\u{fc}nter \"2\" \u{1f511} \\ </script> \u{7f}";
    vault.with_kit(secret);
    let purpose = "n\u{e4}chtlicher \"Bericht\" \u{2028} /";
    let more = ["orders-read", "--ttl", "60", "--purpose", purpose, "--receipt", "kit.receipt", "--reveal"];
    assert_eq!(ask(&vault, &more).ok(), format!("{secret}\n"));

    for chain in ["kit", "_operators"] {
        vault.vaultctl(&["audit", "export", chain, "--file", &format!("{chain}.jsonl")]).ok();
    }
    let verify = |chain: &str| {
        let mut command = program(env!("CARGO_BIN_EXE_vault-verify"), vault.path());
        command.args(["--vault", "vault/prod.card", "--receipt", "kit.receipt"]);
        said(command.args(["--operators", "_operators.jsonl", chain]))
    };
    let report = verify("kit.jsonl").ok();
    assert!(report.contains("gave 1 credential") && report.contains("1 signed receipt"), "{report}");
    let chain = fs::read_to_string(vault.path().join("kit.jsonl")).unwrap();
    assert!(chain.contains(&serde_json::to_string(purpose).unwrap()), "{chain}");

    // The receipt that Python kept finds out a chain that lost what it names.
    let cut: String = chain.lines().take(2).map(|line| format!("{line}\n")).collect();
    fs::write(vault.path().join("cut.jsonl"), cut).unwrap();
    assert_eq!(verify("cut.jsonl").code, 2);
}

#[test]
fn what_the_vault_refuses_and_what_must_not_be_believed_is_told_apart() {
    let vault = Vault::start();
    vault.with_kit("hunter2");
    let refused = ask(&vault, &["orders-write"]).fails(2);
    assert!(refused.contains("no_grant"), "{refused}");
    let refused = ask(&vault, &["orders-read", "--ttl", "7200"]).fails(2);
    assert!(refused.contains("ttl_exceeds_grant") && refused.contains("3600"), "{refused}");
    let refused = ask(&vault, &["orders-read", "--kver", "2"]).fails(2);
    assert!(refused.contains("wrong_key"), "{refused}");

    let other = Vault::start();
    let path = |vault: &Vault| vault.path().join("vault/prod.card");
    let line = |vault: &Vault| {
        let card = fs::read_to_string(path(vault)).unwrap();
        card.lines().find(|line| line.starts_with("agents")).unwrap().to_owned()
    };
    let card = fs::read_to_string(path(&vault)).unwrap();
    // Their address, but neither their identity nor their CA: TLS stops it.
    let own = line(&vault);
    fs::write(path(&vault), card.replace(&own, &line(&other))).unwrap();
    let tls = ask(&vault, &["orders-read"]).fails(1);
    assert!(tls.contains("UNAVAILABLE"), "{tls}");
    // Their address over a socket without TLS: the identity stops it.
    let socket = format!("agents = \"unix:{}\"", other.path().join("vault/run/agents.sock").display());
    fs::write(path(&vault), card.replace(&own, &socket)).unwrap();
    let identity = ask(&vault, &["orders-read"]).fails(1);
    assert!(identity.contains("another vault answers"), "{identity}");
}

#[test]
fn the_python_agent_corrects_its_clock_by_the_vaults_signed_word_once() {
    let vault = Vault::start();
    vault.with_kit("hunter2");
    let script = r#"
import tomllib, agent
vault = agent.Vault(tomllib.load(open("vault/prod.card", "rb")))
kit = agent.Agent(vault, "kit", agent.read_key("kit.ed25519"), 1)
sent = []
sign = kit.sign
def signed(body, sid):
    sent.append(sign(body, sid))
    return sent[-1]
kit.sign = signed
vault.ahead -= 3_600_000
print(kit.request("orders-read")[1]["value"], len(sent), sent[0].payload != sent[1].payload)
vault.set_clock = lambda now: None
vault.ahead -= 3_600_000
del sent[:]
try:
    kit.request("orders-read")
except agent.Refused as refused:
    print(refused.reason, refused.denied["limit"] is not None, len(sent))
"#;
    assert_eq!(python(&vault, &["-c", script]).ok(), "hunter2 2 True\nclock_skew True 2\n");
}
