//! What a verification found: the [`Verdict`] with its place and one sentence, and beside it what is proved by an intact
//! chain and what is not.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

pub use super::checkpoints::CheckpointSeen;
use super::custody::MadeByCustody;
use crate::crypto::hash::Digest;
use crate::id::{Aud, Kid};
use crate::time::Timestamp;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        /// In which way a chain is not what it claims to be. The code is what programs act on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Fault { $($(#[$doc])* $name,)* }

        impl Fault {
            /// Every fault there is.
            pub const ALL: &'static [Fault] = &[$(Fault::$name,)*];

            /// The word that programs act on.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(Fault::$name => $code,)* }
            }
        }
    };
}

faults! {
    /// The line is not an entry.
    Malformed = "malformed";
    /// The number does not follow the one before: an entry is missing, stands twice or stands elsewhere.
    Seq = "seq";
    /// `prev` is not the leaf of the entry before.
    Prev = "prev";
    /// The entry belongs to another chain.
    Origin = "origin";
    /// `ts` is before that of the entry before.
    Time = "time";
    /// The audit key has no certificate that the identity key signed.
    Certificate = "certificate";
    /// The audit key was not good at `ts`.
    KeyLife = "key_life";
    /// The audit key did not sign the entry.
    Signature = "signature";
    /// The chain is of another vault than the one that was pinned.
    Identity = "identity";
    /// A chain begins with its genesis and has no other; this one does not, or it begins with another than was pinned.
    Genesis = "genesis";
    /// A register statement does not prove the key, or is not for this holder and vault.
    Register = "register";
    /// A key of the holder out of order: number, predecessor, or an end that was before.
    KeyOrder = "key_order";
    /// A key of the agent that is not among those that were pinned.
    KeyPin = "key_pin";
    /// No key of the holder signed the request or command.
    RequestSignature = "request_signature";
    /// The key that signed the request or command was not accepted at `ts`.
    RequestKey = "request_key";
    /// The request's or command's members are not those that this entry needs.
    RequestMembers = "request_members";
    /// The request or command stands in an earlier entry.
    RequestTwice = "request_twice";
    /// The request was signed in view of a history that is not this chain's.
    History = "history";
    /// What was issued is not what was asked for.
    Header = "header";
    /// A life longer than was asked for.
    Life = "life";
    /// A lease out of order: unknown, ended, or issued twice.
    Lease = "lease";
    /// No grant, as this chain tells them, covers it.
    Grant = "grant";
    /// A session out of order, or under another seal key than it is pinned to.
    Session = "session";
    /// The agent was frozen.
    Frozen = "frozen";
    /// The command that the entry rests on is not there, is another, or was refused.
    By = "by";
    /// The operator's duty did not allow the command.
    Duty = "duty";
    /// Approvals that are none, or fewer than the rules asked for.
    Approval = "approval";
    /// An operator whom custody cannot have made so: a custodian who was none, shares that do not fit, another duty.
    Custody = "custody";
    /// A daemon's start, stop, epoch, config or recover where it cannot stand.
    Order = "order";
    /// A restore from a backup that does not count on, or is not the first that its audit key signs.
    Restore = "restore";
    /// A checkpoint is not of the entries before it, or not the vault's.
    Checkpoint = "checkpoint";
    /// The chain does not hold a checkpoint that was kept elsewhere.
    KeptCheckpoint = "kept_checkpoint";
    /// The chain does not hold a state that was held elsewhere.
    Head = "head";
    /// The chain does not hold the entry of a receipt, or another.
    Receipt = "receipt";
}

impl Fault {
    pub(super) fn found(self, how: impl Into<String>) -> Finding {
        Finding::Fault(self, how.into())
    }
}

/// What ends a verification early.
#[derive(Clone, Debug)]
pub(super) enum Finding {
    /// The chain is not what it claims to be.
    Fault(Fault, String),
    /// An entry says what this program does not know.
    NotUnderstood(String),
    /// It cannot be told, and why.
    Unusable(String),
}

impl From<std::io::Error> for Finding {
    fn from(why: std::io::Error) -> Finding {
        Finding::Unusable(format!(
            "the temporary file of this verification cannot be used: {why}; TMPDIR names another place for it"
        ))
    }
}

/// What is to be thought of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing is wrong with it.
    Intact,
    /// It is not what the vault wrote, or the vault wrote what it may not.
    Tampered {
        /// The first entry that is wrong or missing, by the number that belongs there.
        entry: u64,
        /// The line of the file, from 1.
        line: u64,
        /// In which way.
        fault: Fault,
        /// One sentence for a person.
        how: String,
    },
    /// The chain holds together, but an entry is of a kind or version that this program does not know.
    NotUnderstood {
        /// The first such entry.
        entry: u64,
        /// The line of the file, from 1.
        line: u64,
        /// One sentence for a person.
        how: String,
    },
    /// The last line breaks off; all before it is intact.
    Torn {
        /// The entry that breaks off.
        entry: u64,
        /// The line of the file, from 1.
        line: u64,
        /// One sentence for a person.
        how: String,
    },
    /// Intact, but something that is held of it elsewhere is of a history that the vault lost when it was restored from a
    /// backup: the chain says so, and does not hold it.
    Lost {
        /// The first entry that the restore wrote.
        entry: u64,
        /// The line of the file, from 1.
        line: u64,
        /// What is not held, and since which restore.
        how: String,
    },
    /// Intact, but its newest entry is older than it may be.
    Stale {
        /// One sentence for a person.
        how: String,
    },
    /// It cannot be told.
    Unusable {
        /// One sentence for a person.
        how: String,
    },
}

impl Serialize for Fault {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.code())
    }
}

impl Verdict {
    /// The exit code of a program that was asked for it: 0 intact, 2 tampered, 1 anything else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Verdict::Intact => 0,
            Verdict::Tampered { .. } => 2,
            _ => 1,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Intact => f.write_str("intact"),
            Verdict::Tampered { entry, line, how, .. } => write!(f, "TAMPERED at entry {entry} (line {line}): {how}"),
            Verdict::NotUnderstood { entry, line, how } => {
                write!(f, "not understood at entry {entry} (line {line}): {how}")
            }
            Verdict::Torn { entry, line, how } => write!(f, "torn at entry {entry} (line {line}): {how}"),
            Verdict::Lost { entry, line, how } => {
                write!(f, "intact, but LOST TO A RESTORE from entry {entry} (line {line}) on: {how}")
            }
            Verdict::Stale { how } => write!(f, "too old: {how}"),
            Verdict::Unusable { how } => write!(f, "cannot be verified: {how}"),
        }
    }
}

/// A key of the chain's holder, as the chain tells its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeySeen {
    /// Its identifier.
    pub kid: Kid,
    /// Its number; none where neither this part of the chain nor a directory tells it.
    pub kver: Option<u64>,
    /// When it was registered; none where that was before this part of the chain.
    pub since: Option<Timestamp>,
    /// Before when it is accepted; none while it is the newest.
    pub until: Option<Timestamp>,
    /// Since when an operator who ended it says that it may have been in wrong hands.
    pub suspect_from: Option<Timestamp>,
    /// How many requests or commands of this chain it signed.
    pub signed: u64,
}

/// A restore from a backup, as the chain tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RestoreSeen {
    /// Its entry: what the vault wrote under this number and higher ones between the backup and the restore was lost.
    pub entry: u64,
    /// The number behind the origin from here on.
    pub number: u64,
    /// When the restored vault wrote it.
    pub ts: Timestamp,
    /// The entry of `_operators` with the command by which the backup was made.
    pub backup: u64,
}

/// All that a verification has to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What is to be thought of it.
    pub verdict: Verdict,
    /// Where the chain comes from.
    pub origin: Option<String>,
    /// The vault, by the identity key that the chain was verified with.
    pub aud: Option<Aud>,
    /// Whether that identity was pinned, and not taken from the chain itself.
    pub pinned: bool,
    /// The number of the first entry: 0, unless this is a part of a chain.
    pub first: u64,
    /// How many entries the chain has with the last that was found good.
    pub size: u64,
    /// The leaf of the last of them.
    pub head: Digest,
    /// The `ts` of the first.
    pub from: Option<Timestamp>,
    /// The `ts` of the last.
    pub to: Option<Timestamp>,
    /// The audit keys that signed them.
    pub audit_keys: Vec<Kid>,
    /// The holder's keys.
    pub keys: Vec<KeySeen>,
    /// How many entries of each kind.
    pub kinds: BTreeMap<String, u64>,
    /// How many checkpoints stand in it.
    pub checkpoint_count: u64,
    /// The newest of them, up to a thousand, in their order.
    pub checkpoints: Vec<CheckpointSeen>,
    /// The restores from backups that it tells of, oldest first, up to a thousand.
    pub restores: Vec<RestoreSeen>,
    /// The operators whom custody made, and no operator, oldest first.
    pub made_by_custody: Vec<MadeByCustody>,
    /// What the good entries prove, a sentence each.
    pub proved: Vec<String>,
    /// What they do not, a sentence each.
    pub unproved: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.origin.as_deref().unwrap_or("this file"), self.verdict)?;
        if let (Some(from), Some(to)) = (self.from, self.to) {
            let count = self.size - self.first;
            let plural = if count == 1 { "y" } else { "ies" };
            let begins = if self.first > 0 { format!(" from number {} on", self.first) } else { String::new() };
            writeln!(f, "  {count} good entr{plural}{begins}, {from} to {to}")?;
            writeln!(f, "  head {}:{}", self.head, self.size)?;
        }
        if let Some(aud) = &self.aud {
            writeln!(f, "  vault {aud}{}", if self.pinned { "" } else { "  (NOT PINNED)" })?;
        }
        if !self.kinds.is_empty() {
            let kinds: Vec<String> = self.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            writeln!(f, "  {}", kinds.join(", "))?;
        }
        for (title, sentences) in [("proved", &self.proved), ("not proved", &self.unproved)] {
            if !sentences.is_empty() {
                writeln!(f, "  {title}:")?;
            }
            for sentence in sentences {
                writeln!(f, "  - {sentence}")?;
            }
        }
        Ok(())
    }
}
