//! Keys and certificates that sessions and operators bring: certification requests, chains, and SSH keys.

use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nockvault::engine::Engine as _;
use nockvault::engine::ssh::Ssh;
use nockvault::engine::x509::X509;
use nockvault::secret::SecretBytes;
use serde_json::{Map, Value, json};

use super::world;

fn x509() -> X509 {
    X509::new(Arc::new(world::entropy()))
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().expect("it is an object")
}

/// PEM as it came, or bytes put into PEM.
fn pem(data: &[u8], label: &str) -> Option<String> {
    if data.starts_with(b"-----") {
        return super::text(data).map(str::to_owned);
    }
    let lines: Vec<_> = STANDARD.encode(data).into_bytes();
    let lines: Vec<_> = lines.chunks(64).filter_map(super::text).collect();
    Some(format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n")))
}

/// A certification request: PEM, or its bytes alone.
pub(super) fn csr(data: &[u8]) -> bool {
    let Some(csr) = pem(data, "CERTIFICATE REQUEST") else { return false };
    let role = object(json!({ "ca": "agents-ca", "trust_domain": "prod.example", "key": "brought" }));
    let brought = x509().check_params(&role, &object(json!({ "csr": csr })));
    if let Err(denial) = &brought {
        super::told(format!("{denial} {}", denial.detail));
    }
    brought.is_ok()
}

/// The authority that chains are brought for.
fn own() -> &'static SecretBytes {
    static OWN: OnceLock<SecretBytes> = OnceLock::new();
    OWN.get_or_init(|| {
        let (engine, wish) =
            (x509(), object(json!({ "subject": { "common_name": "agents" }, "algorithm": "ed25519" })));
        let authority = engine.authority().expect("this engine has authorities");
        authority.make(&wish, world::NOW, &world::entropy()).expect("an authority of the usual kind")
    })
}

/// A bundle or a chain that an operator brings: PEM, or one certificate's bytes.
pub(super) fn authority(data: &[u8]) -> bool {
    let Some(text) = pem(data, "CERTIFICATE") else { return false };
    let engine = x509();
    let authority = engine.authority().expect("this engine has authorities");
    let certified = authority.certify(own(), &text, world::NOW);
    let imported = authority.import(&SecretBytes::new(text.into_bytes()), world::NOW);
    if let Ok(stored) = &imported {
        assert!(authority.public(stored).is_ok(), "what was imported cannot be shown");
    }
    for denial in [certified.as_ref().err(), imported.as_ref().err()].into_iter().flatten() {
        super::told(format!("{denial} {}", denial.detail));
    }
    let ssh = Ssh::new(Arc::new(world::entropy()));
    let keys = ssh.authority().expect("this engine has authorities");
    let key = keys.import(&SecretBytes::new(data.to_vec()), world::NOW);
    certified.is_ok() || imported.is_ok() || key.is_ok()
}

/// An SSH public key: its line, or the bytes of its base64.
pub(super) fn sshkey(data: &[u8]) -> bool {
    let line = match super::text(data) {
        Some(line) if line.starts_with("ssh-") => line.to_owned(),
        _ => format!("ssh-ed25519 {}", STANDARD.encode(data)),
    };
    let role = object(json!({ "ca": "hosts-ca", "principals": ["deploy"], "key": "brought" }));
    let ssh = Ssh::new(Arc::new(world::entropy()));
    let taken = ssh.check_params(&role, &object(json!({ "public_key": line })));
    match &taken {
        Ok(()) => {
            let base64 = line.split(' ').nth(1).expect("it has a key");
            assert!(line.starts_with("ssh-ed25519 ") && base64.len() == 68 && line.len() <= 512);
            let bytes = STANDARD.decode(base64).expect("it is base64");
            assert_eq!(STANDARD.encode(bytes), base64, "a key with two writings was taken");
        }
        Err(denial) => super::told(format!("{denial} {}", denial.detail)),
    }
    taken.is_ok()
}

/// A certification request, the chain of the authority here, and that with its key: all PEM.
#[must_use]
pub fn example() -> [String; 3] {
    let engine = x509();
    let shown = engine.authority().expect("this engine has authorities").public(own()).expect("it was made here");
    let stored: Value = serde_json::from_slice(own().expose()).expect("it is JSON");
    let [request, chain] = ["request", "chain"].map(|member| shown[member].as_str().expect("it is shown").to_owned());
    let key = stored["private_key"].as_str().expect("it is kept");
    let bundle = format!("-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n{chain}");
    [request, chain, bundle]
}
