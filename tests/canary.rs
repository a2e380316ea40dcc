//! A secret with a name of its own, sent through everything there is: stored, minted, sealed, refused, listed, shown,
//! logged at the finest level. Afterwards it is looked for, in every spelling, wherever a thief or a reader could look.

#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod programs;
mod support;

#[path = "canary/backends.rs"]
mod backends;
#[path = "canary/needles.rs"]
mod needles;
#[path = "postgres/server.rs"]
mod server;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};

use nockvault::client::agent::{Agent, Ask};
use nockvault::client::keyfile;
use nockvault::client::signer::Identity;
use nockvault::statement::card::Card;
use serde_json::json;

use needles::Needles;
use programs::Vault;
use support::{Harness, terms};

/// What is stored. It is long enough that no chance brings it up, and holds what JSON and shells would escape.
const CANARY: &str = "canary/7f3a91c4\"e5\\b2 d8<6f>0a'1c94$7e3b&5d";

/// Every file under this folder, with its bytes.
fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.is_file() {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
}

/// What the system shows of a process to whoever may look. One that has closed itself shows nothing, which is as good.
fn shown(process: u32) -> Vec<(String, Vec<u8>)> {
    let read = |file: &str| {
        let path = format!("/proc/{process}/{file}");
        std::fs::read(&path).ok().map(|bytes| (path, bytes))
    };
    ["cmdline", "environ", "comm", "status"].into_iter().filter_map(read).collect()
}

fn http(vault: &Vault, path: &str) -> Vec<u8> {
    let address = vault.ready.split("http=http://").nth(1).unwrap().trim().to_owned();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: vault\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{path}: {}", String::from_utf8_lossy(&answer));
    answer
}

/// Puts the canary into the vault by a program that is held still in the middle of it. Gives what could be seen of it.
fn put(vault: &Vault, name: &str) -> Vec<(String, Vec<u8>)> {
    let mut command = programs::program(env!("CARGO_BIN_EXE_vaultctl"), vault.path());
    command.args(["secret", "put", name, "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child: Child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(CANARY.as_bytes()).unwrap();
    let mut seen = Vec::new();
    for _ in 0..20 {
        seen.extend(shown(child.id()));
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let looked = seen.iter().any(|(_, bytes)| bytes.windows(6).any(|part| part == b"secret"));
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        looked,
        "it was not looked at: {:?}",
        seen.iter().map(|(name, bytes)| (name, bytes.len())).collect::<Vec<_>>()
    );
    seen.extend([(format!("put {name}: stdout"), output.stdout), (format!("put {name}: stderr"), output.stderr)]);
    seen
}

async fn kit(vault: &Vault) -> Agent {
    let card = Card::read(&std::fs::read_to_string(vault.card()).unwrap()).unwrap();
    let key = keyfile::read_secret(&vault.path().join("kit.ed25519")).unwrap();
    Agent::connect(&card, Identity::held("kit".parse().unwrap(), key, 1)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_is_seen_nowhere_but_by_the_session_it_was_sealed_to() {
    let mut vault = Vault::start_with(|config| config.replace("level = \"info\"", "level = \"trace\""));
    vault.with_kit("another value");
    let mut seen = put(&vault, "birds");
    seen.extend(put(&vault, "birds"));
    for arguments in [
        &["role", "create", "birds", "--engine", "kv", "--set", "secret=birds"][..],
        &["role", "create", "token", "--engine", "jwt", "--set", "audience=[\"a\"]"],
        &["grant", "kit", "birds", "--ttl", "15m", "--max-uses", "3"],
        &["grant", "kit", "token", "--ttl", "15m"],
    ] {
        vault.vaultctl(arguments).ok();
    }

    // The session gets it; and its owner, printing all it has, prints nothing of it.
    let agent = kit(&vault).await;
    let session = agent.session("work").unwrap();
    let bird = session.request(&Ask::role("birds".parse().unwrap())).await.unwrap();
    assert_eq!(bird.secret.expose("value"), Some(CANARY));
    let token = session.request(&Ask::role("token".parse().unwrap())).await.unwrap();
    let jwt = token.secret.expose("token").unwrap().to_owned();
    let printed = format!("{agent:?} {agent:#?} {session:?} {session:#?} {bird:?} {bird:#?} {token:?} {token:#?}");
    seen.push(("what the agent prints".into(), printed.into_bytes()));

    // Whatever can go wrong near it.
    session.renew(&bird.hdr.lease, nockvault::time::Seconds(60)).await.unwrap();
    let faults = [
        session.renew(&token.hdr.lease, nockvault::time::Seconds(60)).await.map(|_| ()).unwrap_err(),
        session.request(&Ask::role("nothing".parse().unwrap())).await.map(|_| ()).unwrap_err(),
        session
            .request(&Ask::role("birds".parse().unwrap()).ttl(nockvault::time::Seconds(99_999)))
            .await
            .map(|_| ())
            .unwrap_err(),
    ];
    seen.push((
        "what went wrong".into(),
        format!("{faults:?} {faults:#?} {}", faults.each_ref().map(ToString::to_string).join(" ")).into_bytes(),
    ));
    session.request(&Ask::role("birds".parse().unwrap())).await.unwrap();
    for arguments in [
        &["secret", "put", "birds", CANARY][..],
        &["secret", "put", CANARY, "-"],
        &["secret", "put", "birds", "--file", CANARY],
        &["status"],
        &["secret", "list"],
        &["secret", "versions", "birds", "--output", "json"],
        &["role", "show", "birds", "--output", "yaml"],
        &["grants", "--output", "json"],
        &["lease", "list", "--output", "json"],
        &["agent", "show", "kit", "--output", "json"],
        &["audit", "show", "kit"],
        &["audit", "export", "kit"],
        &["audit", "export", "_operators"],
        &["audit", "export", "_vault"],
        &["audit", "verify", "kit"],
        &["lease", "revoke", bird.hdr.lease.as_str()],
    ] {
        let said = vault.vaultctl(arguments);
        let name = format!(
            "vaultctl {}",
            arguments.iter().map(|word| if *word == CANARY { "CANARY" } else { word }).collect::<Vec<_>>().join(" ")
        );
        // Whoever types it as a name has named something so; it is refused, and told in its own words.
        let told_as_name = arguments.get(2) == Some(&CANARY) || arguments.contains(&"--file");
        if !told_as_name {
            seen.push((name, [said.out.into_bytes(), said.err.into_bytes()].concat()));
        }
    }
    for path in ["/metrics", "/healthz", "/readyz", "/.well-known/jwks.json", "/jwt/revoked"] {
        seen.push((path.into(), http(&vault, path)));
    }
    seen.extend(shown(vault.id()));

    // As it stands while the daemon lives, with the log of its database; after it was killed; after it was stopped.
    files(vault.path(), &mut seen);
    vault.kill();
    files(vault.path(), &mut seen);
    vault.go_on();
    vault.restart();
    files(vault.path(), &mut seen);
    judge(&seen, &jwt);
}

fn judge(seen: &[(String, Vec<u8>)], jwt: &str) {
    let (_, signature) = jwt.rsplit_once('.').unwrap();
    let secrets = [
        ("the stored value", Needles::of(CANARY.as_bytes())),
        ("the token", Needles::of(jwt.as_bytes())),
        ("the token's signature", Needles::of(signature.as_bytes())),
    ];
    let log = seen.iter().filter(|(name, _)| name.ends_with("vaultd.log")).map(|(_, bytes)| bytes).next_back().unwrap();
    let log = String::from_utf8_lossy(log);
    assert!(log.contains("TRACE") && log.contains("DEBUG"), "the log is not at its finest");
    for needed in ["vault.db", "vault.db-wal", "/metrics", "audit export kit", "cmdline", "environ"] {
        assert!(
            seen.iter().any(|(name, bytes)| name.ends_with(needed) && !bytes.is_empty()),
            "{needed} was not searched"
        );
    }
    for (name, bytes) in seen {
        for (what, needles) in &secrets {
            assert_eq!(needles.found_in(bytes), None, "{what} stands in {name}");
        }
    }
    // The search finds what is there: the handle of the lease is no secret, and stands in the trail.
    let handle = Needles::of(b"nv_kit_0");
    assert!(seen.iter().any(|(name, bytes)| name == "vaultctl audit export kit" && handle.found_in(bytes).is_some()));
}

/// The types that carry it inside the vault say nothing of it either, and nor do those that carry keys.
#[tokio::test]
async fn nothing_that_carries_a_secret_prints_it() {
    let vault = Harness::new().await;
    vault.kv_role("birds", CANARY.as_bytes()).await;
    vault.role("token", "jwt", json!({"audience": ["a"]})).await;
    let mut kit = vault.agent("kit").await;
    for role in ["birds", "token"] {
        vault.grant(&kit.name, role, terms()).await;
    }
    let envelope = kit.issue("birds");
    let outcome = vault.vault().issue(envelope.clone(), support::HERE).await;
    let mut printed = format!("{envelope:?} {envelope:#?} {outcome:?} {outcome:#?} {:#?}", vault.vault());
    printed += &format!("{:?} {:#?} {:?} {:?}", vault.sqlite(), vault.vault().store(), kit.key, kit.seal);
    let issued: nockvault::statement::reply::Issued = vault.released(outcome, envelope.digest());
    assert_eq!(kit.open(&issued)["value"], CANARY);
    kit.keep(issued.entry);
    let token = kit.get(&vault, "token").await;
    let jwt = kit.open(&token)["token"].as_str().unwrap().to_owned();
    printed += &format!("{issued:?} {token:#?}");

    let secret = || nockvault::secret::SecretBytes::new(CANARY.as_bytes().to_vec());
    let minted = nockvault::engine::Minted { secret: secret(), until: None };
    let read = vault
        .vault()
        .store()
        .secret_value(nockvault::statement::secret::SecretUse::Kv, &"birds".parse().unwrap(), None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(read.value.expose(), CANARY.as_bytes());
    printed += &format!("{minted:?} {minted:#?} {read:?} {:?} {:#?}", secret(), Some(secret()));
    let (put, sealed) = vault.put_command("birds", CANARY.as_bytes());
    printed += &format!("{put:?} {sealed:?} {sealed:#?}");

    let sealed_key = kit.seal.to_bytes();
    for (what, bytes) in [
        ("the stored value", CANARY.as_bytes()),
        ("the token", jwt.as_bytes()),
        ("the agent's key", kit.key.seed().expose().as_slice()),
        ("the operator's key", vault.operator.key.seed().expose().as_slice()),
        ("the session's key", sealed_key.expose().as_slice()),
    ] {
        assert_eq!(Needles::of(bytes).found_in(printed.as_bytes()), None, "{what} is printed");
    }
    assert!(printed.contains("Secret(..)") && printed.contains("SigningKey("), "nothing was printed at all");
}
