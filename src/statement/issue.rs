//! `nockvault/issue`: an agent asks for a credential.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Body;
use super::session::Seal;
use crate::id::RoleName;
use crate::time::Seconds;

/// The longest `purpose`, in bytes.
pub const PURPOSE_MAX: usize = 256;

/// Which credential, for how long, for what, and to which session key it is to be sealed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Issue {
    /// The role that is wanted.
    pub role: RoleName,
    /// Life asked for, in seconds; 0 takes the grant's default.
    pub ttl: Seconds,
    /// Parameters for the engine, as its schema says.
    pub params: Map<String, Value>,
    /// What it is wanted for, for whoever reads the trail; at most 256 bytes of UTF-8.
    pub purpose: Purpose,
    /// The session's key.
    pub seal: Seal,
}

impl Body for Issue {
    const TYP: &'static str = "nockvault/issue";
}

/// A text of at most 256 bytes without control characters, so that it can be printed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Purpose(String);

impl Purpose {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Purpose {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Purpose, &'static str> {
        if text.len() <= PURPOSE_MAX && !text.chars().any(char::is_control) {
            Ok(Purpose(text))
        } else {
            Err("purpose is at most 256 bytes without control characters")
        }
    }
}

impl From<Purpose> for String {
    fn from(purpose: Purpose) -> String {
        purpose.0
    }
}

impl JsonSchema for Purpose {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Purpose".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "maxLength": PURPOSE_MAX })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purpose_is_short_and_can_be_printed() {
        let read = |text: &str| Purpose::try_from(text.to_owned()).map(|purpose| purpose.as_str().to_owned());
        for good in ["", "the nightly report, für Ada", &"x".repeat(PURPOSE_MAX)] {
            assert_eq!(read(good).as_deref(), Ok(good));
        }
        for bad in ["a\nb", "\u{1b}[2K", "\0", &"x".repeat(PURPOSE_MAX + 1), &"ä".repeat(PURPOSE_MAX / 2 + 1)] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
