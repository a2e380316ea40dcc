//! Commands that one operator alone does not give: `nockvault/policy_set`, `policy_show`, `approve`, `withdraw`,
//! `approval_list`.
//!
//! Who gives a command carries it out. Where a rule asks for more operators, the first try is refused and waits; others
//! approve it by its digest; then its giver gives it once more, with a new nonce and the same body.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Body;
use super::command::Page;
use crate::crypto::hash::Digest;
use crate::crypto::json::canonical;
use crate::time::Seconds;

/// How many operators must want a command of a kind, the one who gives it among them, by the last part of its `typ`.
pub type Rules = BTreeMap<String, u64>;

/// What a command says beside who gives it and when: `H(JCS({"body":body,"typ":typ}))`. Two commands of one operator with
/// the same are one wish.
#[must_use]
pub fn wish(typ: &str, body: &Value) -> Digest {
    Digest::of(&canonical(&json!({ "body": body, "typ": typ })))
}

/// Says which kinds of commands more than one operator must want. All rules are replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicySet {
    /// How many operators a kind takes, 2 to 9, by the last part of its `typ`: `{"grant_create":2}`. A kind that is not
    /// here takes one.
    #[serde(deserialize_with = "rules")]
    #[schemars(with = "BTreeMap<String, u64>", extend("additionalProperties" = { "type": "integer", "minimum": 2, "maximum": 9 }))]
    pub rules: Rules,
    /// For how long a command waits for approval, in seconds: 60 to 2592000 (30 days).
    #[serde(deserialize_with = "wait")]
    #[schemars(extend("minimum" = 60, "maximum" = 2_592_000))]
    pub wait: Seconds,
}

impl PolicySet {
    /// The fewest and the most operators that a rule asks for.
    pub const PERSONS: (u64, u64) = (2, 9);
    /// The shortest and the longest that a command waits.
    pub const WAITS: (Seconds, Seconds) = (Seconds(60), Seconds(30 * 86_400));
    /// The most rules.
    const MOST: usize = 100;
}

impl Default for PolicySet {
    /// No rules, and a day to wait: what holds where nobody said otherwise.
    fn default() -> PolicySet {
        PolicySet { rules: Rules::new(), wait: Seconds(86_400) }
    }
}

fn rules<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Rules, D::Error> {
    let rules = Rules::deserialize(deserializer)?;
    let (fewest, most) = PolicySet::PERSONS;
    if rules.values().all(|persons| (fewest..=most).contains(persons)) && rules.len() <= PolicySet::MOST {
        Ok(rules)
    } else {
        Err(serde::de::Error::custom("a rule asks for 2 to 9 operators; a kind without a rule takes one"))
    }
}

fn wait<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Seconds, D::Error> {
    let wait = Seconds::deserialize(deserializer)?;
    let (least, most) = PolicySet::WAITS;
    if (least..=most).contains(&wait) {
        Ok(wait)
    } else {
        Err(serde::de::Error::custom("a command waits for 60 seconds to 30 days"))
    }
}

impl Body for PolicySet {
    const TYP: &'static str = "nockvault/policy_set";
}

/// Shows the rules, and what follows from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyShow {}

impl Body for PolicyShow {
    const TYP: &'static str = "nockvault/policy_show";
}

/// Wants a command that another operator gave and that waits. It carries nothing out: whoever gave it gives it once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Approve {
    /// Which: H(PAE) of the command as it was signed.
    pub command: Digest,
}

impl Body for Approve {
    const TYP: &'static str = "nockvault/approve";
}

/// Takes back a command that waits, with its approvals: one's own, or as an admin anybody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Withdraw {
    /// Which: H(PAE) of the command as it was signed.
    pub command: Digest,
}

impl Body for Withdraw {
    const TYP: &'static str = "nockvault/withdraw";
}

/// Lists what waits for approval, each with the whole command as it was signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalList {
    /// Which part of the list.
    pub page: Page,
}

impl Body for ApprovalList {
    const TYP: &'static str = "nockvault/approval_list";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_have_bounds() {
        let read = |text: &str| serde_json::from_str::<PolicySet>(text);
        for good in [r#"{"rules":{"grant_create":2,"role_create":9},"wait":60}"#, r#"{"rules":{},"wait":2592000}"#] {
            assert_eq!(serde_json::to_string(&read(good).unwrap()).unwrap(), good);
        }
        for bad in [
            r#"{"rules":{"grant_create":1},"wait":60}"#,
            r#"{"rules":{"grant_create":10},"wait":60}"#,
            r#"{"rules":{},"wait":59}"#,
            r#"{"rules":{},"wait":2592001}"#,
            r#"{"rules":{}}"#,
        ] {
            assert!(read(bad).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn a_wish_is_what_is_asked_for_and_nothing_else() {
        let one = wish("nockvault/grant_create", &json!({ "agent": "kit", "role": "a" }));
        assert_eq!(one, wish("nockvault/grant_create", &json!({ "role": "a", "agent": "kit" })));
        assert_ne!(one, wish("nockvault/grant_create", &json!({ "agent": "kit", "role": "b" })));
        assert_ne!(one, wish("nockvault/grant_revoke", &json!({ "agent": "kit", "role": "a" })));
    }
}
