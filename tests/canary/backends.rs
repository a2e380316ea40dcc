//! The secrets of engines: the vault's own password at a database, the password that takes its place, the keys of
//! authorities, and what is minted with them. All of it goes through normal use and through whatever goes wrong, against
//! a real PostgreSQL that logs every statement.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use nockvault::client::agent::{Ask, Credential};
use nockvault::entropy::OsEntropy;
use nockvault::seal::custody;
use nockvault::statement::secret::SecretUse;
use nockvault::store::Store as _;
use nockvault::store::sqlite::Sqlite;
use nockvault::time::{Seconds, SystemClock};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};

use super::needles::Needles;
use super::programs::Vault;
use super::server::{ADMIN, Server};
use super::support::rules;
use super::{CANARY, files, http, kit, shown};

/// A password that the server does not take.
const WRONG: &str = "canary/wrong 5e0d\"41\\ab' 9c7f<2e>8b36";
/// How each verifier begins.
const VERIFIER: &[u8] = b"SCRAM-SHA-256$";

/// What is looked for, and what was seen.
#[derive(Default)]
struct Search {
    secrets: Vec<(String, Needles)>,
    seen: Vec<(String, Vec<u8>)>,
}

impl Search {
    fn secret(&mut self, what: &str, bytes: &[u8]) {
        assert!(bytes.len() >= 16, "{what} is too short to be looked for");
        self.secrets.push((what.to_owned(), Needles::of(bytes)));
    }

    /// A private key as text: each of its lines but those that all keys of its kind have.
    fn key(&mut self, what: &str, pem: &str) {
        let lines: Vec<&str> = pem.lines().filter(|line| !line.starts_with("-----") && line.len() >= 40).collect();
        let own = if pem.contains("OPENSSH") { &lines[1..] } else { &lines[..] };
        assert!(!own.is_empty(), "{what} has no lines: {pem}");
        own.iter().for_each(|line| self.secret(what, line.as_bytes()));
    }

    /// Runs vaultctl and keeps what it said. Gives how it ended.
    fn vaultctl(&mut self, vault: &Vault, arguments: &[&str], input: &[u8]) -> i32 {
        let said = vault.vaultctl_fed(arguments, input);
        let name = format!("vaultctl {}", arguments.join(" "));
        self.seen.push((name, [said.out.into_bytes(), said.err.into_bytes()].concat()));
        said.code
    }

    fn judge(&self) {
        for (name, bytes) in &self.seen {
            for (what, needles) in &self.secrets {
                assert_eq!(needles.found_in(bytes), None, "{what} stands in {name}");
            }
            // The server is given verifiers and may log them; they go nowhere else.
            let told = bytes.windows(VERIFIER.len()).any(|part| part == VERIFIER);
            assert!(!told || name == "the server's log", "a verifier stands in {name}");
        }
        for needed in ["vault.db", "vault.db-wal", "vaultd.log", "/metrics", "audit export kit", "the server's log"] {
            assert!(self.seen.iter().any(|(name, bytes)| name.ends_with(needed) && !bytes.is_empty()), "{needed}");
        }
    }
}

/// A new Ed25519 key as OpenSSH writes it.
fn ssh_key() -> String {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", "key"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    std::fs::read_to_string(folder.path().join("key")).unwrap()
}

/// The seed in an OpenSSH key.
fn seed_of(key: &str) -> Vec<u8> {
    let key = ssh_key::PrivateKey::from_openssh(key).unwrap();
    key.key_data().ed25519().unwrap().private.to_bytes().to_vec()
}

/// The key and the certificate of a new root, PEM, and the key's DER.
fn x509_root() -> (String, String, Vec<u8>) {
    let key = KeyPair::generate().unwrap();
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    root.distinguished_name.push(DnType::CommonName, "mesh");
    let cert = root.self_signed(&key).unwrap().pem();
    (key.serialize_pem(), cert, key.serialize_der())
}

/// The number in a P-256 key (RFC 5958 around RFC 5915).
fn number_of(der: &[u8]) -> &[u8] {
    let at = der.windows(6).position(|part| part == [0x30, 0x6b, 2, 1, 1, 4]).unwrap();
    &der[at + 7..at + 39]
}

fn role(server: &Server, creation: Option<&str>) -> String {
    let mut role = format!(
        "host = \"localhost\"\nport = {}\ndatabase = \"orders\"\nuser = \"{ADMIN}\"\npassword = \"orders/admin\"\n\
         grants = [\"orders_read\"]\nca = \"\"\"\n{}\"\"\"\n",
        server.port(),
        server.ca_pem()
    );
    if let Some(creation) = creation {
        role.push_str(&format!("creation = [\"{creation}\"]\n"));
    }
    role
}

/// Statements that the server refuses, and quotes in doing so.
const REFUSED: [(&str, &str); 3] = [
    ("quoting", "SELECT {{password}}::int, {{name}}"),
    ("broken", "CREATE ROLE {{name}} PASSWORD {{password}} {{password}} VALID UNTIL {{expiration}}"),
    ("raising", "DO $$ BEGIN RAISE EXCEPTION 'no: %', {{password}}; END $$; -- {{name}}"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_secrets_of_engines_are_seen_nowhere_but_by_their_sessions() {
    let mut search = Search::default();
    let mut server = Server::start().await;
    let verifier = postgres_protocol::password::scram_sha_256(CANARY.as_bytes());
    server.sql(&format!("ALTER ROLE {ADMIN} PASSWORD '{verifier}'")).await;
    server.sql("ALTER SYSTEM SET log_min_error_statement = 'debug5'").await;
    server.sql("SELECT pg_reload_conf()").await;
    search.secret("the vault's password at the server", CANARY.as_bytes());
    search.secret("a wrong password", WRONG.as_bytes());

    let mut vault = Vault::start_with(|config| config.replace("level = \"info\"", "level = \"trace\""));
    vault.with_kit("another value");
    let put = ["secret", "put", "orders/admin", "-", "--use", "backend"];
    assert_eq!(search.vaultctl(&vault, &put, WRONG.as_bytes()), 0);
    let write = |name: &str, text: String| std::fs::write(vault.path().join(name), text).unwrap();
    write("role.toml", role(&server, None));
    let create = ["role", "create", "orders", "--engine", "postgres", "--config", "role.toml"];
    assert_eq!(search.vaultctl(&vault, &[&create[..], &["--check"]].concat(), b""), 1, "a wrong password was taken");
    assert_eq!(search.vaultctl(&vault, &create, b""), 0);
    for (name, creation) in REFUSED {
        write("role.toml", role(&server, Some(creation)));
        let create = ["role", "create", name, "--engine", "postgres", "--config", "role.toml"];
        search.vaultctl(&vault, &create, b"");
    }

    // Authorities that are brought.
    let (ssh, (x509, cert, der)) = (ssh_key(), x509_root());
    search.secret("the seed of the SSH authority", &seed_of(&ssh));
    search.key("the SSH authority", &ssh);
    search.secret("the number of the X.509 authority", number_of(&der));
    search.key("the X.509 authority", &x509);
    assert_eq!(search.vaultctl(&vault, &["ca", "import", "users", "--engine", "ssh", "-"], ssh.as_bytes()), 0);
    let broken = ssh.replace("-----END", "-----ENDE");
    assert_ne!(search.vaultctl(&vault, &["ca", "import", "more", "--engine", "ssh", "-"], broken.as_bytes()), 0);
    let bundle = format!("{x509}{cert}");
    assert_eq!(search.vaultctl(&vault, &["ca", "import", "mesh", "--engine", "x509", "-"], bundle.as_bytes()), 0);
    let other = format!("{x509}{}", x509_root().1);
    assert_ne!(search.vaultctl(&vault, &["ca", "import", "more", "--engine", "x509", "-"], other.as_bytes()), 0);
    for arguments in [
        &["role", "create", "login", "--engine", "ssh", "--set", "ca=users", "--set", "principals=[\"deploy\"]"][..],
        &["role", "create", "mesh", "--engine", "x509", "--set", "ca=mesh", "--set", "trust_domain=example.org"],
    ] {
        assert_eq!(search.vaultctl(&vault, arguments, b""), 0, "{:?}", search.seen.last());
    }
    for name in ["orders", "quoting", "broken", "raising", "login", "mesh"] {
        search.vaultctl(&vault, &["grant", "kit", name, "--ttl", "15m", "--max-ttl", "1h"], b"");
    }

    // A wrong password, then the right one; statements that are refused.
    let agent = kit(&vault).await;
    let session = agent.session("work").unwrap();
    let ask = |role: &str| Ask::role(role.parse().unwrap());
    let mut faults = Vec::new();
    faults.push(session.request(&ask("orders")).await.map(drop).unwrap_err());
    assert_eq!(search.vaultctl(&vault, &put, CANARY.as_bytes()), 0);
    for (name, _) in REFUSED {
        faults.push(session.request(&ask(name)).await.map(drop).unwrap_err());
    }
    let mut given: Vec<Credential> = Vec::new();
    for name in ["orders", "orders", "login", "mesh"] {
        given.push(session.request(&ask(name)).await.unwrap());
    }
    session.renew(&given[0].hdr.lease, Seconds(1800)).await.unwrap();

    // Rotated while there is something to rotate, and while the server is away.
    assert_eq!(search.vaultctl(&vault, &["role", "rotate", "orders"], b""), 0, "{:?}", search.seen.last());
    given.push(session.request(&ask("orders")).await.unwrap());
    search.vaultctl(&vault, &["lease", "revoke", given[1].hdr.lease.as_str()], b"");
    server.stop();
    faults.push(session.request(&ask("orders")).await.map(drop).unwrap_err());
    search.vaultctl(&vault, &["lease", "revoke", given[0].hdr.lease.as_str()], b"");
    assert_ne!(search.vaultctl(&vault, &["role", "rotate", "orders"], b""), 0);
    assert_ne!(search.vaultctl(&vault, &["role", "check", "orders"], b""), 0);
    server.start_again().await;

    for credential in &given {
        search.seen.push(("what the agent prints".into(), format!("{credential:?} {credential:#?}").into_bytes()));
        for member in ["password", "url"] {
            credential.secret.expose(member).into_iter().for_each(|text| search.secret(member, text.as_bytes()));
        }
        let Some(key) = credential.secret.expose("private_key") else { continue };
        search.key("a minted key", key);
        if key.contains("OPENSSH") {
            search.secret("the seed of a minted key", &seed_of(key));
        }
    }
    let texts = faults.iter().map(|fault| format!("{fault} {fault:?} {fault:#?}")).collect::<String>();
    search.seen.push(("what went wrong".into(), texts.into_bytes()));
    for arguments in [
        &["status"][..],
        &["secret", "list", "--output", "json"],
        &["secret", "versions", "orders/admin", "--output", "json"],
        &["secret", "rollback", "orders/admin", "1"],
        &["role", "show", "orders", "--output", "json"],
        &["role", "check", "orders"],
        &["ca", "show", "users", "--engine", "ssh", "--output", "json"],
        &["ca", "show", "mesh", "--engine", "x509", "--output", "json"],
        &["lease", "list", "--output", "json"],
        &["lease", "list", "--stuck", "--output", "json"],
        &["lease", "show", given[0].hdr.lease.as_str(), "--output", "json"],
        &["audit", "export", "_operators"],
        &["audit", "export", "_vault"],
        &["audit", "export", "kit"],
        &["audit", "show", "kit"],
    ] {
        search.vaultctl(&vault, arguments, b"");
    }
    for path in ["/metrics", "/ssh/ca/users", "/ssh/krl/users", "/x509/ca/mesh", "/x509/crl/mesh"] {
        let answer = http(&vault, path);
        search.seen.push((path.into(), answer));
    }
    search.seen.extend(shown(vault.id()));
    files(vault.path(), &mut search.seen);
    vault.kill();
    files(vault.path(), &mut search.seen);

    // The rotated password is known to nobody; the store tells it to this test.
    let rotated = rotated(&vault).await;
    assert!(server.client(ADMIN, std::str::from_utf8(&rotated).unwrap()).await.is_ok(), "it is not the password");
    assert!(server.client(ADMIN, CANARY).await.is_err());
    search.secret("the rotated password", &rotated);
    let log = server.log();
    assert!(log.contains("CREATE ROLE") && log.contains("ALTER ROLE CURRENT_USER PASSWORD"), "it logs no statements");
    search.seen.push(("the server's log".into(), log.into_bytes()));
    let trace = std::fs::read_to_string(vault.log()).unwrap();
    assert!(trace.contains("tokio_postgres") && trace.contains("TRACE"), "nothing of the driver is logged");
    std::io::stderr().flush().unwrap();
    search.judge();
}

/// The newest password of the vault's own role, out of a store whose daemon is gone.
async fn rotated(vault: &Vault) -> Vec<u8> {
    let data = vault.path().join("vault/data");
    let secret = custody::file::read(&vault.path().join("vault/root.key"), &data).unwrap();
    let (custodians, aud, _) = Sqlite::custodians(&data).unwrap();
    let (_, root) = custody::open_any(&custodians, &aud, &secret).unwrap();
    let (store, _) = Sqlite::open(&data, &root, rules(), Arc::new(SystemClock), Arc::new(OsEntropy)).unwrap();
    let name = "orders/admin".parse().unwrap();
    let stored = store.secret_value(SecretUse::Backend, &name, None).await.unwrap().unwrap();
    assert_eq!(stored.version, 3);
    stored.value.expose().clone()
}
