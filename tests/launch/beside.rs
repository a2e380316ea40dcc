//! What is served beside a child, from the child's side.

use std::path::Path;

use crate::programs::{Said, Vault, program, said};
use crate::stage::{Launched, SECRET, exec, kinds, leases, vault, wait_until};

/// A launcher whose child finds our programs.
fn run(vault: &Vault, options: &[&str], script: &str) -> Said {
    let mut command = exec(vault);
    let tools = Path::new(env!("CARGO_BIN_EXE_vault-agent")).parent().unwrap();
    command.env("PATH", format!("{}:{}", tools.display(), std::env::var("PATH").unwrap()));
    said(command.args(options).args(["--", "sh", "-c", script]))
}

#[test]
fn a_childs_tools_ask_the_launcher_for_its_roles_and_no_others() {
    let vault = vault();
    let script = "vault-agent get orders-read; vault-agent get orders-read >&2; vault-agent get other 2>&1 | grep -c 'does not ask for other'";
    let asked = run(&vault, &["--ask", "orders-read"], script);
    assert_eq!(asked.out, format!("{SECRET}\n1\n"), "{asked:?}");
    assert_eq!(kinds(&vault), ["genesis", "grant", "issue", "close"], "one lease, and the session's end");
    let delivered = run(&vault, &["--ask", "orders-read"], "env | grep -c canary");
    assert_eq!(delivered.out, "0\n", "what may be asked for is delivered nowhere");
}

#[test]
fn in_tight_mode_a_process_of_the_same_user_without_the_token_gets_nothing() {
    let vault = vault();
    let script = "vault-agent get orders-read > got; echo \"$NOCKVAULT_AGENT_SOCKET\" > path.new; mv path.new path; exec sleep 60";
    let mut command = exec(&vault);
    let tools = Path::new(env!("CARGO_BIN_EXE_vault-agent")).parent().unwrap();
    command.env("PATH", format!("{}:{}", tools.display(), std::env::var("PATH").unwrap()));
    let _launched = Launched::begin(command, &vault, &["--ask", "orders-read", "--tight"], script);
    let path = vault.path().join("path");
    wait_until("the child knows the socket", || path.exists());
    assert_eq!(std::fs::read_to_string(vault.path().join("got")).unwrap().trim(), SECRET, "the child has the token");
    let socket = std::fs::read_to_string(path).unwrap();
    let mut stranger = program(env!("CARGO_BIN_EXE_vault-agent"), vault.path());
    let stranger = said(stranger.env("NOCKVAULT_AGENT_SOCKET", socket.trim()).args(["get", "orders-read"]));
    assert!(stranger.code != 0 && stranger.out.is_empty() && stranger.err.contains("token"), "{stranger:?}");
}

#[test]
fn nockguard_gets_its_references_and_the_trail_its_rows() {
    let vault = vault();
    let script = "curl -s -H \"X-Agent-Token: $NOCKGUARD_VAULT_AGENT_TOKEN\" \"$NOCKCC_BASE_URL/api/secrets/ORDERS/\"";
    let given = run(&vault, &["--nockcc", "ORDERS=orders-read", "--nockguard-trail"], script);
    let answer: serde_json::Value = serde_json::from_str(&given.out).unwrap_or_else(|_| panic!("{given:?}"));
    assert_eq!((&answer["success"], &answer["data"]["value"]), (&true.into(), &SECRET.into()));
    let verified = said(program(env!("CARGO_BIN_EXE_vault-verify"), vault.path()).args([
        "--format",
        "nockguard",
        "--agent-key",
        std::fs::read_to_string(vault.path().join("kit.pub")).unwrap().trim(),
        ".nockguard/logs/kit.audit.jsonl",
    ]));
    assert!(verified.ok().contains("2 rows"), "one for the issue, one for the release");
}

#[test]
fn a_trail_that_cannot_be_written_gives_no_secret() {
    let vault = vault();
    std::fs::create_dir_all(vault.path().join("trail")).unwrap();
    let refused = run(&vault, &["--role", "orders-read", "--nockguard-trail=trail"], "echo ran");
    assert!(refused.code == 125 && refused.out.is_empty(), "{refused:?}");
    assert_eq!(leases(&vault), 0);
}

#[test]
fn the_proxy_and_the_ssh_agent_are_where_the_childs_variables_say() {
    let vault = vault();
    let rules = "[[rule]]\nname = \"api\"\nrole = \"orders-read\"\nhost = \"api.example.com\"\nmethods = [\"GET\"]\npaths = [\"/v1/*\"]\n\
                 header = \"Authorization\"\nvalue = \"Bearer {value}\"\nvariable = \"API_BASE_URL\"\n";
    std::fs::write(vault.path().join("rules.toml"), rules).unwrap();
    vault.vaultctl(&["ca", "create", "users", "--engine", "ssh"]).ok();
    let like = ["--config", concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/roles/ssh-deploy.toml")];
    vault.vaultctl(&[&["role", "create", "deploy", "--engine", "ssh"][..], &like].concat()).ok();
    vault.vaultctl(&["grant", "kit", "deploy", "--ttl", "5m"]).ok();
    let script = "curl -s -o /dev/null -w '%{http_code}\n' -X DELETE \"$API_BASE_URL/v1/x\"; ssh-add -l
        for role in orders-read deploy; do vault-agent get $role 2>&1 | grep 'does not ask for'; done";
    let seen = run(&vault, &["--proxy", "rules.toml", "--ssh", "deploy"], script);
    assert!(seen.out.starts_with("403\n") && seen.out.contains("ED25519-CERT"), "{seen:?}");
    assert_eq!(
        seen.out.matches("does not ask for").count(),
        2,
        "what is used for the child is not given to it: {seen:?}"
    );
    assert_eq!(leases(&vault), 0);
}

#[test]
fn what_a_child_prints_is_masked_where_that_was_asked_for() {
    let vault = vault();
    let script = "printf '%s\n' \"$ORDERS_READ\"; printf %s \"$ORDERS_READ\" | base64 >&2; printf %s \"$ORDERS_READ\" | cut -c 1-8; exit 4";
    let plain = run(&vault, &["--role", "orders-read"], script);
    assert!(plain.out.contains(SECRET));
    let masked = run(&vault, &["--role", "orders-read", "--mask"], script);
    assert_eq!(masked.code, 4);
    assert_eq!(masked.out, format!("[redacted]{}\n{}\n", "*".repeat(SECRET.len() - 10), &SECRET[..8]), "{masked:?}");
    assert!(masked.err.starts_with("[redacted]*"), "{masked:?}");
}
