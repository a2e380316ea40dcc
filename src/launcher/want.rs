//! What a child, or a tool beside it, may ask for: a role with its parameters. Two wants of one role and the same
//! parameters are one: they share a lease.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value};

use crate::client::agent::Ask;
use crate::id::RoleName;
use crate::statement::issue::Purpose;
use crate::time::Seconds;

/// A credential that is wanted.
#[derive(Clone, Debug)]
pub struct Want {
    /// What kind.
    pub role: RoleName,
    /// Parameters for its engine.
    pub params: Map<String, Value>,
    /// For how long; 0 takes the grant's default.
    pub ttl: Seconds,
    /// What for. Whoever reads the trail will see it.
    pub purpose: Purpose,
}

impl Want {
    /// A credential of this role, without parameters, for the life that the grant gives.
    #[must_use]
    pub fn role(role: RoleName) -> Want {
        Want { role, params: Map::new(), ttl: Seconds(0), purpose: Purpose::default() }
    }

    /// What is asked of the vault.
    pub(super) fn ask(&self) -> Ask {
        let ask = Ask::role(self.role.clone()).ttl(self.ttl).purpose(self.purpose.clone());
        self.params.iter().fold(ask, |ask, (name, value)| ask.param(name, value.clone()))
    }

    /// What makes two wants one.
    fn key(&self) -> (&RoleName, String) {
        (&self.role, Value::Object(self.params.clone()).to_string())
    }
}

impl PartialEq for Want {
    fn eq(&self, other: &Want) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Want {}

impl PartialOrd for Want {
    fn partial_cmp(&self, other: &Want) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Want {
    fn cmp(&self, other: &Want) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.role)?;
        if self.params.is_empty() { Ok(()) } else { write!(f, " {}", Value::Object(self.params.clone())) }
    }
}

/// Which roles a launcher asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roles {
    /// Whatever its agent was granted.
    Any,
    /// These, whatever else its agent was granted.
    Only(BTreeSet<RoleName>),
}

impl Roles {
    /// Whether it asks for this one.
    #[must_use]
    pub fn allows(&self, role: &RoleName) -> bool {
        match self {
            Roles::Any => true,
            Roles::Only(roles) => roles.contains(role),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_role_and_parameters_are_one_want() {
        let one = Want::role("orders".parse().unwrap());
        let mut other = Want { ttl: Seconds(60), ..one.clone() };
        assert_eq!(one, other);
        other.params.insert("database".into(), "x".into());
        assert_ne!(one, other);
    }

    #[test]
    fn only_what_was_named_is_asked_for() {
        let role: RoleName = "orders".parse().unwrap();
        assert!(Roles::Any.allows(&role));
        assert!(Roles::Only([role.clone()].into()).allows(&role));
        assert!(!Roles::Only(BTreeSet::new()).allows(&role));
    }
}
