//! Kubernetes' exec plugin: `kubectl` and client-go say in `KUBERNETES_EXEC_INFO` which version they speak and, where
//! asked to, which cluster they are about to call; an `ExecCredential` of that version with a token or a client
//! certificate goes to standard output, and is kept by them until `expirationTimestamp`.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{instant, json};
use crate::client::fault::Fault;
use crate::launcher::ask::Given;

const KIND: &str = "ExecCredential";
const GROUP: &str = "client.authentication.k8s.io/";
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];

/// What the caller said of itself.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    api_version: String,
    #[serde(default)]
    spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
struct Spec {
    cluster: Option<Cluster>,
}

#[derive(Debug, Deserialize)]
struct Cluster {
    server: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Credential<'a> {
    api_version: &'a str,
    kind: &'a str,
    status: Status<'a>,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    client_certificate_data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_key_data: Option<&'a str>,
    expiration_timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
}

/// A caller, whose version is one that is spoken here.
#[derive(Debug)]
pub struct Caller {
    api_version: String,
}

impl Caller {
    /// Reads `KUBERNETES_EXEC_INFO`. Without it, `v1` is spoken, for a look by hand. Where `servers` are named, the
    /// caller must be about to call one of them, and say so (`provideClusterInfo: true`).
    ///
    /// # Errors
    /// [`Fault::Local`] for another version, another server, or what is no `ExecCredential`.
    pub fn read(info: Option<&str>, servers: &[String]) -> Result<Caller, Fault> {
        let info = match info.filter(|info| !info.is_empty()) {
            Some(text) => serde_json::from_str::<Info>(text)
                .map_err(|why| Fault::local(format!("KUBERNETES_EXEC_INFO is no {KIND}: {why}")))?,
            None => Info { api_version: format!("{GROUP}v1"), spec: Spec::default() },
        };
        let version = info.api_version.strip_prefix(GROUP);
        if !version.is_some_and(|version| VERSIONS.contains(&version)) {
            return Err(Fault::Local(format!(
                "apiVersion {:?} is not spoken; write {GROUP}v1 in the kubeconfig",
                info.api_version
            )));
        }
        if !servers.is_empty() {
            let server = info.spec.cluster.map(|cluster| cluster.server).ok_or_else(|| {
                Fault::local("the cluster is not named; write provideClusterInfo: true in the kubeconfig")
            })?;
            if !servers.iter().any(|own| own.trim_end_matches('/') == server.trim_end_matches('/')) {
                return Err(Fault::Local(format!("{server:?} is not one of the servers that this credential is for")));
            }
        }
        Ok(Caller { api_version: info.api_version })
    }

    /// What it is told: a client certificate where the secret is one, else a token.
    ///
    /// # Errors
    /// [`Fault::Local`] where the secret is neither.
    pub fn answer(&self, given: &Given, member: Option<&str>) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let expiration_timestamp = instant(given.exp);
        let status = |status| json(&Credential { api_version: &self.api_version, kind: KIND, status });
        let secret = &given.secret;
        if let (None, Some(certificate)) = (member, secret.expose("certificate")) {
            if given.kind != "x509" {
                return Err(Fault::Local(format!("a certificate of {} is none that Kubernetes reads", given.kind)));
            }
            let key = secret.expose("private_key").ok_or_else(|| {
                Fault::local("the secret has no private_key: the role certifies keys that are made elsewhere")
            })?;
            let chain = [certificate, secret.expose("chain").unwrap_or_default()].map(str::trim_end).join("\n");
            let (certificate, key) = (Some(&*chain), Some(key));
            let whole = Status {
                client_certificate_data: certificate,
                client_key_data: key,
                expiration_timestamp,
                token: None,
            };
            return Ok(status(whole));
        }
        let token = given.line(member)?;
        Ok(status(Status { token: Some(&token), expiration_timestamp, ..Status::default() }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::launcher::ask::tests::given;

    fn info(version: &str, server: Option<&str>) -> String {
        let mut info = json!({"apiVersion": format!("{GROUP}{version}"), "kind": KIND, "spec": {"interactive": false}});
        if let Some(server) = server {
            info["spec"]["cluster"] = json!({"server": server, "certificate-authority-data": "AA=="});
        }
        info.to_string()
    }

    #[test]
    fn the_answer_has_the_version_of_the_question() {
        let secret = given(&json!({"type": "jwt", "token": "a.b.c"}));
        for version in VERSIONS {
            let caller = Caller::read(Some(&info(version, None)), &[]).unwrap();
            let told: Value = serde_json::from_slice(&caller.answer(&secret, None).unwrap()).unwrap();
            let wanted = json!({
                "apiVersion": format!("{GROUP}{version}"), "kind": "ExecCredential",
                "status": {"token": "a.b.c", "expirationTimestamp": "2026-05-28T20:26:40Z"},
            });
            assert_eq!(told, wanted);
        }
        assert!(Caller::read(None, &[]).is_ok());
        for bad in [info("v1alpha1", None), "{}".into(), "x".into(), r#"{"apiVersion":"v1"}"#.into()] {
            assert!(Caller::read(Some(&bad), &[]).is_err(), "{bad}");
        }
    }

    #[test]
    fn another_cluster_gets_nothing() {
        let servers = ["https://k8s.example:6443".to_owned()];
        assert!(Caller::read(Some(&info("v1", Some("https://k8s.example:6443/"))), &servers).is_ok());
        let other = Caller::read(Some(&info("v1", Some("https://evil.example:6443"))), &servers).unwrap_err();
        assert!(other.to_string().contains("evil.example"));
        let unnamed = Caller::read(Some(&info("v1", None)), &servers).unwrap_err().to_string();
        assert!(unnamed.contains("provideClusterInfo"));
    }

    #[test]
    fn a_certificate_goes_with_its_chain_and_key() {
        let caller = Caller::read(None, &[]).unwrap();
        let whole = json!({"type": "x509", "certificate": "LEAF\n", "chain": "CA\n", "private_key": "KEY\n"});
        let told: Value = serde_json::from_slice(&caller.answer(&given(&whole), None).unwrap()).unwrap();
        assert_eq!(told["status"]["clientCertificateData"], "LEAF\nCA");
        assert_eq!(told["status"]["clientKeyData"], "KEY\n");
        assert_eq!(told["status"].get("token"), None);
        let keyless = json!({"type": "x509", "certificate": "LEAF\n", "chain": ""});
        assert!(caller.answer(&given(&keyless), None).unwrap_err().to_string().contains("private_key"));
        let ssh = json!({"type": "ssh", "certificate": "ssh-ed25519-cert-v01@openssh.com AAAA"});
        assert!(caller.answer(&given(&ssh), None).is_err());
    }
}
