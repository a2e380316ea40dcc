//! A key that an ssh-agent holds (draft-miller-ssh-agent). The private key is with the agent alone: what is to be signed
//! goes to it, as the SSHSIG preamble of the statement ([`Form::Sshsig`]), and a signature comes back, which is held
//! against the key before anything is made of it.
//!
//! Plain Ed25519 keys serve, and nothing else does. A key on a security key (`sk-ssh-ed25519@openssh.com`) signs a
//! counter and flags of its own besides, which no vault checks. What the agent sends is bounded, and so is how long it
//! takes: [`ANSWER`] for a list, and [`CONFIRM`] for a signature, since a person may have to say yes first (`ssh-add -c`).

pub(crate) mod wire;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

use super::fault::Fault;
use super::signer::Signer;
use crate::crypto::hash::Digest;
use crate::crypto::signature::{Form, PublicKey, Signature};
use wire::{Message, Reader, Received, kind};

/// How long an ssh-agent may take to say which keys it has.
pub const ANSWER: Duration = Duration::from_secs(10);
/// How long it may take to sign.
pub const CONFIRM: Duration = Duration::from_secs(60);

/// The variable that names an ssh-agent's socket.
pub const VARIABLE: &str = "SSH_AUTH_SOCK";
/// The longest comment that is shown, in characters.
const SHOWN: usize = 80;

/// An ssh-agent, by its socket. Each question is a connection of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshAgent {
    socket: PathBuf,
    answer: Duration,
    confirm: Duration,
}

/// A key that an ssh-agent says it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What kind of key, in SSH's words: `ssh-ed25519` is the one that serves.
    pub kind: String,
    /// What whoever added it called it.
    pub comment: String,
    /// The key, where it is a plain Ed25519 key that may be registered.
    pub public: Option<PublicKey>,
    blob: Vec<u8>,
}

impl Listed {
    fn read(blob: &[u8], comment: &[u8]) -> Listed {
        let kind = Reader::over(blob).string().unwrap_or_default();
        let public = wire::ed25519(blob).and_then(|bytes| bytes.try_into().ok());
        Listed {
            kind: String::from_utf8_lossy(kind).into_owned(),
            comment: String::from_utf8_lossy(comment).into_owned(),
            public: public.and_then(|bytes| PublicKey::from_bytes(bytes).ok()),
            blob: blob.to_vec(),
        }
    }

    /// As `ssh-add -l` shows it: `SHA256:` and the hash of the key's blob.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(Digest::of(&self.blob).as_bytes()))
    }

    /// Whether `wanted` is this key's fingerprint, its key id, or its public line with or without a comment.
    fn is(&self, wanted: &str) -> bool {
        let line = wanted.split(' ').nth(1).is_some_and(|base64| base64 == STANDARD.encode(&self.blob));
        line || wanted == self.fingerprint() || self.public.as_ref().is_some_and(|key| key.kid().as_str() == wanted)
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.fingerprint(), calm(&self.comment), calm(&self.kind))
    }
}

/// What others wrote, for a terminal: short, and without control characters.
fn calm(text: &str) -> String {
    text.chars().take(SHOWN).map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn several(keys: &[&Listed]) -> String {
    keys.iter().take(16).map(|key| format!("\n  {key}")).collect()
}

impl SshAgent {
    /// The one behind this socket.
    #[must_use]
    pub fn at(socket: impl Into<PathBuf>) -> SshAgent {
        SshAgent { socket: socket.into(), answer: ANSWER, confirm: CONFIRM }
    }

    /// The one that `SSH_AUTH_SOCK` names.
    ///
    /// # Errors
    /// [`Fault::Local`] where it names none.
    pub fn usual(variable: &dyn Fn(&str) -> Option<String>) -> Result<SshAgent, Fault> {
        let socket = variable(VARIABLE).filter(|path| !path.is_empty());
        socket.map(SshAgent::at).ok_or_else(|| {
            Fault::local(
                "no ssh-agent: SSH_AUTH_SOCK is not set; start one (eval $(ssh-agent)), give it the key (ssh-add FILE), \
                 and begin where SSH_AUTH_SOCK names it",
            )
        })
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    fn fault(&self, why: impl fmt::Display) -> Fault {
        Fault::Local(format!("the ssh-agent at {}: {why}", self.socket.display()))
    }

    /// Sends a message and reads what comes back. `late` is what to say besides where nothing does.
    async fn ask(&self, message: &Message, within: Duration, late: &str) -> Result<(u8, Vec<u8>), Fault> {
        let exchange = async {
            let mut stream = UnixStream::connect(&self.socket).await?;
            stream.write_all(message.bytes()).await?;
            wire::read(&mut stream, wire::MAX).await
        };
        match tokio::time::timeout(within, exchange).await {
            Err(_) => Err(self.fault(format_args!("no answer in {} s{late}", within.as_secs()))),
            Ok(Err(why)) => Err(self.fault(why)),
            Ok(Ok(Received::End)) => Err(self.fault("it hung up without an answer")),
            Ok(Ok(Received::Message(kind, contents))) => Ok((kind, contents)),
        }
    }

    /// The keys that it has; none where it is locked.
    ///
    /// # Errors
    /// [`Fault::Local`] where it does not answer, or not in the protocol's form.
    pub async fn list(&self) -> Result<Vec<Listed>, Fault> {
        match self.ask(&Message::of(kind::REQUEST_IDENTITIES), self.answer, "").await? {
            (kind::IDENTITIES, contents) => {
                listed(&contents).ok_or_else(|| self.fault("its list of keys does not read"))
            }
            (kind::FAILURE, _) => Err(self.fault("it refuses to say which keys it has")),
            (other, _) => Err(self.fault(format_args!("an answer of type {other} where a list of keys belongs"))),
        }
    }

    /// The key that `wanted` means: a fingerprint (`SHA256:..`), a key id, a public line, or a comment. Without it, the
    /// only Ed25519 key there is.
    ///
    /// # Errors
    /// [`Fault::Local`] where there is none, more than one, or one of another kind, with what there is.
    pub async fn find(&self, wanted: Option<&str>) -> Result<Listed, Fault> {
        let keys = self.list().await?;
        if keys.is_empty() {
            return Err(self.fault("it has no keys; ssh-add FILE adds one, and ssh-add -X unlocks one that is locked"));
        }
        let found: Vec<&Listed> = match wanted {
            None => keys.iter().filter(|key| key.public.is_some()).collect(),
            Some(wanted) => match keys.iter().filter(|key| key.is(wanted)).collect::<Vec<_>>() {
                named if !named.is_empty() => named,
                _ => keys.iter().filter(|key| key.comment == wanted).collect(),
            },
        };
        let usable: Vec<&Listed> = found.iter().copied().filter(|key| key.public.is_some()).collect();
        match (usable.as_slice(), found.first()) {
            ([one], _) => Ok((*one).clone()),
            ([], Some(other)) => Err(self.fault(other_kind(other))),
            ([], None) => {
                let what = wanted.map_or("an Ed25519 key".to_owned(), |wanted| format!("{:?}", calm(wanted)));
                let all: Vec<&Listed> = keys.iter().collect();
                Err(self.fault(format_args!("it has no key {what}; it has{}", several(&all))))
            }
            (more, _) => Err(self.fault(format_args!("which of these? give its fingerprint{}", several(more)))),
        }
    }

    /// The holder of this key in this agent. Nothing is asked before something is to be signed.
    #[must_use]
    pub fn key(&self, public: PublicKey) -> Key {
        Key { agent: self.clone(), public }
    }

    /// Why it said no to signing with this key, as far as one can tell from outside.
    async fn refusal(&self, key: &PublicKey) -> Fault {
        let there =
            self.list().await.map(|keys| (keys.is_empty(), keys.iter().any(|one| one.public.as_ref() == Some(key))));
        let kid = key.kid();
        match there {
            Ok((_, true)) => self.fault(format_args!(
                "it refuses to sign with the key {kid}: who was asked did not say yes (ssh-add -c), or the key is \
                 constrained to hosts (ssh-add -h)"
            )),
            Ok((true, _)) => self.fault(format_args!(
                "it has no keys, and so not {kid}: it is locked (ssh-add -X unlocks it), or its keys were removed or have \
                 outlived their time (ssh-add -t); ssh-add FILE adds one again"
            )),
            Ok((false, false)) => self.fault(format_args!(
                "it has no key {kid}: it was removed or has outlived its time (ssh-add -t); ssh-add FILE adds it again"
            )),
            Err(_) => self.fault(format_args!("it refuses to sign with the key {kid}")),
        }
    }
}

/// What to say of a key that does not serve.
fn other_kind(key: &Listed) -> String {
    let why = if key.kind.starts_with("sk-") {
        "a key on a security key signs a counter besides, which no vault checks"
    } else if key.kind.contains("-cert-v0") {
        "it is a certificate; the plain key that it is over serves"
    } else {
        "only plain Ed25519 keys serve"
    };
    format!("{key}: {why}; make one with ssh-keygen -t ed25519 and add it with ssh-add FILE")
}

/// `u32(n) || n * (str(blob) || str(comment))`, and nothing behind it.
fn listed(contents: &[u8]) -> Option<Vec<Listed>> {
    let mut reader = Reader::over(contents);
    let count = reader.u32()?;
    let mut keys = Vec::new();
    for _ in 0..count {
        keys.push(Listed::read(reader.string()?, reader.string()?));
    }
    reader.end(keys)
}

/// A key in an ssh-agent. Its signatures are of the form `sshsig`, and so it has to be registered in that form.
#[derive(Clone, Debug)]
pub struct Key {
    agent: SshAgent,
    public: PublicKey,
}

#[async_trait]
impl Signer for Key {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn form(&self) -> Form {
        Form::Sshsig
    }

    async fn sign(&self, payload_type: &str, payload: &[u8]) -> Result<Signature, Fault> {
        let message = Form::Sshsig.message(payload_type, payload);
        let request = Message::of(kind::SIGN_REQUEST).string(&wire::blob(&self.public)).string(&message).u32(0);
        let late = "; where the key asks first (ssh-add -c), somebody has to say yes";
        let contents = match self.agent.ask(&request, self.agent.confirm, late).await? {
            (kind::SIGN_RESPONSE, contents) => contents,
            (kind::FAILURE, _) => return Err(self.agent.refusal(&self.public).await),
            (other, _) => {
                return Err(self.agent.fault(format_args!("an answer of type {other} where a signature belongs")));
            }
        };
        let mut reader = Reader::over(&contents);
        let signature = reader.string().and_then(|blob| reader.end(blob)).and_then(wire::ed25519);
        let signature = signature.and_then(Signature::from_slice);
        let signature = signature.ok_or_else(|| self.agent.fault("what it signed with is no Ed25519 signature"))?;
        // A request with another key's signature would be refused by the vault, and say less.
        self.public.verify(Form::Sshsig, payload_type, payload, &signature).map_err(|_| {
            self.agent
                .fault(format_args!("its signature is not one of the key {}; was it exchanged?", self.public.kid()))
        })?;
        Ok(signature)
    }
}

#[cfg(test)]
mod tests;
