//! Names and identifiers, parsed once. Each type holds a text of one fixed grammar; to have the value is to know that
//! it was checked, so nothing validates twice. Names are compared as bytes: nothing is trimmed, folded or normalised,
//! and what does not fit is refused with a sentence that says why.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::base64url;

/// Why a text is not an identifier of the wanted kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {kind}: {rule}")]
pub struct BadId {
    /// What was wanted, with its article.
    pub kind: &'static str,
    /// The rule that the text breaks.
    pub rule: &'static str,
    /// The text, cut to 80 characters.
    pub text: String,
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $rule:literal, $pattern:literal, $max:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// The text, as it stands in statements.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<$name, BadId> {
                let check: fn(&str) -> bool = $check;
                if text.len() <= $max && check(text) {
                    Ok($name(text.into()))
                } else {
                    Err(BadId { kind: $kind, rule: $rule, text: text.chars().take(80).collect() })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadId;

            fn try_from(text: String) -> Result<$name, BadId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?})", stringify!($name), self.0)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "maxLength": $max, "description": $rule })
            }
        }
    };
}

identifier!(
    /// An agent's name.
    AgentName, "an agent name",
    "1 to 63 of a-z 0-9 . - beginning with a letter or digit", "^[a-z0-9][a-z0-9.-]{0,62}$", 63, holder_name
);
identifier!(
    /// An operator's name.
    OperatorName, "an operator name",
    "1 to 63 of a-z 0-9 . - beginning with a letter or digit", "^[a-z0-9][a-z0-9.-]{0,62}$", 63, holder_name
);
identifier!(
    /// A custodian's name: one way to get at the root key.
    CustodianName, "a custodian's name",
    "1 to 63 of a-z 0-9 . - beginning with a letter or digit", "^[a-z0-9][a-z0-9.-]{0,62}$", 63, holder_name
);
identifier!(
    /// A vault's name. Names tell vaults apart for people; [`Aud`] tells them apart for programs.
    VaultName, "a vault name",
    "1 to 63 of a-z 0-9 . - beginning with a letter or digit", "^[a-z0-9][a-z0-9.-]{0,62}$", 63, holder_name
);
identifier!(
    /// A role: what kind of credential, from which engine.
    RoleName, "a role name",
    "segments of a-z 0-9 . _ - beginning with a letter or digit, joined by single /, at most 128 bytes",
    "^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*$", 128, segments
);
identifier!(
    /// The name of a stored secret: a value of the `kv` engine, a password at a backend, or an authority.
    SecretName, "a secret name",
    "segments of a-z 0-9 . _ - beginning with a letter or digit, joined by single /, at most 128 bytes",
    "^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*$", 128, segments
);
identifier!(
    /// A session's identifier. It belongs to its agent: two agents may use the same one.
    Sid, "a session id",
    "1 to 128 of A-Z a-z 0-9 . _ - beginning with a letter or digit", "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", 128,
    |text| first_and_rest(text, |b| b.is_ascii_alphanumeric(), |b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
);
identifier!(
    /// A key's identifier: the RFC 7638 thumbprint of its JWK, 32 bytes as base64url.
    Kid, "a key id", "43 characters of canonical base64url: an RFC 7638 thumbprint", "^[A-Za-z0-9_-]{43}$", 43,
    |text| base64url::decode_array::<32>(text).is_some()
);
identifier!(
    /// A vault's identity: `nv1:` and the thumbprint of its identity key. The audience of every statement.
    Aud, "a vault id", "nv1: and 43 characters of canonical base64url", "^nv1:[A-Za-z0-9_-]{43}$", 47,
    |text| text.strip_prefix("nv1:").is_some_and(|print| base64url::decode_array::<32>(print).is_some())
);
identifier!(
    /// A request's nonce: 16 to 32 random bytes as base64url.
    Nonce, "a nonce", "16 to 32 bytes of canonical base64url", "^[A-Za-z0-9_-]{22,43}$", 43,
    |text| base64url::decode(text).is_some_and(|bytes| (16..=32).contains(&bytes.len()))
);
identifier!(
    /// The identifier of commands that belong together: 16 random bytes as base64url.
    SetId, "a set's id", "16 bytes of canonical base64url", "^[A-Za-z0-9_-]{22}$", 22,
    |text| base64url::decode_array::<16>(text).is_some()
);
identifier!(
    /// A lease's identifier: a version 7 UUID (RFC 9562) in its hyphenated lower-case form.
    LeaseId, "a lease id", "a version 7 UUID in lower case with hyphens",
    "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$", 36,
    |text| uuid::Uuid::try_parse(text).is_ok_and(|id| {
        id.get_version_num() == 7
            && id.get_variant() == uuid::Variant::RFC4122
            && id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()) == text
    })
);
identifier!(
    /// A chain's name: an agent's name, `_operators` or `_vault`.
    ChainName, "a chain name", "an agent name, _operators or _vault",
    "^(_operators|_vault|[a-z0-9][a-z0-9.-]{0,62})$", 63,
    |text| text == "_operators" || text == "_vault" || holder_name(text)
);

fn first_and_rest(text: &str, first: fn(u8) -> bool, rest: fn(u8) -> bool) -> bool {
    text.as_bytes().split_first().is_some_and(|(head, tail)| first(*head) && tail.iter().all(|b| rest(*b)))
}

fn lower_or_digit(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn holder_name(text: &str) -> bool {
    first_and_rest(text, lower_or_digit, |b| lower_or_digit(b) || b == b'.' || b == b'-')
}

fn segments(text: &str) -> bool {
    text.split('/').all(|part| first_and_rest(part, lower_or_digit, |b| lower_or_digit(b) || b"._-".contains(&b)))
}

impl AgentName {
    /// What two agents may not share: the name with `.` and `-` read as `_`, as environment variables spell it.
    #[must_use]
    pub fn collision_form(&self) -> String {
        self.as_str().replace(['.', '-'], "_")
    }
}

impl Aud {
    /// The vault whose identity key has this thumbprint.
    #[must_use]
    pub fn of_identity(kid: &Kid) -> Aud {
        Aud(format!("nv1:{kid}").into())
    }

    /// The thumbprint of the identity key.
    #[must_use]
    pub fn identity_kid(&self) -> Kid {
        Kid(self.0["nv1:".len()..].into())
    }
}

impl Kid {
    /// The identifier whose thumbprint bytes are these.
    #[must_use]
    pub fn from_thumbprint(print: &[u8; 32]) -> Kid {
        Kid(base64url::encode(print).into())
    }
}

impl Nonce {
    /// A nonce of these 24 bytes, which the caller drew at random.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 24]) -> Nonce {
        Nonce(base64url::encode(bytes).into())
    }
}

impl SetId {
    /// The identifier of these 16 bytes, which the caller drew at random.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 16]) -> SetId {
        SetId(base64url::encode(bytes).into())
    }
}

impl LeaseId {
    /// A new identifier: 48 bits of time in milliseconds, the rest from `random`.
    #[must_use]
    pub fn new(unix_millis: u64, random: [u8; 10]) -> LeaseId {
        let id = uuid::Builder::from_unix_timestamp_millis(unix_millis, &random).into_uuid();
        LeaseId(id.hyphenated().to_string().into())
    }

    /// The identifier of these 16 bytes, if they are a version 7 UUID.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Option<LeaseId> {
        uuid::Uuid::from_bytes(bytes).hyphenated().to_string().parse().ok()
    }

    /// The 16 bytes of the UUID.
    #[must_use]
    pub fn bytes(&self) -> [u8; 16] {
        uuid::Uuid::try_parse(&self.0).expect("the grammar of LeaseId is a UUID's").into_bytes()
    }
}

impl ChainName {
    /// The chain of operators' commands.
    #[must_use]
    pub fn operators() -> ChainName {
        ChainName("_operators".into())
    }

    /// The vault's own chain.
    #[must_use]
    pub fn vault() -> ChainName {
        ChainName("_vault".into())
    }

    /// The agent whose chain this is, where it is an agent's.
    #[must_use]
    pub fn agent(&self) -> Option<AgentName> {
        (!self.0.starts_with('_')).then(|| AgentName(self.0.clone()))
    }
}

impl From<&AgentName> for ChainName {
    fn from(agent: &AgentName) -> ChainName {
        ChainName(agent.0.clone())
    }
}

/// The public name of an issued credential at the far side: `nv_<agent, cut>_<lease in 26 characters base32>`, at most
/// 63 bytes (PostgreSQL's limit for a role). The lease is written in Crockford's order, lower case, so that names sort
/// by time.
#[must_use]
pub fn handle(agent: &AgentName, lease: &LeaseId) -> String {
    let number = u128::from_be_bytes(lease.bytes());
    let lease: String = (0..26).rev().map(|i| ALPHABET[(number >> (5 * i) & 31) as usize] as char).collect();
    let room = 63 - "nv_".len() - 1 - lease.len();
    let agent = &agent.as_str()[..agent.as_str().len().min(room)];
    format!("nv_{agent}_{lease}")
}

/// Crockford's base 32, lower case.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// What a handle names: its agent, which may be cut, and its lease. Nothing for a name that is no handle.
#[must_use]
pub fn of_handle(handle: &str) -> Option<(AgentName, LeaseId)> {
    let (agent, lease) = handle.strip_prefix("nv_")?.rsplit_once('_')?;
    if lease.len() != 26 {
        return None;
    }
    let digit = |byte: u8| ALPHABET.iter().position(|one| *one == byte);
    // 26 digits hold 130 bits: the first holds the upper three of the 128.
    let number = lease.bytes().try_fold(0_u128, |number, byte| {
        let digit = digit(byte).filter(|_| number >> 123 == 0)?;
        Some(number << 5 | digit as u128)
    })?;
    Some((agent.parse().ok()?, LeaseId::from_bytes(number.to_be_bytes())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_as_they_are_or_refused() {
        for good in ["kit", "a", "0", "mira-nockos", "a.b", &"a".repeat(63)] {
            assert_eq!(good.parse::<AgentName>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "Kit",
            " kit",
            "kit ",
            "-kit",
            ".kit",
            "_vault",
            "k_t",
            "kít",
            "ki/t",
            "kit\n",
            "kit\0",
            &"a".repeat(64),
        ] {
            assert!(bad.parse::<AgentName>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn roles_have_no_empty_and_no_dot_segments() {
        for good in ["orders-read", "db/orders/read_only", "a.b/c"] {
            assert!(good.parse::<RoleName>().is_ok(), "{good}");
        }
        for bad in ["", "/", "a/", "/a", "a//b", "..", "a/../b", ".a", "A", "a%2fb", "a b", &"a".repeat(129)] {
            assert!(bad.parse::<RoleName>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn lease_ids_are_version_7_and_lower_case() {
        let id = LeaseId::new(1_780_511_400_123, [7; 10]);
        assert_eq!(id.as_str().parse::<LeaseId>().unwrap(), id);
        for bad in
            [id.as_str().to_uppercase(), id.as_str().replace('-', ""), "00000000-0000-4000-8000-000000000000".into()]
        {
            assert!(bad.parse::<LeaseId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_handle_fits_a_postgresql_role() {
        let lease = LeaseId::new(1_780_511_400_123, [255; 10]);
        let long: AgentName = "a".repeat(63).parse().unwrap();
        assert_eq!(handle(&long, &lease).len(), 63);
        let handle = handle(&"kit".parse().unwrap(), &lease);
        assert!(handle.starts_with("nv_kit_0") && handle.len() == 33, "{handle}");
        assert_eq!(of_handle(&handle), Some(("kit".parse().unwrap(), lease)));
        for bad in ["", "nv_kit", "nv__0", "kit", &handle[1..], &format!("{handle}0"), &handle.replace("_0", "_u")] {
            assert_eq!(of_handle(bad), None, "{bad}");
        }
    }

    #[test]
    fn nonces_hold_16_to_32_bytes() {
        for (bytes, good) in [(15, false), (16, true), (24, true), (32, true), (33, false)] {
            assert_eq!(base64url::encode(&vec![9; bytes]).parse::<Nonce>().is_ok(), good, "{bytes}");
        }
    }

    #[test]
    fn accepted_names_are_equal_exactly_where_their_bytes_are() {
        let (a, b): (AgentName, AgentName) = ("a-b".parse().unwrap(), "a.b".parse().unwrap());
        assert_ne!(a, b);
        assert_eq!(a.collision_form(), b.collision_form());
    }
}
