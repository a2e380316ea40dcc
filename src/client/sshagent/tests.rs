//! What an ssh-agent may send, and what is made of it. The agents here are made up; `tests/ssh_agent.rs` has a real one.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;

use super::*;
use crate::crypto::signature::SigningKey;
use crate::entropy::SeededEntropy;

const TYPE: &str = "application/vnd.nockvault.request.v1+json";

fn key(seed: u64) -> SigningKey {
    SigningKey::generate(&SeededEntropy::new(seed))
}

/// An agent that gives these answers, one a connection, and then nothing more. The folder holds its socket.
fn agent(answers: Vec<Vec<u8>>) -> (tempfile::TempDir, SshAgent) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("agent");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = wire::read(&mut stream, wire::MAX).await;
            let _ = stream.write_all(&answer).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    (dir, SshAgent::at(socket))
}

fn list(keys: &[(&[u8], &str)]) -> Vec<u8> {
    let start = Message::of(kind::IDENTITIES).u32(u32::try_from(keys.len()).unwrap());
    keys.iter().fold(start, |message, (blob, comment)| message.string(blob).string(comment.as_bytes())).bytes().to_vec()
}

fn failure() -> Vec<u8> {
    Message::of(kind::FAILURE).bytes().to_vec()
}

/// What `kit`'s holder says of an agent that answers so.
async fn refused(answers: Vec<Vec<u8>>) -> String {
    let (_dir, agent) = agent(answers);
    let text = agent.key(key(1).public()).sign(TYPE, b"{}").await.unwrap_err().to_string();
    assert!(text.starts_with("the ssh-agent at "), "{text}");
    text
}

#[tokio::test]
async fn a_key_is_found_by_each_of_its_names_and_by_none_where_there_is_no_choice() {
    let (kit, ada) = (key(1).public(), key(2).public());
    let (kit_blob, ada_blob) = (wire::blob(&kit), wire::blob(&ada));
    let rsa = b"\0\0\0\x07ssh-rsa\0\0\0\x01x".to_vec();
    let two = list(&[(&kit_blob, "kit"), (&ada_blob, "ada"), (&rsa, "old")]);
    let one = list(&[(&kit_blob, "kit"), (&rsa, "old")]);
    let find = async |answer: &Vec<u8>, wanted: Option<&str>| {
        let (_dir, agent) = agent(vec![answer.clone()]);
        agent.find(wanted).await.map(|found| found.public.unwrap()).map_err(|why| why.to_string())
    };
    let line = format!("ssh-ed25519 {} any comment", STANDARD.encode(&kit_blob));
    let fingerprint = Listed::read(&kit_blob, b"").fingerprint();
    for wanted in ["kit", kit.kid().as_str(), &fingerprint, &line] {
        assert_eq!(find(&two, Some(wanted)).await.as_ref(), Ok(&kit), "{wanted}");
    }
    assert_eq!(find(&one, None).await, Ok(kit.clone()));
    let which = find(&two, None).await.unwrap_err();
    assert!(which.contains("which of these") && which.contains(&fingerprint), "{which}");
    assert!(find(&two, Some("old")).await.unwrap_err().contains("only plain Ed25519"));
    assert!(find(&two, Some("eve")).await.unwrap_err().contains("no key \"eve\"; it has\n  SHA256:"));
    // A comment that is another key's fingerprint does not stand in for that key.
    let posing = list(&[(&ada_blob, &fingerprint), (&kit_blob, "kit")]);
    assert_eq!(find(&posing, Some(&fingerprint)).await, Ok(kit));
    let twins = list(&[(&ada_blob, "kit"), (&kit_blob, "kit")]);
    assert!(find(&twins, Some("kit")).await.unwrap_err().contains("which of these"));
}

#[tokio::test]
async fn keys_of_security_keys_and_certificates_are_refused_in_words() {
    let sk = b"\0\0\0\x1ask-ssh-ed25519@openssh.com\0\0\0\x01x".to_vec();
    let cert = b"\0\0\0\x20ssh-ed25519-cert-v01@openssh.com\0\0\0\x01x".to_vec();
    for (blob, word) in [(sk, "counter"), (cert, "certificate")] {
        let (_dir, agent) = agent(vec![list(&[(&blob, "touch")])]);
        let text = agent.find(Some("touch")).await.unwrap_err().to_string();
        assert!(text.contains(word) && text.contains("ssh-keygen -t ed25519"), "{text}");
    }
}

#[tokio::test]
async fn a_signature_is_held_against_its_key() {
    let sign = |by: &SigningKey, payload: &[u8]| {
        let signature = by.sign(Form::Sshsig, TYPE, payload);
        Message::of(kind::SIGN_RESPONSE).string(&wire::signature(&signature)).bytes().to_vec()
    };
    let (_dir, good) = agent(vec![sign(&key(1), b"{}")]);
    assert!(good.key(key(1).public()).sign(TYPE, b"{}").await.is_ok());
    for wrong in [sign(&key(2), b"{}"), sign(&key(1), b"{} ")] {
        assert!(refused(vec![wrong]).await.contains("not one of the key"));
    }
    // The same bytes under another name, or with something behind them.
    let mut long = Message::of(kind::SIGN_RESPONSE).string(b"\0\0\0\x07ssh-rsa\0\0\0\x01x");
    assert!(refused(vec![long.bytes().to_vec()]).await.contains("no Ed25519 signature"));
    long = Message::of(kind::SIGN_RESPONSE).string(&wire::signature(&key(1).sign_raw(b"x"))).u32(0);
    assert!(refused(vec![long.bytes().to_vec()]).await.contains("no Ed25519 signature"));
}

#[tokio::test]
async fn a_no_is_told_with_what_can_be_known_of_its_cause() {
    let (kit, ada) = (wire::blob(&key(1).public()), wire::blob(&key(2).public()));
    assert!(refused(vec![failure(), list(&[(&kit, "kit")])]).await.contains("ssh-add -c"));
    assert!(refused(vec![failure(), list(&[])]).await.contains("ssh-add -X"));
    assert!(refused(vec![failure(), list(&[(&ada, "ada")])]).await.contains("ssh-add -t"));
    assert!(refused(vec![failure(), failure()]).await.contains("refuses to sign"));
}

#[tokio::test]
async fn a_hostile_agent_is_bounded() {
    assert!(refused(vec![b"\xff\xff\xff\xff\x0e".to_vec()]).await.contains("4294967295 bytes"));
    assert!(refused(vec![b"\0\0\0\0".to_vec()]).await.contains("0 bytes"));
    assert!(refused(vec![b"\0\0\0\x09\x0e\0\0".to_vec()]).await.contains("end of file"));
    assert!(refused(vec![vec![]]).await.contains("hung up"));
    assert!(refused(vec![Message::of(99).bytes().to_vec()]).await.contains("type 99"));
    // More keys are claimed than there are bytes, and bytes stand behind the last.
    for bad in [&b"\0\0\0\x05\x0c\xff\xff\xff\xff"[..], b"\0\0\0\x06\x0c\0\0\0\0!"] {
        let (_dir, agent) = agent(vec![bad.to_vec()]);
        assert!(agent.list().await.unwrap_err().to_string().contains("does not read"));
    }
    // What is shown of a comment does no harm to a terminal.
    let blob = wire::blob(&key(1).public());
    let shown = Listed::read(&blob, format!("\x1b[2J{}", "x".repeat(5000)).as_bytes()).to_string();
    assert!(!shown.contains('\x1b') && shown.len() < 200, "{shown}");
}

#[tokio::test]
async fn an_agent_that_says_nothing_is_not_waited_for_without_end() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("agent");
    let _listener = UnixListener::bind(&socket).unwrap();
    let short = Duration::from_millis(50);
    let agent = SshAgent { answer: short, confirm: short, ..SshAgent::at(&socket) };
    let text = agent.list().await.unwrap_err().to_string();
    assert!(text.ends_with("no answer in 0 s"), "{text}");
    let text = agent.key(key(1).public()).sign(TYPE, b"{}").await.unwrap_err().to_string();
    assert!(text.contains("no answer in 0 s; where the key asks first"), "{text}");
}

#[test]
fn without_a_socket_it_is_said_what_to_do() {
    for none in [None, Some(String::new())] {
        let text = SshAgent::usual(&|_| none.clone()).unwrap_err().to_string();
        assert!(text.contains("SSH_AUTH_SOCK is not set") && text.contains("ssh-add"), "{text}");
    }
    let agent = SshAgent::usual(&|name| (name == "SSH_AUTH_SOCK").then(|| "/run/agent".to_owned())).unwrap();
    assert_eq!(agent.socket(), Path::new("/run/agent"));
}
