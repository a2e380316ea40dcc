//! What operators may command: one table, and a pure function that reads it. It is asked at the door, again inside the
//! transaction that carries a command out, and by whoever verifies `_operators` offline; all three ask with the command as
//! it was signed.
//!
//! A duty reaches what its name says and what is needed to do it. A grantor registers new agents, since to enrol an agent
//! and to grant it something is one errand; it registers no further key of an agent that is there, since whoever has such a
//! key has all that was granted to that agent. A responder ends and freezes and gives nothing back: to thaw is to give. Every
//! operator reads everything and puts its own next key in place.

use serde_json::Value;

use crate::denial::{Denial, Reason};
use crate::statement::operator::{Duty, DutyName};

/// What a duty allows of one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum May {
    /// It may be given.
    Yes,
    /// It may not.
    No,
    /// Where the role in it is one of the duty's.
    Roles,
    /// Where the key in it is an agent's first.
    First,
}

use May::{First, No, Roles, Yes};

/// A line of the table: the last part of a command's `typ`, and what each duty allows of it, in the order of
/// [`DutyName::ALL`].
pub type Line = (&'static str, [May; 4]);

/// Every command that there is. One that is not here may be given by nobody.
#[rustfmt::skip]
pub const TABLE: &[Line] = &[
    // the command             admin grantor auditor responder
    ("status_read",           [Yes,  Yes,    Yes,    Yes]),
    ("agent_register",        [Yes,  First,  No,     No]),
    ("agent_list",            [Yes,  Yes,    Yes,    Yes]),
    ("agent_show",            [Yes,  Yes,    Yes,    Yes]),
    ("agent_key_end",         [Yes,  No,     No,     Yes]),
    ("agent_freeze",          [Yes,  No,     No,     Yes]),
    ("agent_thaw",            [Yes,  No,     No,     No]),
    ("vault_freeze",          [Yes,  No,     No,     Yes]),
    ("vault_thaw",            [Yes,  No,     No,     No]),
    ("role_freeze",           [Yes,  No,     No,     Yes]),
    ("role_thaw",             [Yes,  No,     No,     No]),
    ("role_create",           [Yes,  No,     No,     No]),
    ("role_check",            [Yes,  No,     No,     No]),
    ("role_rotate",           [Yes,  No,     No,     No]),
    ("role_list",             [Yes,  Yes,    Yes,    Yes]),
    ("role_show",             [Yes,  Yes,    Yes,    Yes]),
    ("secret_put",            [Yes,  No,     No,     No]),
    ("secret_rollback",       [Yes,  No,     No,     No]),
    ("secret_list",           [Yes,  Yes,    Yes,    Yes]),
    ("secret_versions",       [Yes,  Yes,    Yes,    Yes]),
    ("ca_create",             [Yes,  No,     No,     No]),
    ("ca_import",             [Yes,  No,     No,     No]),
    ("ca_certify",            [Yes,  No,     No,     No]),
    ("ca_show",               [Yes,  Yes,    Yes,    Yes]),
    ("grant_create",          [Yes,  Roles,  No,     No]),
    ("grant_list",            [Yes,  Yes,    Yes,    Yes]),
    ("grant_revoke",          [Yes,  Roles,  No,     No]),
    ("lease_list",            [Yes,  Yes,    Yes,    Yes]),
    ("lease_show",            [Yes,  Yes,    Yes,    Yes]),
    ("lease_revoke",          [Yes,  No,     No,     Yes]),
    ("lease_forget",          [Yes,  No,     No,     No]),
    ("key_rotate",            [Yes,  No,     No,     No]),
    ("ring_rotate",           [Yes,  No,     No,     No]),
    ("clock_reset",           [Yes,  No,     No,     No]),
    ("custody_add",           [Yes,  No,     No,     No]),
    ("custody_remove",        [Yes,  No,     No,     No]),
    ("custody_rotate",        [Yes,  No,     No,     No]),
    ("custody_list",          [Yes,  Yes,    Yes,    Yes]),
    ("explain",               [Yes,  Yes,    Yes,    Yes]),
    ("doctor_read",           [Yes,  Yes,    Yes,    Yes]),
    ("backup",                [Yes,  No,     No,     No]),
    ("vault_seal",            [Yes,  No,     No,     Yes]),
    ("audit_read",            [Yes,  Yes,    Yes,    Yes]),
    ("audit_list",            [Yes,  Yes,    Yes,    Yes]),
    ("audit_checkpoint",      [Yes,  Yes,    Yes,    Yes]),
    ("audit_prove",           [Yes,  Yes,    Yes,    Yes]),
    ("directory_read",        [Yes,  Yes,    Yes,    Yes]),
    ("operator_register",     [Yes,  No,     No,     No]),
    ("operator_duty",         [Yes,  No,     No,     No]),
    ("operator_key_end",      [Yes,  No,     No,     No]),
    ("operator_rotate",       [Yes,  Yes,    Yes,    Yes]),
    ("operator_list",         [Yes,  Yes,    Yes,    Yes]),
    ("operator_show",         [Yes,  Yes,    Yes,    Yes]),
    ("policy_set",            [Yes,  No,     No,     No]),
    ("policy_show",           [Yes,  Yes,    Yes,    Yes]),
    // Of a command that the duty allows; an auditor's allows none that waits.
    ("approve",               [Yes,  Yes,    No,     Yes]),
    ("withdraw",              [Yes,  Yes,    No,     Yes]),
    ("approval_list",         [Yes,  Yes,    Yes,    Yes]),
];

/// The last part of a command's `typ`, by which people name it.
#[must_use]
pub fn word(typ: &str) -> &str {
    typ.strip_prefix("nockvault/").unwrap_or(typ)
}

/// Whether there is a command of this `typ`.
#[must_use]
pub fn is_known(typ: &str) -> bool {
    line(typ).is_some()
}

fn line(typ: &str) -> Option<&'static [May; 4]> {
    let word = typ.strip_prefix("nockvault/")?;
    TABLE.iter().find(|(known, _)| *known == word).map(|(_, line)| line)
}

/// Whether an operator of this duty may give the command of this `typ` with this body.
///
/// # Errors
/// [`Reason::NotPermitted`], with the duty that it would take.
pub fn permits(duty: &Duty, typ: &str, body: &Value) -> Result<(), Denial> {
    let refused = |detail: String| Err(Denial::new(Reason::NotPermitted).detail(detail));
    let Some(line) = line(typ) else {
        return refused(format!("no duty allows {}", word(typ)));
    };
    let (word, may) = (word(typ), line[place(duty.name())]);
    match (may, duty) {
        (Yes, _) => Ok(()),
        (Roles, Duty::Grantor { roles }) => match body.get("role").and_then(Value::as_str) {
            Some(role) if roles.iter().any(|one| one.as_str() == role) => Ok(()),
            _ => {
                let roles: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
                refused(format!(
                    "{word} of this role takes the duty admin, or grantor of it; yours is grantor of {}",
                    roles.join(", ")
                ))
            }
        },
        (First, _) if body.pointer("/register/payload/kver").and_then(Value::as_u64) == Some(1) => Ok(()),
        (First, _) => refused(format!(
            "{word} of a further key takes the duty admin: whoever has it has all that its agent was granted; yours is {duty}"
        )),
        (No | Roles, _) => {
            let able: Vec<&str> =
                DutyName::ALL.iter().filter(|name| line[place(**name)] != No).map(|name| name.as_str()).collect();
            refused(format!("{word} takes the duty {}; yours is {duty}", able.join(" or ")))
        }
    }
}

fn place(name: DutyName) -> usize {
    DutyName::ALL.iter().position(|one| *one == name).expect("every duty is among all")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn grantor(roles: &[&str]) -> Duty {
        Duty::Grantor { roles: roles.iter().map(|role| role.parse().unwrap()).collect() }
    }

    #[test]
    fn every_command_that_a_vault_takes_has_one_line() {
        let commands: Vec<_> = crate::statement::schema::all()
            .iter()
            .filter(|(_, schema)| {
                schema["properties"].get("operator").is_some() && schema["properties"].get("body").is_some()
            })
            .map(|(word, _)| word.clone())
            .collect();
        let mut lines: Vec<_> = TABLE.iter().map(|(word, _)| (*word).to_owned()).collect();
        lines.sort();
        assert_eq!(lines, {
            let mut commands = commands;
            commands.sort();
            commands
        });
    }

    #[test]
    fn an_admin_may_give_every_command_and_nobody_one_that_is_not_there() {
        for (word, _) in TABLE {
            assert_eq!(permits(&Duty::Admin, &format!("nockvault/{word}"), &json!({})), Ok(()));
        }
        for typ in ["nockvault/root", "status_read", "nockvault/nockvault/status_read", ""] {
            assert_eq!(permits(&Duty::Admin, typ, &json!({})).unwrap_err().reason, Reason::NotPermitted, "{typ}");
        }
    }

    #[test]
    fn a_grantor_reaches_its_roles_and_new_agents() {
        let duty = grantor(&["orders-read", "billing"]);
        let role = |role: Value| permits(&duty, "nockvault/grant_create", &json!({ "agent": "kit", "role": role }));
        assert_eq!((role(json!("billing")), role(json!("orders-read"))), (Ok(()), Ok(())));
        for other in
            [json!("orders"), json!("orders-read2"), json!(null), json!(["billing"]), json!({ "role": "billing" })]
        {
            assert_eq!(role(other.clone()).unwrap_err().reason, Reason::NotPermitted, "{other}");
        }
        let key = |kver: u64| {
            permits(&duty, "nockvault/agent_register", &json!({ "register": { "payload": { "kver": kver } } }))
        };
        assert_eq!(key(1), Ok(()));
        assert!(key(2).unwrap_err().detail.contains("takes the duty admin"));
    }

    #[test]
    fn a_refusal_says_what_duty_it_would_take() {
        let detail =
            |duty: &Duty, word: &str| permits(duty, &format!("nockvault/{word}"), &json!({})).unwrap_err().detail;
        assert_eq!(
            detail(&Duty::Auditor, "agent_freeze"),
            "agent_freeze takes the duty admin or responder; yours is auditor"
        );
        assert_eq!(detail(&Duty::Responder, "agent_thaw"), "agent_thaw takes the duty admin; yours is responder");
        let of_role = detail(&grantor(&["a", "b"]), "grant_revoke");
        assert_eq!(
            of_role,
            "grant_revoke of this role takes the duty admin, or grantor of it; yours is grantor of a, b"
        );
    }
}
