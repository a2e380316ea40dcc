//! An operator's command: the members that all commands share, around the `body` of one `typ`.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::Body;
use crate::id::{Aud, Kid, Nonce, OperatorName};
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

fn page_limit<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let limit = u64::deserialize(deserializer)?;
    if (1..=Page::MAX).contains(&limit) {
        Ok(limit)
    } else {
        Err(serde::de::Error::custom("a page's limit is 1 to 1000"))
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
