//! What operators type around engines: roles from files and checked first, passwords exchanged, authorities made,
//! brought and fetched by those who rely on them. Real programs, real keys, exit codes.

#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test stops where what it stands on is not there")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use serde_json::Value;

mod programs;
#[path = "postgres/server.rs"]
mod server;

use programs::{Vault, said};

/// The head and the body of the answer to a GET.
fn get(vault: &Vault, path: &str) -> (String, Vec<u8>) {
    let address = vault.ready.split("http=http://").nth(1).unwrap().trim().to_owned();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: vault\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n").unwrap();
    (String::from_utf8(answer[..end].to_vec()).unwrap().to_lowercase(), answer[end + 4..].to_vec())
}

/// Fetches it until it is there: what a new role refers to is found within seconds.
fn get_soon(vault: &Vault, path: &str) -> (String, Vec<u8>) {
    let begin = std::time::Instant::now();
    loop {
        let (head, body) = get(vault, path);
        if head.starts_with("http/1.1 200") || begin.elapsed().as_secs() > 30 {
            return (head, body);
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

fn keygen(vault: &Vault, arguments: &[&str]) -> String {
    said(Command::new("ssh-keygen").current_dir(vault.path()).args(arguments)).ok()
}

#[test]
fn a_role_comes_from_a_file_and_is_checked_before_it_is_made() {
    let vault = Vault::start();
    let write = |name: &str, text: &str| fs::write(vault.path().join(name), text).unwrap();
    write("role.toml", "# what it hands out\nsecret = \"orders-db\"\n");
    let check = ["role", "create", "orders", "--engine", "kv", "--config", "role.toml", "--check"];
    let told = vault.vaultctl(&check).fails(1);
    assert!(told.contains("it would not work: secret_missing") && told.contains("no secret orders-db"), "{told}");
    vault.vaultctl_fed(&["secret", "put", "orders-db", "-"], b"hunter2").ok();
    let found = vault.vaultctl(&check);
    assert!(found.err.contains("nothing was created"), "{found:?}");
    assert!(found.ok().contains("version  1"));
    assert_eq!(vault.vaultctl(&["role", "list", "--field", "role"]).ok(), "");

    vault.vaultctl(&check[..7]).ok();
    let shown: Value = serde_json::from_str(&vault.vaultctl(&["role", "show", "orders", "-o", "json"]).ok()).unwrap();
    assert_eq!(shown["config"], serde_json::json!({"secret": "orders-db"}));
    assert_eq!(vault.vaultctl(&["role", "check", "orders", "--field", "version"]).ok(), "1\n");
    // JSON says the same, also by pipe.
    let piped = ["role", "create", "again", "--engine", "kv", "--config", "-"];
    vault.vaultctl_fed(&piped, b"{\"secret\": \"orders-db\"}").ok();
    assert_eq!(vault.vaultctl(&["role", "show", "again", "--field", "config.secret"]).ok(), "orders-db\n");

    write("bad.toml", "secret = \"orders-db\"\nversion = 1.5\n");
    write("bad.json", "{\"secret\":\n \"orders-db\",}\n");
    for (file, wanted) in [("bad.toml", "bad.toml:2: version: a number"), ("bad.json", "bad.json:2: no JSON object")] {
        let told = vault.vaultctl(&["role", "create", "x", "--engine", "kv", "--config", file]).fails(1);
        assert!(told.contains(wanted), "{told}");
    }
    let told = vault.vaultctl(&["role", "create", "x", "--engine", "kv", "--set", "a=1", "--check"]).fails(1);
    assert!(told.contains("would not work: bad_role") && told.contains("unknown field"), "{told}");
    let told = vault.vaultctl(&["role", "create", "x", "--engine", "none", "--check"]).fails(1);
    assert!(told.contains("there are: kv"), "{told}");
    let told = vault.vaultctl(&["role", "check", "nothing"]).fails(2);
    assert!(told.contains("not_found"), "{told}");
    let told = vault.vaultctl(&["role", "rotate", "orders"]).fails(2);
    assert!(told.contains("bad_role") && told.contains("no password of its own"), "{told}");
    assert!(vault.vaultctl(&["role", "rotate", "nothing"]).fails(2).contains("not_found"));
}

#[test]
fn an_authority_is_made_and_its_public_line_is_fetched() {
    let vault = Vault::start();
    vault.vaultctl(&["ca", "create", "hosts/users", "--engine", "ssh", "--set", "comment=users"]).ok();
    let line = vault.vaultctl(&["ca", "show", "hosts/users", "--engine", "ssh", "--field", "public_key"]).ok();
    assert!(line.starts_with("ssh-ed25519 ") && line.ends_with(" users\n") && line.lines().count() == 1, "{line}");
    assert_eq!(vault.vaultctl(&["secret", "list", "--field", "use"]).ok(), "ca\n");

    // No role signs with it: it is not published, and neither is what is no name.
    for path in ["/ssh/ca/hosts/users", "/ssh/krl/hosts/users", "/ssh/ca/", "/ssh/ca/%2e%2e/x", "/ssh/ca/A", "/ssh/ca"]
    {
        assert!(get(&vault, path).0.starts_with("http/1.1 404"), "{path}");
    }
    let role = ["role", "create", "login", "--engine", "ssh", "--set", "ca=hosts/users", "--set"];
    vault.vaultctl(&[&role[..], &["principals=[\"deploy\"]"]].concat()).ok();
    let (head, body) = get_soon(&vault, "/ssh/ca/hosts/users");
    assert!(head.contains("content-type: text/plain") && head.contains("cache-control: public, max-age=300"), "{head}");
    assert_eq!(String::from_utf8(body).unwrap(), line);
    let (head, list) = get_soon(&vault, "/ssh/krl/hosts/users");
    assert!(head.starts_with("http/1.1 200") && head.contains("cache-control: public, max-age=5"), "{head}");
    fs::write(vault.path().join("revoked"), list).unwrap();
    fs::write(vault.path().join("users.pub"), &line).unwrap();
    assert!(keygen(&vault, &["-Q", "-l", "-f", "revoked"]).contains("KRL version"));
    keygen(&vault, &["-Q", "-f", "revoked", "users.pub"]);
    // The other engine's paths know nothing of it.
    for path in ["/x509/ca/hosts/users", "/x509/crl/hosts/users"] {
        assert!(get(&vault, path).0.starts_with("http/1.1 404"), "{path}");
    }
}

#[test]
fn an_authority_is_brought_from_a_file_or_a_pipe_and_from_nowhere_else() {
    let vault = Vault::start();
    keygen(&vault, &["-q", "-t", "ed25519", "-N", "", "-C", "elsewhere", "-f", "own"]);
    let key = fs::read(vault.path().join("own")).unwrap();
    let public = fs::read_to_string(vault.path().join("own.pub")).unwrap();
    let import = |name: &'static str| ["ca", "import", name, "--engine", "ssh"];
    vault.vaultctl(&[&import("one")[..], &["--file", "own"]].concat()).ok();
    vault.vaultctl_fed(&[&import("two")[..], &["-"]].concat(), &key).ok();
    for name in ["one", "two"] {
        assert_eq!(vault.vaultctl(&["ca", "show", name, "--engine", "ssh", "--field", "public_key"]).ok(), public);
    }
    let again = vault.vaultctl(&[&import("one")[..], &["--file", "own"]].concat()).fails(2);
    assert!(again.contains("already_exists"), "{again}");
    let typed = vault.vaultctl(&[&import("three")[..], &["b3BlbnNzaA"]].concat()).fails(1);
    assert!(typed.contains("never given on the command line") && !typed.contains("b3BlbnNzaA"), "{typed}");
    let wrong = vault.vaultctl_fed(&import("three"), b"hunter2").fails(2);
    assert!(wrong.contains("bad_sealed_input") && !wrong.contains("hunter2"), "{wrong}");
    assert_eq!(vault.vaultctl_fed(&import("three"), b"").code, 1);

    // A key where certificates belong is not sent: what is signed stands in a chain.
    let certify = ["ca", "certify", "one", "--engine", "ssh", "--chain"];
    assert!(vault.vaultctl(&[&certify[..], &["own"]].concat()).fails(1).contains("Nothing was sent"));
    fs::write(vault.path().join("chain.pem"), "-----BEGIN CERTIFICATE-----\n").unwrap();
    let told = vault.vaultctl(&[&certify[..], &["chain.pem"]].concat()).fails(2);
    assert!(told.contains("bad_role") && told.contains("stands by itself"), "{told}");
    assert!(vault.vaultctl(&["ca", "show", "nothing", "--engine", "ssh"]).fails(2).contains("not_found"));
    let told = vault.vaultctl(&["ca", "create", "x", "--engine", "kv"]).fails(2);
    assert!(told.contains("engine kv signs with no authority; these do: ssh"), "{told}");

    // Nothing of the key stands in any chain.
    let secret = String::from_utf8(key).unwrap();
    let part = secret.lines().nth(2).unwrap();
    for chain in ["_operators", "_vault"] {
        assert!(!vault.vaultctl(&["audit", "export", chain]).ok().contains(part));
    }
}

/// Runs openssl in the vault's folder.
fn openssl(vault: &Vault, arguments: &[&str]) -> String {
    said(Command::new("openssl").current_dir(vault.path()).args(arguments)).ok()
}

#[test]
fn an_authority_is_certified_from_above_and_its_chain_and_list_are_fetched() {
    let vault = Vault::start();
    let write = |name: &str, bytes: &[u8]| fs::write(vault.path().join(name), bytes).unwrap();
    let subject = "subject={\"common_name\":\"mesh\"}";
    vault.vaultctl(&["ca", "create", "mesh", "--engine", "x509", "--set", subject]).ok();
    let show = |field: &str| vault.vaultctl(&["ca", "show", "mesh", "--engine", "x509", "--field", field]).ok();
    write("own.pem", show("chain").as_bytes());
    assert!(show("chain").ends_with("-----END CERTIFICATE-----\n"));
    assert!(openssl(&vault, &["x509", "-in", "own.pem", "-noout", "-subject"]).contains("mesh"));

    // A root of the operator's own signs the request.
    write("request.pem", show("request").as_bytes());
    write("as-ca.cnf", b"basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n");
    let root = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=root"];
    openssl(&vault, &[&root[..], &["-keyout", "root.key", "-out", "root.pem", "-days", "365"]].concat());
    let sign = ["x509", "-req", "-in", "request.pem", "-CA", "root.pem", "-CAkey", "root.key", "-extfile", "as-ca.cnf"];
    openssl(&vault, &[&sign[..], &["-days", "90", "-out", "signed.pem"]].concat());
    let chain = ["signed.pem", "root.pem"].map(|name| fs::read(vault.path().join(name)).unwrap()).concat();
    write("chain.pem", &chain);
    let certify = ["ca", "certify", "mesh", "--engine", "x509", "--chain"];
    vault.vaultctl(&[&certify[..], &["chain.pem"]].concat()).ok();
    let refused = vault.vaultctl(&[&certify[..], &["root.pem"]].concat()).fails(2);
    assert!(refused.contains("bad_role"), "{refused}");
    let wrong = vault.vaultctl(&["ca", "show", "mesh", "--engine", "ssh"]).fails(2);
    assert!(wrong.contains("not_found") && wrong.contains("not one of engine ssh"), "{wrong}");

    let role = ["role", "create", "mesh-client", "--engine", "x509", "--set", "ca=mesh", "--set"];
    vault.vaultctl(&[&role[..], &["trust_domain=example.org"]].concat()).ok();
    let (head, body) = get_soon(&vault, "/x509/ca/mesh");
    assert!(head.contains("content-type: application/pem-certificate-chain"), "{head}");
    write("fetched.pem", &body);
    assert!(openssl(&vault, &["x509", "-in", "fetched.pem", "-noout", "-issuer"]).contains("root"));
    assert!(openssl(&vault, &["verify", "-CAfile", "root.pem", "fetched.pem"]).contains("OK"));
    let (head, list) = get_soon(&vault, "/x509/crl/mesh");
    assert!(head.contains("content-type: application/pkix-crl"), "{head}");
    write("list.crl", &list);
    let read = ["crl", "-inform", "DER", "-in", "list.crl", "-noout", "-issuer", "-CAfile", "fetched.pem"];
    let said = said(Command::new("openssl").current_dir(vault.path()).args(read));
    assert!(said.out.contains("mesh") && said.err.contains("verify OK"), "{said:?}");
}

#[test]
fn a_database_is_looked_at_and_takes_a_password_that_nobody_knows() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut database = runtime.block_on(server::Server::start());
    let vault = Vault::start();
    let lets_in =
        |database: &server::Server, password: &str| runtime.block_on(database.client(server::ADMIN, password)).is_ok();
    let role = format!(
        "host = \"localhost\"\nport = {}\ndatabase = \"orders\"\nuser = \"{}\"\npassword = \"orders/admin\"\n\
         grants = [\"orders_read\"]\nca = \"\"\"\n{}\"\"\"\n",
        database.port(),
        server::ADMIN,
        database.ca_pem()
    );
    fs::write(vault.path().join("role.toml"), role).unwrap();
    let create = ["role", "create", "orders-read", "--engine", "postgres", "--config", "role.toml"];
    let check = [&create[..], &["--check"]].concat();
    assert!(vault.vaultctl(&check).fails(1).contains("secret_missing"));
    let put = ["secret", "put", "orders/admin", "-", "--use", "backend"];
    vault.vaultctl_fed(&put, b"wrong").ok();
    let told = vault.vaultctl(&check).fails(1);
    assert!(told.contains("it would not work") && told.contains("password authentication failed"), "{told}");
    vault.vaultctl_fed(&put, database.admin_password().as_bytes()).ok();
    assert!(vault.vaultctl(&check).ok().contains("PostgreSQL "));
    vault.vaultctl(&create).ok();

    // Rotated, and rotated again: the password that an operator knew opens nothing any more.
    for version in ["3\n", "4\n"] {
        assert_eq!(vault.vaultctl(&["role", "rotate", "orders-read", "--field", "version"]).ok(), version);
        assert!(!lets_in(&database, database.admin_password()));
        vault.vaultctl(&["role", "check", "orders-read"]).ok();
    }
    assert_eq!(vault.vaultctl(&["secret", "list", "--field", "use"]).ok(), "backend\n");

    // While it is away nothing is rotated, and the operator learns why.
    database.stop();
    let told = vault.vaultctl(&["role", "rotate", "orders-read"]).fails(2);
    assert!(told.contains("engine_unavailable"), "{told}");
    assert!(vault.vaultctl(&["role", "check", "orders-read"]).fails(1).contains("engine_unavailable"));
    runtime.block_on(database.start_again());
    vault.vaultctl(&["role", "rotate", "orders-read"]).ok();
    assert_eq!(vault.vaultctl(&["secret", "list", "--field", "version"]).ok(), "5\n");
}
