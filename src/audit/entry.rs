//! One entry of a chain: the members that all entries have, and a [`Body`] of the kind that `kind` and the chain choose.
//!
//! ```text
//! {"body":{...},"kid":<audit key>,"kind":"issue","origin":"prod/kit","prev":<32>,"seq":1,"sig":<64>,"ts":...,"v":1}
//! ```
//!
//! The signature covers the canonical form of all of it but `sig`. Reading an entry checks its form and nothing else:
//! that the members are exactly those of its kind. Whether it may be believed is for [`super::verify`].

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base64url::Bytes;
use crate::crypto::envelope::{Embedded, PayloadType};
use crate::crypto::hash::Digest;
use crate::crypto::json::{Admission, NotAdmitted};
use crate::crypto::signature::Signature;
use crate::id::{AgentName, Aud, ChainName, CustodianName, Kid, LeaseId, OperatorName, RoleName, Sid, VaultName};
use crate::statement::custody::Kind;
use crate::statement::grant::Terms;
use crate::statement::operator::Duty;
use crate::statement::reply::{EntryRef, Hdr};
use crate::statement::{nullable, present};
use crate::time::Timestamp;

/// Why a line is not an entry that can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Well formed, as far as can be told, but of a kind or version that this program does not know.
    #[error("{0} is not understood by this version of the program")]
    NotUnderstood(String),
    /// Not the form of an entry.
    #[error("not an audit entry: {0}")]
    Malformed(String),
}

impl From<NotAdmitted> for Unreadable {
    fn from(why: NotAdmitted) -> Unreadable {
        Unreadable::Malformed(why.to_string())
    }
}

/// The entry that something was caused by: an effect names its cause and does not copy it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct By {
    /// The chain it stands in.
    pub chain: ChainName,
    /// Its leaf.
    pub leaf: Digest,
    /// Its `seq`.
    pub seq: u64,
}

/// That another operator wanted a command too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Its `nockvault/approve`, in `_operators`.
    pub entry: EntryRef,
    /// Who.
    pub operator: OperatorName,
}

/// How a daemon came to the root key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opened {
    /// The custodian that somebody unsealed with; none where the daemon's own configuration gave it.
    #[serde(deserialize_with = "nullable")]
    pub custodian: Option<CustodianName>,
    /// The indexes of the shares that were contributed, in order; none for a custodian without shares.
    pub shares: Vec<u8>,
}

impl Opened {
    /// By what the daemon's configuration names.
    #[must_use]
    pub fn by_itself() -> Opened {
        Opened { custodian: None, shares: Vec::new() }
    }
}

macro_rules! bodies {
    ($(#[$family_doc:meta] $family:ident { $(
        $(#[$doc:meta])* $name:ident = $kind:literal { $($(#[$member_doc:meta])* $member:ident: $type:ty,)* }
    )* })*) => {
        $($(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
            #[serde(deny_unknown_fields)]
            pub struct $name { $($(#[$member_doc])* pub $member: $type,)* }

            impl From<$name> for Body {
                fn from(body: $name) -> Body {
                    Body::$name(body)
                }
            }
        )*)*

        /// What an entry says, one variant a kind.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(untagged)]
        pub enum Body { $($($(#[$doc])* $name($name),)*)* }

        impl Body {
            /// Every kind there is, and twice what stands in chains of two sorts.
            pub const KINDS: &'static [&'static str] = &[$($($kind,)*)*];

            /// The value of the entry's member `kind`.
            #[must_use]
            pub fn kind(&self) -> &'static str {
                match self { $($(Body::$name(_) => $kind,)*)* }
            }

            fn family(&self) -> Family {
                match self { $($(Body::$name(_) => Family::$family,)*)* }
            }

            /// The body of this kind in a chain of this name.
            pub(super) fn parse(chain: &ChainName, kind: &str, body: &Value) -> Result<Body, Unreadable> {
                let malformed = |why: serde_json::Error| Unreadable::Malformed(format!("body: {why}"));
                match kind {
                    $($($kind if Family::$family.belongs_in(chain) => {
                        $name::deserialize(body).map(Body::$name).map_err(malformed)
                    })*)*
                    _ => Err(Unreadable::NotUnderstood(format!("the kind {:?}", short(kind)))),
                }
            }
        }

        /// Which kinds a chain may hold.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Family { $(#[$family_doc] $family,)* }
    };
}

bodies! {
    /// Every chain.
    Every {
        /// The vault vouches for all that stands before this entry, in a form that others can keep: a C2SP signed note of
        /// the chain's size and Merkle root. Its line always carries the audit key's certificate, so that a reader can
        /// begin behind it; it never follows another.
        Checkpoint = "checkpoint" {
            /// The certificate of the checkpoint key.
            cert: Embedded,
            /// The signed note; its size is the `seq` of this entry.
            note: String,
            /// The roots of the complete subtrees at that size, largest first: what a reader goes on from.
            tree: Vec<Digest>,
        }
        /// An operator said that the clock had been ahead. The one entry whose `ts` may lie before the entry before it.
        ClockReset = "clock_reset" {
            /// The command.
            by: By,
        }
        /// The vault was restored from a backup: what it wrote after that backup is not known here. The one entry in which
        /// the origin changes, to `<vault>/<chain>~<number>`, and always the first that an audit key signs.
        Restore = "restore" {
            /// The `nockvault/backup` that the backup was made by.
            by: By,
            /// The restores that led here, with this one; whoever restores one backup twice counts on.
            number: u64,
            /// 16 bytes drawn for this restore, the same in all chains: two vaults out of one backup differ.
            salt: Bytes,
        }
    }
    /// An agent's chain.
    Agent {
        /// The agent is registered, with its first key. The first entry of its chain.
        Genesis = "genesis" {
            /// Whose chain it is.
            agent: AgentName,
            /// The command.
            by: By,
            /// The vault's identity key, 32 bytes.
            identity: Bytes,
            /// The register envelope of the first key.
            register: Embedded,
            /// 16 random bytes: two chains never begin alike.
            salt: Bytes,
        }
        /// A session was opened by a `nockvault/hello`.
        Session = "session" {
            /// The request.
            request: Embedded,
        }
        /// A credential was given.
        Issue = "issue" {
            /// The `seq` of the grant's entry in this chain.
            grant: u64,
            /// The credential's public name.
            handle: String,
            /// What was issued.
            hdr: Hdr,
            /// The request.
            request: Embedded,
            /// H(enc || ct) of the sealed credential.
            sealed: Digest,
        }
        /// A request was refused. Where something may have been made for it at a backend, the lease and its public name
        /// stand here too, and an `undone` follows.
        Deny = "deny" {
            /// The credential's public name.
            #[serde(skip_serializing_if = "Option::is_none", default)]
            handle: Option<String>,
            /// The lease that was intended.
            #[serde(skip_serializing_if = "Option::is_none", default)]
            lease: Option<LeaseId>,
            /// The reason's code.
            reason: String,
            /// The request.
            request: Embedded,
        }
        /// Refusals beyond those that got an entry of their own.
        DenySummary = "deny_summary" {
            /// How many, by the reason's code.
            counts: BTreeMap<String, u64>,
            /// From when on they were counted.
            from: Timestamp,
            /// Until when.
            to: Timestamp,
        }
        /// A lease lives longer.
        Renew = "renew" {
            /// When it dies now.
            exp: Timestamp,
            /// Which lease.
            lease: LeaseId,
            /// The request.
            request: Embedded,
        }
        /// A lease was given back.
        Release = "release" {
            /// Which lease.
            lease: LeaseId,
            /// The request.
            request: Embedded,
        }
        /// A session was closed; every lease of it ended with it.
        Close = "close" {
            /// The request.
            request: Embedded,
        }
        /// A lease was taken back.
        Revoke = "revoke" {
            /// The command.
            by: By,
            /// Which lease.
            lease: LeaseId,
            /// What is to be done beyond the trail: `none`, `listed`, or `pending` until an `undone` or a `forget`.
            outcome: String,
        }
        /// A lease ran out.
        Expire = "expire" {
            /// Which lease.
            lease: LeaseId,
            /// What is to be done beyond the trail: `none`, `listed`, or `pending` until an `undone` or a `forget`.
            outcome: String,
        }
        /// A lease was ended because the answer never left.
        Undelivered = "undelivered" {
            /// Which lease.
            lease: LeaseId,
            /// What is to be done beyond the trail: `none`, `listed`, or `pending` until an `undone` or a `forget`.
            outcome: String,
        }
        /// The credential of a lease that ended is gone from its backend.
        Undone = "undone" {
            /// Which lease.
            lease: LeaseId,
            /// `revoked` where it was there, `absent` where it was not.
            outcome: String,
            /// How often it was tried in vain before.
            tries: u64,
        }
        /// An operator gave up on taking a credential away: it may still be at its backend.
        Forget = "forget" {
            /// The command.
            by: By,
            /// Which lease.
            lease: LeaseId,
        }
        /// A new key is in place: by the old key's request, or by an operator's command. Exactly one of the two stands.
        AgentKey = "agent_key" {
            /// The command.
            #[serde(skip_serializing_if = "Option::is_none", default)]
            by: Option<By>,
            /// Until when the old key is accepted beside it; none where it is not accepted any more.
            #[serde(deserialize_with = "nullable")]
            grace: Option<Timestamp>,
            /// The register envelope of the new key.
            register: Embedded,
            /// The `nockvault/rotate_key` of the old key.
            #[serde(skip_serializing_if = "Option::is_none", default)]
            request: Option<Embedded>,
        }
        /// A key was ended: from this entry's `ts` on it signs nothing that is accepted.
        AgentKeyEnd = "agent_key_end" {
            /// The command.
            by: By,
            /// Which key.
            kid: Kid,
            /// Since when it may have been in wrong hands: information for readers.
            #[serde(deserialize_with = "nullable")]
            suspect_from: Option<Timestamp>,
        }
        /// A session ended without a request.
        SessionEnd = "session_end" {
            /// The command, where an operator ended it.
            #[serde(skip_serializing_if = "Option::is_none", default)]
            by: Option<By>,
            /// `idle`, `max` or `revoked`.
            reason: String,
            /// Which session.
            sid: Sid,
        }
        /// The agent may have a role.
        Grant = "grant" {
            /// The command.
            by: By,
            /// Which role.
            role: RoleName,
            /// On what terms.
            terms: Terms,
        }
        /// The agent may no longer have a role.
        Ungrant = "ungrant" {
            /// The command.
            by: By,
            /// The `seq` of the grant's entry.
            grant: u64,
            /// Which role.
            role: RoleName,
        }
        /// The agent may do nothing until it is thawed.
        Freeze = "freeze" {
            /// The command.
            by: By,
        }
        /// The agent may act again.
        Thaw = "thaw" {
            /// The command.
            by: By,
        }
    }
    /// `_operators`.
    Operators {
        /// The first operator. The first entry of `_operators`.
        OperatorsGenesis = "genesis" {
            /// The vault's identity key, 32 bytes.
            identity: Bytes,
            /// Its name.
            operator: OperatorName,
            /// The register envelope of its first key.
            register: Embedded,
            /// 16 random bytes.
            salt: Bytes,
        }
        /// A command arrived; its result says what came of it.
        Command = "command" {
            /// What other operators approved it by, where a rule asked for them.
            approvals: Vec<Approval>,
            /// The operator's envelope.
            command: Embedded,
            /// What came of it; see [`Command::denial`].
            result: Map<String, Value>,
        }
        /// Somebody who could open a custodian of the root key made an operator: no operator commanded it.
        CustodyOperator = "custody_operator" {
            /// The custodian.
            custodian: CustodianName,
            /// What the operator may do: everything.
            duty: Duty,
            /// How the custodian comes by its secret; of shares, how many there are and how many are enough.
            kind: Kind,
            /// The register envelope of the operator's first key.
            register: Embedded,
            /// The indexes of the shares that were given, in order; none for a custodian without shares.
            shares: Vec<u8>,
        }
    }
    /// `_vault`.
    Vault {
        /// The vault itself. The first entry of `_vault`.
        VaultGenesis = "genesis" {
            /// Its id.
            aud: Aud,
            /// The identity key, 32 bytes.
            identity: Bytes,
            /// Its name.
            name: VaultName,
            /// 16 random bytes.
            salt: Bytes,
        }
        /// A daemon began, or a sealed one was unsealed, with a new audit key.
        Start = "start" {
            /// The daemon's name.
            node: String,
            /// How it came to the root key. Daemons of before there were custodians do not say.
            #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
            opened: Option<Opened>,
            /// Its version.
            version: String,
        }
        /// The daemon's limits, where they differ from those that stood here last.
        Config = "config" {
            /// The limits by name, each in its unit.
            limits: BTreeMap<String, u64>,
        }
        /// The daemon before did not end in order; what this one found and mended.
        Recover = "recover" {
            /// Intents that were broken off; each has an entry in its agent's chain.
            interrupted: u64,
            /// Chains that do not verify and were set aside.
            quarantined: Vec<ChainName>,
            /// The `ts` of the newest entry at that time.
            since: Timestamp,
        }
        /// A daemon ended in order.
        Stop = "stop" {}
        /// A new audit key took over.
        Epoch = "epoch" {}
        /// A credential was found at a backend that no lease answers for, and taken away.
        Swept = "swept" {
            /// Its public name.
            handle: String,
            /// `revoked`: what was not there any more has no entry.
            outcome: String,
            /// The role at whose backend it was found.
            role: RoleName,
        }
        /// No request of any agent is carried out until it is thawed.
        VaultFreeze = "freeze" {
            /// The command.
            by: By,
        }
        /// Agents may act again.
        VaultThaw = "thaw" {
            /// The command.
            by: By,
        }
        /// Requests that were refused before they could belong to anybody.
        Refused = "refused" {
            /// How many, by the reason's code.
            counts: BTreeMap<String, u64>,
            /// In which minute since the epoch.
            minute: u64,
        }
    }
}

/// The member of a command's result that says it was refused, and why.
const DENIED: &str = "denied";
/// The member of a refused command's result that says that it waits for approval.
const WAITS: &str = "waits";

/// What the result says of a command that was refused because others must want it too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waits {
    /// H(PAE) of the command that waits: this one, or one of the same operator with the same body that waits already.
    pub command: Digest,
    /// Until when it waits.
    pub expires: Timestamp,
    /// How many operators must want it, its giver among them.
    pub persons: u64,
}

impl Command {
    /// A command that was carried out.
    #[must_use]
    pub fn carried(command: Embedded, result: Map<String, Value>) -> Command {
        Command { approvals: Vec::new(), command, result }
    }

    /// A command that was refused for this reason's code: it changed nothing, and nothing may rest on it.
    #[must_use]
    pub fn refused(command: Embedded, reason: &str) -> Command {
        let result = Map::from_iter([(DENIED.to_owned(), reason.into())]);
        Command { approvals: Vec::new(), command, result }
    }

    /// A command that was refused because others must want it too, and that waits for them.
    #[must_use]
    pub fn waiting(command: Embedded, reason: &str, waits: &Waits) -> Command {
        let mut refused = Command::refused(command, reason);
        refused.result.insert(WAITS.to_owned(), serde_json::json!(waits));
        refused
    }

    /// What it waits for, where it says that it waits; none where that cannot be read.
    #[must_use]
    pub fn waits(&self) -> Option<Option<Waits>> {
        self.result.get(WAITS).filter(|_| self.denial().is_some()).map(|waits| Waits::deserialize(waits).ok())
    }

    /// The reason's code where it was refused.
    #[must_use]
    pub fn denial(&self) -> Option<&str> {
        self.result.get(DENIED).map(|reason| reason.as_str().unwrap_or("without a reason"))
    }
}

impl Body {
    /// Whether a chain of this name may hold it.
    #[must_use]
    pub fn belongs_in(&self, chain: &ChainName) -> bool {
        self.family().belongs_in(chain)
    }

    /// The one statement in it that its holder signed, an agent's request or an operator's command, and what it is signed
    /// as.
    #[must_use]
    pub(super) fn asked(&self) -> Option<(&Embedded, PayloadType)> {
        let request = match self {
            Body::Session(body) => &body.request,
            Body::Issue(body) => &body.request,
            Body::Deny(body) => &body.request,
            Body::Renew(body) => &body.request,
            Body::Release(body) => &body.request,
            Body::Close(body) => &body.request,
            Body::AgentKey(body) => body.request.as_ref()?,
            Body::Command(body) => return Some((&body.command, PayloadType::Command)),
            _ => return None,
        };
        Some((request, PayloadType::Request))
    }

    /// The earliest `ts` it can stand under: an issuance is not recorded before its own `iat`.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        match self {
            Body::Issue(issue) => issue.hdr.iat,
            _ => Timestamp::ZERO,
        }
    }
}

impl Family {
    fn belongs_in(self, chain: &ChainName) -> bool {
        self == Family::Every || self == family(chain)
    }
}

fn family(chain: &ChainName) -> Family {
    match chain {
        chain if *chain == ChainName::operators() => Family::Operators,
        chain if *chain == ChainName::vault() => Family::Vault,
        _ => Family::Agent,
    }
}

/// How large a line of this chain may be, without its LF.
#[must_use]
pub fn admission(chain: &ChainName) -> Admission {
    if family(chain) == Family::Operators { Admission::OPERATORS_LINE } else { Admission::AUDIT_LINE }
}

/// Where a chain comes from: `<vault>/<chain>`, and `~<n>` after the n-th restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The vault's name.
    pub vault: VaultName,
    /// The chain's name.
    pub chain: ChainName,
    /// How often it was restored from a backup.
    pub restored: u64,
}

impl Origin {
    /// The origin of this text, where it is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Origin> {
        let (vault, rest) = text.split_once('/')?;
        let (chain, restored) = match rest.split_once('~') {
            None => (rest, 0),
            Some((chain, count)) => (chain, count.parse().ok().filter(|n: &u64| *n > 0 && n.to_string() == count)?),
        };
        Some(Origin { vault: vault.parse().ok()?, chain: chain.parse().ok()?, restored })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.vault, self.chain)?;
        if self.restored > 0 { write!(f, "~{}", self.restored) } else { Ok(()) }
    }
}

/// The origin's text of a chain that was never restored.
#[must_use]
pub fn origin(vault: &VaultName, chain: &ChainName) -> String {
    origin_after(vault, chain, 0)
}

/// The origin's text of a chain after so many restores.
#[must_use]
pub fn origin_after(vault: &VaultName, chain: &ChainName, restored: u64) -> String {
    Origin { vault: vault.clone(), chain: chain.clone(), restored }.to_string()
}

/// An entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What it says.
    pub body: Body,
    /// The audit key's certificate, with the chain's first entry under that key.
    pub cert: Option<Embedded>,
    /// The audit key.
    pub kid: Kid,
    /// Where the chain comes from.
    pub origin: String,
    /// The leaf of the entry before; 32 zero bytes for the first.
    pub prev: Digest,
    /// Its number, from 0.
    pub seq: u64,
    /// The audit key's signature.
    pub sig: Signature,
    /// When it was written.
    pub ts: Timestamp,
    /// 1.
    pub v: u64,
}

impl Entry {
    /// Reads a line, given without its LF.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read(line: &[u8]) -> Result<Entry, Unreadable> {
        super::line::Frame::read(line)?.entry()
    }
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_in_one_way() {
        for text in ["prod/kit", "prod/_vault", "prod/kit~1", "prod/kit~18446744073709551615"] {
            assert_eq!(Origin::parse(text).map(|origin| origin.to_string()).as_deref(), Some(text));
        }
        for text in
            ["prod", "/kit", "prod/", "prod/kit~", "prod/kit~0", "prod/kit~01", "prod/kit~+1", "prod/kit~1~2", "a/b/c"]
        {
            assert_eq!(Origin::parse(text), None, "{text}");
        }
    }
}
