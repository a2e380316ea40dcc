//! Where on the child a secret goes: `NAME=ROLE` or `NAME=ROLE:MEMBER`, a variable's name with the role and, where the
//! usual one is not meant, the member of its secret.

use std::fmt;
use std::str::FromStr;

use crate::id::RoleName;

/// The name of an environment variable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Variable(String);

impl Variable {
    /// The name that a role's secret has by habit: upper case, with `_` for what no name has.
    #[must_use]
    pub fn of(role: &RoleName) -> Variable {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        let name: String = role.as_str().chars().map(plain).collect();
        Variable(if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name })
    }

    /// This name with an ending.
    #[must_use]
    pub fn and(&self, ending: &str) -> Variable {
        Variable(format!("{}_{ending}", self.0))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Variable {
    type Err = String;

    fn from_str(name: &str) -> Result<Variable, String> {
        let good = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if name.is_empty() || !good || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(format!("{name:?} is no variable's name: letters, digits and _, not a digit first"));
        }
        Ok(Variable(name.to_owned()))
    }
}

impl From<&'static str> for Variable {
    fn from(name: &'static str) -> Variable {
        Variable(name.to_owned())
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A variable for one member of a role's secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The variable.
    pub variable: Variable,
    /// Whose secret.
    pub role: RoleName,
    /// Which member; none is the usual one.
    pub member: Option<String>,
}

impl FromStr for Slot {
    type Err = String;

    fn from_str(text: &str) -> Result<Slot, String> {
        let (name, what) =
            text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=ROLE or NAME=ROLE:MEMBER"))?;
        let (role, member) = match what.split_once(':') {
            Some((role, member)) => (role, Some(member.to_owned())),
            None => (what, None),
        };
        let role = role.parse().map_err(|why| format!("{role:?}: {why}"))?;
        Ok(Slot { variable: name.parse()?, role, member })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_names_a_variable_a_role_and_maybe_a_member() {
        let slot: Slot = "DB_PASS=team/orders-db:password".parse().unwrap();
        assert_eq!((slot.variable.as_str(), slot.role.as_str()), ("DB_PASS", "team/orders-db"));
        assert_eq!(slot.member.as_deref(), Some("password"));
        assert_eq!("X=a".parse::<Slot>().unwrap().member, None);
        for bad in ["", "X", "=a", "1X=a", "X-Y=a", "X=", "X=A b"] {
            assert!(bad.parse::<Slot>().is_err(), "{bad:?}");
        }
        assert_eq!(Variable::of(&"team/orders-db.v1".parse().unwrap()).as_str(), "TEAM_ORDERS_DB_V1");
        assert_eq!(Variable::of(&"2nd".parse().unwrap()).as_str(), "_2ND");
    }
}
