//! The checks of one explanation, as they come, and what is told of them.

use serde_json::{Map, Value, json};

use super::remedy::{Subject, remedy};
use crate::authz::Peer;
use crate::crypto::hash::Digest;
use crate::denial::{Denial, Reason};
use crate::id::{Kid, Sid};
use crate::statement::explain::Supposed;
use crate::time::Timestamp;

/// A check and what became of it.
struct Row {
    check: &'static str,
    found: Value,
    limit: Value,
    /// None where it was not asked.
    outcome: Option<Result<(), Denial>>,
}

/// The checks in their order, and the first that says no.
pub(super) struct Checks {
    about: Map<String, Value>,
    subject: Subject,
    rows: Vec<Row>,
    verdict: Option<Denial>,
    expires: Option<Timestamp>,
    probe: Option<Map<String, Value>>,
}

impl Checks {
    pub(super) fn of(supposed: &Supposed, at: Timestamp) -> Checks {
        let about = json!({ "agent": supposed.agent, "role": supposed.role, "ttl": supposed.ttl, "at": at });
        Checks {
            about: about.as_object().cloned().unwrap_or_default(),
            subject: Subject::of(supposed),
            rows: Vec::new(),
            verdict: None,
            expires: None,
            probe: None,
        }
    }

    /// In which session and from where, as the question said or as it was taken.
    pub(super) fn name(&mut self, sid: &Sid, new: bool, peer: Peer) {
        self.about.insert("sid".to_owned(), json!(sid));
        self.about.insert("new_session".to_owned(), json!(new));
        self.about.insert("from".to_owned(), json!(peer.address()));
    }

    /// What stands in the place of H(PAE) of a request that was never signed.
    pub(super) fn req(&self) -> Digest {
        Digest::ZERO
    }

    pub(super) fn judge(&mut self, check: &'static str, found: Value, limit: Value, outcome: Result<(), Denial>) {
        if let (None, Err(denial)) = (&self.verdict, &outcome) {
            self.verdict = Some(denial.clone());
        }
        self.rows.push(Row { check, found, limit, outcome: Some(outcome) });
    }

    /// A check that nobody wanted to be made.
    pub(super) fn open(&mut self, check: &'static str) {
        self.rows.push(Row { check, found: Value::Null, limit: Value::Null, outcome: None });
    }

    /// The checks that the transaction makes, each with the reason it refuses for, and what the transaction said; none
    /// where it was not asked. A refusal for another reason is a check of its own.
    pub(super) fn committed(
        &mut self,
        rows: [(&'static str, Value, Value, Reason); 4],
        outcome: Option<Result<(), Denial>>,
    ) {
        let refused = outcome.as_ref().and_then(|outcome| outcome.as_ref().err()).cloned();
        let of_these = refused.as_ref().is_some_and(|denial| rows.iter().any(|row| row.3 == denial.reason));
        for (check, found, limit, reason) in rows {
            let outcome = match (&refused, &outcome) {
                (_, None) => None,
                (None, Some(_)) => Some(Ok(())),
                (Some(denial), _) if denial.reason == reason => Some(Err(denial.clone())),
                (Some(_), _) => None,
            };
            match outcome {
                Some(outcome) => self.judge(check, found, limit, outcome),
                None => self.rows.push(Row { check, found, limit, outcome: None }),
            }
        }
        match (refused, outcome) {
            (Some(denial), _) if !of_these => self.judge("commit", Value::Null, Value::Null, Err(denial)),
            (None, Some(_)) => self.judge("commit", Value::Null, Value::Null, Ok(())),
            _ => self.open("commit"),
        }
    }

    pub(super) fn refused(&self) -> bool {
        self.verdict.is_some()
    }

    pub(super) fn expires(&mut self, at: Timestamp) {
        self.expires = Some(at);
    }

    pub(super) fn probed(&mut self, found: Option<&Map<String, Value>>) {
        self.probe = found.cloned();
    }

    /// The key that would sign, which is the newest where none is accepted.
    pub(super) fn key(&mut self, kid: &Kid, kver: u64) {
        self.subject.key = Some((kid.clone(), kver));
    }

    pub(super) fn role_known(&mut self, known: bool) {
        self.subject.role_known = known;
    }

    /// The answer: `issued` or `denied`, why, what to do, and every check.
    pub(super) fn told(self) -> Map<String, Value> {
        let Checks { mut about, subject, rows, verdict, expires, probe } = self;
        let rows: Vec<Value> = rows.into_iter().map(Row::told).collect();
        let refused = verdict.as_ref();
        let why = refused.map(Denial::why);
        let told = json!({
            "verdict": if refused.is_none() { "issued" } else { "denied" },
            "reason": refused.map(|denial| denial.reason.code()),
            "limit": refused.and_then(|denial| denial.limit),
            "why": why,
            "do": refused.map(|denial| remedy(denial, &subject)),
            "expires": expires.filter(|_| refused.is_none()),
            "probe": probe,
            "checks": rows,
        });
        about.extend(told.as_object().cloned().unwrap_or_default());
        about
    }
}

impl Row {
    fn told(self) -> Value {
        let (outcome, reason) = match &self.outcome {
            None => ("open", None),
            Some(Ok(())) => ("ok", None),
            Some(Err(denial)) => ("no", Some(denial.reason.code())),
        };
        json!({
            "check": self.check, "found": self.found, "limit": self.limit, "outcome": outcome, "reason": reason,
        })
    }
}
