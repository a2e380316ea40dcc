//! The docker CLI looks a registry's credential up and hands it to its engine; the engine here is a few lines that look
//! at what they were handed.

use std::os::unix::fs::symlink;
use std::process::Command;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Value, json};

use crate::loopback::{Loopback, Told};
use crate::programs::{fed, said};
use crate::stage::Stage;

/// An engine that pulls everything.
fn engine() -> Loopback {
    Loopback::start(|asked| match asked.path.as_str() {
        "/_ping" => Told::new(200, "text/plain", "OK").with("Api-Version", "1.41").with("Ostype", "linux"),
        path if path.ends_with("/images/create") => Told::new(200, "application/json", "{\"status\":\"pulled\"}\n"),
        path if path.ends_with("/info") => Told::new(200, "application/json", "{}"),
        _ => Told::new(404, "application/json", "{\"message\":\"no\"}"),
    })
}

/// What the CLI handed to the engine for this pull.
fn handed(engine: &Loopback) -> Value {
    let pulls = engine.asked();
    let pull = pulls.iter().rfind(|asked| asked.path.ends_with("/images/create")).expect("a pull");
    let Some(auth) = pull.header("x-registry-auth") else { return Value::Null };
    let either = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    serde_json::from_slice(&GeneralPurpose::new(&URL_SAFE, either).decode(auth).unwrap()).unwrap()
}

/// The link by which docker finds its helper, and the CLI with it on its path.
fn docker(stage: &Stage, engine: &Loopback) -> Command {
    let bin = stage.path("bin");
    if !bin.exists() {
        std::fs::create_dir(&bin).unwrap();
        symlink(env!("CARGO_BIN_EXE_vault-agent"), bin.join("docker-credential-nockvault")).unwrap();
        std::fs::create_dir_all(stage.path(".docker")).unwrap();
        let config = json!({"credHelpers": {"registry.example": "nockvault", "public.example": "nockvault"}});
        std::fs::write(stage.path(".docker/config.json"), config.to_string()).unwrap();
        std::fs::create_dir_all(stage.path(".config/nockvault")).unwrap();
        let hosts = "# what opens which registry\nbot@registry.example=registry-pull\n";
        std::fs::write(stage.path(".config/nockvault/docker.hosts"), hosts).unwrap();
    }
    let mut docker = stage.tool("docker");
    docker.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
    docker.env("DOCKER_HOST", format!("tcp://127.0.0.1:{}", engine.port()));
    docker
}

#[test]
fn a_pull_carries_the_credential_of_its_registry_and_of_no_other() {
    let (stage, engine) = (Stage::with("registry-pull", b"hunter2"), engine());
    said(docker(&stage, &engine).args(["pull", "-q", "registry.example/team/x:1"])).ok();
    let auth = handed(&engine);
    assert_eq!((&auth["username"], &auth["password"]), (&json!("bot"), &json!("hunter2")), "{auth}");
    // This one has the helper too, but no role is written down for it: docker goes on as nobody.
    said(docker(&stage, &engine).args(["pull", "-q", "public.example/x:1"])).ok();
    let nobody = handed(&engine);
    assert!(nobody.get("password").is_none(), "{nobody}");
}

#[test]
fn without_a_grant_docker_goes_on_as_nobody_and_the_helper_says_why() {
    let (stage, engine) = (Stage::with("registry-pull", b"hunter2"), engine());
    stage.vault.vaultctl(&["revoke", "kit", "registry-pull"]).ok();
    said(docker(&stage, &engine).args(["pull", "-q", "registry.example/x:1"])).ok();
    let nobody = handed(&engine);
    assert!(nobody.get("password").is_none(), "{nobody}");
    let mut helper = stage.tool(stage.path("bin/docker-credential-nockvault"));
    let refused = fed(helper.arg("get"), b"registry.example");
    assert!(refused.code == 1 && refused.out.contains("no_grant"), "{refused:?}");
}

#[test]
fn the_helper_speaks_as_docker_credential_helpers_does() {
    let (stage, engine) = (Stage::with("registry-pull", b"hunter2"), engine());
    drop(docker(&stage, &engine));
    let helper = |action: &str, input: &str| {
        let mut helper = stage.tool(stage.path("bin/docker-credential-nockvault"));
        fed(helper.arg(action), input.as_bytes())
    };
    let told: Value = serde_json::from_str(&helper("get", "registry.example\n").ok()).unwrap();
    assert_eq!(told, json!({"ServerURL": "registry.example", "Username": "bot", "Secret": "hunter2"}));
    for (action, input, wanted) in [
        ("get", "other.example", "credentials not found in native keychain\n"),
        ("get", "http://registry.example", "credentials not found in native keychain\n"),
        ("get", "", "no credentials server URL\n"),
        ("get", "registry.example\nx", "the registry's address has a control character in it\n"),
        ("store", "{\"ServerURL\":\"registry.example\",\"Username\":\"a\",\"Secret\":\"b\"}", "nothing is stored"),
    ] {
        let said = helper(action, input);
        assert!(said.code == 1 && said.out.starts_with(wanted), "{action} {input:?}: {said:?}");
    }
    assert_eq!(helper("list", "").ok(), "{\"https://registry.example\":\"bot\"}\n");
    helper("erase", "registry.example").ok();
    assert!(helper("version", "").ok().starts_with("docker-credential-nockvault "));
}
