//! What can go wrong for a caller, sorted by who has to act: the vault refused ([`Fault::Refused`]), no answer came
//! ([`Fault::Unreachable`], [`Fault::NoAnswer`]), an answer came that must not be believed ([`Fault::Untrusted`]), or
//! something on this side is wrong ([`Fault::Local`]).

use std::fmt;
use std::path::{Path, PathBuf};

use crate::crypto::hash::Digest;
use crate::denial::Reason;
use crate::id::Kid;
use crate::time::Timestamp;

/// Why a call gave no result.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The vault said no.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// No connection: nothing was sent.
    #[error("{address} cannot be reached: {why}; see that vaultd runs there and that the card's address is right")]
    Unreachable {
        /// Where.
        address: String,
        /// What the transport said.
        why: String,
    },
    /// The request went out and no answer of the vault's came back. What was asked may have happened.
    #[error("no answer to {req}: {why}; what it asked for may have happened all the same")]
    NoAnswer {
        /// H(PAE) of what was sent; a lease that it made can be released by this name.
        req: Digest,
        /// What the transport said.
        why: String,
    },
    /// An answer that must not be believed. Nothing of it was used.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// A key, a file or an argument on this side.
    #[error("{0}")]
    Local(String),
}

impl Fault {
    /// A fault on this side.
    pub fn local(why: impl fmt::Display) -> Fault {
        Fault::Local(why.to_string())
    }

    /// The refusal, where it is one.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Fault::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Why the vault refused, where it did and the reason is a known one.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        self.refusal().and_then(|refusal| Reason::from_code(&refusal.code))
    }
}

/// A no from the vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code of the reason.
    pub code: String,
    /// The limit that was met, in the unit that its reason states.
    pub limit: Option<u64>,
    /// After how many milliseconds to ask anew, where that is all it takes. Never signed.
    pub retry_after_ms: Option<u64>,
    /// The vault's time when it refused.
    pub now: Option<Timestamp>,
    /// The vault's words for people.
    pub message: String,
    /// Whether the vault signed it, for exactly this request. Only then is it the vault's word; what is not signed may
    /// be shown, and decides nothing.
    pub proven: bool,
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message.strip_prefix(self.code.as_str()) {
            Some(_) => write!(f, "refused: {}", self.message)?,
            None => write!(f, "refused: {}: {}", self.code, self.message)?,
        }
        if let Some(limit) = self.limit
            && !self.message.contains("[limit ")
        {
            write!(f, " [limit {limit}]")?;
        }
        if let Some(now) = self.now {
            write!(f, " [vault's time {now}]")?;
        }
        if !self.proven {
            f.write_str(" [not signed by the vault]")?;
        }
        Ok(())
    }
}

/// Why an answer must not be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// Another vault answers.
    #[error(
        "another vault answers\n  the card pins       {pinned}\n  this one shows      {shown}\n\
         Either the card is old (the vault was made anew: ask its operator for the new card, by a way you trust), or the \
         address leads to another vault, or somebody stands between you and yours. Nothing was sent to it."
    )]
    OtherVault {
        /// The thumbprint of the identity key that the card pins.
        pinned: Kid,
        /// The one that was shown.
        shown: Kid,
    },
    /// Who answers has a certificate for TLS that the card's CA did not sign.
    #[error(
        "{address} answers with a certificate that the card's CA did not sign ({why})\n  Either the card is old (the vault \
         was made anew: ask its operator for the new card, by a way you trust), or the address leads to another vault, or \
         somebody stands between you and yours. Nothing was sent to it."
    )]
    Tls {
        /// Where.
        address: String,
        /// What the transport said.
        why: String,
    },
    /// A certificate that the identity key did not sign, or that is not good now.
    #[error("a certificate of the vault's keys is not good: {0}")]
    Certificate(String),
    /// A response key that is older than one that this agent has seen.
    #[error(
        "the vault shows a key ({kid}) that is older than one this agent has seen: an older copy of it answers, or a rehearsal \
         of a restore answered before, or its clock was ahead then. {advice}",
        advice = older_key(kept.as_deref())
    )]
    OlderKey {
        /// The key.
        kid: Kid,
        /// What the agent has seen, where it is kept.
        kept: Option<PathBuf>,
    },
    /// The response key does not stand in the key directory that was given.
    #[error(
        "the response key {kid} does not stand in the key directory of {made}: either that is old (fetch a new one, by a \
         way you trust), or somebody has the vault's identity key"
    )]
    NotListed {
        /// The key.
        kid: Kid,
        /// When the directory was made.
        made: Timestamp,
    },
    /// No certified response key signed the answer.
    #[error("no certified response key of the vault signed this answer")]
    Signature,
    /// The answer is not the statement that belongs here.
    #[error("the answer is not a well formed {typ}: {why}")]
    Form {
        /// The `typ` that belongs here.
        typ: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The answer belongs to another request.
    #[error("the answer is to another request")]
    OtherRequest,
    /// The answer says other things than were asked for.
    #[error("the answer's {member} is not what was asked for")]
    OtherTerms {
        /// Which member.
        member: &'static str,
    },
    /// The answer's entry stands before what this agent has already seen of its chain.
    #[error(
        "the answer's entry {seq} stands before the {size} entries that were already seen: the vault's history was \
         rolled back or forked; keep {head} as evidence and tell the auditor"
    )]
    OlderHistory {
        /// The entry's `seq`.
        seq: u64,
        /// How many entries were seen.
        size: u64,
        /// The head that was seen.
        head: Digest,
    },
    /// What was sealed does not open.
    #[error("the sealed secret does not open with this session's key for this request")]
    Seal,
}

fn older_key(kept: Option<&Path>) -> String {
    match kept {
        Some(file) => {
            format!("Ask its operator: if it was a rehearsal, or the clock, put {} aside", file.display())
        }
        None => "Ask its operator".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unsigned_refusal_says_so() {
        let refusal = Refusal {
            code: "no_grant".into(),
            limit: Some(4),
            retry_after_ms: None,
            now: None,
            message: "no_grant: no grant gives this agent this role; ask an operator".into(),
            proven: false,
        };
        assert_eq!(
            refusal.to_string(),
            "refused: no_grant: no grant gives this agent this role; ask an operator [limit 4] [not signed by the vault]"
        );
    }
}
