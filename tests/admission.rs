//! Admission, over random JSON: what is written canonically under the rules comes in as it was; and every other way to
//! write the same thing, or a thing that breaks a rule, is refused by that rule.

#![allow(clippy::unwrap_used, reason = "a test stops where what it stands on is not there")]

use nockvault::crypto::json::{Admission, NotAdmitted, admit, canonical};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::Value;

const RULES: Admission = Admission { max_bytes: 1 << 20, max_depth: 8 };
const EXACT: i64 = 1 << 53;

fn name() -> impl Strategy<Value = String> {
    proptest::string::string_regex("[a-z][a-z0-9_]{0,6}").unwrap()
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (1 - EXACT..EXACT).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[\"\\\\/\u{0}-\u{20}\u{7f}-\u{9f}é\u{2028}😂]{0,8}".prop_map(Value::from),
    ]
}

/// At most five deep, so that a test may wrap it.
fn object() -> impl Strategy<Value = Value> {
    let value = leaf().prop_recursive(4, 40, 5, |inner| {
        prop_oneof![vec(inner.clone(), 0..5).prop_map(Value::from), btree_map(name(), inner, 0..5).prop_map(from_map)]
    });
    btree_map(name(), value, 1..6).prop_map(from_map)
}

fn from_map(members: std::collections::BTreeMap<String, Value>) -> Value {
    Value::Object(members.into_iter().collect())
}

fn text(value: &Value) -> String {
    String::from_utf8(canonical(value)).unwrap()
}

/// The members of the top object, each as it is written.
fn members(value: &Value) -> Vec<(String, String)> {
    value.as_object().unwrap().iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

fn write(members: &[(String, String)]) -> String {
    let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

/// Puts a text, which need not be JSON, where a value of any depth up to three stands.
fn wrap(inside: &str, depth: usize, rest: &Value) -> String {
    let nested = (0..depth).fold(inside.to_owned(), |inner, _| format!("[{inner}]"));
    format!("{{\"a\":{nested},\"b\":{}}}", text(rest))
}

fn refusal(text: &str) -> NotAdmitted {
    admit(text.as_bytes(), &RULES).expect_err(text)
}

/// The offsets after which white space changes nothing but the form.
fn gaps(text: &str) -> Vec<usize> {
    let (mut gaps, mut inside, mut escaped) = (vec![0, text.len()], false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => inside = !inside,
            b'{' | b'}' | b'[' | b']' | b',' | b':' if !inside => gaps.push(at + 1),
            _ => {}
        }
    }
    gaps
}

proptest! {
    #[test]
    fn what_is_canonical_comes_in_as_it_was(value in object()) {
        prop_assert_eq!(admit(&canonical(&value), &RULES), Ok(value));
    }

    /// Under these rules, JCS is what any standard library writes with sorted members and no white space.
    #[test]
    fn canonical_is_sorted_and_compact(value in object()) {
        prop_assert_eq!(text(&value), serde_json::to_string(&value).unwrap());
    }

    #[test]
    fn white_space_is_refused(value in object(), gap in any::<prop::sample::Index>(), space in "[ \t\r\n]{1,2}") {
        let mut text = text(&value);
        let gaps = gaps(&text);
        text.insert_str(gaps[gap.index(gaps.len())], &space);
        prop_assert_eq!(refusal(&text), NotAdmitted::NotCanonical);
    }

    #[test]
    fn another_order_is_refused(value in object(), a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>()) {
        let mut members = members(&value);
        let (a, b) = (a.index(members.len()), b.index(members.len()));
        prop_assume!(a != b);
        members.swap(a, b);
        prop_assert_eq!(refusal(&write(&members)), NotAdmitted::NotCanonical);
    }

    #[test]
    fn a_member_that_stands_twice_is_refused(
        value in object(), which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), other in leaf()
    ) {
        let mut members = members(&value);
        let name = members[which.index(members.len())].0.clone();
        members.insert(at.index(members.len() + 1), (name.clone(), text(&other)));
        prop_assert_eq!(refusal(&write(&members)), NotAdmitted::Duplicate(name.clone()));
        prop_assert_eq!(refusal(&wrap(&write(&members), 2, &value)), NotAdmitted::Duplicate(name));
    }

    #[test]
    fn floats_are_refused(value in object(), depth in 0usize..4, whole in 0i64..EXACT / 1000, form in 0usize..5) {
        let number = match form {
            0 => format!("{whole}.0"),
            1 => format!("{whole}.5"),
            2 => format!("{whole}e0"),
            3 => format!("{whole}E+1"),
            _ => format!("-{whole}.25e-2"),
        };
        prop_assert_eq!(refusal(&wrap(&number, depth, &value)), NotAdmitted::Float);
    }

    #[test]
    fn integers_that_not_every_reader_keeps_are_refused(
        value in object(), depth in 0usize..4, beyond in 0u128..1 << 80, minus in any::<bool>()
    ) {
        let number = format!("{}{}", if minus { "-" } else { "" }, EXACT as u128 + beyond);
        prop_assert_eq!(refusal(&wrap(&number, depth, &value)), NotAdmitted::IntegerTooLarge);
    }

    #[test]
    fn other_member_names_are_refused(
        value in object(), depth in 0usize..4, name in "([a-z0-9_]{0,3}[A-Zé. $-][a-zA-Z]{0,3}|[0-9_][a-z]{0,3})"
    ) {
        let inside = format!("{{\"{name}\":1}}");
        prop_assert_eq!(refusal(&wrap(&inside, depth, &value)), NotAdmitted::MemberName(name));
    }

    #[test]
    fn needless_escapes_are_refused(value in object(), depth in 0usize..4, letter in "[a-z/é]", upper in any::<bool>()) {
        let code = letter.chars().next().unwrap() as u32;
        let escaped = if upper { format!("\\u{code:04X}") } else { format!("\\u{code:04x}") };
        prop_assert_eq!(refusal(&wrap(&format!("\"{escaped}\""), depth, &value)), NotAdmitted::NotCanonical);
        let in_name = format!("{{\"\\u006{}\":1}}", 1 + code % 9);
        prop_assert_eq!(refusal(&wrap(&in_name, depth, &value)), NotAdmitted::NotCanonical);
    }

    /// Bytes that nobody wrote on purpose: no panic, and what does come in is what it says.
    #[test]
    fn any_bytes_are_read_or_refused(mut bytes in vec(any::<u8>(), 0..64), value in object(), at in any::<prop::sample::Index>()) {
        let _ = admit(&bytes, &RULES);
        let good = canonical(&value);
        bytes.truncate(2);
        let at = at.index(good.len());
        let changed = [&good[..at], &bytes[..], &good[at + 1..]].concat();
        if let Ok(value) = admit(&changed, &RULES) {
            prop_assert_eq!(canonical(&value), changed);
        }
    }
}
