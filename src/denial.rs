//! The closed list of refusals. A [`Denial`] is a value, not an exception: it carries the [`Reason`], the limit that was
//! met where there is one, and two texts, one for the peer (what was wrong and what to do) and one for the operator,
//! which may name what a peer must not learn. The reason's code is what programs act on; it stands in the signed
//! `nockvault/denied`, in `google.rpc.ErrorInfo` and in the audit entry, and never changes its meaning.
//!
//! Whoever cannot prove a registered key gets one answer, [`Reason::Unauthenticated`], whatever was wrong.

use std::fmt;
use std::time::Duration;

use crate::time::Timestamp;

/// Who has to act so that the same wish can succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The caller built the request wrongly; it will be refused however often it is sent.
    Request,
    /// The caller could not prove a registered key.
    Identity,
    /// The state of the session, lease or chain does not allow it (any more).
    State,
    /// No grant covers it; an operator decides.
    Grant,
    /// A limit of rate, number or size is used up for now.
    Limit,
    /// The vault or a backend cannot serve at this time.
    Vault,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $fault:ident, $peer:literal;)*) => {
        /// Why something was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)*];

            /// The word that programs act on.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(Reason::$name => $code,)* }
            }

            /// Who has to act.
            #[must_use]
            pub fn fault(self) -> Fault {
                match self { $(Reason::$name => Fault::$fault,)* }
            }

            /// What the peer is told: what was wrong and what to do.
            #[must_use]
            pub fn advice(self) -> &'static str {
                match self { $(Reason::$name => $peer,)* }
            }
        }
    };
}

reasons! {
    /// The vault holds no root key and can serve nothing.
    Sealed = "sealed", Vault, "the vault is sealed; an operator must unseal it";
    /// What only a sealed vault takes.
    NotSealed = "not_sealed", State, "the vault is not sealed";
    /// A secret or a share that does not open the custodian it was given for.
    CustodyRefused = "custody_refused", Identity, "this is not what opens the custodian";
    /// A payload or message over its size limit.
    Oversize = "oversize", Request, "the statement is larger than its limit";
    /// An envelope without the shape of one.
    Malformed = "malformed", Request, "the signed envelope is incomplete or not well formed";
    /// An envelope of a payload type that this call does not take.
    WrongPayloadType = "wrong_payload_type", Request, "this call does not take statements of that payload type";
    /// Unknown agent, unknown key or bad signature: one answer for all.
    Unauthenticated = "unauthenticated", Identity, "no registered key signed this statement";
    /// Bytes that are not the canonical JSON that FORMATS admits.
    NotCanonical = "not_canonical", Request, "the payload is not canonical JSON as RFC 8785 and this protocol define it";
    /// Canonical JSON, but not the members of its schema.
    Schema = "schema", Request, "the payload does not have exactly the members of its schema";
    /// A `typ` that does not belong to the call.
    WrongTyp = "wrong_typ", Request, "the statement's typ does not belong to this call";
    /// A version that this vault does not accept.
    UnsupportedVersion = "unsupported_version", Request, "the vault does not accept this version; DescribeVault lists those it does";
    /// A statement for another vault.
    WrongVault = "wrong_vault", Request, "the statement's aud names another vault";
    /// A statement in another holder's name than the key's.
    WrongHolder = "wrong_holder", Identity, "the statement names another agent or operator than the one whose key signed it";
    /// A statement whose kid or kver is not the signing key's.
    WrongKey = "wrong_key", Identity, "the statement's kid or kver is not that of the key that signed it";
    /// A key past its end.
    KeyRetired = "key_retired", Identity, "the key that signed this was retired or revoked; use the current key";
    /// `iat` outside the window around the vault's clock.
    ClockSkew = "clock_skew", Request, "iat is outside the accepted window around the vault's clock; correct the clock and sign anew";
    /// `iat` at or before the durable floor.
    Stale = "stale", Request, "iat is not after the vault's floor; sign a new statement once the clock is past it";
    /// A nonce that this key has used.
    Replay = "replay", Request, "this nonce was used before; each request is signed with a fresh one";
    /// The key has as many live nonces as it may.
    NoncesFull = "nonces_full", Limit, "this key has used as many nonces as the window may hold; wait";
    /// The agent was frozen.
    AgentFrozen = "agent_frozen", State, "this agent is frozen; ask an operator";
    /// Everything was frozen.
    VaultFrozen = "vault_frozen", State, "the vault is frozen and carries out no request of any agent; ask an operator";
    /// The role was frozen.
    RoleFrozen = "role_frozen", State, "this role is frozen; ask an operator";
    /// No such session of this agent.
    SessionUnknown = "session_unknown", State, "no such session; the first hello or issue opens it";
    /// The session was closed, was revoked or ran out.
    SessionEnded = "session_ended", State, "the session has ended; open another under a new sid";
    /// The agent has as many open sessions as it may.
    SessionLimit = "session_limit", Limit, "the agent has as many open sessions as it may; close one";
    /// A seal suite that is not offered.
    SealSuite = "seal_suite", Request, "the seal's suite is not accepted; DescribeVault lists those that are";
    /// A session key that is no safe X25519 point.
    SealKey = "seal_key", Request, "the seal's key is not a safe X25519 public key";
    /// Another session key than the one this session began with.
    SealMismatch = "seal_mismatch", State, "the session was opened with another seal key";
    /// `seen` is not a prefix of the agent's chain.
    HistoryMismatch = "history_mismatch", State, "the history in seen is not that of the vault; keep the old head as evidence and tell the auditor";
    /// `seen` is newer than the backup that this vault was restored from.
    Restored = "restored", State, "the vault was restored from a backup older than the history in seen; ask its operator, keep the old head as evidence, and accept the restore to go on";
    /// No live grant of this role to this agent.
    NoGrant = "no_grant", Grant, "no grant gives this agent this role; ask an operator";
    /// The grant's `until` has passed.
    GrantExpired = "grant_expired", Grant, "the grant has expired; ask an operator";
    /// The grant's uses are spent.
    GrantExhausted = "grant_exhausted", Grant, "the grant's uses are spent; ask an operator";
    /// The session's name is not among those the grant allows.
    SessionNotGranted = "session_not_granted", Grant, "the grant does not cover a session of this name";
    /// The peer's address is outside the grant's networks.
    AddressNotGranted = "address_not_granted", Grant, "the grant does not cover requests from this address";
    /// A longer life than the grant allows.
    TtlExceedsGrant = "ttl_exceeds_grant", Grant, "the life asked for is longer than the grant allows; ask for at most the limit, in seconds";
    /// A longer life than the agent's session has left.
    TtlExceedsSession = "ttl_exceeds_session", Limit, "the session ends before the life asked for; ask for at most the limit, in seconds";
    /// A rate is used up: the grant's, that of an agent's key changes, an agent's or a peer's.
    RateLimited = "rate_limited", Limit, "too many in too short a time; try again after the limit, in seconds";
    /// The agent has as many live leases as it may.
    LeaseLimit = "lease_limit", Limit, "the agent has as many live leases as it may; release one";
    /// Parameters that the engine does not take.
    ParamsRefused = "params_refused", Request, "the engine does not take these params";
    /// No such lease of this agent.
    LeaseUnknown = "lease_unknown", State, "this agent has no such lease";
    /// The lease is over.
    LeaseEnded = "lease_ended", State, "the lease has ended; request a new credential";
    /// Nothing of the lease is left to undo at a backend.
    NothingToUndo = "nothing_to_undo", State, "nothing of this lease waits to be taken away at a backend";
    /// The lease's engine cannot prolong.
    NotRenewable = "not_renewable", State, "this credential cannot be renewed; request a new one";
    /// The successor key is not the next one or not provably the caller's.
    BadSuccessor = "bad_successor", Request, "the new key's register statement is not a valid successor of the current key";
    /// What a role refers to does not exist.
    SecretMissing = "secret_missing", Vault, "the secret behind this role does not exist; ask an operator";
    /// The engine or its backend did not answer.
    EngineUnavailable = "engine_unavailable", Vault, "the engine behind this role cannot serve now; try again later";
    /// The backend answered and said no.
    EngineRefused = "engine_refused", Vault, "the backend refused what this role asks of it; an operator must look at the role";
    /// The value behind the role is past its end, or ends before the life asked for.
    SecretExpired = "secret_expired", Limit, "the stored value ends before the life asked for; ask for at most the limit, in seconds, or ask an operator for a new value";
    /// The request was broken off before it came to an end, and what it may have made is undone.
    Interrupted = "interrupted", Vault, "the vault was interrupted while it served this request; sign a new one";
    /// The audit entry could not be made durable, so nothing was issued.
    AuditUnavailable = "audit_unavailable", Vault, "the audit trail cannot be written, so nothing was issued; try again later";
    /// The deadline passed while a commit was under way; what lands is revoked.
    OutcomeUnknown = "outcome_unknown", Vault, "the outcome is not known in time; what may still land is revoked, or expires; sign a new request";
    /// The vault's clock stands behind its newest entry.
    ClockBehind = "clock_behind", Vault, "the vault's clock is behind its own history; an operator must mend it";
    /// The clock is not behind the history.
    ClockGood = "clock_good", State, "the vault's clock is not behind its own history; there is nothing to reset";
    /// The agent's chain does not verify and was set aside.
    Quarantined = "quarantined", Vault, "an audit chain that this needs is quarantined; an operator must look at it";
    /// Without it nobody could open the vault.
    LastCustodian = "last_custodian", State, "without its last custodian nobody could open the vault; add another first";
    /// Too much at once.
    Busy = "busy", Limit, "the vault is busy; try again later";
    /// An operator who may not give this command.
    NotPermitted = "not_permitted", Grant, "this operator may not give this command";
    /// A duty that cannot be given so.
    BadDuty = "bad_duty", Request, "the first key of an operator comes with its duty, a further one without; roles of a grantor exist";
    /// The last admin would be out.
    LastAdmin = "last_admin", State, "a vault keeps at least one admin with a key; register another first";
    /// A command that more than one operator must want.
    NeedsApproval = "needs_approval", Grant, "the vault's rules ask for more than one operator; others have to approve it, then give it again";
    /// An operator whose approval of this command would not count.
    CannotApprove = "cannot_approve", Grant, "this operator cannot approve this command; another one has to";
    /// Rules that cannot be, or that nobody could lift.
    BadPolicy = "bad_policy", Request, "these rules cannot be set";
    /// A name that is taken.
    AlreadyExists = "already_exists", State, "this name is taken; names are never used again";
    /// A name that differs from another only in `.` and `-`.
    NameCollision = "name_collision", State, "another agent's name differs from this one only in . and -";
    /// Nothing of that name.
    NotFound = "not_found", State, "nothing of this name exists";
    /// A key identifier that the vault knows already.
    KeyKnown = "key_known", State, "this key is or was registered; a key is registered once, for one holder";
    /// A register statement that proves nothing.
    BadProof = "bad_proof", Request, "the register statement does not prove possession of an acceptable key";
    /// An engine's configuration that does not fit.
    BadRole = "bad_role", Request, "this configuration is not what the engine takes";
    /// Terms of a grant that contradict themselves.
    BadTerms = "bad_terms", Request, "the grant's terms contradict each other or the vault's limits";
    /// Sealed input that does not open or does not match its digest.
    BadSealedInput = "bad_sealed_input", Request, "the sealed input does not open or is not the one the command names";
    /// A fault of our own.
    Internal = "internal", Vault, "the vault failed; its log says how";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Reason {
    /// The reason whose code this is.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Reason> {
        Reason::ALL.iter().copied().find(|reason| reason.code() == code)
    }
}

/// A refusal on its way to the peer and the trail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Denial {
    /// Why.
    pub reason: Reason,
    /// The limit that was met, in the unit its reason states.
    pub limit: Option<u64>,
    /// After how many milliseconds the same wish may be tried anew, where that is all it takes.
    pub retry_after_ms: Option<u64>,
    /// The vault's time when it refused, where a program can act on it.
    pub now: Option<Timestamp>,
    /// What exactly was wrong, for the peer. Never a secret, never another's name.
    pub detail: String,
    /// What the operator should know besides. Never a secret.
    pub internal: String,
}

impl Denial {
    /// A refusal for this reason alone.
    #[must_use]
    pub fn new(reason: Reason) -> Denial {
        Denial { reason, limit: None, retry_after_ms: None, now: None, detail: String::new(), internal: String::new() }
    }

    /// Adds the limit that was met.
    #[must_use]
    pub fn limit(mut self, limit: u64) -> Denial {
        self.limit = Some(limit);
        self
    }

    /// Adds how long it takes until the same wish may be tried anew: in milliseconds for programs, and in seconds, rounded
    /// up, as the limit.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Denial {
        let ms = u64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u64::MAX).max(1);
        (self.retry_after_ms, self.limit) = (Some(ms), Some(ms.div_ceil(1000)));
        self
    }

    /// Adds what exactly was wrong, for the peer.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Denial {
        self.detail = detail.into();
        self
    }

    /// Adds what the operator should know.
    #[must_use]
    pub fn internal(mut self, internal: impl fmt::Display) -> Denial {
        self.internal = internal.to_string();
        self
    }

    /// The peer's words without the code: the advice, with the detail where there is one. Where the detail is a whole
    /// sentence of its own, the advice, which is for the case without, would only contradict it.
    #[must_use]
    pub fn why(&self) -> String {
        use Reason::{AlreadyExists, CannotApprove, NeedsApproval, NotFound};
        match (self.reason, self.detail.as_str()) {
            (reason, "") => reason.advice().to_owned(),
            (AlreadyExists | CannotApprove | NeedsApproval | NotFound, detail) => detail.to_owned(),
            (reason, detail) => format!("{} ({detail})", reason.advice()),
        }
    }

    /// Adds the vault's time.
    #[must_use]
    pub fn at(mut self, now: Timestamp) -> Denial {
        self.now = Some(now);
        self
    }
}

impl From<Reason> for Denial {
    fn from(reason: Reason) -> Denial {
        Denial::new(reason)
    }
}

impl fmt::Display for Denial {
    /// The peer's text: the code, the words, and the limit where there is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.code(), self.why())?;
        if let Some(limit) = self.limit {
            write!(f, " [limit {limit}]")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_unique_and_lead_back() {
        let codes: HashSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert_eq!(Reason::from_code(reason.code()), Some(*reason));
            assert!(reason.code().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        }
        assert_eq!(Reason::from_code("fine"), None);
    }

    #[test]
    fn a_detail_that_says_it_all_stands_alone() {
        let no = |reason: Reason| Denial::new(reason).detail("the agent is not frozen").to_string();
        assert_eq!(no(Reason::NotFound), "not_found: the agent is not frozen");
        assert!(no(Reason::BadTerms).ends_with("limits (the agent is not frozen)"));
        assert!(Denial::new(Reason::NotFound).to_string().ends_with(Reason::NotFound.advice()));
    }

    #[test]
    fn the_peer_never_reads_the_operators_text() {
        let denial = Denial::new(Reason::NoGrant).internal("grants exist for ada").limit(3);
        assert!(!denial.to_string().contains("ada"));
        assert!(denial.to_string().contains("no_grant") && denial.to_string().contains("[limit 3]"));
    }
}
