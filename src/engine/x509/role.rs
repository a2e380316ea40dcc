//! What a role says of its certificates, and what a request may ask of it.

use rcgen::SubjectPublicKeyInfo;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::authority::fits_name;
use super::key::Algorithm;
use super::{names, request};
use crate::denial::{Denial, Reason};
use crate::engine::members;
use crate::id::SecretName;

/// The most rules of a role, and the most names of a certificate.
const NAMES_MAX: usize = 64;
/// The longest address of a list of revoked certificates, in bytes.
const URL_MAX: usize = 1024;

/// A role's configuration.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// The authority that signs: a stored secret of the use `ca`.
    pub(super) ca: SecretName,
    /// The SPIFFE trust domain: 1 to 255 of `a-z 0-9 . - _`. With it, a certificate names its session as
    /// `spiffe://<trust domain>/agent/<agent>/session/<sid>`. It or `dns` must be there.
    pub(super) trust_domain: Option<String>,
    /// The DNS names that a request may ask for, at most 64: a name in lower case, or `*.` and a suffix for exactly one
    /// label before it.
    #[serde(default)]
    pub(super) dns: Vec<String>,
    /// Whether a request may ask for a certificate for `*.` and a suffix that stands so in `dns`; no where left out.
    #[serde(default)]
    pub(super) wildcards: bool,
    /// What a certificate is good for in TLS; `["client"]` where left out.
    #[serde(default = "client")]
    pub(super) usage: Vec<Usage>,
    /// Whose key is certified; `either` where left out.
    #[serde(default)]
    pub(super) key: KeySource,
    /// The kind of keys that are made here; `ecdsa-p256` where left out.
    #[serde(default)]
    pub(super) algorithm: Algorithm,
    /// Where the list of revoked certificates can be fetched: an http or https URL of at most 1024 bytes. Certificates
    /// carry it. Plain http is usual, since the list is signed.
    pub(super) crl: Option<String>,
    /// The organisation in a certificate's subject, beside its handle: 1 to 64 characters.
    pub(super) organisation: Option<String>,
}

/// What a certificate is good for in TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Usage {
    /// To show who calls.
    Client,
    /// To show who answers.
    Server,
}

/// Whose key is certified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum KeySource {
    /// The session's own: `csr` must be there.
    Brought,
    /// One made here and sealed with its certificate: no `csr` is taken.
    Made,
    /// The session's own where it brings one.
    #[default]
    Either,
}

/// A request's parameters.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    /// A certification request (PKCS #10, PEM, at most 8 KiB). Only its public key counts, and its signature as proof of
    /// possession: Ed25519, ECDSA on P-256 or P-384, or RSA of 2048 to 4096 bits. Its subject, extensions and
    /// attributes are ignored.
    csr: Option<String>,
    /// The DNS names that are wanted, among those of the role.
    #[serde(default)]
    dns: Vec<String>,
}

/// What a request asks for, found good.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The session's own key, where it brought one.
    pub(super) key: Option<SubjectPublicKeyInfo>,
    /// DNS names.
    pub(super) dns: Vec<String>,
}

fn client() -> Vec<Usage> {
    vec![Usage::Client]
}

impl Config {
    /// The configuration, found good.
    pub(super) fn read(config: &Map<String, Value>) -> Result<Config, Denial> {
        let config: Config = members(config, Reason::BadRole)?;
        config.check().map_err(|why| Denial::new(Reason::BadRole).detail(why)).map(|()| config)
    }

    fn check(&self) -> Result<(), String> {
        if let Some(domain) = &self.trust_domain {
            names::check_trust_domain(domain)?;
        } else if self.dns.is_empty() {
            return Err("a role has a trust_domain or dns names, or its certificates would name nobody".into());
        }
        if self.dns.len() > NAMES_MAX {
            return Err(format!("dns has at most {NAMES_MAX} rules"));
        }
        for rule in &self.dns {
            names::check_dns_rule(rule).map_err(|why| format!("dns: {}: {why}", shown(rule)))?;
        }
        if self.usage.is_empty() || self.usage.len() > 2 || self.usage.first() == self.usage.get(1) {
            return Err("usage is client, server or both".into());
        }
        if self.crl.as_ref().is_some_and(|url| !is_url(url)) {
            return Err("crl is an http or https URL of at most 1024 bytes".into());
        }
        if self.organisation.as_ref().is_some_and(|text| !fits_name(text)) {
            return Err("organisation has 1 to 64 characters and no control characters".into());
        }
        Ok(())
    }

    /// What the parameters ask of this role.
    pub(super) fn wanted(&self, params: &Map<String, Value>) -> Result<Wanted, Denial> {
        let params: Params = members(params, Reason::ParamsRefused)?;
        let refused = |why: String| Denial::new(Reason::ParamsRefused).detail(why);
        self.check_names(&params.dns).map_err(refused)?;
        let key = match (self.key, &params.csr) {
            (KeySource::Brought, None) => {
                return Err(refused("csr: the role certifies keys that sessions bring".into()));
            }
            (KeySource::Made, Some(_)) => {
                return Err(refused("csr: the role certifies keys that are made here".into()));
            }
            (_, None) => None,
            (_, Some(csr)) => Some(request::public_key(csr).map_err(|why| refused(format!("csr: {why}")))?),
        };
        Ok(Wanted { key, dns: params.dns })
    }

    fn check_names(&self, wanted: &[String]) -> Result<(), String> {
        if wanted.len() > NAMES_MAX {
            return Err(format!("dns: at most {NAMES_MAX} names"));
        }
        if wanted.is_empty() && self.trust_domain.is_none() {
            return Err("dns: the role has no trust domain; name at least one of its DNS names".into());
        }
        for (at, name) in wanted.iter().enumerate() {
            names::check_dns_allowed(&self.dns, self.wildcards, name)
                .map_err(|why| format!("dns: {}: {why}", shown(name)))?;
            if wanted[..at].contains(name) {
                return Err(format!("dns: {name} stands twice"));
            }
        }
        Ok(())
    }
}

/// A hostile name in a sentence: escaped, and not all of it.
fn shown(name: &str) -> String {
    format!("{:?}", name.chars().take(80).collect::<String>())
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    text.len() <= URL_MAX
        && rest.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '['))
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte))
}
