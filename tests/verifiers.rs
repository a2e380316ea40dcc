//! Tokens of a real vault, checked by those who will: PyJWT and jose, with the keys as they are served over HTTP.

#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead as _, BufReader, Lines, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

mod programs;

use nockvault::base64url;
use programs::{Vault, foreign};
use serde_json::{Value, json};

const ISSUER: &str = "https://vault.example";
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/verifiers");

/// A program that answers a line for each line.
struct Peer {
    child: Child,
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peer {
    fn start(mut command: Command) -> Peer {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Peer { child, to, from: BufReader::new(from).lines() }
    }

    fn ask(&mut self, question: &Value) -> Value {
        writeln!(self.to, "{question}").unwrap();
        serde_json::from_str(&self.from.next().expect("it ended; its standard error says why").unwrap()).unwrap()
    }
}

/// The agent `kit`.
fn agent(vault: &Vault) -> Peer {
    let mut command = foreign::python(vault.path());
    command.arg(format!("{FOLDER}/ask.py")).args(["vault/prod.card", "kit.ed25519"]);
    Peer::start(command)
}

/// Both verifiers.
struct Verifiers([(&'static str, Peer); 2]);

impl Verifiers {
    fn start(vault: &Vault) -> Verifiers {
        let keys = format!("http://{}/.well-known/jwks.json", address(vault));
        let mut python = foreign::python(vault.path());
        python.arg(format!("{FOLDER}/verify.py"));
        let mut node = foreign::node(vault.path());
        node.arg(format!("{FOLDER}/verify.mjs"));
        Verifiers([("PyJWT", python), ("jose", node)].map(|(name, mut command)| {
            command.args([ISSUER, &keys]);
            (name, Peer::start(command))
        }))
    }

    fn ask(&mut self, token: &str, typ: &str, alg: &str, audience: Option<&str>) -> [(&'static str, Value); 2] {
        let case = json!({ "token": token, "typ": typ, "alg": alg, "audience": audience });
        self.0.each_mut().map(|(name, peer)| (*name, peer.ask(&case)))
    }

    /// The claims, which both read alike.
    #[track_caller]
    fn good(&mut self, token: &str, alg: &str) -> Value {
        let [(_, one), (_, two)] = self.ask(token, "nv+jwt", alg, Some("orders"));
        assert!(one["claims"].is_object(), "PyJWT: {one}");
        assert_eq!(one, two);
        one["claims"].clone()
    }

    /// Refused by both for this: what PyJWT calls it, and jose.
    #[track_caller]
    fn refused(&mut self, asked: (&str, &str, &str, Option<&str>), wanted: [&str; 2]) {
        let (token, typ, alg, audience) = asked;
        for ((name, answer), wanted) in self.ask(token, typ, alg, audience).iter().zip(wanted) {
            assert_eq!(answer["refused"], wanted, "{name}: {answer}");
        }
    }
}

fn address(vault: &Vault) -> String {
    vault.ready.split("http=http://").nth(1).unwrap().trim().to_owned()
}

/// The body of what is served at `path`.
fn fetched(vault: &Vault, path: &str) -> String {
    let mut stream = TcpStream::connect(address(vault)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: vault\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    body.to_owned()
}

/// A vault with two roles for tokens, one for each name of the algorithm.
fn start() -> Vault {
    let vault = Vault::start_with(|config| {
        config.replace("# issuer = \"https://vault.example.org\"", &format!("issuer = \"{ISSUER}\""))
    });
    vault.vaultctl(&["keygen", "--agent", "kit"]).ok();
    vault.vaultctl(&["agent", "register", "kit.register"]).ok();
    let audience = r#"audience=["orders","invoices"]"#;
    let claims = r#"claims={"groups":["agents","{{agent}}"],"at":{"role":"{{role}}"}}"#;
    for (role, alg) in [("older", "alg=EdDSA"), ("newer", "alg=Ed25519")] {
        let set = ["--set", audience, "--set", "scope=read write", "--set", alg, "--set", claims];
        vault.vaultctl(&[&["role", "create", role, "--engine", "jwt"], &set[..]].concat()).ok();
        vault.vaultctl(&["grant", "kit", role, "--ttl", "15m", "--max-ttl", "1h"]).ok();
    }
    vault
}

fn ask(agent: &mut Peer, role: &str) -> (String, String) {
    let had = agent.ask(&json!({ "role": role, "params": { "audience": "orders" } }));
    (had["token"].as_str().unwrap().to_owned(), had["lease"].as_str().unwrap().to_owned())
}

/// The token with one character of its signature changed.
fn spoilt(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let other = if signature.as_bytes()[40] == b'A' { "B" } else { "A" };
    format!("{signed}.{}{other}{}", &signature[..40], &signature[41..])
}

/// The token with another claim in it, under the old signature.
fn edited(token: &str, name: &str, value: Value) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    let mut claims: Value = serde_json::from_slice(&base64url::decode(parts[1]).unwrap()).unwrap();
    claims[name] = value;
    [parts[0], &base64url::encode(claims.to_string().as_bytes()), parts[2]].join(".")
}

#[test]
fn a_token_is_taken_by_others_with_the_keys_as_served_and_a_wrong_one_is_not() {
    let vault = start();
    let (mut agent, mut verifiers) = (agent(&vault), Verifiers::start(&vault));
    for (role, alg, other) in [("older", "EdDSA", "Ed25519"), ("newer", "Ed25519", "EdDSA")] {
        let wish =
            json!({ "role": role, "ttl": 60, "params": { "audience": "orders", "scope": "write" }, "sig_pk": true });
        let had = agent.ask(&wish);
        let token = had["token"].as_str().unwrap();
        let claims = verifiers.good(token, alg);
        assert_eq!(claims["cnf"]["jkt"], had["jkt"], "the thumbprint of the session's key");
        assert_eq!((&claims["sub"], &claims["iss"]), (&json!("nv:kit"), &json!(ISSUER)));
        assert_eq!((&claims["aud"], &claims["scope"]), (&json!("orders"), &json!("write")));
        assert_eq!((&claims["groups"], &claims["at"]["role"]), (&json!(["agents", "kit"]), &json!(role)));
        assert_eq!((&claims["jti"], claims["nbf"] == claims["iat"]), (&had["lease"], true));

        let bad = ["InvalidSignatureError", "ERR_JWS_SIGNATURE_VERIFICATION_FAILED"];
        verifiers.refused((&spoilt(token), "nv+jwt", alg, Some("orders")), bad);
        verifiers.refused((&edited(token, "sub", json!("nv:root")), "nv+jwt", alg, Some("orders")), bad);
        let claim = ["InvalidAudienceError", "ERR_JWT_CLAIM_VALIDATION_FAILED"];
        verifiers.refused((token, "nv+jwt", alg, Some("invoices")), claim);
        let name = ["InvalidAlgorithmError", "ERR_JOSE_ALG_NOT_ALLOWED"];
        verifiers.refused((token, "nv+jwt", other, Some("orders")), name);
        let typ = ["InvalidTokenError", "ERR_JWT_CLAIM_VALIDATION_FAILED"];
        verifiers.refused((token, "nv-revoked+jwt", alg, Some("orders")), typ);
    }
    let wish = json!({ "role": "older", "ttl": 1, "params": { "audience": "orders" } });
    let short = agent.ask(&wish)["token"].as_str().unwrap().to_owned();
    std::thread::sleep(Duration::from_millis(2100));
    let over = ["ExpiredSignatureError", "ERR_JWT_EXPIRED"];
    verifiers.refused((&short, "nv+jwt", "EdDSA", Some("orders")), over);

    let document: Value = serde_json::from_str(&fetched(&vault, "/.well-known/openid-configuration")).unwrap();
    assert_eq!(document["issuer"], ISSUER);
    assert_eq!(document["jwks_uri"], format!("{ISSUER}/.well-known/jwks.json"));
}

#[test]
fn tokens_of_the_old_key_and_of_the_new_are_taken_until_the_old_one_is_withdrawn() {
    let mut vault = start();
    let (before, after) = {
        let (mut agent, mut verifiers) = (agent(&vault), Verifiers::start(&vault));
        let (before, _) = ask(&mut agent, "older");
        let told = vault.vaultctl(&["key", "rotate", "jwt", "--now", "--field", "kid"]).ok();
        let (after, _) = ask(&mut agent, "newer");
        let keys: Value = serde_json::from_str(&fetched(&vault, "/.well-known/jwks.json")).unwrap();
        assert_eq!(keys["keys"].as_array().unwrap().len(), 2);
        assert_eq!(keys["keys"][0]["kid"], told.trim());
        verifiers.good(&before, "EdDSA");
        verifiers.good(&after, "Ed25519");
        (before, after)
    };
    vault.restart();
    let (mut agent, mut verifiers) = (agent(&vault), Verifiers::start(&vault));
    verifiers.good(&before, "EdDSA");
    verifiers.good(&after, "Ed25519");

    // A key that is published and does not sign yet changes nothing.
    vault.vaultctl(&["key", "rotate", "jwt"]).ok();
    let (meanwhile, _) = ask(&mut agent, "older");
    verifiers.good(&meanwhile, "EdDSA");

    vault.vaultctl(&["key", "rotate", "jwt", "--now", "--withdraw"]).ok();
    let (newest, _) = ask(&mut agent, "older");
    verifiers.good(&newest, "EdDSA");
    for (token, alg) in [(&before, "EdDSA"), (&after, "Ed25519"), (&meanwhile, "EdDSA")] {
        let none = ["PyJWKClientError", "ERR_JWKS_NO_MATCHING_KEY"];
        verifiers.refused((token, "nv+jwt", alg, Some("orders")), none);
    }
}

#[test]
fn who_checks_offline_learns_from_the_signed_list_which_tokens_were_revoked() {
    let vault = start();
    let (mut agent, mut verifiers) = (agent(&vault), Verifiers::start(&vault));
    let ((good, live), (token, revoked)) = (ask(&mut agent, "older"), ask(&mut agent, "older"));
    vault.vaultctl(&["lease", "revoke", &revoked]).ok();
    verifiers.good(&good, "EdDSA");
    // The token alone is good until it expires: the list is what says otherwise.
    verifiers.good(&token, "EdDSA");

    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let list = fetched(&vault, "/jwt/revoked");
        let [(_, one), (_, two)] = verifiers.ask(&list, "nv-revoked+jwt", "EdDSA", None);
        assert_eq!(one, two);
        let claims = &one["claims"];
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 300);
        let listed = claims["revoked"].as_array().unwrap();
        assert!(!listed.contains(&json!(live)));
        if listed.contains(&json!(revoked)) {
            let bad = ["InvalidSignatureError", "ERR_JWS_SIGNATURE_VERIFICATION_FAILED"];
            verifiers.refused((&edited(&list, "revoked", json!([])), "nv-revoked+jwt", "EdDSA", None), bad);
            let typ = ["InvalidTokenError", "ERR_JWT_CLAIM_VALIDATION_FAILED"];
            verifiers.refused((&list, "nv+jwt", "EdDSA", None), typ);
            return;
        }
        assert!(Instant::now() < deadline, "the revoked token does not come into the list: {one}");
        std::thread::sleep(Duration::from_millis(500));
    }
}
