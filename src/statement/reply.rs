//! What the vault says back: `nockvault/issued` and its kin. Each is signed by the response key and names the request
//! it answers; a client ignores members that it does not know, unless `crit` names them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::request::Seen;
use crate::base64url::Bytes;
use crate::crypto::envelope::Embedded;
use crate::crypto::hash::Digest;
use crate::id::{AgentName, Aud, Kid, LeaseId, RoleName, Sid, VaultName};
use crate::time::{Seconds, Timestamp};

/// Where an entry stands in its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EntryRef {
    /// The entry's leaf.
    pub leaf: Digest,
    /// Its `seq`.
    pub seq: u64,
}

impl EntryRef {
    /// The state of the chain right after this entry: what an agent keeps as `seen`.
    #[must_use]
    pub fn seen(&self) -> Seen {
        Seen { head: self.leaf, size: self.seq + 1 }
    }
}

/// How a credential can be made useless before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Revocation {
    /// In no way: the end of the lease bounds for how long it may be kept and used, and no more.
    None,
    /// It stands in a list that the vault publishes and verifiers fetch.
    Listed,
    /// It is taken away where it lives.
    Backend,
}

impl Revocation {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Revocation::None => "none",
            Revocation::Listed => "listed",
            Revocation::Backend => "backend",
        }
    }

    /// What the entry that ends such a credential says of what is to be done beyond the trail.
    #[must_use]
    pub fn outcome(self) -> &'static str {
        match self {
            Revocation::None => "none",
            Revocation::Listed => "listed",
            Revocation::Backend => "pending",
        }
    }

    /// The revocation of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Revocation> {
        [Revocation::None, Revocation::Listed, Revocation::Backend].into_iter().find(|one| one.as_str() == word)
    }
}

/// What was issued, in the open: it is bound into the seal and stands in the audit entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hdr {
    /// To whom.
    pub agent: AgentName,
    /// When it dies.
    pub exp: Timestamp,
    /// When it was made.
    pub iat: Timestamp,
    /// The key that asked.
    pub kid: Kid,
    /// The lease it is held under.
    pub lease: LeaseId,
    /// Whether its life can be prolonged.
    pub renewable: bool,
    /// H(PAE) of the request.
    pub req: Digest,
    /// How it can be made useless before its time.
    pub revocation: Revocation,
    /// Of which role.
    pub role: RoleName,
    /// For which session.
    pub sid: Sid,
    /// By which vault.
    pub vault: Aud,
}

/// The context that a credential is sealed in (HPKE `info`):
/// `"nockvault-seal-v1" 0x00 || H(PAE of the request) || H(JCS(hdr))`.
#[must_use]
pub fn seal_info(req: &Digest, hdr: &impl Serialize) -> Vec<u8> {
    let header = Digest::of(&crate::crypto::json::canonical(hdr));
    [b"nockvault-seal-v1\0".as_slice(), req.as_bytes(), header.as_bytes()].concat()
}

macro_rules! replies {
    ($($(#[$doc:meta])* $name:ident = $typ:literal { $($(#[$member_doc:meta])* $member:ident: $kind:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        pub struct $name {
            $($(#[$member_doc])* pub $member: $kind,)*
            /// Names the statement.
            pub typ: String,
            /// 1.
            pub v: u64,
        }

        impl $name {
            /// The value of `typ`.
            pub const TYP: &'static str = $typ;

            /// The statement with these members.
            #[must_use]
            #[allow(clippy::too_many_arguments, reason = "one argument a member")]
            pub fn new($($member: $kind,)*) -> $name {
                $name { $($member,)* typ: $typ.into(), v: super::VERSION }
            }
        }

        impl Reply for $name {
            const TYP: &'static str = $typ;
        }
    )*};
}

/// A statement of the vault.
pub trait Reply: Serialize + serde::de::DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The value of `typ`.
    const TYP: &'static str;
}

replies! {
    /// A credential, sealed to the session. It is the agent's receipt.
    Issued = "nockvault/issued" {
        /// HPKE ciphertext of the framed secret.
        ct: Bytes,
        /// HPKE encapsulated key, 32 bytes.
        enc: Bytes,
        /// Its audit entry.
        entry: EntryRef,
        /// What was issued.
        hdr: Hdr,
    }
    /// A session is open.
    Opened = "nockvault/opened" {
        /// Its audit entry.
        entry: EntryRef,
        /// When the session ends at the latest.
        ends: Timestamp,
        /// After how long without a request it ends, in seconds.
        idle: Seconds,
        /// The vault's time.
        now: Timestamp,
        /// H(PAE) of the request.
        req: Digest,
    }
    /// A lease lives longer.
    Renewed = "nockvault/renewed" {
        /// Its audit entry.
        entry: EntryRef,
        /// When it dies now.
        exp: Timestamp,
        /// Which lease.
        lease: LeaseId,
        /// H(PAE) of the request.
        req: Digest,
    }
    /// A lease was given back.
    Released = "nockvault/released" {
        /// Its audit entry.
        entry: EntryRef,
        /// Which lease.
        lease: LeaseId,
        /// H(PAE) of the request.
        req: Digest,
    }
    /// A session was closed.
    Closed = "nockvault/closed" {
        /// Its audit entry.
        entry: EntryRef,
        /// How many leases were released with it.
        leases: u64,
        /// H(PAE) of the request.
        req: Digest,
        /// Which session.
        sid: Sid,
    }
    /// A new key is in place.
    Rotated = "nockvault/rotated" {
        /// Its audit entry.
        entry: EntryRef,
        /// Until when the old key is still accepted.
        grace: Timestamp,
        /// The new key.
        kid: Kid,
        /// Its number.
        kver: u64,
        /// H(PAE) of the request.
        req: Digest,
    }
    /// A command was carried out, or a question answered.
    Executed = "nockvault/executed" {
        /// The command's entry in `_operators`; none for a read.
        entry: Option<EntryRef>,
        /// The vault's time.
        now: Timestamp,
        /// H(PAE) of the command.
        req: Digest,
        /// What came of it.
        result: Map<String, Value>,
    }
    /// A refusal after a valid signature.
    Denied = "nockvault/denied" {
        /// The limit that was met, in the unit of its reason; 2^53 - 1 and above are never sent.
        limit: Option<u64>,
        /// The vault's time.
        now: Timestamp,
        /// The reason's code.
        reason: String,
        /// H(PAE) of the request.
        req: Digest,
    }
    /// Who the vault is.
    Described = "nockvault/described" {
        /// The statements it accepts, as `typ` and version.
        accepts: Vec<Accepted>,
        /// Its identity.
        aud: Aud,
        /// Certificates of its keys, signed by the identity key.
        certs: Vec<Embedded>,
        /// The identity key, 32 bytes.
        identity: Bytes,
        /// What it allows.
        limits: Limits,
        /// Its name, for people.
        name: VaultName,
        /// Its time.
        now: Timestamp,
        /// The caller's challenge.
        req: Bytes,
        /// The HPKE suites it seals with.
        suites: Vec<String>,
    }
}

/// A statement that the vault accepts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Accepted {
    /// Its `typ`.
    pub typ: String,
    /// Its version.
    pub v: u64,
}

/// What a client should know before it asks. Durations in seconds, sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// How far `iat` may lie from the vault's clock.
    pub skew: Seconds,
    /// The largest request payload.
    pub request_bytes: u64,
    /// The largest command payload.
    pub command_bytes: u64,
    /// The largest sealed input.
    pub sealed_input_bytes: u64,
    /// After how long without a request a session ends.
    pub session_idle: Seconds,
    /// After how long a session ends in any case.
    pub session_max: Seconds,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_behind_an_entry_holds_it() {
        let entry = EntryRef { leaf: Digest::of(b"line"), seq: 6 };
        assert_eq!(entry.seen(), Seen { head: entry.leaf, size: 7 });
    }

    #[test]
    fn a_way_of_revocation_has_one_word() {
        for (one, word, outcome) in [
            (Revocation::None, "none", "none"),
            (Revocation::Listed, "listed", "listed"),
            (Revocation::Backend, "backend", "pending"),
        ] {
            assert_eq!((one.as_str(), one.outcome(), Revocation::from_word(word)), (word, outcome, Some(one)));
            assert_eq!(serde_json::to_value(one).unwrap(), word);
        }
        assert_eq!(Revocation::from_word("pending"), None);
    }
}
