//! A real PostgreSQL for one test: started in a temporary folder on a free port of 127.0.0.1 and on a unix socket, with
//! TLS, and stopped when it is dropped. It also ends when the test's process dies in any other way, since a shell that
//! reads from a pipe of that process ends it then. It syncs nothing to disk.
//!
//! It holds a database `orders` with the tables `public.item`, which the role `orders_read` may read, and
//! `public.salary`, which it may not; an empty database `stock`; and the vault's own role `vault_admin`, which is no
//! superuser. Its binaries are PostgreSQL's own, from the `PATH` or where Debian puts them, or in the folder that
//! `NOCKVAULT_TEST_POSTGRES` names.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

/// The vault's own role.
pub const ADMIN: &str = "vault_admin";
/// The server's superuser.
const SUPERUSER: &str = "postgres";
/// Its password; the server listens to this machine alone.
const SUPERUSER_PASSWORD: &str = "only-for-this-test";
const ADMIN_PASSWORD: &str = "the vault's own, v1";

const FURNISHING: &str = "
    CREATE ROLE vault_admin LOGIN CREATEROLE PASSWORD 'the vault''s own, v1';
    GRANT pg_signal_backend TO vault_admin;
    CREATE ROLE orders_read;
    CREATE ROLE orders_maker;
    GRANT orders_read, orders_maker TO vault_admin WITH ADMIN OPTION;
    CREATE TABLE public.item (name text);
    INSERT INTO public.item VALUES ('lamp'), ('chair');
    CREATE TABLE public.salary (amount int);
    GRANT SELECT ON public.item TO orders_read;
    GRANT CREATE, USAGE ON SCHEMA public TO orders_maker, vault_admin;
    GRANT CREATE ON DATABASE orders TO orders_maker, vault_admin;";

/// A running server.
pub struct Server {
    folder: tempfile::TempDir,
    port: u16,
    ca_pem: String,
    running: Option<Child>,
}

impl Server {
    /// A new one, furnished.
    pub async fn start() -> Server {
        let template = template();
        let folder = tempfile::Builder::new().prefix("nv-pg-").tempdir().unwrap();
        run(Command::new("cp").arg("-a").arg(&template).arg(folder.path().join("data")));
        let ca_pem = certificates(&folder.path().join("data"));
        give_away(folder.path());
        let mut server = Server { folder, port: 0, ca_pem, running: None };
        for _ in 0..5 {
            server.port = free_port();
            if server.run().await.is_ok() {
                server.furnish().await;
                return server;
            }
        }
        panic!("PostgreSQL does not start:\n{}", server.log());
    }

    async fn furnish(&self) {
        self.sql("CREATE DATABASE orders").await;
        self.sql("CREATE DATABASE stock").await;
        self.sql_in("orders", FURNISHING).await;
    }

    async fn run(&mut self) -> Result<(), String> {
        let (data, logged) = (self.folder.path().join("data"), self.log().len());
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let (log, errors) = (log.try_clone().unwrap(), log);
        let mut command = Command::new("sh");
        command.args(["-c", WATCH]).arg(self.folder.path());
        command.args(as_its_user()).arg(binary("postgres")).arg("-D").arg(&data);
        command.arg("-p").arg(self.port.to_string()).arg("-k").arg(self.socket_dir());
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command.current_dir("/").stdin(Stdio::piped()).stdout(log).stderr(errors);
        self.running = Some(command.spawn().unwrap());
        for _ in 0..600 {
            if self.try_client("postgres", SUPERUSER, SUPERUSER_PASSWORD).await.is_ok() {
                return Ok(());
            }
            if self.log()[logged..].contains("could not create any TCP/IP sockets") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        self.end("QUIT");
        Err(self.log())
    }

    /// Stops it: sessions are ended and nothing is lost.
    pub fn stop(&mut self) {
        self.end("INT");
    }

    /// Starts it again, where it was.
    pub async fn start_again(&mut self) {
        self.end("INT");
        let mut started = self.run().await;
        for _ in 0..5 {
            // Somebody else may have had the port for a moment.
            if started.is_err() {
                tokio::time::sleep(Duration::from_millis(200)).await;
                started = self.run().await;
            }
        }
        started.unwrap();
    }

    /// Puts a line before all others that say who comes in, and how.
    pub async fn lets_in(&self, line: &str) {
        let file = self.folder.path().join("data/pg_hba.conf");
        let others = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{line}\n{others}")).unwrap();
        self.sql("SELECT pg_reload_conf()").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }

    /// Sends the signal and waits for the end.
    fn end(&mut self, signal: &str) {
        if let Some(mut running) = self.running.take() {
            let _ = writeln!(running.stdin.take().unwrap(), "{signal}");
            let _ = running.wait();
        }
    }

    /// Where it listens on 127.0.0.1, which the certificate also calls localhost.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of its unix socket.
    pub fn socket_dir(&self) -> &Path {
        self.folder.path()
    }

    /// The first password of [`ADMIN`].
    pub fn admin_password(&self) -> &'static str {
        ADMIN_PASSWORD
    }

    /// The password of its superuser `postgres`.
    pub fn root_password(&self) -> &'static str {
        SUPERUSER_PASSWORD
    }

    /// The authority of its certificate.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Runs statements as the superuser in `postgres`.
    pub async fn sql(&self, statements: &str) -> Vec<Vec<String>> {
        self.sql_in("postgres", statements).await
    }

    /// Runs statements as the superuser in this database. Gives all rows as text; a null is empty.
    pub async fn sql_in(&self, database: &str, statements: &str) -> Vec<Vec<String>> {
        let client = self.try_client(database, SUPERUSER, SUPERUSER_PASSWORD).await.unwrap();
        let answers = client.simple_query(statements).await.unwrap_or_else(|why| panic!("{statements}: {why:?}"));
        let text = |row: &tokio_postgres::SimpleQueryRow| {
            (0..row.len()).map(|column| row.get(column).unwrap_or_default().to_owned()).collect()
        };
        let rows = answers.iter().filter_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => Some(text(row)),
            _ => None,
        });
        rows.collect()
    }

    /// A login to `orders` over TLS with the certificate checked.
    pub async fn client(&self, user: &str, password: &str) -> Result<Client, tokio_postgres::Error> {
        self.client_in("orders", user, password).await
    }

    /// The same, to another database.
    pub async fn client_in(&self, database: &str, user: &str, password: &str) -> Result<Client, tokio_postgres::Error> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca_pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let tls = MakeRustlsConnect::new(tls.with_root_certificates(roots).with_no_client_auth());
        let mut config = tokio_postgres::Config::new();
        config.host("localhost").hostaddr([127, 0, 0, 1].into()).port(self.port);
        config.ssl_mode(tokio_postgres::config::SslMode::Require);
        let (client, connection) = config.user(user).password(password).dbname(database).connect(tls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// A login over the unix socket.
    async fn try_client(&self, database: &str, user: &str, password: &str) -> Result<Client, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config.host_path(self.socket_dir()).port(self.port).user(user).password(password).dbname(database);
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end("QUIT");
    }
}

/// Runs a command until a line comes, and sends it the signal of that line. Where the pipe closes without one, the test
/// died: the command is ended, and its folder goes too.
const WATCH: &str = r#""$@" </dev/null & server=$!; read -r signal; kill -"${signal:-QUIT}" $server; wait $server
    [ -n "$signal" ] || rm -rf "$0""#;

const SETTINGS: &[&str] = &[
    "listen_addresses=127.0.0.1",
    "ssl=on",
    "ssl_cert_file=server.crt",
    "ssl_key_file=server.key",
    "fsync=off",
    "full_page_writes=off",
    "shared_buffers=16MB",
    "max_connections=60",
    "max_prepared_transactions=8",
    "log_statement=all",
    "log_connections=on",
    "autovacuum=off",
    "logging_collector=off",
];

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// Where a binary of the server stands.
fn binary(name: &str) -> PathBuf {
    if let Some(folder) = std::env::var_os("NOCKVAULT_TEST_POSTGRES") {
        return Path::new(&folder).join(name);
    }
    let mut folders: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.filter_map(|version| Some(version.ok()?.path().join("bin"))).collect())
        .unwrap_or_default();
    folders.sort();
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let found = folders.into_iter().map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("there is no {name}; install PostgreSQL's server (.ci/deps does)"))
}

/// The user that the server runs as where the test is root, which the server refuses to be.
fn its_user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let number = |flag: &str, user: &str| {
        let said = Command::new("id").args([flag, user]).output().ok()?;
        String::from_utf8(said.stdout).ok()?.trim().parse::<u32>().ok()
    };
    ["postgres", "nobody"].iter().find_map(|user| Some((number("-u", user)?, number("-g", user)?)))
}

/// What comes before a command so that it runs as that user.
fn as_its_user() -> Vec<String> {
    its_user().map_or_else(Vec::new, |(user, group)| {
        vec!["setpriv".into(), format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".into()]
    })
}

/// Gives a folder and all in it to that user.
fn give_away(folder: &Path) {
    if let Some((user, group)) = its_user() {
        run(Command::new("chown").arg("-R").arg(format!("{user}:{group}")).arg(folder));
    }
}

fn run(command: &mut Command) {
    let said = command.current_dir("/").stdin(Stdio::null()).output().unwrap();
    let heard = [said.stdout, said.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(said.status.success(), "{command:?}: {heard}");
}

/// A data directory that was never run, made once for each version and copied for each server.
fn template() -> PathBuf {
    let said = Command::new(binary("postgres")).arg("--version").output().unwrap();
    let version: String = String::from_utf8(said.stdout).unwrap().chars().filter(char::is_ascii_alphanumeric).collect();
    let ready = Path::new(env!("CARGO_TARGET_TMPDIR")).join(version);
    if ready.is_dir() {
        return ready;
    }
    let folder = tempfile::Builder::new().prefix("nv-initdb-").tempdir().unwrap();
    fs::write(folder.path().join("password"), SUPERUSER_PASSWORD).unwrap();
    give_away(folder.path());
    let mut words = as_its_user();
    words.push(binary("initdb").to_str().unwrap().to_owned());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(["--no-sync", "--wal-segsize=1", "--locale=C", "--encoding=UTF8"]);
    command.args(["-A", "scram-sha-256", "-U", SUPERUSER]);
    command.arg("--pwfile").arg(folder.path().join("password")).arg("-D").arg(folder.path().join("data"));
    run(&mut command);
    // Copied beside its place and moved there at once: two tests may do this at the same time.
    let beside = tempfile::Builder::new().prefix("initdb-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    run(Command::new("cp").arg("-a").arg(folder.path().join("data")).arg(beside.path()));
    let _ = fs::rename(beside.path().join("data"), &ready);
    assert!(ready.is_dir(), "{} was not made", ready.display());
    ready
}

/// Puts a fresh certificate for localhost and its key into the data directory. Gives the authority's, PEM.
fn certificates(data: &Path) -> String {
    let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(rcgen::DnType::CommonName, "authority of a test");
    let ca_pem = authority.self_signed(&ca_key).unwrap().pem();
    let server = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
    let signed = server.signed_by(&key, &Issuer::new(authority, &ca_key)).unwrap();
    fs::write(data.join("server.crt"), signed.pem()).unwrap();
    fs::write(data.join("server.key"), key.serialize_pem()).unwrap();
    fs::set_permissions(data.join("server.key"), fs::Permissions::from_mode(0o600)).unwrap();
    ca_pem
}
