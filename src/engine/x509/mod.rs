//! The `x509` engine signs client and server certificates for TLS (RFC 5280). A certificate names its session by a
//! SPIFFE ID, `spiffe://<trust domain>/agent/<agent>/session/<sid>`, so that it is an X509-SVID where the role has a
//! trust domain, and by DNS names that the role allows. Its subject is the handle and its serial number the 16 bytes of
//! the lease, so that the log of a server names agent and lease.
//!
//! Role: `{"ca": NAME, "trust_domain": TEXT, "dns": [TEXT, ..], "wildcards": BOOL, "usage": ["client" | "server", ..],
//! "key": "brought" | "made" | "either", "algorithm": "ecdsa-p256" | "ed25519", "crl": URL, "organisation": TEXT}`; all
//! but `ca` may be left out, but `trust_domain` or `dns` must be there. Params: `{"csr": PEM, "dns": [TEXT, ..]}`, both
//! optional: without `csr` a key is made here, and of a `csr` only the key is taken. Secret:
//! `{"ca","certificate","chain","dns","expires","private_key","serial","spiffe_id","type":"x509"}`: `ca` is the root to
//! trust, `chain` what a TLS peer sends behind its certificate, `private_key` is there where it was made here.
//!
//! # Time
//! A certificate counts whole seconds, and the one that `notAfter` names is part of its life. So `notAfter` is the last
//! whole second of the lease, or that of the authority where it ends sooner; `expires` is the end of that second, from
//! which everyone refuses it. It begins [`BACKDATED`] earlier
//! than it was signed, so that a peer whose clock is a little behind takes it at once. It cannot be prolonged: a session
//! asks for another.
//!
//! # Revocation
//! A lease that ends before its time stands in the list of its authority until a while after it would
//! have expired. A TLS server looks
//! at the list only where it is told to, and a connection that is open stays open: grants of this engine should be
//! minutes long.
//!
//! # Authorities
//! An authority made here signs itself and may sign leaves alone (path length 0). What is shown of it holds a
//! certification request for the same key: signed by a higher authority and given back with the chain up to the root, it
//! makes the authority an intermediate one. An authority made elsewhere is imported as one PEM bundle.

mod authority;
mod crl;
mod key;
mod leaf;
mod names;
mod pem;
mod request;
mod role;

use std::sync::Arc;

use async_trait::async_trait;
use rcgen::{PublicKeyData as _, SubjectPublicKeyInfo};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};
use x509_parser::time::ASN1Time;

use super::ca::{CertificateAuthority, Document, Ended, Published};
use super::kv::object;
use super::{Capabilities, Engine, Mint, Minted, Schemas, StoredValues, members, schema_of};
use crate::denial::{Denial, Reason};
use crate::entropy::Entropy;
use crate::id::SecretName;
use crate::secret::SecretBytes;
use crate::statement::reply::Revocation;
use crate::statement::secret::SecretUse;
use crate::time::{Seconds, Timestamp};

use authority::{Authority, Wish, hexadecimal};
use leaf::{Leaf, Span};
use role::{Config, Params};

/// How much earlier than it was signed a certificate begins, for peers whose clock is behind.
pub const BACKDATED: Seconds = Seconds(60);

const KIND: &str = "x509";

/// The last second that a certificate can name: the end of the year 9999.
const LAST: u64 = 253_402_300_799;

/// The engine.
#[derive(Clone, Debug)]
pub struct X509 {
    entropy: Arc<dyn Entropy>,
}

#[derive(Serialize, JsonSchema)]
struct Secret<'a> {
    /// The root that the peer's certificate is checked with too, PEM.
    ca: &'a str,
    /// The certificate, PEM.
    certificate: &'a str,
    /// What is sent behind the certificate, PEM: the authorities below the root, or the root where there is no other.
    chain: &'a str,
    /// The DNS names in it.
    dns: &'a [String],
    /// From when it is refused, in milliseconds since the epoch.
    expires: Timestamp,
    /// Its key in PKCS #8, PEM, where it was made here.
    #[serde(skip_serializing_if = "Option::is_none")]
    private_key: Option<&'a str>,
    /// Its serial number, as 32 hexadecimal digits.
    serial: &'a str,
    /// The SPIFFE ID in it, where the role has a trust domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    spiffe_id: Option<&'a str>,
    #[serde(rename = "type")]
    kind: &'static str,
}

impl X509 {
    /// The engine that draws the Ed25519 keys it makes from `entropy`.
    #[must_use]
    pub fn new(entropy: Arc<dyn Entropy>) -> X509 {
        X509 { entropy }
    }
}

#[async_trait]
impl Engine for X509 {
    fn kind(&self) -> &'static str {
        KIND
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
        Config::read(config)?.wanted(params).map(|_| ())
    }

    async fn mint(&self, mint: Mint<'_>, values: &dyn StoredValues) -> Result<Minted, Denial> {
        let config = Config::read(mint.permit.config())?;
        let wanted = config.wanted(mint.params)?;
        let authority = stored_authority(&config.ca, values).await?;
        let span = Span::of(&mint, &authority.life()?)?;
        let (agent, sid) = (mint.permit.agent(), mint.permit.sid());
        let spiffe_id = config.trust_domain.as_ref().map(|domain| names::spiffe_id(domain, agent, sid)).transpose();
        let spiffe_id = spiffe_id.map_err(|why| Denial::new(Reason::ParamsRefused).detail(why))?;

        let used = |key: &SubjectPublicKeyInfo| {
            authority.has_key(key) || mint.session_key.is_some_and(|own| own.to_bytes() == *key.der_bytes())
        };
        if wanted.key.as_ref().is_some_and(used) {
            let detail = "csr: this key has a role already; a certificate wants one of its own";
            return Err(Denial::new(Reason::ParamsRefused).detail(detail));
        }

        let leaf = Leaf { config: &config, mint: &mint, spiffe_id: spiffe_id.as_deref(), dns: &wanted.dns };
        let (certificate, private_key) = match &wanted.key {
            Some(brought) => (leaf.signed(brought, span, &authority)?, None),
            None => {
                let made = key::generate(config.algorithm, &*self.entropy)?;
                let private_key = pem::encode(pem::PRIVATE_KEY, made.serialized_der());
                (leaf.signed(&&*made, span, &authority)?, Some(private_key))
            }
        };
        let secret = Secret {
            ca: &authority.root_pem(),
            certificate: &pem::encode(pem::CERTIFICATE, &certificate),
            chain: &authority.sent_pem(),
            dns: &wanted.dns,
            expires: span.until(),
            private_key: private_key.as_ref().map(|text| text.as_str()),
            serial: &hexadecimal(&mint.permit.lease().bytes()),
            spiffe_id: spiffe_id.as_deref(),
            kind: KIND,
        };
        let names: usize = wanted.dns.iter().map(|name| name.len() + 3).sum();
        let texts = [secret.ca, secret.certificate, secret.chain, secret.private_key.unwrap_or_default()];
        let length = texts.iter().map(|text| text.len()).sum::<usize>() + names;
        let secret = object(&secret, length + spiffe_id.as_ref().map_or(0, String::len))?;
        let sooner = span.until() < Timestamp::ZERO.plus(Seconds(mint.permit.expires().whole_seconds()));
        Ok(Minted { secret, until: sooner.then(|| span.until()) })
    }

    async fn probe(
        &self,
        config: &Map<String, Value>,
        values: &dyn StoredValues,
    ) -> Result<Map<String, Value>, Denial> {
        let config = Config::read(config)?;
        let authority = stored_authority(&config.ca, values).await?;
        let mut found = authority.shown()?;
        found.retain(|member, _| matches!(member.as_str(), "subject" | "fingerprint" | "algorithm"));
        let ends = Timestamp::ZERO.plus(Seconds(authority.life()?.ends));
        found.insert("ca".into(), json!(config.ca));
        found.insert("not_after".into(), json!(ends));
        Ok(found)
    }

    fn authority(&self) -> Option<&dyn CertificateAuthority> {
        Some(self)
    }
}

impl CertificateAuthority for X509 {
    fn make(&self, wish: &Map<String, Value>, now: Timestamp, entropy: &dyn Entropy) -> Result<SecretBytes, Denial> {
        let wish: Wish = members(wish, Reason::BadRole)?;
        Authority::make(&wish, now, entropy)?.keep()
    }

    fn import(&self, brought: &SecretBytes, now: Timestamp) -> Result<SecretBytes, Denial> {
        let bad = |why: String| Denial::new(Reason::BadSealedInput).detail(why);
        Authority::import(brought.expose(), now).map_err(bad)?.keep()
    }

    fn certify(&self, stored: &SecretBytes, chain: &str, now: Timestamp) -> Result<SecretBytes, Denial> {
        let bad = |why: String| Denial::new(Reason::BadRole).detail(why);
        Authority::open(stored)?.certify(chain, now).map_err(bad)?.keep()
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
        Ok(match document {
            Document::Authority => {
                Published { media_type: "application/pem-certificate-chain", bytes: authority.chain_pem().into_bytes() }
            }
            Document::Revoked => {
                Published { media_type: "application/pkix-crl", bytes: crl::signed(&authority, ended, now)? }
            }
        })
    }
}

async fn stored_authority(name: &SecretName, values: &dyn StoredValues) -> Result<Authority, Denial> {
    match values.stored_value(SecretUse::Ca, name, None).await? {
        Some(stored) => Authority::open(&stored.value),
        None => {
            Err(Denial::new(Reason::SecretMissing)
                .internal(format!("there is no authority {name}; make or import one")))
        }
    }
}

/// A whole second, as certificates have it.
fn instant(seconds: u64) -> Result<ASN1Time, Denial> {
    let known = i64::try_from(seconds.min(LAST)).ok().and_then(|seconds| ASN1Time::from_timestamp(seconds).ok());
    known.ok_or_else(|| Denial::new(Reason::Internal).internal(format!("{seconds} s is no time of a certificate")))
}
