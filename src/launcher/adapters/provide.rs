//! A provider of secrets by JSON on standard input and output, as OpenClaw's `exec` provider asks:
//!
//! ```text
//! {"protocolVersion":1,"provider":"nockvault","ids":["model-key","orders-login:password"]}
//! {"protocolVersion":1,"values":{"model-key":".."},"errors":{"orders-login:password":{"message":".."}}}
//! ```
//!
//! An id is a role, and behind a `:` the member of its secret where it is not the usual one; or a name that was written
//! down for such a pair. One that cannot be had is an error of its own and takes no other with it.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::ser::SerializeMap as _;
use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroizing;

use super::json;
use crate::client::fault::Fault;
use crate::id::RoleName;
use crate::launcher::ask::Given;
use crate::launcher::want::Roles;

/// The most bytes of a question.
pub const INPUT_MAX: usize = 64 * 1024;
/// The most ids in one.
const IDS: usize = 256;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Question {
    protocol_version: u64,
    ids: Vec<String>,
}

/// A role, and the member of its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The role.
    pub role: RoleName,
    /// The member, where it is not the usual one.
    pub member: Option<String>,
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Wanted, String> {
        let (role, member) = text.split_once(':').map_or((text, None), |(role, member)| (role, Some(member)));
        let role = role.parse().map_err(|why| format!("{why}"))?;
        Ok(Wanted { role, member: member.map(str::to_owned) })
    }
}

/// The names that were written down, and the roles that may be asked for beside them.
#[derive(Clone, Debug)]
pub struct Names {
    /// What each name stands for.
    pub names: BTreeMap<String, Wanted>,
    /// The roles that may be asked for by their own names.
    pub roles: Roles,
}

impl Names {
    /// What an id stands for.
    ///
    /// # Errors
    /// Words for who wrote it.
    pub fn find(&self, id: &str) -> Result<Wanted, String> {
        if let Some(wanted) = self.names.get(id) {
            return Ok(wanted.clone());
        }
        let wanted: Wanted = id.parse()?;
        if self.roles.allows(&wanted.role) { Ok(wanted) } else { Err("this id is not provided here".into()) }
    }
}

/// The ids that are asked for.
///
/// # Errors
/// [`Fault::Local`] where it is no question of this protocol.
pub fn ids(input: &[u8]) -> Result<Vec<String>, Fault> {
    let question: Question = serde_json::from_slice(input)
        .map_err(|why| Fault::local(format!("the question is not {{\"protocolVersion\":1,\"ids\":[..]}}: {why}")))?;
    if question.protocol_version != 1 {
        return Err(Fault::Local(format!("protocolVersion {} is not spoken; 1 is", question.protocol_version)));
    }
    if question.ids.len() > IDS {
        return Err(Fault::Local(format!("{} ids are asked for at once; {IDS} are the most", question.ids.len())));
    }
    Ok(question.ids)
}

/// What is found, id by id.
#[derive(Debug, Default)]
pub struct Found {
    values: BTreeMap<String, Zeroizing<String>>,
    errors: BTreeMap<String, String>,
}

impl Found {
    /// Takes what came of one id.
    pub fn take(&mut self, id: String, wanted: &Wanted, given: Result<Given, Fault>) {
        match given.and_then(|given| text(&given, wanted.member.as_deref())) {
            Ok(value) => drop(self.values.insert(id, value)),
            Err(why) => self.miss(id, why.to_string()),
        }
    }

    /// Notes why there is nothing.
    pub fn miss(&mut self, id: String, why: String) {
        self.errors.insert(id, why);
    }

    /// The answer.
    #[must_use]
    pub fn answer(&self) -> Zeroizing<Vec<u8>> {
        json(&Answer { protocol_version: 1, values: Values(&self.values), errors: Errors(&self.errors) })
    }
}

/// A value may have lines, as a key in PEM has, but must be a text.
fn text(given: &Given, member: Option<&str>) -> Result<Zeroizing<String>, Fault> {
    let bytes = given.bytes(member)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Fault::local("the value is no text"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    protocol_version: u64,
    values: Values<'a>,
    #[serde(skip_serializing_if = "Errors::is_empty")]
    errors: Errors<'a>,
}

struct Values<'a>(&'a BTreeMap<String, Zeroizing<String>>);

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (id, value) in self.0 {
            map.serialize_entry(id, value.as_str())?;
        }
        map.end()
    }
}

struct Errors<'a>(&'a BTreeMap<String, String>);

impl Errors<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Errors<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (id, message) in self.0 {
            map.serialize_entry(id, &BTreeMap::from([("message", message)]))?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::launcher::ask::tests::given;

    #[test]
    fn an_id_is_a_role_with_its_member_or_a_name_for_one() {
        let names = Names {
            names: [("MODEL_KEY".to_owned(), "model-key".parse().unwrap())].into(),
            roles: Roles::Only(["orders".parse().unwrap()].into()),
        };
        assert_eq!(names.find("MODEL_KEY").unwrap(), Wanted { role: "model-key".parse().unwrap(), member: None });
        assert_eq!(names.find("orders:password").unwrap().member.as_deref(), Some("password"));
        for other in ["other", "model-key", "", ":x", "ORDERS", "../x"] {
            assert!(names.find(other).is_err(), "{other}");
        }
    }

    #[test]
    fn one_that_fails_takes_no_other_with_it() {
        let asked =
            ids(br#"{"protocolVersion":1,"provider":"nockvault","ids":["orders","orders:none"],"more":1}"#).unwrap();
        let mut found = Found::default();
        for id in asked {
            let wanted: Wanted = id.parse().unwrap();
            found.take(id, &wanted, Ok(given(&json!({"type": "kv", "encoding": "utf8", "value": "-----\nA\n"}))));
        }
        found.miss("x".into(), "no".into());
        let told: serde_json::Value = serde_json::from_slice(&found.answer()).unwrap();
        assert_eq!((&told["protocolVersion"], &told["values"]), (&json!(1), &json!({"orders": "-----\nA\n"})));
        assert_eq!(told["errors"]["x"], json!({"message": "no"}));
        assert!(told["errors"]["orders:none"]["message"].as_str().unwrap().contains("no text none"));
    }

    #[test]
    fn another_protocol_is_refused() {
        for input in ["", "{}", r#"{"protocolVersion":2,"ids":[]}"#, r#"{"protocolVersion":1,"ids":["a",1]}"#] {
            assert!(ids(input.as_bytes()).is_err(), "{input}");
        }
        assert!(ids(json!({"protocolVersion": 1, "ids": vec!["a"; IDS + 1]}).to_string().as_bytes()).is_err());
    }
}
