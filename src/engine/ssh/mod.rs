//! The `ssh` engine signs OpenSSH user certificates over Ed25519 keys
//! (<https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.certkeys>). The key is the session's own, which
//! then never leaves it, or one made here and sealed with its certificate. What a certificate allows is the role's; its
//! key id is the handle and its serial number follows from the lease ([`serial`]), so that the log of a host names agent
//! and lease at each login.
//!
//! Role: `{"ca": NAME, "principals": [TEXT, ..], "extensions": [..], "critical_options": {"force_command": TEXT,
//! "source_address": [CIDR, ..]}, "key": "brought" | "made" | "either"}`; all but the first two may be left out. A role
//! without principals is refused, since a certificate without any would let its holder in as anybody. Without
//! `extensions` a certificate allows what a login needs to run a command and nothing else: no terminal, no forwarding of
//! any kind, no `~/.ssh/rc`. Params: `{"principals": [TEXT, ..], "public_key": "ssh-ed25519 AAAA.."}`, both optional: the
//! principals are some of the role's (all of them where left out), and without a key one is made here. Secret:
//! `{"ca","certificate","expires","key_id","principals","private_key","serial","type":"ssh"}`, `private_key` only where it
//! was made here.
//!
//! # Time
//! A certificate counts whole seconds. It ends where its lease does, rounded down, so that it never outlives its permit.
//! It begins [`BACKDATED`] earlier than it was signed, so that a host whose clock is a little behind takes it at once;
//! nobody has the certificate before it exists, so that this gives nothing away. Certificates cannot be prolonged: a
//! session asks for another.
//!
//! # What a host needs
//! In `sshd_config`, three files:
//! ```text
//! TrustedUserCAKeys /etc/ssh/nockvault_ca.pub
//! RevokedKeys /etc/ssh/nockvault_revoked
//! AuthorizedPrincipalsFile /etc/ssh/principals/%u
//! ```
//! The first holds the published line of the authority. The third lists, for each account, the principals that may log
//! in to it, one a line; without it an account takes the principal of its own name. While an authority changes its key,
//! `TrustedUserCAKeys` holds a line for the old and one for the new.
//!
//! The second is the published list of the revoked. `sshd` reads the file at each login and asks nobody, so that a
//! revocation is known to a host when the host has fetched the list, and not before. **The life of a lease is what really
//! ends a certificate**: grants of this engine should be minutes long. A session that is open already stays open. The
//! file must exist, if only as an empty list: where `sshd` cannot read it, it refuses every key. So it is replaced in one
//! step, by a timer, and only by what reads as a list:
//! ```text
//! #!/bin/sh
//! # /usr/local/sbin/fetch-revoked URL, each minute
//! set -eu
//! new=$(mktemp /etc/ssh/.nockvault_revoked.XXXXXX)
//! trap 'rm -f "$new"' EXIT
//! curl --fail --silent --show-error --max-time 20 --output "$new" "$1"
//! ssh-keygen -Q -l -f "$new" >/dev/null
//! chmod 644 "$new"
//! mv -f "$new" /etc/ssh/nockvault_revoked
//! ```
//! The list is not signed, as the module that writes it explains: fetch it by a path that nobody else can write to, such
//! as HTTPS or the host's own configuration management.

mod authority;
mod certificate;
mod key;
mod krl;
mod role;

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

pub use certificate::{BACKDATED, serial};

use super::ca::CertificateAuthority;
use super::kv::object;
use super::{Capabilities, Engine, Mint, Minted, Schemas, StoredValues, schema_of};
use crate::denial::{Denial, Reason};
use crate::entropy::Entropy;
use crate::id::SecretName;
use crate::secret::SecretBytes;
use crate::statement::reply::Revocation;
use crate::statement::secret::SecretUse;
use crate::time::Timestamp;

use authority::Authority;
use role::{Config, Params};

/// The engine. Its authorities are stored secrets of the use `ca`.
#[derive(Clone, Debug)]
pub struct Ssh {
    entropy: Arc<dyn Entropy>,
}

/// What a session gets.
#[derive(Serialize, JsonSchema)]
struct Secret<'a> {
    /// The line of the authority that signed, as it stands in `TrustedUserCAKeys`.
    ca: &'a str,
    /// The certificate, as it stands in a file `id_ed25519-cert.pub`.
    certificate: &'a str,
    /// When the certificate ends, in milliseconds since the Unix epoch.
    expires: Timestamp,
    /// The key id: the handle, which the host logs.
    key_id: &'a str,
    /// Whom the certificate lets its holder log in as.
    principals: &'a [&'a str],
    /// The private key in OpenSSH's format, where it was made here; for a file of mode 0600.
    #[serde(skip_serializing_if = "Option::is_none")]
    private_key: Option<&'a str>,
    /// The serial number, in decimal.
    serial: &'a str,
    /// `ssh`.
    #[serde(rename = "type")]
    kind: &'static str,
}

impl Ssh {
    /// The engine that draws keys and nonces from `entropy`.
    #[must_use]
    pub fn new(entropy: Arc<dyn Entropy>) -> Ssh {
        Ssh { entropy }
    }
}

/// The newest version of an authority, opened.
async fn stored_authority(name: &SecretName, values: &dyn StoredValues) -> Result<(Authority, u64), Denial> {
    let stored = values.stored_value(SecretUse::Ca, name, None).await?;
    let stored = stored.ok_or_else(|| {
        Denial::new(Reason::SecretMissing).internal(format!("there is no authority {name}; make or import one"))
    })?;
    Ok((Authority::open(&stored.value)?, stored.version))
}

/// A fault of what this engine itself put together.
fn internal(why: ssh_key::Error) -> Denial {
    Denial::new(Reason::Internal).internal(format!("ssh: {why}"))
}

#[async_trait]
impl Engine for Ssh {
    fn kind(&self) -> &'static str {
        "ssh"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { renewable: false, revocation: Revocation::Listed }
    }

    fn schemas(&self) -> Schemas {
        Schemas { config: schema_of::<Config>(), params: schema_of::<Params>(), secret: schema_of::<Secret<'_>>() }
    }

    fn check_role(&self, config: &Map<String, Value>) -> Result<(), Denial> {
        Config::read(config).map(|_| ())
    }

    fn check_params(&self, config: &Map<String, Value>, params: &Map<String, Value>) -> Result<(), Denial> {
        Config::read(config)?.wanted(&Params::read(params)?).map(|_| ())
    }

    async fn mint(&self, mint: Mint<'_>, values: &dyn StoredValues) -> Result<Minted, Denial> {
        let config = Config::read(mint.permit.config())?;
        let params = Params::read(mint.params)?;
        let wanted = config.wanted(&params)?;
        let (authority, _) = stored_authority(&config.ca, values).await?;
        let (public, private) = match wanted.key {
            Some(brought) => {
                let of_session = mint.session_key.is_some_and(|key| key.to_bytes() == brought.0);
                if of_session || authority.key().public_key().key_data().ed25519() == Some(&brought) {
                    let detail = "public_key: this key has a role already; a certificate wants one of its own";
                    return Err(Denial::new(Reason::ParamsRefused).detail(detail));
                }
                (brought, None)
            }
            None => {
                let (public, private) = key::made(self.entropy.as_ref(), mint.handle)?;
                (public, Some(private))
            }
        };
        let certificate = certificate::sign(&authority, &config, &wanted, public, &mint, self.entropy.bytes())?;
        let private = private.as_ref().map(|pem| std::str::from_utf8(pem.expose())).transpose();
        let private = private.map_err(|_| Denial::new(Reason::Internal).internal("ssh: a key that is no text"))?;
        let secret = Secret {
            ca: &authority.line()?,
            certificate: &certificate,
            expires: Timestamp(mint.permit.expires().whole_seconds() * 1000),
            key_id: mint.handle,
            principals: &wanted.principals,
            private_key: private,
            serial: &serial(mint.permit.lease()).to_string(),
            kind: "ssh",
        };
        let names: usize = wanted.principals.iter().map(|name| name.len() + 3).sum();
        let bytes = certificate.len() + names + private.map_or(0, str::len) + mint.handle.len();
        Ok(Minted { secret: object(&secret, bytes)?, until: None })
    }

    async fn probe(
        &self,
        config: &Map<String, Value>,
        values: &dyn StoredValues,
    ) -> Result<Map<String, Value>, Denial> {
        let config = Config::read(config)?;
        let (authority, version) = stored_authority(&config.ca, values).await?;
        let mut found = authority.shown()?;
        found.insert("ca".into(), json!(config.ca));
        found.insert("version".into(), json!(version));
        Ok(found)
    }

    fn authority(&self) -> Option<&dyn CertificateAuthority> {
        Some(self)
    }
}

/// A buffer for a private key's text, which never has to grow.
fn pem(key: &ssh_key::PrivateKey) -> Result<SecretBytes, Denial> {
    let mut text = Zeroizing::new(vec![0; PEM_MAX]);
    let length = key.encode_openssh(ssh_key::LineEnding::LF, &mut text).map_err(internal)?.len();
    text.truncate(length);
    Ok(SecretBytes::new(std::mem::take(&mut *text)))
}

/// More than an Ed25519 key with the longest comment takes.
const PEM_MAX: usize = 1024;
