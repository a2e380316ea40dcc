//! What the proof of one entry proves, under keys that its reader has from elsewhere.

use std::sync::Arc;

use super::{BadForm, EntryProof};
use crate::audit::certificate::{self, BadCert, Life, open_signer};
use crate::audit::checkpoint::{BadCheckpoint, Checkpoint, open_dated};
use crate::audit::entry::{Body, Entry, Issue, Origin, Unreadable};
use crate::audit::line::Frame;
use crate::audit::policy::{Judgement, Policy};
use crate::audit::tree::{BadProof, verify_inclusion};
use crate::crypto::envelope::{Embedded, PayloadType};
use crate::crypto::hash::{Digest, leaf};
use crate::crypto::signature::{Form, PublicKey};
use crate::id::{Aud, ChainName, Kid, VaultName};
use crate::statement::cert::{Cert, KeyRole};
use crate::statement::directory::{Directory, ListedKey};
use crate::statement::lease::{Release, Renew};
use crate::statement::register::Holder;
use crate::statement::rotate_key::RotateKey;
use crate::statement::session::{Close, Hello};
use crate::statement::{Body as _, issue};
use crate::time::{Seconds, Timestamp};

/// What the reader knows from elsewhere.
#[derive(Clone, Debug)]
pub struct Pins {
    /// The vault's identity key.
    pub identity: PublicKey,
    /// The vault's name.
    pub vault: Option<VaultName>,
    /// Whose chain is asked about.
    pub chain: Option<ChainName>,
    /// Keys of the agent, or the operator, whose request stands in the entry. With none, the request's signature is not
    /// looked at.
    pub holders: Vec<PublicKey>,
    /// The vault's key directory, opened: where it has names, the keys that it lists for the holder count from when to
    /// when they were good.
    pub directory: Option<Arc<Directory>>,
    /// Which witnesses must have cosigned the checkpoint.
    pub policy: Option<Policy>,
}

impl Pins {
    /// The identity key and nothing else.
    #[must_use]
    pub fn new(identity: PublicKey) -> Pins {
        Pins { identity, vault: None, chain: None, holders: Vec::new(), directory: None, policy: None }
    }
}

/// What the entry says of who asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It holds nobody's request, or is of a kind that is not understood.
    Nothing,
    /// It holds a request by this key, whose signature was not checked: the reader gave no key.
    Claimed(String),
    /// The holder of this key signed the request in it.
    Signed(Kid),
}

/// What a proof proves. Each part holds: whatever does not is [`NotProved`].
#[derive(Clone, Debug)]
pub struct Proved {
    /// Where the chain comes from.
    pub origin: Origin,
    /// The entry's number.
    pub seq: u64,
    /// When it was written, by the vault's clock.
    pub ts: Timestamp,
    /// Its leaf.
    pub leaf: Digest,
    /// The line, without LF.
    pub line: Vec<u8>,
    /// The entry; where its kind or version is not known, the text that says so: all but what it means is proved.
    pub entry: Result<Entry, Unreadable>,
    /// The audit key that signed it.
    pub audit_key: Kid,
    /// Who asked.
    pub asked: Asked,
    /// The checkpoint whose tree it stands in.
    pub checkpoint: Checkpoint,
    /// The certificate of the checkpoint's key. A checkpoint has no time of its own, so that whether it was signed within
    /// the key's life is not proved; the cosignatures tell when it was there.
    pub checkpoint_cert: Cert,
    /// What the policy says of the witnesses; none where no policy was given.
    pub witnesses: Option<Judgement>,
}

/// Why a proof proves nothing.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NotProved {
    /// The file is none.
    #[error("this cannot be read as the proof of one entry: {0}")]
    Form(#[from] BadForm),
    /// The certificate of the audit key is not good.
    #[error("the certificate of the audit key is not good: {0}")]
    AuditCert(BadCert),
    /// The certificate is of another audit key.
    #[error("the certificate is of the audit key {found}, but the entry was signed by {wanted}")]
    AuditKey {
        /// Whose the certificate is.
        found: Kid,
        /// Which the entry names.
        wanted: Kid,
    },
    /// The entry is outside of its audit key's life.
    #[error("the audit key is good from {} and before {}, but the entry is of {ts}", .life.nbf, .life.exp)]
    KeyLife {
        /// The key's life.
        life: Life,
        /// The entry's time.
        ts: Timestamp,
    },
    /// The line was changed, or signed by somebody else.
    #[error(
        "the entry's signature is not that of the audit key that it names: the line was changed, or made elsewhere"
    )]
    Signature,
    /// The checkpoint is not good.
    #[error(transparent)]
    Checkpoint(#[from] BadCheckpoint),
    /// Entry and checkpoint are of two chains.
    #[error("the entry is of {entry}, but the checkpoint is of {checkpoint}")]
    Origin {
        /// Where the entry comes from.
        entry: String,
        /// Where the checkpoint comes from.
        checkpoint: String,
    },
    /// The path does not lead from the entry to the checkpoint.
    #[error("the entry does not stand in the checkpoint's tree: {0}")]
    Inclusion(#[from] BadProof),
    /// It proves something that was not asked.
    #[error("this is a proof about {found}; asked was one about {wanted}")]
    Other {
        /// What it is about.
        found: String,
        /// What was asked.
        wanted: String,
    },
    /// The request was not signed by a key that the reader knows.
    #[error(
        "the request in it names the key {0}, which is none of those that were given: pass the holder's key of that time"
    )]
    Holder(String),
    /// The request was changed, or made by somebody else.
    #[error(
        "the request in it was not signed by the key {0} that it names: the vault's entry claims what its holder never asked for"
    )]
    Request(String),
    /// What was done is not what was asked for.
    #[error("the entry contradicts the request in it: another {0}")]
    Contradiction(&'static str),
    /// The policy names logs, and this is none of them.
    #[error("the checkpoint was not signed by any log of the policy")]
    Log,
    /// Not enough witnesses.
    #[error("the checkpoint does not have the cosignatures that the policy asks for: {}", missing(.0))]
    Quorum(Judgement),
}

impl NotProved {
    /// Whether the file contradicts itself or the keys that were given, as only tampering explains; false where it could
    /// not be told, because the file cannot be read, is another than the one asked for, or a key or a cosignature lacks.
    #[must_use]
    pub fn is_tampering(&self) -> bool {
        match self {
            NotProved::Form(_) | NotProved::Other { .. } | NotProved::Holder(_) | NotProved::Log => false,
            NotProved::Quorum(judgement) => judgement.witnesses.iter().any(|(_, seen)| seen.is_err()),
            _ => true,
        }
    }
}

fn missing(judgement: &Judgement) -> String {
    let word = |(name, seen): &(String, Result<Option<u64>, _>)| match seen {
        Ok(Some(_)) => None,
        Ok(None) => Some(format!("{name} has not cosigned")),
        Err(_) => Some(format!("the line that names {name} is not its cosignature")),
    };
    judgement.witnesses.iter().filter_map(word).collect::<Vec<_>>().join(", ")
}

/// Holds a proof's text against what the reader knows.
///
/// It proves that the vault's audit key signed the line at its `ts`, that the line stands at its place in the tree of the
/// checkpoint, that the vault's checkpoint key signed that checkpoint, both keys certified by the identity key; with keys
/// of the holder, that the holder signed the request in it; with a policy, that so many witnesses saw the checkpoint.
/// It says nothing of the entries around it: neither `prev` nor `seen` can be followed in one line.
///
/// # Errors
/// [`NotProved`].
pub fn verify(text: &str, pins: &Pins) -> Result<Proved, NotProved> {
    let proof = EntryProof::read(text)?;
    let frame = &proof.frame;
    asked_for(frame, pins)?;
    entry_signed(frame, &proof.audit, &pins.identity)?;
    let (checkpoint, checkpoint_cert, note) = open_dated(&proof.note, &proof.checkpoint, &pins.identity)?;
    if checkpoint.origin != frame.origin_text() {
        return Err(NotProved::Origin { entry: frame.origin_text().to_owned(), checkpoint: checkpoint.origin });
    }
    let leaf = leaf(&proof.line);
    verify_inclusion(&leaf, frame.seq(), checkpoint.size, &proof.path, &checkpoint.root)?;
    let entry = match frame.clone().entry() {
        Err(why @ Unreadable::Malformed(_)) => return Err(BadForm::Line(why).into()),
        entry => entry,
    };
    let asked = entry.as_ref().map_or(Ok(Asked::Nothing), |entry| who_asked(entry, frame, pins))?;
    let witnesses = match &pins.policy {
        Some(policy) if !policy.admits(&note) => return Err(NotProved::Log),
        Some(policy) => Some(policy.judge(&note)),
        None => None,
    };
    if let Some(judgement) = witnesses.clone().filter(|judgement| !judgement.met) {
        return Err(NotProved::Quorum(judgement));
    }
    let (origin, audit_key) = (frame.origin().clone(), frame.kid().clone());
    let (seq, ts, line) = (frame.seq(), frame.ts(), proof.line);
    Ok(Proved { origin, seq, ts, leaf, line, entry, audit_key, asked, checkpoint, checkpoint_cert, witnesses })
}

/// A proof about another vault or chain answers another question.
fn asked_for(frame: &Frame, pins: &Pins) -> Result<(), NotProved> {
    let origin = frame.origin();
    let other = |wanted: String| NotProved::Other { found: frame.origin_text().to_owned(), wanted };
    match (&pins.vault, &pins.chain) {
        (Some(vault), _) if *vault != origin.vault => Err(other(format!("the vault {vault}"))),
        (_, Some(chain)) if *chain != origin.chain => Err(other(format!("the chain of {chain}"))),
        _ => Ok(()),
    }
}

fn entry_signed(frame: &Frame, cert: &Embedded, identity: &PublicKey) -> Result<(), NotProved> {
    let (cert, key) = open_signer(cert, KeyRole::Audit, identity).map_err(NotProved::AuditCert)?;
    if cert.kid != *frame.kid() {
        return Err(NotProved::AuditKey { found: cert.kid, wanted: frame.kid().clone() });
    }
    let life = certificate::life(&cert);
    if !life.holds(frame.ts()) {
        return Err(NotProved::KeyLife { life, ts: frame.ts() });
    }
    frame.verify(&key).map_err(|_| NotProved::Signature)
}

fn who_asked(entry: &Entry, frame: &Frame, pins: &Pins) -> Result<Asked, NotProved> {
    let Some((request, kind)) = entry.body.asked() else { return Ok(Asked::Nothing) };
    let member = |name: &str| request.payload.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
    if member("aud") != Aud::of_identity(&pins.identity.kid()).to_string() {
        return Err(NotProved::Contradiction("vault than the one it stands in"));
    }
    if kind == PayloadType::Request && member("agent") != frame.origin().chain.to_string() {
        return Err(NotProved::Contradiction("agent than the one whose chain it stands in"));
    }
    as_asked(entry, request, &member)?;
    let kid = member("kid").to_owned();
    let named = pins.directory.as_ref().filter(|directory| directory.names);
    if pins.holders.is_empty() && named.is_none() {
        return Ok(Asked::Claimed(kid));
    }
    // Without a name, a listed key may be anybody's; and one that is another's, or was over, is none of the holder's.
    let holder = match frame.origin().chain.agent() {
        Some(agent) => Some(Holder::Agent(agent)),
        None => member("operator").parse().ok().map(Holder::Operator),
    };
    let good = |key: &&ListedKey| key.since <= frame.ts() && key.until().is_none_or(|until| frame.ts() <= until);
    let listed = named.zip(holder.as_ref()).into_iter().flat_map(|(directory, holder)| directory.of(holder));
    let mut keys = pins.holders.iter().chain(listed.filter(good).map(|key| &key.pk));
    let Some(key) = keys.find(|key| key.kid().as_str() == kid) else {
        return Err(NotProved::Holder(kid));
    };
    let envelope = request.open(kind);
    // What a key's holder signs is fixed when the key is registered, which one entry does not show; no message of one
    // form is a message of the other.
    let signed = |form| key.verify(form, &envelope.payload_type, &envelope.payload, &envelope.signature).is_ok();
    if signed(Form::Pae) || signed(Form::Sshsig) { Ok(Asked::Signed(key.kid())) } else { Err(NotProved::Request(kid)) }
}

/// What was done is what was asked for, as far as one entry shows it.
fn as_asked<'a>(entry: &Entry, request: &'a Embedded, member: &impl Fn(&str) -> &'a str) -> Result<(), NotProved> {
    let differs = |what| Err(NotProved::Contradiction(what));
    let typ = match &entry.body {
        Body::Session(_) => Hello::TYP,
        Body::Issue(_) => issue::Issue::TYP,
        Body::Renew(_) => Renew::TYP,
        Body::Release(_) => Release::TYP,
        Body::Close(_) => Close::TYP,
        Body::AgentKey(_) => RotateKey::TYP,
        _ => return Ok(()),
    };
    if member("typ") != typ {
        return differs("kind of request");
    }
    let ttl = Seconds(request.payload.get("ttl").and_then(serde_json::Value::as_u64).unwrap_or_default());
    let beyond = |exp: Timestamp, from: Timestamp| ttl.0 != 0 && exp > from.plus(ttl);
    match &entry.body {
        Body::Issue(issue) if beyond(issue.hdr.exp, issue.hdr.iat) => differs("life, which is longer"),
        Body::Issue(issue) => issued_as_asked(issue, member, request),
        Body::Renew(renew) if member("lease") != renew.lease.to_string() => differs("lease"),
        Body::Renew(renew) if beyond(renew.exp, entry.ts) => differs("life, which is longer"),
        // Which lease a request made that is given back by it, another entry tells.
        Body::Release(release) if !member("lease").is_empty() && member("lease") != release.lease.to_string() => {
            differs("lease")
        }
        Body::AgentKey(key) if request.payload.get("new") != serde_json::to_value(&key.register).ok().as_ref() => {
            differs("new key")
        }
        _ => Ok(()),
    }
}

/// What was issued is what was asked for.
fn issued_as_asked<'a>(
    issue: &Issue,
    member: &impl Fn(&str) -> &'a str,
    request: &'a Embedded,
) -> Result<(), NotProved> {
    let hdr = &issue.hdr;
    let differs = [
        ("agent", hdr.agent.to_string() == member("agent")),
        ("key", hdr.kid.as_str() == member("kid")),
        ("role", hdr.role.to_string() == member("role")),
        ("session", hdr.sid.to_string() == member("sid")),
        ("vault", hdr.vault.to_string() == member("aud")),
        ("request", hdr.req == request.open(PayloadType::Request).digest()),
    ]
    .into_iter()
    .find(|(_, same)| !same);
    differs.map_or(Ok(()), |(what, _)| Err(NotProved::Contradiction(what)))
}
