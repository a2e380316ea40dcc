//! The vault's own keys in commands: `nockvault/key_rotate` and `nockvault/ring_rotate`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Body;
use crate::time::Seconds;

/// A key of the vault that can be rotated by command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rotated {
    /// The key that signs tokens of the `jwt` engine.
    Jwt,
}

/// Makes a new key of the vault for this role. It is published at once and signs later, so that verifiers have it by
/// then; those before it stay published until all that they signed has expired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRotate {
    /// What the key is for.
    pub role: Rotated,
    /// In how many seconds the new key begins to sign: 0 is at once, 30 days are the most.
    #[serde(deserialize_with = "ahead")]
    #[schemars(extend("minimum" = 0, "maximum" = 2_592_000))]
    pub ahead: Seconds,
    /// Whether the keys before it are published no more from that moment on. What they signed is refused then.
    pub withdraw: bool,
}

impl KeyRotate {
    /// How long a new key is published before it signs, if nobody says otherwise: twice as long as verifiers may keep a
    /// key set.
    pub const AHEAD: Seconds = Seconds(600);
    /// How long at the most.
    pub const MAX_AHEAD: Seconds = Seconds(30 * 86_400);
}

fn ahead<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Seconds, D::Error> {
    let ahead = Seconds::deserialize(deserializer)?;
    if ahead <= KeyRotate::MAX_AHEAD {
        Ok(ahead)
    } else {
        Err(serde::de::Error::custom("a key signs in 30 days at the latest"))
    }
}

impl Body for KeyRotate {
    const TYP: &'static str = "nockvault/key_rotate";
}

/// Makes the next data key. Everything new is sealed under it from the command on; what older keys seal is sealed anew in
/// the background, and an older key is deleted once it seals nothing any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RingRotate {}

impl Body for RingRotate {
    const TYP: &'static str = "nockvault/ring_rotate";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_signs_in_thirty_days_at_the_latest() {
        let read = |ahead: u64| {
            let value = serde_json::json!({ "ahead": ahead, "role": "jwt", "withdraw": false });
            serde_json::from_value::<KeyRotate>(value).map(|rotate| rotate.ahead)
        };
        for good in [0, 1, 2_592_000] {
            assert_eq!(read(good).unwrap(), Seconds(good));
        }
        assert!(read(2_592_001).is_err());
    }
}
