//! The vault card: one small text file that everybody who deals with a vault is handed. It is public, and it pins: who
//! holds the card takes no other vault for this one, and no other beginning of its chains.
//!
//! A card is TOML. It is not a statement and nobody signs it; it is worth as much as the way it came.

use serde::{Deserialize, Serialize};

use crate::base64url::Bytes;
use crate::crypto::hash::Digest;
use crate::crypto::signature::PublicKey;
use crate::id::{Aud, VaultName};

/// A vault's card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// The vault's name, for people.
    pub name: VaultName,
    /// The vault's id.
    pub aud: Aud,
    /// The identity key, 32 bytes.
    pub identity: PublicKey,
    /// Where agents call: `https://host:port`, `unix:/path`, or `http://host:port` on the same machine.
    pub agents: String,
    /// Where operators call: the same forms.
    pub operators: String,
    /// Certificates (PEM) that the vault's TLS certificate is checked against; none where the system's are right.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ca: Option<String>,
    /// The first entries of the vault's own chains.
    pub genesis: Genesis,
}

/// The leaves that the vault's own chains begin with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// Leaf of the first entry of `_vault`.
    pub vault: Digest,
    /// Leaf of the first entry of `_operators`.
    pub operators: Digest,
}

/// Why a text is not a card.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCard {
    /// Not the form of one.
    #[error("not a vault card: {0}")]
    Malformed(String),
    /// The identity key and the vault id contradict each other.
    #[error("the card's identity key belongs to {identity}, but its aud is {aud}; one of the two was changed")]
    Identity {
        /// The vault that the key belongs to.
        identity: Aud,
        /// The vault that the card names.
        aud: Aud,
    },
    /// An address of another form.
    #[error("the card's address {0:?} is neither https://host:port, http://host:port nor unix:/path")]
    Address(String),
}

impl Card {
    /// Reads a card and checks that it does not contradict itself.
    ///
    /// # Errors
    /// [`BadCard`].
    pub fn read(text: &str) -> Result<Card, BadCard> {
        let card: Card = toml::from_str(text).map_err(|why| BadCard::Malformed(why.message().to_owned()))?;
        let identity = Aud::of_identity(&card.identity.kid());
        if identity != card.aud {
            return Err(BadCard::Identity { identity, aud: card.aud });
        }
        for address in [&card.agents, &card.operators] {
            let known = ["https://", "http://", "unix:/"]
                .iter()
                .any(|scheme| address.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
            if !known {
                return Err(BadCard::Address(address.clone()));
            }
        }
        Ok(card)
    }

    /// The card's text.
    #[must_use]
    pub fn write(&self) -> String {
        let body = toml::to_string(self).expect("a card is texts and a table of texts");
        format!(
            "# The card of the vault {:?}. It is public: hand it to agents, operators and auditors.\n{body}",
            self.name.as_str()
        )
    }

    /// The identity key's bytes as the statements carry them.
    #[must_use]
    pub fn identity_bytes(&self) -> Bytes {
        Bytes(self.identity.to_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::signature::SigningKey;
    use crate::entropy::SeededEntropy;

    fn card() -> Card {
        let identity = SigningKey::generate(&SeededEntropy::new(1)).public();
        Card {
            name: "prod".parse().unwrap(),
            aud: Aud::of_identity(&identity.kid()),
            identity,
            agents: "https://vault.example:7420".into(),
            operators: "unix:/run/vaultd/operators.sock".into(),
            ca: Some("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n".into()),
            genesis: Genesis { vault: Digest::of(b"v"), operators: Digest::of(b"o") },
        }
    }

    #[test]
    fn a_card_is_read_as_it_was_written() {
        for card in [card(), Card { ca: None, ..card() }] {
            assert_eq!(Card::read(&card.write()).unwrap(), card);
        }
    }

    #[test]
    fn a_card_that_contradicts_itself_is_refused() {
        let other = SigningKey::generate(&SeededEntropy::new(2)).public();
        let swapped = Card { identity: other, ..card() };
        assert!(matches!(Card::read(&swapped.write()).unwrap_err(), BadCard::Identity { .. }));
        for address in ["", "https://", "ftp://x", "unix:relative"] {
            let card = Card { agents: address.into(), ..card() };
            assert!(matches!(Card::read(&card.write()).unwrap_err(), BadCard::Address(_)), "{address}");
        }
        let extra = card().write().replace("[genesis]", "extra = 1\n[genesis]");
        assert!(matches!(Card::read(&extra).unwrap_err(), BadCard::Malformed(_)));
    }

    #[test]
    fn a_card_carries_the_identity_key() {
        assert_eq!(card().identity_bytes().0, card().identity.to_bytes());
    }
}
