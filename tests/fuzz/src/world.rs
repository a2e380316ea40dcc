//! The keys and the instant that seeds are made with, so that a seed stays good. The chains among the seeds are of another
//! vault, whose card stands in `world/`; its keys are in `tests/tamper`, and out of the fuzzer's reach.

use std::sync::OnceLock;

use nockvault::crypto::signature::{Form, PublicKey, SigningKey};
use nockvault::entropy::SeededEntropy;
use nockvault::id::{Aud, Nonce};
use nockvault::registry::HeldKey;
use nockvault::seal::custody::{CustodySecret, RootKey};
use nockvault::secret::Secret;
use nockvault::statement::card::Card;
use nockvault::statement::register::{Holder, Register};
use nockvault::time::Timestamp;

/// The present.
pub const NOW: Timestamp = Timestamp(1_780_000_000_000);

/// A key that everybody knows.
pub fn key(number: u8) -> SigningKey {
    SigningKey::from_seed(&Secret::new([number; 32]))
}

/// The identity key of the vault that statements are for.
pub fn identity() -> SigningKey {
    key(1)
}

/// The agent `kit`'s.
pub fn kit() -> SigningKey {
    key(7)
}

/// The operator `root`'s.
pub fn root() -> SigningKey {
    key(8)
}

/// The vault that statements are for.
pub fn aud() -> Aud {
    Aud::of_identity(&identity().kid())
}

/// The register statement of a first key.
pub fn register(holder: Holder, key: &SigningKey) -> Register {
    let nonce = Nonce::from_bytes(&[5; 24]);
    let (aud, pk) = (aud(), key.public());
    Register { holder, aud, form: Form::Pae, iat: NOW, kver: 1, nonce, pk, prev: None }
}

/// A key as a vault has it.
pub fn held(holder: Holder, key: &SigningKey) -> HeldKey {
    HeldKey::registered(&register(holder, key), Timestamp::ZERO)
}

/// The agent.
pub fn agent() -> Holder {
    Holder::Agent("kit".parse().expect("it is a name"))
}

/// The operator.
pub fn operator() -> Holder {
    Holder::Operator("root".parse().expect("it is a name"))
}

/// What opens the backups among the seeds.
pub fn custody() -> CustodySecret {
    CustodySecret::new(Secret::new([9; 32]))
}

/// The root key that its holder has.
pub fn root_key() -> RootKey {
    RootKey::itself(&custody())
}

/// Randomness that is always the same.
pub fn entropy() -> SeededEntropy {
    SeededEntropy::new(1)
}

/// The card of the vault whose chains are among the seeds.
pub fn card() -> &'static Card {
    static CARD: OnceLock<Card> = OnceLock::new();
    CARD.get_or_init(|| Card::read(include_str!("../world/vault.card")).expect("the card that was committed"))
}

/// The identity of that vault.
pub fn pinned() -> &'static PublicKey {
    &card().identity
}

/// The three chains of that vault: the agent `kit`'s, `_operators` and `_vault`.
pub const CHAINS: [&[u8]; 3] = [
    include_bytes!("../seeds/chain/kit"),
    include_bytes!("../seeds/chain/operators"),
    include_bytes!("../seeds/chain/vault"),
];

/// Whether that vault wrote this line.
pub fn wrote(line: &[u8]) -> bool {
    CHAINS.iter().any(|chain| chain.split(|byte| *byte == b'\n').any(|written| written == line))
}
