//! `canonical(v) = JCS(v)`: JSON in the one form of RFC 8785, and the admission of bytes that claim to have it.
//!
//! [`admit`] is stricter than RFC 8785: no float, no integer beyond 2^53, plain lower-case member names, a bounded
//! depth. Under these rules JCS is sorted compact JSON, which every standard library writes alike. What is admitted has
//! one reading: no member stands twice, and the bytes are exactly those that its value is written as.
//!
//! Refusals name members and positions and never quote a value: they are logged, and a value may be a secret that
//! somebody put in the wrong place.

use std::cell::Cell;
use std::fmt;

use serde::Serialize;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// `JCS(value)`. RFC 8785.
///
/// # Panics
/// Where `value` cannot be JSON: a map without text keys or a member twice, or a float that is not a number. Our
/// statements have none of these. Integers of statements are below 2^53; JCS would round others.
#[must_use]
pub fn canonical<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    serde_json_canonicalizer::to_vec(&value).expect("what we serialise has text keys, each once, and finite numbers")
}

/// How large and how deep bytes may be. The object itself is depth 1; texts and numbers add nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The most bytes.
    pub max_bytes: usize,
    /// The deepest nesting of objects and arrays.
    pub max_depth: usize,
}

impl Admission {
    /// A payload from an agent.
    pub const AGENT: Admission = Admission { max_bytes: 8 << 10, max_depth: 8 };
    /// A payload from an operator.
    pub const OPERATOR: Admission = Admission { max_bytes: 64 << 10, max_depth: 8 };
    /// A line of an agent's chain or of `_vault`.
    pub const AUDIT_LINE: Admission = Admission { max_bytes: 32 << 10, max_depth: 16 };
    /// A line of `_operators`.
    pub const OPERATORS_LINE: Admission = Admission { max_bytes: 128 << 10, max_depth: 16 };
    /// A response of the vault, as clients take it.
    pub const RESPONSE: Admission = Admission { max_bytes: 4 << 20, max_depth: 12 };
}

/// Why bytes are not admitted. No text quotes a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// More bytes than allowed.
    #[error("{bytes} bytes, over the limit of {limit}")]
    TooLarge {
        /// How many there are.
        bytes: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// Not JSON; with the position.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// A member that stands twice in its object.
    #[error("the member {0:?} stands twice")]
    Duplicate(String),
    /// A number with a fraction or an exponent, or a negative zero.
    #[error("a number is not a plain integer")]
    Float,
    /// A number at or beyond 2^53, which not every reader keeps exact.
    #[error("a number is at or beyond 2^53")]
    IntegerTooLarge,
    /// Objects and arrays nested too deep.
    #[error("nested too deep")]
    TooDeep,
    /// A member whose name is not `[a-z][a-z0-9_]*`.
    #[error("the member name {0:?} is not of the form [a-z][a-z0-9_]*")]
    MemberName(String),
    /// JSON, but not in the form of RFC 8785.
    #[error("not in canonical form (RFC 8785)")]
    NotCanonical,
    /// Canonical JSON, but not the members of its schema; with where and what was expected.
    #[error("{0}")]
    Schema(String),
}

/// Admits bytes as the one canonical JSON object that they are (FORMATS section 1, "Admission of a payload").
///
/// # Errors
/// The first rule that the bytes break.
pub fn admit(bytes: &[u8], rules: &Admission) -> Result<Value, NotAdmitted> {
    if bytes.len() > rules.max_bytes {
        return Err(NotAdmitted::TooLarge { bytes: bytes.len(), limit: rules.max_bytes });
    }
    let text = std::str::from_utf8(bytes).map_err(|_| NotAdmitted::NotUtf8)?;
    let fault = Cell::new(None);
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Strict { depth_left: rules.max_depth, fault: &fault }
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value))
        .map_err(|error| {
            let position = || NotAdmitted::NotJson(format!("at line {} column {}", error.line(), error.column()));
            fault.take().unwrap_or_else(position)
        })?;
    if !value.is_object() {
        return Err(NotAdmitted::Schema("the top is not an object".into()));
    }
    if canonical(&value) == bytes { Ok(value) } else { Err(NotAdmitted::NotCanonical) }
}

/// Admits bytes and reads them as a `T`.
///
/// # Errors
/// The first rule that the bytes break, the schema last.
pub fn admit_as<T: DeserializeOwned>(bytes: &[u8], rules: &Admission) -> Result<T, NotAdmitted> {
    admit(bytes, rules)?;
    // Read anew from the bytes, since only then does the error know its position.
    serde_json::from_slice(bytes).map_err(|error| NotAdmitted::Schema(schema_fault(bytes, &error)))
}

/// Builds a value and sees, on the way, what a finished value no longer shows. The fault is left in a cell, because
/// serde's errors carry nothing but text.
#[derive(Clone, Copy)]
struct Strict<'a> {
    depth_left: usize,
    fault: &'a Cell<Option<NotAdmitted>>,
}

impl Strict<'_> {
    fn refuse<T, E: Error>(self, fault: NotAdmitted) -> Result<T, E> {
        self.fault.set(Some(fault));
        Err(E::custom("not admitted"))
    }

    fn deeper<E: Error>(self) -> Result<Self, E> {
        match self.depth_left.checked_sub(1) {
            Some(depth_left) => Ok(Strict { depth_left, ..self }),
            None => self.refuse(NotAdmitted::TooDeep),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

const EXACT: u64 = 1 << 53;

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        if value < EXACT { Ok(value.into()) } else { self.refuse(NotAdmitted::IntegerTooLarge) }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        if value.unsigned_abs() < EXACT { Ok(value.into()) } else { self.refuse(NotAdmitted::IntegerTooLarge) }
    }

    /// The reader hands over integers beyond 64 bits as floats too.
    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let too_large = value.abs() >= EXACT as f64;
        self.refuse(if too_large { NotAdmitted::IntegerTooLarge } else { NotAdmitted::Float })
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if !is_member_name(&name) {
                return self.refuse(NotAdmitted::MemberName(name.chars().take(64).collect()));
            }
            if object.contains_key(&name) {
                return self.refuse(NotAdmitted::Duplicate(name));
            }
            let value = members.next_value_seed(inner)?;
            object.insert(name, value);
        }
        Ok(object.into())
    }
}

fn is_member_name(name: &str) -> bool {
    let rest = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_';
    name.as_bytes().first().is_some_and(u8::is_ascii_lowercase) && name.bytes().all(|byte| rest(&byte))
}

/// Where the schema broke, and what it wanted, out of an error whose own text would quote the value.
fn schema_fault(bytes: &[u8], error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    let wanted = if text.starts_with("missing field `") || text.starts_with("unknown field `") {
        // Only names stand in these, and they have passed the rule for names.
        text.to_owned()
    } else if let Some((_, wanted)) = text.rsplit_once(", expected ") {
        format!("expected {wanted}")
    } else {
        "does not fit the schema".to_owned()
    };
    match member_at(bytes, error.column()) {
        path if path.is_empty() => wanted,
        path => format!("{path}: {wanted}"),
    }
}

/// The path of member names at an offset of canonical JSON: `seal.pk`.
fn member_at(bytes: &[u8], offset: usize) -> String {
    let (mut path, mut at): (Vec<&str>, usize) = (Vec::new(), 0);
    while at < offset.min(bytes.len()) {
        match bytes[at] {
            b'{' | b'[' => path.push(""),
            b'}' | b']' => drop(path.pop()),
            b'"' => {
                let start = at + 1;
                at = start;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                if bytes.get(at + 1) == Some(&b':')
                    && let Some(name) = path.last_mut()
                {
                    *name = std::str::from_utf8(&bytes[start..at]).unwrap_or_default();
                }
            }
            _ => {}
        }
        at += 1;
    }
    path.retain(|name| !name.is_empty());
    path.join(".")
}
