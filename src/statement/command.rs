//! An operator's command: the members that all commands share, around the `body` of one `typ`.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::{Body, present};
use crate::id::{Aud, Kid, Nonce, OperatorName, SetId};
use crate::time::Timestamp;

/// A signed wish of an operator. Reads are signed too, but stand in no chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "B: serde::de::DeserializeOwned"))]
pub struct Command<B> {
    /// Version of the statement: 1.
    pub v: u64,
    /// What is wished.
    pub typ: String,
    /// The vault it is meant for.
    pub aud: Aud,
    /// Whose wish it is.
    pub operator: OperatorName,
    /// The key that signs.
    pub kid: Kid,
    /// That key's number among the operator's keys, from 1.
    pub kver: u64,
    /// 16 to 32 random bytes, never used twice by one key.
    pub nonce: Nonce,
    /// When it was signed.
    pub iat: Timestamp,
    /// What the `typ` says besides.
    pub body: B,
    /// Which commands it belongs together with. Left out where it stands for itself.
    #[serde(skip_serializing_if = "Option::is_none", default, deserialize_with = "present")]
    pub set: Option<Set>,
}

/// Says of a command that it is one of several that were signed for one purpose, so that whoever reads the trail sees
/// which belong together and whether all of them came. It changes nothing of what a command does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, try_from = "Unchecked")]
pub struct Set {
    /// 16 random bytes, drawn for this set alone.
    pub id: SetId,
    /// How many commands the set has, 1 to 1,000,000.
    pub of: u64,
    /// Which of them this is, from 1.
    pub part: u64,
}

/// A set as it is read, before its numbers are held against each other.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Set")]
struct Unchecked {
    /// 16 random bytes, drawn for this set alone.
    id: SetId,
    /// How many commands the set has.
    #[schemars(range(min = 1, max = 1_000_000))]
    of: u64,
    /// Which of them this is, from 1.
    #[schemars(range(min = 1, max = 1_000_000))]
    part: u64,
}

impl TryFrom<Unchecked> for Set {
    type Error = &'static str;

    fn try_from(Unchecked { id, of, part }: Unchecked) -> Result<Set, &'static str> {
        if (1..=of).contains(&part) && of <= Set::MAX {
            Ok(Set { id, of, part })
        } else {
            Err("a set has 1 to 1000000 commands, and a part is one of them")
        }
    }
}

impl Set {
    /// The most commands of a set.
    pub const MAX: u64 = 1_000_000;
}

impl<B: Body> JsonSchema for Command<B> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        B::TYP.into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        /// The shape, for the generator alone.
        #[derive(JsonSchema)]
        #[schemars(deny_unknown_fields)]
        #[allow(dead_code, reason = "only its schema is used")]
        struct Shape<B> {
            v: u64,
            typ: String,
            aud: Aud,
            operator: OperatorName,
            kid: Kid,
            kver: u64,
            nonce: Nonce,
            iat: Timestamp,
            body: B,
            /// Which commands it belongs together with; left out where it stands for itself.
            #[schemars(default, skip_serializing_if = "Option::is_none", with = "Set")]
            set: Option<Set>,
        }
        Shape::<B>::json_schema(generator)
    }
}

/// Which part of a list: so many items after the one that `after` names, `""` from the beginning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// What the last page gave as `next`, or an empty text.
    pub after: String,
    /// How many items at most, 1 to 1000.
    #[serde(deserialize_with = "page_limit")]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: u64,
}

pub(super) fn page_limit<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let limit = u64::deserialize(deserializer)?;
    if (1..=Page::MAX).contains(&limit) {
        Ok(limit)
    } else {
        let found = serde::de::Unexpected::Unsigned(limit);
        Err(serde::de::Error::invalid_value(found, &"a limit of 1 to 1000"))
    }
}

impl Page {
    /// The most items of one page.
    pub const MAX: u64 = 1000;

    /// The first page.
    #[must_use]
    pub fn first() -> Page {
        Page { after: String::new(), limit: Page::MAX }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_set_is_left_out_or_whole() {
        let with = |set: Option<Value>| {
            let mut command = json!({
                "v": 1, "typ": "x", "aud": format!("nv1:{}", "A".repeat(43)), "operator": "ada", "kid": "A".repeat(43),
                "kver": 1, "nonce": "A".repeat(32), "iat": 0, "body": {},
            });
            if let Some(set) = set {
                command["set"] = set;
            }
            serde_json::from_value::<Command<Value>>(command)
        };
        let alone = with(None).unwrap();
        assert!(alone.set.is_none() && !serde_json::to_string(&alone).unwrap().contains("set"));
        let set = |id: usize, of: u64, part: u64| with(Some(json!({ "id": "A".repeat(id), "of": of, "part": part })));
        assert_eq!(set(22, 3, 2).unwrap().set.map(|set| (set.of, set.part)), Some((3, 2)));
        assert!(set(22, 1_000_000, 1_000_000).is_ok());
        for bad in [set(22, 3, 0), set(22, 3, 4), set(22, 0, 0), set(22, 1_000_001, 1), set(21, 3, 2), set(43, 3, 2)] {
            assert!(bad.is_err(), "{bad:?}");
        }
        assert!(with(Some(Value::Null)).is_err() && with(Some(json!({ "id": "A".repeat(22), "of": 1 }))).is_err());
    }

    #[test]
    fn a_page_has_a_limit() {
        let read = |limit: u64| serde_json::from_value::<Page>(json!({ "after": "", "limit": limit }));
        for good in [1, 2, 1000] {
            assert_eq!(read(good).unwrap().limit, good);
        }
        assert!(read(0).is_err() && read(1001).is_err());
    }
}
