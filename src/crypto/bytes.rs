//! Bytes of a fixed or free length as canonical base64url in JSON. What is refused is described by its form, never
//! quoted.

use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer, Serializer};

use crate::base64url;

/// Reads a text of canonical base64url that stands for exactly `N` bytes.
pub(super) fn array<'de, const N: usize, D: Deserializer<'de>>(from: D) -> Result<[u8; N], D::Error> {
    let text = String::deserialize(from)?;
    base64url::decode_array(&text).ok_or_else(|| {
        let wanted = format!("{N} bytes of canonical base64url");
        D::Error::invalid_value(Unexpected::Other("a text"), &wanted.as_str())
    })
}

/// For `#[serde(with)]`: an array as its text.
pub(super) mod fixed {
    use super::{Deserializer, Serializer, base64url};

    pub(crate) fn serialize<S: Serializer, const N: usize>(bytes: &[u8; N], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&base64url::encode(bytes))
    }

    pub(crate) fn deserialize<'de, const N: usize, D: Deserializer<'de>>(from: D) -> Result<[u8; N], D::Error> {
        super::array(from)
    }
}

/// For `#[serde(with)]`: bytes of any length as their text.
pub(super) mod free {
    use super::{Deserialize, Deserializer, Error, Serializer, Unexpected, base64url};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&base64url::encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        base64url::decode(&text)
            .ok_or_else(|| D::Error::invalid_value(Unexpected::Other("a text"), &"canonical base64url"))
    }
}

/// Serialises a type as the text of its bytes and describes that text: `$chars` characters. `$read` makes the value of
/// an array and may refuse with a text.
macro_rules! bytes_as_text {
    ($name:ident, $chars:literal, $about:literal, $read:expr) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&crate::base64url::encode(self.as_bytes()))
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<$name, D::Error> {
                let read: fn(_) -> Result<$name, &'static str> = $read;
                read(crate::crypto::bytes::array(from)?).map_err(|wanted| {
                    serde::de::Error::invalid_value(serde::de::Unexpected::Other("a text"), &wanted)
                })
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "pattern": concat!("^[A-Za-z0-9_-]{", $chars, "}$"),
                    "description": $about,
                })
            }
        }
    };
}

pub(super) use bytes_as_text;
