//! The ways in which a tool gets a value as it is: `get`, `api-key`, `provide`, and NockGuard's HTTP, with curl.

use nockvault::entropy::OsEntropy;
use nockvault::launcher::adapters::nockcc;
use serde_json::{Value, json};

use crate::programs::{fed, said};
use crate::stage::Stage;

#[test]
fn a_value_comes_alone_or_with_all_that_is_known_of_it() {
    let stage = Stage::with("model-key", "sk-\u{fc}".as_bytes());
    let shown = said(&mut stage.agent(&["get", "model-key"]));
    assert_eq!((shown.out.as_str(), shown.err.as_str()), ("sk-\u{fc}\n", ""));
    assert_eq!(said(&mut stage.agent(&["api-key", "model-key"])).ok(), "sk-\u{fc}\n");
    let whole = said(&mut stage.agent(&["get", "model-key", "-o", "json", "--ttl", "5m"])).ok();
    let whole: Value = serde_json::from_str(&whole).unwrap();
    assert_eq!(
        (&whole["role"], &whole["kind"], &whole["secret"]["value"]),
        (&json!("model-key"), &json!("kv"), &json!("sk-\u{fc}"))
    );
    let missing = said(&mut stage.agent(&["get", "model-key", "--member", "none"])).fails(1);
    assert!(missing.contains("no text none; it has encoding, name, value, version"), "{missing}");
    let refused = said(&mut stage.agent(&["get", "other"])).fails(2);
    assert!(refused.contains("no_grant"), "{refused}");
    // What is no text comes as it is.
    stage.put("binary", &[0, 255, 10, 1]);
    let raw = stage.agent(&["get", "binary"]).output().unwrap();
    assert_eq!(raw.stdout, [0, 255, 10, 1]);
    let none = said(&mut stage.agent(&["api-key", "binary"]));
    assert_eq!((none.code, none.out.as_str()), (1, ""));
    let lines = said(&mut stage.agent(&["list"])).fails(1);
    assert!(lines.contains("there is no launcher here"), "{lines}");
    assert_eq!(stage.leases(), 6, "with the agent's own key, each has a lease that lives until its end");
}

#[test]
fn a_provider_answers_each_id_for_itself() {
    let stage = Stage::with("model-key", b"sk-1");
    stage.put("deploy", b"-----BEGIN KEY-----\nAA\n-----END");
    let ask = |arguments: &[&str], question: &Value| {
        let said = fed(&mut stage.agent(&[&["provide"], arguments].concat()), question.to_string().as_bytes());
        serde_json::from_str::<Value>(&said.ok()).unwrap()
    };
    let question =
        json!({"protocolVersion": 1, "provider": "nockvault", "ids": ["model-key", "deploy:value", "other"]});
    let told = ask(&[], &question);
    assert_eq!(told["values"], json!({"model-key": "sk-1", "deploy:value": "-----BEGIN KEY-----\nAA\n-----END"}));
    let why = told["errors"]["other"]["message"].as_str().unwrap();
    assert!(why.contains("no_grant"), "{told}");
    let named = ask(&["--id", "MODEL_KEY=model-key"], &json!({"protocolVersion": 1, "ids": ["MODEL_KEY", "deploy"]}));
    assert_eq!(named["values"], json!({"MODEL_KEY": "sk-1"}));
    assert_eq!(named["errors"]["deploy"]["message"], "this id is not provided here");
    let bad = fed(&mut stage.agent(&["provide"]), b"{\"protocolVersion\":2,\"ids\":[]}");
    assert_eq!((bad.code, bad.out.as_str()), (1, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_gets_what_nockguard_would_and_nothing_without_the_token() {
    let stage = Stage::with("model-key", b"sk-12345678");
    stage.put("other", b"not for this launcher");
    let wallet = stage.wallet(&["model-key"]);
    let names = [("MODEL_KEY".to_owned(), "model-key".parse().unwrap())].into();
    let serving = nockcc::serve(wallet.clone(), names, &OsEntropy).await.unwrap();
    let token = serving.token().text();
    let curl = |name: &str, more: &[&str]| {
        let url = format!("{}/api/secrets/{name}/", serving.base_url());
        let form = ["-s", "-o", "-", "-w", "%{http_code}", &url];
        said(stage.bare("curl").args(form).args(more)).ok()
    };
    let shown = format!("X-Agent-Token: {}", *token);
    for _ in 0..2 {
        let told = curl("MODEL_KEY", &["-H", &shown]);
        assert_eq!(told, "{\"success\":true,\"data\":{\"value\":\"sk-12345678\"}}\n200");
    }
    assert_eq!(stage.leases(), 1, "it is asked for once");
    let refused = "{\"success\":false,\"error\":\"refused\"}\n403";
    let bearer = format!("Authorization: Bearer {}", *token);
    let evil = format!("Host: evil.example:{}", serving.base_url().rsplit_once(':').unwrap().1);
    for more in [
        &[][..],
        &["-H", "X-Agent-Token: x"],
        &["-H", &bearer],
        &["-H", &shown, "-H", &evil],
        &["-H", &shown, "-d", "x"],
    ] {
        assert_eq!(curl("MODEL_KEY", more), refused, "{more:?}");
    }
    assert_eq!(curl("other", &["-H", &shown]), refused);
    stage.vault.vaultctl(&["revoke", "kit", "model-key"]).ok();
    wallet.close().await.unwrap();
    assert_eq!(curl("MODEL_KEY", &["-H", &shown]), refused);
}
