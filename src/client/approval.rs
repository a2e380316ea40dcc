//! Commands that wait for other operators, as an operator sees them: what waits, each read out of the very bytes that its
//! name is the digest of; and how one's own is given again once enough others want it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::fault::{Fault, Untrusted};
use super::operator::Operator;
use crate::crypto::envelope::{Embedded, PayloadType};
use crate::crypto::hash::Digest;
use crate::denial::Reason;
use crate::statement::Body;
use crate::statement::approval::{ApprovalList, wish};
use crate::statement::command::Page;
use crate::time::Timestamp;

/// How often it is looked whether enough have approved.
const LOOK: Duration = Duration::from_secs(2);

/// A command that waits for approval.
#[derive(Clone, Debug, PartialEq)]
pub struct Waiting {
    /// Its name: H(PAE) of it, which was computed here from what is told below.
    pub command: Digest,
    /// Who gave it, as it says itself.
    pub operator: String,
    /// What it is.
    pub typ: String,
    /// What it says.
    pub body: Value,
    /// When it was signed.
    pub iat: Option<Timestamp>,
    /// Until when it waits.
    pub expires: Timestamp,
    /// How many operators must want it, its giver among them.
    pub persons: u64,
    /// How many of them are missing.
    pub missing: u64,
    /// Who approved it and counts now.
    pub approvals: Vec<String>,
}

impl Waiting {
    /// What the vault says of a command that waits.
    ///
    /// # Errors
    /// [`Untrusted`] where it is none, or another than it is named.
    fn read(item: &Value) -> Result<Waiting, Untrusted> {
        let form = |why: &str| Untrusted::Form { typ: "nockvault/executed", why: format!("what waits has no {why}") };
        let read = |name: &str| item.get(name).cloned().ok_or_else(|| form(name));
        let of = |name: &'static str| move |_: serde_json::Error| form(name);
        let number = |name: &str| read(name)?.as_u64().ok_or_else(|| form(name));
        let command: Digest = serde_json::from_value(read("command")?).map_err(of("command"))?;
        let envelope: Embedded = serde_json::from_value(read("envelope")?).map_err(of("envelope"))?;
        if envelope.open(PayloadType::Command).digest() != command {
            return Err(Untrusted::OtherTerms { member: "command" });
        }
        let said = |name: &str| envelope.payload.get(name).cloned().unwrap_or_default();
        let text = |name: &str| said(name).as_str().unwrap_or_default().to_owned();
        Ok(Waiting {
            command,
            operator: text("operator"),
            typ: text("typ"),
            body: said("body"),
            iat: said("iat").as_u64().map(Timestamp),
            expires: Timestamp(number("expires")?),
            persons: number("persons")?,
            missing: number("missing")?,
            approvals: serde_json::from_value(read("approvals")?).map_err(of("approvals"))?,
        })
    }
}

/// What is told while a command waits.
#[derive(Debug)]
pub enum Awaiting<'a> {
    /// It waits, or somebody has approved it since.
    Waits(&'a Waiting),
    /// Enough want it: it is given again.
    Again,
}

/// Who is told.
#[derive(Clone)]
pub struct Told(Arc<dyn Fn(Awaiting<'_>) + Send + Sync>);

impl Told {
    /// This one.
    pub fn by(told: impl Fn(Awaiting<'_>) + Send + Sync + 'static) -> Told {
        Told(Arc::new(told))
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told(..)")
    }
}

impl Operator {
    /// Has commands that others must want too wait for them: each is given again, with the same body, when enough do.
    #[must_use]
    pub fn awaiting_approval(mut self, told: Told) -> Operator {
        self.told = Some(told);
        self
    }

    /// What waits for approval, oldest first.
    ///
    /// # Errors
    /// Any [`Fault`]; [`Fault::Untrusted`] where a command is another than the one that it is named by.
    pub async fn waiting(&self) -> Result<Vec<Waiting>, Fault> {
        let (mut all, mut page) = (Vec::new(), Page::first());
        loop {
            let result: Map<String, Value> = self.asked(None, ApprovalList { page: page.clone() }).await?.result;
            let items = result.get("items").and_then(Value::as_array).into_iter().flatten();
            let items = items.map(Waiting::read).collect::<Result<Vec<_>, _>>()?;
            let more = !items.is_empty();
            all.extend(items);
            match result.get("next").and_then(Value::as_str) {
                Some(next) if more => next.clone_into(&mut page.after),
                _ => return Ok(all),
            }
        }
    }

    /// The command of this body that this operator has waiting, if there is one.
    ///
    /// # Errors
    /// As [`Operator::waiting`].
    pub async fn own_waiting<B: Body>(&self, body: &B) -> Result<Option<Waiting>, Fault> {
        let body = serde_json::to_value(body).map_err(Fault::local)?;
        let (of, name) = (wish(B::TYP, &body), self.name().to_string());
        let own = |one: &Waiting| one.operator == name && wish(&one.typ, &one.body) == of;
        Ok(self.waiting().await?.into_iter().find(own))
    }

    /// Whether a refusal is to be waited for.
    pub(super) fn is_awaited(&self, fault: &Fault) -> bool {
        let proven = fault.refusal().is_some_and(|refusal| refusal.proven);
        self.told.is_some() && proven && fault.reason() == Some(Reason::NeedsApproval)
    }

    /// Waits until enough want the command of this body.
    ///
    /// # Errors
    /// Any [`Fault`]; [`Fault::Local`] where it does not wait any more. A vault that cannot be reached for a while is asked on.
    pub(super) async fn approved<B: Body>(&self, body: &B) -> Result<(), Fault> {
        let (mut before, tell) = (None, |what: Awaiting<'_>| {
            if let Some(told) = &self.told {
                (told.0)(what)
            }
        });
        loop {
            match self.own_waiting(body).await {
                Ok(Some(waiting)) if waiting.missing == 0 => {
                    tell(Awaiting::Again);
                    return Ok(());
                }
                Ok(Some(waiting)) => {
                    if before.as_ref() != Some(&waiting.approvals) {
                        tell(Awaiting::Waits(&waiting));
                    }
                    before = Some(waiting.approvals);
                }
                Ok(None) => {
                    return Err(Fault::local(
                        "it does not wait for approval any more: it was withdrawn, or its time is over",
                    ));
                }
                Err(Fault::Unreachable { .. } | Fault::NoAnswer { .. }) => {}
                Err(fault) if fault.reason() == Some(Reason::Sealed) => {}
                Err(fault) => return Err(fault),
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
