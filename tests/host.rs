//! Promise: the daemon takes from itself what it does not need of its machine, and serves all the same. What it gave up is
//! tried from inside: in threads that stand behind the same walls, and in programs that they start.

#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "host/inside.rs"]
mod inside;
#[path = "host/modes.rs"]
mod modes;
mod programs;
#[path = "postgres/server.rs"]
mod server;

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use programs::{Vault, program, said};

/// How long something may take that is to happen soon.
const SOON: Duration = Duration::from_secs(30);

#[track_caller]
fn soon<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < SOON, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A line of the status of each thread of a process, without its name.
fn of_threads(id: u32, name: &str) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{id}/task")).unwrap();
    // A thread may end meanwhile.
    let states = threads.filter_map(|thread| fs::read_to_string(thread.unwrap().path().join("status")).ok());
    states.map(|state| value(&state, name)).collect()
}

fn value(state: &str, name: &str) -> String {
    let line = state.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {state}")).trim().to_owned()
}

/// A configuration with all that is carried outside, and no start without walls.
fn strict(config: String, keep: &Path, syslog: &Path, collector: u16) -> String {
    let more = format!(
        "places = [\"dir:{}\"]\n\n[host]\nlandlock = \"on\"\nseccomp = \"on\"\nseccomp_kills = true\n",
        keep.display()
    );
    let (before, _) = config.split_once("\n[host]").expect("the example says [host]");
    let before = before
        .replace("# syslog = \"unix:/dev/log\"", &format!("syslog = \"unix:{}\"", syslog.display()))
        .replace("# otlp = \"https://127.0.0.1:4317\"", &format!("otlp = \"http://127.0.0.1:{collector}\""))
        .replace("every_entries = 1000", "every_entries = 2");
    assert!(before.contains("\nsyslog = ") && before.contains("\notlp = "), "{before}");
    format!("{before}\n{more}")
}

/// What a session of kit's gets of a role, and gives back at once.
fn credential(vault: &Vault, role: &str) -> String {
    let get = ["get", role, "--agent", "kit", "--key", "kit.ed25519", "-o", "json"];
    said(program(env!("CARGO_BIN_EXE_vault-agent"), vault.path()).args(get)).ok()
}

#[test]
fn behind_its_walls_the_daemon_serves_everything() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(server::Server::start());
    let outside = tempfile::tempdir().unwrap();
    let keep = outside.path().join("keep");
    fs::create_dir(&keep).unwrap();
    let syslog = UnixDatagram::bind(outside.path().join("log")).unwrap();
    syslog.set_read_timeout(Some(SOON)).unwrap();
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = collector.local_addr().unwrap().port();
    let mut vault = Vault::start_with(|config| strict(config, &keep, &outside.path().join("log"), port));
    let walled = |vault: &Vault| {
        for (name, wanted) in [("Seccomp", "2"), ("NoNewPrivs", "1")] {
            let all = of_threads(vault.id(), name);
            assert!(all.len() > 2 && all.iter().all(|value| value == wanted), "{name}: {all:?}");
        }
        let limits = fs::read_to_string(format!("/proc/{}/limits", vault.id())).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().filter(|word| *word == "0").count(), 2, "{core}");
    };
    walled(&vault);

    vault.with_kit("hunter2");
    roles(&vault, &database);
    assert!(credential(&vault, "orders-read").contains("hunter2"));
    let login = credential(&vault, "orders-login");
    assert!(login.contains("postgresql://nv_kit_"), "{login}");
    assert!(credential(&vault, "login").contains("-cert-v01@openssh.com"));
    assert!(credential(&vault, "client").contains("BEGIN CERTIFICATE"));
    assert!(credential(&vault, "token").contains("eyJ"));
    vault.vaultctl(&["role", "rotate", "orders-login"]).ok();

    // What is carried outside arrives.
    soon("the mirror has no file", || fs::metadata(vault.path().join("vault/audit/kit.audit.jsonl")).ok());
    soon("no checkpoint is kept", || fs::read_dir(&keep).unwrap().next()).unwrap();
    let mut message = [0; 65536];
    let length = syslog.recv(&mut message).unwrap();
    assert!(String::from_utf8_lossy(&message[..length]).contains("vaultd"), "{:?}", &message[..length]);
    let mut preface = [0; 14];
    collector.accept().unwrap().0.read_exact(&mut preface).unwrap();
    assert_eq!(&preface, b"PRI * HTTP/2.0");

    // A certificate that was renewed by renaming, as ACME's clients do, goes into the next backup.
    let tls = vault.path().join("vault/tls");
    fs::copy(tls.join("server.pem"), tls.join("renewed")).unwrap();
    fs::rename(tls.join("renewed"), tls.join("server.pem")).unwrap();
    vault.vaultctl(&["backup", "--file", "backup"]).ok();
    assert!(fs::metadata(vault.path().join("backup")).unwrap().len() > 1000);

    vault.restart();
    walled(&vault);
    assert!(credential(&vault, "orders-read").contains("hunter2"));
    let log = fs::read_to_string(vault.log()).unwrap();
    assert!(log.contains("walls") && log.contains("files=enforced"), "{log}");
    assert!(!log.contains("denied") && !log.contains("not permitted"), "{log}");
}

/// A role of each engine beside `orders-read`, granted to kit.
fn roles(vault: &Vault, database: &server::Server) {
    let role = format!(
        "host = \"localhost\"\nport = {}\ndatabase = \"orders\"\nuser = \"{}\"\npassword = \"orders/admin\"\n\
         grants = [\"orders_read\"]\nca = \"\"\"\n{}\"\"\"\n",
        database.port(),
        server::ADMIN,
        database.ca_pem()
    );
    fs::write(vault.path().join("role.toml"), role).unwrap();
    let put = ["secret", "put", "orders/admin", "-", "--use", "backend"];
    vault.vaultctl_fed(&put, database.admin_password().as_bytes()).ok();
    vault.vaultctl(&["role", "create", "orders-login", "--engine", "postgres", "--config", "role.toml"]).ok();
    vault.vaultctl(&["ca", "create", "users", "--engine", "ssh"]).ok();
    vault.vaultctl(&["ca", "create", "agents", "--engine", "x509", "--set", "subject.common_name=\"Agents\""]).ok();
    for (name, engine, file) in
        [("login", "ssh", "ssh-deploy"), ("client", "x509", "x509-client"), ("token", "jwt", "jwt-api")]
    {
        let file = format!("{}/deploy/roles/{file}.toml", env!("CARGO_MANIFEST_DIR"));
        vault.vaultctl(&["role", "create", name, "--engine", engine, "--config", &file]).ok();
    }
    for role in ["orders-login", "login", "client", "token"] {
        vault.vaultctl(&["grant", "kit", role, "--ttl", "15m"]).ok();
    }
}

#[test]
fn walls_come_off_by_a_setting_and_the_log_says_which_stand() {
    let off = "[host]\nmlock = \"off\"\nlandlock = \"off\"\nseccomp = \"off\"\n";
    let vault = Vault::start_with(|config| format!("{}\n{off}", config.split_once("\n[host]").unwrap().0));
    assert!(of_threads(vault.id(), "Seccomp").iter().all(|value| value == "0"));
    assert!(of_threads(vault.id(), "NoNewPrivs").iter().all(|value| value == "0"));
    let log = fs::read_to_string(vault.log()).unwrap();
    assert!(log.contains("memory=off") && log.contains("files=off calls=off"), "{log}");
}

/// `vaultd` where it may lock no more than 8 MiB.
fn limited(vault: &Vault, mlock: &str) -> Command {
    let config = vault.path().join("vault/vaultd.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("mlock = \"auto\"", &format!("mlock = \"{mlock}\""))).unwrap();
    let mut command = program("prlimit", vault.path());
    command.arg("--memlock=8388608:8388608");
    if rustix::process::geteuid().is_root() {
        command.args(["setpriv", "--bounding-set", "-ipc_lock"]);
    }
    command.arg(env!("CARGO_BIN_EXE_vaultd")).args(["--config", "vault/vaultd.toml"]);
    command
}

#[test]
fn memory_that_may_not_be_locked_is_spoken_of_or_refused() {
    let mut vault = Vault::start();
    let state = fs::read_to_string(format!("/proc/{}/status", vault.id())).unwrap();
    let log = fs::read_to_string(vault.log()).unwrap();
    let locked = value(&state, "VmLck") != "0 kB";
    assert_eq!(locked, log.contains("memory=locked"), "{log}");
    assert_ne!(locked, log.contains("LimitMEMLOCK=infinity"), "{log}");
    vault.kill();

    let refused = said(&mut limited(&vault, "on")).fails(2);
    assert!(refused.contains("[host] mlock = \"on\"") && refused.contains("LimitMEMLOCK=infinity"), "{refused}");
}

/// What the daemon tells its supervisor, until a message has this in it.
fn told(supervisor: &UnixDatagram, wanted: &str) -> String {
    let mut message = [0; 4096];
    loop {
        let length = supervisor.recv(&mut message).unwrap_or_else(|error| panic!("no {wanted}: {error}"));
        let text = String::from_utf8_lossy(&message[..length]).into_owned();
        if text.contains(wanted) {
            return text;
        }
    }
}

#[test]
fn a_supervisor_hears_that_the_daemon_is_ready_lives_and_stops() {
    let mut vault = Vault::start();
    vault.kill();
    let socket = vault.path().join("notify");
    let supervisor = UnixDatagram::bind(&socket).unwrap();
    supervisor.set_read_timeout(Some(SOON)).unwrap();
    vault.go_on_with(&[("NOTIFY_SOCKET", socket.to_str().unwrap()), ("WATCHDOG_USEC", "400000")]);
    let ready = told(&supervisor, "READY=1");
    assert!(ready.contains("STATUS=ready agents="), "{ready}");
    for _ in 0..3 {
        told(&supervisor, "WATCHDOG=1");
    }
    vault.restart();
    told(&supervisor, "STOPPING=1");
}
