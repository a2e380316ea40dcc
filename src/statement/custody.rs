//! Custody of the root key: what a custodian is, and `nockvault/custody_add`, `custody_remove`, `custody_rotate`. No
//! custodian's secret is in any statement: the public key that is derived from it is enough to seal the root key to it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Body;
use crate::base64url::Bytes;
use crate::crypto::hpke::SealKeyBytes;
use crate::id::CustodianName;

/// The bytes of a salt.
pub const SALT: usize = 16;
/// The bytes that tell one set of shares from another.
pub const SET: usize = 8;
/// The most shares of a set.
pub const SHARES: u8 = 16;
/// The least memory of argon2id, in KiB, and the least passes: the first choice of OWASP's cheat sheet on passwords.
pub const LEAST: (u32, u32) = (19 * 1024, 2);
/// The most memory, in KiB, passes and lanes: more would keep who types a passphrase from ever opening the vault.
pub const MOST: (u32, u32, u32) = (1 << 20, 64, 16);

/// How a custodian comes by its 32 bytes. All of it is public.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Members", into = "Members")]
pub enum Kind {
    /// They stand in a file that the daemon reads.
    File,
    /// The system gives them to the daemon's unit.
    Credential,
    /// A program prints them.
    Command,
    /// Somebody types a passphrase, which argon2id (RFC 9106) stretches.
    Passphrase {
        /// The memory, in KiB.
        m_kib: u32,
        /// The lanes.
        p: u32,
        /// 16 bytes.
        salt: Bytes,
        /// The passes.
        t: u32,
    },
    /// Several people have shares, and some of them together have the secret (Shamir).
    Shares {
        /// How many shares there are, at most 16.
        count: u8,
        /// 8 bytes that stand in each share.
        set: Bytes,
        /// How many of them are enough, at least 2.
        threshold: u8,
    },
    /// A token computes them by PKCS #11: HMAC-SHA256 under a key that never leaves it.
    Pkcs11 {
        /// 16 bytes.
        salt: Bytes,
    },
}

impl Kind {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Kind::File => "file",
            Kind::Credential => "credential",
            Kind::Command => "command",
            Kind::Passphrase { .. } => "passphrase",
            Kind::Shares { .. } => "shares",
            Kind::Pkcs11 { .. } => "pkcs11",
        }
    }

    /// Whether a daemon can come by the secret without anybody at hand.
    #[must_use]
    pub fn is_automatic(&self) -> bool {
        !matches!(self, Kind::Passphrase { .. } | Kind::Shares { .. })
    }
}

/// The same as members, before anyone has looked whether the numbers make sense.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "name", rename_all = "lowercase", deny_unknown_fields)]
enum Members {
    /// They stand in a file that the daemon reads.
    File {},
    /// The system gives them to the daemon's unit.
    Credential {},
    /// A program prints them.
    Command {},
    /// Somebody types a passphrase, which argon2id (RFC 9106) stretches.
    Passphrase {
        /// The memory, in KiB.
        m_kib: u32,
        /// The lanes.
        p: u32,
        /// 16 bytes.
        salt: Bytes,
        /// The passes.
        t: u32,
    },
    /// Several people have shares, and some of them together have the secret (Shamir).
    Shares {
        /// How many shares there are, at most 16.
        count: u8,
        /// 8 bytes that stand in each share.
        set: Bytes,
        /// How many of them are enough, at least 2.
        threshold: u8,
    },
    /// A token computes them by PKCS #11: HMAC-SHA256 under a key that never leaves it.
    Pkcs11 {
        /// 16 bytes.
        salt: Bytes,
    },
}

impl TryFrom<Members> for Kind {
    type Error = &'static str;

    fn try_from(members: Members) -> Result<Kind, &'static str> {
        match members {
            Members::File {} => Ok(Kind::File),
            Members::Credential {} => Ok(Kind::Credential),
            Members::Command {} => Ok(Kind::Command),
            Members::Passphrase { salt, .. } | Members::Pkcs11 { salt } if salt.0.len() != SALT => {
                Err("a salt has 16 bytes")
            }
            Members::Passphrase { m_kib, t, .. } if m_kib < LEAST.0 || t < LEAST.1 => {
                Err("a passphrase is stretched with at least 19456 KiB and 2 passes")
            }
            Members::Passphrase { m_kib, p, t, .. } if m_kib > MOST.0 || t > MOST.1 || !(1..=MOST.2).contains(&p) => {
                Err("a passphrase is stretched with at most 1048576 KiB, 64 passes and 16 lanes")
            }
            Members::Passphrase { m_kib, p, salt, t } => Ok(Kind::Passphrase { m_kib, p, salt, t }),
            Members::Shares { set, .. } if set.0.len() != SET => Err("a set of shares is named by 8 bytes"),
            Members::Shares { count, set, threshold } if 2 <= threshold && threshold <= count && count <= SHARES => {
                Ok(Kind::Shares { count, set, threshold })
            }
            Members::Shares { .. } => Err("of shares, 2 to all are enough, and there are at most 16"),
            Members::Pkcs11 { salt } => Ok(Kind::Pkcs11 { salt }),
        }
    }
}

impl From<Kind> for Members {
    fn from(kind: Kind) -> Members {
        match kind {
            Kind::File => Members::File {},
            Kind::Credential => Members::Credential {},
            Kind::Command => Members::Command {},
            Kind::Passphrase { m_kib, p, salt, t } => Members::Passphrase { m_kib, p, salt, t },
            Kind::Shares { count, set, threshold } => Members::Shares { count, set, threshold },
            Kind::Pkcs11 { salt } => Members::Pkcs11 { salt },
        }
    }
}

impl JsonSchema for Kind {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CustodianKind".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Members::json_schema(generator)
    }
}

/// Appoints a custodian: a new root key is drawn and sealed to each of them, the new one too. Whoever commands has made
/// the secret, derived the public key, and keeps the one where it is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CustodyAdd {
    /// How it comes by its secret.
    pub kind: Kind,
    /// Its name, which no other custodian has.
    pub name: CustodianName,
    /// The X25519 public key that is derived from its secret.
    pub public: SealKeyBytes,
}

impl Body for CustodyAdd {
    const TYP: &'static str = "nockvault/custody_add";
}

/// Takes a custodian out: a new root key is drawn and sealed to the others. The last one stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CustodyRemove {
    /// Which.
    pub name: CustodianName,
}

impl Body for CustodyRemove {
    const TYP: &'static str = "nockvault/custody_remove";
}

/// Draws a new root key and seals it to every custodian. The one before opens nothing of the vault any more, but for copies
/// that were made until then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CustodyRotate {}

impl Body for CustodyRotate {
    const TYP: &'static str = "nockvault/custody_rotate";
}

/// Asks for the custodians. Nothing secret is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CustodyList {}

impl Body for CustodyList {
    const TYP: &'static str = "nockvault/custody_list";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_as_it_is_written_and_within_its_bounds() {
        let (salt, set) = ("AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAA");
        let good = [
            r#"{"name":"file"}"#.to_owned(),
            r#"{"name":"credential"}"#.to_owned(),
            r#"{"name":"command"}"#.to_owned(),
            format!(r#"{{"m_kib":19456,"name":"passphrase","p":1,"salt":"{salt}","t":2}}"#),
            format!(r#"{{"count":3,"name":"shares","set":"{set}","threshold":2}}"#),
            format!(r#"{{"name":"pkcs11","salt":"{salt}"}}"#),
        ];
        for text in &good {
            let kind: Kind = serde_json::from_str(text).unwrap();
            assert_eq!(String::from_utf8(crate::crypto::json::canonical(&kind)).unwrap(), *text);
            assert!(text.contains(&format!("\"{}\"", kind.name())));
        }
        let most = good[3].replace("19456", "1048576").replace("\"t\":2", "\"t\":64").replace("\"p\":1", "\"p\":16");
        assert!(serde_json::from_str::<Kind>(&most).is_ok_and(|kind| !kind.is_automatic()), "{most}");
        assert!(serde_json::from_str::<Kind>(&good[0]).is_ok_and(|kind| kind.is_automatic()));
        let bad = [
            most.replace("\"p\":16", "\"p\":17"),
            r#"{"name":"file","path":"/root.key"}"#.to_owned(),
            r#"{"name":"sharks"}"#.to_owned(),
            good[3].replace("19456", "19455"),
            good[3].replace("19456", "1048577"),
            good[3].replace("\"t\":2", "\"t\":1"),
            good[3].replace("\"t\":2", "\"t\":65"),
            good[3].replace("\"p\":1", "\"p\":0"),
            good[3].replace(salt, set),
            good[4].replace("\"threshold\":2", "\"threshold\":1"),
            good[4].replace("\"threshold\":2", "\"threshold\":4"),
            good[4].replace("\"count\":3", "\"count\":17"),
            good[4].replace(set, salt),
            good[5].replace(salt, set),
        ];
        for text in &bad {
            assert!(serde_json::from_str::<Kind>(text).is_err(), "{text} was taken");
        }
    }
}
