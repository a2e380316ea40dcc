//! The launcher's socket with real processes: what is cached, who is let in, and what the token of tight mode opens.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::Arc;

use nockvault::entropy::OsEntropy;
use nockvault::launcher::socket::{self, Options, Serving};
use nockvault::launcher::token::{TOKEN_FD, Token};
use rustix::io::{FdFlags, fcntl_setfd};
use serde_json::{Value, json};

use crate::programs::{Said, said};
use crate::stage::Stage;

const NOBODY: u32 = 65534;

fn below(stage: &Stage, serving: &Serving, arguments: &[&str]) -> Command {
    let (name, path) = serving.variable();
    let mut agent = stage.bare(env!("CARGO_BIN_EXE_vault-agent"));
    agent.args(arguments).env(name, path);
    agent
}

#[tokio::test(flavor = "multi_thread")]
async fn one_lease_serves_all_who_ask_and_ends_when_it_is_given_back() {
    let stage = Stage::with("orders-read", b"hunter2");
    let (wallet, serving) = stage.launcher(&["orders-read"], None);
    let ask = |arguments: &[&str]| said(&mut below(&stage, &serving, arguments));
    for _ in 0..3 {
        assert_eq!(ask(&["get", "orders-read"]).ok(), "hunter2\n");
    }
    assert_eq!(stage.leases(), 1);
    let list: Value = serde_json::from_str(&ask(&["list", "-o", "json"]).ok()).unwrap();
    assert_eq!((&list["roles"], &list["leases"][0]["role"]), (&json!(["orders-read"]), &json!("orders-read")));
    assert!(!list.to_string().contains("hunter2"));
    let lease = |said: Said| serde_json::from_str::<Value>(&said.ok()).unwrap()["lease"].clone();
    let first = lease(ask(&["get", "orders-read", "-o", "json"]));
    assert_ne!(lease(ask(&["get", "orders-read", "-o", "json", "--fresh"])), first);
    let given = ask(&["release", "orders-read"]);
    assert!(given.code == 0 && given.err.contains("gave back 1 lease"), "{given:?}");
    assert_eq!(ask(&["list"]).ok(), "");
    let other = ask(&["get", "orders-write"]).fails(1);
    assert!(other.contains("does not ask for orders-write"), "{other}");
    stage.vault.vaultctl(&["revoke", "kit", "orders-read"]).ok();
    let refused = ask(&["get", "orders-read"]).fails(2);
    assert!(refused.contains("no_grant"), "the vault's own word comes through: {refused}");
    wallet.close().await.unwrap();
}

/// Hands this file on to who is started next.
fn handed_on(file: &OwnedFd) -> String {
    fcntl_setfd(file, FdFlags::empty()).unwrap();
    file.as_raw_fd().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn in_tight_mode_a_process_without_the_token_gets_nothing() {
    let stage = Stage::with("orders-read", b"hunter2");
    let (_wallet, serving) = stage.launcher(&["orders-read"], Some(Arc::new(Token::new(&OsEntropy))));
    let stranger = said(&mut below(&stage, &serving, &["get", "orders-read"])).fails(1);
    assert!(stranger.contains("shows the token of its run") && !stranger.contains("hunter2"), "{stranger}");
    assert_eq!(stage.leases(), 0, "nothing was asked for on its behalf");
    let guessing = Token::new(&OsEntropy).file().unwrap();
    let mut guess = below(&stage, &serving, &["get", "orders-read"]);
    said(guess.env(TOKEN_FD, handed_on(&guessing))).fails(1);
    let mut closed = below(&stage, &serving, &["get", "orders-read"]);
    let closed = said(closed.env(TOKEN_FD, "987654")).fails(1);
    assert!(closed.contains("987654"), "{closed}");

    // A child, and its children, one after the other: reading the token takes nothing from the next.
    let file = serving.token().unwrap().file().unwrap();
    let (name, path) = serving.variable();
    let script = "vault-agent get orders-read && sh -c 'vault-agent get orders-read; vault-agent list >&2'";
    let mut child = stage.bare("sh");
    let child = said(child.args(["-c", script]).env(name, path).env(TOKEN_FD, handed_on(&file)));
    assert_eq!(child.ok(), "hunter2\nhunter2\n");
    assert_eq!(stage.leases(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_gets_nothing_and_the_childs_user_what_it_needs() {
    let stage = Stage::with("orders-read", b"hunter2");
    if !rustix::process::geteuid().is_root() {
        // Without root there is no other user to be, and the socket cannot be given to one.
        let options = Options { uid: Some(NOBODY), ..Options::default() };
        let why = socket::serve(stage.wallet(&["orders-read"]), options).unwrap_err().to_string();
        assert!(why.contains("takes root"), "{why}");
        return;
    }
    let open = |path: &std::path::Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    let program = stage.path("vault-agent");
    std::fs::copy(env!("CARGO_BIN_EXE_vault-agent"), &program).unwrap();
    open(stage.vault.path(), 0o755);
    let ask = |serving: &Serving| {
        let (name, path) = serving.variable();
        let mut agent = stage.bare(&program);
        said(agent.args(["get", "orders-read"]).env(name, path).uid(NOBODY).gid(NOBODY))
    };

    let (_wallet, serving) = stage.launcher(&["orders-read"], None);
    let shut = ask(&serving).fails(1);
    assert!(shut.contains("Permission denied"), "{shut}");
    // Where somebody opened folder and socket, the kernel still says who is there.
    open(serving.path().parent().unwrap(), 0o755);
    open(serving.path(), 0o666);
    let refused = ask(&serving).fails(1);
    assert!(refused.contains("belongs to another user") && !refused.contains("hunter2"), "{refused}");
    assert_eq!(stage.leases(), 0);

    let wallet = stage.wallet(&["orders-read"]);
    let options = Options { dir: Some(std::env::temp_dir()), uid: Some(NOBODY), token: None };
    let given = socket::serve(wallet, options).unwrap();
    assert_eq!(ask(&given).ok(), "hunter2\n");
    let own = said(&mut below(&stage, &given, &["list"])).ok();
    assert!(own.contains("orders-read"), "the launcher's own user may ask too: {own}");
    let left = given.path().parent().unwrap().to_owned();
    drop(given);
    assert!(!left.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_may_speak_to_the_socket_itself() {
    let stage = Stage::with("orders-read", b"hunter2");
    let (_wallet, serving) = stage.launcher(&["orders-read"], Some(Arc::new(Token::new(&OsEntropy))));
    let script = r#"
import json, os, socket
with open("/proc/self/fd/" + os.environ["NOCKVAULT_AGENT_TOKEN_FD"]) as file:
    token = file.read()
def ask(**question):
    with socket.socket(socket.AF_UNIX) as launcher:
        launcher.connect(os.environ["NOCKVAULT_AGENT_SOCKET"])
        launcher.sendall(json.dumps({"v": 1, **question}).encode() + b"\n")
        return json.loads(launcher.makefile().readline())
print(ask(do="get", role="orders-read")["error"]["code"])
print(ask(do="get", role="orders-read", token=token, params={}, ttl=60, purpose="a look")["ok"]["secret"]["value"])
print(ask(do="get", role="orders-read", token=token, ttl=999999999, fresh=True)["error"])
print(ask(do="list", token="x" * 70000)["error"]["code"])
print(ask(do="release", role="orders-read", token=token))
"#;
    let file = serving.token().unwrap().file().unwrap();
    let (name, path) = serving.variable();
    let mut python = stage.bare("python3");
    let told = said(python.args(["-c", script]).env(name, path).env(TOKEN_FD, handed_on(&file))).ok();
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(
        (lines[0], lines[1], lines[3], lines[4]),
        ("no_token", "hunter2", "too_large", "{'ok': {'released': 1}}")
    );
    assert!(lines[2].contains("'ttl_exceeds_grant'") && lines[2].contains("'limit': 3600"), "{told}");
    assert!(lines[2].contains("'proven': True"), "{told}");
}
