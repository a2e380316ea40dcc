//! Which commands more than one operator must want. The rules are the vault's, set by `nockvault/policy_set`; what stands
//! here is what follows from them, as pure functions that the vault asks inside its transactions and that whoever verifies
//! `_operators` asks again.
//!
//! A rule would be worth nothing where one person could lift it, or bring a second person of his own making. So, as soon as
//! there is any rule, what changes the rules, who the operators are, and who can get at the root key takes as many operators
//! as the strictest rule. And a further key of an agent, which brings all that the agent was granted, takes as many as a
//! grant.

use serde_json::Value;

use super::operator::{is_known, word};
use crate::statement::approval::Rules;

/// The kinds that take at least as many operators as the strictest rule, once there is one.
pub const GUARDED: &[&str] = &["custody_add", "custody_remove", "operator_duty", "operator_register", "policy_set"];

/// The kinds that no rule can be made for, by why not.
#[rustfmt::skip]
const UNRULED: &[(&str, &[&str])] = &[
    ("it reads and changes nothing", &[
        "status_read", "agent_list", "agent_show", "role_check", "role_list", "role_show", "secret_list", "secret_versions",
        "ca_show", "grant_list", "lease_list", "lease_show", "custody_list", "explain", "doctor_read", "audit_read",
        "audit_list", "audit_checkpoint", "audit_prove", "directory_read", "operator_list", "operator_show",
        "policy_show", "approval_list",
    ]),
    ("its value travels sealed beside it, and who approves could not read it", &["secret_put", "ca_import"]),
    ("it speaks with a backend before it is decided", &["role_rotate"]),
    ("no other command is taken before it, so that nobody could approve it", &["clock_reset"]),
    ("it turns the vault's own data key, which nobody is given", &["ring_rotate"]),
    ("it is an operator's own key, and changes nothing that the operator may do", &["operator_rotate"]),
    ("it is about a command that waits already", &["approve", "withdraw"]),
];

/// Why no rule can be made for a kind; none where one can.
#[must_use]
pub fn unruled(word: &str) -> Option<&'static str> {
    if !is_known(&format!("nockvault/{word}")) {
        return Some("there is no such command");
    }
    UNRULED.iter().find(|(_, words)| words.contains(&word)).map(|(why, _)| *why)
}

/// The most operators that any rule asks for; one where there is none.
#[must_use]
pub fn strictest(rules: &Rules) -> u64 {
    rules.values().copied().max().unwrap_or(1)
}

/// How many operators must want this command, the one who gives it among them.
#[must_use]
pub fn persons(rules: &Rules, typ: &str, body: &Value) -> u64 {
    let word = word(typ);
    let rule = |word: &str| rules.get(word).copied().unwrap_or(1);
    let first = body.pointer("/register/payload/kver").and_then(Value::as_u64) == Some(1);
    match word {
        word if GUARDED.contains(&word) => strictest(rules),
        "agent_register" if !first => rule(word).max(rule("grant_create")),
        word => rule(word),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::operator::TABLE;
    use super::*;

    fn rules(of: &[(&str, u64)]) -> Rules {
        of.iter().map(|(word, persons)| ((*word).to_owned(), *persons)).collect()
    }

    #[test]
    fn what_lifts_a_rule_is_under_the_strictest() {
        let of = |rules: &Rules, word: &str| persons(rules, &format!("nockvault/{word}"), &json!({}));
        let none = rules(&[]);
        let some = rules(&[("grant_create", 2), ("role_create", 3), ("custody_add", 2)]);
        for word in GUARDED {
            assert_eq!((of(&none, word), of(&some, word)), (1, 3), "{word}");
        }
        assert_eq!((of(&some, "grant_create"), of(&some, "grant_revoke"), of(&some, "agent_freeze")), (2, 1, 1));
        assert_eq!((of(&some, "operator_key_end"), of(&some, "vault_freeze"), of(&some, "vault_seal")), (1, 1, 1));
    }

    #[test]
    fn a_further_key_is_as_good_as_a_grant() {
        let key = |kver: u64| json!({ "register": { "payload": { "kver": kver } } });
        let of = |rules: &Rules, body: &Value| persons(rules, "nockvault/agent_register", body);
        let grant = rules(&[("grant_create", 2)]);
        assert_eq!((of(&grant, &key(1)), of(&grant, &key(2)), of(&grant, &json!({}))), (1, 2, 2));
        let both = rules(&[("grant_create", 2), ("agent_register", 3)]);
        assert_eq!((of(&both, &key(1)), of(&both, &key(2))), (3, 3));
    }

    /// Every command of the table, and why no rule can be made for it. A new one is sorted here before it can land.
    #[test]
    fn every_command_can_be_ruled_or_says_why_not() {
        let ruled: Vec<&str> = TABLE.iter().map(|(word, _)| *word).filter(|word| unruled(word).is_none()).collect();
        #[rustfmt::skip]
        let listed = [
            "agent_register", "agent_key_end", "agent_freeze", "agent_thaw", "vault_freeze", "vault_thaw", "role_freeze",
            "role_thaw", "role_create", "secret_rollback", "ca_create", "ca_certify", "grant_create", "grant_revoke",
            "lease_revoke", "lease_forget", "key_rotate", "custody_add", "custody_remove", "custody_rotate", "backup",
            "vault_seal", "operator_register", "operator_duty", "operator_key_end", "policy_set",
        ];
        assert_eq!(ruled, listed);
        for (why, words) in UNRULED {
            for word in *words {
                assert_eq!(unruled(word), Some(*why), "{word} stands twice, or is no command");
            }
        }
        for word in GUARDED {
            assert_eq!(unruled(word), None, "{word}");
        }
        assert_eq!(unruled("grants"), Some("there is no such command"));
    }
}
