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

/// `JCS(value)`, as [`canonical`] gives it and several times as fast where the value is plain: sorted ASCII member names and
/// integers below 2^53, as all that is admitted has.
#[must_use]
pub fn canonical_value(value: &Value) -> Vec<u8> {
    if is_plain(value) {
        // Compact, and escaped as RFC 8785 asks for: what is left to JCS is the order and the numbers.
        serde_json::to_vec(value).expect("a JSON value has text keys")
    } else {
        canonical(value)
    }
}

/// Whether the value as it stands is in the order of RFC 8785, and its numbers are written alike by everybody.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(number) => {
            number.as_u64().is_some_and(|n| n < EXACT) || number.as_i64().is_some_and(|n| n.unsigned_abs() < EXACT)
        }
        Value::Array(items) => items.iter().all(is_plain),
        Value::Object(members) => {
            let mut before: Option<&str> = None;
            members.iter().all(|(name, value)| {
                let follows = before.replace(name).is_none_or(|before| before < name.as_str());
                follows && name.is_ascii() && is_plain(value)
            })
        }
    }
}

/// How deep objects and arrays are nested in a value; a text or number has depth 0.
#[must_use]
pub fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
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
    if canonical_value(&value) == bytes { Ok(value) } else { Err(NotAdmitted::NotCanonical) }
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

/// Reads admitted JSON as a `T`.
///
/// # Errors
/// [`NotAdmitted::Schema`] with the member that does not fit and what is wanted of it.
pub fn read_as<T: DeserializeOwned>(value: &impl Serialize) -> Result<T, NotAdmitted> {
    let bytes = canonical(value);
    serde_json::from_slice(&bytes).map_err(|error| NotAdmitted::Schema(schema_fault(&bytes, &error)))
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
    match member_at(bytes, error.column()) {
        path if path.is_empty() => wanted_by(error),
        path => format!("{path}: {}", wanted_by(error)),
    }
}

/// What a schema wanted, out of an error whose own text would quote the value that did not fit. The value was admitted.
#[must_use]
pub fn wanted_by(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    if let Some((name, wanted)) = text.strip_prefix(UNKNOWN).and_then(|rest| rest.split_once('`')) {
        // Only names stand in these, and they have passed the rule for names, which says nothing of their length.
        format!("{UNKNOWN}{}`{wanted}", cut(name))
    } else if text.starts_with("missing field `") {
        text.to_owned()
    } else {
        // Serde's own texts end with what the type wants. Others may end with anything, so they are not passed on.
        let known = ["invalid type: ", "invalid value: ", "invalid length ", "unknown variant `"];
        match text.rsplit_once(", expected ") {
            Some((head, wanted)) if known.iter().any(|start| head.starts_with(start)) => {
                format!("expected {}", in_words(wanted))
            }
            _ if text == "invalid IP address syntax" => {
                "expected a network in CIDR form, such as 10.0.0.0/8".to_owned()
            }
            _ => match behind_quote(text) {
                Some(wanted) => format!("it{wanted}"),
                None => "does not fit the schema".to_owned(),
            },
        }
    }
}

/// What serde wants, as people who write JSON call it.
fn in_words(wanted: &str) -> &str {
    match wanted {
        "a string" => "a text",
        "a sequence" => "a list",
        "a boolean" => "true or false",
        "u8" | "u16" | "u32" | "u64" => "a whole number",
        "a map" => "an object",
        wanted if wanted.starts_with("struct ") => "an object",
        wanted => wanted,
    }
}

const UNKNOWN: &str = "unknown field `";

/// The names of a path and of unknown members, as far as a person reads them.
fn cut(name: &str) -> &str {
    &name[..name.floor_char_boundary(NAME_SHOWN)]
}

const NAME_SHOWN: usize = 64;

/// What stands behind the quoted value in ` is not a role: 1 to 128 bytes`, the words of a name that was not taken.
fn behind_quote(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('"')?;
    let mut escaped = false;
    let end = inner.bytes().position(|byte| {
        let end = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        end
    })?;
    inner.get(end + 1..).filter(|rest| rest.starts_with(" is not "))
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
    path.into_iter().map(cut).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::crypto::hpke::SealKeyBytes;

    fn refusal(text: &str) -> NotAdmitted {
        admit(text.as_bytes(), &Admission::AGENT).expect_err(text)
    }

    #[test]
    fn the_fast_way_gives_what_the_slow_one_does() {
        let mut texts: Vec<String> = (0..0x80_u8).map(|c| char::from(c).to_string()).collect();
        texts.extend(
            ["\u{7f}\u{80}\u{9f}", "\u{2028}\u{2029}\u{feff}", "\u{1f600}\u{ffff}", "</script>"].map(str::to_owned),
        );
        let mut values: Vec<Value> = texts.into_iter().map(Value::from).collect();
        values.extend([
            json!(null),
            json!([true, false, [], {}, [[]], ""]),
            json!(0),
            json!(-1),
            json!(EXACT - 1),
            json!(1 - EXACT as i64),
            json!(EXACT),
            json!(u64::MAX),
            json!(i64::MIN),
            json!(1.5),
            json!(1e30),
            json!({"b": 1, "a": {"d": [], "c_2": "x"}, "": 0, "A": 1, "a_": 2, "aa": 3}),
            json!({"\u{1f600}": 1, "\u{fb33}": 2, "\u{20ac}": 3, "\r": 4, "1": 5}),
        ]);
        for value in values {
            assert_eq!(canonical_value(&value), canonical(&value), "{value}");
            let nested = json!({"list": [value, {"inner": value}]});
            assert_eq!(canonical_value(&nested), canonical(&nested), "{nested}");
        }
    }

    #[test]
    fn depth_counts_what_is_nested() {
        for (value, deep) in [(json!(1), 0), (json!([]), 1), (json!({"a": [1, {"b": 2}], "c": 3}), 3)] {
            assert_eq!(depth(&value), deep, "{value}");
            let wrapped = json!({ "a": value });
            let bytes = canonical(&wrapped);
            let rules = |max_depth| Admission { max_bytes: 100, max_depth };
            assert!(admit(&bytes, &rules(deep + 1)).is_ok() && admit(&bytes, &rules(deep)).is_err());
        }
    }

    #[test]
    fn each_rule_has_its_refusal() {
        let name = |name: &str| NotAdmitted::MemberName(name.into());
        let top = NotAdmitted::Schema("the top is not an object".into());
        let not_json = |column| NotAdmitted::NotJson(format!("at line 1 column {column}"));
        for (text, fault) in [
            (r#"{"a":1,"a":1}"#, NotAdmitted::Duplicate("a".into())),
            (r#"{"a":{"b":1,"b":2}}"#, NotAdmitted::Duplicate("b".into())),
            (r#"{"a":1,"\u0061":1}"#, NotAdmitted::Duplicate("a".into())),
            (r#"{"a":1.0}"#, NotAdmitted::Float),
            (r#"{"a":1e3}"#, NotAdmitted::Float),
            (r#"{"a":-0}"#, NotAdmitted::Float),
            (r#"{"a":9007199254740992}"#, NotAdmitted::IntegerTooLarge),
            (r#"{"a":-9007199254740992}"#, NotAdmitted::IntegerTooLarge),
            (r#"{"a":18446744073709551616}"#, NotAdmitted::IntegerTooLarge),
            (r#"{"a":1e999}"#, not_json(10)),
            (r#"{"A":1}"#, name("A")),
            (r#"{"":1}"#, name("")),
            (r#"{"1":1}"#, name("1")),
            (r#"{"_a":1}"#, name("_a")),
            (r#"{"a":{"b-c":1}}"#, name("b-c")),
            (r#"{"b":1,"a":1}"#, NotAdmitted::NotCanonical),
            (r#"{"a": 1}"#, NotAdmitted::NotCanonical),
            ("{\"a\":1}\n", NotAdmitted::NotCanonical),
            (r#"{"\u0061":1}"#, NotAdmitted::NotCanonical),
            (r#"{"a":"\/"}"#, NotAdmitted::NotCanonical),
            (r#"{"a":"\u00e9"}"#, NotAdmitted::NotCanonical),
            (r#"{"a":01}"#, not_json(7)),
            (r#"{"a":1}{}"#, not_json(8)),
            (r#"{"a":"\ud800"}"#, not_json(13)),
            ("\u{feff}{}", not_json(1)),
            ("", not_json(0)),
            ("[]", top.clone()),
            ("1", top.clone()),
            ("null", top),
        ] {
            assert_eq!(refusal(text), fault, "{text}");
        }
        assert_eq!(admit(b"{\"a\":\"\xff\"}", &Admission::AGENT), Err(NotAdmitted::NotUtf8));
        let large = admit(&[b' '; 8193], &Admission::AGENT);
        assert_eq!(large, Err(NotAdmitted::TooLarge { bytes: 8193, limit: 8192 }));
    }

    #[test]
    fn depth_counts_objects_and_arrays_and_stops_where_it_says() {
        for (open, close) in [(r#"{"a":"#, "}"), ("[", "]")] {
            let nested = |depth: usize| format!(r#"{{"a":{}1{}}}"#, open.repeat(depth - 1), close.repeat(depth - 1));
            assert!(admit(nested(8).as_bytes(), &Admission::AGENT).is_ok());
            assert_eq!(refusal(&nested(9)), NotAdmitted::TooDeep);
            assert!(admit(nested(16).as_bytes(), &Admission::AUDIT_LINE).is_ok());
            assert_eq!(refusal(&nested(1000)), NotAdmitted::TooDeep);
        }
    }

    #[test]
    fn the_largest_exact_integers_pass() {
        for text in [r#"{"a":9007199254740991,"b":-9007199254740991,"c":0}"#, "{}"] {
            assert_eq!(canonical(&admit(text.as_bytes(), &Admission::AGENT).unwrap()), text.as_bytes());
        }
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read in")]
    struct Statement {
        agent: crate::id::AgentName,
        seal: Seal,
        v: u64,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read in")]
    struct Seal {
        pk: SealKeyBytes,
        suite: Suite,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Suite {
        One,
    }

    #[test]
    fn a_schema_refusal_says_where_and_never_what_was_there() {
        let pk = "A".repeat(43);
        let good = format!(r#"{{"agent":"kit","seal":{{"pk":"{pk}","suite":"one"}},"v":1}}"#);
        assert!(admit_as::<Statement>(good.as_bytes(), &Admission::AGENT).is_ok());
        let changed = |from: &str, to: &str| {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good);
            match admit_as::<Statement>(text.as_bytes(), &Admission::AGENT) {
                Err(NotAdmitted::Schema(fault)) => fault,
                other => panic!("{text}: {other:?}"),
            }
        };
        let short = "hunter2, expected x";
        assert_eq!(changed(&pk, short), "seal.pk: expected 32 bytes of canonical base64url");
        assert_eq!(changed("\"one\"", "\"hunter2\""), "seal.suite: expected `one`");
        // Of a name that was not taken, the rule for names is told.
        for name in
            ["a, expected hunter2", r#"Hunter2 \"at line 3"#, r#"a\" is not b: hunter2"#, r#"\\\" is not a: hunter2"#]
        {
            let told = changed("\"kit\"", &format!("\"{name}\""));
            assert!(told.starts_with("agent: it is not an agent name: 1 to 63 of"), "{told}");
            assert!(!told.to_lowercase().contains("hunter2"), "{told}");
        }
        assert_eq!(changed(":1}", ":\"hunter2\"}"), "v: expected a whole number");
        assert_eq!(changed(",\"v\":1", ""), "missing field `v`");
        assert_eq!(changed(",\"suite\":\"one\"", ""), "seal: missing field `suite`");
        assert!(changed(",\"v\"", ",\"u\":\"hunter2\",\"v\"").starts_with("u: unknown field `u`, expected"));
        let long = changed(",\"v\"", &format!(",\"u{}\":1,\"v\"", "u".repeat(5000)));
        assert!(long.starts_with("uuuu") && long.len() < 500, "{} bytes: {long}", long.len());
    }
}
