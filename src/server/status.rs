//! The one table from a reason to a gRPC status, and how a refusal is dressed. The reason decides and the status only
//! sorts, for clients and proxies that know nothing of us; the list at the head of `envelope.proto` is the same table,
//! and a test holds the two together.
//!
//! Where the vault could sign its refusal, because the request's own signature was valid, the peer is told what exactly
//! was wrong, the limit and the time. Everyone else gets the reason's own sentence and nothing more.

use tonic::{Code, Status};

use crate::crypto::envelope::Envelope;
use crate::denial::{Denial, Reason};
use crate::wire::convert::{EnvelopeError, RETRY_AFTER_MS, RefusalDetails};

/// The gRPC status that a reason is sorted under.
#[must_use]
pub fn code(reason: Reason) -> Code {
    match reason {
        Reason::Oversize
        | Reason::Malformed
        | Reason::WrongPayloadType
        | Reason::NotCanonical
        | Reason::Schema
        | Reason::WrongTyp
        | Reason::UnsupportedVersion
        | Reason::WrongVault
        | Reason::SealSuite
        | Reason::SealKey
        | Reason::ParamsRefused
        | Reason::BadSuccessor
        | Reason::BadProof
        | Reason::BadRole
        | Reason::BadTerms
        | Reason::BadDuty
        | Reason::BadPolicy
        | Reason::BadSealedInput => Code::InvalidArgument,
        Reason::Unauthenticated
        | Reason::WrongHolder
        | Reason::WrongKey
        | Reason::KeyRetired
        | Reason::CustodyRefused => Code::Unauthenticated,
        Reason::NoGrant
        | Reason::GrantExpired
        | Reason::GrantExhausted
        | Reason::SessionNotGranted
        | Reason::AddressNotGranted
        | Reason::TtlExceedsGrant
        | Reason::AgentFrozen
        | Reason::VaultFrozen
        | Reason::RoleFrozen
        | Reason::CannotApprove
        | Reason::NotPermitted => Code::PermissionDenied,
        Reason::ClockSkew
        | Reason::Stale
        | Reason::SessionEnded
        | Reason::SealMismatch
        | Reason::HistoryMismatch
        | Reason::Restored
        | Reason::TtlExceedsSession
        | Reason::LeaseEnded
        | Reason::NotRenewable
        | Reason::NothingToUndo
        | Reason::ClockGood
        | Reason::LastAdmin
        | Reason::LastCustodian
        | Reason::SecretMissing
        | Reason::SecretExpired
        | Reason::EngineRefused
        | Reason::NeedsApproval
        | Reason::NotSealed => Code::FailedPrecondition,
        Reason::SessionUnknown | Reason::LeaseUnknown | Reason::NotFound => Code::NotFound,
        Reason::Replay | Reason::AlreadyExists | Reason::NameCollision | Reason::KeyKnown => Code::AlreadyExists,
        Reason::NoncesFull | Reason::SessionLimit | Reason::RateLimited | Reason::LeaseLimit | Reason::Busy => {
            Code::ResourceExhausted
        }
        Reason::Sealed
        | Reason::EngineUnavailable
        | Reason::Interrupted
        | Reason::AuditUnavailable
        | Reason::ClockBehind
        | Reason::Quarantined => Code::Unavailable,
        Reason::OutcomeUnknown => Code::DeadlineExceeded,
        Reason::Internal => Code::Internal,
    }
}

/// A refusal on its way out, with the vault's signed word for it where there is one.
#[must_use]
pub fn refusal(denial: &Denial, signed: Option<Envelope>) -> Status {
    if signed.is_none() {
        // How long to wait is no secret, and who is refused unread cannot learn it in any other way.
        return plain(denial.reason, denial.reason.advice(), denial.retry_after_ms);
    }
    let limit = denial.limit.map(|limit| ("limit", limit.to_string()));
    let now = denial.now.map(|now| ("now", now.0.to_string()));
    let retry = denial.retry_after_ms.map(|ms| (RETRY_AFTER_MS, ms.to_string()));
    let metadata = [limit, now, retry].into_iter().flatten().map(|(name, value)| (name.to_owned(), value)).collect();
    let details = RefusalDetails { reason: denial.reason.code().to_owned(), metadata, signed };
    details.into_status(code(denial.reason), &denial.to_string())
}

/// The refusal of a message that holds no envelope. It says what is wrong with the shape, which the peer built itself.
#[must_use]
pub fn malformed(error: &EnvelopeError) -> Status {
    plain(Reason::Malformed, &format!("{}: {error}", Reason::Malformed.advice()), None)
}

/// A refusal on an operators' unix socket, whose own words may say what was wrong.
#[must_use]
pub(super) fn told(reason: Reason, text: &str) -> Status {
    plain(reason, text, None)
}

fn plain(reason: Reason, text: &str, retry_after_ms: Option<u64>) -> Status {
    let metadata = retry_after_ms.map(|ms| (RETRY_AFTER_MS.to_owned(), ms.to_string())).into_iter().collect();
    let details = RefusalDetails { reason: reason.code().to_owned(), metadata, signed: None };
    details.into_status(code(reason), &format!("{reason}: {text}"))
}

/// A status' name as gRPC spells it.
#[must_use]
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};
    use std::time::Duration;

    use super::*;
    use crate::crypto::signature::Signature;
    use crate::time::Timestamp;

    /// The list at the head of the contract: each reason with its status.
    fn contract() -> BTreeMap<String, String> {
        let text = include_str!("../../proto/nockvault/v1/envelope.proto").replace("\n// ", " ").replace("\n//", "\n");
        let (_, list) = text.split_once("Every reason there is, by status:").expect("the list begins");
        let (list, _) = list.split_once("The transport itself").expect("the list ends");
        let mut table = BTreeMap::new();
        for item in list.replace("   ", " ").split(" - ").filter(|item| item.contains('`')) {
            let (status, reasons) = item.trim().split_once(',').expect("a status, what it means, and its reasons");
            for reason in reasons.split('`').skip(1).step_by(2) {
                let before = table.insert(reason.to_owned(), status.to_owned());
                assert_eq!(before, None, "{reason} is listed twice");
            }
        }
        table
    }

    #[test]
    fn the_table_is_that_of_the_contract() {
        let ours: BTreeMap<String, String> =
            Reason::ALL.iter().map(|reason| (reason.code().to_owned(), code_name(code(*reason)).to_owned())).collect();
        assert_eq!(ours, contract());
    }

    fn denial() -> Denial {
        Denial::new(Reason::TtlExceedsGrant).limit(900).at(Timestamp(1_700)).detail("a detail").internal("a name")
    }

    fn word() -> Envelope {
        let signature = Signature::from_slice(&[7; 64]).expect("64 bytes");
        Envelope { payload_type: "t".to_owned(), payload: b"{}".to_vec(), signature, kid: "k".to_owned() }
    }

    #[test]
    fn a_signed_refusal_says_what_a_program_can_act_on() {
        let status = refusal(&denial(), Some(word()));
        assert_eq!(status.code(), Code::PermissionDenied);
        assert!(status.message().contains("a detail") && status.message().contains("900"), "{status:?}");
        let details = RefusalDetails::from_status(&status).expect("it is one of ours");
        assert_eq!(details.reason, "ttl_exceeds_grant");
        let expected = HashMap::from([("limit", "900"), ("now", "1700")].map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert_eq!((details.metadata, details.signed), (expected, Some(word())));
    }

    #[test]
    fn an_unsigned_refusal_says_the_reason_alone() {
        for reason in Reason::ALL {
            let bare = refusal(&Denial::new(*reason), None);
            let full = refusal(&Denial { reason: *reason, ..denial() }, None);
            assert_eq!((full.message(), full.details()), (bare.message(), bare.details()));
            let details = RefusalDetails::from_status(&full).expect("it is one of ours");
            assert!(details.metadata.is_empty() && details.signed.is_none() && details.reason == reason.code());
        }
    }

    #[test]
    fn how_long_to_wait_is_said_signed_or_not() {
        let denial = Denial::new(Reason::RateLimited).retry_after(Duration::from_micros(1_200_001));
        for signed in [None, Some(word())] {
            let details = RefusalDetails::from_status(&refusal(&denial, signed)).expect("it is one of ours");
            assert_eq!(details.retry_after(), Some(Duration::from_millis(1201)));
        }
        assert_eq!(denial.limit, Some(2), "in seconds, for the signed word");
    }

    #[test]
    fn what_the_operator_should_know_is_told_to_nobody_else() {
        let status = refusal(&denial(), Some(word()));
        assert!(!format!("{status:?}").contains("a name"));
        assert!(!String::from_utf8_lossy(status.details()).contains("a name"));
    }

    #[test]
    fn a_shape_is_told_by_its_length() {
        let status = malformed(&EnvelopeError::Signature(63));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().ends_with("a signature has 64 bytes, this one has 63"), "{status:?}");
    }
}
