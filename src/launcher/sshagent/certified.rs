//! What there is to show and to sign with: a certificate of each role, and the key that it is over.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use ssh_key::{Certificate, PrivateKey};
use tokio::task::JoinSet;

use super::Words;
use crate::client::fault::Fault;
use crate::client::sshagent::wire;
use crate::crypto::signature::{Signature, SigningKey};
use crate::denial::Reason;
use crate::launcher::wallet::{Held, Wallet};
use crate::launcher::want::Want;
use crate::secret::Secret;
use crate::time::Timestamp;

/// The parameter in which a session brings a key.
pub(super) const PUBLIC_KEY: &str = "public_key";

/// A certificate that can be signed with.
pub(super) struct Certified {
    /// As SSH sends it.
    pub(super) blob: Vec<u8>,
    /// What stands beside it in a list: the role and the key id.
    pub(super) comment: String,
    key: Arc<SigningKey>,
    exp: Timestamp,
}

impl Certified {
    /// The certificate of this line with its key: the one that came with it, or the one that was brought.
    fn read(line: &str, key: Arc<SigningKey>, role: &str, exp: Timestamp) -> Result<Certified, &'static str> {
        let certificate = Certificate::from_openssh(line).map_err(|_| "its certificate does not read")?;
        if certificate.public_key().ed25519().map(|public| public.0) != Some(key.public().to_bytes()) {
            return Err("its certificate is over another key");
        }
        let blob = certificate.to_bytes().map_err(|_| "its certificate does not read")?;
        Ok(Certified { blob, comment: format!("{role} {}", certificate.key_id()), key, exp })
    }

    fn held(held: &Held, brought: Option<Arc<SigningKey>>) -> Result<Arc<Certified>, Fault> {
        let role = &held.hdr.role;
        let fault = |why: &str| Fault::Local(format!("{role}: {why}; is it a role of the ssh engine?"));
        let line = held.member(Some("certificate")).ok_or_else(|| fault("it gives no SSH certificate"))?;
        let key = match brought {
            Some(key) => key,
            None => {
                let private = held.member(Some("private_key")).ok_or_else(|| fault("it gives no private key"))?;
                Arc::new(signing_key(private).ok_or_else(|| fault("its private key is no Ed25519 key of OpenSSH's"))?)
            }
        };
        Certified::read(line, key, role.as_str(), held.exp()).map(Arc::new).map_err(fault)
    }

    /// `Ed25519(seed, data)`, as SSH sends it.
    pub(super) fn sign(&self, data: &[u8]) -> Vec<u8> {
        let signature: Signature = self.key.sign_raw(data);
        wire::signature(&signature)
    }
}

/// The key in OpenSSH's format.
fn signing_key(text: &str) -> Option<SigningKey> {
    let key = PrivateKey::from_openssh(text).ok()?;
    let seed = Secret::from_slice(key.key_data().ed25519()?.private.as_ref())?;
    Some(SigningKey::from_seed(&seed))
}

/// A role, and the key that is brought to it where it wants one.
struct Asked {
    want: Want,
    brought: tokio::sync::Mutex<Option<Arc<SigningKey>>>,
}

/// The certificates of all roles that are served.
pub(super) struct Certificates {
    wallet: Wallet,
    asked: Vec<Arc<Asked>>,
    /// What was listed and has not ended: to be signed with, also where another has taken its place since.
    listed: Mutex<Vec<Arc<Certified>>>,
    words: Words,
}

impl Certificates {
    pub(super) fn new(wallet: Wallet, wants: Vec<Want>, words: Words) -> Certificates {
        let asked = wants.into_iter().map(|want| Arc::new(Asked { want, brought: tokio::sync::Mutex::new(None) }));
        Certificates { wallet, asked: asked.collect(), listed: Mutex::default(), words }
    }

    /// A live certificate of each role that gives one; nothing where none does. What went wrong is told in words.
    pub(super) async fn list(&self) -> Option<Vec<Arc<Certified>>> {
        let mut asking = JoinSet::new();
        for (place, asked) in self.asked.iter().enumerate() {
            let (wallet, asked) = (self.wallet.clone(), asked.clone());
            asking.spawn(async move { (place, asked.certified(&wallet).await) });
        }
        let mut found = asking.join_all().await;
        found.sort_by_key(|(place, _)| *place);
        let mut certified = Vec::new();
        for (place, result) in found {
            match result {
                Ok(one) => certified.push(one),
                Err(fault) => {
                    (self.words)(&format!("no certificate for ssh, {}: {fault}", self.asked[place].want.role))
                }
            }
        }
        let now = self.wallet.now().await;
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        listed.retain(|one| one.exp > now && certified.iter().all(|new| new.blob != one.blob));
        listed.extend(certified.iter().cloned());
        drop(listed);
        (!certified.is_empty() || self.asked.is_empty()).then_some(certified)
    }

    /// The certificate of this blob, where it was listed and is still good.
    pub(super) async fn find(&self, blob: &[u8]) -> Option<Arc<Certified>> {
        let now = self.wallet.now().await;
        let listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        listed.iter().find(|one| one.blob == blob && one.exp > now).cloned()
    }
}

impl Asked {
    /// Asks without a key, and where the role wants one brought, with a key that is made here and kept.
    async fn certified(&self, wallet: &Wallet) -> Result<Arc<Certified>, Fault> {
        let mut brought = self.brought.lock().await;
        if let Some(key) = &*brought {
            return Certified::held(&*wallet.hold(&self.with(key)).await?, Some(key.clone()));
        }
        match wallet.hold(&self.want).await {
            Ok(held) => Certified::held(&held, None),
            Err(fault) if wants_a_key(&fault) => {
                let key = Arc::new(SigningKey::generate(&*wallet.owner().around.entropy));
                let held = wallet.hold(&self.with(&key)).await?;
                *brought = Some(key.clone());
                Certified::held(&held, Some(key))
            }
            Err(fault) => Err(fault),
        }
    }

    fn with(&self, key: &SigningKey) -> Want {
        let mut want = self.want.clone();
        let line = format!("ssh-ed25519 {}", STANDARD.encode(wire::blob(&key.public())));
        want.params.insert(PUBLIC_KEY.to_owned(), Value::String(line));
        want
    }
}

/// Whether the engine refused because a session has to bring its own key to this role.
fn wants_a_key(fault: &Fault) -> bool {
    let said = fault.refusal().is_some_and(|refusal| refusal.message.contains(PUBLIC_KEY));
    said && fault.reason() == Some(Reason::ParamsRefused)
}
