//! The socket without a vault: who is let in, what is refused, and what is left behind.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::form::credential;
use super::*;
use crate::entropy::SeededEntropy;
use crate::launcher::ask::tests::{given, nowhere};
use crate::launcher::want::{Roles, Want};

fn open(token: Option<Token>) -> (tempfile::TempDir, Serving) {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { dir: Some(dir.path().to_owned()), uid: None, token: token.map(Into::into) };
    let roles = Roles::Only(["orders".parse().unwrap()].into());
    let serving = serve(nowhere(roles), options).unwrap();
    (dir, serving)
}

async fn raw(serving: &Serving, question: &[u8]) -> String {
    let mut stream = UnixStream::connect(serving.path()).await.unwrap();
    let _ = stream.write_all(question).await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn code(answer: &str) -> String {
    let answer: serde_json::Value = serde_json::from_str(answer).unwrap();
    answer["error"]["code"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[tokio::test]
async fn the_socket_is_private_and_leaves_nothing() {
    let (dir, serving) = open(None);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(serving.path()), 0o600);
    assert_eq!(mode(serving.path().parent().unwrap()), 0o700);
    assert_eq!(serving.variable(), (SOCKET, serving.path()));
    drop(serving);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn what_is_no_question_is_refused_and_said() {
    let (_dir, serving) = open(None);
    for (question, wanted) in [
        ("x\n", "bad_request"),
        ("{}\n", "bad_request"),
        ("{\"v\":2,\"do\":\"list\"}\n", "bad_request"),
        ("{\"v\":1,\"do\":\"get\"}\n", "bad_request"),
        ("{\"v\":1,\"do\":\"get\",\"do\":\"list\"}\n", "bad_request"),
        ("{\"v\":1,\"do\":\"list\",\"more\":1}\n", "bad_request"),
        ("{\"v\":1,\"do\":\"get\",\"role\":\"../etc\"}\n", "bad_request"),
        ("{\"v\":1,\"do\":\"get\",\"role\":\"other\"}\n", "launcher"),
    ] {
        assert_eq!(code(&raw(&serving, question.as_bytes()).await), wanted, "{question}");
    }
    let held = raw(&serving, b"{\"v\":1,\"do\":\"list\"}\n").await;
    assert_eq!(held, "{\"ok\":{\"leases\":[],\"roles\":[\"orders\"]}}\n");
}

#[tokio::test]
async fn a_question_without_end_is_broken_off() {
    let (_dir, serving) = open(None);
    let long = vec![b' '; QUESTION_MAX + 1];
    assert_eq!(code(&raw(&serving, &long).await), "too_large");
    let mut stream = UnixStream::connect(serving.path()).await.unwrap();
    stream.write_all(b"{\"v\":1,\"do\":\"list\"}").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(code(&answer), "bad_request");
}

#[tokio::test]
async fn in_tight_mode_only_the_token_opens() {
    let token = Token::new(&SeededEntropy::new(1));
    let text = token.text();
    let (_dir, serving) = open(Some(token));
    let other = Token::new(&SeededEntropy::new(2)).text();
    for shown in ["", &format!(",\"token\":\"{}\"", *other), ",\"token\":\"\""] {
        for what in ["\"list\"", "\"get\",\"role\":\"orders\"", "\"release\",\"role\":\"orders\""] {
            let answer = raw(&serving, format!("{{\"v\":1,\"do\":{what}{shown}}}\n").as_bytes()).await;
            assert_eq!(code(&answer), "no_token");
            assert!(!answer.contains(&**text));
        }
    }
    let client = Client::new(serving.path().to_owned(), serving.token().and_then(copy));
    assert_eq!(client.list().await.unwrap(), []);
    assert_eq!(client.release(&"orders".parse().unwrap()).await.unwrap(), 0);
    let stranger = Client::new(serving.path().to_owned(), None);
    let refused = stranger.get(&Want::role("orders".parse().unwrap()), false).await.unwrap_err().to_string();
    assert!(refused.contains("NOCKVAULT_AGENT_TOKEN_FD"), "{refused}");
}

fn copy(token: &Token) -> Option<std::sync::Arc<Token>> {
    use std::os::fd::AsRawFd as _;
    let file = token.file().unwrap();
    Token::inherited(&|_| Some(file.as_raw_fd().to_string())).unwrap().map(Into::into)
}

#[tokio::test]
async fn more_than_are_served_at_once_wait_and_are_served() {
    let (_dir, serving) = open(None);
    let mut idle = Vec::new();
    for _ in 0..80 {
        idle.push(UnixStream::connect(serving.path()).await.unwrap());
    }
    let client = Client::new(serving.path().to_owned(), None);
    let late = tokio::spawn(async move { client.list().await });
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert!(!late.is_finished(), "the places are taken");
    drop(idle);
    assert_eq!(late.await.unwrap().unwrap(), []);
}

#[tokio::test]
async fn a_launcher_that_is_gone_is_told_of() {
    let (_dir, serving) = open(None);
    let client = Client::new(serving.path().to_owned(), None);
    drop(serving);
    let why = client.list().await.unwrap_err().to_string();
    assert!(why.contains("has it ended?"), "{why}");
}

#[test]
fn a_credential_is_one_line_and_comes_back_as_it_was() {
    let whole = serde_json::json!({"type": "kv", "value": "a\nb\u{2028}\"", "n": 7});
    let line = credential(&given(&whole));
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    let answer: form::Answer<form::Credential<'_>> = serde_json::from_slice(&line).unwrap();
    let back = answer.ok.unwrap().given().unwrap();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(back.secret.expose_json()).unwrap(), whole);
    assert_eq!((back.kind.as_str(), back.role.as_str()), ("kv", "orders"));
}
