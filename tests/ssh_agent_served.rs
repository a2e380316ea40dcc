//! The ssh-agent that serves what the vault issues, with OpenSSH's own programs: `ssh` to a real sshd, `ssh-add`,
//! `ssh-keygen`; and with clients that nobody would want.

#![cfg(all(feature = "daemon", feature = "launcher"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[path = "ssh_agent/held.rs"]
mod held;
mod programs;
#[path = "ssh/server.rs"]
mod server;

use held::{Held, ssh_add};
use nockvault::client::keyfile::{Places, find_agent};
use nockvault::client::{Surroundings, place};
use nockvault::launcher::sshagent::{Serving, serve};
use nockvault::launcher::wallet::{Owner, Silent, Wallet};
use nockvault::launcher::want::{Roles, Want};
use programs::{Vault, program};
use server::{Sshd, user};
use tempfile::TempDir;

/// A vault with an authority, a host that trusts it, and an agent `kit` with a wallet.
struct Bench {
    vault: Vault,
    host: Sshd,
    wallet: Wallet,
    folder: TempDir,
    said: Arc<Mutex<Vec<String>>>,
}

impl Bench {
    /// With these roles, each with more of its configuration, granted for this long.
    fn with(roles: &[(&str, &[&str])], ttl: &str) -> Bench {
        let vault = Vault::start();
        vault.vaultctl(&["keygen", "--agent", "kit"]).ok();
        vault.vaultctl(&["agent", "register", "kit.register"]).ok();
        vault.vaultctl(&["ca", "create", "users", "--engine", "ssh"]).ok();
        let principals = format!("principals=[\"{}\"]", user());
        for (role, more) in roles {
            let mut create = vec!["role", "create", role, "--engine", "ssh", "--set", "ca=users", "--set", &principals];
            create.extend(more.iter().flat_map(|one| ["--set", *one]));
            vault.vaultctl(&create).ok();
            vault.vaultctl(&["grant", "kit", role, "--ttl", ttl]).ok();
        }
        let line = vault.vaultctl(&["ca", "show", "users", "--engine", "ssh", "--field", "public_key"]).ok();
        let host = Sshd::start(&line);
        let places = Places { file: Some(vault.path().join("kit.ed25519")), dirs: Vec::new() };
        let owner = Owner {
            card: place::card(Some(&vault.card())).unwrap(),
            identity: find_agent(&"kit".parse().unwrap(), &places, &|_| None).unwrap(),
            around: Surroundings::default(),
            label: "ssh".into(),
            roles: Roles::Any,
            reporter: Arc::new(Silent),
            orphans: None,
        };
        let folder = tempfile::Builder::new().prefix("served").tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        Bench { vault, host, wallet: Wallet::new(owner), folder, said: Arc::default() }
    }

    fn serve(&self, roles: &[&str]) -> Serving {
        let said = self.said.clone();
        let words = Arc::new(move |words: &str| said.lock().unwrap().push(words.to_owned()));
        let wants = roles.iter().map(|role| want(role)).collect();
        serve(self.wallet.clone(), wants, self.folder.path(), None, words).unwrap()
    }

    fn words(&self) -> String {
        self.said.lock().unwrap().join("\n")
    }

    /// Logs in with what the agent has, and runs this.
    async fn login(&self, serving: &Serving, options: &[&str], command: &str) -> Output {
        let mut ssh = self.host.agent_client(serving.path());
        ssh.args(options).arg(format!("{}@127.0.0.1", user())).arg(command);
        output(ssh).await
    }

    #[track_caller]
    fn is_in(&self, login: &Output) {
        assert_eq!(out(login), "in", "{}{}{}", err(login), self.words(), self.host.log());
    }

    /// The serial numbers by which the host let in, in order.
    fn serials(&self) -> Vec<String> {
        let log = self.host.log();
        let accepted = log.lines().filter(|line| line.contains("Accepted publickey"));
        accepted.map(|line| line.split("(serial ").nth(1).unwrap().split(')').next().unwrap().to_owned()).collect()
    }
}

fn want(role: &str) -> Want {
    Want::role(role.parse().unwrap())
}

/// Runs a program while the agent goes on serving.
async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn out(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap().trim()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn added(serving: &Serving, options: &[&str]) -> Output {
    let mut command = ssh_add(serving.path());
    command.args(options);
    output(command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_logs_in_by_what_the_vault_issues_and_goes_on_when_it_is_replaced() {
    let bench = Bench::with(&[("made", &[]), ("brought", &["key=brought"])], "10m");
    let serving = bench.serve(&["made", "brought"]);
    let shown = added(&serving, &["-l"]).await;
    assert_eq!(out(&shown).matches("(ED25519-CERT)").count(), 2, "{}{}{}", out(&shown), err(&shown), bench.words());
    let lines = added(&serving, &["-L"]).await;
    for (line, role) in out(&lines).lines().zip(["made", "brought"]) {
        assert!(
            line.starts_with("ssh-ed25519-cert-v01@openssh.com ") && line.contains(&format!(" {role} nv_kit_")),
            "{line}"
        );
    }
    bench.is_in(&bench.login(&serving, &[], "echo in").await);
    bench.is_in(&bench.login(&serving, &[], "echo in").await);
    // Another certificate in its place: the next login is by that one, and the one before is not needed.
    let before = bench.wallet.hold(&want("made")).await.unwrap();
    bench.wallet.fresh(&want("made")).await.unwrap();
    bench.vault.vaultctl(&["lease", "revoke", before.lease().as_str()]).ok();
    bench.is_in(&bench.login(&serving, &[], "echo in").await);
    let serials = bench.serials();
    assert_eq!(serials.len(), 3);
    assert!(serials[0] == serials[1] && serials[1] != serials[2], "{serials:?}");
    // By the key that is made here, where the role wants one brought.
    let other = Serving::path(&serving).to_owned();
    drop(serving);
    assert!(!other.exists(), "the socket goes with its agent");
    let alone = bench.serve(&["brought"]);
    bench.is_in(&bench.login(&alone, &[], "echo in").await);
    assert_eq!(bench.words(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_always_a_live_one() {
    let bench = Bench::with(&[("hosts", &[])], "4s");
    let serving = bench.serve(&["hosts"]);
    bench.is_in(&bench.login(&serving, &[], "echo in").await);
    tokio::time::sleep(Duration::from_millis(4500)).await;
    bench.is_in(&bench.login(&serving, &[], "echo in").await);
    let serials = bench.serials();
    assert_ne!(serials[0], serials[1]);
    // The vault is away: what is there serves while it lasts, and then nothing does, in words.
    let mut bench = bench;
    bench.vault.kill();
    tokio::time::sleep(Duration::from_millis(4500)).await;
    let login = bench.login(&serving, &[], "echo in").await;
    assert!(!login.status.success());
    assert!(bench.words().contains("no certificate for ssh, hosts: "), "{}", bench.words());
    bench.vault.go_on();
    bench.is_in(&bench.login(&serving, &[], "echo in").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_gives_nothing_does_not_hide_the_others() {
    let bench = Bench::with(&[("hosts", &[])], "10m");
    bench.vault.vaultctl_fed(&["secret", "put", "plain", "-"], b"x").ok();
    bench.vault.vaultctl(&["role", "create", "plain", "--engine", "kv", "--set", "secret=plain"]).ok();
    bench.vault.vaultctl(&["grant", "kit", "plain", "--ttl", "10m"]).ok();
    let serving = bench.serve(&["denied", "plain", "hosts"]);
    bench.is_in(&bench.login(&serving, &[], "echo in").await);
    let words = bench.words();
    assert!(words.contains("denied: refused: ") && words.contains("plain: it gives no SSH certificate"), "{words}");
    drop(serving);
    let none = bench.serve(&["denied"]);
    let shown = added(&none, &["-l"]).await;
    assert!(!shown.status.success() && err(&shown).contains("refused"), "{}", err(&shown));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_signs_logins_and_nothing_else_and_takes_nothing_in() {
    let bench = Bench::with(&[("hosts", &[])], "10m");
    let serving = bench.serve(&["hosts"]);
    let path = bench.folder.path().join("file");
    std::fs::write(&path, "x").unwrap();
    let certificate = bench.folder.path().join("hosts.pub");
    std::fs::write(&certificate, added(&serving, &["-L"]).await.stdout).unwrap();
    let mut sign = Command::new("ssh-keygen");
    sign.args(["-Y", "sign", "-n", "git", "-f"]).arg(&certificate).arg(&path).env("SSH_AUTH_SOCK", serving.path());
    let signed = output(sign).await;
    assert!(!signed.status.success() && err(&signed).contains("agent refused"), "{}", err(&signed));

    let own = bench.folder.path().join("own");
    server::keygen(&["-q", "-t", "ed25519", "-N", "", "-f", own.to_str().unwrap()]);
    for options in [&[own.to_str().unwrap()][..], &["-D"], &["-d", certificate.to_str().unwrap()]] {
        let said = added(&serving, options).await;
        assert!(!said.status.success(), "{options:?}: {}", err(&said));
    }
    let shown = added(&serving, &["-l"]).await;
    assert_eq!(out(&shown).lines().count(), 1);
    bench.is_in(&bench.login(&serving, &[], "echo in").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_to_which_it_is_forwarded_logs_in_nowhere() {
    let bench = Bench::with(&[("hosts", &["extensions=[\"permit-agent-forwarding\"]"])], "10m");
    let serving = bench.serve(&["hosts"]);
    // From the host, by what is forwarded, to the same host again.
    let mut on = bench.host.agent_client(Path::new("AGENT"));
    on.arg(format!("{}@127.0.0.1", user())).arg("echo in");
    let words: Vec<String> = on.get_args().map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    let on = format!("ssh {}", words.join(" ")).replace("IdentityAgent=AGENT", "IdentityAgent=SSH_AUTH_SOCK");
    let hop = bench.login(&serving, &["-A"], &format!("ssh-add -l >&2; {on}; echo $?")).await;
    assert_eq!(out(&hop), "255", "{}", err(&hop));
    assert!(err(&hop).contains("ED25519-CERT"), "it was forwarded: {}", err(&hop));
    assert_eq!(bench.serials().len(), 1);
}

/// As people type it: the agent's key is in an ssh-agent, the certificate in the launcher's, and no key in any file.
#[tokio::test(flavor = "multi_thread")]
async fn exec_logs_in_with_ssh_and_the_childs_ssh_agent_goes_with_it() {
    let bench = Bench::with(&[("hosts", &[])], "10m");
    let held = Held::start(None);
    held.add("ed25519", "ada", &[]);
    let mut keygen = program(env!("CARGO_BIN_EXE_vaultctl"), bench.vault.path());
    keygen.args(["keygen", "--agent", "ada", "--from-ssh-agent"]).env("SSH_AUTH_SOCK", held.socket());
    programs::said(&mut keygen).ok();
    bench.vault.vaultctl(&["agent", "register", "ada.register"]).ok();
    bench.vault.vaultctl(&["grant", "ada", "hosts", "--ttl", "10m"]).ok();

    let mut ssh = bench.host.agent_client(Path::new("SSH_AUTH_SOCK"));
    ssh.arg(format!("{}@127.0.0.1", user())).arg("echo in");
    let mut exec = program(env!("CARGO_BIN_EXE_vault-agent"), bench.vault.path());
    exec.env("SSH_AUTH_SOCK", held.socket()).args(["exec", "--agent", "ada", "--ssh", "hosts", "--", "sh", "-c"]);
    exec.arg("echo $SSH_AUTH_SOCK >&2; exec \"$@\"").arg("sh").arg(ssh.get_program()).args(ssh.get_args());
    let login = output(exec).await;
    bench.is_in(&login);
    let socket = err(&login).lines().find(|line| line.ends_with("/ssh-agent")).unwrap().to_owned();
    assert!(!Path::new(&socket).exists() && socket != held.socket().to_str().unwrap(), "{socket}");
    let leases = bench.vault.vaultctl(&["lease", "list", "--agent", "ada", "-o", "jsonl"]).ok();
    assert!(!leases.contains("\"live\""), "{leases}");
}

/// What comes back for these bytes: the type of the answer, or nothing where it hangs up.
fn answer(stream: &mut UnixStream, bytes: &[u8]) -> Option<u8> {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(bytes).ok()?;
    let mut head = [0; 5];
    stream.read_exact(&mut head).ok()?;
    let rest = u32::from_be_bytes(head[..4].try_into().unwrap()) - 1;
    stream.read_exact(&mut vec![0; usize::try_from(rest).unwrap()]).ok()?;
    Some(head[4])
}

fn message(kind: u8, contents: &[&[u8]]) -> Vec<u8> {
    let body = [&[kind], contents.concat().as_slice()].concat();
    [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_clients_get_nothing_and_stop_nobody() {
    let bench = Bench::with(&[("hosts", &[])], "10m");
    let serving = bench.serve(&["hosts"]);
    let line = added(&serving, &["-L"]).await;
    let certificate = ssh_key::Certificate::from_openssh(out(&line)).unwrap().to_bytes().unwrap();
    let path = serving.path().to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        let connect = || UnixStream::connect(&path).unwrap();
        for huge in [&b"\xff\xff\xff\xff\x0b"[..], b"\0\x01\0\x01\x0b", b"\0\0\0\0"] {
            assert_eq!(answer(&mut connect(), huge), None, "{huge:?}");
        }
        let login = |key: &[u8]| {
            let parts = [&string(b"session")[..], &[50], &string(b"kit"), &string(b"ssh-connection")].concat();
            let more = [&string(b"publickey")[..], &[1], &string(b"ssh-ed25519-cert-v01@openssh.com"), &string(key)];
            [parts, more.concat()].concat()
        };
        let sign = |key: &[u8], data: &[u8], flags: &[u8]| message(13, &[&string(key), &string(data), flags]);
        let mut one = connect();
        let good = login(&certificate);
        assert_eq!(
            answer(&mut one, &sign(&certificate, &good, &[0; 4])),
            Some(14),
            "so that the others fail by one thing"
        );
        let mut other = certificate.clone();
        *other.last_mut().unwrap() ^= 1;
        for (what, bad) in [
            ("another certificate", sign(&other, &login(&other), &[0; 4])),
            ("one certificate in the name of another", sign(&certificate, &login(&other), &[0; 4])),
            ("flags", sign(&certificate, &good, &[0, 0, 0, 2])),
            ("bytes behind", sign(&certificate, &good, &[0; 5])),
            ("no flags", sign(&certificate, &good, &[])),
            ("any data", sign(&certificate, b"any data", &[0; 4])),
            ("a list with contents", message(11, &[b"x"])),
            ("an extension", message(27, &[&string(b"query")])),
            ("a removal", message(19, &[])),
            ("a lock", message(22, &[&string(b"x")])),
            ("a type of nobody's", message(255, &[])),
        ] {
            assert_eq!(answer(&mut one, &bad), Some(5), "{what}");
        }
        assert_eq!(answer(&mut one, &message(11, &[])), Some(12), "a no does not end a connection");
        // More than there is room for, each in the middle of a message.
        let held: Vec<UnixStream> = (0..80)
            .map(|_| {
                let mut stream = connect();
                let _ = stream.write_all(b"\0\0\0\x05\x0b");
                stream
            })
            .collect();
        drop(one);
        held
    });
    let held = asked.await.unwrap();
    // They are hung up when a message takes too long, and then there is room again.
    tokio::time::sleep(Duration::from_secs(11)).await;
    bench.is_in(&bench.login(&serving, &[], "echo in").await);
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_is_one_users_and_lies_in_a_private_folder() {
    let bench = Bench::with(&[("hosts", &[])], "10m");
    let words: nockvault::launcher::sshagent::Words = Arc::new(|_: &str| {});
    let try_in = |dir: &Path, want: Want| {
        serve(bench.wallet.clone(), vec![want], dir, None, words.clone()).map_err(|why| why.to_string())
    };
    let open = bench.folder.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(try_in(&open, want("hosts")).unwrap_err().contains("no private folder"));
    let long = bench.folder.path().join("x".repeat(100));
    std::fs::create_dir(&long).unwrap();
    std::fs::set_permissions(&long, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert!(try_in(&long, want("hosts")).unwrap_err().contains("107 bytes"));
    let mut with_key = want("hosts");
    with_key.params.insert("public_key".into(), "ssh-ed25519 AAAA".into());
    assert!(try_in(bench.folder.path(), with_key).unwrap_err().contains("leave public_key out"));

    let serving = bench.serve(&["hosts"]);
    let mode = std::fs::metadata(serving.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(try_in(bench.folder.path(), want("hosts")).unwrap_err().contains("in use"), "one socket a folder");
    if user() != "root" {
        return;
    }
    // Whoever comes by the socket all the same is looked at. Only root can be somebody else here.
    for place in [bench.folder.path(), serving.path()] {
        std::fs::set_permissions(place, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let mut stranger = ssh_add(serving.path());
    std::os::unix::process::CommandExt::uid(stranger.arg("-l"), 65_534);
    let shown = output(stranger).await;
    assert!(!shown.status.success() && !out(&shown).contains("CERT"), "{}", out(&shown));
    assert!(out(&added(&serving, &["-l"]).await).contains("CERT"));
}
