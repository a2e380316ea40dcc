//! A secret, opened: the JSON object that its engine made, with a `type` and members of the engine's own. It prints
//! nothing of itself; reading it takes a word that a reviewer can search for.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::secret::{Secret, SecretBytes};

/// A credential's secret.
#[derive(Debug)]
pub struct Material {
    whole: SecretBytes,
    texts: BTreeMap<String, Text>,
}

impl Material {
    /// The secret of these bytes, where they are a JSON object.
    pub(crate) fn read(whole: SecretBytes) -> Option<Material> {
        let texts = serde_json::from_slice(whole.expose()).ok()?;
        Some(Material { whole, texts })
    }

    /// The whole secret, as JSON.
    #[must_use]
    pub fn expose_json(&self) -> &[u8] {
        self.whole.expose()
    }

    /// The member of this name, where it is a text: `value` of a `kv` secret, `token` of a `jwt`.
    #[must_use]
    pub fn expose(&self, member: &str) -> Option<&str> {
        self.texts.get(member).and_then(|text| text.0.as_ref()).map(|text| text.expose().as_str())
    }

    /// The engine's name for what it is.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        self.expose("type")
    }

    /// The names of its members.
    pub fn members(&self) -> impl Iterator<Item = &str> {
        self.texts.keys().map(String::as_str)
    }
}

/// A member: a text goes straight into its box, anything else stays in the whole alone.
#[derive(Debug)]
struct Text(Option<Secret<String>>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        deserializer.deserialize_any(Member)
    }
}

struct Member;

impl<'de> Visitor<'de> for Member {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member of a secret")
    }

    fn visit_str<E>(self, text: &str) -> Result<Text, E> {
        Ok(Text(Some(Secret::new(text.to_owned()))))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_unit<E>(self) -> Result<Text, E> {
        Ok(Text(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Text, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Text(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Text, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Text(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Material> {
        Material::read(SecretBytes::new(text.as_bytes().to_vec()))
    }

    #[test]
    fn members_are_read_by_name_and_nothing_is_printed() {
        let text = r#"{"a":[1],"b":null,"c":{"value":"x"},"n":1.5,"type":"kv","value":"hunter2\n","version":3}"#;
        let secret = read(text).unwrap();
        assert_eq!((secret.kind(), secret.expose("value")), (Some("kv"), Some("hunter2\n")));
        assert_eq!((secret.expose("version"), secret.expose("none")), (None, None));
        assert_eq!(secret.expose_json(), text.as_bytes());
        assert_eq!(secret.members().count(), 7);
        assert!(!format!("{secret:?}").contains("hunter"));
    }

    #[test]
    fn what_is_no_object_is_no_secret() {
        for text in ["", "[]", "\"x\"", "{", "{} {}"] {
            assert!(read(text).is_none(), "{text:?}");
        }
    }
}
