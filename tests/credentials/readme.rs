//! The walks of the README, word by word, as a newcomer types them. Only where things are differs: ports are free ones,
//! and the database's administrator is reached by its socket. A line that ends with `# refused` must fail.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use crate::postgres_server::Server;
use crate::programs::{Said, example, program, said};
use crate::ssh_server::user;
use crate::stage::Stage;

/// What a shell is told before each walk: the first word that fails ends it, and what it started ends with it.
const SHELL: &str = "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_walk_to_a_database_login_goes_as_the_readme_says() {
    let walk = Walk::new();
    let server = Server::start().await;
    server.sql("DROP DATABASE orders").await;
    server.sql("DROP ROLE vault_admin; DROP ROLE orders_read").await;
    let (port, socket) = (server.port().to_string(), server.socket_dir().display());
    let administrator =
        format!("PGPASSWORD={} psql -v ON_ERROR_STOP=1 -h {socket} -p {port} -U postgres", server.root_password());
    let words = walk.goes(
        "A database login",
        &[
            ("sudo -u postgres psql", &administrator),
            ("--set host=127.0.0.1", &format!("--set host=127.0.0.1 --set port={port}")),
            ("psql -h 127.0.0.1", &format!("psql -h 127.0.0.1 -p {port}")),
        ],
    );
    for wanted in [
        "nothing was created",
        "created role orders-login",
        "has taken a new password",
        " lamp\n",
        "orders-login  live",
        "revoked 1 lease",
        "agent_frozen",
    ] {
        assert!(words.contains(wanted), "no {wanted:?} in:\n{words}");
    }
    assert!(words.contains("password authentication failed"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_walk_to_a_login_by_ssh_goes_as_the_readme_says() {
    let walk = Walk::new();
    if user() == "root" {
        fs::create_dir_all("/run/sshd").unwrap();
    }
    let words = walk.goes("A login by SSH", &[("2222", &free_port()), ("$USER", &user())]);
    for wanted in ["its private key stays in the vault", "uid=", "revoked 1 lease", "Permission denied (publickey"] {
        assert!(words.contains(wanted), "no {wanted:?} in:\n{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_walk_to_a_certificate_for_tls_goes_as_the_readme_says() {
    let words = Walk::new().goes("A certificate for TLS", &[("4433", &free_port())]);
    for wanted in [
        "its private key stays in the vault",
        "URI:spiffe://prod.example.com/agent/kit/session/",
        "revoked 1 lease",
        "certificate revoked",
    ] {
        assert!(words.contains(wanted), "no {wanted:?} in:\n{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_walk_of_an_auditor_goes_as_the_readme_says() {
    let walk = Walk::new();
    let before = "echo hunter2 | vaultctl secret put orders-db -
        vaultctl role create orders-read --engine kv --set secret=orders-db
        vaultctl grant kit orders-read --ttl 15m --max-ttl 1h";
    assert_eq!(walk.shell(before).code, 0);
    let words = walk.goes("What an auditor does", &[]);
    for wanted in [
        "genesis",
        "entry.proof: prod/kit entry 1: proved",
        "kit.audit.jsonl: prod/kit: intact",
        "its end was cut off",
        "changed.jsonl: prod/kit: TAMPERED at entry 0",
    ] {
        assert!(words.contains(wanted), "no {wanted:?} in:\n{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_walk_of_an_agents_program_goes_as_the_readme_says() {
    let walk = Walk::new();
    let before = "echo hunter2-and-more | vaultctl secret put orders-db -
        vaultctl role create orders-read --engine kv --set secret=orders-db
        vaultctl grant kit orders-read --ttl 15m --max-ttl 1h";
    assert_eq!(walk.shell(before).code, 0);
    let words = walk.goes("A program and what it may have", &[]);
    for wanted in ["16\n", "17\n", "Permission denied", "[redacted]******"] {
        assert!(words.contains(wanted), "no {wanted:?} in:\n{words}");
    }
    assert!(!words.contains("hunter2"), "{words}");
}

/// A vault with the agent kit, as "Try it" leaves it.
struct Walk {
    stage: Stage,
}

impl Walk {
    fn new() -> Walk {
        let stage = Stage::new();
        stage.ctl(&["keygen", "--agent", "kit"]).ok();
        stage.ctl(&["agent", "register", "kit.register"]).ok();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        std::os::unix::fs::symlink(root.join("deploy"), stage.path("deploy")).unwrap();
        Walk { stage }
    }

    /// Goes the walk under this heading, with these words replaced; gives all that was said on the way.
    fn goes(&self, heading: &str, other: &[(&str, &str)]) -> String {
        let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
        let from = readme.split_once(&format!("\n### {heading}\n")).expect("the heading").1;
        let block = from.split("\n```\n").nth(1).expect("a block of commands");
        let asks = example("request_credential");
        let mut script = format!("{SHELL}{block}\n");
        script = script.replace("http://127.0.0.1:8441", &format!("http://{}", self.stage.http_address()));
        script = script.replace("cargo run --example request_credential --", asks.to_str().unwrap());
        for (word, place) in other {
            assert!(script.contains(word), "{word:?} is not in {heading:?}");
            script = script.replace(word, place);
        }
        let Said { code, out, err } = self.shell(&refused(&script));
        let words = format!("{out}{err}");
        assert_eq!(code, 0, "{heading}:\n{script}\n{words}");
        words
    }

    fn shell(&self, script: &str) -> Said {
        fs::write(self.stage.path("walk.sh"), script).unwrap();
        let programs = Path::new(env!("CARGO_BIN_EXE_vaultctl")).parent().unwrap();
        let path = std::env::join_paths(
            [programs.to_owned()].into_iter().chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
        );
        said(program("bash", self.stage.vault.path()).arg("walk.sh").env("PATH", path.unwrap()))
    }
}

/// Turns lines that are to fail into such that end the script where they do not.
fn refused(script: &str) -> String {
    let line = |line: &str| match line.strip_suffix("  # refused") {
        Some(command) => format!("if {command}; then echo 'it was taken'; exit 1; fi\n"),
        None => format!("{line}\n"),
    };
    script.lines().map(line).collect()
}

fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}
