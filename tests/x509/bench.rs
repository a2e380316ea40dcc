//! An engine with one authority, what is minted from it as files, and the `openssl` that judges them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use async_trait::async_trait;
use nockvault::authn::bind;
use nockvault::authz::{Asked, Peer, Permit, permit};
use nockvault::crypto::hash::Digest;
use nockvault::crypto::hpke::{SUITE, SealSecretKey};
use nockvault::denial::Denial;
use nockvault::engine::ca::{CertificateAuthority, Document, Ended};
use nockvault::engine::x509::X509;
use nockvault::engine::{Engine, Mint, Minted, Stored, StoredValues};
use nockvault::entropy::{Entropy, OsEntropy};
use nockvault::grant::{Grant, Role, Uses};
use nockvault::id::{LeaseId, SecretName, handle};
use nockvault::secret::SecretBytes;
use nockvault::statement::grant::Terms;
use nockvault::statement::secret::SecretUse;
use nockvault::statement::session::Seal;
use nockvault::time::{Clock as _, Seconds, SystemClock, Timestamp};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// The life of most certificates here.
pub(crate) const LIFE: Seconds = Seconds(900);

/// The members of an object.
pub(crate) fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// An object with more members.
pub(crate) fn with(mut value: Value, more: Value) -> Value {
    value.as_object_mut().unwrap().extend(object(more));
    value
}

/// A role with a trust domain and names.
pub(crate) fn role() -> Value {
    json!({ "ca": "agents-ca", "trust_domain": "prod.example", "dns": ["localhost", "*.svc.example"] })
}

/// An engine, one authority named `agents-ca`, and a folder for what is minted.
pub(crate) struct Bench {
    pub(crate) engine: X509,
    pub(crate) authority: SecretBytes,
    pub(crate) folder: TempDir,
}

#[async_trait]
impl StoredValues for Bench {
    async fn stored_value(
        &self,
        used: SecretUse,
        name: &SecretName,
        version: Option<u64>,
    ) -> Result<Option<Stored>, Denial> {
        let there = used == SecretUse::Ca && name.as_str() == "agents-ca" && version.is_none();
        let value = || SecretBytes::from(self.authority.expose().clone());
        Ok(there.then(|| Stored { version: 1, expires: None, value: value() }))
    }
}

/// What was minted, as files.
pub(crate) struct Leaf {
    pub(crate) told: Value,
    pub(crate) ended: Ended,
    pub(crate) certificate: PathBuf,
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) ca: PathBuf,
}

impl Bench {
    /// With an authority made here now, as is the default.
    pub(crate) fn new() -> Bench {
        Bench::wish(json!({ "subject": { "common_name": "Agents", "organisation": "Example" } }))
    }

    pub(crate) fn wish(wish: Value) -> Bench {
        let engine = X509::new(Arc::new(OsEntropy));
        let authority = engine.make(&object(wish), SystemClock.now(), &OsEntropy).unwrap();
        Bench { engine, authority, folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Runs `openssl` in the folder; it must succeed.
    pub(crate) fn openssl(&self, line: &str) -> String {
        let output = self.try_openssl(line);
        assert!(output.status.success(), "openssl {line}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs `openssl` in the folder. Arguments stand between single spaces.
    pub(crate) fn try_openssl(&self, line: &str) -> Output {
        let mut command = Command::new("openssl");
        command.args(line.split(' ')).current_dir(self.folder.path());
        command.output().expect("openssl runs; .ci/deps installs it")
    }

    /// What `openssl` found wrong, or nothing.
    pub(crate) fn verify(&self, leaf: &Leaf, more: &str) -> Result<(), String> {
        let (ca, chain, certificate) = (show(&leaf.ca), show(&leaf.chain), show(&leaf.certificate));
        let line = format!("verify -x509_strict -CAfile {ca} -untrusted {chain} {more} {certificate}");
        let output = self.try_openssl(&line);
        if output.status.success() { Ok(()) } else { Err(text(&output.stderr)) }
    }

    pub(crate) fn shown(&self) -> Map<String, Value> {
        self.engine.public(&self.authority).unwrap()
    }

    pub(crate) fn publish(&self, document: Document, ended: &[Ended]) -> (&'static str, Vec<u8>) {
        let published = self.engine.publish(&self.authority, document, ended, SystemClock.now()).unwrap();
        (published.media_type, published.bytes)
    }

    /// The published list of these, as a PEM file.
    pub(crate) fn list(&self, name: &str, ended: &[Ended]) -> PathBuf {
        let der = self.write("list.der", self.publish(Document::Revoked, ended).1);
        self.openssl(&format!("crl -inform DER -in {} -out {name}", show(&der)));
        self.path(name)
    }

    /// Mints now, and writes what came as files.
    pub(crate) fn leaf(&self, config: Value, params: Value) -> Leaf {
        let permit = leave(config, LIFE, SystemClock.now());
        let told = told(&self.mint(&permit, params).unwrap());
        let file = |member: &str| {
            self.write(&format!("{}-{member}.pem", permit.lease()), told[member].as_str().unwrap_or_default())
        };
        let ended = Ended {
            lease: permit.lease().clone(),
            handle: handle(permit.agent(), permit.lease()),
            ended: permit.issued(),
            expires: permit.expires(),
        };
        let (certificate, chain, key, ca) = (file("certificate"), file("chain"), file("private_key"), file("ca"));
        Leaf { told, ended, certificate, chain, key, ca }
    }

    pub(crate) fn mint(&self, permit: &Permit, params: Value) -> Result<Minted, Denial> {
        let params = object(params);
        self.engine.check_role(permit.config())?;
        self.engine.check_params(permit.config(), &params)?;
        let handle = handle(permit.agent(), permit.lease());
        let mint = Mint { permit, handle: &handle, params: &params, session_key: None };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(self.engine.mint(mint, self))
    }

    /// A request of a fresh key, made by `openssl req` with more options.
    pub(crate) fn csr(&self, key: &str, more: &str) -> String {
        self.openssl(&format!("genpkey {key} -out session.key"));
        self.openssl(&format!("req -new -key session.key -subj /O=evil/CN=root -batch{more}"))
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn show(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub(crate) fn told(minted: &Minted) -> Value {
    serde_json::from_slice(minted.secret.expose()).unwrap()
}

/// Leave for the session `nightly-1` of the agent `kit` to have this, from `now` on.
pub(crate) fn leave(config: Value, life: Seconds, now: Timestamp) -> Permit {
    let (agent, role): (nockvault::id::AgentName, nockvault::id::RoleName) =
        ("kit".parse().unwrap(), "mesh".parse().unwrap());
    let terms =
        Terms { ttl: life, max_ttl: life, max_uses: None, until: None, session: None, from: vec![], rate: None };
    let pk = SealSecretKey::generate(&OsEntropy).public().into();
    let seal = Seal { pk, suite: SUITE.into(), sig_pk: None };
    let asked = Asked {
        agent: &agent,
        sid: &"nightly-1".parse().unwrap(),
        bound: &bind(None, Some(&seal), now, Seconds(60)).unwrap(),
        session_ends: now.plus(Seconds(86_400 * 365)),
        role: &role,
        ttl: Seconds(0),
        peer: Peer::Unix(None),
        req: Digest::of(b"the request"),
    };
    let lease = LeaseId::new(now.0, (&OsEntropy as &dyn Entropy).bytes());
    let grant = Grant { agent: agent.clone(), role: role.clone(), terms, seq: 1, since: now };
    let role = Role { name: role.clone(), engine: "x509".into(), config: object(config), since: now, frozen: false };
    permit(&asked, Some(&grant), Some(&role), Uses::default(), &lease, now).unwrap()
}
