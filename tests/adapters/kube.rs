//! kubectl calls an API server with what its exec plugin gives it: a token, or a client certificate.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};

use crate::loopback::{Loopback, Told};
use crate::programs::{Said, said};
use crate::stage::Stage;

/// An API server under a CA of its own, which asks for client certificates under `clients`, where it is given.
struct Api {
    server: Loopback,
    ca: String,
}

impl Api {
    fn start(clients: Option<&str>) -> Api {
        let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
        let config = match clients {
            None => config.with_no_client_auth(),
            Some(root) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap()).unwrap();
                let asks = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                config.with_client_cert_verifier(asks.allow_unauthenticated().build().unwrap())
            }
        };
        let config = config.with_single_cert(vec![own.cert.der().clone()], key).unwrap();
        let server = Loopback::with(Some(Arc::new(config)), |asked| {
            if asked.header("authorization") == Some("Bearer hunter2") || asked.certificate.is_some() {
                let body = json!({"major": "1", "minor": "32", "gitVersion": "v1.32.0"});
                return Told::new(200, "application/json", body.to_string());
            }
            let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Unauthorized", "code": 401});
            Told::new(401, "application/json", body.to_string())
        });
        Api { server, ca: own.cert.pem() }
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.server.port())
    }

    fn kubectl(&self, stage: &Stage, version: &str, role: &str, more: &[&str]) -> Said {
        fs::write(stage.path("api-ca.pem"), &self.ca).unwrap();
        let arguments: Vec<&str> = ["kube", role].into_iter().chain(more.iter().copied()).collect();
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "a",
            "clusters": [{"name": "a", "cluster": {"server": self.url(), "certificate-authority": "api-ca.pem"}}],
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "kit"}}],
            "users": [{"name": "kit", "user": {"exec": {
                "apiVersion": format!("client.authentication.k8s.io/{version}"),
                "command": env!("CARGO_BIN_EXE_vault-agent"), "args": arguments,
                "interactiveMode": "Never", "provideClusterInfo": true,
            }}}],
        });
        fs::write(stage.path("kubeconfig"), config.to_string()).unwrap();
        said(kubectl(stage).args(["--kubeconfig", "kubeconfig", "get", "--raw", "/version"]))
    }
}

fn kubectl(stage: &Stage) -> Command {
    stage.tool("kubectl")
}

/// The versions of the plugin's API that this kubectl speaks: `v1` came with 1.22.
fn versions(stage: &Stage) -> Vec<&'static str> {
    let said = said(kubectl(stage).args(["version", "--client", "-o", "json"])).ok();
    let version: Value = serde_json::from_str(&said).unwrap();
    let minor = version["clientVersion"]["minor"].as_str().unwrap().trim_end_matches(|c: char| !c.is_ascii_digit());
    if minor.parse::<u32>().unwrap() >= 22 { vec!["v1", "v1beta1"] } else { vec!["v1beta1"] }
}

#[test]
fn kubectl_shows_the_token_that_its_plugin_gave() {
    let (stage, api) = (Stage::with("k8s-deploy", b"hunter2"), Api::start(None));
    for version in versions(&stage) {
        assert!(api.kubectl(&stage, version, "k8s-deploy", &[]).ok().contains("v1.32.0"));
        assert!(api.kubectl(&stage, version, "k8s-deploy", &["--server", &api.url()]).ok().contains("v1.32.0"));
    }
    let shown =
        api.server.asked().iter().filter(|asked| asked.header("authorization") == Some("Bearer hunter2")).count();
    assert!(shown > 0);

    // A kubeconfig that leads to another server gets no credential to show there.
    let before = api.server.asked().len();
    let other = api.kubectl(&stage, "v1beta1", "k8s-deploy", &["--server", "https://k8s.example:6443"]);
    assert!(other.code != 0 && other.err.contains("not one of the servers"), "{other:?}");
    assert!(api.server.asked()[before..].iter().all(|asked| asked.header("authorization").is_none()));
    let refused = api.kubectl(&stage, "v1beta1", "k8s-admin", &[]);
    assert!(refused.code != 0 && refused.err.contains("no_grant"), "{refused:?}");
}

#[test]
fn kubectl_shows_the_client_certificate_that_its_plugin_gave() {
    let stage = Stage::new();
    let named = "subject.common_name=Agents of prod";
    stage.vault.vaultctl(&["ca", "create", "agents", "--engine", "x509", "--set", named]).ok();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/roles/x509-client.toml");
    stage.vault.vaultctl(&["role", "create", "k8s-cert", "--engine", "x509", "--config", file]).ok();
    stage.grant("k8s-cert");
    let root = said(&mut stage.agent(&["get", "k8s-cert", "--member", "ca"])).ok();
    let api = Api::start(Some(&root));
    let version = versions(&stage)[0];
    assert!(api.kubectl(&stage, version, "k8s-cert", &[]).ok().contains("v1.32.0"));
    let asked = api.server.asked();
    assert!(asked.iter().any(|asked| asked.certificate.is_some() && asked.header("authorization").is_none()));
}
