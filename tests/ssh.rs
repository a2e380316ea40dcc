//! SSH certificates against the real sshd and ssh-keygen: what is minted lets in whom it should, as whom it should, for
//! as long as it should, and what does not fit is refused before anything is signed.

#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nockvault::authn::bind;
use nockvault::authz::{Asked, Peer, Permit, permit};
use nockvault::crypto::hash::Digest;
use nockvault::crypto::hpke::{SUITE, SealSecretKey};
use nockvault::denial::{Denial, Reason};
use nockvault::engine::ca::{CertificateAuthority, Document, Ended};
use nockvault::engine::ssh::{BACKDATED, Ssh, serial};
use nockvault::engine::{Engine, Mint, Stored, StoredValues};
use nockvault::entropy::{Entropy, OsEntropy};
use nockvault::grant::{Grant, Role, Uses};
use nockvault::id::{LeaseId, SecretName, handle};
use nockvault::secret::SecretBytes;
use nockvault::statement::grant::Terms;
use nockvault::statement::secret::SecretUse;
use nockvault::statement::session::Seal;
use nockvault::time::{Clock as _, Seconds, SystemClock, Timestamp};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

#[path = "ssh/server.rs"]
mod server;

use server::{Sshd, keygen, text, user, write_private};

const LIFE: Seconds = Seconds(900);

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// An engine, one authority named `hosts-ca`, and a folder for what is minted.
struct Bench {
    engine: Ssh,
    authority: SecretBytes,
    folder: TempDir,
}

#[async_trait]
impl StoredValues for Bench {
    async fn stored_value(
        &self,
        used: SecretUse,
        name: &SecretName,
        version: Option<u64>,
    ) -> Result<Option<Stored>, Denial> {
        let there = used == SecretUse::Ca && name.as_str() == "hosts-ca" && version.is_none();
        let value = || SecretBytes::from(self.authority.expose().clone());
        Ok(there.then(|| Stored { version: 1, expires: None, value: value() }))
    }
}

/// What was minted, as files.
struct Login {
    told: Value,
    ended: Ended,
    key: PathBuf,
    certificate: PathBuf,
}

impl Login {
    fn shown(&self) -> String {
        keygen(&["-L", "-f", text(&self.certificate)])
    }
}

impl Bench {
    fn new() -> Bench {
        let engine = Ssh::new(Arc::new(OsEntropy));
        let authority = engine.make(&object(json!({ "comment": "hosts" })), Timestamp(0), &OsEntropy).unwrap();
        Bench { engine, authority, folder: tempfile::tempdir().unwrap() }
    }

    fn line(&self) -> String {
        let published = self.engine.publish(&self.authority, Document::Authority, &[], Timestamp(0)).unwrap();
        assert_eq!(published.media_type, "text/plain");
        String::from_utf8(published.bytes).unwrap()
    }

    fn revoked(&self, ended: &[Ended]) -> Vec<u8> {
        self.engine.publish(&self.authority, Document::Revoked, ended, SystemClock.now()).unwrap().bytes
    }

    /// Makes a key as a session would; gives its path and public line.
    fn own_key(&self, name: &str) -> (PathBuf, String) {
        let path = self.folder.path().join(name);
        keygen(&["-q", "-t", "ed25519", "-N", "", "-C", "a comment", "-f", text(&path)]);
        let line = std::fs::read_to_string(path.with_extension("pub")).unwrap();
        (path, line.trim_end().to_owned())
    }

    /// A certificate over a key made by the engine.
    fn login(&self, config: Value, params: Value, life: Seconds) -> Login {
        let permit = leave(config, life);
        let handle = handle(permit.agent(), permit.lease());
        let told = minted(self, &permit, &handle, params).unwrap();
        let key = self.folder.path().join(permit.lease().as_str());
        if let Some(private) = told["private_key"].as_str() {
            write_private(&key, private);
        }
        let certificate = self.folder.path().join(format!("{}-cert.pub", permit.lease()));
        std::fs::write(&certificate, told["certificate"].as_str().unwrap()).unwrap();
        let ended = Ended { lease: permit.lease().clone(), handle, ended: permit.issued(), expires: permit.expires() };
        Login { told, ended, key, certificate }
    }
}

fn minted(bench: &Bench, permit: &Permit, handle: &str, params: Value) -> Result<Value, Denial> {
    let params = object(params);
    bench.engine.check_role(permit.config())?;
    bench.engine.check_params(permit.config(), &params)?;
    let mint = Mint { permit, handle, params: &params, session_key: None };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let minted = runtime.block_on(bench.engine.mint(mint, bench))?;
    assert_eq!(minted.until, None);
    Ok(serde_json::from_slice(minted.secret.expose()).unwrap())
}

fn leave(config: Value, life: Seconds) -> Permit {
    let (agent, role): (nockvault::id::AgentName, nockvault::id::RoleName) =
        ("kit".parse().unwrap(), "hosts".parse().unwrap());
    let terms =
        Terms { ttl: life, max_ttl: life, max_uses: None, until: None, session: None, from: vec![], rate: None };
    let now = SystemClock.now();
    let pk = SealSecretKey::generate(&OsEntropy).public().into();
    let seal = Seal { pk, suite: SUITE.into(), sig_pk: None };
    let asked = Asked {
        agent: &agent,
        sid: &"nightly-1".parse().unwrap(),
        bound: &bind(None, Some(&seal), now, Seconds(60)).unwrap(),
        session_ends: now.plus(Seconds(86_400)),
        role: &role,
        ttl: Seconds(0),
        peer: Peer::Unix(None),
        req: Digest::of(b"the request"),
    };
    let lease = LeaseId::new(now.0, (&OsEntropy as &dyn Entropy).bytes());
    let grant = Grant { agent: agent.clone(), role: role.clone(), terms, seq: 1, since: now };
    let role = Role { name: role.clone(), engine: "ssh".into(), config: object(config), since: now, frozen: false };
    permit(&asked, Some(&grant), Some(&role), Uses::default(), &lease, now).unwrap()
}

fn role() -> Value {
    json!({ "ca": "hosts-ca", "principals": [user()] })
}

fn with(mut value: Value, more: Value) -> Value {
    value.as_object_mut().unwrap().extend(object(more));
    value
}

fn said(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap().trim()
}

fn enter(sshd: &Sshd, login: &Login) -> Output {
    sshd.login(&login.key, &login.certificate, &user(), "echo in")
}

#[test]
fn a_host_lets_in_by_a_key_made_here_and_logs_agent_and_lease() {
    let bench = Bench::new();
    let sshd = Sshd::start(&bench.line());
    let login = bench.login(role(), json!({}), LIFE);
    let output = enter(&sshd, &login);
    assert_eq!(said(&output), "in", "{}{}", String::from_utf8_lossy(&output.stderr), sshd.log());

    let serial = serial(&login.ended.lease).to_string();
    assert_eq!(login.told["serial"], serial);
    assert_eq!(login.told["ca"], bench.line().trim_end());
    assert_eq!((&login.told["type"], &login.told["principals"]), (&json!("ssh"), &json!([user()])));
    assert_eq!(login.told["key_id"], login.ended.handle);
    let accepted = format!("ID {} (serial {serial})", login.ended.handle);
    assert!(sshd.log().lines().any(|line| line.contains("Accepted") && line.contains(&accepted)), "{}", sshd.log());
    // The key that OpenSSH reads is the one in the certificate, and it carries the handle.
    let public = keygen(&["-y", "-f", text(&login.key)]);
    assert!(public.trim_end().ends_with(&login.ended.handle), "{public}");
}

#[test]
fn a_host_lets_in_by_a_key_that_the_session_brought() {
    let bench = Bench::new();
    let sshd = Sshd::start(&bench.line());
    let (key, line) = bench.own_key("session");
    let mut login = bench.login(role(), json!({ "public_key": line }), LIFE);
    assert!(login.told.get("private_key").is_none());
    assert!(!login.told.to_string().contains("a comment"));
    login.key = key;
    assert_eq!(said(&enter(&sshd, &login)), "in", "{}", sshd.log());
    // The certificate is of no use with another key.
    let (other, _) = bench.own_key("other");
    login.key = other;
    assert!(!enter(&sshd, &login).status.success());
}

#[test]
fn a_certificate_says_what_its_role_allows_and_no_more() {
    let bench = Bench::new();
    let config = json!({
        "ca": "hosts-ca", "principals": ["deploy", "web:read", "ops@prod"], "extensions": ["permit-pty", "permit-X11-forwarding"],
        "critical_options": { "force_command": "/usr/bin/run \"it\"", "source_address": ["10.0.0.0/8", "2001:db8::/32"] },
    });
    let login = bench.login(config, json!({ "principals": ["ops@prod", "deploy"] }), LIFE);
    let shown = login.shown();
    for wanted in [
        "Type: ssh-ed25519-cert-v01@openssh.com user certificate",
        &format!("Key ID: \"{}\"", login.ended.handle),
        &format!("Serial: {}", login.told["serial"].as_str().unwrap()),
        "force-command /usr/bin/run \"it\"",
        "source-address 10.0.0.0/8,2001:db8::/32",
    ] {
        assert!(shown.contains(wanted), "{wanted} is not in {shown}");
    }
    let after = |title: &str| -> Vec<&str> {
        let lines = shown.lines().skip_while(|line| line.trim() != title).skip(1);
        lines.take_while(|line| line.starts_with("                ")).map(str::trim).collect()
    };
    assert_eq!(after("Principals:"), ["deploy", "ops@prod"]);
    assert_eq!(after("Extensions:"), ["permit-X11-forwarding", "permit-pty"]);
    let bare = bench.login(role(), json!({}), LIFE).shown();
    assert!(bare.contains("Critical Options: (none)") && bare.contains("Extensions: (none)"), "{bare}");
}

#[test]
fn a_certificate_lives_in_whole_seconds_and_never_longer_than_its_permit() {
    let bench = Bench::new();
    let permit = leave(role(), Seconds(77));
    let told = minted(&bench, &permit, "nv_kit_0", json!({})).unwrap();
    let read = ssh_key::Certificate::from_openssh(told["certificate"].as_str().unwrap()).unwrap();
    assert_eq!(read.valid_before(), permit.expires().0 / 1000);
    assert_eq!(read.valid_after(), permit.issued().0.saturating_sub(BACKDATED.0 * 1000) / 1000);
    assert_eq!(told["expires"], json!(permit.expires().0 / 1000 * 1000));
    assert_eq!(read.nonce().len(), 32);
    let again = minted(&bench, &permit, "nv_kit_0", json!({})).unwrap();
    let again = ssh_key::Certificate::from_openssh(again["certificate"].as_str().unwrap()).unwrap();
    assert_ne!((read.nonce(), read.public_key()), (again.nonce(), again.public_key()));
}

#[test]
fn a_host_refuses_a_principal_that_is_not_in_the_certificate() {
    let bench = Bench::new();
    let sshd = Sshd::start(&bench.line());
    let login = bench.login(with(role(), json!({ "principals": ["somebody-else"] })), json!({}), LIFE);
    assert!(!enter(&sshd, &login).status.success());
    assert!(sshd.log().contains("name is not a listed principal"), "{}", sshd.log());
}

#[test]
fn a_host_refuses_a_certificate_past_its_end() {
    let bench = Bench::new();
    let sshd = Sshd::start(&bench.line());
    let login = bench.login(role(), json!({}), Seconds(3));
    let first = enter(&sshd, &login);
    // Where the machine was so slow that the end had come, the first try tells nothing; other tests do.
    let in_time = SystemClock.now() < Timestamp(login.told["expires"].as_u64().unwrap());
    assert!(first.status.success() || !in_time, "{}", sshd.log());
    while SystemClock.now() < login.ended.expires {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!enter(&sshd, &login).status.success());
    assert!(sshd.log().contains("Certificate invalid: expired"), "{}", sshd.log());
}

#[test]
fn a_host_refuses_what_the_list_revokes_and_nothing_else() {
    let bench = Bench::new();
    let sshd = Sshd::start(&bench.line());
    let (gone, stays) = (bench.login(role(), json!({}), LIFE), bench.login(role(), json!({}), LIFE));
    sshd.set_krl(&bench.revoked(&[]));
    assert!(enter(&sshd, &gone).status.success(), "{}", sshd.log());
    sshd.set_krl(&bench.revoked(std::slice::from_ref(&gone.ended)));
    assert!(!enter(&sshd, &gone).status.success());
    assert!(sshd.log().contains("revoked by file"), "{}", sshd.log());
    assert!(enter(&sshd, &stays).status.success(), "{}", sshd.log());
    // After the authority changed its key, the list still covers what the old key signed.
    let next = Bench::new();
    sshd.set_krl(&next.revoked(std::slice::from_ref(&stays.ended)));
    assert!(!enter(&sshd, &stays).status.success());
    assert!(enter(&sshd, &gone).status.success(), "{}", sshd.log());
}

#[test]
fn a_host_runs_the_forced_command_and_takes_only_the_named_networks() {
    let bench = Bench::new();
    let sshd = Sshd::start(&bench.line());
    let critical = |options: Value| with(role(), json!({ "critical_options": options }));
    let forced = bench.login(critical(json!({ "force_command": "echo forced" })), json!({}), LIFE);
    assert_eq!(said(&enter(&sshd, &forced)), "forced", "{}", sshd.log());
    let near = bench.login(critical(json!({ "source_address": ["10.9.0.0/16", "127.0.0.1/32"] })), json!({}), LIFE);
    assert_eq!(said(&enter(&sshd, &near)), "in", "{}", sshd.log());
    let far = bench.login(critical(json!({ "source_address": ["10.9.0.0/16"] })), json!({}), LIFE);
    assert!(!enter(&sshd, &far).status.success());
}

#[test]
fn a_host_forwards_ports_only_where_the_role_says_so() {
    let bench = Bench::new();
    let sshd = Sshd::start(&bench.line());
    for (extensions, wanted) in [(json!([]), false), (json!(["permit-port-forwarding"]), true)] {
        let login = bench.login(with(role(), json!({ "extensions": extensions })), json!({}), LIFE);
        let mut client = sshd.client(&login.key, &login.certificate);
        client.args(["-o", "ExitOnForwardFailure=yes", "-R", "127.0.0.1:0:127.0.0.1:9"]);
        let output = client.arg(format!("{}@127.0.0.1", user())).arg("echo in").output().unwrap();
        assert_eq!(output.status.success(), wanted, "{}", sshd.log());
        assert!(enter(&sshd, &login).status.success(), "{}", sshd.log());
    }
}

#[test]
fn an_authority_that_ssh_keygen_made_is_taken_and_signs() {
    let bench = Bench::new();
    let (path, line) = bench.own_key("elsewhere");
    let brought = SecretBytes::from(std::fs::read(&path).unwrap());
    let authority = bench.engine.import(&brought, Timestamp(0)).unwrap();
    let bench = Bench { authority, ..bench };
    assert_eq!(bench.line().trim_end(), line);
    let shown = bench.engine.public(&bench.authority).unwrap();
    assert_eq!((&shown["kind"], &shown["public_key"]), (&json!("ssh"), &json!(line)));
    let print = keygen(&["-l", "-f", text(&path.with_extension("pub"))]);
    assert!(print.contains(shown["fingerprint"].as_str().unwrap()), "{print}");
    assert!(shown["fingerprint"].as_str().unwrap().starts_with("SHA256:"));
    assert!(bench.login(role(), json!({}), LIFE).shown().contains(shown["fingerprint"].as_str().unwrap()));
}

#[test]
fn an_authority_that_does_not_fit_is_refused_with_the_way_out() {
    let bench = Bench::new();
    let made = |name: &str, args: &[&str]| {
        let path = bench.folder.path().join(name);
        keygen(&[&["-q", "-f", text(&path)], args].concat());
        std::fs::read(path).unwrap()
    };
    let (path, public) = bench.own_key("public");
    let mut cut = std::fs::read(path).unwrap();
    cut.truncate(200);
    for (brought, wanted) in [
        (made("locked", &["-t", "ed25519", "-N", "a passphrase"]), "ssh-keygen -p"),
        (made("ecdsa", &["-t", "ecdsa", "-N", ""]), "Ed25519"),
        (made("rsa", &["-t", "rsa", "-b", "2048", "-N", ""]), "not an Ed25519 key"),
        (made("old", &["-t", "rsa", "-b", "2048", "-N", "", "-m", "PEM"]), "ssh-keygen -p"),
        (public.into_bytes(), "not a private key"),
        (cut, "ssh-keygen -y"),
        (Vec::new(), "not a private key"),
        (vec![0xff; 100], "not a private key"),
    ] {
        let denial = bench.engine.import(&SecretBytes::from(brought), Timestamp(0)).unwrap_err();
        assert_eq!(denial.reason, Reason::BadSealedInput);
        assert!(denial.detail.contains(wanted), "{wanted}: {}", denial.detail);
    }
    for wish in [json!({ "comment": "two\nlines" }), json!({ "comment": "x".repeat(129) }), json!({ "bits": 1 })] {
        let denial = bench.engine.make(&object(wish), Timestamp(0), &OsEntropy).unwrap_err();
        assert_eq!(denial.reason, Reason::BadRole);
    }
    assert_eq!(bench.engine.certify(&bench.authority, "x", Timestamp(0)).unwrap_err().reason, Reason::BadRole);
    for stored in [b"".to_vec(), b"hunter2".to_vec()] {
        let denial = bench.engine.public(&SecretBytes::from(stored)).unwrap_err();
        assert!(denial.reason == Reason::Internal && !denial.internal.contains("hunter2"), "{denial:?}");
    }
}

#[tokio::test]
async fn a_probe_names_the_authority_or_what_is_missing() {
    let bench = Bench::new();
    let found = bench.engine.probe(&object(role()), &bench).await.unwrap();
    assert_eq!((&found["ca"], &found["version"]), (&json!("hosts-ca"), &json!(1)));
    assert_eq!(found["fingerprint"], bench.engine.public(&bench.authority).unwrap()["fingerprint"]);
    let other = object(with(role(), json!({ "ca": "other" })));
    assert_eq!(bench.engine.probe(&other, &bench).await.unwrap_err().reason, Reason::SecretMissing);
    assert_eq!(bench.engine.of_role(&other).unwrap().as_str(), "other");
}

#[test]
fn a_role_that_would_allow_too_much_or_nothing_sensible_is_refused() {
    let bench = Bench::new();
    let names = |count: usize| (0..count).map(|n| format!("p{n}")).collect::<Vec<_>>();
    let critical = |options: Value| json!({ "critical_options": options });
    for (change, wanted) in [
        (json!({ "principals": [] }), "anybody"),
        (json!({ "principals": names(33) }), "1 to 32"),
        (json!({ "principals": ["a", "a"] }), "once"),
        (json!({ "principals": [""] }), "not a principal"),
        (json!({ "principals": ["a,b"] }), "not a principal"),
        (json!({ "principals": ["a b"] }), "not a principal"),
        (json!({ "principals": ["*"] }), "not a principal"),
        (json!({ "principals": ["#a"] }), "not a principal"),
        (json!({ "principals": ["-a"] }), "not a principal"),
        (json!({ "principals": ["r\u{43e}ot"] }), "not a principal"),
        (json!({ "principals": ["a".repeat(129)] }), "not a principal"),
        (json!({ "principals": "root" }), "expected a list"),
        (json!({ "ca": "../ca" }), "secret name"),
        (json!({ "extensions": ["permit-everything"] }), "expected one of"),
        (json!({ "extensions": ["permit-pty", "permit-pty"] }), "once"),
        (json!({ "key": "any" }), "expected one of"),
        (json!({ "ttl": 5 }), "unknown field"),
        (critical(json!({ "verify_required": true })), "unknown field"),
        (critical(json!({ "force_command": "" })), "force_command"),
        (critical(json!({ "force_command": "  " })), "force_command"),
        (critical(json!({ "force_command": "a\nb" })), "force_command"),
        (critical(json!({ "force_command": "a\0b" })), "force_command"),
        (critical(json!({ "force_command": "x".repeat(1025) })), "force_command"),
        (critical(json!({ "source_address": [] })), "1 to 64"),
        (critical(json!({ "source_address": ["10.0.0.1/8"] })), "write 10.0.0.0/8"),
        (critical(json!({ "source_address": ["10.0.0.1"] })), "CIDR"),
        (critical(json!({ "source_address": ["10.0.0.0/33"] })), "CIDR"),
        (critical(json!({ "source_address": ["0.0.0.0/0,::/0"] })), "CIDR"),
    ] {
        let denial = bench.engine.check_role(&object(with(role(), change.clone()))).unwrap_err();
        assert_eq!(denial.reason, Reason::BadRole, "{change}");
        assert!(denial.detail.contains(wanted), "{change}: {}", denial.detail);
    }
    for gone in ["ca", "principals"] {
        let mut config = object(role());
        config.remove(gone);
        assert_eq!(bench.engine.check_role(&config).unwrap_err().reason, Reason::BadRole);
    }
}

/// The line of an Ed25519 key whose 32 bytes are these.
fn line_of(bytes: [u8; 32]) -> String {
    ssh_key::PublicKey::from(ssh_key::public::Ed25519PublicKey(bytes)).to_openssh().unwrap()
}

#[test]
fn hostile_params_are_refused_each_with_a_clear_text() {
    let bench = Bench::new();
    let (path, good) = bench.own_key("session");
    let base64 = good.split(' ').nth(1).unwrap().to_owned();
    let certificate = bench.login(role(), json!({}), LIFE).told["certificate"].as_str().unwrap().to_owned();
    let sk = "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIA==";
    let spoilt = |at: usize, by: &str| format!("ssh-ed25519 {}{by}{}", &base64[..at], &base64[at + by.len()..]);
    let (mut minus_zero, mut over_p) = ([0; 32], [0xff; 32]);
    (minus_zero[31], over_p[0], over_p[31]) = (0x80, 0xee, 0x7f);
    let keys = [
        (String::new(), "ssh-ed25519"),
        ("ssh-ed25519".into(), "68 characters"),
        (format!("{good}\n"), "line end"),
        (format!("{good}\r\n"), "line end"),
        (format!("{good}\n{good}"), "line end"),
        (format!("{good}\u{2028}{good}"), "printable ASCII"),
        (format!("{good}\0"), "printable ASCII"),
        (format!("{good}\t"), "printable ASCII"),
        (format!(" {good}"), "options"),
        (format!("\"{good}\""), "options"),
        (format!("command=\"id\" {good}"), "options"),
        (format!("restrict,pty {good}"), "options"),
        (format!("cert-authority {good}"), "options"),
        (format!("ssh-ed25519  {base64}"), "68 characters"),
        (format!("ssh-ed25519 {base64}="), "68 characters"),
        (format!("ssh-ed25519 {base64}AAAA"), "68 characters"),
        (format!("ssh-ed25519 {}", &base64[..64]), "68 characters"),
        (format!("ssh-ed25519 {base64};id"), "68 characters"),
        (spoilt(20, "-"), "68 characters"),
        (spoilt(20, "'"), "68 characters"),
        (spoilt(10, "B"), "68 characters"),
        (good.replacen('s', "\u{455}", 1), "printable ASCII"),
        (good.replacen("ssh-ed25519", "ssh-ed25518", 1), "not taken"),
        (good.replacen("ssh-ed25519", "SSH-ED25519", 1), "options"),
        (format!("ssh-rsa {base64}"), "keys of this kind"),
        (format!("ecdsa-sha2-nistp256 {base64}"), "keys of this kind"),
        (certificate, "certificate"),
        (format!("ssh-ed25519-cert-v01@openssh.com {base64}"), "certificate"),
        (sk.into(), "security keys"),
        (std::fs::read_to_string(path).unwrap(), "line end"),
        (format!("{good}{}", " ".repeat(600)), "longer than 512"),
        (format!("ssh-ed25519 {}", "A".repeat(1 << 20)), "longer than 512"),
        ("A".repeat(1 << 20), "options"),
        (line_of([0; 32]), "small order"),
        (line_of(minus_zero), "small order"),
        (line_of(over_p), "not canonically encoded"),
        (line_of([2; 32]), "not a point"),
    ];
    let of_key = keys.into_iter().map(|(line, wanted)| (json!({ "public_key": line }), wanted));
    let others = [
        (json!({ "principals": [] }), "principals is empty"),
        (json!({ "principals": ["other"] }), "does not allow"),
        (json!({ "principals": [user(), "other"] }), "does not allow"),
        (json!({ "principals": [user(), user()] }), "once"),
        (json!({ "principals": [format!("{}\0", user())] }), "does not allow"),
        (json!({ "principals": [format!("{},other", user())] }), "does not allow"),
        (json!({ "principals": ["x".repeat(1 << 20)] }), "does not allow"),
        (json!({ "principals": user() }), "expected a list"),
        (json!({ "principals": [1] }), "expected a text"),
        (json!({ "public_key": [good] }), "expected a text"),
        (json!({ "extensions": ["permit-pty"] }), "unknown field"),
        (json!({ "critical_options": {} }), "unknown field"),
        (json!({ "key_id": "root" }), "unknown field"),
    ];
    for (params, wanted) in of_key.chain(others) {
        let denial = bench.engine.check_params(&object(role()), &object(params.clone())).unwrap_err();
        let shown: String = params.to_string().chars().take(200).collect();
        assert_eq!(denial.reason, Reason::ParamsRefused, "{shown}");
        assert!(denial.detail.contains(wanted), "{shown}: {}", denial.detail);
        assert!(denial.detail.len() < 300, "{shown}: the text is long");
        assert!(minted(&bench, &leave(role(), LIFE), "nv_kit_0", params).is_err());
    }
}

#[test]
fn the_key_of_the_authority_is_no_sessions_key() {
    let bench = Bench::new();
    let denial =
        minted(&bench, &leave(role(), Seconds(60)), "nv_kit_0", json!({ "public_key": bench.line().trim_end() }));
    let denial = denial.unwrap_err();
    assert_eq!(denial.reason, Reason::ParamsRefused);
    assert!(denial.detail.contains("has a role already"), "{denial}");
}

#[test]
fn the_role_says_whose_key_it_is() {
    let bench = Bench::new();
    let (_, line) = bench.own_key("session");
    for (key, with_key, without) in [("brought", true, false), ("made", false, true), ("either", true, true)] {
        let config = object(with(role(), json!({ "key": key })));
        let takes = |params: Value| bench.engine.check_params(&config, &object(params)).is_ok();
        assert_eq!((takes(json!({ "public_key": line })), takes(json!({}))), (with_key, without), "{key}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Each certificate whose lease ended is revoked, by the reading of OpenSSH itself, and no other is.
    #[test]
    fn openssh_reads_the_list_as_it_was_meant(ends in proptest::collection::vec(any::<bool>(), 1..8)) {
        let bench = Bench::new();
        let logins: Vec<Login> = ends.iter().map(|_| bench.login(role(), json!({}), LIFE)).collect();
        let ended: Vec<Ended> =
            logins.iter().zip(&ends).filter(|(_, end)| **end).map(|(login, _)| login.ended.clone()).collect();
        let list = bench.folder.path().join("krl");
        std::fs::write(&list, bench.revoked(&ended)).unwrap();
        let shown = keygen(&["-Q", "-l", "-f", text(&list)]);
        for ended in &ended {
            prop_assert_eq!(shown.matches(&format!("serial: {}", serial(&ended.lease))).count(), 2, "{}", shown);
        }
        prop_assert_eq!(shown.matches("serial: ").count(), 2 * ended.len());
        for (login, end) in logins.iter().zip(&ends) {
            let output = Command::new("ssh-keygen").args(["-Q", "-f"]).arg(&list).arg(&login.certificate).output();
            let output = output.unwrap();
            prop_assert_eq!(said(&output).ends_with("REVOKED"), *end, "{}", said(&output));
            prop_assert_eq!(output.status.success(), !*end);
        }
    }
}
