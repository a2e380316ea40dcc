//! Names are what they are, byte for byte. Nothing is trimmed, folded or normalised, so that two that were let in are the
//! same exactly where their bytes are; whatever a reader elsewhere might take for the same name is another one or none.
//! And a name that is also a path has one reading.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Component, Path};

use nockvault::id::{
    AgentName, Aud, ChainName, CustodianName, Kid, LeaseId, Nonce, OperatorName, RoleName, SecretName, SetId, Sid,
    VaultName,
};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A kind of name: what a text becomes, by itself and as JSON.
struct Kind {
    name: &'static str,
    good: &'static str,
    read: fn(&str) -> Option<Read>,
}

/// What is left of a text that was let in.
#[derive(PartialEq, Debug)]
struct Read {
    text: String,
    shown: String,
    json: Value,
    hash: u64,
}

fn read<T>(text: &str) -> Option<Read>
where
    T: std::str::FromStr + std::fmt::Display + Hash + serde::Serialize + DeserializeOwned + PartialEq + Into<String>,
{
    let parsed = text.parse::<T>().ok();
    let of_json = serde_json::from_value::<T>(Value::from(text)).ok();
    assert!(parsed == of_json, "{text:?} is one thing by itself and another one in JSON");
    let name = parsed?;
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    let (shown, json, hash) = (name.to_string(), serde_json::to_value(&name).unwrap(), hasher.finish());
    Some(Read { text: name.into(), shown, json, hash })
}

const THUMBPRINT: &str = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";

const KINDS: [Kind; 13] = [
    Kind { name: "an agent", good: "mira-nockos.7", read: read::<AgentName> },
    Kind { name: "an operator", good: "ada.l-2", read: read::<OperatorName> },
    Kind { name: "a custodian", good: "safe-1", read: read::<CustodianName> },
    Kind { name: "a vault", good: "prod.eu-1", read: read::<VaultName> },
    Kind { name: "a role", good: "db/orders.v1/read_only-2", read: read::<RoleName> },
    Kind { name: "a secret", good: "db/orders.v1/admin_1-2", read: read::<SecretName> },
    Kind { name: "a session", good: "Night.7_x-2", read: read::<Sid> },
    Kind { name: "a key", good: THUMBPRINT, read: read::<Kid> },
    Kind { name: "an audience", good: "nv1:kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", read: read::<Aud> },
    Kind { name: "a nonce", good: "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxH", read: read::<Nonce> },
    Kind { name: "a set", good: "kPrK_qmxVWaYVA9wwBF6Ig", read: read::<SetId> },
    Kind { name: "a lease", good: "019078e5-8a3b-7c1d-9f00-aabbccddeeff", read: read::<LeaseId> },
    Kind { name: "a chain", good: "mira-nockos.7", read: read::<ChainName> },
];

/// What somebody, somewhere, takes for the same name.
const ALIKE: [fn(&str) -> String; 21] = [
    |name| name.to_uppercase(),
    |name| name.to_lowercase(),
    |name| format!(" {name}"),
    |name| format!("{name} "),
    |name| format!("{name}\n"),
    |name| format!("{name}\t"),
    |name| format!("{name}\0"),
    |name| format!("{name}\u{200b}"),
    |name| format!("\u{feff}{name}"),
    |name| format!("{name}/"),
    |name| format!("/{name}"),
    |name| format!("./{name}"),
    |name| format!("x/../{name}"),
    |name| format!("{name}/."),
    |name| format!("{name}="),
    |name| name.replace('/', "//"),
    |name| name.replace('.', "%2e").replace('/', "%2F"),
    |name| name.replace('-', "_"),
    // Cyrillic, full-width, and an accent that stands for itself.
    |name| name.replace('a', "\u{430}").replace('r', "\u{433}"),
    |name| name.chars().map(|c| char::from_u32(c as u32 + 0xfee0).unwrap()).collect(),
    |name| format!("{name}\u{301}"),
];

/// Names and what is nearly one.
fn text() -> impl Strategy<Value = String> {
    let good = (0..KINDS.len()).prop_map(|index| KINDS[index].good.to_owned());
    let alike = (good.clone(), 0..ALIKE.len(), 0..ALIKE.len()).prop_map(|(name, a, b)| ALIKE[b](&ALIKE[a](&name)));
    let cut = (good.clone(), 0..64usize, any::<char>()).prop_map(|(name, at, put)| {
        let mut letters: Vec<char> = name.chars().collect();
        let at = at % letters.len();
        letters[at] = put;
        letters.into_iter().collect()
    });
    prop_oneof![good, alike, cut, "[a-zA-Z0-9._/ -]{0,70}", any::<String>()]
}

fn within(text: &str, letters: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || letters.as_bytes().contains(&byte))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn two_that_were_let_in_are_equal_exactly_where_their_bytes_are(one in text(), other in text()) {
        for kind in &KINDS {
            let (a, b) = ((kind.read)(&one), (kind.read)(&other));
            for (text, read) in [(&one, &a), (&other, &b)] {
                let Some(read) = read else { continue };
                prop_assert_eq!(&read.text, text, "{} was changed on its way in", kind.name);
                prop_assert_eq!(&read.shown, text);
                prop_assert_eq!(&read.json, &Value::from(text.as_str()));
            }
            if let (Some(a), Some(b)) = (a, b) {
                prop_assert_eq!(a.hash == b.hash, one == other, "{}", kind.name);
                prop_assert_eq!(a == b, one == other, "{}", kind.name);
            }
        }
    }

    #[test]
    fn a_name_has_one_case_and_no_blank(text in text()) {
        for kind in &KINDS[..6] {
            if (kind.read)(&text).is_some() {
                prop_assert!(within(&text, "._-/") && text == text.trim().to_lowercase(), "{} {:?}", kind.name, text);
            }
        }
        if let Some(read) = read::<Sid>(&text) {
            prop_assert!(within(&read.text.to_ascii_lowercase(), "._-"), "{:?}", text);
        }
    }

    #[test]
    fn a_name_that_is_a_path_has_one_reading_and_leads_down(text in text()) {
        for kind in &KINDS[4..6] {
            if (kind.read)(&text).is_none() {
                continue;
            }
            let parts: Vec<Component<'_>> = Path::new(&text).components().collect();
            prop_assert!(parts.iter().all(|part| matches!(part, Component::Normal(_))), "{:?}", text);
            prop_assert_eq!(parts.len(), text.split('/').count(), "{:?}", text);
            prop_assert!(!text.contains(['%', '\\', '*', '?', '#', ';']), "{:?}", text);
            prop_assert!(text.split('/').all(|part| !part.starts_with('.')), "{:?}", text);
        }
        for kind in KINDS.iter().filter(|kind| !["a role", "a secret"].contains(&kind.name)) {
            prop_assert!((kind.read)(&text).is_none() || !text.contains('/'), "{} {:?}", kind.name, text);
        }
    }
}

/// The names that all of this is about are taken, and what is taken for them elsewhere is refused or another name.
#[test]
fn what_is_taken_for_the_same_name_elsewhere_is_none_or_another() {
    let mut refused = 0;
    for Kind { name, good, read } in &KINDS {
        let same = read(good).unwrap_or_else(|| panic!("{name} is refused"));
        for alike in ALIKE {
            let text = alike(good);
            match read(&text) {
                None => refused += 1,
                Some(other) => assert_eq!(other == same, text == *good, "{name}: {text:?}"),
            }
        }
    }
    // Nearly all are refused outright: what is left is another case where case counts, and `_` for `-`.
    assert!(refused > KINDS.len() * 13, "{refused}");
}

/// Two agents whose names environment variables could not tell apart are not both let in; here is what is compared.
#[test]
fn what_variables_cannot_tell_apart_collides() {
    let form = |name: &str| name.parse::<AgentName>().unwrap().collision_form();
    assert_eq!(form("a.b-c"), form("a-b.c"));
    assert_ne!(form("ab-c"), form("a-bc"));
}
