//! The authorities of the `ssh` engine. The stored value is the private key in OpenSSH's own format, unencrypted, as the
//! vault's seal at rest is what protects it: there is one text, and tools that people have can read it after a disaster.
//! SSH knows no chains, so that nothing can be certified from above.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use ssh_key::private::KeypairData;
use ssh_key::{HashAlg, PrivateKey};

use super::super::ca::{CertificateAuthority, Document, Ended, Published};
use super::super::members;
use super::role::Config;
use super::{Ssh, internal, key, krl, pem};
use crate::denial::{Denial, Reason};
use crate::entropy::Entropy;
use crate::id::SecretName;
use crate::secret::SecretBytes;
use crate::time::Timestamp;

/// The longest comment of an authority, in bytes.
const COMMENT_MAX: usize = 128;

/// An authority, opened.
pub(super) struct Authority(PrivateKey);

/// What an operator may want of a new authority.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    /// What stands behind the key in its public line, for people: at most 128 characters of printable ASCII.
    comment: Option<String>,
}

impl Authority {
    /// Opens a stored value.
    pub(super) fn open(stored: &SecretBytes) -> Result<Authority, Denial> {
        let key = PrivateKey::from_openssh(stored.expose()).ok();
        let key = key.filter(|key| matches!(key.key_data(), KeypairData::Ed25519(_)));
        // What the reader found wrong is not told: it may quote the value.
        key.map(Authority).ok_or_else(|| {
            Denial::new(Reason::Internal).internal("the stored authority is no unencrypted OpenSSH key of Ed25519")
        })
    }

    /// The key that signs.
    pub(super) fn key(&self) -> &PrivateKey {
        &self.0
    }

    /// The public line, without its end.
    pub(super) fn line(&self) -> Result<String, Denial> {
        self.0.public_key().to_openssh().map_err(internal)
    }

    /// What may be shown of it.
    pub(super) fn shown(&self) -> Result<Map<String, Value>, Denial> {
        let mut shown = Map::new();
        shown.insert("fingerprint".into(), json!(self.0.fingerprint(HashAlg::Sha256).to_string()));
        shown.insert("kind".into(), json!("ssh"));
        shown.insert("public_key".into(), json!(self.line()?));
        Ok(shown)
    }
}

/// Takes an operator's key. What is wrong is told with the way out.
fn brought(value: &SecretBytes) -> Result<PrivateKey, &'static str> {
    let text = value.expose().trim_ascii();
    if !text.starts_with(b"-----BEGIN OPENSSH PRIVATE KEY-----") {
        return Err(
            "it is not a private key in OpenSSH's format; `ssh-keygen -p -f FILE` writes a key file anew in it",
        );
    }
    let key = PrivateKey::from_openssh(text).map_err(|_| {
        "it does not read as an Ed25519 private key of OpenSSH; see that the whole file was sent and that \
         `ssh-keygen -y -f FILE` reads it and shows ssh-ed25519"
    })?;
    if key.is_encrypted() {
        return Err(
            "it is encrypted; take the passphrase off a copy with `ssh-keygen -p -N '' -f COPY`, import that and \
                    destroy it",
        );
    }
    match key.key_data() {
        KeypairData::Ed25519(_) => Ok(key),
        _ => Err("it is not an Ed25519 key; make one with `ssh-keygen -t ed25519`, or have the vault make one"),
    }
}

fn is_comment(comment: &[u8]) -> bool {
    comment.len() <= COMMENT_MAX && comment.iter().all(|byte| (b' '..=b'~').contains(byte))
}

impl CertificateAuthority for Ssh {
    fn make(&self, wish: &Map<String, Value>, _: Timestamp, entropy: &dyn Entropy) -> Result<SecretBytes, Denial> {
        let comment = members::<Wish>(wish, Reason::BadRole)?.comment.unwrap_or_default();
        if !is_comment(comment.as_bytes()) {
            let detail = format!("comment has at most {COMMENT_MAX} characters of printable ASCII");
            return Err(Denial::new(Reason::BadRole).detail(detail));
        }
        let key = PrivateKey::new(KeypairData::Ed25519(key::drawn(entropy)), comment).map_err(internal)?;
        pem(&key)
    }

    fn import(&self, value: &SecretBytes, _: Timestamp) -> Result<SecretBytes, Denial> {
        let mut key = brought(value).map_err(|what| Denial::new(Reason::BadSealedInput).detail(what))?;
        if !is_comment(key.comment().as_ref()) {
            key.set_comment(String::new());
        }
        pem(&key)
    }

    fn certify(&self, _: &SecretBytes, _: &str, _: Timestamp) -> Result<SecretBytes, Denial> {
        let detail = "an SSH authority stands by itself: hosts trust its public line, and there are no chains";
        Err(Denial::new(Reason::BadRole).detail(detail))
    }

    fn public(&self, stored: &SecretBytes) -> Result<Map<String, Value>, Denial> {
        Authority::open(stored)?.shown()
    }

    fn of_role(&self, config: &Map<String, Value>) -> Result<SecretName, Denial> {
        Config::read(config).map(|config| config.ca)
    }

    fn publish(
        &self,
        stored: &SecretBytes,
        document: Document,
        ended: &[Ended],
        now: Timestamp,
    ) -> Result<Published, Denial> {
        let authority = Authority::open(stored)?;
        match document {
            Document::Authority => {
                Ok(Published { media_type: "text/plain", bytes: format!("{}\n", authority.line()?).into_bytes() })
            }
            Document::Revoked => {
                let key = authority.key().public_key().to_bytes().map_err(internal)?;
                Ok(Published { media_type: "application/octet-stream", bytes: krl::list(&key, ended, now)? })
            }
        }
    }
}
